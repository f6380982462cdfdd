//! Snapshots and exports on a simulated disk: the power is cut before each call they make, and
//! between any two calls the log is appended to, rolled, deleted from, poisoned or closed, or the
//! disk is filled (I3, I6, I9, I18, I19).

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay::simulation::{Call, CallKind, Disk, Fault, Keep, Names, Profile, Torn};
use forebay::{ErrorKind, IoMode, Log, LogOptions, Media, Offset, OffsetSpec};

use crate::util::{MODES, all_texts, kind, manual, texts};

/// What a hook and its test share, also after a panic.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

const LOG: &str = "/log";
const COPY: &str = "/copy";
const MARK: &str = "unfinished-copy";

fn options(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(4096).index_interval_bytes(300)
}

fn value(offset: i64) -> String {
    format!("{offset} {}", "v".repeat(usize::try_from(offset * 37 % 400).unwrap()))
}

fn append(log: &Log, records: i64) {
    for _ in 0..records {
        let end = log.log_end_offset();
        assert_eq!(log.append(value(end.get())).unwrap(), end);
    }
}

/// A log of several segments, a part of it deleted, with consumers and records above its durable
/// end, 60.
fn sample(disk: &Disk, mode: IoMode) -> Log {
    let log = options(mode).open_on(disk, LOG).unwrap();
    append(&log, 60);
    log.flush().unwrap();
    log.delete_records(Offset::new(5)).unwrap();
    log.consumer("behind").unwrap().commit_offset(Offset::new(30)).unwrap();
    append(&log, 3);
    log.consumer("ahead").unwrap().commit_offset(Offset::new(62)).unwrap();
    log
}

/// Everything in it is as it was appended, without a hole; its offsets.
fn check_whole(log: &Log) -> std::ops::Range<i64> {
    let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
    let expected: Vec<_> = (start..end).map(value).collect();
    assert!(all_texts(log) == expected, "{start}..{end}");
    let verified = log.verify().unwrap();
    // A slot may have been torn by a cut: another one served.
    let slot = |fault: &String| fault.contains("slot of the checkpoint");
    assert!(verified.damaged_ranges == 0 && verified.faults.iter().all(slot), "{verified:?}");
    start..end
}

/// A copy that was made: closed cleanly, and goes on, also after a crash.
fn check_copy(disk: &Disk, mode: IoMode) -> std::ops::Range<i64> {
    let copy = options(mode).open_on(disk, COPY).unwrap();
    let report = copy.recovery();
    assert!(report.clean && !report.created, "{report:?}");
    assert_eq!((report.foreign_files.len(), report.damaged_ranges), (0, 0));
    let offsets = check_whole(&copy);
    assert_eq!(copy.durable_offset(), copy.log_end_offset());
    assert!(copy.consumers().iter().all(|consumer| consumer.committed <= copy.log_end_offset()));
    append(&copy, 20);
    copy.flush().unwrap();
    append(&copy, 1);
    let cut = disk.power_cut(Keep::None);
    let copy = options(mode).open_on(&cut, COPY).unwrap();
    assert_eq!(check_whole(&copy), offsets.start..offsets.end + 20);
    offsets
}

/// What lies in the copy's directory on a disk that was cut: nothing, something that is marked as
/// unfinished, or everything.
fn check_cut(disk: &Disk, mode: IoMode, what: &str) -> bool {
    let names = disk.file_names(COPY);
    let log = options(mode).open_on(disk, LOG).unwrap();
    let offsets = check_whole(&log);
    assert!(offsets.start == 5 && offsets.end >= 60, "{what}: {offsets:?}");
    if names.is_empty() || names.iter().any(|name| name == MARK) {
        if !names.is_empty() {
            let opened = options(mode).open_on(disk, COPY);
            assert_eq!(kind(opened), ErrorKind::InvalidArgument, "{what}: {names:?}");
            assert_eq!(disk.file_names(COPY), names);
        }
        log.flush().unwrap();
        log.snapshot(COPY).unwrap();
        assert_eq!(check_copy(disk, mode).end, offsets.end, "{what}");
        return false;
    }
    assert_eq!(check_copy(disk, mode), 5..60, "{what}: {names:?}");
    true
}

