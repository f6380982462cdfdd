//! Deleting from the front: the log start moves up, and whole segments below it go.
//!
//! Floor 4. The new start is in the synced checkpoint before the first file is unlinked, so that no
//! crash leaves a log that begins with a hole; what a crash leaves below the start goes at the next
//! open. Keeps I1, I2 and I9: deletion is unlink, and batches that were read stay valid.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use crate::disk::names::{self, Part};
use crate::disk::segment::Segment;
use crate::disk::state::State;
use crate::disk::{Env, unlink_if_there};
use crate::log::report::RecoveryReport;
use crate::log::{Durable, Inner, Log, fit};
use crate::sys::FileKind;
use crate::sys::sync::atomic::Ordering;
use crate::words::error::{Error, Result};
use crate::words::offset::Offset;

/// What whoever deletes segments holds the lock of.
#[derive(Debug, Default)]
pub(crate) struct Deletion {
    /// Segments that are out of the log, but of which a file could not be unlinked yet, and the
    /// bytes of each.
    left: VecDeque<(Offset, u64)>,
}

impl Deletion {
    /// A segment's files could not be unlinked, of which nobody knows any more: later ones try.
    pub(crate) fn leave(&mut self, base: Offset) {
        self.left.push_back((base, 0));
    }
}

/// What was given back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Removed {
    pub(crate) segments: u64,
    pub(crate) bytes: u64,
}

impl Log {
    /// Deletes the records below `before`: the log start offset moves up to it, never down.
    ///
    /// Returns the log start offset. Space is given back a whole segment at a time: segments that
    /// lie wholly below the new start are unlinked, never the active one: once it is sealed, a
    /// later call (or open) removes it. Records between the first segment's base and the start are
    /// out of reach at once. Works on a full disk.
    ///
    /// When it returns, the new start survives a power cut, and deleted offsets count as durable:
    /// they are never assigned again. A [`Reader`](crate::Reader) that the start overtook says so
    /// once and goes on there; a [`Consumer`](crate::Consumer) goes on there and counts what it
    /// missed. Batches that were read stay valid and keep their segment's space until dropped.
    ///
    /// Blocks for one device flush of the checkpoint, and first for one of the records if `before`
    /// lies above the durable offset; appends, flushes and reads go on meanwhile.
    ///
    /// # Errors
    /// [`OffsetOutOfRange`](crate::ErrorKind::OffsetOutOfRange) if `before` lies above the log end
    /// offset; [`Io`](crate::ErrorKind::Io) and [`ReadOnly`](crate::ErrorKind::ReadOnly) as the
    /// system says: if the start had moved by then, the next call, or the next open, removes what
    /// is left; [`Poisoned`](crate::ErrorKind::Poisoned) and [`Closed`](crate::ErrorKind::Closed)
    /// as they say.
    ///
    /// # Examples
    /// ```
    /// # let tmp = tempfile::tempdir()?; let log = forebay::Log::open(tmp.path())?;
    /// use forebay::{Offset, OffsetSpec};
    /// log.append_batch(["21.5 C", "21.6 C", "21.4 C"])?;
    /// assert_eq!(log.delete_records(Offset::new(2))?, Offset::new(2));
    /// assert_eq!(log.log_start_offset(), Offset::new(2));
    /// let batch = log.reader(OffsetSpec::Earliest)?.next().expect("one is left")?;
    /// assert_eq!(batch.records().count(), 1);
    /// assert_eq!(log.delete_records(Offset::ZERO)?, Offset::new(2), "never down");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn delete_records(&self, before: Offset) -> Result<Offset> {
        self.inner.delete_below(before)
    }
}

impl Inner {
    /// Moves the log start up to `before` and removes the segments wholly below it.
    pub(crate) fn delete_below(&self, before: Offset) -> Result<Offset> {
        self.check_open()?;
        let mut deletion = self.deletion.lock();
        self.check_refusal()?;
        let valid = self.valid_offsets();
        if before > valid.end {
            return Err(self.out_of_range(before));
        }
        if before > valid.start {
            // The start becomes the recovery point: a batch it cuts through has to be whole on the
            // device, or a crash would leave what looks like damage to durable records.
            self.flush_until(before)?;
            self.raise_log_start(|_, _| Some(before))?;
        }
        self.remove_deleted(&mut deletion)?;
        Ok(self.log_start_offset())
    }

    /// Writes a new start to the checkpoint, syncs that, and only then shows it.
    ///
    /// `judge` says which, if any, by the state that the very same slot holds, and the log clock:
    /// commits that it was judged by are on the device as soon as it is. Everything below it is
    /// durable. The caller has the lock of deletions.
    pub(crate) fn raise_log_start(
        &self,
        judge: impl FnOnce(&State, i64) -> Option<Offset>,
    ) -> Result<()> {
        let start = {
            let mut durable = self.checkpoint.lock();
            // No close can end meanwhile: it waits for the lock of deletions.
            let now = self.catch_up(&mut durable);
            let Durable { state, file, unsaved, shifted } = &mut *durable;
            let Some(start) = judge(state, now).filter(|start| *start > state.log_start) else {
                return Ok(());
            };
            let (start_before, point_before) = (state.log_start, state.recovery_point);
            state.log_start = start;
            state.recovery_point = point_before.max(start);
            self.clock.write_to(&*self.env.storage, state, shifted);
            // Nobody asks any more when what is gone was begun; that makes room for what stays.
            let gone = state.samples.partition_point(|sample| sample.offset < start);
            let gone = gone.min(state.samples.len().saturating_sub(1));
            let samples: Vec<_> = state.samples.drain(..gone).collect();
            if let Err(error) = fit::write(file, &self.env, state) {
                // Nothing was deleted, and nothing may be called durable for it.
                state.log_start = start_before;
                state.recovery_point = point_before;
                state.samples.splice(..0, samples);
                if file.has_failed() {
                    self.note_failure(&error);
                }
                return Err(error);
            }
            *unsaved = false;
            start
        };
        self.sync_checkpoint()?;
        // In this order, so that the start never lies above the durable offset (I1).
        self.durable.fetch_max(start.get(), Ordering::AcqRel);
        self.log_start.store(start.get(), Ordering::Release);
        self.group.wake();
        Ok(())
    }

