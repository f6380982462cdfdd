//! Files of a log that are gone, swapped, foreign, of another log, or no files at all.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use forebay::{Error, ErrorKind, Log, OffsetSpec};

use crate::util::fixture::{COMMITTED, Fixture, Outcome, fill, options};
use crate::util::{self, Ground, MODES, OpenIn, Place, at, ways};

/// The offsets of the batches of some files.
fn offsets_of(fixture: &Fixture, names: &[&str]) -> Vec<i64> {
    let batches = fixture.batches.iter().filter(|(_, file, _)| names.contains(&file.as_str()));
    batches.flat_map(|(offsets, _, _)| offsets.clone()).collect()
}

/// The outcome, or none if it was refused with a typed error that says what and where.
fn outcome_or_refusal(result: Result<Outcome, Error>, what: &str) -> Option<Outcome> {
    match result {
        Ok(outcome) => Some(outcome),
        Err(error) => {
            assert!(error.path().is_some(), "{what}: {error}");
            assert_ne!(error.kind(), ErrorKind::Locked, "{what}: {error}");
            None
        }
    }
}

/// I2, I5: each file deleted: an index costs nothing, a segment its own records only.
#[test]
fn a_deleted_file_loses_its_own_records_only() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let dir = ground.place();
        for (name, _) in fixture.files.iter().filter(|(name, _)| name != FIRST) {
            fixture.put(&dir);
            dir.remove(name);
            let what = format!("{name} deleted");
            let outcome = fixture.check(&dir, &what).unwrap();
            assert_eq!(outcome.missing, offsets_of(&fixture, &[name]), "{what}");
            assert!(outcome.end >= fixture.end(), "I2: {what}");
            if name == "log.meta" {
                assert!(outcome.report.meta_rebuilt && !outcome.report.seal_lost, "I20: {what}");
            }
            if name == "checkpoint" {
                assert!(outcome.report.checkpoint_lost, "I20: {what}");
            }
            fixture.check_again(&dir, &outcome, &what);
            let log = options(mode).open_in(&dir).unwrap();
            assert_eq!(log.id(), fixture.id, "{what}");
            if name != "checkpoint" {
                let committed = log.consumers().iter().find(|c| c.name == "c").unwrap().committed;
                assert_eq!(committed.get(), COMMITTED, "{what}");
            }
        }
    }
}

/// I13: the oldest segment gone: its records are reported, the log start does not move silently.
#[test]
fn a_deleted_first_segment_is_reported() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let dir = ground.place();
        let name = &fixture.names(".log")[0];
        fixture.put(&dir);
        dir.remove(name);
        let outcome = fixture.check(&dir, "first segment deleted").unwrap();
        assert_eq!(outcome.missing, offsets_of(&fixture, &[name]));
        fixture.check_again(&dir, &outcome, "first segment deleted");
    }
}

/// I5: all indexes gone at once cost time only, and come back byte for byte.
#[test]
fn deleted_indexes_are_made_again_byte_for_byte() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let dir = ground.place();
        fixture.put(&dir);
        let names = [fixture.names(".index"), fixture.names(".timeindex")].concat();
        assert_eq!(names.len(), 6);
        for name in &names {
            dir.remove(name);
        }
        let log = fixture.check_whole(&dir, "no index");
        for n in 0..fixture.end() {
            let batch = log.reader(at(n)).unwrap().next().unwrap().unwrap();
            assert_eq!(util::records(&batch)[0].offset, n);
        }
        log.close().unwrap();
        for name in names.iter().filter(|name| dir.exists(name)) {
            assert_eq!(&dir.read(name), fixture.bytes(name), "{name}");
        }
    }
}

/// `log.meta` and the checkpoint both gone: the records are read without seals, and that is said.
#[test]
fn a_log_without_meta_and_checkpoint_is_read_and_reported() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let dir = ground.place();
        fixture.put(&dir);
        dir.remove("log.meta");
        dir.remove("checkpoint");
        let outcome = fixture.check(&dir, "both gone").unwrap();
        assert!(outcome.missing.is_empty() && outcome.end == fixture.end());
        assert!(outcome.report.seal_lost && !outcome.report.created, "{:?}", outcome.report);
        fixture.check_again(&dir, &outcome, "both gone");
    }
}

