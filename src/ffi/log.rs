//! Logs.
//!
//! Floor 6.

use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::time::Duration;

use super::bytes::{array, forebay_bytes, if_wanted, invalid, out};
use super::callback::{FOREBAY_LOG_INFO, FOREBAY_LOG_WARNING, tell_text};
use super::fail::{guard, guard_offset};
use super::handle::{Inside, free, handle, opened, shared, take};
use super::options::{self, forebay_options};
use super::place;
use super::reader::offset;
use super::record::forebay_new_record;
use super::report::{forebay_recovery, forebay_retention, forebay_stats, forebay_verification};
use super::sized;
use super::status::forebay_status;
use crate::{Log, NewRecord, RecoveryReport, Result, Visibility};

/// An open log. Any number of threads may use it at once, for anything but forebay_log_close and
/// forebay_log_free.
/// After fork the child must not use it; the parent's stays as it was.
pub struct forebay_log(Inside<Log>);
handle!(forebay_log, Log, Log, "log");

/// Visibility: what was appended, durable or not.
pub const FOREBAY_WRITTEN: u32 = 0;
/// Visibility: only what survives a power cut. For whoever carries records elsewhere.
pub const FOREBAY_DURABLE: u32 = 1;

pub(super) fn visibility(number: u32) -> Result<Visibility> {
    match number {
        FOREBAY_WRITTEN => Ok(Visibility::Written),
        FOREBAY_DURABLE => Ok(Visibility::Durable),
        other => Err(invalid(format!("visibility is {other}: FOREBAY_WRITTEN or FOREBAY_DURABLE"))),
    }
}

/// A wait of C's: negative for ever.
pub(super) fn wait(timeout_ms: i64) -> Duration {
    u64::try_from(timeout_ms).map_or(Duration::MAX, Duration::from_millis)
}

pub(super) fn tell_of_recovery(dir: &str, found: &RecoveryReport) {
    if found.clean || found.created {
        return;
    }
    let lost = found.damaged_ranges > 0 || found.lost.is_some();
    tell_text(
        if lost { FOREBAY_LOG_WARNING } else { FOREBAY_LOG_INFO },
        &format!(
            "{dir}: opened after an unclean stop; {} records behind the last whole one cut, {} \
             damaged ranges, lost: {}",
            found.records_cut,
            found.damaged_ranges,
            found.lost.as_ref().map_or("nothing".into(), |lost| format!("{lost:?}")),
        ),
    );
}

/// Opens the log in a directory for reading and writing, or creates it; works on whatever a crash
/// left there, and forebay_log_recovery says what that was. `options` may be NULL for the defaults.
/// Close it with forebay_log_close. `*log_out` is NULL unless this is FOREBAY_OK.
/// Blocks for reading what was written since the last flush of an unclean stop.
/// FOREBAY_LOCKED if it is open already: one process writes a log, others follow it by
/// forebay_follower_open; FOREBAY_INVALID_ARGUMENT if an option cannot work; FOREBAY_READ_ONLY,
/// FOREBAY_OUT_OF_SPACE, FOREBAY_IO; FOREBAY_UNSUPPORTED_FORMAT; FOREBAY_UNSUPPORTED for a codec
/// that is not built in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_open(
    dir: forebay_bytes,
    options: *const forebay_options,
    log_out: Option<&mut MaybeUninit<*mut forebay_log>>,
) -> forebay_status {
    guard(|| {
        opened(log_out, "log_out", || {
            let dir = dir.path("dir")?;
            let log = place::log(sized::read_or_default(options)?.log_options()?, dir)?;
            tell_of_recovery(&dir.display().to_string(), log.recovery());
            Ok(log)
        })
    })
}

/// Stores everything durably, closes the log and frees the handle, whatever it returns: a status
/// other than FOREBAY_OK says that the last records may not be durable. Readers and consumers get
/// FOREBAY_CLOSED from then on and are still to be freed; batches stay valid. A replicator of the
/// log ends, without being waited for. NULL is nothing to do. No other call on this handle may run.
/// Blocks for a device sync. FOREBAY_POISONED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_close(log: Option<NonNull<forebay_log>>) -> forebay_status {
    guard(|| take(log)?.map_or(Ok(()), Log::close))
}

/// Lets a handle go. A log of a store stays open there for whoever uses it next. One that was
/// opened by itself is closed with its last handle, reader, consumer and batch: as
/// forebay_log_close, but what fails then only the log callback is told. NULL is nothing to do. No
/// other call on this handle may run. Blocks for a device sync where it closes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_free(log: Option<NonNull<forebay_log>>) {
    free(log);
}

/// The 16 bytes that name this log for ever, wherever it is copied to: with `uint8_t id[16]`, pass
/// `&id`. Does not block.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_id(
    log: Option<&forebay_log>,
    id_out: Option<&mut MaybeUninit<[u8; 16]>>,
) -> forebay_status {
    guard(|| {
        out(id_out, "id_out")?.write(*shared(log)?.id().as_bytes());
        Ok(())
    })
}

