//! The two index files of a sealed or cleanly closed segment.
//!
//! Floor 3. Caches (I5): written without a sync, believed only where the segment agrees.

use std::io;
use std::path::Path;

use crate::codec::crc::{crc32, crc32_append};
use crate::codec::index::{
    INDEX_ENTRY_BYTES, IndexEntries, TIME_ENTRY_BYTES, index_bytes, parse_index, parse_times,
    time_bytes,
};
use crate::codec::layout::HEADER_BYTES;
use crate::disk::names::{self, Part};
use crate::disk::wear::pages_of;
use crate::disk::{Env, create_anew, read_small};
use crate::sys::Storage;
use crate::words::offset::Offset;

/// CRC-32 over both files, by which a clean open knows them again.
pub(crate) fn checksum(entries: &IndexEntries) -> u32 {
    crc32_append(crc32(&index_bytes(&entries.entries)), &time_bytes(&entries.times))
}

/// Writes both files, unpadded.
pub(crate) fn write(env: &Env, base: Offset, entries: &IndexEntries) -> io::Result<()> {
    let index = env.dir.join(names::segment_file(base, Part::Index));
    write_one(env, &index, &index_bytes(&entries.entries))?;
    let times = env.dir.join(names::segment_file(base, Part::TimeIndex));
    write_one(env, &times, &time_bytes(&entries.times))
}

fn write_one(env: &Env, path: &Path, bytes: &[u8]) -> io::Result<()> {
    create_anew(&*env.storage, path)?.write_all_at(0, bytes)?;
    env.written.pages(pages_of(0..bytes.len()));
    Ok(())
}

/// Whether the index and the time index are these entries, byte for byte.
pub(crate) fn equal(
    storage: &dyn Storage,
    dir: &Path,
    base: Offset,
    entries: &IndexEntries,
) -> [bool; 2] {
    let is = |part, expected: Vec<u8>| {
        let path = dir.join(names::segment_file(base, part));
        // One more than is due, so that a longer file is not taken for it.
        let found = read_small(storage, &path, expected.len() + 1);
        found.is_ok_and(|found| found.is_some_and(|found| found == expected))
    };
    let index = is(Part::Index, index_bytes(&entries.entries));
    [index, is(Part::TimeIndex, time_bytes(&entries.times))]
}

/// Reads both files; `None` if either is missing, has more than so many entries, or cannot belong
/// to a segment of this length.
pub(crate) fn read(
    storage: &dyn Storage,
    dir: &Path,
    base: Offset,
    segment_bytes: usize,
    entries_max: usize,
) -> Option<IndexEntries> {
    // One of each for every batch at most, and a closing time (I11).
    let most = (segment_bytes / HEADER_BYTES + 1).min(entries_max);
    let load = |part, bytes_max: usize| {
        let path = dir.join(names::segment_file(base, part));
        let bytes = read_small(storage, &path, bytes_max + 1).ok().flatten();
        bytes.filter(|bytes| bytes.len() <= bytes_max)
    };
    let entries = parse_index(&load(Part::Index, most * INDEX_ENTRY_BYTES)?, segment_bytes)?;
    let times = parse_times(&load(Part::TimeIndex, most * TIME_ENTRY_BYTES)?)?;
    Some(IndexEntries { entries, times })
}
