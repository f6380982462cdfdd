//! Appends and reads through C beside the same ones through Rust, taking turns in one run.
//!
//! `cargo bench --features ffi --bench c_calls`. The C functions are called by pointers that the
//! compiler cannot see through, as a C program calls them.
#![allow(
    unsafe_code,
    clippy::undocumented_unsafe_blocks,
    clippy::multiple_unsafe_ops_per_block,
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a bench calls as C does, and stops at the first thing that is not as it should be"
)]

#[path = "support/table.rs"]
#[allow(dead_code, reason = "each bench uses a part")]
mod table;

use std::hint::black_box;
use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};
use std::time::Instant;

use forebay::ffi::forebay_status::FOREBAY_OK;
use forebay::ffi::*;
use forebay::{FlushPolicy, Log, OffsetSpec};
use table::{fresh_dir, pairs};

const ROUNDS: usize = 15;
const RECORDS: u32 = 300_000;

type Append = unsafe extern "C" fn(
    Option<&forebay_log>,
    forebay_bytes,
    Option<&mut MaybeUninit<i64>>,
) -> forebay_status;
type Get = unsafe extern "C" fn(
    Option<&forebay_batch>,
    usize,
    Option<&mut MaybeUninit<forebay_record>>,
) -> forebay_status;

type GetMany = unsafe extern "C" fn(
    Option<&forebay_batch>,
    usize,
    *mut forebay_record,
    usize,
    Option<&mut MaybeUninit<usize>>,
) -> forebay_status;

fn bytes(of: &[u8]) -> forebay_bytes {
    forebay_bytes { data: of.as_ptr(), len: of.len() }
}

/// A log that C opened.
fn open(dir: &std::path::Path) -> *mut forebay_log {
    let mut options = MaybeUninit::<forebay_options>::uninit();
    let at = NonNull::new(options.as_mut_ptr());
    assert_eq!(unsafe { forebay_options_init(at, size_of::<forebay_options>()) }, FOREBAY_OK);
    let mut options = unsafe { options.assume_init() };
    options.flush = FOREBAY_FLUSH_MANUAL;
    let mut log = MaybeUninit::uninit();
    let dir = bytes(dir.to_str().unwrap().as_bytes());
    let status = unsafe { forebay_log_open(dir, &raw const options, Some(&mut log)) };
    assert_eq!(status, FOREBAY_OK);
    unsafe { log.assume_init() }
}

/// Nanoseconds an append.
fn each(append: impl Fn(&[u8]), value: &[u8]) -> f64 {
    append(value);
    let start = Instant::now();
    for _ in 0..RECORDS {
        append(black_box(value));
    }
    start.elapsed().as_secs_f64() * 1e9 / f64::from(RECORDS)
}

fn rust_append(value: &[u8]) -> f64 {
    let dir = fresh_dir();
    let log = Log::options().flush(FlushPolicy::Manual).open(dir.path()).unwrap();
    each(
        |value| {
            black_box(log.append(value).unwrap());
        },
        value,
    )
}

fn c_append(value: &[u8]) -> f64 {
    let dir = fresh_dir();
    let log = open(dir.path());
    let append = black_box(forebay_log_append as Append);
    let time = each(
        |value| {
            let mut offset = MaybeUninit::uninit();
            let status = unsafe { append(log.as_ref(), bytes(value), Some(&mut offset)) };
            assert_eq!(status, FOREBAY_OK);
            black_box(unsafe { offset.assume_init() });
        },
        value,
    );
    assert_eq!(unsafe { forebay_log_close(NonNull::new(log)) }, FOREBAY_OK);
    time
}

/// A log of batches of a hundred records, to be read.
fn filled() -> tempfile::TempDir {
    let dir = fresh_dir();
    let log = Log::open(dir.path()).unwrap();
    let value = [b'x'; 100];
    for _ in 0..RECORDS / 100 {
        log.append_batch((0..100).map(|_| &value)).unwrap();
    }
    log.close().unwrap();
    dir
}

