//! The settings of a Kafka upstream, from text, and the upstream that they make.
//!
//! Floor 6.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::bytes::{forebay_bytes, invalid};
use super::text::{self, none_of_its_values};
use super::token::Token;
use crate::{
    Compression, Error, ErrorKind, KafkaUpstream, Log, Result, Sasl, Tls, UpstreamPartition,
};

type Pairs = Vec<(String, String)>;

/// What was set, each `None` until it is.
pub(super) struct Kafka {
    bootstrap: String,
    topic: String,
    client_id: Option<String>,
    partition: Option<UpstreamPartition>,
    connect_timeout: Option<Duration>,
    request_timeout: Option<Duration>,
    merge_bytes: Option<usize>,
    compression: Compression,
    create: Create,
    mark_gaps: bool,
    follow_new_topic: bool,
    accept_expiring: bool,
    security: Security,
    tls: TlsSetup,
    sasl: SaslSetup,
    dead_letter: Option<Log>,
}

#[derive(Default)]
struct Create {
    partitions: Option<i32>,
    replicas: Option<i16>,
    config: Option<Pairs>,
}

/// Which of the two stand between us and a broker.
#[derive(Clone, Copy, Default)]
struct Security {
    tls: bool,
    sasl: bool,
}

#[derive(Default)]
struct TlsSetup {
    ca_file: Option<PathBuf>,
    ca_pem: Option<Vec<u8>>,
    web: bool,
    certificate_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    certificate_pem: Option<Vec<u8>>,
    key_pem: Option<Vec<u8>>,
    server_name: Option<String>,
}

