//! The program on the device: appends numbered records, and ships them, until all are shipped.

use std::io::{self, BufRead};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use forebay::{
    ConsumerOptions, FlushPolicy, Log, NewRecord, Offset, OffsetSpec, Replicator,
    ReplicatorOptions, Result, Timestamp, Visibility,
};

use super::told::Told;
use super::{UPLINK, records_of_batch, value};
use crate::lines::Lines;

/// What one device does.
#[derive(Clone, Debug)]
pub struct Device {
    pub dir: PathBuf,
    /// Records to append and to ship.
    pub records: u64,
    /// Records a second; 0 for as many as there can be.
    pub pace: u64,
    /// Appending waits while so many records are not shipped.
    pub lag_max: u64,
    pub long_every: u64,
    /// Has to be allowed to append: a line of standard input says how many records there may be.
    pub asks: bool,
    pub allowed: Arc<AtomicU64>,
    /// Throws away what the uplink has kept beside its progress: the counter-proof.
    pub forgetful: bool,
    /// Seconds that its clock is ahead; behind, if negative.
    pub clock_s: i64,
}

impl Device {
    /// Lives until all is shipped. `start` begins shipping.
    ///
    /// # Errors
    /// Those of the log; a replicator that stopped.
    pub fn live(
        &self,
        lines: &Lines,
        start: impl FnOnce(&Log) -> Result<Replicator>,
    ) -> Result<()> {
        let log = Log::options()
            .segment_bytes(4 << 20)
            .flush(FlushPolicy::Interval(Duration::from_millis(10)))
            .background(true)
            .open(&self.dir)?;
        let number = next_number(&log)?;
        lines.say(&format!("open {number}\n"));
        if self.forgetful {
            forget(&log)?;
        }
        let replicator = start(&log)?;
        let over = AtomicBool::new(false);
        if self.asks {
            let allowed = Arc::clone(&self.allowed);
            thread::spawn(move || listen(&allowed));
        }
        thread::scope(|scope| {
            scope.spawn(|| tell(&log, &replicator, lines, &over));
            let shipped = self.append(&log, &replicator, number).and_then(|()| {
                log.flush()?;
                while !replicator.wait_until(log.log_end_offset(), Duration::from_secs(1))? {}
                Ok(())
            });
            over.store(true, Ordering::Relaxed);
            shipped
        })?;
        replicator.stop()?;
        log.close()?;
        lines.say("done\n");
        Ok(())
    }

    fn append(&self, log: &Log, replicator: &Replicator, mut number: u64) -> Result<()> {
        let (from, first) = (Instant::now(), number);
        while number < self.records {
            let due = Duration::from_secs(number - first).checked_div(self.pace as u32);
            thread::sleep(due.unwrap_or_default().saturating_sub(from.elapsed()));
            let allowed = !self.asks || number < self.allowed.load(Ordering::Relaxed);
            if !allowed || replicator.status().lag_records > self.lag_max {
                thread::sleep(Duration::from_millis(1));
                continue;
            }
            let end = (number + records_of_batch(number)).min(self.records);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let time = Timestamp::from_millis(now.as_millis() as i64 + 1000 * self.clock_s);
            let values: Vec<_> =
                (number..end).map(|number| value(number, self.long_every)).collect();
            log.append_batch(values.iter().map(|value| NewRecord::new(value).timestamp(time)))?;
            number = end;
        }
        Ok(())
    }
}

fn listen(allowed: &AtomicU64) {
    for line in io::stdin().lock().lines().map_while(io::Result::ok) {
        if let Ok(records) = line.parse() {
            allowed.store(records, Ordering::Relaxed);
        }
    }
}

/// How the campaigns' devices ship: they find out soon that a link is dead, and come back soon.
pub fn shipping() -> ReplicatorOptions {
    ReplicatorOptions::new()
        .backoff(Duration::from_millis(20), Duration::from_millis(500))
        .acknowledge_timeout(Duration::from_secs(3))
}

/// What follows the last record of the log.
fn next_number(log: &Log) -> Result<u64> {
    let end = log.log_end_offset();
    if end == log.log_start_offset() {
        return Ok(0);
    }
    let mut last = None;
    for batch in log.reader(OffsetSpec::At(end + -1))? {
        for record in batch?.records() {
            let record = record?;
            let text = std::str::from_utf8(record.value()).ok();
            last = text.and_then(|text| text.split_once(':')?.0.parse::<u64>().ok());
        }
    }
    Ok(last.map_or(0, |number| number + 1))
}

/// Commits where the uplink is, without what it has kept beside it.
fn forget(log: &Log) -> Result<()> {
    let durable = ConsumerOptions::new().visibility(Visibility::Durable);
    let mut consumer = log.consumer_with(UPLINK, durable)?;
    let committed: Offset = consumer.committed();
    consumer.commit_with(committed, b"")?;
    consumer.sync()
}

fn tell(log: &Log, replicator: &Replicator, lines: &Lines, over: &AtomicBool) {
    let (mut before, mut error_before) = (None, None);
    while !over.load(Ordering::Relaxed) {
        let status = replicator.status();
        let told = Told {
            end: log.log_end_offset().get().unsigned_abs(),
            committed: status.committed.get().unsigned_abs(),
            flight: status.upstream.in_flight as u64,
            doubted: status.upstream.maybe_doubled,
            connects: status.connects,
            failures: status.failures,
        };
        if status.last_error != error_before {
            if let Some(error) = &status.last_error {
                lines.say(&format!("error {}\n", error.replace('\n', " ")));
            }
            error_before = status.last_error;
        }
        if before.as_ref() != Some(&told) {
            lines.say(&told.line());
            before = Some(told);
        }
        thread::sleep(Duration::from_millis(1));
    }
}
