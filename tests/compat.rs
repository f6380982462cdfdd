//! Stored logs of every format version: each opens as it did when it was written, and holds every
//! record it held then, with each way of I/O, each reader, and on whatever machine.
//!
//! `tests/compat/data/v1` was written once, by `write_the_stored_logs`; what is stored is never
//! written again. A change of the format adds a directory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod util;

#[path = "compat/history.rs"]
mod history;

use std::fs;
use std::path::{Path, PathBuf};

use forebay::{
    ErrorKind, IoMode, Log, LogOptions, Media, OffsetSpec, ReadOnlyLog, SegmentFile, Timestamp,
    Visibility,
};
use serde_json::{Value, json};
use util::{
    MODES, Owned, at, child_role, copy_dir, kind, manual, read_all, records, scratch, segments,
};

/// CRC-32 of the listing, which holds those of all other files.
const LISTING_V1: u32 = 0x0ddf_418d;

/// What an open says of the machine it runs on, and of how it went about its work: not of the log.
const OF_THE_MACHINE: [&str; 9] = [
    "io_mode",
    "io_mode_reason",
    "media",
    "media_reason",
    "cache_kept",
    "segments_scanned",
    "indexes_rebuilt",
    "segments_rewritten",
    "rewriting_in_place",
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/compat/data/v1")
}

fn listing() -> Value {
    serde_json::from_slice(&fs::read(data().join("listing.json")).unwrap()).unwrap()
}

/// The stored logs by name, with what the listing says of each.
fn stored() -> Vec<(String, Value)> {
    let Value::Object(logs) = listing() else { panic!("an object of logs") };
    assert_eq!(logs.keys().collect::<Vec<_>>(), ["closed", "killed", "torn"]);
    logs.into_iter().collect()
}

/// The options a stored log is opened with. Which media it lies on is said, so that all machines do
/// the same.
fn options(name: &str, mode: IoMode) -> LogOptions {
    let options = manual(mode).segment_bytes(4096).index_interval_bytes(400);
    match name {
        "torn" => options.media(Media::TornOverwrite).torn_bytes(512),
        _ => options.media(Media::PowerSafe),
    }
}

/// A copy of a stored log, to be opened.
fn copy(name: &str) -> (tempfile::TempDir, PathBuf) {
    copy_of(&data().join(name))
}

fn copy_of(stored: &Path) -> (tempfile::TempDir, PathBuf) {
    let tmp = scratch();
    let dir = tmp.path().join("log");
    copy_dir(stored, &dir);
    (tmp, dir)
}

/// Bytes as JSON: text where they are text.
fn bytes(bytes: Option<&[u8]>) -> Value {
    let Some(bytes) = bytes else { return Value::Null };
    match std::str::from_utf8(bytes) {
        Ok(text) => json!(text),
        Err(_) => json!({ "bytes": bytes }),
    }
}

fn record(record: &Owned) -> Value {
    let headers = record.headers.iter().map(|(name, value)| json!([name, bytes(value.as_deref())]));
    json!([
        record.offset,
        record.timestamp,
        bytes(record.key.as_deref()),
        bytes(record.value.as_deref()),
        headers.collect::<Vec<_>>(),
    ])
}

fn files(dir: &Path) -> Value {
    let files = util::files(dir).into_iter().map(|path| {
        let bytes = fs::read(&path).unwrap();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, json!([bytes.len(), format!("{:08x}", crc32fast::hash(&bytes))]))
    });
    Value::Object(files.collect())
}

/// What lies in a log's segment files, opened or not.
fn batches(dir: &Path) -> Value {
    let files = segments(dir).into_iter().map(|path| {
        let batches = SegmentFile::open(&path).unwrap().filter_map(Result::ok);
        let batches = batches.map(|(position, batch)| {
            let offsets = (batch.base_offset(), batch.next_offset(), batch.len());
            json!([position, offsets, batch.max_timestamp().millis()])
        });
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, Value::Array(batches.collect()))
    });
    Value::Object(files.collect())
}

