//! Versions, names, producer ids, settings, new topics.

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, DescribeConfigsRequest, InitProducerIdRequest,
    MetadataRequest, SaslHandshakeRequest,
};

use super::super::peer::{init, string, versions};
use super::Scribe;

pub(super) fn probes(scribe: &mut Scribe) {
    for version in 0..=3 {
        let found = scribe.ask(version, &versions(version)).unwrap();
        scribe.say(&format!("versions {version}"), found.error_code);
    }
    let found = scribe.ask(3, &ApiVersionsRequest::default()).unwrap();
    scribe.say("versions of a client without a name", found.error_code);
    let none = MetadataRequestTopic::default().with_name(Some(string("no-such-topic").into()));
    let request = MetadataRequest::default().with_topics(Some(vec![none]));
    let found = scribe.ask(12, &request.with_allow_auto_topic_creation(false)).unwrap();
    scribe.say("metadata of no such topic", found.topics[0].error_code);
    let handshake = SaslHandshakeRequest::default().with_mechanism(string("PLAIN"));
    let found = scribe.ask(1, &handshake).map(|found| found.error_code);
    scribe.say("login where there is none", format!("{found:?}"));
    producer_ids(scribe);
    settings(scribe);
    topics(scribe);
}

fn producer_ids(scribe: &mut Scribe) {
    // A broker that has just started has no ids yet.
    let mut found = scribe.ask(4, &init()).unwrap();
    for _ in 0..20 {
        if found.error_code == 14 {
            std::thread::sleep(std::time::Duration::from_millis(100));
            found = scribe.ask(4, &init()).unwrap();
        }
    }
    let said = format!("code {} epoch {}", found.error_code, found.producer_epoch);
    scribe.say("producer id", said);
    let next = scribe.ask(4, &init()).unwrap();
    scribe.say("the next one higher by", *next.producer_id - *found.producer_id);
    let found = scribe.ask(4, &InitProducerIdRequest::default()).unwrap();
    scribe.say("producer id for an empty transactional id", found.error_code);
}

/// Only what no operator has changed.
fn settings(scribe: &mut Scribe) {
    let topic = scribe.topic(&[]);
    let mut described = |what: &str, kind, name: &str, keys: &[&str]| {
        let keys = keys.iter().map(|key| string(key)).collect();
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(string(name))
            .with_configuration_keys(Some(keys));
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let found = scribe.ask(4, &request).unwrap().results.remove(0);
        let configs = found.configs.iter().map(|config| {
            let value = config.value.as_ref().map_or("none", |value| value.as_str());
            format!("{}={value} from {}", config.name.as_str(), config.config_source)
        });
        let mut configs: Vec<_> = configs.collect();
        configs.sort();
        let said = format!("code {} {}", found.error_code, configs.join(" "));
        scribe.say(&format!("settings of {what}"), said.trim_end());
    };
    let keys = [
        "cleanup.policy",
        "compression.type",
        "max.message.bytes",
        "message.timestamp.type",
        "retention.bytes",
        "retention.ms",
        "segment.bytes",
        "no.such.key",
    ];
    described("a topic", 2, &topic, &keys);
    described("no such topic", 2, "no-such-topic", &keys);
    described("the node", 4, "1", &["message.max.bytes", "no.such.key"]);
    described("another node", 4, "2", &["message.max.bytes"]);
    described("all nodes", 4, "", &["message.max.bytes"]);
    described("a node without a number", 4, "x", &["message.max.bytes"]);
    described("what is no kind", 9, "1", &["message.max.bytes"]);
}

fn topics(scribe: &mut Scribe) {
    let there = scribe.topic(&[]);
    let fresh = format!("{there}-fresh");
    let mut create = |what: &str, name: &str, partitions, factor, config: Option<&str>| {
        let config = config.map(|name| {
            let config = CreatableTopicConfig::default().with_name(string(name));
            config.with_value(Some(string("1000")))
        });
        let topic = CreatableTopic::default()
            .with_name(string(name).into())
            .with_num_partitions(partitions)
            .with_replication_factor(factor)
            .with_configs(config.into_iter().collect());
        let request = CreateTopicsRequest::default().with_timeout_ms(5000).with_topics(vec![topic]);
        let response = scribe.ask(7, &request).unwrap();
        let found = &response.topics[0];
        let said = format!(
            "code {} partitions {} replicas {} id {}",
            found.error_code,
            found.num_partitions,
            found.replication_factor,
            !found.topic_id.is_nil()
        );
        scribe.say(&format!("create, {what}"), said);
    };
    create("is there", &there, 1, 1, None);
    create("not a name", "a b", 1, 1, None);
    create("no name", "", 1, 1, None);
    create("no partitions", &fresh, 0, 1, None);
    create("three replicas", &fresh, 1, 3, None);
    create("no replicas", &fresh, 1, 0, None);
    create("no such setting", &fresh, 1, 1, Some("no.such.key"));
    create("by default", &fresh, -1, -1, None);
}
