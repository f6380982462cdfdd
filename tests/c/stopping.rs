//! Stopping a replicator that waits for a broker which says nothing.

use std::net::TcpListener;
use std::ptr;
use std::time::Instant;

use forebay::ffi::*;

use super::face::*;

/// Its handle stays as long as it has not stopped, and goes with it.
#[test]
fn a_stop_with_a_bound_waits_no_longer_and_is_called_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open_log(dir.path());
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap().to_string();
    let upstream = opened(|place| unsafe {
        forebay_upstream_kafka_new(bytes(&address), bytes("telemetry"), place)
    });
    let replicator = opened(|place| unsafe {
        forebay_replicator_start(at(log), bytes("up"), Some(upstream), ptr::null(), place)
    });
    // It has connected, and waits for an answer for 30 s.
    let link = silent.accept().unwrap();
    let stop = |timeout_ms| unsafe { forebay_replicator_stop_within(Some(replicator), timeout_ms) };
    let began = Instant::now();
    for timeout_ms in [0, 50] {
        fails(stop(timeout_ms), forebay_status::FOREBAY_WOULD_BLOCK, "has not stopped yet");
    }
    assert!(began.elapsed().as_secs() < 10, "that is all it waits");
    let mut reached = std::mem::MaybeUninit::uninit();
    let still = unsafe { forebay_replicator_wait(at(replicator), 0, 0, Some(&mut reached)) };
    ok(still);
    drop((link, silent));
    ok(stop(-1));
    ok(unsafe { forebay_replicator_stop_within(None, -1) });
    if cfg!(debug_assertions) {
        fails(stop(0), INVALID, "closed or freed before");
    }
    close(log);
}
