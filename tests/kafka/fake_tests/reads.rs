//! Fetch and ListOffsets: below the high watermark, from the leader, and cut where a broker cuts.

use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, FetchRequest, ListOffsetsRequest};

use super::bytes::{NOW_MS, Parts, batch};
use super::peer::{Peer, TOPIC, cluster, peer, string};
use crate::fake::{Action, Keep, crc32c};

fn request(peer: &Peer, offset: i64, bytes: i32, epoch: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_current_leader_epoch(epoch)
        .with_partition_max_bytes(bytes);
    let topic = FetchTopic::default().with_topic(string(TOPIC).into());
    let topic = topic.with_topic_id(peer.cluster.topic_id(TOPIC));
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(100)
        .with_max_bytes(1 << 20)
        .with_topics(vec![topic.with_partitions(vec![partition])])
}

fn fetch(peer: &mut Peer, version: i16, offset: i64, bytes: i32) -> PartitionData {
    let mut request = request(peer, offset, bytes, -1);
    strip(&mut request, version);
    let mut response = peer.ask(version, &request);
    response.responses.remove(0).partitions.remove(0)
}

/// A version has the name or the id.
fn strip(request: &mut FetchRequest, version: i16) {
    for topic in &mut request.topics {
        if version >= 13 {
            topic.topic = Default::default();
        } else {
            topic.topic_id = Default::default();
        }
    }
}

fn three() -> Peer {
    let mut peer = peer();
    for (n, value) in ["a", "b", "c"].iter().enumerate() {
        assert_eq!(peer.produce(batch(5, 0, n as i32 * 2, &[value, value])).0, 0);
    }
    peer
}

#[test]
fn batches_come_back_as_they_were_sent_but_for_offset_and_epoch() {
    for version in 4..=13 {
        let mut peer = three();
        let data = fetch(&mut peer, version, 3, 1 << 20);
        assert_eq!((data.error_code, data.high_watermark, data.last_stable_offset), (0, 6, 6));
        let records = data.records.unwrap();
        // From the batch that holds offset 3.
        let mut sent = Parts::new(5, 0, 2, &["b", "b"]);
        (sent.base_offset, sent.leader_epoch) = (2, 0);
        let sent = sent.bytes();
        assert_eq!(records[..sent.len()], sent);
        assert_eq!(records.len(), 2 * sent.len());
    }
}

#[test]
fn a_fetch_is_cut_at_its_limit_and_never_within_the_first_batch() {
    let mut peer = three();
    let size = batch(5, 0, 0, &["a", "a"]).len();
    for (limit, expected) in [(0, size), (size, size), (size + 5, size + 5), (9999, 3 * size)] {
        let data = fetch(&mut peer, 11, 0, limit as i32);
        assert_eq!(data.records.unwrap().len(), expected);
    }
}

#[test]
fn a_fetch_of_two_partitions_has_one_limit() {
    let mut peer = three();
    peer.send_produce(9, 1, batch(5, 0, 0, &["a", "a"]));
    assert_eq!(peer.next().len(), 1);
    let size = batch(5, 0, 0, &["a", "a"]).len();
    for (limit, expected) in
        [(0, [size, 0]), (size + 9, [size + 9, 0]), (4 * size, [3 * size, size])]
    {
        let mut both = request(&peer, 0, 1 << 20, -1).with_max_bytes(limit as i32);
        strip(&mut both, 12);
        let second = both.topics[0].partitions[0].clone().with_partition(1);
        both.topics[0].partitions.push(second);
        let found = peer.ask(12, &both);
        let found = found.responses[0].partitions.iter();
        let bytes: Vec<_> = found.map(|one| one.records.as_ref().unwrap().len()).collect();
        assert_eq!(bytes, expected, "{limit}");
    }
}

