//! Which cuts are made, and which of the states they give are new.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use forebay::simulation::{Call, CallKind, Disk};

use super::drive::{Watcher, World, options};
use super::image::DIR;
use super::laws::Violation;
use super::model::Model;
use super::oracle::{self, Level};
use super::tally::Tally;
use super::words::{Chance, Cut, How, Kept, Line, Op, Setup, Tear, mix};

/// How far an exploration goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Effort {
    /// All subsets up to this many loose pieces; chosen ones above it.
    pub(crate) pieces: usize,
    /// Random subsets of more pieces.
    pub(crate) random: usize,
    /// At most so many power cuts before one call.
    pub(crate) most: usize,
    /// One call in this many is one that cuts are made before.
    pub(crate) cut_one_in: u64,
    /// One state in this many is held to everything, and cut again while it recovers.
    pub(crate) deep_one_in: u64,
    /// How often a recovery is cut in its turn.
    pub(crate) depth: usize,
}

/// One workload to explore.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) setup: Setup,
    pub(crate) ops: Vec<Op>,
    /// Cuts are made from this operation on: what leads to it is a workload of its own.
    pub(crate) from: usize,
    pub(crate) effort: Effort,
    /// What the disk is told to lie about.
    pub(crate) lies: Option<forebay::simulation::Ignored>,
}

/// What the watcher of one run remembers from call to call.
struct Run {
    job: Job,
    tally: Arc<Tally>,
    armed: AtomicBool,
    stop: Arc<AtomicBool>,
    last: Mutex<(u64, usize, u64, bool)>,
}

/// Explores workloads on two threads; each is run once, and cut while it runs.
pub(crate) fn explore(jobs: &[Job], tally: &Arc<Tally>) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if tally.over() {
                        break;
                    }
                    explore_one(job, tally);
                }
            });
        }
    });
}

pub(crate) fn explore_one(job: &Job, tally: &Arc<Tally>) {
    tally.begin();
    let stop = Arc::new(AtomicBool::new(false));
    let run = Arc::new(Run {
        job: job.clone(),
        tally: tally.clone(),
        armed: AtomicBool::new(job.from == 0),
        stop: stop.clone(),
        last: Mutex::default(),
    });
    let watching = run.clone();
    let watcher: Watcher = Arc::new(move |disk: &Disk, call: &Call, number, model: &Model| {
        watching.before(disk, call, number, model);
    });
    let mut world = World::new(job.setup, Some(watcher));
    world.stop = stop;
    if let Some(kind) = job.lies {
        world = world.lying();
        world.disk.ignore_syncs(kind, true);
    }
    let (before, after) = job.ops.split_at(job.from);
    let done = world.run(before).and_then(|()| {
        run.armed.store(true, Ordering::Relaxed);
        world.run(after)?;
        // What is there when nothing more happens.
        let model = world.model.lock().unwrap().clone();
        run.cut(&world.disk, 0, &model);
        Ok(())
    });
    if let Err(broken) = done {
        let line = Line { setup: job.setup, ops: job.ops.clone(), cuts: Vec::new() };
        tally.fail(&line, broken);
    }
}

impl Run {
    fn before(&self, disk: &Disk, call: &Call, number: u64, model: &Model) {
        if !self.armed.load(Ordering::Relaxed) || self.stop.load(Ordering::Relaxed) {
            return;
        }
        let now = (disk.image(), disk.loose(), model.obligations(), changes(call.kind));
        let last = std::mem::replace(&mut *self.last.lock().unwrap(), now);
        let cuts =
            mix(self.job.setup.seed ^ mix(number)).is_multiple_of(self.job.effort.cut_one_in);
        if cuts && (last.0, last.1, last.2, last.3) != (now.0, now.1, now.2, false) {
            self.cut(disk, number, model);
        }
    }

