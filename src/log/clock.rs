//! The log clock: how old a record is, whatever the wall clock does (I15).
//!
//! Floor 4. Within one run of the kernel it follows the clock that counts since the start, sleep
//! included. What passed between two runs is added from the wall clock, but only once that is known
//! to be right at both ends: the log clock may run slow, never fast.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use parking_lot::Mutex;

use crate::disk::state::{ClockAnchor, ClockSample, ClockState, State};
use crate::log::host::Host;
use crate::log::{Inner, Log};
use crate::sys::{Residence, Storage};
use crate::words::limits;
use crate::words::offset::Offset;

/// Milliseconds of a log's life that are known to have passed.
#[derive(Debug)]
pub(crate) struct LogClock {
    /// What is added to the kernel's clock.
    base: AtomicI64,
    /// The application says that the wall clock is right.
    told: AtomicBool,
    anchored: Mutex<Anchored>,
}

#[derive(Clone, Copy, Debug)]
struct Anchored {
    anchor: Option<ClockAnchor>,
    /// It is of this run of the kernel: nothing is left to be added.
    of_this_boot: bool,
}

impl LogClock {
    /// Goes on from what the checkpoint says.
    pub(crate) fn resume(
        storage: &dyn Storage,
        (stored, resided): (ClockState, Option<Residence>),
        residence: Option<Residence>,
    ) -> LogClock {
        let boot = boot_millis(storage);
        let same_boot = match (resided, residence) {
            (Some(then), Some(now)) => then.boot == now.boot,
            _ => false,
        };
        let passed = if same_boot { boot.saturating_sub(stored.boot).max(0) } else { 0 };
        let now = stored.log_clock.saturating_add(passed);
        let of_this_boot = same_boot && stored.anchor_of_boot;
        let clock = LogClock {
            base: AtomicI64::new(now.saturating_sub(boot)),
            told: AtomicBool::new(false),
            anchored: Mutex::new(Anchored { anchor: stored.anchor, of_this_boot }),
        };
        clock.note(storage);
        clock
    }

    /// The log clock in milliseconds.
    pub(crate) fn now(&self, storage: &dyn Storage) -> i64 {
        self.base.load(Ordering::Relaxed).saturating_add(boot_millis(storage))
    }

    /// Takes the wall clock in, if it is known to be right.
    pub(crate) fn note(&self, storage: &dyn Storage) {
        if !self.told.load(Ordering::Relaxed) && !storage.clock_synchronised() {
            return;
        }
        let wall = storage.now_wall().millis();
        let mut anchored = self.anchored.lock();
        let now = self.now(storage);
        let mut ahead = 0;
        if let (Some(anchor), false) = (anchored.anchor, anchored.of_this_boot) {
            let by_wall = anchor.log_clock.saturating_add(wall.saturating_sub(anchor.wall));
            ahead = by_wall.saturating_sub(now).max(0);
            self.base.fetch_add(ahead, Ordering::Relaxed);
        }
        let log_clock = now.saturating_add(ahead);
        *anchored = Anchored { anchor: Some(ClockAnchor { log_clock, wall }), of_this_boot: true };
    }

    /// Takes note of when the active segment was begun: now, unless that is known. Moments of
    /// segments that are gone again are forgotten.
    pub(crate) fn begin_samples(&self, storage: &dyn Storage, state: &mut State, active: Offset) {
        state.samples.retain(|sample| sample.offset <= active);
        if state.samples.last().is_none_or(|sample| sample.offset < active) {
            add_sample(&mut state.samples, active, self.now(storage));
        }
    }

    /// What the checkpoint keeps.
    pub(crate) fn state(&self, storage: &dyn Storage) -> ClockState {
        let anchored = *self.anchored.lock();
        let boot = boot_millis(storage);
        ClockState {
            log_clock: self.base.load(Ordering::Relaxed).saturating_add(boot),
            boot,
            anchor: anchored.anchor,
            anchor_of_boot: anchored.of_this_boot,
        }
    }
}

impl Host {
    /// The store's clock, for a log whose state is `state`. Where its moments were taken by another
    /// clock, or by this one before it lost what it knew, they are moved so that nothing gets older
    /// by it.
    pub(crate) fn adopt_clock(
        &self,
        storage: &dyn Storage,
        state: &mut State,
        residence: Option<Residence>,
    ) -> Arc<LogClock> {
        let own = LogClock::resume(storage, (state.clock, state.residence), residence).now(storage);
        let moved = self.clock.now(storage).saturating_sub(own);
        if moved < 0 || state.meta.store != Some(self.store_id) {
            for sample in &mut state.samples {
                sample.log_clock = sample.log_clock.saturating_add(moved);
            }
        }
        Arc::clone(&self.clock)
    }
}

impl Log {
    /// Says that the wall clock is right now, for devices whose kernel is not told by NTP, PTP or
    /// the like: the time that passed while the device was off then counts for ages.
    ///
    /// Call it each time the device has set its clock, by GPS or by a server. Ages never depend on
    /// the wall clock otherwise: one that starts in 1970 or jumps makes nothing old.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// log.clock_synchronised();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn clock_synchronised(&self) {
        let inner = &*self.inner;
        if !inner.is_own() {
            return;
        }
        inner.clock.told.store(true, Ordering::Relaxed);
        inner.clock.note(&*inner.env.storage);
    }
}

impl Inner {
    /// The log clock in milliseconds.
    pub(crate) fn log_clock(&self) -> i64 {
        self.clock.now(&*self.env.storage)
    }
}

/// Adds the moment at which a segment was begun. When there are too many, every second one goes:
/// what lies between two moments then counts from the later one, and so for younger than it is.
pub(crate) fn add_sample(samples: &mut Vec<ClockSample>, offset: Offset, log_clock: i64) {
    if samples.len() >= limits::CLOCK_SAMPLES_MAX {
        let mut keep = false;
        samples.retain(|_| {
            keep = !keep;
            !keep
        });
    }
    samples.push(ClockSample { offset, log_clock });
}

fn boot_millis(storage: &dyn Storage) -> i64 {
    i64::try_from(storage.now_boot().as_millis()).unwrap_or(i64::MAX)
}
