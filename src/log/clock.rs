//! The log clock: how old a record is, whatever the wall clock does (I15).
//!
//! Floor 4. Within one run of the kernel it follows the clock that counts since the start, sleep
//! included. What passed between two runs is added from the wall clock, but only once that is known
//! to be right at both ends: the log clock may run slow, never fast.
//!
//! Until that is known it lags, and what is noted meanwhile carries the lagging time. When it then
//! jumps ahead, these moments are moved along: when what was unknown passed, before or behind them,
//! nobody can tell, so it counts for neither of them.

use std::sync::Arc;

use crate::disk::state::{ClockAnchor, ClockSample, ClockState, State};
use crate::log::host::Host;
use crate::log::{Durable, Inner, Log};
use crate::sys::sync::Mutex;
use crate::sys::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use crate::sys::{Residence, Storage};
use crate::words::limits;
use crate::words::offset::Offset;

/// Milliseconds of a log's life that are known to have passed.
#[derive(Debug)]
pub(crate) struct LogClock {
    /// What is added to the kernel's clock.
    base: AtomicI64,
    /// By how much it has jumped ahead since this was begun.
    jumped: AtomicI64,
    /// Moments behind this were noted while what a jump adds was unknown, or just before.
    unsure_behind: i64,
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

/// When something was, by the log clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moment {
    log_clock: i64,
    /// How far the clock had jumped then.
    jumped: i64,
}

impl Moment {
    /// One that the state knows.
    pub(crate) fn of(sample: Option<&ClockSample>, shifted: i64) -> Moment {
        let log_clock = sample.map_or(0, |sample| sample.log_clock);
        Moment { log_clock, jumped: shifted }
    }
}

impl LogClock {
    /// Goes on from what the checkpoint says.
    pub(crate) fn resume(
        storage: &dyn Storage,
        (stored, resided): (ClockState, Option<Residence>),
        residence: Option<Residence>,
    ) -> LogClock {
        let boot = boot_millis(storage);
        let same_boot = is_same_boot(resided, residence);
        let passed = if same_boot { boot.saturating_sub(stored.boot).max(0) } else { 0 };
        let now = stored.log_clock.saturating_add(passed);
        let of_this_boot = same_boot && stored.anchor_of_boot;
        let clock = LogClock {
            base: AtomicI64::new(now.saturating_sub(boot)),
            jumped: AtomicI64::new(0),
            unsure_behind: stored.anchor.map_or(i64::MIN, |anchor| anchor.log_clock),
            told: AtomicBool::new(false),
            anchored: Mutex::new(Anchored { anchor: stored.anchor, of_this_boot }),
        };
        clock.note(storage);
        clock
    }

    /// The log clock in milliseconds.
    pub(crate) fn now(&self, storage: &dyn Storage) -> i64 {
        self.base.load(Ordering::Acquire).saturating_add(boot_millis(storage))
    }

    /// Now, to be kept. Told from what is sure: at worst a millisecond ahead, and so younger.
    pub(crate) fn noted(&self, storage: &dyn Storage) -> i64 {
        self.now(storage).max(self.unsure_behind.saturating_add(1))
    }

    /// Now, to tell an age by later.
    pub(crate) fn moment(&self, storage: &dyn Storage) -> Moment {
        // In this order: a jump in between makes it younger.
        let jumped = self.jumped.load(Ordering::Acquire);
        Moment { log_clock: self.noted(storage), jumped }
    }

    /// How long ago that was.
    pub(crate) fn age(&self, storage: &dyn Storage, moment: Moment) -> i64 {
        let now = self.now(storage);
        let jumped = self.jumped.load(Ordering::Acquire).saturating_sub(moment.jumped);
        let moved = if moment.log_clock > self.unsure_behind { jumped } else { 0 };
        now.saturating_sub(moment.log_clock).saturating_sub(moved)
    }

