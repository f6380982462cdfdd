//! What an append meets while old segments are deleted behind it: percentiles over every append of
//! a run, with retention, with a budget that is used up, and with nothing deleted beside them.
//!
//! `cargo bench --bench retention [-- PART-OF-NAME]`. Appends of 1 KiB as fast as one thread can,
//! flushed every second; each row is a log of its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]

mod support;

use std::time::{Duration, Instant};

use forebay::{FlushPolicy, IoMode, Log, LogOptions, OnFull};
use support::table::{filter, fresh_dir, percentile};

const VALUE: [u8; 1024] = [b'x'; 1024];
const APPENDS: usize = 300_000;
const SEGMENT_BYTES: usize = 4 << 20;
const KEPT_BYTES: u64 = 64 << 20;

/// What a row does with its log's options.
type Rule = fn(LogOptions) -> LogOptions;

const RULES: [(&str, Rule); 3] = [
    ("nothing is deleted", |options| options),
    ("retention_bytes", |options| options.retention_bytes(KEPT_BYTES)),
    ("budget, drop_oldest", |options| options.budget_bytes(KEPT_BYTES).on_full(OnFull::DropOldest)),
];

fn row(name: &str, options: LogOptions) {
    let dir = fresh_dir();
    let every = FlushPolicy::Interval(Duration::from_secs(1));
    let log = options.flush(every).segment_bytes(SEGMENT_BYTES).open(dir.path()).unwrap();
    let mut times = Vec::with_capacity(APPENDS);
    for _ in 0..APPENDS {
        let start = Instant::now();
        log.append(&VALUE).unwrap();
        times.push(start.elapsed().as_nanos() as f64 / 1000.0);
    }
    let stats = log.stats();
    let deleted = stats.segments_deleted;
    assert_eq!(deleted > 0, !name.contains("nothing"), "{name}: {deleted} segments deleted");
    let most = times.iter().copied().fold(0.0, f64::max);
    let [p50, p99, p999] = [50.0, 99.0, 99.9].map(|percent| percentile(times.clone(), percent));
    println!("| {name} | {deleted} | {p50:.2} | {p99:.2} | {p999:.1} | {most:.0} |");
    log.close().unwrap();
}

fn main() {
    let wanted = filter();
    println!("| append of 1 KiB, us | segments deleted | p50 | p99 | p99.9 | max |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (mode_name, mode) in [("mapped", IoMode::Mapped), ("positioned", IoMode::Positioned)] {
        for background in [false, true] {
            for (name, rule) in RULES {
                let thread = if background { ", its own thread" } else { "" };
                let name = format!("{name}{thread}/{mode_name}");
                if wanted(&name) {
                    row(&name, rule(Log::options().io_mode(mode).background(background)));
                }
            }
        }
    }
}
