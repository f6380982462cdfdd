//! Opening logs and closing others for them.
//!
//! Floor 5. Keeps the bounds of [`StoreOptions`](crate::StoreOptions): a place is taken before a
//! log is opened, and given back when it is closed.

use std::error::Error as _;
use std::sync::Arc;

use crate::log::full::measure;
use crate::log::host::Host;
use crate::log::options::LogOptions;
use crate::log::{Inner, Log, open};
use crate::store::names::LogName;
use crate::store::table::{Outlook, Slot, SlotState};
use crate::store::{StoreInner, log_dir};
use crate::sys::sync::atomic::Ordering;
use crate::words::error::{Error, ErrorKind, Result};

impl StoreInner {
    /// The handle of a log, opened and created if need be.
    pub(super) fn log_of(
        self: &Arc<StoreInner>,
        name: &str,
        partition: u32,
        options: Option<LogOptions>,
    ) -> Result<Log> {
        let log = LogName::new(name, partition)?;
        loop {
            self.check_open()?;
            let slot = self.slot(log.clone())?;
            let mut state = slot.lock();
            if state.gone {
                continue;
            }
            slot.touch(self.tick.fetch_add(1, Ordering::Relaxed));
            if let Some(log) = state.usable() {
                let handle = self.handle(log);
                drop(state);
                if let Some(options) = options {
                    // Without the slot's lock: a hook that is replaced may come back here.
                    handle.set_options(options.clone())?;
                    slot.lock().options = Some(Box::new(options));
                }
                return Ok(handle);
            }
            if let Some(options) = options.clone() {
                state.options = Some(Box::new(options));
            }
            let error = match self.enter(&slot, &mut state) {
                Ok(log) => return Ok(self.handle(&log)),
                Err(error) => error,
            };
            let (drops, priority) = self.gives_way(&slot, &state);
            drop(state);
            // Without a place there is nothing to be gained by deleting.
            let full = error.kind() == ErrorKind::OutOfSpace && error.source().is_some();
            if !full || !drops || !self.make_room(slot.number, priority)? {
                return Err(error);
            }
        }
    }

    fn slot(&self, log: LogName) -> Result<Arc<Slot>> {
        let mut table = self.table.lock();
        if let Some(slot) = table.get(&log.dir_name()) {
            return Ok(slot);
        }
        if let Some(other) = table.alike(&log) {
            log.check_beside(other).map_err(|error| error.at(&self.dir))?;
        }
        Ok(table.add(log))
    }

    /// Opens a log whose slot is locked.
    pub(super) fn enter(
        self: &Arc<StoreInner>,
        slot: &Arc<Slot>,
        state: &mut SlotState,
    ) -> Result<Arc<Inner>> {
        // With the slot locked: a close that begins now comes to this log behind its opening.
        self.check_open()?;
        // Whoever had a handle may have closed it.
        self.leave(slot, state)?;
        let store = self.options();
        let options = self.options_of(slot, state);
        let mapped = store.mapped_by(&options);
        self.take_place(mapped)?;
        let log = match self.enter_place(slot, state, options) {
            Ok(log) => log,
            Err(error) => {
                self.give_place(mapped);
                self.undo_enter(slot, state);
                return Err(error);
            }
        };
        state.mapped = mapped;
        {
            let mut table = self.table.lock();
            table.set_open(slot, true);
            if !log.env.mapped {
                table.places.mapped -= mapped;
                state.mapped = 0;
            }
        }
        slot.show(Some(&log));
        state.open = Some(Arc::clone(&log));
        // What its last close could not make durable is in its recovery report now.
        self.unflushed.lock().remove(&slot.number);
        state.bytes = None;
        state.outlook = None;
        self.fit_memory();
        Ok(log)
    }

    /// The options a log is opened with.
    pub(super) fn options_of(&self, slot: &Slot, state: &SlotState) -> LogOptions {
        match &state.options {
            Some(options) => (**options).clone(),
            None => self.options().of_log(&slot.log.name).clone(),
        }
    }

    fn enter_place(
        self: &Arc<StoreInner>,
        slot: &Slot,
        state: &mut SlotState,
        options: LogOptions,
    ) -> Result<Arc<Inner>> {
        let dir = log_dir(&self.dir, slot);
        let looked = |error| Error::io("cannot look at the directory of the log", &dir, error);
        let there = self.storage.kind(&dir).map_err(looked)?;
        if there.is_none() {
            // Its name is synced before anything in it is, by whoever finds no log there.
            let made = self.storage.create_dir(&dir);
            made.map_err(|error| Error::io("cannot create the directory of the log", &dir, error))?;
        }
        let counted = match (there, state.bytes) {
            (None, _) => 0,
            (Some(_), Some(bytes)) => bytes,
            (Some(_), None) => measure(&*self.storage, &dir)?,
        };
        self.durable.enter(&slot.dir_name, counted)?;
        let host = Host {
            log: slot.number,
            store_id: self.id,
            space: Arc::clone(&self.space),
            clock: Arc::clone(&self.clock),
            keeper: Arc::clone(&self.helper) as _,
            reserve: Arc::clone(&self.reserve),
            share: self.options().share(),
            counted,
            charges: Arc::clone(&slot.charges),
        };
        open::open_in(Arc::clone(&self.storage), dir, host, options).map(|log| log.inner)
    }

