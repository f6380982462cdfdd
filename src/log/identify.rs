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

/// Whose log this is: by `log.meta`, else by the checkpoint, else a new one. A checkpoint that
/// belongs to another log is dropped.
pub(super) fn identify(
    env: &Env,
    loaded: &mut checkpoint::Loaded,
    bases: &[Offset],
    options: &LogOptions,
    report: &mut RecoveryReport,
) -> Result<Meta> {
    let (storage, dir) = (&*env.storage, &*env.dir);
    let found = match Meta::read(storage, dir)? {
        Found::Whole(meta) => Some(meta),
        Found::Nothing | Found::Damaged => None,
    };
    let kept = loaded.state.as_ref().map(|state| state.meta);
    let meta = match (found, kept) {
        (Some(found), Some(kept)) if found.log_id != kept.log_id => {
            // One of the two files was brought from elsewhere: the batches say which.
            if seals_first_batch(env, bases, &Seal::of(kept.log_id)) {
                rebuild_meta(env, kept, report)?
            } else {
                loaded.state = None;
                found
            }
        }
        (Some(found), None) if found.seal && is_anothers(env, bases, &found) => {
            // Batches of a log whose id nobody knows any more are read without their seal.
            report.seal_lost = true;
            let meta = Meta { seal: false, ..found };
            meta.write(storage, dir)?;
            meta
        }
        (Some(found), _) => found,
        (None, Some(kept)) => rebuild_meta(env, kept, report)?,
        (None, None) => {
            let id = storage
                .random()
                .map_err(|error| Error::io("cannot get random bytes for a log id", dir, error))?;
            report.seal_lost = !bases.is_empty();
            report.created = bases.is_empty();
            sync_name_of(storage, dir)?;
            let (log_id, seal) = (LogId::from_bytes(id), bases.is_empty());
            let meta = Meta { log_id, seal, source: options.mirror_of };
            meta.write(storage, dir)?;
            meta
        }
    };
    if options.mirror_of.is_some() && meta.source != options.mirror_of {
        let other = meta.source.map_or("no mirror".to_owned(), |id| format!("a mirror of {id}"));
        return Err(Error::new(ErrorKind::Conflict, format!("the log is {other}")).at(dir));
    }
    Ok(meta)
}

fn rebuild_meta(env: &Env, meta: Meta, report: &mut RecoveryReport) -> Result<Meta> {
    report.meta_rebuilt = true;
    meta.write(&*env.storage, &env.dir)?;
    Ok(meta)
}

/// Whether the segments hold batches, but none that this log has sealed.
pub(super) fn is_anothers(env: &Env, bases: &[Offset], meta: &Meta) -> bool {
    !seals_first_batch(env, bases, &Seal::of(meta.log_id))
        && seals_first_batch(env, bases, &Seal::NONE)
}

/// Whether the first readable batch of a segment was sealed by this log.
pub(super) fn seals_first_batch(env: &Env, bases: &[Offset], seal: &Seal) -> bool {
    bases.iter().any(|&base| {
        let Ok(data) = SegmentData::open_sealed(env, base) else { return false };
        let mut walker = Walker::new(0, base, Gaps::Expected);
        matches!(walker.next(&data, seal), Ok(Step::Batch(_)))
    })
}
