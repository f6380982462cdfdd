//! The report of an open, held against accidents that were prepared: every number is what really
//! happened, and nothing else is reported (I7, I13, I17, I20).

use std::sync::{Arc, Mutex};

use forebay::simulation::{CallKind, Disk, Ignored, Keep, Profile, Torn};
use forebay::{FlushPolicy, IoMode, Log, LogOptions, Offset, RecoveryReport};
use serde_json::{Value, json};

use crate::recovery::{DIR, read};

const MODES: [IoMode; 2] = [IoMode::Mapped, IoMode::Positioned];
const POSITIONED: IoMode = IoMode::Positioned;

fn options(mode: IoMode) -> LogOptions {
    let options = Log::options().segment_bytes(4096).max_batch_bytes(4096).io_mode(mode);
    options.flush(FlushPolicy::Manual)
}

fn open(disk: &Disk, mode: IoMode) -> Log {
    options(mode).open_on(disk, DIR).unwrap()
}

/// Appends records up to an offset, one a batch and all of one length; four fill a segment.
fn append_to(log: &Log, end: i64) {
    for offset in log.log_end_offset().get()..end {
        let value = format!("{offset:04} {}", "v".repeat(900));
        assert_eq!(log.append(value).unwrap().get(), offset);
    }
}

/// A machine with a log whose segments begin at 0, 4, 8 and so on; `durable` and `end` are its own.
fn machine(mode: IoMode, durable: i64, end: i64) -> (Disk, Log) {
    let disk = Disk::new(Profile::default());
    let log = open(&disk, mode);
    append_to(&log, durable);
    log.flush().unwrap();
    append_to(&log, end);
    (disk, log)
}

fn closed(mode: IoMode, end: i64) -> Disk {
    let (disk, log) = machine(mode, 0, end);
    log.close().unwrap();
    disk
}

fn path(name: &str) -> String {
    format!("{DIR}/{name}")
}

fn segment(base: i64) -> String {
    path(&format!("{base:020}.log"))
}

/// Opens, and compares the whole report: what is not in `changes` is nothing, none and no.
#[track_caller]
fn reports(disk: &Disk, mode: IoMode, changes: &Value) -> Log {
    reports_with(disk, options(mode), changes)
}

#[track_caller]
fn reports_with(disk: &Disk, options: LogOptions, changes: &Value) -> Log {
    let log = options.open_on(disk, DIR).unwrap();
    let found = serde_json::to_value(log.recovery()).unwrap();
    let mut wanted = serde_json::to_value(RecoveryReport::default()).unwrap();
    for name in ["io_mode", "io_mode_reason", "media", "media_reason"] {
        assert!(found[name].as_str().is_some_and(|text| !text.is_empty()), "{name}: {found}");
        wanted[name] = found[name].clone();
    }
    for (name, change) in changes.as_object().unwrap() {
        assert!(wanted.get(name).is_some(), "no such number: {name}");
        wanted[name] = change.clone();
    }
    assert_eq!(found, wanted);
    assert_eq!(serde_json::to_value(&log.stats().recovery).unwrap(), found);
    log
}

/// What one record's batch takes.
fn record_bytes(disk: &Disk) -> i32 {
    let bytes = disk.read_file(segment(0)).unwrap();
    12 + i32::from_be_bytes(bytes[8..12].try_into().unwrap())
}

fn offsets(log: &Log) -> Vec<i64> {
    read(log).unwrap().into_iter().map(|(offset, _)| offset).collect()
}

/// Flips one bit of a record's value.
fn rot(disk: &Disk, offset: i64) {
    let name = segment(offset / 4 * 4);
    let mut bytes = disk.read_file(&name).unwrap();
    let text = format!("{offset:04} vvvv").into_bytes();
    let at = bytes.windows(text.len()).position(|window| window == text).unwrap();
    bytes[at + 100] ^= 1;
    disk.write_file(&name, &bytes);
}

#[test]
fn nothing_happened() {
    for mode in MODES {
        let disk = Disk::new(Profile::default());
        let log = reports(&disk, mode, &json!({ "created": true }));
        append_to(&log, 10);
        log.close().unwrap();
        for _ in 0..2 {
            let log = reports(&disk, mode, &json!({ "clean": true }));
            assert_eq!(offsets(&log).len(), 10);
            log.close().unwrap();
        }
    }
}

