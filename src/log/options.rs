//! How a log is opened.
//!
//! Floor 4. Checked whole in [`LogOptions::open`]; what cannot work is refused by name.

use std::path::Path;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::layout::HEADER_BYTES;
use crate::codec::pack::Packing;
use crate::log::Log;
use crate::log::archive::ArchiveHook;
use crate::log::bound;
use crate::log::compaction::options::Cleanup;
#[cfg(feature = "encryption")]
use crate::log::encryption::Encryption;
use crate::log::memory::MemoryPlan;
use crate::log::policy::{Hold, OnFull};
use crate::log::validate::Validate;
use crate::words::compression::Compression;
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::log_id::LogId;

/// When appended records are made to survive a power cut.
///
/// Whatever the policy, records that `append` returned for survive the death of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FlushPolicy {
    /// Before every append returns. A power cut takes nothing that was acknowledged; concurrent
    /// appends share a device flush.
    EveryAppend,
    /// At most this long after an append, kept by the next call on the log (append, poll, wait).
    /// A power cut takes what was appended since the last flush.
    #[serde(rename = "interval_ms", with = "millis")]
    Interval(Duration),
    /// As soon as this many bytes wait for it. A power cut takes what came after the last flush:
    /// fewer than twice these, since a flush takes in only what was there when it began.
    EveryBytes(u64),
    /// Only by [`Log::flush`] and a clean close. A power cut takes what came after the last one.
    Manual,
}

/// How files are written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum IoMode {
    /// [`IoMode::Mapped`] on ext4, xfs and tmpfs with 64 bits and Linux 5.14 or later, else
    /// [`IoMode::Positioned`]. [`RecoveryReport`](crate::RecoveryReport) says which, and why.
    Auto,
    /// Through shared maps: an append is a copy, no system call.
    Mapped,
    /// By `pwrite` and `pread`: a system call an append, no map anywhere.
    Positioned,
}

/// What a power cut can do to bytes that were synced before, while their sector is rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Media {
    /// Nothing: a sector holds its old or its new bytes. SSD, eMMC and hard disks.
    PowerSafe,
    /// It may take them, and their neighbours within `torn_bytes`: SD cards, USB sticks. The log
    /// keeps a synced copy of what it is about to rewrite, for one more device sync a flush.
    TornOverwrite,
}

/// How much is read when a log is opened that was not closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecoveryMode {
    /// After the death of the process the last segment, since the kernel kept all that was written;
    /// after a power cut everything from the recovery point.
    #[default]
    Auto,
    /// Everything from the recovery point, always.
    Full,
}

