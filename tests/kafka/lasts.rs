//! What does not go away by trying again: records that no broker takes, offsets that are gone, an
//! id that is forgotten or shared, a topic that is another one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use forebay::simulation::{Disk, Keep};
use forebay::{
    ConsumerOptions, Delivery, ErrorKind, KafkaUpstream, Log, NewRecord, Offset, ReplicatorStatus,
    Sasl, UpstreamPartition, Visibility,
};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Action, Fault, When};
use crate::ships::{HOUR, assert_once, disk, fill, options, value, values};
use crate::world::World;

pub(crate) fn open(disk: &Disk) -> Log {
    options().open_on(disk, "/log").unwrap()
}

pub(crate) fn drain(world: &World, log: &Log, upstream: KafkaUpstream) -> ReplicatorStatus {
    let mut turns = world.ship(log, upstream);
    world.drain(&mut turns, HOUR)
}

pub(crate) fn found(world: &World) -> Vec<Vec<u8>> {
    let rows = world.state().cluster.records("t", 0);
    rows.into_iter().map(|row| row.value.unwrap_or_default()).collect()
}

/// The proof that the others can fail: without the kept producer id records are doubled.
#[test]
fn a_producer_id_thrown_away_at_each_start_doubles_records() {
    let doubled = (0..20).filter(|seed| {
        let world = World::with_topic(1, *seed);
        let fault = Fault::DropAfter { close: true };
        world.state().cluster.fault(ApiKey::Produce, When::PerMille(400), fault);
        let mut disk = disk();
        for life in 0..6 {
            let log = open(&disk);
            let durable = ConsumerOptions::new().visibility(Visibility::Durable);
            let mut consumer = log.consumer_with("uplink", durable).unwrap();
            consumer.commit_with(consumer.committed(), b"").unwrap();
            drop(consumer);
            fill(&log, 100 * (life + 1));
            let mut turns = world.ship(&log, world.upstream("t"));
            for _ in 0..20 {
                turns.turn();
            }
            disk = disk.kill();
        }
        world.state().cluster.clear_faults();
        let log = open(&disk);
        drain(&world, &log, world.upstream("t"));
        catch_unwind(AssertUnwindSafe(|| assert_once(&world, 600))).is_err()
    });
    assert!(doubled.count() > 10);
}

/// R25: deletion passed the uplink. What is left arrives once; the gap is counted, and kept over a
/// restart in the middle of it.
#[test]
fn a_gap_is_counted_and_everything_else_arrives_once() {
    for restart in [false, true] {
        let (world, mut disk) = (World::with_topic(1, 1), disk());
        let log = open(&disk);
        fill(&log, 100);
        drain(&world, &log, world.upstream("t"));
        fill(&log, 3000);
        let start = log.delete_records(Offset::new(2000)).unwrap().get();
        let mut turns = world.ship(&log, world.upstream("t"));
        if restart {
            while turns.status().upstream.gaps == 0 {
                turns.turn();
            }
            disk = disk.kill();
            turns = world.ship(&open(&disk), world.upstream("t"));
        }
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        if !restart {
            assert_eq!((status.upstream.gaps, status.upstream.gap_records), (1, 1900));
        }
        let expected = [values(100), (start..3000).map(value).collect()].concat();
        assert_eq!(start, 2000);
        assert_eq!(found(&world), expected);
        world.state().cluster.assert_no_violations();
    }
}

/// R11: batches too large for the topic are split; a record that is too large by itself goes to the
/// dead-letter log, and without one shipping stops there and says so.
#[test]
fn a_record_that_is_too_large_is_set_aside_and_nothing_else() {
    let small = [("max.message.bytes", "2000")];
    for told in [true, false] {
        let world = World::new(1, 1);
        world.state().cluster.create_topic("t", 1, &small);
        if !told {
            let fault = Fault::Error(29);
            world.state().cluster.fault(ApiKey::DescribeConfigs, When::From(0), fault);
        }
        let (disk, dead) = (disk(), open(&self::disk()));
        let log = open(&disk);
        fill(&log, 150);
        let status = drain(&world, &log, world.upstream("t"));
        assert_eq!(status.last_error_kind, Some(ErrorKind::UpstreamRejected), "{status:?}");
        assert_eq!(found(&world), values(13), "all before the first that is too large");
        let status = drain(&world, &log, world.upstream("t").dead_letter(&dead));
        assert_eq!((status.lag_records, status.upstream.refused), (0, 2), "{status:?}");
        let kept = (0..150).filter(|number| number % 97 != 13);
        assert_eq!(found(&world), kept.map(value).collect::<Vec<_>>());
        let letters = dead.reader(forebay::OffsetSpec::Earliest).unwrap();
        let letters: Vec<Vec<u8>> = letters
            .flat_map(|batch| {
                let batch = batch.unwrap();
                batch.records().map(|one| one.unwrap().value().to_vec()).collect::<Vec<_>>()
            })
            .collect();
        assert_eq!(letters, [value(13), value(110)]);
        world.state().cluster.assert_no_violations();
    }
}

