//! What workloads on a whole store have found, as tests of their own (`tests/whole.rs`).

use std::sync::{Arc, Mutex};

use forebay::simulation::{Call, CallKind, Disk, Fault, Keep, Profile};
use forebay::{ErrorKind, FlushPolicy, IoMode, Log, OffsetSpec, Store, StoreOptions};

const EIO: i32 = 5;

fn one_at_a_time() -> StoreOptions {
    Store::options().max_open_logs(1).logs(Log::options().flush(FlushPolicy::Manual))
}

/// A log that gave its place to another one, and could not be closed well for it.
fn evicted(disk: &Disk, on: CallKind, name: &str) -> Store {
    let store = one_at_a_time().open_on(disk, "/store").unwrap();
    let log = store.log("first").unwrap();
    log.append("a record").unwrap();
    drop(log);
    let name = Some(name.to_owned());
    disk.fail(Fault { on, name, after: 0, times: 1, errno: EIO });
    store.log("second").unwrap().append("another one").unwrap();
    disk.clear_faults();
    store
}

/// V1, V12: `Store::close` says that everything is durable; a log that was closed before, to make
/// room, and could not be made durable then, is no exception.
#[test]
fn a_store_is_not_closed_well_if_a_log_was_evicted_badly() {
    for (on, name) in [(CallKind::SyncFile, ".log"), (CallKind::SetLen, ".log")] {
        let disk = Disk::new(Profile::default());
        let store = evicted(&disk, on, name);
        let error = store.close().expect_err("the first log was not closed well");
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{on:?}: {error}");
        // The process died here, or the store is opened again: what was written is there.
        let store = one_at_a_time().open_on(&disk, "/store").unwrap();
        let log = store.log("first").unwrap();
        assert_eq!(log.log_end_offset().get(), 1, "{on:?}");
        log.flush().unwrap();
        drop(log);
        store.close().unwrap();
        let later = disk.power_cut(Keep::None);
        let store = one_at_a_time().open_on(&later, "/store").unwrap();
        assert_eq!(store.log("first").unwrap().log_end_offset().get(), 1, "{on:?}");
        assert_eq!(store.log("second").unwrap().log_end_offset().get(), 1, "{on:?}");
    }
}

/// Whoever opens that log again is told by its recovery, and the store is closed well.
#[test]
fn a_log_that_was_evicted_badly_and_opened_again_is_like_any_other() {
    let disk = Disk::new(Profile::default());
    let store = evicted(&disk, CallKind::SyncFile, ".log");
    let log = store.log("first").unwrap();
    assert!(!log.recovery().clean && log.log_end_offset().get() == 1, "{:?}", log.recovery());
    drop(log);
    store.close().unwrap();
    let later = disk.power_cut(Keep::None);
    let store = one_at_a_time().open_on(&later, "/store").unwrap();
    assert_eq!(store.log("first").unwrap().log_end_offset().get(), 1);
}

/// I18: a store's directory whose name was not synced yet: its maker died before, the sync failed,
/// or somebody made it by hand. What the store then acknowledges is in a directory that stays.
#[test]
fn a_store_syncs_the_name_of_a_directory_that_it_finds() {
    let fill = |disk: &Disk, what: &str| {
        let store = Store::options().open_on(disk, "/data/store").unwrap();
        store.log("a").unwrap().append("kept").unwrap();
        store.flush().unwrap();
        let later = disk.power_cut(Keep::None);
        let store = Store::options().open_on(&later, "/data/store").unwrap();
        assert!(!store.recovery().created, "{what}: the store is gone");
        assert_eq!(store.log("a").unwrap().log_end_offset().get(), 1, "{what}");
    };
    // The process dies before each call of the first opening.
    let disk = Disk::new(Profile::default());
    let open = || drop(Store::options().open_on(&disk, "/data/store").unwrap());
    let killed = before_each_call(&disk, open);
    assert!(killed.len() > 8, "{}", killed.len());
    for (disk, call) in killed {
        fill(&disk, &format!("killed before {call:?}"));
    }
    // Each sync of a directory fails once; the opening is tried again.
    for after in 0..4 {
        let disk = Disk::new(Profile::default());
        disk.fail(Fault { on: CallKind::SyncDir, name: None, after, times: 1, errno: EIO });
        let first = Store::options().open_on(&disk, "/data/store");
        disk.clear_faults();
        let failed = first.is_err();
        drop(first);
        fill(&disk, &format!("sync {after} of a directory failed: {failed}"));
    }
}

