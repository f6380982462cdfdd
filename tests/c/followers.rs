//! Followers through C: a log that is read while another handle writes it, as another process does.

use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use crate::calls::*;
use crate::threads::Passed;

fn follow(dir: &Path) -> *mut forebay_follower {
    given(|follower| unsafe { forebay_follower_open(path(dir), 1, follower) })
}

fn reading(follower: *mut forebay_follower, visibility: u32) -> *mut forebay_follow_reader {
    given(|reader| unsafe {
        forebay_follower_reader(r(follower), FOREBAY_FROM_EARLIEST, 0, visibility, reader)
    })
}

fn poll(reader: *mut forebay_follow_reader, timeout_ms: i64) -> *mut forebay_batch {
    given(|batch| unsafe { forebay_follow_reader_poll(h(reader), timeout_ms, batch) })
}

/// The values of the records that there are now, one after the other.
fn rest(reader: *mut forebay_follow_reader) -> String {
    let mut values = String::new();
    loop {
        let batch = poll(reader, 0);
        if batch.is_null() {
            return values;
        }
        for index in 0..unsafe { forebay_batch_count(r(batch)) } {
            values.push_str(std::str::from_utf8(seen(record(batch, index).value)).unwrap());
        }
        unsafe { forebay_batch_free(h(batch)) };
    }
}

fn offsets(follower: *mut forebay_follower) -> (i64, i64, i64) {
    unsafe {
        (
            forebay_follower_start_offset(r(follower)),
            forebay_follower_durable_offset(r(follower)),
            forebay_follower_end_offset(r(follower)),
        )
    }
}

fn next_offset(reader: *mut forebay_follow_reader) -> i64 {
    unsafe { forebay_follow_reader_next_offset(h(reader)) }
}

fn missed_and_retracted(reader: *mut forebay_follow_reader) -> (u64, u64) {
    let (mut missed, mut retracted) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    ok(unsafe { forebay_follow_reader_missed(h(reader), Some(&mut missed), Some(&mut retracted)) });
    unsafe { (missed.assume_init(), retracted.assume_init()) }
}

fn free(reader: *mut forebay_follow_reader, follower: *mut forebay_follower) {
    unsafe {
        forebay_follow_reader_free(h(reader));
        forebay_follower_free(h(follower));
    }
}

/// What fails to open leaves NULL behind.
#[track_caller]
fn not_opened(dir: forebay_bytes, poll_interval_ms: i64, as_what: forebay_status, words: &str) {
    let mut place = MaybeUninit::new(ptr::without_provenance_mut(1));
    let status = unsafe { forebay_follower_open(dir, poll_interval_ms, Some(&mut place)) };
    refused(status, as_what, words);
    assert!(unsafe { place.assume_init() }.is_null(), "set to NULL first");
}

/// A log that is flushed when the test says so.
fn writer(dir: &Path) -> *mut forebay_log {
    let mut options = options();
    (options.flush, options.segment_bytes) = (FOREBAY_FLUSH_MANUAL, 4096);
    options.max_batch_bytes = 4096;
    given(|log| unsafe { forebay_log_open(path(dir), &raw const options, log) })
}

/// The files of a directory with this in their names.
fn files(dir: &Path, with: &str) -> Vec<std::path::PathBuf> {
    let all = fs::read_dir(dir).unwrap().map(|file| file.unwrap().path());
    let mut found: Vec<_> = all.filter(|path| path.to_str().unwrap().contains(with)).collect();
    found.sort();
    found
}

/// As after a kill: what is there of a log that nobody closed.
fn copy(from: &Path, to: &Path) {
    for file in files(from, "") {
        fs::copy(&file, to.join(file.file_name().unwrap())).unwrap();
    }
}

/// Flips a byte of this text in the log's first segment.
fn damage(dir: &Path, text: &str) {
    let segment = files(dir, "0.log").remove(0);
    let bytes = fs::read(&segment).unwrap();
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    let mut file = File::options().write(true).open(&segment).unwrap();
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[bytes[at] ^ 0x41]).unwrap();
}

