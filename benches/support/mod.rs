//! The limits forebay is measured against: bare loops that do what an append cannot do without.
//!
//! The append limit creates, cuts, maps and populates the same segments in the same steps as the
//! log, encodes one batch into a hot buffer, computes its two checksums, takes one lock, reads one
//! coarse clock, copies into the map and stores the new end with Release. It has no bounds, no
//! index, no options and no waiters.
#![expect(unsafe_code, reason = "the bare loop stores into a raw map and calls fallocate")]
#![allow(dead_code, reason = "each bench uses a part")]

pub(crate) mod bare_read;
// The limit has the log's own checksum: with a slower one it would be no limit.
#[path = "../../src/sys/crc32c.rs"]
mod crc32c;
pub(crate) mod table;

use std::fs::{File, OpenOptions};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memmap2::{Advice, MmapOptions, MmapRaw};
use parking_lot::Mutex;

/// The log's default.
pub(crate) const SEGMENT_BYTES: usize = 16 << 20;
const PAGE: usize = 4096;
/// What the bare loop's seals start from.
const SEAL: u32 = 0x1234_5678;

/// The bare counterpart of a log.
pub(crate) struct Bare {
    dir: PathBuf,
    writer: Mutex<BareWriter>,
    published: AtomicUsize,
}

struct BareWriter {
    file: File,
    /// `None`: the same by `pwrite`.
    map: Option<MmapRaw>,
    position: usize,
    allocated: usize,
    populated: usize,
    written: usize,
    next_offset: i64,
}

impl Bare {
    /// Makes the first segment, as opening a log does.
    pub(crate) fn new(dir: &Path, mapped: bool) -> Bare {
        let writer = segment(dir, 0, mapped, 64 << 10);
        Bare { dir: dir.to_path_buf(), writer: Mutex::new(writer), published: AtomicUsize::new(0) }
    }

    /// One append of an encoded batch.
    pub(crate) fn append(&self, buffer: &mut Vec<u8>, records: &[&[u8]]) {
        let now = coarse_clock();
        encode(buffer, records, now);
        let mut writer = self.writer.lock();
        if writer.position + buffer.len() > SEGMENT_BYTES {
            writer.roll(&self.dir);
        }
        stamp(buffer, writer.next_offset);
        writer.next_offset += records.len() as i64;
        let end = writer.position + buffer.len();
        writer.make_ready(end);
        match &writer.map {
            Some(map) => {
                // SAFETY: `make_ready` reserved and populated the pages up to `end` in the map.
                let target = unsafe { map.as_mut_ptr().add(writer.position) };
                // SAFETY: as above; the buffer is another allocation.
                unsafe { std::ptr::copy_nonoverlapping(buffer.as_ptr(), target, buffer.len()) };
            }
            None => writer.file.write_all_at(buffer, writer.position as u64).unwrap(),
        }
        writer.position = end;
        writer.written += buffer.len();
        self.published.store(end, Ordering::Release);
    }
}

impl Bare {
    /// Up to where the first segment is written.
    pub(crate) fn published(&self) -> usize {
        self.published.load(Ordering::Acquire)
    }

    /// The first segment, for a reader beside the writer.
    pub(crate) fn source(&self) -> Source {
        let writer = self.writer.lock();
        let mapped = writer.map.is_some();
        let file = writer.file.try_clone().unwrap();
        let map = mapped.then(|| MmapOptions::new().len(SEGMENT_BYTES).map_raw_read_only(&file));
        Source { file, map: map.map(Result::unwrap) }
    }
}

/// Where a bare reader finds the bytes.
pub(crate) struct Source {
    file: File,
    map: Option<MmapRaw>,
}

impl Source {
    /// Published bytes: in the map, or read into `buffer`.
    pub(crate) fn bytes<'a>(&'a self, range: Range<usize>, buffer: &'a mut [u8]) -> &'a [u8] {
        let length = range.end - range.start;
        let Some(map) = &self.map else {
            let into = &mut buffer[..length];
            self.file.read_exact_at(into, range.start as u64).unwrap();
            return into;
        };
        assert!(range.end <= map.len());
        // SAFETY: inside the map, checked above.
        let start = unsafe { map.as_ptr().add(range.start) };
        // SAFETY: inside the map and below the published end, where nobody stores again.
        unsafe { std::slice::from_raw_parts(start, length) }
    }
}

impl BareWriter {
    fn roll(&mut self, dir: &Path) {
        let mapped = self.map.is_some();
        let (written, offset) = (self.written, self.next_offset);
        self.file.set_len(self.position as u64).unwrap();
        *self = segment(dir, offset, mapped, SEGMENT_BYTES);
        (self.written, self.next_offset) = (written, offset);
    }

    #[inline]
    fn make_ready(&mut self, end: usize) {
        if end > self.populated {
            self.prepare(end);
        }
    }

