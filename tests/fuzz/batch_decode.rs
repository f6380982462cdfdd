//! Decoding a batch: the crate and a second decoder say the same of any bytes; what is decoded
//! encodes to what decodes the same; nothing that was changed or cut passes for whole (I11).

use super::input::Input;
use super::oracle::{self, Raw};
use super::{past, planted};
use crate::codec::decode::{RawRecord, RawRecords, Times, check_batch, resolve};
use crate::codec::encode::{BatchEncoder, Parts, put_header, stamp};
use crate::codec::layout::{BatchHeader, HEADER_BYTES};
use crate::codec::seal::Seal;
use crate::codec::{DecodeError, pack};
use crate::words::compression::Compression;
use crate::words::limits;
use crate::words::log_id::LogId;
use crate::words::record::NewRecord;
use crate::words::time::Timestamp;

/// Whose batches these are.
const LOG: [u8; 16] = *b"a log for fuzzin";

/// The first byte says what the rest is: a batch as it is, one to be mended, or records.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.byte();
    let log = (mode & 4 != 0).then_some(&LOG);
    let (flip, cut) = (input.u16(), input.u16());
    match mode & 3 {
        0 => judge(input.rest(), log, flip, cut),
        3 => encoded(input, log, flip, cut),
        _ => judge(&mended(mode, input.rest(), log), log, flip, cut),
    }
}

/// A batch of these bytes that gets behind the checksum, and mostly behind the header's bounds.
fn mended(mode: u8, bytes: &[u8], log: Option<&[u8; 16]>) -> Vec<u8> {
    let mut batch = bytes.to_vec();
    batch.resize(batch.len().max(HEADER_BYTES), 0);
    let length = i32::try_from(batch.len() - 12).unwrap();
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[16] = 2;
    if mode & 8 == 0 {
        batch[0] &= 0x7f;
        batch[23] &= 0x7f;
        let last = i32::from_be_bytes(oracle::number(&batch, 23));
        let count = i32::from_be_bytes(oracle::number(&batch, 57));
        if count < 0 || i64::from(count) > i64::from(last) + 1 {
            let count = count.rem_euclid(last.saturating_add(1).max(1));
            batch[57..61].copy_from_slice(&count.to_be_bytes());
        }
    }
    if mode & 16 == 0 {
        batch[22] &= !7;
    }
    oracle::mend(&mut batch, log);
    batch
}

fn seal_of(log: Option<&[u8; 16]>) -> Seal {
    log.map_or(Seal::NONE, |log| Seal::of(LogId::from_bytes(*log)))
}

/// Both decoders on the same bytes.
fn judge(bytes: &[u8], log: Option<&[u8; 16]>, flip: u16, cut: u16) {
    let seal = seal_of(log);
    let found = check_batch(bytes, &seal);
    let due = oracle::whole(bytes, log);
    assert_eq!(found.is_ok(), due.is_some(), "whole or not: {found:?}, {due:?}");
    let (Ok(header), Some(due)) = (found, due) else { return };
    past();
    let batch = &bytes[..due.size];
    assert_eq!((header.size().unwrap(), header.base_offset), (due.size, due.base));
    assert_eq!(header.next_offset(), due.base + i64::from(due.last_delta) + 1);
    assert_eq!(header.to_bytes()[..], batch[..HEADER_BYTES], "a header lays out as it was read");
    if due.attributes & 7 != 0 {
        packed(&header, batch);
    }
    let (records, all) = oracle::records(&due, batch, planted());
    let found = compare(&header, batch, &records, all);
    if all {
        again(&header, &found, &records, log);
    }
    if flip & 3 == 0 {
        changed(batch, log, flip >> 2, cut);
    }
}

