//! What became of a record that was handed to a linger.
//!
//! Floor 4. One slot for each batch, which its tickets share; a ticket is that and a number.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::log::linger::lane::{Lane, would_block};
use crate::log::{Inner, Log};
use crate::sys::Event;
use crate::sys::sync::OnceLock;
use crate::sys::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use crate::words::error::{Error, Result};
use crate::words::offset::Offset;

/// Tells the offset of a record that was handed to a [`Linger`](crate::Linger).
///
/// It may be dropped, and asked any number of times, also after the linger is gone; it keeps the
/// log open as a reader does. A ticket that nobody waits for costs nothing more, and its record
/// takes the same way.
pub struct Ticket {
    slot: Arc<Slot>,
    index: u32,
}

impl Ticket {
    #[inline]
    pub(super) fn new(slot: Arc<Slot>, index: u32) -> Ticket {
        Ticket { slot, index }
    }

    /// Waits for what [`LingerOptions::acknowledge`](crate::LingerOptions::acknowledge) says, and
    /// returns the record's offset.
    ///
    /// The first thread that waits for a batch appends it when its time is over, for all others
    /// that wait; where one has come meanwhile that fills it, or a flush, it returns at once.
    ///
    /// # Errors
    /// What the append of the batch met, the same for all its tickets: see [`Log::append_batch`].
    /// Of those errors [`Io`](crate::ErrorKind::Io) and, if it was said while waiting for
    /// durability, [`Poisoned`](crate::ErrorKind::Poisoned) leave open whether the record is in the
    /// log; after any other it is not. [`WouldBlock`](crate::ErrorKind::WouldBlock) from inside an
    /// append of the same linger; [`Closed`](crate::ErrorKind::Closed) in a forked child, unless
    /// the offset was known before the fork.
    pub fn wait(&self) -> Result<Offset> {
        match self.slot.lane.bounds.durable {
            true => self.wait_durable(),
            false => self.wait_written(),
        }
    }

    /// [`Ticket::wait`] until the record survives a power cut, whatever the options say: flushes
    /// the log as [`Log::flush`] does, one flush for all who wait.
    ///
    /// # Errors
    /// As [`Ticket::wait`], and those of [`Log::flush`]: the record is in the log then, but not
    /// known to be durable.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// let linger = log.linger(forebay::LingerOptions::new())?;
    /// let offset = linger.append("21.5 C")?.wait_durable()?;
    /// assert!(log.durable_offset() > offset);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_durable(&self) -> Result<Offset> {
        let offset = self.wait_written()?;
        let log = &*self.slot.log.inner;
        if log.durable_offset() <= offset {
            // In a forked child a flush might wait for ever.
            log.check_own()?;
            log.flush_until(offset + 1).map_err(Error::behind_append)?;
        }
        Ok(offset)
    }

    /// What [`Ticket::wait`] would return, if it would without waiting; does nothing for it.
    #[must_use]
    pub fn try_wait(&self) -> Option<Result<Offset>> {
        let written = self.answer()?;
        let waits = |offset: &Offset| {
            self.slot.lane.bounds.durable && self.slot.log.durable_offset() <= *offset
        };
        (!written.as_ref().is_ok_and(waits)).then_some(written)
    }

    #[inline]
    fn answer(&self) -> Option<Result<Offset>> {
        let base = self.slot.answer()?;
        Some(base.map(|base| base + i64::from(self.index)))
    }

    fn wait_written(&self) -> Result<Offset> {
        match self.answer() {
            Some(answer) => answer,
            None => self.wait_for_answer(),
        }
    }

    #[cold]
    fn wait_for_answer(&self) -> Result<Offset> {
        let (slot, log) = (&*self.slot, &*self.slot.log.inner);
        let mut attends = false;
        loop {
            let seen = slot.generation();
            if let Some(answer) = self.answer() {
                return answer;
            }
            log.check_own()?;
            match slot.look(log, &mut attends)? {
                Look::Drive => slot.lane.drive(log, slot)?,
                Look::Sleep(most) => {
                    let nothing_came = slot.wait_since(seen, most);
                    if let (true, Some(most)) = (nothing_came, most) {
                        log.env.storage.slept(most);
                    }
                }
            }
        }
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticket").field("answer", &self.answer()).finish_non_exhaustive()
    }
}

