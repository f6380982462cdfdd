//! Many logs in one directory: one lock, one flusher, one budget.
//!
//! Floor 5. A log is opened when it is first used, and closed again when others need its place; one
//! that nobody touches costs a name in a table. `table` knows which are open, `durable` what the
//! store's checkpoint says, `room` who gives way when the disk is full, `maintain` what is due.

#[cfg(feature = "toml")]
pub(crate) mod config;
mod delete;
mod durable;
mod helper;
mod live;
pub(crate) mod maintain;
pub(crate) mod names;
mod open;
pub(crate) mod options;
pub(crate) mod partition;
pub(crate) mod partitioned;
mod places;
mod room;
pub(crate) mod stats;
mod table;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;

use crate::disk::reserve::Reserve;
use crate::disk::space::Space;
use crate::log::clock::LogClock;
use crate::log::options::LogOptions;
use crate::log::{Inner, Log};
use crate::store::durable::Durable;
use crate::store::helper::Helper;
use crate::store::names::LogName;
use crate::store::options::StoreOptions;
use crate::store::table::{Slot, Table};
use crate::sys::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sys::sync::{Mutex, RwLock};
use crate::sys::{LockedDir, Medium, Process, Storage};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::log_id::LogId;

/// A directory of logs under one lock, one disk budget and one flusher.
///
/// A handle is cheap to clone and can be used from any thread. [`Store::log`] opens a log when it
/// is first used; the store closes it again when others need its place and nobody holds a handle,
/// reader or consumer of it. So keep handles where appends are frequent, and drop them where tens
/// of thousands of logs take turns. The store stays open as long as a handle of it or of one of its
/// logs is there.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
/// use forebay::{OffsetSpec, Store};
/// let store = Store::open(dir)?;
/// store.log("engine")?.append("1013 hPa")?;
/// store.log("cabin")?.append("21.5 C")?;
/// store.flush()?; // both survive a power cut from here on
/// let names: Vec<_> = store.logs().into_iter().map(|log| log.name).collect();
/// assert_eq!(names, ["cabin", "engine"]);
/// store.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<StoreInner>,
}

/// What all handles of a store share.
pub(crate) struct StoreInner {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    lock: Box<dyn LockedDir>,
    medium: Medium,
    id: LogId,
    options: RwLock<Arc<StoreOptions>>,
    space: Arc<Space>,
    reserve: Arc<Reserve>,
    clock: Arc<LogClock>,
    table: Mutex<Table>,
    durable: Durable,
    helper: Arc<Helper>,
    /// Logs whose close failed, by number, and why: nobody may call them flushed.
    unflushed: Mutex<BTreeMap<u64, String>>,
    /// Counts uses of logs, by which the one used least recently is told.
    tick: AtomicU64,
    closed: AtomicBool,
    closing: Mutex<()>,
    process: Process,
    recovery: StoreRecovery,
}

/// What opening a store found.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct StoreRecovery {
    /// The store did not exist and was created.
    pub created: bool,
    /// The last writer closed it.
    pub clean: bool,
    /// Logs that were open when an unclean stop came, and were measured now.
    pub logs_measured: u64,
    /// Both areas of the checkpoint, or `store.meta`, could not be read: what they said was made
    /// anew, all logs were measured, and the log clock began again, so that nothing is too old.
    pub checkpoint_lost: bool,
    /// Checkpoint slots that could not be read; another one served.
    pub checkpoint_slots_damaged: u64,
    /// `store.meta` was missing or damaged and was written again.
    pub meta_rebuilt: bool,
    /// Deletions of logs that a crash had cut short; ended now.
    pub logs_deleted: u64,
    /// Names in the directory that are neither logs nor the store's; they were left alone.
    pub foreign: Vec<String>,
}

/// A log of a store, as [`Store::logs`] lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct StoreLog {
    /// The name it was created with.
    pub name: String,
    /// The partition; 0 for a log that has no others.
    pub partition: u32,
    /// Whether it is open now.
    pub open: bool,
}

impl Store {
    /// Opens the store in `dir` with the default options, or creates it: see
    /// [`StoreOptions::open`].
    ///
    /// # Errors
    /// As [`StoreOptions::open`].
    pub fn open(dir: impl AsRef<Path>) -> Result<Store> {
        Store::options().open(dir)
    }

    /// The options to open a store with, at their defaults.
    pub fn options() -> StoreOptions {
        StoreOptions::default()
    }

    /// The store's identity, made at creation.
    #[must_use]
    pub fn id(&self) -> LogId {
        self.inner.id
    }

    /// The directory, from the root.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// What opening the store found and did.
    #[must_use]
    pub fn recovery(&self) -> &StoreRecovery {
        &self.inner.recovery
    }

