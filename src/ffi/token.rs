//! Asks the application for a bearer token.
//!
//! Floor 6.

use std::cell::Cell;
use std::ffi::{CStr, c_void};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::callback::Context;
use super::status::{forebay_status, forebay_status_name};
use crate::{Error, ErrorKind, Result};

/// What most tokens fit into.
const BYTES_FIRST: usize = 4 << 10;
/// More than a broker takes.
const BYTES_MAX: usize = 512 << 10;

thread_local! {
    /// Which token this thread is just asking for; 0 for none.
    static ASKING: Cell<usize> = const { Cell::new(0) };
}

static LAST: AtomicUsize = AtomicUsize::new(0);

pub(super) type Callback = unsafe extern "C" fn(*mut c_void, *mut u8, usize, *mut usize) -> i32;

pub(super) struct Token {
    number: usize,
    callback: Callback,
    context: Context,
}

impl Token {
    pub(super) fn new(callback: Callback, context: Context) -> Token {
        let number = LAST.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        Token { number, callback, context }
    }

    /// Never 0, and no other token's.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    pub(super) fn ask(&self) -> Result<String> {
        let mut buffer = vec![0; BYTES_FIRST];
        loop {
            let mut len = 0;
            let status = self.call(&mut buffer, &mut len);
            if status == forebay_status::FOREBAY_OK as i32 && len <= buffer.len() {
                buffer.truncate(len);
                return String::from_utf8(buffer)
                    .map_err(|_| failed("gave bytes that are no text"));
            }
            let is_short = status == forebay_status::FOREBAY_OUT_OF_SPACE as i32;
            if !is_short || !(buffer.len() + 1..=BYTES_MAX).contains(&len) {
                return Err(self.refused(status, len, buffer.len()));
            }
            buffer.resize(len, 0);
        }
    }

    fn call(&self, buffer: &mut [u8], len: &mut usize) -> i32 {
        let before = ASKING.replace(self.number);
        // SAFETY: the caller gave both for this; the buffer is as long as it is told, and lives
        // during the call.
        let status = unsafe {
            (self.callback)(self.context.pointer, buffer.as_mut_ptr(), buffer.len(), len)
        };
        ASKING.set(before);
        status
    }

    #[cold]
    fn refused(&self, status: i32, len: usize, capacity: usize) -> Error {
        if status == forebay_status::FOREBAY_OK as i32 {
            return failed(&format!("says that it wrote {len} bytes where {capacity} have room"));
        }
        // SAFETY: it is static, and ends with a NUL.
        let name = unsafe { CStr::from_ptr(forebay_status_name(status)) }.to_string_lossy();
        failed(&format!("returned {name} ({status}), {len} bytes"))
    }
}

#[cold]
fn failed(what: &str) -> Error {
    Error::new(ErrorKind::Upstream, format!("the token callback {what}"))
}

/// Refuses what would wait for the thread that is just asking for the token of this number.
pub(super) fn not_while_asking(number: usize, what: &str) -> Result<()> {
    if number == 0 || ASKING.get() != number {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::InvalidArgument,
        format!("{what} was called by the replicator's own token callback, for which it waits"),
    ))
}