/// The options of a log; the defaults are for a device with an SD card.
///
/// Can be part of a configuration file: sizes are plain numbers with the unit in the name. Of those
/// that are no bound unless set, -1 says that there, as in Kafka's files.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
/// use forebay::{FlushPolicy, Log};
/// use std::time::Duration;
/// let log = Log::options()
///     .segment_bytes(16 << 20)
///     .flush(FlushPolicy::Interval(Duration::from_millis(200)))
///     .open(dir)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use = "options do nothing until they open a log"]
pub struct LogOptions {
    pub(crate) segment_bytes: usize,
    pub(crate) index_interval_bytes: usize,
    pub(crate) max_batch_bytes: usize,
    pub(crate) io_mode: IoMode,
    pub(crate) flush: FlushPolicy,
    pub(crate) recovery: RecoveryMode,
    /// `None`: by what the device is.
    pub(crate) media: Option<Media>,
    pub(crate) torn_bytes: usize,
    #[serde(rename = "segment_ms", with = "millis")]
    pub(crate) segment_age: Duration,
    pub(crate) background: bool,
    #[serde(deserialize_with = "bound::deserialize")]
    pub(crate) memory_limit_bytes: Option<usize>,
    #[serde(deserialize_with = "bound::deserialize")]
    pub(crate) retention_bytes: Option<u64>,
    #[serde(rename = "retention_ms", with = "millis::optional")]
    pub(crate) retention_age: Option<Duration>,
    #[serde(deserialize_with = "bound::deserialize")]
    pub(crate) retention_records: Option<u64>,
    pub(crate) hold: Hold,
    #[serde(deserialize_with = "bound::deserialize")]
    pub(crate) hold_limit_bytes: Option<u64>,
    #[serde(deserialize_with = "bound::deserialize")]
    pub(crate) hold_lag_records: Option<u64>,
    #[serde(deserialize_with = "bound::deserialize")]
    pub(crate) budget_bytes: Option<u64>,
    pub(crate) on_full: OnFull,
    pub(crate) priority: u8,
    pub(crate) thin_keep_one_in: Option<u32>,
    pub(crate) compression: Compression,
    pub(crate) compression_level: Option<i32>,
    #[serde(rename = "cleanup_policy")]
    pub(crate) cleanup: Cleanup,
    #[serde(rename = "delete_retention_ms", with = "millis")]
    pub(crate) delete_retention: Duration,
    pub(crate) min_cleanable_dirty_percent: u8,
    #[serde(rename = "min_compaction_lag_ms", with = "millis")]
    pub(crate) min_compaction_lag: Duration,
    pub(crate) compaction_memory_bytes: usize,
    #[serde(skip)]
    pub(crate) mirror_of: Option<LogId>,
    #[serde(skip)]
    pub(crate) validate: Option<Validate>,
    #[cfg(feature = "encryption")]
    #[serde(skip)]
    pub(crate) encryption: Option<Encryption>,
    #[serde(skip)]
    pub(crate) archive: Option<ArchiveHook>,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
            index_interval_bytes: limits::INDEX_INTERVAL_BYTES_DEFAULT,
            max_batch_bytes: limits::MAX_BATCH_BYTES_DEFAULT,
            io_mode: IoMode::Auto,
            flush: FlushPolicy::Interval(Duration::from_secs(1)),
            recovery: RecoveryMode::Auto,
            media: None,
            torn_bytes: limits::TORN_BYTES_DEFAULT,
            segment_age: Duration::from_secs(limits::SEGMENT_AGE_SECONDS_DEFAULT),
            background: false,
            memory_limit_bytes: None,
            retention_bytes: None,
            retention_age: None,
            retention_records: None,
            hold: Hold::Nobody,
            hold_limit_bytes: None,
            hold_lag_records: None,
            budget_bytes: None,
            on_full: OnFull::Reject,
            priority: limits::PRIORITY_DEFAULT,
            thin_keep_one_in: None,
            compression: Compression::None,
            compression_level: None,
            cleanup: Cleanup::Delete,
            delete_retention: Duration::from_secs(limits::DELETE_RETENTION_SECONDS_DEFAULT),
            min_cleanable_dirty_percent: limits::DIRTY_PERCENT_DEFAULT,
            min_compaction_lag: Duration::ZERO,
            compaction_memory_bytes: limits::COMPACTION_MEMORY_BYTES_DEFAULT,
            mirror_of: None,
            validate: None,
            #[cfg(feature = "encryption")]
            encryption: None,
            archive: None,
        }
    }
}

impl LogOptions {
    /// Bytes of a segment's file before the next one is begun: 4 KiB to 2 GiB - 1, at least
    /// `max_batch_bytes`; 16 MiB unless set. Space is given back a segment at a time.
    pub fn segment_bytes(mut self, bytes: usize) -> LogOptions {
        self.segment_bytes = bytes;
        self
    }

    /// Bytes between two index entries: 1 or more; 4096 unless set, as in Kafka.
    pub fn index_interval_bytes(mut self, bytes: usize) -> LogOptions {
        self.index_interval_bytes = bytes;
        self
    }

    /// The largest batch in bytes, encoded: 71 to `segment_bytes`; 1 MiB unless set, as in Kafka.
    ///
    /// For large values, such as camera images, this is to be set, up to `segment_bytes`: a record
    /// without key and headers takes 67 to 79 bytes more than its value. A batch is encoded, and in
    /// positioned mode read, whole in memory: see [`LogOptions::memory_limit_bytes`].
    pub fn max_batch_bytes(mut self, bytes: usize) -> LogOptions {
        self.max_batch_bytes = bytes;
        self
    }

