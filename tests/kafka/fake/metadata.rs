//! What a client asks first: which versions there are, and who leads what.

use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest};

use super::answers::Ask;
use super::cluster::{Cluster, Topic};
use super::faults::Fault;
use super::login::ILLEGAL_SASL_STATE;
use super::wire::{self, text};

pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(crate) const LEADER_NOT_AVAILABLE: i16 = 5;
pub(crate) const NOT_LEADER_OR_FOLLOWER: i16 = 6;
pub(crate) const UNKNOWN_TOPIC_ID: i16 = 100;
const REPLICA_NOT_AVAILABLE: i16 = 9;
const UNSUPPORTED_VERSION: i16 = 35;
pub(crate) const INVALID_REQUEST: i16 = 42;

pub(crate) fn host(node: i32) -> String {
    format!("node-{node}")
}

/// The id as the codec has it; its type is only to be had by inference.
pub(crate) fn uuid<T: std::str::FromStr<Err: std::fmt::Debug>>(id: u128) -> T {
    format!("{id:032x}").parse().expect("32 digits are an id")
}

/// A name and a version of letters, digits, dots and hyphens, the last two inside alone.
fn names_itself(request: &ApiVersionsRequest) -> bool {
    [&request.client_software_name, &request.client_software_version].iter().all(|text| {
        let inside = |letter: char| letter.is_ascii_alphanumeric() || "-.".contains(letter);
        let at_ends = |letter: char| letter.is_ascii_alphanumeric();
        text.starts_with(at_ends) && text.ends_with(at_ends) && text.chars().all(inside)
    })
}

impl Cluster {
    /// Without a request, it came in a version that is not offered: the answer is in version 0, so
    /// that every client can read it.
    pub(super) fn api_versions(&mut self, ask: Ask, request: Option<&ApiVersionsRequest>) {
        let offered = |(key, (low, high)): (&i16, &(i16, i16))| {
            ApiVersion::default().with_api_key(*key).with_min_version(*low).with_max_version(*high)
        };
        let mut keys: Vec<_> = self.settings.versions.iter().map(offered).collect();
        if ask.faults.list.contains(&Fault::StrangeVersions) {
            for (key, low, high) in [(30_000, 0, 3), (-1, 5, 2), (61, -3, -1), (0, 3, i16::MAX)] {
                let strange = ApiVersion::default().with_api_key(key);
                keys.push(strange.with_min_version(low).with_max_version(high));
            }
        }
        let code = match request {
            None => UNSUPPORTED_VERSION,
            Some(request) if ask.head.version >= 3 && !names_itself(request) => {
                self.violate(ask.connection, format!("a client that calls itself {request:?}"));
                INVALID_REQUEST
            }
            Some(_) if self.is_logging_in(&ask) => {
                self.violate(ask.connection, "ApiVersions in the middle of a login".into());
                ILLEGAL_SASL_STATE
            }
            Some(_) => 0,
        };
        let code = ask.forced().unwrap_or(code);
        let version = if code == UNSUPPORTED_VERSION { 0 } else { ask.head.version };
        let response = ApiVersionsResponse::default()
            .with_error_code(code)
            .with_api_keys(keys)
            .with_throttle_time_ms(ask.throttle_ms());
        let frame = wire::answer_as(&ask.head, version, &response);
        self.finish(&ask, frame);
    }

    pub(super) fn metadata(&mut self, ask: Ask, request: &MetadataRequest) {
        let asked = request.topics.as_deref().unwrap_or_default();
        if asked.iter().any(|topic| topic.name.is_none() && topic.topic_id.is_nil()) {
            self.violate(ask.connection, "Metadata of a topic without a name and an id".into());
        }
        let brokers = self.advertised_nodes.iter().map(|node| {
            MetadataResponseBroker::default()
                .with_node_id((*node).into())
                .with_host(text(host(*node)))
                .with_port(9092)
                .with_rack(None)
        });
        let topics = match &request.topics {
            Some(asked) => asked.iter().map(|topic| self.metadata_of(&ask, topic)).collect(),
            None => {
                let all = self.topics.iter();
                all.map(|(name, topic)| self.topic_metadata(&ask, name, topic)).collect()
            }
        };
        let response = MetadataResponse::default()
            .with_throttle_time_ms(ask.throttle_ms())
            .with_brokers(brokers.collect())
            .with_cluster_id(Some(text(self.settings.cluster_id.clone())))
            .with_controller_id(self.controller().unwrap_or(-1).into())
            .with_topics(topics);
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
    }

    pub(super) fn controller(&self) -> Option<i32> {
        self.advertised_nodes.first().copied()
    }

    /// By name, or by id from version 12 on.
    fn metadata_of(&self, ask: &Ask, asked: &MetadataRequestTopic) -> MetadataResponseTopic {
        let found = match &asked.name {
            Some(name) => self.topics.get_key_value(name.as_str()),
            None => self.topic_by_id(asked.topic_id.as_u128()),
        };
        if let Some((name, topic)) = found {
            return self.topic_metadata(ask, name, topic);
        }
        let by_name = asked.name.is_some();
        let code = if by_name { UNKNOWN_TOPIC_OR_PARTITION } else { UNKNOWN_TOPIC_ID };
        MetadataResponseTopic::default()
            .with_error_code(ask.forced().unwrap_or(code))
            .with_name(asked.name.clone())
            .with_topic_id(asked.topic_id)
    }

    fn topic_metadata(&self, ask: &Ask, name: &str, topic: &Topic) -> MetadataResponseTopic {
        // These say something of a partition; all others, of the topic.
        let of_partition =
            |code: &i16| [LEADER_NOT_AVAILABLE, REPLICA_NOT_AVAILABLE].contains(code);
        let forced = ask.forced();
        let nodes: Vec<_> = self.nodes.keys().map(|node| (*node).into()).collect();
        let living: Vec<_> = self.advertised_nodes.iter().map(|node| (*node).into()).collect();
        let partitions = topic.partitions.iter().enumerate().map(|(index, partition)| {
            let (leader, epoch) = partition.advertised;
            let code = if leader.is_none() { LEADER_NOT_AVAILABLE } else { 0 };
            let code = forced.filter(of_partition).unwrap_or(code);
            let leader = leader.filter(|_| code != LEADER_NOT_AVAILABLE);
            MetadataResponsePartition::default()
                .with_error_code(code)
                .with_partition_index(index as i32)
                .with_leader_id(leader.unwrap_or(-1).into())
                .with_leader_epoch(epoch)
                .with_replica_nodes(nodes.clone())
                .with_isr_nodes(living.clone())
        });
        let code = forced.filter(|code| !of_partition(code)).unwrap_or(0);
        let partitions = if code == 0 { partitions.collect() } else { Vec::new() };
        MetadataResponseTopic::default()
            .with_error_code(code)
            .with_name(Some(text(name).into()))
            .with_topic_id(uuid(topic.id))
            .with_partitions(partitions)
    }
}
