//! Typed records: what goes in comes out, what does not decode is named and passed over, and what
//! `docs::typed` says of types that change is so.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod changes;
mod program;
#[path = "../util/mod.rs"]
mod util;
mod values;

use forebay::{Codec, CodecError};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A codec that names its fields.
#[derive(Clone)]
struct Json;

impl<T: Serialize + DeserializeOwned> Codec<T> for Json {
    fn encode(&self, value: &T, into: &mut Vec<u8>) -> Result<(), CodecError> {
        Ok(serde_json::to_writer(into, value)?)
    }

    fn decode(&self, bytes: &[u8]) -> Result<T, CodecError> {
        Ok(serde_json::from_slice(bytes)?)
    }
}
