//! The options of a log, by field and by text.
//!
//! Floor 6.

use std::ptr::NonNull;
use std::time::Duration;

use super::bytes::{forebay_bytes, given, invalid};
use super::fail::guard;
use super::sized::{self, Grows};
use super::status::forebay_status;
use super::text;
use crate::{
    Cleanup, Compression, FlushPolicy, Hold, IoMode, Log, LogOptions, Media, OnFull, RecoveryMode,
    Result,
};

/// When records are flushed: at most flush_interval_ms after they were appended, kept by whoever
/// waits for records of the log (a poll, a wait, a replicator), by the next call on it, or by a
/// thread with `background`. The default, with 1000 ms. A power cut takes what came since the last
/// flush.
pub const FOREBAY_FLUSH_INTERVAL: u32 = 1;
/// Before every append returns: a power cut takes nothing. Appends at once share a device flush.
pub const FOREBAY_FLUSH_EVERY_APPEND: u32 = 2;
/// As soon as flush_bytes wait.
pub const FOREBAY_FLUSH_EVERY_BYTES: u32 = 3;
/// Only by forebay_log_flush and forebay_log_close.
pub const FOREBAY_FLUSH_MANUAL: u32 = 4;

/// How files are written: FOREBAY_IO_MAPPED where kernel and filesystem are known to be good for
/// it, else FOREBAY_IO_POSITIONED. The default; forebay_log_stats says which it is.
pub const FOREBAY_IO_AUTO: u32 = 0;
/// Through shared maps: an append is a copy, no system call.
pub const FOREBAY_IO_MAPPED: u32 = 1;
/// By pwrite and pread: a system call an append, no map anywhere.
pub const FOREBAY_IO_POSITIONED: u32 = 2;

/// What a power cut may do to bytes that were synced before, while their sector is rewritten:
/// FOREBAY_MEDIA_TORN_OVERWRITE on SD cards and USB devices, else FOREBAY_MEDIA_POWER_SAFE.
pub const FOREBAY_MEDIA_AUTO: u32 = 0;
/// Nothing. SSD, eMMC, hard disks.
pub const FOREBAY_MEDIA_POWER_SAFE: u32 = 1;
/// It may take them: SD cards, USB sticks. Costs one more device sync a flush.
pub const FOREBAY_MEDIA_TORN_OVERWRITE: u32 = 2;

/// How much is read when the log was not closed: the last segment after the death of the process,
/// everything since the last flush after a power cut. The default.
pub const FOREBAY_RECOVERY_AUTO: u32 = 0;
/// Always everything since the last flush.
pub const FOREBAY_RECOVERY_FULL: u32 = 1;

/// Which consumers keep retention from deleting what they have not committed: none. The default,
/// with which retention deletes what was not shipped yet. A replicator is a consumer, by the name
/// it was started under. A consumer holds from the moment it is created: what is appended before is
/// held by no name, however it is spelt. Create it (forebay_log_consumer, which may be freed at
/// once), or start the replicator, before the first append, and on a new log only. Where there is a
/// hold, a log that is full gives up whole segments that those consumers have committed, without
/// any retention option.
pub const FOREBAY_HOLD_NOBODY: u32 = 0;
/// Every consumer and replicator that the log has; nothing is held before there is one.
pub const FOREBAY_HOLD_EVERYONE: u32 = 1;
/// Each of hold_consumers that exists: what all of these have committed is free to go.
pub const FOREBAY_HOLD_EACH: u32 = 2;
/// Any of hold_consumers that exist: what one of these has committed is free to go.
pub const FOREBAY_HOLD_ANY: u32 = 3;

/// What an append does when the budget or the disk is full, the log's own or that of its store: it
/// is refused with FOREBAY_OUT_OF_SPACE, and works again once there is room: retention has made
/// some, or the consumers of `hold` have committed a segment. With neither it stays full. The
/// default.
pub const FOREBAY_ON_FULL_REJECT: u32 = 0;
/// Deletes the oldest segment, whoever has not read it, and counts what was dropped: of this log
/// where its own budget is short; of those of the store's logs that have this value, the lowest
/// `priority` first, where the store's or the disk is.
pub const FOREBAY_ON_FULL_DROP_OLDEST: u32 = 1;
/// Waits up to on_full_block_ms for room, and is refused then.
pub const FOREBAY_ON_FULL_BLOCK: u32 = 2;

