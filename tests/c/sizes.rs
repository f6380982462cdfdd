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
        refused(status, FOREBAY_INVALID_ARGUMENT, &format!("{wrong} bytes is no size"));
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
    let good: [(&str, &str, Holds); 22] = [
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
        ("compression", " lz4 ", |o| o.compression == FOREBAY_COMPRESSION_LZ4),
        ("compression.type", "zstd", |o| o.compression == FOREBAY_COMPRESSION_ZSTD),
        ("compression_level", "-3", |o| o.compression_level == -3),
        ("cleanup_policy", "compact,delete", |o| {
            o.cleanup_policy == FOREBAY_CLEANUP_COMPACT_DELETE
        }),
        ("min_cleanable_dirty_percent", "20", |o| o.min_cleanable_dirty_percent == 20),
        ("delete_retention_ms", "60000", |o| o.delete_retention_ms == 60_000),
        ("min_compaction_lag_ms", "5", |o| o.min_compaction_lag_ms == 5),
        ("compaction_memory_bytes", "1048576", |o| o.compaction_memory_bytes == 1 << 20),
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
        ("flush", "interval_ms=0", FOREBAY_INVALID_ARGUMENT),
        ("flush", "every_bytes=0", FOREBAY_INVALID_ARGUMENT),
        ("on_full", "block", FOREBAY_INVALID_ARGUMENT),
        ("compression", "", FOREBAY_INVALID_ARGUMENT),
        ("compression", "brotli", FOREBAY_INVALID_ARGUMENT),
        ("compression_level", "high", FOREBAY_INVALID_ARGUMENT),
        ("cleanup_policy", "compress", FOREBAY_INVALID_ARGUMENT),
    ] {
        let (said, now) = set(name, value);
        refused(said, status, name);
        assert_eq!(format!("{now:?}"), before, "{name} = {value}");
    }
}

/// A person reads it who does not have the header at hand.
#[test]
fn a_value_that_is_none_is_told_with_those_that_are() {
    let mut options = options();
    let place = NonNull::new(&raw mut options);
    for (name, value, allowed) in [
        ("on_full", "drop-oldest", "allowed: reject, drop_oldest, block_ms=N"),
        ("hold", "all", "allowed: nobody, everyone, each, any"),
        ("flush", "500", "allowed: every_append, manual, interval_ms=N, every_bytes=N"),
        ("flush", "interval_ms=0", "flush is `0`, allowed: 1 or more"),
        ("background", "1", "allowed: false, true"),
        ("compression", "brotli", "allowed: none, gzip, snappy, lz4, zstd"),
        ("segment_bytes", "64MiB", "without a unit"),
        ("segment_ms", "7d", "without a unit"),
        ("budget_bytes", "64MiB", "without a unit, or -1 for no bound"),
        ("retention_ms", "7d", "without a unit, or -1 for no bound"),
    ] {
        let set = unsafe { forebay_options_set(place, bytes(name), bytes(value)) };
        refused(set, FOREBAY_INVALID_ARGUMENT, allowed);
        assert!(said().starts_with(&format!("{name} is `")), "{}", said());
    }
}

