//! Logs: what they do, and what they say when they cannot.
//!
//! Floor 6.

use super::*;

/// A log of a store, and that store, which closes it for whoever has it.
fn closed() -> (StoreRig, *mut forebay_log) {
    let rig = StoreRig::new();
    let none = ptr::null();
    let log = given(|log| unsafe { forebay_store_log(r(rig.store), bytes("engine"), none, log) });
    (rig, log)
}

pub(super) fn a_log_does_what_it_is_told() {
    let _disk = new_disk();
    let mut log = MaybeUninit::uninit();
    let options = options();
    says! { FOREBAY_OK: forebay_log_open(bytes("/log"), &raw const options, Some(&mut log)); }
    let log = unsafe { log.assume_init() };
    let one = new_record("21.5 C");
    says! {
        FOREBAY_OK:
        forebay_log_id(r(log), any());
        forebay_log_append(r(log), bytes("21.5 C"), any());
        forebay_log_append_record(r(log), Some(&one), any());
        forebay_log_append_batch(r(log), &raw const one, 1, any());
        forebay_log_append_batch_compressed(r(log), 0, &raw const one, 1, any());
        forebay_log_append_batch_at(r(log), 4, &raw const one, 1);
        forebay_log_flush(r(log), any());
        forebay_log_wait(r(log), 3, FOREBAY_DURABLE, 0, any());
        forebay_log_start_offset(r(log));
        forebay_log_end_offset(r(log));
        forebay_log_durable_offset(r(log));
        forebay_log_set_options(r(log), &raw const options);
        forebay_log_delete_records(r(log), 1, any());
        forebay_log_apply_retention(r(log), None, 0);
        forebay_log_verify(r(log), room(), size_of::<forebay_verification>());
        forebay_log_stats(r(log), room(), size_of::<forebay_stats>());
        forebay_log_recovery(r(log), room(), size_of::<forebay_recovery>());
        forebay_log_snapshot(r(log), bytes("/snapshot"));
        forebay_log_export(r(log), bytes("/export"));
        forebay_log_close(h(log));
    }
    let log = given(|log| unsafe { forebay_log_open(bytes("/log"), &raw const options, log) });
    says! { FOREBAY_OK: forebay_log_free(h(log)); }
    DISK.set(None);
}

pub(super) fn a_log_that_is_closed_says_so() {
    let (rig, again) = closed();
    let (log, one, options) = (rig.log, new_record("late"), options());
    let reader = given(|reader| unsafe { forebay_log_reader(r(log), 0, 0, reader) });
    let (name, none) = (bytes("display"), ptr::null());
    let consumer = given(|place| unsafe { forebay_log_consumer(r(log), name, none, place) });
    assert_eq!(unsafe { forebay_log_close(h(again)) }, FOREBAY_OK);
    says! {
        FOREBAY_CLOSED:
        forebay_log_append(r(log), bytes("late"), None);
        forebay_log_append_record(r(log), Some(&one), None);
        forebay_log_append_batch(r(log), &raw const one, 1, None);
        forebay_log_append_batch_compressed(r(log), 0, &raw const one, 1, None);
        forebay_log_append_batch_at(r(log), 1, &raw const one, 1);
        forebay_log_flush(r(log), None);
        forebay_log_wait(r(log), 1, FOREBAY_WRITTEN, -1, any());
        forebay_log_delete_records(r(log), 1, None);
        forebay_log_apply_retention(r(log), None, 0);
        forebay_log_set_options(r(log), &raw const options);
        forebay_log_verify(r(log), room(), size_of::<forebay_verification>());
        forebay_log_snapshot(r(log), bytes("/snapshot"));
        forebay_log_export(r(log), bytes("/export"));
        forebay_log_reader(r(log), 0, 0, any());
        forebay_log_consumer(r(log), bytes("new"), none, any());
        forebay_log_delete_consumer(r(log), name);
        forebay_reader_next(h(reader), any());
        forebay_reader_seek(h(reader), 0, 0);
        forebay_consumer_poll(h(consumer), -1, any());
        forebay_consumer_commit(h(consumer));
        forebay_consumer_commit_offset(h(consumer), 1);
        forebay_consumer_commit_with(h(consumer), 1, bytes("note"));
        forebay_consumer_seek(h(consumer), 0, 0);
        forebay_consumer_sync(h(consumer));
    }
    unsafe {
        forebay_reader_free(h(reader));
        forebay_consumer_free(h(consumer));
    }
}

