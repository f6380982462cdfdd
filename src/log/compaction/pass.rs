//! One pass of a compaction: the keys of what is new, then every segment without what they
//! supersede.
//!
//! Floor 4. Segments are rewritten oldest first, each on the device before the next one is begun:
//! so that when a tombstone is said to have been cleaned, nothing that it deletes is left below it,
//! whatever stops the pass.

use std::cell::Cell;
use std::sync::Arc;

use crate::codec::decode::RawRecords;
use crate::codec::layout::{BatchHeader, NO_TIMESTAMP};
use crate::codec::pack::Packing;
use crate::disk::segment::SegmentData;
use crate::disk::walk::{Gaps, Step, WalkedBatch, Walker};
use crate::log::Inner;
use crate::log::compaction::copy::{Copy, discard};
use crate::log::compaction::judge::{Counts, Judge, Left, Room, is_of_data};
use crate::log::compaction::map::{FETCHED, KeyHash, KeyMap};
use crate::log::compaction::{Sealed, Tally};
use crate::words::error::{ErrorKind, Result};
use crate::words::offset::Offset;

/// What a map was filled with.
pub(super) struct Filled {
    /// It knows all records below.
    pub(super) end: Offset,
    /// All of them could be read.
    pub(super) whole: bool,
}

/// What became of segments.
enum Rewritten {
    Done,
    /// The one of this number cannot be read whole: it stays as it is.
    Damaged(usize),
}

impl Inner {
    /// Fills the map with the keys of the records from an offset on, until it is full or the end is
    /// reached.
    pub(super) fn fill(
        &self,
        keys: &mut KeyMap,
        sealed: &[Sealed],
        (from, end): (Offset, Offset),
    ) -> Result<Filled> {
        let (mut whole, mut looking) = (true, Looking::default());
        for segment in sealed.iter().filter(|segment| segment.next > from) {
            let Some(data) = self.open_alone(segment)? else {
                whole = false;
                continue;
            };
            let mut walker = Walker::new(0, segment.segment.base, Gaps::Refused);
            while walker.next_offset() < segment.next {
                match walker.next(&data, &self.env.seal)? {
                    Step::Batch(batch) if batch.header.next_offset() <= from.get() => {}
                    Step::Batch(batch) => match note(keys, &batch, from, &mut looking) {
                        Noted::All => {}
                        Noted::Undecodable => whole = false,
                        Noted::Full(end) => return Ok(Filled { end: Offset::new(end), whole }),
                    },
                    Step::End => break,
                    Step::Damage(_) => {
                        whole = false;
                        if walker.resync(&data, &self.env.seal, segment.next)?.is_none() {
                            break;
                        }
                    }
                }
                self.check_stopped()?;
            }
        }
        Ok(Filled { end, whole })
    }

    /// A segment's file, for this alone: readers keep what they have open. `None` if it is gone.
    fn open_alone(&self, sealed: &Sealed) -> Result<Option<Arc<SegmentData>>> {
        match SegmentData::open_sealed(&self.env, sealed.segment.base) {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(None),
            opened => {
                let data = opened?;
                data.let_index_go();
                Ok(Some(Arc::new(data)))
            }
        }
    }

    /// Rewrites segments as the judge has it, neighbours merged where they fit into one; whether
    /// all of them could be read.
    pub(super) fn rewrite_all(
        &self,
        sealed: &[Sealed],
        judge: &Judge<'_>,
        tally: &mut Tally,
    ) -> Result<bool> {
        let damaged = self.rewrite_groups(sealed, judge, 1, tally)?;
        tally.damaged_segments += damaged;
        Ok(damaged == 0 && judge.horizon.get().is_some())
    }

    /// Merges neighbours that fit into one segment, all records as they are.
    pub(super) fn merge_small(&self, sealed: &[Sealed], tally: &mut Tally) -> Result<()> {
        let none = KeyMap::new(0);
        let horizon = Cell::new(None);
        let (seal, packing) = (self.env.seal, Packing::NONE);
        let judge = Judge { keys: &none, end: 0, ripe_end: 0, horizon, seal, packing };
        // What is damaged was counted before.
        self.rewrite_groups(sealed, &judge, 2, tally).map(drop)
    }

    /// Rewrites groups of neighbours that fit into one, if they are so many at least; how many
    /// segments could not be read whole.
    fn rewrite_groups(
        &self,
        sealed: &[Sealed],
        judge: &Judge<'_>,
        least: usize,
        tally: &mut Tally,
    ) -> Result<u64> {
        let (mut at, mut damaged) = (0, 0);
        while let Some(rest) = sealed.get(at..).filter(|rest| !rest.is_empty()) {
            let count = self.that_fit(rest);
            let group = rest.get(..count).filter(|group| group.len() >= least);
            let group = group.unwrap_or_default();
            at += count;
            if let Rewritten::Damaged(number) = self.rewrite_group(group, judge, tally)? {
                if let Some(before) = group.get(..number).filter(|before| before.len() >= least) {
                    self.rewrite_group(before, judge, tally)?;
                }
                damaged += 1;
                at = at - count + number + 1;
                // An older record of a tombstone's key may lie in it.
                judge.horizon.set(None);
            }
        }
        Ok(damaged)
    }

    /// How many of these segments fit into one; at least one.
    fn that_fit(&self, sealed: &[Sealed]) -> usize {
        let Some(first) = sealed.first() else { return 0 };
        let mut bytes = 0_u64;
        let fitting = sealed.iter().take_while(|segment| {
            bytes += segment.segment.sealed_bytes(&self.env);
            let span = segment.next - first.segment.base;
            bytes <= self.options.segment_bytes as u64 && span < i64::from(i32::MAX)
        });
        fitting.count().max(1)
    }

