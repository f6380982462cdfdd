//! Floor 4's tests: deleting records, by the calls it makes and on a storage that refuses them.

use super::*;
use crate::log::Visibility;

/// Five sealed segments and an active one, all flushed.
fn six_segments(script: &Scripted, dir: &Path, mode: IoMode) -> (Log, Vec<i64>) {
    let log = opened(script, dir, mode);
    let mut bases = vec![0];
    while bases.len() < 6 {
        let offset = log.append([b'x'; 900].as_slice()).unwrap();
        let name = format!("{:020}.log", offset.get());
        if offset.get() > 0 && dir.join(name).exists() {
            bases.push(offset.get());
        }
    }
    log.flush().unwrap();
    (log, bases)
}

fn names(dir: &Path, extension: &str) -> Vec<i64> {
    let mut bases: Vec<i64> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(extension).and_then(|stem| stem.parse().ok()))
        .collect();
    bases.sort_unstable();
    bases
}

/// A file keeps the name it was made under.
fn is_checkpoint_sync((call, name): &(&'static str, String)) -> bool {
    *call == "sync" && name.starts_with("checkpoint")
}

/// The checkpoint with the new start is synced before the first file goes; of a segment the time
/// index, the index and then the segment, oldest segment first.
#[test]
fn the_new_start_is_synced_before_the_first_unlink() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let (log, bases) = six_segments(&script, tmp.path(), mode);
        script.take_calls();
        log.delete_records(Offset::new(bases[3] + 1)).unwrap();
        let calls = script.take_calls();
        let mut expected = vec![];
        for base in &bases[..3] {
            for part in ["timeindex", "index", "log"] {
                expected.push(("unlink", format!("{base:020}.{part}")));
            }
        }
        let unlinks = calls.len() - expected.len();
        assert_eq!(calls[unlinks..], expected, "nothing comes between or behind: {calls:?}");
        assert!(is_checkpoint_sync(&calls[unlinks - 1]), "the sync comes right before: {calls:?}");
        let checkpoint = |(_, name): &(_, String)| name.starts_with("checkpoint");
        assert!(calls[..unlinks].iter().all(checkpoint), "{calls:?}");
        assert_eq!(names(tmp.path(), ".log"), bases[3..]);
        // Nothing of it is left to be synced.
        log.flush().unwrap();
        assert!(script.take_calls().is_empty(), "a flush has nothing to do");
    }
}

/// Within one segment no file goes; the start is synced all the same. Moving it nowhere costs
/// nothing.
#[test]
fn a_start_within_the_first_segment_is_synced_and_a_lower_one_does_nothing() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let (log, bases) = six_segments(&script, tmp.path(), mode);
        script.take_calls();
        log.delete_records(Offset::new(1)).unwrap();
        assert!(script.take_calls().iter().any(is_checkpoint_sync));
        for before in [1, 0, -1, i64::MIN] {
            assert_eq!(log.delete_records(Offset::new(before)).unwrap().get(), 1);
        }
        assert_eq!(script.take_calls(), []);
        assert_eq!(names(tmp.path(), ".log"), bases);
    }
}

/// I8: if the checkpoint cannot be synced, nothing is removed and the log is poisoned.
#[test]
fn nothing_is_removed_when_the_start_cannot_be_made_durable() {
    for mode in MODES {
        for (call, errno) in [("sync", EIO), ("sync", ENOSPC)] {
            let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
            let (log, bases) = six_segments(&script, tmp.path(), mode);
            let end = log.log_end_offset();
            script.refuse(call, errno);
            assert_eq!(kind(log.delete_records(Offset::new(bases[4]))), ErrorKind::Io);
            script.allow_all();
            assert_eq!(log.log_start_offset(), Offset::ZERO);
            assert_eq!(names(tmp.path(), ".log"), bases);
            assert_eq!(kind(log.delete_records(Offset::new(bases[4]))), ErrorKind::Poisoned);
            assert_eq!(kind(log.append("more")), ErrorKind::Poisoned);
            assert_eq!(count(&log) as i64, end.get(), "reading goes on");
            drop(log);
            let log = opened(&script, tmp.path(), mode);
            // Whether the start moved is unknown; the log is whole from it on either way.
            let start = log.log_start_offset().get();
            assert!(start == 0 || start == bases[4], "{start}");
            assert_eq!(count(&log) as i64, end.get() - start);
        }
    }
}

/// A checkpoint that cannot be written, in positioned mode: nothing is deleted and the start stays,
/// then and at a later commit or close, and the next call works.
#[test]
fn a_start_that_cannot_be_written_is_taken_back() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let (log, bases) = six_segments(&script, tmp.path(), IoMode::Positioned);
    log.append("not durable").unwrap();
    let end = log.log_end_offset();
    script.refuse("write", ENOSPC);
    assert_eq!(kind(log.delete_records(end)), ErrorKind::OutOfSpace);
    script.allow_all();
    assert_eq!(log.log_start_offset(), Offset::ZERO);
    assert_eq!(log.durable_offset() + 1, end);
    let mut consumer = log.consumer("writes").unwrap();
    consumer.commit_offset(Offset::new(1)).unwrap();
    consumer.sync().unwrap();
    {
        let state = &log.inner.checkpoint.lock().state;
        assert_eq!((state.log_start, state.recovery_point), (Offset::ZERO, end), "it was flushed");
    }
    drop(consumer);
    assert_eq!(log.delete_records(Offset::new(bases[2])).unwrap().get(), bases[2]);
    assert_eq!(names(tmp.path(), ".log"), bases[2..]);
}

