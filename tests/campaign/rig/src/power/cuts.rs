//! Which cuts of a recording are looked at, and what they leave.

use super::model::{Change, Image, Keep, Model, Names, Planted};
use super::recording::Recording;
use crate::Random;
use crate::lines::Told;

/// A cut: before this change of the trace, keeping this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Changes that were made before.
    pub before: usize,
    /// What of their loose pieces is kept.
    pub keep: Keep,
}

/// Up to here every subset is taken.
const LOOSE_MAX: usize = 4;

/// How states are chosen.
#[derive(Clone, Copy, Debug)]
pub struct Choice {
    /// When names survive.
    pub names: Names,
    /// What the disk does wrong.
    pub planted: Planted,
    /// A medium that spoils so many bytes around what it writes.
    pub torn: Option<usize>,
    /// Cuts by chance at each place, of each kind.
    pub seeds: u64,
    /// Where chance begins.
    pub seed: u64,
}

/// Every cut of a recording, before each change and at the end: nothing kept, all kept, every
/// subset of few pieces; of more, each alone and each missing (up to eight), and cuts by chance.
pub fn all(recording: &Recording, choice: &Choice) -> Vec<Cut> {
    let mut random = Random::new(choice.seed);
    let mut model = Model::new(&recording.start, choice.names, choice.planted);
    let mut cuts = Vec::new();
    for before in 0..=recording.trace.len() {
        // What is said changes nothing, but what was acknowledged.
        let told = before > 0 && matches!(recording.trace[before - 1], Change::Line(_));
        let mut add = |keep| cuts.push(Cut { before, keep });
        let loose = model.loose();
        match loose {
            _ if told && before < recording.trace.len() => {
                let next = matches!(recording.trace[before], Change::Line(_));
                if !next {
                    add(Keep::None);
                    add(Keep::Some(random.number()));
                }
            }
            0..=LOOSE_MAX => (0..1 << loose).for_each(|mask| add(Keep::Mask(mask))),
            _ => {
                add(Keep::None);
                add(Keep::All);
                for _ in 0..loose.min(4) {
                    add(Keep::Only(random.below(loose as u64) as usize));
                    add(Keep::AllBut(random.below(loose as u64) as usize));
                }
                for _ in 0..choice.seeds {
                    add(Keep::Prefix(random.number()));
                    add(Keep::Prefixes(random.number()));
                    add(Keep::Some(random.number()));
                    add(Keep::Stale(random.number()));
                }
            }
        }
        if let (Some(bytes), true) = (choice.torn, loose > 0) {
            (0..choice.seeds).for_each(|_| add(Keep::Torn(random.number(), bytes)));
        }
        if let Some(change) = recording.trace.get(before) {
            model.apply(change);
        }
    }
    cuts
}

/// Goes through cuts in the order of their places, with what was said before each, on top of
/// `told`.
pub fn walk(
    recording: &Recording,
    choice: &Choice,
    cuts: &[Cut],
    mut told: Told,
    mut look: impl FnMut(&Cut, Image, &Told) -> bool,
) {
    let mut model = Model::new(&recording.start, choice.names, choice.planted);
    let mut done = 0;
    for cut in cuts {
        for change in &recording.trace[done..cut.before] {
            model.apply(change);
            if let Change::Line(line) = change {
                told.add(line);
            }
        }
        done = cut.before;
        if !look(cut, model.cut(cut.keep), &told) {
            return;
        }
    }
}
