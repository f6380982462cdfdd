//! The log: what an application opens, appends to and reads.
//!
//! Floor 4. Begin with `write` (the way down) and `read` (the way up); `flush` moves the durable
//! offset, `open` makes a log of what a crash left. Lock order: writer, flush, checkpoint (I10).

mod append_at;
pub(crate) mod archive;
mod background;
pub(crate) mod batch;
pub(crate) mod bound;
mod chain;
pub(crate) mod clock;
mod close;
pub(crate) mod compaction;
mod delete;
mod door;
#[cfg(feature = "encryption")]
pub(crate) mod encryption;
pub(crate) mod export;
mod fit;
pub(crate) mod flush;
pub(crate) mod follow;
pub(crate) mod full;
mod group;
pub(crate) mod host;
mod identify;
pub(crate) mod inspect;
pub(crate) mod linger;
pub(crate) mod live;
pub(crate) mod memory;
mod mirror;
pub(crate) mod open;
pub(crate) mod options;
mod packing;
pub(crate) mod policy;
pub(crate) mod produce;
pub(crate) mod read;
mod recover;
pub(crate) mod report;
pub(crate) mod retention;
mod rewrite;
mod scan;
mod skip;
pub(crate) mod snapshot;
pub(crate) mod stats;
mod timestamp;
pub(crate) mod validate;
pub(crate) mod verify;
mod wait;
pub(crate) mod wear;
mod write;

#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::HashSet;
use std::fmt;
use std::ops::{Deref, Range};
use std::path::Path;
use std::sync::Arc;

use crate::disk::Env;
use crate::disk::checkpoint::Checkpoint;
use crate::disk::meta::Meta;
use crate::disk::set::SegmentSet;
use crate::disk::space::Space;
use crate::disk::state::State;
use crate::log::archive::hand::HandedOver;
use crate::log::background::Background;
use crate::log::clock::LogClock;
use crate::log::compaction::Compacting;
use crate::log::delete::Deletion;
use crate::log::group::Group;
use crate::log::host::Host;
use crate::log::linger::lane::Lanes;
use crate::log::live::Live;
use crate::log::memory::MemoryPlan;
use crate::log::options::LogOptions;
use crate::log::policy::Policy;
use crate::log::report::RecoveryReport;
use crate::log::retention::Due;
use crate::log::stats::Tally;
use crate::log::write::Writer;
use crate::sys::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use crate::sys::sync::{Mutex, OnceLock, RwLock};
use crate::sys::{Event, LockedDir, Process, Storage};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::log_id::LogId;
use crate::words::offset::Offset;
use crate::words::time::Timestamp;

/// Whether a record counts once it is written, or once it survives a power cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Visibility {
    /// As soon as `append` returned; a power cut may take it again.
    Written,
    /// Only below the durable offset: for whoever carries records elsewhere.
    Durable,
}

/// Where to begin reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OffsetSpec {
    /// At the log start offset.
    Earliest,
    /// At the log end offset: only what is appended from now on.
    Latest,
    /// At this offset, from the log start offset to the log end offset; with
    /// [`LogOptions::archive`](crate::LogOptions::archive) also below, where the archive has it.
    At(Offset),
    /// At the first record whose time is this or a later one, as Kafka's `ListOffsets` finds it;
    /// at the log end offset if there is none. Times need not rise: a record behind it may be
    /// older. Looked up once, when the call is made, by the time indexes; the first lookup reads a
    /// little of every segment before that record.
    Timestamp(Timestamp),
}

/// A log in a directory: appended to at its end, read from any offset.
///
/// A handle is cheap to clone and can be used from any thread; methods take `&self`. The last
/// handle, reader or consumer dropped closes the log; [`Log::close`] does it at once and reports
/// errors.
///
/// A child that is forked while the log is open has the handle, but not the log: whatever would
/// read or change it there is refused as [`Closed`](crate::ErrorKind::Closed), and the child's end
/// closes nothing. It may open other logs, and this one once its parent has closed it.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
/// use forebay::{Log, OffsetSpec};
/// let log = Log::open(dir)?;
/// let offset = log.append("21.5 C")?;
/// for batch in log.reader(OffsetSpec::At(offset))? {
///     for record in batch?.records() {
///         assert_eq!(record?.value(), b"21.5 C");
///     }
/// }
/// log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Log {
    pub(crate) inner: Arc<Inner>,
    /// What has to live as long as a handle does: of a log with a thread of its own, which holds
    /// the log too, what closes it with the last one; of a log in a store, that.
    pub(crate) _keeper: Option<Arc<dyn Any + Send + Sync>>,
}

