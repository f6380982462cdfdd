//! The oracle's own reading of a log's files, from what `docs/format.md` says of them.

use std::collections::BTreeMap;
use std::ops::Range;

use forebay::simulation::Disk;

/// Where every workload has its log.
pub(crate) const DIR: &str = "/log";

/// The files of a log, as they are on a disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) files: BTreeMap<String, Vec<u8>>,
}

/// What one segment file holds: the whole batches from its start on.
#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) name: String,
    /// Offsets and places of its batches.
    pub(crate) batches: Vec<(Range<i64>, Range<usize>)>,
}

/// The slot of the checkpoint that counts.
#[derive(Clone, Debug)]
pub(crate) struct Slot {
    pub(crate) clean: bool,
    pub(crate) number: u64,
    pub(crate) id: [u8; 16],
    pub(crate) start: i64,
    pub(crate) recovery_point: i64,
    /// Of a clean close: the last segment's base and bytes, and the checksum over its indexes.
    pub(crate) last: (i64, i64, u32),
    /// Copies of ends of segments: base, position and bytes. The first two are put back.
    pub(crate) tails: Vec<(i64, usize, Vec<u8>)>,
    /// From where to where segments were merged last.
    merged: Option<(i64, i64)>,
}

/// Where the chain of whole batches ends, and what lies behind.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    pub(crate) segments: Vec<Segment>,
    /// One past the last record of the chain.
    pub(crate) end: i64,
    /// Bytes behind the chain, trailing zeros of each file left out.
    pub(crate) bytes_behind: u64,
    /// Records of whole batches behind the chain.
    pub(crate) records_behind: u64,
    /// Segments that lie wholly behind it.
    pub(crate) segments_behind: u64,
    /// Segments that lie wholly below the log start.
    pub(crate) segments_below: u64,
    /// Segments that were merged into the one before them, and are left over.
    pub(crate) segments_merged: u64,
    /// The files that what lies behind has to be found in afterwards, without trailing zeros.
    pub(crate) asides: BTreeMap<String, Vec<u8>>,
}

impl Image {
    pub(crate) fn take(disk: &Disk) -> Image {
        Image::of(disk, DIR)
    }

    /// The files of the log in `dir`.
    pub(crate) fn of(disk: &Disk, dir: &str) -> Image {
        let read = |name: String| {
            let bytes = disk.read_file(format!("{dir}/{name}"))?;
            Some((name, bytes))
        };
        Image { files: disk.file_names(dir).into_iter().filter_map(read).collect() }
    }

    /// The names of segment files and their bases, in order.
    pub(crate) fn segment_names(&self) -> Vec<(String, i64)> {
        self.files.keys().filter_map(|name| Some((name.clone(), segment_base(name)?))).collect()
    }

    /// The whole slot with the highest number.
    pub(crate) fn slot(&self) -> Option<Slot> {
        let file = self.files.get("checkpoint")?;
        let slots = file.chunks_exact((file.len() / 6).max(1)).filter_map(slot);
        slots.max_by_key(|slot| slot.number)
    }

    /// Whether the log's files are as the clean close left them that the slot tells of; its indexes
    /// are caches, and were not synced.
    pub(crate) fn is_closed(&self, slot: &Slot) -> bool {
        let last = self.segment_names().pop();
        let there = last.map(|(name, base)| (base, self.files[&name].len() as i64));
        slot.clean && there == Some((slot.last.0, slot.last.1))
    }

    /// Whether they are as that close left them, indexes included: then nothing has to be read.
    /// Where there was no room for them they are not there.
    pub(crate) fn is_clean(&self, slot: &Slot) -> bool {
        let Some((name, _)) = self.segment_names().pop() else { return false };
        let indexes = ["index", "timeindex"].map(|kind| name.replace("log", kind));
        let [Some(index), Some(times)] = indexes.map(|name| self.files.get(&name)) else {
            return false;
        };
        let found = [index.as_slice(), times].concat();
        self.is_closed(slot) && crc(&CRC_32, &found) == slot.last.2
    }

    /// Puts back what the slot has copies of, as a recovery does where nothing was closed; how many
    /// ends that changed.
    pub(crate) fn restore(&mut self, slot: &Slot) -> u64 {
        let mut restored = 0;
        for (base, position, bytes) in slot.tails.iter().take(2) {
            let Some(file) = self.files.get_mut(&format!("{base:020}.log")) else { continue };
            let end = position + bytes.len();
            if file.get(*position..end) != Some(bytes.as_slice()) {
                file.resize(file.len().max(end), 0);
                file[*position..end].copy_from_slice(bytes);
                restored += 1;
            }
        }
        restored
    }

