//! What goes wrong, and when: a schedule by API, by count and by chance.

use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::actions::Action;

/// Stands for all APIs.
const ANY: i16 = i16::MIN;

#[derive(Clone, Copy, Debug)]
pub(crate) enum When {
    /// At the nth request of that API from now on, counted from one.
    Nth(u64),
    /// At the nth and at each one behind it.
    From(u64),
    /// At each one with this chance in a thousand.
    PerMille(u64),
}

/// Bytes that stand where an answer should.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Garbage {
    /// This many by chance.
    Random(usize),
    /// A frame of no bytes.
    LengthZero,
    LengthNegative,
    /// A frame that says it has 2 GB, and a few bytes of it.
    LengthHuge,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fault {
    /// The request is never seen; the connection is closed or stays silent.
    DropBefore {
        close: bool,
    },
    /// The request is carried out and its answer lost; the connection is closed or stays silent.
    DropAfter {
        close: bool,
    },
    /// The request is carried out so much later, even if its connection is gone by then.
    Land(Duration),
    /// The answer comes later, and those behind it with it.
    Late(Duration),
    /// The answer comes later, and those behind it go first.
    Overtaken(Duration),
    /// The answer comes again so much later.
    Twice(Duration),
    /// The connection closes behind so many bytes of the answer, its length included.
    Cut(usize),
    /// So many bytes of the answer come, its length included, and then nothing.
    Stall(usize),
    /// The frame is whole and its body too short, by so many bytes.
    Truncate(usize),
    /// The frame is whole and its body too long, by so many bytes.
    Padded(usize),
    /// So many bits of the answer behind its correlation id are turned, by chance.
    Flip(usize),
    /// Five bytes of the answer, at a place by chance, are a length of four billion.
    Claim,
    /// These bytes, wherever the answer has them, are those.
    Replace(Vec<u8>, Vec<u8>),
    /// Added to the correlation id.
    Correlation(i32),
    Garbage(Garbage),
    /// The answer to ApiVersions names APIs and ranges that nobody knows.
    StrangeVersions,
    /// Answered with this code; not carried out.
    Error(i16),
    /// Carried out, and answered with this code.
    ErrorAfter(i16),
    /// The answer asks the client to wait so long.
    Throttle(Duration),
    /// Done in front of the request, or right behind it.
    Before(Action),
    After(Action),
}

#[derive(Debug)]
struct Plan {
    api: i16,
    when: When,
    seen: u64,
    fault: Fault,
}

/// All faults that one request meets.
#[derive(Clone, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) list: Vec<Fault>,
}

impl Faults {
    /// How the request is answered: the code, and whether it is carried out.
    pub(crate) fn code(&self) -> (Option<i16>, bool) {
        let code = self.list.iter().find_map(|fault| match fault {
            Fault::Error(code) => Some((Some(*code), false)),
            Fault::ErrorAfter(code) => Some((Some(*code), true)),
            _ => None,
        });
        code.unwrap_or((None, true))
    }

    pub(crate) fn landing(&self) -> Option<Duration> {
        self.list.iter().find_map(|fault| match fault {
            Fault::Land(later) => Some(*later),
            _ => None,
        })
    }

    pub(crate) fn throttle(&self) -> Duration {
        let found = self.list.iter().find_map(|fault| match fault {
            Fault::Throttle(wait) => Some(*wait),
            _ => None,
        });
        found.unwrap_or_default()
    }

    /// Whether the request is never seen, and what becomes of the connection.
    pub(crate) fn dropped_before(&self) -> Option<bool> {
        self.list.iter().find_map(|fault| match fault {
            Fault::DropBefore { close } => Some(*close),
            _ => None,
        })
    }

    pub(crate) fn before(&self) -> Vec<Action> {
        self.actions(|fault| match fault {
            Fault::Before(action) => Some(action.clone()),
            _ => None,
        })
    }

    pub(crate) fn after(&self) -> Vec<Action> {
        self.actions(|fault| match fault {
            Fault::After(action) => Some(action.clone()),
            _ => None,
        })
    }

    fn actions(&self, of: impl Fn(&Fault) -> Option<Action>) -> Vec<Action> {
        self.list.iter().filter_map(of).collect()
    }
}

/// The schedule, and what of it came true.
#[derive(Debug)]
pub(crate) struct Schedule {
    plans: Vec<Plan>,
    pub(crate) random: Random,
}

impl Schedule {
    pub(crate) fn new(seed: u64) -> Schedule {
        Schedule { plans: Vec::new(), random: Random(seed) }
    }

    pub(crate) fn plan(&mut self, api: ApiKey, when: When, fault: Fault) {
        self.plans.push(Plan { api: api as i16, when, seen: 0, fault });
    }

    /// At the requests of any API.
    pub(crate) fn plan_any(&mut self, when: When, fault: Fault) {
        self.plans.push(Plan { api: ANY, when, seen: 0, fault });
    }

    pub(crate) fn clear(&mut self) {
        self.plans.clear();
    }

    /// What the request that is now in front of the cluster meets.
    pub(crate) fn meet(&mut self, api: i16) -> Faults {
        let mut list = Vec::new();
        for plan in self.plans.iter_mut().filter(|plan| [api, ANY].contains(&plan.api)) {
            plan.seen += 1;
            let met = match plan.when {
                When::Nth(n) => plan.seen == n,
                When::From(n) => plan.seen >= n,
                When::PerMille(chance) => self.random.below(1000) < chance,
            };
            if met {
                list.push(plan.fault.clone());
            }
        }
        Faults { list }
    }
}

/// A generator by Steele, Lea and Flood (SplitMix64).
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}
