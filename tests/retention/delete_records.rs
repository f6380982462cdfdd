//! Deleting from the front: what readers, consumers, crashes and other threads see of it (I1, I2,
//! I7, I9, I10).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use forebay::{
    ConsumerOptions, ErrorKind, FlushPolicy, IoMode, Log, Offset, OffsetSpec, RecordBatch,
    Visibility,
};

use crate::util::numbered::{bases, numbers, text};
use crate::util::{self, Ground, MODES, OpenIn, Place, all_texts, at, kind, manual, texts, ways};

/// A log of 4-KiB segments with `count` records of 300 bytes that begin with their number.
fn numbered(mode: IoMode, dir: &Place, count: usize) -> Log {
    let log = manual(mode).segment_bytes(4096).open_in(dir).unwrap();
    append(&log, count);
    log
}

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        log.append(text(log.log_end_offset().get())).unwrap();
    }
}

fn delete(log: &Log, before: i64) {
    assert_eq!(log.delete_records(Offset::new(before)).unwrap().get(), before);
    assert_eq!(log.log_start_offset().get(), before);
    assert!(log.durable_offset().get() >= before, "I1");
}

/// Exactly the segments that lie wholly below the start go, with their indexes, for a start at
/// every offset; what is left reads as before, now, after a close and after a kill.
#[test]
fn a_start_at_every_offset_leaves_the_segments_that_hold_something() {
    const RECORDS: i64 = 60;
    for (mode, ground) in ways() {
        for before in 0..=RECORDS {
            let dir = ground.place();
            let log = numbered(mode, &dir, usize::try_from(RECORDS).unwrap());
            let all = bases(&dir);
            delete(&log, before);
            let first = all.iter().rposition(|base| *base <= before).unwrap();
            assert_eq!(bases(&dir), all[first..]);
            let files: BTreeSet<_> = dir.names().into_iter().collect();
            assert_eq!(files.len(), 2 + 1 + (all.len() - first - 1) * 3, "{files:?}");
            let left: Vec<_> = (before..RECORDS).collect();
            assert_eq!(numbers(&all_texts(&log)), left);
            let killed = dir.killed();
            log.close().unwrap();
            for dir in [dir, killed] {
                let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
                assert_eq!(log.log_start_offset().get(), before);
                assert_eq!(log.log_end_offset().get(), RECORDS);
                assert!(log.durable_offset().get() >= before, "I1");
                assert_eq!(log.recovery().segments_deleted, 0);
                assert_eq!(numbers(&all_texts(&log)), left);
                assert_eq!(log.append(text(RECORDS)).unwrap().get(), RECORDS, "I2");
                if before > 0 {
                    assert_eq!(kind(log.reader(at(before - 1))), ErrorKind::OffsetOutOfRange);
                }
            }
        }
    }
}

/// Below the start: nothing. Above the end: refused with what is valid. Closed: closed.
#[test]
fn the_start_moves_neither_down_nor_beyond_the_end() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = util::ten_in(mode, &dir);
        for before in [i64::MIN, -1, 0] {
            assert_eq!(log.delete_records(Offset::new(before)).unwrap(), Offset::ZERO);
        }
        delete(&log, 4);
        for before in [4, 3, 0, -1, i64::MIN] {
            assert_eq!(log.delete_records(Offset::new(before)).unwrap().get(), 4);
        }
        for before in [11, i64::MAX] {
            let error = log.delete_records(Offset::new(before)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
            assert_eq!(error.valid_offsets(), Some(Offset::new(4)..Offset::new(10)));
            assert_eq!(error.record_offset(), Some(Offset::new(before)));
        }
        assert_eq!(log.log_start_offset().get(), 4);
        delete(&log, 10);
        assert!(log.reader(OffsetSpec::Earliest).unwrap().next().is_none());
        assert_eq!(log.append("10").unwrap().get(), 10);
        assert_eq!(all_texts(&log), ["10"]);
        let other = log.clone();
        log.close().unwrap();
        assert_eq!(kind(other.delete_records(Offset::ZERO)), ErrorKind::Closed);
        assert_eq!(kind(other.delete_records(Offset::new(99))), ErrorKind::Closed);
    }
}

