//! What is held too long, in the wrong order, or too often: readers, batches and consumers across
//! roll, deletion, close and drop. I9, I10, V13.

use std::fs;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use forebay::{Error, ErrorKind, FlushPolicy, IoMode, Log, Offset, OffsetSpec, Visibility};

use crate::support::heap;
use crate::util::{self, MODES, at, kind, manual, scratch, texts};

/// Every order of the numbers below `count`.
fn orders(count: usize) -> Vec<Vec<usize>> {
    if count == 0 {
        return vec![Vec::new()];
    }
    let shorter = orders(count - 1);
    let insert = |order: &Vec<usize>, at: usize| {
        let mut order = order.clone();
        order.insert(at, count - 1);
        order
    };
    shorter.iter().flat_map(|order| (0..count).map(move |at| insert(order, at))).collect()
}

/// I9: log, clone, reader, consumer and batch, dropped in every order: the batch stays valid, the
/// lock is free when the last of the others is gone, and the log was closed cleanly.
#[test]
fn handles_dropped_in_every_order_close_the_log_once() {
    for mode in MODES {
        for order in orders(5) {
            let dir = scratch();
            let log = manual(mode).segment_bytes(4096).open(dir.path()).unwrap();
            for n in 0..12 {
                log.append(format!("{n:0900}")).unwrap();
            }
            let mut reader = log.reader(at(1)).unwrap();
            let batch = reader.next().unwrap().unwrap();
            let mut consumer = log.consumer("c").unwrap();
            consumer.poll(Duration::ZERO).unwrap();
            let (mut log, mut clone) = (Some(log.clone()), Some(log));
            let (mut reader, mut consumer) = (Some(reader), Some(consumer));
            let mut batch = Some(batch);
            for (n, which) in order.iter().enumerate() {
                match which {
                    0 => drop(log.take()),
                    1 => drop(clone.take()),
                    2 => drop(reader.take()),
                    3 => drop(consumer.take()),
                    _ => drop(batch.take()),
                }
                if let Some(batch) = &batch {
                    assert_eq!(texts(batch), [format!("{:0900}", 1)]);
                }
                if let Some(reader) = &mut reader {
                    assert!(n > 3 || reader.next().unwrap().is_ok());
                }
                if let Some(consumer) = &mut consumer {
                    consumer.commit().unwrap();
                }
                let held = log.is_some() || clone.is_some() || reader.is_some();
                let opened = manual(mode).open(dir.path());
                match held || consumer.is_some() {
                    true => assert_eq!(kind(opened), ErrorKind::Locked, "{order:?}"),
                    false => assert!(opened.unwrap().recovery().clean, "{order:?}"),
                }
            }
        }
    }
}

/// I9: readers and batches from before a roll, a deletion, and a close: what was read stays, what
/// is to come is told.
#[test]
fn what_is_held_across_roll_deletion_and_close_stays_valid() {
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).segment_bytes(4096).open(dir.path()).unwrap();
        let mut readers: Vec<_> =
            (0..5).map(|_| log.reader(OffsetSpec::Earliest).unwrap()).collect();
        let mut batches = Vec::new();
        for n in 0..60 {
            log.append(format!("{n:0700}")).unwrap();
            let reader = &mut readers[n % 5];
            batches.extend(reader.next().map(Result::unwrap));
        }
        let files = || util::segments(dir.path()).len();
        let before = files();
        assert!(before > 8);
        log.delete_records(Offset::new(40)).unwrap();
        assert!(files() < before / 2);
        for batch in &batches {
            let number = batch.base_offset().get();
            assert_eq!(texts(batch), [format!("{number:0700}")]);
        }
        for reader in &mut readers {
            let error = reader.next().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
            assert_eq!(error.valid_offsets().unwrap().start, Offset::new(40));
            // An error ends the iterator once; then it goes on at the start.
            let next = reader.next().or_else(|| reader.next()).unwrap().unwrap();
            assert_eq!(next.base_offset(), Offset::new(40));
            batches.push(next);
        }
        log.close().unwrap();
        for reader in &mut readers {
            assert_eq!(kind(reader.next().unwrap()), ErrorKind::Closed);
            assert!(reader.next().is_none(), "an error ends the iterator once");
            assert_eq!(kind(reader.next().unwrap()), ErrorKind::Closed);
        }
        for path in util::files(dir.path()) {
            fs::remove_file(path).unwrap();
        }
        for batch in &batches {
            let number = batch.base_offset().get();
            assert_eq!(texts(batch), [format!("{number:0700}")]);
        }
    }
}

/// V13: ten thousand readers at once, on segments far apart: few descriptors, bounded memory.
#[test]
fn ten_thousand_readers_share_few_descriptors() {
    if !util::is_alone(module_path!(), "ten_thousand_readers_share_few_descriptors") {
        return;
    }
    let descriptors = || fs::read_dir("/proc/self/fd").unwrap().count();
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).segment_bytes(4096).open(dir.path()).unwrap();
        for n in 0..400 {
            log.append(format!("{n:0700}")).unwrap();
        }
        let before = descriptors();
        let (mut readers, held) = heap::peak(|| {
            let open = |n: usize| log.reader(at(i64::try_from(n * 7 % 400).unwrap())).unwrap();
            let mut readers: Vec<_> = (0..10_000).map(open).collect();
            for (n, reader) in readers.iter_mut().enumerate() {
                let batch = reader.next().unwrap().unwrap();
                assert_eq!(texts(&batch), [format!("{:0700}", n * 7 % 400)]);
            }
            readers
        });
        // Each holds the segment it reads, or the part of it that it fetched, and no more.
        assert!(held < 10_000 * 6000, "{mode:?}: {held} bytes for ten thousand readers");
        assert!(descriptors() < before + 200, "{} descriptors, {before} before", descriptors());
        for reader in readers.iter_mut().step_by(97) {
            let mut next = reader.next_offset();
            for batch in reader {
                let batch = batch.unwrap();
                assert_eq!(batch.base_offset(), next);
                next = batch.next_offset();
            }
            assert_eq!(next.get(), 400);
        }
        drop(readers);
        log.close().unwrap();
        assert!(descriptors() < before, "closing frees them: {}, {before}", descriptors());
    }
}

