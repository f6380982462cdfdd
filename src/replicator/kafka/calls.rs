//! What is asked of a broker, call by call: one version each, which Kafka 2.8 has and 4 still has.
//!
//! Floor 6. Only Produce has two: by a topic's id where the broker can, so that a topic that was
//! deleted and made anew is not taken for the old one.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreateTopicsRequest, DescribeConfigsRequest, DescribeProducersRequest,
    FetchRequest, InitProducerIdRequest, ListOffsetsRequest, MetadataRequest, ProduceRequest,
    ProduceResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::bounded::{self, Shape};
use super::channel::{Ask, Awaited, Channel};
use super::codes;
use super::identity::Known;
use super::network::Network;
use super::preflight;
use super::sasl::{self, Sasl};
use crate::{Error, ErrorKind, Result};

/// When a login is renewed that lasts for a time only: Kafka's own clients choose as much.
const RENEWED_PERCENT: u32 = 85;
/// A broker takes no second login within a second of the first.
const RENEWED_AFTER: Duration = Duration::from_millis(1100);
/// Kafka's words for both ends of a partition in the place of a time.
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
/// Who asks for offsets. A consumer is told of what the replicas have; one that debugs, of what the
/// broker has: so the brokers of 2.8 to 4.3, and it takes no other right.
const CONSUMER: BrokerId = BrokerId(-1);
const DEBUGGING: BrokerId = BrokerId(-2);
const METADATA: i16 = 11;
const PRODUCE: i16 = 9;
const PRODUCE_BY_ID: i16 = 13;

/// A broker to be asked.
pub(super) struct Node {
    pub(super) channel: Channel,
    pub(super) timeout: Duration,
    /// A login that has to be renewed, and when.
    pub(super) login: Option<(Sasl, Duration)>,
}

/// A topic's partition, as metadata have it.
#[derive(Clone, Debug)]
pub(super) struct Topic {
    pub(super) cluster: String,
    pub(super) name: String,
    pub(super) id: Uuid,
    pub(super) partitions: usize,
    pub(super) leaders: BTreeMap<i32, Leader>,
}

/// Where a partition's leader is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Leader {
    pub(super) node: i32,
    pub(super) host: String,
    pub(super) port: u16,
    /// Who leads in it leads alone; -1 if it is not told.
    pub(super) epoch: i32,
}

/// A topic that is to be made where there is none.
#[derive(Clone, Debug)]
pub(super) struct NewTopic {
    pub(super) partitions: i32,
    pub(super) replicas: i16,
    pub(super) settings: Vec<(String, String)>,
}

/// What a Fetch returned.
pub(super) struct Fetched {
    pub(super) high_watermark: i64,
    pub(super) records: Bytes,
}

/// The broker's answer to one batch.
#[derive(Clone, Debug)]
pub(super) struct Produced {
    pub(super) code: i16,
    pub(super) base_offset: i64,
    pub(super) why: String,
    pub(super) throttle: Duration,
}

impl Topic {
    /// The epoch of a partition's leader.
    fn epoch(&self, partition: i32) -> i32 {
        self.leaders.get(&partition).map_or(-1, |leader| leader.epoch)
    }
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

fn text(bytes: Option<&StrBytes>) -> String {
    bytes.map(|text| text.to_string()).unwrap_or_default()
}

fn millis(duration: Duration) -> i32 {
    i32::try_from(duration.as_millis()).unwrap_or(i32::MAX)
}

impl Node {
    /// Tells the broker who this is.
    pub(super) fn log_in(&mut self, sasl: &Sasl, network: &dyn Network) -> Result<()> {
        let lasts = sasl::authenticate(&mut self.channel, sasl, network, self.timeout)?;
        self.login = lasts.map(|lasts| {
            let renewed = lasts.saturating_mul(RENEWED_PERCENT) / 100;
            (sasl.clone(), network.now().saturating_add(renewed.max(RENEWED_AFTER)))
        });
        Ok(())
    }

    /// Whether the login has to be renewed before anything else is asked.
    pub(super) fn login_is_due(&self, network: &dyn Network) -> bool {
        self.login.as_ref().is_some_and(|(_, due)| network.now() >= *due)
    }

    /// Renews the login if it is time; nothing else may be awaited.
    pub(super) fn stay_logged_in(&mut self, network: &dyn Network) -> Result<()> {
        match self.login.take_if(|(_, due)| network.now() >= *due) {
            Some((sasl, _)) => self.log_in(&sasl, network),
            None => Ok(()),
        }
    }

