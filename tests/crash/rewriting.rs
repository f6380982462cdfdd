//! After a stop that was not clean nothing is called durable that the device may not have: what
//! lies above the recovery point is written again before it is synced (I1, I3, I8, I13, I20), into
//! new files where a sync failed, and a failed sync poisons. How much is read depends on whether
//! the page cache was kept.

use std::sync::{Arc, Mutex};

use forebay::simulation::{CallKind, Disk, Fault, Keep, Profile, Torn};
use forebay::{
    ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec, ReadOnlyLog, RecoveryMode,
};

use crate::recovery::{DIR, End, Truth, changes, check, read};

const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];
const EIO: i32 = 5;
const ENOSPC: i32 = 28;

fn options(mode: IoMode) -> LogOptions {
    let options = Log::options().segment_bytes(4096).max_batch_bytes(4096).io_mode(mode);
    options.flush(FlushPolicy::Manual)
}

fn open(disk: &Disk, mode: IoMode) -> Log {
    options(mode).open_on(disk, DIR).unwrap()
}

fn value(offset: i64) -> Vec<u8> {
    format!("{offset} {}", "v".repeat(900)).into_bytes()
}

/// Appends records up to an offset; four fill a segment.
fn append_to(log: &Log, end: i64) {
    for offset in log.log_end_offset().get()..end {
        assert_eq!(log.append(value(offset)).unwrap().get(), offset);
    }
}

fn values(range: std::ops::Range<i64>) -> Vec<(i64, Vec<u8>)> {
    range.map(|offset| (offset, value(offset))).collect()
}

fn sync_fault(on: CallKind, name: &str, errno: i32) -> Fault {
    Fault { on, name: Some(name.to_owned()), after: 0, times: 1, errno }
}

fn segments(disk: &Disk) -> Vec<String> {
    let names = disk.file_names(DIR).into_iter().filter(|name| name.ends_with(".log"));
    names.map(|name| format!("{DIR}/{name}")).collect()
}

fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.truncate(bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1));
    bytes
}

/// The segments whose bytes the device is not known to have.
fn unsynced(disk: &Disk) -> Vec<String> {
    let differs = |name: &String| {
        let device = disk.read_device(name).map(without_zeros);
        device != disk.read_file(name).map(without_zeros)
    };
    segments(disk).into_iter().filter(differs).collect()
}

/// Five records durable, `end` written, and a sync of the `nth` segment that failed in the flush;
/// then the process is killed.
fn failed_and_killed(mode: IoMode, disk: &Disk, end: i64, nth: u64) -> Disk {
    let log = open(disk, mode);
    append_to(&log, 5);
    assert_eq!(log.flush().unwrap().get(), 5);
    append_to(&log, end);
    disk.fail(Fault { after: nth, ..sync_fault(CallKind::SyncFile, ".log", EIO) });
    assert_eq!(log.flush().unwrap_err().kind(), ErrorKind::Io);
    disk.clear_faults();
    assert_eq!(log.durable_offset().get(), 5, "I8");
    disk.kill()
}

/// The same, and the word that the log leaves for the next open of it reaches no file.
fn failed_without_word(disk: &Disk, end: i64) -> Disk {
    let log = open(disk, IoMode::Positioned);
    append_to(&log, 5);
    assert_eq!(log.flush().unwrap().get(), 5);
    append_to(&log, end);
    disk.fail(sync_fault(CallKind::SyncFile, ".log", EIO));
    disk.fail(sync_fault(CallKind::Write, "checkpoint", EIO));
    assert_eq!(log.flush().unwrap_err().kind(), ErrorKind::Io);
    disk.clear_faults();
    disk.kill()
}

/// Five records durable, `end` written, and the process killed.
fn killed(mode: IoMode, disk: &Disk, end: i64) -> Disk {
    let log = open(disk, mode);
    append_to(&log, 5);
    assert_eq!(log.flush().unwrap().get(), 5);
    append_to(&log, end);
    disk.kill()
}

