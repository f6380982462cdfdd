//! Options as text: one way to read each kind of value, and one wording of what is wrong with it.
//!
//! Floor 6.

use std::str::FromStr;

use super::bytes::{forebay_bytes, invalid};
use super::options::*;
use super::shipping::forebay_replicator_options;
use super::store::forebay_store_options;
use crate::{Error, ErrorKind, Result};

/// What a caller sets by it says that there is no bound: Kafka's -1.
pub(super) const UNBOUNDED: u64 = u64::MAX;

#[cold]
pub(super) fn none_of_its_values(name: &str, value: &str, allowed: &str) -> Error {
    invalid(format!("{name} is `{value}`, allowed: {allowed}"))
}

/// A number, decimal and without a unit.
pub(super) fn number<N: FromStr>(name: &str, value: &str) -> Result<N> {
    value.parse().map_err(|_| none_of_its_values(name, value, NUMBER))
}

const NUMBER: &str = "a decimal number that is large enough and not too large, without a unit";
const BOUND: &str = "a decimal number without a unit, or -1 for no bound";

/// Of an option that is no bound unless set: a number, or -1.
fn bound(name: &str, value: &str) -> Result<u64> {
    match value {
        "-1" => Ok(UNBOUNDED),
        _ => value.parse().map_err(|_| none_of_its_values(name, value, BOUND)),
    }
}

/// The same of milliseconds, of which -1 is one that the field itself has.
fn bound_ms(name: &str, value: &str) -> Result<i64> {
    match value.parse() {
        Ok(millis @ -1..) => Ok(millis),
        _ => Err(none_of_its_values(name, value, BOUND)),
    }
}

/// What is or is not.
pub(super) fn truth(name: &str, value: &str) -> Result<bool> {
    Ok(one_of(name, value, &["false", "true"])? == 1)
}

/// The number of a word.
fn one_of(name: &str, value: &str, words: &[&str]) -> Result<u32> {
    words
        .iter()
        .position(|word| *word == value && !value.is_empty())
        .and_then(|at| u32::try_from(at).ok())
        .ok_or_else(|| none_of_its_values(name, value, &listed(words, &[])))
}

/// Words, and forms with a number, as a text lists them.
fn listed(words: &[&str], forms: &[&str]) -> String {
    let words = words.iter().chain(forms).filter(|word| !word.is_empty()).copied();
    words.collect::<Vec<_>>().join(", ")
}

#[cold]
fn no_option(name: &str) -> Error {
    Error::new(ErrorKind::NotFound, format!("there is no option `{name}`"))
}

/// Sets an option of a log.
pub(super) fn set_of_log(o: &mut forebay_options, name: &str, bytes: forebay_bytes) -> Result<()> {
    let value = bytes.text("value")?.trim();
    let bounds: Option<&mut u64> = match name {
        "memory_limit_bytes" => Some(&mut o.memory_limit_bytes),
        "retention_bytes" => Some(&mut o.retention_bytes),
        "retention_records" => Some(&mut o.retention_records),
        "hold_limit_bytes" => Some(&mut o.hold_limit_bytes),
        "hold_lag_records" => Some(&mut o.hold_lag_records),
        "budget_bytes" => Some(&mut o.budget_bytes),
        _ => None,
    };
    if let Some(field) = bounds {
        *field = bound(name, value)?;
        return Ok(());
    }
    match name {
        "flush_bytes" => o.flush_bytes = number(name, value)?,
        "segment_bytes" => o.segment_bytes = number(name, value)?,
        "index_interval_bytes" => o.index_interval_bytes = number(name, value)?,
        "max_batch_bytes" => o.max_batch_bytes = number(name, value)?,
        "flush_interval_ms" => o.flush_interval_ms = number(name, value)?,
        "segment_ms" => o.segment_ms = number(name, value)?,
        "retention_ms" => o.retention_ms = bound_ms(name, value)?,
        "on_full_block_ms" => o.on_full_block_ms = number(name, value)?,
        "torn_bytes" => o.torn_bytes = number(name, value)?,
        "priority" => o.priority = number(name, value)?,
        "thin_keep_one_in" => o.thin_keep_one_in = number(name, value)?,
        "cleanup_policy" => {
            o.cleanup_policy = one_of(name, value, &["delete", "compact", "compact,delete"])?;
        }
        "min_cleanable_dirty_percent" => o.min_cleanable_dirty_percent = number(name, value)?,
        "delete_retention_ms" => o.delete_retention_ms = number(name, value)?,
        "min_compaction_lag_ms" => o.min_compaction_lag_ms = number(name, value)?,
        "compaction_memory_bytes" => o.compaction_memory_bytes = number(name, value)?,
        "hold_consumers" => o.hold_consumers = bytes,
        "background" => o.background = truth(name, value)?.into(),
        "io_mode" => o.io_mode = one_of(name, value, &["auto", "mapped", "positioned"])?,
        "recovery" => o.recovery = one_of(name, value, &["auto", "full"])?,
        "media" => o.media = one_of(name, value, &["auto", "power_safe", "torn_overwrite"])?,
        "hold" => o.hold = one_of(name, value, &["nobody", "everyone", "each", "any"])?,
        "on_full" => on_full(o, value)?,
        "flush" => flush(o, value)?,
        "compression" | "compression.type" => o.compression = codec(name, value)?,
        "compression_level" => o.compression_level = number(name, value)?,
        _ => return Err(no_option(name)),
    }
    Ok(())
}

