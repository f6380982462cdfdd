//! Snapshots: what a copy of a live log holds, and that neither log ever changes the other (I3,
//! I9, I19).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use forebay::{ErrorKind, IoMode, Log, Offset, OffsetSpec};

use crate::util::fixture::{Fixture, fill, options};
use crate::util::{
    self, Ground, MODES, Owned, Place, at, copy_dir, durable, kind, read_all, read_through,
    scratch, segments,
};

/// The bytes of every file of a directory.
fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    util::files(dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// Opens a copy, which has to be one that was closed cleanly.
fn open_clean(mode: IoMode, dir: &Path) -> Log {
    let log = options(mode).open(dir).unwrap();
    let report = log.recovery();
    assert!(report.clean && !report.created, "{report:?}");
    assert_eq!((report.lost.clone(), report.damaged_ranges), (None, 0));
    assert_eq!(report.foreign_files, Vec::<String>::new());
    log
}

/// Of ten lengths of log, with ends before, at and behind every edge of a segment.
#[test]
fn a_snapshot_opens_as_the_log_stood_at_its_durable_offset() {
    for mode in MODES {
        for (flushed, unflushed) in
            [(0, 0), (0, 5), (1, 0), (3, 40), (14, 0), (14, 30), (20, 1), (45, 0), (45, 20)]
        {
            let tmp = scratch();
            let (dir, copy) = (tmp.path().join("log"), tmp.path().join("copy"));
            let log = options(mode).open(&dir).unwrap();
            let mut records = Vec::new();
            fill(&log, &mut records, flushed);
            let durable = log.flush().unwrap();
            fill(&log, &mut records, unflushed);
            let report = log.snapshot(&copy).unwrap();
            assert_eq!((report.log_start_offset, report.log_end_offset), (Offset::ZERO, durable));
            assert_eq!(report.missing_ranges, 0);

            let opened = open_clean(mode, &copy);
            assert_eq!(opened.id(), log.id());
            assert_eq!((opened.durable_offset(), opened.log_end_offset()), (durable, durable));
            let kept = usize::try_from(durable.get()).unwrap();
            assert!(read_all(&opened) == records[..kept], "{flushed} {unflushed}");
            for offset in (0..=durable.get()).step_by(7) {
                let first = opened.reader(at(offset)).unwrap().next();
                let first =
                    first.map(|batch| batch.unwrap().records().next().unwrap().unwrap().offset());
                assert_eq!(first.map_or(durable.get(), Offset::get), offset);
            }
            let files = segments(&copy).len() as u64;
            assert_eq!(report.segments_linked + report.segments_copied, files);
            assert!(read_all(&log) == records);
        }
    }
}

/// The files of a cleanly closed copy are those of the log itself, closed at the same offset.
#[test]
fn the_copy_of_a_flushed_log_has_the_bytes_of_the_closed_log() {
    for mode in MODES {
        let tmp = scratch();
        let (dir, copy) = (tmp.path().join("log"), tmp.path().join("copy"));
        let log = options(mode).open(&dir).unwrap();
        fill(&log, &mut Vec::new(), 45);
        log.flush().unwrap();
        log.snapshot(&copy).unwrap();
        log.close().unwrap();
        let name = |path: &PathBuf| path.file_name().unwrap().to_owned();
        let of_log: BTreeMap<_, _> =
            contents(&dir).into_iter().map(|(p, b)| (name(&p), b)).collect();
        let of_copy: BTreeMap<_, _> =
            contents(&copy).into_iter().map(|(p, b)| (name(&p), b)).collect();
        assert_eq!(of_log.keys().collect::<Vec<_>>(), of_copy.keys().collect::<Vec<_>>());
        assert!(of_log.len() > 9);
        for (name, bytes) in &of_log {
            assert!(name == "checkpoint" || of_copy[name] == *bytes, "{name:?} differs");
        }
    }
}

/// I3, I9: appends, flushes, closes and recoveries of one of the two, in turn.
#[test]
fn neither_log_changes_the_others_files() {
    for mode in MODES {
        let tmp = scratch();
        let (dir, copy) = (tmp.path().join("log"), tmp.path().join("copy"));
        let log = options(mode).open(&dir).unwrap();
        let mut records = Vec::new();
        fill(&log, &mut records, 30);
        log.flush().unwrap();
        let end = records.len();
        log.snapshot(&copy).unwrap();
        let before = contents(&copy);
        fill(&log, &mut records, 30);
        log.flush().unwrap();
        fill(&log, &mut records, 30);
        assert!(contents(&copy) == before);
        // A killed process' files, recovered beside the copy, the sealed segments linked as they
        // were.
        let shared = segments(&dir);
        let shared = &shared[..shared.len() - 1];
        let killed = tmp.path().join("killed");
        fs::create_dir(&killed).unwrap();
        for path in util::files(&dir) {
            let to = killed.join(path.file_name().unwrap());
            match shared.contains(&path) {
                true => fs::hard_link(&path, to).unwrap(),
                false => drop(fs::copy(&path, to).unwrap()),
            }
        }
        log.close().unwrap();
        for round in 0..2 {
            let log = options(mode).open(&killed).unwrap();
            assert!(!log.recovery().clean || round > 0);
            log.append("after the recovery").unwrap();
            log.flush().unwrap();
        }
        assert!(contents(&copy) == before);

        let before = contents(&dir);
        for _ in 0..3 {
            let opened = options(mode).open(&copy).unwrap();
            assert!(read_all(&opened)[..end] == records[..end]);
            for n in 0..60 {
                opened.append(format!("{n} {}", "x".repeat(300))).unwrap();
            }
            opened.flush().unwrap();
            opened.append("not flushed").unwrap();
        }
        fs::remove_file(copy.join("checkpoint")).unwrap();
        let opened = options(mode).open(&copy).unwrap();
        opened.append("after a full scan").unwrap();
        opened.close().unwrap();
        assert!(contents(&dir) == before);
        let log = options(mode).open(&dir).unwrap();
        assert!(read_all(&log) == records);
    }
}

/// The second of the two is on another filesystem where there is one.
#[test]
fn sealed_segments_are_linked_and_elsewhere_copied() {
    let tmp = scratch();
    let elsewhere = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (dir, copy) = (tmp.path().join("log"), tmp.path().join("copy"));
    let log = options(IoMode::Mapped).open(&dir).unwrap();
    let mut records = Vec::new();
    fill(&log, &mut records, 45);
    log.flush().unwrap();
    let report = log.snapshot(&copy).unwrap();
    let names = segments(&copy);
    assert!(names.len() >= 3);
    assert_eq!(report.segments_linked, names.len() as u64 - 1);
    assert_eq!((report.segments_copied, &report.not_linked_because), (1, &None));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["segments_copied"], 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let inode = |path: &Path| fs::metadata(path).unwrap().ino();
        for (n, path) in names.iter().enumerate() {
            let shared = inode(path) == inode(&dir.join(path.file_name().unwrap()));
            assert_eq!(shared, n + 1 < names.len(), "{path:?}: the last one is a copy");
        }
        let target = elsewhere.path().join("copy");
        let report = log.snapshot(&target).unwrap();
        let device = |path: &Path| fs::metadata(path).unwrap().dev();
        if device(&target) != device(&dir) {
            assert_eq!((report.segments_linked, report.bytes_linked), (0, 0));
            let why = report.not_linked_because.unwrap();
            assert!(why.contains("cannot link"), "{why}");
        }
        assert!(read_all(&open_clean(IoMode::Positioned, &target)) == records);
    }
}

