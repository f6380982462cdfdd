//! A store's budget, looked at from outside: six logs of three policies, of which three may be
//! open, fill, free, are deleted and made again, while another process adds up what all files
//! really take. No sample lies above the budget, and at rest the store knows what it takes (I19).
//!
//! Only the system has processes and blocks.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use forebay::{
    Error, ErrorKind, FlushPolicy, IoMode, Log, LogOptions, OffsetSpec, OnFull, RecordBatch, Store,
};

use crate::util::watched::{Random, Watched, grounds, rest, say};
use crate::util::{MODES, child_role};

const BUDGET: u64 = 3 << 20;
const LOGS: u64 = 6;
const ROUNDS: u64 = 3;
const STEPS: u64 = 50;

fn options(mode: IoMode, log: u64, life: u64) -> LogOptions {
    let policies = [OnFull::Reject, OnFull::DropOldest, OnFull::Block(Duration::from_millis(2))];
    let flush = [FlushPolicy::Manual, FlushPolicy::EveryBytes(50_000)];
    Log::options()
        .io_mode(mode)
        .segment_bytes(64 << 10)
        .max_batch_bytes(32 << 10)
        .on_full(policies[usize::try_from(log % 3).unwrap()])
        .priority(u8::try_from(50 + log).unwrap())
        .flush(flush[usize::try_from(life % 2).unwrap()])
}

fn name(log: u64) -> String {
    format!("log{log}")
}

/// What is refused for want of room, or of places, is no failure here; anything else is.
fn unless_full<T>(result: Result<T, Error>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
            None
        }
    }
}

/// How many bytes were appended.
fn append(log: &Log, random: &mut Random) -> u64 {
    let length = random.length();
    unless_full(log.append(vec![b'x'; length])).map_or(0, |_| length as u64)
}

/// One thing that is done to a log of the store; how many bytes were appended.
fn step(store: &Store, random: &mut Random, pins: &mut Vec<Option<RecordBatch>>) -> u64 {
    let log = random.below(LOGS);
    match random.below(60) {
        0 => drop(store.delete_log(&name(log)).unwrap()),
        1 => drop(unless_full(store.maintain())),
        2 => store.flush().unwrap(),
        3..=5 if !pins.is_empty() => drop(pins.pop()),
        _ => {
            let Some(log) = unless_full(store.log(&name(log))) else { return 0 };
            match random.below(12) {
                0 => {
                    let (start, end) = (log.log_start_offset(), log.log_end_offset());
                    unless_full(log.delete_records(start + (end - start) / 2));
                }
                1 if pins.len() < 6 => {
                    let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
                    pins.push(reader.next().transpose().unwrap());
                }
                _ => return (0..20).map(|_| append(&log, random)).sum(),
            }
        }
    }
    0
}

/// The child.
fn work(role: &str, dir: &Path) {
    let mode = if role.contains("Mapped") { IoMode::Mapped } else { IoMode::Positioned };
    let life: u64 = role.split(' ').nth(1).unwrap().parse().unwrap();
    let mut store = Store::options().budget_bytes(BUDGET).max_open_logs(3).background(life == 1);
    for log in 0..LOGS {
        store = store.log(name(log), options(mode, log, life));
    }
    let store = store.logs(options(mode, 0, life)).open(dir).unwrap();
    let mut random = Random(life + 7);
    let (mut pins, mut appended) = (Vec::new(), 0);
    for _ in 0..ROUNDS {
        for _ in 0..STEPS {
            appended += step(&store, &mut random, &mut pins);
        }
        let stats = store.stats();
        assert!(stats.open_logs <= 3, "{} logs are open", stats.open_logs);
        rest(&format!("{appended} {}", stats.disk_bytes));
    }
    drop(pins);
    store.close().unwrap();
    say("closed");
}

/// At rest the store says what its files take, a block each more at most.
fn compare(line: &str, life: u64, taken: u64, files: u64) {
    let told: u64 = line.split(' ').nth(2).unwrap().parse().unwrap();
    let most = taken + files * 4096;
    assert!((taken..=most).contains(&told), "life {life}: told {told} of {taken} in {files} files");
}

/// Three lives: the first ends by itself, the second is killed, the third finds what that left.
fn live(test: &str, mode: IoMode, dir: &Path) {
    let (mut most, mut samples, mut appended) = (0, 0, 0_u64);
    for life in 0..3 {
        let mut watched =
            Watched::start(module_path!(), test, &format!("{mode:?} {life}"), dir, BUDGET);
        let (mut rests, mut so_far) = (0, 0);
        loop {
            let line = watched.hear();
            if line == "closed" {
                break;
            }
            if line.starts_with("rest") {
                let taken = watched.sample();
                // With a thread of its own it may be at work while it rests.
                if life != 1 {
                    compare(&line, life, taken, watched.files());
                }
                so_far = line.split(' ').nth(1).unwrap().parse().unwrap();
                rests += 1;
                if life == 1 && rests == 2 {
                    watched.go_on_and_die();
                    break;
                }
                watched.go_on();
            }
        }
        watched.end();
        appended += so_far;
        (most, samples) = (most.max(watched.most), samples + watched.samples);
    }
    println!("store, {mode:?}: at most {most} of {BUDGET} in {samples} samples");
    assert!(most > BUDGET / 2 && appended > BUDGET, "{most} taken, {appended} appended");
}

/// I19: on tmpfs and on the filesystem of the build, in both modes.
#[test]
fn no_sample_of_what_a_store_takes_lies_above_its_budget() {
    let test = "no_sample_of_what_a_store_takes_lies_above_its_budget";
    if let Some((role, dir)) = child_role() {
        return work(&role, &dir);
    }
    let grounds = grounds();
    thread::scope(|scope| {
        for ground in &grounds {
            for mode in MODES {
                scope.spawn(move || {
                    let dir = ground.path().join(format!("{mode:?}"));
                    fs::create_dir(&dir).unwrap();
                    live(test, mode, &dir.canonicalize().unwrap());
                });
            }
        }
    });
}
