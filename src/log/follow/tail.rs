//! The end of a log that somebody else writes: whole batches behind the last one that was seen.
//!
//! Floor 4. Reads by position in bounded steps, never through a map: the file may be cut. A batch
//! is there when length, seal, checksum and expected offset agree; anything else means that nothing
//! is there yet, is not kept, and is read again from the batch's start.

use std::io;
use std::sync::Arc;

use crate::codec::decode::{check_batch, check_header};
use crate::codec::index::{IndexEntries, IndexRule};
use crate::codec::layout::{BatchHeader, HEADER_BYTES};
use crate::disk::names::{self, Part};
use crate::disk::segment::{SegmentBytes, SegmentData};
use crate::disk::walk::{Gaps, Walker};
use crate::disk::{Env, index_file};
use crate::sys::{Access, FileKind, Pinned, Published};
use crate::words::error::{Error, Result};
use crate::words::limits::{SEGMENT_BYTES_MAX, TAIL_WINDOW_BYTES_MAX, TAIL_WINDOW_BYTES_MIN};
use crate::words::offset::Offset;

/// A batch that was seen whole, and by what it is known again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seen {
    pub(super) segment: Offset,
    pub(super) position: usize,
    pub(super) header: BatchHeader,
}

impl Seen {
    pub(super) fn next_offset(&self) -> Offset {
        Offset::new(self.header.next_offset())
    }
}

/// Where the next batch is expected.
#[derive(Debug)]
pub(super) struct Tail {
    /// Published up to the end of the last batch that was seen whole.
    pub(super) data: Arc<SegmentData>,
    position: usize,
    next_offset: Offset,
    rule: IndexRule,
    window_bytes: usize,
    /// The bytes of the batches that were seen last, and where they begin: for readers that stand
    /// there.
    recent: Option<(usize, Pinned)>,
}

/// What stood behind the end when it was looked at.
#[derive(Debug)]
pub(super) struct Found {
    bytes: Pinned,
    /// Whole and in order, from the end on.
    pub(super) batches: Vec<Seen>,
    /// The file ends where the last batch ends: it may have been sealed.
    pub(super) file_ends: bool,
    /// More may follow at once.
    full: bool,
}

impl Tail {
    /// Opens a segment to look for the end in it; `None` if there is no such file. Begins behind
    /// what its index file and the batch there agree on, as far as that is below `settled`, else at
    /// the start.
    pub(super) fn open(env: &Env, base: Offset, settled: Offset) -> Result<Option<Tail>> {
        let path = env.dir.join(names::segment_file(base, Part::Log));
        let failed = |error| Error::io("cannot open the segment", &path, error);
        let file = match env.storage.open(&path, Access::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => {
                // A link or a FIFO of that name is none of the log's files.
                let kind = env.storage.kind(&path).map_err(failed)?;
                let ours = kind == Some(FileKind::File);
                return if ours { Err(failed(error)) } else { Ok(None) };
            }
        };
        let bytes = SegmentBytes::Positioned(Published::new(0));
        let entries = Some(IndexEntries::default());
        let data = SegmentData::new(env, base, file, bytes, entries);
        let rule = IndexRule::new(base.get(), env.index_interval_bytes);
        let mut tail = Tail {
            data: Arc::new(data),
            position: 0,
            next_offset: base,
            rule,
            window_bytes: TAIL_WINDOW_BYTES_MIN,
            recent: None,
        };
        if settled > base {
            tail.begin_by_index(env, settled)?;
        }
        Ok(Some(tail))
    }

    fn begin_by_index(&mut self, env: &Env, settled: Offset) -> Result<()> {
        let base = self.data.base;
        let length = self.file_bytes()?;
        let stored = index_file::read(&*env.storage, &env.dir, base, length, usize::MAX);
        let Some(mut stored) = stored else { return Ok(()) };
        stored.entries.retain(|entry| base + i64::from(entry.offset) < settled);
        let Some(&last) = stored.entries.last() else { return Ok(()) };
        stored.times.retain(|time| time.offset <= last.offset);
        let position = usize::try_from(last.position).unwrap_or(0);
        let Some(batch) = self.read_batch(env, position)? else { return Ok(()) };
        if batch.next_offset() != (base + i64::from(last.offset) + 1).get() {
            return Ok(());
        }
        self.rule = IndexRule::resume(base.get(), env.index_interval_bytes, &mut stored, false);
        let bytes = SegmentBytes::Positioned(Published::new(position));
        let file = Arc::clone(&self.data.file);
        self.data = Arc::new(SegmentData::new(env, base, file, bytes, Some(stored)));
        self.position = position;
        self.next_offset = Offset::new(batch.base_offset);
        Ok(())
    }