/// Whether a call changes the disk: before another one, the disk is as it was.
fn changes(call: &Call) -> bool {
    use CallKind::{Clock, List, Look, MapRead, Open, Random, Read};
    ![Clock, List, Look, MapRead, Open, Random, Read].contains(&call.kind)
}

/// I18: before each call, by each rule of what a cut takes.
#[test]
fn a_power_cut_during_a_snapshot_leaves_a_whole_copy_or_a_known_ruin() {
    for mode in MODES {
        for names in [Names::Strict, Names::Journal] {
            let disk = Disk::new(Profile { names, stale: true, ..Profile::default() });
            let log = sample(&disk, mode);
            let seen = Arc::new(Mutex::new((0_u64, 0_u64)));
            let counts = Arc::clone(&seen);
            disk.watch(move |disk, call| {
                if !changes(call) {
                    return;
                }
                let mut counts = locked(&counts);
                let mut keeps = vec![Keep::None, Keep::All];
                keeps.extend((0..2).map(|seed| Keep::Seed(call.number * 2 + seed)));
                for keep in keeps {
                    let what = format!("{mode:?}, {names:?}, {keep:?} before {call:?}");
                    counts.1 += u64::from(check_cut(&disk.power_cut(keep), mode, &what));
                }
                counts.0 += 1;
            });
            log.snapshot(COPY).unwrap();
            disk.unwatch();
            assert!(check_cut(&disk.power_cut(Keep::None), mode, "after it returned"));
            let (calls, whole) = *locked(&seen);
            assert!(calls > 40, "{calls}");
            // Whole before the end only where the mark's removal came by itself.
            assert!(whole < 10, "{whole}");
        }
    }
}

/// The death of the process leaves what was done.
#[test]
fn a_kill_during_a_snapshot_leaves_a_whole_copy_or_a_known_ruin() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let log = sample(&disk, mode);
        disk.watch(move |disk, call| {
            if !changes(call) {
                return;
            }
            check_cut(&disk.kill(), mode, &format!("{mode:?} before {call:?}"));
        });
        log.snapshot(COPY).unwrap();
        disk.unwatch();
        assert!(check_cut(&disk.kill(), mode, "after it returned"));
    }
}

#[test]
fn a_power_cut_during_an_export_leaves_a_whole_one_or_a_known_ruin() {
    let disk = Disk::new(Profile::default());
    let log = sample(&disk, IoMode::Mapped);
    log.export("/whole").unwrap();
    let contents = |disk: &Disk, dir: &str| -> Vec<_> {
        let names = disk.file_names(dir).into_iter();
        names.map(|n| (n.clone(), disk.read_file(PathBuf::from(dir).join(n)))).collect()
    };
    let whole = contents(&disk, "/whole");
    let expected = whole.clone();
    disk.watch(move |disk, call| {
        for keep in [Keep::None, Keep::All, Keep::Seed(call.number)] {
            let cut = disk.power_cut(keep);
            let names = cut.file_names(COPY);
            let marked = names.is_empty() || names.iter().any(|name| name == MARK);
            assert!(marked || contents(&cut, COPY) == expected, "{keep:?} before {call:?}");
        }
    });
    log.export(COPY).unwrap();
    disk.unwatch();
    assert!(contents(&disk.power_cut(Keep::None), COPY) == whole);
}

/// What happens to the log between two calls of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meanwhile {
    AppendAndFlush,
    Delete,
    DeleteAll,
    Commit,
    Poison,
    Close,
}

/// Whether a call is one between which a snapshot holds none of the log's locks.
fn is_between(call: &Call) -> bool {
    call.path.starts_with(COPY) && call.kind != CallKind::Lock
}

