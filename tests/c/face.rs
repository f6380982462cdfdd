//! What tests of upstreams and replicators share: handles that are never NULL.

use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{self, NonNull};

use forebay::ffi::*;

pub(crate) use super::calls::{bytes, ok, path, refused as fails, said as last_error, text};

pub(crate) const INVALID: forebay_status = forebay_status::FOREBAY_INVALID_ARGUMENT;

/// What a function hands out.
#[track_caller]
pub(crate) fn opened<T>(
    open: impl FnOnce(Option<&mut MaybeUninit<*mut T>>) -> forebay_status,
) -> NonNull<T> {
    let mut place = MaybeUninit::new(ptr::null_mut());
    ok(open(Some(&mut place)));
    NonNull::new(unsafe { place.assume_init() }).unwrap()
}

/// How a function fails that hands something out: NULL is what it hands out then.
#[track_caller]
pub(crate) fn not_opened<T>(
    open: impl FnOnce(Option<&mut MaybeUninit<*mut T>>) -> forebay_status,
) -> forebay_status {
    let mut place = MaybeUninit::new(ptr::without_provenance_mut(1));
    let status = open(Some(&mut place));
    assert_ne!(status, forebay_status::FOREBAY_OK);
    assert!(unsafe { place.assume_init() }.is_null(), "{status:?} left something behind");
    status
}

/// As a `const T *` of C's.
pub(crate) fn at<'a, T>(handle: NonNull<T>) -> Option<&'a T> {
    Some(unsafe { handle.as_ref() })
}

pub(crate) fn open_log(dir: &Path) -> NonNull<forebay_log> {
    opened(|place| unsafe { forebay_log_open(path(dir), ptr::null(), place) })
}

/// Appends so many records, all of them durable.
pub(crate) fn append(log: NonNull<forebay_log>, count: usize) {
    for number in 0..count {
        let value = format!("reading {number}");
        ok(unsafe { forebay_log_append(at(log), bytes(&value), None) });
    }
    ok(unsafe { forebay_log_flush(at(log), None) });
}

pub(crate) fn close(log: NonNull<forebay_log>) {
    ok(unsafe { forebay_log_close(Some(log)) });
}

/// The values of all records of a log that is open nowhere.
pub(crate) fn values(dir: &Path) -> Vec<String> {
    let log = forebay::Log::open(dir).unwrap();
    let reader = log.reader(forebay::OffsetSpec::Earliest).unwrap();
    let mut values = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let records = batch.records().map(|record| record.unwrap().value().to_vec());
        values.extend(records.map(|value| String::from_utf8(value).unwrap()));
    }
    values
}
