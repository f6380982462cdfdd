//! The segments of one log in order, and how many of them are open.
//!
//! Floor 3. The list changes at a roll or a deletion; readers look at it once a segment.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::disk::Env;
use crate::disk::segment::{Segment, SegmentData};
use crate::sys::sync::atomic::{AtomicUsize, Ordering};
use crate::sys::sync::{Mutex, RwLock};
use crate::words::error::Result;
use crate::words::limits;
use crate::words::offset::Offset;

/// Memory of a segment that is not open: its name, in the list and in copies of that.
pub(crate) const SEGMENT_MEMORY_BYTES: usize = 256;

/// The segments by base offset, the active one last.
#[derive(Debug)]
pub(crate) struct SegmentSet {
    list: RwLock<Vec<Arc<Segment>>>,
    /// Sealed ones that are open: their number is bounded. The first one that nobody has opened
    /// since it was last passed over goes, so that opening one that is there only leaves a mark.
    open: Mutex<VecDeque<Arc<Segment>>>,
    open_max: AtomicUsize,
}

impl SegmentSet {
    pub(crate) fn new(list: Vec<Arc<Segment>>) -> SegmentSet {
        debug_assert!(list.is_sorted_by_key(|segment| segment.base));
        let open_max = AtomicUsize::new(limits::OPEN_SEALED_SEGMENTS_MAX);
        SegmentSet { list: RwLock::new(list), open: Mutex::default(), open_max }
    }

    /// Keeps so many sealed segments open from now on, at least one.
    pub(crate) fn keep_at_most(&self, open_max: usize) {
        self.open_max.store(open_max.max(1), Ordering::Release);
        self.release_oldest(&mut self.open.lock());
    }

    fn release_oldest(&self, open: &mut VecDeque<Arc<Segment>>) {
        while open.len() > self.open_max.load(Ordering::Acquire) {
            for _ in 0..open.len() {
                if !open.front().is_some_and(|oldest| oldest.take_mark()) {
                    break;
                }
                open.rotate_left(1);
            }
            let Some(oldest) = open.pop_front() else { return };
            oldest.keep(false);
            oldest.release();
        }
    }

    /// Bytes of memory that segments and their indexes take now.
    pub(crate) fn memory_bytes(&self) -> usize {
        let all = self.all();
        let open = all.iter().filter_map(|segment| segment.opened_data());
        all.len() * SEGMENT_MEMORY_BYTES + open.map(|data| data.index_memory()).sum::<usize>()
    }

    /// Makes `segment` the active one; the one before it is sealed from now on.
    pub(crate) fn push(&self, segment: Arc<Segment>) {
        let sealed = {
            let mut list = self.list.write();
            let sealed = list.last().cloned();
            list.push(segment);
            sealed
        };
        if let Some(sealed) = sealed {
            self.keep_open(&sealed);
        }
    }

    /// All of them as they are now, the active one last.
    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.list.read().clone()
    }

    /// The segment an offset lies in: the last one that begins at or below it, else the first.
    pub(crate) fn find(&self, offset: Offset) -> Option<Arc<Segment>> {
        let list = self.list.read();
        let above = list.partition_point(|segment| segment.base <= offset);
        list.get(above.saturating_sub(1)).cloned()
    }

    /// The segment behind the one that begins at `base`.
    pub(crate) fn after(&self, base: Offset) -> Option<Arc<Segment>> {
        let list = self.list.read();
        list.get(list.partition_point(|segment| segment.base <= base)).cloned()
    }

    /// The first segment from the one of an offset on that is not known to end before a time, and
    /// whether it is sealed.
    pub(crate) fn first_reaching(&self, from: Offset, time: i64) -> Option<(Arc<Segment>, bool)> {
        let list = self.list.read();
        let begin = list.partition_point(|segment| segment.base <= from).saturating_sub(1);
        let ends_before =
            |segment: &Arc<Segment>| segment.max_timestamp().is_some_and(|highest| highest < time);
        let (at, found) =
            list.iter().enumerate().skip(begin).find(|(_, segment)| !ends_before(segment))?;
        Some((Arc::clone(found), at + 1 < list.len()))
    }

    /// Opens a segment for reading and keeps it open among the most recent ones.
    pub(crate) fn open(&self, env: &Env, segment: &Arc<Segment>) -> Result<Arc<SegmentData>> {
        let data = segment.data(env)?;
        if !segment.is_kept() && self.after(segment.base).is_some() {
            self.keep_open(segment);
        }
        Ok(data)
    }

    /// Takes the segments out that lie wholly below an offset, oldest first; never the active one.
    /// Whoever has one of them open keeps it, and nobody opens one any more.
    pub(crate) fn remove_below(&self, start: Offset) -> Vec<Arc<Segment>> {
        let removed: Vec<_> = {
            let mut list = self.list.write();
            let begun = list.partition_point(|segment| segment.base <= start);
            list.drain(..begun.saturating_sub(1)).collect()
        };
        let is_removed = |segment: &Arc<Segment>| removed.iter().any(|r| Arc::ptr_eq(r, segment));
        if !removed.is_empty() {
            self.open.lock().retain(|segment| !is_removed(segment));
        }
        removed
    }

    /// Puts a sealed segment in the place of one whose file another one has replaced, or of several
    /// that follow one another and were merged into the first one's. The caller sees to it that
    /// they are listed.
    pub(crate) fn replace(&self, old: &[Arc<Segment>], new: Arc<Segment>) {
        let is_old = |segment: &Arc<Segment>| old.iter().any(|other| Arc::ptr_eq(other, segment));
        {
            let mut list = self.list.write();
            let place = list.partition_point(|segment| segment.base < new.base);
            list.retain(|segment| !is_old(segment));
            list.insert(place, new);
        }
        self.open.lock().retain(|segment| !is_old(segment));
    }

    /// Whether a segment is among them, and no other one in its place.
    pub(crate) fn holds(&self, segment: &Arc<Segment>) -> bool {
        self.find(segment.base).is_some_and(|listed| Arc::ptr_eq(&listed, segment))
    }

    /// Where the first segment ends, if it is sealed.
    pub(crate) fn second_base(&self) -> Option<Offset> {
        self.list.read().get(1).map(|segment| segment.base)
    }

    fn keep_open(&self, segment: &Arc<Segment>) {
        let mut open = self.open.lock();
        open.retain(|other| !Arc::ptr_eq(other, segment));
        // Looked up below the lock: a segment that is removed meanwhile is taken out behind it.
        if !self.holds(segment) {
            return;
        }
        segment.keep(true);
        open.push_back(Arc::clone(segment));
        self.release_oldest(&mut open);
    }
}
