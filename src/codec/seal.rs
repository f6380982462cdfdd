//! The seal: what ties a batch to its log and its place.
//!
//! Floor 2. Kafka's checksum covers neither base offset nor length nor owner, so a stale, moved or
//! foreign batch would pass it. The leader-epoch field, which Kafka ignores while it is negative
//! and overwrites on produce, holds the sign bit and 31 bits of a CRC-32 over log id, base offset,
//! batch length and the batch's checksum. It is checked before a length is believed.

use crate::codec::crc::{crc32, crc32_append};
use crate::codec::layout::BatchHeader;
use crate::words::log_id::LogId;

/// Makes and checks the seals of one log; one without seals has -1 there and checks nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seal {
    /// CRC-32 of the log id, which every seal starts from.
    start: Option<u32>,
}

impl Seal {
    pub(crate) const NONE: Seal = Seal { start: None };

    pub(crate) fn of(log: LogId) -> Seal {
        Seal { start: Some(crc32(log.as_bytes())) }
    }

    /// Whether batches carry a seal at all.
    pub(crate) fn is_on(&self) -> bool {
        self.start.is_some()
    }

    /// The leader-epoch field of a batch of this log.
    #[inline]
    pub(crate) fn make(&self, base_offset: i64, batch_length: i32, crc: u32) -> i32 {
        let Some(start) = self.start else { return -1 };
        let mut place = [0; 16];
        let (offset, rest) = place.split_at_mut(8);
        let (length, checksum) = rest.split_at_mut(4);
        offset.copy_from_slice(&base_offset.to_be_bytes());
        length.copy_from_slice(&batch_length.to_be_bytes());
        checksum.copy_from_slice(&crc.to_be_bytes());
        (crc32_append(start, &place) | 0x8000_0000).cast_signed()
    }

    /// Whether a header stands where this log put it.
    #[inline]
    pub(crate) fn fits(&self, header: &BatchHeader) -> bool {
        self.start.is_none()
            || header.leader_epoch == self.make(header.base_offset, header.batch_length, header.crc)
    }
}
