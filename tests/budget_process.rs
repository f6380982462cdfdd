//! A budget, looked at from outside: while one process fills, frees, reads and is killed, another
//! stops it again and again and adds up what its files really take, those included that have no
//! name any more. No sample lies above the budget, and at rest the log knows what it takes (I19).
//!
//! Only the system has processes and blocks.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod util;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use forebay::{ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec, OnFull};
use util::{MODES, child, child_role};

const BUDGET: u64 = 1 << 20;
const ROUNDS: u64 = 3;
const PAUSE: Duration = Duration::from_millis(15);
const POLICIES: [&str; 3] = ["reject", "drop", "block"];

fn options(role: &str) -> LogOptions {
    let mode = if role.contains("Mapped") { IoMode::Mapped } else { IoMode::Positioned };
    let policy = match role.split(' ').nth(1).unwrap() {
        "reject" => OnFull::Reject,
        "drop" => OnFull::DropOldest,
        _ => OnFull::Block(Duration::from_millis(5)),
    };
    Log::options()
        .io_mode(mode)
        .on_full(policy)
        .segment_bytes(64 << 10)
        .max_batch_bytes(32 << 10)
        .budget_bytes(BUDGET)
}

/// Numbers without a pattern, others in each life.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (self.0 >> 33) % bound
    }
}

fn say(line: &str) {
    std::io::stdout().write_all(format!("<{line}>\n").as_bytes()).unwrap();
}

/// Appends until the log is full, or has dropped as much as it holds; readers and batches that are
/// taken on the way keep what is deleted under them.
fn fill<T>(log: &Log, random: &mut Random, pins: &mut Vec<T>, pin: impl Fn(Offset) -> T) {
    let (mut refused, begin) = (0, log.stats().bytes_appended);
    while refused < 3 && log.stats().bytes_appended - begin < BUDGET {
        let size = usize::try_from(match random.below(10) {
            0 => random.below(30_000),
            _ => random.below(900),
        });
        match log.append(vec![b'x'; size.unwrap()]) {
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
                refused += 1;
            }
        }
        match random.below(400) {
            0 if pins.len() < 5 => {
                let (start, end) = (log.log_start_offset(), log.log_end_offset());
                let span = u64::try_from((end - start).max(1)).unwrap();
                pins.push(pin(start + i64::try_from(random.below(span)).unwrap()));
            }
            1 => drop(log.flush().unwrap()),
            2 if !pins.is_empty() => drop(pins.pop()),
            _ => {}
        }
    }
}

/// The child: fills and frees, and rests between rounds until it is told to go on.
fn work(role: &str, dir: &Path) {
    let life: u64 = role.split(' ').nth(2).unwrap().parse().unwrap();
    let flush = [FlushPolicy::Manual, FlushPolicy::EveryBytes(40_000)][(life % 2) as usize];
    let log = options(role).flush(flush).background(life == 1).open(dir).unwrap();
    say(&format!("opened {}", log.log_end_offset()));
    let mut random = Random(life + 1);
    let mut pins = Vec::new();
    let pin = |offset| {
        // Overtaken meanwhile by what another append dropped: then from the start.
        let reader = log.reader(OffsetSpec::At(offset));
        let mut reader = reader.or_else(|_| log.reader(OffsetSpec::Earliest)).unwrap();
        let batch = reader.next();
        (reader, batch)
    };
    let mut consumer = log.consumer("uplink").unwrap();
    for _ in 0..ROUNDS {
        fill(&log, &mut random, &mut pins, pin);
        let (start, end) = (log.log_start_offset(), log.log_end_offset());
        log.delete_records(start + (end - start) / 2).unwrap();
        consumer.seek(OffsetSpec::Latest).unwrap();
        consumer.commit().unwrap();
        consumer.sync().unwrap();
        fill(&log, &mut random, &mut pins, pin);
        let stats = log.stats();
        let (taken, held) = (stats.allocated_bytes, stats.deleted_held_bytes);
        say(&format!("rest {} {taken} {held}", stats.bytes_appended));
        let mut line = String::new();
        std::io::stdin().read_line(&mut line).unwrap();
    }
    drop((pins, consumer));
    log.close().unwrap();
    say("closed");
}

