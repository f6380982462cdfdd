//! Lingers and tickets, as C uses them.

use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use crate::calls::*;

fn defaults() -> forebay_linger_options {
    let mut place = MaybeUninit::<forebay_linger_options>::uninit();
    let size = size_of::<forebay_linger_options>();
    ok(unsafe { forebay_linger_options_init(NonNull::new(place.as_mut_ptr()), size) });
    unsafe { place.assume_init() }
}

fn linger(log: *mut forebay_log, options: &forebay_linger_options) -> *mut forebay_linger {
    given(|linger| unsafe { forebay_log_linger(r(log), options, linger) })
}

fn hand_in(linger: *mut forebay_linger, value: &str) -> *mut forebay_ticket {
    given(|ticket| unsafe { forebay_linger_append(r(linger), bytes(value), ticket) })
}

const LONG_MS: i64 = 1 << 40;

#[test]
fn records_become_batches_and_tickets_tell_their_offsets() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let options = forebay_linger_options { linger_ms: LONG_MS, batch_records: 3, ..defaults() };
    let three = linger(log, &options);
    let tickets: Vec<_> = (0..4).map(|n| hand_in(three, &n.to_string())).collect();
    ok(unsafe { forebay_linger_append(r(three), bytes("unasked"), None) });
    let record = new_record(Some("key"), "with a key");
    let keyed =
        given(|ticket| unsafe { forebay_linger_append_record(r(three), Some(&record), ticket) });
    assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, 6);
    let last = hand_in(three, "last");
    let mut nothing = MaybeUninit::new(-7);
    let not_yet = unsafe { forebay_ticket_try_wait(r(last), Some(&mut nothing)) };
    refused(not_yet, FOREBAY_WOULD_BLOCK, "waits for its batch");
    assert_eq!(unsafe { nothing.assume_init() }, -7, "untouched");
    ok(unsafe { forebay_linger_flush(r(three)) });
    for (expected, ticket) in [(0, tickets[0]), (3, tickets[3]), (5, keyed), (6, last)] {
        assert_eq!(given(|at| unsafe { forebay_ticket_try_wait(r(ticket), at) }), expected);
        assert_eq!(given(|at| unsafe { forebay_ticket_wait(r(ticket), at) }), expected);
    }
    assert_eq!(given(|at| unsafe { forebay_ticket_wait_durable(r(last), at) }), 6);
    assert_eq!(unsafe { forebay_log_durable_offset(r(log)) }, 7);
    let stats: forebay_stats =
        report(|place, size| unsafe { forebay_log_stats(r(log), place, size) });
    assert_eq!((stats.records_appended, stats.batches_appended), (7, 3));

    let behind = hand_in(three, "by its end");
    unsafe { forebay_linger_free(h(three)) };
    assert_eq!(given(|at| unsafe { forebay_ticket_wait(r(behind), at) }), 7);
    for ticket in tickets.into_iter().chain([keyed, last, behind]) {
        unsafe { forebay_ticket_free(h(ticket)) };
    }
    close(log);
}

#[test]
fn a_durable_answer_is_durable_and_no_time_is_none() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let options =
        forebay_linger_options { acknowledge: FOREBAY_DURABLE, linger_ms: -1, ..defaults() };
    let at_once = linger(log, &options);
    let ticket = hand_in(at_once, "21.5 C");
    assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, 1, "no time to wait for company");
    ok(unsafe { forebay_ticket_wait(r(ticket), None) });
    assert_eq!(unsafe { forebay_log_durable_offset(r(log)) }, 1);
    unsafe { forebay_ticket_free(h(ticket)) };
    unsafe { forebay_linger_free(h(at_once)) };
    let usual = given(|linger| unsafe { forebay_log_linger(r(log), ptr::null(), linger) });
    let ticket = hand_in(usual, "21.6 C");
    assert_eq!(given(|at| unsafe { forebay_ticket_wait(r(ticket), at) }), 1);
    close(log);
    refused(
        unsafe { forebay_linger_append(r(usual), bytes("late"), None) },
        FOREBAY_CLOSED,
        "closed",
    );
    unsafe { forebay_linger_free(h(usual)) };
    assert_eq!(given(|at| unsafe { forebay_ticket_wait(r(ticket), at) }), 1, "as it was");
    unsafe { forebay_ticket_free(h(ticket)) };
}

#[test]
fn what_is_wrong_is_refused_and_gives_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let wrong = [
        (forebay_linger_options { acknowledge: 7, ..defaults() }, "visibility is 7"),
        (forebay_linger_options { linger_ms: -2, ..defaults() }, "linger_ms is -2"),
        (forebay_linger_options { batch_bytes: u64::MAX, ..defaults() }, "batch_bytes is"),
        (forebay_linger_options { batch_records: 1 << 31, ..defaults() }, "batch_records is"),
        (forebay_linger_options { struct_size: 4, ..defaults() }, "linger options"),
    ];
    for (options, words) in wrong {
        let mut place = MaybeUninit::new(ptr::dangling_mut());
        let status = unsafe { forebay_log_linger(r(log), &options, Some(&mut place)) };
        refused(status, FOREBAY_INVALID_ARGUMENT, words);
        assert!(unsafe { place.assume_init() }.is_null());
    }
    let usual = linger(log, &defaults());
    let mut place = MaybeUninit::new(ptr::dangling_mut());
    let status = unsafe { forebay_linger_append_record(r(usual), None, Some(&mut place)) };
    refused(status, FOREBAY_INVALID_ARGUMENT, "record");
    assert!(unsafe { place.assume_init() }.is_null());
    let null = ptr::null_mut();
    let statuses = unsafe {
        [
            forebay_log_linger(None, ptr::null(), Some(&mut MaybeUninit::uninit())),
            forebay_log_linger(r(log), ptr::null(), None),
            forebay_linger_append(None, bytes("x"), None),
            forebay_linger_flush(None),
            forebay_ticket_wait(r(null), None),
            forebay_ticket_wait_durable(None, None),
            forebay_ticket_try_wait(None, None),
            forebay_linger_options_init(None, 32),
        ]
    };
    assert_eq!(statuses, [FOREBAY_INVALID_ARGUMENT; 8]);
    unsafe {
        forebay_ticket_free(None);
        forebay_linger_free(None);
        forebay_linger_free(h(usual));
    }
    close(log);
}
