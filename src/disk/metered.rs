//! A storage on which the files of one directory are counted, and bounded, as they grow.
//!
//! Floor 3. Every file operation of a log passes here, so that nothing is forgotten: blocks are
//! taken before a file grows, and given back when it was cut, or when it is unlinked and the last
//! handle and map of it are gone. Files elsewhere pass uncounted.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::disk::names::{self, Part};
use crate::disk::reserve::Reserve;
use crate::disk::space::{Space, Use, blocks};
use crate::sys::sync::Mutex;
use crate::sys::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use crate::sys::{
    Access, DirEntry, FileKind, FileSize, LockedDir, Map, MapWriter, Medium, Residence, Storage,
    StorageFile, Task,
};
use crate::words::limits;
use crate::words::time::Timestamp;

/// The storage of one log.
#[derive(Debug)]
pub(crate) struct Metered {
    storage: Arc<dyn Storage>,
    dir: PathBuf,
    space: Arc<Space>,
    reserve: Option<Arc<Reserve>>,
    charges: Arc<Charges>,
}

/// The files of one directory that are open. They outlive the log that opened them where a batch or
/// a reader does: the next one to open the log, or who deletes it, finds what they take.
#[derive(Debug, Default)]
pub(crate) struct Charges(Mutex<HashMap<PathBuf, Weak<Charge>>>);

/// What one file takes, shared by all who have it open.
#[derive(Debug)]
struct Charge {
    /// Where it counts: the space of who opened the directory last.
    space: Mutex<Arc<Space>>,
    bytes: AtomicU64,
    /// It has its name in the directory still.
    named: AtomicBool,
    purpose: Use,
}

impl Drop for Charge {
    fn drop(&mut self) {
        if !*self.named.get_mut() {
            let space = self.space.get_mut();
            let _moving = space.moving();
            space.give_pinned(*self.bytes.get_mut());
        }
    }
}

impl Charges {
    /// The files have lost their names, and count in this space until they are let go; how much
    /// they take.
    pub(crate) fn orphan(&self, space: &Arc<Space>) -> u64 {
        let open = std::mem::take(&mut *self.0.lock());
        open.into_values().filter_map(|held| held.upgrade()).map(|held| held.unname(space)).sum()
    }
}

impl Charge {
    /// Takes what a file that is to be so long needs more.
    fn grow(&self, length: u64) -> io::Result<()> {
        let (before, wanted) = (self.bytes.load(Ordering::Relaxed), blocks(length));
        if wanted > before {
            let space = self.space.lock();
            let _moving = space.moving();
            space.take(wanted - before, self.purpose)?;
            self.bytes.store(wanted, Ordering::Relaxed);
            if !self.named.load(Ordering::Relaxed) {
                space.pin(wanted - before);
            }
        }
        Ok(())
    }

    /// The file has this length now.
    fn shrink(&self, length: u64) {
        let (before, left) = (self.bytes.load(Ordering::Relaxed), blocks(length));
        if left < before {
            let space = self.space.lock();
            let _moving = space.moving();
            self.bytes.store(left, Ordering::Relaxed);
            match self.named.load(Ordering::Relaxed) {
                true => space.give(before - left),
                false => space.give_pinned(before - left),
            }
        }
    }

    /// The file's name is gone. It counts in this space until it is let go; how much it takes, if
    /// it had one.
    fn unname(&self, space: &Arc<Space>) -> u64 {
        let mut own = self.space.lock();
        if !self.named.swap(false, Ordering::Relaxed) {
            return 0;
        }
        let bytes = self.bytes.load(Ordering::Relaxed);
        *own = Arc::clone(space);
        space.pin(bytes);
        bytes
    }
}

impl Metered {
    pub(crate) fn new(
        storage: Arc<dyn Storage>,
        dir: &Path,
        space: Arc<Space>,
        reserve: Option<Arc<Reserve>>,
        charges: Arc<Charges>,
    ) -> Metered {
        Metered { storage, dir: dir.to_path_buf(), space, reserve, charges }
    }

