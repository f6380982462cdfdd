//! What is appended and what is replicated, leaders that move and nodes that die.

use std::time::Duration;

use kafka_protocol::messages::{ApiKey, MetadataRequest, ProduceRequest};

use super::bytes::{NOW_MS, batch};
use super::peer::{Peer, TOPIC, answer, cluster, peer, produced};
use crate::fake::{Action, Delivery, Fault, Keep, When};

const STOPPED: Action = Action::Replication(None);

fn moved(to: i32, keep: Keep) -> Action {
    Action::MoveLeader { topic: TOPIC.into(), partition: 0, to: Some(to), keep }
}

/// The codes and offsets that come next.
fn answers(peer: &mut Peer) -> Vec<(i16, i64)> {
    let frames = peer.next().into_iter().map(|delivery| match delivery {
        Delivery::Frame(frame) => produced(&frame),
        other => panic!("{other:?}"),
    });
    frames.collect()
}

#[test]
fn an_answer_comes_once_the_batch_is_replicated() {
    let mut peer = peer();
    peer.cluster.settings.replication = Some(Duration::from_millis(30));
    peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 1);
    assert_eq!(peer.cluster.high_watermark(TOPIC, 0), 0);
    assert_eq!(peer.cluster.records(TOPIC, 0), []);
    assert_eq!(peer.cluster.deliver(peer.connection, Duration::from_millis(30)), []);
    assert_eq!(answers(&mut peer), [(0, 0)]);
    assert_eq!(peer.now, Duration::from_millis(31));
    peer.cluster.assert_exactly_once(TOPIC, 0, &["a"]);
}

/// A producer may learn from DescribeProducers of records that can still be lost.
#[test]
fn a_leader_tells_of_sequences_that_are_not_replicated() {
    let mut peer = peer();
    peer.cluster.act(STOPPED, peer.now);
    peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
    peer.reconnect(1);
    assert_eq!(peer.producers(), [(5, 0, 0, NOW_MS)]);
    assert_eq!(peer.cluster.high_watermark(TOPIC, 0), 0);
}

#[test]
fn a_batch_that_is_not_replicated_in_time_is_answered_so_and_stays() {
    let mut peer = peer();
    peer.cluster.act(STOPPED, peer.now);
    // With its offset, and without a promise.
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (7, 0));
    assert_eq!(peer.now, Duration::from_millis(5001));
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 1);
    // The duplicate waits for the same replication.
    peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
    let delay = Some(Duration::from_millis(10));
    peer.cluster.act(Action::Replication(delay), peer.now);
    assert_eq!(answers(&mut peer), [(0, 0)]);
    assert_eq!(peer.now, Duration::from_millis(5012));
    peer.cluster.assert_exactly_once(TOPIC, 0, &["a"]);
}

#[test]
fn a_new_leader_has_what_was_replicated_and_the_old_one_says_so() {
    let mut peer = Peer::new(cluster(2), 1);
    for n in 0..6 {
        assert_eq!(peer.produce(batch(5, 0, n, &["a"])), (0, i64::from(n)));
    }
    peer.cluster.act(STOPPED, peer.now);
    peer.send_produce(9, 0, batch(5, 0, 6, &["b"]));
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 7);
    peer.cluster.act(moved(2, Keep::Replicated), peer.now);
    // What waited is answered by the one that no longer leads.
    assert_eq!(answers(&mut peer), [(6, 6)]);
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 6);
    let request = peer.produce_request(10, &[(0, batch(5, 0, 6, &["b"]))]);
    let response = peer.ask(10, &request);
    let partition = &response.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, 6);
    assert_eq!(*partition.current_leader.leader_id, 2);
    assert_eq!(partition.current_leader.leader_epoch, 1);
    assert_eq!(response.node_endpoints[0].host.as_str(), "node-2");
    // The new one knows the last five, in memory made from the log.
    peer.cluster.act(Action::Replication(Some(Duration::ZERO)), peer.now);
    peer.reconnect(2);
    assert_eq!(peer.producers(), [(5, 0, 5, NOW_MS)]);
    assert_eq!(peer.produce(batch(5, 0, 1, &["a"])), (0, 1));
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (45, -1));
    assert_eq!(peer.produce(batch(5, 0, 6, &["b"])), (0, 6));
    peer.cluster.assert_exactly_once(TOPIC, 0, &["a", "a", "a", "a", "a", "a", "b"]);
}

#[test]
fn a_new_leader_may_have_all_or_lose_what_was_acknowledged() {
    for (keep, end) in [(Keep::All, 3), (Keep::Replicated, 2), (Keep::Below(1), 1)] {
        let mut peer = Peer::new(cluster(2), 1);
        assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
        assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (0, 1));
        peer.cluster.act(STOPPED, peer.now);
        peer.send_produce(9, 0, batch(5, 0, 2, &["c"]));
        peer.cluster.act(moved(2, keep), peer.now);
        assert_eq!(peer.cluster.log_end(TOPIC, 0), end);
        assert_eq!(peer.cluster.high_watermark(TOPIC, 0), end.min(2));
        peer.reconnect(2);
        assert_eq!(peer.producers(), [(5, 0, end as i32 - 1, NOW_MS)]);
        // What it kept is replicated in its epoch.
        peer.cluster.act(Action::Replication(Some(Duration::ZERO)), peer.now);
        assert_eq!(peer.cluster.high_watermark(TOPIC, 0), end);
    }
}

