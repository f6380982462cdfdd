//! Thinning: where there is no room, older segments give way to gaps before anything is dropped
//! whole. What readers, consumers, followers and copies see of it, and every stop (I4, I9, I12).

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use forebay::{
    ErrorKind, IoMode, Log, LogOptions, NewRecord, Offset, OffsetSpec, OnFull, SegmentFile,
    Timestamp,
};

use crate::util::numbered::{bases, numbers, text};
use crate::util::{Ground, MODES, OpenIn, Place, all_texts, manual, texts, ways};

const GAP: usize = 61;

/// A log that has room for some twenty segments and thins them.
fn thinning(mode: IoMode, one_in: u32) -> LogOptions {
    let options = manual(mode).segment_bytes(4096).budget_bytes(448 << 10);
    options.on_full(OnFull::DropOldest).thin_keep_one_in(one_in)
}

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        let end = log.log_end_offset().get();
        log.append(NewRecord::new(text(end)).timestamp(Timestamp::from_millis(1000 + end)))
            .unwrap();
    }
}

/// Where segments begin and end.
type Ranges = Vec<(i64, i64)>;

/// The segments that were thinned, and those that were not.
fn split(dir: &Place, end: i64) -> (Ranges, Ranges) {
    let all = bases(dir);
    let ranges =
        all.iter().zip(all.iter().skip(1).chain([&end])).map(|(base, next)| (*base, *next));
    let is_gap = |range: &(i64, i64)| dir.len(&format!("{:020}.log", range.0)) == GAP;
    ranges.partition(is_gap)
}

fn expected(whole: &[(i64, i64)], start: i64) -> Vec<i64> {
    whole.iter().flat_map(|(base, next)| (*base).max(start)..*next).collect()
}

/// Of the older half one segment in so many stays, the newer half is whole, whole segments go from
/// the front; nothing else goes, now and after a restart.
#[test]
fn the_older_half_is_thinned_before_the_oldest_goes() {
    for (mode, ground) in ways() {
        for one_in in [2, 3, 5, 100] {
            let dir = ground.place();
            let log = thinning(mode, one_in).open_in(&dir).unwrap();
            let mut first_drop = None;
            for count in 0..1500 {
                append(&log, 1);
                if log.log_start_offset() > Offset::ZERO {
                    first_drop.get_or_insert(count);
                }
            }
            let (gaps, whole) = split(&dir, 1500);
            assert!(gaps.len() > 2 && whole.len() > 5, "{gaps:?} {whole:?}");
            let start = log.log_start_offset().get();
            let left = expected(&whole, start);
            assert_eq!(numbers(&all_texts(&log)), left);
            let newest_gap = gaps.last().unwrap().1;
            let newer = whole.iter().filter(|(base, _)| *base >= newest_gap).count();
            assert!(newer * 2 >= whole.len() - 1, "the newer half is whole: {gaps:?} {whole:?}");
            // Runs of gaps are as long as was asked for.
            let all = bases(&dir);
            let is_gap = |base: &i64| gaps.iter().any(|(gap, _)| gap == base);
            let runs: Vec<_> = all.split(|base| !is_gap(base)).map(<[i64]>::len).collect();
            assert!(runs.iter().all(|run| *run < one_in as usize || one_in == 100), "{runs:?}");
            let stats = log.stats();
            let gone = 1500 - u64::try_from(left.len()).unwrap();
            assert_eq!(stats.records_dropped, gone);
            assert!(stats.bytes_dropped > gone * 300);
            assert!(stats.segments_deleted < 1500, "gaps are not deleted segments");
            let report = log.verify().unwrap();
            assert!(report.is_whole() && report.gaps == gaps.len() as u64, "{report:?}");
            assert_eq!(report.index_mismatches + report.time_index_mismatches, 0);
            drop(log);
            let log = thinning(mode, one_in).open_in(&dir).unwrap();
            assert_eq!(numbers(&all_texts(&log)), left);
            append(&log, 1);
        }
    }
}

