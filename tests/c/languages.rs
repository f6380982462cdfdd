//! The examples in other languages write logs that C and Rust read.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::build::{Link, compile, done, has, library, link, program, root};

/// The shared library.
fn shared() -> PathBuf {
    let name = if cfg!(target_os = "macos") { "libforebay.dylib" } else { "libforebay.so" };
    library().dir.join(name)
}

fn python(log: &Path, readings: &str) -> Command {
    let mut command = Command::new("python3");
    command.arg(root().join("examples/python/telemetry.py")).arg(log).arg(readings);
    command.env("FOREBAY_LIBRARY", shared()).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Twice, so that the second run goes on where the first one closed.
#[test]
fn what_python_appends_a_c_program_reads() {
    if !cfg!(unix) || !has("python3", "telemetry from Python") || !has("gcc", "reading it in C") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let log = dir.path().join("log");
    for durable in ["8", "16"] {
        let said = done(&mut python(&log, "5"));
        assert_eq!(said.stdout, format!("{durable} records are durable\n").as_bytes());
    }
    let object = compile("gcc", &["-std=c99"], &root().join("tests/c/reader.c"), &dir);
    let said = done(program(&link("gcc", &[], &object, Link::Shared)).arg(&log));
    let mut expected = vec![("-", &b"started"[..])];
    for reading in [b"20.5 C", b"21.5 C", b"22.5 C", b"23.5 C", b"24.5 C"] {
        expected.push(("temperature", reading));
    }
    expected.extend([("pressure", &b"1013 hPa"[..]), ("battery", b"\x0c\x1e")]);
    expected.extend(expected.clone());
    let lines: Vec<&[u8]> = said.stdout.split(|byte| *byte == b'\n').collect();
    assert_eq!(lines.len(), expected.len() + 1, "{}", String::from_utf8_lossy(&said.stdout));
    for (offset, (line, (key, value))) in lines.iter().zip(expected).enumerate() {
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b'\t').collect();
        let time: i64 = String::from_utf8_lossy(fields[1]).parse().unwrap();
        // Both times that Python gave and times of the append.
        assert!(time > 1_600_000_000_000, "{time}");
        assert_eq!(fields[0], offset.to_string().as_bytes());
        assert_eq!((fields[2], fields[3]), (key.as_bytes(), value));
    }
}

#[test]
fn what_fails_in_python_has_the_librarys_words() {
    if !cfg!(unix) || !has("python3", "failures in Python") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let held = forebay::Log::open(dir.path()).unwrap();
    let said = python(dir.path(), "1").output().unwrap();
    let text = String::from_utf8(said.stderr).unwrap();
    assert_eq!(said.status.code(), Some(1), "{text}");
    assert!(text.contains("(-7)") && text.contains("lock"), "{text}");
    held.close().unwrap();
}

/// `tests/campaign/run c-languages` builds the classes, which takes Maven and a registry, and runs
/// this with where they are.
#[test]
#[cfg(feature = "replicator")]
fn what_java_appends_rust_ships() {
    use forebay::{Log, LogUpstream, OffsetSpec, Replicator, ReplicatorOptions};
    use std::time::Duration;

    const READINGS: usize = 1000;
    let Some(classes) = std::env::var_os("FOREBAY_JAVA_CLASSES") else {
        println!("passed over, it is run by tests/campaign/run c-languages: telemetry from Java");
        return;
    };
    let (dir, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut library = std::ffi::OsString::from("-Djna.library.path=");
    library.push(shared().parent().unwrap());
    let mut java = Command::new("java");
    java.arg(library).arg("-cp").arg(classes).arg("Telemetry").arg(dir.path());
    let said = done(java.arg(READINGS.to_string()));
    assert_eq!(said.stdout, format!("{READINGS} records are durable\n").as_bytes());

    let log = Log::open(dir.path()).unwrap();
    assert!(log.recovery().clean, "Java closed it");
    let upstream = LogUpstream::new(second.path());
    let replicator = Replicator::start(&log, "uplink", upstream, ReplicatorOptions::new()).unwrap();
    assert!(replicator.wait_until(log.log_end_offset(), Duration::from_secs(60)).unwrap());
    replicator.stop().unwrap();
    let shipped = Log::options().mirror_of(log.id()).open(second.path()).unwrap();
    let mut count = 0;
    for batch in shipped.reader(OffsetSpec::Earliest).unwrap() {
        for record in batch.unwrap().records() {
            let record = record.unwrap();
            let key = (count % 3 != 2).then(|| format!("sensor {}", count % 3));
            assert_eq!(record.key(), key.as_ref().map(String::as_bytes));
            assert_eq!(record.value(), format!("reading {count}").as_bytes());
            assert_eq!(record.offset().get(), i64::try_from(count).unwrap());
            assert_eq!(record.timestamp().millis() - 1_700_000_000_000, record.offset().get());
            count += 1;
        }
    }
    assert_eq!(count, READINGS);
}
