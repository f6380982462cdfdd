//! Calls that fail, disks that lie, ranges that cannot be read.

use std::io;

use super::campaign::{Bench, Way, before_recovery, thin};
use super::cuts::{Choice, Cut, all, walk};
use super::model::{Change, Image, Keep, Model, Names, Planted};
use super::recording::{DOUBT, Recording, Task};
use super::served::{Call, Fault, HURT, Setup};
use crate::Random;
use crate::lines::Told;
use crate::probe::Options;

/// States of each run in which something failed.
const STATES_EACH: u64 = 8;

/// Calls of each kind that a run makes.
fn counts(recording: &Recording) -> [(Call, u64); 8] {
    let count =
        |is: fn(&Change) -> bool| recording.trace.iter().filter(|change| is(change)).count() as u64;
    [
        (Call::Sync, count(|change| matches!(change, Change::SyncFile { .. }))),
        (Call::SyncDir, count(|change| matches!(change, Change::SyncDir { .. }))),
        (Call::Write, count(|change| matches!(change, Change::Write { .. }))),
        (Call::Make, count(|change| matches!(change, Change::Name { .. }))),
        // Growing is mostly that; where it is not, the fault waits for one.
        (Call::Allocate, count(|change| matches!(change, Change::Length { .. }))),
        (Call::Length, count(|change| matches!(change, Change::Length { .. }))),
        (Call::Unlink, count(|change| matches!(change, Change::Unname { .. }))),
        (Call::Rename, count(|change| matches!(change, Change::Rename { .. }))),
    ]
}

/// Lets calls fail, one kind at a time: each sync in turn, its dirty pages taken for written and
/// gone; a device with no room; and any other. The writer opens the log anew and goes on; the power
/// goes where it fails, or later. What was acknowledged is there.
pub fn hurt(bench: &mut Bench, states: u64) -> io::Result<()> {
    let mut number = 0;
    while bench.counts.hurt < states {
        let way = Way::number(number);
        number += 1;
        let recording = bench.record(&Image::default(), &way, Task::Write)?;
        let mut random = Random::new(number);
        // As many runs for each way as are needed for all to have their turn.
        for run in 0..(states / STATES_EACH / 12).clamp(2, 24) {
            let setup = hurting(&recording, &way, run, &mut random);
            let way = Way { setup, ..way.clone() };
            let recording = bench.record(&Image::default(), &way, Task::Write)?;
            bench.counts.hits += recording.hit;
            if recording.hit > 0 {
                after_hit(bench, &way, &recording, &mut random)?;
            }
        }
    }
    Ok(())
}

fn hurting(recording: &Recording, way: &Way, run: u64, random: &mut Random) -> Setup {
    let mut setup = way.setup.clone();
    let counts = counts(recording);
    let errno = if random.below(3) == 0 { libc::ENOSPC } else { libc::EIO };
    match run % 4 {
        // Half of them are syncs.
        0 | 2 => {
            let after = random.below(counts[0].1.max(1));
            let times = 1 + random.below(2);
            setup.faults.push(Fault { call: Call::Sync, after, times, errno });
        }
        1 => {
            let (call, count) = counts[1 + random.below(7) as usize];
            let times = 1 + random.below(3);
            setup.faults.push(Fault { call, after: random.below(count.max(1)), times, errno });
        }
        _ => {
            let mut model = Model::new(&recording.start, way.names, Planted::Nothing);
            let used = recording.trace.iter().map(|change| {
                model.apply(change);
                model.used()
            });
            let most = used.max().unwrap_or(0) as u64;
            setup.space = Some((most / 4 + random.below(most.max(1))) as usize);
        }
    }
    setup
}

fn after_hit(
    bench: &mut Bench,
    way: &Way,
    recording: &Recording,
    random: &mut Random,
) -> io::Result<()> {
    let hurt = |change: &Change| matches!(change, Change::Line(line) if line.starts_with(HURT));
    let first = recording.trace.iter().position(hurt).unwrap_or(0);
    let choice = way.choice(1, random.number());
    let mut cuts = all(recording, &choice);
    cuts.retain(|cut| cut.before > first);
    thin(&mut cuts, STATES_EACH - 2, random);
    // At once, and at the very end: what was forgotten is not there.
    let end = recording.trace.len();
    cuts.insert(0, Cut { before: first + 1, keep: Keep::None });
    cuts.extend([Keep::None, Keep::All].map(|keep| Cut { before: end, keep }));
    let mut ended = Ok(());
    walk(recording, &choice, &cuts, Told::default(), |cut, image, told| {
        match bench.judge(&image, told, way, cut) {
            Ok(new) => bench.counts.hurt += u64::from(new),
            Err(error) => ended = Err(error),
        }
        ended.is_ok()
    });
    ended
}

