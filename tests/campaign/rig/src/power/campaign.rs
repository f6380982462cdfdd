//! What `crashfs run` does: records writers, cuts them everywhere, hurts them, and says what it
//! saw.

use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use forebay::{IoMode, Media};

use super::cuts::{Choice, Cut, all, walk};
use super::faults;
use super::model::{Image, Names, Planted};
use super::planted;
use super::recording::{Recording, Task, record};
use super::served::Setup;
use super::states::States;
use crate::Random;
use crate::lines::Told;
use crate::probe::{LOG, Options, STORE_LOGS, Work, is_durable};

/// What a flash page has that is spoiled by a cut: as far as a log guards against unless asked.
const TORN_BYTES: usize = 4096;
/// Broken laws that are printed; all are counted.
const SHOWN: u64 = 8;

/// One way to write, on one kind of disk.
#[derive(Clone, Debug)]
pub struct Way {
    /// How the writer works.
    pub options: Options,
    /// When names survive.
    pub names: Names,
    /// What is hurt while it is recorded.
    pub setup: Setup,
}

impl Way {
    /// The kinds of writers and disks in turn, each round with other records.
    pub fn number(number: u64) -> Way {
        let (work, rest) = (number % 4, number / 4);
        let (mode, rest) = (rest % 3, rest / 3);
        let (names, round) = (rest % 2, rest / 2);
        let options = Options {
            mode: if mode == 0 { IoMode::Mapped } else { IoMode::Positioned },
            work: Work::ALL[work as usize],
            seed: 1 + number,
            records: 40,
            segment_bytes: 8 << 10,
            every_append: (number + round).is_multiple_of(3),
            media: (mode == 2).then_some(Media::TornOverwrite),
            reopen: (number + round).is_multiple_of(2),
            passing: true,
            plant: None,
        };
        let names = if names == 0 { Names::Strict } else { Names::Journal };
        // Stores through a map reach the disk by themselves as well.
        let write_out_every = if mode == 0 { 5 } else { 0 };
        Way { options, names, setup: Setup { write_out_every, ..Setup::default() } }
    }

    /// What is cut, with chance from this seed.
    pub fn choice(&self, seeds: u64, seed: u64) -> Choice {
        let torn = self.options.media.map(|_| TORN_BYTES);
        Choice { names: self.names, planted: Planted::Nothing, torn, seeds, seed }
    }
}

/// All that is counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Runs of a writer that were recorded, and changes they made.
    pub recordings: u64,
    /// Changes they made.
    pub changes: u64,
    /// States of recoveries that were cut, of those judged.
    pub deep: u64,
    /// States after calls that failed, and calls that did.
    pub hurt: u64,
    /// Calls that failed because they were told to.
    pub hits: u64,
    /// States of disks whose syncs lie.
    pub lied: u64,
    /// States after ranges that could not be read.
    pub unreadable: u64,
    /// Laws that were broken.
    pub bad: u64,
}

/// Where everything happens, and what came of it.
pub struct Bench {
    /// Where filesystems are mounted.
    pub mounted: PathBuf,
    /// The judge.
    pub states: States,
    /// What is counted.
    pub counts: Counts,
    keep: Option<PathBuf>,
}

impl Bench {
    /// In a directory in memory.
    pub fn new(dir: &Path) -> io::Result<Bench> {
        let keep = env::var_os("RIG_KEEP").map(PathBuf::from);
        let (mounted, counts) = (dir.join("mounted"), Counts::default());
        Ok(Bench { mounted, states: States::new(dir)?, counts, keep })
    }

    /// Records one run.
    pub fn record(&mut self, start: &Image, way: &Way, task: Task) -> io::Result<Recording> {
        let recording = record(start, &way.options, task, &way.setup, &self.mounted)?;
        self.counts.recordings += 1;
        self.counts.changes += recording.trace.len() as u64;
        // Who is hurt may be refused for good; and a map of what cannot be read ends its process
        // by a signal, which is documented.
        let Setup { faults, space, bad, .. } = &way.setup;
        let is_fine = match recording.status {
            Some(0) => true,
            Some(3) => !faults.is_empty() || space.is_some(),
            _ => bad.is_some() && way.options.mode == IoMode::Mapped,
        };
        if !is_fine {
            let status = recording.status;
            self.broken(way, None, &[format!("V13 the writer ended with {status:?}")], None)?;
        }
        Ok(recording)
    }

