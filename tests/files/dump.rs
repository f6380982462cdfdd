//! The example `dump`, run as a program on segments that real brokers wrote.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Byte for byte what Kafka's own reader found in the same files.
#[test]
fn every_uncompressed_vector_is_printed_as_kafka_reads_it() {
    let mut compared = 0;
    for log in vectors() {
        let expected = fs::read(log.with_extension("json")).unwrap();
        if is_compressed(&expected) {
            continue;
        }
        let found = dump(&[&log]);
        assert!(found.status.success(), "{}: {}", log.display(), text(&found.stderr));
        assert!(found.stdout == expected, "{} differs", log.display());
        compared += 1;
    }
    assert!(compared >= 14, "only {compared} vectors were compared");
}

#[test]
fn several_files_are_printed_one_after_the_other() {
    let logs: Vec<_> = vectors().into_iter().filter(|log| is_in(log, "segments")).collect();
    let found = dump(&logs.iter().map(PathBuf::as_path).collect::<Vec<_>>());
    let documents = logs.iter().map(|log| fs::read(log.with_extension("json")).unwrap());
    assert_eq!(logs.len(), 3);
    assert!(found.stdout == documents.flatten().collect::<Vec<_>>());
}

/// With its codec built in a vector is printed as Kafka reads it, byte for byte. Without it the
/// batches are printed without records, and the status says so.
#[test]
fn compressed_vectors_are_whole_or_say_why_not() {
    for log in vectors() {
        let expected = fs::read(log.with_extension("json")).unwrap();
        if !is_compressed(&expected) {
            continue;
        }
        let found = dump(&[&log]);
        let codecs = ["gzip", "snappy", "lz4", "zstd"];
        let named = |name: &str| text(&expected).contains(&format!("\"compression\":\"{name}\""));
        let due = codecs.into_iter().zip([
            cfg!(feature = "gzip"),
            cfg!(feature = "snappy"),
            cfg!(feature = "lz4"),
            cfg!(feature = "zstd"),
        ]);
        let readable = due.filter(|(name, _)| named(name)).all(|(_, built_in)| built_in);
        assert_eq!(found.status.success(), readable, "{}", text(&found.stderr));
        if readable {
            assert!(found.stdout == expected, "{} differs", log.display());
        } else {
            assert!(text(&found.stderr).contains("batch at position"), "{}", text(&found.stderr));
            assert!(text(&found.stderr).contains(&*log.to_string_lossy()));
            let lines = |bytes: &[u8]| text(bytes).lines().count();
            assert_eq!(lines(&found.stdout), lines(&expected), "{}", log.display());
        }
    }
}

/// Cut inside each batch; what lies before the cut is printed.
#[test]
fn a_truncated_copy_is_status_1_with_the_position_of_the_cut_batch() {
    let (tmp, log) = copy_of("none");
    let starts = positions(&log);
    for (whole, start) in starts.iter().enumerate() {
        let file = fs::OpenOptions::new().write(true).open(&log).unwrap();
        file.set_len(u64::try_from(start + 60).unwrap()).unwrap();
        let found = dump(&[&log]);
        assert_eq!(found.status.code(), Some(1));
        let problem = text(&found.stderr);
        let at = position_in(&problem);
        assert!((*start..start + 61).contains(&at), "cut at {start}: {problem}");
        assert!(problem.contains(&*log.to_string_lossy()), "{problem}");
        assert!(text(&found.stdout).starts_with(&format!("{{\"valid_bytes\":{start},")));
        assert_eq!(text(&found.stdout).lines().count(), whole + 2);
        fs::copy(vector("none"), &log).unwrap();
    }
    drop(tmp);
}

/// One bit of each batch's records; the other batches are printed.
#[test]
fn a_flipped_bit_is_status_1_with_position_and_offset_of_its_batch() {
    let (_tmp, log) = copy_of("none");
    let whole = fs::read(&log).unwrap();
    let offsets = [0, 14, 164];
    for (start, offset) in positions(&log).into_iter().zip(offsets) {
        let mut bytes = whole.clone();
        bytes[start + 70] ^= 0x10;
        fs::write(&log, &bytes).unwrap();
        let found = dump(&[&log]);
        assert_eq!(found.status.code(), Some(1));
        let problem = text(&found.stderr);
        assert!((start..start + 62).contains(&position_in(&problem)), "{start}: {problem}");
        assert!(problem.contains(&format!("at offset {offset}")), "{problem}");
        assert_eq!(text(&found.stdout).lines().count(), 4, "two batches are left");
    }
}

/// A log that is open for writing has a preallocated tail: less than the file is valid, and fine.
#[test]
fn a_log_that_is_open_elsewhere_can_be_printed() {
    let tmp = tempfile::tempdir().unwrap();
    let log = forebay::Log::open(tmp.path()).unwrap();
    log.append("21.5 C").unwrap();
    let found = dump(&[&tmp.path().join("00000000000000000000.log")]);
    assert!(found.status.success(), "{}", text(&found.stderr));
    assert!(text(&found.stdout).contains("\"value\":\"32312e352043\""));
    let document: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    assert!(document["valid_bytes"].as_u64() <= document["file_bytes"].as_u64());
}

