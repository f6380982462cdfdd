//! Appending only at an expected end: one winner for each offset, and losers change nothing
//! (I2, I14).

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::thread;

use forebay::{ErrorKind, FlushPolicy, Log, NewRecord, Offset, OffsetSpec};
use proptest::prelude::*;

use crate::util::{self, MODES, OpenIn, all_texts, at, kind, manual, scratch, texts, ways};

const THREADS: usize = 8;

/// I2: all threads aim at the same offset, round by round; exactly one gets it, whatever the flush
/// policy and across rolls, and every loser is told an end above it.
#[test]
fn of_many_threads_exactly_one_wins_each_offset() {
    const ROUNDS: usize = 400;
    for mode in MODES {
        for policy in [FlushPolicy::Manual, FlushPolicy::EveryAppend] {
            let dir = scratch();
            let log = manual(mode).segment_bytes(8192).flush(policy).open(dir.path()).unwrap();
            let barrier = Barrier::new(THREADS);
            let wins = |thread: usize| -> Vec<(i64, String)> {
                let mut won = Vec::new();
                for round in 0..ROUNDS {
                    let expected = Offset::new(i64::try_from(round).unwrap());
                    let text = format!("{thread}:{round}:{}", "x".repeat(100));
                    barrier.wait();
                    match log.append_at(expected, text.as_str()) {
                        Ok(offset) => {
                            assert_eq!(offset, expected);
                            won.push((offset.get(), text));
                        }
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                            // The barrier keeps the others in this round.
                            assert_eq!(error.record_offset(), Some(expected + 1), "{error}");
                        }
                    }
                }
                won
            };
            let won: Vec<_> = thread::scope(|scope| {
                let wins = &wins;
                let threads = (0..THREADS).map(|thread| scope.spawn(move || wins(thread)));
                let threads: Vec<_> = threads.collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
            });
            let by_offset: BTreeMap<_, _> = won.iter().cloned().collect();
            assert_eq!((won.len(), by_offset.len()), (ROUNDS, ROUNDS), "one winner each");
            assert_eq!(all_texts(&log), by_offset.into_values().collect::<Vec<_>>());
            assert!(util::segments(dir.path()).len() > 2, "it rolled");
        }
    }
}

/// I2, I14: threads that count by reading the last record and appending its successor, with single
/// records and batches, beside one that appends without asking: nobody counts on what they have
/// not read.
#[test]
fn a_counter_kept_by_retries_loses_no_step() {
    const STEPS: usize = 150;
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).segment_bytes(4096).open(dir.path()).unwrap();
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let log = log.clone();
                scope.spawn(move || {
                    let (mut reader, mut count) = (log.reader(OffsetSpec::Earliest).unwrap(), 0);
                    for step in 0..STEPS {
                        loop {
                            for batch in reader.by_ref() {
                                let counted = texts(&batch.unwrap());
                                count += counted.iter().filter(|text| *text != "noise").count();
                            }
                            let end = reader.next_offset();
                            let texts = [format!("{count}"), format!("{}", count + 1)];
                            let (appended, more) = match (thread + step) % 2 {
                                0 => (log.append_at(end, &texts[0]).map(|at| at..at + 1), 1),
                                _ => (log.append_batch_at(end, &texts), 2),
                            };
                            match appended {
                                Ok(range) => {
                                    assert_eq!(range, end..end + more);
                                    break;
                                }
                                Err(error) => {
                                    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                                    assert!(error.record_offset().unwrap() > end, "{error}");
                                }
                            }
                        }
                    }
                });
            }
            for _ in 0..200 {
                log.append("noise").unwrap();
                thread::yield_now();
            }
        });
        let mut counted = all_texts(&log);
        counted.retain(|text| text != "noise");
        let expected: Vec<_> = (0..THREADS * STEPS * 3 / 2).map(|n| n.to_string()).collect();
        assert_eq!(counted, expected);
    }
}

