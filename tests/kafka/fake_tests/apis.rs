//! The other requests: versions, logins, metadata, producer ids, settings, topics.

use std::time::Duration;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, CreateTopicsRequest, DescribeConfigsRequest, InitProducerIdRequest,
    MetadataRequest, SaslAuthenticateRequest, SaslHandshakeRequest,
};

use super::bytes::batch;
use super::peer::{Peer, TOPIC, answer, cluster, init, peer, string, versions};
use crate::fake::{Action, Delivery, Fault, Keep, When};

#[test]
fn a_client_names_itself() {
    for (name, version, code) in [("a-b.c", "1.2", 0), ("", "1", 42), ("a", "1-", 42)] {
        let mut peer = peer();
        let request = ApiVersionsRequest::default().with_client_software_name(string(name));
        let request = request.with_client_software_version(string(version));
        assert_eq!(peer.ask(3, &request).error_code, code);
        assert_eq!(peer.cluster.violations.is_empty(), code == 0);
        assert_eq!(peer.ask(2, &ApiVersionsRequest::default()).error_code, 0);
    }
}

#[test]
fn versions_are_offered_as_set() {
    let mut peer = peer();
    for version in 0..=3 {
        let found = peer.ask(version, &versions(version));
        assert_eq!(found.error_code, 0);
        let range = |key| {
            let one = found.api_keys.iter().find(|one| one.api_key == key).unwrap();
            (one.min_version, one.max_version)
        };
        assert_eq!((range(0), range(1), range(61)), ((7, 13), (4, 13), (0, 0)));
    }
    peer.cluster.settings.like_2_8();
    peer.cluster.settings.offer(ApiKey::DescribeProducers, None);
    let found = peer.ask(3, &versions(3));
    assert!(found.api_keys.iter().all(|one| one.api_key != 61));
    assert_eq!(found.api_keys[0].max_version, 9);
}

/// In version 0, which every client reads.
#[test]
fn an_unknown_version_of_api_versions_is_answered() {
    let mut peer = peer();
    peer.send(4, &versions(3));
    let delivered = peer.next();
    let [Delivery::Frame(frame)] = &delivered[..] else { panic!("{delivered:?}") };
    let (_, response) = answer::<ApiVersionsRequest>(0, frame);
    assert_eq!(response.error_code, 35);
    assert!(response.api_keys.iter().any(|one| (one.api_key, one.max_version) == (18, 3)));
    peer.cluster.assert_no_violations();
    peer.cluster.fault(ApiKey::ApiVersions, When::Nth(1), Fault::Error(35));
    peer.send(3, &versions(3));
    let delivered = peer.next();
    let [Delivery::Frame(frame)] = &delivered[..] else { panic!("{delivered:?}") };
    assert_eq!(answer::<ApiVersionsRequest>(0, frame).1.error_code, 35);
}

#[test]
fn a_request_that_is_not_offered_or_not_readable_is_a_violation() {
    let metadata = MetadataRequest::default();
    let mut good = peer();
    let frame = good.frame(12, &metadata);
    let mut long = frame.clone();
    long.push(0);
    let mut old = frame.clone();
    old[3] = 8;
    let mut unknown = frame.clone();
    unknown[1] = 200;
    // The number of the header's tagged fields, behind the client's name; then that of topics.
    assert_eq!(frame[15..17], [0, 1]);
    let with = |bytes: &[u8], at: usize| [&frame[..at], bytes, &frame[at + 1..]].concat();
    for (bytes, what) in [
        (long, "1 bytes left over"),
        (frame[..frame.len() - 1].to_vec(), "Metadata v12"),
        (old, "Metadata v8; offered are 9 to 12"),
        (unknown, "API 200"),
        (with(&[1, 9, 0], 15), "a header that no client writes"),
        (with(&[0x80, 0], 15), "a header that no client writes"),
        (with(&[0x81, 0], 16), "not written as the protocol writes it"),
        (vec![], "a request of 0 bytes"),
    ] {
        let mut peer = peer();
        peer.cluster.request(peer.connection, &bytes, peer.now);
        assert_eq!(peer.next(), [Delivery::Closed]);
        assert_eq!(peer.cluster.violations.len(), 1);
        assert!(peer.cluster.violations[0].contains(what), "{:?}", peer.cluster.violations);
    }
}