/// Appends a record that is a value alone, as a batch of its own (67 to 79 bytes more than the
/// value), and says its offset; `offset_out`
/// may be NULL. The record survives the death of the process at once, and a power cut once it is
/// flushed, which the flush policy sees to. Mapped, that is one copy and no system call.
/// Blocks as the flush policy says, and while the log is full with FOREBAY_ON_FULL_BLOCK.
/// FOREBAY_OUT_OF_SPACE: nothing was appended; free some and call again, or have the consumers of
/// `hold` commit: forebay_log_consumers says how far each has come. FOREBAY_RECORD_TOO_LARGE,
/// FOREBAY_POISONED, FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_append(
    log: Option<&forebay_log>,
    value: forebay_bytes,
    offset_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        let log = shared(log)?;
        let appended = log.append(NewRecord::new(value.or_empty("value")?))?;
        if_wanted(offset_out, appended.get());
        Ok(())
    })
}

/// As forebay_log_append, for a record with a key, headers, a time of its own, or none of these.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_append_record(
    log: Option<&forebay_log>,
    record: Option<&forebay_new_record>,
    offset_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        let log = shared(log)?;
        let record = super::bytes::given(record, "record")?;
        record.check()?;
        let appended = log.append(record.record()?)?;
        if_wanted(offset_out, appended.get());
        Ok(())
    })
}

/// Appends `count` records as one batch, all of them or none, and says the first one's offset; the
/// others follow it. `base_offset_out` may be NULL. Cheaper by far than one at a time, on the
/// device and on a link, and what compression works on: batches of several calls are not put
/// together.
/// No record, no batch: then it says where the log ends. As forebay_log_append.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_append_batch(
    log: Option<&forebay_log>,
    records: *const forebay_new_record,
    count: usize,
    base_offset_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        let log = shared(log)?;
        let appended = log.append_batch(checked(records, count)?)?;
        if_wanted(base_offset_out, appended.start.get());
        Ok(())
    })
}

/// As forebay_log_append_batch, with a compression of its own for this batch: one of
/// FOREBAY_COMPRESSION_..., such as none for what is compressed already. The level is that of the
/// options where the codec is theirs, else the codec's own. A batch that would not become smaller
/// is stored plain. FOREBAY_UNSUPPORTED for a codec that is not built in: nothing was appended.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_append_batch_compressed(
    log: Option<&forebay_log>,
    compression: u32,
    records: *const forebay_new_record,
    count: usize,
    base_offset_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        let log = shared(log)?;
        let by = options::compression(compression)?;
        let appended = log.append_batch_compressed(by, checked(records, count)?)?;
        if_wanted(base_offset_out, appended.start.get());
        Ok(())
    })
}

/// As forebay_log_append_batch, if the first record gets the offset `expected`; else nothing is
/// appended: somebody else appended meanwhile. FOREBAY_CONFLICT then; forebay_log_end_offset has
/// where the log ends now.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_append_batch_at(
    log: Option<&forebay_log>,
    expected: i64,
    records: *const forebay_new_record,
    count: usize,
) -> forebay_status {
    guard(|| {
        let log = shared(log)?;
        log.append_batch_at(offset(expected, "expected")?, checked(records, count)?)?;
        Ok(())
    })
}

/// All of them are looked at first, so that they can be handed on one by one.
fn checked<'a>(
    records: *const forebay_new_record,
    count: usize,
) -> Result<impl Iterator<Item = NewRecord<'a>>> {
    let records = array(records, count, "records")?;
    records.iter().try_for_each(forebay_new_record::check)?;
    Ok(records.iter().map_while(|record| record.record().ok()))
}

/// Changes the options of an open log: flush policy, retention, hold, budget, what to do when it is
/// full, priority, compression. The others have to be what they are. All or none are changed.
/// Does not block for the device. FOREBAY_INVALID_ARGUMENT for one that cannot change or cannot
/// work; FOREBAY_CLOSED; FOREBAY_UNSUPPORTED for a codec that is not built in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_set_options(
    log: Option<&forebay_log>,
    options: *const forebay_options,
) -> forebay_status {
    guard(|| shared(log)?.set_options(sized::read(options)?.log_options()?))
}

/// Makes everything that was appended durable, and says how far that is: records below
/// `*durable_out`, which may be NULL, survive a power cut. Callers at once share a device flush.
/// Blocks for a device sync. FOREBAY_POISONED or FOREBAY_IO: close the log and open it again;
/// FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_flush(
    log: Option<&forebay_log>,
    durable_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        let durable = shared(log)?.flush()?;
        if_wanted(durable_out, durable.get());
        Ok(())
    })
}

/// The offset of the oldest record there is, or a negative status. Does not block.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_start_offset(log: Option<&forebay_log>) -> i64 {
    guard_offset(|| Ok(shared(log)?.log_start_offset()))
}