/// Of a killed process nothing is lost, and one segment is read; of a power cut that took nothing,
/// those from the recovery point on are: it was synced at the flush that sealed a segment.
#[test]
fn the_process_died_or_the_power_went_and_nothing_is_lost() {
    for mode in MODES {
        let (disk, _log) = machine(mode, 6, 18);
        let killed = json!({ "cache_kept": true, "segments_scanned": 1, "indexes_rebuilt": 1 });
        assert_eq!(offsets(&reports(&disk.kill(), mode, &killed)).len(), 18);
        let cut = json!({ "segments_scanned": 4, "indexes_rebuilt": 4 });
        assert_eq!(offsets(&reports(&disk.power_cut(Keep::All), mode, &cut)).len(), 18);
    }
}

/// What was above the durable offset is gone, and was never on the device: nothing was cut.
#[test]
fn the_power_went_and_took_the_tail() {
    for mode in MODES {
        let (disk, _log) = machine(mode, 6, 7);
        let cut = json!({ "segments_scanned": 1, "indexes_rebuilt": 1 });
        assert_eq!(offsets(&reports(&disk.power_cut(Keep::None), mode, &cut)).len(), 6);
    }
}

/// A torn record with whole ones behind it, in its segment and in two more. Zeros at a file's end
/// do not count: a record without headers ends with one.
#[test]
fn the_tail_is_torn() {
    for mode in MODES {
        let (disk, _log) = machine(mode, 6, 15);
        let boot = disk.power_cut(Keep::All);
        rot(&boot, 7);
        let torn = json!({
            "segments_scanned": 1,
            "indexes_rebuilt": 1,
            "bytes_cut": 8 * record_bytes(&boot) - 3,
            "records_cut": 7,
            "segments_set_aside": 2,
        });
        let log = reports(&boot, mode, &torn);
        assert_eq!(offsets(&log), (0..7).collect::<Vec<_>>());
    }
}

/// Two batches below the recovery point rotted: each is a range of its own, and nothing is cut. One
/// is its segment's first, so that the segment before it has to say where that stands.
#[test]
fn durable_records_rotted() {
    for mode in MODES {
        let (disk, log) = machine(mode, 7, 7);
        let consumer = log.consumer("c").unwrap();
        consumer.sync().unwrap();
        let boot = disk.power_cut(Keep::All);
        rot(&boot, 4);
        rot(&boot, 6);
        let rotten = json!({
            "segments_scanned": 2,
            "indexes_rebuilt": 2,
            "damaged": [{ "start": 4, "end": 5 }, { "start": 6, "end": 7 }],
            "damaged_ranges": 2,
        });
        let log = reports(&boot, mode, &rotten);
        assert_eq!(log.log_end_offset().get(), 7);
        assert_eq!(log.append("behind").unwrap().get(), 7);
    }
}

/// A device that lied about its syncs: what was durable is gone, its offsets are not used again.
#[test]
fn a_lying_device_lost_durable_records() {
    let disk = Disk::new(Profile::default());
    let log = open(&disk, POSITIONED);
    append_to(&log, 5);
    log.flush().unwrap();
    disk.ignore_syncs(Ignored::Segments, true);
    append_to(&log, 7);
    assert_eq!(log.flush().unwrap().get(), 7);
    log.consumer("c").unwrap().sync().unwrap();
    let lost = json!({
        "segments_scanned": 1,
        "indexes_rebuilt": 1,
        "lost": { "start": 5, "end": 7 },
    });
    let boot = disk.power_cut(Keep::None);
    let log = reports(&boot, POSITIONED, &lost);
    assert_eq!(offsets(&log), [0, 1, 2, 3, 4]);
    assert_eq!(log.append("behind").unwrap().get(), 7);
}

/// I7: a consumer of written records had committed what the power cut took.
#[test]
fn a_consumer_was_ahead_of_what_survived() {
    for mode in MODES {
        let (disk, log) = machine(mode, 6, 7);
        for (name, to) in [("ahead", 7), ("behind", 3)] {
            let mut consumer = log.consumer(name).unwrap();
            consumer.commit_offset(Offset::new(to)).unwrap();
            consumer.sync().unwrap();
        }
        let moved = json!({
            "segments_scanned": 1,
            "indexes_rebuilt": 1,
            "consumers_moved_back": [{ "name": "ahead", "from": 7, "to": 6 }],
        });
        let log = reports(&disk.power_cut(Keep::None), mode, &moved);
        assert_eq!(log.consumer("ahead").unwrap().committed().get(), 6);
        assert_eq!(log.consumer("behind").unwrap().committed().get(), 3);
    }
}

