//! What was handed to each log of the store and what was promised of it: kept outside the crate.
//!
//! A log's own book is the model of `crash_states/model.rs`; what a store adds is that a log comes
//! and goes, that rules take records, and that an upstream has some of them.

use std::collections::{BTreeMap, BTreeSet};

use super::model::{Batch, Content, Follower, Model};
use super::rules::{Cleaning, NAMES, UPLINK, budget, cleaning, is_keyed, may_start};
use super::script::Ground;
use super::words::mix;
use super::work::CONSUMERS;

/// Whether a log is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum There {
    /// Never made, or deleted, and that acknowledged.
    No,
    /// It is being made.
    Coming,
    Yes,
    /// It is being deleted, or that failed half way.
    Going,
}

/// One log of the store.
#[derive(Clone, Debug)]
pub(crate) struct Book {
    pub(crate) model: Model,
    pub(crate) there: There,
    /// How many logs of this name were deleted.
    pub(crate) life: u64,
    /// Its rules, and those it is changed from.
    pub(crate) rules: [u16; 2],
    /// When batches were appended, by the true clock: the end of each, and the time.
    born: Vec<(i64, u64)>,
    /// Thinning may have taken records below this offset.
    pub(crate) thinned_below: i64,
    /// Below which offsets compaction may have taken records, and since when by the true clock.
    compacted: Vec<(i64, u64)>,
    /// Below it tombstones are old enough to go.
    pub(crate) ripe_below: i64,
    /// An earlier log of the name may be back after a cut, as its deletion has failed.
    pub(crate) blurred: bool,
    /// What the uplink's committed offset may be.
    pub(crate) linked: BTreeSet<i64>,
    /// A killed process had it open, or a close has failed, and nobody had it since: no flush or
    /// close of the store covers it.
    pub(crate) unopened: bool,
    /// Consumers that were deleted, which a power cut may bring back.
    left: BTreeMap<&'static str, Vec<i64>>,
}

impl Book {
    fn new(seed: u64, rule: u16) -> Book {
        Book {
            model: Model::new(seed),
            there: There::No,
            life: 0,
            rules: [rule; 2],
            born: Vec::new(),
            thinned_below: 0,
            compacted: Vec::new(),
            ripe_below: 0,
            blurred: false,
            linked: BTreeSet::new(),
            unopened: false,
            left: BTreeMap::new(),
        }
    }

    /// A log of this name is gone for good; the next one is another.
    pub(crate) fn next_life(&mut self) {
        let (life, rules, seed) = (self.life + 1, self.rules, self.model.seed);
        let number = self.model.number;
        *self = Book::new(mix(seed ^ life), rules[0]);
        (self.life, self.rules, self.model.number) = (life, rules, number);
    }

    /// One past the last record that may be there.
    pub(crate) fn highest(&self) -> i64 {
        self.model.pending.as_ref().map_or(self.model.end(), Batch::end)
    }

    /// Compaction may have taken records below this offset.
    pub(crate) fn compacted_below(&self) -> i64 {
        self.compacted.last().map_or(0, |(below, _)| *below)
    }

    /// From now on compaction may take what is old enough.
    fn may_compact(&mut self, Cleaning { lag, tombstones }: Cleaning, now_ms: u64) {
        let old = self.older_than(now_ms, lag.as_millis() as u64).min(self.highest());
        let below = if lag.is_zero() { self.highest() } else { old };
        if below > self.compacted_below() {
            self.compacted.push((below, now_ms));
        }
        let is_ripe = |(_, at): &&(i64, u64)| now_ms - at >= tombstones.as_millis() as u64;
        let ripe = self.compacted.iter().rfind(is_ripe);
        self.ripe_below = self.ripe_below.max(ripe.map_or(0, |(below, _)| *below));
    }

    /// The next batch, of so many records with so many bytes together.
    pub(crate) fn next_batch(&self, seed: u64, records: usize, bytes: usize) -> Batch {
        let model = &self.model;
        let plain = Batch::new(seed, model.number, model.end(), records, bytes);
        if self.rules.into_iter().any(is_keyed) { keyed(plain) } else { plain }
    }

    pub(crate) fn pend(&mut self, batch: Batch, now_ms: u64) {
        self.born.push((batch.end(), now_ms));
        self.model.number += 1;
        self.model.pending = Some(batch);
    }

