//! Finding records by their time: always what a scan of the whole log finds, whatever the times,
//! whatever became of the indexes (I5), with records deleted, kept by Kafka, or being appended.

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use forebay::{
    ConsumerOptions, ErrorKind, IoMode, Log, LogOptions, NewRecord, Offset, OffsetSpec, Timestamp,
    Visibility,
};
use proptest::prelude::*;

use crate::util::{
    self, Ground, MODES, OpenIn, Place, at, grounds, kind, manual, read_all, scratch, ways,
};

fn spec(millis: i64) -> OffsetSpec {
    OffsetSpec::Timestamp(Timestamp::from_millis(millis))
}

fn small(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(8192).index_interval_bytes(500)
}

/// Appends batches of these times.
fn append(log: &Log, batches: &[Vec<i64>]) {
    for times in batches {
        let record =
            |time: &i64| NewRecord::new(vec![b'v'; 40]).timestamp(Timestamp::from_millis(*time));
        log.append_batch(times.iter().map(record)).unwrap();
    }
}

/// What a scan of everything finds.
fn scanned(times: &[i64], start: usize, target: i64) -> i64 {
    let found = (start..times.len()).find(|n| times[*n] >= target);
    i64::try_from(found.unwrap_or(times.len())).unwrap()
}

fn found(log: &Log, target: i64) -> i64 {
    log.reader(spec(target)).unwrap().next_offset().get()
}

/// Compares for every time in the log, those beside it, and the extremes.
fn check(log: &Log, times: &[i64], start: usize, what: &str) {
    let mut targets: Vec<i64> = times.iter().flat_map(|t| [t.saturating_sub(1), *t]).collect();
    targets.extend(times.iter().max().map(|t| t.saturating_add(1)));
    targets.extend([i64::MIN, -2, -1, 0, 1, i64::MAX]);
    targets.sort_unstable();
    targets.dedup();
    for target in targets {
        assert_eq!(found(log, target), scanned(times, start, target), "of {target}, {what}");
    }
}

fn any_times() -> impl Strategy<Value = Vec<Vec<i64>>> {
    let time = prop_oneof![
        6 => 1_790_000_000_000_i64..1_790_000_002_000,
        2 => -50_i64..50,
        1 => any::<i64>(),
        1 => prop_oneof![Just(i64::MIN), Just(-1), Just(0), Just(i64::MAX)],
    ];
    let jumbled = proptest::collection::vec(proptest::collection::vec(time, 1..4), 1..250);
    let rising = (0_i64..3, proptest::collection::vec((1_usize..4, -2_i64..9), 1..250));
    let rising = rising.prop_map(|(scale, steps)| {
        let mut now = 1_790_000_000_000;
        let batches = steps.into_iter().map(|(count, step)| {
            now += step * scale;
            (0..count).map(|n| now + i64::try_from(n).unwrap() % 2).collect()
        });
        batches.collect()
    });
    prop_oneof![jumbled, rising]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 40,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Jumbled, rising and standing times, before 1970 and at both ends of the numbers: the log
    /// just written, with a moved start, opened again, and without its indexes.
    #[test]
    fn every_time_is_found_where_a_scan_finds_it(
        batches in any_times(),
        delete in 0_usize..1000,
    ) {
        let times: Vec<i64> = batches.iter().flatten().copied().collect();
        let start = delete % (times.len() + 1);
        // On a simulated disk one mode or the other: each takes seconds.
        let turn = MODES[start % 2];
        for (mode, ground) in ways().filter(|w| w.1 == Ground::System || w.0 == turn) {
            let dir = ground.place();
            let log = small(mode).open_in(&dir).unwrap();
            append(&log, &batches);
            check(&log, &times, 0, "written");
            log.delete_records(Offset::new(i64::try_from(start).unwrap())).unwrap();
            check(&log, &times, start, "deleted");
            let killed = dir.killed();
            log.close().unwrap();
            for index in [true, false] {
                for dir in [&dir, &killed] {
                    let log = small(mode).open_in(dir).unwrap();
                    check(&log, &times, start, "opened again");
                    log.close().unwrap();
                    indexes(dir).iter().filter(|_| index).for_each(|name| dir.remove(name));
                }
            }
        }
    }
}

