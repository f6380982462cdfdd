//! Stores: many logs in one directory, under one budget.
//!
//! Floor 6.

use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ptr::NonNull;

use super::bytes::{forebay_bytes, given, invalid};
use super::fail::{guard, guard_free};
use super::handle::{Inside, handle, opened, shared, take};
use super::lists;
use super::log::{forebay_log, tell_of_recovery};
use super::options::{bound, forebay_options, size};
use super::place;
use super::report::short_text;
use super::sized::{self, Grows};
use super::status::forebay_status;
use super::text;
use crate::{
    Error, ErrorKind, Result, Store, StoreLog, StoreOptions, StoreStats, partition_for_key,
};

/// Many named logs in one directory: one lock, one budget of disk, of files and of memory, one
/// flush for all of them. Logs are opened as they are used and closed again when too many are open.
/// Any number of threads may use it at once, for anything but forebay_store_close and
/// forebay_store_free.
pub struct forebay_store(Inside<Store>);
handle!(forebay_store, Store, Store, "store");

/// The options of a store. Zero means the default everywhere. Set all of them up with
/// forebay_store_options_init before setting any; forebay_store_options_set takes them as text.
/// Where the default is no bound, -1 (UINT64_MAX) says the same.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_store_options {
    /// sizeof, set by forebay_store_options_init.
    pub struct_size: u32,
    /// 1: one thread does what is due for all logs. 0: forebay_store_maintain does, and whatever
    /// call comes next on a log.
    pub background: u32,
    /// The most bytes of disk that all files take together; no bound. Never exceeded. At least two
    /// segments of `logs`, even if every log gets options of its own, and reserve_bytes: 32 MiB by
    /// the defaults. What an append does that finds it used up is its log's on_full.
    pub budget_bytes: u64,
    /// How much is kept back from records, so that deleting and committing find room on a full
    /// disk; 256 KiB.
    pub reserve_bytes: u64,
    /// Address space that files are mapped to at a time; 16 GiB.
    pub max_mapped_bytes: u64,
    /// Above so much anonymous memory of all logs together, those that nobody holds are closed; no
    /// bound.
    pub memory_limit_bytes: u64,
    /// How many bytes can be written to the device in its life, by its data sheet, for the estimate
    /// of forebay_store_stats; unknown.
    pub rated_endurance_bytes: u64,
    /// Logs that are open at a time; 64.
    pub max_open_logs: u32,
    /// Files that are open at a time; 512.
    pub max_open_files: u32,
    /// The options of logs that are given none of their own; NULL for the defaults. Not kept after
    /// the call that these options are passed to.
    pub logs: *const forebay_options,
}

// SAFETY: plain numbers and a pointer behind its size.
unsafe impl Grows for forebay_store_options {
    const NAME: &str = "store options";
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<forebay_store_options>() == 64);

impl forebay_store_options {
    fn store_options(&self) -> Result<StoreOptions> {
        let mut options = Store::options();
        if let Some(bytes) = bound(self.budget_bytes) {
            options = options.budget_bytes(bytes);
        }
        if self.reserve_bytes != 0 {
            options = options.reserve_bytes(self.reserve_bytes);
        }
        if self.max_mapped_bytes != 0 {
            options = options.max_mapped_bytes(self.max_mapped_bytes);
        }
        if let Some(bytes) = bound(self.memory_limit_bytes) {
            options = options.memory_limit_bytes(bytes);
        }
        if self.rated_endurance_bytes != 0 {
            options = options.rated_endurance_bytes(self.rated_endurance_bytes);
        }
        if self.max_open_logs != 0 {
            options = options.max_open_logs(size(self.max_open_logs.into(), "max_open_logs")?);
        }
        if self.max_open_files != 0 {
            options = options.max_open_files(size(self.max_open_files.into(), "max_open_files")?);
        }
        options = match self.background {
            0 => options,
            1 => options.background(true),
            other => return Err(invalid(format!("background is {other}, allowed are 0 and 1"))),
        };
        Ok(options.logs(sized::read_or_default(self.logs)?.log_options()?))
    }
}

