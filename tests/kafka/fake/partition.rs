//! One partition: its log, how far it is replicated, and what it remembers of producers.
//!
//! What a leader remembers is a function of its log, of the restarts it has seen and of the
//! producers that expired, and is made anew from these whenever the leader changes.

use std::collections::{BTreeMap, VecDeque};

use super::batch::{Batch, Refusal};
use super::crc::crc32c;

pub(crate) const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;
pub(crate) const INVALID_PRODUCER_EPOCH: i16 = 47;

/// How many of a producer's batches a leader knows again.
const WINDOW: usize = 5;

/// What survives a change of leader.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Keep {
    /// What was replicated; the rest is gone.
    Replicated,
    /// All that the old leader had.
    All,
    /// What lies below this offset. Below the high watermark, it is an unclean election or a power
    /// cut: acknowledged records are lost.
    Below(i64),
}

/// A batch in the log.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) base_offset: i64,
    /// When the broker appended it, if the topic shows that in place of the records' times.
    pub(crate) append_time: Option<i64>,
    pub(crate) batch: Batch,
    /// As a Fetch returns it: with base offset, leader epoch and, if set, the broker's time.
    pub(crate) bytes: Vec<u8>,
}

impl Stored {
    pub(crate) fn end(&self) -> i64 {
        self.base_offset + i64::from(self.batch.count)
    }

    pub(crate) fn max_timestamp(&self) -> i64 {
        self.append_time.unwrap_or(self.batch.max_timestamp)
    }
}

#[derive(Clone, Debug)]
struct Known {
    first: i32,
    last: i32,
    base_offset: i64,
    end: i64,
    timestamp: i64,
}

/// What a leader remembers of a producer.
#[derive(Clone, Debug)]
pub(crate) struct Producer {
    pub(crate) epoch: i16,
    pub(crate) last_timestamp: i64,
    known: VecDeque<Known>,
}

impl Producer {
    pub(crate) fn last_sequence(&self) -> i32 {
        self.known.back().map_or(-1, |known| known.last)
    }
}

/// What becomes of a batch that is well-formed.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Verdict {
    Append,
    /// It is there already: the offset is that of the first time. The time is that of the batch,
    /// which brokers say is the append's whatever the topic shows.
    Duplicate {
        base_offset: i64,
        end: i64,
        timestamp: i64,
    },
}

#[derive(Debug)]
pub(crate) struct Partition {
    /// None while nobody leads.
    pub(crate) leader: Option<i32>,
    pub(crate) leader_epoch: i32,
    /// While nobody leads: what the next leader will have.
    pub(crate) kept: Keep,
    /// Leader and epoch as Metadata names them.
    pub(crate) advertised: (Option<i32>, i32),
    pub(crate) log: Vec<Stored>,
    pub(crate) log_start: i64,
    pub(crate) high_watermark: i64,
    /// The high watermark as followers know it, a fetch later.
    pub(crate) told: i64,
    /// Where the leader's log ended when it was elected: until that is replicated, it tells no
    /// consumer where its log ends.
    pub(crate) epoch_start: i64,
    pub(crate) producers: BTreeMap<i64, Producer>,
    /// Up to where a producer's batches are no longer remembered, for it expired.
    forgotten: BTreeMap<i64, i64>,
    /// Up to where a node has its knowledge from a snapshot, which holds the last batch only.
    reloaded: BTreeMap<i32, i64>,
}

impl Partition {
    pub(crate) fn new(leader: i32) -> Partition {
        Partition {
            leader: Some(leader),
            leader_epoch: 0,
            kept: Keep::All,
            advertised: (Some(leader), 0),
            log: Vec::new(),
            log_start: 0,
            high_watermark: 0,
            told: 0,
            epoch_start: 0,
            producers: BTreeMap::new(),
            forgotten: BTreeMap::new(),
            reloaded: BTreeMap::new(),
        }
    }

