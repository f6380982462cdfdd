//! A real ext4 on a loop device: made, mounted, unmounted, and its device taken away.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

// linux/loop.h
const LOOP_CTL_GET_FREE: libc::Ioctl = 0x4c82;
const LOOP_CONFIGURE: libc::Ioctl = 0x4c0a;
/// `struct loop_config`: descriptor, block size, `loop_info64` with its flags 52 bytes in.
const LOOP_CONFIG_BYTES: usize = 304;
const LO_FLAGS_AT: usize = 60;
/// The device goes with its last user.
const LO_FLAGS_AUTOCLEAR: u32 = 4;
// linux/ext4.h
const EXT4_IOC_SHUTDOWN: libc::Ioctl = 0x8004_587d;
/// Neither data nor the journal is written out.
static NO_LOG_FLUSH: u32 = 2;

/// A kind of ext4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Bytes of a block, 1024 or 4096.
    pub block: u32,
    /// The journal orders nothing against data.
    pub writeback: bool,
}

impl Kind {
    /// All of them in turn.
    pub fn number(number: u64) -> Kind {
        Kind {
            block: if number.is_multiple_of(2) { 4096 } else { 1024 },
            writeback: number / 2 % 2 == 1,
        }
    }

    /// For tables.
    pub fn name(self) -> String {
        let data = if self.writeback { "writeback" } else { "ordered" };
        format!("ext4 {} data={data}", self.block)
    }

    /// An empty filesystem of so many bytes.
    pub fn make(self, bytes: u64, scratch: &Path) -> io::Result<Vec<u8>> {
        let path = scratch.join("new.img");
        File::create(&path)?.set_len(bytes)?;
        let block = self.block.to_string();
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-F", "-m", "0", "-b", &block])
            .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
            .arg(&path)
            .stdin(Stdio::null())
            .status()?;
        let image = fs::read(&path)?;
        fs::remove_file(&path)?;
        if made.success() { Ok(image) } else { Err(io::Error::other("mkfs.ext4 failed")) }
    }
}

/// A mounted ext4; unmounted when this goes.
#[derive(Debug)]
pub struct Mounted {
    dir: PathBuf,
}

impl Mounted {
    /// Mounts what a file holds at `dir`. The kernel commits its journal only when it is asked to.
    pub fn mount(file: &Path, kind: Kind, dir: &Path) -> io::Result<Mounted> {
        Mounted::mount_as(file, kind, dir, libc::MS_NOATIME)
    }

    /// Mounts it for reading; its journal is replayed all the same.
    pub fn mount_to_read(file: &Path, kind: Kind, dir: &Path) -> io::Result<Mounted> {
        Mounted::mount_as(file, kind, dir, libc::MS_RDONLY)
    }

    fn mount_as(file: &Path, kind: Kind, dir: &Path, flags: u64) -> io::Result<Mounted> {
        fs::create_dir_all(dir)?;
        let (device, path) = attach(file)?;
        let data = if kind.writeback { "writeback" } else { "ordered" };
        let options = c_string(format!("commit=1000,data={data}").as_bytes())?;
        let (from, to) = (c_string(path.as_bytes())?, c_string(dir.as_os_str().as_bytes())?);
        // SAFETY: four strings that end with NUL and live until the call has returned.
        let failed = unsafe {
            libc::mount(
                from.as_ptr(),
                to.as_ptr(),
                c"ext4".as_ptr(),
                flags,
                options.as_ptr().cast(),
            )
        };
        let error = io::Error::last_os_error();
        drop(device);
        if failed == 0 { Ok(Mounted { dir: dir.to_owned() }) } else { Err(error) }
    }

    /// Where it is mounted.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The filesystem is dead from now on, and nothing more of it reaches its device.
    pub fn shut_down(&self) -> io::Result<()> {
        let top = File::open(&self.dir)?;
        control(top.as_raw_fd(), EXT4_IOC_SHUTDOWN, (&raw const NO_LOG_FLUSH).cast_mut().cast())?;
        Ok(())
    }

    /// Unmounts it.
    pub fn unmount(self) -> io::Result<()> {
        let ended = unmount(&self.dir);
        std::mem::forget(self);
        ended
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.dir) {
            eprintln!("cannot unmount {}: {error}", self.dir.display());
        }
    }
}

fn unmount(dir: &Path) -> io::Result<()> {
    let path = c_string(dir.as_os_str().as_bytes())?;
    // Who has just ended may hold it for a moment.
    for _ in 0..200 {
        // SAFETY: a string that ends with NUL and lives until the call has returned.
        let failed = unsafe { libc::umount2(path.as_ptr(), 0) };
        if failed == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.raw_os_error() != Some(libc::EBUSY) {
            return Err(error);
        }
        sleep(Duration::from_millis(10));
    }
    Err(io::Error::from_raw_os_error(libc::EBUSY))
}

/// A loop device over a file, which goes with its last user: who holds what is returned, or the
/// filesystem on it.
fn attach(file: &Path) -> io::Result<(File, String)> {
    let below = File::options().read(true).write(true).open(file)?;
    let all = File::options().read(true).write(true).open("/dev/loop-control")?;
    for _ in 0..50 {
        let number = control(all.as_raw_fd(), LOOP_CTL_GET_FREE, std::ptr::null_mut())?;
        let path = format!("/dev/loop{number}");
        let device = File::options().read(true).write(true).open(&path)?;
        let mut config = [0; LOOP_CONFIG_BYTES];
        config[..4].copy_from_slice(&below.as_raw_fd().to_ne_bytes());
        config[LO_FLAGS_AT..LO_FLAGS_AT + 4].copy_from_slice(&LO_FLAGS_AUTOCLEAR.to_ne_bytes());
        match control(device.as_raw_fd(), LOOP_CONFIGURE, config.as_mut_ptr().cast()) {
            Ok(_) => return Ok((device, path)),
            // Somebody else was faster.
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                sleep(Duration::from_millis(5));
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("no loop device is free"))
}

fn control(fd: RawFd, request: libc::Ioctl, argument: *mut libc::c_void) -> io::Result<i32> {
    // SAFETY: each of the three requests of this file reads no more than its caller passes, and
    // writes nothing there.
    let result = unsafe { libc::ioctl(fd, request, argument) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_string(bytes: &[u8]) -> io::Result<CString> {
    CString::new(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

/// Writes out the dirty pages of every file below a directory, as the kernel may at any moment, and
/// syncs nothing.
pub fn write_out(dir: &Path) {
    for found in fs::read_dir(dir).into_iter().flatten().flatten() {
        match found.file_type() {
            Ok(kind) if kind.is_dir() => write_out(&found.path()),
            Ok(kind) if kind.is_file() => {
                let Ok(file) = File::options().write(true).open(found.path()) else { continue };
                let how = libc::SYNC_FILE_RANGE_WAIT_BEFORE
                    | libc::SYNC_FILE_RANGE_WRITE
                    | libc::SYNC_FILE_RANGE_WAIT_AFTER;
                // SAFETY: the descriptor is open for the call; no memory is passed. If it fails,
                // the pages stay dirty.
                unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, how) };
            }
            _ => {}
        }
    }
}
