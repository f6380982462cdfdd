//! Records and batches that do not fit, iterators that misbehave, and offsets that are none: each
//! call is refused by kind, nothing has changed, and the next call works. I2, I10, I11, I14.

use std::cell::Cell;
use std::iter;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use forebay::{
    ConsumerOptions, ErrorKind, IoMode, Log, NewRecord, Offset, OffsetSpec, Timestamp, Visibility,
};

use crate::support::heap;
use crate::util::{MODES, all_texts, at, kind, manual, scratch, ten};

/// What a refused call may not change.
fn state(log: &Log) -> (Offset, Offset, Offset, usize, String) {
    let read = log.reader(OffsetSpec::Earliest).unwrap().count();
    let consumers = format!("{:?}", log.consumers());
    (log.log_start_offset(), log.durable_offset(), log.log_end_offset(), read, consumers)
}

/// Runs calls that are refused; nothing changes by them, and an append works afterwards.
fn unchanged(log: &Log, calls: impl FnOnce(&Log)) {
    let before = state(log);
    calls(log);
    assert_eq!(state(log), before);
    assert_eq!(log.append("").unwrap(), before.2);
}

/// A part of a record, of a given size.
type Shape = (&'static str, fn(usize) -> NewRecord<'static>);

const SHAPES: [Shape; 7] = [
    ("value", |n| NewRecord::new(vec![1; n])),
    ("key", |n| NewRecord::tombstone(vec![1; n])),
    ("key and value", |n| NewRecord::new(vec![1; n / 2]).key(vec![2; n - n / 2])),
    ("header's name", |n| NewRecord::new("").header("n".repeat(n), "")),
    ("header's value", |n| NewRecord::new("").header("", vec![1; n])),
    ("headers", |n| (0..n).fold(NewRecord::new(""), |all, _| all.header("h", "v"))),
    ("headers without value", |n| {
        (0..n).fold(NewRecord::default(), |all, _| all.header_without_value(""))
    }),
];

/// I11: for each part of a record there is a largest one, to the byte; one more is refused.
#[test]
fn every_part_of_a_record_is_bounded_to_the_byte() {
    for mode in MODES {
        for most in [71, 100, 127, 128, 200, 1000, 4096] {
            for (part, shape) in SHAPES {
                let dir = scratch();
                let options = manual(mode).segment_bytes(4096).max_batch_bytes(most);
                let log = options.open(dir.path()).unwrap();
                let fits = |n: usize| log.append(shape(n)).is_ok();
                let largest = (0..most).rev().find(|n| fits(*n));
                let what = format!("{mode:?}, {part} of {largest:?} in {most}");
                let Some(largest) = largest else {
                    assert!(most < 80, "{what}: nothing fits");
                    continue;
                };
                unchanged(&log, |log| {
                    for more in [1, 2, 3, 100, 5000] {
                        let refused = kind(log.append(shape(largest + more)));
                        assert_eq!(refused, ErrorKind::RecordTooLarge, "{what} and {more}");
                        let batch = [shape(0), shape(largest + more)];
                        assert_eq!(kind(log.append_batch(batch)), ErrorKind::RecordTooLarge);
                        let at = log.log_end_offset();
                        let refused = kind(log.append_at(at, shape(largest + more)));
                        assert_eq!(refused, ErrorKind::RecordTooLarge, "{what} and {more}");
                    }
                });
                for less in 0..=largest.min(20) {
                    assert!(fits(largest - less), "{what}: {less} less do not fit");
                }
                let batches: Vec<_> = log.reader(at(0)).unwrap().map(Result::unwrap).collect();
                assert!(batches.iter().all(|b| b.as_bytes().len() <= most), "{what}");
                let full = batches.iter().map(|b| b.as_bytes().len()).max().unwrap();
                assert!(most - full < 16, "{what}: {full} of {most} bytes are used");
            }
        }
    }
}

