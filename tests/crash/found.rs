//! What the exploration of crash states has found, each as small as it could be made (I2, I12, I13,
//! I18). All on the simulated disk, in both modes.

use std::sync::{Arc, Mutex};

use forebay::simulation::{Call, CallKind, Disk, Fault, Ignored, Keep, Names, Profile, Torn};
use forebay::{ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Media, Offset, OffsetSpec};

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

/// A card: 64 KiB around what is being written at a cut may go.
fn card() -> (Disk, LogOptions) {
    let torn = Torn::Overwrite { bytes: 64 << 10 };
    let options = options(IoMode::Positioned).media(Media::TornOverwrite).torn_bytes(64 << 10);
    (Disk::new(Profile { torn, ..Profile::default() }), options)
}

/// A card whose log holds a flushed record and a synced commit, left by a killed process.
fn killed_card() -> (Disk, LogOptions) {
    let (disk, options) = card();
    let log = options.clone().open_on(&disk, "/data/log").unwrap();
    log.append("durable").unwrap();
    log.flush().unwrap();
    let mut consumer = log.consumer("reader").unwrap();
    consumer.poll(std::time::Duration::ZERO).unwrap();
    consumer.commit().unwrap();
    consumer.sync().unwrap();
    (disk.kill(), options)
}

/// V6, I2: on a medium that tears the first change of the state after a kill does not write over
/// the slot that may be all that was ever synced.
#[test]
fn a_synced_commit_survives_the_next_process_on_a_card() {
    let (killed, options) = killed_card();
    let seeds = |disk: &Disk| (0..24).map(|seed| disk.power_cut(Keep::Seed(seed))).collect();
    let states = ends(&killed, |call| call.kind == CallKind::SyncFile, seeds);
    let log = options.clone().open_on(&killed, "/data/log").unwrap();
    log.append("more").unwrap();
    log.flush().unwrap();
    let states = std::mem::take(&mut *states.lock().unwrap());
    assert!(states.len() >= 48, "{} states", states.len());
    for state in states {
        let log = options.clone().open_on(&state, "/data/log").unwrap();
        let committed: Vec<i64> = log.consumers().iter().map(|one| one.committed.get()).collect();
        assert_eq!(committed, [1], "{:?}", log.recovery());
    }
}

/// I2, I3: the copy of an end is forgotten with the file that it was of; else the next recovery
/// puts it over what a new file of the same name holds, durable or not.
#[test]
fn the_copy_of_an_end_that_is_gone_is_not_put_into_a_new_file() {
    let (disk, options) = card();
    let open = |disk: &Disk| options.clone().open_on(disk, "/data/log").unwrap();
    let log = open(&disk);
    log.append(vec![b'a'; 900]).unwrap();
    let killed = disk.kill();
    killed.ignore_syncs(Ignored::Directories, true);
    let log_of_killed = open(&killed);
    // The end is copied and synced before this; the segment's name is lost, whoever synced it.
    log_of_killed.append("b").unwrap();
    let dark = killed.power_cut(Keep::None);
    drop((log, log_of_killed));
    let log = open(&dark);
    assert_eq!(log.log_end_offset(), Offset::ZERO, "the segment is gone");
    log.append("new").unwrap();
    log.flush().unwrap();
    let log = open(&dark.power_cut(Keep::None));
    let batch = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
    assert_eq!(batch.records().next().unwrap().unwrap().value(), b"new");
    assert_eq!((offsets(&log), log.recovery().ends_restored), (vec![0], 0));
}

/// V6: a commit that a killed process had not synced, in a log that was closed before it: the next
/// close, which finds nothing to write, syncs it all the same.
#[test]
fn a_close_syncs_the_commit_that_a_killed_process_left() {
    for mode in MODES {
        let disk = strict();
        let log = open(&disk, mode);
        log.append("read").unwrap();
        drop(log.consumer("reader").unwrap());
        log.close().unwrap();
        let log = open(&disk, mode);
        let mut consumer = log.consumer("reader").unwrap();
        consumer.poll(std::time::Duration::ZERO).unwrap();
        consumer.commit().unwrap();
        let killed = disk.kill();
        open(&killed, mode).close().unwrap();
        let log = open(&killed.power_cut(Keep::None), mode);
        assert_eq!(log.consumers()[0].committed, Offset::new(1), "{mode:?}");
    }
}

/// I8, I19: the checkpoint outgrows its file, and the new one cannot be synced, for want of room or
/// not: nothing more is taken, and nothing that was durable is gone.
#[test]
fn a_grown_checkpoint_that_cannot_be_synced_poisons_the_log() {
    for mode in MODES {
        let disk = strict();
        let log = open(&disk, mode);
        log.append("durable").unwrap();
        log.flush().unwrap();
        let name = Some("checkpoint.new".to_owned());
        disk.fail(Fault { on: CallKind::SyncFile, name, after: 0, times: 1, errno: 28 });
        let refused = (0..64).find_map(|n| log.consumer(&format!("{n:0200}")).err()).unwrap();
        assert_eq!(refused.kind(), ErrorKind::Io, "{refused}");
        assert_eq!(log.append("refused").unwrap_err().kind(), ErrorKind::Poisoned);
        drop(log);
        assert_eq!(offsets(&open(&disk.power_cut(Keep::All), mode)), [0]);
    }
}

