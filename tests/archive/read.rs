//! Reading through the archive: what was moved there is read as if it had stayed (I4, I7, I13).
#![allow(clippy::single_range_in_vec_init, clippy::cloned_ref_to_slice_refs, reason = "test code")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use forebay::{
    Archive, ArchivedSegment, ConsumerOptions, Error, ErrorKind, IoMode, Log, LogId, Offset,
    OffsetSpec, SealedSegment, Timestamp,
};

use crate::tiers::{Moody, Tiers, append, move_below, read_from, read_through, setups};
use crate::util::numbered::{bases, numbers, text};
use crate::util::{all_texts, at, kind, poll_text, texts};

/// From every offset, now, after a close, and after a kill.
#[test]
fn what_was_moved_reads_back_from_every_offset() {
    for setup in setups() {
        let mut tiers = Tiers::new(setup);
        let log = tiers.open();
        append(&log, 100);
        let all = bases(&tiers.log);
        let start = move_below(&log, 100);
        assert_eq!(start, *all.last().unwrap(), "all but the active segment");
        assert_eq!(bases(&tiers.log), [start]);
        let kept: Vec<_> = tiers.folder(&log).names();
        assert_eq!(kept.len(), (all.len() - 1) * 3, "{kept:?}");
        append(&log, 30);
        let check = |log: &Log| {
            for from in 0..=130 {
                assert_eq!(read_from(log, from), (from..130).collect::<Vec<_>>(), "{setup:?}");
            }
            assert_eq!(numbers(&all_texts(log))[0], start, "Earliest is the log start");
            let report = log.verify().unwrap();
            assert_eq!((report.damaged_ranges, report.faults.len()), (0, 0));
        };
        check(&log);
        tiers.kill();
        log.close().unwrap();
        let log = tiers.open();
        check(&log);
        log.close().unwrap();
        check(&tiers.open());
    }
}

/// The files are the log's own, byte for byte, and so are their indexes.
#[test]
fn archived_files_are_those_of_the_log() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let log = tiers.open();
        append(&log, 100);
        log.archive_records(log.log_end_offset()).unwrap();
        let folder = tiers.folder(&log);
        let names = folder.names();
        assert!(names.len() > 12);
        for name in names {
            assert!(folder.read(&name) == tiers.log.read(&name), "{setup:?} {name}");
        }
    }
}

/// A batch at a time, and before each the start moves a segment further, ahead of the reader,
/// behind it, and across it: nothing twice, nothing left out.
#[test]
fn readers_go_on_while_the_start_moves_past_them() {
    for setup in setups() {
        for ahead in [-20, 0, 7, 15, 60] {
            let tiers = Tiers::new(setup);
            let log = tiers.open();
            append(&log, 120);
            let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
            let mut consumer = log.consumer("c").unwrap();
            for number in 0..120 {
                let below = (number + ahead).clamp(0, 120);
                move_below(&log, below);
                let batch = reader.next().unwrap().unwrap();
                assert_eq!(numbers(&texts(&batch)), [number], "{setup:?} {ahead}");
                assert_eq!(numbers(&poll_text(&mut consumer).unwrap()), [number]);
                consumer.commit().unwrap();
            }
            assert!(reader.next().is_none());
            append(&log, 1);
            assert_eq!(numbers(&texts(&reader.next().unwrap().unwrap())), [120]);
            assert_eq!((consumer.missed(), consumer.committed().get()), (0, 120));
        }
    }
}

/// Batches of many records: a position inside of one, on both sides of the start.
#[test]
fn a_start_inside_a_batch_changes_nothing_for_readers() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let log = tiers.open();
        for first in (0..120).step_by(5) {
            log.append_batch((first..first + 5).map(text)).unwrap();
        }
        let moved = log.archive_records(Offset::new(120)).unwrap().get();
        for start in (0..=moved).step_by(4) {
            log.delete_records(Offset::new(start)).unwrap();
            for from in [0, 1, start - 6, start - 1, start, start + 1].map(|from| from.max(0)) {
                assert_eq!(read_from(&log, from), (from..120).collect::<Vec<_>>(), "{start}");
            }
        }
    }
}

