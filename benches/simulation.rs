//! How fast the simulated disk is: power cuts a second, and logs opened and read after one.
//!
//! `cargo bench --features simulation --bench simulation`
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot set itself up has no result")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use forebay::simulation::{Disk, Keep, Profile};
use forebay::{FlushPolicy, IoMode, Log, LogOptions, OffsetSpec};

const RUN: Duration = Duration::from_secs(1);

fn options(mode: IoMode) -> LogOptions {
    Log::options().segment_bytes(4096).io_mode(mode).flush(FlushPolicy::Manual)
}

/// How often something runs in a second.
fn rate(mut run: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    let mut count = 0;
    while start.elapsed() < RUN {
        for _ in 0..16 {
            run(count);
            count += 1;
        }
    }
    count as f64 / start.elapsed().as_secs_f64()
}

fn main() {
    println!("mode, records, flushed, files, loose pieces: power cuts/s, open and read/s, image/s");
    for mode in [IoMode::Mapped, IoMode::Positioned] {
        for (records, flushed) in [(10, 5), (100, 95), (600, 590)] {
            let disk = Disk::new(Profile { stale: true, ..Profile::default() });
            let log = options(mode).open_on(&disk, "/log").unwrap();
            for n in 0..records {
                log.append(vec![b'x'; 100]).unwrap();
                if n + 1 == flushed {
                    log.flush().unwrap();
                }
            }
            let cuts = rate(|seed| drop(black_box(disk.power_cut(Keep::Seed(seed)))));
            let opens = rate(|seed| {
                let disk = disk.power_cut(Keep::Seed(seed));
                let log = options(mode).open_on(&disk, "/log").unwrap();
                let batches = log.reader(OffsetSpec::Earliest).unwrap();
                let found: usize = batches.map(|batch| batch.unwrap().records().count()).sum();
                assert!(found >= flushed, "{found} of {flushed} flushed records");
            });
            let images = rate(|_| assert_ne!(disk.image(), 0));
            let (files, loose) = (disk.file_names("/log").len(), disk.loose());
            println!(
                "{mode:?}, {records}, {flushed}, {files}, {loose}: \
                 {cuts:.0}, {opens:.0}, {images:.0}"
            );
        }
    }
}
