//! Index and time index: entries as bytes, and Kafka's rules for what goes in.
//!
//! Floor 2. Both are caches (I5). Their bytes equal those Kafka rebuilds for the same segment
//! (`OffsetIndex`, `TimeIndex`, `LogSegment.recover`).

use crate::codec::layout::HEADER_BYTES;

/// Entries that room is made for ahead: an interval of a few bytes would ask for gigabytes.
const ROOM_MAX: usize = 1 << 16;

/// The most entries that either index of a segment of this size gets: they lie more than an
/// interval and at least a batch apart, and the closing time is one more.
pub(crate) fn entries_max(interval_bytes: usize, segment_bytes: usize) -> usize {
    segment_bytes / interval_bytes.saturating_add(1).max(HEADER_BYTES) + 2
}

/// The most bytes of memory that the two indexes of such a segment take while it grows.
pub(crate) fn memory_max(interval_bytes: usize, segment_bytes: usize) -> usize {
    let entries = entries_max(interval_bytes, segment_bytes);
    let bytes = entries.saturating_mul(size_of::<IndexEntry>() + size_of::<TimeEntry>());
    // Above that they double where they lie: what is copied, and the room it is copied to.
    if entries > ROOM_MAX { bytes.saturating_mul(3) } else { bytes }
}

/// Bytes of an index entry: relative offset i32, position i32.
pub(crate) const INDEX_ENTRY_BYTES: usize = 8;
/// Bytes of a time index entry: timestamp i64, relative offset i32.
pub(crate) const TIME_ENTRY_BYTES: usize = 12;

/// The batch whose last offset is `offset` (relative to the segment's base) starts at `position`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    pub(crate) offset: i32,
    pub(crate) position: i32,
}

/// No record up to the relative `offset` has a time above `timestamp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TimeEntry {
    pub(crate) timestamp: i64,
    pub(crate) offset: i32,
}

/// A segment's index and time index in memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct IndexEntries {
    pub(crate) entries: Vec<IndexEntry>,
    pub(crate) times: Vec<TimeEntry>,
}

impl IndexEntries {
    /// Room for a segment of this size, within reason: no entry allocates afterwards.
    pub(crate) fn make_room(&mut self, interval_bytes: usize, segment_bytes: usize) {
        let room = entries_max(interval_bytes, segment_bytes).min(ROOM_MAX);
        self.entries.reserve_exact(room.saturating_sub(self.entries.len()));
        self.times.reserve_exact(room.saturating_sub(self.times.len()));
    }

    /// Gives back the room that is not used.
    pub(crate) fn shrink(&mut self) {
        self.entries.shrink_to_fit();
        self.times.shrink_to_fit();
    }

    /// Bytes of memory the entries take.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.entries.capacity() * size_of::<IndexEntry>()
            + self.times.capacity() * size_of::<TimeEntry>()
    }

    /// Takes in what the rule said is due.
    pub(crate) fn add(&mut self, due: Due) {
        self.entries.extend(due.entry);
        self.times.extend(due.time);
    }

    /// The last indexed batch at or below a relative offset.
    pub(crate) fn floor(&self, offset: i64) -> Option<IndexEntry> {
        let above = self.entries.partition_point(|entry| i64::from(entry.offset) <= offset);
        above.checked_sub(1).and_then(|at| self.entries.get(at)).copied()
    }
}

/// The entries that are due with a batch, or at the segment's end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) entry: Option<IndexEntry>,
    pub(crate) time: Option<TimeEntry>,
}

/// Decides batch by batch which entries a segment's two indexes get.
#[derive(Clone, Debug)]
pub(crate) struct IndexRule {
    base_offset: i64,
    interval_bytes: usize,
    /// Where the last indexed batch starts; the segment's first batch never gets an entry.
    last_entry_position: usize,
    max_timestamp: i64,
    max_timestamp_offset: i32,
    last_time: i64,
}

impl IndexRule {
    pub(crate) fn new(base_offset: i64, interval_bytes: usize) -> IndexRule {
        IndexRule {
            base_offset,
            interval_bytes,
            last_entry_position: 0,
            max_timestamp: -1,
            max_timestamp_offset: 0,
            last_time: -1,
        }
    }

