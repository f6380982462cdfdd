//! One segment: a file of consecutive batches, and the index over it.
//!
//! Floor 3. Readers see it up to its published end and no further (I9).

use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Weak};

use crate::codec::decode::check_header;
use crate::codec::index::{Due, IndexEntries, IndexEntry, IndexRule, entries_max};
use crate::codec::layout::{BatchHeader, HEADER_BYTES};
use crate::disk::names::{self, Part};
use crate::disk::pins::Pin;
use crate::disk::walk::{Gaps, Step, Walker};
use crate::disk::wear::Reached;
use crate::disk::{Env, index_file};
use crate::sys::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sys::sync::{Mutex, OnceLock, RwLock};
use crate::sys::{Access, Map, Pinned, Published, StorageFile};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// A segment by name; its file is open only while someone reads or writes it.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) base: Offset,
    open: Mutex<Opened>,
    /// Openings that were let go while somebody held them.
    pins: Mutex<Vec<Pin>>,
    /// Among those that stay open until others take their place.
    kept: AtomicBool,
    /// Opened since that was looked at last.
    marked: AtomicBool,
    /// Of a sealed segment, once it was asked for; `i64::MIN` if it holds no record.
    max_timestamp: OnceLock<i64>,
    /// Of a sealed segment, the length of its file; `UNKNOWN` until it is asked for.
    bytes: AtomicU64,
}

/// No file is as long.
const UNKNOWN: u64 = u64::MAX;

#[derive(Debug)]
enum Opened {
    /// Kept open by its readers only, if by anyone: whoever comes next shares what they have.
    No(Weak<SegmentData>),
    Yes(Arc<SegmentData>),
    /// Its files go, or are gone: nobody opens it again.
    Deleted,
}

impl Segment {
    pub(crate) fn closed(base: Offset) -> Segment {
        Segment::with(base, Opened::No(Weak::new()))
    }

    pub(crate) fn opened(data: Arc<SegmentData>) -> Segment {
        Segment::with(data.base, Opened::Yes(data))
    }

    fn with(base: Offset, opened: Opened) -> Segment {
        let (open, pins) = (Mutex::new(opened), Mutex::default());
        let (kept, marked) = (AtomicBool::new(false), AtomicBool::new(false));
        let (max_timestamp, bytes) = (OnceLock::new(), AtomicU64::new(UNKNOWN));
        Segment { base, open, pins, kept, marked, max_timestamp, bytes }
    }

    /// Whether it stays open until others take its place; marks it as one that is used.
    #[inline]
    pub(crate) fn is_kept(&self) -> bool {
        let kept = self.kept.load(Ordering::Relaxed);
        if kept && !self.marked.load(Ordering::Relaxed) {
            self.marked.store(true, Ordering::Relaxed);
        }
        kept
    }

    /// Taken back before the file is let go: whoever opens it anew sees that.
    pub(crate) fn keep(&self, kept: bool) {
        self.marked.store(kept, Ordering::Relaxed);
        self.kept.store(kept, Ordering::Relaxed);
    }

    /// Whether it was opened since the last time this was asked.
    pub(crate) fn take_mark(&self) -> bool {
        self.marked.swap(false, Ordering::Relaxed)
    }

    /// The open file, opened now if need be.
    pub(crate) fn data(&self, env: &Env) -> Result<Arc<SegmentData>> {
        let mut open = self.open.lock();
        let shared = match &*open {
            Opened::Yes(data) => return Ok(Arc::clone(data)),
            Opened::No(shared) => shared.upgrade(),
            Opened::Deleted => {
                let error = Error::new(ErrorKind::Corrupt, "the segment was deleted");
                return Err(error.at(&env.dir).offset(self.base));
            }
        };
        let data = match shared {
            Some(data) => {
                data.keeps_index.store(true, Ordering::Release);
                data
            }
            None => Arc::new(SegmentData::open_sealed(env, self.base)?),
        };
        *open = Opened::Yes(Arc::clone(&data));
        Ok(data)
    }

    /// The highest timestamp of a sealed segment, if it was found out before.
    pub(crate) fn max_timestamp(&self) -> Option<i64> {
        self.max_timestamp.get().copied()
    }

    pub(crate) fn know_max_timestamp(&self, timestamp: i64) {
        self.max_timestamp.get_or_init(|| timestamp);
    }

    /// The length of a sealed segment's file: one system call, the first time it is asked for. A
    /// file that is gone, or does not say, has none.
    pub(crate) fn sealed_bytes(&self, env: &Env) -> u64 {
        let known = self.bytes.load(Ordering::Relaxed);
        if known != UNKNOWN {
            return known;
        }
        let path = env.dir.join(names::segment_file(self.base, Part::Log));
        let Ok(size) = env.storage.file_size(&path) else { return 0 };
        self.know_sealed_bytes(size.length);
        size.length
    }

