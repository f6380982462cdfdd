//! How long a record takes from `append` to a reader that waits for it in another thread: polling,
//! or asleep in `wait_for` and `poll`. Each row stands beside its limits of the same run.
//!
//! `cargo bench --bench latency -- --ratios [PART-OF-NAME]`. Times count from before the append to
//! the record in the reader's hands, checked and decoded.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]
#![expect(unsafe_code, reason = "the limit of sleeping is a bare futex")]

mod support;

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forebay::{FlushPolicy, IoMode, Log, Offset, OffsetSpec, Visibility};
use support::Bare;
use support::bare_read::{BareReader, Sum};
use support::table::{filter, fresh_dir, median, percentile};

const VALUE: [u8; 100] = [b'x'; 100];
const ROUNDS: usize = 9;
const POLLED: u64 = 20_000;
const SLEPT: u64 = 500;
/// A reader that polls is waited for this long, one that sleeps until it surely does.
const PAUSE: Duration = Duration::from_micros(2);
const SLEEP: Duration = Duration::from_micros(150);

/// Nanoseconds of a clock that all threads share.
fn now() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Sends `count` times, each when the reader is at it; `receive` returns when it has the n-th.
fn run(
    count: u64,
    asleep: bool,
    mut send: impl FnMut(u64),
    mut receive: impl FnMut(u64) + Send,
) -> Vec<f64> {
    let ready = &AtomicU64::new(0);
    thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut seen = Vec::with_capacity(count as usize);
            for n in 0..count {
                ready.store(n + 1, Ordering::Release);
                receive(n);
                seen.push(now());
            }
            seen
        });
        let mut sent = Vec::with_capacity(count as usize);
        for n in 0..count {
            while ready.load(Ordering::Acquire) <= n {
                std::hint::spin_loop();
            }
            let start = Instant::now();
            if asleep {
                thread::sleep(SLEEP);
            } else {
                while start.elapsed() < PAUSE {}
            }
            sent.push(now());
            send(n);
        }
        let seen = reader.join().unwrap();
        // The first ones warm up.
        let times = seen.into_iter().zip(sent).skip(count as usize / 10);
        times.map(|(seen, sent)| seen as f64 - sent as f64).collect()
    })
}

fn open(dir: &std::path::Path, mode: IoMode) -> Log {
    Log::options().flush(FlushPolicy::Manual).io_mode(mode).open(dir).unwrap()
}

fn log_polled(mode: IoMode) -> Vec<f64> {
    let dir = fresh_dir();
    let log = open(dir.path(), mode);
    let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
    let mut sum = Sum::default();
    let receive = |_| {
        let batch = loop {
            match reader.next() {
                Some(batch) => break batch.unwrap(),
                None => std::hint::spin_loop(),
            }
        };
        for record in batch.records() {
            let record = record.unwrap();
            sum.add(record.offset().get(), record.timestamp().millis(), record.value());
        }
    };
    let times = run(POLLED, false, |_| assert!(log.append(&VALUE).is_ok()), receive);
    assert_eq!(sum.records, POLLED);
    times
}

/// A bare append, and a thread that looks for its end and reads it bare.
fn bare_polled(mode: IoMode) -> Vec<f64> {
    let dir = fresh_dir();
    let bare = Bare::new(dir.path(), mode == IoMode::Mapped);
    let (mut buffer, mut into) = (Vec::new(), [0; 4096]);
    let mut reader = BareReader::of_bare();
    let mut at = 0;
    let source = bare.source();
    let receive = |_| {
        let end = loop {
            let end = bare.published();
            if end > at {
                break end;
            }
            std::hint::spin_loop();
        };
        at += reader.batches(source.bytes(at..end, &mut into));
    };
    run(POLLED, false, |_| bare.append(&mut buffer, &[&VALUE]), receive)
}

/// A cache line that one thread writes and another one looks at.
fn line_polled() -> Vec<f64> {
    let line = AtomicU64::new(0);
    let receive = |n| {
        while line.load(Ordering::Acquire) <= n {
            std::hint::spin_loop();
        }
    };
    run(POLLED, false, |n| line.store(n + 1, Ordering::Release), receive)
}

fn log_waited(mode: IoMode, by_consumer: bool) -> Vec<f64> {
    let dir = fresh_dir();
    let log = open(dir.path(), mode);
    let long = Duration::from_secs(60);
    let mut consumer = log.consumer("waits").unwrap();
    let receive = |n: u64| {
        if by_consumer {
            let batch = consumer.poll(long).unwrap().unwrap();
            assert_eq!(batch.base_offset(), Offset::new(n as i64));
        } else {
            assert!(log.wait_for(Offset::new(n as i64), Visibility::Written, long).unwrap());
        }
    };
    run(SLEPT, true, |_| assert!(log.append(&VALUE).is_ok()), receive)
}

/// A thread asleep on a word, and another that changes the word and wakes it.
fn futex_waited() -> Vec<f64> {
    let word = AtomicU32::new(0);
    let futex = |operation: i32, value: u32| {
        let none = std::ptr::null::<libc::timespec>();
        // SAFETY: the word outlives the call; no timeout is passed.
        unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), operation, value, none) };
    };
    let private = libc::FUTEX_PRIVATE_FLAG;
    let receive = |n: u64| {
        while u64::from(word.load(Ordering::Acquire)) <= n {
            futex(libc::FUTEX_WAIT | private, n as u32);
        }
    };
    let send = |n: u64| {
        word.store(n as u32 + 1, Ordering::Release);
        futex(libc::FUTEX_WAKE | private, 1);
    };
    run(SLEPT, true, send, receive)
}

/// Log and limit take turns; percentiles over all rounds, the ratio of each round's medians.
fn row(name: &str, log: impl Fn() -> Vec<f64>, limit: impl Fn() -> Vec<f64>) {
    let (mut logs, mut limits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let (limit, log) = (limit(), log());
        ratios.push(median(log.clone()) / median(limit.clone()));
        logs.extend(log);
        limits.extend(limit);
    }
    let us = |times: &Vec<f64>, percent| percentile(times.clone(), percent) / 1000.0;
    println!(
        "| {name} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
        us(&logs, 50.0),
        us(&logs, 99.0),
        us(&limits, 50.0),
        us(&limits, 99.0),
        median(ratios)
    );
}

/// Nanoseconds of each hand-over.
type Timed<'a> = &'a dyn Fn() -> Vec<f64>;

fn main() {
    let wanted = filter();
    println!("| append to seen, us | p50 | p99 | limit p50 | limit p99 | ratio of p50 |");
    println!("|---|--:|--:|--:|--:|--:|");
    for (mode_name, mode) in [("mapped", IoMode::Mapped), ("positioned", IoMode::Positioned)] {
        let rows: [(&str, Timed, Timed); 4] = [
            ("polling, a bare append and read", &|| log_polled(mode), &|| bare_polled(mode)),
            ("polling, a cache line", &|| log_polled(mode), &line_polled),
            ("wait_for, a futex", &|| log_waited(mode, false), &futex_waited),
            ("Consumer::poll, a futex", &|| log_waited(mode, true), &futex_waited),
        ];
        for (name, log, limit) in rows {
            let name = format!("{mode_name}/{name}");
            if wanted(&name) {
                row(&name, log, limit);
            }
        }
    }
}
