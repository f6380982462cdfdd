//! What a sanitizer has to find before it is believed: a race of two threads, a read behind the end
//! of a box. Compiled by itself, with the sanitizer.
//!
//! ```text
//! misuse thread|address
//! ```

use std::cell::UnsafeCell;
use std::thread;

struct Unguarded(UnsafeCell<u64>);

// SAFETY: it is none, which is the point.
unsafe impl Sync for Unguarded {}

static SHARED: Unguarded = Unguarded(UnsafeCell::new(0));

fn add() {
    for _ in 0..10_000 {
        // SAFETY: none: two threads do it at once.
        unsafe { *SHARED.0.get() += 1 };
    }
}

fn race() {
    let other = thread::spawn(add);
    add();
    other.join().expect("it only adds");
}

fn read_behind(length: usize) -> u8 {
    let bytes = vec![7u8; length].into_boxed_slice();
    let end = bytes.as_ptr().wrapping_add(length + 3);
    // SAFETY: none: three bytes behind the end.
    unsafe { end.read_volatile() }
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("thread") => (0..200).for_each(|_| race()),
        Some("address") => println!("{}", read_behind(16 + std::env::args().count())),
        _ => panic!("thread or address"),
    }
}
