//! How far bytes can be read that one thread writes and others read without a lock.
//!
//! Floor 1. The bytes come first, then the end (Release); a reader looks at the end first
//! (Acquire) and then at the bytes below it, which nobody writes again (I9).

use crate::sys::sync::atomic::{AtomicUsize, Ordering};

/// A published end.
#[derive(Debug)]
pub(crate) struct Published(AtomicUsize);

impl Published {
    pub(crate) fn new(end: usize) -> Published {
        Published(AtomicUsize::new(end))
    }

    /// Up to where a reader may look.
    #[inline]
    pub(crate) fn end(&self) -> usize {
        self.0.load(Ordering::Acquire)
    }

    /// The same for the one who writes: what it published itself.
    #[inline]
    pub(crate) fn own_end(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Lets readers see everything below `end`, which is written.
    #[inline]
    pub(crate) fn publish(&self, end: usize) {
        self.0.store(end, Ordering::Release);
    }
}
