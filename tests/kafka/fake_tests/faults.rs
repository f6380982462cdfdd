//! Every fault, as a client sees it.

use std::time::Duration;

use kafka_protocol::messages::{ApiKey, MetadataRequest, ProduceRequest};

use super::bytes::batch;
use super::peer::{Peer, TOPIC, answer, cluster, init, peer, produced, versions};
use crate::fake::{Action, Delivery, Fault, Garbage, Keep, When};

const PRODUCE: ApiKey = ApiKey::Produce;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A peer whose first Produce meets this.
fn met(fault: Fault) -> Peer {
    let mut peer = peer();
    peer.cluster.fault(PRODUCE, When::Nth(1), fault.clone());
    peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
    assert_eq!(peer.cluster.fired, [(0, 1, fault)]);
    peer
}

fn end(peer: &Peer) -> i64 {
    peer.cluster.log_end(TOPIC, 0)
}

#[test]
fn a_request_is_lost_before_or_after_the_append() {
    for (fault, expected, appended) in [
        (Fault::DropBefore { close: true }, vec![Delivery::Closed], 0),
        (Fault::DropBefore { close: false }, vec![], 0),
        (Fault::DropAfter { close: true }, vec![Delivery::Closed], 1),
        (Fault::DropAfter { close: false }, vec![], 1),
    ] {
        let mut peer = met(fault);
        assert_eq!(peer.next(), expected);
        assert_eq!(end(&peer), appended);
        peer.reconnect(1);
        assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
        peer.cluster.assert_exactly_once(TOPIC, 0, &["a"]);
        peer.cluster.assert_no_violations();
    }
}

/// What was silently lost is not made up for by the answers behind it.
#[test]
fn a_lost_request_leaves_the_ones_behind_it_out_of_order() {
    let mut peer = met(Fault::DropBefore { close: false });
    assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (0, 0));
    let mut peer = peer_with_state();
    peer.cluster.fault(PRODUCE, When::Nth(1), Fault::DropBefore { close: false });
    peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
    assert_eq!(peer.produce(batch(5, 0, 2, &["c"])), (45, -1));
}

fn peer_with_state() -> Peer {
    let mut peer = peer();
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    peer
}

/// The request of a connection that is gone still lands, behind its repetition.
#[test]
fn a_request_lands_late() {
    let mut peer = met(Fault::Land(ms(100)));
    peer.cluster.disconnect(peer.connection);
    peer.connection = peer.cluster.connect(1, peer.now).unwrap();
    assert_eq!(end(&peer), 0);
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
    peer.cluster.advance(ms(99));
    assert_eq!(peer.cluster.next_work(), Some(ms(100)));
    peer.cluster.advance(ms(100));
    peer.cluster.assert_exactly_once(TOPIC, 0, &["a"]);
    // Without the repetition, it is the one that counts.
    let mut peer = met(Fault::Land(ms(100)));
    peer.cluster.disconnect(peer.connection);
    peer.cluster.advance(ms(99));
    assert_eq!(end(&peer), 0);
    peer.cluster.advance(ms(100));
    assert_eq!(end(&peer), 1);
}

#[test]
fn a_request_does_not_land_on_a_dead_node() {
    let mut peer = met(Fault::Land(ms(100)));
    peer.cluster.act(Action::Kill { node: 1, keep: Keep::All }, ms(50));
    peer.cluster.advance(ms(200));
    assert_eq!(end(&peer), 0);
    assert_eq!(peer.cluster.refusals, []);
}

#[test]
fn a_closed_connection_brings_no_answer_that_was_not_due() {
    let mut peer = met(Fault::Late(ms(500)));
    peer.cluster.fault(PRODUCE, When::Nth(1), Fault::DropBefore { close: true });
    peer.now = ms(100);
    peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
    assert_eq!(peer.next(), [Delivery::Closed]);
    // Not even one that was due, if the client had not fetched it when the node closed.
    let mut peer = met(Fault::Correlation(0));
    peer.cluster.act(Action::CloseConnections { node: 1 }, ms(400));
    peer.now = ms(400);
    assert_eq!(peer.next(), [Delivery::Closed]);
}

