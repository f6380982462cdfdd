//! What a test sets: times, versions, logins, and what brokers and topics are configured with.

use std::collections::BTreeMap;
use std::time::Duration;

use kafka_protocol::messages::ApiKey;

use super::batch::Decompress;
use super::wire::{self, Versions};

/// How brokers answer who asks for offsets as one that looks for faults.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Debugging {
    Answered,
    /// Other brokers than Kafka's may not know it.
    Refused(i16),
    Closed,
}

/// What a test may set before or while the cluster runs.
pub(crate) struct Settings {
    pub(crate) cluster_id: String,
    /// From a request to its answer.
    pub(crate) latency: Duration,
    /// From an append to the high watermark; with none, followers have stopped.
    pub(crate) replication: Option<Duration>,
    /// From a change of leader to the Metadata that names it.
    pub(crate) metadata_delay: Duration,
    /// From a leader's death to the next leader.
    pub(crate) election_delay: Duration,
    /// The brokers' clock at time zero, in milliseconds since 1970.
    pub(crate) wall_ms: i64,
    /// Whether batches without a producer id are violations.
    pub(crate) producer_id_required: bool,
    /// Name and password, if clients must log in.
    pub(crate) sasl: Option<(String, String)>,
    /// The bearer tokens that are taken, if any are.
    pub(crate) tokens: Vec<String>,
    /// How long a login lasts, if not for ever.
    pub(crate) session_lifetime: Option<Duration>,
    /// Decodes compressed records; without it no codec is known.
    pub(crate) decompress: Option<Decompress>,
    /// Only the controller creates topics, as before KRaft.
    pub(crate) controller_only: bool,
    pub(crate) versions: Versions,
    pub(crate) debugging: Debugging,
    /// What a topic or a broker is configured with where nothing else is said.
    pub(crate) topic_defaults: BTreeMap<String, String>,
    pub(crate) broker_configs: BTreeMap<String, String>,
}

impl Settings {
    /// The highest version of an API that is offered from now on; with none, the API is not.
    pub(crate) fn offer(&mut self, api: ApiKey, highest: Option<i16>) {
        match (highest, self.versions.get_mut(&(api as i16))) {
            (Some(highest), Some(range)) => range.1 = highest,
            (None, _) => drop(self.versions.remove(&(api as i16))),
            (Some(_), None) => panic!("{api:?} is not built"),
        }
    }

    /// The age at which producers are forgotten; before it had its own name, that of transactions.
    pub(crate) fn producer_id_expiration_ms(&self) -> i64 {
        let of = |name| self.broker_configs.get(name);
        let own = of("producer.id.expiration.ms");
        let found = own.or_else(|| of("transactional.id.expiration.ms"));
        found.and_then(|text| text.parse().ok()).expect("an expiry in milliseconds")
    }

    /// As brokers of version 2.8 are.
    pub(crate) fn like_2_8(&mut self) {
        for (api, highest) in [
            (ApiKey::Produce, 9),
            (ApiKey::Metadata, 11),
            (ApiKey::Fetch, 12),
            (ApiKey::InitProducerId, 4),
            (ApiKey::ListOffsets, 6),
        ] {
            self.offer(api, Some(highest));
        }
        self.controller_only = true;
        self.topic_defaults.remove("message.timestamp.after.max.ms");
        self.topic_defaults.remove("message.timestamp.before.max.ms");
        let name = "message.timestamp.difference.max.ms".into();
        self.topic_defaults.insert(name, i64::MAX.to_string());
        self.broker_configs.remove("producer.id.expiration.ms");
    }
}

impl Default for Settings {
    fn default() -> Settings {
        let owned = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
        };
        Settings {
            cluster_id: "fake-cluster-0000000000".into(),
            latency: Duration::from_millis(1),
            replication: Some(Duration::from_millis(2)),
            metadata_delay: Duration::ZERO,
            election_delay: Duration::from_secs(1),
            wall_ms: 1_700_000_000_000,
            producer_id_required: true,
            sasl: None,
            tokens: Vec::new(),
            session_lifetime: None,
            decompress: None,
            controller_only: false,
            versions: wire::versions(),
            debugging: Debugging::Answered,
            topic_defaults: owned(&[
                ("cleanup.policy", "delete"),
                ("compression.type", "producer"),
                ("max.message.bytes", "1048588"),
                ("message.timestamp.after.max.ms", "3600000"),
                ("message.timestamp.before.max.ms", "9223372036854775807"),
                ("message.timestamp.type", "CreateTime"),
                ("min.insync.replicas", "1"),
                ("retention.bytes", "-1"),
                ("retention.ms", "604800000"),
                ("segment.bytes", "1073741824"),
            ]),
            broker_configs: owned(&[
                ("auto.create.topics.enable", "false"),
                ("message.max.bytes", "1048588"),
                ("producer.id.expiration.ms", "86400000"),
                ("transactional.id.expiration.ms", "604800000"),
            ]),
        }
    }
}
