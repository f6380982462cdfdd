//! Makes appended records survive a power cut; any number of waiting threads share one device
//! flush.
//!
//! Floor 4. Keeps I6, I8 and I18: sealed segments first, then the active one, then the names, and
//! only then does the durable offset move. After one failed sync there is no second try: the kernel
//! marks the pages clean and would call the retry a success.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::disk::segment::SegmentData;
use crate::log::write::Writer;
use crate::log::{Inner, Log};
use crate::sys::LockedDir;
use crate::sys::sync::atomic::Ordering;
use crate::words::error::{Error, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// What one device flush covers, taken under the writer's lock.
struct Covered {
    end: Offset,
    active: Arc<SegmentData>,
    /// Where in the active segment that end lies.
    position: usize,
    /// Up to where pages of it were populated.
    populated: usize,
    rewrite: Option<Range<Offset>>,
    sealed: Vec<Arc<SegmentData>>,
    names: bool,
}

impl Log {
    /// Makes every record appended before this call survive a power cut.
    ///
    /// Returns the new durable offset: one past the last safe record. Concurrent callers share one
    /// device flush. Blocks for that flush: one `fdatasync`, and after a roll one more for each
    /// segment sealed since, its directory and the checkpoint.
    ///
    /// # Errors
    /// [`Io`](crate::ErrorKind::Io) if the device refused. The log is then poisoned (I8): close
    /// it, reopen, and read `durable_offset` again. [`Poisoned`](crate::ErrorKind::Poisoned) and
    /// [`Closed`](crate::ErrorKind::Closed) as they say.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// let offset = log.append("21.5 C")?;
    /// assert!(log.flush()? > offset);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn flush(&self) -> Result<Offset> {
        self.inner.check_refusal()?;
        self.inner.flush_until(self.inner.log_end_offset())
    }
}

/// Flushes logs of one filesystem with one sync of all of it, `whole`, instead of one or more of
/// each. If that fails, every one of them is poisoned, and every one of `open`: of what it covered,
/// records and commits, nobody may try again (I8). What cannot be shared is flushed log by log. The
/// first error is returned when all were tried.
pub(crate) fn flush_together(
    logs: &[Arc<Inner>],
    open: &[Arc<Inner>],
    whole: &dyn LockedDir,
) -> Result<()> {
    let mut first = Ok(());
    let (mut shared, mut alone) = (Vec::new(), Vec::new());
    for log in logs.iter().filter(|log| log.log_end_offset() > log.durable_offset()) {
        if log.group.try_lead() {
            match log.begin_flush() {
                // What an unclean stop left is written again before it is synced.
                Ok(covered) if covered.rewrite.is_none() => {
                    shared.push((log, covered));
                    continue;
                }
                Ok(covered) => log.writer.lock().take_back(covered),
                Err(error) => first = first.and(Err(error)),
            }
            log.group.end();
        }
        // Later: who leads the flush of some logs waits for nobody, so that no two who do it in
        // another order wait for each other for ever.
        alone.push(log);
    }
    let synced = match shared.is_empty() {
        true => Ok(()),
        false => whole.sync_filesystem(),
    };
    let failed = |log: &Inner, error: &io::Error| {
        let error = io::Error::new(error.kind(), error.to_string());
        let error = Error::sync("cannot sync the filesystem", &log.env.dir, error);
        log.poison(&error);
        log.checkpoint.lock().file.give_up();
        error
    };
    if let Err(error) = &synced {
        open.iter().for_each(|log| drop(failed(log, error)));
    }
    for (log, covered) in shared {
        let done = match &synced {
            Ok(()) => {
                log.count_covered(&covered);
                log.end_flush(&covered)
            }
            Err(error) => Err(failed(log, error)),
        };
        log.group.end();
        first = first.and(done);
    }
    for log in alone {
        first = first.and(log.flush_until(log.log_end_offset()).map(drop));
    }
    first
}

impl Writer {
    /// Undoes [`cover`] of a flush that does not take place.
    fn take_back(&mut self, covered: Covered) {
        self.since_flush += self.between_flushes;
        self.rewrite = covered.rewrite;
        self.names_unsynced |= covered.names;
    }
}

impl Inner {
    /// Whether something waits for a flush that the policy wants now.
    pub(crate) fn is_flush_due(&self) -> bool {
        self.flush_due_in() == Some(Duration::ZERO)
    }

