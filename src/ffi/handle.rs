//! What is behind a C handle: a value with a mark that says whether it is live.
//!
//! Floor 6. A handle that was freed, or is of another kind, is told apart as far as that can be: in
//! builds with debug assertions the mark of a freed handle stays allocated, so that it can be read.

use std::cell::UnsafeCell;
use std::mem::{ManuallyDrop, MaybeUninit};
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, Ordering};

use super::bytes::{given, invalid, out};
use super::fail::guard_free;
use crate::{Error, ErrorKind, Result};

/// The kinds of handles, by the mark of a live one.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub(super) enum Kind {
    Log = 0xf0eb_0101,
    Reader = 0xf0eb_0201,
    Batch = 0xf0eb_0301,
    Consumer = 0xf0eb_0401,
    Store = 0xf0eb_0501,
    Upstream = 0xf0eb_0801,
    Replicator = 0xf0eb_0901,
    Turns = 0xf0eb_0a01,
    Follower = 0xf0eb_0b01,
    FollowReader = 0xf0eb_0c01,
    LogList = 0xf0eb_0d01,
    ConsumerList = 0xf0eb_0e01,
    Linger = 0xf0eb_0f01,
    Ticket = 0xf0eb_1001,
}

/// What is kept of freed handles: reachable, so that leak checkers have nothing to say of it.
#[cfg(debug_assertions)]
static FREED_HANDLES: parking_lot::Mutex<Vec<usize>> = parking_lot::Mutex::new(Vec::new());

const IN_USE: u32 = 0xf0eb_0002;
const PANICKED: u32 = 0xf0eb_0003;
const FREED: u32 = 0xf0eb_0004;

/// A type that C knows as a handle.
pub(super) trait Handle {
    type Value;
    const KIND: Kind;
    const NAME: &str;
    fn new(inside: Inside<Self::Value>) -> Self;
    fn inside(&self) -> &Inside<Self::Value>;
}

/// What a handle has inside.
pub(super) struct Inside<T> {
    mark: AtomicU32,
    value: UnsafeCell<ManuallyDrop<T>>,
}

/// Hands a value to the caller.
pub(super) fn give<H: Handle>(value: H::Value) -> *mut H {
    let mark = AtomicU32::new(H::KIND as u32);
    let value = UnsafeCell::new(ManuallyDrop::new(value));
    Box::into_raw(Box::new(H::new(Inside { mark, value })))
}

/// Hands what is opened to the caller, who finds NULL there if it cannot be.
pub(super) fn opened<H: Handle>(
    place: Option<&mut MaybeUninit<*mut H>>,
    name: &str,
    open: impl FnOnce() -> Result<H::Value>,
) -> Result<()> {
    let place = out(place, name)?;
    place.write(ptr::null_mut());
    place.write(give(open()?));
    Ok(())
}

/// Frees a handle whose value has nothing to say at its end.
pub(super) fn free<H: Handle>(handle: Option<NonNull<H>>) {
    guard_free(|| take(handle).map(drop));
}

/// A handle that any number of threads may use at once.
#[inline]
pub(super) fn shared<H: Handle>(handle: Option<&H>) -> Result<Shared<'_, H::Value>> {
    let inside = given(handle, H::NAME)?.inside();
    let mark = inside.mark.load(Ordering::Acquire);
    if mark != H::KIND as u32 {
        return Err(unusable::<H>(mark));
    }
    // SAFETY: the handle is live, and of a kind of which only `take` makes anything but shared
    // references, which the header forbids while another call is on it.
    let value = unsafe { &*inside.value.get() };
    Ok(Shared { mark: &inside.mark, value })
}

/// A handle that one thread uses at a time.
pub(super) fn exclusive<'a, H: Handle + 'a>(
    handle: Option<NonNull<H>>,
) -> Result<Exclusive<'a, H>> {
    let handle = given(handle, H::NAME)?;
    // SAFETY: the header asks for a handle that the library gave and that was not freed.
    let inside = unsafe { handle.as_ref() }.inside();
    let live = H::KIND as u32;
    if let Err(mark) =
        inside.mark.compare_exchange(live, IN_USE, Ordering::Acquire, Ordering::Relaxed)
    {
        return Err(unusable::<H>(mark));
    }
    // SAFETY: the mark was set by this call alone, so nobody else has a reference until it is
    // given back.
    let value = unsafe { &mut *inside.value.get() };
    Ok(Exclusive { mark: &inside.mark, live, value })
}