#[test]
fn consumers_keep_their_progress_but_not_beyond_the_end() {
    for mode in MODES {
        let tmp = scratch();
        let log = options(mode).open(tmp.path().join("log")).unwrap();
        fill(&log, &mut Vec::new(), 20);
        let mut behind = log.consumer("behind").unwrap();
        behind.commit_offset(Offset::new(7)).unwrap();
        let end = log.flush().unwrap();
        let mut safe = log.consumer_with("safe", durable()).unwrap();
        safe.commit_offset(end).unwrap();
        fill(&log, &mut Vec::new(), 5);
        let mut ahead = log.consumer("ahead").unwrap();
        ahead.commit_offset(end + 3).unwrap();
        let report = log.snapshot(tmp.path().join("copy")).unwrap();
        assert_eq!(report.consumers_moved_back, 1);
        let copy = open_clean(mode, &tmp.path().join("copy"));
        assert_eq!(copy.consumer("behind").unwrap().committed(), Offset::new(7));
        assert_eq!(copy.consumer("ahead").unwrap().committed(), end);
        assert_eq!(copy.consumer_with("safe", durable()).unwrap().committed(), end);
        assert_eq!(ahead.committed(), end + 3);
    }
}

#[test]
fn a_snapshot_of_a_snapshot_is_the_same_log_again() {
    for mode in MODES {
        let tmp = scratch();
        let path = |n: usize| tmp.path().join(n.to_string());
        let mut records = Vec::new();
        for n in 0..5 {
            let log = options(mode).open(path(n)).unwrap();
            assert!(read_all(&log) == records);
            fill(&log, &mut records, 12);
            log.flush().unwrap();
            log.snapshot(path(n + 1)).unwrap();
            // And one that is itself appended to, so that the chain is one of different logs.
            log.append("not in any copy").unwrap();
        }
        assert!(read_all(&open_clean(mode, &path(5))) == records);
        // A copy of a copy that nothing was appended to.
        let copy = open_clean(mode, &path(5));
        copy.snapshot(path(6)).unwrap();
        assert!(read_all(&open_clean(mode, &path(6))) == records);
    }
}

