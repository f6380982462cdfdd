//! What the exploration of crash states has found, each as small as it could be made (I2, I12, I13,
//! I18). All on the simulated disk, in both modes.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

use std::sync::{Arc, Mutex};

use forebay::simulation::{Call, CallKind, Disk, Keep, Names, Profile};
use forebay::{FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec};

const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];

fn options(mode: IoMode) -> LogOptions {
    let options = Log::options().segment_bytes(4096).max_batch_bytes(4096).io_mode(mode);
    options.flush(FlushPolicy::Manual)
}

fn strict() -> Disk {
    Disk::new(Profile { names: Names::Strict, ..Profile::default() })
}

fn open(disk: &Disk, mode: IoMode) -> Log {
    options(mode).open_on(disk, "/data/log").unwrap()
}

/// The offsets of all records; damage is a failure.
fn offsets(log: &Log) -> Vec<i64> {
    let mut offsets = Vec::new();
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        let batch = batch.unwrap();
        offsets.extend(batch.records().map(|record| record.unwrap().offset().get()));
    }
    offsets
}

/// What the machine, or the process, leaves if it ends before each call that `at` picks.
fn ends(
    disk: &Disk,
    at: impl Fn(&Call) -> bool + Send + 'static,
    end: impl Fn(&Disk) -> Vec<Disk> + Send + 'static,
) -> Arc<Mutex<Vec<Disk>>> {
    let found: Arc<Mutex<Vec<Disk>>> = Arc::default();
    let into = found.clone();
    disk.watch(move |disk, call| {
        if at(call) {
            into.lock().unwrap().extend(end(disk));
        }
    });
    found
}

/// A power cut with each single piece lost, and with each alone kept.
fn cuts(disk: &Disk) -> Vec<Disk> {
    let kept = (0..disk.loose()).flat_map(|n| [Keep::AllBut(n), Keep::Only(n)]);
    kept.chain([Keep::None, Keep::All]).map(|keep| disk.power_cut(keep)).collect()
}

/// I18: a process dies after it made the directories and before it synced their names; the next
/// one finds them, and makes its records durable all the same.
#[test]
fn a_directory_that_a_killed_process_made_survives_the_power_cut() {
    for mode in MODES {
        let disk = strict();
        let killed = ends(&disk, |call| call.kind == CallKind::SyncDir, |disk| vec![disk.kill()]);
        drop(open(&disk, mode));
        let killed = std::mem::take(&mut *killed.lock().unwrap());
        assert!(killed.len() >= 3, "{} directories were synced", killed.len());
        for next in killed {
            let log = open(&next, mode);
            log.append("kept").unwrap();
            log.flush().unwrap();
            assert_eq!(offsets(&open(&next.power_cut(Keep::None), mode)), [0]);
        }
    }
}

/// I13: nothing is durable yet, and the first segment loses its name while the second keeps its
/// own: that is a torn tail, not damage.
#[test]
fn a_second_segment_without_the_first_is_a_torn_tail() {
    for mode in MODES {
        let disk = strict();
        let log = open(&disk, mode);
        for _ in 0..6 {
            log.append(vec![b'v'; 1000]).unwrap();
        }
        for cut in cuts(&disk) {
            let log = open(&cut, mode);
            let end = log.log_end_offset().get();
            assert_eq!(offsets(&log), (0..end).collect::<Vec<_>>());
            assert_eq!(log.recovery().damaged_ranges, 0);
        }
    }
}

/// I13, I20: deleting into a batch that is not durable does not make damage of what a power cut
/// then takes of it.
#[test]
fn deleting_into_a_batch_that_is_not_durable_makes_no_damage() {
    for mode in MODES {
        let disk = strict();
        let log = open(&disk, mode);
        log.append("durable").unwrap();
        log.flush().unwrap();
        let states = ends(&disk, |_| true, cuts);
        log.append_batch([vec![b'a'; 700], vec![b'b'; 700], vec![b'c'; 700]]).unwrap();
        log.delete_records(Offset::new(3)).unwrap();
        disk.unwatch();
        states.lock().unwrap().extend(cuts(&disk));
        for cut in states.lock().unwrap().iter() {
            let log = open(cut, mode);
            let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
            assert_eq!(offsets(&log), (start..end).collect::<Vec<_>>());
            assert!([0, 3].contains(&start), "the start is {start}");
            assert_eq!(log.recovery().damaged_ranges, 0);
        }
    }
}

/// I2, I12: a process dies after it wrote the new log start and before that was synced; the next
/// open unlinks no segment until it is, so that a power cut in it takes no durable record.
#[test]
fn segments_below_a_start_that_is_not_synced_are_kept() {
    for mode in MODES {
        let disk = strict();
        let log = open(&disk, mode);
        for _ in 0..8 {
            log.append(vec![b'v'; 1000]).unwrap();
        }
        log.flush().unwrap();
        let killed = ends(&disk, |call| call.kind == CallKind::SyncFile, |disk| vec![disk.kill()]);
        log.delete_records(Offset::new(7)).unwrap();
        let killed = std::mem::take(&mut *killed.lock().unwrap());
        assert!(!killed.is_empty());
        for next in killed {
            let states = ends(&next, |_| true, cuts);
            drop(open(&next, mode));
            for cut in states.lock().unwrap().iter() {
                let log = open(cut, mode);
                let start = log.log_start_offset().get();
                assert_eq!(offsets(&log), (start..8).collect::<Vec<_>>());
                assert!([0, 7].contains(&start), "the start is {start}");
            }
        }
    }
}
