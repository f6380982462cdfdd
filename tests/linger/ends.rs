//! What ends the wait of a batch, and what it is called for.

use std::thread;
use std::time::{Duration, Instant};

use forebay::{ErrorKind, FlushPolicy, LingerOptions, Log, Offset, Store, Visibility};

use crate::util::{MODES, OpenIn, all_texts, kind, manual, scratch, ways};
use crate::{EVER, batch_sizes, counting, offsets};

/// Waits for what comes by itself; only its never coming is a failure.
fn becomes(what: &str, mut is: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is() {
        assert!(start.elapsed() < Duration::from_secs(60), "never: {what}");
        thread::sleep(Duration::from_millis(1));
    }
}

/// Without a thread of the log's own, who waits appends the batch for all, once its time is over.
#[test]
fn the_first_that_waits_appends_the_batch_for_all() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let linger = log.linger(LingerOptions::new()).unwrap();
        let tickets: Vec<_> = (0..6).map(|n| linger.append(format!("{n}")).unwrap()).collect();
        assert!(tickets.iter().all(|ticket| ticket.try_wait().is_none()));
        thread::scope(|scope| {
            for (n, ticket) in tickets.iter().enumerate() {
                scope.spawn(move || assert_eq!(ticket.wait().unwrap().get(), n as i64));
            }
        });
        assert_eq!(batch_sizes(&log), [6], "{mode:?}");
        // And once more, with what became of them known.
        assert_eq!(offsets(&tickets), [0, 1, 2, 3, 4, 5]);
    }
}

/// What nobody waits for is appended by the next append behind its time.
#[test]
#[cfg(feature = "simulation")]
fn an_append_behind_the_time_appends_what_is_due() {
    use crate::util::Ground;

    for mode in MODES {
        let place = Ground::Simulated.place();
        let log = manual(mode).open_in(&place).unwrap();
        let linger = log.linger(LingerOptions::new().linger(Duration::from_millis(50))).unwrap();
        let first = linger.append("0").unwrap();
        place.pass(Duration::from_millis(49));
        let second = linger.append("1").unwrap();
        assert_eq!(log.log_end_offset(), Offset::ZERO, "not yet");
        place.pass(Duration::from_millis(1));
        let third = linger.append("2").unwrap();
        assert_eq!(offsets(&[first, second, third]), [0, 1, 2]);
        assert_eq!(batch_sizes(&log), [3], "{mode:?}");
        // A wall clock that jumps makes nothing due, and one that stands still does not hinder it
        // for longer than somebody waits.
        let disk = place.disk().unwrap();
        let fourth = linger.append("3").unwrap();
        disk.set_wall(5_000_000_000_000);
        let fifth = linger.append("4").unwrap();
        disk.set_wall(0);
        let sixth = linger.append("5").unwrap();
        assert!(fourth.try_wait().is_none(), "only the clock that rises counts");
        assert_eq!(sixth.wait().unwrap().get(), 5);
        assert_eq!(offsets(&[fourth, fifth]), [3, 4]);
        assert_eq!(batch_sizes(&log), [3, 3]);
    }
}

/// With no time to wait each append is in the log when it returns, if it has no company.
#[test]
fn without_a_time_to_wait_a_record_goes_at_once() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let linger = log.linger(LingerOptions::new().linger(Duration::ZERO)).unwrap();
        for n in 0..5 {
            let ticket = linger.append(format!("{n}")).unwrap();
            assert_eq!(ticket.try_wait().unwrap().unwrap().get(), n, "{mode:?}");
        }
        assert_eq!(batch_sizes(&log), [1; 5]);
    }
}

