//! Bytes and text that a caller passes, and the places it wants answers in.
//!
//! Floor 6.

use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;
use std::slice;

use crate::{Error, ErrorKind, Result};

/// Some bytes: not NUL-terminated, never kept by the library after the call it is passed to.
///
/// `data` may be NULL if `len` is 0; where no bytes differ from none (a key, a header's value),
/// NULL says that there are none.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_bytes {
    /// The first byte.
    pub data: *const u8,
    /// How many.
    pub len: usize,
}

impl forebay_bytes {
    pub(super) const NONE: forebay_bytes = forebay_bytes { data: ptr::null(), len: 0 };

    pub(super) fn of(bytes: &[u8]) -> forebay_bytes {
        forebay_bytes { data: bytes.as_ptr(), len: bytes.len() }
    }

    /// The bytes, `None` where `data` is NULL.
    #[inline]
    pub(super) fn get<'a>(self, name: &str) -> Result<Option<&'a [u8]>> {
        if self.data.is_null() {
            return if self.len == 0 { Ok(None) } else { Err(null_bytes(name, self.len)) };
        }
        if self.len > isize::MAX.unsigned_abs() {
            return Err(too_long(name, self.len));
        }
        // SAFETY: the header asks for `len` readable bytes behind `data`, which stay as they are
        // during the call, and no caller of this keeps them longer; it is not NULL, and an object
        // is never larger than this.
        Ok(Some(unsafe { slice::from_raw_parts(self.data, self.len) }))
    }

    #[inline]
    pub(super) fn or_empty<'a>(self, name: &str) -> Result<&'a [u8]> {
        Ok(self.get(name)?.unwrap_or_default())
    }

    pub(super) fn text<'a>(self, name: &str) -> Result<&'a str> {
        let bytes = self.or_empty(name)?;
        std::str::from_utf8(bytes).map_err(|error| {
            let at = error.valid_up_to();
            invalid(format!("{name} is no UTF-8 at byte {at} of {}", bytes.len()))
        })
    }

    /// A path: on Unix bytes as they are, elsewhere UTF-8.
    pub(super) fn path<'a>(self, name: &str) -> Result<&'a Path> {
        #[cfg(unix)]
        let path = {
            use std::os::unix::ffi::OsStrExt;
            Path::new(std::ffi::OsStr::from_bytes(self.or_empty(name)?))
        };
        #[cfg(not(unix))]
        let path = Path::new(self.text(name)?);
        if path.as_os_str().is_empty() {
            return Err(invalid(format!("{name} is empty")));
        }
        Ok(path)
    }
}

#[cold]
fn null_bytes(name: &str, len: usize) -> Error {
    invalid(format!("{name} is NULL with {len} bytes"))
}

#[cold]
fn too_long(name: &str, len: usize) -> Error {
    invalid(format!("{name} has {len} bytes, more than memory can have"))
}

#[cold]
pub(super) fn invalid(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::InvalidArgument, what)
}

#[cold]
fn null(name: &str) -> Error {
    invalid(format!("{name} is NULL"))
}

/// An argument that must not be NULL.
#[inline]
pub(super) fn given<T>(argument: Option<T>, name: &str) -> Result<T> {
    argument.ok_or_else(|| null(name))
}

/// Where an answer goes.
#[inline]
pub(super) fn out<'a, T>(
    place: Option<&'a mut MaybeUninit<T>>,
    name: &str,
) -> Result<&'a mut MaybeUninit<T>> {
    given(place, name)
}

/// An answer that the caller may not want.
#[inline]
pub(super) fn if_wanted<T>(place: Option<&mut MaybeUninit<T>>, answer: T) {
    if let Some(place) = place {
        place.write(answer);
    }
}

/// An array of the caller's, as long as it says.
pub(super) fn array<'a, T>(first: *const T, count: usize, name: &str) -> Result<&'a [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    check_array(first, count, name)?;
    // SAFETY: the header asks for `count` elements behind `first`, which stay as they are during
    // the call; it is neither NULL nor unaligned, and no larger than an object can be.
    Ok(unsafe { slice::from_raw_parts(first, count) })
}

/// An array of the caller's that is to be filled.
pub(super) fn places<'a, T>(
    first: *mut T,
    count: usize,
    name: &str,
) -> Result<&'a mut [MaybeUninit<T>]> {
    if count == 0 {
        return Ok(&mut []);
    }
    check_array(first, count, name)?;
    // SAFETY: the header asks for room for `count` elements behind `first`, which nobody else uses
    // during the call; it is neither NULL nor unaligned, and no larger than an object can be.
    Ok(unsafe { slice::from_raw_parts_mut(first.cast(), count) })
}

fn check_array<T>(first: *const T, count: usize, name: &str) -> Result<()> {
    if first.is_null() {
        return Err(invalid(format!("{name} is NULL with a count of {count}")));
    }
    if count.checked_mul(size_of::<T>()).is_none_or(|bytes| bytes > isize::MAX.unsigned_abs()) {
        return Err(invalid(format!("{name} has a count of {count}, more than memory can have")));
    }
    if !first.is_aligned() {
        return Err(invalid(format!("{name} is not aligned")));
    }
    Ok(())
}
