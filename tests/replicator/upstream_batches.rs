//! Batches as brokers hold them: compacted, empty, stamped, transactional, huge offsets, or made
//! by a hand that wants to do harm, mirrored and looked into (I4, I11).

use std::fs;

use forebay::{ErrorKind, Log, LogId, Offset, OffsetSpec, RecordBatch, SegmentFile};

use crate::util::{self, Ground, MODES, OpenIn, Place, at, manual, records, scratch, texts, ways};

/// A batch as its header says it is, right or not; the checksum is always right.
#[derive(Clone)]
struct Batch {
    base: i64,
    attributes: i16,
    last_delta: i32,
    count: i32,
    max_timestamp: i64,
    producer: (i64, i16, i32),
    body: Vec<u8>,
}

/// A record of a delta and a value shorter than 60 bytes: every length is one byte.
fn record(delta: u8, value: &str) -> Vec<u8> {
    let length = u8::try_from(value.len()).unwrap();
    let mut body = vec![0, 0, delta * 2, 1, length * 2];
    body.extend(value.as_bytes());
    body.push(0);
    let mut record = vec![u8::try_from(body.len()).unwrap() * 2];
    record.extend(body);
    record
}

impl Batch {
    fn new(base: i64, last_delta: i32, records: &[(u8, &str)]) -> Batch {
        Batch {
            base,
            attributes: 0,
            last_delta,
            count: i32::try_from(records.len()).unwrap(),
            max_timestamp: 1000,
            producer: (-1, -1, -1),
            body: records.iter().flat_map(|(delta, value)| record(*delta, value)).collect(),
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut tail = self.attributes.to_be_bytes().to_vec();
        tail.extend(self.last_delta.to_be_bytes());
        tail.extend(1000_i64.to_be_bytes());
        tail.extend(self.max_timestamp.to_be_bytes());
        tail.extend(self.producer.0.to_be_bytes());
        tail.extend(self.producer.1.to_be_bytes());
        tail.extend(self.producer.2.to_be_bytes());
        tail.extend(self.count.to_be_bytes());
        tail.extend(&self.body);
        let crc = crc32c::crc32c(&tail);
        let mut bytes = self.base.to_be_bytes().to_vec();
        bytes.extend(i32::try_from(tail.len() + 9).unwrap().to_be_bytes());
        bytes.extend((-1_i32).to_be_bytes());
        bytes.push(2);
        bytes.extend(crc.to_be_bytes());
        bytes.extend(tail);
        bytes
    }

    /// As a reader of a broker's segment would find it, if it is taken for a batch at all.
    fn read(&self) -> Option<RecordBatch> {
        let dir = scratch();
        let path = dir.path().join("segment");
        fs::write(&path, self.bytes()).unwrap();
        let item = SegmentFile::open(&path).unwrap().next().unwrap();
        item.map(|(_, batch)| batch).ok()
    }
}

fn mirror(mode: forebay::IoMode, dir: &Place) -> Log {
    let source = LogId::from_bytes([7; 16]);
    manual(mode).segment_bytes(1 << 16).mirror_of(source).open_in(dir).unwrap()
}

/// A compacted batch keeps its offsets; reading begins at the next record that is left.
#[test]
fn a_compacted_batch_is_mirrored_with_its_holes() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = mirror(mode, &dir);
        let first = Batch::new(0, 9, &[(1, "one"), (4, "four"), (8, "eight")]).read().unwrap();
        assert_eq!((first.len(), first.last_offset().get()), (3, 9));
        assert_eq!(log.append_mirrored(&first).unwrap(), Offset::ZERO..Offset::new(10));
        let second = Batch::new(12, 4, &[(4, "sixteen")]).read().unwrap();
        log.append_mirrored(&second).unwrap();
        let empty = Batch::new(17, 2, &[]).read().unwrap();
        assert!(empty.is_empty());
        assert_eq!(log.append_mirrored(&empty).unwrap(), Offset::new(17)..Offset::new(20));
        log.append_mirrored(&Batch::new(20, 0, &[(0, "twenty")]).read().unwrap()).unwrap();
        log.close().unwrap();
        let log = mirror(mode, &dir);
        assert!(log.recovery().clean);
        let all = [(1, "one"), (4, "four"), (8, "eight"), (16, "sixteen"), (20, "twenty")];
        for from in 0..=21 {
            let reader = log.reader(at(from)).unwrap();
            let found: Vec<_> = reader.flat_map(|batch| records(&batch.unwrap())).collect();
            let expected: Vec<_> = all.iter().filter(|(offset, _)| *offset >= from).collect();
            assert_eq!(found.len(), expected.len(), "from {from}");
            for (found, (offset, value)) in found.iter().zip(expected) {
                assert_eq!(
                    (found.offset, found.value.as_deref()),
                    (*offset, Some(value.as_bytes()))
                );
            }
        }
    }
}

/// What an upstream's producer and broker wrote in the header is kept and shown.
#[test]
fn flags_producer_and_append_time_of_an_upstream_batch_are_kept() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = mirror(mode, &dir);
        let mut batch = Batch::new(0, 1, &[(0, "a"), (1, "b")]);
        (batch.producer, batch.max_timestamp) = ((77, 3, 1000), 5000);
        batch.attributes = 0b0011_1000;
        log.append_mirrored(&batch.read().unwrap()).unwrap();
        let stored = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        assert!(stored.is_transactional() && stored.is_control());
        assert_eq!(stored.timestamp_type(), forebay::TimestampType::LogAppendTime);
        assert_eq!((stored.producer_id(), stored.producer_epoch()), (77, 3));
        assert_eq!(stored.base_sequence(), 1000);
        assert!(records(&stored).iter().all(|record| record.timestamp == 5000));
        assert_eq!(stored.as_bytes()[16..], batch.bytes()[16..]);
    }
}

