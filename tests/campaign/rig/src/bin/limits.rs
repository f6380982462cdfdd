//! The writer under limits: it is refused with an error or has what it needs; no signal, and
//! nothing acknowledged is lost.
//!
//! ```text
//! limits SCRATCH
//! ```
//!
//! RIG_PLANT=bus plants a store behind the end of a file.

use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use forebay::IoMode;
use rig::limits::Limit;
use rig::lines::{Lines, Told};
use rig::probe::{self, Options, Plant, Work};
use rig::run::{Fate, empty, sibling, wait};

struct Case {
    limit: Limit,
    mode: IoMode,
    work: Work,
    records: u64,
    segment_bytes: usize,
}

fn cases() -> Vec<Case> {
    let mut all = Vec::new();
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let mut add = |limit, work, records, segment_bytes| {
            all.push(Case { limit, mode, work, records, segment_bytes });
        };
        for bytes in [4 << 10, 20 << 10, 64 << 10, 200 << 10] {
            add(Limit::FileSize { bytes, ignored: true }, Work::Append, 1200, 128 << 10);
        }
        add(Limit::FileSize { bytes: 20 << 10, ignored: false }, Work::Append, 1200, 128 << 10);
        add(Limit::FileSize { bytes: 64 << 10, ignored: true }, Work::Store, 1200, 128 << 10);
        for files in [10, 13, 16, 20, 24, 32, 48, 64] {
            let work = if files < 20 { Work::Append } else { Work::Store };
            add(Limit::Files(files), work, 300, 8 << 10);
        }
        for megabytes in [12, 16, 24, 40] {
            add(Limit::AddressSpace(megabytes << 20), Work::Append, 600, 16 << 20);
            add(Limit::AddressSpace(megabytes << 20), Work::Store, 600, 8 << 20);
        }
        for left in [2, 8, 24] {
            add(Limit::Maps(left), Work::Store, 300, 8 << 10);
            add(Limit::Maps(left), Work::Append, 300, 8 << 10);
        }
        add(Limit::Memory(32 << 20), Work::Append, 120_000, 16 << 20);
    }
    all
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let scratch = std::env::args().nth(1).ok_or("SCRATCH")?;
    let (dir, from) = (Path::new(&scratch).join("limits"), Instant::now());
    let (mut runs, mut refused, mut bad, mut skipped) = (0, 0, 0, 0);
    for case in cases() {
        let name = format!("{:?} {:?} {:?}", case.limit, case.mode, case.work);
        let group = match case.limit {
            Limit::Memory(bytes) => match Group::new(bytes) {
                Some(group) => Some(group),
                None => {
                    skipped += 1;
                    println!("{name}: no control group to be had: left out");
                    continue;
                }
            },
            _ => None,
        };
        empty(&dir)?;
        let (fate, told) = one(&case, &dir, group.as_ref())?;
        runs += 1;
        refused += u64::from(fate == Fate::Exited(3));
        let mut found = Vec::new();
        let killed_by_system = matches!(case.limit, Limit::FileSize { ignored: false, .. });
        match fate {
            Fate::Exited(0 | 3) => {}
            Fate::Signal(libc::SIGXFSZ) if killed_by_system => {}
            other => found.push(format!("V13 it ended as {other:?}")),
        }
        let options = options(&case);
        found.extend(probe::check(&dir, &options, &told, true, false, &Lines::new()).bad);
        let kinds: Vec<&String> = told.failed.keys().collect();
        println!("{name}: {fate:?}, {} calls failed {kinds:?}", told.failed.values().sum::<u64>());
        if !found.is_empty() {
            bad += 1;
            println!("BAD {name}: {}", found.join("; "));
        }
    }
    println!(
        "limits: {runs} runs, {refused} ended in a refusal, {skipped} left out, {bad} laws broken, \
         {:.0} s",
        from.elapsed().as_secs_f64()
    );
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn options(case: &Case) -> Options {
    let Case { mode, work, records, segment_bytes, .. } = *case;
    Options { mode, work, records, segment_bytes, reopen: false, ..Options::default() }
}

/// Runs the writer under the limit. Its lines come through a pipe: no file limit is on it.
fn one(case: &Case, dir: &Path, group: Option<&Group>) -> std::io::Result<(Fate, Told)> {
    let mode = if case.mode == IoMode::Mapped { "mapped" } else { "positioned" };
    let mut command = Command::new(sibling("probe")?);
    command.arg("write").arg(dir).args(["--mode", mode, "--work", case.work.name()]);
    command.args(["--records", &case.records.to_string(), "--no-reopen"]);
    command.args(["--segment", &case.segment_bytes.to_string()]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
    if Plant::asked().is_none() {
        command.stderr(Stdio::null());
    }
    if let Limit::Maps(left) = case.limit {
        command.env("RIG_MAPS_LEFT", left.to_string());
    }
    let (limit, joined) = (case.limit, group.map(|group| group.processes.clone()));
    let before = move || {
        if let Some(processes) = &joined {
            std::fs::write(processes, "0")?;
        }
        limit.set()
    };
    // SAFETY: between fork and exec of a process with one thread; it makes system calls, and
    // allocates at most a path.
    unsafe { command.pre_exec(before) };
    let mut child = command.spawn()?;
    let mut output = child.stdout.take().ok_or(std::io::ErrorKind::BrokenPipe)?;
    let reading = std::thread::spawn(move || {
        let mut text = Vec::new();
        output.read_to_end(&mut text).map(|_| text)
    });
    let fate = wait(&mut child, Duration::from_secs(60))?;
    let text = reading.join().map_err(|_| std::io::ErrorKind::Other)??;
    Ok((fate, Told::parse(&text)))
}

/// A control group of version 2, or of version 1 with a memory controller.
struct Group {
    dir: std::path::PathBuf,
    processes: std::path::PathBuf,
}

impl Group {
    fn new(bytes: u64) -> Option<Group> {
        for (base, limit) in
            [("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")]
        {
            let dir = Path::new(base).join(format!("rig-{}", std::process::id()));
            if std::fs::create_dir(&dir).is_err() {
                continue;
            }
            let group = Group { processes: dir.join("cgroup.procs"), dir };
            if std::fs::write(group.dir.join(limit), bytes.to_string()).is_ok() {
                return Some(group);
            }
        }
        None
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Its last process is gone, perhaps just now.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.dir).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}
