//! The language of workloads on a whole store, and the one line that reproduces a failure.
//!
//! `mapped strict safe fresh seed=7 logs=013578 open=2 room=1 ops=a0-3.f0.k at=1 cuts=12:kill` is:
//! the disk as `crash_states/words.rs` has it, the rules of each log by number, how many logs may
//! be open at a time, which budget; the operations, the operation in which the first end comes
//! (behind the last: after all of them), and the changing calls to the storage before which the
//! machine or the process ended, each counted from the begin of that operation or recovery.

use std::fmt;
use std::str::FromStr;

use super::words::{self, Chance, Cut, Policy, Setup, Tear};

/// What is done; the letter it has in a line, and how many numbers belong to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    /// A batch to a log, in a shape.
    Append,
    /// Appends to a log until another segment is there.
    Roll,
    Flush,
    FlushAll,
    Maintain,
    RetainAll,
    Retain,
    /// Deletes so many eighths of the records of a log.
    DeleteRecords,
    DeleteLog,
    /// A consumer of a log polls so often, and commits.
    Consume,
    SyncConsumer,
    DeleteConsumer,
    /// A consumer commits the log start again.
    CommitBack,
    /// A replicator ships: so many batches until the link breaks, and how the upstream ends then.
    Ship,
    /// The upstream's machine or process ends.
    EndUpstream,
    /// Holds a log open, or lets it go.
    Hold,
    /// Other rules for a log.
    Rules,
    /// Another budget for the store.
    Room,
    Reopen,
    Kill,
    Power,
    /// A power cut, and some time without power; the wall clock may have no battery.
    Off,
    Time,
    /// The wall clock jumps.
    Jump,
    /// The wall clock is set right, and known to be.
    Right,
    /// A call of some kind fails: which, after how many, how often.
    Fault,
    Space,
    Descriptors,
    Read,
    /// Compacts a log.
    Compact,
    /// A batch to a log, in a shape, by a codec of its own.
    Pack,
    /// The records of a batch one by one through a linger: the log, the shape, how it is ended.
    Linger,
}

const VERBS: [(Verb, char, usize); 32] = [
    (Verb::Append, 'a', 2),
    (Verb::Roll, 'g', 1),
    (Verb::Flush, 'f', 1),
    (Verb::FlushAll, 'F', 0),
    (Verb::Maintain, 'm', 0),
    (Verb::RetainAll, 'r', 0),
    (Verb::Retain, 'R', 1),
    (Verb::DeleteRecords, 'd', 2),
    (Verb::DeleteLog, 'D', 1),
    (Verb::Consume, 'c', 3),
    (Verb::SyncConsumer, 'y', 2),
    (Verb::DeleteConsumer, 'x', 2),
    (Verb::CommitBack, 'b', 2),
    (Verb::Ship, 's', 3),
    (Verb::EndUpstream, 'U', 1),
    (Verb::Hold, 'h', 1),
    (Verb::Rules, 'L', 2),
    (Verb::Room, 'B', 1),
    (Verb::Reopen, 'o', 0),
    (Verb::Kill, 'k', 0),
    (Verb::Power, 'p', 1),
    (Verb::Off, 'O', 2),
    (Verb::Time, 't', 1),
    (Verb::Jump, 'J', 1),
    (Verb::Right, 'N', 0),
    (Verb::Fault, 'X', 3),
    (Verb::Space, 'S', 1),
    (Verb::Descriptors, 'Q', 1),
    (Verb::Read, 'z', 1),
    (Verb::Compact, 'C', 1),
    (Verb::Pack, 'A', 3),
    (Verb::Linger, 'l', 3),
];

/// A number behind [`Verb::Space`] and [`Verb::Descriptors`] that lifts the bound.
pub(crate) const UNBOUNDED: u16 = 99;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Op {
    pub(crate) verb: Verb,
    pub(crate) numbers: [u16; 3],
}

pub(crate) const fn op(verb: Verb, numbers: [u16; 3]) -> Op {
    Op { verb, numbers }
}

