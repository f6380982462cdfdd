//! Options that change while the log is open: at once, for everyone who waits, or not at all.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forebay::{
    Compression, ErrorKind, FlushPolicy, Hold, Log, LogOptions, NewRecord, Offset, OnFull,
    Visibility,
};
use serde_json::{Value, json};

use crate::util::{MODES, OpenIn, all_texts, kind, manual, scratch, ways};

const HOUR: FlushPolicy = FlushPolicy::Interval(Duration::from_secs(3600));
const LONG: Duration = Duration::from_secs(60);

/// One that is built in, if any is.
fn codec() -> Compression {
    let all = [Compression::Zstd, Compression::Gzip, Compression::Lz4, Compression::Snappy];
    all.into_iter().find(|codec| codec.is_built_in()).unwrap_or(Compression::None)
}

/// Another value of each option; whether an open log takes it.
fn others() -> Value {
    json!({
        "segment_bytes": [1 << 20, false],
        "index_interval_bytes": [100, false],
        "max_batch_bytes": [1000, false],
        "io_mode": ["auto", false],
        "recovery": ["full", false],
        "media": ["torn_overwrite", false],
        "torn_bytes": [8192, false],
        "background": [true, false],
        "memory_limit_bytes": [1 << 30, false],
        "flush": [{ "interval_ms": 7_200_000 }, true],
        "segment_ms": [1_000_000, true],
        "retention_bytes": [1, true],
        "retention_ms": [1_000_000, true],
        "retention_records": [10, true],
        "hold": [{ "each": ["a", "b"] }, true],
        "hold_limit_bytes": [10_000_000, true],
        "hold_lag_records": [10, true],
        "budget_bytes": [100_000_000, true],
        "on_full": [{ "block_ms": 5 }, true],
        "priority": [7, true],
        "thin_keep_one_in": [3, true],
        "compression": [codec().name(), true],
        "compression_level": [9, true],
        "cleanup_policy": ["compact,delete", true],
        "delete_retention_ms": [1000, true],
        "min_cleanable_dirty_percent": [7, true],
        "min_compaction_lag_ms": [1000, true],
        "compaction_memory_bytes": [1 << 20, false],
    })
}

fn with(options: &LogOptions, name: &str, value: &Value) -> LogOptions {
    let mut all = serde_json::to_value(options).unwrap();
    all[name] = value.clone();
    serde_json::from_value(all).unwrap()
}

/// Every option there is either counts at once or is refused by name, and then nothing changes.
#[test]
fn every_option_changes_or_is_refused_by_name() {
    let others = others();
    let others = others.as_object().unwrap();
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).flush(HOUR).open_in(&place).unwrap();
        let clone = log.clone();
        let opened = log.current_options();
        assert_eq!(opened, manual(mode).flush(HOUR));
        let known = serde_json::to_value(&opened).unwrap();
        let names: BTreeSet<_> = known.as_object().unwrap().keys().collect();
        assert_eq!(names, others.keys().collect(), "each option needs a line above");

        for (name, value) in others {
            let before = log.current_options();
            let asked = with(&before, name, &value[0]);
            if asked == before {
                assert!(name == "compression" && codec() == Compression::None, "{name}");
                continue;
            }
            if value[1] == json!(true) {
                log.set_options(asked.clone()).unwrap();
                assert_eq!(clone.current_options(), asked, "{name}");
                continue;
            }
            // Not even what could change beside it.
            let both = asked.flush(FlushPolicy::EveryAppend).priority(1);
            let error = log.set_options(both).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            let text = error.to_string();
            assert!(text.starts_with(name.as_str()) && text.contains("reopening"), "{text}");
            assert_eq!(log.current_options(), before, "{name}");
            let record = NewRecord::new(name.as_str()).key(name.as_str());
            let offset = log.append(record).unwrap();
            assert!(log.durable_offset() <= offset, "{name}: the flush policy changed");
        }
        let mirror = log.current_options().mirror_of(log.id());
        assert!(log.set_options(mirror).unwrap_err().to_string().starts_with("mirror_of"));
        let two = log.current_options().segment_bytes(1 << 20).mirror_of(log.id());
        let text = log.set_options(two).unwrap_err().to_string();
        assert!(text.starts_with("segment_bytes, mirror_of "), "{text}");
        log.close().unwrap();
        // Nothing of it is on disk: the next open goes by its own options.
        let again = manual(mode).open_in(&place).unwrap();
        assert_eq!(again.current_options(), manual(mode));
    }
}