/// One slot of the checkpoint, not the newest, then all of it, then the file.
#[test]
fn the_checkpoint_was_damaged() {
    for mode in MODES {
        let disk = closed(mode, 6);
        let whole = disk.read_file(path("checkpoint")).unwrap();
        let slots: Vec<usize> = (0..whole.len()).step_by(4096).collect();
        let number = |at: usize| u64::from_be_bytes(whole[at + 12..at + 20].try_into().unwrap());
        let written = slots.iter().copied().filter(|at| whole[*at..].starts_with(b"FBCK"));
        let oldest = written.min_by_key(|at| number(*at)).unwrap();
        let mut bytes = whole.clone();
        bytes[oldest + 30] ^= 1;
        let one = disk.kill();
        one.write_file(path("checkpoint"), &bytes);
        let log = reports(&one, mode, &json!({ "clean": true, "checkpoint_slots_damaged": 1 }));
        assert_eq!(offsets(&log).len(), 6);

        let all = disk.kill();
        all.write_file(path("checkpoint"), &vec![0xff; whole.len()]);
        let lost = json!({
            "segments_scanned": 2,
            "indexes_rebuilt": 2,
            "checkpoint_lost": true,
            "checkpoint_slots_damaged": slots.len(),
        });
        assert_eq!(offsets(&reports(&all, mode, &lost)).len(), 6);

        let none = disk.kill();
        none.remove_file(path("checkpoint"));
        let lost = json!({ "segments_scanned": 2, "indexes_rebuilt": 2, "checkpoint_lost": true });
        let log = reports(&none, mode, &lost);
        assert_eq!(offsets(&log).len(), 6);
        log.close().unwrap();
        reports(&none, mode, &json!({ "clean": true })).close().unwrap();
    }
}

/// `log.meta`, and then the checkpoint with it: whose log it is is nowhere any more.
#[test]
fn the_identity_was_lost() {
    for mode in MODES {
        let disk = closed(mode, 6);
        disk.remove_file(path("log.meta"));
        let rebuilt = json!({ "clean": true, "meta_rebuilt": true });
        reports(&disk, mode, &rebuilt).close().unwrap();
        reports(&disk, mode, &json!({ "clean": true })).close().unwrap();
        disk.remove_file(path("log.meta"));
        disk.remove_file(path("checkpoint"));
        let lost = json!({
            "segments_scanned": 2,
            "indexes_rebuilt": 2,
            "checkpoint_lost": true,
            "seal_lost": true,
        });
        let log = reports(&disk, mode, &lost);
        assert_eq!(offsets(&log).len(), 6);
    }
}

/// Names that are not the log's are listed, and left alone; what a crash left half made is neither.
#[test]
fn strangers_lie_in_the_directory() {
    for mode in MODES {
        let disk = closed(mode, 6);
        disk.write_file(path("notes.txt"), b"mine");
        disk.write_file(path("00000000000000000004.log.bak"), b"a copy");
        disk.write_file(path("00000000000000000009.log.new"), b"half");
        disk.write_file(path("log.meta.new"), b"half");
        let strange = ["00000000000000000004.log.bak", "notes.txt"];
        let found = json!({ "clean": true, "foreign_files": strange });
        reports(&disk, mode, &found).close().unwrap();
        let names = disk.file_names(DIR);
        assert!(strange.iter().all(|name| names.iter().any(|have| have == name)));
        assert!(names.iter().all(|name| !name.ends_with(".new")), "{names:?}");
        for n in 0..100 {
            disk.write_file(path(&format!("n{n}")), b"");
        }
        assert_eq!(open(&disk, mode).recovery().foreign_files.len(), 64, "lists are bounded");
    }
}