/// Does it before one call: the snapshot's `at`th in the copy's directory; whether there was one.
fn snapshot_while(
    disk: &Disk,
    log: &Log,
    at: u64,
    meanwhile: Meanwhile,
) -> (bool, forebay::Result<forebay::SnapshotReport>) {
    let done = Arc::new(Mutex::new(false));
    let (hook_done, hook_log) = (Arc::clone(&done), log.clone());
    let mut calls = 0;
    disk.watch(move |disk, call| {
        calls += u64::from(is_between(call));
        let mut done = locked(&hook_done);
        if *done || calls <= at {
            return;
        }
        *done = true;
        let log = &hook_log;
        match meanwhile {
            Meanwhile::AppendAndFlush => {
                append(log, 40);
                log.flush().unwrap();
            }
            Meanwhile::Delete => assert!(log.delete_records(Offset::new(33)).is_ok()),
            Meanwhile::DeleteAll => {
                append(log, 40);
                log.delete_records(log.log_end_offset()).unwrap();
            }
            Meanwhile::Commit => {
                let mut ahead = log.consumer("ahead").unwrap();
                append(log, 40);
                ahead.commit_offset(log.log_end_offset()).unwrap();
                ahead.sync().unwrap();
            }
            Meanwhile::Poison => {
                append(log, 20);
                let name = Some(".log".to_owned());
                disk.fail(Fault { on: CallKind::SyncFile, name, after: 0, times: 1, errno: 5 });
                assert_eq!(kind(log.flush()), ErrorKind::Io);
                disk.clear_faults();
            }
            Meanwhile::Close => log.clone().close().unwrap(),
        }
    });
    let made = log.snapshot(COPY);
    disk.unwatch();
    let done = *locked(&done);
    (done, made)
}

/// I3, I9: whatever happens to the log meanwhile, before whichever call.
#[test]
fn whatever_happens_meanwhile_the_copy_is_a_whole_log_or_none() {
    use Meanwhile::{AppendAndFlush, Close, Commit, Delete, DeleteAll, Poison};
    for mode in MODES {
        for meanwhile in [AppendAndFlush, Delete, DeleteAll, Commit, Poison, Close] {
            for link in [true, false] {
                if !link && [Commit, Poison, Close].contains(&meanwhile) {
                    continue; // nothing of a segment is removed, linked or copied
                }
                let mut starts = Vec::new();
                for at in 0.. {
                    let disk = Disk::new(Profile { seed: at, ..Profile::default() });
                    let log = sample(&disk, mode);
                    if !link {
                        let (on, times) = (CallKind::Link, u64::MAX);
                        disk.fail(Fault { on, name: None, after: 0, times, errno: 18 });
                    }
                    let (done, made) = snapshot_while(&disk, &log, at, meanwhile);
                    if !done {
                        assert!(at > 20, "{at}");
                        break;
                    }
                    let what = format!("{mode:?}, {meanwhile:?} before call {at}: {made:?}");
                    let cut = disk.power_cut(Keep::None);
                    let Ok(report) = made else {
                        assert_eq!(meanwhile, Close, "{what}");
                        assert_eq!(kind(made), ErrorKind::Closed);
                        assert_eq!(disk.file_names(COPY), Vec::<String>::new(), "{what}");
                        continue;
                    };
                    assert_eq!(report.missing_ranges, 0, "{what}");
                    let (start, end) = (report.log_start_offset, report.log_end_offset.get());
                    let start = start.get();
                    // Behind 60 if it was flushed before the copy looked at its end.
                    assert!(end >= 60 && start <= end, "{what}");
                    assert_eq!(check_copy(&cut, mode), start..end, "{what}");
                    let deletes = [Delete, DeleteAll].contains(&meanwhile);
                    assert!(start == 5 || deletes, "{what}");
                    starts.push(start);
                    // The source, as it goes on after the copy was appended to.
                    let log = options(mode).open_on(&cut, LOG).unwrap();
                    check_whole(&log);
                }
                starts.dedup();
                let deletes = [Delete, DeleteAll].contains(&meanwhile);
                assert_eq!(starts.len() > 1, deletes, "{meanwhile:?}: {starts:?}");
            }
        }
    }
}

/// I19: from some call on there is no space until the snapshot gave up.
#[test]
fn a_full_disk_leaves_nothing_that_opens_and_the_log_as_it_was() {
    for mode in MODES {
        let mut refused = 0;
        for at in 0.. {
            let disk = Disk::new(Profile { seed: at, ..Profile::default() });
            let log = sample(&disk, mode);
            let full = Arc::new(Mutex::new(false));
            let hook_full = Arc::clone(&full);
            let mut calls = 0;
            disk.watch(move |disk, _| {
                calls += 1;
                if calls > at {
                    *locked(&hook_full) = true;
                    disk.set_space(Some(0));
                }
            });
            let made = log.snapshot(COPY);
            disk.unwatch();
            disk.set_space(None);
            let names = disk.file_names(COPY);
            match &made {
                Ok(_) => {
                    assert_eq!(check_copy(&disk, mode), 5..60);
                    if !*locked(&full) {
                        break;
                    }
                }
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::OutOfSpace, "before call {at}: {error}");
                    assert_eq!(names, Vec::<String>::new(), "before call {at}");
                    log.snapshot(COPY).unwrap();
                    assert_eq!(check_copy(&disk, mode), 5..60);
                    refused += 1;
                }
            }
            append(&log, 30);
            log.flush().unwrap();
            assert_eq!(check_whole(&log), 5..93);
        }
        assert!(refused > 10, "{refused}");
    }
}

