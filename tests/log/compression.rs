//! Compressed batches: what is read is what was appended, by whatever codec, in both ways of I/O.
//!
//! Runs with the codecs that are built in, and where one is not it is refused by name.

use forebay::{
    Compression, ErrorKind, LingerOptions, Log, LogOptions, NewRecord, Offset, OffsetSpec,
    ProducerStamp, RecordBatch, Timestamp,
};

use crate::util::{self, OpenIn, Owned, all_texts, manual, read_all, records, ways};

const CODECS: [Compression; 4] =
    [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

fn built_in() -> Vec<Compression> {
    CODECS.into_iter().filter(|codec| codec.is_built_in()).collect()
}

/// A reading as the example's sensors send it.
fn reading(number: i64) -> Owned {
    let text = format!(
        "{{\"sensor\":\"engine-{}\",\"celsius\":{}.{},\"rpm\":{}}}",
        number % 4,
        60 + number % 13,
        number % 10,
        1800 + number * 7 % 90
    );
    Owned {
        key: (number % 3 > 0).then(|| format!("engine-{}", number % 4).into_bytes()),
        value: (number % 50 != 49).then(|| text.into_bytes()),
        timestamp: 1_795_000_000_000 + number * 100 - (number % 5) * 1000,
        headers: match number % 20 {
            0 => vec![("unit".into(), Some(b"celsius".to_vec())), ("unit".into(), None)],
            _ => Vec::new(),
        },
        offset: number,
    }
}

fn readings(numbers: std::ops::Range<i64>) -> Vec<Owned> {
    numbers.map(reading).collect()
}

fn append(log: &Log, records: &[Owned]) {
    log.append_batch(records.iter().map(Owned::to_new)).unwrap();
}

/// Records of every kind come back the same: read from the front, from the middle of a batch, by
/// time, behind a reopening, by clones of a batch; and verifying looks into all of them.
#[test]
fn what_was_appended_compressed_is_read_the_same() {
    for (mode, ground) in ways() {
        for codec in built_in() {
            let place = ground.place();
            let options = manual(mode).segment_bytes(64 << 10).compression(codec);
            let log = options.clone().open_in(&place).unwrap();
            let all = readings(0..3000);
            for chunk in all.chunks(100) {
                append(&log, chunk);
            }
            for _ in 0..2 {
                let log = log.clone();
                assert_eq!(read_all(&log), all, "{mode:?} {codec:?}");
            }
            log.close().unwrap();
            let log = options.open_in(&place).unwrap();
            assert_eq!(read_all(&log), all);
            for batch in log.reader(OffsetSpec::Earliest).unwrap() {
                let batch = batch.unwrap();
                assert_eq!(batch.compression(), codec);
                assert_eq!(batch.len(), 100);
                let clone = batch.clone();
                assert_eq!(records(&clone), records(&batch));
            }
            let mut reader = log.reader(OffsetSpec::At(Offset::new(1234))).unwrap();
            let batch = reader.next().unwrap().unwrap();
            assert_eq!(batch.base_offset().get(), 1200);
            assert_eq!(records(&batch), all[1234..1300]);
            let time = Timestamp::from_millis(all[2345].timestamp);
            let first = all.iter().position(|record| record.timestamp >= time.millis()).unwrap();
            let mut by_time = log.reader(OffsetSpec::Timestamp(time)).unwrap();
            assert_eq!(records(&by_time.next().unwrap().unwrap())[0], all[first]);
            let report = log.verify().unwrap();
            assert!(report.is_whole(), "{report:?}");
            assert_eq!((report.records, report.opaque_batches), (3000, 0));
        }
    }
}

/// The codec is an option that changes while the log is open, and one batch may have its own.
#[test]
fn each_batch_has_the_codec_that_was_asked_for() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let (mut expected, mut next) = (Vec::new(), 0);
        let mut more = |log: &Log, codec, by: Option<Compression>| {
            let new = readings(next..next + 60);
            match by {
                None => append(log, &new),
                Some(by) => {
                    let batch = new.iter().map(Owned::to_new);
                    log.append_batch_compressed(by, batch).unwrap();
                }
            }
            next += 60;
            expected.push(codec);
        };
        more(&log, Compression::None, None);
        for codec in built_in() {
            log.set_options(log.current_options().compression(codec)).unwrap();
            more(&log, codec, None);
            more(&log, Compression::None, Some(Compression::None));
            for other in built_in() {
                more(&log, other, Some(other));
            }
            log.set_options(log.current_options().compression(Compression::None)).unwrap();
            more(&log, Compression::None, None);
        }
        let reader = log.reader(OffsetSpec::Earliest).unwrap();
        let found: Vec<_> = reader.map(|batch| batch.unwrap().compression()).collect();
        assert_eq!(found, expected);
        assert_eq!(read_all(&log), readings(0..next));
    }
}