/// How the records of a batch are compressed, by Kafka's numbers of the codecs. Whoever reads such
/// a batch needs its codec built in (forebay_has_feature); a replicator ships it without. Not at
/// all: the default.
pub const FOREBAY_COMPRESSION_NONE: u32 = 0;
/// With "gzip".
pub const FOREBAY_COMPRESSION_GZIP: u32 = 1;
/// With "snappy".
pub const FOREBAY_COMPRESSION_SNAPPY: u32 = 2;
/// With "lz4": the fastest.
pub const FOREBAY_COMPRESSION_LZ4: u32 = 3;
/// With "zstd": the smallest. Brokers before 2.1 do not know it.
pub const FOREBAY_COMPRESSION_ZSTD: u32 = 4;
/// What goes from the log: whole segments from the front, by the retention options. The default.
pub const FOREBAY_CLEANUP_DELETE: u32 = 0;
/// Records of which the key has a newer one: every record needs a key, or is refused with
/// FOREBAY_INVALID_ARGUMENT. The retention options delete nothing.
pub const FOREBAY_CLEANUP_COMPACT: u32 = 1;
/// Both.
pub const FOREBAY_CLEANUP_COMPACT_DELETE: u32 = 2;

/// The options of a log. Zero means the default everywhere. Set all of them up with
/// forebay_options_init before setting any; forebay_options_set takes them as text. Where the
/// default is no bound, -1 (UINT64_MAX) says the same, as in Kafka.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_options {
    /// sizeof, set by forebay_options_init.
    pub struct_size: u32,
    /// One of FOREBAY_FLUSH_...; 0: every second.
    pub flush: u32,
    /// With FOREBAY_FLUSH_INTERVAL: milliseconds, 1 or more.
    pub flush_interval_ms: i64,
    /// With FOREBAY_FLUSH_EVERY_BYTES: 1 or more.
    pub flush_bytes: u64,
    /// Bytes of a segment's file, 4 KiB to 2 GiB - 1; 16 MiB. Space is given back a segment at a
    /// time.
    pub segment_bytes: u64,
    /// Bytes between two index entries; 4096.
    pub index_interval_bytes: u64,
    /// The largest batch, encoded, at most segment_bytes; 1 MiB. A record without key and headers
    /// takes 67 to 79 bytes more than its value.
    pub max_batch_bytes: u64,
    /// What the log may take of anonymous memory; no bound.
    pub memory_limit_bytes: u64,
    /// How old a segment gets before the next one is begun, so that retention can take it; 7 days.
    pub segment_ms: i64,
    /// Bytes of batches that the log keeps; no bound.
    pub retention_bytes: u64,
    /// How old a record gets; no bound.
    pub retention_ms: i64,
    /// How many records the log keeps; no bound.
    pub retention_records: u64,
    /// Despite `hold`, no more bytes than these are kept; no bound.
    pub hold_limit_bytes: u64,
    /// Despite `hold`, a consumer that lags by more records is not waited for; no bound.
    pub hold_lag_records: u64,
    /// The most bytes of disk that all files of the log take together, indexes and what is made
    /// ahead included; no bound. Never exceeded. At least two segments and a little: with small
    /// ones more of it is records; what is too little is refused with what it takes.
    pub budget_bytes: u64,
    /// With FOREBAY_ON_FULL_BLOCK: milliseconds.
    pub on_full_block_ms: i64,
    /// Names of consumers, UTF-8, with commas between them, for FOREBAY_HOLD_EACH and
    /// FOREBAY_HOLD_ANY. One that does not exist holds nothing until it is created: mind the
    /// spelling, and create it before the first append. One that no consumer can have is refused,
    /// and so are no names. Not kept after the call that the options are passed to.
    pub hold_consumers: forebay_bytes,
    /// One of FOREBAY_IO_...
    pub io_mode: u32,
    /// One of FOREBAY_RECOVERY_...
    pub recovery: u32,
    /// One of FOREBAY_MEDIA_...
    pub media: u32,
    /// With FOREBAY_MEDIA_TORN_OVERWRITE: how far around a sector the medium tears, a power of two
    /// from 512 to 65536; 4096.
    pub torn_bytes: u32,
    /// One of FOREBAY_HOLD_...
    pub hold: u32,
    /// One of FOREBAY_ON_FULL_...
    pub on_full: u32,
    /// 1: a thread of the log's own keeps the flush interval and makes the next segment ready
    /// ahead. 0: whatever call comes next does that.
    pub background: u32,
    /// In a store that is full, of the logs with FOREBAY_ON_FULL_DROP_OLDEST those of a lower
    /// priority give up records first, and none of a higher one than the log's that needs room: 1
    /// to 255; 0: 128. No log with another on_full gives up any.
    pub priority: u32,
    /// In a store that is full, keep one segment in so many of what would be dropped, so that old
    /// times stay in outline; 0: none.
    pub thin_keep_one_in: u32,
    /// 0.
    pub reserved: u32,
    /// What each batch is compressed by, on the device and on the way to a broker: one of
    /// FOREBAY_COMPRESSION_... Small batches gain little: forebay_log_append_batch.
    pub compression: u32,
    /// How hard `compression` tries: gzip 1 to 9, 6; zstd -131072 to 22, 3. The others have none.
    pub compression_level: i32,
    /// One of FOREBAY_CLEANUP_...
    pub cleanup_policy: u32,
    /// How much of the sealed bytes may be new before the log is compacted by itself, in per cent,
    /// 1 to 100; 50.
    pub min_cleanable_dirty_percent: u32,
    /// How long a tombstone stays in a compacted log; one day.
    pub delete_retention_ms: i64,
    /// How old a record is at least before compaction takes it; no bound.
    pub min_compaction_lag_ms: i64,
    /// The most bytes of memory in which a compaction keeps keys; 32 MiB.
    pub compaction_memory_bytes: u64,
}