    /// What the file of a segment takes of the disk.
    pub(crate) fn allocated(&self, base: Offset) -> u64 {
        let path = self.env.dir.join(names::segment_file(base, Part::Log));
        self.env.storage.file_size(&path).map_or(0, |size| size.allocated)
    }

    /// Removes the indexes of a segment whose file is about to become another one. Caches (I5): one
    /// that stays agrees with nothing, and is not believed.
    pub(crate) fn drop_indexes(&self, base: Offset) {
        for part in [Part::TimeIndex, Part::Index] {
            let path = self.env.dir.join(names::segment_file(base, part));
            let _ = unlink_if_there(&*self.env.storage, &path);
        }
    }

    /// Takes note that a file of so many bytes has the name of the first of these segments, which
    /// follow one another, and stands for all of them; `allocated` is what that one's took. Those
    /// behind it keep their files.
    pub(crate) fn note_replaced(&self, old: &[Arc<Segment>], bytes: u64, allocated: u64) {
        let (Some(first), Some(last)) = (old.first(), old.last()) else { return };
        let gone = first.base..=last.base;
        let new = Segment::closed(first.base);
        new.know_sealed_bytes(bytes);
        self.segments.replace(old, Arc::new(new));
        self.tally.file_gone(first.let_file_go(), || allocated);
        // A flush need not sync them any more; one that is under way may, and no harm is done.
        self.writer.lock().unsynced.retain(|data| !gone.contains(&data.base));
    }

    /// Takes the segments below the start out of the log, then unlinks their files. Costs no system
    /// call where there are none.
    pub(crate) fn remove_deleted(&self, deletion: &mut Deletion) -> Result<Removed> {
        let removed = self.segments.remove_below(self.log_start_offset());
        for segment in &removed {
            let length = segment.sealed_bytes(&self.env);
            self.tally.deleted(segment.delete(), || self.allocated(segment.base));
            deletion.left.push_back((segment.base, length));
        }
        if let (Some(first), Some(last)) = (removed.first(), removed.last()) {
            // A flush need not sync them any more; one that is under way may, and no harm is done.
            let gone = first.base..=last.base;
            self.writer.lock().unsynced.retain(|data| !gone.contains(&data.base));
        }
        let mut gone = Removed::default();
        while let Some(&(base, bytes)) = deletion.left.front() {
            unlink_segment(&self.env, base)?;
            deletion.left.pop_front();
            gone.segments += 1;
            gone.bytes += bytes;
        }
        if gone.segments > 0 {
            self.space.room_was_made();
        }
        Ok(gone)
    }
}

/// Unlinks a segment's files, the segment itself last: as long as it is there, the next open knows
/// that the others may be.
pub(crate) fn unlink_segment(env: &Env, base: Offset) -> Result<()> {
    for part in [Part::TimeIndex, Part::Index, Part::Log] {
        unlink(env, &env.dir.join(names::segment_file(base, part)))?;
    }
    Ok(())
}

fn unlink(env: &Env, path: &Path) -> Result<()> {
    unlink_if_there(&*env.storage, path)
        .map_err(|error| Error::io("cannot remove a segment", path, error))
}

/// At open: takes the segments that lie wholly below the log start, which a crash has left or
/// brought back, out of the log; with the first one that stays.
pub(crate) fn leave_out(
    bases: &mut Vec<Offset>,
    state: &mut State,
) -> (Vec<Offset>, Option<Offset>) {
    state.recovery_point = state.recovery_point.max(state.log_start);
    let begun = bases.partition_point(|base| *base <= state.log_start);
    let deleted = bases.drain(..begun.saturating_sub(1)).collect();
    (deleted, bases.first().copied())
}

/// Removes their files, once the checkpoint that says so is synced: the process that raised the
/// start may have died before that.
pub(crate) fn sweep(
    env: &Env,
    (deleted, kept): (Vec<Offset>, Option<Offset>),
    start: Offset,
    report: &mut RecoveryReport,
) -> Result<()> {
    for base in deleted {
        unlink_segment(env, base)?;
        report.segments_deleted += 1;
    }
    if start == Offset::ZERO {
        return Ok(());
    }
    // Names need not reach the device in order: an index may be there without its segment.
    let dir = &env.dir;
    let entries = env.storage.list(dir);
    let entries = entries.map_err(|error| Error::io("cannot list the directory", dir, error))?;
    for entry in entries.into_iter().filter(|entry| entry.kind == FileKind::File) {
        let Some(name) = entry.name else { continue };
        let Some((base, _)) = names::parse_segment_file(&name) else { continue };
        if base < start && kept.is_none_or(|kept| base < kept) {
            unlink(env, &dir.join(name))?;
        }
    }
    Ok(())
}