/// A reader that was overtaken says so once, with what is valid, and goes on at the start: wherever
/// it stood, in the middle of a segment, of a batch, or before its first read.
#[test]
fn an_overtaken_reader_says_so_once_and_goes_on_at_the_start() {
    for (mode, ground) in ways() {
        for stands_at in 0..50 {
            let dir = ground.place();
            let log = numbered(mode, &dir, 60);
            let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
            for _ in 0..stands_at {
                reader.next().unwrap().unwrap();
            }
            delete(&log, 50);
            let error = reader.next().unwrap().unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
            assert_eq!(error.valid_offsets(), Some(Offset::new(50)..Offset::new(60)));
            assert_eq!(error.record_offset(), Some(Offset::new(stands_at)));
            assert_eq!(reader.next_offset().get(), 50);
            let rest: Vec<_> = reader.by_ref().flat_map(|batch| texts(&batch.unwrap())).collect();
            assert_eq!(numbers(&rest), (50..60).collect::<Vec<_>>());
            delete(&log, 60);
            assert!(reader.next().is_none(), "it stands at the end");
        }
    }
}

/// The start lies inside a batch: its records below it are not shown.
#[test]
fn a_start_inside_a_batch_hides_the_records_below_it() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        log.append_batch(["a", "b", "c", "d"]).unwrap();
        let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
        let held = reader.next().unwrap().unwrap();
        reader.seek(OffsetSpec::Earliest).unwrap();
        delete(&log, 2);
        assert_eq!(texts(&held), ["a", "b", "c", "d"], "what was read is the reader's");
        assert_eq!(kind(reader.next().unwrap()), ErrorKind::OffsetOutOfRange);
        assert_eq!(texts(&reader.next().unwrap().unwrap()), ["c", "d"]);
        assert_eq!(all_texts(&log), ["c", "d"]);
    }
}

/// A consumer goes on at the start and counts what it missed, written or durable, waiting or not,
/// open while it happens or not.
#[test]
fn an_overtaken_consumer_goes_on_at_the_start_and_counts_what_it_missed() {
    for (mode, ground) in ways() {
        for visibility in [Visibility::Written, Visibility::Durable] {
            let dir = ground.place();
            let log = numbered(mode, &dir, 60);
            log.flush().unwrap();
            let options = ConsumerOptions::new().visibility(visibility);
            let mut consumer = log.consumer_with("c", options.clone()).unwrap();
            for _ in 0..5 {
                consumer.poll(Duration::ZERO).unwrap().unwrap();
            }
            consumer.commit().unwrap();
            delete(&log, 20);
            assert_eq!(kind(consumer.commit()), ErrorKind::OffsetOutOfRange, "5 is below 20");
            assert_eq!(kind(consumer.commit_offset(Offset::new(19))), ErrorKind::OffsetOutOfRange);
            let batch = consumer.poll(Duration::from_secs(60)).unwrap().unwrap();
            assert_eq!((batch.base_offset().get(), consumer.missed()), (20, 15));
            consumer.commit().unwrap();
            assert_eq!(consumer.committed().get(), 21);
            delete(&log, 60);
            assert!(consumer.poll(Duration::ZERO).unwrap().is_none());
            assert_eq!((consumer.missed(), consumer.position().get()), (15 + 39, 60));
            append(&log, 3);
            log.flush().unwrap();
            let batch = consumer.poll(Duration::from_secs(60)).unwrap().unwrap();
            assert_eq!((batch.base_offset().get(), consumer.missed()), (60, 54));
            drop(consumer);
            delete(&log, 62);
            let mut consumer = log.consumer_with("c", options).unwrap();
            assert_eq!(consumer.committed().get(), 21, "it never committed again");
            assert_eq!((consumer.position().get(), consumer.missed()), (62, 41));
            let batch = consumer.poll(Duration::ZERO).unwrap().unwrap();
            assert_eq!(batch.base_offset().get(), 62);
        }
    }
}

