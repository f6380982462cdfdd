//! A compacted log: each record that is left arrives, in order, whatever the gaps between them.

use forebay::simulation::Disk;
use forebay::{Cleanup, Log, NewRecord, OffsetSpec};

use crate::ships::{HOUR, disk, options};
use crate::world::World;

fn open(disk: &Disk) -> Log {
    let options = options().segment_bytes(16 << 10).max_batch_bytes(8 << 10);
    let options = options.cleanup(Cleanup::Compact).min_cleanable_dirty_percent(100);
    options.open_on(disk, "/log").unwrap()
}

/// Batches of several records, of which some keys come again and some are deleted.
fn fill(log: &Log, rounds: u64) {
    for _ in 0..rounds {
        let first = log.log_end_offset().get();
        let batch = (first..first + 5).map(|number| {
            let key = format!("{}", number * number % 61).into_bytes();
            match number % 11 {
                10 => NewRecord::tombstone(key),
                _ => NewRecord::new(format!("{number} {}", "v".repeat(60))).key(key),
            }
        });
        log.append_batch(batch).unwrap();
    }
    log.flush().unwrap();
}

/// Key and value, in order.
type Rows = Vec<(Option<Vec<u8>>, Option<Vec<u8>>)>;

fn here(log: &Log) -> Rows {
    let mut rows = Vec::new();
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        for record in batch.unwrap().records() {
            let record = record.unwrap();
            let value = (!record.is_tombstone()).then(|| record.value().to_vec());
            rows.push((record.key().map(<[u8]>::to_vec), value));
        }
    }
    rows
}

fn there(world: &World) -> Rows {
    let state = world.state();
    state.cluster.assert_no_violations();
    let rows = state.cluster.records("t", 0).into_iter();
    rows.map(|row| (row.key, row.value)).collect()
}

/// Batches with gaps inside and with a delete horizon go out as plain dense ones, once each.
#[test]
fn what_is_left_of_a_compacted_log_arrives_in_order() {
    for marks in [false, true] {
        let (world, disk) = (World::with_topic(1, 3), disk());
        let log = open(&disk);
        fill(&log, 150);
        let report = log.compact().unwrap();
        assert!(report.superseded > 300, "{report:?}");
        let mut turns = world.ship(&log, world.upstream("t").mark_gaps(marks));
        let status = world.drain(&mut turns, HOUR);
        assert_eq!((status.lag_records, status.failures), (0, 0), "{status:?}");
        assert_eq!(status.upstream.gap_records, 0, "nothing was lost");
        assert!(there(&world) == here(&log));
    }
}

/// It is compacted between two lives, and while it ships: what arrives is in order, nothing that is
/// left is missing, and the table is the same.
#[test]
fn a_log_that_is_compacted_while_it_ships_leaves_the_same_table() {
    for seed in 0..20 {
        let (world, mut disk) = (World::with_topic(1, seed), disk());
        for life in 0..4 {
            let log = open(&disk);
            fill(&log, 60);
            let mut turns = world.ship(&log, world.upstream("t"));
            for _ in 0..seed * 3 % 17 {
                turns.turn();
            }
            log.compact().unwrap();
            if life == 3 {
                let status = world.drain(&mut turns, HOUR);
                assert_eq!(status.lag_records, 0, "{status:?}");
            }
            drop(turns);
            if life == 3 {
                let found = there(&world);
                let number = |value: &[u8]| -> i64 {
                    std::str::from_utf8(value).unwrap().split(' ').next().unwrap().parse().unwrap()
                };
                let numbers: Vec<_> =
                    found.iter().filter_map(|(_, value)| value.as_deref()).map(number).collect();
                assert!(numbers.is_sorted_by(|a, b| a < b), "seed {seed}: in order, once");
                assert!(table(&found) == table(&here(&log)), "seed {seed}");
            }
            disk = disk.kill();
        }
    }
}

fn table(rows: &Rows) -> std::collections::BTreeMap<Vec<u8>, Vec<u8>> {
    let mut table = std::collections::BTreeMap::new();
    for (key, value) in rows {
        let key = key.clone().unwrap_or_default();
        match value {
            Some(value) => table.insert(key, value.clone()),
            None => table.remove(&key),
        };
    }
    table
}
