//! Records that are gone before they were shipped: the gap is marked in the topic, once, between
//! the records around it, whatever fails meanwhile.

use std::time::Duration;

use forebay::{KafkaUpstream, Offset, Turn};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Action, Fault, When};
use crate::lasts::open;
use crate::ships::{HOUR, disk, fill, value};
use crate::world::World;

/// What the topic has: a record's number, or a gap and where it begins and ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Found {
    Record(i64),
    Gap(i64, i64),
}

fn found(world: &World) -> Vec<Found> {
    found_with(world, |number, bytes| assert_eq!(bytes, value(number)))
}

/// The same where values are others: they are looked at by `is`.
pub(crate) fn found_with(world: &World, mut is: impl FnMut(i64, &[u8])) -> Vec<Found> {
    let state = world.state();
    state.cluster.assert_no_violations();
    let number = |bytes: &[u8]| -> i64 {
        let text = std::str::from_utf8(bytes).unwrap();
        text.split(' ').next().unwrap().parse().unwrap()
    };
    let rows = state.cluster.records("t", 0).into_iter();
    rows.map(|row| match &row.headers[..] {
        [] => {
            let found = number(row.value.as_deref().unwrap());
            is(found, row.value.as_deref().unwrap());
            Found::Record(found)
        }
        [(first, from), (next, to)] => {
            assert_eq!((first.as_str(), next.as_str()), ("forebay.gap.first", "forebay.gap.next"));
            assert_eq!((row.key, row.value.as_deref()), (None, Some(&b""[..])));
            assert_eq!(row.sequence, 0, "a marker begins an epoch");
            Found::Gap(number(from.as_deref().unwrap()), number(to.as_deref().unwrap()))
        }
        other => panic!("{other:?}"),
    })
    .collect()
}

/// Every record is there once and in order, but for those in a gap, and each gap is marked: what
/// is missing. With `marks` off, gaps are as they are.
pub(crate) fn check(found: &[Found], end: i64, marks: bool, what: &str) -> i64 {
    let (mut next, mut missing) = (0, 0);
    for one in found {
        match one {
            Found::Record(number) => {
                assert!(*number == next || !marks && *number > next, "{what}: {number} at {next}");
                missing += number - next;
                next = number + 1;
            }
            Found::Gap(from, to) => {
                // What was on its way when it was deleted here may have arrived after all.
                assert!(marks && *from <= next && *to > next, "{what}: {from} to {to} at {next}");
                missing += to - next;
                next = *to;
            }
        }
    }
    assert_eq!(next, end, "{what}");
    missing
}

#[test]
fn a_gap_is_marked_where_it_is_and_the_marker_is_kept_over_a_restart() {
    for turns_before_kill in 0..12 {
        let (world, mut disk) = (World::with_topic(1, 1), disk());
        let upstream = || world.upstream("t").mark_gaps(true);
        let log = open(&disk);
        fill(&log, 100);
        world.drain(&mut world.ship(&log, upstream()), HOUR);
        fill(&log, 3000);
        log.delete_records(Offset::new(2000)).unwrap();
        let mut turns = world.ship(&log, upstream());
        for _ in 0..turns_before_kill {
            turns.turn();
        }
        disk = disk.kill();
        let log = open(&disk);
        let mut turns = world.ship(&log, upstream());
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        let mut expected: Vec<_> = (0..100).map(Found::Record).collect();
        expected.push(Found::Gap(100, 2000));
        expected.extend((2000..3000).map(Found::Record));
        assert!(found(&world) == expected, "killed behind {turns_before_kill} turns");
    }
}

/// Gap behind gap, with everything going wrong that can: what is missing is marked and counted.
#[test]
fn gaps_among_faults_are_marked_each_in_its_place() {
    for seed in 0..60 {
        for marks in [true, false] {
            let (world, mut disk) = (World::with_topic(1, seed), disk());
            {
                let cluster = &mut world.state().cluster;
                let late = Fault::Land(Duration::from_millis(seed * 37 % 900));
                for fault in [
                    Fault::DropAfter { close: seed % 2 == 0 },
                    Fault::DropBefore { close: true },
                    late,
                    Fault::ErrorAfter(7),
                    Fault::Error(6),
                ] {
                    cluster.fault(ApiKey::Produce, When::PerMille(80), fault);
                }
            }
            let upstream = || -> KafkaUpstream { world.upstream("t").mark_gaps(marks) };
            let mut log = open(&disk);
            let mut turns = world.ship(&log, upstream());
            for round in 0..30_u64 {
                fill(&log, 40 * (round as i64 + 1));
                let dice = seed.wrapping_mul(7919) + round * 104_729;
                if dice % 3 == 0 {
                    let end = log.log_end_offset().get();
                    let before = end - (dice / 3 % 30) as i64;
                    log.delete_records(Offset::new(before)).unwrap();
                }
                for _ in 0..dice / 11 % 25 {
                    turns.turn();
                }
                world.pass(Duration::from_millis(dice % 400));
                if dice % 7 == 0 {
                    disk = disk.kill();
                    log = open(&disk);
                    turns = world.ship(&log, upstream());
                }
            }
            world.state().cluster.clear_faults();
            fill(&log, 1300);
            let status = world.drain(&mut turns, HOUR);
            let what = format!("seed {seed}, marks {marks}");
            assert_eq!(status.lag_records, 0, "{what}: {status:?}");
            check(&found(&world), 1300, marks, &what);
        }
    }
}

