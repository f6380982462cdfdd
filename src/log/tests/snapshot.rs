//! Floor 4's tests of snapshots and exports: every call they make is refused once.

use super::*;

const EXDEV: i32 = 18;
const EPERM: i32 = 1;

/// A scratch directory, in memory where the system offers that.
fn scratch() -> tempfile::TempDir {
    let builder = tempfile::Builder::new();
    builder.tempdir_in("/dev/shm").or_else(|_| builder.tempdir()).unwrap()
}

/// A log of four segments with 40 durable records and one that is not.
fn sample(script: &Scripted, dir: &Path, mode: IoMode) -> Log {
    let log = opened(script, dir, mode);
    for _ in 0..40 {
        log.append([b'x'; 700].as_slice()).unwrap();
    }
    log.flush().unwrap();
    log.append("not durable").unwrap();
    log
}

fn names(dir: &Path) -> Vec<String> {
    let listed = OsStorage.list(dir).unwrap_or_default();
    let mut names: Vec<_> = listed.into_iter().map(|entry| entry.name.unwrap()).collect();
    names.sort();
    names
}

/// I19: each call in turn, with and without space. Nothing that opens is left but a whole copy,
/// the error has its kind, the log goes on, and the next try succeeds.
#[test]
fn any_refused_call_leaves_no_half_snapshot_and_the_log_as_it_was() {
    for mode in MODES {
        for (errno, link) in [(ENOSPC, true), (EIO, true), (ENOSPC, false), (EIO, false)] {
            let mut whole = 0;
            for passed in 0.. {
                let (tmp, script) = (scratch(), Scripted::default());
                let log = sample(&script, &tmp.path().join("log"), mode);
                let target = tmp.path().join("copy");
                if !link {
                    script.refuse("link", EXDEV);
                }
                script.0.lock().refused_after = Some((passed, errno));
                let made = log.snapshot(&target);
                if script.0.lock().refused_after.take().is_some() {
                    assert!(made.is_ok() && passed > 20);
                    break;
                }
                script.allow_all();
                let say = format!("{mode:?}, {errno} after {passed} calls: {made:?}");
                match &made {
                    Ok(_) => whole += 1,
                    Err(error) => {
                        let kinds = [ErrorKind::OutOfSpace, ErrorKind::Io];
                        assert!(kinds.contains(&error.kind()), "{say}");
                        assert!(!names(&target).contains(&"unfinished-copy".to_owned()), "{say}");
                    }
                }
                if !names(&target).is_empty() {
                    // Also if the last sync of all was refused: everything is in its place.
                    let copy = open_on(Arc::new(OsStorage), &target, options(mode)).unwrap();
                    assert!(copy.recovery().clean && !copy.recovery().created, "{say}");
                    assert_eq!(count(&copy), 40, "{say}");
                } else {
                    let again = log.snapshot(&target).unwrap();
                    assert_eq!(again.log_end_offset.get(), 40, "{say}");
                }
                assert_eq!(count(&log), 41, "{say}");
                if log.inner.failure.get().is_none() {
                    log.append("goes on").unwrap();
                    log.flush().unwrap();
                }
            }
            assert!(whole <= 12, "{whole} refused calls made no difference");
        }
    }
}

#[test]
fn any_refused_call_leaves_no_half_export() {
    for errno in [ENOSPC, EIO] {
        for passed in 0.. {
            let (tmp, script) = (scratch(), Scripted::default());
            let log = sample(&script, &tmp.path().join("log"), IoMode::Mapped);
            let target = tmp.path().join("t-0");
            script.0.lock().refused_after = Some((passed, errno));
            let made = log.export(&target);
            if script.0.lock().refused_after.take().is_some() {
                assert!(made.is_ok() && passed > 20);
                break;
            }
            let error = made.unwrap_err();
            assert!([ErrorKind::OutOfSpace, ErrorKind::Io].contains(&error.kind()), "{error}");
            if !names(&target).is_empty() {
                // The sync behind the last change: everything is in its place.
                assert_eq!(names(&target).len(), 12, "{passed}: {error}");
                continue;
            }
            assert_eq!(log.export(&target).unwrap().records, 40);
            log.append("goes on").unwrap();
            log.flush().unwrap();
        }
    }
}

