//! The first five minutes: open a log, append, read back, and let a named consumer go on where it
//! stopped.
//!
//! Run: `cargo run --example quickstart [DIR]`; without DIR in `forebay-quickstart` below the
//! system's temporary directory.
//!
//! Expected output of the first run; the second appends offsets 2 and 3, and the consumer gets
//! these two alone:
//! ```text
//! read back 0: 21.5 C
//! read back 1: 1013 hPa
//! display gets 0: 21.5 C
//! display gets 1: 1013 hPa
//! ```

use std::borrow::Cow;
use std::env;
use std::time::Duration;

use forebay::{Log, NewRecord, OffsetSpec, Record};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let temporary = || env::temp_dir().join("forebay-quickstart");
    let log = Log::open(env::args_os().nth(1).map_or_else(temporary, Into::into))?;

    let first = log.append("21.5 C")?;
    log.append(NewRecord::new("1013 hPa").key("barometer"))?;
    log.flush()?; // From here on both survive a power cut.

    for batch in log.reader(OffsetSpec::At(first))? {
        for record in batch?.records() {
            let record = record?;
            println!("read back {}: {}", record.offset(), text(&record));
        }
    }
    let mut consumer = log.consumer("display")?;
    while let Some(batch) = consumer.poll(Duration::ZERO)? {
        for record in batch.records() {
            let record = record?;
            println!("display gets {}: {}", record.offset(), text(&record));
        }
        consumer.commit()?; // After a restart it goes on here.
    }
    Ok(log.close()?)
}

fn text<'a>(record: &Record<'a>) -> Cow<'a, str> {
    String::from_utf8_lossy(record.value())
}
