//! SIGKILL at random moments, on directories that stay.
//!
//! Two directories take turns: a log under everything a log can be under at once, and a store in
//! the hand of one writer. Each life ends at a random moment, in opening and recovering too; then
//! the judge looks, and the next life goes on with what is there. How files are written, mapped or
//! by position, is drawn anew each time.

mod child;

use std::fs;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use forebay::{IoMode, Log, OffsetSpec};

use crate::Random;
use crate::lines::{Lines, Told};
use crate::probe::{self, Options, Plant, Work, log_dir};
use crate::record::{Content, content};
use crate::run::{Fate, sibling, wait};

pub use child::live;

/// The consumer that the replicator keeps its progress under.
pub const SHIP: &str = "ship";

/// Bytes of a segment, small, so that lives meet rolls.
const SEGMENT_BYTES: usize = 16 << 10;
/// Records after which the store begins anew.
const STORE_RECORDS_MAX: i64 = 20_000;
/// How often the judge recovers a copy twice.
const TWICE_EVERY: u64 = 16;

/// Where the second log lies.
pub fn upstream_dir(dir: &Path) -> PathBuf {
    dir.join("upstream")
}

/// What many lives came to.
#[derive(Debug, Default)]
pub struct Lives {
    pub kills: u64,
    /// Killed before the first record: in opening, creating, recovering.
    pub early: u64,
    /// Those that ended by themselves; none should.
    pub ended: u64,
    pub records: i64,
    pub shipped: i64,
    pub bad: u64,
}

/// One of the directories, and what was said about it.
struct Place {
    dir: PathBuf,
    lines: PathBuf,
    work: Work,
}

/// Lives and ends so many times under `scratch`.
///
/// # Errors
/// What the harness itself cannot do.
pub fn kill(scratch: &Path, kills: u64, seed: u64, mut say: impl FnMut(&str)) -> io::Result<Lives> {
    let mut random = Random::new(seed);
    let mut lives = Lives::default();
    let places = [(Work::Append, "threads"), (Work::Store, "store")].map(|(work, name)| Place {
        dir: scratch.join(name),
        lines: scratch.join(format!("{name}.lines")),
        work,
    });
    for number in 0..kills {
        let place = &places[usize::from(random.below(4) == 0)];
        let mode = [IoMode::Mapped, IoMode::Positioned][random.below(2) as usize];
        let before = Told::read(&place.lines)?;
        let fate = one_life(place, mode, &mut random, &mut lives)?;
        let told = Told::read(&place.lines)?;
        let twice = number % TWICE_EVERY == 0;
        let mut bad = after_death(place, mode, &told, twice, &mut lives)?;
        if fate != Fate::Signal(libc::SIGKILL) {
            lives.ended += 1;
            bad.push(format!("V13 it ended as {fate:?}"));
        }
        let sum = |told: &Told| told.logs.values().map(|log| log.put).sum::<i64>();
        lives.early += u64::from(sum(&told) == sum(&before));
        lives.records += sum(&told) - sum(&before);
        // What the judge appended counts as well, and the file stays small.
        let kept = Told { bad: Vec::new(), ..Told::read(&place.lines)? };
        fs::write(&place.lines, kept.to_lines())?;
        // Two logs of the store keep all they get: it begins anew before judging takes long.
        let begins_anew = place.work == Work::Store && sum(&told) > STORE_RECORDS_MAX;
        if begins_anew {
            let _ = fs::remove_dir_all(&place.dir);
            let _ = fs::remove_file(&place.lines);
        }
        if !bad.is_empty() {
            lives.bad += 1;
            say(&format!("BAD kill {number}, seed {seed}, {mode:?}: {}", bad.join("; ")));
            // What is broken stays broken: the next life begins anew.
            let _ = fs::remove_dir_all(&place.dir);
            let _ = fs::remove_file(&place.lines);
        }
    }
    Ok(lives)
}

