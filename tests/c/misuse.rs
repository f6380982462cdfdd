//! What a C caller can do wrong, and what it gets for it: a status, a text, and nothing lost.

use std::ffi::{CStr, c_char, c_void};
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use crate::calls::*;

type Calls<'a> = Vec<(&'a str, Box<dyn Fn() -> forebay_status + 'a>)>;

/// A place for an answer that is not looked at.
fn any<T>() -> Option<&'static mut MaybeUninit<T>> {
    Some(Box::leak(Box::new(MaybeUninit::uninit())))
}

fn as_status(offset: i64) -> forebay_status {
    if offset == i64::from(FOREBAY_INVALID_ARGUMENT as i32) {
        FOREBAY_INVALID_ARGUMENT
    } else {
        FOREBAY_OK
    }
}

macro_rules! calls {
    ($($name:literal => $call:expr;)*) => {
        vec![$((
            $name,
            Box::new(
                #[allow(unused_unsafe, reason = "some of them are safe")]
                move || unsafe { $call },
            ) as Box<dyn Fn() -> forebay_status>,
        )),*]
    };
}

/// Live handles, for calls of which something else is wrong.
struct Live {
    dir: tempfile::TempDir,
    log: *mut forebay_log,
    reader: *mut forebay_reader,
    consumer: *mut forebay_consumer,
    batch: *mut forebay_batch,
    store: *mut forebay_store,
}

impl Live {
    fn new() -> Live {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir.path().join("log"));
        append(log, "21.5 C");
        let (reader, consumer) = (reader(log), consumer(log, "display"));
        let at = dir.path().join("store");
        let store = given(|store| unsafe { forebay_store_open(path(&at), ptr::null(), store) });
        Live { dir, log, reader, consumer, batch: next(reader), store }
    }

    fn end(self) {
        unsafe {
            forebay_batch_free(h(self.batch));
            forebay_reader_free(h(self.reader));
            forebay_consumer_free(h(self.consumer));
            ok(forebay_store_close(h(self.store)));
        }
        assert_eq!(unsafe { forebay_log_end_offset(r(self.log)) }, 1, "nothing was appended");
        close(self.log);
    }
}

fn assert_refused_as_null(calls: Calls<'_>) {
    for (at, (name, call)) in calls.iter().enumerate() {
        let status = call();
        let said = said();
        assert_eq!(status, FOREBAY_INVALID_ARGUMENT, "call {at}, {name}: {said}");
        assert!(said.contains("NULL") && said.contains(name), "call {at}, {name}: {said}");
    }
}

#[test]
fn each_pointer_of_a_log_that_must_not_be_null_is_refused_by_name() {
    let live = Live::new();
    let (log, dir) = (live.log, path(live.dir.path()));
    let one: &'static forebay_new_record = Box::leak(Box::new(new_record(None, "x")));
    let calls: Calls<'_> = calls! {
        "log_out" => forebay_log_open(dir, ptr::null(), None);
        "log" => forebay_log_id(None, any());
        "id_out" => forebay_log_id(r(log), None);
        "log" => forebay_log_append(None, bytes("x"), any());
        "log" => forebay_log_append_record(None, Some(one), any());
        "record" => forebay_log_append_record(r(log), None, any());
        "log" => forebay_log_append_batch(None, one, 1, any());
        "records" => forebay_log_append_batch(r(log), ptr::null(), 1, any());
        "log" => forebay_log_append_batch_compressed(None, 0, one, 1, any());
        "records" => forebay_log_append_batch_compressed(r(log), 0, ptr::null(), 1, any());
        "log" => forebay_log_append_batch_at(None, 1, one, 1);
        "records" => forebay_log_append_batch_at(r(log), 1, ptr::null(), 1);
        "log" => forebay_log_set_options(None, ptr::null());
        "options" => forebay_log_set_options(r(log), ptr::null());
        "log" => forebay_log_flush(None, any());
        "log" => as_status(forebay_log_start_offset(None));
        "log" => as_status(forebay_log_end_offset(None));
        "log" => as_status(forebay_log_durable_offset(None));
        "log" => forebay_log_wait(None, 1, 0, 0, any());
        "reached_out" => forebay_log_wait(r(log), 1, 0, 0, None);
        "log" => forebay_log_delete_records(None, 0, any());
        "log" => forebay_log_apply_retention(None, None, 0);
        "retention report" => forebay_log_apply_retention(r(log), None, 40);
        "log" => forebay_log_verify(None, None, 88);
        "verification" => forebay_log_verify(r(log), None, 88);
        "log" => forebay_log_stats(None, None, 192);
        "stats" => forebay_log_stats(r(log), None, 192);
        "log" => forebay_log_recovery(None, None, 88);
        "recovery report" => forebay_log_recovery(r(log), None, 88);
        "log" => forebay_log_snapshot(None, dir);
        "log" => forebay_log_export(None, dir);
    };
    assert_refused_as_null(calls);
    live.end();
}

