//! Every function of the header is called, and made to fail in each way that its text names.
//!
//! Floor 6. Scenarios call; what they were told is noted by function and status. The last test runs
//! those that have not run yet, and compares what was noted with what the header says, both ways: a
//! status that no scenario has seen, and one that the header does not name.

mod header;
mod lingers;
mod logs;
mod misuse;
mod reading;
mod shipping;
mod stores;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::c_char;
use std::mem::MaybeUninit;
use std::ptr;
use std::sync::{Arc, LazyLock, Mutex, Once};

use super::super::ship::{Running, Turning};
use super::*;
use crate::simulation::{CallKind, Disk, Fault, Profile};

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOSPC: i32 = 28;
const EROFS: i32 = 30;

/// In the order in which a test is likely to meet them.
const KINDS: [CallKind; 16] = [
    CallKind::Read,
    CallKind::Write,
    CallKind::SyncFile,
    CallKind::SyncDir,
    CallKind::SyncFilesystem,
    CallKind::Open,
    CallKind::Look,
    CallKind::List,
    CallKind::CreateNew,
    CallKind::CreateDir,
    CallKind::Allocate,
    CallKind::SetLen,
    CallKind::Rename,
    CallKind::Link,
    CallKind::Unlink,
    CallKind::Lock,
];

thread_local! {
    static DISK: RefCell<Option<Disk>> = const { RefCell::new(None) };
}

/// The simulated disk that this thread's functions open on, if there is one.
pub(in super::super) fn disk() -> Option<Disk> {
    DISK.with_borrow(Clone::clone)
}

type Noted = BTreeSet<(&'static str, i32)>;

static NOTED: Mutex<Noted> = Mutex::new(BTreeSet::new());

/// What a function answers, as a status.
trait Answer {
    fn status(&self) -> forebay_status {
        FOREBAY_OK
    }
}

impl Answer for forebay_status {
    fn status(&self) -> forebay_status {
        *self
    }
}

impl Answer for i64 {
    fn status(&self) -> forebay_status {
        let all = [FOREBAY_INVALID_ARGUMENT, FOREBAY_NOT_FOUND, FOREBAY_WOULD_BLOCK];
        let known = all.into_iter().chain([FOREBAY_UNSUPPORTED]);
        let mut known = known.filter(|status| i64::from(*status as i32) == *self);
        if *self >= 0 { FOREBAY_OK } else { known.next().expect("a status") }
    }
}

impl Answer for () {}
impl Answer for bool {}
impl Answer for u32 {}
impl Answer for usize {}
impl Answer for forebay_bytes {}
impl Answer for *const c_char {}

#[track_caller]
fn note(function: &'static str, said_so: forebay_status, expected: forebay_status) {
    assert_eq!(said_so, expected, "{function}: {}", said());
    NOTED.lock().unwrap().insert((function, expected as i32));
}

/// Calls functions, each of which has to answer this, and notes that it did.
macro_rules! says {
    ($status:ident: $($function:ident($($argument:expr),* $(,)?);)+) => {$(
        #[allow(unused_unsafe, reason = "some of them are safe")]
        let answer = unsafe { $function($($argument),*) };
        note(stringify!($function), Answer::status(&answer), $status);
    )+};
}

/// Calls functions on a device that fails with this, one way after the other, until they answer so.
macro_rules! device {
    (
        $errno:ident, $status:ident, $new:expr, $rig:ident:
        $($function:ident($($argument:expr),*);)+
    ) => {$(
        by_device(stringify!($function), $errno, $status, || $new, |$rig| {
            let _ = $rig;
            unsafe { Answer::status(&$function($($argument),*)) }
        });
    )+};
}

use {device, says};

#[track_caller]
fn by_device<R: AsRef<Disk>>(
    function: &'static str,
    errno: i32,
    status: forebay_status,
    new: impl Fn() -> R,
    call: impl Fn(&R) -> forebay_status,
) {
    for (on, after) in KINDS.into_iter().flat_map(|on| (0..6).map(move |after| (on, after))) {
        let rig = new();
        rig.as_ref().fail(Fault { on, name: None, after, times: u64::MAX, errno });
        let answer = call(&rig);
        rig.as_ref().clear_faults();
        drop(rig);
        if answer == status {
            return note(function, answer, status);
        }
    }
    panic!("no device that fails with {errno} makes {function} say {status:?}");
}

/// A place for an answer that is not looked at.
fn any<T>() -> Option<&'static mut MaybeUninit<T>> {
    Some(Box::leak(Box::new(MaybeUninit::uninit())))
}