impl Op {
    fn row(verb: Verb) -> (char, usize) {
        let row = VERBS.iter().find(|(known, ..)| *known == verb);
        row.map_or(('?', 0), |(_, letter, count)| (*letter, *count))
    }

    /// How many of its numbers count.
    pub(crate) fn count(&self) -> usize {
        Op::row(self.verb).1
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (letter, count) = Op::row(self.verb);
        let numbers: Vec<String> = self.numbers[..count].iter().map(u16::to_string).collect();
        write!(f, "{letter}{}", numbers.join("-"))
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(text: &str) -> Result<Op, String> {
        let wrong = || format!("no operation: {text}");
        let letter = text.chars().next().ok_or_else(wrong)?;
        let (verb, _, count) = VERBS.iter().find(|(_, l, _)| *l == letter).ok_or_else(wrong)?;
        let mut numbers = [0; 3];
        let rest: Vec<&str> = text[1..].split('-').filter(|part| !part.is_empty()).collect();
        if rest.len() != *count {
            return Err(wrong());
        }
        for (number, part) in numbers.iter_mut().zip(rest) {
            *number = part.parse().map_err(|_| wrong())?;
        }
        Ok(Op { verb: *verb, numbers })
    }
}

/// What a workload runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Ground {
    pub(crate) disk: Setup,
    /// The rules that each log begins with.
    pub(crate) logs: Vec<u16>,
    pub(crate) open: usize,
    pub(crate) room: u16,
}

/// A workload, with the ends that are to come in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) ground: Ground,
    pub(crate) ops: Vec<Op>,
    pub(crate) at: usize,
    pub(crate) cuts: Vec<Cut>,
}

impl fmt::Display for Ground {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let disk = self.disk.to_string().replace(" manual ", " ");
        let digit = |rule: &u16| char::from_digit(u32::from(*rule), 36);
        let logs: String = self.logs.iter().filter_map(digit).collect();
        write!(f, "{disk} logs={logs} open={} room={}", self.open, self.room)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops: Vec<String> = self.ops.iter().map(Op::to_string).collect();
        let cuts: Vec<String> = self.cuts.iter().map(Cut::to_string).collect();
        write!(f, "{} ops={} at={} cuts={}", self.ground, ops.join("."), self.at, cuts.join(","))
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Line, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [mode, names, tear, stale, seed, logs, open, room, ops, at, cuts] = words[..] else {
            return Err(format!("no line: {text}"));
        };
        let disk = format!("{mode} {names} {tear} {stale} manual {seed} ops= {cuts}");
        let disk: words::Line = disk.parse()?;
        let after = |word: &str, name: &str| {
            word.strip_prefix(name).map(str::to_owned).ok_or_else(|| format!("no {name}: {word}"))
        };
        let number = |word: &str, name: &str| -> Result<usize, String> {
            after(word, name)?.parse().map_err(|_| format!("no number: {word}"))
        };
        let rules = after(logs, "logs=")?;
        let rules: Option<Vec<u32>> = rules.chars().map(|digit| digit.to_digit(36)).collect();
        let logs = rules.ok_or_else(|| format!("no rules: {logs}"))?;
        let ops = after(ops, "ops=")?;
        let ops: Result<Vec<Op>, String> =
            ops.split('.').filter(|part| !part.is_empty()).map(str::parse).collect();
        let ground = Ground {
            disk: disk.setup,
            logs: logs.into_iter().map(|digit| digit as u16).collect(),
            open: number(open, "open=")?,
            room: number(room, "room=")? as u16,
        };
        Ok(Line { ground, ops: ops?, at: number(at, "at=")?, cuts: disk.cuts })
    }
}

/// How many rules there are: see `rules.rs`.
pub(crate) const RULES: u64 = 15;
/// Logs of a store here.
pub(crate) const LOGS: usize = 6;

