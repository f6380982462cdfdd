//! A disk in one file of a FUSE filesystem: it keeps a record of every block write and flush.
//!
//! A loop device over the file turns a flush of the block layer into an fsync of it. What a writer
//! says goes into a second file, so that the record has it in its place.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, UNIX_EPOCH};

use fuser::{
    BackgroundSession, Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags,
    Generation, INodeNo, LockOwner, MountOption, OpenFlags, ReplyAttr, ReplyData, ReplyEmpty,
    ReplyEntry, ReplyOpen, ReplyWrite, Request, WriteFlags,
};

use super::real::write_out;

const TOP: u64 = 1;
const DISK: u64 = 2;
const SAID: u64 = 3;
const TTL: Duration = Duration::from_secs(3600);

/// What the disk was asked to do, in this order.
#[derive(Clone, Debug)]
pub enum Block {
    /// Bytes were written.
    Write(usize, Vec<u8>),
    /// Everything before is on the medium.
    Flush,
    /// A write was refused, as it was told to be.
    Refused,
    /// What the writer said.
    Line(String),
}

struct Live {
    disk: Vec<u8>,
    trace: Vec<Block>,
    /// Writes until one is refused.
    refuse: Option<u64>,
    off: bool,
    lines: u64,
    write_out_every: u64,
}

/// The disk, mounted as a file.
pub struct BlockDisk {
    live: Arc<Mutex<Live>>,
    session: Option<BackgroundSession>,
    dir: PathBuf,
}

fn lock(live: &Mutex<Live>) -> MutexGuard<'_, Live> {
    live.lock().expect("nobody panics with it")
}

impl BlockDisk {
    /// A disk with these bytes, its files in the empty directory `dir`. Before every such line is
    /// answered, dirty pages of the filesystem at `above` are written out; 0 is never.
    pub fn mount(
        disk: Vec<u8>,
        dir: &Path,
        above: &Path,
        write_out_every: u64,
    ) -> io::Result<BlockDisk> {
        std::fs::create_dir_all(dir)?;
        let (trace, refuse) = (Vec::new(), None);
        let live = Live { disk, trace, refuse, off: false, lines: 0, write_out_every };
        let live = Arc::new(Mutex::new(live));
        let (ask, asked) = channel();
        let handlers = Handlers { live: Arc::clone(&live), ask };
        let mut config = Config::default();
        config.mount_options = vec![MountOption::FSName("blocks".into())];
        let session = fuser::spawn_mount(handlers, dir, &config)?;
        let above = above.to_owned();
        std::thread::spawn(move || answer(&above, &asked));
        Ok(BlockDisk { live, session: Some(session), dir: dir.to_owned() })
    }

    /// The file that is the disk.
    pub fn path(&self) -> PathBuf {
        self.dir.join("disk")
    }

    /// The file for what a writer says.
    pub fn said(&self) -> io::Result<File> {
        File::options().write(true).open(self.dir.join("said"))
    }

    /// Forgets what was recorded; one of the writes to come is refused. What the disk holds now.
    pub fn begin(&self, refuse: Option<u64>) -> Vec<u8> {
        let mut live = lock(&self.live);
        live.trace.clear();
        live.refuse = refuse;
        live.disk.clone()
    }

    /// From now on nothing is recorded.
    pub fn power_off(&self) {
        lock(&self.live).off = true;
    }

    /// Takes the file away, and gives the record.
    pub fn finish(mut self) -> io::Result<Vec<Block>> {
        if let Some(session) = self.session.take() {
            session.umount_and_join()?;
        }
        Ok(std::mem::take(&mut lock(&self.live).trace))
    }
}

type Answer = (ReplyWrite, u32);

fn answer(above: &Path, asked: &Receiver<Answer>) {
    for (reply, length) in asked {
        write_out(above);
        reply.written(length);
    }
}

struct Handlers {
    live: Arc<Mutex<Live>>,
    ask: Sender<Answer>,
}

impl Live {
    fn attr(&self, number: u64) -> Option<FileAttr> {
        let (size, kind) = match number {
            TOP => (4096, FileType::Directory),
            DISK => (self.disk.len() as u64, FileType::RegularFile),
            SAID => (0, FileType::RegularFile),
            _ => return None,
        };
        let time = UNIX_EPOCH;
        Some(FileAttr {
            ino: INodeNo(number),
            size,
            blocks: size / 512,
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm: 0o700,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: 4096,
            flags: 0,
        })
    }

    fn write(&mut self, at: u64, bytes: &[u8]) -> Result<(), Errno> {
        let at = usize::try_from(at).map_err(|_| Errno::EFBIG)?;
        let place = self.disk.get_mut(at..at + bytes.len()).ok_or(Errno::ENOSPC)?;
        match &mut self.refuse {
            Some(0) => {
                self.refuse = None;
                self.trace.push(Block::Refused);
                return Err(Errno::EIO);
            }
            Some(left) => *left -= 1,
            None => {}
        }
        place.copy_from_slice(bytes);
        if !self.off {
            self.trace.push(Block::Write(at, bytes.to_vec()));
        }
        Ok(())
    }
}

impl Filesystem for Handlers {
    fn lookup(&self, _: &Request, _: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let number = match name.to_str() {
            Some("disk") => DISK,
            Some("said") => SAID,
            _ => 0,
        };
        match lock(&self.live).attr(number) {
            Some(attr) => reply.entry(&TTL, &attr, Generation(0)),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn getattr(&self, _: &Request, number: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match lock(&self.live).attr(number.0) {
            Some(attr) => reply.attr(&TTL, &attr),
            None => reply.error(Errno::ENOENT),
        }
    }

    fn open(&self, _: &Request, number: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        let flags = match number.0 {
            SAID => FopenFlags::FOPEN_DIRECT_IO,
            _ => FopenFlags::FOPEN_KEEP_CACHE,
        };
        reply.opened(FileHandle(1), flags);
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
        if number.0 != DISK {
            return reply.data(&[]);
        }
        let live = lock(&self.live);
        let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(live.disk.len());
        reply.data(&live.disk[place(at)..place(at + u64::from(size))]);
    }

    fn write(
        &self,
        _: &Request,
        number: INodeNo,
        _: FileHandle,
        at: u64,
        bytes: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let mut live = lock(&self.live);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if number.0 == DISK {
            return match live.write(at, bytes) {
                Ok(()) => reply.written(length),
                Err(error) => reply.error(error),
            };
        }
        for line in String::from_utf8_lossy(bytes).lines() {
            if live.off {
                continue;
            }
            live.trace.push(Block::Line(line.to_owned()));
            live.lines += 1;
        }
        let every = live.write_out_every;
        if every > 0 && live.lines.is_multiple_of(every) {
            // By another thread: this one has to take the writes.
            let _ = self.ask.send((reply, length));
        } else {
            reply.written(length);
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsync(&self, _: &Request, number: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut live = lock(&self.live);
        if number.0 == DISK && !live.off {
            live.trace.push(Block::Flush);
        }
        reply.ok();
    }
}
