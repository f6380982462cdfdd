//! Appends records of 100 bytes as fast as one thread can, without a flush, and says how long it
//! took: something small to hold a profiler or a system call tracer against.
//!
//! Run: `cargo run --release --example appends DIR [mapped|positioned] [RECORDS]`
//!
//! Expected output: `300000 appends, 180 ns each`

use std::env;
use std::time::Instant;

use forebay::{FlushPolicy, IoMode, Log};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = env::args().skip(1);
    let dir = arguments.next().ok_or("usage: appends DIR [mapped|positioned] [RECORDS]")?;
    let mode = match arguments.next().as_deref() {
        Some("mapped") => IoMode::Mapped,
        Some("positioned") => IoMode::Positioned,
        _ => IoMode::Auto,
    };
    let records: u32 = arguments.next().map_or(Ok(300_000), |text| text.parse())?;
    let log = Log::options().io_mode(mode).flush(FlushPolicy::Manual).open(dir)?;
    let (value, start) = ([b'x'; 100], Instant::now());
    for _ in 0..records {
        log.append(&value)?;
    }
    println!(
        "{records} appends, {} ns each",
        start.elapsed().as_nanos() / u128::from(records.max(1))
    );
    Ok(())
}
