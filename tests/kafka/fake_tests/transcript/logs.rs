//! What comes back: stored bytes, fetches and their ends, offsets by time, topics by id.

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
};

use super::super::bytes::{NOW_MS, Parts, Record, batch};
use super::super::peer::string;
use super::Scribe;

pub(super) fn probes(scribe: &mut Scribe) {
    stored(scribe, "good", |_| {});
    stored(scribe, "highest time 1 more", |parts| parts.max_timestamp += 1);
    stored(scribe, "highest time -1", |parts| parts.max_timestamp = -1);
    stored(scribe, "base time 1 less", |parts| parts.base_timestamp -= 1);
    stored(scribe, "append time", |parts| parts.attributes = 8);
    stored(scribe, "attributes 0x80", |parts| parts.attributes = 0x80);
    stored(scribe, "attributes 0x8000", |parts| parts.attributes = i16::MIN);
    stored(scribe, "delete horizon", |parts| parts.attributes = 0x40);
    stored(scribe, "leader epoch 77", |parts| parts.leader_epoch = 77);
    stored(scribe, "offset delta 2", |parts| {
        let second = Record { offset_delta: 2, ..Record::new(1, "b") };
        parts.payload = [Record::new(0, "a").bytes(), second.bytes()].concat();
    });
    fetches(scribe);
    by_id(scribe);
}

fn fetch_of(topic: FetchTopic, partition: FetchPartition) -> FetchRequest {
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(100)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic.with_partitions(vec![partition])])
}

fn from(offset: i64, bytes: i32, epoch: i32) -> FetchPartition {
    FetchPartition::default()
        .with_fetch_offset(offset)
        .with_current_leader_epoch(epoch)
        .with_partition_max_bytes(bytes)
}

/// The bytes in the log, in hexadecimal digits.
fn stored(scribe: &mut Scribe, what: &str, change: impl FnOnce(&mut Parts)) {
    let topic = scribe.topic(&[]);
    let mut parts = Parts::new(5, 0, 0, &["a", "b"]);
    change(&mut parts);
    assert_eq!(scribe.produce(&topic, 9, parts.bytes()).unwrap().error_code, 0);
    let topic = FetchTopic::default().with_topic(string(&topic).into());
    let response = scribe.ask(12, &fetch_of(topic, from(0, 1000, -1))).unwrap();
    let records = response.responses[0].partitions[0].records.as_deref().unwrap();
    let digits: String = records.iter().map(|byte| format!("{byte:02x}")).collect();
    // What changes is in front of the records.
    scribe.say(&format!("stored, {what}"), &digits[..122]);
}

fn fetched(scribe: &mut Scribe, what: &str, topic: &str, asked: FetchPartition) {
    let topic = FetchTopic::default().with_topic(string(topic).into());
    let response = scribe.ask(12, &fetch_of(topic, asked)).unwrap();
    let found = &response.responses[0].partitions[0];
    let said = format!(
        "session {} code {} end {} stable {} start {} bytes {} aborted {:?} leader {} {}",
        response.session_id,
        found.error_code,
        found.high_watermark,
        found.last_stable_offset,
        found.log_start_offset,
        found.records.as_ref().map_or(0, |records| records.len()),
        found.aborted_transactions.as_ref().map(Vec::len),
        *found.current_leader.leader_id,
        found.current_leader.leader_epoch,
    );
    scribe.say(&format!("fetch, {what}"), said);
}

