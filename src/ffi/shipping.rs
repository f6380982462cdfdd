//! How a replicator is set up, how far it has come, and what happened to it, as structs that grow.
//!
//! Floor 6.

use std::ffi::{CStr, c_char};
use std::ptr::NonNull;

use super::bytes::{forebay_bytes, given};
use super::fail::guard;
use super::sized::{self, Grows};
use super::status::forebay_status;
use super::text;

/// How a replicator behaves. Zero means the default everywhere; the defaults suit a link that comes
/// and goes. forebay_replicator_options_set takes them as text.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_replicator_options {
    /// sizeof, set by forebay_replicator_options_init.
    pub struct_size: u32,
    /// 0.
    pub reserved: u32,
    /// Milliseconds; 100. The wait between two tries is a random time from 0 to a bound that begins
    /// here and doubles with every failure in a row, so that a fleet does not come back at once.
    pub backoff_min_ms: i64,
    /// Milliseconds, at least backoff_min_ms; 30000. Where the bound stops to double.
    pub backoff_max_ms: i64,
    /// Bytes that were sent and not acknowledged, at most; 2 MiB. One batch is always allowed.
    pub in_flight_bytes: u64,
    /// Milliseconds until an acknowledgement that does not come means that the link is dead; 30000.
    /// On a link that is slow it is doubled with each time in a row, up to 32 times as long.
    pub acknowledge_timeout_ms: i64,
    /// Bytes sent in a second, at most; as many as the link takes, which -1 (UINT64_MAX) says too.
    pub bytes_per_second: u64,
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_replicator_options {
    const NAME: &str = "replicator options";
}

const _: () = assert!(size_of::<forebay_replicator_options>() == 48);

/// Link: being opened.
pub const FOREBAY_LINK_CONNECTING: u32 = 0;
/// Link: up.
pub const FOREBAY_LINK_CONNECTED: u32 = 1;
/// Link: down; it is opened again after retry_in_ms.
pub const FOREBAY_LINK_WAITING: u32 = 2;
/// Link: the replicator was stopped, or its log was closed.
pub const FOREBAY_LINK_STOPPED: u32 = 3;

/// Delivery: each record stands upstream once.
pub const FOREBAY_EXACTLY_ONCE: u32 = 0;
/// Delivery: each record stands upstream, and after failures some may twice.
pub const FOREBAY_AT_LEAST_ONCE: u32 = 1;

/// How far a replicator has come, and what it is doing: forebay_replicator_status,
/// forebay_turns_status. No forebay_status, which is what functions return.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_progress {
    /// How many bytes of this struct were filled in.
    pub struct_size: u32,
    /// What the link is doing, one of FOREBAY_LINK_...
    pub link: u32,
    /// Every record below this offset is known to be durable upstream.
    pub committed: i64,
    /// Offsets of the log from there on, also of records that were deleted or dropped since.
    pub lag_records: u64,
    /// About how many bytes they take, or would take.
    pub lag_bytes: u64,
    /// Time of the oldest of them in milliseconds since 1970 UTC; -1 without lag.
    pub oldest_timestamp_ms: i64,
    /// Records sent, those sent again included.
    pub records_sent: u64,
    /// Of these, records sent again because they were not known to have arrived.
    pub records_resent: u64,
    /// Batches sent.
    pub batches_sent: u64,
    /// Bytes sent.
    pub bytes_sent: u64,
    /// Times the link was opened.
    pub connects: u64,
    /// Times it could not be opened, or broke.
    pub failures: u64,
    /// Times the upstream had less than it had acknowledged, and was given it again.
    pub rewinds: u64,
    /// Records that could not be read in the log, damaged or deleted, and were passed over.
    pub unreadable_records: u64,
    /// Milliseconds until the link is tried again; -1 unless it is FOREBAY_LINK_WAITING.
    pub retry_in_ms: i64,
    /// Requests with records that were sent and not answered.
    pub in_flight: u64,
    /// Where upstream the last acknowledged record stands; -1 if that is not known.
    pub upstream_offset: i64,
    /// Times that shipping went on behind offsets which the log does not have any more. To Kafka:
    /// an upstream that is a log has the gap in its offsets, and none is counted here.
    pub gaps: u64,
    /// Offsets in these gaps.
    pub gap_records: u64,
    /// Records that the upstream refused, which went to the dead-letter log.
    pub refused: u64,
    /// Records that may stand upstream twice, for nobody can tell whether they arrived.
    pub maybe_doubled: u64,
    /// Times another device was found to ship under this one's identity: a copied disk.
    pub identity_shared: u64,
    /// Settings of the upstream that will do harm; FOREBAY_NOTICE_WARNING has each as text.
    pub warnings: u64,
    /// FOREBAY_EXACTLY_ONCE or FOREBAY_AT_LEAST_ONCE.
    pub delivery: u32,
    /// The kind of the last error, as a status; FOREBAY_OK if there was none. FOREBAY_UPSTREAM goes
    /// by itself; FOREBAY_CONFLICT, FOREBAY_UPSTREAM_REJECTED and any other want a person.
    pub last_error_status: i32,
    /// The last error, with what to do about it; NUL-terminated, empty if there was none, cut short
    /// if it is longer. It stays, with its kind, when the link is up again, and does not say when
    /// it was: show it while `link` is not FOREBAY_LINK_CONNECTED.
    pub last_error: [c_char; 512],
    /// Batches sent as they are stored, compressed ones as they are compressed.
    pub sent_as_stored: u64,
    /// Batches encoded anew before they were sent: small ones put together, large ones split.
    pub sent_encoded: u64,
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_progress {
    const NAME: &str = "progress";
}

