//! Holds: what consumers have not committed stays, whatever the rules say, over every stop; and no
//! longer than was asked for.

use std::time::Duration;

use forebay::{
    Consumer, ErrorKind, HeldBack, Hold, IoMode, Log, LogOptions, Offset, OnFull, RetentionReport,
};

use crate::util::numbered::{bases, numbers, text};
use crate::util::{self, OpenIn, Place, all_texts, manual, ways};

/// Every sealed segment is due.
fn eager(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(4096).retention_bytes(0)
}

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        log.append(text(log.log_end_offset().get())).unwrap();
    }
}

/// A log of `count` records that no rule touched yet, with these consumers and their commits.
fn held(mode: IoMode, dir: &Place, count: usize, consumers: &[(&str, i64)]) {
    let log = manual(mode).segment_bytes(4096).open_in(dir).unwrap();
    append(&log, count);
    for (name, committed) in consumers {
        commit(&mut log.consumer(name).unwrap(), *committed);
    }
    log.close().unwrap();
}

fn commit(consumer: &mut Consumer, to: i64) {
    consumer.commit_offset(Offset::new(to)).unwrap();
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// The base of the segment an offset lies in.
fn base_of(all: &[i64], offset: i64) -> i64 {
    *all.iter().rfind(|base| **base <= offset).unwrap()
}

fn held_by(report: &RetentionReport) -> Option<(&str, i64)> {
    let held: &HeldBack = report.held_back.as_ref()?;
    Some((&held.consumer, held.offset.get()))
}

/// Each kind of hold, with commits in the middle of segments, at their edges, at the end.
#[test]
fn what_the_holders_have_not_committed_stays() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let consumers = [("a", 31), ("b", 77), ("c", 5)];
        held(mode, &dir, 100, &consumers);
        let all = bases(&dir);
        let last = *all.last().unwrap();
        let cases = [
            (Hold::Nobody, None),
            (Hold::Everyone, Some(("c", 5))),
            (Hold::Each(names(&["a"])), Some(("a", 31))),
            (Hold::Each(names(&["a", "b"])), Some(("a", 31))),
            (Hold::Each(names(&["b", "nobody-yet"])), Some(("b", 77))),
            (Hold::Each(names(&["nobody-yet"])), None),
            (Hold::Any(names(&["a", "b", "c"])), Some(("b", 77))),
            (Hold::Any(names(&["c", "a"])), Some(("a", 31))),
            (Hold::Any(names(&["c", "nobody-yet"])), Some(("c", 5))),
            (Hold::Any(names(&["nobody-yet"])), None),
        ];
        for (hold, expected) in cases {
            let copy = dir.killed();
            let log = eager(mode).hold(hold.clone()).open_in(&copy).unwrap();
            let report = log.apply_retention().unwrap();
            assert_eq!(held_by(&report), expected, "{hold:?}");
            let floor = expected.map_or(last, |(_, offset)| base_of(&all, offset));
            assert_eq!(report.log_start_offset.get(), floor, "{hold:?}");
            assert_eq!(numbers(&all_texts(&log)), (floor..100).collect::<Vec<_>>());
            let holding: Vec<_> = log.stats().consumers.iter().map(|known| known.holds).collect();
            let named = |name: &str| match &hold {
                Hold::Each(names) | Hold::Any(names) => names.iter().any(|n| n == name),
                hold => *hold == Hold::Everyone,
            };
            assert_eq!(holding, ["a", "b", "c"].map(named));
        }
    }
}

/// For a commit at every offset: exactly the segments that lie wholly below it go.
#[test]
fn a_commit_at_every_offset_releases_the_segments_below_it() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = eager(mode).hold(Hold::Everyone).open_in(&dir).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        append(&log, 60);
        let all = bases(&dir);
        assert!(all.len() > 4 && all[0] == 0, "all is held: {all:?}");
        for committed in 0..=60 {
            commit(&mut consumer, committed);
            let report = log.apply_retention().unwrap();
            let floor = base_of(&all, committed);
            assert_eq!(report.log_start_offset.get(), floor, "{committed}");
            assert_eq!(report.held_back.is_some(), floor < *all.last().unwrap(), "{committed}");
        }
        // It may go back no further than what is left.
        let refused = consumer.commit_offset(Offset::ZERO).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::OffsetOutOfRange);
    }
}

