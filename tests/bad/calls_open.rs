//! Options and paths of every odd kind: a typed refusal that makes nothing, or a log that works.
//! F22, F27, F28; V13, V16, V17; I19.

use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use forebay::{ErrorKind, FlushPolicy, IoMode, Log, LogOptions, OffsetSpec, SegmentFile};

use crate::support::image::Seen;
use crate::util::{self, MODES, kind, manual, scratch};

/// Every combination of options at their edges.
fn combinations() -> Vec<LogOptions> {
    let high = usize::MAX / 2 + 1;
    let segments = [0, 1, 4095, 4096, 4097, 70_001, 16 << 20, (1 << 31) - 1, 1 << 31, high];
    let batches = [0, 1, 70, 71, 4096, 4097, 1 << 20, (1 << 31) - 1, usize::MAX];
    let intervals = [0, 1, 4096, high, usize::MAX];
    let flushes = [
        FlushPolicy::EveryAppend,
        FlushPolicy::EveryBytes(0),
        FlushPolicy::EveryBytes(1),
        FlushPolicy::EveryBytes(u64::MAX),
        FlushPolicy::Interval(Duration::ZERO),
        FlushPolicy::Interval(Duration::from_nanos(999_999)),
        FlushPolicy::Interval(Duration::MAX),
    ];
    let mut all = Vec::new();
    for segment in segments {
        for batch in batches {
            for interval in intervals {
                let flush = flushes[all.len() % flushes.len()];
                let mode = MODES[all.len() % 2];
                let options = Log::options().segment_bytes(segment).max_batch_bytes(batch);
                all.push(options.index_interval_bytes(interval).flush(flush).io_mode(mode));
            }
        }
    }
    all
}

/// Opens, appends, closes and opens again, or is refused by name with nothing made.
#[test]
fn every_combination_of_options_works_or_is_refused() {
    let home = scratch();
    let (mut worked, mut refused) = (0, 0);
    for (n, options) in combinations().into_iter().enumerate() {
        let dir = home.path().join(format!("{n}"));
        let log = match options.clone().open(&dir) {
            Ok(log) => log,
            Err(error) => {
                refused += 1;
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{options:?}: {error}");
                let names = ["segment_bytes", "max_batch_bytes", "index_interval_bytes", "flush"];
                let text = error.to_string();
                assert!(names.iter().any(|name| text.contains(name)), "{options:?}: {error}");
                assert!(!dir.exists(), "{options:?} made something");
                continue;
            }
        };
        worked += 1;
        log.append("a").unwrap_or_else(|error| panic!("{options:?}: {error}"));
        log.append_batch([""; 0]).unwrap();
        assert_eq!(log.flush().unwrap(), log.log_end_offset());
        log.close().unwrap();
        let log = options.clone().open(&dir).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(util::all_texts(&log), ["a"], "{options:?}");
        drop(log);
        fs::remove_dir_all(&dir).unwrap();
    }
    assert!(worked > 40 && refused > 200, "{worked} worked, {refused} were refused");
}

/// A log lives through any order of options: what was stored under others stays readable, and what
/// is appended keeps to the new ones.
#[test]
fn a_log_is_opened_with_other_options_every_time() {
    let dir = scratch();
    let mut expected = 0;
    for round in 0..40_usize {
        let segment = [4096, 1 << 20, 8192, 70_001, 5000][round % 5];
        let batch = [4096, 300, 2000, 71][round % 4].min(segment);
        let options = manual(MODES[round % 2]).segment_bytes(segment).max_batch_bytes(batch);
        let options = options.index_interval_bytes([1, 400, usize::MAX][round % 3]);
        let log = options.open(dir.path()).unwrap();
        assert!(log.recovery().clean || round == 0);
        assert_eq!(log.log_end_offset().get(), expected);
        for bytes in [0, 50, 200, 1900, 3900] {
            match log.append(vec![1; bytes]) {
                Ok(_) => expected += 1,
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::RecordTooLarge, "{error}");
                    assert!(bytes + 80 > batch, "{bytes} of {batch}");
                }
            }
        }
        assert_eq!(i64::try_from(util::read_all(&log).len()).unwrap(), expected);
        for from in (0..expected).step_by(11) {
            let batch = log.reader(util::at(from)).unwrap().next().unwrap().unwrap();
            assert_eq!(batch.base_offset().get(), from);
        }
        log.close().unwrap();
    }
    assert!(expected > 60);
}

