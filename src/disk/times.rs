//! Finding a segment's records by their time.
//!
//! Floor 3. The time index is a cache (I5): what it says is believed where the batches it names
//! bear it out. It then leaves what lies between two of its entries to be walked; without it the
//! segment is.
//!
//! An entry says that no record up to its offset has a time above its own, and its offset is that
//! of the first batch to reach it. One is added wherever an index entry is, if the time has risen
//! since. So in the active segment, whose index is in memory, the first record at or above a time
//! lies between the last two index entries at or below the first time entry that reaches it. Of a
//! sealed one each file may have been written under another interval, of which a power cut kept
//! one old and one new: there each entry is true, but one that is due between two may be missing.

use crate::codec::decode::{RawRecords, resolve};
use crate::codec::index::TimeEntry;
use crate::codec::layout::BatchHeader;
use crate::disk::Env;
use crate::disk::segment::SegmentData;
use crate::disk::walk::{Gaps, Step, WalkedBatch, Walker};
use crate::sys::Pinned;
use crate::words::error::Result;
use crate::words::offset::Offset;

impl SegmentData {
    /// The highest time of a sealed segment, as its batches have it; `i64::MIN` without a batch.
    pub(crate) fn max_timestamp(&self, env: &Env) -> Result<i64> {
        for rebuild in [false, true] {
            let last = self.with_index(env, rebuild, |index| match index.times.as_slice() {
                all if !rebuild && may_be_cut(all) => None,
                all => all.last().copied().map(|time| (time, index.entries.last().copied())),
            })?;
            // Times up to that of 1969-12-31 23:59:59.999 have no entries at all.
            let Some((last, point)) = last else { continue };
            let from = point.map_or(Offset::ZERO, |point| self.base + i64::from(point.offset));
            if self.bears_out(env, last)? && self.highest_from(env, from)? <= last.timestamp {
                return Ok(last.timestamp);
            }
        }
        self.highest_from(env, Offset::ZERO)
    }

    /// The first offset at or above `from` whose record has a time at or above `time`. In a sealed
    /// segment its highest time is known to reach that.
    pub(crate) fn first_at(
        &self,
        env: &Env,
        time: i64,
        from: Offset,
        sealed: bool,
    ) -> Result<Option<Offset>> {
        // The active segment's index is kept as it grows; nobody else may make it anew.
        let tries: &[bool] = if sealed { &[false, true] } else { &[false] };
        for &rebuild in tries.iter().filter(|_| time >= 0) {
            let (below, above, point) = self.with_index(env, rebuild, |index| {
                let at = index.times.partition_point(|entry| entry.timestamp < time);
                let below = at.checked_sub(1).and_then(|at| index.times.get(at));
                (below.copied(), index.times.get(at).copied(), index.entries.last().copied())
            })?;
            if let Some(below) = below
                && !self.bears_out(env, below)?
            {
                continue;
            }
            let begin = match (above, point) {
                (Some(above), _) if !self.bears_out(env, above)? => continue,
                (Some(_), _) if sealed => match below {
                    Some(below) => self.base + i64::from(below.offset),
                    None => self.base,
                },
                (Some(above), _) => self.base + i64::from(above.offset) + -1,
                // The last entry of a sealed segment's index reaches its highest time.
                (None, _) if sealed => continue,
                (None, Some(point)) => self.base + i64::from(point.offset),
                (None, None) => self.base + -1,
            };
            return self.walk_to(env, begin, time, from);
        }
        self.walk_to(env, from, time, from)
    }

    /// Whether the batch a time entry names is there and has that time.
    fn bears_out(&self, env: &Env, entry: TimeEntry) -> Result<bool> {
        let named = self.base + i64::from(entry.offset);
        let none = Pinned::of_vec(Vec::new());
        let mut walker = self.walker_from(env, named, none, Gaps::Expected, |_, next| {
            next.base_offset <= named.get()
        })?;
        let says = |header: &BatchHeader| {
            let ends_there = header.next_offset() == named.get() + 1;
            ends_there && header.max_timestamp == entry.timestamp
        };
        // A sealed header that says the same as the index needs no look at the records.
        if walker.sealed_header(&env.seal).is_some_and(|header| says(&header)) {
            return Ok(true);
        }
        while let Step::Batch((header, _)) = walker.pass(self, &env.seal)? {
            if header.next_offset() > named.get() {
                return Ok(says(&header));
            }
        }
        Ok(false)
    }

    /// The highest time of the batches from the one of an offset on.
    fn highest_from(&self, env: &Env, from: Offset) -> Result<i64> {
        let (position, base) = self.floor(env, from)?;
        let mut walker = Walker::new(position, base, Gaps::Expected);
        let mut highest = i64::MIN;
        while let Some(batch) = next_whole(&mut walker, self, env)? {
            if batch.header.count > 0 {
                highest = highest.max(batch.header.max_timestamp);
            }
        }
        Ok(highest)
    }

    /// Walks from where the index leads for `begin` to the first record that is due. Batches that
    /// say of themselves that they hold none are passed by their headers: one whose header is wrong
    /// there is damaged, and cannot be read.
    fn walk_to(&self, env: &Env, begin: Offset, time: i64, from: Offset) -> Result<Option<Offset>> {
        let none = Pinned::of_vec(Vec::new());
        let mut walker = self.walker_from(env, begin, none, Gaps::Expected, |header, _| {
            header.max_timestamp < time || header.next_offset() <= from.get()
        })?;
        while let Some(batch) = next_whole(&mut walker, self, env)? {
            let due = batch.header.max_timestamp >= time && batch.header.next_offset() > from.get();
            if due && let Some(found) = first_in(&batch, time, from) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// The next whole batch, behind damage if need be: reading reports that.
fn next_whole(walker: &mut Walker, data: &SegmentData, env: &Env) -> Result<Option<WalkedBatch>> {
    loop {
        match walker.next(data, &env.seal)? {
            Step::Batch(batch) => return Ok(Some(batch)),
            Step::End => return Ok(None),
            Step::Damage(_) if walker.resync(data, &env.seal, Offset::MAX)?.is_none() => {
                return Ok(None);
            }
            Step::Damage(_) => {}
        }
    }
}

/// The first record of a batch, at or above `from`, that reaches the time.
fn first_in(batch: &WalkedBatch, time: i64, from: Offset) -> Option<Offset> {
    let mut scratch = Vec::new();
    for raw in RawRecords::of_batch(&batch.header, &batch.bytes, &mut scratch) {
        // What cannot be looked into, as by its codec, is found as a whole.
        let Ok(raw) = raw else { return Some(from.max(Offset::new(batch.header.base_offset))) };
        let record = resolve(&batch.header, &raw);
        if record.timestamp.millis() >= time && record.offset >= from {
            return Some(record.offset);
        }
    }
    None
}

/// Whether a power cut may have left the front of a time index that looks whole: files are cut at
/// pages, and of these only every third ends an entry.
fn may_be_cut(times: &[TimeEntry]) -> bool {
    !times.is_empty() && times.len().is_multiple_of(ENTRIES_OF_THREE_PAGES)
}

const ENTRIES_OF_THREE_PAGES: usize = 1024;
