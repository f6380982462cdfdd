//! What a batch is compressed by: set by field and by text, for a log and for one batch, and told
//! where a codec is not built in.

use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr::{self, NonNull};

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use super::calls::*;

const CODECS: [(u32, &str); 4] = [
    (FOREBAY_COMPRESSION_GZIP, "gzip"),
    (FOREBAY_COMPRESSION_SNAPPY, "snappy"),
    (FOREBAY_COMPRESSION_LZ4, "lz4"),
    (FOREBAY_COMPRESSION_ZSTD, "zstd"),
];

const MODES: [u32; 2] = [FOREBAY_IO_MAPPED, FOREBAY_IO_POSITIONED];

/// Of equal values, so that every codec makes less of them.
const READING: &str = "{\"sensor\":\"room-1\",\"celsius\":21.5,\"humidity\":41.0}";

/// Where a batch has its attributes, whose lowest three bits are Kafka's number of the codec.
const ATTRIBUTES: usize = 22;

fn built_in(name: &str) -> bool {
    let name = std::ffi::CString::new(name).unwrap();
    let is_there = unsafe { forebay_has_feature(name.as_ptr()) };
    let expected = match name.to_str().unwrap() {
        "gzip" => cfg!(feature = "gzip"),
        "snappy" => cfg!(feature = "snappy"),
        "lz4" => cfg!(feature = "lz4"),
        _ => cfg!(feature = "zstd"),
    };
    assert_eq!(is_there, expected, "{name:?}");
    is_there
}

fn open(dir: &Path, options: &forebay_options) -> (forebay_status, *mut forebay_log) {
    let mut log = MaybeUninit::uninit();
    let options = &raw const *options;
    let status = unsafe { forebay_log_open(path(dir), options, Some(&mut log)) };
    (status, unsafe { log.assume_init() })
}

fn readings() -> Vec<forebay_new_record> {
    (0..100).map(|_| new_record(None, READING)).collect()
}

/// The codec and the bytes of the batch at this offset, all of whose records are as appended.
fn stored(log: *mut forebay_log, offset: i64) -> (u32, usize) {
    let reader =
        given(|reader| unsafe { forebay_log_reader(r(log), FOREBAY_FROM_OFFSET, offset, reader) });
    let batch = next(reader);
    let bytes = seen(unsafe { forebay_batch_bytes(r(batch)) });
    assert_eq!(unsafe { forebay_batch_count(r(batch)) }, 100);
    for index in 0..100 {
        let found = record(batch, index);
        assert_eq!(found.offset, offset + i64::try_from(index).unwrap());
        assert_eq!(seen(found.value), READING.as_bytes());
    }
    let found = (u32::from(bytes[ATTRIBUTES] & 7), bytes.len());
    unsafe {
        forebay_batch_free(h(batch));
        forebay_reader_free(h(reader));
    }
    found
}

#[test]
fn what_is_appended_is_stored_by_the_codec_of_the_options_and_read_as_it_was() {
    for io_mode in MODES {
        for (codec, name) in CODECS.into_iter().filter(|(_, name)| built_in(name)) {
            let dir = tempfile::tempdir().unwrap();
            let mut options = options();
            options.io_mode = io_mode;
            let (status, log) = open(dir.path(), &options);
            ok(status);
            let (many, count) = (readings(), 100);
            let append = || -> i64 {
                given(|at| unsafe { forebay_log_append_batch(r(log), many.as_ptr(), count, at) })
            };
            let (plain, plain_bytes) = stored(log, append());
            assert_eq!(plain, FOREBAY_COMPRESSION_NONE);
            // While it is open, as text has it.
            let place = NonNull::new(&raw mut options);
            let by = bytes("compression.type");
            ok(unsafe { forebay_options_set(place, by, bytes(name)) });
            ok(unsafe { forebay_log_set_options(r(log), &raw const options) });
            let (found, packed_bytes) = stored(log, append());
            assert_eq!(found, codec, "{name}");
            assert!(packed_bytes * 4 < plain_bytes, "{name}: {packed_bytes} of {plain_bytes}");
            close(log);
            // And from the beginning, by field.
            options.compression = codec;
            let (status, log) = open(dir.path(), &options);
            ok(status);
            let append = || -> i64 {
                given(|at| unsafe { forebay_log_append_batch(r(log), many.as_ptr(), count, at) })
            };
            assert_eq!(stored(log, append()), (codec, packed_bytes));
            assert_eq!(stored(log, 0), (plain, plain_bytes), "what was there stays as it was");
            close(log);
        }
    }
}

