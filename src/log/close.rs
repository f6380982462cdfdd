//! Ends a log: flushes, cuts the active segment to its size, and leaves the clean mark.
//!
//! Floor 4. After a failed sync neither mark nor a higher recovery point is written (I8).

use crate::log::write::Refusal;
use crate::log::{Durable, Inner, Log, fit};
use crate::sys::sync::atomic::Ordering;
use crate::words::error::{Error, Result};

impl Log {
    /// Appends what waits in a [`Linger`](crate::Linger), makes everything durable, leaves the
    /// files exact, and closes the log for all its handles: their later calls say
    /// [`Closed`](crate::ErrorKind::Closed). Batches already read stay valid.
    ///
    /// Dropping the last handle does the same, but cannot report an error. Closing a closed log
    /// does nothing.
    ///
    /// # Errors
    /// Those of [`Log::flush`]. The log is closed all the same, without a clean mark: the next open
    /// reads what was written since the last flush. Before them, what a batch of a linger met that
    /// could not be appended.
    pub fn close(self) -> Result<()> {
        self.inner.close()
    }
}

impl Inner {
    pub(crate) fn close(&self) -> Result<()> {
        // In a forked child the log is not ours to close, and its locks may be held for ever.
        if !self.is_own() {
            return Ok(());
        }
        // Holding nothing that an append may wait for.
        let lingered = self.end_lingers();
        // A second caller waits here until the first one has freed the directory.
        let _one_at_a_time = self.closing.lock();
        if self.is_closed() {
            return lingered;
        }
        // A compaction that runs, maybe on the log's own thread, ends early.
        self.compacting.stop();
        // Holding nothing that the thread may wait for: it runs the archive, which may use the log.
        if let Some(background) = self.background.get() {
            background.stop();
        }
        // Before the directory is free, so that nothing is removed from under its next owner.
        self.compacting.wait_for_end();
        let _no_deletion = self.deletion.lock();
        let end = self.log_end_offset();
        let flushed =
            if end > self.durable_offset() { self.flush_until(end).map(drop) } else { Ok(()) };
        // As the one that flushes: the kernel reports an error to one of two who sync at once.
        self.group.lead();
        let closed = flushed.and_then(|()| self.seal_and_mark());
        self.group.end();
        {
            // Under the lock, so that no waiter looks before it and sleeps after it.
            let mut writer = self.writer.lock();
            writer.refusal = Some(Refusal::Closed);
            if let Some(ahead) = writer.ahead.take() {
                ahead.discard(&self.env);
            }
            // And under this one, so that no commit is written once the directory is free.
            let _durable = self.checkpoint.lock();
            self.closed.store(true, Ordering::Release);
        }
        self.appended.announce_if_awaited();
        self.group.wake();
        for lock in [&self.env.names, &self.store_lock].into_iter().flatten() {
            lock.unlock();
        }
        lingered.and(closed)
    }

    /// Refuses appends, flushes what came in since the last flush, and writes the mark.
    fn seal_and_mark(&self) -> Result<()> {
        let mut writer = self.writer.lock();
        self.refusal(&mut writer)?;
        // From here on nothing comes in behind the mark.
        writer.refusal = Some(Refusal::Closed);
        if writer.clean_mark {
            // Nothing was appended, but consumers may have committed.
            return self.sync_checkpoint_under_writer(&mut writer);
        }
        self.save_tail(&mut writer)?;
        let mark = writer.active.seal(&self.env)?;
        let data = &writer.active.data;
        let failed = |error| {
            self.leave_word();
            Error::sync("cannot sync the closed segment", &data.path, error)
        };
        for sealed in &writer.unsynced {
            sealed.sync_sealed(&self.env).map_err(failed)?;
        }
        data.sync_sealed(&self.env).map_err(failed)?;
        self.env.sync_names()?;
        if self.failure.get().is_some() {
            writer.refusal = None;
            return self.refusal(&mut writer);
        }
        // Nobody may be syncing the checkpoint while the mark is written behind the lock.
        let _one_at_a_time = self.checkpoint_sync.lock();
        let mut durable = self.checkpoint.lock();
        let Durable { state, file, shifted, .. } = &mut *durable;
        self.clock.write_to(&*self.env.storage, state, shifted);
        state.tails.clear();
        state.recovery_point = writer.next_offset;
        state.clean = Some(mark);
        fit::write_synced(file, &self.env, state)?;
        self.durable.fetch_max(writer.next_offset.get(), Ordering::AcqRel);
        Ok(())
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Errors have nobody to go to here; `Log::close` reports them.
        let _ = self.close();
    }
}
