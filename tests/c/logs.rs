//! Logs, readers, batches and consumers through C: what each function is for.

use std::mem::MaybeUninit;
use std::ptr::{self, NonNull};

use forebay::ffi::forebay_status::*;
use forebay::ffi::*;

use crate::calls::*;

#[test]
fn records_come_back_as_they_were_appended_with_keys_headers_and_times() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let headers = [
        forebay_header { name: bytes("unit"), value: bytes("C") },
        forebay_header { name: bytes("checked"), value: NONE },
    ];
    let full = forebay_new_record {
        headers: headers.as_ptr(),
        header_count: 2,
        timestamp_ms: 1_700_000_000_000,
        ..new_record(Some("sensor-7"), "21.5")
    };
    let tombstone = forebay_new_record {
        value: NONE,
        flags: FOREBAY_TOMBSTONE,
        ..new_record(Some("sensor-8"), "")
    };
    let bare = new_record(None, "");
    assert_eq!(append(log, "first"), 0);
    let base = given(|base| unsafe {
        forebay_log_append_batch(r(log), [full, tombstone, bare].as_ptr(), 3, base)
    });
    assert_eq!(base, 1);
    let alone = given(|offset| unsafe { forebay_log_append_record(r(log), Some(&full), offset) });
    assert_eq!(alone, 4);
    assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, 5);

    assert_they_are_found(log, &headers);
    close(log);
}

fn assert_they_are_found(log: *mut forebay_log, headers: &[forebay_header]) {
    let reader = reader(log);
    let first = next(reader);
    assert_eq!(seen(record(first, 0).value), b"first");
    let batch = next(reader);
    assert_eq!(unsafe { forebay_batch_count(r(batch)) }, 3);
    assert_eq!(unsafe { forebay_batch_base_offset(r(batch)) }, 1);
    assert_eq!(unsafe { forebay_batch_next_offset(r(batch)) }, 4);
    // In no order: each is found whichever was asked for before.
    for index in [2, 0, 1, 1, 2, 0] {
        let found = record(batch, index);
        assert_eq!(found.offset, 1 + i64::try_from(index).unwrap());
        match index {
            0 => {
                assert_eq!(seen(found.key), b"sensor-7");
                assert_eq!((seen(found.value), found.flags), (&b"21.5"[..], 0));
                assert_eq!((found.timestamp_ms, found.header_count), (1_700_000_000_000, 2));
                for (at, header) in headers.iter().enumerate() {
                    let found: forebay_header =
                        given(|place| unsafe { forebay_batch_header(r(batch), index, at, place) });
                    assert_eq!(seen(found.name), seen(header.name));
                    assert_eq!(found.value.data.is_null(), header.value.data.is_null());
                    assert_eq!(seen(found.value), seen(header.value));
                }
            }
            1 => {
                assert_eq!((seen(found.value), found.flags), (&b""[..], FOREBAY_TOMBSTONE));
                assert_eq!(seen(found.key), b"sensor-8");
            }
            _ => {
                assert!(found.key.data.is_null() && found.flags == 0);
                assert!(found.timestamp_ms > 1_600_000_000_000, "the wall clock");
            }
        }
    }
    refused(
        unsafe { forebay_batch_get(r(batch), 3, Some(&mut MaybeUninit::uninit())) },
        FOREBAY_NOT_FOUND,
        "no record 3; it has 3",
    );
    refused(
        unsafe { forebay_batch_header(r(batch), 0, 2, Some(&mut MaybeUninit::uninit())) },
        FOREBAY_NOT_FOUND,
        "no header 2",
    );
    for (from, capacity, expected) in [(0, 9, 3), (1, 1, 1), (2, 5, 1), (3, 4, 0), (0, 0, 0)] {
        let mut records = [record(first, 0); 9];
        let to = records.as_mut_ptr();
        let count =
            given(|count| unsafe { forebay_batch_get_many(r(batch), from, to, capacity, count) });
        assert_eq!(count, expected, "{capacity} from {from}");
        for (at, found) in records[..count].iter().enumerate() {
            assert_eq!(found.offset, 1 + i64::try_from(from + at).unwrap());
        }
    }
    unsafe {
        forebay_batch_free(h(first));
        forebay_batch_free(h(batch));
        forebay_reader_free(h(reader));
    }
}

#[test]
fn an_end_that_moved_refuses_what_expected_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let records = [new_record(None, "debit"), new_record(None, "credit")];
    ok(unsafe { forebay_log_append_batch_at(r(log), 0, records.as_ptr(), 2) });
    let again = unsafe { forebay_log_append_batch_at(r(log), 0, records.as_ptr(), 2) };
    refused(again, FOREBAY_CONFLICT, "");
    assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, 2);
    let none = given(|base| unsafe { forebay_log_append_batch(r(log), ptr::null(), 0, base) });
    assert_eq!(none, 2, "no record, no batch");
    close(log);
}