/// I8.
pub(super) fn a_log_after_a_failed_sync_says_so() {
    let rig = Rig::new();
    let fault = Fault { on: CallKind::SyncFile, name: None, after: 0, times: u64::MAX, errno: EIO };
    rig.disk.fail(fault);
    says! { FOREBAY_IO: forebay_log_flush(r(rig.log), None); }
    rig.disk.clear_faults();
    let one = new_record("refused");
    let (log, consumer) = (rig.log, rig.consumer);
    says! {
        FOREBAY_POISONED:
        forebay_log_append(r(log), bytes("refused"), None);
        forebay_log_append_record(r(log), Some(&one), None);
        forebay_log_append_batch(r(log), &raw const one, 1, None);
        forebay_log_append_batch_compressed(r(log), 0, &raw const one, 1, None);
        forebay_log_append_batch_at(r(log), 21, &raw const one, 1);
        forebay_log_flush(r(log), None);
        forebay_log_wait(r(log), 20, FOREBAY_DURABLE, 0, any());
        forebay_log_delete_records(r(log), 20, None);
        forebay_log_apply_retention(r(log), None, 0);
        forebay_consumer_sync(h(consumer));
        forebay_log_close(rig.taken());
    }
}

pub(super) fn a_log_on_a_device_that_fails_says_so() {
    let one = new_record("one");
    device! {
        EIO, FOREBAY_IO, Rig::new(), rig:
        forebay_log_append(r(rig.log), bytes("one"), None);
        forebay_log_append_record(r(rig.log), Some(&one), None);
        forebay_log_append_batch(r(rig.log), &raw const one, 1, None);
        forebay_log_append_batch_compressed(r(rig.log), 0, &raw const one, 1, None);
        forebay_log_append_batch_at(r(rig.log), 21, &raw const one, 1);
        forebay_log_delete_records(r(rig.log), 15, None);
        forebay_log_verify(r(rig.log), room(), size_of::<forebay_verification>());
        forebay_log_snapshot(r(rig.log), bytes("/snapshot"));
        forebay_log_export(r(rig.log), bytes("/export"));
        forebay_log_close(rig.taken());
    }
    let retains = || {
        let rig = Rig::new();
        let mut options = options();
        options.retention_records = 3;
        let set = unsafe { forebay_log_set_options(r(rig.log), &raw const options) };
        assert_eq!(set, FOREBAY_OK, "{}", said());
        rig
    };
    device! { EIO, FOREBAY_IO, retains(), rig: forebay_log_apply_retention(r(rig.log), None, 0); }
    device! {
        ENOSPC, FOREBAY_OUT_OF_SPACE, Rig::new(), rig:
        forebay_log_snapshot(r(rig.log), bytes("/snapshot"));
        forebay_log_export(r(rig.log), bytes("/export"));
    }
    device! {
        EROFS, FOREBAY_READ_ONLY, Rig::new(), rig:
        forebay_log_snapshot(r(rig.log), bytes("/snapshot"));
        forebay_log_export(r(rig.log), bytes("/export"));
    }
    // A disk that is used up is none that fails.
    let rig = Rig::new();
    rig.disk.set_space(Some(0));
    let value = "x".repeat(3000);
    while unsafe { forebay_log_append(r(rig.log), bytes(&value), None) } == FOREBAY_OK {}
    let (log, one) = (rig.log, new_record(&value));
    let end = unsafe { forebay_log_end_offset(r(log)) };
    says! {
        FOREBAY_OUT_OF_SPACE:
        forebay_log_append(r(log), bytes(&value), None);
        forebay_log_append_record(r(log), Some(&one), None);
        forebay_log_append_batch(r(log), [one; 1].as_ptr(), 1, None);
        forebay_log_append_batch_compressed(r(log), 0, [one; 1].as_ptr(), 1, None);
        forebay_log_append_batch_at(r(log), end, [one; 1].as_ptr(), 1);
    }
    rig.disk.set_space(None);
}

