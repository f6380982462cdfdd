//! What a leader remembers of producers, and for how long.

use std::time::Duration;

use super::bytes::{NOW_MS, Parts, batch};
use super::peer::{Peer, TOPIC, cluster, peer};
use crate::fake::{Action, Keep};

/// Batch n of eight, of three records each.
fn nth(n: i32) -> Vec<u8> {
    let values: Vec<_> = (0..3).map(|at| format!("{}", n * 3 + at)).collect();
    let values: Vec<_> = values.iter().map(String::as_str).collect();
    batch(5, 0, n * 3, &values)
}

fn eight() -> Peer {
    let mut peer = peer();
    for n in 0..8 {
        assert_eq!(peer.produce(nth(n)), (0, i64::from(n) * 3));
    }
    peer
}

#[test]
fn the_last_five_batches_are_known_again_on_any_connection() {
    let mut peer = eight();
    peer.reconnect(1);
    for n in (3..8).rev() {
        assert_eq!(peer.produce(nth(n)), (0, i64::from(n) * 3));
    }
    for n in (0..3).rev() {
        assert_eq!(peer.produce(nth(n)), (45, -1));
    }
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 24);
    assert_eq!(peer.produce(nth(8)), (0, 24));
    let values: Vec<_> = (0..27).map(|n| n.to_string()).collect();
    peer.cluster.assert_exactly_once(TOPIC, 0, &values);
    peer.cluster.assert_no_violations();
}

#[test]
fn other_boundaries_over_known_records_are_refused() {
    let mut peer = eight();
    assert_eq!(peer.produce(batch(5, 0, 21, &["21", "22"])), (45, -1));
    assert_eq!(peer.produce(batch(5, 0, 22, &["22", "23"])), (45, -1));
    assert_eq!(peer.produce(batch(5, 0, 23, &["23", "24"])), (45, -1));
    assert_eq!(peer.produce(batch(5, 0, 25, &["25"])), (45, -1));
    assert_eq!(peer.producers(), [(5, 0, 23, NOW_MS + 2)]);
}

#[test]
fn a_restart_leaves_a_window_of_one() {
    for keep in [Keep::All, Keep::Replicated] {
        let mut peer = eight();
        peer.cluster.act(Action::Kill { node: 1, keep }, peer.now);
        assert_eq!(peer.cluster.connect(1, peer.now), None);
        peer.cluster.act(Action::Restart { node: 1 }, peer.now);
        peer.reconnect(1);
        assert_eq!(peer.producers(), [(5, 0, 23, NOW_MS + 2)]);
        assert_eq!(peer.produce(nth(7)), (0, 21));
        assert_eq!(peer.produce(nth(6)), (45, -1));
        assert_eq!(peer.produce(nth(8)), (0, 24));
        // From here on the window grows again.
        assert_eq!(peer.produce(nth(7)), (0, 21));
        assert_eq!(peer.produce(nth(6)), (45, -1));
    }
}

#[test]
fn the_sequence_wraps_behind_its_highest() {
    let mut peer = peer();
    assert_eq!(peer.produce(batch(5, 0, 2_147_483_646, &["a", "b", "c"])), (0, 0));
    assert_eq!(peer.produce(batch(5, 0, 2_147_483_646, &["a", "b", "c"])), (0, 0));
    assert_eq!(peer.producers(), [(5, 0, 0, NOW_MS + 2)]);
    assert_eq!(peer.produce(batch(5, 0, 1, &["d"])), (0, 3));
    let sequences: Vec<_> = peer.cluster.records(TOPIC, 0).iter().map(|row| row.sequence).collect();
    assert_eq!(sequences, [2_147_483_646, 2_147_483_647, 0, 1]);
    let mut peer = self::peer();
    assert_eq!(peer.produce(batch(5, 0, i32::MAX, &["a"])), (0, 0));
    assert_eq!(peer.produce(batch(5, 0, 0, &["b"])), (0, 1));
}

#[test]
fn an_epoch_rises_at_sequence_zero_and_never_falls() {
    let mut peer = eight();
    assert_eq!(peer.produce(batch(5, 1, 24, &["a"])), (45, -1));
    assert_eq!(peer.produce(batch(5, 3, 0, &["a"])), (0, 24));
    assert_eq!(peer.produce(batch(5, 3, 0, &["a"])), (0, 24));
    assert_eq!(peer.produce(nth(8)), (47, -1));
    // What was known of the old epoch is not of the new one.
    assert_eq!(peer.produce(batch(5, 3, 21, &["21", "22", "23"])), (45, -1));
    // Not even a batch that was known.
    assert_eq!(peer.produce(nth(7)), (47, -1));
    assert_eq!(peer.producers(), [(5, 3, 0, NOW_MS)]);
}

