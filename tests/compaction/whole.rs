//! What a compaction leaves: records, offsets, files, and what it says of them.

use std::time::Duration;

use forebay::{Cleanup, ErrorKind, NewRecord, OffsetSpec, SegmentFile, Timestamp};

use crate::history::{History, small};
use crate::util::{MODES, OpenIn, at, kind, manual, records, scratch, ways};

/// Twenty segments of few keys become one; the report says what there was and what there is.
#[test]
fn many_segments_of_few_keys_become_one() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = small(mode).open_in(&place).unwrap();
        let mut history = History::default();
        history.fill(&log, 700, 9);
        let before = place.segments().len();
        assert!(before > 18, "{before}");
        let sealed = log.stats();
        let report = log.compact().unwrap();
        assert_eq!((report.segments_before, report.segments_after), (before as u64 - 1, 1));
        assert_eq!((report.keys, report.passes, report.damaged_segments), (9, 1, 0));
        assert_eq!(report.records_before, report.records_after + report.superseded);
        assert!(report.records_after <= 9 && report.records_before > 600, "{report:?}");
        assert_eq!(place.segments().len(), 2, "{:?}", place.names());
        assert!(report.bytes_after < 1500 && report.bytes_before > 18 * 3000, "{report:?}");
        let stats = log.stats();
        assert_eq!(
            sealed.batch_bytes - stats.batch_bytes,
            report.bytes_before - report.bytes_after
        );
        let below = report.cleaned_offset.get();
        let found = history.check_compacted(&log, below, "compacted");
        assert_eq!(log.log_start_offset().get(), 0, "the start stays");
        let verified = log.verify().unwrap();
        assert_eq!(verified.records, found.len() as u64);
        assert_eq!((verified.index_mismatches, verified.time_index_mismatches), (0, 0));
        assert!(!place.exists("compacted.new"));
        // What was compacted is not new any more.
        let again = log.compact().unwrap();
        assert_eq!((again.keys, again.superseded), (0, 0));
        assert_eq!(
            (again.bytes_before, again.bytes_after),
            (again.bytes_after, again.bytes_before)
        );
        log.close().unwrap();
        let log = small(mode).open_in(&place).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(history.check(&log, "again"), found);
        history.fill(&log, 300, 9);
        log.compact().unwrap();
        history.check_compacted(&log, log.compact().unwrap().cleaned_offset.get(), "more");
    }
}

/// A segment of which every record stays is not written again, and its batches are as they were.
#[test]
fn what_stays_is_as_it_was_stored() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = small(mode).open_in(&place).unwrap();
        let mut history = History::default();
        for key in 0..400 {
            history.append(&log, [(key, Some(80)), (key + 1000, Some(20))]);
        }
        let before = place.files();
        let report = log.compact().unwrap();
        assert_eq!((report.superseded, report.keys), (0, report.records_before));
        let logs = |files: &[(String, Vec<u8>)]| -> Vec<_> {
            files.iter().filter(|(name, _)| name.ends_with(".log")).cloned().collect()
        };
        assert_eq!(logs(&place.files()), logs(&before));
        history.check_compacted(&log, history.end(), "nothing went");
        // One key in the middle has a newer record: its segment alone is another one.
        history.append(&log, [(200, Some(10))]);
        for key in 2000..2100 {
            history.append(&log, [(key, Some(80))]);
        }
        let before = logs(&place.files());
        log.compact().unwrap();
        let after = logs(&place.files());
        let changed = before.iter().filter(|file| !after.contains(file)).count();
        assert_eq!(changed, 1, "{:?}", place.names());
        history.check_compacted(&log, history.end(), "one went");
    }
}

