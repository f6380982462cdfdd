//! The archive that is a directory: whose files are in it, and what becomes of them when they are
//! damaged, gone, or somebody else's (I3, I11, I13).
#![allow(clippy::single_range_in_vec_init, clippy::cloned_ref_to_slice_refs, reason = "test code")]

use std::fs;
use std::sync::Arc;

use forebay::{Archive, ArchiveDir, ErrorKind, Log, Offset, SegmentFile};

use crate::tiers::{Through, Tiers, append, move_below, read_from, read_through, setups};
use crate::util::numbered::bases;
use crate::util::{Ground, Place, kind, scratch};

/// A log of 100 records of which all but the active segment were moved; the bases there were.
fn moved(tiers: &Tiers) -> (Log, Vec<i64>) {
    let log = tiers.open();
    append(&log, 100);
    let all = bases(&tiers.log);
    move_below(&log, 100);
    (log, all)
}

fn name(base: i64) -> String {
    format!("{base:020}.log")
}

/// Reading meets this trouble and no other.
fn check(log: &Log, lost: &[std::ops::Range<i64>], what: &str) {
    let is_lost = |number: &i64| lost.iter().any(|lost| lost.contains(number));
    let numbers = (0..100).filter(|number| !is_lost(number)).collect();
    let expected = Through { numbers, lost: lost.to_vec(), missed: vec![] };
    assert_eq!(read_through(log, 0), expected, "{what}");
}

/// Each batch of a segment damaged in turn, at several places of it: exactly that one is lost, and
/// is said to be.
#[test]
fn a_damaged_batch_is_reported_and_passed() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let (log, all) = moved(&tiers);
        let folder = tiers.folder(&log);
        let file = name(all[2]);
        let whole = folder.read(&file);
        for (offsets, place) in folder.batches_of(&file) {
            for at in [0, 7, 8, 12, 16, 17, 21, 60, place.len() - 1] {
                let mut bytes = whole.clone();
                bytes[place.start + at] ^= 0x21;
                folder.write(&file, &bytes);
                let what = format!("{setup:?} {offsets:?} byte {at}");
                check(&log, &[offsets.clone()], &what);
                // A reader that begins in the middle meets it as well.
                let found = read_through(&log, offsets.start);
                assert_eq!(found.lost, [offsets.clone()], "{what}");
            }
        }
        // With indexes that lie, or are gone, nothing changes but the speed (I5).
        folder.write(&file, &whole);
        for part in ["index", "timeindex"] {
            let index = file.replace("log", part);
            let bytes = folder.read(&index);
            for bad in [vec![], vec![0xFF; bytes.len()], bytes[..bytes.len() / 2].to_vec()] {
                folder.write(&index, &bad);
                for from in 0..100 {
                    assert_eq!(read_from(&log, from), (from..100).collect::<Vec<_>>());
                }
            }
            folder.remove(&index);
            assert_eq!(read_from(&log, all[2] + 3), (all[2] + 3..100).collect::<Vec<_>>());
            assert!(!folder.exists(&index), "who only reads writes nothing");
            folder.write(&index, bytes);
        }
        check(&log, &[], "whole again");
    }
}

/// Cut at every length, and zeros from there on: what is behind the cut is lost, and is said to be.
#[test]
fn a_cut_file_is_reported_and_passed() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let (log, all) = moved(&tiers);
        let folder = tiers.folder(&log);
        let file = name(all[2]);
        let whole = folder.read(&file);
        let batches = folder.batches_of(&file);
        for cut in (0..whole.len()).step_by(97).chain(batches.iter().map(|(_, at)| at.start)) {
            let lost = batches.iter().find(|(_, at)| at.end > cut).unwrap().0.start..all[3];
            for zeros in [0, whole.len() - cut] {
                let mut bytes = whole[..cut].to_vec();
                bytes.resize(cut + zeros, 0);
                folder.write(&file, bytes);
                let found = read_through(&log, 0);
                // Where a cut leaves whole batches that the index knows nothing behind, they may
                // have been all there was.
                let told: Vec<_> = found.lost.iter().chain(&found.missed).cloned().collect();
                assert_eq!(told, [lost.clone()], "{setup:?} cut at {cut}, {zeros} zeros");
                let expected: Vec<_> = (0..100).filter(|number| !lost.contains(number)).collect();
                assert_eq!(found.numbers, expected);
            }
        }
    }
}

