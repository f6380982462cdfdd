//! Requests from their bytes, and answers into theirs. What no client should write is an error.

use std::collections::BTreeMap;

use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, CreateTopicsRequest, DescribeConfigsRequest,
    DescribeProducersRequest, FetchRequest, InitProducerIdRequest, ListOffsetsRequest,
    MetadataRequest, ProduceRequest, RequestHeader, ResponseHeader, SaslAuthenticateRequest,
    SaslHandshakeRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, StrBytes};

/// The lowest and the highest version that is offered of each API, by its key.
pub(crate) type Versions = BTreeMap<i16, (i16, i16)>;

/// What brokers of today offer, of what is built here.
pub(crate) fn versions() -> Versions {
    let offered = [
        (ApiKey::ApiVersions, 0, 3),
        (ApiKey::Metadata, 9, 12),
        (ApiKey::InitProducerId, 2, 5),
        (ApiKey::Produce, 7, 13),
        (ApiKey::DescribeProducers, 0, 0),
        (ApiKey::DescribeConfigs, 1, 4),
        (ApiKey::CreateTopics, 5, 7),
        (ApiKey::ListOffsets, 4, 8),
        (ApiKey::Fetch, 4, 13),
        (ApiKey::SaslHandshake, 1, 1),
        (ApiKey::SaslAuthenticate, 0, 2),
    ];
    offered.into_iter().map(|(api, low, high)| (api as i16, (low, high))).collect()
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) api: i16,
    pub(crate) version: i16,
    pub(crate) correlation: i32,
}

#[derive(Clone, Debug)]
pub(crate) enum Request {
    ApiVersions(ApiVersionsRequest),
    /// ApiVersions in a version that is not offered: to be answered all the same.
    ApiVersionsUnknown,
    Metadata(MetadataRequest),
    InitProducerId(InitProducerIdRequest),
    Produce(ProduceRequest),
    DescribeProducers(DescribeProducersRequest),
    DescribeConfigs(DescribeConfigsRequest),
    CreateTopics(CreateTopicsRequest),
    ListOffsets(ListOffsetsRequest),
    Fetch(FetchRequest),
    SaslHandshake(SaslHandshakeRequest),
    SaslAuthenticate(SaslAuthenticateRequest),
}

pub(crate) fn read(frame: &[u8], versions: &Versions) -> Result<(Head, Request), String> {
    if frame.len() < 8 {
        return Err(format!("a request of {} bytes", frame.len()));
    }
    let key = i16::from_be_bytes([frame[0], frame[1]]);
    let version = i16::from_be_bytes([frame[2], frame[3]]);
    let api = ApiKey::try_from(key).map_err(|_| format!("API {key}"))?;
    let Some((low, high)) = versions.get(&key).copied() else {
        return Err(format!("{api:?} is not offered"));
    };
    let offered = (low..=high).contains(&version);
    if !offered && api != ApiKey::ApiVersions {
        return Err(format!("{api:?} v{version}; offered are {low} to {high}"));
    }
    let (header, body) = read_header(frame, api, version)?;
    let head = Head { api: key, version, correlation: header.correlation_id };
    if !offered {
        return Ok((head, Request::ApiVersionsUnknown));
    }
    let request = read_body(api, body, version);
    Ok((head, request.map_err(|what| format!("{api:?} v{version}: {what}"))?))
}

fn read_header(frame: &[u8], api: ApiKey, version: i16) -> Result<(RequestHeader, &[u8]), String> {
    let header_version = api.request_header_version(version);
    let mut rest = frame;
    let header = RequestHeader::decode(&mut rest, header_version)
        .map_err(|error| format!("{api:?} v{version}: header: {error}"))?;
    let mut again = Vec::new();
    header.encode(&mut again, header_version).expect("what was decoded can be encoded");
    if again != frame[..frame.len() - rest.len()] || !header.unknown_tagged_fields.is_empty() {
        return Err(format!("{api:?} v{version}: a header that no client writes"));
    }
    Ok((header, rest))
}

fn read_body(api: ApiKey, bytes: &[u8], version: i16) -> Result<Request, String> {
    Ok(match api {
        ApiKey::ApiVersions => Request::ApiVersions(body(bytes, version)?),
        ApiKey::Metadata => Request::Metadata(body(bytes, version)?),
        ApiKey::InitProducerId => Request::InitProducerId(body(bytes, version)?),
        ApiKey::Produce => Request::Produce(body(bytes, version)?),
        ApiKey::DescribeProducers => Request::DescribeProducers(body(bytes, version)?),
        ApiKey::DescribeConfigs => Request::DescribeConfigs(body(bytes, version)?),
        ApiKey::CreateTopics => Request::CreateTopics(body(bytes, version)?),
        ApiKey::ListOffsets => Request::ListOffsets(body(bytes, version)?),
        ApiKey::Fetch => Request::Fetch(body(bytes, version)?),
        ApiKey::SaslHandshake => Request::SaslHandshake(body(bytes, version)?),
        ApiKey::SaslAuthenticate => Request::SaslAuthenticate(body(bytes, version)?),
        _ => return Err("not built".into()),
    })
}

/// A body to its last byte, and written as everyone writes it: what decodes must encode the same.
fn body<T: Decodable + Encodable>(bytes: &[u8], version: i16) -> Result<T, String> {
    let mut rest = bytes;
    let request = T::decode(&mut rest, version).map_err(|error| error.to_string())?;
    if !rest.is_empty() {
        return Err(format!("{} bytes left over", rest.len()));
    }
    let mut again = Vec::new();
    request.encode(&mut again, version).map_err(|error| error.to_string())?;
    if again != bytes {
        return Err("not written as the protocol writes it".into());
    }
    Ok(request)
}

/// The frame of an answer, without its length.
pub(crate) fn answer<T: Encodable + HeaderVersion>(head: &Head, response: &T) -> Vec<u8> {
    answer_as(head, head.version, response)
}

/// In another version than that of the request.
pub(crate) fn answer_as<T: Encodable + HeaderVersion>(
    head: &Head,
    version: i16,
    response: &T,
) -> Vec<u8> {
    let mut frame = Vec::new();
    let header = ResponseHeader::default().with_correlation_id(head.correlation);
    header.encode(&mut frame, T::header_version(version)).expect("a header can be encoded");
    response.encode(&mut frame, version).expect("fields are set as the version has them");
    frame
}

pub(crate) fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