    /// Judges a state; whether it was a new one.
    pub fn judge(&mut self, image: &Image, told: &Told, way: &Way, cut: &Cut) -> io::Result<bool> {
        let Some(bad) = self.states.judge(image, told, &way.options)? else { return Ok(false) };
        if !bad.is_empty() {
            self.broken(way, Some(cut), &bad, Some((image, told)))?;
        }
        Ok(true)
    }

    /// Counts and shows a broken law; with RIG_KEEP in the environment the state is kept there.
    pub fn broken(
        &mut self,
        way: &Way,
        cut: Option<&Cut>,
        bad: &[String],
        state: Option<(&Image, &Told)>,
    ) -> io::Result<()> {
        self.counts.bad += 1;
        let number = self.counts.bad;
        if number > SHOWN {
            return Ok(());
        }
        println!("BAD {} | {:?} {:?} {:?}", bad.join(" | "), way.options, way.names, way.setup);
        println!("    at {cut:?}");
        if let (Some(keep), Some((image, told))) = (&self.keep, state) {
            let dir = keep.join(number.to_string());
            fs::create_dir_all(&dir)?;
            image.put(&dir)?;
            fs::write(keep.join(format!("{number}.lines")), told.to_lines())?;
            println!("    kept in {}", dir.display());
        }
        Ok(())
    }

    /// States judged for the first time.
    pub fn judged(&self) -> u64 {
        self.states.judged
    }
}

