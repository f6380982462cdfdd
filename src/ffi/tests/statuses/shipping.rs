//! Upstreams, replicators and turns.
//!
//! Floor 6. What they ship to are logs in directories of the system: the thread that ships knows of
//! no simulated disk.

use std::sync::mpsc;
use std::time::Duration;

use super::*;
use crate::{
    Replicator, ReplicatorOptions, ReplicatorTurns, Resume, Source, Upstream, UpstreamStatus,
};

fn upstream(dir: &tempfile::TempDir) -> *mut forebay_upstream {
    let path = dir.path().join("mirror");
    let path = path.to_str().unwrap().to_owned();
    given(|place| unsafe { forebay_upstream_log_new(bytes(&path), ptr::null(), place) })
}

fn kafka() -> *mut forebay_upstream {
    given(|place| unsafe { forebay_upstream_kafka_new(bytes("127.0.0.1:9"), bytes("t"), place) })
}

unsafe extern "C" fn no_token(
    _: *mut std::ffi::c_void,
    _: *mut u8,
    _: usize,
    _: *mut usize,
) -> i32 {
    FOREBAY_UPSTREAM as i32
}

pub(super) fn replicators_do_what_they_are_told() {
    let rig = Rig::new();
    let dir = tempfile::tempdir().unwrap();
    let (name, none, log) = (bytes("up"), ptr::null(), rig.log);
    let path = dir.path().join("mirror");
    let path = path.to_str().unwrap().to_owned();
    let (mut to_log, mut to_kafka) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    says! {
        FOREBAY_OK:
        forebay_upstream_log_new(bytes(&path), ptr::null(), Some(&mut to_log));
        forebay_upstream_kafka_new(bytes("127.0.0.1:9"), bytes("t"), Some(&mut to_kafka));
    }
    let (to_log, to_kafka) = unsafe { (to_log.assume_init(), to_kafka.assume_init()) };
    let (mut running, mut turns) = (MaybeUninit::uninit(), MaybeUninit::uninit());
    says! {
        FOREBAY_OK:
        forebay_upstream_set(h(to_kafka), bytes("client.id"), name);
        forebay_upstream_set_dead_letter(h(to_kafka), r(log));
        forebay_upstream_set_token_callback(h(to_kafka), Some(no_token), ptr::null_mut(), None);
        forebay_upstream_free(h(to_kafka));
        forebay_replicator_start(r(log), name, h(to_log), none, Some(&mut running));
    }
    let running = unsafe { running.assume_init() };
    says! {
        FOREBAY_OK:
        forebay_replicator_status(r(running), room(), size_of::<forebay_progress>());
        forebay_replicator_next_notice(r(running), 0, room(), size_of::<forebay_notice>());
        forebay_replicator_wait(r(running), 20, 60_000, any());
    }
    says! { FOREBAY_NOT_FOUND: forebay_replicator_upstream_offset(r(running), 0); }
    says! { FOREBAY_OK: forebay_replicator_stop(h(running)); }
    let start =
        |to| given(|place| unsafe { forebay_replicator_start(r(log), name, h(to), none, place) });
    let again: *mut forebay_replicator = start(upstream(&dir));
    says! { FOREBAY_OK: forebay_replicator_stop_within(h(again), -1); }
    let again = start(upstream(&dir));
    says! { FOREBAY_OK: forebay_replicator_free(h(again)); }
    let to = upstream(&dir);
    says! { FOREBAY_OK: forebay_turns_new(r(log), name, h(to), none, Some(&mut turns)); }
    let turns = unsafe { turns.assume_init() };
    says! {
        FOREBAY_OK:
        forebay_turns_turn(h(turns), any());
        forebay_turns_status(h(turns), room(), size_of::<forebay_progress>());
        forebay_turns_next_notice(h(turns), room(), size_of::<forebay_notice>());
    }
    says! { FOREBAY_NOT_FOUND: forebay_turns_upstream_offset(h(turns), 0); }
    says! { FOREBAY_OK: forebay_turns_free(h(turns)); }
    where_records_stand_upstream();
}

/// An upstream that tells where it has what: each record a thousand further on.
struct Known;

