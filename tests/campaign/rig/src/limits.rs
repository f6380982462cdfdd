//! What a process may be denied: file size, descriptors, address space, maps, memory.

use std::io;

/// A limit that is set in the child before its program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Bytes of a file. A write beyond is a signal too, unless that is ignored.
    FileSize { bytes: u64, ignored: bool },
    /// Open descriptors.
    Files(u64),
    /// Bytes of address space.
    AddressSpace(u64),
    /// Maps that are left to the process: set by the program itself, as none survives its start.
    Maps(u64),
    /// Bytes of memory, the page cache included: by a control group.
    Memory(u64),
}

impl Limit {
    /// Sets it for this process; to be called between fork and exec.
    ///
    /// # Errors
    /// What the system says.
    pub fn set(self) -> io::Result<()> {
        let (resource, value) = match self {
            Limit::FileSize { bytes, ignored } => {
                let how = if ignored { libc::SIG_IGN } else { libc::SIG_DFL };
                // SAFETY: no handler of ours, only the two the kernel has.
                unsafe { libc::signal(libc::SIGXFSZ, how) };
                (libc::RLIMIT_FSIZE, bytes)
            }
            Limit::Files(count) => (libc::RLIMIT_NOFILE, count),
            Limit::AddressSpace(bytes) => (libc::RLIMIT_AS, bytes),
            Limit::Maps(_) | Limit::Memory(_) => return Ok(()),
        };
        let limit = libc::rlimit { rlim_cur: value, rlim_max: value };
        // SAFETY: `limit` outlives the call.
        match unsafe { libc::setrlimit(resource, &raw const limit) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Uses up the maps the kernel grants to a process, until so many are left.
///
/// # Errors
/// What the system says.
pub fn eat_maps(left: u64) -> io::Result<()> {
    const PAGE: usize = 4096;
    const PAIRS: usize = 1 << 16;
    let none = std::ptr::null_mut();
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: a new map at an address of the kernel's choice, never given back.
    let base = unsafe { libc::mmap(none, 2 * PAIRS * PAGE, libc::PROT_NONE, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let protect = |pair: usize, how: i32| {
        let page = base.wrapping_byte_add(2 * pair * PAGE);
        // SAFETY: the page is of the map above, which nobody else knows.
        unsafe { libc::mprotect(page, PAGE, how) == 0 }
    };
    // Each page of its own kind parts the map in two more.
    let eaten = (0..PAIRS).take_while(|&pair| protect(pair, libc::PROT_READ)).count();
    for pair in eaten.saturating_sub(left.div_ceil(2) as usize)..eaten {
        protect(pair, libc::PROT_NONE);
    }
    Ok(())
}
