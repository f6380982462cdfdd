//! Several upstreams of one log, each with its own progress: two clusters and a second disk; and
//! several logs that share a topic.

use std::time::Duration;

use forebay::{
    Hold, Log, LogOptions, LogUpstream, NewRecord, OffsetSpec, ReplicatorTurns, Store, Timestamp,
    Turn, UpstreamPartition, partition_for_key,
};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Fault, When};
use crate::ships::{HOUR, assert_once, disk, fill, options, value};
use crate::world::{WALL_MS, World};

const NAMES: [&str; 3] = ["first", "second", "copy"];

fn small() -> LogOptions {
    options().segment_bytes(32 << 10).max_batch_bytes(32 << 10).retention_bytes(0)
}

/// Two clusters, and a log in another directory.
struct Several {
    worlds: [World; 2],
    copy: tempfile::TempDir,
    turns: Vec<ReplicatorTurns>,
}

impl Several {
    fn new(seed: u64) -> Several {
        let worlds = [World::with_topic(3, seed), World::with_topic(3, seed + 1000)];
        Several { worlds, copy: tempfile::tempdir().unwrap(), turns: Vec::new() }
    }

    fn start(&mut self, log: &Log) {
        self.turns.clear();
        let [first, second] = &self.worlds;
        self.turns.push(first.ship_as(NAMES[0], log, first.upstream("t")));
        self.turns.push(second.ship_as(NAMES[1], log, second.upstream("t")));
        let mirror = LogUpstream::new(self.copy.path().join("copy"));
        self.turns.push(first.ship_as(NAMES[2], log, mirror.options(options())));
    }

    fn turn(&mut self, which: usize) {
        if let Turn::Pause(wait) = self.turns[which].turn() {
            self.worlds[which % 2].pass(wait.min(Duration::from_millis(20)));
        }
    }

    fn drain(&mut self, which: usize) {
        let status = self.worlds[which % 2].drain(&mut self.turns[which], HOUR);
        assert_eq!(status.lag_records, 0, "{}: {status:?}", NAMES[which]);
    }

    fn copied(&self) -> Vec<Vec<u8>> {
        let log = options().open(self.copy.path().join("copy")).unwrap();
        let batches = log.reader(OffsetSpec::Earliest).unwrap();
        let values = batches.flat_map(|batch| {
            let batch = batch.unwrap();
            batch.records().map(|one| one.unwrap().value().to_vec()).collect::<Vec<_>>()
        });
        values.collect()
    }
}

#[test]
fn upstreams_of_one_log_have_each_everything_and_hold_what_one_of_them_lacks() {
    for seed in 0..20 {
        let mut several = Several::new(seed);
        for world in &several.worlds {
            let cluster = &mut world.state().cluster;
            let lost = Fault::DropAfter { close: seed % 2 == 0 };
            cluster.fault(ApiKey::Produce, When::PerMille(100), lost);
            cluster.fault(ApiKey::Produce, When::PerMille(50), Fault::Error(6));
        }
        let mut disk = disk();
        let mut end = 0;
        for life in 0..5_u64 {
            let log = small().hold(Hold::Everyone).open_on(&disk, "/log").unwrap();
            several.start(&log);
            for round in 0..6 {
                end += 30;
                fill(&log, end);
                for turn in 0..12 {
                    several.turn(((seed + turn * turn + round) % 3) as usize);
                }
                log.apply_retention().unwrap();
                let least = several.turns.iter().map(|turns| turns.status().committed).min();
                assert!(log.log_start_offset() <= least.unwrap(), "{least:?}");
            }
            if (life + seed) % 3 == 0 {
                several.turns.clear();
                log.close().unwrap();
            }
            several.turns.clear();
            disk = disk.kill();
        }
        let log = small().hold(Hold::Everyone).open_on(&disk, "/log").unwrap();
        several.start(&log);
        several.worlds.iter().for_each(|world| world.state().cluster.clear_faults());
        (0..3).for_each(|which| several.drain(which));
        log.apply_retention().unwrap();
        assert!(log.log_start_offset().get() > 0, "what all have is free to go");
        several.turns.clear();
        several.worlds.iter().for_each(|world| assert_once(world, end));
        assert!(several.copied() == (0..end).map(value).collect::<Vec<_>>());
    }
}