/// A mirror stays the mirror of its source, and its gaps are kept.
#[test]
fn a_mirror_is_copied_as_one() {
    for mode in MODES {
        let tmp = scratch();
        let source = options(mode).open(tmp.path().join("source")).unwrap();
        fill(&source, &mut Vec::new(), 40);
        let as_mirror = options(mode).mirror_of(source.id());
        let mirror = as_mirror.clone().open(tmp.path().join("mirror")).unwrap();
        for batch in source.reader(OffsetSpec::Earliest).unwrap().step_by(3) {
            mirror.append_mirrored(&batch.unwrap()).unwrap();
        }
        mirror.flush().unwrap();
        mirror.snapshot(tmp.path().join("copy")).unwrap();
        let copy = as_mirror.open(tmp.path().join("copy")).unwrap();
        assert!(copy.recovery().clean);
        assert_eq!(read_all(&copy), read_all(&mirror));
        kind(copy.append("a mirror takes none"));
    }
}

/// I19: whatever stands there, the error says so, nothing of it is touched, and the log goes on.
#[test]
fn a_target_that_will_not_do_is_refused_and_left_alone() {
    let tmp = scratch();
    let path = |name: &str| tmp.path().join(name);
    let log = options(IoMode::Mapped).open(path("log")).unwrap();
    let mut records = Vec::new();
    fill(&log, &mut records, 30);
    log.flush().unwrap();
    fs::write(path("file"), "x").unwrap();
    for (dir, file) in [("full", "x"), ("other", "00000000000000000000.log"), ("meta", "log.meta")]
    {
        fs::create_dir(path(dir)).unwrap();
        fs::write(path(dir).join(file), "precious").unwrap();
    }
    fs::create_dir_all(path("nested/dir")).unwrap();
    options(IoMode::Mapped).open(path("a log")).unwrap().append("x").unwrap();
    let before = contents(&path("log"));
    let mut refused = vec![
        path("log"),
        path("log/inside"),
        path("log/inside/deep"),
        path("nested/../log/inside"),
        path("missing/../log/inside"),
        path("file"),
        path("full"),
        path("other"),
        path("meta"),
        path("nested"),
        path("a log"),
    ];
    #[cfg(unix)]
    {
        for (link, to) in [("to log", "log"), ("to file", "file"), ("to nothing", "gone")] {
            std::os::unix::fs::symlink(path(to), path(link)).unwrap();
        }
        std::os::unix::fs::symlink(path("loop"), path("loop")).unwrap();
        refused.extend(["to log", "to log/inside", "to file", "to nothing", "loop"].map(path));
    }
    for target in refused {
        for error in [log.snapshot(&target).unwrap_err(), log.export(&target).unwrap_err()] {
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{target:?}: {error}");
            assert!(error.path().is_some(), "{error}");
        }
    }
    assert!(contents(&path("log")) == before);
    assert_eq!(fs::read(path("other").join("00000000000000000000.log")).unwrap(), b"precious");
    assert!(!path("missing").exists() && !path("gone").exists() && !path("log/inside").exists());
    for below_a_file in [path("file/copy"), path("file/a/b")] {
        kind(log.snapshot(&below_a_file));
    }
    kind(log.snapshot(Path::new("")));
    fill(&log, &mut records, 3);
    assert!(read_all(&log) == records);
}

