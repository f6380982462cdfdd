//! Followers: a log that another process writes, and its readers.
//!
//! Floor 6.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::batch::{self, forebay_batch};
use super::bytes::{forebay_bytes, if_wanted, out};
use super::fail::{guard, guard_offset};
use super::handle::{Inside, exclusive, free, handle, opened, shared};
use super::log::{visibility, wait};
use super::options::millis;
use super::place;
use super::reader::{offset, offset_spec};
use super::status::forebay_status;
use crate::{FollowReader, ReadOnlyLog};

/// A log opened for reading only, while another process, or another handle of this one, may be
/// writing it. It takes no lock and changes nothing in the directory, which may be on a file system
/// that is mounted read-only; any number of processes may follow one log, and its writer does not
/// wait for them. What is known of the log is what the last look at its files found, by
/// forebay_follower_refresh, forebay_follower_wait or a reader at its end.
/// Nothing keeps retention from deleting what a follower has not read, and no progress is stored:
/// whoever wants to go on after a restart keeps forebay_follow_reader_next_offset itself.
/// Any number of threads may use it at once, for anything but forebay_follower_free.
pub struct forebay_follower(Inside<ReadOnlyLog>);
handle!(forebay_follower, ReadOnlyLog, Follower, "follower");

/// Reads a followed log in order from anywhere in it. What it gives is whole, in order, and as it
/// was appended, and no offset is left out or given twice untold: forebay_follow_reader_missed.
/// One thread at a time may use it, any thread; a call meanwhile gets FOREBAY_WOULD_BLOCK.
pub struct forebay_follow_reader(Inside<FollowReader>);
handle!(forebay_follow_reader, FollowReader, FollowReader, "follow reader");

/// Opens the log in a directory for reading only, whether it is being written, was closed, or is
/// what a crash left; it is not created. `dir` is a log's own directory; that of a store's log is
/// STORE/NAME-P, P its partition, 0 without others, such as STORE/readings-0.
/// `poll_interval_ms`, 1 to 50 or 0 for the default of 5, is how often it is looked at while
/// something waits: how late a record is seen at most.
/// Free it with forebay_follower_free. `*follower_out` is NULL unless this is FOREBAY_OK.
/// Blocks for reading what is not known to be durable, at most about a segment.
/// FOREBAY_NOT_FOUND if there is no log; FOREBAY_INVALID_ARGUMENT, also if `dir` is no directory or
/// a snapshot that is not complete; FOREBAY_READ_ONLY if the files may not be read;
/// FOREBAY_UNSUPPORTED_FORMAT, FOREBAY_IO.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follower_open(
    dir: forebay_bytes,
    poll_interval_ms: i64,
    follower_out: Option<&mut MaybeUninit<*mut forebay_follower>>,
) -> forebay_status {
    guard(|| {
        opened(follower_out, "follower_out", || {
            let dir = dir.path("dir")?;
            let mut options = ReadOnlyLog::options();
            if poll_interval_ms != 0 {
                options = options.poll_interval(millis(poll_interval_ms, "poll_interval_ms")?);
            }
            place::followed(options, dir)
        })
    })
}

/// The offset of the oldest record there was at the last look, or a negative status. Does not
/// block, but for a look that runs. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follower_start_offset(follower: Option<&forebay_follower>) -> i64 {
    guard_offset(|| Ok(shared(follower)?.log_start_offset()))
}

/// One past the last record that the last look saw whole, or a negative status. It falls where a
/// recovery cut the log. Does not block, but for a look that runs. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follower_end_offset(follower: Option<&forebay_follower>) -> i64 {
    guard_offset(|| Ok(shared(follower)?.log_end_offset()))
}

/// Records below it survive a power cut, as far as the writer's last flush has stored that; or a
/// negative status. No recovery takes them. Does not block, but for a look that runs.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follower_durable_offset(
    follower: Option<&forebay_follower>,
) -> i64 {
    guard_offset(|| Ok(shared(follower)?.durable_offset()))
}

/// Looks at the files for what changed, and reads what is new to its end; six system calls where
/// nothing did. For a loop that does not wait: forebay_follower_wait and the readers look by
/// themselves. Blocks for reading what came in.
/// FOREBAY_NOT_FOUND if the directory is gone; FOREBAY_CONFLICT if another log stands there now:
/// open it anew; FOREBAY_UNSUPPORTED_FORMAT once a newer version wrote there; FOREBAY_READ_ONLY,
/// FOREBAY_IO: a later call tries again; FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follower_refresh(
    follower: Option<&forebay_follower>,
) -> forebay_status {
    guard(|| shared(follower)?.refresh())
}

