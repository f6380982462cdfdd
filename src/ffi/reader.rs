//! Readers.
//!
//! Floor 6.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::batch::{self, forebay_batch};
use super::bytes::invalid;
use super::fail::{guard, guard_offset};
use super::handle::{Inside, exclusive, free, handle, opened, shared};
use super::log::forebay_log;
use super::status::forebay_status;
use crate::{Offset, OffsetSpec, Reader, RecordBatch, Result, Timestamp};

/// Reads a log in order from anywhere in it; many may read the same log at once.
/// One thread at a time may use it, any thread; a call meanwhile gets FOREBAY_WOULD_BLOCK.
pub struct forebay_reader(Inside<Reading>);
handle!(forebay_reader, Reading, Reader, "reader");

/// A reader, and whether its last call failed: as an iterator it ends once then, so that no loop is
/// endless, and C, which has no iterators, would take that for the log's end.
pub(super) struct Reading {
    reader: Reader,
    failed: bool,
}

impl Reading {
    fn next(&mut self) -> Option<Result<RecordBatch>> {
        let next = self.reader.next();
        let next = if next.is_none() && self.failed { self.reader.next() } else { next };
        self.failed = matches!(next, Some(Err(_)));
        next
    }
}

/// From the log's start: the oldest record there is. The number is ignored.
pub const FOREBAY_FROM_EARLIEST: u32 = 0;
/// From the log's end: what is appended from now on. The number is ignored.
pub const FOREBAY_FROM_LATEST: u32 = 1;
/// From this offset.
pub const FOREBAY_FROM_OFFSET: u32 = 2;
/// From the first record whose time is this or later, in milliseconds since 1970 UTC; the end if
/// there is none.
pub const FOREBAY_FROM_TIMESTAMP: u32 = 3;

pub(super) fn offset_spec(from: u32, number: i64) -> Result<OffsetSpec> {
    match from {
        FOREBAY_FROM_EARLIEST => Ok(OffsetSpec::Earliest),
        FOREBAY_FROM_LATEST => Ok(OffsetSpec::Latest),
        FOREBAY_FROM_OFFSET => Ok(OffsetSpec::At(offset(number, "the offset")?)),
        FOREBAY_FROM_TIMESTAMP => Ok(OffsetSpec::Timestamp(Timestamp::from_millis(number))),
        other => Err(invalid(format!("from is {other}, which is none of FOREBAY_FROM_..."))),
    }
}

/// An offset that a caller gives.
pub(super) fn offset(number: i64, name: &str) -> Result<Offset> {
    if number < 0 {
        return Err(invalid(format!("{name} is {number}, and no offset is negative")));
    }
    Ok(Offset::new(number))
}

/// Opens a reader: `from` is one of FOREBAY_FROM_..., `number` what that asks for. It sees records
/// as soon as they are appended, durable or not. Free it with forebay_reader_free, before or after
/// the log is closed. `*reader_out` is NULL unless it is FOREBAY_OK.
/// Does not block, but for reading an index.
/// FOREBAY_OFFSET_OUT_OF_RANGE, FOREBAY_CLOSED, FOREBAY_OUT_OF_SPACE (memory_limit_bytes),
/// FOREBAY_INVALID_ARGUMENT, FOREBAY_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_reader(
    log: Option<&forebay_log>,
    from: u32,
    number: i64,
    reader_out: Option<&mut MaybeUninit<*mut forebay_reader>>,
) -> forebay_status {
    guard(|| {
        opened(reader_out, "reader_out", || {
            let reader = shared(log)?.reader(offset_spec(from, number)?)?;
            Ok(Reading { reader, failed: false })
        })
    })
}

/// The next batch, to be freed with forebay_batch_free, or FOREBAY_OK and NULL at the log's end;
/// ask again after more was appended (forebay_log_wait). The bytes are not copied: they lie in the
/// mapped file, or in one buffer that was read. Each batch's checksum is verified.
/// `*batch_out` is NULL unless there is one.
/// Blocks for reading the device, not for records.
/// FOREBAY_CORRUPT: call again to go on behind the damage. FOREBAY_OFFSET_OUT_OF_RANGE: retention
/// took what was to come; seek. FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_reader_next(
    reader: Option<NonNull<forebay_reader>>,
    batch_out: Option<&mut MaybeUninit<*mut forebay_batch>>,
) -> forebay_status {
    guard(|| batch::next(batch_out, || exclusive(reader)?.next().transpose()))
}

/// Moves the reader; `from` and `number` as for forebay_log_reader. It stays where it is unless
/// this is FOREBAY_OK. Does not block, but for reading an index.
/// FOREBAY_OFFSET_OUT_OF_RANGE, FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT, FOREBAY_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_reader_seek(
    reader: Option<NonNull<forebay_reader>>,
    from: u32,
    number: i64,
) -> forebay_status {
    guard(|| exclusive(reader)?.reader.seek(offset_spec(from, number)?))
}

/// The offset that forebay_reader_next goes on at, or a negative status. Does not block.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_reader_next_offset(
    reader: Option<NonNull<forebay_reader>>,
) -> i64 {
    guard_offset(|| Ok(exclusive(reader)?.reader.next_offset()))
}

/// Frees the reader; its batches stay valid. NULL is nothing to do. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_reader_free(reader: Option<NonNull<forebay_reader>>) {
    free(reader);
}
