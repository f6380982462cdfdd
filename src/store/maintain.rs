//! What is due in a store: flushes, retention, places and the reserve.
//!
//! Floor 5. One pass for all logs, those that nobody touches too; by the store's thread or by hand.

use std::sync::Arc;

use serde::Serialize;

use crate::log::Inner;
use crate::log::flush::flush_together;
use crate::store::table::{Outlook, Slot, SlotState};
use crate::store::{Store, StoreInner, log_dir};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;

/// What one pass of [`Store::maintain`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct MaintainReport {
    /// Logs that were flushed because their policy wanted it.
    pub logs_flushed: u64,
    /// Logs that were opened because something was due in them.
    pub logs_opened: u64,
    /// Segments that retention deleted.
    pub segments_deleted: u64,
    /// Records in them.
    pub records_deleted: u64,
    /// Logs that were compacted.
    pub logs_compacted: u64,
    /// Records that went by that.
    pub records_compacted: u64,
    /// Logs in which something failed; their next call says what.
    pub logs_failed: u64,
}

impl Store {
    /// Does what is due in all logs, those that nobody touches too: flushes them, seals segments
    /// that are old enough, applies retention and compacts, closes logs above the bounds, and fills
    /// the reserve.
    ///
    /// To be called now and then, every few seconds, where there is no thread for it
    /// ([`StoreOptions::background`](crate::StoreOptions::background)). Logs that nobody touched
    /// since the store was opened are looked into a few hundred a pass, to learn when something is
    /// due in them; they stay closed until then.
    ///
    /// Blocks for the flushes and deletions it makes.
    ///
    /// # Errors
    /// [`Closed`](crate::ErrorKind::Closed), and those of the store's checkpoint. What fails in one
    /// log is counted and does not keep the others from their turn.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?;
    /// let store = forebay::Store::open(tmp.path())?;
    /// store.log("engine")?.append("1013 hPa")?;
    /// assert_eq!(store.maintain()?.logs_failed, 0);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn maintain(&self) -> Result<MaintainReport> {
        self.inner.check_open()?;
        self.inner.maintain()
    }

    /// Makes every record that was appended to any log before this call survive a power cut; but
    /// what a killed process had left in a log is flushed once that log is opened. Above 32 logs
    /// with something to flush, the filesystem is synced once instead.
    ///
    /// # Errors
    /// The first error, when all were tried; a log whose sync failed is poisoned, and if that was
    /// the one of the filesystem, every log that is open (I8). [`Poisoned`](ErrorKind::Poisoned)
    /// also if a log was closed for another one since, and that failed: open it by [`Store::log`],
    /// and [`Log::recovery`](crate::Log::recovery) and its durable offset say what is there.
    pub fn flush(&self) -> Result<()> {
        self.inner.check_open()?;
        let dirty: Vec<_> =
            self.inner.all_open_logs().into_iter().filter(|log| !log.is_flushed()).collect();
        self.inner.flush_logs(&dirty)?;
        self.inner.check_flushed()
    }

    /// Applies retention to all logs, those that nobody touches too: see
    /// [`Log::apply_retention`](crate::Log::apply_retention).
    ///
    /// # Errors
    /// As [`Store::maintain`].
    pub fn apply_retention(&self) -> Result<MaintainReport> {
        self.inner.check_open()?;
        let mut report = MaintainReport::default();
        self.inner.retain_all(&mut report);
        Ok(report)
    }
}

impl StoreInner {
    /// Whether every log that was closed to make room was closed well.
    pub(super) fn check_flushed(&self) -> Result<()> {
        match self.unflushed.lock().values().next() {
            None => Ok(()),
            Some(why) => {
                let text = format!("a log could not be flushed when it was closed ({why})");
                Err(Error::new(ErrorKind::Poisoned, text).at(&self.dir))
            }
        }
    }

