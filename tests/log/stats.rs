//! The numbers of an open log are what happened (I1, I9).

use std::fs;
use std::time::Duration;

use forebay::{ErrorKind, FlushPolicy, IoMode, Log, LogStats, NewRecord, Offset, OffsetSpec};

use crate::util::{self, MODES, OpenIn, Place, kind, manual, scratch, ways};

const RECORD: [u8; 300] = [b'x'; 300];

fn append(log: &Log, count: usize) {
    for _ in 0..count {
        log.append(&RECORD).unwrap();
    }
}

/// What the files of a directory come to, by their lengths and by their blocks.
fn sizes(dir: &Place) -> (u64, u64) {
    #[cfg(feature = "simulation")]
    if let Some(disk) = dir.disk() {
        let bytes = dir.files().iter().map(|(_, bytes)| bytes.len() as u64).sum();
        return (bytes, disk.used_bytes("/"));
    }
    let all = util::files(dir.path()).into_iter().map(|path| fs::metadata(path).unwrap());
    let blocks = |file: &fs::Metadata| {
        #[cfg(unix)]
        return std::os::unix::fs::MetadataExt::blocks(file) * 512;
        #[cfg(not(unix))]
        return file.len();
    };
    all.fold((0, 0), |(bytes, allocated), file| (bytes + file.len(), allocated + blocks(&file)))
}

fn check_files(log: &Log, dir: &Place) -> LogStats {
    let stats = log.stats();
    assert_eq!((stats.file_bytes, stats.allocated_bytes), sizes(dir));
    let segments = dir.segments();
    assert_eq!(stats.segments, segments.len() as u64);
    let batches = segments.iter().flat_map(|name| dir.batches_of(name));
    assert_eq!(stats.batch_bytes, batches.map(|(_, places)| places.len() as u64).sum::<u64>());
    assert_eq!(stats.log_start_offset, log.log_start_offset());
    assert_eq!(stats.log_end_offset, log.log_end_offset());
    assert_eq!(stats.durable_offset, log.durable_offset());
    stats
}

/// Appends, batches, bytes, flushes, rolls and files, over opens, in both modes.
#[test]
fn appends_flushes_rolls_and_files_are_counted() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let options = || manual(mode).segment_bytes(8192);
        let log = options().open_in(&dir).unwrap();
        let stats = check_files(&log, &dir);
        assert_eq!((stats.batches_appended, stats.flushes, stats.rolls), (0, 0, 0));
        assert!(stats.recovery.created && stats.consumers.is_empty() && stats.poisoned.is_none());
        assert_eq!(stats.io_mode, mode);
        append(&log, 50);
        log.append_batch([&RECORD; 7]).unwrap();
        log.append_batch::<&str>([]).unwrap();
        let stats = check_files(&log, &dir);
        assert_eq!((stats.records_appended, stats.batches_appended), (57, 51));
        assert_eq!(stats.bytes_appended, stats.batch_bytes);
        assert_eq!(stats.unflushed_bytes, stats.batch_bytes);
        assert_eq!(stats.rolls + 1, stats.segments);
        assert!(stats.rolls >= 2);
        log.flush().unwrap();
        log.flush().unwrap();
        let stats = check_files(&log, &dir);
        assert_eq!((stats.flushes, stats.unflushed_bytes), (1, 0), "the second had nothing to do");
        assert_eq!(stats.open_sealed_segments, stats.rolls);
        assert_eq!(stats.mapped_bytes > 0, mode == IoMode::Mapped);
        log.close().unwrap();
        let log = options().open_in(&dir).unwrap();
        let stats = check_files(&log, &dir);
        assert_eq!((stats.records_appended, stats.bytes_appended, stats.flushes), (0, 0, 0));
        assert_eq!(stats.open_sealed_segments, 0, "none was read yet");
        assert!(stats.recovery.clean);
        assert_eq!(log.reader(OffsetSpec::Earliest).unwrap().count(), 51);
        assert_eq!(log.stats().open_sealed_segments, stats.segments - 1);
        let json = serde_json::to_value(log.stats()).unwrap();
        assert_eq!(json["log_end_offset"], 57);
        assert_eq!(json["io_mode"], if mode == IoMode::Mapped { "mapped" } else { "positioned" });
        let other = log.clone();
        log.close().unwrap();
        assert_eq!(other.stats().log_end_offset.get(), 57, "a closed log still tells");
    }
}

