//! The offset: the logical number of a record.
//!
//! Floor 0. Never a place in a file; that is a position.

use std::fmt;
use std::ops::{Add, Sub};

use serde::{Deserialize, Serialize};

/// The logical number of a record: assigned once at append, one higher than its predecessor's.
///
/// Offsets are Kafka's: signed 64-bit, from 0 upwards. A negative one is never assigned; handed to
/// a call it is answered with [`ErrorKind::OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange).
///
/// # Examples
/// ```
/// use forebay::Offset;
/// let first = Offset::new(41);
/// assert_eq!((first + 1).get(), 42);
/// assert_eq!(Offset::new(50) - first, 9);
/// ```
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Offset(i64);

impl Offset {
    /// The first offset of a new log.
    pub const ZERO: Offset = Offset(0);
    /// The highest offset there is; a log ends there.
    pub const MAX: Offset = Offset(i64::MAX);

    /// Makes an offset of its number.
    #[must_use]
    pub const fn new(number: i64) -> Offset {
        Offset(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The offset `records` further up, or `None` beyond the highest one.
    #[must_use]
    pub const fn checked_add(self, records: i64) -> Option<Offset> {
        match self.0.checked_add(records) {
            Some(number) => Some(Offset(number)),
            None => None,
        }
    }
}

impl Add<i64> for Offset {
    type Output = Offset;
    /// Stays at the highest offset instead of overflowing.
    fn add(self, records: i64) -> Offset {
        Offset(self.0.saturating_add(records))
    }
}

impl Sub for Offset {
    type Output = i64;
    /// How many records lie between two offsets.
    fn sub(self, other: Offset) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

impl From<i64> for Offset {
    fn from(number: i64) -> Offset {
        Offset(number)
    }
}

impl From<Offset> for i64 {
    fn from(offset: Offset) -> i64 {
        offset.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
