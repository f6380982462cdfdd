//! Every bit of a log of 64 KiB in three segments, flipped one at a time on a simulated disk: the
//! batch that it lies in is told to be damaged, or cut off with a word where it may be a torn end;
//! everything else is read as it was appended. Nothing wrong, nothing silent, no panic (F16; V1,
//! V2, V10, V11, V13).
//!
//! `FOREBAY_BITS=all` flips all 524,288 bits in each way; otherwise some of them, spread evenly.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod util;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{IoMode, Log, LogOptions, OffsetSpec};
use util::{MODES, Owned, manual, read_through};

const BYTES: usize = 64 << 10;
const DIR: &str = "/log";

/// How the log was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Closed,
    /// The process died behind a flush.
    Killed,
    /// The power went behind a flush: what was flushed since the last roll is looked at anew.
    Cut,
}

struct Sample {
    mode: IoMode,
    left: Left,
    disk: Disk,
    truth: Vec<Owned>,
    /// Offsets of batches, and where they lie in which file.
    batches: Vec<(std::ops::Range<i64>, String, std::ops::Range<usize>)>,
    files: Vec<(String, Vec<u8>)>,
}

fn options(mode: IoMode) -> LogOptions {
    manual(mode).segment_bytes(24 << 10).max_batch_bytes(16 << 10).index_interval_bytes(2048)
}

/// Records of every kind, in batches of one to four; `salt` makes other values of the same sizes.
fn batch(nth: usize, from: usize, bytes: usize, salt: u8) -> Vec<Owned> {
    let records = from..from + 1 + nth % 4;
    let of = |n: usize| Owned {
        offset: n as i64,
        timestamp: 1_790_000_000_000 + (n * 7919 % 1000) as i64,
        key: n.is_multiple_of(2).then(|| format!("key {n}").into_bytes()),
        value: (n % 7 != 6).then(|| vec![(n as u8).wrapping_mul(31) ^ salt; bytes]),
        headers: vec![("h".to_owned(), (!n.is_multiple_of(3)).then(|| vec![0xff, 0]))],
    };
    records.map(of).collect()
}

/// A log of three segments whose last value has so many bytes; what its segments take together.
fn write(mode: IoMode, last: usize, salt: u8) -> (Disk, Log, Vec<Owned>, usize) {
    let disk = Disk::new(Profile { seed: 9, ..Profile::default() });
    let log = options(mode).open_on(&disk, DIR).unwrap();
    let (mut truth, mut bytes) = (Vec::new(), 0);
    for nth in 0.. {
        let records = batch(nth, truth.len(), 150 + nth * 37 % 400, salt);
        let left = BYTES.saturating_sub(bytes);
        if left < 3000 {
            break;
        }
        log.append_batch(records.iter().map(Owned::to_new)).unwrap();
        bytes = log.stats().batch_bytes as usize;
        truth.extend(records);
    }
    let records = batch(0, truth.len(), last, salt);
    log.append_batch(records.iter().map(Owned::to_new)).unwrap();
    truth.extend(records);
    log.flush().unwrap();
    let bytes = log.stats().batch_bytes as usize;
    (disk, log, truth, bytes)
}

impl Sample {
    fn new(mode: IoMode, left: Left, salt: u8) -> Sample {
        let mut last = 100;
        let (disk, log, truth) = loop {
            let (disk, log, truth, bytes) = write(mode, last, salt);
            assert!(bytes <= BYTES, "{bytes} with a last value of {last}");
            if bytes == BYTES {
                break (disk, log, truth);
            }
            last += (BYTES - bytes).div_ceil(2);
        };
        let disk = match left {
            Left::Closed => {
                log.close().unwrap();
                disk.kill()
            }
            Left::Killed => disk.kill(),
            Left::Cut => disk.power_cut(Keep::None),
        };
        let names = disk.file_names(DIR).into_iter().filter(|name| name.ends_with(".log"));
        let read = |name: String| {
            let bytes = disk.read_file(format!("{DIR}/{name}")).unwrap();
            (name, bytes)
        };
        let files: Vec<_> = names.map(read).collect();
        assert_eq!(files.len(), 3, "three segments");
        let batches = batches_of(&files);
        let used: usize = batches.iter().map(|(.., place)| place.len()).sum();
        assert_eq!(used, BYTES, "all of them are batches");
        Sample { mode, left, disk, truth, batches, files }
    }

    /// The log with other bytes in one file, opened and read; `Err` says what must never be.
    fn judge(&self, name: &str, bytes: &[u8], truth: &[Owned], hit: usize) -> Result<bool, String> {
        let disk = self.disk.kill();
        disk.write_file(format!("{DIR}/{name}"), bytes);
        let log = options(self.mode).open_on(&disk, DIR).map_err(|error| error.to_string())?;
        let found = read_through(&log, OffsetSpec::Earliest);
        let report = log.recovery();
        let mut next = 0;
        let mut missing = Vec::new();
        for record in &found.records {
            missing.extend(next..record.offset);
            next = record.offset + 1;
            if truth.get(record.offset as usize) != Some(record) {
                return Err(format!("wrong: {record:?}"));
            }
        }
        missing.extend(next..truth.len() as i64);
        let hit = &self.batches[hit].0;
        let cut = report.bytes_cut > 0;
        let told =
            |n: &i64| found.lost.iter().any(|lost| lost.contains(n)) || (cut && *n >= hit.start);
        match missing.iter().find(|n| !told(n)) {
            Some(n) => {
                return Err(format!("silent: {n} is missing, {report:?}, {:?}", found.errors));
            }
            None if missing.is_empty() => {
                return Err(format!("silent: nobody noticed, {report:?}"));
            }
            None => {}
        }
        let last = if cut { truth.len() as i64 } else { hit.end };
        match missing.iter().find(|n| !(hit.start..last).contains(*n)) {
            Some(n) => Err(format!("{n} is missing, {hit:?} was hit: {report:?}")),
            None => Ok(cut),
        }
    }