/// The log's own thread appends what is due although nobody calls: of a log alone, and of one in a
/// store.
#[test]
fn the_thread_of_a_log_or_its_store_appends_what_is_due() {
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).background(true).open(dir.path().join("alone")).unwrap();
        let store = Store::options().background(true).logs(manual(mode));
        let store = store.open(dir.path().join("store")).unwrap();
        for log in [log, store.log("hosted").unwrap()] {
            let linger = log.linger(LingerOptions::new()).unwrap();
            for n in 0..3 {
                // The second one waits for nothing: its batch is full at once.
                let ticket = linger.append(format!("{n}")).unwrap();
                becomes("appended", || ticket.try_wait().is_some());
                assert_eq!(ticket.wait().unwrap().get(), n, "{mode:?}");
            }
            // No longer than it was told to.
            let late = log.linger(LingerOptions::new().linger(EVER)).unwrap();
            let ticket = late.append("late").unwrap();
            drop(linger);
            assert!(ticket.try_wait().is_none());
            late.flush().unwrap();
            assert_eq!(ticket.wait().unwrap().get(), 3);
        }
    }
}

/// Flush, the last handle's drop, and the log's close append what waits.
#[test]
fn a_flush_the_last_drop_and_a_close_append_what_waits() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let linger = counting(&log, 100);
        let flushed = linger.append("flushed").unwrap();
        linger.flush().unwrap();
        linger.flush().unwrap();
        assert_eq!(offsets(&[flushed]), [0]);
        assert_eq!(log.durable_offset(), Offset::ZERO, "written was asked for, no more");

        let dropped = linger.append("dropped").unwrap();
        drop(linger.clone());
        assert!(dropped.try_wait().is_none(), "a clone is left");
        drop(linger);
        assert_eq!(offsets(&[dropped]), [1]);

        let (one, other) = (counting(&log, 100), counting(&log, 100));
        let closed = [one.append("closed").unwrap(), other.append("as well").unwrap()];
        log.clone().close().unwrap();
        assert_eq!(offsets(&closed), [2, 3]);
        assert_eq!(closed[0].wait_durable().unwrap().get(), 2, "close has made it so");
        assert_eq!(kind(one.append("late")), ErrorKind::Closed);
        assert_eq!(kind(other.flush()), ErrorKind::Closed);
        assert_eq!(kind(log.linger(LingerOptions::new())), ErrorKind::Closed);
        drop((log, one, other));
        assert_eq!(closed[1].wait().unwrap().get(), 3, "whatever is gone");
        let log = manual(mode).open_in(&place).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(all_texts(&log), ["flushed", "dropped", "closed", "as well"]);
    }
}

/// A linger keeps its log open, and so does a ticket; the last of them to go closes it.
#[test]
fn lingers_and_tickets_keep_the_log_open() {
    for (mode, ground) in ways() {
        for background in [false, true] {
            let place = ground.place();
            let options = manual(mode).background(background);
            let log = options.clone().open_in(&place).unwrap();
            let linger = counting(&log, 100);
            drop(log);
            let ticket = linger.append("x").unwrap();
            assert_eq!(kind(options.clone().open_in(&place)), ErrorKind::Locked);
            drop(linger);
            assert_eq!(kind(options.clone().open_in(&place)), ErrorKind::Locked);
            assert_eq!(ticket.wait_durable().unwrap().get(), 0);
            drop(ticket);
            let log = options.open_in(&place).unwrap();
            assert!(log.recovery().clean);
            assert_eq!(all_texts(&log), ["x"]);
        }
    }
}

/// I1: an answer that was asked to be durable is, whatever the log's own policy; others share it.
#[test]
fn a_durable_answer_is_durable() {
    for (mode, ground) in ways() {
        for policy in [FlushPolicy::Manual, FlushPolicy::EveryAppend] {
            let place = ground.place();
            let log = manual(mode).flush(policy).open_in(&place).unwrap();
            let options = LingerOptions::new().linger(EVER).batch_records(3);
            let durable = options.clone().acknowledge(Visibility::Durable);
            let linger = log.linger(durable).unwrap();
            let tickets: Vec<_> = (0..3).map(|n| linger.append(format!("{n}")).unwrap()).collect();
            let written = policy == FlushPolicy::Manual;
            assert_eq!(tickets[0].try_wait().is_none(), written, "written is not enough");
            assert_eq!(tickets[2].wait().unwrap().get(), 2);
            assert!(log.durable_offset().get() == 3);
            assert_eq!(offsets(&tickets), [0, 1, 2]);
            let ticket = linger.append("3").unwrap();
            linger.flush().unwrap();
            assert_eq!((offsets(&[ticket]), log.durable_offset().get()), (vec![3], 4));

            let linger = log.linger(options).unwrap();
            let tickets: Vec<_> = (4..7).map(|n| linger.append(format!("{n}")).unwrap()).collect();
            assert_eq!(offsets(&tickets), [4, 5, 6], "written is enough");
            assert_eq!(tickets[1].wait_durable().unwrap().get(), 5);
            assert_eq!(log.durable_offset().get(), 7);
        }
    }
}