/// Gone, or something else under its name.
#[test]
fn a_missing_file_is_passed_and_a_strange_one_is_no_segment() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let (log, all) = moved(&tiers);
        let folder = tiers.folder(&log);
        let file = name(all[2]);
        let whole = folder.read(&file);
        folder.remove(&file);
        let found = read_through(&log, 0);
        assert_eq!((found.missed, found.lost), (vec![all[2]..all[3]], vec![]), "the oldest may go");
        folder.write(&file, whole);
        for junk in ["x", "00000000000000000000.log.new", "1.log", "00000000000000000000.LOG"] {
            folder.write(junk, b"junk");
        }
        check(&log, &[], "foreign names are nobody's segments");
        if tiers.log.ground() == Ground::System {
            let path = folder.path().join(&file);
            let aside = folder.path().join("aside");
            fs::rename(&path, &aside).unwrap();
            std::os::unix::fs::symlink(&aside, &path).unwrap();
            assert_eq!(read_through(&log, 0).missed, [all[2]..all[3]], "no link is followed");
            fs::remove_file(&path).unwrap();
            fs::create_dir(&path).unwrap();
            assert_eq!(read_through(&log, 0).missed, [all[2]..all[3]]);
        }
    }
}

/// The segment of another log, or another one of this log, under a segment's name: the seal tells.
#[test]
fn a_foreign_segment_is_refused_by_its_seal() {
    for setup in setups() {
        let (tiers, others) = (Tiers::new(setup), Tiers::new(setup));
        let (log, all) = moved(&tiers);
        let (other, same) = moved(&others);
        assert_eq!(all, same);
        let (folder, foreign) = (tiers.folder(&log), others.folder(&other));
        let file = name(all[2]);
        let whole = folder.read(&file);
        folder.write(&file, foreign.read(&file));
        check(&log, &[all[2]..all[3]], "another log's");
        folder.write(&file, folder.read(&name(all[1])));
        let found = read_through(&log, 0);
        let told: Vec<_> = found.lost.iter().chain(&found.missed).cloned().collect();
        assert_eq!(told, [all[2]..all[3]], "one from below");
        folder.write(&file, folder.read(&name(all[3])));
        check(&log, &[all[2]..all[3]], "one from above");
        folder.write(&file, whole);
        check(&log, &[], "its own");
    }
}

/// Two logs in one archive, with the same names for their segments.
#[test]
fn two_logs_share_an_archive_and_are_told_apart() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let archive: Arc<dyn Archive> = Arc::new(tiers.archive.archive());
        let open = |name: &str| {
            let options = tiers.options().archive(Arc::clone(&archive));
            tiers.log.open_below(name, options).unwrap()
        };
        let logs = [open("a"), open("b")];
        for (log, count) in logs.iter().zip([100, 80]) {
            append(log, count);
        }
        for (log, count) in logs.iter().zip([100, 80]) {
            move_below(log, count);
        }
        for (log, count) in logs.iter().zip([100, 80]) {
            assert_eq!(read_from(log, 0), (0..count).collect::<Vec<_>>());
            assert!(tiers.folder(log).names().len() > 9);
        }
    }
}

