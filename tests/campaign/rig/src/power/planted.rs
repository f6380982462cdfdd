//! Faults of the rig's own, one of each kind: a battery that does not find them says nothing.

use std::fs;
use std::io;
use std::path::Path;

use super::campaign::{Bench, Way};
use super::cuts::{all, walk};
use super::model::{Change, Image, Names, Planted};
use super::recording::{Recording, Task};
use super::served::{Call, Fault, HURT};
use super::states::States;
use crate::lines::Told;

/// States within which a planted fault has to be found.
const STATES_MAX: u64 = 2000;

/// What was found, and how fast.
pub struct Found {
    /// For the last line.
    pub text: String,
    /// Whether all of them were.
    pub all: bool,
}

/// Plants each fault and counts the states until a law is broken.
pub fn find(dir: &Path) -> io::Result<Found> {
    fs::create_dir_all(dir)?;
    let mut found = Found { text: String::new(), all: true };
    let ways = |names| (0..24).map(Way::number).filter(move |way| way.names == names);
    for (name, number) in [
        ("a writer that acknowledges what it did not flush", 0),
        ("a writer that is deaf to a failed sync", 1),
        ("syncs of files that lie", 2),
        ("syncs of directories that lie", 3),
    ] {
        let mut states = 0;
        let mut seen = false;
        for mut way in ways(Names::Strict) {
            let mut bench = Bench::new(dir)?;
            let recording = record(&mut bench, &mut way, number)?;
            let planted = match number {
                2 => Planted::LyingSync,
                3 => Planted::LyingDirSync,
                _ => Planted::Nothing,
            };
            seen = breaks(&mut bench.states, &recording, &way, planted, &mut states)?;
            if seen || states >= STATES_MAX {
                break;
            }
        }
        if !seen {
            println!("BAD not found within {states} states: {name}");
        }
        found.all &= seen;
        found.text += &format!("{}{states}", if number == 0 { "" } else { ", " });
    }
    found.text += " states";
    Ok(found)
}

fn record(bench: &mut Bench, way: &mut Way, number: u64) -> io::Result<Recording> {
    way.options.plant = match number {
        0 => Some(crate::probe::Plant::NoFlush),
        1 => Some(crate::probe::Plant::Deaf),
        _ => None,
    };
    if number == 1 {
        way.options.every_append = false;
        let fault = Fault { call: Call::Sync, after: 8, times: 1, errno: libc::EIO };
        way.setup.faults.push(fault);
    }
    bench.record(&Image::default(), way, Task::Write)
}

/// Whether a state of this recording breaks a law.
fn breaks(
    states: &mut States,
    recording: &Recording,
    way: &Way,
    planted: Planted,
    count: &mut u64,
) -> io::Result<bool> {
    let choice = super::cuts::Choice { planted, ..way.choice(1, 1) };
    let mut cuts = all(recording, &choice);
    let hurt = |change: &Change| matches!(change, Change::Line(line) if line.starts_with(HURT));
    let first = recording.trace.iter().position(hurt).unwrap_or(0);
    cuts.retain(|cut| cut.before >= first);
    let from = *count;
    let mut ended = Ok(false);
    // The judge is not told what was planted.
    let options = crate::probe::Options { plant: None, ..way.options.clone() };
    walk(recording, &choice, &cuts, Told::default(), |_, image, told| {
        match states.judge(&image, told, &options) {
            Ok(None) => return true,
            Ok(Some(bad)) => {
                *count += 1;
                ended = Ok(!bad.is_empty());
            }
            Err(error) => ended = Err(error),
        }
        matches!(ended, Ok(false)) && *count - from < STATES_MAX / 4
    });
    ended
}
