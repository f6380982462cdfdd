//! Floor 2's tests: the codec against segments that real brokers and clients wrote, and against
//! arbitrary bytes.

mod bounds;
mod indexes;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::decode::{RawRecords, check_batch, delete_horizon, resolve};
use super::encode::{BatchEncoder, Parts, encode_gap, stamp};
use super::index::{IndexEntries, IndexRule, index_bytes, parse_index, parse_times, time_bytes};
use super::layout::{
    BatchHeader, CODEC_MASK, CONTROL, HEADER_BYTES, LOG_APPEND_TIME, TRANSACTIONAL,
};
use super::seal::Seal;
use super::varint::{self, Cursor};
use crate::words::log_id::LogId;
use crate::words::record::NewRecord;
use crate::words::time::Timestamp;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors")
}

/// Every golden segment of which all batches are uncompressed, as (path, bytes).
fn uncompressed_segments() -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for folder in fs::read_dir(vectors()).unwrap() {
        let folder = folder.unwrap().path();
        let Ok(files) = fs::read_dir(&folder) else { continue };
        for file in files {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "log") {
                continue;
            }
            let bytes = fs::read(&path).unwrap();
            if batches(&bytes).all(|(_, header, _)| header.attributes & CODEC_MASK == 0) {
                found.push((path, bytes));
            }
        }
    }
    assert!(found.len() >= 13, "the golden segments are there: {}", found.len());
    found
}

/// The batches of a segment, each checked: position, header, bytes.
fn batches(segment: &[u8]) -> impl Iterator<Item = (usize, BatchHeader, &[u8])> {
    let mut position = 0;
    std::iter::from_fn(move || {
        let rest = &segment[position..];
        if rest.is_empty() {
            return None;
        }
        let header = check_batch(rest, &Seal::NONE).unwrap();
        let size = header.size().unwrap();
        let at = position;
        position += size;
        Some((at, header, &rest[..size]))
    })
}

fn hex(bytes: Option<&[u8]>) -> serde_json::Value {
    bytes
        .map(|bytes| {
            bytes.iter().fold(String::new(), |mut text, byte| {
                let _ = write!(text, "{byte:02x}");
                text
            })
        })
        .into()
}

/// What the JSON beside a golden segment says of one batch, made from our decoder's view of it.
fn as_json(position: usize, header: &BatchHeader, bytes: &[u8]) -> serde_json::Value {
    let append_time = header.attributes & LOG_APPEND_TIME != 0;
    let mut scratch = Vec::new();
    let records = RawRecords::of_batch(header, bytes, &mut scratch).map(|raw| {
        let record = resolve(header, &raw.unwrap());
        let mut json = serde_json::json!({
            "offset": record.offset.get(),
            "timestamp": record.timestamp.millis(),
            "key": hex(record.key()),
            "value": hex((!record.is_tombstone()).then(|| record.value())),
        });
        if !record.headers().is_empty() {
            let headers = record.headers().map(|(name, value)| (name, hex(value)));
            json["headers"] = serde_json::json!(headers.collect::<Vec<_>>());
        }
        json
    });
    serde_json::json!({
        "position": position,
        "size": bytes.len(),
        "base_offset": header.base_offset,
        "last_offset": header.next_offset() - 1,
        "partition_leader_epoch": header.leader_epoch,
        "magic": header.magic,
        "crc": header.crc,
        "compression": "none",
        "timestamp_type": if append_time { "LogAppendTime" } else { "CreateTime" },
        "transactional": header.attributes & TRANSACTIONAL != 0,
        "control": header.attributes & CONTROL != 0,
        "delete_horizon_ms": delete_horizon(header),
        "max_timestamp": header.max_timestamp,
        "producer_id": header.producer_id,
        "producer_epoch": header.producer_epoch,
        "base_sequence": header.base_sequence,
        "records": records.collect::<Vec<_>>(),
        "count": header.count,
    })
}

#[test]
fn golden_segments_decode_to_exactly_what_kafka_reads_in_them() {
    for (path, bytes) in uncompressed_segments() {
        let text = fs::read_to_string(path.with_extension("json")).unwrap();
        let golden: serde_json::Value = serde_json::from_str(&text).unwrap();
        let ours: Vec<_> = batches(&bytes).map(|(at, header, b)| as_json(at, &header, b)).collect();
        assert_eq!(golden["batches"], serde_json::json!(ours), "{}", path.display());
        assert_eq!(golden["valid_bytes"], bytes.len(), "{}", path.display());
    }
}

