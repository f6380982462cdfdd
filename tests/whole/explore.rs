//! Ends a machine or process before its calls to the storage, and has what is left judged; again
//! while that recovers.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use forebay::simulation::Disk;

use super::books::Books;
use super::drive::{Plant, Watcher, World, changes, end};
use super::judge::{self, Level};
use super::laws::{self, Law, Violation};
use super::link::Machine;
use super::script::{Ground, Line};
use super::tally::Tally;
use super::words::{Cut, How, Kept, mix};

/// How far an exploration goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// One moment in this many is one that ends are made at.
    pub(crate) one_in: u64,
    /// Random power cuts at each of them, besides those that keep nothing and everything.
    pub(crate) random: u64,
    /// One state in this many lives on, and one is held to everything.
    pub(crate) life_one_in: u64,
    pub(crate) deep_one_in: u64,
    /// How often a recovery is ended in its turn.
    pub(crate) depth: usize,
}

/// One run, while it is cut.
struct Run {
    line: Line,
    effort: Effort,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
}

/// Runs a line's workload once, ends it wherever the effort says, and judges every state.
pub(crate) fn explore(line: &Line, effort: Effort, tally: &Arc<Tally>, plant: Plant) {
    tally.begin();
    let stop = Arc::new(AtomicBool::new(false));
    let (line, tally) = (line.clone(), tally.clone());
    let run = Arc::new(Run { line, effort, tally, stop: stop.clone() });
    let watching = run.clone();
    let watcher: Watcher = Arc::new(move |disk, moment, books, machine| {
        watching.before(disk, moment, books, machine);
    });
    let mut world = World::new(&run.line.ground, plant, Some(watcher));
    world.stop = stop;
    let done = guarded(|| world.run(&run.line.ops));
    if run.stop.load(Ordering::Relaxed) {
        return;
    }
    match done {
        Ok(()) => {
            let books = world.books().clone();
            run.ends(&world.disk, (run.line.ops.len(), 0), &books, &world.upstream);
        }
        Err(broken) => {
            run.tally.fail(&Line { at: 0, cuts: Vec::new(), ..run.line.clone() }, broken)
        }
    }
}

fn guarded(run: impl FnOnce() -> Law) -> Law {
    laws::v13_no_harm("the run", catch_unwind(AssertUnwindSafe(run)))?
}

impl Run {
    fn before(&self, disk: &Disk, moment: (usize, u64), books: &Books, machine: &Machine) {
        let (op, call) = moment;
        let chance = mix(self.line.ground.disk.seed ^ mix((op as u64) << 32 | call));
        if !self.stop.load(Ordering::Relaxed) && chance.is_multiple_of(self.effort.one_in) {
            self.ends(disk, moment, books, machine);
        }
    }

    /// All ends of one moment.
    fn ends(&self, disk: &Disk, (op, call): (usize, u64), books: &Books, machine: &Machine) {
        let upstream = machine.lock().unwrap().clone();
        let seed = mix(self.line.ground.disk.seed ^ mix(call) ^ op as u64);
        let hows = hows(disk, seed, self.effort.random).into_iter();
        for how in hows.filter(|how| is_judged(*how, books)) {
            if self.stop.load(Ordering::Relaxed) || self.tally.over() {
                return;
            }
            let cuts = vec![Cut { call, how }];
            let state = (&end(disk, how), cuts);
            if let Err((cuts, broken)) = self.state(state, books, &upstream, self.effort.depth) {
                self.stop.store(true, Ordering::Relaxed);
                self.tally.fail(&Line { at: op, cuts, ..self.line.clone() }, broken);
            }
        }
    }

    /// Judges one state if it is new under these obligations; one in some is ended again while it
    /// recovers.
    fn state(
        &self,
        (disk, cuts): (&Disk, Vec<Cut>),
        books: &Books,
        upstream: &Disk,
        depth: usize,
    ) -> Result<(), (Vec<Cut>, Violation)> {
        let (image, how) = (disk.image(), worst(&cuts));
        let key = mix(image ^ mix(books.obligations() ^ u64::from(how == How::Kill)));
        if !self.tally.is_new(image, key) {
            return Ok(());
        }
        let (deep, life) = (self.effort.deep_one_in, self.effort.life_one_in);
        let level = match mix(key) {
            chance if chance.is_multiple_of(deep) => Level::Deep,
            chance if chance.is_multiple_of(life) => Level::Life,
            _ => Level::Base,
        };
        let again = (level == Level::Deep && depth > 0).then(|| disk.kill());
        let ground = &self.line.ground;
        judge::check(disk, how, books, ground, level, upstream)
            .map_err(|broken| (cuts.clone(), broken))?;
        let Some(again) = again else { return Ok(()) };
        for (more, state) in states_of_recovery(&again, books, ground, mix(key)) {
            let cuts = cuts.iter().copied().chain([more]).collect();
            self.state((&state, cuts), books, upstream, depth - 1)?;
        }
        Ok(())
    }
}

