//! `log.meta`: a log's identity, written once at creation.
//!
//! Floor 3. Text, a `key=value` a line, so that a person can read it; the last line is a CRC-32 of
//! those before it. Written under another name, synced, then renamed: there whole or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::codec::crc::crc32;
use crate::disk::{create_anew, names, read_small};
use crate::sys::{Storage, StorageFile};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::log_id::LogId;

/// The format version this crate writes.
const FORMAT: u32 = 1;

/// What the line with the checksum begins with.
const CHECKSUM: &str = "crc32=";

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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Nothing,
    /// There is a file, but not one of ours, or it is damaged.
    Damaged,
    Whole(Meta),
}

impl Meta {
    fn to_text(self) -> String {
        let seal = if self.seal { "on" } else { "off" };
        let mut text = format!("format={FORMAT}\nlog_id={}\nseal={seal}\n", self.log_id);
        if let Some(source) = self.source {
            text.push_str(&format!("source={source}\n"));
        }
        if let Some(store) = self.store {
            text.push_str(&format!("store={store}\n"));
        }
        let checksum = crc32(text.as_bytes());
        text.push_str(&format!("{CHECKSUM}{checksum:08x}\n"));
        text
    }

    /// `Ok(None)` if the text is not whole.
    fn parse(text: &str) -> Result<Option<Meta>> {
        let (body, checksum) = match text.rsplit_once(CHECKSUM) {
            Some((body, checksum)) => (body, Some(checksum)),
            None => (text, None),
        };
        let expected = format!("{:08x}\n", crc32(body.as_bytes()));
        if checksum.is_some_and(|found| found != expected) {
            return Ok(None);
        }
        let (mut format, mut log_id, mut seal) = (None, None, None);
        let (mut source, mut store) = (None, None);
        for line in body.lines() {
            match line.split_once('=') {
                Some(("format", value)) => format = value.parse::<u32>().ok(),
                Some(("log_id", value)) => log_id = value.parse().ok(),
                Some(("seal", value)) => seal = Some(value == "on"),
                Some(("source", value)) => source = value.parse().ok(),
                Some(("store", value)) => store = value.parse().ok(),
                _ => {}
            }
        }
        if let Some(newer) = format.filter(|&format| format > FORMAT) {
            return Err(Error::new(
                ErrorKind::UnsupportedFormat,
                format!("the log has format {newer}, this version reads up to {FORMAT}"),
            ));
        }
        let whole = checksum.is_some() && format == Some(FORMAT);
        Ok(match (log_id, seal) {
            (Some(log_id), Some(seal)) if whole => Some(Meta { log_id, seal, source, store }),
            _ => None,
        })
    }

    /// Reads the file.
    pub(crate) fn read(storage: &dyn Storage, dir: &Path) -> Result<Found> {
        let path = dir.join(names::META);
        let Some(bytes) = read_small(storage, &path, limits::META_BYTES_MAX)? else {
            return Ok(Found::Nothing);
        };
        let text = String::from_utf8_lossy(&bytes);
        let meta = Meta::parse(&text).map_err(|error| error.at(&path))?;
        Ok(meta.map_or(Found::Damaged, Found::Whole))
    }

    /// Writes the file, whole or not at all, and syncs it and its name.
    pub(crate) fn write(&self, storage: &dyn Storage, dir: &Path) -> Result<()> {
        let path = dir.join(names::META);
        let written = replace_synced(storage, &path, self.to_text().as_bytes(), |_| Ok(()));
        written.map(drop).map_err(|(error, _)| error)
    }
}

/// Writes a file under another name, syncs it, lets `prepare` have it, renames it and syncs the
/// directory. Before the rename an error leaves the old file as it was. The second part of the
/// error says that a sync failed, or that the old file is gone: then nobody may try again (I8).
pub(crate) fn replace_synced<T>(
    storage: &dyn Storage,
    path: &Path,
    bytes: &[u8],
    prepare: impl FnOnce(&Arc<dyn StorageFile>) -> io::Result<T>,
) -> std::result::Result<(Arc<dyn StorageFile>, T), (Error, bool)> {
    let mut new = path.as_os_str().to_owned();
    new.push(names::NEW_SUFFIX);
    let new = Path::new(&new);
    let write = || -> io::Result<Arc<dyn StorageFile>> {
        let file = create_anew(storage, new)?;
        file.write_all_at(0, bytes)?;
        Ok(file)
    };
    let failed = |error| (Error::io("cannot write a file", path, error), false);
    let name = |file: Arc<dyn StorageFile>| {
        file.sync_all().map_err(|error| (Error::sync("cannot sync a file", path, error), true))?;
        let prepared = prepare(&file).map_err(failed)?;
        storage.rename(new, path).map_err(failed)?;
        Ok((file, prepared))
    };
    let written = write().map_err(failed).and_then(name).inspect_err(|_| {
        // Best effort: what is left is removed at the next open as well.
        let _ = storage.unlink(new);
    })?;
    match path.parent().map_or(Ok(()), |dir| storage.sync_dir(dir)) {
        Ok(()) => Ok(written),
        Err(error) => Err((Error::sync("cannot sync the name of a file", path, error), true)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn meta_reads_back_what_it_wrote_and_nothing_less() {
        let meta = Meta {
            log_id: LogId::from_bytes([7; 16]),
            seal: true,
            source: Some(LogId::from_bytes([9; 16])),
            store: Some(LogId::from_bytes([11; 16])),
        };
        let text = meta.to_text();
        assert_eq!(Meta::parse(&text).unwrap(), Some(meta));
        for cut in 0..text.len() {
            assert_eq!(Meta::parse(&text[..cut]).unwrap(), None, "{cut}");
        }
        for byte in 0..text.len() {
            let mut flipped = text.clone().into_bytes();
            flipped[byte] ^= 1;
            let flipped = String::from_utf8(flipped).unwrap();
            assert!(!matches!(Meta::parse(&flipped), Ok(Some(_))), "{byte}");
        }
        // A later format is refused, whatever it does about a checksum.
        let newer = Meta::parse("format=2\nlog_id=x\n").unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::UnsupportedFormat);
    }
}
