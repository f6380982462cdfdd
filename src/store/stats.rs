//! Numbers about an open store.
//!
//! Floor 5. What is known of logs that are not open comes from the store's own accounts: none is
//! opened for a number.

use std::time::Duration;

use serde::Serialize;

use crate::log::wear::Wear;
use crate::store::Store;

/// A look at an open store: see [`Store::stats`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoreStats {
    /// Logs, partitions counted each.
    pub logs: u64,
    /// Of these, open now.
    pub open_logs: u64,
    /// Bytes of disk that all files take, in whole blocks: those of the logs, the store's own, and
    /// what is deleted but still held by batches or readers.
    pub disk_bytes: u64,
    /// Of these, what is deleted but still held.
    pub deleted_held_bytes: u64,
    /// The bound on `disk_bytes`, if there is one.
    pub budget_bytes: Option<u64>,
    /// The file that gives way when a full disk needs room, if it is there.
    pub reserve_bytes: u64,
    /// Bytes that the filesystem has left; `None` where it does not tell.
    pub free_bytes: Option<u64>,
    /// Files that are open: of the store, its open logs, and what these have open.
    pub open_files: u64,
    /// Address space that files are mapped to.
    pub mapped_bytes: u64,
    /// Anonymous memory of the open logs, as [`LogStats::memory_bytes`](crate::LogStats) has it.
    pub memory_bytes: u64,
    /// Records that were dropped for want of room, since the store was created.
    pub records_dropped: u64,
    /// Bytes of their batches.
    pub bytes_dropped: u64,
    /// What was appended, and what the device had to write for it, since the store was created;
    /// of logs that were open at an unclean stop, what came after their last opening is left out.
    pub wear: Wear,
    /// How long the device lasts at the rate since the store was opened, by
    /// [`StoreOptions::rated_endurance_bytes`](crate::StoreOptions::rated_endurance_bytes) less
    /// what the store has written since it was created; `None` without that, or before anything was
    /// written. It knows what this store writes alone: see [`Wear::lifetime`].
    pub lifetime: Option<Duration>,
}

impl Store {
    /// Numbers about the store: for a device's telemetry, or an operator.
    ///
    /// Takes each open log's locks for a moment; asks the filesystem for its free space, and for
    /// nothing else.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?;
    /// let store = forebay::Store::open(tmp.path())?;
    /// store.log("engine")?.append("1013 hPa")?;
    /// let stats = store.stats();
    /// assert_eq!((stats.logs, stats.open_logs), (1, 1));
    /// assert!(stats.disk_bytes > 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn stats(&self) -> StoreStats {
        let inner = &*self.inner;
        if !inner.is_own() {
            return StoreStats::default();
        }
        let open = inner.open_logs();
        let (mut files, mut mapped, mut memory) = (2, 0, 0);
        let (mut wear, mut records_dropped, mut bytes_dropped) = inner.durable.counted();
        for log in &open {
            let held = log.footprint();
            files += held.files;
            mapped += held.mapped;
            memory += log.memory_now().0;
            wear += log.wear();
            let dropped = log.dropped();
            records_dropped += dropped.records;
            bytes_dropped += dropped.bytes;
        }
        let options = inner.options();
        let (opened, before) = inner.durable.since();
        let over = inner.storage.now_mono().saturating_sub(opened);
        let mut since = wear;
        since.device_bytes = wear.device_bytes.saturating_sub(before.device_bytes);
        let left = |rated: u64| since.lifetime(rated.saturating_sub(wear.device_bytes), over);
        StoreStats {
            logs: inner.table.lock().len() as u64,
            open_logs: open.len() as u64,
            disk_bytes: inner.space.used(),
            deleted_held_bytes: inner.space.pinned(),
            budget_bytes: options.budget_bytes,
            reserve_bytes: inner.reserve.held(),
            free_bytes: inner.storage.free_bytes(&inner.dir),
            open_files: files,
            mapped_bytes: mapped,
            memory_bytes: memory,
            records_dropped,
            bytes_dropped,
            wear,
            lifetime: options.rated_endurance_bytes.and_then(left),
        }
    }
}
