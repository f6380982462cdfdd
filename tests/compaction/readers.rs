//! I9: who reads a segment when it is replaced reads on; batches stay valid; nobody sees less.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use forebay::{Cleanup, Log, NewRecord, Offset, OffsetSpec};

use crate::history::{History, Table, small, table};
use crate::util::{Ground, MODES, OpenIn, Owned, at, records, ways};

/// From every place of the log: what a reader reads behind a compaction it did not see coming, it
/// makes the same table of as before, and skips nothing that is there.
#[test]
fn a_reader_midway_goes_on_in_what_took_its_place() {
    for (mode, ground) in ways() {
        for (keys, step) in [(5, 11), (60, 13), (400, 17)] {
            let place = ground.place();
            let log = small(mode).open_in(&place).unwrap();
            let mut history = History::default();
            history.fill(&log, 400, keys);
            let mut readers: Vec<_> = (0..400)
                .step_by(step)
                .map(|from| {
                    let mut reader = log.reader(at(from)).unwrap();
                    let held = (from % 3 != 0).then(|| reader.next().unwrap().unwrap());
                    (from, reader, held)
                })
                .collect();
            for round in 0..2 {
                let below = log.compact().unwrap().cleaned_offset.get();
                let left = history.check_compacted(&log, below, "compacted");
                for (from, reader, held) in &mut readers {
                    let what = format!("{keys} keys, from {from}, round {round}");
                    if let Some(held) = held {
                        let truth = &history.records[held.base_offset().get() as usize];
                        assert_eq!(records(held), std::slice::from_ref(truth), "{what}");
                    }
                    let begin = reader.next_offset().get();
                    // Half of them read on, a little or all.
                    let most = [0, 3, usize::MAX][*from as usize % 3];
                    let seen: Vec<Owned> = reader
                        .by_ref()
                        .take(most)
                        .flat_map(|batch| records(&batch.unwrap()))
                        .collect();
                    let end = reader.next_offset().get();
                    let due = left.iter().filter(|r| r.offset >= begin && r.offset < end);
                    for due in due {
                        assert!(seen.contains(due), "{what}: {} is there", due.offset);
                    }
                    let truth = |r: &Owned| history.records[r.offset as usize] == *r;
                    assert!(seen.iter().all(truth), "{what}");
                    assert!(seen.is_sorted_by(|a, b| a.offset < b.offset), "{what}");
                }
                history.fill(&log, 60, keys);
            }
            for (from, mut reader, _) in readers {
                for batch in reader.by_ref() {
                    batch.unwrap();
                }
                assert_eq!(reader.next_offset().get(), history.end(), "from {from}");
            }
        }
    }
}

/// Files that were replaced keep their space as long as somebody has them, and are shown.
#[test]
fn replaced_files_are_counted_until_they_are_let_go() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = small(mode).open_in(&place).unwrap();
        let mut history = History::default();
        history.fill(&log, 300, 4);
        let held: Vec<_> = (0..200)
            .step_by(40)
            .map(|from| {
                let mut reader = log.reader(at(from)).unwrap();
                let batch = reader.next().unwrap().unwrap();
                (reader, batch)
            })
            .collect();
        log.compact().unwrap();
        let stats = log.stats();
        assert!(stats.deleted_held_bytes > 12_000, "{}", stats.deleted_held_bytes);
        drop(held);
        assert_eq!(log.stats().deleted_held_bytes, 0);
    }
}

/// Threads append, compact, read from the start and consume at once: each reader makes a table
/// that held at some moment while it read, and nobody meets an error.
#[test]
fn appends_compactions_and_readers_at_once_see_one_history() {
    for mode in MODES {
        let place = Ground::System.place();
        let log = small(mode).segment_bytes(8192).min_cleanable_dirty_percent(30);
        let log = log.open_in(&place).unwrap();
        let done = AtomicBool::new(false);
        let (writers, keys, rounds) = (3_u64, 20_u64, 1500_u64);
        thread::scope(|scope| {
            let appenders: Vec<_> = (0..writers)
                .map(|writer| {
                    let log = &log;
                    scope.spawn(move || {
                        for round in 0..rounds {
                            let key = format!("{writer} {}", round % keys);
                            let value = format!("{round:08} {}", "x".repeat(60));
                            log.append(NewRecord::new(value.as_str()).key(key.as_bytes())).unwrap();
                        }
                    })
                })
                .collect();
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    log.compact().unwrap();
                }
            });
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    assert!(log.verify().unwrap().is_whole());
                }
            });
            scope.spawn(|| {
                let mut consumer = log.consumer("c").unwrap();
                let mut seen = Table::new();
                while !done.load(Ordering::Relaxed) || consumer.position() < log.log_end_offset() {
                    let Some(batch) = consumer.poll(Duration::from_millis(1)).unwrap() else {
                        continue;
                    };
                    for record in records(&batch) {
                        let (key, value) = (record.key.unwrap(), record.value.unwrap());
                        let before = seen.insert(key, value.clone());
                        assert!(before.is_none_or(|before| before < value), "in order");
                    }
                }
                assert_eq!(consumer.missed(), 0);
                assert_eq!(seen, last_of(writers, keys, rounds));
            });
            for _ in 0..2 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        // What a reader that begins now has to find at least.
                        let low = read(&log);
                        let seen = read(&log);
                        for (key, value) in low {
                            assert!(seen.get(&key).is_some_and(|seen| *seen >= value));
                        }
                    }
                });
            }
            appenders.into_iter().for_each(|appender| appender.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        log.compact().unwrap();
        assert_eq!(read(&log), last_of(writers, keys, rounds));
        assert_eq!(log.log_end_offset(), Offset::new((writers * rounds).cast_signed()));
        assert!(log.verify().unwrap().is_whole());
    }
}

fn read(log: &Log) -> Table {
    let reader = log.reader(OffsetSpec::Earliest).unwrap();
    table(&reader.flat_map(|batch| records(&batch.unwrap())).collect::<Vec<_>>())
}

fn last_of(writers: u64, keys: u64, rounds: u64) -> Table {
    let mut table = Table::new();
    for writer in 0..writers {
        for round in rounds - keys..rounds {
            let key = format!("{writer} {}", round % keys).into_bytes();
            table.insert(key, format!("{round:08} {}", "x".repeat(60)).into_bytes());
        }
    }
    table
}

/// Retention, thinning and deletion at the same time take what they take, and nothing else goes.
#[test]
fn deletion_and_compaction_at_once_leave_what_neither_takes() {
    for mode in MODES {
        let place = Ground::System.place();
        let options = small(mode).cleanup(Cleanup::Both).retention_records(400);
        let log = options.min_cleanable_dirty_percent(20).open_in(&place).unwrap();
        let done = AtomicBool::new(false);
        let mut history = History::default();
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    log.compact().unwrap();
                }
            });
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let half = log.log_start_offset() + 50;
                    log.delete_records(half.min(log.log_end_offset())).unwrap();
                    log.apply_retention().unwrap();
                    thread::sleep(Duration::from_millis(2));
                }
            });
            history.fill(&log, 3000, 300);
            done.store(true, Ordering::Relaxed);
        });
        let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
        let found = crate::util::read_all(&log);
        let due = table(&history.records[start as usize..end as usize]);
        assert_eq!(table(&found), due);
        assert!(log.verify().unwrap().is_whole());
    }
}
