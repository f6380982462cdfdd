//! Opening, options, flush policies, waiting and closing, in both I/O modes.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use forebay::Visibility;
use forebay::{
    ConsumerOptions, ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec,
};

use crate::util::{
    Ground, MODES, OpenIn, Place, all_texts, at, child, child_role, grounds, kind, manual, texts,
    ways,
};

const LONG: Duration = Duration::from_secs(60);

/// Closing closes for every clone, reader and consumer; what was read before stays valid.
#[test]
fn after_close_every_call_of_every_clone_says_closed() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
        for n in 0..100 {
            log.append(format!("{n} {}", "x".repeat(80))).unwrap();
        }
        let clone = log.clone();
        let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        let batch = reader.next().unwrap().unwrap();
        let polled = consumer.poll(Duration::ZERO).unwrap().unwrap();
        log.close().unwrap();

        assert_eq!(kind(clone.append("x")), ErrorKind::Closed);
        assert_eq!(kind(clone.append_batch(["x"])), ErrorKind::Closed);
        assert_eq!(kind(clone.flush()), ErrorKind::Closed);
        assert_eq!(kind(clone.reader(OffsetSpec::Earliest)), ErrorKind::Closed);
        assert_eq!(kind(clone.consumer("d")), ErrorKind::Closed);
        assert_eq!(kind(clone.delete_consumer("d")), ErrorKind::Closed);
        for visibility in [Visibility::Written, Visibility::Durable] {
            for offset in [0, 100] {
                let waited = clone.wait_for(Offset::new(offset), visibility, LONG);
                assert_eq!(kind(waited), ErrorKind::Closed);
            }
        }
        assert_eq!(kind(reader.next().unwrap()), ErrorKind::Closed);
        assert_eq!(kind(consumer.poll(LONG)), ErrorKind::Closed);
        assert_eq!(kind(consumer.commit()), ErrorKind::Closed);
        assert_eq!(kind(consumer.commit_offset(Offset::new(1))), ErrorKind::Closed);
        assert!(texts(&batch)[0].starts_with("0 ") && texts(&polled)[0].starts_with("0 "));
        assert_eq!((clone.log_end_offset().get(), clone.durable_offset().get()), (100, 100));
        clone.clone().close().unwrap();

        // The lock is free although handles are left, and they do no harm to the new log.
        let again = manual(mode).open_in(&dir).unwrap();
        assert!(again.recovery().clean);
        assert_eq!(again.append("y").unwrap().get(), 100);
        drop((clone, reader, consumer));
        assert_eq!(again.append("z").unwrap().get(), 101);
        assert!(texts(&batch)[0].starts_with("0 "));
        assert_eq!(all_texts(&again).len(), 102);
    }
}

/// The last handle dropped, of whatever sort, closes cleanly and frees the lock; not before.
#[test]
fn dropping_the_last_handle_is_a_clean_close() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        log.append("a").unwrap();
        let reader = log.reader(OffsetSpec::Earliest).unwrap();
        let consumer = log.consumer("c").unwrap();
        drop(log);
        assert_eq!(kind(Log::options().open_in(&dir)), ErrorKind::Locked);
        drop(consumer);
        assert_eq!(kind(Log::options().open_in(&dir)), ErrorKind::Locked);
        let batch = { reader }.next().unwrap().unwrap();

        let log = manual(mode).open_in(&dir).unwrap();
        let report = log.recovery();
        assert!(report.clean && report.bytes_cut == 0 && report.segments_scanned == 0);
        assert_eq!((log.durable_offset().get(), texts(&batch)), (1, vec!["a".to_owned()]));
        let length = dir.len("00000000000000000000.log");
        drop(log);
        let after = dir.len("00000000000000000000.log");
        assert!(after <= length && after == batch.as_bytes().len());
    }
}

/// Opening and closing without an append, many times, leaves the same files.
#[test]
fn reopening_an_idle_log_changes_nothing() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        log.append_batch(["a", "b"]).unwrap();
        log.close().unwrap();
        let names = dir.names();
        let bytes = dir.read(&dir.segments()[0]);
        for _ in 0..20 {
            let log = manual(mode).open_in(&dir).unwrap();
            assert!(log.recovery().clean);
            assert_eq!(all_texts(&log), ["a", "b"]);
        }
        assert_eq!(dir.names(), names);
        assert_eq!(dir.read(&dir.segments()[0]), bytes);
    }
}

