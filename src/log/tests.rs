//! Floor 4's tests: the log on a storage that refuses what it is told to and remembers the order
//! of what it did.

mod delete;
mod ending;
mod flush;
mod found;
mod recovery;
mod snapshot;

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::open::open_on;
use super::{Log, OffsetSpec};
use crate::log::options::{FlushPolicy, IoMode, LogOptions};
use crate::sys::{
    Access, DirEntry, FileKind, LockedDir, Map, MapWriter, Medium, OsStorage, Residence, Storage,
    StorageFile, Task,
};
use crate::words::error::{ErrorKind, Result};
use crate::words::offset::Offset;
use crate::words::time::Timestamp;

/// What was done, and what is to be refused, with which errno.
#[derive(Debug, Default)]
struct Script {
    calls: Vec<(&'static str, String)>,
    refused: HashMap<&'static str, i32>,
    /// So many calls pass before one is refused with this errno.
    refused_after: Option<(usize, i32)>,
    /// No file is reserved beyond this: a disk with so much left.
    largest_file: Option<u64>,
    /// Why a power cut may take more of the medium than what is being written.
    tears: Option<&'static str>,
    /// How often a thread let others go first.
    yields: usize,
    /// Syncs of the active segment wait while it is locked by the test.
    gate: Arc<Mutex<()>>,
    /// The paths of the files that were opened; renaming changes them.
    paths: Vec<Arc<Mutex<PathBuf>>>,
}

#[derive(Clone, Debug, Default)]
struct Scripted(Arc<Mutex<Script>>);

impl Scripted {
    fn refuse(&self, call: &'static str, errno: i32) {
        self.0.lock().refused.insert(call, errno);
    }

    fn allow_all(&self) {
        self.0.lock().refused.clear();
    }

    fn take_calls(&self) -> Vec<(&'static str, String)> {
        std::mem::take(&mut self.0.lock().calls)
    }

