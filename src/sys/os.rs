//! The operating system behind the storage traits.
//!
//! Floor 1. No policy: each call is one or two system calls.
#![expect(unsafe_code, reason = "implements the unsafe trait `Region` for a mapped file")]

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use memmap2::{MmapOptions, MmapRaw};

use super::map::Region;
use super::sync::thread;
use super::{
    Access, DirEntry, FileKind, FileSize, LockedDir, Map, MapWriter, Medium, Process, Residence,
    Storage, StorageFile, Task,
};
use crate::words::time::Timestamp;

/// The operating system.
#[derive(Debug)]
pub(crate) struct OsStorage;

impl Storage for OsStorage {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        fs::canonicalize(path).or_else(|_| std::path::absolute(path))
    }

    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        match fs::symlink_metadata(path) {
            Ok(found) => Ok(Some(file_kind(found.file_type()))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir(dir)
    }

    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        // What stands for the directory's lock does not count as a name of somebody.
        #[cfg(not(unix))]
        let _ = fs::remove_file(dir.join(LOCK_FILE));
        fs::remove_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        fs::read_dir(dir)?
            .map(|entry| {
                let entry = entry?;
                let kind = file_kind(entry.file_type()?);
                Ok(DirEntry { name: entry.file_name().into_string().ok(), kind })
            })
            .collect()
    }

    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        let file = options(Access::ReadWrite).create_new(true).open(path)?;
        Ok(Arc::new(OsFile { file }))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        let file = options(access).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Arc::new(OsFile { file }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::hard_link(from, to)
    }

    #[cfg(unix)]
    fn links(&self, path: &Path) -> io::Result<u64> {
        Ok(std::os::unix::fs::MetadataExt::nlink(&fs::symlink_metadata(path)?))
    }

    #[cfg(not(unix))]
    fn links(&self, _path: &Path) -> io::Result<u64> {
        Ok(1)
    }

    fn unlink(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn file_size(&self, path: &Path) -> io::Result<FileSize> {
        let found = fs::symlink_metadata(path)?;
        let length = found.len();
        #[cfg(unix)]
        let allocated = std::os::unix::fs::MetadataExt::blocks(&found).saturating_mul(512);
        #[cfg(not(unix))]
        let allocated = length;
        Ok(FileSize { length, allocated })
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    /// Windows has no such call; its filesystems log names themselves.
    #[cfg(not(unix))]
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>> {
        lock_by(dir, File::try_lock)
    }

    fn lock_shared(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>> {
        lock_by(dir, File::try_lock_shared)
    }

    fn medium(&self, dir: &Path) -> Medium {
        #[cfg(unix)]
        return super::unix::medium(dir);
        #[cfg(not(unix))]
        {
            let _ = dir;
            Medium {
                filesystem: "unknown",
                unmappable: Some("the platform is not Linux"),
                tears: None,
                syncs_whole: false,
                block_bytes: 4096,
            }
        }
    }

    #[cfg(unix)]
    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        super::unix::room(dir).map(|room| room.free_bytes)
    }

    #[cfg(not(unix))]
    fn free_bytes(&self, _dir: &Path) -> Option<u64> {
        None
    }

    #[cfg(target_os = "linux")]
    fn device_bytes_written(&self, dir: &Path) -> Option<u64> {
        super::device::bytes_written(dir)
    }

    #[cfg(not(target_os = "linux"))]
    fn device_bytes_written(&self, _dir: &Path) -> Option<u64> {
        None
    }

    #[cfg(all(target_os = "linux", feature = "replicator"))]
    fn hardware(&self, dir: &Path) -> Option<u64> {
        super::device::hardware(dir)
    }

    #[cfg(all(not(target_os = "linux"), feature = "replicator"))]
    fn hardware(&self, _dir: &Path) -> Option<u64> {
        None
    }

    #[cfg(target_os = "linux")]
    fn residence(&self, dir: &Path) -> Option<Residence> {
        super::unix::residence(dir)
    }

    #[cfg(not(target_os = "linux"))]
    fn residence(&self, _dir: &Path) -> Option<Residence> {
        None
    }

    #[inline]
    fn now_wall(&self) -> Timestamp {
        #[cfg(unix)]
        return Timestamp::from_millis(super::unix::wall_millis());
        #[cfg(not(unix))]
        {
            use std::time::SystemTime;
            let millis = match SystemTime::now().duration_since(SystemTime::UNIX_EPOCH) {
                Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
                Err(before) => -i64::try_from(before.duration().as_millis()).unwrap_or(i64::MAX),
            };
            Timestamp::from_millis(millis)
        }
    }

    #[inline]
    fn now_mono(&self) -> Duration {
        #[cfg(unix)]
        return super::unix::mono();
        #[cfg(not(unix))]
        {
            use std::sync::OnceLock;
            use std::time::Instant;
            static START: OnceLock<Instant> = OnceLock::new();
            START.get_or_init(Instant::now).elapsed()
        }
    }

    fn now_boot(&self) -> Duration {
        #[cfg(unix)]
        return super::unix::boot();
        // Not counting sleep only makes ages shorter, never longer.
        #[cfg(not(unix))]
        self.now_mono()
    }

    fn clock_synchronised(&self) -> bool {
        #[cfg(target_os = "linux")]
        return super::unix::clock_synchronised();
        #[cfg(not(target_os = "linux"))]
        false
    }

    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Task>> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run)?;
        Ok(Box::new(OsTask(Some(thread))))
    }

    fn yield_now(&self) {
        thread::yield_now();
    }

    fn random(&self) -> io::Result<[u8; 16]> {
        let mut bytes = [0; 16];
        random(&mut bytes)?;
        Ok(bytes)
    }
}

