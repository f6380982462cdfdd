//! Counts what is made to go to the device, for flash wears from nothing else.
//!
//! Floor 3. Counted where syncs happen, never where appends do: a sync covers whole pages, from the
//! one that the last covered byte lies in to the new end, and those that were populated ahead of it
//! and go as zeros. Only successful syncs count.

use std::ops::Range;
use std::sync::Arc;

use crate::sys::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What goes to the device at once, whatever is changed of it.
pub(crate) const PAGE_BYTES: usize = 4096;

/// The sums of one open log; its checkpoint shares them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Written(Arc<Sums>);

#[derive(Debug, Default)]
struct Sums {
    pages: AtomicU64,
    syncs: AtomicU64,
}

impl Written {
    /// A sync that covered so many pages.
    pub(crate) fn sync(&self, pages: usize) {
        self.pages(pages);
        self.0.syncs.fetch_add(1, Ordering::Relaxed);
    }

    /// Pages that nobody syncs: the kernel writes them within its half a minute.
    pub(crate) fn pages(&self, pages: usize) {
        self.0.pages.fetch_add(pages as u64, Ordering::Relaxed);
    }

    /// Bytes that went to the device, and syncs.
    pub(crate) fn sums(&self) -> (u64, u64) {
        let pages = self.0.pages.load(Ordering::Relaxed);
        (pages.saturating_mul(PAGE_BYTES as u64), self.0.syncs.load(Ordering::Relaxed))
    }
}

/// How many pages a range of bytes touches.
pub(crate) fn pages_of(range: Range<usize>) -> usize {
    if range.is_empty() {
        return 0;
    }
    range.end.div_ceil(PAGE_BYTES) - range.start / PAGE_BYTES
}

/// How far a segment's file has reached the device.
#[derive(Debug)]
pub(crate) struct Reached {
    /// Below it all batches have.
    position: AtomicUsize,
    /// Pages below it have, as zeros at least.
    zeros: AtomicUsize,
}

impl Reached {
    pub(crate) fn at(position: usize) -> Reached {
        Reached { position: AtomicUsize::new(position), zeros: AtomicUsize::new(position) }
    }

    /// Bytes from `position` on were written again.
    pub(crate) fn touch(&self, position: usize) {
        self.position.fetch_min(position, Ordering::Relaxed);
    }

    /// A sync went through while batches ended at `end` and pages were populated up to `populated`:
    /// how many pages it covered.
    pub(crate) fn advance(&self, end: usize, populated: usize) -> usize {
        let before = self.position.fetch_max(end, Ordering::Relaxed);
        let populated = populated.max(end);
        let zeros = self.zeros.fetch_max(populated, Ordering::Relaxed).max(end);
        let ahead = populated.div_ceil(PAGE_BYTES).saturating_sub(zeros.div_ceil(PAGE_BYTES));
        pages_of(before..end) + ahead
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_covers_whole_pages_and_what_was_populated_once() {
        let reached = Reached::at(0);
        assert_eq!(reached.advance(0, 0), 0);
        assert_eq!(reached.advance(100, 100), 1);
        assert_eq!(reached.advance(200, 200), 1, "the same page again");
        assert_eq!(reached.advance(200, 200), 0, "nothing is dirty");
        assert_eq!(reached.advance(4096, 4096), 1);
        assert_eq!(reached.advance(4097, 4 * 4096), 3, "a page of bytes and two of zeros");
        assert_eq!(reached.advance(4098, 4 * 4096), 1, "the zeros are there");
        assert_eq!(reached.advance(5 * 4096, 5 * 4096), 4, "and go again as bytes");
        reached.touch(4096);
        assert_eq!(reached.advance(5 * 4096, 0), 4);
        let reopened = Reached::at(5000);
        assert_eq!(reopened.advance(5000, 5000), 0);
        assert_eq!(reopened.advance(5001, 3 * 4096), 2);
    }
}