#[derive(Default)]
struct SaslSetup {
    mechanism: Option<Mechanism>,
    username: Option<String>,
    password: Option<String>,
    extensions: Option<Pairs>,
    token: Option<Arc<Token>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mechanism {
    Bearer,
    Password(Password),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Password {
    Plain,
    Scram256,
    Scram512,
}

impl Kafka {
    pub(super) fn new(bootstrap: &str, topic: &str) -> Kafka {
        Kafka {
            bootstrap: bootstrap.to_owned(),
            topic: topic.to_owned(),
            client_id: None,
            partition: None,
            connect_timeout: None,
            request_timeout: None,
            merge_bytes: None,
            compression: Compression::None,
            create: Create::default(),
            mark_gaps: false,
            follow_new_topic: false,
            accept_expiring: false,
            security: Security::default(),
            tls: TlsSetup::default(),
            sasl: SaslSetup::default(),
            dead_letter: None,
        }
    }

    pub(super) fn dead_letter(&mut self, log: &Log) {
        self.dead_letter = Some(log.clone());
    }

    pub(super) fn token(&mut self, token: Token) -> Option<Arc<Token>> {
        self.sasl.token.replace(Arc::new(token))
    }

    pub(super) fn token_number(&self) -> usize {
        self.sasl.token.as_ref().map_or(0, |token| token.number())
    }

    pub(super) fn set(&mut self, name: &str, value: forebay_bytes) -> Result<()> {
        let (tls, sasl, create) = (&mut self.tls, &mut self.sasl, &mut self.create);
        match name {
            "client.id" => self.client_id = Some(value.text("value")?.to_owned()),
            "partition" => self.partition = Some(partition(value.text("value")?)?),
            "socket.connection.setup.timeout.ms" => {
                self.connect_timeout = Some(timeout(name, value)?);
            }
            "request.timeout.ms" => self.request_timeout = Some(timeout(name, value)?),
            "compression.type" => self.compression = compression(name, value)?,
            "merge.bytes" => self.merge_bytes = Some(text::number(name, trimmed(value)?)?),
            "create.topic.partitions" => create.partitions = Some(count(name, value)?),
            "create.topic.replicas" => create.replicas = Some(count(name, value)?),
            "create.topic.config" => create.config = Some(pairs(name, value)?),
            "mark.gaps" => self.mark_gaps = truth(name, value)?,
            "follow.new.topic" => self.follow_new_topic = truth(name, value)?,
            "accept.expiring" => self.accept_expiring = truth(name, value)?,
            "security.protocol" => self.security = security(name, value)?,
            "ssl.ca.location" => tls.ca_file = Some(value.path(name)?.to_owned()),
            "ssl.ca.pem" => tls.ca_pem = Some(value.or_empty(name)?.to_vec()),
            "ssl.web.authorities" => tls.web = truth(name, value)?,
            "ssl.certificate.location" => {
                tls.certificate_file = Some(value.path(name)?.to_owned());
            }
            "ssl.key.location" => tls.key_file = Some(value.path(name)?.to_owned()),
            "ssl.certificate.pem" => tls.certificate_pem = Some(value.or_empty(name)?.to_vec()),
            "ssl.key.pem" => tls.key_pem = Some(value.or_empty(name)?.to_vec()),
            "ssl.server.name" => tls.server_name = Some(trimmed(value)?.to_owned()),
            "sasl.mechanism" => sasl.mechanism = Some(mechanism(name, value)?),
            "sasl.username" => sasl.username = Some(value.text("value")?.to_owned()),
            "sasl.password" => sasl.password = Some(value.text("value")?.to_owned()),
            "sasl.oauthbearer.extensions" => sasl.extensions = Some(pairs(name, value)?),
            _ => {
                let what = format!("a Kafka upstream has no setting `{name}`");
                return Err(Error::new(ErrorKind::NotFound, what));
            }
        }
        Ok(())
    }

    /// The upstream that the settings make; they stay as they are.
    pub(super) fn upstream(&self) -> Result<KafkaUpstream> {
        let mut kafka = KafkaUpstream::new(self.bootstrap.as_str(), self.topic.as_str())
            .compression(self.compression)
            .mark_gaps(self.mark_gaps)
            .follow_new_topic(self.follow_new_topic)
            .accept_expiring(self.accept_expiring);
        if let Some(timeout) = self.connect_timeout {
            kafka = kafka.connect_timeout(timeout);
        }
        if let Some(timeout) = self.request_timeout {
            kafka = kafka.request_timeout(timeout);
        }
        if let Some(client_id) = &self.client_id {
            kafka = kafka.client_id(client_id.as_str());
        }
        if let Some(partition) = &self.partition {
            kafka = kafka.partition(partition.clone());
        }
        if let Some(bytes) = self.merge_bytes {
            kafka = kafka.merge_bytes(bytes);
        }
        if let Some(log) = &self.dead_letter {
            kafka = kafka.dead_letter(log);
        }
        if let Some(tls) = self.tls.made(self.security.tls)? {
            kafka = kafka.tls(tls);
        }
        if let Some(sasl) = self.sasl.made(self.security.sasl)? {
            kafka = kafka.sasl(sasl);
        }
        self.create.made(kafka)
    }
}

impl Create {
    fn made(&self, kafka: KafkaUpstream) -> Result<KafkaUpstream> {
        let Some(partitions) = self.partitions else {
            let others = [
                (self.replicas.is_some(), "create.topic.replicas"),
                (self.config.is_some(), "create.topic.config"),
            ];
            return match first(&others) {
                None => Ok(kafka),
                Some(name) => Err(invalid(format!(
                    "{name} is set without create.topic.partitions, which has the topic made"
                ))),
            };
        };
        let config = self.config.as_deref().unwrap_or_default();
        let config = config.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        Ok(kafka.create_topic(partitions, self.replicas.unwrap_or(-1), config))
    }
}

impl TlsSetup {
    fn made(&self, wanted: bool) -> Result<Option<Tls>> {
        if !wanted {
            return match self.first_set() {
                None => Ok(None),
                Some(name) => Err(invalid(format!(
                    "{name} is set, but security.protocol is neither SSL nor SASL_SSL"
                ))),
            };
        }
        let mut tls = Tls::new();
        if let Some(path) = &self.ca_file {
            tls = tls.authorities_file(path);
        }
        if let Some(pem) = &self.ca_pem {
            tls = tls.authorities_pem(pem.as_slice());
        }
        if self.web {
            tls = tls.web_authorities();
        }
        if let Some(name) = &self.server_name {
            tls = tls.server_name(name.as_str());
        }
        let files = (&self.certificate_file, &self.key_file);
        let pems = (&self.certificate_pem, &self.key_pem);
        Ok(Some(match (files, pems) {
            ((None, None), (None, None)) => tls,
            ((Some(certificate), Some(key)), (None, None)) => tls.client_files(certificate, key),
            ((None, None), (Some(certificate), Some(key))) => {
                tls.client_pem(certificate.as_slice(), key.as_slice())
            }
            _ => {
                return Err(invalid(
                    "a certificate to show is ssl.certificate.location and ssl.key.location, or \
                     ssl.certificate.pem and ssl.key.pem: both of one pair and none of the other",
                ));
            }
        }))
    }

    fn first_set(&self) -> Option<&'static str> {
        first(&[
            (self.ca_file.is_some(), "ssl.ca.location"),
            (self.ca_pem.is_some(), "ssl.ca.pem"),
            (self.web, "ssl.web.authorities"),
            (self.certificate_file.is_some(), "ssl.certificate.location"),
            (self.key_file.is_some(), "ssl.key.location"),
            (self.certificate_pem.is_some(), "ssl.certificate.pem"),
            (self.key_pem.is_some(), "ssl.key.pem"),
            (self.server_name.is_some(), "ssl.server.name"),
        ])
    }
}

impl SaslSetup {
    fn made(&self, wanted: bool) -> Result<Option<Sasl>> {
        if !wanted {
            return match self.first_set() {
                None => Ok(None),
                Some(name) => Err(invalid(format!(
                    "{name} is set, but security.protocol is neither SASL_SSL nor SASL_PLAINTEXT"
                ))),
            };
        }
        match (self.mechanism, &self.token) {
            (Some(Mechanism::Bearer) | None, Some(token)) => self.bearer(token).map(Some),
            (Some(Mechanism::Bearer), None) => Err(invalid(
                "sasl.mechanism is OAUTHBEARER, which needs forebay_upstream_set_token_callback",
            )),
            (None, None) => Err(invalid("security.protocol asks for sasl.mechanism")),
            (Some(Mechanism::Password(_)), Some(_)) => {
                Err(invalid("a token callback is set, but sasl.mechanism is not OAUTHBEARER"))
            }
            (Some(Mechanism::Password(by)), None) => self.password(by).map(Some),
        }
    }