#[test]
fn a_log_is_followed_while_it_is_written_and_stands_still_between_looks() {
    let dir = tempfile::tempdir().unwrap();
    let log = writer(dir.path());
    append(log, "a");
    let follower = follow(dir.path());
    let (written, durable) =
        (reading(follower, FOREBAY_WRITTEN), reading(follower, FOREBAY_DURABLE));
    assert_eq!(offsets(follower), (0, 0, 1));
    append(log, "b");
    assert_eq!(offsets(follower), (0, 0, 1), "nobody has looked");
    ok(unsafe { forebay_follower_refresh(r(follower)) });
    assert_eq!(offsets(follower), (0, 0, 2));
    assert_eq!((rest(written), rest(durable)), ("ab".into(), String::new()));
    assert_eq!((next_offset(written), next_offset(durable)), (2, 0));

    let wait = |offset, visibility, timeout_ms| {
        given(|reached| unsafe {
            forebay_follower_wait(r(follower), offset, visibility, timeout_ms, reached)
        })
    };
    assert!(wait(1, FOREBAY_WRITTEN, -1) && !wait(2, FOREBAY_WRITTEN, 3));
    assert!(!wait(1, FOREBAY_DURABLE, 0));
    ok(unsafe { forebay_log_flush(r(log), None) });
    assert!(wait(1, FOREBAY_DURABLE, 0));
    assert_eq!(offsets(follower), (0, 2, 2));
    assert_eq!(rest(durable), "ab");
    assert!(poll(written, 3).is_null(), "nothing came in time");

    unsafe { forebay_follower_free(h(follower)) };
    append(log, "c");
    let batch = poll(written, -1);
    assert_eq!(unsafe { forebay_batch_base_offset(r(batch)) }, 2);
    free(written, ptr::null_mut());
    close(log);
    assert_eq!(seen(record(batch, 0).value), b"c", "the batch outlives all of them");
    assert_eq!(rest(durable), "c", "the close flushed it");
    assert_eq!(missed_and_retracted(durable), (0, 0));
    unsafe { forebay_batch_free(h(batch)) };
    free(durable, ptr::null_mut());
}

#[test]
fn a_reader_begins_and_goes_on_where_it_is_told_to() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for (value, timestamp_ms) in [("a", 100), ("b", 200), ("c", 300)] {
        let record = forebay_new_record { timestamp_ms, ..new_record(None, value) };
        ok(unsafe { forebay_log_append_record(r(log), Some(&record), None) });
    }
    let follower =
        given(|follower| unsafe { forebay_follower_open(path(dir.path()), 0, follower) });
    let places = [
        (FOREBAY_FROM_EARLIEST, 9, 0),
        (FOREBAY_FROM_LATEST, 9, 3),
        (FOREBAY_FROM_OFFSET, 1, 1),
        (FOREBAY_FROM_TIMESTAMP, 201, 2),
        (FOREBAY_FROM_TIMESTAMP, 301, 3),
    ];
    for (from, number, at) in places {
        let reader = given(|reader| unsafe {
            forebay_follower_reader(r(follower), from, number, FOREBAY_WRITTEN, reader)
        });
        assert_eq!(next_offset(reader), at, "{from} {number}");
        ok(unsafe { forebay_follow_reader_seek(h(reader), FOREBAY_FROM_OFFSET, 1) });
        assert_eq!(rest(reader), "bc");
        ok(unsafe { forebay_follow_reader_seek(h(reader), from, number) });
        assert_eq!(next_offset(reader), at, "{from} {number}");
        free(reader, ptr::null_mut());
    }
    unsafe { forebay_follower_free(h(follower)) };
    close(log);
}

