//! Wrong clocks, and clocks that jump, during append, retention, replication and reopening (V15).
//!
//! ```text
//! clocks CLOCK.so SCRATCH
//! ```
//!
//! RIG_PLANT=boot lets the clock since boot jump with the wall clock, as if age were measured by
//! the latter: retention then deletes, and the judge has to see it.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use forebay::{
    FlushPolicy, IoMode, Log, LogUpstream, NewRecord, OffsetSpec, Replicator, ReplicatorOptions,
};
use rig::run::{Fate, empty, run};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

/// Seconds since the epoch at which a run begins.
const STARTS: [(&str, i64); 6] = [
    ("1969", -14_000_000),
    ("1970", 0),
    ("2001", 1_000_000_000),
    ("2038", (1 << 31) - 1),
    ("2106", (1 << 32) - 1),
    ("2200", 7_258_118_400),
];
const YEAR: i64 = 31_557_600;
/// How the wall clock moves at each step.
const JUMPS: [(&str, [i64; 4]); 6] = [
    ("not", [0, 0, 0, 0]),
    ("ahead", [40 * YEAR, 0, 0, 0]),
    ("back", [-40 * YEAR, 0, 0, 0]),
    ("to and fro", [20 * YEAR, -40 * YEAR, 30 * YEAR, -10 * YEAR]),
    ("by hours", [3600, 3600, -3600, 7200]),
    ("by a little", [-1, 1, -2, 2]),
];
const STEPS: usize = 8;
const RECORDS_A_STEP: i64 = 24;
const RETENTION: Duration = Duration::from_secs(600);

fn main() -> Outcome<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--child", dir, mode, start, jump] => child(Path::new(dir), mode, start, jump),
        [shim, scratch] => parent(shim, Path::new(scratch)),
        _ => Err("CLOCK.so SCRATCH".into()),
    }
}