/// Lookups by offset and by time lead to what is there; a batch keeps its offsets.
#[test]
fn lookups_lead_to_the_next_record_that_is_there() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = small(mode).open_in(&place).unwrap();
        let mut history = History::default();
        history.fill(&log, 900, 60);
        let below = log.compact().unwrap().cleaned_offset.get();
        let found = history.check_compacted(&log, below, "compacted");
        for offset in (0..history.end()).step_by(3) {
            let next = found.iter().find(|record| record.offset >= offset);
            let mut reader = log.reader(at(offset)).unwrap();
            let first = std::iter::from_fn(|| reader.next())
                .find_map(|batch| records(&batch.unwrap()).first().cloned());
            assert_eq!(first.as_ref(), next, "{offset}");
        }
        let times: Vec<_> = found.iter().map(|record| record.timestamp).collect();
        for time in times.iter().step_by(5).flat_map(|time| [time - 1, *time, time + 1]) {
            let next = found.iter().find(|record| record.timestamp >= time);
            let spec = OffsetSpec::Timestamp(Timestamp::from_millis(time));
            let mut reader = log.reader(spec).unwrap();
            let first = reader.next().and_then(|batch| records(&batch.unwrap()).first().cloned());
            assert_eq!(first.as_ref(), next, "{time}");
        }
        let mut consumer = log.consumer("c").unwrap();
        let mut seen = Vec::new();
        while let Some(batch) = consumer.poll(Duration::ZERO).unwrap() {
            seen.extend(records(&batch));
        }
        assert_eq!(seen, found);
        assert_eq!(consumer.missed(), 0, "a record that has a newer one was not missed");
        assert_eq!(consumer.position().get(), history.end());
    }
}

/// A log that is not compacted says so; one that becomes one loses what it may lose.
#[test]
fn a_log_is_compacted_only_if_it_is_told_to_be() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).segment_bytes(4096).open_in(&place).unwrap();
        let mut history = History::default();
        history.fill(&log, 300, 5);
        assert_eq!(kind(log.compact()), ErrorKind::InvalidArgument);
        assert!(log.apply_retention().unwrap().compaction.is_none());
        log.set_options(log.current_options().cleanup(Cleanup::Compact)).unwrap();
        let done = log.apply_retention().unwrap().compaction.expect("all of it is new");
        assert!(done.records_after <= 5 && done.passes == 1, "{done:?}");
        assert!(log.apply_retention().unwrap().compaction.is_none(), "nothing is new");
        history.check_compacted(&log, done.cleaned_offset.get(), "compacted");
    }
}

/// By itself, with the append that fills a segment: when more of it is new than the options say.
#[test]
fn it_happens_by_itself_when_enough_is_new() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = small(mode).min_cleanable_dirty_percent(50).open_in(&place).unwrap();
        let mut history = History::default();
        let mut most = 0;
        for round in 0..60 {
            history.fill(&log, 25, 40);
            most = most.max(place.segments().len());
            history.check(&log, &format!("round {round}"));
        }
        assert!(most < 8, "{most} segments of 40 keys");
        let second = ground.place();
        let plain = small(mode).open_in(&second).unwrap();
        let mut other = History::default();
        other.fill(&plain, 1500, 40);
        assert!(plain.stats().segments > 30, "100 per cent: never");
    }
}

/// The retention rules delete nothing in a log that is compacted, unless both is asked for.
#[test]
fn retention_rules_delete_only_where_both_is_asked_for() {
    for (mode, ground) in ways() {
        for (cleanup, deletes) in [(Cleanup::Compact, false), (Cleanup::Both, true)] {
            let place = ground.place();
            let options = small(mode).cleanup(cleanup);
            let options = options.retention_records(100).retention_bytes(1);
            let log = options.open_in(&place).unwrap();
            let mut history = History::default();
            history.fill(&log, 600, 500);
            log.apply_retention().unwrap();
            assert_eq!(log.log_start_offset().get() > 0, deletes, "{cleanup:?}");
            log.compact().unwrap();
            if !deletes {
                history.check(&log, "all keys");
            }
        }
    }
}

/// What is younger than the lag stays, each record of it.
#[test]
#[cfg(feature = "simulation")]
fn what_is_younger_than_the_lag_stays() {
    for mode in MODES {
        let place = crate::util::Ground::Simulated.place();
        let hour = Duration::from_secs(3600);
        let log = small(mode).min_compaction_lag(hour).open_in(&place).unwrap();
        let mut history = History::default();
        history.fill(&log, 200, 3);
        assert_eq!(log.compact().unwrap().records_before, 0);
        place.disk().unwrap().advance(hour);
        history.fill(&log, 200, 3);
        let report = log.compact().unwrap();
        let cleaned = report.cleaned_offset.get();
        assert!((100..=200).contains(&cleaned), "{report:?}");
        let found = history.check_compacted(&log, cleaned, "old ones went");
        assert_eq!(found.iter().filter(|r| r.offset >= cleaned).count() as i64, 400 - cleaned);
    }
}