/// The same for a struct that grows, and its size.
fn room<T: 'static>() -> Option<NonNull<T>> {
    any().map(|place: &mut MaybeUninit<T>| NonNull::from(place).cast())
}

fn h<T>(handle: *mut T) -> Option<NonNull<T>> {
    NonNull::new(handle)
}

fn r<'a, T>(handle: *mut T) -> Option<&'a T> {
    unsafe { handle.as_ref() }
}

/// Lets this thread open on a new simulated disk.
fn new_disk() -> Disk {
    let disk = Disk::new(Profile::default());
    DISK.set(Some(disk.clone()));
    disk
}

fn options() -> forebay_options {
    let mut place = MaybeUninit::<forebay_options>::uninit();
    let status = unsafe { forebay_options_init(h(place.as_mut_ptr()), size_of_val(&place)) };
    assert_eq!(status, FOREBAY_OK);
    let mut options = unsafe { place.assume_init() };
    (options.segment_bytes, options.max_batch_bytes) = (8192, 4096);
    (options.flush, options.io_mode) = (FOREBAY_FLUSH_MANUAL, FOREBAY_IO_POSITIONED);
    options
}

fn new_record(value: &str) -> forebay_new_record {
    forebay_new_record {
        key: forebay_bytes::NONE,
        value: bytes(value),
        headers: ptr::null(),
        header_count: 0,
        timestamp_ms: 0,
        flags: 0,
        reserved_flags: 0,
        reserved: [0; 2],
    }
}

fn append(log: *mut forebay_log, value: &str) {
    assert_eq!(unsafe { forebay_log_append(r(log), bytes(value), None) }, FOREBAY_OK, "{}", said());
}

/// A log of several segments with a reader and a consumer, on a simulated disk of its own.
struct Rig {
    disk: Disk,
    log: *mut forebay_log,
    reader: *mut forebay_reader,
    consumer: *mut forebay_consumer,
    /// Whoever closes it leaves nothing to close.
    open: std::cell::Cell<bool>,
}

impl AsRef<Disk> for Rig {
    fn as_ref(&self) -> &Disk {
        &self.disk
    }
}

impl Rig {
    fn new() -> Rig {
        Rig::with(|_| {})
    }

    fn with(change: impl Fn(&mut forebay_options)) -> Rig {
        let disk = new_disk();
        let mut options = options();
        change(&mut options);
        let open =
            || given(|log| unsafe { forebay_log_open(bytes("/log"), &raw const options, log) });
        let log = open();
        let value = "x".repeat(1000);
        (0..20).for_each(|_| append(log, &value));
        assert_eq!(unsafe { forebay_log_close(h(log)) }, FOREBAY_OK);
        let log = open();
        append(log, "last");
        let (name, none) = (bytes("display"), ptr::null());
        let reader = given(|reader| unsafe { forebay_log_reader(r(log), 0, 0, reader) });
        let consumer = given(|place| unsafe { forebay_log_consumer(r(log), name, none, place) });
        Rig { disk, log, reader, consumer, open: true.into() }
    }

    /// For the one call that takes the log away.
    fn taken(&self) -> Option<NonNull<forebay_log>> {
        self.open.set(false);
        h(self.log)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        unsafe {
            forebay_reader_free(h(self.reader));
            forebay_consumer_free(h(self.consumer));
            if self.open.get() {
                forebay_log_free(h(self.log));
            }
        }
        DISK.set(None);
    }
}

/// A store with a log that has something to flush, on a simulated disk of its own.
struct StoreRig {
    disk: Disk,
    store: *mut forebay_store,
    log: *mut forebay_log,
    open: std::cell::Cell<bool>,
}

