//! A linger: who of many threads appends what, and who waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use forebay::{ErrorKind, Linger, LingerOptions, Ticket, Visibility};
use shuttle::thread;

use crate::judge::{DIR, EVER, assert_ordered, chance, disk, options, read_all, text};

/// When the record was handed in, and when that had returned.
type Told = (Ticket, (u64, u64), (usize, usize));

/// Records lie in the order they were handed in, at the offsets that their tickets tell, and
/// nobody sleeps through the end of the batch that is waited for: neither who waits for a ticket,
/// nor who found a batch full while another one was being appended.
pub fn what_is_handed_in_lies_in_that_order_and_is_answered() {
    let log = options().open_on(&disk(), DIR).expect("it opens");
    // With no time a batch is appended as soon as nobody else appends; with all the time there is,
    // by the record that fills it, or by a flush.
    let linger = [Duration::ZERO, EVER][chance(2) as usize];
    let visibility = [Visibility::Written, Visibility::Durable][chance(2) as usize];
    let lingering = LingerOptions::new().linger(linger).batch_records(2).acknowledge(visibility);
    let lingering = log.linger(lingering).expect("the bounds fit");
    let clock = Arc::new(AtomicU64::new(0));
    let threads = [0, 1, 2].map(|me| {
        let (lingering, clock) = (lingering.clone(), Arc::clone(&clock));
        thread::spawn(move || {
            let hand_in = |number| -> Told {
                let begun = clock.fetch_add(1, Ordering::SeqCst);
                let ticket = lingering.append(text(me, number)).expect("there is room");
                let returned = clock.fetch_add(1, Ordering::SeqCst);
                (ticket, (begun, returned), (me, number))
            };
            let first = hand_in(0);
            if me > 0 && linger == EVER {
                lingering.flush().expect("there is room");
            } else if me > 0 {
                first.0.wait().expect("there is room");
            }
            let second = hand_in(1);
            if linger == EVER {
                lingering.flush().expect("there is room");
            }
            second.0.wait().expect("there is room");
            [first, second]
        })
    });
    let mut told: Vec<_> =
        threads.into_iter().flat_map(|thread| thread.join().expect("it ends")).collect();
    told.sort_by_key(|(ticket, ..)| ticket.wait().expect("it is there"));
    let found = read_all(&log);
    assert_ordered(&found);
    let mut latest = 0;
    for ((ticket, (begun, returned), record), there) in told.iter().zip(&found) {
        assert_eq!((ticket.wait().expect("it is there").get(), *record), *there);
        assert!(*returned >= latest, "returned before one below it began");
        latest = latest.max(*begun);
    }
    assert_eq!((told.len(), found.len()), (6, 6));
    if visibility == Visibility::Durable {
        assert_eq!(log.durable_offset().get(), 6);
    }
}

/// A close against threads that hand in and flush: what was taken is in the log, whoever appends
/// it, and what comes later is refused.
pub fn what_is_taken_before_a_close_is_in_the_log() {
    let disk = disk();
    let options = options();
    let log = options.clone().open_on(&disk, DIR).expect("it opens");
    let lingering = LingerOptions::new().linger(EVER).batch_records(2);
    let lingering = log.linger(lingering).expect("the bounds fit");
    let threads = [0, 1].map(|me| {
        let lingering = lingering.clone();
        thread::spawn(move || hand_in_until_closed(&lingering, me))
    });
    drop(lingering);
    let flusher = chance(2) == 0;
    if flusher {
        log.flush().expect("the device works");
    }
    log.close().expect("the device works");
    let mut taken = Vec::new();
    for (me, thread) in threads.into_iter().enumerate() {
        for (number, ticket) in thread.join().expect("it ends").iter().enumerate() {
            let done = ticket.try_wait().expect("the close has answered it");
            taken.push((done.expect("there was room").get(), (me, number)));
        }
    }
    taken.sort_unstable();
    let next = options.open_on(&disk, DIR).expect("the directory is free");
    assert!(next.recovery().clean, "it was closed");
    assert_eq!(read_all(&next), taken);
}

fn hand_in_until_closed(lingering: &Linger, me: usize) -> Vec<Ticket> {
    let mut tickets = Vec::new();
    for number in 0..3 {
        match lingering.append(text(me, number)) {
            Ok(ticket) => tickets.push(ticket),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed);
                break;
            }
        }
    }
    tickets
}