    /// Makes all cuts of one moment.
    fn cut(&self, disk: &Disk, number: u64, model: &Model) {
        let kill = (!model.unsaid).then_some(How::Kill);
        let seed = mix(self.job.setup.seed ^ number);
        let keeps = keeps(disk.loose(), &self.job.effort, &self.job.setup, seed);
        for how in kill.into_iter().chain(keeps.into_iter().map(How::Power)) {
            if self.stop.load(Ordering::Relaxed) || self.tally.over() {
                return;
            }
            let cut = end(disk, how);
            let cuts = vec![Cut { call: number, how }];
            if let Err((cuts, broken)) = self.state(&cut, model, cuts, self.job.effort.depth) {
                let line = Line { setup: self.job.setup, ops: self.job.ops.clone(), cuts };
                self.tally.fail(&line, broken);
                self.stop.store(true, Ordering::Relaxed);
            }
        }
    }

    /// Checks one state if it is new under these obligations; one in some is cut again while it
    /// recovers.
    fn state(
        &self,
        cut: &Disk,
        model: &Model,
        cuts: Vec<Cut>,
        depth: usize,
    ) -> Result<(), (Vec<Cut>, Violation)> {
        let image = cut.image();
        let how = worst(&cuts);
        let key = mix(image ^ mix(model.obligations() ^ u64::from(how == How::Kill)));
        if !self.tally.is_new(image, key) {
            return Ok(());
        }
        let deep = mix(key).is_multiple_of(self.job.effort.deep_one_in);
        let copy = (deep && depth > 0).then(|| cut.kill());
        let level = if deep { Level::Deep } else { Level::Base };
        oracle::check(cut, how, model, &self.job.setup, level)
            .map_err(|broken| (cuts.clone(), broken))?;
        match copy {
            Some(copy) => self.recovery(&copy, model, &cuts, depth - 1),
            None => Ok(()),
        }
    }

    /// Recovers, and cuts that before each of its storage calls.
    fn recovery(
        &self,
        disk: &Disk,
        model: &Model,
        cuts: &[Cut],
        depth: usize,
    ) -> Result<(), (Vec<Cut>, Violation)> {
        // A recovery may take the clean mark away.
        let model = &Model { closed: false, ..model.clone() };
        for (more, state) in states_of_recovery(disk, &self.job.setup, 2) {
            let mut cuts = cuts.to_vec();
            cuts.push(more);
            self.state(&state, model, cuts, depth)?;
        }
        Ok(())
    }
}

/// A power cut on the way leaves what a power cut leaves, whatever comes after it.
pub(crate) fn worst(cuts: &[Cut]) -> How {
    let power = cuts.iter().map(|cut| cut.how).find(|how| *how != How::Kill);
    power.unwrap_or(How::Kill)
}

/// Runs the line of a failure again: its workload, its cuts, and every law.
pub(crate) fn replay(line: &Line) -> Result<(), Violation> {
    if line.cuts.is_empty() {
        return World::new(line.setup, None).run(&line.ops);
    }
    let (disk, model) = lead(line, false)?;
    oracle::check(&disk, worst(&line.cuts), &model, &line.setup, Level::Deep)
}

/// The state a line leads to, with the obligations it is held to; aloud it says on the way which
/// storage calls it passes.
pub(crate) fn lead(line: &Line, aloud: bool) -> Result<(Disk, Model), Violation> {
    let nowhere = || Violation { law: 0, what: "there is no cut".to_owned() };
    let (first, others) = line.cuts.split_first().ok_or_else(nowhere)?;
    let state: Arc<Mutex<Option<(Disk, Model)>>> = Arc::default();
    let (into, first) = (state.clone(), *first);
    let watcher: Watcher = Arc::new(move |disk: &Disk, call: &Call, number, model: &Model| {
        if number == first.call {
            *into.lock().unwrap() = Some((end(disk, first.how), model.clone()));
        }
        if aloud && changes(call.kind) && number.abs_diff(first.call) < 40 {
            println!("{number} {:?} {:?}, {} loose", call.kind, call.path, disk.loose());
        }
    });
    let mut world = World::new(line.setup, Some(watcher));
    let run = world.run(&line.ops);
    if state.lock().unwrap().is_none() {
        // At the end, or behind it since the log makes fewer calls than it once did.
        run?;
        let model = world.model.lock().unwrap().clone();
        *state.lock().unwrap() = Some((end(&world.disk, first.how), model));
    }
    let (mut disk, mut model) = state.lock().unwrap().take().ok_or_else(nowhere)?;
    for cut in others {
        disk = during_recovery(&disk, &line.setup, *cut);
        // A recovery may take the clean mark away.
        model.closed = false;
    }
    Ok((disk, model))
}

