//! What a client asks first: which versions there are, who it is, and who leads what.

use kafka_protocol::messages::api_versions_response::{ApiVersion, ApiVersionsResponse};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::metadata_response::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, MetadataRequest, SaslAuthenticateRequest, SaslAuthenticateResponse,
    SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::answers::Ask;
use super::cluster::{Cluster, Topic};
use super::connection::Login;
use super::faults::Fault;
use super::wire::{self, text};

pub(crate) const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
pub(crate) const LEADER_NOT_AVAILABLE: i16 = 5;
pub(crate) const NOT_LEADER_OR_FOLLOWER: i16 = 6;
pub(crate) const UNKNOWN_TOPIC_ID: i16 = 100;
const REPLICA_NOT_AVAILABLE: i16 = 9;
const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
const ILLEGAL_SASL_STATE: i16 = 34;
const UNSUPPORTED_VERSION: i16 = 35;
pub(crate) const INVALID_REQUEST: i16 = 42;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

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

    pub(super) fn sasl_handshake(&mut self, ask: Ask, request: &SaslHandshakeRequest) {
        let offered = self.settings.sasl.is_some();
        let code = match (offered, request.mechanism.as_str()) {
            (false, _) => ILLEGAL_SASL_STATE,
            (true, "PLAIN") => 0,
            (true, _) => UNSUPPORTED_SASL_MECHANISM,
        };
        let code = ask.forced().unwrap_or(code);
        if code == 0 {
            self.log_in(&ask, Login::Chosen);
        }
        let mechanisms = if offered { vec![text("PLAIN")] } else { Vec::new() };
        let response =
            SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(mechanisms);
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
    }

    pub(super) fn sasl_authenticate(&mut self, ask: Ask, request: &SaslAuthenticateRequest) {
        let found = self.connections.get(&ask.connection);
        let chosen = found.is_some_and(|found| found.login == Login::Chosen);
        let said = self.settings.sasl.as_ref().map(|(name, word)| format!("\0{name}\0{word}"));
        let right = said.is_some_and(|said| said.as_bytes() == &*request.auth_bytes);
        let code = match (chosen, right) {
            (false, _) => ILLEGAL_SASL_STATE,
            (true, false) => SASL_AUTHENTICATION_FAILED,
            (true, true) => 0,
        };
        let code = ask.forced().unwrap_or(code);
        let lifetime = self.settings.session_lifetime;
        let mut response = SaslAuthenticateResponse::default()
            .with_error_code(code)
            .with_error_message((code != 0).then(|| text("login failed")));
        if code == 0 {
            response.session_lifetime_ms = lifetime.map_or(0, |time| time.as_millis() as i64);
            let until = lifetime.map(|lifetime| self.now + lifetime);
            self.log_in(&ask, Login::Done { until });
        }
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
        if code != 0 {
            // Behind the answer; a broker holds it back so that guessing is slow.
            self.close(ask.connection, self.now + self.settings.latency);
        }
    }

    fn log_in(&mut self, ask: &Ask, login: Login) {
        if let Some(connection) = self.connections.get_mut(&ask.connection) {
            connection.login = login;
        }
    }
}
