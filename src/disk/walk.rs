//! Walks a segment batch by batch, and finds the next whole one behind damage.
//!
//! Floor 3. Reading, recovery, index rebuild and inspection all go this way, so that they agree on
//! what a whole batch is: magic, seal, bounded length, checksum, expected offset.

use crate::codec::DecodeError;
use crate::codec::crc::crc32c;
use crate::codec::decode::{check_batch, check_header};
use crate::codec::layout::{BatchHeader, CRC_AT, CRC_FROM, HEADER_BYTES, MAGIC};
use crate::codec::seal::Seal;
use crate::disk::segment::SegmentData;
use crate::sys::Pinned;
use crate::words::error::Result;
use crate::words::limits;
use crate::words::offset::Offset;

/// Whether a batch has to begin where its predecessor ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gaps {
    /// Yes: a missing range is covered by an empty batch (I4).
    Refused,
    /// No, it only may not begin lower: segments that a broker compacted, and rebuilds.
    Expected,
}

/// A whole batch, where it was found.
#[derive(Debug)]
pub(crate) struct WalkedBatch {
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Pinned,
    pub(crate) position: usize,
}

/// What stands at the walker's position.
#[derive(Debug)]
pub(crate) enum Step {
    /// A whole batch; the walker stands behind it now.
    Batch(WalkedBatch),
    /// Nothing more is published, or only zeros to the published end.
    End,
    /// No whole batch; the walker has not moved. [`Walker::resync`] looks for the next one.
    Damage(DecodeError),
}

/// A place in a segment. The segment is passed to each call, so that its owner decides how long it
/// is kept open.
#[derive(Debug)]
pub(crate) struct Walker {
    position: usize,
    next_offset: Offset,
    gaps: Gaps,
    window: Pinned,
    window_start: usize,
}

impl Walker {
    /// Stands at `position`, where the batch with base offset `next_offset` begins.
    pub(crate) fn new(position: usize, next_offset: Offset, gaps: Gaps) -> Walker {
        let window = Pinned::of_vec(Vec::new());
        Walker { position, next_offset, gaps, window, window_start: position }
    }

    /// Where the next batch begins.
    #[inline]
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// The base offset the next batch has to have.
    #[inline]
    pub(crate) fn next_offset(&self) -> Offset {
        self.next_offset
    }

    /// Stands behind a damaged stretch.
    pub(crate) fn skip_to(&mut self, position: usize, next_offset: Offset) {
        self.position = position;
        self.next_offset = next_offset;
    }

    /// Reads the bytes at the position anew at the next step.
    pub(crate) fn forget_window(&mut self) {
        self.window = Pinned::of_vec(Vec::new());
        self.window_start = self.position;
    }

    /// Takes the step.
    #[inline]
    pub(crate) fn next(&mut self, data: &SegmentData, seal: &Seal) -> Result<Step> {
        let mut bytes = self.fetched();
        if bytes.len() < HEADER_BYTES {
            if self.position >= data.published() {
                return Ok(Step::End);
            }
            self.fetch(data, HEADER_BYTES)?;
            bytes = self.fetched();
        }
        let mut checked = check_header(bytes, usize::MAX, seal);
        if let Ok(header) = &checked {
            let size = header.size().unwrap_or(usize::MAX);
            if size > bytes.len() {
                if size <= data.published().saturating_sub(self.position) {
                    self.fetch(data, size)?;
                }
                bytes = self.fetched();
            }
            checked = check_batch(bytes, seal);
        }
        match checked.and_then(|header| self.in_order(header)) {
            Ok(header) => self.step_over(header),
            Err(_) if self.is_zero_to_end(data)? => Ok(Step::End),
            Err(error) => Ok(Step::Damage(error)),
        }
    }

    #[inline]
    fn in_order(&self, header: BatchHeader) -> Result<BatchHeader, DecodeError> {
        let expected = self.next_offset.get();
        let fits = match self.gaps {
            Gaps::Refused => header.base_offset == expected,
            Gaps::Expected => header.base_offset >= expected,
        };
        if fits { Ok(header) } else { Err(DecodeError::new("another base offset is due here", 0)) }
    }

