//! Many threads on one log: order, group commit, waking and closing (I2, I10, I14).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::thread;
use std::time::Duration;

use forebay::{
    ConsumerOptions, ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec,
    Visibility,
};

use crate::util::{MODES, all_texts, kind, manual, scratch, texts};

const THREADS: usize = 6;

/// Runs a test that may hang when it fails: a minute without an end is a failure.
fn within_a_minute(work: impl FnOnce() + Send + 'static) {
    let (done, wait) = mpsc::channel();
    let worker = thread::spawn(move || {
        work();
        done.send(()).unwrap();
    });
    if let Err(mpsc::RecvTimeoutError::Timeout) = wait.recv_timeout(Duration::from_secs(60)) {
        panic!("it hangs");
    }
    worker.join().unwrap();
}

fn small(mode: IoMode, policy: FlushPolicy) -> LogOptions {
    manual(mode).segment_bytes(8192).flush(policy)
}

const POLICIES: [FlushPolicy; 4] = [
    FlushPolicy::Manual,
    FlushPolicy::EveryAppend,
    FlushPolicy::EveryBytes(3000),
    FlushPolicy::Interval(Duration::from_millis(1)),
];

/// Checks that the texts "thread:number" hold each thread's numbers in order, without a gap.
fn assert_ordered(texts: &[String], per_thread: usize) {
    let mut next = BTreeMap::<&str, usize>::new();
    for text in texts {
        let (thread, rest) = text.split_once(':').unwrap();
        let number: usize = rest.split(':').next().unwrap().parse().unwrap();
        let next = next.entry(thread).or_default();
        assert_eq!(number, *next, "thread {thread}");
        *next += 1;
    }
    assert!(next.values().all(|count| *count == per_thread), "{next:?}");
}

/// I2, I14: appenders, flushers, readers and consumers at once, under every policy: each thread's
/// records keep their order, every reader sees all of them, and batches are whole.
#[test]
fn threads_that_append_flush_and_read_at_once_see_one_history() {
    const EACH: usize = 120;
    for mode in MODES {
        for policy in POLICIES {
            let dir = scratch();
            let log = small(mode, policy).open(dir.path()).unwrap();
            let total = i64::try_from(THREADS * EACH).unwrap();
            thread::scope(|scope| {
                for t in 0..THREADS {
                    let log = &log;
                    scope.spawn(move || append_and_check(log, t, EACH, policy));
                }
                for from in [OffsetSpec::Earliest, OffsetSpec::Latest] {
                    let mut reader = log.reader(from).unwrap();
                    let log = &log;
                    scope.spawn(move || {
                        while reader.next_offset().get() < total {
                            let at = reader.next_offset();
                            log.wait_for(at, Visibility::Written, Duration::MAX).unwrap();
                            for batch in reader.by_ref() {
                                let batch = batch.unwrap();
                                assert_eq!(texts(&batch).len(), batch.len(), "I14");
                            }
                        }
                    });
                }
                let mut consumer = log.consumer("c").unwrap();
                scope.spawn(move || {
                    let mut seen = Vec::new();
                    while seen.len() < THREADS * EACH {
                        let batch = consumer.poll(Duration::MAX).unwrap().unwrap();
                        assert_eq!(batch.base_offset().get(), i64::try_from(seen.len()).unwrap());
                        seen.extend(texts(&batch));
                        consumer.commit().unwrap();
                    }
                    assert_ordered(&seen, EACH);
                });
            });
            assert_ordered(&all_texts(&log), EACH);
            log.close().unwrap();
            let log = manual(mode).open(dir.path()).unwrap();
            assert!(log.recovery().clean);
            assert_ordered(&all_texts(&log), EACH);
            assert_eq!(log.consumers()[0].committed.get(), total);
        }
    }
}

