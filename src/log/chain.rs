//! Finds the end of the log in its segments, and cuts there.
//!
//! Floor 4. Above the recovery point the log ends at the first batch that is not whole; what lies
//! behind is counted and set aside (I13). Below it nothing is cut. Each step leaves the directory
//! so that an interrupted recovery comes to the same end again (I12).

use std::ops::Range;
use std::sync::Arc;

use crate::disk::active::ActiveSegment;
use crate::disk::names::{self, Part};
use crate::disk::segment::{Segment, SegmentData};
use crate::disk::walk::{Gaps, Step, Walker, last_nonzero};
use crate::disk::wear::PAGE_BYTES;
use crate::disk::{Env, aside, index_file, note};
use crate::log::identify::count_whole;
use crate::log::recover::{Listing, Recovered};
use crate::log::report::RecoveryReport;
use crate::log::rewrite;
use crate::log::scan::{Ending, Scanned, scan, whole_records};
use crate::sys::Access;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::offset::Offset;

/// The last segment of the log as it was found, and how many segments lie behind the end.
pub(super) struct Chain {
    last: Option<(Arc<SegmentData>, Scanned)>,
    behind: usize,
}

/// Scans from the segment of the recovery point on, or only the last one where the page cache was
/// kept. Files that begin before their predecessor's end are none of the log's: they leave the
/// list.
pub(super) fn scan_chain(
    env: &Env,
    bases: &mut Vec<Offset>,
    recovery_point: Offset,
    kept: bool,
    report: &mut RecoveryReport,
) -> Result<Chain> {
    // Without a checkpoint nobody knows what was durable: damage with whole batches behind it is
    // then taken for damage, and only the last tail for torn.
    let (point, mut from) = match report.checkpoint_lost {
        true => (Offset::MAX, 0),
        false if kept => (recovery_point, bases.len().saturating_sub(1)),
        false => {
            let above = bases.partition_point(|&base| base <= recovery_point);
            (recovery_point, above.saturating_sub(1))
        }
    };
    // A file without a whole batch does not say where the log stands, nor does a piece of the
    // segment before it; one further down does.
    while let Some([before, base]) = bases.get(from.wrapping_sub(1)..=from) {
        if begins_whole(env, *base) && !reaches_over(env, *before, *base) {
            break;
        }
        from -= 1;
    }
    let mut chain = Chain { last: None, behind: 0 };
    let mut at = from;
    while let Some(&base) = bases.get(at) {
        let expected = chain.last.as_ref().map(|(_, scanned)| scanned.next_offset);
        if expected.is_some_and(|expected| base < expected) {
            note(&mut report.foreign_files, names::segment_file(base, Part::Log));
            bases.remove(at);
            continue;
        }
        if let Some(expected) = expected.filter(|&expected| expected < base) {
            let rest = bases.get(at..).unwrap_or_default();
            // Nothing leads to them; without a checkpoint, what they hold says where the log ends.
            if base > point || report.checkpoint_lost && !any_holds_whole(env, rest)? {
                chain.behind = bases.len() - at;
                break;
            }
            damage(report, expected..base);
        }
        let data = Arc::new(SegmentData::open_sealed(env, base)?);
        let until = bases.get(at + 1).copied().unwrap_or(Offset::MAX);
        let scanned = scan(env, &data, point, until)?;
        report.segments_scanned += 1;
        for range in &scanned.damaged {
            damage(report, range.clone());
        }
        let torn = matches!(scanned.ending, Ending::Torn { .. });
        if let Some((sealed, found)) = chain.last.replace((data, scanned)) {
            write_index(env, &sealed, &found, report);
        }
        at += 1;
        if torn {
            chain.behind = bases.len() - at;
            break;
        }
    }
    Ok(chain)
}

/// Whether a segment's first batch is one of this log, at its place.
pub(super) fn begins_whole(env: &Env, base: Offset) -> bool {
    let Ok(data) = SegmentData::open_sealed(env, base) else { return false };
    let mut walker = Walker::new(0, base, Gaps::Refused);
    matches!(walker.next(&data, &env.seal), Ok(Step::Batch(_)))
}

/// Whether the batches of a segment go beyond where the next one begins, also behind damage. Its
/// index leaves little of it to be read.
pub(super) fn reaches_over(env: &Env, base: Offset, next: Offset) -> bool {
    let end = || -> Result<Offset> {
        let data = SegmentData::open_sealed(env, base)?;
        let (position, offset) = data.floor(env, next)?;
        let mut walker = Walker::new(position, offset, Gaps::Refused);
        while walker.next_offset() <= next {
            match walker.next(&data, &env.seal)? {
                Step::Batch(_) => {}
                Step::Damage(_) if walker.resync(&data, &env.seal, Offset::MAX)?.is_some() => {}
                _ => break,
            }
        }
        Ok(walker.next_offset())
    };
    end().is_ok_and(|end| end > next)
}

