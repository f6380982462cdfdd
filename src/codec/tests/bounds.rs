//! Floor 2's tests: what the codec takes and refuses, to the number and to the byte.

use super::*;
use crate::codec::decode::{RawRecord, check_body, check_header, judge_header};
use crate::codec::encode::encode_gap_of;

/// The header of a whole batch of one record.
fn header() -> BatchHeader {
    check_batch(&encoded(&["x".into()], 5), &Seal::NONE).unwrap()
}

fn refused_at(header: BatchHeader) -> Option<usize> {
    judge_header(&header, usize::MAX, &Seal::NONE).err().map(|error| error.position)
}

/// I11: each number of a header at its bounds and beyond them; the error names its place.
#[test]
fn every_number_of_a_header_is_bounded() {
    let good = header();
    assert_eq!(refused_at(good), None);
    let with = |delta, count| BatchHeader { last_offset_delta: delta, count, ..good };
    for (delta, count, place) in [
        (-1, 0, Some(23)),
        (i32::MIN, 0, Some(23)),
        (i32::MAX, 0, Some(23)),
        (i32::MAX - 1, 0, None),
        (0, -1, Some(23)),
        (0, 0, None),
        (0, 1, None),
        (0, 2, Some(57)),
        (5, 6, None),
        (5, 7, Some(57)),
    ] {
        assert_eq!(refused_at(with(delta, count)), place, "{delta} {count}");
    }
    let at = |base_offset| BatchHeader { base_offset, ..with(5, 6) };
    let bases = [-1, i64::MIN, 0, i64::MAX - 6, i64::MAX - 5, i64::MAX];
    let places = bases.map(|base| refused_at(at(base)));
    assert_eq!(places, [Some(0), Some(0), None, None, Some(0), Some(0)]);
    let long = |batch_length| BatchHeader { batch_length, ..good };
    let places = [-1, 0, 5, 48, 49, i32::MAX].map(|length| refused_at(long(length)));
    assert_eq!(places, [Some(8), Some(8), Some(8), Some(8), None, None]);
    assert_eq!(refused_at(BatchHeader { magic: 1, ..good }), Some(16));
    let size = good.size().unwrap();
    assert!(judge_header(&good, size, &Seal::NONE).is_ok());
    assert_eq!(judge_header(&good, size - 1, &Seal::NONE).unwrap_err().position, 8);
}

/// A batch that is cut anywhere, or that says it is longer than it is, is told with its place.
#[test]
fn a_batch_that_is_not_all_there_is_told_with_its_place() {
    let bytes = encoded(&["x".into()], 5);
    let good = header();
    for cut in 0..bytes.len() {
        let error = check_batch(&bytes[..cut], &Seal::NONE).unwrap_err();
        assert_eq!(error.position, if cut < HEADER_BYTES { cut } else { 8 });
        assert_eq!(check_body(&bytes[..cut], &good).unwrap_err().position, 8);
    }
    let mut damaged = bytes.clone();
    damaged[HEADER_BYTES] ^= 1;
    assert_eq!(check_batch(&damaged, &Seal::NONE).unwrap_err().position, 17);
    let wrong = BatchHeader { batch_length: 3, ..good };
    assert_eq!(check_body(&bytes, &wrong).unwrap_err().position, 8);
    assert!(check_header(&bytes[..HEADER_BYTES], usize::MAX, &Seal::NONE).is_ok());
}