    fn rewrite_group(
        &self,
        group: &[Sealed],
        judge: &Judge<'_>,
        tally: &mut Tally,
    ) -> Result<Rewritten> {
        let done = self.try_rewrite(group, judge, tally);
        match done {
            Err(error) => {
                discard(&self.env);
                match error.kind() {
                    // It would be too long for a file: it stays as it is.
                    ErrorKind::RecordTooLarge => Ok(Rewritten::Damaged(0)),
                    _ => Err(error),
                }
            }
            Ok(Rewritten::Damaged(number)) => {
                discard(&self.env);
                Ok(Rewritten::Damaged(number))
            }
            done => done,
        }
    }

    fn try_rewrite(
        &self,
        group: &[Sealed],
        judge: &Judge<'_>,
        tally: &mut Tally,
    ) -> Result<Rewritten> {
        let mut run = Run::new(self, group, judge, tally.counted_until);
        for (number, segment) in group.iter().enumerate() {
            if !run.segment(segment)? {
                return Ok(Rewritten::Damaged(number));
            }
        }
        let Run { copy, counts, records, .. } = run;
        let Some(copy) = copy else { return Ok(Rewritten::Done) };
        let made = copy.finish().map_err(|(error, finally)| {
            if finally {
                self.poison(&error);
            }
            error
        })?;
        if let Some(made) = made
            && !self.put_in_place(group, &made)?
        {
            // Retention took one of them meanwhile.
            return Ok(Rewritten::Done);
        }
        tally.gone.add(counts);
        let until = group.last().map_or(Offset::ZERO, |last| last.next);
        tally.records += records;
        tally.counted_until = tally.counted_until.max(until);
        Ok(Rewritten::Done)
    }
}

/// What became of a batch's keys.
enum Noted {
    All,
    Undecodable,
    /// There was no room for the key of the record at this offset.
    Full(i64),
}

/// Memory that is used again for each batch.
#[derive(Default)]
struct Looking {
    unpacked: Vec<u8>,
    /// Keys to note, and the offsets of their records.
    ahead: Vec<(KeyHash, i64)>,
}

fn note(keys: &mut KeyMap, batch: &WalkedBatch, from: Offset, looking: &mut Looking) -> Noted {
    if !is_of_data(&batch.header) {
        return Noted::All;
    }
    let Looking { unpacked, ahead } = looking;
    let mut records = RawRecords::of_batch(&batch.header, &batch.bytes, unpacked);
    let (mut noted, mut more) = (Noted::All, true);
    while more {
        more = false;
        ahead.clear();
        for raw in records.by_ref().take(FETCHED) {
            more = raw.is_ok();
            let Ok(raw) = raw else {
                noted = Noted::Undecodable;
                break;
            };
            let offset = batch.header.base_offset + i64::from(raw.offset_delta);
            if let Some(key) = raw.key.filter(|_| offset >= from.get()) {
                ahead.push((keys.hash(key), offset));
            }
        }
        keys.fetch(ahead.iter().map(|(hash, _)| *hash));
        for &(hash, offset) in ahead.iter() {
            if !keys.put(hash, offset) {
                return Noted::Full(offset);
            }
        }
    }
    noted
}

/// Segments on their way into one file.
struct Run<'a, 'j> {
    inner: &'a Inner,
    judge: &'a Judge<'j>,
    /// There is one, from the first segment on.
    copy: Option<Copy<'a>>,
    /// It is made of one segment alone.
    alone: bool,
    room: Room,
    counts: Counts,
    /// Records of batches that begin behind what was counted already.
    records: u64,
    counted_until: Offset,
}

impl<'a, 'j> Run<'a, 'j> {
    fn new(
        inner: &'a Inner,
        group: &[Sealed],
        judge: &'a Judge<'j>,
        counted_until: Offset,
    ) -> Run<'a, 'j> {
        Run {
            inner,
            judge,
            copy: None,
            alone: group.len() == 1,
            room: Room::default(),
            counts: Counts::default(),
            records: 0,
            counted_until,
        }
    }

    /// Adds what stays of a segment; `false` if it cannot be read whole.
    fn segment(&mut self, sealed: &Sealed) -> Result<bool> {
        let env = &self.inner.env;
        let Some(data) = self.inner.open_alone(sealed)? else { return Ok(false) };
        let base = sealed.segment.base;
        let same = self.alone.then(|| Arc::clone(&data));
        let copy = self.copy.get_or_insert_with(|| Copy::begin(env, base, same));
        let mut walker = Walker::new(0, base, Gaps::Refused);
        loop {
            let batch = match walker.next(&data, &env.seal)? {
                Step::Batch(batch) => batch,
                Step::End => return Ok(walker.next_offset() == sealed.next),
                Step::Damage(_) => return Ok(false),
            };
            self.inner.check_stopped()?;
            let header = &batch.header;
            let (from, to) = (Offset::new(header.base_offset), Offset::new(header.next_offset()));
            if header.count == 0 {
                copy.skip(from, to, header.max_timestamp)?;
                continue;
            }
            if from >= self.counted_until {
                self.records += u64::from(header.count.unsigned_abs());
            }
            let judged = self.judge.batch(header, &batch.bytes, &mut self.room, &mut self.counts);
            let left = judged.unwrap_or_else(|_| {
                // An older record of a tombstone's key may be in it.
                self.judge.horizon.set(None);
                Left::Whole
            });
            match left {
                Left::Whole => copy.push(header, &batch.bytes, Some(batch.position))?,
                Left::Part => {
                    let batch = &self.room.batch;
                    let made = BatchHeader::read(batch);
                    copy.push(&made.unwrap_or(*header), batch, None)?;
                }
                Left::Nothing => copy.skip(from, to, NO_TIMESTAMP)?,
            }
        }
    }
}