#[test]
fn each_pointer_of_what_reads_that_must_not_be_null_is_refused_by_name() {
    let live = Live::new();
    let (log, reader, consumer, batch) = (live.log, live.reader, live.consumer, live.batch);
    let calls: Calls<'_> = calls! {
        "log" => forebay_log_reader(None, 0, 0, any());
        "reader_out" => forebay_log_reader(r(log), 0, 0, None);
        "reader" => forebay_reader_next(None, any());
        "batch_out" => forebay_reader_next(h(reader), None);
        "reader" => forebay_reader_seek(None, 0, 0);
        "reader" => as_status(forebay_reader_next_offset(None));
        "batch" => as_status(forebay_batch_base_offset(None));
        "batch" => as_status(forebay_batch_next_offset(None));
        "batch" => forebay_batch_get(None, 0, any());
        "record_out" => forebay_batch_get(r(batch), 0, None);
        "batch" => forebay_batch_get_many(None, 0, ptr::null_mut(), 0, any());
        "records_out" => forebay_batch_get_many(r(batch), 0, ptr::null_mut(), 1, any());
        "count_out" => forebay_batch_get_many(r(batch), 0, ptr::null_mut(), 0, None);
        "batch" => forebay_batch_header(None, 0, 0, any());
        "header_out" => forebay_batch_header(r(batch), 0, 0, None);
        "batch_out" => forebay_batch_read(NONE, None, any());
        "used_out" => forebay_batch_read(NONE, any(), None);
        "batch" => forebay_batch_produce(None, 0, 0, 0, ptr::null_mut(), 0, any());
        "size_out" => forebay_batch_produce(r(batch), 0, 0, 0, ptr::null_mut(), 0, None);
        "buffer" => forebay_batch_produce(r(batch), 0, 0, 0, ptr::null_mut(), 9999, any());
        "log" => forebay_log_consumer(None, bytes("c"), ptr::null(), any());
        "consumer_out" => forebay_log_consumer(r(log), bytes("c"), ptr::null(), None);
        "log" => forebay_log_delete_consumer(None, bytes("c"));
        "log" => forebay_log_consumer_info(None, 0, None, 296);
        "consumer info" => forebay_log_consumer_info(r(log), 0, None, 296);
        "consumer" => forebay_consumer_poll(None, 0, any());
        "batch_out" => forebay_consumer_poll(h(consumer), 0, None);
        "consumer" => forebay_consumer_commit(None);
        "consumer" => forebay_consumer_commit_offset(None, 0);
        "consumer" => forebay_consumer_commit_with(None, 0, NONE);
        "consumer" => forebay_consumer_sync(None);
        "consumer" => forebay_consumer_seek(None, 0, 0);
        "consumer" => as_status(forebay_consumer_position(None));
        "consumer" => as_status(forebay_consumer_committed(None));
        "consumer" => forebay_consumer_lag(None, any(), any());
    };
    assert_refused_as_null(calls);
    live.end();
}

