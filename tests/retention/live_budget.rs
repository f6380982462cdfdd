//! Budgets that come, change and go while the log is open.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use forebay::{ErrorKind, Log, LogOptions, Offset, OnFull};

use crate::util::{self, MODES, OpenIn, Place, all_texts, kind, manual, scratch, ways};

const LONG: Duration = Duration::from_secs(60);

/// Bytes of the files that are there, in blocks. The log's own thread may rename and remove files
/// meanwhile: one that went between the list and the look is no longer taken.
fn taken(place: &Place) -> u64 {
    let blocks = |name: &String| place.len_of(name).unwrap_or(0).div_ceil(4096) as u64;
    place.names().iter().map(blocks).sum::<u64>() * 4096
}

fn value(number: usize) -> String {
    format!("{number:0>1000}")
}

/// Appends until the log is full; the next number.
fn fill(log: &Log, mut next: usize) -> usize {
    for _ in 0..100_000 {
        match log.append(value(next)) {
            Ok(_) => next += 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
                return next;
            }
        }
    }
    panic!("there is no bound")
}

/// A log that was opened without a budget gets one, a larger one, a smaller one, and none.
#[test]
fn a_budget_comes_grows_shrinks_and_goes() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let options = manual(mode).segment_bytes(64 << 10).max_batch_bytes(4096);
        let log = options.open_in(&place).unwrap();
        let to = |budget: u64, policy| {
            log.set_options(log.current_options().budget_bytes(budget).on_full(policy)).unwrap();
        };
        for number in 0..300 {
            log.append(value(number)).unwrap();
        }
        let without = taken(&place);
        let stats = log.stats();
        assert_eq!((stats.budget_bytes, stats.budget_used_bytes), (None, None));
        let mut next = 300;
        for budget in [1 << 20, 2 << 20] {
            to(budget, OnFull::Reject);
            next = fill(&log, next);
            let now = taken(&place);
            assert!(now <= budget, "{mode:?}: {now} of {budget}");
            assert!(now > budget - 4 * (64 << 10), "{mode:?}: {now} of {budget} is all it took");
            assert!(now > without);
            let stats = log.stats();
            let (used, kept) =
                (stats.budget_used_bytes.unwrap(), stats.budget_reserve_bytes.unwrap());
            assert_eq!(stats.budget_bytes, Some(budget));
            assert!((now..=budget).contains(&used), "{mode:?}: {used} with {now} in files");
            assert!(budget - used < kept + 2 * (64 << 10), "{mode:?}: {used} and {kept} is full");
        }
        // Smaller than what is there: nothing is lost, and nothing more is taken.
        let before = taken(&place);
        to(1 << 20, OnFull::Reject);
        let same = fill(&log, next);
        assert!(taken(&place) <= before && same - next < 64, "{next} {same}");
        assert_eq!(all_texts(&log).len(), same);
        log.delete_records(Offset::new(i64::try_from(same).unwrap() - 300)).unwrap();
        assert!(fill(&log, same) > same && taken(&place) <= 1 << 20);
        // Dropping needs no append to begin.
        to(512 << 10, OnFull::DropOldest);
        assert!(taken(&place) <= 512 << 10, "{mode:?}: {}", taken(&place));
        let start = log.log_start_offset();
        for number in 0..500 {
            log.append(value(number)).unwrap();
            assert!(taken(&place) <= 512 << 10);
        }
        assert!(log.log_start_offset() > start);
        // And none at all.
        log.set_options(options_without_budget(&log)).unwrap();
        for number in 0..600 {
            log.append(value(number)).unwrap();
        }
        assert!(taken(&place) > 1 << 20);
    }
}

fn options_without_budget(log: &Log) -> LogOptions {
    let mut all = serde_json::to_value(log.current_options()).unwrap();
    all.as_object_mut().unwrap().remove("budget_bytes");
    serde_json::from_value(all).unwrap()
}

#[test]
fn a_budget_no_log_can_do_with_is_refused_as_at_open() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).segment_bytes(64 << 10).open_in(&place).unwrap();
        let asked = log.current_options().budget_bytes(100_000);
        let opened = kind(asked.clone().open_in(&ground.place()));
        let error = log.set_options(asked).unwrap_err();
        assert_eq!((error.kind(), opened), (ErrorKind::InvalidArgument, error.kind()));
        assert!(error.to_string().starts_with("budget_bytes is 100000"), "{error}");
        assert_eq!(log.current_options(), manual(mode).segment_bytes(64 << 10));
    }
}

