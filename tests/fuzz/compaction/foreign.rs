//! Batches as a mirror's source may have them: parts of transactions, control batches, offsets
//! left out, times of any kind, delete horizons, any codec.

use forebay::{Compression, RecordBatch};

use super::table::Content;
use crate::bodies::input::Input;
use crate::codec::encode::{BatchEncoder, Parts, encode_gap_of, put_header};
use crate::codec::layout::{BatchHeader, CONTROL, DELETE_HORIZON, LOG_APPEND_TIME, TRANSACTIONAL};
use crate::codec::pack::{Packing, pack};
use crate::words::compression::Compression as Codec;

/// How a batch is to be compressed.
pub(super) fn codec(number: u8) -> Compression {
    match number % 8 {
        0 => Compression::Gzip,
        1 => Compression::Snappy,
        2 => Compression::Lz4,
        3 => Compression::Zstd,
        _ => Compression::None,
    }
}

fn same_codec(compression: Compression) -> Codec {
    match compression {
        Compression::Gzip => Codec::Gzip,
        Compression::Snappy => Codec::Snappy,
        Compression::Lz4 => Codec::Lz4,
        Compression::Zstd => Codec::Zstd,
        _ => Codec::None,
    }
}

/// A batch of these records, at or behind an offset; they get the offsets and times they have in
/// it.
pub(super) fn batch(
    records: &mut [Content],
    end: i64,
    by: Compression,
    input: &mut Input<'_>,
) -> RecordBatch {
    let (flags, spread) = (input.byte(), input.byte());
    let base = end + i64::from(spread % 4);
    if flags == u8::MAX {
        return empty(base, i64::from(spread));
    }
    let mut attributes = 0;
    for (bit, attribute) in [(1, TRANSACTIONAL), (2, LOG_APPEND_TIME), (4, DELETE_HORIZON)] {
        if flags & bit != 0 {
            attributes |= attribute;
        }
    }
    if flags & 24 == 24 {
        attributes |= CONTROL;
    }
    let base_timestamp = records[0].timestamp.wrapping_add(i64::from(spread >> 4));
    let highest = records.iter().map(|record| record.timestamp).max().unwrap();
    let mut plain = Vec::new();
    let mut encoder = BatchEncoder::begin(&mut plain, 64 << 10);
    let mut delta = 0;
    for record in records.iter_mut() {
        delta += i32::from(flags & 32 != 0) * i32::from(spread >> 2 & 3);
        record.offset = base + i64::from(delta);
        record.control = attributes & CONTROL != 0;
        let headers: Vec<_> = record.header.iter().map(|value| (b"h".as_slice(), value)).collect();
        let headers = headers.iter().map(|(name, value)| (*name, Some(value.as_slice())));
        let parts = Parts {
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            header_count: headers.len(),
            headers,
        };
        let since = record.timestamp.wrapping_sub(base_timestamp);
        encoder.push_parts(since, delta, parts).unwrap();
        delta += 1;
        if attributes & LOG_APPEND_TIME != 0 {
            record.timestamp = highest;
        }
    }
    let count = encoder.count();
    let tail = i32::from(flags & 64 != 0) * i32::from(spread >> 6);
    encoder.finish_with(BatchHeader {
        base_offset: base,
        attributes,
        last_offset_delta: delta - 1 + tail,
        base_timestamp,
        max_timestamp: highest,
        producer_id: if flags & 1 != 0 { 7 } else { -1 },
        producer_epoch: if flags & 1 != 0 { 0 } else { -1 },
        base_sequence: if flags & 1 != 0 { i32::from(spread) } else { -1 },
        count,
        ..BatchHeader::UNSTAMPED
    });
    let mut packed = Vec::new();
    let by = Packing { compression: same_codec(by), level: 0 };
    if by.compression != Codec::None
        && let Some(header) = pack(&plain, by, &mut packed)
    {
        put_header(&mut packed, header);
        plain = packed;
    }
    first(&plain)
}

/// One without records, which stands over offsets.
fn empty(base: i64, over: i64) -> RecordBatch {
    let mut plain = Vec::new();
    let highest = if over % 2 == 0 { -1 } else { 1_767_225_600_000 };
    encode_gap_of(&mut plain, i32::try_from(over).unwrap() % 9 + 1, highest);
    let header = BatchHeader::read(&plain).unwrap();
    put_header(&mut plain, BatchHeader { base_offset: base, ..header });
    first(&plain)
}

fn first(bytes: &[u8]) -> RecordBatch {
    let (batch, rest) = RecordBatch::split_first(bytes).unwrap().expect("it is whole");
    assert!(rest.is_empty());
    batch
}
