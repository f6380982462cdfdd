//! Compaction: of each key only the newest record stays, in the sealed segments.
//!
//! Floor 4. `map` holds the newest offset of each key, `judge` says what of a batch stays, `copy`
//! writes it, `swap` puts it in a segment's place, `pass` goes through the log with them; here is
//! when and how often. Keeps I2, I4 and I9: offsets stay what they are, gaps are stood over, and
//! who reads an old file keeps it.

mod copy;
mod judge;
mod map;
pub(crate) mod options;
mod pass;
pub(crate) mod swap;

use std::sync::Arc;

use serde::Serialize;

use crate::disk::segment::Segment;
use crate::disk::state::{ClockSample, CompactionState};
use crate::log::compaction::judge::{Counts, Judge};
use crate::log::compaction::map::KeyMap;
use crate::log::policy::Policy;
use crate::log::retention::rules::{age_millis, begun};
use crate::log::{Inner, Log};
use crate::sys::sync::atomic::{AtomicBool, Ordering};
use crate::sys::sync::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// What a compaction did: see [`Log::compact`].
///
/// Records, bytes and segments are those of the sealed segments it was about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CompactionReport {
    /// Records that it read.
    pub records_before: u64,
    /// Records of these that are left.
    pub records_after: u64,
    /// Bytes of the segments' batches before.
    pub bytes_before: u64,
    /// Bytes of their batches now.
    pub bytes_after: u64,
    /// How many segments there were.
    pub segments_before: u64,
    /// How many there are: neighbours that fit into one are merged.
    pub segments_after: u64,
    /// Keys with a record that was new; one with such records in several passes counts in each.
    pub keys: u64,
    /// How often the log was gone through: once, if
    /// [`LogOptions::compaction_memory_bytes`](crate::LogOptions::compaction_memory_bytes) has room
    /// for all these keys.
    pub passes: u64,
    /// Records that went because their key has a newer one.
    pub superseded: u64,
    /// Tombstones that were old enough to go.
    pub tombstones_dropped: u64,
    /// Records that went because they have no key, from a time when the log was not compacted.
    pub keyless_dropped: u64,
    /// How often a segment was left as it is because it could not be read whole. As long as there
    /// is one, tombstones behind it stay.
    pub damaged_segments: u64,
    /// All below this offset was compacted.
    pub cleaned_offset: Offset,
}

/// Who compacts, and what it knows.
#[derive(Debug, Default)]
pub(crate) struct Compacting {
    /// Held for writing by a compaction, and for reading by who needs the files to stay.
    files: RwLock<()>,
    /// Held by a compaction; taken behind the one above, so that a close waits for that alone.
    running: Mutex<Progress>,
    /// The log is being closed.
    stopped: AtomicBool,
}

#[derive(Debug, Default)]
struct Progress {
    /// Up to here it was tried to make room.
    tried: Offset,
    /// Up to here the log was gone through, whether or not all of it could be read.
    passed: Offset,
}

/// A compaction's turn.
struct Turn<'a> {
    _files: RwLockWriteGuard<'a, ()>,
    progress: MutexGuard<'a, Progress>,
}

impl Compacting {
    /// Waits for a compaction that runs; until this is dropped, no segment's file is replaced or
    /// merged by one.
    pub(crate) fn files_stay(&self) -> RwLockReadGuard<'_, ()> {
        self.files.read()
    }

    /// Lets a compaction that runs end with what it has done, and none begin.
    pub(crate) fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
    }

    /// Waits for that end.
    pub(crate) fn wait_for_end(&self) {
        drop(self.running.lock());
    }

    fn begin(&self) -> Turn<'_> {
        let files = self.files.write();
        Turn { _files: files, progress: self.running.lock() }
    }

    /// Not while somebody else compacts, or needs the files to stay.
    fn try_begin(&self) -> Option<Turn<'_>> {
        let files = self.files.try_write()?;
        Some(Turn { _files: files, progress: self.running.try_lock()? })
    }

    /// Whether somebody else compacted just now; waits for that.
    fn waited_for_another(&self) -> bool {
        let runs = self.running.try_lock().is_none();
        if runs {
            self.wait_for_end();
        }
        runs
    }
}

