//! What goes in comes out, with its key, time and offset; and what does not decode.

use std::collections::BTreeMap;
use std::time::Duration;

use forebay::{ErrorKind, LingerOptions, NewRecord, OffsetSpec, Refusal, Timestamp, TypedRecord};
use serde::{Deserialize, Serialize};

use crate::Json;
use crate::util::{OpenIn, Place, at, kind, manual, ways};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
    flags: Vec<Option<u16>>,
    more: BTreeMap<String, (i64, bool)>,
    kind: Kind,
    raw: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Kind {
    Idle,
    Running { rpm: u32 },
    Failed(String),
}

fn reading(n: u32) -> Reading {
    Reading {
        sensor: format!("sensor-{}", n % 3),
        celsius: f64::from(n) / 7.0 - 20.0,
        flags: (0..n % 5).map(|flag| (flag % 2 == 0).then_some(flag as u16 * 9999)).collect(),
        more: (0..n % 3).map(|k| (format!("k{k}"), (i64::MIN + i64::from(n), k == 1))).collect(),
        kind: match n % 3 {
            0 => Kind::Idle,
            1 => Kind::Running { rpm: n * 100_000 },
            _ => Kind::Failed("x".repeat(n as usize)),
        },
        raw: vec![n as u8; n as usize * 3],
    }
}

/// By append and by batch, by reader and by consumer, from any offset, over a restart.
#[test]
fn values_come_out_as_they_went_in() {
    for (mode, ground) in ways() {
        let place: Place = ground.place();
        let open = || manual(mode).segment_bytes(8192).open_in(&place).unwrap();
        let log = open();
        let readings = log.typed::<Reading>().key(|reading: &Reading| reading.sensor.clone());
        for n in 0..10 {
            assert_eq!(readings.append(&reading(n)).unwrap().get(), i64::from(n));
        }
        let many: Vec<_> = (10..40).map(reading).collect();
        let offsets = readings.append_batch(&many).unwrap();
        assert_eq!((offsets.start.get(), offsets.end.get()), (10, 40));
        assert_eq!(readings.append_batch(Vec::<Reading>::new()).unwrap().start.get(), 40);
        assert_eq!(readings.append_tombstone("sensor-1").unwrap().get(), 40);
        log.close().unwrap();
        let log = open();
        let readings = log.typed::<Reading>();
        for from in [0, 9, 10, 25, 40] {
            let found: Vec<TypedRecord<Reading>> =
                readings.reader(at(from)).unwrap().map(Result::unwrap).collect();
            assert_eq!(found.len() as i64, 41 - from, "{mode:?} from {from}");
            for (offset, record) in (from..).zip(&found) {
                assert_eq!(record.offset().get(), offset);
                if offset == 40 {
                    assert_eq!((record.key(), record.value()), (Some(&b"sensor-1"[..]), None));
                    continue;
                }
                let expected = reading(offset as u32);
                assert_eq!(record.key(), Some(expected.sensor.as_bytes()));
                assert_eq!(record.value(), Some(&expected));
            }
        }
        let mut consumer = readings.consumer("display").unwrap();
        let mut seen = 0;
        while let Some(records) = consumer.poll(Duration::ZERO).unwrap() {
            seen += records.into_iter().filter_map(|record| record.unwrap().into_value()).count();
            consumer.commit().unwrap();
        }
        assert_eq!((seen, consumer.consumer().committed().get()), (40, 41));
        consumer.consumer_mut().seek(at(39)).unwrap();
        assert_eq!(consumer.poll(Duration::ZERO).unwrap().unwrap().len(), 1);
    }
}

/// A reader that has come to the end goes on when there is more.
#[test]
fn a_reader_goes_on_when_more_came() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let numbers = log.typed::<u64>();
        let mut reader = numbers.reader(OffsetSpec::Latest).unwrap();
        for n in 0..3 {
            assert!(reader.next().is_none());
            numbers.append_batch([n, n + 10]).unwrap();
            assert_eq!(reader.next().unwrap().unwrap().value(), Some(&n), "{mode:?}");
            assert_eq!(reader.next().unwrap().unwrap().value(), Some(&(n + 10)));
        }
    }
}

/// What a value becomes goes any other way as well: with headers and a time, through a linger, by a
/// conditional append, past a hook.
#[test]
fn the_record_of_a_value_goes_any_way() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).validate(|record: &NewRecord<'_>| match record.get_key() {
            Some(_) => Ok(()),
            None => Err(Refusal::new("key", "has none")),
        });
        let log = log.open_in(&place).unwrap();
        let numbers = log.typed::<u64>().key(|number| vec![*number as u8]);
        let time = Timestamp::from_millis(1_795_000_000_000);
        let record = numbers.record(&7).unwrap().timestamp(time).header("schema", "1");
        let linger = log.linger(LingerOptions::new()).unwrap();
        assert_eq!(linger.append(record).unwrap().wait().unwrap().get(), 0);
        log.append_at(log.log_end_offset(), numbers.record(&8).unwrap()).unwrap();
        let error = log.typed::<u64>().append(&9).unwrap_err();
        assert_eq!(error.refused_field(), Some("key"));
        let found: Vec<_> =
            numbers.reader(OffsetSpec::Earliest).unwrap().map(Result::unwrap).collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].timestamp(), found[0].value()), (time, Some(&7)));
        assert_eq!((found[1].key(), found[1].value()), (Some(&[8][..]), Some(&8)));
    }
}

