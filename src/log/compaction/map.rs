//! The keys of a log's new part, each with the offset of its newest record.
//!
//! Floor 4. Holds no key but 128 bits of a keyed hash, so that a key takes the same however long it
//! is: two keys fall together once in 2^128, whoever chooses them. Bounded: what does not fit is
//! for another pass.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::hint::black_box;
use std::mem;

/// What a key is known by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyHash([u64; 2]);

/// What is kept of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot {
    hash: KeyHash,
    /// Of the newest record; none at `FREE`.
    offset: i64,
}

const FREE: Slot = Slot { hash: KeyHash([0; 2]), offset: -1 };
const SLOT_BYTES: usize = size_of::<Slot>();

/// So many tables, each of which grows alone: what is there twice meanwhile is small.
const TABLES: usize = 64;
/// Slots of a table that holds something, at least.
const SLOTS_MIN: usize = 16;
/// A table with more of its slots taken grows, by half.
const LOAD_MAX: (usize, usize) = (4, 5);
/// One that may not grow any more takes so many still.
const LOAD_LAST: (usize, usize) = (9, 10);

/// So many keys are fetched together: more do not wait less.
pub(crate) const FETCHED: usize = 64;

/// The map.
#[derive(Debug)]
pub(crate) struct KeyMap {
    hashers: [RandomState; 2],
    tables: Vec<Table>,
    keys: usize,
    bytes: usize,
    bytes_max: usize,
}

#[derive(Debug, Default)]
struct Table {
    slots: Vec<Slot>,
    taken: usize,
}

impl KeyMap {
    /// One that takes at most so many bytes of memory.
    pub(crate) fn new(bytes_max: usize) -> KeyMap {
        let tables = (0..TABLES).map(|_| Table::default()).collect();
        let hashers = [RandomState::new(), RandomState::new()];
        KeyMap { hashers, tables, keys: 0, bytes: 0, bytes_max }
    }

    /// How many keys it holds.
    pub(crate) fn len(&self) -> usize {
        self.keys
    }

    /// Forgets all keys, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        for table in &mut self.tables {
            table.slots.fill(FREE);
            table.taken = 0;
        }
        self.keys = 0;
    }

    /// Notes the offset of a key's newest record; offsets come in order. `false` if there is no
    /// room for one more key.
    pub(crate) fn put(&mut self, hash: KeyHash, offset: i64) -> bool {
        debug_assert!(offset >= 0, "a batch's offsets were checked");
        let Some(table) = self.tables.get_mut(table_of(hash)) else { return false };
        if let Some(found) = table.find(hash).filter(|slot| slot.offset >= 0) {
            found.offset = offset;
            return true;
        }
        if !table.has_room(LOAD_MAX) {
            let more = table.grown() * SLOT_BYTES;
            // The old slots are there until the new ones are filled.
            if self.bytes + more <= self.bytes_max {
                self.bytes += more - table.slots.len() * SLOT_BYTES;
                table.grow();
            } else if !table.has_room(LOAD_LAST) {
                return false;
            }
        }
        let Some(free) = table.find(hash) else { return false };
        *free = Slot { hash, offset };
        table.taken += 1;
        self.keys += 1;
        true
    }

    /// The offset of a key's newest record, if it has one that is new.
    pub(crate) fn get(&self, hash: KeyHash) -> Option<i64> {
        let table = self.tables.get(table_of(hash))?;
        table.look(hash).map(|slot| slot.offset)
    }

    /// Has the memory fetched that looking these keys up will touch: as one after another waits for
    /// it, a large map takes most of its time, and all of them together wait hardly longer than
    /// one.
    pub(crate) fn fetch(&self, hashes: impl Iterator<Item = KeyHash>) {
        // Loads that nothing depends on, which the processor has under way side by side.
        let mut sum = 0;
        for hash in hashes {
            let Some(table) = self.tables.get(table_of(hash)) else { continue };
            sum ^= table.slots.get(table.begin(hash)).map_or(0, |slot| slot.offset);
        }
        black_box(sum);
    }

    pub(crate) fn hash(&self, key: &[u8]) -> KeyHash {
        let [first, second] = &self.hashers;
        let of = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            hasher.write(key);
            hasher.finish()
        };
        KeyHash([of(first), of(second)])
    }
}

