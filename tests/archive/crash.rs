//! Archiving on simulated disks: the power is cut, the process killed, and a call failed before and
//! at every call, with the archive on the log's disk and on another one (I1, I2, I6, I8, I18, I19).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use forebay::simulation::{Call, CallKind, Disk, Fault, Keep, Names, Profile};
use forebay::{ArchiveDir, ErrorKind, IoMode, Log, LogOptions, Offset};

use crate::tiers::{append, move_below, read_through};
use crate::util::{MODES, kind, manual};

const LOG: &str = "/log";
const ARCHIVE: &str = "/archive";
const RECORDS: i64 = 60;
const ENOSPC: i32 = 28;
const EIO: i32 = 5;

/// What a hook and its test share, also after a panic.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The disks of a log and of its archive; the same one, or two.
#[derive(Clone)]
struct Disks {
    log: Disk,
    archive: Disk,
    apart: bool,
}

impl Disks {
    fn new(apart: bool, names: Names) -> Disks {
        let log = Disk::new(Profile { names, stale: true, ..Profile::default() });
        let profile = Profile { names, stale: true, seed: 1, ..Profile::default() };
        let archive = if apart { Disk::new(profile) } else { log.clone() };
        Disks { log, archive, apart }
    }

    /// What each of them becomes by `turn`; one if it is one.
    fn turned(&self, apart: bool, turn: impl Fn(&Disk) -> Disk) -> Disks {
        let log = turn(&self.log);
        let archive = if apart { turn(&self.archive) } else { log.clone() };
        Disks { log, archive, apart }
    }

    fn options(&self, mode: IoMode) -> LogOptions {
        let archive = ArchiveDir::new_on(&self.archive, ARCHIVE).unwrap();
        let options = manual(mode).segment_bytes(4096).index_interval_bytes(600);
        options.archive(Arc::new(archive))
    }

    fn open(&self, mode: IoMode) -> Log {
        self.options(mode).open_on(&self.log, LOG).unwrap()
    }
}

/// A log of several segments, all of it durable.
fn sample(disks: &Disks, mode: IoMode) -> Log {
    let log = disks.open(mode);
    append(&log, RECORDS);
    log.flush().unwrap();
    log
}

/// Everything is there, between archive and log, and goes on to be archived.
fn check(disks: &Disks, mode: IoMode, what: &str) {
    let log = disks.open(mode);
    let end = log.log_end_offset().get();
    assert!(end >= RECORDS, "{what}: what was durable is there: {end}");
    let whole = |log: &Log, end: i64| {
        let found = read_through(log, 0);
        assert_eq!((found.lost, found.missed), (vec![], vec![]), "{what}");
        assert!(found.numbers == (0..end).collect::<Vec<_>>(), "{what}");
    };
    whole(&log, end);
    append(&log, 20);
    let start = move_below(&log, end);
    assert!(start > end - 20, "{what}");
    whole(&log, end + 20);
    assert_eq!(log.stats().archive_failures, 0, "{what}");
    log.flush().unwrap();
    let id = log.id().to_string();
    let names = disks.archive.file_names(format!("{ARCHIVE}/{id}"));
    let left: Vec<_> = names.iter().filter(|name| name.ends_with(".new")).collect();
    assert!(
        left.is_empty() && names.len().is_multiple_of(3),
        "{what}: {left:?} of {}",
        names.len()
    );
    // What the log deleted for that is in the archive for good.
    let cut = disks.turned(disks.apart, |disk| disk.power_cut(Keep::None));
    whole(&cut.open(mode), end + 20);
}

/// Whether a call changes a disk: before another one, it is as it was.
fn changes(call: &Call) -> bool {
    use CallKind::{Clock, List, Look, MapRead, Open, Random, Read};
    ![Clock, List, Look, MapRead, Open, Random, Read].contains(&call.kind)
}

/// Runs the workload with a look before each call that changes a disk; how many there were.
fn watched(
    disks: &Disks,
    mode: IoMode,
    apart: bool,
    look: impl Fn(&Disks, &Call) + Send + Sync + 'static,
) -> u64 {
    let log = sample(disks, mode);
    let count = Arc::new(Mutex::new(0_u64));
    let look = Arc::new(look);
    let each = if apart { vec![&disks.log, &disks.archive] } else { vec![&disks.log] };
    for disk in each {
        let (disks, count, look) = (disks.clone(), Arc::clone(&count), Arc::clone(&look));
        disk.watch(move |_, call| {
            if changes(call) {
                *locked(&count) += 1;
                look(&disks, call);
            }
        });
    }
    for below in [25, RECORDS] {
        move_below(&log, below);
        append(&log, 15);
    }
    disks.log.unwatch();
    disks.archive.unwatch();
    *locked(&count)
}

/// I18: whatever a power cut takes of both disks, no record is lost, none is there twice, and what
/// was begun is done by the next call.
#[test]
fn a_power_cut_at_any_call_loses_nothing() {
    for mode in MODES {
        for (apart, names) in [false, true]
            .into_iter()
            .flat_map(|apart| [Names::Strict, Names::Journal].map(|names| (apart, names)))
        {
            let disks = Disks::new(apart, names);
            let calls = watched(&disks, mode, apart, move |disks, call| {
                let mut keeps = vec![Keep::None, Keep::All];
                keeps.extend([Keep::Seed(call.number)]);
                for keep in keeps {
                    let what = format!("{mode:?}, {names:?}, apart {apart}, {keep:?}, {call:?}");
                    check(&disks.turned(apart, |disk| disk.power_cut(keep)), mode, &what);
                }
            });
            assert!(calls > 60, "{calls}");
            check(&disks.turned(apart, |disk| disk.power_cut(Keep::None)), mode, "at the end");
        }
    }
}

