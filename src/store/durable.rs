//! What a store knows of itself over restarts: its id, its clock, and what its logs take.
//!
//! Floor 5. What closed logs take is one number. A log that may change is named in the checkpoint,
//! and that synced, before it is opened: so after any stop the number holds for all the others, and
//! only the named ones have to be measured.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::codec::seal::Seal;
use crate::disk::checkpoint::{Checkpoint, Loaded};
use crate::disk::metered::Metered;
use crate::disk::reserve::Reserve;
use crate::disk::space::{Space, blocks};
use crate::disk::store_meta::StoreMeta;
use crate::disk::store_state::{self, StoreState};
use crate::disk::wear::PAGE_BYTES;
use crate::disk::{Env, names, sync_name_of, text};
use crate::log::Inner;
use crate::log::clock::LogClock;
use crate::log::wear::Wear;
use crate::store::StoreRecovery;
use crate::sys::sync::Mutex;
use crate::sys::{Medium, Storage};
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::log_id::LogId;

/// What an open found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) state: StoreState,
    loaded: Loaded<StoreState>,
    /// `store.meta` does not say so yet.
    meta_due: bool,
}

/// The checkpoint of an open store.
#[derive(Debug)]
pub(super) struct Durable {
    env: Env,
    parts: Mutex<Parts>,
    /// Held while the checkpoint is synced: one at a time.
    syncing: Mutex<()>,
    /// When it was opened, by the rising clock; and what the device had to write until then.
    since: (std::time::Duration, Wear),
}

#[derive(Debug)]
struct Parts {
    state: StoreState,
    file: Checkpoint<StoreState>,
    /// The state was changed since it was written.
    unsaved: bool,
    /// Logs that were noted, and how many of these a sync has covered.
    noted: u64,
    synced: u64,
}

/// How the store's own files are reached.
fn env_of(storage: Arc<dyn Storage>, dir: &Path, medium: &Medium) -> Env {
    Env {
        storage,
        dir: dir.to_path_buf(),
        names: None,
        seal: Seal::NONE,
        // A commit of the store is rare: it is not worth a map.
        mapped: false,
        segment_bytes: limits::SEGMENT_BYTES_DEFAULT,
        index_interval_bytes: limits::INDEX_INTERVAL_BYTES_DEFAULT,
        torn_bytes: medium.tears.map(|_| limits::TORN_BYTES_DEFAULT),
        memory_bounded: false,
        written: Default::default(),
    }
}

impl Durable {
    /// Reads what there is; nothing is changed.
    pub(super) fn load(
        storage: &Arc<dyn Storage>,
        dir: &Path,
        medium: &Medium,
        is_new: bool,
        recovery: &mut StoreRecovery,
    ) -> Result<Found> {
        let env = env_of(Arc::clone(storage), dir, medium);
        let found = store_state::load(&env)?;
        recovery.checkpoint_slots_damaged = found.checkpoint.damaged_slots as u64;
        recovery.created = is_new && found.meta.is_none() && !found.checkpoint_lost;
        recovery.checkpoint_lost = found.checkpoint_lost || found.meta.is_none() && !is_new;
        let meta = match found.meta {
            Some(meta) => meta,
            None => {
                // Whoever made the directory may have died before its name was synced (I18).
                sync_name_of(&**storage, dir)?;
                let random = storage.random();
                let failed = |error| Error::io("cannot get random bytes for an id", dir, error);
                let store_id = LogId::from_bytes(random.map_err(failed)?);
                StoreMeta { store_id, created: storage.now_wall() }
            }
        };
        let meta_due = found.meta_lost || found.meta.is_none();
        recovery.meta_rebuilt = meta_due && !recovery.created;
        let state = found.checkpoint.state.clone().unwrap_or_else(|| StoreState::new(meta));
        recovery.clean = state.clean;
        Ok(Found { state, loaded: found.checkpoint, meta_due })
    }

    /// Opens it for writing. `logs` is what all logs take.
    pub(super) fn open(
        storage: &Arc<dyn Storage>,
        (dir, medium): (&Path, &Medium),
        (space, reserve): (&Arc<Space>, &Arc<Reserve>),
        found: Found,
        logs: u64,
        clock: &LogClock,
    ) -> Result<Durable> {
        let Found { mut state, loaded, meta_due } = found;
        let (space, spare) = (Arc::clone(space), Some(Arc::clone(reserve)));
        let metered = Metered::new(Arc::clone(storage), dir, space, spare, Arc::default());
        let env = env_of(Arc::new(metered), dir, medium);
        if meta_due {
            text::write(&state.meta(), &*env.storage, dir)?;
            env.written.sync(1);
            env.written.sync(0);
        }
        state.open_number += 1;
        state.clean = false;
        state.closed_bytes = logs;
        state.changing.clear();
        state.everything_changed = false;
        state.residence = storage.residence(dir);
        state.clock = clock.state(&**storage);
        let mut file = Checkpoint::open(&env, &loaded, &state)?;
        file.write(&env, &state)?;
        let since = (storage.now_mono(), Wear::of(state.payload_bytes, (state.device_bytes, 0)));
        let parts = Mutex::new(Parts { state, file, unsaved: false, noted: 0, synced: 0 });
        Ok(Durable { env, parts, syncing: Mutex::new(()), since })
    }

