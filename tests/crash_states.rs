//! Crash states by the hundred thousand: every short workload and many long ones on the simulated
//! disk, the power cut or the process killed before every storage call, with every subset of what
//! the device might have kept, and each recovery held to laws V1 to V18 by an oracle that shares no
//! code with the crate (I1 to I9, I12 to I14, I17 to I20).
//!
//! `crash_states/laws.rs` has the laws, `words.rs` the language of workloads and of the line that
//! reproduces a failure, `drive.rs` runs workloads, `explore.rs` makes the cuts, `oracle.rs` checks
//! one state. A line that failed goes into `seeds.txt` and is replayed here for ever.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

#[path = "crash_states/before.rs"]
mod before;
#[path = "crash_states/drive.rs"]
mod drive;
#[path = "crash_states/explore.rs"]
mod explore;
#[path = "crash_states/image.rs"]
mod image;
#[path = "crash_states/laws.rs"]
mod laws;
#[path = "crash_states/model.rs"]
mod model;
#[path = "crash_states/oracle.rs"]
mod oracle;
#[path = "crash_states/tally.rs"]
mod tally;
#[path = "crash_states/words.rs"]
mod words;

#[path = "crash_states/workloads.rs"]
mod workloads;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use explore::{Effort, Job, explore, replay};
use forebay::simulation::Ignored;
use tally::Tally;
use words::{Line, Op, Policy, Setup, Tear};
use workloads::{GROWN, setups};

const FULL: Effort =
    Effort { pieces: 12, random: 64, most: 8192, cut_one_in: 1, deep_one_in: 16, depth: 3 };

/// For workloads that are many.
const WIDE: Effort =
    Effort { pieces: 3, random: 8, most: 64, cut_one_in: 1, deep_one_in: 32, depth: 2 };

/// For long ones, whose states differ in more ways than what is loose.
const LONG: Effort =
    Effort { pieces: 2, random: 6, most: 12, cut_one_in: 4, deep_one_in: 32, depth: 2 };

/// What an unoptimised build has time for.
const SHORT: Effort =
    Effort { pieces: 4, random: 4, most: 64, cut_one_in: 1, deep_one_in: 32, depth: 1 };

fn must_hold(tally: &Tally) {
    let found = tally.found();
    let lines: Vec<String> =
        found.iter().map(|one| format!("{}\n  {}", one.line, one.broken)).collect();
    assert!(found.is_empty(), "{} states broke a law:\n{}", found.len(), lines.join("\n"));
}

/// All lines of `seeds.txt`, each of which once broke a law; and one in `FOREBAY_CRASH_LINE`, with
/// what the oracle sees of it, for whoever looks into one.
#[test]
fn lines_that_once_failed_hold() {
    let one = std::env::var("FOREBAY_CRASH_LINE").ok();
    let known = include_str!("crash_states/seeds.txt");
    for text in one.as_deref().unwrap_or(known).lines() {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let line: Line = text.parse().unwrap();
        assert_eq!(line.to_string(), text, "the line is written as it was read");
        if one.is_some() && !line.cuts.is_empty() {
            show(&line);
        }
        if let Err(broken) = replay(&line) {
            panic!("{line}\n  {broken}");
        }
    }
}

/// What a line leads to, and what a recovery makes of it.
fn show(line: &Line) {
    let (disk, model) = explore::lead(line, true).unwrap();
    let image = image::Image::take(&disk);
    for (name, bytes) in &image.files {
        println!("  {name}: {} bytes", bytes.len());
    }
    println!("  {:?}", image.slot());
    println!("  {:?}", image.slot().map(|slot| image.chain(&slot)));
    let batches: Vec<_> = model.from(0).map(|batch| (batch.base, batch.end())).collect();
    println!("  durable {}, batches {batches:?}, {:?}", model.durable, model.followers);
    let log = drive::options(&line.setup).open_on(&disk, image::DIR).unwrap();
    let (start, durable) = (log.log_start_offset(), log.durable_offset());
    println!("  {:?}", log.recovery());
    println!("  start {start}, durable {durable}, end {}", log.log_end_offset());
}

