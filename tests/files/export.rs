//! Exports: segments as a broker adopts them. What a real broker makes of them is checked by
//! `tests/campaign/run export`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use forebay::{
    ErrorKind, ExportReport, IoMode, Log, NewRecord, Offset, OffsetSpec, RecordBatch, SegmentFile,
    Timestamp,
};

use crate::util::fixture::{fill, options};
use crate::util::{self, MODES, Owned, child_role, kind, manual, read_all, scratch, segments};

/// The batches of an exported directory in order, every one whole and where it belongs.
fn exported(dir: &Path) -> Vec<RecordBatch> {
    let mut all: Vec<RecordBatch> = Vec::new();
    for path in segments(dir) {
        let mut segment = SegmentFile::open(&path).unwrap();
        let batches: Vec<_> = segment.by_ref().map(|item| item.unwrap().1).collect();
        assert_eq!(segment.valid_bytes(), segment.file_bytes(), "{path:?}");
        let base: i64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let previous = all.last().map_or(0, |batch| batch.next_offset().get());
        assert!(base >= previous, "{path:?} begins below its predecessor's end");
        assert!(batches.first().is_none_or(|batch| batch.base_offset().get() >= base));
        for part in ["index", "timeindex"] {
            assert!(path.with_extension(part).is_file(), "{path:?} has no {part}");
        }
        all.extend(batches);
    }
    all
}

fn batches(log: &Log) -> Vec<RecordBatch> {
    log.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect()
}

/// The batches' bytes but for the leader epoch, which is -1.
fn assert_unsealed(found: &[RecordBatch], expected: &[RecordBatch]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert_eq!(found.leader_epoch(), -1);
        assert!(found.as_bytes()[..12] == expected.as_bytes()[..12]);
        assert!(found.as_bytes()[16..] == expected.as_bytes()[16..]);
    }
}

#[test]
fn an_export_holds_every_durable_batch_without_its_seal() {
    for mode in MODES {
        for (flushed, unflushed) in [(1, 0), (14, 30), (45, 0), (45, 20), (100, 3)] {
            let tmp = scratch();
            let (dir, target) = (tmp.path().join("log"), tmp.path().join("telemetry-0"));
            let log = options(mode).open(&dir).unwrap();
            let mut records = Vec::new();
            fill(&log, &mut records, flushed);
            let durable = log.flush().unwrap();
            fill(&log, &mut records, unflushed);
            let report = log.export(&target).unwrap();
            let mut expected = batches(&log);
            expected.retain(|batch| batch.next_offset() <= durable);
            assert_unsealed(&exported(&target), &expected);
            assert_eq!((report.log_start_offset, report.log_end_offset), (Offset::ZERO, durable));
            assert_eq!((report.batches, report.records), (flushed as u64, durable.get() as u64));
            assert_eq!(report.segments, segments(&target).len() as u64);
            let bytes: u64 = segments(&target).iter().map(|p| fs::metadata(p).unwrap().len()).sum();
            assert_eq!((report.bytes, report.damaged_ranges), (bytes, 0));
            let names =
                util::files(&target).into_iter().map(|path| path.extension().map(Into::into));
            let names: Vec<Option<std::ffi::OsString>> = names.collect();
            assert!(
                names
                    .iter()
                    .flatten()
                    .all(|ext| ext == "log" || ext == "index" || ext == "timeindex")
            );
            assert!(read_all(&log) == records);
        }
    }
}

/// Sealed segments keep their names and sizes, and their indexes byte for byte.
#[test]
fn exported_indexes_are_those_of_the_log() {
    for mode in MODES {
        let tmp = scratch();
        let (dir, target) = (tmp.path().join("log"), tmp.path().join("telemetry-0"));
        let log = options(mode).open(&dir).unwrap();
        fill(&log, &mut Vec::new(), 60);
        log.flush().unwrap();
        let report = log.export(&target).unwrap();
        log.close().unwrap();
        let mut compared = 0;
        for path in util::files(&target) {
            let name = path.file_name().unwrap();
            let same = fs::read(&path).unwrap() == fs::read(dir.join(name)).unwrap();
            assert_eq!(same, path.extension().unwrap() != "log", "{name:?}");
            compared += 1;
        }
        assert_eq!(compared, report.segments * 3);
        assert!(report.segments > 3);
    }
}

