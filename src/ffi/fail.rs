//! The one guard around every function's body, and the text of what failed last.
//!
//! Floor 6.

use std::any::Any;
use std::cell::RefCell;
use std::ffi::{CString, c_char};
use std::mem::MaybeUninit;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bytes::out;
use super::callback::{self, FOREBAY_LOG_ERROR};
use super::status::forebay_status;
use crate::{Error, ErrorKind, Offset, Result};

struct Failure {
    text: CString,
    offsets: Option<Range<Offset>>,
}

thread_local! {
    static LAST: RefCell<Option<Failure>> = const { RefCell::new(None) };
}

/// Runs a function's body: an error is kept for forebay_last_error, a panic goes no further.
#[inline]
pub(super) fn guard(body: impl FnOnce() -> Result<()>) -> forebay_status {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => forebay_status::FOREBAY_OK,
        Ok(Err(error)) => failed(&error),
        Err(panic) => panicked(panic.as_ref()),
    }
}

/// As [`guard`], for functions that return an offset or a negative status.
#[inline]
pub(super) fn guard_offset(body: impl FnOnce() -> Result<Offset>) -> i64 {
    let mut found = Offset::new(0);
    let status = guard(|| {
        found = body()?;
        Ok(())
    });
    if status == forebay_status::FOREBAY_OK { found.get() } else { i64::from(status as i32) }
}

/// As [`guard`], for functions that return nothing.
pub(super) fn guard_free(body: impl FnOnce() -> Result<()>) {
    if guard(body) != forebay_status::FOREBAY_OK {
        let text = LAST.with_borrow(|last| last.as_ref().map(|last| last.text.clone()));
        callback::tell(FOREBAY_LOG_ERROR, &text.unwrap_or_default());
    }
}

#[cold]
fn failed(error: &Error) -> forebay_status {
    keep(&error.to_string(), error.valid_offsets().or_else(|| error.lost_offsets()));
    error.kind().into()
}

#[cold]
fn panicked(panic: &(dyn Any + Send)) -> forebay_status {
    let why = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no text");
    let text = format!("a fault of the library: {why}; close the handle and report this text");
    callback::tell(FOREBAY_LOG_ERROR, &keep(&text, None));
    forebay_status::FOREBAY_PANIC
}

fn keep(text: &str, offsets: Option<Range<Offset>>) -> CString {
    let text = CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default();
    // Not where the thread is ending and has nothing to keep it in.
    let failure = Failure { text: text.clone(), offsets };
    let _ = LAST.try_with(|last| last.replace(Some(failure)));
    text
}

/// The text of the calling thread's latest failure, one line of UTF-8: what failed, where, and what
/// to do next. Empty if nothing failed yet; success does not clear it. For people: programs go by
/// the status. Never NULL; valid until the thread's next forebay call, forebay_status_name apart.
/// Does not block; any thread.
#[unsafe(no_mangle)]
pub extern "C" fn forebay_last_error() -> *const c_char {
    LAST.try_with(|last| last.borrow().as_ref().map_or(c"".as_ptr(), |last| last.text.as_ptr()))
        .unwrap_or(c"".as_ptr())
}

/// The offsets that the calling thread's latest failure is about, the second one past the last:
/// of FOREBAY_OFFSET_OUT_OF_RANGE those that can be read, of FOREBAY_CORRUPT those that are lost.
/// FOREBAY_NOT_FOUND if it had none; that is no failure to be asked for in its turn.
/// FOREBAY_INVALID_ARGUMENT.
/// Does not block; any thread.
#[unsafe(no_mangle)]
pub extern "C" fn forebay_last_error_offsets(
    from_out: Option<&mut MaybeUninit<i64>>,
    to_out: Option<&mut MaybeUninit<i64>>,
) -> forebay_status {
    let offsets = LAST.with_borrow(|last| last.as_ref().and_then(|last| last.offsets.clone()));
    let (from, to) = match (out(from_out, "from_out"), out(to_out, "to_out")) {
        (Ok(from), Ok(to)) => (from, to),
        (Err(error), _) | (_, Err(error)) => return failed(&error),
    };
    let Some(offsets) = offsets else { return ErrorKind::NotFound.into() };
    from.write(offsets.start.get());
    to.write(offsets.end.get());
    forebay_status::FOREBAY_OK
}
