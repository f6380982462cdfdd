//! I15: age is measured by the log clock, which no jump of the wall clock moves. It counts what
//! passes while the kernel runs, and what passed between two runs once both ends are known; it may
//! run slow, never fast, and never backwards. `segment_age` rolls by it, not by records' times.

use std::time::Duration;

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{FlushPolicy, IoMode, Log, LogOptions, NewRecord, Timestamp};

use crate::recovery::{Chance, DIR};

const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const YEARS_TEN: i64 = 10 * 31_557_600_000;
/// 2026-06-01.
const TODAY: i64 = 1_780_272_000_000;

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap()
}

/// Segments an hour old are rolled.
fn options(mode: IoMode) -> LogOptions {
    let options = Log::options().io_mode(mode).segment_age(HOUR);
    options.flush(FlushPolicy::Manual)
}

fn open(disk: &Disk, mode: IoMode) -> Log {
    options(mode).open_on(disk, DIR).unwrap()
}

/// A machine whose clock began in 1970, and that nobody told the time.
fn in_1970() -> Disk {
    let disk = Disk::new(Profile::default());
    disk.set_wall(1000);
    disk
}

/// How many segments there are once a record was appended and flushed now.
fn segments_with_one_more(log: &Log) -> u64 {
    log.append("a reading").unwrap();
    log.flush().unwrap();
    log.stats().segments
}

/// The log clock as the newest slot of the checkpoint has it: 136 bytes into the slot, by
/// `docs/format.md`.
fn stored_clock(disk: &Disk) -> i64 {
    let bytes = disk.read_file(format!("{DIR}/checkpoint")).unwrap();
    let number = |at: usize| i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let slots = (0..bytes.len()).step_by(4096).filter(|at| bytes[*at..].starts_with(b"FBCK"));
    slots.map(|at| (number(at + 12), number(at + 136))).max().unwrap().1
}

/// Jumps of the wall clock, both ways, in whatever state the kernel says that it is.
const JUMPS: [i64; 8] = [
    TODAY,
    TODAY - YEARS_TEN,
    TODAY + YEARS_TEN,
    0,
    -YEARS_TEN,
    TODAY + 7 * YEARS_TEN,
    TODAY - 1,
    1000,
];

/// A clock that boots in 1970 and is then set, runs backwards, and jumps ten years both ways makes
/// nothing old; an hour that really passes does.
#[test]
fn no_jump_of_the_wall_clock_makes_a_segment_old() {
    for mode in MODES {
        for synchronised in [false, true] {
            let disk = in_1970();
            let log = open(&disk, mode);
            assert_eq!(segments_with_one_more(&log), 1);
            for jump in JUMPS {
                disk.set_wall(jump);
                disk.set_clock_synchronised(synchronised);
                if synchronised {
                    log.clock_synchronised();
                }
                assert_eq!(segments_with_one_more(&log), 1, "{jump}");
                disk.advance(7 * MINUTE);
                assert_eq!(segments_with_one_more(&log), 1, "{jump}, seven minutes later");
            }
            // 56 minutes passed; the hour is full in 4 more.
            disk.advance(3 * MINUTE);
            assert_eq!(segments_with_one_more(&log), 1);
            disk.advance(2 * MINUTE);
            segments_with_one_more(&log);
            assert_eq!(segments_with_one_more(&log), 2, "an hour has passed");
            disk.advance(59 * MINUTE);
            assert_eq!(segments_with_one_more(&log), 2, "the next one is counted anew");
            disk.advance(2 * MINUTE);
            segments_with_one_more(&log);
            assert_eq!(segments_with_one_more(&log), 3);
        }
    }
}

/// Records of the far past and the far future neither roll a segment nor keep one from it.
#[test]
fn the_times_of_records_make_nothing_old_or_young() {
    for mode in MODES {
        for time in [i64::MAX / 2, 4_102_444_800_000, 0, TODAY - YEARS_TEN, TODAY] {
            let disk = Disk::new(Profile::default());
            let log = open(&disk, mode);
            let append = || {
                let record = NewRecord::new("v").timestamp(Timestamp::from_millis(time));
                log.append(record).unwrap();
                log.flush().unwrap();
                log.stats().segments
            };
            for _ in 0..5 {
                assert_eq!(append(), 1, "{time}");
                disk.advance(11 * MINUTE);
            }
            assert_eq!(append(), 1, "{time}");
            disk.advance(6 * MINUTE);
            append();
            assert_eq!(append(), 2, "{time}");
        }
    }
}

/// How a process or machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Close,
    Kill,
    Power,
}

/// Ends it; a machine is off for a while.
fn stop(disk: &Disk, log: Log, stop: Stop, off: Duration) -> Disk {
    match stop {
        Stop::Close => {
            log.close().unwrap();
            disk.kill()
        }
        Stop::Kill => disk.kill(),
        Stop::Power => {
            let next = disk.power_cut(Keep::All);
            let wall = disk_wall(disk);
            next.set_wall(wall + millis(off));
            next
        }
    }
}