    fn bearer(&self, token: &Arc<Token>) -> Result<Sasl> {
        if self.username.is_some() || self.password.is_some() {
            return Err(invalid(
                "sasl.username or sasl.password is set, but OAUTHBEARER has its token alone",
            ));
        }
        let token = Arc::clone(token);
        let sasl = Sasl::oauth_bearer(move || token.ask());
        let extensions = self.extensions.iter().flatten();
        Ok(extensions.fold(sasl, |sasl, (name, value)| sasl.extension(name, value)))
    }

    fn password(&self, by: Password) -> Result<Sasl> {
        if self.extensions.is_some() {
            return Err(invalid(
                "sasl.oauthbearer.extensions is set, but sasl.mechanism is not OAUTHBEARER",
            ));
        }
        let (Some(user), Some(password)) = (&self.username, &self.password) else {
            return Err(invalid("sasl.mechanism asks for sasl.username and sasl.password"));
        };
        Ok(match by {
            Password::Plain => Sasl::plain(user, password),
            Password::Scram256 => Sasl::scram_sha256(user, password),
            Password::Scram512 => Sasl::scram_sha512(user, password),
        })
    }

    fn first_set(&self) -> Option<&'static str> {
        first(&[
            (self.mechanism.is_some(), "sasl.mechanism"),
            (self.username.is_some(), "sasl.username"),
            (self.password.is_some(), "sasl.password"),
            (self.extensions.is_some(), "sasl.oauthbearer.extensions"),
            (self.token.is_some(), "the token callback"),
        ])
    }
}