    pub(crate) fn know_sealed_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    /// Another file has its name now: whoever opens it from here on gets that. Those who have the
    /// old one keep it, and are told of.
    pub(crate) fn let_file_go(&self) -> Vec<Pin> {
        let nobody = Opened::No(Weak::new());
        let opened = std::mem::replace(&mut *self.open.lock(), nobody);
        self.pins_of(&opened)
    }

    fn pins_of(&self, opened: &Opened) -> Vec<Pin> {
        let mut pins = std::mem::take(&mut *self.pins.lock());
        if let Opened::Yes(data) = opened {
            pins.push(Pin::of(data));
        }
        pins
    }

    /// Lets the file go as soon as nobody reads it any more, and its index at once.
    pub(crate) fn release(&self) {
        let mut open = self.open.lock();
        if let Opened::Yes(data) = &*open {
            data.let_index_go();
            let (pin, shared) = (Pin::of(data), Arc::downgrade(data));
            *open = Opened::No(shared);
            let mut pins = self.pins.lock();
            pins.push(pin);
            pins.retain(Pin::is_held);
        }
    }

    /// The file, if it is open.
    pub(crate) fn opened_data(&self) -> Option<Arc<SegmentData>> {
        match &*self.open.lock() {
            Opened::Yes(data) => Some(Arc::clone(data)),
            Opened::No(_) | Opened::Deleted => None,
        }
    }

    /// Lets nobody open the file any more; those who have it keep it, and are told of.
    pub(crate) fn delete(&self) -> Vec<Pin> {
        let opened = std::mem::replace(&mut *self.open.lock(), Opened::Deleted);
        self.pins_of(&opened)
    }
}

/// A segment's open file.
#[derive(Debug)]
pub(crate) struct SegmentData {
    pub(crate) base: Offset,
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn StorageFile>,
    bytes: SegmentBytes,
    /// `None` until a sealed segment's index is asked for.
    index: RwLock<Option<IndexEntries>>,
    /// It is among those that are kept open; else its index is read for each look.
    keeps_index: AtomicBool,
    /// How far the device has it.
    pub(crate) reached: Reached,
}

/// How the bytes are reached; both carry the published end.
#[derive(Debug)]
pub(crate) enum SegmentBytes {
    Mapped(Arc<Map>),
    Positioned(Published),
}

impl SegmentBytes {
    #[inline]
    fn published(&self) -> usize {
        match self {
            SegmentBytes::Mapped(map) => map.published(),
            SegmentBytes::Positioned(published) => published.end(),
        }
    }
}

impl SegmentData {
    pub(crate) fn new(
        env: &Env,
        base: Offset,
        file: Arc<dyn StorageFile>,
        bytes: SegmentBytes,
        index: Option<IndexEntries>,
    ) -> SegmentData {
        let path = env.dir.join(names::segment_file(base, Part::Log));
        let (index, keeps_index) = (RwLock::new(index), AtomicBool::new(true));
        let reached = Reached::at(bytes.published());
        SegmentData { base, path, file, bytes, index, keeps_index, reached }
    }

    /// Opens a file that nobody writes any more; all of it is published.
    pub(crate) fn open_sealed(env: &Env, base: Offset) -> Result<SegmentData> {
        let path = env.dir.join(names::segment_file(base, Part::Log));
        let open = || -> std::io::Result<SegmentData> {
            let file = env.storage.open(&path, Access::Read)?;
            let length = usize::try_from(file.len()?).unwrap_or(usize::MAX);
            let length = length.min(limits::SEGMENT_BYTES_MAX);
            let bytes = if env.mapped && length > 0 {
                SegmentBytes::Mapped(file.map_read(length)?)
            } else {
                SegmentBytes::Positioned(Published::new(length))
            };
            Ok(SegmentData::new(env, base, file, bytes, None))
        };
        open().map_err(|error| {
            let error = Error::io("cannot open the segment", &path, error);
            let gone = |what| Error::new(ErrorKind::Corrupt, what).at(&path);
            match error.kind() {
                ErrorKind::NotFound => gone("the segment's file is gone"),
                ErrorKind::InvalidArgument => gone("the segment is no regular file"),
                _ => error,
            }
            .offset(base)
        })
    }

    pub(crate) fn map(&self) -> Option<&Arc<Map>> {
        match &self.bytes {
            SegmentBytes::Mapped(map) => Some(map),
            SegmentBytes::Positioned(_) => None,
        }
    }

    /// Address space it is mapped to.
    pub(crate) fn mapped_bytes(&self) -> usize {
        self.map().map_or(0, |map| map.length())
    }

    /// Up to where the segment can be read.
    #[inline]
    pub(crate) fn published(&self) -> usize {
        self.bytes.published()
    }