/// A consumer reads in the archive, commits there, and goes on there after a restart; I7 brings it
/// nowhere else.
#[test]
fn consumers_commit_below_the_log_start_and_go_on_there() {
    for setup in setups() {
        let mut tiers = Tiers::new(setup);
        let log = tiers.open();
        append(&log, 100);
        let late = log.consumer("late").unwrap();
        let start = move_below(&log, 100);
        let mut consumer = log.consumer_with("early", ConsumerOptions::new().start(at(3))).unwrap();
        assert_eq!((consumer.position().get(), consumer.lag()), (3, 97));
        assert_eq!(numbers(&poll_text(&mut consumer).unwrap()), [3]);
        consumer.commit().unwrap();
        consumer.seek(at(20)).unwrap();
        assert_eq!(numbers(&poll_text(&mut consumer).unwrap()), [20]);
        consumer.commit_offset(Offset::new(5)).unwrap();
        let refused = consumer.commit_offset(Offset::new(-1));
        assert_eq!(kind(refused), ErrorKind::OffsetOutOfRange);
        drop((consumer, late));
        tiers.kill();
        drop(log);
        let log = tiers.open();
        let mut consumer = log.consumer("early").unwrap();
        for number in 5..100 {
            assert_eq!(numbers(&poll_text(&mut consumer).unwrap()), [number]);
        }
        assert_eq!((consumer.missed(), poll_text(&mut consumer)), (0, None));
        let mut late = log.consumer("late").unwrap();
        assert_eq!((late.position().get(), late.missed()), (0, 0));
        assert_eq!(numbers(&poll_text(&mut late).unwrap()), [0]);
        drop(late);
        // Without the archive it is as ever: what cannot be read is missed.
        log.close().unwrap();
        let log = tiers.log.open(tiers.options()).unwrap();
        let mut late = log.consumer("late").unwrap();
        assert_eq!((late.position().get(), late.missed()), (start, start.unsigned_abs()));
        assert_eq!(kind(late.commit_offset(Offset::new(0))), ErrorKind::OffsetOutOfRange);
        assert_eq!(kind(log.reader(at(0))), ErrorKind::OffsetOutOfRange);
    }
}

/// What the archive does not have is told once, and counted; what it has on both sides is read.
#[test]
fn what_was_deleted_without_the_archive_is_missed_once() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let log = tiers.open();
        append(&log, 100);
        let all = bases(&tiers.log);
        let mut consumer = log.consumer("c").unwrap();
        let (first, second) = (all[2], all[4]);
        move_below(&log, first);
        log.delete_records(Offset::new(second)).unwrap();
        let start = move_below(&log, 100);
        let whole: Vec<_> = (0..first).chain(second..100).collect();
        let found = read_through(&log, 0);
        assert_eq!((found.numbers, found.missed), (whole.clone(), vec![first..second]));
        assert_eq!(found.lost, []);
        let mut polled = Vec::new();
        while let Some(text) = poll_text(&mut consumer) {
            polled.extend(numbers(&text));
        }
        assert_eq!((polled, consumer.missed()), (whole, (second - first).unsigned_abs()));
        for gone in [first, second - 1] {
            let error = log.reader(at(gone)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
            assert_eq!(error.valid_offsets().unwrap(), Offset::new(start)..Offset::new(100));
            assert_eq!(kind(consumer.seek(at(gone))), ErrorKind::OffsetOutOfRange);
            let options = ConsumerOptions::new().start(at(gone));
            assert_eq!(kind(log.consumer_with("new", options)), ErrorKind::OffsetOutOfRange);
        }
        assert!(log.consumers().iter().all(|consumer| consumer.name != "new"));
        assert_eq!(kind(log.reader(at(-1))), ErrorKind::OffsetOutOfRange);
        assert_eq!(kind(log.reader(at(101))), ErrorKind::OffsetOutOfRange);
        // A time is looked up in the log alone.
        let reader = log.reader(OffsetSpec::Timestamp(Timestamp::from_millis(0))).unwrap();
        assert_eq!(reader.next_offset().get(), start);
        // An archive that was emptied has nothing; the log goes on.
        tiers.folder(&log).clear();
        assert_eq!(kind(log.reader(at(0))), ErrorKind::OffsetOutOfRange);
        consumer.commit_offset(Offset::new(3)).unwrap();
        drop(consumer);
        let mut consumer = log.consumer("c").unwrap();
        assert_eq!(consumer.position().get(), 3);
        assert_eq!(numbers(&poll_text(&mut consumer).unwrap()), [start]);
        assert_eq!(consumer.missed(), (start - 3).unsigned_abs());
    }
}

/// While the archive cannot answer, nothing is passed over: the reader stays, and goes on later.
#[test]
fn an_archive_that_is_away_loses_nothing() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let archive = Moody::new(tiers.archive.archive());
        let log = tiers.open_with(archive.clone());
        append(&log, 60);
        let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        move_below(&log, 60);
        for (mood, expected) in
            [(&archive.failing, ErrorKind::Upstream), (&archive.panicking, ErrorKind::Io)]
        {
            mood.store(true, Ordering::SeqCst);
            assert_eq!(kind(reader.next().unwrap()), expected);
            assert!(reader.next().is_none(), "no loop repeats it for ever");
            assert_eq!(reader.next_offset(), Offset::ZERO);
            for _ in 0..3 {
                assert_eq!(kind(consumer.poll(Duration::ZERO)), expected);
            }
            assert_eq!((consumer.position(), consumer.missed()), (Offset::ZERO, 0));
            assert_eq!(kind(log.reader(at(0))), expected);
            let options = ConsumerOptions::new().start(at(0));
            assert_eq!(kind(log.consumer_with("other", options)), expected);
            mood.store(false, Ordering::SeqCst);
        }
        let read: Vec<_> = reader.flat_map(|batch| texts(&batch.unwrap())).collect();
        assert_eq!(numbers(&read), (0..60).collect::<Vec<_>>());
        assert_eq!(numbers(&poll_text(&mut consumer).unwrap()), [0]);
    }
}