    /// Slots of the checkpoint that were written once and are not whole.
    pub(crate) fn slots_damaged(&self) -> u64 {
        let Some(file) = self.files.get("checkpoint") else { return 0 };
        let unused = [b"FBC0".as_slice(), &crc(&CRC_32, b"FBC0").to_be_bytes()].concat();
        let slots = file.chunks_exact((file.len() / 6).max(1));
        let damaged = |bytes: &&[u8]| slot(bytes).is_none() && !bytes.starts_with(&unused);
        slots.filter(damaged).count() as u64
    }

    /// What recoveries have set aside.
    pub(crate) fn asides(&self) -> BTreeMap<&str, &[u8]> {
        let asides = self.files.iter().filter(|(name, _)| name.ends_with(".aside"));
        asides.map(|(name, bytes)| (name.as_str(), without_zeros(bytes))).collect()
    }

    /// Follows the batches from the segment that holds `start` on.
    pub(crate) fn chain(&self, slot: &Slot) -> Chain {
        let (id, start) = (&slot.id, slot.start);
        let mut names = self.segment_names();
        let all = names.len();
        self.leave_out_merged(&mut names, slot);
        let segments_merged = (all - names.len()) as u64;
        let first = names.partition_point(|(_, base)| *base <= start).saturating_sub(1);
        // A first segment above the start hangs on nothing.
        let end = names.get(first).map_or(start, |(_, base)| start.min(*base));
        let segments_below = first as u64;
        let mut chain = Chain { end, segments_below, segments_merged, ..Chain::default() };
        let mut broken = false;
        let mut tails = Vec::new();
        for (name, base) in names.into_iter().skip(first) {
            let bytes = &self.files[&name];
            broken |= base != chain.end;
            let mut used = 0;
            let mut batches = Vec::new();
            while let Some(length) = whole(&bytes[used..], id).filter(|_| !broken) {
                if base_of(&bytes[used..]) != chain.end {
                    break;
                }
                let next = chain.end + i64::from(i32_at(bytes, used + 23)) + 1;
                batches.push((chain.end..next, used..used + length));
                chain.end = next;
                used += length;
            }
            let behind = without_zeros(&bytes[used..]);
            chain.bytes_behind += behind.len() as u64;
            // What a block shows of a file that was replaced is not what was cut here.
            tails.push((&bytes[used..], base));
            let whole = broken && batches.is_empty();
            if whole || !behind.is_empty() {
                let name = format!("{:020}-{base:020}.aside", chain.end);
                chain.asides.insert(name, behind.to_vec());
            }
            if whole {
                chain.segments_behind += 1;
            } else {
                chain.segments.push(Segment { name, batches });
            }
            broken |= !behind.is_empty();
        }
        let end = chain.end;
        let records = |(tail, from): (&[u8], i64)| records_in(tail, id, from.max(end));
        chain.records_behind = tails.into_iter().map(records).sum();
        chain
    }

    /// Leaves out the files that were merged into the one before them: the slot says from where to
    /// where that was, and the first of them reaches over the next one's base, once it is in place.
    fn leave_out_merged(&self, names: &mut Vec<(String, i64)>, slot: &Slot) {
        let Some((from, to)) = slot.merged else { return };
        let is_merged = |base: i64| from < base && base < to;
        let Some(next) = names.iter().map(|(_, base)| *base).find(|base| is_merged(*base)) else {
            return;
        };
        let Some(bytes) = self.files.get(&format!("{from:020}.log")) else { return };
        let (mut end, mut used) = (from, 0);
        while let Some(length) = whole(&bytes[used..], &slot.id) {
            if base_of(&bytes[used..]) != end {
                break;
            }
            end += i64::from(i32_at(bytes, used + 23)) + 1;
            used += length;
        }
        if end > next {
            names.retain(|(_, base)| !is_merged(*base));
        }
    }
}

/// The base offset that a segment file's name says.
pub(crate) fn segment_base(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20).then(|| digits.parse().ok())?
}

fn without_zeros(bytes: &[u8]) -> &[u8] {
    let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    &bytes[..used]
}

/// The length of the whole batch that `bytes` begin with: length, seal and checksum agree.
pub(crate) fn whole(bytes: &[u8], id: &[u8; 16]) -> Option<usize> {
    if bytes.len() < 61 || bytes[16] != 2 || bytes[12] & 0x80 == 0 {
        return None;
    }
    let length = usize::try_from(i32_at(bytes, 8)).ok()?.checked_add(12)?;
    let sealed = [id.as_slice(), &bytes[0..8], &bytes[8..12], &bytes[17..21]].concat();
    let seal = 0x8000_0000 | crc(&CRC_32, &sealed);
    let fits = length >= 61 && length <= bytes.len() && u32_at(bytes, 12) == seal;
    (fits && crc(&CRC_32C, &bytes[21..length]) == u32_at(bytes, 17)).then_some(length)
}