/// With little memory for keys it goes through the log several times, to the same end.
#[test]
fn more_keys_than_memory_take_several_passes() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let options = small(mode).segment_bytes(64 << 10).compaction_memory_bytes(64 << 10);
        let log = options.open_in(&place).unwrap();
        let mut history = History::default();
        for number in 0..12_000_u64 {
            let key = number * 2_654_435_761 % 9001;
            history.append(&log, (0..3).map(|more| (key + more, Some(5))));
        }
        let report = log.compact().unwrap();
        assert!(report.passes > 4, "{report:?}");
        let below = report.cleaned_offset.get();
        let found = history.check_compacted(&log, below, "compacted");
        let left = found.iter().filter(|record| record.offset < below).count() as u64;
        assert_eq!((report.records_after, report.records_before), (left, below as u64));
        let second = ground.place();
        let wide = small(mode).segment_bytes(64 << 10).open_in(&second).unwrap();
        for batch in history.records.chunks(3) {
            wide.append_batch(batch.iter().map(crate::util::Owned::to_new)).unwrap();
        }
        assert_eq!(wide.compact().unwrap().passes, 1);
        assert_eq!(crate::util::read_all(&wide), found);
    }
}

/// A segment that is damaged stays as it is, and what it hides is told as before.
#[test]
fn a_damaged_segment_stays_and_the_others_are_compacted() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = small(mode).open_in(&place).unwrap();
        let mut history = History::default();
        history.fill(&log, 400, 7);
        log.close().unwrap();
        let name = place.segments()[4].clone();
        let mut bytes = place.read(&name);
        let (lost, at) = place.batches_of(&name)[5].clone();
        bytes[at.start + 70] ^= 1;
        place.remove(&name);
        place.write(&name, &bytes);
        let log = small(mode).open_in(&place).unwrap();
        let report = log.compact().unwrap();
        assert_eq!(report.damaged_segments, 1, "{report:?}");
        assert_eq!(place.read(&name), bytes);
        let verified = log.verify().unwrap();
        let told: Vec<_> = verified.damaged.iter().map(|r| r.start.get()..r.end.get()).collect();
        assert_eq!(told, [lost], "{verified:?}");
        assert!(place.segments().len() <= 4, "{:?}", place.segments());
    }
}

/// A broker's compacted segments, with gaps inside batches and a delete horizon, read as it says.
#[test]
fn the_segments_of_a_brokers_cleaner_read_as_kafka_reads_them() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors");
    let folder = folder.join("compacted");
    let (mut gaps, mut horizons) = (0, 0);
    for name in ["00000000000000000000", "00000000000000000051"] {
        let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
        let segment = SegmentFile::open(folder.join(format!("{name}.log"))).unwrap();
        let batches: Vec<_> = segment.map(|item| item.unwrap().1).collect();
        let expected = golden["batches"].as_array().unwrap();
        assert_eq!(batches.len(), expected.len());
        for (batch, expected) in batches.iter().zip(expected) {
            assert_eq!(batch.base_offset().get(), expected["base_offset"].as_i64().unwrap());
            assert_eq!(batch.last_offset().get(), expected["last_offset"].as_i64().unwrap());
            let horizon = batch.delete_horizon().map(Timestamp::millis);
            assert_eq!(horizon, expected["delete_horizon_ms"].as_i64());
            horizons += u32::from(horizon.is_some());
            let found = records(batch);
            let records = expected["records"].as_array().unwrap();
            assert_eq!(found.len(), records.len());
            for (found, expected) in found.iter().zip(records) {
                assert_eq!(found.offset, expected["offset"].as_i64().unwrap());
                assert_eq!(found.timestamp, expected["timestamp"].as_i64().unwrap());
                assert_eq!(found.value.is_none(), expected["value"].is_null());
            }
            let offsets = batch.next_offset() - batch.base_offset();
            gaps += offsets - i64::try_from(batch.len()).unwrap();
            assert!(!batch.is_producible() || offsets == batch.len() as i64);
        }
    }
    assert!(gaps > 0 && horizons > 0, "{gaps} {horizons}");
}

/// Options that cannot work are refused by name.
#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let dir = scratch();
    let mode = MODES[0];
    for (name, options) in [
        ("min_cleanable_dirty_percent", small(mode).min_cleanable_dirty_percent(101)),
        ("compaction_memory_bytes", small(mode).compaction_memory_bytes(1000)),
    ] {
        let error = options.open(dir.path()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().starts_with(name), "{error}");
    }
    let log = small(mode).open(dir.path()).unwrap();
    assert!(log.append(NewRecord::new("").key("")).is_ok(), "an empty key is one");
}