    fn is_ours(&self, path: &Path) -> bool {
        path.parent() == Some(&*self.dir)
    }

    fn file(&self, path: &Path, file: Arc<dyn StorageFile>) -> io::Result<Arc<dyn StorageFile>> {
        if !self.is_ours(path) {
            return Ok(file);
        }
        let mut open = self.charges.0.lock();
        let known = open.get(path).and_then(Weak::upgrade);
        let charge = match known {
            Some(charge) => {
                *charge.space.lock() = Arc::clone(&self.space);
                charge
            }
            None => {
                let charge = Arc::new(Charge {
                    space: Mutex::new(Arc::clone(&self.space)),
                    bytes: AtomicU64::new(blocks(file.len()?)),
                    named: AtomicBool::new(true),
                    purpose: purpose_of(path),
                });
                if open.len() >= limits::METERED_FILES_SWEPT && open.len() == open.capacity() {
                    open.retain(|_, charge| charge.strong_count() > 0);
                }
                open.insert(path.to_path_buf(), Arc::downgrade(&charge));
                charge
            }
        };
        let reserve = self.reserve.clone().filter(|_| charge.purpose == Use::Upkeep);
        Ok(Arc::new(MeteredFile { file, charge, reserve }))
    }

    /// Carries out what takes the name of `path` from its file, and gives the file's space back, at
    /// once or when the last one who has it open lets go.
    fn without(&self, path: &Path, remove: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        if !self.is_ours(path) {
            return remove();
        }
        let mut open = self.charges.0.lock();
        let charge = open.get(path).and_then(Weak::upgrade);
        let length = match &charge {
            Some(_) => 0,
            None => self.storage.file_size(path).map_or(0, |size| size.length),
        };
        remove()?;
        open.remove(path);
        match charge {
            Some(charge) => {
                charge.unname(&self.space);
            }
            None => self.space.give(blocks(length)),
        }
        Ok(())
    }
}

/// What the space of a file of this name is taken for.
fn purpose_of(path: &Path) -> Use {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let segment = matches!(names::parse_segment_file(name), Some((_, Part::Log)));
    match segment || name == names::SEGMENT_NEXT || name == names::SEGMENT_AHEAD {
        true => Use::Records,
        false if name == names::COMPACTED => Use::Copy,
        false => Use::Upkeep,
    }
}

/// Does it once more with the blocks of the reserve, where the disk has no others.
fn with_reserve<T>(reserve: Option<&Reserve>, run: impl Fn() -> io::Result<T>) -> io::Result<T> {
    match run() {
        Err(error)
            if error.kind() == io::ErrorKind::StorageFull
                && reserve.is_some_and(Reserve::release) =>
        {
            run()
        }
        done => done,
    }
}

