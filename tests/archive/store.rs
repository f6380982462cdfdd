//! Handing over: once, whole, oldest first, and never at the log's cost (I2, I8, I10, I19).
#![allow(clippy::single_range_in_vec_init, clippy::cloned_ref_to_slice_refs, reason = "test code")]

use std::io::Write;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;

use forebay::{
    Archive, ArchiveDir, ArchivedSegment, Error, ErrorKind, Log, LogId, LogOptions, Offset,
    OffsetSpec, SealedSegment,
};

use crate::tiers::{Moody, Tiers, append, move_below, read_from, setups};
use crate::util::numbered::{bases, text};
use crate::util::{Ground, MODES, kind, manual, scratch};

/// The ranges between the bases of the segments, the active one left out.
fn sealed(tiers: &Tiers) -> Vec<Range<i64>> {
    bases(&tiers.log).windows(2).map(|pair| pair[0]..pair[1]).collect()
}

/// Only what is wholly below goes, oldest first, and once while the log is open; after a restart
/// what is still there comes again, and is kept once.
#[test]
fn each_segment_is_handed_over_once_and_in_order() {
    for setup in setups() {
        let mut tiers = Tiers::new(setup);
        let moody = Moody::new(tiers.archive.archive());
        let log = tiers.open_with(moody.clone());
        append(&log, 100);
        let all = sealed(&tiers);
        for below in 0..=100 {
            let done = log.archive_records(Offset::new(below)).unwrap().get();
            let due: Vec<_> = all.iter().filter(|range| range.end <= below).cloned().collect();
            assert_eq!(*moody.stored.lock().unwrap(), due, "{setup:?} {below}");
            assert_eq!(done, due.last().map_or(0, |range| range.end));
            assert_eq!(log.archive_records(Offset::new(below)).unwrap().get(), done);
        }
        let stats = log.stats();
        let bytes: usize = tiers.log.segments()[..all.len()].iter().map(|n| tiers.log.len(n)).sum();
        assert_eq!(stats.segments_archived, all.len() as u64);
        assert_eq!(stats.bytes_archived, bytes as u64);
        assert_eq!((stats.archive_failures, stats.archive_error), (0, None));
        let above = log.archive_records(Offset::new(101));
        assert_eq!(kind(above), ErrorKind::OffsetOutOfRange);
        let before = tiers.folder(&log).files();
        log.delete_records(Offset::new(all[1].end)).unwrap();
        tiers.kill();
        drop(log);
        let moody = Moody::new(tiers.archive.archive());
        let log = tiers.open_with(moody.clone());
        let done = log.archive_records(Offset::new(100)).unwrap().get();
        assert_eq!(done, all.last().unwrap().end);
        assert_eq!(*moody.stored.lock().unwrap(), all[2..]);
        assert!(tiers.folder(&log).files() == before, "kept once");
    }
}

/// I2: what a power cut could take from the log is flushed before it goes.
#[test]
fn only_durable_records_are_handed_over() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let log = tiers.open();
        append(&log, 60);
        assert_eq!(log.durable_offset(), Offset::ZERO);
        let done = log.archive_records(Offset::new(60)).unwrap();
        assert!(done > Offset::new(30) && log.durable_offset() >= done);
    }
}

#[test]
fn a_log_without_an_archive_says_so() {
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).segment_bytes(4096).open(dir.path()).unwrap();
        append(&log, 60);
        assert_eq!(kind(log.archive_records(Offset::new(60))), ErrorKind::InvalidArgument);
        log.close().unwrap();
        let archive = Arc::new(ArchiveDir::new(scratch().path()).unwrap());
        let log = manual(mode).archive(archive).open(dir.path()).unwrap();
        log.clone().close().unwrap();
        assert_eq!(kind(log.archive_records(Offset::new(60))), ErrorKind::Closed);
    }
}

/// What fails keeps the segment, is told, and is tried again from where it failed; a panic too.
#[test]
fn a_failing_archive_keeps_the_segments() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let moody = Moody::new(tiers.archive.archive());
        let log = tiers.open_with(moody.clone());
        append(&log, 100);
        let all = sealed(&tiers);
        let first = log.archive_records(Offset::new(all[1].end)).unwrap();
        for (mood, expected, said) in [
            (&moody.failing, ErrorKind::Upstream, "no carrier"),
            (&moody.panicking, ErrorKind::Io, "a bad day"),
        ] {
            mood.store(true, Ordering::SeqCst);
            let failures = log.stats().archive_failures;
            let stores = moody.stores.load(Ordering::SeqCst);
            for n in 1..=3 {
                assert_eq!(kind(log.archive_records(Offset::new(100))), expected);
                let stats = log.stats();
                assert_eq!(stats.archive_failures, failures + n);
                assert!(stats.archive_error.unwrap().contains(said));
                assert_eq!(moody.stores.load(Ordering::SeqCst), stores + n, "the oldest only");
            }
            assert_eq!(log.stats().segments_archived, 2);
            assert_eq!(read_from(&log, 0), (0..100).collect::<Vec<_>>());
            append(&log, 0);
            log.flush().unwrap();
            mood.store(false, Ordering::SeqCst);
        }
        assert_eq!(log.archive_records(first).unwrap(), first);
        assert_eq!(log.archive_records(Offset::new(100)).unwrap().get(), all.last().unwrap().end);
        assert_eq!(*moody.stored.lock().unwrap(), all);
        assert_eq!(log.stats().archive_error, None, "that is over");
    }
}