/// The number of a codec by Kafka's name of it.
pub(super) fn codec(name: &str, value: &str) -> Result<u32> {
    one_of(name, value, &["none", "gzip", "snappy", "lz4", "zstd"])
}

/// A number of which 0 would say nothing.
fn at_least_one<N: FromStr + PartialEq + From<u8>>(name: &str, value: &str) -> Result<N> {
    let number: N = number(name, value)?;
    match number == N::from(0) {
        true => Err(none_of_its_values(name, value, "1 or more")),
        false => Ok(number),
    }
}

fn flush(o: &mut forebay_options, value: &str) -> Result<()> {
    match value.split_once('=').map(|(word, number)| (word.trim(), number.trim())) {
        Some(("interval_ms", millis)) => {
            o.flush_interval_ms = at_least_one("flush", millis)?;
            o.flush = FOREBAY_FLUSH_INTERVAL;
        }
        Some(("every_bytes", bytes)) => {
            o.flush_bytes = at_least_one("flush", bytes)?;
            o.flush = FOREBAY_FLUSH_EVERY_BYTES;
        }
        _ => {
            const WORDS: [&str; 5] = ["", "", "every_append", "", "manual"];
            let forms = &["interval_ms=N", "every_bytes=N"];
            o.flush = one_of("flush", value, &WORDS)
                .map_err(|_| none_of_its_values("flush", value, &listed(&WORDS, forms)))?;
        }
    }
    Ok(())
}

fn on_full(o: &mut forebay_options, value: &str) -> Result<()> {
    match value.split_once('=').map(|(word, number)| (word.trim(), number.trim())) {
        Some(("block_ms", millis)) => {
            o.on_full_block_ms = number("on_full", millis)?;
            o.on_full = FOREBAY_ON_FULL_BLOCK;
        }
        _ => {
            const WORDS: [&str; 2] = ["reject", "drop_oldest"];
            o.on_full = one_of("on_full", value, &WORDS).map_err(|_| {
                none_of_its_values("on_full", value, &listed(&WORDS, &["block_ms=N"]))
            })?;
        }
    }
    Ok(())
}

/// Sets an option of a store.
pub(super) fn set_of_store(o: &mut forebay_store_options, name: &str, value: &str) -> Result<()> {
    match name {
        "budget_bytes" => o.budget_bytes = bound(name, value)?,
        "reserve_bytes" => o.reserve_bytes = number(name, value)?,
        "max_mapped_bytes" => o.max_mapped_bytes = number(name, value)?,
        "memory_limit_bytes" => o.memory_limit_bytes = bound(name, value)?,
        "rated_endurance_bytes" => o.rated_endurance_bytes = number(name, value)?,
        "max_open_logs" => o.max_open_logs = number(name, value)?,
        "max_open_files" => o.max_open_files = number(name, value)?,
        "background" => o.background = truth(name, value)?.into(),
        _ => return Err(no_option(name)),
    }
    Ok(())
}

/// Sets an option of a replicator.
pub(super) fn set_of_replicator(
    o: &mut forebay_replicator_options,
    name: &str,
    value: &str,
) -> Result<()> {
    match name {
        "backoff_min_ms" => o.backoff_min_ms = number(name, value)?,
        "backoff_max_ms" => o.backoff_max_ms = number(name, value)?,
        "in_flight_bytes" => o.in_flight_bytes = number(name, value)?,
        "acknowledge_timeout_ms" => o.acknowledge_timeout_ms = number(name, value)?,
        "bytes_per_second" => o.bytes_per_second = bound(name, value)?,
        _ => return Err(no_option(name)),
    }
    Ok(())
}
