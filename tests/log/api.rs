//! Every public call on a healthy log does what its documentation says, in both I/O modes.

use std::panic::{AssertUnwindSafe, catch_unwind};

use forebay::{Compression, ErrorKind, Log, NewRecord, Offset, OffsetSpec, Timestamp};
use forebay::{FlushPolicy, TimestampType};

use crate::util::{
    Ground, OpenIn, Owned, all_texts, at, kind, manual, read_all, records, texts, ways,
};

/// I2: single appends and batches share one sequence, before and after a reopen.
#[test]
fn appends_and_batches_get_consecutive_offsets_across_a_reopen() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        assert!(log.recovery().created && log.recovery().io_mode == Some(mode));
        assert_eq!((log.log_start_offset(), log.log_end_offset()), (Offset::ZERO, Offset::ZERO));
        assert_eq!(log.append("a").unwrap(), Offset::ZERO);
        assert_eq!(log.append_batch(["b", "c"]).unwrap(), Offset::new(1)..Offset::new(3));
        let id = log.id();
        log.close().unwrap();

        let log = manual(mode).open_in(&dir).unwrap();
        assert!(!log.recovery().created && log.recovery().clean);
        assert_eq!((log.id(), log.durable_offset().get()), (id, 3));
        assert_eq!(log.append("d".to_owned()).unwrap().get(), 3);
        assert_eq!(all_texts(&log), ["a", "b", "c", "d"]);
    }
}

/// I14: no record, no batch; the next offset is unchanged and the next append gets it.
#[test]
fn an_empty_batch_appends_nothing() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        assert_eq!(log.append_batch(Vec::<&str>::new()).unwrap(), Offset::ZERO..Offset::ZERO);
        assert!(log.reader(OffsetSpec::Earliest).unwrap().next().is_none());
        log.append("a").unwrap();
        assert_eq!(log.append_batch([""; 0]).unwrap(), Offset::new(1)..Offset::new(1));
        assert_eq!(log.append("b").unwrap().get(), 1);
        assert_eq!(all_texts(&log), ["a", "b"]);
    }
}

/// Every part of a record, empty and absent parts told apart, and times from end to end.
fn odd_records() -> Vec<Owned> {
    let times = [i64::MIN, i64::MAX, 0, -1, 1, i64::MIN + 1, i64::MAX - 1, -86_400_000, 5, 4];
    let mut records: Vec<Owned> = times
        .map(|timestamp| Owned { timestamp, value: Some(b"v".to_vec()), ..Owned::default() })
        .into();
    records[0].key = Some(Vec::new());
    records[1].value = Some(Vec::new());
    records[2] = Owned { key: Some(b"gone".to_vec()), value: None, ..Owned::default() };
    records[3].headers = vec![
        (String::new(), Some(Vec::new())),
        ("absent".into(), None),
        ("twice".into(), Some(vec![1])),
        ("twice".into(), Some(vec![0xff, 0, 0xfe])),
        ("\u{1f4a7}".into(), Some("wasser".into())),
    ];
    records[4].headers = (0..300).map(|n| (format!("h{n}"), Some(vec![7; n]))).collect();
    records[5].key = Some(vec![0; 300]);
    records[6].headers = vec![("n".repeat(70_000), Some(vec![9; 70_000]))];
    records[7] = Owned { value: None, key: None, ..Owned::default() };
    records
}

/// I14: keys, headers, tombstones and times come back as they went in, batched and single.
#[test]
fn every_part_of_a_record_reads_back_as_written() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        let mut expected = odd_records();
        log.append_batch(expected.iter().map(Owned::to_new)).unwrap();
        for record in &expected {
            log.append(record.to_new()).unwrap();
        }
        expected.extend(expected.clone());
        (0..).zip(&mut expected).for_each(|(offset, record)| record.offset = offset);
        assert_eq!(read_all(&log), expected);
        log.close().unwrap();
        let log = manual(mode).open_in(&dir).unwrap();
        assert_eq!(read_all(&log), expected);

        let batch = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        assert_eq!(batch.max_timestamp(), Timestamp::from_millis(i64::MAX));
        let tombstone = batch.records().nth(2).unwrap().unwrap();
        assert!(tombstone.is_tombstone() && tombstone.value().is_empty());
        assert_eq!(tombstone.headers().len(), 0);
    }
}