/// What a linger puts together is compressed as one batch.
#[test]
fn records_that_lingered_are_compressed_together() {
    for codec in built_in() {
        let tmp = util::scratch();
        let log = Log::options().compression(codec).open(tmp.path()).unwrap();
        let linger = log.linger(LingerOptions::new()).unwrap();
        let all = readings(0..200);
        for record in &all {
            linger.append(record.to_new()).unwrap();
        }
        linger.flush().unwrap();
        let first = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        assert_eq!(first.compression(), codec);
        assert!(first.len() > 50, "{} records", first.len());
        assert_eq!(read_all(&log), all);
    }
}

/// A batch that compression makes no smaller is stored as without it, byte for byte.
#[test]
fn what_does_not_shrink_is_stored_plain() {
    for (mode, ground) in ways() {
        for codec in built_in() {
            let log = manual(mode).compression(codec).open_in(&ground.place()).unwrap();
            log.append("x").unwrap();
            log.append_batch([NewRecord::new("21.5"), NewRecord::tombstone("k")]).unwrap();
            for batch in log.reader(OffsetSpec::Earliest).unwrap() {
                assert_eq!(batch.unwrap().compression(), Compression::None);
            }
            log.append("y".repeat(5000)).unwrap();
            let last = log.reader(OffsetSpec::At(Offset::new(3))).unwrap().next().unwrap();
            assert_eq!(last.unwrap().compression(), codec, "a single record may shrink as well");
        }
    }
}

/// The bound on a batch holds before it is compressed: a value beyond it is refused however well
/// it would compress, nothing is appended, and the log goes on.
#[test]
fn a_value_over_the_limit_is_refused_however_it_compresses() {
    for (mode, ground) in ways() {
        for codec in built_in() {
            let options = manual(mode).max_batch_bytes(10_000).compression(codec);
            let log = options.open_in(&ground.place()).unwrap();
            log.append("first").unwrap();
            let error = log.append("z".repeat(10_000)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RecordTooLarge, "{error}");
            let error = log.append_batch(["z".repeat(6000), "z".repeat(6000)]).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::RecordTooLarge, "{error}");
            log.append("second").unwrap();
            assert_eq!(all_texts(&log), ["first", "second"]);
        }
    }
}

