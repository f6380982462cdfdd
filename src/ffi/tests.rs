//! A panic inside: it goes no further than the guard, and the handle says so from then on.
//!
//! Floor 6.
#![allow(
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    reason = "calls as C does, with handles that are live"
)]

#[cfg(feature = "simulation")]
mod devices;
#[cfg(all(feature = "simulation", feature = "kafka", feature = "toml"))]
pub(super) mod statuses;

use std::ptr::{self, NonNull};

use super::fail::{guard, guard_free, guard_offset};
use super::forebay_status::*;
#[cfg(feature = "simulation")]
use super::handle::give;
use super::handle::{exclusive, shared};
use super::*;
use crate::{Offset, Result};

fn said() -> String {
    let text = unsafe { std::ffi::CStr::from_ptr(forebay_last_error()) };
    text.to_str().unwrap().to_owned()
}

fn bytes(of: &str) -> forebay_bytes {
    forebay_bytes::of(of.as_bytes())
}

fn given<T>(call: impl FnOnce(Option<&mut std::mem::MaybeUninit<T>>) -> forebay_status) -> T {
    let mut place = std::mem::MaybeUninit::uninit();
    assert_eq!(call(Some(&mut place)), FOREBAY_OK, "{}", said());
    unsafe { place.assume_init() }
}

#[test]
fn a_panic_inside_is_a_status_and_what_was_appended_is_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = bytes(dir.path().to_str().unwrap());
    let log = given(|log| unsafe { forebay_log_open(path, ptr::null(), log) });
    let handle = unsafe { log.as_ref() };
    let reader = given(|reader| unsafe { forebay_log_reader(handle, 0, 0, reader) });
    assert_eq!(unsafe { forebay_log_append(handle, bytes("kept"), None) }, FOREBAY_OK);

    let status = guard(|| {
        let _reader = exclusive(NonNull::new(reader))?;
        panic!("planted in the reader")
    });
    assert_eq!(status, FOREBAY_PANIC);
    assert!(said().contains("planted in the reader"), "{}", said());
    let status = unsafe { forebay_reader_seek(NonNull::new(reader), 0, 0) };
    assert_eq!(status, FOREBAY_INVALID_ARGUMENT);
    assert!(said().contains("met a fault of the library"), "{}", said());
    unsafe { forebay_reader_free(NonNull::new(reader)) };
    // The log is none of that.
    assert_eq!(unsafe { forebay_log_append(handle, bytes("too"), None) }, FOREBAY_OK);

    let offset = guard_offset(|| -> Result<Offset> {
        let _log = shared(handle)?;
        std::panic::panic_any(7)
    });
    assert_eq!(offset, -100);
    guard_free(|| panic!("planted in a free"));
    assert!(said().contains("planted in a free"), "{}", said());
    assert_eq!(unsafe { forebay_log_flush(handle, None) }, FOREBAY_INVALID_ARGUMENT);
    assert_eq!(unsafe { forebay_log_close(NonNull::new(log)) }, FOREBAY_OK);
}
