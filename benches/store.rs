//! A store of ten thousand logs with a hundred segments each: how long it takes to open, what it
//! takes of memory, and what appending to all logs in turn costs beside appending to one.
//!
//! `cargo bench --bench store [-- open|mapped|positioned]`. The store that is opened is made once,
//! of one log whose segments the others share by hard links, and kept for later runs below the
//! target directory: 3 million names take a minute. Every row is a process of its own.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use forebay::{FlushPolicy, IoMode, Log, LogOptions, Store, StoreOptions};
use support::table::{filter, fresh_dir, median, pairs};

const LOGS: usize = 10_000;
const SEGMENTS: usize = 100;
const ROUNDS: usize = 5;
const ROLE: &str = "FOREBAY_BENCH_STORE";
/// Kept for what is no log's.
const DESCRIPTORS_BESIDE: usize = 100;

fn name(log: usize) -> String {
    format!("log-{log:05}")
}

/// The directory of the store, made if need be.
fn made() -> PathBuf {
    let root = std::env::var_os("BENCH_DIR").unwrap_or(env!("CARGO_TARGET_TMPDIR").into());
    let dir = PathBuf::from(root).join(format!("store-{LOGS}x{SEGMENTS}"));
    let whole = dir.with_extension("whole");
    if !whole.exists() {
        let start = Instant::now();
        let _ = fs::remove_dir_all(&dir);
        make(&dir);
        fs::write(&whole, b"").unwrap();
        eprintln!("made {} in {:.0} s", dir.display(), start.elapsed().as_secs_f64());
    }
    dir
}

fn make(dir: &Path) {
    let store = Store::options().logs(Log::options().segment_bytes(4096)).open(dir).unwrap();
    let log = store.log(&name(0)).unwrap();
    while log.stats().segments < SEGMENTS as u64 {
        log.append(vec![b'x'; 3900]).unwrap();
    }
    drop(log);
    store.close().unwrap();
    let first = dir.join(format!("{}-0", name(0)));
    let files: Vec<_> = fs::read_dir(&first).unwrap().map(|file| file.unwrap().path()).collect();
    for log in 1..LOGS {
        let other = dir.join(format!("{}-0", name(log)));
        fs::create_dir(&other).unwrap();
        for file in &files {
            let target = other.join(file.file_name().unwrap());
            // What is written to is its own: `log.meta` and `checkpoint` have no number.
            match file.extension().is_some_and(|part| part != "meta") {
                true => fs::hard_link(file, target).unwrap(),
                false => drop(fs::copy(file, target).unwrap()),
            }
        }
    }
}

/// KiB of anonymous memory of this process.
fn anonymous() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn ms(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// In a process of its own: the directory's names read bare, the store opened, one log of it.
fn open(dir: &Path) {
    let start = Instant::now();
    let names = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.filter(|name| name.to_str().unwrap().starts_with("log-")).count() >= LOGS);
    let bare = ms(start);
    let before = anonymous();
    let start = Instant::now();
    let store = Store::open(dir).unwrap();
    let opened = ms(start);
    let memory = anonymous().saturating_sub(before);
    assert_eq!(store.logs().len(), LOGS);
    let start = Instant::now();
    let log = store.log(&name(LOGS / 2)).unwrap();
    let one = ms(start);
    assert!(log.stats().segments >= SEGMENTS as u64);
    drop(log);
    let start = Instant::now();
    store.close().unwrap();
    println!("{bare} {opened} {memory} {one} {}", ms(start));
}

fn options(mode: IoMode, logs: usize) -> StoreOptions {
    let each: LogOptions =
        Log::options().io_mode(mode).flush(FlushPolicy::Manual).segment_bytes(1 << 20);
    Store::options()
        .logs(each)
        .max_open_logs(logs + 1)
        .max_open_files(8 * logs)
        .max_mapped_bytes(u64::MAX)
}