    #[inline]
    fn step_over(&mut self, header: BatchHeader) -> Result<Step> {
        let position = self.position;
        let start = position - self.window_start;
        let size = header.size().unwrap_or(HEADER_BYTES);
        let Some(bytes) = self.window.slice(start..start + size) else {
            return Ok(Step::Damage(DecodeError::new("the batch is cut short", 8)));
        };
        self.position += size;
        self.next_offset = Offset::new(header.next_offset());
        Ok(Step::Batch(WalkedBatch { header, bytes, position }))
    }

    /// The bytes at hand from the position on.
    #[inline]
    fn fetched(&self) -> &[u8] {
        self.window.get(self.position - self.window_start..).unwrap_or_default()
    }

    fn fetch(&mut self, data: &SegmentData, want: usize) -> Result<()> {
        self.window = data.window(self.position, want)?;
        self.window_start = self.position;
        Ok(())
    }

    /// Whether only zeros follow: preallocated space that was never written, or never cut off.
    fn is_zero_to_end(&self, data: &SegmentData) -> Result<bool> {
        is_zero(data, self.position)
    }

    /// Moves to the next whole batch of this log behind a damaged stretch and returns its base
    /// offset; `None`, unmoved, if there is none in this segment. A batch from `until` on belongs
    /// to a later segment, and so not here.
    pub(crate) fn resync(
        &mut self,
        data: &SegmentData,
        seal: &Seal,
        until: Offset,
    ) -> Result<Option<Offset>> {
        let mut from = self.position + 1;
        // Bytes made for it could claim a long batch at every position.
        let mut budget = data.published().saturating_sub(from).saturating_mul(4);
        loop {
            let chunk = data.window(from, limits::SCAN_CHUNK_BYTES)?;
            if chunk.len() < HEADER_BYTES {
                return Ok(None);
            }
            for (at, candidate) in chunk.windows(HEADER_BYTES).enumerate() {
                if !self.may_begin(candidate, until) {
                    continue;
                }
                let left = data.published().saturating_sub(from + at);
                let Ok(header) = check_header(candidate, left, seal) else { continue };
                let size = header.size().unwrap_or(usize::MAX);
                let Some(left) = budget.checked_sub(size) else { return Ok(None) };
                budget = left;
                let batch = data.window(from + at, size)?;
                if batch.get(CRC_FROM..size).is_some_and(|bytes| crc32c(bytes) == header.crc) {
                    self.skip_to(from + at, Offset::new(header.base_offset));
                    self.fetch(data, size)?;
                    return Ok(Some(self.next_offset));
                }
            }
            from += chunk.len() - (HEADER_BYTES - 1);
        }
    }

    /// A cheap look before the seal is computed.
    #[inline]
    fn may_begin(&self, candidate: &[u8], until: Offset) -> bool {
        let Some(&[o0, o1, o2, o3, o4, o5, o6, o7, .., magic]) = candidate.first_chunk::<CRC_AT>()
        else {
            return false;
        };
        let base = i64::from_be_bytes([o0, o1, o2, o3, o4, o5, o6, o7]);
        magic.cast_signed() == MAGIC && base >= self.next_offset.get() && base < until.get()
    }
}

/// Whether all bytes at and behind `from` are zero.
pub(crate) fn is_zero(data: &SegmentData, from: usize) -> Result<bool> {
    let mut at = from;
    loop {
        let chunk = data.window(at, limits::READ_CHUNK_BYTES)?;
        if chunk.is_empty() {
            return Ok(true);
        }
        if chunk.iter().any(|&byte| byte != 0) {
            return Ok(false);
        }
        at += chunk.len();
    }
}

/// The position behind the last byte that is not zero at or behind `from`.
pub(crate) fn last_nonzero(data: &SegmentData, from: usize) -> Result<Option<usize>> {
    let mut at = from;
    let mut last = None;
    loop {
        let chunk = data.window(at, limits::SCAN_CHUNK_BYTES)?;
        if chunk.is_empty() {
            return Ok(last);
        }
        if let Some(found) = chunk.iter().rposition(|&byte| byte != 0) {
            last = Some(at + found + 1);
        }
        at += chunk.len();
    }
}
