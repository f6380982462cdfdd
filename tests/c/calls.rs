//! The functions as a test calls them.

use std::ffi::{CStr, c_char};
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{self, NonNull};

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

pub(crate) fn bytes(of: &(impl AsRef<[u8]> + ?Sized)) -> forebay_bytes {
    let of = of.as_ref();
    forebay_bytes { data: of.as_ptr(), len: of.len() }
}

pub(crate) fn path(of: &Path) -> forebay_bytes {
    bytes(of.to_str().unwrap())
}

pub(crate) const NONE: forebay_bytes = forebay_bytes { data: ptr::null(), len: 0 };

pub(crate) fn said() -> String {
    unsafe { CStr::from_ptr(forebay_last_error()) }.to_str().unwrap().to_owned()
}

#[track_caller]
pub(crate) fn ok(status: forebay_status) {
    assert_eq!(status, FOREBAY_OK, "{}", said());
}

/// Fails as it should, and says why.
#[track_caller]
pub(crate) fn refused(status: forebay_status, as_what: forebay_status, words: &str) {
    assert_eq!(status, as_what, "{}", said());
    assert!(said().contains(words), "`{words}` is not in: {}", said());
}

/// What a function gives in its last argument.
#[track_caller]
pub(crate) fn given<T>(call: impl FnOnce(Option<&mut MaybeUninit<T>>) -> forebay_status) -> T {
    let mut place = MaybeUninit::uninit();
    ok(call(Some(&mut place)));
    unsafe { place.assume_init() }
}

/// As C passes a handle that is not `const`.
pub(crate) fn h<T>(handle: *mut T) -> Option<NonNull<T>> {
    NonNull::new(handle)
}

/// As C passes one that is.
pub(crate) fn r<'a, T>(handle: *mut T) -> Option<&'a T> {
    unsafe { handle.as_ref() }
}

pub(crate) fn options() -> forebay_options {
    let mut place = MaybeUninit::<forebay_options>::uninit();
    ok(unsafe {
        forebay_options_init(NonNull::new(place.as_mut_ptr()), size_of::<forebay_options>())
    });
    unsafe { place.assume_init() }
}

pub(crate) fn open(dir: &Path) -> *mut forebay_log {
    given(|log| unsafe { forebay_log_open(path(dir), ptr::null(), log) })
}

pub(crate) fn close(log: *mut forebay_log) {
    ok(unsafe { forebay_log_close(h(log)) });
}

pub(crate) fn append(log: *mut forebay_log, value: &str) -> i64 {
    given(|offset| unsafe { forebay_log_append(r(log), bytes(value), offset) })
}

pub(crate) fn reader(log: *mut forebay_log) -> *mut forebay_reader {
    given(|reader| unsafe { forebay_log_reader(r(log), FOREBAY_FROM_EARLIEST, 0, reader) })
}

pub(crate) fn next(reader: *mut forebay_reader) -> *mut forebay_batch {
    given(|batch| unsafe { forebay_reader_next(h(reader), batch) })
}

pub(crate) fn consumer(log: *mut forebay_log, name: &str) -> *mut forebay_consumer {
    given(|consumer| unsafe { forebay_log_consumer(r(log), bytes(name), ptr::null(), consumer) })
}

pub(crate) fn record(batch: *mut forebay_batch, index: usize) -> forebay_record {
    given(|record| unsafe { forebay_batch_get(r(batch), index, record) })
}

/// What C sees in a field of letters.
pub(crate) fn text(text: &[c_char]) -> String {
    let bytes = text.iter().take_while(|byte| **byte != 0).map(|byte| byte.cast_unsigned());
    String::from_utf8(bytes.collect()).unwrap()
}

/// What C sees behind a pointer and a length.
pub(crate) fn seen<'a>(bytes: forebay_bytes) -> &'a [u8] {
    if bytes.data.is_null() {
        return &[];
    }
    unsafe { std::slice::from_raw_parts(bytes.data, bytes.len) }
}

pub(crate) fn new_record(key: Option<&str>, value: &str) -> forebay_new_record {
    forebay_new_record {
        key: key.map_or(NONE, bytes),
        value: bytes(value),
        headers: ptr::null(),
        header_count: 0,
        timestamp_ms: 0,
        flags: 0,
        reserved_flags: 0,
        reserved: [0; 2],
    }
}

/// A report of a function that takes its size.
pub(crate) fn report<T>(call: impl FnOnce(Option<NonNull<T>>, usize) -> forebay_status) -> T {
    let mut place = MaybeUninit::<T>::uninit();
    ok(call(NonNull::new(place.as_mut_ptr()), size_of::<T>()));
    unsafe { place.assume_init() }
}
