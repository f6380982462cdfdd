//! Shipping to a log: with a thread, and in turns.

use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{self, NonNull};

use forebay::ffi::*;
use tempfile::TempDir;

use super::face::*;

const OK: forebay_status = forebay_status::FOREBAY_OK;

struct Rig {
    dir: TempDir,
    log: NonNull<forebay_log>,
}

impl Rig {
    fn new(records: usize) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let log = open_log(&dir.path().join("edge"));
        append(log, records);
        Rig { dir, log }
    }

    fn mirror(&self) -> std::path::PathBuf {
        self.dir.path().join("mirror")
    }

    fn upstream(&self) -> NonNull<forebay_upstream> {
        log_upstream(&self.mirror())
    }

    fn start(&self, upstream: NonNull<forebay_upstream>) -> NonNull<forebay_replicator> {
        opened(|place| unsafe {
            let log = at(self.log);
            forebay_replicator_start(log, bytes("up"), Some(upstream), ptr::null(), place)
        })
    }

    fn turns(&self) -> NonNull<forebay_turns> {
        let upstream = self.upstream();
        opened(|place| unsafe {
            forebay_turns_new(at(self.log), bytes("up"), Some(upstream), ptr::null(), place)
        })
    }

    fn end(&self) -> i64 {
        unsafe { forebay_log_end_offset(at(self.log)) }
    }
}

fn log_upstream(dir: &Path) -> NonNull<forebay_upstream> {
    opened(|place| unsafe { forebay_upstream_log_new(path(dir), ptr::null(), place) })
}