/// As in Kafka's files; where a field is no bound it is none of its values.
#[test]
fn minus_one_is_no_bound_in_text_and_in_fields() {
    let mut options = options();
    let place = NonNull::new(&raw mut options);
    let set =
        |name: &str, value: &str| unsafe { forebay_options_set(place, bytes(name), bytes(value)) };
    let bounds = [
        "memory_limit_bytes",
        "retention_bytes",
        "retention_ms",
        "retention_records",
        "hold_limit_bytes",
        "hold_lag_records",
        "budget_bytes",
    ];
    for name in bounds {
        ok(set(name, " -1 "));
        refused(set(name, "-2"), FOREBAY_INVALID_ARGUMENT, &format!("{name} is `-2`"));
    }
    assert_eq!((options.retention_ms, options.budget_bytes), (-1, u64::MAX));
    for name in ["segment_bytes", "flush_bytes", "thin_keep_one_in", "priority"] {
        refused(set(name, "-1"), FOREBAY_INVALID_ARGUMENT, &format!("{name} is `-1`"));
    }
    let dir = tempfile::tempdir().unwrap();
    let open = |options: &forebay_options| {
        let mut log = MaybeUninit::uninit();
        let options = &raw const *options;
        let status = unsafe { forebay_log_open(path(dir.path()), options, Some(&mut log)) };
        (status, unsafe { log.assume_init() })
    };
    let (status, log) = open(&options);
    ok(status);
    append(log, "21.5 C");
    let stats: forebay_stats =
        report(|place, size| unsafe { forebay_log_stats(r(log), place, size) });
    assert_eq!((stats.budget_bytes, stats.budget_used_bytes), (0, 0), "there is no bound");
    (options.budget_bytes, options.segment_bytes) = (1 << 20, 64 << 10);
    close(log);
    for (name, change) in [
        ("retention_ms", (|o| o.retention_ms = -2) as fn(&mut forebay_options)),
        ("segment_ms", |o| o.segment_ms = -1),
        ("flush_interval_ms", |o| (o.flush, o.flush_interval_ms) = (FOREBAY_FLUSH_INTERVAL, -1)),
        ("on_full_block_ms", |o| (o.on_full, o.on_full_block_ms) = (FOREBAY_ON_FULL_BLOCK, -1)),
    ] {
        let mut wrong = options;
        change(&mut wrong);
        refused(open(&wrong).0, FOREBAY_INVALID_ARGUMENT, name);
    }
    let (status, log) = open(&options);
    ok(status);
    let stats: forebay_stats =
        report(|place, size| unsafe { forebay_log_stats(r(log), place, size) });
    assert_eq!(stats.budget_bytes, 1 << 20);
    assert!(stats.budget_used_bytes >= stats.file_bytes && stats.budget_reserve_bytes > 0);
    assert!(stats.budget_used_bytes + stats.budget_reserve_bytes <= 1 << 20, "{stats:?}");
    close(log);
}

/// One that can never come would hold nothing, or everything.
#[test]
fn a_consumer_to_hold_for_that_cannot_be_is_named() {
    let dir = tempfile::tempdir().unwrap();
    for (names, says) in [
        ("up link", "hold: the consumer name \"up link\""),
        ("uplink, a/b", "\"a/b\""),
        ("", "(0 bytes)"),
        ("uplink,", "(0 bytes)"),
    ] {
        for hold in [FOREBAY_HOLD_EACH, FOREBAY_HOLD_ANY] {
            let mut options = options();
            (options.hold, options.hold_consumers) = (hold, bytes(names));
            let options = &raw const options;
            let mut log = MaybeUninit::uninit();
            let status = unsafe { forebay_log_open(path(dir.path()), options, Some(&mut log)) };
            refused(status, FOREBAY_INVALID_ARGUMENT, says);
        }
    }
    assert_eq!(dir.path().read_dir().unwrap().count(), 0, "nothing was made");
}