    /// After an opening that failed: takes note of what the log takes now, and forgets one that
    /// never was. What it took back is not synced, and would be there again after a power cut: the
    /// log stays one that has to be measured.
    fn undo_enter(&self, slot: &Arc<Slot>, state: &mut SlotState) {
        let dir = log_dir(&self.dir, slot);
        // Only an empty directory goes.
        if self.storage.remove_dir(&dir).is_ok() {
            state.gone = true;
            self.table.lock().remove(slot);
            if self.sync_names().is_ok() {
                self.durable.leave(&slot.dir_name, 0);
            }
        }
        state.bytes = measure(&*self.storage, &dir).ok();
    }

    /// Closes a log whose slot is locked, if it is open; nothing else.
    pub(super) fn leave(&self, slot: &Arc<Slot>, state: &mut SlotState) -> Result<()> {
        let Some(log) = state.open.take() else { return Ok(()) };
        slot.show(None);
        let outlook = log.outlook();
        let closed = log.close();
        self.table.lock().set_open(slot, false);
        self.give_place(state.mapped);
        state.mapped = 0;
        if closed.is_err()
            && let Ok(named) = measure(&*self.storage, &log.env.dir)
        {
            log.space.settle(named + log.space.pinned());
        }
        let bytes = log.space.named();
        state.bytes = Some(bytes);
        state.outlook = Some(Outlook { due: outlook.0, oldest: outlook.1 });
        self.durable.count(&log);
        // What retention removed and nobody synced would be back after a power cut: then the log
        // stays one that has to be measured.
        if closed.is_ok() && !log.has_failed() && self.storage.sync_dir(&log.env.dir).is_ok() {
            self.durable.leave(&slot.dir_name, bytes);
        }
        if let Err(error) = &closed {
            self.unflushed.lock().insert(slot.number, error.to_string());
        }
        closed
    }

    /// Takes a place, closing logs that nobody holds for it.
    fn take_place(&self, mapped: u64) -> Result<()> {
        let options = self.options();
        let fits = |logs: usize, in_use: u64| {
            logs < options.max_open_logs
                && in_use.saturating_add(mapped) <= options.max_mapped_bytes
        };
        loop {
            {
                let mut table = self.table.lock();
                let places = &mut table.places;
                if fits(places.logs, places.mapped) {
                    places.logs += 1;
                    places.mapped += mapped;
                    return Ok(());
                }
            }
            if !self.close_one_idle() {
                let text = format!(
                    "as many logs are in use as max_open_logs, {}, and max_mapped_bytes, {}, leave \
                     room for: let go of handles of some",
                    options.max_open_logs, options.max_mapped_bytes
                );
                return Err(Error::new(ErrorKind::OutOfSpace, text).at(&self.dir));
            }
        }
    }

    fn give_place(&self, mapped: u64) {
        let places = &mut self.table.lock().places;
        places.logs = places.logs.saturating_sub(1);
        places.mapped = places.mapped.saturating_sub(mapped);
    }

    /// Closes the log that was used least recently of those that nobody holds; whether there was
    /// one. What its close reports is reported by its recovery as well.
    pub(super) fn close_one_idle(&self) -> bool {
        let mut slots = self.table.lock().open_slots();
        slots.sort_by_key(|slot| slot.used_at());
        for slot in slots {
            let Some(mut state) = slot.try_lock() else { continue };
            if state.is_idle() {
                let _ = self.leave(&slot, &mut state);
                return true;
            }
        }
        false
    }

    /// Closes logs that nobody holds until the memory of those that are open is within its bound.
    pub(super) fn fit_memory(&self) {
        let Some(most) = self.options().memory_limit_bytes else { return };
        while self.memory_bytes() > most && self.close_one_idle() {}
    }

    /// Anonymous memory of all open logs.
    pub(super) fn memory_bytes(&self) -> u64 {
        self.open_logs().iter().map(|log| log.memory_now().0).sum()
    }

    /// The logs that are open now, those that are being opened or closed waited for.
    pub(super) fn all_open_logs(&self) -> Vec<Arc<Inner>> {
        let slots = self.table.lock().open_slots();
        slots.into_iter().filter_map(|slot| slot.lock().usable().cloned()).collect()
    }

    /// The logs that are open now; not those that are being opened or closed.
    pub(super) fn open_logs(&self) -> Vec<Arc<Inner>> {
        let slots = self.table.lock().open_slots();
        let open = |slot: Arc<Slot>| slot.try_lock().and_then(|state| state.usable().cloned());
        slots.into_iter().filter_map(open).collect()
    }
}
