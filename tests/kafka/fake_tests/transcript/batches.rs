//! Batches, right and wrong, and sequences.

use kafka_protocol::messages::DescribeProducersRequest;
use kafka_protocol::messages::describe_producers_request::TopicRequest;

use super::super::bytes::{NOW_MS, Parts, Record, batch};
use super::super::peer::string;
use super::Scribe;

pub(super) fn probes(scribe: &mut Scribe) {
    headers(scribe);
    records(scribe);
    times(scribe);
    requests(scribe);
    topics(scribe);
    sequences(scribe);
}

fn headers(scribe: &mut Scribe) {
    scribe.batch("good", |_| {});
    scribe.batch("base offset 1", |parts| parts.base_offset = 1);
    scribe.batch("magic 1", |parts| parts.magic = 1);
    scribe.batch("magic 3", |parts| parts.magic = 3);
    scribe.batch("checksum", |parts| parts.crc_flipped = 1);
    scribe.batch("last offset delta 2", |parts| parts.last_offset_delta = 2);
    scribe.batch("count 3", |parts| parts.count = 3);
    scribe.batch("control", |parts| parts.attributes = 0x20);
    scribe.batch("sequence -1", |parts| parts.base_sequence = -1);
    scribe.batch("epoch -1", |parts| parts.producer_epoch = -1);
    scribe.batch("transaction", |parts| parts.attributes = 0x10);
    scribe.batch("transaction of nobody", |parts| {
        nobody(parts);
        parts.attributes = 0x10;
    });
    scribe.batch("nobody", nobody);
    scribe.batch("length 1 more", |parts| parts.length_added = 1);
    scribe.batch("length 30 less", |parts| parts.length_added = -30);
    scribe.batch("length 100 less", |parts| parts.length_added = -100);
    scribe.batch("codec 5", |parts| parts.attributes = 5);
    scribe.batch("not lz4", |parts| parts.attributes = 3);
    scribe.batch("not gzip", |parts| parts.attributes = 1);
    scribe.batch("leader epoch 77", |parts| parts.leader_epoch = 77);
    scribe.batch("attributes 0x80", |parts| parts.attributes = 0x80);
    scribe.batch("delete horizon", |parts| parts.attributes = 0x40);
    scribe.batch("append time", |parts| parts.attributes = 8);
    scribe.batch("empty", |parts| {
        (parts.count, parts.last_offset_delta) = (0, -1);
        parts.payload.clear();
    });
    scribe.batch("empty, last offset delta 0", |parts| {
        (parts.count, parts.last_offset_delta) = (0, 0);
        parts.payload.clear();
    });
    scribe.batch("count -1", |parts| (parts.count, parts.last_offset_delta) = (-1, -2));
}

fn nobody(parts: &mut Parts) {
    (parts.producer_id, parts.producer_epoch, parts.base_sequence) = (-1, -1, -1);
}

/// A batch whose second record is changed.
fn second(scribe: &mut Scribe, what: &str, change: impl FnOnce(&mut Record)) {
    let mut record = Record::new(1, "b");
    change(&mut record);
    let payload = [Record::new(0, "a").bytes(), record.bytes()].concat();
    scribe.batch(what, |parts| parts.payload = payload);
}

fn records(scribe: &mut Scribe) {
    second(scribe, "record longer", |record| record.length_added = 1);
    second(scribe, "record shorter", |record| record.length_added = -1);
    second(scribe, "record of negative length", |record| record.length_added = -100);
    second(scribe, "byte behind the fields", |record| record.behind = vec![0]);
    second(scribe, "header missing", |record| record.header_count_added = 1);
    second(scribe, "headers -1", |record| record.header_count_added = -1);
    second(scribe, "header without key", |record| record.headers = vec![(None, None)]);
    let name = Some(vec![0xff]);
    second(scribe, "header not in UTF-8", |record| record.headers = vec![(name, None)]);
    second(scribe, "timestamp overflows", |record| record.timestamp_delta = i64::MAX);
    second(scribe, "offset delta 2", |record| record.offset_delta = 2);
    second(scribe, "offset delta of 33 bits", |record| record.offset_delta = 1 << 32);
    second(scribe, "attributes", |record| record.attributes = 1);
    scribe.batch("byte behind the records", |parts| parts.payload.push(0));
    scribe.batch("records cut", |parts| parts.payload.truncate(3));
    scribe.batch("record missing", |parts| parts.payload = Record::new(0, "a").bytes());
    let first = Record::new(0, "a").bytes();
    let long = [vec![first[0] | 0x80, 0], first[1..].to_vec()].concat();
    let payload = [long, Record::new(1, "b").bytes()].concat();
    scribe.batch("number of two bytes", |parts| parts.payload = payload);
}

