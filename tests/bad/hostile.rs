//! Files that were brought from elsewhere, or made to be slow, and options at their edges.

use std::fs;
use std::path::Path;

use forebay::{
    ConsumerOptions, ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec,
    SegmentFile,
};

const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];

fn options(mode: IoMode) -> LogOptions {
    Log::options().io_mode(mode).flush(FlushPolicy::Manual).segment_bytes(64 << 10)
}

fn closed_log(dir: &Path, mode: IoMode, records: usize) {
    let log = options(mode).open(dir).unwrap();
    for n in 0..records {
        log.append(format!("record {n}").as_str()).unwrap();
    }
    log.close().unwrap();
}

fn offsets(log: &Log, from: OffsetSpec) -> Vec<i64> {
    let batches = log.reader(from).unwrap().filter_map(Result::ok);
    batches.map(|batch| batch.base_offset().get()).collect()
}

/// I13: the wrong `log.meta` and no checkpoint: nothing is cut, everything is read without seal.
#[test]
fn a_log_meta_of_another_log_without_a_checkpoint_costs_no_record() {
    for mode in MODES {
        let (ours, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        closed_log(ours.path(), mode, 1500);
        closed_log(other.path(), mode, 1);
        fs::copy(other.path().join("log.meta"), ours.path().join("log.meta")).unwrap();
        fs::remove_file(ours.path().join("checkpoint")).unwrap();
        let log = options(mode).open(ours.path()).unwrap();
        let report = log.recovery();
        assert!(report.seal_lost && report.bytes_cut == 0, "{report:?}");
        assert_eq!(offsets(&log, OffsetSpec::Earliest), (0..1500).collect::<Vec<_>>());
        log.append("goes on").unwrap();
        log.close().unwrap();
        let log = options(mode).open(ours.path()).unwrap();
        assert_eq!(offsets(&log, OffsetSpec::Earliest).len(), 1501);
    }
}

/// I13: an empty file under the name of a segment that would begin inside another one.
#[test]
fn a_stray_segment_hides_no_record() {
    for mode in MODES {
        let tmp = tempfile::tempdir().unwrap();
        closed_log(tmp.path(), mode, 300);
        for base in [150, 299] {
            fs::write(tmp.path().join(format!("{base:020}.log")), "").unwrap();
        }
        let log = options(mode).open(tmp.path()).unwrap();
        let report = log.recovery();
        assert!(report.lost.is_none() && report.damaged_ranges == 0, "{report:?}");
        assert_eq!(report.foreign_files.len(), 2, "{report:?}");
        for from in [0, 150, 200, 299] {
            let read = offsets(&log, OffsetSpec::At(Offset::new(from)));
            assert_eq!(read, (from..300).collect::<Vec<_>>(), "from {from}");
        }
    }
}

/// A segment that goes while the log is open: each reader is told once, and goes on behind it.
#[test]
fn a_segment_that_is_gone_is_passed_by_with_its_range() {
    for mode in MODES {
        let tmp = tempfile::tempdir().unwrap();
        closed_log(tmp.path(), mode, 3000);
        let mut names: Vec<_> = fs::read_dir(tmp.path()).unwrap().map(|e| e.unwrap()).collect();
        names.retain(|entry| entry.file_name().to_string_lossy().ends_with(".log"));
        names.sort_by_key(fs::DirEntry::file_name);
        let bases: Vec<i64> = names
            .iter()
            .map(|entry| entry.file_name().to_string_lossy()[..20].parse().unwrap())
            .collect();
        assert!(bases.len() >= 3);
        let log = options(mode).open(tmp.path()).unwrap();
        fs::remove_file(names[1].path()).unwrap();
        let mut errors = Vec::new();
        let mut read = 0;
        for batch in log.reader(OffsetSpec::Earliest).unwrap() {
            match batch {
                Ok(batch) => read += batch.len() as i64,
                Err(error) => errors.push(error),
            }
        }
        assert_eq!(errors.len(), 1, "{errors:?}");
        let lost = errors[0].lost_offsets().unwrap();
        assert_eq!((lost.start.get(), lost.end.get()), (bases[1], bases[2]));
        assert_eq!(read, 3000 - (bases[2] - bases[1]));
    }
}

/// I11: every byte claims to begin a long batch, or every second one is junk: it ends all the same.
#[test]
fn bytes_made_to_be_slow_are_walked_in_bounded_time() {
    let tmp = tempfile::tempdir().unwrap();
    let path = tmp.path().join("00000000000000000000.log");
    fs::write(&path, vec![2; 4 << 20]).unwrap();
    assert!(SegmentFile::open(&path).unwrap().all(|item| item.is_err()));
    for mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        fs::copy(&path, dir.path().join("00000000000000000000.log")).unwrap();
        let log = options(mode).open(dir.path()).unwrap();
        assert!(offsets(&log, OffsetSpec::Earliest).is_empty());
        log.append("goes on").unwrap();
    }
    let mut junk = Vec::new();
    let source = tempfile::tempdir().unwrap();
    closed_log(source.path(), IoMode::Positioned, 700);
    for item in SegmentFile::open(source.path().join("00000000000000000000.log")).unwrap() {
        junk.extend_from_slice(item.unwrap().1.as_bytes());
        junk.push(0xa5);
    }
    fs::write(&path, junk).unwrap();
    let segment = SegmentFile::open(&path).unwrap();
    assert_eq!(segment.filter(|item| item.is_ok()).count(), 700);
}