/// A refused append leaves every file as it was: a closed log's clean mark stays too.
#[test]
fn a_conflict_changes_no_byte_and_keeps_the_clean_mark() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        util::ten_in(mode, &dir).close().unwrap();
        let log = manual(mode).open_in(&dir).unwrap();
        let before = dir.files();
        for expected in [0, 9, 11, i64::MAX, -1, i64::MIN].map(Offset::new) {
            let error = log.append_at(expected, "x").unwrap_err();
            assert_eq!(error.record_offset(), Some(Offset::new(10)), "{error}");
            assert!(error.to_string().contains(&expected.to_string()), "{error}");
            assert_eq!(kind(log.append_at(expected, "x")), ErrorKind::Conflict);
            assert_eq!(kind(log.append_batch_at(expected, ["x", "y"])), ErrorKind::Conflict);
            assert_eq!(kind(log.append_batch_at::<&str>(expected, [])), ErrorKind::Conflict);
        }
        assert_eq!(log.append_batch_at::<&str>(Offset::new(10), []).unwrap().start.get(), 10);
        assert_eq!(log.log_end_offset().get(), 10);
        assert!(dir.files() == before, "a refused append wrote something");
        let copy = dir.killed();
        drop(log);
        let log = manual(mode).open_in(&copy).unwrap();
        assert!(log.recovery().clean, "the clean mark is still there");
        assert_eq!(log.append_at(Offset::new(10), "x").unwrap().get(), 10);
    }
}

/// What is wrong for another reason says that reason.
#[test]
fn other_refusals_come_as_from_append() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
        let end = log.log_end_offset();
        assert_eq!(kind(log.append_at(end, vec![0; 5000])), ErrorKind::RecordTooLarge);
        let two = [vec![0; 3000], vec![0; 3000]];
        assert_eq!(kind(log.append_batch_at(end, &two)), ErrorKind::RecordTooLarge);
        let keyed = NewRecord::new("value").key("key").header("h", "v");
        assert_eq!(log.append_at(end, keyed).unwrap(), end);
        let other = log.clone();
        other.close().unwrap();
        for expected in [end, end + 1] {
            assert_eq!(kind(log.append_at(expected, "x")), ErrorKind::Closed);
            assert_eq!(kind(log.append_batch_at(expected, ["x"])), ErrorKind::Closed);
            assert_eq!(kind(log.append_batch_at::<&str>(expected, [])), ErrorKind::Closed);
        }
        let mirror = ground.place();
        let options = manual(mode).mirror_of(log.id());
        let mirror = options.open_in(&mirror).unwrap();
        assert_eq!(kind(mirror.append_at(Offset::ZERO, "x")), ErrorKind::InvalidArgument);
    }
}

/// From inside the iterator of another append the end moves: that append finds a conflict.
#[test]
fn an_append_from_inside_the_records_of_another_makes_it_a_conflict() {
    let dir = scratch();
    let log = manual(MODES[0]).open(dir.path()).unwrap();
    let records = ["a", "b"].map(|text| {
        log.append(format!("inside {text}")).unwrap();
        text
    });
    assert_eq!(log.append_batch_at(Offset::new(2), records).unwrap().end.get(), 4);
    let nested = (0..2).map(|n| {
        log.append(format!("nested {n}")).unwrap();
        "never"
    });
    let error = log.append_batch_at(Offset::new(4), nested).unwrap_err();
    assert_eq!((error.kind(), error.record_offset()), (ErrorKind::Conflict, Some(Offset::new(6))));
    assert_eq!(all_texts(&log)[4..], ["nested 0", "nested 1"]);
}

fn end_of(log: &Log) -> i64 {
    log.log_end_offset().get()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 200,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Any expectation against a `Vec`: it is appended if and only if it is the end.
    #[test]
    fn what_is_expected_is_appended_and_nothing_else(
        steps in proptest::collection::vec((-3_i64..4, 0_usize..4, any::<bool>()), 1..60),
    ) {
        for (mode, ground) in ways() {
            let dir = ground.place();
            let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
            let mut model: Vec<String> = Vec::new();
            for (n, (delta, count, single)) in steps.iter().enumerate() {
                let (end, count) = (end_of(&log), if *single { 1 } else { *count });
                let expected = Offset::new(end + delta);
                let values: Vec<_> = (0..count).map(|k| format!("{n}.{k} {:0500}", 0)).collect();
                let appended = match single {
                    true => log.append_at(expected, &values[0]).map(|at| at..at + 1),
                    false => log.append_batch_at(expected, &values),
                };
                if *delta == 0 {
                    let range = appended.unwrap();
                    prop_assert_eq!(range.start.get(), end);
                    prop_assert_eq!(range.end.get(), end + i64::try_from(count).unwrap());
                    model.extend(values);
                } else {
                    prop_assert_eq!(kind(appended), ErrorKind::Conflict);
                }
                prop_assert_eq!(end_of(&log), i64::try_from(model.len()).unwrap());
            }
            prop_assert_eq!(&all_texts(&log), &model);
            log.close().unwrap();
            let log = manual(mode).open_in(&dir).unwrap();
            prop_assert_eq!(&all_texts(&log), &model);
            prop_assert!(log.reader(at(end_of(&log))).is_ok());
        }
    }
}
