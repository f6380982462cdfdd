//! What makes a call fail.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::process::Command;
use std::time::Duration;

use crate::run::{Fate, run, sibling};
use crate::sweep::{Point, Stage, points};

/// A run takes some milliseconds; one that takes so long hangs.
const LIMIT: Duration = Duration::from_secs(10);

/// Who does the harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A library before the C library: fast, and can do more.
    Preload,
    /// The kernel's own way: nothing escapes.
    Strace,
}

impl Engine {
    /// All points of a stage.
    pub fn points(self, stage: &Stage) -> io::Result<Vec<Point>> {
        match self {
            Engine::Preload => Ok(points::of_shim(&stage.calls()?)),
            Engine::Strace => Ok(points::of_strace(&traced(stage)?)),
        }
    }

    /// Runs the writer with one fault.
    pub fn hurt(self, stage: &Stage, point: &Point) -> io::Result<Fate> {
        let options = &stage.scenario.options;
        let mut command = match self {
            Engine::Preload => {
                let mut command = stage.writer(options)?;
                command.env("LD_PRELOAD", &stage.shim).env("RIG_FAULT", point.to_string());
                command.env("RIG_FAULT_PATH", stage.dir()).env("RIG_FAULT_HIT", stage.hit());
                let _ = fs::remove_file(stage.hit());
                command
            }
            Engine::Strace => {
                let harm = match point.fault.0 {
                    "kill" => "signal=KILL".to_owned(),
                    error => format!("error={error}"),
                };
                let inject = format!("inject={}:{harm}:when={}", point.call, point.number);
                let mut command = Command::new("strace");
                command.args(["-f", "-qq", "-o", "/dev/null", "-e"]);
                command.args(["signal=none", "-e", &format!("trace={}", point.call), "-e"]);
                command.arg(inject).arg(sibling("probe")?).args(stage.writer_words(options));
                stage.silence(&mut command)?;
                command
            }
        };
        run(&mut command, LIMIT)
    }
}

/// The calls about the stage's directory: name, and number among all of that name in the process.
fn traced(stage: &Stage) -> io::Result<Vec<(String, u64)>> {
    stage.reset()?;
    let trace = stage.dir().with_file_name("trace");
    let dir = stage.dir().display().to_string();
    let mut command = Command::new("strace");
    command.args(["-f", "-yy", "-qq", "-s", "4096", "-e", "signal=none", "-e"]);
    command.arg(format!("trace={}", points::traced())).arg("-o").arg(&trace);
    command.arg(sibling("probe")?).args(stage.writer_words(&stage.scenario.options));
    stage.silence(&mut command)?;
    run(&mut command, LIMIT)?;
    let mut seen = BTreeMap::<String, u64>::new();
    let mut ours = Vec::new();
    for line in fs::read_to_string(&trace)?.lines() {
        let call = line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ' ');
        let Some((name, rest)) = call.split_once('(') else { continue };
        let number = seen.entry(name.to_owned()).or_default();
        *number += 1;
        let by_map = name == "msync" || name == "madvise" && rest.contains("MADV_POPULATE");
        // The first call of all is the program's own path and arguments.
        if by_map || rest.contains(&dir) {
            ours.push((name.to_owned(), *number));
        }
    }
    Ok(ours)
}

/// Whether the shim sees what strace sees: for each of its names the count of both.
pub fn compare(stage: &Stage) -> io::Result<Vec<(String, u64, u64)>> {
    let mut counts = BTreeMap::<String, (u64, u64)>::new();
    for (call, count) in stage.calls()? {
        counts.entry(call).or_default().0 += count;
    }
    for (call, _) in traced(stage)? {
        // The library's own, within opendir.
        if call == "newfstatat" {
            continue;
        }
        let name = points::shim_name(&call).unwrap_or("none of the shim's");
        counts.entry(name.to_owned()).or_default().1 += 1;
    }
    let counted = counts.into_iter().map(|(call, (shim, strace))| (call, shim, strace));
    Ok(counted.filter(|(_, shim, strace)| shim + strace > 0).collect())
}