/// The crate's decoder gives these records, and says whether that was all.
fn compare<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
    due: &[Raw<'_>],
    all: bool,
) -> Vec<RawRecord<'a>> {
    let mut found = Vec::new();
    // Compressed ones are looked into by `packed`.
    let mut records = match header.attributes & 7 {
        0 => RawRecords::new(header, &batch[HEADER_BYTES..]),
        _ => RawRecords::failed(DecodeError { what: "compressed", position: HEADER_BYTES }),
    };
    let mut whole = true;
    for record in &mut records {
        match record {
            Ok(record) => found.push(record),
            Err(error) => {
                whole = false;
                assert!(error.position <= batch.len(), "an error lies inside the batch: {error:?}");
            }
        }
        assert!(found.len() <= due.len(), "no record more than there is");
    }
    assert!(records.next().is_none(), "nothing follows the end, or an error");
    assert_eq!(whole, all, "right or wrong: {} records", due.len());
    assert_eq!(found.len(), due.len());
    for (found, due) in found.iter().zip(due) {
        same(found, due);
        let record = resolve(header, found);
        assert_eq!(record.offset.get(), header.base_offset + i64::from(due.delta));
        assert_eq!(record, Times::of(header).resolve(found));
    }
    found
}

/// What a compressed batch decompresses to, if to anything, is bounded; compressed anew by the same
/// codec it decompresses to the same.
fn packed(header: &BatchHeader, batch: &[u8]) {
    let mut records = Vec::new();
    let by = pack::compression(header);
    if pack::unpack(by, &batch[HEADER_BYTES..], &mut records).is_err() {
        return;
    }
    assert!(records.len() <= limits::UNPACKED_BYTES_MAX);
    let plain = [&batch[..HEADER_BYTES], &records].concat();
    let mut again = Vec::new();
    let packing = pack::Packing { compression: by, level: 0 };
    if pack::pack(&plain, packing, &mut again).is_some() {
        let mut second = Vec::new();
        pack::unpack(by, &again[HEADER_BYTES..], &mut second).expect("it was compressed here");
        assert!(second == records, "unpack(pack(x)) == x");
    }
    // Whatever they are, the walk over them ends.
    assert!(RawRecords::new(header, &records).count() <= records.len() + 1);
}

fn same(found: &RawRecord<'_>, due: &Raw<'_>) {
    assert_eq!((found.timestamp_delta, found.offset_delta), (due.time, due.delta));
    assert_eq!((found.key, found.value), (due.key, due.value));
    assert_eq!(found.headers.len(), due.headers.len());
    assert!(found.headers.eq(due.headers.iter().copied()), "headers");
}

/// What was decoded encodes to a batch that decodes to the same, and is the shortest of its kind.
fn again(header: &BatchHeader, found: &[RawRecord<'_>], due: &[Raw<'_>], log: Option<&[u8; 16]>) {
    let mut out = Vec::new();
    let mut encoder = BatchEncoder::begin(&mut out, usize::MAX / 2);
    for record in found {
        let parts = Parts {
            key: record.key,
            value: record.value,
            header_count: record.headers.len(),
            headers: record.headers.map(|(name, value)| (name.as_bytes(), value)),
        };
        encoder.push_parts(record.timestamp_delta, record.offset_delta, parts).unwrap();
    }
    encoder.finish_with(*header);
    stamp(&mut out, header.base_offset, &seal_of(log));
    let second = check_batch(&out, &seal_of(log)).expect("what was encoded is whole");
    let due_header = oracle::whole(&out, log).expect("and for the second decoder too");
    assert!(out.len() <= header.size().unwrap(), "an encoding is the shortest");
    assert_eq!(
        (second.count, second.base_timestamp, second.max_timestamp, second.attributes),
        (header.count, header.base_timestamp, header.max_timestamp, header.attributes)
    );
    let (records, all) = oracle::records(&due_header, &out, planted());
    assert!(all && records == due, "decode(encode(x)) == x");
    compare(&second, &out, due, true);
}

/// No flipped bit and no cut leaves a whole batch. Without a seal nothing protects base offset and
/// leader epoch.
fn changed(batch: &[u8], log: Option<&[u8; 16]>, flip: u16, cut: u16) {
    let seal = seal_of(log);
    let bit = (usize::from(flip) * 5 + usize::from(cut)) % (batch.len() * 8);
    let free = log.is_none() && matches!(bit / 8, 0..8 | 12..16);
    if !free {
        let mut flipped = batch.to_vec();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(check_batch(&flipped, &seal).is_err(), "bit {bit} was flipped");
    }
    let cut = usize::from(cut) % batch.len();
    assert!(check_batch(&batch[..cut], &seal).is_err(), "cut at {cut}");
    if log.is_some() {
        let other = Seal::of(LogId::from_bytes([7; 16]));
        assert!(check_batch(batch, &other).is_err(), "another log's batch");
        let mut moved = batch.to_vec();
        moved[7] ^= 1;
        assert!(check_batch(&moved, &seal).is_err(), "moved by one offset");
    }
}