#[test]
fn what_is_not_replicated_is_not_seen() {
    let mut peer = three();
    peer.cluster.act(Action::Replication(None), peer.now);
    peer.send_produce(9, 0, batch(5, 0, 6, &["d", "e", "f"]));
    peer.reconnect(1);
    let size = batch(5, 0, 0, &["a", "a"]).len();
    let data = fetch(&mut peer, 12, 0, 1 << 20);
    assert_eq!(data.records.unwrap().len(), 3 * size);
    assert_eq!(data.high_watermark, 6);
    assert_eq!(list(&mut peer, -1), (0, 6, -1));
    assert_eq!(list_as(&mut peer, -2, -1), (0, 9, -1));
    assert_eq!(list(&mut peer, NOW_MS + 2), (0, -1, -1));
    assert_eq!(fetch(&mut peer, 12, 6, 1 << 20).records.unwrap().len(), 0);
    // The log has it, so the offset is not out of range; beyond it, it is.
    assert_eq!(fetch(&mut peer, 12, 9, 1 << 20).error_code, 0);
    assert_eq!(fetch(&mut peer, 12, 10, 1 << 20).error_code, 1);
}

#[test]
fn a_fetch_waits_for_what_it_asks_for() {
    let mut peer = three();
    let from = peer.now;
    let mut waiting = request(&peer, 6, 1 << 20, -1).with_min_bytes(1);
    strip(&mut waiting, 12);
    let response = peer.ask(12, &waiting);
    assert_eq!(response.responses[0].partitions[0].records.as_ref().unwrap().len(), 0);
    assert_eq!(peer.now - from, Duration::from_millis(101));
    // An error is told at once.
    let from = peer.now;
    let mut wrong = waiting.clone();
    wrong.topics[0].partitions[0].fetch_offset = 7;
    assert_eq!(peer.ask(12, &wrong).responses[0].partitions[0].error_code, 1);
    assert_eq!(peer.now - from, Duration::from_millis(1));
    let from = peer.now;
    peer.send(12, &waiting);
    let other = peer.cluster.connect(1, peer.now).unwrap();
    let produce = peer.produce_request(9, &[(0, batch(5, 0, 6, &["d"]))]);
    let frame = peer.frame(9, &produce);
    peer.cluster.request(other, &frame, peer.now);
    assert_eq!(peer.next().len(), 1);
    assert_eq!(peer.now - from, Duration::from_millis(3));
}

#[test]
fn only_the_leader_of_the_epoch_is_read_from() {
    let mut peer = Peer::new(cluster(2), 1);
    let moved =
        Action::MoveLeader { topic: TOPIC.into(), partition: 0, to: Some(1), keep: Keep::All };
    peer.cluster.act(moved, peer.now);
    let mut code = |epoch| {
        let mut request = request(&peer, 0, 1000, epoch);
        strip(&mut request, 11);
        peer.ask(11, &request).responses[0].partitions[0].error_code
    };
    assert_eq!([code(-1), code(0), code(1), code(2)], [0, 74, 0, 75]);
    peer.reconnect(2);
    assert_eq!(fetch(&mut peer, 10, 0, 1000).error_code, 6);
    assert_eq!(fetch(&mut peer, 11, 0, 1000).error_code, 0);
    assert_eq!(list(&mut peer, -1), (6, -1, -1));
}

