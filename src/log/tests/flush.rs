//! Floor 4's tests: what a flush covers, alone and of several logs at once, by the calls it makes
//! and what it counts.

use super::*;
use crate::log::flush::flush_together;
use crate::words::limits;

/// A log that a process that was killed left, of the files of `log`.
pub(super) fn killed(log: &Log, at: &Path) {
    std::fs::create_dir(at).unwrap();
    for entry in std::fs::read_dir(&log.inner.env.dir).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, at.join(path.file_name().unwrap())).unwrap();
    }
}

/// As a store flushes its logs: by one sync of the filesystem they lie on.
fn together(script: &Scripted, root: &Path, logs: &[&Log]) -> Result<()> {
    let logs: Vec<_> = logs.iter().map(|log| Arc::clone(&log.inner)).collect();
    let whole = script.lock(root).unwrap().unwrap();
    flush_together(&logs, &logs, &*whole)
}

pub(super) fn calls_of(calls: &[(&'static str, String)], wanted: &str) -> Vec<String> {
    let of = calls.iter().filter(|(call, _)| *call == wanted);
    of.map(|(_, name)| name.clone()).collect()
}

/// A log with nothing to flush costs nothing beside one that has, and is told from it.
#[test]
fn one_sync_of_the_filesystem_flushes_only_the_logs_that_wait_for_it() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let [idle, one, two] = ["idle", "one", "two"].map(|name| {
            let log = opened(&script, &tmp.path().join(name), mode);
            log.append("x").unwrap();
            log
        });
        idle.flush().unwrap();
        assert_eq!([&idle, &one].map(|log| log.inner.is_flushed()), [true, false]);
        script.take_calls();
        together(&script, tmp.path(), &[&idle, &one, &two]).unwrap();
        let calls = script.take_calls();
        assert_eq!(calls_of(&calls, "sync_filesystem").len(), 1);
        assert_eq!(calls_of(&calls, "sync"), Vec::<String>::new());
        assert_eq!([&idle, &one, &two].map(|log| log.stats().flushes), [1, 1, 1]);
        assert!([&idle, &one, &two].iter().all(|log| log.inner.is_flushed()));
        together(&script, tmp.path(), &[&idle, &one, &two]).unwrap();
        assert!(script.take_calls().is_empty(), "nothing waits any more");
    }
}

/// I8: a sync of the filesystem covers only what is dirty in the cache. What an unclean stop left
/// may be clean there and not on the device: it is written again, with its names, by the log alone.
#[test]
fn what_an_unclean_stop_left_takes_no_part_in_a_sync_of_the_filesystem() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let before = opened(&script, &tmp.path().join("before"), mode);
        before.append("left behind").unwrap();
        killed(&before, &tmp.path().join("after"));
        let log = opened(&script, &tmp.path().join("after"), mode);
        assert!(!log.recovery().clean);
        log.append("and more").unwrap();
        let waiting = log.stats().unflushed_bytes;
        assert!(waiting > 0);
        script.take_calls();
        together(&script, tmp.path(), &[&log]).unwrap();
        let calls = script.take_calls();
        assert_eq!(calls_of(&calls, "sync_filesystem"), Vec::<String>::new());
        let segment = "00000000000000000000.log";
        let place = |call: &str, name: &str| {
            calls.iter().position(|(of, on)| (*of, on.as_str()) == (call, name)).unwrap()
        };
        assert!(place("write", segment) < place("sync", segment), "{calls:?}");
        assert!(place("sync", segment) < place("sync_dir", "after"), "{calls:?}");
        assert_eq!(log.durable_offset().get(), 2);
        // The flush that did not take place is not one that the pace is told by.
        let writer = log.inner.writer.lock();
        assert_eq!((writer.between_flushes as u64, writer.since_flush), (waiting, 0));
        assert!(writer.rewrite.is_none() && !writer.names_unsynced);
    }
}

/// Wear is what goes to the device, whoever syncs it: the pages of each segment, each once.
#[test]
fn a_sync_of_the_filesystem_counts_the_pages_that_the_logs_own_would() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let [alone, shared] = ["alone", "shared"].map(|name| {
            let log = opened(&script, &tmp.path().join(name), mode);
            for _ in 0..25 {
                log.append([b'x'; 1000].as_slice()).unwrap();
            }
            log
        });
        let pages = |log: &Log| log.inner.env.written.sums().0 / 4096;
        let before = [pages(&alone), pages(&shared)];
        assert_eq!(before[0], before[1]);
        alone.flush().unwrap();
        together(&script, tmp.path(), &[&shared]).unwrap();
        let counted = pages(&alone) - before[0];
        assert!(counted > 7, "{counted} pages of four segments");
        // The checkpoint's change at the rolls went with the filesystem, and once more behind it.
        assert_eq!(pages(&shared) - before[1], counted + 1);
    }
}

/// I8: every log that shared the sync is poisoned, and so is one that is open beside them.
#[test]
fn a_log_says_whether_a_sync_of_it_has_failed() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let [one, two] = ["one", "two"].map(|name| {
        let log = opened(&script, &tmp.path().join(name), IoMode::Mapped);
        log.append("x").unwrap();
        log
    });
    assert!(!one.inner.has_failed() && !two.inner.has_failed());
    script.refuse("sync_filesystem", EIO);
    assert_eq!(kind(together(&script, tmp.path(), &[&one, &two])), ErrorKind::Io);
    assert!(one.inner.has_failed() && two.inner.has_failed());
    script.allow_all();
    assert_eq!(kind(two.flush()), ErrorKind::Poisoned);
}