impl AsRef<Disk> for StoreRig {
    fn as_ref(&self) -> &Disk {
        &self.disk
    }
}

impl StoreRig {
    fn new() -> StoreRig {
        let disk = new_disk();
        let store = given(|store| unsafe { forebay_store_open(bytes("/s"), ptr::null(), store) });
        let options = options();
        let log = given(|log| unsafe {
            forebay_store_log(r(store), bytes("engine"), &raw const options, log)
        });
        append(log, "1013 hPa");
        StoreRig { disk, store, log, open: true.into() }
    }

    /// For the one call that takes the store away.
    fn taken(&self) -> Option<NonNull<forebay_store>> {
        self.open.set(false);
        h(self.store)
    }
}

impl Drop for StoreRig {
    fn drop(&mut self) {
        unsafe {
            forebay_log_free(h(self.log));
            if self.open.get() {
                let _ = forebay_store_close(h(self.store));
            }
        }
        DISK.set(None);
    }
}

/// Runs a scenario unless another test has.
fn once(name: &'static str, scenario: fn()) {
    static DONE: LazyLock<Mutex<BTreeMap<&'static str, Arc<Once>>>> = LazyLock::new(Mutex::default);
    let mine = Arc::clone(DONE.lock().unwrap().entry(name).or_insert_with(|| Once::new().into()));
    mine.call_once(scenario);
}

macro_rules! scenarios {
    ($($module:ident::$name:ident;)+) => {
        $(#[test] fn $name() { once(stringify!($name), $module::$name); })+

        const ALL: &[(&str, fn())] = &[$((stringify!($name), $module::$name)),+];
    };
}

scenarios! {
    logs::a_log_does_what_it_is_told;
    logs::a_log_that_is_closed_says_so;
    logs::a_log_after_a_failed_sync_says_so;
    logs::a_log_on_a_device_that_fails_says_so;
    logs::a_log_that_is_full_or_asked_too_much_says_so;
    logs::what_cannot_be_opened_says_why;
    lingers::a_linger_does_what_it_is_told;
    lingers::a_linger_says_what_it_cannot;
    lingers::a_linger_of_a_log_that_is_closed_says_so;
    lingers::a_linger_on_a_device_that_fails_says_so;
    reading::readers_and_consumers_do_what_they_are_told;
    reading::readers_and_consumers_on_a_device_that_fails_say_so;
    reading::what_is_damaged_gone_or_not_there_is_told;
    reading::batches_say_what_they_cannot_give;
    reading::followers_do_what_they_are_told;
    reading::followers_say_what_became_of_the_log;
    stores::a_store_does_what_it_is_told;
    stores::a_store_says_what_it_cannot;
    shipping::replicators_do_what_they_are_told;
    shipping::replicators_say_what_they_cannot;
    misuse::each_function_refuses_what_is_null;
    misuse::a_handle_that_one_thread_has_is_nobody_elses;
    misuse::what_needs_no_handle_answers;
}

/// Every function with each status that the header names for it, by calls that were made.
#[test]
fn each_function_was_seen_to_answer_what_the_header_says_and_nothing_else() {
    ALL.iter().for_each(|(name, scenario)| once(name, *scenario));
    let expected = header::expected();
    let noted = NOTED.lock().unwrap().clone();
    let noted: BTreeSet<_> = noted.iter().map(|(name, status)| (*name, *status)).collect();
    let expected: BTreeSet<_> =
        expected.iter().map(|(name, status)| (name.as_str(), *status)).collect();
    let named = |(name, status): &(&str, i32)| {
        let status = unsafe { std::ffi::CStr::from_ptr(forebay_status_name(*status)) };
        format!("{name}: {}", status.to_str().unwrap())
    };
    let unseen: Vec<_> = expected.difference(&noted).map(named).collect();
    let unsaid: Vec<_> = noted.difference(&expected).map(named).collect();
    assert!(
        unseen.is_empty() && unsaid.is_empty(),
        "the header names what no scenario has seen:\n  {}\n\
         and was seen what it does not name:\n  {}",
        unseen.join("\n  "),
        unsaid.join("\n  ")
    );
    assert!(expected.len() > 300, "{} pairs", expected.len());
}
