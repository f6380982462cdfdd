//! Rows of the fault matrix that last, or lie on the device's side: names that lead nowhere, a
//! full disk, a damaged batch, brokers that offer less than they did, answers that are none.

use std::time::Duration;

use forebay::simulation::Disk;
use forebay::{ErrorKind, Hold, LogOptions, OnFull, Timestamp};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Action, Fault, Garbage, When};
use crate::lasts::found;
use crate::ships::{HOUR, assert_once, disk, fill, options, value};
use crate::world::World;

const SEEDS: std::ops::Range<u64> = 0..20;
const MINUTE: Duration = Duration::from_secs(60);

fn small(options: LogOptions) -> LogOptions {
    options.segment_bytes(32 << 10).max_batch_bytes(32 << 10)
}

/// R17: names that cannot be looked up, all of them or the leader's alone: it waits longer and
/// longer between tries, says which name, and goes on by itself.
#[test]
fn names_that_lead_nowhere_are_told_and_tried_again_without_haste() {
    let all = ["node-1", "node-2", "node-3"].map(str::to_owned).to_vec();
    for seed in SEEDS {
        let world = World::with_topic(3, seed);
        let leader = format!("node-{}", world.state().cluster.leader("t", 0).unwrap());
        let log = options().open_on(&disk(), "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        fill(&log, 50);
        let lost = [all.clone(), vec![leader.clone()]][seed as usize % 2].clone();
        world.state().nameless = lost.clone();
        let status = world.drain(&mut turns, 30 * MINUTE);
        assert_eq!(status.lag_records, 50);
        let error = status.last_error.unwrap();
        let named = lost.iter().any(|name| error.contains(name));
        assert!(error.contains("lookup") && named, "{error}");
        // 30 s between tries at the most and 15 in the mean, three servers each time.
        let tried = world.state().tried;
        assert!((60..=1000).contains(&tried), "{tried} tries in 30 minutes");
        world.mend();
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        assert_once(&world, 50);
        // One bootstrap server that is gone for good is no failure at all.
        world.state().nameless = vec!["node-9".to_owned()];
        let gone = forebay::KafkaUpstream::new("node-9:9092,node-2:9092", "t");
        drop(turns);
        let mut turns = world.ship(&log, gone.network(world.clone()));
        fill(&log, 80);
        let status = world.drain(&mut turns, HOUR);
        assert_eq!((status.lag_records, status.failures), (0, 0), "{status:?}");
        assert_once(&world, 80);
    }
}

/// R24: the device's disk is full while the link is down, and refuses: everything it took arrives
/// once, what was acknowledged can be noted on the full disk, and there is room again behind it.
#[test]
fn a_full_disk_keeps_shipping_and_what_it_took_arrives_once() {
    for seed in SEEDS {
        let (world, disk) = (World::with_topic(3, seed), disk());
        let options = small(options()).hold(Hold::Everyone).retention_bytes(0);
        let log = options.open_on(&disk, "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        turns.turn();
        world.cut();
        disk.set_space(Some((120 + seed * 9) << 10));
        let mut full = None;
        while full.is_none() {
            let next = log.log_end_offset().get();
            full = log.append(value(next)).err();
            turns.turn();
            world.pass(Duration::from_millis(20));
        }
        assert_eq!(full.unwrap().kind(), ErrorKind::OutOfSpace);
        disk.set_space(Some(0));
        let taken = log.flush().unwrap().get();
        assert!(taken > 50, "{taken}");
        world.mend();
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        assert_once(&world, taken);
        log.apply_retention().unwrap();
        fill(&log, taken + 20);
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        assert_once(&world, taken + 20);
    }
}

/// R24: the same, where the oldest records give way: what is left arrives once, and the gap is
/// counted to the record.
#[test]
fn a_full_log_that_drops_its_oldest_ships_the_rest_and_counts_the_gap() {
    for seed in SEEDS {
        let world = World::with_topic(3, seed);
        let options = small(options()).budget_bytes(320 << 10).on_full(OnFull::DropOldest);
        let log = options.open_on(&disk(), "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        let before = 100 + seed as i64;
        fill(&log, before);
        assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
        world.cut();
        let to = 1500 + 31 * seed as i64;
        while log.log_end_offset().get() < to {
            fill(&log, (log.log_end_offset().get() + 50).min(to));
            world.drain(&mut turns, Duration::from_secs(1));
        }
        let start = log.log_start_offset().get();
        assert!(start > before + 100, "{start}");
        world.mend();
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        world.state().cluster.assert_no_violations();
        let found = found(&world);
        // What a link had been handed when it broke may have arrived.
        let first = found.len() as i64 - (to - start);
        assert!((before..=before + 60).contains(&first), "{first}");
        let expected: Vec<_> = (0..first).chain(start..to).map(value).collect();
        assert!(found == expected, "{seed}: {} records", found.len());
        assert_eq!(status.upstream.gap_records, (start - first).unsigned_abs(), "{status:?}");
    }
}

/// R28: a bit turned in the middle of what is not shipped yet: what lies before and behind it
/// arrives once, the rest is counted and told, and no wrong byte is shipped.
#[test]
fn a_damaged_batch_is_passed_over_and_told_and_all_others_arrive() {
    let mut damaged = 0;
    for seed in SEEDS {
        let (world, disk) = (World::with_topic(3, seed), disk());
        let log = small(options()).open_on(&disk, "/log").unwrap();
        fill(&log, 600);
        let mut turns = world.ship(&log, world.upstream("t"));
        for _ in 0..seed * 3 {
            turns.turn();
        }
        drop(turns);
        log.close().unwrap();
        turn_a_bit(&disk, seed);
        let log = small(options()).open_on(&disk, "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        world.state().cluster.assert_no_violations();
        let found = found(&world);
        let missing = 600 - found.len() as i64;
        let same = found.iter().zip(0..).take_while(|(one, n)| **one == value(*n)).count() as i64;
        let expected: Vec<_> = (0..same).chain(same + missing..600).map(value).collect();
        assert!(found == expected, "{seed}: {missing} missing from {same} on");
        assert_eq!(missing.unsigned_abs(), status.unreadable_records, "{status:?}");
        assert!(missing < 100, "{seed}: {missing}");
        damaged += usize::from(missing > 0);
        if missing > 0 {
            assert_eq!(status.last_error_kind, Some(ErrorKind::Corrupt), "{status:?}");
            assert_eq!(status.upstream.gap_records, missing.unsigned_abs(), "{status:?}");
        }
    }
    assert!(damaged > 10, "{damaged} of them before it was shipped");
}

/// In the last third of the log: what is there is not shipped yet.
fn turn_a_bit(disk: &Disk, seed: u64) {
    let mut names = disk.file_names("/log");
    names.retain(|name| name.ends_with(".log"));
    names.sort();
    let name = &names[names.len() - 2 - seed as usize % 2];
    let path = format!("/log/{name}");
    let mut bytes = disk.read_file(&path).unwrap();
    let at = (seed as usize * 7919 + 4000) % bytes.len();
    bytes[at] ^= 1 << (seed % 8);
    disk.write_file(&path, &bytes);
}

/// R30: brokers that offer less than before, as after a rollback: a version that is still enough is
/// used from the next connection on; one that is not is told, and nothing is lost until it is.
#[test]
fn brokers_that_offer_less_than_before_are_met_at_what_they_offer() {
    let needed = [
        (ApiKey::Metadata, 11),
        (ApiKey::Produce, 9),
        (ApiKey::InitProducerId, 4),
        (ApiKey::Fetch, 12),
        (ApiKey::ListOffsets, 6),
        (ApiKey::DescribeConfigs, 4),
    ];
    for seed in SEEDS {
        let world = World::with_topic(3, seed);
        let log = options().open_on(&disk(), "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        let offer = |all: &[(ApiKey, i16)]| {
            let mut state = world.state();
            let now = state.now;
            for (api, version) in all {
                state.cluster.settings.offer(*api, Some(*version));
            }
            for node in 1..=3 {
                state.cluster.act(Action::CloseConnections { node }, now);
            }
        };
        fill(&log, 200);
        for _ in 0..5 + seed % 9 {
            turns.turn();
        }
        offer(&needed);
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        // Those that are asked at every connect.
        let (api, version) = needed[seed as usize % 2];
        offer(&[(api, version - 1)]);
        fill(&log, 300);
        let status = world.drain(&mut turns, 5 * MINUTE);
        assert_eq!(status.last_error_kind, Some(ErrorKind::UpstreamRejected), "{status:?}");
        let error = status.last_error.unwrap();
        assert!(error.contains("Kafka 2.8 or later") && error.contains(&format!("{api:?}")));
        assert_eq!(status.committed.get(), 200);
        offer(&[(api, version)]);
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{status:?}");
        assert_once(&world, 300);
    }
}

/// What takes the place of an answer, or becomes of it.
fn spoilt(kind: u64, seed: u64) -> Fault {
    let some = (seed * 7 + 1) as usize;
    match kind {
        0 => Fault::Truncate(some),
        1 => Fault::Truncate(some * 20),
        2 => Fault::Padded(some),
        3 => Fault::Padded(300_000),
        4 => Fault::Cut(some),
        5 => Fault::Claim,
        6 => Fault::Garbage(Garbage::Random(some)),
        7 => Fault::Garbage(Garbage::Random(70_000)),
        8 => Fault::Garbage(Garbage::LengthZero),
        9 => Fault::Garbage(Garbage::LengthNegative),
        10 => Fault::Garbage(Garbage::LengthHuge),
        11 => Fault::Correlation(some as i32),
        _ => Fault::Flip(1 + (some % 40)),
    }
}

/// Ships three times a few records, the last of it without faults.
fn short_run(world: &World, faults: impl Fn(&World)) -> u64 {
    let log = options().open_on(&disk(), "/log").unwrap();
    let mut turns = world.ship(&log, world.upstream("t"));
    faults(world);
    for to in [20, 40] {
        fill(&log, to);
        world.drain(&mut turns, 3 * MINUTE);
    }
    let requests = world.state().cluster.requests.values().sum();
    world.state().cluster.clear_faults();
    fill(&log, 60);
    let mut status = world.drain(&mut turns, HOUR);
    if status.last_error_kind == Some(ErrorKind::Conflict) && status.lag_records > 0 {
        // The very first answer named another topic id: a person has to say that it is this one.
        assert_eq!(status.committed.get(), 0, "{status:?}");
        drop(turns);
        turns = world.ship(&log, world.upstream("t").follow_new_topic(true));
        status = world.drain(&mut turns, HOUR);
    }
    assert_eq!(status.lag_records, 0, "{status:?}");
    assert!(status.oldest.is_none_or(|oldest| oldest > Timestamp::from_millis(0)));
    assert_once(world, 60);
    requests
}

/// R29: every answer of a short run, spoilt in every way: nothing panics, nothing is lost or
/// doubled, and a length of billions takes no memory.
#[test]
fn every_answer_of_a_run_may_be_spoilt() {
    let answers = short_run(&World::with_topic(3, 0), |_| {});
    assert!(answers >= 10, "{answers}");
    for kind in 0..13 {
        for nth in 1..=answers {
            for seed in 0..if kind < 12 { 2 } else { 20 } {
                let fault = spoilt(kind, seed + nth);
                let what = format!("{fault:?} at answer {nth}, seed {seed}");
                let world = World::with_topic(3, seed);
                let done = std::panic::catch_unwind(|| {
                    short_run(&world, |world| {
                        world.state().cluster.fault_any(When::Nth(nth), fault.clone());
                    })
                });
                assert!(done.is_ok(), "{what}");
            }
        }
    }
}

/// R29: and many of them in a row.
#[test]
fn many_spoilt_answers_in_a_row_are_survived() {
    for seed in 0..60 {
        short_run(&World::with_topic(3, seed), |world| {
            let cluster = &mut world.state().cluster;
            for kind in 0..12 {
                cluster.fault_any(When::PerMille(20), spoilt(kind, seed));
            }
        });
    }
}
