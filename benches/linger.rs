//! Single records from four threads through a linger, each caller with a ticket for its offset,
//! beside `append_batch` of 100 and beside single appends of the same run.
//!
//! `cargo bench --bench linger [-- PART-OF-NAME]`. The log and what it is compared with take turns.
//! Values have 100 bytes, flushes are manual. Each thread holds its last 1024 tickets and waits for
//! the oldest one before it appends another record.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]

#[path = "support/table.rs"]
#[allow(dead_code, reason = "each bench uses a part")]
mod table;

use std::collections::VecDeque;
use std::hint::black_box;
use std::time::Instant;

use forebay::{FlushPolicy, IoMode, Linger, LingerOptions, Log};
use table::{filter, fresh_dir, pairs};

const MODES: [(&str, IoMode); 2] = [("mapped", IoMode::Mapped), ("positioned", IoMode::Positioned)];
const VALUE: [u8; 100] = [b'x'; 100];
const RECORDS: usize = 1_200_000;
const HELD: usize = 1024;
const ROUNDS: usize = 11;

/// Nanoseconds a record of what these threads append together.
fn timed(mode: IoMode, threads: usize, records: usize, run: impl Fn(&Log, usize) + Sync) -> f64 {
    let dir = fresh_dir();
    let log = Log::options().io_mode(mode).flush(FlushPolicy::Manual).open(dir.path()).unwrap();
    log.append("warm").unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| run(&log, records / threads));
        }
    });
    let time = start.elapsed();
    assert_eq!(log.log_end_offset().get(), 1 + (records / threads * threads) as i64);
    time.as_secs_f64() * 1e9 / records as f64
}

fn batches(mode: IoMode, threads: usize) -> f64 {
    let batch = [&VALUE; 100];
    timed(mode, threads, RECORDS, |log, records| {
        for _ in 0..records / 100 {
            black_box(log.append_batch(batch.iter().copied()).unwrap());
        }
    })
}

fn singles(mode: IoMode, threads: usize) -> f64 {
    timed(mode, threads, RECORDS / 4, |log, records| {
        for _ in 0..records {
            black_box(log.append(&VALUE).unwrap());
        }
    })
}

/// Every ticket is waited for, the oldest first.
fn lingering(mode: IoMode, threads: usize) -> f64 {
    let dir = fresh_dir();
    let log = Log::options().io_mode(mode).flush(FlushPolicy::Manual).open(dir.path()).unwrap();
    let linger = log.linger(LingerOptions::new()).unwrap();
    linger.append("warm").unwrap().wait().unwrap();
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            let linger = linger.clone();
            scope.spawn(move || append_and_wait(&linger, RECORDS / threads));
        }
    });
    let time = start.elapsed();
    assert_eq!(log.log_end_offset().get(), 1 + (RECORDS / threads * threads) as i64);
    time.as_secs_f64() * 1e9 / RECORDS as f64
}

fn append_and_wait(linger: &Linger, records: usize) {
    let mut held = VecDeque::with_capacity(HELD);
    let mut last = -1;
    let mut wait = |ticket: forebay::Ticket| {
        let offset = ticket.wait().unwrap().get();
        assert!(offset > last, "in the order they were handed in");
        last = offset;
    };
    for _ in 0..records {
        if held.len() == HELD {
            wait(held.pop_front().unwrap());
        }
        held.push_back(linger.append(black_box(&VALUE)).unwrap());
    }
    linger.flush().unwrap();
    held.into_iter().for_each(wait);
}

fn main() {
    let wanted = filter();
    println!("| ns a record | linger | beside it | ratio |\n|---|---|---|---|");
    for (mode_name, mode) in MODES {
        for threads in [4, 1] {
            type Beside = fn(IoMode, usize) -> f64;
            let all: [(&str, usize, Beside); 3] = [
                ("append_batch of 100/1 thread", 1, batches),
                ("append_batch of 100/4 threads", 4, batches),
                ("append/4 threads", 4, singles),
            ];
            for (name, beside_threads, beside) in all {
                let name = format!("{threads} threads/{mode_name}/{name}");
                if !wanted(&name) {
                    continue;
                }
                let pair =
                    pairs(ROUNDS, || lingering(mode, threads), || beside(mode, beside_threads));
                println!("| {name} | {:.1} | {:.1} | {:.2} |", pair.log, pair.limit, pair.ratio);
            }
        }
    }
}
