//! A log's files as a follower finds them: which there are, where the log stands in them, and whose
//! they are.
//!
//! Floor 4.

use std::path::Path;
use std::sync::Arc;

use crate::codec::seal::Seal;
use crate::disk::Env;
use crate::disk::meta::{Found, Meta};
use crate::disk::names::{self, Part};
use crate::disk::state::State;
use crate::log::chain::{begins_whole, reaches_over};
use crate::log::follow::no_log;
use crate::log::identify::decide;
use crate::sys::{FileKind, Storage};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::offset::Offset;

/// The same files, reached in the two ways.
#[derive(Debug)]
pub(super) struct Envs {
    /// By position: what may still be cut.
    pub(super) read: Env,
    /// Through maps, where the medium allows that: what is sealed and durable.
    pub(super) map: Env,
}

impl Envs {
    pub(super) fn new(storage: &Arc<dyn Storage>, dir: &Path, mapped: bool, seal: Seal) -> Envs {
        let env = |mapped| Env {
            storage: Arc::clone(storage),
            dir: dir.to_path_buf(),
            names: None,
            seal,
            mapped,
            segment_bytes: limits::SEGMENT_BYTES_MAX,
            index_interval_bytes: limits::INDEX_INTERVAL_BYTES_DEFAULT,
            torn_bytes: None,
            memory_bounded: false,
            written: Default::default(),
        };
        Envs { read: env(false), map: env(mapped) }
    }
}

/// The last of these segments that begins with a whole batch and is no piece of the one before it.
pub(super) fn begun(env: &Env, bases: &[Offset]) -> Option<Offset> {
    let mut below = bases;
    for _ in 0..limits::HEADLESS_SEGMENTS_MAX {
        let (&base, before) = below.split_last()?;
        let over = |before: &Offset| reaches_over(env, *before, base);
        if begins_whole(env, base) && !before.last().is_some_and(over) {
            return Some(base);
        }
        below = before;
    }
    None
}

/// The base offsets of the segments there are.
pub(super) fn list(env: &Env) -> Result<Vec<Offset>> {
    let entries = match env.storage.list(&env.dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(no_log(&env.dir));
        }
        entries => {
            entries.map_err(|error| Error::io("cannot list the directory", &env.dir, error))?
        }
    };
    let segments = entries.into_iter().filter(|entry| entry.kind == FileKind::File);
    let names = segments.filter_map(|entry| names::parse_segment_file(&entry.name?));
    let mut bases: Vec<Offset> =
        names.filter(|(_, part)| *part == Part::Log).map(|(base, _)| base).collect();
    bases.sort_unstable();
    Ok(bases)
}

/// Whose log this is, how its batches are sealed, and whether the checkpoint is another's: by the
/// same rules as an open for writing, but nothing is put right.
pub(super) fn identify(
    env: &Env,
    kept: Option<&State>,
    bases: &[Offset],
) -> Result<(Option<LogId>, Seal, bool)> {
    let found = match Meta::read(&*env.storage, &env.dir)? {
        Found::Whole(meta) => Some(meta),
        Found::Nothing | Found::Damaged => None,
    };
    let whose = decide(env, found, kept.map(|state| (state.meta, state.recovery_point)), bases)?;
    let Some(meta) = whose.meta else { return Ok((None, Seal::NONE, whose.foreign_checkpoint)) };
    let seal = if meta.seal { Seal::of(meta.log_id) } else { Seal::NONE };
    Ok((Some(meta.log_id), seal, whose.foreign_checkpoint))
}