/// What a store is and has done since it was created: forebay_store_stats. forebay_stats is of one
/// log.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_store_totals {
    /// How many bytes of this struct were filled in.
    pub struct_size: u32,
    /// 1 if the filesystem tells free_bytes.
    pub free_known: u32,
    /// Logs.
    pub logs: u64,
    /// Of these, open.
    pub open_logs: u64,
    /// Bytes of disk that all files take, deleted ones that somebody reads included.
    pub disk_bytes: u64,
    /// Of these, what is deleted and still read.
    pub deleted_held_bytes: u64,
    /// The bound on disk_bytes; 0 if there is none.
    pub budget_bytes: u64,
    /// Bytes that the filesystem has left.
    pub free_bytes: u64,
    /// Files that are open.
    pub open_files: u64,
    /// Address space that files are mapped to.
    pub mapped_bytes: u64,
    /// Anonymous memory of the open logs.
    pub memory_bytes: u64,
    /// Records dropped because there was no room.
    pub records_dropped: u64,
    /// Bytes of batches appended, in whose terms device_bytes is read.
    pub payload_bytes: u64,
    /// Bytes written to the device, sectors that are rewritten each time included.
    pub device_bytes: u64,
    /// How long the device lasts at this rate, in seconds; -1 without rated_endurance_bytes, or
    /// before anything was written.
    pub lifetime_seconds: i64,
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_store_totals {
    const NAME: &str = "store stats";
}

const _: () = assert!(size_of::<forebay_store_totals>() == 112);

impl forebay_store_totals {
    fn of(stats: &StoreStats) -> forebay_store_totals {
        let seconds = stats.lifetime.map(|lifetime| i64::try_from(lifetime.as_secs()));
        forebay_store_totals {
            struct_size: 0,
            free_known: stats.free_bytes.is_some().into(),
            logs: stats.logs,
            open_logs: stats.open_logs,
            disk_bytes: stats.disk_bytes,
            deleted_held_bytes: stats.deleted_held_bytes,
            budget_bytes: stats.budget_bytes.unwrap_or(0),
            free_bytes: stats.free_bytes.unwrap_or(0),
            open_files: stats.open_files,
            mapped_bytes: stats.mapped_bytes,
            memory_bytes: stats.memory_bytes,
            records_dropped: stats.records_dropped,
            payload_bytes: stats.wear.payload_bytes,
            device_bytes: stats.wear.device_bytes,
            lifetime_seconds: seconds.map_or(-1, |seconds| seconds.unwrap_or(i64::MAX)),
        }
    }
}

/// A log of a store: forebay_log_list_get, forebay_store_log_info. No level: FOREBAY_LOG_INFO is.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_log_info {
    /// How many bytes of this struct were filled in.
    pub struct_size: u32,
    /// Its partition; 0 for a log that has no others.
    pub partition: u32,
    /// 1 if it is open now.
    pub open: u32,
    /// 0.
    pub reserved: u32,
    /// Its name, NUL-terminated.
    pub name: [c_char; 256],
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_log_info {
    const NAME: &str = "log info";
}

const _: () = assert!(size_of::<forebay_log_info>() == 272);

impl forebay_log_info {
    pub(super) fn of(log: &StoreLog) -> forebay_log_info {
        forebay_log_info {
            struct_size: 0,
            partition: log.partition,
            open: log.open.into(),
            reserved: 0,
            name: short_text(&log.name),
        }
    }
}

/// Sets all options to their defaults; `size` is sizeof. Call it before setting any.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_options_init(
    options: Option<NonNull<forebay_store_options>>,
    size: usize,
) -> forebay_status {
    guard(|| sized::write(options, size, &sized::zeroed()))
}

