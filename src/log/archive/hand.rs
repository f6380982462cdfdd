//! Hands sealed segments to the archive, oldest first.
//!
//! Floor 4. One thread at a time, and no lock while the archive runs (I10): it may take long, fail,
//! panic, or call the log. Only durable segments go (I2), so that the archive never has what a
//! power cut takes from the log.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::segment::{Segment, SegmentData};
use crate::disk::walk::{Gaps, Step, Walker};
use crate::log::archive::{ArchiveHook, SealedSegment};
use crate::log::{Inner, Log};
use crate::sys::Event;
use crate::sys::sync::Mutex;
use crate::sys::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// How far the log was handed over since it was opened.
#[derive(Debug, Default)]
pub(crate) struct HandedOver {
    /// Somebody hands over now.
    running: AtomicBool,
    /// That has ended.
    ended: Event,
    /// Everything below was handed over, or was gone before.
    up_to: AtomicI64,
    segments: AtomicU64,
    bytes: AtomicU64,
    failures: AtomicU64,
    /// What the archive said last, if it failed last.
    error: Mutex<Option<String>>,
}

/// What the log's telemetry says of it.
pub(crate) struct HandedOverStats {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
    pub(crate) failures: u64,
    pub(crate) error: Option<String>,
}

impl HandedOver {
    pub(crate) fn stats(&self) -> HandedOverStats {
        HandedOverStats {
            segments: self.segments.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
            error: self.error.lock().clone(),
        }
    }

    fn up_to(&self) -> Offset {
        Offset::new(self.up_to.load(Ordering::Acquire))
    }
}

thread_local! {
    /// How many archives this thread is inside of.
    static INSIDE: Cell<u32> = const { Cell::new(0) };
}

/// Whether an archive has called this: then nobody may be waited for who waits for that.
fn is_inside() -> bool {
    INSIDE.try_with(Cell::get).is_ok_and(|inside| inside > 0)
}

fn add_inside(more: i32) {
    // At the end of a thread nobody asks any more.
    let _ = INSIDE.try_with(|inside| inside.set(inside.get().saturating_add_signed(more)));
}

/// Gives the turn back, whatever the archive does.
struct Turn<'a>(&'a HandedOver);

impl Turn<'_> {
    fn take(log: &HandedOver) -> Option<Turn<'_>> {
        if log.running.swap(true, Ordering::AcqRel) {
            return None;
        }
        add_inside(1);
        Some(Turn(log))
    }

    /// Waits for the turn of another thread, for so long; not inside of an archive.
    fn wait_for(log: &HandedOver, most: Duration, now: impl Fn() -> Duration) -> Option<Turn<'_>> {
        let until = now().saturating_add(most);
        loop {
            let seen = log.ended.generation();
            let turn = Turn::take(log);
            let left = until.saturating_sub(now());
            if turn.is_some() || left.is_zero() || is_inside() {
                return turn;
            }
            log.ended.wait(seen, Some(left));
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        add_inside(-1);
        self.0.running.store(false, Ordering::Release);
        self.0.ended.announce();
    }
}

impl Log {
    /// Hands the sealed segments that lie wholly below `before` to the archive, oldest first, and
    /// deletes nothing: to archive ahead of retention, or before [`Log::delete_records`].
    ///
    /// Returns the offset up to which everything is in the archive, or was deleted before: at most
    /// `before`, and at most where the active segment begins. A segment is handed over once while
    /// the log is open. While another thread hands over, or the archive itself calls this, it
    /// returns what has been done so far.
    ///
    /// Blocks for a flush, if something below `before` is not durable, and for the archive.
    ///
    /// # Errors
    /// [`InvalidArgument`](ErrorKind::InvalidArgument) if the log has no archive;
    /// [`OffsetOutOfRange`](ErrorKind::OffsetOutOfRange) if `before` lies above the log end; those
    /// of [`Archive::store`](crate::Archive::store): what it took before the failure stays, and the
    /// next call goes on there; those of [`Log::flush`].
    ///
    /// # Examples
    /// See [`Archive`](crate::Archive).
    pub fn archive_records(&self, before: Offset) -> Result<Offset> {
        let inner = &*self.inner;
        inner.check_open()?;
        let Some(archive) = &inner.options.archive else {
            let text = "the log has no archive: LogOptions::archive sets one";
            return Err(Error::invalid(text).at(&inner.env.dir));
        };
        if before > inner.log_end_offset() {
            return Err(inner.out_of_range(before));
        }
        let Some(_turn) = Turn::take(&inner.handed_over) else {
            return Ok(inner.handed_over_up_to().min(before));
        };
        inner.hand_over_to(archive, before)?;
        Ok(inner.handed_over_up_to().min(before))
    }
}

