//! I15: a tombstone goes once it is old enough by the log clock, and never before.

use std::time::Duration;

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{IoMode, Log, LogOptions, NewRecord, OffsetSpec, Timestamp};

use crate::history::small;
use crate::util::{MODES, read_all};

const DIR: &str = "/data/log";
const HOUR: i64 = 3_600_000;
const DAY: i64 = 24 * HOUR;
const TODAY: i64 = 1_795_000_000_000;

fn options(mode: IoMode) -> LogOptions {
    small(mode).delete_retention(Duration::from_secs(24 * 3600))
}

/// A machine whose real time is known.
struct World {
    disk: Disk,
    mode: IoMode,
    log: Log,
    /// Milliseconds that really passed.
    now: i64,
}

impl World {
    fn new(mode: IoMode) -> World {
        let disk = Disk::new(Profile::default());
        disk.set_wall(TODAY);
        let log = options(mode).open_on(&disk, DIR).unwrap();
        World { disk, mode, log, now: 0 }
    }

    fn pass(&mut self, millis: i64) {
        self.disk.advance(Duration::from_millis(millis.unsigned_abs()));
        self.now += millis;
    }

    /// Seals what there is, with records of a key that nobody looks at.
    fn seal(&self) {
        for number in 0..40_u32 {
            self.log.append(NewRecord::new(format!("{number:>200}")).key("other")).unwrap();
        }
    }

    fn delete(&self, key: &str) -> i64 {
        self.log.append(NewRecord::new("value").key(key.as_bytes())).unwrap();
        self.log.append(NewRecord::tombstone(key.as_bytes())).unwrap().get()
    }

    fn has(&self, offset: i64) -> bool {
        read_all(&self.log).iter().any(|record| record.offset == offset)
    }

    fn reopen(&mut self, next: Disk) {
        self.disk = next;
        self.log = options(self.mode).open_on(&self.disk, DIR).unwrap();
    }
}

/// It stays a day from the compaction that took what it deletes, whatever the wall clock does, and
/// its batch says when by Kafka's horizon; its time and the others' stay what they were.
#[test]
fn a_tombstone_stays_its_retention_whatever_the_wall_clock_does() {
    for mode in MODES {
        let jumps = [0, TODAY + 10 * 365 * DAY, -DAY, TODAY, i64::MAX / 2];
        for (n, jump) in jumps.into_iter().enumerate() {
            let mut world = World::new(mode);
            let before = world.delete("gone");
            let alive = world.log.append(NewRecord::new("here").key("alive")).unwrap().get();
            world.seal();
            let times: Vec<_> = read_all(&world.log).iter().map(|r| r.timestamp).collect();
            let report = world.log.compact().unwrap();
            assert_eq!(report.tombstones_dropped, 0);
            assert!(world.has(before) && !world.has(before - 1), "its value went at once");
            for record in read_all(&world.log) {
                assert_eq!(record.timestamp, times[record.offset as usize]);
            }
            let mut reader = world.log.reader(OffsetSpec::Earliest).unwrap();
            let horizon = reader.next().unwrap().unwrap().delete_horizon();
            assert_eq!(horizon, Some(Timestamp::from_millis(TODAY + DAY)));
            world.disk.set_wall(jump);
            world.disk.set_clock_synchronised(n % 2 == 0);
            for hour in 0..30 {
                world.seal();
                let dropped = world.log.compact().unwrap().tombstones_dropped;
                assert_eq!(
                    (dropped, world.has(before)),
                    if hour == 24 { (1, false) } else { (0, hour < 24) },
                    "{jump} {hour}"
                );
                world.pass(HOUR);
            }
            assert!(world.has(alive));
            let batches = world.log.reader(OffsetSpec::Earliest).unwrap();
            let marked = batches.filter(|b| b.as_ref().unwrap().delete_horizon().is_some());
            assert_eq!(marked.count(), 0, "without a tombstone no horizon");
        }
    }
}

