//! A strict Kafka cluster in memory: bytes and the time go in, bytes and deadlines come out.
//!
//! No socket, no thread, no clock: what happens is decided by the requests, the time passed in and
//! the seed. Three lists tell a test what its client did: `violations` is what no client of ours
//! may ever send, and must be empty; `refusals` is what a broker answers with an error; `fired` is
//! which faults were met. What the cluster holds in the end is judged by `oracle`.

mod actions;
mod admin;
mod answers;
mod batch;
mod cluster;
mod connection;
mod crc;
mod faults;
mod fetch;
mod login;
mod metadata;
mod oracle;
mod partition;
mod produce;
mod settings;
mod varint;
mod wire;

pub(crate) use actions::Action;
pub(crate) use cluster::Cluster;
pub(crate) use connection::{ConnectionId, Delivery};
pub(crate) use crc::crc32c;
pub(crate) use faults::{Fault, Garbage, When};
pub(crate) use oracle::Row;
pub(crate) use partition::Keep;
pub(crate) use settings::Debugging;