/// I11: what is larger than any batch is refused before it is copied, however large.
#[test]
fn records_beyond_four_gigabytes_are_refused_without_copying_them() {
    // Zeros that nobody touches take no memory.
    let huge = vec![0_u8; (1 << 32) + 5];
    for mode in MODES {
        let dir = scratch();
        let log = ten(mode, dir.path());
        unchanged(&log, |log| {
            let sizes = [16 << 20, i32::MAX as usize, 1 << 31, u32::MAX as usize, 1 << 32];
            for size in sizes.into_iter().chain([huge.len()]) {
                let bytes = &huge[..size];
                let records = [
                    NewRecord::new(bytes),
                    NewRecord::new("v").key(bytes),
                    NewRecord::new("v").header("h", bytes),
                    NewRecord::new(bytes).key(bytes).header("h", bytes),
                ];
                for record in records {
                    let (refused, held) = heap::peak(|| kind(log.append(record.clone())));
                    assert_eq!(refused, ErrorKind::RecordTooLarge, "{size}");
                    assert!(held < 4 << 20, "{size}: {held} bytes were held");
                    let (refused, held) =
                        heap::peak(|| kind(log.append_batch([NewRecord::new("a"), record])));
                    assert_eq!(refused, ErrorKind::RecordTooLarge, "{size}");
                    assert!(held < 4 << 20, "{size}: {held} bytes were held");
                }
            }
        });
    }
}

/// I11: iterators that never end, or lie about their length, end at the bound.
#[test]
fn endless_batches_end_at_the_bound() {
    struct Liar(usize);
    impl Iterator for Liar {
        type Item = &'static str;
        fn next(&mut self) -> Option<&'static str> {
            self.0 = self.0.checked_sub(1)?;
            Some("liar")
        }
        fn size_hint(&self) -> (usize, Option<usize>) {
            (usize::MAX, Some(0))
        }
    }
    for mode in MODES {
        let dir = scratch();
        let log = ten(mode, dir.path());
        unchanged(&log, |log| {
            let (refused, held) = heap::peak(|| kind(log.append_batch(iter::repeat("x"))));
            assert_eq!(refused, ErrorKind::RecordTooLarge);
            assert!(held < 8 << 20, "{held} bytes were held");
            let empty = iter::repeat_with(NewRecord::default);
            assert_eq!(kind(log.append_batch(empty)), ErrorKind::RecordTooLarge);
            assert_eq!(kind(log.append_batch(Liar(10_000_000))), ErrorKind::RecordTooLarge);
            assert_eq!(log.append_batch(Liar(0)).unwrap(), Offset::new(10)..Offset::new(10));
        });
        let range = log.append_batch(Liar(5)).unwrap();
        assert_eq!(range.end - range.start, 5);
    }
}

/// Something that becomes a record by running the caller's code.
struct Becomes<'a>(&'a dyn Fn() -> NewRecord<'static>, &'a dyn Fn());

impl<'a> From<Becomes<'a>> for NewRecord<'static> {
    fn from(becomes: Becomes<'a>) -> NewRecord<'static> {
        (becomes.0)()
    }
}

impl Drop for Becomes<'_> {
    fn drop(&mut self) {
        (self.1)();
    }
}

