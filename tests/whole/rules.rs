//! The rules a log of the store may have, by number, and how far each may take its start.

use std::time::Duration;

use forebay::{
    Cleanup, Compression, FlushPolicy, Hold, Log, LogOptions, Media, OnFull, Store, StoreOptions,
};

use super::books::Book;
use super::script::Ground;

/// The names of the logs.
pub(crate) const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
/// Where the store is.
pub(crate) const STORE: &str = "/store";
/// The consumer that replicators keep their progress under.
pub(crate) const UPLINK: &str = "uplink";

/// What the store keeps back.
pub(crate) const RESERVE_BYTES: u64 = 16 << 10;

const AGE: Duration = Duration::from_secs(60);
const LIMIT_BYTES: u64 = 6000;
const BOTH_RECORDS: u64 = 24;

fn base(ground: &Ground) -> LogOptions {
    Log::options()
        .segment_bytes(4096)
        .max_batch_bytes(4096)
        .index_interval_bytes(400)
        .io_mode(ground.disk.mode())
        .media(ground.disk.tear.media())
        .torn_bytes(ground.disk.tear.bytes())
        .flush(FlushPolicy::Manual)
}

/// The rules of this number.
fn log(ground: &Ground, rule: u16) -> LogOptions {
    let log = base(ground);
    let everyone = Hold::Everyone;
    match rule {
        0 => log,
        1 => log.flush(FlushPolicy::EveryAppend),
        2 => log.flush(FlushPolicy::EveryBytes(2000)).retention_records(12),
        3 => log.retention_records(4).hold(everyone),
        4 => log
            .flush(FlushPolicy::Interval(Duration::from_secs(10)))
            .segment_age(Duration::from_secs(20))
            .retention_age(AGE),
        5 => log.on_full(OnFull::DropOldest).priority(10),
        6 => log.on_full(OnFull::DropOldest).budget_bytes(own_budget(ground)).thin_keep_one_in(2),
        7 => log
            .retention_bytes(LIMIT_BYTES)
            .hold(Hold::Each(vec![UPLINK.to_owned()]))
            .hold_limit_bytes(4 * LIMIT_BYTES),
        8 => log.flush(FlushPolicy::EveryAppend).hold(everyone).on_full(OnFull::DropOldest),
        9 => log.retention_records(4).hold(Hold::Any(vec!["w".to_owned(), UPLINK.to_owned()])),
        10 => packed(log, Compression::Zstd),
        11 => cleaned(rule, log).flush(FlushPolicy::EveryBytes(2000)),
        12 => packed(cleaned(rule, log), Compression::Lz4).min_cleanable_dirty_percent(100),
        13 => packed(cleaned(rule, log), Compression::Zstd)
            .cleanup(Cleanup::Both)
            .retention_records(BOTH_RECORDS)
            .min_cleanable_dirty_percent(20),
        _ => cleaned(rule, log).budget_bytes(own_budget(ground)).min_cleanable_dirty_percent(100),
    }
}

/// By this codec, where it is built in.
fn packed(log: LogOptions, codec: Compression) -> LogOptions {
    if codec.is_built_in() { log.compression(codec) } else { log }
}

/// How a log is compacted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cleaning {
    /// A record is so old before it goes, and a tombstone stays so long.
    pub(crate) lag: Duration,
    pub(crate) tombstones: Duration,
}

/// What the rules of this number say about compaction, if they have it.
pub(crate) fn cleaning(rule: u16) -> Option<Cleaning> {
    let (lag, tombstones) = match rule {
        11 => (0, 30),
        12 => (10, 0),
        13 => (0, 0),
        14 => (0, 600),
        _ => return None,
    };
    let (lag, tombstones) = (Duration::from_secs(lag), Duration::from_secs(tombstones));
    Some(Cleaning { lag, tombstones })
}

fn cleaned(rule: u16, log: LogOptions) -> LogOptions {
    let Some(Cleaning { lag, tombstones }) = cleaning(rule) else { return log };
    log.cleanup(Cleanup::Compact).min_compaction_lag(lag).delete_retention(tombstones)
}

/// Whether records under these rules have keys that others have as well.
pub(crate) fn is_keyed(rule: u16) -> bool {
    rule >= 10
}

fn own_budget(ground: &Ground) -> u64 {
    if ground.disk.tear.media() == Media::PowerSafe { 112 << 10 } else { 720 << 10 }
}

/// What all files may take together.
pub(crate) fn budget(ground: &Ground, room: u16) -> u64 {
    // The checkpoints of a medium that tears far are ten times as large.
    let scale: u64 = if ground.disk.tear.media() == Media::PowerSafe { 1 } else { 10 };
    [320 << 10, 640 << 10, 8 << 20][usize::from(room) % 3] * scale
}

/// The options of the store, with the rules its logs have now.
pub(crate) fn options(ground: &Ground, rules: &[u16], room: u16) -> StoreOptions {
    let store = Store::options()
        .max_open_logs(ground.open)
        .reserve_bytes(RESERVE_BYTES)
        .logs(base(ground))
        .budget_bytes(budget(ground, room));
    let named = NAMES.iter().zip(rules);
    named.fold(store, |store, (name, rule)| store.log(*name, log(ground, *rule)))
}

/// Up to where the start of this log may be moved now by what its rules say, or by want of room,
/// at a time of the true clock.
pub(crate) fn may_start(book: &Book, rule: u16, now_ms: u64) -> i64 {
    let end = book.highest();
    let start = book.model.start_asked;
    let uplink = book.linked().unwrap_or(end);
    match rule {
        2 => end - 12,
        3 => book.holders(&[]).into_iter().min().unwrap_or(end),
        4 => book.older_than(now_ms, AGE.as_millis() as u64),
        5 | 6 | 8 => end,
        // By bytes whoever holds it, once there are too many; released ones for want of room.
        7 => book
            .with_behind(LIMIT_BYTES)
            .min(uplink.max(book.with_behind(4 * LIMIT_BYTES)))
            .max(if book.linked().is_some() { uplink } else { start }),
        9 => book.holders(&["w"]).into_iter().max().unwrap_or(end),
        13 => end - BOTH_RECORDS as i64,
        _ => start,
    }
}
