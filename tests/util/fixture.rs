//! A small log as bytes, to be damaged in copies, and what has to hold however it was damaged.

use std::ops::Range;
use std::time::Duration;

use forebay::{Error, IoMode, Log, LogOptions, Offset, OffsetSpec, RecoveryReport};

use super::{Found, Ground, OpenIn, Owned, Place, manual, read_all, read_through};

/// The bytes of a log's directory, and what is in it.
#[derive(Clone)]
pub(crate) struct Fixture {
    pub(crate) mode: IoMode,
    pub(crate) ground: Ground,
    pub(crate) files: Vec<(String, Vec<u8>)>,
    pub(crate) records: Vec<Owned>,
    /// The offsets of every batch, the file it lies in, and where.
    pub(crate) batches: Vec<(Range<i64>, String, Range<usize>)>,
    /// The durable offset when the files were taken.
    pub(crate) durable: i64,
    pub(crate) id: forebay::LogId,
}

/// What a damaged copy turned out to be.
pub(crate) struct Outcome {
    pub(crate) found: Found,
    pub(crate) report: RecoveryReport,
    pub(crate) end: i64,
    /// Offsets that were there once and were not read.
    pub(crate) missing: Vec<i64>,
}

/// The offset the fixture's consumer `c` has committed.
pub(crate) const COMMITTED: i64 = 7;

pub(crate) fn options(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(4096).index_interval_bytes(400)
}

/// Appends `batches` batches of one to three records of known content to a log.
pub(crate) fn fill(log: &Log, records: &mut Vec<Owned>, batches: usize) {
    for _ in 0..batches {
        let first = records.len();
        for n in first..=first + first % 3 {
            records.push(Owned {
                offset: i64::try_from(n).unwrap(),
                timestamp: 1_790_000_000_000 + i64::try_from((n * 7919) % 1000).unwrap(),
                key: (n % 2 == 0).then(|| format!("key {n}").into_bytes()),
                value: (n % 7 != 6).then(|| format!("value {n} {}", "v".repeat(90)).into_bytes()),
                headers: vec![("h".to_owned(), (n % 3 != 0).then(|| vec![0xff, 0]))],
            });
        }
        log.append_batch(records[first..].iter().map(Owned::to_new)).unwrap();
    }
}

impl Fixture {
    /// Three segments, closed.
    pub(crate) fn closed(mode: IoMode, ground: Ground) -> Fixture {
        let dir = ground.place();
        let log = options(mode).open_in(&dir).unwrap();
        let mut records = Vec::new();
        fill(&log, &mut records, 45);
        let id = log.id();
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(Offset::new(COMMITTED)).unwrap();
        drop(consumer);
        log.close().unwrap();
        Fixture::take(mode, &dir, records, None, id)
    }

    /// As a killed process leaves it: `flushed` batches were flushed, `batches` more were not.
    pub(crate) fn killed(mode: IoMode, ground: Ground, flushed: usize, batches: usize) -> Fixture {
        let dir = ground.place();
        let log = options(mode).open_in(&dir).unwrap();
        let mut records = Vec::new();
        fill(&log, &mut records, flushed);
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(Offset::new(COMMITTED.min(log.log_end_offset().get()))).unwrap();
        let durable = log.flush().unwrap().get();
        fill(&log, &mut records, batches);
        let id = log.id();
        Fixture::take(mode, &dir, records, Some(durable), id)
    }

    pub(crate) fn take(
        mode: IoMode,
        dir: &Place,
        records: Vec<Owned>,
        durable: Option<i64>,
        id: forebay::LogId,
    ) -> Fixture {
        let files = dir.files();
        let batches = dir.segments().into_iter().flat_map(|name| {
            let batches = dir.batches_of(&name);
            batches.into_iter().map(move |(offsets, places)| (offsets, name.clone(), places))
        });
        let batches: Vec<_> = batches.collect();
        assert_eq!(batches.last().unwrap().0.end, i64::try_from(records.len()).unwrap());
        let durable = durable.unwrap_or_else(|| i64::try_from(records.len()).unwrap());
        Fixture { mode, ground: dir.ground(), files, records, batches, durable, id }
    }

    pub(crate) fn end(&self) -> i64 {
        i64::try_from(self.records.len()).unwrap()
    }

    /// The names of the files that end like this.
    pub(crate) fn names(&self, suffix: &str) -> Vec<String> {
        let names = self.files.iter().map(|(name, _)| name.clone());
        names.filter(|name| name.ends_with(suffix)).collect()
    }

