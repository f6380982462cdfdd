//! How the records of a batch are compressed.
//!
//! Floor 0. The codecs are `codec::pack`'s business.

use serde::{Deserialize, Serialize};

use crate::words::error::{Error, ErrorKind, Result};

/// How the records of a batch are compressed. Whoever reads a batch needs its codec built in
/// ([`Compression::is_built_in`]); whoever only carries it, as the replicator, does not.
///
/// # Examples
/// ```
/// use forebay::Compression;
/// assert!(Compression::None.is_built_in());
/// assert_eq!(Compression::Lz4.is_built_in(), cfg!(feature = "lz4"));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// Kafka's codec 1, feature `gzip`: one member of RFC 1952.
    Gzip,
    /// Kafka's codec 2, feature `snappy`: blocks of 32 KiB in the framing of snappy-java.
    Snappy,
    /// Kafka's codec 3, feature `lz4`: one frame of independent blocks.
    Lz4,
    /// Kafka's codec 4, feature `zstd`: one frame of RFC 8878. Brokers before 2.1 do not know it.
    Zstd,
    /// A codec number that Kafka does not know.
    #[serde(skip)]
    Unknown,
}

impl Compression {
    /// Whether this build can compress and decompress by it: each codec is a feature.
    #[must_use]
    pub const fn is_built_in(self) -> bool {
        match self {
            Compression::None => true,
            Compression::Gzip => cfg!(feature = "gzip"),
            Compression::Snappy => cfg!(feature = "snappy"),
            Compression::Lz4 => cfg!(feature = "lz4"),
            Compression::Zstd => cfg!(feature = "zstd"),
            Compression::Unknown => false,
        }
    }

    /// Its name in options, the one that Kafka's `compression.type` has for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Snappy => "snappy",
            Compression::Lz4 => "lz4",
            Compression::Zstd => "zstd",
            Compression::Unknown => "unknown",
        }
    }

    /// By the number that a batch's attributes hold.
    #[inline]
    pub(crate) const fn of_number(number: i16) -> Compression {
        match number {
            0 => Compression::None,
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            _ => Compression::Unknown,
        }
    }

    /// The number that a batch's attributes hold.
    #[inline]
    pub(crate) const fn number(self) -> i16 {
        self as i16
    }

    /// Refuses a codec that is not built in, by name.
    pub(crate) fn check_built_in(self) -> Result<()> {
        if self.is_built_in() {
            return Ok(());
        }
        let text = format!(
            "compression {0} is not built in: build forebay with its feature {0}",
            self.name()
        );
        Err(Error::new(ErrorKind::Unsupported, text))
    }

    /// What a thread that compresses keeps for it, at the codec's own level.
    pub(crate) const fn memory_bytes(self) -> usize {
        match self {
            Compression::None | Compression::Unknown => 0,
            Compression::Gzip | Compression::Snappy | Compression::Lz4 => 512 << 10,
            Compression::Zstd => 2 << 20,
        }
    }

    /// The levels it has, the lowest the fastest; none where there is nothing to choose. Without a
    /// codec a level waits for one.
    pub(crate) const fn levels(self) -> Option<(i32, i32)> {
        match self {
            Compression::Gzip => Some((1, 9)),
            // As Kafka allows them.
            Compression::None | Compression::Zstd => Some((-131_072, 22)),
            _ => None,
        }
    }
}