/// A log written in one mode opens in the other, every time it is opened.
#[test]
fn the_modes_take_turns_on_one_log() {
    for ground in grounds() {
        let dir = ground.place();
        for turn in 0..20 {
            let mode = MODES[turn % 2];
            let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
            assert_eq!(log.recovery().io_mode, Some(mode));
            assert!(!log.recovery().io_mode_reason.is_empty());
            log.append(format!("{turn} {}", "x".repeat(700))).unwrap();
            assert_eq!(all_texts(&log).len(), turn + 1);
        }
        let log = Log::options().open_in(&dir).unwrap();
        assert!(matches!(log.recovery().io_mode, Some(IoMode::Mapped | IoMode::Positioned)));
    }
}

/// V16: a second opener gets `Locked`, by any path, and takes nothing from the first one.
#[test]
fn opening_twice_in_one_process_is_refused() {
    for mode in MODES {
        let dir = Ground::System.place();
        let path = dir.path().join("log");
        let log = manual(mode).open(&path).unwrap();
        log.append("a").unwrap();
        std::os::unix::fs::symlink(&path, dir.path().join("link")).unwrap();
        for way in [path.clone(), dir.path().join("link"), path.join("../log")] {
            for _ in 0..3 {
                let error = Log::open(way.clone()).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Locked);
                assert!(error.path().is_some());
            }
        }
        log.append("b").unwrap();
        log.close().unwrap();
        assert_eq!(all_texts(&Log::open(dir.path().join("link")).unwrap()), ["a", "b"]);
    }
}

/// Options out of bounds are refused by name, before anything is created.
#[test]
fn options_that_cannot_work_are_refused_by_name_and_create_nothing() {
    let dir = Ground::System.place();
    let bad: Vec<(LogOptions, &str)> = vec![
        (Log::options().segment_bytes(0), "segment_bytes"),
        (Log::options().segment_bytes(1), "segment_bytes"),
        (Log::options().segment_bytes(4095), "segment_bytes"),
        (Log::options().segment_bytes(1 << 31), "segment_bytes"),
        (Log::options().segment_bytes(usize::MAX), "segment_bytes"),
        (Log::options().segment_bytes(4096).max_batch_bytes(4097), "max_batch_bytes"),
        (Log::options().max_batch_bytes(0), "max_batch_bytes"),
        (Log::options().max_batch_bytes(usize::MAX), "max_batch_bytes"),
        (Log::options().index_interval_bytes(0), "index_interval_bytes"),
        (Log::options().flush(FlushPolicy::EveryBytes(0)), "flush"),
        (Log::options().flush(FlushPolicy::Interval(Duration::ZERO)), "flush"),
    ];
    for (options, name) in bad {
        let path = dir.path().join("log");
        let error = options.open(&path).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains(name), "{error}");
        assert!(!path.exists(), "{name}");
    }
    let extremes =
        Log::options().flush(FlushPolicy::Interval(Duration::MAX)).index_interval_bytes(usize::MAX);
    let log = extremes.open_in(&dir).unwrap();
    log.append("a").unwrap();
    assert!(!log.wait_for(Offset::ZERO, Visibility::Durable, Duration::ZERO).unwrap());
}

/// Options are part of a configuration file: plain numbers, defaults, and no unknown names.
#[test]
fn options_round_trip_through_json_and_refuse_unknown_fields() {
    let policies = [
        FlushPolicy::EveryAppend,
        FlushPolicy::Manual,
        FlushPolicy::EveryBytes(u64::MAX),
        FlushPolicy::Interval(Duration::from_millis(1)),
        FlushPolicy::Interval(Duration::from_secs(86_400)),
    ];
    for flush in policies {
        for mode in [IoMode::Auto, IoMode::Mapped, IoMode::Positioned] {
            let options = manual(mode).flush(flush).segment_bytes(8192).max_batch_bytes(4096);
            let options = options.memory_limit_bytes(2 << 20);
            let text = serde_json::to_string(&options).unwrap();
            assert_eq!(serde_json::from_str::<LogOptions>(&text).unwrap(), options, "{text}");
        }
    }
    let written = r#"{"segment_bytes": 65536, "flush": {"interval_ms": 200}, "io_mode": "mapped",
        "memory_limit_bytes": 8388608}"#;
    let expected = Log::options()
        .segment_bytes(65536)
        .io_mode(IoMode::Mapped)
        .flush(FlushPolicy::Interval(Duration::from_millis(200)))
        .memory_limit_bytes(8 << 20);
    assert_eq!(serde_json::from_str::<LogOptions>(written).unwrap(), expected);
    assert_eq!(serde_json::from_str::<LogOptions>("{}").unwrap(), LogOptions::default());
    for bad in [
        r#"{"segment_byte": 65536}"#,
        r#"{"segment_bytes": -1}"#,
        r#"{"segment_bytes": "16 MiB"}"#,
        r#"{"flush": "sometimes"}"#,
        r#"{"flush": {"interval_ms": -1}}"#,
        r#"{"flush": {"interval": 1}}"#,
        r#"{"io_mode": "Mapped"}"#,
        r#"{"mirror_of": "00"}"#,
    ] {
        assert!(serde_json::from_str::<LogOptions>(bad).is_err(), "{bad}");
    }
    let report = Ground::System.place();
    let log = Log::options().open_in(&report).unwrap();
    assert!(serde_json::to_string(log.recovery()).unwrap().contains("\"created\":true"));
}