/// As three nodes of 4.3.1 were seen to do: from version 11 on a follower serves consumers, with
/// what it has heard of, and DescribeProducers is answered by any node.
#[test]
fn a_follower_answers_with_what_it_has() {
    let mut peer = Peer::new(cluster(2), 1);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    peer.now += Duration::from_millis(1);
    assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (0, 1));
    peer.cluster.act(Action::Replication(None), peer.now);
    peer.send_produce(9, 0, batch(5, 0, 2, &["c"]));
    let seen = |peer: &mut Peer| (fetch(peer, 11, 0, 9999).high_watermark, peer.producers());
    peer.reconnect(1);
    assert_eq!(seen(&mut peer), (2, vec![(5, 0, 2, NOW_MS)]));
    peer.reconnect(2);
    assert_eq!(seen(&mut peer), (2, vec![(5, 0, 1, NOW_MS)]));
    assert_eq!(fetch(&mut peer, 11, 2, 9999).error_code, 0);
    assert_eq!(fetch(&mut peer, 11, 3, 9999).error_code, 1);
    // It hears of the high watermark a fetch later.
    peer.cluster.act(Action::Replication(Some(Duration::from_millis(50))), peer.now);
    peer.now += Duration::from_millis(60);
    peer.cluster.advance(peer.now);
    assert_eq!(peer.cluster.high_watermark(TOPIC, 0), 3);
    assert_eq!(seen(&mut peer), (2, vec![(5, 0, 2, NOW_MS)]));
    let size = batch(5, 0, 0, &["a"]).len();
    assert_eq!(fetch(&mut peer, 11, 1, 9999).records.unwrap().len(), size);
    peer.now += Duration::from_millis(60);
    assert_eq!(seen(&mut peer), (3, vec![(5, 0, 2, NOW_MS)]));
    assert_eq!(peer.produce(batch(5, 0, 2, &["c"])), (6, -1));
    // What a new leader has lost, no follower has.
    let (topic, partition, keep) = (TOPIC.to_string(), 0, Keep::Below(1));
    let moved = Action::MoveLeader { topic, partition, to: Some(1), keep };
    peer.cluster.act(Action::Replication(None), peer.now);
    peer.cluster.act(moved, peer.now);
    assert_eq!(seen(&mut peer), (1, vec![(5, 0, 0, NOW_MS)]));
    // Without a delay there is nothing to be behind of.
    peer.reconnect(1);
    peer.cluster.act(Action::Replication(Some(Duration::ZERO)), peer.now);
    assert_eq!(peer.produce(batch(5, 0, 1, &["d"])), (0, 1));
    peer.reconnect(2);
    assert_eq!(seen(&mut peer), (2, vec![(5, 0, 1, NOW_MS)]));
}

#[test]
fn what_is_gone_is_out_of_range() {
    let mut peer = three();
    peer.cluster.act(Action::Trim { topic: TOPIC.into(), partition: 0, offset: 4 }, peer.now);
    assert_eq!(fetch(&mut peer, 11, 3, 1000).error_code, 1);
    assert_eq!(fetch(&mut peer, 11, 4, 1000).log_start_offset, 4);
    assert_eq!(list(&mut peer, -2), (0, 4, -1));
    assert_eq!(list(&mut peer, NOW_MS), (0, 4, NOW_MS));
    // Deleted records take no producer's state with them.
    assert_eq!(peer.producers(), [(5, 0, 5, NOW_MS + 1)]);
    assert_eq!(fetch(&mut peer, 11, -1, 1000).error_code, 1);
}

#[test]
fn a_session_that_was_never_made_is_not_found() {
    let mut peer = three();
    let mut session = request(&peer, 0, 1000, -1).with_session_id(9).with_session_epoch(1);
    strip(&mut session, 12);
    assert_eq!(peer.ask(12, &session).error_code, 70);
    assert_eq!(peer.ask(12, &session.with_session_epoch(0)).error_code, 0);
}

