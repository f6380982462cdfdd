//! What a killed process or a power cut leaves, torn at any byte: above the flushed position the
//! log is cut and the report says how much; below it nothing is cut (I13, I20).
//!
//! Unoptimised it is every third byte; each one in a release build, and where `FOREBAY_EVERY_CASE`
//! is set.
#![allow(clippy::cast_sign_loss, reason = "test code")]

use std::ops::Range;
use std::path::Path;

use forebay::IoMode;

use crate::util::fixture::{Fixture, Outcome};
use crate::util::{self, Ground, MODES, Place, grounds, ways};

/// The batches of the active segment, of which the first `FLUSHED` are durable.
const FLUSHED: usize = 5;
const UNFLUSHED: usize = 8;

fn one_segment(mode: IoMode, ground: Ground) -> Fixture {
    let fixture = Fixture::killed(mode, ground, FLUSHED, UNFLUSHED);
    assert_eq!(fixture.names(".log").len(), 1, "the tests below count on one segment");
    assert_eq!(fixture.durable, fixture.batches[FLUSHED].0.start);
    fixture
}

fn without_trailing_zeros(bytes: &[u8]) -> usize {
    bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// The first batch that `damaged` does not hold whole, or their number.
fn first_touched(fixture: &Fixture, damaged: &Fixture) -> usize {
    let whole = |(_, name, places): &(Range<i64>, String, Range<usize>)| {
        let now = damaged.bytes(name).get(places.clone());
        now == Some(&fixture.bytes(name)[places.clone()])
    };
    fixture.batches.iter().position(|batch| !whole(batch)).unwrap_or(fixture.batches.len())
}

/// Checks a copy whose only segment was damaged above the flushed position: exactly the batches
/// before the first torn one are left, and the report counts what was cut.
fn check_cut(fixture: &Fixture, damaged: &Fixture, dir: &Place, what: &str) -> Outcome {
    damaged.put(dir);
    let outcome = fixture.check(dir, what).unwrap();
    let torn = first_touched(fixture, damaged);
    let (offsets, name, places) = &fixture.batches[torn.min(fixture.batches.len() - 1)];
    let (end, position) = match torn == fixture.batches.len() {
        true => (offsets.end, places.end),
        false => (offsets.start, places.start),
    };
    let report = &outcome.report;
    assert_eq!(outcome.end, end, "{what}");
    assert!(outcome.missing.iter().copied().eq(end..fixture.end()), "V3: {what}");
    assert!(outcome.found.errors.is_empty(), "{what}: {:?}", outcome.found.errors);
    assert!(!report.clean, "{what}");
    assert_eq!((report.lost.clone(), report.damaged_ranges), (None, 0), "{what}: {report:?}");
    let tail = damaged.bytes(name).get(position..).unwrap_or_default();
    assert_eq!(report.bytes_cut, without_trailing_zeros(tail) as u64, "I20: {what}: {report:?}");
    let whole = fixture.batches[torn..].iter().filter(|(_, name, places)| {
        damaged.bytes(name).get(places.clone()) == Some(&fixture.bytes(name)[places.clone()])
    });
    let whole: u64 = whole.map(|(offsets, ..)| (offsets.end - offsets.start) as u64).sum();
    assert_eq!(report.records_cut, whole, "I20: {what}: {report:?}");
    outcome
}

/// I12: an untouched copy of an open log has every record, and nothing was cut.
#[test]
fn a_killed_log_has_every_record() {
    for (mode, ground) in ways() {
        for (flushed, batches) in [(0, 0), (0, 1), (1, 0), (0, 9), (5, 8), (30, 30), (0, 60)] {
            if flushed + batches == 0 {
                continue;
            }
            let fixture = Fixture::killed(mode, ground, flushed, batches);
            let dir = ground.place();
            fixture.put(&dir);
            let what = format!("{mode:?}: {flushed} and {batches}");
            let outcome = fixture.check(&dir, &what).unwrap();
            let report = &outcome.report;
            assert!(outcome.missing.is_empty() && outcome.end == fixture.end(), "{what}");
            assert!(!report.clean && report.segments_scanned >= 1, "{what}: {report:?}");
            assert_eq!((report.bytes_cut, report.records_cut), (0, 0), "{what}: {report:?}");
            assert_eq!(report.segments_set_aside, 0, "{what}");
            fixture.check_again(&dir, &outcome, &what);
        }
    }
}

/// I12: recovering a log that is killed again and again neither loses nor grows.
#[test]
fn recovering_the_same_log_many_times_gives_the_same_log() {
    for (mode, ground) in ways() {
        let fixture = Fixture::killed(mode, ground, 10, 25);
        let (one, two) = (ground.place(), ground.place());
        let bytes = |dir: &Place| -> usize { dir.names().iter().map(|name| dir.len(name)).sum() };
        fixture.put(&one);
        let mut sizes = Vec::new();
        for n in 0..20 {
            let (from, to) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
            let log = fixture.check_whole(from, &format!("round {n}"));
            assert_eq!(log.recovery().bytes_cut, 0);
            let committed = log.consumers()[0].committed.get();
            assert_eq!(committed, util::fixture::COMMITTED);
            to.clear();
            from.files().iter().for_each(|(name, bytes)| to.write(name, bytes));
            sizes.push(bytes(to));
        }
        assert!(sizes[1..].iter().all(|size| *size == sizes[1]), "{sizes:?}");
    }
}

fn tear_above(mode: IoMode, change: impl Fn(u8) -> u8) {
    grounds().for_each(|ground| tear_above_on(mode, ground, &change));
}

fn tear_above_on(mode: IoMode, ground: Ground, change: impl Fn(u8) -> u8) {
    let fixture = one_segment(mode, ground);
    let dir = ground.place();
    let name = fixture.names(".log")[0].clone();
    let start = fixture.batches[FLUSHED].2.start;
    let end = fixture.batches.last().unwrap().2.end;
    for place in (start..end).step_by(util::step(3)) {
        let mut damaged = fixture.clone();
        let byte = &mut damaged.bytes_mut(&name)[place];
        if change(*byte) == *byte {
            continue;
        }
        *byte = change(*byte);
        let what = format!("{mode:?}: byte {place}");
        let outcome = check_cut(&fixture, &damaged, &dir, &what);
        if place % 16 == 0 {
            fixture.check_again(&dir, &outcome, &what);
        }
    }
}

/// I13, I20: one bit above the flushed position, mapped.
#[test]
fn a_flipped_bit_above_the_flushed_position_cuts_there_mapped() {
    tear_above(IoMode::Mapped, |byte| byte ^ 0x02);
}

/// I13, I20: one bit above the flushed position, positioned.
#[test]
fn a_flipped_bit_above_the_flushed_position_cuts_there_positioned() {
    tear_above(IoMode::Positioned, |byte| byte ^ 0x80);
}

/// I13, I20: a byte that never reached the device.
#[test]
fn a_zero_byte_above_the_flushed_position_cuts_there() {
    tear_above(IoMode::Mapped, |_| 0);
}

/// I13, I20: the file ends, or is zero, from any byte above the flushed position on.
#[test]
fn a_tail_missing_from_any_byte_on_is_cut_there() {
    for (mode, ground) in ways() {
        let fixture = one_segment(mode, ground);
        let dir = ground.place();
        let name = fixture.names(".log")[0].clone();
        let places = fixture.batches[FLUSHED].2.start..fixture.bytes(&name).len();
        for place in places.step_by(util::step(3)) {
            for cut in [true, false] {
                let mut damaged = fixture.clone();
                match cut {
                    true => damaged.bytes_mut(&name).truncate(place),
                    false => damaged.bytes_mut(&name)[place..].fill(0),
                }
                let what = format!("{mode:?}: byte {place}, cut {cut}");
                // Cut bytes that were zero come back as zeros: the batch is whole again.
                let mut zeroed = damaged.clone();
                zeroed.bytes_mut(&name).resize(fixture.bytes(&name).len(), 0);
                let kind = if cut { &zeroed } else { &damaged };
                if first_touched(&fixture, kind) == first_touched(&fixture, &damaged) {
                    check_cut(&fixture, &damaged, &dir, &what);
                } else {
                    damaged.put(&dir);
                    let outcome = fixture.check(&dir, &what).unwrap();
                    assert!(
                        outcome.end >= fixture.batches[first_touched(&fixture, &damaged)].0.start
                    );
                }
            }
        }
    }
}

/// I13, M2: any sector, page or sub-page above the flushed position lost or worn.
#[test]
fn a_lost_sector_above_the_flushed_position_cuts_before_it() {
    for (mode, ground) in ways() {
        let fixture = one_segment(mode, ground);
        let dir = ground.place();
        let name = fixture.names(".log")[0].clone();
        let end = fixture.batches.last().unwrap().2.end;
        for start in (fixture.batches[FLUSHED].2.start..end).step_by(37) {
            for length in [1, 12, 61, 512, 4096] {
                for fill in [0, 0xff, 0x55] {
                    let mut damaged = fixture.clone();
                    damaged.bytes_mut(&name)[start..end.min(start + length)].fill(fill);
                    let what = format!("{mode:?}: {length} bytes at {start} are {fill}");
                    check_cut(&fixture, &damaged, &dir, &what);
                }
            }
        }
    }
}

/// I13: below the flushed position damage is isolated, and nothing above it is cut.
#[test]
fn a_flipped_bit_below_the_flushed_position_cuts_nothing() {
    for (mode, ground) in ways() {
        let fixture = one_segment(mode, ground);
        let dir = ground.place();
        let name = fixture.names(".log")[0].clone();
        for place in 0..fixture.batches[FLUSHED].2.start {
            let mut damaged = fixture.clone();
            damaged.bytes_mut(&name)[place] ^= [0x01, 0x80, 0xff][place % 3];
            damaged.put(&dir);
            let what = format!("{mode:?}: byte {place}");
            let outcome = fixture.check(&dir, &what).unwrap();
            let report = &outcome.report;
            let (offsets, ..) = fixture.batches.iter().find(|b| b.2.contains(&place)).unwrap();
            assert!(outcome.missing.iter().copied().eq(offsets.clone()), "{what}");
            assert_eq!((report.bytes_cut, report.records_cut), (0, 0), "{what}: {report:?}");
            assert_eq!(outcome.end, fixture.end(), "{what}");
            let kept = &damaged.bytes(&name)[..fixture.batches.last().unwrap().2.end];
            assert!(dir.read(&name).starts_with(kept), "{what}");
            if place % 32 == 0 {
                fixture.check_again(&dir, &outcome, &what);
            }
        }
    }
}

/// I13: torn above and rotten below at once: the one is cut, the other kept and reported.
#[test]
fn damage_on_both_sides_of_the_flushed_position_is_told_apart() {
    for (mode, ground) in ways() {
        let fixture = one_segment(mode, ground);
        let dir = ground.place();
        let name = fixture.names(".log")[0].clone();
        for rotten in 0..FLUSHED {
            for torn in FLUSHED..FLUSHED + UNFLUSHED {
                let mut damaged = fixture.clone();
                for batch in [rotten, torn] {
                    let places = fixture.batches[batch].2.clone();
                    damaged.bytes_mut(&name)[places.start + (rotten * 11 + torn) % 70] ^= 0x20;
                }
                damaged.put(&dir);
                let what = format!("{mode:?}: {rotten} rotten, {torn} torn");
                let outcome = fixture.check(&dir, &what).unwrap();
                let (below, above) = (fixture.batches[rotten].0.clone(), &fixture.batches[torn].0);
                // Where one stretch of damage lies across the recovery point, nobody can tell
                // where the batch above it began: it may be taken for rot as a whole.
                if torn == rotten + 1 && outcome.end == fixture.end() {
                    let gone = below.chain(above.clone());
                    assert!(outcome.missing.iter().copied().eq(gone), "{what}");
                } else {
                    assert_eq!(outcome.end, above.start, "{what}");
                    let gone = below.chain(above.start..fixture.end());
                    assert!(outcome.missing.iter().copied().eq(gone), "{what}");
                    assert!(outcome.report.bytes_cut > 0, "{what}");
                }
                assert_eq!(outcome.report.lost, None, "{what}");
                fixture.check_again(&dir, &outcome, &what);
            }
        }
    }
}

/// Damages one byte of every batch of a log of many segments of which nothing above the first
/// batches was flushed, at `dir`: on the filesystem it was written on, or on another one, where the
/// page cache cannot be trusted and all of it is scanned.
fn tear_unflushed_segments(mode: IoMode, dir: &Place, scanned: bool) {
    let fixture = Fixture::killed(mode, dir.ground(), FLUSHED, 60);
    assert!(fixture.names(".log").len() >= 3);
    for (n, (offsets, name, places)) in fixture.batches.iter().enumerate() {
        let mut damaged = fixture.clone();
        damaged.bytes_mut(name)[places.start + (n * 7) % places.len()] ^= 0x11;
        damaged.put(dir);
        let what = format!("{mode:?}: batch {n} at {offsets:?} of {name}, scanned {scanned}");
        let outcome = fixture.check(dir, &what).unwrap();
        let report = &outcome.report;
        if outcome.end == fixture.end() {
            assert!(outcome.missing.iter().copied().eq(offsets.clone()), "{what}");
            assert_eq!((report.bytes_cut, report.records_cut), (0, 0), "{what}: {report:?}");
            assert!(n < FLUSHED || !scanned, "I13: it has to be cut: {what}");
            continue;
        }
        assert!(n >= FLUSHED, "I13: nothing below is cut: {what}");
        assert_eq!(outcome.end, offsets.start, "{what}");
        assert!(outcome.missing.iter().copied().eq(offsets.start..fixture.end()), "{what}");
        let behind = fixture.batches[n..].iter().filter(|(_, file, _)| file != name);
        let mut files: Vec<_> = behind.map(|(_, file, _)| file).collect();
        files.dedup();
        assert_eq!(report.segments_set_aside, files.len() as u64, "I20: {what}: {report:?}");
        let whole = fixture.end() - offsets.end;
        assert_eq!(report.records_cut, whole as u64, "I20: {what}: {report:?}");
        let own = &damaged.bytes(name)[places.start..];
        let later = files.iter().map(|file| without_trailing_zeros(damaged.bytes(file)));
        let bytes = without_trailing_zeros(own) + later.sum::<usize>();
        assert_eq!(report.bytes_cut, bytes as u64, "I20: {what}: {report:?}");
        fixture.check_again(dir, &outcome, &what);
    }
}

/// I13: the page cache survived: damage above the flushed position is cut or isolated, and told.
#[test]
fn a_torn_batch_in_an_unflushed_segment_is_cut_or_isolated_after_a_kill() {
    for (mode, ground) in ways() {
        tear_unflushed_segments(mode, &ground.place(), false);
    }
}

/// I13, I20: on another mount every unflushed segment is scanned and cut at the first torn batch.
#[test]
fn a_torn_batch_in_an_unflushed_segment_is_cut_after_a_power_cut() {
    use std::os::unix::fs::MetadataExt;
    let elsewhere = tempfile::tempdir().unwrap();
    let device = |path: &Path| path.metadata().unwrap().dev();
    if device(elsewhere.path()) == device(util::scratch().path()) {
        return; // One filesystem only: a copy cannot be told from the log itself.
    }
    for mode in MODES {
        tear_unflushed_segments(mode, &Place::at(elsewhere.path()), true);
    }
}

/// I13, M2: of several unflushed segments any may be missing, empty or zero after a power cut.
#[test]
fn an_unflushed_segment_that_never_reached_the_device_is_survived() {
    for (mode, ground) in ways() {
        let fixture = Fixture::killed(mode, ground, FLUSHED, 60);
        let names = fixture.names(".log");
        for dir in [ground.place(), ground.elsewhere()] {
            for (n, name) in names.iter().enumerate().skip(1) {
                for way in 0..4 {
                    let mut damaged = fixture.clone();
                    match way {
                        0 => damaged.bytes_mut(name).clear(),
                        1 => damaged.bytes_mut(name).fill(0),
                        2 => damaged.bytes_mut(name)[..100].fill(0),
                        _ => damaged.files.retain(|(have, _)| have != name),
                    }
                    damaged.put(&dir);
                    let what = format!("{mode:?}: segment {n} of {}, way {way}", names.len());
                    let outcome = fixture.check(&dir, &what).unwrap();
                    let before = fixture.batches.iter().rfind(|(_, file, _)| file < name).unwrap();
                    let seen = outcome.found.records.len();
                    assert!(i64::try_from(seen).unwrap() >= before.0.end, "V3: {what}");
                    fixture.check_again(&dir, &outcome, &what);
                }
            }
        }
    }
}
