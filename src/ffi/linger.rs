//! Lingers and their tickets.
//!
//! Floor 6.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::time::Duration;

use super::bytes::{forebay_bytes, given, if_wanted, invalid};
use super::fail::guard;
use super::handle::{Inside, free, handle, opened, shared};
use super::log::{forebay_log, visibility};
use super::record::forebay_new_record;
use super::sized::{self, Grows};
use super::status::forebay_status;
use crate::{Error, ErrorKind, Linger, LingerOptions, NewRecord, Result, Ticket};

/// Makes batches of single records that any number of threads append: 110 bytes on the disk for a
/// value of 100 instead of 170. A record is in the log when its batch is: the death of the process
/// takes what waits here, whose tickets were not answered yet. If one append returned before
/// another one began, its record gets the lower offset; forebay_log_append goes past what waits. It
/// takes up to six batches of memory, beside what memory_limit_bytes counts. Any number of
/// threads may use it at once, for anything but forebay_linger_free. It keeps the log open.
pub struct forebay_linger(Inside<Linger>);
handle!(forebay_linger, Linger, Linger, "linger");

/// Tells the offset of a record that was handed to a linger. Any number of threads may use it at
/// once, for anything but forebay_ticket_free. It keeps the log open.
pub struct forebay_ticket(Inside<Ticket>);
handle!(forebay_ticket, Ticket, Ticket, "ticket");

/// When a batch is appended, and what tickets wait for. Zero means the default everywhere.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_linger_options {
    /// sizeof, set by forebay_linger_options_init.
    pub struct_size: u32,
    /// What forebay_ticket_wait and forebay_linger_flush wait for: FOREBAY_WRITTEN, or
    /// FOREBAY_DURABLE, for which they flush the log.
    pub acknowledge: u32,
    /// How long the first record of a batch waits for others, in milliseconds: 5 by default, -1 for
    /// no time at all; Kafka's linger.ms.
    pub linger_ms: i64,
    /// The size at which a batch is appended, at most max_batch_bytes: 64 KiB by default; Kafka's
    /// batch.size.
    pub batch_bytes: u64,
    /// The number of records at which a batch is appended: no bound by default.
    pub batch_records: u64,
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_linger_options {
    const NAME: &str = "linger options";
}

const _: () = assert!(size_of::<forebay_linger_options>() == 32);

impl forebay_linger_options {
    fn options(&self) -> Result<LingerOptions> {
        let mut options = LingerOptions::new().acknowledge(visibility(self.acknowledge)?);
        let count = |number: u64, name: &str| {
            usize::try_from(number).map_err(|_| invalid(format!("{name} is {number}, too many")))
        };
        options = match self.linger_ms {
            0 => options,
            -1 => options.linger(Duration::ZERO),
            millis => match u64::try_from(millis) {
                Ok(millis) => options.linger(Duration::from_millis(millis)),
                Err(_) => {
                    return Err(invalid(format!("linger_ms is {millis}: -1, or not below 0")));
                }
            },
        };
        if self.batch_bytes > 0 {
            options = options.batch_bytes(count(self.batch_bytes, "batch_bytes")?);
        }
        if self.batch_records > 0 {
            options = options.batch_records(count(self.batch_records, "batch_records")?);
        }
        Ok(options)
    }
}

/// Sets all options to their defaults; `size` is sizeof. Call it before setting any.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_linger_options_init(
    options: Option<NonNull<forebay_linger_options>>,
    size: usize,
) -> forebay_status {
    guard(|| sized::write(options, size, &sized::zeroed()))
}

/// Makes a linger of this log; `options` may be NULL for the defaults. Free it with
/// forebay_linger_free. `*linger_out` is NULL unless this is FOREBAY_OK. Does not block.
/// FOREBAY_INVALID_ARGUMENT: also for a mirror, which takes batches of its source only.
/// FOREBAY_CLOSED.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_linger(
    log: Option<&forebay_log>,
    options: *const forebay_linger_options,
    linger_out: Option<&mut MaybeUninit<*mut forebay_linger>>,
) -> forebay_status {
    guard(|| {
        opened(linger_out, "linger_out", || {
            let log = shared(log)?;
            log.linger(sized::read_or_default(options)?.options()?)
        })
    })
}

