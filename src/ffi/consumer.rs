//! Consumers.
//!
//! Floor 6.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::batch::{self, forebay_batch};
use super::bytes::{forebay_bytes, if_wanted};
use super::fail::{guard, guard_offset};
use super::handle::{Inside, exclusive, free, handle, opened, shared};
use super::lists;
use super::log::{FOREBAY_DURABLE, FOREBAY_WRITTEN, forebay_log, visibility, wait};
use super::reader::{offset, offset_spec};
use super::report::short_text;
use super::sized::{self, Grows};
use super::status::forebay_status;
use crate::{Consumer, ConsumerLag, ConsumerOptions, Error, ErrorKind, Visibility};

/// A named reader whose progress is stored: after a restart the consumer of the same name goes on
/// where it committed. One thread at a time may use it, any thread; a call meanwhile gets
/// FOREBAY_WOULD_BLOCK.
pub struct forebay_consumer(Inside<Consumer>);
handle!(forebay_consumer, Consumer, Consumer, "consumer");

/// How a consumer is opened. Zero means the default everywhere.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_consumer_options {
    /// sizeof, set by forebay_consumer_options_init.
    pub struct_size: u32,
    /// FOREBAY_WRITTEN, or FOREBAY_DURABLE for one that carries records elsewhere. It stays what it
    /// was created with: another one is FOREBAY_INVALID_ARGUMENT.
    pub visibility: u32,
    /// Where a consumer of a name that is new begins, one of FOREBAY_FROM_...: the log's start by
    /// default. One that exists goes on where it committed.
    pub from: u32,
    /// 0.
    pub reserved: u32,
    /// What `from` asks for: an offset, a time.
    pub number: i64,
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_consumer_options {
    const NAME: &str = "consumer options";
}

const _: () = assert!(size_of::<forebay_consumer_options>() == 24);

/// A consumer as the log knows it, open or not: forebay_consumer_list_get,
/// forebay_log_consumer_info.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_consumer_info {
    /// How many bytes of this struct were filled in.
    pub struct_size: u32,
    /// FOREBAY_WRITTEN or FOREBAY_DURABLE.
    pub visibility: u32,
    /// The next offset it reads after a restart.
    pub committed: i64,
    /// How many offsets it has not committed, those of records dropped since included.
    pub lag: u64,
    /// How many records retention took before it had committed them.
    pub overtaken: u64,
    /// 1 if retention waits for it.
    pub holds: u32,
    /// 1 if it is open in this process.
    pub open: u32,
    /// Its name, NUL-terminated.
    pub name: [c_char; 256],
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_consumer_info {
    const NAME: &str = "consumer info";
}

const _: () = assert!(size_of::<forebay_consumer_info>() == 296);

impl forebay_consumer_info {
    pub(super) fn of(consumer: &ConsumerLag) -> forebay_consumer_info {
        forebay_consumer_info {
            struct_size: 0,
            visibility: match consumer.visibility {
                Visibility::Durable => FOREBAY_DURABLE,
                Visibility::Written => FOREBAY_WRITTEN,
            },
            committed: consumer.committed.get(),
            lag: consumer.lag,
            overtaken: consumer.overtaken,
            holds: consumer.holds.into(),
            open: consumer.open.into(),
            name: short_text(&consumer.name),
        }
    }
}

/// Sets all options to their defaults; `size` is sizeof. Call it before setting any.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_options_init(
    options: Option<NonNull<forebay_consumer_options>>,
    size: usize,
) -> forebay_status {
    guard(|| sized::write(options, size, &sized::zeroed()))
}

/// Opens the consumer of this name, 1 to 249 of letters, digits, '.', '_' and '-', or creates it.
/// `options` may be NULL for the defaults. Free it with forebay_consumer_free. `*consumer_out` is
/// NULL unless this is FOREBAY_OK. Does not block, but for reading an index.
/// FOREBAY_CONSUMER_BUSY if it is open in this process; FOREBAY_OFFSET_OUT_OF_RANGE if a new one is
/// to begin where the log is not; FOREBAY_OUT_OF_SPACE, FOREBAY_CLOSED, FOREBAY_IO,
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_consumer(
    log: Option<&forebay_log>,
    name: forebay_bytes,
    options: *const forebay_consumer_options,
    consumer_out: Option<&mut MaybeUninit<*mut forebay_consumer>>,
) -> forebay_status {
    guard(|| {
        opened(consumer_out, "consumer_out", || {
            let given = sized::read_or_default(options)?;
            let options = ConsumerOptions::new()
                .visibility(visibility(given.visibility)?)
                .start(offset_spec(given.from, given.number)?);
            shared(log)?.consumer_with(name.text("name")?, options)
        })
    })
}

/// Forgets the consumer of this name and its progress. FOREBAY_NOT_FOUND if there is none,
/// FOREBAY_CONSUMER_BUSY if it is open. Does not block for the device.
/// FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_delete_consumer(
    log: Option<&forebay_log>,
    name: forebay_bytes,
) -> forebay_status {
    guard(|| {
        let name = name.text("name")?;
        if shared(log)?.delete_consumer(name)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, format!("the log has no consumer `{name}`")))
    })
}