/// Appends `each` records as thread `t`, alone and in batches of three, flushing now and then.
fn append_and_check(log: &Log, t: usize, each: usize, policy: FlushPolicy) {
    let text = |n: usize| format!("{t}:{n}:{}", "x".repeat(n % 90));
    let mut n = 0;
    while n < each {
        let end = if n % 6 == 0 {
            let range = log.append_batch([text(n), text(n + 1), text(n + 2)]).unwrap();
            assert_eq!(range.end - range.start, 3);
            n += 3;
            range.end
        } else {
            n += 1;
            log.append(text(n - 1)).unwrap() + 1
        };
        assert!(log.log_end_offset() >= end);
        if policy == FlushPolicy::EveryAppend {
            assert!(log.durable_offset() >= end, "EveryAppend");
        }
        if n % 11 == 0 {
            let flushed = log.flush().unwrap();
            assert!(flushed >= end && log.durable_offset() >= flushed, "group commit");
        }
    }
}

/// Group commit: whoever's flush returns finds all of its own appends durable, and a copy taken
/// then, as after a power cut, has them.
#[test]
fn a_flush_covers_every_append_of_its_caller() {
    for mode in MODES {
        let dir = scratch();
        let log = small(mode, FlushPolicy::Manual).open(dir.path()).unwrap();
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for t in 0..THREADS {
                let (log, barrier) = (&log, &barrier);
                scope.spawn(move || {
                    for n in 0..200 {
                        if n % 20 == 0 {
                            barrier.wait();
                        }
                        let offset = log.append(format!("{t}:{n}")).unwrap();
                        let durable = log.flush().unwrap();
                        assert!(durable > offset, "{durable} does not cover {offset}");
                        assert!(log.durable_offset() >= durable);
                        assert!(log.wait_for(offset, Visibility::Durable, Duration::ZERO).unwrap());
                    }
                });
            }
        });
        assert_eq!(log.durable_offset(), log.log_end_offset());
        assert_ordered(&all_texts(&log), 200);
    }
}

/// No lost wake-up: a reader that waits for each record is woken by each append, for both
/// visibilities, alone and in a crowd.
#[test]
fn every_append_wakes_every_waiting_reader() {
    within_a_minute(|| {
        for mode in MODES {
            let dir = scratch();
            let log = small(mode, FlushPolicy::Manual).open(dir.path()).unwrap();
            let turn = AtomicUsize::new(0);
            let rounds = 400;
            thread::scope(|scope| {
                for w in 0..4 {
                    let (log, turn) = (&log, &turn);
                    let visibility = if w < 2 { Visibility::Written } else { Visibility::Durable };
                    scope.spawn(move || {
                        for n in 0..rounds {
                            let offset = Offset::new(n);
                            assert!(log.wait_for(offset, visibility, Duration::MAX).unwrap());
                            turn.fetch_add(1, Ordering::SeqCst);
                        }
                    });
                }
                for n in 0..usize::try_from(rounds).unwrap() {
                    // The next append comes only when all four have seen the last one.
                    while turn.load(Ordering::SeqCst) < 4 * n {
                        thread::yield_now();
                    }
                    log.append("x").unwrap();
                    log.flush().unwrap();
                }
            });
        }
    });
}

/// While it waits for a record that never comes, a waiter keeps the interval for the others.
#[test]
fn a_waiting_thread_keeps_the_flush_interval() {
    within_a_minute(|| {
        for mode in MODES {
            for visibility in [Visibility::Written, Visibility::Durable] {
                let dir = scratch();
                let policy = FlushPolicy::Interval(Duration::from_millis(5));
                let log = small(mode, policy).open(dir.path()).unwrap();
                let far = log.clone();
                let waiter = thread::spawn(move || {
                    far.wait_for(Offset::new(5), visibility, Duration::MAX).map_err(|e| e.kind())
                });
                for n in 1..4 {
                    log.append("x").unwrap();
                    while log.durable_offset().get() < n {
                        thread::sleep(Duration::from_millis(1));
                    }
                }
                log.close().unwrap();
                assert_eq!(waiter.join().unwrap(), Err(ErrorKind::Closed));
            }
        }
    });
}

