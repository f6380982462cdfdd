//! Floor 4's tests: whose log a directory holds, what else lies in it, and looking into a segment.

use super::recovery::{FIRST, env, unclean};
use super::*;
use crate::codec::encode::{BatchEncoder, stamp};
use crate::codec::seal::Seal;
use crate::disk::meta::Meta;
use crate::log::batch::RecordBatch;
use crate::log::identify::{count_whole, decide};
use crate::log::inspect::SegmentFile;
use crate::log::open::peek;
use crate::words::log_id::LogId;

/// A closed log of so many batches of 1024 bytes, eight in a segment; what its two files say.
fn closed(dir: &Path, count: usize) -> Meta {
    let log = opened(&Scripted::default(), dir, IoMode::Mapped);
    for _ in 0..count {
        log.append([b'x'; 954].as_slice()).unwrap();
    }
    log.inner.meta
}

/// Where `log.meta` and the checkpoint are of two logs, most of the segments decide, and if none is
/// of either, `log.meta` does.
#[test]
fn of_two_logs_the_one_with_more_segments_owns_the_directory() {
    let tmp = tempfile::tempdir().unwrap();
    let dir = |name: &str| tmp.path().join(name);
    let (a, b) = (closed(&dir("a"), 24), closed(&dir("b"), 24));
    // Which log each segment is of, in capitals one with a single batch; whether the checkpoint's
    // log, "b", owns it.
    for (mixed, is_kepts) in
        [("", false), ("b", true), ("ab", true), ("aB", true), ("aab", false), ("abb", true)]
    {
        let own = tempfile::tempdir().unwrap();
        let mut bases = Vec::new();
        for (at, from) in mixed.chars().enumerate() {
            let (base, from_dir) = (8 * at as i64, dir(&from.to_lowercase().to_string()));
            let name = format!("{base:020}.log");
            let mut bytes = std::fs::read(from_dir.join(&name)).unwrap();
            bytes.truncate(if from.is_uppercase() { 1024 } else { bytes.len() });
            std::fs::write(own.path().join(name), bytes).unwrap();
            bases.push(Offset::new(base));
        }
        let whose = decide(&env(own.path()), Some(a), Some((b, Offset::MAX)), &bases).unwrap();
        let owner = whose.meta.unwrap().log_id;
        assert_eq!(owner == b.log_id, is_kepts, "{mixed}");
        assert_eq!((whose.foreign_checkpoint, whose.seal_lost), (!is_kepts, false), "{mixed}");
    }
}

/// One batch of another log speaks against one file, and not against two that agree: its seal may
/// be damaged. Nor do any above their recovery point: blocks that a deleted log had before may lie
/// there. Batches are counted to what is asked for, and what is no segment has none.
#[test]
fn one_foreign_batch_does_not_outweigh_two_files_that_agree() {
    let tmp = tempfile::tempdir().unwrap();
    let (a, b) = (closed(&tmp.path().join("a"), 1), closed(&tmp.path().join("b"), 4));
    let (env, bases) = (env(&tmp.path().join("a")), [Offset::ZERO]);
    let b_to = |point| Some((b, Offset::new(point)));
    assert!(!decide(&env, Some(b), b_to(9), &bases).unwrap().seal_lost);
    assert!(decide(&env, Some(b), None, &bases).unwrap().seal_lost);
    assert!(!decide(&env, Some(a), None, &bases).unwrap().seal_lost);
    let env = super::recovery::env(&tmp.path().join("b"));
    for (point, is_lost) in [(0, false), (1, false), (2, true), (4, true)] {
        let agreed = Some((a, Offset::new(point)));
        assert_eq!(decide(&env, Some(a), agreed, &bases).unwrap().seal_lost, is_lost, "{point}");
    }
    let seal = Seal::of(b.log_id);
    let counted = [1, 3, 9].map(|enough| count_whole(&env, Offset::ZERO, &seal, enough).unwrap());
    assert_eq!(counted, [1, 3, 4]);
    std::fs::create_dir(env.dir.join(format!("{:020}.log", 8))).unwrap();
    for base in [8, 99] {
        assert_eq!(count_whole(&env, Offset::new(base), &seal, 1).unwrap(), 0);
    }
}

