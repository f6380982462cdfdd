//! Appends without a flush, and durable ones, each beside its limit of the same run.
//!
//! `cargo bench --bench append` runs the criterion rows and then prints the ratios, for which log
//! and limit take turns. `-- --ratios [PART-OF-NAME]` prints only ratios.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]

mod support;

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion};
use forebay::{FlushPolicy, IoMode, Log};
use support::table::{fresh_dir, median};
use support::{Bare, raw_sync_rate};

/// One row: what is appended, by how many threads.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    value_bytes: usize,
    batch: usize,
    threads: usize,
    /// Records a round.
    records: u64,
}

const ROWS: [Row; 6] = [
    Row { name: "100B/1", value_bytes: 100, batch: 1, threads: 1, records: 300_000 },
    Row { name: "100B/4", value_bytes: 100, batch: 1, threads: 4, records: 300_000 },
    Row { name: "1KiB/1", value_bytes: 1024, batch: 1, threads: 1, records: 60_000 },
    Row { name: "1KiB/4", value_bytes: 1024, batch: 1, threads: 4, records: 60_000 },
    Row { name: "100x100B/1", value_bytes: 100, batch: 100, threads: 1, records: 400_000 },
    Row { name: "100x100B/4", value_bytes: 100, batch: 100, threads: 4, records: 400_000 },
];

const MODES: [(&str, IoMode); 2] = [("mapped", IoMode::Mapped), ("positioned", IoMode::Positioned)];

/// Time of `records` appends spread over the row's threads.
fn spread(row: Row, records: u64, append: impl Fn(&[&[u8]], u64) + Sync) -> Duration {
    let value = vec![b'x'; row.value_bytes];
    let batch = vec![value.as_slice(); row.batch];
    let each = records / (row.threads * row.batch) as u64;
    let start = Instant::now();
    if row.threads == 1 {
        append(&batch, each);
    } else {
        std::thread::scope(|scope| {
            for _ in 0..row.threads {
                scope.spawn(|| append(&batch, each));
            }
        });
    }
    start.elapsed()
}

fn log_time(row: Row, mode: IoMode, records: u64) -> Duration {
    let dir = fresh_dir();
    let options = Log::options().io_mode(mode).flush(FlushPolicy::Manual);
    let log = options.open(dir.path()).unwrap();
    log.append("warm").unwrap();
    let time = spread(row, records, |batch, times| {
        for _ in 0..times {
            match batch {
                [one] => drop(black_box(log.append(black_box(*one)))),
                many => drop(black_box(log.append_batch(many.iter().copied()))),
            }
        }
    });
    assert!(log.log_end_offset().get() > 0);
    time
}

fn limit_time(row: Row, mode: IoMode, records: u64) -> Duration {
    let dir = fresh_dir();
    let bare = Bare::new(dir.path(), mode == IoMode::Mapped);
    bare.append(&mut Vec::new(), &[b"warm"]);
    spread(row, records, |batch, times| {
        let mut buffer = Vec::with_capacity(1 << 20);
        for _ in 0..times {
            bare.append(&mut buffer, black_box(batch));
        }
    })
}

/// Alternates log and limit, so that a change of the machine's speed meets both.
fn ratios(wanted: impl Fn(&str) -> bool) {
    println!("| append, ns a record | log | limit | ratio |\n|---|---|---|---|");
    for (mode_name, mode) in MODES {
        for row in ROWS.into_iter().filter(|row| wanted(&format!("{}/{mode_name}", row.name))) {
            let records = if mode == IoMode::Positioned { row.records / 4 } else { row.records };
            let (mut logs, mut limits, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..15 {
                let limit = limit_time(row, mode, records).as_secs_f64();
                let log = log_time(row, mode, records).as_secs_f64();
                logs.push(log * 1e9 / records as f64);
                limits.push(limit * 1e9 / records as f64);
                pairs.push(log / limit);
            }
            println!(
                "| {}/{mode_name} | {:.1} | {:.1} | {:.2} |",
                row.name,
                median(logs),
                median(limits),
                median(pairs)
            );
        }
    }
}

/// Acknowledgements a second of appends that return durable.
fn durable_rate(mode: IoMode, threads: usize, time: Duration) -> f64 {
    let dir = fresh_dir();
    let options = Log::options().io_mode(mode).flush(FlushPolicy::EveryAppend);
    let log = options.open(dir.path()).unwrap();
    log.append("warm").unwrap();
    let acknowledged = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while start.elapsed() < time {
                    log.append(&[b'x'; 100]).unwrap();
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    });
    acknowledged.into_inner() as f64 / start.elapsed().as_secs_f64()
}

fn durable_ratios(wanted: impl Fn(&str) -> bool) {
    println!("\n| durable, acks/s | log | limit | ratio |\n|---|---|---|---|");
    for (mode_name, mode) in MODES {
        for (threads, factor) in [(1, 1.0), (16, 8.0)] {
            if !wanted(&format!("durable/{threads}/{mode_name}")) {
                continue;
            }
            let (mut logs, mut limits, mut pairs) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..7 {
                let time = Duration::from_millis(500);
                let dir = fresh_dir();
                let limit = raw_sync_rate(dir.path(), time) * factor;
                let log = durable_rate(mode, threads, time);
                logs.push(log);
                limits.push(limit);
                pairs.push(log / limit);
            }
            println!(
                "| {threads} threads/{mode_name} | {:.0} | {:.0} | {:.2} |",
                median(logs),
                median(limits),
                median(pairs)
            );
        }
    }
}

fn criterion_rows(criterion: &mut Criterion) {
    for (mode_name, mode) in MODES {
        let mut group = criterion.benchmark_group(format!("append/{mode_name}/manual"));
        group.sample_size(20).measurement_time(Duration::from_secs(3));
        group.warm_up_time(Duration::from_millis(500));
        for row in ROWS {
            let scaled = |time: Duration, iterations: u64, records: u64| {
                time.mul_f64(iterations as f64 / records as f64)
            };
            group.bench_function(BenchmarkId::new("log", row.name), |bencher| {
                bencher.iter_custom(|n| scaled(log_time(row, mode, row.records), n, row.records));
            });
            group.bench_function(BenchmarkId::new("limit", row.name), |bencher| {
                bencher.iter_custom(|n| scaled(limit_time(row, mode, row.records), n, row.records));
            });
        }
        group.finish();
    }
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--ratios");
    let only_ratios = arguments.next().is_some();
    let filter = arguments.find(|argument| !argument.starts_with('-')).unwrap_or_default();
    let wanted = |name: &str| !only_ratios || name.contains(&filter);
    if !only_ratios {
        let mut criterion = Criterion::default().configure_from_args();
        criterion_rows(&mut criterion);
        criterion.final_summary();
    }
    ratios(wanted);
    durable_ratios(wanted);
}