fn survives(disk: &Disk, mode: IoMode, end: i64) {
    assert!(unsynced(disk).is_empty());
    for keep in [Keep::None, Keep::Seed(1), Keep::Seed(2), Keep::All] {
        let cut = open(&disk.power_cut(keep), mode);
        assert_eq!(read(&cut).unwrap(), values(0..end), "{keep:?}");
    }
}

/// M8: what a failed sync left clean, in whichever segment it lies, is written again by the next
/// open into new files, and then survives. Where it lies the device may refuse it for ever: a
/// block whose first write failed stays marked as never written.
#[test]
fn what_a_failed_sync_left_clean_is_written_again_into_new_files_by_the_next_open() {
    for mode in MODES {
        // The active segment alone; one, two and three sealed ones before it.
        for (end, nth) in [(7, 0), (11, 0), (11, 1), (18, 0), (18, 1), (18, 2), (18, 3)] {
            let disk = Disk::new(Profile::default());
            let next = failed_and_killed(mode, &disk, end, nth);
            assert!(!unsynced(&next).is_empty());
            // The device does not have them: whoever only synced again would lose them here.
            let cut = open(&next.power_cut(Keep::None), mode);
            let left = cut.log_end_offset().get();
            assert!((5..end).contains(&left), "{left}");
            assert_eq!(read(&cut).unwrap(), values(0..left));
            let log = open(&next, mode);
            let report = log.recovery();
            assert!(!report.clean && report.cache_kept, "{report:?}");
            assert!(report.segments_rewritten > 0 && !report.rewriting_in_place, "{report:?}");
            assert_eq!((log.durable_offset().get(), log.log_end_offset().get()), (end, end));
            assert_eq!(read(&log).unwrap(), values(0..end), "nothing is lost by the kill");
            survives(&next, mode, end);
            // The word was for this open.
            append_to(&log, end + 1);
            let next = next.kill();
            let log = open(&next, mode);
            assert_eq!(log.recovery().segments_rewritten, 0);
            assert_eq!(log.flush().unwrap().get(), end + 1);
            survives(&next, mode, end + 1);
        }
    }
}

/// Where no word could be left, pages whose blocks were written before are written again in place,
/// by the first flush.
#[test]
fn what_a_failed_sync_left_clean_without_a_word_is_written_again_by_the_first_flush() {
    let (mode, end) = (IoMode::Positioned, 7);
    let next = failed_without_word(&Disk::new(Profile::default()), end);
    let log = open(&next, mode);
    assert_eq!((log.durable_offset().get(), log.log_end_offset().get()), (5, end));
    assert_eq!(read(&log).unwrap(), values(0..end), "nothing is lost by the kill");
    assert!(!unsynced(&next).is_empty());
    assert_eq!(log.flush().unwrap().get(), end);
    survives(&next, mode, end);
}

/// I8: a sync that fails in the open itself leaves its word too, for the kernel tells of a page
/// that it could not write once.
#[test]
fn a_sync_that_fails_in_an_open_sends_the_next_one_to_new_files() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let next = killed(mode, &disk, 7);
        // A torn tail, which the open cuts and syncs.
        let (name, _) = place_of(&next, 6);
        let torn = next.read_file(&name).unwrap();
        next.write_file(&name, &torn[..torn.iter().rposition(|byte| *byte != 0).unwrap() - 99]);
        next.fail(sync_fault(CallKind::SyncFile, ".log", EIO));
        assert_eq!(options(mode).open_on(&next, DIR).unwrap_err().kind(), ErrorKind::Io);
        next.clear_faults();
        let next = next.kill();
        let log = open(&next, mode);
        assert!(log.recovery().segments_rewritten > 0, "{:?}", log.recovery());
        assert_eq!(log.durable_offset().get(), 6);
        survives(&next, mode, 6);
    }
}

