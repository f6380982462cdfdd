//! What a checkpoint's bytes say: to an open, and to a reader who takes no lock.
//!
//! Floor 3.

use std::marker::PhantomData;

use super::{AREAS, SLOTS};
use crate::codec::DecodeError;
use crate::disk::slot::{NEWER, Slot, slot_length};
use crate::disk::state::State;
use crate::disk::{Env, read_small};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits::CHECKPOINT_SLOT_BYTES;

/// What an open found.
#[derive(Debug)]
pub(crate) struct Loaded<S = State> {
    /// The newest whole slot's state.
    pub(crate) state: Option<S>,
    pub(super) number: u64,
    /// Where the newest slot lies, and in which area.
    pub(super) position: usize,
    pub(super) area: usize,
    /// The highest number in each area; 0 where it holds nothing whole.
    pub(super) numbers: [u64; AREAS],
    pub(super) slot_bytes: usize,
    /// There is a file, whatever it holds.
    pub(crate) is_there: bool,
    /// Slots that were written once and hold nothing whole.
    pub(crate) damaged_slots: usize,
}

/// The slots of a checkpoint's bytes, one after the other: where each begins, its bytes, and what
/// it says.
///
/// Inside a slot may lie what looks like one: copies of tails hold whatever was appended. So only
/// where slots begin is looked. A file of a wrong length does not say where that is: there every
/// page is looked at but those of a whole slot, so that it still gives what it holds.
struct Slots<'a, S> {
    bytes: &'a [u8],
    at: usize,
    slot_bytes: usize,
    /// The length is one that a checkpoint has.
    regular: bool,
    content: PhantomData<fn() -> S>,
}

impl<S> Slots<'_, S> {
    fn of(bytes: &[u8]) -> Slots<'_, S> {
        let least = bytes.len().div_ceil(AREAS * SLOTS).max(CHECKPOINT_SLOT_BYTES);
        let slot_bytes = least.next_power_of_two();
        let regular = bytes.len() == AREAS * SLOTS * slot_bytes;
        Slots { bytes, at: 0, slot_bytes, regular, content: PhantomData }
    }
}

impl<'a, S: Slot> Iterator for Slots<'a, S> {
    type Item = (usize, &'a [u8], Result<(u64, S), DecodeError>);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let rest = self.bytes.get(start..).filter(|rest| !rest.is_empty())?;
        let step = if self.regular { self.slot_bytes } else { CHECKPOINT_SLOT_BYTES };
        let decoded = S::decode(rest);
        let taken = if decoded.is_ok() { slot_length(rest) } else { 1 };
        let slot = rest.get(..taken.next_multiple_of(step)).unwrap_or(rest);
        self.at = start + slot.len();
        Some((start, slot, decoded))
    }
}

/// Reads the newest state. A file that is not there, or holds nothing whole, gives none.
pub(crate) fn load<S: Slot>(env: &Env) -> Result<Loaded<S>> {
    let path = env.dir.join(S::FILE);
    let mut loaded = Loaded {
        state: None,
        number: 0,
        position: 0,
        area: 0,
        numbers: [0; AREAS],
        slot_bytes: CHECKPOINT_SLOT_BYTES,
        is_there: false,
        damaged_slots: 0,
    };
    let Some(bytes) = read_small(&*env.storage, &path, S::FILE_BYTES_MAX)? else {
        return Ok(loaded);
    };
    loaded.is_there = true;
    let slots = Slots::<S>::of(&bytes);
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
                loaded.damaged_slots += usize::from(first_of_slot && !S::is_unused(slot));
            }
        }
    }
    Ok(loaded)
}

/// What a reader that takes no lock makes of the bytes of a checkpoint that may be written to.
#[derive(Debug)]
pub(crate) struct Glance<S = State> {
    /// The newest whole slot: its number and state.
    pub(crate) newest: Option<(u64, S)>,
    /// A slot was being written while it was read: it pays to look again.
    pub(crate) torn: bool,
}

/// Reads the newest state from bytes. What is not whole and was the same in `before` is damaged;
/// what is not whole and changed is being written.
pub(crate) fn glance<S: Slot>(bytes: &[u8], before: &[u8]) -> Result<Glance<S>, DecodeError> {
    let mut found = Glance { newest: None, torn: false };
    for (start, slot, decoded) in Slots::<S>::of(bytes) {
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