/// The power of one disk's device alone, as of one that is unplugged: the other keeps everything
/// that was written to it.
#[test]
fn an_unplugged_archive_has_what_the_log_deleted() {
    for mode in MODES {
        let disks = Disks::new(true, Names::Strict);
        watched(&disks, mode, true, move |disks, call| {
            for keep in [Keep::None, Keep::Seed(call.number)] {
                let (log, archive) = (disks.log.kill(), disks.archive.power_cut(keep));
                let cut = Disks { log, archive, apart: true };
                check(&cut, mode, &format!("{mode:?}, archive {keep:?}, {call:?}"));
                let (log, archive) = (disks.log.power_cut(keep), disks.archive.kill());
                let cut = Disks { log, archive, apart: true };
                check(&cut, mode, &format!("{mode:?}, log {keep:?}, {call:?}"));
            }
        });
    }
}

#[test]
fn a_kill_at_any_call_loses_nothing() {
    for mode in MODES {
        for apart in [false, true] {
            let disks = Disks::new(apart, Names::Strict);
            watched(&disks, mode, apart, move |disks, call| {
                let what = format!("{mode:?}, apart {apart}, {call:?}");
                check(&disks.turned(apart, Disk::kill), mode, &what);
            });
        }
    }
}

/// I8, I19: a call on the archive's disk that fails, once or from then on, never harms the log, and
/// all is archived once it works again; also after a power cut then, for a sync that failed.
#[test]
fn an_archive_that_fails_at_any_call_keeps_the_segments() {
    use CallKind::{CreateDir, CreateNew, Link, List, Look, Open, Read, Rename, SyncDir, SyncFile};
    use CallKind::{Unlink, Write};
    let kinds = [
        CreateDir, CreateNew, Link, List, Look, Open, Read, Rename, SyncDir, SyncFile, Unlink,
        Write,
    ];
    for mode in MODES {
        let mut failures = 0;
        for (kind_of_call, errno) in kinds.iter().flat_map(|kind| [(*kind, EIO), (*kind, ENOSPC)]) {
            for (after, times) in (0..40).flat_map(|after| [(after, 1), (after, u64::MAX)]) {
                let disks = Disks::new(true, Names::Strict);
                let log = sample(&disks, mode);
                disks.archive.fail(Fault { on: kind_of_call, name: None, after, times, errno });
                let done = log.archive_records(Offset::new(RECORDS));
                let what = format!("{mode:?} {kind_of_call:?} {errno} from {after}, {times} times");
                let failed = log.stats().archive_failures;
                failures += failed;
                if failed == 0 && times > 1 {
                    assert!(done.is_ok());
                    // No such call: no later one either.
                    break;
                }
                assert_eq!(done.is_err(), failed == 1, "{what}");
                if let Err(error) = done {
                    assert!(error.kind() != ErrorKind::Poisoned, "{what}: {error}");
                }
                assert!(log.stats().poisoned.is_none(), "{what}");
                append(&log, 1);
                log.flush().unwrap();
                disks.archive.clear_faults();
                let start = move_below(&log, RECORDS);
                assert!(start > 40, "{what}");
                let cut = disks.turned(true, |disk| disk.power_cut(Keep::None));
                drop(log);
                check(&cut, mode, &what);
            }
        }
        assert!(failures > 100, "{failures}");
    }
}

/// A full archive keeps nothing half, and the log goes on; room for one more segment is used.
#[test]
fn a_full_archive_disk_is_an_error_until_there_is_room() {
    for mode in MODES {
        let disks = Disks::new(true, Names::Strict);
        let log = sample(&disks, mode);
        let mut moved = Vec::new();
        for room in (0..20).map(|step| step * 4096) {
            disks.archive.set_space(Some(room));
            match log.archive_records(Offset::new(RECORDS)) {
                Err(error) => assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}"),
                Ok(done) => moved.push(done),
            }
            let names = disks.archive.file_names(format!("{ARCHIVE}/{}", log.id()));
            assert!(names.iter().all(|name| !name.ends_with(".new")), "{names:?}");
        }
        assert!(!moved.is_empty());
        disks.archive.set_space(None);
        assert!(move_below(&log, RECORDS) > 40);
        check(&disks.turned(true, |disk| disk.power_cut(Keep::None)), mode, "in the end");
    }
}

/// A log that is poisoned hands over what is durable, and nothing else.
#[test]
fn a_poisoned_log_hands_over_what_is_durable() {
    for mode in MODES {
        let disks = Disks::new(true, Names::Strict);
        let log = sample(&disks, mode);
        append(&log, 40);
        let fault =
            |on| Fault { on, name: Some("log".into()), after: 0, times: u64::MAX, errno: EIO };
        disks.log.fail(fault(CallKind::SyncFile));
        assert_eq!(kind(log.flush()), ErrorKind::Io);
        let durable = log.durable_offset();
        assert_eq!(durable.get(), RECORDS);
        let error = log.archive_records(log.log_end_offset());
        assert_eq!(kind(error), ErrorKind::Poisoned);
        let moved = log.archive_records(durable).unwrap();
        assert!(moved.get() > 40 && moved <= durable);
    }
}