    /// Makes a segment that nobody appends to any more survive a power cut.
    pub(crate) fn sync_sealed(&self, env: &Env) -> std::io::Result<()> {
        self.file.sync_all()?;
        env.written.sync(self.reached.advance(self.published(), 0));
        Ok(())
    }

    /// Makes the pages of a range ready for stores by whoever writes the segment.
    pub(crate) fn populate(&self, range: Range<usize>) -> Result<()> {
        let SegmentBytes::Mapped(map) = &self.bytes else { return Ok(()) };
        map.populate(range)
            .map_err(|error| Error::io("cannot populate the active segment", &self.path, error))
    }

    /// Asks the device to begin writing all of it; a sync later has little left to do.
    pub(crate) fn start_write_out(&self) {
        self.file.start_write_out(0, self.published() as u64);
    }

    /// Moves the published end of a segment that is written by position.
    #[inline]
    pub(crate) fn publish_positioned(&self, end: usize) {
        if let SegmentBytes::Positioned(published) = &self.bytes {
            published.publish(end);
        }
    }

    /// Published bytes from `position` on: all of them from a map, else at least `want` if so many
    /// are there. Costs a system call where there is no map.
    pub(crate) fn window(&self, position: usize, want: usize) -> Result<Pinned> {
        self.fill(position, want.max(limits::READ_CHUNK_BYTES), Pinned::of_vec(Vec::new()), 0)
    }

    /// [`SegmentData::window`] of no more than `want` bytes where there is no map, into the memory
    /// of `spare` if nobody else holds that; its first `kept` bytes are the ones from `position` on
    /// and stay.
    pub(crate) fn fill(
        &self,
        position: usize,
        want: usize,
        spare: Pinned,
        kept: usize,
    ) -> Result<Pinned> {
        let published = self.published();
        match &self.bytes {
            SegmentBytes::Mapped(map) => Ok(Pinned::of_map(map, position..published)
                .unwrap_or_else(|| Pinned::of_vec(Vec::new()))),
            SegmentBytes::Positioned(_) => {
                let want = want.min(published.saturating_sub(position));
                let mut bytes = spare.into_vec();
                if bytes.capacity() < want {
                    // Neither copied nor doubled: a reader takes what its largest batch takes.
                    bytes = Vec::new();
                    bytes.reserve_exact(want);
                }
                let kept = kept.min(bytes.len());
                bytes.resize(want, 0);
                let rest = bytes.get_mut(kept..).unwrap_or_default();
                let from = position.saturating_add(kept);
                let read = self.file.read_at(from as u64, rest).map_err(|error| {
                    Error::io("cannot read the segment", &self.path, error).position(position)
                })?;
                bytes.truncate(kept + read);
                Ok(Pinned::of_vec(bytes))
            }
        }
    }

    /// Has the bytes from `position` on brought into memory for who reads them in order; returns
    /// where to call it again.
    #[cold]
    pub(crate) fn read_ahead(&self, position: usize) -> usize {
        match &self.bytes {
            SegmentBytes::Mapped(map) => map.read_ahead(position),
            SegmentBytes::Positioned(_) => usize::MAX,
        }
    }

    /// Where to begin a walk that is to reach `target`: position and base offset of a whole batch
    /// at or below it, by the index where the segment bears it out, else the segment's start.
    pub(crate) fn floor(&self, env: &Env, target: Offset) -> Result<(usize, Offset)> {
        let none = Pinned::of_vec(Vec::new());
        let (position, base, _) = self.floor_window(env, target, HEADER_BYTES, none)?;
        Ok((position, base))
    }

    /// [`SegmentData::floor`], and the bytes from there on: `want` of them where there is no map,
    /// in the memory of `spare` if nobody else holds that.
    fn floor_window(
        &self,
        env: &Env,
        target: Offset,
        want: usize,
        mut spare: Pinned,
    ) -> Result<(usize, Offset, Pinned)> {
        for rebuild in [false, true] {
            let Some(entry) = self.index_floor(env, target, rebuild)? else { break };
            let position = usize::try_from(entry.position).unwrap_or(0);
            let window = self.fill(position, want, spare, 0)?;
            let header = check_header(&window, usize::MAX, &env.seal);
            let last = self.base + i64::from(entry.offset);
            if let Ok(header) = header
                && header.next_offset() == last.get() + 1
                && header.base_offset >= self.base.get()
            {
                return Ok((position, Offset::new(header.base_offset), window));
            }
            spare = window;
        }
        Ok((0, self.base, Pinned::of_vec(Vec::new())))
    }

