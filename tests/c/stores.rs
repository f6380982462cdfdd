//! Stores through C.

use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{self, NonNull};

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use crate::calls::*;

fn store(dir: &Path, options: *const forebay_store_options) -> *mut forebay_store {
    given(|store| unsafe { forebay_store_open(path(dir), options, store) })
}

fn log_of(store: *mut forebay_store, name: &str) -> *mut forebay_log {
    given(|log| unsafe { forebay_store_log(r(store), bytes(name), ptr::null(), log) })
}

fn store_options() -> forebay_store_options {
    let mut place = MaybeUninit::<forebay_store_options>::uninit();
    let size = size_of::<forebay_store_options>();
    ok(unsafe { forebay_store_options_init(NonNull::new(place.as_mut_ptr()), size) });
    unsafe { place.assume_init() }
}

#[test]
fn a_store_has_logs_that_are_listed_let_go_and_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = store_options();
    let mut logs = crate::calls::options();
    logs.segment_bytes = 64 << 10;
    options.logs = &raw const logs;
    for (name, value) in
        [("budget_bytes", "16777216"), ("max_open_logs", " 8 "), ("background", "false")]
    {
        let set = NonNull::new(&raw mut options);
        ok(unsafe { forebay_store_options_set(set, bytes(name), bytes(value)) });
    }
    assert_eq!((options.budget_bytes, options.max_open_logs), (16 << 20, 8));
    let wrong =
        [("budget", "1", FOREBAY_NOT_FOUND), ("budget_bytes", "-2", FOREBAY_INVALID_ARGUMENT)];
    for (name, value, status) in wrong {
        let set = NonNull::new(&raw mut options);
        refused(unsafe { forebay_store_options_set(set, bytes(name), bytes(value)) }, status, name);
    }
    let store = store(dir.path(), &raw const options);
    let engine = log_of(store, "engine");
    append(engine, "1013 hPa");
    let cabin =
        given(|log| unsafe { forebay_store_partition(r(store), bytes("cabin"), 4, 3, log) });
    append(cabin, "21.5 C");
    unsafe { forebay_log_free(h(engine)) };
    let engine = log_of(store, "engine");
    assert_eq!(unsafe { forebay_log_end_offset(r(engine)) }, 1, "it stayed in the store");
    ok(unsafe { forebay_store_flush(r(store)) });
    ok(unsafe { forebay_store_maintain(r(store)) });
    let stats: forebay_store_totals =
        report(|place, size| unsafe { forebay_store_stats(r(store), place, size) });
    assert_eq!((stats.logs, stats.open_logs, stats.budget_bytes), (2, 2, 16 << 20));
    assert_eq!(stats.lifetime_seconds, -1);
    let info: forebay_log_info =
        report(|place, size| unsafe { forebay_store_log_info(r(store), 0, place, size) });
    assert_eq!((info.partition, info.open), (3, 1));
    let mut place = MaybeUninit::<forebay_log_info>::uninit();
    let (to, size) = (NonNull::new(place.as_mut_ptr()), size_of::<forebay_log_info>());
    refused(
        unsafe { forebay_store_log_info(r(store), 2, to, size) },
        FOREBAY_NOT_FOUND,
        "no log 2: there are 2",
    );
    ok(unsafe { forebay_store_delete_log(r(store), bytes("engine")) });
    let mut offset = MaybeUninit::uninit();
    let closed = unsafe { forebay_log_append(r(engine), bytes("late"), Some(&mut offset)) };
    refused(closed, FOREBAY_CLOSED, "");
    let gone = unsafe { forebay_store_delete_log(r(store), bytes("engine")) };
    refused(gone, FOREBAY_NOT_FOUND, "engine");
    ok(unsafe { forebay_store_close(h(store)) });
    unsafe {
        forebay_log_free(h(engine));
        forebay_log_free(h(cabin));
    }
}