/// Calls the log from inside, as a hook may: appends, reads, flushes, hands over, deletes, closes.
struct CallsBack {
    inner: ArchiveDir,
    log: OnceLock<Log>,
    calls: AtomicU64,
    close: AtomicBool,
}

impl Archive for CallsBack {
    fn store(&self, segment: &SealedSegment<'_>) -> Result<(), Error> {
        let log = self.log.get().unwrap();
        let start = segment.offsets().start;
        let batch = log.reader(OffsetSpec::At(start))?.next().unwrap()?;
        assert_eq!(batch.base_offset(), start);
        let before = log.archive_records(log.log_end_offset())?;
        assert_eq!(before, start, "it does not go on behind its own back");
        for _ in 0..30 {
            log.append(text(log.log_end_offset().get()))?;
        }
        log.flush()?;
        let mut consumer = log.consumer("hook")?;
        consumer.commit_offset(start)?;
        consumer.sync()?;
        self.calls.fetch_add(1, Ordering::SeqCst);
        // What was handed over before may go meanwhile, and so may this very segment.
        match self.calls.load(Ordering::SeqCst) % 3 {
            0 => drop(log.delete_records(start)?),
            1 => drop(log.delete_records(segment.offsets().end)?),
            _ => {}
        }
        self.inner.store(segment)?;
        if self.close.load(Ordering::SeqCst) {
            log.clone().close()?;
        }
        Ok(())
    }

    fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>, Error> {
        // Reading through asks from inside a reader.
        if let Some(log) = self.log.get() {
            drop(log.stats());
            log.append(text(log.log_end_offset().get()))?;
        }
        self.inner.find(log, offset)
    }
}

/// I10: no lock is held while the archive runs.
#[test]
fn an_archive_may_call_the_log() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let hook = Arc::new(CallsBack {
            inner: tiers.archive.archive(),
            log: OnceLock::new(),
            calls: AtomicU64::new(0),
            close: AtomicBool::new(false),
        });
        let log = tiers.open_with(hook.clone());
        append(&log, 60);
        assert!(hook.log.set(log.clone()).is_ok());
        let due = sealed(&tiers);
        let done = log.archive_records(Offset::new(60)).unwrap();
        assert_eq!(done.get(), due.last().unwrap().end);
        assert_eq!(hook.calls.load(Ordering::SeqCst), due.len() as u64);
        let end = log.log_end_offset().get();
        assert_eq!(end, 60 + 30 * i64::try_from(due.len()).unwrap());
        let read = read_from(&log, 0);
        assert!(read.len() as i64 >= end && read.iter().zip(0..).all(|(a, b)| *a == b));
        hook.close.store(true, Ordering::SeqCst);
        let closed = log.archive_records(log.log_end_offset());
        assert_eq!(kind(closed), ErrorKind::Closed, "closed by the hook, and nothing after it");
        assert_eq!(hook.calls.load(Ordering::SeqCst), due.len() as u64 + 1);
    }
}

/// Blocks until it is let go.
struct Blocks {
    inner: ArchiveDir,
    entered: Mutex<bool>,
    go: Mutex<bool>,
    changed: Condvar,
}

impl Blocks {
    fn set(&self, flag: &Mutex<bool>) {
        *flag.lock().unwrap() = true;
        self.changed.notify_all();
    }

    fn wait(&self, flag: &Mutex<bool>) {
        let mut set = flag.lock().unwrap();
        while !*set {
            set = self.changed.wait(set).unwrap();
        }
    }
}

impl Archive for Blocks {
    fn store(&self, segment: &SealedSegment<'_>) -> Result<(), Error> {
        self.set(&self.entered);
        self.wait(&self.go);
        self.inner.store(segment)
    }

    fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>, Error> {
        self.inner.find(log, offset)
    }
}