    fn on(&self, call: &'static str, path: &Path) -> io::Result<()> {
        let mut script = self.0.lock();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        script.calls.push((call, name));
        let one = match script.refused_after.take() {
            Some((0, errno)) => Some(errno),
            Some((more, errno)) => {
                script.refused_after = Some((more - 1, errno));
                None
            }
            None => None,
        };
        match one.or(script.refused.get(call).copied()) {
            Some(errno) => Err(io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }

    fn file(&self, path: &Path, file: Arc<dyn StorageFile>) -> Arc<dyn StorageFile> {
        let path = Arc::new(Mutex::new(path.to_path_buf()));
        self.0.lock().paths.push(Arc::clone(&path));
        Arc::new(ScriptedFile { file, path, script: self.clone() })
    }

    fn locked(&self, dir: &Path, names: Box<dyn LockedDir>) -> Box<dyn LockedDir> {
        Box::new(ScriptedDir { names, path: dir.to_path_buf(), script: self.clone() })
    }
}

impl Storage for Scripted {
    fn absolute(&self, path: &Path) -> io::Result<PathBuf> {
        OsStorage.absolute(path)
    }
    fn kind(&self, path: &Path) -> io::Result<Option<FileKind>> {
        OsStorage.kind(path)
    }
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.on("create_dir", dir)?;
        OsStorage.create_dir(dir)
    }
    fn remove_dir(&self, dir: &Path) -> io::Result<()> {
        self.on("remove_dir", dir)?;
        OsStorage.remove_dir(dir)
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        OsStorage.list(dir)
    }
    fn create_new(&self, path: &Path) -> io::Result<Arc<dyn StorageFile>> {
        self.on("create_new", path)?;
        Ok(self.file(path, OsStorage.create_new(path)?))
    }
    fn open(&self, path: &Path, access: Access) -> io::Result<Arc<dyn StorageFile>> {
        Ok(self.file(path, OsStorage.open(path, access)?))
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.on("rename", to)?;
        OsStorage.rename(from, to)?;
        for path in &self.0.lock().paths {
            let mut path = path.lock();
            if let Ok(below) = path.strip_prefix(from) {
                let whole = to.components().chain(below.components()).collect();
                *path = whole;
            }
        }
        Ok(())
    }
    fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.on("link", to)?;
        OsStorage.link(from, to)
    }
    fn links(&self, path: &Path) -> io::Result<u64> {
        OsStorage.links(path)
    }
    fn unlink(&self, path: &Path) -> io::Result<()> {
        self.on("unlink", path)?;
        OsStorage.unlink(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.on("sync_dir", dir)?;
        OsStorage.sync_dir(dir)
    }
    fn lock(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>> {
        Ok(OsStorage.lock(dir)?.map(|names| self.locked(dir, names)))
    }
    fn lock_shared(&self, dir: &Path) -> io::Result<Option<Box<dyn LockedDir>>> {
        Ok(OsStorage.lock_shared(dir)?.map(|names| self.locked(dir, names)))
    }
    fn medium(&self, dir: &Path) -> Medium {
        let medium = OsStorage.medium(dir);
        match self.0.lock().tears {
            None => medium,
            tears => Medium { tears, unmappable: None, ..medium },
        }
    }
    fn free_bytes(&self, dir: &Path) -> Option<u64> {
        OsStorage.free_bytes(dir)
    }
    fn device_bytes_written(&self, dir: &Path) -> Option<u64> {
        OsStorage.device_bytes_written(dir)
    }
    fn now_wall(&self) -> Timestamp {
        OsStorage.now_wall()
    }
    fn now_mono(&self) -> Duration {
        OsStorage.now_mono()
    }
    #[cfg(feature = "replicator")]
    fn hardware(&self, dir: &Path) -> Option<u64> {
        OsStorage.hardware(dir)
    }

    fn residence(&self, dir: &Path) -> Option<Residence> {
        OsStorage.residence(dir)
    }
    fn now_boot(&self) -> Duration {
        OsStorage.now_boot()
    }
    fn clock_synchronised(&self) -> bool {
        OsStorage.clock_synchronised()
    }
    fn spawn(&self, name: &str, run: Box<dyn FnOnce() + Send>) -> io::Result<Box<dyn Task>> {
        OsStorage.spawn(name, run)
    }
    fn yield_now(&self) {
        self.0.lock().yields += 1;
    }
    fn random(&self) -> io::Result<[u8; 16]> {
        OsStorage.random()
    }
}

#[derive(Debug)]
struct ScriptedDir {
    names: Box<dyn LockedDir>,
    path: PathBuf,
    script: Scripted,
}

impl LockedDir for ScriptedDir {
    fn sync(&self) -> io::Result<()> {
        self.script.on("sync_dir", &self.path)?;
        self.names.sync()
    }
    fn sync_filesystem(&self) -> io::Result<()> {
        self.script.on("sync_filesystem", &self.path)?;
        self.names.sync_filesystem()
    }
    fn forget_failures(&self) {
        self.names.forget_failures();
    }
    fn unlock(&self) {
        self.names.unlock();
    }
}

#[derive(Debug)]
struct ScriptedFile {
    file: Arc<dyn StorageFile>,
    path: Arc<Mutex<PathBuf>>,
    script: Scripted,
}

impl StorageFile for ScriptedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
    fn read_at(&self, position: u64, into: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(position, into)
    }
    fn write_all_at(&self, position: u64, bytes: &[u8]) -> io::Result<()> {
        self.script.on("write", &self.path.lock())?;
        self.file.write_all_at(position, bytes)
    }
    fn set_len(&self, length: u64) -> io::Result<()> {
        self.script.on("set_len", &self.path.lock())?;
        self.file.set_len(length)
    }
    fn allocate(&self, from: u64, length: u64) -> io::Result<()> {
        self.script.on("allocate", &self.path.lock())?;
        if self.script.0.lock().largest_file.is_some_and(|largest| length > largest) {
            return Err(io::Error::from_raw_os_error(ENOSPC));
        }
        self.file.allocate(from, length)
    }
    fn start_write_out(&self, from: u64, to: u64) {
        self.file.start_write_out(from, to);
    }
    fn sync_data(&self) -> io::Result<()> {
        let gate = Arc::clone(&self.script.0.lock().gate);
        drop(gate.lock());
        self.script.on("sync", &self.path.lock())?;
        self.file.sync_data()
    }
    fn sync_all(&self) -> io::Result<()> {
        self.script.on("sync", &self.path.lock())?;
        self.file.sync_all()
    }
    fn map_read(&self, length: usize) -> io::Result<Arc<Map>> {
        self.file.map_read(length)
    }
    fn map_write(&self, length: usize) -> io::Result<MapWriter> {
        let (script, path) = (self.script.clone(), Arc::clone(&self.path));
        let map = self.file.map_write(length)?;
        Ok(map.before_sync(move || {
            let gate = Arc::clone(&script.0.lock().gate);
            drop(gate.lock());
            script.on("sync", &path.lock())
        }))
    }
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const EMFILE: i32 = 24;
const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];

fn options(mode: IoMode) -> LogOptions {
    Log::options().segment_bytes(8192).io_mode(mode).flush(FlushPolicy::Manual)
}

fn opened(script: &Scripted, dir: &Path, mode: IoMode) -> Log {
    open_on(Arc::new(script.clone()), dir, options(mode)).unwrap()
}

fn kind<T>(result: Result<T>) -> ErrorKind {
    result.err().expect("an error is due").kind()
}

fn count(log: &Log) -> usize {
    let reader = log.reader(OffsetSpec::Earliest).unwrap();
    reader.map(|batch| batch.unwrap().records().count()).sum()
}

/// I8: a sync of the active segment, of a sealed one, of the directory and of the checkpoint is
/// refused in turn, with EIO and with ENOSPC.
#[test]
fn one_failed_sync_refuses_appends_and_flushes_until_the_log_is_reopened() {
    for mode in MODES {
        for (call, errno) in [("sync", EIO), ("sync", ENOSPC), ("sync_dir", EIO)] {
            let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
            let log = opened(&script, tmp.path(), mode);
            log.append("durable").unwrap();
            log.flush().unwrap();
            for _ in 0..200 {
                log.append([b'x'; 100].as_slice()).unwrap();
            }
            script.refuse(call, errno);
            assert_eq!(kind(log.flush()), ErrorKind::Io, "{call} {errno}");
            script.allow_all();
            assert_eq!(log.durable_offset().get(), 1);
            // No second try: the kernel would call it a success.
            script.take_calls();
            assert_eq!(kind(log.flush()), ErrorKind::Poisoned);
            assert_eq!(kind(log.append("more")), ErrorKind::Poisoned);
            let end = log.log_end_offset();
            let waited = log.wait_for(end, super::Visibility::Durable, Duration::MAX);
            assert_eq!(kind(waited), ErrorKind::Poisoned);
            assert_eq!(count(&log), 201, "reading goes on");
            assert_eq!(kind(log.close()), ErrorKind::Poisoned);
            assert!(script.take_calls().iter().all(|(call, _)| *call != "sync"));

            let log = opened(&script, tmp.path(), mode);
            assert!(!log.recovery().clean, "no clean mark was written");
            assert!(log.recovery().segments_rewritten > 0, "nor is what lies there trusted");
            assert_eq!(log.durable_offset().get(), 201, "it went into new files");
            assert_eq!(count(&log), 201);
            log.flush().unwrap();
            log.append("goes on").unwrap();
        }
    }
}

/// I8: the threads that share the flush that failed all hear of it.
#[test]
fn every_waiting_thread_hears_of_the_failed_flush() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    log.append("first").unwrap();
    log.flush().unwrap();
    script.refuse("sync", EIO);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let Ok(offset) = log.append("lost") else { return true };
                    log.flush().is_err() && log.durable_offset() <= offset
                })
            })
            .collect();
        assert!(threads.into_iter().all(|thread| thread.join().unwrap()));
    });
    assert_eq!(log.durable_offset().get(), 1);
}

