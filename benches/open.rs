//! Opening a log: of 5 GB beside one of a single segment, closed or killed; and the scan of what a
//! killed process left, beside a bare walk over the same bytes.
//!
//! `cargo bench --bench open -- --ratios [PART-OF-NAME]`. Needs 5 GB below the target directory, or
//! in `BENCH_DIR`. Kills are real: a child process appends and gets SIGKILL.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]

mod support;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use forebay::{FlushPolicy, IoMode, Log};
use support::bare_read::{BareReader, by_position, segments};
use support::table::{filter, fresh_dir, median, pairs};

const MODES: [(&str, IoMode); 2] = [("mapped", IoMode::Mapped), ("positioned", IoMode::Positioned)];
const BIG_BYTES: u64 = 5_000_000_000;
/// A batch of nearly 1 MiB.
const BIG_RECORD_BYTES: usize = 1_048_000;
const SEGMENT_BYTES: u64 = 16 << 20;
/// What surely fits one segment.
const TAIL_BYTES: u64 = SEGMENT_BYTES / 100 * 99;
const ROLE: &str = "FOREBAY_BENCH_OPEN";

fn open(dir: &Path, mode: IoMode, flush: FlushPolicy) -> Log {
    Log::options().io_mode(mode).flush(flush).open(dir).unwrap()
}

/// Appends records of one size, `batch` at a time, until about `bytes` were written.
fn append(log: &Log, record_bytes: usize, batch: usize, bytes: u64) {
    let value = vec![b'x'; record_bytes];
    let size = (61 + batch * (record_bytes + 9)) as u64;
    for _ in 0..bytes / size {
        log.append_batch(vec![value.as_slice(); batch]).unwrap();
    }
}

/// The child: appends under a policy, says so, and waits to be killed.
fn be_killed(role: &str) {
    let parts: Vec<_> = role.splitn(6, ' ').collect();
    let mode = if parts[0] == "mapped" { IoMode::Mapped } else { IoMode::Positioned };
    let manual = parts[1] == "manual";
    let flush = if manual { FlushPolicy::Manual } else { FlushPolicy::Interval(SECOND) };
    let numbers: Vec<u64> = parts[2..5].iter().map(|part| part.parse().unwrap()).collect();
    let log = open(Path::new(parts[5]), mode, flush);
    append(&log, numbers[0] as usize, numbers[1] as usize, numbers[2]);
    println!("appended");
    std::thread::sleep(Duration::from_secs(600));
}

const SECOND: Duration = Duration::from_secs(1);

fn kill_after(mode: &str, flush: &str, records: (usize, usize), bytes: u64, dir: &Path) {
    let role = format!("{mode} {flush} {} {} {bytes} {}", records.0, records.1, dir.display());
    let program = std::env::current_exe().unwrap();
    let mut child = Command::new(program).env(ROLE, role).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "appended\n");
    child.kill().unwrap();
    child.wait().unwrap();
}

/// Milliseconds of one open.
fn open_time(dir: &Path, mode: IoMode, clean: bool) -> f64 {
    let start = Instant::now();
    let log = open(dir, mode, FlushPolicy::Manual);
    let time = start.elapsed().as_secs_f64() * 1000.0;
    assert_eq!(log.recovery().clean, clean);
    log.close().unwrap();
    time
}

fn big_log(dir: &Path) {
    let log = open(dir, IoMode::Positioned, FlushPolicy::Manual);
    append(&log, BIG_RECORD_BYTES, 1, BIG_BYTES);
    log.close().unwrap();
    println!("5 GB are {} segments; the other log has one.\n", segments(dir).len());
}

