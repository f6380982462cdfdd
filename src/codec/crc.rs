//! The two checksums.
//!
//! Floor 2. CRC-32C (Castagnoli) is Kafka's, over a batch from its attributes to its end; CRC-32
//! (IEEE) guards the seal and forebay's own small files, so that neither can pass for the other.

/// CRC-32C of a batch's checksummed part.
pub(crate) use crate::sys::crc32c;

/// CRC-32 of a small file or slot.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// CRC-32 continued: what `bytes` make of the checksum `start` of what came before them.
#[inline]
pub(crate) fn crc32_append(start: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(start);
    hasher.update(bytes);
    hasher.finalize()
}
