//! One log: publication, group commit, waiters, deletion, and waiting for room.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use forebay::{
    ConsumerOptions, ErrorKind, FlushPolicy, Log, Offset, OffsetSpec, OnFull, Visibility,
};
use shuttle::thread;

use crate::judge::{
    Acknowledged, DIR, EVER, assert_offsets, assert_ordered, chance, disk, options, read_all,
    records, text,
};

/// I9, I14: whoever reads sees batches whole, in order, without a gap, and everything below the end
/// that it saw before; rolls change nothing in that.
pub fn readers_see_whole_batches_in_order() {
    let log = options().open_on(&disk(), DIR).expect("it opens");
    let readers = [(); 2].map(|()| {
        let log = log.clone();
        thread::spawn(move || {
            for _ in 0..3 {
                let end = log.log_end_offset().get();
                let found = read_all(&log);
                assert!(found.len() as i64 >= end, "{} of {end}", found.len());
                assert_ordered(&found);
                assert_offsets(&log);
            }
        })
    });
    let writers = [0, 1].map(|me| {
        let log = log.clone();
        thread::spawn(move || {
            let first = log.append(text(me, 0)).expect("there is room");
            let both = log.append_batch([text(me, 1), text(me, 2)]).expect("there is room");
            let found = read_all(&log);
            let at = |offset: Offset| found[usize::try_from(offset.get()).expect("from 0")].1;
            assert_eq!(
                [at(first), at(both.start), at(both.start + 1)],
                [(me, 0), (me, 1), (me, 2)],
                "who appended reads it"
            );
        })
    });
    readers.into_iter().chain(writers).for_each(|thread| thread.join().expect("it ends"));
    assert_eq!(read_all(&log).len(), 6);
}

/// I2, I6, I18: a record is acknowledged by a sync that began after it was written, whoever of the
/// waiting threads made it, also over a roll: a power cut at the very moment keeps it.
pub fn what_is_acknowledged_was_synced_after_it_was_written() {
    let disk = disk();
    let every = options().flush(FlushPolicy::EveryAppend);
    let log = every.clone().open_on(&disk, DIR).expect("it opens");
    let acknowledged = Acknowledged::default();
    let appenders = [0, 1, 2].map(|me| {
        let (log, disk, acknowledged) = (log.clone(), disk.clone(), acknowledged.clone());
        thread::spawn(move || {
            for number in 0..2 {
                let offset = log.append(text(me, number)).expect("the device works");
                acknowledged.durable_to(&disk, offset + 1, Some((me, number)));
            }
        })
    });
    let flusher = {
        let (log, disk, acknowledged) = (log.clone(), disk.clone(), acknowledged.clone());
        thread::spawn(move || {
            let end = log.log_end_offset();
            let durable = log.flush().expect("the device works");
            assert!(durable >= end, "what was there is flushed: {durable} of {end}");
            acknowledged.durable_to(&disk, durable, None);
            assert_offsets(&log);
        })
    };
    appenders.into_iter().chain([flusher]).for_each(|thread| thread.join().expect("it ends"));
    let found = read_all(&log);
    assert_eq!(found.len(), 6);
    assert_ordered(&found);
    acknowledged.judge(&every);
}

/// Waiters of both kinds, and consumers, are woken by what they wait for; nobody else flushes.
pub fn no_waiter_sleeps_through_what_it_waits_for() {
    let log = options().open_on(&disk(), DIR).expect("it opens");
    let waiters = [Visibility::Written, Visibility::Durable].map(|visibility| {
        let log = log.clone();
        thread::spawn(move || {
            for offset in 0..2 {
                let came = log.wait_for(Offset::new(offset), visibility, EVER);
                assert!(came.expect("the log is well"), "nothing ends a wait but what it is for");
            }
        })
    });
    let consumers = [Visibility::Written, Visibility::Durable].map(|visibility| {
        let options = ConsumerOptions::new().visibility(visibility);
        let name = if visibility == Visibility::Durable { "durable" } else { "written" };
        let mut consumer = log.consumer_with(name, options).expect("it is free");
        let log = log.clone();
        thread::spawn(move || {
            while consumer.position().get() < 2 {
                let batch = consumer.poll(EVER).expect("the log is well").expect("it waits");
                assert!(batch.next_offset() <= log.log_end_offset());
                if visibility == Visibility::Durable {
                    assert!(batch.next_offset() <= log.durable_offset());
                }
            }
            consumer.commit().expect("the log is well");
        })
    });
    let writer = {
        let log = log.clone();
        thread::spawn(move || {
            log.append(text(0, 0)).expect("there is room");
            if chance(2) == 0 {
                log.flush().expect("the device works");
            }
            log.append(text(0, 1)).expect("there is room");
            log.flush().expect("the device works");
        })
    };
    let all = waiters.into_iter().chain(consumers).chain([writer]);
    all.for_each(|thread| thread.join().expect("it ends"));
}

