//! Many logs made durable by one sync of their filesystem, and a store's checkpoint that a process
//! left behind: on a simulated disk that fails, kills and cuts the power there (I8, I18).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::simulation::{CallKind, Disk, Fault, Keep, Names, Profile};
use forebay::{ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset, Store, StoreOptions};

use crate::util::{MODES, kind};

const DIR: &str = "/store";
/// More than are flushed one by one.
const MANY: usize = 40;

fn logs(mode: IoMode) -> LogOptions {
    Log::options().io_mode(mode).segment_bytes(8 << 10).max_batch_bytes(2 << 10)
}

fn options(mode: IoMode) -> StoreOptions {
    Store::options().max_open_logs(100).logs(logs(mode).flush(FlushPolicy::Manual))
}

/// Whatever a power cut brings back, the next open counts no less.
fn assert_enough_counted(disk: &Disk, mode: IoMode, what: &str) {
    for keep in [Keep::None, Keep::All] {
        let cut = disk.power_cut(keep);
        let store = options(mode).open_on(&cut, DIR).unwrap();
        let (counted, used) = (store.stats().disk_bytes, cut.used_bytes(DIR));
        assert!(counted >= used, "{what} {keep:?}: {counted} of {used}");
    }
}

fn fault(on: CallKind, name: &str, errno: i32) -> Fault {
    Fault { on, name: Some(name.to_owned()), after: 0, times: 1, errno }
}

fn name(n: usize) -> String {
    format!("log{n:02}")
}

/// Every kind of call that was made while `work` ran, as often as it was.
fn calls(disk: &Disk, work: impl FnOnce()) -> Vec<CallKind> {
    let seen: Arc<Mutex<Vec<CallKind>>> = Arc::default();
    let into = Arc::clone(&seen);
    disk.watch(move |_, call| into.lock().unwrap().push(call.kind));
    work();
    disk.unwatch();
    std::mem::take(&mut *seen.lock().unwrap())
}

/// I1, I18: one call for all, and after it everything of every log survives, new names included.
#[test]
fn one_sync_of_the_filesystem_makes_many_logs_durable() {
    for mode in MODES {
        for names in [Names::Strict, Names::Journal] {
            let disk = Disk::new(Profile { names, ..Profile::default() });
            let store = options(mode).open_on(&disk, DIR).unwrap();
            for round in 1..4 {
                for n in 0..MANY {
                    store.log(&name(n)).unwrap().append(format!("{round}")).unwrap();
                }
                let calls = calls(&disk, || store.flush().unwrap());
                let count = |kind| calls.iter().filter(|&&call| call == kind).count();
                assert_eq!(count(CallKind::SyncFilesystem), 1);
                assert_eq!(count(CallKind::SyncFile) + count(CallKind::SyncDir), 0);
                let cut = options(mode).open_on(&disk.power_cut(Keep::None), DIR).unwrap();
                for n in 0..MANY {
                    let (here, there) = (store.log(&name(n)).unwrap(), cut.log(&name(n)).unwrap());
                    assert_eq!(here.durable_offset(), Offset::new(round));
                    assert_eq!(there.log_end_offset(), Offset::new(round), "{mode:?} {names:?}");
                }
            }
        }
    }
}

/// I8: when the sync of the filesystem fails, what it covered may be lost of every open log, also
/// of those that it was not for: none of them calls anything durable until it is opened again.
#[test]
fn a_failed_sync_of_the_filesystem_poisons_every_dirty_log() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let interval = FlushPolicy::Interval(Duration::from_secs(1));
        let mut options = options(mode).logs(logs(mode).flush(interval));
        for n in 0..5 {
            options = options.log(name(n), logs(mode).flush(FlushPolicy::Manual));
        }
        let store = options.clone().open_on(&disk, DIR).unwrap();
        let all: Vec<Log> = (0..MANY).map(|n| store.log(&name(n)).unwrap()).collect();
        for log in &all {
            log.append("durable").unwrap();
        }
        store.flush().unwrap();
        let mut consumer = all[0].consumer("c").unwrap();
        for log in all.iter().skip(1) {
            log.append("lost").unwrap();
        }
        consumer.commit_offset(Offset::new(1)).unwrap();
        disk.advance(Duration::from_secs(2));
        disk.fail(fault(CallKind::SyncFilesystem, "store", 5));
        assert!(store.maintain().unwrap().logs_failed > 0);
        assert_eq!(kind(consumer.sync()), ErrorKind::Poisoned, "a commit counts as well");
        for (n, log) in all.iter().enumerate().skip(1) {
            assert_eq!(kind(log.flush()), ErrorKind::Poisoned, "{mode:?} {n}");
            assert_eq!(log.durable_offset(), Offset::new(1));
        }
        drop((store, all, consumer));
        // The next process writes again what the page cache has.
        let disk = disk.kill();
        let store = options.open_on(&disk, DIR).unwrap();
        for n in 1..MANY {
            assert_eq!(store.log(&name(n)).unwrap().log_end_offset(), Offset::new(2));
        }
        store.flush().unwrap();
        let cut = self::options(mode).open_on(&disk.power_cut(Keep::None), DIR).unwrap();
        for n in 1..MANY {
            assert_eq!(cut.log(&name(n)).unwrap().log_end_offset(), Offset::new(2), "{mode:?} {n}");
        }
    }
}

