//! Floor 4's tests: what an open makes of what a stop left, by the calls it makes, the files it
//! leaves and what it reports.

use super::flush::{calls_of, killed};
use super::*;
use crate::codec::seal::Seal;
use crate::disk::Env;
use crate::disk::checkpoint::{self, Checkpoint};
use crate::disk::names::aside_file;
use crate::disk::state::{State, TailCopy};
use crate::log::options::Media;
use crate::words::limits;

pub(super) const FIRST: &str = "00000000000000000000.log";

pub(super) fn env(dir: &Path) -> Env {
    Env {
        storage: Arc::new(OsStorage),
        dir: dir.to_path_buf(),
        names: None,
        seal: Seal::NONE,
        mapped: false,
        segment_bytes: 1 << 20,
        index_interval_bytes: 4096,
        torn_bytes: None,
        memory_bounded: false,
        written: Default::default(),
    }
}

/// Changes what the checkpoint of a closed log says; no clean mark is left, nor where it was
/// written.
pub(super) fn unclean(dir: &Path, change: impl FnOnce(&mut State)) {
    let env = env(dir);
    let loaded = checkpoint::load::<State>(&env).unwrap();
    let mut state = loaded.state.clone().unwrap();
    (state.clean, state.residence) = (None, None);
    change(&mut state);
    let mut file = Checkpoint::open(&env, &loaded, &state).unwrap();
    file.write_synced(&env, &state).unwrap();
}

fn reopened(script: &Scripted, dir: &Path, options: LogOptions) -> Result<Log> {
    script.take_calls();
    open_on(Arc::new(script.clone()), dir, options)
}

fn torn_options() -> LogOptions {
    options(IoMode::Positioned).segment_bytes(1 << 20).media(Media::TornOverwrite)
}

/// So many batches of exactly 1024 bytes.
fn kibibytes(log: &Log, count: usize) {
    for _ in 0..count {
        log.append([b'x'; 954].as_slice()).unwrap();
    }
}

pub(super) fn segments(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    names
}

fn filled(script: &Scripted, dir: &Path, options: LogOptions, count: usize) -> Log {
    let log = open_on(Arc::new(script.clone()), dir, options).unwrap();
    kibibytes(&log, count);
    log
}

/// I12: what an interrupted recovery set aside is on the device, name and all, before the log goes
/// on without a segment. Of a log that was emptied it is said what is lost, of a new one nothing.
#[test]
fn a_log_without_segments_goes_on_behind_the_names_of_what_was_set_aside() {
    for asides in [false, true] {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let log = filled(&script, tmp.path(), options(IoMode::Positioned), 1);
        assert_eq!(log.recovery().lost, None);
        log.flush().unwrap();
        drop(log);
        std::fs::remove_file(tmp.path().join(FIRST)).unwrap();
        if asides {
            let name = aside_file(Offset::new(1), Offset::ZERO);
            std::fs::write(tmp.path().join(name), b"cut").unwrap();
        }
        let log = reopened(&script, tmp.path(), options(IoMode::Positioned)).unwrap();
        assert_eq!(log.recovery().lost, Some(Offset::ZERO..Offset::new(1)));
        let calls = script.take_calls();
        let next = ("create_new", "segment.new".to_owned());
        let made = calls.iter().position(|call| *call == next).unwrap();
        assert_eq!(calls_of(&calls[..made], "sync_dir").len(), usize::from(asides), "{calls:?}");
    }
}

/// I6, I17: on a medium that tears what was not durable goes into new files, and is durable then;
/// where there is no room for them it waits for the first flush, and counts for nothing until then.
#[test]
fn what_is_to_be_written_again_in_place_is_not_durable_yet() {
    for room in [true, false] {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let log = filled(&script, &tmp.path().join("a"), torn_options(), 3);
        log.flush().unwrap();
        kibibytes(&log, 3);
        assert_eq!(log.inner.checkpoint.lock().state.tails.len(), 1);
        let dir = tmp.path().join("b");
        killed(&log, &dir);
        if !room {
            script.refuse("create_new", ENOSPC);
        }
        let log = reopened(&script, &dir, torn_options()).unwrap();
        script.allow_all();
        assert_eq!((log.recovery().rewriting_in_place, log.log_end_offset().get()), (!room, 6));
        assert_eq!(log.durable_offset().get(), if room { 6 } else { 3 });
        assert_eq!(log.inner.checkpoint.lock().state.tails.len(), usize::from(!room));
        assert_eq!(log.inner.writer.lock().rewrite.is_some(), !room);
        assert_eq!(log.flush().unwrap().get(), 6);
    }
}

