//! A follower and the writer on simulated disks: the follower steps between any two calls the
//! writer makes to the storage, lives through its deaths and power cuts, and whatever it reads
//! has to be what was appended (I3, I4, I9, I14).
//!
//! `FOREBAY_FOLLOW_STORIES` says how many random stories to run; `FOREBAY_FOLLOW_SEED` runs one. A
//! release build, and `FOREBAY_EVERY_CASE`, end lives at every call.

mod checked;
mod writer;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex};

use forebay::simulation::{CallKind, Disk, Keep, Names, Profile, Torn};
use forebay::{IoMode, Offset, Visibility};

use checked::Checked;
use writer::{Dice, End, Habits, end_at, live, options};

use crate::util::{self, MODES};

const DIR: &str = "/log";

/// Random stories of a normal run: some seconds.
const STORIES: u64 = 100;

/// A follower that steps before every so manieth call, and reads so many batches at most then.
struct Paced {
    every: u64,
    at_most: usize,
    follower: Checked,
}

/// Followers that step before every call, or before some of them, so that they come late.
fn followers(mode: IoMode) -> Vec<Paced> {
    let paced = |every, at_most, visibility| {
        let follower = Checked::new(mode, visibility);
        Paced { every, at_most, follower }
    };
    vec![
        paced(1, usize::MAX, Visibility::Written),
        paced(2, 1, Visibility::Written),
        paced(7, 3, Visibility::Written),
        paced(97, 50, Visibility::Written),
        paced(3, usize::MAX, Visibility::Durable),
    ]
}

fn step_all(followers: &mut [Paced], disk: &Disk, calls: u64) {
    for paced in followers {
        if calls.is_multiple_of(paced.every) {
            paced.follower.step(disk, paced.at_most);
        }
    }
}

/// On the writer's own disk.
fn between_all_calls(habits: Habits, reading: IoMode, seed: u64) {
    let disk = Disk::new(Profile::default());
    let all = Arc::new(Mutex::new((0_u64, followers(reading))));
    let hooked = Arc::clone(&all);
    disk.watch(move |disk, call| {
        if call.kind != CallKind::Clock && !std::thread::panicking() {
            let (calls, followers) = &mut *hooked.lock().unwrap();
            *calls += 1;
            step_all(followers, disk, *calls);
        }
    });
    let log = live(&disk, habits, (1, 70, seed), || ()).unwrap();
    log.flush().unwrap();
    disk.unwatch();
    let (calls, followers) = &mut *all.lock().unwrap();
    assert!(*calls > 200, "{calls}");
    for Paced { follower, .. } in followers.iter_mut() {
        follower.at_end(&disk, &log);
        assert_eq!((follower.retracted, follower.holes, follower.gaps), (0, 0, 0));
        assert!(follower.batches > 40, "{}", follower.batches);
        assert!(habits.deletes || follower.missed == 0);
    }
    assert_eq!(habits.deletes, log.log_start_offset() > Offset::ZERO);
}

#[test]
fn between_any_two_calls_of_the_writer_only_what_was_appended_is_read() {
    for mode in MODES {
        for reading in MODES {
            between_all_calls(Habits { mode, deletes: false, consumes: false }, reading, 1);
        }
    }
}

#[test]
fn between_any_two_calls_of_a_writer_that_deletes_only_that_is_missed() {
    for mode in MODES {
        for reading in MODES {
            between_all_calls(Habits { mode, deletes: true, consumes: true }, reading, 2);
        }
    }
}

/// Two machines that see the writer's files, and whoever follows there.
struct Views {
    /// As they are.
    shown: Disk,
    followers: Vec<Paced>,
    /// Before that, what changed since the last call in part.
    torn: Disk,
    torn_follower: Checked,
    calls: u64,
    /// Since the last power cut.
    opened: bool,
    dice: Dice,
}

