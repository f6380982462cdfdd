//! Prints what segment files hold, forebay's or Kafka's, as JSON: one batch a line.
//!
//! Run: `cargo run --example dump FILE.log...`
//!
//! Expected output, one document a file; keys and values are hexadecimal or null:
//! ```text
//! {"valid_bytes":74,"file_bytes":74,"batches":[
//! {"position":0,"size":74,"base_offset":0,...,"records":[{"offset":0,...}],"count":1}
//! ]}
//! ```
//! What is wrong goes to standard error with path, position and offset, and the exit status is 1;
//! what is whole is printed all the same. The zeros behind the last batch of a log that was never
//! closed are not wrong: there `valid_bytes` is less than `file_bytes`. No lock is taken and
//! nothing is changed, so the log may be open elsewhere; a batch that is being written at that
//! moment can look damaged.

use std::env;
use std::ffi::OsStr;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use forebay::{Compression, Record, RecordBatch, SegmentFile, TimestampType};

fn main() -> ExitCode {
    let paths: Vec<_> = env::args_os().skip(1).collect();
    if paths.is_empty() || paths.first().is_some_and(|first| first == OsStr::new("--help")) {
        eprintln!("usage: dump FILE.log...\nprints segment files as JSON, one batch a line");
        return ExitCode::from(2);
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut all_whole = true;
    for path in &paths {
        match dump(Path::new(path), &mut out) {
            Ok(whole) => all_whole &= whole,
            // Whoever reads the output has had enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return ExitCode::FAILURE,
            Err(error) => {
                eprintln!("dump: cannot write the output: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    if all_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Prints one file; whether it was whole. An error is the output's.
fn dump(path: &Path, out: &mut impl Write) -> io::Result<bool> {
    // The output begins with what is known last, so the file is read twice: batches are not kept.
    let (mut first, second) = match SegmentFile::open(path).and_then(|first| {
        let second = SegmentFile::open(path)?;
        Ok((first, second))
    }) {
        Ok(both) => both,
        Err(error) => {
            eprintln!("dump: {error}");
            return Ok(false);
        }
    };
    let mut whole = true;
    let mut batches = 0;
    for found in &mut first {
        match found {
            Ok(_) => batches += 1,
            Err(error) => {
                eprintln!("dump: {error}");
                whole = false;
            }
        }
    }
    let (valid, file) = (first.valid_bytes(), first.file_bytes());
    writeln!(out, "{{\"valid_bytes\":{valid},\"file_bytes\":{file},\"batches\":[")?;
    // As many as were counted: a log that is being written may have more by now.
    let mut printed = 0;
    for (position, batch) in second.flatten().take(batches) {
        if printed > 0 {
            writeln!(out, ",")?;
        }
        printed += 1;
        write_header(out, position, &batch)?;
        whole &= write_records(out, path, position, &batch)?;
        write!(out, "],\"count\":{}}}", batch.len())?;
    }
    writeln!(out, "{}]}}", if printed > 0 { "\n" } else { "" })?;
    if printed < batches {
        eprintln!("dump: {}: changed while it was read", path.display());
        whole = false;
    }
    out.flush()?;
    Ok(whole)
}

/// The fields of a batch up to its records.
fn write_header(out: &mut impl Write, position: u64, batch: &RecordBatch) -> io::Result<()> {
    let compression = match batch.compression() {
        Compression::None => "none",
        Compression::Gzip => "gzip",
        Compression::Snappy => "snappy",
        Compression::Lz4 => "lz4",
        Compression::Zstd => "zstd",
        _ => "unknown",
    };
    let timestamp_type = match batch.timestamp_type() {
        TimestampType::LogAppendTime => "LogAppendTime",
        _ => "CreateTime",
    };
    let (base, last) = (batch.base_offset(), batch.last_offset());
    let (size, epoch) = (batch.as_bytes().len(), batch.leader_epoch());
    write!(out, "{{\"position\":{position},\"size\":{size}")?;
    write!(out, ",\"base_offset\":{base},\"last_offset\":{last}")?;
    write!(out, ",\"partition_leader_epoch\":{epoch},\"magic\":2,\"crc\":{}", batch.checksum())?;
    write!(out, ",\"compression\":\"{compression}\",\"timestamp_type\":\"{timestamp_type}\"")?;
    write!(out, ",\"transactional\":{}", batch.is_transactional())?;
    write!(out, ",\"control\":{},\"delete_horizon_ms\":", batch.is_control())?;
    match batch.delete_horizon() {
        Some(horizon) => write!(out, "{horizon}")?,
        None => write!(out, "null")?,
    }
    write!(out, ",\"max_timestamp\":{}", batch.max_timestamp())?;
    write!(out, ",\"producer_id\":{}", batch.producer_id())?;
    write!(out, ",\"producer_epoch\":{}", batch.producer_epoch())?;
    write!(out, ",\"base_sequence\":{},\"records\":[", batch.base_sequence())
}

/// The records of a batch, as far as they can be decoded; whether all could be.
fn write_records(
    out: &mut impl Write,
    path: &Path,
    position: u64,
    batch: &RecordBatch,
) -> io::Result<bool> {
    for (index, record) in batch.records().enumerate() {
        match record {
            Ok(record) => {
                let comma = if index == 0 { "" } else { "," };
                write!(out, "{comma}")?;
                write_record(out, &record)?;
            }
            Err(error) => {
                let (path, base) = (path.display(), batch.base_offset());
                eprintln!("dump: {path}: batch at position {position}, offset {base}: {error}");
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn write_record(out: &mut impl Write, record: &Record<'_>) -> io::Result<()> {
    let value = if record.is_tombstone() { None } else { Some(record.value()) };
    write!(out, "{{\"offset\":{},\"timestamp\":{}", record.offset(), record.timestamp())?;
    write!(out, ",\"key\":")?;
    write_hex(out, record.key())?;
    write!(out, ",\"value\":")?;
    write_hex(out, value)?;
    for (index, (name, value)) in record.headers().enumerate() {
        write!(out, "{}", if index == 0 { ",\"headers\":[[" } else { ",[" })?;
        write_text(out, name)?;
        write!(out, ",")?;
        write_hex(out, value)?;
        write!(out, "]")?;
    }
    write!(out, "{}", if record.headers().is_empty() { "}" } else { "]}" })
}

/// Bytes as hexadecimal digits in quotes, or null.
fn write_hex(out: &mut impl Write, bytes: Option<&[u8]>) -> io::Result<()> {
    let Some(bytes) = bytes else { return write!(out, "null") };
    write!(out, "\"")?;
    for byte in bytes {
        write!(out, "{byte:02x}")?;
    }
    write!(out, "\"")
}

/// Text as a JSON string: quotes, backslashes and control characters are escaped, the rest is not.
fn write_text(out: &mut impl Write, text: &str) -> io::Result<()> {
    write!(out, "\"")?;
    for letter in text.chars() {
        match letter {
            '"' | '\\' => write!(out, "\\{letter}")?,
            '\0'..='\u{1f}' | '\u{7f}' => write!(out, "\\u{:04x}", u32::from(letter))?,
            _ => write!(out, "{letter}")?,
        }
    }
    write!(out, "\"")
}
