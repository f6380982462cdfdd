//! What the library tells the application unasked, if it wants to hear it.
//!
//! Floor 6.

use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::{Arc, Mutex, PoisonError};

use super::fail::guard;
use super::status::forebay_status;

/// A level of forebay_log_callback, as the next two: something failed that no status can tell of,
/// as a free that could not store what it had to.
pub const FOREBAY_LOG_ERROR: i32 = 1;
/// Something was lost, or will be: what recovery cut or found damaged.
pub const FOREBAY_LOG_WARNING: i32 = 2;
/// Something worth to know: a log was opened after an unclean stop. forebay_log_info is no level.
pub const FOREBAY_LOG_INFO: i32 = 3;

/// Of the library, for its own text, not of a forebay_log. Takes one line of UTF-8, valid during
/// the call. Called on the thread that made the call that has
/// something to say. It may call forebay; what that has to say is not told. Neither an exception
/// nor longjmp may leave it.
pub type forebay_log_callback =
    Option<unsafe extern "C" fn(context: *mut c_void, level: i32, text: *const c_char)>;

/// Gives a context back: called once, when nobody uses it any more, on any thread.
pub type forebay_drop_callback = Option<unsafe extern "C" fn(context: *mut c_void)>;

/// A caller's context, and how it is given back.
pub(super) struct Context {
    pub(super) pointer: *mut c_void,
    pub(super) drop: forebay_drop_callback,
}

// SAFETY: the header says that callbacks come from any thread, and so does what gives it back.
unsafe impl Send for Context {}
// SAFETY: as above; the pointer is only handed on.
unsafe impl Sync for Context {}

impl Drop for Context {
    fn drop(&mut self) {
        if let Some(give_back) = self.drop {
            // SAFETY: the caller gave both for this, and it is called once.
            unsafe { give_back(self.pointer) };
        }
    }
}

struct Told {
    callback: unsafe extern "C" fn(*mut c_void, i32, *const c_char),
    context: Context,
}

static TOLD: Mutex<Option<Arc<Told>>> = Mutex::new(None);

thread_local! {
    static TELLING: Cell<bool> = const { Cell::new(false) };
}

/// Tells the application, if it asked for it and is not just being told.
pub(super) fn tell(level: i32, text: &CStr) {
    // No lock is held while it is called: it may set another callback.
    let told = TOLD.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let Some(told) = told else { return };
    if TELLING.try_with(|telling| telling.replace(true)).unwrap_or(true) {
        return;
    }
    // SAFETY: the caller gave both for this; the text lives during the call.
    unsafe { (told.callback)(told.context.pointer, level, text.as_ptr()) };
    let _ = TELLING.try_with(|telling| telling.set(false));
}

pub(super) fn tell_text(level: i32, text: &str) {
    tell(level, &CString::new(text.replace('\0', "\u{fffd}")).unwrap_or_default());
}

/// Has the library tell `callback` what no status says: what recovery found, what a free could not
/// do. One for the process; NULL tells nobody any more, which is how it begins. `drop`, which may
/// be NULL, is called with `context` when another one is set and no call runs.
/// Does not block; any thread.
#[unsafe(no_mangle)]
pub extern "C" fn forebay_set_log_callback(
    callback: forebay_log_callback,
    context: *mut c_void,
    drop: forebay_drop_callback,
) -> forebay_status {
    guard(|| {
        let context = Context { pointer: context, drop };
        let told = callback.map(|callback| Arc::new(Told { callback, context }));
        let before =
            std::mem::replace(&mut *TOLD.lock().unwrap_or_else(PoisonError::into_inner), told);
        std::mem::drop(before);
        Ok(())
    })
}