impl Views {
    fn new(mode: IoMode, seed: u64) -> Views {
        Views {
            shown: Disk::new(Profile::default()),
            followers: followers(mode),
            torn: Disk::new(Profile::default()),
            torn_follower: Checked::new(mode, Visibility::Written),
            calls: 0,
            opened: true,
            dice: Dice(seed),
        }
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Checked> {
        let followers = self.followers.iter_mut().map(|paced| &mut paced.follower);
        followers.chain([&mut self.torn_follower])
    }

    /// Sees what is on a disk before a call.
    fn look(&mut self, disk: &Disk) {
        self.calls += 1;
        self.shown.show(disk);
        step_all(&mut self.followers, &self.shown, self.calls);
        if self.dice.throw(64) == 0 {
            self.followers[0].follower.agrees_with_a_later_one(&self.shown, self.opened);
        }
        if self.dice.throw(3) == 0 && tear(&self.torn, disk, &mut self.dice) {
            self.torn_follower.step(&self.torn, usize::MAX);
        }
        self.torn.show(disk);
        if self.dice.throw(4) == 0 {
            self.torn_follower.step(&self.torn, usize::MAX);
        }
    }

    /// Sees the last one, and compares with what the log holds.
    fn end(&mut self, disk: &Disk, mode: IoMode) {
        let log = options(mode).open_on(disk, DIR).unwrap();
        for view in [&self.shown, &self.torn] {
            view.show(disk);
        }
        let (shown, torn) = (self.shown.clone(), self.torn.clone());
        for paced in &mut self.followers {
            paced.follower.at_end(&shown, &log);
        }
        self.torn_follower.at_end(&torn, &log);
    }
}

/// Shows in part what changed in files, as one sees a store that is under way; whether anything
/// did.
fn tear(view: &Disk, disk: &Disk, dice: &mut Dice) -> bool {
    let mut torn = false;
    for name in disk.file_names(DIR) {
        let path = format!("{DIR}/{name}");
        let (Some(old), Some(new)) = (view.read_file(&path), disk.read_file(&path)) else {
            continue;
        };
        if old == new || old.len() != new.len() {
            continue;
        }
        let differs = |at: &usize| old[*at] != new[*at];
        let first = (0..old.len()).find(differs).unwrap();
        let last = (0..old.len()).rfind(differs).unwrap();
        let middle = first + usize::try_from(dice.throw((last - first + 1) as u64)).unwrap();
        let mut mixed = old.clone();
        match dice.throw(3) {
            0 => mixed[..middle].copy_from_slice(&new[..middle]),
            1 => mixed[middle..].copy_from_slice(&new[middle..]),
            _ => {
                for at in (first / 64 * 64..=last).step_by(64) {
                    let line = at..(at + 64).min(old.len());
                    if dice.throw(2) == 0 {
                        mixed[line.clone()].copy_from_slice(&new[line]);
                    }
                }
            }
        }
        view.write_file(&path, &mixed);
        torn = true;
    }
    torn
}

/// One life, seen by all; the disk that the next one begins on, and whether its end came.
fn one_life(
    disk: &Disk,
    views: &Arc<Mutex<Views>>,
    habits: Habits,
    life: (i64, u64, u64),
    (until, end): (u64, End),
) -> (Disk, bool) {
    let seeing = Arc::clone(views);
    let told = move |disk: &Disk, _: &_| seeing.lock().unwrap().look(disk);
    let opened = || views.lock().unwrap().opened = true;
    match end_at(disk, until, end, told, |disk| live(disk, habits, life, opened)) {
        Some(next) => {
            views.lock().unwrap().opened &= matches!(end, End::Killed);
            (next, true)
        }
        None => (disk.clone(), false),
    }
}

/// The first life ends at one call, the second, which recovers, at another; the third goes on.
fn three_lives(mode: IoMode, first: u64, end: End) -> Option<u64> {
    let habits = Habits { mode, deletes: false, consumes: false };
    let reading = if first.is_multiple_of(2) { IoMode::Auto } else { IoMode::Positioned };
    let views = Arc::new(Mutex::new(Views::new(reading, first)));
    let disk = Disk::new(Profile::default());
    let (disk, ended) = one_life(&disk, &views, habits, (1, 12, 5), (first, end));
    if !ended {
        return None;
    }
    let second = 1 + first * 7 % 60;
    let (disk, _) = one_life(&disk, &views, habits, (2, 12, 6), (second, end));
    let (disk, _) = one_life(&disk, &views, habits, (3, 12, 7), (u64::MAX, end));
    let views = &mut *views.lock().unwrap();
    views.end(&disk, mode);
    for follower in views.all() {
        assert_eq!((follower.missed, follower.gaps), (0, 0));
        if matches!(end, End::Killed) {
            let bad = (follower.retracted, follower.holes);
            assert_eq!(bad, (0, 0), "{mode:?} {first}");
        }
    }
    Some(views.all().map(|follower| follower.retracted).sum())
}

/// Ends the lives at every call of the first, or at every so manieth; says how many offsets were
/// retracted in all.
fn end_at_every_call(mode: IoMode, step: usize, end: impl Fn(u64) -> End) -> u64 {
    let (mut retracted, mut ran) = (0, 0);
    for first in (1..).step_by(util::step(step)) {
        let Some(taken) = three_lives(mode, first, end(first)) else { break };
        retracted += taken;
        ran += 1;
    }
    assert!(ran > 4, "{ran}");
    retracted
}

/// V1: kills at every call. A killed writer takes nothing from anybody.
#[test]
fn a_writer_killed_at_any_call_retracts_nothing() {
    for mode in MODES {
        assert_eq!(end_at_every_call(mode, 11, |_| End::Killed), 0);
    }
}

/// The power is cut at every call for the writer's disk; its followers, as over a network, live on.
#[test]
fn what_a_power_cut_takes_is_retracted_and_read_anew() {
    for mode in MODES {
        assert!(end_at_every_call(mode, 23, |_| End::PowerCut(Keep::None)) > 0);
        end_at_every_call(mode, 23, |_| End::PowerCut(Keep::All));
        end_at_every_call(mode, 17, |seed| End::PowerCut(Keep::Seed(seed)));
    }
}

/// What befell all followers of some stories.
#[derive(Debug, Default)]
struct Totals {
    batches: u64,
    retracted: u64,
    missed: u64,
    holes: u64,
    gaps: u64,
    calls: u64,
}

/// Some lives that end anywhere in any way, on a disk of any kind.
fn story(seed: u64, totals: &mut Totals) {
    let mut dice = Dice(seed);
    let tears = dice.throw(4) == 0;
    let profile = Profile {
        names: if dice.throw(2) == 0 { Names::Strict } else { Names::Journal },
        sector_bytes: if dice.throw(2) == 0 { 512 } else { 4096 },
        torn: if tears { Torn::Overwrite { bytes: 4096 } } else { Torn::PowerSafe },
        stale: dice.throw(2) == 0,
        seed,
    };
    let mode = if tears || dice.throw(2) == 0 { IoMode::Positioned } else { IoMode::Mapped };
    let reading = if dice.throw(2) == 0 { IoMode::Auto } else { IoMode::Positioned };
    let habits = Habits { mode, deletes: dice.throw(2) == 0, consumes: dice.throw(2) == 0 };
    let views = Arc::new(Mutex::new(Views::new(reading, seed)));
    let mut disk = Disk::new(profile);
    let mut cut = false;
    for number in 1..3 + i64::try_from(dice.throw(4)).unwrap() {
        let most = [30, 90, 250][usize::try_from(dice.throw(3)).unwrap()];
        let until = 1 + dice.throw(most);
        let end = End::any(&mut dice);
        let life = (number, 3 + dice.throw(20), dice.throw(u64::MAX));
        let (next, ended) = one_life(&disk, &views, habits, life, (until, end));
        cut |= ended && matches!(end, End::PowerCut(_));
        disk = next;
    }
    let views = &mut *views.lock().unwrap();
    views.end(&disk, mode);
    totals.calls += views.calls;
    for follower in views.all() {
        assert!(cut || (follower.retracted, follower.holes) == (0, 0), "kills took something");
        // A power cut may take the name of the first segment and leave that of a later one.
        assert!(habits.deletes || cut || follower.missed == 0, "nothing was deleted");
        assert_eq!(follower.gaps, 0, "the disk does not lie");
        totals.batches += follower.batches;
        totals.retracted += follower.retracted;
        totals.missed += follower.missed;
        totals.holes += follower.holes;
        totals.gaps += follower.gaps;
    }
}

/// Several lives of a writer that also deletes, has consumers and lets its checkpoint grow, on
/// disks that tear, show stale blocks and reorder names.
#[test]
fn whatever_befalls_the_writer_its_followers_are_told_the_truth() {
    let number = |name: &str| std::env::var(name).ok().map(|number| number.parse().unwrap());
    let seeds = match number("FOREBAY_FOLLOW_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("FOREBAY_FOLLOW_STORIES").unwrap_or(STORIES),
    };
    let mut totals = Totals::default();
    for seed in seeds.clone() {
        if let Err(failed) = catch_unwind(AssertUnwindSafe(|| story(seed, &mut totals))) {
            eprintln!("FOREBAY_FOLLOW_SEED={seed}");
            resume_unwind(failed);
        }
    }
    println!("{totals:?}");
    let few = seeds.end - seeds.start < STORIES;
    assert!(few || totals.retracted > 0 && totals.missed > 0, "{totals:?}");
}