    /// How files are written and read; [`IoMode::Auto`] unless set.
    pub fn io_mode(mut self, mode: IoMode) -> LogOptions {
        self.io_mode = mode;
        self
    }

    /// When records are flushed; `Interval(1 s)` unless set.
    pub fn flush(mut self, policy: FlushPolicy) -> LogOptions {
        self.flush = policy;
        self
    }

    /// How much is read when the log was not closed; [`RecoveryMode::Auto`] unless set.
    pub fn recovery(mut self, mode: RecoveryMode) -> LogOptions {
        self.recovery = mode;
        self
    }

    /// What a power cut may do to what is being rewritten. Unless set, [`Media::TornOverwrite`] on
    /// SD cards and USB devices, else [`Media::PowerSafe`]; the report of opening says which.
    pub fn media(mut self, media: Media) -> LogOptions {
        self.media = Some(media);
        self
    }

    /// With [`Media::TornOverwrite`]: how far around a rewritten sector the medium tears, a power
    /// of two from 512 to 65536; 4096 unless set. Flash pages of simple cards have 16 KiB or more.
    pub fn torn_bytes(mut self, bytes: usize) -> LogOptions {
        self.torn_bytes = bytes;
        self
    }

    /// How old a segment gets before the next one is begun, so that retention can take it; 7 days
    /// unless set, as in Kafka (`segment_ms`). Measured by the log clock, which no jump of the wall
    /// clock moves; looked at by flushes and appends.
    pub fn segment_age(mut self, age: Duration) -> LogOptions {
        self.segment_age = age;
        self
    }

    /// Lets a thread of the log's own keep the flush interval, make the next segment ready ahead,
    /// populate pages ahead and roll by age; off unless set. Without it, whatever call comes next
    /// does that.
    pub fn background(mut self, on: bool) -> LogOptions {
        self.background = on;
        self
    }