/// What all handles of one log share.
pub(crate) struct Inner {
    pub(crate) env: Env,
    /// What it was opened with. Of what can change, `live` and `policy` know how it is now.
    pub(crate) options: LogOptions,
    live: Live,
    policy: RwLock<Arc<Policy>>,
    pub(crate) meta: Meta,
    pub(crate) segments: SegmentSet,
    log_start: AtomicI64,
    /// One past the last published record: stored after its bytes, with Release.
    end: OwnLines<AtomicI64>,
    durable: AtomicI64,
    closed: AtomicBool,
    /// What the first failed sync said (I8): known before anyone waits for the writer's lock.
    failure: OnceLock<String>,
    /// Milliseconds of the rising clock when an append last looked at the active segment's age.
    age_looked_at_ms: AtomicU64,
    /// Milliseconds of the rising clock at the last flush's end.
    flushed_at_ms: AtomicU64,
    writer: OwnLines<Mutex<Writer>>,
    /// With `writer`: the end moved, or the log was closed.
    appended: Event,
    group: Group,
    checkpoint: Mutex<Durable>,
    /// Held while the checkpoint's file is synced: one at a time.
    checkpoint_sync: Mutex<()>,
    pub(crate) open_consumers: Mutex<HashSet<String>>,
    recovery: RecoveryReport,
    /// Held while the log is being closed.
    closing: Mutex<()>,
    /// What lingers before it is appended.
    lanes: Lanes,
    tally: Tally,
    memory: MemoryPlan,
    /// Readers and consumers that are open.
    readers: AtomicUsize,
    /// Held while the log is compacted, and by who needs its files to stay: taken before the lock
    /// of deletions.
    compacting: Compacting,
    /// Held while segments are deleted; taken before the writer's lock.
    deletion: Mutex<Deletion>,
    /// How far the archive was given what there is.
    handed_over: HandedOver,
    retention: Due,
    clock: Arc<LogClock>,
    /// The machine, for clocks that every append reads.
    clocks: Arc<dyn Storage>,
    /// What the files take, and may take.
    pub(crate) space: Arc<Space>,
    /// The store it is part of.
    pub(crate) host: Option<Host>,
    /// Of a log that was opened alone and lies in a store: a share in that one's lock.
    store_lock: Option<Box<dyn LockedDir>>,
    /// Who opened it: a forked child has the handle too, but not the log.
    process: Process,
    /// The log's own thread, if one was asked for.
    background: OnceLock<Arc<Background>>,
}

/// Keeps what every append writes away from what every thread reads before it has the lock: on one
/// cache line they would slow each other down.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct OwnLines<T>(T);

impl<T> Deref for OwnLines<T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The checkpoint and the state it is to hold.
pub(crate) struct Durable {
    pub(crate) state: State,
    file: Checkpoint,
    /// The state was changed, but could not be written.
    unsaved: bool,
    /// How far the moments in the state were moved with jumps of the log clock.
    shifted: i64,
}

impl Durable {
    /// Bytes of memory the state and the buffers it is encoded in take.
    fn memory_bytes(&self) -> usize {
        self.file.memory_bytes() + self.state.memory_bytes()
    }
}

impl Log {
    /// Opens the log in `dir` with the default options, or creates it: see [`LogOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Log> {
        Log::options().open(dir)
    }

    /// The options to open a log with, at their defaults.
    pub fn options() -> LogOptions {
        LogOptions::default()
    }

    /// The log's identity, made at creation.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.inner.meta.log_id
    }

    /// The directory, from the root.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.env.dir
    }

    /// The first offset that can be read.
    #[must_use]
    pub fn log_start_offset(&self) -> Offset {
        self.inner.log_start_offset()
    }

    /// The offset the next appended record gets.
    #[must_use]
    pub fn log_end_offset(&self) -> Offset {
        self.inner.log_end_offset()
    }

    /// One past the last record that is known to survive a power cut.
    #[must_use]
    pub fn durable_offset(&self) -> Offset {
        self.inner.durable_offset()
    }

    /// What opening the log found and did.
    #[must_use]
    pub fn recovery(&self) -> &RecoveryReport {
        &self.inner.recovery
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir())
            .field("log_start_offset", &self.log_start_offset())
            .field("durable_offset", &self.durable_offset())
            .field("log_end_offset", &self.log_end_offset())
            .finish_non_exhaustive()
    }
}