/// As three nodes of 4.3.1 and of 3.9.1 were seen to do: a leader tells no consumer where its log
/// ends before the replicas have what it had when it was elected, and one that debugs at once, if
/// the epoch is the right one.
#[test]
fn a_leader_that_was_elected_only_now_tells_its_end_to_one_that_debugs() {
    let mut peer = Peer::new(cluster(2), 1);
    peer.cluster.act(Action::Replication(None), peer.now);
    peer.send_produce(9, 0, batch(5, 0, 0, &["a", "b"]));
    let moved =
        Action::MoveLeader { topic: TOPIC.into(), partition: 0, to: Some(2), keep: Keep::All };
    peer.cluster.act(moved, peer.now);
    let mut told = |node, replica, epoch| {
        peer.reconnect(node);
        let request = list_request(replica, epoch, -1);
        let answer = peer.ask(6, &request).topics.remove(0).partitions.remove(0);
        (answer.error_code, answer.offset)
    };
    assert_eq!(told(2, -1, -1), (78, -1));
    assert_eq!([0, 1, 2].map(|epoch| told(2, -2, epoch)), [(74, -1), (0, 2), (75, -1)]);
    assert_eq!([told(1, -1, -1), told(1, -2, -1)], [(6, -1), (0, 0)]);
    peer.cluster.act(Action::Replication(Some(Duration::ZERO)), peer.now);
    assert_eq!([list(&mut peer, -1).0, list_as(&mut peer, -2, -1).0], [6, 0]);
    peer.reconnect(2);
    assert_eq!([list(&mut peer, -1), list_as(&mut peer, -2, -1)], [(0, 2, -1); 2]);
}

/// Code, offset and time for a time asked of.
fn list(peer: &mut Peer, timestamp: i64) -> (i16, i64, i64) {
    list_as(peer, -1, timestamp)
}

fn list_request(replica: i32, epoch: i32, timestamp: i64) -> ListOffsetsRequest {
    let partition = ListOffsetsPartition::default().with_current_leader_epoch(epoch);
    let partition = partition.with_timestamp(timestamp);
    let topic = ListOffsetsTopic::default().with_name(string(TOPIC).into());
    ListOffsetsRequest::default()
        .with_replica_id(BrokerId(replica))
        .with_topics(vec![topic.with_partitions(vec![partition])])
}

fn list_as(peer: &mut Peer, replica: i32, timestamp: i64) -> (i16, i64, i64) {
    let request = list_request(replica, -1, timestamp);
    let mut found = None;
    for version in 4..=8 {
        let response = peer.ask(version, &request);
        let partition = &response.topics[0].partitions[0];
        let answer = (partition.error_code, partition.offset, partition.timestamp);
        assert_eq!(*found.get_or_insert(answer), answer);
    }
    found.unwrap()
}

#[test]
fn offsets_are_listed_by_time() {
    let mut peer = peer();
    for (n, time) in [10, 30, 20].into_iter().enumerate() {
        let mut parts = Parts::new(5, 0, n as i32, &["a"]);
        (parts.base_timestamp, parts.max_timestamp) = (NOW_MS + time, NOW_MS + time);
        assert_eq!(peer.produce(parts.bytes()).0, 0);
    }
    assert_eq!(list(&mut peer, -1), (0, 3, -1));
    assert_eq!(list(&mut peer, -2), (0, 0, -1));
    assert_eq!(list(&mut peer, -3), (0, 1, NOW_MS + 30));
    assert_eq!(list(&mut peer, NOW_MS + 11), (0, 1, NOW_MS + 30));
    assert_eq!(list(&mut peer, NOW_MS), (0, 0, NOW_MS + 10));
    assert_eq!(list(&mut peer, NOW_MS + 31), (0, -1, -1));
    peer.cluster.act(Action::Delete { topic: TOPIC.into() }, peer.now);
    assert_eq!(list(&mut peer, -1), (3, -1, -1));
}

/// Where the topic shows the broker's time, the batch carries it, under a checksum that is right.
#[test]
fn the_broker_s_time_is_in_the_batch() {
    let mut late = cluster(1);
    late.topic_config(TOPIC, "message.timestamp.type", "LogAppendTime");
    let mut peer = Peer::new(late, 1);
    peer.now = Duration::from_secs(1);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    let records = fetch(&mut peer, 12, 0, 1000).records.unwrap();
    assert_eq!(records[22], 0x08);
    assert_eq!(records[35..43], (NOW_MS + 1000).to_be_bytes());
    assert_eq!(records[17..21], crc32c(&records[21..]).to_be_bytes());
}