/// A sealed segment, and where its successor begins.
#[derive(Clone, Debug)]
struct Sealed {
    segment: Arc<Segment>,
    next: Offset,
}

/// What passes count.
#[derive(Debug, Default)]
struct Tally {
    gone: Counts,
    /// Records below `counted_until`, as they were before.
    records: u64,
    counted_until: Offset,
    damaged_segments: u64,
}

impl Log {
    /// Compacts the sealed segments now, however little of them is new: of each key the newest
    /// record stays. See [`LogOptions::cleanup`](crate::LogOptions::cleanup).
    ///
    /// Offsets stay what they are: where records went, a batch has fewer of them, or an empty batch
    /// stands. Segments are replaced one at a time, oldest first, each by a file that is synced
    /// before; neighbours that fit into one segment are merged. Whatever stops it, each segment is
    /// the old one or the new one, and the next compaction goes on from there. Readers, consumers
    /// and batches that are in an old file keep it, and its space, which
    /// [`LogStats::deleted_held_bytes`](crate::LogStats::deleted_held_bytes) shows. A snapshot, an
    /// export or a verification waits for it, and it for them.
    ///
    /// It happens by itself, when
    /// [`LogOptions::min_cleanable_dirty_percent`](crate::LogOptions::min_cleanable_dirty_percent)
    /// says so; where it fails then, nothing is lost, and it is tried again after the next segment.
    /// The active segment is never compacted, nor is what is younger than
    /// [`LogOptions::min_compaction_lag`](crate::LogOptions::min_compaction_lag).
    ///
    /// Blocks for a flush, if there are sealed segments that are not durable, for reading all
    /// sealed segments, and for writing those of which records go; appends, flushes and reads go on
    /// meanwhile.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if the log is not one that is
    /// compacted;
    /// [`OutOfSpace`](crate::ErrorKind::OutOfSpace) where there is no room for the copy of a
    /// segment: what was done before stays done, and the log goes on; [`Io`](crate::ErrorKind::Io)
    /// and others as the system says; [`Poisoned`](crate::ErrorKind::Poisoned) and
    /// [`Closed`](crate::ErrorKind::Closed).
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
    /// use forebay::{Cleanup, Log, NewRecord, OffsetSpec};
    /// let log = Log::options().cleanup(Cleanup::Compact).segment_bytes(4096).open(dir)?;
    /// for reading in 0..300 {
    ///     let pump = format!("pump-{}", reading % 3);
    ///     log.append(NewRecord::new(format!("{reading} rpm")).key(pump.as_bytes()))?;
    /// }
    /// log.compact()?; // what the log has not done by itself
    /// let mut offsets = Vec::new();
    /// for batch in log.reader(OffsetSpec::Earliest)? {
    ///     for record in batch?.records() {
    ///         offsets.push(record?.offset().get());
    ///     }
    /// }
    /// assert!(offsets.len() < 100, "one of each pump, and what is not sealed yet");
    /// assert!(offsets[0] > 0 && offsets.last() == Some(&299), "offsets never change");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compact(&self) -> Result<CompactionReport> {
        let inner = &*self.inner;
        inner.check_open()?;
        let policy = inner.policy();
        if !policy.cleanup.compacts() {
            let text = "the log is not one that is compacted: see LogOptions::cleanup";
            return Err(Error::invalid(text).at(&inner.env.dir));
        }
        let mut turn = inner.compacting.begin();
        inner.compact_now(&mut turn, &policy)
    }
}

#[cfg(feature = "kafka")]
impl Log {
    /// Whether records go because their key has a newer one.
    pub(crate) fn is_compacted(&self) -> bool {
        self.inner.policy().cleanup.compacts()
    }
}

impl Inner {
    /// Compacts if enough of the log is new; `None` if not, or if somebody else does.
    pub(crate) fn compact_if_due(&self) -> Result<Option<CompactionReport>> {
        let policy = self.policy();
        if !policy.cleanup.compacts() {
            return Ok(None);
        }
        let Some(mut turn) = self.compacting.try_begin() else { return Ok(None) };
        match self.is_dirty(&policy, turn.progress.passed) {
            true => self.compact_now(&mut turn, &policy).map(Some),
            false => Ok(None),
        }
    }