    pub(crate) fn end(&self) -> i64 {
        self.log.last().map_or(0, Stored::end)
    }

    /// The rule of sequences.
    pub(crate) fn judge(&self, batch: &Batch) -> Result<Verdict, Refusal> {
        // With no state any first sequence is taken.
        let state = self.producers.get(&batch.producer_id).filter(|_| batch.has_producer());
        let Some(producer) = state else { return Ok(Verdict::Append) };
        let (first, last) = (batch.base_sequence, batch.last_sequence());
        let id = batch.producer_id;
        if batch.producer_epoch < producer.epoch {
            let why = format!("producer {id}: epoch {} < {}", batch.producer_epoch, producer.epoch);
            return Err(Refusal::by_log(INVALID_PRODUCER_EPOCH, why));
        }
        if batch.producer_epoch > producer.epoch {
            if first == 0 {
                return Ok(Verdict::Append);
            }
            let why = format!("producer {id}: epoch {} begins at {first}", batch.producer_epoch);
            return Err(Refusal::by_log(OUT_OF_ORDER_SEQUENCE_NUMBER, why));
        }
        let same = |known: &&Known| known.first == first && known.last == last;
        if let Some(known) = producer.known.iter().find(same) {
            return Ok(Verdict::Duplicate {
                base_offset: known.base_offset,
                end: known.end,
                timestamp: known.timestamp,
            });
        }
        let next = producer.last_sequence().checked_add(1).unwrap_or(0);
        if first != next {
            let why = format!("producer {id}: sequences {first} to {last}, next is {next}");
            return Err(Refusal::by_log(OUT_OF_ORDER_SEQUENCE_NUMBER, why));
        }
        Ok(Verdict::Append)
    }

    /// Returns the batch's base offset.
    pub(crate) fn append(&mut self, batch: Batch, append_time: Option<i64>) -> i64 {
        let base_offset = self.end();
        let bytes = as_stored(&batch, base_offset, self.leader_epoch, append_time);
        let stored = Stored { base_offset, append_time, batch, bytes };
        remember(&mut self.producers, &stored);
        self.log.push(stored);
        base_offset
    }

    pub(crate) fn replicated(&mut self, end: i64) {
        self.high_watermark = self.high_watermark.max(end);
    }

    /// Nobody leads; who leads next will have this.
    pub(crate) fn orphan(&mut self, keep: Keep) {
        self.leader = None;
        self.leader_epoch += 1;
        self.kept = keep;
    }

    pub(crate) fn take_over(&mut self, leader: i32, keep: Keep) {
        let end = match keep {
            Keep::Replicated => self.high_watermark,
            Keep::All => self.end(),
            Keep::Below(offset) => offset,
        };
        self.log.retain(|stored| stored.end() <= end);
        let end = self.end();
        self.epoch_start = end;
        self.high_watermark = self.high_watermark.min(end);
        self.told = self.told.min(end);
        self.log_start = self.log_start.min(end);
        // Other batches will take these offsets.
        for offset in self.forgotten.values_mut().chain(self.reloaded.values_mut()) {
            *offset = (*offset).min(end);
        }
        self.leader = Some(leader);
        self.leader_epoch += 1;
        self.rebuild();
    }

    /// A node has stopped and started: from here back it knows last batches only.
    pub(crate) fn reload(&mut self, node: i32) {
        self.reloaded.insert(node, self.end());
        self.rebuild();
    }

    fn rebuild(&mut self) {
        self.producers = self.remembered(self.leader, self.end());
    }

    /// What a node remembers of the log below this offset.
    fn remembered(&self, node: Option<i32>, end: i64) -> BTreeMap<i64, Producer> {
        let reloaded = node.and_then(|node| self.reloaded.get(&node)).copied();
        let mut producers = BTreeMap::new();
        for stored in self.log.iter().take_while(|stored| stored.end() <= end) {
            if reloaded.is_some_and(|end| stored.base_offset == end) {
                keep_last(&mut producers);
            }
            let forgotten = self.forgotten.get(&stored.batch.producer_id).copied().unwrap_or(0);
            if stored.base_offset >= forgotten {
                remember(&mut producers, stored);
            }
        }
        if reloaded.is_some_and(|reloaded| reloaded == end) {
            keep_last(&mut producers);
        }
        producers
    }

