//! Floor 4's tests: where a recovery finds the end of the log in its segments, and what becomes of
//! what lies behind it.

use super::flush::{calls_of, killed};
use super::recovery::{FIRST, segments, unclean};
use super::*;
use crate::disk::names::aside_file;

/// A closed log of batches of 1024 bytes, eight in a segment.
fn closed(dir: &Path, count: usize) {
    let log = opened(&Scripted::default(), dir, IoMode::Mapped);
    for _ in 0..count {
        log.append([b'x'; 954].as_slice()).unwrap();
    }
}

fn segment(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}.log"))
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = std::fs::read(path).unwrap();
    change(&mut bytes);
    std::fs::write(path, bytes).unwrap();
}

fn range(range: std::ops::Range<i64>) -> std::ops::Range<Offset> {
    Offset::new(range.start)..Offset::new(range.end)
}

/// I13: a segment that begins at the very recovery point belongs to the log, whatever is missing
/// before it; nothing needs to be in it.
#[test]
fn a_segment_that_begins_at_the_recovery_point_stays() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    closed(tmp.path(), 17);
    change(&segment(tmp.path(), 8), |bytes| bytes.truncate(4096));
    change(&segment(tmp.path(), 16), Vec::clear);
    unclean(tmp.path(), |state| state.recovery_point = Offset::new(16));
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    let report = log.recovery();
    assert_eq!((&report.damaged[..], report.lost.clone()), (&[range(12..16)][..], None));
    assert_eq!((report.segments_set_aside, segments(tmp.path()).len()), (0, 3));
    assert_eq!(log.append("goes on").unwrap().get(), 16);
}

/// I13: without a checkpoint nobody knows what was durable. Whole batches behind a missing segment
/// say where the log ends; behind them nothing is cut.
#[test]
fn whole_batches_behind_a_missing_segment_stay_where_the_checkpoint_is_lost() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    closed(tmp.path(), 17);
    std::fs::remove_file(segment(tmp.path(), 8)).unwrap();
    std::fs::remove_file(tmp.path().join("checkpoint")).unwrap();
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    let report = log.recovery();
    assert_eq!((report.segments_set_aside, &report.damaged[..]), (0, &[range(8..16)][..]));
    assert_eq!(log.log_end_offset().get(), 17);
}

/// I13: what lies behind the end is counted, the whole batches behind damage as well, and takes the
/// place of what an earlier cut set aside.
#[test]
fn a_segment_behind_the_end_is_counted_and_set_aside() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    closed(tmp.path(), 22);
    std::fs::remove_file(segment(tmp.path(), 8)).unwrap();
    change(&segment(tmp.path(), 16), |bytes| bytes[1024 + 500] ^= 1);
    let older = tmp.path().join(aside_file(Offset::new(3), Offset::ZERO));
    std::fs::write(&older, b"cut before").unwrap();
    unclean(tmp.path(), |state| state.recovery_point = Offset::new(4));
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    let report = log.recovery();
    assert_eq!((report.segments_set_aside, report.records_cut), (1, 5));
    assert_eq!(report.bytes_cut, (6 << 10) - 1, "the last byte of a batch is a zero");
    assert!(!older.exists());
    let aside = tmp.path().join(aside_file(Offset::new(8), Offset::new(16)));
    assert_eq!(std::fs::metadata(aside).unwrap().len(), 6 << 10);
    assert_eq!((segments(tmp.path()), count(&log)), (vec![FIRST.to_owned()], 8));
}

/// I12: a torn tail is on the device, name and all, before it is cut; the zeros behind it are left
/// out. The pages that this makes go to the device are counted.
#[test]
fn a_torn_tail_is_set_aside_before_it_is_cut() {
    let torn_behind = |whole: usize| {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let log = opened(&script, &tmp.path().join("a"), IoMode::Mapped);
        for _ in 0..whole {
            log.append([b'x'; 954].as_slice()).unwrap();
        }
        log.flush().unwrap();
        let dir = tmp.path().join("b");
        killed(&log, &dir);
        let tail: Vec<u8> = (1..101).collect();
        change(&dir.join(FIRST), |bytes| bytes[whole * 1024..][..100].copy_from_slice(&tail));
        assert_eq!(std::fs::metadata(dir.join(FIRST)).unwrap().len(), 8192);
        script.take_calls();
        let log = opened(&script, &dir, IoMode::Mapped);
        let end = Offset::new(whole as i64);
        let aside = aside_file(end, Offset::ZERO);
        assert!(std::fs::read(dir.join(&aside)).unwrap() == tail);
        assert_eq!((log.recovery().bytes_cut, log.log_end_offset()), (100, end));
        let calls = script.take_calls();
        let place = |call: &str, name: &str| {
            calls.iter().position(|(of, on)| (*of, on.as_str()) == (call, name)).unwrap()
        };
        assert!(place("sync", &aside) < place("sync_dir", "b"), "{calls:?}");
        assert!(place("sync_dir", "b") < place("set_len", FIRST), "{calls:?}");
        assert_eq!(calls_of(&calls, "sync_dir").len(), 2, "for the checkpoint as well");
        log.inner.env.written.sums().0 / 4096
    };
    assert_eq!(torn_behind(3), torn_behind(4) + 1, "the rest of a page is zeroed with the cut");
}

