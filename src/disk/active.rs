//! The active segment: the one file that is appended to.
//!
//! Floor 3. Reserves blocks and populates pages before it stores, so that a full disk is an error
//! and never a signal. Keeps I3 and I9: nothing below the published end is written again.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use crate::codec::index::{IndexEntries, IndexRule};
use crate::disk::names::{self, Part};
use crate::disk::segment::{Segment, SegmentBytes, SegmentData};
use crate::disk::state::CleanMark;
use crate::disk::{Env, index_file};
use crate::sys::{Access, MapWriter, StorageFile};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::offset::Offset;

const PAGE_BYTES: usize = 4096;

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
    allocated: usize,
    capacity: usize,
    /// The filesystem cannot reserve blocks; then a full disk shows at the write itself.
    preallocates: bool,
    rule: IndexRule,
}

/// A new segment's file under a name that is not yet a segment's.
#[derive(Debug)]
pub(crate) struct Prepared {
    active: ActiveSegment,
    path: PathBuf,
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
    pub(crate) fn prepare(env: &Env, base: Offset, whole: bool) -> Result<Prepared> {
        let mut path = env.dir.join(names::segment_file(base, Part::Log)).into_os_string();
        path.push(names::NEW_SUFFIX);
        let path = PathBuf::from(path);
        let failed = |error| Error::io("cannot create a segment", &path, error);
        let file = match env.storage.create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                env.storage.unlink(&path).map_err(failed)?;
                env.storage.create_new(&path).map_err(failed)?
            }
            created => created.map_err(failed)?,
        };
        let resume = Resume {
            position: 0,
            rule: IndexRule::new(base.get(), env.index_interval_bytes),
            entries: IndexEntries::default(),
        };
        let step = limits::ALLOCATE_STEP_BYTES.min(env.segment_bytes);
        let wanted = if whole { env.segment_bytes } else { step };
        let made = ActiveSegment::over(env, base, file, resume).and_then(|mut active| {
            active.allocate(wanted, step)?;
            Ok(active)
        });
        match made {
            Ok(active) => Ok(Prepared { active, path }),
            Err(error) => {
                // Best effort: the next open removes it as well.
                let _ = env.storage.unlink(&path);
                Err(error)
            }
        }
    }

    /// Opens the last segment's file again to append behind what it holds.
    pub(crate) fn reopen(env: &Env, base: Offset, resume: Resume) -> Result<ActiveSegment> {
        let path = env.dir.join(names::segment_file(base, Part::Log));
        let file = env
            .storage
            .open(&path, Access::ReadWrite)
            .map_err(|error| Error::io("cannot open the active segment", &path, error))?;
        ActiveSegment::over(env, base, file, resume)
    }

    fn over(
        env: &Env,
        base: Offset,
        file: Arc<dyn StorageFile>,
        resume: Resume,
    ) -> Result<ActiveSegment> {
        let Resume { position, rule, mut entries } = resume;
        entries.make_room(env.index_interval_bytes, env.segment_bytes);
        let path = || env.dir.join(names::segment_file(base, Part::Log));
        // A segment written under a larger `segment_bytes` keeps its room but takes no more.
        let capacity = env.segment_bytes.max(position);
        let failed = |error| Error::io("cannot map the active segment", &path(), error);
        let (map, bytes) = if env.mapped {
            let mut map = file.map_write(capacity).map_err(failed)?;
            map.publish(position);
            let shared = Arc::clone(map.map());
            (Some(map), SegmentBytes::Mapped(shared))
        } else {
            (None, SegmentBytes::Positioned(AtomicUsize::new(position)))
        };
        let data = Arc::new(SegmentData::new(env, base, file, bytes, Some(entries)));
        Ok(ActiveSegment {
            segment: Arc::new(Segment::opened(Arc::clone(&data))),
            data,
            map,
            position,
            ready: position,
            allocated: position,
            capacity,
            preallocates: true,
            rule,
        })
    }

    /// Whether a batch of `bytes` that ends at `last_offset` has room; else it is time to roll.
    #[inline]
    pub(crate) fn has_room(&self, bytes: usize, last_offset: Offset) -> bool {
        bytes <= self.capacity - self.position
            && last_offset - self.data.base <= i64::from(i32::MAX)
    }

    /// Writes a stamped batch behind the last one and publishes it. Mapped: a copy. `pace` is what
    /// was written since, or between, the last flushes: so much is worth being prepared for.
    ///
    /// After an error nothing is published.
    #[inline]
    pub(crate) fn append(
        &mut self,
        batch: &[u8],
        last_offset: Offset,
        max_timestamp: i64,
        pace: usize,
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
    fn make_ready(&mut self, end: usize, pace: usize) -> Result<()> {
        if end > self.allocated {
            let doubled = (self.allocated * 2).max(self.allocated + limits::ALLOCATE_STEP_BYTES);
            self.allocate(doubled.max(end).min(self.capacity), end)?;
        }
        let Some(map) = &mut self.map else {
            self.ready = self.allocated;
            return Ok(());
        };
        let window = (pace / 8).clamp(limits::POPULATE_BYTES_MIN, limits::POPULATE_BYTES_MAX);
        let until = (end + window).next_multiple_of(PAGE_BYTES).min(self.allocated);
        map.populate(self.ready..until).map_err(|error| {
            Error::io("cannot populate the active segment", &self.data.path, error)
                .position(self.ready)
        })?;
        self.ready = until;
        Ok(())
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
        self.ready = self.position;
        self.allocated = self.position;
        // Only what is written gets the closing entry: if the roll fails, appending goes on.
        let closing = self.rule.clone().finish();
        let mut entries = self.data.index_entries();
        entries.add(closing);
        // A cache (I5): where there is no room for it, the first lookup scans instead.
        let _ = index_file::write(&*env.storage, &env.dir, self.data.base, &entries);
        Ok(CleanMark {
            active_base: self.data.base,
            active_bytes: self.position as u64,
            index_checksum: index_file::checksum(&entries),
            closing_time: closing.time.is_some(),
        })
    }

    /// Completes the index in memory: of a segment that was sealed and got a successor.
    pub(crate) fn close_index(&mut self) {
        self.data.add_to_index(self.rule.finish());
    }
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl Prepared {
    /// Gives the file its segment's name; after an error it is removed.
    pub(crate) fn install(self, env: &Env) -> Result<ActiveSegment> {
        let target = &self.active.data.path;
        match env.storage.rename(&self.path, target) {
            Ok(()) => Ok(self.active),
            Err(error) => {
                let error = Error::io("cannot name the new segment", target, error);
                let _ = env.storage.unlink(&self.path);
                Err(error)
            }
        }
    }

    /// Removes the file again.
    pub(crate) fn discard(self, env: &Env) {
        // Best effort: the next open removes it as well.
        let _ = env.storage.unlink(&self.path);
    }
}