/// R18: the broker forgot the id while answers were lost: the topic is searched for what arrived.
#[test]
fn a_forgotten_producer_id_is_searched_for_upstream() {
    for seed in 0..20 {
        let (world, disk) = (World::with_topic(1, seed), disk());
        let log = open(&disk);
        let mut turns = world.ship(&log, world.upstream("t"));
        for to in [100, 200, 300, 400] {
            {
                let cluster = &mut world.state().cluster;
                let lost = Fault::DropAfter { close: true };
                cluster.fault(ApiKey::Produce, When::PerMille(300), lost);
                let forget = Action::ForgetProducers { topic: "t".to_owned() };
                cluster.fault(ApiKey::Metadata, When::PerMille(500), Fault::Before(forget));
            }
            fill(&log, to);
            world.drain(&mut turns, Duration::from_secs(20));
        }
        world.state().cluster.clear_faults();
        let status = world.drain(&mut turns, HOUR);
        assert_eq!((status.lag_records, status.upstream.maybe_doubled), (0, 0), "{status:?}");
        assert_once(&world, 400);
    }
}

/// R13, R14: another topic of the name, another cluster, another number of partitions: it stops
/// with a conflict and goes on where it was told to, from the committed offset.
#[test]
fn another_topic_of_the_name_is_not_shipped_to_unless_that_is_allowed() {
    for action in
        [Action::Recreate { topic: "t".to_owned() }, Action::ClusterId("another".to_owned())]
    {
        let (world, disk) = (World::with_topic(1, 1), disk());
        let log = open(&disk);
        fill(&log, 100);
        drain(&world, &log, world.upstream("t"));
        world.act(action.clone());
        fill(&log, 200);
        let status = drain(&world, &log, world.upstream("t"));
        assert_eq!(status.last_error_kind, Some(ErrorKind::Conflict), "{status:?}");
        assert_eq!((status.committed.get(), status.lag_records), (100, 100));
        let status = drain(&world, &log, world.upstream("t").follow_new_topic(true));
        assert_eq!(status.lag_records, 0, "{status:?}");
        let from = if matches!(action, Action::ClusterId(_)) { 0 } else { 100 };
        assert_eq!(found(&world), (from..200).map(value).collect::<Vec<_>>());
    }
    let (world, log) = (World::new(1, 1), open(&disk()));
    world.state().cluster.create_topic("t", 7, &[]);
    fill(&log, 10);
    let by_id = || world.upstream("t").partition(UpstreamPartition::ByLogId);
    assert_eq!(drain(&world, &log, by_id()).lag_records, 0);
    let moved = (8..40).any(|partitions| {
        let grow = Action::Grow { topic: "t".to_owned(), partitions };
        world.act(grow);
        fill(&log, log.log_end_offset().get() + 1);
        drain(&world, &log, by_id()).last_error_kind == Some(ErrorKind::Conflict)
    });
    assert!(moved, "another number of partitions would have moved it sooner or later");
}

/// R22: the log lost its end, which upstream has: it goes on behind it, and no offset has two
/// contents.
#[test]
fn a_log_that_lost_its_end_goes_on_behind_what_was_shipped() {
    let (world, disk) = (World::with_topic(1, 1), disk());
    let log = open(&disk);
    fill(&log, 100);
    drain(&world, &log, world.upstream("t"));
    // A device that says it has synced, and has not.
    let kept = disk.power_cut(Keep::None);
    let lost = disk.kill();
    let more = open(&lost);
    fill(&more, 150);
    drain(&world, &more, world.upstream("t"));
    drop(more);
    let log = open(&kept);
    let status = drain(&world, &log, world.upstream("t"));
    assert_eq!((status.lag_records, status.upstream.identity_shared), (0, 0), "{status:?}");
    assert_eq!(log.append("behind").unwrap(), Offset::new(150));
    log.flush().unwrap();
    drain(&world, &log, world.upstream("t"));
    let expected = [values(150), vec![b"behind".to_vec()]].concat();
    assert_eq!(found(&world), expected);
}

