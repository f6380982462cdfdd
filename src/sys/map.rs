//! Shared file maps behind safe calls, and bytes that keep what they lie in.
//!
//! Floor 1. A map has a published end. Below it nothing is ever stored again (I9), so shared
//! references into it stay true; above it only the one [`MapWriter`] stores.
#![expect(unsafe_code, reason = "raw maps; every block has its proof")]

use std::any::Any;
use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::{Arc, OnceLock};

use crate::sys::published::Published;
use crate::sys::sync::atomic::{AtomicU64, Ordering};

const PAGE_BYTES: usize = 4096;
/// How much is brought into memory at once for who reads in order: much more costs memory for
/// nothing where reading stops, much less a system call too often.
const READ_AHEAD_BYTES: usize = 1 << 20;

/// The memory behind a map.
///
/// # Safety
/// `base` points to `length` bytes that stay valid and in place until the region is dropped, that
/// reading cannot fault below the length of the file behind them, and that nothing but the
/// [`MapWriter`] over this region stores to.
pub(super) unsafe trait Region: Send + Sync {
    fn base(&self) -> *mut u8;
    fn length(&self) -> usize;
    /// Makes the pages of a range present and writable, or says why not where a store would raise
    /// a signal.
    fn populate(&self, range: Range<usize>) -> io::Result<()>;
    /// Makes what was stored survive a power cut, and says what could not be written since the map
    /// was made, as a sync by the descriptor it was made of would: the map keeps the file open.
    fn sync(&self) -> io::Result<()>;
    /// These bytes were stored just now, by the [`MapWriter`]: no kernel watches a simulated map.
    #[cfg(feature = "simulation")]
    fn stored(&self, _position: usize, _bytes: &[u8]) {}
    /// Brings the pages of a range into memory and into the page tables at once, instead of at the
    /// first touch of each. Only speed is at stake: what cannot be done is left undone.
    fn read_ahead(&self, _range: Range<usize>) {}
    /// Whether pages that are populated from now on are to stay small in the page cache. A store
    /// into a large folio sends all of it to the device at the next sync. Only wear and speed are
    /// at stake.
    fn in_small_folios(&self, _small: bool) {}
}

/// A mapped file of which the bytes below a published end can be read.
pub(crate) struct Map {
    region: Box<dyn Region>,
    base: *mut u8,
    length: usize,
    published: OwnLine,
    /// A bit for each stretch that was read ahead already.
    read_ahead: AtomicU64,
    /// What lives as long as the map.
    kept: OnceLock<Arc<dyn Any + Send + Sync>>,
}

/// What each append writes, away from what readers write: the count of those who hold the map.
#[repr(align(128))]
struct OwnLine(Published);

impl Deref for OwnLine {
    type Target = Published;

    #[inline]
    fn deref(&self) -> &Published {
        &self.0
    }
}

// SAFETY: the region is Send and Sync; `base` points into it. Bytes below `published` are never
// stored to again, and bytes above it are touched only by the one `MapWriter`, through `&mut`.
unsafe impl Send for Map {}
// SAFETY: as for Send.
unsafe impl Sync for Map {}

impl Map {
    pub(super) fn new(region: Box<dyn Region>, published: usize) -> Map {
        let (base, length) = (region.base(), region.length());
        assert!(published <= length, "what is published lies inside the map");
        let published = OwnLine(Published::new(published));
        let (read_ahead, kept) = (AtomicU64::new(0), OnceLock::new());
        Map { region, base, length, published, read_ahead, kept }
    }

    /// Keeps this alive as long as the map; only the first one counts.
    pub(crate) fn keep_alive(&self, what: Arc<dyn Any + Send + Sync>) {
        let _ = self.kept.set(what);
    }

    /// To be called by who reads on from `position`: has what follows brought into memory in large
    /// steps, each once. Returns up to where there is no need to call again.
    #[cold]
    pub(crate) fn read_ahead(&self, position: usize) -> usize {
        // 64 stretches, one a bit, whatever the map's length.
        let stretch = (self.length / 64).next_power_of_two().max(READ_AHEAD_BYTES);
        let number = position / stretch;
        let end = ((number + 1) * stretch).min(self.length);
        let until = end.min(self.published());
        let bit = 1_u64 << (number % 64);
        if until > position && self.read_ahead.load(Ordering::Relaxed) & bit == 0 {
            let page = position - position % PAGE_BYTES;
            self.region.read_ahead(page..until);
            if until == end {
                self.read_ahead.fetch_or(bit, Ordering::Relaxed);
            }
        }
        if until == end { end } else { until.max(position) + READ_AHEAD_BYTES }
    }

    /// How much address space it takes.
    pub(crate) fn length(&self) -> usize {
        self.length
    }

