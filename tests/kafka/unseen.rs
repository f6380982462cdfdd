//! What stands on the leader and not on the replicas yet, so that no consumer sees it (R32): when
//! the broker has forgotten the producer, too, it is not taken for missing.

use std::time::Duration;

use forebay::ReplicatorTurns;

use crate::fake::{Action, Debugging, Keep};
use crate::lasts::{found, open};
use crate::lost::forget as forget_shipped;
use crate::ships::{HOUR, assert_once, disk, fill, values};
use crate::world::World;

const SEEDS: std::ops::Range<u64> = 0..20;
const MINUTE: Duration = Duration::from_secs(60);

fn forget(world: &World) {
    world.act(Action::ForgetProducers { topic: "t".to_owned() });
}

fn elect(world: &World, keep: Keep) {
    world.act(Action::MoveLeader { topic: "t".to_owned(), partition: 0, to: None, keep });
}

fn marks(world: &World) -> (i64, i64) {
    let state = world.state();
    (state.cluster.high_watermark("t", 0), state.cluster.log_end("t", 0))
}

/// Ships a part, and then a part that no follower takes; what is on its way stands above the high
/// watermark. The link is down then.
fn leave_unseen(world: &World, log: &forebay::Log, turns: &mut ReplicatorTurns, seed: u64) {
    let first = 60 + seed as i64 * 5;
    fill(log, first);
    assert_eq!(world.drain(turns, HOUR).lag_records, 0);
    world.act(Action::Replication(None));
    fill(log, first + 100);
    world.drain(turns, Duration::from_secs(5 + seed));
    let (high_watermark, log_end) = marks(world);
    assert!(high_watermark < log_end, "seed {seed}: {high_watermark}, {log_end}");
    world.cut();
}

#[test]
fn what_only_the_leader_has_is_waited_for_and_not_shipped_again() {
    for seed in SEEDS {
        let (world, mut disk) = (World::with_topic(3, seed), disk());
        disk.set_hardware(Some(1));
        let mut log = open(&disk);
        let mut turns = world.ship(&log, world.upstream("t"));
        leave_unseen(&world, &log, &mut turns, seed);
        match seed % 6 {
            // The device starts again.
            1 => {
                drop(turns);
                disk = disk.kill();
                log = open(&disk);
                turns = world.ship(&log, world.upstream("t"));
            }
            // And knows nothing any more, or has got another board.
            4 | 5 => {
                drop(turns);
                disk = disk.kill();
                drop(log);
                match seed % 6 {
                    4 => forget_shipped(&disk),
                    _ => disk.set_hardware(Some(seed + 2)),
                }
                log = open(&disk);
                turns = world.ship(&log, world.upstream("t"));
            }
            // Another leads, that has all of it, or what the replicas have.
            2 => elect(&world, Keep::All),
            3 => elect(&world, Keep::Replicated),
            _ => {}
        }
        forget(&world);
        world.mend();
        let before = marks(&world);
        let status = world.drain(&mut turns, 5 * MINUTE);
        if seed % 6 != 3 {
            assert_eq!(marks(&world), before, "seed {seed}: {status:?}");
            let error = status.last_error.unwrap();
            assert!(error.contains("min.insync.replicas"), "seed {seed}: {error}");
        }
        world.act(Action::Replication(Some(Duration::from_millis(2))));
        fill(&log, 300);
        let status = world.drain(&mut turns, HOUR);
        assert_eq!((status.lag_records, status.upstream.maybe_doubled), (0, 0), "{status:?}");
        assert_once(&world, 300);
    }
}

/// Of brokers other than Kafka's it is not known whether they tell: what may be doubled then is
/// counted, and shipping goes on.
#[test]
fn where_the_broker_does_not_tell_what_may_be_doubled_is_counted() {
    for seed in SEEDS {
        let answers = [Debugging::Refused(42), Debugging::Refused(-1), Debugging::Closed];
        let (world, disk) = (World::with_topic(3, seed), disk());
        world.state().cluster.settings.debugging = answers[seed as usize % 3];
        let log = open(&disk);
        let mut turns = world.ship(&log, world.upstream("t"));
        leave_unseen(&world, &log, &mut turns, seed);
        let (high_watermark, log_end) = marks(&world);
        forget(&world);
        world.mend();
        world.drain(&mut turns, 5 * MINUTE);
        world.act(Action::Replication(Some(Duration::from_millis(2))));
        fill(&log, 300);
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        let unseen = (log_end - high_watermark).unsigned_abs();
        assert!(status.upstream.maybe_doubled >= unseen, "{unseen}: {status:?}");
        let (mut found, mut expected) = (found(&world), values(300));
        assert!(found.len() > expected.len(), "they are doubled, or nothing is shown here");
        found.sort();
        expected.sort();
        found.dedup();
        assert!(found == expected, "seed {seed}");
        world.state().cluster.assert_no_violations();
    }
}

/// Nobody asks for it all the time: a link may cost by the byte.
#[test]
fn replicas_that_stay_away_are_waited_for_without_haste() {
    let (world, disk) = (World::with_topic(3, 1), disk());
    let log = open(&disk);
    let mut turns = world.ship(&log, world.upstream("t"));
    leave_unseen(&world, &log, &mut turns, 1);
    forget(&world);
    world.mend();
    let asked = |world: &World| world.state().cluster.requests.values().sum::<u64>();
    world.drain(&mut turns, MINUTE);
    let before = asked(&world);
    world.drain(&mut turns, HOUR);
    let asked = asked(&world) - before;
    assert!((60..5000).contains(&asked), "{asked} in an hour");
}