/// A consumer counts what it passes; a reader passes silently; lookups by offset and by time go on
/// behind a gap; offsets inside one can be asked for.
#[test]
fn a_consumer_counts_what_it_passes_and_a_reader_does_not_stop() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = thinning(mode, 3).open_in(&dir).unwrap();
        let mut early = log.consumer("early").unwrap();
        append(&log, 900);
        let (gaps, whole) = split(&dir, 900);
        let start = log.log_start_offset().get();
        let left = expected(&whole, start);
        for consumer in [&mut early, &mut log.consumer("late").unwrap()] {
            let from = consumer.position().get();
            let mut seen = Vec::new();
            while let Some(batch) = consumer.poll(Duration::ZERO).unwrap() {
                let position = consumer.position().get();
                seen.extend(numbers(&texts(&batch)));
                let all = u64::try_from(position - from).unwrap();
                assert_eq!(seen.len() as u64 + consumer.missed(), all, "at {position}");
            }
            assert_eq!(seen, left);
            consumer.commit().unwrap();
        }
        for at in (start..900).step_by(7) {
            let next = left.iter().copied().find(|number| *number >= at).unwrap();
            for spec in [
                OffsetSpec::At(Offset::new(at)),
                OffsetSpec::Timestamp(Timestamp::from_millis(1000 + at)),
            ] {
                let mut reader = log.reader(spec).unwrap();
                assert_eq!(numbers(&texts(&reader.next().unwrap().unwrap()))[0], next, "{spec:?}");
            }
        }
        assert!(!gaps.is_empty());
    }
}

/// I9: whoever reads a segment when it is thinned reads on in what it was; batches stay valid.
#[test]
fn readers_inside_a_segment_that_is_thinned_keep_it() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = thinning(mode, 2).open_in(&dir).unwrap();
        append(&log, 40);
        let all = bases(&dir);
        let mut reader = log.reader(OffsetSpec::At(Offset::new(all[1] + 2))).unwrap();
        let held = reader.next().unwrap().unwrap();
        while split(&dir, 0).0.is_empty() {
            append(&log, 1);
        }
        assert_eq!(split(&dir, 0).0[0].0, all[1], "the second one is the first to go");
        assert!(log.stats().deleted_held_bytes > 3000);
        let rest: Vec<_> = reader.by_ref().flat_map(|batch| texts(&batch.unwrap())).collect();
        let end = log.log_end_offset().get();
        let (gaps, _) = split(&dir, end);
        let in_gap = |n: &i64| gaps.iter().skip(1).any(|(base, next)| (*base..*next).contains(n));
        let left: Vec<_> = (all[1] + 3..end).filter(|n| !in_gap(n)).collect();
        assert_eq!(numbers(&rest), left);
        assert_eq!(numbers(&texts(&held)), [all[1] + 2]);
        drop((reader, held));
        assert_eq!(log.stats().deleted_held_bytes, 0);
    }
}

/// Copies, followers and mirrors have what the log has; a broker finds the batch it writes itself.
#[test]
fn copies_and_followers_know_gaps() {
    for mode in MODES {
        let dir = Ground::System.place();
        let log = thinning(mode, 3).open_in(&dir).unwrap();
        append(&log, 300);
        let followed = Log::open_read_only(dir.path()).unwrap();
        let mut follower = followed.reader(OffsetSpec::Earliest).unwrap();
        let from = follower.next_offset().get();
        append(&log, 700);
        log.flush().unwrap();
        let (gaps, whole) = split(&dir, 1000);
        let (start, left) = (log.log_start_offset().get(), expected(&whole, 0));
        assert!(left[0] == start);
        let mut seen = Vec::new();
        while let Some(batch) = follower.poll(Duration::ZERO).unwrap() {
            seen.extend(numbers(&texts(&batch)));
        }
        assert_eq!(seen, left);
        assert_eq!(from + (follower.missed() + left.len() as u64).cast_signed(), 1000);

        let copies = Ground::System.place();
        log.snapshot(copies.path().join("snapshot")).unwrap();
        let copy = manual(mode).segment_bytes(4096).open(copies.path().join("snapshot")).unwrap();
        assert_eq!(numbers(&all_texts(&copy)), left);
        assert!(copy.verify().unwrap().is_whole());

        let report = log.export(copies.path().join("export-0")).unwrap();
        assert_eq!((report.damaged_ranges, report.records), (0, left.len() as u64));
        let name = format!("export-0/{:020}.log", gaps[0].0);
        let (_, batch) =
            SegmentFile::open(copies.path().join(name)).unwrap().next().unwrap().unwrap();
        assert_eq!((batch.base_offset().get(), batch.next_offset().get()), gaps[0]);
        assert!(batch.is_empty());
        let highest = i64::from_be_bytes(batch.as_bytes()[35..43].try_into().unwrap());
        assert_eq!(highest, 1000 + gaps[0].1 - 1, "the highest time of what was there");

        let mirror = Log::options().mirror_of(log.id()).open(copies.path().join("mirror")).unwrap();
        for batch in log.reader(OffsetSpec::Earliest).unwrap() {
            mirror.append_mirrored(&batch.unwrap()).unwrap();
        }
        assert_eq!(numbers(&all_texts(&mirror)), left);
        let mut consumer = mirror.consumer("c").unwrap();
        while consumer.poll(Duration::ZERO).unwrap().is_some() {}
        assert_eq!(consumer.missed(), 0, "what a mirror never had was not taken from it");
    }
}

