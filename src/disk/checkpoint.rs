//! The checkpoint: where a log's small state survives without a system call a change.
//!
//! Floor 3. Three areas: one synced, one under sync, one being written; the roles change when a
//! sync begins. In an area two slots alternate. So a killed process loses at most the change being
//! written, and a power cut falls back to the last synced area, even when changes run during the
//! sync. Slots lie on pages of their own and carry a number and a checksum; the highest whole one
//! counts.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::codec::DecodeError;
use crate::disk::meta::replace_synced;
use crate::disk::state::{NEWER, State};
use crate::disk::wear::{Written, pages_of};
use crate::disk::{Env, names, read_small};
use crate::sys::{Access, Map, MapWriter, StorageFile};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits::{CHECKPOINT_FILE_BYTES_MAX, CHECKPOINT_SLOT_BYTES, TORN_BYTES_MAX};

const AREAS: usize = 3;
const SLOTS: usize = 2;

/// What an open found.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    /// The newest whole slot's state.
    pub(crate) state: Option<State>,
    number: u64,
    /// Where the newest slot lies, and in which area.
    position: usize,
    area: usize,
    /// The highest number in each area; 0 where it holds nothing whole.
    numbers: [u64; AREAS],
    slot_bytes: usize,
    /// Slots that were written once and hold nothing whole.
    pub(crate) damaged_slots: usize,
}

/// The open checkpoint of a log.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    path: PathBuf,
    way: Way,
    slot_bytes: usize,
    number: u64,
    writing: usize,
    slot: usize,
    synced: usize,
    under_sync: Option<usize>,
    /// Something was written since the last sync began.
    dirty: bool,
    /// The newest slot found at open. It may never have been synced, or only in vain: it is written
    /// again and synced before the first change.
    unsettled: Option<Unsettled>,
    /// A sync failed: what the device holds is unknown, and nothing is written any more (I8).
    failed: bool,
    buffer: Vec<u8>,
    /// What was made to go to the device: the log's sums.
    written: Written,
    /// Pages of each slot of the area being written that no sync has covered, and of the one under
    /// sync.
    unsynced: [usize; SLOTS],
    syncing: usize,
    /// Pages that mapping the file has made dirty, whether they are written to or not.
    populated: usize,
}

/// Through what the file is written and synced. A map keeps the file open by itself: a mapped
/// checkpoint costs no descriptor.
#[derive(Debug)]
enum Way {
    Mapped(MapWriter),
    Positioned(Arc<dyn StorageFile>),
}

impl Way {
    fn of(env: &Env, file: Arc<dyn StorageFile>, length: usize) -> io::Result<Way> {
        if !env.mapped {
            return Ok(Way::Positioned(file));
        }
        let mut map = file.map_write(length)?;
        map.populate(0..length)?;
        Ok(Way::Mapped(map))
    }

    fn put(&mut self, position: usize, bytes: &[u8]) -> io::Result<()> {
        match self {
            Way::Mapped(map) => {
                map.store(position, bytes);
                Ok(())
            }
            Way::Positioned(file) => file.write_all_at(position as u64, bytes),
        }
    }

    fn to_sync(&self) -> ToSync {
        match self {
            Way::Mapped(map) => ToSync::Map(Arc::clone(map.map())),
            Way::Positioned(file) => ToSync::File(Arc::clone(file)),
        }
    }
}

/// What a sync of the checkpoint that was begun has to sync.
#[derive(Debug)]
pub(crate) enum ToSync {
    Map(Arc<Map>),
    File(Arc<dyn StorageFile>),
}

impl ToSync {
    pub(crate) fn sync(&self) -> io::Result<()> {
        match self {
            ToSync::Map(map) => map.sync(),
            ToSync::File(file) => file.sync_data(),
        }
    }
}

/// The slots of a checkpoint's bytes, one after the other: where each begins, its bytes, and what
/// it says.
///
/// Inside a slot may lie what looks like one: copies of tails hold whatever was appended. So only
/// where slots begin is looked. A file of a wrong length does not say where that is: there every
/// page is looked at but those of a whole slot, so that it still gives what it holds.
struct Slots<'a> {
    bytes: &'a [u8],
    at: usize,
    slot_bytes: usize,
    /// The length is one that a checkpoint has.
    regular: bool,
}