#[test]
fn what_is_flushed_is_durable_and_waited_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    options.flush = FOREBAY_FLUSH_MANUAL;
    let log = given(|log| unsafe { forebay_log_open(path(dir.path()), &raw const options, log) });
    append(log, "21.5 C");
    assert_eq!(unsafe { forebay_log_durable_offset(r(log)) }, 0);
    let wait = |visibility| {
        given(|reached| unsafe { forebay_log_wait(r(log), 0, visibility, 0, reached) })
    };
    assert!(wait(FOREBAY_WRITTEN) && !wait(FOREBAY_DURABLE));
    assert_eq!(given(|durable| unsafe { forebay_log_flush(r(log), durable) }), 1);
    assert!(wait(FOREBAY_DURABLE));
    ok(unsafe { forebay_log_flush(r(log), None) });
    let stats: forebay_stats =
        report(|place, size| unsafe { forebay_log_stats(r(log), place, size) });
    assert_eq!((stats.log_end_offset, stats.durable_offset, stats.records_appended), (1, 1, 1));
    assert_eq!(stats.payload_bytes, stats.batch_bytes);
    close(log);

    let log = open(dir.path());
    let found: forebay_recovery =
        report(|place, size| unsafe { forebay_log_recovery(r(log), place, size) });
    assert_eq!((found.created, found.clean, found.lost_from), (0, 1, -1));
    let verified: forebay_verification =
        report(|place, size| unsafe { forebay_log_verify(r(log), place, size) });
    assert_eq!((verified.whole, verified.records, verified.damaged_from), (1, 1, -1));
    close(log);
}

#[test]
fn a_consumer_goes_on_where_it_committed_with_what_it_noted() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    for value in ["a", "b", "c"] {
        append(log, value);
    }
    let display = consumer(log, "display");
    let batch = given(|batch| unsafe { forebay_consumer_poll(h(display), 0, batch) });
    assert_eq!(seen(record(batch, 0).value), b"a");
    unsafe { forebay_batch_free(h(batch)) };
    ok(unsafe { forebay_consumer_commit(h(display)) });
    ok(unsafe { forebay_consumer_commit_with(h(display), 2, bytes("note")) });
    ok(unsafe { forebay_consumer_sync(h(display)) });
    let busy = unsafe {
        let mut place = MaybeUninit::uninit();
        forebay_log_consumer(r(log), bytes("display"), ptr::null(), Some(&mut place))
    };
    refused(busy, FOREBAY_CONSUMER_BUSY, "display");
    unsafe { forebay_consumer_free(h(display)) };

    let info: forebay_consumer_info =
        report(|place, size| unsafe { forebay_log_consumer_info(r(log), 0, place, size) });
    assert_eq!((info.committed, info.lag, info.open), (2, 1, 0));
    assert_eq!(info.name[..8].iter().map(|byte| *byte as u8).collect::<Vec<_>>(), b"display\0");
    let display = consumer(log, "display");
    assert_eq!(seen(unsafe { forebay_consumer_metadata(h(display)) }), b"note");
    assert_eq!(unsafe { forebay_consumer_position(h(display)) }, 2);
    assert_eq!(unsafe { forebay_consumer_committed(h(display)) }, 2);
    let (mut lag, mut missed) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    ok(unsafe { forebay_consumer_lag(h(display), Some(&mut lag), Some(&mut missed)) });
    assert_eq!(unsafe { (lag.assume_init(), missed.assume_init()) }, (1, 0));
    ok(unsafe { forebay_consumer_seek(h(display), FOREBAY_FROM_OFFSET, 3) });
    assert!(given(|batch| unsafe { forebay_consumer_poll(h(display), 1, batch) }).is_null());
    let beyond = unsafe { forebay_consumer_commit_offset(h(display), 4) };
    refused(beyond, FOREBAY_OFFSET_OUT_OF_RANGE, "");
    let (mut from, mut to) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    ok(forebay_last_error_offsets(Some(&mut from), Some(&mut to)));
    assert_eq!(unsafe { (from.assume_init(), to.assume_init()) }, (0, 3));
    unsafe { forebay_consumer_free(h(display)) };
    ok(unsafe { forebay_log_delete_consumer(r(log), bytes("display")) });
    let gone = unsafe { forebay_log_delete_consumer(r(log), bytes("display")) };
    refused(gone, FOREBAY_NOT_FOUND, "display");
    close(log);
}