#[test]
fn options_that_cannot_work_change_nothing() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let now = log.current_options();
        let wrong = [
            ("retention_ms", now.clone().retention_age(Duration::ZERO)),
            ("retention_records", now.clone().retention_records(0)),
            ("hold_lag_records", now.clone().hold_lag_records(0)),
            ("hold", now.clone().hold(Hold::Each(Vec::new()))),
            ("thin_keep_one_in", now.clone().thin_keep_one_in(1)),
            ("segment_ms", now.clone().segment_age(Duration::ZERO)),
            ("min_cleanable_dirty_percent", now.clone().min_cleanable_dirty_percent(101)),
            ("flush", now.clone().flush(FlushPolicy::EveryBytes(0))),
            ("flush", now.clone().flush(FlushPolicy::Interval(Duration::ZERO))),
        ];
        for (name, options) in wrong {
            let error = log.set_options(options.on_full(OnFull::DropOldest)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().starts_with(name), "{error}");
            assert_eq!(log.current_options(), now);
        }
    }
}

/// What the new policy promises holds when the call returns, for what was appended before as well.
#[test]
fn a_new_flush_policy_is_kept_when_the_call_returns() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let to = |policy| log.set_options(log.current_options().flush(policy)).unwrap();
        let durable = |log: &Log| log.durable_offset() == log.log_end_offset();

        log.append("under manual").unwrap();
        to(FlushPolicy::EveryBytes(1 << 20));
        assert!(!durable(&log), "fewer bytes wait than it is for");
        to(FlushPolicy::EveryBytes(20));
        assert!(durable(&log));
        to(FlushPolicy::Manual);
        log.append("under manual again").unwrap();
        to(HOUR);
        assert!(!durable(&log));
        place.pass(Duration::from_millis(20));
        to(FlushPolicy::Interval(Duration::from_millis(10)));
        assert!(durable(&log), "the last flush is longer ago");
        to(HOUR);
        log.append("under an hour").unwrap();
        to(FlushPolicy::EveryAppend);
        assert!(durable(&log));
        log.append("under every append").unwrap();
        assert!(durable(&log));
        let flushes = log.stats().flushes;
        to(FlushPolicy::EveryAppend);
        to(FlushPolicy::Manual);
        assert_eq!(log.stats().flushes, flushes, "nothing waited");
        log.append("under manual at last").unwrap();
        assert!(!durable(&log));
        assert_eq!(all_texts(&log).len(), 5);
    }
}

/// I15: a shorter age counts for the segment that is there, a longer one saves it.
#[test]
fn a_new_segment_age_counts_for_the_segment_that_is_there() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let age = |millis| {
            let options = log.current_options().segment_age(Duration::from_millis(millis));
            log.set_options(options).unwrap();
        };
        log.append("old").unwrap();
        place.pass(Duration::from_millis(50));
        age(40);
        log.append("rolls").unwrap();
        assert_eq!(log.stats().rolls, 1);
        place.pass(Duration::from_millis(50));
        age(3_600_000);
        log.append("does not").unwrap();
        assert_eq!(log.stats().rolls, 1);
    }
}

/// I10: nothing waits for a lock that a sleeper holds, and no sleeper misses a change that is made
/// just before it falls asleep. Without a thread of the log's own the waiting call has to flush.
#[test]
fn who_waits_for_a_durable_record_flushes_by_the_new_interval() {
    let tmp = scratch();
    for mode in MODES {
        let log = manual(mode).open(tmp.path().join(format!("{mode:?}"))).unwrap();
        for round in 0..300_u64 {
            // Asleep for what was written, for what is not there yet, and on the way to sleep.
            let slow = [FlushPolicy::Manual, HOUR, FlushPolicy::EveryBytes(1 << 30)];
            let slow = slow[usize::try_from(round % 3).unwrap()];
            log.set_options(log.current_options().flush(slow)).unwrap();
            let before = round % 2 == 0;
            let offset = log.log_end_offset();
            if before {
                log.append("waits for a flush").unwrap();
            }
            thread::scope(|scope| {
                let waiter =
                    scope.spawn(|| log.wait_for(offset, Visibility::Durable, LONG).unwrap());
                thread::sleep(Duration::from_micros(round * 10 % 700));
                let quick = FlushPolicy::Interval(Duration::from_millis(1));
                log.set_options(log.current_options().flush(quick)).unwrap();
                if !before {
                    log.append("waits for a flush").unwrap();
                }
                assert!(waiter.join().unwrap(), "round {round}: it slept for the old policy");
            });
        }
    }
}