const _: () = assert!(size_of::<forebay_progress>() == 712);

/// Nothing happened in time.
pub const FOREBAY_NOTICE_NONE: u32 = 0;
/// The link is open.
pub const FOREBAY_NOTICE_CONNECTED: u32 = 1;
/// The link could not be opened, or broke: `text` and `status`. It is tried again for ever, and
/// nothing is lost meanwhile, whatever the status; all but FOREBAY_UPSTREAM go on failing until a
/// person does what the text says. The same again in a row is not told again,
/// unless the link was open in between, as with an upstream that is full.
pub const FOREBAY_NOTICE_FAILED: u32 = 2;
/// For the first time since the link was opened everything durable is acknowledged: all below
/// `offset`.
pub const FOREBAY_NOTICE_CAUGHT_UP: u32 = 3;
/// Shipping to Kafka went on behind `count` offsets that the log does not have any more.
pub const FOREBAY_NOTICE_GAP: u32 = 4;
/// `count` records of the log could not be read, damaged or deleted, and were passed over.
pub const FOREBAY_NOTICE_UNREADABLE: u32 = 5;
/// The upstream refused `count` records, which went to the dead-letter log.
pub const FOREBAY_NOTICE_REFUSED: u32 = 6;
/// `count` records may stand upstream twice: nobody can tell.
pub const FOREBAY_NOTICE_MAYBE_DOUBLED: u32 = 7;
/// The upstream had less than it had acknowledged, and is given it again.
pub const FOREBAY_NOTICE_REWOUND: u32 = 8;
/// Another device shipped under this one's identity; this one goes on under one of its own.
pub const FOREBAY_NOTICE_IDENTITY_SHARED: u32 = 9;
/// A setting of the upstream will do harm: `text` says what to change.
pub const FOREBAY_NOTICE_WARNING: u32 = 10;
/// The log was closed, or the replicator stopped: nothing is shipped any more.
pub const FOREBAY_NOTICE_STOPPED: u32 = 11;
/// `count` notices before this one were not taken in time.
pub const FOREBAY_NOTICE_MISSED: u32 = 12;

/// Something that happened to a replicator: forebay_replicator_next_notice,
/// forebay_turns_next_notice. Each kind says which of the fields it fills in; the others are 0.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct forebay_notice {
    /// How many bytes of this struct were filled in.
    pub struct_size: u32,
    /// One of FOREBAY_NOTICE_... Pass over those you do not know.
    pub kind: u32,
    /// How many.
    pub count: u64,
    /// An offset of the log.
    pub offset: i64,
    /// The kind of an error: FOREBAY_UPSTREAM goes by itself; FOREBAY_CONFLICT,
    /// FOREBAY_UPSTREAM_REJECTED and any other want a person.
    pub status: i32,
    /// 0.
    pub reserved: u32,
    /// What failed, and what to do about it; NUL-terminated, cut short if it is longer.
    pub text: [c_char; 512],
}