#[test]
fn an_upstream_that_refuses_for_long_stops_no_other() {
    let each = Hold::Each(NAMES.map(str::to_owned).to_vec());
    let any = Hold::Any(NAMES.map(str::to_owned).to_vec());
    for (hold, held) in [(each, true), (any, false)] {
        let mut several = Several::new(1);
        let refused = Fault::Error(29);
        several.worlds[1].state().cluster.fault(ApiKey::Produce, When::From(1), refused);
        let log = small().hold(hold).open_on(&disk(), "/log").unwrap();
        several.start(&log);
        let mut end = 0;
        for _ in 0..40 {
            end += 50;
            fill(&log, end);
            several.drain(0);
            several.drain(2);
            let (world, turns) = (&several.worlds[1], &mut several.turns[1]);
            let status = world.drain(turns, Duration::from_secs(60));
            assert_eq!(status.upstream.upstream_offset, None, "{status:?}");
            assert!(status.last_error.unwrap().contains("grant the user WRITE"));
            log.apply_retention().unwrap();
        }
        let start = log.log_start_offset().get();
        assert_eq!(start == 0, held, "{start}");
        several.worlds[1].state().cluster.clear_faults();
        several.drain(1);
        let gap = several.turns[1].status().upstream.gap_records;
        several.turns.clear();
        assert_once(&several.worlds[0], end);
        assert!(several.copied() == (0..end).map(value).collect::<Vec<_>>());
        let state = several.worlds[1].state();
        state.cluster.assert_no_violations();
        let left: Vec<_> = (start..end).map(value).collect();
        state.cluster.assert_exactly_once("t", 0, &left);
        assert_eq!(gap, start.unsigned_abs());
    }
}

/// Local partition to upstream partition: a key stands where Kafka's own producers put it. And by
/// the name of the device: where the name says.
#[test]
fn partitions_here_ship_to_those_there_and_a_device_to_the_one_of_its_name() {
    let world = World::new(1, 1);
    world.state().cluster.create_topic("t", 4, &[]);
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    let engines = store.partitioned("engine", 4).unwrap();
    for number in 0..200 {
        let key = format!("engine-{}", number % 23);
        let record = NewRecord::new(number.to_string()).key(key);
        engines.append(record.timestamp(Timestamp::from_millis(WALL_MS))).unwrap();
    }
    store.flush().unwrap();
    for number in 0..4 {
        let log = engines.log(number).unwrap();
        let fixed = UpstreamPartition::Fixed(number as i32);
        let mut turns = world.ship(&log, world.upstream("t").partition(fixed));
        assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
    }
    {
        let state = world.state();
        let rows = |number| state.cluster.records("t", number);
        let all: Vec<_> = (0..4)
            .flat_map(|number| rows(number).into_iter().map(move |row| (number, row)))
            .collect();
        assert_eq!(all.len(), 200);
        for (number, row) in &all {
            assert_eq!(partition_for_key(row.key.as_deref().unwrap(), 4), *number as u32);
        }
    }
    let log = options().open_on(&disk(), "/log").unwrap();
    fill(&log, 10);
    let name = "gateway-77";
    let by_name = UpstreamPartition::ByKey(name.to_owned());
    let there = partition_for_key(name.as_bytes(), 4) as i32;
    let before = world.state().cluster.records("t", there).len();
    let mut turns = world.ship(&log, world.upstream("t").partition(by_name));
    assert_eq!(world.drain(&mut turns, HOUR).lag_records, 0);
    assert_eq!(world.state().cluster.records("t", there).len(), before + 10);
}