fn zeroed<T>() -> T {
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn progress_of(replicator: NonNull<forebay_replicator>) -> forebay_progress {
    let mut progress: forebay_progress = zeroed();
    let place = Some(NonNull::from(&mut progress));
    let size = size_of::<forebay_progress>();
    ok(unsafe { forebay_replicator_status(at(replicator), place, size) });
    assert_eq!(progress.struct_size as usize, size);
    progress
}

fn notice_of(replicator: NonNull<forebay_replicator>, timeout_ms: i64) -> forebay_notice {
    let mut notice: forebay_notice = zeroed();
    let place = Some(NonNull::from(&mut notice));
    let size = size_of::<forebay_notice>();
    ok(unsafe { forebay_replicator_next_notice(at(replicator), timeout_ms, place, size) });
    notice
}

fn wait(replicator: NonNull<forebay_replicator>, offset: i64, ms: i64) -> (forebay_status, bool) {
    let mut reached = MaybeUninit::new(false);
    let place = Some(&mut reached);
    let status = unsafe { forebay_replicator_wait(at(replicator), offset, ms, place) };
    (status, unsafe { reached.assume_init() })
}

#[test]
fn what_is_durable_arrives_once_and_is_told() {
    let rig = Rig::new(300);
    let replicator = rig.start(rig.upstream());
    assert_eq!(wait(replicator, rig.end(), -1), (OK, true));
    assert_eq!(notice_of(replicator, -1).kind, FOREBAY_NOTICE_CONNECTED);
    let caught_up = notice_of(replicator, -1);
    assert_eq!((caught_up.kind, caught_up.offset), (FOREBAY_NOTICE_CAUGHT_UP, 300));
    assert_eq!(notice_of(replicator, 0).kind, FOREBAY_NOTICE_NONE);
    assert_eq!(wait(replicator, 301, 0), (OK, false));
    let progress = progress_of(replicator);
    assert_eq!(progress.link, FOREBAY_LINK_CONNECTED);
    assert_eq!((progress.committed, progress.lag_records, progress.connects), (300, 0, 1));
    assert_eq!((progress.records_sent, progress.records_resent), (300, 0));
    assert!(progress.batches_sent == 300 && progress.bytes_sent > 300 * 70);
    assert_eq!((progress.oldest_timestamp_ms, progress.retry_in_ms), (-1, -1));
    assert_eq!((progress.upstream_offset, progress.delivery), (-1, FOREBAY_EXACTLY_ONCE));
    assert_eq!((progress.last_error_status, text(&progress.last_error)), (0, String::new()));
    let nowhere = unsafe { forebay_replicator_upstream_offset(at(replicator), 0) };
    assert_eq!(nowhere, i64::from(forebay_status::FOREBAY_NOT_FOUND as i32));
    ok(unsafe { forebay_replicator_stop(Some(replicator)) });
    close(rig.log);
    let expected: Vec<_> = (0..300).map(|number| format!("reading {number}")).collect();
    assert_eq!(values(&rig.mirror()), expected);
}

#[test]
fn a_stopped_one_goes_on_where_it_was_and_free_is_a_stop() {
    let rig = Rig::new(10);
    for more in [20, 30] {
        let replicator = rig.start(rig.upstream());
        assert_eq!(wait(replicator, rig.end(), -1), (OK, true));
        unsafe { forebay_replicator_free(Some(replicator)) };
        append(rig.log, more);
    }
    let replicator = rig.start(rig.upstream());
    assert_eq!(wait(replicator, rig.end(), -1), (OK, true));
    assert_eq!(progress_of(replicator).records_sent, 30);
    ok(unsafe { forebay_replicator_stop(Some(replicator)) });
    ok(unsafe { forebay_replicator_stop(None) });
    unsafe { forebay_replicator_free(None) };
    close(rig.log);
    assert_eq!(values(&rig.mirror()).len(), 60);
}

/// A file stands where its directory has to be.
#[test]
fn a_link_that_cannot_be_opened_is_told_and_tried_again() {
    let rig = Rig::new(7);
    std::fs::write(rig.mirror(), "in the way").unwrap();
    let replicator = rig.start(rig.upstream());
    let failed = notice_of(replicator, -1);
    assert_eq!(failed.kind, FOREBAY_NOTICE_FAILED);
    assert!(text(&failed.text).contains("mirror"), "{}", text(&failed.text));
    let progress = progress_of(replicator);
    assert_eq!((progress.last_error_status, progress.lag_records), (failed.status, 7));
    assert!(progress.failures > 0 && progress.lag_bytes > 7 * 70);
    assert!(progress.oldest_timestamp_ms > 1_600_000_000_000);
    assert_eq!(text(&progress.last_error), text(&failed.text));
    std::fs::remove_file(rig.mirror()).unwrap();
    assert_eq!(wait(replicator, rig.end(), -1), (OK, true));
    assert_eq!(notice_of(replicator, -1).kind, FOREBAY_NOTICE_CONNECTED);
    ok(unsafe { forebay_replicator_stop(Some(replicator)) });
    close(rig.log);
}

#[test]
fn a_log_that_is_closed_ends_it() {
    let rig = Rig::new(1);
    let replicator = rig.start(rig.upstream());
    assert_eq!(wait(replicator, rig.end(), -1), (OK, true));
    close(rig.log);
    // Whether it was idle once before is a matter of time.
    loop {
        let notice = notice_of(replicator, -1);
        match notice.kind {
            FOREBAY_NOTICE_CONNECTED | FOREBAY_NOTICE_CAUGHT_UP => {}
            FOREBAY_NOTICE_STOPPED => break,
            kind => panic!("{kind}: {}", text(&notice.text)),
        }
    }
    assert_eq!(progress_of(replicator).link, FOREBAY_LINK_STOPPED);
    assert_eq!(notice_of(replicator, -1).kind, FOREBAY_NOTICE_NONE, "there is nothing to wait for");
    fails(wait(replicator, 2, -1).0, forebay_status::FOREBAY_CLOSED, "stopped");
    ok(unsafe { forebay_replicator_stop(Some(replicator)) });
}

#[test]
fn an_upstream_is_taken_by_what_starts_and_by_nothing_else() {
    let rig = Rig::new(1);
    let first = rig.start(rig.upstream());
    let other = log_upstream(&rig.dir.path().join("other"));
    let log = at(rig.log);
    let start = |name: &str, options: *const forebay_replicator_options| {
        let started = not_opened(|place| unsafe {
            forebay_replicator_start(log, bytes(name), Some(other), options, place)
        });
        let made = not_opened(|place| unsafe {
            forebay_turns_new(log, bytes(name), Some(other), options, place)
        });
        assert_eq!(started, made);
        started
    };
    let mut options: forebay_replicator_options = zeroed();
    assert_eq!(start("up", ptr::null()), forebay_status::FOREBAY_CONSUMER_BUSY);
    fails(start("no/name", ptr::null()), INVALID, "name");
    fails(start("two", &raw const options), INVALID, "pass sizeof");
    options.struct_size = size_of::<forebay_replicator_options>().try_into().unwrap();
    for (field, name) in [
        (&raw mut options.backoff_min_ms, "backoff_min_ms"),
        (&raw mut options.backoff_max_ms, "backoff_max_ms"),
        (&raw mut options.acknowledge_timeout_ms, "acknowledge_timeout_ms"),
    ] {
        unsafe { field.write(-1) };
        fails(start("two", &raw const options), INVALID, name);
        unsafe { field.write(5) };
    }
    options.reserved = 1;
    fails(start("two", &raw const options), INVALID, "reserved");
    options.reserved = 0;
    (options.in_flight_bytes, options.bytes_per_second) = (1, 1_000_000_000);
    let second = opened(|place| unsafe {
        let options = &raw const options;
        forebay_replicator_start(log, bytes("two"), Some(other), options, place)
    });
    assert_eq!(wait(second, 1, -1), (OK, true));
    if cfg!(debug_assertions) {
        // In others a handle that was taken cannot be told apart.
        fails(start("three", ptr::null()), INVALID, "the upstream was closed or freed before");
    }
    for replicator in [first, second] {
        ok(unsafe { forebay_replicator_stop(Some(replicator)) });
    }
    close(rig.log);
    unsafe { forebay_upstream_free(None) };
}

#[test]
fn options_are_set_up_for_callers_of_any_age() {
    let mut options: forebay_replicator_options = zeroed();
    options.backoff_min_ms = 7;
    let place = Some(NonNull::from(&mut options));
    let size = size_of::<forebay_replicator_options>();
    ok(unsafe { forebay_replicator_options_init(place, size) });
    assert_eq!((options.struct_size as usize, options.backoff_min_ms), (size, 0));
    for size in [0, 4, 1 << 20] {
        fails(unsafe { forebay_replicator_options_init(place, size) }, INVALID, "sizeof");
    }
    fails(unsafe { forebay_replicator_options_init(None, size) }, INVALID, "options is NULL");
}

#[test]
fn turns_ship_without_a_thread() {
    let rig = Rig::new(50);
    let turns = rig.turns();
    let mut progress: forebay_progress = zeroed();
    let status = |progress: &mut forebay_progress, size| unsafe {
        forebay_turns_status(Some(turns), Some(NonNull::from(progress)), size)
    };
    let size = size_of::<forebay_progress>();
    let mut wait_ms = MaybeUninit::new(-2);
    let mut turn = || {
        ok(unsafe { forebay_turns_turn(Some(turns), Some(&mut wait_ms)) });
        unsafe { wait_ms.assume_init() }
    };
    for _ in 0..1000 {
        assert!(turn() >= 0);
        ok(status(&mut progress, size));
        if progress.committed == 50 {
            break;
        }
    }
    assert_eq!((progress.committed, progress.records_sent), (50, 50));
    assert!((0..10).map(|_| turn()).any(|wait| wait > 0), "it is idle");
    let next = |size| {
        let mut notice: forebay_notice = zeroed();
        let place = Some(NonNull::from(&mut notice));
        (unsafe { forebay_turns_next_notice(Some(turns), place, size) }, notice.kind)
    };
    // One that cannot be handed out is not lost.
    fails(next(4).0, INVALID, "notice: 4 bytes is no size of it");
    let kinds: Vec<_> = (0..3).map(|_| next(size_of::<forebay_notice>())).collect();
    let kinds: Vec<_> = kinds.into_iter().map(|(status, kind)| (ok(status), kind).1).collect();
    assert_eq!(kinds, [FOREBAY_NOTICE_CONNECTED, FOREBAY_NOTICE_CAUGHT_UP, FOREBAY_NOTICE_NONE]);
    let nowhere = unsafe { forebay_turns_upstream_offset(Some(turns), 3) };
    assert_eq!(nowhere, i64::from(forebay_status::FOREBAY_NOT_FOUND as i32));
    fails(status(&mut progress, 0), INVALID, "progress: 0 bytes is no size of it");
    close(rig.log);
    assert!((0..100).any(|_| turn() == -1), "nothing is shipped any more");
    unsafe { forebay_turns_free(Some(turns)) };
    unsafe { forebay_turns_free(None) };
    assert_eq!(values(&rig.mirror()).len(), 50);
}

/// A caller whose structs are smaller gets what they have, and a larger one zeroes behind.
#[test]
fn reports_fit_callers_of_any_age() {
    let rig = Rig::new(3);
    let replicator = rig.start(rig.upstream());
    assert_eq!(wait(replicator, 3, -1), (OK, true));
    let mut bytes = [0xff_u8; 1024];
    let place = NonNull::from(&mut bytes).cast();
    ok(unsafe { forebay_replicator_status(at(replicator), Some(place), 16) });
    assert_eq!((bytes[0], bytes[8], bytes[15], bytes[16]), (16, 3, 0, 0xff));
    let place = NonNull::from(&mut bytes).cast();
    ok(unsafe { forebay_replicator_status(at(replicator), Some(place), 1000) });
    assert!(bytes[size_of::<forebay_progress>()..1000].iter().all(|byte| *byte == 0));
    assert_eq!(bytes[1000], 0xff);
    for size in [0, 7, 1 << 20] {
        let place = NonNull::from(&mut bytes);
        let status = unsafe { forebay_replicator_status(at(replicator), Some(place.cast()), size) };
        fails(status, INVALID, "sizeof");
        let notice = Some(place.cast());
        let told = unsafe { forebay_replicator_next_notice(at(replicator), 0, notice, size) };
        fails(told, INVALID, "sizeof");
    }
    assert_eq!(notice_of(replicator, 0).kind, FOREBAY_NOTICE_CONNECTED, "none was lost");
    ok(unsafe { forebay_replicator_stop(Some(replicator)) });
    close(rig.log);
}

#[test]
fn each_null_is_named() {
    let rig = Rig::new(1);
    let (upstream, log, name) = (rig.upstream(), at(rig.log), bytes("up"));
    let none = ptr::null();
    let start = |log, upstream| {
        not_opened(|place| unsafe { forebay_replicator_start(log, name, upstream, none, place) })
    };
    fails(start(None, Some(upstream)), INVALID, "log is NULL");
    fails(start(log, None), INVALID, "upstream is NULL");
    let new = |log, upstream| {
        not_opened(|place| unsafe { forebay_turns_new(log, name, upstream, none, place) })
    };
    fails(new(None, Some(upstream)), INVALID, "log is NULL");
    fails(new(log, None), INVALID, "upstream is NULL");
    let up = Some(upstream);
    for (status, says) in [
        (unsafe { forebay_replicator_start(log, name, up, none, None) }, "replicator_out is NULL"),
        (unsafe { forebay_turns_new(log, name, up, none, None) }, "turns_out is NULL"),
        (unsafe { forebay_upstream_log_new(name, none.cast(), None) }, "upstream_out is NULL"),
    ] {
        assert_eq!(status, INVALID, "{says}");
    }
    fails(unsafe { forebay_upstream_log_new(name, none.cast(), None) }, INVALID, "upstream_out");
    let nothing = forebay_bytes { data: ptr::null(), len: 0 };
    let unnamed = not_opened(|place| unsafe {
        forebay_replicator_start(log, nothing, Some(upstream), none, place)
    });
    assert_eq!(unnamed, INVALID);
    let no_dir =
        |dir| not_opened(|place| unsafe { forebay_upstream_log_new(dir, ptr::null(), place) });
    fails(no_dir(nothing), INVALID, "dir is empty");
    fails(no_dir(forebay_bytes { data: ptr::null(), len: 3 }), INVALID, "dir is NULL");
    unsafe { forebay_upstream_free(Some(upstream)) };
    nulls_of_handles(&rig);
    close(rig.log);
}

fn nulls_of_handles(rig: &Rig) {
    let replicator = rig.start(rig.upstream());
    let it = at(replicator);
    let (mut progress, mut notice) = (zeroed::<forebay_progress>(), zeroed::<forebay_notice>());
    let (p, n) = (Some(NonNull::from(&mut progress)), Some(NonNull::from(&mut notice)));
    let (ps, ns) = (size_of::<forebay_progress>(), size_of::<forebay_notice>());
    let (mut reached, mut wait_ms) = (MaybeUninit::new(false), MaybeUninit::new(0));
    let said = [
        (unsafe { forebay_replicator_status(None, p, ps) }, last_error()),
        (unsafe { forebay_replicator_status(it, None, ps) }, last_error()),
        (unsafe { forebay_replicator_next_notice(None, 0, n, ns) }, last_error()),
        (unsafe { forebay_replicator_next_notice(it, 0, None, ns) }, last_error()),
        (unsafe { forebay_replicator_wait(None, 0, 0, Some(&mut reached)) }, last_error()),
        (unsafe { forebay_replicator_wait(it, 0, 0, None) }, last_error()),
        (unsafe { forebay_turns_turn(None, Some(&mut wait_ms)) }, last_error()),
        (unsafe { forebay_turns_status(None, p, ps) }, last_error()),
        (unsafe { forebay_turns_next_notice(None, n, ns) }, last_error()),
    ];
    let names = [
        "replicator",
        "progress",
        "replicator",
        "notice",
        "replicator",
        "reached_out",
        "turns",
        "turns",
        "turns",
    ];
    for ((status, text), name) in said.into_iter().zip(names) {
        assert_eq!(status, INVALID, "{text}");
        assert!(text.contains(&format!("{name} is NULL")), "{name}: {text}");
    }
    let invalid = i64::from(INVALID as i32);
    assert_eq!(unsafe { forebay_replicator_upstream_offset(None, 0) }, invalid);
    assert_eq!(unsafe { forebay_replicator_upstream_offset(it, -1) }, invalid);
    assert_eq!(unsafe { forebay_turns_upstream_offset(None, 0) }, invalid);
    fails(wait(replicator, -1, 0).0, INVALID, "no offset is negative");
    ok(unsafe { forebay_replicator_stop(Some(replicator)) });
    let turns = rig.turns();
    fails(unsafe { forebay_turns_turn(Some(turns), None) }, INVALID, "wait_ms_out is NULL");
    fails(unsafe { forebay_turns_status(Some(turns), None, ps) }, INVALID, "progress is NULL");
    fails(unsafe { forebay_turns_next_notice(Some(turns), None, ns) }, INVALID, "notice is NULL");
    unsafe { forebay_turns_free(Some(turns)) };
}

/// What is Kafka's alone is refused, and named.
#[test]
fn an_upstream_that_is_a_log_has_no_settings() {
    unsafe extern "C" fn never(
        _: *mut std::ffi::c_void,
        _: *mut u8,
        _: usize,
        _: *mut usize,
    ) -> i32 {
        -1
    }
    let rig = Rig::new(0);
    let upstream = rig.upstream();
    let set = unsafe { forebay_upstream_set(Some(upstream), bytes("client.id"), bytes("me")) };
    fails(set, forebay_status::FOREBAY_NOT_FOUND, "client.id");
    let letter = unsafe { forebay_upstream_set_dead_letter(Some(upstream), at(rig.log)) };
    fails(letter, INVALID, "dead_letter");
    let token = unsafe {
        forebay_upstream_set_token_callback(Some(upstream), Some(never), ptr::null_mut(), None)
    };
    fails(token, INVALID, "token callback");
    unsafe { forebay_upstream_free(Some(upstream)) };
    close(rig.log);
}

/// As they are passed, and as they are refused.
#[test]
fn a_mirror_is_opened_by_the_options_given() {
    let rig = Rig::new(5000);
    let mut options: forebay_options = zeroed();
    let size = size_of::<forebay_options>();
    ok(unsafe { forebay_options_init(Some(NonNull::from(&mut options)), size) });
    options.segment_bytes = 64 << 10;
    let upstream = opened(|place| unsafe {
        forebay_upstream_log_new(path(&rig.mirror()), &raw const options, place)
    });
    let replicator = rig.start(upstream);
    assert_eq!(wait(replicator, 5000, -1), (OK, true));
    ok(unsafe { forebay_replicator_stop(Some(replicator)) });
    assert!(forebay::Log::open(rig.mirror()).unwrap().stats().segments > 4);
    options.io_mode = 99;
    let refused = not_opened(|place| unsafe {
        forebay_upstream_log_new(path(&rig.mirror()), &raw const options, place)
    });
    fails(refused, INVALID, "io_mode");
    close(rig.log);
}