#[test]
fn a_directory_in_use_is_locked() {
    let tmp = scratch();
    let log = options(IoMode::Mapped).open(tmp.path().join("log")).unwrap();
    let target = tmp.path().join("copy");
    let other = options(IoMode::Mapped).open(&target).unwrap();
    assert_eq!(kind(log.snapshot(&target)), ErrorKind::Locked);
    drop(other);
    assert_eq!(kind(log.snapshot(&target)), ErrorKind::InvalidArgument, "it holds a log");
    log.clone().close().unwrap();
    assert_eq!(kind(log.snapshot(tmp.path().join("new"))), ErrorKind::Closed);
    assert!(!tmp.path().join("new").exists());
}

/// An empty directory, one below missing ones, a relative one, and one reached by a link.
#[test]
fn empty_new_nested_and_linked_targets_do() {
    let tmp = scratch();
    let path = |name: &str| tmp.path().join(name);
    let log = options(IoMode::Mapped).open(path("log")).unwrap();
    let mut records = Vec::new();
    fill(&log, &mut records, 20);
    log.flush().unwrap();
    fs::create_dir(path("empty")).unwrap();
    let mut targets = vec![path("empty"), path("a/b/c"), path("a/b/../d")];
    #[cfg(unix)]
    {
        fs::create_dir(path("linked")).unwrap();
        std::os::unix::fs::symlink(path("linked"), path("link")).unwrap();
        targets.push(path("link"));
    }
    for target in targets {
        log.snapshot(&target).unwrap();
        assert!(read_all(&open_clean(IoMode::Mapped, &target)) == records, "{target:?}");
    }
}

/// What an interrupted copy leaves is refused by open, and replaced by the next copy.
#[test]
fn an_unfinished_copy_is_no_log_until_it_is_made_anew() {
    for mode in MODES {
        let tmp = scratch();
        let (dir, copy) = (tmp.path().join("log"), tmp.path().join("copy"));
        let log = options(mode).open(&dir).unwrap();
        let mut records = Vec::new();
        fill(&log, &mut records, 45);
        log.flush().unwrap();
        let whole = tmp.path().join("whole");
        log.snapshot(&whole).unwrap();
        let all = util::files(&whole);
        for kept in 0..=all.len() {
            fs::create_dir(&copy).unwrap();
            fs::write(copy.join("unfinished-copy"), "").unwrap();
            for path in &all[..kept] {
                fs::copy(path, copy.join(path.file_name().unwrap())).unwrap();
            }
            let before = contents(&copy);
            assert_eq!(kind(options(mode).open(&copy)), ErrorKind::InvalidArgument);
            assert!(contents(&copy) == before);
            log.snapshot(&copy).unwrap();
            assert!(read_all(&open_clean(mode, &copy)) == records);
            fs::remove_dir_all(&copy).unwrap();
        }
        // With anything else in it, it is not ours to clear.
        fs::create_dir(&copy).unwrap();
        fs::write(copy.join("unfinished-copy"), "").unwrap();
        fs::write(copy.join("photo.jpg"), "precious").unwrap();
        assert_eq!(kind(log.snapshot(&copy)), ErrorKind::InvalidArgument);
        assert_eq!(fs::read(copy.join("photo.jpg")).unwrap(), b"precious");
    }
}