/// Fills in the consumer of this index, from 0, replicators' among them, into the `size` bytes
/// (sizeof) at `info_out`. Each call costs what forebay_log_stats does: whoever wants more than a
/// few takes forebay_log_consumers. FOREBAY_NOT_FOUND beyond the last. Does not block.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_consumer_info(
    log: Option<&forebay_log>,
    index: usize,
    info_out: Option<NonNull<forebay_consumer_info>>,
    size: usize,
) -> forebay_status {
    guard(|| {
        let consumers = shared(log)?.stats().consumers;
        let info = forebay_consumer_info::of(lists::at(&consumers, index, "consumer")?);
        sized::write(info_out, size, &info)
    })
}

/// The next batch, to be freed with forebay_batch_free, or FOREBAY_OK and NULL if none came in
/// time. It has the records from the consumer's position on. Nothing is committed by it.
/// `*batch_out` is NULL unless there is one.
/// Blocks up to `timeout_ms` milliseconds for records; 0 not at all, negative for ever.
/// FOREBAY_CORRUPT: call again to go on behind the damage. FOREBAY_CLOSED, FOREBAY_IO,
/// FOREBAY_INVALID_ARGUMENT. Records that retention took meanwhile are passed over and counted:
/// forebay_consumer_lag.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_poll(
    consumer: Option<NonNull<forebay_consumer>>,
    timeout_ms: i64,
    batch_out: Option<&mut MaybeUninit<*mut forebay_batch>>,
) -> forebay_status {
    guard(|| batch::next(batch_out, || exclusive(consumer)?.poll(wait(timeout_ms))))
}

/// Stores the consumer's position as its progress: everything it was handed is processed. It
/// survives the death of the process at once, a power cut with the log's next sync, or
/// forebay_consumer_sync. Does not block for the device, unless it is not mapped: then one write.
/// FOREBAY_OFFSET_OUT_OF_RANGE if deletion overtook it since the last poll: poll first.
/// FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_commit(
    consumer: Option<NonNull<forebay_consumer>>,
) -> forebay_status {
    guard(|| exclusive(consumer)?.commit())
}

/// As forebay_consumer_commit, with an offset of the caller's: everything below it is processed,
/// such as what forebay_batch_next_offset says of a batch that the other side has acknowledged. It
/// may lie before the last one. FOREBAY_OFFSET_OUT_OF_RANGE outside of the log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_commit_offset(
    consumer: Option<NonNull<forebay_consumer>>,
    offset: i64,
) -> forebay_status {
    guard(|| exclusive(consumer)?.commit_offset(self::offset(offset, "offset")?))
}

/// As forebay_consumer_commit_offset, and stores up to 255 bytes of the caller's with it, as one.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_commit_with(
    consumer: Option<NonNull<forebay_consumer>>,
    offset: i64,
    metadata: forebay_bytes,
) -> forebay_status {
    guard(|| {
        let metadata = metadata.or_empty("metadata")?;
        exclusive(consumer)?.commit_with(self::offset(offset, "offset")?, metadata)
    })
}

/// The bytes that were stored with the last commit; empty if there are none, for NULL and while
/// another call uses the consumer. Valid until the consumer's next call. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_metadata(
    consumer: Option<NonNull<forebay_consumer>>,
) -> forebay_bytes {
    let mut bytes = forebay_bytes::NONE;
    let _ = guard(|| {
        bytes = forebay_bytes::of(exclusive(consumer)?.metadata());
        Ok(())
    });
    bytes
}

/// Makes what was committed survive a power cut. Blocks for a device sync.
/// FOREBAY_POISONED, FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_sync(
    consumer: Option<NonNull<forebay_consumer>>,
) -> forebay_status {
    guard(|| exclusive(consumer)?.sync())
}

/// Moves the consumer, `from` and `number` as for forebay_log_reader; commits nothing. Does not
/// block, but for reading an index.
/// FOREBAY_OFFSET_OUT_OF_RANGE, FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_seek(
    consumer: Option<NonNull<forebay_consumer>>,
    from: u32,
    number: i64,
) -> forebay_status {
    guard(|| exclusive(consumer)?.seek(offset_spec(from, number)?))
}

/// The offset that the next poll goes on at, or a negative status. Does not block.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_position(
    consumer: Option<NonNull<forebay_consumer>>,
) -> i64 {
    guard_offset(|| Ok(exclusive(consumer)?.position()))
}

/// The offset that was committed last: everything below it is processed; or a negative status.
/// Does not block. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_committed(
    consumer: Option<NonNull<forebay_consumer>>,
) -> i64 {
    guard_offset(|| Ok(exclusive(consumer)?.committed()))
}

/// How many records lie between what was committed and the log's end, and how many could not be
/// read: damaged, or taken by retention before this consumer came to them. Either may be NULL. Does
/// not block. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_lag(
    consumer: Option<NonNull<forebay_consumer>>,
    lag_out: Option<&mut MaybeUninit<u64>>,
    missed_out: Option<&mut MaybeUninit<u64>>,
) -> forebay_status {
    guard(|| {
        let consumer = exclusive(consumer)?;
        if_wanted(lag_out, consumer.lag());
        if_wanted(missed_out, consumer.missed());
        Ok(())
    })
}

/// Frees the consumer; its progress stays, its batches stay valid. NULL is nothing to do.
/// Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_consumer_free(consumer: Option<NonNull<forebay_consumer>>) {
    free(consumer);
}
