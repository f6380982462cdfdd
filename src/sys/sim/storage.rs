//! The simulated disk behind the storage traits: every call is counted, watched, and may fail.
//!
//! Floor 1.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::content::PAGE;
use super::memory::SimRegion;
use super::names::{Edit, absolute};
use super::state::{EINVAL, Inode, State, errno};
use super::{Call, CallKind, Disk, Ignored, Torn};
use crate::sys::map::{Map, MapWriter};
use crate::sys::os::OsStorage;
use crate::sys::sync::MutexGuard;
use crate::sys::{
    Access, DirEntry, FileKind, FileSize, LockedDir, Medium, Residence, Storage, StorageFile, Task,
};
use crate::words::time::Timestamp;

const EEXIST: i32 = 17;
const EISDIR: i32 = 21;
const EPERM: i32 = 1;
const EMFILE: i32 = 24;
const ENOMEM: i32 = 12;
const ENOSPC: i32 = 28;

fn size(bytes: u64) -> io::Result<usize> {
    usize::try_from(bytes).map_err(|_| errno(EINVAL))
}

impl Disk {
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock()
    }

    /// Counts and announces a call, and says which fault it meets.
    pub(super) fn call(
        &self,
        kind: CallKind,
        path: &Path,
    ) -> (MutexGuard<'_, State>, io::Result<()>) {
        let inside = self.0.watch.is_inside();
        let number = {
            let mut state = self.state();
            let number = state.calls;
            state.calls += u64::from(!inside);
            number
        };
        let call = Call { number, kind, path: path.to_path_buf() };
        if !inside {
            self.0.watch.run(self, &call);
        }
        let mut state = self.state();
        let fault = state.check_faults(&call);
        (state, fault)
    }

    /// A call that meets its fault, if there is one.
    pub(super) fn enter(&self, kind: CallKind, path: &Path) -> io::Result<MutexGuard<'_, State>> {
        let (state, fault) = self.call(kind, path);
        fault.map(|()| state)
    }

    fn open_file(&self, mut state: MutexGuard<'_, State>, inode: u64) -> io::Result<SimFile> {
        state.take_descriptor()?;
        state.inode(inode)?.opens += 1;
        drop(state);
        Ok(SimFile { disk: self.clone(), inode })
    }

    pub(super) fn populate(&self, inode: u64, map: u64, range: Range<usize>) -> io::Result<()> {
        let path = self.path_of(inode);
        self.enter(CallKind::Populate, &path)?.populate(inode, map, range)
    }

    /// A sync of a file, by a descriptor or a map of it.
    pub(super) fn sync_file(&self, inode: u64) -> io::Result<()> {
        let (mut state, fault) = self.call(CallKind::SyncFile, &self.path_of(inode));
        if let Err(error) = fault {
            state.drop_dirty(inode);
            state.note_unwritten(error.raw_os_error().unwrap_or(EINVAL));
            return Err(error);
        }
        if state.ignores_file(inode) {
            return Ok(());
        }
        state.sync(inode)
    }

    pub(super) fn path_of(&self, inode: u64) -> Arc<Path> {
        let mut state = self.state();
        state.inode(inode).map_or_else(|_| Path::new("").into(), |inode| Arc::clone(&inode.path))
    }
}

impl State {
    pub(super) fn check_descriptor(&self) -> io::Result<()> {
        match self.descriptors {
            Some(most) if self.open >= most => Err(errno(EMFILE)),
            _ => Ok(()),
        }
    }

    fn take_descriptor(&mut self) -> io::Result<()> {
        self.check_descriptor()?;
        self.open += 1;
        Ok(())
    }

    /// Ends what [`State::take_descriptor`] began for a file or directory.
    pub(super) fn close(&mut self, number: u64) {
        self.open -= 1;
        if let Ok(inode) = self.inode(number) {
            inode.opens -= 1;
        }
        self.let_go(number);
    }

    pub(super) fn ignores(&self, what: Ignored) -> bool {
        self.ignored.contains(&what) || self.ignored.contains(&Ignored::All)
    }

    /// Whether the device only claims to sync this file.
    pub(super) fn ignores_file(&self, number: u64) -> bool {
        let Some(inode) = self.inodes.get(&number) else { return false };
        let name = inode.path.file_name().unwrap_or_default().to_string_lossy();
        let mapped = inode.maps.iter().any(|map| map.writable);
        let checkpoint = name.trim_start_matches("store.").starts_with("checkpoint");
        let segment = name.ends_with(".log") || name.ends_with(".log.new");
        self.ignores(Ignored::All)
            || mapped && self.ignores(Ignored::Maps)
            || !mapped && segment && self.ignores(Ignored::Segments)
            || checkpoint && self.ignores(Ignored::Checkpoint)
    }

