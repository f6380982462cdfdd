//! A device that fails: what each function says of it, over the simulated disk.
//!
//! Floor 6.

use std::mem::MaybeUninit;

use super::*;
use crate::simulation::{CallKind, Disk, Fault, Profile};
use crate::{FlushPolicy, IoMode, Log};

const EIO: i32 = 5;

fn log_on(disk: &Disk) -> *mut forebay_log {
    let options = Log::options().io_mode(IoMode::Positioned).flush(FlushPolicy::Manual);
    give(options.open_on(disk, "/log").unwrap())
}

fn failing(on: CallKind) -> Fault {
    Fault { on, name: Some(".log".into()), after: 0, times: 1, errno: EIO }
}

/// I8: the first call says what failed, each later one that it did; reading goes on.
#[test]
fn a_sync_that_fails_is_io_once_and_poisoned_from_then_on() {
    let disk = Disk::new(Profile::default());
    let log = log_on(&disk);
    let handle = unsafe { log.as_ref() };
    assert_eq!(unsafe { forebay_log_append(handle, bytes("kept"), None) }, FOREBAY_OK);
    let consumer = given(|place| unsafe {
        forebay_log_consumer(handle, bytes("display"), ptr::null(), place)
    });
    disk.fail(failing(CallKind::SyncFile));
    assert_eq!(unsafe { forebay_log_flush(handle, None) }, FOREBAY_IO, "{}", said());
    let mut reached = MaybeUninit::uninit();
    let statuses = unsafe {
        [
            forebay_log_append(handle, bytes("refused"), None),
            forebay_log_flush(handle, None),
            forebay_log_wait(handle, 0, FOREBAY_DURABLE, 0, Some(&mut reached)),
            forebay_log_delete_records(handle, 1, None),
            forebay_consumer_sync(NonNull::new(consumer)),
        ]
    };
    assert_eq!(statuses, [FOREBAY_POISONED; 5], "{}", said());
    let reader = given(|reader| unsafe { forebay_log_reader(handle, 0, 0, reader) });
    let batch = given(|batch| unsafe { forebay_reader_next(NonNull::new(reader), batch) });
    unsafe {
        assert_eq!(forebay_batch_count(batch.as_ref()), 1, "reading goes on");
        forebay_batch_free(NonNull::new(batch));
        forebay_reader_free(NonNull::new(reader));
        forebay_consumer_free(NonNull::new(consumer));
        assert_eq!(forebay_log_close(NonNull::new(log)), FOREBAY_POISONED, "{}", said());
    }
    let log = log_on(&disk.kill());
    unsafe {
        assert_eq!(forebay_log_end_offset(log.as_ref()), 1, "opened again, it goes on");
        assert_eq!(forebay_log_close(NonNull::new(log)), FOREBAY_OK);
    }
}

#[test]
fn a_read_that_fails_is_io_and_the_next_one_works() {
    let disk = Disk::new(Profile::default());
    let log = log_on(&disk);
    let handle = unsafe { log.as_ref() };
    assert_eq!(unsafe { forebay_log_append(handle, bytes("kept"), None) }, FOREBAY_OK);
    let reader = given(|reader| unsafe { forebay_log_reader(handle, 0, 0, reader) });
    disk.fail(failing(CallKind::Read));
    let mut batch = MaybeUninit::uninit();
    let status = unsafe { forebay_reader_next(NonNull::new(reader), Some(&mut batch)) };
    assert_eq!(status, FOREBAY_IO, "{}", said());
    let batch = given(|batch| unsafe { forebay_reader_next(NonNull::new(reader), batch) });
    unsafe {
        assert_eq!(forebay_batch_base_offset(batch.as_ref()), 0);
        forebay_batch_free(NonNull::new(batch));
        forebay_reader_free(NonNull::new(reader));
        assert_eq!(forebay_log_close(NonNull::new(log)), FOREBAY_OK);
    }
}
