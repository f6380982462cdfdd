//! What lies in a log's directory: segments with their indexes, the checkpoint, the meta file; and
//! what a store's has beside its logs.
//!
//! Floor 3. Knows bytes in files; when to roll, flush or delete is decided above.

pub(crate) mod active;
pub(crate) mod aside;
pub(crate) mod checkpoint;
pub(crate) mod index_file;
pub(crate) mod meta;
pub(crate) mod metered;
pub(crate) mod names;
pub(crate) mod pins;
pub(crate) mod reserve;
pub(crate) mod segment;
pub(crate) mod set;
pub(crate) mod slot;
pub(crate) mod space;
pub(crate) mod state;
pub(crate) mod store_meta;
pub(crate) mod store_state;
pub(crate) mod target;
pub(crate) mod text;
pub(crate) mod times;
pub(crate) mod walk;
pub(crate) mod wear;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::seal::Seal;
use crate::disk::wear::Written;
use crate::sys::{Access, FileKind, LockedDir, Storage, StorageFile};
use crate::words::error::{Error, Result};
use crate::words::limits;

/// What every file operation of one log needs to know.
#[derive(Debug)]
pub(crate) struct Env {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) dir: PathBuf,
    /// `None` where files are only looked into.
    pub(crate) names: Option<Box<dyn LockedDir>>,
    pub(crate) seal: Seal,
    /// Files are read and written through maps; else by position.
    pub(crate) mapped: bool,
    pub(crate) segment_bytes: usize,
    pub(crate) index_interval_bytes: usize,
    /// How far around a rewritten sector a power cut may reach; `None` where it may not.
    pub(crate) torn_bytes: Option<usize>,
    /// Memory has a bound: indexes with more entries than the options ask for are not kept.
    pub(crate) memory_bounded: bool,
    /// What was made to go to the device.
    pub(crate) written: Written,
}

impl Env {
    /// Makes the directory's names survive a power cut. A failure has to poison the log (I8).
    pub(crate) fn sync_names(&self) -> Result<()> {
        let synced = self.names.as_ref().map_or(Ok(()), |names| names.sync());
        synced.map_err(|error| Error::sync("cannot sync the directory", &self.dir, error))?;
        self.written.sync(0);
        Ok(())
    }
}

/// Reads a file of at most `max_bytes` whole; `None` if there is none.
pub(crate) fn read_small(
    storage: &dyn Storage,
    path: &Path,
    max_bytes: usize,
) -> Result<Option<Vec<u8>>> {
    match storage.kind(path).map_err(|error| Error::io("cannot look at a file", path, error))? {
        None => return Ok(None),
        Some(FileKind::File) => {}
        Some(_) => return Ok(Some(Vec::new())),
    }
    let read = || -> std::io::Result<Vec<u8>> {
        let file = storage.open(path, Access::Read)?;
        let length = usize::try_from(file.len()?).unwrap_or(usize::MAX).min(max_bytes);
        let mut bytes = vec![0; length];
        let read = file.read_at(0, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    };
    read().map(Some).map_err(|error| Error::io("cannot read a file", path, error))
}

/// Creates a file. A new one instead of the old one's bytes: whatever stands there, a file, a link
/// or a FIFO, goes.
pub(crate) fn create_anew(
    storage: &dyn Storage,
    path: &Path,
) -> std::io::Result<Arc<dyn StorageFile>> {
    match storage.create_new(path) {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            storage.unlink(path)?;
            storage.create_new(path)
        }
        created => created,
    }
}

/// Removes a file that may be gone already.
pub(crate) fn unlink_if_there(storage: &dyn Storage, path: &Path) -> std::io::Result<()> {
    match storage.unlink(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Makes the name of a directory that is there survive a power cut: whoever made it may have died
/// before that (I18). Where the directory above it is closed to us or cannot be synced, we did not
/// make the name.
pub(crate) fn sync_name_of(storage: &dyn Storage, dir: &Path) -> Result<()> {
    use std::io::ErrorKind::{InvalidInput, PermissionDenied, Unsupported};
    let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) else {
        return Ok(());
    };
    match storage.sync_dir(parent) {
        Err(error) if !matches!(error.kind(), InvalidInput | PermissionDenied | Unsupported) => {
            Err(Error::sync("cannot sync the directory", parent, error))
        }
        _ => Ok(()),
    }
}

/// Creates a directory and the missing ones above it, each entry synced.
pub(crate) fn create_dir_synced(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let mut missing = Vec::new();
    let mut level = Some(dir);
    while let Some(path) = level {
        let found = storage
            .kind(path)
            .map_err(|error| Error::io("cannot look at a directory", path, error))?;
        if found.is_some() {
            break;
        }
        missing.push(path);
        level = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    }
    if let Some(found) = level.filter(|_| !missing.is_empty()) {
        sync_name_of(storage, found)?;
    }
    for path in missing.into_iter().rev() {
        match storage.create_dir(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            done => {
                done.map_err(|error| Error::io("cannot create the directory", path, error))?;
            }
        }
        if let Some(parent) = path.parent() {
            storage
                .sync_dir(parent)
                .map_err(|error| Error::sync("cannot sync the directory", parent, error))?;
        }
    }
    Ok(())
}

/// Adds to a list in a report, which is bounded.
pub(crate) fn note<T>(list: &mut Vec<T>, item: T) {
    if list.len() < limits::REPORT_LIST_MAX {
        list.push(item);
    }
}