/// The offset that the next record gets, or a negative status. Does not block.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_end_offset(log: Option<&forebay_log>) -> i64 {
    guard_offset(|| Ok(shared(log)?.log_end_offset()))
}

/// Records below it survive a power cut; or a negative status. Does not block.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_durable_offset(log: Option<&forebay_log>) -> i64 {
    guard_offset(|| Ok(shared(log)?.durable_offset()))
}

/// Waits until the record at `offset` can be read (FOREBAY_WRITTEN), or survives a power cut as
/// well (FOREBAY_DURABLE), and says in `reached_out` whether it does. To wait for the next record,
/// pass forebay_log_end_offset. Flushes when the flush interval says so.
/// Blocks up to `timeout_ms` milliseconds; 0 not at all, negative for ever.
/// FOREBAY_CLOSED if the log is closed meanwhile; FOREBAY_POISONED, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_wait(
    log: Option<&forebay_log>,
    offset: i64,
    visibility: u32,
    timeout_ms: i64,
    reached_out: Option<&mut MaybeUninit<bool>>,
) -> forebay_status {
    guard(|| {
        let place = out(reached_out, "reached_out")?;
        let until = self::offset(offset, "offset")?;
        // A log of its own: this one may be closed while it waits.
        let log = Log::clone(&*shared(log)?);
        place.write(log.wait_for(until, self::visibility(visibility)?, wait(timeout_ms))?);
        Ok(())
    })
}

/// Deletes the records below `before`, whoever has not read them, for good: they are not read again
/// after a power cut either. Whole segments are given back to the disk. `start_out`, which may be
/// NULL, gets the log's new start.
/// Blocks for a device sync. FOREBAY_OFFSET_OUT_OF_RANGE above the log's end; FOREBAY_POISONED,
/// FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_delete_records(
    log: Option<&forebay_log>,
    before: i64,
    start_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    guard(|| {
        let start = shared(log)?.delete_records(offset(before, "before")?)?;
        if_wanted(start_out, start.get());
        Ok(())
    })
}

/// Deletes what the retention options have expired, now rather than when a segment is full, and
/// fills in `retention_out`, of which the caller has `size` bytes (sizeof); it may be NULL with 0.
/// Blocks for the file system. FOREBAY_POISONED, FOREBAY_CLOSED, FOREBAY_IO,
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_apply_retention(
    log: Option<&forebay_log>,
    retention_out: Option<NonNull<forebay_retention>>,
    size: usize,
) -> forebay_status {
    guard(|| {
        let report = shared(log)?.apply_retention()?;
        match retention_out {
            None if size == 0 => Ok(()),
            place => sized::write(place, size, &forebay_retention::of(&report)),
        }
    })
}

/// Reads the whole log and checks every batch and index; changes nothing. What is damaged is told
/// in `verification_out`, of which the caller has `size` bytes (sizeof), and is no error.
/// Blocks for reading everything. FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_verify(
    log: Option<&forebay_log>,
    verification_out: Option<NonNull<forebay_verification>>,
    size: usize,
) -> forebay_status {
    guard(|| {
        let report = shared(log)?.verify()?;
        sized::write(verification_out, size, &forebay_verification::of(&report))
    })
}

/// Fills in what the log is and has done, into the `size` bytes (sizeof) at `stats_out`.
/// Does not block for the device. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_stats(
    log: Option<&forebay_log>,
    stats_out: Option<NonNull<forebay_stats>>,
    size: usize,
) -> forebay_status {
    guard(|| sized::write(stats_out, size, &forebay_stats::of(&shared(log)?.stats())))
}

/// Fills in what opening the log found, into the `size` bytes (sizeof) at `recovery_out`: whether
/// it was closed, what a crash took. Does not block. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_recovery(
    log: Option<&forebay_log>,
    recovery_out: Option<NonNull<forebay_recovery>>,
    size: usize,
) -> forebay_status {
    guard(|| sized::write(recovery_out, size, &forebay_recovery::of(shared(log)?.recovery())))
}

/// Copies the durable part of the log into a new directory, consumers included, while it goes on:
/// forebay_log_flush before has everything in it. The copy opens as a log of the same id. What can
/// be linked takes no space. Blocks for copying what cannot.
/// FOREBAY_INVALID_ARGUMENT if the directory is not empty; FOREBAY_OUT_OF_SPACE, FOREBAY_READ_ONLY,
/// FOREBAY_CLOSED, FOREBAY_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_snapshot(
    log: Option<&forebay_log>,
    dir: forebay_bytes,
) -> forebay_status {
    guard(|| shared(log)?.snapshot(dir.path("dir")?).map(drop))
}

/// Writes the durable part of the log into a new directory as a Kafka broker has it: segments,
/// offset indexes, time indexes. Blocks for writing them. As forebay_log_snapshot.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_log_export(
    log: Option<&forebay_log>,
    dir: forebay_bytes,
) -> forebay_status {
    guard(|| shared(log)?.export(dir.path("dir")?).map(drop))
}
