//! LZ4 frames.
//!
//! Floor 2. Blocks that stand alone, and a size of at most 4 MiB: Java reads nothing else.

use std::io::Write;

use lz4_flex::frame::{BlockMode, FrameDecoder, FrameEncoder, FrameInfo};

use crate::codec::pack::read_all;

const WRONG: &str = "the batch's lz4 data is cut or damaged";

pub(super) fn pack(records: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(records).ok()?;
    encoder.finish().ok().map(drop)
}

/// One frame; as in Java, it has an end mark, and nothing stands behind it.
pub(super) fn unpack(stored: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    // The decoder takes an end between two blocks for the frame's.
    if behind_end_mark(stored) != Some(&[]) {
        return Err(WRONG);
    }
    read_all(FrameDecoder::new(stored), out, WRONG)
}

/// What stands behind the frame, by the lengths of its blocks; `None` if it does not end.
fn behind_end_mark(frame: &[u8]) -> Option<&[u8]> {
    let flags = *frame.get(FLAGS_AT)?;
    let has = |flag: u8, bytes: usize| if flags & flag != 0 { bytes } else { 0 };
    let mut rest = frame.get(HEADER_BYTES + has(CONTENT_SIZE, 8) + has(DICTIONARY, 4)..)?;
    loop {
        let (length, behind) = rest.split_first_chunk::<4>()?;
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            return behind.get(has(CONTENT_CHECKSUM, 4)..);
        }
        let length = usize::try_from(length & !UNCOMPRESSED).ok()?;
        rest = behind.get(length.checked_add(has(BLOCK_CHECKSUM, 4))?..)?;
    }
}

/// Magic number, flags, the blocks' size and a checksum of these.
const HEADER_BYTES: usize = 7;
const FLAGS_AT: usize = 4;
const DICTIONARY: u8 = 0x01;
const CONTENT_CHECKSUM: u8 = 0x04;
const CONTENT_SIZE: u8 = 0x08;
const BLOCK_CHECKSUM: u8 = 0x10;
/// In a block's length: its bytes stand as they are.
const UNCOMPRESSED: u32 = 1 << 31;
