//! Who gives way when the store's budget, or the disk, is full.
//!
//! Floor 5. Of the logs that may drop, those of the lowest priority lose their oldest segment
//! first, never one of a higher priority than the one that asks.

use std::sync::Arc;

use crate::log::policy::OnFull;
use crate::store::StoreInner;
use crate::store::table::{Slot, SlotState};
use crate::words::error::Result;

/// A log that could give something.
struct Candidate {
    priority: u8,
    /// When its oldest sealed segment ended; `i64::MAX` where it has none, and so would have to
    /// seal its active one.
    oldest: i64,
    slot: Arc<Slot>,
}

impl StoreInner {
    /// Frees space for the log of this number; whether something was freed. The caller holds no
    /// lock of any log.
    pub(super) fn make_room(self: &Arc<StoreInner>, asker: u64, priority: u8) -> Result<bool> {
        self.check_open()?;
        let mut candidates = self.candidates(priority);
        candidates.sort_by_key(|one| {
            // The asker gives what others cannot.
            (one.priority, one.oldest, one.slot.number == asker, one.slot.number)
        });
        for candidate in candidates {
            // One that cannot give anything now keeps the others from nothing.
            if self.drop_oldest_of(&candidate.slot).unwrap_or(false) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn candidates(&self, priority: u8) -> Vec<Candidate> {
        let slots = self.table.lock().all();
        let mut found = Vec::new();
        for slot in slots {
            // One that is being opened or closed is not asked.
            let Some(mut state) = slot.try_lock() else { continue };
            let (drops, its) = self.gives_way(&slot, &state);
            if !drops || its > priority {
                continue;
            }
            let oldest = self.oldest_of(&slot, &mut state);
            drop(state);
            found.push(Candidate { priority: its, oldest, slot });
        }
        found
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

    /// Lets a log drop its oldest segment, opened for that if need be; whether it had one.
    fn drop_oldest_of(self: &Arc<StoreInner>, slot: &Arc<Slot>) -> Result<bool> {
        let log = {
            let Some(mut state) = slot.try_lock() else { return Ok(false) };
            if state.gone {
                return Ok(false);
            }
            match state.usable() {
                Some(log) => Arc::clone(log),
                // Nothing sealed, nothing to give: it is not opened for that.
                None if state.outlook.is_some_and(|outlook| outlook.oldest.is_none()) => {
                    return Ok(false);
                }
                None => self.enter(slot, &mut state)?,
            }
        };
        Ok(log.drop_oldest()?.is_some())
    }
}