/// A list is as things were: what comes and goes later is in the next one.
#[test]
fn logs_and_consumers_are_listed_once_and_read_by_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), ptr::null());
    let names: Vec<String> = (0..30).map(|number| format!("log-{number:02}")).collect();
    for name in names.iter().rev() {
        unsafe { forebay_log_free(h(log_of(store, name))) };
    }
    let list = given(|list| unsafe { forebay_store_logs(r(store), list) });
    ok(unsafe { forebay_store_delete_log(r(store), bytes("log-07")) });
    assert_eq!(unsafe { forebay_log_list_count(r(list)) }, 30);
    for (index, name) in names.iter().enumerate() {
        let info: forebay_log_info =
            report(|place, size| unsafe { forebay_log_list_get(r(list), index, place, size) });
        assert_eq!((text(&info.name), info.partition), (name.clone(), 0));
    }
    let mut place = MaybeUninit::<forebay_log_info>::uninit();
    let (to, size) = (NonNull::new(place.as_mut_ptr()), size_of::<forebay_log_info>());
    let beyond = unsafe { forebay_log_list_get(r(list), 30, to, size) };
    refused(beyond, FOREBAY_NOT_FOUND, "no log 30: there are 30");

    let log = log_of(store, "log-00");
    append(log, "1013 hPa");
    let held: Vec<_> = ["display", "uplink"].map(|name| consumer(log, name)).into();
    ok(unsafe { forebay_consumer_commit_offset(h(held[1]), 1) });
    let consumers = given(|list| unsafe { forebay_log_consumers(r(log), list) });
    unsafe { held.into_iter().for_each(|consumer| forebay_consumer_free(h(consumer))) };
    ok(unsafe { forebay_log_delete_consumer(r(log), bytes("display")) });
    ok(unsafe { forebay_store_close(h(store)) });
    assert_eq!(unsafe { forebay_consumer_list_count(r(consumers)) }, 2, "also when it is closed");
    for (index, name, committed) in [(0, "display", 0), (1, "uplink", 1)] {
        let info: forebay_consumer_info = report(|place, size| unsafe {
            forebay_consumer_list_get(r(consumers), index, place, size)
        });
        assert_eq!((text(&info.name).as_str(), info.committed), (name, committed));
        assert_eq!((info.open, info.lag), (1, 1 - committed.unsigned_abs()));
    }
    let mut place = MaybeUninit::<forebay_consumer_info>::uninit();
    let (to, size) = (NonNull::new(place.as_mut_ptr()), size_of::<forebay_consumer_info>());
    let beyond = unsafe { forebay_consumer_list_get(r(consumers), 2, to, size) };
    refused(beyond, FOREBAY_NOT_FOUND, "no consumer 2: there are 2");
    unsafe {
        forebay_log_list_free(h(list));
        forebay_consumer_list_free(h(consumers));
        forebay_log_free(h(log));
        forebay_log_list_free(None);
        forebay_consumer_list_free(None);
        assert_eq!((forebay_log_list_count(None), forebay_consumer_list_count(None)), (0, 0));
    }
}

#[test]
fn keys_go_to_the_partitions_of_kafka() {
    assert_eq!(unsafe { forebay_partition_for_key(bytes("foobar"), 100) }, 66);
    assert_eq!(unsafe { forebay_partition_for_key(bytes("foobar"), 0) }, 0);
}

#[test]
fn a_store_is_driven_by_a_configuration_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("forebay.toml");
    std::fs::write(&file, "[store]\nmax_open_logs = 3\n[defaults]\nsegment_bytes = 65536\n")
        .unwrap();
    let mut place = MaybeUninit::uninit();
    let dir = dir.path().join("store");
    let status = unsafe { forebay_store_open_config(path(&dir), path(&file), Some(&mut place)) };
    if !unsafe { forebay_has_feature(c"toml".as_ptr()) } {
        return refused(status, FOREBAY_UNSUPPORTED, "toml");
    }
    ok(status);
    ok(unsafe { forebay_store_close(h(place.assume_init())) });
    // Who has no use for the status has what closes all the same.
    let again = given(|again| unsafe { forebay_store_open_config(path(&dir), path(&file), again) });
    unsafe { forebay_store_free(h(again)) };
    std::fs::write(&file, "[store]\nmax_open_log = 3\n").unwrap();
    let status = unsafe { forebay_store_open_config(path(&dir), path(&file), Some(&mut place)) };
    refused(status, FOREBAY_INVALID_ARGUMENT, "max_open_log");
}