/// What the wall clock of a disk says, through the time of a record.
fn disk_wall(disk: &Disk) -> i64 {
    let log = Log::options().open_on(disk, "/clock").unwrap();
    let at = log.append("now").unwrap();
    let mut reader = log.reader(forebay::OffsetSpec::At(at)).unwrap();
    let batch = reader.next().unwrap().unwrap();
    let record = batch.records().next().unwrap().unwrap();
    record.timestamp().millis()
}

/// The clock is kept over restarts of the process, in whichever way it ended.
#[test]
fn age_goes_on_over_restarts() {
    for mode in MODES {
        for how in [Stop::Close, Stop::Kill] {
            let mut disk = in_1970();
            for minute in 0..59 {
                let log = open(&disk, mode);
                assert_eq!(segments_with_one_more(&log), 1, "{how:?} {minute}");
                // A clock that is somewhere else every time.
                disk.set_wall(JUMPS[minute % 8]);
                disk = stop(&disk, log, how, Duration::ZERO);
                disk.advance(MINUTE);
            }
            disk.advance(2 * MINUTE);
            let log = open(&disk, mode);
            segments_with_one_more(&log);
            assert_eq!(segments_with_one_more(&log), 2, "{how:?}");
        }
    }
}

/// Over reboots with a clock that nobody set, what passed while the device was off is unknown and
/// does not count, however far the wall clock jumps; what passed before and behind it does.
#[test]
fn what_an_unset_clock_says_over_a_reboot_does_not_count() {
    for mode in MODES {
        for jump in JUMPS {
            let disk = in_1970();
            let log = open(&disk, mode);
            assert_eq!(segments_with_one_more(&log), 1);
            disk.advance(40 * MINUTE);
            assert_eq!(segments_with_one_more(&log), 1);
            let disk = stop(&disk, log, Stop::Power, 300 * HOUR);
            disk.set_wall(jump);
            let log = open(&disk, mode);
            assert_eq!(segments_with_one_more(&log), 1, "{jump}");
            disk.advance(15 * MINUTE);
            assert_eq!(segments_with_one_more(&log), 1, "{jump}");
            // Set for the first time now: nothing says how long it was off.
            disk.set_wall(TODAY + YEARS_TEN);
            disk.set_clock_synchronised(true);
            log.clock_synchronised();
            assert_eq!(segments_with_one_more(&log), 1, "{jump}");
            disk.advance(10 * MINUTE);
            segments_with_one_more(&log);
            assert_eq!(segments_with_one_more(&log), 2, "{jump}: 65 minutes passed");
        }
    }
}

/// Where the clock is right on both sides of a reboot, the time between them counts: as soon as the
/// second one says so, whatever it said before, and once.
#[test]
fn time_off_counts_as_soon_as_the_clock_is_right_again() {
    for mode in MODES {
        for how in ["kernel", "application"] {
            for (off, old) in [(20 * MINUTE, false), (50 * MINUTE, true), (5000 * HOUR, true)] {
                let disk = Disk::new(Profile::default());
                disk.set_wall(TODAY);
                let tell = |disk: &Disk, log: &Log| match how {
                    "kernel" => disk.set_clock_synchronised(true),
                    _ => log.clock_synchronised(),
                };
                let log = open(&disk, mode);
                tell(&disk, &log);
                assert_eq!(segments_with_one_more(&log), 1);
                disk.advance(15 * MINUTE);
                assert_eq!(segments_with_one_more(&log), 1);
                let disk = stop(&disk, log, Stop::Power, off);
                // It boots in 1970, and is set two minutes later.
                let right = TODAY + millis(15 * MINUTE + off);
                disk.set_wall(0);
                let log = open(&disk, mode);
                assert_eq!(segments_with_one_more(&log), 1, "{off:?}");
                disk.advance(2 * MINUTE);
                assert_eq!(segments_with_one_more(&log), 1, "{off:?}");
                disk.set_wall(right + millis(2 * MINUTE));
                tell(&disk, &log);
                // Told twice it does not count twice.
                tell(&disk, &log);
                segments_with_one_more(&log);
                let segments = segments_with_one_more(&log);
                assert_eq!(segments, if old { 2 } else { 1 }, "{how} {off:?}");
                if !old {
                    disk.advance(20 * MINUTE);
                    assert_eq!(segments_with_one_more(&log), 1, "57 minutes");
                    disk.advance(4 * MINUTE);
                    segments_with_one_more(&log);
                    assert_eq!(segments_with_one_more(&log), 2, "61 minutes");
                }
            }
        }
    }
}

