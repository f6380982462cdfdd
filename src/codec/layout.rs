//! The 61-byte batch header.
//!
//! Floor 2. All integers are big endian. Bytes: Kafka's `DefaultRecordBatch`; `docs/format.md`.

use crate::codec::DecodeError;

/// Bytes of the header, and so of the smallest batch.
pub(crate) const HEADER_BYTES: usize = 61;
/// What the length field leaves out: itself and the base offset before it.
pub(crate) const LENGTH_PREFIX_BYTES: usize = 12;
/// The one version of the format that is read and written.
pub(crate) const MAGIC: i8 = 2;
/// Where the checksum stands.
pub(crate) const CRC_AT: usize = 17;
/// The checksum covers everything from here to the batch's end.
pub(crate) const CRC_FROM: usize = 21;

/// The time of a batch that has none.
pub(crate) const NO_TIMESTAMP: i64 = -1;

/// Attribute bits: the codec.
pub(crate) const CODEC_MASK: i16 = 0x07;
/// Attribute bit: the batch was stamped by the log, not by its writer.
pub(crate) const LOG_APPEND_TIME: i16 = 0x08;
/// Attribute bit: part of a transaction.
pub(crate) const TRANSACTIONAL: i16 = 0x10;
/// Attribute bit: holds a control record, not data.
pub(crate) const CONTROL: i16 = 0x20;
/// Attribute bit: the base timestamp is a deletion time for tombstones.
pub(crate) const DELETE_HORIZON: i16 = 0x40;

/// Every field of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) base_offset: i64,
    pub(crate) batch_length: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) magic: i8,
    pub(crate) crc: u32,
    pub(crate) attributes: i16,
    pub(crate) last_offset_delta: i32,
    pub(crate) base_timestamp: i64,
    pub(crate) max_timestamp: i64,
    pub(crate) producer_id: i64,
    pub(crate) producer_epoch: i16,
    pub(crate) base_sequence: i32,
    pub(crate) count: i32,
}

/// Takes the next `N` bytes off the front of a slice that is known to hold them.
macro_rules! next {
    ($rest:ident, $type:ty) => {{
        let Some((bytes, rest)) = $rest.split_first_chunk() else {
            return Err(DecodeError::new("a batch header is cut short", 0));
        };
        $rest = rest;
        <$type>::from_be_bytes(*bytes)
    }};
}

impl BatchHeader {
    /// No batch's.
    pub(crate) const NONE: BatchHeader = BatchHeader {
        base_offset: 0,
        batch_length: 0,
        leader_epoch: 0,
        magic: 0,
        crc: 0,
        attributes: 0,
        last_offset_delta: 0,
        base_timestamp: 0,
        max_timestamp: 0,
        producer_id: 0,
        producer_epoch: 0,
        base_sequence: 0,
        count: 0,
    };

    /// What a batch's header says before anything is known of its records: no leader's, and no
    /// producer's.
    pub(crate) const UNSTAMPED: BatchHeader = BatchHeader {
        leader_epoch: -1,
        magic: MAGIC,
        base_timestamp: NO_TIMESTAMP,
        max_timestamp: NO_TIMESTAMP,
        producer_id: -1,
        producer_epoch: -1,
        base_sequence: -1,
        ..BatchHeader::NONE
    };

    /// Whether it stands over offsets that had records once; else a batch without records stands
    /// over offsets that never had any.
    pub(crate) fn stands_for_deleted(&self) -> bool {
        self.count == 0 && self.max_timestamp != NO_TIMESTAMP
    }

    /// Takes the fields apart without judging them.
    #[inline(always)]
    pub(crate) fn read(bytes: &[u8]) -> Result<BatchHeader, DecodeError> {
        let Some(header) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(DecodeError::new("a batch header is cut short", bytes.len()));
        };
        let mut rest = header.as_slice();
        let header = BatchHeader {
            base_offset: next!(rest, i64),
            batch_length: next!(rest, i32),
            leader_epoch: next!(rest, i32),
            magic: next!(rest, i8),
            crc: next!(rest, u32),
            attributes: next!(rest, i16),
            last_offset_delta: next!(rest, i32),
            base_timestamp: next!(rest, i64),
            max_timestamp: next!(rest, i64),
            producer_id: next!(rest, i64),
            producer_epoch: next!(rest, i16),
            base_sequence: next!(rest, i32),
            count: next!(rest, i32),
        };
        debug_assert!(rest.is_empty());
        Ok(header)
    }

    /// Lays the fields out as they stand in the file.
    #[inline]
    pub(crate) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut out = [0; HEADER_BYTES];
        let mut rest = out.as_mut_slice();
        put(&mut rest, self.base_offset.to_be_bytes());
        put(&mut rest, self.batch_length.to_be_bytes());
        put(&mut rest, self.leader_epoch.to_be_bytes());
        put(&mut rest, self.magic.to_be_bytes());
        put(&mut rest, self.crc.to_be_bytes());
        put(&mut rest, self.attributes.to_be_bytes());
        put(&mut rest, self.last_offset_delta.to_be_bytes());
        put(&mut rest, self.base_timestamp.to_be_bytes());
        put(&mut rest, self.max_timestamp.to_be_bytes());
        put(&mut rest, self.producer_id.to_be_bytes());
        put(&mut rest, self.producer_epoch.to_be_bytes());
        put(&mut rest, self.base_sequence.to_be_bytes());
        put(&mut rest, self.count.to_be_bytes());
        debug_assert!(rest.is_empty());
        out
    }

    /// The batch's whole size in bytes, or what is wrong with its length field (I11).
    #[inline]
    pub(crate) fn size(&self) -> Result<usize, DecodeError> {
        match usize::try_from(self.batch_length) {
            Ok(length) if length >= HEADER_BYTES - LENGTH_PREFIX_BYTES => {
                Ok(length + LENGTH_PREFIX_BYTES)
            }
            _ => Err(DecodeError::new("the batch length is below the header's size", 8)),
        }
    }

    /// One past the offset of the batch's last record.
    #[inline]
    pub(crate) fn next_offset(&self) -> i64 {
        self.base_offset.saturating_add(i64::from(self.last_offset_delta)).saturating_add(1)
    }
}

#[inline]
fn put<const N: usize>(rest: &mut &mut [u8], bytes: [u8; N]) {
    if let Some((target, tail)) = std::mem::take(rest).split_first_chunk_mut::<N>() {
        *target = bytes;
        *rest = tail;
    }
}
