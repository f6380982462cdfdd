//! Replicators.
//!
//! Floor 6.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::bytes::{forebay_bytes, out};
use super::fail::{guard, guard_free, guard_offset};
use super::handle::{Inside, handle, opened, shared, take};
use super::log::{forebay_log, wait};
use super::reader::offset;
use super::ship::Running;
use super::shipping::{forebay_notice, forebay_progress, forebay_replicator_options};
use super::sized;
use super::status::forebay_status;
use super::upstream::{forebay_upstream, used_up};
use super::version::needs;
use crate::{Error, ErrorKind, Result};

/// Ships the durable records of a log to an upstream, in order, on one thread of its own. After a
/// kill or a power cut on either side the upstream is asked what it has, and shipping goes on
/// exactly there. Any number of threads may use it at once, for anything but
/// forebay_replicator_stop and forebay_replicator_free.
pub struct forebay_replicator(Inside<Running>);
handle!(forebay_replicator, Running, Replicator, "replicator");

/// Starts to ship `log` to `upstream`, and takes the upstream if this is FOREBAY_OK: its handle is
/// freed; else it is still the caller's. `name` is the consumer of the log that progress is kept
/// under, and by which hold_consumers knows it: retention waits for what is not acknowledged if
/// `hold` of the log's options says so, and else may take it before. `options` may be NULL for the
/// defaults. End it with forebay_replicator_stop, and close the log then. `*replicator_out` is NULL
/// unless this is FOREBAY_OK.
/// Does not block for the network: that the link cannot be opened is told by
/// forebay_replicator_next_notice and forebay_replicator_status, and it is tried again.
/// FOREBAY_INVALID_ARGUMENT if settings of the upstream do not go together: the text names them;
/// FOREBAY_CONSUMER_BUSY if one of this name is open; FOREBAY_OUT_OF_SPACE, FOREBAY_CLOSED,
/// FOREBAY_IO; FOREBAY_UNSUPPORTED without "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_start(
    log: Option<&forebay_log>,
    name: forebay_bytes,
    upstream: Option<NonNull<forebay_upstream>>,
    options: *const forebay_replicator_options,
    replicator_out: Option<&mut MaybeUninit<*mut forebay_replicator>>,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        opened(replicator_out, "replicator_out", || {
            let (log, name) = (shared(log)?, name.text("name")?);
            let options = sized::read_or_default(options)?;
            used_up(upstream, |setup| Running::start(&log, name, setup, &options))
        })
    })
}

/// Fills in how far it has come and what it is doing, into the `size` bytes (sizeof) at
/// `progress_out`. With a lag it costs the reading of one batch. Does not block.
/// FOREBAY_INVALID_ARGUMENT; FOREBAY_UNSUPPORTED without "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_status(
    replicator: Option<&forebay_replicator>,
    progress_out: Option<NonNull<forebay_progress>>,
    size: usize,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        sized::write(progress_out, size, &shared(replicator)?.status()?)
    })
}

/// Takes the next thing that happened, in order, and fills it in, into the `size` bytes (sizeof) at
/// `notice_out`; FOREBAY_OK and the kind FOREBAY_NOTICE_NONE if nothing happened in time. 64 wait
/// to be taken; then the oldest are dropped and counted. After FOREBAY_NOTICE_STOPPED nothing comes
/// any more, and nothing is waited for: a thread that waits here is ended by closing the log.
/// Blocks up to `timeout_ms` milliseconds, 0 not at all, negative for ever; no longer than until
/// the replicator stops.
/// FOREBAY_INVALID_ARGUMENT, also in its own token callback unless `timeout_ms` is 0;
/// FOREBAY_UNSUPPORTED without "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_next_notice(
    replicator: Option<&forebay_replicator>,
    timeout_ms: i64,
    notice_out: Option<NonNull<forebay_notice>>,
    size: usize,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        let running = shared(replicator)?;
        if timeout_ms != 0 {
            running.not_from_inside("forebay_replicator_next_notice")?;
        }
        hand_out(notice_out, size, || running.next_notice(wait(timeout_ms)))
    })
}

/// A notice is taken only where it can be handed out.
pub(super) fn hand_out(
    place: Option<NonNull<forebay_notice>>,
    size: usize,
    next: impl FnOnce() -> Result<Option<forebay_notice>>,
) -> Result<()> {
    sized::write(place, size, &sized::zeroed())?;
    match next()? {
        Some(notice) => sized::write(place, size, &notice),
        None => Ok(()),
    }
}