/// I2, V13: sixty-four threads do everything at once while the log is closed under them: each is
/// told, none hangs, and exactly what was acknowledged is there.
#[test]
fn a_close_under_sixty_four_threads_keeps_what_was_acknowledged() {
    for mode in MODES {
        for policy in [FlushPolicy::Manual, FlushPolicy::EveryAppend] {
            let dir = scratch();
            let log = manual(mode).flush(policy).segment_bytes(16 << 10).open(dir.path()).unwrap();
            let (acknowledged, started) = (AtomicI64::new(0), AtomicU32::new(0));
            std::thread::scope(|scope| {
                for t in 0..64 {
                    let (log, acknowledged, started) = (log.clone(), &acknowledged, &started);
                    scope.spawn(move || {
                        started.fetch_add(1, Ordering::SeqCst);
                        let error = work_until_refused(&log, t, acknowledged);
                        assert_eq!(error.kind(), ErrorKind::Closed, "thread {t}: {error}");
                    });
                }
                while started.load(Ordering::SeqCst) < 64
                    || acknowledged.load(Ordering::SeqCst) < 300
                {
                    std::thread::yield_now();
                }
                log.clone().close().unwrap();
            });
            drop(log);
            let log = manual(mode).open(dir.path()).unwrap();
            assert!(log.recovery().clean, "{:?}", log.recovery());
            let count = util::read_all(&log).len();
            assert_eq!(i64::try_from(count).unwrap(), acknowledged.load(Ordering::SeqCst));
            assert_eq!(log.log_end_offset().get(), acknowledged.load(Ordering::SeqCst));
        }
    }
}

/// Each thread has one kind of work.
fn work_until_refused(log: &Log, t: usize, acknowledged: &AtomicI64) -> Error {
    let count = |records: i64| acknowledged.fetch_add(records, Ordering::SeqCst);
    let work = |round: i64| -> Result<(), Error> {
        match t % 8 {
            0 | 1 => count(log.append("one").map(|_| 1)?),
            2 => count(log.append_batch(["a", "b", "c"]).map(|_| 3)?),
            3 => match log.append_at(log.log_end_offset(), "at") {
                Err(error) if error.kind() == ErrorKind::Conflict => 0,
                done => count(done.map(|_| 1)?),
            },
            4 => log.flush().map(|_| 0)?,
            5 => log.reader(OffsetSpec::Earliest)?.try_fold(0, |n, batch| batch.map(|_| n + 1))?,
            6 => {
                let mut consumer = log.consumer(&format!("c{t}"))?;
                consumer.poll(Duration::from_millis(1))?;
                consumer.commit().map(|()| 0)?
            }
            _ => {
                let offset = Offset::new(round * 5);
                log.wait_for(offset, Visibility::Durable, Duration::from_millis(2)).map(|_| 0)?
            }
        };
        Ok(())
    };
    (0..).find_map(|round| work(round).err()).unwrap()
}

/// Every call on a closed log says so, the new ones too.
#[test]
fn every_call_on_a_closed_log_says_closed() {
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        let dir = scratch();
        let log = util::ten(mode, dir.path());
        let mut consumer = log.consumer("c").unwrap();
        let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
        log.clone().close().unwrap();
        let closed = ErrorKind::Closed;
        assert_eq!(kind(log.append("x")), closed);
        assert_eq!(kind(log.append_batch(["x"])), closed);
        assert_eq!(kind(log.append_batch(["x"; 0])), closed);
        assert_eq!(kind(log.append_at(Offset::new(10), "x")), closed);
        assert_eq!(kind(log.append_at(Offset::new(3), "x")), closed);
        assert_eq!(kind(log.append_batch_at(Offset::new(10), ["x"])), closed);
        assert_eq!(kind(log.append_batch_at(Offset::new(10), ["x"; 0])), closed);
        assert_eq!(kind(log.flush()), closed);
        assert_eq!(kind(log.delete_records(Offset::new(3))), closed);
        assert_eq!(kind(log.delete_records(Offset::ZERO)), closed);
        assert_eq!(kind(log.consumer("d")), closed);
        assert_eq!(kind(log.delete_consumer("c")), closed);
        assert_eq!(kind(log.wait_for(Offset::ZERO, Visibility::Written, Duration::ZERO)), closed);
        assert_eq!(kind(consumer.poll(Duration::ZERO)), closed);
        assert_eq!(kind(consumer.commit()), closed);
        assert_eq!(kind(consumer.commit_offset(Offset::ZERO)), closed);
        assert_eq!(kind(consumer.sync()), closed);
        assert_eq!(kind(consumer.seek(OffsetSpec::Latest)), closed);
        assert_eq!(kind(reader.seek(OffsetSpec::Earliest)), closed);
        assert_eq!(kind(reader.next().unwrap()), closed);
        assert_eq!(log.log_end_offset(), Offset::new(10));
        log.close().unwrap();
    }
}