#[test]
fn produce_asks_for_all_replicas_and_no_transaction() {
    for change in 0..5 {
        let mut peer = peer();
        let mut request = peer.produce_request(9, &[(0, batch(5, 0, 0, &["a"]))]);
        match change {
            0 => request.acks = 1,
            1 => request.timeout_ms = 0,
            2 => request.transactional_id = Some(string("x").into()),
            3 => request.topic_data.clear(),
            _ => {
                let twice = request.topic_data[0].partition_data[0].clone();
                request.topic_data[0].partition_data.push(twice);
            }
        }
        peer.send(9, &request);
        assert_eq!(peer.cluster.violations.len(), 1, "{change}");
        assert_eq!(peer.cluster.log_end(TOPIC, 0), if change == 4 { 1 } else { 0 });
    }
}

#[test]
fn metadata_names_leaders_by_name_and_by_id() {
    for version in 9..=12 {
        let mut peer = Peer::new(cluster(2), 1);
        let id = peer.cluster.topic_id(TOPIC);
        let asked = |name: Option<&str>| {
            MetadataRequestTopic::default().with_name(name.map(|name| string(name).into()))
        };
        let mut topics = vec![asked(Some(TOPIC)), asked(Some("none"))];
        if version == 12 {
            topics.push(asked(None).with_topic_id(id));
            topics.push(asked(None).with_topic_id("1".repeat(32).parse().unwrap()));
        }
        let request = MetadataRequest::default().with_topics(Some(topics));
        let found = peer.ask(version, &request);
        let hosts: Vec<_> = found.brokers.iter().map(|one| (*one.node_id, &*one.host)).collect();
        assert_eq!(hosts, [(1, "node-1"), (2, "node-2")]);
        assert_eq!(peer.cluster.node_at("node-2", 9092), Some(2));
        assert_eq!(peer.cluster.node_at("node-3", 9092), None);
        let partitions = found.topics[0].partitions.iter();
        let leaders: Vec<_> = partitions.map(|one| (*one.leader_id, one.leader_epoch)).collect();
        assert_eq!(leaders, [(1, 0), (2, 0)]);
        assert_eq!(found.topics[0].topic_id.is_nil(), version < 10);
        let codes: Vec<_> = found.topics.iter().map(|one| one.error_code).collect();
        assert_eq!(codes[..2], [0, 3]);
        peer.cluster.assert_no_violations();
        if version == 12 {
            assert_eq!(codes[2..], [0, 100]);
            assert_eq!(found.topics[2].name, found.topics[0].name);
        }
    }
}

#[test]
fn a_topic_is_asked_of_by_name_or_by_id() {
    let mut peer = peer();
    let nameless = MetadataRequestTopic::default().with_name(None);
    peer.ask(12, &MetadataRequest::default().with_topics(Some(vec![nameless])));
    assert!(peer.cluster.violations[0].contains("without a name and an id"));
}

