//! What compaction may have taken of a log, by the books alone (V19; I2, I4).
//!
//! A record may be gone if its key has a later one in the log, below the offset up to which the log
//! can have been compacted; a tombstone also once it is old enough, and then nothing older of its
//! key is left; one without a key also. So the newest record of each key is there, and whoever
//! reads from the start makes the same table as of all that was appended.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use forebay::{CompactionReport, Compression, ErrorKind, Log, Offset, OffsetSpec, RecordBatch};

use super::books::Book;
use super::drive::World;
use super::judge;
use super::laws::{self, Law, Violation, broken, or_broken};

/// How many logs were found with records gone, how many of these without a tombstone, how many
/// upstreams with a gap, and how many batches compressed: what was not met was not judged.
pub(crate) static MET: [AtomicU64; 4] = [const { AtomicU64::new(0) }; 4];

/// What is left of a log, as it was read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Left {
    /// Batches with records: base and next offset.
    pub(crate) there: Vec<(i64, i64)>,
    /// Offsets that compaction took the records of.
    pub(crate) gone: Vec<i64>,
    /// Bases of batches that thinning took.
    pub(crate) thinned: Vec<i64>,
}

impl Left {
    /// The offsets below one that have a record.
    fn offsets(&self, below: i64) -> impl Iterator<Item = i64> {
        let of = |(base, next): &(i64, i64)| *base..*next;
        let all = self.there.iter().flat_map(of).take_while(move |offset| *offset < below);
        all.filter(|offset| self.gone.binary_search(offset).is_err())
    }
}

/// Goes along with a reader, batch by batch.
pub(crate) struct Walk<'a> {
    book: &'a Book,
    /// The offset that is due.
    pub(crate) expected: i64,
    pub(crate) left: Left,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(book: &'a Book, from: i64) -> Walk<'a> {
        Walk { book, expected: from, left: Left::default() }
    }

    /// Takes a batch that was read (V2).
    pub(crate) fn batch(&mut self, batch: &RecordBatch) -> Law {
        self.pass(batch.base_offset().get());
        let gone = laws::v2_what_is_left(batch, self.expected, &self.book.model)?;
        self.left.gone.extend(gone);
        let packed = batch.compression() != Compression::None;
        MET[3].fetch_add(u64::from(packed), Ordering::Relaxed);
        self.left.there.push((batch.base_offset().get(), batch.next_offset().get()));
        self.expected = batch.next_offset().get();
        Ok(())
    }

    /// Passes whole batches that may be gone.
    pub(crate) fn pass(&mut self, to: i64) {
        let Book { model, thinned_below, .. } = self.book;
        while self.expected < to {
            let next = model.from(self.expected).next();
            let Some(gone) = next.filter(|one| one.end() <= to) else { break };
            if gone.end() <= *thinned_below {
                self.left.thinned.push(gone.base);
            } else if gone.end() <= self.book.compacted_below() {
                self.left.gone.extend(gone.base.max(self.expected)..gone.end());
            } else {
                break;
            }
            self.expected = gone.end();
        }
    }
}

/// The newest record of each key.
pub(crate) struct Newest<'a> {
    book: &'a Book,
    below: i64,
    offsets: BTreeMap<&'a [u8], i64>,
}

