//! The identity of one log.
//!
//! Floor 0.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The random 128-bit identity a log gets at creation and keeps for life.
///
/// It is written in `log.meta` and in the checkpoint, and it goes into the seal of every batch, so
/// that a batch of another log is never taken for one of this log.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct LogId([u8; 16]);

impl LogId {
    /// Makes an id of its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> LogId {
        LogId(bytes)
    }

    /// The id's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for LogId {
    /// 32 lower-case hexadecimal digits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogId({self})")
    }
}

impl FromStr for LogId {
    type Err = ParseLogIdError;

    fn from_str(text: &str) -> Result<LogId, ParseLogIdError> {
        if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(ParseLogIdError);
        }
        let number = u128::from_str_radix(text, 16).map_err(|_| ParseLogIdError)?;
        Ok(LogId(number.to_be_bytes()))
    }
}

impl Serialize for LogId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The text is not a log id: 32 hexadecimal digits were expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a log id: 32 hexadecimal digits are expected")]
#[non_exhaustive]
pub struct ParseLogIdError;