fn times(scribe: &mut Scribe) {
    const TOO_FAR: i64 = 61 * 60_000;
    let wall_ms = scribe.wall_ms;
    let at = |parts: &mut Parts, time| {
        (parts.base_timestamp, parts.max_timestamp) = (time, time + 1);
    };
    scribe.batch("highest time 1 more", |parts| parts.max_timestamp += 1);
    scribe.batch("highest time -1", |parts| parts.max_timestamp = -1);
    scribe.batch("61 minutes ahead", |parts| at(parts, wall_ms + TOO_FAR));
    scribe.batch("59 minutes ahead", |parts| at(parts, wall_ms + 59 * 60_000));
    scribe.batch("the second 61 minutes ahead", |parts| {
        let mut record = Record::new(1, "b");
        record.timestamp_delta = TOO_FAR;
        parts.payload = [Record::new(0, "a").bytes(), record.bytes()].concat();
        (parts.base_timestamp, parts.max_timestamp) = (wall_ms, wall_ms + TOO_FAR);
    });
    scribe.batch("1970", |parts| at(parts, 0));
    scribe.batch("before 1970", |parts| at(parts, -5000));
    scribe.batch("no time", |parts| {
        let mut record = Record::new(1, "b");
        record.timestamp_delta = 0;
        parts.payload = [Record::new(0, "a").bytes(), record.bytes()].concat();
        (parts.base_timestamp, parts.max_timestamp) = (-1, -1);
    });
}

fn requests(scribe: &mut Scribe) {
    let topic = scribe.topic(&[]);
    let two = [batch(5, 0, 0, &["a"]), batch(5, 0, 1, &["b"])].concat();
    scribe.sent("two batches", &topic, 9, two);
    scribe.sent("no batch", &topic, 9, Vec::new());
    for (id, zeros) in [(6, 5), (7, 20)] {
        let sent = [batch(id, 0, 0, &["a"]), vec![0; zeros]].concat();
        scribe.sent(&format!("{zeros} zeros behind the batch"), &topic, 9, sent);
    }
    let half = [batch(8, 0, 0, &["a"]), batch(8, 0, 1, &["b"])[..40].to_vec()].concat();
    scribe.sent("half a batch behind", &topic, 9, half);
    for version in 7..=11 {
        let sent = batch(100 + i64::from(version), 0, 0, &["a"]);
        scribe.sent(&format!("version {version}"), &topic, version, sent);
    }
    scribe.sent("no such topic", "no-such-topic", 9, batch(5, 0, 0, &["a"]));
}

fn topics(scribe: &mut Scribe) {
    let topic = scribe.topic(&[("cleanup.policy", "compact")]);
    scribe.sent("no keys, compacted", &topic, 9, batch(5, 0, 0, &["a", "b"]));
    let size = batch(5, 0, 0, &["0123456789"]).len();
    let topic = scribe.topic(&[("max.message.bytes", &size.to_string())]);
    scribe.sent("as large as allowed", &topic, 9, batch(5, 0, 0, &["0123456789"]));
    scribe.sent("too large", &topic, 9, batch(5, 0, 1, &["0123456789a"]));
    let topic = scribe.topic(&[("message.timestamp.type", "LogAppendTime")]);
    scribe.sent("the broker's time", &topic, 9, batch(5, 0, 0, &["a"]));
    scribe.sent("the same again", &topic, 9, batch(5, 0, 0, &["a"]));
}

fn sequences(scribe: &mut Scribe) {
    let topic = scribe.topic(&[]);
    let mut step = |what: &str, id, epoch, sequence, values: &[&str]| {
        let what = format!("{what}, {id} {epoch} {sequence}");
        scribe.sent(&what, &topic, 9, batch(id, epoch, sequence, values));
    };
    for n in 0..8 {
        step("in sequence", 5, 0, n * 3, &["a", "b", "c"]);
    }
    for n in (0..8).rev() {
        step("again", 5, 0, n * 3, &["a", "b", "c"]);
    }
    step("start of the last", 5, 0, 21, &["a", "b"]);
    step("end of the last", 5, 0, 22, &["a", "b"]);
    step("over the end", 5, 0, 23, &["a", "b"]);
    step("behind a gap", 5, 0, 25, &["a"]);
    step("two known ones as one", 5, 0, 18, &["a", "b", "c", "d", "e", "f"]);
    step("next", 5, 0, 24, &["a"]);
    step("new epoch, not at 0", 5, 1, 25, &["a"]);
    step("new epoch", 5, 3, 0, &["a"]);
    step("again", 5, 3, 0, &["a"]);
    step("next of the old epoch", 5, 0, 25, &["a"]);
    step("known of the old epoch", 5, 0, 24, &["a"]);
    step("first", 6, 7, 100, &["a"]);
    step("before the first", 6, 7, 99, &["a"]);
    step("over the highest", 7, 0, 2_147_483_646, &["a", "b", "c"]);
    step("again", 7, 0, 2_147_483_646, &["a", "b", "c"]);
    step("next", 7, 0, 1, &["a"]);
    step("highest", 8, 0, i32::MAX, &["a"]);
    step("next", 8, 0, 0, &["a"]);
    for (name, partitions) in [(&topic[..], [0, 1]), ("no-such-topic", [0, 1])] {
        let asked = TopicRequest::default().with_name(string(name).into());
        let asked = asked.with_partition_indexes(partitions.to_vec());
        let request = DescribeProducersRequest::default().with_topics(vec![asked]);
        for partition in &scribe.ask(0, &request).unwrap().topics[0].partitions {
            let states = partition.active_producers.iter().map(|state| {
                let (id, time) = (*state.producer_id, state.last_timestamp - NOW_MS);
                let transaction = (state.coordinator_epoch, state.current_txn_start_offset);
                (id, state.producer_epoch, state.last_sequence, time, transaction)
            });
            let mut states: Vec<_> = states.collect();
            states.sort();
            scribe.say("producers", format!("code {} {states:?}", partition.error_code));
        }
    }
}