    fn create(&mut self, path: &Path, directory: bool) -> io::Result<u64> {
        let place = self.place(path)?;
        if place.inode.is_some() {
            return Err(errno(EEXIST));
        }
        if !self.is_dir(place.dir) {
            return Err(errno(EINVAL));
        }
        if self.free == Some(0) {
            return Err(errno(ENOSPC));
        }
        let number = self.number();
        let mut inode = Inode::new(directory, &absolute(path));
        // The name below is what adds it.
        inode.links = 0;
        self.inodes.insert(number, inode);
        self.rename(vec![Edit { dir: place.dir, name: place.name, inode: Some(number) }]);
        Ok(number)
    }
}

impl Storage for Disk {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(absolute(path))
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        let state = self.enter(CallKind::Look, path)?;
        match state.place(path) {
            Ok(place) => Ok(place.inode.map(|number| kind(&state, number))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.enter(CallKind::CreateDir, dir)?.create(dir, true).map(drop)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.enter(CallKind::RemoveDir, dir)?.remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.enter(CallKind::List, dir)?;
        state.check_descriptor()?;
        let number = state.dir(dir)?;
        let entries = state.names.list(number).map(|(name, inode)| DirEntry {
            name: Some(name.to_string()),
            kind: kind(&state, inode),
        });
        Ok(entries.collect())
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let mut state = self.enter(CallKind::CreateNew, path)?;
        state.check_descriptor()?;
        let inode = state.create(path, false)?;
        Ok(Arc::new(self.open_file(state, inode)?))
    }

    fn open(&self, path: &Path, _access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let state = self.enter(CallKind::Open, path)?;
        let inode = state.lookup(path)?;
        if state.is_dir(inode) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(self.open_file(state, inode)?))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.enter(CallKind::Rename, to)?.move_name(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.enter(CallKind::Link, to)?;
        let number = state.lookup(from)?;
        let place = state.place(to)?;
        if place.inode.is_some() {
            return Err(errno(EEXIST));
        }
        if state.is_dir(number) {
            return Err(errno(EPERM));
        }
        if !state.is_dir(place.dir) {
            return Err(errno(EINVAL));
        }
        state.rename(vec![Edit { dir: place.dir, name: place.name, inode: Some(number) }]);
        Ok(())
    }

    fn links(&self, path: &Path) -> io::Result<u64> {
        let state = self.state();
        let number = state.lookup(path)?;
        Ok(state.names.all().filter(|&inode| inode == number).count() as u64)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        let mut state = self.enter(CallKind::Unlink, path)?;
        let number = state.lookup(path)?;
        if state.is_dir(number) {
            return Err(errno(EISDIR));
        }
        let place = state.place(path)?;
        state.rename(vec![Edit { dir: place.dir, name: place.name, inode: None }]);
        Ok(())
    }

    fn file_size(&self, path: &Path) -> io::Result<FileSize> {
        let mut state = self.enter(CallKind::Look, path)?;
        let number = state.lookup(path)?;
        let content = &state.inode(number)?.cache;
        Ok(FileSize { length: content.len() as u64, allocated: content.blocks() * PAGE as u64 })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.enter(CallKind::SyncDir, dir)?;
        state.check_descriptor()?;
        let number = state.dir(dir)?;
        state.sync_names_of(number);
        Ok(())
    }

    fn lock(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>> {
        self.lock_dir(dir, false)
    }

    fn lock_shared(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>> {
        self.lock_dir(dir, true)
    }

    fn medium(&self, _dir: &Path) -> Medium {
        let state = self.state();
        let tears = match state.profile.torn {
            Torn::PowerSafe => None,
            Torn::Overwrite { .. } => Some("it is simulated flash behind a simple controller"),
        };
        let unmappable = state.unmappable.then_some("the simulated disk was told so").or(tears);
        let (syncs_whole, block_bytes) = (true, PAGE as u64);
        Medium { filesystem: "simulated", unmappable, tears, syncs_whole, block_bytes }
    }

    fn free_bytes(&self, _dir: &Path) -> Option<u64> {
        self.state().free.map(|blocks| blocks * PAGE as u64)
    }

    fn device_bytes_written(&self, _dir: &Path) -> Option<u64> {
        let state = self.state();
        Some((state.synced_before + state.synced_pages) * PAGE as u64)
    }

    #[cfg(feature = "replicator")]
    fn hardware(&self, _dir: &Path) -> Option<u64> {
        self.state().hardware
    }

    fn residence(&self, dir: &Path) -> Option<Residence> {
        let (state, fault) = self.call(CallKind::Look, dir);
        fault.ok()?;
        let boot = u128::from(state.profile.seed) << 64 | u128::from(state.boot);
        let directory = state.dir(dir).ok()?;
        Some(Residence { boot: boot.to_be_bytes(), mount: state.boot, directory })
    }

    fn now_wall(&self) -> Timestamp {
        Timestamp::from_millis(self.call(CallKind::Clock, Path::new("")).0.clocks.wall_millis)
    }

    fn now_mono(&self) -> Duration {
        self.call(CallKind::Clock, Path::new("")).0.clocks.mono
    }

    fn now_boot(&self) -> Duration {
        self.call(CallKind::Clock, Path::new("")).0.clocks.boot
    }

    fn clock_synchronised(&self) -> bool {
        self.call(CallKind::Clock, Path::new("")).0.clocks.synchronised
    }

    /// A real one: what it does at once with others is not repeatable.
    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Task>> {
        OsStorage.spawn(name, run)
    }

    fn slept(&self, time: Duration) {
        self.advance(time);
    }

    fn yield_now(&self) {
        OsStorage.yield_now();
    }

    fn realm(&self) -> usize {
        Arc::as_ptr(&self.0).addr()
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut state = self.enter(CallKind::Random, Path::new(""))?;
        let (high, low) = (state.chance.next(), state.chance.next());
        Ok((u128::from(high) << 64 | u128::from(low)).to_be_bytes())
    }
}

fn kind(state: &State, number: u64) -> FileKind {
    if state.is_dir(number) { FileKind::Dir } else { FileKind::File }
}

/// An open file.
#[derive(Debug)]
struct SimFile {
    disk: Disk,
    inode: u64,
}

impl SimFile {
    fn enter(&self, kind: CallKind) -> io::Result<MutexGuard<'_, State>> {
        self.disk.enter(kind, &self.disk.path_of(self.inode))
    }

    fn region(&self, kind: CallKind, length: usize) -> io::Result<Box<SimRegion>> {
        let mut state = self.enter(kind)?;
        if state.maps_fail {
            return Err(errno(ENOMEM));
        }
        if length == 0 {
            return Err(errno(EINVAL));
        }
        let (map, memory) = state.map(self.inode, length, kind == CallKind::MapWrite)?;
        drop(state);
        Ok(Box::new(SimRegion { disk: self.disk.clone(), memory, inode: self.inode, map }))
    }
}

impl StorageFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.enter(CallKind::Look)?.inode(self.inode)?.cache.len() as u64)
    }

    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut state = self.enter(CallKind::Read)?;
        Ok(state.inode(self.inode)?.cache.read(size(position)?, into))
    }

    fn write_all_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.enter(CallKind::Write)?.write(self.inode, size(position)?, bytes)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.enter(CallKind::SetLen)?.set_len(self.inode, size(length)?)
    }

    fn allocate(&self, from: u64, length: u64) -> io::Result<()> {
        self.enter(CallKind::Allocate)?.allocate(self.inode, size(from)?..size(length)?)
    }

    /// The pieces stay loose: the device may have them, or not.
    fn start_write_out(&self, _from: u64, _to: u64) {
        let path = self.disk.path_of(self.inode);
        drop(self.disk.call(CallKind::WriteOut, &path));
    }

    fn sync_data(&self) -> io::Result<()> {
        self.disk.sync_file(self.inode)
    }

    fn sync_all(&self) -> io::Result<()> {
        self.disk.sync_file(self.inode)
    }

    fn map_read(&self, length: usize) -> io::Result<Arc<Map>> {
        let region = self.region(CallKind::MapRead, length)?;
        Ok(Arc::new(Map::new(region, length)))
    }

    fn map_write(&self, length: usize) -> io::Result<MapWriter> {
        Ok(MapWriter::new(self.region(CallKind::MapWrite, length)?, 0))
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        self.disk.state().close(self.inode);
    }
}
