//! What all models share: a disk, a small log, and what is said of what was acknowledged.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{FlushPolicy, IoMode, Log, LogOptions, Offset, OffsetSpec, RecordBatch};
use shuttle::rand::{Rng, thread_rng};

/// Longer than any model takes.
pub const EVER: Duration = Duration::from_secs(1 << 40);

pub const DIR: &str = "/log";

pub fn disk() -> Disk {
    Disk::new(Profile::default())
}

/// Two records of [`text`] fill a segment. The schedule chooses the way of I/O.
pub fn options() -> LogOptions {
    let mode = if chance(2) == 0 { IoMode::Auto } else { IoMode::Positioned };
    Log::options()
        .segment_bytes(4096)
        .max_batch_bytes(4096)
        .flush(FlushPolicy::Manual)
        .io_mode(mode)
}

/// A choice that belongs to the schedule.
pub fn chance(below: u64) -> u64 {
    thread_rng().gen_range(0..below)
}

/// What thread `thread` writes as its record `number`.
pub fn text(thread: usize, number: usize) -> String {
    format!("{thread}:{number}:{}", "x".repeat(1400))
}

/// Checks a record, and says whose it is and which.
fn parse(value: &[u8]) -> (usize, usize) {
    let value = std::str::from_utf8(value).expect("a text");
    let mut parts = value.split(':').map(|part| part.parse::<usize>());
    let (Some(Ok(thread)), Some(Ok(number))) = (parts.next(), parts.next()) else {
        panic!("not ours: {value:.20}");
    };
    assert_eq!(value, text(thread, number), "each byte is as it was written");
    (thread, number)
}

pub fn records(batch: &RecordBatch) -> Vec<(usize, usize)> {
    batch.records().map(|record| parse(record.expect("it can be read").value())).collect()
}

/// All records from the log start on, each with its offset, which follow one another.
pub fn read_all(log: &Log) -> Vec<(i64, (usize, usize))> {
    let mut reader = log.reader(OffsetSpec::Earliest).expect("it is open");
    let mut next = reader.next_offset();
    let mut found = Vec::new();
    for batch in reader.by_ref() {
        let batch = batch.expect("it can be read");
        assert_eq!(batch.base_offset(), next, "no gap (I4)");
        for (at, record) in (next.get()..).zip(records(&batch)) {
            found.push((at, record));
        }
        next = batch.next_offset();
    }
    found
}

/// Each thread's records are there in the order they were written in, none twice.
pub fn assert_ordered(found: &[(i64, (usize, usize))]) {
    let mut next = [0; 8];
    for (_, (thread, number)) in found {
        assert_eq!(*number, next[*thread], "the order of thread {thread} (I2)");
        next[*thread] += 1;
    }
}

/// Log start, durable and end, looked at in this order: each moves up only (I1).
pub fn assert_offsets(log: &Log) {
    let start = log.log_start_offset();
    let durable = log.durable_offset();
    let end = log.log_end_offset();
    assert!(start <= durable, "I1: {start} <= {durable}");
    assert!(durable <= end, "I1: {durable} <= {end}");
}

/// What was called durable, and the disk as a power cut at that moment would leave it.
#[derive(Clone, Default)]
pub struct Acknowledged(Arc<Mutex<Vec<(i64, Option<(usize, usize)>, Disk)>>>);

impl Acknowledged {
    /// Everything below `end` was called durable just now; with the record at its end, if known.
    pub fn durable_to(&self, disk: &Disk, end: Offset, last: Option<(usize, usize)>) {
        let cut = disk.power_cut(Keep::None);
        self.0.lock().expect("nobody panicked").push((end.get(), last, cut));
    }

    /// Opens each of these disks. Nothing else runs any more.
    pub fn judge(&self, options: &LogOptions) {
        let all = std::mem::take(&mut *self.0.lock().expect("nobody panicked"));
        for (end, last, cut) in all {
            let log = options.clone().open_on(&cut, DIR).expect("it opens");
            let there = log.log_end_offset().get();
            assert!(there >= end, "durable to {end}, and a cut left {there} (I2)");
            let found = read_all(&log);
            let start = log.log_start_offset().get();
            if let Some(last) = last.filter(|_| end > start) {
                let at = usize::try_from(end - 1 - start).expect("behind the start");
                assert_eq!(found[at], (end - 1, last), "the record that was acknowledged");
            }
        }
    }
}
