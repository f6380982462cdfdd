//! Record time.
//!
//! Floor 0. Where the time comes from is `sys`'s business.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A record's time in milliseconds since 1970-01-01 00:00 UTC, as Kafka counts it.
///
/// Any number is stored and given back as it is: before 1970, far in the future, and
/// [`Timestamp::NONE`] for "no time".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Kafka's mark for a record without a time.
    pub const NONE: Timestamp = Timestamp(-1);

    /// Makes a time of milliseconds since the epoch.
    #[must_use]
    pub const fn from_millis(millis: i64) -> Timestamp {
        Timestamp(millis)
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