/// Hands in a record that is a value alone. A ticket tells its offset once its batch is in the log,
/// to be freed with forebay_ticket_free; `ticket_out` may be NULL where nobody asks.
/// `*ticket_out` is NULL unless this is FOREBAY_OK.
/// Blocks where the record fills a batch, until that is in the log, and where four full ones wait.
/// FOREBAY_RECORD_TOO_LARGE, FOREBAY_POISONED, FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT: it was not
/// handed in. What stands in the way of its batch is told by its ticket and by
/// forebay_linger_flush.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_linger_append(
    linger: Option<&forebay_linger>,
    value: forebay_bytes,
    ticket_out: Option<&mut MaybeUninit<*mut forebay_ticket>>,
) -> forebay_status {
    guard(|| hand_in(linger, ticket_out, || Ok(NewRecord::new(value.or_empty("value")?))))
}

/// As forebay_linger_append, for a record with a key, headers, a time of its own, or none of these.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_linger_append_record(
    linger: Option<&forebay_linger>,
    record: Option<&forebay_new_record>,
    ticket_out: Option<&mut MaybeUninit<*mut forebay_ticket>>,
) -> forebay_status {
    guard(|| {
        hand_in(linger, ticket_out, || {
            let record = given(record, "record")?;
            record.check()?;
            record.record()
        })
    })
}

fn hand_in<'a>(
    linger: Option<&forebay_linger>,
    place: Option<&mut MaybeUninit<*mut forebay_ticket>>,
    record: impl FnOnce() -> Result<NewRecord<'a>>,
) -> Result<()> {
    let linger = shared(linger);
    let hand_in = || linger?.append(record()?);
    match place {
        Some(_) => opened(place, "ticket_out", hand_in),
        None => hand_in().map(drop),
    }
}

/// Appends what waits, and returns when all that was handed in before is in the log, or durable
/// where the options ask for it. Blocks for that.
/// FOREBAY_OUT_OF_SPACE and whatever else a batch met that could not be appended since the last
/// flush, told once; those of forebay_log_flush; FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_linger_flush(linger: Option<&forebay_linger>) -> forebay_status {
    guard(|| shared(linger)?.flush())
}

/// Appends what waits, as forebay_linger_flush does, whose errors go nowhere here, and frees the
/// linger; tickets stay valid. NULL is nothing to do. No other call on this handle may run.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_linger_free(linger: Option<NonNull<forebay_linger>>) {
    free(linger);
}

/// Waits for what `acknowledge` of the options says, and says the record's offset; `offset_out` may
/// be NULL. The first thread that waits appends the batch for all when its time is over.
/// What the batch met that could not be appended, the same for all its tickets:
/// FOREBAY_OUT_OF_SPACE, FOREBAY_POISONED: the record is not in the log. Closing the log appends
/// what waits.
/// FOREBAY_IO: it may be, but is not known to be durable. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_ticket_wait(
    ticket: Option<&forebay_ticket>,
    offset_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        if_wanted(offset_out, shared(ticket)?.wait()?.get());
        Ok(())
    })
}

/// As forebay_ticket_wait, until the record survives a power cut, whatever the options say.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_ticket_wait_durable(
    ticket: Option<&forebay_ticket>,
    offset_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        if_wanted(offset_out, shared(ticket)?.wait_durable()?.get());
        Ok(())
    })
}

/// What forebay_ticket_wait would say, if it would at once; does nothing for it. Does not block.
/// FOREBAY_WOULD_BLOCK: not yet.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_ticket_try_wait(
    ticket: Option<&forebay_ticket>,
    offset_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        let not_yet = || Error::new(ErrorKind::WouldBlock, "the record waits for its batch");
        let answer = shared(ticket)?.try_wait().ok_or_else(not_yet)?;
        if_wanted(offset_out, answer?.get());
        Ok(())
    })
}

/// Frees the ticket; its record takes the same way. NULL is nothing to do. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_ticket_free(ticket: Option<NonNull<forebay_ticket>>) {
    free(ticket);
}