/// A batch, as its tickets see it.
pub(super) struct Slot {
    log: Log,
    lane: Arc<Lane>,
    /// The offset of its first record; stored last.
    base: AtomicI64,
    error: OnceLock<Error>,
    /// It was appended, or could not be, or there is another reason to look.
    ended: Event,
    /// Somebody who waits for it will see to it that it is appended in time.
    attended: AtomicBool,
    /// Somebody waits for who leads to give way, to append it then.
    wanted: AtomicBool,
}

/// What one who waits for a batch does next.
enum Look {
    Drive,
    Sleep(Option<Duration>),
}

const WAITING: i64 = -1;
const FAILED: i64 = -2;

impl Slot {
    pub(super) fn new(log: &Log, lane: &Arc<Lane>) -> Slot {
        Slot {
            log: log.clone(),
            lane: Arc::clone(lane),
            base: AtomicI64::new(WAITING),
            error: OnceLock::new(),
            ended: Event::default(),
            attended: AtomicBool::new(false),
            wanted: AtomicBool::new(false),
        }
    }

    #[inline]
    fn answer(&self) -> Option<Result<Offset>> {
        match self.base.load(Ordering::Acquire) {
            WAITING => None,
            FAILED => self.error.get().map(|error| Err(error.again())),
            base => Some(Ok(Offset::new(base))),
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        self.base.load(Ordering::Acquire) != WAITING
    }

    /// To be read before looking at what [`Slot::wait_since`] is to wait for.
    pub(super) fn generation(&self) -> u32 {
        self.ended.generation()
    }

    /// Waits for the end of the batch, or for anything else worth looking at, since `seen` was
    /// read; whether `most` went by without it.
    pub(super) fn wait_since(&self, seen: u32, most: Option<Duration>) -> bool {
        self.ended.wait(seen, most)
    }

    /// Says that somebody waits to append it; with the stage's lock held.
    pub(super) fn want(&self) {
        self.wanted.store(true, Ordering::Relaxed);
    }

    /// Whether somebody waits to append it; with the stage's lock held.
    pub(super) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::Relaxed)
    }

    /// Lets who waits for it look again, whether or not one of them attended to it.
    pub(super) fn wake(&self) {
        self.attended.store(false, Ordering::SeqCst);
        self.ended.announce();
    }

    /// Answers all its tickets: where it lies, or why it does not; with the stage's lock held.
    pub(super) fn settle(&self, base: Result<Offset>) {
        let base = match base {
            Ok(base) => base.get(),
            Err(error) => {
                let _ = self.error.set(error);
                FAILED
            }
        };
        self.base.store(base, Ordering::Release);
    }

    /// Wakes who waits for the answer.
    pub(super) fn announce(&self) {
        self.ended.announce();
    }

    /// One of those who wait for the open batch sees to it when its time is over; the others are
    /// woken by its end.
    fn look(&self, log: &Inner, attends: &mut bool) -> Result<Look> {
        let stage = self.lane.stage();
        if stage.is_led_by_caller() {
            return Err(would_block(log));
        }
        if !stage.is_open(self) {
            // A full one that nobody appends any more is left to whoever wants it.
            return Ok(match stage.leader {
                Some(_) => Look::Sleep(None),
                None => Look::Drive,
            });
        }
        *attends = *attends || !self.attended.swap(true, Ordering::SeqCst);
        let left = stage.due_at().unwrap_or_default().saturating_sub(log.clocks.now_mono());
        Ok(match (*attends, left) {
            (true, Duration::ZERO) => Look::Drive,
            (true, left) => Look::Sleep(Some(left)),
            (false, _) => Look::Sleep(None),
        })
    }
}

impl fmt::Debug for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Slot").field("base", &self.base).finish_non_exhaustive()
    }
}