impl Slots<'_> {
    fn of(bytes: &[u8]) -> Slots<'_> {
        let least = bytes.len().div_ceil(AREAS * SLOTS).max(CHECKPOINT_SLOT_BYTES);
        let slot_bytes = least.next_power_of_two();
        let regular = bytes.len() == AREAS * SLOTS * slot_bytes;
        Slots { bytes, at: 0, slot_bytes, regular }
    }
}

impl<'a> Iterator for Slots<'a> {
    type Item = (usize, &'a [u8], Result<(u64, State), DecodeError>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let rest = self.bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let step = if self.regular { self.slot_bytes } else { CHECKPOINT_SLOT_BYTES };
        let decoded = State::decode(rest);
        let taken = if decoded.is_ok() { State::slot_length(rest) } else { 1 };
        let slot = rest.get(..taken.next_multiple_of(step)).unwrap_or(rest);
        self.at = start + slot.len();
        Some((start, slot, decoded))
    }
}

/// What is to be written again, and where.
#[derive(Debug)]
struct Unsettled {
    position: usize,
    slot: Vec<u8>,
    /// With a new number into the area of the oldest slots: on a medium that tears, writing it
    /// where it lies could take the only synced one.
    elsewhere: Option<usize>,
}

/// Reads the newest state. A file that is not there, or holds nothing whole, gives none.
pub(crate) fn load(env_dir: &Env) -> Result<Loaded> {
    let path = env_dir.dir.join(names::CHECKPOINT);
    let mut loaded = Loaded { slot_bytes: CHECKPOINT_SLOT_BYTES, ..Loaded::default() };
    let Some(bytes) = read_small(&*env_dir.storage, &path, CHECKPOINT_FILE_BYTES_MAX)? else {
        return Ok(loaded);
    };
    let slots = Slots::of(&bytes);
    let slot_bytes = slots.slot_bytes;
    if slots.regular {
        loaded.slot_bytes = slot_bytes;
    }
    for (start, slot, decoded) in slots {
        match decoded {
            Ok((number, state)) => {
                let area = start / (slot_bytes * SLOTS);
                if let Some(highest) = loaded.numbers.get_mut(area) {
                    *highest = number.max(*highest);
                }
                if loaded.state.is_none() || number > loaded.number {
                    loaded.state = Some(state);
                    loaded.number = number;
                    loaded.position = start;
                    loaded.area = area;
                }
            }
            Err(DecodeError { what: NEWER, .. }) => {
                return Err(Error::new(ErrorKind::UnsupportedFormat, NEWER).at(&path));
            }
            Err(_) => {
                let first_of_slot = start % slot_bytes == 0;
                loaded.damaged_slots += usize::from(first_of_slot && !State::is_unused(slot));
            }
        }
    }
    Ok(loaded)
}

/// What a reader that takes no lock makes of the bytes of a checkpoint that may be written to.
#[derive(Debug, Default)]
pub(crate) struct Glance {
    /// The newest whole slot: its number and state.
    pub(crate) newest: Option<(u64, State)>,
    /// A slot was being written while it was read: it pays to look again.
    pub(crate) torn: bool,
}

/// Reads the newest state from bytes. What is not whole and was the same in `before` is damaged;
/// what is not whole and changed is being written.
pub(crate) fn glance(bytes: &[u8], before: &[u8]) -> Result<Glance, DecodeError> {
    let mut found = Glance::default();
    for (start, slot, decoded) in Slots::of(bytes) {
        match decoded {
            Ok((number, state)) => {
                if found.newest.as_ref().is_none_or(|(newest, _)| number > *newest) {
                    found.newest = Some((number, state));
                }
            }
            Err(error) if error.what == NEWER => return Err(error),
            Err(_) => found.torn |= before.get(start..start + slot.len()) != Some(slot),
        }
    }
    Ok(found)
}