impl Inner {
    /// Hands over what lies below an offset before it is deleted; returns up to where it may be.
    /// Without an archive that is `below`. An error says that nothing can go now; a failure behind
    /// something that can go is told at the next call. No lock may be held (I10).
    ///
    /// While another thread hands over, it is waited for, if the caller cannot go on without it.
    pub(crate) fn hand_over(&self, below: Offset, waits: bool) -> Result<Offset> {
        let Some(archive) = &self.options.archive else { return Ok(below) };
        let patience = if waits { limits::HAND_OVER_WAIT_MILLIS } else { 0 };
        let now = || self.clocks.now_mono();
        let turn = Turn::wait_for(&self.handed_over, Duration::from_millis(patience), now);
        let done = match turn {
            Some(_turn) => self.hand_over_to(archive, below),
            None => Ok(()),
        };
        let up_to = self.handed_over_up_to().min(below);
        if up_to > self.log_start_offset() {
            return Ok(up_to);
        }
        done.map(|()| up_to)
    }

    /// Up to where everything was handed over or deleted.
    fn handed_over_up_to(&self) -> Offset {
        self.handed_over.up_to().max(self.log_start_offset())
    }

    fn hand_over_to(&self, archive: &ArchiveHook, below: Offset) -> Result<()> {
        let all = self.segments.all();
        let sealed = all.iter().zip(all.iter().skip(1).map(|next| next.base));
        let due = sealed.filter(|(_, end)| *end <= below && *end > self.handed_over_up_to());
        for (segment, end) in due {
            self.check_open()?;
            let handed = self.hand_over_one(archive, segment, end);
            *self.handed_over.error.lock() = handed.as_ref().err().map(Error::to_string);
            if handed.is_err() {
                self.handed_over.failures.fetch_add(1, Ordering::Relaxed);
            }
            handed?;
            self.handed_over.up_to.fetch_max(end.get(), Ordering::AcqRel);
        }
        Ok(())
    }

    fn hand_over_one(
        &self,
        archive: &ArchiveHook,
        segment: &Arc<Segment>,
        end: Offset,
    ) -> Result<()> {
        // What is not durable yet, a power cut may take and other records get its offsets (I2).
        self.flush_until(end)?;
        let data = match self.segments.open(&self.env, segment) {
            // Its file is gone: what readers are told is lost cannot be kept either.
            Err(error) if error.kind() == ErrorKind::Corrupt => return Ok(()),
            opened => opened?,
        };
        if self.holds_no_record(&data, end)? && archive.holds(self.meta.log_id, segment.base)? {
            // Thinned: what it held before was handed over then.
            return Ok(());
        }
        let max_timestamp = match segment.max_timestamp() {
            Some(known) => known,
            None => data.max_timestamp(&self.env)?,
        };
        segment.know_max_timestamp(max_timestamp);
        let sealed = SealedSegment::new(self, &data, end, max_timestamp);
        archive.store(&sealed)?;
        self.handed_over.segments.fetch_add(1, Ordering::Relaxed);
        self.handed_over.bytes.fetch_add(sealed.bytes(), Ordering::Relaxed);
        Ok(())
    }

    /// Whether empty batches stand over everything in a segment.
    fn holds_no_record(&self, data: &SegmentData, end: Offset) -> Result<bool> {
        let mut walker = Walker::new(0, data.base, Gaps::Refused);
        while walker.next_offset() < end {
            match walker.pass(data, &self.env.seal)? {
                Step::Batch((header, _)) if header.count == 0 => {}
                _ => return Ok(false),
            }
        }
        Ok(true)
    }
}