/// I14: who follows the log all the while reads on behind the new files, and nothing twice.
#[test]
fn a_follower_goes_on_in_the_new_files() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let log = open(&disk, mode);
        append_to(&log, 11);
        let follower = ReadOnlyLog::options().io_mode(mode).open_on(&disk, DIR).unwrap();
        let mut reader = follower.reader(OffsetSpec::Earliest).unwrap();
        assert_eq!(std::iter::from_fn(|| reader.next()).map(Result::unwrap).count(), 11);
        disk.fail(sync_fault(CallKind::SyncFile, ".log", EIO));
        assert_eq!(log.flush().unwrap_err().kind(), ErrorKind::Io);
        disk.clear_faults();
        assert_eq!(log.close().unwrap_err().kind(), ErrorKind::Poisoned);
        let log = open(&disk, mode);
        assert!(log.recovery().segments_rewritten > 0);
        append_to(&log, 22);
        let batches: Vec<_> = std::iter::from_fn(|| reader.next()).map(Result::unwrap).collect();
        let offsets: Vec<i64> = batches.iter().map(|batch| batch.base_offset().get()).collect();
        assert!(offsets.iter().copied().eq(11..22), "{mode:?} {offsets:?}");
        assert_eq!((reader.retracted(), reader.missed()), (0, 0));
        assert_eq!(follower.durable_offset().get(), 11);
        assert_eq!(log.flush().unwrap().get(), 22);
    }
}

/// Where there is no room for new files it is done in place, and told.
#[test]
fn without_room_it_is_written_again_in_place_and_told() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let next = failed_and_killed(mode, &disk, 7, 0);
        next.fail(Fault { times: u64::MAX, ..sync_fault(CallKind::Write, ".log.new", ENOSPC) });
        let log = open(&next, mode);
        assert!(log.recovery().rewriting_in_place);
        assert_eq!((log.durable_offset().get(), log.log_end_offset().get()), (5, 7));
        assert_eq!(log.flush().unwrap().get(), 7);
        survives(&next, mode, 7);
    }
}

/// The same by a clean close, and for what is appended before the first flush.
#[test]
fn a_close_writes_it_again_too() {
    for mode in MODES {
        for (end, nth) in [(7, 0), (11, 0), (18, 1)] {
            let disk = Disk::new(Profile::default());
            let next = failed_and_killed(mode, &disk, end, nth);
            let log = open(&next, mode);
            append_to(&log, end + 4);
            log.close().unwrap();
            assert!(unsynced(&next).is_empty());
            // Indexes are not synced: without them the close is none that spares the reading.
            for (keep, clean) in [(Keep::None, false), (Keep::All, true)] {
                let log = open(&next.power_cut(keep), mode);
                assert_eq!(log.recovery().clean, clean);
                assert_eq!(read(&log).unwrap(), values(0..end + 4));
            }
        }
    }
}

/// A second process is killed before it flushed: the third has to know as much as the second.
#[test]
fn what_was_not_written_again_is_remembered_over_another_kill() {
    let mode = IoMode::Positioned;
    let next = failed_without_word(&Disk::new(Profile::default()), 7);
    let log = open(&next, mode);
    append_to(&log, 13);
    let third = next.kill();
    let log = open(&third, mode);
    assert_eq!((log.durable_offset().get(), log.log_end_offset().get()), (5, 13));
    log.flush().unwrap();
    survives(&third, mode, 13);
}

/// I2, I8: a power cut anywhere in the writing again takes nothing that was durable; on media that
/// tear too.
#[test]
fn a_cut_while_it_is_written_again_takes_nothing_durable() {
    let tearing = Profile { torn: Torn::Overwrite { bytes: 4096 }, ..Profile::default() };
    for (profile, modes) in [(Profile::default(), &MODES[..]), (tearing, &MODES[1..])] {
        for &mode in modes {
            let disk = Disk::new(profile.clone());
            let next = failed_and_killed(mode, &disk, 11, 0);
            let values = (0..11).map(value).collect();
            let truth = Truth { values, durable: 5, end: 11, ..Truth::default() };
            let failures: Arc<Mutex<(u64, Vec<String>)>> = Arc::default();
            let found = failures.clone();
            next.watch(move |disk, call| {
                if !changes(call.kind) {
                    return;
                }
                let mut found = found.lock().unwrap();
                let seeds = (0..12).map(|seed| Keep::Seed(seed ^ call.number << 8));
                for keep in seeds.chain([Keep::None, Keep::All]) {
                    let cut = disk.power_cut(keep);
                    found.0 += 1;
                    if let Err(error) = check(&cut, &options(mode), &truth, End::Power) {
                        found.1.push(format!("{call:?} {keep:?}: {error}"));
                    }
                }
                if let Err(error) = check(&disk.kill(), &options(mode), &truth, End::Process) {
                    found.1.push(format!("{call:?} killed: {error}"));
                }
            });
            let log = open(&next, mode);
            log.flush().unwrap();
            next.unwatch();
            let failures = failures.lock().unwrap();
            assert!(failures.1.is_empty(), "{mode:?} {profile:?}: {}", failures.1.join("\n"));
            assert!(failures.0 > 100, "{} states", failures.0);
        }
    }
}

