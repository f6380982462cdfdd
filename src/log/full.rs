//! What happens when there is no room: in the log's budget, in its store's, or on the device.
//!
//! Floor 4. An append that found none has given its locks back before it comes here (I10), and
//! tries again when something was freed.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::codec::index::{INDEX_ENTRY_BYTES, TIME_ENTRY_BYTES, entries_max};
use crate::disk::space::{Level, Space, blocks, over_budget};
use crate::disk::state::ClockSample;
use crate::disk::{checkpoint, names};
use crate::log::Inner;
use crate::log::host::Host;
use crate::log::options::LogOptions;
use crate::log::policy::OnFull;
use crate::sys::{FileKind, Storage};
use crate::words::error::{Error, ErrorKind, Result};
use crate::words::limits;
use crate::words::offset::Offset;

/// How long an append that found no room still waits.
pub(crate) struct Patience {
    /// When it gives up, by the rising clock.
    until: Duration,
    /// What was given back before it last looked for room.
    seen: u32,
}

impl Inner {
    /// Bounds the log anew from now on, unless the new bound is less than any log needs.
    pub(super) fn change_budget(&self, now: &LogOptions, asked: &LogOptions) -> Result<()> {
        let tears = self.env.torn_bytes.is_some();
        check_budget(asked, tears).map_err(|error| error.at(&self.env.dir))?;
        let uncounted = self.host.is_none() && now.budget_bytes.is_none();
        if uncounted && asked.budget_bytes.is_some() {
            let counted = self.env.storage.recount();
            counted.map_err(|error| Error::io("cannot count the files", &self.env.dir, error))?;
        }
        let reserve = reserve_bytes(asked, tears);
        self.space.set_limits(asked.budget_bytes, reserve, spare_bytes(asked));
        Ok(())
    }

    /// After the bound was changed: frees what the policy lets go without being asked by an append.
    pub(super) fn fit_budget(&self) {
        let above = |used| self.space.limit().is_some_and(|limit| used > limit);
        let mut used = self.space.used();
        while above(used) {
            // What cannot be freed now is what an append meets, and reports.
            let freed = self.expire().unwrap_or(false)
                || self.policy().on_full == OnFull::DropOldest
                    && self.drop_oldest().is_ok_and(|dropped| dropped.is_some());
            let left = self.space.used();
            // What readers hold is not free yet: more of it would not be either.
            if !freed || left >= used {
                return;
            }
            used = left;
        }
    }

    /// After an append that failed: frees what the policy allows and lets it be tried again, or
    /// hands the error back. `patience` is none at first and belongs to the append.
    #[cold]
    pub(crate) fn make_room(&self, error: Error, patience: &mut Option<Patience>) -> Result<()> {
        if error.kind() != ErrorKind::OutOfSpace || self.is_closed() {
            return Err(error);
        }
        // Of many appends that found none, the first makes room for as many as that serves.
        if self.space.has_made_room_since(&error) {
            return Ok(());
        }
        let policy = self.policy();
        let level = over_budget(&error);
        // What nobody needs goes first, whatever the policy; what cannot be freed is no news.
        let found = self.look_for_room().ok();
        let freed = found.as_ref().is_some_and(|found| found.segments_deleted > 0);
        // Or another thread did, whose deletion was waited for: nothing is dropped beside that.
        if freed || self.space.has_made_room_since(&error) {
            return Ok(());
        }
        if policy.cleanup.compacts() && self.compact_for_room() {
            return Ok(());
        }
        let held = found.and_then(|found| found.held_back);
        let error = match held.filter(|_| policy.on_full != OnFull::DropOldest) {
            Some(held) => error.held_by(&held.consumer, held.offset),
            None => error,
        };
        match policy.on_full {
            OnFull::Reject => Err(error),
            OnFull::DropOldest => match self.drop_for(level, policy.priority) {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => self.wait_for_dropped(error, patience),
            },
            OnFull::Block(most) => self.wait_for_room(most, error, patience),
        }
    }

    /// Where there was nothing to drop: lets the append be tried again if that is because another
    /// thread did meanwhile, or if what was dropped has yet to be let go of, by a flush that is
    /// under way or by a reader.
    fn wait_for_dropped(&self, error: Error, patience: &mut Option<Patience>) -> Result<()> {
        if self.space.has_made_room_since(&error) {
            return Ok(());
        }
        if !Space::was_room_held(&error) {
            return Err(error);
        }
        let most = Duration::from_millis(limits::FULL_POLL_MILLIS);
        self.wait_for_room(most, error, patience)
    }

    /// Lets the append be tried again when something was given back, or hands the error back.
    fn wait_for_room(
        &self,
        most: Duration,
        error: Error,
        patience: &mut Option<Patience>,
    ) -> Result<()> {
        let now = self.clocks.now_mono();
        let until = patience.as_ref().map_or(now.saturating_add(most), |patience| patience.until);
        let left = until.saturating_sub(now);
        if left.is_zero() {
            return Err(error);
        }
        // The first time it is tried again at once: room that was made since the append looked for
        // it would wake nobody.
        if let Some(patience) = patience {
            // Pins and other programs tell nobody when they let go.
            let pause = left.min(Duration::from_millis(limits::FULL_POLL_MILLIS));
            if self.space.wait_since(patience.seen, pause) {
                self.clocks.slept(pause);
            }
        }
        *patience = Some(Patience { until, seen: self.space.generation() });
        Ok(())
    }

