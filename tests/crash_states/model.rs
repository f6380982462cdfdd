//! What was handed to the log and what the log has promised: kept outside the crate, and changed
//! before a call begins or after it has returned, never from what a recovered log says of itself.

use std::sync::Arc;

use forebay::{NewRecord, Timestamp};

use super::words::{Chance, mix};

/// A record as it was handed to the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    /// None in a tombstone.
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Content {
    pub(crate) fn to_new(&self) -> NewRecord<'_> {
        let key = self.key.as_deref();
        let mut record = match (&self.value, key) {
            (Some(value), None) => NewRecord::new(value.as_slice()),
            (Some(value), Some(key)) => NewRecord::new(value.as_slice()).key(key),
            (None, key) => NewRecord::tombstone(key.unwrap_or_default()),
        };
        for (name, value) in &self.headers {
            record = match value {
                Some(value) => record.header(name.as_str(), value.as_slice()),
                None => record.header_without_value(name.as_str()),
            };
        }
        record.timestamp(Timestamp::from_millis(self.timestamp))
    }
}

/// A batch that was handed to append.
#[derive(Clone, Debug)]
pub(crate) struct Batch {
    pub(crate) base: i64,
    pub(crate) records: Arc<[Content]>,
    /// Of the seed and the number: two batches of one run never share it.
    pub(crate) hash: u64,
}

impl Batch {
    /// The content follows from the run's seed and the batch's number in the run alone.
    pub(crate) fn new(seed: u64, number: u64, base: i64, records: usize, bytes: usize) -> Batch {
        let hash = mix(seed.rotate_left(32) ^ mix(number));
        let mut chance = Chance::new(hash);
        let records = (0..records).map(|n| {
            let tombstone = n > 0 && chance.below(5) == 0;
            let mut value = vec![0; bytes / records];
            for word in value.chunks_mut(8) {
                let fresh = chance.next().to_be_bytes();
                word.copy_from_slice(&fresh[..word.len()]);
            }
            let headers = chance.below(3);
            let header = |h| (format!("h{h}"), (h > 0).then(|| number.to_be_bytes().to_vec()));
            Content {
                timestamp: 1_790_000_000_000 + (chance.below(2000) as i64),
                key: (tombstone || chance.below(2) == 0)
                    .then(|| format!("key {number}").into_bytes()),
                value: (!tombstone).then_some(value),
                headers: (0..headers).map(header).collect(),
            }
        });
        Batch { base, records: records.collect(), hash }
    }

    pub(crate) fn end(&self) -> i64 {
        self.base + self.records.len() as i64
    }
}

/// A consumer, as far as the log has promised to remember it.
#[derive(Clone, Debug)]
pub(crate) struct Follower {
    pub(crate) name: &'static str,
    /// It sees only durable records.
    pub(crate) durable: bool,
    /// What it has committed, in order of time; its creation is the first commit.
    pub(crate) commits: Vec<i64>,
    /// Commits that survive a power cut: the last of these many, or a later one.
    pub(crate) synced: usize,
    /// What is being committed now.
    pub(crate) pending: Option<i64>,
}

/// The obligations at one moment of a run.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) seed: u64,
    /// How many batches were made so far, those that were lost included.
    pub(crate) number: u64,
    /// What the log holds, from its first offset on, deleted ones included.
    pub(crate) batches: Vec<Batch>,
    /// What is being appended now.
    pub(crate) pending: Option<Batch>,
    /// Below it, everything was acknowledged as durable.
    pub(crate) durable: i64,
    /// The log start that was acknowledged, and the highest that was asked for.
    pub(crate) start: i64,
    pub(crate) start_asked: i64,
    pub(crate) followers: Vec<Follower>,
    /// The last close was acknowledged and nothing was done since.
    pub(crate) closed: bool,
    /// A sync has failed under the log that is open.
    pub(crate) sync_failed: bool,
    /// A sync of a segment failed in the call under way, which may not yet have left word of that:
    /// a process that is killed in between writes in place what the device may keep nothing of.
    pub(crate) unsaid: bool,
    /// The device may have lost what it was said to hold: nothing is known of the clean mark.
    pub(crate) faulty: bool,
}

impl Model {
    pub(crate) fn new(seed: u64) -> Model {
        Model {
            seed,
            number: 0,
            batches: Vec::new(),
            pending: None,
            durable: 0,
            start: 0,
            start_asked: 0,
            followers: Vec::new(),
            closed: false,
            sync_failed: false,
            unsaid: false,
            faulty: false,
        }
    }

    /// One past the last record whose append has returned.
    pub(crate) fn end(&self) -> i64 {
        self.batches.last().map_or(self.start, |last| last.end().max(self.start))
    }

    /// What is in the log or on its way there, from an offset on.
    pub(crate) fn from(&self, offset: i64) -> impl Iterator<Item = &Batch> {
        let first = self.batches.partition_point(|batch| batch.end() <= offset);
        self.batches[first..].iter().chain(&self.pending)
    }

    /// The content at an offset.
    pub(crate) fn at(&self, offset: i64) -> Option<(&Batch, &Content)> {
        let batch = self.from(offset).next().filter(|batch| batch.base <= offset)?;
        let nth = usize::try_from(offset - batch.base).ok()?;
        batch.records.get(nth).map(|content| (batch, content))
    }

    /// Whether the log may end here after a power cut.
    pub(crate) fn may_end_at(&self, end: i64) -> bool {
        let boundary = |batch: &Batch| batch.end() == end || batch.base == end;
        end == 0 || self.batches.iter().chain(&self.pending).any(boundary)
    }

    /// Takes over what a recovery has left, once that was found to be right.
    pub(crate) fn adopt(&mut self, start: i64, end: i64, durable: i64) {
        if let Some(pending) = self.pending.take().filter(|pending| pending.end() <= end) {
            self.batches.push(pending);
        }
        self.batches.retain(|batch| batch.end() <= end);
        self.start = start;
        self.start_asked = start;
        self.durable = self.durable.max(durable);
    }

    pub(crate) fn follower(&mut self, name: &str) -> Option<&mut Follower> {
        self.followers.iter_mut().find(|follower| follower.name == name)
    }

    /// Everything that a recovered log is held to, in one number.
    pub(crate) fn obligations(&self) -> u64 {
        let mut hash = 0;
        let mut take = |n: u64| hash = mix(hash ^ n).wrapping_add(0x9e37_79b9_7f4a_7c15);
        for batch in self.batches.iter().chain(&self.pending) {
            take(batch.hash);
        }
        take(u64::from(self.pending.is_some()));
        for n in [self.durable, self.start, self.start_asked] {
            take(n as u64);
        }
        for follower in &self.followers {
            let from = follower.synced.saturating_sub(1);
            take(follower.commits.len() as u64 - from as u64);
            for commit in follower.commits[from..].iter().chain(&follower.pending) {
                take(*commit as u64);
            }
            take(u64::from(follower.synced > 0) | u64::from(follower.pending.is_some()) << 1);
        }
        let flags = [self.closed, self.faulty, self.unsaid];
        take(flags.iter().fold(0, |bits, flag| bits << 1 | u64::from(*flag)));
        hash
    }
}
