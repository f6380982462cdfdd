//! Reading a log against what has to stand there.

use std::path::Path;

use forebay::{Log, OffsetSpec, Timestamp};

use crate::Random;
use crate::record::{Content, content, timestamp};

/// What a full read found.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    pub start: i64,
    pub end: i64,
    /// First and next offset of each batch that has records.
    pub batches: Vec<(i64, i64)>,
    pub bad: Vec<String>,
}

/// Lookups by offset, and by time, that are compared with the scan.
const LOOKUPS: u64 = 12;

/// Reads everything: each record has to be the one that belongs there (V2), offsets follow each
/// other without a gap (V3), and lookups lead where the scan says (V7).
pub fn scan(log: &Log, seed: u64, name: &str) -> Scan {
    let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
    let mut scan = Scan { start, end, ..Scan::default() };
    let mut next = start;
    match log.reader(OffsetSpec::Earliest) {
        Err(error) => scan.bad.push(format!("{name}: no reader: {error}")),
        Ok(reader) => {
            // Damage is a finding per batch; a reader that repeats itself is a hang.
            for batch in reader.take((end - start).max(0) as usize + 64) {
                match batch {
                    Ok(batch) => take(&mut scan, &batch, seed, name, &mut next),
                    Err(error) => scan.bad.push(format!("V2 {name}: {error}")),
                }
            }
        }
    }
    if next != end {
        scan.bad.push(format!("V3 {name}: read until {next}, and the log ends at {end}"));
    }
    if !scan.batches.is_empty() {
        look_up(&mut scan, log, name, seed);
    }
    scan
}

fn take(scan: &mut Scan, batch: &forebay::RecordBatch, seed: u64, name: &str, next: &mut i64) {
    let base = *next;
    for record in batch.records() {
        let record = match record {
            Ok(record) => record,
            Err(error) => {
                scan.bad.push(format!("V2 {name}: {error}"));
                continue;
            }
        };
        let at = record.offset().get();
        if at != *next {
            scan.bad.push(format!("V3 {name}: record {at} where {next} is due"));
        }
        if Content::of(&record) != content(seed, name, at) {
            scan.bad.push(format!("V2 {name}: another record at {at}"));
        }
        *next = at + 1;
    }
    if *next != batch.next_offset().get() {
        scan.bad.push(format!("V3 {name}: the batch at {base} ends at {}", batch.next_offset()));
        *next = batch.next_offset().get();
    }
    scan.batches.push((base, *next));
}

/// V7: an offset or a time leads to the batch the scan has seen there.
fn look_up(scan: &mut Scan, log: &Log, name: &str, seed: u64) {
    let mut random = Random::new(seed ^ scan.end as u64);
    let span = (scan.end - scan.start) as u64;
    for number in 0..LOOKUPS {
        let at = match number {
            0 => scan.start,
            1 => scan.end - 1,
            _ => scan.start + random.below(span) as i64,
        };
        let time = Timestamp::from_millis(timestamp(at) - (number % 2) as i64);
        for spec in [OffsetSpec::At(at.into()), OffsetSpec::Timestamp(time)] {
            let mut reader = match log.reader(spec) {
                Ok(reader) => reader,
                Err(error) => {
                    scan.bad.push(format!("V7 {name}: {spec:?}: {error}"));
                    continue;
                }
            };
            let found = reader.next();
            let first = match &found {
                Some(Ok(batch)) => batch.records().next().and_then(Result::ok),
                _ => None,
            };
            let first = first.map(|record| record.offset().get());
            if first != Some(at) {
                scan.bad.push(format!("V7 {name}: {spec:?} led to {first:?}, not to {at}"));
            }
        }
    }
}

/// What no writer may do: raises SIGBUS.
pub(crate) fn store_behind_the_end() {
    use std::os::fd::AsRawFd;

    let path = std::env::temp_dir().join(format!("rig-bus-{}", std::process::id()));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&path);
    let Ok(file) = file else { return };
    let _ = std::fs::remove_file(Path::new(&path));
    let (read_write, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
    let none = std::ptr::null_mut();
    // SAFETY: a new map at an address of the kernel's choice; it is never given back.
    let map = unsafe { libc::mmap(none, 4096, read_write, shared, file.as_raw_fd(), 0) };
    if map != libc::MAP_FAILED {
        // SAFETY: the address is mapped for writing. The file is empty: a fault is what is wanted.
        unsafe { map.cast::<u8>().write_volatile(1) };
    }
}