/// New files end where the log does, also where the torn tail lies beyond the first chunk copied.
#[test]
fn a_torn_tail_does_not_come_along_into_a_new_file() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let log = filled(&script, &tmp.path().join("a"), torn_options(), 80);
    let dir = tmp.path().join("b");
    killed(&log, &dir);
    let mut bytes = std::fs::read(dir.join(FIRST)).unwrap();
    bytes.truncate(80 << 10);
    bytes.extend([0x55; 100]);
    std::fs::write(dir.join(FIRST), bytes).unwrap();
    let log = reopened(&script, &dir, torn_options()).unwrap();
    let report = log.recovery();
    assert_eq!((report.segments_rewritten, report.bytes_cut), (1, 100));
    assert_eq!(std::fs::metadata(dir.join(FIRST)).unwrap().len(), 80 << 10);
    assert_eq!(count(&log), 80);
    kibibytes(&log, 1);
    assert_eq!(count(&log), 81);
}

/// The clean mark holds for the very bytes the close left: anything more is looked through.
#[test]
fn a_closed_segment_that_has_grown_is_no_clean_one() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        drop(filled(&script, tmp.path(), options(mode), 3));
        let path = tmp.path().join(FIRST);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.extend(b"grown!!");
        std::fs::write(&path, bytes).unwrap();
        let log = reopened(&script, tmp.path(), options(mode)).unwrap();
        assert_eq!((log.recovery().clean, log.recovery().bytes_cut), (false, 7));
        kibibytes(&log, 1);
        assert_eq!(count(&log), 4);
    }
}

/// I11: a copy of an end whose segment is gone, or that lies where no segment can reach, is not
/// put anywhere.
#[test]
fn a_copy_of_an_end_that_has_no_place_is_left_out() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    drop(filled(&script, tmp.path(), options(IoMode::Positioned), 3));
    let before = std::fs::metadata(tmp.path().join(FIRST)).unwrap().len();
    let copy = |base, position| TailCopy { base: Offset::new(base), position, bytes: vec![7; 9] };
    let beyond = limits::SEGMENT_BYTES_MAX as u64;
    unclean(tmp.path(), |state| state.tails = vec![copy(99, 0), copy(0, beyond)]);
    let log = reopened(&script, tmp.path(), options(IoMode::Positioned)).unwrap();
    assert_eq!(log.recovery().ends_restored, 0);
    assert_eq!(std::fs::metadata(tmp.path().join(FIRST)).unwrap().len(), before);
    assert_eq!(segments(tmp.path()), [FIRST]);
    assert_eq!(count(&log), 3);
}

/// A copy of an end is put back over what a torn rewriting left; a disk without room is no reason
/// not to open, and any other refusal is. The pages it touches count, each once.
#[test]
fn a_torn_end_is_put_back_and_counted() {
    let opened_with = |errno: Option<i32>, torn: bool| {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        drop(filled(&script, tmp.path(), options(IoMode::Mapped), 5));
        let path = tmp.path().join(FIRST);
        let mut bytes = std::fs::read(&path).unwrap();
        let tail = TailCopy { base: Offset::ZERO, position: 100, bytes: bytes[100..4100].into() };
        unclean(tmp.path(), |state| state.tails = vec![tail]);
        if torn {
            bytes[1000..3000].fill(0xee);
            std::fs::write(&path, bytes).unwrap();
        }
        if let Some(errno) = errno {
            script.refuse("write", errno);
        }
        reopened(&script, tmp.path(), options(IoMode::Mapped)).map(|log| {
            let records = if errno.is_none() { count(&log) } else { 0 };
            (log.recovery().ends_restored, log.inner.env.written.sums(), records)
        })
    };
    let (intact, torn) = (opened_with(None, false).unwrap(), opened_with(None, true).unwrap());
    assert_eq!(((intact.0, intact.2), (torn.0, torn.2)), ((0, 5), (1, 5)));
    assert_eq!((torn.1.0 - intact.1.0, torn.1.1 - intact.1.1), (2 * 4096, 1));
    assert_eq!(kind(opened_with(Some(EIO), true)), ErrorKind::Io);
    assert!(opened_with(Some(ENOSPC), true).is_ok());
}