/// Damage inside a file is copied with it; a file that is gone is gone in the copy; both stay
/// isolated.
#[test]
fn a_damaged_log_is_copied_with_its_damage() {
    for mode in MODES {
        let whole = Fixture::closed(mode, Ground::System);
        for (offsets, name, places) in &whole.batches {
            let mut damaged = whole.clone();
            damaged.bytes_mut(name)[places.start + 70] ^= 1;
            check_damaged(&damaged, offsets, None);
        }
        let logs = whole.names(".log");
        for name in &logs[..logs.len() - 1] {
            let gone: Vec<_> = whole.batches.iter().filter(|(_, file, _)| file == name).collect();
            let lost = gone[0].0.start..gone[gone.len() - 1].0.end;
            let mut damaged = whole.clone();
            damaged.files.retain(|(have, _)| have != name);
            check_damaged(&damaged, &lost, None);
            check_damaged(&whole, &lost, Some(name));
        }
    }
}

/// Opens what is damaged, or has a file removed then, and compares what can be read of it and of
/// its copy.
fn check_damaged(damaged: &Fixture, lost: &std::ops::Range<i64>, removed: Option<&str>) {
    let tmp = scratch();
    let (dir, copy) = (tmp.path().join("log"), tmp.path().join("copy"));
    damaged.put(&Place::at(&dir));
    let log = options(damaged.mode).open(&dir).unwrap();
    if let Some(name) = removed {
        fs::remove_file(dir.join(name)).unwrap();
    }
    let report = log.snapshot(&copy).unwrap();
    assert_eq!(report.missing_ranges, u64::from(removed.is_some()), "{lost:?}");
    assert_eq!(report.missing.first().map(|range| range.start.get()), removed.map(|_| lost.start));
    let exported = log.export(tmp.path().join("export")).unwrap();
    let told: Vec<_> = exported.damaged.iter().map(|r| r.start.get()..r.end.get()).collect();
    assert_eq!((exported.damaged_ranges, told), (1, vec![lost.clone()]));
    let of_log = read_through(&log, OffsetSpec::Earliest);
    let opened = options(damaged.mode).open(&copy).unwrap();
    let of_copy = read_through(&opened, OffsetSpec::Earliest);
    assert!(of_copy.records == of_log.records, "{lost:?}");
    assert_eq!(of_copy.lost, of_log.lost);
    let total: i64 = of_copy.lost.iter().map(|range| range.end - range.start).sum();
    assert_eq!(total, lost.end - lost.start, "{:?}", of_copy.lost);
    let end = log.log_end_offset();
    assert_eq!((opened.log_end_offset(), exported.log_end_offset), (end, end));
    assert_eq!(opened.append("alive").unwrap(), end);
    let last = opened.reader(OffsetSpec::At(end)).unwrap().next().unwrap();
    assert_eq!(util::texts(&last.unwrap()), ["alive"]);
}