/// An index entry leads to the batch whose last offset it names, a time entry to the first batch
/// with that highest time: what Kafka's dump tool verifies.
#[test]
fn exported_indexes_point_at_batches() {
    let tmp = scratch();
    let log = options(IoMode::Mapped).open(tmp.path().join("log")).unwrap();
    fill(&log, &mut Vec::new(), 60);
    log.flush().unwrap();
    log.export(tmp.path().join("t-0")).unwrap();
    let mut entries = 0;
    for path in segments(&tmp.path().join("t-0")) {
        let base: i64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
        let batches: BTreeMap<u64, RecordBatch> =
            SegmentFile::open(&path).unwrap().map(Result::unwrap).collect();
        for entry in fs::read(path.with_extension("index")).unwrap().chunks(8) {
            let offset = base + i64::from(i32::from_be_bytes(entry[..4].try_into().unwrap()));
            let position = u64::from(u32::from_be_bytes(entry[4..].try_into().unwrap()));
            assert_eq!(batches[&position].last_offset().get(), offset);
            entries += 1;
        }
        let mut last = i64::MIN;
        for entry in fs::read(path.with_extension("timeindex")).unwrap().chunks(12) {
            let time = i64::from_be_bytes(entry[..8].try_into().unwrap());
            let offset = base + i64::from(i32::from_be_bytes(entry[8..].try_into().unwrap()));
            let batch = batches.values().find(|batch| batch.last_offset().get() == offset).unwrap();
            assert_eq!(batch.max_timestamp().millis(), time);
            assert!(time > last);
            last = time;
            entries += 1;
        }
        assert_eq!(last, batches.values().map(|b| b.max_timestamp().millis()).max().unwrap());
    }
    assert!(entries > 20);
}

/// A log without a durable record still says where its offsets go on.
#[test]
fn an_export_of_nothing_is_an_empty_segment_at_the_end() {
    for mode in MODES {
        let tmp = scratch();
        let log = options(mode).open(tmp.path().join("log")).unwrap();
        log.append("not flushed").unwrap();
        let report = log.export(tmp.path().join("t-0")).unwrap();
        assert_eq!((report.segments, report.records, report.bytes), (1, 0, 0));
        let only = tmp.path().join("t-0/00000000000000000000.log");
        assert_eq!(segments(&tmp.path().join("t-0")), [only]);
    }
}

/// The empty batches of a mirror that misses some of its source.
#[test]
fn gaps_are_exported_as_empty_batches() {
    for mode in MODES {
        let tmp = scratch();
        let (mirror, records) = mirror_with_gaps(mode, tmp.path());
        let report = mirror.export(tmp.path().join("t-0")).unwrap();
        let found = exported(&tmp.path().join("t-0"));
        let full: Vec<_> = found.iter().filter(|batch| !batch.is_empty()).cloned().collect();
        assert!(full.len() < found.len());
        assert_unsealed(&full, &batches(&mirror));
        assert_eq!(full.iter().flat_map(util::records).count(), records.len());
        assert_eq!(report.records, records.len() as u64);
        assert_eq!(found.last().unwrap().next_offset(), mirror.log_end_offset());
        for pair in found.windows(2) {
            assert_eq!(pair[0].next_offset(), pair[1].base_offset(), "I4: no hole");
        }
    }
}

