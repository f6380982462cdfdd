//! Who appends the batches of a linger: one thread at a time, and in their order.
//!
//! Floor 4. A full batch is appended by the thread that found it full, the open one by whoever
//! wants its records in the log; who comes while another one leads waits until it gives way, which
//! it does with its own batch, and then leads or finds it done. No lock is held meanwhile (I10).

use std::sync::Arc;
use std::time::Duration;

use crate::codec::encode::BatchEncoder;
use crate::log::linger::stage::{Bounds, Pushed, Stage, Staged};
use crate::log::linger::ticket::{Slot, Ticket};
use crate::log::{Inner, Log, OwnLines};
use crate::sys::Event;
use crate::sys::sync::{Mutex, MutexGuard, thread};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::record::NewRecord;

/// The way of a linger's batches into the log.
#[derive(Debug)]
pub(crate) struct Lane {
    pub(super) bounds: Bounds,
    stage: OwnLines<Mutex<Stage>>,
    /// With `stage`: a full batch has left it.
    room: Event,
}

impl Lane {
    pub(super) fn new(bounds: Bounds) -> Lane {
        Lane { bounds, stage: OwnLines(Mutex::default()), room: Event::default() }
    }

    pub(super) fn stage(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock()
    }

    #[inline]
    pub(super) fn append(self: &Arc<Lane>, log: &Log, record: &NewRecord<'_>) -> Result<Ticket> {
        let inner = &*log.inner;
        let now = inner.clocks.now_wall();
        let begin = || (Arc::new(Slot::new(log, self)), inner.clocks.now_mono());
        let mut stage = self.stage.lock();
        let (slot, index, sealed) = loop {
            if stage.closed {
                return Err(inner.closed_error());
            }
            match stage.push(&self.bounds, (record, now), begin) {
                Pushed::At { slot, index, sealed } => break (slot, index, sealed),
                Pushed::NoRoom => stage = self.wait_for_room(inner, stage)?,
                Pushed::TooLarge { found, sealed } => {
                    drop(stage);
                    self.drive_all(inner, sealed);
                    return Err(inner.too_large(found));
                }
            }
        };
        let full = stage.is_full(&self.bounds);
        let may_be_due = stage.may_be_due(&self.bounds, now);
        let unwatched = index == 0 && !stage.watched && inner.has_helper();
        stage.watched |= unwatched;
        let due_at = stage.due_at();
        drop(stage);
        if full || may_be_due && due_at.is_some_and(|due_at| inner.clocks.now_mono() >= due_at) {
            self.drive_all(inner, Some(Arc::clone(&slot)));
        } else if sealed.is_some() {
            self.drive_all(inner, sealed);
        }
        if unwatched {
            inner.wake_helper();
        }
        Ok(Ticket::new(slot, index.unsigned_abs()))
    }