/// An index entry for every batch is allowed and asks for no gigabytes.
#[test]
fn the_smallest_index_interval_works_with_the_largest_segment() {
    let tmp = tempfile::tempdir().unwrap();
    let log = Log::options()
        .segment_bytes(i32::MAX as usize)
        .index_interval_bytes(1)
        .open(tmp.path())
        .unwrap();
    for _ in 0..100 {
        log.append("x").unwrap();
    }
    assert_eq!(offsets(&log, OffsetSpec::At(Offset::new(42)))[0], 42);
    log.close().unwrap();
}

/// Where a consumer starts matters for a new one only: a fixed configuration opens an old one.
#[test]
fn the_start_of_a_consumer_that_exists_is_not_looked_at() {
    let tmp = tempfile::tempdir().unwrap();
    let log = options(IoMode::Mapped).open(tmp.path()).unwrap();
    log.append("x").unwrap();
    drop(log.consumer("c").unwrap());
    let beyond = || ConsumerOptions::new().start(OffsetSpec::At(Offset::new(99)));
    assert_eq!(log.consumer_with("c", beyond()).unwrap().committed(), Offset::ZERO);
    let refused = log.consumer_with("new", beyond()).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::OffsetOutOfRange);
}

/// I20: segments and checkpoint gone, `log.meta` there: that is no new log.
#[test]
fn a_log_that_lost_its_files_is_not_called_created() {
    let tmp = tempfile::tempdir().unwrap();
    closed_log(tmp.path(), IoMode::Mapped, 10);
    let id = Log::open(tmp.path()).unwrap().id();
    for entry in fs::read_dir(tmp.path()).unwrap() {
        let path = entry.unwrap().path();
        if !path.ends_with("log.meta") {
            fs::remove_file(path).unwrap();
        }
    }
    let log = Log::open(tmp.path()).unwrap();
    assert!(!log.recovery().created);
    assert_eq!(log.id(), id);
}

/// V1: a closed log whose last segment became zeros from some batch on, its length unchanged: what
/// was there is missing, and whoever reads it is told.
#[test]
fn zeros_where_the_last_segment_had_records_are_reported() {
    for mode in MODES {
        let tmp = tempfile::tempdir().unwrap();
        closed_log(tmp.path(), mode, 20);
        let path = tmp.path().join("00000000000000000000.log");
        let places: Vec<_> =
            SegmentFile::open(&path).unwrap().map(|item| item.unwrap().0).collect();
        for (kept, place) in places.into_iter().enumerate().rev() {
            let mut bytes = fs::read(&path).unwrap();
            bytes[usize::try_from(place).unwrap()..].fill(0);
            fs::write(&path, &bytes).unwrap();
            let copy = tempfile::tempdir().unwrap();
            for entry in fs::read_dir(tmp.path()).unwrap() {
                let entry = entry.unwrap();
                fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
            }
            let log = options(mode).open(copy.path()).unwrap();
            assert_eq!(log.log_end_offset().get(), 20);
            let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
            assert_eq!(reader.by_ref().take_while(Result::is_ok).count(), kept);
            let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
            let errors: Vec<_> = reader.by_ref().filter_map(Result::err).collect();
            assert_eq!(errors.len(), 1, "{errors:?}");
            let lost = errors[0].lost_offsets().unwrap();
            assert_eq!((lost.start.get(), lost.end.get()), (kept as i64, 20));
            assert!(reader.next().is_none());
            log.append("goes on").unwrap();
            assert_eq!(reader.next().unwrap().unwrap().base_offset().get(), 20);
        }
    }
}

/// V10: a stray file between the segments of a closed log hides nothing, wherever reading begins.
#[test]
fn a_stray_segment_between_others_hides_no_record() {
    for mode in MODES {
        let tmp = tempfile::tempdir().unwrap();
        closed_log(tmp.path(), mode, 3000);
        for base in [1, 2, 499] {
            fs::write(tmp.path().join(format!("{base:020}.log")), vec![2_u8; 700]).unwrap();
        }
        let log = options(mode).open(tmp.path()).unwrap();
        assert!(log.recovery().clean);
        for from in (0..3000).step_by(7) {
            let mut reader = log.reader(OffsetSpec::At(Offset::new(from))).unwrap();
            assert_eq!(reader.next().unwrap().unwrap().base_offset().get(), from);
        }
        assert_eq!(offsets(&log, OffsetSpec::Earliest), (0..3000).collect::<Vec<_>>());
    }
}
