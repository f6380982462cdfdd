//! Batches as large as a segment: taken, read, copied and shipped whole; one byte more is refused
//! by name, everywhere, and changes nothing.

use forebay::{
    ErrorKind, IoMode, Log, LogOptions, NewRecord, Offset, OffsetSpec, RecordBatch, RecoveryMode,
    SegmentFile,
};

use crate::util::followed::follow;
use crate::util::{self, Ground, MODES, OpenIn, Place, at, kind, manual, scratch, ways};

/// Bytes of a varint that holds this length.
fn varint(length: usize) -> usize {
    let mut bytes = 1;
    let mut rest = length * 2;
    while rest >= 0x80 {
        (rest, bytes) = (rest >> 7, bytes + 1);
    }
    bytes
}

/// Bytes of a record without key and headers.
fn record_bytes(value: usize) -> usize {
    // Attributes, both deltas, no key, the value, no headers.
    let body = 4 + varint(value) + value + 1;
    varint(body) + body
}

/// Bytes of a batch of one such record.
fn batch_bytes(value: usize) -> usize {
    61 + record_bytes(value)
}

/// The length of the value that makes a batch of so many bytes; a length may not exist where a
/// varint grows, so one below is taken then.
fn value_of(batch: usize) -> usize {
    let value = (batch - 90..batch).rev().find(|value| batch_bytes(*value) <= batch).unwrap();
    assert!(batch_bytes(value) + 1 >= batch, "{batch} is not where a varint grows");
    value
}

fn options(mode: IoMode, segment_bytes: usize) -> LogOptions {
    manual(mode).segment_bytes(segment_bytes).max_batch_bytes(segment_bytes)
}

/// Each record's own bytes.
fn value(n: usize, length: usize) -> Vec<u8> {
    let mut bytes = vec![u8::try_from(n % 251).unwrap(); length];
    for (at, mark) in (n as u64).to_be_bytes().into_iter().enumerate() {
        if let Some(byte) = bytes.get_mut(at) {
            *byte = mark;
        }
        if let Some(last) = length.checked_sub(at + 1) {
            bytes[last] ^= mark;
        }
    }
    bytes
}

/// Offset by offset, the lengths of what was appended: in batches.
#[derive(Clone)]
struct Written {
    lengths: Vec<usize>,
    batches: Vec<usize>,
}

impl Written {
    fn append(&mut self, log: &Log, lengths: &[usize]) {
        let first = self.lengths.len();
        let values: Vec<_> =
            lengths.iter().enumerate().map(|(n, length)| value(first + n, *length)).collect();
        let range = log.append_batch(&values).unwrap();
        assert_eq!(range.start.get(), i64::try_from(first).unwrap());
        self.lengths.extend(lengths);
        self.batches.push(lengths.len());
    }

    fn check(&self, batches: impl Iterator<Item = RecordBatch>) {
        let mut n = 0;
        let mut each = self.batches.iter();
        for batch in batches {
            assert_eq!(batch.len(), *each.next().unwrap());
            for record in batch.records() {
                let record = record.unwrap();
                assert_eq!(record.offset().get(), i64::try_from(n).unwrap());
                assert!(record.value() == value(n, self.lengths[n]), "record {n} has other bytes");
                n += 1;
            }
        }
        assert_eq!(n, self.lengths.len());
    }

    fn check_log(&self, log: &Log) {
        self.check(log.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap));
        // By the index, and backwards.
        let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
        for n in (0..self.lengths.len()).rev() {
            reader.seek(at(i64::try_from(n).unwrap())).unwrap();
            let batch = reader.next().unwrap().unwrap();
            let record = batch.records().next().unwrap().unwrap();
            assert!(record.value() == value(n, self.lengths[n]), "record {n} has other bytes");
        }
    }
}

/// What is one byte too large, in every call that takes records.
fn refuse(log: &Log, bound: usize) {
    let end = log.log_end_offset();
    let over = value(0, value_of(bound) + 1);
    let half = value(0, bound / 2);
    let errors = [
        log.append(&over).map(drop),
        log.append_at(end, &over).map(drop),
        log.append_batch([&over]).map(drop),
        log.append_batch([&half[..], &half, b"."]).map(drop),
        log.append_batch_at(end, [&half[..], &half]).map(drop),
        log.append(NewRecord::new("").key(&over)).map(drop),
        log.append(NewRecord::new("").header("h", &over)).map(drop),
    ];
    for error in errors.map(Result::unwrap_err) {
        assert_eq!(error.kind(), ErrorKind::RecordTooLarge);
        assert!(error.to_string().contains(&bound.to_string()), "{error}");
    }
    assert!(log.append(&over).unwrap_err().to_string().contains(&(bound + 1).to_string()));
    assert_eq!(log.log_end_offset(), end, "what is refused takes no offset");
}