/// Stamping touches the base offset and the seal, and of what is no header nothing.
#[test]
fn a_stamp_changes_the_offset_and_the_seal_only() {
    let seal = Seal::of(LogId::from_bytes([5; 16]));
    let bytes = encoded(&["x".into()], 5);
    let mut stamped = bytes.clone();
    stamp(&mut stamped, 0x0102_0304_0506_0708, &seal);
    assert_eq!(stamped[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!((&stamped[8..12], &stamped[16..]), (&bytes[8..12], &bytes[16..]));
    assert!(seal.fits(&check_batch(&stamped, &seal).unwrap()));
    let mut short = bytes[..20].to_vec();
    stamp(&mut short, 7, &seal);
    assert_eq!(short, bytes[..20]);
}

/// What is no producer's, no leader's and no record's number is -1, as Kafka has it.
#[test]
fn absent_numbers_are_minus_one() {
    let mut gap = Vec::new();
    encode_gap(&mut gap, 3);
    let mut deleted = Vec::new();
    encode_gap_of(&mut deleted, 3, 77);
    let of = |bytes: &[u8]| check_batch(bytes, &Seal::NONE).unwrap();
    for header in [header(), of(&gap), of(&deleted)] {
        let absent = (header.leader_epoch, header.producer_id, header.producer_epoch);
        assert_eq!((absent, header.base_sequence), ((-1, -1, -1), -1));
    }
    let times = [of(&gap), of(&deleted)].map(|gap| (gap.base_timestamp, gap.max_timestamp));
    assert_eq!(times, [(-1, -1), (77, 77)]);
    assert_eq!([of(&gap), of(&deleted)].map(|gap| gap.stands_for_deleted()), [false, true]);
}

/// The highest time is that of the records, below -1 as well.
#[test]
fn times_before_the_epoch_are_kept() {
    for times in [[-9, -5, -7], [-5, -9, -7], [3, -1, 2]] {
        let record = |time| NewRecord::new("x").timestamp(Timestamp::from_millis(time));
        let bytes = encoded(&times.map(record), 0);
        let header = check_batch(&bytes, &Seal::NONE).unwrap();
        assert_eq!(Some(header.max_timestamp), times.into_iter().max());
        assert_eq!(header.base_timestamp, times[0]);
    }
}

/// The short way of encoding gives the same bytes as the long one, at every length of a number, and
/// where two numbers have the same bits.
#[test]
fn a_plain_record_has_the_bytes_of_any_other() {
    let lengths = [0, 1, 62, 63, 64, 65, 127, 128, 4090, 8191, 8192, 8193, 16384];
    let options: Vec<_> =
        std::iter::once(None).chain(lengths.map(|length| Some(vec![b'x'; length]))).collect();
    let times = [0, 1, -1, 63, 64, -64, -65, 8191, 8192, -8192, -8193];
    let (mut plain, mut parts) = (Vec::new(), Vec::new());
    let mut both = |key: Option<&[u8]>, value: Option<&[u8]>, time: i64, before: i32| {
        let mut short = BatchEncoder::begin(&mut plain, usize::MAX);
        let mut long = BatchEncoder::begin(&mut parts, usize::MAX);
        let no_headers = || std::iter::empty::<(&[u8], Option<&[u8]>)>();
        for delta in 0..before {
            short.push(&"".into(), Timestamp::from_millis(7)).unwrap();
            let empty =
                Parts { key: None, value: Some(&b""[..]), header_count: 0, headers: no_headers() };
            long.push_parts(0, delta, empty).unwrap();
        }
        let at = Timestamp::from_millis(7 + if before == 0 { 0 } else { time });
        let record = NewRecord {
            key: key.map(Into::into),
            value: value.map(Into::into),
            headers: Vec::new(),
            timestamp: Some(at),
        };
        short.push(&record, at).unwrap();
        let one = Parts { key, value, header_count: 0, headers: no_headers() };
        long.push_parts(at.millis() - 7, before, one).unwrap();
        assert!(
            plain == parts,
            "{:?} {time} {before}",
            (key.map(<[_]>::len), value.map(<[_]>::len))
        );
    };
    for key in &options {
        for value in &options {
            both(key.as_deref(), value.as_deref(), 0, 0);
        }
        for time in times {
            both(key.as_deref(), Some(b"x"), time, 1);
        }
    }
    for time in times {
        both(None, Some(b"x"), time, 8191);
        both(None, Some(b"x"), time, 8192);
        both(None, Some(b"x"), time, 64);
    }
}

/// I11: a thread's buffer never has more room than the largest batch takes, and a word; it grows in
/// doubling steps up to there.
#[test]
fn the_buffer_of_a_batch_is_bounded_and_grows_in_doubling_steps() {
    const MOST: usize = 40_000;
    let with_headers =
        |length: usize| NewRecord::new(vec![b'v'; length]).key(vec![b'k'; length]).header("h", "x");
    for record in [
        NewRecord::new(vec![b'x'; 20]),
        NewRecord::new(vec![b'x'; 3000]),
        NewRecord::new(vec![b'x'; 15_000]).key(vec![b'k'; 15_000]),
        with_headers(9),
        with_headers(9_000),
        with_headers(18_000),
    ] {
        let mut out = Vec::new();
        let mut encoder = BatchEncoder::begin(&mut out, MOST);
        let mut records = 0;
        while encoder.push(&record, Timestamp::from_millis(1)).is_ok() {
            records += 1;
            assert!(encoder.capacity() <= MOST + 16, "{} after {records}", encoder.capacity());
        }
        assert!(records > 0);
    }
    let mut out = Vec::new();
    let mut encoder = BatchEncoder::begin(&mut out, 1 << 20);
    let (mut capacity, mut steps) = (0, 0);
    for _ in 0..5000 {
        encoder.push(&NewRecord::new(vec![b'x'; 20]), Timestamp::from_millis(1)).unwrap();
        if encoder.capacity() != capacity {
            (capacity, steps) = (encoder.capacity(), steps + 1);
        }
    }
    assert!(steps < 16, "{steps} steps to {capacity}");
    assert!(capacity < 2 * out.len() + 64, "{capacity} for {}", out.len());
}

/// A batch as large as it may be is taken, whichever way its record is encoded; one byte more is
/// not.
#[test]
fn the_largest_batch_is_taken_to_the_byte() {
    for record in [NewRecord::new("v"), NewRecord::new("v").header("h", "x")] {
        let whole = encoded(&[record.clone(), record.clone()], 5).len();
        for (most, fits) in [(whole, true), (whole - 1, false), (whole + 1, true)] {
            let mut out = Vec::new();
            let mut encoder = BatchEncoder::begin(&mut out, most);
            encoder.push(&record, Timestamp::from_millis(5)).unwrap();
            let second = encoder.push(&record, Timestamp::from_millis(5));
            assert_eq!(second.map_err(|error| error.bytes), if fits { Ok(()) } else { Err(whole) });
            assert_eq!(encoder.count(), if fits { 2 } else { 1 });
        }
    }
}

/// One record of these fields behind a header, as the walk over it sees it.
fn walked(fields: &[u8]) -> Result<usize, (&'static str, usize)> {
    let mut batch = vec![0; HEADER_BYTES];
    varint::write(&mut batch, fields.len() as i64);
    batch.extend_from_slice(fields);
    let header = BatchHeader { count: 1, last_offset_delta: 3, attributes: 0, ..header() };
    let read: Result<Vec<_>, _> = RawRecords::new(&header, &batch[HEADER_BYTES..]).collect();
    let found = read.map(|records: Vec<RawRecord<'_>>| records[0].headers.count());
    found.map_err(|error| (error.what, error.position))
}

/// What is wrong with a record is told with the byte where it stands.
#[test]
fn a_damaged_record_is_told_with_its_place() {
    // Attributes, times 0, offset 0, a key of -1 and a value of -1 come first, the length before.
    let start = [0, 0, 0, 1, 1];
    let with = |rest: &[u8]| walked(&[&start, rest].concat());
    assert_eq!(with(&[0]), Ok(0));
    assert_eq!(with(&[2, 2, b'h', 1]), Ok(1), "a header without a value");
    assert_eq!(with(&[1]), Err(("a header count is negative", 67)));
    assert_eq!(with(&[2, 1, 1]), Err(("a header has no name", 68)));
    assert_eq!(with(&[2, 2, 0xff, 1]), Err(("a header's name is not UTF-8", 68)));
    assert_eq!(with(&[2, 3, b'h', 1]), Err(("a length is negative", 68)));
    assert_eq!(with(&[2, 2, b'h', 4, 0]), Err(("a length reaches beyond its record", 71)));
    assert_eq!(with(&[0, 0]), Err(("a record is longer than its fields", 68)));
    assert_eq!(with(&[2, 2, b'h', 1, 9]), Err(("a record is longer than its fields", 71)));
    assert_eq!(with(&[]), Err(("bytes end inside a record", 67)));
    assert_eq!(walked(&[]), Err(("bytes end inside a record", 62)));
    assert_eq!(walked(&[0, 0, 8, 1, 1, 0]).unwrap_err().1, 61, "behind the batch's last offset");
    assert_eq!(walked(&[0, 0, 6, 1, 1, 0]), Ok(0));
    let wide = [0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 2, 0, 1, 1, 0];
    assert_eq!(walked(&wide), Err(("a varint does not fit 64 bits", 63)));
}

/// Offsets rise within a batch, each once, and lie in its range.
#[test]
fn records_whose_offsets_do_not_rise_are_refused() {
    let mut out = Vec::new();
    for (deltas, last, whole) in [
        ([0, 1, 2], 2, 3),
        ([0, 2, 5], 5, 3),
        ([0, 0, 1], 2, 1),
        ([1, 0, 2], 2, 1),
        ([0, 1, 3], 2, 2),
        ([-1, 1, 2], 2, 0),
    ] {
        let mut encoder = BatchEncoder::begin(&mut out, usize::MAX);
        for delta in deltas {
            let parts = Parts {
                key: None,
                value: Some(&b"x"[..]),
                header_count: 0,
                headers: std::iter::empty(),
            };
            encoder.push_parts(0, delta, parts).unwrap();
        }
        let good = BatchHeader { last_offset_delta: last, count: 3, ..header() };
        encoder.finish_with(good);
        let read: Vec<_> = RawRecords::new(&good, &out[HEADER_BYTES..]).collect();
        assert_eq!(read.iter().filter(|record| record.is_ok()).count(), whole, "{deltas:?}");
        assert_eq!(read.len(), if whole == 3 { 3 } else { whole + 1 }, "{deltas:?}");
    }
}

/// What is wrong with a batch as a whole is said once: a codec that is not there, bytes behind the
/// last record, fewer records than it counts, a record of a negative length.
#[test]
fn what_is_wrong_with_a_batch_as_a_whole_is_said_once() {
    let bytes = encoded(&["x".into()], 5);
    let good = header();
    let told = |header: BatchHeader, bytes: &[u8]| -> Vec<_> {
        let mut scratch = Vec::new();
        let records = RawRecords::of_batch(&header, bytes, &mut scratch);
        records.map(|record| record.map(|_| ()).map_err(|error| error.position)).collect()
    };
    assert_eq!(told(good, &bytes), [Ok(())]);
    assert_eq!(told(BatchHeader { attributes: 7, ..good }, &bytes), [Err(61)]);
    assert_eq!(told(BatchHeader { count: 0, ..good }, &bytes), [Err(61)]);
    assert_eq!(told(BatchHeader { count: 2, ..good }, &bytes), [Ok(()), Err(bytes.len())]);
    let negative = [&bytes[..HEADER_BYTES], &[1]].concat();
    assert_eq!(told(good, &negative), [Err(61)]);
    assert_eq!(told(good, &bytes[..40]), [Err(61)], "no byte behind the header");
    let iterated = RawRecords::new(&good, &bytes[HEADER_BYTES..]);
    assert_eq!(iterated.clone().count(), iterated.count());
}

/// Five bytes for 32 bits and ten for 64, no more, whatever they come to.
#[test]
fn a_number_has_no_more_bytes_than_its_width_takes() {
    let read = |bytes: &[u8]| {
        let mut cursor = Cursor::new(bytes, 100);
        cursor.varint().map_err(|error| error.position)
    };
    let mut bytes = Vec::new();
    for value in [i32::MIN, i32::MAX, 0, -1, 64, 8192, 1 << 27] {
        bytes.clear();
        varint::write(&mut bytes, value.into());
        assert_eq!(read(&bytes), Ok(value));
        let mut cursor = Cursor::new(&bytes, 0);
        cursor.varint().unwrap();
        assert_eq!(cursor.position(), bytes.len());
    }
    assert_eq!(read(&[0x82, 0x80, 0x80, 0x80, 0x00]), Ok(1));
    assert_eq!(read(&[0x82, 0x80, 0x80, 0x80, 0x80, 0x00]), Err(100));
    assert_eq!(read(&[0xff, 0xff, 0xff, 0xff, 0x1f]), Err(100), "more than 32 bits");
    assert_eq!(read(&[0x82]), Err(101), "cut short");
    let mut cursor = Cursor::new(&[2, 1], 7);
    assert_eq!((cursor.nullable_length(), cursor.position()), (Ok(Some(1)), 8));
    assert_eq!((cursor.nullable_length(), cursor.position()), (Ok(None), 9));
}