fn indexes(dir: &Place) -> Vec<String> {
    let mut names = dir.names();
    names.retain(|name| name.ends_with("index"));
    names
}

/// Times that wander up, each of its own, in six closed segments.
fn wandering(dir: &Place) -> Vec<i64> {
    let log = small(MODES[0]).open_in(dir).unwrap();
    let time = |n: i64| 1_000_000 + n * 10 + (n * 7919) % 193;
    let times: Vec<i64> = (0..480).map(time).collect();
    append(&log, &times.chunks(2).map(<[i64]>::to_vec).collect::<Vec<_>>());
    log.close().unwrap();
    assert!(dir.segments().len() >= 5);
    times
}

/// I5: every third bit, and so every byte, of every index is flipped, in both modes; fewer on a
/// simulated disk.
#[test]
fn a_flipped_bit_of_a_time_index_changes_no_answer() {
    for ground in grounds() {
        let whole = ground.place();
        let times = wandering(&whole);
        let targets: Vec<i64> = times.iter().step_by(61).copied().collect();
        for name in indexes(&whole) {
            let bytes = whole.read(&name);
            let copy = whole.killed();
            let step = if ground == Ground::System { 3 } else { 13 };
            for bit in (0..bytes.len() * 8).step_by(step) {
                let mut flipped = bytes.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                copy.write(&name, flipped);
                let log = small(MODES[bit % 2]).open_in(&copy).unwrap();
                for &target in &targets {
                    let expected = scanned(&times, 0, target);
                    assert_eq!(found(&log, target), expected, "bit {bit} of {name}, {target}");
                }
            }
        }
    }
}

/// I5: time indexes that are empty, cut inside an entry, zero, garbage, another segment's, a
/// directory.
#[test]
fn a_damaged_or_foreign_time_index_changes_no_answer() {
    for ground in grounds() {
        damage_indexes(ground);
    }
}

fn damage_indexes(ground: Ground) {
    let whole = ground.place();
    let times = wandering(&whole);
    let files = indexes(&whole);
    let other = whole.read(files.iter().find(|name| name.ends_with(".timeindex")).unwrap());
    for name in &files {
        let bytes = whole.read(name);
        let mut damaged: Vec<Option<Vec<u8>>> = vec![
            Some(vec![]),
            Some(vec![0; bytes.len()]),
            Some(vec![0xff; bytes.len()]),
            Some(bytes.iter().map(|byte| byte ^ 0x5a).collect()),
            Some(other.clone()),
            Some([bytes.clone(), bytes.clone()].concat()),
            None,
        ];
        let cuts = (1..bytes.len()).filter(|cut| cut % 12 != 0 && cut % 8 != 0).step_by(5);
        damaged.extend(cuts.map(|cut| Some(bytes[..cut].to_vec())));
        for (n, content) in damaged.into_iter().enumerate() {
            let copy = whole.killed();
            copy.remove(name);
            match content {
                Some(content) => copy.write(name, content),
                // A directory of that name.
                None => copy.write(&format!("{name}/file"), b""),
            }
            let log = small(MODES[n % 2]).open_in(&copy).unwrap();
            for target in times.iter().step_by(7).copied() {
                assert_eq!(found(&log, target), scanned(&times, 0, target), "{name} {n}");
            }
        }
    }
}

