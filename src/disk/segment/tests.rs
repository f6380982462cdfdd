//! Floor 3's tests: segments, their indexes, and which of them stay open.

use std::path::Path;

use super::*;
use crate::codec::encode::{BatchEncoder, stamp};
use crate::codec::index::TimeEntry;
use crate::codec::seal::Seal;
use crate::disk::active::{ActiveSegment, Pace};
use crate::disk::set::{SEGMENT_MEMORY_BYTES, SegmentSet};
use crate::sys::OsStorage;
use crate::words::log_id::LogId;
use crate::words::time::Timestamp;

pub(crate) fn env(dir: &Path, mapped: bool) -> Env {
    Env {
        storage: Arc::new(OsStorage),
        dir: dir.to_path_buf(),
        names: None,
        seal: Seal::of(LogId::from_bytes([7; 16])),
        mapped,
        segment_bytes: 1 << 20,
        index_interval_bytes: 4096,
        torn_bytes: None,
        memory_bounded: false,
        written: Default::default(),
    }
}

/// A batch of one record that takes exactly so many bytes, 200 to 8,000.
pub(crate) fn batch(base: i64, bytes: usize, seal: &Seal) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = BatchEncoder::begin(&mut out, usize::MAX);
    let value = vec![b'x'; bytes - HEADER_BYTES - 9];
    let record = crate::words::record::NewRecord::new(value);
    encoder.push(&record, Timestamp::from_millis(base)).unwrap();
    encoder.finish();
    stamp(&mut out, base, seal);
    assert_eq!(out.len(), bytes);
    out
}

pub(crate) fn append(active: &mut ActiveSegment, env: &Env, base: i64, bytes: usize) {
    let batch = batch(base, bytes, &env.seal);
    active.append(&batch, Offset::new(base), base, Pace::default()).unwrap();
}

/// A sealed segment of so many batches of 1024 bytes, with its index.
pub(crate) fn sealed(env: &Env, base: i64, count: i64) {
    let mut active = ActiveSegment::begin(env, Offset::new(base)).unwrap();
    (base..base + count).for_each(|offset| append(&mut active, env, offset, 1024));
    active.seal(env).unwrap();
}

fn index_path(env: &Env, base: i64) -> std::path::PathBuf {
    env.dir.join(names::segment_file(Offset::new(base), Part::Index))
}

/// Five sealed segments and an active one, of ten batches each.
fn six(env: &Env) -> (SegmentSet, Vec<Arc<Segment>>) {
    (0..6).for_each(|n| sealed(env, 10 * n, 10));
    let list: Vec<_> = (0..6).map(|n| Arc::new(Segment::closed(Offset::new(10 * n)))).collect();
    (SegmentSet::new(list.clone()), list)
}

fn open_ones(list: &[Arc<Segment>]) -> Vec<usize> {
    let open = list.iter().enumerate().filter(|(_, segment)| segment.opened_data().is_some());
    open.map(|(n, _)| n).collect()
}

/// I11: a bounded number of sealed segments is open; who was used since it was passed over stays.
#[test]
fn the_sealed_segment_that_nobody_used_is_let_go_first() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let (set, list) = six(&env);
    set.keep_at_most(3);
    let open = |n: usize| drop(set.open(&env, &list[n]).unwrap());
    (0..3).for_each(open);
    assert_eq!(open_ones(&list), [0, 1, 2]);
    assert!(list[2].is_kept() && !list[3].is_kept());
    open(3);
    assert_eq!(open_ones(&list), [1, 2, 3]);
    assert!(!list[0].is_kept());
    open(1);
    open(4);
    assert_eq!(open_ones(&list), [1, 3, 4]);
    open(5);
    assert_eq!(open_ones(&list), [1, 3, 4, 5], "the active one is nobody's to let go");
    assert!(!list[5].is_kept());
    set.keep_at_most(0);
    assert_eq!(open_ones(&list).len(), 2, "one of the sealed ones at least");
}

