//! The language of workloads, and the one line that reproduces a crash state.
//!
//! `mapped strict safe fresh manual seed=1 ops=s.f.k cuts=12:power:mask:5,3:kill` is: positioned or
//! mapped files, the rule for names, what a cut does to sectors under way, whether new blocks show
//! stale bytes, the flush policy, the seed of contents and of chance, the operations, and the
//! storage calls before which the machine or the process ended, each counted from the start of the
//! run or of the recovery that the one before it led to.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use forebay::simulation::{Keep, Names, Profile, Torn};
use forebay::{FlushPolicy, IoMode, Media};

/// One operation on the log. The first twelve and the clock are the alphabet that is explored
/// exhaustively; the others come in random workloads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Op {
    Small,
    CrossSector,
    /// Several batches, more than a segment together.
    CrossSegment,
    Flush,
    /// Appends until another segment is there.
    Roll,
    /// Deletes the first half of the records, as retention does: to a batch's start.
    Delete,
    /// Deletes all records but the last one.
    Truncate,
    /// Both consumers read on, and commit.
    Commit,
    SyncConsumer,
    Reopen,
    Kill,
    Close,
    Clock,
    /// A power cut that keeps what chance says; then the log is opened again.
    Power(u16),
    /// The next storage calls of some kind fail.
    Fault(u16),
    /// The device has this many free half sectors left; 99: enough for ever.
    Space(u16),
    /// The process may open this many more files; 99: any number.
    Descriptors(u16),
    /// The wall clock jumps.
    Jump(u16),
    /// Reads everything, from the start and from each offset.
    Read,
}

/// The alphabet of the exhaustive exploration.
pub(crate) const ALPHABET: [Op; 13] = [
    Op::Small,
    Op::CrossSector,
    Op::CrossSegment,
    Op::Flush,
    Op::Roll,
    Op::Delete,
    Op::Truncate,
    Op::Commit,
    Op::SyncConsumer,
    Op::Reopen,
    Op::Kill,
    Op::Close,
    Op::Clock,
];

/// A number behind [`Op::Space`] and [`Op::Descriptors`] that lifts the bound.
pub(crate) const UNBOUNDED: u16 = 99;

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Small => write!(f, "s"),
            Op::CrossSector => write!(f, "x"),
            Op::CrossSegment => write!(f, "g"),
            Op::Flush => write!(f, "f"),
            Op::Roll => write!(f, "r"),
            Op::Delete => write!(f, "d"),
            Op::Truncate => write!(f, "t"),
            Op::Commit => write!(f, "c"),
            Op::SyncConsumer => write!(f, "y"),
            Op::Reopen => write!(f, "o"),
            Op::Kill => write!(f, "k"),
            Op::Close => write!(f, "e"),
            Op::Clock => write!(f, "a"),
            Op::Power(n) => write!(f, "p{n}"),
            Op::Fault(n) => write!(f, "F{n}"),
            Op::Space(n) => write!(f, "S{n}"),
            Op::Descriptors(n) => write!(f, "Q{n}"),
            Op::Jump(n) => write!(f, "J{n}"),
            Op::Read => write!(f, "R"),
        }
    }
}

impl FromStr for Op {
    type Err = String;

    fn from_str(text: &str) -> Result<Op, String> {
        let plain = ALPHABET.into_iter().chain([Op::Read]).find(|op| op.to_string() == text);
        if let Some(op) = plain {
            return Ok(op);
        }
        let wrong = || format!("no operation: {text}");
        let number = text.get(1..).and_then(|n| n.parse().ok()).ok_or_else(wrong)?;
        match text.get(..1) {
            Some("p") => Ok(Op::Power(number)),
            Some("F") => Ok(Op::Fault(number)),
            Some("S") => Ok(Op::Space(number)),
            Some("Q") => Ok(Op::Descriptors(number)),
            Some("J") => Ok(Op::Jump(number)),
            _ => Err(wrong()),
        }
    }
}

/// When the log flushes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Policy {
    Manual,
    EveryAppend,
    /// Every 2,000 bytes.
    Bytes,
    /// Every ten seconds of the simulated clock.
    Interval,
}

