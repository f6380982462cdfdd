//! Floor 3's tests: walking a segment, and what is found behind damage.

use super::*;
use crate::codec::encode::{encode_gap, encode_gap_of, stamp};
use crate::disk::Env;
use crate::disk::names::{self, Part};
use crate::disk::segment::tests::{batch, env};

/// A segment that holds these bytes.
fn segment(env: &Env, bytes: &[u8]) -> SegmentData {
    let path = env.dir.join(names::segment_file(Offset::ZERO, Part::Log));
    std::fs::write(path, bytes).unwrap();
    SegmentData::open_sealed(env, Offset::ZERO).unwrap()
}

fn gap(base: i64, seal: &Seal) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_gap(&mut bytes, 5);
    stamp(&mut bytes, base, seal);
    bytes
}

/// Where the next batch behind damage at the start was found: its position and base offset.
fn behind(env: &Env, bytes: &[u8], from: i64, until: i64) -> Option<(usize, i64)> {
    let data = segment(env, bytes);
    let mut walker = Walker::new(0, Offset::new(from), Gaps::Expected);
    let found = walker.resync(&data, &env.seal, Offset::new(until)).unwrap();
    let next = found.map(|base| (walker.position(), base.get()));
    assert_eq!(next.map(|(_, base)| base), found.map(|_| walker.next_offset().get()));
    next
}

/// I13: behind damage the next whole batch of the log is found wherever it begins, also the
/// smallest one at the very end, and no batch that lies below what is due or in a later segment's
/// range.
#[test]
fn the_next_whole_batch_behind_damage_is_found_at_any_place() {
    for mapped in [true, false] {
        let tmp = tempfile::tempdir().unwrap();
        let env = env(tmp.path(), mapped);
        let at = |place: usize, rest: &[&[u8]]| [&vec![1; place][..], &rest.concat()].concat();
        let (own, seal) = (batch(7, 300, &env.seal), &env.seal);
        let most = i64::MAX;
        assert_eq!(behind(&env, &at(1, &[&gap(7, seal)]), 0, most), Some((1, 7)));
        assert_eq!(behind(&env, &at(2, &[&gap(7, seal)]), 0, most), Some((2, 7)));
        assert_eq!(behind(&env, &own, 0, most), None, "not the one it stands at");
        // Around the end of what is looked at at once.
        for place in (limits::SCAN_CHUNK_BYTES - 62..limits::SCAN_CHUNK_BYTES + 62).step_by(3) {
            assert_eq!(behind(&env, &at(place, &[&own]), 0, most), Some((place, 7)));
        }
        for (from, until, found) in [
            (0, 8, Some((10, 7))),
            (7, 8, Some((10, 7))),
            (8, most, Some((310, 9))),
            (0, 7, None),
            (10, most, None),
        ] {
            let bytes = at(10, &[&own, &batch(9, 200, seal)]);
            assert_eq!(behind(&env, &bytes, from, until), found, "{from} {until}");
        }
        assert_eq!(behind(&env, &at(10, &[&batch(7, 300, &Seal::NONE)]), 0, most), None);
    }
}

/// Where gaps are expected a batch may begin higher than due, and never lower.
#[test]
fn a_batch_that_begins_too_low_is_damage() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let data = segment(&env, &batch(7, 300, &env.seal));
    let whole = |due: i64, gaps| {
        let mut walker = Walker::new(0, Offset::new(due), gaps);
        matches!(walker.next(&data, &env.seal).unwrap(), Step::Batch(_))
    };
    assert_eq!([6, 7, 8].map(|due| whole(due, Gaps::Expected)), [true, true, false]);
    assert_eq!([6, 7, 8].map(|due| whole(due, Gaps::Refused)), [false, true, false]);
}

/// What is wrong is told with its place in the batch.
#[test]
fn a_header_that_is_cut_short_is_told_with_what_is_left() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let whole = batch(0, 300, &env.seal);
    for (length, place) in [(20, 20), (60, 60), (61, 8), (299, 8)] {
        let data = segment(&env, &whole[..length]);
        let mut walker = Walker::new(0, Offset::ZERO, Gaps::Refused);
        let Step::Damage(error) = walker.next(&data, &env.seal).unwrap() else { panic!("damage") };
        assert_eq!(error.position, place, "{length}");
    }
}

/// By position more is fetched at each step, so that who reads on asks the system seldom and who
/// wants one record fetches little; what is at hand can be told, lent and forgotten.
#[test]
fn a_walk_from_the_middle_fetches_more_at_each_step() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let bytes: Vec<u8> = (0..200).flat_map(|base| batch(base, 1024, &env.seal)).collect();
    let data = segment(&env, &bytes);
    let mut walker = Walker::new(1024, Offset::new(1), Gaps::Refused);
    let mut windows = vec![walker.window()];
    while let Step::Batch(_) = walker.pass(&data, &env.seal).unwrap() {
        if windows.last() != Some(&walker.window()) {
            windows.push(walker.window());
        }
    }
    let starts: Vec<_> = windows.iter().map(|window| window.start / 1024).collect();
    let lengths: Vec<_> = windows.iter().map(|window| window.len() / 1024).collect();
    assert_eq!(starts, [1, 1, 9, 25, 57, 121, 185]);
    assert_eq!(lengths, [0, 8, 16, 32, 64, 64, 15]);
    walker.forget_window();
    assert_eq!(walker.window(), bytes.len()..bytes.len());

    let mut other = Walker::new(2048, Offset::new(2), Gaps::Refused);
    other.lend(0, &Pinned::of_vec(bytes[..2048].to_vec()));
    assert_eq!(other.window(), 2048..2048, "the position does not lie in it");
    assert_eq!(other.sealed_header(&env.seal), None);
    for start in [0, 1024, 2048] {
        let mut other = Walker::new(2048, Offset::new(2), Gaps::Refused);
        other.lend(start, &Pinned::of_vec(bytes[start..4096].to_vec()));
        assert_eq!(other.window(), start..4096);
        let header = other.sealed_header(&env.seal).unwrap();
        assert_eq!(header.base_offset, 2);
        assert_eq!(other.sealed_header(&Seal::NONE), None, "no seal vouches for it");
        assert!(matches!(other.pass(&data, &env.seal), Ok(Step::Batch((header, 2048)))
            if header.base_offset == 2));
    }
}

/// Whether records were there once is told of each batch without any.
#[test]
fn a_batch_over_deleted_records_is_told_from_one_over_a_gap() {
    let tmp = tempfile::tempdir().unwrap();
    let env = env(tmp.path(), false);
    let mut deleted = Vec::new();
    encode_gap_of(&mut deleted, 5, 77);
    stamp(&mut deleted, 6, &env.seal);
    let whole = [batch(0, 300, &env.seal), gap(1, &env.seal), deleted].concat();
    let data = segment(&env, &whole);
    let expected = [(false, false), (true, false), (true, true)];
    for (skipped, from) in [(0, 0), (1, 300)] {
        let mut walker = Walker::new(from, Offset::new(skipped), Gaps::Refused);
        let mut seen = Vec::new();
        while let Step::Batch(_) = walker.pass(&data, &env.seal).unwrap() {
            seen.push((walker.last_is_empty(), walker.last_stands_for_deleted()));
        }
        assert_eq!(seen, expected[usize::try_from(skipped).unwrap()..]);
    }
}