impl Storage for Metered {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        self.storage.absolute(path)
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        self.storage.kind(path)
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.storage.create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.storage.remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.storage.list(dir)
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let reserve = self.reserve.as_deref().filter(|_| purpose_of(path) == Use::Upkeep);
        let file = with_reserve(reserve, || self.storage.create_new(path))?;
        self.file(path, file)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        self.file(path, self.storage.open(path, access)?)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.without(to, || self.storage.rename(from, to))?;
        if self.is_ours(to) {
            let mut open = self.charges.0.lock();
            if let Some(charge) = open.remove(from) {
                open.insert(to.to_path_buf(), charge);
            }
        }
        Ok(())
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.storage.link(from, to)
    }

    fn links(&self, path: &Path) -> io::Result<u64> {
        self.storage.links(path)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.without(path, || self.storage.unlink(path))
    }

    fn file_size(&self, path: &Path) -> io::Result<FileSize> {
        self.storage.file_size(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.storage.sync_dir(dir)
    }

    fn lock(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>> {
        self.storage.lock(dir)
    }

    fn lock_shared(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>> {
        self.storage.lock_shared(dir)
    }

    fn medium(&self, dir: &Path) -> Medium {
        self.storage.medium(dir)
    }

    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        self.storage.free_bytes(dir)
    }

    fn device_bytes_written(&self, dir: &Path) -> Option<u64> {
        self.storage.device_bytes_written(dir)
    }

    #[cfg(feature = "replicator")]
    fn hardware(&self, dir: &Path) -> Option<u64> {
        self.storage.hardware(dir)
    }

    fn residence(&self, dir: &Path) -> Option<Residence> {
        self.storage.residence(dir)
    }

    fn now_wall(&self) -> Timestamp {
        self.storage.now_wall()
    }

    fn now_mono(&self) -> Duration {
        self.storage.now_mono()
    }

    fn now_boot(&self) -> Duration {
        self.storage.now_boot()
    }

    fn clock_synchronised(&self) -> bool {
        self.storage.clock_synchronised()
    }

    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Task>> {
        self.storage.spawn(name, run)
    }

    fn slept(&self, time: Duration) {
        self.storage.slept(time);
    }

    fn yield_now(&self) {
        self.storage.yield_now();
    }

    fn sleep(&self, time: Duration) {
        self.storage.sleep(time);
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        self.storage.random()
    }

    /// For a log that is bounded only now: until then it was known what came and went, but not what
    /// was there.
    fn recount(&self) -> io::Result<()> {
        // In this order: no name comes or goes, no file grows.
        let open = self.charges.0.lock();
        let _still = self.space.still();
        let mut bytes = self.space.pinned();
        for entry in self.storage.list(&self.dir)? {
            let (Some(name), FileKind::File) = (entry.name, entry.kind) else { continue };
            let path = self.dir.join(&name);
            // What is taken for an open file, which may be about to grow by it.
            let taken = open.get(&path).and_then(Weak::upgrade);
            let taken = taken.map(|charge| charge.bytes.load(Ordering::Relaxed));
            let size = || self.storage.file_size(&path).unwrap_or_default();
            bytes += match taken {
                Some(taken) => taken,
                None if names::is_ours(&name) => blocks(size().length),
                None => blocks(size().allocated),
            };
        }
        self.space.settle(bytes);
        Ok(())
    }

    fn realm(&self) -> usize {
        self.storage.realm()
    }
}

/// An open file that is counted.
#[derive(Debug)]
struct MeteredFile {
    file: Arc<dyn StorageFile>,
    charge: Arc<Charge>,
    /// Of a file whose upkeep may need it.
    reserve: Option<Arc<Reserve>>,
}

impl MeteredFile {
    /// Lets the file grow to `length`. What fails leaves it as long as it says then.
    fn grow<T>(&self, length: u64, grow: impl Fn() -> io::Result<T>) -> io::Result<T> {
        self.charge.grow(length)?;
        with_reserve(self.reserve.as_deref(), grow).inspect_err(|_| {
            if let Ok(length) = self.file.len() {
                self.charge.shrink(length);
            }
        })
    }
}

impl StorageFile for MeteredFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(position, into)
    }

    fn write_all_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let end = position.saturating_add(bytes.len() as u64);
        self.grow(end, || self.file.write_all_at(position, bytes))
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.grow(length, || self.file.set_len(length))?;
        self.charge.shrink(length);
        Ok(())
    }

    fn allocate(&self, from: u64, length: u64) -> io::Result<()> {
        self.grow(length, || self.file.allocate(from, length))
    }

    fn start_write_out(&self, from: u64, to: u64) {
        self.file.start_write_out(from, to);
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn map_read(&self, length: usize) -> io::Result<Arc<Map>> {
        let map = self.file.map_read(length)?;
        map.keep_alive(Arc::clone(&self.charge) as _);
        Ok(map)
    }

    fn map_write(&self, length: usize) -> io::Result<MapWriter> {
        let map = self.file.map_write(length)?;
        map.map().keep_alive(Arc::clone(&self.charge) as _);
        Ok(map)
    }
}
