//! What the tests of archives share: a log and its archive, beside each other or apart, and records
//! that say their number.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use forebay::{
    Archive, ArchiveDir, ArchivedSegment, Error, ErrorKind, IoMode, Log, LogId, LogOptions, Offset,
    SealedSegment,
};

use crate::util::numbered::{numbers, text};
use crate::util::{Ground, Place, at, manual, texts, ways};

/// Where the archive lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Where {
    /// On the log's filesystem: segments are linked.
    Beside,
    /// On another one: segments are copied.
    Apart,
}

/// Every mode and ground, with the archive in either place.
pub(crate) fn setups() -> impl Iterator<Item = (IoMode, Ground, Where)> {
    ways()
        .flat_map(|(mode, ground)| [Where::Beside, Where::Apart].map(|place| (mode, ground, place)))
}

/// A log and its archive.
#[derive(Debug)]
pub(crate) struct Tiers {
    pub(crate) log: Place,
    pub(crate) archive: Place,
    pub(crate) mode: IoMode,
    place: Where,
}

impl Tiers {
    pub(crate) fn new((mode, ground, place): (IoMode, Ground, Where)) -> Tiers {
        let log = ground.place();
        let archive = match place {
            Where::Beside => log.beside("archive"),
            Where::Apart if ground == Ground::System => ground.elsewhere(),
            Where::Apart => ground.elsewhere().beside("archive"),
        };
        Tiers { log, archive, mode, place }
    }

    /// Small segments, and an index entry every few batches.
    pub(crate) fn options(&self) -> LogOptions {
        manual(self.mode).segment_bytes(4096).index_interval_bytes(600)
    }

    pub(crate) fn open(&self) -> Log {
        self.open_with(Arc::new(self.archive.archive()))
    }

    pub(crate) fn open_with(&self, archive: Arc<dyn Archive>) -> Log {
        self.log.open(self.options().archive(archive)).unwrap()
    }

    /// What a process that is killed now leaves.
    pub(crate) fn kill(&mut self) {
        self.log = self.log.killed();
        if self.place == Where::Beside && self.log.ground() != Ground::System {
            self.archive = self.log.beside("archive");
        }
    }

    /// The folder of a log in the archive.
    pub(crate) fn folder(&self, log: &Log) -> Place {
        self.archive.inside(&log.id().to_string())
    }
}

/// Appends so many records of about 300 bytes, a batch each.
pub(crate) fn append(log: &Log, count: i64) {
    for _ in 0..count {
        log.append(text(log.log_end_offset().get())).unwrap();
    }
}

/// Archives and deletes what is sealed below an offset, as retention does; the new start.
pub(crate) fn move_below(log: &Log, below: i64) -> i64 {
    let moved = log.archive_records(Offset::new(below)).unwrap();
    log.delete_records(moved).unwrap().get()
}

/// The numbers of everything from an offset on; any error fails the test.
pub(crate) fn read_from(log: &Log, from: i64) -> Vec<i64> {
    let read = log.reader(at(from)).unwrap().flat_map(|batch| texts(&batch.unwrap()));
    numbers(&read.collect::<Vec<_>>())
}

/// What reading through trouble gave.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Through {
    pub(crate) numbers: Vec<i64>,
    /// What was damaged.
    pub(crate) lost: Vec<Range<i64>>,
    /// What was deleted.
    pub(crate) missed: Vec<Range<i64>>,
}

pub(crate) fn read_through(log: &Log, from: i64) -> Through {
    let mut found = Through::default();
    let mut reader = log.reader(at(from)).unwrap();
    for step in 0.. {
        assert!(step < 10_000, "the reader does not end");
        let before = reader.next_offset().get();
        match reader.next() {
            None => break,
            Some(Ok(batch)) => found.numbers.extend(numbers(&texts(&batch))),
            Some(Err(error)) => match error.kind() {
                ErrorKind::Corrupt => {
                    let lost = error.lost_offsets().unwrap();
                    assert_eq!(lost.end, reader.next_offset(), "{error}");
                    found.lost.push(lost.start.get()..lost.end.get());
                }
                ErrorKind::OffsetOutOfRange => {
                    assert_eq!(error.record_offset().unwrap().get(), before);
                    found.missed.push(before..reader.next_offset().get());
                }
                _ => panic!("{error}"),
            },
        }
    }
    found
}

/// An archive that does as another one does, fails when told to, and counts.
pub(crate) struct Moody {
    pub(crate) inner: ArchiveDir,
    pub(crate) failing: AtomicBool,
    pub(crate) panicking: AtomicBool,
    pub(crate) stores: AtomicU64,
    pub(crate) finds: AtomicU64,
    pub(crate) stored: std::sync::Mutex<Vec<Range<i64>>>,
}

impl Moody {
    pub(crate) fn new(inner: ArchiveDir) -> Arc<Moody> {
        Arc::new(Moody {
            inner,
            failing: AtomicBool::new(false),
            panicking: AtomicBool::new(false),
            stores: AtomicU64::new(0),
            finds: AtomicU64::new(0),
            stored: Default::default(),
        })
    }

    fn mood(&self) -> Result<(), Error> {
        assert!(!self.panicking.load(Ordering::SeqCst), "a bad day");
        match self.failing.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Upstream, "the modem reports no carrier")),
            false => Ok(()),
        }
    }
}

impl Archive for Moody {
    fn store(&self, segment: &SealedSegment<'_>) -> Result<(), Error> {
        self.stores.fetch_add(1, Ordering::SeqCst);
        self.mood()?;
        self.inner.store(segment)?;
        let offsets = segment.offsets();
        self.stored.lock().unwrap().push(offsets.start.get()..offsets.end.get());
        Ok(())
    }

    fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>, Error> {
        self.finds.fetch_add(1, Ordering::SeqCst);
        self.mood()?;
        self.inner.find(log, offset)
    }
}