// SAFETY: plain numbers behind its size.
unsafe impl Grows for forebay_notice {
    const NAME: &str = "notice";
}

const _: () = assert!(size_of::<forebay_notice>() == 544);

/// Sets all options to their defaults; `size` is sizeof. Call it before setting any.
/// FOREBAY_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_options_init(
    options: Option<NonNull<forebay_replicator_options>>,
    size: usize,
) -> forebay_status {
    guard(|| sized::write(options, size, &sized::zeroed()))
}

/// Sets one option from text, as a configuration file has it: the name of a field of
/// forebay_replicator_options, which is that of ReplicatorOptions in Rust's files too, and a
/// number, decimal and without a unit; for bytes_per_second -1 too. The others stay as they are,
/// all of them if this fails. What a number may be is checked when the options are used.
/// Does not block. FOREBAY_NOT_FOUND if there is no such option, FOREBAY_INVALID_ARGUMENT if it
/// cannot have this value.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn forebay_replicator_options_set(
    options: Option<NonNull<forebay_replicator_options>>,
    name: forebay_bytes,
    value: forebay_bytes,
) -> forebay_status {
    guard(|| {
        let place = given(options, "options")?;
        let mut set: forebay_replicator_options = sized::read(place.as_ptr())?;
        text::set_of_replicator(&mut set, name.text("name")?, value.text("value")?.trim())?;
        let size = usize::try_from(set.struct_size).unwrap_or(0);
        sized::write(options, size, &set)
    })
}

/// The name of a kind of notices, such as "FOREBAY_NOTICE_GAP"; "FOREBAY_NOTICE_UNKNOWN" for a
/// number that is none. Never NULL, static. Does not block; any thread.
#[unsafe(no_mangle)]
pub extern "C" fn forebay_notice_name(kind: u32) -> *const c_char {
    let name: &CStr = match kind {
        FOREBAY_NOTICE_NONE => c"FOREBAY_NOTICE_NONE",
        FOREBAY_NOTICE_CONNECTED => c"FOREBAY_NOTICE_CONNECTED",
        FOREBAY_NOTICE_FAILED => c"FOREBAY_NOTICE_FAILED",
        FOREBAY_NOTICE_CAUGHT_UP => c"FOREBAY_NOTICE_CAUGHT_UP",
        FOREBAY_NOTICE_GAP => c"FOREBAY_NOTICE_GAP",
        FOREBAY_NOTICE_UNREADABLE => c"FOREBAY_NOTICE_UNREADABLE",
        FOREBAY_NOTICE_REFUSED => c"FOREBAY_NOTICE_REFUSED",
        FOREBAY_NOTICE_MAYBE_DOUBLED => c"FOREBAY_NOTICE_MAYBE_DOUBLED",
        FOREBAY_NOTICE_REWOUND => c"FOREBAY_NOTICE_REWOUND",
        FOREBAY_NOTICE_IDENTITY_SHARED => c"FOREBAY_NOTICE_IDENTITY_SHARED",
        FOREBAY_NOTICE_WARNING => c"FOREBAY_NOTICE_WARNING",
        FOREBAY_NOTICE_STOPPED => c"FOREBAY_NOTICE_STOPPED",
        FOREBAY_NOTICE_MISSED => c"FOREBAY_NOTICE_MISSED",
        _ => c"FOREBAY_NOTICE_UNKNOWN",
    };
    name.as_ptr()
}

/// The name of what a link is doing, such as "FOREBAY_LINK_WAITING"; "FOREBAY_LINK_UNKNOWN" for a
/// number that is none. Never NULL, static. Does not block; any thread.
#[unsafe(no_mangle)]
pub extern "C" fn forebay_link_name(link: u32) -> *const c_char {
    let name: &CStr = match link {
        FOREBAY_LINK_CONNECTING => c"FOREBAY_LINK_CONNECTING",
        FOREBAY_LINK_CONNECTED => c"FOREBAY_LINK_CONNECTED",
        FOREBAY_LINK_WAITING => c"FOREBAY_LINK_WAITING",
        FOREBAY_LINK_STOPPED => c"FOREBAY_LINK_STOPPED",
        _ => c"FOREBAY_LINK_UNKNOWN",
    };
    name.as_ptr()
}
