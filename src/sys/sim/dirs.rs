//! Directories of the simulated disk that are locked, renamed and removed, and what lies below
//! them.
//!
//! Floor 1.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::content::PAGE;
use super::names::{Edit, absolute};
use super::state::{EINVAL, Inode, ROOT, State, errno};
use super::{CallKind, Disk, Ignored, Names};
use crate::sys::LockedDir;
use crate::sys::sync::atomic::{AtomicU64, Ordering};

const EBUSY: i32 = 16;
const EXDEV: i32 = 18;
const ENOTDIR: i32 = 20;
const EISDIR: i32 = 21;
const ENOTEMPTY: i32 = 39;

/// Who has locked a directory, by the numbers of the locks.
#[derive(Debug)]
pub(super) enum Held {
    Alone(u64),
    /// Never empty.
    Shared(BTreeSet<u64>),
}

impl Disk {
    /// Real bytes of all files below a directory, in blocks of 4 KiB: also of those without a name
    /// that are still open or mapped, which count where their last name was. What is on the device
    /// alone, since a name or a cut end is not synced yet, does not count, as on a real machine.
    ///
    /// May be called inside the hook of [`Disk::watch`].
    ///
    /// # Examples
    /// A directory never takes more than it is allowed to, at any call:
    /// ```
    /// use forebay::{Log, simulation::{Disk, Profile}};
    /// let disk = Disk::new(Profile::default());
    /// let log = Log::options().segment_bytes(64 << 10).open_on(&disk, "/store/log")?;
    /// disk.watch(|disk, _| assert!(disk.used_bytes("/store") <= 256 << 10));
    /// for _ in 0..100 {
    ///     log.append("21.5 C")?;
    /// }
    /// # Ok::<(), forebay::Error>(())
    /// ```
    #[must_use]
    pub fn used_bytes(&self, dir: impl AsRef<Path>) -> u64 {
        let dir = absolute(dir.as_ref());
        let state = self.state();
        let mut below = BTreeSet::new();
        let mut waiting: Vec<u64> = state.dir(&dir).into_iter().collect();
        while let Some(number) = waiting.pop() {
            let found = state.names.list(number).map(|(_, inode)| inode);
            waiting.extend(found.filter(|&inode| below.insert(inode) && state.is_dir(inode)));
        }
        let counts = |number: &u64, inode: &Inode| {
            !inode.gone
                && (below.contains(number) || inode.links == 0 && inode.path.starts_with(&dir))
        };
        let all = state.inodes.iter().filter(|(number, inode)| counts(number, inode));
        all.map(|(_, inode)| inode.cache.blocks() * PAGE as u64).sum()
    }

    pub(super) fn lock_dir(
        &self,
        dir: &Path,
        shared: bool,
    ) -> io::Result<Option<Box<dyn LockedDir>>> {
        let mut state = self.enter(CallKind::Lock, dir)?;
        let number = state.dir(dir)?;
        state.check_descriptor()?;
        let Some(lock) = state.take_lock(number, shared) else { return Ok(None) };
        state.open += 1;
        state.inode(number)?.opens += 1;
        let told = AtomicU64::new(state.unwritten_told);
        Ok(Some(Box::new(SimDir { disk: self.clone(), inode: number, lock, told })))
    }
}

impl State {
    fn take_lock(&mut self, dir: u64, shared: bool) -> Option<u64> {
        if self.locks.get(&dir).is_some_and(|held| !shared || matches!(held, Held::Alone(_))) {
            return None;
        }
        let lock = self.number();
        match self.locks.get_mut(&dir) {
            Some(Held::Shared(locks)) => {
                locks.insert(lock);
            }
            _ => {
                let held = if shared { Held::Shared([lock].into()) } else { Held::Alone(lock) };
                self.locks.insert(dir, held);
            }
        }
        Some(lock)
    }

    /// Lets go of a lock, once: the next opener may hold the directory already.
    fn give_lock(&mut self, dir: u64, lock: u64) {
        let free = match self.locks.get_mut(&dir) {
            Some(Held::Alone(held)) => *held == lock,
            Some(Held::Shared(locks)) => locks.remove(&lock) && locks.is_empty(),
            None => false,
        };
        if free {
            self.locks.remove(&dir);
        }
    }

    /// Makes the names of a directory reach the device.
    pub(super) fn sync_names_of(&mut self, dir: u64) {
        if !self.ignores(Ignored::Directories) {
            let journal = self.profile.names == Names::Journal;
            self.settle_names(|edit| journal || edit.dir == dir);
        }
    }