/// The error names the offset, the directory and the type; the values around it are read, by
/// readers and consumers, inside a batch and between batches.
#[test]
fn a_value_that_does_not_decode_is_named_and_passed_over() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let readings = log.typed::<Reading>();
        let good = |n| readings.record(&reading(n)).unwrap();
        log.append_batch([good(0), NewRecord::new("not one"), good(2)]).unwrap();
        log.append("nor this").unwrap();
        log.append_batch([good(4), NewRecord::new(Vec::<u8>::new())]).unwrap();
        log.append(good(6)).unwrap();
        let bad = [1, 3, 5];
        let judge = |offset: i64, record: forebay::Result<TypedRecord<Reading>>| match record {
            Ok(record) => {
                assert_eq!(record.offset().get(), offset);
                assert_eq!(record.into_value(), Some(reading(offset as u32)));
                assert!(!bad.contains(&offset));
            }
            Err(error) => {
                assert!(bad.contains(&offset), "{error}");
                assert_eq!(error.kind(), ErrorKind::Corrupt);
                assert_eq!(error.record_offset().unwrap().get(), offset);
                assert_eq!(error.path(), Some(log.dir()));
                let lost = error.lost_offsets().unwrap();
                assert_eq!((lost.start.get(), lost.end.get()), (offset, offset + 1));
                let text = error.to_string();
                assert!(text.contains("values::Reading") && !text.contains('\n'), "{text}");
            }
        };
        let items: Vec<_> = readings.reader(OffsetSpec::Earliest).unwrap().collect();
        assert_eq!(items.len(), 7, "{mode:?}");
        (0..).zip(items).for_each(|(offset, item)| judge(offset, item));
        let mut consumer = readings.consumer("c").unwrap();
        let mut offset = 0;
        while let Some(records) = consumer.poll(Duration::ZERO).unwrap() {
            for record in records {
                judge(offset, record);
                offset += 1;
            }
            consumer.commit().unwrap();
        }
        assert_eq!((offset, consumer.consumer().lag()), (7, 0));
        let batch = log.reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        let record = batch.records().nth(1).unwrap().unwrap();
        assert_eq!(kind(readings.decode(&record)), ErrorKind::Corrupt);
    }
}

/// Sealed values are opened before they are decoded; without the keys each is an error.
#[test]
#[cfg(feature = "encryption")]
fn sealed_values_are_opened_before_they_are_decoded() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let keys = forebay::Encryption::new(7, |number| (number == 7).then_some([9; 32])).unwrap();
        let log = manual(mode).open_in(&place).unwrap();
        log.typed::<Reading>().append(&reading(0)).unwrap();
        log.close().unwrap();
        let log = manual(mode).encryption(&keys).open_in(&place).unwrap();
        let closed = log.typed::<Reading>();
        closed.append_batch([reading(1), reading(2)]).unwrap();
        let opens = log.typed::<Reading>().encryption(&keys);
        let read = opens.clone().reader(OffsetSpec::Earliest).unwrap();
        let values: Vec<_> = read.map(|record| record.unwrap().into_value().unwrap()).collect();
        assert_eq!(values, [reading(0), reading(1), reading(2)], "{mode:?}");
        let read = closed.reader(OffsetSpec::Earliest).unwrap();
        let good: Vec<_> = read.map(|record| record.is_ok()).collect();
        assert_eq!(good, [true, false, false]);
    }
}

/// I11: a length that is a lie is an error, before anything of that size is allocated.
#[test]
fn a_length_that_is_a_lie_is_refused() {
    let dir = crate::util::scratch();
    let log = forebay::Log::open(dir.path()).unwrap();
    // 253: eight bytes of length follow.
    for length in [70_000_u64, 1 << 32, 1 << 60, u64::MAX] {
        let mut bytes = vec![253];
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(b"a few");
        log.append(bytes).unwrap();
    }
    let all = |results: Vec<bool>| assert_eq!(results, [true; 4]);
    let from = OffsetSpec::Earliest;
    all(log.typed::<Vec<u8>>().reader(from).unwrap().map(|r| r.is_err()).collect());
    all(log.typed::<String>().reader(from).unwrap().map(|r| r.is_err()).collect());
    all(log.typed::<Vec<u64>>().reader(from).unwrap().map(|r| r.is_err()).collect());
    all(log.typed::<BTreeMap<u8, String>>().reader(from).unwrap().map(|r| r.is_err()).collect());
    // And what is long in earnest is read.
    let long: Vec<Vec<u64>> = (1..8).map(|n| vec![n; 1 << (2 * n + 1)]).collect();
    let numbers = log.typed::<Vec<u64>>();
    let offsets = numbers.append_batch(&long).unwrap();
    let found = numbers.reader(OffsetSpec::At(offsets.start)).unwrap();
    assert!(found.map(|record| record.unwrap().into_value().unwrap()).eq(long));
    let text = "x".repeat(900_000);
    let texts = log.typed::<String>();
    let offset = texts.append(&text).unwrap();
    let found = texts.reader(OffsetSpec::At(offset)).unwrap().next().unwrap().unwrap();
    assert_eq!(found.into_value(), Some(text));
}

/// One value that cannot be encoded takes its batch with it: nothing of it is in the log.
#[test]
fn a_value_that_cannot_be_encoded_leaves_nothing() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        // JSON has no maps with such keys.
        let maps = log.typed_with::<BTreeMap<Option<u8>, u8>, _>(Json);
        let good = BTreeMap::new();
        let bad = BTreeMap::from([(Some(1), 1), (None, 2)]);
        let error = maps.append_batch([&good, &bad]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("BTreeMap"), "{error}");
        assert_eq!(kind(maps.append(&bad)), ErrorKind::InvalidArgument);
        assert_eq!(log.log_end_offset().get(), 0, "{mode:?}");
        maps.append(&good).unwrap();
        let found = maps.clone().reader(OffsetSpec::Earliest).unwrap().next().unwrap().unwrap();
        assert_eq!(found.value(), Some(&good));
        assert!(format!("{maps:?}").contains("BTreeMap"));
    }
}