    /// The log of this name, created if it is not there, with the store's options for it. Names are
    /// Kafka's: 1 to 249 of letters, digits, `.`, `_` and `-`; its directory is `<name>-0`.
    ///
    /// A log that is open costs a look into a table; one that is not is opened, for which another
    /// one may be closed: that blocks for its flush.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for another name, or one that differs from
    /// an existing one by case alone; [`OutOfSpace`](ErrorKind::OutOfSpace) if as many logs as
    /// [`StoreOptions::max_open_logs`] are in use: drop handles of some; those of
    /// [`LogOptions::open`]; [`Closed`](ErrorKind::Closed).
    pub fn log(&self, name: &str) -> Result<Log> {
        self.inner.log_of(name, 0, None)
    }

    /// [`Store::log`] with options of its own instead of the store's. Where the log is open
    /// already, they count from now on as by [`Log::set_options`].
    ///
    /// # Errors
    /// As [`Store::log`] and, for a log that is open, [`Log::set_options`].
    pub fn log_with(&self, name: &str, options: LogOptions) -> Result<Log> {
        options.check()?;
        self.inner.log_of(name, 0, Some(options))
    }

    /// The logs there are, by name and partition.
    #[must_use]
    pub fn logs(&self) -> Vec<StoreLog> {
        if !self.inner.is_own() {
            return Vec::new();
        }
        let slots = self.inner.table.lock().all();
        let mut logs: Vec<_> = slots
            .iter()
            .map(|slot| {
                let LogName { name, partition } = slot.log.clone();
                // One that is being opened or closed is in use.
                let open = slot.try_lock().is_none_or(|state| state.usable().is_some());
                StoreLog { name, partition, open }
            })
            .collect();
        logs.sort_by(|a, b| (&a.name, a.partition).cmp(&(&b.name, b.partition)));
        logs
    }

    /// Closes all logs and the store, for all handles: their later calls say
    /// [`Closed`](ErrorKind::Closed). What was appended is durable when it returns; in a log that a
    /// killed process had left, or a close of the store that failed, and that was not opened since,
    /// only what had been flushed by then.
    ///
    /// Dropping the last handle of the store and of its logs does the same, but cannot report an
    /// error. Closing a closed store does nothing.
    ///
    /// # Errors
    /// The first error of closing a log, or that of the store's checkpoint; all are closed all the
    /// same. [`Poisoned`](ErrorKind::Poisoned) if a log was closed for another one before, that
    /// failed, and nobody has opened it since: when it is opened again,
    /// [`Log::recovery`](crate::Log::recovery) and its durable offset say what is there.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

impl StoreInner {
    pub(crate) fn is_own(&self) -> bool {
        self.process.is_current()
    }

    pub(crate) fn check_open(&self) -> Result<()> {
        let text = match (self.closed.load(Ordering::Acquire), self.is_own()) {
            (false, true) => return Ok(()),
            (_, false) => "the store belongs to the process that forked this one",
            (true, true) => "the store was closed",
        };
        Err(Error::new(ErrorKind::Closed, text).at(&self.dir))
    }

    pub(crate) fn options(&self) -> Arc<StoreOptions> {
        Arc::clone(&self.options.read())
    }

    /// A handle of an open log, which keeps the store open too.
    fn handle(self: &Arc<StoreInner>, log: &Arc<Inner>) -> Log {
        Log { inner: Arc::clone(log), _keeper: Some(Arc::clone(self) as _) }
    }

    fn close(&self) -> Result<()> {
        // In a forked child the store is not ours to close, and its locks may be held for ever.
        if !self.is_own() {
            return Ok(());
        }
        let _one_at_a_time = self.closing.lock();
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.helper.stop();
        let mut first = Ok(());
        let slots = self.table.lock().all();
        for slot in slots {
            let mut state = slot.lock();
            let closed = self.leave(&slot, &mut state);
            first = first.and(closed);
        }
        // What somebody holds that is deleted does not stay.
        let own = self.durable.file_bytes() + self.reserve.held();
        let logs = self.space.named().saturating_sub(own);
        let marked = self.durable.close(&self.clock, first.is_ok().then_some(logs));
        self.lock.unlock();
        first.and(marked).and_then(|()| self.check_flushed())
    }
}

impl Drop for StoreInner {
    fn drop(&mut self) {
        // Errors have nobody to go to here; `Store::close` reports them.
        let _ = self.close();
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store")
            .field("dir", &self.inner.dir)
            .field("logs", &self.inner.table.lock().len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for StoreInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreInner").field("dir", &self.dir).finish_non_exhaustive()
    }
}

/// Where a log of the store lies.
fn log_dir(dir: &Path, slot: &Slot) -> PathBuf {
    dir.join(&slot.dir_name)
}
