//! Floor 2's tests: what the two indexes take, hold and are read back from, to the entry.

use super::*;
use crate::codec::index::{Due, IndexEntry, TimeEntry, entries_max, memory_max};

fn entry(offset: i32, position: i32) -> IndexEntry {
    IndexEntry { offset, position }
}

fn time(timestamp: i64, offset: i32) -> TimeEntry {
    TimeEntry { timestamp, offset }
}

/// I11: an entry an interval, and one at the close; never more than one a batch.
#[test]
fn the_room_that_indexes_take_is_known_ahead() {
    assert_eq!(entries_max(4096, 1 << 20), (1 << 20) / 4097 + 2);
    assert_eq!(entries_max(0, 6100), 102);
    assert_eq!(entries_max(usize::MAX, 6100), 2);
    let both = size_of::<IndexEntry>() + size_of::<TimeEntry>();
    assert_eq!(memory_max(4096, 1 << 20), 257 * both);
    let as_made_ahead = 61 * ((1 << 16) - 2);
    assert_eq!(memory_max(0, as_made_ahead), (1 << 16) * both);
    assert_eq!(memory_max(0, as_made_ahead + 61), ((1 << 16) + 1) * both * 3);
}

/// The memory that entries take is counted, made ahead within reason, and given back.
#[test]
fn the_memory_of_entries_is_counted_made_and_given_back() {
    let sizes = (size_of::<IndexEntry>(), size_of::<TimeEntry>());
    let mut entries = IndexEntries::default();
    assert_eq!(entries.memory_bytes(), 0);
    entries.make_room(4096, 1 << 20);
    assert_eq!(entries.memory_bytes(), 257 * (sizes.0 + sizes.1));
    let due = |offset| Due { entry: Some(entry(offset, 1)), time: None };
    (0..257).for_each(|offset| entries.add(due(offset)));
    assert_eq!(entries.memory_bytes(), 257 * (sizes.0 + sizes.1), "no entry allocates");
    entries.add(Due { entry: None, time: Some(time(1, 1)) });
    entries.shrink();
    assert_eq!(entries.memory_bytes(), 257 * sizes.0 + sizes.1);
    let mut huge = IndexEntries::default();
    huge.make_room(1, 1 << 30);
    assert_eq!(huge.memory_bytes(), (1 << 16) * (sizes.0 + sizes.1));
}

#[test]
fn the_last_entry_at_or_below_an_offset_is_found() {
    let entries = IndexEntries { entries: vec![entry(3, 100), entry(9, 200)], times: Vec::new() };
    let found = [-1, 2, 3, 8, 9, i64::MAX].map(|offset| entries.floor(offset));
    let [first, second] = [Some(entry(3, 100)), Some(entry(9, 200))];
    assert_eq!(found, [None, None, first, first, second, second]);
}

/// Kafka's rule: the first offset that has the highest time; a batch that cannot lie in the segment
/// changes nothing.
#[test]
fn the_first_batch_with_the_highest_time_is_in_the_time_index() {
    let mut rule = IndexRule::new(1000, 100);
    assert_eq!(rule.add(1004, 50, 0), None);
    assert_eq!(rule.add(1009, 50, 90), None);
    assert_eq!(rule.add(1000 + (1 << 31), 99, 95), None, "beyond 31 bits behind the base");
    assert_eq!(rule.add(1010, 99, 1 << 31), None, "beyond the largest segment");
    assert_eq!(rule.add(1014, 40, 100), None, "an interval lies between two entries");
    let due = Due { entry: Some(entry(19, 101)), time: Some(time(50, 4)) };
    assert_eq!(rule.add(1019, 30, 101), Some(due));
    assert_eq!(rule.finish(), Due { entry: None, time: None }, "that time is there already");
    assert_eq!(rule.add(1020, 51, 102), None);
    assert_eq!(rule.finish().time, Some(time(51, 20)));
}

/// A segment of which only the closing time was indexed, however low, gets it at the next close as
/// well.
#[test]
fn a_closing_time_of_zero_is_taken_back_when_appending_goes_on() {
    for lowest in [0, 1, 7] {
        let mut entries = IndexEntries { entries: Vec::new(), times: vec![time(lowest, 2)] };
        let mut rule = IndexRule::resume(0, 100, &mut entries, true);
        assert_eq!(entries.times, []);
        assert_eq!(rule.finish().time, Some(time(lowest, 2)));
        let mut entries = IndexEntries { entries: Vec::new(), times: vec![time(lowest, 2)] };
        let mut rule = IndexRule::resume(0, 100, &mut entries, false);
        assert_eq!((entries.times.len(), rule.finish().time), (1, None));
    }
}

/// I5: of an index file only what is whole, rising and inside its segment is believed.
#[test]
fn an_index_file_is_believed_only_if_every_entry_can_be() {
    let parsed = |entries: &[IndexEntry]| parse_index(&index_bytes(entries), 1000).is_some();
    for (entries, whole) in [
        (&[][..], true),
        (&[entry(0, 1)], true),
        (&[entry(1, 999)], true),
        (&[entry(1, 1000)], false),
        (&[entry(1, 0)], false),
        (&[entry(-1, 5)], false),
        (&[entry(1, -5)], false),
        (&[entry(1, 5), entry(2, 6)], true),
        (&[entry(1, 5), entry(1, 6)], false),
        (&[entry(1, 5), entry(2, 5)], false),
        (&[entry(2, 5), entry(1, 6)], false),
        (&[entry(1, 6), entry(2, 5)], false),
    ] {
        assert_eq!(parsed(entries), whole, "{entries:?}");
    }
    assert_eq!(parse_index(&[0; 7], 1000), None);
    assert_eq!(parse_times(&[0; 13]), None);
}

/// I5: the same of a time index file.
#[test]
fn a_time_index_file_is_believed_only_if_every_entry_can_be() {
    let parsed = |entries: &[TimeEntry]| parse_times(&time_bytes(entries)).is_some();
    for (entries, whole) in [
        (&[][..], true),
        (&[time(-5, 0)], true),
        (&[time(5, -1)], false),
        (&[time(5, 1), time(6, 2)], true),
        (&[time(5, 1), time(5, 2)], false),
        (&[time(5, 1), time(6, 1)], false),
        (&[time(6, 1), time(5, 2)], false),
        (&[time(5, 2), time(6, 1)], false),
    ] {
        assert_eq!(parsed(entries), whole, "{entries:?}");
    }
}