/// Of a batch the old leader replicated, the new one may not have heard: it counts no longer.
#[test]
fn replication_that_was_under_way_ends_with_its_leader() {
    let mut peer = Peer::new(cluster(2), 1);
    peer.cluster.settings.replication = Some(Duration::from_secs(1));
    peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
    peer.cluster.act(moved(2, Keep::Replicated), peer.now);
    peer.reconnect(2);
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 0);
    peer.now = Duration::from_millis(500);
    peer.send_produce(9, 0, batch(6, 0, 0, &["b"]));
    peer.cluster.advance(Duration::from_millis(1499));
    assert_eq!(peer.cluster.high_watermark(TOPIC, 0), 0);
    assert_eq!(answers(&mut peer), [(0, 0)]);
    peer.cluster.assert_exactly_once(TOPIC, 0, &["b"]);
}

#[test]
fn a_dead_node_closes_and_refuses_and_another_leads_after_the_election() {
    let mut peer = Peer::new(cluster(3), 1);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    let lost = peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
    assert!(lost > 0);
    peer.cluster.act(Action::Kill { node: 1, keep: Keep::Replicated }, peer.now);
    assert_eq!(peer.next(), [Delivery::Closed]);
    assert_eq!(peer.next(), []);
    assert_eq!(peer.cluster.connect(1, peer.now), None);
    peer.reconnect(2);
    assert_eq!(peer.cluster.leader(TOPIC, 0), None);
    assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (6, -1));
    peer.now += Duration::from_secs(1);
    assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (0, 1));
    peer.cluster.act(Action::Restart { node: 1 }, peer.now);
    assert_eq!(peer.cluster.leader(TOPIC, 0), Some(2));
    assert!(peer.cluster.connect(1, peer.now).is_some());
    peer.cluster.assert_exactly_once(TOPIC, 0, &["a", "b"]);
    peer.cluster.assert_no_violations();
}

/// A follower that was restarted has a window of one when it leads, and what came since.
#[test]
fn a_window_is_as_long_as_its_node_has_run() {
    let mut peer = Peer::new(cluster(2), 1);
    for n in 0..4 {
        assert_eq!(peer.produce(batch(5, 0, n, &["a"])).0, 0);
    }
    peer.cluster.act(Action::Kill { node: 2, keep: Keep::All }, peer.now);
    peer.cluster.act(Action::Restart { node: 2 }, peer.now);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    assert_eq!(peer.produce(batch(5, 0, 4, &["a"])), (0, 4));
    peer.cluster.act(moved(2, Keep::All), peer.now);
    peer.reconnect(2);
    assert_eq!(peer.produce(batch(5, 0, 4, &["a"])), (0, 4));
    assert_eq!(peer.produce(batch(5, 0, 3, &["a"])), (0, 3));
    assert_eq!(peer.produce(batch(5, 0, 2, &["a"])), (45, -1));
}

/// What a new leader keeps is replicated by itself, whichever way it came to lead.
#[test]
fn what_is_kept_is_replicated_under_the_next_leader() {
    for (nodes, way) in [(2, "moved"), (2, "elected"), (1, "restarted")] {
        let mut peer = Peer::new(cluster(nodes), 1);
        peer.cluster.settings.replication = Some(Duration::from_secs(1));
        peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
        peer.now = Duration::from_millis(500);
        let action = match way {
            "moved" => moved(2, Keep::All),
            _ => Action::Kill { node: 1, keep: Keep::All },
        };
        peer.cluster.act(action, peer.now);
        if way == "restarted" {
            peer.cluster.act(Action::Restart { node: 1 }, peer.now);
        }
        // The old leader's word does not count.
        peer.cluster.advance(Duration::from_millis(1400));
        assert_eq!(peer.cluster.high_watermark(TOPIC, 0), 0, "{way}");
        peer.cluster.advance(Duration::from_millis(2500));
        assert_eq!(peer.cluster.high_watermark(TOPIC, 0), 1, "{way}");
    }
}

#[test]
fn a_node_comes_back_with_what_it_kept() {
    for (keep, end) in [(Keep::All, 2), (Keep::Replicated, 1), (Keep::Below(0), 0)] {
        let mut peer = peer();
        assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
        peer.cluster.act(STOPPED, peer.now);
        peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
        peer.cluster.act(Action::Kill { node: 1, keep }, peer.now);
        assert_eq!(peer.cluster.log_end(TOPIC, 0), 2);
        peer.cluster.act(Action::Restart { node: 1 }, peer.now);
        assert_eq!(peer.cluster.log_end(TOPIC, 0), end);
    }
}

