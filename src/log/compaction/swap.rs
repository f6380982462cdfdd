//! Puts a compacted file in the place of segments, and removes what a crash left of that.
//!
//! Floor 4. One rename of a synced file, then the directory's sync: a segment is the old one or the
//! new one. Where several are merged, the file takes the first one's name and reaches over the
//! others, which go behind that. Which these are is in the synced checkpoint before the rename: a
//! file that is left over begins inside a segment that reaches over it, and holds nothing that is
//! not in that. Readers that have an old file keep it (I9).

use std::sync::Arc;

use crate::disk::names::{self, Part};
use crate::disk::state::State;
use crate::disk::{Env, index_file};
use crate::log::Inner;
use crate::log::chain;
use crate::log::compaction::Sealed;
use crate::log::compaction::copy::{Made, discard};
use crate::log::delete::{Deletion, unlink_segment};
use crate::log::report::RecoveryReport;
use crate::words::error::{Error, Result};
use crate::words::offset::Offset;

impl Inner {
    /// Puts the file in the place of these segments, which follow one another; `false` if one of
    /// them is gone, or another one, meanwhile.
    pub(super) fn put_in_place(&self, group: &[Sealed], made: &Made) -> Result<bool> {
        let mut deletion = self.deletion.lock();
        let put = self.check_open().and_then(|()| self.try_put(group, made, &mut deletion));
        if !matches!(put, Ok(true)) {
            discard(&self.env);
        }
        put
    }

    fn try_put(&self, group: &[Sealed], made: &Made, deletion: &mut Deletion) -> Result<bool> {
        let ([first, others @ ..], Some(last)) = (group, group.last()) else { return Ok(false) };
        if group.iter().any(|sealed| !self.segments.holds(&sealed.segment)) {
            return Ok(false);
        }
        let base = first.segment.base;
        if !others.is_empty() {
            // What is left over of earlier ones is known by one note, and goes before it does.
            self.remove_deleted(deletion)?;
            self.note_absorbed(base, last.next)?;
        }
        self.drop_indexes(base);
        let path = self.env.dir.join(names::segment_file(base, Part::Log));
        let allocated = self.allocated(base);
        let renamed = self.env.storage.rename(&made.path, &path);
        renamed.map_err(|error| Error::io("cannot name a compacted segment", &path, error))?;
        self.env.sync_names().inspect_err(|error| self.poison(error))?;
        let old: Vec<_> = group.iter().map(|sealed| Arc::clone(&sealed.segment)).collect();
        self.note_replaced(&old, made.bytes, allocated);
        for sealed in others {
            let base = sealed.segment.base;
            let allocated = self.allocated(base);
            self.tally.file_gone(sealed.segment.delete(), || allocated);
            if unlink_segment(&self.env, base).is_err() {
                // The next deletion tries again, or the next open.
                deletion.leave(base);
            }
        }
        let _ = index_file::write(&self.env, base, &made.entries);
        Ok(true)
    }

    /// Says in the synced checkpoint that what begins between these offsets may be left over.
    fn note_absorbed(&self, from: Offset, to: Offset) -> Result<()> {
        let noted = self.with_clock(|state, _| state.compaction.absorbed.is_some());
        if noted {
            // What was left over by the merge before goes from the device before its note does.
            self.env.sync_names().inspect_err(|error| self.poison(error))?;
        }
        self.change_state(|state| {
            state.compaction.absorbed = Some((from, to));
            Ok(((), true))
        })?;
        self.sync_checkpoint()
    }
}

/// At open: takes the files out of the list that were merged into the segment before them, as the
/// checkpoint and that segment say.
pub(crate) fn leave_out(env: &Env, bases: &mut Vec<Offset>, state: &State) -> Vec<Offset> {
    let Some((from, to)) = state.compaction.absorbed else { return Vec::new() };
    let left_over = |base: &Offset| from < *base && *base < to;
    let Some(&next) = bases.iter().find(|base| left_over(base)) else { return Vec::new() };
    if !bases.contains(&from) || !chain::reaches_over(env, from, next) {
        return Vec::new();
    }
    let (gone, stay) = bases.drain(..).partition(left_over);
    *bases = stay;
    gone
}

/// Removes them, once the log is known to open without them.
pub(crate) fn sweep(env: &Env, gone: Vec<Offset>, report: &mut RecoveryReport) -> Result<()> {
    for base in gone {
        unlink_segment(env, base)?;
        report.segments_merged += 1;
    }
    Ok(())
}