/// Fills with what nobody can guess. May block early in a device's boot.
pub(crate) fn random(bytes: &mut [u8]) -> io::Result<()> {
    getrandom::fill(bytes).map_err(|error| io::Error::other(error.to_string()))
}

fn file_kind(kind: fs::FileType) -> FileKind {
    if kind.is_file() {
        FileKind::File
    } else if kind.is_dir() {
        FileKind::Dir
    } else {
        FileKind::Other
    }
}

/// A link at the end of the path is refused, and a FIFO or device does not block the open.
fn options(access: Access) -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(access == Access::ReadWrite);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    }
    options
}

fn lock_by(
    dir: &Path,
    lock: fn(&File) -> Result<(), TryLockError>,
) -> io::Result<Option<Box<dyn LockedDir>>> {
    let file = open_for_lock(dir)?;
    match lock(&file) {
        Ok(()) => Ok(Some(Box::new(OsDir { file, process: Process::current() }))),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

/// The directory, or on Windows the file in it, that carries the lock.
struct OsDir {
    file: File,
    process: Process,
}

impl fmt::Debug for OsDir {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OsDir")
    }
}

impl LockedDir for OsDir {
    #[cfg(unix)]
    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    #[cfg(not(unix))]
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn sync_filesystem(&self) -> io::Result<()> {
        #[cfg(target_os = "linux")]
        return super::unix::sync_filesystem(&self.file);
        #[cfg(not(target_os = "linux"))]
        Err(io::ErrorKind::Unsupported.into())
    }

    fn forget_failures(&self) {
        // Nothing short of the call itself takes note of them.
        let _ = self.sync_filesystem();
    }

    fn unlock(&self) {
        // A forked child shares the lock and must not take it from its parent.
        if !self.process.is_current() {
            return;
        }
        // Closing alone would leave the lock to a child that was forked meanwhile, until it runs
        // its program. If this fails, the end of the process frees it.
        let _ = self.file.unlock();
    }
}

impl Drop for OsDir {
    fn drop(&mut self) {
        self.unlock();
    }
}

/// The directory itself carries the lock, so that no name can be removed from under it.
#[cfg(unix)]
fn open_for_lock(dir: &Path) -> io::Result<File> {
    File::open(dir)
}

/// Windows cannot lock a directory; a file in it stands for it.
#[cfg(not(unix))]
fn open_for_lock(dir: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(dir.join(LOCK_FILE))
}

#[cfg(not(unix))]
const LOCK_FILE: &str = "lock";

#[derive(Debug)]
struct OsTask(Option<thread::JoinHandle<()>>);

impl Task for OsTask {
    fn join(&mut self) {
        let Some(thread) = self.0.take() else { return };
        if thread.thread().id() != thread::current().id() {
            // A panic in it was printed by the panic hook already.
            let _ = thread.join();
        }
    }
}

struct OsFile {
    file: File,
}

// Not the file's own, which looks up its path and its mode: much code for what nobody reads.
impl fmt::Debug for OsFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OsFile")
    }
}

