//! Zstandard frames, RFC 8878.
//!
//! Floor 2. Each thread keeps a context for either way, which costs more to make than a batch.

use std::cell::RefCell;

use zstd::bulk::Compressor;
use zstd::stream::raw::{Decoder, InBuffer, Operation, OutBuffer};
use zstd::zstd_safe::{compress_bound, get_frame_content_size};

use crate::codec::pack::TOO_MUCH;
use crate::words::limits;

/// Kafka's default.
const LEVEL: i32 = 3;
/// What the output grows by where a frame does not say its size.
const STEP_BYTES: usize = 64 << 10;
const WRONG: &str = "the batch's zstd data is cut or damaged";

thread_local! {
    static COMPRESSOR: RefCell<Option<(i32, Compressor<'static>)>> = const { RefCell::new(None) };
    static DECODER: RefCell<Option<Decoder<'static>>> = const { RefCell::new(None) };
}

pub(super) fn pack(records: &[u8], level: i32, out: &mut Vec<u8>) -> Option<()> {
    let level = if level == 0 { LEVEL } else { level };
    // Inside another one's destructor the thread's own is gone already.
    let kept = COMPRESSOR.try_with(RefCell::take).ok().flatten();
    let mut compressor = match kept {
        Some((of, compressor)) if of == level => compressor,
        _ => Compressor::new(level).ok()?,
    };
    let at = out.len();
    out.resize(at + compress_bound(records.len()), 0);
    let packed = compressor.compress_to_buffer(records, out.get_mut(at..)?).ok()?;
    out.truncate(at + packed);
    let _ = COMPRESSOR.try_with(|kept| kept.replace(Some((level, compressor))));
    Some(())
}

pub(super) fn unpack(stored: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let kept = DECODER.try_with(RefCell::take).ok().flatten();
    let mut decoder = match kept {
        Some(decoder) => decoder,
        None => Decoder::new().map_err(|_| WRONG)?,
    };
    let unpacked = run(&mut decoder, stored, out);
    if decoder.reinit().is_ok() {
        let _ = DECODER.try_with(|kept| kept.replace(Some(decoder)));
    }
    unpacked
}

/// Decompresses frame by frame into what grows as it is filled: a frame's own word about its size
/// is only a hint (I11).
fn run(decoder: &mut Decoder<'_>, stored: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    let hint = get_frame_content_size(stored).ok().flatten();
    let hint = hint.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(STEP_BYTES);
    // What compresses better than this is rare, and pays by growing.
    let most = stored.len().saturating_mul(64).max(STEP_BYTES);
    let mut capacity = hint.min(most).clamp(1, limits::UNPACKED_BYTES_MAX);
    let mut filled = 0;
    let mut input = InBuffer::around(stored);
    loop {
        out.resize(capacity, 0);
        let mut output = OutBuffer::around_pos(out.as_mut_slice(), filled);
        let before = (input.pos(), filled);
        let wanted = decoder.run(&mut input, &mut output).map_err(|_| WRONG)?;
        filled = output.pos();
        let done = input.pos() == stored.len();
        if done && wanted == 0 {
            out.truncate(filled);
            return Ok(());
        }
        if filled == capacity {
            if capacity >= limits::UNPACKED_BYTES_MAX {
                return Err(TOO_MUCH);
            }
            capacity = capacity.saturating_mul(2).min(limits::UNPACKED_BYTES_MAX);
        } else if done || (input.pos(), filled) == before {
            return Err(WRONG);
        }
    }
}