/// A mirror of every third batch of a log with all that a record can be.
fn mirror_with_gaps(mode: IoMode, dir: &Path) -> (Log, Vec<Owned>) {
    let source = options(mode).open(dir.join("source")).unwrap();
    fill(&source, &mut Vec::new(), 200);
    let mirror = options(mode).mirror_of(source.id()).open(dir.join("mirror")).unwrap();
    for batch in source.reader(OffsetSpec::Earliest).unwrap().skip(2).step_by(3) {
        mirror.append_mirrored(&batch.unwrap()).unwrap();
    }
    mirror.flush().unwrap();
    let records = read_all(&mirror);
    (mirror, records)
}

/// What was exported opens as a log too: without an identity, and it says so.
#[test]
fn an_export_can_be_read_as_a_log_without_seals() {
    for mode in MODES {
        let tmp = scratch();
        let log = options(mode).open(tmp.path().join("log")).unwrap();
        let mut records = Vec::new();
        fill(&log, &mut records, 45);
        log.flush().unwrap();
        log.export(tmp.path().join("t-0")).unwrap();
        let read = options(mode).open(tmp.path().join("t-0")).unwrap();
        assert!(read.recovery().seal_lost);
        assert!(read_all(&read) == records);
    }
}

#[test]
fn an_unfinished_export_is_no_log_and_is_replaced() {
    let tmp = scratch();
    let log = options(IoMode::Mapped).open(tmp.path().join("log")).unwrap();
    fill(&log, &mut Vec::new(), 45);
    log.flush().unwrap();
    let target = tmp.path().join("t-0");
    log.export(&target).unwrap();
    assert_eq!(kind(log.export(&target)), ErrorKind::InvalidArgument, "it is not empty");
    fs::write(target.join("unfinished-copy"), "").unwrap();
    assert_eq!(kind(options(IoMode::Mapped).open(&target)), ErrorKind::InvalidArgument);
    let report: ExportReport = log.export(&target).unwrap();
    assert_eq!(report.segments, segments(&target).len() as u64);
    assert!(!target.join("unfinished-copy").exists());
}

/// Exports while appends go on hold what was durable, and nothing above what is durable then.
#[test]
fn exports_under_load_are_prefixes_of_the_log() {
    for mode in MODES {
        let tmp = scratch();
        let log = options(mode).open(tmp.path().join("log")).unwrap();
        let ends: Vec<_> = std::thread::scope(|scope| {
            scope.spawn(|| {
                for n in 0..2000_u32 {
                    log.append(format!("{n} {}", "x".repeat(200))).unwrap();
                    if n % 20 == 0 {
                        log.flush().unwrap();
                    }
                }
            });
            let export = |n: usize| {
                let least = log.durable_offset();
                let report = log.export(tmp.path().join(n.to_string())).unwrap();
                assert!(report.log_end_offset >= least);
                assert!(report.log_end_offset <= log.durable_offset());
                assert_eq!(report.damaged_ranges, 0);
                report.log_end_offset
            };
            (0..12).map(export).collect()
        });
        let all = batches(&log);
        for (n, end) in ends.into_iter().enumerate() {
            let mut expected = all.clone();
            expected.retain(|batch| batch.next_offset() <= end);
            assert_unsealed(&exported(&tmp.path().join(n.to_string())), &expected);
        }
    }
}

