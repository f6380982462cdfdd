//! Fills a log until there is no room, looks at what still works then, and goes on once there is
//! room again: what `tests/campaign/run full-disk` holds against filesystems that are full.
//!
//! Run: `cargo run --example fill -- write DIR [--on-full reject|drop|block]
//! [--flush manual|append|bytes] [--positioned] [--torn] [--background] [--segment-bytes N]
//! [--record-bytes N]`, and from another process `cargo run --example fill -- check DIR
//! [--read-only]`
//!
//! `write` says `A FIRST NEXT` for each batch that was acknowledged, `F END` when the disk is full
//! and everything but appending was found to work, and waits for a line on its standard input each
//! time. It goes three laps: until the disk is full, until it is full again, and once more after it
//! has deleted the older half of the log. At its end it says what it has to show:
//! ```text
//! Z start 18213 end 36001 dropped 0 deleted 18213 refused 33
//! ```
//! With `--on-full drop` a lap ends when as much was dropped as the log holds.
//!
//! `check` reads everything and says which records there are, and what was committed:
//! `R 18213 36001 36001`. Each record says in its bytes which one it is; one that is another ends
//! either program with an error.

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use forebay::{
    ErrorKind, FlushPolicy, IoMode, Log, LogOptions, Media, Offset, OffsetSpec, OnFull, Record,
};

const USAGE: &str = "usage: fill write DIR [--on-full reject|drop|block] \
     [--flush manual|append|bytes] [--positioned] [--torn] [--background] [--segment-bytes N] \
     [--record-bytes N]\n       \
     fill check DIR [--read-only]";
const LAPS: u32 = 3;
/// How often a refused append is tried again before the lap is over.
const TRIES: u32 = 10;
const CONSUMER: &str = "uplink";

type Done<T = ()> = Result<T, Box<dyn Error>>;

