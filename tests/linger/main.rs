//! Lingers: single records from many threads become batches, in the order they were handed in, and
//! every ticket gets its offset or the error.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code"
)]

mod bytes;
mod ends;
mod failures;
mod order;
mod reentry;
#[cfg(feature = "simulation")]
mod stops;
#[path = "../util/mod.rs"]
mod util;

use std::time::Duration;

use forebay::{Linger, LingerOptions, Log, OffsetSpec, Ticket};

/// Nothing is appended because of the time in it.
const EVER: Duration = Duration::from_secs(1 << 30);

/// A linger that appends by this count only.
fn counting(log: &Log, records: usize) -> Linger {
    log.linger(LingerOptions::new().linger(EVER).batch_records(records)).unwrap()
}

/// How many records each batch has, from the log start on.
fn batch_sizes(log: &Log) -> Vec<usize> {
    let reader = log.reader(OffsetSpec::Earliest).unwrap();
    reader.map(|batch| batch.unwrap().records().count()).collect()
}

/// The offsets of tickets whose records are in the log.
fn offsets(tickets: &[Ticket]) -> Vec<i64> {
    tickets.iter().map(|ticket| ticket.try_wait().unwrap().unwrap().get()).collect()
}
