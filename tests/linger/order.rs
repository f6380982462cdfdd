//! Offsets follow the order in which records were handed in, on whatever threads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use forebay::{ErrorKind, LingerOptions, Log, NewRecord, Timestamp};

use crate::util::{MODES, OpenIn, Owned, all_texts, kind, manual, read_all, scratch, ways};
use crate::{EVER, batch_sizes, counting, offsets};

/// I14: nothing of a batch is visible before it is full; then all of it is, at the offsets that the
/// tickets tell.
#[test]
fn a_batch_is_appended_by_the_record_that_fills_it() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let linger = counting(&log, 4);
        let mut tickets = Vec::new();
        for n in 0..11 {
            tickets.push(linger.append(format!("{n}")).unwrap());
            let full = (n + 1) / 4 * 4;
            assert_eq!(log.log_end_offset().get(), full, "{mode:?}");
            let answered = tickets.iter().filter(|ticket| ticket.try_wait().is_some()).count();
            assert_eq!(answered as i64, full, "{mode:?}");
        }
        linger.flush().unwrap();
        assert_eq!(offsets(&tickets), (0..11).collect::<Vec<_>>());
        assert_eq!(batch_sizes(&log), [4, 4, 3]);
        let expected: Vec<_> = (0..11).map(|n| n.to_string()).collect();
        assert_eq!(all_texts(&log), expected);
        assert_eq!(log.stats().batches_appended, 3);
    }
}

/// What a record has is stored: key, headers, time; batches keep to their size, and a larger record
/// has one of its own.
#[test]
fn records_are_stored_as_they_were_handed_in_in_batches_of_the_size_asked_for() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).max_batch_bytes(5000).open_in(&place).unwrap();
        let options = LingerOptions::new().linger(EVER).batch_bytes(600);
        let linger = log.linger(options).unwrap();
        let sizes = [10, 100, 480, 2000, 1, 538, 527, 4900, 0, 300, 200];
        let records: Vec<_> = sizes
            .iter()
            .enumerate()
            .map(|(n, size)| Owned {
                offset: n as i64,
                // Backwards as well.
                timestamp: 1_000_000 - 7 * n as i64,
                key: (n % 2 == 0).then(|| vec![b'k'; n]),
                value: (n != 8).then(|| vec![b'v'; *size]),
                headers: if n % 3 == 0 { vec![("h".to_owned(), None)] } else { Vec::new() },
            })
            .collect();
        let tickets: Vec<_> =
            records.iter().map(|record| linger.append(record.to_new()).unwrap()).collect();
        linger.flush().unwrap();
        assert_eq!(offsets(&tickets), (0..11).collect::<Vec<_>>());
        assert_eq!(read_all(&log), records, "{mode:?}");
        for batch in log.reader(forebay::OffsetSpec::Earliest).unwrap() {
            let batch = batch.unwrap();
            let bytes = batch.as_bytes().len();
            assert!(bytes <= 600 || batch.records().count() == 1, "{bytes} bytes");
        }
        assert!(log.stats().batches_appended < 11);
        assert!(log.verify().unwrap().is_whole());
    }
}

/// A record that no batch has room for is refused at once, and changes nothing for the others.
#[test]
fn a_record_too_large_for_any_batch_is_refused_at_once() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).max_batch_bytes(5000).open_in(&place).unwrap();
        let linger = counting(&log, 100);
        // Its time is the highest by far, and must not become the batch's.
        let large = vec![b'x'; 6000];
        let large = || NewRecord::new(&large).timestamp(Timestamp::from_millis(i64::MAX));
        assert_eq!(kind(linger.append(large())), ErrorKind::RecordTooLarge, "{mode:?}");
        let time = Timestamp::from_millis(5);
        let first = linger.append(NewRecord::new("a").timestamp(time)).unwrap();
        assert_eq!(kind(linger.append(large())), ErrorKind::RecordTooLarge);
        let second = linger.append(NewRecord::new("b").timestamp(time)).unwrap();
        linger.flush().unwrap();
        assert_eq!(offsets(&[first, second]), [0, 1]);
        assert_eq!(all_texts(&log), ["a", "b"]);
        assert_eq!(log.stats().appends_refused, 2);
        for batch in log.reader(forebay::OffsetSpec::Earliest).unwrap() {
            assert_eq!(batch.unwrap().max_timestamp(), time);
        }
    }
}

/// A batch is compressed as one of `append_batch` is, on the thread that appends it.
#[test]
#[cfg(feature = "lz4")]
fn batches_are_compressed_by_the_codec_of_the_log() {
    use forebay::Compression;

    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).compression(Compression::Lz4).open_in(&place).unwrap();
        let linger = counting(&log, 100);
        let tickets: Vec<_> =
            (0..300).map(|n| linger.append(format!("{n} {}", "x".repeat(90))).unwrap()).collect();
        assert_eq!(offsets(&tickets), (0..300).collect::<Vec<_>>());
        for batch in log.reader(forebay::OffsetSpec::Earliest).unwrap() {
            assert_eq!(batch.unwrap().compression(), Compression::Lz4);
        }
        assert_eq!(all_texts(&log)[299], format!("299 {}", "x".repeat(90)));
        assert!(log.stats().bytes_appended < 300 * 50, "{}", log.stats().bytes_appended);
    }
}