fn first(all: &[(bool, &'static str)]) -> Option<&'static str> {
    all.iter().find(|(is_set, _)| *is_set).map(|(_, name)| *name)
}

fn trimmed<'a>(value: forebay_bytes) -> Result<&'a str> {
    Ok(value.text("value")?.trim())
}

fn truth(name: &str, value: forebay_bytes) -> Result<bool> {
    text::truth(name, trimmed(value)?)
}

fn timeout(name: &str, value: forebay_bytes) -> Result<Duration> {
    match text::number::<u64>(name, trimmed(value)?)? {
        0 => Err(none_of_its_values(name, "0", "1 or more")),
        millis => Ok(Duration::from_millis(millis)),
    }
}

fn compression(name: &str, value: forebay_bytes) -> Result<Compression> {
    let word = trimmed(value)?;
    let by = super::options::compression(text::codec(name, word)?)?;
    if by.is_built_in() {
        return Ok(by);
    }
    Err(super::version::without(by.name()))
}

/// How many, or -1 for as many as the cluster has it.
fn count<N>(name: &str, value: forebay_bytes) -> Result<N>
where
    N: std::str::FromStr + PartialOrd + From<i8>,
{
    let text = trimmed(value)?;
    let count: N = text::number(name, text)?;
    match count >= N::from(1) || count == N::from(-1) {
        true => Ok(count),
        false => Err(none_of_its_values(name, text, "-1, and 1 or more")),
    }
}

fn partition(text: &str) -> Result<UpstreamPartition> {
    if let Some(key) = text.strip_prefix("key:") {
        return Ok(UpstreamPartition::ByKey(key.to_owned()));
    }
    match text.trim() {
        "by_log_id" => Ok(UpstreamPartition::ByLogId),
        text => match text.parse() {
            Ok(partition @ 0..) => Ok(UpstreamPartition::Fixed(partition)),
            _ => Err(none_of_its_values("partition", text, "0 or more, by_log_id, key:NAME")),
        },
    }
}

/// `name=value,name=value`; what has no `=` goes on with the value before it, as in
/// `cleanup.policy=compact,delete`.
fn pairs(name: &str, value: forebay_bytes) -> Result<Pairs> {
    let mut pairs = Pairs::new();
    let text = trimmed(value)?;
    for part in text.split(',').filter(|part| !part.trim().is_empty()) {
        match (part.split_once('='), pairs.last_mut()) {
            (Some((name, value)), _) if !name.trim().is_empty() => {
                pairs.push((name.trim().to_owned(), value.trim().to_owned()));
            }
            (None, Some((_, value))) => {
                value.push(',');
                value.push_str(part.trim());
            }
            _ => return Err(invalid(format!("{name} has `{part}` where it has name=value"))),
        }
    }
    Ok(pairs)
}

fn security(name: &str, value: forebay_bytes) -> Result<Security> {
    let word = trimmed(value)?;
    let (tls, sasl) = match word.to_ascii_uppercase().as_str() {
        "PLAINTEXT" => (false, false),
        "SSL" => (true, false),
        "SASL_PLAINTEXT" => (false, true),
        "SASL_SSL" => (true, true),
        _ => {
            let allowed = "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL";
            return Err(none_of_its_values(name, word, allowed));
        }
    };
    Ok(Security { tls, sasl })
}

fn mechanism(name: &str, value: forebay_bytes) -> Result<Mechanism> {
    let word = trimmed(value)?;
    match word.to_ascii_uppercase().as_str() {
        "PLAIN" => Ok(Mechanism::Password(Password::Plain)),
        "SCRAM-SHA-256" => Ok(Mechanism::Password(Password::Scram256)),
        "SCRAM-SHA-512" => Ok(Mechanism::Password(Password::Scram512)),
        "OAUTHBEARER" => Ok(Mechanism::Bearer),
        _ => {
            let allowed = "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER";
            Err(none_of_its_values(name, word, allowed))
        }
    }
}
