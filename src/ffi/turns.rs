//! Replicators without a thread.
//!
//! Floor 6.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::bytes::{forebay_bytes, out};
use super::fail::{guard, guard_offset};
use super::handle::{Inside, exclusive, free, handle, opened, shared};
use super::log::forebay_log;
use super::reader::offset;
use super::replicator::hand_out;
use super::ship::Turning;
use super::shipping::{forebay_notice, forebay_progress, forebay_replicator_options};
use super::sized;
use super::status::forebay_status;
use super::upstream::{forebay_upstream, used_up};
use super::version::needs;

/// A replicator that the application's own loop drives by polling it, without a thread.
/// One thread at a time may use it, any thread; a call meanwhile gets FOREBAY_WOULD_BLOCK, and so
/// does one in its own token callback.
pub struct forebay_turns(Inside<Turning>);
handle!(forebay_turns, Turning, Turns, "turns");

/// Makes what ships `log` to `upstream`, as forebay_replicator_start does, and like that takes the
/// upstream if this is FOREBAY_OK. Nothing is done but by forebay_turns_turn. Free it with
/// forebay_turns_free. `*turns_out` is NULL unless this is FOREBAY_OK. Does not block.
/// As forebay_replicator_start.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_turns_new(
    log: Option<&forebay_log>,
    name: forebay_bytes,
    upstream: Option<NonNull<forebay_upstream>>,
    options: *const forebay_replicator_options,
    turns_out: Option<&mut MaybeUninit<*mut forebay_turns>>,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        opened(turns_out, "turns_out", || {
            let (log, name) = (shared(log)?, name.text("name")?);
            let options = sized::read_or_default(options)?;
            used_up(upstream, |setup| Turning::new(&log, name, setup, &options))
        })
    })
}

/// Does the next step: opens the link, sends a batch, or takes answers; and says in `wait_ms_out`
/// what follows. 0: there is more to do at once. More: nothing is due for so many milliseconds, at
/// most 100, for records may become durable; after forebay_log_flush ask at once. The log's flush
/// interval is kept here too. -1: the log was closed, nothing is shipped any more.
/// That the link failed is no failure of this call: forebay_turns_next_notice tells it.
/// Blocks as long as the step takes: for the network, as long as the upstream's timeouts say.
/// FOREBAY_INVALID_ARGUMENT; FOREBAY_UNSUPPORTED without "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_turns_turn(
    turns: Option<NonNull<forebay_turns>>,
    wait_ms_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        let place = out(wait_ms_out, "wait_ms_out")?;
        place.write(exclusive(turns)?.turn()?);
        Ok(())
    })
}

/// Takes the next thing that happened, as forebay_replicator_next_notice, but never waits for one.
/// Does not block. FOREBAY_INVALID_ARGUMENT; FOREBAY_UNSUPPORTED without "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_turns_next_notice(
    turns: Option<NonNull<forebay_turns>>,
    notice_out: Option<NonNull<forebay_notice>>,
    size: usize,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        let mut turns = exclusive(turns)?;
        hand_out(notice_out, size, || turns.next_notice())
    })
}

/// As forebay_replicator_status. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_turns_status(
    turns: Option<NonNull<forebay_turns>>,
    progress_out: Option<NonNull<forebay_progress>>,
    size: usize,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        sized::write(progress_out, size, &exclusive(turns)?.status()?)
    })
}

/// As forebay_replicator_upstream_offset. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_turns_upstream_offset(
    turns: Option<NonNull<forebay_turns>>,
    offset: i64,
) -> i64 {
    guard_offset(|| {
        needs("replicator")?;
        exclusive(turns)?.upstream_offset(self::offset(offset, "offset")?)
    })
}

/// Closes the link and frees the turns; progress stays, and what is in flight is accounted for by
/// the next start. NULL is nothing to do. Blocks for a device sync where the upstream is a log, not
/// for the network.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_turns_free(turns: Option<NonNull<forebay_turns>>) {
    free(turns);
}
