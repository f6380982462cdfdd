//! What recovery cuts off is kept beside the log, byte for byte, and is never a part of it again
//! (I12, I13, I20); and no recovery needs room: on a full disk opening, reading, committing and
//! deleting work (I19, V14).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use forebay::simulation::{CallKind, Disk, Fault, Keep, Profile, Torn};
use forebay::{ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset};

use crate::recovery::{Cutter, DIR, End, Op, Truth, World, changes, check, read};

const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];
const EIO: i32 = 5;

fn options(mode: IoMode) -> LogOptions {
    let options = Log::options().segment_bytes(4096).max_batch_bytes(4096).io_mode(mode);
    options.flush(FlushPolicy::Manual)
}

fn open(disk: &Disk, mode: IoMode) -> Log {
    options(mode).open_on(disk, DIR).unwrap()
}

fn value(offset: i64, what: char) -> Vec<u8> {
    format!("{offset} {}", what.to_string().repeat(900)).into_bytes()
}

/// Appends records up to an offset; four fill a segment.
fn append_to(log: &Log, end: i64, what: char) {
    for offset in log.log_end_offset().get()..end {
        assert_eq!(log.append(value(offset, what)).unwrap().get(), offset);
    }
}

fn values(range: std::ops::Range<i64>, what: char) -> Vec<(i64, Vec<u8>)> {
    range.map(|offset| (offset, value(offset, what))).collect()
}

fn without_zeros(bytes: &[u8]) -> Vec<u8> {
    bytes[..bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)].to_vec()
}

/// The files whose names end like this, without the zeros at their ends.
fn files(disk: &Disk, suffix: &str) -> BTreeMap<String, Vec<u8>> {
    let names = disk.file_names(DIR).into_iter().filter(|name| name.ends_with(suffix));
    let read = |name: String| {
        let bytes = disk.read_file(format!("{DIR}/{name}")).unwrap();
        (name, without_zeros(&bytes))
    };
    names.map(read).collect()
}

/// Where a record lies: its segment's name and base, and the position of its batch. Every batch has
/// one record here, and 61 bytes of header before it.
fn place_of(disk: &Disk, offset: i64) -> (String, i64, usize) {
    for (name, bytes) in files(disk, ".log") {
        let mut at = 0;
        while at + 61 <= bytes.len() {
            let base = i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
            let length = i32::from_be_bytes(bytes[at + 8..at + 12].try_into().unwrap());
            if base == offset {
                let first = name.strip_suffix(".log").unwrap().parse().unwrap();
                return (name, first, at);
            }
            at += usize::try_from(length).unwrap() + 12;
        }
    }
    panic!("record {offset} is nowhere");
}