/// A batch of the epoch behind a gap is on its way, and lost from sight; then the gap grows. What
/// is sent now looks the same to the broker as that batch, if it goes by epoch, sequence and count.
#[test]
fn a_gap_that_grows_while_a_batch_is_on_its_way_hides_no_record() {
    for millis in 0..60 {
        let (world, disk) = (World::with_topic(1, 1), disk());
        let log = open(&disk);
        fill(&log, 100);
        let mut turns = world.ship(&log, world.upstream("t"));
        assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
        let append = |from: i64, to: i64| {
            let small = |number: i64| format!("{number} small");
            log.append_batch((from..to).map(small)).unwrap();
            log.flush().unwrap();
        };
        append(100, 120);
        append(120, 150);
        log.delete_records(Offset::new(120)).unwrap();
        let late = Fault::Land(Duration::from_millis(1000 + millis));
        world.state().cluster.fault(ApiKey::Produce, When::Nth(1), late);
        while world.state().cluster.fired.is_empty() {
            if let Turn::Pause(wait) = turns.turn() {
                world.pass(wait);
            }
        }
        world.cut();
        append(150, 180);
        log.delete_records(Offset::new(150)).unwrap();
        let sent = world.now();
        drop(turns);
        world.mend();
        let mut turns = world.ship(&log, world.upstream("t"));
        world.pass((sent + Duration::from_millis(920)).saturating_sub(world.now()));
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        let state = world.state();
        state.cluster.assert_no_violations();
        let rows = state.cluster.records("t", 0);
        let small = rows.iter().skip(100).map(|row| {
            let text = String::from_utf8(row.value.clone().unwrap()).unwrap();
            text.split(' ').next().unwrap().parse().unwrap()
        });
        let small: Vec<i64> = small.collect();
        let without: Vec<i64> = (150..180).collect();
        let with: Vec<i64> = (120..180).collect();
        assert!(small == without || small == with, "landed after {millis}: {small:?}");
    }
}

/// R25: retention passed what was never shipped, then the link broke, or the device was killed,
/// before anything was sent behind it; and the broker forgets the producer, or does not say what it
/// knows. Nobody but the device knows of the gap: it is marked, and counted once.
#[test]
fn a_gap_that_nobody_upstream_can_know_of_is_marked_and_counted() {
    for case in 0..144 {
        let (marks, killed, silent) = (case % 2 == 0, case / 2 % 2 == 0, case / 4 % 2 == 0);
        let (world, mut disk) = (World::with_topic(1, 1), disk());
        if silent {
            let denied = Fault::Error(29);
            world.state().cluster.fault(ApiKey::DescribeProducers, When::From(1), denied);
        }
        let upstream = || world.upstream("t").mark_gaps(marks);
        let mut log = open(&disk);
        fill(&log, 100);
        world.drain(&mut world.ship(&log, upstream()), HOUR);
        fill(&log, 300);
        log.delete_records(Offset::new(200)).unwrap();
        let mut turns = world.ship(&log, upstream());
        for _ in 0..case / 8 {
            turns.turn();
        }
        world.act(Action::CloseConnections { node: 1 });
        let mut counted = turns.status().upstream.gap_records;
        if killed {
            drop(turns);
            disk = disk.kill();
            log = open(&disk);
            turns = world.ship(&log, upstream());
        }
        if !silent {
            world.act(Action::ForgetProducers { topic: "t".to_owned() });
        }
        let status = world.drain(&mut turns, HOUR);
        let what = format!("case {case}: {marks} {killed} {silent}: {status:?}");
        assert_eq!(status.lag_records, 0, "{what}");
        counted = status.upstream.gap_records + if killed { counted } else { 0 };
        assert_eq!(counted, 100, "{what}");
        let gap = marks.then_some(Found::Gap(100, 200)).into_iter();
        let expected = (0..100).map(Found::Record).chain(gap);
        let expected: Vec<_> = expected.chain((200..300).map(Found::Record)).collect();
        assert!(found(&world) == expected, "{what}");
    }
}

