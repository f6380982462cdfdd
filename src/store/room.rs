//! Who gives way when the store's budget, or the disk, is full.
//!
//! Floor 5. Of the logs that may drop, those of the lowest priority lose their oldest segment
//! first, never one of a higher priority than the one that asks.

use std::sync::Arc;
use std::time::Duration;

use crate::log::policy::OnFull;
use crate::store::StoreInner;
use crate::store::table::{Slot, SlotState};
use crate::words::error::Result;
use crate::words::limits;

/// A log that could give something.
struct Candidate {
    priority: u8,
    /// When its oldest sealed segment ended; `i64::MAX` where it has none, and so would have to
    /// seal its active one.
    oldest: i64,
    slot: Arc<Slot>,
}

/// What became of asking a log for its oldest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Room,
    Nothing,
    /// It is being opened or closed, and may have something to give then.
    Busy,
}

impl StoreInner {
    /// Frees space for the log of this number; whether something was freed, by this call or by
    /// another one meanwhile. The caller holds no lock of any log.
    ///
    /// Logs that are being opened or closed are waited for, if no other has anything to give.
    pub(super) fn make_room(self: &Arc<StoreInner>, asker: u64, priority: u8) -> Result<bool> {
        let seen = self.space.rooms();
        let most = Duration::from_millis(limits::BUSY_LOGS_WAIT_MILLIS);
        let until = self.storage.now_mono().saturating_add(most);
        loop {
            self.check_open()?;
            let given = self.ask_all(asker, priority);
            if given != Given::Busy || self.storage.now_mono() >= until {
                return Ok(given == Given::Room);
            }
            // Not by their locks: whoever has one may be waiting for the caller.
            self.storage.sleep(Duration::from_millis(limits::STORE_WAKE_MILLIS));
            if self.space.rooms() != seen {
                return Ok(true);
            }
        }
    }

    /// Asks one log after the other until one gives something.
    fn ask_all(self: &Arc<StoreInner>, asker: u64, priority: u8) -> Given {
        let (mut candidates, is_busy) = self.candidates(priority);
        candidates.sort_by_key(|one| {
            // The asker gives what others cannot.
            (one.priority, one.oldest, one.slot.number == asker, one.slot.number)
        });
        let mut all = if is_busy { Given::Busy } else { Given::Nothing };
        for candidate in candidates {
            // One that cannot give anything now keeps the others from nothing.
            match self.drop_oldest_of(&candidate.slot).unwrap_or(Given::Nothing) {
                Given::Room => return Given::Room,
                Given::Busy => all = Given::Busy,
                Given::Nothing => {}
            }
        }
        all
    }

    /// The logs that may be asked, and whether there may be more.
    fn candidates(&self, priority: u8) -> (Vec<Candidate>, bool) {
        let slots = self.table.lock().all();
        let (mut found, mut is_busy) = (Vec::new(), false);
        for slot in slots {
            // Without the lock of one that is open: others that look for room look at it too.
            if let Some(log) = slot.opened() {
                let policy = log.policy();
                if policy.on_full == OnFull::DropOldest && policy.priority <= priority {
                    let oldest = log.outlook().1.unwrap_or(i64::MAX);
                    found.push(Candidate { priority: policy.priority, oldest, slot });
                }
                continue;
            }
            let Some(mut state) = slot.try_lock() else {
                is_busy = true;
                continue;
            };
            let (drops, its) = self.gives_way(&slot, &state);
            if state.gone || !drops || its > priority {
                continue;
            }
            let oldest = self.oldest_of(&slot, &mut state);
            drop(state);
            found.push(Candidate { priority: its, oldest, slot });
        }
        (found, is_busy)
    }

    /// Whether a log may drop its oldest segments, and its priority.
    pub(super) fn gives_way(&self, slot: &Slot, state: &SlotState) -> (bool, u8) {
        let (on_full, priority) = match state.usable() {
            Some(log) => {
                let policy = log.policy();
                (policy.on_full, policy.priority)
            }
            None => {
                let options = self.options_of(slot, state);
                (options.on_full, options.priority)
            }
        };
        (on_full == OnFull::DropOldest, priority)
    }

    fn oldest_of(&self, slot: &Slot, state: &mut SlotState) -> i64 {
        if let Some(log) = state.usable() {
            return log.outlook().1.unwrap_or(i64::MAX);
        }
        if state.outlook.is_none() {
            state.outlook = self.peek(slot, state);
        }
        state.outlook.and_then(|outlook| outlook.oldest).unwrap_or(i64::MAX)
    }

    /// Lets a log drop its oldest segment, opened for that if need be.
    fn drop_oldest_of(self: &Arc<StoreInner>, slot: &Arc<Slot>) -> Result<Given> {
        let log = match slot.opened() {
            Some(log) => log,
            None => {
                let Some(mut state) = slot.try_lock() else { return Ok(Given::Busy) };
                if state.gone {
                    return Ok(Given::Nothing);
                }
                match state.usable() {
                    Some(log) => Arc::clone(log),
                    // Nothing sealed, nothing to give: it is not opened for that.
                    None if state.outlook.is_some_and(|outlook| outlook.oldest.is_none()) => {
                        return Ok(Given::Nothing);
                    }
                    None => self.enter(slot, &mut state)?,
                }
            }
        };
        match log.drop_oldest() {
            Ok(dropped) => Ok(if dropped.is_some() { Given::Room } else { Given::Nothing }),
            // Closed for another one just now: it is asked again when that is over.
            Err(_) if log.is_closed() => Ok(Given::Busy),
            Err(error) => Err(error),
        }
    }
}