/// What is removed or replaced is nobody's any more but its readers'.
#[test]
fn segments_that_are_removed_or_replaced_are_let_go() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let (set, list) = six(&env);
    list[1..].iter().for_each(|segment| drop(set.open(&env, segment).unwrap()));
    assert_eq!(set.second_base(), Some(Offset::new(10)));
    let removed = set.remove_below(Offset::new(25));
    assert_eq!(removed.iter().map(|segment| segment.base.get()).collect::<Vec<_>>(), [0, 10]);
    drop(removed);
    assert_eq!(Arc::strong_count(&list[1]), 1);
    assert!(!set.holds(&list[0]) && set.holds(&list[2]));
    assert_eq!(set.second_base(), Some(Offset::new(30)));
    let kept = Arc::strong_count(&list[3]);
    assert_eq!(kept, 3, "the list, the open ones and this test");
    let new = Arc::new(Segment::closed(list[2].base));
    set.replace(&[Arc::clone(&list[2])], Arc::clone(&new));
    assert!(set.holds(&new) && !set.holds(&list[2]));
    assert_eq!((Arc::strong_count(&list[2]), Arc::strong_count(&list[3])), (1, kept));
    // Who opens one that was removed meanwhile keeps it open for nobody.
    drop(set.open(&env, &list[0]).unwrap());
    assert!(!list[0].is_kept());
    assert_eq!(Arc::strong_count(&list[0]), 1);
}

/// Segments and the indexes of the open ones are counted; who lets one go gives its index back.
#[test]
fn the_memory_of_segments_is_counted_and_given_back() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let (set, list) = six(&env);
    assert_eq!(set.memory_bytes(), 6 * SEGMENT_MEMORY_BYTES);
    let data = set.open(&env, &list[1]).unwrap();
    assert_eq!(data.index_memory(), 0);
    let entries = data.with_index(&env, false, |entries| (entries.clone(), entries.memory_bytes()));
    let (entries, taken) = entries.unwrap();
    assert!(entries.entries.len() == 1 && taken > 0, "{entries:?}");
    assert_eq!(data.index_memory(), taken);
    assert_eq!(set.memory_bytes(), 6 * SEGMENT_MEMORY_BYTES + taken);
    list[1].release();
    assert_eq!(data.index_memory(), 0);
    // Held by who reads it only: its index is read for each look.
    data.with_index(&env, false, |_| ()).unwrap();
    assert_eq!(data.index_memory(), 0);
    assert!(Arc::ptr_eq(&data, &list[1].data(&env).unwrap()), "who comes next shares it");
    data.with_index(&env, false, |_| ()).unwrap();
    assert_eq!(data.index_memory(), taken);
    data.forget_index();
    assert_eq!(data.index_memory(), 0);
}

/// What a file's deletion or replacement waits for is known: those who have it.
#[test]
fn who_has_a_file_that_was_let_go_is_known() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), true);
    sealed(&env, 0, 10);
    let segment = Segment::closed(Offset::ZERO);
    assert!(segment.let_file_go().is_empty());
    let data = segment.data(&env).unwrap();
    let pins = segment.let_file_go();
    assert_eq!(pins.iter().map(Pin::is_held).collect::<Vec<_>>(), [true]);
    assert!(!Arc::ptr_eq(&data, &segment.data(&env).unwrap()), "another file has the name");
    drop(data);
    assert!(!pins[0].is_held());
    assert_eq!(segment.max_timestamp(), None);
    segment.know_max_timestamp(9);
    segment.know_max_timestamp(7);
    assert_eq!(segment.max_timestamp(), Some(9), "a sealed segment's does not change");
}

/// A segment that is gone, or a directory by now, is damage; the error names it.
#[test]
fn what_is_no_file_is_no_segment() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    std::fs::create_dir(env.dir.join(names::segment_file(Offset::new(3), Part::Log))).unwrap();
    for base in [3, 4] {
        let error = SegmentData::open_sealed(&env, Offset::new(base)).unwrap_err();
        assert_eq!(
            (error.kind(), error.record_offset()),
            (ErrorKind::Corrupt, Some(Offset::new(base)))
        );
    }
}