/// Everything a log says of itself when it is opened.
fn describe(log: &Log) -> Value {
    let mut opening = serde_json::to_value(log.recovery()).unwrap();
    OF_THE_MACHINE.iter().for_each(|name| drop(opening.as_object_mut().unwrap().remove(*name)));
    let consumers = log.consumers().into_iter().map(|consumer| {
        json!([consumer.name, format!("{:?}", consumer.visibility), consumer.committed])
    });
    json!({
        "id": log.id().to_string(),
        "opening": opening,
        "offsets": [log.log_start_offset(), log.durable_offset(), log.log_end_offset()],
        "consumers": consumers.collect::<Vec<_>>(),
        "verified": log.verify().unwrap(),
        "records": read_all(log).iter().map(record).collect::<Vec<_>>(),
    })
}

/// Compares what is found with what the listing says, which may say less.
fn assert_holds(expected: &Value, found: &Value, what: &str) {
    match (expected, found) {
        (Value::Object(all), Value::Object(_)) => {
            for (key, expected) in all {
                assert_holds(expected, &found[key], &format!("{what}: {key}"));
            }
        }
        _ => assert!(expected == found, "{what} is\n{found}\nand was\n{expected}"),
    }
}

/// As a child that is asked to (`FOREBAY_TEST_CHILD=store`), writes the stored logs and their
/// listing into a new directory, `FOREBAY_TEST_DIR`.
#[test]
fn write_the_stored_logs() {
    let Some((role, to)) = child_role() else { return };
    assert_eq!(role, "store");
    assert!(!to.exists(), "what is stored is never written again: a new version has a new place");
    let mut listing = serde_json::Map::new();
    for (name, truth) in [
        ("closed", history::write_closed(&to.join("closed"))),
        ("killed", history::write_killed(&to.join("killed"))),
        ("torn", history::write_torn(&to.join("torn"))),
    ] {
        let (_tmp, dir) = copy_of(&to.join(name));
        let (files, batches) = (files(&dir), batches(&dir));
        let log = options(name, IoMode::Positioned).open(&dir).unwrap();
        assert_eq!(read_all(&log), truth, "{name} holds what was appended");
        let mut all = describe(&log);
        let more = all.as_object_mut().unwrap();
        more.extend([("files".to_owned(), files), ("batches".to_owned(), batches)]);
        listing.insert(name.to_owned(), all);
    }
    let text = serde_json::to_string(&listing).unwrap().replace("],[", "],\n[");
    fs::write(to.join("listing.json"), text + "\n").unwrap();
}

/// Nobody changes what is stored, not even its line ends.
#[test]
fn what_is_stored_is_as_it_was_written() {
    let listing = fs::read(data().join("listing.json")).unwrap();
    assert_eq!(format!("{:08x}", crc32fast::hash(&listing)), format!("{LISTING_V1:08x}"));
    let mut total = listing.len() as u64;
    for (name, expected) in stored() {
        let found = files(&data().join(&name));
        assert_eq!(found, expected["files"], "{name}");
        let lengths = util::files(&data().join(&name)).into_iter();
        total += lengths.map(|path| fs::metadata(path).unwrap().len()).sum::<u64>();
        assert!(segments(&data().join(&name)).len() >= 2, "{name} has several segments");
    }
    assert!(total < 300 << 10, "{total}");
}