fn becomes(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < LONG, "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Nobody calls the log after the change.
#[test]
fn the_logs_own_thread_goes_by_new_options() {
    let tmp = scratch();
    for mode in MODES {
        for (number, slow) in [FlushPolicy::Manual, HOUR].into_iter().enumerate() {
            let dir = tmp.path().join(format!("{mode:?}-{number}"));
            let log = manual(mode).flush(slow).background(true).open(&dir).unwrap();
            for _ in 0..20 {
                let offset = log.append("a reading").unwrap();
                let quick = FlushPolicy::Interval(Duration::from_millis(1));
                log.set_options(log.current_options().flush(quick)).unwrap();
                becomes("durable", || log.durable_offset() > offset);
                log.set_options(log.current_options().flush(slow)).unwrap();
                let kept = log.append("another").unwrap();
                assert!(log.durable_offset() <= kept, "it flushes by the old policy");
            }
            let rolls = log.stats().rolls;
            let young = log.current_options().segment_age(Duration::from_millis(1));
            log.set_options(young).unwrap();
            becomes("rolled", || log.stats().rolls > rolls);
            log.close().unwrap();
        }
    }
}

/// I2: once the call returned, whatever append returns is durable, when ever it began.
#[test]
fn no_append_slips_past_a_change_to_every_append() {
    let tmp = scratch();
    for mode in MODES {
        let log = manual(mode).open(tmp.path().join(format!("{mode:?}"))).unwrap();
        for round in 0..60 {
            let changed = AtomicBool::new(false);
            let acknowledged = AtomicI64::new(-1);
            thread::scope(|scope| {
                for _ in 0..3 {
                    scope.spawn(|| {
                        for _ in 0..400 {
                            let offset = log.append("a reading").unwrap();
                            if changed.load(Ordering::SeqCst) {
                                let durable = log.durable_offset();
                                assert!(durable > offset, "{offset} of {durable}, round {round}");
                            }
                            acknowledged.fetch_max(offset.get(), Ordering::SeqCst);
                        }
                    });
                }
                thread::sleep(Duration::from_micros(round * 7));
                let strict = log.current_options().flush(FlushPolicy::EveryAppend);
                log.set_options(strict).unwrap();
                changed.store(true, Ordering::SeqCst);
                let seen = Offset::new(acknowledged.load(Ordering::SeqCst));
                assert!(log.durable_offset() > seen, "round {round}");
            });
            log.set_options(log.current_options().flush(FlushPolicy::Manual)).unwrap();
        }
    }
}

/// Several who change options at once, while others append: one of them was last, in all of it.
#[test]
fn what_current_options_say_is_what_appends_do() {
    let tmp = scratch();
    let log = manual(MODES[0]).open(tmp.path()).unwrap();
    for _ in 0..200 {
        thread::scope(|scope| {
            for number in 0..3_u8 {
                let log = &log;
                scope.spawn(move || {
                    let strict = number == 1;
                    let policy =
                        if strict { FlushPolicy::EveryAppend } else { FlushPolicy::Manual };
                    let options = log.current_options().flush(policy).priority(number);
                    let hooked = options.validate(move |_| match strict {
                        true => Ok(()),
                        false => Err(forebay::Refusal::new("number", number.to_string())),
                    });
                    log.set_options(hooked).unwrap();
                });
            }
            scope.spawn(|| {
                for _ in 0..10 {
                    let _ = log.append("meanwhile");
                }
            });
        });
        let now = log.current_options();
        let priority = serde_json::to_value(&now).unwrap()["priority"].clone();
        match log.append("who was last?") {
            Ok(offset) => {
                assert_eq!(priority, json!(1));
                assert!(log.durable_offset() > offset);
            }
            Err(error) => assert!(error.to_string().contains(&format!("number: {priority}"))),
        }
    }
}

#[test]
fn a_closed_log_takes_no_options_and_tells_what_it_had() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let clone = log.clone();
        log.set_options(log.current_options().priority(3)).unwrap();
        log.close().unwrap();
        assert_eq!(kind(clone.set_options(Log::options())), ErrorKind::Closed);
        assert_eq!(clone.current_options(), manual(mode).priority(3));
    }
}

