//! Numbers about an open log: where it stands, what it takes, what it did.
//!
//! Floor 4. What every append counts lies under the writer's lock, so that counting costs three
//! additions and no atomic; everything else is counted where it is rare, or looked up when asked.

use serde::Serialize;

use crate::disk::names::{self, Part};
use crate::disk::pins::Pin;
use crate::disk::state::ConsumerState;
use crate::log::options::IoMode;
use crate::log::report::RecoveryReport;
use crate::log::wear::Wear;
use crate::log::{Inner, Log, Visibility};
use crate::sys::sync::Mutex;
use crate::sys::sync::atomic::{AtomicU64, Ordering};
use crate::words::error::Error;
use crate::words::offset::Offset;

/// A look at an open log: see [`Log::stats`].
#[derive(Clone, Debug, Serialize)]
#[non_exhaustive]
pub struct LogStats {
    /// The first offset that can be read.
    pub log_start_offset: Offset,
    /// One past the last record known to survive a power cut.
    pub durable_offset: Offset,
    /// The offset the next appended record gets.
    pub log_end_offset: Offset,
    /// Segments, the active one included.
    pub segments: u64,
    /// Bytes of the batches in them.
    pub batch_bytes: u64,
    /// Bytes of all the log's files, by their lengths; the active segment's is that of what is
    /// preallocated.
    pub file_bytes: u64,
    /// Bytes of blocks that the filesystem gave to them. Equal to `file_bytes` where the system
    /// does not tell.
    pub allocated_bytes: u64,
    /// Bytes of deleted segments whose space is not free yet: batches or readers hold them.
    pub deleted_held_bytes: u64,
    /// The bound on the bytes of disk that all its files take together
    /// ([`LogOptions::budget_bytes`](crate::LogOptions::budget_bytes)); `None` without one.
    pub budget_bytes: Option<u64>,
    /// What is taken of it, in whole blocks, deleted segments that are held still included; `None`
    /// without a bound. Appends find it used up while `budget_reserve_bytes` of it are left.
    pub budget_used_bytes: Option<u64>,
    /// What of it is kept back from records, for checkpoint and indexes; `None` without a bound.
    pub budget_reserve_bytes: Option<u64>,
    /// Sealed segments whose files are open, for readers or until they are flushed.
    pub open_sealed_segments: u64,
    /// Address space that open segments are mapped to; none in positioned mode.
    pub mapped_bytes: u64,
    /// Anonymous memory that the log takes now, in bytes, without the buffers of threads that
    /// append and of tasks over the whole log.
    pub memory_bytes: u64,
    /// The most it can come to with the readers and consumers that are open, and its segments: see
    /// [`LogOptions::memory_limit_bytes`](crate::LogOptions::memory_limit_bytes).
    pub memory_bytes_max: u64,
    /// Bytes appended since the last flush began.
    pub unflushed_bytes: u64,
    /// Records appended since the log was opened.
    pub records_appended: u64,
    /// Batches appended since then, those that stand over gaps of a mirror included.
    pub batches_appended: u64,
    /// Their bytes.
    pub bytes_appended: u64,
    /// Appends that were refused since then, for whatever reason: nothing of them is in the log.
    pub appends_refused: u64,
    /// Device flushes since then; one may serve many callers.
    pub flushes: u64,
    /// Segments sealed since then.
    pub rolls: u64,
    /// What the device had to write for it, for how long flash lasts.
    pub wear: Wear,
    /// Segments deleted since then.
    pub segments_deleted: u64,
    /// Segments that the archive took since then.
    pub segments_archived: u64,
    /// Their bytes.
    pub bytes_archived: u64,
    /// How often since then a segment could not be archived; it stays until it can.
    pub archive_failures: u64,
    /// What the archive said last, if it failed last.
    pub archive_error: Option<String>,
    /// Records that were dropped since then to make room, whoever had not read them
    /// ([`OnFull::DropOldest`](crate::OnFull::DropOldest)); counted by their offsets.
    pub records_dropped: u64,
    /// Bytes of their batches.
    pub bytes_dropped: u64,
    /// How files are accessed: `Mapped` or `Positioned`.
    pub io_mode: IoMode,
    /// What the first failed sync said; appends and flushes are refused since then.
    pub poisoned: Option<String>,
    /// What opening the log found.
    pub recovery: RecoveryReport,
    /// The consumers the log knows, in the order they were created.
    pub consumers: Vec<ConsumerLag>,
}