    /// Compacts because an append found no room; whether it is worth trying again. Once for what
    /// there is: an append that is refused again and again does not read the log each time.
    pub(crate) fn compact_for_room(&self) -> bool {
        let Some(mut turn) = self.compacting.try_begin() else {
            // Somebody else may just have made some.
            return self.compacting.waited_for_another();
        };
        let policy = self.policy();
        let sealed = self.sealed_to_compact(&policy);
        let Some(end) = sealed.last().map(|last| last.next) else { return false };
        if std::mem::replace(&mut turn.progress.tried, end) >= end {
            return false;
        }
        let done = self.compact_now(&mut turn, &policy);
        done.is_ok_and(|report| report.bytes_after < report.bytes_before)
    }

    /// Whether more of the sealed bytes is new than the options allow. What is below `passed` is
    /// not new: a log with lasting damage is not gone through again for nothing.
    fn is_dirty(&self, policy: &Policy, passed: Offset) -> bool {
        let cleaned = self.with_clock(|state, _| state.compaction.cleaned).max(passed);
        let (mut dirty, mut all) = (0_u64, 0_u64);
        for sealed in self.sealed_to_compact(policy) {
            let bytes = sealed.segment.sealed_bytes(&self.env);
            all = all.saturating_add(bytes);
            if sealed.next > cleaned {
                dirty = dirty.saturating_add(bytes);
            }
        }
        let percent = u64::from(policy.min_cleanable_dirty_percent);
        dirty > 0 && dirty.saturating_mul(100) > all.saturating_mul(percent)
    }

    /// The sealed segments that are old enough, oldest first.
    fn sealed_to_compact(&self, policy: &Policy) -> Vec<Sealed> {
        let mut sealed = self.sealed_below(Offset::MAX);
        let lag = age_millis(policy.min_compaction_lag);
        if lag > 0 {
            let old = self.with_clock(|state, now| {
                sealed.partition_point(|segment| {
                    begun(&state.samples, segment.next)
                        .is_some_and(|begun| now.saturating_sub(begun) >= lag)
                })
            });
            sealed.truncate(old);
        }
        sealed
    }

    /// How much the map of keys may take.
    fn compaction_memory(&self) -> usize {
        self.memory.compaction
    }

    /// Ends a compaction that a close waits for.
    fn check_stopped(&self) -> Result<()> {
        match self.compacting.stopped.load(Ordering::Acquire) {
            true => Err(self.closed_error()),
            false => Ok(()),
        }
    }

    fn compact_now(&self, turn: &mut Turn<'_>, policy: &Policy) -> Result<CompactionReport> {
        self.check_open()?;
        self.check_stopped()?;
        self.check_refusal()?;
        let before = self.sealed_to_compact(policy);
        let Some(end) = before.last().map(|last| last.next) else {
            return Ok(CompactionReport::default());
        };
        let mut report = CompactionReport {
            segments_before: before.len() as u64,
            bytes_before: self.bytes_of(&before),
            ..CompactionReport::default()
        };
        drop(before);
        // Nothing writes into these files any more then: neither the first flush after an unclean
        // stop, nor an open that puts copies of torn ends back.
        self.flush_until(end)?;
        self.forget_tails_below(end)?;
        let mut tally = Tally::default();
        self.run_passes(end, policy, &mut tally, &mut report)?;
        turn.progress.passed = end;
        self.merge_small(&self.sealed_below(end), &mut tally)?;
        let after = self.sealed_below(end);
        report.segments_after = after.len() as u64;
        report.bytes_after = self.bytes_of(&after);
        let Counts { superseded, tombstones, keyless } = tally.gone;
        report.records_before = tally.records;
        report.records_after = tally.records.saturating_sub(tally.gone.all());
        (report.superseded, report.keyless_dropped) = (superseded, keyless);
        report.tombstones_dropped = tombstones;
        report.damaged_segments = tally.damaged_segments;
        Ok(report)
    }