/// Explores for a time; what was found has to be nothing.
fn explored(what: &str, jobs: &[Job], most: Duration, tally: &Arc<Tally>) {
    let (before, distinct) = (tally.workloads(), tally.distinct());
    tally.end_after(most);
    explore(jobs, tally);
    let (done, all) = (tally.workloads() - before, jobs.len());
    println!("{done} of {all} {what}, {} new states", tally.distinct() - distinct);
    must_hold(tally);
}

/// V1 to V18, cut before every storage call, as far as an unoptimised build has time for it. With
/// `FOREBAY_CRASH_STATES=N` until there are N distinct states, of all kinds, and for minutes at
/// most; with
/// `FOREBAY_CRASH_MINUTES=M` for so long, other workloads each time; with `FOREBAY_CRASH_ALL=S`
/// all workloads of up to two operations on S kinds of disk, however long that takes.
#[test]
fn workloads_hold_wherever_they_are_cut() {
    let number = |name| std::env::var(name).ok().map(|text| text.parse::<usize>().unwrap());
    if let Some(minutes) = number("FOREBAY_CRASH_MINUTES") {
        return campaign(minutes as u64);
    }
    if let Some(disks) = number("FOREBAY_CRASH_ALL") {
        return everything(disks);
    }
    let (tally, wanted) = (Tally::new(), number("FOREBAY_CRASH_STATES"));
    match wanted {
        Some(wanted) => until_there_are(wanted, &tally),
        None => in_seconds(&tally),
    }
    println!("{}", tally.line());
    assert!(tally.distinct() >= wanted.unwrap_or(1000), "{}", tally.line());
}

fn in_seconds(tally: &Arc<Tally>) {
    let most = Duration::from_secs(4);
    explored("short workloads", &workloads::short(SHORT, 3), most, tally);
    explored("workloads with a fault", &workloads::faults(SHORT, 3), most, tally);
    let long: Vec<Job> = (0..64).map(|seed| workloads::long(seed, 80, LONG)).collect();
    explored("long workloads", &long, most, tally);
}

/// First everything short in some way, then with every subset of up to twelve loose pieces, and
/// recoveries that are cut in their turn, three deep. Each kind has its share of the states.
fn until_there_are(wanted: usize, tally: &Arc<Tally>) {
    let part = |what, jobs: &[Job], seconds| {
        tally.end_at(tally.distinct() + wanted * 3 / 10);
        explored(what, jobs, Duration::from_secs(seconds), tally);
    };
    // The same ones each time, so that one change is judged by what the last one was: campaigns
    // look for others.
    part("short workloads, sampled", &workloads::short(WIDE, 3)[..1000], 60);
    part("short workloads", &workloads::short(FULL, 4)[..100], 60);
    part("workloads with a fault", &workloads::faults(WIDE, 3)[..700], 50);
    let long: Vec<Job> = (0..32).map(|seed| workloads::long(seed, 500, LONG)).collect();
    part("long workloads", &long, 50);
}

/// Nothing is left out: every call, every subset of up to twelve loose pieces. One kind of disk of
/// each medium comes first, then the next.
fn everything(disks: usize) {
    let (jobs, tally) = (workloads::short(FULL, 0), Tally::new());
    let all = setups(Policy::Manual);
    let kinds = (0..4).flat_map(|kind| (0..4).map(move |medium| medium * 4 + kind));
    for setup in kinds.map(|at| all[at]).take(disks) {
        let jobs: Vec<Job> = jobs.iter().filter(|job| job.setup == setup).cloned().collect();
        explored(&format!("short workloads on {setup}"), &jobs, ENDLESS, &tally);
        println!("{}", tally.line());
    }
}

/// More than anybody waits.
const ENDLESS: Duration = Duration::from_secs(30 * 24 * 3600);

/// States are told from each other in one round of three minutes, so that memory stays bounded.
fn campaign(minutes: u64) {
    let from = Instant::now();
    let end = from + Duration::from_secs(60 * minutes);
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut total = (0, 0);
    println!("from seed {seed}");
    while Instant::now() < end {
        let tally = Tally::new();
        let left = || end.saturating_duration_since(Instant::now()).min(Duration::from_secs(60));
        let long: Vec<Job> = (0..256).map(|n| workloads::long(seed + n, 500, LONG)).collect();
        explored("long workloads", &long, left(), &tally);
        explored("short workloads", &workloads::short(FULL, seed), left(), &tally);
        explored("workloads with a fault", &workloads::faults(WIDE, seed), left(), &tally);
        total = (total.0 + tally.distinct(), total.1 + tally.recovered());
        let (distinct, recovered) = total;
        let seconds = from.elapsed().as_secs();
        println!("crash states: {distinct} distinct, {recovered} recovered, in {seconds} s");
        seed += 256;
    }
}

