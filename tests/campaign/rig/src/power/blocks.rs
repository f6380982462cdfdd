//! What `blocks run` does: records what a real ext4 writes to its disk, puts that disk into states
//! that a power cut may leave, mounts each, and judges what is there.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::block_disk::{Block, BlockDisk};
use super::campaign::{Way, enough, home};
use super::model::SECTOR;
use super::real::{Kind, Mounted};
use super::recording::{Task, command, wait};
use super::states::recover;
use crate::lines::Told;
use crate::probe::{Options, Plant};
use crate::run::copy_dir;
use crate::{Random, mix};

const DISK_BYTES: u64 = 8 << 20;
/// States of one recording.
const STATES_EACH: u64 = 150;
/// States within which a planted fault has to be found.
const PLANTED_MAX: u64 = 8 * STATES_EACH;
/// What was recorded on one kind of filesystem.
struct Recording {
    base: Vec<u8>,
    trace: Vec<Block>,
    refused: bool,
}

#[derive(Default)]
struct Counts {
    judged: u64,
    refused: u64,
    unmounted: u64,
    /// Not mountable though nothing was refused: a block of ext4's own torn inside.
    torn: u64,
    recordings: u64,
    writes: u64,
    flushes: u64,
    bad: u64,
    /// Of those.
    bad_refused: u64,
}

struct Bench {
    home: PathBuf,
    bases: Vec<(Kind, Vec<u8>)>,
    seen: HashSet<u64>,
    counts: Counts,
}

/// Everything; whether no law was broken and every planted fault was found.
pub fn run(states: u64) -> io::Result<bool> {
    let from = Instant::now();
    let home = home("blocks")?;
    let ended = campaign(&home, states, from);
    fs::remove_dir_all(&home)?;
    ended
}

fn campaign(home: &Path, states: u64, from: Instant) -> io::Result<bool> {
    let mut bench = Bench {
        home: home.to_owned(),
        bases: Vec::new(),
        seen: HashSet::new(),
        counts: Counts::default(),
    };
    for number in 0..4 {
        let kind = Kind::number(number);
        bench.bases.push((kind, kind.make(DISK_BYTES, home)?));
    }
    let planted = [false, true].map(|flushes| bench.planted(flushes));
    let [early, ignored] = planted.map(|found| found.transpose());
    let (early, ignored) = (early.transpose()?, ignored.transpose()?);
    bench.counts = Counts::default();
    bench.seen.clear();
    for number in 0.. {
        let left = states.saturating_sub(bench.counts.judged);
        if left == 0 || enough(from, None) {
            break;
        }
        // Each fifth of them has one write refused.
        bench.round(number, STATES_EACH.min(left), number % 5 == 4)?;
    }
    let counts = &bench.counts;
    let found = |states: Option<u64>| match states {
        Some(states) => states.to_string(),
        None => format!("NOT within {PLANTED_MAX}"),
    };
    println!(
        "blocks: {} distinct states of ext4 ({} of them after a block write that was refused, \
         {} more not mountable, and {} whose ext4 was torn inside a block); {} recordings, \
         {} block writes, {} flushes; planted faults found after {}, {} states; broken laws: {}, \
         {} of them after a refused write; {:.0} s",
        counts.judged,
        counts.refused,
        counts.unmounted,
        counts.torn,
        counts.recordings,
        counts.writes,
        counts.flushes,
        found(early),
        found(ignored),
        counts.bad,
        counts.bad_refused,
        from.elapsed().as_secs_f64()
    );
    // More of these would be the rig's fault.
    let mountable = counts.torn * 50 <= counts.judged + 50;
    Ok(counts.bad == 0 && mountable && early.is_some() && ignored.is_some())
}

impl Bench {
    /// One way to write on one kind of ext4, and so many states of its disk.
    fn round(&mut self, number: u64, states: u64, refuse: bool) -> io::Result<()> {
        let way = real_way(number);
        let mut random = Random::new(number);
        let refuse = refuse.then(|| random.below(120));
        let kind = self.bases[(number / 12 % 4) as usize].0;
        let recording = self.record(kind, &way, refuse)?;
        let name = kind.name();
        let mut shown = 0;
        let mut walked = Walked::new(&recording);
        for at in places(&recording, states, &mut random) {
            walked.advance(at);
            let found = self.state(&mut walked, kind, &way.options, &mut random)?;
            let Some(bad) = found else { continue };
            self.counts.judged += 1;
            self.counts.refused += u64::from(recording.refused);
            if bad.is_empty() {
                continue;
            }
            self.counts.bad += 1;
            self.counts.bad_refused += u64::from(recording.refused);
            shown += 1;
            if shown == 1 {
                let (options, laws) = (&way.options, bad.join(" | "));
                println!("BAD {laws} | {name} {options:?} refused {refuse:?}, cut at {at}");
            }
        }
        if shown > 1 {
            println!("    and {} more states of it", shown - 1);
        }
        Ok(())
    }

