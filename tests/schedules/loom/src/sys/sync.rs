//! What `src/sys/sync.rs` is in the crate: here the checker's, by the names that the files use.
//! Nobody who waits is woken by the time that passes: a wake-up that is missed is a deadlock.

use std::ops::{Deref, DerefMut};
use std::time::Duration;

pub(crate) use loom::thread;

/// The checker takes a sequentially consistent access for one that acquires and releases. Fences it
/// takes for what they are; so each such access has one beside it here, which gives what the files
/// rely on: of two threads that each write one and then look at the other's, one sees the other.
pub(crate) mod atomic {
    use loom::sync::atomic::fence;
    pub(crate) use loom::sync::atomic::{AtomicUsize, Ordering};

    fn fenced(order: Ordering) {
        if order == Ordering::SeqCst {
            fence(Ordering::SeqCst);
        }
    }

    macro_rules! atomic {
        ($name:ident, $value:ty, $($change:ident)*) => {
            #[derive(Debug, Default)]
            pub(crate) struct $name(loom::sync::atomic::$name);

            impl $name {
                pub(crate) fn load(&self, order: Ordering) -> $value {
                    fenced(order);
                    self.0.load(order)
                }

                /// As a swap, of which the checker knows the order it comes in: a store it may
                /// put before a swap whose result says otherwise.
                pub(crate) fn store(&self, value: $value, order: Ordering) {
                    fenced(order);
                    self.0.swap(value, order);
                    fenced(order);
                }

                $(pub(crate) fn $change(&self, value: $value, order: Ordering) -> $value {
                    fenced(order);
                    let before = self.0.$change(value, order);
                    fenced(order);
                    before
                })*
            }
        };
    }
    atomic!(AtomicU32, u32, fetch_add fetch_sub);
    atomic!(AtomicBool, bool, swap);
}

#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

/// Holds a [`Mutex`]. Empty only inside a wait.
pub(crate) struct MutexGuard<'a, T>(Option<loom::sync::MutexGuard<'a, T>>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Mutex<T> {
        Mutex(loom::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        MutexGuard(Some(self.0.lock().expect("nobody panicked")))
    }
}

impl<T> Deref for MutexGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_ref().expect("the lock is held")
    }
}

impl<T> DerefMut for MutexGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect("the lock is held")
    }
}

#[derive(Debug, Default)]
pub(crate) struct Condvar(loom::sync::Condvar);

pub(crate) struct WaitTimeoutResult;

impl Condvar {
    pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
        let held = guard.0.take().expect("the lock is held");
        guard.0 = Some(self.0.wait(held).expect("nobody panicked"));
    }

    pub(crate) fn wait_for<T>(
        &self,
        guard: &mut MutexGuard<'_, T>,
        _most: Duration,
    ) -> WaitTimeoutResult {
        self.wait(guard);
        WaitTimeoutResult
    }

    pub(crate) fn notify_all(&self) {
        self.0.notify_all();
    }
}

impl WaitTimeoutResult {
    pub(crate) fn timed_out(&self) -> bool {
        false
    }
}