/// The copy of a log on a medium that tears takes no copies of its ends along, and is itself
/// protected once it is opened there; linked segments do not change when the log's own end tears.
#[test]
fn a_copy_on_media_that_tear_is_protected_on_its_own() {
    let torn = Torn::Overwrite { bytes: 4096 };
    let torn_options = || options(IoMode::Positioned).media(Media::TornOverwrite);
    for seed in 0..10 {
        let disk = Disk::new(Profile { torn, seed, ..Profile::default() });
        let log = torn_options().open_on(&disk, LOG).unwrap();
        append(&log, 40);
        log.flush().unwrap();
        append(&log, 9);
        log.flush().unwrap();
        append(&log, 4);
        log.snapshot(COPY).unwrap();
        let held = disk.read_file("/copy/checkpoint").unwrap();
        let held = String::from_utf8_lossy(&held).into_owned();
        assert!(!held.contains("vvvv"), "no bytes of records");
        let held = disk.read_file("/log/checkpoint").unwrap();
        assert!(String::from_utf8_lossy(&held).contains("vvvv"), "as the log's own has");
        // Both logs are appended to, and the power is cut while they write.
        let copy = torn_options().open_on(&disk, COPY).unwrap();
        assert!(copy.recovery().clean);
        let counts = Arc::new(Mutex::new(0_u64));
        let hook_counts = Arc::clone(&counts);
        let durable = Arc::new(Mutex::new((49, 49)));
        let hook_durable = Arc::clone(&durable);
        disk.watch(move |disk, call| {
            let mut counts = locked(&hook_counts);
            *counts += 1;
            let cut = disk.power_cut(Keep::Seed(call.number + seed * 1000));
            let (of_log, of_copy) = *locked(&hook_durable);
            let log = torn_options().open_on(&cut, LOG).unwrap();
            assert!(check_whole(&log).end >= of_log, "before {call:?}");
            let copy = torn_options().open_on(&cut, COPY).unwrap();
            assert!(check_whole(&copy).end >= of_copy, "before {call:?}");
        });
        for _ in 0..2 {
            append(&copy, 3);
            locked(&durable).1 = copy.flush().unwrap().get();
            append(&log, 3);
            locked(&durable).0 = log.flush().unwrap().get();
        }
        disk.unwatch();
        assert!(*locked(&counts) > 20);
    }
}

/// A copy of a copy, made while the first copy is appended to, and of a log that was recovered and
/// has something to write again: nothing of that is linked.
#[test]
fn what_is_to_be_written_again_is_copied() {
    for mode in MODES {
        for keep in [Keep::All, Keep::None] {
            let disk = Disk::new(Profile::default());
            let log = sample(&disk, mode);
            append(&log, 40);
            log.snapshot(COPY).unwrap();
            let disk = disk.power_cut(keep);
            let log = options(mode).open_on(&disk, LOG).unwrap();
            assert!(!log.recovery().clean);
            let durable = log.durable_offset();
            let report = log.snapshot("/second").unwrap();
            assert_eq!(report.log_end_offset, durable);
            // The first flush writes everything above the recovery point again.
            log.flush().unwrap();
            append(&log, 5);
            log.flush().unwrap();
            for dir in [COPY, "/second"] {
                let copy = options(mode).open_on(&disk, dir).unwrap();
                assert_eq!(check_whole(&copy), 5..60, "{dir}");
                append(&copy, 30);
                copy.flush().unwrap();
                let again = format!("{dir} again");
                copy.snapshot(&again).unwrap();
                append(&copy, 30);
                let again = options(mode).open_on(&disk, &again).unwrap();
                assert_eq!(check_whole(&again), 5..90);
                let first = again.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
                assert_eq!(texts(&first), [value(5)]);
            }
            check_whole(&log);
        }
    }
}
