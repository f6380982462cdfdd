//! Many logs in one directory: opened when used, closed for others, found again after any stop.

use std::time::Duration;

use forebay::{
    ErrorKind, FlushPolicy, IoMode, NewRecord, Offset, OffsetSpec, OnFull, Store, StoreOptions,
};

use crate::small;
use crate::util::place::{Place, ways};
use crate::util::{self, all_texts, kind};

fn options(mode: IoMode) -> StoreOptions {
    Store::options().logs(small(mode)).reserve_bytes(16 << 10)
}

fn names(store: &Store) -> Vec<(String, u32)> {
    store.logs().into_iter().map(|log| (log.name, log.partition)).collect()
}

fn open_count(store: &Store) -> usize {
    store.logs().iter().filter(|log| log.open).count()
}

#[test]
fn logs_are_made_when_they_are_first_used_and_found_again() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode)).unwrap();
        assert!(store.recovery().created);
        assert!(store.logs().is_empty());
        store.log("engine").unwrap().append("1013 hPa").unwrap();
        store.log("cabin").unwrap().append_batch(["21.5 C", "21.6 C"]).unwrap();
        assert_eq!(names(&store), [("cabin".into(), 0), ("engine".into(), 0)]);
        let id = store.id();
        store.close().unwrap();
        let store = place.open_store(options(mode)).unwrap();
        assert!(store.recovery().clean && !store.recovery().created);
        assert_eq!(store.id(), id);
        assert_eq!(open_count(&store), 0, "nobody touched one");
        assert_eq!(all_texts(&store.log("cabin").unwrap()), ["21.5 C", "21.6 C"]);
        assert_eq!(all_texts(&store.log("engine").unwrap()), ["1013 hPa"]);
        assert_eq!(open_count(&store), 2);
    }
}

#[test]
fn the_log_used_least_recently_gives_its_place_and_is_cut_to_size() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode).max_open_logs(3)).unwrap();
        for round in 0..4 {
            for number in 0..10 {
                let log = store.log(&format!("log-{number}")).unwrap();
                assert_eq!(log.append(format!("{number} {round}")).unwrap().get(), round);
                assert!(open_count(&store) <= 3);
            }
        }
        let closed = place.below("log-0-0");
        let segment = &closed.segments()[0];
        assert!(closed.len(segment) < 1000, "a closed log's file has what is in it");
        store.close().unwrap();
        let store = place.open_store(options(mode).max_open_logs(3)).unwrap();
        for number in 0..10 {
            let expected: Vec<_> = (0..4).map(|round| format!("{number} {round}")).collect();
            assert_eq!(all_texts(&store.log(&format!("log-{number}")).unwrap()), expected);
        }
    }
}

#[test]
fn a_log_that_somebody_holds_stays_open_and_when_all_are_held_one_more_is_refused() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode).max_open_logs(2)).unwrap();
        let first = store.log("first").unwrap();
        let mut reader = store.log("second").unwrap().reader(OffsetSpec::Earliest).unwrap();
        let error = store.log("third").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfSpace);
        assert!(error.to_string().contains("max_open_logs, 2"), "{error}");
        assert!(reader.next().is_none());
        drop(reader);
        store.log("third").unwrap().append("3").unwrap();
        store.log("second").unwrap();
        drop(first);
    }
}

#[test]
fn a_handle_that_is_closed_by_hand_is_opened_anew_by_the_next_use() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode)).unwrap();
        let log = store.log("engine").unwrap();
        let other = log.clone();
        log.append("1").unwrap();
        log.close().unwrap();
        assert_eq!(kind(other.append("2")), ErrorKind::Closed);
        assert_eq!(store.log("engine").unwrap().append("2").unwrap().get(), 1);
    }
}

#[test]
fn a_handle_keeps_the_store_open_and_the_last_one_closes_it() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = place.open_store(options(mode)).unwrap().log("engine").unwrap();
        log.append("1").unwrap();
        assert_eq!(kind(place.open_store(options(mode))), ErrorKind::Locked);
        drop(log);
        let store = place.open_store(options(mode)).unwrap();
        assert!(store.recovery().clean);
        let log = store.log("engine").unwrap();
        assert!(log.recovery().clean);
        store.close().unwrap();
        assert_eq!(kind(log.append("2")), ErrorKind::Closed);
    }
}