/// Takes a value back and frees its handle; `None` for NULL, and what panicked is left alone.
pub(super) fn take<H: Handle>(handle: Option<NonNull<H>>) -> Result<Option<H::Value>> {
    let Some(handle) = handle else { return Ok(None) };
    // SAFETY: the header asks for a handle that the library gave and that was not freed.
    let inside = unsafe { handle.as_ref() }.inside();
    let live = H::KIND as u32;
    let was = inside.mark.compare_exchange(live, FREED, Ordering::AcqRel, Ordering::Acquire);
    let panicked = match was {
        Ok(_) => false,
        Err(PANICKED) => true,
        Err(mark) => return Err(unusable::<H>(mark)),
    };
    inside.mark.store(FREED, Ordering::Release);
    let value = if panicked {
        None
    } else {
        // SAFETY: nobody else has a reference: the header forbids that a call on it runs now.
        let value = unsafe { &mut *inside.value.get() };
        // SAFETY: the mark went from live to freed in this call, so it is taken once.
        Some(unsafe { ManuallyDrop::take(value) })
    };
    #[cfg(debug_assertions)]
    FREED_HANDLES.lock().push(handle.as_ptr().expose_provenance());
    #[cfg(not(debug_assertions))]
    // SAFETY: it came from `give`, and the value in it is taken or left for ever.
    drop(unsafe { Box::from_raw(handle.as_ptr()) });
    Ok(value)
}

#[cold]
fn unusable<H: Handle>(mark: u32) -> Error {
    let name = H::NAME;
    match mark {
        IN_USE => Error::new(
            ErrorKind::WouldBlock,
            format!("the {name} is in use by another call; it takes one at a time"),
        ),
        PANICKED => invalid(format!("the {name} met a fault of the library before; close it")),
        FREED => invalid(format!("the {name} was closed or freed before")),
        _ => invalid(format!("this is no {name}, or it was freed before")),
    }
}

/// A value while a call uses it; a panic meanwhile marks the handle.
pub(super) struct Shared<'a, T> {
    mark: &'a AtomicU32,
    value: &'a T,
}

impl<'a, T> Shared<'a, T> {
    /// For as long as the handle is live.
    pub(super) fn value(&self) -> &'a T {
        self.value
    }
}

impl<T> Deref for Shared<'_, T> {
    type Target = T;

    #[inline]
    fn deref(&self) -> &T {
        self.value
    }
}

impl<T> Drop for Shared<'_, T> {
    #[inline]
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.mark.store(PANICKED, Ordering::Release);
        }
    }
}

/// A value while the one call that may uses it.
pub(super) struct Exclusive<'a, H: Handle> {
    mark: &'a AtomicU32,
    live: u32,
    value: &'a mut ManuallyDrop<H::Value>,
}

impl<H: Handle> Deref for Exclusive<'_, H> {
    type Target = H::Value;

    fn deref(&self) -> &H::Value {
        self.value
    }
}

impl<H: Handle> DerefMut for Exclusive<'_, H> {
    fn deref_mut(&mut self) -> &mut H::Value {
        self.value
    }
}

impl<H: Handle> Drop for Exclusive<'_, H> {
    fn drop(&mut self) {
        let mark = if std::thread::panicking() { PANICKED } else { self.live };
        self.mark.store(mark, Ordering::Release);
    }
}

/// Makes a type a handle. The type itself is written out, for cbindgen does not look into macros.
macro_rules! handle {
    ($name:ident, $value:ty, $kind:ident, $said:literal) => {
        impl super::handle::Handle for $name {
            type Value = $value;
            const KIND: super::handle::Kind = super::handle::Kind::$kind;
            const NAME: &str = $said;

            fn new(inside: super::handle::Inside<$value>) -> $name {
                $name(inside)
            }

            #[inline]
            fn inside(&self) -> &super::handle::Inside<$value> {
                &self.0
            }
        }
    };
}
pub(super) use handle;