/// A durable consumer that holds a batch back until it is durable shows what is left of it once a
/// deletion into it has made it durable, and nothing of one that is deleted whole.
#[test]
fn a_batch_held_back_until_it_is_durable_is_shown_as_far_as_it_is_left() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        log.append("durable").unwrap();
        log.flush().unwrap();
        log.append_batch(["a", "b", "c"]).unwrap();
        let mut consumer = log.consumer_with("c", util::durable()).unwrap();
        assert_eq!(util::poll_text(&mut consumer).unwrap(), ["durable"]);
        assert_eq!(util::poll_text(&mut consumer), None, "it is not durable");
        delete(&log, 2);
        assert_eq!(log.durable_offset().get(), 4, "no batch is durable in part");
        assert_eq!(util::poll_text(&mut consumer).unwrap(), ["b", "c"]);
        assert_eq!((consumer.position().get(), consumer.missed()), (4, 1));
        log.append_batch(["d", "e"]).unwrap();
        assert_eq!(util::poll_text(&mut consumer), None);
        delete(&log, 6);
        assert_eq!(util::poll_text(&mut consumer), None);
        assert_eq!((consumer.position().get(), consumer.missed()), (6, 3));
        log.append("f").unwrap();
        log.flush().unwrap();
        assert_eq!(util::poll_text(&mut consumer).unwrap(), ["f"]);
    }
}

/// I9: batches of deleted segments stay valid, whatever else is dropped; and nothing but them keeps
/// a deleted file: no descriptor and no map of the log itself.
#[test]
#[cfg(target_os = "linux")]
fn held_batches_stay_valid_and_nothing_else_keeps_deleted_files() {
    for mode in MODES {
        let dir = Ground::System.place();
        // Unsynced segments, open ones, one that a reader stands in.
        let log = numbered(mode, &dir, 300);
        let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
        let held: Vec<RecordBatch> = reader.by_ref().take(120).map(Result::unwrap).collect();
        let after: Vec<_> = log.reader(at(200)).unwrap().map(Result::unwrap).collect();
        delete(&log, 290);
        assert_eq!(reader.by_ref().count(), 1 + 10, "the error and the rest");
        let check = |batches: &[RecordBatch], first: i64| {
            for (n, batch) in (first..).zip(batches) {
                assert_eq!(texts(batch), [text(n)]);
            }
        };
        check(&held, 0);
        check(&after, 200);
        if mode == IoMode::Mapped {
            assert!(deleted_files(dir.path()) > 0, "the batches are what keeps them");
        }
        drop(after);
        let last = held.last().unwrap().clone();
        drop(held);
        drop(reader);
        check(std::slice::from_ref(&last), 119);
        drop(last);
        assert_eq!(deleted_files(dir.path()), 0, "in {mode:?}");
        append(&log, 100);
        log.flush().unwrap();
        delete(&log, 390);
        assert_eq!(deleted_files(dir.path()), 0, "in {mode:?}");
        drop(log);
        let last = numbered(mode, &dir, 0);
        assert_eq!(numbers(&all_texts(&last)), (390..400).collect::<Vec<_>>());
    }
}

/// Descriptors and maps of this process that lead to deleted files of this directory.
#[cfg(target_os = "linux")]
fn deleted_files(dir: &Path) -> usize {
    let dir = fs::canonicalize(dir).unwrap();
    let of_dir = |line: &str| line.contains(dir.to_str().unwrap()) && line.ends_with("(deleted)");
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| {
        let link = fs::read_link(entry.ok()?.path()).ok()?;
        Some(link.to_string_lossy().into_owned())
    });
    maps.lines().filter(|line| of_dir(line)).count() + links.filter(|link| of_dir(link)).count()
}