/// How far a consumer is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ConsumerLag {
    /// Its name.
    pub name: String,
    /// Which records it sees.
    pub visibility: Visibility,
    /// The next offset it reads after a restart.
    pub committed: Offset,
    /// Records between that and the log end offset.
    pub lag: u64,
    /// Records below the log start offset that it had not committed: it goes on behind them.
    pub overtaken: u64,
    /// Whether the log's [`Hold`](crate::Hold) has retention wait for it.
    pub holds: bool,
    /// Whether this process has it open.
    pub open: bool,
}

/// What appends count, under the writer's lock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Appended {
    pub(crate) records: u64,
    pub(crate) batches: u64,
    pub(crate) bytes: u64,
    pub(crate) rolls: u64,
}

/// What is counted elsewhere, and rarely.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) flushes: AtomicU64,
    refused: AtomicU64,
    deleted: AtomicU64,
    records_dropped: AtomicU64,
    bytes_dropped: AtomicU64,
    /// Deleted files that somebody may hold still, with their blocks.
    held: Mutex<Vec<(Vec<Pin>, u64)>>,
}

impl Tally {
    /// Counts an append that is refused with this error.
    #[cold]
    pub(crate) fn refused(&self, error: Error) -> Error {
        self.refused.fetch_add(1, Ordering::Relaxed);
        error
    }

    /// Counts a segment that is deleted, and who has its file of so many bytes.
    pub(crate) fn deleted(&self, pins: Vec<Pin>, bytes: impl FnOnce() -> u64) {
        self.deleted.fetch_add(1, Ordering::Relaxed);
        self.file_gone(pins, bytes);
    }

    /// Counts what was dropped to make room.
    pub(crate) fn dropped(&self, records: u64, bytes: u64) {
        self.records_dropped.fetch_add(records, Ordering::Relaxed);
        self.bytes_dropped.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Records and bytes that were dropped to make room.
    pub(crate) fn all_dropped(&self) -> (u64, u64) {
        let records = self.records_dropped.load(Ordering::Relaxed);
        (records, self.bytes_dropped.load(Ordering::Relaxed))
    }

    /// Takes note of who has a file that has no name any more, of so many bytes.
    pub(crate) fn file_gone(&self, pins: Vec<Pin>, bytes: impl FnOnce() -> u64) {
        let mut held = self.held.lock();
        held.retain(|(pins, _)| pins.iter().any(Pin::is_held));
        if pins.iter().any(Pin::is_held) {
            held.push((pins, bytes()));
        }
    }

    fn held_bytes(&self) -> u64 {
        let mut held = self.held.lock();
        held.retain(|(pins, _)| pins.iter().any(Pin::is_held));
        held.iter().map(|(_, bytes)| bytes).sum()
    }
}

impl Log {
    /// Numbers about the log: for a device's telemetry, or an operator.
    ///
    /// Takes the writer's lock for a moment, and asks the filesystem about every file: three calls
    /// a segment. Works on a poisoned and on a closed log as well. In a forked child it tells the
    /// offsets as they were at the fork, `poisoned` says why no more, and every count is zero.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// log.append_batch(["21.5 C", "21.6 C"])?;
    /// let stats = log.stats();
    /// assert_eq!((stats.records_appended, stats.batches_appended, stats.rolls), (2, 1, 0));
    /// assert_eq!(stats.bytes_appended, stats.batch_bytes);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> LogStats {
        let inner = &*self.inner;
        if !inner.is_own() {
            return inner.stats_of_child();
        }
        let (appended, unflushed) = {
            let writer = inner.writer.lock();
            (writer.appended, writer.since_flush)
        };
        let files = inner.files();
        let log_end_offset = inner.log_end_offset();
        let tally = &inner.tally;
        let (archived, dropped) = (inner.handed_over.stats(), inner.dropped());
        let (memory_bytes, memory_bytes_max) = inner.memory_now();
        let budget_bytes = inner.space.limit();
        LogStats {
            memory_bytes,
            memory_bytes_max,
            log_start_offset: inner.log_start_offset(),
            durable_offset: inner.durable_offset(),
            log_end_offset,
            segments: files.segments,
            batch_bytes: files.batch_bytes,
            file_bytes: files.file_bytes,
            allocated_bytes: files.allocated_bytes,
            deleted_held_bytes: tally.held_bytes(),
            budget_bytes,
            budget_used_bytes: budget_bytes.map(|_| inner.space.used()),
            budget_reserve_bytes: budget_bytes.map(|_| inner.space.reserve()),
            open_sealed_segments: files.open_sealed,
            mapped_bytes: files.mapped_bytes,
            unflushed_bytes: unflushed as u64,
            records_appended: appended.records,
            batches_appended: appended.batches,
            bytes_appended: appended.bytes,
            appends_refused: tally.refused.load(Ordering::Relaxed),
            flushes: tally.flushes.load(Ordering::Relaxed),
            rolls: appended.rolls,
            wear: Wear::of(appended.bytes, inner.env.written.sums()),
            segments_deleted: tally.deleted.load(Ordering::Relaxed),
            segments_archived: archived.segments,
            bytes_archived: archived.bytes,
            archive_failures: archived.failures,
            archive_error: archived.error,
            records_dropped: dropped.records,
            bytes_dropped: dropped.bytes,
            io_mode: if inner.env.mapped { IoMode::Mapped } else { IoMode::Positioned },
            poisoned: inner.failure.get().cloned(),
            recovery: inner.recovery.clone(),
            consumers: inner.lags(log_end_offset),
        }
    }
}

