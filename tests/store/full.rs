//! A store on a disk without a free block: what is there is read, flushed, committed and deleted,
//! the store is opened and closed, and appends go on by themselves once there is room (I19).

use std::time::Duration;

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{ErrorKind, IoMode, Log, Offset, OffsetSpec, OnFull, Store, StoreOptions};

use crate::small;
use crate::util::MODES;

fn options(mode: IoMode) -> StoreOptions {
    Store::options().logs(small(mode)).reserve_bytes(64 << 10).max_open_logs(3)
}

/// Appends until the disk is full; how many records are in each of four logs.
fn fill(store: &Store) -> [i64; 4] {
    let mut ends = [0; 4];
    let mut refused = 0;
    for number in 0.. {
        let which = number % 4;
        let log = match store.log(&format!("log-{which}")) {
            Ok(log) => log,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
                refused += 1;
                if refused > 20 {
                    break;
                }
                continue;
            }
        };
        match log.append(vec![b'.'; 900]) {
            Ok(offset) => ends[which] = offset.get() + 1,
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OutOfSpace, "{error}");
                refused += 1;
                if refused > 20 {
                    break;
                }
            }
        }
    }
    ends
}

fn count(log: &Log) -> i64 {
    let mut count = 0;
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        count += i64::try_from(batch.unwrap().records().count()).unwrap();
    }
    count
}

#[test]
fn everything_but_appending_works_at_no_byte_free() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        disk.set_space(Some(2 << 20));
        let store = options(mode).open_on(&disk, "/store").unwrap();
        let ends = fill(&store);
        assert!(ends.iter().sum::<i64>() > 1000, "{ends:?}");
        disk.set_space(Some(0));
        for (which, end) in ends.iter().enumerate() {
            let log = store.log(&format!("log-{which}")).unwrap();
            assert_eq!(count(&log), *end, "{mode:?} log {which}");
        }
        store.flush().unwrap();
        store.maintain().unwrap();
        // Consumers with long names need a larger checkpoint, for which the reserve gives way.
        let log = store.log("log-0").unwrap();
        for number in 0..20 {
            let name = format!("{number}-{}", "x".repeat(200));
            let mut consumer =
                log.consumer(&name).unwrap_or_else(|error| panic!("{number}: {error}"));
            consumer.poll(Duration::ZERO).unwrap();
            consumer.commit().unwrap();
            consumer.sync().unwrap();
        }
        assert_eq!(store.stats().reserve_bytes, 0, "it gave way");
        drop(log);
        store.close().unwrap();
        for _ in 0..2 {
            let store = options(mode).open_on(&disk, "/store").unwrap();
            for (which, end) in ends.iter().enumerate() {
                assert_eq!(count(&store.log(&format!("log-{which}")).unwrap()), *end);
            }
            drop(store);
        }
        // As after a cut.
        let cut = disk.power_cut(Keep::None);
        let store = options(mode).open_on(&cut, "/store").unwrap();
        for (which, end) in ends.iter().enumerate() {
            assert_eq!(count(&store.log(&format!("log-{which}")).unwrap()), *end);
        }
        drop(store);
        let store = options(mode).open_on(&disk, "/store").unwrap();
        let log = store.log("log-1").unwrap();
        let refused = (0..40).find_map(|_| log.append(vec![b'.'; 900]).err()).unwrap();
        assert_eq!(refused.kind(), ErrorKind::OutOfSpace);
        let end = log.log_end_offset();
        log.delete_records(Offset::new(end.get() - 10)).unwrap();
        assert_eq!(log.append(vec![b'.'; 900]).unwrap(), end, "no gap, no reopening");
        drop(log);
        assert!(store.delete_log("log-2").unwrap());
        store.maintain().unwrap();
        assert!(store.stats().reserve_bytes >= 64 << 10, "it is there again");
        store.close().unwrap();
    }
}

#[test]
fn logs_that_drop_go_on_for_ever_on_a_full_disk_and_count_what_they_drop() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        disk.set_space(Some(1 << 20));
        let drops = options(mode).logs(small(mode).on_full(OnFull::DropOldest));
        let store = drops.open_on(&disk, "/store").unwrap();
        let mut ends = [0; 5];
        for number in 0..4000 {
            let which = number * 3 % 5;
            let log = store.log(&format!("log-{which}")).unwrap();
            let offset =
                log.append(vec![b'.'; 900]).unwrap_or_else(|error| panic!("{number}: {error}"));
            ends[which] = offset.get() + 1;
        }
        let mut kept = 0;
        for (which, end) in ends.iter().enumerate() {
            let log = store.log(&format!("log-{which}")).unwrap();
            assert_eq!(log.log_end_offset().get(), *end);
            let here = count(&log);
            assert_eq!(here, end - log.log_start_offset().get());
            kept += here;
        }
        let appended: i64 = ends.iter().sum();
        let dropped = i64::try_from(store.stats().records_dropped).unwrap();
        assert_eq!(appended, kept + dropped, "{mode:?}");
        store.close().unwrap();
    }
}
