//! A store whose small files are damaged or gone, whose logs are deleted, brought or exchanged
//! underneath, and whose disk fails: reported, and nothing else lost (I11, I12, I20).

use std::fs;
use std::time::Duration;

use forebay::{ErrorKind, IoMode, Store, StoreOptions};

use crate::small;
use crate::util::place::{Ground, Place, ways};
use crate::util::{self, all_texts, kind};

fn options(mode: IoMode) -> StoreOptions {
    Store::options().logs(small(mode)).reserve_bytes(16 << 10)
}

/// A store of three logs, closed.
fn filled(place: &Place, mode: IoMode) -> forebay::LogId {
    let store = place.open_store(options(mode)).unwrap();
    for name in ["a", "b", "c"] {
        let log = store.log(name).unwrap();
        log.append_batch([format!("{name} 0"), format!("{name} 1")]).unwrap();
    }
    let id = store.id();
    store.close().unwrap();
    id
}

fn assert_whole(store: &Store) {
    for name in ["a", "b", "c"] {
        let found = all_texts(&store.log(name).unwrap());
        assert_eq!(found, [format!("{name} 0"), format!("{name} 1")]);
    }
}

fn assert_counted(store: &Store, place: &Place) {
    let (counted, taken) = (store.stats().disk_bytes, place.taken());
    assert!(counted >= taken, "{counted} counted, {taken} taken");
    assert!(counted - taken <= 4096 * place.count_files(), "{counted} counted, {taken} taken");
}

#[test]
fn a_lost_or_damaged_small_file_costs_no_record_and_is_reported() {
    for (mode, ground) in ways() {
        for (file, bytes) in [
            ("store.meta", None),
            ("store.meta", Some(&b"nonsense"[..])),
            ("store.checkpoint", None),
            ("store.checkpoint", Some(&b""[..])),
            ("store.checkpoint", Some(&[0; 24 << 10][..])),
            ("store.checkpoint", Some(&[0xff; 100_000][..])),
        ] {
            let place = ground.place();
            let id = filled(&place, mode);
            place.remove(file);
            if let Some(bytes) = bytes {
                place.write(file, bytes);
            }
            let store = place.open_store(options(mode)).unwrap();
            let what =
                format!("{mode:?} {file} {:?}: {:?}", bytes.map(<[u8]>::len), store.recovery());
            assert_eq!(store.id(), id, "the other file says whose it is: {what}");
            assert_eq!(store.recovery().meta_rebuilt, file == "store.meta", "{what}");
            assert_eq!(store.recovery().checkpoint_lost, file == "store.checkpoint", "{what}");
            assert!(!store.recovery().created, "{what}");
            assert_counted(&store, &place);
            assert_whole(&store);
            store.close().unwrap();
            let store = place.open_store(options(mode)).unwrap();
            assert!(store.recovery().clean && !store.recovery().checkpoint_lost);
            assert_whole(&store);
        }
    }
}

#[test]
fn with_both_small_files_gone_the_logs_are_found_by_their_directories() {
    for (mode, ground) in ways() {
        let place = ground.place();
        filled(&place, mode);
        for name in ["store.meta", "store.checkpoint", "store.reserve"] {
            place.remove(name);
        }
        let store = place.open_store(options(mode)).unwrap();
        assert!(store.recovery().checkpoint_lost && store.recovery().meta_rebuilt);
        assert_counted(&store, &place);
        assert_whole(&store);
        // What the logs knew of age is theirs: nothing gets old by the store's new clock.
        store.log("a").unwrap().append("a 2").unwrap();
        place.pass(Duration::from_millis(5));
        store.maintain().unwrap();
    }
}

#[test]
fn one_damaged_slot_is_served_by_another() {
    for (mode, ground) in ways() {
        let place = ground.place();
        filled(&place, mode);
        let whole = place.read("store.checkpoint");
        for at in (0..whole.len()).step_by(4096) {
            let mut bytes = whole.clone();
            bytes[at + 20] ^= 0x40;
            place.write("store.checkpoint", &bytes);
            let store = place.open_store(options(mode)).unwrap();
            assert!(!store.recovery().checkpoint_lost, "slot at {at}");
            assert_counted(&store, &place);
            assert_whole(&store);
            drop(store);
        }
    }
}

