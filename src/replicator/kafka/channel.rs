//! One connection to one broker: requests out, answers in, both as whole frames.
//!
//! Floor 6. An answer is checked by its shape before it is decoded (I11); what comes is kept as it
//! comes, so that a claimed length costs nothing.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, ApiVersionsResponse, RequestHeader, ResponseHeader,
};
use kafka_protocol::protocol::{
    Decodable, Encodable, HeaderVersion, StrBytes, encode_request_header_into_buffer,
};

use super::bounded::{self, Shape};
use super::codes;
use super::network::{Connection, Network};
use crate::{Error, ErrorKind, Result};

/// The largest answer that is taken: a Fetch of one of the largest batches a topic has.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// How much is read from the connection at once.
const READ_BYTES: usize = 64 << 10;

/// A request, and its answer. The wire codec's own trait wants a server's half as well.
pub(super) trait Ask: Encodable + HeaderVersion {
    const API: ApiKey;
    type Answer: Decodable + HeaderVersion;
}

macro_rules! asks {
    ($($api:ident $request:ident $answer:ident),* $(,)?) => {$(
        impl Ask for kafka_protocol::messages::$request {
            const API: ApiKey = ApiKey::$api;
            type Answer = kafka_protocol::messages::$answer;
        }
    )*};
}

asks! {
    ApiVersions ApiVersionsRequest ApiVersionsResponse,
    CreateTopics CreateTopicsRequest CreateTopicsResponse,
    DescribeConfigs DescribeConfigsRequest DescribeConfigsResponse,
    DescribeProducers DescribeProducersRequest DescribeProducersResponse,
    Fetch FetchRequest FetchResponse,
    InitProducerId InitProducerIdRequest InitProducerIdResponse,
    ListOffsets ListOffsetsRequest ListOffsetsResponse,
    Metadata MetadataRequest MetadataResponse,
    Produce ProduceRequest ProduceResponse,
    SaslAuthenticate SaslAuthenticateRequest SaslAuthenticateResponse,
    SaslHandshake SaslHandshakeRequest SaslHandshakeResponse,
}

/// A connection, and what was read of the answer that comes.
pub(super) struct Channel {
    connection: Box<dyn Connection>,
    secure: bool,
    /// An answer did not come in time.
    late: Arc<AtomicBool>,
    /// Something was read.
    heard: bool,
    /// `host:port`, for errors.
    pub(super) address: String,
    client_id: StrBytes,
    correlation: i32,
    /// By API: the lowest and highest version the broker offers.
    versions: BTreeMap<i16, (i16, i16)>,
    out: BytesMut,
    input: BytesMut,
    /// What is read at once.
    chunk: Vec<u8>,
}

/// A request that was sent, and whose answer is awaited.
#[derive(Clone, Copy, Debug)]
pub(super) struct Awaited {
    correlation: i32,
    header_version: i16,
}

impl Channel {
    /// `secure` says whether the connection has TLS; `late` is set when an answer takes too long.
    pub(super) fn new(
        connection: Box<dyn Connection>,
        secure: bool,
        address: String,
        client_id: &str,
        late: Arc<AtomicBool>,
    ) -> Channel {
        Channel {
            connection,
            secure,
            late,
            heard: false,
            address,
            client_id: StrBytes::from_string(client_id.to_owned()),
            correlation: 0,
            versions: BTreeMap::new(),
            out: BytesMut::new(),
            input: BytesMut::new(),
            chunk: vec![0; READ_BYTES],
        }
    }

    /// Asks for the versions the broker offers.
    pub(super) fn negotiate(&mut self, network: &dyn Network, timeout: Duration) -> Result<()> {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(StrBytes::from_static_str("forebay"))
            .with_client_software_version(StrBytes::from_static_str(env!("CARGO_PKG_VERSION")));
        let awaited = self.send(&request, 3, network, timeout)?;
        let bytes = self.receive(&awaited, network, timeout)?;
        // A broker that does not know this version answers with version 0, and error 35 first.
        if let [0, 35, ..] = bytes.as_ref() {
            return Err(self.too_old("ApiVersions 3"));
        }
        let answer: ApiVersionsResponse = self.decode(bytes, bounded::API_VERSIONS, 3)?;
        if answer.error_code != 0 {
            return Err(codes::error(answer.error_code, self.at("the versions of its calls")));
        }
        let versions = answer.api_keys.iter();
        self.versions =
            versions.map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        Ok(())
    }