    /// Drops what is oldest: of this log where its own budget is short, of the store's logs where
    /// that or the device is; whether something was freed.
    fn drop_for(&self, level: Option<Level>, priority: u8) -> Result<bool> {
        match &self.host {
            Some(host) if level != Some(Level::Log) => host.keeper.make_room(host.log, priority),
            _ => Ok(self.drop_oldest()?.is_some()),
        }
    }
}

impl Inner {
    /// For the time when the log is closed: by the log clock, when retention by age has something
    /// to do, `i64::MAX` for never; and when its oldest sealed segment ended, if it has one.
    pub(crate) fn outlook(&self) -> (i64, Option<i64>) {
        let policy = self.policy();
        let holds = !self.writer.lock().active.is_empty();
        let second = self.segments.all().get(1).map(|segment| segment.base);
        let durable = self.checkpoint.lock();
        let ages = (policy.retention_age, policy.segment_age);
        outlook_of(&durable.state.samples, second, holds, ages)
    }
}

/// What [`Inner::outlook`] says of a log by what its checkpoint and its directory say: the moments
/// at which segments were begun, the second segment if there is one, and whether the last one holds
/// anything. `ages` are those of retention and of rolling.
pub(crate) fn outlook_of(
    samples: &[ClockSample],
    second: Option<Offset>,
    holds: bool,
    ages: (Option<Duration>, Duration),
) -> (i64, Option<i64>) {
    // A moment that is not known counts as one that is to come.
    let begun = |offset: Offset| {
        let sample = samples.iter().find(|sample| sample.offset >= offset);
        sample.map_or(i64::MAX, |sample| sample.log_clock)
    };
    let oldest = second.map(begun);
    let (Some(retention), roll) = ages else { return (i64::MAX, oldest) };
    let later = |from: i64, age: Duration| {
        from.saturating_add(i64::try_from(age.as_millis()).unwrap_or(i64::MAX))
    };
    let sealed = oldest.map(|ended| later(ended, retention));
    let active = samples.last().filter(|_| holds);
    let active = active.map(|sample| later(sample.log_clock, retention.min(roll)));
    (sealed.into_iter().chain(active).min().unwrap_or(i64::MAX), oldest)
}

/// The space of a log that is about to be opened, what its files take counted if anybody asks.
pub(super) fn begin_space(
    storage: &dyn Storage,
    dir: &Path,
    options: &LogOptions,
    host: Option<&Host>,
    tears: bool,
) -> Result<Arc<Space>> {
    let space = Space::new(Level::Log, host.map(|host| Arc::clone(&host.space)));
    let bounded = options.budget_bytes.is_some();
    match host {
        Some(host) => space.begin_with(host.counted),
        None if bounded => space.settle(measure(storage, dir)?),
        None => {}
    }
    check_budget(options, tears).map_err(|error| error.at(dir))?;
    space.set_limits(options.budget_bytes, reserve_bytes(options, tears), spare_bytes(options));
    Ok(Arc::new(space))
}

/// What the files in a directory take, in whole blocks; a file of somebody else by what the
/// filesystem gave to it.
pub(crate) fn measure(storage: &dyn Storage, dir: &Path) -> Result<u64> {
    let looked = |error| Error::io("cannot measure the directory", dir, error);
    let mut bytes = 0_u64;
    for entry in storage.list(dir).map_err(looked)? {
        let (Some(name), FileKind::File) = (entry.name, entry.kind) else { continue };
        // One that is gone meanwhile takes nothing.
        let size = storage.file_size(&dir.join(&name)).unwrap_or_default();
        bytes = bytes.saturating_add(match names::is_ours(&name) {
            true => blocks(size.length),
            false => blocks(size.allocated),
        });
    }
    Ok(bytes)
}

/// What of a budget appends leave alone: room for a checkpoint that grows, which is there twice
/// then, and for the indexes that a roll writes.
pub(crate) fn reserve_bytes(options: &LogOptions, tears: bool) -> u64 {
    2 * checkpoint::least_bytes(tears) + index_bytes(options) + limits::BLOCK_BYTES
}

/// What of a budget is kept back for what a compaction writes before it may delete: a segment, in
/// which times may take a few bytes more.
fn spare_bytes(options: &LogOptions) -> u64 {
    match options.cleanup.compacts() {
        true => blocks((options.segment_bytes + options.segment_bytes / 8) as u64),
        false => 0,
    }
}

fn index_bytes(options: &LogOptions) -> u64 {
    let entries = entries_max(options.index_interval_bytes, options.segment_bytes) as u64;
    blocks(entries * INDEX_ENTRY_BYTES as u64) + blocks(entries * TIME_ENTRY_BYTES as u64)
}

/// The least a log can do with: its small files, the reserve, and two segments.
pub(crate) fn least_budget(options: &LogOptions, tears: bool) -> u64 {
    let segments = 2 * blocks(options.segment_bytes as u64) + index_bytes(options);
    let small = checkpoint::least_bytes(tears) + limits::BLOCK_BYTES;
    segments + small + reserve_bytes(options, tears) + spare_bytes(options)
}

fn check_budget(options: &LogOptions, tears: bool) -> Result<()> {
    let least = least_budget(options, tears);
    match options.budget_bytes {
        Some(budget) if budget < least => Err(Error::invalid(format!(
            "budget_bytes is {budget}, a log with segment_bytes {} needs {least}: {} segments, \
             their indexes, the checkpoint, and the reserve for it",
            options.segment_bytes,
            if options.cleanup.compacts() { "three" } else { "two" }
        ))),
        _ => Ok(()),
    }
}