fn fill(log: &Log, bound: usize) -> Written {
    let mut written = Written { lengths: Vec::new(), batches: Vec::new() };
    let most = value_of(bound);
    assert_eq!(batch_bytes(most), bound);
    // First in a segment, and behind something small: that rolls; one below; in two records.
    written.append(log, &[most]);
    written.append(log, &[3]);
    written.append(log, &[most]);
    written.append(log, &[most - 1]);
    let rest = bound - batch_bytes(bound / 2);
    let second = (0..rest).rev().find(|length| record_bytes(*length) <= rest).unwrap();
    written.append(log, &[bound / 2, second]);
    refuse(log, bound);
    let end = log.log_end_offset();
    let n = written.lengths.len();
    assert_eq!(log.append_at(end, value(n, most)).unwrap(), end);
    written.lengths.push(most);
    written.batches.push(1);
    written.append(log, &[5]);
    written
}

/// Everything but appending, and the same once more after a kill.
fn check_all(place: &Place, mode: IoMode, bound: usize) {
    let log = options(mode, bound).open_in(place).unwrap();
    let mut written = fill(&log, bound);
    written.check_log(&log);
    let report = log.verify().unwrap();
    assert!(report.is_whole() && report.index_mismatches == 0, "{report:?}");
    assert_eq!(report.records, written.lengths.len() as u64);
    // A killed process: the first flush reads and writes all of it again.
    let killed = place.killed();
    drop(log);
    let full = options(mode, bound).recovery(RecoveryMode::Full);
    let log = full.open_in(&killed).unwrap();
    assert_eq!((log.recovery().bytes_cut, log.recovery().damaged_ranges), (0, 0));
    assert_eq!(log.durable_offset(), Offset::ZERO);
    written.check_log(&log);
    written.append(&log, &[value_of(bound)]);
    assert_eq!(log.flush().unwrap(), log.log_end_offset());
    written.check_log(&log);
    refuse(&log, bound);
    log.close().unwrap();
    let log = options(mode, bound).open_in(&killed).unwrap();
    assert!(log.recovery().clean);
    written.check_log(&log);
    // A smaller bound than what is there: it is read all the same, and rolled behind.
    drop(log);
    let log = manual(mode).segment_bytes(4096).max_batch_bytes(4096).open_in(&killed).unwrap();
    written.append(&log, &[value_of(4096)]);
    written.check_log(&log);
    refuse(&log, 4096);
}

/// What only a directory of the system has: files by path, followers, copies, mirrors.
fn check_copies(mode: IoMode, bound: usize) {
    let dir = scratch();
    let path = |name: &str| dir.path().join(name);
    let log = options(mode, bound).open(path("log")).unwrap();
    let written = fill(&log, bound);
    let followed = follow(mode, &path("log"));
    written.check(followed.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap));
    log.flush().unwrap();
    written.check(followed.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap));
    let files = |dir: &std::path::Path| {
        let batches = util::segments(dir).into_iter().flat_map(|path| {
            let batches = SegmentFile::open(path).unwrap();
            batches.map(|item| item.unwrap().1)
        });
        written.check(batches);
    };
    files(&path("log"));
    let report = log.snapshot(path("snapshot")).unwrap();
    assert_eq!(report.log_end_offset, log.log_end_offset());
    written.check_log(&options(mode, bound).open(path("snapshot")).unwrap());
    assert_eq!(log.export(path("export")).unwrap().records, written.lengths.len() as u64);
    files(&path("export"));
    // A mirror with segments of one byte less takes what fits and says what does not.
    let small = options(mode, bound).segment_bytes(bound - 1).max_batch_bytes(bound - 1);
    let small = small.mirror_of(log.id()).open(path("small")).unwrap();
    let whole = options(mode, bound).max_batch_bytes(100).mirror_of(log.id());
    let whole = whole.open(path("mirror")).unwrap();
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        let batch = batch.unwrap();
        whole.append_mirrored(&batch).unwrap();
        match small.append_mirrored(&batch) {
            Ok(_) => assert!(batch.as_bytes().len() < bound),
            Err(error) => {
                assert_eq!(error.kind(), ErrorKind::RecordTooLarge);
                let text = error.to_string();
                assert!(text.contains(&bound.to_string()), "{text}");
                assert!(text.contains(&(bound - 1).to_string()), "{text}");
                assert_eq!(batch.as_bytes().len(), bound);
            }
        }
    }
    whole.flush().unwrap();
    written.check_log(&whole);
    assert!(small.stats().appends_refused >= 3 && small.verify().unwrap().is_whole());
}

