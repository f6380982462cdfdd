//! Snappy, in the framing of snappy-java that Kafka's Java clients write, and bare as librdkafka
//! writes it.
//!
//! Floor 2. The framing that snappy itself defined is neither, and no broker takes it.

use snap::raw::{Decoder, Encoder, decompress_len, max_compress_len};

use crate::codec::pack::TOO_MUCH;
use crate::words::limits;

/// The framing's mark, its version and the lowest version that reads it.
const MARK: [u8; 16] = *b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01";
/// Only the mark is compared by readers.
const MARK_BYTES: usize = 8;
/// What snappy-java puts into a block.
const BLOCK_BYTES: usize = 32 << 10;
const WRONG: &str = "the batch's snappy data is cut or damaged";

pub(super) fn pack(records: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut encoder = Encoder::new();
    out.extend_from_slice(&MARK);
    for block in records.chunks(BLOCK_BYTES) {
        let at = out.len();
        out.resize(at + 4 + max_compress_len(block.len()), 0);
        let (length, target) = out.get_mut(at..)?.split_first_chunk_mut::<4>()?;
        let packed = encoder.compress(block, target).ok()?;
        *length = u32::try_from(packed).ok()?.to_be_bytes();
        out.truncate(at + 4 + packed);
    }
    Some(())
}

pub(super) fn unpack(stored: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let Some(mut rest) = behind_mark(stored) else { return block(stored, out) };
    while !rest.is_empty() {
        // Streams that were put one behind the other each begin with the mark.
        if let Some(behind) = behind_mark(rest) {
            rest = behind;
            continue;
        }
        let (length, behind) = rest.split_first_chunk::<4>().ok_or(WRONG)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).map_err(|_| WRONG)?;
        let (packed, behind) = behind.split_at_checked(length).ok_or(WRONG)?;
        block(packed, out)?;
        rest = behind;
    }
    Ok(())
}

fn behind_mark(bytes: &[u8]) -> Option<&[u8]> {
    let (mark, _) = MARK.split_at(MARK_BYTES);
    bytes.starts_with(mark).then(|| bytes.get(MARK.len()..)).flatten()
}

/// One block: it says its own length, which is bounded before it is believed (I11).
fn block(packed: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let length = decompress_len(packed).map_err(|_| WRONG)?;
    let at = out.len();
    if length > limits::UNPACKED_BYTES_MAX - at {
        return Err(TOO_MUCH);
    }
    // A copy of at most 64 bytes takes three: whoever claims more lies.
    if length > packed.len().saturating_mul(32) {
        return Err(WRONG);
    }
    out.resize(at + length, 0);
    let target = out.get_mut(at..).ok_or(WRONG)?;
    Decoder::new().decompress(packed, target).map_err(|_| WRONG).map(drop)
}