/// Whatever the system says to a link but that there is no space: a copy does.
#[test]
fn what_cannot_be_linked_is_copied() {
    for mode in MODES {
        for errno in [EXDEV, EPERM, 31, 38, 95] {
            let (tmp, script) = (scratch(), Scripted::default());
            let log = sample(&script, &tmp.path().join("log"), mode);
            script.refuse("link", errno);
            let report = log.snapshot(tmp.path().join("copy")).unwrap();
            assert_eq!((report.segments_linked, report.segments_copied), (0, 4));
            assert!(report.not_linked_because.unwrap().contains("link"));
            let links = script.take_calls().iter().filter(|(call, _)| *call == "link").count();
            assert_eq!(links, 1, "it is not tried again");
            let copy = open_on(Arc::new(OsStorage), &tmp.path().join("copy"), options(mode));
            assert_eq!(count(&copy.unwrap()), 40);
        }
    }
}

/// Every file is synced behind its last write, then the names, and the mark goes last.
#[test]
fn everything_is_synced_before_the_mark_goes() {
    for (mode, link) in [(IoMode::Mapped, true), (IoMode::Positioned, false)] {
        let (tmp, script) = (scratch(), Scripted::default());
        let log = sample(&script, &tmp.path().join("log"), mode);
        if !link {
            script.refuse("link", EXDEV);
        }
        script.take_calls();
        log.snapshot(tmp.path().join("copy")).unwrap();
        let calls = script.take_calls();
        let mark = "unfinished-copy".to_owned();
        let ours = calls.iter().position(|call| *call == ("create_new", mark.clone())).unwrap();
        let first = ["create_new", "write", "sync", "sync_dir"];
        assert_eq!(calls[ours..ours + 4].iter().map(|call| call.0).collect::<Vec<_>>(), first);
        assert!(calls[..ours].iter().any(|(call, name)| *call == "sync_dir" && !name.is_empty()));
        let gone = calls.iter().position(|call| *call == ("unlink", mark.clone())).unwrap();
        assert_eq!(gone, calls.len() - 2);
        assert_eq!(calls[gone - 1], ("sync_dir", "copy".to_owned()));
        assert_eq!(calls[gone + 1], ("sync_dir", "copy".to_owned()));
        let mut unsynced = Vec::new();
        for (call, name) in &calls[ours + 4..gone] {
            match *call {
                "write" | "create_new" => unsynced.push(name),
                "sync" => unsynced.retain(|other| *other != name),
                _ => {}
            }
        }
        assert_eq!(unsynced, Vec::<&String>::new());
        if link {
            let index = |call: &&(&str, String)| call.0 == "sync" && call.1.ends_with("index");
            assert_eq!(calls.iter().filter(index).count(), 8, "linked indexes as well");
        }
    }
}

/// I8: what is durable can still be saved; nothing is linked, for what a recovery would cut of the
/// log is not known.
#[test]
fn a_poisoned_log_is_copied_and_not_linked() {
    for mode in MODES {
        let (tmp, script) = (scratch(), Scripted::default());
        let log = sample(&script, &tmp.path().join("log"), mode);
        script.refuse("sync", EIO);
        assert_eq!(kind(log.flush()), ErrorKind::Io);
        script.allow_all();
        let report = log.snapshot(tmp.path().join("copy")).unwrap();
        assert_eq!((report.segments_linked, report.log_end_offset.get()), (0, 40));
        assert_eq!(report.not_linked_because.as_deref(), Some("the log is poisoned"));
        assert_eq!(kind(log.append("x")), ErrorKind::Poisoned);
        let copy = open_on(Arc::new(OsStorage), &tmp.path().join("copy"), options(mode)).unwrap();
        assert_eq!(count(&copy), 40);
        copy.append("goes on").unwrap();
    }
}
