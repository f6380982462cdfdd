//! Acknowledges a number of durable appends and nothing else, for `strace` to count their syncs.

use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use crate::arguments::Arguments;
use crate::peer::{Mode, Outcome, Store};
use crate::place::{self, Place};

pub(crate) fn acknowledge(arguments: &Arguments, place: &Place) -> Outcome<ExitCode> {
    let peer = arguments.one_peer()?;
    if peer.durable_ack.is_empty() {
        println!("{} has no durable append", peer.name);
        return Ok(ExitCode::SUCCESS);
    }
    let dir = place.empty_dir("store")?;
    let store = (peer.open)(&dir, Mode::Durable)?;
    let left = AtomicU64::new(arguments.acks);
    thread::scope(|scope| {
        let threads: Vec<_> =
            (0..arguments.threads).map(|_| scope.spawn(|| thread(&*store, &left))).collect();
        threads
            .into_iter()
            .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err("a panic".into())))
    })?;
    println!("{}: {} acknowledgements of {} threads", peer.name, arguments.acks, arguments.threads);
    drop(store);
    place::remove(&dir)?;
    Ok(ExitCode::SUCCESS)
}

fn thread(store: &dyn Store, left: &AtomicU64) -> Outcome {
    let mut writer = store.writer();
    let take = |left: u64| left.checked_sub(1);
    while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok() {
        writer.append_durable(&[b'x'; 100])?;
    }
    Ok(())
}
