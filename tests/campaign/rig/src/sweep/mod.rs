//! Every file system call of a workload fails in turn, in every way it can; after each the judge
//! looks at what is left.
//!
//! A dry run counts the calls; then a process is started for each (call, number, fault). Two
//! engines do the harm: a shim before the C library, and strace, which no call escapes.

mod engine;
mod judge;
mod points;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use forebay::IoMode;

use crate::lines::Told;
use crate::probe::{Options, Plant, Work, log_dir, store_dir};
use crate::run::{copy_dir, empty, sibling};

pub use engine::{Engine, compare};
pub use judge::judge;
pub use points::{Fault, Point};

/// What a workload finds when it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Nothing: it creates the log.
    Nothing,
    /// A log whose writer was killed, in the very directory: only the last segment is read.
    Killed,
    /// The same in another directory: as after a power cut, everything is.
    KilledElsewhere,
    /// A log that was closed.
    Closed,
}

/// A workload that is hurt.
#[derive(Clone, Debug)]
pub struct Scenario {
    pub name: &'static str,
    pub options: Options,
    pub found: Found,
}

/// All scenarios: six things a log does, on files mapped and by position, and a store.
pub fn scenarios(seed: u64) -> Vec<Scenario> {
    let base = Options { seed, segment_bytes: 4096, plant: Plant::asked(), ..Options::default() };
    let mut all = Vec::new();
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let mut add = |name, found, work, records, every_append, reopen| {
            let options = Options { mode, work, records, every_append, reopen, ..base.clone() };
            all.push(Scenario { name, options, found });
        };
        add("append", Found::Nothing, Work::Append, 60, false, true);
        add("append-each", Found::Nothing, Work::Append, 30, true, false);
        add("retention", Found::Nothing, Work::Retention, 150, false, false);
        add("recovery", Found::Killed, Work::Append, 12, false, false);
        add("recovery-full", Found::KilledElsewhere, Work::Append, 12, false, false);
        add("commit", Found::Closed, Work::Consumer, 50, false, false);
        add("close", Found::Closed, Work::Append, 4, false, false);
        add("store", Found::Nothing, Work::Store, 60, false, false);
        add("store-delete", Found::Nothing, Work::Store, 60, false, false);
        add("store-recovery", Found::Killed, Work::Store, 12, false, false);
    }
    for scenario in &mut all {
        // A log that is deleted need not be made durable: its syncs may fail untold.
        scenario.options.passing = scenario.name == "store-delete";
    }
    all
}

impl Scenario {
    /// How it is called beside its name.
    pub fn mode(&self) -> &'static str {
        match self.options.mode {
            IoMode::Positioned => "positioned",
            _ => "mapped",
        }
    }
}

/// The places of one scenario: what it finds, where it works, what it says.
pub struct Stage {
    pub scenario: Scenario,
    pub shim: PathBuf,
    scratch: PathBuf,
    before: Vec<u8>,
}

impl Stage {
    /// Makes what the scenario finds.
    pub fn new(scenario: Scenario, shim: &Path, scratch: &Path) -> io::Result<Stage> {
        let stage = Stage {
            scenario,
            shim: shim.to_owned(),
            scratch: scratch.to_owned(),
            before: Vec::new(),
        };
        empty(scratch)?;
        if stage.scenario.found == Found::Nothing {
            return Ok(stage);
        }
        stage.make_found()
    }

    /// Where the logs are.
    pub fn dir(&self) -> PathBuf {
        self.scratch.join("stage")
    }

    fn template(&self) -> PathBuf {
        self.scratch.join("template")
    }

    fn lines(&self) -> PathBuf {
        self.scratch.join("lines")
    }

    /// Where standard error goes.
    pub fn errors(&self) -> PathBuf {
        self.scratch.join("errors")
    }

    /// A file that is there if the fault came about: in a store calls may come in another order.
    pub fn hit(&self) -> PathBuf {
        self.scratch.join("hit")
    }