/// What a batch says about itself is what Kafka would read in it.
#[test]
fn a_stored_batch_has_no_producer_and_a_negative_seal() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        log.append_batch(["a", "b", "c"]).unwrap();
        let batch = log.reader(at(1)).unwrap().next().unwrap().unwrap();
        assert_eq!((batch.base_offset().get(), batch.last_offset().get()), (0, 2));
        assert_eq!((batch.next_offset().get(), batch.len(), batch.is_empty()), (3, 3, false));
        assert_eq!(
            (batch.producer_id(), batch.producer_epoch(), batch.base_sequence()),
            (-1, -1, -1)
        );
        assert_eq!(batch.timestamp_type(), TimestampType::CreateTime);
        assert_eq!(batch.compression(), Compression::None);
        assert!(batch.leader_epoch() < 0 && !batch.is_control() && !batch.is_transactional());
        assert_eq!(batch.delete_horizon(), None);
        let bytes = batch.as_bytes();
        assert_eq!(bytes[..8], [0; 8]);
        assert_eq!(bytes[8..12], u32::try_from(bytes.len() - 12).unwrap().to_be_bytes());
        assert_eq!((bytes[16], &bytes[17..21]), (2, &batch.checksum().to_be_bytes()[..]));
    }
}

/// I11: the bound holds to the byte, for a record and for a batch; a refusal changes nothing.
#[test]
fn a_batch_of_the_largest_size_is_taken_and_one_byte_more_refused() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).segment_bytes(4096).max_batch_bytes(1000).open_in(&dir).unwrap();
        log.append(vec![1; 500]).unwrap();
        let probe = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        let most = 1000 - (probe.as_bytes().len() - 500);
        for (n, bytes) in [(1, most - 1), (2, most)] {
            assert_eq!(log.append(vec![2; bytes]).unwrap().get(), n);
        }
        for bytes in [most + 1, most + 2, 4096, 100_000, 10_000_000] {
            assert_eq!(kind(log.append(vec![3; bytes])), ErrorKind::RecordTooLarge);
        }
        assert_eq!(kind(log.append_batch(vec![vec![4; 90]; 20])), ErrorKind::RecordTooLarge);
        assert_eq!(
            kind(log.append(NewRecord::new("v").key(vec![5; 1000]))),
            ErrorKind::RecordTooLarge
        );
        let long = "x".repeat(1000);
        assert_eq!(
            kind(log.append(NewRecord::new("v").header(long, "v"))),
            ErrorKind::RecordTooLarge
        );
        assert_eq!(log.append("after").unwrap().get(), 3);
        let sizes: Vec<_> =
            read_all(&log).iter().map(|r| r.value.as_ref().unwrap().len()).collect();
        assert_eq!(sizes, [500, most - 1, most, 5]);
    }
}

/// I4: a batch may fill a segment to the last byte; the next one then begins the next segment.
#[test]
fn a_batch_as_large_as_a_segment_fills_it_exactly() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let options = manual(mode).segment_bytes(4096).max_batch_bytes(4096);
        let log = options.clone().open_in(&dir).unwrap();
        log.append(vec![0; 2000]).unwrap();
        let probe = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        let most = 4096 - (probe.as_bytes().len() - 2000);
        for n in 1..5 {
            assert_eq!(log.append(vec![n; most]).unwrap().get(), i64::from(n));
        }
        assert_eq!(kind(log.append(vec![9; most + 1])), ErrorKind::RecordTooLarge);
        log.append("last").unwrap();
        log.close().unwrap();
        let lengths: Vec<_> = dir.segments().iter().map(|name| dir.len(name)).collect();
        assert_eq!(lengths[1..5], [4096; 4]);
        let log = options.open_in(&dir).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(read_all(&log).len(), 6);
    }
}