    /// Goes on behind a clean close that left these entries; `closing_time` says whether the close
    /// added the last time entry, which a segment that grows on does not have.
    pub(crate) fn resume(
        base_offset: i64,
        interval_bytes: usize,
        entries: &mut IndexEntries,
        closing_time: bool,
    ) -> IndexRule {
        let mut rule = IndexRule::new(base_offset, interval_bytes);
        if let Some(last) = entries.entries.last() {
            rule.last_entry_position = usize::try_from(last.position).unwrap_or(0);
        }
        if let Some(last) = entries.times.last() {
            rule.max_timestamp = last.timestamp;
            rule.max_timestamp_offset = last.offset;
        }
        if closing_time {
            entries.times.pop();
        }
        rule.last_time = entries.times.last().map_or(-1, |entry| entry.timestamp);
        rule
    }

    /// Takes note of the batch at `position` and says which entries are due.
    #[inline]
    pub(crate) fn add(
        &mut self,
        last_offset: i64,
        max_timestamp: i64,
        position: usize,
    ) -> Option<Due> {
        // A batch that cannot lie in this segment, in a file that was brought from elsewhere.
        let (Ok(offset), Ok(place)) =
            (i32::try_from(last_offset - self.base_offset), i32::try_from(position))
        else {
            return None;
        };
        if max_timestamp > self.max_timestamp {
            self.max_timestamp = max_timestamp;
            self.max_timestamp_offset = offset;
        }
        if position - self.last_entry_position <= self.interval_bytes {
            return None;
        }
        self.last_entry_position = position;
        let entry = IndexEntry { offset, position: place };
        Some(Due { entry: Some(entry), time: self.time_entry() })
    }

    /// The final time entry, as a roll and a clean close add it.
    pub(crate) fn finish(&mut self) -> Due {
        Due { entry: None, time: self.time_entry() }
    }

    fn time_entry(&mut self) -> Option<TimeEntry> {
        (self.max_timestamp > self.last_time).then(|| {
            self.last_time = self.max_timestamp;
            TimeEntry { timestamp: self.max_timestamp, offset: self.max_timestamp_offset }
        })
    }
}

/// The index file's bytes, unpadded.
pub(crate) fn index_bytes(entries: &[IndexEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * INDEX_ENTRY_BYTES);
    for entry in entries {
        out.extend_from_slice(&entry.offset.to_be_bytes());
        out.extend_from_slice(&entry.position.to_be_bytes());
    }
    out
}

/// The time index file's bytes, unpadded.
pub(crate) fn time_bytes(entries: &[TimeEntry]) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.len() * TIME_ENTRY_BYTES);
    for entry in entries {
        out.extend_from_slice(&entry.timestamp.to_be_bytes());
        out.extend_from_slice(&entry.offset.to_be_bytes());
    }
    out
}

/// Reads a time index file: `None` unless it is whole and rising.
pub(crate) fn parse_times(bytes: &[u8]) -> Option<Vec<TimeEntry>> {
    let (chunks, []) = bytes.as_chunks::<TIME_ENTRY_BYTES>() else { return None };
    let mut entries: Vec<TimeEntry> = Vec::with_capacity(chunks.len());
    for &[t0, t1, t2, t3, t4, t5, t6, t7, o0, o1, o2, o3] in chunks {
        let entry = TimeEntry {
            timestamp: i64::from_be_bytes([t0, t1, t2, t3, t4, t5, t6, t7]),
            offset: i32::from_be_bytes([o0, o1, o2, o3]),
        };
        let rises = entries
            .last()
            .is_none_or(|last| entry.timestamp > last.timestamp && entry.offset > last.offset);
        if entry.offset < 0 || !rises {
            return None;
        }
        entries.push(entry);
    }
    Some(entries)
}

/// Reads an index file: `None` unless it is whole, rising, and inside a segment of this length.
pub(crate) fn parse_index(bytes: &[u8], segment_bytes: usize) -> Option<Vec<IndexEntry>> {
    let (chunks, []) = bytes.as_chunks::<INDEX_ENTRY_BYTES>() else { return None };
    let mut entries: Vec<IndexEntry> = Vec::with_capacity(chunks.len());
    let mut last = IndexEntry { offset: -1, position: 0 };
    for &[o0, o1, o2, o3, p0, p1, p2, p3] in chunks {
        let entry = IndexEntry {
            offset: i32::from_be_bytes([o0, o1, o2, o3]),
            position: i32::from_be_bytes([p0, p1, p2, p3]),
        };
        let inside = usize::try_from(entry.position).is_ok_and(|at| at < segment_bytes);
        if entry.offset <= last.offset || entry.position <= last.position || !inside {
            return None;
        }
        entries.push(entry);
        last = entry;
    }
    Some(entries)
}