/// While one thread waits for the archive, others append, flush, read and delete, and do not hand
/// over; the segment stays readable for the call even when it is deleted.
#[test]
fn a_blocking_archive_holds_up_nobody_else() {
    for setup in setups().filter(|setup| setup.1 == Ground::System) {
        let tiers = Tiers::new(setup);
        let hook = Arc::new(Blocks {
            inner: tiers.archive.archive(),
            entered: Mutex::new(false),
            go: Mutex::new(false),
            changed: Condvar::new(),
        });
        let log = tiers.open_with(hook.clone());
        append(&log, 60);
        let all = sealed(&tiers);
        let (first, second) = (all[0].clone(), all[1].clone());
        thread::scope(|scope| {
            let handing = scope.spawn(|| log.archive_records(Offset::new(second.end)));
            hook.wait(&hook.entered);
            append(&log, 40);
            assert_eq!(log.flush().unwrap().get(), 100);
            assert_eq!(log.archive_records(Offset::new(100)).unwrap(), Offset::ZERO, "skipped");
            assert_eq!(read_from(&log, 0), (0..100).collect::<Vec<_>>());
            log.delete_records(Offset::new(first.end)).unwrap();
            assert!(log.verify().unwrap().faults.is_empty());
            hook.set(&hook.go);
            assert_eq!(handing.join().unwrap().unwrap().get(), second.end);
        });
        assert_eq!(read_from(&log, 0), (0..100).collect::<Vec<_>>(), "deleted, but kept");
    }
}

/// What an archive is told of a segment is so, and its bytes are those of the file.
struct Checks {
    inner: ArchiveDir,
    dir: String,
    seen: AtomicU64,
}

impl Archive for Checks {
    fn store(&self, segment: &SealedSegment<'_>) -> Result<(), Error> {
        assert_eq!(segment.log_name(), self.dir);
        assert_eq!(segment.path(), segment.log_dir().join(segment.file_name()));
        let offsets = segment.offsets();
        assert_eq!(segment.file_name(), format!("{:020}.log", offsets.start.get()));
        assert_eq!(segment.max_timestamp().unwrap().millis(), 5_000 + offsets.end.get() - 1);
        let mut bytes = Vec::new();
        assert_eq!(segment.copy_to(&mut bytes).unwrap(), segment.bytes());
        assert_eq!(bytes.len() as u64, segment.bytes());
        let mut part = vec![0xAA; 100];
        assert_eq!(segment.read_at(50, &mut part).unwrap(), 100);
        assert_eq!(part, bytes[50..150]);
        for (at, expected) in [
            (segment.bytes() - 7, 7),
            (segment.bytes(), 0),
            (segment.bytes() + 1, 0),
            (u64::MAX, 0),
        ] {
            assert_eq!(segment.read_at(at, &mut part).unwrap(), expected);
        }
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::StorageFull.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        assert_eq!(kind(segment.copy_to(&mut Full)), ErrorKind::OutOfSpace);
        assert!(format!("{segment:?}").contains(&segment.log_id().to_string()));
        self.seen.fetch_add(1, Ordering::SeqCst);
        self.inner.store(segment)
    }

    fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>, Error> {
        self.inner.find(log, offset)
    }
}

#[test]
fn a_segment_is_described_as_it_is() {
    use forebay::{NewRecord, Timestamp};
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let dir = "odd name - \u{e4}\u{f6}.log\n 00000000000000000000";
        let inner = tiers.archive.archive();
        let hook = Arc::new(Checks { inner, dir: dir.to_owned(), seen: AtomicU64::new(0) });
        let log = tiers.log.open_below(dir, tiers.options().archive(hook.clone())).unwrap();
        for number in 0..60 {
            let time = Timestamp::from_millis(5_000 + number);
            log.append(NewRecord::new(text(number)).timestamp(time)).unwrap();
        }
        move_below(&log, 60);
        assert!(hook.seen.load(Ordering::SeqCst) > 3);
        assert_eq!(read_from(&log, 0), (0..60).collect::<Vec<_>>());
    }
}

/// The options compare, print and copy with an archive in them; a configuration file has none.
#[test]
fn options_carry_an_archive() {
    let dir = scratch();
    let archive: Arc<dyn Archive> = Arc::new(ArchiveDir::new(dir.path()).unwrap());
    let other: Arc<dyn Archive> = Arc::new(ArchiveDir::new(dir.path()).unwrap());
    let with = LogOptions::default().archive(Arc::clone(&archive));
    assert_eq!(with.clone(), with);
    assert_eq!(with, LogOptions::default().archive(archive));
    assert_ne!(with, LogOptions::default().archive(other), "another one, if of the same place");
    assert_ne!(with, LogOptions::default());
    assert!(format!("{with:?}").contains("Archive("));
    let text = serde_json::to_string(&with).unwrap();
    assert!(!text.contains("archive"), "{text}");
    assert_eq!(serde_json::from_str::<LogOptions>(&text).unwrap(), LogOptions::default());
    assert!(serde_json::from_str::<LogOptions>("{\"archive\":\"/x\"}").is_err());
}
