//! Retention: what the rules of the options expire goes, whole sealed segments at a time.
//!
//! Floor 4. `rules` says which segments the rules ask for, `hold` what consumers keep from them,
//! `drop_oldest` what goes whoever holds it, `thin` leaves gaps. The start moves up in one change
//! of the checkpoint, judged by the commits that this change holds (`delete`). Ages are those of
//! the log clock (I15).

mod drop_oldest;
mod hold;
pub(crate) mod rules;
mod thin;

use std::time::Duration;

use serde::Serialize;

use crate::disk::state::State;
use crate::log::compaction::CompactionReport;
use crate::log::policy::Policy;
use crate::log::retention::hold::{floor, released};
use crate::log::retention::rules::{Cause, Layout, age_millis, begun};
use crate::log::{Inner, Log};
use crate::sys::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use crate::words::error::{ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// What [`Log::apply_retention`] deleted, and what kept it from more.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RetentionReport {
    /// The log start offset behind it.
    pub log_start_offset: Offset,
    /// Segments whose files were removed; those that lay below the log start already included.
    pub segments_deleted: u64,
    /// Records that were deleted: by how many offsets the log start moved up.
    pub records_deleted: u64,
    /// Bytes of the batches in the segments.
    pub bytes_deleted: u64,
    /// How many of the segments [`LogOptions::retention_bytes`](crate::LogOptions::retention_bytes)
    /// asked for.
    pub segments_by_bytes: u64,
    /// How many of the others
    /// [`LogOptions::retention_records`](crate::LogOptions::retention_records) asked for.
    pub segments_by_records: u64,
    /// How many of the others [`LogOptions::retention_age`](crate::LogOptions::retention_age) asked
    /// for.
    pub segments_by_age: u64,
    /// The consumer that keeps a segment that a rule asks for, if one does.
    pub held_back: Option<HeldBack>,
    /// What a compaction did, if enough of the log was new for one: see
    /// [`LogOptions::cleanup`](crate::LogOptions::cleanup).
    pub compaction: Option<CompactionReport>,
    /// Why there was none although one was due, as where there is no room for it: it is tried again
    /// after the next segment, and nothing was lost.
    pub compaction_error: Option<String>,
}

/// Whom retention waits for: see [`LogOptions::hold`](crate::LogOptions::hold).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeldBack {
    /// The consumer's name; of several that hold, the one whose commit would release something.
    pub consumer: String,
    /// From this offset on it holds.
    pub offset: Offset,
}

/// When retention is to be looked at again by itself.
#[derive(Debug)]
pub(crate) struct Due {
    /// There was a reason since the last time.
    now: AtomicBool,
    /// A commit of this offset or a higher one is a reason; nothing is held back at `i64::MAX`.
    held_until: AtomicI64,
}

impl Default for Due {
    fn default() -> Due {
        Due { now: AtomicBool::new(false), held_until: AtomicI64::new(i64::MAX) }
    }
}

/// What may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ask {
    /// What a rule asks for and nobody holds.
    Rules,
    /// That, and what everybody who holds has committed: somebody needs the room.
    Room,
}

/// What to do while somebody else deletes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    /// Wait for it.
    Waited,
    /// Leave it to the next one who comes: closing has the lock while it waits for the log's own
    /// thread.
    IfFree,
}

/// What is to be deleted.
#[derive(Debug, Default)]
struct Plan {
    /// The new log start.
    start: Option<Offset>,
    by_bytes: u64,
    by_records: u64,
    by_age: u64,
    held_back: Option<HeldBack>,
    /// Up to where has to be committed for the next segment to go.
    held_until: Option<Offset>,
}