impl Checkpoint {
    /// Opens the file for writing behind what was loaded from it; makes it anew, synced and with
    /// `state` in it, where it is missing or has the wrong size.
    pub(crate) fn open(env: &Env, loaded: &Loaded, state: &State) -> Result<Checkpoint> {
        let path = env.dir.join(names::CHECKPOINT);
        let length = AREAS * SLOTS * loaded.slot_bytes;
        let opened = env.storage.open(&path, Access::ReadWrite).ok();
        let usable = opened.filter(|file| {
            loaded.slot_bytes >= least_slot_bytes(env)
                && file.len().is_ok_and(|found| found == length as u64)
        });
        let (Some(file), Some(newest)) = (usable, &loaded.state) else {
            let created = Checkpoint::create(env, loaded.slot_bytes, loaded.number, state);
            return created.map_err(|(error, _)| error);
        };
        let unsettled = Unsettled::of(env, loaded, newest);
        let way = Way::of(env, file, length)
            .map_err(|error| Error::io("cannot map the checkpoint", &path, error))?;
        Ok(Checkpoint {
            path,
            way,
            slot_bytes: loaded.slot_bytes,
            number: loaded.number,
            writing: (loaded.area + 1) % AREAS,
            slot: 0,
            synced: loaded.area,
            under_sync: None,
            dirty: false,
            unsettled: Some(unsettled),
            failed: false,
            buffer: Vec::new(),
            written: env.written.clone(),
            unsynced: [0; SLOTS],
            syncing: 0,
            populated: if env.mapped { pages_of(0..length) } else { 0 },
        })
    }

    /// Makes the file under another name with `state` in its first area, syncs it, and puts it in
    /// the old one's place.
    ///
    /// The second part of the error says that there is no way back: a sync failed, or the old file
    /// is gone.
    fn create(
        env: &Env,
        slot_bytes: usize,
        number: u64,
        state: &State,
    ) -> std::result::Result<Checkpoint, (Error, bool)> {
        let path = env.dir.join(names::CHECKPOINT);
        let mut buffer = Vec::new();
        state.encode(number + 1, &mut buffer);
        let mut slot_bytes = slot_bytes.max(least_slot_bytes(env));
        while buffer.len() > slot_bytes {
            slot_bytes *= 2;
        }
        let length = AREAS * SLOTS * slot_bytes;
        // Written zeros, not a hole: every block is there before a map stores to it.
        buffer.resize(length, 0);
        let mut unused = Vec::new();
        State::encode_unused(&mut unused);
        for slot in buffer.chunks_exact_mut(slot_bytes).skip(1) {
            if let Some(begin) = slot.get_mut(..unused.len()) {
                begin.copy_from_slice(&unused);
            }
        }
        let made = |file: &Arc<dyn StorageFile>| Way::of(env, Arc::clone(file), length);
        let (_, way) = replace_synced(&*env.storage, &path, &buffer, made)?;
        env.written.sync(pages_of(0..buffer.len()));
        env.written.sync(0);
        // The file's other slots are not needed in memory.
        buffer.truncate(slot_bytes);
        buffer.shrink_to_fit();
        buffer.clear();
        Ok(Checkpoint {
            path,
            way,
            slot_bytes,
            number: number + 1,
            writing: 1,
            slot: 0,
            synced: 0,
            under_sync: None,
            dirty: false,
            unsettled: None,
            failed: false,
            buffer,
            written: env.written.clone(),
            unsynced: [0; SLOTS],
            syncing: 0,
            populated: if env.mapped { pages_of(0..length) } else { 0 },
        })
    }

    /// Writes the state. Mapped: a store, no system call; by position: one. It survives the death
    /// of the process at once, and a power cut after the next sync.
    pub(crate) fn write(&mut self, env: &Env, state: &State) -> Result<()> {
        self.check_failed()?;
        self.settle()?;
        state.encode(self.number + 1, &mut self.buffer);
        if self.buffer.len() > self.slot_bytes {
            let grown = Checkpoint::create(env, self.slot_bytes, self.number, state);
            *self = grown.map_err(|(error, finally)| {
                self.failed = finally;
                error
            })?;
            return Ok(());
        }
        let at = (self.writing * SLOTS + self.slot) * self.slot_bytes;
        self.way.put(at, &self.buffer).map_err(|error| {
            Error::io("cannot write the checkpoint", &self.path, error).position(at)
        })?;
        self.number += 1;
        if let Some(pages) = self.unsynced.get_mut(self.slot) {
            *pages = pages_of(0..self.buffer.len()).max(*pages);
        }
        self.slot = (self.slot + 1) % SLOTS;
        self.dirty = true;
        Ok(())
    }

