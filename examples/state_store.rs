//! What each device said last, kept in a compacted log: at the start the table is rebuilt by
//! reading the log once, whatever its history was; the log stays as small as the table.
//!
//! Run: `cargo run --example state_store [DIR]`; without DIR in `forebay-state` below the system's
//! temporary directory. A second run finds the table of the first one, and goes on.
//!
//! Expected output of the first run:
//! ```text
//! found 0 devices in 0 records
//! wrote 20000 readings of 50 devices, one of which was removed
//! before: 102 segments, 1668965 bytes
//! after: 2 segments, 20464 bytes
//! pump-07 said last: 19957 rpm
//! read back 49 devices from 243 records, as they were written
//! ```

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;

use forebay::{Cleanup, Log, NewRecord, OffsetSpec, Result};

const DEVICES: u32 = 50;
const READINGS: u32 = 20_000;

/// The table, and the log that it is kept in.
struct StateStore {
    log: Log,
    latest: BTreeMap<String, String>,
}

impl StateStore {
    /// Reads what there is; how many records that took.
    fn open(dir: &std::path::Path) -> Result<(StateStore, usize)> {
        let log = Log::options()
            .cleanup(Cleanup::Compact)
            .segment_bytes(16 << 10) // So that there is something to see; 16 MiB unless set.
            .min_cleanable_dirty_percent(100) // Only when it is told to, to show the difference.
            .max_batch_bytes(4 << 10)
            .open(dir)?;
        let mut latest = BTreeMap::new();
        let mut records = 0;
        for batch in log.reader(OffsetSpec::Earliest)? {
            for record in batch?.records() {
                let record = record?;
                records += 1;
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let device = text(record.key().unwrap_or_default());
                match record.is_tombstone() {
                    true => latest.remove(&device),
                    false => latest.insert(device, text(record.value())),
                };
            }
        }
        Ok((StateStore { log, latest }, records))
    }

    fn set(&mut self, device: &str, value: String) -> Result<()> {
        self.log.append(NewRecord::new(value.as_bytes()).key(device.as_bytes()))?;
        self.latest.insert(device.to_owned(), value);
        Ok(())
    }

    fn remove(&mut self, device: &str) -> Result<()> {
        self.log.append(NewRecord::tombstone(device.as_bytes()))?;
        self.latest.remove(device);
        Ok(())
    }

    fn say_size(&self, when: &str) {
        let stats = self.log.stats();
        println!("{when}: {} segments, {} bytes", stats.segments, stats.batch_bytes);
    }
}

fn main() -> Result<()> {
    let temporary = || env::temp_dir().join("forebay-state");
    let dir: PathBuf = env::args_os().nth(1).map_or_else(temporary, Into::into);
    let (mut store, records) = StateStore::open(&dir)?;
    println!("found {} devices in {records} records", store.latest.len());

    for reading in 0..READINGS {
        let device = format!("pump-{:02}", reading % DEVICES);
        store.set(&device, format!("{reading} rpm"))?;
    }
    store.remove("pump-00")?;
    println!("wrote {READINGS} readings of {DEVICES} devices, one of which was removed");

    store.say_size("before");
    // By itself this happens when half of the log is new, with the append that fills a segment.
    store.log.compact()?;
    store.say_size("after");
    let last = store.latest.get("pump-07").map_or("nothing", String::as_str);
    println!("pump-07 said last: {last}");

    let written = store.latest.clone();
    store.log.close()?;
    let (store, records) = StateStore::open(&dir)?;
    assert_eq!(store.latest, written, "the newest record of each device is there");
    println!("read back {} devices from {records} records, as they were written", written.len());
    Ok(())
}