fn fetches(scribe: &mut Scribe) {
    let topic = scribe.topic(&[]);
    for (n, value) in ["a", "b", "c"].iter().enumerate() {
        let sent = batch(5, 0, n as i32 * 2, &[value, value]);
        assert_eq!(scribe.produce(&topic, 9, sent).unwrap().error_code, 0);
    }
    fetched(scribe, "all", &topic, from(0, 1 << 20, -1));
    fetched(scribe, "from within a batch", &topic, from(3, 1 << 20, -1));
    for bytes in [0, 10, 77, 80, 154, 200] {
        fetched(scribe, &format!("{bytes} bytes"), &topic, from(0, bytes, -1));
    }
    fetched(scribe, "at the end", &topic, from(6, 1000, -1));
    fetched(scribe, "beyond the end", &topic, from(7, 1000, -1));
    fetched(scribe, "at -1", &topic, from(-1, 1000, -1));
    fetched(scribe, "in epoch 0", &topic, from(0, 1000, 0));
    fetched(scribe, "in epoch 1", &topic, from(0, 1000, 1));
    fetched(scribe, "no such topic", "no-such-topic", from(0, 1000, -1));
    let session = FetchRequest::default().with_replica_id(BrokerId(-1));
    let session = session.with_session_id(99).with_session_epoch(1);
    let response = scribe.ask(12, &session).unwrap();
    let said = format!("code {} topics {}", response.error_code, response.responses.len());
    scribe.say("fetch, in a session", said);
    for time in [-1, -2, -3, -4, NOW_MS, NOW_MS + 1, NOW_MS + 2] {
        listed(scribe, &topic, 0, -1, time);
    }
    for (name, index, epoch) in
        [(&topic[..], 0, 0), (&topic, 0, 1), (&topic, 1, -1), ("no-such-topic", 0, -1)]
    {
        listed(scribe, name, index, epoch, -1);
    }
}

fn listed(scribe: &mut Scribe, topic: &str, index: i32, epoch: i32, time: i64) {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(index)
        .with_current_leader_epoch(epoch)
        .with_timestamp(time);
    let topic = ListOffsetsTopic::default().with_name(string(topic).into());
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_topics(vec![topic.with_partitions(vec![partition])]);
    let response = scribe.ask(8, &request).unwrap();
    let found = &response.topics[0].partitions[0];
    let said = format!(
        "code {} offset {} time {} epoch {}",
        found.error_code, found.offset, found.timestamp, found.leader_epoch
    );
    scribe.say(&format!("list, {time} of {index} in {epoch}"), said);
}

/// A topic of this id, and one that there is not.
fn by_id(scribe: &mut Scribe) {
    let name = scribe.topic(&[]);
    let metadata = |asked: MetadataRequestTopic| {
        let request = MetadataRequest::default().with_topics(Some(vec![asked]));
        request.with_allow_auto_topic_creation(false)
    };
    let asked = MetadataRequestTopic::default();
    let asked = asked.with_name(Some(string(&name).into()));
    let id = scribe.ask(12, &metadata(asked)).unwrap().topics[0].topic_id;
    for id in [id, "1".repeat(32).parse().unwrap()] {
        let asked = MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        let response = scribe.ask(12, &metadata(asked)).unwrap();
        let found = &response.topics[0];
        let named = found.name.as_ref().is_some_and(|found| found.as_str() == name);
        let said = format!(
            "code {} named {named} partitions {}",
            found.error_code,
            found.partitions.len()
        );
        scribe.say("metadata by id", said);
        for index in [0, 1, -1] {
            let data = PartitionProduceData::default().with_index(index);
            let data = data.with_records(Some(batch(5, 0, 0, &["a"]).into()));
            let topic = TopicProduceData::default().with_topic_id(id);
            let request = ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(5000)
                .with_topic_data(vec![topic.with_partition_data(vec![data])]);
            let said = scribe.ask(13, &request).map_or("closed".into(), |response| {
                let found = &response.responses[0].partition_responses[0];
                let same = response.responses[0].topic_id == id;
                format!("code {} offset {} same {same}", found.error_code, found.base_offset)
            });
            scribe.say(&format!("produce to {index} by id"), said);
            let topic = FetchTopic::default().with_topic_id(id);
            let asked = from(0, 1000, -1).with_partition(index);
            let response = scribe.ask(13, &fetch_of(topic, asked)).unwrap();
            let found = &response.responses[0].partitions[0];
            let said = format!("code {} end {}", found.error_code, found.high_watermark);
            scribe.say(&format!("fetch of {index} by id"), said);
        }
    }
}
