//! Structs that know their size, so that they can grow: a caller of any age is understood.
//!
//! Floor 6.

use std::mem::MaybeUninit;
use std::ptr;

use super::bytes::{given, invalid};
use crate::{Error, Result};

/// No struct of this library's is, or will be, larger: what is has not been set up.
const SIZE_MAX: usize = 16 << 10;

/// A struct of plain numbers and pointers, of which all zeroes are a value, that begins with its
/// size.
///
/// # Safety
/// It is `repr(C)`, its first field is `struct_size: u32`, all zeroes are a valid value of it, and
/// so is any mixture of them with what a C caller may write.
pub(super) unsafe trait Grows: Copy {
    const NAME: &str;
}

/// What a caller passed, with zeroes for what its version of the struct does not have.
pub(super) fn read<T: Grows>(given: *const T) -> Result<T> {
    if given.is_null() {
        return Err(invalid(format!("{} is NULL", T::NAME)));
    }
    // SAFETY: the header asks for a struct that begins with its size; any alignment will do.
    let size = unsafe { ptr::read_unaligned(given.cast::<u32>()) } as usize;
    check_size::<T>(size)?;
    let known = size.min(size_of::<T>());
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: the caller has `size` bytes there, and no more than these and than fit are copied.
    unsafe { ptr::copy_nonoverlapping(given.cast::<u8>(), value.as_mut_ptr().cast(), known) };
    for at in known..size {
        // SAFETY: below the size that the caller gave.
        let byte = unsafe { given.cast::<u8>().wrapping_add(at).read() };
        if byte != 0 {
            return Err(invalid(format!(
                "{}: there is a field at byte {at} that this version of the library does not know",
                T::NAME
            )));
        }
    }
    // SAFETY: all zeroes are a value of it, and so is what a caller wrote over them.
    Ok(unsafe { value.assume_init() })
}

/// As [`read`], with NULL for the defaults.
pub(super) fn read_or_default<T: Grows>(given: *const T) -> Result<T> {
    if given.is_null() { Ok(zeroed()) } else { read(given) }
}

pub(super) fn zeroed<T: Grows>() -> T {
    // SAFETY: all zeroes are a value of it.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

/// Fills as much of a caller's struct as it has, and says in its size how much that is.
pub(super) fn write<T: Grows>(
    place: Option<ptr::NonNull<T>>,
    size: usize,
    value: &T,
) -> Result<()> {
    let place = given(place, T::NAME)?;
    check_size::<T>(size)?;
    let known = size.min(size_of::<T>());
    // SAFETY: the caller has `size` bytes there; the value has as many as it is large.
    unsafe {
        ptr::copy_nonoverlapping(ptr::from_ref(value).cast(), place.as_ptr().cast::<u8>(), known);
    }
    for at in known..size {
        // SAFETY: below the size that the caller gave.
        unsafe { place.as_ptr().cast::<u8>().wrapping_add(at).write(0) };
    }
    let known = u32::try_from(known).unwrap_or(u32::MAX);
    // SAFETY: at least four bytes, which are the struct's first field.
    unsafe { place.as_ptr().cast::<u32>().write_unaligned(known) };
    Ok(())
}

fn check_size<T: Grows>(size: usize) -> Result<(), Error> {
    if (8..=SIZE_MAX).contains(&size) {
        return Ok(());
    }
    Err(invalid(format!(
        "{}: {size} bytes is no size of it; pass sizeof, and call the options' init function first",
        T::NAME
    )))
}
