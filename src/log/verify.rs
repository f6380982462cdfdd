//! Reads a whole log and says whether it is what it has to be.
//!
//! Floor 4. Changes nothing, and takes no lock that an append waits for but for a moment. Checks
//! every batch as a reader does, every record, the chain of segments (I4), what the caches say
//! against what they have to (I5), and the small files.

use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;

use crate::codec::decode::{RawRecords, resolve};
use crate::codec::index::{IndexEntries, IndexRule};
use crate::codec::pack;
use crate::disk::meta::{Found, Meta};
use crate::disk::segment::{Segment, SegmentData};
use crate::disk::state::State;
use crate::disk::walk::{Gaps, Step, WalkedBatch, Walker};
use crate::disk::{checkpoint, index_file, note};
use crate::log::{Inner, Log};
use crate::words::compression::Compression;
use crate::words::error::{ErrorKind, Result};
use crate::words::offset::Offset;

/// What [`Log::verify`] read, and what is wrong with it.
///
/// Lists are bounded at 64 items; the counts beside them are not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct VerifyReport {
    /// The log start offset when it began.
    pub log_start_offset: Offset,
    /// The log end offset when it began: up to there it read.
    pub log_end_offset: Offset,
    /// Segments read.
    pub segments: u64,
    /// Whole batches in them, gaps included.
    pub batches: u64,
    /// Records from the log start on.
    pub records: u64,
    /// Bytes of the whole batches.
    pub bytes: u64,
    /// Empty batches, which stand over offsets that do not exist or whose records were thinned out.
    pub gaps: u64,
    /// Batches whose codec is not built in: whole, but their records were not looked at. They are
    /// counted as their headers say.
    pub opaque_batches: u64,
    /// Ranges of offsets that cannot be read.
    pub damaged: Vec<Range<Offset>>,
    /// How many such ranges there are.
    pub damaged_ranges: u64,
    /// Sealed segments whose index file is missing or not what their batches give. A cache: it is
    /// made anew when it is needed. One written under another `index_interval_bytes` differs too.
    pub index_mismatches: u64,
    /// The same for time indexes.
    pub time_index_mismatches: u64,
    /// What is wrong with the checkpoint or `log.meta`, a line each.
    pub faults: Vec<String>,
}

impl VerifyReport {
    /// Whether everything can be read and the small files are right. Index files are caches, and
    /// do not count.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.damaged_ranges == 0 && self.faults.is_empty()
    }
}

impl Log {
    /// Reads everything from the log start to the log end and reports what is not as it has to be.
    ///
    /// Every batch's seal, checksum and place, every record, the chain of segments, the indexes of
    /// sealed segments, the checkpoint and `log.meta`. Changes nothing. Blocks for reading the
    /// whole log; appends, reads and deletions go on meanwhile, and what comes in is not looked at.
    ///
    /// Damage is what the report is for: it is no error.
    ///
    /// # Errors
    /// [`Io`](ErrorKind::Io) and others as the system says where a file cannot be read at all;
    /// [`Closed`](ErrorKind::Closed), also when the log is closed meanwhile.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// log.append_batch(["21.5 C", "21.6 C"])?;
    /// let report = log.verify()?;
    /// assert!(report.is_whole(), "{report:?}");
    /// assert_eq!((report.segments, report.batches, report.records), (1, 1, 2));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn verify(&self) -> Result<VerifyReport> {
        let inner = &*self.inner;
        inner.check_open()?;
        // Files that are merged would be gone from under it.
        let _files_stay = inner.compacting.files_stay();
        let Range { start, end } = inner.valid_offsets();
        let report =
            VerifyReport { log_start_offset: start, log_end_offset: end, ..Default::default() };
        let mut check = Check { inner, start, end, report, unpacked: Vec::new() };
        check.small_files()?;
        check.segments()?;
        Ok(check.report)
    }
}

/// One run over the log.
struct Check<'a> {
    inner: &'a Inner,
    start: Offset,
    end: Offset,
    report: VerifyReport,
    /// The records of the compressed batch that is looked at.
    unpacked: Vec<u8>,
}

