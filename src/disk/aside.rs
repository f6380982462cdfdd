//! What recovery cuts off is kept beside the log: the bytes of the newest cut, for whoever wants to
//! look at them.
//!
//! Floor 3. Nobody reads these files again; where there is no room for one, it is left out (I13).

use std::io;
use std::path::Path;

use crate::disk::names::{self, Part};
use crate::disk::segment::SegmentData;
use crate::disk::wear::pages_of;
use crate::disk::{Env, create_anew, unlink_if_there, walk};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// Removes what earlier cuts set aside: one cut's is kept, the newest. What an interrupted recovery
/// set aside for this very cut stays.
pub(crate) fn drop_others(env: &Env, names: &[String], cut: Offset) {
    for name in names {
        if names::parse_aside_file(name).is_some_and(|(other, _)| other != cut) {
            // Best effort: nothing depends on it.
            let _ = env.storage.unlink(&env.dir.join(name));
        }
    }
}

/// Removes what an earlier recovery set aside at this very cut: the segments up to `last`. The one
/// that runs, if it was interrupted, moved only later ones, for it begins with the last.
pub(crate) fn drop_up_to(env: &Env, names: &[String], cut: Offset, last: Offset) {
    for name in names {
        if names::parse_aside_file(name).is_some_and(|(of, base)| of == cut && base <= last) {
            // Best effort: nothing depends on it.
            let _ = env.storage.unlink(&env.dir.join(name));
        }
    }
}

/// Copies the bytes from `from` to the last one that is not zero; whether there was room.
pub(crate) fn keep_tail(env: &Env, cut: Offset, data: &SegmentData, from: usize) -> Result<bool> {
    let Some(end) = walk::last_nonzero(data, from)? else { return Ok(true) };
    let path = env.dir.join(names::aside_file(cut, data.base));
    let kept = copy(env, data, from, end, &path);
    if kept.is_err() {
        let _ = env.storage.unlink(&path);
    }
    Ok(kept.is_ok())
}

fn copy(env: &Env, data: &SegmentData, from: usize, end: usize, path: &Path) -> io::Result<()> {
    let file = create_anew(&*env.storage, path)?;
    let mut at = from;
    while at < end {
        let chunk = data
            .window(at, limits::READ_CHUNK_BYTES)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let length = chunk.len().min(end - at).min(limits::SCAN_CHUNK_BYTES);
        let Some(bytes) = chunk.get(..length).filter(|bytes| !bytes.is_empty()) else { break };
        file.write_all_at((at - from) as u64, bytes)?;
        at += length;
    }
    file.sync_all()?;
    env.written.sync(pages_of(from..at));
    Ok(())
}

/// Moves a whole segment aside; its indexes go.
pub(crate) fn move_segment(env: &Env, cut: Offset, base: Offset) -> Result<()> {
    for part in [Part::TimeIndex, Part::Index] {
        let path = env.dir.join(names::segment_file(base, part));
        unlink_if_there(&*env.storage, &path)
            .map_err(|error| Error::io("cannot remove an index behind the end", &path, error))?;
    }
    let path = env.dir.join(names::segment_file(base, Part::Log));
    let aside = env.dir.join(names::aside_file(cut, base));
    env.storage
        .rename(&path, &aside)
        .map_err(|error| Error::io("cannot set a segment behind the end aside", &path, error))
}
