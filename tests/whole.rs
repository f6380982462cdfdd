//! The whole crate in one simulation: a store of logs, their rules, consumers, a replicator,
//! clocks, options that change, faults, from one seed; ended before its calls to the storage, and
//! again while it recovers; judged by books that are kept outside the crate (V1 to V8, V11 to V19;
//! I1 to I20).
//!
//! `whole/script.rs` has the language of workloads and of the line that reproduces a failure,
//! `rules.rs` the options of logs, `books.rs` what was promised, `drive.rs` and `work.rs` run a
//! workload, `ways.rs` has the ways of appending, `link.rs` is the upstream, `judge.rs` checks one
//! state, `compacted.rs` what may be gone of it, `explore.rs` makes the states, `shrink.rs`
//! shortens a line. The laws are those of `crash_states/laws.rs`. A line that failed
//! goes into `seeds.txt` and is replayed here for ever.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

#[allow(dead_code, reason = "shared with crash_states")]
#[path = "crash_states/before.rs"]
mod before;
#[path = "whole/books.rs"]
mod books;
#[path = "whole/compacted.rs"]
mod compacted;
#[path = "whole/drive.rs"]
mod drive;
#[path = "whole/explore.rs"]
mod explore;
#[allow(dead_code, reason = "shared with crash_states")]
#[path = "crash_states/image.rs"]
mod image;
#[path = "whole/judge.rs"]
mod judge;
#[allow(dead_code, reason = "shared with crash_states")]
#[path = "crash_states/laws.rs"]
mod laws;
#[path = "whole/link.rs"]
mod link;
#[path = "crash_states/model.rs"]
mod model;
#[path = "whole/rules.rs"]
mod rules;
#[path = "whole/script.rs"]
mod script;
#[path = "whole/shrink.rs"]
mod shrink;
#[allow(dead_code, reason = "shared with crash_states")]
#[path = "crash_states/tally.rs"]
mod tally;
#[path = "whole/ways.rs"]
mod ways;
#[allow(dead_code, reason = "shared with crash_states")]
#[path = "crash_states/words.rs"]
mod words;
#[path = "whole/work.rs"]
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use drive::Plant;
use explore::{Effort, explore, replay};
use forebay::simulation::Ignored;
use script::{Line, Verb, any, op};
use shrink::shrink;
use tally::Tally;

const WIDE: Effort = Effort { one_in: 3, random: 3, life_one_in: 6, deep_one_in: 24, depth: 3 };

/// What an unoptimised build has time for.
const SHORT: Effort = Effort { one_in: 60, random: 2, life_one_in: 6, deep_one_in: 48, depth: 2 };

/// A number that the environment asks for.
fn asked(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}

/// Whether anything is asked for that takes its time.
fn at_length() -> bool {
    ["STATES", "MINUTES", "FAULTS"]
        .iter()
        .any(|what| asked(&format!("FOREBAY_WHOLE_{what}")).is_some())
}

/// Fails with what was found, each line as it is and as short as it gets.
fn must_hold(tally: &Tally, plant: Plant) {
    let found = tally.found();
    let lines: Vec<String> = found
        .iter()
        .map(|one| {
            let short = shrink(&one.line.parse().unwrap(), plant);
            let broken = replay(&short, plant).err().unwrap_or(one.broken.clone());
            format!("{}\n  {}\n{short}\n  {broken}", one.line, one.broken)
        })
        .collect();
    assert!(found.is_empty(), "{} states broke a law:\n{}", found.len(), lines.join("\n"));
}

/// All lines of `seeds.txt`, each of which once broke a law; and one in `FOREBAY_WHOLE`.
#[test]
fn lines_that_once_failed_hold() {
    let one = std::env::var("FOREBAY_WHOLE").ok();
    let known = include_str!("whole/seeds.txt");
    for text in one.as_deref().unwrap_or(known).lines() {
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        let line: Line = text.parse().unwrap();
        assert_eq!(line.to_string(), text, "the line is written as it was read");
        if let Err(broken) = replay(&line, Plant::Nothing) {
            if one.is_some() {
                println!("shortened:\n{}", shrink(&line, Plant::Nothing));
            }
            panic!("{line}\n  {broken}");
        }
    }
}

