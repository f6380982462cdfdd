//! Stores, and the logs in them.
//!
//! Floor 6.

use super::*;

fn store_options() -> forebay_store_options {
    let mut place = MaybeUninit::<forebay_store_options>::uninit();
    let size = size_of_val(&place);
    says! { FOREBAY_OK: forebay_store_options_init(h(place.as_mut_ptr()), size); }
    unsafe { place.assume_init() }
}

/// A configuration file, which is read from the system's own disk.
fn config(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("forebay.toml");
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (dir, path)
}

pub(super) fn a_store_does_what_it_is_told() {
    let _disk = new_disk();
    let mut options = store_options();
    let (_dir, file) = config("[store]\nmax_open_logs = 7\n");
    let set = h(&raw mut options);
    let (mut store, mut configured) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    says! {
        FOREBAY_OK:
        forebay_store_options_set(set, bytes("max_open_logs"), bytes("9"));
        forebay_store_open(bytes("/s"), &raw const options, Some(&mut store));
        forebay_store_open_config(bytes("/t"), bytes(&file), Some(&mut configured));
    }
    let (store, configured) = unsafe { (store.assume_init(), configured.assume_init()) };
    let (mut log, mut part, mut list) =
        (MaybeUninit::uninit(), MaybeUninit::uninit(), MaybeUninit::uninit());
    let info = size_of::<forebay_log_info>();
    says! {
        FOREBAY_OK:
        forebay_store_log(r(store), bytes("engine"), ptr::null(), Some(&mut log));
        forebay_store_partition(r(store), bytes("cabin"), 4, 3, Some(&mut part));
        forebay_partition_for_key(bytes("key"), 4);
        forebay_store_flush(r(store));
        forebay_store_maintain(r(store));
        forebay_store_stats(r(store), room(), size_of::<forebay_store_totals>());
        forebay_store_log_info(r(store), 0, room(), info);
        forebay_store_logs(r(store), Some(&mut list));
    }
    let list = unsafe { list.assume_init() };
    says! {
        FOREBAY_OK:
        forebay_log_list_count(r(list));
        forebay_log_list_get(r(list), 1, room(), info);
        forebay_store_delete_log(r(store), bytes("engine"));
    }
    says! {
        FOREBAY_NOT_FOUND:
        forebay_store_delete_log(r(store), bytes("engine"));
        forebay_store_log_info(r(store), 1, room(), info);
        forebay_log_list_get(r(list), 2, room(), info);
        forebay_store_options_set(set, bytes("max_open"), bytes("9"));
        forebay_store_open_config(bytes("/u"), bytes("/not/there"), any());
    }
    says! {
        FOREBAY_OK:
        forebay_log_list_free(h(list));
        forebay_store_close(h(store));
        forebay_store_free(h(configured));
    }
    for log in [log, part] {
        unsafe { forebay_log_free(h(log.assume_init())) };
    }
    DISK.set(None);
}

/// Lets go of what was opened although the device fails.
fn open(dir: &str, config: Option<&str>) -> forebay_status {
    let mut store = MaybeUninit::new(ptr::null_mut());
    unsafe {
        let status = match config {
            None => forebay_store_open(bytes(dir), ptr::null(), Some(&mut store)),
            Some(file) => forebay_store_open_config(bytes(dir), bytes(file), Some(&mut store)),
        };
        let _ = forebay_store_close(h(store.assume_init()));
        status
    }
}

fn open_log(store: *mut forebay_store, partition: Option<u32>) -> forebay_status {
    let mut log = MaybeUninit::new(ptr::null_mut());
    unsafe {
        let (name, options) = (bytes("new"), options());
        let status = match partition {
            None => forebay_store_log(r(store), name, &raw const options, Some(&mut log)),
            Some(one) => forebay_store_partition(r(store), name, 4, one, Some(&mut log)),
        };
        forebay_log_free(h(log.assume_init()));
        status
    }
}

pub(super) fn a_store_says_what_it_cannot() {
    let (_dir, file) = config("");
    for (errno, status) in
        [(EIO, FOREBAY_IO), (ENOSPC, FOREBAY_OUT_OF_SPACE), (EROFS, FOREBAY_READ_ONLY)]
    {
        let new = StoreRig::new;
        by_device("forebay_store_open", errno, status, new, |_| open("/new", None));
        by_device("forebay_store_open_config", errno, status, new, |_| open("/new", Some(&file)));
        by_device("forebay_store_log", errno, status, new, |rig| open_log(rig.store, None));
        by_device("forebay_store_partition", errno, status, new, |rig| {
            open_log(rig.store, Some(2))
        });
    }
    device! {
        EIO, FOREBAY_IO, StoreRig::new(), rig:
        forebay_store_delete_log(r(rig.store), bytes("engine"));
        forebay_store_flush(r(rig.store));
        forebay_store_close(rig.taken());
    }
    // There is one less to keep account of.
    let later = || {
        let rig = StoreRig::new();
        let gone = unsafe { forebay_store_delete_log(r(rig.store), bytes("engine")) };
        assert_eq!(gone, FOREBAY_OK, "{}", said());
        rig
    };
    device! { EIO, FOREBAY_IO, later(), rig: forebay_store_maintain(r(rig.store)); }
    let rig = StoreRig::new();
    says! {
        FOREBAY_LOCKED:
        forebay_store_open(bytes("/s"), ptr::null(), any());
        forebay_store_open_config(bytes("/s"), bytes(&file), any());
    }
    let fault = Fault { on: CallKind::SyncFile, name: None, after: 0, times: u64::MAX, errno: EIO };
    rig.disk.fail(fault);
    assert_eq!(unsafe { forebay_store_flush(r(rig.store)) }, FOREBAY_IO, "{}", said());
    rig.disk.clear_faults();
    says! {
        FOREBAY_POISONED:
        forebay_store_flush(r(rig.store));
        forebay_store_close(rig.taken());
    }
    drop(rig);

    let rig = StoreRig::new();
    let log =
        given(|log| unsafe { forebay_store_log(r(rig.store), bytes("new"), ptr::null(), log) });
    assert_eq!(unsafe { forebay_log_close(h(log)) }, FOREBAY_OK);
    reading::make_newer(&rig.disk, "/s/new-0/log.meta");
    says! {
        FOREBAY_UNSUPPORTED_FORMAT:
        forebay_store_log(r(rig.store), bytes("new"), ptr::null(), any());
        forebay_store_partition(r(rig.store), bytes("new"), 1, 0, any());
    }
    assert_eq!(unsafe { forebay_store_close(rig.taken()) }, FOREBAY_OK, "{}", said());
    reading::make_newer(&rig.disk, "/s/store.meta");
    says! {
        FOREBAY_UNSUPPORTED_FORMAT:
        forebay_store_open(bytes("/s"), ptr::null(), any());
        forebay_store_open_config(bytes("/s"), bytes(&file), any());
    }
    drop(rig);
    closed_by_another_handle();
}

/// As by a thread that shares it.
fn closed_by_another_handle() {
    let rig = StoreRig::new();
    let same = shared(r(rig.store)).unwrap().value().clone();
    let other: *mut forebay_store = give(same);
    assert_eq!(unsafe { forebay_store_close(h(other)) }, FOREBAY_OK);
    says! {
        FOREBAY_CLOSED:
        forebay_store_log(r(rig.store), bytes("engine"), ptr::null(), any());
        forebay_store_partition(r(rig.store), bytes("engine"), 1, 0, any());
        forebay_store_delete_log(r(rig.store), bytes("engine"));
        forebay_store_flush(r(rig.store));
        forebay_store_maintain(r(rig.store));
    }
}
