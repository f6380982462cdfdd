//! What a log keeps, and what it does when there is no room: the options that can change while it
//! is open.
//!
//! Floor 4. `retention` and `full` act by them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::log::compaction::options::Cleanup;
use crate::log::options::{LogOptions, millis};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::name::check_name;

/// What an append does when the budget or the disk is full.
///
/// Whatever the policy, what a retention rule has expired is given back first, and so is what every
/// consumer of a [`Hold`] has committed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OnFull {
    /// Refuses it as [`OutOfSpace`](crate::ErrorKind::OutOfSpace). The log is as before, and the
    /// next append works once there is room.
    #[default]
    Reject,
    /// Deletes the oldest sealed segment, whoever has not read it, and counts what was dropped.
    DropOldest,
    /// Waits this long for retention, consumers or somebody else to make room, and refuses then.
    #[serde(rename = "block_ms", with = "millis")]
    Block(Duration),
}

/// Which consumers keep retention from deleting what they have not committed.
///
/// What is deleted for a commit is deleted once that commit is on the device, so that no power cut
/// takes back what deletion was decided by. A consumer holds from the moment it is created; the
/// name of one that does not exist holds nothing. A name that no consumer can have is refused, by
/// [`InvalidArgument`](crate::ErrorKind::InvalidArgument) with the name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Hold {
    /// None: retention goes by size, age and number alone.
    #[default]
    Nobody,
    /// Each of these: what all of them have committed is free to go.
    Each(Vec<String>),
    /// Every consumer and replicator that the log knows.
    Everyone,
    /// Any of these: what one of them has committed is free to go, as with several uplinks of which
    /// one is enough.
    Any(Vec<String>),
}

impl Hold {
    /// Whether it is about a consumer of this name.
    pub(crate) fn counts(&self, name: &str) -> bool {
        match self {
            Hold::Nobody => false,
            Hold::Everyone => true,
            Hold::Each(names) | Hold::Any(names) => names.iter().any(|named| named == name),
        }
    }
}

/// What of the options can be changed while the log is open, as it is now; the flush policy apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Policy {
    pub(crate) retention_bytes: Option<u64>,
    pub(crate) retention_age: Option<Duration>,
    pub(crate) retention_records: Option<u64>,
    pub(crate) hold: Hold,
    pub(crate) hold_limit_bytes: Option<u64>,
    pub(crate) hold_lag_records: Option<u64>,
    pub(crate) budget_bytes: Option<u64>,
    pub(crate) on_full: OnFull,
    pub(crate) priority: u8,
    pub(crate) thin_keep_one_in: Option<u32>,
    pub(crate) segment_age: Duration,
    pub(crate) cleanup: Cleanup,
    pub(crate) delete_retention: Duration,
    pub(crate) min_cleanable_dirty_percent: u8,
    pub(crate) min_compaction_lag: Duration,
}

impl Policy {
    /// Whether any rule asks for segments to go.
    pub(crate) fn retains(&self) -> bool {
        self.retention_bytes.is_some()
            || self.retention_age.is_some()
            || self.retention_records.is_some()
    }

    pub(crate) fn of(options: &LogOptions) -> Policy {
        let deletes = options.cleanup.deletes();
        Policy {
            retention_bytes: options.retention_bytes.filter(|_| deletes),
            retention_age: options.retention_age.filter(|_| deletes),
            retention_records: options.retention_records.filter(|_| deletes),
            hold: options.hold.clone(),
            hold_limit_bytes: options.hold_limit_bytes,
            hold_lag_records: options.hold_lag_records,
            budget_bytes: options.budget_bytes,
            on_full: options.on_full,
            priority: options.priority,
            thin_keep_one_in: options.thin_keep_one_in,
            segment_age: options.segment_age,
            cleanup: options.cleanup,
            delete_retention: options.delete_retention,
            min_cleanable_dirty_percent: options.min_cleanable_dirty_percent,
            min_compaction_lag: options.min_compaction_lag,
        }
    }
}

impl LogOptions {
    /// Keeps at least so many bytes of batches: the oldest sealed segments go as long as what stays
    /// behind them is as large; no bound unless set. Kafka's `retention.bytes`: a log is up to a
    /// segment larger, and up to two before an append that rolls returns. For a bound that is never
    /// exceeded see [`LogOptions::budget_bytes`]. When rules are followed:
    /// [`Log::apply_retention`](crate::Log::apply_retention).
    pub fn retention_bytes(mut self, bytes: u64) -> LogOptions {
        self.retention_bytes = Some(bytes);
        self
    }

