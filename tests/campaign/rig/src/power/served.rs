//! [`Model`] as a mounted filesystem that keeps a record of everything it is asked.
//!
//! What a writer says goes into a file of it as well, [`SAID`]: a line is in the trace exactly
//! where it was said. Before some lines are answered all dirty pages are written out, as the kernel
//! may at any moment, so that stores through a map reach the disk without any sync.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{
    BackgroundSession, BsdFileFlags, Config, Errno, FileAttr, FileHandle, FileType, Filesystem,
    FopenFlags, Generation, INodeNo, LockOwner, MountOption, OpenFlags, RenameFlags, ReplyAttr,
    ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs,
    ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::model::{Change, Model};

/// The file that takes what a writer says.
pub const SAID: &str = ".said";
const SAID_NUMBER: u64 = 2;
/// How a line of the trace begins where a call failed because it was told to.
pub const HURT: &str = "#";
/// Nothing is cached: names and lengths are asked for each time.
const TTL: Duration = Duration::ZERO;
const FILE_BYTES_MAX: u64 = 1 << 32;

/// What a fault hits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// A sync of a file.
    Sync,
    /// A sync of a directory.
    SyncDir,
    /// A write, also of dirty pages.
    Write,
    /// A file or directory that is made.
    Make,
    /// Blocks that are reserved.
    Allocate,
    /// A name that goes.
    Unlink,
    /// A name that moves.
    Rename,
    /// A file that is cut or grows.
    Length,
}

/// The first to be hit comes after `after` others; `times` in a row fail.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// What it hits.
    pub call: Call,
    /// How many pass before.
    pub after: u64,
    /// How many fail.
    pub times: u64,
    /// The system's number of the error.
    pub errno: i32,
}

/// How a filesystem is set up.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Calls that fail.
    pub faults: Vec<Fault>,
    /// Bytes that all files may have together.
    pub space: Option<usize>,
    /// Reads of these bytes of files whose names end so fail.
    pub bad: Option<(String, u64, u64)>,
    /// Dirty pages are written out before every such line is answered; 0 is never.
    pub write_out_every: u64,
}

struct Live {
    model: Model,
    trace: Vec<Change>,
    setup: Setup,
    lines: u64,
    hit: u64,
}

impl Live {
    fn change(&mut self, change: Change) {
        self.model.apply(&change);
        self.trace.push(change);
    }

    /// Whether this call is to fail.
    fn fault(&mut self, call: Call) -> Result<(), Errno> {
        for fault in self.setup.faults.iter_mut().filter(|fault| fault.call == call) {
            if fault.after > 0 {
                fault.after -= 1;
            } else if fault.times > 0 {
                fault.times -= 1;
                let errno = Errno::from_i32(fault.errno);
                self.hurt(call);
                return Err(errno);
            }
        }
        Ok(())
    }

    fn hurt(&mut self, call: Call) {
        self.hit += 1;
        self.trace.push(Change::Line(format!("{HURT} {call:?}")));
    }

    /// Whether a file may have so many bytes.
    fn room(&mut self, number: u64, length: u64) -> Result<(), Errno> {
        let have = self.model.cache(number).map_or(0, Vec::len);
        let more = usize::try_from(length).map_err(|_| Errno::EFBIG)?.saturating_sub(have);
        match self.setup.space {
            Some(space) if more > 0 && self.model.used() + more > space => {
                self.hurt(Call::Allocate);
                Err(Errno::ENOSPC)
            }
            _ if length > FILE_BYTES_MAX => Err(Errno::EFBIG),
            _ => Ok(()),
        }
    }

