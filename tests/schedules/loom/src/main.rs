//! The smallest units of the crate that threads share, each under every interleaving of its steps
//! and every value that its loads may see.
//!
//!   orderings [MODEL]
//!
//! The units are the crate's own files; what stands around them here is how the crate uses them, in
//! as few steps as show it. Of each model all executions are tried, of two of them all with at most
//! so many preemptions as the table says. Ends with 1 where one fails.
#![allow(dead_code, reason = "of the crate's files, not everything is of use here")]

#[path = "../../../../src/log/group.rs"]
mod group;
mod sys;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize as Count, Ordering as O};
use std::time::Instant;

use loom::cell::UnsafeCell;
use loom::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use loom::thread;

use group::Group;
use sys::sync::Mutex;
use sys::{Event, Published};

type Model = (&'static str, Option<usize>, fn());

/// What there is, and how many preemptions at most.
const MODELS: [Model; 7] = [
    ("published", None, what_is_published_can_be_read),
    ("published-twice", None, a_later_end_covers_what_came_before),
    ("enrolled", None, who_enrolls_under_the_lock_is_woken),
    ("generation", None, who_read_the_generation_before_looking_is_woken),
    ("room", None, room_that_is_given_back_wakes_who_waits_for_it),
    ("lead", None, one_leads_at_a_time),
    ("group", None, who_does_not_lead_is_served_or_leads_next),
];

/// Memory that many threads may touch, if the checker finds that they take turns.
#[derive(Default)]
struct Bytes(UnsafeCell<u64>);

// SAFETY: loom reports each access that is not ordered against the others.
unsafe impl Sync for Bytes {}
// SAFETY: as for Sync.
unsafe impl Send for Bytes {}

impl Bytes {
    fn write(&self, value: u64) {
        // SAFETY: loom fails the model if anybody else reads or writes at once.
        self.0.with_mut(|bytes| unsafe { *bytes = value });
    }

    fn read(&self) -> u64 {
        // SAFETY: loom fails the model if anybody writes at once.
        self.0.with(|bytes| unsafe { *bytes })
    }
}

/// I9: a reader that sees the end sees the bytes below it.
fn what_is_published_can_be_read() {
    let shared = Arc::new((Published::new(0), Bytes::default()));
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            shared.1.write(7);
            shared.0.publish(8);
        })
    };
    if shared.0.end() == 8 {
        assert_eq!(shared.1.read(), 7);
    }
    writer.join().expect("it ends");
}

/// I9, I14: whichever end two readers see, all below it is there; the writer knows its own.
fn a_later_end_covers_what_came_before() {
    let shared = Arc::new((Published::new(0), [Bytes::default(), Bytes::default()]));
    let reader = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || read_published(&shared))
    };
    let writer = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            for (at, bytes) in shared.1.iter().enumerate() {
                bytes.write(at as u64 + 7);
                shared.0.publish(at + 1);
            }
            assert_eq!(shared.0.own_end(), 2);
        })
    };
    read_published(&shared);
    reader.join().expect("it ends");
    writer.join().expect("it ends");
}

fn read_published((published, bytes): &(Published, [Bytes; 2])) {
    let end = published.end();
    for (at, bytes) in bytes.iter().enumerate().take(end) {
        assert_eq!(bytes.read(), at as u64 + 7);
    }
    assert!(published.end() >= end, "it never goes back");
}

/// As `wait_for` waits for a written record: it looks and enrolls under the writer's lock, and an
/// append announces itself, behind that lock, only where somebody waits.
fn who_enrolls_under_the_lock_is_woken() {
    let shared = Arc::new((Mutex::new(0), Event::default()));
    let appender = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            *shared.0.lock() = 1;
            shared.1.announce_if_awaited();
        })
    };
    loop {
        let next = shared.0.lock();
        let enrolled = shared.1.enroll();
        let there = *next > 0;
        drop(next);
        if there {
            break;
        }
        enrolled.wait(None);
    }
    appender.join().expect("it ends");
    assert_eq!(shared.1.waiting(), 0);
}