/// Syncs that claim to have happened: what was acknowledged may be gone, and never are other
/// records read in its place.
pub fn lie(bench: &mut Bench, states: u64) -> io::Result<()> {
    let mut number = 0;
    while bench.counts.lied < states {
        let way = Way::number(number);
        number += 1;
        let recording = bench.record(&Image::default(), &way, Task::Write)?;
        let mut random = Random::new(number);
        for planted in [Planted::LyingSync, Planted::LyingDirSync] {
            let choice = Choice { planted, ..way.choice(1, random.number()) };
            let mut cuts = all(&recording, &choice);
            thin(&mut cuts, (states / 24).max(4), &mut random);
            let mut ended = Ok(());
            walk(&recording, &choice, &cuts, Told::default(), |cut, image, told| {
                ended = lied(bench, &way, cut, &image, told);
                ended.is_ok()
            });
            ended?;
        }
    }
    Ok(())
}

fn lied(bench: &mut Bench, way: &Way, cut: &Cut, image: &Image, told: &Told) -> io::Result<()> {
    let Some(mut bad) = bench.states.judge(image, told, &way.options)? else { return Ok(()) };
    bench.counts.lied += 1;
    bad.retain(|text| is_harm(text));
    match bad.is_empty() {
        true => Ok(()),
        false => bench.broken(way, Some(cut), &bad, Some((image, told))),
    }
}

/// Wrong records, or a panic: what no disk excuses.
fn is_harm(text: &str) -> bool {
    text.contains("another record") || text.contains("panicked")
}

/// Ranges of segments and their indexes that cannot be read while a log is recovered: whatever it
/// made of that, everything is there once they can be read again.
pub fn unreadable(bench: &mut Bench, states: u64) -> io::Result<()> {
    let mut number = 0;
    while bench.counts.unreadable < states {
        let way = Way::number(number);
        number += 1;
        let recording = bench.record(&Image::default(), &way, Task::Write)?;
        let mut random = Random::new(number);
        let choice = way.choice(1, random.number());
        let mut cuts = all(&recording, &choice);
        let late = recording.trace.len() / 2;
        cuts.retain(|cut| cut.before > late);
        thin(&mut cuts, 4, &mut random);
        let mut found = Vec::new();
        walk(&recording, &choice, &cuts, Told::default(), |_, image, told| {
            found.push((image, told.clone()));
            true
        });
        for (image, told) in &found {
            for _ in 0..2 {
                without_range(bench, &way, image, told, &mut random)?;
            }
        }
    }
    Ok(())
}

fn without_range(
    bench: &mut Bench,
    way: &Way,
    image: &Image,
    told: &Told,
    random: &mut Random,
) -> io::Result<()> {
    let parts = [".log", ".index", ".timeindex", "log.meta"];
    let files: Vec<(&String, usize)> = image
        .files
        .iter()
        .filter(|(path, _)| parts.iter().any(|end| path.ends_with(end)))
        .map(|(path, (_, bytes))| (path, bytes.len()))
        .filter(|(_, length)| *length > 0)
        .collect();
    if files.is_empty() {
        return Ok(());
    }
    let (path, length) = files[random.below(files.len() as u64) as usize];
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    let from = random.below(length as u64);
    let bad = Some((name, from, 1 + random.below(4096)));
    let setup = Setup { bad, ..Setup::default() };
    let options = Options { reopen: false, ..way.options.clone() };
    let way = Way { setup, options, names: Names::Strict };
    let recording = bench.record(image, &way, Task::Check)?;
    let mut told = before_recovery(told, &way.options, Task::Check);
    let mut model = Model::new(image, Names::Strict, Planted::Nothing);
    for change in &recording.trace {
        model.apply(change);
        if let Change::Line(line) = change {
            told.add(line);
            if line.starts_with(DOUBT) && is_harm(line) {
                let bad = [line.clone()];
                bench.broken(&way, None, &bad, Some((image, &told)))?;
            }
        }
    }
    let cut = Cut { before: recording.trace.len(), keep: Keep::All };
    let new = bench.judge(&model.cut(Keep::All), &told, &way, &cut)?;
    bench.counts.unreadable += u64::from(new);
    Ok(())
}
