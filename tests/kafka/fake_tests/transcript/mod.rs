//! The cluster in memory answers as real brokers did: the same probes, and what those said.
//!
//! The texts beside this file were recorded from Apache Kafka 4.3.1 and 3.9.1, one node each. With
//! `KAFKA_ADDRESS=127.0.0.1:9092 KAFKA_VERSION=4.3.1` the broker at that address is asked as well,
//! and with `KAFKA_RECORD=FILE` its answers are written down.

mod batches;
mod logs;
mod others;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::produce_response::PartitionProduceResponse;
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, ProduceRequest};
use kafka_protocol::protocol::Request;

use super::bytes::{NOW_MS, Parts};
use super::peer::{answer, frame, string};
use crate::fake::{Cluster, ConnectionId, Delivery};

enum Wire {
    Memory { cluster: Box<Cluster>, connection: ConnectionId, now: Duration },
    Tcp { stream: TcpStream, address: String },
}

impl Wire {
    fn memory(old: bool) -> Wire {
        let mut cluster = Cluster::new(1, 1);
        if old {
            cluster.settings.like_2_8();
            // Between the two: 3.9 has newer versions and no limit on the future.
            for (api, highest) in [
                (ApiKey::Produce, 11),
                (ApiKey::Metadata, 12),
                (ApiKey::Fetch, 13),
                (ApiKey::ListOffsets, 8),
            ] {
                cluster.settings.offer(api, Some(highest));
            }
        }
        let connection = cluster.connect(1, Duration::ZERO).unwrap();
        Wire::Memory { cluster: Box::new(cluster), connection, now: Duration::ZERO }
    }

    fn tcp(address: &str) -> Wire {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Wire::Tcp { stream, address: address.into() }
    }

    /// A frame for a frame; None if the broker closes, and then on a new connection.
    fn exchange(&mut self, frame: &[u8]) -> Option<Vec<u8>> {
        match self {
            Wire::Memory { cluster, connection, now } => {
                cluster.request(*connection, frame, *now);
                loop {
                    *now = cluster.next_due(*connection).unwrap().max(*now);
                    match cluster.deliver(*connection, *now).pop() {
                        Some(Delivery::Frame(frame)) => return Some(frame),
                        Some(_) => {
                            *connection = cluster.connect(1, *now).unwrap();
                            return None;
                        }
                        None => {}
                    }
                }
            }
            Wire::Tcp { stream, address } => {
                stream.write_all(&(frame.len() as u32).to_be_bytes()).unwrap();
                stream.write_all(frame).unwrap();
                let mut length = [0; 4];
                if stream.read_exact(&mut length).is_err() {
                    *stream = TcpStream::connect(&*address).unwrap();
                    return None;
                }
                let mut frame = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut frame).unwrap();
                Some(frame)
            }
        }
    }
}

/// Asks, and writes down what was said.
struct Scribe {
    wire: Wire,
    wall_ms: i64,
    asked: i32,
    topics: u32,
    lines: Vec<String>,
}

impl Scribe {
    fn new(wire: Wire) -> Scribe {
        let wall_ms = match &wire {
            Wire::Memory { cluster, .. } => cluster.settings.wall_ms,
            Wire::Tcp { .. } => {
                SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
            }
        };
        Scribe { wire, wall_ms, asked: 0, topics: 0, lines: Vec::new() }
    }

    fn ask<R: Request>(&mut self, version: i16, request: &R) -> Option<R::Response> {
        self.asked += 1;
        let frame = frame(version, self.asked, request);
        let (correlation, response) = answer::<R>(version, &self.wire.exchange(&frame)?);
        assert_eq!(correlation, self.asked);
        Some(response)
    }

