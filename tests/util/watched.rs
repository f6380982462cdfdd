//! A process that fills a disk, looked at by the test that started it: stopped again and again, and
//! what its files take added up, those included that have no name any more.
#![cfg(target_os = "linux")]

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

const PAUSE: Duration = Duration::from_millis(15);

/// Says a line at once, whole, to who watches.
pub(crate) fn say(line: &str) {
    std::io::stdout().write_all(format!("<{line}>\n").as_bytes()).unwrap();
}

/// Rests until who watches says to go on.
pub(crate) fn rest(line: &str) {
    say(&format!("rest {line}"));
    std::io::stdin().read_line(&mut String::new()).unwrap();
}

/// Numbers without a pattern.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }

    /// How long a record is: most are short, some are not.
    pub(crate) fn length(&mut self) -> usize {
        let most = if self.below(10) == 0 { 30_000 } else { 900 };
        usize::try_from(self.below(most)).unwrap()
    }
}

/// Where to fill: where the campaign over full disks says, else the filesystem of the build, and
/// memory.
pub(crate) fn grounds() -> Vec<TempDir> {
    match std::env::var_os("FOREBAY_BUDGET_DIR") {
        Some(dir) => vec![tempfile::tempdir_in(dir).unwrap()],
        None => {
            vec![tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), super::scratch()]
        }
    }
}

/// The first process, as the second one sees it.
pub(crate) struct Watched {
    process: Child,
    said: Receiver<String>,
    dir: PathBuf,
    budget: u64,
    pub(crate) most: u64,
    pub(crate) samples: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A failed test leaves nobody behind that is stopped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Watched {
    pub(crate) fn start(module: &str, test: &str, role: &str, dir: &Path, budget: u64) -> Watched {
        let mut command = super::child(module, test, role, dir);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().unwrap();
        let (tell, said) = channel();
        let stdout = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines() {
                let line = line.unwrap();
                // Behind the name of the test, which is not ended by the harness.
                let line = line.rsplit('<').next().and_then(|line| line.strip_suffix('>'));
                if let Some(line) = line {
                    let _ = tell.send(line.to_owned());
                }
            }
        });
        Watched { process, said, dir: dir.to_path_buf(), budget, most: 0, samples: 0 }
    }

    /// One that has just ended is there until it is waited for.
    fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        assert!(Command::new("kill").args([name, &id]).status().unwrap().success());
    }

    /// Whether all its threads stand still.
    fn stands(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).unwrap();
        tasks.into_iter().all(|task| {
            let stat = fs::read_to_string(task.unwrap().path().join("stat"));
            // One that has ended meanwhile stands.
            let state = stat.map_or('X', |stat| {
                stat.rsplit(')').next().unwrap().trim_start().chars().next().unwrap()
            });
            matches!(state, 'T' | 'X' | 'Z')
        })
    }

    /// Stops it, adds up what its files take, and lets it go on.
    pub(crate) fn sample(&mut self) -> u64 {
        self.signal("-STOP");
        let from = Instant::now();
        while !self.stands() {
            assert!(from.elapsed() < Duration::from_secs(60), "it does not stop");
            thread::yield_now();
        }
        let files = files_of(self.process.id(), &self.dir);
        self.signal("-CONT");
        let taken = files.values().map(|file| file.0).sum();
        self.most = self.most.max(taken);
        self.samples += 1;
        assert!(taken <= self.budget, "{taken} of {}: {:#?}", self.budget, files.values());
        taken
    }

    /// Samples until it says something.
    pub(crate) fn hear(&mut self) -> String {
        let from = Instant::now();
        loop {
            if let Ok(line) = self.said.recv_timeout(PAUSE) {
                return line;
            }
            assert!(from.elapsed() < Duration::from_secs(120), "it says nothing");
            if self.process.try_wait().unwrap().is_some() {
                // Its last word may be on the way still.
                let last = self.said.recv_timeout(Duration::from_secs(10));
                return last.expect("it ended without a word");
            }
            self.sample();
        }
    }

    pub(crate) fn go_on(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }

    /// Lets it go on, and kills it soon after.
    pub(crate) fn go_on_and_die(&mut self) {
        self.go_on();
        thread::sleep(PAUSE);
        self.sample();
        self.process.kill().unwrap();
    }

    /// Waits for its end; how many files it left and what they take.
    pub(crate) fn end(&mut self) -> (u64, u64) {
        self.process.wait().unwrap();
        let (files, left) = taken_by(0, &self.dir);
        assert!(left <= self.budget, "{left} of {} were left", self.budget);
        (files, left)
    }

    /// How many files there are.
    pub(crate) fn files(&self) -> u64 {
        taken_by(self.process.id(), &self.dir).0
    }
}

/// How many files there are, and what they take.
fn taken_by(process: u32, dir: &Path) -> (u64, u64) {
    let files = files_of(process, dir);
    (files.len() as u64, files.values().map(|file| file.0).sum())
}

/// What the files of a directory take, by device and inode: those that have a name, and those that
/// a process has open or mapped.
fn files_of(process: u32, dir: &Path) -> HashMap<(u64, u64), (u64, PathBuf)> {
    let mut files = HashMap::new();
    let mut add = |path: &Path, name: PathBuf| {
        if let Ok(file) = fs::metadata(path)
            && file.is_file()
        {
            files.insert((file.dev(), file.ino()), (file.blocks() * 512, name));
        }
    };
    for path in below(dir) {
        add(&path, path.clone());
    }
    for of in ["fd", "map_files"] {
        // Maps of others can be looked into by root alone.
        let Ok(links) = fs::read_dir(format!("/proc/{process}/{of}")) else { continue };
        for link in links.flatten() {
            if let Ok(target) = fs::read_link(link.path())
                && target.starts_with(dir)
            {
                add(&link.path(), target);
            }
        }
    }
    files
}

/// The files below a directory; those that go meanwhile are left out.
fn below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => files.extend(below(&entry.path())),
            _ => files.push(entry.path()),
        }
    }
    files
}
