//! The judge is judged: what is missing, doubled or misplaced is said.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::bytes::batch;
use super::peer::{TOPIC, peer};

/// What the oracle says of these values where those are expected.
fn said(stored: &[&str], expected: &[&str]) -> Option<String> {
    let mut peer = peer();
    for (n, value) in stored.iter().enumerate() {
        assert_eq!(peer.produce(batch(5, 0, n as i32, &[value])).0, 0);
    }
    let check = || peer.cluster.assert_exactly_once(TOPIC, 0, expected);
    let panic = catch_unwind(AssertUnwindSafe(check)).err()?;
    Some(panic.downcast_ref::<String>().unwrap().clone())
}

#[test]
fn the_oracle_finds_what_is_wrong() {
    let finds = |stored: &[&str], expected: &[&str], what: &str| {
        let said = said(stored, expected).unwrap();
        assert!(said.contains(what), "{said}");
    };
    assert_eq!(said(&["a", "b", "a"], &["a", "b", "a"]), None);
    assert_eq!(said(&[], &[]), None);
    finds(&["a", "c"], &["a", "b", "c"], "1 missing: \"b\"");
    finds(&["a", "b"], &["a", "b", "c"], "2 are right, then comes the end where \"c\" should be");
    finds(&["a", "b", "b"], &["a", "b"], "1 too often: \"b\"");
    finds(&["a", "a"], &["a"], "1 too often: \"a\"");
    finds(&["b", "a"], &["a", "b"], "0 are right, then comes \"b\" where \"a\" should be");
    finds(&["a", "x"], &["a", "b"], "1 too often: \"x\"");
}

#[test]
fn a_violation_is_shown() {
    let mut peer = peer();
    peer.cluster.request(peer.connection, &[0, 0, 0], peer.now);
    let check = || peer.cluster.assert_no_violations();
    let panic = catch_unwind(AssertUnwindSafe(check)).err().unwrap();
    assert!(panic.downcast_ref::<String>().unwrap().contains("a request of 3 bytes"));
}
