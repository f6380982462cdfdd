//! Which records of a batch stay, and the batch without the others.
//!
//! Floor 4. Kafka's rules (`LogCleaner`): the newest record of a key stays, a tombstone until it is
//! old enough, a record without a key goes. A batch keeps its offsets; the first time a tombstone
//! stays, the batch gets a delete horizon, which Kafka's tools understand. Ages are not told by
//! that, but by the moments of earlier compactions, which no clock of the wall moves (I15).

use std::cell::Cell;

use crate::codec::DecodeError;
use crate::codec::decode::{RawRecords, Times};
use crate::codec::encode::{BatchEncoder, Parts, put_header, stamp};
use crate::codec::layout::{
    BatchHeader, CODEC_MASK, CONTROL, DELETE_HORIZON, LENGTH_PREFIX_BYTES, LOG_APPEND_TIME,
};
use crate::codec::pack::{self, Packing};
use crate::codec::seal::Seal;
use crate::log::compaction::map::{FETCHED, KeyHash, KeyMap};
use crate::words::compression::Compression;

/// What a pass goes by.
pub(super) struct Judge<'a> {
    pub(super) keys: &'a KeyMap,
    /// The map knows everything new below this offset; from here on all records stay.
    pub(super) end: i64,
    /// Tombstones below this offset are old enough to go.
    pub(super) ripe_end: i64,
    /// The delete horizon of tombstones that stay for the first time; `None` where an older record
    /// of the key may be left, in a stretch that could not be read.
    pub(super) horizon: Cell<Option<i64>>,
    pub(super) seal: Seal,
    /// How new batches are compressed: the level for those that go by the same codec.
    pub(super) packing: Packing,
}

/// What went, and what there was.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) superseded: u64,
    pub(super) tombstones: u64,
    pub(super) keyless: u64,
}

impl Counts {
    pub(super) fn all(&self) -> u64 {
        self.superseded + self.tombstones + self.keyless
    }

    pub(super) fn add(&mut self, other: Counts) {
        self.superseded += other.superseded;
        self.tombstones += other.tombstones;
        self.keyless += other.keyless;
    }
}

/// What is left of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Left {
    /// All of it, as it is stored.
    Whole,
    /// Some records, in the buffer.
    Part,
    Nothing,
}

/// Whether the records of a batch have keys to go by: what an upstream's producer wrote about its
/// transactions has not.
pub(super) fn is_of_data(header: &BatchHeader) -> bool {
    header.attributes & CONTROL == 0
}

/// What is judged of a record.
#[derive(Clone, Copy, Debug)]
struct Looked {
    offset: i64,
    key: Option<KeyHash>,
    tombstone: bool,
}

/// Memory that is used again for each batch.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// The batch that was made of another one.
    pub(super) batch: Vec<u8>,
    ahead: Vec<Looked>,
    /// For each record whether it stays.
    stays: Vec<bool>,
    /// The records of a batch that is compressed, and a batch before it is.
    unpacked: Vec<u8>,
    plain: Vec<u8>,
}