// SAFETY: plain numbers and a pointer behind its size.
unsafe impl Grows for forebay_options {
    const NAME: &str = "options";
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<forebay_options>() == 216);

impl forebay_options {
    pub(super) fn log_options(&self) -> Result<LogOptions> {
        let mut options = Log::options();
        options = match self.flush {
            0 => options,
            FOREBAY_FLUSH_INTERVAL => options
                .flush(FlushPolicy::Interval(millis(self.flush_interval_ms, "flush_interval_ms")?)),
            FOREBAY_FLUSH_EVERY_APPEND => options.flush(FlushPolicy::EveryAppend),
            FOREBAY_FLUSH_EVERY_BYTES => options.flush(FlushPolicy::EveryBytes(self.flush_bytes)),
            FOREBAY_FLUSH_MANUAL => options.flush(FlushPolicy::Manual),
            other => return Err(no_such("flush", other, "FOREBAY_FLUSH_..., 0 to 4")),
        };
        options = match self.io_mode {
            FOREBAY_IO_AUTO => options,
            FOREBAY_IO_MAPPED => options.io_mode(IoMode::Mapped),
            FOREBAY_IO_POSITIONED => options.io_mode(IoMode::Positioned),
            other => return Err(no_such("io_mode", other, "FOREBAY_IO_..., 0 to 2")),
        };
        options = match self.recovery {
            FOREBAY_RECOVERY_AUTO => options,
            FOREBAY_RECOVERY_FULL => options.recovery(RecoveryMode::Full),
            other => return Err(no_such("recovery", other, "FOREBAY_RECOVERY_..., 0 and 1")),
        };
        options = match self.media {
            FOREBAY_MEDIA_AUTO => options,
            FOREBAY_MEDIA_POWER_SAFE => options.media(Media::PowerSafe),
            FOREBAY_MEDIA_TORN_OVERWRITE => options.media(Media::TornOverwrite),
            other => return Err(no_such("media", other, "FOREBAY_MEDIA_..., 0 to 2")),
        };
        self.keeping(self.compacting(self.sizes(options)?)?)
    }