    /// Nothing came of it.
    pub(crate) fn unpend(&mut self) {
        self.model.pending = None;
        self.born.pop();
    }

    /// The highest commit of each consumer that may be in force: of all, or of the uplink and
    /// those named.
    pub(crate) fn holders(&self, names: &[&str]) -> Vec<i64> {
        let of = |one: &Follower| one.commits.iter().chain(&one.pending).copied().max();
        // One that is being created, or could not be, may not be there.
        let counts = |one: &&Follower| {
            (names.is_empty() || names.contains(&one.name)) && !one.commits.is_empty()
        };
        let mut all: Vec<i64> = self.model.followers.iter().filter(counts).filter_map(of).collect();
        all.extend(self.linked());
        all
    }

    /// The highest offset the uplink may have committed, if there is one.
    pub(crate) fn linked(&self) -> Option<i64> {
        self.linked.last().copied()
    }

    /// The first offset that is younger than that.
    pub(crate) fn older_than(&self, now_ms: u64, age_ms: u64) -> i64 {
        let old = |(_, at): &&(i64, u64)| now_ms.saturating_sub(*at) >= age_ms;
        self.born.iter().take_while(old).last().map_or(0, |(end, _)| *end)
    }

    /// The highest offset that at least so many bytes of batches may lie behind.
    pub(crate) fn with_behind(&self, bytes: u64) -> i64 {
        let mut behind = 0;
        for batch in self.model.from(self.model.start).collect::<Vec<_>>().into_iter().rev() {
            // No less than what the format takes for it.
            behind += 61 + batch.records.iter().map(room).sum::<u64>();
            if behind >= bytes {
                return batch.base;
            }
        }
        self.model.start
    }

    /// A consumer of this name, begun if it is new.
    pub(crate) fn follow(&mut self, name: &'static str, durable: bool) {
        if self.model.follower(name).is_none() {
            let pending = Some(self.model.start);
            let fresh = Follower { name, durable, commits: Vec::new(), synced: 0, pending };
            self.model.followers.push(fresh);
        }
    }

    /// Its deletion begins: nothing is promised of it from here on.
    pub(crate) fn unfollow(&mut self, name: &'static str) {
        if let Some(at) = self.model.followers.iter().position(|one| one.name == name) {
            let gone = self.model.followers.remove(at);
            let known = self.left.entry(name).or_default();
            known.extend(gone.commits.into_iter().chain(gone.pending));
        }
    }

    /// What a power cut may leave: also what was deleted, until the one that came after it was
    /// made durable.
    pub(crate) fn after_power_cut(&self) -> Model {
        let mut model = self.model.clone();
        for follower in model.followers.iter_mut().filter(|one| one.synced == 0) {
            let old = self.left.get(follower.name).into_iter().flatten();
            follower.commits.extend(old);
        }
        model
    }

    /// All that was promised until now survives a power cut.
    pub(crate) fn settle(&mut self) {
        self.model.durable = self.model.end();
        for follower in &mut self.model.followers {
            follower.synced = follower.commits.len();
        }
    }

    /// Takes over what a recovery has left.
    pub(crate) fn adopt(&mut self, start: i64, end: i64, kill: bool, commits: &[(String, i64)]) {
        let (known, asked) = (self.model.start, self.model.start_asked.max(start));
        self.model.adopt(start, end, self.model.durable.min(end));
        if kill {
            // Nobody has opened it yet, and its start may be in the cache alone.
            (self.model.start, self.model.start_asked) = (known, asked);
        }
        self.born.retain(|(of, _)| *of <= end);
        // What is cut was not synced, and only what is was looked at.
        for (below, _) in &mut self.compacted {
            *below = (*below).min(end);
        }
        self.ripe_below = self.ripe_below.min(end);
        self.blurred = false;
        self.there = There::Yes;
        self.unopened = kill;
        let uplink = commits.iter().find(|(name, _)| name == UPLINK);
        if !kill {
            self.linked.clear();
            self.left.clear();
        }
        self.linked.extend(uplink.map(|(_, committed)| *committed));
        for (name, committed) in commits {
            if let Some(follower) = self.model.follower(name) {
                follower.commits.push(*committed);
                follower.pending = None;
            } else if let Some((name, durable)) = CONSUMERS.into_iter().find(|one| one.0 == name) {
                // Its deletion did not survive.
                let commits = vec![*committed];
                let back = Follower { name, durable, commits, synced: 0, pending: None };
                self.model.followers.push(back);
            }
        }
        self.model.followers.retain(|one| commits.iter().any(|(name, _)| name == one.name));
    }