impl Judge<'_> {
    /// Decides on a batch that holds records. An error says that it cannot be looked into.
    pub(super) fn batch(
        &self,
        header: &BatchHeader,
        batch: &[u8],
        room: &mut Room,
        counts: &mut Counts,
    ) -> Result<Left, DecodeError> {
        if header.base_offset >= self.end || !is_of_data(header) {
            return Ok(Left::Whole);
        }
        let mut gone = Counts::default();
        let mut tombstones = false;
        let Room { batch: made, ahead, stays: which, unpacked, plain } = room;
        which.clear();
        let records = pack::records(header, batch, unpacked)?;
        let mut all = RawRecords::new(header, records);
        // Nothing is looked up where no key is new.
        let hash = |key| if self.keys.len() > 0 { self.keys.hash(key) } else { KeyHash::default() };
        loop {
            ahead.clear();
            for raw in all.by_ref().take(FETCHED) {
                let raw = raw?;
                ahead.push(Looked {
                    offset: header.base_offset + i64::from(raw.offset_delta),
                    key: raw.key.map(hash),
                    tombstone: raw.value.is_none(),
                });
            }
            if ahead.is_empty() {
                break;
            }
            self.keys.fetch(ahead.iter().filter_map(|record| record.key));
            for record in ahead.iter() {
                let stays = self.stays(record, &mut gone);
                tombstones |= stays && record.tombstone;
                which.push(stays);
            }
        }
        counts.add(gone);
        let marked = header.attributes & DELETE_HORIZON != 0;
        // Behind the end nothing older of a key is gone yet.
        let mark = tombstones && !marked && header.next_offset() <= self.end;
        let horizon = match (mark, marked && tombstones) {
            (true, _) => self.horizon.get(),
            (false, true) => Some(header.base_timestamp),
            (false, false) => None,
        };
        if gone.all() == 0 && (horizon.is_none() || marked) {
            return Ok(Left::Whole);
        }
        if !which.contains(&true) {
            return Ok(Left::Nothing);
        }
        self.encode(header, (records, which), horizon, plain)?;
        self.pack(header, plain, made);
        Ok(Left::Part)
    }

    fn stays(&self, record: &Looked, gone: &mut Counts) -> bool {
        let Looked { offset, key, tombstone } = *record;
        if offset >= self.end {
            return true;
        }
        let count = match key {
            None => &mut gone.keyless,
            Some(key) if self.keys.get(key).is_some_and(|newest| newest > offset) => {
                &mut gone.superseded
            }
            Some(_) if tombstone && offset < self.ripe_end => &mut gone.tombstones,
            Some(_) => return true,
        };
        *count += 1;
        false
    }

    /// Makes the batch anew with the records that stay, not compressed. Times stay what they are:
    /// those of a batch with a delete horizon count from that.
    fn encode(
        &self,
        header: &BatchHeader,
        (records, stays): (&[u8], &[bool]),
        horizon: Option<i64>,
        plain: &mut Vec<u8>,
    ) -> Result<(), DecodeError> {
        let times = Times::of(header);
        let mut encoder = BatchEncoder::begin(plain, i32::MAX as usize - LENGTH_PREFIX_BYTES);
        let (mut base, mut highest) = (horizon, i64::MIN);
        let records = RawRecords::new(header, records).zip(stays);
        for (raw, _) in records.filter(|(_, stays)| **stays) {
            let raw = raw?;
            let timestamp = times.resolve(&raw).timestamp.millis();
            let base = *base.get_or_insert(timestamp);
            highest = highest.max(timestamp);
            let parts = Parts::of_read(raw.key, raw.value, raw.headers);
            encoder
                .push_parts(timestamp.wrapping_sub(base), raw.offset_delta, parts)
                .map_err(|_| DecodeError::new("the batch would have more than 2 GiB", 8))?;
        }
        let fixed = header.attributes & LOG_APPEND_TIME != 0;
        let marked = if horizon.is_some() { DELETE_HORIZON } else { 0 };
        let count = encoder.count();
        encoder.finish_with(BatchHeader {
            attributes: header.attributes & !(DELETE_HORIZON | CODEC_MASK) | marked,
            base_timestamp: base.unwrap_or(header.base_timestamp),
            max_timestamp: if fixed { header.max_timestamp } else { highest },
            count,
            ..*header
        });
        Ok(())
    }

    /// Compresses it as it was, where that makes it smaller, and gives it its seal.
    fn pack(&self, header: &BatchHeader, plain: &mut Vec<u8>, made: &mut Vec<u8>) {
        let compression = pack::compression(header);
        let level = if self.packing.compression == compression { self.packing.level } else { 0 };
        let by = Packing { compression, level };
        match pack::pack(plain, by, made).filter(|_| compression != Compression::None) {
            Some(packed) => put_header(made, packed),
            None => std::mem::swap(made, plain),
        }
        stamp(made, header.base_offset, &self.seal);
    }
}