/// The place of a record's value in the segments.
fn place_of(disk: &Disk, offset: i64) -> (String, usize) {
    let wanted = format!("{offset} vvvv").into_bytes();
    for name in segments(disk) {
        let bytes = disk.read_file(&name).unwrap();
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted) {
            return (name, at);
        }
    }
    panic!("record {offset} is nowhere");
}

fn rot(disk: &Disk, offset: i64) {
    let (name, at) = place_of(disk, offset);
    let mut bytes = disk.read_file(&name).unwrap();
    bytes[at + 100] ^= 1;
    disk.write_file(&name, &bytes);
}

/// Everything but one record is read, and it is told in an error of its own.
fn all_but(log: &Log, lost: i64, end: i64) {
    let (mut found, mut told) = (Vec::new(), Vec::new());
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        match batch {
            Ok(batch) => found.extend(batch.records().map(|r| r.unwrap().offset().get())),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                let lost = error.lost_offsets().unwrap();
                told.push((lost.start.get(), lost.end.get()));
            }
        }
    }
    assert_eq!(told, [(lost, lost + 1)], "{found:?} {:?}", log.recovery());
    assert!(found.into_iter().eq((0..end).filter(|offset| *offset != lost)));
    assert_eq!(log.log_end_offset().get(), end, "an open log is never cut");
}

/// I13: a batch that rotted between the kill and the writing again is isolated: what is behind it
/// is written again and becomes durable, and the log is not cut, then or later.
#[test]
fn a_batch_that_rotted_meanwhile_is_isolated_and_told() {
    for (mode, failed) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        for rotten in [5, 6, 9, 13] {
            let disk = Disk::new(Profile::default());
            let next = match failed {
                true => failed_and_killed(mode, &disk, 18, 0),
                false => killed(mode, &disk, 18),
            };
            // In a sealed segment, which a recovery that trusts the cache does not read.
            rot(&next, rotten);
            let log = open(&next, mode);
            assert_eq!(log.recovery().segments_scanned, 1);
            assert_eq!(log.log_end_offset().get(), 18);
            assert_eq!(log.flush().unwrap().get(), 18);
            all_but(&log, rotten, 18);
            let report = log.verify().unwrap();
            assert_eq!(report.damaged, [Offset::new(rotten)..Offset::new(rotten + 1)]);
            for keep in [Keep::None, Keep::All] {
                let after = open(&next.power_cut(keep), mode);
                all_but(&after, rotten, 18);
                append_to(&after, 19);
            }
        }
    }
}

/// The same when the checkpoint takes no write at first: the flush that is tried again brings the
/// recovery point to the device, or the next open would take the batch for a torn tail.
#[test]
fn a_rotten_batch_cuts_nothing_behind_a_first_flush_that_was_refused() {
    let mode = IoMode::Positioned;
    let disk = Disk::new(Profile::default());
    let next = killed(mode, &disk, 18);
    rot(&next, 9);
    let log = open(&next, mode);
    next.fail(sync_fault(CallKind::Write, "checkpoint", 28));
    assert_eq!(log.flush().unwrap_err().kind(), ErrorKind::OutOfSpace);
    next.clear_faults();
    assert_eq!(log.flush().unwrap().get(), 18);
    all_but(&log, 9, 18);
    all_but(&open(&next.power_cut(Keep::None), mode), 9, 18);
}

