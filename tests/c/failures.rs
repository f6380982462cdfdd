//! What each function says of a log that is closed, full, damaged or overtaken.

use std::fs;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use crate::calls::*;

fn any<T>() -> Option<&'static mut MaybeUninit<T>> {
    Some(Box::leak(Box::new(MaybeUninit::uninit())))
}

fn small(dir: &Path, change: impl FnOnce(&mut forebay_options)) -> *mut forebay_log {
    let mut options = options();
    (options.segment_bytes, options.max_batch_bytes) = (8192, 4096);
    options.flush = FOREBAY_FLUSH_MANUAL;
    options.io_mode = FOREBAY_IO_POSITIONED;
    change(&mut options);
    given(|log| unsafe { forebay_log_open(path(dir), &raw const options, log) })
}

/// A store closes its logs for whoever has a handle of them.
#[test]
fn each_function_says_that_the_log_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let store = given(|store| unsafe {
        forebay_store_open(path(&dir.path().join("store")), ptr::null(), store)
    });
    let log =
        given(|log| unsafe { forebay_store_log(r(store), bytes("engine"), ptr::null(), log) });
    append(log, "1013 hPa");
    let (reader, consumer) = (reader(log), consumer(log, "display"));
    let other =
        given(|log| unsafe { forebay_store_log(r(store), bytes("engine"), ptr::null(), log) });
    close(other);
    let one = new_record(None, "late");
    let options = options();
    let to = dir.path().join("copy");
    let statuses = unsafe {
        [
            forebay_log_append(r(log), bytes("late"), None),
            forebay_log_append_record(r(log), Some(&one), None),
            forebay_log_append_batch(r(log), &raw const one, 1, None),
            forebay_log_append_batch_compressed(r(log), 0, &raw const one, 1, None),
            forebay_log_append_batch_at(r(log), 1, &raw const one, 1),
            forebay_log_flush(r(log), None),
            forebay_log_wait(r(log), 1, FOREBAY_WRITTEN, -1, any()),
            forebay_log_delete_records(r(log), 1, None),
            forebay_log_apply_retention(r(log), None, 0),
            forebay_log_set_options(r(log), &raw const options),
            forebay_log_snapshot(r(log), path(&to)),
            forebay_log_export(r(log), path(&to)),
            forebay_log_reader(r(log), 0, 0, any()),
            forebay_log_consumer(r(log), bytes("new"), ptr::null(), any()),
            forebay_log_delete_consumer(r(log), bytes("display")),
            forebay_reader_next(h(reader), any()),
            forebay_reader_seek(h(reader), 0, 0),
            forebay_consumer_poll(h(consumer), -1, any()),
            forebay_consumer_commit_offset(h(consumer), 1),
            forebay_consumer_seek(h(consumer), 0, 0),
            forebay_consumer_sync(h(consumer)),
        ]
    };
    for (at, status) in statuses.into_iter().enumerate() {
        assert_eq!(status, FOREBAY_CLOSED, "call {at}");
    }
    unsafe {
        forebay_reader_free(h(reader));
        forebay_consumer_free(h(consumer));
        forebay_log_free(h(log));
        ok(forebay_store_close(h(store)));
    }
    let log = open(&dir.path().join("store/engine-0"));
    assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, 1, "nothing came in");
    close(log);
}

#[test]
fn a_log_that_is_full_refuses_and_takes_more_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let log = small(dir.path(), |options| options.budget_bytes = 256 << 10);
    let value = "x".repeat(1000);
    let full = loop {
        match unsafe { forebay_log_append(r(log), bytes(&value), None) } {
            FOREBAY_OK => {}
            other => break other,
        }
    };
    refused(full, FOREBAY_OUT_OF_SPACE, "");
    let end = unsafe { forebay_log_end_offset(r(log)) };
    ok(unsafe { forebay_log_delete_records(r(log), end, None) });
    assert_eq!(append(log, &value), end, "nothing was left out");
    let large = "x".repeat(5000);
    let large = unsafe { forebay_log_append(r(log), bytes(&large), None) };
    refused(large, FOREBAY_RECORD_TOO_LARGE, "4096");
    close(log);
}

#[test]
fn a_memory_limit_bounds_readers_and_consumers() {
    let dir = tempfile::tempdir().unwrap();
    let log = small(dir.path(), |options| options.memory_limit_bytes = 1500 << 10);
    let mut readers = Vec::new();
    let status = loop {
        let mut reader = MaybeUninit::uninit();
        match unsafe { forebay_log_reader(r(log), 0, 0, Some(&mut reader)) } {
            FOREBAY_OK => readers.push(unsafe { reader.assume_init() }),
            other => break other,
        }
    };
    refused(status, FOREBAY_OUT_OF_SPACE, "");
    let consumer = unsafe { forebay_log_consumer(r(log), bytes("c"), ptr::null(), any()) };
    refused(consumer, FOREBAY_OUT_OF_SPACE, "");
    unsafe { forebay_reader_free(h(readers.pop().unwrap())) };
    let consumer = crate::calls::consumer(log, "c");
    let open = unsafe { forebay_log_delete_consumer(r(log), bytes("c")) };
    refused(open, FOREBAY_CONSUMER_BUSY, "");
    unsafe { forebay_consumer_free(h(consumer)) };
    for reader in readers {
        unsafe { forebay_reader_free(h(reader)) };
    }
    close(log);
}