/// A name holds nothing until the consumer is created, and everything there is from then on.
#[test]
fn a_consumer_that_is_created_later_holds_from_then_on() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = eager(mode).hold(Hold::Each(names(&["later"]))).open_in(&dir).unwrap();
        append(&log, 50);
        let start = log.log_start_offset().get();
        assert!(start > 30, "nobody holds yet");
        let consumer = log.consumer("later").unwrap();
        assert_eq!(consumer.committed().get(), start);
        append(&log, 100);
        assert_eq!(log.log_start_offset().get(), start);
        drop(consumer);
        append(&log, 30);
        assert_eq!(log.log_start_offset().get(), start, "closed, it holds on");
        let log = {
            drop(log);
            eager(mode).hold(Hold::Each(names(&["later"]))).open_in(&dir).unwrap()
        };
        append(&log, 30);
        assert_eq!(log.log_start_offset().get(), start, "and over a restart");
        assert!(log.delete_consumer("later").unwrap());
        log.apply_retention().unwrap();
        assert!(log.log_start_offset().get() > 190);
    }
}

/// A commit that a segment waited for lets it go with the next append, roll or not.
#[test]
fn a_commit_lets_go_what_waited_for_it() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = eager(mode).hold(Hold::Everyone).open_in(&dir).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        append(&log, 60);
        let all = bases(&dir);
        assert!(all.len() > 4 && log.log_start_offset() == Offset::ZERO);
        commit(&mut consumer, all[1] - 1);
        append(&log, 1);
        assert_eq!(log.log_start_offset().get(), 0, "not all of it is committed");
        commit(&mut consumer, all[3]);
        assert_eq!(log.log_start_offset().get(), 0);
        append(&log, 1);
        assert_eq!(log.log_start_offset().get(), all[3]);
        assert_eq!(bases(&dir)[0], all[3]);
    }
}

/// A hold protects no more than was asked for, in bytes and in records.
#[test]
fn a_hold_ends_at_its_limits() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        held(mode, &dir, 100, &[("c", 0)]);
        let all = bases(&dir);
        let lengths: Vec<_> = dir.segments().iter().map(|name| dir.len(name) as u64).collect();
        for limit in [0, 1, 3000, 4096, 9000, 15_000, 1 << 40] {
            let copy = dir.killed();
            let options = eager(mode).hold(Hold::Everyone).hold_limit_bytes(limit);
            let log = options.open_in(&copy).unwrap();
            let start = log.apply_retention().unwrap().log_start_offset.get();
            let kept = all.iter().position(|base| *base == start).unwrap();
            let bytes: u64 = lengths[kept..].iter().sum();
            assert!(bytes >= limit.min(lengths.iter().sum()), "{limit}: {bytes} are protected");
            let without: u64 = lengths[kept + 1..].iter().sum();
            let least = kept + 1 == all.len() || without < limit;
            assert!(least, "{limit}: {without} would have been enough");
        }
        for lag in [1, 15, 50, 99, 100, 1000, u64::MAX] {
            let copy = dir.killed();
            let log = eager(mode).hold(Hold::Everyone).hold_lag_records(lag);
            let log = log.open_in(&copy).unwrap();
            let start = log.apply_retention().unwrap().log_start_offset.get();
            let floor = 100_i64.saturating_sub(i64::try_from(lag).unwrap_or(i64::MAX)).max(0);
            assert_eq!(start, base_of(&all, floor), "{lag}");
        }
    }
}

/// A consumer that retention overtook, because its hold had a limit, goes on at the start and
/// counts what it missed; the rest it gets.
#[test]
fn an_overtaken_holder_counts_what_it_missed() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let options = eager(mode).hold(Hold::Everyone).hold_lag_records(30);
        let log = options.open_in(&dir).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        append(&log, 200);
        let start = log.log_start_offset().get();
        assert!((150..=170).contains(&start), "{start}");
        let info = &log.stats().consumers[0];
        assert_eq!((info.overtaken, info.lag), (start.unsigned_abs(), 200));
        let mut seen = Vec::new();
        while let Some(batch) = consumer.poll(Duration::ZERO).unwrap() {
            seen.extend(numbers(&util::texts(&batch)));
        }
        assert_eq!(seen, (start..200).collect::<Vec<_>>());
        assert_eq!(consumer.missed(), start.unsigned_abs());
    }
}

/// `delete_records` and `DropOldest` are not bound by a hold.
#[test]
fn deleting_by_hand_and_dropping_ask_nobody() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let options = eager(mode).hold(Hold::Everyone).budget_bytes(256 << 10);
        let log = options.on_full(OnFull::DropOldest).open_in(&dir).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        append(&log, 50);
        log.delete_records(Offset::new(45)).unwrap();
        append(&log, 1000);
        let (start, stats) = (log.log_start_offset().get(), log.stats());
        assert!(start > 600, "{start}");
        assert_eq!(stats.records_dropped, (start - 45).unsigned_abs());
        assert!(stats.bytes_dropped >= stats.records_dropped * 300);
        consumer.poll(Duration::ZERO).unwrap().unwrap();
        assert_eq!(consumer.missed(), start.unsigned_abs());
        // What it has committed goes before anything is dropped.
        commit(&mut consumer, log.log_end_offset().get());
        append(&log, 5);
        assert_eq!(log.stats().records_dropped, stats.records_dropped);
    }
}