/// The same in the active segment, after the open has read it. By position alone: in a map the
/// simulated bytes are the process's own.
#[test]
fn a_batch_that_rots_in_the_open_segment_is_isolated_too() {
    let mode = IoMode::Positioned;
    let disk = Disk::new(Profile::default());
    let next = failed_and_killed(mode, &disk, 7, 0);
    let log = open(&next, mode);
    append_to(&log, 8);
    rot(&next, 6);
    assert_eq!(log.flush().unwrap().get(), 8);
    all_but(&log, 6, 8);
    for disk in [next.kill(), next.power_cut(Keep::None)] {
        let after = open(&disk, mode);
        all_but(&after, 6, 8);
        assert_eq!(after.recovery().damaged, [Offset::new(6)..Offset::new(7)]);
        assert_eq!(after.recovery().damaged_ranges, 1);
    }
}

/// What makes a sync of each kind.
fn failing_call(log: &Log, kind: &str) -> ErrorKind {
    let failed = match kind {
        "commit" => {
            let mut consumer = log.consumer("c").unwrap();
            consumer.commit_offset(Offset::new(1)).unwrap();
            consumer.sync().map(|()| Offset::new(0))
        }
        "delete" => log.delete_records(Offset::new(5)),
        "close" => log.clone().close().map(|()| Offset::new(0)),
        _ => log.flush(),
    };
    failed.unwrap_err().kind()
}

/// I8, I19: a failed sync of whatever kind, no space included, poisons: appends and flushes are
/// refused, reads go on, nothing is called clean or durable, and reopening works.
#[test]
fn every_kind_of_failed_sync_poisons_until_the_log_is_opened_again() {
    let kinds = [
        (CallKind::SyncFile, "00009.log", "flush of the active segment"),
        (CallKind::SyncFile, "00006.log", "flush of a sealed segment"),
        (CallKind::SyncDir, "log", "flush of the names"),
        (CallKind::SyncFile, "checkpoint", "flush behind a roll"),
        (CallKind::SyncFile, "checkpoint", "commit"),
        (CallKind::SyncFile, "checkpoint", "delete"),
    ];
    for mode in MODES {
        for (on, name, kind) in kinds {
            for errno in [EIO, ENOSPC] {
                let disk = Disk::new(Profile::default());
                let log = open(&disk, mode);
                append_to(&log, 5);
                log.flush().unwrap();
                append_to(&log, 6);
                let (end, name) = match name {
                    "00009.log" | "00006.log" => (11, active_or_sealed(&log, &disk, name)),
                    _ => (11, name.to_owned()),
                };
                append_to(&log, end);
                let what = format!("{mode:?} {kind} {errno}");
                disk.fail(sync_fault(on, &name, errno));
                assert_eq!(failing_call(&log, kind), ErrorKind::Io, "{what}");
                poisoned(&log, end, &what);
                // A retry would succeed, and mean nothing.
                disk.clear_faults();
                poisoned(&log, end, &what);
                let killed = disk.kill();
                assert!(log.close().is_err(), "{what}: close says that it is not clean");
                for disk in [killed, disk.clone()] {
                    reopened(&disk, mode, end, &what);
                }
            }
        }
    }
}

/// The segment that is the last one at offset 11, or the one before it.
fn active_or_sealed(log: &Log, disk: &Disk, which: &str) -> String {
    append_to(log, 11);
    let names = segments(disk);
    let back = if which == "00009.log" { 1 } else { 2 };
    names[names.len() - back].rsplit('/').next().unwrap().to_owned()
}

fn poisoned(log: &Log, end: i64, what: &str) {
    assert_eq!(log.append("no").unwrap_err().kind(), ErrorKind::Poisoned, "{what}");
    assert_eq!(log.append_batch(["no"]).unwrap_err().kind(), ErrorKind::Poisoned, "{what}");
    assert_eq!(log.flush().unwrap_err().kind(), ErrorKind::Poisoned, "{what}");
    let again = log.append_at(Offset::new(end), "no");
    assert_eq!(again.unwrap_err().kind(), ErrorKind::Poisoned, "{what}");
    assert!(log.durable_offset().get() <= 11, "{what}");
    assert_eq!(
        read(log).unwrap(),
        values(log.log_start_offset().get()..end),
        "{what}: reads go on"
    );
    assert!(log.stats().poisoned.is_some(), "{what}");
}

