//! Reading, each row beside its limit of the same run: in order with every check and every record
//! decoded, from maps that are there, from the page cache, from the device; and single records at
//! random.
//!
//! `cargo bench --bench read -- --ratios [PART-OF-NAME]`. Log and limit take turns, read the same
//! files and are seen to have read the same records.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]

mod support;

use std::path::Path;
use std::time::Instant;

use forebay::{FlushPolicy, IoMode, Log, NewRecord, Offset, OffsetSpec, Timestamp};
use memmap2::Mmap;
use support::bare_read::{BareReader, Sum, by_position, drop_cached, map, segments};
use support::table::{Pair, Random, filter, fresh_dir, pairs};

/// What a log holds: records of one size in batches of one size.
#[derive(Clone, Copy)]
struct Shape {
    name: &'static str,
    value_bytes: usize,
    batch: usize,
}

const SHAPES: [Shape; 3] = [
    Shape { name: "1KiB", value_bytes: 1024, batch: 1 },
    Shape { name: "100B", value_bytes: 100, batch: 1 },
    Shape { name: "100x100B", value_bytes: 100, batch: 100 },
];

const MODES: [(&str, IoMode); 2] = [("mapped", IoMode::Mapped), ("positioned", IoMode::Positioned)];

/// Four segments: more than the processor's caches near the core hold.
const IN_ORDER_BYTES: u64 = 64 << 20;
/// Sixteen segments.
const RANDOM_BYTES: u64 = 256 << 20;
const LOOKUPS: usize = 20_000;
/// Of the first record, in milliseconds.
const FIRST_TIME: i64 = 1_700_000_000_000;

/// Makes a log of whole segments with a record a millisecond, and closes it.
fn make(dir: &Path, shape: Shape, bytes: u64) {
    let options = Log::options().flush(FlushPolicy::Manual).io_mode(IoMode::Positioned);
    let log = options.open(dir).unwrap();
    let value = vec![b'x'; shape.value_bytes];
    let size = (61 + shape.batch * (shape.value_bytes + 9)) as u64;
    for batch in 0..bytes / size {
        let at = batch * shape.batch as u64;
        let records = (at..at + shape.batch as u64).map(|n| {
            let time = Timestamp::from_millis(FIRST_TIME + n as i64);
            NewRecord::new(value.as_slice()).timestamp(time)
        });
        log.append_batch(records).unwrap();
    }
    log.close().unwrap();
}

fn open(dir: &Path, mode: IoMode) -> Log {
    Log::options().flush(FlushPolicy::Manual).io_mode(mode).open(dir).unwrap()
}

/// Nanoseconds a record of reading everything with the iterator.
fn log_pass(log: &Log, sum: &mut Sum) -> f64 {
    *sum = Sum::default();
    let start = Instant::now();
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        for record in batch.unwrap().records() {
            let record = record.unwrap();
            sum.add(record.offset().get(), record.timestamp().millis(), record.value());
        }
    }
    start.elapsed().as_nanos() as f64 / sum.records as f64
}

/// The same over maps that are there.
fn bare_pass(maps: &[Mmap], id: &[u8; 16], sum: &mut Sum) -> f64 {
    let start = Instant::now();
    let mut reader = BareReader::new(id, 0);
    for map in maps {
        reader.batches(map);
    }
    *sum = reader.sum;
    start.elapsed().as_nanos() as f64 / sum.records as f64
}

/// The same by `pread` into one buffer.
fn bare_positioned(dir: &Path, id: &[u8; 16], buffer: &mut [u8], sum: &mut Sum) -> f64 {
    let start = Instant::now();
    let mut reader = BareReader::new(id, 0);
    for path in segments(dir) {
        by_position(&path, buffer, |bytes| reader.batches(bytes));
    }
    *sum = reader.sum;
    start.elapsed().as_nanos() as f64 / sum.records as f64
}