/// An index of the last segment is made anew; it is then no close that spares the reading.
#[test]
fn an_index_was_deleted() {
    for mode in MODES {
        for kind in ["index", "timeindex"] {
            let disk = closed(mode, 11);
            disk.remove_file(path(&format!("{:020}.{kind}", 8)));
            let rebuilt =
                json!({ "cache_kept": true, "segments_scanned": 1, "indexes_rebuilt": 1 });
            let log = reports(&disk, mode, &rebuilt);
            assert_eq!(offsets(&log).len(), 11);
            assert_eq!(log.durable_offset().get(), 11, "a close is durable");
        }
    }
}

/// The process died in a deletion, behind the new start: its segments are counted as they go.
#[test]
fn a_deletion_was_cut_short() {
    for mode in MODES {
        let (disk, log) = machine(mode, 18, 18);
        let ends: Arc<Mutex<Vec<Disk>>> = Arc::default();
        let into = ends.clone();
        disk.watch(move |disk, call| {
            if call.kind == CallKind::Unlink {
                into.lock().unwrap().push(disk.kill());
            }
        });
        log.delete_records(Offset::new(13)).unwrap();
        disk.unwatch();
        let ends = std::mem::take(&mut *ends.lock().unwrap());
        assert!(ends.len() >= 3);
        for end in ends {
            let names = end.file_names(DIR);
            let below = [0, 4, 8].map(|base| format!("{base:020}.log"));
            let left = below.iter().filter(|name| names.contains(name)).count();
            assert!(left > 0, "the segment itself goes last: {names:?}");
            let deleted = json!({
                "cache_kept": true,
                "segments_scanned": 1,
                "indexes_rebuilt": 1,
                "segments_deleted": left,
            });
            let log = reports(&end, mode, &deleted);
            assert_eq!(offsets(&log), (13..18).collect::<Vec<_>>());
            assert!(end.file_names(DIR).iter().all(|name| !below.contains(name)));
        }
    }
}

/// A card: segments from the recovery point on go into new files after a power cut, and in place
/// where there is no room.
#[test]
fn a_card_lost_its_power() {
    let torn = Torn::Overwrite { bytes: 4096 };
    let disk = Disk::new(Profile { torn, ..Profile::default() });
    let log = open(&disk, POSITIONED);
    append_to(&log, 6);
    log.flush().unwrap();
    append_to(&log, 15);
    let boot = disk.power_cut(Keep::All);
    let full = boot.kill();
    let rewritten = json!({
        "segments_scanned": 3,
        "indexes_rebuilt": 3,
        "segments_rewritten": 3,
    });
    let log = reports(&boot, POSITIONED, &rewritten);
    assert_eq!(offsets(&log).len(), 15);
    assert_eq!(log.durable_offset().get(), 15, "new files are synced");
    full.set_space(Some(0));
    let in_place = json!({
        "segments_scanned": 3,
        "indexes_rebuilt": 3,
        "rewriting_in_place": true,
    });
    let log = reports(&full, POSITIONED, &in_place);
    assert_eq!(offsets(&log).len(), 15);
    assert_eq!(log.flush().unwrap().get(), 15);
    let boot = full.power_cut(Keep::None);
    assert_eq!(offsets(&open(&boot, POSITIONED)).len(), 15);
}

/// Everything at once: each is told, and none hides another.
#[test]
fn accidents_come_together() {
    for mode in MODES {
        let (disk, log) = machine(mode, 9, 15);
        let mut consumer = log.consumer("ahead").unwrap();
        consumer.commit_offset(Offset::new(15)).unwrap();
        consumer.sync().unwrap();
        let boot = disk.power_cut(Keep::All);
        rot(&boot, 8);
        rot(&boot, 10);
        boot.remove_file(path("log.meta"));
        boot.write_file(path("core.1234"), b"");
        let all = json!({
            "segments_scanned": 2,
            "indexes_rebuilt": 2,
            "bytes_cut": 5 * record_bytes(&boot) - 2,
            "records_cut": 4,
            "segments_set_aside": 1,
            "damaged": [{ "start": 8, "end": 9 }],
            "damaged_ranges": 1,
            "consumers_moved_back": [{ "name": "ahead", "from": 15, "to": 10 }],
            "meta_rebuilt": true,
            "foreign_files": ["core.1234"],
        });
        assert_eq!(reports(&boot, mode, &all).log_end_offset().get(), 10);
    }
}
