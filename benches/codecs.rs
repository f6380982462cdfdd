//! What compression and encryption cost, beside the bare library over the same bytes, and what they
//! save, on batches of the example's telemetry.
//!
//! `cargo bench --all-features --bench codecs`. Log and library take turns, and each figure is the
//! median of its rounds. "codec" is what is left of an append or a read when the same of a plain
//! batch is taken off.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]

mod support;

use std::hint::black_box;
use std::io::{Read, Write};
use std::time::Instant;

use forebay::{Compression, Encryption, FlushPolicy, Log, LogOptions, OffsetSpec, RecordBatch};
use support::table::{fresh_dir, median};

const RECORDS: usize = 100;
const BATCHES: usize = 100;
const ROUNDS: usize = 15;

/// A reading as a machine sends it: 100 bytes, of which a part changes.
fn reading(number: usize) -> String {
    let wave = (number as f64 / 40.0).sin();
    let text = format!(
        "{{\"device\":\"engine-{}\",\"seq\":{number},\"celsius\":{:.2},\
         \"rpm\":{},\"bar\":{:.3},\"ok\":true}}",
        number % 4,
        71.0 + 9.0 * wave,
        1800 + number * 7919 % 97,
        2.4 + 0.2 * wave,
    );
    format!("{text:<100}")
}

fn batches() -> Vec<Vec<String>> {
    let batch = |at: usize| (at * RECORDS..(at + 1) * RECORDS).map(reading).collect();
    (0..BATCHES).map(batch).collect()
}

fn options() -> LogOptions {
    Log::options().flush(FlushPolicy::Manual)
}

/// Nanoseconds a record of appending everything to a new log, and of reading it back.
fn log_times(options: LogOptions, values: &[Vec<String>]) -> (f64, f64, Vec<RecordBatch>) {
    let dir = fresh_dir();
    let log = options.open(dir.path()).unwrap();
    let records = (RECORDS * BATCHES) as f64;
    let start = Instant::now();
    for batch in values {
        log.append_batch(batch.iter().map(String::as_str)).unwrap();
    }
    let append = start.elapsed().as_nanos() as f64 / records;
    let start = Instant::now();
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        for record in batch.unwrap().records() {
            black_box(record.unwrap().value());
        }
    }
    let read = start.elapsed().as_nanos() as f64 / records;
    let batches = log.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect();
    (append, read, batches)
}

/// Compresses by the library alone.
fn pack(by: Compression, plain: &[u8], zstd: &mut zstd::bulk::Compressor<'_>) -> Vec<u8> {
    let mut out = Vec::with_capacity(plain.len());
    match by {
        Compression::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::default());
            encoder.write_all(plain).unwrap();
            return encoder.finish().unwrap();
        }
        Compression::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(out);
            encoder.write_all(plain).unwrap();
            return encoder.finish().unwrap();
        }
        Compression::Snappy => {
            let mut encoder = snap::raw::Encoder::new();
            for block in plain.chunks(32 << 10) {
                out.extend_from_slice(&encoder.compress_vec(block).unwrap());
            }
        }
        _ => out = zstd.compress(plain).unwrap(),
    }
    out
}

fn unpack(by: Compression, packed: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(size);
    match by {
        Compression::Gzip => {
            flate2::bufread::GzDecoder::new(packed).read_to_end(&mut out).unwrap();
        }
        Compression::Lz4 => {
            lz4_flex::frame::FrameDecoder::new(packed).read_to_end(&mut out).unwrap();
        }
        Compression::Snappy => out = snap::raw::Decoder::new().decompress_vec(packed).unwrap(),
        _ => out = zstd::bulk::decompress(packed, size).unwrap(),
    }
    out
}

fn codec(by: Compression, level: Option<i32>, values: &[Vec<String>], plain: &[RecordBatch]) {
    let mut options = options().compression(by);
    if let Some(level) = level {
        options = options.compression_level(level);
    }
    let mut zstd = zstd::bulk::Compressor::new(level.unwrap_or(3)).unwrap();
    let bodies: Vec<_> = plain.iter().map(|batch| &batch.as_bytes()[61..]).collect();
    let (mut appends, mut packs, mut reads, mut unpacks) = (vec![], vec![], vec![], vec![]);
    let (mut appended, mut read, mut size) = (vec![], vec![], 0);
    let records = (RECORDS * BATCHES) as f64;
    for _ in 0..ROUNDS {
        let (plain_append, plain_read, _) = log_times(self::options(), values);
        let start = Instant::now();
        let packed: Vec<_> = bodies.iter().map(|body| pack(by, body, &mut zstd)).collect();
        packs.push(start.elapsed().as_nanos() as f64 / records);
        let (append, whole_read, batches) = log_times(options.clone(), values);
        let start = Instant::now();
        for (packed, body) in packed.iter().zip(&bodies) {
            black_box(unpack(by, packed, body.len()));
        }
        unpacks.push(start.elapsed().as_nanos() as f64 / records);
        appended.push(append);
        read.push(whole_read);
        appends.push(append - plain_append);
        reads.push(whole_read - plain_read);
        size = batches.iter().map(|batch| batch.as_bytes().len()).sum();
    }
    let before: usize = plain.iter().map(|batch| batch.as_bytes().len()).sum();
    let (pack, unpack) = (median(packs), median(unpacks));
    let (append, read_codec) = (median(appends), median(reads));
    println!(
        "| {}{} | {:.1} | {:.1} | {:.0} | {append:.0} | {pack:.0} | {:.2} | {:.0} | \
         {read_codec:.0} | {unpack:.0} | {:.2} |",
        by.name(),
        level.map_or(String::new(), |level| format!(" {level}")),
        before as f64 / size as f64,
        size as f64 / records,
        median(appended),
        pack / append,
        median(read),
        unpack / read_codec,
    );
}

fn encryption(values: &[Vec<String>]) {
    let encryption = Encryption::new(1, |_| Some([7; 32])).unwrap();
    let (mut seals, mut opens, mut bytes) = (vec![], vec![], 0.0);
    let records = (RECORDS * BATCHES) as f64;
    for _ in 0..ROUNDS {
        let (plain, _, before) = log_times(options(), values);
        let (sealed, _, batches) = log_times(options().encryption(&encryption), values);
        let start = Instant::now();
        for batch in &batches {
            for record in batch.records() {
                black_box(encryption.open(&record.unwrap()).unwrap());
            }
        }
        opens.push(start.elapsed().as_nanos() as f64 / records);
        seals.push(sealed - plain);
        let size =
            |batches: &[RecordBatch]| batches.iter().map(|it| it.as_bytes().len()).sum::<usize>();
        bytes = (size(&batches) - size(&before)) as f64 / records;
    }
    println!(
        "\nencryption of 100 bytes: {:.0} ns to seal, {:.0} ns to open, {bytes:.1} bytes more",
        median(seals),
        median(opens)
    );
}

fn main() {
    let values = batches();
    let (_, _, plain) = log_times(options(), &values);
    println!(
        "ns a record of 100 bytes, {RECORDS} a batch; library / codec is 1 where nothing is lost"
    );
    println!(
        "| codec | ratio | bytes a record | append | codec | library | library / codec | read | \
         codec | library | library / codec |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
    let codecs = [
        (Compression::Gzip, None),
        (Compression::Snappy, None),
        (Compression::Lz4, None),
        (Compression::Zstd, Some(1)),
        (Compression::Zstd, None),
    ];
    for (by, level) in codecs {
        codec(by, level, &values, &plain);
    }
    encryption(&values);
}
