//! An event that many threads wait for and one announces.
//!
//! Floor 1. On Linux a futex: waking all is one system call, and nobody takes a lock on the way
//! out. A condition variable makes each waiter lock its mutex again, which with sixteen threads on
//! two cores takes longer than the device flush they waited for.
#![cfg_attr(
    all(not(scheduled), any(target_os = "linux", target_os = "android")),
    expect(unsafe_code, reason = "futex has no safe wrapper; every block has its proof")
)]

#[cfg(all(not(scheduled), any(target_os = "linux", target_os = "android")))]
use std::io;
use std::time::Duration;

use crate::sys::sync;
use crate::sys::sync::atomic::{AtomicU32, Ordering};

/// Counts how often it was announced, and lets threads wait for the next time.
#[derive(Debug, Default)]
pub(crate) struct Event {
    generation: AtomicU32,
    waiting: AtomicU32,
    #[cfg(any(scheduled, not(any(target_os = "linux", target_os = "android"))))]
    sleepers: Sleepers,
}

/// One who waits.
#[derive(Debug)]
pub(crate) struct Enrolled<'a> {
    event: &'a Event,
    seen: u32,
}

impl Enrolled<'_> {
    /// Waits for the next announcement, at most for `most`; whether that went by without one. May
    /// return earlier.
    pub(crate) fn wait(self, most: Option<Duration>) -> bool {
        self.event.sleep(self.seen, most) && self.event.generation() == self.seen
    }
}

impl Drop for Enrolled<'_> {
    fn drop(&mut self) {
        self.event.waiting.fetch_sub(1, Ordering::SeqCst);
    }
}

/// How often a waiter lets others run before it sleeps. Falling asleep and being woken take as
/// long as a fast device's flush; many waiters share the processors while they yield, so the more
/// there are, the longer this lasts, and a single one sleeps after a few microseconds. To a checker
/// of schedules one is as good as many.
const YIELDS_BEFORE_SLEEP: u32 = if cfg!(scheduled) { 1 } else { 20 };

impl Event {
    /// What [`Event::wait`] compares with: read before looking at what the event is about.
    #[inline]
    pub(crate) fn generation(&self) -> u32 {
        self.generation.load(Ordering::SeqCst)
    }

    /// How many threads wait.
    #[inline]
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Waits until the event is announced after `seen` was read, at most for `most`; whether that
    /// went by without it. May return earlier.
    pub(crate) fn wait(&self, seen: u32, most: Option<Duration>) -> bool {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let enrolled = Enrolled { event: self, seen };
        for _ in 0..YIELDS_BEFORE_SLEEP {
            if self.generation() != seen {
                return false;
            }
            sync::thread::yield_now();
        }
        enrolled.wait(most)
    }

    /// Counts the caller among those who wait, from now on. Whoever does so holds the lock under
    /// which the thing waited for is changed, so that [`Event::announce_if_awaited`] cannot miss
    /// it; and gives the lock back before [`Enrolled::wait`].
    pub(crate) fn enroll(&self) -> Enrolled<'_> {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        Enrolled { event: self, seen: self.generation() }
    }

    /// [`Event::announce`] for whoever held the lock that all waiters enroll under: where nobody
    /// waits it costs a load.
    #[inline]
    pub(crate) fn announce_if_awaited(&self) {
        if self.waiting.load(Ordering::Relaxed) > 0 {
            self.announce();
        }
    }

    /// Announces the event: wakes all who wait. What they look at was changed before.
    pub(crate) fn announce(&self) {
        self.generation.fetch_add(1, Ordering::SeqCst);
        if self.waiting.load(Ordering::SeqCst) > 0 {
            self.wake_all();
        }
    }

    #[cfg(all(not(scheduled), any(target_os = "linux", target_os = "android")))]
    /// Whether `most` went by.
    fn sleep(&self, seen: u32, most: Option<Duration>) -> bool {
        let timeout = most.map(|most| libc::timespec {
            tv_sec: most.as_secs().try_into().unwrap_or(libc::time_t::MAX),
            tv_nsec: most.subsec_nanos() as libc::c_long,
        });
        let timeout = timeout.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
        // SAFETY: the futex word and the timeout are alive for the call; the kernel compares the
        // word with `seen` itself, so an announcement in between returns at once. Woken, timed out,
        // interrupted or changed, the caller looks again.
        let woken = unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.generation.as_ptr(),
                libc::FUTEX_WAIT | libc::FUTEX_PRIVATE_FLAG,
                seen,
                timeout,
            )
        };
        woken != 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ETIMEDOUT)
    }

    #[cfg(all(not(scheduled), any(target_os = "linux", target_os = "android")))]
    fn wake_all(&self) {
        // SAFETY: the futex word is alive for the call; nothing else is passed.
        unsafe {
            libc::syscall(
                libc::SYS_futex,
                self.generation.as_ptr(),
                libc::FUTEX_WAKE | libc::FUTEX_PRIVATE_FLAG,
                i32::MAX,
            )
        };
    }
}

/// Where there is no futex, or a checker of schedules has to see who sleeps.
#[cfg(any(scheduled, not(any(target_os = "linux", target_os = "android"))))]
#[derive(Debug, Default)]
struct Sleepers {
    lock: sync::Mutex<()>,
    woken: sync::Condvar,
}

#[cfg(any(scheduled, not(any(target_os = "linux", target_os = "android"))))]
impl Event {
    /// Whether `most` went by.
    fn sleep(&self, seen: u32, most: Option<Duration>) -> bool {
        let mut lock = self.sleepers.lock.lock();
        if self.generation() != seen {
            return false;
        }
        let Some(most) = most else {
            self.sleepers.woken.wait(&mut lock);
            return false;
        };
        self.sleepers.woken.wait_for(&mut lock, most).timed_out()
    }

    fn wake_all(&self) {
        drop(self.sleepers.lock.lock());
        self.sleepers.woken.notify_all();
    }
}