    /// One past the last offset that was seen whole.
    pub(super) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// The bytes of the batches that were seen last, and where they begin.
    pub(super) fn recent(&self) -> Option<&(usize, Pinned)> {
        self.recent.as_ref()
    }

    /// Up to where it was seen whole, as position and as offset.
    pub(super) fn seen_until(&self) -> (usize, Offset) {
        (self.position, self.next_offset)
    }

    /// Looks at what stands behind the end. Nothing is taken in yet: first the caller makes sure
    /// that the log was not opened anew meanwhile.
    pub(super) fn look(&self, env: &Env) -> Result<Found> {
        let mut bytes = self.read(self.position, self.window_bytes)?;
        let mut short = bytes.len() < self.window_bytes;
        let mut at = 0;
        let mut next = self.next_offset;
        let mut batches = Vec::new();
        let mut full;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            full = !short && at > 0 && rest.len() < HEADER_BYTES;
            let header = check_header(rest, usize::MAX, &env.seal);
            let Ok(header) = header else { break };
            if header.base_offset != next.get() {
                break;
            }
            let size = header.size().unwrap_or(usize::MAX);
            if size > rest.len() {
                full = !short && at > 0;
                if at > 0 || !self.reaches(size)? {
                    break;
                }
                bytes = self.read(self.position, size)?;
                short = false;
                if bytes.len() < size {
                    break;
                }
                // The header is read again with it: it may have been torn.
                continue;
            }
            if check_batch(rest, &env.seal).is_err() {
                break;
            }
            let position = self.position + at;
            batches.push(Seen { segment: self.data.base, position, header });
            at += size;
            next = Offset::new(header.next_offset());
        }
        let file_ends = short && at == bytes.len();
        bytes.truncate(at);
        Ok(Found { bytes: Pinned::of_vec(bytes), batches, file_ends, full })
    }

    /// Takes in what a look found: readers see it from now on.
    pub(super) fn take(&mut self, found: Found) {
        self.window_bytes = match found.full {
            true => (self.window_bytes * 2).min(TAIL_WINDOW_BYTES_MAX),
            false => TAIL_WINDOW_BYTES_MIN,
        };
        let Some(last) = found.batches.last() else { return };
        for batch in &found.batches {
            let header = &batch.header;
            let due = self.rule.add(header.next_offset() - 1, header.max_timestamp, batch.position);
            if let Some(due) = due {
                self.data.add_to_index(due);
            }
        }
        let start = self.position;
        self.position += found.bytes.len();
        self.next_offset = last.next_offset();
        self.data.publish_positioned(self.position);
        self.recent = Some((start, found.bytes));
    }

    /// Moves behind damage in this file, to the next whole batch below `until`, if there is one.
    /// What is in between can be read by nobody: readers report it when they come there.
    pub(super) fn pass_damage(&mut self, env: &Env, until: Offset) -> Result<bool> {
        let bytes = SegmentBytes::Positioned(Published::new(self.file_bytes()?));
        let file = Arc::clone(&self.data.file);
        let whole = SegmentData::new(env, self.data.base, file, bytes, None);
        let mut walker = Walker::new(self.position, self.next_offset, Gaps::Refused);
        let Some(next) = walker.resync(&whole, &env.seal, until)? else { return Ok(false) };
        self.position = walker.position();
        self.next_offset = next;
        self.data.publish_positioned(self.position);
        self.recent = None;
        Ok(true)
    }

    /// The header of the whole batch at a position, if there is one.
    fn read_batch(&self, env: &Env, position: usize) -> Result<Option<BatchHeader>> {
        let head = self.read(position, HEADER_BYTES)?;
        let Ok(header) = check_header(&head, usize::MAX, &env.seal) else { return Ok(None) };
        let size = header.size().unwrap_or(usize::MAX);
        if size > self.file_bytes()?.saturating_sub(position) {
            return Ok(None);
        }
        let bytes = self.read(position, size)?;
        Ok(check_batch(&bytes, &env.seal).ok())
    }

    /// Whether the file is so long that a batch of this size can stand at the end.
    fn reaches(&self, size: usize) -> Result<bool> {
        Ok(size <= self.file_bytes()?.saturating_sub(self.position))
    }

    fn file_bytes(&self) -> Result<usize> {
        let length = self
            .data
            .file
            .len()
            .map_err(|error| Error::io("cannot look at the segment", &self.data.path, error))?;
        Ok(usize::try_from(length).unwrap_or(usize::MAX).min(SEGMENT_BYTES_MAX))
    }

    fn read(&self, position: usize, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = self.data.file.read_at(position as u64, &mut bytes).map_err(|error| {
            Error::io("cannot read the segment", &self.data.path, error).position(position)
        })?;
        bytes.truncate(read);
        Ok(bytes)
    }
}