    /// What the log may take of anonymous memory, in bytes; no limit unless set. Whatever the
    /// limit, a log takes no more than this:
    ///
    /// ```text
    /// batch   = max_batch_bytes, at most segment_bytes
    /// entries = segment_bytes / (index_interval_bytes + 1, at least 61) + 2
    /// index   = 24 * entries, three times that above 65536 entries
    /// sealed  = open sealed segments: 1 to 16, as many as the limit leaves room for
    /// reader  = 4 KiB, and in positioned mode the larger of batch and 64 KiB;
    ///           with an archive that in either mode, and 2 * index
    ///
    /// memory  = 3 * batch            encoding, and what is being checked or copied
    ///         + 3 * index            the active segment's, and sealing it
    ///         + 2 * index * sealed
    ///         + reader * readers and consumers that are open
    ///         + 32 * torn_bytes      with Media::TornOverwrite
    ///         + 1280 KiB             the checkpoint, recovery, verify, snapshot, export
    ///         + 64 KiB               with background(true)
    ///         + batch + 2 MiB        opened with zstd at its own level, higher ones take more;
    ///                                with another compression + batch + 512 KiB
    ///         + keys + index         with a cleanup that compacts: compaction_memory_bytes, and no
    ///                                more than half of what the limit leaves
    ///         + 256 bytes * segments of the log, which the limit leaves out
    /// ```
    ///
    /// The limit bounds how many sealed segments stay open and how many readers and consumers there
    /// are: one more is refused as [`OutOfSpace`](crate::ErrorKind::OutOfSpace). Where it leaves no
    /// room for one of each, opening is refused. What is large is `max_batch_bytes`: a device with
    /// little memory sets that first.
    ///
    /// Counted for one thread that appends and one task over the whole log at a time; each further
    /// thread that appends keeps a buffer of its largest batch, at most 1 MiB, and takes as many as
    /// `max_batch_bytes` for a moment. Not counted: maps and the page cache, which the kernel takes
    /// back when it needs them; batches that the application holds, each of which keeps what was
    /// read with it and its records decompressed, and those that a replicator has on the way; what
    /// was written under other options, while it is read, and batches of a mirror's source above
    /// `max_batch_bytes`.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
    /// use forebay::Log;
    /// let options = Log::options().max_batch_bytes(64 << 10).memory_limit_bytes(3 << 20);
    /// assert!(options.memory_bytes_max(4) <= 3 << 20);
    /// let log = options.open(dir)?;
    /// assert!(log.stats().memory_bytes <= 3 << 20);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn memory_limit_bytes(mut self, bytes: usize) -> LogOptions {
        self.memory_limit_bytes = Some(bytes);
        self
    }

    /// The most bytes of anonymous memory that a log with these options takes while so many readers
    /// and consumers are open, by the formula of [`LogOptions::memory_limit_bytes`]; of segments,
    /// 256 bytes each come on top. Where it depends on the directory ([`IoMode::Auto`], media not
    /// set), the larger figure.
    ///
    /// # Examples
    /// ```
    /// let small = forebay::Log::options().segment_bytes(1 << 20).max_batch_bytes(16 << 10);
    /// assert!(small.memory_bytes_max(1) < 2 << 20);
    /// ```
    #[must_use]
    pub fn memory_bytes_max(&self, readers: usize) -> usize {
        MemoryPlan::before_open(self, false).most(readers)
    }

    /// Compresses the records of each batch, once, on the thread that appends: they stay so on disk
    /// and on the way to a broker; [`Compression::None`] unless set. Kafka's `compression.type`.
    ///
    /// It is worth most for many records in a batch: those of [`Log::append_batch`] and of a
    /// [`Log::linger`] share one. A batch that would not become smaller is stored
    /// plain. Batches of one log may differ: [`Log::append_batch_compressed`] says it for one.
    ///
    /// [`LogOptions::max_batch_bytes`] bounds a batch before it is compressed, so that a batch that
    /// does not shrink still fits.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
    /// use forebay::{Compression, Log};
    /// let by = if cfg!(feature = "zstd") { Compression::Zstd } else { Compression::None };
    /// let log = Log::options().compression(by).open(dir)?;
    /// log.append_batch((0..100).map(|n| format!("temperature {n}")))?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn compression(mut self, compression: Compression) -> LogOptions {
        self.compression = compression;
        self
    }

    /// How hard [`LogOptions::compression`] tries: gzip 1 to 9, 6 unless set; zstd up to 22, 3
    /// unless set, below 0 faster still. Higher levels take more time and, with zstd, memory.
    pub fn compression_level(mut self, level: i32) -> LogOptions {
        self.compression_level = Some(level);
        self
    }

    /// Makes the log a mirror of another one: only [`Log::append_mirrored`] writes to it. The
    /// source's id is kept for life; opening the log for another source is a
    /// [`Conflict`](crate::ErrorKind::Conflict).
    pub fn mirror_of(mut self, source: LogId) -> LogOptions {
        self.mirror_of = Some(source);
        self
    }

    /// Opens the log in `dir` for reading and writing, or creates it.
    ///
    /// Works on whatever a crash left behind and says in [`Log::recovery`] what it found. Nobody
    /// else may change the files while the log is open; in [`IoMode::Mapped`] a file that someone
    /// else cuts raises a signal when it is read.
    ///
    /// Blocks for reading what was written since the last flush of an unclean stop.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if an option cannot work or `dir` is
    /// a file; [`Locked`](crate::ErrorKind::Locked) if it is open already;
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly), [`OutOfSpace`](crate::ErrorKind::OutOfSpace) and
    /// [`Io`](crate::ErrorKind::Io) as the system says;
    /// [`UnsupportedFormat`](crate::ErrorKind::UnsupportedFormat) if a newer version wrote it.
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Log> {
        self.check()?;
        crate::log::open::open(dir.as_ref(), self)
    }

    /// [`LogOptions::open`] on a simulated disk.
    ///
    /// # Errors
    /// As [`LogOptions::open`].
    ///
    /// # Examples
    /// See [`simulation`](crate::simulation).
    #[cfg(feature = "simulation")]
    pub fn open_on(self, disk: &crate::sys::sim::Disk, dir: impl AsRef<Path>) -> Result<Log> {
        self.check()?;
        crate::log::open::open_on(std::sync::Arc::new(disk.clone()), dir.as_ref(), self)
    }

    pub(crate) fn check(&self) -> Result<()> {
        let segments = limits::SEGMENT_BYTES_MIN..=limits::SEGMENT_BYTES_MAX;
        if !segments.contains(&self.segment_bytes) {
            return Err(Error::invalid(format!(
                "segment_bytes is {}, allowed is {} to {}",
                self.segment_bytes,
                segments.start(),
                segments.end()
            )));
        }
        // A default that is larger than a small segment gives way to it; a set one does not.
        let batches = HEADER_BYTES + 10..=self.segment_bytes;
        let default = self.max_batch_bytes == limits::MAX_BATCH_BYTES_DEFAULT;
        if !batches.contains(&self.max_batch_bytes) && !default {
            return Err(Error::invalid(format!(
                "max_batch_bytes is {}, allowed is {} to segment_bytes, {}",
                self.max_batch_bytes,
                batches.start(),
                batches.end()
            )));
        }
        if self.index_interval_bytes == 0 {
            return Err(Error::invalid("index_interval_bytes is 0, allowed is 1 or more"));
        }
        let torn = limits::TORN_BYTES_MIN..=limits::TORN_BYTES_MAX;
        if !torn.contains(&self.torn_bytes) || !self.torn_bytes.is_power_of_two() {
            return Err(Error::invalid(format!(
                "torn_bytes is {}, allowed are the powers of two from {} to {}",
                self.torn_bytes,
                torn.start(),
                torn.end()
            )));
        }
        if self.segment_age.is_zero() {
            return Err(Error::invalid("segment_ms is 0, allowed is 1 or more"));
        }
        MemoryPlan::before_open(self, true).check(self)?;
        self.check_policy()?;
        self.check_compression()?;
        self.check_compaction()?;
        match self.flush {
            FlushPolicy::EveryBytes(0) => {
                Err(Error::invalid("flush is every 0 bytes; every_append says that"))
            }
            FlushPolicy::Interval(interval) if interval < Duration::from_millis(1) => {
                Err(Error::invalid("flush is an interval below 1 ms; every_append says that"))
            }
            _ => Ok(()),
        }
    }

    /// Refuses a codec that is not there, and a level that it has not.
    fn check_compression(&self) -> Result<()> {
        let (by, level) = (self.compression, self.compression_level);
        by.check_built_in()?;
        match (by.levels(), level) {
            (_, None) => Ok(()),
            (Some((from, to)), Some(level)) if level != 0 && (from..=to).contains(&level) => Ok(()),
            (Some((from, to)), Some(level)) => Err(Error::invalid(format!(
                "compression_level is {level}, {} has {from} to {to} without 0",
                by.name()
            ))),
            (None, Some(level)) => Err(Error::invalid(format!(
                "compression_level is {level}, compression {} has no levels",
                by.name()
            ))),
        }
    }

    /// What appended batches are compressed by.
    pub(crate) fn packing(&self) -> Packing {
        Packing { compression: self.compression, level: self.compression_level.unwrap_or(0) }
    }

    /// The bound batches are held to.
    pub(crate) fn batch_bound(&self) -> usize {
        self.max_batch_bytes.min(self.segment_bytes)
    }
}

/// A duration as a plain number of milliseconds.
pub(super) mod millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        u64::deserialize(deserializer).map(Duration::from_millis)
    }

    /// One that may not be set.
    pub(crate) mod optional {
        use super::{Deserializer, Duration, Serialize, Serializer};
        use crate::log::bound;

        pub(crate) fn serialize<S: Serializer>(
            duration: &Option<Duration>,
            serializer: S,
        ) -> Result<S::Ok, S::Error> {
            let millis = |set: &Duration| u64::try_from(set.as_millis()).unwrap_or(u64::MAX);
            duration.as_ref().map(millis).serialize(serializer)
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
            deserializer: D,
        ) -> Result<Option<Duration>, D::Error> {
            Ok(bound::deserialize::<u64, D>(deserializer)?.map(Duration::from_millis))
        }
    }
}
