//! The logs of a store: all by name, some of them open.
//!
//! Floor 5. A slot is locked while its log is opened or closed, so that nobody waits for another
//! log. Lock order: a slot, then the table; of two slots the second is only tried.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Weak};

use crate::disk::metered::Charges;
use crate::log::Inner;
use crate::log::options::LogOptions;
use crate::store::names::LogName;
use crate::sys::sync::atomic::{AtomicU64, Ordering};
use crate::sys::sync::{Mutex, MutexGuard};

/// All logs.
#[derive(Default)]
pub(super) struct Table {
    logs: BTreeMap<String, Arc<Slot>>,
    /// By what is the same for two that some filesystem takes for one.
    folded: HashMap<String, LogName>,
    by_number: Vec<Option<Arc<Slot>>>,
    /// Those that are open.
    open: BTreeMap<u64, Arc<Slot>>,
    /// Places that are taken: logs that are open, or being opened.
    pub(super) places: Places,
}

/// What open logs take of what is bounded.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places {
    pub(super) logs: usize,
    pub(super) mapped: u64,
}

/// A log of the store, open or not.
pub(super) struct Slot {
    pub(super) log: LogName,
    /// The name of its directory.
    pub(super) dir_name: String,
    pub(super) number: u64,
    used_at: AtomicU64,
    /// Its files that are open.
    pub(super) charges: Arc<Charges>,
    state: Mutex<SlotState>,
    /// What `open` of the state says, for who must not wait for the state.
    opened: Mutex<Weak<Inner>>,
}

/// What is known of it.
#[derive(Default)]
pub(super) struct SlotState {
    pub(super) open: Option<Arc<Inner>>,
    /// It was deleted: whoever has the slot looks for another one.
    pub(super) gone: bool,
    /// What it was last opened with, if that was given by the opener.
    pub(super) options: Option<Box<LogOptions>>,
    /// What its files take, while it is closed and if that is known.
    pub(super) bytes: Option<u64>,
    /// When something is due, while it is closed and if that is known.
    pub(super) outlook: Option<Outlook>,
    /// The address space that its place counts for.
    pub(super) mapped: u64,
}

/// What a closed log waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Outlook {
    /// When retention has something to do, by the log clock; `i64::MAX` for never.
    pub(super) due: i64,
    /// When its oldest sealed segment ended, if it has one.
    pub(super) oldest: Option<i64>,
}

impl Slot {
    pub(super) fn lock(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock()
    }

    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, SlotState>> {
        self.state.try_lock()
    }

    /// The log, if it is open, asked without the lock: whoever has that may be opening or closing
    /// it, or only be looking.
    pub(super) fn opened(&self) -> Option<Arc<Inner>> {
        let open = self.opened.lock().upgrade();
        open.filter(|log| !log.is_closed())
    }

    /// Takes note of the log that is open now, if one is. The caller has the state.
    pub(super) fn show(&self, log: Option<&Arc<Inner>>) {
        *self.opened.lock() = log.map(Arc::downgrade).unwrap_or_default();
    }

    /// Takes note that it is used now.
    pub(super) fn touch(&self, tick: u64) {
        self.used_at.store(tick, Ordering::Relaxed);
    }

    pub(super) fn used_at(&self) -> u64 {
        self.used_at.load(Ordering::Relaxed)
    }
}

impl SlotState {
    /// The log, if it is open and was not closed by whoever had a handle.
    pub(super) fn usable(&self) -> Option<&Arc<Inner>> {
        self.open.as_ref().filter(|log| !log.is_closed())
    }

    /// Whether nobody but the store has the log.
    pub(super) fn is_idle(&self) -> bool {
        self.open.as_ref().is_some_and(|log| Arc::strong_count(log) == 1)
    }
}

impl Table {
    pub(super) fn get(&self, dir_name: &str) -> Option<Arc<Slot>> {
        self.logs.get(dir_name).cloned()
    }

    pub(super) fn by_number(&self, number: u64) -> Option<Arc<Slot>> {
        let at = usize::try_from(number).ok()?;
        self.by_number.get(at)?.clone()
    }

    /// A log that some filesystem takes for this one.
    pub(super) fn alike(&self, log: &LogName) -> Option<&LogName> {
        self.folded.get(&log.folded())
    }

    /// Adds a log that is not there.
    pub(super) fn add(&mut self, log: LogName) -> Arc<Slot> {
        let dir_name = log.dir_name();
        self.folded.insert(log.folded(), log.clone());
        let slot = Arc::new(Slot {
            log,
            dir_name: dir_name.clone(),
            number: self.by_number.len() as u64,
            used_at: AtomicU64::new(0),
            charges: Arc::default(),
            state: Mutex::default(),
            opened: Mutex::default(),
        });
        self.by_number.push(Some(Arc::clone(&slot)));
        self.logs.insert(dir_name, Arc::clone(&slot));
        slot
    }

    pub(super) fn remove(&mut self, slot: &Slot) {
        if let Some(entry) =
            usize::try_from(slot.number).ok().and_then(|at| self.by_number.get_mut(at))
        {
            *entry = None;
        }
        self.logs.remove(&slot.dir_name);
        self.folded.remove(&slot.log.folded());
    }

    /// Takes note that a log is open now, or not any more.
    pub(super) fn set_open(&mut self, slot: &Arc<Slot>, open: bool) {
        match open {
            true => self.open.insert(slot.number, Arc::clone(slot)),
            false => self.open.remove(&slot.number),
        };
    }

    pub(super) fn open_slots(&self) -> Vec<Arc<Slot>> {
        self.open.values().cloned().collect()
    }

    pub(super) fn all(&self) -> Vec<Arc<Slot>> {
        self.logs.values().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.logs.len()
    }
}