    /// Whether nothing waits for a flush.
    pub(crate) fn is_flushed(&self) -> bool {
        self.log_end_offset() <= self.durable_offset()
    }

    /// Whether a sync failed, so that what the device holds is unknown (I8).
    pub(crate) fn has_failed(&self) -> bool {
        self.failure.get().is_some()
    }

    /// Flushes until everything below `target` is durable. One of the callers does the work; a
    /// flush that began before a caller's append does not count for it.
    pub(crate) fn flush_until(&self, target: Offset) -> Result<Offset> {
        loop {
            let seen = self.group.generation();
            let durable = self.durable_offset();
            if durable >= target {
                return Ok(durable);
            }
            if !self.group.try_lead() {
                // Nothing is asked of the log here: a close under way takes no more appends, but
                // makes durable what is there.
                self.group.wait_since(seen, None);
                continue;
            }
            // The flush that just ended may have served this caller too.
            let done = if self.durable_offset() < target {
                self.gather();
                self.flush_once()
            } else {
                Ok(())
            };
            self.group.end();
            done?;
        }
    }

    /// Gives the threads that the last flush served the chance to append again before the next one
    /// begins: without it they would just miss it, and every flush would serve half of them.
    fn gather(&self) {
        let company = self.group.served();
        for _ in 0..limits::GATHER_YIELDS_MAX {
            if self.group.waiting() >= company {
                return;
            }
            self.env.storage.yield_now();
        }
    }

    pub(crate) fn check_refusal(&self) -> Result<()> {
        self.refusal(&mut *self.lock_writer()?)
    }

    fn flush_once(&self) -> Result<()> {
        let covered = self.begin_flush()?;
        self.sync_covered(&covered).inspect_err(|error| self.poison(error))?;
        self.end_flush(&covered)
    }

    fn begin_flush(&self) -> Result<Covered> {
        let mut writer = self.writer.lock();
        self.refusal(&mut writer)?;
        self.note_age(&mut writer);
        writer.tail_unsaved = self.env.torn_bytes.is_some();
        self.tally.flushes.fetch_add(1, Ordering::Relaxed);
        Ok(cover(&mut writer))
    }

    /// Adds to the wear what a sync of the whole filesystem has covered of this log.
    fn count_covered(&self, covered: &Covered) {
        let sealed = covered.sealed.iter().map(|data| data.reached.advance(data.published(), 0));
        let active = covered.active.reached.advance(covered.position, covered.populated);
        self.env.written.sync(sealed.sum::<usize>() + active);
        // The checkpoint was written with it.
        self.checkpoint.lock().file.note_written();
    }

    fn end_flush(&self, covered: &Covered) -> Result<()> {
        // What fails here and is no sync can be tried again: the records are on the device. What an
        // unclean stop left is written once more then, so that the checkpoint is synced behind it.
        self.publish_durable(covered).inspect_err(|_| {
            if covered.rewrite.is_some() {
                self.writer.lock().rewrite.clone_from(&covered.rewrite);
            }
        })
    }

    fn sync_covered(&self, covered: &Covered) -> Result<()> {
        if let Some(range) = &covered.rewrite {
            self.rewrite(range, &covered.active)?;
        }
        for sealed in &covered.sealed {
            sealed.sync_sealed(&self.env).map_err(|error| {
                Error::sync("cannot sync a sealed segment", &sealed.path, error)
            })?;
        }
        let active = &covered.active;
        active
            .file
            .sync_data()
            .map_err(|error| Error::sync("cannot sync the active segment", &active.path, error))?;
        self.env.written.sync(active.reached.advance(covered.position, covered.populated));
        if covered.names {
            self.env.sync_names()?;
        }
        Ok(())
    }

