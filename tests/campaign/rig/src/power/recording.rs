//! A run of the writer on a [`Served`] filesystem: every change and every line, in their order.

use std::env;
use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use forebay::{IoMode, Media};

use super::model::{Change, Image, Model, Names, Planted};
use super::served::{Served, Setup};
use crate::lines::{Lines, Told};
use crate::probe::{self, Ended, Options, Plant, Work};

/// A writer that has not ended by then hangs (V13).
const PATIENCE: Duration = Duration::from_secs(60);

/// What the writer's own program reads of its environment: its filesystem is to pass for ext4.
pub const PASSES_FOR_EXT4: &str = "RIG_PASSES_FOR_EXT4";

/// What was done to a disk that held `start`.
pub struct Recording {
    /// What the disk held before, all of it synced.
    pub start: Image,
    /// All that was done to it.
    pub trace: Vec<Change>,
    /// Calls that failed because they were told to.
    pub hit: u64,
    /// The writer's exit status; `None` if a signal ended it.
    pub status: Option<i32>,
}

/// What a child does: the words of its command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Writes on.
    Write,
    /// Recovers, reads everything, goes on by one record.
    Check,
}

/// Mounts a disk with these files at `at`, an empty directory, and lets a process of its own work
/// there.
pub fn record(
    start: &Image,
    options: &Options,
    task: Task,
    setup: &Setup,
    at: &Path,
) -> io::Result<Recording> {
    fs::create_dir_all(at)?;
    let model = Model::new(start, Names::Strict, Planted::Nothing);
    let served = Served::mount(model, setup.clone(), at)?;
    let mut command = command(at, options, task)?;
    command.stdout(served.said()?);
    if options.mode == IoMode::Mapped {
        command.env(PASSES_FOR_EXT4, "1");
    }
    let child = command.spawn()?;
    // It holds the file of what is said open, and so the mount.
    drop(command);
    let status = wait(child)?;
    let (trace, hit) = served.finish()?;
    Ok(Recording { start: start.clone(), trace, hit, status })
}

/// This program again, as a writer on a filesystem at `at`. What it says goes to its output.
pub fn command(at: &Path, options: &Options, task: Task) -> io::Result<Command> {
    let mut command = Command::new(env::current_exe()?);
    command.args(words(at, options, task)).stdin(Stdio::null()).stderr(Stdio::null());
    match options.plant {
        Some(Plant::NoFlush) => drop(command.env("RIG_PLANT", "no-flush")),
        Some(Plant::Deaf) => drop(command.env("RIG_PLANT", "deaf")),
        _ => drop(command.env_remove("RIG_PLANT")),
    }
    Ok(command)
}

/// Its exit status; `None` if a signal ended it, ours after a minute included.
pub fn wait(mut child: Child) -> io::Result<Option<i32>> {
    let from = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if from.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// What such a program does, if its command line is one of [`command`]'s.
pub fn child(words: &[String]) -> Option<ExitCode> {
    let (task, rest) = words.split_first()?;
    let (dir, rest) = rest.split_first()?;
    let (dir, options) = (Path::new(dir), parse(rest)?);
    let lines = Lines::new().and_output().ok()?;
    if task == "write" {
        return Some(match probe::write(dir, &options, &lines) {
            Ended::Done => ExitCode::SUCCESS,
            Ended::Refused(..) => ExitCode::from(3),
        });
    }
    let judged = probe::check(dir, &options, &Told::default(), false, false, &lines);
    judged.bad.iter().for_each(|bad| lines.say(&format!("{DOUBT} {bad}\n")));
    Some(ExitCode::SUCCESS)
}

/// How a line begins with what a child in the judge's place has to say: it was not told of what
/// went before.
pub const DOUBT: &str = "X";

fn words(at: &Path, options: &Options, task: Task) -> Vec<String> {
    let task = match task {
        Task::Write => "write",
        Task::Check => "check",
    };
    let mode = match options.mode {
        IoMode::Mapped => "mapped",
        _ => "positioned",
    };
    let flag = |set: bool| u8::from(set).to_string();
    vec![
        task.to_owned(),
        at.display().to_string(),
        mode.to_owned(),
        options.work.name().to_owned(),
        options.seed.to_string(),
        options.records.to_string(),
        options.segment_bytes.to_string(),
        flag(options.every_append),
        flag(options.media == Some(Media::TornOverwrite)),
        flag(options.reopen),
    ]
}

fn parse(words: &[String]) -> Option<Options> {
    let [mode, work, seed, records, segment, every_append, torn, reopen] = words else {
        return None;
    };
    Some(Options {
        mode: if mode == "mapped" { IoMode::Mapped } else { IoMode::Positioned },
        work: Work::ALL.into_iter().find(|one| one.name() == work)?,
        seed: seed.parse().ok()?,
        records: records.parse().ok()?,
        segment_bytes: segment.parse().ok()?,
        every_append: every_append == "1",
        media: (torn == "1").then_some(Media::TornOverwrite),
        reopen: reopen == "1",
        passing: true,
        plant: Plant::asked(),
    })
}