/// Header names go into JSON strings as they are, but for what JSON cannot hold.
#[test]
fn odd_header_names_are_escaped() {
    let names = ["", "\"\\", "\u{0}\n\t\u{1f}\u{7f}", "\u{b0}C \u{6e29}\u{5ea6}", "</script>"];
    let tmp = tempfile::tempdir().unwrap();
    let log = forebay::Log::open(tmp.path()).unwrap();
    let record = names.iter().fold(forebay::NewRecord::tombstone("key"), |record, name| {
        record.header(*name, "x").header_without_value(*name)
    });
    log.append(record).unwrap();
    log.close().unwrap();
    let found = dump(&[&tmp.path().join("00000000000000000000.log")]);
    let document: serde_json::Value = serde_json::from_slice(&found.stdout).unwrap();
    let record = &document["batches"][0]["records"][0];
    assert!(record["value"].is_null());
    let headers = record["headers"].as_array().unwrap();
    assert_eq!(headers.len(), 2 * names.len());
    for (pair, name) in headers.chunks(2).zip(names) {
        assert_eq!(pair[0], serde_json::json!([name, "78"]));
        assert_eq!(pair[1], serde_json::json!([name, null]));
    }
}

#[test]
fn what_is_no_file_is_status_1_and_named() {
    let tmp = tempfile::tempdir().unwrap();
    let missing = tmp.path().join("missing.log");
    for path in [tmp.path(), &missing] {
        let found = dump(&[path]);
        assert_eq!(found.status.code(), Some(1), "{}", path.display());
        assert!(text(&found.stderr).contains(&*path.to_string_lossy()));
        assert!(found.stdout.is_empty());
    }
    // One that cannot be read does not hide the others.
    let found = dump(&[&missing, &vector("none")]);
    assert_eq!(found.status.code(), Some(1));
    assert!(found.stdout == fs::read(vector("none").with_extension("json")).unwrap());
}

/// Nobody ever writes to it: opening it must not wait for that.
#[cfg(unix)]
#[test]
fn a_fifo_is_refused_at_once() {
    let tmp = tempfile::tempdir().unwrap();
    let fifo = tmp.path().join("fifo.log");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut child = Command::new(crate::util::example("dump"))
        .arg(&fifo)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("dump waits for the FIFO's writer");
        }
        thread::sleep(Duration::from_millis(5));
    }
    let found = child.wait_with_output().unwrap();
    assert_eq!(found.status.code(), Some(1));
    assert!(text(&found.stderr).contains("fifo.log"), "{}", text(&found.stderr));
}

#[test]
fn no_argument_is_status_2_with_the_usage() {
    let found = dump(&[]);
    assert_eq!(found.status.code(), Some(2));
    assert!(text(&found.stderr).starts_with("usage: dump FILE.log..."));
}

fn dump(paths: &[&Path]) -> Output {
    Command::new(crate::util::example("dump")).args(paths).output().unwrap()
}

/// The segment files of all vectors.
fn vectors() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/vectors");
    let folders = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path());
    let files = folders.filter(|path| path.is_dir()).flat_map(|path| fs::read_dir(path).unwrap());
    let paths = files.map(|entry| entry.unwrap().path());
    let mut logs: Vec<_> = paths.filter(|path| path.extension().is_some_and(is_log)).collect();
    logs.sort();
    logs
}

fn is_log(extension: &std::ffi::OsStr) -> bool {
    extension == "log"
}

fn is_in(log: &Path, folder: &str) -> bool {
    log.parent().unwrap().file_name().unwrap() == folder
}

fn vector(folder: &str) -> PathBuf {
    vectors().into_iter().find(|log| is_in(log, folder)).unwrap()
}

/// A copy of a vector's segment in a directory of its own.
fn copy_of(folder: &str) -> (tempfile::TempDir, PathBuf) {
    let tmp = tempfile::tempdir().unwrap();
    let copy = tmp.path().join("00000000000000000000.log");
    fs::copy(vector(folder), &copy).unwrap();
    (tmp, copy)
}

/// Where the batches of a whole file begin.
fn positions(log: &Path) -> Vec<usize> {
    let document: serde_json::Value = serde_json::from_slice(&dump(&[log]).stdout).unwrap();
    let batches = document["batches"].as_array().unwrap().iter();
    batches.map(|batch| batch["position"].as_u64().unwrap().try_into().unwrap()).collect()
}

fn is_compressed(json: &[u8]) -> bool {
    text(json).replace("\"compression\":\"none\"", "").contains("\"compression\":")
}

/// The number in "at position 29016".
fn position_in(problem: &str) -> usize {
    let rest = problem.split_once("at position ").expect("a position is named").1;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
