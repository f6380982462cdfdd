//! A budget, looked at from outside: while one process fills, frees, reads and is killed, another
//! stops it again and again and adds up what its files really take. No sample lies above the
//! budget, and at rest the log knows what it takes (I19).
//!
//! Only the system has processes and blocks.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use forebay::{ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec, OnFull};

use crate::util::watched::{Random, Watched, grounds, rest, say};
use crate::util::{MODES, child_role};

const BUDGET: u64 = 1 << 20;
const ROUNDS: u64 = 3;
const POLICIES: [&str; 3] = ["reject", "drop", "block"];

fn options(role: &str) -> LogOptions {
    let mode = if role.contains("Mapped") { IoMode::Mapped } else { IoMode::Positioned };
    let policy = match role.split(' ').nth(1).unwrap() {
        "reject" => OnFull::Reject,
        "drop" => OnFull::DropOldest,
        _ => OnFull::Block(Duration::from_millis(5)),
    };
    Log::options()
        .io_mode(mode)
        .on_full(policy)
        .segment_bytes(64 << 10)
        .max_batch_bytes(32 << 10)
        .budget_bytes(BUDGET)
}

/// Appends until the log is full, or has dropped as much as it holds; readers and batches that are
/// taken on the way keep what is deleted under them.
fn fill<T>(log: &Log, random: &mut Random, pins: &mut Vec<T>, pin: impl Fn(Offset) -> T) {
    let (mut refused, begin) = (0, log.stats().bytes_appended);
    while refused < 3 && log.stats().bytes_appended - begin < BUDGET {
        match log.append(vec![b'x'; random.length()]) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
                refused += 1;
            }
        }
        match random.below(400) {
            0 if pins.len() < 5 => {
                let (start, end) = (log.log_start_offset(), log.log_end_offset());
                let span = u64::try_from((end - start).max(1)).unwrap();
                pins.push(pin(start + i64::try_from(random.below(span)).unwrap()));
            }
            1 => drop(log.flush().unwrap()),
            2 if !pins.is_empty() => drop(pins.pop()),
            _ => {}
        }
    }
}

/// The child: fills and frees, and rests between rounds until it is told to go on.
fn work(role: &str, dir: &Path) {
    let life: u64 = role.split(' ').nth(2).unwrap().parse().unwrap();
    let flush = [FlushPolicy::Manual, FlushPolicy::EveryBytes(40_000)][(life % 2) as usize];
    let log = options(role).flush(flush).background(life == 1).open(dir).unwrap();
    say(&format!("opened {}", log.log_end_offset()));
    let mut random = Random(life + 1);
    let mut pins = Vec::new();
    let pin = |offset| {
        // Overtaken meanwhile by what another append dropped: then from the start.
        let reader = log.reader(OffsetSpec::At(offset));
        let mut reader = reader.or_else(|_| log.reader(OffsetSpec::Earliest)).unwrap();
        let batch = reader.next();
        (reader, batch)
    };
    let mut consumer = log.consumer("uplink").unwrap();
    for _ in 0..ROUNDS {
        fill(&log, &mut random, &mut pins, pin);
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        log.delete_records(start + (end - start) / 2).unwrap();
        consumer.seek(OffsetSpec::Latest).unwrap();
        consumer.commit().unwrap();
        consumer.sync().unwrap();
        fill(&log, &mut random, &mut pins, pin);
        let stats = log.stats();
        let (taken, held) = (stats.allocated_bytes, stats.deleted_held_bytes);
        rest(&format!("{} {taken} {held}", stats.bytes_appended));
    }
    drop((pins, consumer));
    log.close().unwrap();
    say("closed");
}

/// At rest, what the log says it takes is what its files take, a block each more or less.
fn compare(line: &str, taken: u64, files: u64) {
    let numbers: Vec<u64> = line.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
    let told = numbers[1] + numbers[2];
    assert!(told.abs_diff(taken) <= files * 4096, "told {told} of {taken} in {files} files");
}

/// Three lives on one directory: the first ends by itself, the second is killed while it works,
/// the third finds what that left.
fn live(test: &str, mode: IoMode, policy: &str, dir: &Path) {
    let (mut most, mut samples, mut appended) = (0, 0, 0_u64);
    for life in 0..3 {
        let role = format!("{mode:?} {policy} {life}");
        let mut watched = Watched::start(module_path!(), test, &role, dir, BUDGET);
        let mut rests = 0;
        loop {
            let line = watched.hear();
            if line == "closed" {
                break;
            }
            if line.starts_with("rest") {
                let taken = watched.sample();
                compare(&line, taken, watched.files());
                appended += line.split(' ').nth(1).unwrap().parse::<u64>().unwrap() / ROUNDS;
                rests += 1;
                if life == 1 && rests == 2 {
                    watched.go_on_and_die();
                    break;
                }
                watched.go_on();
            }
        }
        watched.end();
        (most, samples) = (most.max(watched.most), samples + watched.samples);
    }
    println!("{mode:?} {policy}: at most {most} of {BUDGET} in {samples} samples");
    assert!(most > BUDGET / 2 && appended > BUDGET, "{most} taken, {appended} appended");
}

/// I19: on tmpfs and on the filesystem of the build, in both modes, whatever the policy.
#[test]
fn no_sample_of_what_a_log_takes_lies_above_its_budget() {
    let test = "no_sample_of_what_a_log_takes_lies_above_its_budget";
    if let Some((role, dir)) = child_role() {
        return work(&role, &dir);
    }
    let grounds = grounds();
    let live_in = move |mode, ground: &Path| {
        for policy in POLICIES {
            let dir = ground.join(format!("{mode:?} {policy}"));
            fs::create_dir(&dir).unwrap();
            live(test, mode, policy, &dir.canonicalize().unwrap());
        }
    };
    thread::scope(|scope| {
        for ground in &grounds {
            for mode in MODES {
                scope.spawn(move || live_in(mode, ground.path()));
            }
        }
    });
}