/// A replicator ships what is left, counts what it passed, and is done.
#[test]
#[cfg(feature = "replicator")]
fn a_replicator_passes_gaps_and_counts_them() {
    use forebay::{LogUpstream, Replicator, ReplicatorOptions};

    for mode in MODES {
        let (dir, second) = (Ground::System.place(), crate::util::scratch());
        let log = thinning(mode, 4).open_in(&dir).unwrap();
        append(&log, 700);
        log.flush().unwrap();
        let left = numbers(&all_texts(&log));
        let start = log.log_start_offset().get();
        let upstream = LogUpstream::new(second.path());
        let replicator =
            Replicator::start(&log, "copy", upstream, ReplicatorOptions::new()).unwrap();
        assert!(replicator.wait_until(Offset::new(700), Duration::from_secs(60)).unwrap());
        let status = replicator.status();
        let passed = (700 - start).unsigned_abs() - left.len() as u64;
        assert_eq!((status.failures, status.unreadable_records), (0, passed), "{status:?}");
        replicator.stop().unwrap();
        let mirror = Log::options().mirror_of(log.id()).open(second.path()).unwrap();
        assert_eq!(numbers(&all_texts(&mirror)), left);
    }
}

/// Times that a gap keeps: none before 1970, and never one that says that nothing was there.
#[test]
fn a_gap_of_records_without_a_time_is_no_gap_of_a_mirror() {
    for (mode, ground) in ways() {
        for time in [-1, i64::MIN + 1, -5, 0, 7, i64::MAX] {
            let dir = ground.place();
            let log = thinning(mode, 2).open_in(&dir).unwrap();
            let mut consumer = log.consumer("c").unwrap();
            while split(&dir, 0).0.is_empty() {
                let record = NewRecord::new(text(0)).timestamp(Timestamp::from_millis(time));
                log.append(record).unwrap();
            }
            let base = split(&dir, 0).0[0].0;
            let bytes = dir.read(&format!("{base:020}.log"));
            assert_eq!(i64::from_be_bytes(bytes[35..43].try_into().unwrap()), time.max(0));
            while consumer.poll(Duration::ZERO).unwrap().is_some() {}
            let gone = log.stats().records_dropped;
            assert!(gone > 0 && consumer.missed() == gone, "{time}");
        }
    }
}

/// Threads that find no room at once take no more than is needed, and nobody sees a wrong record.
#[test]
fn threads_that_thin_and_drop_at_once_see_one_history() {
    for mode in MODES {
        let dir = Ground::System.place();
        let log = thinning(mode, 3).open_in(&dir).unwrap();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let appenders: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..700 {
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
            scope.spawn(|| {
                let mut consumer = log.consumer("c").unwrap();
                let first = consumer.position().get().cast_unsigned() - consumer.missed();
                let mut seen = 0;
                while !done.load(Ordering::Relaxed) {
                    if let Some(batch) = consumer.poll(Duration::from_millis(1)).unwrap() {
                        assert_eq!(texts(&batch), [text(batch.base_offset().get())]);
                        seen += 1;
                    }
                    let all = consumer.position().get().cast_unsigned();
                    assert_eq!(first + seen + consumer.missed(), all, "seen or missed");
                }
            });
            appenders.into_iter().for_each(|appender| appender.join().unwrap());
            done.store(true, Ordering::Relaxed);
        });
        let (gaps, whole) = split(&dir, 2800);
        let left = expected(&whole, log.log_start_offset().get());
        assert_eq!(numbers(&all_texts(&log)), left);
        assert_eq!(log.stats().records_dropped + left.len() as u64, 2800);
        assert!(gaps.len() > 2 && whole.len() > 8, "{gaps:?} {whole:?}");
        assert!(log.verify().unwrap().is_whole());
    }
}