/// I14: 2^20 records in one batch keep their order and their offsets.
#[test]
fn a_batch_of_a_million_records_is_one_batch() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let bytes = 24 << 20;
        let log = manual(mode).segment_bytes(bytes).max_batch_bytes(bytes).open_in(&dir).unwrap();
        let count = 1_u32 << 20;
        let range = log.append_batch((0..count).map(|n| n.to_be_bytes().to_vec())).unwrap();
        assert_eq!(range.end - range.start, i64::from(count));
        let mut reader = log.reader(at(i64::from(count) - 2)).unwrap();
        let batch = reader.next().unwrap().unwrap();
        assert_eq!((batch.len(), batch.records().count()), (1 << 20, 2));
        assert!(reader.next().is_none());
        let whole = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        assert!(
            (0..count).zip(whole.records()).all(|(n, r)| r.unwrap().value() == n.to_be_bytes())
        );
    }
}

/// A reader that begins inside a batch hands out its rest, with the whole batch's bytes.
#[test]
fn reading_from_the_middle_of_a_batch_begins_there() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        log.append_batch(["a", "b", "c", "d"]).unwrap();
        log.append("e").unwrap();
        let whole = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        for from in 0..4_usize {
            let mut reader = log.reader(at(i64::try_from(from).unwrap())).unwrap();
            assert_eq!(reader.next_offset().get(), i64::try_from(from).unwrap());
            let batch = reader.next().unwrap().unwrap();
            assert_eq!(texts(&batch), ["a", "b", "c", "d"][from..]);
            assert_eq!((batch.base_offset().get(), batch.len()), (0, 4));
            assert_eq!(batch.as_bytes(), whole.as_bytes());
            let (least, most) = batch.records().size_hint();
            assert!(least <= 4 - from && most.is_none_or(|most| most >= 4 - from));
            assert_eq!(reader.next_offset().get(), 4);
            assert_eq!(texts(&reader.next().unwrap().unwrap()), ["e"]);
        }
    }
}

/// `None` means nothing more now; the same reader goes on with what comes in later.
#[test]
fn a_reader_at_the_end_goes_on_when_more_is_appended() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
        let mut earliest = log.reader(OffsetSpec::Earliest).unwrap();
        let mut latest = log.reader(OffsetSpec::Latest).unwrap();
        for n in 0..200 {
            assert!(earliest.next().is_none() && earliest.next().is_none());
            assert!(latest.next().is_none());
            log.append(format!("{n} {}", "x".repeat(200))).unwrap();
            for reader in [&mut earliest, &mut latest] {
                let batch = reader.next().unwrap().unwrap();
                assert_eq!(batch.base_offset().get(), n);
                assert!(texts(&batch)[0].starts_with(&format!("{n} ")));
                assert_eq!(reader.next_offset(), log.log_end_offset());
            }
        }
        assert!(dir.segments().len() > 5);
    }
}

/// A reader in an old segment reads on while the log rolls over it many times.
#[test]
fn a_reader_held_across_rolls_reads_every_record() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
        log.append_batch(["0", "1"]).unwrap();
        let mut reader = log.reader(at(1)).unwrap();
        let first = reader.next().unwrap().unwrap();
        for n in 2..400 {
            log.append(format!("{n}")).unwrap();
        }
        assert_eq!(texts(&first), ["1"]);
        let rest: Vec<_> = reader.flat_map(|batch| records(&batch.unwrap())).collect();
        assert!(rest.iter().map(|r| r.offset).eq(2..400));
        for from in 0..400 {
            let batch = log.reader(at(from)).unwrap().next().unwrap().unwrap();
            assert_eq!(texts(&batch)[0], format!("{from}"));
        }
        assert!(log.reader(at(400)).unwrap().next().is_none());
    }
}