impl Upstream for Known {
    fn connect(&mut self, source: &mut Source<'_>) -> Result<Resume> {
        Ok(Resume::at(source.durable()))
    }
    fn send(&mut self, _: &crate::RecordBatch, _: &mut Source<'_>) -> Result<()> {
        Ok(())
    }
    fn acknowledge(&mut self, _: Duration, source: &mut Source<'_>) -> Result<Offset> {
        Ok(source.durable())
    }
    fn disconnect(&mut self) {}
    fn status(&self) -> UpstreamStatus {
        let offset_map = vec![(Offset::new(0), 1000)];
        UpstreamStatus {
            upstream_offset: Some(1019),
            offset_map,
            sent_as_stored: 3,
            sent_encoded: 2,
            ..UpstreamStatus::default()
        }
    }
}

fn where_records_stand_upstream() {
    let rig = Rig::new();
    let log = shared(r(rig.log)).unwrap();
    let options = ReplicatorOptions::new();
    let replicator = Replicator::start(&log, "a", Known, options.clone()).unwrap();
    assert!(replicator.next_notice(Duration::from_secs(60)).is_some());
    let replicator: *mut forebay_replicator = give(Running::of(replicator));
    let clock = || Duration::ZERO;
    let mut turns = ReplicatorTurns::new(&log, "b", Known, &options, clock).unwrap();
    turns.turn();
    let turns: *mut forebay_turns = give(Turning::of(turns));
    let mut progress = MaybeUninit::<forebay_progress>::uninit();
    let (place, size) = (h(progress.as_mut_ptr()), size_of::<forebay_progress>());
    for status in unsafe {
        [
            forebay_replicator_status(r(replicator), place, size),
            forebay_turns_status(h(turns), place, size),
        ]
    } {
        assert_eq!(status, FOREBAY_OK, "{}", said());
        let progress = unsafe { progress.assume_init() };
        assert_eq!((progress.sent_as_stored, progress.sent_encoded), (3, 2));
    }
    says! {
        FOREBAY_OK:
        forebay_replicator_upstream_offset(r(replicator), 7);
        forebay_turns_upstream_offset(h(turns), 7);
    }
    unsafe {
        forebay_replicator_free(h(replicator));
        forebay_turns_free(h(turns));
    }
}

/// Stays in a call, of which it tells, until it is told; or panics in it.
struct Stuck(Option<(mpsc::Sender<()>, mpsc::Receiver<()>)>);

impl Upstream for Stuck {
    fn connect(&mut self, _: &mut Source<'_>) -> Result<Resume> {
        match &self.0 {
            Some((called, goes)) => {
                called.send(()).unwrap();
                let _ = goes.recv();
                Err(crate::Error::upstream("no route"))
            }
            None => panic!("planted"),
        }
    }
    fn send(&mut self, _: &crate::RecordBatch, _: &mut Source<'_>) -> Result<()> {
        Ok(())
    }
    fn acknowledge(&mut self, _: Duration, _: &mut Source<'_>) -> Result<Offset> {
        Ok(Offset::new(0))
    }
    fn disconnect(&mut self) {}
}

fn stuck(rig: &Rig, name: &str, how: Stuck) -> *mut forebay_replicator {
    let log = shared(r(rig.log)).unwrap();
    let replicator = Replicator::start(&log, name, how, ReplicatorOptions::new()).unwrap();

    give(Running::of(replicator))
}

/// Lets go of what was started although the device fails.
fn started(rig: &Rig, dir: &tempfile::TempDir) -> forebay_status {
    let (to, none, mut place) = (upstream(dir), ptr::null(), MaybeUninit::new(ptr::null_mut()));
    let (log, name) = (r(rig.log), bytes("new"));
    unsafe {
        let status = forebay_replicator_start(log, name, h(to), none, Some(&mut place));
        match h(place.assume_init()) {
            None => forebay_upstream_free(h(to)),
            started => forebay_replicator_free(started),
        }
        status
    }
}

