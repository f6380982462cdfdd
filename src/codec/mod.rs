//! Kafka's record batch (magic 2), the seal, and index entries: pure functions over bytes.
//!
//! Floor 2. No I/O, no clock, no allocation but the caller's buffer and what a
//! codec of `pack` needs. Decoding is total: any bytes
//! give a value or an error with a position. Bytes: `docs/format.md`.

pub(crate) mod crc;
pub(crate) mod decode;
pub(crate) mod encode;
pub(crate) mod index;
pub(crate) mod layout;
pub(crate) mod pack;
pub(crate) mod seal;
pub(crate) mod varint;

#[cfg(test)]
mod tests;

/// What is wrong with some bytes, and how far from their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct DecodeError {
    pub(crate) what: &'static str,
    pub(crate) position: usize,
}

impl DecodeError {
    #[cold]
    pub(crate) fn new(what: &'static str, position: usize) -> DecodeError {
        DecodeError { what, position }
    }
}