#[test]
fn golden_batches_encode_back_to_exactly_their_bytes() {
    let mut out = Vec::new();
    for (path, bytes) in uncompressed_segments() {
        for (position, header, batch) in batches(&bytes) {
            let mut encoder = BatchEncoder::begin(&mut out, usize::MAX);
            for raw in RawRecords::new(&header, &batch[HEADER_BYTES..]) {
                let raw = raw.unwrap();
                let parts = Parts {
                    key: raw.key,
                    value: raw.value,
                    header_count: raw.headers.len(),
                    headers: raw.headers.map(|(name, value)| (name.as_bytes(), value)),
                };
                encoder.push_parts(raw.timestamp_delta, raw.offset_delta, parts).unwrap();
            }
            encoder.finish_with(header);
            assert!(out == batch, "{} at {position}", path.display());
        }
    }
}

/// I5: Kafka's own rebuild of the same files is the oracle.
#[test]
fn indexes_of_golden_segments_equal_the_brokers_byte_for_byte() {
    for folder in ["segments", "none", "log-append-time", "no-producer-id", "transactions"] {
        for (path, bytes) in uncompressed_segments() {
            if path.parent().unwrap().file_name().unwrap() != folder {
                continue;
            }
            let base: i64 = path.file_stem().unwrap().to_str().unwrap().parse().unwrap();
            let mut rule = IndexRule::new(base, 4096);
            let mut entries = IndexEntries::default();
            for (position, header, _) in batches(&bytes) {
                if let Some(due) =
                    rule.add(header.next_offset() - 1, header.max_timestamp, position)
                {
                    entries.add(due);
                }
            }
            entries.add(rule.finish());
            let index = fs::read(path.with_extension("index")).unwrap();
            let times = fs::read(path.with_extension("timeindex")).unwrap();
            assert_eq!(index_bytes(&entries.entries), index, "{}", path.display());
            assert_eq!(time_bytes(&entries.times), times, "{}", path.display());
            assert_eq!(parse_index(&index, bytes.len()), Some(entries.entries.clone()));
            assert_eq!(parse_times(&times), Some(entries.times.clone()));
        }
    }
}

/// A segment that was closed and goes on has the indexes it would have had without the close.
#[test]
fn index_rule_resumes_as_if_nothing_had_been_closed() {
    let sizes = [900, 5000, 100, 4096, 4097, 70, 12_000, 1, 1, 4095];
    let run = |close_before: Option<usize>| {
        let (mut rule, mut entries) = (IndexRule::new(0, 4096), IndexEntries::default());
        let mut position = 0;
        for (offset, size) in sizes.into_iter().enumerate() {
            if close_before == Some(offset) {
                let closing = rule.finish();
                entries.add(closing);
                rule = IndexRule::resume(0, 4096, &mut entries, closing.time.is_some());
            }
            let times = [5, 7, 7, 3, 9, 20, 20, 8, 30, 31];
            entries.extend_from(rule.add(offset as i64, times[offset], position));
            position += size;
        }
        entries.add(rule.finish());
        entries
    };
    let whole = run(None);
    for close in 0..sizes.len() {
        assert_eq!(run(Some(close)), whole, "closed before {close}");
    }
}

impl IndexEntries {
    fn extend_from(&mut self, due: Option<super::index::Due>) {
        if let Some(due) = due {
            self.add(due);
        }
    }
}