impl Policy {
    pub(crate) fn flush(self) -> FlushPolicy {
        match self {
            Policy::Manual => FlushPolicy::Manual,
            Policy::EveryAppend => FlushPolicy::EveryAppend,
            Policy::Bytes => FlushPolicy::EveryBytes(2000),
            Policy::Interval => FlushPolicy::Interval(Duration::from_secs(10)),
        }
    }
}

/// What a cut does to the sectors that are being written, and what the log is told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tear {
    /// Each is old or new.
    Safe,
    /// They take the 64 KiB around them along, as a card does, and the log keeps copies.
    Card,
    /// They alone may be lost, and the log keeps copies.
    Sector,
    /// They alone may be lost, and the log was told that they are not: a promise it cannot keep.
    Bare,
}

impl Tear {
    const ALL: [(Tear, &'static str); 4] = [
        (Tear::Safe, "safe"),
        (Tear::Card, "card"),
        (Tear::Sector, "sector"),
        (Tear::Bare, "bare"),
    ];

    pub(crate) fn media(self) -> Media {
        match self {
            Tear::Safe | Tear::Bare => Media::PowerSafe,
            Tear::Card | Tear::Sector => Media::TornOverwrite,
        }
    }

    /// How far a cut reaches around what is being written.
    pub(crate) fn bytes(self) -> usize {
        if self == Tear::Card { 64 << 10 } else { 512 }
    }
}

/// What a workload runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Setup {
    pub(crate) mapped: bool,
    pub(crate) strict: bool,
    pub(crate) tear: Tear,
    pub(crate) stale: bool,
    pub(crate) policy: Policy,
    pub(crate) seed: u64,
}

impl Setup {
    pub(crate) fn mode(&self) -> IoMode {
        if self.mapped { IoMode::Mapped } else { IoMode::Positioned }
    }

    pub(crate) fn profile(&self) -> Profile {
        Profile {
            names: if self.strict { Names::Strict } else { Names::Journal },
            torn: match self.tear {
                Tear::Safe => Torn::PowerSafe,
                _ => Torn::Overwrite { bytes: self.tear.bytes() },
            },
            stale: self.stale,
            seed: self.seed,
            ..Profile::default()
        }
    }
}

/// How a machine or a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Kill,
    Power(Kept),
}

/// Which loose pieces a power cut keeps: [`Keep`] with a text of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kept {
    Nothing,
    Everything,
    Mask(u64),
    Seed(u64),
    Prefix(usize),
    Only(usize),
    AllBut(usize),
}

impl Kept {
    pub(crate) fn keep(self) -> Keep {
        match self {
            Kept::Nothing => Keep::None,
            Kept::Everything => Keep::All,
            Kept::Mask(mask) => Keep::Mask(mask),
            Kept::Seed(seed) => Keep::Seed(seed),
            Kept::Prefix(n) => Keep::Prefix(n),
            Kept::Only(n) => Keep::Only(n),
            Kept::AllBut(n) => Keep::AllBut(n),
        }
    }
}

/// The end of a machine or process before a storage call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cut {
    /// Counted from 1, from the start of the run or of the recovery.
    pub(crate) call: u64,
    pub(crate) how: How,
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let call = self.call;
        match self.how {
            How::Kill => write!(f, "{call}:kill"),
            How::Power(Kept::Nothing) => write!(f, "{call}:power:none"),
            How::Power(Kept::Everything) => write!(f, "{call}:power:all"),
            How::Power(Kept::Mask(n)) => write!(f, "{call}:power:mask:{n}"),
            How::Power(Kept::Seed(n)) => write!(f, "{call}:power:seed:{n}"),
            How::Power(Kept::Prefix(n)) => write!(f, "{call}:power:prefix:{n}"),
            How::Power(Kept::Only(n)) => write!(f, "{call}:power:only:{n}"),
            How::Power(Kept::AllBut(n)) => write!(f, "{call}:power:but:{n}"),
        }
    }
}

impl FromStr for Cut {
    type Err = String;