/// I13: what is cut off a torn tail is on the device beside the log before it is cut, also when the
/// recovery dies on the way and the next one finds nothing more to cut.
#[test]
fn what_was_cut_off_survives_the_cut_and_the_death_of_its_recovery() {
    let asides = |disk: &Disk| {
        disk.file_names("/data/log").into_iter().filter(|name| name.ends_with(".aside")).count()
    };
    for mode in MODES {
        let disk = strict();
        let log = open(&disk, mode);
        log.append("durable").unwrap();
        log.flush().unwrap();
        log.append(vec![b'v'; 3000]).unwrap();
        let mut torn = 0;
        for state in cuts(&disk) {
            let killed = ends(&state, |_| true, |disk| vec![disk.kill()]);
            if open(&state, mode).recovery().bytes_cut == 0 {
                continue;
            }
            torn += 1;
            assert_eq!(asides(&state.power_cut(Keep::None)), 1, "behind open");
            for (call, next) in killed.lock().unwrap().iter().enumerate() {
                let log = open(next, mode);
                assert_eq!(asides(&next.power_cut(Keep::None)), 1, "killed before call {call}");
                drop(log);
            }
        }
        assert!(torn > 0, "no state has a torn tail");
    }
}

/// V4, V6: a read that fails once while the log is opened says nothing of whose it is: the open
/// fails, or has everything; and so does the next one.
#[test]
fn a_read_that_fails_once_costs_neither_identity_nor_checkpoint() {
    for mode in MODES {
        for after in 0..40 {
            let disk = strict();
            let log = open(&disk, mode);
            for _ in 0..4 {
                log.append_batch(["a", "b"]).unwrap();
            }
            log.delete_records(Offset::new(3)).unwrap();
            log.consumer("c").unwrap().commit_offset(Offset::new(5)).unwrap();
            let id = log.id();
            log.close().unwrap();
            for on in [CallKind::Read, CallKind::Open] {
                disk.fail(Fault { on, name: None, after, times: 1, errno: 5 });
                match options(mode).open_on(&disk, "/data/log") {
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Io, "{on:?} {after}"),
                    Ok(log) => log.close().unwrap(),
                }
                disk.clear_faults();
                let log = open(&disk, mode);
                let report = log.recovery();
                assert!(!report.seal_lost && !report.checkpoint_lost, "{on:?} {after}");
                assert_eq!((log.id(), log.log_start_offset().get()), (id, 3), "{on:?} {after}");
                assert_eq!(log.consumers()[0].committed.get(), 5, "{on:?} {after}");
                assert_eq!(offsets(&log), [3, 4, 5, 6, 7], "{on:?} {after}");
                log.close().unwrap();
            }
        }
    }
}

/// I18, V6: a process dies after it put a larger checkpoint in the old one's place and before that
/// name was synced; what the next one commits and syncs is in a file that a power cut leaves.
#[test]
fn a_synced_commit_survives_although_a_killed_process_had_just_replaced_the_checkpoint() {
    for mode in MODES {
        let disk = strict();
        let log = open(&disk, mode);
        log.append("x").unwrap();
        log.flush().unwrap();
        let killed = ends(&disk, |call| call.kind == CallKind::SyncDir, |disk| vec![disk.kill()]);
        for n in 0..20 {
            let mut consumer = log.consumer(&format!("{n:0249}")).unwrap();
            consumer.commit_offset(Offset::new(1)).unwrap();
        }
        disk.unwatch();
        let killed = std::mem::take(&mut *killed.lock().unwrap());
        assert!(!killed.is_empty());
        for disk in killed {
            let log = open(&disk, mode);
            let mut consumer = log.consumer("c").unwrap();
            consumer.commit_offset(Offset::new(1)).unwrap();
            consumer.sync().unwrap();
            for cut in cuts(&disk) {
                let log = open(&cut, mode);
                assert_eq!(log.consumer("c").unwrap().committed(), Offset::new(1), "{mode:?}");
            }
        }
    }
}

/// I19: who is refused for want of room appends again, and the record is there once. So what fails
/// behind an append, when the flush of the policy writes the checkpoint, is no want of room.
#[test]
fn an_append_that_is_refused_for_want_of_room_has_appended_nothing() {
    let kinds = [CallKind::Write, CallKind::Allocate, CallKind::CreateNew, CallKind::SetLen];
    let mut refused = 0;
    let mut behind = 0;
    for (mode, on) in MODES.into_iter().flat_map(|mode| kinds.map(|on| (mode, on))) {
        for after in 0..24 {
            let disk = strict();
            let each = options(mode).flush(FlushPolicy::EveryAppend);
            let log = each.open_on(&disk, "/data/log").unwrap();
            disk.fail(Fault { on, name: None, after, times: 1, errno: 28 });
            for number in 0..10 {
                let end = log.log_end_offset();
                let Err(error) = log.append(vec![number; 900]) else { continue };
                let grown = log.log_end_offset() - end;
                if error.kind() == ErrorKind::OutOfSpace {
                    refused += 1;
                    assert_eq!(grown, 0, "{mode:?} {on:?} {after}: {error}");
                } else {
                    behind += u32::from(grown == 1 && error.kind() == ErrorKind::Io);
                }
            }
        }
    }
    assert!(refused > 0 && behind > 0, "{refused} refused before, {behind} failed behind");
}
