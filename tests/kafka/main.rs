//! The uplink to Apache Kafka, against a strict cluster in memory.
//!
//! `fake` is that cluster, written from the protocol and from what real brokers were seen to do,
//! without a look at the client; `fake_tests` show that it refuses, remembers and fails as they do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod fake;
mod fake_tests;
mod lasts;
mod logins;
mod ships;
mod tls;
mod world;