    /// States until a planted fault is found: a writer that acknowledges what it did not flush, or
    /// a disk that ignores flushes.
    fn planted(&mut self, ignores_flushes: bool) -> io::Result<Option<u64>> {
        let mut states = 0;
        for number in 0..PLANTED_MAX / STATES_EACH {
            let mut way = real_way(number);
            let kind = self.bases[(number % 4) as usize].0;
            way.options.plant = (!ignores_flushes).then_some(Plant::NoFlush);
            let mut recording = self.record(kind, &way, None)?;
            if ignores_flushes {
                recording.trace.retain(|block| !matches!(block, Block::Flush));
            }
            way.options.plant = None;
            let mut random = Random::new(number);
            let mut walked = Walked::new(&recording);
            for at in places(&recording, STATES_EACH, &mut random) {
                walked.advance(at);
                let found = self.state(&mut walked, kind, &way.options, &mut random)?;
                let Some(bad) = found else { continue };
                states += 1;
                if !bad.is_empty() {
                    return Ok(Some(states));
                }
            }
        }
        let what = match ignores_flushes {
            true => "a disk that ignores flushes",
            false => "a writer that acknowledges what it did not flush",
        };
        println!("BAD not found within {states} states: {what}");
        Ok(None)
    }

    fn record(&mut self, kind: Kind, way: &Way, refuse: Option<u64>) -> io::Result<Recording> {
        let (under, top) = (self.home.join("under"), self.home.join("recorded"));
        let base = self.bases.iter().find(|(of, _)| *of == kind).map(|(_, base)| base.clone());
        let base = base.unwrap_or_default();
        let disk = BlockDisk::mount(base, &under, &top, way.setup.write_out_every)?;
        let mounted = Mounted::mount(&disk.path(), kind, &top)?;
        let base = disk.begin(refuse);
        let mut command = command(&top, &way.options, Task::Write)?;
        command.stdout(disk.said()?);
        let child = command.spawn()?;
        drop(command);
        let status = wait(child)?;
        disk.power_off();
        mounted.unmount()?;
        let trace = disk.finish()?;
        let count = |is: fn(&Block) -> bool| trace.iter().filter(|block| is(block)).count() as u64;
        let refused = count(|block| matches!(block, Block::Refused)) > 0;
        self.counts.recordings += 1;
        self.counts.writes += count(|block| matches!(block, Block::Write(..)));
        self.counts.flushes += count(|block| matches!(block, Block::Flush));
        // A write of a map that the device refuses may end its writer by a signal.
        if status != Some(0) && !refused {
            self.counts.bad += 1;
            println!("BAD V13 the writer ended with {status:?} | {:?}", way.options);
        }
        Ok(Recording { base, trace, refused })
    }

    /// Judges a state by chance, of a cut at this place; `None` if it was judged before, or cannot
    /// be mounted because a write was refused.
    fn state(
        &mut self,
        walked: &mut Walked<'_>,
        kind: Kind,
        options: &Options,
        random: &mut Random,
    ) -> io::Result<Option<Vec<String>>> {
        let (undo, hash) = walked.keep(random);
        let lines = walked.told.to_lines();
        let hash = lines.bytes().fold(hash, |sum, byte| mix(sum ^ u64::from(byte)));
        let new = self.seen.insert(mix(hash ^ options.seed));
        let path = self.home.join("state.img");
        if new {
            let file = fs::File::options().write(true).create(true).truncate(false).open(&path)?;
            file.write_all_at(&walked.image, 0)?;
        }
        for (start, bytes) in undo.into_iter().rev() {
            walked.image[start..start + bytes.len()].copy_from_slice(&bytes);
        }
        if !new {
            return Ok(None);
        }
        // Most are copied into memory, and recovered there: that is three times as fast.
        let here = random.below(6) == 0;
        let mount = if here { Mounted::mount } else { Mounted::mount_to_read };
        let mounted = match mount(&path, kind, &self.home.join("state")) {
            Ok(mounted) => mounted,
            Err(_) => {
                match walked.recording.refused {
                    true => self.counts.unmounted += 1,
                    false => self.counts.torn += 1,
                }
                return Ok(None);
            }
        };
        if here {
            let bad = recover(mounted.dir(), &walked.told, options);
            mounted.unmount()?;
            return Ok(Some(bad));
        }
        let copy = self.home.join("copy");
        let _ = fs::remove_dir_all(&copy);
        copy_dir(mounted.dir(), &copy)?;
        mounted.unmount()?;
        Ok(Some(recover(&copy, &walked.told, options)))
    }
}