#[test]
fn metadata_is_behind_the_truth() {
    let mut peer = Peer::new(cluster(3), 2);
    peer.cluster.settings.metadata_delay = Duration::from_secs(3);
    let leader = |peer: &mut Peer| {
        let found = peer.ask(11, &MetadataRequest::default().with_topics(None));
        let partition = &found.topics[0].partitions[0];
        (*partition.leader_id, partition.error_code, found.brokers.len())
    };
    peer.cluster.act(Action::Kill { node: 1, keep: Keep::All }, peer.now);
    assert_eq!(leader(&mut peer), (1, 0, 3));
    peer.cluster.advance(Duration::from_secs(1));
    assert_eq!(peer.cluster.leader(TOPIC, 0), Some(2));
    assert_eq!(leader(&mut peer), (1, 0, 3));
    peer.now = Duration::from_secs(3);
    assert_eq!(leader(&mut peer), (2, 0, 2));
    // Without an election nobody leads.
    peer.cluster.settings.metadata_delay = Duration::ZERO;
    peer.cluster.settings.election_delay = Duration::from_secs(9999);
    peer.reconnect(3);
    peer.cluster.act(Action::Kill { node: 2, keep: Keep::All }, peer.now);
    assert_eq!(leader(&mut peer), (-1, 5, 1));
}

#[test]
fn producer_ids_are_given_out_once_in_blocks_per_node() {
    let mut peer = Peer::new(cluster(2), 1);
    let id = |peer: &mut Peer, version| {
        let found = peer.ask(version, &init());
        assert_eq!((found.error_code, found.producer_epoch), (0, 0));
        *found.producer_id
    };
    assert_eq!([2, 3, 4, 5].map(|version| id(&mut peer, version)), [0, 1, 2, 3]);
    peer.reconnect(2);
    assert_eq!(id(&mut peer, 4), 1000);
    peer.reconnect(1);
    for expected in 4..1000 {
        assert_eq!(id(&mut peer, 4), expected);
    }
    for expected in 2000..3000 {
        assert_eq!(id(&mut peer, 4), expected);
    }
    assert_eq!(id(&mut peer, 4), 3000);
    // The codec's default; a broker refuses it.
    let found = peer.ask(4, &InitProducerIdRequest::default());
    assert_eq!((found.error_code, *found.producer_id), (42, -1));
    assert!(peer.cluster.violations[0].contains("empty transactional id"));
    let named = InitProducerIdRequest::default().with_transactional_id(Some(string("x").into()));
    peer.send(4, &named);
    assert_eq!(peer.next(), [Delivery::Closed]);
    assert!(peer.cluster.violations[1].contains("transactional"));
}

#[test]
fn settings_are_described() {
    let mut peer = peer();
    let (topic, name) = (TOPIC.into(), "retention.ms".into());
    peer.cluster.at(peer.now, Action::Configure { topic, name, value: "1000".into() });
    let mut described = |kind, name: &str, keys: Option<&[&str]>| {
        let keys = keys.map(|keys| keys.iter().map(|key| string(key)).collect());
        let resource = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(string(name))
            .with_configuration_keys(keys);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let mut found = None;
        for version in 1..=4 {
            let result = peer.ask(version, &request).results.remove(0);
            let configs = result.configs.iter().map(|config| {
                let value = config.value.as_ref().unwrap().to_string();
                (config.name.to_string(), value, config.config_source)
            });
            let answer = (result.error_code, configs.collect::<Vec<_>>());
            assert_eq!(*found.get_or_insert(answer.clone()), answer);
        }
        found.unwrap()
    };
    let one = described(2, TOPIC, Some(&["retention.ms", "no.such"]));
    assert_eq!(one, (0, vec![("retention.ms".into(), "1000".into(), 1)]));
    let (code, all) = described(2, TOPIC, None);
    assert_eq!(code, 0);
    let default = ("max.message.bytes".into(), "1048588".into(), 5);
    assert!(all.contains(&default));
    let expiry = described(4, "1", Some(&["producer.id.expiration.ms"]));
    assert_eq!(expiry.1[0].1, "86400000");
    assert_eq!(described(2, "none", None).0, 3);
    assert_eq!(described(4, "2", None).0, 42);
    assert_eq!(described(4, "", None), (0, vec![]));
}