#[test]
fn an_answer_comes_late_and_holds_up_those_behind_it() {
    let mut peer = met(Fault::Late(ms(500)));
    peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
    let delivered = peer.next();
    assert_eq!(peer.now, ms(503));
    assert_eq!(offsets(&delivered), [0, 1]);
}

fn offsets(delivered: &[Delivery]) -> Vec<i64> {
    let frames = delivered.iter().map(|delivery| match delivery {
        Delivery::Frame(frame) => produced(frame).1,
        other => panic!("{other:?}"),
    });
    frames.collect()
}

#[test]
fn an_answer_is_overtaken() {
    let mut peer = met(Fault::Overtaken(ms(500)));
    peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
    assert_eq!(offsets(&peer.next()), [1]);
    assert_eq!(offsets(&peer.next()), [0]);
    assert_eq!(peer.now, ms(503));
}

#[test]
fn an_answer_comes_twice() {
    let mut peer = met(Fault::Twice(ms(50)));
    let first = peer.next();
    assert_eq!(offsets(&first), [0]);
    assert_eq!(peer.next(), first);
    assert_eq!(peer.now, ms(53));
    assert_eq!(peer.next(), []);
    // What is asked meanwhile is answered meanwhile.
    let mut peer = met(Fault::Twice(ms(50)));
    assert_eq!(peer.next(), first);
    assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (0, 1));
    assert_eq!(peer.next(), first);
}

#[test]
fn a_connection_closes_at_every_byte_of_an_answer() {
    let mut whole = met(Fault::Correlation(0));
    let Delivery::Frame(frame) = whole.next().remove(0) else { panic!("no frame") };
    let sent = [&(frame.len() as u32).to_be_bytes()[..], &frame].concat();
    for length in 0..sent.len() {
        let mut peer = met(Fault::Cut(length));
        assert_eq!(
            peer.next(),
            [Delivery::Raw(sent[..length].to_vec()), Delivery::Closed],
            "{length} bytes"
        );
        assert_eq!(end(&peer), 1);
    }
}

#[test]
fn a_body_is_too_short_or_too_long() {
    let mut whole = met(Fault::Correlation(0));
    let Delivery::Frame(frame) = whole.next().remove(0) else { panic!("no frame") };
    let short = Delivery::Frame(frame[..frame.len() - 3].to_vec());
    assert_eq!(met(Fault::Truncate(3)).next(), [short]);
    let long = Delivery::Frame([&frame[..], &[0; 3]].concat());
    assert_eq!(met(Fault::Padded(3)).next(), [long]);
}

#[test]
fn an_answer_names_another_request() {
    let mut peer = met(Fault::Correlation(7));
    let delivered = peer.next();
    let [Delivery::Frame(frame)] = &delivered[..] else { panic!("{delivered:?}") };
    assert_eq!(answer::<ProduceRequest>(9, frame).0, 101 + 7);
}

#[test]
fn garbage_comes_in_place_of_an_answer() {
    let garbage = |garbage| {
        let delivered = met(Fault::Garbage(garbage)).next();
        let [Delivery::Raw(bytes)] = &delivered[..] else { panic!("{delivered:?}") };
        bytes.clone()
    };
    let random = garbage(Garbage::Random(33));
    assert_eq!(random.len(), 33);
    assert_eq!(garbage(Garbage::Random(33)), random, "the seed decides");
    assert_eq!(garbage(Garbage::LengthZero), [0; 4]);
    assert!(garbage(Garbage::LengthNegative)[0] >= 0x80);
    assert_eq!(garbage(Garbage::LengthHuge)[..4], i32::MAX.to_be_bytes());
}