struct Arguments {
    write: bool,
    dir: PathBuf,
    read_only: bool,
    record_bytes: u64,
    drops: bool,
    options: LogOptions,
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("fill: {what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let done = match (arguments.write, arguments.read_only) {
        (true, _) => write(&arguments),
        (false, false) => check(&arguments.dir),
        (false, true) => check_beside(&arguments.dir),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("fill: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = String>) -> Done<Arguments> {
        let write = match words.next().as_deref() {
            Some("write") => true,
            Some("check") => false,
            _ => return Err("write or check is expected".into()),
        };
        let dir = words.next().ok_or("a directory is expected")?.into();
        let options = Log::options().segment_bytes(256 << 10).max_batch_bytes(64 << 10);
        let mut parsed = Arguments {
            write,
            dir,
            read_only: false,
            record_bytes: 1000,
            drops: false,
            options: options.flush(FlushPolicy::Manual),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value"));
            let options = parsed.options.clone();
            parsed.options = match word.as_str() {
                "--positioned" => options.io_mode(IoMode::Positioned),
                "--torn" => options.media(Media::TornOverwrite),
                "--background" => options.background(true),
                "--segment-bytes" => options.segment_bytes(value()?.parse()?),
                "--flush" => options.flush(match value()?.as_str() {
                    "manual" => FlushPolicy::Manual,
                    "append" => FlushPolicy::EveryAppend,
                    "bytes" => FlushPolicy::EveryBytes(100_000),
                    other => return Err(format!("no flush policy is called {other}").into()),
                }),
                "--on-full" => options.on_full(match value()?.as_str() {
                    "reject" => OnFull::Reject,
                    "drop" => {
                        parsed.drops = true;
                        OnFull::DropOldest
                    }
                    "block" => OnFull::Block(Duration::from_millis(20)),
                    other => return Err(format!("nothing is called {other}").into()),
                }),
                "--record-bytes" => {
                    parsed.record_bytes = value()?.parse()?;
                    options
                }
                "--read-only" => {
                    parsed.read_only = true;
                    options
                }
                other => return Err(format!("{other} is not known").into()),
            };
        }
        Ok(parsed)
    }
}

/// Says a line at once, whole: what was said is known whatever happens then.
fn say(line: &str) -> Done {
    io::stdout().write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}

/// What record `offset` holds: of changing length, and no other's bytes.
fn value(offset: i64, record_bytes: u64) -> Vec<u8> {
    let mixed = (offset.unsigned_abs() + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let length = (mixed >> 32) % record_bytes.max(1);
    let bytes =
        (0..length).flat_map(|n| (mixed ^ n).wrapping_mul(mixed).to_le_bytes().into_iter().nth(5));
    let text = format!("{offset} {record_bytes} ");
    text.into_bytes().into_iter().chain(bytes).collect()
}

/// Whether the record is the one that was appended at its offset.
fn is_right(record: &Record<'_>) -> bool {
    let words = record.value().splitn(3, |byte| *byte == b' ').nth(1);
    let record_bytes = words.and_then(|word| std::str::from_utf8(word).ok()?.parse().ok());
    record_bytes.is_some_and(|bytes| record.value() == value(record.offset().get(), bytes))
}

fn write(arguments: &Arguments) -> Done {
    let log = arguments.options.clone().open(&arguments.dir)?;
    let (begin, mut deleted) = (log.log_start_offset(), 0);
    say(&format!("O {} {}", begin, log.log_end_offset()))?;
    for lap in 0..LAPS {
        if lap == LAPS - 1 {
            let (start, end) = (log.log_start_offset(), log.log_end_offset());
            let middle = start + (end - start) / 2;
            if log.delete_records(middle)? != middle {
                return Err("the log does not start where it was told to".into());
            }
            deleted = middle - start;
            say(&format!("X {start} {middle}"))?;
        }
        let end = log.log_end_offset();
        fill(&log, arguments)?;
        // On a disk that is full from the beginning there may be no room for one.
        if lap > 0 && log.log_end_offset() == end {
            return Err(format!("lap {lap}: with room again nothing could be appended").into());
        }
        look_around(&log, arguments.drops)?;
        say(&format!("F {}", log.log_end_offset()))?;
        if io::stdin().read_line(&mut String::new())? == 0 {
            return Err("nobody said to go on".into());
        }
    }
    let stats = log.stats();
    let (start, end) = (stats.log_start_offset, stats.log_end_offset);
    let (dropped, refused) = (start - begin - deleted, stats.appends_refused);
    if dropped.unsigned_abs() != stats.records_dropped {
        let told = stats.records_dropped;
        return Err(format!("{dropped} records were dropped, the log counted {told}").into());
    }
    log.close()?;
    say(&format!("Z start {start} end {end} dropped {dropped} deleted {deleted} refused {refused}"))
}

/// Appends single records and batches until the disk is full, or as much was dropped as is there.
fn fill(log: &Log, arguments: &Arguments) -> Done {
    let (mut refused, mut enough) = (0, Offset::MAX);
    let start = log.log_start_offset();
    while refused < TRIES && log.log_start_offset() < enough {
        let next = log.log_end_offset();
        let records = if next.get() % 7 == 0 { 5 } else { 1 };
        let values = (0..records).map(|n| value(next.get() + n, arguments.record_bytes));
        match log.append_batch(values) {
            Ok(offsets) if offsets.start == next => {
                say(&format!("A {} {}", offsets.start, offsets.end))?;
            }
            Ok(offsets) => return Err(format!("{} got {}", next, offsets.start).into()),
            Err(error) if error.kind() == ErrorKind::OutOfSpace => {
                refused += 1;
                if log.log_end_offset() != next {
                    return Err(format!("a refused append took offsets from {next} on").into());
                }
            }
            Err(error) => return Err(error.into()),
        }
        if arguments.drops && log.log_start_offset() > start && enough == Offset::MAX {
            enough = log.log_end_offset();
        }
    }
    Ok(())
}

/// What has to work when nothing can be appended.
fn look_around(log: &Log, drops: bool) -> Done {
    let end = log.log_end_offset();
    read_all(log.log_start_offset(), end, log.reader(OffsetSpec::Earliest)?)?;
    let durable = log.flush()?;
    if durable != end {
        return Err(format!("a flush on the full disk says {durable}, not {end}").into());
    }
    let mut consumer = log.consumer(CONSUMER)?;
    consumer.seek(OffsetSpec::Latest)?;
    consumer.commit()?;
    consumer.sync()?;
    drop(consumer);
    let report = log.verify()?;
    if !report.is_whole() {
        return Err(format!("not whole on the full disk: {report:?}").into());
    }
    let stats = log.stats();
    if stats.poisoned.is_some() || !drops && stats.appends_refused == 0 {
        return Err(format!("the disk was to be full: {stats:?}").into());
    }
    Ok(())
}

/// Reads records from `start` to `end`, all of them.
fn read_all(
    start: Offset,
    end: Offset,
    batches: impl Iterator<Item = forebay::Result<forebay::RecordBatch>>,
) -> Done {
    let mut next = start;
    for batch in batches {
        for record in batch?.records() {
            let record = record?;
            if record.offset() != next || !is_right(&record) {
                return Err(format!("BAD: {} where {next} is expected", record.offset()).into());
            }
            next = next + 1;
        }
    }
    if next < end {
        return Err(format!("BAD: {next} is the last of {end}").into());
    }
    Ok(())
}

/// Opens the log as its next owner.
fn check(dir: &Path) -> Done {
    let log = Log::options().segment_bytes(256 << 10).max_batch_bytes(64 << 10).open(dir)?;
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    read_all(start, end, log.reader(OffsetSpec::Earliest)?)?;
    let consumers = log.consumers();
    let committed = consumers.iter().find(|consumer| consumer.name == CONSUMER);
    let committed = committed.map_or(Offset::ZERO, |consumer| consumer.committed);
    let report = log.recovery();
    if report.damaged_ranges > 0 || report.lost.is_some() || report.checkpoint_lost {
        return Err(format!("BAD: {report:?}").into());
    }
    log.close()?;
    say(&format!("R {start} {end} {committed}"))
}

/// Looks on from another process.
fn check_beside(dir: &Path) -> Done {
    let log = Log::open_read_only(dir)?;
    let (start, end) = (log.log_start_offset(), log.log_end_offset());
    read_all(start, end, log.reader(OffsetSpec::Earliest)?)?;
    say(&format!("R {start} {end} 0"))
}
