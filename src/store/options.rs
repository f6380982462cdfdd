//! How a store is opened.
//!
//! Floor 5. Checked whole in [`StoreOptions::open`]; what cannot work is refused by name.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::disk::checkpoint;
use crate::log::bound;
use crate::log::full::least_budget;
use crate::log::host::Share;
use crate::log::options::{IoMode, LogOptions};
use crate::store::Store;
use crate::sys::OsStorage;
use crate::words::error::{Error, Result};
use crate::words::limits;

/// The options of a store; the defaults are for a device with a small disk.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
/// use forebay::{Log, OnFull, Store};
/// let store = Store::options()
///     .budget_bytes(256 << 20)
///     .logs(Log::options().segment_bytes(1 << 20).on_full(OnFull::DropOldest))
///     .open(dir)?;
/// store.log("engine")?.append("1013 hPa")?;
/// store.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[must_use = "options do nothing until they open a store"]
pub struct StoreOptions {
    #[serde(deserialize_with = "bound::deserialize")]
    pub(crate) budget_bytes: Option<u64>,
    pub(crate) reserve_bytes: u64,
    pub(crate) max_open_logs: usize,
    pub(crate) max_open_files: usize,
    pub(crate) max_mapped_bytes: u64,
    #[serde(deserialize_with = "bound::deserialize")]
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) rated_endurance_bytes: Option<u64>,
    pub(crate) background: bool,
    #[serde(skip)]
    pub(crate) logs: LogOptions,
    #[serde(skip)]
    pub(crate) named: BTreeMap<String, LogOptions>,
}

impl Default for StoreOptions {
    fn default() -> StoreOptions {
        StoreOptions {
            budget_bytes: None,
            reserve_bytes: limits::STORE_RESERVE_BYTES_DEFAULT,
            max_open_logs: limits::OPEN_LOGS_DEFAULT,
            max_open_files: limits::OPEN_FILES_DEFAULT,
            max_mapped_bytes: limits::MAPPED_BYTES_DEFAULT,
            memory_limit_bytes: None,
            rated_endurance_bytes: None,
            background: false,
            logs: LogOptions::default(),
            named: BTreeMap::new(),
        }
    }
}

/// The active segment, its checkpoint where it is not mapped, and a segment that is made.
const FILES_OF_A_LOG: usize = 3;

impl StoreOptions {
    /// The most bytes of disk that all files of all logs and of the store itself take together, in
    /// whole blocks, those that are deleted but still read included; no bound unless set. Never
    /// exceeded: an append that finds it used up does what its log's
    /// [`OnFull`](crate::OnFull) says. A log's own `budget_bytes` holds as well.
    pub fn budget_bytes(mut self, bytes: u64) -> StoreOptions {
        self.budget_bytes = Some(bytes);
        self
    }

    /// How much of the disk, and again of the budget, is kept back from records, so that deleting,
    /// committing and the store's own checkpoint find room on a full one; 256 KiB unless set. On
    /// the disk it is a file, `store.reserve`, that goes when the room is needed.
    pub fn reserve_bytes(mut self, bytes: u64) -> StoreOptions {
        self.reserve_bytes = bytes;
        self
    }

    /// Logs that are open at a time, at most; 64 unless set. One more closes the one that was used
    /// least recently of those that nobody holds: a log whose handle, reader or consumer you have
    /// stays open.
    pub fn max_open_logs(mut self, logs: usize) -> StoreOptions {
        self.max_open_logs = logs;
        self
    }

    /// Files that the store and its logs have open at a time, at most; 512 unless set. Each open
    /// log may have an equal part of them, at least 5: its active segment, its checkpoint (only
    /// where files are not mapped), a segment that is being made, and half of the rest each sealed
    /// segments that are read and that wait for a flush. What readers and batches still hold of
    /// segments that were let go comes on top, and a directory during a flush.
    pub fn max_open_files(mut self, files: usize) -> StoreOptions {
        self.max_open_files = files;
        self
    }

    /// Address space that files are mapped to at a time, at most; 16 GiB unless set. An open log
    /// that is mapped counts with `segment_bytes` for each segment it may have open.
    pub fn max_mapped_bytes(mut self, bytes: u64) -> StoreOptions {
        self.max_mapped_bytes = bytes;
        self
    }

    /// Above so many bytes of anonymous memory of all open logs together, as
    /// [`LogStats::memory_bytes`](crate::LogStats::memory_bytes) counts them, those that nobody
    /// holds are closed, least recently used first; no bound unless set. Looked at whenever a log
    /// is opened and by [`Store::maintain`].
    pub fn memory_limit_bytes(mut self, bytes: u64) -> StoreOptions {
        self.memory_limit_bytes = Some(bytes);
        self
    }

