//! Readers of a log that somebody else writes, on damaged files: nothing wrong is read, nothing
//! that was durable is missed in silence.

use std::fs;
use std::path::Path;

use forebay::{ErrorKind, OffsetSpec, ReadOnlyLog};

use crate::util::fixture::{self, Fixture};
use crate::util::followed::{all, drain, follow, picture};
use crate::util::{self, Ground, MODES, Place, at, scratch, segments};

/// The active segment arrives byte by byte, with junk, an older write or nothing behind: what is
/// whole is read, at once and once, and nothing else.
#[test]
fn at_the_tail_only_whole_batches_exist() {
    for mode in MODES {
        let fixture = Fixture::killed(mode, Ground::System, 20, 12);
        let name = fixture.names(".log").pop().unwrap();
        let bytes = fixture.bytes(&name).clone();
        let used = fixture.batches.last().unwrap().2.end;
        let behind = |kind: usize| match kind {
            0 => Vec::new(),
            1 => vec![0; 8192],
            2 => vec![0xff; 700],
            _ => bytes[61..600.min(used)].to_vec(),
        };
        for kind in 0..4 {
            let dir = scratch();
            fixture.put(&Place::at(dir.path()));
            let path = dir.path().join(&name);
            let put = |length: usize| {
                let file = [bytes[..length].to_vec(), behind(kind)].concat();
                fs::write(&path, &file).unwrap();
                file
            };
            // Nothing above the recovery point is there yet.
            let known = fixture.batches.iter();
            let known = known.filter(|b| b.1 == name && b.0.end <= fixture.durable);
            let from = known.map(|batch| batch.2.end).max().unwrap_or(0);
            put(from);
            let followed = follow(mode, dir.path());
            let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
            let mut seen = drain(&mut reader).0;
            for length in from..=used {
                let file = put(length);
                let (more, lost) = drain(&mut reader);
                seen.extend(more);
                assert!(lost.is_empty(), "{mode:?} {kind} {length}: {lost:?}");
                let whole = fixture.batches.iter();
                // What stands behind may happen to be the missing bytes.
                let whole = whole.filter(|b| b.1 != name || file.starts_with(&bytes[..b.2.end]));
                let end = whole.map(|b| b.0.end).max().unwrap();
                assert_eq!(reader.next_offset().get(), end, "{mode:?} {kind} {length}");
                assert_eq!(seen, fixture.records[..usize::try_from(end).unwrap()]);
            }
        }
    }
}

/// I13: bytes of every file are flipped, others in each of four kinds of log: only true records are
/// read, and what is missing in sealed segments, or below the recovery point, is told.
#[test]
fn a_flipped_byte_is_never_read_and_never_hidden() {
    for (at, mode) in MODES.into_iter().enumerate() {
        let fixtures =
            [Fixture::closed(mode, Ground::System), Fixture::killed(mode, Ground::System, 20, 25)];
        for (fixture, first) in fixtures.into_iter().zip([at, at + 2]) {
            let dir = scratch();
            fixture.put(&Place::at(dir.path()));
            for (name, bytes) in &fixture.files {
                let path = dir.path().join(name);
                let step = if name == "checkpoint" { 41 } else { 11 };
                let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
                for place in (first..used).step_by(step) {
                    let mut flipped = bytes.clone();
                    flipped[place] ^= 0x41;
                    fs::write(&path, &flipped).unwrap();
                    check(&fixture, dir.path(), &format!("{mode:?} {name} {place}"));
                }
                fs::write(&path, bytes).unwrap();
            }
        }
    }
}

/// Only true records, in order; what is missing below the durable offset is told.
fn check(fixture: &Fixture, dir: &Path, what: &str) {
    let followed = match ReadOnlyLog::options().io_mode(fixture.mode).open(dir) {
        Ok(followed) => followed,
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{what}: {error}");
            return;
        }
    };
    let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
    let (found, lost) = drain(&mut reader);
    let mut previous = -1;
    for record in &found {
        assert!(record.offset > previous, "{what}");
        previous = record.offset;
        assert_eq!(Some(record), fixture.records.get(usize::try_from(previous).unwrap()), "{what}");
    }
    let (start, end) = (followed.log_start_offset(), followed.log_end_offset());
    assert!(start <= followed.durable_offset() && followed.durable_offset() <= end, "I1: {what}");
    let missing = (0..fixture.end()).filter(|n| !found.iter().any(|record| record.offset == *n));
    for n in missing.filter(|n| *n < end.get()) {
        assert!(lost.iter().any(|range| range.contains(&n)), "{what}: {n} is not told: {lost:?}");
    }
    assert_eq!((reader.retracted(), reader.missed()), (0, 0), "{what}");
    let last = fixture.batches.last().unwrap();
    if !what.contains(&last.1) && !what.contains("checkpoint") {
        assert_eq!(end.get(), fixture.end(), "{what}");
    }
}