impl Log {
    /// Deletes the sealed segments that the retention rules ask for, as far as no consumer holds
    /// them: see [`LogOptions::retention_bytes`](crate::LogOptions::retention_bytes),
    /// [`retention_age`](crate::LogOptions::retention_age),
    /// [`retention_records`](crate::LogOptions::retention_records) and
    /// [`hold`](crate::LogOptions::hold).
    ///
    /// It happens by itself after each append that begins a segment, after a commit that a segment
    /// waited for, with the append that comes next, and with
    /// [`background`](crate::LogOptions::background) when an age is reached; never while a log is
    /// opened. Errors of that are nobody's: it is tried again after the next one. To call it helps
    /// where a log with an age is not appended to: it seals the active segment if that is old
    /// enough. Without any rule it deletes nothing. Behind that it compacts, if the log is one that
    /// is compacted and enough of it is new.
    ///
    /// When it returns, the new start survives a power cut, as by [`Log::delete_records`], with the
    /// commits it was decided by. Where nothing is to be deleted, it costs no system call, but for
    /// a look at the clock with `retention_age`, and one for each segment the first time. Else it
    /// blocks for a device flush of the checkpoint, and first for one of the records if what is to
    /// go is not durable yet; appends, flushes and reads go on meanwhile. Works on a full disk.
    ///
    /// # Errors
    /// Those of [`Log::delete_records`].
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?;
    /// use forebay::{Hold, Log};
    /// let options = Log::options().segment_bytes(4096).retention_records(100);
    /// let log = options.hold(Hold::Each(vec!["uplink".into()])).open(tmp.path())?;
    /// let mut uplink = log.consumer("uplink")?;
    /// for reading in 0..1000 {
    ///     log.append(format!("{reading}"))?;
    /// }
    /// let held = log.apply_retention()?.held_back.expect("it has committed nothing");
    /// assert_eq!((held.consumer.as_str(), held.offset.get()), ("uplink", 0));
    ///
    /// uplink.commit_offset(log.log_end_offset())?;
    /// let report = log.apply_retention()?;
    /// assert!(report.held_back.is_none() && report.segments_deleted > 0);
    /// assert!(log.log_end_offset() - report.log_start_offset >= 100);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn apply_retention(&self) -> Result<RetentionReport> {
        self.inner.apply_retention()
    }
}

impl Inner {
    /// [`Log::apply_retention`].
    pub(crate) fn apply_retention(&self) -> Result<RetentionReport> {
        self.check_open()?;
        if self.policy().retention_age.is_some() {
            match self.seal_if_old() {
                // Deleting what is sealed may be what makes room for the next segment.
                Err(error) if error.kind() == ErrorKind::OutOfSpace => {}
                rolled => rolled?,
            }
        }
        let mut report = self.retain(Ask::Rules, Turn::Waited)?;
        match self.compact_if_due() {
            Ok(compaction) => report.compaction = compaction,
            Err(error) if error.kind() == ErrorKind::OutOfSpace => {
                report.compaction_error = Some(error.to_string());
            }
            Err(error) => return Err(error),
        }
        Ok(report)
    }

    fn seal_if_old(&self) -> Result<()> {
        let mut writer = self.lock_writer()?;
        self.refusal(&mut writer)?;
        self.roll_if_old(&mut writer)
    }

    /// Deletes now what the rules allow, and what a hold has released although no rule asks for it
    /// yet: somebody needs the room. Whether anything was given back.
    ///
    /// For callers that hold none of the log's locks; any number of threads may call at once.
    pub(crate) fn expire(&self) -> Result<bool> {
        Ok(self.look_for_room()?.segments_deleted > 0)
    }

    /// The same, told: a consumer that keeps what would make room is in it.
    pub(crate) fn look_for_room(&self) -> Result<RetentionReport> {
        self.check_open()?;
        self.retain(Ask::Room, Turn::Waited)
    }

    /// Has retention looked at by whoever comes next: the options changed, or the clock.
    pub(crate) fn ask_for_retention(&self) {
        self.retention.now.store(true, Ordering::Release);
        self.wake_helper();
    }

    /// A segment more is sealed. Takes no lock.
    pub(crate) fn retain_after_roll(&self) {
        let policy = self.policy();
        if policy.retains() || policy.cleanup.compacts() {
            self.ask_for_retention();
        }
    }

    /// A consumer committed: what waited for that may go.
    #[inline]
    pub(crate) fn commit_may_release(&self, committed: Offset) {
        if committed.get() >= self.retention.held_until.load(Ordering::Acquire) {
            self.retention.held_until.store(i64::MAX, Ordering::Release);
            self.ask_for_retention();
        }
    }

    /// Applies the rules if there is a reason to. Errors have nobody to go to: what fails here is
    /// tried again after the next roll, and a failed sync is told to every append from now on (I8).
    #[inline]
    pub(crate) fn retain_if_due(&self) {
        if self.retention.now.load(Ordering::Acquire) {
            self.retain_by_itself();
        }
    }

    #[cold]
    fn retain_by_itself(&self) {
        if !self.is_closed() {
            let _ = self.retain(Ask::Rules, Turn::IfFree);
            let _ = self.compact_if_due();
        }
    }

    /// What the log's own thread does: applies the rules if they are due; when to look again.
    pub(crate) fn retain_in_background(&self) -> Option<Duration> {
        if self.oldest_expires_in().is_some_and(|left| left.is_zero()) {
            self.retention.now.store(true, Ordering::Release);
        }
        self.retain_if_due();
        let left = self.oldest_expires_in()?;
        if !left.is_zero() {
            return Some(left);
        }
        // What is held is looked at when it is committed; what failed, later.
        let held = self.retention.held_until.load(Ordering::Acquire) != i64::MAX;
        (!held).then_some(Duration::from_secs(limits::RETRY_SECONDS))
    }

