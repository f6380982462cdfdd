//! What the integration tests share: scratch directories, owned records, child processes.
//!
//! A test of the log runs on every ground there is ([`ways`]): in a directory of the system, and
//! with the feature `simulation` on a simulated disk, in both ways of I/O each. What stays on the
//! system alone, and why:
//!
//! | tests | what only the system has |
//! |---|---|
//! | `kill`, `dump`, `store_and_forward`, `limits` by child, `refusals` but formats | processes |
//! | `budget_process`, the `process` of stores | processes, and blocks of files |
//! | `commits_survive_the_death_of_the_process` | both: a child aborts, a simulated one is killed |
//! | `concurrency`, `background`, what races in other tests | threads in real time |
//! | `corruption_files`: special files; `api_lifecycle`: paths | FIFOs, links, names of any bytes |
//! | `mirror` and `hostile`: segment files | `SegmentFile` opens paths of the system |
//! | `alloc`, `memory`, `fork`, `replicator` | they look at the process, or at an edge of it |
#![allow(
    dead_code,
    unused_imports,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test code; every test program uses a part of it"
)]

pub(crate) mod fixture;
pub(crate) mod followed;
pub(crate) mod numbered;
pub(crate) mod place;
pub(crate) mod watched;

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use forebay::{
    Consumer, ConsumerOptions, Error, ErrorKind, FlushPolicy, IoMode, Log, LogOptions, NewRecord,
    Offset, OffsetSpec, Record, RecordBatch, SegmentFile, Timestamp, Visibility,
};
use tempfile::TempDir;

pub(crate) use place::{Ground, OpenIn, Place, grounds, ways};

/// Both ways of doing I/O: what holds for one holds for the other.
pub(crate) const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];

/// The environment variable that tells a child process of a test what to do.
pub(crate) const CHILD: &str = "FOREBAY_TEST_CHILD";

/// Whether every case is run: in optimised builds, or where `FOREBAY_EVERY_CASE` is set. Otherwise
/// a part of them, spread evenly.
pub(crate) fn every_case() -> bool {
    !cfg!(debug_assertions) || std::env::var_os("FOREBAY_EVERY_CASE").is_some()
}

/// Every case, or one of `thin`.
pub(crate) fn step(thin: usize) -> usize {
    if every_case() { 1 } else { thin }
}

/// A scratch directory, in memory where the system offers that.
pub(crate) fn scratch() -> TempDir {
    let builder = tempfile::Builder::new();
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap()
}

/// Options of one mode that flush only when told to.
pub(crate) fn manual(mode: IoMode) -> LogOptions {
    Log::options().io_mode(mode).flush(FlushPolicy::Manual)
}

/// A record that owns its bytes: what went in, or what came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) offset: i64,
    pub(crate) timestamp: i64,
    pub(crate) key: Option<Vec<u8>>,
    pub(crate) value: Option<Vec<u8>>,
    pub(crate) headers: Vec<(String, Option<Vec<u8>>)>,
}

impl Owned {
    pub(crate) fn value(value: impl Into<Vec<u8>>) -> Owned {
        Owned { value: Some(value.into()), ..Owned::default() }
    }

    pub(crate) fn of(record: &Record<'_>) -> Owned {
        let headers = record.headers();
        Owned {
            offset: record.offset().get(),
            timestamp: record.timestamp().millis(),
            key: record.key().map(<[u8]>::to_vec),
            value: (!record.is_tombstone()).then(|| record.value().to_vec()),
            headers: headers.map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect(),
        }
    }

    pub(crate) fn to_new(&self) -> NewRecord<'_> {
        let mut record = match (&self.value, &self.key) {
            (Some(value), None) => NewRecord::new(value),
            (Some(value), Some(key)) => NewRecord::new(value).key(key),
            (None, Some(key)) => NewRecord::tombstone(key),
            (None, None) => NewRecord::default(),
        };
        for (name, value) in &self.headers {
            record = match value {
                Some(value) => record.header(name.as_str(), value),
                None => record.header_without_value(name.as_str()),
            };
        }
        record.timestamp(Timestamp::from_millis(self.timestamp))
    }
}

/// The records of a batch from the reader's position on; an error in them fails the test.
pub(crate) fn records(batch: &RecordBatch) -> Vec<Owned> {
    batch.records().map(|record| Owned::of(&record.unwrap())).collect()
}

/// The values of a batch's records as text.
pub(crate) fn texts(batch: &RecordBatch) -> Vec<String> {
    records(batch).iter().map(|r| String::from_utf8(r.value.clone().unwrap()).unwrap()).collect()
}

/// Everything a log holds; any error fails the test.
pub(crate) fn read_all(log: &Log) -> Vec<Owned> {
    let reader = log.reader(OffsetSpec::Earliest).unwrap();
    reader.flat_map(|batch| records(&batch.unwrap())).collect()
}

/// The values of everything a log holds, as text.
pub(crate) fn all_texts(log: &Log) -> Vec<String> {
    let reader = log.reader(OffsetSpec::Earliest).unwrap();
    reader.flat_map(|batch| texts(&batch.unwrap())).collect()
}