/// What the store counts is never less than what its files take, also where the opening of a log
/// has failed and taken its files back: a power cut brings them again.
#[test]
fn a_store_counts_what_a_power_cut_brings_back_of_a_log_that_could_not_be_made() {
    let small = || {
        let log = Log::options().flush(FlushPolicy::Manual).segment_bytes(64 << 10);
        let log = log.max_batch_bytes(16 << 10).io_mode(IoMode::Mapped);
        Store::options().budget_bytes(8 << 20).logs(log)
    };
    let kinds = [CallKind::Populate, CallKind::Allocate, CallKind::CreateNew, CallKind::SyncFile];
    for (kind, after) in kinds.into_iter().flat_map(|kind| (0..4).map(move |after| (kind, after))) {
        for closed in [false, true] {
            let disk = Disk::new(Profile::default());
            let store = small().open_on(&disk, "/store").unwrap();
            disk.fail(Fault { on: kind, name: None, after, times: 1, errno: 28 });
            let made = store.log("a").is_ok();
            disk.clear_faults();
            drop(store.log("b"));
            if closed {
                // It may say that something could not be made durable.
                drop(store.close());
            }
            let loose = disk.loose();
            let kept = [Keep::None, Keep::All].into_iter().chain((0..loose).map(Keep::Prefix));
            for keep in kept.chain((0..loose).map(Keep::AllBut)).chain((0..64).map(Keep::Seed)) {
                let later = disk.power_cut(keep);
                let store = small().open_on(&later, "/store").unwrap();
                let (counted, used) = (store.stats().disk_bytes, later.used_bytes("/store"));
                let what =
                    format!("{kind:?} after {after}, made {made}, closed {closed}, {keep:?}");
                assert!(counted >= used, "{what}: {counted} counted, {used} taken");
            }
        }
    }
}

/// What each call of `work` that changes anything finds on the disk, and the call.
fn before_each_call(disk: &Disk, work: impl FnOnce()) -> Vec<(Disk, Call)> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let into = Arc::clone(&seen);
    disk.watch(move |disk, call| {
        use CallKind::{Clock, List, Lock, Look, MapRead, Open, Random, Read};
        if !matches!(call.kind, Clock | List | Lock | Look | MapRead | Open | Random | Read) {
            into.lock().unwrap().push((disk.kill(), call.clone()));
        }
    });
    work();
    disk.unwatch();
    std::mem::take(&mut *seen.lock().unwrap())
}

/// I12: a deletion is cut short by the death of the process, and the opening that ends it by a
/// power cut: the log is there, whole, or it is not there.
#[test]
fn a_deletion_that_is_cut_short_twice_leaves_all_or_nothing() {
    let disk = Disk::new(Profile::default());
    let store = one_at_a_time().open_on(&disk, "/store").unwrap();
    store.log("gone").unwrap().append("a record").unwrap();
    store.flush().unwrap();
    let killed = before_each_call(&disk, || assert!(store.delete_log("gone").unwrap()));
    let mut states = 0;
    for (disk, first) in killed {
        let open = || drop(one_at_a_time().open_on(&disk, "/store"));
        for (stopped, second) in before_each_call(&disk, open) {
            let loose = stopped.loose();
            let kept = [Keep::None, Keep::All].into_iter().chain((0..loose).map(Keep::AllBut));
            for keep in kept.chain((0..loose).map(Keep::Only)) {
                let store = one_at_a_time().open_on(&stopped.power_cut(keep), "/store").unwrap();
                if !store.logs().is_empty() {
                    let log = store.log("gone").unwrap();
                    let read: Vec<_> = log.reader(OffsetSpec::Earliest).unwrap().collect();
                    let what = format!("killed before {first:?}, cut before {second:?}, {keep:?}");
                    assert!(read.len() == 1 && read[0].is_ok(), "{what}: {read:?}");
                }
                states += 1;
            }
        }
    }
    assert!(states > 100, "{states}");
}

/// A deletion that failed behind the renaming does not stand in the way of the next one.
#[test]
fn a_log_whose_namesake_could_not_be_removed_is_deleted() {
    for kind in [CallKind::Unlink, CallKind::RemoveDir, CallKind::SyncDir] {
        let disk = Disk::new(Profile::default());
        let store = one_at_a_time().open_on(&disk, "/store").unwrap();
        store.log("again").unwrap().append("the first").unwrap();
        store.flush().unwrap();
        for after in 0..8 {
            disk.fail(Fault { on: kind, name: None, after, times: 1, errno: EIO });
            let failed = store.delete_log("again").is_err();
            disk.clear_faults();
            store.log("again").unwrap().append("the next").unwrap();
            let deleted = store.delete_log("again");
            assert!(deleted.is_ok(), "{kind:?} after {after}, failed {failed}: {deleted:?}");
            assert!(disk.file_names("/store").iter().all(|name| !name.starts_with("again")));
            store.log("again").unwrap().append("and the next").unwrap();
        }
    }
}