/// What the stored logs are there for is in them.
#[test]
fn the_stored_logs_hold_every_part_of_the_format() {
    let logs: serde_json::Map<_, _> = stored().into_iter().collect();
    let number = |name: &str, field: &str| logs[name]["opening"][field].as_u64().unwrap();
    assert_eq!(logs["closed"]["opening"]["clean"], true);
    for name in ["killed", "torn"] {
        assert_eq!(logs[name]["opening"]["clean"], false, "{name}");
        let offsets = logs[name]["offsets"].as_array().unwrap();
        assert_ne!(offsets[0], offsets[2], "{name}");
    }
    let offsets = |name: &str| -> Vec<i64> {
        let all = logs[name]["offsets"].as_array().unwrap().iter();
        all.map(|offset| offset.as_i64().unwrap()).collect()
    };
    assert!(offsets("killed")[1] < offsets("killed")[2], "a tail above the recovery point");
    assert!(offsets("killed")[0] > 0 && offsets("closed")[0] > 0, "a log start above 0");
    assert_eq!(number("torn", "ends_restored"), 1, "from the copy in the checkpoint");
    assert!(number("torn", "bytes_cut") > 0);
    for name in ["closed", "killed", "torn"] {
        assert!(logs[name]["verified"]["gaps"].as_u64().unwrap() > 0, "{name} has a gap");
        let files = logs[name]["files"].as_object().unwrap();
        let aside = files.keys().any(|file| file.ends_with(".aside"));
        assert_eq!(aside, name != "torn", "{name}");
        assert!(files.keys().any(|file| file.ends_with(".timeindex")), "{name}");
        let entries = files.iter().filter(|(file, _)| file.ends_with(".index"));
        assert!(entries.filter(|(_, file)| file[0].as_u64().unwrap() > 8).count() > 0, "{name}");
        assert!(files.contains_key("log.meta") && files.contains_key("checkpoint"), "{name}");
        for visibility in ["Written", "Durable"] {
            let consumers = logs[name]["consumers"].as_array().unwrap();
            assert!(consumers.iter().any(|consumer| consumer[1] == visibility), "{name}");
        }
    }
}

/// Both ways of I/O: the report, offsets, consumers, every record, and what verifying says.
#[test]
fn stored_logs_open_as_they_did_when_they_were_written() {
    for (name, expected) in stored() {
        for mode in MODES {
            let (_tmp, dir) = copy(&name);
            assert_holds(&expected["batches"], &batches(&dir), &format!("{name}: segment files"));
            let log = options(&name, mode).open(&dir).unwrap();
            assert_holds(
                &without(&expected, &["files", "batches"]),
                &describe(&log),
                &format!("{name}, {mode:?}"),
            );
            check_reading(&log, &name);
            // I12: an open that is followed by nothing changes nothing.
            let before = without(&describe(&log), &["opening", "consumers"]);
            drop(log);
            let again = options(&name, mode).open(&dir).unwrap();
            assert!(again.recovery().clean, "{name}");
            let after = without(&describe(&again), &["opening", "consumers"]);
            let durable = &after["offsets"][2];
            assert_eq!(after["offsets"][1], *durable, "closed: all of it is durable");
            assert_holds(&without(&before, &["offsets"]), &after, &name);
        }
    }
}

fn without(value: &Value, keys: &[&str]) -> Value {
    let mut value = value.clone();
    keys.iter().for_each(|key| drop(value.as_object_mut().unwrap().remove(*key)));
    value
}

/// From every offset and every time: what is found by the stored indexes.
fn check_reading(log: &Log, name: &str) {
    let all = read_all(log);
    for (n, expected) in all.iter().enumerate() {
        let mut reader = log.reader(at(expected.offset)).unwrap();
        assert_eq!(records(&reader.next().unwrap().unwrap())[0], *expected, "{name}");
        let time = OffsetSpec::Timestamp(Timestamp::from_millis(expected.timestamp));
        let found = log.reader(time).unwrap().next().unwrap().unwrap();
        let first = all.iter().position(|record| record.timestamp >= expected.timestamp).unwrap();
        assert!(first <= n);
        assert_eq!(records(&found)[0], all[first], "{name}: by the time of {}", expected.offset);
    }
}

