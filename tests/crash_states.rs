//! Crash states by the hundred thousand: every short workload and many long ones on the simulated
//! disk, the power cut or the process killed before every storage call, with every subset of what
//! the device might have kept, and each recovery held to laws V1 to V18 by an oracle that shares no
//! code with the crate (I1 to I9, I12 to I14, I17 to I20).
//!
//! `crash_states/laws.rs` has the laws, `words.rs` the language of workloads and of the line that
//! reproduces a failure, `drive.rs` runs workloads, `explore.rs` makes the cuts, `oracle.rs` checks
//! one state. A line that failed goes into `seeds.txt` and is replayed here for ever.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

#[path = "crash_states/drive.rs"]
mod drive;
#[path = "crash_states/explore.rs"]
mod explore;
#[path = "crash_states/image.rs"]
mod image;
#[path = "crash_states/laws.rs"]
mod laws;
#[path = "crash_states/model.rs"]
mod model;
#[path = "crash_states/oracle.rs"]
mod oracle;
#[path = "crash_states/words.rs"]
mod words;

use std::time::Duration;

use explore::{Effort, Job, Tally, explore, replay};
use forebay::simulation::Ignored;
use words::{ALPHABET, Chance, Line, Op, Policy, Setup};

/// A log with three segments, consumers, synced commits, and a tail that is not durable.
const GROWN: [Op; 9] = [
    Op::Small,
    Op::CrossSegment,
    Op::Flush,
    Op::Commit,
    Op::SyncConsumer,
    Op::CrossSegment,
    Op::Flush,
    Op::Small,
    Op::CrossSector,
];

const FULL: Effort = Effort { pieces: 12, random: 64, deep_one_in: 16, depth: 3 };

/// What an unoptimised build has time for.
const SHORT: Effort = Effort { pieces: 4, random: 4, deep_one_in: 32, depth: 1 };

/// Modes, rules for names, and what a new block shows.
fn setups(policy: Policy) -> Vec<Setup> {
    let mut setups = Vec::new();
    for n in 0..8 {
        let is = |bit: u32| n >> bit & 1 != 0;
        let setup =
            Setup { mapped: is(0), strict: !is(1), stale: is(2), torn: false, policy, seed: 1 };
        setups.push(setup);
    }
    setups
}

/// All workloads of one and two operations, on a fresh directory and on a log that has grown. What
/// leads to the last operation is explored as a workload of its own.
fn short_workloads(effort: Effort) -> Vec<Job> {
    let mut workloads: Vec<Vec<Op>> = ALPHABET.iter().map(|op| vec![*op]).collect();
    workloads.extend(ALPHABET.iter().flat_map(|one| ALPHABET.iter().map(|two| vec![*one, *two])));
    let mut jobs = Vec::new();
    for workload in &workloads {
        for setup in setups(Policy::Manual) {
            for start in [&[][..], &GROWN[..]] {
                let ops = [start, workload].concat();
                let from = ops.len() - 1;
                jobs.push(Job { setup, ops, from, effort, lies: None });
            }
        }
    }
    jobs
}

/// Long workloads by chance, with faults or without.
fn long_workload(seed: u64, length: u64, effort: Effort) -> Job {
    let mut chance = Chance::new(seed);
    let policies = [Policy::Manual, Policy::EveryAppend, Policy::Bytes, Policy::Interval];
    let setup = Setup {
        mapped: chance.below(2) == 0,
        strict: chance.below(2) == 0,
        torn: false,
        stale: chance.below(2) == 0,
        policy: policies[chance.below(4) as usize],
        seed,
    };
    let faults = chance.below(2) == 0;
    let length = 50 + chance.below(length - 49);
    let ops = (0..length).map(|_| any(&mut chance, faults)).collect();
    Job { setup, ops, from: 0, effort, lies: None }
}

fn any(chance: &mut Chance, faults: bool) -> Op {
    let number = chance.below(48) as u16;
    match chance.below(if faults { 44 } else { 36 }) {
        0..9 => Op::Small,
        9..13 => Op::CrossSector,
        13..15 => Op::CrossSegment,
        15..19 => Op::Flush,
        19 => Op::Roll,
        20 => Op::Delete,
        21 => Op::Truncate,
        22..25 => Op::Commit,
        25 => Op::SyncConsumer,
        26 => Op::Reopen,
        27..29 => Op::Kill,
        29 => Op::Close,
        30 => Op::Clock,
        31..33 => Op::Power(number),
        33 => Op::Jump(number),
        34..36 => Op::Read,
        36..40 => Op::Fault(number),
        40 => Op::Space(number),
        41 => Op::Space(words::UNBOUNDED),
        42 => Op::Descriptors(number % 6),
        _ => Op::Descriptors(words::UNBOUNDED),
    }
}

fn must_hold(tally: &Tally) {
    let found = tally.found();
    let lines: Vec<String> =
        found.iter().map(|one| format!("{}\n  {}", one.line, one.broken)).collect();
    assert!(found.is_empty(), "{} states broke a law:\n{}", found.len(), lines.join("\n"));
}

/// All lines of `seeds.txt`, each of which once broke a law; and one in `FOREBAY_CRASH_LINE`, with
/// what the oracle sees of it, for whoever looks into one.
#[test]
fn lines_that_once_failed_hold() {
    let one = std::env::var("FOREBAY_CRASH_LINE").ok();
    let known = include_str!("crash_states/seeds.txt");
    for text in one.as_deref().unwrap_or(known).lines() {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let line: Line = text.parse().unwrap();
        assert_eq!(line.to_string(), text, "the line is written as it was read");
        if one.is_some() {
            show(&line);
        }
        if let Err(broken) = replay(&line) {
            panic!("{line}\n  {broken}");
        }
    }
}

