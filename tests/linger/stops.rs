//! The process killed and the power cut before every call to the disk: what was answered is there,
//! batches are whole or not there at all, and nothing that was not handed in is.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use forebay::simulation::{Disk, Keep, Names, Profile, Torn};
use forebay::{IoMode, Log, LogOptions, Ticket, Visibility};

use crate::util::{all_texts, manual};
use crate::{EVER, batch_sizes};

const DIR: &str = "/log";

/// What is known at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Truth {
    handed_in: usize,
    written: usize,
    durable: usize,
}

fn profiles() -> [(Profile, IoMode); 4] {
    let strict = Profile::default();
    let journal = Profile { names: Names::Journal, stale: true, ..strict.clone() };
    let card = Profile { torn: Torn::Overwrite { bytes: 4096 }, ..strict.clone() };
    [
        (strict, IoMode::Mapped),
        (journal.clone(), IoMode::Positioned),
        (journal, IoMode::Mapped),
        (card, IoMode::Positioned),
    ]
}

fn text(n: usize) -> String {
    format!("{n} {}", "x".repeat(n * 37 % 300))
}

/// What a stop has left.
fn judge(options: LogOptions, disk: &Disk, least: usize, truth: Truth, what: &str) {
    let log = options.open_on(disk, DIR).unwrap();
    let texts = all_texts(&log);
    assert!(texts.len() >= least, "{what}: {} of {truth:?}", texts.len());
    assert!(texts.len() <= truth.handed_in, "{what}: {} of {truth:?}", texts.len());
    for (n, found) in texts.iter().enumerate() {
        assert_eq!(*found, text(n), "{what}: the order they were handed in");
    }
    // I14: three records each, but where a flush came between.
    let odd = batch_sizes(&log).into_iter().filter(|records| *records != 3).count();
    assert!(odd <= 3, "{what}: {:?}", batch_sizes(&log));
    assert_eq!(log.recovery().damaged_ranges, 0, "{what}");
    log.append("alive").unwrap();
}

/// Counts the answers, as the threads that wait for them would know them.
fn count(tickets: &[Ticket]) -> usize {
    tickets.iter().take_while(|ticket| ticket.try_wait().is_some_and(|done| done.is_ok())).count()
}

struct World {
    disk: Disk,
    truth: Arc<Mutex<Truth>>,
    looked: Arc<AtomicU64>,
}

impl World {
    fn new(profile: Profile, options: &LogOptions) -> World {
        let disk = Disk::new(profile);
        let truth = Arc::new(Mutex::new(Truth::default()));
        let looked = Arc::new(AtomicU64::new(0));
        let (seen, counted, options) = (Arc::clone(&truth), Arc::clone(&looked), options.clone());
        disk.watch(move |disk, call| {
            let truth = *seen.lock().unwrap();
            let number = counted.fetch_add(1, Ordering::Relaxed);
            let what = format!("{call:?}");
            judge(options.clone(), &disk.kill(), truth.written, truth, &what);
            for keep in [Keep::None, Keep::Seed(number)] {
                judge(options.clone(), &disk.power_cut(keep), truth.durable, truth, &what);
            }
        });
        World { disk, truth, looked }
    }

    fn know(&self, log: &Log, tickets: &[Ticket]) {
        let mut truth = self.truth.lock().unwrap();
        truth.written = count(tickets);
        truth.durable = log.durable_offset().get() as usize;
    }
}

#[test]
fn whatever_stops_it_what_was_answered_is_there() {
    for (profile, mode) in profiles() {
        for visibility in [Visibility::Written, Visibility::Durable] {
            let options = manual(mode).segment_bytes(4096);
            let world = World::new(profile.clone(), &options);
            let log = options.open_on(&world.disk, DIR).unwrap();
            let counting = forebay::LingerOptions::new().linger(EVER).batch_records(3);
            let linger = log.linger(counting.acknowledge(visibility)).unwrap();
            let mut tickets = Vec::new();
            for n in 0..40 {
                world.truth.lock().unwrap().handed_in = n + 1;
                tickets.push(linger.append(text(n)).unwrap());
                world.know(&log, &tickets);
                if n % 10 == 5 {
                    tickets[n - 4].wait().unwrap();
                    world.know(&log, &tickets);
                }
                if n % 16 == 12 {
                    linger.flush().unwrap();
                    world.know(&log, &tickets);
                    let answered = count(&tickets);
                    assert_eq!(answered, n + 1, "a flush answers all");
                }
            }
            log.close().unwrap();
            world.know(linger.log(), &tickets);
            assert_eq!(count(&tickets), 40);
            world.disk.unwatch();
            let looked = world.looked.load(Ordering::Relaxed);
            assert!(looked > 50, "{looked} stops");
            let truth = *world.truth.lock().unwrap();
            let options = manual(mode).segment_bytes(4096);
            judge(options, &world.disk.power_cut(Keep::None), 40, truth, "at the end");
        }
    }
}
