//! Disks that are copied, and devices that go on with another board or card (R27): each record of
//! each device arrives, once.

use forebay::simulation::{Disk, Keep};
use forebay::{Log, Offset, ReplicatorStatus};

use crate::lasts::{drain, found, open};
use crate::ships::disk;
use crate::world::World;

fn one(log: &Log, name: &str, count: i64) {
    for number in 0..count {
        log.append(format!("{name} {number}")).unwrap();
    }
    log.flush().unwrap();
}

fn ship(world: &World, log: &Log) -> ReplicatorStatus {
    let status = drain(world, log, world.upstream("t"));
    assert_eq!(status.lag_records, 0, "{status:?}");
    status
}

/// Of each name, how many there are; nothing else is there, and nothing twice.
fn counts<const N: usize>(world: &World, names: [&str; N]) -> [usize; N] {
    let mut found = found(world);
    let all = found.len();
    let of = |name: &str| {
        let is = |value: &&Vec<u8>| {
            value.rsplitn(2, |byte| *byte == b' ').nth(1) == Some(name.as_bytes())
        };
        found.iter().filter(is).count()
    };
    let counts = names.map(of);
    found.sort();
    found.dedup();
    assert_eq!((found.len(), counts.iter().sum()), (all, all));
    counts
}

fn shipped_and_copied(world: &World, known: bool) -> (Disk, Disk) {
    let first = disk();
    first.set_hardware(known.then_some(1));
    let log = open(&first);
    one(&log, "both", 100);
    ship(world, &log);
    log.close().unwrap();
    let second = first.power_cut(Keep::All);
    second.set_hardware(known.then_some(2));
    (first, second)
}

/// The copy may be the first that goes on; neither takes what the other shipped for its own, also
/// where nothing is known of the devices.
#[test]
fn a_copy_on_another_device_ships_under_an_id_of_its_own_from_the_start() {
    for (copy_first, known) in [(true, true), (false, true), (true, false), (false, false)] {
        let world = World::with_topic(1, 1);
        let (first, second) = shipped_and_copied(&world, known);
        let mut logs = [(open(&first), "first", 30), (open(&second), "second", 20)];
        if copy_first {
            logs.reverse();
        }
        for (nth, (log, name, count)) in logs.iter().enumerate() {
            one(log, name, *count);
            let shared = ship(&world, log).upstream.identity_shared;
            let told = nth == 1 && (*name == "second" || !known);
            assert_eq!(shared, u64::from(told), "{name}, copy first: {copy_first}, known: {known}");
        }
        for (log, name, _) in &logs {
            one(log, &format!("{name} again"), 7);
            ship(&world, log);
        }
        let names = ["both", "first", "second", "first again", "second again"];
        assert_eq!(counts(&world, names), [100, 30, 20, 7, 7], "copy first: {copy_first}");
    }
}

/// What the first device shipped behind the copy, and the copy has too, is not shipped again.
#[test]
fn a_copy_goes_on_behind_what_both_have() {
    let world = World::with_topic(1, 1);
    let first = disk();
    first.set_hardware(Some(1));
    let log = open(&first);
    one(&log, "both", 100);
    ship(&world, &log);
    one(&log, "both later", 20);
    let second = first.power_cut(Keep::All);
    second.set_hardware(Some(2));
    one(&log, "first", 10);
    ship(&world, &log);
    let copy = open(&second);
    one(&copy, "second", 10);
    let status = ship(&world, &copy);
    assert_eq!(status.upstream.identity_shared, 1, "{status:?}");
    one(&log, "first again", 5);
    ship(&world, &log);
    let names = ["both", "both later", "first", "second", "first again"];
    assert_eq!(counts(&world, names), [100, 20, 10, 10, 5]);
}

/// A card in another board, and one of which nothing is known: nothing is lost, nothing doubled.
#[test]
fn a_disk_that_moves_goes_on_where_it_was() {
    let world = World::with_topic(1, 1);
    let (mut disk, _) = shipped_and_copied(&world, true);
    for (round, hardware) in [None, Some(3), None, Some(4), Some(4)].into_iter().enumerate() {
        disk = disk.kill();
        disk.set_hardware(hardware);
        let log = open(&disk);
        assert_eq!(log.log_end_offset(), Offset::new(100 + 10 * round as i64));
        for number in 0..10 {
            log.append(format!("moved {}", round * 10 + number)).unwrap();
        }
        log.flush().unwrap();
        assert_eq!(ship(&world, &log).upstream.identity_shared, 0);
    }
    assert_eq!(counts(&world, ["both", "moved"]), [100, 50]);
}