#[test]
fn a_batch_has_a_compression_of_its_own() {
    for io_mode in MODES {
        let dir = tempfile::tempdir().unwrap();
        let mut options = options();
        options.io_mode = io_mode;
        let (status, log) = open(dir.path(), &options);
        ok(status);
        let many = readings();
        let append = |by, at: Option<&mut MaybeUninit<i64>>| unsafe {
            forebay_log_append_batch_compressed(r(log), by, many.as_ptr(), 100, at)
        };
        let mut end = 0;
        for (codec, name) in CODECS {
            if built_in(name) {
                assert_eq!(given(|at| append(codec, at)), end);
                assert_eq!(stored(log, end).0, codec);
                end += 100;
            } else {
                refused(append(codec, None), FOREBAY_UNSUPPORTED, name);
            }
        }
        assert_eq!(given(|at| append(FOREBAY_COMPRESSION_NONE, at)), end);
        assert_eq!(stored(log, end).0, FOREBAY_COMPRESSION_NONE);
        end += 100;
        for none in [5, u32::MAX] {
            let says = format!("compression is {none}, allowed are FOREBAY_COMPRESSION_NONE");
            refused(append(none, None), FOREBAY_INVALID_ARGUMENT, &says);
        }
        assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, end, "nothing else came in");
        close(log);
    }
}

#[test]
fn a_codec_that_is_not_there_and_a_level_that_is_none_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    for (codec, name) in CODECS {
        (options.compression, options.compression_level) = (codec, 0);
        let dir = dir.path().join(name);
        let (status, log) = open(&dir, &options);
        if !built_in(name) {
            refused(status, FOREBAY_UNSUPPORTED, &format!("compression is {name}"));
            assert!(log.is_null() && !dir.exists());
            continue;
        }
        ok(status);
        close(log);
        let levels: (&[i32], &[i32]) = match name {
            "gzip" => (&[1, 9], &[-1, 10]),
            "zstd" => (&[-7, 1, 22], &[23, -200_000]),
            _ => (&[], &[1]),
        };
        for level in levels.0 {
            options.compression_level = *level;
            let (status, log) = open(&dir, &options);
            ok(status);
            close(log);
        }
        for level in levels.1 {
            options.compression_level = *level;
            let says = format!("compression_level is {level}");
            refused(open(&dir, &options).0, FOREBAY_INVALID_ARGUMENT, &says);
        }
    }
}

/// By Kafka's name of the setting too.
#[test]
#[cfg(feature = "kafka")]
fn an_upstream_compresses_by_what_is_built_in() {
    let upstream: *mut forebay_upstream =
        given(|up| unsafe { forebay_upstream_kafka_new(bytes("a:1"), bytes("t"), up) });
    let set = |value: &str| unsafe {
        forebay_upstream_set(h(upstream), bytes("compression.type"), bytes(value))
    };
    ok(set("none"));
    for (_, name) in CODECS {
        match built_in(name) {
            true => ok(set(name)),
            false => refused(set(name), FOREBAY_UNSUPPORTED, name),
        }
    }
    refused(set("brotli"), FOREBAY_INVALID_ARGUMENT, "allowed: none, gzip, snappy, lz4, zstd");
    unsafe { forebay_upstream_free(h(upstream)) };
}

/// What a program is told before it asks for it.
#[test]
fn what_is_built_in_is_told() {
    for (name, expected) in [
        (c"encryption", cfg!(feature = "encryption")),
        (c"typed", cfg!(feature = "typed")),
        (c"replicator", cfg!(feature = "replicator")),
        (c"toml", cfg!(feature = "toml")),
        (c"ZSTD", false),
        (c"none", false),
    ] {
        assert_eq!(unsafe { forebay_has_feature(name.as_ptr()) }, expected, "{name:?}");
    }
    assert!(!unsafe { forebay_has_feature(ptr::null()) });
}