/// Records of an input, encoded as an append does, and decoded.
fn encoded(mut input: Input<'_>, log: Option<&[u8; 16]>, flip: u16, cut: u16) {
    let most = HEADER_BYTES + input.below(4096);
    let base = input.i64().rem_euclid(i64::MAX - i64::from(u16::MAX));
    let now = Timestamp::from_millis(input.i64());
    let mut pushed = Vec::new();
    let mut out = vec![0xaa; 100];
    let mut encoder = BatchEncoder::begin(&mut out, most);
    while !input.is_empty() && pushed.len() < 64 {
        let record = new_record(&mut input);
        match encoder.push(&record, now) {
            Ok(()) => pushed.push(record),
            Err(larger) => {
                // Nothing becomes of the batch then.
                return assert!(larger.bytes > most, "{larger:?}, allowed {most}");
            }
        }
    }
    let time = |record: &NewRecord<'_>| record.get_timestamp().unwrap_or(now).millis();
    let highest = pushed.iter().map(time).max().unwrap_or(-1);
    assert_eq!(encoder.finish(), highest);
    assert!(out.len() <= most, "{} of {most}", out.len());
    stamp(&mut out, base, &seal_of(log));
    let seal = seal_of(log);
    if pushed.is_empty() {
        assert!(check_batch(&out, &seal).is_err(), "a batch of nothing is none");
        return;
    }
    let header = check_batch(&out, &seal).expect("what was encoded is whole");
    assert_eq!((header.base_offset, header.max_timestamp), (base, highest));
    let records: Vec<_> =
        RawRecords::new(&header, &out[HEADER_BYTES..]).map(Result::unwrap).collect();
    assert_eq!(records.len(), pushed.len());
    for (n, (raw, record)) in records.iter().zip(&pushed).enumerate() {
        let found = resolve(&header, raw);
        assert_eq!(found.offset.get(), base + n as i64);
        assert_eq!(found.timestamp.millis(), time(record));
        assert_eq!((found.key, found.value), (record.get_key(), record.get_value()));
        assert!(found.headers.eq(record.get_headers()), "headers");
    }
    judge(&out, log, flip, cut);
    // And the same compressed.
    let by = pack::Packing {
        compression: Compression::of_number(1 + (cut & 3).cast_signed()),
        level: 0,
    };
    let mut packed = Vec::new();
    if let Some(header) = pack::pack(&out, by, &mut packed) {
        put_header(&mut packed, header);
        stamp(&mut packed, base, &seal);
        let mut scratch = Vec::new();
        let unpacked =
            pack::records(&header, &packed, &mut scratch).expect("it was compressed here");
        assert!(unpacked == &out[HEADER_BYTES..]);
        judge(&packed, log, flip, cut);
    }
}

fn new_record<'a>(input: &mut Input<'a>) -> NewRecord<'a> {
    let flags = input.byte();
    let length = |input: &mut Input<'a>| match flags & 1 {
        0 => usize::from(input.byte()) % 40,
        _ => usize::from(input.u16()) % 2000,
    };
    let key = (flags & 2 != 0).then(|| length(input)).map(|most| input.bytes(most));
    let value = (flags & 4 != 0).then(|| length(input)).map(|most| input.bytes(most));
    let mut record = match (key, value) {
        (Some(key), Some(value)) => NewRecord::new(value).key(key),
        (None, Some(value)) => NewRecord::new(value),
        (Some(key), None) => NewRecord::tombstone(key),
        (None, None) => NewRecord::default(),
    };
    for n in 0..(flags >> 3) & 3 {
        let name = String::from_utf8_lossy(input.bytes(usize::from(n) * 3)).into_owned();
        record = match n {
            1 => record.header_without_value(name),
            _ => record.header(name, input.bytes(5)),
        };
    }
    match flags >> 5 {
        0 => record,
        1 => record.timestamp(Timestamp::from_millis(input.i64())),
        _ => record.timestamp(Timestamp::from_millis(1_790_000_000_000 + i64::from(input.u16()))),
    }
}
