//! TLS to the brokers: who is trusted, who we are, and the session over any connection.
//!
//! Floor 6. rustls does the protocol and all checks, and none of them can be left out. `material`
//! reads certificates and keys, `session` carries bytes, `why` says what failed and what to do.

mod material;
mod session;
mod why;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::client::Resumption;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, RootCertStore};

use super::network::{Connection, Network};
use crate::{Error, ErrorKind, Result};
use material::Pem;
use session::Session;

/// How a [`KafkaUpstream`](crate::KafkaUpstream) speaks TLS with brokers: version 1.2 or 1.3.
///
/// A broker has to show a certificate for its name, issued by an authority that is trusted, and
/// valid by this device's clock. Files are read anew at each connect, so that certificates which
/// are renewed in time need no restart. What is wrong with them, or with the broker's, stands in
/// the replicator's status with what to do; it is tried again after a backoff, and never without
/// TLS.
///
/// # Examples
/// ```no_run
/// use forebay::{KafkaUpstream, Sasl, Tls};
/// let tls = Tls::new()
///     .authorities_file("/etc/telemetry/ca.pem")
///     .client_files("/etc/telemetry/device.pem", "/etc/telemetry/device.key");
/// let kafka = KafkaUpstream::new("broker-1:9093", "telemetry").tls(tls);
/// ```
#[derive(Clone, Default)]
#[must_use = "it does nothing until it is passed on"]
pub struct Tls {
    authorities: Vec<Pem>,
    web: bool,
    client: Option<(Pem, Pem)>,
    server_name: Option<String>,
}

impl Tls {
    /// Trusts the authorities that browsers trust, as they were when this was built; as soon as
    /// others are named, only those.
    pub fn new() -> Tls {
        Tls::default()
    }

    /// Trusts the authorities whose certificates are in this PEM file, beside others that are
    /// named. The system's own are often in `/etc/ssl/certs/ca-certificates.crt`.
    pub fn authorities_file(mut self, path: impl Into<PathBuf>) -> Tls {
        self.authorities.push(Pem::File(path.into()));
        self
    }

    /// Trusts the authorities whose certificates these are, in PEM.
    pub fn authorities_pem(mut self, pem: impl Into<Vec<u8>>) -> Tls {
        self.authorities.push(Pem::bytes(pem));
        self
    }

    /// Trusts the authorities that browsers trust, also if others are named.
    pub fn web_authorities(mut self) -> Tls {
        self.web = true;
        self
    }

    /// Shows this certificate to a broker that asks for one: two PEM files, the certificate with
    /// those between it and its authority behind it, and its key (PKCS#8, PKCS#1 or SEC1, not
    /// encrypted).
    pub fn client_files(mut self, certificate: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Tls {
        self.client = Some((Pem::File(certificate.into()), Pem::File(key.into())));
        self
    }

    /// Shows this certificate to a broker that asks for one, else as [`Tls::client_files`].
    pub fn client_pem(mut self, certificate: impl Into<Vec<u8>>, key: impl Into<Vec<u8>>) -> Tls {
        self.client = Some((Pem::bytes(certificate), Pem::bytes(key)));
        self
    }

    /// The name that every broker's certificate has to be for, where that is not the host it is
    /// reached by.
    pub fn server_name(mut self, name: impl Into<String>) -> Tls {
        self.server_name = Some(name.into());
        self
    }

    /// Reads the files, and judges certificates by this time.
    fn config(&self, now: UnixTime) -> Result<ClientConfig> {
        let mut roots = RootCertStore::empty();
        if self.web || self.authorities.is_empty() {
            roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        for pem in &self.authorities {
            for certificate in pem.certificates("authorities")? {
                roots.add(certificate).map_err(|error| {
                    wrong(format!("{}: an authority's certificate: {error}", pem.place()))
                })?;
            }
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_details(provider, Arc::new(At(now)))
            .with_safe_default_protocol_versions()
            .map_err(|error| wrong(format!("TLS cannot be begun: {error}")))?
            .with_root_certificates(roots);
        let mut config = match &self.client {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificate.certificates("this device")?;
                config.with_client_auth_cert(chain, key.key()?).map_err(|error| {
                    let (certificate, key) = (certificate.place(), key.place());
                    let what = why::of_client(&error);
                    wrong(format!("{what}: certificate {certificate}, key {key}"))
                })?
            }
        };
        // What was valid at an earlier connect need not be so any more: every one looks.
        config.resumption = Resumption::disabled();
        Ok(config)
    }
}

/// What makes a connection a secure one. A program that never asks for TLS does not get the code of
/// it: nothing else names [`Tls`] behind this.
pub(super) trait Secure: fmt::Debug + Send + Sync {
    /// Makes a connection to a broker a secure one. Blocks for `timeout` at most.
    fn secure(
        &self,
        connection: Box<dyn Connection>,
        host: &str,
        address: &str,
        network: &dyn Network,
        timeout: Duration,
    ) -> Result<Box<dyn Connection>>;
}

impl Secure for Tls {
    fn secure(
        &self,
        connection: Box<dyn Connection>,
        host: &str,
        address: &str,
        network: &dyn Network,
        timeout: Duration,
    ) -> Result<Box<dyn Connection>> {
        let name = self.server_name.as_deref().unwrap_or(host);
        let server = ServerName::try_from(name.to_owned()).map_err(|_| {
            let text = format!("'{name}' cannot be in a certificate: use Tls::server_name");
            wrong(format!("{text} (C: ssl.server.name)"))
        })?;
        let seconds = u64::try_from(network.wall_millis()).unwrap_or(0) / 1000;
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let config = self.config(now)?;
        let session = rustls::ClientConnection::new(Arc::new(config), server)
            .map_err(|error| wrong(format!("TLS cannot be begun: {error}")))?;
        let mut session = Session::new(connection, session, self.client.is_some());
        match session.handshake(network, timeout) {
            Ok(()) => Ok(Box::new(session)),
            Err(error) => {
                let text = format!("broker {address}: {error}");
                Err(Error::new(super::channel::kind_of(&error), text))
            }
        }
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let client = self.client.as_ref().map(|(certificate, _)| certificate.place());
        f.debug_struct("Tls")
            .field("authorities", &self.authorities.iter().map(Pem::place).collect::<Vec<_>>())
            .field("web_authorities", &(self.web || self.authorities.is_empty()))
            .field("client", &client)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// The network's clock at the connect: what is said of it in an error is what was judged by.
#[derive(Debug)]
struct At(UnixTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::UpstreamRejected, text)
}

#[cfg(test)]
mod tests;