/// Sets one option from text, as a configuration file has it: the name of a field of
/// forebay_store_options, `logs` apart, and a number, decimal and without a unit; for background,
/// true or false. The others stay as they are, all of them if this fails. Does not block.
/// FOREBAY_NOT_FOUND if there is no such option, FOREBAY_INVALID_ARGUMENT if it cannot have this
/// value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_options_set(
    options: Option<NonNull<forebay_store_options>>,
    name: forebay_bytes,
    value: forebay_bytes,
) -> forebay_status {
    guard(|| {
        let place = given(options, "options")?;
        let mut set: forebay_store_options = sized::read(place.as_ptr())?;
        text::set_of_store(&mut set, name.text("name")?, value.text("value")?.trim())?;
        let size = usize::try_from(set.struct_size).unwrap_or(0);
        sized::write(options, size, &set)
    })
}

/// Opens the store in a directory, or creates it. `options` may be NULL for the defaults. No log is
/// opened by it, whatever a crash left of them. Close it with forebay_store_close. `*store_out` is
/// NULL unless this is FOREBAY_OK.
/// Blocks for listing its directories. FOREBAY_LOCKED if it, or a log of it, is open already;
/// FOREBAY_INVALID_ARGUMENT if an option cannot work or the directory is a log;
/// FOREBAY_READ_ONLY, FOREBAY_OUT_OF_SPACE, FOREBAY_IO, FOREBAY_UNSUPPORTED_FORMAT;
/// FOREBAY_UNSUPPORTED for a codec that is not built in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_open(
    dir: forebay_bytes,
    options: *const forebay_store_options,
    store_out: Option<&mut MaybeUninit<*mut forebay_store>>,
) -> forebay_status {
    guard(|| {
        opened(store_out, "store_out", || {
            let options = sized::read_or_default(options)?.store_options()?;
            place::store(options, dir.path("dir")?)
        })
    })
}

/// As forebay_store_open, with the options of a configuration file: of the store, of all logs, of
/// each by its name. What is wrong in it is told with line, table and key.
/// FOREBAY_NOT_FOUND if there is no such file; FOREBAY_UNSUPPORTED if the library was built without
/// "toml".
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_open_config(
    dir: forebay_bytes,
    config_file: forebay_bytes,
    store_out: Option<&mut MaybeUninit<*mut forebay_store>>,
) -> forebay_status {
    guard(|| {
        opened(store_out, "store_out", || {
            open_config(dir.path("dir")?, config_file.path("config_file")?)
        })
    })
}

#[cfg(feature = "toml")]
fn open_config(dir: &std::path::Path, file: &std::path::Path) -> Result<Store> {
    place::store(crate::Config::from_file(file)?.store_options(), dir)
}

#[cfg(not(feature = "toml"))]
fn open_config(_: &std::path::Path, _: &std::path::Path) -> Result<Store> {
    Err(Error::new(ErrorKind::Unsupported, "the library was built without `toml`"))
}

/// Stores everything durably, closes all logs and the store and frees its handle, whatever it
/// returns. Handles of its logs get FOREBAY_CLOSED from then on and are still to be freed.
/// Replicators of its logs end, without being waited for. NULL is nothing to do. No other call on
/// this handle may run.
/// Blocks for device syncs. FOREBAY_POISONED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_close(
    store: Option<NonNull<forebay_store>>,
) -> forebay_status {
    guard(|| take(store)?.map_or(Ok(()), Store::close))
}

/// As forebay_store_close, for who has no use for its status: what fails only the log callback is
/// told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_free(store: Option<NonNull<forebay_store>>) {
    guard_free(|| take(store)?.map_or(Ok(()), Store::close));
}

/// The log of this name, 1 to 249 of letters, digits, '.', '_' and '-', opened or created if need
/// be, in STORE/NAME-0. `options` may be NULL: those of the store. Let it go with forebay_log_free:
/// forebay_log_close closes it for everybody. `*log_out` is NULL unless this is FOREBAY_OK.
/// Blocks as forebay_log_open if it is not open. A log that is open takes the
/// options as forebay_log_set_options does. FOREBAY_INVALID_ARGUMENT if an option or the name
/// cannot work; FOREBAY_READ_ONLY, FOREBAY_OUT_OF_SPACE, FOREBAY_IO, FOREBAY_UNSUPPORTED_FORMAT;
/// FOREBAY_CLOSED; FOREBAY_UNSUPPORTED for a codec that is not built in.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_log(
    store: Option<&forebay_store>,
    name: forebay_bytes,
    options: *const forebay_options,
    log_out: Option<&mut MaybeUninit<*mut forebay_log>>,
) -> forebay_status {
    guard(|| {
        opened(log_out, "log_out", || {
            let (store, name) = (shared(store)?, name.text("name")?);
            let log = if options.is_null() {
                store.log(name)?
            } else {
                store.log_with(name, sized::read(options)?.log_options()?)?
            };
            tell_of_recovery(name, log.recovery());
            Ok(log)
        })
    })
}

