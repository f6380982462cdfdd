//! The only floor that touches files, maps, syncs, locks, time and chance; the only unsafe code of
//! the core.
//!
//! Floor 1. Everything above goes through [`Storage`] and [`StorageFile`], which the operating
//! system implements in `os`. The traits are shaped so that a simulated disk can implement them
//! too: every effect is a call, maps are handed out as guarded regions, and time and chance are
//! asked for rather than taken.

mod crc32c;
#[cfg(target_os = "linux")]
mod device;
mod event;
mod map;
mod os;
mod process;
mod published;
#[cfg(feature = "simulation")]
pub mod sim;
pub(crate) mod sync;
#[cfg(test)]
mod tests;
#[cfg(unix)]
mod unix;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::words::time::Timestamp;

pub(crate) use crc32c::crc32c;
pub(crate) use event::Event;
pub(crate) use map::{Map, MapWriter, Pinned};
pub(crate) use os::OsStorage;
#[cfg(feature = "encryption")]
pub(crate) use os::random;
pub(crate) use process::Process;
pub(crate) use published::Published;

/// How a file is opened. A name that leads to anything but a regular file is refused, symbolic
/// links included, without blocking on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    Read,
    ReadWrite,
}

/// What a name in a directory stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FileKind {
    File,
    Dir,
    Other,
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DirEntry {
    /// `None` if the name is not UTF-8; then it is not one of ours.
    pub(crate) name: Option<String>,
    pub(crate) kind: FileKind,
}

/// What a file takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FileSize {
    pub(crate) length: u64,
    /// Bytes of the blocks it was given; the length where the system does not tell.
    pub(crate) allocated: u64,
}

/// What a directory lies on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Medium {
    pub(crate) filesystem: &'static str,
    /// Why files here cannot be written through maps, if they cannot: blocks once reserved have to
    /// stay where they are, and the kernel has to say in an errno what a store would say in a
    /// signal.
    pub(crate) unmappable: Option<&'static str>,
    /// What the device is, if a power cut may take the neighbours of what is being rewritten: flash
    /// behind a simple controller.
    pub(crate) tears: Option<&'static str>,
    /// [`LockedDir::sync_filesystem`] covers what a sync of each file would, and hears of what
    /// could not be written.
    pub(crate) syncs_whole: bool,
    /// In what steps files take room: at least 4096.
    pub(crate) block_bytes: u64,
}

/// Which run of the kernel, which mount and which directory: while all are the same, everything
/// that was ever written there is still in the page cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Residence {
    pub(crate) boot: [u8; 16],
    pub(crate) mount: u64,
    pub(crate) directory: u64,
}

/// A thread of ours.
pub(crate) trait Task: fmt::Debug + Send + Sync {
    /// Waits until it has ended. Called by the thread itself it returns at once.
    fn join(&mut self);
}

/// A directory that is open for writing by this process alone, or shared with others that lock it
/// so. The descriptor that carries the lock syncs the names as well, so that a flush needs no new
/// one.
pub(crate) trait LockedDir: fmt::Debug + Send + Sync {
    /// Makes the directory's names survive a power cut.
    fn sync(&self) -> io::Result<()>;
    /// Makes everything on the directory's filesystem survive a power cut, names too. Where
    /// [`Medium::syncs_whole`] is said, it fails as well if anything there, whoever's it is, could
    /// not be written since the lock was taken or this was last called; or before, if nobody was
    /// told by this call yet.
    fn sync_filesystem(&self) -> io::Result<()>;
    /// Forgets what could not be written before: [`LockedDir::sync_filesystem`] fails from now on
    /// for what happens from now on. To be called while nothing is open that may be lost. Blocks as
    /// long as that call.
    fn forget_failures(&self);
    /// Lets the next opener in; so do drop and the end of the process.
    fn unlock(&self);
}