    /// Makes all that is loose reach the device, and says of what failed since `told`.
    fn sync_whole(&mut self, told: &AtomicU64) -> io::Result<()> {
        let dirty = self.inodes.iter().filter(|(_, inode)| !inode.dirty.is_empty());
        let mut all: BTreeSet<u64> = dirty.map(|(number, _)| *number).collect();
        all.extend(self.loose_files());
        for number in all {
            // The names that go with a file's sync may have let go of the next one.
            if self.inodes.contains_key(&number) && !self.ignores_file(number) {
                self.sync(number)?;
            }
        }
        if !self.ignores(Ignored::Directories) {
            self.settle_names(|_| true);
        }
        let (count, code) = self.unwritten;
        self.unwritten_told = count;
        if told.swap(count, Ordering::Relaxed) == count { Ok(()) } else { Err(errno(code)) }
    }

    fn loose_files(&self) -> BTreeSet<u64> {
        self.changes.iter().filter_map(|change| change.inode()).collect()
    }

    pub(super) fn move_name(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let number = self.lookup(from)?;
        let (from, target) = (self.place(from)?, self.place(to)?);
        if number == ROOT || target.inode == Some(ROOT) {
            return Err(errno(EBUSY));
        }
        if from.dir != target.dir {
            return Err(errno(EXDEV));
        }
        if target.inode == Some(number) {
            return Ok(());
        }
        if let Some(replaced) = target.inode {
            match (self.is_dir(number), self.is_dir(replaced)) {
                (false, true) => return Err(errno(EISDIR)),
                (true, false) => return Err(errno(ENOTDIR)),
                (true, true) => self.check_empty(replaced)?,
                (false, false) => {}
            }
        }
        self.rename(vec![
            Edit { dir: target.dir, name: target.name, inode: Some(number) },
            Edit { dir: from.dir, name: from.name, inode: None },
        ]);
        let (old, new) = (Arc::clone(&self.inode(number)?.path), absolute(to));
        if !self.is_dir(number) {
            self.inode(number)?.path = new.into();
            return Ok(());
        }
        for inode in self.inodes.values_mut() {
            let Ok(below) = inode.path.strip_prefix(&old) else { continue };
            // By parts: to join nothing would add a slash.
            let path: std::path::PathBuf = new.components().chain(below.components()).collect();
            inode.path = path.into();
        }
        Ok(())
    }

    pub(super) fn remove_dir(&mut self, dir: &Path) -> io::Result<()> {
        let number = self.dir(dir)?;
        if number == ROOT {
            return Err(errno(EBUSY));
        }
        self.check_empty(number)?;
        let place = self.place(dir)?;
        self.rename(vec![Edit { dir: place.dir, name: place.name, inode: None }]);
        Ok(())
    }

    fn check_empty(&self, dir: u64) -> io::Result<()> {
        if self.names.list(dir).next().is_some() { Err(errno(ENOTEMPTY)) } else { Ok(()) }
    }
}

/// A locked directory, which is open like a file: it follows the directory, not its name.
#[derive(Debug)]
struct SimDir {
    disk: Disk,
    inode: u64,
    /// Which lock: another one may be held by the next opener already.
    lock: u64,
    /// Of how many failures to write it was told, or somebody before it was locked.
    told: AtomicU64,
}

impl LockedDir for SimDir {
    fn sync(&self) -> io::Result<()> {
        let path = self.disk.path_of(self.inode);
        self.disk.enter(CallKind::SyncDir, &path)?.sync_names_of(self.inode);
        Ok(())
    }

    fn sync_filesystem(&self) -> io::Result<()> {
        let path = self.disk.path_of(self.inode);
        let (mut state, fault) = self.disk.call(CallKind::SyncFilesystem, &path);
        match fault {
            Ok(()) => state.sync_whole(&self.told),
            Err(error) => {
                state.loose_files().into_iter().for_each(|number| state.drop_dirty(number));
                // The one who asked is told now, all others when they ask.
                state.note_unwritten(error.raw_os_error().unwrap_or(EINVAL));
                state.unwritten_told = state.unwritten.0;
                self.told.store(state.unwritten.0, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Settles nothing: on a real machine that is but a side of it.
    fn forget_failures(&self) {
        let mut state = self.disk.state();
        state.unwritten_told = state.unwritten.0;
        self.told.store(state.unwritten.0, Ordering::Relaxed);
    }

    fn unlock(&self) {
        self.disk.state().give_lock(self.inode, self.lock);
    }
}

impl Drop for SimDir {
    fn drop(&mut self) {
        self.unlock();
        self.disk.state().close(self.inode);
    }
}
