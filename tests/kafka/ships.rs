//! Records arrive once and in order, whatever link, broker and device do.

use std::time::Duration;

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{Delivery, FlushPolicy, Log, LogOptions};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Action, Fault, Garbage, Keep as Kept, When};
use crate::world::{WALL_MS, World};

pub(crate) const HOUR: Duration = Duration::from_secs(3600);

pub(crate) fn options() -> LogOptions {
    Log::options().segment_bytes(256 << 10).max_batch_bytes(64 << 10).flush(FlushPolicy::Manual)
}

pub(crate) fn disk() -> Disk {
    let disk = Disk::new(Profile::default());
    disk.set_wall(WALL_MS);
    disk
}

/// The value of a record: its number, and as many bytes as the number says.
pub(crate) fn value(number: i64) -> Vec<u8> {
    let mut value = format!("{number} ").into_bytes();
    let length = match number % 97 {
        13 => 20_000,
        other => (other * 7 % 300) as usize,
    };
    value.resize(value.len() + length, b'v');
    value
}

/// Appends up to record `to`, in batches of many sizes, and makes them durable.
pub(crate) fn fill(log: &Log, to: i64) {
    let mut next = log.log_end_offset().get();
    while next < to {
        let count = (1 + next * 5 % 9).min(to - next);
        log.append_batch((next..next + count).map(value)).unwrap();
        next += count;
    }
    log.flush().unwrap();
}

pub(crate) fn values(to: i64) -> Vec<Vec<u8>> {
    (0..to).map(value).collect()
}

pub(crate) fn assert_once(world: &World, to: i64) {
    let state = world.state();
    state.cluster.assert_no_violations();
    state.cluster.assert_exactly_once("t", 0, &values(to));
}

#[test]
fn a_backlog_and_what_follows_it_arrive_once_and_in_order() {
    for nodes in [1, 3] {
        let world = World::with_topic(nodes, 1);
        let log = options().open_on(&disk(), "/log").unwrap();
        fill(&log, 700);
        let mut turns = world.ship(&log, world.upstream("t"));
        for to in [700, 701, 900] {
            fill(&log, to);
            let status = world.drain(&mut turns, HOUR);
            assert_eq!((status.lag_records, status.failures), (0, 0), "{status:?}");
            assert_eq!(status.upstream.upstream_offset, Some(to - 1));
            assert_eq!(status.upstream.delivery, Delivery::ExactlyOnce);
            assert_once(&world, to);
        }
    }
}

/// The rows of the fault matrix that a link and its brokers can do, each at calls by chance.
fn faults() -> Vec<(&'static str, ApiKey, Fault)> {
    let produce = |what, fault| (what, ApiKey::Produce, fault);
    let seconds = Duration::from_secs;
    let leader = |keep| {
        let topic = "t".to_owned();
        Fault::After(Action::MoveLeader { topic, partition: 0, to: None, keep })
    };
    vec![
        produce("dropped before", Fault::DropBefore { close: true }),
        produce("dropped before, in silence", Fault::DropBefore { close: false }),
        produce("answer lost", Fault::DropAfter { close: true }),
        produce("answer lost, in silence", Fault::DropAfter { close: false }),
        produce("lands late", Fault::Land(seconds(2))),
        produce("answered late", Fault::Late(seconds(35))),
        produce("answers overtaken", Fault::Overtaken(seconds(1))),
        produce("answered twice", Fault::Twice(seconds(1))),
        produce("answer cut", Fault::Cut(11)),
        produce("answer truncated", Fault::Truncate(3)),
        produce("answer padded", Fault::Padded(3)),
        produce("another correlation id", Fault::Correlation(1)),
        produce("noise", Fault::Garbage(Garbage::Random(100))),
        produce("a huge length", Fault::Garbage(Garbage::LengthHuge)),
        produce("REQUEST_TIMED_OUT", Fault::Error(7)),
        produce("REQUEST_TIMED_OUT, stored", Fault::ErrorAfter(7)),
        produce("NOT_ENOUGH_REPLICAS", Fault::Error(19)),
        produce("NOT_ENOUGH_REPLICAS_AFTER_APPEND", Fault::ErrorAfter(20)),
        produce("NOT_LEADER_OR_FOLLOWER", Fault::Error(6)),
        produce("CORRUPT_MESSAGE", Fault::Error(2)),
        produce("an unknown code", Fault::Error(1234)),
        produce("throttled", Fault::Throttle(seconds(3))),
        produce("leader moved", leader(Kept::Replicated)),
        produce("leader moved with all", leader(Kept::All)),
        produce("connections closed", Fault::After(Action::CloseConnections { node: 1 })),
        ("producers denied once", ApiKey::DescribeProducers, Fault::Error(6)),
        ("versions unknown", ApiKey::ApiVersions, Fault::StrangeVersions),
        ("metadata late", ApiKey::Metadata, Fault::Late(seconds(40))),
        ("no metadata", ApiKey::Metadata, Fault::DropBefore { close: true }),
        ("fetch refused", ApiKey::Fetch, Fault::Error(6)),
        ("no producer id", ApiKey::InitProducerId, Fault::Error(14)),
    ]
}

#[test]
fn faults_of_the_link_and_its_brokers_double_and_lose_nothing() {
    for (what, api, fault) in faults() {
        for seed in 0..20 {
            let world = World::new(3, seed);
            {
                let cluster = &mut world.state().cluster;
                cluster.create_topic("t", 1, &[]);
                cluster.fault(api, When::PerMille(150), fault.clone());
            }
            let log = options().open_on(&disk(), "/log").unwrap();
            let mut turns = world.ship(&log, world.upstream("t"));
            for to in [200, 400, 600] {
                fill(&log, to);
                world.drain(&mut turns, Duration::from_secs(40));
            }
            world.state().cluster.clear_faults();
            let status = world.drain(&mut turns, HOUR);
            assert_eq!(status.lag_records, 0, "{what} {seed}: {status:?}");
            assert_once(&world, 600);
        }
    }
}

/// I16: the device's process is killed, and its power cut, at any time: what is durable arrives
/// once.
#[test]
fn kills_and_power_cuts_of_the_device_double_and_lose_nothing() {
    for seed in 0..40 {
        let world = World::new(3, seed);
        {
            let cluster = &mut world.state().cluster;
            cluster.create_topic("t", 1, &[]);
            cluster.fault(ApiKey::Produce, When::PerMille(100), Fault::DropAfter { close: true });
        }
        let mut disk = disk();
        for life in 0..8 {
            let log = options().open_on(&disk, "/log").unwrap();
            let mut turns = world.ship(&log, world.upstream("t"));
            fill(&log, 100 * (life + 1));
            for _ in 0..(seed * 7 + life as u64 * 13) % 40 {
                turns.turn();
            }
            disk = match (seed + life as u64) % 2 {
                0 => disk.kill(),
                _ => disk.power_cut(Keep::Seed(seed)),
            };
        }
        world.state().cluster.clear_faults();
        let log = options().open_on(&disk, "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{seed}: {status:?}");
        assert_once(&world, log.log_end_offset().get());
    }
}
