//! What the rules ask to go: by bytes, by number, by age.
//!
//! Floor 4. Looks at the sealed segments, oldest first, and stops at the first that no rule asks
//! for. Costs no system call once the segments' sizes are known.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::segment::Segment;
use crate::disk::state::ClockSample;
use crate::log::Inner;
use crate::log::policy::Policy;
use crate::words::offset::Offset;

/// A sealed segment, as rules and thinning see it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) segment: Arc<Segment>,
    /// Where its successor begins.
    pub(super) next: Offset,
    /// The length of its file, if sizes were asked for.
    pub(super) bytes: u64,
}

/// The segments of a log as they were at one moment.
#[derive(Debug)]
pub(super) struct Layout {
    /// Oldest first.
    pub(super) sealed: Vec<Sealed>,
    active_base: Offset,
    active_bytes: u64,
    pub(super) end: Offset,
}

/// Which rule asks for a segment to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    Bytes,
    Records,
    Age,
}

impl Layout {
    pub(super) fn of(log: &Inner, sizes: bool) -> Layout {
        // In this order, so that no more records are there than the number says.
        let end = log.log_end_offset();
        let all = log.segments.all();
        let next = all.iter().skip(1).map(|segment| segment.base);
        let sealed = all.iter().zip(next).map(|(segment, next)| {
            let bytes = if sizes { segment.sealed_bytes(&log.env) } else { 0 };
            Sealed { segment: Arc::clone(segment), next, bytes }
        });
        let published = all.last().and_then(|active| active.opened_data());
        Layout {
            sealed: sealed.collect(),
            active_base: all.last().map_or(end, |active| active.base),
            active_bytes: published.map_or(0, |data| data.published() as u64),
            end,
        }
    }

    /// Of a log with these segments and nothing else.
    #[cfg(test)]
    pub(super) fn made_of(sealed: Vec<Sealed>) -> Layout {
        let end = sealed.last().map_or(Offset::ZERO, |last| last.next);
        Layout { sealed, active_base: end, active_bytes: 0, end }
    }

    /// Bytes of the batches of all segments, if sizes were asked for.
    fn bytes(&self) -> u64 {
        self.active_bytes + self.sealed.iter().map(|segment| segment.bytes).sum::<u64>()
    }

    /// The segments that the rules ask for, oldest first, each with the rule that does.
    pub(super) fn due<'a>(
        &'a self,
        policy: &'a Policy,
        samples: &'a [ClockSample],
        now: i64,
    ) -> impl Iterator<Item = (&'a Sealed, Cause)> {
        let mut stays = self.bytes();
        self.sealed.iter().map_while(move |segment| {
            stays = stays.saturating_sub(segment.bytes);
            let behind = (self.end - segment.next).max(0).unsigned_abs();
            let cause = if policy.retention_bytes.is_some_and(|least| stays >= least) {
                Cause::Bytes
            } else if policy.retention_records.is_some_and(|least| behind >= least) {
                Cause::Records
            } else if policy.retention_age.is_some_and(|age| {
                // As old as its successor's beginning: then its youngest record is as old at least.
                begun(samples, segment.next)
                    .is_some_and(|begun| now.saturating_sub(begun) >= age_millis(age))
            }) {
                Cause::Age
            } else {
                return None;
            };
            Some((segment, cause))
        })
    }

    /// The base of the segment that the first of the newest so many bytes lies in.
    pub(super) fn newest(&self, bytes: u64) -> Offset {
        let mut reached = self.active_bytes;
        let mut base = self.active_base;
        for segment in self.sealed.iter().rev() {
            if reached >= bytes {
                break;
            }
            reached += segment.bytes;
            base = segment.segment.base;
        }
        base
    }
}

/// When the segment at this offset was begun, by the log clock. Where nobody knows that any more,
/// when the next one was of which it is known: later, and so it counts for younger (I15).
pub(crate) fn begun(samples: &[ClockSample], base: Offset) -> Option<i64> {
    let at = samples.partition_point(|sample| sample.offset < base);
    samples.get(at).map(|sample| sample.log_clock)
}

pub(crate) fn age_millis(age: Duration) -> i64 {
    // A rest of a millisecond counts as a whole one: never early.
    i64::try_from(age.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}