    /// What a node says of producers: a follower knows what is replicated.
    pub(crate) fn producers_at(&self, node: i32) -> BTreeMap<i64, Producer> {
        if self.leader == Some(node) {
            return self.producers.clone();
        }
        // How many of its batches it knows again is not told.
        self.remembered(None, self.high_watermark)
    }

    /// Forgets the producers whose last batch is this old by its own time. Returns how many.
    pub(crate) fn expire(&mut self, now_ms: i64, age_ms_max: i64) -> usize {
        let old = |producer: &Producer| now_ms - producer.last_timestamp >= age_ms_max;
        let ids: Vec<_> = self.producers.iter().filter(|(_, producer)| old(producer)).collect();
        let ids: Vec<_> = ids.into_iter().map(|(id, _)| *id).collect();
        ids.iter().for_each(|id| self.forget(*id));
        ids.len()
    }

    pub(crate) fn forget(&mut self, producer_id: i64) {
        self.producers.remove(&producer_id);
        self.forgotten.insert(producer_id, self.end());
    }

    /// High watermark and log end as a node has them.
    pub(crate) fn marks_at(&self, node: i32) -> (i64, i64) {
        if self.leader == Some(node) {
            (self.high_watermark, self.end())
        } else {
            (self.told, self.high_watermark)
        }
    }

    /// Batches that consumers may see, below a high watermark.
    pub(crate) fn below(&self, end: i64) -> impl Iterator<Item = &Stored> {
        self.log.iter().take_while(move |stored| stored.end() <= end)
    }

    pub(crate) fn visible(&self) -> impl Iterator<Item = &Stored> {
        self.below(self.high_watermark)
    }
}

fn remember(producers: &mut BTreeMap<i64, Producer>, stored: &Stored) {
    let batch = &stored.batch;
    if !batch.has_producer() {
        return;
    }
    let new = || Producer { epoch: -1, last_timestamp: -1, known: VecDeque::new() };
    let producer = producers.entry(batch.producer_id).or_insert_with(new);
    if producer.epoch != batch.producer_epoch {
        producer.known.clear();
        producer.epoch = batch.producer_epoch;
    }
    producer.last_timestamp = stored.max_timestamp();
    producer.known.push_back(Known {
        first: batch.base_sequence,
        last: batch.last_sequence(),
        base_offset: stored.base_offset,
        end: stored.end(),
        timestamp: stored.max_timestamp(),
    });
    if producer.known.len() > WINDOW {
        producer.known.pop_front();
    }
}

fn keep_last(producers: &mut BTreeMap<i64, Producer>) {
    for producer in producers.values_mut() {
        let old = producer.known.len().saturating_sub(1);
        producer.known.drain(..old);
    }
}

/// The bytes with what the broker writes into them.
fn as_stored(
    batch: &Batch,
    base_offset: i64,
    leader_epoch: i32,
    append_time: Option<i64>,
) -> Vec<u8> {
    let mut bytes = batch.bytes.clone();
    bytes[..8].copy_from_slice(&base_offset.to_be_bytes());
    bytes[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
    // The bit that claims the broker's time says what is so, whatever the client wrote.
    let bit = if append_time.is_some() { 0x08 } else { 0 };
    bytes[22] = bytes[22] & !0x08 | bit;
    let max_timestamp = append_time.unwrap_or(batch.max_timestamp);
    bytes[35..43].copy_from_slice(&max_timestamp.to_be_bytes());
    // Offset and epoch are not covered; large batches take their time.
    if bytes[21..43] != batch.bytes[21..43] {
        let crc = crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
    }
    bytes
}
