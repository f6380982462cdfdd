//! The log's own thread, for whoever asks for it: does ahead what the next call would have to.
//!
//! Floor 4. It sleeps until an append wakes it or something is due; a log that is idle costs no
//! wake-up. The last handle's drop ends it and closes the log.

use std::sync::Arc;
use std::time::Duration;

use crate::disk::active::ActiveSegment;
use crate::disk::names;
use crate::log::Inner;
use crate::log::options::FlushPolicy;
use crate::log::write::Writer;
use crate::sys::sync::Mutex;
use crate::sys::sync::atomic::{AtomicBool, Ordering};
use crate::sys::{Event, Task};
use crate::words::error::{Error, Result};
use crate::words::limits;

/// The thread, as the log sees it.
#[derive(Debug)]
pub(crate) struct Background {
    wake: Event,
    stop: AtomicBool,
    task: Mutex<Option<Box<dyn Task>>>,
}

impl Background {
    /// Starts the thread; the log's handles share what ends it.
    pub(crate) fn start(log: &Arc<Inner>) -> Result<Arc<Closer>> {
        let background = Arc::new(Background {
            wake: Event::default(),
            stop: AtomicBool::new(false),
            task: Mutex::new(None),
        });
        let (inner, its) = (Arc::clone(log), Arc::clone(&background));
        let run = Box::new(move || its.run(&inner));
        let task = log.env.storage.spawn("forebay", run).map_err(|error| {
            Error::io("cannot start the thread of the log", &log.env.dir, error)
        })?;
        *background.task.lock() = Some(task);
        // Set once, by the open that made the log.
        let _ = log.background.set(background);
        Ok(Arc::new(Closer(Arc::clone(log))))
    }

    /// Lets it look at once.
    pub(crate) fn wake(&self) {
        self.wake.announce();
    }

    /// Ends the thread and waits for it.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake.announce();
        let task = self.task.lock().take();
        if let Some(mut task) = task {
            task.join();
        }
    }

    fn run(&self, log: &Inner) {
        loop {
            let seen = self.wake.generation();
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            self.wake.wait(seen, log.work_ahead());
        }
    }
}

/// Closes the log with its last handle, although the thread still holds it.
pub(crate) struct Closer(Arc<Inner>);

impl Drop for Closer {
    fn drop(&mut self) {
        // Errors have nobody to go to here; `Log::close` reports them.
        let _ = self.0.close();
    }
}

impl Inner {
    /// Does what is due or worth doing ahead; says when to look again, if nobody appends before.
    ///
    /// What fails here fails again, and is reported, in the call that needs it.
    pub(crate) fn work_ahead(&self) -> Option<Duration> {
        // Before the look at a failed sync: who waits for such a batch is told.
        let linger_due = self.append_lingering();
        if self.is_closed() || self.failure.get().is_some() {
            return linger_due;
        }
        self.keep_interval();
        let _ = self.make_segment_ahead();
        let _ = self.populate_ahead();
        self.write_out_sealed();
        let age_due = self.roll_by_age();
        let retention_due = self.retain_in_background();
        let flush_due = self.flush_due_in();
        [linger_due, age_due, retention_due, flush_due].into_iter().flatten().min()
    }

    /// Rolls a segment that is old enough, so that retention can take it although nobody appends;
    /// how long until then otherwise.
    pub(crate) fn roll_by_age(&self) -> Option<Duration> {
        let mut writer = self.writer.lock();
        if writer.refusal.is_some() || writer.active.is_empty() {
            return None;
        }
        if let Err(_later) = self.roll_if_old(&mut writer) {
            // There was no room.
            return Some(Duration::from_secs(limits::RETRY_SECONDS));
        }
        if writer.active.is_empty() {
            return None;
        }
        let age = self.active_age(&writer).max(0).unsigned_abs();
        Some(self.roll_age().saturating_sub(Duration::from_millis(age)))
    }

    /// Rolls the active segment if it is old enough.
    pub(crate) fn roll_if_old(&self, writer: &mut Writer) -> Result<()> {
        self.note_age(writer);
        if !writer.roll_due {
            return Ok(());
        }
        self.save_tail(writer)?;
        self.roll(writer)
    }

    /// Makes the next segment's file while the active one is filling, if the one before it filled
    /// quickly.
    fn make_segment_ahead(&self) -> Result<()> {
        let wanted = {
            let writer = self.writer.lock();
            let half = writer.active.position() > self.options.segment_bytes / 2;
            writer.refusal.is_none() && writer.ahead.is_none() && half && self.is_busy(&writer)
        };
        if wanted {
            let made = ActiveSegment::prepare(&self.env, names::SEGMENT_AHEAD, true)?;
            let mut writer = self.writer.lock();
            if writer.refusal.is_some() || writer.ahead.is_some() {
                drop(writer);
                made.discard(&self.env);
            } else {
                writer.ahead = Some(made);
            }
        }
        Ok(())
    }

    /// Has the device begin with the segment that was sealed last.
    fn write_out_sealed(&self) {
        let sealed = self.writer.lock().write_out.take();
        if let Some(sealed) = sealed {
            sealed.start_write_out();
        }
    }

    /// Populates the pages the next appends will store to, while they go on.
    fn populate_ahead(&self) -> Result<()> {
        let wanted = {
            let mut writer = self.writer.lock();
            let pace = writer.since_flush.max(writer.between_flushes);
            writer.active.stretch_ahead(pace)?
        };
        let Some((data, stretch)) = wanted else { return Ok(()) };
        data.populate(stretch.clone())?;
        let mut writer = self.writer.lock();
        if Arc::ptr_eq(&writer.active.data, &data) {
            writer.active.is_ready(stretch);
        }
        Ok(())
    }

    /// What an append leaves to the thread, if there is one: whether the flush interval is kept by
    /// it. `first` says that nothing waited for a flush before.
    #[inline]
    pub(crate) fn left_to_background(&self, first: bool, flush: FlushPolicy) -> bool {
        let helped = self.has_helper();
        if helped && first && matches!(flush, FlushPolicy::Interval(_)) {
            self.wake_helper();
        }
        helped
    }

    /// Whether a thread does what is due: the log's own, or its store's.
    #[inline]
    pub(crate) fn has_helper(&self) -> bool {
        match &self.host {
            None => self.background.get().is_some(),
            Some(host) => host.keeper.is_running(),
        }
    }

    pub(crate) fn wake_helper(&self) {
        match (&self.host, self.background.get()) {
            (Some(host), _) => host.keeper.wake(host.log),
            (None, Some(background)) => background.wake(),
            (None, None) => {}
        }
    }
}