#[test]
fn topics_are_created_or_refused() {
    let mut peer = Peer::new(cluster(2), 1);
    let topic = |name: &str, partitions, factor| {
        CreatableTopic::default()
            .with_name(string(name).into())
            .with_num_partitions(partitions)
            .with_replication_factor(factor)
    };
    let config = |name: &str| {
        let config = CreatableTopicConfig::default().with_name(string(name));
        config.with_value(Some(string("1000")))
    };
    let mut create = |version, topic: CreatableTopic| {
        let request = CreateTopicsRequest::default().with_timeout_ms(1000).with_topics(vec![topic]);
        let result = peer.ask(version, &request).topics.remove(0);
        (result.error_code, result.num_partitions, result.topic_id.is_nil())
    };
    assert_eq!(create(7, topic("a", 3, 2)), (0, 3, false));
    assert_eq!(create(5, topic("b", -1, -1)), (0, 1, true));
    assert_eq!(create(6, topic("a", 1, 1)).0, 36);
    assert_eq!(create(7, topic("a b", 1, 1)).0, 17);
    assert_eq!(create(7, topic("c", 0, 1)).0, 37);
    assert_eq!(create(7, topic("c", 1, 3)).0, 38);
    let wrong = topic("c", 1, 1).with_configs(vec![config("no.such")]);
    assert_eq!(create(7, wrong).0, 40);
    let right = topic("c", 1, 1).with_configs(vec![config("retention.ms")]);
    assert_eq!(create(7, right).0, 0);
    assert_eq!(peer.cluster.leader("a", 1), Some(2));
    // Checked only, and before KRaft by the controller alone.
    let checked = CreateTopicsRequest::default().with_validate_only(true);
    let checked = checked.with_topics(vec![topic("d", 1, 1)]);
    for _ in 0..2 {
        assert_eq!(peer.ask(7, &checked).topics[0].error_code, 0);
    }
    peer.cluster.settings.like_2_8();
    peer.reconnect(2);
    assert_eq!(peer.ask(7, &checked).topics[0].error_code, 41);
}

fn log_in(peer: &mut Peer, mechanism: &str, word: &str) -> (i16, i16) {
    let request = SaslHandshakeRequest::default().with_mechanism(string(mechanism));
    let chosen = peer.ask(1, &request);
    let bytes = format!("\0device\0{word}").into_bytes();
    let request = SaslAuthenticateRequest::default().with_auth_bytes(bytes.into());
    let done = peer.ask(2, &request);
    (chosen.error_code, done.error_code)
}

fn with_login() -> Peer {
    let mut cluster = cluster(1);
    cluster.settings.sasl = Some(("device".into(), "right".into()));
    Peer::new(cluster, 1)
}

#[test]
fn clients_log_in_before_anything_else() {
    let mut peer = with_login();
    assert_eq!(peer.ask(3, &versions(3)).error_code, 0);
    assert_eq!(log_in(&mut peer, "PLAIN", "right"), (0, 0));
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    peer.reconnect(1);
    assert_eq!(log_in(&mut peer, "PLAIN", "wrong"), (0, 58));
    assert_eq!(peer.next(), [Delivery::Closed]);
    peer.reconnect(1);
    let other = SaslHandshakeRequest::default().with_mechanism(string("SCRAM-SHA-256"));
    let answer = peer.ask(1, &other);
    assert_eq!((answer.error_code, &*answer.mechanisms[0]), (33, "PLAIN"));
    assert_eq!(peer.next(), [Delivery::Closed]);
    peer.cluster.assert_no_violations();
    peer.reconnect(1);
    peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
    assert_eq!(peer.next(), [Delivery::Closed]);
    assert!(peer.cluster.violations[0].contains("API 0 in state None of the login"));
    assert_eq!(peer.cluster.log_end(TOPIC, 0), 1);
}