#[test]
fn without_state_any_first_sequence_is_taken_and_the_ones_before_never() {
    let mut peer = peer();
    assert_eq!(peer.produce(batch(5, 7, 100, &["a"])), (0, 0));
    assert_eq!(peer.produce(batch(5, 7, 99, &["b"])), (45, -1));
    assert_eq!(peer.produce(batch(6, 0, 3, &["c"])), (0, 1));
}

/// The age is that of the records, not of the append.
#[test]
fn a_producer_expires_by_the_time_of_its_records() {
    let old = |sequence| {
        let mut parts = Parts::new(5, 0, sequence, &["old"]);
        (parts.base_timestamp, parts.max_timestamp) =
            (NOW_MS - 2 * 86_400_000, NOW_MS - 2 * 86_400_000);
        parts.bytes()
    };
    let mut peer = peer();
    assert_eq!(peer.produce(old(0)), (0, 0));
    assert_eq!(peer.produce(batch(6, 0, 0, &["new"])), (0, 1));
    assert_eq!(peer.produce(old(0)), (0, 0));
    peer.cluster.act(Action::ExpireProducers, peer.now);
    assert_eq!(peer.producers(), [(6, 0, 0, NOW_MS)]);
    assert_eq!(peer.produce(old(0)), (0, 2));
    // With the broker's time it lives.
    let mut late = cluster(1);
    late.topic_config(TOPIC, "message.timestamp.type", "LogAppendTime");
    let mut peer = Peer::new(late, 1);
    assert_eq!(peer.produce(old(0)), (0, 0));
    peer.cluster.act(Action::ExpireProducers, peer.now);
    assert_eq!(peer.produce(old(0)), (0, 0));
    // For as long as it is configured, and not a millisecond more.
    for (ms, left) in [(86_399_999, 1), (86_400_000, 0)] {
        peer.now = Duration::from_millis(ms);
        peer.cluster.act(Action::ExpireProducers, peer.now);
        assert_eq!(peer.producers().len(), left);
    }
    // A clock that runs ahead keeps it longer, and one without a time does not keep it at all.
    let mut peer = self::peer();
    for (id, time) in [(5, NOW_MS + 3_600_000), (6, NOW_MS), (7, -1)] {
        let mut parts = Parts::new(id, 0, 0, &["a"]);
        (parts.base_timestamp, parts.max_timestamp) = (time, time);
        assert_eq!(peer.produce(parts.bytes()).0, 0);
    }
    peer.cluster.act(Action::ExpireProducers, peer.now);
    assert_eq!(peer.producers().len(), 2);
    peer.now = Duration::from_secs(86_400);
    peer.cluster.act(Action::ExpireProducers, peer.now);
    assert_eq!(peer.producers(), [(5, 0, 0, NOW_MS + 3_600_000)]);
}

#[test]
fn a_producer_that_expired_stays_forgotten_under_the_next_leader() {
    let mut peer = Peer::new(cluster(2), 1);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    peer.cluster.act(Action::ForgetProducers { topic: TOPIC.into() }, peer.now);
    let moved =
        Action::MoveLeader { topic: TOPIC.into(), partition: 0, to: Some(2), keep: Keep::All };
    peer.cluster.act(moved, peer.now);
    peer.reconnect(2);
    assert_eq!(peer.producers(), []);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 1));
    assert_eq!(peer.producers(), [(5, 0, 0, NOW_MS)]);
}

/// Other batches have taken the offsets up to which it was forgotten.
#[test]
fn a_producer_is_remembered_by_what_it_wrote_since() {
    let moved = |keep| Action::MoveLeader { topic: TOPIC.into(), partition: 0, to: Some(1), keep };
    let mut peer = eight();
    peer.cluster.act(Action::ForgetProducers { topic: TOPIC.into() }, peer.now);
    peer.cluster.act(moved(Keep::Below(0)), peer.now);
    assert_eq!(peer.produce(nth(0)), (0, 0));
    peer.cluster.act(moved(Keep::All), peer.now);
    assert_eq!(peer.producers(), [(5, 0, 2, NOW_MS + 2)]);
    // The same for what a restart leaves.
    let mut peer = eight();
    peer.cluster.act(Action::Kill { node: 1, keep: Keep::All }, peer.now);
    peer.cluster.act(Action::Restart { node: 1 }, peer.now);
    peer.cluster.act(moved(Keep::Below(3)), peer.now);
    peer.reconnect(1);
    for n in 1..8 {
        assert_eq!(peer.produce(nth(n)), (0, i64::from(n) * 3));
    }
    peer.cluster.act(moved(Keep::All), peer.now);
    assert_eq!(peer.produce(nth(5)), (0, 15));
}

/// The state is one per partition.
#[test]
fn partitions_know_nothing_of_each_other() {
    let mut peer = Peer::new(cluster(1), 1);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    peer.send_produce(9, 1, batch(5, 0, 9, &["b"]));
    assert_eq!(peer.next().len(), 1);
    peer.cluster.assert_exactly_once(TOPIC, 1, &["b"]);
    peer.cluster.assert_exactly_once(TOPIC, 0, &["a"]);
}
