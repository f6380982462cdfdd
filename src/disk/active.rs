//! The active segment: the one file that is appended to.
//!
//! Floor 3. Reserves blocks and populates pages before it stores, so that a full disk is an error
//! and never a signal. Keeps I3 and I9: nothing below the published end is written again.

use std::io;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::index::{IndexEntries, IndexRule};
use crate::disk::names::{self, Part};
use crate::disk::segment::{Segment, SegmentBytes, SegmentData};
use crate::disk::state::{CleanMark, TailCopy};
use crate::disk::wear::PAGE_BYTES;
use crate::disk::{Env, create_anew, index_file};
use crate::sys::{Access, MapWriter, Published, StorageFile};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// The segment that grows.
#[derive(Debug)]
pub(crate) struct ActiveSegment {
    pub(crate) segment: Arc<Segment>,
    pub(crate) data: Arc<SegmentData>,
    map: Option<MapWriter>,
    /// The end of the last batch: what is published.
    position: usize,
    /// Up to here a store needs nothing more than itself: reserved, and populated where mapped.
    ready: usize,
    /// An append had to prepare pages itself since somebody was told last.
    pub(crate) behind: bool,
    allocated: usize,
    capacity: usize,
    /// Flushes come often: pages are populated in small folios.
    small_folios: bool,
    /// The filesystem cannot reserve blocks; then a full disk shows at the write itself.
    preallocates: bool,
    rule: IndexRule,
    /// Sealing wrote the index files.
    index_stored: bool,
}

/// How quickly the log is written to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pace {
    /// What was written since, or between, the last flushes.
    pub(crate) bytes: usize,
    /// There were flushes: it can be told how often they come.
    pub(crate) flushed: bool,
}

/// A new segment's file under a name that is not yet a segment's; which one's is open.
#[derive(Debug)]
pub(crate) struct Prepared {
    path: PathBuf,
    file: Arc<dyn StorageFile>,
    map: Option<MapWriter>,
    allocated: usize,
    preallocates: bool,
}

/// What a scan or a clean mark says of a segment that is to be appended to again.
#[derive(Debug)]
pub(crate) struct Resume {
    pub(crate) position: usize,
    pub(crate) rule: IndexRule,
    pub(crate) entries: IndexEntries,
}

impl ActiveSegment {
    /// Makes a new segment's file, its first blocks reserved: all of them if the last segment
    /// filled quickly and there is room. After an error nothing is left behind (I19).
    /// Two threads never do it under one name.
    pub(crate) fn prepare(env: &Env, name: &str, whole: bool) -> Result<Prepared> {
        let mut made = Prepared::create(env, name)?;
        match made.fill(env, whole) {
            Ok(()) => Ok(made),
            Err(error) => {
                let error = Error::io("cannot make room for a segment", &made.path, error);
                made.discard(env);
                Err(error)
            }
        }
    }

    /// Makes a segment at `base` without reserving a block, as opening does: that has to work on a
    /// full disk.
    pub(crate) fn begin(env: &Env, base: Offset) -> Result<ActiveSegment> {
        let mut made = Prepared::create(env, names::SEGMENT_NEXT)?;
        if let Err(error) = made.map(env) {
            let error = Error::io("cannot map a segment", &made.path, error);
            made.discard(env);
            return Err(error);
        }
        made.install(env, base)
    }

    /// Opens the last segment's file again to append behind what it holds.
    pub(crate) fn reopen(env: &Env, base: Offset, resume: Resume) -> Result<ActiveSegment> {
        let path = env.dir.join(names::segment_file(base, Part::Log));
        let file = env
            .storage
            .open(&path, Access::ReadWrite)
            .map_err(|error| Error::io("cannot open the active segment", &path, error))?;
        // A segment written under a larger `segment_bytes` keeps its room but takes no more.
        let capacity = env.segment_bytes.max(resume.position);
        let map = match env.mapped {
            true => Some(
                file.map_write(capacity)
                    .map_err(|error| Error::io("cannot map the active segment", &path, error))?,
            ),
            false => None,
        };
        Ok(ActiveSegment::over(env, base, (file, map), resume))
    }

    fn over(
        env: &Env,
        base: Offset,
        (file, mut map): (Arc<dyn StorageFile>, Option<MapWriter>),
        resume: Resume,
    ) -> ActiveSegment {
        let Resume { position, rule, mut entries } = resume;
        entries.make_room(env.index_interval_bytes, env.segment_bytes);
        let bytes = match &mut map {
            Some(map) => {
                map.publish(position);
                SegmentBytes::Mapped(Arc::clone(map.map()))
            }
            None => SegmentBytes::Positioned(Published::new(position)),
        };
        let data = Arc::new(SegmentData::new(env, base, file, bytes, Some(entries)));
        ActiveSegment {
            segment: Arc::new(Segment::opened(Arc::clone(&data))),
            data,
            map,
            position,
            ready: position,
            behind: false,
            allocated: position,
            capacity: env.segment_bytes.max(position),
            small_folios: false,
            preallocates: true,
            rule,
            index_stored: false,
        }
    }

