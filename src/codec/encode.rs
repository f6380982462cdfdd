//! Encodes a batch once, checksum included, into a buffer that is used again.
//!
//! Floor 2. Base offset and seal are left open: both lie outside the checksum, and the offset is
//! known only under the writer's lock, which [`stamp`] is called under.

use crate::codec::crc::crc32c;
use crate::codec::layout::{
    BatchHeader, CRC_AT, CRC_FROM, HEADER_BYTES, LENGTH_PREFIX_BYTES, NO_TIMESTAMP,
};
use crate::codec::seal::Seal;
use crate::codec::varint;
use crate::words::record::{Headers, NewRecord};
use crate::words::time::Timestamp;

/// The batch became larger than the bound it was begun with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooLarge {
    /// The size it would have had.
    pub(crate) bytes: usize,
}

/// One record's parts, as the encoder takes them.
pub(crate) struct Parts<'a, H> {
    pub(crate) key: Option<&'a [u8]>,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) header_count: usize,
    pub(crate) headers: H,
}

impl<'a> Parts<'a, ()> {
    /// Those of a record that was read.
    #[inline]
    pub(crate) fn of_read(
        key: Option<&'a [u8]>,
        value: Option<&'a [u8]>,
        headers: Headers<'a>,
    ) -> Parts<'a, impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone> {
        let header_count = headers.len();
        let headers = headers.map(|(name, value)| (name.as_bytes(), value));
        Parts { key, value, header_count, headers }
    }
}

/// Builds one batch in `out`, record by record.
pub(crate) struct BatchEncoder<'b> {
    out: &'b mut Vec<u8>,
    max_bytes: usize,
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

/// How far a batch has come whose encoder was laid aside; its bytes are where they were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Begun {
    count: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl Begun {
    /// Records so far.
    #[inline]
    pub(crate) fn count(self) -> i32 {
        self.count
    }
}