/// A crash may leave, or bring back, any subset of the files below the start: the next open removes
/// them, says so, and reads the same; once more opened there is nothing to do (I12, I20).
#[test]
fn whatever_files_a_crash_brings_back_go_at_the_next_open() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = numbered(mode, &dir, 60);
        log.flush().unwrap();
        let all = bases(&dir);
        assert!(all.len() >= 5, "{all:?}");
        let before = dir.files();
        delete(&log, all[3] + 1);
        let after = dir.killed();
        drop(log);
        let gone: Vec<_> = all[..3]
            .iter()
            .flat_map(|base| ["log", "index", "timeindex"].map(|part| format!("{base:020}.{part}")))
            .collect();
        for kept in 0..1_u32 << gone.len() {
            let crashed = after.killed();
            let back = (0..gone.len()).filter(|n| kept >> n & 1 == 1).map(|n| &gone[n]);
            for (name, bytes) in before.iter().filter(|(name, _)| back.clone().any(|b| b == name)) {
                crashed.write(name, bytes);
            }
            let logs = back.filter(|name| name.ends_with(".log")).count() as u64;
            for expected in [logs, 0] {
                let log = manual(mode).segment_bytes(4096).open_in(&crashed).unwrap();
                let report = log.recovery();
                assert_eq!(report.segments_deleted, expected, "{kept:b}");
                assert_eq!((report.damaged_ranges, report.lost.clone()), (0, None), "{kept:b}");
                assert_eq!((report.segments_set_aside, report.records_cut), (0, 0), "{kept:b}");
                assert_eq!(log.log_start_offset().get(), all[3] + 1);
                assert_eq!(numbers(&all_texts(&log)), (all[3] + 1..60).collect::<Vec<_>>());
                assert!(crashed.names().iter().all(|name| !gone.contains(name)), "{kept:b}");
                drop(log);
            }
        }
    }
}

/// I2: a power cut took records below the start that were never flushed: the log continues at the
/// start, nothing is called lost or damaged, and no deleted offset is assigned again. The end is
/// cut at every batch, with zeros behind it, with garbage, and with the whole file gone.
#[test]
fn an_end_that_a_power_cut_brought_below_the_start_continues_at_the_start() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = numbered(mode, &dir, 30);
        let name = dir.segments().pop().unwrap();
        let batches = dir.batches_of(&name);
        assert!(batches.len() > 3, "the last segment holds some");
        delete(&log, 30);
        let after = dir.killed();
        drop(log);
        let whole = after.read(&name);
        for (_, places) in &batches {
            for behind in 0..4 {
                let crashed = after.killed();
                let mut bytes = whole.clone();
                match behind {
                    0 => bytes[places.start..].fill(0),
                    1 => bytes[places.start..].fill(0xa5),
                    2 => bytes.truncate(places.start),
                    _ => bytes[places.start + 30] ^= 1,
                }
                crashed.write(&name, bytes);
                check_continues(mode, &crashed, &format!("{places:?} {behind}"));
            }
        }
        let crashed = after.killed();
        crashed.remove(&name);
        check_continues(mode, &crashed, "no segment");
    }
}

fn check_continues(mode: IoMode, dir: &Place, what: &str) {
    for round in 0..3 {
        let log = manual(mode).segment_bytes(4096).open_in(dir).unwrap();
        let report = log.recovery();
        assert_eq!((report.damaged_ranges, report.lost.clone()), (0, None), "{what}");
        assert_eq!(log.log_start_offset().get(), 30, "{what}");
        assert_eq!(log.log_end_offset().get(), 30 + round, "{what}");
        assert_eq!(numbers(&all_texts(&log)), (30..30 + round).collect::<Vec<_>>(), "{what}");
        append(&log, 1);
        log.flush().unwrap();
        assert_eq!(numbers(&all_texts(&log)), (30..=30 + round).collect::<Vec<_>>(), "{what}");
        if round == 1 {
            // Kill instead of close.
            let killed = dir.killed();
            let again = manual(mode).segment_bytes(4096).open_in(&killed).unwrap();
            assert_eq!(again.log_end_offset().get(), 31 + round, "{what}");
        }
    }
}