    /// Goes through the log as often as the keys of what is new take.
    fn run_passes(
        &self,
        end: Offset,
        policy: &Policy,
        tally: &mut Tally,
        report: &mut CompactionReport,
    ) -> Result<()> {
        let retention = age_millis(policy.delete_retention);
        let mut keys = KeyMap::new(self.compaction_memory());
        let (mut from, ripe_end) = self.with_clock(|state, now| {
            let state = &state.compaction;
            (state.cleaned, ripe_end(&state.moments, now, retention))
        });
        let mut all_whole = true;
        loop {
            let filled = self.fill(&mut keys, &self.sealed_below(end), (from.min(end), end))?;
            report.keys += keys.len() as u64;
            let wall = self.clocks.now_wall().millis();
            let judge = Judge {
                keys: &keys,
                end: filled.end.get(),
                ripe_end: ripe_end.get(),
                horizon: std::cell::Cell::new(
                    filled.whole.then_some(wall.saturating_add(retention)),
                ),
                seal: self.env.seal,
                packing: self.live.packing(),
            };
            let mut sealed = self.sealed_below(end);
            sealed.retain(|segment| segment.segment.base < filled.end);
            let whole = self.rewrite_all(&sealed, &judge, tally)? && filled.whole;
            all_whole &= whole;
            self.note_cleaned(filled.end, all_whole, retention)?;
            report.passes += 1;
            report.cleaned_offset = filled.end;
            if filled.end >= end {
                return Ok(());
            }
            from = filled.end;
            keys.clear();
        }
    }

    /// The sealed segments that end at or below an offset.
    fn sealed_below(&self, end: Offset) -> Vec<Sealed> {
        let all = self.segments.all();
        let next = all.iter().skip(1).map(|segment| segment.base);
        let sealed = all.iter().zip(next).filter(|(_, next)| *next <= end);
        sealed.map(|(segment, next)| Sealed { segment: Arc::clone(segment), next }).collect()
    }

    fn bytes_of(&self, sealed: &[Sealed]) -> u64 {
        sealed.iter().map(|sealed| sealed.segment.sealed_bytes(&self.env)).sum()
    }

    /// Keeps how far the log was compacted, and when, if that is news. Not synced: what a power cut
    /// takes of it is done once more, and what is younger by it stays longer.
    fn note_cleaned(&self, end: Offset, whole: bool, retention: i64) -> Result<()> {
        self.change_state(|state| {
            let now = self.clock.noted(&*self.env.storage);
            let compaction = &mut state.compaction;
            if whole {
                compaction.cleaned = compaction.cleaned.max(end);
                add_moment(compaction, ClockSample { offset: end, log_clock: now }, retention);
            }
            Ok(((), whole))
        })
    }
}

/// Below this offset tombstones are as old as they have to be.
fn ripe_end(moments: &[ClockSample], now: i64, retention: i64) -> Offset {
    let ripe = |moment: &&ClockSample| now.saturating_sub(moment.log_clock) >= retention;
    moments.iter().filter(ripe).map(|moment| moment.offset).max().unwrap_or_default()
}

/// Adds when all below an offset had been compacted. Between two moments that are kept there is a
/// part of the retention, so that these are few: what lies between counts from the later one, and
/// so for younger than it is. Of those that are old enough already the last one says all.
fn add_moment(state: &mut CompactionState, moment: ClockSample, retention: i64) {
    let moments = &mut state.moments;
    let age = |other: &ClockSample| moment.log_clock.saturating_sub(other.log_clock);
    let ripe = moments.iter().take_while(|other| age(other) >= retention).count();
    moments.drain(..ripe.saturating_sub(1));
    let apart = retention / limits::COMPACTION_MOMENTS_A_RETENTION;
    let news = moments.last().is_none_or(|last| last.offset < moment.offset && age(last) >= apart);
    if !news {
        return;
    }
    if moments.len() >= limits::COMPACTION_MOMENTS_MAX {
        moments.remove(0);
    }
    moments.push(moment);
}

#[cfg(test)]
mod tests;