/// I4: any two segments under each other's names: no record appears in a wrong place.
#[test]
fn swapped_segments_give_no_record_at_a_wrong_offset() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let dir = ground.place();
        let names = fixture.names(".log");
        for (a, b) in [(0, 1), (0, 2), (1, 2)] {
            fixture.put(&dir);
            dir.write(&names[a], fixture.bytes(&names[b]));
            dir.write(&names[b], fixture.bytes(&names[a]));
            let what = format!("segments {a} and {b} swapped");
            let outcome = fixture.check(&dir, &what).unwrap();
            let theirs = offsets_of(&fixture, &[&names[a], &names[b]]);
            assert!(outcome.missing.iter().all(|n| theirs.contains(n)), "{what}");
            fixture.check_again(&dir, &outcome, &what);
        }
        for (from, to) in [(0, 1), (1, 0), (1, 2), (2, 0)] {
            fixture.put(&dir);
            dir.write(&names[to], fixture.bytes(&names[from]));
            let what = format!("segment {from} copied over {to}");
            let outcome = fixture.check(&dir, &what).unwrap();
            let its = offsets_of(&fixture, &[&names[to]]);
            assert!(outcome.missing.iter().all(|n| its.contains(n)), "{what}");
        }
    }
}

/// I5: indexes of another segment, of another log, unsorted, or past the end cost time only.
#[test]
fn a_wrong_index_never_gives_a_wrong_record() {
    for (mode, ground) in ways() {
        let (fixture, dir, other) = (Fixture::closed(mode, ground), ground.place(), ground.place());
        let log = options(mode).index_interval_bytes(100).open_in(&other).unwrap();
        for n in 0..150 {
            log.append(vec![b'x'; n]).unwrap();
        }
        log.close().unwrap();
        let (all, first) = (fixture.names("index"), fixture.names(".index")[0].clone());
        let mut wrong: Vec<Vec<u8>> = all.iter().map(|name| fixture.bytes(name).clone()).collect();
        let others = other.names();
        let others = others.iter().filter(|name| name.ends_with("index"));
        wrong.extend(others.map(|name| other.read(name)));
        let mut reversed: Vec<_> = fixture.bytes(&first).chunks(8).map(<[u8]>::to_vec).collect();
        reversed.reverse();
        wrong.push(reversed.concat());
        wrong.extend([vec![0; 800], vec![0xff; 96], vec![0x7f; 1200], vec![1; 17]]);
        // Ascending entries of plausible offsets whose positions lie inside or behind batches.
        for step in [1_u32, 50, 177, 100_000] {
            let entries = (1..20_u32).flat_map(|n| [n.to_be_bytes(), (n * step).to_be_bytes()]);
            wrong.push(entries.flatten().collect());
        }
        for name in &all {
            for (n, bytes) in wrong.iter().enumerate() {
                fixture.put(&dir);
                dir.write(name, bytes);
                let what = format!("{name} replaced by {n}");
                let log = fixture.check_whole(&dir, &what);
                for offset in 0..fixture.end() {
                    let batch = log.reader(at(offset)).unwrap().next().unwrap().unwrap();
                    assert_eq!(util::records(&batch)[0].offset, offset, "{what}");
                }
                drop(log);
                assert!(fixture.check(&dir, &what).unwrap().missing.is_empty());
            }
        }
    }
}

/// I11: a valid batch of another log, at the very place and offset of ours, is not ours.
#[test]
fn a_batch_of_another_log_pasted_over_is_not_taken_for_ours() {
    for (mode, ground) in ways() {
        let (fixture, twin) = (Fixture::closed(mode, ground), Fixture::closed(mode, ground));
        assert_ne!(fixture.id, twin.id);
        let dir = ground.place();
        for (offsets, name, places) in &fixture.batches {
            let mut damaged = fixture.clone();
            let pasted = twin.bytes(name)[places.clone()].to_vec();
            damaged.bytes_mut(name)[places.clone()].copy_from_slice(&pasted);
            damaged.put(&dir);
            let what = format!("the other log's batch at {offsets:?}");
            let outcome = fixture.check(&dir, &what).unwrap();
            assert!(outcome.missing.iter().copied().eq(offsets.clone()), "{what}");
        }
        let batches = fixture.batches.iter().zip(fixture.batches.iter().skip(2));
        let alike = batches.filter(|(a, b)| a.2.len() == b.2.len());
        for (from, to) in alike {
            let mut damaged = fixture.clone();
            let pasted = fixture.bytes(&from.1)[from.2.clone()].to_vec();
            damaged.bytes_mut(&to.1)[to.2.clone()].copy_from_slice(&pasted);
            // Also with the base offset of its new place: only the seal tells.
            for renumbered in [false, true] {
                if renumbered {
                    let base = to.0.start.to_be_bytes();
                    damaged.bytes_mut(&to.1)[to.2.start..to.2.start + 8].copy_from_slice(&base);
                }
                damaged.put(&dir);
                let what = format!("batch {:?} at {:?}, renumbered {renumbered}", from.0, to.0);
                let outcome = fixture.check(&dir, &what).unwrap();
                assert!(outcome.missing.iter().copied().eq(to.0.clone()), "{what}");
            }
        }
    }
}