/// What of compaction and compression was met.
fn met_line() -> String {
    let [logs, tombstones, upstreams, batches] =
        compacted::MET.each_ref().map(|count| count.load(Ordering::Relaxed));
    format!(
        "compacted: {logs} logs, {tombstones} without a tombstone, {upstreams} upstreams; \
         compressed: {batches} batches"
    )
}

/// Two threads take seeds in order until there are enough states, or time is up.
fn seeds(
    from: u64,
    effort: Effort,
    tally: &Arc<Tally>,
    enough: impl Fn(&Tally, u64) -> bool + Sync,
) {
    let next = AtomicU64::new(from);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if tally.over() || enough(tally, seed - from) {
                        break;
                    }
                    explore(&any(seed, 30 + seed % 90), effort, tally, Plant::Nothing);
                }
            });
        }
    });
}

/// V1 to V19 over workloads by chance. With `FOREBAY_WHOLE_STATES=N` at least N distinct states,
/// always the same ones; with `FOREBAY_WHOLE_MINUTES=M` for so long, others each time. With
/// `FOREBAY_WHOLE_ONE_IN=N` ends come at one moment in N: more workloads, fewer states of each.
#[test]
fn a_store_holds_wherever_it_is_ended() {
    if let Some(minutes) = asked("FOREBAY_WHOLE_MINUTES") {
        return campaign(minutes);
    }
    let tally = Tally::new();
    match asked("FOREBAY_WHOLE_STATES") {
        Some(wanted) => seeds(1, WIDE, &tally, |tally, _| tally.distinct() as u64 >= wanted),
        None => seeds(1, SHORT, &tally, |_, done| done >= 6),
    }
    println!("whole: {} workloads, {}; {}", tally.workloads(), tally.line(), met_line());
    must_hold(&tally, Plant::Nothing);
    assert!(tally.distinct() > 100, "{}", tally.line());
    let met = |nth: usize| compacted::MET[nth].load(Ordering::Relaxed);
    assert!(met(0) > 0, "nothing was compacted: {}", met_line());
    assert!(met(3) > 0 || !cfg!(feature = "zstd"), "nothing was compressed: {}", met_line());
}

/// States are told from each other in rounds of three minutes, so that memory stays bounded.
fn campaign(minutes: u64) {
    let from = Instant::now();
    let end = from + Duration::from_secs(60 * minutes);
    let mut seed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() << 20;
    println!("from seed {seed}");
    let effort = Effort { one_in: asked("FOREBAY_WHOLE_ONE_IN").unwrap_or(WIDE.one_in), ..WIDE };
    let mut total = (0, 0, 0);
    while Instant::now() < end {
        let tally = Tally::new();
        let left = end.saturating_duration_since(Instant::now()).min(Duration::from_secs(180));
        tally.end_after(left);
        seeds(seed, effort, &tally, |_, _| false);
        must_hold(&tally, Plant::Nothing);
        seed += tally.workloads() as u64;
        total =
            (total.0 + tally.workloads(), total.1 + tally.distinct(), total.2 + tally.recovered());
    }
    let (workloads, distinct, recovered) = total;
    let seconds = from.elapsed().as_secs();
    println!(
        "whole: {workloads} workloads, {distinct} distinct states, {recovered} recovered, 0 \
         broken laws, in {seconds} s; {}",
        met_line()
    );
}

/// A work of every kind, for faults at its calls.
const EVERYTHING: &str = "mapped strict safe fresh seed=3 logs=123568 open=2 room=0 \
    ops=a0-1.a1-2.g1.c1-1-9.s2-9-0.g2.y2-0.a3-3.g4.f3.F.D4.a4-0.m.L1-3.R1.d2-4.g5.o.a5-1.\
    L0-11.g0.A0-3-4.g0.C0.l0-7-1.l4-1-2.s0-9-0.l4-4-6.k.a2-1 \
    at=0 cuts=";

