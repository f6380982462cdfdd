//! The device forgets what it has shipped, all copies of it (R23): it is found again in the topic.

use forebay::simulation::Disk;
use forebay::{Log, Offset};

use crate::lasts::open;
use crate::ships::{HOUR, assert_once, disk, fill, options, value};
use crate::world::World;

/// Every byte of what the committed offsets are kept in.
pub(crate) fn forget(disk: &Disk) {
    let mut names = disk.file_names("/log");
    names.retain(|name| name.contains("checkpoint"));
    assert!(!names.is_empty(), "{:?}", disk.file_names("/log"));
    for name in names {
        let path = format!("/log/{name}");
        let length = disk.read_file(&path).unwrap().len();
        disk.write_file(&path, &vec![0xa5; length]);
    }
}

fn ship(world: &World, log: &Log) {
    let mut turns = world.ship(log, world.upstream("t"));
    let status = world.drain(&mut turns, HOUR);
    assert_eq!((status.lag_records, status.upstream.maybe_doubled), (0, 0), "{status:?}");
}

/// Whether the broker is there at once or only behind another start, and whatever of the log was
/// shipped.
#[test]
fn what_was_shipped_is_found_in_the_topic_and_goes_on_behind_it() {
    for seed in 0..20_u64 {
        for kind in ["CreateTime", "LogAppendTime"] {
            let (world, mut disk) = (World::new(1, seed), disk());
            let setting = ("message.timestamp.type", kind);
            world.state().cluster.create_topic("t", 1, &[setting]);
            // Another device ships to the same partition, before and behind.
            let other = options().open_on(&crate::ships::disk(), "/log").unwrap();
            let strange = |from: i64, to: i64| {
                let values = (from..to).map(|number| format!("strange {number}"));
                other.append_batch(values).unwrap();
                other.flush().unwrap();
                ship(&world, &other);
            };
            strange(0, 40);
            let log = open(&disk);
            fill(&log, 200);
            let mut turns = world.ship(&log, world.upstream("t"));
            for _ in 0..3 + seed * 2 {
                turns.turn();
            }
            drop(turns);
            strange(40, 90);
            fill(&log, 300);
            disk = disk.kill();
            drop(log);
            forget(&disk);
            if seed % 2 == 0 {
                world.cut();
                let log = open(&disk);
                assert!(log.recovery().checkpoint_lost);
                let mut turns = world.ship(&log, world.upstream("t"));
                world.drain(&mut turns, HOUR / 60);
                drop(turns);
                log.close().unwrap();
                world.mend();
            }
            let log = open(&disk);
            ship(&world, &log);
            fill(&log, 350);
            ship(&world, &log);
            let state = world.state();
            state.cluster.assert_no_violations();
            let rows = state.cluster.records("t", 0).into_iter();
            let found = rows.map(|row| row.value.unwrap());
            let ours: Vec<_> = found.filter(|value| !value.starts_with(b"strange")).collect();
            let expected: Vec<_> = (0..350).map(value).collect();
            assert!(ours == expected, "seed {seed}, {kind}: {} records", ours.len());
        }
    }
}

/// Nothing of the log stands there: it begins where the log does.
#[test]
fn where_nothing_is_found_everything_is_shipped() {
    let (world, disk) = (World::with_topic(1, 1), disk());
    let log = open(&disk);
    fill(&log, 100);
    log.delete_records(Offset::new(30)).unwrap();
    drop(log);
    forget(&disk);
    let log = open(&disk);
    let start = log.log_start_offset().get();
    ship(&world, &log);
    let state = world.state();
    let expected: Vec<_> = (start..100).map(value).collect();
    state.cluster.assert_exactly_once("t", 0, &expected);
    drop(state);
    assert!(start <= 30);
    let (world, log) = (World::with_topic(1, 2), open(&crate::ships::disk()));
    fill(&log, 50);
    ship(&world, &log);
    assert_once(&world, 50);
}

/// Retention has passed the last record that was shipped: what is left arrives, and it is told that
/// nobody knows of what lay before.
#[test]
fn what_was_deleted_besides_is_told() {
    for restart in [false, true] {
        let (world, disk) = (World::with_topic(1, 1), disk());
        let log = open(&disk);
        fill(&log, 100);
        ship(&world, &log);
        fill(&log, 3000);
        log.delete_records(Offset::new(2000)).unwrap();
        log.close().unwrap();
        forget(&disk);
        let log = open(&disk);
        let start = log.log_start_offset().get();
        assert!((101..=2000).contains(&start), "{start}");
        let mut turns = world.ship(&log, world.upstream("t"));
        turns.turn();
        let [warning] = &turns.status().upstream.warnings[..] else {
            panic!("{:?}", turns.status())
        };
        assert!(warning.contains(&format!("begins at offset {start}: whether")), "{warning}");
        if restart {
            drop(turns);
            ship(&world, &log);
        } else {
            assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
        }
        let expected: Vec<_> = (0..100).chain(start..3000).map(value).collect();
        world.state().cluster.assert_exactly_once("t", 0, &expected);
    }
}