fn turned(rig: &Rig, dir: &tempfile::TempDir) -> forebay_status {
    let (to, none, mut place) = (upstream(dir), ptr::null(), MaybeUninit::new(ptr::null_mut()));
    let (log, name) = (r(rig.log), bytes("new"));
    unsafe {
        let status = forebay_turns_new(log, name, h(to), none, Some(&mut place));
        match h(place.assume_init()) {
            None => forebay_upstream_free(h(to)),
            made => forebay_turns_free(made),
        }
        status
    }
}

pub(super) fn replicators_say_what_they_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let (name, none) = (bytes("display"), ptr::null());
    let rig = Rig::new();
    let to = upstream(&dir);
    says! {
        FOREBAY_CONSUMER_BUSY:
        forebay_replicator_start(r(rig.log), name, h(to), none, any());
        forebay_turns_new(r(rig.log), name, h(to), none, any());
    }
    says! {
        FOREBAY_NOT_FOUND:
        forebay_upstream_set(h(to), bytes("client.id"), name);
    }
    let other = kafka();
    says! { FOREBAY_NOT_FOUND: forebay_upstream_set(h(other), bytes("client"), name); }
    let ((go, goes), (called, calls)) = (mpsc::channel(), mpsc::channel());
    let waiting = stuck(&rig, "waits", Stuck(Some((called, goes))));
    calls.recv().unwrap();
    says! { FOREBAY_WOULD_BLOCK: forebay_replicator_stop_within(h(waiting), 10); }
    go.send(()).unwrap();
    assert_eq!(unsafe { forebay_replicator_stop_within(h(waiting), -1) }, FOREBAY_OK);
    let panics = ["a", "b"].map(|name| stuck(&rig, name, Stuck(None)));
    for one in panics {
        let mut reached = MaybeUninit::uninit();
        let over = unsafe { forebay_replicator_wait(r(one), 99, -1, Some(&mut reached)) };
        assert_eq!(over, FOREBAY_CLOSED, "it has stopped by itself");
    }
    let [first, second] = panics;
    says! {
        FOREBAY_UPSTREAM:
        forebay_replicator_stop(h(first));
        forebay_replicator_stop_within(h(second), -1);
    }
    by_device("forebay_replicator_start", EIO, FOREBAY_IO, Rig::new, |rig| started(rig, &dir));
    by_device("forebay_turns_new", EIO, FOREBAY_IO, Rig::new, |rig| turned(rig, &dir));
    full_and_closed(&dir);
    unsafe {
        forebay_upstream_free(h(to));
        forebay_upstream_free(h(other));
    }
}

/// A log that has no room for one more reader, and one that was closed.
fn full_and_closed(dir: &tempfile::TempDir) {
    let (to, none) = (upstream(dir), ptr::null());
    let full = Rig::with(|options| options.memory_limit_bytes = 1500 << 10);
    let mut readers = Vec::new();
    loop {
        let mut reader = MaybeUninit::uninit();
        match unsafe { forebay_log_reader(r(full.log), 0, 0, Some(&mut reader)) } {
            FOREBAY_OK => readers.push(unsafe { reader.assume_init() }),
            _ => break,
        }
    }
    says! {
        FOREBAY_OUT_OF_SPACE:
        forebay_replicator_start(r(full.log), bytes("new"), h(to), none, any());
        forebay_turns_new(r(full.log), bytes("new"), h(to), none, any());
    }
    readers.into_iter().for_each(|reader| unsafe { forebay_reader_free(h(reader)) });
    unsafe { forebay_upstream_free(h(to)) };
    drop(full);
    let store = StoreRig::new();
    let again = given(|log| unsafe {
        forebay_store_log(r(store.store), bytes("engine"), ptr::null(), log)
    });
    let to = upstream(dir);
    let running = given(|place| unsafe {
        forebay_replicator_start(r(store.log), bytes("up"), h(to), none, place)
    });
    assert_eq!(unsafe { forebay_log_close(h(again)) }, FOREBAY_OK);
    let to = upstream(dir);
    says! {
        FOREBAY_CLOSED:
        forebay_replicator_start(r(store.log), bytes("new"), h(to), none, any());
        forebay_turns_new(r(store.log), bytes("new"), h(to), none, any());
        forebay_replicator_wait(r(running), 99, -1, any());
    }
    unsafe {
        forebay_replicator_free(h(running));
        forebay_upstream_free(h(to));
    }
}