/// Values are sealed before they wait, each with its own nonce.
#[test]
#[cfg(feature = "encryption")]
fn values_are_encrypted_when_they_are_handed_in() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let keys = forebay::Encryption::new(7, |number| (number == 7).then_some([9; 32])).unwrap();
        let log = manual(mode).encryption(&keys).open_in(&place).unwrap();
        let linger = counting(&log, 3);
        let tickets: Vec<_> = (0..6).map(|_| linger.append("21.5 C").unwrap()).collect();
        assert_eq!(offsets(&tickets), [0, 1, 2, 3, 4, 5]);
        let mut sealed = std::collections::BTreeSet::new();
        for batch in log.reader(forebay::OffsetSpec::Earliest).unwrap() {
            for record in batch.unwrap().records() {
                let record = record.unwrap();
                sealed.insert(record.value().to_vec());
                assert_eq!(&*keys.open(&record).unwrap(), b"21.5 C", "{mode:?}");
            }
        }
        assert!(sealed.len() == 6 && !sealed.contains(&b"21.5 C"[..]));
    }
}

/// Ticks before and after each append: whoever returned before another began lies before it.
#[test]
fn what_returned_before_another_began_lies_before_it() {
    let (threads, each) = (4, 3000);
    for mode in MODES {
        for background in [false, true] {
            let dir = scratch();
            let log = manual(mode).background(background).open(dir.path()).unwrap();
            let linger = log.linger(LingerOptions::new().batch_bytes(2000)).unwrap();
            let clock = AtomicU64::new(0);
            let tick = || clock.fetch_add(1, Ordering::SeqCst);
            let run = |me: usize| {
                let mut seen = Vec::new();
                for n in 0..each {
                    let begun = tick();
                    let ticket = linger.append(format!("{me} {n}")).unwrap();
                    let returned = tick();
                    seen.push((ticket, begun, returned, format!("{me} {n}")));
                    if n % 500 == 499 {
                        linger.flush().unwrap();
                    }
                    if n % 700 == me {
                        seen.last().unwrap().0.wait().unwrap();
                    }
                }
                seen
            };
            let mut all = thread::scope(|scope| {
                let threads: Vec<_> = (0..threads).map(|me| scope.spawn(move || run(me))).collect();
                threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
            });
            linger.flush().unwrap();
            all.sort_by_key(|(ticket, ..)| ticket.wait().unwrap());
            let texts = all_texts(&log);
            assert_eq!(texts.len(), threads * each);
            let mut latest_begun = 0;
            for (at, (ticket, begun, returned, text)) in all.iter().enumerate() {
                assert_eq!(ticket.wait().unwrap().get(), at as i64, "each offset once");
                assert_eq!(&texts[at], text, "the record that was handed in");
                assert!(*returned > latest_begun, "{text} returned before one below it began");
                latest_begun = latest_begun.max(*begun);
            }
        }
    }
}

/// Lingers, appends, batches and conditional appends of many threads share the log's offsets: each
/// record lies where its call said.
#[test]
fn lingers_and_other_appends_go_side_by_side() {
    for mode in MODES {
        let dir = scratch();
        let log = manual(mode).segment_bytes(64 << 10).open(dir.path()).unwrap();
        let run = |me: usize| -> Vec<(i64, String)> {
            let text = |n: usize| format!("{me} {n}");
            let told = |n: usize, offset: forebay::Offset| (offset.get(), text(n));
            match me {
                0 | 1 => {
                    let linger = log.linger(LingerOptions::new().batch_records(5 + me)).unwrap();
                    let tickets: Vec<_> =
                        (0..900).map(|n| (n, linger.append(text(n)).unwrap())).collect();
                    drop(linger);
                    tickets.into_iter().map(|(n, ticket)| told(n, ticket.wait().unwrap())).collect()
                }
                2 => (0..900).map(|n| told(n, log.append(text(n)).unwrap())).collect(),
                _ => (0..900)
                    .map(|n| {
                        loop {
                            match log.append_at(log.log_end_offset(), text(n)) {
                                Ok(offset) => break told(n, offset),
                                Err(error) => assert_eq!(error.kind(), ErrorKind::Conflict),
                            }
                        }
                    })
                    .collect(),
            }
        };
        let run = &run;
        let mut all = thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|me| scope.spawn(move || run(me))).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
        });
        all.sort();
        let expected: Vec<_> = (0..).zip(all_texts(&log)).collect();
        assert_eq!(all, expected, "{mode:?}");
    }
}

/// Bounds that make no sense are refused when the linger is made, and name what is allowed.
#[test]
fn bounds_that_the_log_has_no_room_for_are_refused() {
    let dir = scratch();
    let log = Log::options().max_batch_bytes(5000).open(dir.path()).unwrap();
    for options in [
        LingerOptions::new().batch_bytes(0),
        LingerOptions::new().batch_bytes(5001),
        LingerOptions::new().batch_records(0),
        LingerOptions::new().batch_records(1 << 31),
    ] {
        let error = log.linger(options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        assert!(error.to_string().contains("allowed are 1 to "), "{error}");
    }
    for options in [
        LingerOptions::new(),
        LingerOptions::new().batch_bytes(1).batch_records(1),
        LingerOptions::new().batch_bytes(5000).batch_records(i32::MAX as usize),
    ] {
        let linger = log.linger(options).unwrap();
        let ticket = linger.append("x").unwrap();
        assert_eq!(ticket.wait().unwrap() + 1, log.log_end_offset());
    }
    let mirror = Log::options().mirror_of(log.id()).open(dir.path().join("mirror")).unwrap();
    assert_eq!(kind(mirror.linger(LingerOptions::new())), ErrorKind::InvalidArgument);
}
