//! Who may have a log's directory: one writer, alone or by its store.
//!
//! Floor 4. A log that is opened alone locks its own directory; where that lies in a store, it
//! keeps the store out as well, and the store keeps it out.

use std::path::{Path, PathBuf};

use crate::disk::{create_dir_synced, names, target};
use crate::sys::{FileKind, LockedDir, Storage};
use crate::words::error::{Error, ErrorKind, Result};

/// A log's directory, locked.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) dir: PathBuf,
    pub(super) lock: Box<dyn LockedDir>,
    /// A share in the lock of the store that it lies in.
    pub(super) store: Option<Box<dyn LockedDir>>,
}

/// The directory, made if it is not there, and its locks.
pub(super) fn lock_alone(storage: &dyn Storage, dir: &Path) -> Result<Door> {
    let looked = |error| Error::io("cannot look at the directory", dir, error);
    let mut dir = storage.absolute(dir).map_err(looked)?;
    if storage.kind(&dir).map_err(looked)?.is_none() {
        create_dir_synced(storage, &dir)?;
        dir = storage.absolute(&dir).map_err(looked)?;
    }
    if storage.kind(&dir).map_err(looked)? != Some(FileKind::Dir) {
        return Err(Error::invalid("a log's directory is expected, this is no directory").at(&dir));
    }
    if is_store(storage, &dir)? {
        let text = "the directory is a store's: open it as one, or open one of its logs";
        return Err(Error::invalid(text).at(&dir));
    }
    let store = lock_store_of(storage, &dir)?;
    let lock = storage
        .lock(&dir)
        .map_err(|error| Error::io("cannot lock the directory", &dir, error))?
        .ok_or_else(|| {
            Error::new(ErrorKind::Locked, "the log is open for writing already").at(&dir)
        })?;
    target::check_finished(storage, &dir)?;
    Ok(Door { dir, lock, store })
}

/// Logs of one store may be opened alone side by side, but not beside the store.
fn lock_store_of(storage: &dyn Storage, dir: &Path) -> Result<Option<Box<dyn LockedDir>>> {
    let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(None);
    };
    if !is_store(storage, parent)? {
        return Ok(None);
    }
    let locked = storage
        .lock_shared(parent)
        .map_err(|error| Error::io("cannot lock the store's directory", parent, error))?;
    let refused = || {
        let text = "the log is part of a store that is open for writing already";
        Error::new(ErrorKind::Locked, text).at(dir)
    };
    locked.map(Some).ok_or_else(refused)
}

fn is_store(storage: &dyn Storage, dir: &Path) -> Result<bool> {
    let path = dir.join(names::STORE_META);
    match storage.kind(&path) {
        Ok(found) => Ok(found == Some(FileKind::File)),
        // A directory above that is closed to us holds no store of ours.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(false),
        Err(error) => Err(Error::io("cannot look for a store", &path, error)),
    }
}
