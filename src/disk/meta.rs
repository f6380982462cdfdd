//! `log.meta`: a log's identity, written once at creation.
//!
//! Floor 3.

use std::path::Path;

use crate::disk::names;
use crate::disk::text::{self, Lines, Text};
use crate::sys::Storage;
use crate::words::error::Result;
use crate::words::log_id::LogId;

/// What `log.meta` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Meta {
    pub(crate) log_id: LogId,
    /// Whether batches carry the seal.
    pub(crate) seal: bool,
    /// The log this one is a mirror of.
    pub(crate) source: Option<LogId>,
    /// The store by whose clock the log's ages are kept. The checkpoint does not repeat it.
    pub(crate) store: Option<LogId>,
}

/// What was found under the name.
pub(crate) type Found = text::Found<Meta>;

impl Text for Meta {
    const FILE: &'static str = names::META;
    const OF: &'static str = "log";
    const FORMAT: u32 = 1;

    fn lines(&self) -> String {
        let seal = if self.seal { "on" } else { "off" };
        let mut text = format!("log_id={}\nseal={seal}\n", self.log_id);
        for (key, id) in [("source", self.source), ("store", self.store)] {
            if let Some(id) = id {
                text.push_str(&format!("{key}={id}\n"));
            }
        }
        text
    }

    fn of_lines(lines: Lines<'_>) -> Option<Meta> {
        let id = |key| lines.value(key).and_then(|value| value.parse().ok());
        let seal = lines.value("seal")? == "on";
        Some(Meta { log_id: id("log_id")?, seal, source: id("source"), store: id("store") })
    }
}

impl Meta {
    /// Reads the file.
    pub(crate) fn read(storage: &dyn Storage, dir: &Path) -> Result<Found> {
        text::read(storage, dir)
    }

    /// Writes the file, whole or not at all, and syncs it and its name.
    pub(crate) fn write(&self, storage: &dyn Storage, dir: &Path) -> Result<()> {
        text::write(self, storage, dir)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::text::{parse, to_text};
    use crate::words::error::ErrorKind;

    #[test]
    fn meta_reads_back_what_it_wrote_and_nothing_less() {
        let meta = Meta {
            log_id: LogId::from_bytes([7; 16]),
            seal: true,
            source: Some(LogId::from_bytes([9; 16])),
            store: Some(LogId::from_bytes([11; 16])),
        };
        let text = to_text(&meta);
        assert_eq!(parse::<Meta>(&text).unwrap(), Some(meta));
        for cut in 0..text.len() {
            assert_eq!(parse::<Meta>(&text[..cut]).unwrap(), None, "{cut}");
        }
        for byte in 0..text.len() {
            let mut flipped = text.clone().into_bytes();
            flipped[byte] ^= 1;
            let flipped = String::from_utf8(flipped).unwrap();
            assert!(!matches!(parse::<Meta>(&flipped), Ok(Some(_))), "{byte}");
        }
        // A later format is refused, whatever it does about a checksum.
        let newer = parse::<Meta>("format=2\nlog_id=x\n").unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::UnsupportedFormat);
    }
}