/// A log of many segments beside one of a single one.
fn beside_one_segment(wanted: &impl Fn(&str) -> bool) {
    if !MODES
        .iter()
        .any(|(mode, _)| ["clean", "killed"].iter().any(|s| wanted(&format!("{s}/{mode}"))))
    {
        return;
    }
    let (big, small) = (fresh_dir(), fresh_dir());
    let (big, small) = (big.path(), small.path());
    big_log(big);
    let log = open(small, IoMode::Positioned, FlushPolicy::Manual);
    append(&log, 1000, 1, SEGMENT_BYTES / 2);
    log.close().unwrap();
    println!("| open, ms | 5 GB | one segment | ratio |\n|---|--:|--:|--:|");
    for (mode_name, mode) in MODES {
        let name = format!("clean/{mode_name}");
        if wanted(&name) {
            let one = || open_time(small, mode, true);
            let pair = pairs(15, || open_time(big, mode, true), one);
            println!("| {name} | {:.2} | {:.2} | {:.2} |", pair.log, pair.limit, pair.ratio);
        }
        // 40 MB of small records since the open, as fast as they go, flushed every second.
        let name = format!("killed/{mode_name}");
        if wanted(&name) {
            let killed = |dir: &Path| {
                kill_after(mode_name, "interval", (1000, 1), 40_000_000, dir);
                open_time(dir, mode, false)
            };
            let pair = pairs(5, || killed(big), || killed(fresh_dir().path()));
            println!("| {name} | {:.2} | {:.2} | {:.2} |", pair.log, pair.limit, pair.ratio);
        }
    }
}

/// The scan of one full segment that was never flushed, beside a bare walk over its batches: the
/// same header, seal and checksum of each.
fn scan(wanted: &impl Fn(&str) -> bool) {
    println!("\n| a tail of 16 MiB, ms | open | a bare walk | ratio | open, MB/s |");
    println!("|---|--:|--:|--:|--:|");
    for (mode_name, mode) in MODES {
        for (shape, records) in [("1KiB", (1024, 1)), ("100B", (100, 1)), ("100x100B", (100, 100))]
        {
            let name = format!("scan/{shape}/{mode_name}");
            if !wanted(&name) {
                continue;
            }
            let left = fresh_dir();
            kill_after(mode_name, "manual", records, TAIL_BYTES, left.path());
            let id =
                *open(fresh_copy(left.path()).path(), mode, FlushPolicy::Manual).id().as_bytes();
            let mut buffer = vec![0; 1 << 20];
            let (mut taken, mut walks) = (0, 0);
            let pair = pairs(
                11,
                || {
                    let copy = fresh_copy(left.path());
                    open_time(copy.path(), mode, false)
                },
                || {
                    let start = Instant::now();
                    let mut reader = BareReader::new(&id, 0);
                    for path in segments(left.path()) {
                        by_position(&path, &mut buffer, |bytes| {
                            let here = reader.check(bytes);
                            taken += here;
                            here
                        });
                    }
                    walks += 1;
                    start.elapsed().as_secs_f64() * 1000.0
                },
            );
            let bytes = (taken / walks) as f64;
            assert!(bytes > 0.98 * TAIL_BYTES as f64);
            let rate = bytes / 1000.0 / pair.log;
            println!(
                "| {name} | {:.2} | {:.2} | {:.2} | {rate:.0} |",
                pair.log, pair.limit, pair.ratio
            );
        }
    }
}

/// What was left, once more: opening changes it.
fn fresh_copy(left: &Path) -> tempfile::TempDir {
    let copy = fresh_dir();
    for found in fs::read_dir(left).unwrap() {
        let found = found.unwrap();
        fs::copy(found.path(), copy.path().join(found.file_name())).unwrap();
        fs::File::open(copy.path().join(found.file_name())).unwrap().sync_all().unwrap();
    }
    copy
}

/// A checkpoint of an empty log and its syncs: what an open after a kill does whatever it finds.
fn least(wanted: &impl Fn(&str) -> bool) {
    if !wanted("least") {
        return;
    }
    let times = (0..11).map(|_| {
        let left = fresh_dir();
        kill_after("mapped", "manual", (100, 1), 200, left.path());
        open_time(left.path(), IoMode::Mapped, false)
    });
    println!(
        "\nAn open after a kill with one record in the log: {:.2} ms",
        median(times.collect())
    );
}

fn main() {
    if let Ok(role) = std::env::var(ROLE) {
        return be_killed(&role);
    }
    let wanted = filter();
    beside_one_segment(&wanted);
    scan(&wanted);
    least(&wanted);
}