/// The records of all whole batches in `bytes`, wherever they begin, from an offset on: older ones
/// are what a deleted file left in its blocks.
fn records_in(bytes: &[u8], id: &[u8; 16], from: i64) -> u64 {
    let mut at = 0;
    let mut records = 0;
    while at + 61 <= bytes.len() {
        match whole(&bytes[at..], id) {
            Some(length) => {
                let counts = base_of(&bytes[at..]) >= from;
                records += if counts { u64::from(u32_at(bytes, at + 57)) } else { 0 };
                at += length;
            }
            None => at += 1,
        }
    }
    records
}

fn slot(bytes: &[u8]) -> Option<Slot> {
    if !bytes.starts_with(b"FBCK") || bytes.len() < 12 {
        return None;
    }
    let length = usize::try_from(u32_at(bytes, 8)).ok()?;
    let body = bytes.get(..length.checked_sub(4)?)?;
    if bytes.len() < length || length < 176 || crc(&CRC_32, body) != u32_at(bytes, length - 4) {
        return None;
    }
    let (tails, rest) = tails(body);
    // Flag 256: how far the log was compacted comes behind the copies.
    let compacted = bytes[6] & 1 != 0;
    let most = if compacted { 25 + 16 * usize::from(body[rest + 24]) } else { 0 };
    assert_eq!(rest + most, body.len(), "a slot ends behind its copies and its compactions");
    let merged = compacted.then(|| (i64_at(body, rest + 8), i64_at(body, rest + 16)));
    Some(Slot {
        clean: bytes[7] & 1 != 0,
        number: i64_at(bytes, 12) as u64,
        id: bytes[20..36].try_into().ok()?,
        start: i64_at(bytes, 52),
        recovery_point: i64_at(bytes, 60),
        last: (i64_at(bytes, 84), i64_at(bytes, 92), u32_at(bytes, 100)),
        tails,
        merged,
    })
}

/// The copies of ends in a whole slot, behind the samples of the clock and the consumers; and what
/// comes behind them.
fn tails(body: &[u8]) -> (Vec<(i64, usize, Vec<u8>)>, usize) {
    let mut at = 169 + usize::from(body[168]) * 16;
    let consumers = u16::from_be_bytes([body[at], body[at + 1]]);
    at += 2;
    for _ in 0..consumers {
        let has_metadata = body[at + 8] & 2 != 0;
        at += 10 + usize::from(body[at + 9]);
        at += if has_metadata { 1 + usize::from(body[at]) } else { 0 };
    }
    let count = body[at];
    at += 1;
    let mut tails = Vec::new();
    for _ in 0..count {
        let length = u32_at(body, at + 16) as usize;
        let bytes = body[at + 20..at + 20 + length].to_vec();
        tails.push((i64_at(body, at), i64_at(body, at + 8) as usize, bytes));
        at += 20 + length;
    }
    (tails, at)
}

pub(crate) fn base_of(bytes: &[u8]) -> i64 {
    i64_at(bytes, 0)
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(bytes[at..at + 4].try_into().unwrap())
}

type Tables = [[u32; 256]; 8];

static CRC_32C: Tables = tables(0x82f6_3b78);
static CRC_32: Tables = tables(0xedb8_8320);

/// For eight bytes at a time.
const fn tables(polynomial: u32) -> Tables {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 != 0 { polynomial } else { 0 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        table += 1;
    }
    tables
}

fn crc(tables: &Tables, bytes: &[u8]) -> u32 {
    let mut crc = !0_u32;
    let mut words = bytes.chunks_exact(8);
    for word in &mut words {
        let low = crc ^ u32::from_le_bytes(word[..4].try_into().unwrap());
        let at = |table: usize, byte: u32| tables[table][(byte & 0xff) as usize];
        crc = at(7, low) ^ at(6, low >> 8) ^ at(5, low >> 16) ^ at(4, low >> 24);
        for (table, byte) in [3, 2, 1, 0].into_iter().zip(&word[4..]) {
            crc ^= at(table, u32::from(*byte));
        }
    }
    for byte in words.remainder() {
        crc = (crc >> 8) ^ tables[0][((crc ^ u32::from(*byte)) & 0xff) as usize];
    }
    !crc
}

/// The two checksums are those of the published check values.
#[test]
fn the_oracles_checksums_are_the_standard_ones() {
    assert_eq!(crc(&CRC_32, b"123456789"), 0xcbf4_3926);
    assert_eq!(crc(&CRC_32C, b"123456789"), 0xe306_9283);
}
