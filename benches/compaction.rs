//! What compacting a log costs, as a ratio to copying the same segments with their checksums
//! checked: the least that anything can do which writes them anew.
//!
//! `cargo bench --bench compaction [-- PART-OF-NAME]`. Each row fills a log with 192 MiB of records
//! whose keys come again, copies its sealed segments (read, CRC-32C of every batch, written,
//! synced) and compacts it, three times; medians. The goal is a ratio of 0.5.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]

#[path = "support/table.rs"]
#[allow(dead_code, reason = "each bench uses a part")]
mod table;

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use forebay::{Cleanup, FlushPolicy, IoMode, Log, NewRecord};
use table::{filter, fresh_dir, median};

const BYTES: usize = 192 << 20;
const RUNS: usize = 3;

/// Records of so many bytes, so many a batch, each key so often.
const SHAPES: [(&str, usize, usize, usize); 5] = [
    ("1 KiB, single, each key twice", 1024, 1, 2),
    ("1 KiB, single, each key 20 times", 1024, 1, 20),
    ("1 KiB, 16 a batch, each key twice", 1024, 16, 2),
    ("100 B, 100 a batch, each key twice", 100, 100, 2),
    ("100 B, 100 a batch, each key 20 times", 100, 100, 20),
];

fn main() {
    let wanted = filter();
    println!("| records | copied, MB/s | compacted, MB/s | ratio | left |");
    println!("|---|--:|--:|--:|--:|");
    for (mode_name, mode) in [("mapped", IoMode::Mapped), ("positioned", IoMode::Positioned)] {
        for (name, bytes, batch, times) in SHAPES {
            let name = format!("{name}/{mode_name}");
            if wanted(&name) {
                row(&name, mode, (bytes, batch, times));
            }
        }
    }
}

fn row(name: &str, mode: IoMode, shape: (usize, usize, usize)) {
    let (mut copied, mut compacted, mut ratios, mut left) = (vec![], vec![], vec![], 0.0);
    for _ in 0..RUNS {
        let dir = fresh_dir();
        let log = fill(dir.path(), mode, shape);
        let (seconds, bytes) = copy(dir.path());
        let megabytes = bytes as f64 / 1e6;
        let started = Instant::now();
        let report = log.compact().unwrap();
        let took = started.elapsed().as_secs_f64();
        assert!(report.passes == 1 && report.superseded > 0, "{report:?}");
        assert_eq!(report.bytes_before, bytes);
        copied.push(megabytes / seconds);
        compacted.push(megabytes / took);
        ratios.push(seconds / took);
        left = report.bytes_after as f64 / report.bytes_before as f64;
        log.close().unwrap();
    }
    let [copied, compacted, ratio] = [copied, compacted, ratios].map(median);
    println!("| {name} | {copied:.0} | {compacted:.0} | {ratio:.2} | {:.0} % |", left * 100.0);
}

fn fill(dir: &Path, mode: IoMode, (bytes, batch, times): (usize, usize, usize)) -> Log {
    let options = Log::options().io_mode(mode).flush(FlushPolicy::Manual);
    let options = options.cleanup(Cleanup::Compact).min_cleanable_dirty_percent(100);
    let log = options.compaction_memory_bytes(256 << 20).open(dir).unwrap();
    let value = vec![b'x'; bytes];
    let records = BYTES / (bytes + 20);
    let keys = records / times;
    for first in (0..records).step_by(batch) {
        // So that a key's records lie far apart.
        let keys = (first..first + batch).map(|number| (number * 7919 % keys) as u64);
        let keys: Vec<_> = keys.map(|key| format!("device {key}")).collect();
        let records = keys.iter().map(|key| NewRecord::new(&value).key(key.as_bytes()));
        log.append_batch(records).unwrap();
    }
    log.flush().unwrap();
    log
}

/// Copies all sealed segments, each batch's checksum checked; seconds and bytes.
fn copy(dir: &Path) -> (f64, u64) {
    let mut segments: Vec<PathBuf> =
        fs::read_dir(dir).unwrap().map(|e| e.unwrap().path()).collect();
    segments.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    segments.sort();
    segments.pop();
    let to = fresh_dir();
    let started = Instant::now();
    let mut bytes = 0;
    for path in &segments {
        let mut segment = Vec::new();
        File::open(path).unwrap().read_to_end(&mut segment).unwrap();
        let mut at = 0;
        while at < segment.len() {
            let number = |from: usize| segment[at + from..at + from + 4].try_into().unwrap();
            let end = at + 12 + i32::from_be_bytes(number(8)) as usize;
            assert_eq!(crc32c::crc32c(&segment[at + 21..end]), u32::from_be_bytes(number(17)));
            at = end;
        }
        let mut file = File::create(to.path().join(path.file_name().unwrap())).unwrap();
        file.write_all(&segment).unwrap();
        file.sync_all().unwrap();
        bytes += segment.len() as u64;
    }
    (started.elapsed().as_secs_f64(), bytes)
}
