//! Whom retention waits for: consumers that exist, and who is named when that leaves no room.

use std::mem::MaybeUninit;

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use super::calls::*;

const MODES: [u32; 2] = [FOREBAY_IO_MAPPED, FOREBAY_IO_POSITIONED];

fn held_by(dir: &std::path::Path, hold: u32, io_mode: u32) -> *mut forebay_log {
    let mut options = options();
    (options.segment_bytes, options.budget_bytes) = (64 << 10, 512 << 10);
    (options.hold, options.hold_consumers) = (hold, bytes("uplink"));
    (options.retention_bytes, options.io_mode) = (128 << 10, io_mode);
    given(|log| unsafe { forebay_log_open(path(dir), &raw const options, log) })
}

/// Appends records of 1 kB, and says what the first one refused was refused with.
fn fill(log: *mut forebay_log, count: usize) -> Option<(usize, String)> {
    let value = "x".repeat(1000);
    for at in 0..count {
        match unsafe { forebay_log_append(r(log), bytes(&value), None) } {
            FOREBAY_OK => {}
            status => {
                assert_eq!(status, FOREBAY_OUT_OF_SPACE, "{}", said());
                return Some((at, said()));
            }
        }
    }
    None
}

/// A name alone holds nothing, whatever is said of it; created, it holds from there on, and a log
/// that is full says for whom. What it commits makes room again.
#[test]
fn a_consumer_holds_from_when_it_is_created_and_is_named_when_the_log_is_full() {
    for (hold, io_mode) in
        [FOREBAY_HOLD_EACH, FOREBAY_HOLD_ANY].into_iter().flat_map(|hold| MODES.map(|m| (hold, m)))
    {
        let dir = tempfile::tempdir().unwrap();
        let log = held_by(dir.path(), hold, io_mode);
        assert_eq!(fill(log, 2000), None, "nobody holds, so all of it goes by its bytes");
        assert!(unsafe { forebay_log_start_offset(r(log)) } > 1000);

        let uplink = consumer(log, "uplink");
        let begins = unsafe { forebay_log_start_offset(r(log)) };
        let (_, told) = fill(log, 2000).expect("it has committed nothing, and the log is full");
        assert!(told.contains("\"uplink\""), "{told}");
        assert!(told.contains(&format!("from offset {begins} on")), "{told}");
        assert_eq!(unsafe { forebay_log_start_offset(r(log)) }, begins, "nothing was deleted");

        let end = unsafe { forebay_log_end_offset(r(log)) };
        ok(unsafe { forebay_consumer_commit_offset(h(uplink), end) });
        assert_eq!(fill(log, 100), None, "what it committed makes room");
        unsafe { forebay_consumer_free(h(uplink)) };
        close(log);
    }
}

/// Who holds nothing is not to blame for a log that is full.
#[test]
fn a_log_that_is_full_without_a_hold_names_no_consumer() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    (options.segment_bytes, options.budget_bytes) = (64 << 10, 512 << 10);
    let mut log = MaybeUninit::uninit();
    ok(unsafe { forebay_log_open(path(dir.path()), &raw const options, Some(&mut log)) });
    let log = unsafe { log.assume_init() };
    let idle = consumer(log, "display");
    let (_, told) = fill(log, 2000).expect("the budget is less");
    assert!(!told.contains("held") && !told.contains("display"), "{told}");
    unsafe { forebay_consumer_free(h(idle)) };
    close(log);
}

/// From C as well: of a key the newest record stays, and one without a key is refused.
#[test]
fn a_log_that_is_compacted_keeps_the_newest_of_each_key() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    (options.segment_bytes, options.max_batch_bytes) = (8192, 4096);
    (options.cleanup_policy, options.min_cleanable_dirty_percent) = (FOREBAY_CLEANUP_COMPACT, 1);
    let mut log = MaybeUninit::uninit();
    ok(unsafe { forebay_log_open(path(dir.path()), &raw const options, Some(&mut log)) });
    let log = unsafe { log.assume_init() };
    let keyless = unsafe { forebay_log_append(r(log), bytes("21.5 C"), None) };
    assert_eq!(keyless, FOREBAY_INVALID_ARGUMENT);
    assert!(said().contains("key"), "{}", said());
    let segments = || {
        let files = std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap());
        let sizes = files.filter(|file| file.path().extension().is_some_and(|end| end == "log"));
        sizes.map(|file| file.metadata().unwrap().len()).sum::<u64>()
    };
    for number in 0..500 {
        let (key, value) = (format!("door-{}", number % 5), format!("{number:0>200}"));
        let record = forebay_new_record {
            key: bytes(&key),
            value: bytes(&value),
            headers: std::ptr::null(),
            header_count: 0,
            timestamp_ms: 0,
            flags: 0,
            reserved_flags: 0,
            reserved: [0; 2],
        };
        ok(unsafe { forebay_log_append_record(r(log), Some(&record), None) });
    }
    ok(unsafe { forebay_log_apply_retention(r(log), None, 0) });
    assert!(segments() < 40_000, "{} bytes of 135,000 are left", segments());
    assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, 500);
    close(log);
}