/// I10, I14: the caller's iterators, conversions and drops may panic at any place: nothing is
/// appended by that call, and no lock and no buffer stays taken.
#[test]
fn a_panic_anywhere_in_the_callers_code_appends_nothing() {
    for mode in MODES {
        let dir = scratch();
        let log = ten(mode, dir.path());
        let calls = Cell::new(0_u32);
        for panics_at in 0..12_u32 {
            calls.set(0);
            let step = || {
                calls.set(calls.get() + 1);
                if calls.get() == panics_at + 1 {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
            };
            let becomes = || {
                step();
                NewRecord::new("never")
            };
            let records = || {
                (0..4).map(|_| {
                    step();
                    Becomes(&becomes, &step)
                })
            };
            unchanged(&log, |log| {
                if panics_at < 2 {
                    let single = AssertUnwindSafe(|| log.append(Becomes(&becomes, &step)));
                    assert!(catch_unwind(single).is_err(), "{panics_at}");
                }
                calls.set(0);
                let batch = AssertUnwindSafe(|| log.append_batch(records()));
                assert!(catch_unwind(batch).is_err(), "{panics_at}");
                calls.set(0);
                let end = log.log_end_offset();
                let batch = AssertUnwindSafe(|| log.append_batch_at(end, records()));
                assert!(catch_unwind(batch).is_err(), "{panics_at}");
            });
            // Not from this thread alone.
            std::thread::scope(|scope| {
                scope.spawn(|| log.append_batch(["another", "thread"]).unwrap());
            });
            log.flush().unwrap();
        }
        assert!(!all_texts(&log).contains(&"never".to_owned()));
    }
}

/// I10: the caller's code may use the log it is appending to in every way.
#[test]
fn every_call_works_from_inside_an_iterator() {
    for mode in MODES {
        let dir = scratch();
        let log = ten(mode, dir.path());
        log.flush().unwrap();
        let range = log
            .append_batch((0..3).map(|n| {
                let end = log.append("inner").unwrap();
                log.append_at(end + 1, "inner at").unwrap();
                log.append_batch((0..2).map(|_| log.append("deep").map(|_| "deeper").unwrap()))
                    .unwrap();
                log.flush().unwrap();
                let mut consumer = log.consumer("c").unwrap();
                consumer.seek(OffsetSpec::Latest).unwrap();
                consumer.commit().unwrap();
                consumer.sync().unwrap();
                drop(consumer);
                assert!(log.delete_consumer("c").unwrap());
                assert!(log.wait_for(end, Visibility::Durable, Duration::ZERO).unwrap());
                log.delete_records(Offset::new(n)).unwrap();
                assert!(log.reader(OffsetSpec::Earliest).unwrap().all(|batch| batch.is_ok()));
                "outer"
            }))
            .unwrap();
        assert_eq!(range, Offset::new(28)..Offset::new(31));
        assert_eq!(log.log_start_offset().get(), 2);
    }
}

/// I10: a log closed by the caller's code in the middle of a batch: that batch is refused.
#[test]
fn a_close_from_inside_an_iterator_refuses_the_batch() {
    for mode in MODES {
        for records in 1..4 {
            let dir = scratch();
            let log = ten(mode, dir.path());
            let refused = log.append_batch((0..records).map(|n| {
                if n == records - 1 {
                    log.clone().close().unwrap();
                }
                "never"
            }));
            assert_eq!(kind(refused), ErrorKind::Closed);
            let log = manual(mode).open(dir.path()).unwrap();
            assert!(log.recovery().clean);
            assert_eq!(log.log_end_offset().get(), 10);
        }
    }
}

/// Offsets that are none, for every call that takes one.
#[test]
fn every_call_refuses_offsets_that_are_none() {
    let odd = [i64::MIN, i64::MIN + 1, -1_000_000, -2, -1];
    let beyond = [11, 12, 1 << 31, 1 << 32, i64::MAX - 1, i64::MAX];
    for mode in MODES {
        let dir = scratch();
        let log = ten(mode, dir.path());
        log.flush().unwrap();
        let mut reader = log.reader(at(4)).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(Offset::new(5)).unwrap();
        unchanged(&log, |log| {
            for offset in odd.into_iter().chain(beyond) {
                let gone = ErrorKind::OffsetOutOfRange;
                let to = Offset::new(offset);
                assert_eq!(kind(log.reader(at(offset))), gone, "{offset}");
                assert_eq!(kind(reader.seek(at(offset))), gone, "{offset}");
                assert_eq!(kind(consumer.seek(at(offset))), gone, "{offset}");
                assert_eq!(kind(consumer.commit_offset(to)), gone, "{offset}");
                let start = ConsumerOptions::new().start(at(offset));
                assert_eq!(kind(log.consumer_with("new", start)), gone, "{offset}");
                assert_eq!(kind(log.append_at(to, "never")), ErrorKind::Conflict, "{offset}");
                let none = log.append_batch_at(to, ["never"; 0]);
                assert_eq!(kind(none), ErrorKind::Conflict, "{offset}");
                let error = log.append_batch_at(to, ["never"; 2]).unwrap_err();
                assert_eq!(error.record_offset(), Some(log.log_end_offset()), "{error}");
                let waited = log.wait_for(to, Visibility::Written, Duration::ZERO);
                match offset < 0 {
                    true => assert_eq!(kind(waited), gone, "{offset}"),
                    false => assert!(!waited.unwrap(), "{offset}"),
                }
                match offset < 0 {
                    true => assert_eq!(log.delete_records(to).unwrap(), Offset::ZERO, "{offset}"),
                    false => assert_eq!(kind(log.delete_records(to)), gone, "{offset}"),
                }
            }
        });
        assert_eq!((reader.next_offset().get(), consumer.committed().get()), (4, 5));
        assert_eq!(consumer.position().get(), 0);
    }
}

/// Any time there is finds a place, in an empty log too.
#[test]
fn every_time_is_one_to_begin_at() {
    let times = [i64::MIN, i64::MIN + 1, -1, 0, 1, i64::MAX - 1, i64::MAX];
    let spec = |millis| OffsetSpec::Timestamp(Timestamp::from_millis(millis));
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).segment_bytes(4096).open(dir.path()).unwrap();
        for time in times {
            assert_eq!(log.reader(spec(time)).unwrap().next_offset(), Offset::ZERO);
        }
        // Falling, so that only the first one can be the first at or above itself.
        for time in times.into_iter().rev() {
            let record = NewRecord::new(vec![0; 900]);
            log.append(record.timestamp(Timestamp::from_millis(time))).unwrap();
        }
        for (n, time) in times.into_iter().enumerate() {
            let mut reader = log.reader(spec(time)).unwrap();
            assert_eq!(reader.next_offset(), Offset::ZERO, "{n}");
            reader.seek(spec(time)).unwrap();
            let mut consumer = log.consumer(&format!("c{n}")).unwrap();
            consumer.seek(spec(time)).unwrap();
            assert_eq!(consumer.position(), Offset::ZERO);
        }
        let top = NewRecord::new("top").timestamp(Timestamp::from_millis(i64::MIN));
        log.append(top).unwrap();
        assert_eq!(log.reader(spec(i64::MAX)).unwrap().next_offset(), Offset::ZERO);
        log.delete_records(Offset::new(1)).unwrap();
        assert_eq!(log.reader(spec(i64::MAX)).unwrap().next_offset(), log.log_end_offset());
        assert_eq!(log.reader(spec(i64::MIN)).unwrap().next_offset(), Offset::new(1));
    }
}

/// Waiting for ever is no number that overflows.
#[test]
fn the_longest_waits_end_when_there_is_something() {
    for mode in MODES {
        let dir = scratch();
        let log = ten(mode, dir.path());
        let wait = |log: &Log, dir: &Path| {
            assert!(dir.exists());
            assert!(log.wait_for(Offset::new(3), Visibility::Written, Duration::MAX).unwrap());
            let mut consumer = log.consumer("c").unwrap();
            consumer.seek(OffsetSpec::Latest).unwrap();
            consumer.poll(Duration::MAX).unwrap().map(|batch| batch.len())
        };
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| wait(&log, dir.path()));
            while !waiting.is_finished() {
                log.append("comes").unwrap();
                std::thread::yield_now();
            }
            assert_eq!(waiting.join().unwrap(), Some(1));
        });
    }
}

/// What an application may hold when it makes a mistake with a mode is still one error.
#[test]
fn a_mode_that_is_not_to_be_had_is_refused_by_name() {
    let error = manual(IoMode::Mapped).open("/proc/forebay").unwrap_err();
    assert!(error.path().is_some_and(|path| path.starts_with("/proc")), "{error}");
}