    /// A new topic, whose old records stay.
    fn topic(&mut self, configs: &[(&str, &str)]) -> String {
        self.topics += 1;
        let name = format!("probe-{}-{}", std::process::id(), self.topics);
        let configs = [("retention.ms", "-1")].iter().chain(configs).map(|(name, value)| {
            CreatableTopicConfig::default().with_name(string(name)).with_value(Some(string(value)))
        });
        let topic = CreatableTopic::default()
            .with_name(string(&name).into())
            .with_num_partitions(1)
            .with_replication_factor(1)
            .with_configs(configs.collect());
        let request = CreateTopicsRequest::default().with_timeout_ms(5000).with_topics(vec![topic]);
        let response = self.ask(7, &request).unwrap();
        assert_eq!(response.topics[0].error_code, 0);
        if let Wire::Tcp { .. } = self.wire {
            // The node has yet to hear of it from the controller.
            std::thread::sleep(Duration::from_millis(300));
        }
        name
    }

    fn produce(
        &mut self,
        topic: &str,
        version: i16,
        records: Vec<u8>,
    ) -> Option<PartitionProduceResponse> {
        let data = PartitionProduceData::default().with_records(Some(records.into()));
        let topic = TopicProduceData::default().with_name(string(topic).into());
        let request = ProduceRequest::default()
            .with_acks(-1)
            .with_timeout_ms(5000)
            .with_topic_data(vec![topic.with_partition_data(vec![data])]);
        let mut response = self.ask(version, &request)?;
        Some(response.responses.remove(0).partition_responses.remove(0))
    }

    /// One batch to a topic of its own.
    fn batch(&mut self, what: &str, change: impl FnOnce(&mut Parts)) {
        let topic = self.topic(&[]);
        let mut parts = Parts::new(5, 0, 0, &["a", "b"]);
        change(&mut parts);
        self.sent(what, &topic, 9, parts.bytes());
    }

    fn sent(&mut self, what: &str, topic: &str, version: i16, records: Vec<u8>) {
        let said = self.produce(topic, version, records).map_or("closed".into(), |found| {
            let wrong: Vec<_> = found.record_errors.iter().map(|one| one.batch_index).collect();
            format!(
                "code {} offset {} append time {} start {} wrong {wrong:?} said {}",
                found.error_code,
                found.base_offset,
                // The broker's clock is nobody's business.
                found.log_append_time_ms.min(0),
                found.log_start_offset,
                found.error_message.is_some() && !wrong.is_empty()
            )
        });
        self.say(what, said);
    }

    fn say(&mut self, what: &str, said: impl std::fmt::Display) {
        self.lines.push(format!("{what}: {said}"));
    }
}

fn transcript(wire: Wire) -> Vec<String> {
    let mut scribe = Scribe::new(wire);
    batches::probes(&mut scribe);
    logs::probes(&mut scribe);
    others::probes(&mut scribe);
    scribe.lines
}

fn assert_same(recorded: &str, found: &[String]) {
    let recorded: Vec<_> = recorded.lines().collect();
    let differ = recorded.iter().zip(found).filter(|(one, other)| *one != other);
    let differ: Vec<_> = differ.map(|(one, other)| format!("{one}\n    here {other}")).collect();
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
    assert_eq!(recorded.len(), found.len());
}

const RECORDED_4_3_1: &str = include_str!("kafka-4.3.1.txt");
const RECORDED_3_9_1: &str = include_str!("kafka-3.9.1.txt");

#[test]
fn the_cluster_answers_as_recorded() {
    assert_eq!(NOW_MS, Cluster::new(1, 1).settings.wall_ms);
    if let Ok(address) = std::env::var("KAFKA_ADDRESS") {
        let found = transcript(Wire::tcp(&address));
        if let Ok(file) = std::env::var("KAFKA_RECORD") {
            std::fs::write(file, found.join("\n") + "\n").unwrap();
            return;
        }
        match std::env::var("KAFKA_VERSION").as_deref() {
            Ok("3.9.1") => assert_same(RECORDED_3_9_1, &found),
            _ => assert_same(RECORDED_4_3_1, &found),
        }
    }
    assert_same(RECORDED_4_3_1, &transcript(Wire::memory(false)));
    assert_same(RECORDED_3_9_1, &transcript(Wire::memory(true)));
}