/// I8: what could not be written before the store was opened, by whomever, is no failure of it.
#[test]
fn a_write_that_failed_before_the_store_was_opened_poisons_nothing() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let other = Log::options().io_mode(mode).open_on(&disk, "/other").unwrap();
        other.append("x").unwrap();
        disk.fail(fault(CallKind::SyncFile, ".log", 5));
        assert!(other.flush().is_err());
        let store = options(mode).open_on(&disk, DIR).unwrap();
        for n in 0..MANY {
            store.log(&name(n)).unwrap().append("x").unwrap();
        }
        store.flush().unwrap();
        let cut = options(mode).open_on(&disk.power_cut(Keep::None), DIR).unwrap();
        for n in 0..MANY {
            assert_eq!(cut.log(&name(n)).unwrap().log_end_offset(), Offset::new(1));
        }
    }
}

/// I18: a process dies while it puts a larger checkpoint in the place of the store's. The next one
/// syncs what it takes for known into a file that stays: after a power cut the store counts what is
/// there.
#[test]
fn what_a_store_knows_survives_although_a_killed_process_had_just_replaced_its_checkpoint() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let store = options(mode).open_on(&disk, DIR).unwrap();
        let killed: Arc<Mutex<Vec<Disk>>> = Arc::default();
        let into = Arc::clone(&killed);
        let mut replaced = false;
        disk.watch(move |disk, call| {
            if replaced {
                into.lock().unwrap().push(disk.kill());
            }
            replaced = call.kind == CallKind::Rename && call.path.ends_with("store.checkpoint");
        });
        for n in 0..MANY {
            store.log(&format!("{n:0200}")).unwrap().append("x").unwrap();
        }
        disk.unwatch();
        let killed = std::mem::take(&mut *killed.lock().unwrap());
        let length =
            |disk: &Disk| disk.read_file("/store/store.checkpoint").map_or(0, |bytes| bytes.len());
        assert!(killed.iter().any(|disk| length(disk) > 6 * 4096), "it grew while that was seen");
        for (nth, disk) in killed.into_iter().enumerate() {
            let store = options(mode).open_on(&disk, DIR).unwrap();
            for n in 0..20 {
                let log = store.log(&format!("new{n}")).unwrap();
                log.append(vec![7; 1500]).unwrap();
                log.flush().unwrap();
            }
            assert_enough_counted(&disk, mode, &format!("{mode:?} {nth}"));
        }
    }
}

/// I12, I18: what a killed process removed or cut, and nobody synced, comes back with a power cut:
/// whatever the next process measured and wrote down, the store never counts less than is there.
#[test]
fn a_store_never_counts_less_than_a_power_cut_brings_back() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let store = options(mode).open_on(&disk, DIR).unwrap();
        let log = store.log("old").unwrap();
        for _ in 0..40 {
            log.append(vec![1; 1500]).unwrap();
        }
        log.flush().unwrap();
        let killed: Arc<Mutex<Vec<Disk>>> = Arc::default();
        let into = Arc::clone(&killed);
        disk.watch(move |disk, call| {
            if [CallKind::Unlink, CallKind::SetLen].contains(&call.kind) {
                into.lock().unwrap().push(disk.kill());
            }
        });
        log.delete_records(Offset::new(30)).unwrap();
        drop(log);
        store.close().unwrap();
        disk.unwatch();
        let cut = disk.power_cut(Keep::None);
        let again = options(mode).open_on(&cut, DIR).unwrap();
        let (counted, used) = (again.stats().disk_bytes, cut.used_bytes(DIR));
        assert!(counted >= used, "{mode:?}: closed, {counted} of {used}");
        let killed = std::mem::take(&mut *killed.lock().unwrap());
        assert!(killed.len() > 5, "{}", killed.len());
        for (nth, disk) in killed.into_iter().enumerate() {
            let store = options(mode).open_on(&disk, DIR).unwrap();
            let log = store.log("new").unwrap();
            log.append("x").unwrap();
            log.flush().unwrap();
            assert_enough_counted(&disk, mode, &format!("{mode:?} {nth}"));
            drop(log);
            store.close().unwrap();
            assert_enough_counted(&disk, mode, &format!("closed {mode:?} {nth}"));
        }
    }
}

