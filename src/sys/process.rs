//! Whether this process is the one that opened a log, or a child that was forked from it.
//!
//! Floor 1. A page that the kernel wipes in the child tells it for the price of a load; asking for
//! the process's id would be a system call an append.
#![expect(unsafe_code, reason = "an atomic in a page of its own; every block has its proof")]

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use memmap2::MmapRaw;

/// The process that made this value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Process(u32);

/// Holds the id of the process that wrote it, and 0 in a child until that writes its own.
static MARK: OnceLock<Option<Mark>> = OnceLock::new();

struct Mark(MmapRaw);

impl Process {
    /// The one that runs.
    pub(crate) fn current() -> Process {
        let id = std::process::id();
        if let Some(mark) = MARK.get_or_init(Mark::new) {
            mark.id().store(id, Ordering::Relaxed);
        }
        Process(id)
    }

    /// Whether it is still the one that runs.
    #[inline]
    pub(crate) fn is_current(self) -> bool {
        match MARK.get() {
            Some(Some(mark)) => mark.id().load(Ordering::Relaxed) == self.0,
            _ => self.is_current_by_id(),
        }
    }

    #[cold]
    fn is_current_by_id(self) -> bool {
        self.0 == std::process::id()
    }
}

impl Mark {
    /// `None` where the kernel has no such page (before Linux 4.14): then the id is asked for.
    fn new() -> Option<Mark> {
        let page = MmapRaw::from(memmap2::MmapMut::map_anon(size_of::<AtomicU32>()).ok()?);
        wipe_on_fork(&page).then_some(Mark(page))
    }

    #[inline]
    fn id(&self) -> &AtomicU32 {
        // SAFETY: a mapping begins at a page, so the pointer is aligned; it is larger than the four
        // bytes, which are zero at first and touched only through this atomic; `&self` keeps it.
        unsafe { AtomicU32::from_ptr(self.0.as_mut_ptr().cast()) }
    }
}

#[cfg(target_os = "linux")]
fn wipe_on_fork(page: &MmapRaw) -> bool {
    // SAFETY: the range is the mapping's own, private and anonymous; until a fork nothing changes.
    unsafe { libc::madvise(page.as_mut_ptr().cast(), page.len(), libc::MADV_WIPEONFORK) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn wipe_on_fork(_page: &MmapRaw) -> bool {
    false
}
