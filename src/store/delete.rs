//! Deleting whole logs.
//!
//! Floor 5. A log's directory is renamed, and that synced, before its files go: a crash leaves a
//! whole log or a name that the next open removes.

use std::path::Path;
use std::sync::Arc;

use crate::disk::unlink_if_there;
use crate::log::full::measure;
use crate::store::names::LogName;
use crate::store::{Store, StoreInner, log_dir};
use crate::sys::{FileKind, LockedDir, Storage};
use crate::words::error::{Error, ErrorKind, Result};

impl Store {
    /// Deletes a log with all its partitions, consumers and files, and gives their space back;
    /// whether there was one. Handles of it are closed: their later calls say
    /// [`Closed`](ErrorKind::Closed). Batches that were read stay valid, and keep their space until
    /// they are dropped.
    ///
    /// When it returns, the deletion survives a power cut. Blocks for a few device flushes; works
    /// on a full disk.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) for what is no name;
    /// [`Io`](ErrorKind::Io) and [`ReadOnly`](ErrorKind::ReadOnly) as the system says: then the log
    /// is there, or what is left of it goes at the next open; [`Closed`](ErrorKind::Closed).
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?;
    /// let store = forebay::Store::open(tmp.path())?;
    /// store.log("engine")?.append("1013 hPa")?;
    /// assert!(store.delete_log("engine")?);
    /// assert!(!store.delete_log("engine")?);
    /// assert!(store.logs().is_empty());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_log(&self, name: &str) -> Result<bool> {
        LogName::new(name, 0)?;
        self.inner.check_open()?;
        let slots = self.inner.table.lock().all();
        let mut found = false;
        for slot in slots {
            if slot.log.name == name {
                found |= self.inner.delete(&slot.dir_name)?;
            }
        }
        Ok(found)
    }
}

impl StoreInner {
    fn delete(&self, dir_name: &str) -> Result<bool> {
        let Some(slot) = self.table.lock().get(dir_name) else { return Ok(false) };
        let mut state = slot.lock();
        if state.gone {
            return Ok(false);
        }
        // What it could not make durable is to be deleted anyway.
        let _ = self.leave(&slot, &mut state);
        let dir = log_dir(&self.dir, &slot);
        let bytes = match state.bytes {
            Some(bytes) => bytes,
            None => measure(&*self.storage, &dir).unwrap_or(0),
        };
        let doomed = self.dir.join(doomed_dir_name(dir_name));
        self.finish_earlier(&doomed)?;
        // Before its files go: a stop in between leaves a log that is measured, not one that counts
        // for ever.
        self.durable.enter(dir_name, bytes)?;
        match self.storage.rename(&dir, &doomed) {
            // Somebody removed it from underneath.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            renamed => {
                renamed.map_err(|error| Error::io("cannot rename the log", &dir, error))?;
            }
        }
        state.gone = true;
        self.table.lock().remove(&slot);
        self.unflushed.lock().remove(&slot.number);
        self.sync_names()?;
        remove_doomed(&*self.storage, &doomed)?;
        self.durable.leave(dir_name, 0);
        // What batches and readers have open keeps its space.
        let held = slot.charges.orphan(&self.space);
        self.space.give(bytes.saturating_sub(held));
        Ok(true)
    }

    /// Removes what an earlier deletion of a log of this name has left when it failed.
    fn finish_earlier(&self, doomed: &Path) -> Result<()> {
        let there = self.storage.kind(doomed);
        let there = there.map_err(|error| Error::io("cannot look at a deleted log", doomed, error));
        if there?.is_some() {
            // It may have failed before the name was gone for good.
            self.sync_names()?;
            remove_doomed(&*self.storage, doomed)?;
        }
        Ok(())
    }

    pub(super) fn sync_names(&self) -> Result<()> {
        let synced = self.lock.sync();
        synced.map_err(|error| Error::sync("cannot sync the store's directory", &self.dir, error))
    }
}

/// What a log's directory is called from when its deletion is decided until its files are gone.
fn doomed_dir_name(dir_name: &str) -> String {
    format!("{dir_name}{DOOMED_SUFFIX}")
}

/// Whether a directory of this name is on its way out.
pub(super) fn is_doomed(dir_name: &str) -> bool {
    let of = dir_name.strip_suffix(DOOMED_SUFFIX);
    of.is_some_and(|of| LogName::parse(of).is_some())
}

/// No directory of a log ends so: its name ends with a partition.
const DOOMED_SUFFIX: &str = ".deleted";

/// Removes a directory that was renamed for that, with what lies in it; not what is no file.
pub(super) fn remove_doomed(storage: &dyn Storage, dir: &Path) -> Result<()> {
    let failed = |error| Error::io("cannot remove a deleted log", dir, error);
    if storage.kind(dir).map_err(failed)?.is_none() {
        return Ok(());
    }
    for entry in storage.list(dir).map_err(failed)? {
        let (Some(name), FileKind::File | FileKind::Other) = (entry.name, entry.kind) else {
            let text = "a deleted log holds what is no file; remove it by hand";
            return Err(Error::new(ErrorKind::Io, text).at(dir));
        };
        unlink_if_there(storage, &dir.join(name)).map_err(failed)?;
    }
    storage.remove_dir(dir).map_err(failed)
}

/// At open: ends deletions that a crash has cut short; how many. Whoever renamed them may have died
/// before that was synced: a power cut would bring a log back whose files are gone.
pub(super) fn sweep(
    storage: &Arc<dyn Storage>,
    (dir, lock): (&Path, &dyn LockedDir),
    doomed: &[String],
) -> Result<u64> {
    if !doomed.is_empty() {
        let synced = lock.sync();
        synced.map_err(|error| Error::sync("cannot sync the store's directory", dir, error))?;
    }
    for name in doomed {
        remove_doomed(&**storage, &dir.join(name))?;
    }
    Ok(doomed.len() as u64)
}
