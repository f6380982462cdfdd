//! Named consumers: durable progress, refusals by name, and what crashes and power cuts leave.

use std::time::Duration;

use forebay::{ConsumerOptions, ErrorKind, IoMode, Offset, OffsetSpec, Visibility};

use crate::util::{Ground, OpenIn, at, durable, kind, manual, poll_text, ten_in, texts, ways};

/// A consumer goes on where it committed, not where it had polled to.
#[test]
fn a_reopened_consumer_goes_on_at_its_committed_offset() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = ten_in(mode, &dir);
        let mut consumer = log.consumer("c").unwrap();
        assert_eq!((consumer.name(), consumer.lag()), ("c", 10));
        for n in 0..4 {
            assert_eq!(poll_text(&mut consumer).unwrap(), [format!("{n}")]);
        }
        assert_eq!((consumer.position().get(), consumer.committed().get()), (4, 0));
        consumer.commit().unwrap();
        assert_eq!((consumer.committed().get(), consumer.lag()), (4, 6));
        poll_text(&mut consumer).unwrap();
        drop(consumer);
        let mut consumer = log.consumer("c").unwrap();
        assert_eq!((consumer.position().get(), consumer.committed().get()), (4, 4));
        poll_text(&mut consumer).unwrap();
        poll_text(&mut consumer).unwrap();
        consumer.commit().unwrap();
        poll_text(&mut consumer).unwrap();
        drop((consumer, log));

        let log = manual(mode).open_in(&dir).unwrap();
        assert!(log.recovery().clean && log.recovery().consumers_moved_back.is_empty());
        let mut consumer = log.consumer("c").unwrap();
        assert_eq!((consumer.position().get(), consumer.committed().get()), (6, 6));
        while poll_text(&mut consumer).is_some() {}
        consumer.commit().unwrap();
        assert_eq!((consumer.committed().get(), consumer.lag(), consumer.missed()), (10, 0, 0));
        assert_eq!(poll_text(&mut consumer), None);
        log.append("more").unwrap();
        assert_eq!(consumer.lag(), 1);
        assert_eq!(poll_text(&mut consumer).unwrap(), ["more"]);
    }
}

/// Committing backwards is allowed; beyond what is visible, or below the start, is refused.
#[test]
fn commits_go_backwards_but_never_beyond_what_the_consumer_sees() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = ten_in(mode, &dir);
        log.flush().unwrap();
        log.append_batch(["10", "11"]).unwrap();
        let mut written = log.consumer("w").unwrap();
        let mut kept = log.consumer_with("d", durable()).unwrap();
        for offset in [12, 0, 7, 11, 3] {
            written.commit_offset(Offset::new(offset)).unwrap();
            assert_eq!(written.committed().get(), offset);
            assert_eq!(written.lag(), 12 - u64::try_from(offset).unwrap());
        }
        kept.commit_offset(Offset::new(10)).unwrap();
        for (consumer, bad) in [(&mut written, 13), (&mut kept, 11)] {
            let before = consumer.committed();
            for bad in [bad, -1, i64::MIN, i64::MAX] {
                let error = consumer.commit_offset(Offset::new(bad)).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange);
                let valid = error.valid_offsets().unwrap();
                assert!(valid.start <= before && before <= valid.end, "{valid:?}");
                assert_eq!(consumer.committed(), before);
            }
        }
        drop((written, kept, log));
        let log = manual(mode).open_in(&dir).unwrap();
        assert_eq!(log.consumer("w").unwrap().committed().get(), 3);
        assert_eq!(log.consumer_with("d", durable()).unwrap().committed().get(), 10);
    }
}

/// Seeking moves the position only; a commit then stores it.
#[test]
fn seek_moves_the_position_and_leaves_the_committed_offset() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = ten_in(mode, &dir);
        log.append_batch(["10", "11", "12"]).unwrap();
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(Offset::new(2)).unwrap();
        for (to, text) in [(9, "9"), (0, "0"), (12, "12"), (11, "11")] {
            consumer.seek(at(to)).unwrap();
            assert_eq!((consumer.position().get(), consumer.committed().get()), (to, 2));
            assert_eq!(poll_text(&mut consumer).unwrap()[0], text);
        }
        for bad in [-1, 14] {
            let before = consumer.position();
            assert_eq!(kind(consumer.seek(at(bad))), ErrorKind::OffsetOutOfRange);
            assert_eq!(consumer.position(), before);
        }
        consumer.seek(OffsetSpec::Latest).unwrap();
        assert_eq!(poll_text(&mut consumer), None);
        consumer.seek(at(11)).unwrap();
        consumer.commit().unwrap();
        drop(consumer);
        assert_eq!(poll_text(&mut log.consumer("c").unwrap()).unwrap(), ["11", "12"]);
    }
}