#[test]
fn the_nth_is_answered_with_a_code_appended_or_not() {
    for (fault, appended) in [(Fault::Error(19), 0), (Fault::ErrorAfter(20), 1)] {
        let mut peer = peer();
        peer.cluster.fault(PRODUCE, When::Nth(2), fault.clone());
        assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
        let (Fault::Error(code) | Fault::ErrorAfter(code)) = fault else { panic!("{fault:?}") };
        let offset = if appended == 1 { 1 } else { -1 };
        assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (code, offset));
        assert_eq!(end(&peer), 1 + appended);
        assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (0, 1));
        peer.cluster.assert_exactly_once(TOPIC, 0, &["a", "b"]);
        assert_eq!(peer.cluster.refusals, []);
    }
}

#[test]
fn every_one_from_the_nth_on_until_the_faults_are_cleared() {
    let mut peer = peer();
    peer.cluster.fault(ApiKey::InitProducerId, When::From(2), Fault::Error(14));
    let request = init();
    let codes = |peer: &mut Peer| peer.ask(4, &request).error_code;
    assert_eq!([codes(&mut peer), codes(&mut peer), codes(&mut peer)], [0, 14, 14]);
    peer.cluster.clear_faults();
    assert_eq!(codes(&mut peer), 0);
}

#[test]
fn chance_is_the_seed_s() {
    let codes = |seed| {
        let mut cluster = crate::fake::Cluster::new(1, seed);
        cluster.create_topic(TOPIC, 1, &[]);
        cluster.fault(PRODUCE, When::PerMille(300), Fault::Error(7));
        let mut peer = Peer::new(cluster, 1);
        (0..200).map(|_| peer.produce(batch(5, 0, 0, &["a"])).0).collect::<Vec<_>>()
    };
    assert_eq!(codes(1), codes(1));
    assert_ne!(codes(1), codes(2));
    let met = codes(1).iter().filter(|code| **code == 7).count();
    assert!((30..90).contains(&met), "{met} of 200");
}

/// The broker answers at once and reads nothing before the time is over.
#[test]
fn a_client_is_asked_to_wait() {
    let mut peer = met(Fault::Throttle(ms(1000)));
    let delivered = peer.next();
    let [Delivery::Frame(frame)] = &delivered[..] else { panic!("{delivered:?}") };
    assert_eq!(answer::<ProduceRequest>(9, frame).1.throttle_time_ms, 1000);
    assert_eq!(peer.cluster.impatient, 0);
    assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (0, 1));
    assert_eq!(peer.now, ms(1006));
    assert_eq!(peer.cluster.impatient, 1);
    assert_eq!(peer.produce(batch(5, 0, 2, &["c"])), (0, 2));
    assert_eq!(peer.cluster.impatient, 1);
}

#[test]
fn a_leader_moves_in_front_of_a_request_or_behind_it() {
    let moved =
        || Action::MoveLeader { topic: TOPIC.into(), partition: 0, to: None, keep: Keep::All };
    for (fault, appended) in [(Fault::Before(moved()), 0), (Fault::After(moved()), 1)] {
        let mut peer = Peer::new(cluster(2), 1);
        peer.cluster.fault(PRODUCE, When::Nth(1), fault);
        // What was appended has an offset, and no promise.
        assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (6, appended - 1));
        assert_eq!(end(&peer), appended);
        assert_eq!(peer.cluster.leader(TOPIC, 0), Some(2));
        peer.reconnect(2);
        assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 0));
        peer.cluster.assert_exactly_once(TOPIC, 0, &["a"]);
    }
}

#[test]
fn a_node_dies_in_front_of_a_request_or_behind_it() {
    let kill = || Action::Kill { node: 1, keep: Keep::All };
    for (fault, appended) in [(Fault::Before(kill()), 0), (Fault::After(kill()), 1)] {
        let mut peer = met(fault);
        assert_eq!(peer.next(), [Delivery::Closed]);
        assert_eq!(end(&peer), appended);
    }
    let mut peer = peer();
    peer.cluster.at(ms(10), kill());
    peer.cluster.at(ms(20), Action::Restart { node: 1 });
    assert_eq!(peer.cluster.connect(1, ms(10)), None);
    assert!(peer.cluster.connect(1, ms(20)).is_some());
}