/// What a bare `pwrite` costs as often to as many files in turn, and to one: the files exist and
/// have their blocks, as segments do.
fn bare_turns(dir: &Path, count: usize) {
    use std::os::unix::fs::FileExt;
    let (room, bytes) = (8192, [b'x'; 170]);
    fs::create_dir_all(dir).unwrap();
    let files: Vec<_> = (0..count)
        .map(|n| {
            let file = fs::File::create(dir.join(format!("bare-{n}"))).unwrap();
            file.write_all_at(&vec![0; room], 0).unwrap();
            file
        })
        .collect();
    let appends = 40 * count;
    let write = |n: usize, file: &fs::File| {
        let position = n * bytes.len() % (room - bytes.len());
        file.write_all_at(&bytes, position as u64).unwrap();
    };
    let per_append = |start: Instant| start.elapsed().as_nanos() as f64 / appends as f64;
    let in_turn = || {
        let start = Instant::now();
        (0..appends).for_each(|n| write(n / count, &files[n % count]));
        per_append(start)
    };
    let to_one = || {
        let start = Instant::now();
        (0..appends).for_each(|n| write(n, &files[0]));
        per_append(start)
    };
    let pair = pairs(2, in_turn, to_one);
    println!(
        "| 170 B, bare pwrite, {count} files in turn | {:.0} | {:.0} | {:.2} | |",
        pair.log, pair.limit, pair.ratio
    );
    (0..count).for_each(|n| fs::remove_file(dir.join(format!("bare-{n}"))).unwrap());
}

/// In a process of its own: appends to all logs of a new store in turn, and to one.
fn turns(dir: &Path, mode: IoMode) {
    let limit = Command::new("sh").args(["-c", "ulimit -n"]).output().unwrap().stdout;
    let limit = String::from_utf8(limit).unwrap().trim().parse().unwrap_or(usize::MAX);
    // By position the checkpoint has a descriptor too.
    let each = if mode == IoMode::Mapped { 1 } else { 2 };
    let count = LOGS.min((limit - DESCRIPTORS_BESIDE) / each);
    if mode == IoMode::Positioned {
        bare_turns(&dir.join("bare"), count);
        fs::remove_dir(dir.join("bare")).unwrap();
    }
    let store = options(mode, count).open(dir).unwrap();
    let start = Instant::now();
    let logs: Vec<_> = (0..count).map(|log| store.log(&name(log)).unwrap()).collect();
    eprintln!("{mode:?}: {count} logs made in {:.1} s", start.elapsed().as_secs_f64());
    for (size, appends) in [(100, 60 * count), (1024, 10 * count)] {
        let value = vec![b'x'; size];
        // The first append of each withdraws its clean mark.
        logs.iter().for_each(|log| assert!(log.append(&value).is_ok()));
        store.flush().unwrap();
        let per_append = |start: Instant| start.elapsed().as_nanos() as f64 / appends as f64;
        let in_turn = || {
            let start = Instant::now();
            (0..appends).for_each(|n| assert!(logs[n % count].append(&value).is_ok()));
            per_append(start)
        };
        let to_one = || {
            let start = Instant::now();
            (0..appends).for_each(|_| assert!(logs[0].append(&value).is_ok()));
            per_append(start)
        };
        let pair = pairs(2, in_turn, to_one);
        println!(
            "| {size} B, {count} logs in turn/{mode:?} | {:.0} | {:.0} | {:.2} | {:.1} |",
            pair.log,
            pair.limit,
            pair.ratio,
            anonymous() as f64 / count as f64
        );
    }
    // The directory goes, so nothing of it has to be closed.
    std::process::exit(0);
}

fn child(role: &str, dir: &Path) -> String {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.env(ROLE, format!("{role} {}", dir.display())).stderr(std::process::Stdio::inherit());
    let done = command.output().unwrap();
    assert!(done.status.success(), "{role}: {}", done.status);
    String::from_utf8(done.stdout).unwrap()
}

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        let (role, dir) = role.split_once(' ').unwrap();
        return match role {
            "open" => open(Path::new(dir)),
            "mapped" => turns(Path::new(dir), IoMode::Mapped),
            _ => turns(Path::new(dir), IoMode::Positioned),
        };
    }
    let wanted = filter();
    if wanted("open") {
        let dir = made();
        let runs: Vec<Vec<f64>> = (0..ROUNDS)
            .map(|_| child("open", &dir).split_whitespace().map(|n| n.parse().unwrap()).collect())
            .collect();
        let [bare, opened, memory, one, closed] =
            [0, 1, 2, 3, 4].map(|column| median(runs.iter().map(|run| run[column]).collect()));
        println!("| store of {LOGS} x {SEGMENTS} segments | ms | its names read bare, ms | KiB |");
        println!("|---|--:|--:|--:|");
        println!("| open | {opened:.1} | {bare:.1} | {memory:.0} |");
        println!("| one log of it | {one:.2} | | |\n| close | {closed:.2} | | |\n");
    }
    println!("| appends, ns | in turn | to one log | ratio | KiB of memory a log |");
    println!("|---|--:|--:|--:|--:|");
    for mode in ["mapped", "positioned"] {
        if wanted(mode) {
            print!("{}", child(mode, fresh_dir().path()));
        }
    }
}
