//! Lingers and tickets: what they do, and what they say when they cannot.
//!
//! Floor 6.

use super::*;

/// A linger of this log whose tickets wait for what is durable, or for what is written.
fn linger_of(log: *mut forebay_log, acknowledge: u32, millis: i64) -> *mut forebay_linger {
    let mut place = MaybeUninit::<forebay_linger_options>::uninit();
    let status = unsafe { forebay_linger_options_init(h(place.as_mut_ptr()), size_of_val(&place)) };
    assert_eq!(status, FOREBAY_OK);
    let mut options = unsafe { place.assume_init() };
    (options.acknowledge, options.linger_ms) = (acknowledge, millis);
    given(|linger| unsafe { forebay_log_linger(r(log), &raw const options, linger) })
}

fn hand_in(linger: *mut forebay_linger, value: &str) -> *mut forebay_ticket {
    given(|ticket| unsafe { forebay_linger_append(r(linger), bytes(value), ticket) })
}

pub(super) fn a_linger_does_what_it_is_told() {
    let rig = Rig::new();
    let (mut linger, one) = (MaybeUninit::uninit(), new_record("21.5 C"));
    let size = size_of::<forebay_linger_options>();
    says! {
        FOREBAY_OK:
        forebay_linger_options_init(room(), size);
        forebay_log_linger(r(rig.log), ptr::null(), Some(&mut linger));
    }
    let linger = unsafe { linger.assume_init() };
    says! {
        FOREBAY_OK:
        forebay_linger_append(r(linger), bytes("21.5 C"), None);
        forebay_linger_append_record(r(linger), Some(&one), None);
    }
    let ticket = hand_in(linger, "21.6 C");
    says! { FOREBAY_WOULD_BLOCK: forebay_ticket_try_wait(r(ticket), None); }
    says! {
        FOREBAY_OK:
        forebay_linger_flush(r(linger));
        forebay_ticket_try_wait(r(ticket), any());
        forebay_ticket_wait(r(ticket), any());
        forebay_ticket_wait_durable(r(ticket), any());
        forebay_ticket_free(h(ticket));
        forebay_linger_free(h(linger));
    }
}

pub(super) fn a_linger_says_what_it_cannot() {
    let (one, large) = (new_record("x"), "x".repeat(5000));
    let many = new_record(&large);
    let none = ptr::null();
    says! {
        FOREBAY_INVALID_ARGUMENT:
        forebay_linger_options_init(None, 0);
        forebay_log_linger(None, none, any());
        forebay_linger_append(None, bytes("x"), None);
        forebay_linger_append_record(None, Some(&one), None);
        forebay_linger_flush(None);
        forebay_ticket_wait(None, None);
        forebay_ticket_wait_durable(None, None);
    }
    let rig = Rig::new();
    let linger = linger_of(rig.log, FOREBAY_WRITTEN, 20);
    says! {
        FOREBAY_RECORD_TOO_LARGE:
        forebay_linger_append(r(linger), bytes(&large), None);
        forebay_linger_append_record(r(linger), Some(&many), None);
    }
    // I8: what waits when a sync fails, and what comes behind it.
    let ticket = hand_in(linger, "waits");
    let fault = Fault { on: CallKind::SyncFile, name: None, after: 0, times: u64::MAX, errno: EIO };
    rig.disk.fail(fault);
    assert_eq!(unsafe { forebay_log_flush(r(rig.log), None) }, FOREBAY_IO);
    rig.disk.clear_faults();
    says! {
        FOREBAY_POISONED:
        forebay_ticket_wait(r(ticket), None);
        forebay_ticket_wait_durable(r(ticket), None);
        forebay_linger_append(r(linger), bytes("x"), None);
        forebay_linger_append_record(r(linger), Some(&one), None);
    }
    unsafe {
        forebay_ticket_free(h(ticket));
        forebay_linger_free(h(linger));
    }
}

pub(super) fn a_linger_of_a_log_that_is_closed_says_so() {
    let rig = StoreRig::new();
    let (name, none) = (bytes("engine"), ptr::null());
    let again = given(|log| unsafe { forebay_store_log(r(rig.store), name, none, log) });
    let linger = linger_of(rig.log, FOREBAY_WRITTEN, 20);
    let (ticket, one) = (hand_in(linger, "waits"), new_record("late"));
    assert_eq!(unsafe { forebay_log_close(h(again)) }, FOREBAY_OK);
    let no_options = ptr::null();
    says! {
        FOREBAY_CLOSED:
        forebay_log_linger(r(rig.log), no_options, any());
        forebay_linger_append(r(linger), bytes("late"), None);
        forebay_linger_append_record(r(linger), Some(&one), None);
        forebay_linger_flush(r(linger));
    }
    // Closing appends what waits.
    says! {
        FOREBAY_OK:
        forebay_ticket_wait(r(ticket), None);
        forebay_ticket_wait_durable(r(ticket), None);
    }
    unsafe {
        forebay_ticket_free(h(ticket));
        forebay_linger_free(h(linger));
    }
}

/// A linger whose record waits, on a disk of its own.
struct Waiting {
    rig: Rig,
    linger: *mut forebay_linger,
    ticket: *mut forebay_ticket,
}

impl Waiting {
    fn new(acknowledge: u32) -> Waiting {
        let rig = Rig::new();
        let linger = linger_of(rig.log, acknowledge, -1);
        Waiting { ticket: hand_in(linger, "waits"), linger, rig }
    }
}

impl AsRef<Disk> for Waiting {
    fn as_ref(&self) -> &Disk {
        self.rig.as_ref()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        unsafe {
            forebay_ticket_free(h(self.ticket));
            forebay_linger_free(h(self.linger));
        }
    }
}

pub(super) fn a_linger_on_a_device_that_fails_says_so() {
    device! {
        EIO, FOREBAY_IO, Waiting::new(FOREBAY_DURABLE), waiting:
        forebay_ticket_wait(r(waiting.ticket), None);
        forebay_ticket_wait_durable(r(waiting.ticket), None);
    }
    let waiting = Waiting::new(FOREBAY_WRITTEN);
    let (log, value) = (waiting.rig.log, "x".repeat(3000));
    waiting.rig.disk.set_space(Some(0));
    while unsafe { forebay_log_append(r(log), bytes(&value), None) } == FOREBAY_OK {}
    let tickets = [hand_in(waiting.linger, &value), hand_in(waiting.linger, &value)];
    says! { FOREBAY_OUT_OF_SPACE: forebay_linger_flush(r(waiting.linger)); }
    says! {
        FOREBAY_OUT_OF_SPACE:
        forebay_ticket_wait(r(tickets[1]), None);
        forebay_ticket_wait_durable(r(tickets[1]), None);
    }
    tickets.into_iter().for_each(|ticket| unsafe { forebay_ticket_free(h(ticket)) });
    waiting.rig.disk.set_space(None);
}