/// Behind its end, if it makes fewer calls.
fn during_recovery(disk: &Disk, setup: &Setup, cut: Cut) -> Disk {
    let next: Arc<Mutex<Option<Disk>>> = Arc::default();
    let (into, count) = (next.clone(), AtomicU64::new(0));
    disk.watch(move |disk, _| {
        if count.fetch_add(1, Ordering::Relaxed) + 1 == cut.call {
            *into.lock().unwrap() = Some(end(disk, cut.how));
        }
    });
    let log = options(setup).open_on(disk, DIR);
    disk.unwatch();
    let next = next.lock().unwrap().take().unwrap_or_else(|| end(disk, cut.how));
    drop(log);
    next
}

/// The end of a machine or process, as a disk of its own.
pub(crate) fn end(disk: &Disk, how: How) -> Disk {
    let end = match how {
        How::Kill => disk.kill(),
        How::Power(kept) => disk.power_cut(kept.keep()),
    };
    // What a full disk means is a law of its own; here the crash counts.
    end.set_space(None);
    end
}

/// The states that the ends of a recovery leave: nothing, everything, and some by chance.
fn states_of_recovery(disk: &Disk, setup: &Setup, random: u64) -> Vec<(Cut, Disk)> {
    let states = Arc::new(Mutex::new(Vec::new()));
    let (into, count) = (states.clone(), AtomicU64::new(0));
    disk.watch(move |disk, call| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        if !changes(call.kind) {
            return;
        }
        let seeds = (0..random).map(|n| Kept::Seed(mix(number ^ n << 32)));
        let kept = [Kept::Nothing, Kept::Everything].into_iter().chain(seeds);
        for how in std::iter::once(How::Kill).chain(kept.map(How::Power)) {
            into.lock().unwrap().push((Cut { call: number, how }, end(disk, how)));
        }
    });
    let log = options(setup).open_on(disk, DIR);
    disk.unwatch();
    drop(log);
    std::mem::take(&mut *states.lock().unwrap())
}

/// Whether a call of this kind changes what a cut can leave.
fn changes(kind: CallKind) -> bool {
    !matches!(
        kind,
        CallKind::Open
            | CallKind::Look
            | CallKind::List
            | CallKind::Lock
            | CallKind::Read
            | CallKind::MapRead
            | CallKind::Clock
            | CallKind::Random
    )
}

/// Which of `loose` pieces are kept: every subset if there are few, else the edges and some by
/// chance. Where chance decides about pages and stale bytes too, more by chance.
pub(crate) fn keeps(loose: usize, effort: &Effort, setup: &Setup, seed: u64) -> Vec<Kept> {
    let mut chance = Chance::new(seed);
    let mut kept = Vec::new();
    if loose <= effort.pieces {
        kept.extend((0..1_u64 << loose).map(Kept::Mask));
    } else {
        kept.extend([Kept::Nothing, Kept::Everything]);
        kept.extend((0..loose).map(Kept::AllBut));
        kept.extend((0..loose).map(Kept::Only));
        kept.extend((1..loose).map(Kept::Prefix));
        kept.extend((0..effort.random).map(|_| Kept::Seed(chance.next())));
    }
    let by_chance = setup.tear != Tear::Safe || setup.stale;
    if by_chance && loose > 0 {
        kept.extend((0..16).map(|_| Kept::Seed(chance.next())));
    }
    while kept.len() > effort.most {
        kept.swap_remove(chance.below(kept.len() as u64) as usize);
    }
    kept
}