    /// A walker at, or a little before, the batch that holds `target`, with bytes at hand.
    ///
    /// Batches between the index's entry and that one are passed by their headers alone: the seal
    /// vouches for a base offset and a length, and nothing of them is handed out. Where no seal
    /// does, and where anything is not as it should be, the walk that checks everything begins.
    pub(crate) fn walker_near(&self, env: &Env, target: Offset, spare: Pinned) -> Result<Walker> {
        let refused = Gaps::Refused;
        self.walker_from(env, target, spare, refused, |_, next| next.base_offset <= target.get())
    }

    /// [`SegmentData::walker_near`] that passes batches for as long as `on` says so of a header and
    /// the next one.
    pub(crate) fn walker_from(
        &self,
        env: &Env,
        target: Offset,
        spare: Pinned,
        gaps: Gaps,
        on: impl Fn(&BatchHeader, &BatchHeader) -> bool,
    ) -> Result<Walker> {
        let chunk = limits::READ_CHUNK_BYTES_FIRST;
        let (start, mut base, window) = self.floor_window(env, target, chunk, spare)?;
        let mut position = start;
        if env.seal.is_on()
            && let Ok(mut header) = check_header(&window, usize::MAX, &env.seal)
        {
            while let Ok(size) = header.size()
                && let Some(next) = window.get(position - start + size..)
                && let Ok(next) = check_header(next, usize::MAX, &env.seal)
                && next.base_offset > base.get()
                && on(&header, &next)
            {
                position += size;
                base = Offset::new(next.base_offset);
                header = next;
            }
        }
        let mut walker = Walker::new(position, base, gaps);
        walker.lend(start, &window);
        Ok(walker)
    }

    fn index_floor(&self, env: &Env, target: Offset, rebuild: bool) -> Result<Option<IndexEntry>> {
        self.with_index(env, rebuild, |entries| entries.floor(target - self.base))
    }

    /// Looks into the index, read or made anew where need be.
    pub(crate) fn with_index<T>(
        &self,
        env: &Env,
        rebuild: bool,
        look: impl FnOnce(&IndexEntries) -> T,
    ) -> Result<T> {
        if !rebuild && let Some(entries) = &*self.index.read() {
            return Ok(look(entries));
        }
        let published = self.published();
        let most = match env.memory_bounded {
            true => entries_max(env.index_interval_bytes, published.max(env.segment_bytes)),
            false => usize::MAX,
        };
        let stored = index_file::read(&*env.storage, &env.dir, self.base, published, most);
        let entries = match stored.filter(|_| !rebuild) {
            Some(entries) => entries,
            None => self.rebuild_index(env)?,
        };
        let seen = look(&entries);
        let mut index = self.index.write();
        if self.keeps_index.load(Ordering::Acquire) {
            *index = Some(entries);
        }
        Ok(seen)
    }

    /// Keeps no index in memory from now on.
    pub(crate) fn let_index_go(&self) {
        self.keeps_index.store(false, Ordering::Release);
        *self.index.write() = None;
    }

    /// Bytes of memory the index takes now.
    pub(crate) fn index_memory(&self) -> usize {
        self.index.read().as_ref().map_or(0, IndexEntries::memory_bytes)
    }

    /// Makes the index anew from the batches (I5); damaged stretches get no entries.
    fn rebuild_index(&self, env: &Env) -> Result<IndexEntries> {
        let mut rule = IndexRule::new(self.base.get(), env.index_interval_bytes);
        let mut entries = IndexEntries::default();
        entries.make_room(env.index_interval_bytes, self.published());
        let mut walker = Walker::new(0, self.base, Gaps::Expected);
        loop {
            match walker.pass(self, &env.seal)? {
                Step::Batch((header, position)) => {
                    let last = header.next_offset() - 1;
                    if let Some(due) = rule.add(last, header.max_timestamp, position) {
                        entries.add(due);
                    }
                }
                Step::Damage(_) => {
                    if walker.resync(self, &env.seal, Offset::MAX)?.is_none() {
                        break;
                    }
                }
                Step::End => break,
            }
        }
        entries.add(rule.finish());
        entries.shrink();
        // A cache: a full or read-only disk costs the next lookup a scan, nothing else. Who only
        // looks writes nothing at all.
        // A segment of one header, which stands over a gap, needs none.
        if env.names.is_some() && self.published() > HEADER_BYTES {
            let _ = index_file::write(env, self.base, &entries);
        }
        Ok(entries)
    }

    /// Adds entries to the index of a segment that is being written.
    pub(crate) fn add_to_index(&self, due: Due) {
        if let Some(entries) = &mut *self.index.write() {
            entries.add(due);
        }
    }

    /// Gives the index's memory back: its files were written, and whoever asks reads them.
    pub(crate) fn forget_index(&self) {
        *self.index.write() = None;
    }

    /// The index as it stands, for writing it out.
    pub(crate) fn index_entries(&self) -> IndexEntries {
        self.index.read().clone().unwrap_or_default()
    }
}

#[cfg(test)]
pub(crate) mod tests;
