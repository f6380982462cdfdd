//! How fast a backlog is shipped to a Kafka, and what that costs the device.
//!
//! ```text
//! speed fill DIR --records N --bytes N [--batch N]   makes a log, N records a batch (1)
//! speed ship DIR --to HOST:PORT,... --topic TOPIC    ships it all, and says how
//! ```
//!
//! Two programs, so that what filling the log took is not counted. Shipping is timed from the start
//! of the replicator until everything is acknowledged; memory is what is anonymous (RssAnon) above
//! what an open log has, at its highest.

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use forebay::{FlushPolicy, KafkaUpstream, Log, OffsetSpec, Replicator, ReplicatorOptions};
use rig::Random;
use rig::uplink::{UPLINK, Words};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

/// Counts the bytes that are asked for; those of a vector that grows count each time.
struct Counting;

static ALLOCATED: AtomicU64 = AtomicU64::new(0);

#[global_allocator]
static COUNTING: Counting = Counting;

// SAFETY: all is handed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size() as u64, Ordering::Relaxed);
        // SAFETY: as the caller promised.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promised.
        unsafe { System.dealloc(at, layout) }
    }
}

fn main() -> Outcome<()> {
    let words = Words::of_process();
    match words.plain.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["fill", dir] => fill(Path::new(dir), &words),
        ["ship", dir] => ship(Path::new(dir), &words),
        _ => Err("fill DIR or ship DIR".into()),
    }
}

fn open(dir: &Path) -> forebay::Result<Log> {
    Log::options().flush(FlushPolicy::Manual).open(dir)
}

fn fill(dir: &Path, words: &Words) -> Outcome<()> {
    let records: u64 = words.number("records", 100_000)?;
    let bytes: usize = words.number("bytes", 100)?;
    let batch: u64 = words.number("batch", 1)?;
    let (log, mut random) = (open(dir)?, Random::new(1));
    let mut value = || (0..bytes).map(|_| b'A' + random.below(26) as u8).collect::<Vec<u8>>();
    let mut left = records;
    while left > 0 {
        let now = left.min(batch.max(1));
        log.append_batch((0..now).map(|_| value()))?;
        left -= now;
    }
    log.flush()?;
    log.close()?;
    Ok(())
}

fn ship(dir: &Path, words: &Words) -> Outcome<()> {
    let log = open(dir)?;
    let payload = payload(&log)?;
    let records = log.log_end_offset() - log.log_start_offset();
    let upstream = KafkaUpstream::new(words.text("to")?, words.text("topic")?);
    let idle = anonymous_kib()?;
    let (cpu, allocated, from) = (cpu()?, ALLOCATED.load(Ordering::Relaxed), Instant::now());
    let replicator = Replicator::start(&log, UPLINK, upstream, ReplicatorOptions::new())?;
    let (over, highest) = (AtomicBool::new(false), AtomicU64::new(0));
    let shipped = thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                highest.fetch_max(anonymous_kib().unwrap_or(0), Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        let shipped = replicator.wait_until(log.log_end_offset(), Duration::from_secs(600));
        over.store(true, Ordering::Relaxed);
        shipped
    })?;
    let (seconds, cpu) = (from.elapsed().as_secs_f64(), self::cpu()? - cpu);
    let allocated = ALLOCATED.load(Ordering::Relaxed) - allocated;
    let status = replicator.status();
    if !shipped {
        return Err(format!("not shipped in 600 s: {:?}", status.last_error).into());
    }
    let megabytes = payload as f64 / (1 << 20) as f64;
    println!(
        "{records} records, {megabytes:.1} MB in {seconds:.2} s: {:.2} MB/s, {:.2} ms of CPU a MB, \
         {:.0} bytes allocated a MB, {} KiB over idle, {} batches",
        megabytes / seconds,
        cpu.as_secs_f64() * 1000.0 / megabytes,
        allocated as f64 / megabytes,
        highest.load(Ordering::Relaxed).saturating_sub(idle),
        status.batches_sent,
    );
    replicator.stop()?;
    log.close()?;
    Ok(())
}

/// Bytes of all values.
fn payload(log: &Log) -> Outcome<u64> {
    let mut sum = 0;
    for batch in log.reader(OffsetSpec::Earliest)? {
        for record in batch?.records() {
            sum += record?.value().len() as u64;
        }
    }
    Ok(sum)
}

/// What this process has used of the processors, in user and in kernel mode.
fn cpu() -> std::io::Result<Duration> {
    // SAFETY: plain numbers, for which zero is a value.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: `usage` is what the call writes, and outlives it.
    if unsafe { libc::getrusage(libc::RUSAGE_SELF, &mut usage) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    let time = |at: libc::timeval| {
        Duration::from_secs(at.tv_sec as u64) + Duration::from_micros(at.tv_usec as u64)
    };
    Ok(time(usage.ru_utime) + time(usage.ru_stime))
}

fn anonymous_kib() -> Outcome<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).ok_or("no RssAnon")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}