/// The log of a partition, 0 to `partitions` - 1, of this name, in STORE/NAME-PARTITION, with the
/// options of the store. How
/// many partitions there are is the caller's to know, and to say the same each time.
/// As forebay_store_log.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_partition(
    store: Option<&forebay_store>,
    name: forebay_bytes,
    partitions: u32,
    partition: u32,
    log_out: Option<&mut MaybeUninit<*mut forebay_log>>,
) -> forebay_status {
    guard(|| {
        opened(log_out, "log_out", || {
            let name = name.text("name")?;
            let log = shared(store)?.partitioned(name, partitions)?.log(partition)?;
            tell_of_recovery(name, log.recovery());
            Ok(log)
        })
    })
}

/// The partition that Kafka's own producers choose for this key; 0 for 0 partitions, and for bytes
/// that are NULL with a length. Does not block; any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_partition_for_key(key: forebay_bytes, partitions: u32) -> u32 {
    let mut partition = 0;
    let _ = guard(|| {
        partition = partition_for_key(key.or_empty("key")?, partitions);
        Ok(())
    });
    partition
}

/// Deletes the log of this name, all of its partitions, and its consumers, for good. Handles of it
/// get FOREBAY_CLOSED. FOREBAY_NOT_FOUND if there is none.
/// Blocks for the file system. FOREBAY_CLOSED, FOREBAY_IO, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_delete_log(
    store: Option<&forebay_store>,
    name: forebay_bytes,
) -> forebay_status {
    guard(|| {
        let name = name.text("name")?;
        if shared(store)?.delete_log(name)? {
            return Ok(());
        }
        Err(Error::new(ErrorKind::NotFound, format!("the store has no log `{name}`")))
    })
}

/// Makes everything durable that was appended to any of its logs. Blocks for device syncs, as few
/// as there can be. FOREBAY_POISONED or FOREBAY_IO: of one log; the others are flushed all the
/// same. FOREBAY_CLOSED, FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_flush(store: Option<&forebay_store>) -> forebay_status {
    guard(|| shared(store)?.flush())
}

/// Does what is due in all logs, those that nobody touches too: flushes, retention, closing what
/// was not used. To be called every few seconds where there is no thread for it (background).
/// Blocks for the flushes and deletions it makes. FOREBAY_CLOSED, FOREBAY_IO,
/// FOREBAY_INVALID_ARGUMENT; what fails in one log its next call tells.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_maintain(store: Option<&forebay_store>) -> forebay_status {
    guard(|| shared(store)?.maintain().map(drop))
}

/// Fills in what the store is and has done, into the `size` bytes (sizeof) at `stats_out`.
/// Blocks for asking the filesystem. FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_stats(
    store: Option<&forebay_store>,
    stats_out: Option<NonNull<forebay_store_totals>>,
    size: usize,
) -> forebay_status {
    guard(|| sized::write(stats_out, size, &forebay_store_totals::of(&shared(store)?.stats())))
}

/// Fills in the log of this index, from 0, partitions each by itself, into the `size` bytes
/// (sizeof) at `info_out`. Each call lists them all: whoever wants more than a few takes
/// forebay_store_logs. FOREBAY_NOT_FOUND beyond the last. Does not block.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_store_log_info(
    store: Option<&forebay_store>,
    index: usize,
    info_out: Option<NonNull<forebay_log_info>>,
    size: usize,
) -> forebay_status {
    guard(|| {
        let logs = shared(store)?.logs();
        let info = forebay_log_info::of(lists::at(&logs, index, "log")?);
        sized::write(info_out, size, &info)
    })
}