/// Whether a whole batch lies anywhere in one of the segments.
fn any_holds_whole(env: &Env, bases: &[Offset]) -> Result<bool> {
    for &base in bases {
        if count_whole(env, base, &env.seal, 1)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Writes the indexes of a segment that was scanned.
fn write_index(env: &Env, data: &SegmentData, found: &Scanned, report: &mut RecoveryReport) {
    let mut entries = found.resume.entries.clone();
    entries.add(found.resume.rule.clone().finish());
    // A cache (I5): without it the first lookup scans.
    let _ = index_file::write(env, data.base, &entries);
    report.indexes_rebuilt += 1;
}

fn damage(report: &mut RecoveryReport, range: Range<Offset>) {
    report.damaged_ranges += 1;
    note(&mut report.damaged, range);
}

/// Sets aside what lies behind the end, cuts there, and opens the last segment for appending. What
/// was cut is synced before anything is appended behind it.
///
/// `marks` are the recovery point and the offset below which the log may not continue; `fresh` asks
/// for new files instead of what would be written again in place.
pub(super) fn settle(
    env: &Env,
    listing: &mut Listing,
    chain: Chain,
    marks: (Offset, Offset),
    fresh: bool,
    report: &mut RecoveryReport,
) -> Result<Recovered> {
    let (recovery_point, floor) = marks;
    let Some((data, mut last)) = chain.last else {
        return Err(Error::new(ErrorKind::Corrupt, "no segment could be scanned").at(&env.dir));
    };
    let end = last.next_offset;
    if report.checkpoint_lost && last.ending == Ending::Damaged {
        let nonzero = last_nonzero(&data, last.resume.position)?.unwrap_or(last.resume.position);
        let bytes = (nonzero - last.resume.position) as u64;
        last.ending = Ending::Torn { bytes, records: 0 };
    }
    let torn = matches!(last.ending, Ending::Torn { .. });
    if torn || chain.behind > 0 {
        aside::drop_others(env, &listing.asides, end);
    }
    let stays = listing.bases.len() - chain.behind;
    set_segments_aside(env, listing, stays, end, report)?;
    if let Ending::Torn { bytes, records } = last.ending {
        report.bytes_cut += bytes;
        report.records_cut += records;
        report.set_aside_failed |= !aside::keep_tail(env, end, &data, last.resume.position)?;
    }
    if torn || !listing.asides.is_empty() {
        // What was set aside is on the device, name and all, before anything is cut: a crash in
        // between takes neither. Also for a recovery that died before this. Whole segments are
        // there already.
        env.sync_names()?;
    }
    report.indexes_rebuilt += 1;
    let rewritten = if fresh {
        let until = (last.ending != Ending::Damaged).then_some(last.resume.position);
        rewrite::into_new_files(env, &listing.bases, recovery_point, until, report)?
    } else {
        false
    };
    if last.ending != Ending::Damaged && !rewritten {
        rewrite::unshare(env, data.base)?;
    }
    if torn && !rewritten {
        cut(env, &data, last.resume.position)?;
    }
    if rewritten {
        env.sync_names()?;
    }
    let rewrite = (!rewritten && recovery_point < end).then_some(recovery_point..end);
    if last.ending == Ending::Damaged {
        // The damaged file stays as it is, under its name; the log goes on in a new one.
        let base = floor.max(end).max(data.base + 1);
        damage(report, end..base);
        let active = ActiveSegment::begin(env, base)?;
        let list = closed_before(&listing.bases, stays, &active);
        return Ok(Recovered { list, active, end: base, rewrite });
    }
    let active = ActiveSegment::reopen(env, data.base, last.resume)?;
    let list = closed_before(&listing.bases, stays - 1, &active);
    Ok(Recovered { list, active, end, rewrite })
}

/// For a log none of whose segments is led to: they all lie behind its end.
pub(super) fn set_all_aside(
    env: &Env,
    listing: &mut Listing,
    end: Offset,
    report: &mut RecoveryReport,
) -> Result<()> {
    aside::drop_others(env, &listing.asides, end);
    set_segments_aside(env, listing, 0, end, report)?;
    env.sync_names()
}

fn set_segments_aside(
    env: &Env,
    listing: &mut Listing,
    from: usize,
    end: Offset,
    report: &mut RecoveryReport,
) -> Result<()> {
    if let Some(&last) = listing.bases.get(from..).and_then(|behind| behind.last()) {
        aside::drop_up_to(env, &listing.asides, end, last);
    }
    for base in listing.bases.drain(from..).rev() {
        count_behind(env, base, report)?;
        aside::move_segment(env, end, base)?;
        // One after the other, so that an interrupted recovery has moved the last ones.
        env.sync_names()?;
        report.segments_set_aside += 1;
    }
    Ok(())
}

/// The segments before the active one, and that one.
pub(super) fn closed_before(
    bases: &[Offset],
    count: usize,
    active: &ActiveSegment,
) -> Vec<Arc<Segment>> {
    let sealed = bases.iter().take(count).map(|&base| Arc::new(Segment::closed(base)));
    sealed.chain([Arc::clone(&active.segment)]).collect()
}

/// Counts what a segment behind the end holds.
fn count_behind(env: &Env, base: Offset, report: &mut RecoveryReport) -> Result<()> {
    let Ok(data) = SegmentData::open_sealed(env, base) else { return Ok(()) };
    report.bytes_cut += last_nonzero(&data, 0)?.unwrap_or(0) as u64;
    let mut walker = Walker::new(0, base, Gaps::Expected);
    report.records_cut += whole_records(env, &data, &mut walker)?;
    while walker.resync(&data, &env.seal, Offset::MAX)?.is_some() {
        report.records_cut += whole_records(env, &data, &mut walker)?;
    }
    Ok(())
}

/// Cuts the torn tail off and syncs that, so that no later crash brings it back.
fn cut(env: &Env, data: &SegmentData, position: usize) -> Result<()> {
    let failed = |what| move |error| Error::sync(what, &data.path, error).position(position);
    let file = env
        .storage
        .open(&data.path, Access::ReadWrite)
        .map_err(|error| Error::io("cannot open the torn segment", &data.path, error))?;
    file.set_len(position as u64).map_err(failed("cannot cut the torn tail"))?;
    file.sync_all().map_err(failed("cannot sync the cut of the torn tail"))?;
    // The rest of its last page is written as zeros.
    env.written.sync(usize::from(!position.is_multiple_of(PAGE_BYTES)));
    Ok(())
}