    /// Makes sure of the newest slot found at open. Putting it there again makes its page one that
    /// has to be written, also where a sync that failed before has left it clean.
    fn settle(&mut self) -> Result<()> {
        let Some(Unsettled { position, slot, elsewhere }) = &self.unsettled else { return Ok(()) };
        // First what a process that was killed had not synced yet.
        let to_sync = self.way.to_sync();
        let mut settled = elsewhere.map_or(Ok(()), |_| to_sync.sync());
        if settled.is_ok() {
            // What lies there is the same or not needed: if that fails, nothing was lost.
            self.way
                .put(*position, slot)
                .map_err(|error| Error::io("cannot write the checkpoint", &self.path, error))?;
            settled = to_sync.sync();
        }
        self.failed = settled.is_err();
        settled.map_err(|error| Error::sync("cannot sync the checkpoint", &self.path, error))?;
        self.written.sync(pages_of(0..slot.len()).max(std::mem::take(&mut self.populated)));
        if let Some(area) = *elsewhere {
            self.number += 1;
            self.synced = area;
            self.writing = (area + 1) % AREAS;
        }
        self.unsettled = None;
        Ok(())
    }

    /// Begins a sync: what was written so far is under sync, and further changes go elsewhere.
    /// `None` if everything is synced. The caller syncs without holding the checkpoint's lock, one
    /// at a time, and then says how it went.
    pub(crate) fn begin_sync(&mut self) -> Result<Option<ToSync>> {
        self.check_failed()?;
        // What was found at open may never have been synced.
        self.settle()?;
        if !self.dirty {
            return Ok(None);
        }
        debug_assert!(self.under_sync.is_none(), "one sync at a time");
        self.under_sync = Some(self.writing);
        self.writing = (0..AREAS)
            .find(|&area| area != self.writing && area != self.synced)
            .unwrap_or_default();
        self.slot = 0;
        self.dirty = false;
        let written: usize = std::mem::take(&mut self.unsynced).iter().sum();
        self.syncing = written.max(std::mem::take(&mut self.populated));
        Ok(Some(self.way.to_sync()))
    }

    /// Bytes of memory its buffer takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.buffer.capacity() + self.unsettled.as_ref().map_or(0, |newest| newest.slot.capacity())
    }

    /// Whether a sync failed, so that the log has to be poisoned.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    fn check_failed(&self) -> Result<()> {
        if self.failed {
            let text = "an earlier sync of the checkpoint failed";
            return Err(Error::new(ErrorKind::Poisoned, text).at(&self.path));
        }
        Ok(())
    }

    /// Ends the sync that was begun. After a failed one the log is poisoned and writes no more.
    pub(crate) fn end_sync(&mut self, done: io::Result<()>) -> Result<()> {
        let area = self.under_sync.take();
        self.failed |= done.is_err();
        done.map_err(|error| Error::sync("cannot sync the checkpoint", &self.path, error))?;
        self.synced = area.unwrap_or(self.synced);
        self.written.sync(self.syncing);
        Ok(())
    }

    /// By how much the state of the last write was too long for a slot.
    pub(crate) fn excess_bytes(&self) -> usize {
        self.buffer.len().saturating_sub(self.slot_bytes)
    }

    /// Writes the state and syncs it.
    #[cfg(test)]
    pub(crate) fn write_synced(&mut self, env: &Env, state: &State) -> Result<()> {
        self.write(env, state)?;
        self.sync()
    }

    /// Syncs what was written, with nobody else around.
    pub(crate) fn sync(&mut self) -> Result<()> {
        match self.begin_sync()? {
            Some(begun) => {
                let done = begun.sync();
                self.end_sync(done)
            }
            None => Ok(()),
        }
    }
}

impl Unsettled {
    fn of(env: &Env, loaded: &Loaded, newest: &State) -> Unsettled {
        let mut slot = Vec::new();
        if env.torn_bytes.is_none() {
            newest.encode(loaded.number, &mut slot);
            return Unsettled { position: loaded.position, slot, elsewhere: None };
        }
        let oldest = (0..AREAS).min_by_key(|&area| loaded.numbers.get(area)).unwrap_or_default();
        newest.encode(loaded.number + 1, &mut slot);
        let position = oldest * SLOTS * loaded.slot_bytes;
        Unsettled { position, slot, elsewhere: Some(oldest) }
    }
}

/// Areas lie further apart than what a medium that tears takes around a rewritten sector.
fn least_slot_bytes(env: &Env) -> usize {
    env.torn_bytes.map_or(CHECKPOINT_SLOT_BYTES, |_| TORN_BYTES_MAX / SLOTS)
}

/// What a new checkpoint's file takes.
pub(crate) fn least_bytes(tears: bool) -> u64 {
    let slot = if tears { TORN_BYTES_MAX / SLOTS } else { CHECKPOINT_SLOT_BYTES };
    (AREAS * SLOTS * slot) as u64
}

#[cfg(test)]
mod tests;