    fn compacting(&self, mut options: LogOptions) -> Result<LogOptions> {
        options = match self.cleanup_policy {
            FOREBAY_CLEANUP_DELETE => options,
            FOREBAY_CLEANUP_COMPACT => options.cleanup(Cleanup::Compact),
            FOREBAY_CLEANUP_COMPACT_DELETE => options.cleanup(Cleanup::Both),
            other => return Err(no_such("cleanup_policy", other, "FOREBAY_CLEANUP_..., 0 to 2")),
        };
        if self.min_cleanable_dirty_percent != 0 {
            let percent = self.min_cleanable_dirty_percent;
            let number = u8::try_from(percent);
            let number =
                number.map_err(|_| no_such("min_cleanable_dirty_percent", percent, "1 to 100"))?;
            options = options.min_cleanable_dirty_percent(number);
        }
        if self.delete_retention_ms != 0 {
            let age = millis(self.delete_retention_ms, "delete_retention_ms")?;
            options = options.delete_retention(age);
        }
        if self.min_compaction_lag_ms != 0 {
            let age = millis(self.min_compaction_lag_ms, "min_compaction_lag_ms")?;
            options = options.min_compaction_lag(age);
        }
        if self.compaction_memory_bytes != 0 {
            let bytes = size(self.compaction_memory_bytes, "compaction_memory_bytes")?;
            options = options.compaction_memory_bytes(bytes);
        }
        Ok(options)
    }

    fn sizes(&self, mut options: LogOptions) -> Result<LogOptions> {
        if self.segment_bytes != 0 {
            options = options.segment_bytes(size(self.segment_bytes, "segment_bytes")?);
        }
        if self.index_interval_bytes != 0 {
            let bytes = size(self.index_interval_bytes, "index_interval_bytes")?;
            options = options.index_interval_bytes(bytes);
        }
        if self.max_batch_bytes != 0 {
            options = options.max_batch_bytes(size(self.max_batch_bytes, "max_batch_bytes")?);
        }
        if let Some(bytes) = bound(self.memory_limit_bytes) {
            let bytes = size(bytes, "memory_limit_bytes")?;
            options = options.memory_limit_bytes(bytes);
        }
        if self.torn_bytes != 0 {
            options = options.torn_bytes(size(self.torn_bytes.into(), "torn_bytes")?);
        }
        if self.segment_ms != 0 {
            options = options.segment_age(millis(self.segment_ms, "segment_ms")?);
        }
        match self.background {
            0 => {}
            1 => options = options.background(true),
            other => return Err(no_such("background", other, "0 and 1")),
        }
        if self.compression_level != 0 {
            options = options.compression_level(self.compression_level);
        }
        Ok(options.compression(compression(self.compression)?))
    }

    fn keeping(&self, mut options: LogOptions) -> Result<LogOptions> {
        if let Some(number) = bound(self.retention_bytes) {
            options = options.retention_bytes(number);
        }
        if !matches!(self.retention_ms, -1 | 0) {
            options = options.retention_age(millis(self.retention_ms, "retention_ms")?);
        }
        if let Some(number) = bound(self.retention_records) {
            options = options.retention_records(number);
        }
        if let Some(number) = bound(self.hold_limit_bytes) {
            options = options.hold_limit_bytes(number);
        }
        if let Some(number) = bound(self.hold_lag_records) {
            options = options.hold_lag_records(number);
        }
        if let Some(number) = bound(self.budget_bytes) {
            options = options.budget_bytes(number);
        }
        if self.thin_keep_one_in != 0 {
            options = options.thin_keep_one_in(self.thin_keep_one_in);
        }
        if self.priority != 0 {
            let priority = u8::try_from(self.priority)
                .map_err(|_| no_such("priority", self.priority, "0 to 255"))?;
            options = options.priority(priority);
        }
        options = match self.on_full {
            FOREBAY_ON_FULL_REJECT => options,
            FOREBAY_ON_FULL_DROP_OLDEST => options.on_full(OnFull::DropOldest),
            FOREBAY_ON_FULL_BLOCK => {
                options.on_full(OnFull::Block(millis(self.on_full_block_ms, "on_full_block_ms")?))
            }
            other => return Err(no_such("on_full", other, "FOREBAY_ON_FULL_..., 0 to 2")),
        };
        let names = self.hold_consumers.text("hold_consumers")?;
        let names = || names.split(',').map(|name| name.trim().to_owned()).collect::<Vec<_>>();
        Ok(match self.hold {
            FOREBAY_HOLD_NOBODY => options,
            FOREBAY_HOLD_EVERYONE => options.hold(Hold::Everyone),
            FOREBAY_HOLD_EACH => options.hold(Hold::Each(names())),
            FOREBAY_HOLD_ANY => options.hold(Hold::Any(names())),
            other => return Err(no_such("hold", other, "FOREBAY_HOLD_..., 0 to 3")),
        })
    }
}