    /// How many bytes can be written to the device in its life, by its data sheet (TBW): for the
    /// estimate of what is left in [`StoreStats`](crate::StoreStats); none unless set.
    pub fn rated_endurance_bytes(mut self, bytes: u64) -> StoreOptions {
        self.rated_endurance_bytes = Some(bytes);
        self
    }

    /// Lets one thread do what is due for all logs: flush in time, apply retention, close what was
    /// not used; off unless set. Without it, that is done by whatever call comes next on a log, and
    /// for logs that nobody touches by [`Store::maintain`].
    pub fn background(mut self, on: bool) -> StoreOptions {
        self.background = on;
        self
    }

    /// The options of logs that are given none of their own.
    pub fn logs(mut self, options: LogOptions) -> StoreOptions {
        self.logs = options;
        self
    }

    /// The options of all partitions of one log, whoever opens it.
    pub fn log(mut self, name: impl Into<String>, options: LogOptions) -> StoreOptions {
        self.named.insert(name.into(), options);
        self
    }

    /// Opens the store in `dir`, or creates it.
    ///
    /// Takes as long as listing its directories: no log is opened, whatever a crash left of it.
    /// After an unclean stop the logs that were open then are measured, by a call a file.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if an option cannot work, or `dir` is
    /// a log or a file; [`Locked`](crate::ErrorKind::Locked) if the store, or one of its logs, is
    /// open already; else as [`LogOptions::open`].
    pub fn open(self, dir: impl AsRef<Path>) -> Result<Store> {
        self.check()?;
        Store::open_with(Arc::new(OsStorage), dir.as_ref(), self)
    }

    /// [`StoreOptions::open`] on a simulated disk.
    ///
    /// # Errors
    /// As [`StoreOptions::open`].
    #[cfg(feature = "simulation")]
    pub fn open_on(self, disk: &crate::sys::sim::Disk, dir: impl AsRef<Path>) -> Result<Store> {
        self.check()?;
        let storage: Arc<dyn crate::sys::Storage> = Arc::new(disk.clone());
        Store::open_with(storage, dir.as_ref(), self)
    }

    pub(crate) fn check(&self) -> Result<()> {
        for options in self.named.values().chain([&self.logs]) {
            options.check()?;
        }
        if self.max_open_logs == 0 {
            return Err(Error::invalid("max_open_logs is 0, allowed is 1 or more"));
        }
        let files = self.max_open_logs.saturating_mul(FILES_OF_A_LOG + 2);
        if self.max_open_files < files {
            return Err(Error::invalid(format!(
                "max_open_files is {}, {} open logs need {files}",
                self.max_open_files, self.max_open_logs
            )));
        }
        let mapped = self.mapped_by(&self.logs);
        if self.max_mapped_bytes < mapped {
            return Err(Error::invalid(format!(
                "max_mapped_bytes is {}, one log with segment_bytes {} needs {mapped}",
                self.max_mapped_bytes, self.logs.segment_bytes
            )));
        }
        let least = self.least_budget();
        match self.budget_bytes {
            Some(budget) if budget < least => Err(Error::invalid(format!(
                "budget_bytes is {budget}, a store with one log of segment_bytes {} and \
                 reserve_bytes {} needs {least}",
                self.logs.segment_bytes, self.reserve_bytes
            ))),
            _ => Ok(()),
        }
    }

    /// The least a store can do with: its own files, the reserve twice, and one log.
    fn least_budget(&self) -> u64 {
        let own = checkpoint::least_bytes(false) + limits::BLOCK_BYTES;
        let reserve = self.reserve_bytes.saturating_mul(2);
        own.saturating_add(reserve).saturating_add(least_budget(&self.logs, false))
    }

    /// What one open log may have open.
    pub(crate) fn share(&self) -> Share {
        let each = self.max_open_files / self.max_open_logs.max(1);
        let rest = each.saturating_sub(FILES_OF_A_LOG);
        let sealed = rest.div_ceil(2).clamp(1, limits::OPEN_SEALED_SEGMENTS_MAX);
        let unsynced = rest.saturating_sub(sealed).clamp(1, limits::UNSYNCED_SEGMENTS_MAX);
        Share { sealed, unsynced }
    }

    /// The address space an open log with these options may take.
    pub(crate) fn mapped_by(&self, options: &LogOptions) -> u64 {
        if options.io_mode == IoMode::Positioned {
            return 0;
        }
        let Share { sealed, unsynced } = self.share();
        let segments = (sealed + unsynced + 2) as u64;
        segments.saturating_mul(options.segment_bytes as u64)
    }

    /// The options of a log that is given none by its opener.
    pub(crate) fn of_log(&self, name: &str) -> &LogOptions {
        self.named.get(name).unwrap_or(&self.logs)
    }
}