    /// Whether it holds nothing yet.
    pub(crate) fn is_empty(&self) -> bool {
        self.position == 0
    }

    /// Where the next batch goes.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Up to where pages were populated, and so go to the device with the next sync.
    pub(crate) fn populated(&self) -> usize {
        if self.map.is_some() { self.ready } else { self.position }
    }

    /// Whether a batch of `bytes` that ends at `last_offset` has room; else it is time to roll.
    #[inline]
    pub(crate) fn has_room(&self, bytes: usize, last_offset: Offset) -> bool {
        bytes <= self.capacity - self.position
            && last_offset - self.data.base <= i64::from(i32::MAX)
    }

    /// The bytes before the end that a medium may take with what is written next: those of the
    /// stretch of `torn_bytes` that the end lies in. `None` if there are none.
    pub(crate) fn tail_copy(&self, torn_bytes: usize) -> Result<Option<TailCopy>> {
        let from = self.position - self.position % torn_bytes;
        let length = self.position - from;
        if length == 0 {
            return Ok(None);
        }
        let window = self.data.window(from, length)?;
        let bytes = window.get(..length).unwrap_or_default().to_vec();
        Ok(Some(TailCopy { base: self.data.base, position: from as u64, bytes }))
    }

    /// Writes a stamped batch behind the last one and publishes it. Mapped: a copy. `pace` says how
    /// much is worth being prepared for.
    ///
    /// After an error nothing is published.
    #[inline]
    pub(crate) fn append(
        &mut self,
        batch: &[u8],
        last_offset: Offset,
        max_timestamp: i64,
        pace: Pace,
    ) -> Result<()> {
        debug_assert!(self.has_room(batch.len(), last_offset));
        let end = self.position + batch.len();
        if end > self.ready {
            self.make_ready(end, pace)?;
        }
        match &mut self.map {
            Some(map) => {
                map.store(self.position, batch);
                map.publish(end);
            }
            None => self.write_positioned(batch, end)?,
        }
        if let Some(due) = self.rule.add(last_offset.get(), max_timestamp, self.position) {
            self.data.add_to_index(due);
        }
        self.position = end;
        Ok(())
    }

    fn write_positioned(&mut self, batch: &[u8], end: usize) -> Result<()> {
        self.data.file.write_all_at(self.position as u64, batch).map_err(|error| {
            Error::io("cannot append", &self.data.path, error).position(self.position)
        })?;
        self.data.publish_positioned(end);
        Ok(())
    }

    #[cold]
    fn make_ready(&mut self, end: usize, pace: Pace) -> Result<()> {
        self.reserve(end)?;
        let Some(map) = &mut self.map else {
            self.ready = self.allocated;
            return Ok(());
        };
        self.behind = true;
        let window = window_bytes(pace.bytes);
        let until = (end + window).next_multiple_of(PAGE_BYTES).min(self.allocated);
        let small = pace.flushed && window < limits::POPULATE_BYTES_MAX;
        if small != self.small_folios {
            map.in_small_folios(small);
            self.small_folios = small;
        }
        map.populate(self.ready..until).map_err(|error| {
            Error::io("cannot populate the active segment", &self.data.path, error)
                .position(self.ready)
        })?;
        self.ready = until;
        Ok(())
    }

    /// The stretch of pages that is worth populating before an append has to; `None` if enough are.
    pub(crate) fn stretch_ahead(
        &mut self,
        pace: usize,
    ) -> Result<Option<(Arc<SegmentData>, Range<usize>)>> {
        let until = self.position + 2 * window_bytes(pace);
        if self.map.is_none() || self.is_empty() || self.ready >= until {
            return Ok(None);
        }
        let until = until.next_multiple_of(PAGE_BYTES).min(self.capacity);
        self.reserve(until)?;
        let from = self.ready - self.ready % PAGE_BYTES;
        let until = until.min(self.allocated);
        Ok((from < until).then(|| (Arc::clone(&self.data), from..until)))
    }

    /// Takes note that a stretch was populated.
    pub(crate) fn is_ready(&mut self, stretch: Range<usize>) {
        if stretch.start <= self.ready && stretch.end <= self.allocated {
            self.ready = self.ready.max(stretch.end);
        }
    }

    /// Has blocks up to `needed`, and where they are not there yet, in doubling steps, some ahead.
    fn reserve(&mut self, needed: usize) -> Result<()> {
        if needed <= self.allocated {
            return Ok(());
        }
        let doubled = (self.allocated * 2).max(self.allocated + limits::ALLOCATE_STEP_BYTES);
        self.allocate(doubled.max(needed).min(self.capacity), needed)
    }

