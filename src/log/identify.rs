//! Whose log a directory holds.
//!
//! Floor 4. Two files say it, and the seals of the batches bear it out: any one of them can be lost
//! or brought from elsewhere.

use crate::codec::seal::Seal;
use crate::disk::checkpoint;
use crate::disk::meta::{Found, Meta};
use crate::disk::segment::SegmentData;
use crate::disk::walk::{Gaps, Step, Walker};
use crate::disk::{Env, sync_name_of};
use crate::log::options::LogOptions;
use crate::log::report::RecoveryReport;
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

/// Whose log this is: by `log.meta` and the checkpoint, as far as the batches bear them out; else a
/// new one. A checkpoint that belongs to another log is dropped.
pub(super) fn identify(
    env: &Env,
    (found, loaded): (Found, &mut checkpoint::Loaded),
    bases: &[Offset],
    options: &LogOptions,
    store: Option<LogId>,
    report: &mut RecoveryReport,
) -> Result<Meta> {
    let (storage, dir) = (&*env.storage, &*env.dir);
    let found = match found {
        Found::Whole(meta) => Some(meta),
        Found::Nothing | Found::Damaged => None,
    };
    let kept = loaded.state.as_ref().map(|state| (state.meta, state.recovery_point));
    let whose = decide(env, found, kept, bases)?;
    if whose.foreign_checkpoint {
        loaded.state = None;
    }
    report.seal_lost = whose.seal_lost;
    let meta = match whose.meta {
        Some(meta) if found == Some(meta) => meta,
        Some(meta) => {
            report.meta_rebuilt = !whose.seal_lost;
            write_meta(env, meta)?;
            meta
        }
        None => {
            let id = storage
                .random()
                .map_err(|error| Error::io("cannot get random bytes for a log id", dir, error))?;
            // A power cut while the log was made leaves segments without a batch.
            report.seal_lost = holds_batches(env, bases)?;
            report.created = bases.is_empty();
            sync_name_of(storage, dir)?;
            let (log_id, seal) = (LogId::from_bytes(id), !report.seal_lost);
            let meta = Meta { log_id, seal, source: options.mirror_of, store };
            write_meta(env, meta)?;
            meta
        }
    };
    if options.mirror_of.is_some() && meta.source != options.mirror_of {
        let other = meta.source.map_or("no mirror".to_owned(), |id| format!("a mirror of {id}"));
        return Err(Error::new(ErrorKind::Conflict, format!("the log is {other}")).at(dir));
    }
    Ok(meta)
}

/// What the two files and the batches say together.
#[derive(Debug)]
pub(super) struct Whose {
    /// `None` if nobody knows.
    pub(super) meta: Option<Meta>,
    /// The checkpoint is another log's.
    pub(super) foreign_checkpoint: bool,
    /// The batches are a log's whose id nobody knows any more: they are read without their seal.
    pub(super) seal_lost: bool,
}

/// Changes nothing. `found` is from `log.meta`, `kept` from the checkpoint, and its recovery point
/// with it. Either may have been brought from elsewhere, and so may a segment: most of the batches
/// decide.
pub(super) fn decide(
    env: &Env,
    found: Option<Meta>,
    kept: Option<(Meta, Offset)>,
    bases: &[Offset],
) -> Result<Whose> {
    let whose = |meta, foreign_checkpoint| Whose { meta, foreign_checkpoint, seal_lost: false };
    let (kept, recovery_point) = kept.unzip();
    let both = found.zip(kept).filter(|(found, kept)| found.log_id != kept.log_id);
    let (meta, foreign_checkpoint) = match both {
        Some((found, kept)) => {
            let (of_found, of_kept) = (sealed(env, bases, &found)?, sealed(env, bases, &kept)?);
            match of_kept > 0 && of_kept >= of_found {
                true => (kept, false),
                false => (found, true),
            }
        }
        None => match found.or(kept) {
            Some(meta) => (meta, false),
            None => return Ok(whose(None, false)),
        },
    };
    let agreed = found.and(recovery_point);
    let agreed = agreed.map(|point| if foreign_checkpoint { Offset::MAX } else { point });
    if !meta.seal || !is_anothers(env, bases, &meta, agreed)? {
        return Ok(whose(Some(meta), foreign_checkpoint));
    }
    // An id that only a foreign checkpoint vouches for is not taken.
    let meta = found.map(|found| Meta { seal: false, ..found });
    Ok(Whose { meta, foreign_checkpoint: true, seal_lost: true })
}

/// Whether the segments hold batches, but none that this log has sealed. Against two files that
/// `agreed` one batch is not enough, for its seal may be damaged; and none counts above their
/// recovery point, where blocks may lie that a deleted log had before.
fn is_anothers(env: &Env, bases: &[Offset], meta: &Meta, agreed: Option<Offset>) -> Result<bool> {
    let seal = Seal::of(meta.log_id);
    // The last ones first: of the log's own, one is enough.
    for &base in bases.iter().rev() {
        if count_whole(env, base, &seal, 1)? > 0 {
            return Ok(false);
        }
    }
    let (enough, below) = agreed.map_or((1, Offset::MAX), |recovery_point| (2, recovery_point));
    let mut whole = 0;
    for &base in bases.iter().filter(|base| **base < below) {
        whole += count_whole_below(env, base, &Seal::NONE, enough, below)?;
    }
    Ok(whole >= enough)
}

/// Writes `log.meta` anew, with its name: two syncs.
pub(super) fn write_meta(env: &Env, meta: Meta) -> Result<()> {
    meta.write(&*env.storage, &env.dir)?;
    env.written.sync(1);
    env.written.sync(0);
    Ok(())
}

/// Whether a segment holds a whole batch of whatever log.
fn holds_batches(env: &Env, bases: &[Offset]) -> Result<bool> {
    for &base in bases {
        if count_whole(env, base, &Seal::NONE, 1)? > 0 {
            return Ok(true);
        }
    }
    Ok(false)
}

/// How many segments hold a batch that this log has sealed.
fn sealed(env: &Env, bases: &[Offset], meta: &Meta) -> Result<usize> {
    let seal = if meta.seal { Seal::of(meta.log_id) } else { Seal::NONE };
    let mut segments = 0;
    for &base in bases {
        segments += count_whole(env, base, &seal, 1)?;
    }
    Ok(segments)
}

/// How many whole batches under a seal a segment holds, counted up to `enough`. What cannot be read
/// says nothing of whose it is: that is an error.
pub(super) fn count_whole(env: &Env, base: Offset, seal: &Seal, enough: usize) -> Result<usize> {
    count_whole_below(env, base, seal, enough, Offset::MAX)
}

/// [`count_whole`] of the batches that begin below an offset.
fn count_whole_below(
    env: &Env,
    base: Offset,
    seal: &Seal,
    enough: usize,
    below: Offset,
) -> Result<usize> {
    let data = match SegmentData::open_sealed(env, base) {
        Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(0),
        opened => opened?,
    };
    let mut walker = Walker::new(0, base, Gaps::Expected);
    let mut count = 0;
    while count < enough {
        match walker.next(&data, seal)? {
            Step::Batch(batch) if batch.header.base_offset >= below.get() => break,
            Step::Batch(_) => count += 1,
            Step::Damage(_) if walker.resync(&data, seal, Offset::MAX)?.is_some() => {}
            Step::Damage(_) | Step::End => break,
        }
    }
    Ok(count)
}
