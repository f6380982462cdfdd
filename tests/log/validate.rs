//! The hook that looks at records before they are appended: what it refuses leaves no trace, and
//! nothing it does harms the log.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::Duration;

use forebay::{
    ErrorKind, FlushPolicy, Log, LogOptions, NewRecord, Offset, OffsetSpec, Refusal, Timestamp,
    Visibility,
};

use crate::util::{MODES, OpenIn, Owned, all_texts, kind, manual, read_all, scratch, ways};

/// A hook that refuses values with an `x` in them.
fn no_x(options: LogOptions) -> LogOptions {
    options.validate(|record| match record.get_value().unwrap_or_default().contains(&b'x') {
        true => Err(Refusal::new("value", "has an x")),
        false => Ok(()),
    })
}

/// I14: one record that is refused takes its batch with it, and no byte of it is anywhere.
#[test]
fn a_refused_record_leaves_nothing_of_its_batch() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = no_x(manual(mode)).open_in(&place).unwrap();
        log.append_batch(["one", "two"]).unwrap();
        let files = place.files();
        let batches: [(&[&str], usize); 4] =
            [(&["ax"], 0), (&["a", "bx", "c"], 1), (&["a", "b", "cx"], 2), (&["ax", "bx"], 0)];
        for (batch, number) in batches {
            let end = log.log_end_offset();
            let mut errors = vec![
                log.append_batch(batch.iter().copied()).unwrap_err(),
                log.append_batch_at(end, batch.iter().copied()).unwrap_err(),
            ];
            if let [one] = batch {
                errors.push(log.append(*one).unwrap_err());
                errors.push(log.append_at(end, *one).unwrap_err());
            }
            for error in errors {
                let text = error.to_string();
                assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
                assert_eq!(error.refused_field(), Some("value"), "{text}");
                assert_eq!(error.refused_record(), Some(number), "{text}");
                assert!(text.contains(&format!("record {number} of the batch")), "{text}");
                assert!(text.contains("value: has an x"), "{text}");
            }
        }
        assert_eq!(log.stats().appends_refused, 10);
        assert_eq!(place.files(), files, "something was written");
        assert_eq!(log.append_batch(["three"]).unwrap().start.get(), 2);
        let (written, nothing) = (log.log_end_offset(), log.append_batch([""; 0]).unwrap());
        assert_eq!(nothing, written..written);
        log.close().unwrap();
        let log = manual(mode).open_in(&place).unwrap();
        assert_eq!(all_texts(&log), ["one", "two", "three"]);
        assert_eq!(log.append("x: nobody looks any more").unwrap().get(), 3);
    }
}

/// What the hook is shown is what a reader is given, but for the time of those without one.
#[test]
fn the_hook_sees_each_record_once_as_it_was_given() {
    let all = [
        Owned::value("plain"),
        Owned::value(""),
        Owned { key: Some(Vec::new()), ..Owned::value("empty key") },
        Owned { key: Some(b"gone".to_vec()), ..Owned::default() },
        Owned { timestamp: -1, ..Owned::value("no time") },
        Owned { timestamp: i64::MAX, ..Owned::value([0xff; 300]) },
        Owned {
            headers: vec![("h".into(), Some(b"1".to_vec())), ("h".into(), None), ("".into(), None)],
            ..Owned::value("headers")
        },
    ];
    for (mode, ground) in ways() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (shown, caller) = (Arc::clone(&seen), thread::current().id());
        let place = ground.place();
        let options = manual(mode).validate(move |record| {
            assert_eq!(thread::current().id(), caller);
            let headers = record.get_headers();
            assert_eq!(headers.len(), record.get_headers().count());
            shown.lock().unwrap().push(Owned {
                offset: 0,
                timestamp: record.get_timestamp().unwrap().millis(),
                key: record.get_key().map(<[u8]>::to_vec),
                value: record.get_value().map(<[u8]>::to_vec),
                headers: headers.map(|(n, v)| (n.to_owned(), v.map(<[u8]>::to_vec))).collect(),
            });
            Ok(())
        });
        let log = options.open_in(&place).unwrap();
        log.append_batch(all.iter().map(Owned::to_new)).unwrap();
        for record in &all {
            log.append(record.to_new()).unwrap();
        }
        let twice: Vec<_> = all.iter().chain(&all).cloned().collect();
        assert_eq!(*seen.lock().unwrap(), twice);
        let read = read_all(&log).into_iter().map(|record| Owned { offset: 0, ..record });
        assert_eq!(read.collect::<Vec<_>>(), twice);
    }
    let record = NewRecord::new("v").timestamp(Timestamp::NONE);
    assert_eq!(record.get_timestamp(), Some(Timestamp::NONE));
    assert_eq!(NewRecord::new("v").get_timestamp(), None);
    assert_eq!((NewRecord::default().get_value(), NewRecord::default().get_key()), (None, None));
}