/// The damage has its offsets, and the next call goes on behind it.
#[test]
fn damage_is_told_with_its_offsets_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let log = small(dir.path(), |_| {});
    for value in ["first", "second", "third"] {
        append(log, value);
    }
    close(log);
    let segment = dir.path().join("00000000000000000000.log");
    let mut stored = fs::read(&segment).unwrap();
    let at = stored.windows(6).position(|bytes| bytes == b"second").unwrap();
    stored[at] ^= 1;
    fs::write(&segment, stored).unwrap();

    let log = small(dir.path(), |_| {});
    let (reader, consumer) = (reader(log), consumer(log, "display"));
    unsafe { forebay_batch_free(h(next(reader))) };
    refused(unsafe { forebay_reader_next(h(reader), any()) }, FOREBAY_CORRUPT, "");
    let (mut from, mut to) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    ok(forebay_last_error_offsets(Some(&mut from), Some(&mut to)));
    assert_eq!(unsafe { (from.assume_init(), to.assume_init()) }, (1, 2));
    let third = next(reader);
    assert_eq!(seen(record(third, 0).value), b"third");
    unsafe { forebay_batch_free(h(third)) };
    let mut values = Vec::new();
    let mut damaged = 0;
    loop {
        let mut batch = MaybeUninit::uninit();
        match unsafe { forebay_consumer_poll(h(consumer), 0, Some(&mut batch)) } {
            FOREBAY_OK => {
                let batch = unsafe { batch.assume_init() };
                if batch.is_null() {
                    break;
                }
                values.push(seen(record(batch, 0).value).to_vec());
                unsafe { forebay_batch_free(h(batch)) };
            }
            status => {
                refused(status, FOREBAY_CORRUPT, "");
                damaged += 1;
            }
        }
    }
    assert_eq!((values, damaged), (vec![b"first".to_vec(), b"third".to_vec()], 1));
    let verified: forebay_verification =
        report(|place, size| unsafe { forebay_log_verify(r(log), place, size) });
    assert_eq!((verified.whole, verified.damaged_from, verified.damaged_to), (0, 1, 2));
    unsafe {
        forebay_reader_free(h(reader));
        forebay_consumer_free(h(consumer));
    }
    close(log);
}

#[test]
fn a_reader_that_was_overtaken_says_so_with_what_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let log = small(dir.path(), |_| {});
    for _ in 0..20 {
        append(log, &"x".repeat(1000));
    }
    let reader = reader(log);
    ok(unsafe { forebay_log_delete_records(r(log), 15, None) });
    let mut batch = MaybeUninit::uninit();
    let status = unsafe { forebay_reader_next(h(reader), Some(&mut batch)) };
    if status == FOREBAY_OK {
        // What it goes on at is the start, and no record below it.
        let batch = unsafe { batch.assume_init() };
        assert!(record(batch, 0).offset >= 15);
        unsafe { forebay_batch_free(h(batch)) };
    } else {
        refused(status, FOREBAY_OFFSET_OUT_OF_RANGE, "");
    }
    let below = unsafe { forebay_log_reader(r(log), FOREBAY_FROM_OFFSET, 3, any()) };
    refused(below, FOREBAY_OFFSET_OUT_OF_RANGE, "15");
    unsafe { forebay_reader_free(h(reader)) };
    close(log);
}

#[test]
fn what_cannot_be_opened_is_left_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = (dir.path().join("log"), dir.path().join("store"));
    close(open(&log));
    let meta = log.join("log.meta");
    let newer = fs::read_to_string(&meta).unwrap().replace("format=1", "format=2");
    let (body, _) = newer.rsplit_once("crc32=").unwrap();
    fs::write(&meta, format!("{body}crc32={:08x}\n", crc32fast::hash(body.as_bytes()))).unwrap();
    let status = unsafe { forebay_log_open(path(&log), ptr::null(), any()) };
    refused(status, FOREBAY_UNSUPPORTED_FORMAT, "");

    let file = dir.path().join("file");
    fs::write(&file, "none of ours").unwrap();
    let status = unsafe { forebay_log_open(path(&file), ptr::null(), any()) };
    refused(status, FOREBAY_INVALID_ARGUMENT, "");
    assert_eq!(fs::read(&file).unwrap(), b"none of ours");

    let opened: *mut forebay_store =
        given(|place| unsafe { forebay_store_open(path(&store), ptr::null(), place) });
    let again = unsafe { forebay_store_open(path(&store), ptr::null(), any()) };
    refused(again, FOREBAY_LOCKED, "");
    ok(unsafe { forebay_store_close(h(opened)) });
}