/// What an earlier recovery set aside stays until there is something newer, however often the log
/// is opened behind a stop that took nothing.
#[test]
fn what_was_set_aside_stays_until_something_newer_is() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    closed(tmp.path(), 3);
    let aside = tmp.path().join(aside_file(Offset::new(2), Offset::ZERO));
    std::fs::write(&aside, b"cut before").unwrap();
    for _ in 0..2 {
        unclean(tmp.path(), |_| {});
        assert!(!opened(&script, tmp.path(), IoMode::Mapped).recovery().clean);
        assert!(aside.exists());
    }
    unclean(tmp.path(), |_| {});
    change(&segment(tmp.path(), 0), |bytes| bytes.extend(b"torn"));
    assert_eq!(opened(&script, tmp.path(), IoMode::Mapped).recovery().bytes_cut, 4);
    assert!(!aside.exists());
}

/// I13: without a checkpoint, segments behind a missing one that hold nothing whole lead nowhere.
#[test]
fn nothing_whole_behind_a_missing_segment_is_set_aside() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    closed(tmp.path(), 17);
    std::fs::remove_file(segment(tmp.path(), 8)).unwrap();
    std::fs::remove_file(tmp.path().join("checkpoint")).unwrap();
    change(&segment(tmp.path(), 16), |bytes| bytes.fill(1));
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    let report = log.recovery();
    assert_eq!((report.segments_set_aside, report.records_cut, report.bytes_cut), (1, 0, 1024));
    assert_eq!(log.append("goes on").unwrap().get(), 8);
}

/// A piece of a segment beside it is none of the log's: it stays where it is, reported.
#[test]
fn a_piece_of_a_segment_beside_it_is_left_alone() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    closed(tmp.path(), 17);
    let piece = segment(tmp.path(), 4);
    std::fs::write(&piece, &std::fs::read(tmp.path().join(FIRST)).unwrap()[4096..]).unwrap();
    unclean(tmp.path(), |state| state.recovery_point = Offset::ZERO);
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    assert_eq!(log.recovery().foreign_files, [format!("{:020}.log", 4)]);
    assert_eq!((count(&log), piece.exists()), (17, true));
}

/// A segment behind the end that cannot be opened is set aside uncounted: the medium is not asked
/// for what nobody will read.
#[cfg(feature = "simulation")]
#[test]
fn a_segment_behind_the_end_that_cannot_be_read_is_set_aside_uncounted() {
    use crate::sys::sim::{CallKind, Disk, Fault, Profile};
    let disk = Disk::new(Profile::default());
    let log = options(IoMode::Mapped).open_on(&disk, "/log").unwrap();
    log.append("x").unwrap();
    log.flush().unwrap();
    for _ in 0..20 {
        log.append([b'x'; 954].as_slice()).unwrap();
    }
    let next = disk.kill();
    let names = next.file_names("/log");
    let segments: Vec<_> = names.iter().filter(|name| name.ends_with(".log")).collect();
    let [_, second, third] = &segments[..] else { panic!("{segments:?}") };
    assert!(next.remove_file(format!("/log/{second}")));
    let on = CallKind::Open;
    // Whose log it is was told by this one before.
    next.fail(Fault { on, name: Some((*third).clone()), after: 1, times: 1, errno: EIO });
    let full = options(IoMode::Mapped).recovery(crate::log::options::RecoveryMode::Full);
    let log = full.open_on(&next, "/log").unwrap();
    let report = log.recovery();
    assert_eq!((report.segments_set_aside, report.records_cut, report.bytes_cut), (1, 0, 0));
}