/// As 4.3.1 was seen to answer each of these.
#[test]
fn a_login_has_its_order() {
    let handshake = SaslHandshakeRequest::default().with_mechanism(string("PLAIN"));
    let right = SaslAuthenticateRequest::default().with_auth_bytes(b"\0device\0right"[..].into());
    let mut peer = with_login();
    peer.send(2, &right);
    assert_eq!(peer.next(), [Delivery::Closed]);
    let mut peer = with_login();
    assert_eq!(peer.ask(1, &handshake).error_code, 0);
    assert_eq!(peer.ask(3, &versions(3)).error_code, 34);
    assert_eq!(peer.cluster.violations.len(), 1);
    peer.send(12, &MetadataRequest::default());
    assert_eq!(peer.next(), [Delivery::Closed]);
    assert_eq!(peer.cluster.violations.len(), 2);
    let mut peer = with_login();
    assert_eq!(log_in(&mut peer, "PLAIN", "right"), (0, 0));
    peer.cluster.assert_no_violations();
    assert_eq!(peer.ask(2, &right).error_code, 34);
    assert_eq!(peer.cluster.violations.len(), 1);
    assert_eq!(log_in(&mut peer, "PLAIN", "right"), (0, 0));
    // Where nobody logs in.
    let mut peer = self::peer();
    assert_eq!(peer.ask(1, &handshake).error_code, 34);
    peer.cluster.assert_no_violations();
}

#[test]
fn a_login_runs_out_and_can_be_made_again() {
    let mut peer = with_login();
    peer.cluster.settings.session_lifetime = Some(Duration::from_secs(60));
    assert_eq!(log_in(&mut peer, "PLAIN", "right"), (0, 0));
    peer.now += Duration::from_secs(59);
    assert_eq!(log_in(&mut peer, "PLAIN", "right"), (0, 0));
    peer.now += Duration::from_secs(59);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    peer.now += Duration::from_secs(2);
    peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
    assert_eq!(peer.next(), [Delivery::Closed]);
    peer.cluster.assert_no_violations();
    // A new login is taken after the time, too.
    peer.reconnect(1);
    assert_eq!(log_in(&mut peer, "PLAIN", "right"), (0, 0));
    peer.now += Duration::from_secs(61);
    assert_eq!(log_in(&mut peer, "PLAIN", "right"), (0, 0));
    assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (0, 1));
}

/// Each API shows the code that a fault sets, where its answer has room for one.
#[test]
fn any_api_answers_with_any_code() {
    let mut peer = peer();
    for api in [
        ApiKey::Metadata,
        ApiKey::InitProducerId,
        ApiKey::DescribeProducers,
        ApiKey::DescribeConfigs,
        ApiKey::CreateTopics,
        ApiKey::SaslHandshake,
    ] {
        peer.cluster.fault(api, When::From(1), Fault::Error(29));
    }
    let found = peer.ask(12, &MetadataRequest::default().with_topics(None));
    assert_eq!(found.topics[0].error_code, 29);
    let found = peer.ask(4, &init());
    assert_eq!((found.error_code, *found.producer_id), (29, -1));
    let resource = DescribeConfigsResource::default().with_resource_type(2);
    let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
    assert_eq!(peer.ask(4, &request).results[0].error_code, 29);
    let topic = CreatableTopic::default().with_name(string("new").into()).with_num_partitions(1);
    let topic = topic.with_replication_factor(1);
    let request = CreateTopicsRequest::default().with_topics(vec![topic]);
    assert_eq!(peer.ask(7, &request).topics[0].error_code, 29);
    assert_eq!(peer.ask(1, &SaslHandshakeRequest::default()).error_code, 29);
    peer.cluster.fault(ApiKey::Metadata, When::From(1), Fault::Error(5));
    peer.cluster.clear_faults();
    peer.cluster.fault(ApiKey::Metadata, When::Nth(1), Fault::Error(5));
    let found = peer.ask(12, &MetadataRequest::default().with_topics(None));
    assert_eq!((found.topics.len(), found.topics[0].error_code), (1, 0));
    let partition = &found.topics[0].partitions[0];
    assert_eq!((partition.error_code, *partition.leader_id), (5, -1));
}
