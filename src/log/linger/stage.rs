//! What was handed in and is not in the log yet: the open batch, and full ones in their order.
//!
//! Floor 4. All of it lies under one lock, which is held while a record is encoded and no longer.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::encode::{BatchEncoder, Begun, TooLarge};
use crate::log::linger::ticket::Slot;
use crate::sys::sync::thread::{self, ThreadId};
use crate::words::error::Error;
use crate::words::limits;
use crate::words::record::NewRecord;
use crate::words::time::Timestamp;

/// What a batch may come to, from the options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) batch_bytes: usize,
    /// Of a batch of one record.
    pub(super) alone_bytes: usize,
    pub(super) batch_records: i32,
    pub(super) linger: Duration,
    /// Tickets wait until they are durable.
    pub(super) durable: bool,
}

/// A batch on its way into the log.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) bytes: Vec<u8>,
    pub(super) begun: Begun,
    pub(super) slot: Arc<Slot>,
}

/// The one that takes records.
#[derive(Debug)]
struct Open {
    slot: Arc<Slot>,
    /// When its first record came, by the wall clock: read for its time anyway, and a hint only.
    began: Timestamp,
    /// When it has waited long enough, by the rising clock.
    due_at: Duration,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// Bytes of the open batch, if there is one.
    bytes: Vec<u8>,
    begun: Begun,
    open: Option<Open>,
    full: VecDeque<Staged>,
    /// The batch that is being appended.
    under_way: Option<Arc<Slot>>,
    /// Buffers to be used again.
    spare: Vec<Vec<u8>>,
    /// Who appends batches now: one at a time, and in their order.
    pub(super) leader: Option<ThreadId>,
    /// Whoever leads has to append everything: somebody could not wait for it.
    pub(super) left_behind: bool,
    /// The log's own thread knows when to look.
    pub(super) watched: bool,
    /// The log takes nothing more.
    pub(super) closed: bool,
    /// Why a batch could not be appended, until a flush tells it.
    pub(super) failed: Option<Error>,
}

/// What became of a record.
pub(super) enum Pushed {
    /// It is in the open batch, at this place; `sealed` made way for it.
    At { slot: Arc<Slot>, index: i32, sealed: Option<Arc<Slot>> },
    /// The open batch has no room for it, and too many full ones are there.
    NoRoom,
    /// No batch has room for it.
    TooLarge { found: TooLarge, sealed: Option<Arc<Slot>> },
}

