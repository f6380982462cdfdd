//! What a log in a store has from it: clock, space, a lock, and somebody who helps.
//!
//! Floor 4. The store lies above; a log knows it by what is here.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::metered::Charges;
use crate::disk::reserve::Reserve;
use crate::disk::space::Space;
use crate::log::clock::LogClock;
use crate::sys::{LockedDir, Storage};
use crate::words::error::Result;
use crate::words::log_id::LogId;

/// Does for the logs of a store what none of them can do alone.
pub(crate) trait Keeper: fmt::Debug + Send + Sync {
    /// Whether a thread does what is due.
    fn is_running(&self) -> bool;
    /// A log has something to be done ahead, or in time.
    fn wake(&self, log: u64);
    /// Frees space of the store for a log of this priority, by deleting what logs of the same or a
    /// lower one can spare; whether something was freed. Takes locks of other logs: the caller
    /// holds none.
    fn make_room(&self, log: u64, priority: u8) -> Result<bool>;
}

/// A store, as one of its logs sees it.
#[derive(Clone, Debug)]
pub(crate) struct Host {
    /// The number of the log in its store.
    pub(crate) log: u64,
    pub(crate) store_id: LogId,
    pub(crate) space: Arc<Space>,
    pub(crate) clock: Arc<LogClock>,
    pub(crate) keeper: Arc<dyn Keeper>,
    /// What makes room for the log's upkeep on a full disk.
    pub(crate) reserve: Arc<Reserve>,
    pub(crate) share: Share,
    /// What the log's files take; counted in the space already.
    pub(crate) counted: u64,
    /// Its files that are open still, from when it was open before.
    pub(crate) charges: Arc<Charges>,
}

/// How many sealed segments a log may have open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Share {
    /// For readers.
    pub(crate) sealed: usize,
    /// Because they wait for a flush.
    pub(crate) unsynced: usize,
}

/// A log's directory in a store, whose lock covers it: opened for each sync, so that a log that is
/// open costs no descriptor for it.
#[derive(Debug)]
pub(crate) struct CoveredDir {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
}

impl CoveredDir {
    pub(crate) fn new(storage: Arc<dyn Storage>, dir: PathBuf) -> CoveredDir {
        CoveredDir { storage, dir }
    }
}

impl LockedDir for CoveredDir {
    fn sync(&self) -> io::Result<()> {
        self.storage.sync_dir(&self.dir)
    }

    /// The store does that by its lock: only a descriptor that stays open hears of every failure.
    fn sync_filesystem(&self) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn forget_failures(&self) {}

    fn unlock(&self) {}
}
