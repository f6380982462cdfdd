//! Makes a whole log of what a stop left: a clean one, the death of the process, a power cut.
//!
//! Floor 4. Keeps I7, I12, I13, I17 and I20. `chain` finds the end and cuts there, `rewrite` makes
//! sure of what lies above the recovery point; here is what is decided, and in which order.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::codec::encode::{encode_gap, stamp};
use crate::codec::index::IndexRule;
use crate::codec::layout::HEADER_BYTES;
use crate::disk::active::{ActiveSegment, Pace, Resume};
use crate::disk::names::{self, Part};
use crate::disk::segment::{Segment, SegmentData};
use crate::disk::state::State;
use crate::disk::wear::{PAGE_BYTES, pages_of};
use crate::disk::{Env, index_file};
use crate::log::chain;
use crate::log::report::{ConsumerMoved, RecoveryReport};
use crate::log::rewrite;
use crate::sys::{Access, FileKind};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// What lies in the directory.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// The base offsets of the segments.
    pub(super) bases: Vec<Offset>,
    /// Names of files that earlier recoveries set aside.
    pub(super) asides: Vec<String>,
    /// Names of files that were being made.
    pub(super) unfinished: Vec<String>,
}

/// The segments as recovery leaves them.
pub(super) struct Recovered {
    pub(super) list: Vec<Arc<Segment>>,
    pub(super) active: ActiveSegment,
    pub(super) end: Offset,
    /// What the first flush has to write again before it syncs.
    pub(super) rewrite: Option<Range<Offset>>,
}

/// Finds the end of the log and opens the active segment there. `kept` says that the page cache was
/// never lost: then everything before the last segment is as it was written.
pub(super) fn recover(
    env: &Env,
    listing: &mut Listing,
    state: &mut State,
    kept: bool,
    report: &mut RecoveryReport,
) -> Result<Recovered> {
    let durable = state.consumers.iter().filter(|consumer| consumer.durable);
    let floor = durable
        .map(|consumer| consumer.committed)
        .fold(state.recovery_point.max(state.log_start), Offset::max);
    let connected = state.recovery_point.max(state.log_start);
    if !report.checkpoint_lost && listing.bases.first().is_some_and(|base| *base > connected) {
        // Nothing leads to any of these from what is known: all of it lies behind the end.
        chain::set_all_aside(env, listing, connected, report)?;
    }
    let Some(&last) = listing.bases.last() else {
        if !listing.asides.is_empty() {
            // Who set them aside may have died before this.
            env.sync_names()?;
        }
        return begin(env, floor, state, report);
    };
    if let Some((active, end)) = open_clean(env, last, state)? {
        report.clean = true;
        state.cut = end;
        let list = chain::closed_before(&listing.bases, listing.bases.len() - 1, &active);
        return Ok(Recovered { list, active, end, rewrite: None });
    }
    state.clean = None;
    report.cache_kept = kept;
    restore_tails(env, state, report)?;
    // What a medium that tears may take while it is written again goes into new files, and what a
    // sync has failed for: a filesystem that refused the first write of a block may keep it marked
    // as never written, whatever it says of later ones.
    let fresh = env.torn_bytes.is_some() && !kept || state.sync_failed;
    let chain = chain::scan_chain(env, &mut listing.bases, state.recovery_point, kept, report)?;
    let from = state.recovery_point;
    let mut found = chain::settle(env, listing, chain, (from, floor), fresh, report)?;
    if report.checkpoint_lost {
        // What is there now has to be told from a torn tail by the next open.
        rewrite::sync_all(env, &listing.bases)?;
        state.recovery_point = found.end;
    } else if fresh && found.rewrite.is_none() {
        state.recovery_point = from.max(found.end);
    }
    if found.rewrite.is_none() {
        state.sync_failed = false;
    }
    keep_tails(env, &found, kept, state);
    state.cut = found.end;
    if found.end < state.log_start {
        // Nobody reads what is missing up to there: nothing has to stand over it.
        go_on_in_new(env, &mut found, state.log_start)?;
    }
    if found.end < floor {
        report.lost = Some(found.end..floor);
        continue_at(env, &mut found, floor)?;
    }
    move_consumers_back(state, found.end, report);
    Ok(found)
}

/// A log without a segment: a new one, or one of which all are gone.
fn begin(
    env: &Env,
    base: Offset,
    state: &mut State,
    report: &mut RecoveryReport,
) -> Result<Recovered> {
    if base > state.log_start {
        report.lost = Some(state.log_start..base);
    }
    state.clean = None;
    state.cut = base;
    // They are of files that are gone; a new one may get the same name.
    state.tails.clear();
    let active = ActiveSegment::begin(env, base)?;
    let list = vec![Arc::clone(&active.segment)];
    move_consumers_back(state, base, report);
    Ok(Recovered { list, active, end: base, rewrite: None })
}