/// More often than hooks may be inside each other, so that none counts for ever.
#[test]
fn a_hook_that_panics_does_no_harm() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let options = manual(mode).validate(|record| match record.get_value() {
            Some(b"panic") => std::panic::resume_unwind(Box::new("the hook's own")),
            _ => Ok(()),
        });
        let log = options.open_in(&place).unwrap();
        for round in 0..20 {
            let all = ["a", "panic", "b"];
            let batch = catch_unwind(AssertUnwindSafe(|| log.append_batch(all)));
            assert!(batch.unwrap_err().is::<&str>(), "round {round}");
            let one = catch_unwind(AssertUnwindSafe(|| log.append("panic")));
            assert!(one.is_err(), "round {round}");
            assert_eq!(log.append_batch(["fine", "too"]).unwrap().start.get(), 3 * round);
            assert_eq!(log.append("fine").unwrap().get(), 3 * round + 2);
        }
        assert_eq!(log.stats().records_appended, 60);
        log.close().unwrap();
        let log = manual(mode).open_in(&place).unwrap();
        assert!(log.recovery().clean);
        assert_eq!(all_texts(&log).len(), 60);
    }
}

/// A hook that has the log it looks after.
fn with_log(
    log: &Log,
    hook: impl Fn(&Log, &NewRecord<'_>) -> Result<(), Refusal> + Send + Sync + 'static,
) {
    let own = log.clone();
    let options = log.current_options().validate(move |record| hook(&own, record));
    log.set_options(options).unwrap();
}

#[test]
fn a_hook_may_append_to_its_own_log() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        with_log(&log, |own, record| {
            let value = record.get_value().unwrap();
            if value.starts_with(b"seen: ") {
                return Ok(());
            }
            let text = String::from_utf8_lossy(value);
            own.append(format!("seen: {text}")).unwrap();
            match value {
                b"bad" => Err(Refusal::new("value", "bad")),
                _ => Ok(()),
            }
        });
        log.append("one").unwrap();
        log.append_batch(["two", "three"]).unwrap();
        assert_eq!(kind(log.append_batch(["four", "bad"])), ErrorKind::InvalidArgument);
        let all = ["seen: one", "one", "seen: two", "seen: three", "two", "three"];
        assert_eq!(all_texts(&log), [&all[..], &["seen: four", "seen: bad"]].concat());
        log.close().unwrap();
    }
}

/// Neither one log nor two in turn run out of stack.
#[test]
fn hooks_that_append_without_end_are_stopped() {
    let tmp = scratch();
    for mode in MODES {
        let dir = tmp.path().join(format!("{mode:?}"));
        let logs = ["a", "b"].map(|name| manual(mode).open(dir.join(name)).unwrap());
        // Each appends to itself, or to the other one.
        for across in [0, 1] {
            let asked = Arc::new(AtomicUsize::new(0));
            let found = Arc::new(OnceLock::new());
            for (n, log) in logs.iter().enumerate() {
                let (asked, found) = (Arc::clone(&asked), Arc::clone(&found));
                let target = logs[(n + across) % 2].clone();
                let options = log.current_options().validate(move |_| {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let error = target.append("once more").unwrap_err();
                    let _ = found.set(error.to_string());
                    Err(Refusal::new("nesting", "without end"))
                });
                log.set_options(options).unwrap();
            }
            let error = logs[0].append("begin").unwrap_err();
            assert_eq!(error.refused_field(), Some("nesting"));
            assert_eq!(asked.load(Ordering::SeqCst), 8, "across {across}");
            assert!(found.get().unwrap().contains("inside 8 others"), "{:?}", found.get());
            // The thread is as before, and a hook holds no handle any more.
            for log in &logs {
                log.set_options(manual(mode).validate(|_| Ok(()))).unwrap();
                log.append("fine").unwrap();
            }
        }
    }
}

