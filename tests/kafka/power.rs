//! The device's power is cut at every call that its log makes to the disk; the cluster lives on.
//!
//! I16, I17: what was durable arrives once and in order; what never was may be missing, and is
//! never there twice or out of its place.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::simulation::{Disk, Keep};
use forebay::{Log, LogOptions, NewRecord};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Fault, When};
use crate::ships::{HOUR, disk, options};
use crate::world::World;

/// What is left of the device behind the cut.
struct Cut {
    disk: Disk,
    /// What the device knew to be durable.
    durable: i64,
}

fn device() -> LogOptions {
    options().segment_bytes(4096).max_batch_bytes(4096).index_interval_bytes(400)
}

fn value(life: i64, number: i64) -> Vec<u8> {
    format!("{life} {number} {}", "v".repeat((number * 37 % 200) as usize)).into_bytes()
}

/// Appends 40 records, flushes five times, and ships between; what is durable is told as it is.
fn live(world: &World, disk: &Disk, durable: &Mutex<i64>) -> bool {
    let run = || -> forebay::Result<()> {
        let log = device().open_on(disk, "/log")?;
        let mut turns = world.ship(&log, world.upstream("t"));
        for flush in 0..5 {
            for number in flush * 8..flush * 8 + 8 {
                log.append(NewRecord::new(value(1, number)).key(number.to_string()))?;
            }
            let below = log.flush()?.get();
            if world.state().powered {
                *durable.lock().unwrap() = below;
            }
            for _ in 0..4 {
                turns.turn();
            }
        }
        world.drain(&mut turns, Duration::from_secs(5));
        Ok(())
    };
    run().is_ok()
}

/// Lives until call `at`, if there are so many.
fn cut_at(world: &World, at: u64, keep: Keep) -> Option<Cut> {
    let (disk, durable) = (disk(), Arc::new(Mutex::new(0)));
    let left = Arc::new(Mutex::new(None));
    let (hook_world, hook_left, hook_durable) = (world.clone(), left.clone(), durable.clone());
    let mut calls = 0_u64;
    disk.watch(move |disk, _| {
        if calls == at {
            // From here on nothing that the device does is seen by anybody.
            hook_world.power(false);
            let durable = *hook_durable.lock().unwrap();
            *hook_left.lock().unwrap() = Some(Cut { disk: disk.power_cut(keep), durable });
        }
        calls += 1;
    });
    live(world, &disk, &durable);
    disk.unwatch();
    let cut = left.lock().unwrap().take();
    world.power(true);
    cut
}

/// Records of the first life up to one, those of the second behind them, and nothing else.
fn judge(world: &World, log: &Log, durable: i64, what: &str) {
    let state = world.state();
    state.cluster.assert_no_violations();
    let rows = state.cluster.records("t", 0);
    let texts: Vec<_> = rows.iter().map(|row| row.value.clone().unwrap()).collect();
    let split = texts.iter().position(|text| text.starts_with(b"2 ")).unwrap_or(texts.len());
    let (first, second) = texts.split_at(split);
    let known = first.len() as i64;
    let expected: Vec<_> = (0..known).map(|number| value(1, number)).collect();
    assert!(first == expected, "{what}: {known} of the first life, in another order");
    assert!(known >= durable, "{what}: {durable} were durable, {known} arrived");
    let expected: Vec<_> = (0..20).map(|number| value(2, number)).collect();
    assert!(second == expected, "{what}: {} of the second life", second.len());
    let end = log.log_end_offset().get();
    assert!(end >= known + 20, "{what}: {end}");
}

fn every_call(kept: impl Fn(u64) -> Keep, faults: impl Fn(&World)) -> u64 {
    for at in 0.. {
        let world = World::with_topic(1, at);
        faults(&world);
        let keep = kept(at);
        let what = format!("call {at}, {keep:?}");
        let Some(cut) = cut_at(&world, at, keep) else { return at };
        world.state().cluster.clear_faults();
        let log = device().open_on(&cut.disk, "/log").unwrap();
        let mut turns = world.ship(&log, world.upstream("t"));
        let status = world.drain(&mut turns, HOUR);
        assert_eq!(status.lag_records, 0, "{what}: {status:?}");
        for number in 0..20 {
            log.append(value(2, number)).unwrap();
        }
        log.flush().unwrap();
        let status = world.drain(&mut turns, HOUR);
        let found = (status.lag_records, status.upstream.maybe_doubled);
        assert_eq!(found, (0, 0), "{what}: {status:?}");
        assert_eq!(status.upstream.identity_shared, 0, "{what}: {status:?}");
        judge(&world, &log, cut.durable, &what);
    }
    0
}

/// All of the calls, and what was not synced lost, kept, or kept in part by chance.
#[test]
fn a_power_cut_at_any_call_to_the_disk_doubles_and_loses_nothing_durable() {
    for kept in [|_| Keep::None, |_| Keep::All, |at| Keep::Seed(at)] {
        let calls = every_call(kept, |_| {});
        assert!(calls > 100, "{calls}");
    }
}

/// The same with answers that are lost and requests that land late, so that the device dies in
/// doubt.
#[test]
fn a_power_cut_at_any_call_with_answers_on_their_way_doubles_and_loses_nothing_durable() {
    for seed in 0..2 {
        let calls = every_call(
            |at| if at % 2 == 0 { Keep::None } else { Keep::Seed(at + seed) },
            |world| {
                let cluster = &mut world.state().cluster;
                let lost = Fault::DropAfter { close: seed % 2 == 0 };
                cluster.fault(ApiKey::Produce, When::PerMille(300), lost);
                let late = Fault::Land(Duration::from_millis(700));
                cluster.fault(ApiKey::Produce, When::PerMille(200), late);
            },
        );
        assert!(calls > 100, "{calls}");
    }
}
