//! What the C library has and std has not.
//!
//! Floor 1. Thin: one system call a function, its errno as `io::Error`.
#![expect(unsafe_code, reason = "calls into the C library; every block has its proof")]

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::Duration;

use super::Medium;
#[cfg(target_os = "linux")]
use super::{Residence, device};

/// Reserves blocks for a range and grows the file over it.
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(super) fn allocate(file: &File, from: u64, to: u64) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let (Ok(from), Ok(length)) =
        (libc::off_t::try_from(from), libc::off_t::try_from(to.saturating_sub(from)))
    else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    loop {
        // SAFETY: the descriptor is open for the call; no memory is passed.
        let failed = unsafe { libc::fallocate(file.as_raw_fd(), 0, from, length) } != 0;
        if !failed {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// Platforms without such a call say so; the log then writes without preallocation.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(super) fn allocate(_file: &File, _from: u64, _to: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The C library's numbers have 32 or 64 bits, by target.
fn wide(number: impl Into<i64>) -> i64 {
    number.into()
}

/// As [`wide`], of numbers without a sign.
fn unsigned(number: impl Into<u64>) -> u64 {
    number.into()
}

/// A clock to the tick, a few nanoseconds a call; the fine ones cost five times as much.
fn clock(id: libc::clockid_t) -> (i64, u32) {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a valid timespec for the call to fill.
    unsafe { libc::clock_gettime(id, &raw mut now) };
    (wide(now.tv_sec), u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const WALL: libc::clockid_t = libc::CLOCK_REALTIME_COARSE;
#[cfg(any(target_os = "linux", target_os = "android"))]
const MONO: libc::clockid_t = libc::CLOCK_MONOTONIC_COARSE;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const WALL: libc::clockid_t = libc::CLOCK_REALTIME;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const MONO: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// Milliseconds since 1970, also before it.
#[inline]
pub(super) fn wall_millis() -> i64 {
    let (seconds, nanos) = clock(WALL);
    seconds.saturating_mul(1000).saturating_add(i64::from(nanos / 1_000_000))
}

/// Since some fixed moment; only rises.
#[inline]
pub(super) fn mono() -> Duration {
    let (seconds, nanos) = clock(MONO);
    Duration::new(seconds.unsigned_abs(), nanos)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const BOOT: libc::clockid_t = libc::CLOCK_BOOTTIME;
/// Elsewhere sleep is not counted, which only makes ages shorter.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const BOOT: libc::clockid_t = libc::CLOCK_MONOTONIC;

/// Since the kernel started, sleep included.
pub(super) fn boot() -> Duration {
    let (seconds, nanos) = clock(BOOT);
    Duration::new(seconds.unsigned_abs(), nanos)
}

/// What the kernel's time discipline says: set by NTP, PTP, GPS or whoever tells it.
#[cfg(target_os = "linux")]
pub(super) fn clock_synchronised() -> bool {
    // Asks only: no mode bit is set.
    let mut state = std::mem::MaybeUninit::<libc::timex>::zeroed();
    // SAFETY: all zeros is a valid timex; with `modes` 0 the call fills it and changes nothing.
    let code = unsafe { libc::adjtimex(state.as_mut_ptr()) };
    code >= 0 && code != libc::TIME_ERROR
}

/// Begins writing dirty pages of a range; a hint.
#[cfg(target_os = "linux")]
pub(super) fn start_write_out(file: &File, from: u64, to: u64) {
    use std::os::fd::AsRawFd;

    let (Ok(from), Ok(length)) =
        (libc::off64_t::try_from(from), libc::off64_t::try_from(to.saturating_sub(from)))
    else {
        return;
    };
    // SAFETY: the descriptor is open for the call; no memory is passed. A failure changes nothing:
    // the sync that counts comes later.
    unsafe {
        libc::sync_file_range(file.as_raw_fd(), from, length, libc::SYNC_FILE_RANGE_WRITE);
    }
}

/// The boot, the mount and the directory, by which a later open knows that the page cache is still
/// the one that was written to. The mount's number is never used twice in one boot (Linux 6.8).
#[cfg(target_os = "linux")]
pub(super) fn residence(dir: &Path) -> Option<Residence> {
    const MNT_ID_UNIQUE: u32 = 0x4000;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).ok()?;
    let path = c_path(dir)?;
    let mut found = std::mem::MaybeUninit::<libc::statx>::zeroed();
    let asked = libc::STATX_INO | MNT_ID_UNIQUE;
    let (at, into) = (path.as_ptr(), found.as_mut_ptr());
    // SAFETY: `path` ends with NUL and outlives the call; `found` is large enough to be filled.
    let failed = unsafe { libc::statx(libc::AT_FDCWD, at, 0, asked, into) } != 0;
    if failed {
        return None;
    }
    // SAFETY: the call returned 0, so it filled the whole struct.
    let found = unsafe { found.assume_init() };
    (found.stx_mask & asked == asked).then(|| Residence {
        boot: boot.to_be_bytes(),
        mount: found.stx_mnt_id,
        directory: found.stx_ino,
    })
}

/// Writes out everything on the filesystem that a directory lies on. From Linux 5.8 on it fails if
/// anything could not be written since its descriptor was opened, or since that was last told.
#[cfg(target_os = "linux")]
pub(super) fn sync_filesystem(dir: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    touch_on_ext4(dir)?;
    // SAFETY: the descriptor is open for the call; no memory is passed.
    let failed = unsafe { libc::syncfs(dir.as_raw_fd()) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// A journal of ext4 that could not be written says so to who waits for it just then; whoever comes
/// later, with nothing of their own to be journalled, is told that all is well (seen on 6.18, where
/// syncfs and the fsync of a directory both did). So something is always there to be journalled.
#[cfg(target_os = "linux")]
fn touch_on_ext4(dir: &File) -> io::Result<()> {
    use std::os::fd::AsRawFd;

    let mut found = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the descriptor is open for the call; `found` is large enough to be filled.
    let failed = unsafe { libc::fstatfs(dir.as_raw_fd(), found.as_mut_ptr()) } != 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call returned 0, so it filled the whole struct.
    let kind = unsafe { found.assume_init() }.f_type;
    if wide(kind) & 0xffff_ffff != EXT4 {
        return Ok(());
    }
    // SAFETY: the descriptor is open for the call; no times means now.
    let failed = unsafe { libc::futimens(dir.as_raw_fd(), std::ptr::null()) } != 0;
    let error = io::Error::last_os_error();
    // Who may not write there has nothing there to be journalled.
    if failed && error.kind() != io::ErrorKind::PermissionDenied { Err(error) } else { Ok(()) }
}

#[cfg(target_os = "linux")]
const EXT4: i64 = 0xef53;

/// How room is counted on a filesystem, and what is left.
pub(super) struct Room {
    pub(super) block_bytes: u64,
    /// For who is not its administrator.
    pub(super) free_bytes: u64,
}

/// `None` where the system does not tell.
pub(super) fn room(dir: &Path) -> Option<Room> {
    let path = c_path(dir)?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` ends with NUL and outlives the call; `found` is large enough to be filled.
    let failed = unsafe { libc::statvfs(path.as_ptr(), found.as_mut_ptr()) } != 0;
    if failed {
        return None;
    }
    // SAFETY: the call returned 0, so it filled the whole struct.
    let found = unsafe { found.assume_init() };
    let block_bytes = unsigned(found.f_frsize);
    let free_bytes = unsigned(found.f_bavail).saturating_mul(block_bytes);
    Some(Room { block_bytes: block_bytes.max(BLOCK_BYTES_MIN), free_bytes })
}

/// Smaller blocks than a page are not reckoned with: the cache writes whole pages.
const BLOCK_BYTES_MIN: u64 = 4096;

fn block_bytes(dir: &Path) -> u64 {
    room(dir).map_or(BLOCK_BYTES_MIN, |room| room.block_bytes)
}

fn c_path(path: &Path) -> Option<std::ffi::CString> {
    use std::os::unix::ffi::OsStrExt;

    std::ffi::CString::new(path.as_os_str().as_bytes()).ok()
}

/// The filesystem's kind, and whether reserved blocks can be stored to through a map.
#[cfg(target_os = "linux")]
pub(super) fn medium(dir: &Path) -> Medium {
    let block_bytes = block_bytes(dir);
    let Some(kind) = filesystem_magic(dir) else {
        let unmappable = Some("its filesystem is unknown");
        let (filesystem, syncs_whole) = ("unknown", false);
        return Medium { filesystem, unmappable, tears: None, syncs_whole, block_bytes };
    };
    let tears = device::tearing(dir);
    // The magic numbers of statfs(2).
    let (filesystem, keeps_blocks) = match kind {
        0xef53 => ("ext4", true),
        0x5846_5342 => ("xfs", true),
        0x0102_1994 => ("tmpfs", true),
        0x9123_683e => ("btrfs", false),
        0x2fc1_2fc1 => ("zfs", false),
        0xf2f5_2010 => ("f2fs", false),
        0x794c_7630 => ("overlayfs", false),
        0x6573_5546 => ("fuse", false),
        0x6969 => ("nfs", false),
        0x4d44 => ("vfat", false),
        0x2011_bab0 => ("exfat", false),
        _ => ("unknown", false),
    };
    let unmappable = if !keeps_blocks {
        Some("its filesystem may move blocks that were reserved")
    } else if !cfg!(target_pointer_width = "64") {
        Some("the address space has 32 bits")
    } else if !kernel_is_at_least(POPULATES) {
        Some("the kernel is older than 5.14 and cannot populate a map without a signal")
    } else {
        None
    };
    // The others hand the call on, or have no one to tell of what failed.
    let syncs_whole = matches!(filesystem, "ext4" | "xfs" | "tmpfs" | "btrfs" | "f2fs")
        && kernel_is_at_least(SYNCS_WHOLE);
    Medium { filesystem, unmappable, tears, syncs_whole, block_bytes }
}

#[cfg(target_os = "linux")]
fn filesystem_magic(dir: &Path) -> Option<u32> {
    let path = c_path(dir)?;
    let mut found = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: `path` ends with NUL and outlives the call; `found` is large enough to be filled.
    let failed = unsafe { libc::statfs(path.as_ptr(), found.as_mut_ptr()) } != 0;
    if failed {
        return None;
    }
    // SAFETY: the call returned 0, so it filled the whole struct.
    let kind = unsafe { found.assume_init() }.f_type;
    // The word's width and sign differ by target; the magic has 32 bits.
    u32::try_from(wide(kind) & 0xffff_ffff).ok()
}

/// MADV_POPULATE_WRITE came with it.
#[cfg(target_os = "linux")]
const POPULATES: (u32, u32) = (5, 14);
/// Since then syncfs says what could not be written.
#[cfg(target_os = "linux")]
const SYNCS_WHOLE: (u32, u32) = (5, 8);

#[cfg(target_os = "linux")]
fn kernel_is_at_least(version: (u32, u32)) -> bool {
    let mut names = std::mem::MaybeUninit::<libc::utsname>::uninit();
    // SAFETY: `names` is large enough to be filled.
    let failed = unsafe { libc::uname(names.as_mut_ptr()) } != 0;
    if failed {
        return false;
    }
    // SAFETY: the call returned 0, so it filled the whole struct.
    let names = unsafe { names.assume_init() };
    let release: String = names.release.iter().map(|&byte| char::from(byte as u8)).collect();
    let mut numbers = release.split(|digit: char| !digit.is_ascii_digit());
    let mut number = || numbers.next().and_then(|text| text.parse::<u32>().ok()).unwrap_or(0);
    (number(), number()) >= version
}

#[cfg(not(target_os = "linux"))]
pub(super) fn medium(dir: &Path) -> Medium {
    let unmappable = Some("the platform is not Linux");
    let (block_bytes, syncs_whole) = (block_bytes(dir), false);
    Medium { filesystem: "unknown", unmappable, tears: None, syncs_whole, block_bytes }
}
