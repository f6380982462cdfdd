//! What the logs of a store reach it by, and the thread that helps them all.
//!
//! Floor 5. Logs hold this, and this does not hold the store, so that the last handle closes it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use crate::log::Inner;
use crate::log::host::Keeper;
use crate::store::StoreInner;
use crate::sys::sync::atomic::{AtomicBool, Ordering};
use crate::sys::sync::{Mutex, OnceLock};
use crate::sys::{Event, Task};
use crate::words::error::{Error, Result};
use crate::words::limits;

/// The way from a log to its store.
#[derive(Debug, Default)]
pub(super) struct Helper {
    store: OnceLock<Weak<StoreInner>>,
    running: AtomicBool,
    stop: AtomicBool,
    wake: Event,
    /// Logs that have something to be done.
    called: Mutex<BTreeSet<u64>>,
    task: Mutex<Option<Box<dyn Task>>>,
}

impl Keeper for Helper {
    #[inline]
    fn is_running(&self) -> bool {
        self.running.load(Ordering::Relaxed)
    }

    fn wake(&self, log: u64) {
        if self.is_running() && self.called.lock().insert(log) {
            self.wake.announce();
        }
    }

    fn make_room(&self, log: u64, priority: u8) -> Result<bool> {
        match self.store.get().and_then(Weak::upgrade) {
            Some(store) => store.make_room(log, priority),
            None => Ok(false),
        }
    }
}

impl Helper {
    /// To be called once, by the open that made the store.
    pub(super) fn belongs_to(&self, store: &Arc<StoreInner>) {
        // Set once.
        let _ = self.store.set(Arc::downgrade(store));
    }

    /// Starts the thread.
    pub(super) fn start(self: &Arc<Helper>, store: &StoreInner) -> Result<()> {
        self.running.store(true, Ordering::Relaxed);
        let its = Arc::clone(self);
        let run = Box::new(move || its.run());
        let task = store.storage.spawn("forebay-store", run).map_err(|error| {
            self.running.store(false, Ordering::Relaxed);
            Error::io("cannot start the thread of the store", &store.dir, error)
        })?;
        *self.task.lock() = Some(task);
        Ok(())
    }

    /// Ends the thread and waits for it.
    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.running.store(false, Ordering::Relaxed);
        self.wake.announce();
        let task = self.task.lock().take();
        if let Some(mut task) = task {
            task.join();
        }
    }

    fn run(&self) {
        let mut pending = Pending::default();
        loop {
            let seen = self.wake.generation();
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            let called = std::mem::take(&mut *self.called.lock());
            let pause = match self.store.get().and_then(Weak::upgrade) {
                Some(store) => pending.work(&store, called),
                None => return,
            };
            self.wake.wait(seen, Some(pause));
            // Those who come together are served together.
            if let Some(store) = self.store.get().and_then(Weak::upgrade) {
                store.storage.sleep(Duration::from_millis(limits::STORE_WAKE_MILLIS));
            }
        }
    }
}

/// What the thread has to come back to.
#[derive(Default)]
struct Pending {
    /// When each of these logs has something due, by the rising clock.
    due: HashMap<u64, Duration>,
    /// When all logs were looked at last.
    passed: Option<Duration>,
}

impl Pending {
    /// Does what is due; how long until there is more, if nobody calls before.
    fn work(&mut self, store: &Arc<StoreInner>, mut called: BTreeSet<u64>) -> Duration {
        let pass = Duration::from_secs(limits::STORE_PASS_SECONDS);
        let now = store.storage.now_mono();
        called.extend(self.due.iter().filter(|(_, at)| **at <= now).map(|(log, _)| *log));
        self.due.retain(|_, at| *at > now);
        let mut logs = Vec::new();
        for number in called {
            match store.open_log(number) {
                Ok(Some(log)) => logs.push((number, log)),
                Ok(None) => {}
                Err(Busy) => {
                    let soon = Duration::from_millis(limits::STORE_WAKE_MILLIS);
                    self.due.insert(number, now.saturating_add(soon));
                }
            }
        }
        let flush: Vec<_> = logs.iter().map(|(_, log)| Arc::clone(log)).collect();
        let flush: Vec<_> = flush.into_iter().filter(|log| log.is_flush_due()).collect();
        // What fails here fails again, and is reported, in the call that needs it.
        let _ = store.flush_logs(&flush);
        for (number, log) in &logs {
            if let Some(pause) = log.work_ahead() {
                self.due.insert(*number, now.saturating_add(pause));
            }
        }
        drop((logs, flush));
        if self.passed.is_none_or(|passed| now.saturating_sub(passed) >= pass) {
            self.passed = Some(now);
            let _ = store.maintain();
        }
        let next = self.due.values().min().map_or(pass, |at| at.saturating_sub(now));
        next.min(pass)
    }
}

/// A log is being opened or closed just now.
struct Busy;

impl StoreInner {
    /// The log of this number, if it is open.
    fn open_log(&self, number: u64) -> std::result::Result<Option<Arc<Inner>>, Busy> {
        let Some(slot) = self.table.lock().by_number(number) else { return Ok(None) };
        let state = slot.try_lock().ok_or(Busy)?;
        Ok(state.usable().cloned())
    }
}