/// V10: who begins behind damage is not told of it; who begins before it, once.
#[test]
fn damage_is_reported_to_those_who_read_over_it_only() {
    for (mode, ground) in ways() {
        for interval in [400, 1_000_000] {
            let dir = ground.place();
            let open = || options(mode).index_interval_bytes(interval).open_in(&dir).unwrap();
            let log = open();
            fill(&log, &mut Vec::new(), 15);
            log.close().unwrap();
            let name = dir.segments()[0].clone();
            let batches = dir.batches_of(&name);
            let (gone, places) = batches[5].clone();
            let mut bytes = dir.read(&name);
            bytes[places.start + 65] ^= 1;
            dir.write(&name, bytes);
            let log = open();
            for from in 0..log.log_end_offset().get() {
                let found = util::read_through(&log, at(from));
                let told = if from < gone.end { 1 } else { 0 };
                assert_eq!(found.errors.len(), told, "from {from}: {:?}", found.errors);
                let first = if gone.contains(&from) { gone.end } else { from };
                assert_eq!(found.records[0].offset, first, "from {from}");
            }
            let end = log.log_end_offset();
            log.append("more").unwrap();
            let batch = log.reader(OffsetSpec::At(end)).unwrap().next().unwrap();
            assert!(batch.is_ok(), "{batch:?}");
            let mut consumer = log.consumer("c").unwrap();
            let mut polled = 0;
            for _ in 0..30 {
                let batch = consumer.poll(std::time::Duration::ZERO).unwrap_or_default();
                polled += batch.map_or(0, |batch| batch.records().count());
            }
            let missed = usize::try_from(consumer.missed()).unwrap();
            assert_eq!(missed, usize::try_from(gone.end - gone.start).unwrap());
            assert_eq!(polled + missed, usize::try_from(end.get()).unwrap() + 1);
        }
    }
}

/// Files that are not forebay's are left alone and named in the report.
#[test]
fn foreign_files_are_left_alone_and_reported() {
    let foreign = [
        "0000000000000000000.log",
        "000000000000000000000.log",
        "00000000000000000000.snapshot",
        "-0000000000000000001.log",
        "+0000000000000000007.log",
        "99999999999999999999.log",
        "0000000000000000000a.log",
        "00000000000000000007.LOG",
        "00000000000000000007.log.bak",
        "leader-epoch-checkpoint",
        "\u{e4}\n.log",
        ".hidden",
    ];
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let dir = ground.place();
        fixture.put(&dir);
        for name in foreign {
            dir.write(name, format!("foreign {name}"));
        }
        dir.write("directory/00000000000000000000.log", "x");
        let log = fixture.check_whole(&dir, "foreign files");
        let mut reported = log.recovery().foreign_files.clone();
        reported.sort();
        let mut expected: Vec<_> = foreign.iter().map(|name| (*name).to_owned()).collect();
        expected.push("directory".to_owned());
        expected.sort();
        assert_eq!(reported, expected);
        log.append("a").unwrap();
        log.close().unwrap();
        for name in foreign {
            assert_eq!(dir.read(name), format!("foreign {name}").into_bytes());
        }
        for n in 0..100 {
            dir.write(&format!("foreign {n}"), "x");
        }
        let log = options(mode).open_in(&dir).unwrap();
        assert_eq!(log.recovery().foreign_files.len(), 64, "the list is bounded");
    }
}

