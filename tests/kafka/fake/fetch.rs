//! What is asked of a partition's leader besides Produce: Fetch, ListOffsets, DescribeProducers.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::describe_producers_response::{
    DescribeProducersResponse, PartitionResponse, ProducerState, TopicResponse,
};
use kafka_protocol::messages::fetch_request::FetchPartition;
use kafka_protocol::messages::fetch_response::{
    FetchResponse, FetchableTopicResponse, PartitionData,
};
use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::{DescribeProducersRequest, FetchRequest, ListOffsetsRequest};

use super::answers::{Ask, Waiting};
use super::cluster::{Cluster, Topic};
use super::metadata::{NOT_LEADER_OR_FOLLOWER, UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION};
use super::partition::{Partition, Producer, Stored};
use super::settings::Debugging;
use super::wire;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const FETCH_SESSION_ID_NOT_FOUND: i16 = 70;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_LEADER_EPOCH: i16 = 75;

const LEADER_NOT_AVAILABLE: i16 = 5;
const OFFSET_NOT_AVAILABLE: i16 = 78;

/// Who asks for offsets: a consumer, who is told of what lies below the high watermark, or somebody
/// who looks for faults, and is told of the whole log.
const CONSUMER: i32 = -1;
const DEBUGGING: i32 = -2;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const OF_MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;

impl Cluster {
    pub(super) fn fetch(&mut self, ask: Ask, request: FetchRequest) {
        if *request.replica_id != -1 {
            let what = format!("Fetch as replica {:?}", request.replica_id);
            return self.break_off(ask.connection, what);
        }
        let wait = Duration::from_millis(request.max_wait_ms.max(0).unsigned_abs().into());
        self.wait(ask, wait, Waiting::Fetch(request));
    }

    /// The answer, unless there is less to read than was asked for, and time to wait for it.
    pub(super) fn fetched(&self, ask: &Ask, request: &FetchRequest, late: bool) -> Option<Vec<u8>> {
        let mut response = FetchResponse::default().with_throttle_time_ms(ask.throttle_ms());
        // No session is ever made, so none can be gone on with; one can be given up.
        if request.session_epoch > 0 {
            response.error_code = FETCH_SESSION_ID_NOT_FOUND;
            return Some(wire::answer(&ask.head, &response));
        }
        let mut budget = request.max_bytes.max(0) as usize;
        let (mut bytes, mut failed) = (0, false);
        for asked in &request.topics {
            let by_id = ask.head.version >= 13;
            let topic = if by_id {
                self.topic_by_id(asked.topic_id.as_u128()).map(|(_, topic)| topic)
            } else {
                self.topics.get(asked.topic.as_str())
            };
            let unknown = if by_id { UNKNOWN_TOPIC_ID } else { UNKNOWN_TOPIC_OR_PARTITION };
            let mut answer = FetchableTopicResponse::default()
                .with_topic(asked.topic.clone())
                .with_topic_id(asked.topic_id);
            for partition in &asked.partitions {
                let epoch = partition.current_leader_epoch;
                // From this version on followers serve consumers, too.
                let only_leader = ask.head.version < 11;
                let index = partition.partition;
                let found = find(ask, topic, unknown, index, epoch, only_leader);
                let data = partition_data(ask, partition, found, &mut budget, bytes == 0);
                bytes += data.records.as_ref().map_or(0, |records| records.len());
                failed |= data.error_code != 0;
                answer.partitions.push(data);
            }
            response.responses.push(answer);
        }
        let enough = bytes as i64 >= i64::from(request.min_bytes);
        (enough || failed || late).then(|| wire::answer(&ask.head, &response))
    }

    pub(super) fn list_offsets(&mut self, ask: Ask, request: ListOffsetsRequest) {
        let consumer = match *request.replica_id {
            CONSUMER => true,
            DEBUGGING => false,
            other => {
                let what = format!("ListOffsets as replica {other}");
                return self.break_off(ask.connection, what);
            }
        };
        let debugging = self.settings.debugging;
        let refused = match debugging {
            Debugging::Refused(code) if !consumer => Some(code),
            Debugging::Closed if !consumer => {
                return self.close(ask.connection, self.now + self.settings.latency);
            }
            _ => None,
        };
        let mut response = ListOffsetsResponse::default().with_throttle_time_ms(ask.throttle_ms());
        for asked in &request.topics {
            let topic = self.topics.get(asked.name.as_str());
            let partitions = asked.partitions.iter().map(|partition| {
                let (index, epoch) = (partition.partition_index, partition.current_leader_epoch);
                // A follower answers who is no consumer.
                let unknown = UNKNOWN_TOPIC_OR_PARTITION;
                let found = find(&ask, topic, unknown, index, epoch, consumer);
                let found = refused.map_or(found, Err);
                listed(&ask, partition, found, consumer)
            });
            let answer = ListOffsetsTopicResponse::default().with_name(asked.name.clone());
            response.topics.push(answer.with_partitions(partitions.collect()));
        }
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
    }

    pub(super) fn describe_producers(&mut self, ask: Ask, request: DescribeProducersRequest) {
        let mut response =
            DescribeProducersResponse::default().with_throttle_time_ms(ask.throttle_ms());
        for asked in &request.topics {
            let topic = self.topics.get(asked.name.as_str());
            let partitions = asked.partition_indexes.iter().map(|index| {
                // A follower answers as well, with what it has.
                let found = find(&ask, topic, UNKNOWN_TOPIC_OR_PARTITION, *index, -1, false);
                let answer = PartitionResponse::default()
                    .with_partition_index(*index)
                    .with_error_message(None);
                match found {
                    Ok(partition) => {
                        answer.with_active_producers(producers(partition.producers_at(ask.node)))
                    }
                    Err(code) => answer.with_error_code(code),
                }
            });
            let answer = TopicResponse::default().with_name(asked.name.clone());
            response.topics.push(answer.with_partitions(partitions.collect()));
        }
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
    }
}