    /// Flips one bit in `every` of them; how many were isolated, and how many cut off.
    fn flip_all(&self, every: usize) -> Vec<String> {
        let (isolated, cut, started) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
        let mut failures = Vec::new();
        for (at, (_, name, place)) in self.batches.iter().enumerate() {
            let (_, original) = self.files.iter().find(|(of, _)| of == name).unwrap();
            let mut bytes = original.clone();
            let before = self.batches[..at].iter().map(|(.., place)| place.len() * 8);
            let first = (every - before.sum::<usize>() % every) % every;
            for bit in (place.start * 8..place.end * 8).skip(first).step_by(every) {
                bytes[bit / 8] ^= 1 << (bit % 8);
                let judged =
                    catch_unwind(AssertUnwindSafe(|| self.judge(name, &bytes, &self.truth, at)));
                bytes[bit / 8] ^= 1 << (bit % 8);
                match judged {
                    Ok(Ok(false)) => isolated.fetch_add(1, Ordering::Relaxed),
                    Ok(Ok(true)) => cut.fetch_add(1, Ordering::Relaxed),
                    Ok(Err(why)) => {
                        failures.push(format!("{name}: byte {}, bit {}: {why}", bit / 8, bit % 8));
                        0
                    }
                    Err(_) => {
                        failures.push(format!("{name}: byte {}, bit {}: panic", bit / 8, bit % 8));
                        0
                    }
                };
            }
        }
        let (isolated, cut) = (isolated.into_inner(), cut.into_inner());
        println!(
            "bits: {} flipped of {} in {} segments, {:?}, {:?}: {isolated} isolated, {cut} cut off \
             and told, {} wrong, silent or panicking, in {} s",
            isolated + cut + failures.len(),
            BYTES * 8,
            self.files.len(),
            self.mode,
            self.left,
            failures.len(),
            started.elapsed().as_secs()
        );
        failures
    }
}

/// Where the batches of these files are, by their own headers.
fn batches_of(
    files: &[(String, Vec<u8>)],
) -> Vec<(std::ops::Range<i64>, String, std::ops::Range<usize>)> {
    let mut batches = Vec::new();
    for (name, bytes) in files {
        let word = |at: usize| i32::from_be_bytes(bytes[at..at + 4].try_into().unwrap());
        let mut at = 0;
        while at + 61 <= bytes.len() && word(at + 8) > 0 {
            let base = i64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
            let next = base + i64::from(word(at + 23)) + 1;
            let end = at + 12 + usize::try_from(word(at + 8)).unwrap();
            batches.push((base..next, name.clone(), at..end));
            at = end;
        }
    }
    batches
}

fn every() -> usize {
    match std::env::var("FOREBAY_BITS").as_deref() {
        Ok("all") => 1,
        _ if cfg!(debug_assertions) => 3001,
        _ => 101,
    }
}

fn flip(left: Left) {
    for mode in MODES {
        let failures = Sample::new(mode, left, 0).flip_all(every());
        let few: Vec<_> = failures.iter().take(20).cloned().collect();
        assert!(failures.is_empty(), "{} flips: {}", failures.len(), few.join("\n"));
    }
}

/// V10: of a closed log.
#[test]
fn every_bit_of_a_closed_log_is_told() {
    flip(Left::Closed);
}

/// V10: of one whose process died.
#[test]
fn every_bit_of_a_killed_log_is_told() {
    flip(Left::Killed);
}

/// V10, V11: of one whose power went: above the recovery point a damaged batch may be a torn end.
#[test]
fn every_bit_of_a_log_after_a_power_cut_is_told() {
    flip(Left::Cut);
}

/// The judge itself: bytes that every checksum agrees with, and that nobody appended; a record that
/// is missing without a word; a flip that nothing is missing for.
#[test]
fn the_judge_sees_wrong_bytes_and_silence() {
    let (sample, other) = (
        Sample::new(IoMode::Positioned, Left::Closed, 0),
        Sample::new(IoMode::Positioned, Left::Closed, 1),
    );
    let (name, bytes) = &other.files[1];
    assert_eq!(bytes.len(), sample.files[1].1.len());
    let wrong = sample.judge(name, bytes, &sample.truth, 0).unwrap_err();
    assert!(wrong.starts_with("wrong"), "{wrong}");
    let (name, bytes) = &sample.files[1];
    let silent = sample.judge(name, bytes, &sample.truth, 0).unwrap_err();
    assert!(silent.starts_with("silent: nobody noticed"), "{silent}");
    let mut more = sample.truth.clone();
    more.push(Owned { offset: more.len() as i64, ..Owned::value("never appended") });
    let silent = sample.judge(name, bytes, &more, 0).unwrap_err();
    assert!(silent.starts_with("silent"), "{silent}");
}
