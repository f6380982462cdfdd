//! Opens a store: its lock, what its two small files say, and the names of its logs.
//!
//! Floor 5. No log is opened here. What a log takes is known for all of them together; those that
//! may have changed before an unclean stop are measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::reserve::Reserve;
use crate::disk::space::{Level, Space};
use crate::disk::{create_dir_synced, names as files, note};
use crate::log::clock::LogClock;
use crate::log::full::measure;
use crate::store::durable::{Durable, Found};
use crate::store::helper::Helper;
use crate::store::names::LogName;
use crate::store::options::StoreOptions;
use crate::store::table::Table;
use crate::store::{Store, StoreInner, StoreRecovery, delete};
use crate::sys::sync::atomic::{AtomicBool, AtomicU64};
use crate::sys::sync::{Mutex, RwLock};
use crate::sys::{Access, FileKind, LockedDir, Medium, Process, Storage};
use crate::words::error::{Error, ErrorKind, Result};

/// What lies in a store's directory.
#[derive(Debug, Default)]
struct Listing {
    /// Directories of logs.
    logs: Vec<LogName>,
    /// Directories of logs that were being deleted.
    doomed: Vec<String>,
    /// Files that were being made.
    unfinished: Vec<String>,
}

impl Store {
    pub(super) fn open_with(
        storage: Arc<dyn Storage>,
        dir: &Path,
        options: StoreOptions,
    ) -> Result<Store> {
        let (dir, lock) = lock_store(&*storage, dir)?;
        let mut recovery = StoreRecovery::default();
        let listing = list(&*storage, &dir, &mut recovery)?;
        let medium = storage.medium(&dir);
        if medium.syncs_whole {
            // What somebody could not write before is no failure of this store.
            lock.forget_failures();
        }
        let is_new = listing.logs.is_empty();
        let found = Durable::load(&storage, &dir, &medium, is_new, &mut recovery)?;
        for name in &listing.unfinished {
            // Best effort: they are made anew under the same names.
            let _ = storage.unlink(&dir.join(name));
        }
        recovery.logs_deleted = delete::sweep(&storage, (&dir, &*lock), &listing.doomed)?;
        let residence = storage.residence(&dir);
        let clock =
            LogClock::resume(&*storage, (found.state.clock, found.state.residence), residence);
        let space = Arc::new(Space::new(Level::Store, None));
        let place = (&*dir, &medium, &*lock);
        let logs = measure_logs(&*storage, place, &found, &listing.logs, &mut recovery)?;
        let path = dir.join(files::STORE_RESERVE);
        let raw = Arc::clone(&storage);
        let reserve = Reserve::new(raw, path, Arc::clone(&space), options.reserve_bytes);
        let reserve = Arc::new(reserve);
        let id = found.state.store_id;
        let (place, room) = ((&*dir, &medium), (&space, &reserve));
        let durable = Durable::open(&storage, place, room, found, logs, &clock)?;
        let own = durable.file_bytes() + reserve.held();
        space.settle(logs + own);
        space.set_limit(options.budget_bytes, options.reserve_bytes);
        // Where there is no room for it now, maintenance tries again.
        let _ = reserve.fill();
        let mut table = Table::default();
        for name in &listing.logs {
            table.add(name.clone());
        }
        let background = options.background;
        let inner = Arc::new(StoreInner {
            storage,
            dir,
            lock,
            medium,
            id,
            options: RwLock::new(Arc::new(options)),
            space,
            reserve,
            clock: Arc::new(clock),
            table: Mutex::new(table),
            durable,
            helper: Arc::new(Helper::default()),
            unflushed: Mutex::default(),
            tick: AtomicU64::new(1),
            closed: AtomicBool::new(false),
            closing: Mutex::new(()),
            process: Process::current(),
            recovery,
        });
        inner.helper.belongs_to(&inner);
        if background {
            inner.helper.start(&inner)?;
        }
        Ok(Store { inner })
    }
}

