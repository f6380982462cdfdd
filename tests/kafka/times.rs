//! Rows of the fault matrix that take time: records a broker lost, a broker that asks to wait, a
//! link that is gone for days, a clock that jumps, a device that is stopped in the middle.

use std::time::Duration;

use forebay::{FlushPolicy, NewRecord, Offset, Timestamp, Turn};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Action, Fault, Keep, When};
use crate::lasts::found;
use crate::ships::{HOUR, assert_once, disk, fill, options, value};
use crate::world::{WALL_MS, World};

const SEEDS: std::ops::Range<u64> = 0..20;
const MINUTE: Duration = Duration::from_secs(60);

/// R8: brokers lose what they had acknowledged. It is shipped again from the log; what the log has
/// no longer is told as a gap.
#[test]
fn what_brokers_lost_is_shipped_again_and_what_is_gone_for_good_is_told() {
    for seed in SEEDS {
        let world = World::with_topic(3, seed);
        let log = options().open_on(&disk(), "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        fill(&log, 300);
        assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
        let deleted = seed % 2 == 1;
        let start = if deleted { 280 } else { 0 };
        log.delete_records(Offset::new(start)).unwrap();
        let keep = Keep::Below(100 + seed as i64 * 7);
        let topic = "t".to_owned();
        let lose = Action::MoveLeader { topic, partition: 0, to: None, keep };
        world.act(lose);
        let left = world.state().cluster.log_end("t", 0);
        assert!((1..250).contains(&left), "{left}");
        fill(&log, 400);
        let status = world.drain(&mut turns, HOUR);
        assert_eq!((status.lag_records, status.rewinds), (0, 1), "{status:?}");
        if !deleted {
            assert_once(&world, 400);
            continue;
        }
        let state = world.state();
        state.cluster.assert_no_violations();
        let expected: Vec<_> = (0..left).chain(start..400).map(value).collect();
        state.cluster.assert_exactly_once("t", 0, &expected);
        assert_eq!(status.upstream.gap_records, (start - left).unsigned_abs(), "{status:?}");
    }
}

/// R8: the same where the brokers have nothing left by which they know the producer, or have not
/// one record left: the topic itself says what is missing.
#[test]
fn what_brokers_lost_with_its_producers_is_found_missing_in_the_topic() {
    for seed in SEEDS {
        let world = World::with_topic(3, seed);
        let log = options().open_on(&disk(), "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        fill(&log, 300);
        assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
        let topic = "t".to_owned();
        let keep = Keep::Below(seed as i64 % 4 * 60);
        let lose = Action::MoveLeader { topic: topic.clone(), partition: 0, to: None, keep };
        world.act(lose);
        world.act(Action::ForgetProducers { topic });
        fill(&log, 400);
        let status = world.drain(&mut turns, HOUR);
        assert_eq!((status.lag_records, status.rewinds), (0, 1), "{seed}: {status:?}");
        assert_once(&world, 400);
    }
}

/// R10: a broker that asks to wait is sent nothing meanwhile, and nobody spins.
#[test]
fn a_broker_that_asks_to_wait_is_waited_for_without_haste() {
    for seed in SEEDS {
        let world = World::with_topic(3, seed);
        let log = options().open_on(&disk(), "/log").unwrap();
        let wait = Duration::from_secs(1 + seed);
        let throttle = Fault::Throttle(wait);
        world.state().cluster.fault(ApiKey::Produce, When::PerMille(400), throttle.clone());
        let mut turns = world.ship(&log, world.upstream("t"));
        let (mut count, mut appended) = (0_u64, 0);
        while appended < 600 || turns.status().lag_records > 0 {
            if appended < 600 && count % 7 == 0 {
                appended += 20;
                fill(&log, appended);
            }
            count += 1;
            if let Turn::Pause(wait) = turns.turn() {
                world.pass(wait);
            }
        }
        let (now, state) = (world.now(), world.state());
        let asked = state.cluster.fired.iter().filter(|(_, _, fault)| *fault == throttle).count();
        // Several may have been on their way when the first was answered.
        assert!(now >= wait * (asked as u32).div_ceil(5), "{now:?} for {asked} times {wait:?}");
        assert_eq!(state.cluster.impatient, 0, "seed {seed}: {asked} times {wait:?}");
        assert!(count < 5000, "{count} turns");
        drop(state);
        assert_once(&world, 600);
    }
}

/// R18: the link is gone for a second, ten minutes, three days, with answers on their way when it
/// went; and the brokers forget the producer meanwhile.
#[test]
fn a_link_that_is_gone_for_days_doubles_and_loses_nothing() {
    for seed in SEEDS {
        let world = World::with_topic(3, seed);
        let log = options().open_on(&disk(), "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        let mut to = 0;
        for seconds in [1, 600, if seed < 3 { 3 * 86_400 } else { 3600 }] {
            let lost = Fault::DropAfter { close: false };
            let nth = When::From(1 + seed % 4);
            world.state().cluster.fault(ApiKey::Produce, nth, lost);
            to += 200;
            fill(&log, to);
            world.drain(&mut turns, Duration::from_secs(seed % 5));
            world.cut();
            world.state().cluster.clear_faults();
            let mut left = Duration::from_secs(seconds);
            while left > Duration::ZERO {
                let some = left.min(10 * MINUTE);
                world.drain(&mut turns, some);
                world.act(Action::ExpireProducers);
                left -= some;
            }
            if seconds == 3600 {
                let forget = Action::ForgetProducers { topic: "t".to_owned() };
                world.act(forget);
            }
            world.mend();
            let status = world.drain(&mut turns, HOUR);
            assert_eq!((status.lag_records, status.upstream.maybe_doubled), (0, 0), "{status:?}");
            assert_once(&world, to);
        }
    }
}

/// R26: the wall clock jumps to 1970 and to 2038 while the link is down: tries come as often as
/// before, and shipping begins within the longest wait once the link is there.
#[test]
fn a_wall_clock_that_jumps_hastens_and_delays_nothing() {
    for seed in SEEDS {
        let world = World::with_topic(3, seed);
        let log = options().open_on(&disk(), "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        fill(&log, 50);
        world.cut();
        for year in [1970, 2038, 1970, 2026] {
            world.state().wall_ahead_ms = (year - 2026) * 31_557_600_000;
            let before = world.state().tried;
            world.drain(&mut turns, 10 * MINUTE);
            let tried = world.state().tried - before;
            assert!((30..400).contains(&tried), "{tried} tries in ten minutes of {year}");
        }
        world.mend();
        let status = world.drain(&mut turns, Duration::from_secs(31));
        assert_eq!(status.lag_records, 0, "{status:?}");
        assert_once(&world, 50);
    }
}

/// R31: stopped with batches on their way, as often as you like, and closed in between.
#[test]
fn a_device_that_is_stopped_in_the_middle_goes_on_where_it_was() {
    for seed in SEEDS {
        let (world, disk) = (World::with_topic(3, seed), disk());
        let lost = Fault::DropAfter { close: false };
        world.state().cluster.fault(ApiKey::Produce, When::PerMille(100), lost);
        let late = Fault::Land(Duration::from_secs(1 + seed % 7));
        world.state().cluster.fault(ApiKey::Produce, When::PerMille(100), late);
        for life in 1..=12 {
            let log = options().flush(FlushPolicy::EveryAppend).open_on(&disk, "/log").unwrap();
            let mut turns = world.ship(&log, world.upstream("t"));
            fill(&log, life * 50);
            for _ in 0..(seed * 5 + life as u64 * 11) % 30 {
                turns.turn();
            }
            drop(turns);
            log.close().unwrap();
        }
        world.state().cluster.clear_faults();
        let log = options().open_on(&disk, "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        assert_once(&world, 600);
    }
}

/// A broker that forgets the producer of old records between two batches takes the second for the
/// first that it ever saw, though it refused the one before: none is on its way behind another.
#[test]
fn a_producer_of_old_records_that_is_forgotten_between_two_batches_loses_none() {
    let world = World::with_topic(3, 3);
    world.state().cluster.topic_config("t", "retention.ms", "-1");
    let log = options().open_on(&disk(), "/log").unwrap();
    let time = Timestamp::from_millis(WALL_MS - 2 * 86_400_000);
    let text = |nth: i64| format!("{nth} {}", "v".repeat(700));
    for batch in 0..12 {
        let values: Vec<_> = (batch * 30..batch * 30 + 30).map(text).collect();
        let records = values.iter().map(|value| NewRecord::new(value).timestamp(time));
        log.append_batch(records).unwrap();
    }
    log.flush().unwrap();
    let forget = Action::ForgetProducers { topic: "t".to_owned() };
    let mut state = world.state();
    state.cluster.fault(ApiKey::Produce, When::Nth(4), Fault::Error(19));
    state.cluster.fault(ApiKey::Produce, When::Nth(5), Fault::Before(forget));
    drop(state);
    let mut turns = world.ship(&log, world.upstream("t"));
    assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
    let expected: Vec<_> = (0..360).map(|nth| text(nth).into_bytes()).collect();
    assert!(found(&world) == expected, "each once and in order");
}
