//! The memory behind the maps of a simulated file.
//!
//! Floor 1. A mirror of the cache: what a map stores is told to the disk at once, what is written
//! past the map is copied in.
#![expect(unsafe_code, reason = "maps are raw memory; every block has its proof")]

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use super::Disk;
use crate::sys::map::Region;

/// Bytes at a fixed place until the last owner is gone.
pub(super) struct Memory {
    base: *mut u8,
    length: usize,
}

// SAFETY: the memory is owned; who may touch which bytes when is the contract of `Region` and of
// `Memory::put`.
unsafe impl Send for Memory {}
// SAFETY: as for Send.
unsafe impl Sync for Memory {}

impl Memory {
    /// Zeroed.
    pub(super) fn new(length: usize) -> Memory {
        let bytes = vec![0_u8; length].into_boxed_slice();
        Memory { base: Box::into_raw(bytes).cast::<u8>(), length }
    }

    pub(super) fn length(&self) -> usize {
        self.length
    }

    /// Copies bytes in, as far as the memory reaches. As with a map of the operating system, the
    /// log writes by position only to bytes of which no reference is alive.
    pub(super) fn put(&self, at: usize, bytes: &[u8]) {
        let Some(room) = self.length.checked_sub(at) else { return };
        let count = room.min(bytes.len());
        // SAFETY: at <= length, so the pointer stays inside the allocation.
        let target = unsafe { self.base.add(at) };
        // SAFETY: `count` bytes from `target` lie inside the allocation and are initialised, and
        // nobody stores to them meanwhile: one thread at a time is inside the disk.
        let current = unsafe { std::slice::from_raw_parts(target, count) };
        if bytes.get(..count) == Some(current) {
            // The same again, as when a log writes anew what a crash left: there readers may look.
            return;
        }
        // SAFETY: `count` bytes from `target` lie inside the allocation; `bytes` is a reference
        // while nobody holds one to the target: below a map's published end the log writes other
        // bytes by position only before it reads through that map (I9); above it there are none.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), target, count) };
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        let bytes = std::ptr::slice_from_raw_parts_mut(self.base, self.length);
        // SAFETY: made by `Box::into_raw` with this length in `new`, and freed only here.
        drop(unsafe { Box::from_raw(bytes) });
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Memory").field("length", &self.length).finish_non_exhaustive()
    }
}

/// One map of a file.
pub(super) struct SimRegion {
    pub(super) disk: Disk,
    pub(super) memory: Arc<Memory>,
    pub(super) inode: u64,
    /// Which of the file's maps.
    pub(super) map: u64,
}

// SAFETY: the memory stays in place as long as `memory` is kept; all of it can be read; besides the
// `MapWriter` only `Memory::put` stores to it, under the contract written there.
unsafe impl Region for SimRegion {
    fn base(&self) -> *mut u8 {
        self.memory.base
    }

    fn length(&self) -> usize {
        self.memory.length
    }

    fn populate(&self, range: Range<usize>) -> io::Result<()> {
        self.disk.populate(self.inode, self.map, range)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.sync_file(self.inode)
    }

    fn stored(&self, position: usize, bytes: &[u8]) {
        self.disk.state().store(self.inode, self.map, position, bytes);
    }
}

impl Drop for SimRegion {
    fn drop(&mut self) {
        self.disk.state().unmap(self.inode, self.map);
    }
}