/// Any call fails once while a segment is thinned: the append is taken, refused, or the log is
/// poisoned by a sync (I8); whatever it is, nothing but whole segments is gone.
#[test]
#[cfg(feature = "simulation")]
fn a_call_that_fails_while_a_segment_is_thinned_leaves_it_whole_or_a_gap() {
    use forebay::simulation::{CallKind, Fault};

    let kinds = [
        CallKind::CreateNew,
        CallKind::Open,
        CallKind::Rename,
        CallKind::Unlink,
        CallKind::Read,
        CallKind::Write,
        CallKind::SetLen,
        CallKind::Allocate,
        CallKind::SyncFile,
        CallKind::SyncDir,
        CallKind::Look,
    ];
    for mode in MODES {
        let filled = || {
            let dir = Ground::Simulated.place();
            let log = thinning(mode, 3).open_in(&dir).unwrap();
            (dir, log)
        };
        let (dir, log) = filled();
        while split(&dir, 0).0.is_empty() {
            append(&log, 1);
        }
        let count = usize::try_from(log.log_end_offset().get()).unwrap();
        let mut poisoned = 0;
        for on in kinds {
            for after in 0..4 {
                for errno in [5, 28] {
                    let (dir, log) = filled();
                    append(&log, count - 1);
                    dir.disk().unwrap().fail(Fault { on, name: None, after, times: 1, errno });
                    let what = format!("{mode:?} {on:?} {after} {errno}");
                    let taken = (0..3)
                        .map(|_| log.append(text(log.log_end_offset().get())))
                        .filter(Result::is_ok)
                        .count();
                    dir.disk().unwrap().clear_faults();
                    poisoned += u32::from(log.stats().poisoned.is_some());
                    assert!(taken >= 2 || log.stats().poisoned.is_some(), "{what}: {taken}");
                    let killed = dir.killed();
                    drop(log);
                    let log = thinning(mode, 3).open_in(&killed).unwrap();
                    assert_eq!(log.recovery().damaged_ranges, 0, "{what}");
                    let end = log.log_end_offset().get();
                    assert!(end >= i64::try_from(count - 1 + taken).unwrap(), "{what}: {end}");
                    let (_, whole) = split(&killed, end);
                    let left = expected(&whole, log.log_start_offset().get());
                    assert_eq!(numbers(&all_texts(&log)), left, "{what}");
                    assert!(left.len() + 30 > count, "{what}: {}", left.len());
                    append(&log, 1);
                }
            }
        }
        assert!(poisoned > 2, "{poisoned}");
    }
}

/// I12: power cuts and kills before every call, while segments are thinned and dropped: each
/// segment is whole or a gap, never less, and what is a gap stays one.
#[test]
#[cfg(feature = "simulation")]
fn whatever_stops_a_thinning_leaves_the_segment_whole_or_a_gap() {
    use crate::cuts::{Op, World, profiles};

    let workload = [
        Op::Append(80),
        Op::Commit(9),
        Op::Append(20),
        Op::Flush,
        Op::Append(15),
        Op::Power(5),
        Op::Append(25),
        Op::Kill,
        Op::Append(15),
        Op::Close,
        Op::Append(15),
    ];
    for (profile, mode) in profiles() {
        let options = manual(mode).segment_bytes(4096).on_full(OnFull::DropOldest);
        let options = smallest(options.thin_keep_one_in(3), &profile);
        let mut world = World::that_drops(profile, options);
        world.run(&workload);
        assert!(world.looked() > 150, "{} states", world.looked());
        assert!(world.thinned() > 1, "{} were thinned", world.thinned());
    }
}

/// The same with workloads by chance.
#[test]
#[cfg(feature = "simulation")]
fn whatever_stops_any_workload_leaves_each_segment_whole_or_a_gap() {
    use crate::cuts::{Op, World, profiles, seeds, workload};

    for seed in seeds().map(|seed| seed + 1000) {
        for (profile, mode) in profiles() {
            let options = manual(mode).segment_bytes(4096).on_full(OnFull::DropOldest);
            let options = smallest(options.thin_keep_one_in(2), &profile);
            let mut steps = vec![Op::Append(60)];
            steps.extend(workload(seed, 8));
            World::that_drops(profile, options).run(&steps);
        }
    }
}

/// The smallest budget that a log can do with there, and a few segments more.
#[cfg(feature = "simulation")]
fn smallest(options: LogOptions, profile: &forebay::simulation::Profile) -> LogOptions {
    let disk = forebay::simulation::Disk::new(profile.clone());
    let refused = options.clone().budget_bytes(1).open_on(&disk, "/x").unwrap_err().to_string();
    let least = refused.split("needs ").nth(1).unwrap().split(':').next().unwrap();
    options.budget_bytes(least.parse::<u64>().unwrap() + (80 << 10))
}