#[test]
fn what_was_deleted_before_it_was_read_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let log = writer(dir.path());
    for _ in 0..20 {
        append(log, &"x".repeat(1000));
    }
    let follower = follow(dir.path());
    let reader = reading(follower, FOREBAY_WRITTEN);
    ok(unsafe { forebay_log_delete_records(r(log), 7, None) });
    assert_eq!(rest(reader).len(), 13 * 1000);
    ok(unsafe { forebay_follow_reader_missed(h(reader), None, None) });
    assert_eq!(missed_and_retracted(reader), (7, 0));
    assert_eq!(offsets(follower), (7, 20, 20));
    free(reader, follower);
    close(log);
}

#[test]
fn what_a_recovery_took_again_is_counted_and_read_anew() {
    let (killed, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let log = writer(killed.path());
    append(log, "kept");
    ok(unsafe { forebay_log_flush(r(log), None) });
    append(log, "a");
    append(log, "torn");
    copy(killed.path(), dir.path());
    close(log);

    let follower = follow(dir.path());
    let reader = reading(follower, FOREBAY_WRITTEN);
    assert_eq!(rest(reader), "keptatorn");
    damage(dir.path(), "torn");
    let log = writer(dir.path());
    append(log, "new");
    assert_eq!(rest(reader), "new");
    assert_eq!((missed_and_retracted(reader), next_offset(reader)), ((0, 1), 3));
    free(reader, follower);
    close(log);
}

#[test]
fn damage_is_told_with_its_offsets_and_passed_by() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for value in ["first", "second", "third"] {
        append(log, value);
    }
    close(log);
    damage(dir.path(), "second");
    let follower = follow(dir.path());
    let reader = reading(follower, FOREBAY_DURABLE);
    unsafe { forebay_batch_free(h(poll(reader, 0))) };
    let mut batch = MaybeUninit::new(ptr::without_provenance_mut(1));
    let status = unsafe { forebay_follow_reader_poll(h(reader), 0, Some(&mut batch)) };
    refused(status, FOREBAY_CORRUPT, dir.path().to_str().unwrap());
    assert!(unsafe { batch.assume_init() }.is_null(), "set to NULL first");
    let (mut from, mut to) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    ok(forebay_last_error_offsets(Some(&mut from), Some(&mut to)));
    assert_eq!(unsafe { (from.assume_init(), to.assume_init()) }, (1, 2));
    assert_eq!(rest(reader), "third");
    free(reader, follower);
}

#[test]
fn what_is_no_log_that_can_be_followed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("log");
    not_opened(path(&at), 0, FOREBAY_NOT_FOUND, "there is no log");
    fs::create_dir(&at).unwrap();
    not_opened(path(&at), 0, FOREBAY_NOT_FOUND, "");
    assert!(files(&at, "").is_empty(), "nothing is created");
    close(open(&at));
    let meta = at.join("log.meta");
    not_opened(path(&meta), 0, FOREBAY_INVALID_ARGUMENT, "this is no directory");
    not_opened(path(&meta.join("x")), 0, FOREBAY_IO, "cannot look at the directory");
    not_opened(NONE, 0, FOREBAY_INVALID_ARGUMENT, "dir is empty");
    for interval in [-1, 51, i64::MIN, i64::MAX] {
        not_opened(path(&at), interval, FOREBAY_INVALID_ARGUMENT, "poll_interval");
    }
    fs::write(&meta, "format=2\nid=what it is then called\n").unwrap();
    not_opened(path(&at), 0, FOREBAY_UNSUPPORTED_FORMAT, "");
}

/// In a thread that is nobody to the file system: a program may be root, who may read everything.
#[cfg(target_os = "linux")]
#[test]
fn files_that_may_not_be_read_are_told_apart() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    close(open(dir.path()));
    for file in files(dir.path(), "") {
        fs::set_permissions(file, fs::Permissions::from_mode(0o0)).unwrap();
    }
    let at = dir.path().to_owned();
    let nobody = std::thread::spawn(move || {
        unsafe { libc::setfsuid(65534) };
        not_opened(path(&at), 0, FOREBAY_READ_ONLY, at.to_str().unwrap());
    });
    nobody.join().unwrap();
}