/// The last segment of a log that was closed, if it is as the clean mark says.
fn open_clean(env: &Env, last: Offset, state: &State) -> Result<Option<(ActiveSegment, Offset)>> {
    let Some(mark) = state.clean else { return Ok(None) };
    let data = SegmentData::open_sealed(env, last)?;
    let bytes = data.published();
    if mark.active_base != last || mark.active_bytes != bytes as u64 {
        return Ok(None);
    }
    let stored = index_file::read(&*env.storage, &env.dir, last, bytes, usize::MAX);
    let Some(mut entries) = stored.filter(|all| index_file::checksum(all) == mark.index_checksum)
    else {
        return Ok(None);
    };
    let rule =
        IndexRule::resume(last.get(), env.index_interval_bytes, &mut entries, mark.closing_time);
    rewrite::unshare(env, last)?;
    let active = ActiveSegment::reopen(env, last, Resume { position: bytes, rule, entries })?;
    Ok(Some((active, state.recovery_point)))
}

/// Keeps the copies of ends that what is to be written again may tear: that of the recovery point,
/// and where the cache was lost, so that it may lag, that of a flush that ended behind it.
fn keep_tails(env: &Env, found: &Recovered, kept: bool, state: &mut State) {
    if env.torn_bytes.is_none() || found.rewrite.is_none() {
        state.tails.clear();
        return;
    }
    // What goes beyond the end was lost, and would be put back over what comes now.
    let end = (found.active.data.base, found.active.position() as u64);
    state.tails.retain(|tail| (tail.base, tail.end()) <= end);
    state.tails.truncate(if kept { 1 } else { limits::TAIL_COPIES_KEPT });
}

/// Puts back what a torn rewriting took from before the durable end. The copies stay in the
/// checkpoint until this is synced, so that a cut in here changes nothing.
fn restore_tails(env: &Env, state: &State, report: &mut RecoveryReport) -> Result<()> {
    for tail in state.tails.iter().take(limits::TAIL_COPIES_KEPT) {
        let path = env.dir.join(names::segment_file(tail.base, Part::Log));
        let failed = |error| Error::sync("cannot restore the end of a segment", &path, error);
        let kind = env.storage.kind(&path).map_err(failed)?;
        if kind != Some(FileKind::File) || tail.end() > limits::SEGMENT_BYTES_MAX as u64 {
            continue;
        }
        let file = env.storage.open(&path, Access::ReadWrite).map_err(failed)?;
        let mut found = vec![0; tail.bytes.len()];
        let read = file.read_at(tail.position, &mut found).map_err(failed)?;
        if read == found.len() && found == tail.bytes {
            // A recovery that died may have put it back and not synced it; what is set aside next
            // is not written again.
            file.sync_all().map_err(failed)?;
            continue;
        }
        let mut position = tail.position;
        for sector in tail.bytes.chunks(limits::TORN_BYTES_MIN) {
            match file.write_all_at(position, sector) {
                // What was durable has its blocks. Behind it the copy may hold what was not.
                Err(error) if error.kind() == io::ErrorKind::StorageFull => break,
                written => written.map_err(failed)?,
            }
            position += sector.len() as u64;
        }
        file.sync_all().map_err(failed)?;
        let begin = usize::try_from(tail.position % PAGE_BYTES as u64).unwrap_or_default();
        env.written.sync(pages_of(begin..begin + tail.bytes.len()));
        report.ends_restored += 1;
    }
    Ok(())
}

/// Lets the log continue at `floor`, above what was found: offsets that were durable or shown as
/// such are never assigned again (I2, I17). An empty batch stands over what is missing; where there
/// is no room for it, or so many were never there, a hole does, which readers report.
fn continue_at(env: &Env, found: &mut Recovered, floor: Offset) -> Result<()> {
    let filled = match i32::try_from(floor - found.end) {
        Ok(missing) => match fill_gap(env, found, missing) {
            Err(error) if error.kind() == ErrorKind::OutOfSpace => false,
            filled => filled.map(|()| true)?,
        },
        Err(_) => false,
    };
    if !filled {
        return go_on_in_new(env, found, floor);
    }
    found.end = floor;
    Ok(())
}

fn fill_gap(env: &Env, found: &mut Recovered, missing: i32) -> Result<()> {
    let last = found.end + (i64::from(missing) - 1);
    // On a medium that tears nothing is written behind durable bytes without a copy of them.
    let unsafe_here = env.torn_bytes.is_some() && !found.active.is_empty();
    if unsafe_here || !found.active.has_room(HEADER_BYTES, last) {
        go_on_in_new(env, found, found.end)?;
    }
    let mut gap = Vec::new();
    encode_gap(&mut gap, missing);
    stamp(&mut gap, found.end.get(), &env.seal);
    found.active.append(&gap, last, -1, Pace::default())
}

fn go_on_in_new(env: &Env, found: &mut Recovered, base: Offset) -> Result<()> {
    found.active.seal(env)?;
    let next = ActiveSegment::begin(env, base)?;
    found.list.push(Arc::clone(&next.segment));
    found.active = next;
    found.end = base;
    Ok(())
}

/// A consumer that saw written records may have committed what a power cut took again (I7).
fn move_consumers_back(state: &mut State, end: Offset, report: &mut RecoveryReport) {
    for consumer in state.consumers.iter_mut().filter(|consumer| consumer.committed > end) {
        let moved =
            ConsumerMoved { name: consumer.name.clone(), from: consumer.committed, to: end };
        report.consumers_moved_back.push(moved);
        consumer.committed = end;
    }
}