/// Seeking takes the reader anywhere valid; a refused seek leaves it where it was.
#[test]
fn seek_moves_a_reader_and_a_refused_seek_does_not() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
        for n in 0..100 {
            log.append_batch([format!("{n} a"), format!("{n} {}", "b".repeat(100))]).unwrap();
        }
        let mut reader = log.reader(OffsetSpec::Earliest).unwrap();
        for to in [199, 0, 100, 57, 58, 3, 198] {
            reader.seek(at(to)).unwrap();
            assert_eq!(reader.next_offset().get(), to);
            assert_eq!(records(&reader.next().unwrap().unwrap())[0].offset, to);
        }
        let before = reader.next_offset();
        for bad in [-1, i64::MIN, 201, i64::MAX] {
            let error = reader.seek(at(bad)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
            assert_eq!(error.valid_offsets(), Some(Offset::ZERO..Offset::new(200)));
            assert_eq!(error.lost_offsets(), None);
            let error = log.reader(at(bad)).unwrap_err();
            assert_eq!(error.valid_offsets(), Some(Offset::ZERO..Offset::new(200)));
            assert_eq!(reader.next_offset(), before);
        }
        reader.seek(OffsetSpec::Latest).unwrap();
        assert!(reader.next().is_none());
        reader.seek(OffsetSpec::Earliest).unwrap();
        assert_eq!(reader.count(), 100);
    }
}

/// I10: the caller's iterator runs under no lock, so it may use the log itself.
#[test]
fn an_iterator_that_appends_to_the_same_log_works() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).segment_bytes(4096).open_in(&dir).unwrap();
        let range = log
            .append_batch((0..3).map(|n| {
                log.append(format!("inner {n}")).unwrap();
                log.append_batch([format!("pair {n}"), "second".to_owned()]).unwrap();
                log.flush().unwrap();
                assert_eq!(log.reader(OffsetSpec::Earliest).unwrap().count(), 2 * (n + 1));
                format!("outer {n}")
            }))
            .unwrap();
        assert_eq!((range.start.get(), range.end.get()), (9, 12));
        assert_eq!(all_texts(&log)[9..], ["outer 0", "outer 1", "outer 2"]);
        let last = log.reader(at(9)).unwrap().next().unwrap().unwrap();
        assert_eq!(last.len(), 3);
    }
}

/// I14: a panic in the caller's iterator appends nothing and leaves the log as it was.
#[test]
fn a_panicking_iterator_leaves_the_log_usable() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        log.append("before").unwrap();
        for _ in 0..3 {
            let panicking = (0..3).map(|n| {
                if n == 2 {
                    std::panic::resume_unwind(Box::new("on purpose"));
                }
                "half"
            });
            assert!(catch_unwind(AssertUnwindSafe(|| log.append_batch(panicking))).is_err());
        }
        assert_eq!(log.append_batch(["after", "all"]).unwrap().start.get(), 1);
        log.flush().unwrap();
        assert_eq!(all_texts(&log), ["before", "after", "all"]);
        log.close().unwrap();
        let log = manual(mode).flush(FlushPolicy::EveryAppend).open_in(&dir).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(all_texts(&log), ["before", "after", "all"]);
    }
}

/// Any handle is `Send + Sync`, cheap to clone, and prints without the records.
#[test]
fn handles_can_be_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    fn sent<T: Send>() {}
    shared::<Log>();
    shared::<forebay::RecordBatch>();
    shared::<forebay::Error>();
    sent::<forebay::Reader>();
    sent::<forebay::Consumer>();
    let dir = Ground::System.place();
    let log = Log::options().open_in(&dir).unwrap();
    log.append("secret").unwrap();
    let batch = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
    let clone = log.clone();
    let text = std::thread::spawn(move || (format!("{clone:?}"), texts(&batch))).join().unwrap();
    assert!(text.0.len() < 1000);
    assert_eq!(text.1, ["secret"]);
}