/// I1, I9: while the front is deleted and the end grows, readers meet what was written, or are told
/// that it is gone; batches they have stay as they are.
pub fn deleting_takes_nothing_from_who_reads() {
    let disk = disk();
    let options = options();
    let log = options.clone().open_on(&disk, DIR).expect("it opens");
    for number in 0..5 {
        log.append(text(0, number)).expect("there is room");
    }
    let readers = [(); 2].map(|()| {
        let log = log.clone();
        thread::spawn(move || read_what_goes(&log))
    });
    let deleter = {
        let log = log.clone();
        thread::spawn(move || {
            for before in [2, 3, 4] {
                let start = log.delete_records(Offset::new(before)).expect("it is there");
                assert_eq!(start.get(), before);
                assert!(log.durable_offset() >= start, "I1");
            }
        })
    };
    let writer = {
        let log = log.clone();
        thread::spawn(move || {
            for number in 5..7 {
                log.append(text(0, number)).expect("there is room");
                assert_offsets(&log);
            }
        })
    };
    let all = readers.into_iter().chain([deleter, writer]);
    all.for_each(|thread| thread.join().expect("it ends"));
    let names = disk.file_names(DIR).into_iter().filter(|name| name.ends_with(".log")).count();
    assert_eq!((log.log_start_offset().get(), names), (4, 2), "two segments are gone");
    let found: Vec<_> = read_all(&log).into_iter().map(|(_, (_, number))| number).collect();
    assert_eq!(found, [4, 5, 6]);
    log.close().expect("the device works");
    let log = options.open_on(&disk, DIR).expect("it opens");
    assert_eq!(read_all(&log).len(), 3);
    assert!(log.recovery().clean);
}

/// Reads to the end, through the gaps that deletion makes.
fn read_what_goes(log: &Log) {
    let mut kept = Vec::new();
    let Ok(mut reader) = log.reader(OffsetSpec::Earliest) else { panic!("it is open") };
    let mut next = 0;
    while let Some(batch) = reader.next() {
        match batch {
            Ok(batch) => {
                let base = batch.base_offset().get();
                assert!(base >= next, "never back");
                assert_eq!(records(&batch), [(0, usize::try_from(base).expect("from 0"))]);
                next = batch.next_offset().get();
                kept.push(batch);
            }
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
                assert!(log.log_start_offset().get() > next, "it is gone indeed");
            }
        }
    }
    assert!(next >= 5, "everything that was there and stayed");
    for batch in kept {
        assert_eq!(records(&batch).len(), 1, "what was read stays");
    }
}

/// Whoever waits for room under `Block` is woken by the deletion that makes some, and nothing is
/// lost or doubled on the way.
pub fn who_waits_for_room_hears_of_it() {
    let disk = disk();
    let options = options().budget_bytes(BUDGET).on_full(OnFull::Block(EVER));
    let log = options.open_on(&disk, DIR).expect("it opens");
    let written = Arc::new(AtomicI64::new(0));
    let writer = {
        let (log, written) = (log.clone(), Arc::clone(&written));
        thread::spawn(move || {
            for number in 0..RECORDS {
                let offset = log.append(text(0, number)).expect("it waits for room");
                written.store(offset.get() + 1, Ordering::SeqCst);
            }
        })
    };
    // Deletes what is there whenever more is, until everything was appended.
    let mut deleted = 0;
    while deleted < RECORDS as i64 {
        log.wait_for(Offset::new(deleted), Visibility::Written, EVER).expect("the log is well");
        let end = log.log_end_offset();
        log.delete_records(end).expect("it is there");
        deleted = end.get();
    }
    writer.join().expect("it ends");
    assert_eq!(log.log_end_offset().get(), RECORDS as i64);
    assert_eq!(written.load(Ordering::SeqCst), RECORDS as i64);
}

/// Room for a few segments of two records each.
const BUDGET: u64 = 108 << 10;
const RECORDS: usize = 14;
