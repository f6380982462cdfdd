//! Reads what an unclean stop left, and finds the end of the log in it.
//!
//! Floor 4. Above the recovery point the log ends at the first batch that is not whole; below it
//! damage is isolated and kept (I13). Nothing is changed here; `open` does that.

use std::ops::Range;

use crate::codec::index::{IndexEntries, IndexRule};
use crate::disk::Env;
use crate::disk::active::Resume;
use crate::disk::segment::SegmentData;
use crate::disk::walk::{Gaps, Step, Walker, last_nonzero};
use crate::words::error::Result;
use crate::words::offset::Offset;

/// What one segment holds.
#[derive(Debug)]
pub(crate) struct Scanned {
    /// Where the next batch would go, and the index up to there.
    pub(crate) resume: Resume,
    pub(crate) next_offset: Offset,
    /// Ranges below the recovery point that cannot be read.
    pub(crate) damaged: Vec<Range<Offset>>,
    pub(crate) ending: Ending,
}

/// How the scan of a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Behind a whole batch; at most zeros follow.
    Whole,
    /// Above the recovery point something follows that is no whole batch.
    Torn {
        /// Without trailing zeros.
        bytes: u64,
        /// Whole records behind it.
        records: u64,
    },
    /// Below the recovery point there is damage with nothing whole behind it.
    Damaged,
}

/// Scans a segment from its start; the next one begins at `until`.
pub(crate) fn scan(
    env: &Env,
    data: &SegmentData,
    recovery_point: Offset,
    until: Offset,
) -> Result<Scanned> {
    let mut rule = IndexRule::new(data.base.get(), env.index_interval_bytes);
    let mut entries = IndexEntries::default();
    let mut damaged = Vec::new();
    let mut walker = Walker::new(0, data.base, Gaps::Refused);
    let ending = loop {
        match walker.pass(data, &env.seal)? {
            Step::Batch((header, position)) => {
                let last = header.next_offset() - 1;
                if let Some(due) = rule.add(last, header.max_timestamp, position) {
                    entries.add(due);
                }
            }
            Step::End => break Ending::Whole,
            Step::Damage(_) if walker.next_offset() >= recovery_point => {
                break torn(env, data, &walker)?;
            }
            Step::Damage(_) => {
                let first = walker.next_offset();
                match walker.resync(data, &env.seal, until)? {
                    Some(next) => damaged.push(first..next),
                    None => break Ending::Damaged,
                }
            }
        }
    };
    let resume = Resume { position: walker.position(), rule, entries };
    Ok(Scanned { resume, next_offset: walker.next_offset(), damaged, ending })
}

/// Counts what stands behind the last whole batch.
fn torn(env: &Env, data: &SegmentData, at: &Walker) -> Result<Ending> {
    let end = last_nonzero(data, at.position())?.unwrap_or(at.position());
    let mut behind = Walker::new(at.position(), at.next_offset(), Gaps::Expected);
    let mut records = 0;
    while behind.resync(data, &env.seal, Offset::MAX)?.is_some() {
        records += whole_records(env, data, &mut behind)?;
    }
    Ok(Ending::Torn { bytes: (end - at.position()) as u64, records })
}

/// Counts the records of whole batches from the walker on, up to the next damage or the end.
pub(crate) fn whole_records(env: &Env, data: &SegmentData, walker: &mut Walker) -> Result<u64> {
    let mut records = 0;
    while let Step::Batch((header, _)) = walker.pass(data, &env.seal)? {
        records += u64::from(header.count.unsigned_abs());
    }
    Ok(records)
}