    /// Deletes sealed segments once their youngest record is this old by the log clock, which no
    /// jump of the wall clock moves; no bound unless set (`retention_ms`). What times the records
    /// carry does not matter. An active segment is sealed by the next call that looks at it once
    /// its oldest record is this old, so that a record is deleted when it is up to twice as old.
    ///
    /// A segment is as old as its successor. Of that moment the last 128 rolls are known exactly;
    /// where they are more, some segments count for younger than they are.
    pub fn retention_age(mut self, age: Duration) -> LogOptions {
        self.retention_age = Some(age);
        self
    }

    /// Keeps at least so many of the newest records, counted by their offsets; sealed segments
    /// below them go; no bound unless set.
    pub fn retention_records(mut self, records: u64) -> LogOptions {
        self.retention_records = Some(records);
        self
    }

    /// Which consumers keep retention from deleting what they have not committed;
    /// [`Hold::Nobody`] unless set. It does not bind [`OnFull::DropOldest`] and
    /// [`Log::delete_records`](crate::Log::delete_records).
    pub fn hold(mut self, hold: Hold) -> LogOptions {
        self.hold = hold;
        self
    }

    /// A hold protects no more than the newest so many bytes of batches: sealed segments that lie
    /// wholly before them follow the retention rules again, whoever holds them; no bound unless
    /// set.
    pub fn hold_limit_bytes(mut self, bytes: u64) -> LogOptions {
        self.hold_limit_bytes = Some(bytes);
        self
    }

    /// A consumer holds no more than so many records before the log end: one that lags further
    /// holds the newest ones of them only; no bound unless set.
    pub fn hold_lag_records(mut self, records: u64) -> LogOptions {
        self.hold_lag_records = Some(records);
        self
    }

    /// The most bytes of disk that all files of the log take together, in whole blocks, those that
    /// are deleted but still read included; no bound unless set. Never exceeded: what an append
    /// does when it is used up is up to [`LogOptions::on_full`]. A part is kept back for the
    /// checkpoint, so that deleting and committing always work.
    ///
    /// Opening is refused where it leaves no room for two segments: the one that is appended to and
    /// its successor.
    pub fn budget_bytes(mut self, bytes: u64) -> LogOptions {
        self.budget_bytes = Some(bytes);
        self
    }

    /// What an append does when the budget or the disk is full; [`OnFull::Reject`] unless set.
    pub fn on_full(mut self, policy: OnFull) -> LogOptions {
        self.on_full = policy;
        self
    }

    /// In a store whose budget is used up: of the logs with [`OnFull::DropOldest`], those with the
    /// lowest number lose their oldest segments first, and none loses any for one of a lower
    /// number; 100 unless set.
    pub fn priority(mut self, priority: u8) -> LogOptions {
        self.priority = priority;
        self
    }

    /// With [`OnFull::DropOldest`]: thins the older half of the log before anything is dropped
    /// whole, so that of its sealed segments one in so many stays, 2 or more; off unless set.
    ///
    /// One segment at a time, as room is needed: the older half is what comes first of the bytes
    /// there are then. Of a segment that goes an empty batch stays that stands over its offsets, in
    /// a file of 61 bytes: readers pass over it, and a consumer counts what it missed.
    pub fn thin_keep_one_in(mut self, segments: u32) -> LogOptions {
        self.thin_keep_one_in = Some(segments);
        self
    }

    /// Whether records go by their age.
    pub(crate) fn ages(&self) -> bool {
        self.retention_age.is_some() && self.cleanup.deletes()
    }

    /// Refuses what cannot work, by name.
    pub(crate) fn check_policy(&self) -> Result<()> {
        let zero = |what: &str| Err(Error::invalid(format!("{what} is 0, allowed is 1 or more")));
        if self.retention_age.is_some_and(|age| age < Duration::from_millis(1)) {
            return zero("retention_ms");
        }
        if self.retention_records == Some(0) {
            return zero("retention_records");
        }
        if self.hold_lag_records == Some(0) {
            return zero("hold_lag_records");
        }
        if let Some(n @ (0 | 1)) = self.thin_keep_one_in {
            return Err(Error::invalid(format!("thin_keep_one_in is {n}, allowed is 2 or more")));
        }
        let named = match &self.hold {
            Hold::Each(names) | Hold::Any(names) => Some(names),
            Hold::Nobody | Hold::Everyone => None,
        };
        // A name that no consumer can have would hold everything, or nothing, for ever.
        if let Some(error) =
            named.and_then(|names| names.iter().find_map(|name| check_name("consumer", name).err()))
        {
            return Err(Error::invalid(format!("hold: {}", error.what_failed())));
        }
        match named {
            Some(names) if names.is_empty() => {
                Err(Error::invalid("hold names no consumer; nobody says that"))
            }
            Some(names) if names.len() > limits::CONSUMERS_MAX => Err(Error::invalid(format!(
                "hold names {} consumers, a log has room for {}",
                names.len(),
                limits::CONSUMERS_MAX
            ))),
            _ => Ok(()),
        }
    }
}
