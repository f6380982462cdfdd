//! Stores: logs that give way to others, and closing.

use forebay::simulation::{Disk, Keep};
use forebay::{ErrorKind, FlushPolicy, Log, Store, StoreOptions};
use shuttle::thread;

use crate::judge::{assert_ordered, disk, options, read_all, text};

const NAMES: [&str; 3] = ["a", "b", "c"];

fn store_options() -> StoreOptions {
    Store::options().max_open_logs(2).logs(options().flush(FlushPolicy::Manual))
}

/// The log, as soon as there is a place for it.
fn log_of(store: &Store, name: &str) -> Option<Log> {
    loop {
        match store.log(name) {
            Ok(log) => return Some(log),
            Err(error) if error.kind() == ErrorKind::OutOfSpace => thread::yield_now(),
            Err(error) if error.kind() == ErrorKind::Closed => return None,
            Err(error) => panic!("{error}"),
        }
    }
}

/// How many records each thread has in each log.
type Counts = [[usize; 2]; 3];

fn judge(disk: &Disk, least: Counts, exactly: bool) {
    let store = store_options().open_on(disk, "/store").expect("it opens");
    for (name, least) in NAMES.into_iter().zip(least) {
        let found = read_all(&store.log(name).expect("it opens"));
        assert_ordered(&found);
        for (thread, least) in least.into_iter().enumerate() {
            let there = found.iter().filter(|(_, (whose, _))| *whose == thread).count();
            assert!(there >= least && (there == least || !exactly), "{name}: {there} of {least}");
        }
    }
}

/// Three logs, two places: each is closed for the others again and again, under appends, readers
/// and flushes of the store. No record is lost, and what a flush of the store covers is durable.
pub fn logs_that_are_closed_for_others_lose_nothing() {
    let disk = disk();
    let store = store_options().open_on(&disk, "/store").expect("it opens");
    let users = [0, 1].map(|me| {
        let store = store.clone();
        thread::spawn(move || {
            for turn in 0..2 {
                let name = NAMES[(turn + me) % 3];
                let log = log_of(&store, name).expect("nobody closes the store");
                let offset = log.append(text(me, 0)).expect("a handle keeps the log open");
                let found = read_all(&log);
                let at = usize::try_from(offset.get()).expect("from 0");
                assert_eq!(found[at].1, (me, 0));
            }
        })
    });
    let flusher = {
        let (store, disk) = (store.clone(), disk.clone());
        thread::spawn(move || {
            let before = NAMES.map(|name| {
                let log = log_of(&store, name).expect("nobody closes the store");
                let found = read_all(&log);
                [0, 1].map(|me| found.iter().filter(|(_, (whose, _))| *whose == me).count())
            });
            store.flush().expect("the device works");
            (before, disk.power_cut(Keep::None))
        })
    };
    users.into_iter().for_each(|thread| thread.join().expect("it ends"));
    let (before, cut) = flusher.join().expect("it ends");
    judge(&cut, before, false);
    store.close().expect("the device works");
    // The first goes to a and b, the second to b and c.
    judge(&disk.power_cut(Keep::None), [[1, 0], [1, 1], [0, 1]], true);
}

/// A store is closed under whoever uses its logs: what was acknowledged before is durable when it
/// returns, nothing comes in behind it, and the directory is free.
pub fn a_store_is_closed_under_its_logs() {
    let disk = disk();
    let store = store_options().open_on(&disk, "/store").expect("it opens");
    let users = [0, 1].map(|me| {
        let store = store.clone();
        thread::spawn(move || {
            let mut done = [0; 3];
            for turn in 0..3 {
                let at = (turn + me) % 3;
                let Some(log) = log_of(&store, NAMES[at]) else { break };
                match log.append(text(me, 0)) {
                    Ok(_) => done[at] += 1,
                    Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
                }
            }
            done
        })
    });
    store.close().expect("the device works");
    let cut = disk.power_cut(Keep::None);
    let done = users.map(|thread| thread.join().expect("it ends"));
    let counts = [0, 1, 2].map(|at| [done[0][at], done[1][at]]);
    judge(&cut, counts, true);
    judge(&disk, counts, true);
}