#[test]
fn a_log_that_is_removed_underneath_harms_no_other() {
    for (mode, ground) in ways() {
        if ground != Ground::System {
            continue;
        }
        let place = ground.place();
        filled(&place, mode);
        let store = place.open_store(options(mode)).unwrap();
        let gone = store.log("b").unwrap();
        gone.append("b 2").unwrap();
        fs::remove_dir_all(place.path().join("b-0")).unwrap();
        fs::remove_dir_all(place.path().join("c-0")).unwrap();
        // It may take records until it needs a file; then it says what is wrong.
        let mut said = None;
        for _ in 0..1000 {
            if let Err(error) = gone.append(vec![b'.'; 1000]) {
                said = Some(error);
                break;
            }
        }
        let said = said.expect("a segment cannot be made in a directory that is gone");
        assert_eq!(said.kind(), ErrorKind::NotFound, "{said}");
        assert!(said.to_string().contains("b-0"), "{said}");
        drop(gone);
        assert_eq!(all_texts(&store.log("a").unwrap()), ["a 0", "a 1"]);
        store.maintain().unwrap();
        // What is gone is made anew when it is asked for.
        assert_eq!(store.log("c").unwrap().append("anew").unwrap().get(), 0);
        assert!(store.delete_log("b").unwrap());
        assert_eq!(store.log("b").unwrap().append("anew").unwrap().get(), 0);
        store.close().unwrap();
        let store = place.open_store(options(mode)).unwrap();
        assert_eq!(all_texts(&store.log("b").unwrap()), ["anew"]);
        assert_eq!(all_texts(&store.log("a").unwrap()), ["a 0", "a 1"]);
    }
}

#[test]
fn a_log_that_is_brought_from_elsewhere_is_taken_in_without_getting_older() {
    for (mode, ground) in ways() {
        if ground != Ground::System {
            continue;
        }
        let place = ground.place();
        filled(&place, mode);
        let other = ground.place();
        let alone = other.open_below("moved-0", small(mode)).unwrap();
        alone.append("from elsewhere").unwrap();
        let id = alone.id();
        alone.close().unwrap();
        util::copy_dir(&other.path().join("moved-0"), &place.path().join("moved-0"));
        let store = place.open_store(options(mode)).unwrap();
        let log = store.log("moved").unwrap();
        assert_eq!((log.id(), all_texts(&log)), (id, vec!["from elsewhere".to_owned()]));
        assert!(log.recovery().clean);
        assert!(log.verify().unwrap().is_whole(), "{:?}", log.verify().unwrap());
        assert_whole(&store);
    }
}

#[test]
fn what_is_no_log_is_left_alone_and_told() {
    for (mode, ground) in ways() {
        let place = ground.place();
        filled(&place, mode);
        place.write("notes.txt", "remember the milk");
        place.write("photos/one.jpg", "jpeg");
        place.write("a-07/x", "not ours");
        let store = place.open_store(options(mode)).unwrap();
        let mut foreign = store.recovery().foreign.clone();
        foreign.sort();
        assert_eq!(foreign, ["a-07", "notes.txt", "photos"]);
        assert_eq!(store.logs().len(), 3);
        assert_whole(&store);
        store.close().unwrap();
        assert_eq!(place.read("notes.txt"), b"remember the milk");
    }
}

#[test]
fn a_store_of_a_later_version_is_refused_and_untouched() {
    for (mode, ground) in ways() {
        let place = ground.place();
        filled(&place, mode);
        place.write("store.meta", "format=9\nshape=round\n");
        let before = place.read("store.checkpoint");
        let error = place.open_store(options(mode)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::UnsupportedFormat, "{error}");
        assert_eq!(place.read("store.checkpoint"), before);
    }
}

#[test]
fn a_directory_in_place_of_a_small_file_is_refused_by_name() {
    for (mode, ground) in ways() {
        if ground != Ground::System {
            continue;
        }
        for name in ["store.meta", "store.checkpoint", "store.reserve"] {
            let place = ground.place();
            filled(&place, mode);
            place.remove(name);
            fs::create_dir(place.path().join(name)).unwrap();
            let error = place.open_store(options(mode)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
            assert!(error.to_string().contains(name), "{error}");
        }
        let place = ground.place();
        place.write("in-the-way", "");
        assert_eq!(
            kind(options(mode).open(place.path().join("in-the-way"))),
            ErrorKind::InvalidArgument
        );
    }
}
