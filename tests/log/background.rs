//! The log's own thread: what it does ahead, and that nothing depends on it.

use std::time::{Duration, Instant};

use forebay::{FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec, Visibility};

use crate::util;

const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];

fn options(mode: IoMode) -> LogOptions {
    Log::options().io_mode(mode).segment_bytes(64 << 10).background(true)
}

/// Waits for what the thread does by itself; only its never coming is a failure.
fn becomes(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn the_flush_interval_is_kept_although_nobody_calls_the_log() {
    for mode in MODES {
        let tmp = tempfile::tempdir().unwrap();
        let interval = FlushPolicy::Interval(Duration::from_millis(20));
        let log = options(mode).flush(interval).open(tmp.path()).unwrap();
        for _ in 0..3 {
            let offset = log.append("a reading").unwrap();
            becomes("durable", || log.durable_offset() > offset);
        }
        log.close().unwrap();
    }
}

/// I15: an idle log's last segment is rolled by age, so that retention can take it.
#[test]
fn a_segment_that_is_old_enough_is_sealed_although_nobody_appends() {
    for mode in MODES {
        let tmp = tempfile::tempdir().unwrap();
        let log = options(mode).segment_age(Duration::from_millis(50)).open(tmp.path()).unwrap();
        log.append("the last reading for long").unwrap();
        let second = tmp.path().join("00000000000000000001.log");
        becomes("rolled", || second.exists());
        assert_eq!(log.append("the next one").unwrap().get(), 1);
        log.close().unwrap();
        let log = options(mode).open(tmp.path()).unwrap();
        assert_eq!(log.reader(OffsetSpec::Earliest).unwrap().count(), 2);
    }
}

/// I15: so it is when nothing else wakes the thread, as under a policy that needs no interval.
#[test]
fn a_segment_is_sealed_by_age_under_every_flush_policy() {
    let policies =
        [FlushPolicy::Manual, FlushPolicy::EveryAppend, FlushPolicy::EveryBytes(1 << 30)];
    for mode in MODES {
        for policy in policies {
            let tmp = tempfile::tempdir().unwrap();
            let young = options(mode).flush(policy).segment_age(Duration::from_millis(30));
            let log = young.open(tmp.path()).unwrap();
            for rolls in 1..=3 {
                // Long enough for the thread to fall asleep over an empty segment.
                std::thread::sleep(Duration::from_millis(5));
                log.append("the last reading for long").unwrap();
                becomes("rolled", || log.stats().rolls == rolls);
            }
        }
    }
}

#[test]
fn appends_through_many_segments_made_ahead_are_all_there() {
    for mode in MODES {
        let tmp = tempfile::tempdir().unwrap();
        let log = options(mode).flush(FlushPolicy::Manual).open(tmp.path()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5000 {
                        log.append([b'x'; 200].as_slice()).unwrap();
                    }
                });
            }
        });
        let read = log.reader(OffsetSpec::Earliest).unwrap();
        let offsets = read.map(|batch| batch.unwrap().base_offset().get());
        assert!(offsets.eq(0..20_000));
        assert!(log.wait_for(Offset::new(19_999), Visibility::Written, Duration::ZERO).unwrap());
        log.close().unwrap();
        let names = util::files(tmp.path());
        assert!(
            names.iter().all(|name| name.extension().unwrap_or_default() != "new"),
            "{names:?}"
        );
    }
}

/// The thread holds the log only while it works: the last handle dropped closes it.
#[test]
fn the_last_handle_dropped_closes_the_log_and_ends_the_thread() {
    let test = "the_last_handle_dropped_closes_the_log_and_ends_the_thread";
    if !util::is_alone(module_path!(), test) {
        return;
    }
    let tmp = tempfile::tempdir().unwrap();
    for round in 0..200 {
        let interval = FlushPolicy::Interval(Duration::from_millis(1));
        let log = options(IoMode::Mapped).flush(interval).open(tmp.path()).unwrap();
        assert!(round == 0 || log.recovery().clean, "round {round}");
        log.append("a reading").unwrap();
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(log);
    }
    let ours = |task: &std::io::Result<std::fs::DirEntry>| {
        let name = task.as_ref().unwrap().path().join("comm");
        std::fs::read_to_string(name).is_ok_and(|name| name.trim() == "forebay")
    };
    let count = std::fs::read_dir("/proc/self/task").unwrap().filter(ours).count();
    assert!(count < 20, "{count} threads of 200 are left");
}