#[test]
fn nothing_is_replicated_while_nobody_leads() {
    let mut peer = Peer::new(cluster(3), 1);
    peer.cluster.settings.replication = Some(Duration::from_secs(1));
    peer.cluster.settings.election_delay = Duration::from_secs(10);
    peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
    peer.cluster.act(Action::Kill { node: 1, keep: Keep::All }, peer.now);
    peer.cluster.advance(Duration::from_secs(9));
    assert_eq!(peer.cluster.high_watermark(TOPIC, 0), 0);
}

#[test]
fn a_node_that_is_back_before_the_election_leads_on() {
    let mut peer = Peer::new(cluster(3), 1);
    peer.cluster.act(Action::Kill { node: 1, keep: Keep::All }, peer.now);
    peer.cluster.act(Action::Restart { node: 1 }, peer.now);
    peer.reconnect(1);
    peer.now = Duration::from_secs(2);
    let found = peer.ask(12, &MetadataRequest::default().with_topics(None));
    let partition = &found.topics[0].partitions[0];
    assert_eq!((*partition.leader_id, partition.leader_epoch), (1, 2));
}

/// A leader that is elected again has a new epoch, and what waited in the old one is not its own.
#[test]
fn an_answer_that_waits_ends_with_the_epoch() {
    let mut peer = peer();
    peer.cluster.act(STOPPED, peer.now);
    peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
    peer.cluster.act(moved(1, Keep::Replicated), peer.now);
    assert_eq!(answers(&mut peer), [(6, 0)]);
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 0);
}

#[test]
fn a_batch_is_lost_whole() {
    let mut peer = peer();
    assert_eq!(peer.produce(batch(5, 0, 0, &["a", "b", "c"])), (0, 0));
    assert_eq!(peer.produce(batch(5, 0, 3, &["d", "e", "f"])), (0, 3));
    let (topic, partition) = (TOPIC.to_string(), 0);
    peer.cluster.act(Action::Trim { topic, partition, offset: 6 }, peer.now);
    peer.cluster.act(moved(1, Keep::Below(5)), peer.now);
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 3);
    // Nothing is left to read, so that is where reading starts.
    assert_eq!(peer.cluster.log_start(TOPIC, 0), 3);
    peer.cluster.assert_exactly_once(TOPIC, 0, &["a", "b", "c"]);
}

#[test]
fn answers_keep_the_order_of_requests() {
    let mut peer = peer();
    peer.cluster.settings.replication = Some(Duration::from_millis(20));
    for n in 0..5 {
        peer.now = Duration::from_millis(u64::from(n as u8));
        peer.send_produce(9, 0, batch(5, 0, n, &["a"]));
    }
    // This one waits for nothing but those in front of it.
    peer.cluster.fault(ApiKey::Produce, When::Nth(1), Fault::Error(19));
    peer.send_produce(9, 1, batch(5, 0, 0, &["b"]));
    let mut all = Vec::new();
    while all.len() < 6 {
        all.extend(answers(&mut peer));
    }
    assert_eq!(all, [(0, 0), (0, 1), (0, 2), (0, 3), (0, 4), (19, -1)]);
    peer.cluster.assert_no_violations();
}

#[test]
fn a_request_with_two_partitions_is_answered_for_both() {
    let mut peer = peer();
    let batches = [(0, batch(5, 0, 0, &["a"])), (1, batch(5, 0, 0, &["b"]))];
    for version in [9, 13] {
        let request = peer.produce_request(version, &batches);
        let frame_version = version;
        peer.send(frame_version, &request);
        let delivered = peer.next();
        let [Delivery::Frame(frame)] = &delivered[..] else { panic!("{delivered:?}") };
        let (_, response) = answer::<ProduceRequest>(version, frame);
        assert_eq!(response.responses.len(), 1);
        let found = response.responses[0].partition_responses.iter();
        let found: Vec<_> = found.map(|one| (one.index, one.error_code, one.base_offset)).collect();
        assert_eq!(found, [(0, 0, 0), (1, 0, 0)]);
    }
}

#[test]
fn more_than_five_on_the_way_is_a_violation() {
    let mut peer = peer();
    for n in 0..5 {
        peer.send_produce(9, 0, batch(5, 0, n, &["a"]));
    }
    peer.send_produce(9, 1, batch(5, 0, 0, &["a"]));
    peer.cluster.assert_no_violations();
    peer.send_produce(9, 0, batch(5, 0, 5, &["a"]));
    assert!(peer.cluster.violations[0].contains("6 Produce on the way to t-0"));
}

#[test]
fn the_high_watermark_and_the_log_are_apart_for_consumers_too() {
    let mut peer = peer();
    peer.cluster.act(STOPPED, peer.now);
    peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
    peer.cluster.disconnect(peer.connection);
    peer.cluster.act(Action::Replication(Some(Duration::ZERO)), peer.now);
    peer.cluster.assert_exactly_once(TOPIC, 0, &["a"]);
}
