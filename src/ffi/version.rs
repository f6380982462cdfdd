//! Which version this is, and what it has built in.
//!
//! Floor 6.

use std::ffi::{CStr, c_char};

use crate::{Error, ErrorKind, Result};

const BUILT_IN: [(&[u8], bool); 9] = [
    (b"replicator", cfg!(feature = "replicator")),
    (b"kafka", cfg!(feature = "kafka")),
    (b"toml", cfg!(feature = "toml")),
    (b"gzip", cfg!(feature = "gzip")),
    (b"snappy", cfg!(feature = "snappy")),
    (b"lz4", cfg!(feature = "lz4")),
    (b"zstd", cfg!(feature = "zstd")),
    (b"encryption", cfg!(feature = "encryption")),
    (b"typed", cfg!(feature = "typed")),
];

/// Refuses what was not built in.
pub(super) fn needs(feature: &str) -> Result<()> {
    if BUILT_IN.iter().any(|(name, built_in)| *name == feature.as_bytes() && *built_in) {
        return Ok(());
    }
    Err(without(feature))
}

#[cold]
pub(super) fn without(feature: &str) -> Error {
    Error::new(ErrorKind::Unsupported, format!("the library was built without `{feature}`"))
}

/// The library's version, such as "0.1.0": that of what is linked, while FOREBAY_VERSION_MAJOR and
/// the others are those of what was compiled. Never NULL, static. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn forebay_version() -> *const c_char {
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(version) => version.as_ptr(),
        Err(_) => c"".as_ptr(),
    }
}

/// The library's version as a number: major * 1000000 + minor * 1000 + patch, as
/// FOREBAY_VERSION_NUMBER. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn forebay_version_number() -> u32 {
    let part = |text: &str| text.parse::<u32>().unwrap_or(0);
    part(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
        + part(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
        + part(env!("CARGO_PKG_VERSION_PATCH"))
}

/// Whether something was built in: "replicator" (shipping to another log), "kafka" (shipping to
/// Kafka, TLS and logins included), "toml" (configuration files), "gzip", "snappy", "lz4", "zstd"
/// (compression); "encryption" and "typed", which only Rust can use. Every function is there in
/// every build; what is not built in returns FOREBAY_UNSUPPORTED. false for NULL and names it does
/// not know. Any thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_has_feature(name: *const c_char) -> bool {
    if name.is_null() {
        return false;
    }
    // SAFETY: the header asks for a NUL-terminated text.
    let name = unsafe { CStr::from_ptr(name) }.to_bytes();
    BUILT_IN.iter().any(|(feature, built_in)| *feature == name && *built_in)
}
