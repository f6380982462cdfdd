//! One connection to a broker: TCP, TLS if asked for, a login, and calls one after another.
//!
//! What the proof reads with is its own, so that it does not lean on what it judges.

use std::error::Error;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::login;
use crate::args::{KafkaArgs, TlsArgs};

const WAIT: Duration = Duration::from_secs(30);
const ANSWER_BYTES_MAX: u32 = 64 << 20;

/// A text, as the program shows it.
pub(crate) type Result<T> = std::result::Result<T, Box<dyn Error>>;

pub(super) struct Broker {
    wire: Box<dyn Wire>,
    correlation: i32,
}

trait Wire: Read + Write {}
impl<T: Read + Write> Wire for T {}

impl Broker {
    pub(super) fn open(host: &str, port: u16, args: &KafkaArgs) -> Result<Broker> {
        let reach = |error| format!("cannot reach {host}:{port}: {error}");
        let mut addresses = (host, port).to_socket_addrs().map_err(reach)?;
        let address = addresses.next().ok_or_else(|| format!("{host} has no address"))?;
        let stream = TcpStream::connect_timeout(&address, WAIT).map_err(reach)?;
        stream.set_read_timeout(Some(WAIT))?;
        stream.set_write_timeout(Some(WAIT))?;
        stream.set_nodelay(true)?;
        let wire: Box<dyn Wire> = match &args.tls {
            None => Box::new(stream),
            Some(tls) => {
                let name = ServerName::try_from(host.to_owned())?;
                let session = ClientConnection::new(Arc::new(config(tls)?), name)?;
                Box::new(StreamOwned::new(session, stream))
            }
        };
        let mut broker = Broker { wire, correlation: 0 };
        if let Some(sasl) = &args.sasl {
            login::log_in(&mut broker, sasl)?;
        }
        Ok(broker)
    }

    pub(super) fn ask<R: Request>(&mut self, version: i16, request: &R) -> Result<R::Response> {
        self.correlation += 1;
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_static_str("store-and-forward-proof")));
        let mut body = BytesMut::new();
        header.encode(&mut body, R::header_version(version))?;
        request.encode(&mut body, version)?;
        let mut frame = u32::try_from(body.len())?.to_be_bytes().to_vec();
        frame.extend_from_slice(&body);
        self.wire.write_all(&frame)?;
        self.wire.flush()?;
        let mut length = [0; 4];
        self.wire.read_exact(&mut length)?;
        let length = u32::from_be_bytes(length);
        if length > ANSWER_BYTES_MAX {
            return Err(format!("an answer of {length} bytes: is it a Kafka broker?").into());
        }
        let mut answer = Vec::new();
        (&mut self.wire).take(length.into()).read_to_end(&mut answer)?;
        let mut answer = bytes::Bytes::from(answer);
        let header = ResponseHeader::decode(&mut answer, R::Response::header_version(version))?;
        match header.correlation_id == self.correlation {
            true => Ok(R::Response::decode(&mut answer, version)?),
            false => Err("an answer to another request".into()),
        }
    }
}

fn config(tls: &TlsArgs) -> Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    match &tls.ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            for certificate in CertificateDer::pem_slice_iter(&fs::read(path)?) {
                roots.add(certificate?)?;
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some((certificate, key)) = &tls.client else { return Ok(config.with_no_client_auth()) };
    let chain = CertificateDer::pem_slice_iter(&fs::read(certificate)?)
        .collect::<std::result::Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&fs::read(key)?)?;
    Ok(config.with_client_auth_cert(chain, key)?)
}