/// The directory, made if it is not there, and its lock; refused if it is a log's.
fn lock_store(storage: &dyn Storage, dir: &Path) -> Result<(PathBuf, Box<dyn LockedDir>)> {
    let looked = |error| Error::io("cannot look at the directory", dir, error);
    let mut dir = storage.absolute(dir).map_err(looked)?;
    if storage.kind(&dir).map_err(looked)?.is_none() {
        create_dir_synced(storage, &dir)?;
        dir = storage.absolute(&dir).map_err(looked)?;
    }
    if storage.kind(&dir).map_err(looked)? != Some(FileKind::Dir) {
        let text = "a store's directory is expected, this is no directory";
        return Err(Error::invalid(text).at(&dir));
    }
    let lock = storage
        .lock(&dir)
        .map_err(|error| Error::io("cannot lock the directory", &dir, error))?
        .ok_or_else(|| {
            let text = "the store, or one of its logs, is open for writing already";
            Error::new(ErrorKind::Locked, text).at(&dir)
        })?;
    Ok((dir, lock))
}

fn list(storage: &dyn Storage, dir: &Path, recovery: &mut StoreRecovery) -> Result<Listing> {
    let entries = storage.list(dir);
    let entries = entries.map_err(|error| Error::io("cannot list the directory", dir, error))?;
    let mut listing = Listing::default();
    for entry in entries {
        let name = entry.name.unwrap_or_else(|| "(a name that is not UTF-8)".to_owned());
        let (is_dir, regular) = (entry.kind == FileKind::Dir, entry.kind == FileKind::File);
        if is_dir && delete::is_doomed(&name) {
            listing.doomed.push(name);
        } else if let Some(log) = LogName::parse(&name).filter(|_| is_dir) {
            listing.logs.push(log);
        } else if name == files::META || files::parse_segment_file(&name).is_some() {
            let text = "the directory is a log's: open it as a log, or its parent as a store";
            return Err(Error::invalid(text).at(dir));
        } else if regular && files::is_stores(&name) {
            if name.ends_with(files::NEW_SUFFIX) {
                listing.unfinished.push(name);
            }
        } else if files::is_stores(&name) {
            let text = "something lies where the store keeps a file; move it away";
            return Err(Error::invalid(text).at(&dir.join(name)));
        } else {
            note(&mut recovery.foreign, name);
        }
    }
    Ok(listing)
}

/// What all logs take: by the checkpoint, and for those that may have changed since by measuring.
fn measure_logs(
    storage: &dyn Storage,
    (dir, medium, lock): (&Path, &Medium, &dyn LockedDir),
    found: &Found,
    logs: &[LogName],
    recovery: &mut StoreRecovery,
) -> Result<u64> {
    let state = &found.state;
    let all = state.everything_changed || recovery.checkpoint_lost;
    let mut bytes = if all { 0 } else { state.closed_bytes };
    let changing = match all {
        true => logs.iter().map(LogName::dir_name).collect(),
        false => state.changing.clone(),
    };
    let mut measured = Vec::new();
    for name in changing {
        let log = dir.join(name);
        let kind = storage
            .kind(&log)
            .map_err(|error| Error::io("cannot look at the directory of a log", &log, error))?;
        if kind == Some(FileKind::Dir) {
            bytes += measure(storage, &log)?;
            recovery.logs_measured += 1;
            measured.push(log);
        }
    }
    match measured.is_empty() {
        true => {}
        false if medium.syncs_whole => lock
            .sync_filesystem()
            .map_err(|error| Error::sync("cannot sync the filesystem", dir, error))?,
        false => measured.iter().try_for_each(|log| settle(storage, log))?,
    }
    Ok(bytes)
}

/// Makes what was measured what a power cut leaves: the process that died may have removed and cut
/// what nobody synced.
fn settle(storage: &dyn Storage, log: &Path) -> Result<()> {
    let sync = || {
        for entry in storage.list(log)? {
            if let (Some(name), FileKind::File) = (entry.name, entry.kind) {
                storage.open(&log.join(name), Access::Read)?.sync_all()?;
            }
        }
        storage.sync_dir(log)
    };
    sync().map_err(|error| Error::sync("cannot sync what a stopped process left", log, error))
}