/// Every segment is cut at lengths of every kind: the last one ends there, another one is damaged.
#[test]
fn a_cut_file_ends_the_log_or_is_told() {
    for (at, mode) in MODES.into_iter().enumerate() {
        let fixture = Fixture::killed(mode, Ground::System, 30, 10);
        let dir = scratch();
        fixture.put(&Place::at(dir.path()));
        let names = fixture.names(".log");
        for name in &names {
            let bytes = fixture.bytes(name);
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
            let places = fixture.batches.iter().filter(|batch| batch.1 == *name);
            let edges: Vec<usize> = places.map(|batch| batch.2.start).collect();
            let near = |length: &usize| edges.iter().any(|edge| edge.abs_diff(*length) < 3);
            for length in (0..used).filter(|length| length % 16 == at * 9 || near(length)) {
                fs::write(dir.path().join(name), &bytes[..length]).unwrap();
                let last = names.last() == Some(name);
                let what = if last { format!("checkpoint {length}") } else { format!("{length}") };
                check_cut(&fixture, dir.path(), &what, last);
            }
            fs::write(dir.path().join(name), bytes).unwrap();
        }
    }
}

fn check_cut(fixture: &Fixture, dir: &Path, what: &str, last: bool) {
    check(fixture, dir, if last { "checkpoint" } else { what });
    let followed = follow(fixture.mode, dir);
    let (found, lost) = all(&followed);
    if last {
        assert!(found.len() <= fixture.records.len(), "{what}");
    } else {
        assert_eq!(lost.len(), 1, "{what}: {lost:?}");
        let told: i64 = lost.iter().map(|range| range.end - range.start).sum();
        assert_eq!(i64::try_from(found.len()).unwrap() + told, fixture.end(), "{what}");
    }
}

#[test]
fn checkpoint_and_meta_may_be_missing_or_garbage() {
    for mode in MODES {
        for fixture in
            [Fixture::closed(mode, Ground::System), Fixture::killed(mode, Ground::System, 20, 25)]
        {
            for names in [["checkpoint", "-"], ["log.meta", "-"], ["checkpoint", "log.meta"]] {
                for with in [None, Some(Vec::new()), Some(vec![0xa5; 9000])] {
                    let dir = scratch();
                    fixture.put(&Place::at(dir.path()));
                    for name in names.iter().filter(|name| **name != "-") {
                        fs::remove_file(dir.path().join(name)).unwrap();
                        if let Some(bytes) = &with {
                            fs::write(dir.path().join(name), bytes).unwrap();
                        }
                    }
                    let followed = follow(mode, dir.path());
                    let mut reader = followed.reader(OffsetSpec::Earliest).unwrap();
                    assert_eq!(drain(&mut reader).0, fixture.records, "{names:?} {with:?}");
                    let known = !names.contains(&"log.meta") || !names.contains(&"checkpoint");
                    assert_eq!(followed.id(), known.then_some(fixture.id), "{names:?}");
                    if !known {
                        continue;
                    }
                    // The writer puts it right, and the follower goes on.
                    let log = fixture::options(mode).open(dir.path()).unwrap();
                    log.append("more").unwrap();
                    let batch = reader.next().unwrap().unwrap();
                    assert_eq!(util::texts(&batch), ["more"], "{names:?} {with:?}");
                    assert_eq!((reader.retracted(), reader.missed()), (0, 0));
                }
            }
        }
    }
}

/// I4: a segment that is gone from the middle is no deletion.
#[test]
fn a_hole_is_told_once_with_its_range() {
    for mode in MODES {
        let fixture = Fixture::closed(mode, Ground::System);
        let dir = scratch();
        fixture.put(&Place::at(dir.path()));
        let files = segments(dir.path());
        let base = |at: usize| files[at].file_stem().unwrap().to_str().unwrap().parse().unwrap();
        fs::remove_file(&files[1]).unwrap();
        let followed = follow(mode, dir.path());
        let (found, lost) = all(&followed);
        let hole: std::ops::Range<i64> = base(1)..base(2);
        assert_eq!(lost, std::slice::from_ref(&hole));
        assert_eq!(found.len() as i64, fixture.end() - (hole.end - hole.start));
        let mut inside = followed.reader(at(hole.start + 1)).unwrap();
        assert_eq!(drain(&mut inside).1, vec![hole.start + 1..hole.end; 1]);
    }
}