/// I8: a flush that a change asks for and that fails poisons as any other; the change stays.
#[cfg(feature = "simulation")]
#[test]
fn a_flush_that_fails_behind_a_change_says_so() {
    use crate::util::Ground;
    use forebay::simulation::{CallKind, Fault};
    for mode in MODES {
        let place = Ground::Simulated.place();
        let log = manual(mode).open_in(&place).unwrap();
        log.append("a reading").unwrap();
        let name = Some(".log".to_owned());
        let fault = Fault { on: CallKind::SyncFile, name, after: 0, times: 1, errno: 5 };
        place.disk().unwrap().fail(fault);
        let strict = log.current_options().flush(FlushPolicy::EveryAppend);
        assert_eq!(kind(log.set_options(strict.clone())), ErrorKind::Io);
        assert_eq!(log.current_options(), strict);
        assert_eq!(kind(log.append("another")), ErrorKind::Poisoned);
        // What asks for no flush still changes: reading goes on, and with it retention.
        log.set_options(strict.priority(1)).unwrap();
        assert_eq!(all_texts(&log), ["a reading"]);
    }
}

/// The change comes at each moment of the way to sleep in turn, between what the waiter reads of
/// the old policy and its sleep: it keeps the new one for the record that is there.
#[cfg(feature = "simulation")]
#[test]
fn who_waits_for_the_next_record_keeps_the_new_interval_for_the_last() {
    use crate::util::Ground;
    use forebay::simulation::CallKind;
    let ways = MODES.into_iter().flat_map(|mode| {
        [Visibility::Written, Visibility::Durable].map(|visibility| (mode, visibility))
    });
    for ((mode, visibility), moment) in ways.flat_map(|way| (0..4).map(move |n| (way, n))) {
        let place = Ground::Simulated.place();
        let disk = place.disk().unwrap();
        let log = manual(mode).flush(HOUR).open_in(&place).unwrap();
        let offset = log.append("a reading").unwrap();
        let (own, mut clocks) = (log.clone(), 0);
        disk.watch(move |_, call| {
            if call.kind == CallKind::Clock {
                if clocks == moment {
                    let quick = FlushPolicy::Interval(Duration::from_millis(10));
                    own.set_options(own.current_options().flush(quick)).unwrap();
                }
                clocks += 1;
            }
        });
        let next = log.log_end_offset();
        let came = log.wait_for(next, visibility, Duration::from_millis(40)).unwrap();
        disk.unwatch();
        assert!(!came, "nobody appended it");
        let durable = log.durable_offset();
        assert!(durable > offset, "{mode:?} {visibility:?} {moment}: it slept for the old policy");
    }
}

fn value(number: usize) -> String {
    format!("{number:0>1000}")
}

/// A rule that is set counts from the next call on, or with a thread without one; a hold that is
/// set keeps what it is to keep.
#[test]
fn a_new_retention_rule_is_kept_soon() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let options = manual(mode).segment_bytes(8 << 10).max_batch_bytes(4096);
        let log = options.open_in(&place).unwrap();
        let mut consumer = log.consumer("uplink").unwrap();
        for number in 0..100 {
            log.append(value(number)).unwrap();
        }
        log.flush().unwrap();
        let held = log.current_options().retention_records(10);
        log.set_options(held.clone().hold(Hold::Each(vec!["uplink".into()]))).unwrap();
        log.append("one more").unwrap();
        log.flush().unwrap();
        assert_eq!(log.log_start_offset(), Offset::ZERO, "{mode:?}: it is held");
        consumer.commit_offset(Offset::new(50)).unwrap();
        consumer.sync().unwrap();
        log.set_options(held).unwrap();
        log.append("and one").unwrap();
        let start = log.log_start_offset().get();
        assert!((80..=92).contains(&start), "{mode:?}: {start}");
    }
    let tmp = scratch();
    for mode in MODES {
        let options = manual(mode).segment_bytes(8 << 10).max_batch_bytes(4096).background(true);
        let log = options.open(tmp.path().join(format!("{mode:?}"))).unwrap();
        for number in 0..100 {
            log.append(value(number)).unwrap();
        }
        log.set_options(log.current_options().retention_records(10)).unwrap();
        becomes("deleted", || log.log_start_offset().get() >= 80);
    }
}