fn rust_read(dir: &std::path::Path) -> f64 {
    let log = Log::open(dir).unwrap();
    let start = Instant::now();
    let mut records = 0_u32;
    for batch in log.reader(OffsetSpec::Earliest).unwrap() {
        for record in batch.unwrap().records() {
            black_box(record.unwrap().value());
            records += 1;
        }
    }
    assert_eq!(records, RECORDS);
    start.elapsed().as_secs_f64() * 1e9 / f64::from(RECORDS)
}

fn one_by_one(batch: *mut forebay_batch) -> u32 {
    let get = black_box(forebay_batch_get as Get);
    let count = unsafe { forebay_batch_count(batch.as_ref()) };
    for index in 0..count {
        let mut record = MaybeUninit::<forebay_record>::uninit();
        assert_eq!(unsafe { get(batch.as_ref(), index, Some(&mut record)) }, FOREBAY_OK);
        black_box(unsafe { record.assume_init() }.value.data);
    }
    u32::try_from(count).unwrap()
}

fn many(batch: *mut forebay_batch, at_a_time: usize) -> u32 {
    let get = black_box(forebay_batch_get_many as GetMany);
    let mut places = [const { MaybeUninit::<forebay_record>::uninit() }; 64];
    let to = places.as_mut_ptr().cast();
    let (mut from, mut count) = (0, MaybeUninit::new(0));
    loop {
        let status = unsafe { get(batch.as_ref(), from, to, at_a_time, Some(&mut count)) };
        assert_eq!(status, FOREBAY_OK);
        let count = unsafe { count.assume_init() };
        if count == 0 {
            return u32::try_from(from).unwrap();
        }
        for place in &places[..count] {
            black_box(unsafe { place.assume_init() }.value.data);
        }
        from += count;
    }
}

fn c_read(dir: &std::path::Path, at_a_time: usize) -> f64 {
    let log = open(dir);
    let mut reader = MaybeUninit::uninit();
    let opened = unsafe { forebay_log_reader(log.as_ref(), 0, 0, Some(&mut reader)) };
    assert_eq!(opened, FOREBAY_OK);
    let reader = NonNull::new(unsafe { reader.assume_init() });
    let start = Instant::now();
    let mut records = 0_u32;
    loop {
        let mut batch = MaybeUninit::new(ptr::null_mut());
        assert_eq!(unsafe { forebay_reader_next(reader, Some(&mut batch)) }, FOREBAY_OK);
        let batch = unsafe { batch.assume_init() };
        if batch.is_null() {
            break;
        }
        records += if at_a_time == 1 { one_by_one(batch) } else { many(batch, at_a_time) };
        unsafe { forebay_batch_free(NonNull::new(batch)) };
    }
    let time = start.elapsed().as_secs_f64() * 1e9 / f64::from(RECORDS);
    assert_eq!(records, RECORDS);
    unsafe { forebay_reader_free(reader) };
    assert_eq!(unsafe { forebay_log_close(NonNull::new(log)) }, FOREBAY_OK);
    time
}

fn main() {
    let wanted = table::filter();
    for size in [100, 1024] {
        let name = format!("append {size} B");
        if wanted(&name) {
            let value = vec![b'x'; size];
            print(&name, &pairs(ROUNDS, || c_append(&value), || rust_append(&value)));
        }
    }
    for at_a_time in [1, 64] {
        let name = format!("read by {at_a_time}");
        if wanted(&name) {
            let dir = filled();
            let c = || c_read(dir.path(), at_a_time);
            print(&name, &pairs(ROUNDS, c, || rust_read(dir.path())));
        }
    }
}

fn print(name: &str, found: &table::Pair) {
    let (c, rust) = (found.log, found.limit);
    println!(
        "{name:16} C {c:7.1} ns, Rust {rust:7.1} ns, {:+6.1} ns, ratio {:.2}",
        c - rust,
        found.ratio
    );
}