#[test]
fn each_pointer_of_options_and_stores_that_must_not_be_null_is_refused_by_name() {
    let live = Live::new();
    let (store, dir) = (live.store, path(live.dir.path()));
    let calls: Calls<'_> = calls! {
        "options" => forebay_options_init(None, 176);
        "options" => forebay_options_set(None, bytes("hold"), bytes("any"));
        "consumer options" => forebay_consumer_options_init(None, 24);
        "store options" => forebay_store_options_init(None, 64);
        "options" => forebay_store_options_set(None, bytes("background"), bytes("true"));
        "store_out" => forebay_store_open(dir, ptr::null(), None);
        "store_out" => forebay_store_open_config(dir, dir, None);
        "store" => forebay_store_log(None, bytes("a"), ptr::null(), any());
        "log_out" => forebay_store_log(r(store), bytes("a"), ptr::null(), None);
        "store" => forebay_store_partition(None, bytes("a"), 1, 0, any());
        "log_out" => forebay_store_partition(r(store), bytes("a"), 1, 0, None);
        "store" => forebay_store_delete_log(None, bytes("a"));
        "store" => forebay_store_flush(None);
        "store" => forebay_store_maintain(None);
        "store" => forebay_store_stats(None, None, 112);
        "store stats" => forebay_store_stats(r(store), None, 112);
        "store" => forebay_store_log_info(None, 0, None, 272);
        "from_out" => forebay_last_error_offsets(None, any());
        "to_out" => forebay_last_error_offsets(any(), None);
    };
    assert_refused_as_null(calls);
    live.end();
}

#[test]
fn null_is_nothing_to_free_and_nothing_to_count() {
    assert_eq!(unsafe { forebay_batch_count(None) }, 0);
    assert_eq!(unsafe { forebay_batch_bytes(None) }.len, 0);
    assert_eq!(unsafe { forebay_consumer_metadata(None) }.len, 0);
    assert!(!unsafe { forebay_has_feature(ptr::null()) });
    unsafe {
        forebay_log_free(None);
        forebay_reader_free(None);
        forebay_batch_free(None);
        forebay_consumer_free(None);
        ok(forebay_log_close(None));
        ok(forebay_store_close(None));
        forebay_store_free(None);
    }
}

