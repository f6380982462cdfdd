//! The C face: its header is what the functions say, and every function does what it says.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]
#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::host_endian_bytes,
    clippy::multiple_unsafe_ops_per_block,
    reason = "calls what C calls, as C does: with what the header asks for, or with what it forbids"
)]

#[path = "c/build.rs"]
mod build;
#[path = "c/calls.rs"]
mod calls;
#[path = "c/compression.rs"]
mod compression;
#[path = "c/cpp.rs"]
mod cpp;
#[cfg(feature = "replicator")]
#[path = "c/face.rs"]
mod face;
#[path = "c/failures.rs"]
mod failures;
#[path = "c/followers.rs"]
mod followers;
#[cfg(feature = "replicator")]
#[path = "c/gateway.rs"]
mod gateway;
#[path = "c/header.rs"]
mod header;
#[path = "c/holds.rs"]
mod holds;
#[path = "c/languages.rs"]
mod languages;
#[path = "c/lingers.rs"]
mod lingers;
#[path = "c/logs.rs"]
mod logs;
#[path = "c/misuse.rs"]
mod misuse;
#[cfg(not(feature = "kafka"))]
#[path = "c/not_built_in.rs"]
mod not_built_in;
#[path = "c/packages.rs"]
mod packages;
#[cfg(feature = "replicator")]
#[path = "c/replicator.rs"]
mod replicator;
#[path = "c/sizes.rs"]
mod sizes;
#[cfg(feature = "kafka")]
#[path = "c/stopping.rs"]
mod stopping;
#[path = "c/stores.rs"]
mod stores;
#[path = "c/threads.rs"]
mod threads;
#[cfg(feature = "kafka")]
#[path = "c/upstream.rs"]
mod upstream;