/// Waits until every record below `offset` is known to be durable upstream, and says in
/// `reached_out` whether it is. Only records that are durable here are shipped: flush first, or
/// leave it to the flush policy, whose interval the replicator keeps.
/// Blocks up to `timeout_ms` milliseconds; 0 not at all, negative for ever.
/// FOREBAY_CLOSED if the replicator stopped before, for its log was closed;
/// FOREBAY_INVALID_ARGUMENT, also in its own token callback; FOREBAY_UNSUPPORTED without
/// "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_wait(
    replicator: Option<&forebay_replicator>,
    offset: i64,
    timeout_ms: i64,
    reached_out: Option<&mut MaybeUninit<bool>>,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        let place = out(reached_out, "reached_out")?;
        let running = shared(replicator)?;
        running.not_from_inside("forebay_replicator_wait")?;
        place.write(running.wait(self::offset(offset, "offset")?, wait(timeout_ms))?);
        Ok(())
    })
}

/// Where upstream the record of this offset stands, or a negative status: exactly there if nobody
/// else writes to that partition and no gap lies near, else near there. Does not block.
/// FOREBAY_NOT_FOUND if it is not known to have arrived, or so old that it was forgotten, and
/// always for an upstream that is a log, where offsets are the same; FOREBAY_INVALID_ARGUMENT;
/// FOREBAY_UNSUPPORTED without "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_upstream_offset(
    replicator: Option<&forebay_replicator>,
    offset: i64,
) -> i64 {
    guard_offset(|| {
        needs("replicator")?;
        shared(replicator)?.upstream_offset(self::offset(offset, "offset")?)
    })
}

/// Stops shipping, closes the link and frees the handle, whatever it returns. What is in flight is
/// accounted for by the next start. NULL is nothing to do. No other call on this handle may run.
/// Blocks until a call into the upstream that is under way returns: against a broker that says
/// nothing, as long as request.timeout.ms, and that may have doubled five times. To be done in a
/// bounded time: forebay_replicator_stop_within, then forebay_log_close or forebay_store_close,
/// which do not wait for the link, whatever it said; nothing is lost by not stopping.
/// FOREBAY_UPSTREAM if the upstream met a fault; FOREBAY_INVALID_ARGUMENT, and nothing is freed, in
/// its own token callback; FOREBAY_UNSUPPORTED without "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_stop(
    replicator: Option<NonNull<forebay_replicator>>,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        not_from_inside(replicator, "forebay_replicator_stop")?;
        take(replicator)?.map_or(Ok(()), Running::stop)
    })
}

/// As forebay_replicator_stop, but waits no longer than `timeout_ms` milliseconds; 0 not at all,
/// negative for ever. FOREBAY_WOULD_BLOCK if a call into the upstream is under way still: nothing
/// is freed, and behind that call nothing more is sent; call again, or leave the handle and end the
/// process. Whatever else is returned, the handle is freed.
/// FOREBAY_UPSTREAM if the upstream met a fault; FOREBAY_INVALID_ARGUMENT, and nothing is freed, in
/// its own token callback; FOREBAY_UNSUPPORTED without "replicator".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_stop_within(
    replicator: Option<NonNull<forebay_replicator>>,
    timeout_ms: i64,
) -> forebay_status {
    guard(|| {
        needs("replicator")?;
        if replicator.is_none() {
            return Ok(());
        }
        not_from_inside(replicator, "forebay_replicator_stop_within")?;
        // SAFETY: the header asks for a handle that the library gave and that was not freed.
        let it = replicator.map(|handle| unsafe { handle.as_ref() });
        if !shared(it)?.stop_within(wait(timeout_ms))? {
            let what = "the replicator has not stopped yet: a call into the upstream is under way";
            return Err(Error::new(ErrorKind::WouldBlock, what));
        }
        take(replicator)?.map_or(Ok(()), Running::stop)
    })
}

/// As forebay_replicator_stop, for who has no use for its status.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_free(replicator: Option<NonNull<forebay_replicator>>) {
    guard_free(|| {
        not_from_inside(replicator, "forebay_replicator_free")?;
        take(replicator).map(drop)
    });
}

fn not_from_inside(replicator: Option<NonNull<forebay_replicator>>, what: &str) -> Result<()> {
    // SAFETY: the header asks for a handle that the library gave and that was not freed.
    let replicator = replicator.map(|handle| unsafe { handle.as_ref() });
    match shared(replicator) {
        Ok(running) => running.not_from_inside(what),
        // What is wrong with it is found when it is taken.
        Err(_) => Ok(()),
    }
}