/// As `wait_for` waits for a durable record: it reads the generation, looks without a lock, and
/// sleeps; a flush moves the durable offset and announces its end.
fn who_read_the_generation_before_looking_is_woken() {
    let shared = Arc::new((AtomicI64::new(0), Event::default(), Bytes::default()));
    let flusher = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            shared.2.write(7);
            shared.0.store(1, Ordering::Release);
            shared.1.announce();
        })
    };
    loop {
        let seen = shared.1.generation();
        if shared.0.load(Ordering::Acquire) == 1 {
            break;
        }
        shared.1.wait(seen, None);
    }
    assert_eq!(shared.2.read(), 7);
    flusher.join().expect("it ends");
}

/// As an append waits for room: it reads the generation, tries, and sleeps; who gives bytes back
/// announces that. The count itself is relaxed.
fn room_that_is_given_back_wakes_who_waits_for_it() {
    let shared = Arc::new((AtomicU64::new(1), Event::default()));
    let giver = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || {
            shared.0.fetch_sub(1, Ordering::Relaxed);
            shared.1.announce();
        })
    };
    loop {
        let seen = shared.1.generation();
        let taken = shared
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |used| (used == 0).then_some(1));
        if taken.is_ok() {
            break;
        }
        shared.1.wait(seen, None);
    }
    giver.join().expect("it ends");
}

/// Who leads is alone, and sees what the last leader did.
fn one_leads_at_a_time() {
    let shared = Arc::new((Group::default(), Bytes::default()));
    let lead = |shared: &(Group, Bytes)| {
        shared.0.lead();
        shared.1.write(shared.1.read() + 1);
        shared.0.end();
    };
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || lead(&shared))
    };
    lead(&shared);
    other.join().expect("it ends");
    assert_eq!(shared.1.read(), 2);
}

/// As `flush_until` does it: a target that is not durable is either flushed by the caller, or by
/// who leads; nobody sleeps through the end of a flush, and what it did is seen.
fn who_does_not_lead_is_served_or_leads_next() {
    let shared = Arc::new((Group::default(), AtomicI64::new(0), Bytes::default()));
    let flush = |shared: &(Group, AtomicI64, Bytes), target: i64| {
        loop {
            let seen = shared.0.generation();
            if shared.1.load(Ordering::Acquire) >= target {
                return;
            }
            if !shared.0.try_lead() {
                shared.0.wait_since(seen, None);
                continue;
            }
            if shared.1.load(Ordering::Acquire) < target {
                shared.2.write(target as u64);
                shared.1.fetch_max(target, Ordering::AcqRel);
            }
            shared.0.end();
        }
    };
    let other = {
        let shared = Arc::clone(&shared);
        thread::spawn(move || flush(&shared, 1))
    };
    flush(&shared, 2);
    other.join().expect("it ends");
    assert_eq!(shared.2.read(), 2);
}

static EXECUTIONS: Count = Count::new(0);

fn check((name, preemptions, model): Model) -> bool {
    EXECUTIONS.store(0, O::Relaxed);
    let begun = Instant::now();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = preemptions;
    let run = move || {
        builder.check(move || {
            EXECUTIONS.fetch_add(1, O::Relaxed);
            model();
        });
    };
    let failed = catch_unwind(AssertUnwindSafe(run)).is_err();
    let (count, seconds) = (EXECUTIONS.load(O::Relaxed), begun.elapsed().as_secs_f64());
    let most = preemptions.map_or("all".into(), |most| format!("up to {most} preemptions"));
    let said = if failed { "FAILED in the last one" } else { "nothing found" };
    println!("{name}: {count} executions ({most}), {seconds:.1} s: {said}");
    !failed
}

fn main() -> ExitCode {
    let wanted = std::env::args().nth(1);
    let models = MODELS.iter().filter(|(name, ..)| wanted.as_deref().is_none_or(|w| w == *name));
    let models: Vec<_> = models.copied().collect();
    let begun = Instant::now();
    let (mut executions, mut well) = (0, !models.is_empty());
    for model in &models {
        well &= check(*model);
        executions += EXECUTIONS.load(O::Relaxed);
    }
    let said = if well { "nothing found" } else { "FAILED" };
    let (models, seconds) = (models.len(), begun.elapsed().as_secs_f64());
    println!("orderings: {models} models, {executions} executions, {seconds:.0} s: {said}");
    if well { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