/// What a line leads to, and what a recovery makes of it.
fn show(line: &Line) {
    let (disk, model) = explore::lead(line, true).unwrap();
    let image = image::Image::take(&disk);
    for (name, bytes) in &image.files {
        println!("  {name}: {} bytes", bytes.len());
    }
    println!("  {:?}", image.slot());
    println!("  {:?}", image.slot().map(|slot| image.chain(&slot.id, slot.start)));
    let batches: Vec<_> = model.from(0).map(|batch| (batch.base, batch.end())).collect();
    println!("  durable {}, batches {batches:?}, {:?}", model.durable, model.followers);
    let log = drive::options(&line.setup).open_on(&disk, image::DIR).unwrap();
    let (start, durable) = (log.log_start_offset(), log.durable_offset());
    println!("  {:?}", log.recovery());
    println!("  start {start}, durable {durable}, end {}", log.log_end_offset());
}

/// V1 to V18, cut before every storage call. With `FOREBAY_CRASH_STATES=N` all workloads of up to
/// two operations with every subset of up to twelve loose pieces, then long ones, and at least N
/// distinct states; without it as many as the time of an unoptimised build allows.
#[test]
fn workloads_hold_wherever_they_are_cut() {
    let wanted: Option<usize> =
        std::env::var("FOREBAY_CRASH_STATES").ok().map(|wanted| wanted.parse().unwrap());
    let (effort, long) = if wanted.is_some() { (FULL, LONG) } else { (SHORT, SHORT) };
    let mut short = short_workloads(effort);
    let mut chance = Chance::new(3);
    for at in (1..short.len()).rev() {
        short.swap(at, chance.below(at as u64 + 1) as usize);
    }
    let most = wanted.is_none().then_some(Duration::from_secs(8));
    let tally = Tally::new();
    tally.end_after(most);
    explore(&short, &tally);
    println!("{} of {} short workloads, {}", tally.workloads(), short.len(), tally.line());
    must_hold(&tally);
    tally.end_after(most);
    let length = if wanted.is_some() { 500 } else { 80 };
    let long: Vec<Job> = (0..64).map(|seed| long_workload(seed, length, long)).collect();
    explore(&long, &tally);
    println!("{}", tally.line());
    must_hold(&tally);
    let distinct = tally.distinct();
    assert!(distinct >= wanted.unwrap_or(1000), "{}", tally.line());
}

/// For long workloads, whose states differ in more ways than what is loose.
const LONG: Effort = Effort { pieces: 3, random: 8, deep_one_in: 64, depth: 1 };

/// M9: a disk that says Ok to a kind of sync and does nothing has to break a law, or the oracle
/// would not see a sync that is missing.
fn a_lying_disk_is_found_out(kind: Ignored, mapped: bool, ops: &[Op]) {
    let tally = Tally::new();
    for strict in [true, false] {
        let policy = Policy::Manual;
        let setup = Setup { mapped, strict, torn: false, stale: false, policy, seed: 5 };
        let job = Job { setup, ops: ops.to_vec(), from: 0, effort: SHORT, lies: Some(kind) };
        explore::explore_one(&job, &tally);
    }
    let found = tally.found();
    let laws: Vec<u8> = found.iter().map(|one| one.broken.law).collect();
    println!("{kind:?}: laws {laws:?} were broken");
    assert!(!found.is_empty(), "the oracle did not see it: {}", tally.line());
}

/// V1 of the oracle itself: without the segments' syncs acknowledged records go.
#[test]
fn ignored_syncs_of_segments_are_seen() {
    a_lying_disk_is_found_out(Ignored::Segments, false, &GROWN);
}

/// The same through maps.
#[test]
fn ignored_syncs_of_maps_are_seen() {
    a_lying_disk_is_found_out(Ignored::Maps, true, &GROWN);
}

/// The same for names: segments vanish whole.
#[test]
fn ignored_syncs_of_directories_are_seen() {
    a_lying_disk_is_found_out(Ignored::Directories, true, &GROWN);
}

/// The same for the checkpoint: synced commits go.
#[test]
fn ignored_syncs_of_the_checkpoint_are_seen() {
    a_lying_disk_is_found_out(Ignored::Checkpoint, true, &GROWN);
}

/// V8: recovering and crashing a hundred times leaves no more files or bytes than once.
#[test]
fn a_hundred_recoveries_take_no_more_room_than_one() {
    for setup in setups(Policy::Manual) {
        let mut world = drive::World::new(setup, None);
        world.run(&GROWN).unwrap();
        let mut disk = world.disk.power_cut(words::Kept::Seed(9).keep());
        let mut sizes = Vec::new();
        for nth in 0..100 {
            let log = drive::options(&setup).open_on(&disk, image::DIR).unwrap();
            let next = if nth % 2 == 0 {
                disk.power_cut(words::Kept::Seed(nth).keep())
            } else {
                disk.kill()
            };
            drop(log);
            disk = next;
            let files = image::Image::take(&disk).files;
            sizes.push((files.len(), files.values().map(Vec::len).sum::<usize>()));
        }
        assert!(sizes[2..].iter().all(|size| *size <= sizes[1]), "{setup:?}: {sizes:?}");
    }
}

/// The line of a failure is read as it was written.
#[test]
fn a_line_is_read_as_it_was_written() {
    let text = "mapped strict safe stale bytes seed=7 ops=s.x.F13.p2.k cuts=12:kill,3:power:mask:5";
    let line: Line = text.parse().unwrap();
    assert_eq!(line.to_string(), text);
    assert!("mapped strict safe stale bytes seed=7 ops=s.z cuts=".parse::<Line>().is_err());
}