fn one_life(
    place: &Place,
    mode: IoMode,
    random: &mut Random,
    lives: &mut Lives,
) -> io::Result<Fate> {
    let mode = if mode == IoMode::Mapped { "mapped" } else { "positioned" };
    let seed = "5".to_owned();
    let (dir, lines) = (place.dir.display().to_string(), place.lines.display().to_string());
    let mut command = match place.work {
        Work::Store => {
            let mut command = Command::new(sibling("probe")?);
            command.args(["write", &dir, "--work", "store", "--records", "1000000"]);
            command.args(["--no-reopen", "--segment", &SEGMENT_BYTES.to_string()]);
            command
        }
        _ => {
            let mut command = Command::new(sibling("kill")?);
            command.args(["--child", &dir]);
            command
        }
    };
    command.args(["--mode", mode, "--seed", &seed, "--acks", &lines]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    let mut child = command.spawn()?;
    // Some die young: the first milliseconds are opening and recovering.
    let micros = match random.below(3) {
        0 => random.below(6_000),
        1 => random.below(20_000),
        _ => random.below(60_000),
    };
    std::thread::sleep(Duration::from_micros(micros));
    lives.kills += 1;
    end(&mut child)
}

fn end(child: &mut Child) -> io::Result<Fate> {
    child.kill()?;
    wait(child, Duration::from_secs(10))
}

/// V1 to V8, V16 and V17, and the second log: whatever the first takes for shipped is there.
fn after_death(
    place: &Place,
    mode: IoMode,
    told: &Told,
    twice: bool,
    lives: &mut Lives,
) -> io::Result<Vec<String>> {
    let options = options(mode, place.work);
    let lines = Lines::new().and_file(&place.lines)?;
    if !place.dir.exists() {
        return Ok(told.bad.clone());
    }
    // The lock is free at once: the judge opens without waiting (V16).
    let mut bad = probe::check(&place.dir, &options, told, true, twice, &lines).bad;
    if place.work != Work::Store {
        bad.extend(second_log(&place.dir, &options, lives));
    }
    Ok(bad)
}

fn second_log(dir: &Path, options: &Options, lives: &mut Lives) -> Vec<String> {
    let mut bad = Vec::new();
    let upstream = upstream_dir(dir);
    if !upstream.join("log.meta").exists() {
        return bad;
    }
    let source = match options.log().open(log_dir(dir)) {
        Ok(source) => source,
        Err(error) => return vec![format!("V16 the first log again: {error}")],
    };
    let shipped = source.consumers().into_iter().find(|one| one.name == SHIP);
    let shipped = shipped.map_or(0, |one| one.committed.get());
    // As a writer: its recovery is judged too.
    let mirror = match options.log().mirror_of(source.id()).open(&upstream) {
        Ok(mirror) => mirror,
        Err(error) => return vec![format!("V13 the second log: {error}")],
    };
    let end = mirror.log_end_offset().get();
    if end < shipped {
        bad.push(format!("L the second log ends at {end}, shipped is {shipped}"));
    }
    if end > source.log_end_offset().get() {
        bad.push(format!("L the second log ends at {end}, beyond its source"));
    }
    lives.shipped = lives.shipped.max(shipped);
    bad.extend(same_records(&mirror, options.seed));
    bad
}

fn same_records(mirror: &Log, seed: u64) -> Vec<String> {
    let mut bad = Vec::new();
    let Ok(reader) = mirror.reader(OffsetSpec::Earliest) else {
        return vec!["the second log has no reader".to_owned()];
    };
    for batch in reader {
        let batch = match batch {
            Ok(batch) => batch,
            Err(error) => {
                bad.push(format!("V2 the second log: {error}"));
                break;
            }
        };
        for record in batch.records().filter_map(Result::ok) {
            let at = record.offset().get();
            if Content::of(&record) != content(seed, probe::LOG, at) {
                bad.push(format!("V2 the second log has another record at {at}"));
            }
        }
    }
    bad
}

/// What both the living and the judge open with.
pub fn options(mode: IoMode, work: Work) -> Options {
    let base = Options { plant: Plant::asked(), ..Options::default() };
    Options { mode, work, seed: 5, segment_bytes: SEGMENT_BYTES, reopen: false, ..base }
}
