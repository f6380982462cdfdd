//! A store's budget is never exceeded, and who gives way is decided by policy and priority.

use forebay::{ErrorKind, IoMode, Log, OffsetSpec, OnFull, Store, StoreOptions};

use crate::small;
use crate::util::kind;
use crate::util::numbered::{kilobyte, numbers_of};
use crate::util::place::ways;

const BUDGET: u64 = 1 << 20;

fn options(mode: IoMode) -> StoreOptions {
    Store::options().budget_bytes(BUDGET).reserve_bytes(32 << 10).logs(small(mode))
}

#[test]
fn logs_that_may_drop_share_the_budget_and_the_oldest_goes_first() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let open = || {
            let logs = small(mode).on_full(OnFull::DropOldest);
            place.open_store(options(mode).logs(logs).max_open_logs(4)).unwrap()
        };
        let store = open();
        let mut ends = [0; 7];
        for number in 0..2000_u64 {
            let which = usize::try_from(number * 7 % 11 % 7).unwrap();
            let log = store.log(&format!("log-{which}")).unwrap();
            log.append(kilobyte(ends[which])).unwrap();
            ends[which] += 1;
            assert!(place.taken() <= BUDGET, "{mode:?} {number}: {} taken", place.taken());
        }
        store.close().unwrap();
        let store = open();
        let mut kept = 0;
        for (which, end) in ends.iter().enumerate() {
            let log = store.log(&format!("log-{which}")).unwrap();
            let start = u64::try_from(log.log_start_offset().get()).unwrap();
            assert_eq!(numbers_of(&log), (start..*end).collect::<Vec<_>>());
            kept += end - start;
        }
        assert!(kept > 300, "only {kept} records are left in 1 MiB");
        assert_eq!(store.stats().records_dropped, 2000 - kept, "what was dropped is counted");
    }
}

#[test]
fn the_lower_priority_gives_way_and_never_the_higher() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let drops = |priority| small(mode).on_full(OnFull::DropOldest).priority(priority);
        let store = place
            .open_store(options(mode).log("debug", drops(10)).log("alarm", drops(200)))
            .unwrap();
        let (debug, alarm) = (store.log("debug").unwrap(), store.log("alarm").unwrap());
        let fill = |log: &Log, count: u64| -> Vec<forebay::Result<()>> {
            (0..count).map(|number| log.append(kilobyte(number)).map(drop)).collect()
        };
        assert!(fill(&alarm, 200).iter().all(Result::is_ok));
        assert!(fill(&debug, 1500).iter().all(Result::is_ok));
        assert_eq!(alarm.log_start_offset().get(), 0, "debug never takes from alarm");
        assert!(debug.log_start_offset().get() > 0);
        let before = debug.log_start_offset();
        assert!(fill(&alarm, 300).iter().all(Result::is_ok));
        assert_eq!(alarm.log_start_offset().get(), 0, "as long as debug has something to give");
        assert!(debug.log_start_offset() > before);
    }
}

#[test]
fn who_must_not_drop_is_refused_and_loses_nothing_to_others() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place
            .open_store(options(mode).log("cheap", small(mode).on_full(OnFull::DropOldest)))
            .unwrap();
        let strict = store.log("strict").unwrap();
        let mut next = 0;
        while strict.append(kilobyte(next)).is_ok() {
            next += 1;
        }
        assert!(next > 500);
        let error = strict.append(kilobyte(next)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfSpace);
        assert!(error.to_string().contains("the budget of the store"), "{error}");
        // There is nothing of its own to drop, and nothing of another's that it may.
        let cheap = store.log("cheap");
        let refused = cheap.and_then(|cheap| cheap.append(kilobyte(0)));
        assert_eq!(kind(refused), ErrorKind::OutOfSpace);
        assert_eq!(numbers_of(&strict), (0..next).collect::<Vec<_>>());
        assert!(place.taken() <= BUDGET);
        // Flushing, committing and deleting work all the same.
        store.flush().unwrap();
        let mut consumer = strict.consumer("uplink").unwrap();
        consumer.poll(std::time::Duration::ZERO).unwrap();
        consumer.commit().unwrap();
        consumer.sync().unwrap();
        drop(consumer);
        store.maintain().unwrap();
        strict.delete_records(forebay::Offset::new(200)).unwrap();
        strict.append(kilobyte(next)).unwrap();
        assert!(place.taken() <= BUDGET);
    }
}

#[test]
fn what_is_deleted_and_still_held_counts_in_the_store_until_it_is_let_go() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let store = place.open_store(options(mode)).unwrap();
        let log = store.log("engine").unwrap();
        for number in 0..200 {
            log.append(kilobyte(number)).unwrap();
        }
        let held = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        let before = store.stats();
        assert_eq!(before.deleted_held_bytes, 0);
        log.delete_records(forebay::Offset::new(100)).unwrap();
        let during = store.stats();
        let pinned = if mode == IoMode::Mapped { 16 << 10 } else { 0 };
        assert!(during.deleted_held_bytes >= pinned, "{mode:?}: {during:?}");
        assert!(during.disk_bytes < before.disk_bytes);
        drop(held);
        drop(log);
        let after = store.stats();
        assert_eq!(after.deleted_held_bytes, 0);
        assert!(after.disk_bytes <= during.disk_bytes);
        // Closing and reopening the log counts nothing twice.
        store.log("engine").unwrap().close().unwrap();
        store.log("engine").unwrap();
        let (counted, taken) = (store.stats().disk_bytes, place.taken());
        assert!(counted >= taken && counted - taken <= 4096 * place.count_files());
    }
}

#[test]
fn a_store_that_cannot_work_with_its_bounds_is_refused_by_name() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let refused = |options: StoreOptions, name: &str| {
            let error = place.open_store(options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        };
        refused(options(mode).budget_bytes(100 << 10), "budget_bytes is 102400");
        refused(options(mode).max_open_logs(0), "max_open_logs is 0");
        refused(options(mode).max_open_files(20), "max_open_files is 20");
        if mode == IoMode::Mapped {
            refused(options(mode).max_mapped_bytes(1000), "max_mapped_bytes is 1000");
        }
        refused(options(mode).logs(small(mode).segment_bytes(7)), "segment_bytes is 7");
        refused(options(mode).log("a", small(mode).segment_bytes(7)), "segment_bytes is 7");
    }
}
