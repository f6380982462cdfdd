//! Which workloads are explored: all short ones, those with one fault in every place, long ones.

use super::explore::{Effort, Job};
use super::words::{ALPHABET, Chance, Op, Policy, Setup, Tear, UNBOUNDED};

/// A log with three segments, consumers, synced commits, and a tail that is not durable.
pub(crate) const GROWN: [Op; 9] = [
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

/// Modes, rules for names, what a new block shows, and media that tear; those are never mapped.
pub(crate) fn setups(policy: Policy) -> Vec<Setup> {
    let mut setups = Vec::new();
    for (mapped, tear) in
        [(true, Tear::Safe), (false, Tear::Safe), (false, Tear::Card), (false, Tear::Sector)]
    {
        for n in 0..4 {
            let (strict, stale) = (n & 1 == 0, n & 2 != 0);
            setups.push(Setup { mapped, strict, stale, tear, policy, seed: 1 });
        }
    }
    setups
}

/// All workloads of one and two operations, on a fresh directory and on a log that has grown, in an
/// order by chance. What leads to the last operation is explored as a workload of its own.
pub(crate) fn short(effort: Effort, seed: u64) -> Vec<Job> {
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
    shuffle(&mut jobs, seed);
    jobs
}

/// Every fault before every operation on a log that has grown, with life going on behind it: a call
/// that fails, a device that is full, no file to be opened any more.
pub(crate) fn faults(effort: Effort, seed: u64) -> Vec<Job> {
    let faults = (0..48).map(Op::Fault).chain((0..6).map(Op::Space));
    let faults = faults.chain((0..6).map(Op::Descriptors));
    let mut jobs = Vec::new();
    for fault in faults {
        for op in ALPHABET {
            for setup in setups(Policy::Manual) {
                let life = [fault, op, Op::Flush, Op::Small, Op::Kill, Op::Small, Op::Flush];
                let ops = [&GROWN[..], &life].concat();
                jobs.push(Job { setup, ops, from: GROWN.len(), effort, lies: None });
            }
        }
    }
    shuffle(&mut jobs, seed);
    jobs
}

fn shuffle(jobs: &mut [Job], seed: u64) {
    let mut chance = Chance::new(seed);
    for at in (1..jobs.len()).rev() {
        jobs.swap(at, chance.below(at as u64 + 1) as usize);
    }
}

/// A long workload by chance, with faults or without.
pub(crate) fn long(seed: u64, length: u64, effort: Effort) -> Job {
    let mut chance = Chance::new(seed);
    let policies = [Policy::Manual, Policy::EveryAppend, Policy::Bytes, Policy::Interval];
    let tears = [Tear::Safe, Tear::Safe, Tear::Card, Tear::Sector];
    let tear = tears[chance.below(4) as usize];
    let setup = Setup {
        mapped: tear == Tear::Safe && chance.below(2) == 0,
        strict: chance.below(2) == 0,
        tear,
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
        41 => Op::Space(UNBOUNDED),
        42 => Op::Descriptors(number % 6),
        _ => Op::Descriptors(UNBOUNDED),
    }
}
