//! What one log costs a process: its anonymous memory (RssAnon) above what it had before it opened
//! the log, while a gigabyte is written and read. Pages of mapped files are the page cache's and do
//! not count.
//!
//! `cargo bench --bench memory`. Each row is a process of its own. The goal is 2 MB at most.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]

mod support;

use std::hint::black_box;
use std::path::Path;
use std::process::Command;

use forebay::{FlushPolicy, IoMode, Log, Offset, OffsetSpec};
use support::table::{Random, filter, fresh_dir};

const BYTES: u64 = 1 << 30;
const LOOKUPS: u64 = 20_000;
const GOAL_KIB: u64 = 2_000_000 / 1024;
const ROLE: &str = "FOREBAY_BENCH_MEMORY";

/// KiB of anonymous memory of this process.
fn anonymous() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// The highest figure seen while something is done, above what there was at first.
struct Gauge {
    before: u64,
    highest: u64,
}

impl Gauge {
    fn look(&mut self) {
        self.highest = self.highest.max(anonymous().saturating_sub(self.before));
    }

    /// The highest since the last time.
    fn take(&mut self) -> u64 {
        self.look();
        std::mem::take(&mut self.highest)
    }
}

fn row(mode: IoMode, value_bytes: usize, batch: usize, dir: &Path) {
    let value = vec![b'x'; value_bytes];
    let records = vec![value.as_slice(); batch];
    let mut gauge = Gauge { before: anonymous(), highest: 0 };
    let log = Log::options().io_mode(mode).flush(FlushPolicy::Manual).open(dir).unwrap();
    let opened = gauge.take();
    let batches = BYTES / (value_bytes * batch) as u64;
    for n in 0..batches {
        log.append_batch(records.iter().copied()).unwrap();
        if n % (batches / 200) == 0 {
            gauge.look();
        }
    }
    let written = gauge.take();
    let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
    for (n, batch) in reader.by_ref().enumerate() {
        for record in batch.unwrap().records() {
            black_box(record.unwrap());
        }
        if (n as u64).is_multiple_of(batches / 200) {
            gauge.look();
        }
    }
    let read = gauge.take();
    let mut random = Random(1_795_000_000);
    for n in 0..LOOKUPS {
        let offset = random.below(log.log_end_offset().get() as u64) as i64;
        reader.seek(OffsetSpec::At(Offset::new(offset))).unwrap();
        black_box(reader.next().unwrap().unwrap());
        if n % 100 == 0 {
            gauge.look();
        }
    }
    let looked_up = gauge.take();
    let most = opened.max(written).max(read).max(looked_up);
    let reached = if most <= GOAL_KIB { "yes" } else { "no" };
    println!("{opened} | {written} | {read} | {looked_up} | {reached} |");
}

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        let parts: Vec<_> = role.splitn(4, ' ').collect();
        let mode = if parts[0] == "mapped" { IoMode::Mapped } else { IoMode::Positioned };
        let (bytes, batch) = (parts[1].parse().unwrap(), parts[2].parse().unwrap());
        return row(mode, bytes, batch, Path::new(parts[3]));
    }
    let wanted = filter();
    print!("| anonymous memory of a log, KiB at most | opened | 1 GiB written | read in order ");
    println!("| read at random | at most 2 MB |\n|---|--:|--:|--:|--:|--:|");
    for mode in ["mapped", "positioned"] {
        for (bytes, batch) in [(1024, 1), (100, 100), (1_000_000, 1)] {
            let name = format!("{batch} x {bytes} B/{mode}");
            if !wanted(&name) {
                continue;
            }
            let dir = fresh_dir();
            let role = format!("{mode} {bytes} {batch} {}", dir.path().display());
            let program = std::env::current_exe().unwrap();
            let done = Command::new(program).env(ROLE, role).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
            print!("| {name} | {}", String::from_utf8(done.stdout).unwrap());
        }
    }
}
