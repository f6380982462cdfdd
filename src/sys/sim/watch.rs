//! The one who watches the calls.
//!
//! Floor 1.

use std::fmt;

use super::{Call, Disk};
use crate::sys::sync::Mutex;
use crate::sys::sync::atomic::{AtomicBool, Ordering};
use crate::sys::sync::thread::{self, ThreadId};

type Hook = Box<dyn FnMut(&Disk, &Call) + Send>;

/// A hook, and who is inside it now.
#[derive(Default)]
pub(super) struct Watch {
    on: AtomicBool,
    hook: Mutex<Option<Hook>>,
    inside: Mutex<Option<ThreadId>>,
    /// What the hook itself said is to follow it.
    next: Mutex<Option<Option<Hook>>>,
}

impl Watch {
    /// Whether this thread is inside the hook.
    pub(super) fn is_inside(&self) -> bool {
        self.on.load(Ordering::Acquire) && *self.inside.lock() == Some(thread::current().id())
    }

    /// Puts another hook, or none, in the place of the one there is.
    pub(super) fn set(&self, hook: Option<Hook>) {
        if self.is_inside() {
            *self.next.lock() = Some(hook);
            return;
        }
        let mut slot = self.hook.lock();
        self.on.store(hook.is_some(), Ordering::Release);
        *slot = hook;
    }

    /// Calls the hook; one thread at a time.
    pub(super) fn run(&self, disk: &Disk, call: &Call) {
        if !self.on.load(Ordering::Acquire) {
            return;
        }
        let mut slot = self.hook.lock();
        let Some(hook) = slot.as_mut() else { return };
        *self.inside.lock() = Some(thread::current().id());
        let outside = Outside(self);
        hook(disk, call);
        drop(outside);
        if let Some(next) = self.next.lock().take() {
            self.on.store(next.is_some(), Ordering::Release);
            *slot = next;
        }
    }
}

/// Says that nobody is inside, also after a panic.
struct Outside<'a>(&'a Watch);

impl Drop for Outside<'_> {
    fn drop(&mut self) {
        *self.0.inside.lock() = None;
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("on", &self.on).finish_non_exhaustive()
    }
}
