//! A partition as its leader shows it: where it begins and ends, and the records in between.

use std::collections::VecDeque;

use forebay::{Offset, Timestamp};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, FetchRequest, ListOffsetsRequest, MetadataRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Record, RecordBatchDecoder};

use super::broker::{Broker, Result};
use crate::args::KafkaArgs;
use crate::proof::Arrived;

const EARLIEST: i64 = -2;
const LATEST: i64 = -1;
const FETCH_BYTES: i32 = 4 << 20;
const UNKNOWN_TOPIC: i16 = 3;

/// A connection to the partition's leader.
pub(super) struct Topic {
    leader: Broker,
    name: TopicName,
    partition: i32,
}

impl Topic {
    /// `None` if there is no such topic.
    pub(super) fn find(args: &KafkaArgs) -> Result<Option<Topic>> {
        let mut last: Result<Option<Topic>> = Err("no bootstrap server is given".into());
        for server in args.bootstrap.split(',').map(str::trim).filter(|text| !text.is_empty()) {
            let (host, port) = server.rsplit_once(':').unwrap_or((server, "9092"));
            let host = host.trim_start_matches('[').trim_end_matches(']');
            last = port
                .parse()
                .map_err(|_| format!("'{server}' is no host:port").into())
                .and_then(|port| Broker::open(host, port, args))
                .and_then(|broker| Topic::ask(broker, args));
            if last.is_ok() {
                break;
            }
        }
        last
    }

    fn ask(mut broker: Broker, args: &KafkaArgs) -> Result<Option<Topic>> {
        let name = TopicName(StrBytes::from_string(args.topic.clone()));
        let topic = MetadataRequestTopic::default().with_name(Some(name.clone()));
        let request = MetadataRequest::default()
            .with_topics(Some(vec![topic]))
            .with_allow_auto_topic_creation(false);
        let answer = broker.ask(11, &request)?;
        let found = answer.topics.first().ok_or("the broker says nothing of the topic")?;
        match found.error_code {
            0 | 5 => {}
            UNKNOWN_TOPIC => return Ok(None),
            code => return Err(format!("the topic '{}': error {code}", args.topic).into()),
        }
        let mut partitions = found.partitions.iter();
        let partition = partitions.find(|one| one.partition_index == args.partition);
        let partition = partition.ok_or_else(|| {
            let count = found.partitions.len();
            format!(
                "the topic '{}' has {count} partitions, and none {}",
                args.topic, args.partition
            )
        })?;
        let leader = answer.brokers.iter().find(|broker| broker.node_id == partition.leader_id);
        let leader = leader.ok_or("the partition has no leader now")?;
        let leader = Broker::open(leader.host.as_str(), u16::try_from(leader.port)?, args)?;
        Ok(Some(Topic { leader, name, partition: args.partition }))
    }

    pub(super) fn start(&mut self) -> Result<i64> {
        self.offset(EARLIEST)
    }

    pub(super) fn end(&mut self) -> Result<i64> {
        self.offset(LATEST)
    }

    fn offset(&mut self, which: i64) -> Result<i64> {
        let partition = ListOffsetsPartition::default()
            .with_partition_index(self.partition)
            .with_current_leader_epoch(-1)
            .with_timestamp(which);
        let topic = ListOffsetsTopic::default()
            .with_name(self.name.clone())
            .with_partitions(vec![partition]);
        let request =
            ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = self.leader.ask(6, &request)?;
        let found = answer.topics.first().and_then(|topic| topic.partitions.first());
        match found.ok_or("the broker says nothing of the partition")? {
            found if found.error_code == 0 => Ok(found.offset),
            found => Err(format!("the partition's offsets: error {}", found.error_code).into()),
        }
    }

    /// The batches at an offset and behind it, as many as one answer has.
    fn fetch(&mut self, from: i64) -> Result<Vec<Record>> {
        let partition = FetchPartition::default()
            .with_partition(self.partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(from)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(FETCH_BYTES);
        let topic =
            FetchTopic::default().with_topic(self.name.clone()).with_partitions(vec![partition]);
        let request = FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(1000)
            .with_min_bytes(1)
            .with_max_bytes(FETCH_BYTES)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = self.leader.ask(12, &request)?;
        let found = answer.responses.into_iter().next();
        let found = found.and_then(|topic| topic.partitions.into_iter().next());
        let found = found.ok_or("the broker says nothing of the partition")?;
        if found.error_code != 0 {
            return Err(format!("reading at offset {from}: error {}", found.error_code).into());
        }
        let mut bytes = whole(found.records.unwrap_or_default());
        let mut records = Vec::new();
        while !bytes.is_empty() {
            let batch = RecordBatchDecoder::decode(&mut bytes)
                .map_err(|error| format!("the batch behind offset {from}: {error}"))?;
            records.extend(batch.records);
        }
        Ok(records)
    }

    /// All records of some offsets, with the offsets they have there.
    pub(super) fn records(self, from: i64, end: i64) -> Records {
        Records { topic: self, next: from, end, fetched: VecDeque::new() }
    }
}

/// The whole batches at the front: the last one may have been cut.
fn whole(bytes: bytes::Bytes) -> bytes::Bytes {
    let mut end = 0;
    while let Some(length) = bytes.get(end + 8..).and_then(<[u8]>::first_chunk::<4>) {
        let next = end + 12 + u32::from_be_bytes(*length) as usize;
        if next > bytes.len() {
            break;
        }
        end = next;
    }
    bytes.slice(..end)
}

pub(super) struct Records {
    topic: Topic,
    next: i64,
    end: i64,
    fetched: VecDeque<Record>,
}

impl Iterator for Records {
    type Item = Result<Arrived>;

    fn next(&mut self) -> Option<Result<Arrived>> {
        while self.fetched.is_empty() {
            if self.next >= self.end {
                return None;
            }
            let records = match self.topic.fetch(self.next) {
                Ok(records) => records,
                Err(error) => {
                    self.next = self.end;
                    return Some(Err(error));
                }
            };
            let Some(last) = records.last() else { continue };
            let (next, from, end) = (last.offset + 1, self.next, self.end);
            self.next = next;
            // A batch comes whole, also what lies before the offset that was asked for.
            let asked = |record: &Record| (from..end).contains(&record.offset) && !record.control;
            self.fetched.extend(records.into_iter().filter(asked));
        }
        self.fetched.pop_front().map(|record| Ok(arrived(&record)))
    }
}

fn arrived(record: &Record) -> Arrived {
    let headers = record.headers.iter();
    Arrived {
        offset: Offset::new(record.offset),
        timestamp: Timestamp::from_millis(record.timestamp),
        key: record.key.as_ref().map(|key| key.to_vec()),
        value: record.value.as_ref().map(|value| value.to_vec()),
        headers: headers
            .map(|(name, value)| (name.to_string(), value.as_ref().map(|value| value.to_vec())))
            .collect(),
    }
}