/// A process that is killed between a failed sync and its word writes in place what the device may
/// keep nothing of: the guarantees except it.
fn is_judged(how: How, books: &Books) -> bool {
    how != How::Kill || !books.logs.iter().any(|book| book.model.unsaid)
}

/// A power cut on the way leaves what a power cut leaves, whatever comes after it.
fn worst(cuts: &[Cut]) -> How {
    cuts.iter().map(|cut| cut.how).find(|how| *how != How::Kill).unwrap_or(How::Kill)
}

/// The ends of one moment: the process, and the power, with nothing loose kept, everything, or what
/// chance says.
fn hows(disk: &Disk, seed: u64, random: u64) -> Vec<How> {
    let loose = disk.loose();
    let mut hows = vec![How::Kill, How::Power(Kept::Nothing)];
    if loose == 0 {
        return hows;
    }
    hows.push(How::Power(Kept::Everything));
    for nth in 0..random {
        let chance = mix(seed ^ nth << 48);
        let one = (chance >> 8) as usize % loose;
        hows.push(How::Power(match chance % 6 {
            0 => Kept::Prefix(one),
            1 => Kept::Only(one),
            2 => Kept::AllBut(one),
            _ => Kept::Seed(chance),
        }));
    }
    hows
}

/// Some states that ends of a recovery leave.
fn states_of_recovery(disk: &Disk, books: &Books, ground: &Ground, seed: u64) -> Vec<(Cut, Disk)> {
    let states = Arc::new(Mutex::new(Vec::new()));
    let (into, count) = (states.clone(), AtomicU64::new(0));
    disk.watch(move |disk, call| {
        if !changes(call.kind) {
            return;
        }
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        let chance = mix(seed ^ number);
        if chance.is_multiple_of(3) {
            for how in hows(disk, chance, 1) {
                into.lock().unwrap().push((Cut { call: number, how }, end(disk, how)));
            }
        }
    });
    let store = judge::recover(disk, books, ground);
    disk.unwatch();
    drop(store);
    std::mem::take(&mut *states.lock().unwrap())
}

/// The state behind the end of a recovery, or behind all of it if it makes fewer calls.
fn during_recovery(disk: &Disk, books: &Books, ground: &Ground, cut: Cut) -> Disk {
    let next: Arc<Mutex<Option<Disk>>> = Arc::default();
    let (into, count) = (next.clone(), AtomicU64::new(0));
    disk.watch(move |disk, call| {
        if changes(call.kind) && count.fetch_add(1, Ordering::Relaxed) + 1 == cut.call {
            *into.lock().unwrap() = Some(end(disk, cut.how));
        }
    });
    let store = judge::recover(disk, books, ground);
    disk.unwatch();
    let next = next.lock().unwrap().take().unwrap_or_else(|| end(disk, cut.how));
    drop(store);
    next
}

/// Runs a line again: its workload, its ends, and every law.
pub(crate) fn replay(line: &Line, plant: Plant) -> Law {
    let state: Arc<Mutex<Option<(Disk, Books, Disk)>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let (into, enough) = (state.clone(), stop.clone());
    let first = line.cuts.first().copied();
    let aim = (line.at, first.map_or(0, |cut| cut.call));
    let watcher: Watcher = Arc::new(move |disk, moment, books, machine| {
        let mut into = into.lock().unwrap();
        if let Some(cut) = first.filter(|_| moment >= aim && into.is_none()) {
            // As it is now: the run goes on to the end of the operation.
            let upstream = machine.lock().unwrap().kill();
            *into = Some((end(disk, cut.how), books.clone(), upstream));
            enough.store(true, Ordering::Relaxed);
        }
    });
    let mut world = World::new(&line.ground, plant, Some(watcher));
    world.stop = stop;
    let run = guarded(|| world.run(&line.ops));
    let Some(first) = first else { return run };
    let reached = state.lock().unwrap().take();
    let (mut disk, books, upstream) = match reached {
        Some(state) => state,
        None => {
            run?;
            let upstream = world.upstream.lock().unwrap().clone();
            (end(&world.disk, first.how), world.books().clone(), upstream)
        }
    };
    if !is_judged(first.how, &books) {
        return Ok(());
    }
    for cut in &line.cuts[1..] {
        disk = during_recovery(&disk, &books, &line.ground, *cut);
    }
    judge::check(&disk, worst(&line.cuts), &books, &line.ground, Level::Deep, &upstream).map(drop)
}

/// How many changing calls each operation of a run makes.
pub(crate) fn calls(line: &Line, plant: Plant) -> Vec<u64> {
    let counted = Arc::new(Mutex::new(vec![0; line.ops.len() + 1]));
    let into = counted.clone();
    let watcher: Watcher = Arc::new(move |_, (op, call), _, _| into.lock().unwrap()[op] = call);
    let mut world = World::new(&line.ground, plant, Some(watcher));
    // What it breaks is not asked here.
    let _ = guarded(|| world.run(&line.ops));
    let counted = counted.lock().unwrap();
    counted.clone()
}
