//! Whole logs and stores on the simulated disk, one schedule of their threads after the other.
//!
//!   schedules all N [SEED]          each model under N schedules in all, from this seed (1)
//!   schedules MODEL N [SEED]        one of them
//!   schedules replay MODEL WORD     the schedule that a failure printed
//!
//! Half of the schedules choose the next thread at random at each step; half are those of PCT,
//! which runs the thread of the highest priority and changes priorities at few, random steps. What
//! a thread waits for never comes by the time that passes: a wake-up that is missed is a deadlock,
//! and found. Ends with 1 where a model failed.

mod ends;
mod judge;
mod lingers;
mod logs;
mod stores;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use shuttle::scheduler::{PctScheduler, RandomScheduler, ReplayScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner};

type Model = (&'static str, fn());

/// What there is, and what it promises.
const MODELS: [Model; 12] = [
    ("publish", logs::readers_see_whole_batches_in_order),
    ("group", logs::what_is_acknowledged_was_synced_after_it_was_written),
    ("waiters", logs::no_waiter_sleeps_through_what_it_waits_for),
    ("delete", logs::deleting_takes_nothing_from_who_reads),
    ("full", logs::who_waits_for_room_hears_of_it),
    ("poison", ends::a_failed_sync_is_heard_of_by_all_and_nothing_is_durable_after_it),
    ("close", ends::what_comes_before_a_close_is_kept_and_nothing_comes_behind_it),
    ("background", ends::the_thread_of_a_log_ends_with_it),
    ("linger", lingers::what_is_handed_in_lies_in_that_order_and_is_answered),
    ("linger-close", lingers::what_is_taken_before_a_close_is_in_the_log),
    ("store", stores::logs_that_are_closed_for_others_lose_nothing),
    ("store-close", stores::a_store_is_closed_under_its_logs),
];

/// Schedules that were begun.
static BEGUN: AtomicUsize = AtomicUsize::new(0);

fn config() -> Config {
    let mut config = Config::new();
    // A log's calls go deeper than a task usually does.
    config.stack_size = 1 << 19;
    config.max_steps = MaxSteps::FailAfter(200_000);
    config.silence_warnings = true;
    config
}

/// How many schedules it ran through, and whether it failed in the last of them.
fn run(model: fn(), scheduler: impl Scheduler + 'static) -> (usize, bool) {
    BEGUN.store(0, Ordering::Relaxed);
    let body = move || {
        BEGUN.fetch_add(1, Ordering::Relaxed);
        model();
    };
    let failed = catch_unwind(AssertUnwindSafe(|| Runner::new(scheduler, config()).run(body)));
    (BEGUN.load(Ordering::Relaxed), failed.is_err())
}

/// Both kinds of schedules; how many, and whether all went well.
fn explore((name, model): Model, count: usize, seed: u64) -> (usize, bool) {
    let begun = Instant::now();
    let (random, mut failed) = run(model, RandomScheduler::new_from_seed(seed, count.div_ceil(2)));
    let mut pct = 0;
    if !failed {
        (pct, failed) = run(model, PctScheduler::new_from_seed(seed, 4, count / 2));
    }
    let seconds = begun.elapsed().as_secs_f64();
    let said = if failed { "FAILED in the last one" } else { "nothing found" };
    println!(
        "{name}: {random} random and {pct} PCT schedules, seed {seed}, {seconds:.1} s: {said}"
    );
    (random + pct, !failed)
}

fn main() -> ExitCode {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let words: Vec<_> = words.iter().map(String::as_str).collect();
    let find = |wanted: &str| -> Vec<Model> {
        MODELS.into_iter().filter(|(name, _)| *name == wanted).collect()
    };
    let (models, rest): (Vec<Model>, _) = match &words[..] {
        ["replay", name, word] => {
            for (name, model) in find(name) {
                let (_, failed) = run(model, ReplayScheduler::new_from_encoded(word));
                println!("{name}: {}", if failed { "fails" } else { "does not fail" });
            }
            return ExitCode::SUCCESS;
        }
        ["all", rest @ ..] => (MODELS.into(), rest),
        [name, rest @ ..] => (find(name), rest),
        [] => (Vec::new(), &words[..]),
    };
    let number = |at: usize| rest.get(at).and_then(|word| word.parse::<u64>().ok());
    let (Some(count), false) = (number(0), models.is_empty()) else {
        let names: Vec<_> = MODELS.into_iter().map(|(name, _)| name).collect();
        eprintln!("schedules all|MODEL N [SEED], or replay MODEL WORD; models: {names:?}");
        return ExitCode::from(2);
    };
    let seed = number(1).unwrap_or(1);
    let begun = Instant::now();
    let (mut schedules, mut well) = (0, true);
    for model in &models {
        let (ran, passed) = explore(*model, count as usize, seed);
        (schedules, well) = (schedules + ran, well && passed);
    }
    let said = if well { "nothing found" } else { "FAILED" };
    let (models, seconds) = (models.len(), begun.elapsed().as_secs_f64());
    println!("schedules: {models} models, {schedules} schedules, {seconds:.0} s: {said}");
    if well { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
