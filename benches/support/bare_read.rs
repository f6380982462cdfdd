//! The limit of reading: a bare loop over the same bytes that does what a reader cannot do
//! without. Per batch it takes the header apart, compares seal, checksum and expected offset, and
//! walks the varints of each record. It knows no damage, no index, no end that moves.

use std::fs::File;
use std::hint::black_box;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

const HEADER_BYTES: usize = 61;

/// What a pass over records adds up, so that log and limit can be seen to have read the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) records: u64,
    pub(crate) bytes: u64,
    mix: u64,
}

impl Sum {
    /// Takes in one record.
    #[inline(always)]
    pub(crate) fn add(&mut self, offset: i64, timestamp: i64, value: &[u8]) {
        self.records += 1;
        self.bytes += value.len() as u64;
        self.mix = self.mix.wrapping_add((offset ^ timestamp) as u64);
        black_box(value);
    }
}

/// Reads batches of one log, each behind the one before.
#[derive(Clone, Debug)]
pub(crate) struct BareReader {
    /// CRC-32 of the log's id, from which each seal starts.
    seal: u32,
    pub(crate) next_offset: i64,
    pub(crate) sum: Sum,
}

impl BareReader {
    pub(crate) fn new(id: &[u8; 16], from: i64) -> BareReader {
        BareReader { seal: crc32fast::hash(id), next_offset: from, sum: Sum::default() }
    }

    /// Over what [`Bare`](super::Bare) has written.
    pub(crate) fn of_bare() -> BareReader {
        BareReader { seal: super::SEAL, next_offset: 0, sum: Sum::default() }
    }

    /// Header and checksums of all whole batches at the front of `bytes`, no record; how many bytes
    /// they take.
    pub(crate) fn check(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some((batch, _)) = self.checked(&bytes[at..]) {
            at += batch.len();
        }
        at
    }

    /// All whole batches at the front of `bytes`; how many bytes they take.
    #[inline]
    pub(crate) fn batches(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        while let Some(size) = self.batch(&bytes[at..]) {
            at += size;
        }
        at
    }

    /// The batch at the front of `bytes`, if it is whole: its size.
    #[inline(always)]
    pub(crate) fn batch(&mut self, bytes: &[u8]) -> Option<usize> {
        let (batch, base) = self.checked(bytes)?;
        self.records(batch, base, i64::MIN, i64::MAX);
        Some(batch.len())
    }

    /// One record of the batch at the front of `bytes`.
    #[inline(always)]
    pub(crate) fn one(&mut self, bytes: &[u8], offset: i64) {
        let (batch, base) = self.checked(bytes).unwrap();
        self.records(batch, base, offset, offset);
    }

    #[inline(always)]
    fn checked<'a>(&mut self, bytes: &'a [u8]) -> Option<(&'a [u8], i64)> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let size = be32(header, 8) as usize + 12;
        if size < HEADER_BYTES {
            // Zeros: nothing was ever written here.
            return None;
        }
        let batch = bytes.get(..size)?;
        let base = be64(header, 0);
        let mut hasher = crc32fast::Hasher::new_with_initial(self.seal);
        let mut place = [0; 16];
        place[..12].copy_from_slice(&header[..12]);
        place[12..].copy_from_slice(&header[17..21]);
        hasher.update(&place);
        let crc = super::crc32c::crc32c(&batch[21..]);
        let whole = header[16] == 2
            && hasher.finalize() | 0x8000_0000 == be32(header, 12)
            && crc == be32(header, 17)
            && base == self.next_offset;
        assert!(whole, "the limit meets a damaged batch");
        self.next_offset = base + i64::from(be32(header, 23)) + 1;
        Some((batch, base))
    }

    /// Walks the records up to `last` and takes in those from `first` on.
    #[inline(always)]
    fn records(&mut self, batch: &[u8], base: i64, first: i64, last: i64) {
        let header: &[u8; HEADER_BYTES] = batch.first_chunk().unwrap();
        let (time, count) = (be64(header, 27), be32(header, 57));
        let mut at = HEADER_BYTES;
        for _ in 0..count {
            let length = varint(batch, &mut at);
            let end = at + length as usize;
            at += 1;
            let time_delta = varint(batch, &mut at);
            let offset_delta = varint(batch, &mut at);
            let key = varint(batch, &mut at);
            at += key.max(0) as usize;
            let length = varint(batch, &mut at) as usize;
            let value = &batch[at..at + length];
            at += length;
            let headers = varint(batch, &mut at);
            assert!(headers == 0 && at == end, "the limit knows no headers");
            let offset = base + offset_delta;
            if offset >= first {
                self.sum.add(offset, time + time_delta, value);
            }
            if offset == last {
                return;
            }
        }
        assert!(at == batch.len(), "the records fill the batch");
    }
}

#[inline(always)]
fn varint(bytes: &[u8], at: &mut usize) -> i64 {
    let mut byte = bytes[*at];
    *at += 1;
    let mut raw = u64::from(byte & 0x7f);
    let mut shift = 7;
    while byte >= 0x80 {
        byte = bytes[*at];
        *at += 1;
        raw |= u64::from(byte & 0x7f) << shift;
        shift += 7;
    }
    (raw >> 1) as i64 ^ -((raw & 1) as i64)
}

fn be32(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_be_bytes(*header[at..].first_chunk().unwrap())
}

fn be64(header: &[u8; HEADER_BYTES], at: usize) -> i64 {
    i64::from_be_bytes(*header[at..].first_chunk().unwrap())
}

/// The segment files of a log, in order.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|found| found.unwrap().path());
    let mut logs: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    logs.sort();
    logs
}

pub(crate) fn map(path: &Path) -> Mmap {
    let file = File::open(path).unwrap();
    // SAFETY: a bench's own file, which nobody cuts while it is mapped.
    unsafe { MmapOptions::new().map(&file).unwrap() }
}

/// Reads a file from its start by `pread` of `buffer.len()` bytes at a time and hands them to
/// `take`, which says how many it has taken; what is cut off at a read's end is read again with the
/// next.
pub(crate) fn by_position(path: &Path, buffer: &mut [u8], mut take: impl FnMut(&[u8]) -> usize) {
    let file = File::open(path).unwrap();
    let mut at = 0;
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], at + filled as u64).unwrap() {
                0 => break,
                read => filled += read,
            }
        }
        let taken = take(&buffer[..filled]);
        if taken == 0 {
            return;
        }
        at += taken as u64;
    }
}

/// Writes a file out and drops it from the page cache.
pub(crate) fn drop_cached(dir: &Path) {
    use std::os::fd::AsRawFd;
    for path in segments(dir) {
        let file = File::open(path).unwrap();
        file.sync_all().unwrap();
        // SAFETY: the descriptor is open; no memory is passed.
        let failed =
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        assert_eq!(failed, 0);
    }
}