/// Seven threads append while a flush runs: it does not count for them, and the next one serves
/// all seven.
#[test]
fn all_who_wait_during_one_flush_share_the_next_one() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    log.append("first").unwrap();
    let gate = Arc::clone(&script.0.lock().gate);
    std::thread::scope(|scope| {
        let closed = gate.lock();
        script.take_calls();
        scope.spawn(|| log.flush().unwrap());
        while !log.inner.group.is_running() {
            std::thread::yield_now();
        }
        for _ in 0..7 {
            scope.spawn(|| {
                let offset = log.append("waits").unwrap();
                assert!(log.flush().unwrap() > offset);
            });
        }
        while log.inner.group.waiting() < 7 {
            std::thread::yield_now();
        }
        assert_eq!(log.durable_offset(), Offset::ZERO);
        drop(closed);
    });
    let syncs = script
        .take_calls()
        .into_iter()
        .filter(|(call, name)| *call == "sync" && name.starts_with("0000"));
    assert_eq!(syncs.count(), 2);
    assert_eq!(log.durable_offset().get(), 8);
}

/// I6, I18: the order of the syncs, by the calls themselves.
#[test]
fn sealed_segments_then_the_active_one_then_the_names_are_synced_before_the_offset_moves() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let log = opened(&script, tmp.path(), mode);
        for _ in 0..200 {
            log.append([b'x'; 100].as_slice()).unwrap();
        }
        script.take_calls();
        log.flush().unwrap();
        let dir = tmp.path().file_name().unwrap().to_string_lossy().into_owned();
        let calls = script.take_calls();
        let segments: Vec<_> = calls
            .iter()
            .filter(|(call, name)| *call == "sync" && name.contains("0000"))
            .map(|(_, name)| name.clone())
            .collect();
        assert!(segments.len() > 2 && segments.is_sorted(), "{segments:?}");
        let at = |wanted: (&str, &str)| {
            calls.iter().position(|(call, name)| (*call, name.as_str()) == wanted).unwrap()
        };
        let last = at(("sync", segments.last().unwrap()));
        let checkpoint = at(("sync", "checkpoint"));
        assert!(last < at(("sync_dir", &dir)) && at(("sync_dir", &dir)) < checkpoint);
    }
}