/// Where a hold is the only rule, what everybody committed goes when there is no room, and nothing
/// else does.
#[test]
fn what_all_have_committed_goes_when_there_is_no_room() {
    for (mode, ground) in ways() {
        let kinds = [
            (Hold::Everyone, true),
            (Hold::Each(names(&["a", "b"])), true),
            (Hold::Any(names(&["b", "x"])), true),
            (Hold::Each(names(&["a", "x"])), false),
            (Hold::Each(names(&["x"])), false),
            (Hold::Nobody, false),
        ];
        for (hold, goes) in kinds {
            let dir = ground.place();
            let options = manual(mode).segment_bytes(4096).hold(hold.clone());
            let log = options.budget_bytes(256 << 10).open_in(&dir).unwrap();
            let mut consumers = ["a", "b"].map(|name| log.consumer(name).unwrap());
            let mut refused = 0;
            for round in 0..2000 {
                if log.append(text(log.log_end_offset().get())).is_err() {
                    refused += 1;
                    break;
                }
                if round % 50 == 49 {
                    let end = log.log_end_offset().get();
                    commit(&mut consumers[0], end);
                    commit(&mut consumers[1], end - 20);
                }
            }
            let start = log.log_start_offset().get();
            assert_eq!((refused, start > 0), if goes { (0, true) } else { (1, false) }, "{hold:?}");
            let committed = consumers[1].committed().get();
            assert!(start <= committed, "{hold:?}: {start} {committed}");
            assert_eq!(numbers(&all_texts(&log)).first(), Some(&start));
        }
    }
}

/// I12: power cuts and kills before every call of workloads that retention and a hold run through.
/// Whatever is left: the start is one that was decided, what the consumer has not committed is
/// there, nothing that was flushed is lost, and no file below the start stays.
#[test]
#[cfg(feature = "simulation")]
fn no_stop_takes_what_is_held_or_was_flushed() {
    use crate::cuts::{self, Op, World, profiles};

    let workload = [
        Op::Append(14),
        Op::Commit(9),
        Op::Append(14),
        Op::Flush,
        Op::Retain,
        Op::Commit(0),
        Op::Append(3),
        Op::Power(5),
        Op::Append(20),
        Op::Commit(4),
        Op::Retain,
        Op::Append(1),
        Op::Kill,
        Op::Append(16),
        Op::Flush,
        Op::Commit(1),
        Op::Sync,
        Op::Append(12),
        Op::Close,
        Op::Retain,
        Op::Append(12),
    ];
    for (profile, mode) in profiles() {
        let options = eager(mode).hold(Hold::Everyone);
        let mut world = World::new(profile, options.clone(), 0);
        world.run(&workload);
        let looked = world.looked();
        assert!(looked > 200, "{looked} states");
        // By number, with an age that never comes, and a hold by name.
        let options = manual(mode).segment_bytes(4096).retention_records(25);
        let options = options.retention_age(Duration::from_secs(1 << 30));
        let mut world =
            World::new(world.profile(), options.hold(Hold::Each(names(&[cuts::CONSUMER]))), 25);
        world.run(&workload);
    }
}

/// The same with workloads by chance; commits that go back as well.
#[test]
#[cfg(feature = "simulation")]
fn no_stop_of_any_workload_takes_what_is_held_or_was_flushed() {
    use crate::cuts::{World, profiles, seeds, workload};

    for seed in seeds() {
        for (profile, mode) in profiles() {
            let options = eager(mode).hold(Hold::Everyone);
            World::new(profile, options, 0).run(&workload(seed, 18));
        }
    }
}

/// The same with compressed batches, a codec each: what a cut leaves is read, or was never durable.
#[test]
#[cfg(feature = "simulation")]
fn no_stop_takes_what_is_compressed_and_was_flushed() {
    use crate::cuts::{Op, World, profiles};
    use forebay::Compression;

    let workload = [
        Op::Append(70),
        Op::Commit(9),
        Op::Flush,
        Op::Append(40),
        Op::Power(5),
        Op::Append(60),
        Op::Kill,
        Op::Append(30),
        Op::Flush,
        Op::Close,
        Op::Append(20),
    ];
    let all = [Compression::Lz4, Compression::Zstd, Compression::Snappy, Compression::Gzip];
    let built_in: Vec<_> = all.into_iter().filter(|codec| codec.is_built_in()).collect();
    for ((profile, mode), codec) in profiles().into_iter().zip(built_in.into_iter().cycle()) {
        let options = eager(mode).hold(Hold::Everyone).compression(codec);
        let mut world = World::new(profile, options, 0);
        world.run(&workload);
        assert!(world.looked() > 100, "{codec:?}: {} states", world.looked());
    }
}