impl StorageFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while let Some(rest) = into.get_mut(done..).filter(|rest| !rest.is_empty()) {
            match read_once(&self.file, rest, position + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(done)
    }

    fn write_all_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            match write_once(&self.file, rest, position + done as u64) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn allocate(&self, from: u64, length: u64) -> io::Result<()> {
        #[cfg(unix)]
        return super::unix::allocate(&self.file, from, length);
        #[cfg(not(unix))]
        {
            let _ = (from, length);
            Err(io::ErrorKind::Unsupported.into())
        }
    }

    fn start_write_out(&self, from: u64, to: u64) {
        #[cfg(target_os = "linux")]
        super::unix::start_write_out(&self.file, from, to);
        #[cfg(not(target_os = "linux"))]
        let _ = (from, to);
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn map_read(&self, length: usize) -> io::Result<Arc<Map>> {
        let map = MmapOptions::new().len(length).map_raw_read_only(&self.file)?;
        Ok(Arc::new(Map::new(Box::new(OsRegion { map }), length)))
    }

    fn map_write(&self, length: usize) -> io::Result<MapWriter> {
        let map = MmapOptions::new().len(length).map_raw(&self.file)?;
        Ok(MapWriter::new(Box::new(OsRegion { map }), 0))
    }
}

#[cfg(unix)]
fn read_once(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, into, position)
}

#[cfg(unix)]
fn write_once(file: &File, bytes: &[u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::write_at(file, bytes, position)
}

#[cfg(windows)]
fn read_once(file: &File, into: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, into, position)
}

#[cfg(windows)]
fn write_once(file: &File, bytes: &[u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_write(file, bytes, position)
}

#[derive(Debug)]
struct OsRegion {
    map: MmapRaw,
}

// SAFETY: `MmapRaw` keeps its mapping in place until it is dropped; the file is ours under the
// directory lock, so nothing else stores to it; below the file's length a read faults only if the
// medium itself fails, which `IoMode::Positioned` is for.
unsafe impl Region for OsRegion {
    fn base(&self) -> *mut u8 {
        self.map.as_mut_ptr()
    }

    fn length(&self) -> usize {
        self.map.len()
    }

    #[cfg(target_os = "linux")]
    fn populate(&self, range: Range<usize>) -> io::Result<()> {
        let length = range.end.saturating_sub(range.start);
        self.map.advise_range(memmap2::Advice::PopulateWrite, range.start, length)
    }

    fn sync(&self) -> io::Result<()> {
        self.map.flush()
    }

    /// Linux 5.14; an older one refuses, and each page is brought in when it is touched.
    #[cfg(target_os = "linux")]
    fn read_ahead(&self, range: Range<usize>) {
        let length = range.end.saturating_sub(range.start);
        let _ = self.map.advise_range(memmap2::Advice::PopulateRead, range.start, length);
    }

    /// Without read-ahead the kernel makes its folios one page large.
    #[cfg(target_os = "linux")]
    fn in_small_folios(&self, small: bool) {
        let advice = if small { memmap2::Advice::Random } else { memmap2::Advice::Normal };
        let _ = self.map.advise(advice);
    }

    #[cfg(not(target_os = "linux"))]
    fn populate(&self, _range: Range<usize>) -> io::Result<()> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
