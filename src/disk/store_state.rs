//! The state of a store that its checkpoint holds, its bytes, and what an open finds of both its
//! files.
//!
//! Floor 3. Bytes: `docs/format.md`, "store.checkpoint". What is counted here spares an open the
//! look into each log: only those that may have changed since have to be looked at.

use crate::codec::DecodeError;
use crate::disk::checkpoint::{self, Loaded};
use crate::disk::slot::{Fields, Moment, Slot, set_bits};
use crate::disk::state::ClockState;
use crate::disk::store_meta::StoreMeta;
use crate::disk::text::{self, Found};
use crate::disk::{Env, names};
use crate::sys::Residence;
use crate::words::error::Result;
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::time::Timestamp;

const FLAG_CLEAN: u16 = 1;
const FLAG_EVERYTHING_CHANGED: u16 = 2;

/// Bytes of a name in a filesystem, at most.
const DIRECTORY_NAME_BYTES_MAX: usize = 255;

/// Everything small about a store that has to survive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoreState {
    /// With the next one, what `store.meta` says, for the case that it is lost.
    pub(crate) store_id: LogId,
    pub(crate) created: Timestamp,
    /// Counts the opens for writing.
    pub(crate) open_number: u64,
    /// Where it was written: if this is still so, the page cache was never lost.
    pub(crate) residence: Option<Residence>,
    /// From a clean close to the first change after it.
    pub(crate) clean: bool,
    /// The one clock of all logs (I15).
    pub(crate) clock: ClockState,
    /// Bytes of all logs that are not in `changing`.
    pub(crate) closed_bytes: u64,
    /// Directories of the logs that may have changed since; in order, each once.
    pub(crate) changing: Vec<String>,
    /// Any log may have changed, and `closed_bytes` is nothing to go by.
    pub(crate) everything_changed: bool,
    /// What full disks and budgets have cost, over the life of the store.
    pub(crate) records_dropped: u64,
    pub(crate) bytes_dropped: u64,
    /// What was made to go to the device, and what of it was records, over the life of the store.
    pub(crate) device_bytes: u64,
    pub(crate) payload_bytes: u64,
}

impl StoreState {
    /// A store's first state.
    pub(crate) fn new(meta: StoreMeta) -> StoreState {
        StoreState {
            store_id: meta.store_id,
            created: meta.created,
            open_number: 0,
            residence: None,
            clean: false,
            clock: ClockState::default(),
            closed_bytes: 0,
            changing: Vec::new(),
            everything_changed: false,
            records_dropped: 0,
            bytes_dropped: 0,
            device_bytes: 0,
            payload_bytes: 0,
        }
    }

    /// What `store.meta` has to say.
    pub(crate) fn meta(&self) -> StoreMeta {
        StoreMeta { store_id: self.store_id, created: self.created }
    }

    /// Notes that a log may change from now on; whether that is new, so that the state has to be
    /// written before the log is. Where there is no room for one more, all logs count as changing.
    pub(crate) fn note_changing(&mut self, dir: &str) -> bool {
        debug_assert!(is_plain(dir), "{dir:?} is the name of a directory");
        if self.everything_changed {
            return false;
        }
        let Err(place) = self.changing.binary_search_by(|name| name.as_str().cmp(dir)) else {
            return false;
        };
        if self.is_full_for(dir) {
            self.everything_changed = true;
            self.changing = Vec::new();
        } else {
            self.changing.insert(place, dir.to_owned());
        }
        true
    }

    fn is_full_for(&self, dir: &str) -> bool {
        let count = self.changing.len() + 1;
        // While even the longest names would fit, they need not be summed up.
        let fits = count * (DIRECTORY_NAME_BYTES_MAX + 1) <= limits::STORE_CHANGING_BYTES_MAX;
        let bytes = || self.changing.iter().map(|name| name.len() + 1).sum::<usize>();
        count > limits::STORE_CHANGING_MAX
            || !fits && bytes() + dir.len() + 1 > limits::STORE_CHANGING_BYTES_MAX
    }

    /// Whether a log may have changed since `closed_bytes` was summed up.
    #[cfg(test)]
    pub(crate) fn is_changing(&self, dir: &str) -> bool {
        self.everything_changed
            || self.changing.binary_search_by(|name| name.as_str().cmp(dir)).is_ok()
    }

    fn moment(&self) -> Moment {
        Moment { residence: self.residence, clock: self.clock }
    }
}

impl Slot for StoreState {
    const MAGIC: [u8; 4] = *b"FBSK";
    const UNUSED: [u8; 4] = *b"FBS0";
    const VERSION: u16 = 1;
    const FILE: &'static str = names::STORE_CHECKPOINT;
    const FILE_BYTES_MAX: usize = limits::STORE_CHECKPOINT_FILE_BYTES_MAX;