/// A boot without a right clock between two with one takes nothing away and adds nothing twice.
#[test]
fn a_boot_without_a_right_clock_between_is_counted_once() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        disk.set_wall(TODAY);
        disk.set_clock_synchronised(true);
        let log = open(&disk, mode);
        assert_eq!(segments_with_one_more(&log), 1);
        let disk = stop(&disk, log, Stop::Power, Duration::ZERO);
        disk.set_wall(0);
        let log = open(&disk, mode);
        // Twenty minutes pass in a boot that knows no time.
        disk.advance(20 * MINUTE);
        assert_eq!(segments_with_one_more(&log), 1);
        let disk = stop(&disk, log, Stop::Power, Duration::ZERO);
        // The next one says: 50 minutes since the first.
        disk.set_wall(TODAY + millis(50 * MINUTE));
        disk.set_clock_synchronised(true);
        let log = open(&disk, mode);
        assert_eq!(segments_with_one_more(&log), 1, "50 minutes, not 70");
        disk.advance(8 * MINUTE);
        assert_eq!(segments_with_one_more(&log), 1, "58 minutes");
        disk.advance(4 * MINUTE);
        segments_with_one_more(&log);
        assert_eq!(segments_with_one_more(&log), 2, "62 minutes");
    }
}

/// A machine on which time passes, and how much did.
struct Life {
    disk: Disk,
    mode: IoMode,
    log: Option<Log>,
    /// Time that really passed since the log was made, in milliseconds.
    passed: i64,
    /// What the log clock has to have counted at least: what passed in the kernels' runs.
    seen: i64,
    stored: i64,
}

impl Life {
    fn log(&mut self) -> Log {
        let (disk, mode) = (&self.disk, self.mode);
        self.log.get_or_insert_with(|| open(disk, mode)).clone()
    }

    fn pass(&mut self, time: Duration) {
        self.disk.advance(time);
        self.passed += millis(time);
        self.seen += millis(time);
    }

    /// What is stored now never lies below what was, nor above what passed.
    fn check(&mut self, what: &str) {
        let log = self.log();
        log.append("a reading").unwrap();
        log.flush().unwrap();
        let now = stored_clock(&self.disk);
        assert!(now >= self.stored, "{what}: backwards, from {} to {now}", self.stored);
        assert!(now <= self.passed, "{what}: {now} of {} ms that passed", self.passed);
        assert!(now >= self.seen, "{what}: {now} of {} ms that were seen to pass", self.seen);
        self.stored = now;
    }

    fn stop(&mut self, how: Stop, off: Duration) {
        let log = self.log();
        self.log = None;
        let next = match how {
            Stop::Close => {
                log.close().unwrap();
                self.disk.kill()
            }
            Stop::Kill => self.disk.kill(),
            Stop::Power => self.disk.power_cut(Keep::All),
        };
        self.disk = next;
        if how == Stop::Power {
            self.passed += millis(off);
        }
    }
}

/// By chance: time passes, the wall clock is wrong or right, the kernel knows when it is right,
/// processes and machines end. The log clock never goes back and never runs fast, and whatever a
/// kernel saw pass behind the last stored state counts.
#[test]
fn the_log_clock_never_goes_back_and_never_runs_fast() {
    for seed in 0..60 {
        let mut chance = Chance(seed);
        let mode = MODES[usize::try_from(chance.below(2)).unwrap()];
        let disk = in_1970();
        let mut life = Life { disk, mode, log: None, passed: 0, seen: 0, stored: 0 };
        life.log();
        for step in 0..60 {
            let what = format!("seed {seed} step {step}");
            match chance.below(10) {
                0..4 => life.pass(Duration::from_millis(chance.below(10_000_000))),
                4 => {
                    // Wrong, and the kernel does not claim that it is right.
                    life.disk.set_clock_synchronised(false);
                    let jump = JUMPS[usize::try_from(chance.below(8)).unwrap()];
                    life.disk.set_wall(jump);
                }
                5 | 6 => {
                    life.disk.set_wall(TODAY + life.passed);
                    life.disk.set_clock_synchronised(true);
                }
                7 => life.stop(Stop::Close, Duration::ZERO),
                8 => life.stop(Stop::Kill, Duration::ZERO),
                _ => {
                    life.stop(Stop::Power, Duration::from_millis(chance.below(100_000_000)));
                    life.disk.set_wall(JUMPS[usize::try_from(chance.below(8)).unwrap()]);
                }
            }
            life.check(&what);
        }
    }
}

/// With a clock that is always right it counts everything, to the resolution of the clocks.
#[test]
fn with_a_clock_that_is_always_right_everything_counts() {
    for mode in MODES {
        let disk = in_1970();
        let mut life = Life { disk, mode, log: None, passed: 0, seen: 0, stored: 0 };
        life.log();
        for (n, how) in [Stop::Power, Stop::Kill, Stop::Power, Stop::Close].into_iter().enumerate()
        {
            life.disk.set_wall(TODAY + life.passed);
            life.disk.set_clock_synchronised(true);
            life.pass(7 * HOUR);
            life.check(&format!("{n}"));
            life.stop(how, 1000 * HOUR);
            life.disk.set_wall(TODAY + life.passed);
            life.disk.set_clock_synchronised(true);
            life.check(&format!("{n} {how:?}"));
            assert!(life.passed - life.stored < 10, "{} of {}", life.stored, life.passed);
        }
    }
}