    fn attr(&self, number: u64) -> Result<FileAttr, Errno> {
        let (size, kind, links) = if number == SAID_NUMBER {
            (0, FileType::RegularFile, 1)
        } else if self.model.is_dir(number) {
            (4096, FileType::Directory, 2)
        } else {
            let cache = self.model.cache(number).ok_or(Errno::ENOENT)?;
            (cache.len() as u64, FileType::RegularFile, self.model.links(number))
        };
        let time = UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Ok(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size.div_ceil(4096) * 8,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o755,
            nlink: u32::try_from(links).unwrap_or(u32::MAX),
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn find(&self, dir: u64, name: &OsStr) -> Result<u64, Errno> {
        if dir == super::model::ROOT && name == SAID {
            return Ok(SAID_NUMBER);
        }
        let name = name.to_str().ok_or(Errno::EINVAL)?;
        self.model.find(dir, name).ok_or(Errno::ENOENT)
    }

    fn make(&mut self, dir: u64, name: &OsStr, is_dir: bool) -> Result<FileAttr, Errno> {
        if self.find(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.fault(Call::Make)?;
        let number = self.model.number();
        let name = name.to_str().ok_or(Errno::EINVAL)?.to_owned();
        self.change(Change::Name { dir, name, number, is_dir });
        self.attr(number)
    }

    fn link(&mut self, number: u64, dir: u64, name: &OsStr) -> Result<FileAttr, Errno> {
        if self.find(dir, name).is_ok() {
            return Err(Errno::EEXIST);
        }
        self.fault(Call::Make)?;
        let name = name.to_str().ok_or(Errno::EINVAL)?.to_owned();
        self.change(Change::Name { dir, name, number, is_dir: false });
        self.attr(number)
    }

    fn unname(&mut self, dir: u64, name: &OsStr) -> Result<(), Errno> {
        let number = self.find(dir, name)?;
        if self.model.is_dir(number) && !self.model.list(number).is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.fault(Call::Unlink)?;
        let name = name.to_str().ok_or(Errno::EINVAL)?.to_owned();
        self.change(Change::Unname { dir, name });
        Ok(())
    }

    fn rename(&mut self, dir: u64, name: &OsStr, to_dir: u64, to: &OsStr) -> Result<(), Errno> {
        self.find(dir, name)?;
        self.fault(Call::Rename)?;
        let [name, to] = [name, to].map(|name| name.to_str().map(str::to_owned));
        let (name, to) = (name.ok_or(Errno::EINVAL)?, to.ok_or(Errno::EINVAL)?);
        self.change(Change::Rename { dir, name, to_dir, to });
        Ok(())
    }

    fn set_length(&mut self, number: u64, length: u64) -> Result<(), Errno> {
        self.fault(Call::Length)?;
        self.room(number, length)?;
        let length = usize::try_from(length).map_err(|_| Errno::EFBIG)?;
        self.change(Change::Length { number, length });
        Ok(())
    }

    /// Bytes that come out of the cache stay there when they are refused, as on other filesystems;
    /// here a file that is cut would lose them, as all its pages are then read again.
    fn write(&mut self, number: u64, at: u64, bytes: &[u8], cached: bool) -> Result<(), Errno> {
        let allowed = self.fault(Call::Write);
        let allowed = allowed.and_then(|()| self.room(number, at + bytes.len() as u64));
        let at = usize::try_from(at).map_err(|_| Errno::EFBIG)?;
        if let Err(error) = allowed {
            if cached {
                self.change(Change::Lose { number, at, bytes: bytes.to_vec() });
            }
            return Err(error);
        }
        self.change(Change::Write { number, at, bytes: bytes.to_vec() });
        Ok(())
    }

    fn allocate(&mut self, number: u64, end: u64, keep_size: bool) -> Result<(), Errno> {
        self.fault(Call::Allocate)?;
        self.room(number, end)?;
        let length = usize::try_from(end).map_err(|_| Errno::EFBIG)?;
        let have = self.model.cache(number).ok_or(Errno::ENOENT)?.len();
        if !keep_size && have < length {
            self.change(Change::Length { number, length });
        }
        Ok(())
    }

    fn sync(&mut self, number: u64) -> Result<(), Errno> {
        let failed = self.fault(Call::Sync);
        let change = match failed {
            Ok(()) => Change::SyncFile { number },
            Err(_) => Change::Forget { number },
        };
        self.change(change);
        failed
    }

    fn sync_dir(&mut self, number: u64) -> Result<(), Errno> {
        self.fault(Call::SyncDir)?;
        self.change(Change::SyncDir { number });
        Ok(())
    }

    fn read(&self, number: u64, at: u64, size: u64) -> Result<Vec<u8>, Errno> {
        let cache = self.model.cache(number).ok_or(Errno::ENOENT)?;
        if let (Some((end, from, length)), Some(name)) =
            (&self.setup.bad, self.model.name_of(number))
            && name.ends_with(end.as_str())
            && at < from + length
            && *from < at + size
        {
            return Err(Errno::EIO);
        }
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(cache.len());
        Ok(cache[place(at)..place(at + size)].to_vec())
    }
}

/// A mounted filesystem; goes when this goes.
pub struct Served {
    live: Arc<Mutex<Live>>,
    session: Option<BackgroundSession>,
    dir: PathBuf,
}

impl Served {
    /// Mounts the disk in an empty directory.
    pub fn mount(model: Model, setup: Setup, dir: &Path) -> io::Result<Served> {
        let live = Live { model, trace: Vec::new(), setup, lines: 0, hit: 0 };
        let live = Arc::new(Mutex::new(live));
        let (ask, asked) = channel();
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("crashfs".into())];
        let handlers = Handlers { live: Arc::clone(&live), ask };
        let session = fuser::spawn_mount(handlers, dir, &config)?;
        let top = dir.to_owned();
        std::thread::spawn(move || write_out(&top, &asked));
        Ok(Served { live, session: Some(session), dir: dir.to_owned() })
    }

    /// The file for what a writer says.
    pub fn said(&self) -> io::Result<File> {
        File::options().write(true).open(self.dir.join(SAID))
    }

    /// Unmounts it. What was done to it, and how many calls failed.
    pub fn finish(mut self) -> io::Result<(Vec<Change>, u64)> {
        if let Some(session) = self.session.take() {
            session.umount_and_join()?;
        }
        let mut live = lock(&self.live);
        Ok((std::mem::take(&mut live.trace), live.hit))
    }
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().expect("nobody panics with it")
}

type Answer = (ReplyWrite, u32);

/// Writes out the dirty pages of every file, then answers who asked for it.
fn write_out(top: &Path, asked: &Receiver<Answer>) {
    for (reply, length) in asked {
        // Closing a file of a FUSE filesystem writes out its dirty pages.
        each_file(top, &mut |path| drop(File::options().write(true).open(path)));
        reply.written(length);
    }
}

fn each_file(dir: &Path, todo: &mut dyn FnMut(&Path)) {
    for found in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match found.file_type() {
            Ok(kind) if kind.is_dir() => each_file(&found.path(), todo),
            Ok(_) => todo(&found.path()),
            Err(_) => {}
        }
    }
}

struct Handlers {
    live: Arc<Mutex<Live>>,
    ask: Sender<Answer>,
}

impl Handlers {
    fn live(&self) -> MutexGuard<'_, Live> {
        lock(&self.live)
    }
}