/// I5: a power cut leaves the front of an unsynced file, cut at a page. Where that is whole
/// entries, the rest of them is missed all the same, though the segment's last times are low.
#[test]
fn a_time_index_cut_at_a_page_is_made_anew() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let options = || manual(mode).segment_bytes(4 << 20).index_interval_bytes(500);
        let log = options().open_in(&dir).unwrap();
        for n in 0..5000 {
            let time = if n < 3000 { 1000 + n } else { 7 };
            let value = vec![b'v'; 900];
            log.append(NewRecord::new(value).timestamp(Timestamp::from_millis(time))).unwrap();
        }
        log.close().unwrap();
        let name = "00000000000000000000.timeindex";
        let whole = dir.read(name);
        assert!(whole.len() > 2 * 12288 && dir.segments().len() == 2);
        for pages in [3, 6] {
            dir.write(name, &whole[..pages * 4096]);
            let log = options().open_in(&dir).unwrap();
            for n in [0, 500, 1023, 1024, 1025, 2047, 2500, 2999] {
                assert_eq!(found(&log, 1000 + n), n, "{pages} pages are left");
            }
            assert_eq!(found(&log, 4000), 5000);
            assert!(dir.read(name) == whole, "it was made anew");
        }
    }
}

/// I5: an index that was made anew under another interval reaches the device file by file: a cut
/// leaves the one with the many entries beside a time index with few, or the other way round.
#[test]
fn indexes_of_two_intervals_change_no_answer() {
    let written = |mode, ground: Ground, interval| {
        let dir = ground.place();
        let options = manual(mode).segment_bytes(8192).index_interval_bytes(interval);
        let log = options.open_in(&dir).unwrap();
        let time = |n: i64| 1_000_000 + n * 10 + (n * 7919) % 193;
        let times: Vec<i64> = (0..480).map(time).collect();
        append(&log, &times.chunks(2).map(<[i64]>::to_vec).collect::<Vec<_>>());
        log.close().unwrap();
        (dir, times)
    };
    for (mode, ground) in ways() {
        for (interval, other) in [(100, 3000), (3000, 100), (500, 900)] {
            let ((dir, times), (of_other, _)) =
                (written(mode, ground, interval), written(mode, ground, other));
            for name in indexes(&dir).iter().filter(|name| name.ends_with(".timeindex")) {
                dir.write(name, of_other.read(name));
            }
            let log = small(mode).open_in(&dir).unwrap();
            check(&log, &times, 0, &format!("{interval} and {other}, {mode:?}"));
        }
    }
}

/// Damaged batches: what is behind them is found all the same, and nothing that cannot be read.
#[test]
fn damaged_batches_are_passed_over() {
    for ground in grounds() {
        damage_batches(ground);
    }
}

fn damage_batches(ground: Ground) {
    let whole = ground.place();
    let times = wandering(&whole);
    for segment in whole.segments() {
        for (offsets, places) in whole.batches_of(&segment).into_iter().step_by(3) {
            let copy = whole.killed();
            let mut bytes = copy.read(&segment);
            bytes[places.start + 70] ^= 4;
            copy.write(&segment, bytes);
            let log = small(MODES[places.start % 2]).open_in(&copy).unwrap();
            let lost = offsets.start..offsets.end;
            for target in times.iter().step_by(11).copied() {
                let readable = |n: &usize| !lost.contains(&i64::try_from(*n).unwrap());
                let first = (0..times.len()).filter(readable).find(|n| times[*n] >= target);
                let expected = i64::try_from(first.unwrap_or(times.len())).unwrap();
                assert_eq!(found(&log, target), expected, "{target}, {lost:?} is damaged");
            }
        }
    }
}

/// Segments and indexes that a broker wrote, read with the indexes it left and without: Kafka's
/// meaning, and the same bytes.
#[test]
fn times_in_golden_segments_are_found_with_the_brokers_own_index() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors/segments");
    for (mode, ground) in ways() {
        for with_index in [true, false] {
            let dir = ground.place();
            for path in util::files(&golden) {
                let name = path.file_name().unwrap().to_str().unwrap();
                if !name.ends_with("json") && (with_index || !name.ends_with("index")) {
                    dir.write(name, fs::read(&path).unwrap());
                }
            }
            let log = manual(mode).segment_bytes(65536).open_in(&dir).unwrap();
            let records = read_all(&log);
            let times: Vec<i64> = records.iter().map(|record| record.timestamp).collect();
            assert!(times.len() > 500, "{}", times.len());
            check(&log, &times, 0, "golden");
            for name in indexes(&dir) {
                if log.recovery().indexes_rebuilt == 0 || *name < *"0000000000000000054" {
                    assert_eq!(dir.read(&name), fs::read(golden.join(name)).unwrap());
                }
            }
        }
    }
}

