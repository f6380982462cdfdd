//! The writer and its judge on the command line.
//!
//! ```text
//! probe write DIR [--mode auto|mapped|positioned] [--work append|store|retention|consumer]
//!                 [--seed N] [--records N] [--segment BYTES] [--every-append] [--torn]
//!                 [--no-reopen] [--no-passing] [--acks FILE]
//! probe check DIR [--mode M] [--seed N] [--acks FILE] [--killed] [--twice]
//! ```
//!
//! `write` ends with 0, or with 3 if it was refused again and again; a law broken before its own
//! eyes is a line `BAD ...`. `check` prints `R <log> <start> <end>` for each log, and ends with 1
//! after a line `BAD ...`. The environment variable RIG_PLANT plants a fault into the writer;
//! RIG_MAPS_LEFT leaves it so many maps.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use forebay::{IoMode, Media};
use rig::lines::{Lines, Told};
use rig::probe::{self, Ended, Options, Plant, Work};

type Outcome<T = ExitCode> = Result<T, Box<dyn std::error::Error>>;

struct Arguments {
    task: String,
    dir: PathBuf,
    options: Options,
    lines: Option<PathBuf>,
    killed: bool,
    twice: bool,
}

fn main() -> Outcome {
    let arguments = parse(std::env::args().skip(1))?;
    if let Ok(left) = std::env::var("RIG_MAPS_LEFT") {
        rig::limits::eat_maps(left.parse()?)?;
    }
    let mut lines = Lines::new().and_output()?;
    if let Some(path) = &arguments.lines {
        lines = lines.and_file(path)?;
    }
    match arguments.task.as_str() {
        "write" => Ok(write(&arguments, &lines)),
        "check" => check(&arguments, &lines),
        other => Err(format!("{other}: write or check").into()),
    }
}

fn write(arguments: &Arguments, lines: &Lines) -> ExitCode {
    let ended = probe::write(&arguments.dir, &arguments.options, lines);
    match ended {
        Ended::Done => ExitCode::SUCCESS,
        Ended::Refused(..) => ExitCode::from(3),
    }
}

fn check(arguments: &Arguments, lines: &Lines) -> Outcome {
    let told = match &arguments.lines {
        Some(path) => Told::read(path)?,
        None => Told::default(),
    };
    let Arguments { dir, options, killed, twice, .. } = arguments;
    let judged = probe::check(dir, options, &told, *killed, *twice, lines);
    for (log, start, end) in &judged.logs {
        println!("R {log} {start} {end}");
    }
    for bad in &judged.bad {
        println!("BAD {bad}");
    }
    Ok(if judged.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn parse(mut words: impl Iterator<Item = String>) -> Outcome<Arguments> {
    let task = words.next().ok_or("write or check?")?;
    let dir = Path::new(&words.next().ok_or("which directory?")?).to_owned();
    let plant = Plant::asked();
    let mut arguments = Arguments {
        task,
        dir,
        options: Options { plant, ..Options::default() },
        lines: None,
        killed: false,
        twice: false,
    };
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or_else(|| format!("{word} needs a value"));
        let options = &mut arguments.options;
        match word.as_str() {
            "--mode" => options.mode = mode(&value()?)?,
            "--work" => options.work = work(&value()?)?,
            "--seed" => options.seed = value()?.parse()?,
            "--records" => options.records = value()?.parse()?,
            "--segment" => options.segment_bytes = value()?.parse()?,
            "--every-append" => options.every_append = true,
            "--torn" => options.media = Some(Media::TornOverwrite),
            "--no-reopen" => options.reopen = false,
            "--no-passing" => options.passing = false,
            "--acks" => arguments.lines = Some(value()?.into()),
            "--killed" => arguments.killed = true,
            "--twice" => arguments.twice = true,
            other => return Err(format!("{other} is not known").into()),
        }
    }
    Ok(arguments)
}

fn mode(name: &str) -> Outcome<IoMode> {
    match name {
        "auto" => Ok(IoMode::Auto),
        "mapped" => Ok(IoMode::Mapped),
        "positioned" => Ok(IoMode::Positioned),
        other => Err(format!("{other}: auto, mapped or positioned").into()),
    }
}

fn work(name: &str) -> Outcome<Work> {
    let found = Work::ALL.into_iter().find(|work| work.name() == name);
    found.ok_or_else(|| format!("{name}: append, store, retention or consumer").into())
}
