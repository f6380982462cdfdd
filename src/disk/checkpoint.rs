//! The checkpoint: where the small state of a log, or of a store, survives without a system call a
//! change.
//!
//! Floor 3. What a slot holds is the business of its [`Slot`]. Three areas: one synced, one under
//! sync, one being written; the roles change when a sync begins. In an area two slots alternate. So
//! a killed process loses at most the change being written, and a power cut falls back to the last
//! synced area, even when changes run during the sync. Slots lie on pages of their own and carry a
//! number and a checksum; the highest whole one counts.

mod load;
mod way;

use std::io;
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::Env;
use crate::disk::slot::Slot;
use crate::disk::state::State;
use crate::disk::text::replace_synced;
use crate::disk::wear::{Written, pages_of};
use crate::sys::{Access, StorageFile};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits::{CHECKPOINT_SLOT_BYTES, TORN_BYTES_MAX};

pub(crate) use load::{Glance, Loaded, glance, load};
pub(crate) use way::ToSync;
use way::Way;

const AREAS: usize = 3;
const SLOTS: usize = 2;

/// The open checkpoint of a log, or of what else [`Slot`]s are for.
#[derive(Debug)]
pub(crate) struct Checkpoint<S = State> {
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
    content: PhantomData<fn(&S)>,
}

/// What is to be written again, and where.
#[derive(Debug)]
struct Unsettled {
    position: usize,
    slot: Vec<u8>,
    /// With a new number into the area of the oldest slots: on a medium that tears, writing it
    /// where it lies could take the only synced one.
    elsewhere: Option<usize>,
    /// The file may have been made by a process that died before it synced its name (I18).
    names: bool,
}

impl<S: Slot> Checkpoint<S> {
    /// Opens the file for writing behind what was loaded from it; makes it anew, synced and with
    /// `state` in it, where it is missing or has the wrong size.
    pub(crate) fn open(env: &Env, loaded: &Loaded<S>, state: &S) -> Result<Checkpoint<S>> {
        let path = env.dir.join(S::FILE);
        let length = AREAS * SLOTS * loaded.slot_bytes;
        let opened = env.storage.open(&path, Access::ReadWrite).ok();
        let usable = opened.filter(|file| {
            loaded.slot_bytes >= least_slot_bytes(env.torn_bytes.is_some())
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
            content: PhantomData,
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
        state: &S,
    ) -> std::result::Result<Checkpoint<S>, (Error, bool)> {
        let path = env.dir.join(S::FILE);
        let mut buffer = Vec::new();
        state.encode(number + 1, &mut buffer);
        let mut slot_bytes = slot_bytes.max(least_slot_bytes(env.torn_bytes.is_some()));
        while buffer.len() > slot_bytes {
            slot_bytes *= 2;
        }
        let length = AREAS * SLOTS * slot_bytes;
        debug_assert!(length <= S::FILE_BYTES_MAX, "the next open reads it whole");
        // Written zeros, not a hole: every block is there before a map stores to it.
        buffer.resize(length, 0);
        let mut unused = Vec::new();
        S::encode_unused(&mut unused);
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
            content: PhantomData,
        })
    }

    /// Writes the state. Mapped: a store, no system call; by position: one. It survives the death
    /// of the process at once, and a power cut after the next sync.
    pub(crate) fn write(&mut self, env: &Env, state: &S) -> Result<()> {
        self.check_failed()?;
        self.settle(env)?;
        state.encode(self.number + 1, &mut self.buffer);
        if self.buffer.len() > self.slot_bytes {
            let grown = Checkpoint::create(env, self.slot_bytes, self.number, state);
            *self = grown.map_err(|(error, finally)| {
                self.failed = finally;
                error
            })?;
            return Ok(());
        }
        debug_assert_ne!(self.writing, self.synced, "what is synced is never written over");
        debug_assert_ne!(Some(self.writing), self.under_sync, "nor what is under sync");
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
    fn settle(&mut self, env: &Env) -> Result<()> {
        let Some(Unsettled { position, slot, elsewhere, names }) = &self.unsettled else {
            return Ok(());
        };
        if *names {
            let synced = match &env.names {
                Some(names) => names.sync(),
                None => env.storage.sync_dir(&env.dir),
            };
            self.failed = synced.is_err();
            synced.map_err(|error| Error::sync("cannot sync the directory", &env.dir, error))?;
            self.written.sync(0);
        }
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

    /// A sync of the whole filesystem took place: what was written so far is on the device, though
    /// nothing relies on that.
    pub(crate) fn note_written(&mut self) {
        let written = self.take_unsynced();
        self.written.pages(written);
    }

    /// Pages that the next sync has to write.
    fn take_unsynced(&mut self) -> usize {
        let written: usize = std::mem::take(&mut self.unsynced).iter().sum();
        written.max(std::mem::take(&mut self.populated))
    }

    /// Begins a sync: what was written so far is under sync, and further changes go elsewhere.
    /// `None` if everything is synced. The caller syncs without holding the checkpoint's lock, one
    /// at a time, and then says how it went.
    pub(crate) fn begin_sync(&mut self, env: &Env) -> Result<Option<ToSync>> {
        self.check_failed()?;
        // What was found at open may never have been synced.
        self.settle(env)?;
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
        self.syncing = self.take_unsynced();
        Ok(Some(self.way.to_sync()))
    }

    /// How long the file is.
    pub(crate) fn file_bytes(&self) -> u64 {
        (AREAS * SLOTS * self.slot_bytes) as u64
    }

    /// Bytes of memory its buffer takes.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.buffer.capacity() + self.unsettled.as_ref().map_or(0, |newest| newest.slot.capacity())
    }

    /// Whether a sync failed, so that the log has to be poisoned.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed
    }

    /// A sync of the whole filesystem failed, and so of what was written here: as after one of its
    /// own, nothing is written any more (I8).
    pub(crate) fn give_up(&mut self) {
        self.failed = true;
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
    pub(crate) fn write_synced(&mut self, env: &Env, state: &S) -> Result<()> {
        self.write(env, state)?;
        self.sync(env)
    }

    /// Syncs what was written, with nobody else around.
    pub(crate) fn sync(&mut self, env: &Env) -> Result<()> {
        match self.begin_sync(env)? {
            Some(begun) => {
                let done = begun.sync();
                self.end_sync(done)
            }
            None => Ok(()),
        }
    }
}

impl Unsettled {
    fn of<S: Slot>(env: &Env, loaded: &Loaded<S>, newest: &S) -> Unsettled {
        let (mut slot, names) = (Vec::new(), !newest.is_clean());
        if env.torn_bytes.is_none() {
            newest.encode(loaded.number, &mut slot);
            return Unsettled { position: loaded.position, slot, elsewhere: None, names };
        }
        let oldest = (0..AREAS).min_by_key(|&area| loaded.numbers.get(area)).unwrap_or_default();
        newest.encode(loaded.number + 1, &mut slot);
        let position = oldest * SLOTS * loaded.slot_bytes;
        Unsettled { position, slot, elsewhere: Some(oldest), names }
    }
}

/// Areas lie further apart than what a medium that tears takes around a rewritten sector.
fn least_slot_bytes(tears: bool) -> usize {
    if tears { TORN_BYTES_MAX / SLOTS } else { CHECKPOINT_SLOT_BYTES }
}

/// What a new checkpoint's file takes.
pub(crate) fn least_bytes(tears: bool) -> u64 {
    (AREAS * SLOTS * least_slot_bytes(tears)) as u64
}

#[cfg(test)]
mod tests;