    /// Up to where the bytes can be read.
    #[inline]
    pub(crate) fn published(&self) -> usize {
        self.published.end()
    }

    /// The bytes of a range, if it is published.
    #[inline]
    pub(crate) fn bytes(&self, range: Range<usize>) -> Option<&[u8]> {
        if range.start > range.end || range.end > self.published() {
            return None;
        }
        // SAFETY: start <= end <= published <= length, so the pointer stays inside the region.
        let start = unsafe { self.base.add(range.start) };
        // SAFETY: the range lies below the published end, which was stored with Release after the
        // bytes and read with Acquire above; nothing stores below it again (I9), and `&self` keeps
        // the region. The file is longer than the published end as long as nobody else cuts it,
        // which lies outside the contract written on `Log::open`.
        Some(unsafe { std::slice::from_raw_parts(start, range.end - range.start) })
    }
}

impl Map {
    /// Makes the pages of a range ready for the writer's stores; it may be storing meanwhile.
    pub(crate) fn populate(&self, range: Range<usize>) -> io::Result<()> {
        debug_assert!(range.end <= self.length);
        self.region.populate(range)
    }

    /// Makes what was stored survive a power cut; the writer may be storing meanwhile. Needs no
    /// descriptor.
    pub(crate) fn sync(&self) -> io::Result<()> {
        self.region.sync()
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Map")
            .field("length", &self.length)
            .field("published", &self.published())
            .finish_non_exhaustive()
    }
}

/// The one writer of a map.
#[derive(Debug)]
pub(crate) struct MapWriter {
    map: Arc<Map>,
}

impl MapWriter {
    pub(super) fn new(region: Box<dyn Region>, published: usize) -> MapWriter {
        MapWriter { map: Arc::new(Map::new(region, published)) }
    }

    /// The map, for readers.
    pub(crate) fn map(&self) -> &Arc<Map> {
        &self.map
    }

    /// Copies `bytes` to `position`; the pages are populated.
    ///
    /// # Panics
    /// If the range is published already or lies outside the map: a bug of ours (I9).
    #[inline]
    pub(crate) fn store(&mut self, position: usize, bytes: &[u8]) {
        let map = &*self.map;
        let fits = position >= map.published.own_end()
            && position <= map.length
            && bytes.len() <= map.length - position;
        assert!(fits, "a store lies between the published end and the map's end");
        // SAFETY: position <= length, checked above.
        let target = unsafe { map.base.add(position) };
        // SAFETY: the target range lies inside the region and above the published end, so no
        // reference to it exists; `bytes` is a reference and so does not overlap it; `&mut self`
        // makes this the only store. The pages are present and writable because the caller
        // populated them, so the store raises no signal.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, bytes.len()) };
        #[cfg(feature = "simulation")]
        map.region.stored(position, bytes);
    }

    /// Lets readers see everything below `end`.
    #[inline]
    pub(crate) fn publish(&mut self, end: usize) {
        debug_assert!(end >= self.map.published.own_end() && end <= self.map.length);
        self.map.published.publish(end);
    }

    /// Small folios for who flushes often, whose flushes would write large ones again and again;
    /// large ones for who writes much between two flushes, since they are populated faster.
    pub(crate) fn in_small_folios(&mut self, small: bool) {
        self.map.region.in_small_folios(small);
    }

    /// Makes the pages of a range ready for stores.
    pub(crate) fn populate(&mut self, range: Range<usize>) -> io::Result<()> {
        self.map.populate(range)
    }
}

#[cfg(test)]
impl MapWriter {
    /// Lets a test hear of each sync of the map before it happens, and refuse it.
    ///
    /// # Panics
    /// If someone reads the map already.
    pub(crate) fn before_sync(
        self,
        ask: impl Fn() -> io::Result<()> + Send + Sync + 'static,
    ) -> MapWriter {
        let map = Arc::into_inner(self.map).expect("the map has no reader yet");
        let published = map.published();
        MapWriter::new(Box::new(Asked { region: map.region, ask }), published)
    }
}

/// A region whose syncs are asked for first.
#[cfg(test)]
struct Asked<F> {
    region: Box<dyn Region>,
    ask: F,
}

// SAFETY: all that the trait promises is promised by the region behind it, which is kept and whose
// memory is handed out as it is.
#[cfg(test)]
unsafe impl<F: Fn() -> io::Result<()> + Send + Sync> Region for Asked<F> {
    fn base(&self) -> *mut u8 {
        self.region.base()
    }
    fn length(&self) -> usize {
        self.region.length()
    }
    fn populate(&self, range: Range<usize>) -> io::Result<()> {
        self.region.populate(range)
    }
    fn sync(&self) -> io::Result<()> {
        (self.ask)()?;
        self.region.sync()
    }
    #[cfg(feature = "simulation")]
    fn stored(&self, position: usize, bytes: &[u8]) {
        self.region.stored(position, bytes);
    }
    fn read_ahead(&self, range: Range<usize>) {
        self.region.read_ahead(range);
    }
    fn in_small_folios(&self, small: bool) {
        self.region.in_small_folios(small);
    }
}