/// I10: threads append (and roll), flush, read, consume and delete at once; nobody hangs, sees a
/// wrong record, or an error other than having been overtaken.
#[test]
fn threads_that_delete_while_others_append_flush_and_read_see_one_history() {
    for mode in MODES {
        for policy in [FlushPolicy::EveryAppend, FlushPolicy::EveryBytes(3000)] {
            let dir = Ground::System.place();
            let log = manual(mode).segment_bytes(4096).flush(policy).open_in(&dir).unwrap();
            let done = AtomicBool::new(false);
            thread::scope(|scope| {
                let appenders: Vec<_> = (0..2)
                    .map(|_| {
                        scope.spawn(|| {
                            for _ in 0..1500 {
                                // Two threads: each number is that of a winner.
                                while let Err(error) = {
                                    let end = log.log_end_offset();
                                    log.append_at(end, text(end.get()))
                                } {
                                    assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
                                }
                            }
                        })
                    })
                    .collect();
                for keep in [0, 3, 200] {
                    let (log, done) = (&log, &done);
                    scope.spawn(move || {
                        while !done.load(Ordering::Relaxed) {
                            let before = Offset::new(log.log_end_offset().get() - keep);
                            let start = log.delete_records(before).unwrap();
                            assert!(start >= before && start <= log.log_start_offset());
                        }
                    });
                }
                for _ in 0..2 {
                    scope.spawn(|| read_along(&log, &done));
                }
                scope.spawn(|| consume_along(&log, &done));
                appenders.into_iter().for_each(|appender| appender.join().unwrap());
                done.store(true, Ordering::Relaxed);
            });
            let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
            assert_eq!(end, 3000);
            assert_eq!(numbers(&all_texts(&log)), (start..end).collect::<Vec<_>>());
            log.close().unwrap();
            let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
            assert_eq!(numbers(&all_texts(&log)), (start..end).collect::<Vec<_>>());
            assert!(bases(&dir).len() <= 2 + usize::try_from(end - start).unwrap() / 10);
        }
    }
}

fn read_along(log: &Log, done: &AtomicBool) {
    let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
    let mut held: Vec<(i64, RecordBatch)> = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let from = reader.next_offset();
        match reader.next() {
            None => thread::yield_now(),
            Some(Ok(batch)) => {
                assert_eq!(batch.base_offset(), from);
                assert_eq!(texts(&batch), [text(from.get())]);
                if held.len() < 300 {
                    held.push((from.get(), batch));
                }
            }
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}");
                assert_eq!(error.record_offset(), Some(from));
                assert!(reader.next_offset() > from, "{error}");
            }
        }
    }
    for (number, batch) in held {
        assert_eq!(texts(&batch), [text(number)], "I9");
    }
}

fn consume_along(log: &Log, done: &AtomicBool) {
    let mut consumer = log.consumer_with("along", util::durable()).unwrap();
    let first = u64::try_from(consumer.position().get()).unwrap() - consumer.missed();
    let (mut seen, mut committed) = (0, 0);
    while !done.load(Ordering::Relaxed) {
        if let Some(batch) = consumer.poll(Duration::from_millis(1)).unwrap() {
            assert_eq!(texts(&batch), [text(batch.base_offset().get())]);
            seen += 1;
        }
        let all = u64::try_from(consumer.position().get()).unwrap();
        assert_eq!(first + seen + consumer.missed(), all, "every offset was seen or missed");
        match consumer.commit() {
            Ok(()) => committed += 1,
            Err(error) => assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange, "{error}"),
        }
    }
    assert!(committed > 0);
}
