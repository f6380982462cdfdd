//! Gzip, RFC 1952.
//!
//! Floor 2. One member: librdkafka reads the first one and stops. Several are read, as Java does.

use std::io::Write;

use flate2::Compression;
use flate2::bufread::MultiGzDecoder;
use flate2::write::GzEncoder;

use crate::codec::pack::read_all;

pub(super) fn pack(records: &[u8], level: i32, out: &mut Vec<u8>) -> Option<()> {
    let level = match u32::try_from(level) {
        Ok(level @ 1..=9) => Compression::new(level),
        _ => Compression::default(),
    };
    let mut encoder = GzEncoder::new(out, level);
    encoder.write_all(records).ok()?;
    encoder.finish().ok().map(drop)
}

pub(super) fn unpack(stored: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
    read_all(MultiGzDecoder::new(stored), out, "the batch's gzip data is cut or damaged")
}
