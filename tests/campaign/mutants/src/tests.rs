//! The tests of the copy: which there are, how long each takes, which mutations each meets.

use std::collections::HashSet;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Test {
    pub binary: PathBuf,
    pub name: String,
    pub took: Duration,
    pub meets: HashSet<usize>,
}

#[derive(PartialEq, Eq)]
pub enum Ended {
    Passed,
    Failed,
    TimedOut,
}

/// The binaries of the library's own tests and of those in `names`.
pub fn build(copy: &Path, names: &[String]) -> Vec<PathBuf> {
    let done = Command::new("cargo")
        .current_dir(copy)
        .env("RUSTFLAGS", "--cap-lints warn")
        .envs(PROFILE)
        .args(["test", "--release", "--all-features", "--no-run", "--lib", "--message-format=json"])
        .args(names.iter().flat_map(|name| ["--test", name]))
        .stderr(Stdio::inherit())
        .output()
        .expect("cargo starts");
    assert!(done.status.success(), "the copy's tests build");
    let mut binaries: Vec<_> = String::from_utf8_lossy(&done.stdout)
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect();
    binaries.sort();
    binaries
}

/// Optimised code with our assertions in it, quickly built.
const PROFILE: [(&str, &str); 5] = [
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16"),
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
];

/// [`measure`], remembered beside the copy as long as the same is built.
pub fn measured(copy: &Path, binaries: &[PathBuf], mutants: usize, limit: Duration) -> Vec<Test> {
    let key = format!("{binaries:?} {mutants} {limit:?}");
    let path = copy.join("tests.measured");
    if let Some((known, tests)) =
        fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<(String, _)>(&bytes).ok())
    {
        if known == key {
            return tests;
        }
    }
    let tests = measure(copy, binaries, mutants, limit);
    fs::write(path, serde_json::to_vec(&(key, &tests)).expect("tests are plain"))
        .expect("the copy is ours");
    tests
}

/// Every test that passes by itself within `limit`, with what it takes and meets.
fn measure(copy: &Path, binaries: &[PathBuf], mutants: usize, limit: Duration) -> Vec<Test> {
    let mut tests = Vec::new();
    for binary in binaries {
        let list = Command::new(binary).args(["--list", "--format", "terse"]).output();
        let list = list.expect("a test binary starts").stdout;
        for line in String::from_utf8_lossy(&list).lines() {
            let Some(name) = line.strip_suffix(": test") else { continue };
            let hits = copy.join("hits");
            fs::write(&hits, vec![0; mutants + 1]).expect("the copy is ours");
            let start = Instant::now();
            let set = ("FOREBAY_MUTANT_HITS", hits.display().to_string());
            let ended = run(copy, binary, &[name], &set, limit);
            let took = start.elapsed();
            if ended != Ended::Passed {
                eprintln!("mutants: without {name}: it does not pass within {} s", took.as_secs());
                continue;
            }
            let bytes = fs::read(&hits).expect("the copy is ours");
            let meets = (0..mutants).filter(|&number| bytes[number] != 0).collect();
            tests.push(Test { binary: binary.clone(), name: name.to_owned(), took, meets });
        }
    }
    tests
}

/// Runs some tests of one binary, one after the other, in a process group that ends with them.
pub fn run(
    copy: &Path,
    binary: &Path,
    names: &[&str],
    set: &(&str, String),
    limit: Duration,
) -> Ended {
    let scratch = copy.join("scratch");
    let _ = fs::remove_dir_all(&scratch);
    fs::create_dir_all(&scratch).expect("the copy is ours");
    let mut child = Command::new(binary)
        .current_dir(copy)
        .args(names)
        .args(["--exact", "--test-threads=1"])
        .env(set.0, &set.1)
        .env("TMPDIR", &scratch)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .expect("a test binary starts");
    let group = -(child.id() as i32);
    let start = Instant::now();
    let ended = loop {
        match child.try_wait().expect("our own child") {
            Some(status) if status.success() => break Ended::Passed,
            Some(_) => break Ended::Failed,
            None if start.elapsed() > limit => break Ended::TimedOut,
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    // SAFETY: a signal to the group that was made above; what it left behind ends with it.
    unsafe { libc::kill(group, libc::SIGKILL) };
    let _ = child.wait();
    ended
}