fn parent(shim: &str, scratch: &Path) -> Outcome<ExitCode> {
    let from = Instant::now();
    let (mut runs, mut bad) = (0, 0);
    for (start, _) in STARTS {
        for (jump, _) in JUMPS {
            for mode in ["mapped", "positioned"] {
                let dir = scratch.join("clocks");
                empty(&dir)?;
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("--child").arg(&dir).args([mode, start, jump]);
                command.env("LD_PRELOAD", shim).stdin(Stdio::null());
                let fate = run(&mut command, Duration::from_secs(60))?;
                runs += 1;
                if fate != Fate::Exited(0) {
                    bad += 1;
                    println!("BAD {mode}, from {start}, the clock jumps {jump}: {fate:?}");
                }
            }
        }
    }
    let seconds = from.elapsed().as_secs_f64();
    println!("clocks: {runs} runs, {bad} laws broken, {seconds:.0} s");
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The clocks as this process sees them.
struct Clock {
    set: extern "C" fn(libc::c_long, libc::c_long, libc::c_long),
    wall: i64,
    boot: i64,
    with_boot: bool,
}

impl Clock {
    fn new(start: i64) -> Outcome<Clock> {
        // SAFETY: the name ends with NUL.
        let found = unsafe { libc::dlsym(libc::RTLD_DEFAULT, c"rig_clock".as_ptr()) };
        if found.is_null() {
            return Err("the clock's shim is not loaded".into());
        }
        // SAFETY: the shim defines it with three longs and no result.
        let set = unsafe {
            std::mem::transmute::<
                *mut libc::c_void,
                extern "C" fn(libc::c_long, libc::c_long, libc::c_long),
            >(found)
        };
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?.as_secs();
        let with_boot = std::env::var("RIG_PLANT").is_ok_and(|plant| plant == "boot");
        let mut clock = Clock { set, wall: start - now as i64, boot: 0, with_boot };
        clock.jump(0);
        Ok(clock)
    }

    fn jump(&mut self, by: i64) {
        self.wall += by;
        if self.with_boot {
            self.boot += by.max(0);
        }
        (self.set)(self.wall, self.boot, 1);
    }

    /// Time that really passes.
    fn pass(&mut self, by: Duration) {
        self.wall += by.as_secs() as i64;
        self.boot += by.as_secs() as i64;
        (self.set)(self.wall, self.boot, 1);
    }
}

fn open(dir: &Path, mode: &str) -> forebay::Result<Log> {
    let mode = if mode == "mapped" { IoMode::Mapped } else { IoMode::Positioned };
    Log::options()
        .io_mode(mode)
        .segment_bytes(4096)
        .retention_age(RETENTION)
        .flush(FlushPolicy::Interval(Duration::from_millis(5)))
        .open(dir)
}

fn child(dir: &Path, mode: &str, start: &str, jump: &str) -> Outcome<ExitCode> {
    let find = |name: &&(&str, i64)| name.0 == start;
    let (_, start) = STARTS.iter().find(find).ok_or("no such start")?;
    let (_, jumps) = JUMPS.iter().find(|known| known.0 == jump).ok_or("no such jump")?;
    let mut clock = Clock::new(*start)?;
    let (first, second) = (dir.join("log"), dir.join("second"));
    let mut end = 0;
    for life in 0..2 {
        let log = open(&first, mode)?;
        let replicator = ship(&log, &second)?;
        for step in 0..STEPS {
            append(&log, &mut end)?;
            clock.jump(jumps[(step + life) % jumps.len()]);
            let report = log.apply_retention()?;
            if report.records_deleted > 0 || log.log_start_offset().get() > 0 {
                return Err(
                    format!("V15 deleted {} records too early", report.records_deleted).into()
                );
            }
        }
        log.flush()?;
        if !replicator.wait_until(log.log_end_offset(), Duration::from_secs(30))? {
            return Err(format!("V15 not shipped: {:?}", replicator.status()).into());
        }
        replicator.stop()?;
        read(&log, 0, end)?;
        log.close()?;
        read(&Log::open(&second)?, 0, end)?;
        clock.jump(jumps[life]);
    }
    expire(&open(&first, mode)?, &mut clock, &mut end)?;
    Ok(ExitCode::SUCCESS)
}

/// What is old by any clock goes: the looks before could have failed.
fn expire(log: &Log, clock: &mut Clock, end: &mut i64) -> Outcome {
    clock.pass(2 * RETENTION);
    append(log, end)?;
    let report = log.apply_retention()?;
    let start = log.log_start_offset().get();
    if report.segments_by_age == 0 && start == 0 {
        return Err("V15 nothing was deleted for its age".into());
    }
    read(log, start, *end)
}

fn ship(log: &Log, second: &PathBuf) -> forebay::Result<Replicator> {
    let quick =
        ReplicatorOptions::new().backoff(Duration::from_millis(1), Duration::from_millis(9));
    Replicator::start(log, "ship", LogUpstream::new(second), quick)
}

/// Records without a time of their own: they get the wall clock's.
fn append(log: &Log, end: &mut i64) -> Outcome {
    for number in *end..*end + RECORDS_A_STEP {
        let given = log.append(NewRecord::new(text(number)).key(format!("{number}")))?;
        if given.get() != number {
            return Err(format!("V15 given {given}, not {number}").into());
        }
    }
    *end += RECORDS_A_STEP;
    Ok(())
}

fn text(number: i64) -> String {
    format!("{number} {}", "clock ".repeat(20))
}

fn read(log: &Log, start: i64, end: i64) -> Outcome {
    let mut next = start;
    for batch in log.reader(OffsetSpec::Earliest)? {
        for record in batch?.records() {
            let record = record?;
            if record.offset().get() != next || record.value() != text(next).as_bytes() {
                return Err(format!("V15 another record at {next}").into());
            }
            next += 1;
        }
    }
    if next != end {
        return Err(format!("V15 read until {next}, not {end}").into());
    }
    Ok(())
}