impl Check<'_> {
    fn segments(&mut self) -> Result<()> {
        let mut next = self.inner.segments.find(self.start);
        let mut expected = next.as_ref().map_or(self.end, |segment| segment.base.min(self.start));
        while let Some(segment) = next.filter(|segment| segment.base < self.end) {
            self.inner.check_open()?;
            // A segment that has a successor now is sealed for good.
            let following = self.inner.segments.after(segment.base);
            let until = following.as_ref().map_or(self.end, |next| next.base);
            self.damaged(expected.min(segment.base)..expected.max(segment.base));
            expected = match self.segment(&segment, following.is_some(), until) {
                // Deleted before it was come to, or gone.
                Err(error) if error.kind() == ErrorKind::Corrupt => segment.base,
                read => read?,
            };
            next = following;
        }
        self.damaged(expected..self.end);
        Ok(())
    }

    /// Reads one segment; where the next one has to begin.
    fn segment(&mut self, segment: &Arc<Segment>, sealed: bool, until: Offset) -> Result<Offset> {
        let env = &self.inner.env;
        // Not among those that are kept open: readers have better use for these.
        let data = match sealed {
            true => Arc::new(SegmentData::open_sealed(env, segment.base)?),
            false => segment.data(env)?,
        };
        self.report.segments += 1;
        let ranges_before = self.report.damaged_ranges;
        let (batches_before, gaps_before) = (self.report.batches, self.report.gaps);
        let mut rule = IndexRule::new(segment.base.get(), env.index_interval_bytes);
        let mut entries = IndexEntries::default();
        let mut walker = Walker::new(0, segment.base, Gaps::Refused);
        while walker.next_offset() < self.end {
            match walker.next(&data, &env.seal)? {
                Step::Batch(batch) => {
                    let last = batch.header.next_offset() - 1;
                    if let Some(due) = rule.add(last, batch.header.max_timestamp, batch.position) {
                        entries.add(due);
                    }
                    self.batch(&batch);
                }
                Step::End => break,
                Step::Damage(_) => {
                    let first = walker.next_offset();
                    let Some(next) = walker.resync(&data, &env.seal, until)? else {
                        return Ok(first);
                    };
                    self.damaged(first..next);
                }
            }
        }
        let whole = self.report.damaged_ranges == ranges_before;
        // One that was thinned has no index files, and needs none.
        let only_gaps = self.report.batches - batches_before == self.report.gaps - gaps_before;
        // One that was sealed since this began was not read to its end.
        if sealed && only_gaps {
            return Ok(walker.next_offset());
        }
        if sealed && whole && until <= self.end {
            entries.add(rule.finish());
            self.index_files(segment, &entries);
        } else if !sealed && whole {
            self.active_index(&data, &entries)?;
        }
        Ok(walker.next_offset())
    }

    fn batch(&mut self, batch: &WalkedBatch) {
        let header = &batch.header;
        self.report.batches += 1;
        self.report.bytes += batch.bytes.len() as u64;
        if header.count == 0 {
            self.report.gaps += 1;
            return;
        }
        let codec = pack::compression(header);
        if !codec.is_built_in() && codec != Compression::Unknown {
            self.report.opaque_batches += 1;
            self.report.records += u64::from(header.count.unsigned_abs());
            return;
        }
        let (mut readable, mut damaged) = (0, false);
        for raw in RawRecords::of_batch(header, &batch.bytes, &mut self.unpacked) {
            match raw {
                Ok(raw) => {
                    readable += u64::from(resolve(header, &raw).offset >= self.start);
                }
                Err(_) => damaged = true,
            }
        }
        self.report.records += readable;
        if damaged {
            let next = Offset::new(header.next_offset());
            self.damaged(Offset::new(header.base_offset)..next);
        }
    }

    /// Takes note of what cannot be read, where it is still, and was already, part of the log.
    fn damaged(&mut self, range: Range<Offset>) {
        let start = self.start.max(self.inner.log_start_offset());
        let range = range.start.max(start)..range.end.min(self.end);
        if !range.is_empty() {
            self.report.damaged_ranges += 1;
            note(&mut self.report.damaged, range);
        }
    }

    fn index_files(&mut self, segment: &Segment, entries: &IndexEntries) {
        let env = &self.inner.env;
        let [index, times] = index_file::equal(&*env.storage, &env.dir, segment.base, entries);
        let successor = self.inner.segments.after(segment.base);
        if successor.is_some_and(|next| next.base <= self.inner.log_start_offset()) {
            // Deleted meanwhile.
            return;
        }
        self.report.index_mismatches += u64::from(!index);
        self.report.time_index_mismatches += u64::from(!times);
    }

    /// The active segment's index is in memory, and may have grown since.
    fn active_index(&mut self, data: &SegmentData, entries: &IndexEntries) -> Result<()> {
        let begins = |index: &IndexEntries| {
            let IndexEntries { entries: due, times } = entries;
            (index.entries.starts_with(due), index.times.starts_with(times))
        };
        let (index, times) = data.with_index(&self.inner.env, false, begins)?;
        self.report.index_mismatches += u64::from(!index);
        self.report.time_index_mismatches += u64::from(!times);
        Ok(())
    }

    fn small_files(&mut self) -> Result<()> {
        let env = &self.inner.env;
        let mut faults = Vec::new();
        match Meta::read(&*env.storage, &env.dir)? {
            Found::Whole(meta) if meta == self.inner.meta => {}
            Found::Whole(_) => faults.push("log.meta says something else than at open"),
            Found::Nothing => faults.push("log.meta is missing"),
            Found::Damaged => faults.push("log.meta is damaged"),
        }
        // Under the lock, so that what was read is what was written last.
        let durable = self.inner.checkpoint.lock();
        self.inner.check_open()?;
        let loaded = checkpoint::load::<State>(env)?;
        let state = &durable.state;
        let as_written = loaded.state.is_some_and(|stored| {
            // What an open changes in memory alone is written with the next change.
            stored.meta == state.meta
                && (stored.log_start, stored.recovery_point)
                    == (state.log_start, state.recovery_point)
                && stored.clean == state.clean
                && stored.consumers == state.consumers
        });
        if !as_written && !durable.unsaved {
            faults.push("the checkpoint does not hold what was written to it last");
        }
        if loaded.damaged_slots > 0 {
            faults.push("a slot of the checkpoint is damaged");
        }
        let end = self.inner.log_end_offset();
        if state.log_start > state.recovery_point || state.recovery_point > end {
            faults.push("log start, recovery point and log end are not in this order");
        }
        if state.consumers.iter().any(|consumer| consumer.committed > end) {
            faults.push("a committed offset lies above the log end");
        }
        drop(durable);
        self.report.faults = faults.into_iter().map(str::to_owned).collect();
        Ok(())
    }
}