/// The bounds a test has time for; on the simulated disk, and without optimisation, less.
fn bounds(ground: Ground) -> &'static [usize] {
    match ground {
        Ground::System if cfg!(debug_assertions) => &[4096, 70_001, 1 << 20, 5 << 20],
        Ground::System => &[4096, 70_001, 1 << 20, 16 << 20],
        #[cfg(feature = "simulation")]
        Ground::Simulated => &[4096, 70_001, 300_000],
    }
}

#[test]
fn a_batch_may_be_as_large_as_a_segment_and_not_a_byte_larger() {
    for (mode, ground) in ways() {
        for &bound in bounds(ground) {
            check_all(&ground.place(), mode, bound);
        }
    }
}

#[test]
fn batches_as_large_as_a_segment_are_followed_copied_exported_and_mirrored_whole() {
    for mode in MODES {
        for &bound in bounds(Ground::System) {
            // The smallest segment has none below it.
            check_copies(mode, bound.max(4097));
        }
    }
}

/// The default bound is Kafka's whatever the segment; it has to be raised for more.
#[test]
fn without_being_asked_for_a_batch_is_at_most_a_mebibyte() {
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).open(dir.path()).unwrap();
        log.append(value(0, value_of(1 << 20))).unwrap();
        refuse(&log, 1 << 20);
        let small = scratch();
        let log = manual(mode).segment_bytes(8192).open(small.path()).unwrap();
        log.append(value(0, value_of(8192))).unwrap();
        refuse(&log, 8192);
        let options = manual(mode).segment_bytes(8192).max_batch_bytes(8193);
        assert_eq!(kind(options.open(scratch().path())), ErrorKind::InvalidArgument);
    }
}

/// The replicator ships them as they are; an upstream they do not fit in says so, and gets them
/// once it has room.
#[test]
#[cfg(feature = "replicator")]
fn a_replicator_ships_batches_as_large_as_a_segment() {
    use std::time::{Duration, Instant};

    use forebay::{LogUpstream, Replicator, ReplicatorOptions};

    let bound = if cfg!(debug_assertions) { 1 << 20 } else { 16 << 20 };
    for mode in MODES {
        let (dir, second) = (scratch(), scratch());
        let log = options(mode, bound).open(dir.path()).unwrap();
        let written = fill(&log, bound);
        log.flush().unwrap();
        let start =
            |upstream| Replicator::start(&log, "copy", upstream, ReplicatorOptions::new()).unwrap();
        let replicator = start(LogUpstream::new(second.path()).options(options(mode, bound - 1)));
        let begun = Instant::now();
        while replicator.status().last_error_kind != Some(ErrorKind::RecordTooLarge) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", replicator.status());
            std::thread::sleep(Duration::from_millis(1));
        }
        let told = replicator.status().last_error.unwrap();
        assert!(told.contains(&bound.to_string()), "{told}");
        replicator.stop().unwrap();
        let replicator = start(LogUpstream::new(second.path()).options(options(mode, bound)));
        assert!(replicator.wait_until(log.log_end_offset(), Duration::from_secs(60)).unwrap());
        replicator.stop().unwrap();
        let mirror = options(mode, bound).mirror_of(log.id()).open(second.path()).unwrap();
        written.check_log(&mirror);
    }
}

/// The largest that there is memory for: values, buffers and files are all in it. Without
/// optimisation this takes minutes.
#[test]
#[cfg(not(debug_assertions))]
fn a_batch_of_a_gibibyte_and_one_of_the_largest_segment_are_taken() {
    let free = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let free = free.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let free = free.and_then(|kib| kib.trim().trim_end_matches(" kB").parse::<usize>().ok());
    let most = free.unwrap_or(1 << 20) / 6 * 1024;
    for mode in MODES {
        for bound in [1 << 28, 1 << 30, i32::MAX as usize] {
            if bound > most {
                continue;
            }
            let dir = scratch();
            let log = options(mode, bound).open(dir.path()).unwrap();
            let mut written = Written { lengths: Vec::new(), batches: Vec::new() };
            written.append(&log, &[7]);
            written.append(&log, &[value_of(bound)]);
            refuse(&log, bound);
            log.flush().unwrap();
            written.check_log(&log);
            log.close().unwrap();
            let log = options(mode, bound).open(dir.path()).unwrap();
            written.check_log(&log);
        }
    }
}