/// What an interrupted open left is removed; what is nobody's is left and reported, directories
/// with a segment's name as well.
#[test]
fn only_what_an_open_made_is_removed() {
    let tmp = tempfile::tempdir().unwrap();
    closed(tmp.path(), 3);
    let ours = ["probe.new", "segment.new", "ahead.new", "log.meta.new", "checkpoint.new"];
    let copy = format!("{FIRST}.new");
    for name in ours.iter().copied().chain([copy.as_str(), "probe", "other.new", "segment.new.new"])
    {
        std::fs::write(tmp.path().join(name), b"left").unwrap();
    }
    let dirs = ["log", "index", "timeindex"].map(|part| format!("{:020}.{part}", 77));
    dirs.iter().for_each(|name| std::fs::create_dir(tmp.path().join(name)).unwrap());
    let log = opened(&Scripted::default(), tmp.path(), IoMode::Mapped);
    assert!(log.recovery().clean);
    let mut foreign = log.recovery().foreign_files.clone();
    foreign.sort();
    let [log_dir, index, times] = &dirs;
    let expected = [index, log_dir, times, "other.new", "probe", "segment.new.new"];
    assert_eq!(foreign, expected.map(|name: &str| name.to_owned()));
    assert!(ours.iter().all(|name| !tmp.path().join(name).exists()));
    assert!(!tmp.path().join(copy).exists());
    assert!(foreign.iter().all(|name| tmp.path().join(name).exists()));
}

/// Who asks for mapped files gets them, unprobed; left to the log, they are mapped where blocks can
/// be reserved on a medium that does not tear, and the report says why.
#[cfg(feature = "simulation")]
#[test]
fn files_are_mapped_where_that_is_safe_and_the_report_says_why() {
    use crate::sys::sim::{CallKind, Disk, Fault, Profile, Torn};
    let unsupported = |disk: &Disk, times| {
        let name = Some("probe.new".to_owned());
        disk.fail(Fault { on: CallKind::Allocate, name, after: 0, times, errno: 95 });
    };
    let card = Profile { torn: Torn::Overwrite { bytes: 4096 }, ..Profile::default() };
    for (asked, profile, reserves, expected, why) in [
        (IoMode::Auto, Profile::default(), true, IoMode::Mapped, "simulated keeps reserved blocks"),
        (IoMode::Auto, Profile::default(), false, IoMode::Positioned, "cannot reserve blocks"),
        (IoMode::Auto, card, true, IoMode::Positioned, "simulated flash"),
        (IoMode::Mapped, Profile::default(), false, IoMode::Mapped, "asked for"),
        (IoMode::Positioned, Profile::default(), true, IoMode::Positioned, "asked for"),
    ] {
        let disk = Disk::new(profile);
        unsupported(&disk, u64::from(!reserves));
        let log = options(asked).open_on(&disk, "/log").unwrap();
        let report = log.recovery();
        assert_eq!(report.io_mode, Some(expected), "{asked:?}");
        assert!(report.io_mode_reason.contains(why), "{}", report.io_mode_reason);
        assert!(!disk.file_names("/log").contains(&"probe.new".to_owned()));
        log.append("x").unwrap();
    }
    // Any other trouble with the probe is left to those who meet it.
    let disk = Disk::new(Profile::default());
    let name = Some("probe.new".to_owned());
    disk.fail(Fault { on: CallKind::Allocate, name, after: 0, times: 1, errno: ENOSPC });
    let log = options(IoMode::Auto).open_on(&disk, "/log").unwrap();
    assert_eq!(log.recovery().io_mode, Some(IoMode::Mapped));
}

/// A medium that tears is not mapped unless that is asked for, also where it could be.
#[test]
fn a_medium_that_tears_is_written_by_position_unless_asked_otherwise() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    script.0.lock().tears = Some("it is an SD card");
    let auto = opened(&script, &tmp.path().join("auto"), IoMode::Auto);
    assert_eq!(auto.recovery().io_mode, Some(IoMode::Positioned));
    assert!(auto.recovery().io_mode_reason.contains("it is an SD card"));
    let mapped = opened(&script, &tmp.path().join("mapped"), IoMode::Mapped);
    assert_eq!(mapped.recovery().io_mode, Some(IoMode::Mapped));
}

fn batch(base: i64, seal: &Seal) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = BatchEncoder::begin(&mut bytes, usize::MAX);
    encoder.push(&"x".into(), Timestamp::from_millis(5)).unwrap();
    encoder.finish();
    stamp(&mut bytes, base, seal);
    bytes
}

