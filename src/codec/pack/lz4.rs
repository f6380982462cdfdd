//! LZ4 frames.
//!
//! Floor 2. Blocks that stand alone, and a size of at most 4 MiB: Java reads nothing else.

use std::cell::RefCell;
use std::io::Write;

use lz4_flex::block::decompress_into;
use lz4_flex::frame::{BlockMode, FrameEncoder, FrameInfo};

use crate::codec::pack::TOO_MUCH;
use crate::words::limits;

const WRONG: &str = "the batch's lz4 data is cut or damaged";

pub(super) fn pack(records: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let info = FrameInfo::new().block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, out);
    encoder.write_all(records).ok()?;
    encoder.finish().ok().map(drop)
}

/// One frame of blocks that stand alone, as in Java; it has an end mark, and nothing stands behind
/// it. Checksums are passed over, as there: the batch has its own. Block by block, for the frame
/// decoder of the library copies everything once more, and takes an end between two blocks for the
/// frame's.
pub(super) fn unpack(stored: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let (flags, block_bytes, mut rest) = header(stored).ok_or(WRONG)?;
    let has = |flag: u8| if flags & flag != 0 { 4 } else { 0 };
    // Inside another one's destructor the thread's own is gone already.
    let mut block = BLOCK.try_with(RefCell::take).unwrap_or_default();
    if block.len() < block_bytes {
        block.resize(block_bytes, 0);
    }
    let done = loop {
        let Some((length, behind)) = rest.split_first_chunk::<4>() else { break Err(WRONG) };
        let length = u32::from_le_bytes(*length);
        if length == 0 {
            let end = behind.get(has(CONTENT_CHECKSUM)..);
            break if end == Some(&[]) { Ok(()) } else { Err(WRONG) };
        }
        let stored = usize::try_from(length & !UNCOMPRESSED).unwrap_or(usize::MAX);
        let Some((packed, behind)) = behind.split_at_checked(stored) else { break Err(WRONG) };
        let target = block.get_mut(..block_bytes).unwrap_or_default();
        let plain = match length & UNCOMPRESSED {
            0 => decompress_into(packed, target).ok().and_then(|size| target.get(..size)),
            _ => Some(packed).filter(|packed| packed.len() <= block_bytes),
        };
        let Some(plain) = plain else { break Err(WRONG) };
        if plain.len() > limits::UNPACKED_BYTES_MAX - out.len() {
            break Err(TOO_MUCH);
        }
        out.extend_from_slice(plain);
        let Some(behind) = behind.get(has(BLOCK_CHECKSUM)..) else { break Err(WRONG) };
        rest = behind;
    };
    if block.len() <= BLOCK_KEPT_BYTES {
        let _ = BLOCK.try_with(|kept| kept.replace(block));
    }
    done
}

thread_local! {
    /// A block is decompressed into bytes that are there, which are made once for a thread.
    static BLOCK: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

const BLOCK_KEPT_BYTES: usize = 256 << 10;

/// The flags of a frame, how large its blocks are at most, and what stands behind its header.
fn header(frame: &[u8]) -> Option<(u8, usize, &[u8])> {
    let [m0, m1, m2, m3, flags, sizes, ..] = *frame.first_chunk::<HEADER_BYTES>()?;
    let right = u32::from_le_bytes([m0, m1, m2, m3]) == MAGIC
        && flags & (VERSION_MASK | RESERVED | DICTIONARY) == VERSION
        && flags & INDEPENDENT != 0;
    let block_bytes = match sizes >> 4 {
        4 => 64 << 10,
        5 => 256 << 10,
        6 => 1 << 20,
        7 => 4 << 20,
        _ => return None,
    };
    let content_size = if flags & CONTENT_SIZE != 0 { 8 } else { 0 };
    right.then_some((flags, block_bytes, frame.get(HEADER_BYTES + content_size..)?))
}

/// Magic number, flags, the blocks' size and a checksum of these.
const HEADER_BYTES: usize = 7;
const MAGIC: u32 = 0x184d_2204;
const VERSION_MASK: u8 = 0xc0;
const VERSION: u8 = 0x40;
const DICTIONARY: u8 = 0x01;
const RESERVED: u8 = 0x02;
const INDEPENDENT: u8 = 0x20;
const CONTENT_CHECKSUM: u8 = 0x04;
const CONTENT_SIZE: u8 = 0x08;
const BLOCK_CHECKSUM: u8 = 0x10;
/// In a block's length: its bytes stand as they are.
const UNCOMPRESSED: u32 = 1 << 31;