impl<'b> BatchEncoder<'b> {
    /// Empties `out` and begins a batch of at most `max_bytes`, at most the segment's size.
    #[inline]
    pub(crate) fn begin(out: &'b mut Vec<u8>, max_bytes: usize) -> BatchEncoder<'b> {
        out.clear();
        out.extend_from_slice(&[0; HEADER_BYTES]);
        let (base_timestamp, max_timestamp) = (NO_TIMESTAMP, NO_TIMESTAMP);
        BatchEncoder { out, max_bytes, count: 0, base_timestamp, max_timestamp }
    }

    /// Goes on with a batch that lies in `out`, bounded anew.
    #[inline]
    pub(crate) fn resume(out: &'b mut Vec<u8>, max_bytes: usize, begun: Begun) -> BatchEncoder<'b> {
        let Begun { count, base_timestamp, max_timestamp } = begun;
        BatchEncoder { out, max_bytes, count, base_timestamp, max_timestamp }
    }

    /// Lays it aside. Not after a record that was too large: its time is counted.
    #[inline]
    pub(crate) fn suspend(&self) -> Begun {
        let BatchEncoder { count, base_timestamp, max_timestamp, .. } = *self;
        Begun { count, base_timestamp, max_timestamp }
    }

    /// Records so far.
    #[inline]
    pub(crate) fn count(&self) -> i32 {
        self.count
    }

    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.out.capacity()
    }

    /// Adds a record; one without a time of its own gets `now`.
    #[inline]
    pub(crate) fn push(&mut self, record: &NewRecord<'_>, now: Timestamp) -> Result<(), TooLarge> {
        let timestamp = record.timestamp.unwrap_or(now).millis();
        self.max_timestamp = match self.count {
            0 => {
                self.base_timestamp = timestamp;
                timestamp
            }
            _ => self.max_timestamp.max(timestamp),
        };
        if record.headers.is_empty() && self.push_plain(record, timestamp) {
            return Ok(());
        }
        let parts = Parts {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            header_count: record.headers.len(),
            headers: record.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_deref())),
        };
        // Kafka's deltas wrap as well: adding one back gives the time, whatever it is.
        self.push_parts(timestamp.wrapping_sub(self.base_timestamp), self.count, parts)
    }

    /// Adds a record without headers of which every number takes at most two bytes: nearly all of
    /// them. The same bytes as [`BatchEncoder::push_parts`], at less than half the instructions.
    #[inline]
    fn push_plain(&mut self, record: &NewRecord<'_>, timestamp: i64) -> bool {
        let (key, value) = (record.key.as_deref(), record.value.as_deref());
        let time = varint::zigzag(timestamp.wrapping_sub(self.base_timestamp));
        let delta = varint::zigzag(i64::from(self.count));
        let length = |bytes: Option<&[u8]>| varint::zigzag(bytes.map_or(-1, |b| signed(b.len())));
        let (key_length, value_length) = (length(key), length(value));
        if (time | delta | key_length | value_length) >= TWO_BYTES {
            return false;
        }
        let (time, time_bytes) = pack(time);
        let (delta, delta_bytes) = pack(delta);
        let (key_length, key_length_bytes) = pack(key_length);
        let (value_length, value_length_bytes) = pack(value_length);
        let (key, value) = (key.unwrap_or_default(), value.unwrap_or_default());
        let lengths_bytes = key_length_bytes + value_length_bytes;
        let body = 2 + time_bytes + delta_bytes + lengths_bytes + key.len() + value.len();
        let body_length = varint::zigzag(signed(body));
        if body_length >= TWO_BYTES || self.out.len() + body + 2 > self.max_bytes {
            return false;
        }
        let (body_length, body_length_bytes) = pack(body_length);
        // Room for the last word's unused bytes as well: nothing below allocates.
        self.make_room(body + 16);
        let front = body_length
            | time << (8 * (body_length_bytes + 1))
            | delta << (8 * (body_length_bytes + 1 + time_bytes));
        put_word(self.out, front, body_length_bytes + 1 + time_bytes + delta_bytes);
        if key.is_empty() {
            // The length of an empty key, or of none, takes one byte.
            put_word(self.out, key_length | value_length << 8, lengths_bytes);
        } else {
            put_word(self.out, key_length, key_length_bytes);
            self.out.extend_from_slice(key);
            put_word(self.out, value_length, value_length_bytes);
        }
        self.out.extend_from_slice(value);
        self.out.push(0);
        self.count += 1;
        true
    }

    /// Has room for so many bytes more; never for more than the largest batch has, and a word.
    #[inline]
    fn make_room(&mut self, bytes: usize) {
        if self.out.capacity() - self.out.len() < bytes {
            self.grow(self.out.len() + bytes);
        }
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        let doubled = (self.out.capacity() * 2).min(self.max_bytes.saturating_add(16));
        self.out.reserve_exact(doubled.max(needed) - self.out.len());
    }

    /// Adds a record of which the deltas are known.
    #[inline]
    pub(crate) fn push_parts<'a>(
        &mut self,
        timestamp_delta: i64,
        offset_delta: i32,
        record: Parts<'a, impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + Clone>,
    ) -> Result<(), TooLarge> {
        let mut body = 1
            + varint::length(timestamp_delta)
            + varint::length(i64::from(offset_delta))
            + nullable_length(record.key)
            + nullable_length(record.value)
            + varint::length(signed(record.header_count));
        for (name, value) in record.headers.clone() {
            body += nullable_length(Some(name)) + nullable_length(value);
        }
        let total = self.out.len() + varint::length(signed(body)) + body;
        if total > self.max_bytes {
            return Err(TooLarge { bytes: total });
        }
        self.make_room(total - self.out.len());
        varint::write(self.out, signed(body));
        self.out.push(0);
        varint::write(self.out, timestamp_delta);
        varint::write(self.out, i64::from(offset_delta));
        put_nullable(self.out, record.key);
        put_nullable(self.out, record.value);
        varint::write(self.out, signed(record.header_count));
        for (name, value) in record.headers {
            put_nullable(self.out, Some(name));
            put_nullable(self.out, value);
        }
        debug_assert_eq!(self.out.len(), total);
        self.count += 1;
        Ok(())
    }

    /// Writes the header of an appended batch and its checksum; base offset and seal stay open.
    /// Returns the highest timestamp.
    #[inline]
    pub(crate) fn finish(self) -> i64 {
        let max_timestamp = self.max_timestamp;
        let header = BatchHeader {
            last_offset_delta: self.count - 1,
            base_timestamp: self.base_timestamp,
            max_timestamp,
            count: self.count,
            ..BatchHeader::UNSTAMPED
        };
        self.finish_with(header);
        max_timestamp
    }

    /// Writes `header` before the records, its length and checksum filled in.
    #[inline]
    pub(crate) fn finish_with(self, mut header: BatchHeader) {
        header.batch_length = i32::try_from(self.out.len() - LENGTH_PREFIX_BYTES)
            .expect("a batch is bounded by the segment's size, which fits 31 bits");
        put_header(self.out, header);
    }
}

