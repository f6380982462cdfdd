//! Threads and processes through C: what may run at once does, and what may not is told.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicBool, Ordering};

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use crate::calls::*;

/// A handle that another thread gets, as C passes one.
pub(crate) struct Passed<T>(pub(crate) *mut T);

impl<T> Clone for Passed<T> {
    fn clone(&self) -> Passed<T> {
        *self
    }
}

impl<T> Copy for Passed<T> {}

unsafe impl<T> Send for Passed<T> {}

impl<T> Passed<T> {
    pub(crate) fn get(self) -> *mut T {
        self.0
    }
}

#[test]
fn a_consumer_in_use_by_another_thread_is_busy_and_not_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let consumer = consumer(log, "display");
    let passed = Passed(consumer);
    let polling = std::thread::spawn(move || {
        let mut batch = MaybeUninit::uninit();
        loop {
            let status = unsafe { forebay_consumer_poll(h(passed.get()), -1, Some(&mut batch)) };
            // The commit below may have come first.
            if status != FOREBAY_WOULD_BLOCK {
                return (status, Passed(unsafe { batch.assume_init() }));
            }
        }
    });
    // Until the poll has begun, the commit is simply done.
    let busy = loop {
        match unsafe { forebay_consumer_commit(h(consumer)) } {
            FOREBAY_OK => std::thread::yield_now(),
            busy => break busy,
        }
    };
    refused(busy, FOREBAY_WOULD_BLOCK, "the consumer is in use by another call");
    append(log, "21.5 C");
    let (status, batch) = polling.join().unwrap();
    assert_eq!(status, FOREBAY_OK);
    assert_eq!(seen(record(batch.get(), 0).value), b"21.5 C");
    ok(unsafe { forebay_consumer_commit(h(consumer)) });
    assert_eq!(unsafe { forebay_consumer_committed(h(consumer)) }, 1);
    unsafe {
        forebay_batch_free(h(batch.get()));
        forebay_consumer_free(h(consumer));
    }
    close(log);
}

#[test]
fn a_log_is_closed_while_others_read_and_wait_and_their_batches_stay() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(log, "21.5 C");
    let (reader, waiting) = (Passed(reader(log)), Passed(consumer(log, "display")));
    let reading = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reading = &reading;
        let reads = scope.spawn(move || {
            let reader = { reader }.get();
            let mut held = Vec::new();
            loop {
                let mut batch = MaybeUninit::uninit();
                let status = unsafe { forebay_reader_next(h(reader), Some(&mut batch)) };
                reading.store(true, Ordering::Release);
                if status != FOREBAY_OK {
                    break (status, held);
                }
                held.push(Passed(unsafe { batch.assume_init() }));
                let status = unsafe { forebay_reader_seek(h(reader), FOREBAY_FROM_EARLIEST, 0) };
                if status != FOREBAY_OK {
                    break (status, held);
                }
                if held.len() > 64 {
                    unsafe { forebay_batch_free(h(held.remove(0).get())) };
                }
            }
        });
        let waits = scope.spawn(move || {
            let consumer = { waiting }.get();
            let mut batch = MaybeUninit::uninit();
            match unsafe { forebay_consumer_seek(h(consumer), FOREBAY_FROM_LATEST, 0) } {
                FOREBAY_OK => unsafe { forebay_consumer_poll(h(consumer), -1, Some(&mut batch)) },
                closed => closed,
            }
        });
        while !reading.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        close(log);
        let (status, held) = reads.join().unwrap();
        assert!(matches!(status, FOREBAY_CLOSED), "{status:?}");
        for batch in held {
            assert_eq!(seen(record(batch.get(), 0).value), b"21.5 C");
            unsafe { forebay_batch_free(h(batch.get())) };
        }
        assert_eq!(waits.join().unwrap(), FOREBAY_CLOSED);
    });
    unsafe {
        forebay_reader_free(h(reader.get()));
        forebay_consumer_free(h(waiting.get()));
    }
}

#[test]
fn a_batch_is_read_by_many_threads_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let values: Vec<String> = (0..100).map(|n| format!("value {n}")).collect();
    let records: Vec<_> = values.iter().map(|value| new_record(None, value)).collect();
    ok(unsafe { forebay_log_append_batch(r(log), records.as_ptr(), records.len(), None) });
    let reader = reader(log);
    let batch = Passed(next(reader));
    std::thread::scope(|scope| {
        for step in [1, 7, 13, 99] {
            let values = &values;
            scope.spawn(move || {
                let batch = { batch }.get();
                for turn in 0..500 {
                    let index = turn * step % 100;
                    assert_eq!(seen(record(batch, index).value), values[index].as_bytes());
                }
            });
        }
    });
    unsafe {
        forebay_batch_free(h(batch.get()));
        forebay_reader_free(h(reader));
    }
    close(log);
}

/// The child gets an error, and the parent's log is as if there had been no child.
#[test]
#[cfg(unix)]
fn a_forked_child_may_not_use_the_log_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(log, "before");
    let child = unsafe { libc::fork() };
    if child == 0 {
        let appended = unsafe { forebay_log_append(r(log), bytes("child"), None) };
        let flushed = unsafe { forebay_log_flush(r(log), None) };
        let refused = appended != FOREBAY_OK && flushed != FOREBAY_OK;
        unsafe { libc::_exit(if refused { 17 } else { 1 }) };
    }
    let mut status = 0;
    assert_eq!(unsafe { libc::waitpid(child, &raw mut status, 0) }, child);
    assert_eq!(libc::WEXITSTATUS(status), 17);
    assert_eq!(append(log, "after"), 1);
    close(log);
    let log = open(dir.path());
    assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, 2);
    close(log);
}
