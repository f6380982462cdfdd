//! A client of the tests: one connection, one request after another, and time as it likes.

use std::time::Duration;

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, DescribeProducersRequest, InitProducerIdRequest, ProduceRequest,
    RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

use crate::fake::{Cluster, ConnectionId, Delivery};

pub(crate) const TOPIC: &str = "t";

/// A cluster of some nodes with one topic of two partitions.
pub(crate) fn cluster(nodes: usize) -> Cluster {
    let mut cluster = Cluster::new(nodes, 7);
    cluster.create_topic(TOPIC, 2, &[]);
    cluster
}

pub(crate) struct Peer {
    pub(crate) cluster: Cluster,
    pub(crate) connection: ConnectionId,
    pub(crate) now: Duration,
    correlation: i32,
    /// What came together with an answer.
    held: Vec<Delivery>,
}

pub(crate) fn peer() -> Peer {
    Peer::new(cluster(1), 1)
}

pub(crate) fn string(text: &str) -> StrBytes {
    StrBytes::from_string(text.into())
}

/// The bytes of a request.
pub(crate) fn frame<R: Request>(version: i16, correlation: i32, request: &R) -> Vec<u8> {
    let header = RequestHeader::default()
        .with_request_api_key(R::KEY)
        .with_request_api_version(version)
        .with_correlation_id(correlation)
        .with_client_id(Some(string("tests")));
    let mut frame = Vec::new();
    header.encode(&mut frame, R::header_version(version)).unwrap();
    request.encode(&mut frame, version).unwrap();
    frame
}

/// A client says who it is from version 3 on.
pub(crate) fn versions(version: i16) -> ApiVersionsRequest {
    let request = ApiVersionsRequest::default();
    if version < 3 {
        return request;
    }
    let request = request.with_client_software_name(string("tests"));
    request.with_client_software_version(string("1.0"))
}

/// The codec's default is an empty transactional id, not none.
pub(crate) fn init() -> InitProducerIdRequest {
    InitProducerIdRequest::default().with_transactional_id(None)
}

impl Peer {
    pub(crate) fn new(mut cluster: Cluster, node: i32) -> Peer {
        let connection = cluster.connect(node, Duration::ZERO).unwrap();
        Peer { cluster, connection, now: Duration::ZERO, correlation: 100, held: Vec::new() }
    }

    /// A new connection, the old one given up.
    pub(crate) fn reconnect(&mut self, node: i32) {
        self.cluster.disconnect(self.connection);
        self.connection = self.cluster.connect(node, self.now).unwrap();
    }

    /// The bytes of a request under the next correlation id.
    pub(crate) fn frame<R: Request>(&mut self, version: i16, request: &R) -> Vec<u8> {
        self.correlation += 1;
        frame(version, self.correlation, request)
    }

    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) -> i32 {
        let frame = self.frame(version, request);
        self.cluster.request(self.connection, &frame, self.now);
        self.correlation
    }

    /// What comes next, at the time when it does; nothing, if nothing will.
    pub(crate) fn next(&mut self) -> Vec<Delivery> {
        if !self.held.is_empty() {
            return std::mem::take(&mut self.held);
        }
        while let Some(due) = self.cluster.next_due(self.connection) {
            self.now = self.now.max(due);
            let delivered = self.cluster.deliver(self.connection, self.now);
            if !delivered.is_empty() {
                return delivered;
            }
        }
        Vec::new()
    }

    pub(crate) fn ask<R: Request>(&mut self, version: i16, request: &R) -> R::Response {
        let correlation = self.send(version, request);
        let mut delivered = self.next();
        self.held = delivered.split_off(1);
        let [Delivery::Frame(frame)] = &delivered[..] else { panic!("{delivered:?}") };
        let (found, response) = answer::<R>(version, frame);
        assert_eq!(found, correlation);
        response
    }

    pub(crate) fn send_produce(&mut self, version: i16, partition: i32, records: Vec<u8>) -> i32 {
        let request = self.produce_request(version, &[(partition, records)]);
        self.send(version, &request)
    }

    pub(crate) fn produce_request(
        &self,
        version: i16,
        batches: &[(i32, Vec<u8>)],
    ) -> ProduceRequest {
        let data = batches.iter().map(|(partition, records)| {
            let data = PartitionProduceData::default().with_index(*partition);
            data.with_records(Some(records.clone().into()))
        });
        let topic = TopicProduceData::default().with_partition_data(data.collect());
        let topic = if version >= 13 {
            topic.with_topic_id(self.cluster.topic_id(TOPIC))
        } else {
            topic.with_name(string(TOPIC).into())
        };
        ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![topic])
    }

    /// The code and the base offset for the first partition.
    pub(crate) fn produce(&mut self, records: Vec<u8>) -> (i16, i64) {
        self.send_produce(9, 0, records);
        let delivered = self.next();
        let [Delivery::Frame(frame)] = &delivered[..] else { panic!("{delivered:?}") };
        produced(frame)
    }

    /// Id, epoch, last sequence and last timestamp of each producer that the leader knows.
    pub(crate) fn producers(&mut self) -> Vec<(i64, i32, i32, i64)> {
        let topic = kafka_protocol::messages::describe_producers_request::TopicRequest::default()
            .with_name(string(TOPIC).into())
            .with_partition_indexes(vec![0]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic]);
        let response = self.ask(0, &request);
        let partition = &response.topics[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        let all = partition.active_producers.iter().map(|state| {
            let id = *state.producer_id;
            (id, state.producer_epoch, state.last_sequence, state.last_timestamp)
        });
        all.collect()
    }
}

/// An answer read to its last byte, with its correlation id.
pub(crate) fn answer<R: Request>(version: i16, frame: &[u8]) -> (i32, R::Response) {
    let mut rest = frame;
    let header_version = <R::Response as HeaderVersion>::header_version(version);
    let header = ResponseHeader::decode(&mut rest, header_version).unwrap();
    let response = R::Response::decode(&mut rest, version).unwrap();
    assert!(rest.is_empty(), "{} bytes left over", rest.len());
    (header.correlation_id, response)
}

/// The code and the base offset in an answer to Produce in version 9.
pub(crate) fn produced(frame: &[u8]) -> (i16, i64) {
    let (_, response) = answer::<ProduceRequest>(9, frame);
    let partition = &response.responses[0].partition_responses[0];
    (partition.error_code, partition.base_offset)
}