/// The log's directory, a place in it, by a detour, or the log inside its own folder.
#[test]
fn an_archive_inside_the_log_is_refused() {
    let dir = scratch();
    let path = dir.path().join("log");
    fs::create_dir_all(path.join("x")).unwrap();
    std::os::unix::fs::symlink(&path, dir.path().join("way")).unwrap();
    for inside in ["log", "log/x", "log/new", "way", "way/x", "log/../log"] {
        let archive = ArchiveDir::new(dir.path().join(inside)).unwrap();
        let opened = Log::options().archive(Arc::new(archive)).open(&path);
        assert_eq!(kind(opened), ErrorKind::InvalidArgument, "{inside}");
        let archive = ArchiveDir::existing(dir.path().join(inside));
        let opened = Log::options().archive(Arc::new(archive)).open(&path);
        assert_eq!(kind(opened), ErrorKind::InvalidArgument, "{inside}");
    }
    // Beside it is fine, also where one name begins with the other, and the log is as it was.
    for beside in ["logs", "", "lo"] {
        let archive = ArchiveDir::new(dir.path().join(beside)).unwrap();
        drop(Log::options().archive(Arc::new(archive)).open(&path).unwrap());
    }
    let id = Log::open(&path).unwrap().id().to_string();
    fs::rename(&path, dir.path().join(&id)).unwrap();
    let archive = ArchiveDir::new(dir.path()).unwrap();
    let opened = Log::options().archive(Arc::new(archive)).open(dir.path().join(&id));
    assert_eq!(kind(opened), ErrorKind::InvalidArgument, "its folder would be the log");
}

/// A disk that is not mounted: nothing is made where it should be, segments stay, what was archived
/// cannot be read now; and all goes on when it is back.
#[test]
fn an_archive_that_is_not_mounted_is_waited_for() {
    let (dir, disk) = (scratch(), scratch());
    let (mounted, away) = (disk.path().join("archive"), disk.path().join("away"));
    let archive = Arc::new(ArchiveDir::existing(&mounted));
    assert_eq!(archive.dir(), mounted);
    let log = Log::options().segment_bytes(4096).archive(archive).open(dir.path()).unwrap();
    append(&log, 60);
    assert_eq!(kind(log.archive_records(Offset::new(30))), ErrorKind::NotFound);
    assert!(!mounted.exists());
    fs::create_dir(&mounted).unwrap();
    let start = move_below(&log, 60);
    let mut reader = log.reader(forebay::OffsetSpec::At(Offset::ZERO)).unwrap();
    fs::rename(&mounted, &away).unwrap();
    append(&log, 40);
    assert_eq!(kind(log.archive_records(Offset::new(100))), ErrorKind::NotFound);
    assert_eq!(log.stats().archive_failures, 2);
    assert_eq!(kind(log.reader(forebay::OffsetSpec::At(Offset::ZERO))), ErrorKind::NotFound);
    assert_eq!(kind(reader.next().unwrap()), ErrorKind::NotFound);
    assert_eq!(read_from(&log, start), (start..100).collect::<Vec<_>>());
    assert!(!mounted.exists());
    fs::rename(&away, &mounted).unwrap();
    assert!(move_below(&log, 100) > start);
    assert_eq!(read_from(&log, 0), (0..100).collect::<Vec<_>>());
    assert!(reader.next().is_none(), "it ended once");
    assert_eq!(reader.by_ref().map(Result::unwrap).count(), 100);
}

#[test]
fn an_archive_is_a_directory() {
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, b"x").unwrap();
    assert_eq!(kind(ArchiveDir::new(&file)), ErrorKind::InvalidArgument);
    let below = ArchiveDir::new(file.join("x"));
    assert!(below.is_err());
    let archive = ArchiveDir::new(dir.path().join("a/b/c")).unwrap();
    assert!(archive.dir().is_absolute() && archive.dir().is_dir());
    let log = Log::options()
        .segment_bytes(4096)
        .archive(Arc::new(ArchiveDir::existing(&file)))
        .open(dir.path().join("log"))
        .unwrap();
    append(&log, 40);
    assert_eq!(kind(log.archive_records(Offset::new(40))), ErrorKind::InvalidArgument);
}

/// A copied log that went its own way is told from this one where they differ, and neither
/// overwrites the other.
#[test]
fn two_histories_of_one_log_conflict() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let log = tiers.open();
        append(&log, 50);
        log.flush().unwrap();
        let copied = tiers.log.killed();
        append(&log, 50);
        let copy = copied.open(tiers.options().archive(Arc::new(tiers.archive.archive()))).unwrap();
        for number in 50..100 {
            copy.append(format!("{number:08} {}", "y".repeat(290))).unwrap();
        }
        move_below(&log, 100);
        let kept = tiers.folder(&log).files();
        let shared = bases(&copied).into_iter().rfind(|base| *base <= 50).unwrap();
        assert_eq!(kind(copy.archive_records(Offset::new(100))), ErrorKind::Conflict);
        assert_eq!(copy.archive_records(Offset::new(shared)).unwrap().get(), shared, "the same");
        assert!(copy.stats().archive_error.unwrap().contains("archive of its own"));
        assert_eq!(tiers.folder(&log).files(), kept, "nothing was overwritten");
        assert_eq!(read_from(&log, 0), (0..100).collect::<Vec<_>>());
    }
}

