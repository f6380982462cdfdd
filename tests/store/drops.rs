//! A full store whose logs drop what is oldest, under many threads: an append is refused only where
//! nothing could be dropped, whoever else looks for room at the same moment.

use std::sync::Mutex;
use std::thread;

use forebay::{Hold, IoMode, Log, LogOptions, OffsetSpec, OnFull, Store};

use crate::small;
use crate::util::{MODES, scratch};

const THREADS: u64 = 8;
const RECORDS: u64 = if cfg!(debug_assertions) { 1500 } else { 20_000 };

/// Appends from many threads at once, each to the log that is its turn; the errors.
fn append_at_once(logs: &[Log]) -> Vec<forebay::Error> {
    thread::scope(|scope| {
        let append = |me: u64| {
            let log = &logs[me as usize % logs.len()];
            let one = move |_| log.append(vec![b'x'; 1000]).err();
            scope.spawn(move || (0..RECORDS).filter_map(one).collect::<Vec<_>>())
        };
        let threads: Vec<_> = (0..THREADS).map(append).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn drops(mode: IoMode) -> LogOptions {
    small(mode).on_full(OnFull::DropOldest)
}

/// What is there follows on the start without a gap, and what is not was counted; how many records
/// are there.
fn kept(log: &Log) -> u64 {
    let batches = log.reader(OffsetSpec::Earliest).unwrap();
    let there: u64 = batches.map(|batch| batch.unwrap().len() as u64).sum();
    assert_eq!(log.log_end_offset() - log.log_start_offset(), there as i64);
    there
}

/// The least budget, as the refusal of one that is too small has it.
fn least<T: std::fmt::Debug>(refused: forebay::Result<T>) -> u64 {
    let text = refused.unwrap_err().to_string();
    let behind = text.split("needs ").nth(1).unwrap_or_else(|| panic!("{text}"));
    behind.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
}

fn assert_none_refused(budget: u64, background: bool, logs: &[&str]) {
    for mode in MODES {
        let dir = scratch();
        let options = Store::options().budget_bytes(budget).reserve_bytes(0).logs(drops(mode));
        let store = options.background(background).open(dir.path()).unwrap();
        let logs: Vec<_> = logs.iter().map(|name| store.log(name).unwrap()).collect();
        let refused = append_at_once(&logs);
        let first = refused.first();
        assert!(first.is_none(), "{mode:?}: {} refused: {}", refused.len(), first.unwrap());
        let there: u64 = logs.iter().map(kept).sum();
        let dropped = store.stats().records_dropped;
        assert_eq!(there + dropped, THREADS * RECORDS, "{mode:?}");
        assert!(dropped > 0 && store.stats().disk_bytes <= budget, "{mode:?}");
    }
}

#[test]
fn threads_that_append_to_one_log_of_a_full_store_are_not_refused() {
    for background in [false, true] {
        assert_none_refused(1 << 20, background, &["engine"]);
    }
}

#[test]
fn threads_that_append_to_several_logs_of_a_full_store_are_not_refused() {
    for background in [false, true] {
        assert_none_refused(1 << 20, background, &["engine", "cabin", "door"]);
    }
}

#[test]
fn threads_that_append_to_a_store_of_two_segments_are_not_refused() {
    let dir = scratch();
    let tiny = Store::options().budget_bytes(1).reserve_bytes(0).logs(drops(IoMode::Auto));
    assert_none_refused(least(tiny.open(dir.path())), false, &["engine"]);
}

#[test]
fn threads_that_append_to_a_log_of_two_segments_are_not_refused() {
    for mode in MODES {
        let dir = scratch();
        let least = least(drops(mode).budget_bytes(1).open(dir.path().join("none")));
        let log = drops(mode).budget_bytes(least).open(dir.path()).unwrap();
        let refused = append_at_once(std::slice::from_ref(&log));
        let first = refused.first();
        assert!(first.is_none(), "{mode:?}: {} refused: {}", refused.len(), first.unwrap());
        assert_eq!(kept(&log) + log.stats().records_dropped, THREADS * RECORDS, "{mode:?}");
    }
}

/// What a consumer has committed goes first: nothing is dropped beside it, whoever finds the log
/// full at the moment in which another thread makes that room.
#[test]
fn threads_that_append_drop_nothing_while_there_is_something_committed() {
    for mode in MODES {
        let dir = scratch();
        let options = small(mode).segment_bytes(16 << 10).max_batch_bytes(4096);
        let options = options.budget_bytes(512 << 10).hold(Hold::Everyone);
        let log = options.on_full(OnFull::DropOldest).open(dir.path()).unwrap();
        let uplink = Mutex::new(log.consumer("uplink").unwrap());
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..2 * RECORDS {
                        let offset = log.append(vec![b'x'; 1000]).unwrap();
                        let mut uplink = uplink.lock().unwrap();
                        if offset > uplink.committed() {
                            uplink.commit_offset(offset).unwrap();
                        }
                    }
                });
            }
        });
        assert_eq!(log.stats().records_dropped, 0, "{mode:?}");
        assert!(log.log_start_offset().get() > 0, "{mode:?}: it was full");
    }
}