/// I10: no lock is held while the hook runs, so it may call whatever there is.
#[test]
fn a_hook_may_call_everything() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).flush(FlushPolicy::EveryAppend).open_in(&place).unwrap();
        log.append("first").unwrap();
        with_log(&log, |own, _| {
            own.flush().unwrap();
            own.set_options(own.current_options().priority(9)).unwrap();
            assert_eq!(own.stats().log_end_offset, own.log_end_offset());
            assert_eq!(own.reader(OffsetSpec::Earliest).unwrap().count(), 1);
            let next = own.log_end_offset();
            assert!(!own.wait_for(next, Visibility::Durable, Duration::ZERO).unwrap());
            own.consumer("c").unwrap().commit().unwrap();
            own.verify().unwrap();
            Ok(())
        });
        log.append("second").unwrap();
        // And take itself out; the batch it began with is looked at to its end.
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        with_log(&log, move |own, _| {
            counted.fetch_add(1, Ordering::SeqCst);
            own.set_options(manual(mode)).unwrap();
            Ok(())
        });
        log.append_batch(["third", "fourth"]).unwrap();
        log.append("nobody looks").unwrap();
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        with_log(&log, |own, _| {
            own.clone().close().unwrap();
            Ok(())
        });
        assert_eq!(kind(log.append("fifth")), ErrorKind::Closed);
        let log = manual(mode).open_in(&place).unwrap();
        assert_eq!(all_texts(&log), ["first", "second", "third", "fourth", "nobody looks"]);
    }
}

/// I10: an append that is being looked at keeps nobody from appending.
#[test]
fn others_append_while_a_hook_runs() {
    let tmp = scratch();
    for mode in MODES {
        let (inside, is_inside) = mpsc::channel();
        let (go_on, may_go_on) = mpsc::channel::<()>();
        let may_go_on = Mutex::new(may_go_on);
        let options = manual(mode).validate(move |record| {
            if record.get_value() == Some(b"slow") {
                inside.send(()).unwrap();
                may_go_on.lock().unwrap().recv().unwrap();
            }
            Ok(())
        });
        let log = options.open(tmp.path().join(format!("{mode:?}"))).unwrap();
        thread::scope(|scope| {
            let slow = scope.spawn(|| log.append_batch(["slow", "and more"]).unwrap());
            is_inside.recv().unwrap();
            assert_eq!(log.append("quick").unwrap().get(), 0);
            log.flush().unwrap();
            assert_eq!(log.reader(OffsetSpec::Earliest).unwrap().count(), 1);
            log.set_options(log.current_options().priority(1)).unwrap();
            go_on.send(()).unwrap();
            assert_eq!(slow.join().unwrap().start.get(), 1);
        });
    }
}

/// I10: nor while the application's hook is dropped, which may be by a change of options.
#[test]
fn a_hook_that_appends_when_it_is_dropped_does_no_harm() {
    struct Last(Log);
    impl Drop for Last {
        fn drop(&mut self) {
            self.0.append("dropped").unwrap();
            self.0.set_options(self.0.current_options().priority(5)).unwrap();
        }
    }
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        let last = Last(log.clone());
        let hook = move |_: &NewRecord<'_>| {
            let _ = &last;
            Err(Refusal::new("all", "of it"))
        };
        log.set_options(manual(mode).validate(hook)).unwrap();
        assert_eq!(log.append("x").unwrap_err().refused_field(), Some("all"));
        log.set_options(manual(mode).flush(FlushPolicy::EveryAppend)).unwrap();
        assert_eq!(all_texts(&log), ["dropped"]);
        assert_eq!(log.current_options(), manual(mode).flush(FlushPolicy::EveryAppend).priority(5));
        assert_eq!(log.durable_offset(), log.log_end_offset());
    }
}