/// One handle a name; dropping it frees the name at once.
#[test]
fn a_consumer_that_is_open_is_busy_until_it_is_dropped() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = ten_in(mode, &dir);
        let consumer = log.consumer("c").unwrap();
        for _ in 0..3 {
            let error = log.consumer("c").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConsumerBusy);
            assert!(error.to_string().contains('c'));
            assert_eq!(kind(log.clone().delete_consumer("c")), ErrorKind::ConsumerBusy);
        }
        assert!(log.consumers()[0].open);
        drop(consumer);
        assert!(!log.consumers()[0].open);
        drop(log.consumer("c").unwrap());
        assert!(log.delete_consumer("c").unwrap());
        assert!(!log.delete_consumer("c").unwrap());
        assert!(log.consumers().is_empty());
        let mut consumer = log.consumer("c").unwrap();
        consumer.commit_offset(Offset::new(5)).unwrap();
        drop(consumer);
        log.delete_consumer("c").unwrap();
        assert_eq!(log.consumer("c").unwrap().committed().get(), 0, "a new one of an old name");
    }
}

/// Room for 64, of the longest names as well; the 65th is refused by name and harms nothing.
#[test]
fn sixty_four_consumers_fit_and_one_more_is_refused_by_name() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = ten_in(mode, &dir);
        let name = |n: usize| format!("{n:02}{}", "n".repeat(247));
        let before = dir.len("checkpoint");
        for n in 0..64 {
            let mut consumer = log.consumer(&name(n)).unwrap();
            consumer.commit_offset(Offset::new(i64::try_from(n % 10).unwrap())).unwrap();
        }
        assert!(dir.len("checkpoint") > before);
        for _ in 0..3 {
            let error = log.consumer("one-more").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.to_string().contains("one-more"), "{error}");
        }
        let copy = dir.killed();
        drop(log);
        for dir in [&copy, &dir] {
            let log = manual(mode).open_in(dir).unwrap();
            assert!(log.recovery().consumers_moved_back.is_empty());
            let consumers = log.consumers();
            assert_eq!(consumers.len(), 64);
            for (n, consumer) in consumers.iter().enumerate() {
                assert_eq!(consumer.name, name(n), "in the order they were created");
                assert_eq!(consumer.committed.get(), i64::try_from(n % 10).unwrap());
            }
            assert!(log.delete_consumer(&name(30)).unwrap());
            log.consumer("one-more").unwrap();
            assert_eq!(kind(log.consumer("two-more")), ErrorKind::InvalidArgument);
        }
    }
}

/// Names are Kafka's: everything else is refused, and leaves no consumer behind.
#[test]
fn names_that_kafka_would_not_take_are_refused() {
    let dir = Ground::System.place();
    let log = ten_in(IoMode::Mapped, &dir);
    let (long, huge) = ("n".repeat(250), "n".repeat(1 << 16));
    let bad = [
        "",
        ".",
        "..",
        "/",
        "a/b",
        "../a",
        "a b",
        " ",
        "a\0",
        "\0",
        "\n",
        "a:b",
        "a\\b",
        "caf\u{e9}",
        "\u{1f600}",
        "a*",
        "a\"",
        &long,
        &huge,
    ];
    for name in bad {
        let error = log.consumer(name).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{name:?}");
        assert!(error.to_string().len() < 1000, "{} bytes", error.to_string().len());
        assert!(!error.to_string().contains(['\n', '\0']));
        log.delete_consumer(name).map_or_else(
            |error| kind::<()>(Err(error)),
            |there| {
                assert!(!there);
                ErrorKind::InvalidArgument
            },
        );
    }
    assert!(log.consumers().is_empty());
    let longest = "n".repeat(249);
    for name in ["a", "...", ".a", "_", "-", "A", "a.b_c-9", &longest] {
        assert_eq!(log.consumer(name).unwrap().name(), name);
    }
    // Names that differ in case only are two consumers.
    assert_eq!(log.consumers().len(), 8);
}