/// Whoever has the better copy keeps it: a damaged one in the archive is replaced, and a damaged
/// one of the log replaces nothing.
#[test]
fn the_better_copy_is_kept() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let log = tiers.open();
        append(&log, 100);
        let all = bases(&tiers.log);
        log.archive_records(Offset::new(100)).unwrap();
        log.close().unwrap();
        let log = tiers.open();
        log.archive_records(Offset::new(100)).unwrap();
        let folder = tiers.folder(&log);
        let file = name(all[2]);
        let whole = folder.read(&file);
        // Not through a link: the log keeps its own bytes.
        let replace = |place: &Place, bytes: &[u8]| {
            place.remove(&file);
            place.write(&file, bytes);
        };
        let mut damaged = whole.clone();
        damaged[500] ^= 1;
        for bad in [&damaged, &vec![], &whole[..1000].to_vec(), &vec![0; whole.len()]] {
            replace(&folder, bad);
            log.archive_records(Offset::new(100)).unwrap();
            assert!(folder.read(&file) == *bad, "once while the log is open");
            let again = tiers.log.killed();
            let archive = Arc::new(tiers.archive.archive());
            let again = again.open(tiers.options().archive(archive)).unwrap();
            again.archive_records(Offset::new(100)).unwrap();
            assert!(folder.read(&file) == whole, "replaced");
        }
        drop(log);
        replace(&tiers.log, &damaged);
        let log = tiers.open();
        move_below(&log, 100);
        assert!(folder.read(&file) == whole, "kept");
        assert_eq!(read_from(&log, 0), (0..100).collect::<Vec<_>>());
    }
}

/// What a crash left half made is no segment, and is replaced.
#[test]
fn leftovers_of_a_crash_are_replaced() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let log = tiers.open();
        append(&log, 100);
        let folder = tiers.folder(&log);
        for part in ["log", "index", "timeindex"] {
            folder.write(&format!("{:020}.{part}.new", 0), b"half");
        }
        move_below(&log, 100);
        assert!(folder.names().iter().all(|name| !name.ends_with(".new")), "{:?}", folder.names());
        assert_eq!(read_from(&log, 0), (0..100).collect::<Vec<_>>());
    }
}

/// I3: links share bytes with the log only as long as nobody writes to either; a log that is cut
/// back to an archived segment gets a file of its own.
#[test]
fn a_linked_segment_never_changes() {
    for setup in setups() {
        let tiers = Tiers::new(setup);
        let log = tiers.open();
        append(&log, 60);
        let all = bases(&tiers.log);
        log.archive_records(Offset::new(60)).unwrap();
        let kept = tiers.folder(&log).files();
        log.close().unwrap();
        // Everything behind the first segments is lost: the last one of them is appended to.
        for base in &all[2..] {
            tiers.log.remove(&name(*base));
        }
        tiers.log.remove("checkpoint");
        let log = tiers.open();
        assert_eq!(log.log_end_offset().get(), all[2]);
        append(&log, 60);
        log.flush().unwrap();
        assert_eq!(tiers.folder(&log).files(), kept, "{setup:?}");
    }
}

/// Other programs read the files where they lie.
#[test]
fn archived_segments_are_segment_files() {
    for setup in setups().filter(|setup| setup.1 == Ground::System) {
        let tiers = Tiers::new(setup);
        let (log, all) = moved(&tiers);
        let mut records = 0;
        for base in &all[..all.len() - 1] {
            let path = tiers.folder(&log).path().join(name(*base));
            records +=
                SegmentFile::open(path).unwrap().map(|item| item.unwrap().1.len()).sum::<usize>();
        }
        assert_eq!(records as i64, *all.last().unwrap());
    }
}
