//! What threads share and wait by: locks, atomics, cells that are set once, threads.
//!
//! Floor 1. All in one place, so that a checker of schedules can put its own in their stead: built
//! with `--cfg scheduled`, as `tests/schedules` alone does, each use is a point at which the
//! checker may let another thread run. Everywhere else these are the plain ones, by another name.

#[cfg(not(scheduled))]
mod plain {
    pub(crate) use std::sync::{OnceLock, atomic};
    pub(crate) use std::thread;

    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    pub(crate) use parking_lot::Condvar;
    pub(crate) use parking_lot::{Mutex, MutexGuard, RwLock, RwLockReadGuard, RwLockWriteGuard};
}
#[cfg(not(scheduled))]
pub(crate) use plain::*;

#[cfg(scheduled)]
pub(crate) use scheduled::{
    Condvar, Mutex, MutexGuard, OnceLock, RwLock, RwLockReadGuard, RwLockWriteGuard, atomic, thread,
};