#[test]
fn a_gap_with_nothing_behind_it_is_counted_at_once_and_marked_when_there_is() {
    for forgotten in [false, true] {
        let (world, mut disk) = (World::with_topic(1, 1), disk());
        let upstream = || world.upstream("t").mark_gaps(true);
        let log = open(&disk);
        fill(&log, 100);
        world.drain(&mut world.ship(&log, upstream()), HOUR);
        fill(&log, 300);
        log.delete_records(Offset::new(300)).unwrap();
        let status = world.drain(&mut world.ship(&log, upstream()), HOUR);
        assert_eq!((status.lag_records, status.upstream.gap_records), (0, 200), "{status:?}");
        disk = disk.kill();
        if forgotten {
            world.act(Action::ForgetProducers { topic: "t".to_owned() });
        }
        let log = open(&disk);
        fill(&log, 350);
        let status = world.drain(&mut world.ship(&log, upstream()), HOUR);
        assert_eq!((status.lag_records, status.upstream.gap_records), (0, 0), "{status:?}");
        let expected = (0..100).map(Found::Record).chain([Found::Gap(100, 300)]);
        let expected: Vec<_> = expected.chain((300..350).map(Found::Record)).collect();
        assert!(found(&world) == expected, "{status:?}");
    }
}

/// R25: retention was first, before anything was ever shipped: the rest is shipped, and the gap
/// before it told like any other.
#[test]
fn records_that_went_before_the_first_connect_are_a_gap_like_any_other() {
    for marks in [false, true] {
        let (world, log) = (World::with_topic(1, 1), open(&disk()));
        fill(&log, 1);
        let mut turns = world.ship(&log, world.upstream("t").mark_gaps(marks));
        fill(&log, 500);
        log.delete_records(Offset::new(400)).unwrap();
        let status = world.drain(&mut turns, HOUR);
        assert_eq!((status.lag_records, status.failures), (0, 0), "{status:?}");
        assert_eq!((status.upstream.gaps, status.upstream.gap_records), (1, 400), "{status:?}");
        let gap = marks.then_some(Found::Gap(0, 400));
        let expected = gap.into_iter().chain((400..500).map(Found::Record));
        assert_eq!(found(&world), expected.collect::<Vec<_>>());
    }
}

#[test]
fn a_record_for_the_dead_letter_log_leaves_a_marker_in_its_place() {
    for last in [200, 111] {
        let world = World::new(1, 1);
        world.state().cluster.create_topic("t", 1, &[("max.message.bytes", "2000")]);
        let (log, dead) = (open(&disk()), open(&disk()));
        fill(&log, last);
        let upstream = world.upstream("t").mark_gaps(true).dead_letter(&dead);
        let mut turns = world.ship(&log, upstream);
        let status = world.drain(&mut turns, HOUR);
        assert_eq!((status.lag_records, status.upstream.refused), (0, 2), "{status:?}");
        let expected = (0..last).map(|number| match number % 97 {
            13 => Found::Gap(number, number + 1),
            _ => Found::Record(number),
        });
        assert_eq!(found(&world), expected.collect::<Vec<_>>());
        assert_eq!(status.upstream.gaps, 0, "what was refused is no gap of the log");
    }
}

#[test]
fn a_topic_that_takes_no_markers_is_shipped_to_without_and_that_is_told() {
    let (world, log) = (World::with_topic(1, 1), open(&disk()));
    fill(&log, 100);
    let mut turns = world.ship(&log, world.upstream("t").mark_gaps(true));
    world.drain(&mut turns, HOUR);
    fill(&log, 300);
    log.delete_records(Offset::new(250)).unwrap();
    world.state().cluster.fault(ApiKey::Produce, When::Nth(1), Fault::Error(87));
    world.act(Action::CloseConnections { node: 1 });
    let status = world.drain(&mut turns, HOUR);
    assert_eq!(status.lag_records, 0, "{status:?}");
    let expected: Vec<_> = (0..100).chain(250..300).map(Found::Record).collect();
    assert_eq!(found(&world), expected);
    assert!(status.last_error.unwrap().contains("INVALID_RECORD"));
}