    /// What the store's own small files take.
    pub(super) fn file_bytes(&self) -> u64 {
        let size = |name: &str| {
            let path = self.path(name);
            self.env.storage.file_size(&path).map_or(0, |size| blocks(size.length))
        };
        size(names::STORE_META) + size(names::STORE_CHECKPOINT)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.env.dir.join(name)
    }

    /// Before a log that takes so much may change: its bytes are not among those that are known any
    /// more, whatever happens now. Blocks for a sync.
    pub(super) fn enter(&self, dir_name: &str, bytes: u64) -> Result<()> {
        let noted = {
            let mut parts = self.parts.lock();
            let Parts { state, file, unsaved, noted, synced } = &mut *parts;
            // If it cannot be written, the log stays noted: nothing is taken for known that is not.
            // That it is noted says nothing of the device then.
            if state.note_changing(dir_name) {
                state.closed_bytes = state.closed_bytes.saturating_sub(bytes);
                *unsaved = true;
                *noted += 1;
            } else if synced == noted {
                return Ok(());
            }
            file.write(&self.env, state)?;
            *unsaved = false;
            *noted
        };
        self.sync()?;
        let mut parts = self.parts.lock();
        parts.synced = parts.synced.max(noted);
        Ok(())
    }

    /// A log was closed, and takes so much from now on.
    pub(super) fn leave(&self, dir_name: &str, bytes: u64) {
        let mut parts = self.parts.lock();
        let before = parts.state.changing.len();
        parts.state.changing.retain(|name| name != dir_name);
        if parts.state.changing.len() < before {
            parts.state.closed_bytes = parts.state.closed_bytes.saturating_add(bytes);
        }
        parts.unsaved = true;
    }

    /// Adds to the store's sums what a log counted that is closed now.
    pub(super) fn count(&self, log: &Inner) {
        let (wear, dropped) = (log.wear(), log.dropped());
        let state = &mut self.parts.lock().state;
        state.payload_bytes = state.payload_bytes.saturating_add(wear.payload_bytes);
        state.device_bytes = state.device_bytes.saturating_add(wear.device_bytes);
        state.records_dropped = state.records_dropped.saturating_add(dropped.records);
        state.bytes_dropped = state.bytes_dropped.saturating_add(dropped.bytes);
    }

    /// What logs counted that are closed: what the device had to write, that for the store's own
    /// files included, records and bytes dropped.
    pub(super) fn counted(&self) -> (Wear, u64, u64) {
        let state = &self.parts.lock().state;
        let (own, syncs) = self.env.written.sums();
        let device = state.device_bytes.saturating_add(own);
        let wear = Wear::of(state.payload_bytes, (device, syncs));
        (wear, state.records_dropped, state.bytes_dropped)
    }

    /// When the store was opened, and what the device had to write for it until then.
    pub(super) fn since(&self) -> (std::time::Duration, Wear) {
        self.since
    }

    /// Writes and syncs what changed since that was done last.
    pub(super) fn save(&self, clock: &LogClock) -> Result<()> {
        {
            let mut parts = self.parts.lock();
            let Parts { state, file, unsaved, .. } = &mut *parts;
            if !*unsaved {
                return Ok(());
            }
            state.clock = clock.state(&*self.env.storage);
            file.write(&self.env, state)?;
            *unsaved = false;
        }
        self.sync()
    }

    fn sync(&self) -> Result<()> {
        let _one_at_a_time = self.syncing.lock();
        let Some(to_sync) = self.parts.lock().file.begin_sync(&self.env)? else { return Ok(()) };
        let done = to_sync.sync();
        self.parts.lock().file.end_sync(done)
    }

    /// Leaves the clean mark, if all logs are closed and none of them failed: `logs` is what they
    /// take then.
    pub(super) fn close(&self, clock: &LogClock, logs: Option<u64>) -> Result<()> {
        {
            let mut parts = self.parts.lock();
            if let Some(logs) = logs {
                // Logs that are noted still could not be synced: they stay to be measured.
                if parts.state.everything_changed || parts.state.changing.is_empty() {
                    parts.state.closed_bytes = logs;
                    parts.state.everything_changed = false;
                }
                parts.state.clean = true;
            }
            // Nobody asks any more; the slot that says so is a page as well.
            let own = self.env.written.sums().0.saturating_add(PAGE_BYTES as u64);
            parts.state.device_bytes = parts.state.device_bytes.saturating_add(own);
            parts.unsaved = true;
        }
        self.save(clock)
    }
}
