//! What a file holds, a page at a time: pages that nobody changed are shared between the cache, the
//! device and every disk that was made of them.
//!
//! Floor 1.

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use super::chance::Hash;

pub(super) const PAGE: usize = 4096;

/// The bytes of a page; states by the thousand share them, so their hash is computed once.
#[derive(Debug)]
struct Page {
    bytes: [u8; PAGE],
    /// Of the first so many bytes; `None` if they are zeros.
    hash: OnceLock<(usize, Option<u64>)>,
}

impl Clone for Page {
    fn clone(&self) -> Page {
        Page { bytes: self.bytes, hash: OnceLock::new() }
    }
}

impl Page {
    fn hash(&self, length: usize) -> Option<u64> {
        let compute = || {
            let bytes = self.bytes.get(..length).unwrap_or_default();
            let mut hash = Hash::default();
            hash.add_bytes(bytes);
            let zero = bytes.iter().all(|&byte| byte == 0);
            (length, (!zero).then(|| hash.value()))
        };
        let known = self.hash.get_or_init(compute);
        if known.0 == length { known.1 } else { compute().1 }
    }
}

#[derive(Clone, Debug, Default)]
enum Slot {
    /// No block.
    #[default]
    Hole,
    /// A block that reads as zeros.
    Reserved,
    Data(Arc<Page>),
}

/// The bytes of a file and the blocks it has, which may lie beyond its length.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    slots: Vec<Slot>,
    length: usize,
}

/// The pages a range of bytes touches.
pub(super) fn pages(range: &Range<usize>) -> Range<usize> {
    if range.is_empty() {
        return 0..0;
    }
    range.start / PAGE..range.end.div_ceil(PAGE)
}

/// A range of bytes in parts that do not cross a multiple of `unit`.
pub(super) fn parts(range: Range<usize>, unit: usize) -> impl Iterator<Item = Range<usize>> {
    let mut at = range.start;
    std::iter::from_fn(move || {
        let end = (at / unit * unit + unit).min(range.end);
        let part = at..end;
        at = end;
        (!part.is_empty()).then_some(part)
    })
}

