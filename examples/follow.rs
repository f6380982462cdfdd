//! Prints the records of a log as they come in, while another process writes it: `tail -f`.
//!
//! Run: `cargo run --example follow -- DIR [--from earliest|latest|OFFSET] [--durable]
//! [--records N]`
//!
//! One line a record: offset, time in milliseconds since 1970, key and value, tabs in between. With
//! `--durable` only what survives a power cut is printed; without it a record may be printed that
//! a power cut then takes. What else happens, and what cannot be read, goes to standard error:
//! ```text
//! follow: 12 offsets were retracted by a recovery: on to 100
//! follow: 40 offsets were deleted unread: on to 140
//! ```
//! It goes on until it is stopped, or has printed `--records`. The log may not be there yet: it
//! is waited for. Nothing is locked or changed, so the directory may be one that cannot be written.

use std::env;
use std::error::Error;
use std::ffi::OsString;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use forebay::{ErrorKind, FollowReader, Log, Offset, OffsetSpec, ReadOnlyLog, Record, Visibility};

const USAGE: &str = "usage: follow DIR [--from earliest|latest|OFFSET] [--durable] [--records N]";

/// How long a wait for the next batch is; it wakes at once when there is one.
const WAIT: Duration = Duration::from_secs(1);

struct Arguments {
    dir: PathBuf,
    from: OffsetSpec,
    visibility: Visibility,
    records: u64,
}

fn main() -> ExitCode {
    let arguments = match Arguments::parse(env::args_os().skip(1)) {
        Ok(arguments) => arguments,
        Err(what) => {
            eprintln!("follow: {what}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match follow(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("follow: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Arguments {
    fn parse(mut words: impl Iterator<Item = OsString>) -> Result<Arguments, String> {
        let mut dir = None;
        let (mut from, mut visibility) = (OffsetSpec::Earliest, Visibility::Written);
        let mut records = u64::MAX;
        while let Some(word) = words.next() {
            let mut value = |what: &str| {
                let text = words.next().and_then(|word| word.into_string().ok());
                text.ok_or_else(|| format!("{what} needs a value"))
            };
            match word.to_str() {
                Some("--from") => {
                    from = match value("--from")?.as_str() {
                        "earliest" => OffsetSpec::Earliest,
                        "latest" => OffsetSpec::Latest,
                        text => {
                            let offset = text.parse().map_err(|_| format!("no offset: {text}"))?;
                            OffsetSpec::At(Offset::new(offset))
                        }
                    }
                }
                Some("--durable") => visibility = Visibility::Durable,
                Some("--records") => {
                    let text = value("--records")?;
                    records = text.parse().map_err(|_| format!("no number: {text}"))?;
                }
                Some(option) if option.starts_with("--") => {
                    return Err(format!("no such option: {option}"));
                }
                _ if dir.is_none() => dir = Some(PathBuf::from(word)),
                _ => return Err("one directory, please".to_owned()),
            }
        }
        let dir = dir.ok_or("which directory?")?;
        Ok(Arguments { dir, from, visibility, records })
    }
}

/// Prints until there is enough; an error is one that cannot be gone on behind.
fn follow(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let log = wait_for_log(&arguments.dir)?;
    let mut reader = log.reader(arguments.from)?.visibility(arguments.visibility);
    let mut out = BufWriter::new(io::stdout().lock());
    let mut left = arguments.records;
    let (mut retracted, mut missed) = (0, 0);
    while left > 0 {
        let mut polled = reader.poll(Duration::ZERO);
        if let Ok(None) = polled {
            // Whoever reads the output is to have it while this waits.
            out.flush()?;
            polled = reader.poll(WAIT);
        }
        tell(reader.retracted() - retracted, "retracted by a recovery", &reader);
        tell(reader.missed() - missed, "deleted unread", &reader);
        (retracted, missed) = (reader.retracted(), reader.missed());
        match polled {
            Ok(None) => {}
            Ok(Some(batch)) => {
                for record in batch.records().take(usize::try_from(left)?) {
                    print(&record?, &mut out)?;
                    left -= 1;
                }
            }
            // The next call goes on behind it.
            Err(error) if error.kind() == ErrorKind::Corrupt => eprintln!("follow: {error}"),
            Err(error) => return Err(error.into()),
        }
    }
    out.flush()?;
    Ok(())
}

/// Says what came between the records that were printed.
fn tell(offsets: u64, what: &str, reader: &FollowReader) {
    if offsets > 0 {
        eprintln!("follow: {offsets} offsets were {what}: on to {}", reader.next_offset());
    }
}

fn wait_for_log(dir: &Path) -> forebay::Result<ReadOnlyLog> {
    let mut told = false;
    loop {
        match Log::open_read_only(dir) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if !std::mem::replace(&mut told, true) {
                    eprintln!("follow: {error}: waiting for it");
                }
                thread::sleep(Duration::from_millis(50));
            }
            opened => return opened,
        }
    }
}

fn print(record: &Record<'_>, out: &mut impl Write) -> io::Result<()> {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let key = record.key().map_or("-".to_owned(), text);
    let value = if record.is_tombstone() { "-".to_owned() } else { text(record.value()) };
    writeln!(out, "{}\t{}\t{key}\t{value}", record.offset(), record.timestamp().millis())
}