pub(super) fn a_log_that_is_full_or_asked_too_much_says_so() {
    let rig = Rig::with(|options| options.memory_limit_bytes = 1500 << 10);
    let (log, large, short) = (rig.log, "x".repeat(5000), new_record("x"));
    let (one, none) = (new_record(&large), ptr::null());
    says! {
        FOREBAY_RECORD_TOO_LARGE:
        forebay_log_append(r(log), bytes(&large), None);
        forebay_log_append_record(r(log), Some(&one), None);
        forebay_log_append_batch(r(log), &raw const one, 1, None);
        forebay_log_append_batch_compressed(r(log), 0, &raw const one, 1, None);
        forebay_log_append_batch_at(r(log), 21, &raw const one, 1);
    }
    says! { FOREBAY_CONFLICT: forebay_log_append_batch_at(r(log), 7, &raw const short, 1); }
    let mut readers = Vec::new();
    loop {
        let mut reader = MaybeUninit::uninit();
        match unsafe { forebay_log_reader(r(log), 0, 0, Some(&mut reader)) } {
            FOREBAY_OK => readers.push(unsafe { reader.assume_init() }),
            _ => break,
        }
    }
    says! {
        FOREBAY_OUT_OF_SPACE:
        forebay_log_reader(r(log), 0, 0, any());
        forebay_log_consumer(r(log), bytes("new"), none, any());
    }
    readers.into_iter().for_each(|reader| unsafe { forebay_reader_free(h(reader)) });
    says! { FOREBAY_OFFSET_OUT_OF_RANGE: forebay_log_delete_records(r(log), 99, None); }
}

/// A disk of which each use begins anew, and what is on it.
fn closed_log() -> Disk {
    let disk = new_disk();
    let options = options();
    let log = given(|log| unsafe { forebay_log_open(bytes("/log"), &raw const options, log) });
    append(log, "21.5 C");
    assert_eq!(unsafe { forebay_log_close(h(log)) }, FOREBAY_OK);
    disk
}

struct Bare(Disk);

impl AsRef<Disk> for Bare {
    fn as_ref(&self) -> &Disk {
        &self.0
    }
}

/// Lets go of what was opened although the device fails.
fn open(options: *const forebay_options) -> forebay_status {
    let mut log = MaybeUninit::new(ptr::null_mut());
    let status = unsafe { forebay_log_open(bytes("/log"), options, Some(&mut log)) };
    unsafe { forebay_log_free(h(log.assume_init())) };
    status
}

pub(super) fn what_cannot_be_opened_says_why() {
    let options = options();
    let given_options = &raw const options;
    for (errno, status) in
        [(EIO, FOREBAY_IO), (ENOSPC, FOREBAY_OUT_OF_SPACE), (EROFS, FOREBAY_READ_ONLY)]
    {
        let new = || Bare(closed_log());
        by_device("forebay_log_open", errno, status, new, |_| open(given_options));
    }
    let disk = closed_log();
    let log = given(|log| unsafe { forebay_log_open(bytes("/log"), given_options, log) });
    says! { FOREBAY_LOCKED: forebay_log_open(bytes("/log"), given_options, any()); }
    unsafe { forebay_log_free(h(log)) };
    reading::make_newer(&disk, "/log/log.meta");
    says! { FOREBAY_UNSUPPORTED_FORMAT: forebay_log_open(bytes("/log"), given_options, any()); }
    DISK.set(None);
}