    /// How long until the oldest segment, if it is sealed, is as old as the rule has it.
    fn oldest_expires_in(&self) -> Option<Duration> {
        let most = age_millis(self.policy().retention_age?);
        let next = self.segments.second_base()?;
        let age = |state: &State, now: i64| Some(now.saturating_sub(begun(&state.samples, next)?));
        let left = most.saturating_sub(self.with_clock(age)?);
        Some(Duration::from_millis(left.max(0).unsigned_abs()))
    }

    fn retain(&self, ask: Ask, turn: Turn) -> Result<RetentionReport> {
        self.check_refusal()?;
        // Whatever the reason was, this looks at it now.
        self.retention.now.store(false, Ordering::Release);
        let policy = self.policy();
        let asked = policy.retains() || ask == Ask::Room;
        let layout = asked.then(|| Layout::of(self, policy.needs_sizes()));
        let judged = |state: &State, now: i64, most: Offset| {
            let plan = |layout| judge(layout, &policy, ask, state, now, most);
            layout.as_ref().map(plan).unwrap_or_default()
        };
        let mut plan = self.with_clock(|state, now| judged(state, now, Offset::MAX));
        // The archive is code of somebody else: no lock is held meanwhile (I10).
        let handed = match plan.start {
            Some(start) => self.hand_over(start, turn == Turn::Waited),
            None => Ok(Offset::ZERO),
        };
        let mut deletion = match turn {
            Turn::Waited => self.deletion.lock(),
            Turn::IfFree => match self.deletion.try_lock() {
                Some(deletion) => deletion,
                None => {
                    self.retention.now.store(true, Ordering::Release);
                    return Ok(RetentionReport::default());
                }
            },
        };
        self.check_open()?;
        let before = self.log_start_offset();
        let mut removed = self.remove_deleted(&mut deletion)?;
        let up_to = handed?;
        if up_to > before {
            self.flush_until(up_to)?;
            self.raise_log_start(|state, now| {
                plan = judged(state, now, up_to);
                plan.start
            })?;
            let more = self.remove_deleted(&mut deletion)?;
            removed.segments += more.segments;
            removed.bytes += more.bytes;
        } else if plan.start.is_some() {
            // The archive has none of it yet.
            plan = self.with_clock(|state, now| judged(state, now, before));
        }
        let held_until = plan.held_until.map_or(i64::MAX, Offset::get);
        self.retention.held_until.store(held_until, Ordering::Release);
        let log_start_offset = self.log_start_offset();
        Ok(RetentionReport {
            log_start_offset,
            segments_deleted: removed.segments,
            records_deleted: (log_start_offset - before).max(0).unsigned_abs(),
            bytes_deleted: removed.bytes,
            segments_by_bytes: plan.by_bytes,
            segments_by_records: plan.by_records,
            segments_by_age: plan.by_age,
            held_back: plan.held_back,
            compaction: None,
            compaction_error: None,
        })
    }
}

impl Policy {
    /// Whether segments are judged by their bytes.
    fn needs_sizes(&self) -> bool {
        self.retention_bytes.is_some() || self.hold_limit_bytes.is_some()
    }
}

/// What may go of the segments that end at or below `most`, by what a slot of the checkpoint holds.
fn judge(
    layout: &Layout,
    policy: &Policy,
    ask: Ask,
    state: &State,
    now: i64,
    most: Offset,
) -> Plan {
    let mut plan = Plan::default();
    let held = floor(policy, &state.consumers, layout);
    for (segment, cause) in layout.due(policy, &state.samples, now) {
        if segment.next <= state.log_start {
            // It went meanwhile.
            continue;
        }
        if let Some((consumer, offset)) = held.filter(|(_, offset)| segment.next > *offset) {
            plan.held_back = Some(HeldBack { consumer: consumer.to_owned(), offset });
            plan.held_until = Some(segment.next);
            break;
        }
        if segment.next > most {
            break;
        }
        plan.start = Some(segment.next);
        let count = match cause {
            Cause::Bytes => &mut plan.by_bytes,
            Cause::Records => &mut plan.by_records,
            Cause::Age => &mut plan.by_age,
        };
        *count += 1;
    }
    if ask == Ask::Room
        && policy.cleanup.deletes()
        && let Some(released) = released(policy, &state.consumers)
    {
        let free = layout.sealed.iter().map(|segment| segment.next);
        plan.start = free.take_while(|next| *next <= released.min(most)).last().max(plan.start);
    }
    plan
}