#[test]
fn lengths_that_lie_and_text_that_is_none_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let null = forebay_bytes { data: ptr::null(), len: 3 };
    let huge = forebay_bytes { data: b"x".as_ptr(), len: usize::MAX };
    let latin = bytes(b"caf\xe9");
    let append = |value| unsafe { forebay_log_append(r(log), value, None) };
    refused(append(null), FOREBAY_INVALID_ARGUMENT, "value is NULL with 3 bytes");
    refused(append(huge), FOREBAY_INVALID_ARGUMENT, "more than memory can have");
    let record = |record: forebay_new_record| unsafe {
        forebay_log_append_record(r(log), Some(&record), None)
    };
    let plain = new_record(None, "x");
    refused(record(forebay_new_record { key: null, ..plain }), FOREBAY_INVALID_ARGUMENT, "key");
    let flagged = forebay_new_record { flags: 2, ..plain };
    refused(record(flagged), FOREBAY_INVALID_ARGUMENT, "flag");
    let newer = forebay_new_record { reserved: [0, 1], ..plain };
    refused(record(newer), FOREBAY_INVALID_ARGUMENT, "reserved");
    let deleted = forebay_new_record { flags: FOREBAY_TOMBSTONE, ..plain };
    refused(record(deleted), FOREBAY_INVALID_ARGUMENT, "tombstone");
    let keyless = forebay_new_record { flags: FOREBAY_TOMBSTONE, value: NONE, ..plain };
    refused(record(keyless), FOREBAY_INVALID_ARGUMENT, "tombstone");
    let headless = forebay_new_record { header_count: 1, ..plain };
    refused(record(headless), FOREBAY_INVALID_ARGUMENT, "headers is NULL with a count of 1");
    let header = forebay_header { name: latin, value: NONE };
    let crooked = ptr::from_ref(&header).cast::<u8>().wrapping_add(1).cast();
    let unaligned = forebay_new_record { headers: crooked, header_count: 1, ..plain };
    refused(record(unaligned), FOREBAY_INVALID_ARGUMENT, "not aligned");
    let endless =
        forebay_new_record { headers: &raw const header, header_count: usize::MAX, ..plain };
    refused(record(endless), FOREBAY_INVALID_ARGUMENT, "more than memory can have");
    let named = forebay_new_record { headers: &raw const header, header_count: 1, ..plain };
    refused(record(named), FOREBAY_INVALID_ARGUMENT, "no UTF-8 at byte 3 of 4");
    // One bad record of three: none is appended.
    let three = [plain, flagged, plain];
    let batch = unsafe { forebay_log_append_batch(r(log), three.as_ptr(), 3, None) };
    refused(batch, FOREBAY_INVALID_ARGUMENT, "flag");
    let mut place = MaybeUninit::uninit();
    let named = unsafe { forebay_log_consumer(r(log), latin, ptr::null(), Some(&mut place)) };
    refused(named, FOREBAY_INVALID_ARGUMENT, "no UTF-8");
    let mut place = MaybeUninit::uninit();
    let nowhere = unsafe { forebay_log_open(NONE, ptr::null(), Some(&mut place)) };
    refused(nowhere, FOREBAY_INVALID_ARGUMENT, "dir is empty");
    let mut place = MaybeUninit::uninit();
    for (from, number, says) in [(4, 0, "from is 4"), (2, -1, "no offset is negative")] {
        let status = unsafe { forebay_log_reader(r(log), from, number, Some(&mut place)) };
        refused(status, FOREBAY_INVALID_ARGUMENT, says);
    }
    let waited = unsafe { forebay_log_wait(r(log), 1, 2, 0, Some(&mut MaybeUninit::uninit())) };
    refused(waited, FOREBAY_INVALID_ARGUMENT, "visibility is 2");
    assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, 0, "nothing was appended");
    close(log);
}

/// Best effort: only a build with debug assertions keeps the mark of what was freed.
#[test]
#[cfg(debug_assertions)]
fn a_handle_that_was_freed_or_is_of_another_kind_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(log, "21.5 C");
    let reader = reader(log);
    let batch = next(reader);
    let wrong = unsafe { forebay_log_flush(r(reader.cast::<forebay_log>()), None) };
    refused(wrong, FOREBAY_INVALID_ARGUMENT, "this is no log");
    let mut place = MaybeUninit::uninit();
    let wrong = unsafe { forebay_reader_next(h(log.cast()), Some(&mut place)) };
    refused(wrong, FOREBAY_INVALID_ARGUMENT, "this is no reader");
    close(log);
    refused(unsafe { forebay_log_close(h(log)) }, FOREBAY_INVALID_ARGUMENT, "closed or freed");
    refused(
        unsafe { forebay_log_append(r(log), bytes("x"), None) },
        FOREBAY_INVALID_ARGUMENT,
        "closed or freed",
    );
    // What outlives the log says so, and the batch is still there.
    let status = unsafe { forebay_reader_next(h(reader), Some(&mut place)) };
    refused(status, FOREBAY_CLOSED, "");
    assert_eq!(seen(record(batch, 0).value), b"21.5 C");
    unsafe {
        forebay_reader_free(h(reader));
        forebay_batch_free(h(batch));
    }
    unsafe { forebay_batch_free(h(batch)) };
    assert!(said().contains("the batch was closed or freed before"), "{}", said());
    let status = unsafe { forebay_reader_next(h(reader), Some(&mut place)) };
    refused(status, FOREBAY_INVALID_ARGUMENT, "the reader was closed or freed before");
}