/// Close wakes all who wait, whatever they wait for; each is told that the log is closed.
#[test]
fn close_wakes_every_waiter() {
    within_a_minute(|| {
        for mode in MODES {
            for policy in POLICIES {
                let dir = scratch();
                let log = small(mode, policy).open(dir.path()).unwrap();
                log.append("x").unwrap();
                let mut waiters = Vec::new();
                for (n, visibility) in
                    [Visibility::Written, Visibility::Durable].into_iter().enumerate()
                {
                    let log_w = log.clone();
                    waiters.push(thread::spawn(move || {
                        kind(log_w.wait_for(Offset::new(9), visibility, Duration::MAX))
                    }));
                    let options = ConsumerOptions::new().visibility(visibility);
                    let options = options.start(OffsetSpec::At(Offset::new(0)));
                    let mut consumer = log.consumer_with(&format!("c{n}"), options).unwrap();
                    waiters.push(thread::spawn(move || {
                        loop {
                            match consumer.poll(Duration::MAX) {
                                Ok(batch) => {
                                    assert!(batch.is_some(), "waited for ever, got nothing")
                                }
                                Err(error) => return error.kind(),
                            }
                        }
                    }));
                }
                thread::sleep(Duration::from_millis(10));
                log.close().unwrap();
                for waiter in waiters {
                    assert_eq!(waiter.join().unwrap(), ErrorKind::Closed, "{policy:?}");
                }
                assert_eq!(all_texts(&manual(mode).open(dir.path()).unwrap()), ["x"]);
            }
        }
    });
}

/// V13: a close among appends, flushes and reads: what was acknowledged is there, what was refused
/// is not, and the log is closed cleanly.
#[test]
fn closing_while_others_append_keeps_exactly_what_was_acknowledged() {
    within_a_minute(|| {
        for round in 0..20 {
            for mode in MODES {
                let dir = scratch();
                let log = small(mode, FlushPolicy::Manual).open(dir.path()).unwrap();
                let acknowledged = Arc::new(AtomicI64::new(0));
                let threads: Vec<_> = (0..THREADS)
                    .map(|t| {
                        let (log, acknowledged) = (log.clone(), Arc::clone(&acknowledged));
                        thread::spawn(move || append_until_closed(&log, t, &acknowledged))
                    })
                    .collect();
                while acknowledged.load(Ordering::SeqCst) < 20 * round {
                    thread::yield_now();
                }
                log.close().unwrap();
                let counts: Vec<_> =
                    threads.into_iter().map(|thread| thread.join().unwrap()).collect();
                let log = manual(mode).open(dir.path()).unwrap();
                assert!(log.recovery().clean, "{:?}", log.recovery());
                let texts = all_texts(&log);
                assert_eq!(texts.len(), counts.iter().sum::<usize>());
                for (t, count) in counts.iter().enumerate() {
                    let prefix = format!("{t}:");
                    let own = texts.iter().filter(|text| text.starts_with(&prefix));
                    assert!(own.cloned().eq((0..*count).map(|n| format!("{t}:{n}"))));
                }
            }
        }
    });
}

/// Appends until it is told that the log is closed; how many appends were acknowledged.
fn append_until_closed(log: &Log, t: usize, acknowledged: &AtomicI64) -> usize {
    for n in 0.. {
        if n % 7 == 0
            && t == 0
            && let Err(error) = log.flush()
        {
            assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        }
        if n % 5 == 0
            && t == 1
            && let Ok(reader) = log.reader(OffsetSpec::Earliest)
        {
            let closed = |error: forebay::Error| error.kind() == ErrorKind::Closed;
            assert!(reader.take(50).all(|batch| batch.is_ok() || batch.is_err_and(closed)));
        }
        match log.append(format!("{t}:{n}")) {
            Ok(_) => acknowledged.fetch_add(1, Ordering::SeqCst),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
                return n;
            }
        };
    }
    unreachable!("the loop ends by return")
}