/// Whatever is set by text, what is true is said in one way, and what is neither in one wording.
#[test]
fn true_and_false_are_read_in_one_way_everywhere() {
    let mut log = options();
    let mut store = MaybeUninit::<forebay_store_options>::uninit();
    let store = NonNull::new(store.as_mut_ptr());
    ok(unsafe { forebay_store_options_init(store, size_of::<forebay_store_options>()) });
    let kafka = unsafe { forebay_has_feature(c"kafka".as_ptr()) };
    let upstream = kafka.then(|| -> *mut forebay_upstream {
        given(|up| unsafe { forebay_upstream_kafka_new(bytes("a:1"), bytes("t"), up) })
    });
    let set = |value: &str| unsafe {
        let background = bytes("background");
        let mut said_of = Vec::new();
        let mut keep = |name: &str, status| said_of.push((status, said().replace(name, "NAME")));
        let of_log = NonNull::new(&raw mut log);
        keep("background", forebay_options_set(of_log, background, bytes(value)));
        keep("background", forebay_store_options_set(store, background, bytes(value)));
        if let Some(upstream) = upstream {
            let set = forebay_upstream_set(h(upstream), bytes("mark.gaps"), bytes(value));
            keep("mark.gaps", set);
        }
        said_of
    };
    let mut set = set;
    for value in ["true", "false", " true ", "false\n"] {
        assert!(set(value).iter().all(|(status, _)| *status == FOREBAY_OK), "{value}");
    }
    for value in ["1", "yes", "TRUE", "on", "", "truee"] {
        for (status, said) in set(value) {
            assert_eq!(status, FOREBAY_INVALID_ARGUMENT, "{value}");
            let expected = format!("NAME is `{value}`, allowed: false, true");
            assert!(said.starts_with(&expected), "{said}");
        }
    }
    if let Some(upstream) = upstream {
        unsafe { forebay_upstream_free(h(upstream)) };
    }
}

/// Each field of the struct has its name in text.
#[test]
fn a_replicators_options_are_set_from_text_or_left_as_they_are() {
    let mut place = MaybeUninit::<forebay_replicator_options>::uninit();
    let to = NonNull::new(place.as_mut_ptr());
    ok(unsafe { forebay_replicator_options_init(to, size_of::<forebay_replicator_options>()) });
    let set = |name: &str, value: &str| unsafe {
        forebay_replicator_options_set(to, bytes(name), bytes(value))
    };
    for (name, value) in [
        ("backoff_min_ms", "250"),
        ("backoff_max_ms", " 60000 "),
        ("in_flight_bytes", "1048576"),
        ("acknowledge_timeout_ms", "15000"),
        ("bytes_per_second", "4096"),
    ] {
        ok(set(name, value));
        refused(set(name, "soon"), FOREBAY_INVALID_ARGUMENT, &format!("{name} is `soon`"));
        refused(set(name, ""), FOREBAY_INVALID_ARGUMENT, name);
    }
    let now = unsafe { place.assume_init() };
    assert_eq!((now.backoff_min_ms, now.backoff_max_ms), (250, 60_000));
    assert_eq!((now.in_flight_bytes, now.acknowledge_timeout_ms), (1 << 20, 15_000));
    assert_eq!(now.bytes_per_second, 4096);
    for name in ["backoff", "struct_size", "reserved", ""] {
        refused(set(name, "1"), FOREBAY_NOT_FOUND, "there is no option");
    }
    ok(set("bytes_per_second", "-1"));
    assert_eq!(unsafe { (*place.as_ptr()).bytes_per_second }, u64::MAX, "as many as it takes");
    refused(set("in_flight_bytes", "-1"), FOREBAY_INVALID_ARGUMENT, "in_flight_bytes");
    refused(
        unsafe { forebay_replicator_options_set(None, bytes("x"), bytes("1")) },
        FOREBAY_INVALID_ARGUMENT,
        "options is NULL",
    );
}

#[test]
fn options_that_cannot_work_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    type Change = fn(&mut forebay_options);
    let cases: [(&str, Change); 21] = [
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
        ("compression", |o| o.compression = 5),
        ("cleanup_policy", |o| o.cleanup_policy = 3),
        ("min_cleanable_dirty_percent", |o| o.min_cleanable_dirty_percent = 101),
        ("min_cleanable_dirty_percent", |o| o.min_cleanable_dirty_percent = 256),
        ("compaction_memory_bytes", |o| o.compaction_memory_bytes = 1),
        ("compression_level", |o| o.compression_level = 23),
        ("compression_level", |o| (o.compression, o.compression_level) = (0, 1 << 20)),
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