/// V13: whatever stands under a file's name, opening ends, refuses or reports, and follows
/// nothing out of the directory.
#[test]
fn a_special_file_under_a_name_of_ours_is_refused_or_reported() {
    for mode in MODES {
        let fixture = Fixture::closed(mode, Ground::System);
        let mut names: Vec<_> = fixture.files.iter().map(|(name, _)| name.clone()).collect();
        names.extend(["00000000000000009999.log".to_owned(), "checkpoint.tmp".to_owned()]);
        names.retain(|name| name != FIRST);
        special_files(&fixture, &names);
    }
}

/// V13: the same under the name of the oldest segment.
#[test]
fn a_special_file_under_the_name_of_the_first_segment_is_refused_or_reported() {
    for mode in MODES {
        special_files(&Fixture::closed(mode, Ground::System), &[FIRST.to_owned()]);
    }
}

/// The oldest segment of the fixture.
const FIRST: &str = "00000000000000000000.log";

fn special_files(fixture: &Fixture, names: &[String]) {
    let (dir, outside) = (Ground::System.place(), Ground::System.place());
    let victim = outside.path().join("victim");
    for name in names {
        for sort in 0..6 {
            let path = dir.path().join(name);
            let before = "x".repeat(5000);
            fs::write(&victim, &before).unwrap();
            fixture.put(&dir);
            let _ = fs::remove_file(&path);
            match sort {
                0 => fs::create_dir(&path).unwrap(),
                1 => assert!(Command::new("mkfifo").arg(&path).status().unwrap().success()),
                2 => symlink("/dev/zero", &path).unwrap(),
                3 => symlink(&path, &path).unwrap(),
                4 => symlink(&victim, &path).unwrap(),
                _ => symlink("nowhere", &path).unwrap(),
            }
            let what = format!("{:?}, {name} is of sort {sort}", fixture.mode);
            let result = fixture.check(&dir, &what);
            outcome_or_refusal(result, &what);
            let after = fs::read_to_string(&victim).unwrap();
            assert!(after == before, "{what}: a file outside the log was written");
        }
    }
}

/// A segment that is not there takes no record with it but its own, also when it is a big hole.
#[test]
fn extra_segments_without_a_batch_are_no_records() {
    for (mode, ground) in ways() {
        let fixture = Fixture::closed(mode, ground);
        let dir = ground.place();
        let end = fixture.end();
        let extras: Vec<(i64, Vec<u8>)> = vec![
            (end, Vec::new()),
            (end, vec![0; 4096]),
            (end + 1000, Vec::new()),
            (end + 1000, vec![0xff; 5000]),
            (i64::MAX, Vec::new()),
            (i64::MAX, vec![7; 100]),
            (1, Vec::new()),
            (1, fixture.bytes("00000000000000000000.log").clone()),
        ];
        for (base, bytes) in extras {
            fixture.put(&dir);
            dir.write(&format!("{base:020}.log"), &bytes);
            let what = format!("{mode:?}: extra segment {base} of {} bytes", bytes.len());
            if let Some(outcome) = outcome_or_refusal(fixture.check(&dir, &what), &what) {
                assert!(outcome.missing.iter().all(|n| *n < end), "{what}");
            }
        }
        fixture.put(&dir);
        if ground == Ground::System {
            let sparse = fs::File::create(dir.path().join(format!("{end:020}.log"))).unwrap();
            sparse.set_len(64 << 20).unwrap();
        }
        outcome_or_refusal(fixture.check(&dir, "a hole"), "a hole");
    }
}

/// A directory whose files are all garbage is opened with a report or refused, never believed.
#[test]
fn a_directory_of_garbage_gives_no_record() {
    fn garbage(dir: &Place, names: &[&str], byte: u8) {
        names.iter().for_each(|name| dir.write(name, vec![byte; 30_000]));
    }
    let names =
        ["log.meta", "checkpoint", "00000000000000000000.log", "00000000000000000000.index"];
    for (mode, ground) in ways() {
        for byte in [0, 1, b'\n', b'=', 0x7f, 0xff] {
            for count in 1..=names.len() {
                let dir = ground.place();
                garbage(&dir, &names[..count], byte);
                let Ok(log) = options(mode).open_in(&dir) else { continue };
                assert!(util::read_through(&log, OffsetSpec::Earliest).records.is_empty());
                let end = log.append("a").unwrap();
                let batch = log.reader(OffsetSpec::At(end)).unwrap().next().unwrap().unwrap();
                assert_eq!(util::texts(&batch), ["a"]);
                drop(log);
                assert!(Log::options().open_in(&dir).unwrap().recovery().clean);
            }
        }
    }
}