/// Waits until the record at `offset` can be read (FOREBAY_WRITTEN), or survives a power cut as
/// well (FOREBAY_DURABLE), and says in `reached_out` whether it does. To wait for the next record,
/// pass forebay_follower_end_offset. It looks, and sleeps for the poll interval in between.
/// Blocks up to `timeout_ms` milliseconds; 0 for one look, negative for ever.
/// As forebay_follower_refresh.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follower_wait(
    follower: Option<&forebay_follower>,
    offset: i64,
    visibility: u32,
    timeout_ms: i64,
    reached_out: Option<&mut MaybeUninit<bool>>,
) -> forebay_status {
    guard(|| {
        let place = out(reached_out, "reached_out")?;
        let until = self::offset(offset, "offset")?;
        let visibility = self::visibility(visibility)?;
        place.write(shared(follower)?.wait_for(until, visibility, wait(timeout_ms))?);
        Ok(())
    })
}

/// Opens a reader: `from` is one of FOREBAY_FROM_..., `number` what that asks for, `visibility`
/// what it gives: with FOREBAY_WRITTEN a record maybe a moment before the writer's append returns,
/// with FOREBAY_DURABLE only what no recovery takes. Free it with forebay_follow_reader_free,
/// before or after the follower is freed. `*reader_out` is NULL unless it is FOREBAY_OK.
/// Looks once, and blocks for reading what came in.
/// FOREBAY_OFFSET_OUT_OF_RANGE, and as forebay_follower_refresh.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follower_reader(
    follower: Option<&forebay_follower>,
    from: u32,
    number: i64,
    visibility: u32,
    reader_out: Option<&mut MaybeUninit<*mut forebay_follow_reader>>,
) -> forebay_status {
    guard(|| {
        opened(reader_out, "reader_out", || {
            let from = offset_spec(from, number)?;
            let visibility = self::visibility(visibility)?;
            Ok(shared(follower)?.reader(from)?.visibility(visibility))
        })
    })
}

/// Frees the follower; its readers stay usable and are still to be freed. NULL is nothing to do. No
/// other call on this handle may run. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follower_free(follower: Option<NonNull<forebay_follower>>) {
    free(follower);
}

/// The next batch, to be freed with forebay_batch_free, or FOREBAY_OK and NULL if none came in
/// time. `*batch_out` is NULL unless there is one. It stays valid whatever becomes of the reader,
/// the follower and the log.
/// Blocks for reading, and up to `timeout_ms` milliseconds for records; 0 for one look, negative
/// for ever.
/// FOREBAY_CORRUPT: call again to go on behind the damage; and as forebay_follower_refresh.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follow_reader_poll(
    reader: Option<NonNull<forebay_follow_reader>>,
    timeout_ms: i64,
    batch_out: Option<&mut MaybeUninit<*mut forebay_batch>>,
) -> forebay_status {
    guard(|| batch::next(batch_out, || exclusive(reader)?.poll(wait(timeout_ms))))
}

/// Moves the reader; `from` and `number` as for forebay_log_reader. It stays where it is unless
/// this is FOREBAY_OK. Looks once, and blocks for reading what came in.
/// FOREBAY_OFFSET_OUT_OF_RANGE, and as forebay_follower_refresh.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follow_reader_seek(
    reader: Option<NonNull<forebay_follow_reader>>,
    from: u32,
    number: i64,
) -> forebay_status {
    guard(|| exclusive(reader)?.seek(offset_spec(from, number)?))
}

/// The offset that the next poll goes on at, or a negative status. It falls where a recovery cut
/// the log below it: forebay_follow_reader_missed. Does not block. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follow_reader_next_offset(
    reader: Option<NonNull<forebay_follow_reader>>,
) -> i64 {
    guard_offset(|| Ok(exclusive(reader)?.next_offset()))
}

/// How many offsets were deleted before this reader came to them, and how many of those it gave a
/// recovery of the log took again: they come again with other records, and a copy that was made of
/// them is to be cut back to forebay_follow_reader_next_offset when this rises. A writer that was
/// killed takes nothing; a power cut takes what was not durable. Either may be NULL. Does not
/// block. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follow_reader_missed(
    reader: Option<NonNull<forebay_follow_reader>>,
    missed_out: Option<&mut MaybeUninit<u64>>,
    retracted_out: Option<&mut MaybeUninit<u64>>,
) -> forebay_status {
    guard(|| {
        let reader = exclusive(reader)?;
        if_wanted(missed_out, reader.missed());
        if_wanted(retracted_out, reader.retracted());
        Ok(())
    })
}

/// Frees the reader; its batches stay valid. NULL is nothing to do. Does not block.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_follow_reader_free(
    reader: Option<NonNull<forebay_follow_reader>>,
) {
    free(reader);
}