    fn make_found(mut self) -> io::Result<Stage> {
        let mut options = Options { records: 90, reopen: false, ..self.scenario.options.clone() };
        options.plant = None;
        let calls = self.count(&options)?;
        empty(&self.dir())?;
        let _ = fs::remove_file(self.lines());
        let mut command = self.writer(&options)?;
        if self.scenario.found != Found::Closed {
            // Within the last calls it is still open, and not all is flushed.
            let end = points::last_append(&calls);
            command.env("RIG_FAULT", end).env("LD_PRELOAD", &self.shim);
            command.env("RIG_FAULT_PATH", self.dir());
        }
        command.status()?;
        self.before = fs::read(self.lines())?;
        copy_dir(&self.dir(), &self.template())?;
        Ok(self)
    }

    /// The calls of a run with these options on what is there now.
    fn count(&self, options: &Options) -> io::Result<Vec<(String, u64)>> {
        let counts = self.scratch.join("counts");
        let _ = fs::remove_file(&counts);
        let mut command = self.writer(options)?;
        command.env("LD_PRELOAD", &self.shim).env("RIG_FAULT_PATH", self.dir());
        command.env("RIG_FAULT_COUNT", &counts).status()?;
        Ok(points::parse_counts(&fs::read_to_string(&counts)?))
    }

    /// The calls of the scenario itself, by the shim's names.
    pub fn calls(&self) -> io::Result<Vec<(String, u64)>> {
        self.reset()?;
        self.count(&self.scenario.options)
    }

    /// Puts everything as the scenario finds it.
    pub fn reset(&self) -> io::Result<()> {
        let dir = self.dir();
        match self.scenario.found {
            Found::Killed | Found::Closed => {
                for part in [log_dir(&dir), store_dir(&dir)] {
                    if part.exists() {
                        refill(&part)?;
                    }
                }
                copy_dir(&self.template(), &dir)?;
            }
            Found::Nothing => empty(&dir)?,
            Found::KilledElsewhere => {
                let _ = fs::remove_dir_all(&dir);
                copy_dir(&self.template(), &dir)?;
            }
        }
        fs::write(self.lines(), &self.before)
    }

    /// The writer as a command.
    pub fn writer(&self, options: &Options) -> io::Result<Command> {
        let mut command = Command::new(sibling("probe")?);
        command.args(self.writer_words(options));
        self.silence(&mut command)?;
        Ok(command)
    }

    /// Its words on the command line.
    pub fn writer_words(&self, options: &Options) -> Vec<String> {
        let mut words = vec!["write".to_owned(), self.dir().display().to_string()];
        let mut add = |name: &str, value: String| words.extend([name.to_owned(), value]);
        add("--mode", self.scenario.mode().to_owned());
        add("--work", options.work.name().to_owned());
        add("--seed", options.seed.to_string());
        add("--records", options.records.to_string());
        add("--segment", options.segment_bytes.to_string());
        add("--acks", self.lines().display().to_string());
        if options.every_append {
            words.push("--every-append".to_owned());
        }
        if !options.reopen {
            words.push("--no-reopen".to_owned());
        }
        if !options.passing {
            words.push("--no-passing".to_owned());
        }
        words
    }

    /// Sends what a command says where it does not disturb.
    pub fn silence(&self, command: &mut Command) -> io::Result<()> {
        let errors = fs::File::create(self.errors())?;
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors);
        Ok(())
    }

    /// What was said, from the beginning.
    pub fn told(&self) -> io::Result<(Told, String)> {
        let bytes = fs::read(self.lines())?;
        let said = String::from_utf8_lossy(&bytes[self.before.len().min(bytes.len())..]);
        Ok((Told::parse(&bytes), said.into_owned()))
    }
}

/// Empties a log or a store and keeps all directories: a log knows its own by the inode.
fn refill(dir: &Path) -> io::Result<()> {
    for found in fs::read_dir(dir)? {
        let path = found?.path();
        if path.is_dir() {
            empty(&path)?;
        } else {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
