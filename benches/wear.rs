//! What flash wears from: bytes written to the device per byte appended, by flush policy and mode,
//! beside what `LogStats::wear` counted.
//!
//! `cargo bench --bench wear [-- PART-OF-NAME]`, as root: each row has a filesystem of its own
//! (ext4 in an image, on a loop device), so that the device's counter counts nothing else. The
//! filesystem's journal lies on a second one, so that it is known what is the log's. The counts
//! hold on any machine, however busy; nothing here is a time. `BENCH_READ_AHEAD_KIB` sets
//! what the devices read ahead: the kernel makes its page cache's folios as large as that.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "a bench stops at the first thing that is not as it should be"
)]
#![expect(unsafe_code, reason = "syncfs has no safe wrapper")]

mod support;

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use forebay::{FlushPolicy, IoMode, Log, Wear};
use support::table::{filter, fresh_dir};

const IMAGE_BYTES: u64 = 1 << 30;
const JOURNAL_BYTES: u64 = 32 << 20;
const BLOCK: u64 = 4096;
const SECOND: Duration = Duration::from_secs(1);

/// A filesystem of its own on a device of its own.
struct Disk {
    scratch: tempfile::TempDir,
    device: Loop,
    journal: Loop,
}

/// A loop device over an image.
struct Loop(String);

impl Loop {
    fn new(dir: &Path, name: &str, bytes: u64) -> Loop {
        let image = dir.join(name);
        File::create_new(&image).unwrap().set_len(bytes).unwrap();
        Loop(said("losetup", &["--find", "--show", image.to_str().unwrap()]))
    }

    fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap()
    }

    /// Bytes written to it so far.
    fn written(&self) -> u64 {
        let counters = fs::read_to_string(format!("/sys/block/{}/stat", self.name())).unwrap();
        // The seventh is sectors written, of 512 bytes each whatever the device.
        counters.split_whitespace().nth(6).unwrap().parse::<u64>().unwrap() * 512
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").args(["--detach", &self.0]).status();
    }
}

impl Disk {
    fn new() -> Disk {
        let scratch = fresh_dir();
        fs::create_dir(scratch.path().join("mounted")).unwrap();
        let device = Loop::new(scratch.path(), "image", IMAGE_BYTES);
        let journal = Loop::new(scratch.path(), "journal", JOURNAL_BYTES);
        let disk = Disk { scratch, device, journal };
        if let Ok(kib) = std::env::var("BENCH_READ_AHEAD_KIB") {
            let name = disk.device.name();
            fs::write(format!("/sys/block/{name}/queue/read_ahead_kb"), kib).unwrap();
        }
        said("mkfs.ext4", &["-q", "-b", "4096", "-O", "journal_dev", &disk.journal.0]);
        // Nothing is left for the kernel to write later.
        let now = "lazy_itable_init=0,lazy_journal_init=0";
        let journal = format!("device={}", disk.journal.0);
        let device = &disk.device.0;
        said("mkfs.ext4", &["-q", "-b", "4096", "-E", now, "-J", &journal, device]);
        said("mount", &["-o", "noatime", device, disk.root().to_str().unwrap()]);
        disk
    }

    fn root(&self) -> PathBuf {
        self.scratch.path().join("mounted")
    }

    /// Bytes that went to the device and to the journal so far, everything written out first.
    fn written(&self) -> (u64, u64) {
        let root = File::open(self.root()).unwrap();
        // SAFETY: the descriptor is open; no memory is passed.
        assert_eq!(unsafe { libc::syncfs(root.as_raw_fd()) }, 0);
        (self.device.written(), self.journal.written())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // On the way out of a failed row too; what is still mounted is then named by the next line.
        let _ = Command::new("umount").arg(self.root()).status();
    }
}

fn said(program: &str, arguments: &[&str]) -> String {
    let done = Command::new(program).args(arguments).output().unwrap();
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

/// One row: how much is appended, how fast, and flushed when.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    policy: FlushPolicy,
    value_bytes: usize,
    records: u64,
    /// Records a second; 0 is as fast as they go.
    pace: u32,
}