/// I19: no space and no descriptors while a segment is made.
#[test]
fn what_cannot_be_had_while_a_segment_is_made_changes_nothing_and_is_tried_again() {
    for mode in MODES {
        for (call, errno) in
            [("create_new", ENOSPC), ("create_new", EMFILE), ("allocate", ENOSPC), ("rename", EIO)]
        {
            let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
            let log = opened(&script, tmp.path(), mode);
            let mut appended = 0;
            script.refuse(call, errno);
            let refused = loop {
                match log.append([b'x'; 100].as_slice()) {
                    Ok(offset) => assert_eq!(offset.get(), appended),
                    Err(error) => break error,
                }
                appended += 1;
            };
            let expected = if errno == EIO { ErrorKind::Io } else { ErrorKind::OutOfSpace };
            assert_eq!(refused.kind(), expected, "{call} {errno}: {refused}");
            assert!(refused.path().is_some());
            let names = std::fs::read_dir(tmp.path()).unwrap();
            let left: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".new")), "{left:?}");
            assert_eq!(log.log_end_offset().get(), appended);
            assert_eq!(count(&log), usize::try_from(appended).unwrap());
            script.allow_all();
            assert_eq!(log.append("goes on").unwrap(), Offset::new(appended));
            assert_eq!(log.flush().unwrap(), Offset::new(appended + 1));
        }
    }
}

/// I19: where the next step of the reservation is not to be had, what the batch needs is enough.
#[test]
fn a_nearly_full_disk_is_filled_in_smaller_steps() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let big = options(mode).segment_bytes(1 << 20);
        let log = open_on(Arc::new(script.clone()), tmp.path(), big).unwrap();
        script.0.lock().largest_file = Some(300 << 10);
        let mut appended = 0;
        while log.append([b'x'; 1000].as_slice()).is_ok() {
            appended += 1;
        }
        // 1,072 bytes a record: nothing but the last page is left over.
        assert!(appended * 1072 > 290 << 10, "{appended}");
        assert_eq!(count(&log), appended);
    }
}

/// I19: the file of a segment that could not be made larger is cut back to what it had.
#[test]
fn a_failed_reservation_gives_back_what_the_filesystem_had_added() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let big = options(IoMode::Mapped).segment_bytes(1 << 20);
    let log = open_on(Arc::new(script.clone()), tmp.path(), big).unwrap();
    log.append("reserves the first blocks").unwrap();
    script.refuse("allocate", ENOSPC);
    while log.append([b'x'; 1000].as_slice()).is_ok() {}
    let segment = tmp.path().join("00000000000000000000.log");
    assert_eq!(std::fs::metadata(segment).unwrap().len(), 64 << 10);
    assert!(script.take_calls().iter().any(|(call, _)| *call == "set_len"));
}