/// V16: threads that race to open a directory, new or not: one at a time has it, none is harmed.
#[test]
fn racing_opens_give_the_log_to_one_at_a_time() {
    within_a_minute(|| {
        for round in 0..40 {
            let dir = scratch();
            let path = dir.path().join("log");
            let barrier = Barrier::new(THREADS);
            let winners = AtomicUsize::new(0);
            thread::scope(|scope| {
                for t in 0..THREADS {
                    let (path, barrier, winners) = (&path, &barrier, &winners);
                    scope.spawn(move || {
                        barrier.wait();
                        match manual(MODES[(t + round) % 2]).open(path) {
                            Ok(log) => {
                                log.append(format!("{t}")).unwrap();
                                winners.fetch_add(1, Ordering::SeqCst);
                                log.close().unwrap();
                            }
                            Err(error) => assert_eq!(error.kind(), ErrorKind::Locked, "{error}"),
                        }
                    });
                }
            });
            let log = Log::open(&path).unwrap();
            let won = winners.into_inner();
            assert!(won >= 1);
            assert!(log.recovery().clean && all_texts(&log).len() == won);
        }
    });
}

/// A consumer's name is given to one of the threads that race for it; all commits end up stored.
#[test]
fn racing_consumers_get_a_name_each_or_are_told_it_is_busy() {
    for mode in MODES {
        let dir = scratch();
        let log = small(mode, FlushPolicy::EveryBytes(500)).open(dir.path()).unwrap();
        let barrier = Barrier::new(THREADS);
        thread::scope(|scope| {
            for t in 0..THREADS {
                let (log, barrier) = (&log, &barrier);
                scope.spawn(move || {
                    let mut own = log.consumer(&format!("own-{t}")).unwrap();
                    for round in 0..60 {
                        barrier.wait();
                        let shared = log.consumer(&format!("shared-{round}"));
                        log.append(vec![b'x'; 50]).unwrap();
                        while own.poll(Duration::ZERO).unwrap().is_some() {}
                        own.commit().unwrap();
                        // Nobody drops a handle before everybody has tried.
                        barrier.wait();
                        if let Err(error) = &shared {
                            assert_eq!(error.kind(), ErrorKind::ConsumerBusy);
                        }
                        drop(shared);
                        if t == 0 {
                            barrier.wait();
                            assert!(log.delete_consumer(&format!("shared-{round}")).unwrap());
                        } else {
                            barrier.wait();
                        }
                    }
                });
            }
        });
        let committed: BTreeMap<_, _> =
            log.consumers().into_iter().map(|c| (c.name, c.committed)).collect();
        assert_eq!(committed.len(), THREADS);
        drop(log);
        let log = manual(mode).open(dir.path()).unwrap();
        let again: BTreeMap<_, _> =
            log.consumers().into_iter().map(|c| (c.name, c.committed)).collect();
        assert_eq!(again, committed);
    }
}

/// Of two threads that close one log at once, each finds it closed, and its lock free, when its
/// own close returns.
#[test]
fn racing_closes_both_return_with_the_lock_free() {
    within_a_minute(|| {
        let dir = scratch();
        for round in 0..1500 {
            let log = manual(MODES[round % 2]).open(dir.path()).unwrap();
            log.append("x").unwrap();
            let (barrier, other) = (Arc::new(Barrier::new(2)), log.clone());
            let both = Arc::clone(&barrier);
            let closer = thread::spawn(move || {
                both.wait();
                other.close().unwrap();
            });
            barrier.wait();
            log.close().unwrap();
            let again = manual(MODES[round % 2]).open(dir.path());
            closer.join().unwrap();
            assert!(again.unwrap().recovery().clean, "in round {round}");
        }
    });
}