/// A log goes on where it ended, whatever version wrote it, and what is written now is behind it.
#[test]
fn stored_logs_go_on_where_they_ended() {
    for (name, expected) in stored() {
        for mode in MODES {
            let (tmp, dir) = copy(&name);
            let log = options(&name, mode).open(&dir).unwrap();
            let mut all = read_all(&log);
            let end = log.log_end_offset();
            assert_eq!(end.get(), expected["offsets"][2].as_i64().unwrap());
            if name == "torn" {
                assert_eq!(kind(log.append("x")), ErrorKind::InvalidArgument, "a mirror");
            } else {
                for n in 0..40 {
                    let new = Owned { offset: end.get() + n, ..history::record(n) };
                    log.append(new.to_new()).unwrap();
                    all.push(new);
                }
            }
            let mut display = log.consumer("display").unwrap();
            let committed = expected["consumers"].as_array().unwrap();
            let committed = committed.iter().find(|consumer| consumer[0] == "display").unwrap();
            assert_eq!(display.committed().get(), committed[2].as_i64().unwrap(), "{name}");
            display.commit_offset(log.log_end_offset()).unwrap();
            log.flush().unwrap();
            assert_eq!(read_all(&log), all);
            log.snapshot(tmp.path().join("copy")).unwrap();
            let exported = log.export(tmp.path().join("export")).unwrap();
            assert_eq!(exported.log_end_offset, log.log_end_offset());
            drop(display);
            log.close().unwrap();
            for dir in [dir, tmp.path().join("copy")] {
                let log = options(&name, mode).open(&dir).unwrap();
                assert!(log.recovery().clean && log.verify().unwrap().is_whole(), "{name}");
                assert_eq!(read_all(&log), all, "{dir:?}");
                assert_eq!(log.consumer("display").unwrap().lag(), 0);
            }
        }
    }
}

/// Reading without opening for writing changes no byte; a torn end is nothing yet.
#[test]
fn stored_logs_are_read_without_a_lock() {
    for (name, expected) in stored() {
        for mode in [IoMode::Auto, IoMode::Positioned] {
            let (_tmp, dir) = copy(&name);
            let log = ReadOnlyLog::options().io_mode(mode).open(&dir).unwrap();
            assert_eq!(log.id().unwrap().to_string(), expected["id"].as_str().unwrap());
            assert_eq!(log.log_start_offset().get(), expected["offsets"][0].as_i64().unwrap());
            let read = |visibility| -> Vec<Value> {
                let reader = log.reader(OffsetSpec::Earliest).unwrap().visibility(visibility);
                let whole = reader.map_while(|batch| match (batch, name.as_str()) {
                    // An open for writing has not restored its end yet.
                    (Err(error), "torn") if error.kind() == ErrorKind::Corrupt => None,
                    (batch, _) => Some(records(&batch.unwrap())),
                });
                whole.flatten().map(|found| record(&found)).collect()
            };
            let all = expected["records"].as_array().unwrap();
            let (written, durable) = (read(Visibility::Written), read(Visibility::Durable));
            assert_eq!(durable[..], all[..durable.len()], "{name}");
            assert_eq!(written[..], all[..written.len()], "{name}");
            assert!(written.len() >= durable.len() && durable.len() > 20, "{name}");
            if name != "torn" {
                assert_eq!(written.len(), all.len(), "{name}");
                assert_eq!(log.durable_offset().get(), expected["offsets"][1].as_i64().unwrap());
                assert_eq!(log.log_end_offset().get(), expected["offsets"][2].as_i64().unwrap());
            }
            assert_eq!(files(&dir), expected["files"], "{name}: nothing was changed");
        }
    }
}

/// Without the checkpoint, without `log.meta`, without an index: what remains is enough for every
/// record, and the report says what was missing.
#[test]
fn stored_logs_survive_the_loss_of_any_small_file() {
    for (name, expected) in stored() {
        // The copy that restores the torn end is in its checkpoint.
        let names = expected["files"].as_object().unwrap().keys();
        let names = names.filter(|file| !file.ends_with(".log"));
        for lost in names.filter(|file| name != "torn" || *file != "checkpoint") {
            let (_tmp, dir) = copy(&name);
            fs::remove_file(dir.join(lost)).unwrap();
            let log = options(&name, IoMode::Mapped).open(&dir).unwrap();
            let report = log.recovery();
            assert_eq!(report.checkpoint_lost, lost == "checkpoint", "{name}: {lost}");
            assert_eq!(report.meta_rebuilt, lost == "log.meta", "{name}: {lost}");
            assert_eq!(log.id().to_string(), expected["id"].as_str().unwrap());
            let mut found: Vec<_> = read_all(&log).iter().map(record).collect();
            if lost == "checkpoint" {
                // It knew where the log starts inside the first segment.
                let start = expected["offsets"][0].as_i64().unwrap();
                found.retain(|record| record[0].as_i64().unwrap() >= start);
            }
            assert_eq!(Value::Array(found), expected["records"], "{name}: {lost}");
        }
    }
}
