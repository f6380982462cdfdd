//! One name, several logs: records of one key go to one of them.
//!
//! Floor 5. Which one is `partition`'s business, and Kafka's.

use std::fmt;
use std::sync::Arc;

use crate::log::Log;
use crate::store::names::LogName;
use crate::store::partition::partition_for_key;
use crate::store::{Store, StoreInner};
use crate::sys::sync::atomic::{AtomicU32, Ordering};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::offset::Offset;
use crate::words::record::NewRecord;

/// The partitions of one name: logs `<name>-0` to `<name>-N`.
///
/// A record with a key goes to the partition that a Kafka producer would choose for it, among as
/// many; records without one take turns. Order holds within a partition.
///
/// # Examples
/// ```
/// # let tmp = tempfile::tempdir()?;
/// use forebay::{NewRecord, Store};
/// let store = Store::open(tmp.path())?;
/// let engines = store.partitioned("engine", 8)?;
/// let (partition, _) = engines.append(NewRecord::new("1013 hPa").key("engine-7"))?;
/// assert_eq!(engines.partition_for_key(b"engine-7"), partition);
/// assert_eq!(engines.log(partition)?.log_end_offset().get(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct PartitionedLog {
    store: Arc<StoreInner>,
    name: String,
    partitions: u32,
    turn: Arc<AtomicU32>,
}

impl Store {
    /// The partitions of this name. None of them is opened or created before it is used; how many
    /// there are is up to the caller, who has to say the same number each time: with another one,
    /// keys go elsewhere.
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) for what is no name, and for no or
    /// more than 100,000 partitions; [`Closed`](crate::ErrorKind::Closed).
    pub fn partitioned(&self, name: &str, partitions: u32) -> Result<PartitionedLog> {
        self.inner.check_open()?;
        if !(1..=limits::PARTITIONS_MAX).contains(&partitions) {
            return Err(Error::invalid(format!(
                "{partitions} partitions, allowed are 1 to {}",
                limits::PARTITIONS_MAX
            )));
        }
        LogName::new(name, partitions - 1)?;
        Ok(PartitionedLog {
            store: Arc::clone(&self.inner),
            name: name.to_owned(),
            partitions,
            turn: Arc::default(),
        })
    }
}

impl PartitionedLog {
    /// The name that all partitions share.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many there are.
    #[must_use]
    pub fn partitions(&self) -> u32 {
        self.partitions
    }

    /// The log of a partition, created if it is not there: see [`Store::log`].
    ///
    /// # Errors
    /// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) if there is no such partition; those
    /// of [`Store::log`].
    pub fn log(&self, partition: u32) -> Result<Log> {
        if partition >= self.partitions {
            return Err(Error::invalid(format!(
                "partition {partition} of '{}', which has {}",
                self.name, self.partitions
            )));
        }
        self.store.log_of(&self.name, partition, None)
    }

    /// The partition that records of a key go to.
    #[must_use]
    pub fn partition_for_key(&self, key: &[u8]) -> u32 {
        partition_for_key(key, self.partitions)
    }

    /// Appends a record to its partition; returns that and the record's offset in it.
    ///
    /// # Errors
    /// Those of [`Store::log`] and [`Log::append`].
    pub fn append<'a>(&self, record: impl Into<NewRecord<'a>>) -> Result<(u32, Offset)> {
        let record = record.into();
        let partition = match &record.key {
            Some(key) => self.partition_for_key(key),
            None => self.turn.fetch_add(1, Ordering::Relaxed) % self.partitions,
        };
        let offset = self.log(partition)?.append(record)?;
        Ok((partition, offset))
    }
}

impl fmt::Debug for PartitionedLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionedLog")
            .field("name", &self.name)
            .field("partitions", &self.partitions)
            .finish_non_exhaustive()
    }
}