/// Every refusal counts once; an append that is in the log does not, though its flush may fail.
#[test]
fn refused_appends_are_counted() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).segment_bytes(8192).open_in(&dir).unwrap();
        append(&log, 1);
        assert_eq!(kind(log.append(vec![0; 9000])), ErrorKind::RecordTooLarge);
        assert_eq!(kind(log.append_batch([&[0_u8; 5000], &[0; 5000]])), ErrorKind::RecordTooLarge);
        assert_eq!(kind(log.append_at(Offset::ZERO, "x")), ErrorKind::Conflict);
        assert_eq!(kind(log.append_batch_at(Offset::ZERO, ["x"])), ErrorKind::Conflict);
        assert_eq!(log.stats().appends_refused, 4);
        let mirror = ground.place();
        let mirror = manual(mode).mirror_of(log.id()).open_in(&mirror).unwrap();
        assert_eq!(kind(mirror.append("x")), ErrorKind::InvalidArgument);
        let batch = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        mirror.append_mirrored(&batch).unwrap();
        assert_eq!(kind(mirror.append_mirrored(&batch)), ErrorKind::Conflict);
        let stats = mirror.stats();
        assert_eq!((stats.appends_refused, stats.records_appended), (2, 1));
        let other = log.clone();
        log.close().unwrap();
        assert_eq!(kind(other.append("x")), ErrorKind::Closed);
        assert_eq!((other.stats().appends_refused, other.stats().records_appended), (5, 1));
    }
}

/// A mirror counts records, not the offsets of its gaps.
#[test]
fn a_mirrors_gaps_are_batches_without_records() {
    for (mode, ground) in ways() {
        let (dir, second) = (ground.place(), ground.place());
        let log = util::ten_in(mode, &dir);
        let mirror = manual(mode).mirror_of(log.id()).open_in(&second).unwrap();
        let mut reader = log.reader(util::at(7)).unwrap();
        mirror.append_mirrored(&reader.next().unwrap().unwrap()).unwrap();
        let stats = mirror.stats();
        assert_eq!((stats.records_appended, stats.batches_appended), (1, 2));
        assert_eq!(stats.log_end_offset.get(), 8);
    }
}

/// I9: the space of deleted segments counts as long as a batch or a reader keeps it, also where
/// the segment had been let go of, and opened again, in between.
#[test]
fn deleted_segments_count_while_somebody_holds_them() {
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).segment_bytes(8192).open(dir.path()).unwrap();
        // More segments than are kept open.
        append(&log, 1000);
        log.flush().unwrap();
        let mut early = log.reader(OffsetSpec::Earliest).unwrap();
        let batch = early.next().unwrap().unwrap();
        assert_eq!(log.reader(OffsetSpec::Earliest).unwrap().count(), 1000);
        let again = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        let late = log.reader(util::at(500)).unwrap().next().unwrap().unwrap();
        assert_eq!(log.stats().deleted_held_bytes, 0);
        let segments = log.stats().segments;
        log.delete_records(Offset::new(1000)).unwrap();
        let stats = log.stats();
        assert_eq!((stats.segments, stats.segments_deleted), (1, segments - 1));
        // By position a batch holds memory of its own, a reader the file.
        let held = |stats: &LogStats| stats.deleted_held_bytes;
        let one = 8192;
        assert_eq!(held(&stats), if mode == IoMode::Mapped { 2 * one } else { one }, "{mode:?}");
        drop((late, again));
        assert_eq!(held(&log.stats()), one, "the first segment, by the batch and the reader");
        drop(early);
        assert_eq!(held(&log.stats()), if mode == IoMode::Mapped { one } else { 0 });
        assert_eq!(batch.records().next().unwrap().unwrap().value(), RECORD);
        drop(batch);
        assert_eq!(held(&log.stats()), 0);
    }
}

/// Consumers with their lag, and the poll that made none.
#[test]
fn consumers_are_listed_with_their_lag() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).flush(FlushPolicy::EveryAppend).open_in(&dir).unwrap();
        log.append_batch((0..10).map(|n| NewRecord::new(format!("{n}")))).unwrap();
        let mut consumer = log.consumer_with("uplink", util::durable()).unwrap();
        drop(log.consumer("display").unwrap());
        consumer.poll(Duration::ZERO).unwrap().unwrap();
        consumer.commit_offset(Offset::new(7)).unwrap();
        let stats = log.stats();
        let told: Vec<_> = stats
            .consumers
            .iter()
            .map(|c| (c.name.as_str(), c.committed.get(), c.lag, c.open))
            .collect();
        assert_eq!(told, [("uplink", 7, 3, true), ("display", 0, 10, false)]);
        assert_eq!(stats.flushes, 1);
    }
}
