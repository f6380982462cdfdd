//! Shared file maps behind safe calls, and bytes that keep what they lie in.
//!
//! Floor 2. A map has a published end. Below it nothing is ever stored again (I9), so shared
//! references into it stay true; above it only the one [`MapWriter`] stores.
#![expect(unsafe_code, reason = "raw maps; every block has its proof")]

use std::fmt;
use std::io;
use std::ops::{Deref, Range};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

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
    /// These bytes were stored just now, by the [`MapWriter`]: no kernel watches a simulated map.
    #[cfg(feature = "simulation")]
    fn stored(&self, _position: usize, _bytes: &[u8]) {}
}

/// A mapped file of which the bytes below a published end can be read.
pub(crate) struct Map {
    region: Box<dyn Region>,
    base: *mut u8,
    length: usize,
    published: AtomicUsize,
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
        Map { region, base, length, published: AtomicUsize::new(published) }
    }

    /// Up to where the bytes can be read.
    #[inline]
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
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
        let fits = position >= map.published.load(Ordering::Relaxed)
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
        debug_assert!(end >= self.map.published.load(Ordering::Relaxed) && end <= self.map.length);
        self.map.published.store(end, Ordering::Release);
    }

    /// Makes the pages of a range ready for stores.
    pub(crate) fn populate(&mut self, range: Range<usize>) -> io::Result<()> {
        debug_assert!(range.end <= self.map.length);
        self.map.region.populate(range)
    }
}

/// Bytes that keep alive what they lie in: a map, or memory of their own. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Pinned {
    owner: Owner,
    range: Range<usize>,
}

#[derive(Clone, Debug)]
enum Owner {
    Map(Arc<Map>),
    Heap(Arc<Vec<u8>>),
}

impl Pinned {
    /// A published range of a map.
    #[inline]
    pub(crate) fn of_map(map: &Arc<Map>, range: Range<usize>) -> Option<Pinned> {
        map.bytes(range.clone())?;
        Some(Pinned { owner: Owner::Map(Arc::clone(map)), range })
    }

    /// Bytes of their own.
    pub(crate) fn of_vec(bytes: Vec<u8>) -> Pinned {
        let range = 0..bytes.len();
        Pinned { owner: Owner::Heap(Arc::new(bytes)), range }
    }

    /// A part of these bytes, keeping the same owner.
    #[inline]
    pub(crate) fn slice(&self, range: Range<usize>) -> Option<Pinned> {
        let (start, end) = (self.range.start + range.start, self.range.start + range.end);
        (start <= end && end <= self.range.end)
            .then(|| Pinned { owner: self.owner.clone(), range: start..end })
    }
}

impl Deref for Pinned {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        let range = self.range.clone();
        let bytes = match &self.owner {
            Owner::Map(map) => map.bytes(range),
            Owner::Heap(bytes) => bytes.get(range),
        };
        bytes.unwrap_or_default()
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
}