/// The partition as this node has it, in the epoch that the client knows of, or the code.
fn find<'a>(
    ask: &Ask,
    topic: Option<&'a Topic>,
    unknown: i16,
    index: i32,
    epoch: i32,
    only_leader: bool,
) -> Result<&'a Partition, i16> {
    if let Some(code) = ask.forced() {
        return Err(code);
    }
    let partitions = &topic.ok_or(unknown)?.partitions;
    let index = usize::try_from(index).map_err(|_| UNKNOWN_TOPIC_OR_PARTITION)?;
    let partition = partitions.get(index).ok_or(UNKNOWN_TOPIC_OR_PARTITION)?;
    if epoch != -1 && epoch < partition.leader_epoch {
        return Err(FENCED_LEADER_EPOCH);
    }
    if epoch > partition.leader_epoch {
        return Err(UNKNOWN_LEADER_EPOCH);
    }
    if only_leader && partition.leader != Some(ask.node) {
        return Err(NOT_LEADER_OR_FOLLOWER);
    }
    Ok(partition)
}

/// `first`: whether a batch that is larger than asked for is given all the same.
fn partition_data(
    ask: &Ask,
    asked: &FetchPartition,
    found: Result<&Partition, i16>,
    budget: &mut usize,
    first: bool,
) -> PartitionData {
    let data = PartitionData::default()
        .with_partition_index(asked.partition)
        .with_aborted_transactions(None)
        .with_records(Some(Vec::new().into()));
    let failed = |code: i16| {
        // An empty list where the topic is not found, and none where its log refuses.
        let unknown = [UNKNOWN_TOPIC_ID, UNKNOWN_TOPIC_OR_PARTITION].contains(&code);
        let data = data.clone().with_aborted_transactions(unknown.then(Vec::new));
        let data = data.with_error_code(code).with_high_watermark(-1);
        data.with_last_stable_offset(-1).with_log_start_offset(-1)
    };
    let partition = match found {
        Ok(partition) => partition,
        Err(code) => return failed(code),
    };
    let (high_watermark, end) = partition.marks_at(ask.node);
    if asked.fetch_offset < partition.log_start || asked.fetch_offset > end {
        return failed(OFFSET_OUT_OF_RANGE);
    }
    let limit = (*budget).min(asked.partition_max_bytes.max(0) as usize);
    let records = slice(partition.below(high_watermark), asked.fetch_offset, limit, first);
    *budget = budget.saturating_sub(records.len());
    data.clone()
        .with_high_watermark(high_watermark)
        .with_last_stable_offset(high_watermark)
        .with_log_start_offset(partition.log_start)
        .with_records(Some(records.into()))
}

/// Batches from the one that holds the offset, cut where the limit is, as a slice of a file is.
fn slice<'a>(
    batches: impl Iterator<Item = &'a Stored>,
    from: i64,
    limit: usize,
    first: bool,
) -> Vec<u8> {
    let mut records = Vec::new();
    let mut least = 0;
    for stored in batches.skip_while(|stored| stored.end() <= from) {
        if first && least == 0 {
            least = stored.bytes.len();
        }
        if records.len() >= limit.max(least) {
            break;
        }
        records.extend_from_slice(&stored.bytes);
    }
    records.truncate(limit.max(least));
    records
}

fn listed(
    ask: &Ask,
    asked: &ListOffsetsPartition,
    found: Result<&Partition, i16>,
    consumer: bool,
) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse::default()
        .with_partition_index(asked.partition_index)
        .with_timestamp(-1)
        .with_offset(-1)
        .with_leader_epoch(-1);
    let partition = match found {
        Ok(partition) => partition,
        Err(code) => return answer.with_error_code(code),
    };
    let (high_watermark, log_end) = partition.marks_at(ask.node);
    let end = if consumer { high_watermark } else { log_end };
    let times = || partition.below(end).flat_map(times);
    let at = match asked.timestamp {
        LATEST if consumer && high_watermark < partition.epoch_start => {
            let old = ask.head.version < 5;
            return answer.with_error_code(if old {
                LEADER_NOT_AVAILABLE
            } else {
                OFFSET_NOT_AVAILABLE
            });
        }
        LATEST => Some((-1, end)),
        EARLIEST | EARLIEST_LOCAL => Some((-1, partition.log_start)),
        // The earliest of those that have it.
        OF_MAX_TIMESTAMP => times().max_by_key(|(time, offset)| (*time, -offset)),
        asked => times().find(|(time, offset)| *time >= asked && *offset >= partition.log_start),
    };
    match at {
        Some((time, offset)) => answer
            .with_timestamp(time)
            .with_offset(offset)
            .with_leader_epoch(partition.leader_epoch),
        None => answer,
    }
}

/// Time and offset of each record.
fn times(stored: &Stored) -> impl Iterator<Item = (i64, i64)> {
    let offsets = stored.base_offset..;
    let records = stored.batch.records.iter().zip(offsets);
    records.map(|(record, offset)| (stored.append_time.unwrap_or(record.timestamp), offset))
}

fn producers(known: BTreeMap<i64, Producer>) -> Vec<ProducerState> {
    let all = known.iter().map(|(id, producer)| {
        ProducerState::default()
            .with_producer_id((*id).into())
            .with_producer_epoch(producer.epoch.into())
            .with_last_sequence(producer.last_sequence())
            .with_last_timestamp(producer.last_timestamp)
            .with_coordinator_epoch(-1)
            .with_current_txn_start_offset(-1)
    });
    all.collect()
}