/// The application carries the bytes over a link of its own, and commits what the other side has.
#[test]
fn a_batch_is_carried_elsewhere_and_read_there() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let records = [new_record(Some("k"), "21.5"), new_record(None, "21.6")];
    ok(unsafe { forebay_log_append_batch(r(log), records.as_ptr(), 2, None) });
    ok(unsafe { forebay_log_flush(r(log), None) });
    let durable = forebay_consumer_options {
        struct_size: u32::try_from(size_of::<forebay_consumer_options>()).unwrap(),
        visibility: FOREBAY_DURABLE,
        from: FOREBAY_FROM_EARLIEST,
        reserved: 0,
        number: 0,
    };
    let modem = given(|place| unsafe {
        forebay_log_consumer(r(log), bytes("modem"), &raw const durable, place)
    });
    let batch = given(|batch| unsafe { forebay_consumer_poll(h(modem), 0, batch) });
    let carried = seen(unsafe { forebay_batch_bytes(r(batch)) }).to_vec();

    let (mut there, mut used) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    for cut in [0, 1, 11, 60, carried.len() - 1] {
        let status = unsafe {
            forebay_batch_read(bytes(&carried[..cut]), Some(&mut there), Some(&mut used))
        };
        ok(status);
        assert!(unsafe { there.assume_init() }.is_null(), "cut to {cut}");
        assert_eq!(unsafe { used.assume_init() }, 0);
    }
    let mut wrong = carried.clone();
    *wrong.last_mut().unwrap() ^= 1;
    let status = unsafe { forebay_batch_read(bytes(&wrong), Some(&mut there), Some(&mut used)) };
    refused(status, FOREBAY_CORRUPT, "");
    let two: Vec<u8> = [&carried[..], &carried[..7]].concat();
    ok(unsafe { forebay_batch_read(bytes(&two), Some(&mut there), Some(&mut used)) });
    assert_eq!(unsafe { used.assume_init() }, carried.len());
    let there = unsafe { there.assume_init() };
    assert_eq!(seen(record(there, 1).value), b"21.6");

    assert_bounded(&carried);

    let acknowledged = unsafe { forebay_batch_next_offset(r(batch)) };
    ok(unsafe { forebay_consumer_commit_offset(h(modem), acknowledged) });
    let mut size = MaybeUninit::uninit();
    let asked =
        unsafe { forebay_batch_produce(r(batch), 4, 0, 9, ptr::null_mut(), 0, Some(&mut size)) };
    refused(asked, FOREBAY_OUT_OF_SPACE, "the buffer has 0 bytes");
    let mut buffer = vec![0_u8; unsafe { size.assume_init() }];
    let capacity = buffer.len();
    let to = buffer.as_mut_ptr();
    ok(unsafe { forebay_batch_produce(r(batch), 4, 0, 9, to, capacity, Some(&mut size)) });
    let (sent, _) = forebay::RecordBatch::split_first(&buffer).unwrap().unwrap();
    assert_eq!((sent.producer_id(), sent.base_sequence(), sent.len()), (4, 9, 2));
    unsafe {
        forebay_batch_free(h(there));
        forebay_batch_free(h(batch));
        forebay_consumer_free(h(modem));
    }
    close(log);
}

/// Who sends what is too large is told before more of it is gathered.
fn assert_bounded(carried: &[u8]) {
    for (front, max_bytes, status) in [
        (60, 0, FOREBAY_OK),
        (61, carried.len() - 1, FOREBAY_RECORD_TOO_LARGE),
        (61, carried.len(), FOREBAY_OK),
        (carried.len(), carried.len() - 1, FOREBAY_RECORD_TOO_LARGE),
    ] {
        let (mut place, mut used) = (MaybeUninit::uninit(), MaybeUninit::uninit());
        let front = bytes(&carried[..front]);
        let within = unsafe {
            forebay_batch_read_within(front, max_bytes, Some(&mut place), Some(&mut used))
        };
        assert_eq!(within, status, "{}", said());
        assert!(unsafe { place.assume_init() }.is_null());
    }
    assert!(said().contains("taken are up to"), "{}", said());
}