/// I18: a directory that is made for a log, and each one above it, is synced in its parent.
#[test]
fn the_directories_a_log_is_made_in_are_synced_in_their_parents() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    opened(&script, &tmp.path().join("a/b/c"), IoMode::Positioned);
    let calls = script.take_calls();
    let root = tmp.path().file_name().unwrap().to_string_lossy().into_owned();
    let expected = [("create_dir", "a"), ("sync_dir", root.as_str()), ("create_dir", "b")];
    let found: Vec<_> = calls.iter().map(|(call, name)| (*call, name.as_str())).collect();
    // The directory that was there already comes before them: its maker may have died.
    assert_eq!(found[0].0, "sync_dir");
    assert!(found[1..].starts_with(&expected), "{found:?}");
}

/// I3: what is durable stands in the file as it is, whatever is appended, rolled and reopened.
#[test]
fn durable_bytes_never_change() {
    for mode in MODES {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("00000000000000000000.log");
        let mut durable: Vec<u8> = Vec::new();
        for _ in 0..6 {
            let log = opened(&Scripted::default(), tmp.path(), mode);
            for _ in 0..13 {
                log.append([b'x'; 100].as_slice()).unwrap();
                assert!(std::fs::read(&path).unwrap().starts_with(&durable));
            }
            log.flush().unwrap();
            let end = std::fs::read(&path).unwrap().iter().rposition(|&byte| byte != 0).unwrap();
            durable = std::fs::read(&path).unwrap()[..=end].to_vec();
        }
        assert!(durable.len() > 7000, "the segment was filled and rolled");
    }
}

/// A commit that could not be written is written by the next call, although nothing is new in it.
#[test]
fn a_commit_that_failed_is_made_up_for_by_its_retry() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    let log = opened(&script, tmp.path(), IoMode::Positioned);
    for _ in 0..9 {
        log.append("x").unwrap();
    }
    let mut consumer = log.consumer("c").unwrap();
    script.refuse("write", EIO);
    assert!(consumer.commit_offset(Offset::new(7)).is_err());
    assert_eq!(consumer.committed(), Offset::ZERO);
    script.allow_all();
    consumer.commit_offset(Offset::new(7)).unwrap();
    let copy = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(tmp.path()).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    let log = opened(&Scripted::default(), copy.path(), IoMode::Positioned);
    assert_eq!(log.consumer("c").unwrap().committed().get(), 7);
}

/// I8: a failed sync of the checkpoint is final too, whoever met it.
#[test]
fn a_failed_sync_of_the_checkpoint_poisons_the_log() {
    for mode in MODES {
        let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
        let log = opened(&script, tmp.path(), mode);
        log.append("x").unwrap();
        log.flush().unwrap();
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(Offset::new(1)).unwrap();
        script.refuse("sync", EIO);
        assert_eq!(kind(consumer.sync()), ErrorKind::Io);
        script.allow_all();
        assert_eq!(kind(consumer.sync()), ErrorKind::Poisoned);
        assert_eq!(kind(log.append("x")), ErrorKind::Poisoned);
        drop(consumer);
        assert_eq!(kind(log.close()), ErrorKind::Poisoned);
        // The first append after a clean close syncs the checkpoint first.
        opened(&script, tmp.path(), mode).append("x").unwrap();
        let log = opened(&script, tmp.path(), mode);
        assert!(log.recovery().clean);
        script.refuse("sync", ENOSPC);
        assert_eq!(kind(log.append("x")), ErrorKind::Io);
        script.allow_all();
        assert_eq!(kind(log.append("x")), ErrorKind::Poisoned);
        assert_eq!(kind(log.flush()), ErrorKind::Poisoned);
    }
}

/// A clean close syncs what consumers committed, also where nothing was appended.
#[test]
fn a_close_without_appends_syncs_the_commits() {
    let (tmp, script) = (tempfile::tempdir().unwrap(), Scripted::default());
    opened(&script, tmp.path(), IoMode::Mapped).append("x").unwrap();
    let log = opened(&script, tmp.path(), IoMode::Mapped);
    let mut consumer = log.consumer("c").unwrap();
    consumer.commit_offset(Offset::new(1)).unwrap();
    script.take_calls();
    drop(consumer);
    log.close().unwrap();
    assert_eq!(script.take_calls(), [("sync", "checkpoint".to_owned())]);
}