/// Each policy flushes when it says so, and `Manual` only when told to.
#[test]
fn each_flush_policy_moves_the_durable_offset_when_it_says() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).flush(FlushPolicy::EveryAppend).open_in(&dir).unwrap();
        for n in 1..50 {
            log.append("a").unwrap();
            assert_eq!(log.durable_offset().get(), n);
        }
        assert_eq!(log.append_batch(["a", "b"]).unwrap().end, log.durable_offset());
        log.close().unwrap();

        let options = manual(mode).segment_bytes(4096);
        let log = options.clone().flush(FlushPolicy::EveryBytes(1000)).open_in(&dir).unwrap();
        let mut flushes = 0;
        for n in 0..100 {
            let before = log.durable_offset();
            log.append(vec![7; 40 + n]).unwrap();
            flushes += i32::from(log.durable_offset() > before);
            let waiting: usize = log
                .reader(OffsetSpec::At(log.durable_offset()))
                .unwrap()
                .map(|batch| batch.unwrap().as_bytes().len())
                .sum();
            assert!(waiting < 1000, "{waiting} bytes wait");
        }
        assert!((5..40).contains(&flushes), "{flushes}");
        log.close().unwrap();

        let log = options.open_in(&dir).unwrap();
        let durable = log.durable_offset();
        for _ in 0..200 {
            log.append(vec![7; 100]).unwrap();
        }
        assert_eq!(log.durable_offset(), durable);
        assert_eq!(log.flush().unwrap(), log.log_end_offset());
        assert_eq!(log.durable_offset(), log.log_end_offset());
        assert_eq!(log.flush().unwrap(), log.log_end_offset());
    }
}

/// A log whose interval has passed since its last record was appended.
fn overdue(mode: IoMode, dir: &Place) -> (Log, Offset) {
    let interval = FlushPolicy::Interval(Duration::from_millis(2));
    let log = manual(mode).flush(interval).open_in(dir).unwrap();
    let offset = log.append("a").unwrap();
    dir.pass(Duration::from_millis(20));
    (log, offset)
}

/// `FlushPolicy::Interval` is kept by the next call: an append.
#[test]
fn an_overdue_interval_is_kept_by_the_next_append() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let (log, offset) = overdue(mode, &dir);
        log.append("b").unwrap();
        assert!(log.durable_offset() > offset);
    }
}

/// `FlushPolicy::Interval` is kept by the next call: a poll, whether it has records or not.
#[test]
fn an_overdue_interval_is_kept_by_the_next_poll() {
    for (mode, ground) in ways() {
        for start in [OffsetSpec::Earliest, OffsetSpec::Latest] {
            for visibility in [Visibility::Durable, Visibility::Written] {
                let dir = ground.place();
                let (log, offset) = overdue(mode, &dir);
                let options = ConsumerOptions::new().start(start).visibility(visibility);
                let mut consumer = log.consumer_with("c", options).unwrap();
                let wait = Duration::from_millis(1);
                consumer.poll(wait).unwrap();
                assert!(log.durable_offset() > offset, "{start:?} {visibility:?}");
            }
        }
    }
}

/// `FlushPolicy::Interval` is kept by the next call: a wait, also one that is satisfied at once.
#[test]
fn an_overdue_interval_is_kept_by_the_next_wait() {
    for (mode, ground) in ways() {
        for visibility in [Visibility::Durable, Visibility::Written] {
            let dir = ground.place();
            let (log, offset) = overdue(mode, &dir);
            assert!(log.wait_for(offset, visibility, LONG).unwrap());
            assert!(log.durable_offset() > offset, "{visibility:?}");
        }
    }
}

/// A wait for a durable record flushes when the interval is over, and not before.
#[test]
fn a_wait_for_a_durable_record_keeps_the_interval_itself() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let interval = FlushPolicy::Interval(Duration::from_millis(20));
        let log = manual(mode).flush(interval).open_in(&dir).unwrap();
        for _ in 0..5 {
            let offset = log.append("a").unwrap();
            assert!(log.wait_for(offset, Visibility::Durable, LONG).unwrap());
            assert!(log.durable_offset() > offset);
        }
        drop(log);
        let hour = FlushPolicy::Interval(Duration::from_secs(3600));
        let log = manual(mode).flush(hour).open_in(&dir).unwrap();
        let durable = log.durable_offset();
        let offset = log.append("e").unwrap();
        assert!(!log.wait_for(offset, Visibility::Durable, Duration::from_millis(5)).unwrap());
        assert_eq!(log.durable_offset(), durable);
    }
}