/// The codec of a number, which is Kafka's.
pub(super) fn compression(number: u32) -> Result<Compression> {
    match number {
        FOREBAY_COMPRESSION_NONE => Ok(Compression::None),
        FOREBAY_COMPRESSION_GZIP => Ok(Compression::Gzip),
        FOREBAY_COMPRESSION_SNAPPY => Ok(Compression::Snappy),
        FOREBAY_COMPRESSION_LZ4 => Ok(Compression::Lz4),
        FOREBAY_COMPRESSION_ZSTD => Ok(Compression::Zstd),
        other => Err(no_such("compression", other, "FOREBAY_COMPRESSION_NONE to _ZSTD, 0 to 4")),
    }
}

#[cold]
fn no_such(field: &str, number: u32, allowed: &str) -> crate::Error {
    invalid(format!("{field} is {number}, allowed are {allowed}"))
}

/// A bound of the caller's; none is what 0 and -1 say.
pub(super) fn bound(number: u64) -> Option<u64> {
    Some(number).filter(|number| !matches!(*number, 0 | text::UNBOUNDED))
}

pub(super) fn millis(number: i64, field: &str) -> Result<Duration> {
    let number = u64::try_from(number)
        .map_err(|_| invalid(format!("{field} is {number}, and no duration is negative")))?;
    Ok(Duration::from_millis(number))
}

pub(super) fn size(number: u64, field: &str) -> Result<usize> {
    usize::try_from(number)
        .map_err(|_| invalid(format!("{field} is {number}, more than this machine can have")))
}

/// Sets all options to their defaults; `size` is sizeof. Call it before setting any.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_options_init(
    options: Option<NonNull<forebay_options>>,
    size: usize,
) -> forebay_status {
    guard(|| sized::write(options, size, &sized::zeroed()))
}

/// Sets one option from text, as a configuration file has it: the name of a field of
/// forebay_options, and a number, or one of these:
/// flush: every_append, manual, interval_ms=N, every_bytes=N;
/// io_mode: auto, mapped, positioned; recovery: auto, full; media: auto, power_safe,
/// torn_overwrite; hold: nobody, everyone, each, any; on_full: reject, drop_oldest, block_ms=N;
/// background: true, false; compression, or compression.type as Kafka has it: none, gzip, snappy,
/// lz4, zstd; cleanup_policy: delete, compact, compact,delete;
/// hold_consumers: names with commas between them, which has to stay
/// valid until the options were used. Other options stay as they are, all of them if this fails.
/// Numbers are decimal, without a unit; -1 where the default is no bound says that. Spaces around a
/// value or a name of hold_consumers are no part of it. What a number may be is checked when the
/// options are used. Each name sets its field alone: flush_interval_ms, flush_bytes,
/// on_full_block_ms and hold_consumers do nothing without the `flush`, `on_full` or `hold` that
/// they are for, nor torn_bytes without `media`, nor compression_level without `compression`;
/// interval_ms=N, every_bytes=N and block_ms=N set both.
/// Does not block. FOREBAY_NOT_FOUND if there is no such option, FOREBAY_INVALID_ARGUMENT if it
/// cannot have this value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_options_set(
    options: Option<NonNull<forebay_options>>,
    name: forebay_bytes,
    value: forebay_bytes,
) -> forebay_status {
    guard(|| {
        let place = given(options, "options")?;
        let mut set: forebay_options = sized::read(place.as_ptr())?;
        text::set_of_log(&mut set, name.text("name")?, value)?;
        let size = usize::try_from(set.struct_size).unwrap_or(0);
        sized::write(options, size, &set)
    })
}