    pub(crate) fn bytes(&self, name: &str) -> &Vec<u8> {
        &self.files.iter().find(|(have, _)| have == name).unwrap().1
    }

    pub(crate) fn bytes_mut(&mut self, name: &str) -> &mut Vec<u8> {
        &mut self.files.iter_mut().find(|(have, _)| have == name).unwrap().1
    }

    /// An empty place on the fixture's ground.
    pub(crate) fn place(&self) -> Place {
        self.ground.place()
    }

    /// Puts the files into a directory, in place of whatever is there.
    pub(crate) fn put(&self, dir: &Place) {
        dir.clear();
        for (name, bytes) in &self.files {
            dir.write(name, bytes);
        }
    }

    /// Opens what lies in `dir`, a damaged copy of this, and checks all that has to hold whatever
    /// the damage: only true records at their offsets, every missing one reported, appends work.
    pub(crate) fn check(&self, dir: &Place, what: &str) -> Result<Outcome, Error> {
        let log = options(self.mode).open_in(dir)?;
        let report = log.recovery().clone();
        let found = read_through(&log, OffsetSpec::Earliest);
        let end = log.log_end_offset().get();
        assert!(end >= self.durable, "{what}: the end fell below the durable offset, to {end}");
        assert!(log.log_start_offset() <= log.durable_offset(), "I1: {what}");
        assert!(log.durable_offset() <= log.log_end_offset(), "I1: {what}");
        let mut previous = -1;
        for record in &found.records {
            assert!(record.offset > previous, "{what}: {} came after {previous}", record.offset);
            previous = record.offset;
            let truth = usize::try_from(previous).ok().and_then(|n| self.records.get(n));
            assert_eq!(Some(record), truth, "V2, {what}");
        }
        let seen: Vec<i64> = found.records.iter().map(|record| record.offset).collect();
        let missing: Vec<i64> =
            (0..self.end()).filter(|n| seen.binary_search(n).is_err()).collect();
        let told = report.lost.iter().chain(&report.damaged);
        let told: Vec<_> = told.map(|r| r.start.get()..r.end.get()).collect();
        for n in missing.iter().filter(|n| **n < end) {
            let told = told.iter().chain(&found.lost).any(|range| range.contains(n));
            assert!(told, "{what}: {n} is missing and not reported: {report:?}");
        }
        self.check_alive(&log, what);
        drop(log);
        Ok(Outcome { found, report, end, missing })
    }

    /// V17: what was opened can be appended to, flushed, read and consumed.
    fn check_alive(&self, log: &Log, what: &str) {
        let end = log.log_end_offset();
        assert_eq!(log.append("alive").unwrap(), end, "{what}");
        assert_eq!(log.append_batch(["and", "well"]).unwrap().start, end + 1, "{what}");
        assert_eq!(log.flush().unwrap(), end + 3, "{what}");
        let mut reader = log.reader(OffsetSpec::At(end)).unwrap();
        let batch = reader.next().unwrap().unwrap();
        assert_eq!(super::texts(&batch), ["alive"], "{what}");
        let mut consumer = log.consumer("alive").unwrap();
        consumer.seek(OffsetSpec::At(end)).unwrap();
        let polled = consumer.poll(Duration::ZERO).unwrap().unwrap();
        assert_eq!(super::texts(&polled), ["alive"], "{what}");
        consumer.commit().unwrap();
    }

    /// I12: what is opened again, closed or killed, reads the same as the first time.
    pub(crate) fn check_again(&self, dir: &Place, first: &Outcome, what: &str) {
        let log = options(self.mode).open_in(dir).unwrap();
        assert_eq!(log.log_end_offset().get(), first.end + 3, "{what}");
        let again = read_through(&log, OffsetSpec::Earliest);
        let count = first.found.records.len();
        assert_eq!(again.records[..count], first.found.records, "{what}");
        assert_eq!(again.records.len(), count + 3, "{what}");
        let consumer = log.consumer("alive").unwrap();
        assert_eq!(consumer.committed().get(), first.end + 1, "{what}");
    }

    /// A log in `dir` that must be whole: every record, no error, not a word of damage.
    pub(crate) fn check_whole(&self, dir: &Place, what: &str) -> Log {
        let log = options(self.mode).open_in(dir).unwrap();
        assert_eq!(read_all(&log), self.records, "{what}");
        assert_eq!(log.recovery().damaged_ranges, 0, "{what}");
        assert_eq!(log.recovery().lost, None, "{what}");
        log
    }
}