    fn is_clean(&self) -> bool {
        self.clean
    }

    fn flags(&self) -> u16 {
        let bits = [(FLAG_CLEAN, self.clean), (FLAG_EVERYTHING_CHANGED, self.everything_changed)];
        set_bits(&bits) | self.moment().flags()
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.store_id.as_bytes());
        out.extend_from_slice(&self.created.millis().to_be_bytes());
        for number in [
            self.open_number,
            self.closed_bytes,
            self.records_dropped,
            self.bytes_dropped,
            self.device_bytes,
            self.payload_bytes,
        ] {
            out.extend_from_slice(&number.to_be_bytes());
        }
        self.moment().put(out);
        let count = u32::try_from(self.changing.len()).expect("changing logs are bounded");
        out.extend_from_slice(&count.to_be_bytes());
        for name in &self.changing {
            out.push(u8::try_from(name.len()).expect("names of directories are bounded by 255"));
            out.extend_from_slice(name.as_bytes());
        }
    }

    fn take(flags: u16, fields: &mut Fields<'_>) -> Result<StoreState, DecodeError> {
        let store_id = LogId::from_bytes(fields.array()?);
        let created = Timestamp::from_millis(fields.millis()?);
        let (open_number, closed_bytes) = (fields.u64()?, fields.u64()?);
        let (records_dropped, bytes_dropped) = (fields.u64()?, fields.u64()?);
        let (device_bytes, payload_bytes) = (fields.u64()?, fields.u64()?);
        let Moment { residence, clock } = Moment::take(flags, fields)?;
        Ok(StoreState {
            store_id,
            created,
            open_number,
            residence,
            clean: flags & FLAG_CLEAN != 0,
            clock,
            closed_bytes,
            changing: take_changing(fields)?,
            everything_changed: flags & FLAG_EVERYTHING_CHANGED != 0,
            records_dropped,
            bytes_dropped,
            device_bytes,
            payload_bytes,
        })
    }
}

fn take_changing(fields: &mut Fields<'_>) -> Result<Vec<String>, DecodeError> {
    let count = fields.u32()? as usize;
    if count > limits::STORE_CHANGING_MAX {
        return Err(fields.error("the slot counts too many logs"));
    }
    let mut changing: Vec<String> = Vec::new();
    for _ in 0..count {
        let name = fields.text()?;
        // It becomes a path: nothing outside of the store may be reached by it.
        if !is_plain(name) {
            return Err(fields.error("the slot names what no log's directory is called"));
        }
        if changing.last().is_some_and(|last| last.as_str() >= name) {
            return Err(fields.error("the slot names logs out of order"));
        }
        changing.push(name.to_owned());
    }
    Ok(changing)
}

/// Whether it names something in a directory, and nothing above or below.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= DIRECTORY_NAME_BYTES_MAX
        && !matches!(name, "." | "..")
        && !name.contains(['/', '\\', '\0'])
}

/// What an open finds of a store.
#[derive(Debug)]
pub(crate) struct LoadedStore {
    /// Whose directory it is: by `store.meta`, or else by the checkpoint. `None` where no store was
    /// made yet, and where both are lost.
    pub(crate) meta: Option<StoreMeta>,
    /// `store.meta` is damaged, or gone while there is a checkpoint; it has to be written again.
    pub(crate) meta_lost: bool,
    /// Its state is gone if no slot is whole, or if it is another store's.
    pub(crate) checkpoint: Loaded<StoreState>,
    /// The state is gone while something of the store is left: what the logs take has to be
    /// measured again.
    pub(crate) checkpoint_lost: bool,
}

/// Reads both files.
pub(crate) fn load(env: &Env) -> Result<LoadedStore> {
    let found = text::read::<StoreMeta>(&*env.storage, &env.dir)?;
    let mut checkpoint = checkpoint::load::<StoreState>(env)?;
    let stored = checkpoint.state.as_ref().map(StoreState::meta);
    let (meta, meta_lost) = match found {
        Found::Whole(meta) => (Some(meta), false),
        Found::Damaged => (stored, true),
        Found::Nothing => (stored, stored.is_some()),
    };
    if stored.map(|stored| stored.store_id) != meta.map(|meta| meta.store_id) {
        // Copied here from elsewhere, or left from a store that was here before.
        checkpoint.state = None;
    }
    let something = found != Found::Nothing || checkpoint.is_there;
    let checkpoint_lost = checkpoint.state.is_none() && something;
    Ok(LoadedStore { meta, meta_lost, checkpoint, checkpoint_lost })
}

#[cfg(test)]
mod tests;