fn print(name: &str, shape: Shape, pair: &Pair) {
    let rate = |time: f64| shape.value_bytes as f64 / time;
    println!(
        "| {name} | {:.1} | {:.1} | {:.2} | {:.1} | {:.1} |",
        pair.log,
        pair.limit,
        pair.ratio,
        rate(pair.log),
        rate(pair.limit)
    );
}

/// Everything is in memory, and where it is mapped, in the page tables.
fn warm(shape: Shape, dir: &Path, wanted: &impl Fn(&str) -> bool) {
    for (mode_name, mode) in MODES {
        let name = format!("warm/{}/{mode_name}", shape.name);
        if !wanted(&name) {
            continue;
        }
        let log = open(dir, mode);
        let id = *log.id().as_bytes();
        let (mut read, mut bare) = (Sum::default(), Sum::default());
        let maps: Vec<_> = segments(dir).iter().map(|path| map(path)).collect();
        let mut buffer = vec![0; 64 << 10];
        let pair = pairs(
            31,
            || log_pass(&log, &mut read),
            || match mode {
                IoMode::Mapped => bare_pass(&maps, &id, &mut bare),
                _ => bare_positioned(dir, &id, &mut buffer, &mut bare),
            },
        );
        assert_eq!(read, bare);
        print(&name, shape, &pair);
    }
}

/// The log was just opened; its files are in the page cache, or only on the device. The limit reads
/// a megabyte at a time.
fn first(shape: Shape, dir: &Path, cold: bool, wanted: &impl Fn(&str) -> bool) {
    for (mode_name, mode) in MODES {
        let temperature = if cold { "cold" } else { "opened" };
        let name = format!("{temperature}/{}/{mode_name}", shape.name);
        if !wanted(&name) {
            continue;
        }
        let id = *open(dir, mode).id().as_bytes();
        let (mut read, mut bare) = (Sum::default(), Sum::default());
        let mut buffer = vec![0; 1 << 20];
        let make_cold = || {
            if cold {
                drop_cached(dir);
            }
        };
        let pair = pairs(
            if cold { 7 } else { 15 },
            || {
                make_cold();
                let log = open(dir, mode);
                log_pass(&log, &mut read)
            },
            || {
                make_cold();
                bare_positioned(dir, &id, &mut buffer, &mut bare)
            },
        );
        assert_eq!(read, bare);
        print(&name, shape, &pair);
    }
}

/// A record that is looked up: its offset, and where its batch lies.
struct Wanted {
    offset: i64,
    base: i64,
    segment: usize,
    position: usize,
}

/// Walks the files once to know where everything is.
fn places(maps: &[Mmap], id: &[u8; 16], shape: Shape) -> Vec<Wanted> {
    let mut batches = Vec::new();
    let mut reader = BareReader::new(id, 0);
    for (segment, map) in maps.iter().enumerate() {
        let mut position = 0;
        loop {
            let base = reader.next_offset;
            let Some(size) = reader.batch(&map[position..]) else { break };
            batches.push((base, segment, position));
            position += size;
        }
    }
    let mut random = Random(88_172_645_463_325_252);
    let mut any = || {
        let (base, segment, position) = batches[random.below(batches.len() as u64) as usize];
        let offset = base + random.below(shape.batch as u64) as i64;
        Wanted { offset, base, segment, position }
    };
    (0..LOOKUPS).map(|_| any()).collect()
}

/// By what a record is looked up. The n-th record has the time of the n-th millisecond.
#[derive(Clone, Copy)]
enum By {
    Offset,
    Timestamp,
}

/// Nanoseconds a lookup of one record by seeking to it.
fn log_lookups(log: &Log, by: By, wanted: &[Wanted], sum: &mut Sum) -> f64 {
    *sum = Sum::default();
    let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
    let start = Instant::now();
    for one in wanted {
        let spec = match by {
            By::Offset => OffsetSpec::At(Offset::new(one.offset)),
            By::Timestamp => OffsetSpec::Timestamp(Timestamp::from_millis(FIRST_TIME + one.offset)),
        };
        reader.seek(spec).unwrap();
        let batch = reader.next().unwrap().unwrap();
        let record = batch.records().next().unwrap().unwrap();
        sum.add(record.offset().get(), record.timestamp().millis(), record.value());
    }
    start.elapsed().as_nanos() as f64 / wanted.len() as f64
}