    /// Whether the broker offers this version of a call.
    pub(super) fn offers(&self, api: ApiKey, version: i16) -> bool {
        let range = self.versions.get(&(api as i16));
        range.is_some_and(|(min, max)| (*min..=*max).contains(&version))
    }

    /// An error if the broker does not offer this version of a call.
    pub(super) fn must_offer(&self, api: ApiKey, version: i16) -> Result<()> {
        match self.offers(api, version) {
            true => Ok(()),
            false => Err(self.too_old(&format!("{api:?} {version}"))),
        }
    }

    /// Sends a request and waits for its answer; nothing else may be awaited.
    pub(super) fn call<R: Ask>(
        &mut self,
        request: &R,
        version: i16,
        shape: Shape,
        network: &dyn Network,
        timeout: Duration,
    ) -> Result<R::Answer> {
        self.must_offer(R::API, version)?;
        let awaited = self.send(request, version, network, timeout)?;
        let bytes = self.receive(&awaited, network, timeout)?;
        self.decode(bytes, shape, version)
    }

    /// Sends a request. Blocks while the connection takes nothing, for `timeout` at most.
    pub(super) fn send<R: Ask>(
        &mut self,
        request: &R,
        version: i16,
        network: &dyn Network,
        timeout: Duration,
    ) -> Result<Awaited> {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::API as i16)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(self.client_id.clone()));
        self.out.clear();
        self.out.extend_from_slice(&[0; 4]);
        let encoded = encode_request_header_into_buffer(&mut self.out, &header)
            .and_then(|()| request.encode(&mut self.out, version));
        encoded.map_err(|error| Error::upstream(self.at(format!("a request: {error}"))))?;
        let length = u32::try_from(self.out.len().saturating_sub(4)).unwrap_or(u32::MAX);
        if let Some(target) = self.out.first_chunk_mut::<4>() {
            *target = length.to_be_bytes();
        }
        let mut sent = 0;
        let mut waited_from = network.now();
        while let Some(rest) = self.out.get(sent..).filter(|rest| !rest.is_empty()) {
            match self.connection.write(rest, timeout) {
                Ok(0) => return Err(self.broke("closed while a request was written")),
                Ok(bytes) => {
                    sent += bytes;
                    waited_from = network.now();
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if network.now().saturating_sub(waited_from) >= timeout {
                        self.late.store(true, Ordering::Relaxed);
                        return Err(self.broke("it took nothing of a request in time"));
                    }
                }
                Err(error) => return Err(self.broke_by(&error)),
            }
        }
        if self.out.capacity() > 4 * READ_BYTES && sent < READ_BYTES {
            self.out = BytesMut::new();
        }
        Ok(Awaited {
            correlation: self.correlation,
            header_version: R::Answer::header_version(version),
        })
    }

    /// The answer that is awaited.
    fn receive(
        &mut self,
        awaited: &Awaited,
        network: &dyn Network,
        timeout: Duration,
    ) -> Result<Bytes> {
        match self.try_receive(awaited, network, timeout)? {
            Some(bytes) => Ok(bytes),
            None => {
                self.late.store(true, Ordering::Relaxed);
                Err(self.broke("no answer came in time"))
            }
        }
    }

    /// The answer that is awaited, without its header, if it comes within `timeout`. A part of it
    /// that came is kept.
    pub(super) fn try_receive(
        &mut self,
        awaited: &Awaited,
        network: &dyn Network,
        timeout: Duration,
    ) -> Result<Option<Bytes>> {
        let deadline = network.now().saturating_add(timeout);
        loop {
            if let Some(frame) = self.whole_frame()? {
                return self.open(frame, awaited).map(Some);
            }
            let left = deadline.saturating_sub(network.now());
            match self.connection.read(&mut self.chunk, left) {
                Ok(0) => return Err(self.closed()),
                Ok(bytes) => {
                    self.heard = true;
                    self.input.extend_from_slice(self.chunk.get(..bytes).unwrap_or_default());
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {
                    if network.now() >= deadline {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(self.broke_by(&error)),
            }
        }
    }

    fn closed(&self) -> Error {
        let hint = match (self.heard, self.secure) {
            // Behind the versions of its calls, which everybody may ask for.
            (true, _) if self.correlation == 2 => {
                " as soon as it was asked something: it may want a login, see KafkaUpstream::sasl \
                 (C: sasl.mechanism)"
            }
            (true, _) => "",
            (false, true) => {
                " before any answer: see its log (it may want a certificate of this device)"
            }
            (false, false) => {
                " before any answer: does this port speak TLS? Then use KafkaUpstream::tls (C: \
                 security.protocol)"
            }
        };
        self.broke(format!("closed by the broker{hint}"))
    }

    /// Whether an answer lies here already, or a part of one.
    fn whole_frame(&mut self) -> Result<Option<Bytes>> {
        let Some(length) = self.input.first_chunk::<4>() else { return Ok(None) };
        let length = u32::from_be_bytes(*length) as usize;
        if !(4..=ANSWER_BYTES_MAX).contains(&length) {
            return Err(self.broke(match self.input.first_chunk::<4>() {
                // An alert, or a handshake.
                Some([0x15 | 0x16, 3, ..]) => {
                    "this port speaks TLS: use KafkaUpstream::tls (C: security.protocol)".to_owned()
                }
                Some(b"HTTP") => "this port speaks HTTP, and is no Kafka broker's".to_owned(),
                _ => format!("it claims an answer of {length} bytes: is it a Kafka broker?"),
            }));
        }
        if self.input.len() - 4 < length {
            return Ok(None);
        }
        let _ = self.input.split_to(4);
        Ok(Some(self.input.split_to(length).freeze()))
    }

    /// Takes the header off.
    fn open(&self, mut frame: Bytes, awaited: &Awaited) -> Result<Bytes> {
        // A correlation id, and where the header is of version 1 an unsigned count of tagged
        // fields, which nobody has defined one of.
        if awaited.header_version > 0 && frame.get(4) != Some(&0) {
            return Err(self.broke("an answer has a header with fields"));
        }
        let header = ResponseHeader::decode(&mut frame, awaited.header_version);
        let header = header.map_err(|error| self.broke(format!("an answer's header: {error}")))?;
        if header.correlation_id != awaited.correlation {
            let (got, wanted) = (header.correlation_id, awaited.correlation);
            return Err(self.broke(format!("answer {got} came where {wanted} was awaited")));
        }
        Ok(frame)
    }

    pub(super) fn decode<T: Decodable>(
        &self,
        mut bytes: Bytes,
        shape: Shape,
        version: i16,
    ) -> Result<T> {
        bounded::check(shape, &bytes).map_err(|error| self.broke(error.what_failed()))?;
        T::decode(&mut bytes, version)
            .map_err(|error| self.broke(format!("an answer cannot be read: {error}")))
    }

    /// What failed, and at which broker.
    pub(super) fn at(&self, what: impl Display) -> String {
        format!("broker {}: {what}", self.address)
    }

    fn broke_by(&self, error: &io::Error) -> Error {
        Error::new(kind_of(error), self.at(error))
    }

    fn broke(&self, what: impl Display) -> Error {
        Error::upstream(self.at(what))
    }

    fn too_old(&self, what: &str) -> Error {
        let text = self.at(format!(
            "it does not offer {what}: Kafka 2.8 or later is needed, at a port for clients"
        ));
        Error::new(ErrorKind::UpstreamRejected, text)
    }
}

/// Whether a connection's error needs a person: TLS has a mark for that.
pub(super) fn kind_of(error: &io::Error) -> ErrorKind {
    match error.kind() {
        io::ErrorKind::PermissionDenied => ErrorKind::UpstreamRejected,
        _ => ErrorKind::Upstream,
    }
}