#[test]
fn places_outside_of_the_log_and_numbers_that_are_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(log, "21.5 C");
    let follower = follow(dir.path());
    let reader = reading(follower, FOREBAY_WRITTEN);
    let cases = [
        (FOREBAY_FROM_OFFSET, 2, FOREBAY_OFFSET_OUT_OF_RANGE, "cannot be read"),
        (FOREBAY_FROM_OFFSET, -1, FOREBAY_INVALID_ARGUMENT, "no offset is negative"),
        (4, 0, FOREBAY_INVALID_ARGUMENT, "from is 4"),
    ];
    for (from, number, as_what, words) in cases {
        let mut place = MaybeUninit::new(ptr::without_provenance_mut(1));
        let status =
            unsafe { forebay_follower_reader(r(follower), from, number, 0, Some(&mut place)) };
        refused(status, as_what, words);
        assert!(unsafe { place.assume_init() }.is_null(), "set to NULL first");
        let status = unsafe { forebay_follow_reader_seek(h(reader), from, number) };
        refused(status, as_what, words);
        assert_eq!(next_offset(reader), 0, "it stays where it was");
    }
    let opened =
        unsafe { forebay_follower_reader(r(follower), 0, 0, 2, Some(&mut MaybeUninit::uninit())) };
    refused(opened, FOREBAY_INVALID_ARGUMENT, "visibility is 2");
    for (offset, visibility, words) in [(-1, 0, "no offset is negative"), (0, 2, "visibility is 2")]
    {
        let mut reached = MaybeUninit::uninit();
        let status = unsafe {
            forebay_follower_wait(r(follower), offset, visibility, 0, Some(&mut reached))
        };
        refused(status, FOREBAY_INVALID_ARGUMENT, words);
    }
    free(reader, follower);
    close(log);
}

/// Every call that looks says so, the ones that do not go on with what is known.
#[test]
fn another_log_in_the_directory_and_none_at_all_are_told() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for place in [dir.path(), other.path()] {
        let log = open(place);
        append(log, "21.5 C");
        close(log);
    }
    let follower = follow(dir.path());
    let reader = reading(follower, FOREBAY_WRITTEN);
    unsafe { forebay_batch_free(h(poll(reader, 0))) };
    let looks = |as_what: forebay_status| {
        let mut reached = MaybeUninit::uninit();
        let (mut opened, mut batch) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let statuses = unsafe {
            [
                forebay_follower_refresh(r(follower)),
                forebay_follower_wait(r(follower), 9, FOREBAY_WRITTEN, -1, Some(&mut reached)),
                forebay_follower_reader(r(follower), 0, 0, FOREBAY_WRITTEN, Some(&mut opened)),
                forebay_follow_reader_poll(h(reader), -1, Some(&mut batch)),
                forebay_follow_reader_seek(h(reader), FOREBAY_FROM_EARLIEST, 0),
            ]
        };
        assert_eq!(statuses, [as_what; 5], "{}", said());
        assert!(unsafe { opened.assume_init() }.is_null());
        assert_eq!((offsets(follower), next_offset(reader)), ((0, 1, 1), 1));
    };
    files(dir.path(), "").iter().for_each(|file| fs::remove_file(file).unwrap());
    copy(other.path(), dir.path());
    looks(FOREBAY_CONFLICT);
    fs::remove_dir_all(dir.path()).unwrap();
    looks(FOREBAY_NOT_FOUND);
    free(reader, follower);
}