    /// Flushes these logs, together if that is cheaper.
    pub(super) fn flush_logs(&self, logs: &[Arc<Inner>]) -> Result<()> {
        if logs.len() >= limits::DIRTY_LOGS_FOR_ONE_SYNC && self.medium.syncs_whole {
            return flush_together(logs, &self.all_open_logs(), &*self.lock);
        }
        let mut first = Ok(());
        for log in logs {
            // All are tried, whatever happens to one.
            first = first.and(log.flush_until(log.log_end_offset()).map(drop));
        }
        first
    }

    pub(super) fn maintain(self: &Arc<StoreInner>) -> Result<MaintainReport> {
        let mut report = MaintainReport::default();
        self.clock.note(&*self.storage);
        let open = self.open_logs();
        let due: Vec<_> = open.iter().filter(|log| log.is_flush_due()).cloned().collect();
        report.logs_flushed = due.len() as u64;
        if self.flush_logs(&due).is_err() {
            report.logs_failed += 1;
        }
        drop((open, due));
        self.retain_all(&mut report);
        self.fit_memory();
        // Where there is no room, the next pass tries again.
        let _ = self.reserve.fill();
        self.durable.save(&self.clock)?;
        Ok(report)
    }

    fn retain_all(self: &Arc<StoreInner>, report: &mut MaintainReport) {
        for log in self.open_logs() {
            self.retain(&log, report);
        }
        self.look_at_untouched(report);
    }

    fn retain(&self, log: &Inner, report: &mut MaintainReport) {
        if log.is_closed() {
            return;
        }
        let _ = log.roll_by_age();
        match log.apply_retention() {
            Ok(applied) => {
                report.segments_deleted += applied.segments_deleted;
                report.records_deleted += applied.records_deleted;
                if let Some(compaction) = applied.compaction {
                    report.logs_compacted += 1;
                    let gone = compaction.records_before.saturating_sub(compaction.records_after);
                    report.records_compacted += gone;
                }
                // For want of room, as a rule: nothing was lost.
                report.logs_failed += u64::from(applied.compaction_error.is_some());
            }
            Err(_) => report.logs_failed += 1,
        }
    }

    /// Opens logs in which something is due, and learns of others when it will be.
    fn look_at_untouched(self: &Arc<StoreInner>, report: &mut MaintainReport) {
        let now = self.clock.now(&*self.storage);
        let mut peeks = limits::LOGS_PEEKED_A_PASS;
        let slots = self.table.lock().all();
        for slot in slots {
            let Some(mut state) = slot.try_lock() else { continue };
            if state.gone || state.usable().is_some() {
                continue;
            }
            if state.outlook.is_none() {
                if !self.options_of(&slot, &state).ages() {
                    continue;
                }
                if peeks == 0 {
                    continue;
                }
                peeks -= 1;
                state.outlook = self.peek(&slot, &state);
            }
            if state.outlook.is_none_or(|outlook| outlook.due > now) {
                continue;
            }
            match self.enter(&slot, &mut state) {
                Ok(log) => {
                    report.logs_opened += 1;
                    drop(state);
                    self.retain(&log, report);
                }
                Err(_) => report.logs_failed += 1,
            }
        }
        self.close_again(now);
    }

    /// Closes what only maintenance has opened, and lets what something holds back wait a while.
    fn close_again(&self, now: i64) {
        // What a hold keeps is looked at again then.
        let later = now.saturating_add(limits::RETENTION_RETRY_MILLIS);
        let slots = self.table.lock().open_slots();
        for slot in slots.iter().filter(|slot| slot.used_at() == 0) {
            let Some(mut state) = slot.try_lock() else { continue };
            if state.is_idle() {
                let _ = self.leave(slot, &mut state);
                if let Some(outlook) = &mut state.outlook {
                    outlook.due = outlook.due.max(later);
                }
            }
        }
    }

    /// When something is due in a closed log, by its checkpoint and the names in its directory;
    /// `None` if that cannot be told.
    pub(super) fn peek(&self, slot: &Slot, state: &SlotState) -> Option<Outlook> {
        let options = self.options_of(slot, state);
        let dir = log_dir(&self.dir, slot);
        let (due, oldest) = crate::log::open::peek(&self.storage, &dir, self.id, &options)?;
        Some(Outlook { due, oldest })
    }
}
