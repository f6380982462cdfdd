//! How a log is compacted: the options.
//!
//! Floor 4.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::log::options::LogOptions;
use crate::words::error::{Error, Result};
use crate::words::limits;

/// What goes from a log to make room: Kafka's `cleanup.policy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Cleanup {
    /// Whole segments from the front, by the retention rules.
    #[default]
    Delete,
    /// Records of which the key has a newer one; the retention rules delete nothing. Every record
    /// needs a key: see [`LogOptions::cleanup`].
    Compact,
    /// Both: superseded records, and whole segments by the retention rules.
    #[serde(rename = "compact,delete")]
    Both,
}

impl Cleanup {
    /// Whether superseded records go.
    #[inline]
    pub(crate) fn compacts(self) -> bool {
        self != Cleanup::Delete
    }

    /// Whether the retention rules delete.
    pub(crate) fn deletes(self) -> bool {
        self != Cleanup::Compact
    }
}

impl LogOptions {
    /// What goes from the log: [`Cleanup::Delete`] unless set (`cleanup_policy`).
    ///
    /// A log that is compacted keeps the newest record of each key, and all records of the active
    /// segment: read from the start it says what is, not all that was. Offsets never change. From
    /// then on a record without a key is refused as
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument), and nothing of its batch is written;
    /// batches of a mirror's source are not looked at. Records without a key that are in the log
    /// already go with the next compaction, as they do in Kafka. A record without a value is a
    /// tombstone: it takes the older ones of its key with it, and goes itself once it is old
    /// enough ([`LogOptions::delete_retention`]).
    ///
    /// When it happens: [`LogOptions::min_cleanable_dirty_percent`], and
    /// [`Log::compact`](crate::Log::compact). A budget leaves room for the copy of one segment
    /// then, so that a log that is full can still be compacted: opening is refused where it has no
    /// room for three segments. Who holds records back with [`LogOptions::hold`] keeps them from
    /// deletion, not from compaction.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let dir = tmp.path();
    /// use forebay::{Cleanup, Log, NewRecord, OffsetSpec};
    /// let log = Log::options().cleanup(Cleanup::Compact).segment_bytes(4096).open(dir)?;
    /// for reading in 0..1000 {
    ///     log.append(NewRecord::new(format!("{reading}")).key("boiler"))?;
    /// }
    /// assert!(log.append("no key").is_err());
    /// log.compact()?; // what the log has not done by itself
    /// let batches = log.reader(OffsetSpec::Earliest)?.collect::<Result<Vec<_>, _>>()?;
    /// let left: usize = batches.iter().map(|batch| batch.len()).sum();
    /// assert!(left < 100, "the newest one, and what is not sealed yet: {left}");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn cleanup(mut self, cleanup: Cleanup) -> LogOptions {
        self.cleanup = cleanup;
        self
    }

    /// How long a tombstone stays in a compacted log, from the compaction on that took what it
    /// deletes; one day unless set (`delete_retention_ms`, Kafka's `delete.retention.ms`). Whoever
    /// reads the log from its start within that time sees the tombstone.
    ///
    /// Measured by the log clock, which no jump of the wall clock moves: a tombstone goes late at
    /// worst, never early. Kafka's delete horizon, which is a time of the wall clock, is in the
    /// batch as well, for Kafka's tools; nothing here goes by it.
    pub fn delete_retention(mut self, age: Duration) -> LogOptions {
        self.delete_retention = age;
        self
    }

    /// How much of a log's sealed bytes may be new since the last compaction before it is compacted
    /// by itself, in per cent, 0 to 100; 50 unless set. Kafka's `min.cleanable.dirty.ratio`.
    ///
    /// Looked at when a segment was sealed and by
    /// [`Log::apply_retention`](crate::Log::apply_retention): by the append that comes next, or by
    /// the thread of [`LogOptions::background`]. A compaction reads every sealed segment and writes
    /// those anew of which records go, so that with 50 per cent the device writes each record about
    /// twice; a lower number keeps the log smaller and writes more.
    pub fn min_cleanable_dirty_percent(mut self, percent: u8) -> LogOptions {
        self.min_cleanable_dirty_percent = percent;
        self
    }

    /// How old a record is at least before a compaction takes it, by the log clock, so that whoever
    /// reads along sees each record; no bound unless set (`min_compaction_lag_ms`, Kafka's
    /// `min.compaction.lag.ms`). A segment is as old as its successor.
    pub fn min_compaction_lag(mut self, age: Duration) -> LogOptions {
        self.min_compaction_lag = age;
        self
    }

    /// The most bytes of memory in which a compaction keeps keys, 64 KiB or more; 32 MiB unless
    /// set, which has room for 700,000 at least. A key takes 30 to 46 bytes, a million 30 to 46 MB,
    /// however long they are, and one whose records are not new none. Where there are more keys,
    /// the log is gone through several times.
    ///
    /// With [`LogOptions::memory_limit_bytes`] it takes no more than half of what that leaves.
    pub fn compaction_memory_bytes(mut self, bytes: usize) -> LogOptions {
        self.compaction_memory_bytes = bytes;
        self
    }

    /// Refuses what cannot work, by name.
    pub(crate) fn check_compaction(&self) -> Result<()> {
        let percent = self.min_cleanable_dirty_percent;
        if percent > 100 {
            let text = format!("min_cleanable_dirty_percent is {percent}, allowed is 0 to 100");
            return Err(Error::invalid(text));
        }
        let least = limits::COMPACTION_MEMORY_BYTES_MIN;
        if self.compaction_memory_bytes < least {
            let found = self.compaction_memory_bytes;
            let text = format!("compaction_memory_bytes is {found}, allowed is {least} or more");
            return Err(Error::invalid(text));
        }
        Ok(())
    }
}