/// For `tests/campaign/run export`, as a child: a log with all that a record can be, over several
/// segments; a mirror with gaps; the first log from a start inside a segment; then with damage.
/// Each exported, with its offsets and the lines that Kafka's console consumer has to print.
#[test]
fn the_campaign_gets_its_exports() {
    let Some((role, dir)) = child_role() else { return };
    assert_eq!(role, "make exports");
    let log = manual(IoMode::Auto).segment_bytes(64 << 10).open(dir.join("log")).unwrap();
    for n in 0..4000_i64 {
        match n % 4 {
            0 => drop(log.append(campaign_record(n)).unwrap()),
            1 => drop(log.append_batch((n..n + 3).map(campaign_record)).unwrap()),
            _ => {}
        }
    }
    log.flush().unwrap();
    let all = read_all(&log);
    export_for_campaign(&log, &dir, "plain", &all);
    let (mirror, records) = mirror_with_gaps(IoMode::Auto, &dir);
    export_for_campaign(&mirror, &dir, "gaps", &records);
    // Inside a batch of three, inside a segment.
    log.delete_records(Offset::new(2222)).unwrap();
    let report = export_for_campaign(&log, &dir, "later", &all);
    assert_eq!((report.log_start_offset, report.damaged_ranges), (Offset::new(2221), 0));
    // One batch is damaged, and a segment is lost.
    log.close().unwrap();
    let files = segments(&dir.join("log"));
    let mut batches = util::batches_of(&files[0]).into_iter();
    let batch = batches.find(|(offsets, _)| offsets.start > 2500).unwrap().1;
    let mut bytes = fs::read(&files[0]).unwrap();
    bytes[batch.start + 65] ^= 1;
    fs::write(&files[0], bytes).unwrap();
    fs::remove_file(&files[files.len() - 2]).unwrap();
    let log = manual(IoMode::Auto).open(dir.join("log")).unwrap();
    let report = export_for_campaign(&log, &dir, "damaged", &all);
    assert_eq!(report.damaged_ranges, 2);
}

fn campaign_record(n: i64) -> NewRecord<'static> {
    let value = format!("value {n} {}", "v".repeat(usize::try_from(n * 7 % 90).unwrap()));
    let record = match n % 11 {
        0 => NewRecord::tombstone(format!("key {n}")),
        1..4 => NewRecord::new(value),
        4 => NewRecord::new("").key(format!("key {n}")),
        5 => NewRecord::new(value).key(vec![0xff, 0, 0x80]),
        6 => NewRecord::default(),
        _ => NewRecord::new(value).key(format!("key {n}")),
    };
    let record = match n % 5 {
        0 => record.header("first", format!("h{n}")).header_without_value("second"),
        1 => record.header("first", ""),
        _ => record,
    };
    record.timestamp(Timestamp::from_millis(1_790_000_000_000 + n * 7919 % 100_000))
}

fn export_for_campaign(log: &Log, dir: &Path, topic: &str, all: &[Owned]) -> ExportReport {
    let report = log.export(dir.join(format!("{topic}-0"))).unwrap();
    assert!(report.segments > 1, "{report:?}");
    let (start, end) = (report.log_start_offset.get(), report.log_end_offset.get());
    let there = |record: &&Owned| {
        let offset = Offset::new(record.offset);
        offset >= report.log_start_offset
            && !report.damaged.iter().any(|range| range.contains(&offset))
    };
    let lines: Vec<u8> = all.iter().filter(there).flat_map(consumed).collect();
    fs::write(dir.join(format!("{topic}.expected")), lines).unwrap();
    fs::write(dir.join(format!("{topic}.offsets")), format!("{start} {end}\n")).unwrap();
    println!("export: {topic}: {}", serde_json::to_string(&report).unwrap());
    report
}

/// A record as the console consumer prints it: time, offset, headers, key and value.
fn consumed(record: &Owned) -> Vec<u8> {
    let bytes = |bytes: &Option<Vec<u8>>| bytes.clone().unwrap_or(b"<null>".to_vec());
    let headers = record.headers.iter().map(|(name, value)| {
        let mut header = format!("{name}:").into_bytes();
        header.extend(bytes(value));
        header
    });
    let headers = match record.headers.is_empty() {
        true => b"NO_HEADERS".to_vec(),
        false => headers.collect::<Vec<_>>().join(b",".as_slice()),
    };
    let place = format!("CreateTime:{}\tOffset:{}", record.timestamp, record.offset).into_bytes();
    let mut line = [place, headers, bytes(&record.key), bytes(&record.value)].join(&b'\t');
    line.push(b'\n');
    line
}
