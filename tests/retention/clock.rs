//! I15: retention by age deletes nothing early, whatever the wall clock does, and everything in the
//! end. The judge is the time that really passed on the simulated machine.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{FlushPolicy, IoMode, Log, LogOptions, NewRecord, Timestamp};

use crate::recovery::{Chance, DIR};
use crate::util::MODES;

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const YEARS_TEN: i64 = 10 * 31_557_600_000;
/// 2026-06-01.
const TODAY: i64 = 1_780_272_000_000;
/// What records may be deleted at.
const AGE: i64 = 24 * HOUR;

fn options(mode: IoMode) -> LogOptions {
    let options = Log::options().io_mode(mode).segment_bytes(4096).flush(FlushPolicy::Manual);
    options.retention_age(Duration::from_millis(AGE.unsigned_abs()))
}

/// A machine, its log, and when each record was really appended.
struct World {
    disk: Disk,
    mode: IoMode,
    log: Log,
    /// Milliseconds that really passed, the machine being off included.
    now: i64,
    appended: BTreeMap<i64, i64>,
}

impl World {
    fn new(mode: IoMode) -> World {
        let disk = Disk::new(Profile::default());
        disk.set_wall(1000);
        let log = options(mode).open_on(&disk, DIR).unwrap();
        World { disk, mode, log, now: 0, appended: BTreeMap::new() }
    }

    fn pass(&mut self, millis: i64) {
        self.disk.advance(Duration::from_millis(millis.unsigned_abs()));
        self.now += millis;
    }

    fn set_wall(&mut self, wall: i64) {
        self.disk.set_wall(wall);
    }

    /// Appends some records that carry these times, and holds the log to what may be gone.
    fn append(&mut self, count: usize, timestamp: Option<i64>) {
        for _ in 0..count {
            let value = "x".repeat(300);
            let mut record = NewRecord::new(value.as_str());
            if let Some(time) = timestamp {
                record = record.timestamp(Timestamp::from_millis(time));
            }
            let offset = self.log.append(record).unwrap().get();
            self.appended.insert(offset, self.now);
        }
        self.check();
    }

    fn retain(&mut self) {
        self.log.apply_retention().unwrap();
        self.check();
    }

    /// Whatever is gone was old enough, really.
    fn check(&mut self) {
        let start = self.log.log_start_offset().get();
        for (offset, appended) in self.appended.range(..start) {
            let age = self.now - appended;
            assert!(age >= AGE, "record {offset} was deleted {} minutes old", age / MINUTE);
        }
        self.appended = self.appended.split_off(&start);
    }

    /// How old the oldest record that is there really is.
    fn oldest(&self) -> i64 {
        self.appended.values().next().map_or(0, |appended| self.now - appended)
    }

    fn reopen(&mut self, next: Disk) {
        self.disk = next;
        self.log = options(self.mode).open_on(&self.disk, DIR).unwrap();
        let end = self.log.log_end_offset().get();
        self.appended.split_off(&end);
        self.check();
    }

    fn close(&mut self) {
        self.log.clone().close().unwrap();
        let next = self.disk.kill();
        self.reopen(next);
    }

    fn kill(&mut self) {
        let next = self.disk.kill();
        self.reopen(next);
    }

    /// A power cut; the machine is off for so long, and its clock says what it likes then.
    fn cut(&mut self, keep: Keep, off: i64, wall: i64, synchronised: bool) {
        let next = self.disk.power_cut(keep);
        self.now += off;
        next.set_wall(wall);
        next.set_clock_synchronised(synchronised);
        self.reopen(next);
    }
}

/// A clock that begins in 1970 and jumps to today, runs backwards, jumps ten years ahead and
/// returns, synchronised or not, with records of the far future and the far past: nothing goes a
/// minute early, and what is old enough goes.
#[test]
fn no_jump_of_the_wall_clock_deletes_early_or_keeps_for_ever() {
    let times = [None, Some(0), Some(i64::MAX / 2), Some(TODAY + YEARS_TEN), Some(-1)];
    for mode in MODES {
        for synchronised in [false, true] {
            let mut world = World::new(mode);
            world.disk.set_clock_synchronised(synchronised);
            let jumps = [TODAY, TODAY - YEARS_TEN, TODAY + YEARS_TEN, 0, TODAY, -YEARS_TEN, TODAY];
            for (n, wall) in jumps.iter().cycle().take(40).enumerate() {
                world.append(9, times[n % times.len()]);
                world.set_wall(*wall);
                world.log.flush().unwrap();
                world.append(9, times[(n + 1) % times.len()]);
                if synchronised {
                    world.log.clock_synchronised();
                }
                world.retain();
                world.pass(90 * MINUTE);
                world.retain();
                // A segment at most is younger than its oldest record.
                assert!(world.oldest() <= AGE + 4 * HOUR, "{} minutes", world.oldest() / MINUTE);
            }
            assert!(world.log.log_start_offset().get() > 300);
        }
    }
}

