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
        [("budget", "1", FOREBAY_NOT_FOUND), ("budget_bytes", "-1", FOREBAY_INVALID_ARGUMENT)];
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
    std::fs::write(&file, "[store]\nmax_open_log = 3\n").unwrap();
    let status = unsafe { forebay_store_open_config(path(&dir), path(&file), Some(&mut place)) };
    refused(status, FOREBAY_INVALID_ARGUMENT, "max_open_log");
}
