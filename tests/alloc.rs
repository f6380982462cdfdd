//! Once warm, an append and a commit allocate nothing: memory is bounded whatever the rate.
#![expect(unsafe_code, reason = "a global allocator that counts can only be unsafe")]
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

mod util;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use forebay::{ConsumerOptions, IoMode, NewRecord, Offset, OffsetSpec, Visibility};
use util::{manual, scratch};

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

fn count() {
    // A thread that ends has no counter left; nobody asks for it any more.
    let _ = ALLOCATIONS.try_with(|allocations| allocations.set(allocations.get() + 1));
}

// SAFETY: every call goes to the system's allocator as it came; counting touches a thread-local
// cell that needs no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// How many allocations this thread made in `work`.
fn allocations(work: impl FnOnce()) -> u64 {
    let before = ALLOCATIONS.get();
    work();
    ALLOCATIONS.get() - before
}

/// An append of 100 bytes within a segment allocates nothing in mapped mode.
#[test]
fn an_append_of_a_small_record_allocates_nothing() {
    let dir = scratch();
    let log = manual(IoMode::Mapped).open(dir.path()).unwrap();
    let record = [7_u8; 100];
    for _ in 0..5000 {
        log.append(&record).unwrap();
    }
    let made = allocations(|| {
        for _ in 0..20_000 {
            log.append(&record).unwrap();
        }
    });
    assert!(util::segments(dir.path()).len() == 1, "the records stay within a segment");
    assert_eq!(made, 0, "in 20,000 appends");
}

/// The same with a key, and with batches of records: no header, no allocation.
#[test]
fn an_append_with_key_and_a_batch_allocate_nothing() {
    let dir = scratch();
    let log = manual(IoMode::Mapped).open(dir.path()).unwrap();
    let record = [7_u8; 100];
    let append = |times: usize| {
        for _ in 0..times {
            log.append(NewRecord::new(&record).key("sensor-7")).unwrap();
            log.append_batch([&record; 10]).unwrap();
        }
    };
    append(1000);
    let made = allocations(|| append(4000));
    assert!(util::segments(dir.path()).len() == 1, "the records stay within a segment");
    assert_eq!(made, 0, "in 4,000 appends and as many batches");
}

/// A commit allocates nothing in mapped mode, however many consumers there are.
#[test]
fn a_commit_allocates_nothing() {
    for visibility in [Visibility::Written, Visibility::Durable] {
        let dir = scratch();
        let log = manual(IoMode::Mapped).open(dir.path()).unwrap();
        for _ in 0..2000 {
            log.append(&[7_u8; 100]).unwrap();
        }
        log.flush().unwrap();
        let options = |n| {
            let options = ConsumerOptions::new().visibility(visibility);
            (format!("consumer-{n}"), options.start(OffsetSpec::Earliest))
        };
        let others: Vec<_> = (1..10).map(options).collect();
        let _others: Vec<_> =
            others.into_iter().map(|(name, o)| log.consumer_with(&name, o).unwrap()).collect();
        let (name, o) = options(0);
        let mut consumer = log.consumer_with(&name, o).unwrap();
        for n in 0..100 {
            consumer.commit_offset(Offset::new(n)).unwrap();
        }
        let made = allocations(|| {
            for n in 100..2000 {
                consumer.commit_offset(Offset::new(n)).unwrap();
            }
        });
        assert_eq!(made, 0, "in 1,900 commits");
        consumer.seek(OffsetSpec::Earliest).unwrap();
        for _ in 0..100 {
            consumer.poll(Duration::ZERO).unwrap().unwrap();
        }
        let mut commits = 0;
        for _ in 0..100 {
            consumer.poll(Duration::ZERO).unwrap().unwrap();
            commits += allocations(|| consumer.commit().unwrap());
        }
        assert_eq!(commits, 0, "in 100 commits after a poll");
    }
}