/// An active segment that nobody fills is sealed when it is old, and goes a day later; with records
/// coming slowly, with none at all, by the log's own calls and by hand.
#[test]
fn a_log_that_is_hardly_written_to_is_emptied_all_the_same() {
    for mode in MODES {
        let mut world = World::new(mode);
        world.append(3, None);
        for hour in 0..49 {
            world.retain();
            let expected = if hour < 48 { 3 } else { 0 };
            assert_eq!(world.appended.len(), expected, "{hour}");
            world.pass(HOUR);
        }
        assert_eq!(world.log.log_start_offset().get(), 3);
        // One record an hour, and nobody applies retention by hand.
        for _ in 0..200 {
            world.append(1, None);
            world.log.flush().unwrap();
            world.pass(HOUR);
            assert!(world.oldest() <= 2 * AGE + 3 * HOUR, "{}", world.oldest() / HOUR);
        }
    }
}

/// Kills and clean closes lose no time; power cuts lose at most what is not known: nothing goes
/// early, and in the end all goes. With a clock that is set each time, what the machine was off for
/// counts.
#[test]
fn restarts_delete_nothing_early_and_everything_in_the_end() {
    for mode in MODES {
        for restart in 0..4_u64 {
            let mut world = World::new(mode);
            for round in 0..60_u64 {
                world.append(5, Some(TODAY));
                world.pass(2 * HOUR);
                world.log.flush().unwrap();
                match restart {
                    0 => world.close(),
                    1 => world.kill(),
                    // Off for half a day, and it does not know.
                    2 => world.cut(Keep::Seed(round), 12 * HOUR, 1000, false),
                    _ => {
                        let wall = TODAY + world.now + 12 * HOUR;
                        world.cut(Keep::Seed(round), 12 * HOUR, wall, true);
                    }
                }
                world.retain();
            }
            let most = match restart {
                0 | 1 => AGE + 8 * HOUR,
                2 => 16 * AGE,
                _ => AGE + 60 * HOUR,
            };
            assert!(world.oldest() <= most, "{restart}: {} hours", world.oldest() / HOUR);
            assert!(world.log.log_start_offset().get() > 0, "{restart}");
        }
    }
}

/// Anything in any order, by many seeds: nothing is ever deleted early, and once the machine stays
/// up for two days all of it goes.
#[test]
fn no_history_deletes_early() {
    for mode in MODES {
        for seed in 0..60 {
            let mut chance = Chance(seed);
            let mut world = World::new(mode);
            // A clock that is called right is right: it never ran backwards, nor ahead.
            for _ in 0..60 {
                let choice = chance.below(12);
                match choice {
                    0..4 => {
                        let times = [None, Some(0), Some(TODAY + YEARS_TEN), Some(i64::MAX)];
                        let time = times[usize::try_from(chance.below(4)).unwrap()];
                        world.append(1 + usize::try_from(chance.below(30)).unwrap(), time);
                    }
                    4 => drop(world.log.flush().unwrap()),
                    5 | 6 => {
                        let minutes = i64::try_from(chance.below(600)).unwrap();
                        world.pass(minutes * MINUTE);
                    }
                    7 => world.retain(),
                    8 => {
                        let wall = i64::try_from(chance.below(1 << 44)).unwrap() - (1 << 43);
                        world.disk.set_clock_synchronised(false);
                        world.set_wall(wall);
                    }
                    9 => {
                        let right = TODAY + world.now;
                        world.set_wall(right);
                        world.disk.set_clock_synchronised(true);
                        world.retain();
                    }
                    10 => match chance.below(2) {
                        0 => world.close(),
                        _ => world.kill(),
                    },
                    _ => {
                        let off = i64::try_from(chance.below(5000)).unwrap() * MINUTE;
                        let keep = Keep::Seed(chance.next());
                        match chance.below(2) {
                            0 => world.cut(keep, off, 1000, false),
                            _ => {
                                let right = TODAY + world.now + off;
                                world.cut(keep, off, right, true);
                            }
                        }
                    }
                }
            }
            for _ in 0..3 {
                world.append(1, None);
                world.retain();
                world.pass(AGE + HOUR);
            }
            world.retain();
            assert!(world.appended.len() <= 30, "seed {seed}: {} left", world.appended.len());
        }
    }
}
