//! What Produce checks: what a broker refuses, with its code, and what no client should write.

use std::time::Duration;

use super::bytes::{NOW_MS, Parts, Record, batch};
use super::peer::{Peer, TOPIC, cluster, peer};
use crate::fake::crc32c;

/// The code for a batch made wrong in one way, with no violation beside it.
#[track_caller]
fn refused(change: impl FnOnce(&mut Parts)) -> i16 {
    let mut peer = peer();
    let mut parts = Parts::new(5, 0, 0, &["a", "b"]);
    change(&mut parts);
    let (code, base_offset) = peer.produce(parts.bytes());
    peer.cluster.assert_no_violations();
    assert_ne!(code, 0);
    assert_eq!(base_offset, -1);
    assert_eq!(peer.cluster.refusals.len(), 1);
    assert_eq!(peer.cluster.refusals[0].0, code);
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 0);
    code
}

/// A batch that a broker takes and no client should send: returns the violation.
#[track_caller]
fn disliked(change: impl FnOnce(&mut Parts)) -> String {
    let mut peer = peer();
    let mut parts = Parts::new(5, 0, 0, &["a", "b"]);
    change(&mut parts);
    assert_eq!(peer.produce(parts.bytes()), (0, 0));
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 2);
    assert_eq!(peer.cluster.violations.len(), 1, "{:?}", peer.cluster.violations);
    peer.cluster.violations[0].clone()
}

/// The same with one record in place of two.
fn with_record(parts: &mut Parts, change: impl FnOnce(&mut Record)) {
    let mut record = Record::new(1, "b");
    change(&mut record);
    parts.payload = [Record::new(0, "a").bytes(), record.bytes()].concat();
}

#[test]
fn a_right_batch_is_taken_in_every_version() {
    for version in 7..=13 {
        let mut peer = peer();
        let mut record = Record::new(0, "a");
        record.key = Some(b"k".to_vec());
        record.headers = vec![(Some(b"h".to_vec()), None), (Some(b"i".to_vec()), Some(vec![1]))];
        let mut parts = Parts::new(5, 0, 0, &["a"]);
        parts.payload = record.bytes();
        peer.send_produce(version, 0, parts.bytes());
        assert_eq!(peer.next().len(), 1);
        peer.cluster.assert_no_violations();
        assert_eq!(peer.cluster.refusals, []);
        let row = peer.cluster.records(TOPIC, 0).remove(0);
        assert_eq!((row.offset, row.timestamp), (0, NOW_MS));
        assert_eq!((row.key.unwrap(), row.value.unwrap()), (b"k".to_vec(), b"a".to_vec()));
        assert_eq!(row.headers, [("h".into(), None), ("i".into(), Some(vec![1]))]);
        assert_eq!((row.producer_id, row.epoch, row.sequence), (5, 0, 0));
    }
}

#[test]
fn what_a_broker_refuses_has_its_code() {
    assert_eq!(refused(|parts| parts.base_offset = 1), 87);
    assert_eq!(refused(|parts| parts.magic = 1), 87);
    assert_eq!(refused(|parts| parts.magic = 3), 2);
    assert_eq!(refused(|parts| parts.crc_flipped = 1), 2);
    assert_eq!(refused(|parts| parts.last_offset_delta = 2), 87);
    assert_eq!(refused(|parts| parts.count = 3), 87);
    assert_eq!(refused(|parts| parts.attributes = 0x20), 87);
    assert_eq!(refused(|parts| parts.base_sequence = -1), 87);
    assert_eq!(refused(|parts| parts.attributes = 0x10), 53);
    assert_eq!(refused(|parts| parts.length_added = 1), 87);
    assert_eq!(refused(|parts| parts.length_added = -100), 2);
    assert_eq!(refused(|parts| parts.attributes = 5), -1);
    assert_eq!(refused(|parts| parts.attributes = 3), -1);
}

#[test]
fn an_empty_batch_is_refused() {
    let code = refused(|parts| {
        (parts.count, parts.last_offset_delta) = (0, -1);
        parts.payload.clear();
    });
    assert_eq!(code, 87);
    assert_eq!(refused(|parts| (parts.count, parts.last_offset_delta) = (-1, -2)), 87);
}

/// Cut within its header, under a checksum that is right.
#[test]
fn a_batch_without_a_whole_header_is_corrupt() {
    let mut peer = peer();
    let mut cut = batch(5, 0, 0, &["a"])[..60].to_vec();
    cut[8..12].copy_from_slice(&48_i32.to_be_bytes());
    let crc = crc32c(&cut[21..]);
    cut[17..21].copy_from_slice(&crc.to_be_bytes());
    assert_eq!(peer.produce(cut), (2, -1));
}

#[test]
fn a_transaction_without_a_producer_is_refused() {
    let mut peer = peer();
    peer.cluster.settings.producer_id_required = false;
    let mut parts = Parts::new(-1, -1, -1, &["a"]);
    parts.attributes = 0x10;
    assert_eq!(peer.produce(parts.bytes()), (53, -1));
}