/// I2, I4: an empty batch stands over offsets that were durable and are gone, in the last segment;
/// in a new one where durable bytes may tear, and a hole where there is no room for a batch.
#[test]
fn lost_offsets_are_never_assigned_again_and_a_batch_stands_over_them() {
    for (torn, refused) in [(false, None), (true, None), (false, Some(ENOSPC)), (false, Some(EIO))]
    {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let mode = if torn { IoMode::Positioned } else { IoMode::Mapped };
        let options = options(mode).segment_bytes(1 << 20).index_interval_bytes(1023);
        let options = if torn { options.media(Media::TornOverwrite) } else { options };
        drop(filled(&script, tmp.path(), options.clone(), 5));
        unclean(tmp.path(), |state| state.recovery_point = Offset::new(10));
        if let Some(errno) = refused {
            script.refuse("allocate", errno);
        }
        let log = reopened(&script, tmp.path(), options);
        script.allow_all();
        if refused == Some(EIO) {
            assert_eq!(kind(log), ErrorKind::Io);
            continue;
        }
        let log = log.unwrap();
        assert_eq!(log.recovery().lost, Some(Offset::new(5)..Offset::new(10)));
        assert_eq!(log.log_end_offset().get(), 10);
        let names = |bases: &[u64]| -> Vec<_> {
            bases.iter().map(|base| format!("{base:020}.log")).collect()
        };
        let bases: &[u64] = match (torn, refused) {
            (true, _) => &[0, 5],
            (_, Some(_)) => &[0, 10],
            _ => &[0],
        };
        assert_eq!(segments(tmp.path()), names(bases));
        if bases.len() == 1 {
            let entries = log.inner.writer.lock().active.data.index_entries().entries;
            assert_eq!(entries.last().map(|entry| entry.offset), Some(9), "{entries:?}");
        }
        assert_eq!(log.append("goes on").unwrap().get(), 10);
    }
}

/// What stands over missing offsets has no time, and so no entry in the time index, as Kafka's.
#[test]
fn a_batch_over_lost_offsets_has_no_time() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    drop(opened(&script, tmp.path(), IoMode::Mapped));
    unclean(tmp.path(), |state| state.recovery_point = Offset::new(10));
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    assert_eq!(log.log_end_offset().get(), 10);
    log.close().unwrap();
    let times = tmp.path().join("00000000000000000000.timeindex");
    assert_eq!(std::fs::metadata(times).map_or(0, |meta| meta.len()), 0);
}

/// What an unclean stop left is written again, and nothing else: neither what was durable before it
/// nor what came behind it, in pieces of a bounded size.
#[test]
fn only_what_was_not_durable_is_written_again() {
    let big = || options(IoMode::Mapped).segment_bytes(1 << 20);
    // Records that were durable, left, and appended behind them; and how many writes are due.
    for (durable, left, more, writes) in
        [(0, 128, 0, 2), (0, 129, 0, 3), (0, 7, 0, 1), (200, 1, 0, 1), (0, 1, 200, 1)]
    {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let log = filled(&script, &tmp.path().join("a"), big(), durable);
        log.flush().unwrap();
        kibibytes(&log, left);
        let dir = tmp.path().join("b");
        killed(&log, &dir);
        let log = reopened(&script, &dir, big()).unwrap();
        kibibytes(&log, more);
        let pages = || log.inner.env.written.sums().0 / 4096;
        let before = pages();
        script.take_calls();
        log.flush().unwrap();
        let written = calls_of(&script.take_calls(), "write");
        let say = format!("{durable}, {left}, {more}");
        assert_eq!(written, vec![FIRST; writes], "{say}");
        let least = (left + more).div_ceil(4) as u64;
        assert!((least..least + 4 + more as u64).contains(&(pages() - before)), "{say}");
        assert_eq!(count(&log), durable + left + more);
    }
}

/// A segment that was begun behind what a stop left is none of it.
#[test]
fn a_segment_behind_what_was_left_is_not_written_again() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let log = filled(&script, &tmp.path().join("a"), options(IoMode::Mapped), 8);
    let dir = tmp.path().join("b");
    killed(&log, &dir);
    let log = reopened(&script, &dir, options(IoMode::Mapped)).unwrap();
    kibibytes(&log, 1);
    assert_eq!(segments(&dir).len(), 2);
    script.take_calls();
    log.flush().unwrap();
    assert_eq!(calls_of(&script.take_calls(), "write"), [FIRST]);
}