fn reopened(disk: &Disk, mode: IoMode, end: i64, what: &str) {
    let log = open(disk, mode);
    assert!(!log.recovery().clean, "{what}");
    let start = log.log_start_offset().get();
    assert_eq!(read(&log).unwrap(), values(start..end), "{what}");
    assert!(log.durable_offset().get() >= 5, "{what}");
    append_to(&log, end + 1);
    assert_eq!(log.flush().unwrap().get(), end + 1, "{what}");
    let cut = open(&disk.power_cut(Keep::None), mode);
    let start = cut.log_start_offset().get();
    assert!(start == 0 || start == 5, "{what}: {start}");
    assert_eq!(read(&cut).unwrap(), values(start..end + 1), "{what}");
}

/// A log of 18 records in five segments with the recovery point at `durable`, not closed.
fn five_segments(mode: IoMode, disk: &Disk, durable: i64) -> u64 {
    let log = open(disk, mode);
    append_to(&log, durable);
    log.flush().unwrap();
    let before = log.stats().segments;
    append_to(&log, 18);
    let segments = log.stats().segments;
    std::mem::forget(log);
    segments - before + 1
}

/// Whether the cache was kept, how many segments were read, and that nothing is lost.
fn scanned(options: LogOptions, disk: &Disk, dir: &str) -> (bool, u64) {
    let log = options.open_on(disk, dir).unwrap();
    assert_eq!(read(&log).unwrap(), values(0..18));
    (log.recovery().cache_kept, log.recovery().segments_scanned)
}

/// What is read after an unclean stop: the last segment where the cache was kept; everything from
/// the recovery point after a reboot, where it is asked for, and in a copy elsewhere.
#[test]
fn how_much_is_read_depends_on_whether_the_cache_was_kept() {
    for mode in MODES {
        for durable in [1, 3, 6, 11, 15, 18] {
            let disk = Disk::new(Profile::default());
            let above = five_segments(mode, &disk, durable);
            let full = options(mode).recovery(RecoveryMode::Full);
            assert_eq!(scanned(options(mode), &disk.kill(), DIR), (true, 1));
            assert_eq!(scanned(full.clone(), &disk.kill(), DIR), (false, above), "{durable}");
            // All reached the device, and whoever boots cannot know.
            let boot = disk.power_cut(Keep::All);
            let device_point = if durable == 18 { None } else { Some(above) };
            let (kept, count) = scanned(options(mode), &boot.kill(), DIR);
            assert!(!kept);
            assert!(device_point.is_none_or(|above| count >= above), "{count} of {above}");
            assert_eq!(scanned(full, &boot, DIR), (false, count));
            for other in [disk.kill(), Disk::new(Profile { seed: 9, ..Profile::default() })] {
                for name in disk.file_names(DIR) {
                    let bytes = disk.read_file(format!("{DIR}/{name}")).unwrap();
                    other.write_file(format!("/copy/{name}"), &bytes);
                }
                assert_eq!(scanned(options(mode), &other, "/copy"), (false, above));
            }
        }
    }
}

/// A recovery that trusted the cache does not make the next reboot trust it.
#[test]
fn a_reboot_behind_a_kill_is_a_reboot() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let above = five_segments(mode, &disk, 3);
        let next = disk.kill();
        assert_eq!(scanned(options(mode), &next, DIR), (true, 1));
        let boot = next.power_cut(Keep::All);
        // The handle above was dropped, and so closed; without that:
        assert!(open(&boot, mode).recovery().clean);
        let next = disk.kill();
        std::mem::forget(open(&next, mode));
        assert_eq!(scanned(options(mode), &next.kill(), DIR), (true, 1));
        assert_eq!(scanned(options(mode), &next.power_cut(Keep::All), DIR), (false, above));
    }
}
