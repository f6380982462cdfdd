//! What stands beside a log and around its copies: files that are none of its own, other machines,
//! a thread of its own, deletions and losses in one of two logs that share files (I3, I9).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use forebay::{IoMode, Log, Offset};

use crate::util::fixture::{fill, options};
use crate::util::{self, MODES, batches_of, copy_dir, read_all, scratch, segments};

fn contents(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    util::files(dir).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

fn names(dir: &Path) -> Vec<String> {
    let names = util::files(dir).into_iter();
    names.map(|path| path.file_name().unwrap().to_str().unwrap().to_owned()).collect()
}

/// Set-aside bytes, a stranger's files, a segment that begins inside its predecessor, files that
/// were being made: none of them is in a copy, and all of them stay where they are.
#[test]
fn only_what_is_the_logs_is_copied() {
    for mode in MODES {
        let tmp = scratch();
        let (first, dir) = (tmp.path().join("first"), tmp.path().join("log"));
        let log = options(mode).open(&first).unwrap();
        let mut records = Vec::new();
        fill(&log, &mut records, 45);
        log.flush().unwrap();
        fill(&log, &mut Vec::new(), 2);
        copy_dir(&first, &dir);
        let last = segments(&dir).pop().unwrap();
        let torn = batches_of(&last).pop().unwrap().1;
        let mut bytes = fs::read(&last).unwrap();
        bytes[torn.start + 70] ^= 1;
        let torn = batches_of(&last).into_iter().nth_back(1).unwrap();
        bytes[torn.1.start + 70] ^= 1;
        fs::write(&last, bytes).unwrap();
        let inside = batches_of(&segments(&dir)[0])[1].0.start;
        let stale = format!("{inside:020}.log");
        fs::copy(&segments(&dir)[0], dir.join(&stale)).unwrap();
        fs::write(dir.join("photo.jpg"), "precious").unwrap();
        fs::write(dir.join("00000000000000009999.index"), "x").unwrap();
        fs::create_dir(dir.join("00000000000000009999.log")).unwrap();
        fs::remove_file(dir.join("checkpoint")).unwrap();

        let log = options(mode).open(&dir).unwrap();
        let report = log.recovery().clone();
        assert!(report.bytes_cut > 0 && report.foreign_files.contains(&stale), "{report:?}");
        assert!(read_all(&log) == records);
        log.flush().unwrap();
        let before = names(&dir);
        assert!(before.iter().any(|name| name.ends_with(".aside")), "{before:?}");
        log.snapshot(tmp.path().join("copy")).unwrap();
        log.export(tmp.path().join("t-0")).unwrap();
        assert_eq!(names(&dir), before);
        assert_eq!(fs::read(dir.join("photo.jpg")).unwrap(), b"precious");
        let bases: Vec<_> = segments(&dir).into_iter().filter(|path| path.is_file()).collect();
        for copy in ["copy", "t-0"] {
            let found = names(&tmp.path().join(copy));
            let logs = found.iter().filter(|name| name.ends_with(".log")).count();
            assert_eq!(logs, bases.len() - 1, "{found:?}");
            for name in &found {
                let small = copy == "copy" && (name == "log.meta" || name == "checkpoint");
                let stem = name.split('.').next().unwrap();
                let ours = !name.starts_with(&stale[..20]) && stem != "00000000000000009999";
                assert!(small || (stem.len() == 20 && ours), "{copy} has {name}");
            }
            let opened = options(mode).open(tmp.path().join(copy)).unwrap();
            assert_eq!(opened.recovery().foreign_files, Vec::<String>::new());
            assert!(read_all(&opened) == records, "{copy}");
        }
    }
}

/// The kernel's and the mount's number stay behind, so that no other machine takes its cache for
/// the one that wrote the log.
#[cfg(target_os = "linux")]
#[test]
fn a_copy_does_not_say_where_it_was_made() {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
    let boot = u128::from_str_radix(&boot.trim().replace('-', ""), 16).unwrap().to_be_bytes();
    let says = |dir: &Path| {
        let bytes = fs::read(dir.join("checkpoint")).unwrap();
        bytes.windows(boot.len()).any(|window| window == boot)
    };
    for mode in MODES {
        let tmp = scratch();
        let (dir, copy) = (tmp.path().join("log"), tmp.path().join("copy"));
        let log = options(mode).open(&dir).unwrap();
        let mut records = Vec::new();
        fill(&log, &mut records, 30);
        log.flush().unwrap();
        let known = says(&dir);
        log.snapshot(&copy).unwrap();
        assert!(!says(&copy));
        // It lives on as any log: a killed process leaves a cache that is known to be kept.
        let opened = options(mode).open(&copy).unwrap();
        fill(&opened, &mut records, 3);
        opened.flush().unwrap();
        fill(&opened, &mut records, 3);
        assert_eq!(says(&copy), known);
        drop(opened);
        assert!(read_all(&options(mode).open(&copy).unwrap()) == records);
    }
}

/// Deleting in one of the two logs is unlinking there, and an index that is made anew is a new
/// file.
#[test]
fn deletions_and_new_indexes_of_one_log_are_not_the_others() {
    for mode in MODES {
        let tmp = scratch();
        let (dir, copy) = (tmp.path().join("log"), tmp.path().join("copy"));
        let log = options(mode).open(&dir).unwrap();
        let mut records = Vec::new();
        fill(&log, &mut records, 60);
        log.flush().unwrap();
        assert!(log.snapshot(&copy).unwrap().segments_linked > 2);
        let kept = contents(&copy);
        for path in util::files(&dir) {
            if path
                .extension()
                .is_some_and(|extension| extension.to_str().unwrap().contains("index"))
            {
                fs::write(path.with_extension("other"), "garbage").unwrap();
                fs::rename(path.with_extension("other"), path).unwrap();
            }
        }
        assert!(read_all(&log) == records);
        log.verify().unwrap();
        for record in records.iter().step_by(10) {
            assert!(log.reader(util::at(record.offset)).unwrap().next().is_some());
        }
        log.delete_records(log.durable_offset()).unwrap();
        log.close().unwrap();
        options(mode).open(&dir).unwrap().append("goes on").unwrap();
        assert!(contents(&copy) == kept, "{mode:?}");
        let opened = options(mode).open(&copy).unwrap();
        assert!(opened.recovery().clean && read_all(&opened) == records);

        // And the other way round.
        let second = tmp.path().join("second");
        opened.snapshot(&second).unwrap();
        let kept = contents(&second);
        opened.delete_records(Offset::new(40)).unwrap();
        drop(opened);
        assert!(contents(&second) == kept);
        assert!(read_all(&options(mode).open(&second).unwrap()) == records);
    }
}

/// The last segments of a log are lost, so that a sealed one is its end again: it is shared with a
/// copy and must not be written to.
#[test]
fn a_log_that_lost_its_end_does_not_write_into_a_copy() {
    for mode in MODES {
        for (lost, checkpoint) in [(1, true), (2, true), (1, false), (2, false)] {
            let tmp = scratch();
            let (dir, copy) = (tmp.path().join("log"), tmp.path().join("copy"));
            let log = options(mode).open(&dir).unwrap();
            let mut records = Vec::new();
            fill(&log, &mut records, 60);
            log.flush().unwrap();
            log.snapshot(&copy).unwrap();
            let kept = contents(&copy);
            log.close().unwrap();
            for path in segments(&dir).iter().rev().take(lost) {
                fs::remove_file(path).unwrap();
            }
            if !checkpoint {
                fs::remove_file(dir.join("checkpoint")).unwrap();
            }
            for _ in 0..2 {
                let log = options(mode).open(&dir).unwrap();
                assert_eq!(log.recovery().lost.is_some(), checkpoint && !log.recovery().clean);
                for _ in 0..3 {
                    log.append("goes on").unwrap();
                }
                log.flush().unwrap();
            }
            assert!(contents(&copy) == kept, "{mode:?}: {lost} lost, checkpoint {checkpoint}");
            let opened = options(mode).open(&copy).unwrap();
            assert!(opened.recovery().clean && opened.verify().unwrap().is_whole());
            assert!(read_all(&opened) == records);
        }
    }
}

/// With a thread that flushes, prepares segments and rolls, while records are appended and deleted.
#[test]
fn copies_of_a_busy_log_are_whole() {
    for mode in MODES {
        let tmp = scratch();
        let busy = options(mode).background(true).flush(forebay::FlushPolicy::EveryBytes(5000));
        let log = busy.open(tmp.path().join("log")).unwrap();
        std::thread::scope(|scope| {
            let writer = log.clone();
            scope.spawn(move || {
                for n in 0..6000_u32 {
                    writer.append(format!("{n} {}", "x".repeat(n as usize * 37 % 300))).unwrap();
                    if n % 100 == 99 {
                        writer.delete_records(Offset::new(i64::from(n) - 80)).unwrap();
                    }
                }
            });
            for n in 0..15 {
                let copy = tmp.path().join(format!("copy {n}"));
                let report = log.snapshot(&copy).unwrap();
                assert_eq!(report.missing_ranges, 0, "{report:?}");
                check_numbered(mode, &copy, report.log_start_offset, report.log_end_offset);
                let export = tmp.path().join(format!("t-{n}"));
                let report = log.export(&export).unwrap();
                assert_eq!(report.damaged_ranges, 0, "{report:?}");
                check_numbered(mode, &export, report.log_start_offset, report.log_end_offset);
            }
        });
    }
}

fn check_numbered(mode: IoMode, dir: &Path, start: Offset, end: Offset) {
    let log: Log = options(mode).open(dir).unwrap();
    assert_eq!((log.log_start_offset(), log.log_end_offset()), (start, end), "{dir:?}");
    let numbers: Vec<i64> = util::all_texts(&log)
        .iter()
        .map(|text| text.split(' ').next().unwrap().parse().unwrap())
        .collect();
    assert_eq!(numbers, (start.get()..end.get()).collect::<Vec<_>>(), "{dir:?}");
}