static TOLD: Mutex<Vec<(i32, String)>> = Mutex::new(Vec::new());
static DROPPED: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn told(context: *mut c_void, level: i32, text: *const c_char) {
    let text = unsafe { CStr::from_ptr(text) }.to_str().unwrap().to_owned();
    assert_eq!(context as usize, 7);
    // It may call: what that has to say is not told again, and nothing locks up.
    unsafe { forebay_batch_free(h(Box::leak(Box::new([0_u64; 64])).as_mut_ptr().cast())) };
    assert!(said().contains("no batch"));
    TOLD.lock().unwrap().push((level, text));
}

unsafe extern "C" fn dropped(_: *mut c_void) {
    DROPPED.fetch_add(1, Ordering::SeqCst);
    ok(forebay_set_log_callback(None, ptr::null_mut(), None));
}

#[test]
fn the_log_callback_hears_what_no_status_tells_and_may_call_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(log, "21.5 C");
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir.path()).unwrap() {
        let file = file.unwrap().path();
        std::fs::copy(&file, copy.path().join(file.file_name().unwrap())).unwrap();
    }
    close(log);
    ok(forebay_set_log_callback(Some(told), ptr::without_provenance_mut(7), Some(dropped)));
    // As after a kill: the copy was never closed.
    close(open(copy.path()));
    let place = NonNull::new(Box::leak(Box::new([0_u64; 64])).as_mut_ptr());
    unsafe { forebay_batch_free(place.map(NonNull::cast)) };
    ok(forebay_set_log_callback(None, ptr::null_mut(), None));
    assert_eq!(DROPPED.load(Ordering::SeqCst), 1);
    unsafe { forebay_batch_free(place.map(NonNull::cast)) };
    let told = TOLD.lock().unwrap().clone();
    let of_copy = |text: &str| text.contains(copy.path().to_str().unwrap());
    assert!(
        told.iter().any(|(level, text)| *level == FOREBAY_LOG_INFO && of_copy(text)),
        "{told:?}"
    );
    let failures = told.iter().filter(|(level, _)| *level == FOREBAY_LOG_ERROR);
    assert!(failures.clone().any(|(_, text)| text.contains("no batch")), "{told:?}");
}

#[test]
fn a_status_has_a_name_and_no_failure_is_no_text() {
    for (status, name) in [(0, c"FOREBAY_OK"), (-7, c"FOREBAY_LOCKED"), (-100, c"FOREBAY_PANIC")] {
        assert_eq!(unsafe { CStr::from_ptr(forebay_status_name(status)) }, name);
    }
    for unknown in [1, -19, i32::MIN] {
        let name = unsafe { CStr::from_ptr(forebay_status_name(unknown)) };
        assert_eq!(name, c"FOREBAY_UNKNOWN");
    }
    let named = |name| unsafe { CStr::from_ptr(name) }.to_str().unwrap();
    assert_eq!(named(forebay_notice_name(FOREBAY_NOTICE_GAP)), "FOREBAY_NOTICE_GAP");
    assert_eq!(named(forebay_link_name(FOREBAY_LINK_WAITING)), "FOREBAY_LINK_WAITING");
    let notices: std::collections::BTreeSet<_> =
        (0..=FOREBAY_NOTICE_MISSED + 1).map(|kind| named(forebay_notice_name(kind))).collect();
    assert_eq!(notices.len(), 14, "each has its own, and the last is unknown");
    assert_eq!(named(forebay_link_name(4)), "FOREBAY_LINK_UNKNOWN");
    let said = std::thread::spawn(|| (said(), forebay_last_error_offsets(any(), any())));
    let (said, offsets) = said.join().unwrap();
    assert_eq!((said.as_str(), offsets), ("", FOREBAY_NOT_FOUND));
    let version = unsafe { CStr::from_ptr(forebay_version()) };
    assert_eq!(version.to_str().unwrap(), env!("CARGO_PKG_VERSION"));
    assert!(forebay_version_number() >= 1000);
}