#[test]
fn what_was_appended_survives_the_death_of_the_process() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode).max_open_logs(3)).unwrap();
        for number in 0..10 {
            store.log(&format!("log-{number}")).unwrap().append("kept").unwrap();
        }
        if ground == util::place::Ground::System {
            // A process that can be killed for real has logs of its own: tests/crash/kill.rs.
            continue;
        }
        let killed = place.killed();
        let store = killed.open_store(options(mode).max_open_logs(3)).unwrap();
        assert!(!store.recovery().clean);
        assert!(store.recovery().logs_measured <= 4, "{:?}", store.recovery());
        for number in 0..10 {
            assert_eq!(all_texts(&store.log(&format!("log-{number}")).unwrap()), ["kept"]);
        }
        assert_counted(&store, &killed, "killed");
    }
}

#[test]
fn a_store_and_a_log_are_told_apart_and_keep_each_other_out() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode)).unwrap();
        store.log("engine").unwrap().append("1").unwrap();
        assert_eq!(kind(place.open(small(mode))), ErrorKind::InvalidArgument);
        assert_eq!(kind(place.open_below("engine-0", small(mode))), ErrorKind::Locked);
        store.close().unwrap();
        let error = place.open(small(mode)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("store's"), "{error}");
        // Two logs of a store side by side, but not beside the store.
        let alone = place.open_below("engine-0", small(mode)).unwrap();
        let beside = place.open_below("cabin-0", small(mode)).unwrap();
        assert_eq!(kind(place.open_store(options(mode))), ErrorKind::Locked);
        assert_eq!(alone.append("2").unwrap().get(), 1);
        drop((alone, beside));
        let store = place.open_store(options(mode)).unwrap();
        assert_eq!(all_texts(&store.log("engine").unwrap()), ["1", "2"]);
        let error = place.below("engine-0").open_store(options(mode)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
        assert!(error.to_string().contains("is a log's"), "{error}");
    }
}

#[test]
fn names_that_cannot_be_are_refused_and_leave_nothing_behind() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode)).unwrap();
        store.log("Sensor").unwrap().append("1").unwrap();
        let before = place.names();
        let long = "x".repeat(250);
        for name in
            ["", ".", "..", "a/b", "../x", "a\0b", "gr\u{fc}n", &long, "sensor", "SENSOR", "a b"]
        {
            assert_eq!(kind(store.log(name)), ErrorKind::InvalidArgument, "{name:?}");
            if !name.eq_ignore_ascii_case("sensor") {
                assert_eq!(
                    kind(store.partitioned(name, 3)),
                    ErrorKind::InvalidArgument,
                    "{name:?}"
                );
            }
        }
        assert_eq!(place.names(), before);
        assert_eq!(names(&store), [("Sensor".into(), 0)]);
        let longest = "x".repeat(249);
        store.log(&longest).unwrap().append("1").unwrap();
    }
}

#[test]
fn a_deleted_log_is_gone_for_its_handles_and_its_space_is_back() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode)).unwrap();
        let before = store.stats().disk_bytes;
        let log = store.log("engine").unwrap();
        for _ in 0..100 {
            log.append(vec![b'.'; 1000]).unwrap();
        }
        assert!(store.stats().disk_bytes > before + 100_000);
        assert!(store.delete_log("engine").unwrap());
        assert_eq!(kind(log.append("2")), ErrorKind::Closed);
        drop(log);
        assert_counted(&store, &place, "deleted");
        assert!(store.stats().disk_bytes <= before + 4096);
        assert!(!place.names().iter().any(|name| name.starts_with("engine")));
        assert!(!store.delete_log("engine").unwrap());
        assert_eq!(store.log("engine").unwrap().append("anew").unwrap().get(), 0);
    }
}

#[test]
fn options_count_per_log_and_change_with_the_next_handle() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let own = small(mode).max_batch_bytes(200);
        let store = place.open_store(options(mode).log("engine", own)).unwrap();
        let big = vec![b'.'; 1000];
        assert_eq!(kind(store.log("engine").unwrap().append(&big[..])), ErrorKind::RecordTooLarge);
        store.log("cabin").unwrap().append(&big[..]).unwrap();
        let live = small(mode).max_batch_bytes(200).on_full(OnFull::DropOldest);
        let log = store.log_with("engine", live).unwrap();
        assert_eq!(
            log.current_options(),
            small(mode).max_batch_bytes(200).on_full(OnFull::DropOldest)
        );
        let error = store.log_with("engine", small(mode).segment_bytes(32 << 10)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("segment_bytes"), "{error}");
    }
}

