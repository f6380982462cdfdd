//! Many faults at once, met by the smallest client that ships each record once, and by one that
//! does not: the cluster tells the two apart, and is itself no source of loss or doubles.

use std::time::Duration;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiKey, DescribeProducersRequest, ProduceRequest, ResponseHeader};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};

use super::bytes::batch;
use super::peer::{TOPIC, frame, string};
use crate::fake::{Action, Cluster, ConnectionId, Delivery, Fault, Garbage, Keep, When};

const RECORDS: i32 = 60;
const PATIENCE: Duration = Duration::from_millis(400);

/// One record a batch, one batch on its way.
struct Client {
    cluster: Cluster,
    now: Duration,
    asked: i32,
    id: i64,
    /// Asks the leader what it has, and goes on behind that. If not, it begins behind the last
    /// acknowledgement under a new id, as a producer does that remembers nothing.
    asks: bool,
    /// What was acknowledged. The sequence of a record is its number less `base`.
    done: i32,
    base: i32,
}

impl Client {
    fn new(seed: u64, asks: bool) -> Client {
        let mut cluster = Cluster::new(3, seed);
        cluster.create_topic(TOPIC, 1, &[]);
        cluster.settings.replication = Some(Duration::from_millis(5));
        Client { cluster, now: Duration::ZERO, asked: 0, id: 0, asks, done: 0, base: 0 }
    }

    /// Until all is acknowledged.
    fn run(&mut self) {
        for _ in 0..3000 {
            if self.done == RECORDS {
                return;
            }
            self.now += Duration::from_millis(20);
            self.cluster.advance(self.now);
            let Some(leader) = self.cluster.leader(TOPIC, 0) else { continue };
            let Some(connection) = self.cluster.connect(leader, self.now) else { continue };
            // On every connection anew, for what was in doubt may have been lost with a leader.
            self.ship(connection);
            self.cluster.disconnect(connection);
        }
        panic!("{} of {RECORDS} at {:?}", self.done, self.now);
    }

    /// As long as all goes well.
    fn ship(&mut self, connection: ConnectionId) -> Option<()> {
        let mut next = if self.asks {
            let last = self.last_sequence(connection)?;
            // What the leader has may not be replicated yet: the answer for the last of it, sent
            // again, says when all of it is.
            if last >= self.done { last } else { last + 1 }
        } else {
            (self.id, self.base) = (self.id + 1, self.done);
            self.done
        };
        while next < RECORDS {
            let value = next.to_string();
            let records = batch(self.id, 0, next - self.base, &[&value]);
            let data = PartitionProduceData::default().with_records(Some(records.into()));
            let topic = TopicProduceData::default().with_name(string(TOPIC).into());
            let request = ProduceRequest::default()
                .with_acks(-1)
                .with_timeout_ms(300)
                .with_topic_data(vec![topic.with_partition_data(vec![data])]);
            let response = self.ask(connection, 9, &request)?;
            let found = response.responses.first()?.partition_responses.first()?;
            if found.error_code != 0 {
                return None;
            }
            next += 1;
            self.done = next;
        }
        Some(())
    }

    fn last_sequence(&mut self, connection: ConnectionId) -> Option<i32> {
        let topic = TopicRequest::default().with_name(string(TOPIC).into());
        let topic = topic.with_partition_indexes(vec![0]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let response = self.ask(connection, 0, &request)?;
        let found = response.topics.first()?.partitions.first()?;
        if found.error_code != 0 {
            return None;
        }
        let own = found.active_producers.iter().find(|state| *state.producer_id == self.id);
        Some(own.map_or(-1, |state| state.last_sequence))
    }

    /// The answer, if it comes in time and whole; anything else is the end of the connection.
    fn ask<R: Request>(
        &mut self,
        connection: ConnectionId,
        version: i16,
        request: &R,
    ) -> Option<R::Response> {
        self.asked += 1;
        let frame = frame(version, self.asked, request);
        self.cluster.request(connection, &frame, self.now);
        let deadline = self.now + PATIENCE;
        loop {
            let due = self.cluster.next_due(connection).filter(|due| *due <= deadline);
            let Some(due) = due else {
                self.now = deadline;
                return None;
            };
            self.now = self.now.max(due);
            let Some(delivery) = self.cluster.deliver(connection, self.now).into_iter().next()
            else {
                continue;
            };
            let Delivery::Frame(frame) = delivery else { return None };
            let mut rest = &frame[..];
            let header_version = <R::Response as HeaderVersion>::header_version(version);
            let header = ResponseHeader::decode(&mut rest, header_version).ok()?;
            let response = R::Response::decode(&mut rest, version).ok()?;
            return (header.correlation_id == self.asked && rest.is_empty()).then_some(response);
        }
    }
}

fn plan(cluster: &mut Cluster) {
    let ms = Duration::from_millis;
    let moved = || Action::MoveLeader {
        topic: TOPIC.into(),
        partition: 0,
        to: None,
        keep: Keep::Replicated,
    };
    for fault in [
        Fault::DropBefore { close: true },
        Fault::DropBefore { close: false },
        Fault::DropAfter { close: true },
        Fault::DropAfter { close: false },
        Fault::Land(ms(90)),
        Fault::Late(ms(600)),
        Fault::Overtaken(ms(30)),
        Fault::Twice(ms(10)),
        Fault::Cut(17),
        Fault::Truncate(4),
        Fault::Padded(4),
        Fault::Correlation(-1),
        Fault::Garbage(Garbage::Random(20)),
        Fault::Error(19),
        Fault::ErrorAfter(20),
        Fault::ErrorAfter(7),
        Fault::Before(moved()),
        Fault::After(moved()),
    ] {
        cluster.fault(ApiKey::Produce, When::PerMille(25), fault.clone());
        cluster.fault(ApiKey::DescribeProducers, When::PerMille(10), fault);
    }
    for (node, second) in [(1, 1), (2, 3), (3, 5), (1, 7)] {
        let at = Duration::from_secs(second);
        cluster.at(at, Action::Kill { node, keep: Keep::Replicated });
        cluster.at(at + ms(1500), Action::Restart { node });
    }
}

fn shipped(seed: u64, asks: bool) -> Client {
    let mut client = Client::new(seed, asks);
    plan(&mut client.cluster);
    client.run();
    // What is still under way lands, and what landed is replicated.
    client.cluster.clear_faults();
    client.cluster.advance(client.now + Duration::from_secs(30));
    client
}

fn values() -> Vec<String> {
    (0..RECORDS).map(|n| n.to_string()).collect()
}

#[test]
fn a_client_that_asks_the_leader_ships_each_record_once() {
    let mut met = Vec::new();
    for seed in 0..200 {
        let client = shipped(seed, true);
        client.cluster.assert_no_violations();
        client.cluster.assert_exactly_once(TOPIC, 0, &values());
        met.extend(client.cluster.fired.iter().map(|(api, _, fault)| (*api, format!("{fault:?}"))));
    }
    met.sort();
    met.dedup();
    assert_eq!(met.len(), 2 * 18, "each fault was met by each of both requests");
}

/// The cluster sees the difference.
#[test]
fn a_client_that_remembers_nothing_doubles_records() {
    let doubled = (0..50).filter(|seed| {
        let client = shipped(*seed, false);
        client.cluster.assert_no_violations();
        let rows = client.cluster.records(TOPIC, 0);
        let mut found: Vec<_> = rows.iter().map(|row| row.value.clone()).collect();
        found.sort();
        found.dedup();
        assert_eq!(found.len(), RECORDS as usize, "nothing is lost");
        rows.len() > found.len()
    });
    assert!(doubled.count() > 40);
}
