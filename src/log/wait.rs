//! Waiting for records that are not there yet.
//!
//! Floor 4. A waiter sleeps until an append or a flush announces itself, which an append does only
//! if someone waits. While it waits it keeps the flush policy.

use std::time::Duration;

use crate::log::live::Packed;
use crate::log::options::FlushPolicy;
use crate::log::{Inner, Log, Visibility};
use crate::words::error::Result;
use crate::words::offset::Offset;

impl Log {
    /// Waits until the record at `offset` can be read, at most for `timeout`; whether it can.
    ///
    /// With [`Visibility::Durable`] the record has to survive a power cut as well. Under
    /// [`FlushPolicy::Interval`] the waiting call flushes when that is due; under
    /// [`FlushPolicy::Manual`] and [`FlushPolicy::EveryBytes`] somebody else has to.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed) if the log is closed before or meanwhile;
    /// [`Poisoned`](crate::ErrorKind::Poisoned) if a record that is not there yet cannot come any
    /// more, or cannot become durable; [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) for
    /// a negative offset.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::Visibility;
    /// use std::time::Duration;
    /// let next = log.log_end_offset();
    /// assert!(!log.wait_for(next, Visibility::Written, Duration::ZERO)?);
    /// log.append("21.5 C")?;
    /// assert!(log.wait_for(next, Visibility::Written, Duration::from_secs(1))?);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn wait_for(
        &self,
        offset: Offset,
        visibility: Visibility,
        timeout: Duration,
    ) -> Result<bool> {
        let inner = &*self.inner;
        if offset < Offset::ZERO {
            return Err(inner.out_of_range(offset));
        }
        inner.check_open()?;
        inner.keep_interval();
        let start = inner.env.storage.now_mono();
        loop {
            let seen = inner.group.generation();
            let packed = inner.live.packed();
            inner.check_open()?;
            if inner.visible_end(visibility) > offset {
                return Ok(true);
            }
            inner.check_refusal()?;
            let left = timeout.saturating_sub(inner.env.storage.now_mono().saturating_sub(start));
            if left.is_zero() {
                return Ok(false);
            }
            let flush_in = inner.flush_due_in();
            if flush_in == Some(Duration::ZERO) {
                inner.keep_interval();
                inner.check_refusal()?;
                continue;
            }
            // An append by another thread makes a flush due without waking this one.
            let interval = match packed.flush() {
                FlushPolicy::Interval(interval) => interval,
                _ => Duration::MAX,
            };
            let most = flush_in.unwrap_or(interval).min(left);
            inner.sleep(offset, visibility, (seen, packed), most);
        }
    }
}

impl Inner {
    /// How long until the interval policy wants a flush; `None` if nothing waits for one.
    pub(crate) fn flush_due_in(&self) -> Option<Duration> {
        let FlushPolicy::Interval(interval) = self.flush_policy() else { return None };
        let waiting = self.log_end_offset() > self.durable_offset();
        waiting.then(|| interval.saturating_sub(self.since_flush()))
    }

    /// Flushes if the interval policy wants it now. A failure poisons the log, which every later
    /// append and flush says; reading and waiting for written records go on.
    pub(crate) fn keep_interval(&self) {
        if self.is_own() && self.flush_due_in() == Some(Duration::ZERO) {
            let _ = self.flush_until(self.log_end_offset());
        }
    }

    /// Sleeps until the end moves, the log is closed or poisoned, its options change, or `most` is
    /// over.
    fn sleep(
        &self,
        offset: Offset,
        visibility: Visibility,
        (seen, packed): (u32, Packed),
        most: Duration,
    ) {
        // Only what is written can become durable: until then an append is what is waited for.
        let nothing_came = if visibility == Visibility::Written || self.log_end_offset() <= offset {
            let mut writer = self.writer.lock();
            // Before the look: a failure of the checkpoint is noted without this lock.
            let enrolled = self.appended.enroll();
            let waits = writer.next_offset <= offset
                && self.live.packed() == packed
                && self.refusal(&mut writer).is_ok();
            drop(writer);
            waits && enrolled.wait(Some(most))
        } else {
            self.group.wait_since(seen, Some(most))
        };
        if nothing_came {
            self.env.storage.slept(most);
        }
    }
}