/// Twenty snapshots while four threads append and flush, and the segments are rolled under them.
#[test]
fn snapshots_under_load_are_prefixes_of_the_log() {
    const COPIES: usize = 20;
    for mode in MODES {
        let tmp = scratch();
        let log = options(mode).open(tmp.path().join("log")).unwrap();
        // How many records each thread may append: so many more with each snapshot.
        let allowed = AtomicUsize::new(0);
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (log, allowed) = (&log, &allowed);
                scope.spawn(move || {
                    for n in 0..30 * COPIES {
                        while n >= allowed.load(Ordering::Relaxed) {
                            std::thread::yield_now();
                        }
                        let length = (n * 37) % 300;
                        log.append(format!("{thread} {n} {}", "x".repeat(length))).unwrap();
                        if n % 10 == thread {
                            log.flush().unwrap();
                        }
                    }
                });
            }
            for n in 0..COPIES {
                let before = allowed.fetch_add(30, Ordering::Relaxed);
                while log.log_end_offset() < Offset::new(i64::try_from(4 * before).unwrap()) {
                    std::thread::yield_now();
                }
                let least = log.durable_offset();
                let copy = tmp.path().join(format!("copy {n}"));
                let report = log.snapshot(&copy).unwrap();
                assert!(report.log_end_offset >= least);
                assert!(report.log_end_offset <= log.durable_offset());
                taken.push((copy, report));
            }
        });
        let all = read_all(&log);
        assert!(taken.last().unwrap().1.segments_linked > 2, "{:?}", taken.last());
        for (copy, report) in taken {
            let opened = open_clean(mode, &copy);
            let end = usize::try_from(report.log_end_offset.get()).unwrap();
            let found: Vec<Owned> = read_all(&opened);
            assert!(found == all[..end], "{copy:?}: {} of {end}", found.len());
        }
    }
}

/// The log is closed while it is copied: the copy is whole or is none.
#[test]
fn a_close_during_a_snapshot_leaves_a_whole_copy_or_none() {
    let tmp = scratch();
    let dir = tmp.path().join("log");
    let mut records = Vec::new();
    for round in 0..40_u32 {
        let log = options(IoMode::Mapped).open(&dir).unwrap();
        fill(&log, &mut records, 9);
        log.flush().unwrap();
        let copy = tmp.path().join(format!("copy {round}"));
        let made = std::thread::scope(|scope| {
            let made = scope.spawn(|| log.snapshot(&copy));
            std::thread::sleep(Duration::from_micros(u64::from(round) * 100));
            log.clone().close().unwrap();
            made.join().unwrap()
        });
        match made {
            Ok(_) => assert!(read_all(&open_clean(IoMode::Mapped, &copy)) == records),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                assert!(!copy.exists() || util::files(&copy).is_empty(), "{copy:?}");
            }
        }
    }
}

/// A copied directory is a snapshot of a log that nobody has open: both open the same.
#[test]
fn a_snapshot_equals_a_cold_copy() {
    for mode in MODES {
        let tmp = scratch();
        let (dir, cold, hot) =
            (tmp.path().join("log"), tmp.path().join("cold"), tmp.path().join("hot"));
        let log = options(mode).open(&dir).unwrap();
        fill(&log, &mut Vec::new(), 33);
        log.close().unwrap();
        copy_dir(&dir, &cold);
        let log = options(mode).open(&dir).unwrap();
        log.snapshot(&hot).unwrap();
        let (cold, hot) = (open_clean(mode, &cold), open_clean(mode, &hot));
        assert!(read_all(&cold) == read_all(&hot));
        for n in 0..20 {
            let record = Owned { timestamp: n, ..Owned::value(vec![b'x'; 500]) };
            assert_eq!(cold.append(record.to_new()).unwrap(), hot.append(record.to_new()).unwrap());
        }
        let dirs = [cold.dir().to_owned(), hot.dir().to_owned()];
        cold.close().unwrap();
        hot.close().unwrap();
        for (cold, hot) in util::files(&dirs[0]).iter().zip(util::files(&dirs[1])) {
            assert_eq!(cold.file_name(), hot.file_name());
            let same = fs::read(cold).unwrap() == fs::read(&hot).unwrap();
            assert!(same || hot.ends_with("checkpoint"), "{hot:?}");
        }
    }
}