const ROWS: [Row; 8] = [
    row("every append, 100 B", FlushPolicy::EveryAppend, 100, 3000, 0),
    row("every append, 1 KiB", FlushPolicy::EveryAppend, 1024, 3000, 0),
    row("a second, 100 B x 100/s", FlushPolicy::Interval(SECOND), 100, 3000, 100),
    row("a second, 1 KiB x 100/s", FlushPolicy::Interval(SECOND), 1024, 3000, 100),
    row("every 64 KiB, 100 B", FlushPolicy::EveryBytes(64 << 10), 100, 200_000, 0),
    row("every 64 KiB, 1 KiB", FlushPolicy::EveryBytes(64 << 10), 1024, 60_000, 0),
    row("manual, 100 B", FlushPolicy::Manual, 100, 400_000, 0),
    row("manual, 1 KiB", FlushPolicy::Manual, 1024, 60_000, 0),
];

const fn row(
    name: &'static str,
    policy: FlushPolicy,
    value_bytes: usize,
    records: u64,
    pace: u32,
) -> Row {
    Row { name, policy, value_bytes, records, pace }
}

/// Whole blocks that the flushes of one file by position have to write, each as often as it
/// changed between two: no journal, no index, no checkpoint.
fn least(row: Row) -> u64 {
    // A batch of one record without key and headers.
    let size = 61 + 9 + row.value_bytes as u64;
    let flush_bytes = match row.policy {
        FlushPolicy::EveryAppend => size,
        FlushPolicy::EveryBytes(bytes) => bytes.next_multiple_of(size),
        FlushPolicy::Interval(interval) => {
            (f64::from(row.pace) * interval.as_secs_f64()) as u64 * size
        }
        _ => row.records * size,
    };
    let (mut at, mut blocks) = (0, 0);
    while at < row.records * size {
        let end = (at + flush_bytes).min(row.records * size);
        blocks += end.div_ceil(BLOCK) - at / BLOCK;
        at = end;
    }
    blocks * BLOCK
}

/// What the log has counted at its end.
fn append_all(row: Row, mode: IoMode, dir: &Path) -> Wear {
    let log = Log::options().io_mode(mode).flush(row.policy).open(dir).unwrap();
    let (value, start) = (vec![b'x'; row.value_bytes], Instant::now());
    for n in 0..row.records {
        if row.pace > 0 {
            let due = SECOND * n as u32 / row.pace;
            thread::sleep(due.saturating_sub(start.elapsed()));
        }
        log.append(&value).unwrap();
    }
    let closed = log.clone();
    log.close().unwrap();
    closed.stats().wear
}

/// The finished row of the table.
fn measure(row: Row, mode_name: &str, mode: IoMode) -> String {
    let disk = Disk::new();
    let before = disk.written();
    let wear = append_all(row, mode, &disk.root().join("log"));
    let after = disk.written();
    let appended = (row.records * row.value_bytes as u64) as f64;
    let (files, journal) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
    let counted = wear.device_bytes as f64;
    format!(
        "| {}/{mode_name} | {:.1} | {:.2} | {:.2} | {:.2} | {:.2} | {:.2} |",
        row.name,
        (files + journal) / 1024.0 / 1024.0,
        (files + journal) / appended,
        least(row) as f64 / appended,
        files / appended,
        counted / appended,
        counted / files,
    )
}

fn main() {
    let wanted = filter();
    println!(
        "| flush, values | MiB written | bytes a byte appended | whole blocks alone \
         | without journal | counted | counted / without journal |"
    );
    println!("|---|--:|--:|--:|--:|--:|--:|");
    let modes = [("mapped", IoMode::Mapped), ("positioned", IoMode::Positioned)];
    let all = modes.iter().flat_map(|mode| ROWS.map(|row| (row, *mode)));
    let all: Vec<_> =
        all.filter(|(row, mode)| wanted(&format!("{}/{}", row.name, mode.0))).collect();
    thread::scope(|scope| {
        // What waits for the clock waits beside the others, each on its own device.
        let rows = all
            .into_iter()
            .map(|(row, (name, mode))| scope.spawn(move || measure(row, name, mode)));
        for row in rows.collect::<Vec<_>>() {
            println!("{}", row.join().unwrap());
        }
    });
}