impl Log {
    /// A number for the device it lies on, as [`Storage`](crate::sys::Storage) has it.
    #[cfg(feature = "replicator")]
    pub(crate) fn hardware(&self) -> Option<u64> {
        self.inner.env.storage.hardware(&self.inner.env.dir)
    }
}

impl Inner {
    pub(crate) fn log_start_offset(&self) -> Offset {
        Offset::new(self.log_start.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn log_end_offset(&self) -> Offset {
        Offset::new(self.end.load(Ordering::Acquire))
    }

    #[inline]
    pub(crate) fn durable_offset(&self) -> Offset {
        Offset::new(self.durable.load(Ordering::Acquire))
    }

    /// The offsets below which records count under a visibility.
    #[inline]
    pub(crate) fn visible_end(&self, visibility: Visibility) -> Offset {
        match visibility {
            Visibility::Written => self.log_end_offset(),
            Visibility::Durable => self.durable_offset(),
        }
    }

    /// What of the options counts now.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.policy.read())
    }

    pub(crate) fn valid_offsets(&self) -> Range<Offset> {
        self.log_start_offset()..self.log_end_offset()
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Whether this is the process that opened the log. In a forked child nobody might ever give
    /// back the locks that were held at the fork: whatever takes one asks before.
    #[inline]
    pub(crate) fn is_own(&self) -> bool {
        self.process.is_current()
    }

    /// Refuses what would have to wait for a thread that a forked child does not have.
    pub(crate) fn check_own(&self) -> Result<()> {
        if self.is_own() { Ok(()) } else { Err(self.closed_error()) }
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closed() || !self.is_own() {
            return Err(self.closed_error());
        }
        Ok(())
    }

    #[cold]
    pub(crate) fn closed_error(&self) -> Error {
        let text = match self.process.is_current() {
            true => "the log was closed",
            false => "the log belongs to the process that forked this one",
        };
        Error::new(ErrorKind::Closed, text).at(&self.env.dir)
    }

    /// Where an offset specification points now. May ask the archive: no lock may be held (I10).
    pub(crate) fn resolve(&self, spec: OffsetSpec) -> Result<Offset> {
        match spec {
            OffsetSpec::At(offset) if offset < self.log_start_offset() => {
                match self.is_archived(offset)? {
                    true => Ok(offset),
                    false => self.resolve_in_log(spec),
                }
            }
            _ => self.resolve_in_log(spec),
        }
    }

    /// Where it points in the log itself.
    pub(crate) fn resolve_in_log(&self, spec: OffsetSpec) -> Result<Offset> {
        let valid = self.valid_offsets();
        match spec {
            OffsetSpec::Earliest => Ok(valid.start),
            OffsetSpec::Latest => Ok(valid.end),
            OffsetSpec::At(offset) if offset >= valid.start && offset <= valid.end => Ok(offset),
            OffsetSpec::At(offset) => Err(self.out_of_range(offset)),
            OffsetSpec::Timestamp(time) => self.first_at(time),
        }
    }

    #[cold]
    pub(crate) fn out_of_range(&self, offset: Offset) -> Error {
        Error::new(ErrorKind::OffsetOutOfRange, "the offset cannot be read")
            .at(&self.env.dir)
            .offset(offset)
            .range(self.valid_offsets())
    }

    /// Changes the small durable state and writes it: no system call when mapped, one when not.
    /// `change` returns whether anything has to be written.
    pub(crate) fn change_state<T>(
        &self,
        change: impl FnOnce(&mut State) -> Result<(T, bool)>,
    ) -> Result<T> {
        self.check_open()?;
        let mut durable = self.checkpoint.lock();
        let Durable { state, file, unsaved, shifted } = &mut *durable;
        // No clock is read for it: who only looks at the state makes no call.
        self.clock.catch_up(state, shifted);
        // Again: a close may just have ended.
        self.check_open()?;
        let (value, changed) = change(state)?;
        if changed || *unsaved {
            *unsaved = true;
            self.clock.write_to(&*self.env.storage, state, shifted);
            let written = fit::write(file, &self.env, state);
            if let (Err(error), true) = (&written, file.has_failed()) {
                self.note_failure(error);
            }
            written?;
            *unsaved = false;
        }
        Ok(value)
    }
}
