//! The checkpoint as a follower sees it: which open of the log the files belong to, and where that
//! open cut it.
//!
//! Floor 4. Every open for writing puts its number into the checkpoint before its first append, and
//! that synced. So bytes that were read before the checkpoint was, and the number in it is still
//! the old one, were not written by a newer writer over what an older one had left.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::checkpoint::{Glance, glance};
use crate::disk::names;
use crate::disk::state::State;
use crate::sys::{Access, FileKind, Storage};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits::{CHECKPOINT_FILE_BYTES_MAX, POLL_LOOKS_MAX};
use crate::words::offset::Offset;

/// A whole slot.
#[derive(Clone, Debug)]
pub(super) struct Slot {
    pub(super) number: u64,
    pub(super) state: State,
}

impl Slot {
    /// Everything below it was there when this open began, and no later append of this open changes
    /// it: what is not whole there is damage, and not on its way.
    pub(super) fn settled(&self) -> Offset {
        let durable = self.state.consumers.iter().filter(|consumer| consumer.durable);
        let shown = durable.map(|consumer| consumer.committed);
        shown.fold(self.state.recovery_point.max(self.state.cut), Offset::max)
    }

    /// Whether this is of a later open than `before`. If not, a power cut took the newest slots and
    /// nobody has opened the log since, or a lost checkpoint counts anew.
    pub(super) fn is_later(&self, before: &Slot) -> bool {
        let (now, old) = (&self.state, &before.state);
        // One number with two cuts: of the two opens, one left no other trace.
        now.open_number > old.open_number
            || now.open_number == old.open_number && now.cut != old.cut
    }

    /// Whether this is the very next open after the one of `before`, or still that one, so that no
    /// cut but its own lies in between.
    pub(super) fn follows(&self, before: &Slot) -> bool {
        let opens = self.state.open_number.checked_sub(before.state.open_number);
        let next = match opens {
            Some(0) => self.state.cut == before.state.cut,
            opens => opens == Some(1),
        };
        next && self.number >= before.number
    }
}

/// What a look at the checkpoint told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// Nothing that matters, or nothing that can be read.
    None,
    /// Offsets moved.
    Moved,
    /// The log was opened for writing since, or these are other files.
    Opened,
}

/// The checkpoint of a log that somebody else writes.
#[derive(Debug)]
pub(super) struct Regime {
    path: PathBuf,
    /// What was read last.
    bytes: Vec<u8>,
    /// What the next look reads into.
    spare: Vec<u8>,
    /// The newest whole slot that was ever read.
    slot: Option<Slot>,
    /// The last look found no whole slot: whatever comes next is not trusted to be the same open.
    lost: bool,
}

impl Regime {
    pub(super) fn new(dir: &Path) -> Regime {
        let path = dir.join(names::CHECKPOINT);
        Regime { path, bytes: Vec::new(), spare: Vec::new(), slot: None, lost: true }
    }

    /// The newest whole slot.
    pub(super) fn slot(&self) -> Option<&Slot> {
        self.slot.as_ref()
    }

    /// Whether the file is there and has a whole slot.
    pub(super) fn is_known(&self) -> bool {
        !self.lost
    }

    /// Looks at the checkpoint. Five system calls.
    pub(super) fn poll(&mut self, storage: &dyn Storage) -> Result<News> {
        let mut before = None;
        let mut looks = 0;
        loop {
            let mut bytes = std::mem::take(&mut self.spare);
            self.read(storage, &mut bytes)?;
            if bytes == self.bytes {
                self.spare = bytes;
                return Ok(News::None);
            }
            let earlier = before.as_ref().unwrap_or(&self.bytes);
            let Glance { newest, torn } = glance(&bytes, earlier).map_err(|error| {
                Error::new(ErrorKind::UnsupportedFormat, error.what).at(&self.path)
            })?;
            looks += 1;
            if !torn || looks == POLL_LOOKS_MAX {
                self.spare = std::mem::replace(&mut self.bytes, bytes);
                return Ok(self.take(newest));
            }
            before = Some(bytes);
            storage.yield_now();
        }
    }

    fn take(&mut self, newest: Option<(u64, State)>) -> News {
        let Some((number, state)) = newest else {
            self.lost = true;
            return News::None;
        };
        let same = self.slot.as_ref().is_some_and(|known| {
            !self.lost
                && number >= known.number
                && state.open_number == known.state.open_number
                && state.cut == known.state.cut
                && state.meta == known.state.meta
        });
        self.lost = false;
        self.slot = Some(Slot { number, state });
        if same { News::Moved } else { News::Opened }
    }

    /// Reads the file; nothing if there is no such file.
    fn read(&self, storage: &dyn Storage, into: &mut Vec<u8>) -> Result<()> {
        let failed = |error| Error::io("cannot read the checkpoint", &self.path, error);
        let file = match storage.open(&self.path, Access::Read) {
            Ok(file) => file,
            Err(error) => {
                into.clear();
                // Something else under its name: the writer goes on without it as well.
                let missing = error.kind() == io::ErrorKind::NotFound
                    || storage.kind(&self.path).map_err(failed)? != Some(FileKind::File);
                return if missing { Ok(()) } else { Err(failed(error)) };
            }
        };
        let length = usize::try_from(file.len().map_err(failed)?).unwrap_or(usize::MAX);
        into.resize(length.min(CHECKPOINT_FILE_BYTES_MAX), 0);
        let read = file.read_at(0, into).map_err(failed)?;
        into.truncate(read);
        Ok(())
    }
}