/// Its checksum is right, so its writer encoded it wrongly: what is before stays readable, and what
/// is wrong says so each time.
#[test]
fn a_record_that_was_encoded_wrongly_is_told_each_time_and_hides_none_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let records = ["aa", "bb", "cc"].map(|value| new_record(None, value));
    ok(unsafe { forebay_log_append_batch(r(log), records.as_ptr(), 3, None) });
    let reader = reader(log);
    let whole = next(reader);
    let mut wrong = seen(unsafe { forebay_batch_bytes(r(whole)) }).to_vec();
    let third = wrong.len() - 2 - "cc".len() - 5;
    wrong[third] ^= 0x40; // its length
    let crc = crc32c::crc32c(&wrong[21..]);
    wrong[17..21].copy_from_slice(&crc.to_be_bytes());
    let (mut batch, mut used) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    ok(unsafe { forebay_batch_read(bytes(&wrong), Some(&mut batch), Some(&mut used)) });
    let batch = unsafe { batch.assume_init() };
    for _ in 0..3 {
        let third = unsafe { forebay_batch_get(r(batch), 2, Some(&mut MaybeUninit::uninit())) };
        refused(third, FOREBAY_CORRUPT, "");
        assert_eq!(seen(record(batch, 1).value), b"bb");
        let mut places = [record(batch, 0); 9];
        let to = places.as_mut_ptr();
        let many = |from, count: &mut MaybeUninit<usize>| unsafe {
            forebay_batch_get_many(r(batch), from, to, 9, Some(count))
        };
        assert_eq!(given(|count| many(0, count.unwrap())), 2);
        refused(many(2, &mut MaybeUninit::uninit()), FOREBAY_CORRUPT, "");
    }
    unsafe {
        forebay_batch_free(h(batch));
        forebay_batch_free(h(whole));
        forebay_reader_free(h(reader));
    }
    close(log);
}

#[test]
fn what_is_not_wanted_any_more_goes() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = options();
    (options.segment_bytes, options.max_batch_bytes) = (4096, 4096);
    let log = given(|log| unsafe { forebay_log_open(path(dir.path()), &raw const options, log) });
    for _ in 0..20 {
        append(log, &"x".repeat(1000));
    }
    let start = given(|start| unsafe { forebay_log_delete_records(r(log), 7, start) });
    assert_eq!((start, unsafe { forebay_log_start_offset(r(log)) }), (7, 7));
    let beyond = unsafe { forebay_log_delete_records(r(log), 21, None) };
    refused(beyond, FOREBAY_OFFSET_OUT_OF_RANGE, "");
    options.retention_records = 3;
    ok(unsafe { forebay_log_set_options(r(log), &raw const options) });
    let kept: forebay_retention =
        report(|place, size| unsafe { forebay_log_apply_retention(r(log), place, size) });
    assert!(kept.segments_deleted > 0 && kept.log_start_offset > 7, "{kept:?}");
    ok(unsafe { forebay_log_apply_retention(r(log), None, 0) });
    options.segment_bytes = 8192;
    let other = unsafe { forebay_log_set_options(r(log), &raw const options) };
    refused(other, FOREBAY_INVALID_ARGUMENT, "segment_bytes");
    let reader =
        given(|reader| unsafe { forebay_log_reader(r(log), FOREBAY_FROM_LATEST, 0, reader) });
    assert_eq!(unsafe { forebay_reader_next_offset(h(reader)) }, 20);
    assert!(next(reader).is_null(), "nothing more now");
    let gone = unsafe { forebay_reader_seek(h(reader), FOREBAY_FROM_OFFSET, 0) };
    refused(gone, FOREBAY_OFFSET_OUT_OF_RANGE, "");
    unsafe { forebay_reader_free(h(reader)) };
    let copies = tempfile::tempdir().unwrap();
    for (copy, name) in [("snapshot", 0), ("export", 1)] {
        let to = copies.path().join(copy);
        ok(match name {
            0 => unsafe { forebay_log_snapshot(r(log), path(&to)) },
            _ => unsafe { forebay_log_export(r(log), path(&to)) },
        });
        assert!(to.read_dir().unwrap().count() > 0);
    }
    let mut id = MaybeUninit::uninit();
    ok(unsafe { forebay_log_id(r(log), Some(&mut id)) });
    close(log);
    let copy = open(&copies.path().join("snapshot"));
    assert_eq!(unsafe { forebay_log_end_offset(r(copy)) }, 20);
    close(copy);
}

#[test]
fn a_log_is_open_once_and_is_found_closed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut second = MaybeUninit::new(NonNull::<forebay_log>::dangling().as_ptr());
    let status = unsafe { forebay_log_open(path(dir.path()), ptr::null(), Some(&mut second)) };
    refused(status, FOREBAY_LOCKED, "");
    assert!(unsafe { second.assume_init() }.is_null(), "set to NULL first");
    append(log, "kept");
    unsafe { forebay_log_free(h(log)) };
    let log = open(dir.path());
    assert_eq!(unsafe { forebay_log_end_offset(r(log)) }, 1);
    close(log);
}
