//! The file that takes the place of segments: what stays of them, and gaps over what does not.
//!
//! Floor 4. Written under a name of its own, so that a crash leaves nothing that is taken for a
//! segment. As long as what stays is what stands in the segment, nothing is written at all: most of
//! a log that was compacted before is as it was.

use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::encode::{encode_gap_of, stamp};
use crate::codec::index::{IndexEntries, IndexRule};
use crate::codec::layout::{BatchHeader, NO_TIMESTAMP};
use crate::disk::segment::SegmentData;
use crate::disk::wear::pages_of;
use crate::disk::{Env, create_anew, names, unlink_if_there};
use crate::sys::StorageFile;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// A file being made of segments.
pub(super) struct Copy<'a> {
    env: &'a Env,
    /// Where it would be written to.
    path: PathBuf,
    /// As long as it is the same as this segment, nothing is written.
    same: Option<Arc<SegmentData>>,
    file: Option<Arc<dyn StorageFile>>,
    /// Where the buffer goes.
    position: usize,
    buffer: Vec<u8>,
    gap: Option<Gap>,
    gap_batch: Vec<u8>,
    rule: IndexRule,
    entries: IndexEntries,
}

/// Offsets over which an empty batch is to stand.
#[derive(Clone, Copy, Debug)]
struct Gap {
    from: Offset,
    to: Offset,
    /// The highest time of records that thinning took; `NO_TIMESTAMP` where nobody misses any.
    highest: i64,
}

/// A file that is whole and synced.
pub(super) struct Made {
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
    pub(super) entries: IndexEntries,
}

/// Removes what was made if it is not put in place.
pub(super) fn discard(env: &Env) {
    // Best effort: the next compaction, or open, removes it as well.
    let _ = unlink_if_there(&*env.storage, &env.dir.join(names::COMPACTED));
}

impl<'a> Copy<'a> {
    /// A file for offsets from `base` on; `same` if it is made of this segment alone.
    pub(super) fn begin(env: &'a Env, base: Offset, same: Option<Arc<SegmentData>>) -> Copy<'a> {
        Copy {
            env,
            path: env.dir.join(names::COMPACTED),
            same,
            file: None,
            position: 0,
            buffer: Vec::new(),
            gap: None,
            gap_batch: Vec::new(),
            rule: IndexRule::new(base.get(), env.index_interval_bytes),
            entries: IndexEntries::default(),
        }
    }

    /// Adds a batch; `from` is where it stands in the segment, if it is as stored.
    pub(super) fn push(
        &mut self,
        header: &BatchHeader,
        batch: &[u8],
        from: Option<usize>,
    ) -> Result<()> {
        self.end_gap()?;
        self.write((header.next_offset() - 1, header.max_timestamp), batch, from)
    }

    /// Leaves offsets out; those of a batch that is a gap already keep what it says of them.
    pub(super) fn skip(&mut self, from: Offset, to: Offset, highest: i64) -> Result<()> {
        match &mut self.gap {
            Some(gap) if (gap.highest == NO_TIMESTAMP) == (highest == NO_TIMESTAMP) => {
                gap.to = to;
                gap.highest = gap.highest.max(highest);
            }
            _ => {
                self.end_gap()?;
                self.gap = Some(Gap { from, to, highest });
            }
        }
        Ok(())
    }

    /// Stands empty batches over what was left out.
    fn end_gap(&mut self) -> Result<()> {
        let Some(Gap { mut from, to, highest }) = self.gap.take() else { return Ok(()) };
        while from < to {
            let count = i32::try_from(to - from).unwrap_or(i32::MAX);
            let mut batch = std::mem::take(&mut self.gap_batch);
            encode_gap_of(&mut batch, count, highest);
            stamp(&mut batch, from.get(), &self.env.seal);
            from = from + i64::from(count);
            self.write((from.get() - 1, highest), &batch, None)?;
            self.gap_batch = batch;
        }
        Ok(())
    }

    fn write(&mut self, last: (i64, i64), batch: &[u8], from: Option<usize>) -> Result<()> {
        let at = self.position + self.buffer.len();
        if at + batch.len() > limits::SEGMENT_BYTES_MAX {
            // Times that count from a delete horizon take more bytes than those they replace.
            let text = "the compacted segment would have 2 GiB or more";
            return Err(Error::new(ErrorKind::RecordTooLarge, text).at(&self.env.dir));
        }
        let (last_offset, max_timestamp) = last;
        if let Some(due) = self.rule.add(last_offset, max_timestamp, at) {
            self.entries.add(due);
        }
        if let Some(same) = &self.same {
            let stands = from == Some(at)
                || from.is_none() && same.window(at, batch.len())?.starts_with(batch);
            if stands {
                self.position += batch.len();
                return Ok(());
            }
            self.begin_file()?;
        }
        if self.buffer.len() + batch.len() > limits::COPY_BYTES {
            self.write_out()?;
        }
        self.buffer.extend_from_slice(batch);
        Ok(())
    }

    /// From here on it is another file: the front is copied.
    fn begin_file(&mut self) -> Result<()> {
        let Some(same) = self.same.take() else { return Ok(()) };
        let end = std::mem::take(&mut self.position);
        while self.position < end {
            let want = (end - self.position).min(limits::COPY_BYTES);
            let window = same.window(self.position, want)?;
            let part = window.get(..want.min(window.len())).unwrap_or_default();
            if part.is_empty() {
                let text = "the segment is shorter than what was read of it";
                return Err(Error::new(ErrorKind::Corrupt, text).at(&same.path));
            }
            self.buffer.extend_from_slice(part);
            self.write_out()?;
        }
        Ok(())
    }

    fn write_out(&mut self) -> Result<()> {
        let file = match &self.file {
            Some(file) => file,
            None => {
                let created = create_anew(&*self.env.storage, &self.path);
                self.file.insert(created.map_err(|error| self.failed(error))?)
            }
        };
        let written = file.write_all_at(self.position as u64, &self.buffer);
        written.map_err(|error| self.failed(error))?;
        self.position += self.buffer.len();
        self.buffer.clear();
        Ok(())
    }

    fn failed(&self, error: std::io::Error) -> Error {
        Error::io("cannot write a compacted segment", &self.path, error).position(self.position)
    }

    /// Writes what is left and syncs the file; `None` if the segment is as it would be. The second
    /// part of the error says that the sync failed.
    pub(super) fn finish(mut self) -> Result<Option<Made>, (Error, bool)> {
        self.end_gap().map_err(|error| (error, false))?;
        if self.same.is_some() {
            return Ok(None);
        }
        self.write_out().map_err(|error| (error, false))?;
        if let Some(file) = &self.file {
            let synced = file.sync_all();
            synced.map_err(|error| {
                (Error::sync("cannot sync a compacted segment", &self.path, error), true)
            })?;
        }
        self.env.written.sync(pages_of(0..self.position));
        self.entries.add(self.rule.finish());
        Ok(Some(Made { path: self.path, bytes: self.position as u64, entries: self.entries }))
    }
}