/// A way to write in which a log is mapped as it would be anyway.
fn real_way(number: u64) -> Way {
    let mut way = Way::number(number);
    way.options.segment_bytes = 32 << 10;
    way.options.records = 120;
    way
}

/// Places of cuts by chance, in order.
fn places(recording: &Recording, count: u64, random: &mut Random) -> Vec<usize> {
    let bound = recording.trace.len() as u64 + 1;
    let mut places: Vec<usize> = (0..count).map(|_| random.below(bound) as usize).collect();
    places.sort_unstable();
    places
}

/// A recording that is gone through: the disk with all that was flushed, and what was said.
struct Walked<'a> {
    recording: &'a Recording,
    image: Vec<u8>,
    /// A number of what was applied.
    hash: u64,
    /// What comes before is applied, and what comes before was heard.
    flushed: usize,
    at: usize,
    told: Told,
}

/// Where bytes were, and which.
type Undo = Vec<(usize, Vec<u8>)>;

impl Walked<'_> {
    fn new(recording: &Recording) -> Walked<'_> {
        let (image, told) = (recording.base.clone(), Told::default());
        Walked { recording, image, hash: 0, flushed: 0, at: 0, told }
    }

    /// Goes on to the cut before this change.
    fn advance(&mut self, at: usize) {
        let trace = &self.recording.trace;
        for (n, block) in trace[self.at..at].iter().enumerate() {
            match block {
                Block::Line(line) => self.told.add(line),
                Block::Write(..) | Block::Refused => {}
                Block::Flush => {
                    let until = self.at + n;
                    for block in &trace[self.flushed..until] {
                        let Block::Write(start, bytes) = block else { continue };
                        self.image[*start..start + bytes.len()].copy_from_slice(bytes);
                        self.hash = added(self.hash, *start, bytes);
                    }
                    self.flushed = until;
                }
            }
        }
        self.at = at;
    }

    /// Of what was written since the last flush, keeps each sector by chance, or one write alone,
    /// or all but one, or those that came first. What was there before, and a number of it all.
    fn keep(&mut self, random: &mut Random) -> (Undo, u64) {
        let trace = &self.recording.trace;
        let loose: Vec<usize> =
            (self.flushed..self.at).filter(|n| matches!(trace[*n], Block::Write(..))).collect();
        let percent = [0, 10, 50, 90, 100][random.below(5) as usize];
        let shape = random.below(6);
        let one = loose.get(random.below(loose.len().max(1) as u64) as usize).copied();
        let (mut undo, mut hash) = (Undo::new(), self.hash);
        for n in loose {
            let Block::Write(start, bytes) = &trace[n] else { continue };
            for (sector, at) in bytes.chunks(SECTOR).zip((*start..).step_by(SECTOR)) {
                let kept = match shape {
                    0 => Some(n) == one,
                    1 => Some(n) != one,
                    2 => one.is_some_and(|one| n < one || n == one && random.below(2) == 0),
                    _ => random.below(100) < percent,
                };
                if kept {
                    let place = &mut self.image[at..at + sector.len()];
                    undo.push((at, place.to_vec()));
                    place.copy_from_slice(sector);
                    hash = added(hash, at, sector);
                }
            }
        }
        (undo, hash)
    }
}

fn added(hash: u64, at: usize, bytes: &[u8]) -> u64 {
    let words = bytes.as_chunks::<8>().0.iter();
    words.fold(mix(hash ^ at as u64), |sum, word| mix(sum ^ u64::from_le_bytes(*word)))
}