/// As a program ends: with 1 if something was found, with 2 if the rig itself failed.
pub fn ended(name: &str, ended: io::Result<bool>) -> ExitCode {
    match ended {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}

/// A directory in memory for one run of a campaign, which is told to the judge as well.
pub fn home(name: &str) -> io::Result<PathBuf> {
    let home = PathBuf::from(env::var_os("RIG_DIR").unwrap_or_else(|| "/dev/shm".into()));
    let home = home.join(format!("{name}-{}", std::process::id()));
    fs::create_dir_all(&home)?;
    // SAFETY: called before anything else, while no other thread runs.
    unsafe { env::set_var("TMPDIR", &home) };
    Ok(home)
}

/// Whether a campaign has to end before its count: after RIG_SECONDS of the environment, or else
/// after a bound of its own.
pub fn enough(from: Instant, bound: Option<Duration>) -> bool {
    let asked = env::var("RIG_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let bound = asked.map(Duration::from_secs).or(bound);
    bound.is_some_and(|bound| from.elapsed() > bound)
}

/// Everything; whether no law was broken and every planted fault was found.
pub fn run(states: u64) -> io::Result<bool> {
    let from = Instant::now();
    let home = home("crashfs")?;
    let ended = campaign(&home, states, from);
    fs::remove_dir_all(&home)?;
    ended
}

fn campaign(home: &Path, states: u64, from: Instant) -> io::Result<bool> {
    let found = planted::find(&home.join("planted"))?;
    let mut bench = Bench::new(home)?;
    enumerate(&mut bench, states, from)?;
    let cut = bench.judged();
    faults::hurt(&mut bench, states.div_ceil(25))?;
    faults::lie(&mut bench, states.div_ceil(50))?;
    faults::unreadable(&mut bench, states.div_ceil(100))?;
    let counts = &bench.counts;
    println!(
        "crashfs: {cut} distinct states of power cuts ({} of them of recoveries), {} after {} \
         calls that failed, {} of lying disks, {} of unreadable ranges; {} recordings, {} changes; \
         planted faults found after {}; broken laws: {}; {:.0} s",
        counts.deep,
        counts.hurt,
        counts.hits,
        counts.lied,
        counts.unreadable,
        counts.recordings,
        counts.changes,
        found.text,
        counts.bad,
        from.elapsed().as_secs_f64()
    );
    Ok(counts.bad == 0 && found.all)
}

/// Cuts every way to write before every change, in rounds, until so many states were judged.
fn enumerate(bench: &mut Bench, states: u64, from: Instant) -> io::Result<()> {
    const WAYS: u64 = 24;
    for number in 0.. {
        let left = states.saturating_sub(bench.judged());
        if left == 0 || enough(from, None) {
            break;
        }
        let way = Way::number(number);
        let recording = bench.record(&Image::default(), &way, Task::Write)?;
        // Few states are spread over the kinds; of many, each kind gets all of its own.
        let quota = (states / WAYS).max(left.min(20));
        cut_all(bench, &way, &recording, &Told::default(), quota, 0)?;
    }
    Ok(())
}

/// Judges so many states of a recording, spread evenly; some of them are mounted again, and their
/// recovery is cut.
fn cut_all(
    bench: &mut Bench,
    way: &Way,
    recording: &Recording,
    told: &Told,
    quota: u64,
    depth: u64,
) -> io::Result<()> {
    const DEPTH_MAX: u64 = 2;
    let choice = way.choice(2, way.options.seed * 4 + depth);
    let mut cuts = all(recording, &choice);
    let mut random = Random::new(choice.seed ^ 0x5eed);
    // A third goes to what comes of some of these states.
    let own = if depth < DEPTH_MAX { quota - quota / 3 } else { quota };
    thin(&mut cuts, own, &mut random);
    let deeper = if depth < DEPTH_MAX { (quota / 200).clamp(1, 8) } else { 0 };
    let chosen: Vec<u64> = (0..deeper).map(|_| random.below(cuts.len() as u64)).collect();
    let mut again = Vec::new();
    let mut number = 0;
    let mut ended = Ok(());
    walk(recording, &choice, &cuts, told.clone(), |cut, image, told| {
        if chosen.contains(&number) {
            again.push((image.clone(), told.clone()));
        }
        number += 1;
        match bench.judge(&image, told, way, cut) {
            Ok(new) => bench.counts.deep += u64::from(new && depth > 0),
            Err(error) => ended = Err(error),
        }
        ended.is_ok()
    });
    ended?;
    for (image, told) in &again {
        let task = if random.below(2) == 0 { Task::Check } else { Task::Write };
        let options = Options { records: 8, reopen: false, ..way.options.clone() };
        let way = Way { options, ..way.clone() };
        let recording = bench.record(image, &way, task)?;
        let told = &before_recovery(told, &way.options, task);
        cut_all(bench, &way, &recording, told, (quota / 3 / deeper).max(4), depth + 1)?;
    }
    Ok(())
}

/// What still holds for a state that is recovered and cut again.
pub fn before_recovery(told: &Told, options: &Options, task: Task) -> Told {
    let mut told = told.clone();
    for ((log, consumer), known) in &mut told.consumers {
        // One of written records was brought back with the end, and the end has moved on since.
        if !is_durable(consumer) {
            let end = told.logs.get(log).map_or(0, |log| log.acknowledged);
            known.made = known.made.min(end);
            known.synced = known.synced.min(end);
        }
    }
    if task == Task::Check {
        // It appends one record to each log, and says so afterwards.
        let logs: &[&str] = if options.work == Work::Store { &STORE_LOGS } else { &[LOG] };
        logs.iter().for_each(|name| told.logs.entry((*name).to_owned()).or_default().handed += 1);
    }
    told
}

/// Leaves so many, in their order.
pub fn thin(cuts: &mut Vec<Cut>, count: u64, random: &mut Random) {
    let mut left = cuts.len() as u64;
    let mut wanted = count;
    cuts.retain(|_| {
        let kept = random.below(left) < wanted;
        wanted -= u64::from(kept);
        left -= 1;
        kept
    });
}