/// Deleting works on a disk that has nothing left, and appends that were refused go on behind it.
#[test]
fn records_are_deleted_on_a_full_disk() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let (log, bases) = six_segments(&script, tmp.path(), mode);
        script.refuse("allocate", ENOSPC);
        script.refuse("create_new", ENOSPC);
        script.refuse("rename", ENOSPC);
        while log.append([b'x'; 900].as_slice()).is_ok() {}
        assert_eq!(kind(log.append([b'x'; 900].as_slice())), ErrorKind::OutOfSpace);
        let end = log.log_end_offset();
        assert_eq!(log.delete_records(Offset::new(bases[5])).unwrap().get(), bases[5]);
        assert_eq!(names(tmp.path(), ".log"), bases[5..]);
        assert_eq!(log.delete_records(end).unwrap(), end);
        script.allow_all();
        assert_eq!(log.append([b'x'; 900].as_slice()).unwrap(), end);
        assert_eq!(count(&log), 1);
    }
}

/// A file that cannot be unlinked is an error; the start has moved, nothing is read from below it,
/// and the next call removes what is left.
#[test]
fn what_could_not_be_unlinked_goes_at_the_next_call() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let (log, bases) = six_segments(&script, tmp.path(), mode);
        let end = log.log_end_offset().get();
        script.refuse("unlink", EIO);
        let error = log.delete_records(Offset::new(bases[2] + 1)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Io);
        assert!(error.path().is_some_and(|path| path.ends_with(format!("{:020}.timeindex", 0))));
        assert_eq!(log.log_start_offset().get(), bases[2] + 1);
        assert_eq!(names(tmp.path(), ".log"), bases);
        assert_eq!(count(&log) as i64, end - bases[2] - 1);
        assert_eq!(kind(log.delete_records(Offset::new(bases[3]))), ErrorKind::Io);
        log.append("no sync failed, so nothing is poisoned").unwrap();
        script.allow_all();
        assert_eq!(log.delete_records(Offset::ZERO).unwrap().get(), bases[3]);
        assert_eq!(names(tmp.path(), ".log"), bases[3..]);
        assert_eq!(names(tmp.path(), ".index"), bases[3..5], "of the two that are sealed still");
        assert_eq!(names(tmp.path(), ".timeindex"), bases[3..5]);

        // The same, left to the next open.
        script.refuse("unlink", EIO);
        assert_eq!(kind(log.delete_records(Offset::new(bases[4]))), ErrorKind::Io);
        drop(log);
        script.allow_all();
        let log = opened(&script, tmp.path(), mode);
        assert_eq!(log.recovery().segments_deleted, 1);
        assert_eq!(names(tmp.path(), ".log"), bases[4..]);
        assert_eq!(log.log_start_offset().get(), bases[4]);
    }
}

/// A flush that is under way with segments that are deleted meanwhile ends well, and close waits
/// for a deletion: nothing is removed once the directory is free.
#[test]
fn a_flush_may_hold_segments_that_are_deleted_meanwhile() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let log = opened(&script, tmp.path(), mode);
        for _ in 0..30 {
            log.append([b'x'; 900].as_slice()).unwrap();
        }
        let gate = Arc::clone(&script.0.lock().gate);
        std::thread::scope(|scope| {
            let closed = gate.lock();
            let flush = scope.spawn(|| log.flush().unwrap());
            while !log.inner.group.is_running() {
                std::thread::yield_now();
            }
            // Its sync of the checkpoint waits at the same gate.
            let deletion = scope.spawn(|| log.delete_records(Offset::new(25)).unwrap());
            drop(closed);
            assert!(flush.join().unwrap() >= Offset::new(25));
            assert_eq!(deletion.join().unwrap(), Offset::new(25));
        });
        assert!(log.inner.writer.lock().unsynced.is_empty());
        assert_eq!(count(&log), 5);
        log.flush().unwrap();
        log.close().unwrap();
        let log = opened(&script, tmp.path(), mode);
        assert!(log.recovery().clean);
        assert_eq!((count(&log), log.log_start_offset().get()), (5, 25));
    }
}

/// I1: deleting what was never flushed makes it durable, and wakes whoever waits for that.
#[test]
fn deleted_offsets_count_as_durable_for_those_who_wait() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    for _ in 0..3 {
        log.append("waits").unwrap();
    }
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let most = Duration::from_secs(60);
            log.wait_for(Offset::new(2), Visibility::Durable, most).unwrap()
        });
        while log.inner.group.waiting() == 0 {
            std::thread::yield_now();
        }
        assert_eq!(log.delete_records(Offset::new(3)).unwrap().get(), 3);
        assert!(waiter.join().unwrap());
    });
    assert_eq!(log.durable_offset().get(), 3);
    script.take_calls();
    assert_eq!(log.flush().unwrap().get(), 3, "nothing is left to flush");
    assert_eq!(script.take_calls(), []);
}