/// Readers, seeks and consumers begin there; a consumer that exists goes on where it committed, and
/// a durable one begins where it can see.
#[test]
fn readers_seeks_and_consumers_begin_at_a_time() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = small(mode).open_in(&dir).unwrap();
        append(&log, &[vec![10, 30, 20], vec![40], vec![5], vec![50, 60]]);
        let read = |reader: forebay::Reader| -> Vec<i64> {
            reader
                .flat_map(|batch| util::records(&batch.unwrap()))
                .map(|record| record.timestamp)
                .collect()
        };
        assert_eq!(read(log.reader(spec(15)).unwrap()), [30, 20, 40, 5, 50, 60]);
        assert_eq!(read(log.reader(spec(55)).unwrap()), [60]);
        let mut reader = log.reader(spec(61)).unwrap();
        assert!(reader.next().is_none());
        append(&log, &[vec![1]]);
        assert_eq!(reader.next().unwrap().unwrap().max_timestamp().millis(), 1, "from the end on");
        reader.seek(spec(35)).unwrap();
        assert_eq!(reader.next_offset().get(), 3);
        let starts = |time| ConsumerOptions::new().start(spec(time));
        let mut consumer = log.consumer_with("c", starts(50)).unwrap();
        assert_eq!(consumer.position().get(), 5);
        consumer.seek(spec(i64::MIN)).unwrap();
        assert_eq!(consumer.position().get(), 0);
        drop(consumer);
        assert_eq!(log.consumer_with("c", starts(10)).unwrap().committed().get(), 5);
        let durable = || starts(50).visibility(Visibility::Durable);
        let mut consumer = log.consumer_with("d", durable()).unwrap();
        assert_eq!(consumer.position(), Offset::ZERO, "nothing is durable yet");
        log.flush().unwrap();
        assert_eq!(consumer.poll(Duration::ZERO).unwrap().unwrap().len(), 3);
        assert_eq!(log.consumer_with("e", durable()).unwrap().position().get(), 5);
        log.clone().close().unwrap();
        assert_eq!(kind(log.reader(spec(0))), ErrorKind::Closed);
    }
}

/// While other threads append rising times and delete, a lookup finds a record of exactly that
/// time, or has been overtaken.
#[test]
fn times_are_found_while_others_append_and_delete() {
    for mode in MODES {
        let dir = scratch();
        let log = small(mode).open(dir.path()).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            for reader in 0..2 {
                let (log, done) = (&log, &done);
                scope.spawn(move || {
                    let mut n = reader;
                    while !done.load(Ordering::Relaxed) {
                        n = (n * 7919 + 13) % 20_000;
                        let end = log.log_end_offset().get();
                        // Record k has the time 10 k.
                        let at = log.reader(spec(10 * n - 3)).unwrap().next_offset().get();
                        let start = log.log_start_offset().get();
                        let expected = n.min(end)..=n.max(start).max(end * i64::from(n >= end));
                        assert!(expected.contains(&at), "{n}: {at} of {start} to {end}");
                    }
                });
            }
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let before = (log.log_end_offset().get() - 500).max(0);
                    log.delete_records(Offset::new(before)).unwrap();
                    thread::sleep(Duration::from_millis(5));
                }
            });
            for n in 0..10_000 {
                append(&log, &[vec![20 * n, 20 * n + 10]]);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert!(log.reader(at(log.log_start_offset().get())).is_ok());
    }
}
