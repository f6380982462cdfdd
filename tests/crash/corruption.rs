//! Any byte of a closed log changed, cut off or gone: what is whole stays readable (I13, V10).
//!
//! Unoptimised it is every third of these places; all of them in a release build, and where
//! `FOREBAY_EVERY_CASE` is set.

use forebay::{ErrorKind, IoMode};

use crate::util::fixture::{COMMITTED, Fixture, Outcome, options};
use crate::util::{self, Ground, OpenIn, Place, grounds};

/// The places of a file to damage: every byte of headers, and every `step`th of the rest.
fn places(fixture: &Fixture, name: &str, step: usize) -> Vec<usize> {
    let bytes = fixture.bytes(name).len();
    if !name.ends_with(".log") {
        return (0..bytes).step_by(step).collect();
    }
    let batches = fixture.batches.iter().filter(|(_, file, _)| file == name);
    let places = batches.flat_map(|(_, _, places)| {
        let header = places.start..places.start + 70;
        header.chain((places.start + 70..places.end - 2).step_by(step)).chain([places.end - 1])
    });
    places.collect()
}

/// The batch that lies at this place.
fn touched(fixture: &Fixture, name: &str, place: usize) -> std::ops::Range<i64> {
    let mut batches = fixture.batches.iter();
    batches.find(|(_, file, places)| file == name && places.contains(&place)).unwrap().0.clone()
}

/// What is kept whatever the damage: sealed segments as they are, the active one at its start.
fn assert_kept(fixture: &Fixture, dir: &Place, what: &str) {
    for name in fixture.names(".log") {
        let now = dir.read(&name);
        assert!(now.starts_with(fixture.bytes(&name)), "{what}: {name} was changed below its end");
    }
}

/// Flips one bit, or sets all, of every place of every segment; each loses its own batch only.
fn damage_segments(mode: IoMode, change: impl Fn(u8) -> u8) {
    grounds().for_each(|ground| damage_segments_on(mode, ground, &change));
}

fn damage_segments_on(mode: IoMode, ground: Ground, change: impl Fn(u8) -> u8) {
    let fixture = Fixture::closed(mode, ground);
    assert_eq!(fixture.names(".log").len(), 3);
    let dir = ground.place();
    for name in fixture.names(".log") {
        for (n, place) in places(&fixture, &name, 9).into_iter().step_by(util::step(3)).enumerate()
        {
            let mut damaged = fixture.clone();
            let byte = &mut damaged.bytes_mut(&name)[place];
            if change(*byte) == *byte {
                continue;
            }
            *byte = change(*byte);
            damaged.put(&dir);
            let what = format!("{name} byte {place}");
            let outcome = fixture.check(&dir, &what).unwrap();
            assert!(
                outcome.missing.iter().copied().eq(touched(&fixture, &name, place)),
                "{what}: lost {:?} by {:?}",
                outcome.missing,
                touched(&fixture, &name, place)
            );
            assert_eq!(outcome.end, fixture.end(), "{what}");
            assert_eq!((outcome.report.bytes_cut, outcome.report.records_cut), (0, 0), "{what}");
            assert_kept(&damaged, &dir, &what);
            if n % 16 == 0 {
                fixture.check_again(&dir, &outcome, &what);
            }
        }
    }
}

/// I13: below the recovery point damage is isolated to its batch and nothing is cut.
#[test]
fn a_flipped_bit_of_a_segment_loses_its_batch_only_mapped() {
    damage_segments(IoMode::Mapped, |byte| byte ^ 0x04);
}

/// I13: the same without a map.
#[test]
fn a_flipped_bit_of_a_segment_loses_its_batch_only_positioned() {
    damage_segments(IoMode::Positioned, |byte| byte ^ 0x40);
}

/// I13: a byte that became 0xff, as worn flash gives it.
#[test]
fn a_byte_of_a_segment_set_to_ff_loses_its_batch_only_mapped() {
    damage_segments(IoMode::Mapped, |_| 0xff);
}

/// I13: the same without a map.
#[test]
fn a_byte_of_a_segment_set_to_ff_loses_its_batch_only_positioned() {
    damage_segments(IoMode::Positioned, |_| 0xff);
}

/// I13: a byte that became zero.
#[test]
fn a_byte_of_a_segment_set_to_zero_loses_its_batch_only() {
    damage_segments(IoMode::Mapped, |_| 0);
}

/// V6: no commit goes silently: it is there, or the report speaks of the checkpoint.
fn assert_commit(fixture: &Fixture, dir: &Place, outcome: &Outcome, what: &str) {
    let log = options(fixture.mode).open_in(dir).unwrap();
    let committed = log.consumers().iter().find(|c| c.name == "c").map(|c| c.committed.get());
    let told = outcome.report.checkpoint_slots_damaged > 0 || outcome.report.checkpoint_lost;
    assert!(committed == Some(COMMITTED) || told, "{what}: {committed:?} {:?}", outcome.report);
}

/// I5: no byte of an index, of the checkpoint or of `log.meta` is worth a record.
fn damage_small_files(mode: IoMode, change: impl Fn(u8) -> u8) {
    grounds().for_each(|ground| damage_small_files_on(mode, ground, &change));
}