#[test]
fn a_flush_makes_every_log_durable_however_many_there_are() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode).max_open_files(512).max_open_logs(50)).unwrap();
        let logs: Vec<_> =
            (0..50).map(|number| store.log(&format!("log-{number}")).unwrap()).collect();
        for (count, log) in [20, 50].into_iter().flat_map(|n| logs.iter().take(n).enumerate()) {
            log.append(format!("{count}")).unwrap();
        }
        store.flush().unwrap();
        for log in &logs {
            assert_eq!(log.durable_offset(), log.log_end_offset());
        }
    }
}

#[test]
fn the_store_keeps_each_interval_and_ages_by_hand_or_by_its_thread() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let interval = FlushPolicy::Interval(Duration::from_millis(20));
        let logs = small(mode).flush(interval);
        let store = place.open_store(options(mode).logs(logs.clone())).unwrap();
        let log = store.log("engine").unwrap();
        log.append("1").unwrap();
        place.pass(Duration::from_millis(60));
        assert_eq!(store.maintain().unwrap().logs_flushed, 1);
        assert_eq!(log.durable_offset(), log.log_end_offset());
        drop(log);
        store.close().unwrap();
        if ground != util::place::Ground::System {
            continue;
        }
        let store = place.open_store(options(mode).logs(logs).background(true)).unwrap();
        let log = store.log("engine").unwrap();
        let offset = log.append("2").unwrap();
        assert!(log.wait_for(offset, forebay::Visibility::Durable, Duration::MAX).unwrap());
    }
}

#[test]
fn keys_go_where_a_kafka_producer_sends_them() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode)).unwrap();
        let sensors = store.partitioned("sensors", 4).unwrap();
        for number in 0..40 {
            let key = format!("sensor-{number}");
            let (partition, _) =
                sensors.append(NewRecord::new("21.5 C").key(key.as_bytes())).unwrap();
            assert_eq!(partition, forebay::partition_for_key(key.as_bytes(), 4));
        }
        let turns: Vec<_> = (0..8).map(|_| sensors.append("no key").unwrap().0).collect();
        assert_eq!(turns, [0, 1, 2, 3, 0, 1, 2, 3]);
        let total: i64 = (0..4).map(|n| sensors.log(n).unwrap().log_end_offset().get()).sum();
        assert_eq!(total, 48);
        assert_eq!(kind(sensors.log(4)), ErrorKind::InvalidArgument);
        assert_eq!(names(&store).len(), 4);
        assert_eq!(kind(store.partitioned("sensors", 0)), ErrorKind::InvalidArgument);
    }
}

/// What `stats` says is what the directory shows, at rest, or up to a block a file more.
fn assert_counted(store: &Store, place: &Place, what: &str) {
    let (counted, taken) = (store.stats().disk_bytes, place.taken());
    let files = place.count_files();
    assert!(counted >= taken, "{what}: {counted} counted, {taken} taken");
    assert!(counted - taken <= 4096 * files, "{what}: {counted} counted, {taken} taken by {files}");
}

#[test]
fn what_the_store_counts_is_what_its_directory_takes() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode).max_open_logs(4)).unwrap();
        assert_counted(&store, &place, "new");
        for number in 0..12 {
            let log = store.log(&format!("log-{}", number % 7)).unwrap();
            for _ in 0..60 {
                log.append(vec![b'.'; 500]).unwrap();
            }
            if number % 3 == 0 {
                log.flush().unwrap();
                let start = Offset::new(log.log_end_offset().get() - 20);
                log.delete_records(start).unwrap();
            }
            assert_counted(&store, &place, &format!("{mode:?} {ground:?} {number}"));
        }
        store.close().unwrap();
        let store = place.open_store(options(mode)).unwrap();
        assert_counted(&store, &place, "reopened");
        store.log("log-3").unwrap().append("more").unwrap();
        assert_counted(&store, &place, "touched");
    }
}

/// The lock is the directory's: a lock file could be removed from under who holds it.
#[test]
fn removing_every_small_file_lets_no_second_writer_in() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode)).unwrap();
        store.log("engine").unwrap().append("1").unwrap();
        for name in place.names() {
            if name.starts_with("store.") {
                place.remove(&name);
            }
        }
        assert_eq!(kind(place.open_store(options(mode))), ErrorKind::Locked);
        drop(store);
        let store = place.open_store(options(mode)).unwrap();
        assert_eq!(all_texts(&store.log("engine").unwrap()), ["1"]);
    }
}