impl Content {
    pub(super) fn of(bytes: &[u8]) -> Content {
        let mut content = Content::default();
        content.put(0, bytes);
        content.set_len(bytes.len());
        content
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// How many blocks it has.
    pub(super) fn blocks(&self) -> u64 {
        self.slots.iter().filter(|slot| !matches!(slot, Slot::Hole)).count() as u64
    }

    pub(super) fn has_block(&self, page: usize) -> bool {
        !matches!(self.slots.get(page), None | Some(Slot::Hole))
    }

    /// Whether something was written to a page.
    pub(super) fn has_data(&self, page: usize) -> bool {
        matches!(self.slots.get(page), Some(Slot::Data(_)))
    }

    fn slot(&mut self, page: usize) -> &mut Slot {
        if self.slots.len() <= page {
            self.slots.resize(page + 1, Slot::Hole);
        }
        // The length was made large enough just above.
        match self.slots.get_mut(page) {
            Some(slot) => slot,
            None => unreachable!("the slots were made up to {page}"),
        }
    }

    /// Gives a page a block.
    pub(super) fn reserve(&mut self, page: usize) {
        let slot = self.slot(page);
        if matches!(slot, Slot::Hole) {
            *slot = Slot::Reserved;
        }
    }

    /// The bytes of a page, changeable.
    fn page(&mut self, page: usize) -> &mut [u8; PAGE] {
        let slot = self.slot(page);
        if !matches!(slot, Slot::Data(_)) {
            *slot = Slot::Data(Arc::new(Page { bytes: [0; PAGE], hash: OnceLock::new() }));
        }
        match slot {
            Slot::Data(page) => {
                let page = Arc::make_mut(page);
                page.hash = OnceLock::new();
                &mut page.bytes
            }
            _ => unreachable!("the slot was filled just above"),
        }
    }

    /// Changes bytes, and gives blocks to the pages they lie in; the length stays.
    pub(super) fn put(&mut self, at: usize, bytes: &[u8]) {
        let mut bytes = bytes;
        for part in parts(at..at + bytes.len(), PAGE) {
            let (now, later) = bytes.split_at(part.len());
            let start = part.start % PAGE;
            if let Some(target) = self.page(part.start / PAGE).get_mut(start..start + part.len()) {
                target.copy_from_slice(now);
            }
            bytes = later;
        }
    }

    /// Takes a range over from another content, blocks included; the length stays.
    pub(super) fn take(&mut self, range: Range<usize>, from: &Content) {
        for part in parts(range, PAGE) {
            let page = part.start / PAGE;
            if part.len() == PAGE {
                *self.slot(page) = from.slots.get(page).cloned().unwrap_or_default();
            } else {
                let mut bytes = [0; PAGE];
                let Some(bytes) = bytes.get_mut(..part.len()) else { continue };
                from.copy(part.start, bytes);
                self.put(part.start, bytes);
            }
        }
    }

    /// Cuts or grows: what is cut is gone, what is new reads as zeros unless it was put there.
    pub(super) fn set_len(&mut self, length: usize) {
        if length < self.length {
            self.slots.truncate(length.div_ceil(PAGE));
            let start = length % PAGE;
            if start > 0 && matches!(self.slots.get(length / PAGE), Some(Slot::Data(_))) {
                let rest = self.page(length / PAGE).get_mut(start..);
                rest.into_iter().for_each(|rest| rest.fill(0));
            }
        }
        self.length = length;
    }

    /// Lets go of what lies beyond the length.
    pub(super) fn trim(&mut self) {
        let length = self.length;
        self.length = usize::MAX;
        self.set_len(length);
    }

    /// Copies bytes out, whatever the length; zeros where there are none.
    pub(super) fn copy(&self, at: usize, into: &mut [u8]) {
        let mut into = into;
        for part in parts(at..at + into.len(), PAGE) {
            let (now, later) = into.split_at_mut(part.len());
            let start = part.start % PAGE;
            match self.slots.get(part.start / PAGE) {
                Some(Slot::Data(page)) => {
                    if let Some(bytes) = page.bytes.get(start..start + part.len()) {
                        now.copy_from_slice(bytes);
                    }
                }
                _ => now.fill(0),
            }
            into = later;
        }
    }

    /// Reads up to the length; how much that was.
    pub(super) fn read(&self, at: usize, into: &mut [u8]) -> usize {
        let count = into.len().min(self.length.saturating_sub(at));
        if let Some(into) = into.get_mut(..count) {
            self.copy(at, into);
        }
        count
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.length];
        self.copy(0, &mut bytes);
        bytes
    }

    /// The parts of a range that hold anything but zeros by way of having no data.
    pub(super) fn data_in(&self, range: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let end = range.end.min(self.slots.len() * PAGE);
        parts(range.start..end.max(range.start), PAGE)
            .filter(|part| self.has_data(part.start / PAGE))
    }

    /// A number that differs where bytes up to the length differ, whatever blocks there are.
    pub(super) fn hash(&self, hash: &mut Hash) {
        hash.add(self.length as u64);
        for part in parts(0..self.length, PAGE) {
            let Some(Slot::Data(page)) = self.slots.get(part.start / PAGE) else { continue };
            if let Some(bytes) = page.hash(part.len()) {
                hash.add(part.start as u64);
                hash.add(bytes);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_reads_what_was_put_and_zeros_elsewhere() {
        let mut content = Content::default();
        content.put(4090, b"across two pages");
        assert_eq!((content.len(), content.blocks()), (0, 2));
        content.set_len(5000);
        let copy = content.clone();
        let bytes = content.bytes();
        assert_eq!(&bytes[4090..4106], b"across two pages");
        assert!(bytes[..4090].iter().chain(&bytes[4106..]).all(|&byte| byte == 0));
        content.set_len(4092);
        content.set_len(4100);
        assert_eq!(content.bytes()[4088..], *b"\0\0ac\0\0\0\0\0\0\0\0");
        assert_eq!(copy.bytes(), bytes, "a copy is not touched");
        content.take(0..8192, &copy);
        content.set_len(5000);
        assert_eq!(content.bytes(), bytes);
    }
}