    /// Whether a flush or a close of the whole store makes it durable.
    pub(crate) fn is_covered(&self) -> bool {
        self.there == There::Yes && !self.unopened
    }

    fn obligations(&self) -> u64 {
        let flags = u64::from(self.blurred) << 4 | u64::from(self.unopened) << 5;
        let there = self.there as u64 | flags | self.life << 8;
        let linked = self.linked.iter().fold(0, |hash, one| mix(hash ^ *one as u64));
        let compacted = mix(self.compacted_below() as u64) ^ self.ripe_below as u64;
        let gone = mix(self.thinned_below as u64 ^ mix(compacted));
        mix(self.model.obligations() ^ mix(there ^ mix(linked ^ gone)))
    }
}

/// The same with keys of which there are few, and values that a codec makes smaller.
fn keyed(batch: Batch) -> Batch {
    let mut records = batch.records.to_vec();
    for (nth, record) in records.iter_mut().enumerate() {
        let chance = mix(batch.hash ^ nth as u64);
        // Some that no other record has: those stay.
        let key = if chance.is_multiple_of(5) { batch.hash } else { chance >> 8 & 7 };
        record.key = Some(format!("key {key}").into_bytes());
        if let Some(value) = &mut record.value {
            let half = value.len() / 2;
            value[half..].fill(b'=');
        }
        if chance.is_multiple_of(7) {
            record.value = None;
        }
    }
    Batch { records: records.into(), ..batch }
}

/// At most what a record takes in a batch.
fn room(one: &Content) -> u64 {
    let of = |bytes: &Option<Vec<u8>>| bytes.as_ref().map_or(0, Vec::len);
    let headers: usize = one.headers.iter().map(|(name, value)| name.len() + of(value) + 10).sum();
    (of(&one.key) + of(&one.value) + headers + 40) as u64
}

/// All logs of the store.
#[derive(Clone, Debug)]
pub(crate) struct Books {
    pub(crate) logs: Vec<Book>,
    /// Milliseconds by the true clock, which no cut and no jump moves.
    pub(crate) now_ms: u64,
    pub(crate) room: u16,
    /// The largest budget so far.
    pub(crate) budget_max: u64,
    /// Faults were asked for.
    pub(crate) faulty: bool,
    /// What the oracle is told that never was: a planted fault.
    pub(crate) planted: bool,
    /// A planted fault: no compaction is known.
    pub(crate) forgetful: bool,
}

impl Books {
    pub(crate) fn new(ground: &Ground) -> Books {
        let seed = |at: usize| mix(ground.disk.seed ^ mix(at as u64 + 1));
        let logs = ground.logs.iter().enumerate().map(|(at, rule)| Book::new(seed(at), *rule));
        Books {
            logs: logs.take(NAMES.len()).collect(),
            now_ms: 0,
            room: ground.room,
            budget_max: budget(ground, ground.room),
            faulty: false,
            planted: false,
            forgetful: false,
        }
    }

    pub(crate) fn rules(&self) -> Vec<u16> {
        self.logs.iter().map(|log| log.rules[0]).collect()
    }

    /// Before anything is done: how far rules and want of room may move the starts.
    pub(crate) fn before(&mut self) {
        let (now_ms, forgetful) = (self.now_ms, self.forgetful);
        for book in self.logs.iter_mut().filter(|book| book.there != There::No) {
            for rule in book.rules {
                let may = may_start(book, rule, now_ms).min(book.highest());
                book.model.start_asked = book.model.start_asked.max(may);
                if rule == 6 {
                    book.thinned_below = book.highest();
                }
                if let Some(cleaning) = cleaning(rule).filter(|_| !forgetful) {
                    book.may_compact(cleaning, now_ms);
                }
            }
        }
    }

    /// Everything a recovered store is held to, in one number.
    pub(crate) fn obligations(&self) -> u64 {
        self.logs.iter().fold(self.now_ms, |hash, log| mix(hash ^ log.obligations()))
    }
}
