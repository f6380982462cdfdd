//! A device log that keeps little, and an archive that keeps the rest: what retention takes moves
//! to a directory, here beside the log, on a device on another disk. At the end everything is read
//! back from offset 0, through the archive into the log.
//!
//! Run: `cargo run --example archive [DIR]`; without DIR in `forebay-archive` below the system's
//! temporary directory. A second run goes on where the first one ended.
//!
//! Expected output of the first run, but for the log's id:
//! ```text
//! moved 0 to 112 (16324 bytes): 00000000000000000000.log
//! ...
//! the log holds 896 to 1000, the archive what lies below
//! read back 1000 readings, 0 to 999, in order
//! the archive has 8 segments in DIR/archive/0f3c...
//! ```

use std::env;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use forebay::{
    Archive, ArchiveDir, ArchivedSegment, Log, LogId, Offset, OffsetSpec, Result, SealedSegment,
};

/// Says what is moved, and lets a directory do it. On a device this could ask first whether the
/// other disk is there, or carry a copy on to somewhere else.
struct Told(ArchiveDir);

impl Archive for Told {
    fn store(&self, segment: &SealedSegment<'_>) -> Result<()> {
        self.0.store(segment)?;
        let offsets = segment.offsets();
        println!(
            "moved {} to {} ({} bytes): {}",
            offsets.start,
            offsets.end,
            segment.bytes(),
            segment.file_name()
        );
        Ok(())
    }

    fn find(&self, log: LogId, offset: Offset) -> Result<Option<ArchivedSegment>> {
        self.0.find(log, offset)
    }

    fn attach(&self, log: LogId, dir: &std::path::Path) -> Result<()> {
        self.0.attach(log, dir)
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = || env::temp_dir().join("forebay-archive");
    let dir: PathBuf = env::args_os().nth(1).map_or_else(temporary, Into::into);
    let archive = ArchiveDir::new(dir.join("archive"))?;
    let archived = archive.dir().to_path_buf();
    let log = Log::options()
        .segment_bytes(16 << 10) // So that there is something to see; 16 MiB unless set.
        .retention_bytes(8 << 10)
        .archive(Arc::new(Told(archive)))
        .open(dir.join("log"))?;

    let first = log.log_end_offset().get();
    for number in first..first + 1000 {
        log.append(format!("{number:>8} {:>60}", "21.5 C"))?;
    }
    log.apply_retention()?; // Appends that fill a segment do it too.
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    println!("the log holds {start} to {end}, the archive what lies below");

    let mut expected = 0;
    for batch in log.reader(OffsetSpec::At(Offset::ZERO))? {
        for record in batch?.records() {
            let record = record?;
            let number: i64 = std::str::from_utf8(record.value())?
                .trim_start()
                .split(' ')
                .next()
                .unwrap_or_default()
                .parse()?;
            if record.offset().get() != expected || number != expected {
                return Err(format!("{number} at {}, {expected} is due", record.offset()).into());
            }
            expected += 1;
        }
    }
    println!("read back {expected} readings, 0 to {}, in order", expected - 1);

    let folder = archived.join(log.id().to_string());
    let names = fs::read_dir(&folder)?.map(|entry| entry.map(|entry| entry.file_name()));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    let segments = names.iter().filter(|name| name.to_string_lossy().ends_with(".log"));
    println!("the archive has {} segments in {}", segments.count(), folder.display());
    log.close()?;
    Ok(())
}
