//! Who of many threads flushes, and who waits for it.
//!
//! Floor 4. One leads at a time; the others sleep until it has ended, and look again then.

use std::time::Duration;

use crate::sys::Event;
use crate::sys::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Who flushes, and who waits for it.
#[derive(Debug, Default)]
pub(crate) struct Group {
    running: AtomicBool,
    /// A flush ended, or there is another reason to look again.
    ended: Event,
    /// How many waited when the last flush ended.
    served: AtomicU32,
}

impl Group {
    /// To be read before looking at what [`Group::wait_since`] is to wait for.
    pub(crate) fn generation(&self) -> u32 {
        self.ended.generation()
    }

    /// Waits for the end of a flush, or for anything else worth looking at, since `seen` was read;
    /// whether `most` went by without it.
    pub(crate) fn wait_since(&self, seen: u32, most: Option<Duration>) -> bool {
        self.ended.wait(seen, most)
    }

    /// Becomes the one that flushes, after the end of a flush under way; [`Group::end`] gives it
    /// back.
    pub(crate) fn lead(&self) {
        loop {
            let seen = self.ended.generation();
            if self.try_lead() {
                return;
            }
            self.ended.wait(seen, None);
        }
    }

    /// Becomes the one that flushes, unless someone is; [`Group::end`] gives it back.
    pub(crate) fn try_lead(&self) -> bool {
        !self.running.swap(true, Ordering::SeqCst)
    }

    /// Makes every waiter look again. What they look at was changed before.
    pub(crate) fn wake(&self) {
        self.ended.announce();
    }

    #[cfg(test)]
    pub(crate) fn is_running(&self) -> bool {
        self.running.load(Ordering::SeqCst)
    }

    /// How many threads wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.ended.waiting()
    }

    /// How many waited when the last flush ended.
    pub(crate) fn served(&self) -> u32 {
        self.served.load(Ordering::Relaxed)
    }

    /// Gives back what [`Group::lead`] took, and wakes who waits for it.
    pub(crate) fn end(&self) {
        self.served.store(self.waiting(), Ordering::Relaxed);
        self.running.store(false, Ordering::SeqCst);
        self.ended.announce();
    }
}