/// I5: where to begin is told by the index where the segment bears it out; an index of another
/// segment leads nowhere, and is made anew.
#[test]
fn a_walk_begins_near_what_it_looks_for() {
    for mapped in [true, false] {
        let tmp = tempfile::tempdir().unwrap();
        let env = env(tmp.path(), mapped);
        sealed(&env, 100, 40);
        let near = |data: &SegmentData, target: i64| {
            let (position, base) = data.floor(&env, Offset::new(target)).unwrap();
            assert_eq!(position, 1024 * usize::try_from(base.get() - 100).unwrap());
            let none = Pinned::of_vec(Vec::new());
            let walker = data.walker_near(&env, Offset::new(target), none).unwrap();
            let reached_base = walker.next_offset().get();
            assert_eq!(walker.position(), 1024 * usize::try_from(reached_base - 100).unwrap());
            // Behind an entry the batches up to the target are passed by their headers.
            let due = if base.get() == 100 { 100 } else { target };
            assert_eq!(reached_base, due, "{mapped} {base}");
            base.get()
        };
        let stored = std::fs::read(index_path(&env, 100)).unwrap();
        let floors = [99, 100, 104, 105, 109, 110, 139]
            .map(|target| near(&SegmentData::open_sealed(&env, Offset::new(100)).unwrap(), target));
        assert_eq!(floors, [100, 100, 100, 105, 105, 110, 135]);
        // Every position is off by one batch: nothing there is what the entry says.
        let shifted: Vec<u8> = stored
            .chunks(8)
            .flat_map(|entry| {
                let position = u32::from_be_bytes(entry[4..].try_into().unwrap()) + 1024;
                [&entry[..4], &position.to_be_bytes()].concat()
            })
            .collect();
        std::fs::write(index_path(&env, 100), shifted).unwrap();
        let data = SegmentData::open_sealed(&env, Offset::new(100)).unwrap();
        assert_eq!(near(&data, 110), 110);
        assert_eq!(near(&data, 139), 135);
    }
}

/// What lies in an index file is used as it is; it is read once while the segment is kept open.
#[test]
fn a_stored_index_is_not_made_anew() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    sealed(&env, 0, 40);
    let path = index_path(&env, 0);
    let stored = std::fs::read(&path).unwrap();
    std::fs::write(&path, &stored[..8]).unwrap();
    let data = SegmentData::open_sealed(&env, Offset::ZERO).unwrap();
    let entries = |rebuild| data.with_index(&env, rebuild, |all| all.entries.len()).unwrap();
    assert_eq!(entries(false), 1);
    std::fs::write(&path, &stored[..16]).unwrap();
    assert_eq!(entries(false), 1);
    assert_eq!(entries(true), stored.len() / 8);
    assert_eq!(entries(false), stored.len() / 8);
}

/// Only who has the directory writes an index, and of more than a gap.
#[test]
fn an_index_is_written_by_the_owner_and_where_it_helps() {
    for (owner, batches) in [(false, 40), (true, 40), (true, 0)] {
        let tmp = tempfile::tempdir().unwrap();
        let mut env = env(tmp.path(), false);
        sealed(&env, 0, batches);
        if batches == 0 {
            let mut gap = Vec::new();
            crate::codec::encode::encode_gap(&mut gap, 5);
            stamp(&mut gap, 0, &env.seal);
            let path = env.dir.join(names::segment_file(Offset::ZERO, Part::Log));
            std::fs::write(path, gap).unwrap();
        }
        std::fs::remove_file(index_path(&env, 0)).unwrap();
        if owner {
            env.names = env.storage.lock(tmp.path()).unwrap();
        }
        let data = SegmentData::open_sealed(&env, Offset::ZERO).unwrap();
        data.with_index(&env, false, |_| ()).unwrap();
        assert_eq!(index_path(&env, 0).exists(), owner && batches > 0, "{owner} {batches}");
    }
}

/// A reader's memory is used again where it is enough, and else is no more than what it wants.
#[test]
fn bytes_are_read_into_the_memory_that_is_there() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    sealed(&env, 0, 20);
    let data = SegmentData::open_sealed(&env, Offset::ZERO).unwrap();
    let filled = |capacity| {
        let spare = Pinned::of_vec(Vec::with_capacity(capacity));
        let bytes = data.fill(1024, 8000, spare, 0).unwrap().into_vec();
        (bytes.len(), bytes.capacity())
    };
    assert_eq!([5000, 10_000].map(filled), [(8000, 8000), (8000, 10_000)]);
    assert_eq!(data.read_ahead(0), usize::MAX, "there is no map to read ahead in");
}

/// Each entry's time is the highest up to its offset.
#[test]
fn a_segment_that_got_a_successor_keeps_its_index_if_it_could_not_be_stored() {
    for stored in [true, false] {
        let tmp = tempfile::tempdir().unwrap();
        let env = env(tmp.path(), false);
        let mut active = ActiveSegment::begin(&env, Offset::ZERO).unwrap();
        (0..10).for_each(|offset| append(&mut active, &env, offset, 1024));
        if !stored {
            std::fs::create_dir(index_path(&env, 0)).unwrap();
        }
        active.seal(&env).unwrap();
        active.close_index();
        assert_eq!(active.data.index_memory() == 0, stored);
        let times = active.data.with_index(&env, false, |entries| entries.times.clone()).unwrap();
        let closing = TimeEntry { timestamp: 9, offset: 9 };
        assert_eq!(times.last(), Some(&closing), "{times:?}");
    }
}