#[test]
fn two_batches_for_a_partition_are_refused() {
    let mut peer = peer();
    let two = [batch(5, 0, 0, &["a"]), batch(5, 0, 1, &["b"])].concat();
    assert_eq!(peer.produce(two), (87, -1));
    assert_eq!(peer.produce(Vec::new()), (87, -1));
    peer.cluster.assert_no_violations();
}

#[test]
fn records_that_cannot_be_read_are_refused() {
    for change in [
        |record: &mut Record| record.length_added = 1,
        |record: &mut Record| record.length_added = -1,
        |record: &mut Record| record.length_added = -100,
        |record: &mut Record| record.behind = vec![0],
        |record: &mut Record| record.header_count_added = 1,
        |record: &mut Record| record.header_count_added = -1,
        |record: &mut Record| record.headers = vec![(None, None)],
    ] {
        assert_eq!(refused(|parts| with_record(parts, change)), 87);
    }
    let overflow = |record: &mut Record| record.timestamp_delta = i64::MAX;
    assert_eq!(refused(|parts| with_record(parts, overflow)), 32);
    assert_eq!(refused(|parts| parts.payload.push(0)), 87);
    assert_eq!(refused(|parts| parts.payload.truncate(3)), 87);
}

#[test]
fn what_only_a_client_can_get_right_is_a_violation() {
    let says = |found: String, what: &str| assert!(found.contains(what), "{found}");
    says(disliked(|parts| parts.leader_epoch = 77), "leader epoch 77");
    says(disliked(|parts| parts.leader_epoch = 0), "leader epoch 0");
    says(disliked(|parts| parts.attributes = 0x80), "unused bits");
    says(disliked(|parts| parts.attributes = i16::MIN), "unused bits");
    says(disliked(|parts| parts.attributes = 0x40), "delete horizon");
    says(disliked(|parts| parts.attributes = 0x08), "broker's time");
    says(disliked(|parts| parts.max_timestamp += 1), "max timestamp");
    says(disliked(|parts| parts.max_timestamp = -1), "max timestamp");
    says(disliked(|parts| with_record(parts, |record| record.offset_delta = 2)), "offset delta 2");
    says(disliked(|parts| with_record(parts, |record| record.attributes = 1)), "attributes 1");
    says(disliked(|parts| with_record(parts, |record| record.offset_delta += 1 << 32)), "or bits");
    let name = Some(vec![0xff]);
    says(
        disliked(|parts| with_record(parts, |record| record.headers = vec![(name, None)])),
        "not in UTF-8",
    );
    let shifted = disliked(|parts| {
        let mut first = Record::new(0, "a");
        first.timestamp_delta = 1;
        parts.payload = [first.bytes(), Record::new(1, "b").bytes()].concat();
    });
    says(shifted, "base timestamp");
    let long = disliked(|parts| {
        let first = Record::new(0, "a").bytes();
        // Its length is one byte; the same number in two.
        let long = [vec![first[0] | 0x80, 0], first[1..].to_vec()].concat();
        parts.payload = [long, Record::new(1, "b").bytes()].concat();
    });
    says(long, "more bytes or bits");
}

#[test]
fn bytes_behind_the_batch_are_a_violation() {
    let mut peer = peer();
    let mut sent = batch(5, 0, 0, &["a"]);
    sent.extend([0; 5]);
    assert_eq!(peer.produce(sent), (0, 0));
    assert!(peer.cluster.violations[0].contains("5 bytes behind"));
}

#[test]
fn a_batch_without_a_producer_is_a_violation() {
    assert!(disliked(|parts| parts.producer_epoch = -1).contains("epoch -1"));
    let parts = Parts::new(5, -1, 0, &["a"]);
    let mut peer = peer();
    peer.cluster.settings.producer_id_required = false;
    assert_eq!(peer.produce(parts.bytes()), (0, 0));
    assert_eq!(peer.cluster.violations.len(), 1, "half a producer is none");
    let mut peer = self::peer();
    assert_eq!(peer.produce(batch(-1, -1, -1, &["a"])), (0, 0));
    assert!(peer.cluster.violations[0].contains("producer id -1"));
    peer.cluster.violations.clear();
    peer.cluster.settings.producer_id_required = false;
    assert_eq!(peer.produce(batch(-1, -1, -1, &["a", "b"])), (0, 1));
    peer.cluster.assert_no_violations();
    let rows = peer.cluster.records(TOPIC, 0);
    assert!(rows.iter().all(|row| (row.producer_id, row.epoch, row.sequence) == (-1, -1, -1)));
}

#[test]
fn a_batch_is_as_large_as_the_topic_allows() {
    let mut cluster = cluster(1);
    let size = batch(5, 0, 0, &["0123456789"]).len();
    cluster.topic_config(TOPIC, "max.message.bytes", &size.to_string());
    let mut peer = Peer::new(cluster, 1);
    assert_eq!(peer.produce(batch(5, 0, 0, &["0123456789"])), (0, 0));
    assert_eq!(peer.produce(batch(5, 0, 1, &["0123456789a"])), (10, -1));
}