/// R27: a copied card: both devices' records arrive, each once, and it is reported.
#[test]
fn a_copied_disk_is_found_out_and_ships_under_an_identity_of_its_own() {
    let (world, first) = (World::with_topic(1, 1), disk());
    let log = open(&first);
    fill(&log, 100);
    drain(&world, &log, world.upstream("t"));
    let second = first.power_cut(Keep::All);
    let one = |log: &Log, name: &str, count: i64| {
        for number in 0..count {
            log.append(format!("{name} {number}")).unwrap();
        }
        log.flush().unwrap();
    };
    one(&log, "first", 30);
    drain(&world, &log, world.upstream("t"));
    let copy = open(&second);
    one(&copy, "second", 20);
    let status = drain(&world, &copy, world.upstream("t"));
    assert_eq!((status.lag_records, status.upstream.identity_shared), (0, 1), "{status:?}");
    one(&log, "first again", 5);
    one(&copy, "second again", 5);
    assert_eq!(drain(&world, &log, world.upstream("t")).lag_records, 0);
    assert_eq!(drain(&world, &copy, world.upstream("t")).lag_records, 0);
    let found = found(&world);
    let of = |name: &str| {
        let name = format!("{name} ");
        found.iter().filter(|value| value.starts_with(name.as_bytes())).count()
    };
    let counts = ["first", "second", "first again", "second again"].map(of);
    assert_eq!(counts, [35, 25, 5, 5], "the longer names begin with the shorter ones");
    assert_eq!(found.len(), 160);
}

/// Kafka 2.8 has fewer versions; and where the producers may not be asked for, batches go one at a
/// time and it is told that some may be doubled.
#[test]
fn an_old_broker_and_one_that_hides_its_producers_are_shipped_to() {
    let (world, log) = (World::with_topic(1, 1), open(&disk()));
    world.state().cluster.settings.like_2_8();
    fill(&log, 500);
    let status = drain(&world, &log, world.upstream("t"));
    assert_eq!((status.lag_records, status.failures), (0, 0), "{status:?}");
    assert_once(&world, 500);
    let (world, log) = (World::with_topic(1, 2), open(&disk()));
    world.state().cluster.fault(ApiKey::DescribeProducers, When::From(0), Fault::Error(29));
    fill(&log, 300);
    let status = drain(&world, &log, world.upstream("t"));
    assert_eq!(status.lag_records, 0, "{status:?}");
    assert_eq!(status.upstream.delivery, Delivery::AtLeastOnce);
    assert_eq!(status.upstream.warnings.len(), 1, "{status:?}");
    assert_once(&world, 300);
}

/// What a person has to put right is told with what to do, and shipping goes on by itself then.
#[test]
fn what_a_person_has_to_put_right_is_told_and_then_goes_on_by_itself() {
    let (world, log) = (World::new(1, 1), open(&disk()));
    fill(&log, 50);
    let mut turns = world.ship(&log, world.upstream("t"));
    let status = world.drain(&mut turns, Duration::from_secs(60));
    assert_eq!(status.last_error_kind, Some(ErrorKind::UpstreamRejected));
    assert!(status.last_error.unwrap().contains("create it"));
    world.state().cluster.create_topic("t", 1, &[("retention.ms", "1000")]);
    let old = NewRecord::new("old").timestamp(forebay::Timestamp::from_millis(1_600_000_000_000));
    log.append(old).unwrap();
    log.flush().unwrap();
    world.drain(&mut turns, Duration::from_secs(60));
    fill(&log, 60);
    let status = world.drain(&mut turns, Duration::from_secs(300));
    let error = status.last_error.unwrap_or_default();
    assert!(status.lag_records == 0 || error.contains("retention.ms"), "{error}");
    world.state().cluster.topic_config("t", "retention.ms", "-1");
    let status = world.drain(&mut turns, HOUR);
    assert_eq!(status.lag_records, 0, "{status:?}");
    assert_eq!(found(&world).len(), 60);
    for wrong in ["", "node-1:x", "nowhere:9092"] {
        let upstream = KafkaUpstream::new(wrong, "t").network(world.clone());
        let log = open(&disk());
        fill(&log, 5);
        let mut turns = world.ship(&log, upstream);
        let status = world.drain(&mut turns, Duration::from_secs(60));
        assert!(status.last_error.is_some() && status.lag_records == 5, "{wrong}: {status:?}");
    }
}

/// R15: a wrong password is told as one, nothing is lost, and the right one ships.
#[test]
fn a_wrong_password_is_told_and_the_right_one_ships() {
    let (world, log) = (World::with_topic(1, 1), open(&disk()));
    let user = ("device".to_owned(), "secret".to_owned());
    world.state().cluster.settings.sasl = Some(user);
    fill(&log, 50);
    for (sasl, ships) in [
        (Sasl::plain("device", "wrong"), false),
        (Sasl::scram_sha256("device", "secret"), false),
        (Sasl::plain("device", "secret"), true),
    ] {
        let upstream = world.upstream("t").sasl(sasl);
        let mut turns = world.ship(&log, upstream);
        let status = world.drain(&mut turns, Duration::from_secs(60));
        assert_eq!(status.lag_records == 0, ships, "{status:?}");
        if !ships {
            assert_eq!(status.last_error_kind, Some(ErrorKind::UpstreamRejected), "{status:?}");
        }
    }
    assert_once(&world, 50);
}
