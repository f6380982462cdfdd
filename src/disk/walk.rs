//! Walks a segment batch by batch, and finds the next whole one behind damage.
//!
//! Floor 3. Reading, recovery, index rebuild and inspection all go this way, so that they agree on
//! what a whole batch is: magic, seal, bounded length, checksum, expected offset.

use std::ops::Range;

use crate::codec::DecodeError;
use crate::codec::crc::crc32c;
use crate::codec::decode::{check_body, check_header, judge_header};
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
pub(crate) enum Step<B = WalkedBatch> {
    /// A whole batch; the walker stands behind it now.
    Batch(B),
    /// Nothing more is published, or only zeros to the published end.
    End,
    /// No whole batch; the walker has not moved. [`Walker::resync`] looks for the next one.
    Damage(DecodeError),
}

/// What [`Walker::advance`] came to.
#[derive(Debug)]
pub(crate) enum Seen {
    /// A whole batch: [`Walker::last_batch`].
    Batch,
    /// So many bytes have to be at hand for the next step: [`Walker::refill`].
    Short(usize),
    /// No whole batch: [`Walker::stopped`].
    Damage(DecodeError),
}

/// Why a walker cannot go on.
#[derive(Debug)]
pub(crate) enum Stop {
    End,
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
    /// Where the batch that was stepped over last begins; `position`, if there is none.
    last: usize,
    /// The last batch holds no record.
    last_is_empty: bool,
    /// How much is fetched at once where there is no map.
    step: usize,
    /// From here on the segment is asked to read ahead.
    ahead: usize,
}

impl Walker {
    /// Stands at `position`, where the batch with base offset `next_offset` begins.
    pub(crate) fn new(position: usize, next_offset: Offset, gaps: Gaps) -> Walker {
        let window = Pinned::of_vec(Vec::new());
        // Who begins in the middle may want one record and no more.
        let (step, ahead) = match position {
            0 => (limits::READ_CHUNK_BYTES, 0),
            _ => (limits::READ_CHUNK_BYTES_FIRST, position + limits::READ_CHUNK_BYTES),
        };
        let (window_start, last) = (position, position);
        Walker {
            position,
            next_offset,
            gaps,
            window,
            window_start,
            last,
            last_is_empty: false,
            step,
            ahead,
        }
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
        self.last = position;
        self.next_offset = next_offset;
    }

    /// Which bytes are at hand; they were read anew if this changed.
    pub(crate) fn window(&self) -> Range<usize> {
        self.window_start..self.window_start + self.window.len()
    }

    /// Goes on in bytes that somebody read already, from `start` on, if the position lies in them.
    pub(crate) fn lend(&mut self, start: usize, bytes: &Pinned) {
        if (start..start + bytes.len()).contains(&self.position) {
            self.window = bytes.clone();
            self.window_start = start;
        }
    }

    /// Reads the bytes at the position anew at the next step.
    pub(crate) fn forget_window(&mut self) {
        self.window = Pinned::of_vec(Vec::new());
        self.window_start = self.position;
        self.last = self.position;
    }

    /// The bytes of the batch that was stepped over last.
    #[inline]
    pub(crate) fn last_batch(&self) -> Option<Pinned> {
        self.window.slice(self.last - self.window_start..self.position - self.window_start)
    }

    /// The header that stands at the position, if it is at hand and sealed; its batch is not
    /// checked.
    pub(crate) fn sealed_header(&self, seal: &Seal) -> Option<BatchHeader> {
        let bytes = self.window.get(self.position - self.window_start..)?;
        check_header(bytes, usize::MAX, seal).ok().filter(|_| seal.is_on())
    }

    /// Whether the batch that was stepped over last holds no record.
    #[inline]
    pub(crate) fn last_is_empty(&self) -> bool {
        self.last_is_empty
    }

    /// Whether it stands over offsets that had records once.
    #[cold]
    pub(crate) fn last_stands_for_deleted(&self) -> bool {
        let bytes = self.window.get(self.last - self.window_start..).unwrap_or_default();
        BatchHeader::read(bytes).is_ok_and(|header| header.stands_for_deleted())
    }

    /// The bytes at hand, for a walker elsewhere to fill anew if nobody else holds them.
    pub(crate) fn into_window(self) -> Pinned {
        self.window
    }

    /// Takes the step.
    pub(crate) fn next(&mut self, data: &SegmentData, seal: &Seal) -> Result<Step> {
        Ok(match self.pass(data, seal)? {
            Step::Batch((header, position)) => {
                let bytes = self.last_batch().expect("what was checked is at hand");
                Step::Batch(WalkedBatch { header, bytes, position })
            }
            Step::End => Step::End,
            Step::Damage(error) => Step::Damage(error),
        })
    }