fn entry(attr: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match attr {
        Ok(attr) => reply.entry(&TTL, &attr, Generation(0)),
        Err(error) => reply.error(error),
    }
}

fn done(result: Result<(), Errno>, reply: ReplyEmpty) {
    match result {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

const PLAIN: FileHandle = FileHandle(1);

impl Filesystem for Handlers {
    fn lookup(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let live = self.live();
        entry(live.find(dir.0, name).and_then(|number| live.attr(number)), reply);
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.live().attr(number.0) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        number: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let mut live = self.live();
        let set = match size.filter(|_| number.0 != SAID_NUMBER) {
            Some(size) => live.set_length(number.0, size),
            None => Ok(()),
        };
        match set.and_then(|()| live.attr(number.0)) {
            Ok(attr) => reply.attr(&TTL, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, dir: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        entry(self.live().make(dir.0, name, true), reply);
    }

    fn create(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        _: u32,
        _: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        match self.live().make(dir.0, name, false) {
            Ok(attr) => {
                let flags = FopenFlags::FOPEN_KEEP_CACHE;
                reply.created(&TTL, &attr, Generation(0), PLAIN, flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn link(&self, _: &Request, from: INodeNo, dir: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(self.live().link(from.0, dir.0, name), reply);
    }

    fn unlink(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.live().unname(dir.0, name), reply);
    }

    fn rmdir(&self, _: &Request, dir: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.live().unname(dir.0, name), reply);
    }

    fn rename(
        &self,
        _: &Request,
        dir: INodeNo,
        name: &OsStr,
        to_dir: INodeNo,
        to: &OsStr,
        _: RenameFlags,
        reply: ReplyEmpty,
    ) {
        done(self.live().rename(dir.0, name, to_dir.0, to), reply);
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        // What a writer says has to arrive at once; anything else is cached as elsewhere.
        let flags = match number.0 {
            SAID_NUMBER => FopenFlags::FOPEN_DIRECT_IO,
            _ => FopenFlags::FOPEN_KEEP_CACHE,
        };
        match self.live().attr(number.0) {
            Ok(_) => reply.opened(PLAIN, flags),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        at: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.live().read(number.0, at, u64::from(size)) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        how: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut live = self.live();
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if number.0 != SAID_NUMBER {
            let cached = how.contains(WriteFlags::FUSE_WRITE_CACHE);
            return match live.write(number.0, at, bytes, cached) {
                Ok(()) => reply.written(length),
                Err(error) => reply.error(error),
            };
        }
        for line in String::from_utf8_lossy(bytes).lines() {
            live.change(Change::Line(line.to_owned()));
            live.lines += 1;
        }
        let every = live.setup.write_out_every;
        if every > 0 && live.lines.is_multiple_of(every) {
            // By another thread: this one has to take the writes.
            let _ = self.ask.send((reply, length));
        } else {
            reply.written(length);
        }
    }

    fn fallocate(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        from: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        done(self.live().allocate(number.0, from.saturating_add(length), mode != 0), reply);
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let result = if number.0 == SAID_NUMBER { Ok(()) } else { self.live().sync(number.0) };
        done(result, reply);
    }

    fn fsyncdir(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.live().sync_dir(number.0), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        dir: INodeNo,
        _: FileHandle,
        from: u64,
        mut reply: ReplyDirectory,
    ) {
        let live = self.live();
        let mut all = vec![(".".to_owned(), dir.0), ("..".to_owned(), dir.0)];
        all.extend(live.model.list(dir.0));
        for (n, (name, number)) in (0u64..).zip(&all).skip(usize::try_from(from).unwrap_or(0)) {
            let kind = match live.model.is_dir(*number) {
                true => FileType::Directory,
                false => FileType::RegularFile,
            };
            if reply.add(INodeNo(*number), n + 1, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let live = self.live();
        let total = live.setup.space.unwrap_or(1 << 32) / 4096;
        let free = total.saturating_sub(live.model.used().div_ceil(4096)) as u64;
        reply.statfs(total as u64, free, free, 1 << 20, 1 << 20, 4096, 255, 4096);
    }
}