/// Names, directories, clocks and chance.
pub(crate) trait Storage: fmt::Debug + Send + Sync {
    /// The path from the root, links followed where it exists, so that a later change of the
    /// working directory changes nothing.
    fn absolute(&self, path: &Path) -> io::Result<PathBuf>;
    /// What stands there, or `None`; links at the end are not followed.
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>>;
    fn create_dir(&self, dir: &Path) -> io::Result<()>;
    /// Removes a directory without names in it.
    fn remove_dir(&self, dir: &Path) -> io::Result<()>;
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;
    /// Fails if the name exists.
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>>;
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StorageFile>>;
    /// Replaces `to` if it exists: a file a file, a directory an empty one.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Gives a file a second name on the same filesystem; fails if `to` exists.
    fn link(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// How many names a file has; 1 where the system does not tell.
    fn links(&self, path: &Path) -> io::Result<u64>;
    fn unlink(&self, path: &Path) -> io::Result<()>;
    /// What a file takes, without opening it where the system can.
    fn file_size(&self, path: &Path) -> io::Result<FileSize> {
        let length = self.open(path, Access::Read)?.len()?;
        Ok(FileSize { length, allocated: length })
    }
    /// Makes the directory's names survive a power cut.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;
    /// `None` if someone else holds it, this process included.
    fn lock(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>>;
    /// A lock that many hold at once, and nobody beside [`Storage::lock`]; `None` if someone holds
    /// that, this process included.
    fn lock_shared(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>>;
    fn medium(&self, dir: &Path) -> Medium;
    /// What the filesystem has left for who is not its administrator; `None` where unknown.
    fn free_bytes(&self, dir: &Path) -> Option<u64>;
    /// What was written since the kernel started, by whomever, to the partition or volume that the
    /// directory lies on; `None` where unknown.
    #[allow(dead_code, reason = "for the wear that is not the store's own")]
    fn device_bytes_written(&self, dir: &Path) -> Option<u64>;
    /// A number for the device that the directory lies on and for the board, by what their makers
    /// call them; `None` where nothing is known of either.
    #[cfg(feature = "replicator")]
    fn hardware(&self, dir: &Path) -> Option<u64>;
    /// `None` where the system cannot tell.
    fn residence(&self, dir: &Path) -> Option<Residence>;
    /// Wall clock, to a few milliseconds; may jump both ways and start in 1970.
    fn now_wall(&self) -> Timestamp;
    /// A clock that only rises, to a few milliseconds.
    fn now_mono(&self) -> Duration;
    /// A clock that only rises, also while the device sleeps, and restarts with the kernel.
    fn now_boot(&self) -> Duration;
    /// Whether the kernel knows that the wall clock was set by a source of time.
    fn clock_synchronised(&self) -> bool;
    /// Starts a thread.
    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Task>>;
    /// A thread has slept this long, and nothing woke it: a simulated clock has to move on.
    fn slept(&self, _time: Duration) {}
    /// Lets other threads run.
    fn yield_now(&self);
    /// Lets the calling thread rest for this long.
    fn sleep(&self, time: Duration) {
        sync::thread::sleep(time);
    }
    fn random(&self) -> io::Result<[u8; 16]>;
    /// Counts anew what is counted here, exactly, while others go on; the system counts nothing.
    fn recount(&self) -> io::Result<()> {
        Ok(())
    }
    /// Names mean the same to whatever gives the same number.
    fn realm(&self) -> usize {
        0
    }
}

/// One open file: the same descriptor writes and syncs, for the kernel reports a write-back error
/// once per descriptor.
pub(crate) trait StorageFile: fmt::Debug + Send + Sync {
    fn len(&self) -> io::Result<u64>;
    /// Reads until `into` is full or the file ends; how much was read.
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize>;
    fn write_all_at(&self, position: u64, bytes: &[u8]) -> io::Result<()>;
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Reserves blocks up to `length` and grows the file to it; the new part reads as zeros. After
    /// an error the file may have grown all the same.
    fn allocate(&self, from: u64, length: u64) -> io::Result<()>;
    /// Asks the device to begin writing a range, without waiting for it. No promise: a sync is what
    /// counts, and is shorter afterwards.
    fn start_write_out(&self, from: u64, to: u64);
    /// Makes the content, and the length where it is needed to read it, survive a power cut.
    fn sync_data(&self) -> io::Result<()>;
    /// [`StorageFile::sync_data`] with everything else the file has.
    fn sync_all(&self) -> io::Result<()>;
    /// A map of the first `length` bytes for reading, all of it published.
    fn map_read(&self, length: usize) -> io::Result<Arc<Map>>;
    /// A map of `length` bytes, beyond the file's end if need be, for writing; nothing published.
    fn map_write(&self, length: usize) -> io::Result<MapWriter>;
}
