//! Offsets that the log does not have: how shipping goes on behind them, and how it is marked.
//!
//! Floor 6. The sequence is arithmetic on the offset, so behind a gap it begins anew under the next
//! epoch, which is kept before it is used. A marker is a record of its own, which takes sequence 0
//! in the place of the last offset that is missing.

use super::codes::Verdict;
use super::link::{Link, With};
use crate::{Error, NewRecord, Offset, ProducerStamp, RecordBatch, Result, Timestamp};

/// The headers of a marker: the first offset that is missing, and the first one behind the gap.
pub(super) const FIRST: &str = "forebay.gap.first";
pub(super) const NEXT: &str = "forebay.gap.next";

impl Link {
    /// Offsets up to `to` are missing: what lies before is accounted for first. `time` is that of
    /// the record behind them.
    pub(super) fn pass_gap(
        &mut self,
        to: Offset,
        time: Option<Timestamp>,
        with: &mut With<'_, '_>,
    ) -> Result<()> {
        let marker_is_due = self.marker_is_due();
        if marker_is_due && self.identity.era.anchor.get() + 1 == to.get() {
            return self.put_marker(time, with);
        }
        if !marker_is_due && self.identity.skip(self.next) >= to {
            self.next = to;
            return Ok(());
        }
        self.settle(with)?;
        match self.begin_behind_gap(to, with)? {
            true => self.put_marker(time, with),
            false => Ok(()),
        }
    }

    /// What lies below the log's start is gone. That is counted and kept before the committed
    /// offset moves there: a broker that then forgets the producer leaves nobody who knows of it.
    pub(super) fn pass_deleted(&mut self, with: &mut With<'_, '_>) -> Result<()> {
        let start = with.source.log_start();
        let begins = self.identity.skip(self.next).get() + i64::from(self.marker_is_due());
        if begins < start.get() {
            self.begin_behind_gap(start, with)?;
        }
        Ok(())
    }

    /// Counts the offsets that are missing up to `to`, and begins an epoch; whether with a marker.
    fn begin_behind_gap(&mut self, to: Offset, with: &mut With<'_, '_>) -> Result<bool> {
        // In the place of a marker nothing is missing that was not counted.
        let missing = to - self.next - i64::from(self.marker_is_due());
        if !with.source.log().is_compacted() {
            with.memory.count_gap(missing.unsigned_abs());
        }
        let marked = with.marks_gaps();
        self.begin_epoch(self.next, Offset::new(to.get() - i64::from(marked)), marked, with)?;
        Ok(marked)
    }

    /// Whether a marker comes next: one that was kept, and is not known to have arrived.
    pub(super) fn marker_is_due(&self) -> bool {
        self.identity.marked && self.next == self.identity.era.anchor
    }

    /// What is shipped next has another sequence than it would have had: what lies below `end` is
    /// accounted for, and `anchor` comes next: a marker, or the record there.
    pub(super) fn begin_epoch(
        &mut self,
        end: Offset,
        anchor: Offset,
        marked: bool,
        with: &mut With<'_, '_>,
    ) -> Result<()> {
        if !self.identity.begin_epoch(end, anchor, marked) {
            with.memory.renew = true;
            return Err(Error::upstream(
                "all epochs of the producer id are used: a new one is asked",
            ));
        }
        with.source.keep(&self.identity.encode())?;
        self.next = anchor;
        Ok(())
    }

    /// Puts the marker on its way that is due.
    pub(super) fn put_marker(
        &mut self,
        time: Option<Timestamp>,
        with: &mut With<'_, '_>,
    ) -> Result<()> {
        let era = self.identity.era;
        let behind = Offset::new(era.anchor.get() + 1);
        let first = self.identity.before.map_or(era.anchor, |(_, end)| end);
        let (first, next) = (first.to_string(), behind.to_string());
        let mut marker = NewRecord::new("").header(FIRST, first.as_bytes());
        marker = marker.header(NEXT, next.as_bytes());
        // A time of its own could be one that the broker refuses, or deletes by at once.
        marker =
            marker.timestamp(time.unwrap_or(Timestamp::from_millis(with.network.wall_millis())));
        let stamp = ProducerStamp::new(self.identity.producer, era.epoch, era.sequence(era.anchor));
        let mut bytes = Vec::new();
        RecordBatch::produce_record(&marker, stamp, &mut bytes)?;
        self.dispatch(bytes, era.anchor..behind, with)
    }

    /// The broker takes no marker: shipping goes on without. An error where it is no marker that
    /// was refused.
    pub(super) fn give_up_marker(
        &mut self,
        offset: Offset,
        verdict: Verdict,
        error: &Error,
        with: &mut With<'_, '_>,
    ) -> Option<Result<()>> {
        let marker = self.identity.marked && offset == self.identity.era.anchor;
        if !marker || verdict == Verdict::TooEarly {
            return None;
        }
        with.memory.unmarked = true;
        let warning = format!("the gap is not marked: {}", error.what_failed());
        with.memory.status.warnings.push(warning);
        let end = self.identity.before.map_or(offset, |(_, end)| end);
        Some(self.begin_epoch(end, Offset::new(offset.get() + 1), false, with))
    }
}

/// Whether a record from upstream is a marker, and none of the log's.
pub(super) fn is_marker(record: &crate::Record<'_>) -> bool {
    record.headers().into_iter().any(|(name, _)| name == FIRST)
}