/// Nothing is left to be written again where everything was durable.
#[test]
fn an_unclean_log_that_was_durable_is_not_written_again() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let log = filled(&script, &tmp.path().join("a"), options(IoMode::Mapped), 3);
    log.flush().unwrap();
    let dir = tmp.path().join("b");
    killed(&log, &dir);
    let log = reopened(&script, &dir, options(IoMode::Mapped)).unwrap();
    assert!(!log.recovery().clean);
    assert_eq!(log.inner.writer.lock().rewrite, None);
    let calls = script.take_calls();
    assert_eq!(calls_of(&calls, "sync_dir"), ["b"], "for the checkpoint, nothing was set aside");
    kibibytes(&log, 1);
    log.flush().unwrap();
    assert_eq!(calls_of(&script.take_calls(), "write"), Vec::<String>::new());
}

/// I3: nobody writes into a file that has another name, as a snapshot's has: the log goes on in a
/// copy. A damaged one is not gone on in, and stays the file it is.
#[test]
fn a_file_with_another_name_is_not_written_to() {
    for (closed, damaged) in [(true, false), (false, false), (false, true)] {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        drop(filled(&script, tmp.path(), options(IoMode::Mapped), 3));
        let (path, other) = (tmp.path().join(FIRST), tmp.path().join("other"));
        let mut bytes = std::fs::read(&path).unwrap();
        if damaged {
            bytes[2100] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
        }
        std::fs::hard_link(&path, &other).unwrap();
        if !closed {
            unclean(tmp.path(), |_| {});
        }
        let log = reopened(&script, tmp.path(), options(IoMode::Mapped)).unwrap();
        assert_eq!(log.recovery().clean, closed);
        kibibytes(&log, 1);
        log.flush().unwrap();
        assert_eq!(OsStorage.links(&path).unwrap(), if damaged { 2 } else { 1 });
        assert!(std::fs::read(&other).unwrap() == bytes, "closed {closed}, damaged {damaged}");
    }
}

/// Without a checkpoint nobody knows what was durable: all of it is made so, with the names, and
/// the bytes that are no batch are counted and cut.
#[test]
fn a_lost_checkpoint_has_every_segment_synced() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    drop(filled(&script, tmp.path(), options(IoMode::Mapped), 20));
    std::fs::remove_file(tmp.path().join("checkpoint")).unwrap();
    let names = segments(tmp.path());
    assert_eq!(names.len(), 3);
    let last = tmp.path().join(names.last().unwrap());
    let mut bytes = std::fs::read(&last).unwrap();
    bytes.extend([1; 100]);
    std::fs::write(last, bytes).unwrap();
    let log = reopened(&script, tmp.path(), options(IoMode::Mapped)).unwrap();
    assert_eq!((log.recovery().checkpoint_lost, log.recovery().bytes_cut), (true, 100));
    assert_eq!((log.durable_offset().get(), count(&log)), (20, 20));
    let calls = script.take_calls();
    let mut synced = calls_of(&calls, "sync");
    synced.retain(|name| name.ends_with(".log"));
    synced.dedup();
    assert!(names.iter().all(|name| synced.contains(name)), "{synced:?}");
    let of_dir = calls.iter().rposition(|(call, _)| *call == "sync_dir").unwrap();
    let first = calls.iter().position(|call| *call == ("sync", FIRST.to_owned())).unwrap();
    assert!(first < of_dir);
}

/// Each open has a number of its own: those who follow the log tell them apart by it.
#[test]
fn every_open_has_the_next_number() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    for number in 1..5 {
        let log = opened(&script, tmp.path(), IoMode::Mapped);
        assert_eq!(log.inner.checkpoint.lock().state.open_number, number);
        log.append("has it written").unwrap();
    }
}

/// What was closed cleanly costs no sync to open.
#[test]
fn opening_a_closed_log_syncs_nothing() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        drop(filled(&script, tmp.path(), options(mode), 20));
        let log = reopened(&script, tmp.path(), options(mode)).unwrap();
        assert!(log.recovery().clean);
        let calls = script.take_calls();
        assert!(calls.iter().all(|(call, _)| !call.starts_with("sync")), "{calls:?}");
    }
}

/// Who asks for it has everything above the recovery point looked at, whoever kept the cache.
#[cfg(feature = "simulation")]
#[test]
fn a_cache_that_was_kept_is_trusted_unless_the_options_say_otherwise() {
    use crate::log::options::RecoveryMode;
    use crate::sys::sim::{Disk, Profile};

    for (mode, kept) in [(RecoveryMode::Auto, true), (RecoveryMode::Full, false)] {
        let disk = Disk::new(Profile::default());
        let options = options(IoMode::Mapped).recovery(mode);
        let log = options.clone().open_on(&disk, "/log").unwrap();
        kibibytes(&log, 20);
        let next = disk.kill();
        let log = options.open_on(&next, "/log").unwrap();
        assert_eq!((log.recovery().cache_kept, count(&log)), (kept, 20));
        assert_eq!(log.recovery().segments_scanned, if kept { 1 } else { 3 });
    }
}

