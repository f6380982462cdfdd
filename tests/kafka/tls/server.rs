//! The Kafka in memory behind TLS, and what else a port can answer to a handshake.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use forebay::{Connection, Network};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::time_provider::TimeProvider;
use rustls::{RootCertStore, ServerConfig, ServerConnection, SupportedProtocolVersion};

use super::certificates::Pair;
use crate::world::{WALL_MS, World};

/// What the brokers' ports do from now on.
#[derive(Clone)]
pub(super) struct Port {
    pub(super) answers: Answers,
    pub(super) certificate: Pair,
    /// Clients have to show a certificate by this authority.
    pub(super) clients: Option<String>,
    pub(super) version: Option<&'static SupportedProtocolVersion>,
    /// The most bytes that go through at once, either way.
    pub(super) piece: usize,
    /// Every other call says that its time is over, before it is.
    pub(super) stutters: bool,
    /// How long what the broker says is on its way.
    pub(super) delay: Duration,
    /// The device's clock.
    pub(super) wall_ms: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Answers {
    Tls,
    /// A port without TLS.
    Plain,
    /// These bytes, and the end.
    Bytes(Vec<u8>),
    /// So many bytes of the right answer, and the end.
    CutAt(usize),
    /// So many bytes of the right answer, and nothing more.
    SilentAfter(usize),
}

#[derive(Clone)]
pub(super) struct Secured {
    world: World,
    port: Arc<Mutex<Port>>,
}

impl Secured {
    pub(super) fn new(world: &World, certificate: Pair) -> Secured {
        let (answers, wall_ms) = (Answers::Tls, WALL_MS);
        let (clients, version, piece, stutters) = (None, None, usize::MAX, false);
        let delay = Duration::ZERO;
        let port = Port { answers, certificate, clients, version, piece, stutters, delay, wall_ms };
        Secured { world: world.clone(), port: Arc::new(Mutex::new(port)) }
    }

    pub(super) fn port(&self) -> MutexGuard<'_, Port> {
        self.port.lock().unwrap()
    }
}

impl Network for Secured {
    fn connect(&mut self, host: &str, at: u16, limit: Duration) -> io::Result<Box<dyn Connection>> {
        let inner = self.world.connect(host, at, limit)?;
        let port = self.port().clone();
        if port.answers == Answers::Plain {
            return Ok(Box::new(Plain { inner, begun: false, closed: false }));
        }
        let tls = ServerConnection::new(Arc::new(config(&port))).unwrap();
        let (out, sent, closed, world) = (Vec::new(), 0, false, self.world.clone());
        Ok(Box::new(Wire { inner, tls, port, out, sent, closed, calls: 0, due: None, world }))
    }

    fn now(&self) -> Duration {
        Network::now(&self.world)
    }

    fn sleep(&self, duration: Duration) {
        Network::sleep(&self.world, duration);
    }

    fn wall_millis(&self) -> i64 {
        self.port().wall_ms + self.now().as_millis() as i64
    }
}

#[derive(Debug)]
struct At(UnixTime);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(self.0)
    }
}

/// As a broker has it; its clock is right.
pub(super) fn config(port: &Port) -> ServerConfig {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let now = UnixTime::since_unix_epoch(Duration::from_millis(WALL_MS as u64));
    let config = ServerConfig::builder_with_details(Arc::clone(&provider), Arc::new(At(now)));
    let config = match port.version {
        Some(version) => config.with_protocol_versions(&[version]).unwrap(),
        None => config.with_safe_default_protocol_versions().unwrap(),
    };
    let config = match &port.clients {
        None => config.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_slice(authority.as_bytes()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            config.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = CertificateDer::pem_slice_iter(port.certificate.certificate.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(port.certificate.key.as_bytes()).unwrap();
    config.with_single_cert(chain.map(Result::unwrap).collect(), key).unwrap()
}

/// A connection whose other end has TLS.
struct Wire {
    inner: Box<dyn Connection>,
    tls: ServerConnection,
    port: Port,
    /// What goes to the client.
    out: Vec<u8>,
    sent: usize,
    closed: bool,
    calls: u64,
    /// When what is there arrives.
    due: Option<Duration>,
    world: World,
}

impl Wire {
    fn stutter(&mut self) -> io::Result<()> {
        self.calls += 1;
        match self.port.stutters && self.calls % 2 == 1 {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => Ok(()),
        }
    }

    /// What the broker has to say, as far as its port lets it.
    fn collect(&mut self) {
        while self.tls.wants_write() {
            self.tls.write_tls(&mut self.out).unwrap();
        }
        match &self.port.answers {
            Answers::Bytes(bytes) => {
                self.out.clone_from(bytes);
                self.closed = true;
            }
            Answers::CutAt(most) if self.out.len() >= *most => {
                self.out.truncate(*most);
                self.closed = true;
            }
            Answers::SilentAfter(most) => self.out.truncate(*most),
            _ => {}
        }
    }
}

impl Connection for Wire {
    fn write(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<usize> {
        self.stutter()?;
        if self.closed {
            return Ok(bytes.len());
        }
        let taken = bytes.len().min(self.port.piece);
        let mut rest = &bytes[..taken];
        while !rest.is_empty() && !self.closed {
            self.tls.read_tls(&mut rest)?;
            self.closed = self.tls.process_new_packets().is_err();
            let mut plain = Vec::new();
            let _ = self.tls.reader().read_to_end(&mut plain);
            if !plain.is_empty() {
                self.inner.write(&plain, timeout)?;
            }
        }
        self.collect();
        Ok(taken)
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> io::Result<usize> {
        self.stutter()?;
        if self.sent == self.out.len() && !self.closed && !self.tls.is_handshaking() {
            let mut plain = [0; 16_000];
            match self.inner.read(&mut plain, timeout)? {
                0 => self.closed = true,
                bytes => self.tls.writer().write_all(&plain[..bytes])?,
            }
            self.collect();
        }
        let rest = &self.out[self.sent..];
        if rest.is_empty() && !self.closed {
            Network::sleep(&self.world, timeout);
            return Err(io::ErrorKind::TimedOut.into());
        }
        let now = Network::now(&self.world);
        let wait = self.due.get_or_insert(now + self.port.delay).saturating_sub(now);
        Network::sleep(&self.world, wait.min(timeout));
        if wait > timeout {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.due = None;
        let rest = &self.out[self.sent..];
        let taken = rest.len().min(into.len()).min(self.port.piece);
        into[..taken].copy_from_slice(&rest[..taken]);
        self.sent += taken;
        Ok(taken)
    }
}

/// A port without TLS: what begins with the first byte of a handshake is a length that no request
/// has, at which a broker closes.
struct Plain {
    inner: Box<dyn Connection>,
    begun: bool,
    closed: bool,
}

impl Connection for Plain {
    fn write(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<usize> {
        self.closed |= !self.begun && bytes.first() == Some(&0x16);
        self.begun = true;
        if self.closed {
            return Ok(bytes.len());
        }
        self.inner.write(bytes, timeout)
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> io::Result<usize> {
        if self.closed { Ok(0) } else { self.inner.read(into, timeout) }
    }
}