/// What the files of a log come to.
#[derive(Default)]
struct Files {
    segments: u64,
    batch_bytes: u64,
    file_bytes: u64,
    allocated_bytes: u64,
    open_sealed: u64,
    mapped_bytes: u64,
}

impl Inner {
    /// What can be told without a lock.
    #[cold]
    fn stats_of_child(&self) -> LogStats {
        LogStats {
            log_start_offset: self.log_start_offset(),
            durable_offset: self.durable_offset(),
            log_end_offset: self.log_end_offset(),
            segments: 0,
            batch_bytes: 0,
            file_bytes: 0,
            allocated_bytes: 0,
            deleted_held_bytes: 0,
            budget_bytes: None,
            budget_used_bytes: None,
            budget_reserve_bytes: None,
            open_sealed_segments: 0,
            mapped_bytes: 0,
            memory_bytes: 0,
            memory_bytes_max: 0,
            unflushed_bytes: 0,
            records_appended: 0,
            batches_appended: 0,
            bytes_appended: 0,
            appends_refused: 0,
            flushes: 0,
            rolls: 0,
            wear: Wear::default(),
            segments_deleted: 0,
            segments_archived: 0,
            bytes_archived: 0,
            archive_failures: 0,
            archive_error: None,
            records_dropped: 0,
            bytes_dropped: 0,
            io_mode: if self.env.mapped { IoMode::Mapped } else { IoMode::Positioned },
            poisoned: Some(self.closed_error().to_string()),
            recovery: self.recovery.clone(),
            consumers: Vec::new(),
        }
    }

    /// What the device had to write since the log was opened.
    pub(crate) fn wear(&self) -> Wear {
        let appended = self.writer.lock().appended.bytes;
        Wear::of(appended, self.env.written.sums())
    }

    fn files(&self) -> Files {
        let env = &self.env;
        let mut files = Files::default();
        // A file that is gone meanwhile takes nothing any more.
        let size = |name: String| env.storage.file_size(&env.dir.join(name)).unwrap_or_default();
        let segments = self.segments.all();
        let active = segments.last().map(|segment| segment.base);
        for segment in &segments {
            let open = segment.opened_data();
            let [log, index, times] = [Part::Log, Part::Index, Part::TimeIndex]
                .map(|part| size(names::segment_file(segment.base, part)));
            let is_active = Some(segment.base) == active;
            files.segments += 1;
            files.open_sealed += u64::from(open.is_some() && !is_active);
            files.mapped_bytes += open.as_ref().map_or(0, |data| data.mapped_bytes()) as u64;
            files.batch_bytes += match &open {
                Some(data) => data.published() as u64,
                None => log.length,
            };
            for part in [log, index, times] {
                files.file_bytes += part.length;
                files.allocated_bytes += part.allocated;
            }
        }
        for name in [names::META, names::CHECKPOINT] {
            let small = size(name.to_owned());
            files.file_bytes += small.length;
            files.allocated_bytes += small.allocated;
        }
        files
    }

    fn lags(&self, end: Offset) -> Vec<ConsumerLag> {
        let open = self.open_consumers.lock().clone();
        let (start, policy) = (self.log_start_offset(), self.policy());
        let durable = self.checkpoint.lock();
        let lag = |consumer: &ConsumerState| ConsumerLag {
            name: consumer.name.clone(),
            visibility: match consumer.durable {
                true => Visibility::Durable,
                false => Visibility::Written,
            },
            committed: consumer.committed,
            lag: (end - consumer.committed).max(0).unsigned_abs(),
            overtaken: (start - consumer.committed).max(0).unsigned_abs(),
            holds: policy.hold.counts(&consumer.name),
            open: open.contains(&consumer.name),
        };
        durable.state.consumers.iter().map(lag).collect()
    }
}