/// Puts `header` before the records of a whole batch, with the checksum that is due then.
#[inline]
pub(crate) fn put_header(batch: &mut [u8], header: BatchHeader) {
    if let Some(target) = batch.first_chunk_mut::<HEADER_BYTES>() {
        *target = header.to_bytes();
    }
    let crc = crc32c(batch.get(CRC_FROM..).unwrap_or_default());
    if let Some(target) = batch.get_mut(CRC_AT..CRC_FROM) {
        target.copy_from_slice(&crc.to_be_bytes());
    }
}

/// Gives an encoded batch its offset and its seal.
#[inline]
pub(crate) fn stamp(batch: &mut [u8], base_offset: i64, seal: &Seal) {
    let Some(header) = batch.first_chunk_mut::<CRC_FROM>() else { return };
    let [.., l0, l1, l2, l3, _, _, _, _, magic, c0, c1, c2, c3] = *header;
    let length = i32::from_be_bytes([l0, l1, l2, l3]);
    let crc = u32::from_be_bytes([c0, c1, c2, c3]);
    let [o0, o1, o2, o3, o4, o5, o6, o7] = base_offset.to_be_bytes();
    let [s0, s1, s2, s3] = seal.make(base_offset, length, crc).to_be_bytes();
    *header =
        [o0, o1, o2, o3, o4, o5, o6, o7, l0, l1, l2, l3, s0, s1, s2, s3, magic, c0, c1, c2, c3];
}

/// Encodes a batch without records that stands over `offsets` missing ones, 1 to `i32::MAX`.
pub(crate) fn encode_gap(out: &mut Vec<u8>, offsets: i32) {
    encode_gap_of(out, offsets, NO_TIMESTAMP);
}

/// [`encode_gap`] for offsets that had records, with the highest time among them: as a broker's
/// compaction leaves it. By the time it is told from a gap that never held anything.
pub(crate) fn encode_gap_of(out: &mut Vec<u8>, offsets: i32, highest: i64) {
    let encoder = BatchEncoder::begin(out, HEADER_BYTES);
    encoder.finish_with(BatchHeader {
        last_offset_delta: offsets - 1,
        base_timestamp: highest,
        max_timestamp: highest,
        ..BatchHeader::UNSTAMPED
    });
}

/// A varint of at most two bytes, the low one first, and how many it takes.
#[inline]
fn pack(zigzagged: u64) -> (u64, usize) {
    debug_assert!(zigzagged < TWO_BYTES);
    match zigzagged < 0x80 {
        true => (zigzagged, 1),
        false => (zigzagged & 0x7f | 0x80 | (zigzagged >> 7) << 8, 2),
    }
}

/// The first number that takes three bytes as a varint.
const TWO_BYTES: u64 = 0x4000;

/// Appends the low `length` bytes of a word: one store, whatever the length.
#[inline]
fn put_word(out: &mut Vec<u8>, word: u64, length: usize) {
    let end = out.len() + length;
    out.extend_from_slice(&word.to_le_bytes());
    out.truncate(end);
}

#[inline]
fn signed(length: usize) -> i64 {
    // A slice is never longer than isize::MAX bytes.
    length as i64
}

#[inline]
fn nullable_length(bytes: Option<&[u8]>) -> usize {
    bytes.map_or(1, |bytes| varint::length(signed(bytes.len())) + bytes.len())
}

#[inline]
fn put_nullable(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::write(out, -1),
        Some(bytes) => {
            varint::write(out, signed(bytes.len()));
            out.extend_from_slice(bytes);
        }
    }
}