    /// Moves moments along with jumps that came since `shifted` was right for them. Ages are told
    /// by a time that was read before.
    pub(crate) fn catch_up(&self, state: &mut State, shifted: &mut i64) {
        let jumped = self.jumped.load(Ordering::Acquire);
        let by = jumped.saturating_sub(*shifted);
        if by > 0 {
            for sample in state.moments_mut().filter(|s| s.log_clock > self.unsure_behind) {
                sample.log_clock = sample.log_clock.saturating_add(by);
            }
            *shifted = jumped;
        }
    }

    /// Puts what the checkpoint keeps into the state, the moments in it with it.
    pub(crate) fn write_to(&self, storage: &dyn Storage, state: &mut State, shifted: &mut i64) {
        state.clock = self.state(storage);
        self.catch_up(state, shifted);
    }

    /// What jumps were taken in when this was stored: all there were if that was in this run of the
    /// kernel and behind the jump, else none.
    pub(crate) fn shifted(&self, stored: &State, residence: Option<Residence>) -> i64 {
        match is_same_boot(stored.residence, residence) && stored.clock.anchor_of_boot {
            true => self.jumped.load(Ordering::Acquire),
            false => 0,
        }
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
            // In this order: who sees the clock ahead sees by how much.
            self.jumped.fetch_add(ahead, Ordering::AcqRel);
            self.base.fetch_add(ahead, Ordering::AcqRel);
        }
        let log_clock = now.saturating_add(ahead);
        *anchored = Anchored { anchor: Some(ClockAnchor { log_clock, wall }), of_this_boot: true };
    }

    /// Takes note of when the active segment was begun: now, unless that is known. Moments of
    /// segments that are gone again are forgotten.
    pub(crate) fn begin_samples(&self, storage: &dyn Storage, state: &mut State, active: Offset) {
        state.samples.retain(|sample| sample.offset <= active);
        if state.samples.last().is_none_or(|sample| sample.offset < active) {
            add_sample(&mut state.samples, active, self.noted(storage));
        }
    }

    /// What the checkpoint keeps.
    pub(crate) fn state(&self, storage: &dyn Storage) -> ClockState {
        let anchored = *self.anchored.lock();
        let boot = boot_millis(storage);
        ClockState {
            log_clock: self.base.load(Ordering::Acquire).saturating_add(boot),
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
    ) -> (Arc<LogClock>, i64) {
        let own = LogClock::resume(storage, (state.clock, state.residence), residence);
        let jumped = self.clock.jumped.load(Ordering::Acquire);
        let moved = self.clock.now(storage).saturating_sub(own.now(storage));
        let mut shifted = self.clock.shifted(state, residence);
        if moved < 0 || state.meta.store != Some(self.store_id) {
            let mut own_shifted = own.shifted(state, residence);
            own.catch_up(state, &mut own_shifted);
            for sample in state.moments_mut() {
                sample.log_clock = sample.log_clock.saturating_add(moved);
            }
            shifted = jumped;
        }
        (Arc::clone(&self.clock), shifted)
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
        inner.ask_for_retention();
    }
}

impl Inner {
    /// The log clock in milliseconds.
    pub(crate) fn log_clock(&self) -> i64 {
        self.clock.now(&*self.env.storage)
    }

    /// The log clock, and the moments in the state in step with it.
    pub(crate) fn catch_up(&self, durable: &mut Durable) -> i64 {
        let now = self.log_clock();
        self.clock.catch_up(&mut durable.state, &mut durable.shifted);
        now
    }

    /// Looks at the state as of now, by the log clock.
    pub(crate) fn with_clock<T>(&self, look: impl FnOnce(&State, i64) -> T) -> T {
        let mut durable = self.checkpoint.lock();
        let now = self.catch_up(&mut durable);
        look(&durable.state, now)
    }
}

/// Whether the state was written in this run of the kernel.
fn is_same_boot(resided: Option<Residence>, residence: Option<Residence>) -> bool {
    match (resided, residence) {
        (Some(then), Some(now)) => then.boot == now.boot,
        _ => false,
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
