//! Lets the small state fit its slot where the disk is too full for larger ones.
//!
//! Floor 4. Flushing, deleting and opening have to work on a full disk; what a roll adds must not
//! be what stops them.

use crate::disk::Env;
use crate::disk::checkpoint::Checkpoint;
use crate::disk::state::{ClockSample, State};
use crate::words::error::{ErrorKind, Result};

/// Writes the state. Where there is no room for larger slots, and this is enough, moments of the
/// log clock are forgotten: what lies between two of them then counts from the later one, and so
/// for younger than it is.
pub(super) fn write(file: &mut Checkpoint, env: &Env, state: &mut State) -> Result<()> {
    let written = file.write(env, state);
    let full = written.as_ref().is_err_and(|error| error.kind() == ErrorKind::OutOfSpace);
    let too_many = file.excess_bytes().div_ceil(ClockSample::ENCODED_BYTES);
    let most = state.samples.len().saturating_sub(too_many);
    if !full || too_many == 0 || most == 0 || file.has_failed() {
        return written;
    }
    while state.samples.len() > most {
        thin(&mut state.samples);
    }
    file.write(env, state)
}

/// [`write`], and syncs it, with nobody else around.
pub(super) fn write_synced(file: &mut Checkpoint, env: &Env, state: &mut State) -> Result<()> {
    write(file, env, state)?;
    file.sync(env)
}

/// Forgets every second moment; the last one stays: by it the active segment's age is known.
fn thin(samples: &mut Vec<ClockSample>) {
    let mut stays = samples.len().is_multiple_of(2);
    samples.retain(|_| {
        stays = !stays;
        stays
    });
}