#[test]
fn each_pointer_of_a_follower_that_must_not_be_null_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    close(open(dir.path()));
    let follower = follow(dir.path());
    let reader = reading(follower, FOREBAY_WRITTEN);
    let null = |status, name: &str| {
        refused(status, FOREBAY_INVALID_ARGUMENT, &format!("{name} is NULL"));
    };
    let (mut reached, mut opened) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    let (mut batch, mut count) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    unsafe {
        null(forebay_follower_open(path(dir.path()), 0, None), "follower_out");
        null(forebay_follower_refresh(None), "follower");
        null(forebay_follower_wait(None, 0, 0, 0, Some(&mut reached)), "follower");
        null(forebay_follower_wait(r(follower), 0, 0, 0, None), "reached_out");
        null(forebay_follower_reader(None, 0, 0, 0, Some(&mut opened)), "follower");
        null(forebay_follower_reader(r(follower), 0, 0, 0, None), "reader_out");
        null(forebay_follow_reader_poll(None, 0, Some(&mut batch)), "follow reader");
        null(forebay_follow_reader_poll(h(reader), 0, None), "batch_out");
        null(forebay_follow_reader_seek(None, 0, 0), "follow reader");
        null(forebay_follow_reader_missed(None, Some(&mut count), None), "follow reader");
    }
    let data = forebay_bytes { data: ptr::null(), len: 3 };
    not_opened(data, 0, FOREBAY_INVALID_ARGUMENT, "dir is NULL with 3 bytes");
    let invalid = i64::from(FOREBAY_INVALID_ARGUMENT as i32);
    assert_eq!(offsets(ptr::null_mut()), (invalid, invalid, invalid));
    assert_eq!(next_offset(ptr::null_mut()), invalid);
    free(reader, follower);
    free(ptr::null_mut(), ptr::null_mut());
}

#[test]
fn a_reader_that_waits_in_another_thread_is_in_use() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let follower = follow(dir.path());
    let reader = reading(follower, FOREBAY_WRITTEN);
    let passed = Passed(reader);
    let polling = std::thread::spawn(move || {
        let mut batch = MaybeUninit::uninit();
        loop {
            let status =
                unsafe { forebay_follow_reader_poll(h(passed.get()), -1, Some(&mut batch)) };
            // The look below may have come first.
            if status != FOREBAY_WOULD_BLOCK {
                ok(status);
                return Passed(unsafe { batch.assume_init() });
            }
        }
    });
    let busy = loop {
        match unsafe { forebay_follow_reader_missed(h(reader), None, None) } {
            FOREBAY_OK => std::thread::yield_now(),
            busy => break busy,
        }
    };
    refused(busy, FOREBAY_WOULD_BLOCK, "the follow reader is in use by another call");
    append(log, "21.5 C");
    let batch = polling.join().unwrap().get();
    assert_eq!(seen(record(batch, 0).value), b"21.5 C");
    unsafe { forebay_batch_free(h(batch)) };
    free(reader, follower);
    close(log);
}

/// Best effort: only a build with debug assertions keeps the mark of what was freed.
#[test]
#[cfg(debug_assertions)]
fn a_follower_or_a_reader_of_it_that_was_freed_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let follower = follow(dir.path());
    let reader = reading(follower, FOREBAY_WRITTEN);
    let wrong = unsafe { forebay_follower_refresh(r(log.cast::<forebay_follower>())) };
    refused(wrong, FOREBAY_INVALID_ARGUMENT, "this is no follower");
    free(reader, follower);
    let gone = unsafe { forebay_follower_refresh(r(follower)) };
    refused(gone, FOREBAY_INVALID_ARGUMENT, "the follower was closed or freed before");
    let mut batch = MaybeUninit::uninit();
    let gone = unsafe { forebay_follow_reader_poll(h(reader), 0, Some(&mut batch)) };
    refused(gone, FOREBAY_INVALID_ARGUMENT, "the follow reader was closed or freed before");
    unsafe { forebay_follower_free(h(follower)) };
    assert!(said().contains("the follower was closed or freed before"), "{}", said());
    unsafe { forebay_follow_reader_free(h(reader)) };
    assert!(said().contains("the follow reader was closed or freed before"), "{}", said());
    close(log);
}