/// A flush is due by the policy alone, and not before something waits for it.
#[test]
fn a_flush_is_due_when_the_policy_says_so_and_something_waits() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let open = |name: &str, policy| {
        let options = options(IoMode::Mapped).flush(policy);
        open_on(Arc::new(script.clone()), &tmp.path().join(name), options).unwrap()
    };
    let manual = open("manual", FlushPolicy::Manual);
    manual.append("x").unwrap();
    let later = open("later", FlushPolicy::Interval(Duration::from_secs(3600)));
    later.append("x").unwrap();
    let idle = open("idle", FlushPolicy::Interval(Duration::ZERO));
    assert_eq!([&manual, &later, &idle].map(|log| log.inner.is_flush_due()), [false; 3]);
}

/// I6: what a flush has synced it need not sync again, and what was sealed while it ran is the next
/// one's.
#[test]
fn a_segment_that_is_sealed_during_a_flush_waits_for_the_next_one() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let log = opened(&script, tmp.path(), mode);
        let append = |count| {
            for _ in 0..count {
                log.append([b'x'; 900].as_slice()).unwrap();
            }
        };
        let sealed = || -> Vec<_> {
            log.inner.writer.lock().unsynced.iter().map(|data| data.base.get()).collect()
        };
        append(20);
        assert_eq!(sealed(), [0, 8]);
        let gate = Arc::clone(&script.0.lock().gate);
        std::thread::scope(|scope| {
            let closed = gate.lock();
            let flush = scope.spawn(|| log.flush().unwrap());
            while !(log.inner.group.is_running() && log.stats().flushes > 0) {
                std::thread::yield_now();
            }
            append(10);
            drop(closed);
            assert_eq!(flush.join().unwrap().get(), 20);
        });
        assert_eq!(sealed(), [16]);
        script.take_calls();
        log.flush().unwrap();
        let synced = calls_of(&script.take_calls(), "sync");
        let synced: Vec<_> = synced.iter().filter(|name| name.ends_with(".log")).collect();
        assert_eq!(synced, ["00000000000000000016.log", "00000000000000000024.log"]);
        assert!(sealed().is_empty());
    }
}

/// I6, I11: of the segments that wait for a flush a bounded number is open. The oldest is synced to
/// make place, and no other is forgotten with it.
#[test]
fn the_oldest_of_too_many_unsynced_segments_is_synced_and_the_others_wait() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let small = options(IoMode::Positioned).segment_bytes(4096);
    let log = open_on(Arc::new(script.clone()), tmp.path(), small).unwrap();
    script.take_calls();
    let most = limits::UNSYNCED_SEGMENTS_MAX as u64;
    while log.stats().rolls < most + 3 {
        log.append([b'x'; 1900].as_slice()).unwrap();
    }
    let of_segments = |calls: &[(&'static str, String)]| {
        let mut names = calls_of(calls, "sync");
        names.retain(|name| name.ends_with(".log"));
        names
    };
    let name = |number: u64| format!("{:020}.log", 2 * number);
    assert_eq!(of_segments(&script.take_calls()), [name(0), name(1), name(2)]);
    log.flush().unwrap();
    let all: Vec<_> = (3..=most + 3).map(name).collect();
    assert_eq!(of_segments(&script.take_calls()), all);
}

/// Who flushes gives those whom the last flush served the chance to come along, and waits for
/// nobody where it served nobody.
#[test]
fn a_flush_waits_a_moment_for_as_many_as_the_last_one_served() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    let yields = || std::mem::take(&mut script.0.lock().yields);
    let alone = || {
        log.append("x").unwrap();
        log.flush().unwrap();
        yields()
    };
    assert_eq!([alone(), alone()], [0, 0]);
    log.append("x").unwrap();
    let gate = Arc::clone(&script.0.lock().gate);
    std::thread::scope(|scope| {
        let closed = gate.lock();
        scope.spawn(|| log.flush().unwrap());
        while !log.inner.group.is_running() {
            std::thread::yield_now();
        }
        scope.spawn(|| log.flush().unwrap());
        while log.inner.group.waiting() < 1 {
            std::thread::yield_now();
        }
        drop(closed);
    });
    yields();
    assert_eq!([alone(), alone()], [limits::GATHER_YIELDS_MAX as usize, 0]);
}

/// A log whose flush is under way is not waited for before the others are flushed, and is flushed
/// before the call returns.
#[test]
fn a_log_that_is_being_flushed_is_flushed_after_the_others() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let [busy, other] = ["busy", "other"].map(|name| {
        let log = opened(&script, &tmp.path().join(name), IoMode::Mapped);
        log.append("x").unwrap();
        log
    });
    let gate = Arc::clone(&script.0.lock().gate);
    std::thread::scope(|scope| {
        let closed = gate.lock();
        scope.spawn(|| busy.flush().unwrap());
        while !(busy.inner.group.is_running() && busy.stats().flushes > 0) {
            std::thread::yield_now();
        }
        busy.append("behind that flush").unwrap();
        let both = scope.spawn(|| together(&script, tmp.path(), &[&busy, &other]));
        while other.durable_offset() == Offset::ZERO {
            std::thread::yield_now();
        }
        assert_eq!(busy.durable_offset(), Offset::ZERO);
        drop(closed);
        both.join().unwrap().unwrap();
    });
    assert_eq!(busy.durable_offset().get(), 2);
}