impl<'a> Newest<'a> {
    /// Of all below an offset that compaction may have looked at.
    pub(crate) fn below(book: &'a Book, most: i64) -> Newest<'a> {
        let below = book.compacted_below().min(most);
        let mut offsets = BTreeMap::new();
        for batch in book.model.from(0) {
            for (offset, record) in (batch.base..below).zip(batch.records.iter()) {
                if let Some(key) = record.key.as_deref() {
                    offsets.insert(key, offset);
                }
            }
        }
        Newest { book, below, offsets }
    }

    /// V19: why the record at this offset may not be gone; whether it is the newest of its key.
    pub(crate) fn may_lack(&self, offset: i64) -> Result<bool, Violation> {
        if offset >= self.below {
            return broken(19, format!("offset {offset} is gone, compacted was {}", self.below));
        }
        let Some((_, record)) = self.book.model.at(offset) else { return Ok(false) };
        let Some(key) = record.key.as_deref() else { return Ok(false) };
        if self.offsets.get(key).is_some_and(|newest| *newest > offset) {
            return Ok(false);
        }
        if record.value.is_none() && offset < self.book.ripe_below {
            return Ok(true);
        }
        let (key, ripe) = (String::from_utf8_lossy(key), self.book.ripe_below);
        broken(19, format!("{offset} is gone, the newest of {key}; tombstones may below {ripe}"))
    }
}

/// V19: all of a log that reaches up to an offset.
pub(crate) fn v19_only_what_is_superseded_goes(book: &Book, left: &Left, end: i64) -> Law {
    if left.gone.is_empty() {
        return Ok(());
    }
    MET[0].fetch_add(1, Ordering::Relaxed);
    let mut tombstones = 0;
    let newest = Newest::below(book, end);
    for offset in &left.gone {
        if !newest.may_lack(*offset)? {
            continue;
        }
        tombstones = 1;
        let key = |offset| book.model.at(offset).and_then(|(_, record)| record.key.as_deref());
        if let Some(old) = left.offsets(*offset).find(|old| key(*old) == key(*offset)) {
            return broken(19, format!("tombstone {offset} is gone, and {old} of its key is back"));
        }
    }
    MET[1].fetch_add(tombstones, Ordering::Relaxed);
    Ok(())
}

/// V7: from every offset a reader finds the first batch that reaches over it, and of that the
/// records from there on.
pub(crate) fn v7_an_index_is_a_cache(log: &Log, (start, end): (i64, i64), left: &Left) -> Law {
    for offset in start..end {
        let reader = log.reader(OffsetSpec::At(Offset::new(offset)));
        let due = left.there.iter().find(|(_, next)| *next > offset);
        match (or_broken(7, reader)?.next(), due) {
            (None, None) => {}
            (Some(Ok(batch)), Some((base, next))) => {
                let found = (batch.base_offset().get(), batch.next_offset().get());
                let records = batch.records().count();
                let from = offset.max(*base);
                let gone = left.gone.iter().filter(|gone| (from..*next).contains(gone)).count();
                if found != (*base, *next) || records != (from..*next).count() - gone {
                    return broken(7, format!("at {offset} {base}..{next} is due, not {batch:?}"));
                }
            }
            (other, due) => return broken(7, format!("at {offset} {due:?} is due, not {other:?}")),
        }
    }
    Ok(())
}

/// What a compaction says of itself: below what it cleaned no key has two records, and what is left
/// there is as many as it counted.
fn v19_a_report_is_honest(book: &Book, left: &Left, report: &CompactionReport) -> Law {
    let below = report.cleaned_offset.get();
    let mut keys = BTreeMap::new();
    for offset in left.offsets(below) {
        let Some((_, record)) = book.model.at(offset) else { continue };
        let Some(key) = record.key.as_deref() else {
            return broken(19, format!("{offset} has no key, all below {below} was compacted"));
        };
        if let Some(older) = keys.insert(key, offset) {
            let key = String::from_utf8_lossy(key);
            return broken(19, format!("{older} and {offset} of {key} are left: {report:?}"));
        }
    }
    // Below the log start, in its segment, there may be more.
    if (keys.len() as u64) > report.records_after {
        return broken(19, format!("{} are left below {below}: {report:?}", keys.len()));
    }
    Ok(())
}

impl World {
    pub(crate) fn compact(&mut self, at: usize) -> Law {
        let Some(log) = self.log(at)? else { return Ok(()) };
        self.books().before();
        let got = log.compact();
        self.observe(at, &log)?;
        let (book, faulty) = (self.book(at, |book| book.clone()), self.books().faulty);
        let may = book.rules.map(|rule| super::rules::cleaning(rule).is_some());
        match got {
            Ok(report) if !may.contains(&true) => broken(19, format!("it compacted: {report:?}")),
            Ok(report) if !faulty => {
                let (_, left) = judge::look(&log, &book)?;
                if left.thinned.is_empty() {
                    v19_a_report_is_honest(&book, &left, &report)?;
                }
                Ok(())
            }
            Ok(_) => Ok(()),
            Err(error) if may.contains(&false) && error.kind() == ErrorKind::InvalidArgument => {
                Ok(())
            }
            Err(error) => self.refused("compact", &error),
        }
    }
}