    /// Asks, and waits for the answer; nothing else may be awaited.
    fn call<R: Ask>(
        &mut self,
        request: &R,
        version: i16,
        shape: Shape,
        network: &dyn Network,
    ) -> Result<R::Answer> {
        self.stay_logged_in(network)?;
        self.channel.call(request, version, shape, network, self.timeout)
    }

    /// The topic, its cluster and its leaders. `None` if there is no such topic.
    pub(super) fn topic(&mut self, topic: &str, network: &dyn Network) -> Result<Option<Topic>> {
        let request = MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(name(topic)))]))
            .with_allow_auto_topic_creation(false);
        let answer = self.call(&request, METADATA, bounded::METADATA, network)?;
        let asked = |name: Option<&TopicName>| name.is_some_and(|name| *name.0 == *topic);
        let found = answer.topics.into_iter().find(|found| asked(found.name.as_ref()));
        let Some(found) = found else {
            return Err(self.unasked("metadata of another topic"));
        };
        match found.error_code {
            codes::UNKNOWN_TOPIC_OR_PARTITION => return Ok(None),
            // Some partition has no leader; it may be another one.
            0 | 5 => {}
            code => return Err(self.error(code, &format!("the topic '{topic}'"))),
        }
        let mut leaders = BTreeMap::new();
        let partitions = found.partitions.len();
        for partition in found.partitions {
            let node = partition.leader_id;
            let broker = answer.brokers.iter().find(|broker| broker.node_id == node);
            let Some(broker) = broker else { continue };
            let Ok(port) = u16::try_from(broker.port) else { continue };
            let (node, host) = (node.0, broker.host.to_string());
            let epoch = partition.leader_epoch;
            leaders.insert(partition.partition_index, Leader { node, host, port, epoch });
        }
        let cluster = text(answer.cluster_id.as_ref());
        let (id, name) = (found.topic_id, topic.to_owned());
        Ok(Some(Topic { cluster, name, id, partitions, leaders }))
    }

    /// Makes the topic.
    pub(super) fn create(
        &mut self,
        topic: &str,
        new: &NewTopic,
        network: &dyn Network,
    ) -> Result<()> {
        let setting = |(name, value): &(String, String)| {
            CreatableTopicConfig::default()
                .with_name(StrBytes::from_string(name.clone()))
                .with_value(Some(StrBytes::from_string(value.clone())))
        };
        let made = CreatableTopic::default()
            .with_name(name(topic))
            .with_num_partitions(new.partitions)
            .with_replication_factor(new.replicas)
            .with_configs(new.settings.iter().map(setting).collect());
        let request = CreateTopicsRequest::default()
            .with_topics(vec![made])
            .with_timeout_ms(millis(self.timeout));
        let shape = bounded::CREATE_TOPICS;
        let answer = self.call(&request, 7, shape, network)?;
        let made = answer.topics.into_iter().find(|made| *made.name.0 == *topic);
        match made.map(|made| (made.error_code, text(made.error_message.as_ref()))) {
            Some((0 | codes::TOPIC_ALREADY_EXISTS, _)) => Ok(()),
            Some((code, why)) => {
                Err(self.error(code, &format!("creating the topic '{topic}': {why}")))
            }
            None => Err(self.unasked("the making of another topic")),
        }
    }

    /// A producer id that nobody had.
    pub(super) fn new_producer(&mut self, network: &dyn Network) -> Result<(i64, i16)> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let shape = bounded::INIT_PRODUCER_ID;
        let answer = self.call(&request, 4, shape, network)?;
        match (answer.error_code, answer.producer_id.0, answer.producer_epoch) {
            (0, id, epoch) if id >= 0 && epoch >= 0 => Ok((id, epoch)),
            (0, ..) => Err(self.unasked("a producer id that is none")),
            (code, ..) => Err(self.error(code, "a producer id")),
        }
    }

    /// What the leader has of a producer id; `Err` of kind `Unsupported` where it may not be asked.
    pub(super) fn known(
        &mut self,
        topic: &str,
        partition: i32,
        producer: i64,
        network: &dyn Network,
    ) -> Result<Option<Known>> {
        if !self.channel.offers(ApiKey::DescribeProducers, 0) {
            let text = self.channel.at("it does not offer DescribeProducers");
            return Err(Error::new(ErrorKind::Unsupported, text));
        }
        let asked =
            TopicRequest::default().with_name(name(topic)).with_partition_indexes(vec![partition]);
        let request = DescribeProducersRequest::default().with_topics(vec![asked]);
        let shape = bounded::DESCRIBE_PRODUCERS;
        let answer = self.call(&request, 0, shape, network)?;
        let found = answer.topics.into_iter().find(|found| *found.name.0 == *topic);
        let mut found = found.into_iter().flat_map(|topic| topic.partitions);
        let Some(found) = found.find(|found| found.partition_index == partition) else {
            return Err(self.unasked("the producers of another partition"));
        };
        match found.error_code {
            0 => {}
            code @ (codes::TOPIC_AUTHORIZATION_FAILED | codes::CLUSTER_AUTHORIZATION_FAILED) => {
                let error = self.error(code, "the partition's producers");
                return Err(Error::new(ErrorKind::Unsupported, error.what_failed()));
            }
            code => return Err(self.error(code, "the partition's producers")),
        }
        let ours = found.active_producers.into_iter().find(|one| one.producer_id.0 == producer);
        Ok(ours.map(|one| Known {
            epoch: i16::try_from(one.producer_epoch).unwrap_or(i16::MAX),
            last_sequence: one.last_sequence,
        }))
    }

    /// Settings of a topic (kind 2) or a broker (kind 4), by name.
    pub(super) fn settings(
        &mut self,
        kind: i8,
        of: &str,
        network: &dyn Network,
    ) -> Result<BTreeMap<String, String>> {
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(StrBytes::from_string(of.to_owned()))
            .with_configuration_keys(Some(
                preflight::NAMES.map(StrBytes::from_static_str).to_vec(),
            ));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let shape = bounded::DESCRIBE_CONFIGS;
        let answer = self.call(&request, 4, shape, network)?;
        let is_asked = |of_kind: i8, name: &str| of_kind == kind && name == of;
        let mut found = answer.results.into_iter();
        let found = found.find(|found| is_asked(found.resource_type, &found.resource_name));
        let Some(found) = found else {
            return Err(self.unasked("the settings of something else"));
        };
        match found.error_code {
            0 => {
                let known = found.configs.into_iter();
                Ok(known.map(|one| (one.name.to_string(), text(one.value.as_ref()))).collect())
            }
            code => Err(self.error(code, &format!("the settings of '{of}'"))),
        }
    }

    /// One past the last offset that all replicas have, or with `earliest` the first one.
    pub(super) fn end_offset(
        &mut self,
        topic: &str,
        partition: i32,
        earliest: bool,
        network: &dyn Network,
    ) -> Result<i64> {
        let time = if earliest { EARLIEST } else { LATEST };
        match self.offset(topic, (partition, -1), time, CONSUMER, network)? {
            Ok(offset) => Ok(offset),
            Err(code) => Err(self.error(code, "the partition's offsets")),
        }
    }

    /// The same, from nobody but who leads in the epoch that is known. `None` while the leader does
    /// not know it, as it was elected only now.
    pub(super) fn high_watermark(
        &mut self,
        topic: &Topic,
        partition: i32,
        network: &dyn Network,
    ) -> Result<Option<i64>> {
        let of = (partition, topic.epoch(partition));
        match self.offset(&topic.name, of, LATEST, CONSUMER, network)? {
            Ok(offset) => Ok(Some(offset)),
            Err(codes::OFFSET_NOT_AVAILABLE) => Ok(None),
            Err(code) => Err(self.error(code, "the partition's high watermark")),
        }
    }

    /// One past the last offset that the leader has, whether replicas have it or not; or the code
    /// by which it does not tell.
    pub(super) fn log_end(
        &mut self,
        topic: &Topic,
        partition: i32,
        network: &dyn Network,
    ) -> Result<std::result::Result<i64, i16>> {
        // A follower would answer, too.
        let of = (partition, topic.epoch(partition));
        self.offset(&topic.name, of, LATEST, DEBUGGING, network)
    }

    /// The offset at a time in a partition, in this epoch of its leader, as seen by whom `replica`
    /// says; or the error code.
    fn offset(
        &mut self,
        topic: &str,
        (partition, epoch): (i32, i32),
        time: i64,
        replica: BrokerId,
        network: &dyn Network,
    ) -> Result<std::result::Result<i64, i16>> {
        let asked = ListOffsetsPartition::default()
            .with_partition_index(partition)
            .with_current_leader_epoch(epoch)
            .with_timestamp(time);
        let asked = ListOffsetsTopic::default().with_name(name(topic)).with_partitions(vec![asked]);
        let request =
            ListOffsetsRequest::default().with_replica_id(replica).with_topics(vec![asked]);
        let shape = bounded::LIST_OFFSETS;
        let answer = self.call(&request, 6, shape, network)?;
        let found = answer.topics.into_iter().find(|found| *found.name.0 == *topic);
        let mut found = found.into_iter().flat_map(|topic| topic.partitions);
        let Some(found) = found.find(|found| found.partition_index == partition) else {
            return Err(self.unasked("the offsets of another partition"));
        };
        Ok(match found.error_code {
            0 => Ok(found.offset),
            code => Err(code),
        })
    }

    /// Batches from an offset on, below the high watermark: so many bytes of them, or one batch.
    pub(super) fn fetch(
        &mut self,
        topic: &str,
        partition: i32,
        from: i64,
        bytes: i32,
        network: &dyn Network,
    ) -> Result<Fetched> {
        let asked = FetchPartition::default()
            .with_partition(partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(from)
            .with_last_fetched_epoch(-1)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(bytes);
        let asked = FetchTopic::default().with_topic(name(topic)).with_partitions(vec![asked]);
        let request = FetchRequest::default()
            .with_replica_id(CONSUMER)
            .with_max_wait_ms(0)
            .with_min_bytes(1)
            .with_max_bytes(bytes)
            .with_session_epoch(-1)
            .with_topics(vec![asked]);
        let answer = self.call(&request, 12, bounded::FETCH, network)?;
        if answer.error_code != 0 {
            return Err(self.error(answer.error_code, "reading back what was shipped"));
        }
        let found = answer.responses.into_iter().find(|found| *found.topic.0 == *topic);
        let mut found = found.into_iter().flat_map(|topic| topic.partitions);
        let Some(found) = found.find(|found| found.partition_index == partition) else {
            return Err(self.unasked("the records of another partition"));
        };
        match found.error_code {
            0 => Ok(Fetched {
                high_watermark: found.high_watermark,
                records: found.records.unwrap_or_default(),
            }),
            codes::OFFSET_OUT_OF_RANGE => {
                let text = self.channel.at(format!("it has no offset {from} any more"));
                Err(Error::new(ErrorKind::OffsetOutOfRange, text))
            }
            code => Err(self.error(code, "reading back what was shipped")),
        }
    }

    /// Sends one batch; its answer is awaited.
    pub(super) fn produce(
        &mut self,
        topic: &Topic,
        partition: i32,
        batch: Vec<u8>,
        network: &dyn Network,
    ) -> Result<Awaited> {
        let version = self.produce_version(topic)?;
        let data = PartitionProduceData::default()
            .with_index(partition)
            .with_records(Some(Bytes::from(batch)));
        let data = TopicProduceData::default().with_partition_data(vec![data]);
        let data = match version {
            PRODUCE => data.with_name(name(&topic.name)),
            _ => data.with_topic_id(topic.id),
        };
        let request = ProduceRequest::default()
            .with_transactional_id(None)
            .with_acks(-1)
            .with_timeout_ms(millis(self.timeout))
            .with_topic_data(vec![data]);
        self.channel.send(&request, version, network, self.timeout)
    }

    fn produce_version(&self, topic: &Topic) -> Result<i16> {
        if self.channel.offers(ApiKey::Produce, PRODUCE_BY_ID) && !topic.id.is_nil() {
            return Ok(PRODUCE_BY_ID);
        }
        self.channel.must_offer(ApiKey::Produce, PRODUCE)?;
        Ok(PRODUCE)
    }

    /// The answer to a batch, if it comes within `max_wait`.
    pub(super) fn produced(
        &mut self,
        topic: &Topic,
        partition: i32,
        awaited: &Awaited,
        max_wait: Duration,
        network: &dyn Network,
    ) -> Result<Option<Produced>> {
        let Some(bytes) = self.channel.try_receive(awaited, network, max_wait)? else {
            return Ok(None);
        };
        let (version, shape) = match self.produce_version(topic)? {
            PRODUCE => (PRODUCE, bounded::PRODUCE),
            by_id => (by_id, bounded::PRODUCE_BY_ID),
        };
        let answer: ProduceResponse = self.channel.decode(bytes, shape, version)?;
        let millis = u64::try_from(answer.throttle_time_ms).unwrap_or(0);
        let is_asked = |name: &str, id| match version {
            PRODUCE => name == topic.name,
            _ => id == topic.id,
        };
        let found = answer.responses.into_iter();
        let found = found.filter(|found| is_asked(&found.name.0, found.topic_id));
        let mut found = found.flat_map(|topic| topic.partition_responses);
        let Some(found) = found.find(|found| found.index == partition) else {
            return Err(self.unasked("the storing in another partition"));
        };
        Ok(Some(Produced {
            code: found.error_code,
            base_offset: found.base_offset,
            why: text(found.error_message.as_ref()),
            throttle: Duration::from_millis(millis),
        }))
    }

    pub(super) fn error(&self, code: i16, what: &str) -> Error {
        codes::error(code, self.channel.at(what))
    }

    fn unasked(&self, what: &str) -> Error {
        Error::upstream(self.channel.at(format!("it answered with {what}")))
    }
}
