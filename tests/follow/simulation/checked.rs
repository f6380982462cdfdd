//! A follower that checks all it reads.

use forebay::simulation::Disk;
use forebay::{ErrorKind, FollowReader, IoMode, Log, OffsetSpec, ReadOnlyLog, Visibility};

use super::DIR;
use super::writer::{Life, value};

use crate::util::{read_all, texts};

/// A follower of which each record is one that was appended at its offset, and to which what a
/// later life appended never comes behind what it took the place of.
pub(crate) struct Checked {
    mode: IoMode,
    visibility: Visibility,
    log: Option<ReadOnlyLog>,
    reader: Option<FollowReader>,
    /// What was read at each offset from 0 on and not retracted since; empty what there was not.
    read: Vec<String>,
    pub(crate) retracted: u64,
    pub(crate) missed: u64,
    pub(crate) batches: u64,
    /// Ranges that it was told cannot be read.
    pub(crate) holes: u64,
    /// Ranges over which the log went on, in silence.
    pub(crate) gaps: u64,
}

/// An offset as a place in a list.
fn place(offset: forebay::Offset) -> usize {
    usize::try_from(offset.get()).unwrap()
}

impl Checked {
    pub(crate) fn new(mode: IoMode, visibility: Visibility) -> Checked {
        Checked {
            mode,
            visibility,
            log: None,
            reader: None,
            read: Vec::new(),
            retracted: 0,
            missed: 0,
            batches: 0,
            holes: 0,
            gaps: 0,
        }
    }

    /// Reads what is there now, up to so many batches.
    pub(crate) fn step(&mut self, disk: &Disk, at_most: usize) {
        if self.reader.is_none() && !self.open(disk) {
            return;
        }
        for _ in 0..at_most {
            if !self.read_one() {
                break;
            }
        }
        let Some(log) = &self.log else { return };
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        assert!(start <= log.durable_offset() && log.durable_offset() <= end, "I1: {log:?}");
    }

    fn open(&mut self, disk: &Disk) -> bool {
        if self.log.is_none() {
            match ReadOnlyLog::options().io_mode(self.mode).open_on(disk, DIR) {
                Ok(log) => self.log = Some(log),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
                    return false;
                }
            }
        }
        match self.log.as_ref().unwrap().reader(OffsetSpec::Earliest) {
            Ok(reader) => {
                let reader = reader.visibility(self.visibility);
                // It may come late.
                self.read.resize(place(reader.next_offset()), String::new());
                self.reader = Some(reader);
                true
            }
            Err(error) => self.begin_anew(&error),
        }
    }

    /// The power was cut before the directory or `log.meta` was synced: the next open makes another
    /// log.
    fn begin_anew(&mut self, error: &forebay::Error) -> bool {
        let kinds = [ErrorKind::Conflict, ErrorKind::NotFound];
        assert!(kinds.contains(&error.kind()) && self.batches == 0, "{error}");
        *self = Checked::new(self.mode, self.visibility);
        false
    }

    /// Takes one batch, or one hole; whether there was one.
    fn read_one(&mut self) -> bool {
        let reader = self.reader.as_mut().unwrap();
        let next = reader.next();
        let first = match &next {
            Some(Ok(batch)) => batch.records().next().unwrap().unwrap().offset(),
            Some(Err(error)) if error.kind() == ErrorKind::Corrupt => {
                error.lost_offsets().unwrap().start
            }
            Some(Err(error)) => return self.begin_anew(error),
            None => reader.next_offset(),
        };
        let (retracted, missed) = (reader.retracted(), reader.missed());
        let after = place(reader.next_offset());
        self.account(place(first), retracted, missed);
        match next {
            None => return false,
            Some(Ok(batch)) => {
                self.batches += 1;
                for text in texts(&batch) {
                    check(&self.read, &text, self.read.len());
                    self.read.push(text);
                }
            }
            Some(Err(_)) => {
                self.read.resize(after, String::new());
                self.holes += 1;
            }
        }
        assert_eq!(after, self.read.len());
        true
    }

    /// Follows the reader to where it went on, at `first`: back by what it says was retracted,
    /// forward by what it says it missed, and nowhere else.
    fn account(&mut self, first: usize, retracted: u64, missed: u64) {
        let taken = usize::try_from(retracted - self.retracted).unwrap();
        let skipped = usize::try_from(missed - self.missed).unwrap();
        (self.retracted, self.missed) = (retracted, missed);
        assert!(self.visibility == Visibility::Written || taken == 0, "{taken} were durable");
        // One past the last record that was handed out.
        let handed = self.read.iter().rposition(|text| !text.is_empty()).map_or(0, |at| at + 1);
        let back = if taken > 0 { handed - taken } else { self.read.len().min(first - skipped) };
        assert!(taken > 0 || back >= handed, "{back} to {handed} came twice and nothing was said");
        self.read.truncate(back);
        self.read.resize(back + skipped, String::new());
        assert!(self.read.len() <= first, "{first} comes again");
        if self.read.len() < first {
            self.gaps += 1;
            self.read.resize(first, String::new());
        }
    }

    /// Another one that comes only now reads the same; less, if nobody has opened the log since a
    /// power cut.
    pub(crate) fn agrees_with_a_later_one(&self, disk: &Disk, opened: bool) {
        let mut later = Checked::new(self.mode, self.visibility);
        later.step(disk, usize::MAX);
        let whole = self.holes == 0 && later.holes == 0 && self.reader.is_some();
        if !whole || later.reader.is_none() {
            return;
        }
        let (seen, seen_later) = (self.read.len(), later.read.len());
        assert!(seen == seen_later || seen > seen_later && !opened, "{seen} and {seen_later}");
        let both = self.read.iter().zip(&later.read);
        for (at, (one, other)) in both.enumerate() {
            let differ = !one.is_empty() && !other.is_empty() && one != other;
            assert!(!differ, "{at}: {one} and, later, {other}");
        }
    }

    /// In the end it has read what the log holds.
    pub(crate) fn at_end(&mut self, disk: &Disk, log: &Log) {
        self.step(disk, usize::MAX);
        for record in read_all(log) {
            let text = String::from_utf8(record.value.unwrap()).unwrap();
            let read = self.read.get(usize::try_from(record.offset).unwrap());
            let Some(read) = read else { break };
            let told = self.missed > 0 || self.holes > 0;
            assert!(*read == text || read.is_empty() && told, "{read} for {text}");
        }
        if self.visibility == Visibility::Written {
            assert_eq!(self.read.len(), place(log.log_end_offset()));
        }
    }
}

/// Whether a record may stand at an offset, behind those.
fn check(read: &[String], text: &str, offset: usize) {
    let offset = i64::try_from(offset).unwrap();
    let mut numbers = text.split('/').map(|number| number.parse().unwrap_or(0));
    let life = Life { number: numbers.next().unwrap(), from: numbers.next().unwrap() };
    assert_eq!(text, value(life, offset));
    let before = read.last().filter(|before| offset > life.from && !before.is_empty());
    if let Some(before) = before {
        assert!(before.starts_with(&format!("{}/", life.number)), "{text} after {before}");
    }
}