/// Kills and closes lose no time; a power cut may; the machine that was off and knows it counts it.
#[test]
fn restarts_and_power_cuts_drop_none_early_and_all_in_the_end() {
    for mode in MODES {
        for restart in 0..4_u64 {
            let mut world = World::new(mode);
            let mut tombstones: Vec<(i64, Option<i64>)> = Vec::new();
            for round in 0..40_u64 {
                tombstones.push((world.delete(&format!("{round}")), None));
                world.seal();
                let report = world.log.compact().unwrap();
                let cleaned = report.cleaned_offset.get();
                for (offset, since) in &mut tombstones {
                    if *offset < cleaned {
                        let since = *since.get_or_insert(world.now);
                        let age = world.now - since;
                        assert!(world.has(*offset) || age >= DAY, "{offset}, {age} ms old");
                    }
                }
                world.pass(2 * HOUR);
                world.log.flush().unwrap();
                match restart {
                    0 => {
                        world.log.clone().close().unwrap();
                        world.reopen(world.disk.kill());
                    }
                    1 => world.reopen(world.disk.kill()),
                    2 => world.reopen(world.disk.power_cut(Keep::Seed(round))),
                    _ => {
                        // Off for half a day, which it learns from the network later.
                        let next = world.disk.power_cut(Keep::Seed(round));
                        world.now += 12 * HOUR;
                        next.set_wall(TODAY + world.now);
                        next.set_clock_synchronised(round % 2 == 0);
                        world.reopen(next);
                    }
                }
            }
            for _ in 0..3 {
                world.pass(DAY + 2 * HOUR);
                world.seal();
                world.log.compact().unwrap();
            }
            let left = tombstones.iter().filter(|(offset, _)| world.has(*offset)).count();
            assert_eq!(left, 0, "{restart}");
            assert_eq!(read_all(&world.log).iter().filter(|r| r.value.is_none()).count(), 0);
        }
    }
}

/// What passed before the clock was known to be right counts for no tombstone.
#[test]
fn a_clock_that_is_set_late_makes_no_tombstone_old() {
    for mode in MODES {
        let mut world = World::new(mode);
        world.disk.set_clock_synchronised(true);
        world.log.append(NewRecord::new("first").key("first")).unwrap();
        world.log.flush().unwrap();
        // Off for a month; it begins in 1970.
        let next = world.disk.power_cut(Keep::All);
        world.now += 30 * DAY;
        next.set_clock_synchronised(false);
        next.set_wall(0);
        world.reopen(next);
        let tombstone = world.delete("gone");
        world.seal();
        world.log.compact().unwrap();
        world.pass(HOUR);
        world.disk.set_wall(TODAY + world.now);
        world.disk.set_clock_synchronised(true);
        world.log.clock_synchronised();
        world.seal();
        world.log.compact().unwrap();
        assert!(world.has(tombstone), "an hour old");
        world.pass(24 * HOUR);
        world.seal();
        assert_eq!(world.log.compact().unwrap().tombstones_dropped, 1);
        assert!(!world.has(tombstone));
    }
}

/// Damage that heals, as a bit error that passes: what a compaction could not read is cleaned by a
/// later one, before the tombstone behind it goes.
#[test]
fn a_deleted_key_stays_deleted_when_what_was_damaged_can_be_read_again() {
    for mode in MODES {
        let mut world = World::new(mode);
        let old = world.log.append(NewRecord::new("value").key("gone")).unwrap().get();
        world.seal();
        let tombstone = world.log.append(NewRecord::tombstone("gone")).unwrap().get();
        world.seal();
        world.log.flush().unwrap();
        let path = format!("{DIR}/{:020}.log", 0);
        let whole = world.disk.read_file(&path).unwrap();
        let mut damaged = whole.clone();
        damaged[70] ^= 1;
        world.disk.write_file(&path, &damaged);
        assert_eq!(world.log.compact().unwrap().damaged_segments, 1);
        world.disk.write_file(&path, &whole);
        assert!(world.has(old) && world.has(tombstone), "it can be read again");
        for _ in 0..3 {
            world.seal();
            world.log.compact().unwrap();
            assert!(!world.has(old), "the tombstone is known still");
            world.pass(DAY + HOUR);
        }
        assert!(!world.has(tombstone));
    }
}