/// M9: a disk that says Ok to a kind of sync and does nothing has to break a law, or the oracle
/// would not see a sync that is missing.
fn a_lying_disk_is_found_out(kind: Ignored, mapped: bool, ops: &[Op]) {
    let tally = Tally::new();
    for strict in [true, false] {
        let policy = Policy::Manual;
        let setup = Setup { mapped, strict, tear: Tear::Safe, stale: false, policy, seed: 5 };
        let job = Job { setup, ops: ops.to_vec(), from: 0, effort: SHORT, lies: Some(kind) };
        explore::explore_one(&job, &tally);
    }
    let found = tally.found();
    let laws: Vec<u8> = found.iter().map(|one| one.broken.law).collect();
    println!("{kind:?}: laws {laws:?} were broken");
    assert!(!found.is_empty(), "the oracle did not see it: {}", tally.line());
}

/// V1 of the oracle itself: without the segments' syncs acknowledged records go.
#[test]
fn ignored_syncs_of_segments_are_seen() {
    a_lying_disk_is_found_out(Ignored::Segments, false, &GROWN);
}

/// The same through maps.
#[test]
fn ignored_syncs_of_maps_are_seen() {
    a_lying_disk_is_found_out(Ignored::Maps, true, &GROWN);
}

/// The same for names: segments vanish whole.
#[test]
fn ignored_syncs_of_directories_are_seen() {
    a_lying_disk_is_found_out(Ignored::Directories, true, &GROWN);
}

/// The same for the checkpoint: synced commits go.
#[test]
fn ignored_syncs_of_the_checkpoint_are_seen() {
    a_lying_disk_is_found_out(Ignored::Checkpoint, true, &GROWN);
}

/// V8: recovering and crashing a hundred times leaves no more files or bytes than once.
#[test]
fn a_hundred_recoveries_take_no_more_room_than_one() {
    for setup in setups(Policy::Manual) {
        let mut world = drive::World::new(setup, None);
        world.run(&GROWN).unwrap();
        let mut disk = world.disk.power_cut(words::Kept::Seed(9).keep());
        let mut sizes = Vec::new();
        for nth in 0..100 {
            let log = drive::options(&setup).open_on(&disk, image::DIR).unwrap();
            let next = if nth % 2 == 0 {
                disk.power_cut(words::Kept::Seed(nth).keep())
            } else {
                disk.kill()
            };
            drop(log);
            disk = next;
            let files = image::Image::take(&disk).files;
            sizes.push((files.len(), files.values().map(Vec::len).sum::<usize>()));
        }
        assert!(sizes[2..].iter().all(|size| *size <= sizes[1]), "{setup:?}: {sizes:?}");
    }
}

/// A medium that tears is told to be one that does not: without copies durable records go.
#[test]
fn a_medium_that_tears_and_does_not_say_so_is_seen() {
    let tally = Tally::new();
    let policy = Policy::Manual;
    let setup =
        Setup { mapped: false, strict: true, tear: Tear::Bare, stale: false, policy, seed: 5 };
    let ops = [&GROWN[..], &[Op::Flush, Op::Small, Op::Flush]].concat();
    explore::explore_one(&Job { setup, ops, from: 0, effort: SHORT, lies: None }, &tally);
    let laws: Vec<u8> = tally.found().iter().map(|one| one.broken.law).collect();
    println!("laws {laws:?} were broken");
    assert!(!laws.is_empty(), "the oracle did not see it: {}", tally.line());
}

/// The line of a failure is read as it was written.
#[test]
fn a_line_is_read_as_it_was_written() {
    let text = "mapped strict safe stale bytes seed=7 ops=s.x.F13.p2.k cuts=12:kill,3:power:mask:5";
    let line: Line = text.parse().unwrap();
    assert_eq!(line.to_string(), text);
    assert!("mapped strict safe stale bytes seed=7 ops=s.z cuts=".parse::<Line>().is_err());
}