    #[cold]
    fn prepare(&mut self, end: usize) {
        if end > self.allocated {
            let to = (self.allocated * 2).max(end).min(SEGMENT_BYTES);
            fallocate(&self.file, self.allocated, to);
            self.allocated = to;
        }
        let Some(map) = &self.map else {
            self.populated = self.allocated;
            return;
        };
        let window = (self.written / 8).clamp(PAGE, 1 << 20);
        let until = (end + window).next_multiple_of(PAGE).min(self.allocated);
        map.advise_range(Advice::PopulateWrite, self.populated, until - self.populated).unwrap();
        self.populated = until;
    }
}

fn segment(dir: &Path, base: i64, mapped: bool, allocate: usize) -> BareWriter {
    let path = dir.join(format!("{base:020}.log"));
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap();
    fallocate(&file, 0, allocate);
    let map = mapped.then(|| MmapOptions::new().len(SEGMENT_BYTES).map_raw(&file).unwrap());
    BareWriter {
        file,
        map,
        position: 0,
        allocated: allocate,
        populated: 0,
        written: 0,
        next_offset: 0,
    }
}

fn fallocate(file: &File, from: usize, to: usize) {
    // SAFETY: the descriptor is open; no memory is passed.
    let failed = unsafe { libc::fallocate(file.as_raw_fd(), 0, from as i64, (to - from) as i64) };
    assert_eq!(failed, 0, "no space");
}

/// Milliseconds of the coarse wall clock.
fn coarse_clock() -> i64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_REALTIME_COARSE, &raw mut now) };
    now.tv_sec * 1000 + now.tv_nsec / 1_000_000
}

/// A batch of records without key and headers, all at the same time.
#[inline]
fn encode(out: &mut Vec<u8>, records: &[&[u8]], now: i64) {
    out.clear();
    out.extend_from_slice(&[0; 61]);
    for (delta, value) in records.iter().enumerate() {
        let fixed = 5 + varint_bytes(delta) + varint_bytes(value.len());
        let mut head = [0_u8; 24];
        let mut at = put_varint(&mut head, 0, fixed - 1 + value.len());
        at += 2; // attributes and timestamp delta, both 0
        at = put_varint(&mut head, at, delta);
        head[at] = 1; // no key
        at = put_varint(&mut head, at + 1, value.len());
        out.extend_from_slice(&head[..at]);
        out.extend_from_slice(value);
        out.push(0);
    }
    let length = (out.len() - 12) as i32;
    let mut header = [0_u8; 61];
    header[8..12].copy_from_slice(&length.to_be_bytes());
    header[16] = 2;
    header[23..27].copy_from_slice(&(records.len() as i32 - 1).to_be_bytes());
    header[27..35].copy_from_slice(&now.to_be_bytes());
    header[35..43].copy_from_slice(&now.to_be_bytes());
    header[43..57].fill(0xff);
    header[57..61].copy_from_slice(&(records.len() as i32).to_be_bytes());
    out[..61].copy_from_slice(&header);
    let crc = crc32c::crc32c(&out[21..]);
    out[17..21].copy_from_slice(&crc.to_be_bytes());
}

/// The second checksum: the seal.
#[inline]
fn stamp(batch: &mut [u8], base_offset: i64) {
    let mut place = [0_u8; 16];
    place[..8].copy_from_slice(&base_offset.to_be_bytes());
    place[8..12].copy_from_slice(&batch[8..12]);
    place[12..].copy_from_slice(&batch[17..21]);
    let mut hasher = crc32fast::Hasher::new_with_initial(SEAL);
    hasher.update(&place);
    batch[..8].copy_from_slice(&place[..8]);
    batch[12..16].copy_from_slice(&(hasher.finalize() | 0x8000_0000).to_be_bytes());
}

#[inline]
fn varint_bytes(value: usize) -> usize {
    match value {
        0..=63 => 1,
        64..=8191 => 2,
        _ => 3,
    }
}

#[inline]
fn put_varint(out: &mut [u8; 24], mut at: usize, value: usize) -> usize {
    let mut rest = value << 1;
    while rest >= 0x80 {
        out[at] = (rest & 0x7f | 0x80) as u8;
        rest >>= 7;
        at += 1;
    }
    out[at] = rest as u8;
    at + 1
}

/// How often a second a written preallocated file can be synced, one 171-byte write each.
pub(crate) fn raw_sync_rate(dir: &Path, time: Duration) -> f64 {
    let path = dir.join("raw");
    let file = OpenOptions::new().read(true).write(true).create_new(true).open(&path).unwrap();
    fallocate(&file, 0, SEGMENT_BYTES);
    file.sync_all().unwrap();
    let (record, start) = ([7_u8; 171], Instant::now());
    let mut syncs = 0_u64;
    while start.elapsed() < time {
        file.write_all_at(&record, syncs * 171 % (SEGMENT_BYTES as u64 - 171)).unwrap();
        file.sync_data().unwrap();
        syncs += 1;
    }
    let rate = syncs as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_file(path).unwrap();
    rate
}
