//! What a replicator tells of itself while it ships, as far as no other test looks at it.

use std::time::Duration;

use forebay::{ErrorKind, LinkState, Offset, ReplicatorNotice, Timestamp, Turn};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Fault, When};
use crate::ships::{HOUR, disk, fill, options};
use crate::world::{WALL_MS, World};

#[test]
fn a_lag_is_told_in_records_bytes_and_age() {
    let world = World::with_topic(1, 1);
    let log = options().open_on(&disk(), "/log").unwrap();
    let mut turns = world.ship(&log, world.upstream("t"));
    world.cut();
    fill(&log, 300);
    let status = world.drain(&mut turns, Duration::from_secs(600));
    assert_eq!((status.lag_records, status.link), (300, LinkState::Waiting));
    let bytes = log.stats().batch_bytes;
    assert_eq!(status.lag_bytes, bytes, "all of it");
    assert_eq!(status.oldest, Some(Timestamp::from_millis(WALL_MS)));
    assert!(status.retry_in.is_some() && status.last_error.is_some(), "{status:?}");
    world.mend();
    let status = world.drain(&mut turns, HOUR);
    assert_eq!((status.lag_records, status.lag_bytes, status.oldest), (0, 0, None), "{status:?}");
    assert_eq!((status.link, status.retry_in), (LinkState::Connected, None));
}

#[test]
fn what_is_on_its_way_and_what_was_sent_again_are_counted() {
    let world = World::with_topic(1, 1);
    let log = options().open_on(&disk(), "/log").unwrap();
    let lost = Fault::DropBefore { close: false };
    world.state().cluster.fault(ApiKey::Produce, When::Nth(1), lost);
    fill(&log, 10);
    let mut turns = world.ship(&log, world.upstream("t"));
    let mut most = 0;
    for _ in 0..20 {
        turns.turn();
        most = most.max(turns.status().upstream.in_flight);
    }
    let status = turns.status();
    assert_eq!((most, status.records_sent, status.records_resent), (1, 10, 0), "{status:?}");
    let status = world.drain(&mut turns, HOUR);
    assert_eq!((status.records_sent, status.records_resent), (20, 10), "{status:?}");
    assert_eq!((status.upstream.in_flight, status.failures), (0, 1), "{status:?}");
    fill(&log, 100);
    let status = world.drain(&mut turns, HOUR);
    assert_eq!((status.records_sent, status.records_resent), (110, 10), "{status:?}");
}

/// The map has 64 places at the most, however much was shipped, and with others writing to the same
/// partition each of them is right.
#[test]
fn the_place_upstream_of_an_offset_can_be_asked_for() {
    for alone in [true, false] {
        let world = World::with_topic(1, 1);
        let logs = [1, 2].map(|_| options().open_on(&disk(), "/log").unwrap());
        let mut turns = logs.each_ref().map(|log| world.ship(log, world.upstream("t")));
        for round in 1..=300 {
            fill(&logs[0], round * 10);
            world.drain(&mut turns[0], HOUR);
            if !alone && round % 3 == 0 {
                fill(&logs[1], round);
                world.drain(&mut turns[1], HOUR);
            }
        }
        let status = turns[0].status();
        let map = &status.upstream.offset_map;
        assert!((20..=64).contains(&map.len()), "{}", map.len());
        let rows = world.state().cluster.records("t", 0);
        let ours = rows.iter().find(|row| row.sequence == 0).unwrap().producer_id;
        let there = |offset: i64| {
            let is = |row: &&crate::fake::Row| {
                row.producer_id == ours && i64::from(row.sequence) == offset
            };
            rows.iter().find(is).map(|row| row.offset)
        };
        for (here, place) in map {
            assert_eq!(there(here.get()), Some(*place), "{here}");
            assert_eq!(status.upstream.upstream_offset_of(*here), Some(*place));
        }
        let of = |offset: i64| status.upstream.upstream_offset_of(Offset::new(offset));
        for offset in (map[0].0.get()..3000).step_by(7).filter(|_| alone) {
            assert_eq!(of(offset), there(offset), "{offset}");
        }
        assert_eq!(of(3000), None, "it has not arrived");
    }
}

/// What happens is told in order, each once: what a person has to do, that it is done, that all
/// has arrived.
#[test]
fn what_happens_is_told_once_and_in_order() {
    let (world, log) = (World::new(1, 1), options().open_on(&disk(), "/log").unwrap());
    fill(&log, 40);
    let mut turns = world.ship(&log, world.upstream("t"));
    world.drain(&mut turns, Duration::from_secs(60));
    let kind = ErrorKind::UpstreamRejected;
    match turns.next_notice() {
        Some(ReplicatorNotice::Failed { error, kind: found }) => {
            assert!(error.contains("create it") && found == kind, "{error}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(turns.next_notice(), None, "it failed again and again, with the same error");
    world.state().cluster.create_topic("t", 1, &[]);
    world.drain(&mut turns, Duration::from_secs(600));
    while turns.turn() == Turn::Again {}
    let committed = Offset::new(40);
    let told: Vec<_> = std::iter::from_fn(|| turns.next_notice()).collect();
    assert_eq!(told, [ReplicatorNotice::Connected, ReplicatorNotice::CaughtUp { committed }]);
    fill(&log, 50);
    world.drain(&mut turns, Duration::from_secs(600));
    while turns.turn() == Turn::Again {}
    assert_eq!(turns.next_notice(), None, "that records come and go is none");
    log.close().unwrap();
    while turns.turn() != Turn::Ended {}
    assert_eq!(turns.next_notice(), Some(ReplicatorNotice::Stopped));
}
