//! The numbers that functions return.
//!
//! Floor 6.

use std::ffi::{CStr, c_char};

use crate::ErrorKind;

/// What a function returns: FOREBAY_OK or one of the errors below, all negative. A number never
/// changes its meaning and is never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
#[repr(i32)]
#[allow(clippy::exhaustive_enums, reason = "C takes any number")]
pub enum forebay_status {
    /// It is done.
    FOREBAY_OK = 0,
    /// The operating system or the device refused an operation. Check the device, then close the
    /// log and open it again.
    FOREBAY_IO = -1,
    /// No space, quota, descriptors or memory of the limit were left; nothing was changed. Free
    /// some and call again.
    FOREBAY_OUT_OF_SPACE = -2,
    /// Bytes on the device are not what was written there. The damage is isolated: the next call
    /// goes on behind it. forebay_last_error_offsets has what is lost.
    FOREBAY_CORRUPT = -3,
    /// The offset is below the log's start or above its end. forebay_last_error_offsets has what
    /// can be read; seek there first.
    FOREBAY_OFFSET_OUT_OF_RANGE = -4,
    /// The record or batch is larger than the log takes. Split it, or raise max_batch_bytes.
    FOREBAY_RECORD_TOO_LARGE = -5,
    /// An argument cannot work: NULL, a length, an option; the text names it. Correct the caller.
    FOREBAY_INVALID_ARGUMENT = -6,
    /// Another process, or another handle of this one, has the directory open for writing.
    /// To read it meanwhile: forebay_follower_open.
    FOREBAY_LOCKED = -7,
    /// A newer version of the library wrote these files. They were not touched.
    FOREBAY_UNSUPPORTED_FORMAT = -8,
    /// A sync failed earlier, so what the device holds is unknown; appends and flushes are refused,
    /// reading goes on. Close the log and open it again.
    FOREBAY_POISONED = -9,
    /// The log was closed.
    FOREBAY_CLOSED = -10,
    /// The consumer of this name is open already. Free the other handle first.
    FOREBAY_CONSUMER_BUSY = -11,
    /// The upstream could not be reached or broke off. It is tried again by itself.
    FOREBAY_UPSTREAM = -12,
    /// The upstream refused what was sent. Correct its settings.
    FOREBAY_UPSTREAM_REJECTED = -13,
    /// The call would have to wait and was asked not to, or the handle is in use by another thread.
    FOREBAY_WOULD_BLOCK = -14,
    /// Two histories do not fit together; going on would overwrite one of them. Nothing was
    /// changed.
    FOREBAY_CONFLICT = -15,
    /// The platform, the filesystem or this build of the library does not offer this:
    /// forebay_has_feature tells what was built in.
    FOREBAY_UNSUPPORTED = -16,
    /// The directory or file does not allow writing. Check mount options, owner and mode.
    FOREBAY_READ_ONLY = -17,
    /// What was named does not exist.
    FOREBAY_NOT_FOUND = -18,
    /// A fault of the library was caught. What is on the device is whole; the handle answers
    /// nothing else any more: close or free it. A log stays locked until the process ends: end it
    /// soon, and report the text.
    FOREBAY_PANIC = -100,
}

use forebay_status::*;

impl From<ErrorKind> for forebay_status {
    fn from(kind: ErrorKind) -> forebay_status {
        match kind {
            ErrorKind::Io => FOREBAY_IO,
            ErrorKind::OutOfSpace => FOREBAY_OUT_OF_SPACE,
            ErrorKind::Corrupt => FOREBAY_CORRUPT,
            ErrorKind::OffsetOutOfRange => FOREBAY_OFFSET_OUT_OF_RANGE,
            ErrorKind::RecordTooLarge => FOREBAY_RECORD_TOO_LARGE,
            ErrorKind::InvalidArgument => FOREBAY_INVALID_ARGUMENT,
            ErrorKind::Locked => FOREBAY_LOCKED,
            ErrorKind::UnsupportedFormat => FOREBAY_UNSUPPORTED_FORMAT,
            ErrorKind::Poisoned => FOREBAY_POISONED,
            ErrorKind::Closed => FOREBAY_CLOSED,
            ErrorKind::ConsumerBusy => FOREBAY_CONSUMER_BUSY,
            ErrorKind::Upstream => FOREBAY_UPSTREAM,
            ErrorKind::UpstreamRejected => FOREBAY_UPSTREAM_REJECTED,
            ErrorKind::WouldBlock => FOREBAY_WOULD_BLOCK,
            ErrorKind::Conflict => FOREBAY_CONFLICT,
            ErrorKind::Unsupported => FOREBAY_UNSUPPORTED,
            ErrorKind::ReadOnly => FOREBAY_READ_ONLY,
            ErrorKind::NotFound => FOREBAY_NOT_FOUND,
        }
    }
}

/// The name of a status, such as "FOREBAY_LOCKED"; "FOREBAY_UNKNOWN" for a number that is none.
/// Never NULL, static. Does not block; any thread, also in a signal handler.
#[unsafe(no_mangle)]
pub extern "C" fn forebay_status_name(status: i32) -> *const c_char {
    let name: &CStr = match status {
        0 => c"FOREBAY_OK",
        -1 => c"FOREBAY_IO",
        -2 => c"FOREBAY_OUT_OF_SPACE",
        -3 => c"FOREBAY_CORRUPT",
        -4 => c"FOREBAY_OFFSET_OUT_OF_RANGE",
        -5 => c"FOREBAY_RECORD_TOO_LARGE",
        -6 => c"FOREBAY_INVALID_ARGUMENT",
        -7 => c"FOREBAY_LOCKED",
        -8 => c"FOREBAY_UNSUPPORTED_FORMAT",
        -9 => c"FOREBAY_POISONED",
        -10 => c"FOREBAY_CLOSED",
        -11 => c"FOREBAY_CONSUMER_BUSY",
        -12 => c"FOREBAY_UPSTREAM",
        -13 => c"FOREBAY_UPSTREAM_REJECTED",
        -14 => c"FOREBAY_WOULD_BLOCK",
        -15 => c"FOREBAY_CONFLICT",
        -16 => c"FOREBAY_UNSUPPORTED",
        -17 => c"FOREBAY_READ_ONLY",
        -18 => c"FOREBAY_NOT_FOUND",
        -100 => c"FOREBAY_PANIC",
        _ => c"FOREBAY_UNKNOWN",
    };
    name.as_ptr()
}