    /// Moves the recovery point in the checkpoint, then the durable offset.
    fn publish_durable(&self, covered: &Covered) -> Result<()> {
        // Before anything can fail: a device flush is tried again at the policy's pace only.
        let now = self.env.storage.now_mono().as_millis();
        self.flushed_at_ms.store(u64::try_from(now).unwrap_or(u64::MAX), Ordering::Relaxed);
        {
            let mut writer = self.writer.lock();
            // A roll may have synced one of these files meanwhile, and been told in this one's
            // place that it failed: the kernel says it once. It held this lock until it had
            // poisoned the log.
            self.refusal(&mut writer)?;
            let is_synced =
                |data: &_| covered.sealed.iter().any(|synced| Arc::ptr_eq(synced, data));
            writer.unsynced.retain(|data| !is_synced(data));
        }
        self.change_state(|state| {
            state.recovery_point = state.recovery_point.max(covered.end);
            // The word of a thread whose sync failed since stays: the failure comes before it.
            state.sync_failed = self.has_failed();
            // What they protect is on the device now, and nothing rewrites it any more.
            state.tails.retain(|tail| !tail.is_before(covered.active.base, covered.position));
            Ok(((), true))
        })?;
        if !covered.sealed.is_empty() || covered.rewrite.is_some() {
            // Once a segment, so that what recovery has to read stays short. What was written again
            // may hold a batch that rotted: the next open must not take it for a torn tail.
            self.sync_checkpoint()?;
        }
        self.durable.fetch_max(covered.end.get(), Ordering::AcqRel);
        Ok(())
    }

    /// Refuses everything but reading from now on (I8).
    #[cold]
    pub(crate) fn poison(&self, error: &Error) {
        self.failure.get_or_init(|| error.to_string());
        self.poison_under_writer(&mut self.writer.lock(), error);
    }

    /// Poisons the log for a caller that holds the checkpoint's lock, below which the writer's
    /// cannot be taken: whoever takes that looks here, and who sleeps is woken to look.
    #[cold]
    pub(crate) fn note_failure(&self, error: &Error) {
        self.failure.get_or_init(|| error.to_string());
        self.appended.announce();
        self.group.wake();
    }

    #[cold]
    fn poison_under_writer(&self, writer: &mut Writer, error: &Error) {
        self.failure.get_or_init(|| error.to_string());
        // Takes the failure over, so that whoever holds the lock sees one fact.
        let _ = self.refusal(writer);
        self.appended.announce_if_awaited();
        self.group.wake();
        self.leave_word();
    }

    /// Tells the next open that a sync failed. Best effort: where the checkpoint cannot be written
    /// either, that open's own syncs fail, or it writes again in place.
    #[cold]
    pub(crate) fn leave_word(&self) {
        let _ = self.change_state(|state| {
            let news = !std::mem::replace(&mut state.sync_failed, true);
            Ok(((), news))
        });
    }

    /// Syncs the checkpoint; changes of the state go on meanwhile. A failure has to poison the log.
    fn try_sync_checkpoint(&self) -> Result<()> {
        let _one_at_a_time = self.checkpoint_sync.lock();
        let Some(begun) = self.checkpoint.lock().file.begin_sync(&self.env)? else { return Ok(()) };
        let done = begun.sync();
        self.checkpoint.lock().file.end_sync(done)
    }

    /// Syncs the checkpoint; changes of the state go on meanwhile.
    pub(crate) fn sync_checkpoint(&self) -> Result<()> {
        self.try_sync_checkpoint().inspect_err(|error| self.poison(error))
    }

    /// [`Inner::sync_checkpoint`] for a caller that holds the writer's lock already.
    pub(crate) fn sync_checkpoint_under_writer(&self, writer: &mut Writer) -> Result<()> {
        self.try_sync_checkpoint().inspect_err(|error| self.poison_under_writer(writer, error))
    }

    /// Syncs the oldest segment that waits for a flush, so that their number stays bounded.
    pub(crate) fn sync_oldest(&self, writer: &mut Writer) -> Result<()> {
        let Some(oldest) = writer.unsynced.first().cloned() else { return Ok(()) };
        let done = oldest
            .sync_sealed(&self.env)
            .map_err(|error| Error::sync("cannot sync a sealed segment", &oldest.path, error));
        match done {
            Ok(()) => {
                writer.unsynced.retain(|other| !Arc::ptr_eq(other, &oldest));
                Ok(())
            }
            Err(error) => {
                self.poison_under_writer(writer, &error);
                Err(error)
            }
        }
    }
}

/// Takes note of what a flush that begins now covers.
fn cover(writer: &mut Writer) -> Covered {
    writer.between_flushes = writer.since_flush;
    writer.since_flush = 0;
    Covered {
        end: writer.next_offset,
        active: Arc::clone(&writer.active.data),
        position: writer.active.position(),
        populated: writer.active.populated(),
        rewrite: writer.rewrite.take(),
        sealed: writer.unsynced.clone(),
        names: std::mem::take(&mut writer.names_unsynced),
    }
}