/// A ticket that nobody waits for loses nothing, and thousands of them cost nothing.
#[test]
fn tickets_may_be_dropped() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let linger = counting(&log, 7);
        for n in 0..5000 {
            drop(linger.append(format!("{n}")).unwrap());
        }
        drop(linger);
        let expected: Vec<_> = (0..5000).map(|n| n.to_string()).collect();
        assert_eq!(all_texts(&log), expected);
    }
}

/// Threads that wait for each of their records, more of them than batches may wait: all go on.
#[test]
fn many_threads_that_wait_for_each_record_share_batches() {
    for mode in MODES {
        for background in [false, true] {
            let dir = scratch();
            let log = manual(mode).background(background).open(dir.path()).unwrap();
            let options = LingerOptions::new().linger(Duration::from_millis(1)).batch_records(8);
            let linger = log.linger(options).unwrap();
            thread::scope(|scope| {
                for me in 0..12 {
                    let linger = &linger;
                    scope.spawn(move || {
                        let mut last = -1;
                        for n in 0..25 {
                            let ticket = linger.append(format!("{me} {n}")).unwrap();
                            let offset = ticket.wait().unwrap().get();
                            assert!(offset > last);
                            last = offset;
                        }
                    });
                }
            });
            assert_eq!(log.log_end_offset().get(), 300);
            assert!(log.stats().batches_appended < 300, "{}", log.stats().batches_appended);
        }
    }
}

/// A closing log against threads that hand in: what was taken has its offset, and is there.
#[test]
fn what_was_taken_before_a_close_is_in_the_log() {
    for mode in MODES {
        for background in [false, true] {
            let dir = scratch();
            let options = manual(mode).background(background);
            let log = options.clone().open(dir.path()).unwrap();
            let linger = log.linger(LingerOptions::new().batch_records(50)).unwrap();
            let taken = thread::scope(|scope| {
                let threads: Vec<_> = (0..3)
                    .map(|me| {
                        let linger = &linger;
                        scope.spawn(move || {
                            let mut taken = Vec::new();
                            for n in 0.. {
                                let text = format!("{me} {n}");
                                match linger.append(text.as_str()) {
                                    Ok(ticket) => taken.push((ticket, text)),
                                    Err(error) => {
                                        assert_eq!(error.kind(), ErrorKind::Closed);
                                        break;
                                    }
                                }
                            }
                            taken
                        })
                    })
                    .collect();
                becomes("some", || log.log_end_offset().get() > 500);
                log.clone().close().unwrap();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            let mut told: Vec<_> =
                taken.iter().map(|(ticket, text)| (ticket.wait().unwrap().get(), text)).collect();
            told.sort();
            let log = options.open(dir.path()).unwrap();
            let texts = all_texts(&log);
            let expected: Vec<_> = (0..).zip(&texts).collect();
            assert_eq!(told, expected);
        }
    }
}

/// The handles are for any thread.
#[test]
fn lingers_and_tickets_go_to_other_threads() {
    fn check<T: Send + Sync + 'static>(_: &T) {}
    let dir = scratch();
    let log = Log::open(dir.path()).unwrap();
    let linger = log.linger(LingerOptions::new()).unwrap();
    check(&linger);
    check(&linger.append("x").unwrap());
    assert!(format!("{linger:?}").contains("batch_bytes: 65536"));
    assert_eq!(linger.log().id(), log.id());
}