/// I4: a gap wider than a batch's delta can say, and wider than an index entry, is kept.
#[test]
fn a_gap_of_billions_of_offsets_is_kept_and_read_over() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = mirror(mode, &dir);
        let far = 1_i64 << 36;
        log.append_mirrored(&Batch::new(0, 0, &[(0, "near")]).read().unwrap()).unwrap();
        log.append_mirrored(&Batch::new(far, 0, &[(0, "far")]).read().unwrap()).unwrap();
        log.append_mirrored(&Batch::new(far + 1, 0, &[(0, "next")]).read().unwrap()).unwrap();
        let copy = dir.killed();
        log.close().unwrap();
        for dir in [&dir, &copy] {
            let log = mirror(mode, dir);
            assert_eq!(log.log_end_offset().get(), far + 2);
            assert_eq!((log.recovery().bytes_cut, log.recovery().damaged_ranges), (0, 0));
            assert_eq!(util::all_texts(&log), ["near", "far", "next"]);
            for from in [1, i64::from(i32::MAX), i64::from(i32::MAX) + 1, far - 1, far] {
                let mut reader = log.reader(at(from)).unwrap();
                let found = reader.find(|batch| batch.as_ref().is_ok_and(|b| !b.is_empty()));
                assert_eq!(texts(&found.unwrap().unwrap()), ["far"], "from {from}");
            }
        }
    }
}

/// Nothing is appended beyond the highest offset there is: a typed error, again and again.
#[test]
fn the_highest_offset_is_the_end_of_a_log() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let base = i64::MAX - 5;
        let bytes = Batch::new(base, 1, &[(0, "a"), (1, "b")]).bytes();
        dir.write(&format!("{base:020}.log"), bytes);
        let log = manual(mode).open_in(&dir).unwrap();
        assert_eq!(log.log_end_offset().get(), base + 2);
        assert_eq!(util::all_texts(&log), ["a", "b"]);
        let mut appended = 0;
        for _ in 0..10 {
            match log.append("c") {
                Ok(offset) => {
                    assert_eq!(offset.get(), base + 2 + appended);
                    appended += 1;
                }
                Err(error) => assert_ne!(error.kind(), ErrorKind::Io, "{error}"),
            }
        }
        assert!((2..=3).contains(&appended), "{appended}");
        assert!(log.append_batch(["d"; 9]).is_err());
        let count = util::all_texts(&log).len();
        assert_eq!(i64::try_from(count).unwrap(), appended + 2);
        log.close().unwrap();
        let log = manual(mode).open_in(&dir).unwrap();
        assert_eq!(util::all_texts(&log).len(), count);
    }
}

/// I11: no length or count that a valid checksum covers is believed beyond its bytes.
#[test]
fn a_batch_that_lies_about_its_records_is_an_error_and_no_panic() {
    let good = Batch::new(0, 1, &[(0, "a"), (1, "b")]);
    let with = |change: &dyn Fn(&mut Batch)| {
        let mut batch = good.clone();
        change(&mut batch);
        batch
    };
    let mut liars = vec![
        with(&|b| b.count = i32::MAX),
        with(&|b| b.count = 3),
        with(&|b| b.count = 1),
        with(&|b| b.count = -1),
        with(&|b| b.count = i32::MIN),
        with(&|b| b.last_delta = -1),
        with(&|b| b.last_delta = i32::MIN),
        with(&|b| b.last_delta = 0),
        with(&|b| b.base = -1),
        with(&|b| b.base = i64::MIN),
        with(&|b| b.base = i64::MAX),
        with(&|b| (b.base, b.last_delta) = (i64::MAX - 1, i32::MAX)),
        with(&|b| b.attributes = i16::MIN),
        with(&|b| b.body.clear()),
        with(&|b| b.body.extend([0; 9])),
        with(&|b| b.body.truncate(5)),
    ];
    for (place, _) in good.body.iter().enumerate() {
        for byte in [0, 1, 0x7f, 0x80, 0xff] {
            liars.push(with(&|b| b.body[place] = byte));
        }
    }
    for codec in 1..=7 {
        liars.push(with(&|b| b.attributes = codec));
    }
    let dir = Ground::System.place();
    let mut taken = 0;
    for (n, liar) in liars.iter().enumerate() {
        let Some(batch) = liar.read() else { continue };
        let count = batch.records().take(1000).filter(Result::is_ok).count();
        assert!(count <= 2, "liar {n} gave {count} records");
        assert!(batch.records().take(1000).filter(Result::is_err).count() <= 1, "liar {n}");
        assert!(batch.next_offset() >= batch.base_offset(), "liar {n}");
        let (least, _) = batch.records().size_hint();
        assert!(least <= count, "liar {n} promises {least} records and has {count}");
        // Mirrored, it is refused, or the log reads on behind it.
        let log = mirror(MODES[n % 2], &Place::at(&dir.path().join(format!("{n}"))));
        if batch.base_offset() == Offset::ZERO && log.append_mirrored(&batch).is_ok() {
            taken += 1;
            let end = log.log_end_offset();
            assert_eq!(end, batch.next_offset(), "liar {n}");
            let next = Batch::new(end.get(), 0, &[(0, "next")]).read().unwrap();
            log.append_mirrored(&next).unwrap();
            let found = log.reader(OffsetSpec::At(end)).unwrap().next().unwrap().unwrap();
            assert_eq!(texts(&found), ["next"], "liar {n}");
            assert_eq!(log.reader(OffsetSpec::Earliest).unwrap().take(9).count(), 2, "liar {n}");
        }
    }
    assert!(taken > 10, "{taken} of {}", liars.len());
}
