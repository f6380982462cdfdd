//! Small text files, a `key=value` a line, so that a person can read them.
//!
//! Floor 3. The first line is the format's number, the last one a CRC-32 of those before it.
//! Written under another name, synced, then renamed: there whole or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::codec::crc::crc32;
use crate::disk::{create_anew, names, read_small};
use crate::sys::{Storage, StorageFile};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;

/// What the line with the checksum begins with.
const CHECKSUM: &str = "crc32=";

/// What one kind of text file says.
pub(crate) trait Text: Sized {
    /// The file's name.
    const FILE: &'static str;
    /// Whose it is, for messages.
    const OF: &'static str;
    /// The format's number that this crate writes.
    const FORMAT: u32;

    /// The lines between the format and the checksum.
    fn lines(&self) -> String;
    /// Reads what [`Text::lines`] wrote; `None` if something is missing.
    fn of_lines(lines: Lines<'_>) -> Option<Self>;
}

/// What was found under the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found<T> {
    Nothing,
    /// There is a file, but not one of ours, or it is damaged.
    Damaged,
    Whole(T),
}

/// The lines of a file.
#[derive(Clone, Copy)]
pub(crate) struct Lines<'a>(&'a str);

impl<'a> Lines<'a> {
    /// What the last line with this key says.
    pub(crate) fn value(self, key: &str) -> Option<&'a str> {
        let pairs = self.0.lines().filter_map(|line| line.split_once('='));
        pairs.filter(|(found, _)| *found == key).map(|(_, value)| value).next_back()
    }
}

pub(crate) fn to_text<T: Text>(what: &T) -> String {
    let mut text = format!("format={}\n{}", T::FORMAT, what.lines());
    let checksum = crc32(text.as_bytes());
    text.push_str(&format!("{CHECKSUM}{checksum:08x}\n"));
    text
}

/// `Ok(None)` if the text is not whole.
pub(crate) fn parse<T: Text>(text: &str) -> Result<Option<T>> {
    let (body, checksum) = match text.rsplit_once(CHECKSUM) {
        Some((body, checksum)) => (body, Some(checksum)),
        None => (text, None),
    };
    let expected = format!("{:08x}\n", crc32(body.as_bytes()));
    if checksum.is_some_and(|found| found != expected) {
        return Ok(None);
    }
    let lines = Lines(body);
    let format = lines.value("format").and_then(|value| value.parse::<u32>().ok());
    if let Some(newer) = format.filter(|&format| format > T::FORMAT) {
        let (of, known) = (T::OF, T::FORMAT);
        return Err(Error::new(
            ErrorKind::UnsupportedFormat,
            format!("the {of} has format {newer}, this version reads up to {known}"),
        ));
    }
    let whole = checksum.is_some() && format == Some(T::FORMAT);
    Ok(if whole { T::of_lines(lines) } else { None })
}

/// Reads the file in a directory.
pub(crate) fn read<T: Text>(storage: &dyn Storage, dir: &Path) -> Result<Found<T>> {
    let path = dir.join(T::FILE);
    let Some(bytes) = read_small(storage, &path, limits::META_BYTES_MAX)? else {
        return Ok(Found::Nothing);
    };
    let what = parse(&String::from_utf8_lossy(&bytes)).map_err(|error| error.at(&path))?;
    Ok(what.map_or(Found::Damaged, Found::Whole))
}

/// Writes the file in a directory, whole or not at all, and syncs it and its name.
pub(crate) fn write<T: Text>(what: &T, storage: &dyn Storage, dir: &Path) -> Result<()> {
    let written = replace_synced(storage, &dir.join(T::FILE), to_text(what).as_bytes(), |_| Ok(()));
    written.map(drop).map_err(|(error, _)| error)
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