/// V12, V13: every kind of fault at the calls of a work of every kind, and a life behind it. With
/// `FOREBAY_WHOLE_FAULTS=N` at one call in N of each kind, 1 for all of them.
#[test]
fn every_fault_at_a_call_is_told_and_lived_through() {
    let base: Line = EVERYTHING.parse().unwrap();
    let step = asked("FOREBAY_WHOLE_FAULTS");
    let tally = Tally::new();
    let effort = Effort { one_in: if step.is_some() { 60 } else { 600 }, ..SHORT };
    let step = step.unwrap_or(70) as usize;
    for kind in 0..14 {
        for after in (0..140).step_by(step) {
            let mut line = base.clone();
            line.ground.disk.seed = 3 + u64::from(after);
            line.ground.disk.mapped = after % 2 == 0;
            line.ops.insert(0, op(Verb::Fault, [kind, after, 1]));
            explore(&line, effort, &tally, Plant::Nothing);
        }
    }
    println!("whole, faults: {} workloads, {}", tally.workloads(), tally.line());
    must_hold(&tally, Plant::Nothing);
}

/// A planted fault breaks a law, and the line that shows it is short.
fn is_found(plant: Plant, mapped: bool) {
    let tally = Tally::new();
    for seed in 1..200 {
        let mut line = any(seed, 40);
        line.ground.disk.tear = words::Tear::Safe;
        line.ground.disk.mapped = mapped;
        line.ops.retain(|op| !matches!(op.verb, Verb::Fault | Verb::Space | Verb::Descriptors));
        explore(&line, Effort { one_in: 5, ..SHORT }, &tally, plant);
        let Some(found) = tally.found().first().cloned() else { continue };
        let states = tally.recovered();
        println!("{plant:?}: broken after {states} states, {seed} workloads: {}", found.broken);
        let long: Line = found.line.parse().unwrap();
        assert!(replay(&long, plant).is_err(), "it reproduces: {long}");
        assert!(replay(&long, Plant::Nothing).is_ok(), "without the plant it holds: {long}");
        // Runs by the hundred: one plant is enough where nobody has asked for more.
        if plant == Plant::Oracle || at_length() {
            let short = shrink(&long, plant);
            println!("shortened: {short}");
            assert!(replay(&short, plant).is_err(), "it reproduces: {short}");
            assert!(short.ops.len() <= 8, "it is short: {short}");
        }
        return;
    }
    panic!("{plant:?} was not seen: {}", tally.line());
}

/// M9: without the syncs of segments, acknowledged records go.
#[test]
fn ignored_syncs_of_segments_are_found() {
    is_found(Plant::Lie(Ignored::Segments), false);
}

/// The same through maps.
#[test]
fn ignored_syncs_of_maps_are_found() {
    is_found(Plant::Lie(Ignored::Maps), true);
}

/// The same for names.
#[test]
fn ignored_syncs_of_directories_are_found() {
    is_found(Plant::Lie(Ignored::Directories), true);
}

/// The same for checkpoints.
#[test]
fn ignored_syncs_of_checkpoints_are_found() {
    is_found(Plant::Lie(Ignored::Checkpoint), false);
}

/// The oracle itself: told of flushes that never were, it misses what they would have kept.
#[test]
fn flushes_that_never_were_are_missed() {
    is_found(Plant::Oracle, false);
}

/// The oracle itself: told of no compaction, it misses what went.
#[test]
fn compactions_that_are_not_known_are_missed() {
    is_found(Plant::Compaction, false);
}

/// The line of a failure is read as it was written, and runs the same twice.
#[test]
fn a_line_is_read_as_it_was_written_and_runs_the_same() {
    for seed in [5, 6, 7] {
        let line = any(seed, 60);
        let read: Line = line.to_string().parse().unwrap();
        assert_eq!(read, line);
        let calls = explore::calls(&line, Plant::Nothing);
        assert_eq!(calls, explore::calls(&read, Plant::Nothing), "{line}");
        assert!(calls.iter().sum::<u64>() > 100, "{calls:?}");
    }
    assert!(
        "mapped strict safe fresh seed=1 logs=0 open=1 room=0 ops=a0 at=0 cuts="
            .parse::<Line>()
            .is_err()
    );
}