#[test]
fn connections_close_while_the_node_lives() {
    let mut peer = peer();
    peer.send_produce(9, 0, batch(5, 0, 0, &["a"]));
    peer.cluster.act(Action::CloseConnections { node: 1 }, peer.now);
    // Sent before the client knows: its bytes are lost, and that is nobody's fault.
    peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
    peer.cluster.request(peer.connection, b"garbage", peer.now);
    peer.cluster.assert_no_violations();
    assert_eq!(peer.next(), [Delivery::Closed]);
    peer.send_produce(9, 0, batch(5, 0, 1, &["b"]));
    assert!(peer.cluster.violations[0].contains("was closed"));
    assert_eq!(end(&peer), 1);
}

#[test]
fn a_topic_is_deleted_and_created_anew_with_another_id() {
    let mut peer = peer_with_state();
    let old = peer.produce_request(13, &[(0, batch(5, 0, 1, &["b"]))]);
    peer.cluster.act(Action::Delete { topic: TOPIC.into() }, peer.now);
    assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (3, -1));
    assert_eq!(peer.ask(13, &old).responses[0].partition_responses[0].error_code, 100);
    peer.cluster.create_topic(TOPIC, 1, &[]);
    // By id the old topic is not mistaken for the new one; by name it is.
    assert_eq!(peer.ask(13, &old).responses[0].partition_responses[0].error_code, 100);
    assert_eq!(peer.produce(batch(5, 0, 1, &["b"])), (0, 0));
    peer.cluster.act(Action::Recreate { topic: TOPIC.into() }, peer.now);
    assert_eq!(end(&peer), 0);
    assert_eq!(peer.producers(), []);
}

#[test]
fn a_topic_that_goes_while_an_answer_waits_is_unknown() {
    let mut peer = peer();
    peer.cluster.fault(PRODUCE, When::Nth(1), Fault::After(Action::Delete { topic: TOPIC.into() }));
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (3, 0));
}

#[test]
fn partitions_are_added_and_the_cluster_becomes_another() {
    let mut peer = peer();
    let metadata = |peer: &mut Peer| {
        let response = peer.ask(12, &MetadataRequest::default().with_topics(None));
        let id = response.cluster_id.unwrap().to_string();
        (response.topics[0].partitions.len(), id)
    };
    let (partitions, id) = metadata(&mut peer);
    assert_eq!(partitions, 2);
    peer.cluster.act(Action::Grow { topic: TOPIC.into(), partitions: 5 }, peer.now);
    peer.cluster.act(Action::ClusterId("another".into()), peer.now);
    assert_ne!(id, "another");
    assert_eq!(metadata(&mut peer), (5, "another".into()));
    peer.send_produce(9, 4, batch(5, 0, 0, &["a"]));
    assert_eq!(offsets(&peer.next()), [0]);
    peer.cluster.assert_exactly_once(TOPIC, 4, &["a"]);
}

#[test]
fn api_versions_names_what_nobody_knows() {
    let mut peer = peer();
    peer.cluster.fault(ApiKey::ApiVersions, When::Nth(1), Fault::StrangeVersions);
    let request = versions(3);
    let strange = peer.ask(3, &request).api_keys;
    assert!(strange.iter().any(|one| one.api_key == 30_000));
    assert!(strange.iter().any(|one| one.min_version > one.max_version));
    assert!(strange.len() > peer.ask(3, &request).api_keys.len());
}

#[test]
fn faults_add_up() {
    let mut peer = peer();
    peer.cluster.fault(PRODUCE, When::Nth(1), Fault::Late(ms(10)));
    peer.cluster.fault(PRODUCE, When::Nth(1), Fault::ErrorAfter(7));
    let forgets = Action::ForgetProducers { topic: TOPIC.into() };
    peer.cluster.fault(PRODUCE, When::From(1), Fault::After(forgets));
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (7, 0));
    assert_eq!(peer.now, ms(13));
    // Forgotten, so appended again.
    assert_eq!(peer.produce(batch(5, 0, 0, &["a"])), (0, 1));
}
