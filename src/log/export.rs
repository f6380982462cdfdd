//! The log's segments as a broker takes them over.
//!
//! Floor 4. The bytes are Kafka's already but for the seal: its place, outside the checksum, gets
//! the -1 that producers write there. Only whole batches are exported, for a broker that finds
//! another cuts its log there.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::codec::encode::stamp;
use crate::codec::index::{IndexEntries, IndexRule};
use crate::codec::layout::BatchHeader;
use crate::codec::seal::Seal;
use crate::disk::names::{self, Part};
use crate::disk::note;
use crate::disk::segment::Segment;
use crate::disk::target::Target;
use crate::disk::walk::{Gaps, Step, Walker};
use crate::log::{Inner, Log};
use crate::sys::StorageFile;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// What an export holds.
///
/// Lists are bounded at 64 items; the counts beside them are not.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct ExportReport {
    /// The first offset in it: the log start offset, or where the batch begins that holds it.
    pub log_start_offset: Offset,
    /// Where a broker goes on: the durable offset at the call.
    pub log_end_offset: Offset,
    /// Segment files.
    pub segments: u64,
    /// Batches, those included that stand over gaps.
    pub batches: u64,
    /// Records.
    pub records: u64,
    /// Bytes of the segment files.
    pub bytes: u64,
    /// Ranges of offsets that cannot be read in the log, and so are not in the export.
    pub damaged: Vec<Range<Offset>>,
    /// How many such ranges there are.
    pub damaged_ranges: u64,
}

impl Log {
    /// Writes the log's segments, up to the durable offset, into `dir` as a partition directory
    /// that a Kafka broker adopts: the same names, offsets and batches, with their indexes, the
    /// seal replaced by the leader epoch -1. Appends, rolls, flushes and deletions go on meanwhile.
    ///
    /// How it is handed over: [`docs::kafka`](crate::docs::kafka). The durable part of the active
    /// segment is a segment here; records below the log start offset are left out, batch by batch.
    /// Offsets that are missing or damaged stay missing.
    ///
    /// `dir` must not exist, or be empty; an unfinished export in it is replaced. Everything is
    /// synced before the call returns. Blocks for reading and writing all of it; memory is bounded
    /// at 512 KiB, one batch and one segment's index.
    ///
    /// # Errors
    /// As [`Log::snapshot`]; what was made is removed again, at most an empty directory stays.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?;
    /// let log = forebay::Log::open(tmp.path().join("log"))?;
    /// log.append("21.5 C")?;
    /// log.flush()?;
    /// let report = log.export(tmp.path().join("telemetry-0"))?;
    /// assert_eq!((report.segments, report.records), (1, 1));
    ///
    /// let path = tmp.path().join("telemetry-0/00000000000000000000.log");
    /// let (_, batch) = forebay::SegmentFile::open(path)?.next().unwrap()?;
    /// assert_eq!(batch.leader_epoch(), -1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn export(&self, dir: impl AsRef<Path>) -> Result<ExportReport> {
        let inner = &*self.inner;
        inner.check_open()?;
        let target = Target::prepare(&inner.env, dir.as_ref())?;
        // Files that are merged would be gone from under it.
        let _files_stay = inner.compacting.files_stay();
        let made = Export::make(inner, &target).and_then(|report| {
            // Closed meanwhile, the directory may have had another writer.
            inner.check_open()?;
            target.finish()?;
            Ok(report)
        });
        made.inspect_err(|_| target.abandon())
    }
}

/// An export being made.
struct Export<'a> {
    inner: &'a Inner,
    target: &'a Target,
    /// What is left to do.
    offsets: Range<Offset>,
    report: ExportReport,
    /// One past the last offset that is exported, or known to be missing.
    reached: Offset,
    /// One past the last offset that is exported.
    whole: Option<Offset>,
}