/// An archive that answers nonsense.
struct Liar(Lie);

type Lie = fn(Offset) -> Option<ArchivedSegment>;

impl Archive for Liar {
    fn store(&self, _: &SealedSegment<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn find(&self, _: LogId, offset: Offset) -> Result<Option<ArchivedSegment>, Error> {
        Ok((self.0)(offset))
    }
}

/// Ranges that do not fit, names that do not, files that are not there: an error, never a loop, a
/// wrong record, or a panic.
#[test]
fn nonsense_of_an_archive_is_refused() {
    const LIES: [(Lie, ErrorKind); 6] = [
        (|_| Some(found(0, 0, "/x/00000000000000000000.log")), ErrorKind::InvalidArgument),
        (|at| Some(found(0, at.get(), "/x/0.log")), ErrorKind::InvalidArgument),
        (|at| Some(found(9, at.get() - 5, "/x/0.log")), ErrorKind::InvalidArgument),
        (|at| Some(found(at.get(), at.get() + 9, "/x/0.log")), ErrorKind::InvalidArgument),
        (|at| Some(found(at.get(), at.get() + 9, "/")), ErrorKind::InvalidArgument),
        (|_| Some(found(0, i64::MAX, "/x/00000000000000000000.log")), ErrorKind::Corrupt),
    ];
    fn found(start: i64, end: i64, path: &str) -> ArchivedSegment {
        ArchivedSegment::new(Offset::new(start)..Offset::new(end), path)
    }
    for setup in setups() {
        for (lie, expected) in LIES {
            let tiers = Tiers::new(setup);
            let log = tiers.open_with(Arc::new(Liar(lie)));
            append(&log, 60);
            let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
            let start = move_below(&log, 60);
            assert_eq!(kind(reader.next().unwrap()), expected);
            let after = match expected {
                ErrorKind::Corrupt => start,
                _ => 0,
            };
            assert_eq!(reader.next_offset().get(), after);
            assert_eq!(read_from(&log, start), (start..60).collect::<Vec<_>>());
        }
    }
}

/// Empty ranges at the end, or everything behind the end: the log is read all the same.
#[test]
fn an_archive_that_claims_what_the_log_has_is_not_asked() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let archive = Moody::new(tiers.archive.archive());
        let log = tiers.open_with(archive.clone());
        append(&log, 60);
        log.archive_records(Offset::new(60)).unwrap();
        for from in 0..60 {
            assert_eq!(read_from(&log, from).len(), 60 - usize::try_from(from).unwrap());
        }
        assert_eq!(archive.finds.load(Ordering::SeqCst), 0);
    }
}

/// The bound of memory holds with readers in the archive, and leaves room for fewer of them.
#[test]
fn memory_is_counted_for_readers_in_the_archive() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let options = tiers.options().max_batch_bytes(2048);
        let with = options.clone().archive(Arc::new(tiers.archive.archive()));
        assert!(with.memory_bytes_max(2) > options.memory_bytes_max(2));
        let limit = with.memory_bytes_max(2);
        let fill = |log: &Log| {
            let mut readers = Vec::new();
            loop {
                match log.reader(OffsetSpec::Earliest) {
                    Ok(reader) => readers.push(reader),
                    Err(error) => {
                        assert_eq!(error.kind(), ErrorKind::OutOfSpace);
                        return readers;
                    }
                }
            }
        };
        let log = tiers.log.open(options.memory_limit_bytes(limit)).unwrap();
        append(&log, 60);
        let without = fill(&log).len();
        log.close().unwrap();
        let log = tiers.log.open(with.memory_limit_bytes(limit)).unwrap();
        let mut readers = fill(&log);
        assert!(readers.len() >= 2, "{}", readers.len());
        match setup.0 {
            IoMode::Mapped => assert!(readers.len() < without, "{} {without}", readers.len()),
            _ => assert!(readers.len() <= without, "{} {without}", readers.len()),
        }
        move_below(&log, 60);
        for reader in &mut readers {
            assert_eq!(reader.flat_map(|batch| texts(&batch.unwrap())).count(), 60);
        }
        assert!(log.stats().memory_bytes <= limit as u64);
    }
}