    /// Reserves blocks up to `wanted`, or on a disk that is nearly full up to `needed`; undone if
    /// not even these are to be had.
    fn allocate(&mut self, wanted: usize, needed: usize) -> Result<()> {
        let page_end = needed.next_multiple_of(PAGE_BYTES).min(wanted);
        let reserved = match self.try_allocate(wanted) {
            Err(error) if is_full(&error) && page_end < wanted => {
                self.try_allocate(page_end).map(|()| page_end)
            }
            done => done.map(|()| wanted),
        };
        self.allocated = reserved.map_err(|error| {
            let what = "cannot reserve space for the active segment";
            Error::io(what, &self.data.path, error).position(self.allocated)
        })?;
        Ok(())
    }

    fn try_allocate(&mut self, until: usize) -> io::Result<()> {
        if !self.preallocates {
            return Ok(());
        }
        let from = self.allocated as u64;
        match self.data.file.allocate(from, until as u64) {
            Err(error) if error.kind() == io::ErrorKind::Unsupported && self.map.is_none() => {
                self.preallocates = false;
                Ok(())
            }
            Err(error) => {
                // ext4 leaves the file grown and the disk full. The published end stays below.
                let _ = self.data.file.set_len(from);
                Err(error)
            }
            Ok(()) => Ok(()),
        }
    }

    /// Writes the indexes and cuts the file to what is used, so that Kafka's tools find an exact
    /// file. Nothing is synced here. Says what a clean mark has to know of the segment.
    pub(crate) fn seal(&mut self, env: &Env) -> Result<CleanMark> {
        self.data.file.set_len(self.position as u64).map_err(|error| {
            Error::io("cannot cut the segment to its size", &self.data.path, error)
        })?;
        if !self.position.is_multiple_of(PAGE_BYTES) {
            // The filesystem writes zeros behind the end of the last page.
            self.data.reached.touch(self.position - 1);
        }
        self.ready = self.position;
        self.allocated = self.position;
        // Only what is written gets the closing entry: if the roll fails, appending goes on.
        let closing = self.rule.clone().finish();
        let mut entries = self.data.index_entries();
        entries.add(closing);
        // A cache (I5): where there is no room for it, the first lookup scans instead.
        let stored = index_file::write(env, self.data.base, &entries);
        self.index_stored = stored.is_ok();
        Ok(CleanMark {
            active_base: self.data.base,
            active_bytes: self.position as u64,
            index_checksum: index_file::checksum(&entries),
            closing_time: closing.time.is_some(),
        })
    }

    /// For a segment that was sealed and got a successor: its index is that of its files from now
    /// on, or where they could not be written, complete in memory.
    pub(crate) fn close_index(&mut self) {
        match self.index_stored {
            true => self.data.forget_index(),
            false => self.data.add_to_index(self.rule.finish()),
        }
    }
}

/// How much is populated at once: an eighth of what is written between two flushes.
fn window_bytes(pace: usize) -> usize {
    (pace / 8).clamp(limits::POPULATE_BYTES_MIN, limits::POPULATE_BYTES_MAX)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Prepared {
    fn create(env: &Env, name: &str) -> Result<Prepared> {
        let path = env.dir.join(name);
        let file = create_anew(&*env.storage, &path)
            .map_err(|error| Error::io("cannot create a segment", &path, error))?;
        Ok(Prepared { path, file, map: None, allocated: 0, preallocates: true })
    }

    fn map(&mut self, env: &Env) -> io::Result<()> {
        if env.mapped {
            self.map = Some(self.file.map_write(env.segment_bytes)?);
        }
        Ok(())
    }

    fn fill(&mut self, env: &Env, whole: bool) -> io::Result<()> {
        let step = limits::ALLOCATE_STEP_BYTES.min(env.segment_bytes);
        self.map(env)?;
        self.allocated = if whole { env.segment_bytes } else { step };
        match self.file.allocate(0, self.allocated as u64) {
            Err(error) if is_full(&error) && self.allocated > step => {
                self.file.set_len(0)?;
                self.allocated = step;
                self.file.allocate(0, step as u64)
            }
            Err(error) if error.kind() == io::ErrorKind::Unsupported && self.map.is_none() => {
                self.preallocates = false;
                Ok(())
            }
            done => done,
        }
    }

    /// Gives the file the name of the segment that begins at `base`; after an error it is removed.
    pub(crate) fn install(self, env: &Env, base: Offset) -> Result<ActiveSegment> {
        let target = env.dir.join(names::segment_file(base, Part::Log));
        if let Err(error) = env.storage.rename(&self.path, &target) {
            let error = Error::io("cannot name the new segment", &target, error);
            self.discard(env);
            return Err(error);
        }
        let resume = Resume {
            position: 0,
            rule: IndexRule::new(base.get(), env.index_interval_bytes),
            entries: IndexEntries::default(),
        };
        let mut active = ActiveSegment::over(env, base, (self.file, self.map), resume);
        active.allocated = self.allocated;
        active.preallocates = self.preallocates;
        Ok(active)
    }

    /// Removes the file again.
    pub(crate) fn discard(self, env: &Env) {
        // Best effort: the next open removes it as well.
        let _ = env.storage.unlink(&self.path);
    }
}

#[cfg(test)]
mod tests;