/// A machine that booted behind a power cut which tore one record of a log of `end`, of which
/// `durable` were durable; and what has to be set aside.
fn torn_at(mode: IoMode, (durable, torn, end): (i64, i64, i64)) -> (Disk, Aside) {
    let disk = Disk::new(Profile::default());
    let log = open(&disk, mode);
    append_to(&log, durable, 'a');
    log.flush().unwrap();
    append_to(&log, end, 'a');
    let boot = disk.power_cut(Keep::All);
    let aside = tear(&boot, torn);
    (boot, aside)
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Aside {
    files: BTreeMap<String, Vec<u8>>,
    /// Whole segments among them.
    segments: u64,
}

impl Aside {
    fn bytes(&self) -> u64 {
        self.files.values().map(|bytes| bytes.len() as u64).sum()
    }
}

/// Tears one record, and says what lies from it on, under the names it is to get.
fn tear(disk: &Disk, torn: i64) -> Aside {
    let (name, base, at) = place_of(disk, torn);
    let mut bytes = disk.read_file(format!("{DIR}/{name}")).unwrap();
    bytes[at + 300] ^= 0x10;
    disk.write_file(format!("{DIR}/{name}"), &bytes);
    let mut aside = Aside { files: BTreeMap::new(), segments: 0 };
    let called = |base: i64| format!("{torn:020}-{base:020}.aside");
    aside.files.insert(called(base), without_zeros(&bytes[at..]));
    for (name, bytes) in files(disk, ".log") {
        let later: i64 = name.strip_suffix(".log").unwrap().parse().unwrap();
        if later > base {
            aside.files.insert(called(later), bytes);
            aside.segments += 1;
        }
    }
    aside
}

/// Torn in the middle of a segment, at a segment's first record, at the last one; with segments
/// behind it, and without.
const CUTS: [(i64, i64, i64); 8] =
    [(5, 5, 6), (5, 6, 7), (5, 6, 11), (5, 7, 18), (5, 8, 9), (5, 8, 18), (0, 0, 3), (0, 0, 18)];

/// I13, I20: what was cut lies byte for byte in files named by the cut and the segment, and the
/// report's numbers are those of what lies there.
#[test]
fn what_was_cut_lies_beside_the_log_byte_for_byte() {
    for mode in MODES {
        for cut @ (_, torn, end) in CUTS {
            let (disk, aside) = torn_at(mode, cut);
            let log = open(&disk, mode);
            let report = log.recovery();
            assert_eq!(read(&log).unwrap(), values(0..torn, 'a'), "{cut:?} {report:?}");
            assert_eq!(files(&disk, ".aside"), aside.files, "{cut:?}");
            assert_eq!(report.bytes_cut, aside.bytes(), "{cut:?} {report:?}");
            // All behind the torn one are whole.
            assert_eq!(report.records_cut, end.abs_diff(torn) - 1, "{cut:?} {report:?}");
            assert_eq!(report.segments_set_aside, aside.segments, "{cut:?} {report:?}");
            assert!(!report.set_aside_failed && !report.clean && report.damaged_ranges == 0);
            assert!(report.lost.is_none() && report.foreign_files.is_empty(), "{report:?}");
            // The cut was synced before the log was handed out, and so was what it took.
            let dark = disk.power_cut(Keep::None);
            let again = open(&dark, mode);
            assert_eq!(read(&again).unwrap(), values(0..torn, 'a'), "{cut:?}");
            let report = again.recovery();
            assert_eq!((report.bytes_cut, report.records_cut), (0, 0), "I12: {cut:?} {report:?}");
            assert_eq!(files(&dark, ".aside"), aside.files, "{cut:?}: kept over a power cut");
        }
    }
}

/// I2: they are not read again, whatever else is lost: new records take their offsets.
#[test]
fn what_was_set_aside_is_never_a_part_of_the_log_again() {
    for mode in MODES {
        for cut @ (_, torn, end) in CUTS {
            let (disk, aside) = torn_at(mode, cut);
            let log = open(&disk, mode);
            append_to(&log, end + 3, 'b');
            log.flush().unwrap();
            let mut wanted = values(0..torn, 'a');
            wanted.extend(values(torn..end + 3, 'b'));
            assert_eq!(read(&log).unwrap(), wanted);
            for lost in [&[][..], &["checkpoint"], &["log.meta"], &["checkpoint", "log.meta"]] {
                for next in [disk.kill(), disk.power_cut(Keep::None)] {
                    for name in lost {
                        assert!(next.remove_file(format!("{DIR}/{name}")));
                    }
                    let log = open(&next, mode);
                    assert_eq!(read(&log).unwrap(), wanted, "{cut:?} without {lost:?}");
                    assert_eq!(files(&next, ".aside"), aside.files, "{cut:?} without {lost:?}");
                    assert!(log.recovery().foreign_files.is_empty());
                }
            }
        }
    }
}

/// The files of the newest cut are kept, over clean opens too; those of the one before go.
#[test]
fn the_newest_cut_is_kept_and_the_one_before_it_goes() {
    for mode in MODES {
        let (disk, first) = torn_at(mode, (5, 7, 18));
        let log = open(&disk, mode);
        append_to(&log, 12, 'b');
        log.flush().unwrap();
        append_to(&log, 16, 'b');
        assert_eq!(files(&disk, ".aside"), first.files);
        let boot = disk.power_cut(Keep::All);
        for _ in 0..3 {
            let copy = boot.kill();
            open(&copy, mode).close().unwrap();
            assert!(open(&copy, mode).recovery().clean);
            assert_eq!(files(&copy, ".aside"), first.files, "nothing was cut since");
        }
        let second = tear(&boot, 13);
        let log = open(&boot, mode);
        assert_eq!(log.log_end_offset().get(), 13);
        assert_eq!(files(&boot, ".aside"), second.files, "those of the cut at 7 are gone");
        // A cut at the same place again: what it takes now is the newest.
        append_to(&log, 15, 'c');
        let boot = boot.power_cut(Keep::All);
        let third = tear(&boot, 13);
        assert_ne!(second, third);
        assert_eq!(open(&boot, mode).log_end_offset().get(), 13);
        assert_eq!(files(&boot, ".aside"), third.files);
    }
}

/// M14, I12: a recovery that is cut short anywhere is finished by the next, with the same end, and
/// what it set aside is whole.
#[test]
fn a_recovery_that_is_cut_short_loses_nothing_of_what_it_sets_aside() {
    for mode in MODES {
        for cut @ (_, torn, _) in CUTS {
            let (disk, aside) = torn_at(mode, cut);
            let ends: Arc<Mutex<Vec<(String, Disk)>>> = Arc::default();
            let into = ends.clone();
            disk.watch(move |disk, call| {
                if !changes(call.kind) {
                    return;
                }
                let keeps = [Keep::None, Keep::All].into_iter();
                let keeps = keeps.chain((0..4).map(|seed| Keep::Seed(seed << 20 ^ call.number)));
                let keeps =
                    keeps.chain((0..disk.loose()).flat_map(|n| [Keep::Only(n), Keep::AllBut(n)]));
                let mut into = into.lock().unwrap();
                into.push((format!("{call:?} killed"), disk.kill()));
                into.extend(keeps.map(|keep| (format!("{call:?} {keep:?}"), disk.power_cut(keep))));
            });
            drop(open(&disk, mode));
            disk.unwatch();
            let ends = std::mem::take(&mut *ends.lock().unwrap());
            assert!(ends.len() > 20, "{}", ends.len());
            for (what, end) in ends {
                let log = open(&end, mode);
                assert_eq!(read(&log).unwrap(), values(0..torn, 'a'), "{mode:?} {cut:?} {what}");
                let found = files(&end, ".aside");
                for (name, bytes) in &aside.files {
                    let here = found.get(name).is_some_and(|found| found == bytes);
                    let report = log.recovery();
                    assert!(here, "{mode:?} {cut:?} {what}: {name} is not whole: {report:?}");
                }
            }
        }
    }
}

/// I13, I19: where there is no room to keep the bytes they are dropped, and that is reported; a
/// device that refuses does not stop the open either.
#[test]
fn no_room_to_set_bytes_aside_never_stops_an_open() {
    for mode in MODES {
        for cut @ (_, torn, end) in CUTS {
            for fault in
                [None, Some(CallKind::Write), Some(CallKind::CreateNew), Some(CallKind::SyncFile)]
            {
                let (disk, aside) = torn_at(mode, cut);
                match fault {
                    None => disk.set_space(Some(0)),
                    Some(on) => {
                        let name = Some(".aside".to_owned());
                        disk.fail(Fault { on, name, after: 0, times: 1000, errno: EIO });
                    }
                }
                let log = open(&disk, mode);
                let report = log.recovery();
                let what = format!("{mode:?} {cut:?} {fault:?} {report:?}");
                assert_eq!(read(&log).unwrap(), values(0..torn, 'a'), "{what}");
                // An index that goes gives a block.
                let all = files(&disk, ".aside").len() == aside.files.len();
                assert!(report.set_aside_failed != all && (fault.is_none() || !all), "{what}");
                assert_eq!(report.bytes_cut, aside.bytes(), "{what}");
                assert_eq!(report.records_cut, end.abs_diff(torn) - 1, "{what}");
                // Whole segments need no room; of the rest nothing is left half.
                for (name, bytes) in files(&disk, ".aside") {
                    assert_eq!(aside.files.get(&name), Some(&bytes), "{what}: {name} is not whole");
                }
                disk.set_space(None);
                disk.clear_faults();
                append_to(&log, end, 'b');
                log.flush().unwrap();
                let mut wanted = values(0..torn, 'a');
                wanted.extend(values(torn..end, 'b'));
                let next = open(&disk.power_cut(Keep::None), mode);
                assert_eq!(read(&next).unwrap(), wanted, "{what}");
            }
        }
    }
}

/// V14 in one state: no free block, and all that has to work.
fn on_a_full_disk(
    disk: &Disk,
    options: &LogOptions,
    truth: &Truth,
    end: End,
) -> Result<(), String> {
    disk.set_space(Some(0));
    let log = check(disk, options, truth, end)?;
    let tell = |what: &str, error: forebay::Error| format!("{what}: {error}; {:?}", log.recovery());
    let mut consumer = log.consumer("reader").map_err(|error| tell("consumer", error))?;
    let to = log.log_end_offset();
    consumer.commit_offset(to).map_err(|error| tell("commit", error))?;
    consumer.sync().map_err(|error| tell("sync of a commit", error))?;
    let mut taken = 0;
    let refused = loop {
        let before = log.log_end_offset();
        match log.append(vec![b'x'; 700]) {
            Ok(offset) if offset == before => taken += 1,
            Ok(offset) => return Err(format!("{offset} was assigned at {before}")),
            Err(error) => break error,
        }
        if taken > 100 {
            return Err("a full disk takes whatever it is given".to_owned());
        }
    };
    if refused.kind() != ErrorKind::OutOfSpace {
        return Err(tell("append", refused));
    }
    let end = log.log_end_offset();
    log.flush().map_err(|error| tell("flush", error))?;
    let before = Offset::new(end.get() - 1).max(log.log_start_offset());
    log.delete_records(before).map_err(|error| tell("delete_records", error))?;
    let deleted = log.stats().segments_deleted > 0;
    if deleted {
        // What was deleted gives room for the next segment, though not for its full size.
        log.append("a").map_err(|error| tell("append into what was deleted", error))?;
    }
    disk.set_space(None);
    let next = log.append("b").map_err(|error| tell("append with room again", error))?;
    let expected = end.get() + i64::from(deleted);
    if next.get() != expected {
        return Err(format!("{next} follows {end}"));
    }
    log.flush().map_err(|error| tell("flush with room again", error))?;
    let read = read(&log)?;
    let all = read.iter().map(|(offset, _)| *offset).eq(before.get()..next.get() + 1);
    if all { Ok(()) } else { Err(format!("not all of {before} to {next} are read")) }
}

/// V14: after every crash the log opens with no free block; reads, commits and deletes work, and
/// appends go on behind that without reopening and without a gap of offsets.
#[test]
fn with_no_free_block_everything_but_appending_works_after_every_crash() {
    let steps = [
        Op::Roll(900),
        Op::Append(100),
        Op::Flush,
        Op::Batch(300),
        Op::Roll(900),
        Op::Append(100),
        Op::Kill,
        Op::Append(40),
        Op::Power(7),
        Op::Append(900),
        Op::Delete,
        Op::Append(900),
        Op::Roll(900),
        Op::Close,
        Op::Append(900),
        Op::Power(8),
        Op::Append(900),
    ];
    let tearing = Profile { torn: Torn::Overwrite { bytes: 4096 }, ..Profile::default() };
    for (profile, modes) in [(Profile::default(), &MODES[..]), (tearing, &MODES[1..])] {
        for &mode in modes {
            let options = options(mode);
            let mut world = World::new(Disk::new(profile.clone()), options.clone());
            // A log that never was needs room to be made.
            world.run(&[Op::Append(100), Op::Flush, Op::Commit]);
            let cutter = Cutter::new(&options, 1, 1);
            let into = cutter.clone();
            world.watch(Arc::new(move |disk, call, truth| {
                let seed = Keep::Seed(call.number);
                for keep in [None, Some(Keep::None), Some(Keep::All), Some(seed)] {
                    let (cut, end) = match keep {
                        None => (disk.kill(), End::Process),
                        Some(keep) => (disk.power_cut(keep), End::Power),
                    };
                    let what =
                        format!("step {} {:?} {:?} {keep:?}", truth.steps, call.kind, call.path);
                    if let Err(error) = on_a_full_disk(&cut, &into.options, truth, end) {
                        into.failures.lock().unwrap().push(format!("{what}: {error}"));
                    }
                    into.states.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }));
            world.run(&steps);
            let mut failures = cutter.failures.lock().unwrap();
            let count = failures.len();
            failures.truncate(4);
            assert!(failures.is_empty(), "{mode:?}, {count} failures:\n{}", failures.join("\n"));
            drop(failures);
            cutter.must_hold(300);
        }
    }
}