/// V16: whatever the spelling, the same directory is the same log.
#[test]
fn every_spelling_of_a_path_meets_the_same_lock() {
    let home = scratch();
    let dir = home.path().join("log");
    let log = Log::open(&dir).unwrap();
    symlink(&dir, home.path().join("link")).unwrap();
    symlink("log", home.path().join("short")).unwrap();
    symlink(home.path(), home.path().join("up")).unwrap();
    fs::create_dir(home.path().join("sub")).unwrap();
    let spellings = ["log/", "log/.", "log//", "./log", "sub/../log", "link", "short", "up/log"];
    for spelling in spellings.into_iter().chain(["up/up/up/short/", "link/."]) {
        let path = home.path().join(spelling);
        assert_eq!(kind(Log::open(&path)), ErrorKind::Locked, "{spelling}");
    }
    log.append("still").unwrap();
    log.close().unwrap();
    for spelling in spellings {
        let log = Log::open(home.path().join(spelling)).unwrap();
        assert!(log.recovery().clean && log.dir() == dir, "{spelling}: {}", log.dir().display());
    }
}

/// F27: what cannot hold a log is refused at once, by its path, in one line, and left as it was.
#[test]
fn every_path_that_is_no_directory_is_refused_and_left() {
    let home = scratch();
    let at = |name: &str| home.path().join(name);
    fs::write(at("file"), "x").unwrap();
    fs::write(at("two\nlines"), "x").unwrap();
    assert!(Command::new("mkfifo").arg(at("fifo")).status().unwrap().success());
    drop(UnixListener::bind(at("socket")).unwrap());
    symlink("nowhere", at("dangling")).unwrap();
    symlink("file", at("to file")).unwrap();
    symlink("a", at("b")).unwrap();
    symlink("b", at("a")).unwrap();
    let before = Seen::of(home.path());
    let mut paths: Vec<PathBuf> = ["file", "two\nlines", "fifo", "socket", "to file", "a"]
        .into_iter()
        .chain(["file/below", "fifo/below", "a/below", "file/.", "to file/below"])
        .map(at)
        .collect();
    paths.extend(["/dev/null", "/dev/zero", "/dev/null/x", "/proc/version"].map(PathBuf::from));
    paths.extend(["/proc/forebay", "/sys/forebay", "/proc/self/fd/x"].map(PathBuf::from));
    paths.push(at(&"x".repeat(256)));
    paths.push(at(&"x/".repeat(2100)));
    paths.push(at("nul\0nul"));
    paths.push(PathBuf::new());
    for path in paths {
        for mode in MODES {
            for call in 0..2 {
                let refused = match call {
                    0 => manual(mode).open(&path).map(drop),
                    _ => SegmentFile::open(&path).map(drop),
                };
                let Err(error) = refused else {
                    // Any file can be looked into; it need not hold a batch.
                    assert!(call == 1 && fs::metadata(&path).unwrap().is_file(), "{path:?}");
                    continue;
                };
                let text = error.to_string();
                assert!(!text.contains(['\n', '\0']), "one line: {text:?}");
                assert!(error.path().is_some(), "{text}");
                let closed = [ErrorKind::Closed, ErrorKind::Poisoned, ErrorKind::Corrupt];
                assert!(!closed.contains(&error.kind()), "{text}");
            }
        }
    }
    assert_eq!(before.difference(&Seen::of(home.path())), None);
}

/// A link that leads nowhere is not followed to make a directory somewhere else.
#[test]
fn a_dangling_link_makes_nothing() {
    let home = scratch();
    let target = home.path().join("elsewhere");
    symlink(&target, home.path().join("link")).unwrap();
    kind(Log::open(home.path().join("link")));
    assert!(!target.exists());
    kind(Log::open(home.path().join("link/below")));
    assert!(!target.exists());
}