/// What reading a log that may be damaged gave.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub(crate) records: Vec<Owned>,
    pub(crate) lost: Vec<Range<i64>>,
    pub(crate) errors: Vec<Error>,
}

/// Reads a log from `from` on through its damage; bounded, so that no damage reads for ever.
pub(crate) fn read_through(log: &Log, from: OffsetSpec) -> Found {
    let mut found = Found::default();
    let mut reader = log.reader(from).unwrap();
    for step in 0.. {
        assert!(step < 10_000, "the reader does not end: {:?}", found.errors.last());
        match reader.next() {
            None => return found,
            Some(Ok(batch)) => {
                for record in batch.records() {
                    match record {
                        Ok(record) => found.records.push(Owned::of(&record)),
                        Err(error) => found.errors.push(error),
                    }
                }
            }
            Some(Err(error)) => {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
                let lost = error.lost_offsets();
                found.lost.extend(lost.map(|lost| lost.start.get()..lost.end.get()));
                found.errors.push(error);
            }
        }
    }
    unreachable!("the loop above ends by return")
}

/// Copies the files of a directory; special files are not followed.
pub(crate) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

/// The files of a directory by name, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

/// The segment files of a log, oldest first.
pub(crate) fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut files = files(dir);
    files.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    files
}

/// The base offset and place of every whole batch of a segment file.
pub(crate) fn batches_of(path: &Path) -> Vec<(Range<i64>, Range<usize>)> {
    let segment = SegmentFile::open(path).unwrap();
    let batches = segment.map(|item| {
        let (position, batch) = item.unwrap();
        let position = usize::try_from(position).unwrap();
        let offsets = batch.base_offset().get()..batch.next_offset().get();
        (offsets, position..position + batch.as_bytes().len())
    });
    batches.collect()
}

/// The kind of a result's error; a success fails the test.
#[track_caller]
pub(crate) fn kind<T>(result: Result<T, Error>) -> ErrorKind {
    match result {
        Ok(_) => panic!("this must be refused"),
        Err(error) => {
            let text = error.to_string();
            assert!(!text.contains('\n') && text.len() > 20, "says too little: {text:?}");
            error.kind()
        }
    }
}

/// This test program again, to run only `test` of `module` (`module_path!()`), in the role `role`,
/// on `dir`.
pub(crate) fn child(module: &str, test: &str, role: &str, dir: &Path) -> Command {
    // The harness does not count the crate to a test's name.
    let inside = module.split_once("::").map(|(_, inside)| format!("{inside}::"));
    let test = format!("{}{test}", inside.unwrap_or_default());
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&test, "--exact", "--nocapture", "--test-threads=1"]);
    command.env(CHILD, role).env("FOREBAY_TEST_DIR", dir);
    command
}

/// The child ran its test, and the test passed: one that the harness did not find passes too.
#[track_caller]
pub(crate) fn assert_did(output: &Output) {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", said(&output.stderr));
    assert!(said(&output.stdout).contains(" 1 passed;"), "{}", said(&output.stdout));
}

/// Whether this process has no other test to run, so that what it holds is this one's. If not, runs
/// it in one that has none, and fails as it fails there.
#[track_caller]
pub(crate) fn is_alone(module: &str, test: &str) -> bool {
    if child_role().is_some() {
        return true;
    }
    assert_did(&child(module, test, "alone", Path::new("")).output().unwrap());
    false
}

/// The role and directory of this process if it is a child of a test.
pub(crate) fn child_role() -> Option<(String, PathBuf)> {
    let role = std::env::var(CHILD).ok()?;
    Some((role, PathBuf::from(std::env::var_os("FOREBAY_TEST_DIR")?)))
}

pub(crate) fn at(offset: i64) -> OffsetSpec {
    OffsetSpec::At(Offset::new(offset))
}

/// Options of a consumer that sees durable records only.
pub(crate) fn durable() -> ConsumerOptions {
    ConsumerOptions::new().visibility(Visibility::Durable)
}

/// A log of ten records "0" to "9", one batch each.
pub(crate) fn ten(mode: IoMode, dir: &Path) -> Log {
    ten_in(mode, &Place::at(dir))
}

/// The same at a place.
pub(crate) fn ten_in(mode: IoMode, place: &Place) -> Log {
    let log = manual(mode).open_in(place).unwrap();
    for n in 0..10 {
        log.append(format!("{n}")).unwrap();
    }
    log
}

/// The values of the next batch that is there now.
pub(crate) fn poll_text(consumer: &mut Consumer) -> Option<Vec<String>> {
    consumer.poll(Duration::ZERO).unwrap().map(|batch| texts(&batch))
}

/// The built example, beside the directory this test was built into. `cargo test` builds it too,
/// `cargo test --test NAME` does not.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let file = format!("{name}{}", std::env::consts::EXE_SUFFIX);
    let path = test.parent().unwrap().parent().unwrap().join("examples").join(file);
    assert!(path.exists(), "{} is missing: cargo build --examples --all-features", path.display());
    path
}