/// Names that lead to no files of ours, or to files that are none: nothing hangs, nothing is read.
#[test]
fn foreign_files_are_passed_by() {
    for mode in MODES {
        let fixture = Fixture::killed(mode, Ground::System, 20, 25);
        let dir = scratch();
        let bait = scratch();
        fs::write(bait.path().join("bait"), vec![7; 4096]).unwrap();
        let fifo = |path: &Path| {
            assert!(std::process::Command::new("mkfifo").arg(path).status().unwrap().success());
        };
        let link = |path: &Path| {
            std::os::unix::fs::symlink(bait.path().join("bait"), path).unwrap();
        };
        let folder = |path: &Path| fs::create_dir(path).unwrap();
        let junk = |path: &Path| fs::write(path, vec![2; 70_000]).unwrap();
        let empty = |path: &Path| fs::write(path, "").unwrap();
        let makers: [&dyn Fn(&Path); 5] = [&fifo, &link, &folder, &junk, &empty];
        let inside = fixture.batches.last().unwrap().0.start;
        let names = [
            format!("{:020}.log", 5),
            format!("{inside:020}.log"),
            format!("{:020}.log", fixture.end() + 1000),
            format!("{:020}.index", 0),
            "checkpoint.new".to_owned(),
            "checkpoint".to_owned(),
            "log.meta".to_owned(),
        ];
        for make in makers {
            for name in &names {
                fixture.put(&Place::at(dir.path()));
                let path = dir.path().join(name);
                let _ = fs::remove_file(&path);
                make(&path);
                let before = picture(dir.path());
                let followed = follow(mode, dir.path());
                let (found, lost) = all(&followed);
                assert_eq!(found, fixture.records, "{name}");
                assert!(lost.is_empty(), "{name}: {lost:?}");
                assert!(before == picture(dir.path()));
            }
        }
    }
}

/// A copy that broke off, under the name of an offset inside a segment: it hides nothing, neither
/// what is there nor what is still to come (I4).
#[test]
fn a_piece_of_a_segment_beside_it_hides_no_record() {
    for mode in MODES {
        for fixture in
            [Fixture::closed(mode, Ground::System), Fixture::killed(mode, Ground::System, 20, 25)]
        {
            let mut truth = fixture.records.clone();
            for (offsets, name, places) in &fixture.batches {
                let piece = format!("{:020}.log", offsets.start);
                if fixture.files.iter().any(|(name, _)| *name == piece) {
                    continue;
                }
                let dir = scratch();
                fixture.put(&Place::at(dir.path()));
                fs::write(dir.path().join(&piece), &fixture.bytes(name)[places.clone()]).unwrap();
                let followed = follow(mode, dir.path());
                let (found, lost) = all(&followed);
                assert_eq!((&found, &lost), (&fixture.records, &Vec::new()), "{mode:?} {piece}");
                for from in 0..fixture.end() {
                    let mut reader = followed.reader(at(from)).unwrap();
                    let batch = reader.next().unwrap().unwrap();
                    let first = &util::records(&batch)[0];
                    assert_eq!(*first, truth[usize::try_from(from).unwrap()], "{piece} {from}");
                }
                let mut latest = followed.reader(OffsetSpec::Latest).unwrap();
                let log = fixture::options(mode).open(dir.path()).unwrap();
                fixture::fill(&log, &mut truth, 1);
                assert_eq!(drain(&mut latest).0, truth[fixture.records.len()..], "{piece}");
                truth.truncate(fixture.records.len());
            }
        }
    }
}

/// A checkpoint and a `log.meta` of another log: the batches are read all the same, and what that
/// checkpoint says of offsets is not believed.
#[test]
fn the_small_files_of_another_log_hide_no_record() {
    for mode in MODES {
        let (dir, other) = (scratch(), scratch());
        let log = util::ten(mode, other.path());
        log.flush().unwrap();
        log.delete_records(forebay::Offset::new(9)).unwrap();
        log.close().unwrap();
        let fixture = Fixture::killed(mode, Ground::System, 20, 25);
        for damage in [false, true] {
            fixture.put(&Place::at(dir.path()));
            for name in ["checkpoint", "log.meta"] {
                fs::copy(other.path().join(name), dir.path().join(name)).unwrap();
            }
            if damage {
                fs::write(dir.path().join("log.meta"), "?").unwrap();
            }
            let followed = follow(mode, dir.path());
            assert_eq!(all(&followed), (fixture.records.clone(), Vec::new()), "{mode:?} {damage}");
        }
    }
}
