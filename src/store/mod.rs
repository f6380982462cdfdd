//! Many logs in one directory.
//!
//! Floor 5. `names` says what a log may be called, `partition` which of several a key belongs to.

#[allow(dead_code, reason = "the store uses it")]
pub(crate) mod names;
pub(crate) mod partition;
