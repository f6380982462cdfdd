//! Structs of older and newer callers, and options as text.

use std::mem::MaybeUninit;
use std::ptr::NonNull;

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use crate::calls::*;

/// Options as a newer header has them, and a part of them for an older one.
#[repr(C)]
struct Newer {
    known: forebay_options,
    unknown: [u64; 2],
}

#[test]
fn options_of_an_older_and_of_a_newer_caller_are_understood() {
    let dir = tempfile::tempdir().unwrap();
    let mut newer = Newer { known: options(), unknown: [0; 2] };
    let open = |newer: &Newer| {
        let mut log = MaybeUninit::uninit();
        let options = (&raw const *newer).cast();
        let status = unsafe { forebay_log_open(path(dir.path()), options, Some(&mut log)) };
        (status, unsafe { log.assume_init() })
    };
    newer.known.segment_bytes = 64 << 10;
    newer.known.struct_size = u32::try_from(size_of::<Newer>()).unwrap();
    let (status, log) = open(&newer);
    ok(status);
    close(log);
    newer.unknown[1] = 1 << 40;
    let (status, log) = open(&newer);
    let at = size_of::<forebay_options>() + 13;
    refused(status, FOREBAY_INVALID_ARGUMENT, &format!("a field at byte {at}"));
    assert!(log.is_null());
    // An older one ends before `budget_bytes`: what lies there is none of its own.
    newer.known.budget_bytes = 1;
    newer.known.struct_size =
        u32::try_from(std::mem::offset_of!(forebay_options, budget_bytes)).unwrap();
    let (status, log) = open(&newer);
    ok(status);
    close(log);
    for wrong in [0, 4, 7, 1 << 20, u32::MAX] {
        newer.known.struct_size = wrong;
        let (status, _) = open(&newer);
        refused(status, FOREBAY_INVALID_ARGUMENT, &format!("says it has {wrong} bytes"));
    }
}

#[test]
fn a_report_is_written_no_further_than_the_caller_has_room() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(log, "21.5 C");
    let whole = size_of::<forebay_stats>();
    for size in [8, 16, 40, whole, whole + 24] {
        let mut place = vec![0xaa_u8; whole + 64];
        let to = NonNull::new(place.as_mut_ptr().cast::<forebay_stats>());
        ok(unsafe { forebay_log_stats(r(log), to, size) });
        let filled = u32::from_ne_bytes(place[..4].try_into().unwrap());
        assert_eq!(filled as usize, size.min(whole));
        assert!(place[size..].iter().all(|byte| *byte == 0xaa), "{size} bytes");
        assert!(place[size.min(whole)..size].iter().all(|byte| *byte == 0), "{size} bytes");
        if size >= 40 {
            assert_eq!(i64::from_ne_bytes(place[24..32].try_into().unwrap()), 1, "the end");
        }
    }
    for wrong in [0, 7, 1 << 20] {
        let mut place = MaybeUninit::<forebay_stats>::uninit();
        let to = NonNull::new(place.as_mut_ptr());
        let status = unsafe { forebay_log_stats(r(log), to, wrong) };
        refused(status, FOREBAY_INVALID_ARGUMENT, &format!("{wrong} bytes"));
    }
    close(log);
}

#[test]
fn options_are_set_from_text_or_left_as_they_are() {
    let mut options = options();
    let mut set = |name: &str, value: &str| {
        let place = NonNull::new(&raw mut options);
        (unsafe { forebay_options_set(place, bytes(name), bytes(value)) }, options)
    };
    type Holds = fn(&forebay_options) -> bool;
    let good: [(&str, &str, Holds); 14] = [
        ("segment_bytes", "1048576", |o| o.segment_bytes == 1 << 20),
        ("retention_ms", " 86400000 ", |o| o.retention_ms == 86_400_000),
        ("flush", "every_append", |o| o.flush == FOREBAY_FLUSH_EVERY_APPEND),
        ("flush", "manual", |o| o.flush == FOREBAY_FLUSH_MANUAL),
        ("flush", "interval_ms=200", |o| (o.flush, o.flush_interval_ms) == (1, 200)),
        ("flush", "every_bytes = 4096", |o| (o.flush, o.flush_bytes) == (3, 4096)),
        ("io_mode", "positioned", |o| o.io_mode == FOREBAY_IO_POSITIONED),
        ("media", "torn_overwrite", |o| o.media == FOREBAY_MEDIA_TORN_OVERWRITE),
        ("recovery", "full", |o| o.recovery == FOREBAY_RECOVERY_FULL),
        ("hold", "any", |o| o.hold == FOREBAY_HOLD_ANY),
        ("hold_consumers", "a, b", |o| o.hold_consumers.len == 4),
        ("on_full", "block_ms=50", |o| (o.on_full, o.on_full_block_ms) == (2, 50)),
        ("on_full", "drop_oldest", |o| o.on_full == FOREBAY_ON_FULL_DROP_OLDEST),
        ("background", "true", |o| o.background == 1),
    ];
    for (name, value, holds) in good {
        let (status, now) = set(name, value);
        ok(status);
        assert!(holds(&now), "{name} = {value}: {now:?}");
    }
    let (_, before) = set("priority", "7");
    let before = format!("{before:?}");
    for (name, value, status) in [
        ("segment_byte", "1", FOREBAY_NOT_FOUND),
        ("", "1", FOREBAY_NOT_FOUND),
        ("segment_bytes", "", FOREBAY_INVALID_ARGUMENT),
        ("segment_bytes", "-1", FOREBAY_INVALID_ARGUMENT),
        ("segment_bytes", "1 MiB", FOREBAY_INVALID_ARGUMENT),
        ("flush", "", FOREBAY_INVALID_ARGUMENT),
        ("flush", "interval", FOREBAY_INVALID_ARGUMENT),
        ("flush", "interval_ms=soon", FOREBAY_INVALID_ARGUMENT),
        ("background", "yes", FOREBAY_INVALID_ARGUMENT),
        ("on_full", "block", FOREBAY_INVALID_ARGUMENT),
    ] {
        let (said, now) = set(name, value);
        refused(said, status, name);
        assert_eq!(format!("{now:?}"), before, "{name} = {value}");
    }
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    type Change = fn(&mut forebay_options);
    let cases: [(&str, Change); 14] = [
        ("flush", |o| o.flush = 5),
        ("flush", |o| o.flush = FOREBAY_FLUSH_INTERVAL),
        ("flush_interval_ms", |o| (o.flush, o.flush_interval_ms) = (FOREBAY_FLUSH_INTERVAL, -1)),
        ("flush", |o| o.flush = FOREBAY_FLUSH_EVERY_BYTES),
        ("segment_bytes", |o| o.segment_bytes = 1),
        ("segment_bytes", |o| o.segment_bytes = u64::MAX),
        ("segment_ms", |o| o.segment_ms = -5),
        ("io_mode", |o| o.io_mode = 3),
        ("media", |o| o.media = 3),
        ("recovery", |o| o.recovery = 2),
        ("hold", |o| o.hold = 4),
        ("on_full", |o| o.on_full = 3),
        ("background", |o| o.background = 2),
        ("priority", |o| o.priority = 256),
    ];
    for (name, change) in cases {
        let mut options = options();
        change(&mut options);
        let mut log = MaybeUninit::uninit();
        let status =
            unsafe { forebay_log_open(path(dir.path()), &raw const options, Some(&mut log)) };
        refused(status, FOREBAY_INVALID_ARGUMENT, name);
        assert!(unsafe { log.assume_init() }.is_null());
    }
}