/// Names that are valid, however odd, work.
#[test]
fn every_odd_but_valid_name_works() {
    use std::os::unix::ffi::OsStrExt;
    let home = scratch();
    let names: [&[u8]; 12] = [
        b" ",
        b"-rf",
        b"*",
        b"a b\tc\nd",
        b"\xff\xfe",
        b"\xc3\x28",
        "\u{1f4a7}\u{202e}".as_bytes(),
        b"00000000000000000000.log",
        b"checkpoint",
        b"log.meta",
        b"...",
        &[b'n'; 255],
    ];
    for name in names {
        for mode in MODES {
            let dir = home.path().join(std::ffi::OsStr::from_bytes(name));
            let log = manual(mode).open(&dir).unwrap();
            log.append("a").unwrap();
            let error = log.consumer("/").unwrap_err();
            assert!(!error.to_string().contains('\n'), "{error}");
            let error = log.reader(util::at(1000)).unwrap_err();
            assert!(!error.to_string().contains('\n'), "one line: {error:?}");
            log.close().unwrap();
        }
    }
    // A log whose directory lies in another log's is foreign to that one, and no more.
    let outer = home.path().join("outer");
    Log::open(&outer).unwrap().append("a").unwrap();
    let inner = Log::open(outer.join("inner")).unwrap();
    inner.append("b").unwrap();
    let log = Log::open(&outer).unwrap();
    assert_eq!(log.recovery().foreign_files, ["inner"]);
    assert_eq!(util::all_texts(&log), ["a"]);
    assert_eq!(util::all_texts(&inner), ["b"]);
}

fn fill(log: &Log, records: usize) -> Result<usize, forebay::Error> {
    (0..records).try_fold(0, |done, n| log.append(format!("{n:0900}")).map(|_| done + 1))
}

/// F28, I19: the directory is moved away under an open log: what needs a name is refused by kind;
/// when it is back, the log goes on.
#[test]
fn a_directory_moved_away_and_back_costs_no_record() {
    for mode in MODES {
        let home = scratch();
        let (dir, away) = (home.path().join("log"), home.path().join("away"));
        let log = manual(mode).segment_bytes(4096).open(&dir).unwrap();
        fill(&log, 10).unwrap();
        fs::rename(&dir, &away).unwrap();
        let before = log.log_end_offset();
        let error = fill(&log, 10).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::NotFound | ErrorKind::Io), "{error}");
        assert!(error.path().is_some_and(|path| path.starts_with(&dir)), "{error}");
        let end = log.log_end_offset();
        assert!(end >= before && end.get() < before.get() + 4);
        assert_eq!(kind(fill(&log, 1)), error.kind());
        assert!(!dir.exists(), "nothing is made in its place");
        fs::rename(&away, &dir).unwrap();
        fill(&log, 10).unwrap();
        assert_eq!(log.log_end_offset(), end + 10);
        log.close().unwrap();
        let log = manual(mode).open(&dir).unwrap();
        assert!(log.recovery().clean, "{:?}", log.recovery());
        assert_eq!(i64::try_from(util::read_all(&log).len()).unwrap(), end.get() + 10);
    }
}

/// F28: files taken from under an open log, one by one and all: calls end, none panics, and what
/// was acknowledged as durable but is gone is told at the next open or by its readers.
#[test]
fn files_removed_under_an_open_log_are_told() {
    for mode in MODES {
        for which in 0..12 {
            let dir = scratch();
            let log = manual(mode).segment_bytes(4096).open(dir.path()).unwrap();
            fill(&log, 10).unwrap();
            log.flush().unwrap();
            let files = util::files(dir.path());
            for (n, path) in files.iter().enumerate() {
                if which == n || which == 11 {
                    fs::remove_file(path).unwrap();
                }
            }
            // Each call may work or be refused; the log it leaves opens.
            let _ = fill(&log, 10);
            let _ = log.flush();
            let _ = log.consumer("c").and_then(|mut consumer| consumer.commit());
            let _ = log.reader(OffsetSpec::Earliest).unwrap().take(100).count();
            let _ = log.delete_records(log.log_start_offset() + 3);
            let _ = log.close();
            let log = manual(mode).open(dir.path()).unwrap();
            let found = util::read_through(&log, OffsetSpec::Earliest);
            let start = log.log_start_offset().get();
            let report = log.recovery();
            for n in start..log.log_end_offset().get() {
                let there = found.records.iter().any(|record| record.offset == n);
                let told = report.lost.iter().chain(&report.damaged);
                let told = told.map(|r| r.start.get()..r.end.get()).chain(found.lost.clone());
                let told = { told }.any(|range| range.contains(&n));
                assert!(there || told, "{mode:?}, file {which}: {n} is missing: {report:?}");
            }
            log.append("goes on").unwrap();
        }
    }
}

/// A path that is relative is made absolute once: see also the process that changes its directory.
#[test]
fn the_directory_of_a_log_is_absolute() {
    let home = scratch();
    let log = manual(IoMode::Positioned).open(home.path().join("x/../y/./z")).unwrap();
    assert!(log.dir().is_absolute());
    assert!(!log.dir().components().any(|part| part == std::path::Component::ParentDir));
    assert!(Path::new(log.dir()).ends_with("y/z"), "{}", log.dir().display());
}