    /// Waits until a full batch has left the stage.
    #[cold]
    fn wait_for_room<'a>(
        &'a self,
        log: &Inner,
        mut stage: MutexGuard<'a, Stage>,
    ) -> Result<MutexGuard<'a, Stage>> {
        if stage.is_led_by_caller() {
            stage.left_behind = true;
            return Err(would_block(log));
        }
        let enrolled = self.room.enroll();
        drop(stage);
        enrolled.wait(None);
        Ok(self.stage.lock())
    }

    /// [`Lane::drive`] for a batch that somebody else will append if this thread may not.
    #[cold]
    fn drive_all(&self, log: &Inner, slot: Option<Arc<Slot>>) {
        if let Some(slot) = slot {
            // Refused only inside an append of this lane, which goes on until nothing is left.
            let _ = self.drive(log, &slot);
        }
    }

    /// Returns when this batch was appended, or could not be: leads, or waits for who does.
    pub(super) fn drive(&self, log: &Inner, slot: &Slot) -> Result<()> {
        loop {
            let seen = slot.generation();
            if slot.is_ended() {
                return Ok(());
            }
            {
                let mut stage = self.stage.lock();
                if stage.leader.is_none() {
                    stage.leader = Some(thread::current().id());
                    drop(stage);
                    self.lead(log, slot);
                    return Ok(());
                }
                if stage.is_led_by_caller() {
                    stage.left_behind = true;
                    return Err(would_block(log));
                }
                slot.want();
            }
            slot.wait_since(seen, None);
        }
    }

    /// Appends what there is, oldest first, until this batch is among it.
    fn lead(&self, log: &Inner, slot: &Slot) {
        let _lead = Lead(self);
        loop {
            let staged = {
                let mut stage = self.stage.lock();
                if slot.is_ended() && !stage.left_behind {
                    return;
                }
                let Some(staged) = stage.take() else {
                    stage.left_behind = false;
                    return;
                };
                staged
            };
            self.room.announce_if_awaited();
            self.append_staged(log, staged);
        }
    }

    fn append_staged(&self, log: &Inner, staged: Staged) {
        let Staged { mut bytes, begun, slot } = staged;
        let max_timestamp = BatchEncoder::resume(&mut bytes, usize::MAX, begun).finish();
        let packing = log.live.packing();
        let done = log.append_encoded(&mut bytes, begun.count(), max_timestamp, None, packing);
        {
            // Both under the lock: a flush that finds nothing left finds everything answered.
            let mut stage = self.stage.lock();
            stage.taken(&self.bounds, bytes, done.as_ref().err());
            slot.settle(done.map(|offsets| offsets.start));
        }
        slot.announce();
    }

    /// Appends everything that was handed in before; why a batch failed since the last time.
    pub(super) fn flush(&self, log: &Inner) -> Result<()> {
        let newest = self.stage.lock().newest();
        if let Some(slot) = newest {
            self.drive(log, &slot)?;
        }
        match self.stage.lock().failed.take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Appends the open batch if it has waited long enough; how long until then otherwise.
    fn append_due(&self, log: &Inner) -> Option<Duration> {
        let left = |stage: &mut Stage| {
            let due_at = stage.due_at();
            stage.watched = due_at.is_some();
            due_at.map(|due_at| due_at.saturating_sub(log.clocks.now_mono()))
        };
        let due = {
            let mut stage = self.stage.lock();
            match left(&mut stage) {
                Some(Duration::ZERO) => stage.open_slot(),
                not_yet => return not_yet,
            }
        };
        self.drive_all(log, due);
        left(&mut self.stage.lock())
    }
}

/// While a thread leads; a panic ends it too.
struct Lead<'a>(&'a Lane);

impl Drop for Lead<'_> {
    fn drop(&mut self) {
        let mut stage = self.0.stage.lock();
        stage.leader = None;
        let Some(abandoned) = stage.abandon() else {
            let next = stage.next_wanted();
            drop(stage);
            return next.iter().for_each(|slot| slot.wake());
        };
        // Who was to attend to the others may be the one that panics.
        let others = stage.slots();
        let text = "the thread that was appending the batch panicked";
        let error = Error::new(ErrorKind::Io, text);
        stage.fail(&error);
        abandoned.settle(Err(error));
        drop(stage);
        abandoned.announce();
        others.iter().for_each(|slot| slot.wake());
    }
}

#[cold]
pub(super) fn would_block(log: &Inner) -> Error {
    let text = "what is asked for waits for the append that it is called from";
    Error::new(ErrorKind::WouldBlock, text).at(&log.env.dir)
}

/// The lanes of a log, for whoever ends it or does what is due.
#[derive(Debug, Default)]
pub(crate) struct Lanes(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    lanes: Vec<Arc<Lane>>,
    closed: bool,
}

impl Lanes {
    /// `None` if the log is being closed.
    pub(super) fn add(&self, lane: &Arc<Lane>) -> Option<()> {
        let mut known = self.0.lock();
        (!known.closed).then(|| known.lanes.push(Arc::clone(lane)))
    }

    pub(super) fn remove(&self, lane: &Arc<Lane>) {
        self.0.lock().lanes.retain(|other| !Arc::ptr_eq(other, lane));
    }
}

impl Inner {
    /// Appends what waits in any linger, and takes nothing more there; the first error.
    pub(crate) fn end_lingers(&self) -> Result<()> {
        let lanes = {
            let mut known = self.lanes.0.lock();
            known.closed = true;
            std::mem::take(&mut known.lanes)
        };
        let mut ended = Ok(());
        for lane in lanes {
            lane.stage.lock().closed = true;
            // Who waits for room there is not let in any more.
            lane.room.announce_if_awaited();
            ended = ended.and(lane.flush(self));
        }
        ended
    }

    /// Appends the batches of lingers that are due; how long until the next one is.
    pub(crate) fn append_lingering(&self) -> Option<Duration> {
        let lanes = {
            let known = self.lanes.0.lock();
            match known.lanes.is_empty() {
                true => return None,
                false => known.lanes.clone(),
            }
        };
        lanes.iter().filter_map(|lane| lane.append_due(self)).min()
    }
}