fn table_of(KeyHash([_, second]): KeyHash) -> usize {
    usize::try_from(second % TABLES as u64).unwrap_or(0)
}

impl Table {
    fn has_room(&self, (taken, of): (usize, usize)) -> bool {
        (self.taken + 1) * of <= self.slots.len() * taken
    }

    fn grown(&self) -> usize {
        (self.slots.len() / 2 * 3).max(SLOTS_MIN)
    }

    fn grow(&mut self) {
        let grown = self.grown();
        let old = mem::take(&mut self.slots);
        self.slots.reserve_exact(grown);
        self.slots.resize(grown, FREE);
        for slot in old.into_iter().filter(|slot| slot.offset >= 0) {
            if let Some(free) = self.find(slot.hash) {
                *free = slot;
            }
        }
    }

    /// Where a key's search begins: its place among the slots, however many these are.
    fn begin(&self, KeyHash([first, _]): KeyHash) -> usize {
        let wide = u128::from(first) * self.slots.len() as u128;
        usize::try_from(wide >> 64).unwrap_or(0)
    }

    /// The slot of a key, or the free one that it would get; `None` if there is neither.
    fn find(&mut self, hash: KeyHash) -> Option<&mut Slot> {
        let begin = self.begin(hash);
        let (before, behind) = self.slots.split_at_mut_checked(begin)?;
        let mut all = behind.iter_mut().chain(before);
        all.find(|slot| slot.offset < 0 || slot.hash == hash)
    }

    fn look(&self, hash: KeyHash) -> Option<&Slot> {
        let (before, behind) = self.slots.split_at_checked(self.begin(hash))?;
        let mut all = behind.iter().chain(before);
        all.find(|slot| slot.offset < 0 || slot.hash == hash).filter(|slot| slot.offset >= 0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn it_holds_what_a_map_of_the_standard_library_holds() {
        let mut map = KeyMap::new(usize::MAX);
        let mut expected = HashMap::new();
        let mut number = 1_u64;
        for offset in 0..200_000 {
            number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let key = format!("{}", (number >> 40) % 50_000);
            assert!(map.put(map.hash(key.as_bytes()), offset));
            expected.insert(key, offset);
        }
        assert_eq!(map.len(), expected.len());
        for key in (0..60_000).map(|key| format!("{key}")) {
            let hash = map.hash(key.as_bytes());
            map.fetch([hash].into_iter());
            assert_eq!(map.get(hash), expected.get(&key).copied(), "{key}");
        }
        map.clear();
        let hash = map.hash(b"7");
        assert_eq!((map.len(), map.get(hash)), (0, None));
        assert!(map.put(hash, 3) && map.get(hash) == Some(3));
    }

    /// The bound holds while a table grows, too: what is counted is what is allocated.
    #[test]
    fn a_full_map_takes_known_keys_and_refuses_new_ones() {
        for bytes in [400, 64 << 10, 1 << 20] {
            let mut map = KeyMap::new(bytes);
            let mut offset = 0;
            while map.put(map.hash(&i64::to_be_bytes(offset)), offset) {
                let slots: usize = map.tables.iter().map(|table| table.slots.capacity()).sum();
                assert_eq!(slots * SLOT_BYTES, map.bytes);
                assert!(map.bytes <= bytes);
                offset += 1;
            }
            let least = if bytes < 1000 { 1 } else { bytes / 60 };
            assert!(map.len() >= least, "{} keys in {bytes} bytes", map.len());
            for key in 0..offset {
                let hash = map.hash(&key.to_be_bytes());
                assert_eq!(map.get(hash), Some(key));
                assert!(map.put(hash, key + 1));
            }
            assert_eq!(map.get(map.hash(&offset.to_be_bytes())), None);
        }
    }
}