/// Bytes that keep alive what they lie in: a map, or memory of their own. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Pinned {
    /// Points into what `owner` keeps alive.
    start: *const u8,
    length: usize,
    owner: Owner,
}

#[derive(Clone)]
enum Owner {
    Map(#[expect(dead_code, reason = "only kept, for the bytes in it")] Arc<Map>),
    Heap(Arc<Vec<u8>>),
}

// SAFETY: the owner is Send and Sync, and the bytes `start` points to are only read, as through a
// shared slice of the owner.
unsafe impl Send for Pinned {}
// SAFETY: as for Send.
unsafe impl Sync for Pinned {}

impl Pinned {
    /// A published range of a map.
    #[inline]
    pub(crate) fn of_map(map: &Arc<Map>, range: Range<usize>) -> Option<Pinned> {
        let bytes = map.bytes(range)?;
        let (start, length) = (bytes.as_ptr(), bytes.len());
        Some(Pinned { start, length, owner: Owner::Map(Arc::clone(map)) })
    }

    /// Bytes of their own.
    pub(crate) fn of_vec(bytes: Vec<u8>) -> Pinned {
        let (start, length) = (bytes.as_ptr(), bytes.len());
        Pinned { start, length, owner: Owner::Heap(Arc::new(bytes)) }
    }

    /// Memory of their own that nobody else holds any more, to be filled anew; else none.
    pub(crate) fn into_vec(self) -> Vec<u8> {
        match self.owner {
            Owner::Heap(bytes) => Arc::try_unwrap(bytes).unwrap_or_default(),
            Owner::Map(_) => Vec::new(),
        }
    }

    /// A part of these bytes, keeping the same owner.
    #[inline]
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<Pinned> {
        let part = self.get(range)?;
        Some(Pinned { start: part.as_ptr(), length: part.len(), owner: self.owner.clone() })
    }
}

impl Deref for Pinned {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        // SAFETY: `start` and `length` were taken from a slice of what `owner` keeps alive and in
        // place. In a map they lie below its published end, where nothing is stored again (I9); the
        // memory of a vector is not changed while it is shared, and `into_vec` ends the sharing.
        unsafe { std::slice::from_raw_parts(self.start, self.length) }
    }
}

impl fmt::Debug for Pinned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let owner = match &self.owner {
            Owner::Map(_) => "map",
            Owner::Heap(_) => "memory",
        };
        f.debug_struct("Pinned").field("length", &self.length).field("owner", &owner).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::Pinned;
    use crate::sys::{OsStorage, Storage};

    /// I9: nobody reads beyond the published end, and nobody stores below it.
    #[test]
    fn a_map_is_read_below_and_written_above_its_published_end_only() {
        let tmp = tempfile::tempdir().unwrap();
        let file = OsStorage.create_new(&tmp.path().join("file")).unwrap();
        file.write_all_at(0, &[0; 8192]).unwrap();
        let mut writer = file.map_write(8192).unwrap();
        let map = Arc::clone(writer.map());
        writer.store(0, b"first");
        assert_eq!(map.bytes(0..5), None);
        writer.publish(5);
        assert_eq!(map.bytes(0..5), Some(b"first".as_slice()));
        assert_eq!(map.bytes(0..6), None);
        let pinned = Pinned::of_map(&map, 1..5).unwrap();
        writer.store(5, b"second");
        for (position, length) in [(4, 1), (8190, 3), (usize::MAX, 1)] {
            let bytes = &[9; 3][..length];
            let store = std::panic::AssertUnwindSafe(|| writer.store(position, bytes));
            assert!(std::panic::catch_unwind(store).is_err(), "{position}");
        }
        drop((writer, map, file, tmp));
        assert_eq!(&*pinned, b"irst", "what is pinned outlives everything");
        assert!(pinned.slice(0..5).is_none());
    }

    /// I9: memory goes back to be filled anew only when nobody holds a part of it any more.
    #[test]
    fn memory_that_someone_holds_is_not_given_back() {
        let whole = Pinned::of_vec(b"held".to_vec());
        let part = whole.slice(1..3).unwrap();
        assert_eq!(whole.into_vec(), b"");
        assert_eq!(&*part, b"el");
        assert_eq!(part.into_vec(), b"held");
    }
}