    /// [`Walker::next`] for who wants a batch's header and position only: pinning the bytes of
    /// each of many small batches takes as long as checking them.
    pub(crate) fn pass(
        &mut self,
        data: &SegmentData,
        seal: &Seal,
    ) -> Result<Step<(BatchHeader, usize)>> {
        loop {
            let stop = match self.advance(data, seal) {
                Seen::Batch => {
                    let bytes = self.window.get(self.last - self.window_start..);
                    let header = BatchHeader::read(bytes.unwrap_or_default());
                    let header = header.expect("what was checked is whole");
                    return Ok(Step::Batch((header, self.last)));
                }
                Seen::Short(want) => match self.refill(data, want)? {
                    Some(stop) => stop,
                    None => continue,
                },
                Seen::Damage(error) => self.stopped(data, error)?,
            };
            return Ok(match stop {
                Stop::End => Step::End,
                Stop::Damage(error) => Step::Damage(error),
            });
        }
    }

    /// Takes the step if the bytes for it are at hand, and leaves them where they are.
    #[inline(always)]
    pub(crate) fn advance(&mut self, data: &SegmentData, seal: &Seal) -> Seen {
        if self.position >= self.ahead {
            self.ahead = data.read_ahead(self.position);
        }
        let bytes = self.window.get(self.position - self.window_start..).unwrap_or_default();
        let Ok(header) = BatchHeader::read(bytes) else { return Seen::Short(HEADER_BYTES) };
        if let Err(error) = judge_header(&header, usize::MAX, seal) {
            return Seen::Damage(error);
        }
        let size = header.size().unwrap_or(HEADER_BYTES);
        if size > bytes.len() {
            return Seen::Short(size);
        }
        if let Err(error) = check_body(bytes, &header) {
            return Seen::Damage(error);
        }
        let expected = self.next_offset.get();
        let in_order = match self.gaps {
            Gaps::Refused => header.base_offset == expected,
            Gaps::Expected => header.base_offset >= expected,
        };
        if !in_order {
            return Seen::Damage(DecodeError::new("another base offset is due here", 0));
        }
        self.next_offset = Offset::new(header.next_offset());
        self.last_is_empty = header.count == 0;
        self.last = self.position;
        self.position += size;
        Seen::Batch
    }

    /// Has `want` bytes from the position on at hand, for [`Walker::advance`] to look again;
    /// else says why there are not so many. Where there is no map, the bytes at hand are let go,
    /// which is cheaper if nobody else holds them.
    #[cold]
    pub(crate) fn refill(&mut self, data: &SegmentData, want: usize) -> Result<Option<Stop>> {
        let left = data.published().saturating_sub(self.position);
        if left == 0 {
            return Ok(Some(Stop::End));
        }
        if want <= left {
            self.fetch(data, want)?;
            if self.fetched().len() >= want {
                return Ok(None);
            }
        }
        let error = match want {
            HEADER_BYTES => DecodeError::new("a batch header is cut short", left),
            _ => DecodeError::new("the batch's length reaches beyond the file", 8),
        };
        self.stopped(data, error).map(Some)
    }

    /// No whole batch is here: damage, unless it is space that was never written.
    #[cold]
    pub(crate) fn stopped(&self, data: &SegmentData, error: DecodeError) -> Result<Stop> {
        match is_zero(data, self.position)? {
            true => Ok(Stop::End),
            false => Ok(Stop::Damage(error)),
        }
    }

    /// The bytes at hand from the position on.
    #[inline]
    fn fetched(&self) -> &[u8] {
        self.window.get(self.position - self.window_start..).unwrap_or_default()
    }

    #[cold]
    fn fetch(&mut self, data: &SegmentData, want: usize) -> Result<()> {
        let spare = std::mem::replace(&mut self.window, Pinned::of_vec(Vec::new()));
        // What is there of the batch already need not be read again.
        let kept = if self.window_start == self.position { spare.len() } else { 0 };
        (self.window_start, self.last) = (self.position, self.position);
        self.window = data.fill(self.position, want.max(self.step), spare, kept)?;
        self.step = (self.step * 2).min(limits::READ_CHUNK_BYTES);
        Ok(())
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
        if !all_zero(&chunk) {
            return Ok(false);
        }
        at += chunk.len();
    }
}

/// As fast as memory is compared: gigabytes of a hole may be looked at.
fn all_zero(bytes: &[u8]) -> bool {
    match bytes {
        [] => true,
        [first, rest @ ..] => *first == 0 && bytes.get(..rest.len()) == Some(rest),
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
        if !all_zero(&chunk)
            && let Some(found) = chunk.iter().rposition(|&byte| byte != 0)
        {
            last = Some(at + found + 1);
        }
        at += chunk.len();
    }
}

#[cfg(test)]
mod tests;