fn damage_small_files_on(mode: IoMode, ground: Ground, change: impl Fn(u8) -> u8) {
    let fixture = Fixture::closed(mode, ground);
    let dir = ground.place();
    for (name, bytes) in &fixture.files {
        if name.ends_with(".log") {
            continue;
        }
        let step = if bytes.len() > 4096 { 13 } else { 1 };
        for (n, place) in
            places(&fixture, name, step).into_iter().step_by(util::step(3)).enumerate()
        {
            let mut damaged = fixture.clone();
            let byte = &mut damaged.bytes_mut(name)[place];
            *byte = change(*byte);
            damaged.put(&dir);
            let what = format!("{name} byte {place}");
            let outcome = match fixture.check(&dir, &what) {
                Ok(outcome) => outcome,
                // A version from the future is refused, and then nothing may be touched.
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{what}: {error}");
                    assert_eq!(name, "log.meta", "{what}: {error}");
                    damaged.files.iter().for_each(|(name, bytes)| {
                        assert_eq!(&dir.read(name), bytes, "{what}");
                    });
                    continue;
                }
            };
            assert!(outcome.missing.is_empty(), "{what}: {:?}", outcome.missing);
            assert_eq!(outcome.end, fixture.end(), "{what}");
            assert_eq!(outcome.report.bytes_cut, 0, "{what}");
            assert_kept(&fixture, &dir, &what);
            if n % 8 == 0 {
                fixture.check_again(&dir, &outcome, &what);
            }
            assert_commit(&fixture, &dir, &outcome, &what);
        }
    }
}

/// I5: one bit of a small file, mapped.
#[test]
fn a_flipped_bit_of_a_small_file_loses_no_record_mapped() {
    damage_small_files(IoMode::Mapped, |byte| byte ^ 0x01);
}

/// I5: one bit of a small file, positioned.
#[test]
fn a_flipped_bit_of_a_small_file_loses_no_record_positioned() {
    damage_small_files(IoMode::Positioned, |byte| byte ^ 0x80);
}

/// I5: a byte of a small file at its highest.
#[test]
fn a_byte_of_a_small_file_set_to_ff_loses_no_record() {
    damage_small_files(IoMode::Mapped, |_| 0xff);
}

/// I2, I13: every file cut at any byte: the log goes on behind its old end, and what is gone is
/// said.
fn cut_files(mode: IoMode, step: usize) {
    grounds().for_each(|ground| cut_files_on(mode, ground, step));
}

fn cut_files_on(mode: IoMode, ground: Ground, step: usize) {
    let fixture = Fixture::closed(mode, ground);
    let dir = ground.place();
    for (name, bytes) in &fixture.files {
        let step = if bytes.len() > 8192 { step * 8 } else { step };
        for length in (0..bytes.len()).step_by(step) {
            let mut damaged = fixture.clone();
            damaged.bytes_mut(name).truncate(length);
            damaged.put(&dir);
            let what = format!("{name} cut to {length}");
            let outcome = match fixture.check(&dir, &what) {
                Ok(outcome) => outcome,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{what}: {error}");
                    continue;
                }
            };
            let batches = fixture.batches.iter();
            let gone = batches.filter(|(_, file, places)| file == name && places.end > length);
            let gone: Vec<_> = gone.flat_map(|(offsets, _, _)| offsets.clone()).collect();
            assert_eq!(outcome.missing, gone, "{what}");
            assert!(outcome.end >= fixture.end(), "I2: {what}");
            if length % 5 == 0 {
                fixture.check_again(&dir, &outcome, &what);
            }
        }
    }
}

/// I13: cut files, mapped.
#[test]
fn a_file_cut_at_any_byte_loses_what_was_cut_only_mapped() {
    cut_files(IoMode::Mapped, 5);
}

/// I13: cut files, positioned.
#[test]
fn a_file_cut_at_any_byte_loses_what_was_cut_only_positioned() {
    cut_files(IoMode::Positioned, 7);
}

/// A file with one stretch changed loses the batches that the stretch touches, and no other.
#[test]
fn a_zeroed_or_worn_stretch_loses_what_it_covers_only() {
    for (mode, ground) in util::ways() {
        let fixture = Fixture::closed(mode, ground);
        let dir = ground.place();
        for name in fixture.names(".log") {
            let bytes = fixture.bytes(&name).len();
            for (n, start) in (0..bytes).step_by(128).enumerate() {
                let stretch = start..bytes.min(start + [512, 64, 4096][n % 3]);
                let mut damaged = fixture.clone();
                let fill = if n % 2 == 0 { 0 } else { 0xff };
                damaged.bytes_mut(&name)[stretch.clone()].fill(fill);
                damaged.put(&dir);
                let what = format!("{name} {stretch:?} set to {fill}");
                let outcome = fixture.check(&dir, &what).unwrap();
                let touched = fixture.batches.iter().filter(|(_, file, places)| {
                    let same =
                        damaged.bytes(file)[places.clone()] == fixture.bytes(file)[places.clone()];
                    *file == name && !same
                });
                let gone: Vec<_> = touched.flat_map(|(offsets, _, _)| offsets.clone()).collect();
                assert_eq!(outcome.missing, gone, "{what}");
            }
        }
    }
}
