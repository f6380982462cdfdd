//! A log's budget is never exceeded, and what an append does when it is used up is what was asked
//! for (I19).

use std::time::Duration;

use forebay::{ErrorKind, FlushPolicy, Log, LogOptions, Offset, OffsetSpec, OnFull};

use crate::util::numbered::{kilobyte, numbers_of};
use crate::util::place::{Place, ways};

const BUDGET: u64 = 512 << 10;

fn options() -> LogOptions {
    Log::options()
        .segment_bytes(64 << 10)
        .max_batch_bytes(16 << 10)
        .flush(FlushPolicy::Manual)
        .budget_bytes(BUDGET)
}

/// What the files of the log take, in blocks, by their lengths.
fn taken(place: &Place) -> u64 {
    let names = place.names();
    names.iter().map(|name| (place.read(name).len() as u64).div_ceil(4096) * 4096).sum()
}

#[test]
fn rejecting_leaves_the_log_as_it_was_and_goes_on_once_there_is_room() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = place.open(options().io_mode(mode)).unwrap();
        let mut next = 0;
        let error = loop {
            match log.append(kilobyte(next)) {
                Ok(_) => next += 1,
                Err(error) => break error,
            }
            assert!(taken(&place) <= BUDGET, "{mode:?}: {} taken", taken(&place));
        };
        assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
        assert!(error.to_string().contains("the budget of the log"), "{error}");
        assert!(next > 200, "only {next} of 1 KiB in 512 KiB");
        assert_eq!(numbers_of(&log), (0..next).collect::<Vec<_>>());
        assert_eq!(log.stats().appends_refused, 1);
        log.flush().unwrap();
        let mut consumer = log.consumer("display").unwrap();
        consumer.poll(Duration::ZERO).unwrap();
        consumer.commit().unwrap();
        consumer.sync().unwrap();
        log.delete_records(Offset::new(150)).unwrap();
        log.append(kilobyte(next)).unwrap();
        assert_eq!(numbers_of(&log), (150..=next).collect::<Vec<_>>());
        log.close().unwrap();
        assert!(taken(&place) <= BUDGET);
    }
}

#[test]
fn dropping_the_oldest_takes_every_append_and_stays_below_the_budget() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = place.open(options().io_mode(mode).on_full(OnFull::DropOldest)).unwrap();
        for number in 0..3000 {
            log.append(kilobyte(number)).unwrap();
            assert!(taken(&place) <= BUDGET, "{mode:?} {number}: {} taken", taken(&place));
            if number % 1000 == 500 {
                log.flush().unwrap();
            }
        }
        let start = u64::try_from(log.log_start_offset().get()).unwrap();
        assert!(start > 2000, "{start}");
        assert_eq!(numbers_of(&log), (start..3000).collect::<Vec<_>>());
        drop(log);
        // Reopening counts what is there.
        let log = place.open(options().io_mode(mode).on_full(OnFull::DropOldest)).unwrap();
        for number in 3000..4000 {
            log.append(kilobyte(number)).unwrap();
            assert!(taken(&place) <= BUDGET, "{mode:?} {number}: {} taken", taken(&place));
        }
    }
}

#[test]
fn what_is_deleted_but_still_read_counts_until_it_is_let_go() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = place.open(options().io_mode(mode)).unwrap();
        let mut next = 0;
        while log.append(kilobyte(next)).is_ok() {
            next += 1;
        }
        // Readers that stand in the first three segments keep their files.
        let held: Vec<_> = [0, 60, 120]
            .into_iter()
            .map(|at| {
                let mut reader = log.reader(OffsetSpec::At(Offset::new(at))).unwrap();
                let batch = reader.next().unwrap().unwrap();
                (reader, batch)
            })
            .collect();
        log.delete_records(Offset::new(160)).unwrap();
        let error = log.append(kilobyte(next)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{mode:?}: {error}");
        drop(held);
        log.append(kilobyte(next)).unwrap();
    }
}

#[test]
fn a_blocked_append_goes_on_when_another_thread_makes_room() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let wait = OnFull::Block(Duration::from_secs(30));
        let log = place.open(options().io_mode(mode).on_full(OnFull::Reject)).unwrap();
        let mut next = 0;
        while log.append(kilobyte(next)).is_ok() {
            next += 1;
        }
        log.close().unwrap();
        let log = place.open(options().io_mode(mode).on_full(wait)).unwrap();
        std::thread::scope(|scope| {
            let other = log.clone();
            scope.spawn(move || {
                while other.stats().appends_refused == 0 && other.log_end_offset().get() < 1 {
                    std::thread::yield_now();
                }
                other.delete_records(Offset::new(150)).unwrap();
            });
            log.append(kilobyte(next)).unwrap();
        });
        assert_eq!(numbers_of(&log).last(), Some(&next));
    }
}

#[test]
fn a_blocked_append_is_refused_when_nobody_makes_room() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let wait = OnFull::Block(Duration::from_millis(120));
        let log = place.open(options().io_mode(mode).on_full(wait)).unwrap();
        let refused = (0..).find_map(|number| log.append(kilobyte(number)).err()).unwrap();
        assert_eq!(refused.kind(), ErrorKind::OutOfSpace);
        let stored = numbers_of(&log);
        assert_eq!(stored, (0..stored.len() as u64).collect::<Vec<_>>());
    }
}

#[test]
fn a_budget_below_what_a_log_needs_is_refused_by_name() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let small = options().io_mode(mode).budget_bytes(200 << 10);
        let error = place.open(small).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("budget_bytes is 204800"), "{error}");
        let needed = error.to_string();
        let needed = needed.split("needs ").nth(1).unwrap().split(':').next().unwrap();
        let least = options().io_mode(mode).budget_bytes(needed.parse().unwrap());
        // With what it says it needs, it takes records for ever.
        let log = place.open(least.on_full(OnFull::DropOldest)).unwrap();
        for number in 0..1000 {
            log.append(kilobyte(number)).unwrap();
        }
    }
}