/// I8: a log that was closed for another one, and could not be flushed, is not called durable.
#[test]
fn a_flush_does_not_pass_over_a_log_whose_closing_failed() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let logs = Log::options().io_mode(mode).flush(FlushPolicy::Manual);
        let store = Store::options().max_open_logs(1).logs(logs).open_on(&disk, "/store").unwrap();
        store.log("a").unwrap().append("lost").unwrap();
        let name = Some(".log".to_owned());
        disk.fail(Fault { on: CallKind::SyncFile, name, after: 0, times: 1, errno: 5 });
        // Takes the only place; closing the other one fails.
        store.log("b").unwrap().append("kept").unwrap();
        disk.clear_faults();
        let error = store.flush().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Poisoned, "{mode:?}: {error}");
        // Once it was opened its own report says what is there.
        store.log("a").unwrap();
        store.flush().unwrap();
    }
}

/// I8: however busy other threads are with a log, a flush that returns has flushed it.
#[test]
fn a_flush_waits_for_logs_that_others_are_just_asking_for() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let logs = Log::options().io_mode(mode).flush(FlushPolicy::Manual);
        let store = Store::options().logs(logs).open_on(&disk, "/store").unwrap();
        let log = store.log("a").unwrap();
        let done = std::sync::atomic::AtomicBool::new(false);
        let mut missed = None;
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(std::sync::atomic::Ordering::Relaxed) {
                        store.log("a").unwrap();
                    }
                });
            }
            for _ in 0..300 {
                let offset = log.append("21.5 C").unwrap();
                let flushed = store.flush();
                if flushed.is_err() || log.durable_offset() <= offset {
                    missed = Some((offset, flushed));
                    break;
                }
            }
            done.store(true, std::sync::atomic::Ordering::Relaxed);
        });
        assert!(missed.is_none(), "{mode:?}: {missed:?}");
    }
}

/// Threads that flush many logs at once each lead the flush of some and wait for nobody meanwhile.
#[test]
fn threads_that_flush_the_same_many_logs_do_not_wait_for_each_other_for_ever() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let store = options(mode).open_on(&disk, DIR).unwrap();
        let logs: Vec<_> = (0..MANY).map(|n| store.log(&format!("log-{n}")).unwrap()).collect();
        let (told, ended) = std::sync::mpsc::channel();
        for thread in 0..3 {
            let (store, mut logs, told) = (store.clone(), logs.clone(), told.clone());
            std::thread::spawn(move || {
                // Not all in the same order.
                logs.rotate_left(thread * 13);
                for _ in 0..100 {
                    for log in &logs {
                        log.append("21.5 C").unwrap();
                    }
                    store.flush().unwrap();
                    assert!(logs.iter().all(|log| log.durable_offset() > Offset::ZERO));
                }
                told.send(()).unwrap();
            });
        }
        drop(told);
        for _ in 0..3 {
            ended.recv_timeout(Duration::from_secs(120)).expect("a thread hangs or failed");
        }
    }
}

/// A log may change only once the device has its name. Behind a sync of the store's checkpoint that
/// failed it may not get there any more, however often the log is asked for: an open of the store
/// counts what it took, and not what it takes (I8).
#[test]
fn behind_a_failed_sync_of_the_stores_checkpoint_no_closed_log_is_opened() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let open = |disk: &Disk| options(mode).open_on(disk, DIR).unwrap();
        let store = open(&disk);
        store.log("here").unwrap().append("one").unwrap();
        store.close().unwrap();
        let store = open(&disk);
        disk.fail(fault(CallKind::SyncFile, "store.checkpoint", 5));
        let kind = |name| store.log(name).map(drop).unwrap_err().kind();
        assert_eq!(kind("new"), ErrorKind::Io, "{mode:?}");
        for again in 0..3 {
            let kinds = [kind("here"), kind("new")];
            assert_eq!(kinds, [ErrorKind::Poisoned; 2], "{mode:?} {again}");
        }
        drop(store);
        let store = open(&disk);
        let log = store.log("here").unwrap();
        for _ in 0..200 {
            log.append("x".repeat(1000)).unwrap();
        }
        log.flush().unwrap();
        assert_enough_counted(&disk, mode, "opened again");
    }
}