fn bases(path: &Path) -> Vec<std::result::Result<i64, ErrorKind>> {
    let batches = SegmentFile::open(path).unwrap().take(9);
    let base = |(_, batch): (u64, RecordBatch)| batch.base_offset().get();
    batches.map(|item| item.map(base).map_err(|error| error.kind())).collect()
}

/// Gaps and base offsets are judged by a seal only: a broker's compacted segment has gaps, and its
/// first batch may be gone; beside a `log.meta` without seals it is the same.
#[test]
fn a_segment_without_seals_may_have_gaps() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join(format!("{:020}.log", 7));
    let id = LogId::from_bytes([9; 16]);
    let of = |seal: &Seal| [7, 12, 20].map(|base| batch(base, seal)).concat();
    let unsealed = [batch(9, &Seal::NONE), batch(30, &Seal::NONE)].concat();
    std::fs::write(&path, &unsealed).unwrap();
    assert_eq!(bases(&path), [Ok(9), Ok(30)]);
    let meta = Meta { log_id: id, seal: false, source: None, store: None };
    meta.write(&OsStorage, tmp.path()).unwrap();
    assert_eq!(bases(&path), [Ok(9), Ok(30)]);
    Meta { seal: true, ..meta }.write(&OsStorage, tmp.path()).unwrap();
    assert_eq!(bases(&path), [Err(ErrorKind::Corrupt)]);
    std::fs::write(&path, of(&Seal::of(id))).unwrap();
    let corrupt = Err(ErrorKind::Corrupt);
    assert_eq!(bases(&path), [Ok(7), corrupt, Ok(20)]);
}

/// An unsealed log's batches bear it out as well; a segment that cannot be read says nothing of
/// whose it is, and is an error.
#[test]
fn a_log_without_seals_is_known_by_its_batches() {
    let tmp = tempfile::tempdir().unwrap();
    let b = closed(&tmp.path().join("b"), 1);
    let own = Meta { log_id: LogId::from_bytes([9; 16]), seal: false, source: None, store: None };
    let dir = tmp.path().join("mixed");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join(FIRST), batch(0, &Seal::NONE)).unwrap();
    let whose = |found, kept| {
        decide(&env(&dir), Some(found), Some((kept, Offset::MAX)), &[Offset::ZERO]).unwrap()
    };
    assert_eq!(whose(own, b).meta, Some(own));
    assert_eq!(whose(b, own).meta, Some(own));
    assert_eq!((whose(own, b).foreign_checkpoint, whose(b, own).foreign_checkpoint), (true, false));
}

/// What a store's upkeep learns of a closed log without opening it: when the next segment is due,
/// and when the oldest was ended. A log that another store had is due at once.
#[test]
fn a_closed_log_says_what_is_due_in_it_without_being_opened() {
    use crate::disk::state::ClockSample;
    let tmp = tempfile::tempdir().unwrap();
    let store = LogId::from_bytes([3; 16]);
    let storage: Arc<dyn Storage> = Arc::new(OsStorage);
    let dir = |name: &str| tmp.path().join(name);
    let options = options(IoMode::Mapped).retention_age(Duration::from_secs(10));
    let told = |name: &str| peek(&storage, &dir(name), store, &options);
    assert_eq!(told("nothing"), None);
    for (name, count) in [("three", 17), ("one", 3), ("empty", 0)] {
        let meta = closed(&dir(name), count);
        assert_eq!(told(name), Some((i64::MIN, None)), "it was no store's");
        Meta { store: Some(store), ..meta }.write(&OsStorage, &dir(name)).unwrap();
        let sample = |offset, log_clock| ClockSample { offset: Offset::new(offset), log_clock };
        unclean(&dir(name), |state| {
            state.samples = vec![sample(0, 1000), sample(8, 2000), sample(16, 3000)];
        });
    }
    assert_eq!(told("three"), Some((12_000, Some(2000))));
    assert_eq!((told("one"), told("empty")), (Some((13_000, None)), Some((i64::MAX, None))));
    // What lies below the start is not there any more, whether its files are gone or not.
    unclean(&dir("three"), |state| state.log_start = Offset::new(9));
    assert_eq!(told("three"), Some((13_000, Some(3000))));
    // Opened alone, it stays the store's.
    drop(opened(&Scripted::default(), &dir("one"), IoMode::Mapped));
    assert!(told("one").is_some_and(|(due, _)| due > i64::MIN));
}