#[test]
fn a_hook_comes_and_goes_while_the_log_is_open() {
    for (mode, ground) in ways() {
        let place = ground.place();
        let log = manual(mode).open_in(&place).unwrap();
        log.append("x").unwrap();
        log.set_options(no_x(log.current_options())).unwrap();
        assert!(log.append("x").is_err());
        log.set_options(log.current_options().flush(FlushPolicy::EveryAppend)).unwrap();
        assert!(log.append("x").is_err(), "it stays with the others");
        let other = log.current_options().validate(|_| Err(Refusal::new("other", "hook")));
        log.set_options(other).unwrap();
        assert_eq!(log.append("y").unwrap_err().refused_field(), Some("other"));
        log.set_options(manual(mode)).unwrap();
        log.append("x").unwrap();
        assert_eq!(all_texts(&log), ["x", "x"]);
    }
}

/// A mirror has what its source has, whatever its own hook would say.
#[test]
fn batches_of_a_source_are_not_looked_at() {
    for (mode, ground) in ways() {
        let (place, elsewhere) = (ground.place(), ground.place());
        let source = manual(mode).open_in(&place).unwrap();
        source.append("x").unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        let hooked = manual(mode).mirror_of(source.id()).validate(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            Err(Refusal::new("all", "of it"))
        });
        let mirror = hooked.open_in(&elsewhere).unwrap();
        for batch in source.reader(OffsetSpec::Earliest).unwrap() {
            mirror.append_mirrored(&batch.unwrap()).unwrap();
        }
        assert_eq!(all_texts(&mirror), ["x"]);
        assert_eq!(asked.load(Ordering::SeqCst), 0);
    }
}

/// A hook is no part of a configuration file, and what options could do before they can do still.
#[test]
fn options_with_a_hook_are_cloned_compared_shown_and_stored() {
    let hooked = no_x(Log::options());
    assert_eq!(hooked.clone(), hooked);
    assert_ne!(no_x(Log::options()), hooked, "another hook, although it does the same");
    assert_ne!(Log::options(), hooked);
    assert!(format!("{hooked:?}").contains("validate: Some(Validate(..))"), "{hooked:?}");
    let stored = serde_json::to_string(&hooked).unwrap();
    assert_eq!(stored, serde_json::to_string(&Log::options()).unwrap());
    assert_eq!(serde_json::from_str::<LogOptions>(&stored).unwrap(), Log::options());
    assert!(serde_json::from_str::<LogOptions>(r#"{"validate": true}"#).is_err());
    fn shared<T: Send + Sync + 'static>(_: &T) {}
    shared(&hooked);
}

/// An error is one line, whatever the application's words; a program gets them as they are.
#[test]
fn a_refusal_of_strange_words_is_one_line() {
    let tmp = scratch();
    let (field, reason) = ("a\nb\u{1b}[31m", "c\r\nd\u{85}\u{7f}");
    let hook = move |_: &NewRecord<'_>| Err(Refusal::new(field, reason));
    let log = Log::options().validate(hook).open(tmp.path()).unwrap();
    let error = log.append("x").unwrap_err();
    assert_eq!(error.refused_field(), Some(field));
    assert!(!error.to_string().chars().any(char::is_control), "{error:?}");
    assert!(error.to_string().contains(r"a\nb\u{1b}[31m: c\r\nd\u{85}\u{7f}"), "{error}");
    assert_eq!(error.path(), Some(log.dir()));
    assert_eq!(kind(log.append_batch(["a", "b"])), ErrorKind::InvalidArgument);
    let plain = log.append_at(Offset::new(7), "x").unwrap_err();
    assert_eq!(plain.refused_record(), Some(0), "the record is looked at first");
    log.set_options(Log::options()).unwrap();
    let conflict = log.append_at(Offset::new(7), "x").unwrap_err();
    assert_eq!((conflict.refused_field(), conflict.refused_record()), (None, None));
}