#[test]
fn a_record_from_the_future_is_refused_until_the_clock_is_there() {
    let mut peer = peer();
    let mut parts = Parts::new(5, 0, 0, &["a"]);
    parts.base_timestamp += 3_600_001;
    parts.max_timestamp += 3_600_001;
    assert_eq!(peer.produce(parts.bytes()), (32, -1));
    peer.now += Duration::from_millis(1);
    assert_eq!(peer.produce(parts.bytes()), (0, 0));
    // Any age is taken, and no time at all.
    parts.base_sequence = 1;
    (parts.base_timestamp, parts.max_timestamp) = (0, 0);
    assert_eq!(peer.produce(parts.bytes()), (0, 1));
    parts.base_sequence = 2;
    (parts.base_timestamp, parts.max_timestamp) = (-1, -1);
    assert_eq!(peer.produce(parts.bytes()), (0, 2));
    peer.cluster.topic_config(TOPIC, "message.timestamp.before.max.ms", "1000");
    parts.base_sequence = 3;
    (parts.base_timestamp, parts.max_timestamp) = (NOW_MS - 2000, NOW_MS - 2000);
    assert_eq!(peer.produce(parts.bytes()), (32, -1));
    (parts.base_timestamp, parts.max_timestamp) = (-1, -1);
    assert_eq!(peer.produce(parts.bytes()), (0, 3));
    // Where the broker's time counts, no other does.
    peer.cluster.topic_config(TOPIC, "message.timestamp.type", "LogAppendTime");
    parts.base_sequence = 4;
    (parts.base_timestamp, parts.max_timestamp) = (i64::MAX, i64::MAX);
    assert_eq!(peer.produce(parts.bytes()), (0, 4));
    // Brokers up to 3.9 have no limit.
    let mut old = cluster(1);
    old.settings.like_2_8();
    let mut peer = Peer::new(old, 1);
    parts.base_sequence = 0;
    (parts.base_timestamp, parts.max_timestamp) = (i64::MAX, i64::MAX);
    assert_eq!(peer.produce(parts.bytes()), (0, 0));
}

#[test]
fn a_compacted_topic_takes_keys_only() {
    let mut cluster = cluster(1);
    cluster.topic_config(TOPIC, "cleanup.policy", "compact,delete");
    let mut peer = Peer::new(cluster, 1);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (87, -1));
    let mut parts = Parts::new(5, 0, 0, &["a"]);
    let mut record = Record::new(0, "a");
    record.key = Some(b"k".to_vec());
    record.value = None;
    parts.payload = record.bytes();
    assert_eq!(peer.produce(parts.bytes()), (0, 0));
    assert_eq!(peer.cluster.records(TOPIC, 0)[0].value, None);
}

/// With the broker's time the records' own is no longer seen, and the batch says so itself.
#[test]
fn a_topic_may_show_the_broker_s_time() {
    let mut cluster = cluster(1);
    cluster.topic_config(TOPIC, "message.timestamp.type", "LogAppendTime");
    let mut peer = Peer::new(cluster, 1);
    peer.now = Duration::from_secs(5);
    let mut parts = Parts::new(5, 0, 0, &["a"]);
    (parts.base_timestamp, parts.max_timestamp) = (1, 1);
    assert_eq!(peer.produce(parts.bytes()), (0, 0));
    assert_eq!(peer.cluster.records(TOPIC, 0)[0].timestamp, NOW_MS + 5000);
    assert_eq!(peer.producers(), [(5, 0, 0, NOW_MS + 5000)]);
}

/// The same batch in a codec: here one that adds 1 to each byte.
#[test]
fn compressed_records_are_read_with_the_test_s_decoder() {
    let mut peer = peer();
    peer.cluster.settings.decompress = Some(|codec, bytes| {
        (codec == 3).then(|| bytes.iter().map(|byte| byte.wrapping_sub(1)).collect())
    });
    let compressed = |mut parts: Parts, codec| {
        parts.attributes = codec;
        parts.payload.iter_mut().for_each(|byte| *byte = byte.wrapping_add(1));
        parts.bytes()
    };
    let right = Parts::new(5, 0, 0, &["a", "b"]);
    assert_eq!(peer.produce(compressed(right.clone(), 3)), (0, 0));
    peer.cluster.assert_exactly_once(TOPIC, 0, &["a", "b"]);
    assert_eq!(peer.produce(compressed(right, 4)), (-1, -1));
    let mut gap = Parts::new(5, 0, 2, &["a", "b"]);
    with_record(&mut gap, |record| record.offset_delta = 2);
    assert_eq!(peer.produce(compressed(gap, 3)), (-1, -1));
    peer.cluster.assert_no_violations();
}
