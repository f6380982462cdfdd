//! Ships logs of every codec to a Kafka, for other clients to read.
//!
//! ```text
//! codecs DIR HOST:PORT RECORDS
//! ```
//!
//! For each codec, and for encrypted values, a log `DIR/NAME`, a topic of that name, and a file
//! `DIR/NAME.expected` with a line for each record as the consumers beside print them. Fails if a
//! stored batch was encoded anew on its way.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use forebay::{
    Compression, Encryption, KafkaUpstream, Log, LogOptions, NewRecord, Offset, OffsetSpec,
    Replicator, ReplicatorOptions,
};
use rig::Random;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let words: Vec<_> = std::env::args().skip(1).collect();
    let [dir, broker, records] = words.as_slice() else {
        return Err("DIR HOST:PORT RECORDS".into());
    };
    let (dir, records) = (Path::new(dir), records.parse()?);
    let all = [
        Compression::None,
        Compression::Gzip,
        Compression::Snappy,
        Compression::Lz4,
        Compression::Zstd,
    ];
    for codec in all {
        let options = Log::options().compression(codec);
        ship(dir, codec.name(), options, broker, records, Compression::None)?;
    }
    // Stored plain and compressed on the way; and values nobody can read without the key.
    ship(dir, "on-the-way", Log::options(), broker, records, Compression::Zstd)?;
    let encryption = Encryption::new(7, |number| Some([number as u8; 32]))?;
    let options = Log::options().compression(Compression::Lz4).encryption(&encryption);
    ship(dir, "encrypted", options, broker, records, Compression::None)
}

fn hex(bytes: Option<&[u8]>) -> String {
    let Some(bytes) = bytes else { return "null".into() };
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A record of each kind there is, most of them telemetry.
fn record(number: u64, random: &mut Random) -> NewRecord<'static> {
    let text = format!("{{\"sensor\":\"engine-{}\",\"celsius\":{}}}", number % 4, random.below(90));
    let key = format!("engine-{}", number % 4);
    match number % 50 {
        7 => NewRecord::tombstone(key),
        8 => NewRecord::new(""),
        9 => NewRecord::new((0..20_000).map(|_| random.below(256) as u8).collect::<Vec<_>>()),
        10 => NewRecord::new("x".repeat(70_000)).key(key),
        _ => NewRecord::new(text).key(key).header("unit", "celsius"),
    }
}

fn ship(
    dir: &Path,
    name: &str,
    options: LogOptions,
    broker: &str,
    records: u64,
    on_the_way: Compression,
) -> Outcome<()> {
    let mut random = Random::new(1);
    let log = options.open(dir.join(name))?;
    let (mut expected, mut number) = (String::new(), 0);
    while number < records {
        // Large batches, small ones, and one by one.
        let many = [100, 10, 1, 300][(number as usize / 7) % 4].min(records - number);
        let batch: Vec<_> = (number..number + many).map(|n| record(n, &mut random)).collect();
        for (at, record) in (number..).zip(&batch) {
            let (key, value) = (hex(record.get_key()), hex(record.get_value()));
            writeln!(expected, "{at} {key} {value}")?;
        }
        log.append_batch(batch)?;
        number += many;
    }
    fs::write(dir.join(format!("{name}.expected")), expected)?;
    let upstream = KafkaUpstream::new(broker, name)
        .create_topic(1, 1, [("compression.type", "producer")])
        .compression(on_the_way);
    let replicator = Replicator::start(&log, "uplink", upstream, ReplicatorOptions::new())?;
    let end = Offset::new(i64::try_from(records)?);
    for _ in 0..600 {
        if replicator.status().committed >= end {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    let status = replicator.status();
    replicator.stop()?;
    if status.committed < end {
        return Err(format!("{name}: not all was shipped: {status:?}").into());
    }
    let sent = &status.upstream;
    // What is compressed is sent as it is, however small; of the rest what is large, and what
    // stands alone between two of them.
    let (mut compressed, mut due) = (0, 0);
    for batch in log.reader(OffsetSpec::Earliest)? {
        let batch = batch?;
        let packed = batch.compression() != Compression::None;
        compressed += u64::from(packed);
        due += u64::from(packed || batch.as_bytes().len() >= 16 << 10);
    }
    if sent.sent_as_stored < due {
        return Err(format!("{name}: {due} batches were to be sent as they are: {sent:?}").into());
    }
    println!(
        "codecs: {name}: {} batches sent as stored, all {compressed} compressed ones, {} encoded",
        sent.sent_as_stored, sent.sent_encoded
    );
    log.close()?;
    Ok(())
}