impl Stage {
    /// Puts a record into the open batch; into a new one, which `begin` gives a slot and the time
    /// by the rising clock, if there is none or if that is full.
    #[inline]
    pub(super) fn push(
        &mut self,
        bounds: &Bounds,
        (record, now): (&NewRecord<'_>, Timestamp),
        begin: impl FnOnce() -> (Arc<Slot>, Duration),
    ) -> Pushed {
        let mut sealed = None;
        if let Some(open) = &self.open {
            let mut encoder = BatchEncoder::resume(&mut self.bytes, bounds.batch_bytes, self.begun);
            let index = self.begun.count();
            if index < bounds.batch_records && encoder.push(record, now).is_ok() {
                self.begun = encoder.suspend();
                return Pushed::At { slot: Arc::clone(&open.slot), index, sealed };
            }
            if self.full.len() >= limits::LINGER_BATCHES_MAX {
                return Pushed::NoRoom;
            }
            sealed = self.seal();
        }
        match self.push_first(bounds, (record, now), begin) {
            Ok(slot) => Pushed::At { slot, index: 0, sealed },
            Err(found) => Pushed::TooLarge { found, sealed },
        }
    }

    fn push_first(
        &mut self,
        bounds: &Bounds,
        (record, now): (&NewRecord<'_>, Timestamp),
        begin: impl FnOnce() -> (Arc<Slot>, Duration),
    ) -> Result<Arc<Slot>, TooLarge> {
        let mut encoder = BatchEncoder::begin(&mut self.bytes, bounds.alone_bytes);
        encoder.push(record, now)?;
        self.begun = encoder.suspend();
        let (slot, from) = begin();
        let due_at = from.saturating_add(bounds.linger);
        self.open = Some(Open { slot: Arc::clone(&slot), began: now, due_at });
        Ok(slot)
    }

    /// Whether the open batch has come to one of its bounds.
    #[inline]
    pub(super) fn is_full(&self, bounds: &Bounds) -> bool {
        self.bytes.len() >= bounds.batch_bytes || self.begun.count() >= bounds.batch_records
    }

    /// Whether the open batch may have waited long enough, as far as the wall clock knows: how long
    /// until then is to be asked of the rising one.
    #[inline]
    pub(super) fn may_be_due(&self, bounds: &Bounds, now: Timestamp) -> bool {
        let waited = |open: &Open| now.millis().abs_diff(open.began.millis());
        self.open.as_ref().is_some_and(|open| u128::from(waited(open)) >= bounds.linger.as_millis())
    }

    /// When the open batch, if there is one, has waited long enough.
    pub(super) fn due_at(&self) -> Option<Duration> {
        self.open.as_ref().map(|open| open.due_at)
    }

    /// Whether this is the open batch.
    pub(super) fn is_open(&self, slot: &Slot) -> bool {
        self.open.as_ref().is_some_and(|open| std::ptr::eq(&*open.slot, slot))
    }

    pub(super) fn open_slot(&self) -> Option<Arc<Slot>> {
        self.open.as_ref().map(|open| Arc::clone(&open.slot))
    }

    /// Closes the open batch and puts it behind the others.
    fn seal(&mut self) -> Option<Arc<Slot>> {
        let slot = self.open.take()?.slot;
        let bytes = std::mem::replace(&mut self.bytes, self.spare.pop().unwrap_or_default());
        let begun = std::mem::take(&mut self.begun);
        self.full.push_back(Staged { bytes, begun, slot: Arc::clone(&slot) });
        Some(slot)
    }

    /// The oldest batch, to be appended: the open one only if no other is there.
    pub(super) fn take(&mut self) -> Option<Staged> {
        if self.full.is_empty() {
            self.seal();
        }
        let staged = self.full.pop_front()?;
        self.under_way = Some(Arc::clone(&staged.slot));
        Some(staged)
    }

    /// A batch was appended, or could not be.
    pub(super) fn taken(&mut self, bounds: &Bounds, buffer: Vec<u8>, error: Option<&Error>) {
        self.under_way = None;
        // One that a record of its own batch has made large is not kept.
        if self.spare.len() < SPARE_BUFFERS && buffer.capacity() <= 2 * bounds.batch_bytes {
            self.spare.push(buffer);
        }
        if let Some(error) = error {
            self.fail(error);
        }
    }

    /// Keeps why a batch could not be appended for the next flush to tell, if it is the first.
    pub(super) fn fail(&mut self, error: &Error) {
        if self.failed.is_none() {
            self.failed = Some(error.again());
        }
    }

    /// What was being appended when its thread panicked.
    pub(super) fn abandon(&mut self) -> Option<Arc<Slot>> {
        self.under_way.take()
    }

    /// Of what is not in the log yet, what was handed in last.
    pub(super) fn newest(&self) -> Option<Arc<Slot>> {
        let full = || self.full.back().map(|staged| Arc::clone(&staged.slot));
        self.open_slot().or_else(full).or_else(|| self.under_way.clone())
    }

    /// Of what nobody appends yet, the oldest that somebody is there for to append it.
    pub(super) fn next_wanted(&self) -> Option<Arc<Slot>> {
        let open = || self.open_slot().filter(|slot| slot.is_wanted());
        self.full.front().map(|staged| Arc::clone(&staged.slot)).or_else(open)
    }

    /// Whether the calling thread is inside an append of a batch of this.
    pub(super) fn is_led_by_caller(&self) -> bool {
        self.leader.is_some_and(|leader| leader == thread::current().id())
    }

    /// All that nobody appends yet.
    pub(super) fn slots(&self) -> Vec<Arc<Slot>> {
        let full = self.full.iter().map(|staged| Arc::clone(&staged.slot));
        full.chain(self.open_slot()).collect()
    }
}

/// Two batches are enough for who fills one while another is being appended.
const SPARE_BUFFERS: usize = 2;