/// I8: a sync that fails while a log is opened is told to the next open, which writes what is not
/// known to be durable into new files.
#[test]
fn a_sync_that_failed_in_an_open_is_told_to_the_next_one() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        drop(filled(&script, tmp.path(), options(mode), 3));
        let path = tmp.path().join(FIRST);
        let bytes = [std::fs::read(&path).unwrap(), b"torn".to_vec()].concat();
        std::fs::write(&path, bytes).unwrap();
        unclean(tmp.path(), |state| state.recovery_point = Offset::ZERO);
        script.refuse("set_len", EIO);
        assert_eq!(kind(reopened(&script, tmp.path(), options(mode))), ErrorKind::Io);
        script.allow_all();
        let told = checkpoint::load::<State>(&env(tmp.path())).unwrap().state.unwrap();
        assert!(told.sync_failed, "{mode:?}");
        let log = reopened(&script, tmp.path(), options(mode)).unwrap();
        assert_eq!((log.recovery().segments_rewritten, log.durable_offset().get()), (1, 3));
        assert!(!log.inner.checkpoint.lock().state.sync_failed);
    }
}

/// Only a disk without room has what is not durable written again in place; any other refusal of
/// the new file is an error, and leaves none behind.
#[test]
fn a_new_file_that_cannot_be_made_is_an_error() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let log = filled(&script, &tmp.path().join("a"), torn_options(), 3);
    let dir = tmp.path().join("b");
    killed(&log, &dir);
    for call in ["create_new", "write", "rename"] {
        script.refuse(call, EIO);
        assert_eq!(kind(reopened(&script, &dir, torn_options())), ErrorKind::Io, "{call}");
        script.allow_all();
        let names = std::fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().ends_with(".new")));
    }
    assert_eq!(count(&reopened(&script, &dir, torn_options()).unwrap()), 3);
}

/// A clean mark whose index is gone, or another one's, is none: the segment is looked through.
#[test]
fn a_closed_segment_without_its_index_is_scanned() {
    for left in [None, Some(&[][..])] {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        drop(filled(&script, tmp.path(), options(IoMode::Mapped), 8));
        let index = tmp.path().join("00000000000000000000.index");
        std::fs::remove_file(&index).unwrap();
        if let Some(bytes) = left {
            std::fs::write(&index, bytes).unwrap();
        }
        let log = reopened(&script, tmp.path(), options(IoMode::Mapped)).unwrap();
        assert_eq!((log.recovery().clean, log.recovery().segments_scanned), (false, 1));
        assert_eq!(count(&log), 8);
    }
}

/// I2: where more offsets are missing than a batch can stand over, the log goes on in a new
/// segment.
#[test]
fn more_offsets_than_a_batch_stands_over_are_a_hole() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    drop(filled(&script, tmp.path(), options(IoMode::Mapped), 3));
    let floor = Offset::new(1 << 33);
    unclean(tmp.path(), |state| state.recovery_point = floor);
    let log = reopened(&script, tmp.path(), options(IoMode::Mapped)).unwrap();
    assert_eq!(log.recovery().lost, Some(Offset::new(3)..floor));
    assert_eq!(segments(tmp.path()), [FIRST.to_owned(), format!("{:020}.log", 1_u64 << 33)]);
    assert_eq!(log.append("goes on").unwrap(), floor);
}

/// I4, I17: below the log's start nothing has to stand over what is missing: the log goes on at its
/// start, in a new segment, and over what is missing above that stands a batch there.
#[test]
fn what_is_missing_below_the_start_is_neither_lost_nor_written_over() {
    for point in [7, 10] {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        drop(filled(&script, tmp.path(), options(IoMode::Mapped), 3));
        unclean(tmp.path(), |state| {
            (state.recovery_point, state.log_start) = (Offset::new(point), Offset::new(7));
        });
        let log = reopened(&script, tmp.path(), options(IoMode::Mapped)).unwrap();
        let lost = (point > 7).then_some(Offset::new(7)..Offset::new(point));
        assert_eq!(log.recovery().lost, lost);
        let over = log.inner.writer.lock().active.position();
        assert_eq!((log.inner.writer.lock().active.data.base.get(), over > 0), (7, point > 7));
        assert_eq!(log.append("goes on").unwrap().get(), point);
    }
}