/// Waiting says whether the record is there, written or durable, and never waits for a past one.
#[test]
fn wait_for_says_whether_the_record_can_be_read() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        let wait = |offset, visibility, timeout| {
            log.wait_for(Offset::new(offset), visibility, timeout).unwrap()
        };
        let short = Duration::from_millis(5);
        assert!(!wait(0, Visibility::Written, Duration::ZERO));
        assert!(!wait(0, Visibility::Durable, short));
        log.append_batch(["a", "b"]).unwrap();
        assert!(wait(0, Visibility::Written, Duration::ZERO));
        assert!(wait(1, Visibility::Written, Duration::MAX));
        assert!(!wait(2, Visibility::Written, short) && !wait(0, Visibility::Durable, short));
        assert!(!wait(i64::MAX, Visibility::Written, short));
        log.flush().unwrap();
        assert!(wait(0, Visibility::Durable, Duration::ZERO));
        assert!(wait(1, Visibility::Durable, Duration::MAX));
        assert!(!wait(2, Visibility::Durable, short));
        thread::scope(|scope| {
            let written = scope.spawn(|| wait(2, Visibility::Written, Duration::MAX));
            let durable = scope.spawn(|| wait(2, Visibility::Durable, Duration::MAX));
            log.append("c").unwrap();
            assert!(written.join().unwrap());
            log.flush().unwrap();
            assert!(durable.join().unwrap());
        });
    }
}

/// `Offset`: a negative one handed to a call is answered with `OffsetOutOfRange`.
#[test]
fn waiting_for_a_negative_offset_is_out_of_range() {
    let dir = Ground::System.place();
    let log = Log::options().open_in(&dir).unwrap();
    let waited = log.wait_for(Offset::new(-1), Visibility::Written, Duration::ZERO);
    assert_eq!(kind(waited), ErrorKind::OffsetOutOfRange);
}

/// Paths that lead to no directory are refused with the path; odd but valid ones work.
#[test]
fn paths_that_cannot_hold_a_log_are_refused() {
    let dir = Ground::System.place();
    let file = dir.path().join("file");
    std::fs::write(&file, "not a directory").unwrap();
    let looped = dir.path().join("loop");
    std::os::unix::fs::symlink(&looped, &looped).unwrap();
    assert_eq!(kind(Log::open(&file)), ErrorKind::InvalidArgument);
    assert!(Log::open(&file).unwrap_err().path().is_some());
    for bad in [file.join("below"), looped, PathBuf::new(), PathBuf::from("nul\0nul")] {
        kind(Log::open(&bad));
    }
    kind(Log::open(dir.path().join("x".repeat(300))));
    kind(Log::open(Path::new(&"x/".repeat(3000))));
    assert_eq!(std::fs::read(&file).unwrap(), b"not a directory");

    let odd = dir.path().join(std::ffi::OsStr::from_bytes(b"not \xff utf8\n"));
    for mode in MODES {
        let log = manual(mode).open(&odd).unwrap();
        log.append("a").unwrap();
    }
    assert_eq!(all_texts(&Log::open(&odd).unwrap()), ["a", "a"]);
}

/// A log opened by a relative path stays where it is when the process moves elsewhere.
#[test]
fn a_relative_path_holds_after_the_process_changes_directory() {
    if let Some((role, dir)) = child_role() {
        std::env::set_current_dir(&dir).unwrap();
        let mode = if role == "Mapped" { IoMode::Mapped } else { IoMode::Positioned };
        let log = manual(mode).segment_bytes(4096).open("log").unwrap();
        assert!(log.dir().is_absolute());
        std::env::set_current_dir("/").unwrap();
        for _ in 0..20 {
            log.append(vec![b'x'; 900]).unwrap();
        }
        log.consumer("c").unwrap().commit().unwrap();
        assert_eq!(log.reader(at(0)).unwrap().count(), 20);
        return log.close().unwrap();
    }
    for mode in MODES {
        let dir = Ground::System.place();
        let test = "a_relative_path_holds_after_the_process_changes_directory";
        assert!(
            child(module_path!(), test, &format!("{mode:?}"), dir.path())
                .status()
                .unwrap()
                .success()
        );
        let log = Log::open(dir.path().join("log")).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(all_texts(&log).len(), 20);
    }
}