/// The visibility is stored with the consumer; opening it with another one is refused.
#[test]
fn a_consumer_keeps_the_visibility_it_was_created_with() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = ten_in(mode, &dir);
        drop(log.consumer("w").unwrap());
        drop(log.consumer_with("d", durable()).unwrap());
        for _ in 0..2 {
            assert_eq!(kind(log.consumer_with("w", durable())), ErrorKind::InvalidArgument);
            assert_eq!(kind(log.consumer("d")), ErrorKind::InvalidArgument);
        }
        drop(log);
        let log = manual(mode).open_in(&dir).unwrap();
        assert_eq!(kind(log.consumer_with("w", durable())), ErrorKind::InvalidArgument);
        assert_eq!(kind(log.consumer("d")), ErrorKind::InvalidArgument);
        let seen: Vec<_> = log.consumers().iter().map(|c| (c.name.clone(), c.visibility)).collect();
        assert_eq!(
            seen,
            [("w".to_owned(), Visibility::Written), ("d".to_owned(), Visibility::Durable)]
        );
        assert!(serde_json::to_string(&log.consumers()).unwrap().contains("\"durable\""));
    }
}

/// I16: a durable consumer never sees a record that a power cut could take, waiting or not.
#[test]
fn a_durable_consumer_sees_flushed_records_only() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = manual(mode).open_in(&dir).unwrap();
        let mut consumer = log.consumer_with("d", durable()).unwrap();
        log.append_batch(["a", "b"]).unwrap();
        for _ in 0..3 {
            assert!(consumer.poll(Duration::from_millis(2)).unwrap().is_none());
        }
        assert_eq!((consumer.position().get(), consumer.lag()), (0, 2));
        log.flush().unwrap();
        log.append("c").unwrap();
        assert_eq!(poll_text(&mut consumer).unwrap(), ["a", "b"]);
        assert_eq!(poll_text(&mut consumer), None);
        consumer.commit().unwrap();
        assert_eq!((consumer.committed(), log.durable_offset()), (Offset::new(2), Offset::new(2)));
        log.flush().unwrap();
        assert_eq!(poll_text(&mut consumer).unwrap(), ["c"]);
        std::thread::scope(|scope| {
            let polled = scope.spawn(|| consumer.poll(Duration::MAX).unwrap().unwrap());
            log.append("d").unwrap();
            log.flush().unwrap();
            assert_eq!(texts(&polled.join().unwrap()), ["d"]);
        });
    }
}

/// A new consumer begins where its options say; one that exists goes on where it committed.
#[test]
fn the_start_of_a_consumer_counts_at_its_creation_only() {
    for (mode, ground) in ways() {
        let dir = ground.place();
        let log = ten_in(mode, &dir);
        for (name, start, first) in
            [("e", OffsetSpec::Earliest, 0), ("l", OffsetSpec::Latest, 10), ("a", at(4), 4)]
        {
            let consumer = log.consumer_with(name, ConsumerOptions::new().start(start)).unwrap();
            assert_eq!((consumer.position().get(), consumer.committed().get()), (first, first));
            drop(consumer);
            let again = ConsumerOptions::new().start(at(7));
            assert_eq!(log.consumer_with(name, again).unwrap().position().get(), first);
        }
        for bad in [-1, 11] {
            let bad = ConsumerOptions::new().start(at(bad));
            assert_eq!(kind(log.consumer_with("bad", bad)), ErrorKind::OffsetOutOfRange);
        }
        assert_eq!(log.consumers().len(), 3);
    }
}

/// I7, I16: a durable consumer's committed offset is never above the durable offset, whether it
/// begins there, at the end, or was moved there by a seek.
#[test]
fn a_durable_consumer_never_commits_above_the_durable_offset() {
    for (mode, ground) in ways() {
        for start in [OffsetSpec::Latest, at(10), at(7)] {
            let dir = ground.place();
            let log = ten_in(mode, &dir);
            match log.consumer_with("d", durable().start(start)) {
                Ok(c) => assert!(c.committed() <= log.durable_offset(), "{start:?}: {c:?}"),
                Err(error) => assert_eq!(error.kind(), ErrorKind::OffsetOutOfRange),
            }
        }
        let dir = ground.place();
        let log = ten_in(mode, &dir);
        let mut consumer = log.consumer_with("d", durable()).unwrap();
        if consumer.seek(at(9)).is_ok() {
            assert_eq!(kind(consumer.commit()), ErrorKind::OffsetOutOfRange);
        }
        assert_eq!(consumer.committed(), Offset::ZERO);
    }
}