#[test]
fn a_codec_that_is_not_built_in_is_refused_by_name() {
    let tmp = util::scratch();
    let log = Log::open(tmp.path().join("plain")).unwrap();
    for codec in CODECS.into_iter().filter(|codec| !codec.is_built_in()) {
        let error = Log::options().compression(codec).open(tmp.path().join("log")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(codec.name()), "{error}");
        let error = log.set_options(log.current_options().compression(codec)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        let error = log.append_batch_compressed(codec, ["x"]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported);
        assert!(error.to_string().contains(codec.name()), "{error}");
        assert_eq!(log.log_end_offset(), Offset::ZERO);
    }
}

#[test]
fn a_level_that_the_codec_has_not_is_refused() {
    let tmp = util::scratch();
    let opened = |options: LogOptions| options.open(tmp.path().join("log")).map(drop);
    for codec in built_in() {
        let options = || Log::options().compression(codec);
        let (good, bad): (&[i32], &[i32]) = match codec {
            Compression::Gzip => (&[1, 9], &[0, 10, -1]),
            Compression::Zstd => (&[-7, 1, 19, 22], &[0, 23, -200_000]),
            _ => (&[], &[0, 1, 9]),
        };
        for level in good {
            opened(options().compression_level(*level)).unwrap();
        }
        for level in bad {
            let error = opened(options().compression_level(*level)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{codec:?} {level}");
            assert!(error.to_string().contains("compression_level"), "{error}");
        }
    }
}

/// Levels change what is written, not what is read.
#[test]
fn levels_trade_time_for_size() {
    for codec in built_in() {
        let size = |level: Option<i32>| {
            let tmp = util::scratch();
            let mut options = Log::options().compression(codec);
            if let Some(level) = level {
                options = options.compression_level(level);
            }
            let log = options.open(tmp.path()).unwrap();
            append(&log, &readings(0..2000));
            assert_eq!(read_all(&log), readings(0..2000));
            log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap().as_bytes().len()
        };
        match codec {
            Compression::Gzip => assert!(size(Some(9)) < size(Some(1))),
            Compression::Zstd => {
                assert!(size(Some(19)) < size(Some(-5)));
                assert_eq!(size(Some(3)), size(None), "Kafka's default");
            }
            _ => assert!(size(None) > 0),
        }
    }
}

/// A batch whose checksum is right and whose payload is not what its number says: an error that
/// names the offset, and the reader goes on behind it (I13).
#[test]
fn a_payload_that_is_not_what_it_says_is_corrupt_and_named() {
    let tmp = util::scratch();
    let log = Log::open(tmp.path()).unwrap();
    append(&log, &readings(0..100));
    let batch = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
    let stamp = ProducerStamp::new(1, 0, 0);
    let offsets = batch.base_offset()..batch.next_offset();
    let mut bytes = Vec::new();
    RecordBatch::produce(&[batch], offsets, stamp, &mut bytes).unwrap();
    for number in 1..8_u8 {
        bytes[22] = bytes[22] & !7 | number;
        let crc = crc32c::crc32c(&bytes[21..]).to_be_bytes();
        bytes[17..21].copy_from_slice(&crc);
        let (batch, _) = RecordBatch::split_first(&bytes).unwrap().unwrap();
        let found: Vec<_> = batch.records().collect();
        assert_eq!(found.len(), 1, "nothing follows the error");
        let error = found[0].as_ref().unwrap_err();
        let readable = number > 4 || batch.compression().is_built_in();
        let due = if readable { ErrorKind::Corrupt } else { ErrorKind::Unsupported };
        assert_eq!(error.kind(), due, "{number}: {error}");
        assert_eq!(error.record_offset(), Some(Offset::ZERO));
        assert_eq!(batch.compression() == Compression::Unknown, number > 4);
    }
}

/// What goes to a broker: compressed batches as they are, or put together and compressed again.
#[test]
fn batches_are_produced_compressed() {
    for codec in built_in() {
        let tmp = util::scratch();
        let log = Log::options().compression(codec).open(tmp.path()).unwrap();
        append(&log, &readings(0..100));
        append(&log, &readings(100..150));
        let batches: Vec<_> =
            log.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect();
        let produce = |batches: &[RecordBatch], from: i64, to: i64| {
            let mut out = Vec::new();
            let offsets = Offset::new(from)..Offset::new(to);
            RecordBatch::produce(batches, offsets, ProducerStamp::new(7, 0, 5), &mut out).unwrap();
            RecordBatch::split_first(&out).unwrap().unwrap().0
        };
        let whole = produce(&batches[..1], 0, 100);
        assert_eq!(whole.as_bytes()[61..], batches[0].as_bytes()[61..], "as it is stored");
        let merged = produce(&batches, 20, 150);
        assert_eq!((merged.compression(), merged.len()), (codec, 130));
        let found = records(&merged);
        for (found, due) in found.iter().zip(&readings(20..150)) {
            assert_eq!((&found.value, &found.key), (&due.value, &due.key));
            assert_eq!((&found.headers, found.timestamp), (&due.headers, due.timestamp));
        }
    }
}

/// Appends from inside the iterator of a compressed batch: both are whole.
#[test]
fn an_append_inside_an_append_is_compressed_by_itself() {
    for codec in built_in() {
        let tmp = util::scratch();
        let log = Log::options().compression(codec).open(tmp.path()).unwrap();
        let inner = log.clone();
        let outer = (0..50).map(|number| {
            inner.append_batch((0..20).map(|n| format!("inner {number} of {n}"))).unwrap();
            format!("outer, the record of number {number}")
        });
        let offsets = log.append_batch(outer).unwrap();
        assert_eq!(offsets, Offset::new(1000)..Offset::new(1050));
        let texts = all_texts(&log);
        assert_eq!(texts.len(), 1050);
        assert_eq!(texts[1049], "outer, the record of number 49");
    }
}