    fn from_str(text: &str) -> Result<Cut, String> {
        let wrong = || format!("no cut: {text}");
        let parts: Vec<&str> = text.split(':').collect();
        let number = |at: usize| parts.get(at).and_then(|n| n.parse::<u64>().ok());
        let place = |at: usize| number(at).and_then(|n| usize::try_from(n).ok());
        let call = number(0).ok_or_else(wrong)?;
        let how = match (parts.get(1).copied(), parts.get(2).copied()) {
            (Some("kill"), None) => How::Kill,
            (Some("power"), Some("none")) => How::Power(Kept::Nothing),
            (Some("power"), Some("all")) => How::Power(Kept::Everything),
            (Some("power"), Some("mask")) => How::Power(Kept::Mask(number(3).ok_or_else(wrong)?)),
            (Some("power"), Some("seed")) => How::Power(Kept::Seed(number(3).ok_or_else(wrong)?)),
            (Some("power"), Some("prefix")) => {
                How::Power(Kept::Prefix(place(3).ok_or_else(wrong)?))
            }
            (Some("power"), Some("only")) => How::Power(Kept::Only(place(3).ok_or_else(wrong)?)),
            (Some("power"), Some("but")) => How::Power(Kept::AllBut(place(3).ok_or_else(wrong)?)),
            _ => return Err(wrong()),
        };
        Ok(Cut { call, how })
    }
}

/// A workload with the cuts that are to be made in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) setup: Setup,
    pub(crate) ops: Vec<Op>,
    pub(crate) cuts: Vec<Cut>,
}

impl fmt::Display for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let either = |is, yes, no| if is { yes } else { no };
        let policy = match self.policy {
            Policy::Manual => "manual",
            Policy::EveryAppend => "append",
            Policy::Bytes => "bytes",
            Policy::Interval => "interval",
        };
        let tear = Tear::ALL.iter().find(|(tear, _)| *tear == self.tear).map(|(_, word)| *word);
        write!(
            f,
            "{} {} {} {} {policy} seed={}",
            either(self.mapped, "mapped", "positioned"),
            either(self.strict, "strict", "journal"),
            tear.unwrap_or_default(),
            either(self.stale, "stale", "fresh"),
            self.seed,
        )
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ops: Vec<String> = self.ops.iter().map(Op::to_string).collect();
        let cuts: Vec<String> = self.cuts.iter().map(Cut::to_string).collect();
        write!(f, "{} ops={} cuts={}", self.setup, ops.join("."), cuts.join(","))
    }
}

impl FromStr for Line {
    type Err = String;

    fn from_str(text: &str) -> Result<Line, String> {
        let words: Vec<&str> = text.split_whitespace().collect();
        let [mode, names, torn, stale, policy, seed, ops, cuts] = words[..] else {
            return Err(format!("no line: {text}"));
        };
        let either = |word: &str, yes, no| match word {
            word if word == yes => Ok(true),
            word if word == no => Ok(false),
            _ => Err(format!("neither {yes} nor {no}: {word}")),
        };
        let policy = match policy {
            "manual" => Policy::Manual,
            "append" => Policy::EveryAppend,
            "bytes" => Policy::Bytes,
            "interval" => Policy::Interval,
            _ => return Err(format!("no policy: {policy}")),
        };
        let after = |word: &str, name: &str| {
            word.strip_prefix(name).map(str::to_owned).ok_or_else(|| format!("no {name}: {word}"))
        };
        let tear = Tear::ALL.iter().find(|(_, word)| *word == torn);
        let setup = Setup {
            mapped: either(mode, "mapped", "positioned")?,
            strict: either(names, "strict", "journal")?,
            tear: tear.map(|(tear, _)| *tear).ok_or_else(|| format!("no medium: {torn}"))?,
            stale: either(stale, "stale", "fresh")?,
            policy,
            seed: after(seed, "seed=")?.parse().map_err(|_| format!("no seed: {seed}"))?,
        };
        let ops = after(ops, "ops=")?;
        let cuts = after(cuts, "cuts=")?;
        Ok(Line { setup, ops: list(&ops, '.')?, cuts: list(&cuts, ',')? })
    }
}

fn list<T: FromStr<Err = String>>(text: &str, between: char) -> Result<Vec<T>, String> {
    text.split(between).filter(|part| !part.is_empty()).map(str::parse).collect()
}

/// Deterministic chance: SplitMix64.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Chance {
        Chance(seed ^ 0x5851_f42d_4c95_7f2d)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound.max(1)
    }
}

/// Spreads a number over all 64 bits.
pub(crate) fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