/// The same where the place is known: header, checksums, records up to the end of the batch.
fn bare_lookups(maps: &[Mmap], id: &[u8; 16], wanted: &[Wanted], sum: &mut Sum) -> f64 {
    let mut reader = BareReader::new(id, 0);
    let start = Instant::now();
    for one in wanted {
        reader.next_offset = one.base;
        let map = &maps[one.segment];
        reader.one(&map[one.position..], one.offset);
    }
    *sum = reader.sum;
    start.elapsed().as_nanos() as f64 / wanted.len() as f64
}

/// The same by one `pread` of the header and one of the whole batch.
fn bare_lookups_positioned(dir: &Path, id: &[u8; 16], wanted: &[Wanted], sum: &mut Sum) -> f64 {
    use std::os::unix::fs::FileExt;
    let files: Vec<_> = segments(dir).iter().map(|p| std::fs::File::open(p).unwrap()).collect();
    let mut reader = BareReader::new(id, 0);
    let mut buffer = vec![0; 64 << 10];
    let start = Instant::now();
    for one in wanted {
        reader.next_offset = one.base;
        let file = &files[one.segment];
        file.read_exact_at(&mut buffer[..61], one.position as u64).unwrap();
        let size = 12 + u32::from_be_bytes(*buffer[8..].first_chunk().unwrap()) as usize;
        file.read_exact_at(&mut buffer[61..size], one.position as u64 + 61).unwrap();
        reader.one(&buffer[..size], one.offset);
    }
    *sum = reader.sum;
    start.elapsed().as_nanos() as f64 / wanted.len() as f64
}

fn lookups(shape: Shape, dir: &Path, wanted: &impl Fn(&str) -> bool) {
    let by = [("offset", By::Offset), ("time", By::Timestamp)];
    for ((mode_name, mode), (by_name, by)) in MODES.into_iter().flat_map(|m| by.map(|b| (m, b))) {
        let name = format!("by {by_name}/{}/{mode_name}", shape.name);
        if !wanted(&name) {
            continue;
        }
        let log = open(dir, mode);
        let id = *log.id().as_bytes();
        let maps: Vec<_> = segments(dir).iter().map(|path| map(path)).collect();
        let places = places(&maps, &id, shape);
        let (mut read, mut bare) = (Sum::default(), Sum::default());
        let pair = pairs(
            9,
            || log_lookups(&log, by, &places, &mut read),
            || match mode {
                IoMode::Mapped => bare_lookups(&maps, &id, &places, &mut bare),
                _ => bare_lookups_positioned(dir, &id, &places, &mut bare),
            },
        );
        assert_eq!(read, bare);
        println!("| {name} | {:.0} | {:.0} | {:.2} |", pair.log, pair.limit, pair.ratio);
    }
}

fn main() {
    let wanted = filter();
    println!("| in order, ns a record | log | limit | ratio | log, GB/s of values | limit |");
    println!("|---|--:|--:|--:|--:|--:|");
    for shape in SHAPES {
        let dir = fresh_dir();
        make(dir.path(), shape, IN_ORDER_BYTES);
        warm(shape, dir.path(), &wanted);
        first(shape, dir.path(), false, &wanted);
        first(shape, dir.path(), true, &wanted);
    }
    println!("\n| one record at random, ns | log | limit | ratio |\n|---|--:|--:|--:|");
    for shape in SHAPES {
        let dir = fresh_dir();
        make(dir.path(), shape, RANDOM_BYTES);
        lookups(shape, dir.path(), &wanted);
    }
}
