//! Thinning: a segment's records go, an empty batch stays over their offsets (I4).
//!
//! Floor 4. The segment's file is replaced, whole or not at all: a new file, synced, renamed over
//! the old one, the directory synced. Readers that have the old file keep it (I9). Which segments
//! go is told by those that are there: a thinned one is known by its size.

use std::ops::Range;
use std::sync::Arc;

use crate::codec::encode::{encode_gap_of, stamp};
use crate::codec::layout::HEADER_BYTES;
use crate::codec::seal::Seal;
use crate::disk::names::{self, Part};
use crate::disk::text::replace_synced;
use crate::log::Inner;
use crate::log::retention::drop_oldest::Dropped;
use crate::log::retention::rules::{Layout, Sealed};
use crate::words::error::{ErrorKind, Result};
use crate::words::offset::Offset;

impl Sealed {
    /// Whether it is one that was thinned, or holds no record anyhow: a batch that holds one takes
    /// more than a header.
    pub(super) fn is_gap(&self) -> bool {
        self.bytes <= gap_bytes(&(self.segment.base..self.next))
    }
}

impl Layout {
    /// The segments that thinning asks for, oldest first: in the older half of the sealed bytes,
    /// from the first segment that holds something, all but one in so many.
    fn to_thin(&self, one_in: u32) -> impl Iterator<Item = &Sealed> {
        let half = self.sealed.iter().map(|segment| segment.bytes).sum::<u64>() / 2;
        let mut reached = 0_u64;
        let older = self.sealed.iter().take_while(move |segment| {
            reached += segment.bytes;
            reached <= half
        });
        let from_first = older.skip_while(|segment| segment.is_gap());
        let one_in = usize::try_from(one_in).unwrap_or(usize::MAX).max(1);
        from_first
            .enumerate()
            .filter(move |(at, segment)| !at.is_multiple_of(one_in) && !segment.is_gap())
            .map(|(_, segment)| segment)
    }
}

impl Inner {
    /// Thins the oldest segment that is due; `None` if none is, or the archive has not got it.
    pub(super) fn thin_oldest(&self, layout: &Layout, one_in: u32) -> Result<Option<Dropped>> {
        for segment in layout.to_thin(one_in) {
            if let Some(dropped) = self.thin(segment)? {
                return Ok(Some(dropped));
            }
        }
        Ok(None)
    }

    /// Puts a gap in the place of a segment; `None` if it holds no record, or is gone.
    fn thin(&self, old: &Sealed) -> Result<Option<Dropped>> {
        let base = old.segment.base;
        let path = self.env.dir.join(names::segment_file(base, Part::Log));
        let data = match self.segments.open(&self.env, &old.segment) {
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(None),
            opened => opened?,
        };
        let highest = data.max_timestamp(&self.env)?;
        drop(data);
        if highest == i64::MIN {
            return Ok(None);
        }
        if self.hand_over(old.next, true)? < old.next {
            return Ok(None);
        }
        let _deletion = self.deletion.lock();
        self.check_open()?;
        if !self.segments.holds(&old.segment) {
            return Ok(Some(Dropped::default()));
        }
        // Times before 1970 are told from one that is not there.
        let bytes = encode_gaps(base..old.next, highest.max(0), &self.env.seal);
        // Nothing writes into the file any more then: neither the first flush after an unclean
        // stop, nor an open that puts copies of torn ends back.
        self.flush_until(old.next)?;
        self.forget_tails_below(old.next)?;
        let allocated = self.allocated(base);
        self.drop_indexes(base);
        let replaced = replace_synced(&*self.env.storage, &path, &bytes, |_| Ok(()));
        replaced.map_err(|(error, finally)| {
            if finally {
                self.poison(&error);
            }
            error
        })?;
        self.note_replaced(&[Arc::clone(&old.segment)], bytes.len() as u64, allocated);
        let dropped = Dropped {
            records: (old.next - base.max(self.log_start_offset())).max(0).unsigned_abs(),
            bytes: old.bytes.saturating_sub(bytes.len() as u64),
        };
        self.tally.dropped(dropped.records, dropped.bytes);
        Ok(Some(dropped))
    }

    /// Takes the copies of ends in segments below an offset, which is durable, out of the
    /// checkpoint, and syncs that.
    pub(crate) fn forget_tails_below(&self, offset: Offset) -> Result<()> {
        self.change_state(|state| {
            let before = state.tails.len();
            state.tails.retain(|tail| tail.base >= offset);
            Ok(((), state.tails.len() != before))
        })?;
        // Also what was changed before: the device may have them yet.
        self.sync_checkpoint()
    }
}

/// Bytes of the gap that stands over these offsets.
fn gap_bytes(offsets: &Range<Offset>) -> u64 {
    let count = (offsets.end - offsets.start).max(0).unsigned_abs();
    count.div_ceil(u64::from(i32::MAX.unsigned_abs())) * HEADER_BYTES as u64
}

/// The empty batches that stand over these offsets.
fn encode_gaps(offsets: Range<Offset>, highest: i64, seal: &Seal) -> Vec<u8> {
    let (mut bytes, mut batch) = (Vec::new(), Vec::new());
    let mut base = offsets.start;
    while base < offsets.end {
        let count = i32::try_from(offsets.end - base).unwrap_or(i32::MAX);
        encode_gap_of(&mut batch, count, highest);
        stamp(&mut batch, base.get(), seal);
        bytes.extend_from_slice(&batch);
        base = base + i64::from(count);
    }
    bytes
}

#[cfg(test)]
mod tests;
