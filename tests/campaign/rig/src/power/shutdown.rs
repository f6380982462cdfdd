//! What `shutdown run` does: kills a real ext4 under a writer by its shutdown call, journal and
//! all, mounts it again and judges what is there.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::campaign::{Way, enough, home};
use super::real::{Kind, Mounted};
use super::recording::{Task, command, wait};
use super::states::recover;
use crate::Random;
use crate::lines::Told;
use crate::probe::{Options, Plant};

const DISK_BYTES: u64 = 8 << 20;
/// Cuts within which a planted fault has to be found.
const PLANTED_MAX: u64 = 100;
/// More than a writer gets to before the cut.
const RECORDS: u64 = 1_000_000;
/// The latest moment of a cut.
const CUT_MICROS: u64 = 60_000;
/// Broken laws that are printed; all are counted.
const SHOWN: u64 = 8;
/// A campaign ends by then, however many cuts were asked for.
const ENOUGH: Duration = Duration::from_secs(600);

#[derive(Default)]
struct Counts {
    cuts: u64,
    acknowledged: i64,
    bad: u64,
}

/// Everything; whether no law was broken and the planted fault was found.
pub fn run(cuts: u64) -> io::Result<bool> {
    let from = Instant::now();
    let home = home("shutdown")?;
    let ended = campaign(&home, cuts, from);
    fs::remove_dir_all(&home)?;
    ended
}

fn campaign(home: &Path, cuts: u64, from: Instant) -> io::Result<bool> {
    let mut bases = Vec::new();
    for number in 0..4 {
        let kind = Kind::number(number);
        bases.push((kind, kind.make(DISK_BYTES, home)?));
    }
    let mut random = Random::new(1);
    let mut found = None;
    for number in 0..PLANTED_MAX {
        let (kind, base) = &bases[(number % 4) as usize];
        let options = Options { plant: Some(Plant::NoFlush), ..writer(number) };
        let (_, bad) = cut(home, *kind, base, &options, &mut random)?;
        if !bad.is_empty() {
            found = Some(number + 1);
            break;
        }
    }
    let mut counts = Counts::default();
    for number in 0..cuts {
        if enough(from, Some(ENOUGH)) {
            break;
        }
        let (kind, base) = &bases[(number / 12 % 4) as usize];
        let options = writer(number);
        let (acknowledged, bad) = cut(home, *kind, base, &options, &mut random)?;
        counts.cuts += 1;
        counts.acknowledged += acknowledged;
        counts.bad += u64::from(!bad.is_empty());
        if !bad.is_empty() && counts.bad <= SHOWN {
            println!("BAD {} | {} {options:?}", bad.join(" | "), kind.name());
        }
    }
    println!(
        "shutdown: {} cuts of ext4, {} records acknowledged before them; planted fault found after \
         {} cuts; broken laws: {}; {:.0} s",
        counts.cuts,
        counts.acknowledged,
        found.map_or(format!("NOT within {PLANTED_MAX}"), |cuts: u64| cuts.to_string()),
        counts.bad,
        from.elapsed().as_secs_f64()
    );
    Ok(counts.bad == 0 && found.is_some())
}

fn writer(number: u64) -> Options {
    let options = Way::number(number).options;
    Options { records: RECORDS, segment_bytes: 64 << 10, reopen: false, ..options }
}

/// One cut: how many records were acknowledged before, and which laws were broken.
fn cut(
    home: &Path,
    kind: Kind,
    base: &[u8],
    options: &Options,
    random: &mut Random,
) -> io::Result<(i64, Vec<String>)> {
    let (image, said): (PathBuf, PathBuf) = (home.join("disk.img"), home.join("said"));
    let file = File::options().write(true).create(true).truncate(false).open(&image)?;
    file.write_all_at(base, 0)?;
    drop(file);
    let mounted = Mounted::mount(&image, kind, &home.join("mounted"))?;
    let mut command = command(mounted.dir(), options, Task::Write)?;
    let mut child = command.stdout(File::create(&said)?).spawn()?;
    std::thread::sleep(Duration::from_micros(4_000 + random.below(CUT_MICROS)));
    // What is acknowledged from now on may be a sync that races with the cut.
    let before = Told::parse(&fs::read(&said)?);
    let dead = mounted.shut_down();
    // It may have ended by itself.
    let _ = child.kill();
    wait(child)?;
    dead?;
    mounted.unmount()?;
    let mut told = before.clone();
    let after = Told::parse(&fs::read(&said)?);
    for (name, after) in &after.logs {
        let known = told.logs.entry(name.clone()).or_default();
        known.handed = after.handed;
    }
    for (name, after) in &after.consumers {
        told.consumers.entry(name.clone()).or_default().tried = after.tried;
    }
    let mounted = match Mounted::mount(&image, kind, &home.join("mounted")) {
        Ok(mounted) => mounted,
        Err(error) => return Ok((0, vec![format!("not mountable: {error}")])),
    };
    let options = Options { plant: None, ..options.clone() };
    let bad = recover(mounted.dir(), &told, &options);
    mounted.unmount()?;
    let acknowledged = before.logs.values().map(|log| log.acknowledged).sum();
    Ok((acknowledged, bad))
}