/// A workload from one seed.
pub(crate) fn any(seed: u64, length: u64) -> Line {
    let mut chance = Chance::new(seed);
    let tears = [Tear::Safe, Tear::Safe, Tear::Safe, Tear::Card, Tear::Sector];
    let tear = tears[chance.below(5) as usize];
    let disk = Setup {
        mapped: tear == Tear::Safe && chance.below(2) == 0,
        strict: chance.below(3) > 0,
        tear,
        stale: chance.below(4) == 0,
        policy: Policy::Manual,
        seed,
    };
    let logs = (0..LOGS).map(|_| rule(&mut chance)).collect();
    let (open, room) = (1 + chance.below(4) as usize, chance.below(3) as u16);
    let faults = chance.below(2) == 0;
    // Few logs are busy at a time, or nothing of interest happens to any.
    let busy: Vec<u16> = (0..2 + chance.below(3)).map(|_| chance.below(6) as u16).collect();
    let count = length / 2 + chance.below(length / 2 + 1);
    let ops = (0..count).map(|_| one(&mut chance, faults, &busy)).collect();
    Line { ground: Ground { disk, logs, open, room }, ops, at: 0, cuts: Vec::new() }
}

/// The rules of a log: those that compact more often than others.
fn rule(chance: &mut Chance) -> u16 {
    let rule = chance.below(RULES + 3);
    (if rule < RULES { rule } else { rule - 4 }) as u16
}

fn one(chance: &mut Chance, faults: bool, busy: &[u16]) -> Op {
    let other = rule(chance);
    let mut below = |bound: u64| chance.below(bound) as u16;
    let log = if below(5) == 0 { below(6) } else { busy[usize::from(below(busy.len() as u64))] };
    let (verb, rest) = match below(if faults { 104 } else { 96 }) {
        0..26 => (Verb::Append, [below(8), 0]),
        26..32 => (Verb::Roll, [0, 0]),
        32..37 => (Verb::Flush, [0, 0]),
        37..39 => return op(Verb::FlushAll, [0; 3]),
        39..41 => return op(Verb::Maintain, [0; 3]),
        41 => return op(Verb::RetainAll, [0; 3]),
        42..45 => (Verb::Retain, [0, 0]),
        45..47 => (Verb::DeleteRecords, [below(9), 0]),
        47..49 => (Verb::DeleteLog, [0, 0]),
        49..55 => (Verb::Consume, [below(2), below(10)]),
        55..57 => (Verb::SyncConsumer, [below(2), 0]),
        57 => (Verb::DeleteConsumer, [below(2), 0]),
        58 => (Verb::CommitBack, [below(2), 0]),
        59..63 => (Verb::Ship, [below(10), below(5)]),
        63 => return op(Verb::EndUpstream, [below(50), 0, 0]),
        64..66 => (Verb::Hold, [0, 0]),
        66..68 => (Verb::Rules, [other, 0]),
        68 => return op(Verb::Room, [below(3), 0, 0]),
        69..71 => return op(Verb::Reopen, [0; 3]),
        71..74 => return op(Verb::Kill, [0; 3]),
        74..77 => return op(Verb::Power, [below(50), 0, 0]),
        77 => return op(Verb::Off, [below(50), below(6), 0]),
        78..80 => return op(Verb::Time, [below(5), 0, 0]),
        80 => return op(Verb::Jump, [below(5), 0, 0]),
        81 => return op(Verb::Right, [0; 3]),
        82..84 => (Verb::Read, [0, 0]),
        84..89 => (Verb::Compact, [0, 0]),
        89..92 => (Verb::Pack, [below(8), below(5)]),
        92..96 => (Verb::Linger, [below(8), below(10)]),
        96..101 => return op(Verb::Fault, [below(14), below(6), 1 + below(8) / 6 * 3]),
        101 => return op(Verb::Space, [below(8), 0, 0]),
        102 => return op(Verb::Space, [UNBOUNDED, 0, 0]),
        _ => {
            let bound = if below(2) == 0 { UNBOUNDED } else { below(12) };
            return op(Verb::Descriptors, [bound, 0, 0]);
        }
    };
    op(verb, [log, rest[0], rest[1]])
}
