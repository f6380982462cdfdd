//! Compresses and decompresses what stands behind a batch's header, in the framings that Kafka's
//! consumers accept.
//!
//! Floor 2. Total: any bytes give records' bytes or an error, and never more than a bound. Each
//! codec is a feature; one that is not built in is an error that says so. Framings: Kafka's
//! `compress` package, and what brokers, librdkafka and kafka-python were seen to take.

use crate::codec::DecodeError;
use crate::codec::layout::{BatchHeader, CODEC_MASK, HEADER_BYTES};
use crate::words::compression::Compression;
use crate::words::limits;

#[cfg(feature = "gzip")]
mod gzip;
#[cfg(feature = "lz4")]
mod lz4;
#[cfg(feature = "snappy")]
mod snappy;
#[cfg(feature = "zstd")]
mod zstd;

/// What is compressed by, and how hard; a level of 0 is the codec's own choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Packing {
    pub(crate) compression: Compression,
    pub(crate) level: i32,
}

impl Packing {
    pub(crate) const NONE: Packing = Packing { compression: Compression::None, level: 0 };
}

/// How the records of this header's batch are compressed.
#[inline]
pub(crate) fn compression(header: &BatchHeader) -> Compression {
    Compression::of_number(header.attributes & CODEC_MASK)
}

/// Makes of a whole plain batch the same one compressed, in `out`: its header with codec and
/// length, the checksum left open. `None` where that would not be smaller, or where the records are
/// more than a reader would take.
pub(crate) fn pack(batch: &[u8], by: Packing, out: &mut Vec<u8>) -> Option<BatchHeader> {
    let (front, records) = batch.split_at_checked(HEADER_BYTES)?;
    if records.len() > limits::UNPACKED_BYTES_MAX {
        return None;
    }
    out.clear();
    out.extend_from_slice(front);
    compress(records, by, out)?;
    if out.len() >= batch.len() {
        return None;
    }
    let mut header = BatchHeader::read(front).ok()?;
    header.attributes = header.attributes & !CODEC_MASK | by.compression.number();
    header.batch_length =
        i32::try_from(out.len() - crate::codec::layout::LENGTH_PREFIX_BYTES).ok()?;
    Some(header)
}

/// Appends what records are compressed to; `None` by a codec that is not built in.
fn compress(records: &[u8], by: Packing, out: &mut Vec<u8>) -> Option<()> {
    match by.compression {
        #[cfg(feature = "gzip")]
        Compression::Gzip => gzip::pack(records, by.level, out),
        #[cfg(feature = "snappy")]
        Compression::Snappy => snappy::pack(records, out),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => lz4::pack(records, out),
        #[cfg(feature = "zstd")]
        Compression::Zstd => zstd::pack(records, by.level, out),
        _ => {
            let _ = (records, out);
            None
        }
    }
}

/// The records of a whole batch of which `header` was read and checked, decompressed into `scratch`
/// where that is needed.
#[inline]
pub(crate) fn records<'a>(
    header: &BatchHeader,
    batch: &'a [u8],
    scratch: &'a mut Vec<u8>,
) -> Result<&'a [u8], DecodeError> {
    let stored = batch.get(HEADER_BYTES..).unwrap_or_default();
    if header.attributes & CODEC_MASK == 0 {
        return Ok(stored);
    }
    unpack(compression(header), stored, scratch)?;
    Ok(scratch)
}

/// Decompresses what stands behind a batch's header into `out`, which is emptied first.
#[inline(never)]
pub(crate) fn unpack(by: Compression, stored: &[u8], out: &mut Vec<u8>) -> Result<(), DecodeError> {
    out.clear();
    // Most telemetry becomes a quarter; what was guessed too low grows.
    #[cfg(any(feature = "gzip", feature = "lz4"))]
    out.reserve(stored.len().saturating_mul(4).min(limits::UNPACKED_BYTES_MAX));
    let undone = match by {
        #[cfg(feature = "gzip")]
        Compression::Gzip => gzip::unpack(stored, out),
        #[cfg(feature = "snappy")]
        Compression::Snappy => snappy::unpack(stored, out),
        #[cfg(feature = "lz4")]
        Compression::Lz4 => lz4::unpack(stored, out),
        #[cfg(feature = "zstd")]
        Compression::Zstd => zstd::unpack(stored, out),
        Compression::Unknown => Err("the batch has a codec number that Kafka does not know"),
        _ => {
            let _ = stored;
            Err(NOT_BUILT_IN)
        }
    };
    undone.map_err(|what| DecodeError::new(what, HEADER_BYTES))
}

/// What is said of a batch whose codec is known, but not here.
pub(crate) const NOT_BUILT_IN: &str = "the batch is compressed with a codec not built in";

/// What is said of a batch whose records would take more than the bound.
#[cfg(any(feature = "gzip", feature = "lz4", feature = "snappy", feature = "zstd"))]
const TOO_MUCH: &str = "the batch's records take more than 64 MiB decompressed";

/// Reads all that a decompressor gives, up to the bound.
#[cfg(feature = "gzip")]
fn read_all(
    from: impl std::io::Read,
    out: &mut Vec<u8>,
    wrong: &'static str,
) -> Result<(), &'static str> {
    use std::io::Read;
    let bound = limits::UNPACKED_BYTES_MAX as u64;
    match from.take(bound + 1).read_to_end(out) {
        Ok(_) if out.len() > limits::UNPACKED_BYTES_MAX => Err(TOO_MUCH),
        Ok(_) => Ok(()),
        Err(_) => Err(wrong),
    }
}

#[cfg(test)]
mod tests;