impl Export<'_> {
    fn make(inner: &Inner, target: &Target) -> Result<ExportReport> {
        let (mut all, offsets) = inner.segments_to_copy();
        let end = offsets.end;
        all.retain(|segment| segment.base < end);
        let nexts: Vec<_> = all.iter().skip(1).map(|next| next.base).chain([end]).collect();
        let mut export = Export {
            inner,
            target,
            reached: offsets.start,
            offsets,
            report: ExportReport::default(),
            whole: None,
        };
        for (segment, next) in all.iter().zip(nexts) {
            if next > export.offsets.start {
                export.segment(segment, next)?;
            }
        }
        export.lose(end);
        if export.whole != Some(end) {
            // No batch reaches the end: an empty segment does, so that a broker assigns none of
            // these offsets a second time.
            export.begin(end)?.finish(target)?;
        }
        export.report.log_end_offset = end;
        Ok(export.report)
    }

    /// Writes what a segment holds, up to `next`, where its successor begins.
    fn segment(&mut self, segment: &Arc<Segment>, next: Offset) -> Result<()> {
        let env = &self.inner.env;
        let data = match self.inner.segments.open(env, segment) {
            Err(error) if error.kind() == ErrorKind::Corrupt => return self.gone(next),
            opened => opened?,
        };
        let mut file = None;
        let mut walker = Walker::new(0, segment.base, Gaps::Refused);
        while walker.next_offset() < next {
            let batch = match walker.next(&data, &env.seal)? {
                Step::Batch(batch) => batch,
                Step::End => break,
                Step::Damage(_) => match walker.resync(&data, &env.seal, next)? {
                    Some(_) => continue,
                    None => break,
                },
            };
            let (first, behind) =
                (Offset::new(batch.header.base_offset), Offset::new(batch.header.next_offset()));
            if behind > next {
                break;
            }
            if behind <= self.offsets.start {
                continue;
            }
            self.lose(first);
            let file = match &mut file {
                Some(file) => file,
                none => {
                    // Where the log begins inside the segment, nothing stands before that here.
                    let cut = segment.base < self.offsets.start;
                    none.insert(self.begin(if cut { first } else { segment.base })?)
                }
            };
            file.push(&batch.header, &batch.bytes)?;
            self.report.batches += 1;
            self.report.records += u64::from(batch.header.count.unsigned_abs());
            self.report.bytes += batch.bytes.len() as u64;
            (self.reached, self.whole) = (behind, Some(behind));
        }
        file.map_or(Ok(()), |file| file.finish(self.target))
    }

    /// A segment's file is gone. If retention or `delete_records` took it meanwhile, the export
    /// begins behind it; else it was lost before.
    fn gone(&mut self, next: Offset) -> Result<()> {
        if next <= self.inner.log_start_offset() {
            self.target.clear()?;
            self.report = ExportReport::default();
            (self.offsets.start, self.reached, self.whole) = (next, next, None);
        }
        Ok(())
    }

    /// A new segment file.
    fn begin(&mut self, base: Offset) -> Result<Exported> {
        if self.report.segments == 0 {
            self.report.log_start_offset = base;
        }
        self.report.segments += 1;
        let name = names::segment_file(base, Part::Log);
        Ok(Exported {
            file: self.target.create(&name)?,
            path: self.target.path(&name),
            base,
            position: 0,
            buffer: Vec::new(),
            rule: IndexRule::new(base.get(), self.inner.env.index_interval_bytes),
            entries: IndexEntries::default(),
        })
    }

    /// What lies between the last batch and `next` cannot be read.
    fn lose(&mut self, next: Offset) {
        let lost = self.reached..next;
        if !lost.is_empty() {
            self.report.damaged_ranges += 1;
            note(&mut self.report.damaged, lost);
            self.reached = next;
        }
    }
}

/// A segment file being written.
struct Exported {
    file: Arc<dyn StorageFile>,
    path: PathBuf,
    base: Offset,
    /// Where in the file the buffer goes.
    position: usize,
    buffer: Vec<u8>,
    rule: IndexRule,
    entries: IndexEntries,
}

impl Exported {
    /// Adds a batch, with -1 in the seal's place.
    fn push(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<()> {
        if self.buffer.len() + batch.len() > limits::COPY_BYTES {
            self.write()?;
        }
        let at = self.buffer.len();
        let last = header.next_offset() - 1;
        if let Some(due) = self.rule.add(last, header.max_timestamp, self.position + at) {
            self.entries.add(due);
        }
        self.buffer.extend_from_slice(batch);
        if let Some(copy) = self.buffer.get_mut(at..) {
            stamp(copy, header.base_offset, &Seal::NONE);
        }
        Ok(())
    }

    fn write(&mut self) -> Result<()> {
        self.file.write_all_at(self.position as u64, &self.buffer).map_err(|error| {
            Error::io("cannot write a copy", &self.path, error).position(self.position)
        })?;
        self.position += self.buffer.len();
        self.buffer.clear();
        Ok(())
    }

    /// Writes what is left and both indexes, and syncs them.
    fn finish(mut self, target: &Target) -> Result<()> {
        self.write()?;
        target.sync(&self.path, &*self.file)?;
        self.entries.add(self.rule.finish());
        target.write_index(self.base, &self.entries)
    }
}
