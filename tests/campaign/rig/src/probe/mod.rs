//! A writer that says what it does, and its judge.
//!
//! The log lies in `DIR/log`, or the store in `DIR/store`. Both may be called any number of times
//! on the same directory: the writer goes on behind the last record it finds.

mod check;
mod hand;
mod look;
mod write;

use std::path::{Path, PathBuf};

use forebay::{IoMode, LogOptions, Media, RecoveryMode};

pub use check::{Judged, check};
pub use look::{Scan, scan};
pub use write::{Ended, write};

/// What the writer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Appends records and batches, flushes, rolls; closes and opens again in the middle.
    Append,
    /// The same over three logs of a store, with a consumer, retention, and a log that comes and
    /// goes.
    Store,
    /// Appends under retention by size that a consumer holds; deletes records.
    Retention,
    /// Two consumers that poll, commit and sync, one of written and one of durable records.
    Consumer,
}

impl Work {
    /// All there is.
    pub const ALL: [Work; 4] = [Work::Append, Work::Store, Work::Retention, Work::Consumer];

    /// As the command line calls it.
    pub fn name(self) -> &'static str {
        match self {
            Work::Append => "append",
            Work::Store => "store",
            Work::Retention => "retention",
            Work::Consumer => "consumer",
        }
    }
}

/// A fault of the writer, planted to see whether the judge finds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plant {
    /// Says that an append returned, and is durable, before it is made.
    Early,
    /// Never flushes, and says that it did.
    NoFlush,
    /// Takes a failed flush for a good one.
    Deaf,
    /// Stores to a map behind the end of its file.
    Bus,
    /// Never gives a descriptor back.
    Leak,
}

impl Plant {
    /// What the environment variable `RIG_PLANT` asks for.
    pub fn asked() -> Option<Plant> {
        match std::env::var("RIG_PLANT").ok()?.as_str() {
            "early" => Some(Plant::Early),
            "no-flush" => Some(Plant::NoFlush),
            "deaf" => Some(Plant::Deaf),
            "bus" => Some(Plant::Bus),
            "leak" => Some(Plant::Leak),
            _ => None,
        }
    }
}

/// How the writer works; the judge opens with the same.
#[derive(Clone, Debug)]
pub struct Options {
    pub mode: IoMode,
    pub work: Work,
    pub seed: u64,
    /// Records to append in this run, over all logs.
    pub records: u64,
    pub segment_bytes: usize,
    pub every_append: bool,
    pub media: Option<Media>,
    /// Stops in the middle once: closes, and opens with a full recovery.
    pub reopen: bool,
    /// In a store: a log comes and goes.
    pub passing: bool,
    pub plant: Option<Plant>,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            mode: IoMode::Auto,
            work: Work::Append,
            seed: 1,
            records: 200,
            segment_bytes: 16 << 10,
            every_append: false,
            media: None,
            reopen: true,
            passing: true,
            plant: None,
        }
    }
}

impl Options {
    /// The options of a log without retention.
    pub fn log(&self) -> LogOptions {
        let flush = match self.every_append && self.plant.is_none() {
            true => forebay::FlushPolicy::EveryAppend,
            false => forebay::FlushPolicy::Manual,
        };
        let options = forebay::Log::options()
            .io_mode(self.mode)
            .segment_bytes(self.segment_bytes)
            .index_interval_bytes(512)
            .flush(flush);
        match self.media {
            Some(media) => options.media(media),
            None => options,
        }
    }

    fn full(&self, options: LogOptions, full: bool) -> LogOptions {
        options.recovery(if full { RecoveryMode::Full } else { RecoveryMode::Auto })
    }
}

/// Where the one log lies.
pub fn log_dir(dir: &Path) -> PathBuf {
    dir.join(LOG)
}

/// Where the store lies.
pub fn store_dir(dir: &Path) -> PathBuf {
    dir.join("store")
}

/// The name lines have for the one log.
pub const LOG: &str = "log";
/// The store's logs.
pub const STORE_LOGS: [&str; 3] = ["a", "b", "c"];
/// A log of the store that is made and deleted again and again: nothing is promised for it.
pub const PASSING: &str = "passing";
/// A consumer that retention waits for; of durable records.
pub const KEEPER: &str = "keeper";
/// A consumer of written records, and one of durable ones.
pub const DISPLAY: &str = "display";
pub const CARRIER: &str = "carrier";

/// Whether a consumer of this name sees durable records only.
pub fn is_durable(consumer: &str) -> bool {
    consumer == KEEPER || consumer == CARRIER
}