fn encoded(records: &[NewRecord<'_>], now: i64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut encoder = BatchEncoder::begin(&mut out, usize::MAX);
    for record in records {
        encoder.push(record, Timestamp::from_millis(now)).unwrap();
    }
    encoder.finish();
    out
}

/// Any bit of a sealed batch that flips makes it no batch of this log (I11: the length included).
#[test]
fn no_flipped_bit_of_a_sealed_batch_passes() {
    let seal = Seal::of(LogId::from_bytes([5; 16]));
    let mut bytes = encoded(&["21.5 C".into(), NewRecord::new("x").key("k").header("h", "v")], 7);
    stamp(&mut bytes, 1234, &seal);
    assert_eq!(check_batch(&bytes, &seal).unwrap().base_offset, 1234);
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(check_batch(&bytes, &seal).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(check_batch(&bytes, &Seal::of(LogId::from_bytes([6; 16]))).is_err());
    for cut in 0..bytes.len() {
        assert!(check_batch(&bytes[..cut], &seal).is_err(), "cut {cut}");
    }
}

#[test]
fn a_seal_is_negative_so_that_kafka_ignores_it() {
    let seal = Seal::of(LogId::from_bytes([5; 16]));
    assert!((0..1000).all(|base| seal.make(base, 49, 0) < 0));
    assert_eq!(Seal::NONE.make(0, 49, 0), -1);
}

/// I4: what stands over a missing range is a whole batch with a next offset and no record.
#[test]
fn a_gap_is_an_empty_batch_of_61_bytes() {
    let mut gap = Vec::new();
    encode_gap(&mut gap, i32::MAX);
    stamp(&mut gap, 10, &Seal::NONE);
    let header = check_batch(&gap, &Seal::NONE).unwrap();
    assert_eq!((gap.len(), header.count), (HEADER_BYTES, 0));
    assert_eq!(header.next_offset(), 10 + i64::from(i32::MAX));
    assert_eq!(RawRecords::new(&header, &gap[HEADER_BYTES..]).count(), 0);
}

#[test]
fn varints_take_the_bytes_their_length_says_and_read_back() {
    let edges = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, i64::MAX, i64::MIN, i64::from(i32::MAX)];
    let mut out = Vec::new();
    for value in edges {
        out.clear();
        varint::write(&mut out, value);
        assert_eq!(out.len(), varint::length(value), "{value}");
        let mut cursor = Cursor::new(&out, 0);
        assert_eq!(cursor.varlong(), Ok(value));
        assert!(cursor.rest().is_empty());
    }
    // Eleven bytes, and ten with more than 64 bits.
    assert!(Cursor::new(&[0x80; 11], 0).varlong().is_err());
    let mut wide = [0xff; 10];
    wide[9] = 0x02;
    assert!(Cursor::new(&wide, 0).varlong().is_err());
}

fn walk(bytes: &[u8]) {
    if let Ok(header) = check_batch(bytes, &Seal::NONE) {
        walk_records(&header, &bytes[..header.size().unwrap()]);
    }
}

fn walk_records(header: &BatchHeader, batch: &[u8]) {
    let mut after_error = false;
    let mut scratch = Vec::new();
    for raw in RawRecords::of_batch(header, batch, &mut scratch) {
        assert!(!after_error, "nothing follows an error");
        match raw {
            Ok(raw) => {
                let record = resolve(header, &raw);
                assert_eq!(record.headers().count(), record.headers().len());
            }
            Err(error) => {
                assert!(error.position <= batch.len());
                after_error = true;
            }
        }
    }
}

/// Fewer than `most` bytes.
fn bytes(most: usize) -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(any::<u8>(), 0..most)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_records_decode_to_what_was_encoded(
        records in prop::collection::vec(
            (
                prop::option::of(bytes(300)),
                prop::option::of(bytes(300)),
                prop::collection::vec(("\\PC{0,9}", prop::option::of(bytes(9))), 0..4),
                prop::option::of(any::<i64>()),
            ),
            1..20,
        ),
        now in any::<i64>(),
    ) {
        let new: Vec<_> = records.iter().map(|(key, value, headers, time)| NewRecord {
            key: key.as_deref().map(Into::into),
            value: value.as_deref().map(Into::into),
            headers: headers.iter()
                .map(|(name, value)| (name.as_str().into(), value.as_deref().map(Into::into)))
                .collect(),
            timestamp: time.map(Timestamp::from_millis),
        }).collect();
        let bytes = encoded(&new, now);
        let header = check_batch(&bytes, &Seal::NONE).unwrap();
        let latest = records.iter().map(|record| record.3.unwrap_or(now)).max();
        prop_assert_eq!(Some(header.max_timestamp), latest);
        let mut read = 0;
        let raws = RawRecords::new(&header, &bytes[HEADER_BYTES..]);
        for (raw, (key, value, headers, time)) in raws.zip(&records) {
            let record = resolve(&header, &raw.unwrap());
            prop_assert_eq!(record.key(), key.as_deref());
            prop_assert_eq!(record.is_tombstone(), value.is_none());
            prop_assert_eq!(record.value(), value.as_deref().unwrap_or_default());
            prop_assert_eq!(record.timestamp().millis(), time.unwrap_or(now));
            let expected = headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
            prop_assert!(record.headers().eq(expected));
            read += 1;
        }
        prop_assert_eq!(read, records.len());
    }

    #[test]
    fn any_bytes_give_a_value_or_an_error(bytes in bytes(400)) {
        walk(&bytes);
        let _ = parse_index(&bytes, 1 << 20);
        let _ = parse_times(&bytes);
    }

    /// The checksum does not stand in the way here: the record walk sees the damage itself.
    #[test]
    fn any_damage_behind_the_header_is_walked_without_a_panic(
        at in 0usize..200, byte in any::<u8>(), count in any::<i32>(), delta in any::<i32>(),
    ) {
        let first = NewRecord::new("v").key("k").header("h", "x");
        let mut bytes = encoded(&[first, "second".into()], 5);
        let mut header = check_batch(&bytes, &Seal::NONE).unwrap();
        let at = HEADER_BYTES + at % (bytes.len() - HEADER_BYTES);
        bytes[at] = byte;
        walk_records(&header, &bytes);
        header.count = count.max(0);
        header.last_offset_delta = delta.max(0);
        walk_records(&header, &bytes);
    }
}