/// The first process, as the second one sees it.
struct Watched {
    process: Child,
    said: Receiver<String>,
    dir: PathBuf,
    most: u64,
    samples: u64,
}

impl Drop for Watched {
    fn drop(&mut self) {
        // A failed test leaves nobody behind that is stopped.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Watched {
    fn start(test: &str, role: &str, dir: &Path) -> Watched {
        let mut command = child(test, role, dir);
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
        Watched { process, said, dir: dir.to_path_buf(), most: 0, samples: 0 }
    }

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
    fn sample(&mut self) -> u64 {
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
        assert!(taken <= BUDGET, "{taken} of {BUDGET} bytes: {:#?}", files.values());
        taken
    }

    /// Samples until it says something.
    fn hear(&mut self) -> String {
        let from = Instant::now();
        loop {
            if let Ok(line) = self.said.recv_timeout(PAUSE) {
                return line;
            }
            assert!(from.elapsed() < Duration::from_secs(120), "it says nothing");
            assert!(self.process.try_wait().unwrap().is_none(), "it ended without a word");
            self.sample();
        }
    }

    fn go_on(&mut self) {
        self.process.stdin.as_mut().unwrap().write_all(b"go\n").unwrap();
    }
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
    for path in util::files(dir) {
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

/// At rest, what the log says it takes is what its files take, a block each more or less.
fn compare(line: &str, taken: u64, files: u64) {
    let numbers: Vec<u64> = line.split(' ').skip(1).map(|word| word.parse().unwrap()).collect();
    let told = numbers[1] + numbers[2];
    assert!(told.abs_diff(taken) <= files * 4096, "told {told} of {taken} in {files} files");
}

/// Three lives on one directory: the first ends by itself, the second is killed while it works,
/// the third finds what that left.
fn live(test: &str, mode: IoMode, policy: &str, dir: &Path) {
    let (mut most, mut samples, mut appended) = (0, 0, 0_u64);
    for life in 0..3 {
        let mut watched = Watched::start(test, &format!("{mode:?} {policy} {life}"), dir);
        let kill_after = if life == 1 { 2 } else { u64::MAX };
        let mut rests = 0;
        loop {
            let line = watched.hear();
            if line == "closed" {
                break;
            }
            if line.starts_with("rest") {
                let taken = watched.sample();
                let files = files_of(watched.process.id(), dir).len() as u64;
                compare(&line, taken, files);
                appended += line.split(' ').nth(1).unwrap().parse::<u64>().unwrap() / ROUNDS;
                rests += 1;
                if rests == kill_after {
                    watched.go_on();
                    thread::sleep(PAUSE);
                    watched.sample();
                    watched.process.kill().unwrap();
                    break;
                }
                watched.go_on();
            }
        }
        watched.process.wait().unwrap();
        let left = files_of(0, dir).values().map(|file| file.0).sum::<u64>();
        assert!(left <= BUDGET, "life {life} left {left}");
        (most, samples) = (most.max(watched.most), samples + watched.samples);
    }
    println!("{mode:?} {policy}: at most {most} of {BUDGET} in {samples} samples");
    assert!(most > BUDGET / 2 && appended > BUDGET, "{most} taken, {appended} appended");
}

/// I19: on tmpfs and on the filesystem of the build, in both modes, whatever the policy.
#[test]
fn no_sample_of_what_a_log_takes_lies_above_its_budget() {
    let test = "no_sample_of_what_a_log_takes_lies_above_its_budget";
    if let Some((role, dir)) = child_role() {
        return work(&role, &dir);
    }
    // The campaign over full disks brings filesystems of its own.
    let grounds = match std::env::var_os("FOREBAY_BUDGET_DIR") {
        Some(dir) => vec![tempfile::tempdir_in(dir).unwrap()],
        None => vec![tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap(), util::scratch()],
    };
    let live_in = move |mode, ground: &Path| {
        for policy in POLICIES {
            let dir = ground.join(format!("{mode:?} {policy}"));
            fs::create_dir(&dir).unwrap();
            live(test, mode, policy, &dir.canonicalize().unwrap());
        }
    };
    thread::scope(|scope| {
        for ground in &grounds {
            for mode in MODES {
                scope.spawn(move || live_in(mode, ground.path()));
            }
        }
    });
}