/// What waits for room finds it in a larger budget, and waits no longer when it is not to.
#[test]
fn an_append_that_waits_for_room_goes_by_the_new_options() {
    let tmp = scratch();
    for mode in MODES {
        let options = manual(mode).segment_bytes(64 << 10).max_batch_bytes(4096);
        let block = options.budget_bytes(512 << 10).on_full(OnFull::Reject);
        let log = block.open(tmp.path().join(format!("{mode:?}"))).unwrap();
        let next = fill(&log, 0);
        let patient = log.current_options().on_full(OnFull::Block(LONG * 60));
        log.set_options(patient.clone()).unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| log.append(value(next)).unwrap());
            thread::sleep(Duration::from_millis(5));
            log.set_options(patient.clone().budget_bytes(1 << 20)).unwrap();
            assert_eq!(waits.join().unwrap().get(), i64::try_from(next).unwrap());
        });
        log.set_options(log.current_options().on_full(OnFull::Reject)).unwrap();
        let next = fill(&log, next + 1);
        log.set_options(log.current_options().on_full(OnFull::Block(LONG * 60))).unwrap();
        thread::scope(|scope| {
            let waits = scope.spawn(|| log.append(value(next)));
            thread::sleep(Duration::from_millis(5));
            log.set_options(log.current_options().on_full(OnFull::Reject)).unwrap();
            assert_eq!(kind(waits.join().unwrap()), ErrorKind::OutOfSpace);
        });
    }
}

/// Whatever goes on when a budget is set: every file is counted once, those that are deleted but
/// still read included.
#[test]
fn a_budget_that_comes_late_counts_what_readers_hold() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log =
            manual(mode).segment_bytes(64 << 10).max_batch_bytes(4096).open_in(&place).unwrap();
        for number in 0..300 {
            log.append(value(number)).unwrap();
        }
        let hold = |at| {
            let mut reader = log.reader(util::at(at)).unwrap();
            (reader.next().unwrap().unwrap(), reader)
        };
        let held = [hold(0), hold(100)];
        let before = taken(&place);
        log.delete_records(Offset::new(250)).unwrap();
        let dropped = before - taken(&place);
        assert!(dropped > 3 * (64 << 10));
        let budget = 640 << 10;
        log.set_options(log.current_options().budget_bytes(budget)).unwrap();
        let next = fill(&log, 300);
        let held_bytes = log.stats().deleted_held_bytes;
        assert!(held_bytes >= 64 << 10, "{held_bytes}");
        assert!(taken(&place) + held_bytes <= budget, "{mode:?}: {held_bytes} are held");
        drop(held);
        assert!(fill(&log, next) > next, "what was held is free again");
        let now = taken(&place);
        assert!(now <= budget && now > budget - 4 * (64 << 10), "{mode:?}: {now} of {budget}");
    }
}

/// The same while others append, delete, read and prepare segments.
#[test]
fn a_budget_that_comes_and_goes_amid_appends_counts_every_file_once() {
    let tmp = scratch();
    for mode in MODES {
        let place = Place::at(&tmp.path().join(format!("{mode:?}")));
        let options = manual(mode).segment_bytes(64 << 10).max_batch_bytes(4096).background(true);
        let log = options.open_in(&place).unwrap();
        let (budget, done) = (4 << 20, AtomicBool::new(false));
        thread::scope(|scope| {
            scope.spawn(|| {
                for number in 0..20_000 {
                    log.append(value(number)).unwrap();
                    if number % 100 == 99 {
                        let held = log.reader(forebay::OffsetSpec::Earliest).unwrap().next();
                        log.delete_records(log.log_end_offset()).unwrap();
                        drop(held);
                    }
                }
                done.store(true, Ordering::SeqCst);
            });
            while !done.load(Ordering::SeqCst) {
                log.set_options(log.current_options().budget_bytes(budget)).unwrap();
                log.set_options(options_without_budget(&log)).unwrap();
            }
        });
        log.set_options(log.current_options().budget_bytes(budget)).unwrap();
        fill(&log, 0);
        let now = taken(&place);
        // Beside the blocks of a segment one counts that says where they are.
        let least = |budget: u64| budget - budget / 16 - 5 * (64 << 10);
        assert!(now <= budget && now > least(budget), "{mode:?}: {now} of {budget}");
        log.set_options(log.current_options().budget_bytes(2 * budget)).unwrap();
        fill(&log, 0);
        let now = taken(&place);
        let twice = 2 * budget;
        assert!(now <= twice && now > least(twice), "{mode:?}: {now} of {twice}");
    }
}
