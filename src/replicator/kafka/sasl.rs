//! Who we are, told to a broker that asks: PLAIN, SCRAM and OAUTHBEARER.
//!
//! Floor 6. SCRAM: RFC 5802 and 7677, the broker's proof checked too; PLAIN: RFC 4616; bearer
//! tokens: RFC 7628. Without TLS everybody on the way can read PLAIN and tokens.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use parking_lot::Mutex;
use ring::{digest, hmac, pbkdf2};

use super::bounded;
use super::channel::Channel;
use super::codes;
use super::network::Network;
use crate::{Error, ErrorKind, Result};

/// Iterations that a broker may ask for: Kafka's least, and what still takes under a second.
const ITERATIONS: std::ops::RangeInclusive<u32> = 4096..=1_000_000;

/// Gives a bearer token that is valid now.
type Token = dyn FnMut() -> Result<String> + Send;

/// How a [`KafkaUpstream`](crate::KafkaUpstream) tells a broker who it is.
#[derive(Clone)]
pub struct Sasl {
    kind: Kind,
}

#[derive(Clone)]
enum Kind {
    Plain { user: String, password: String },
    Scram { user: String, password: String, hash: Hash },
    Token { token: Arc<Mutex<Token>>, extensions: Vec<(String, String)> },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha512,
}

impl Sasl {
    /// PLAIN: user and password as they are. Only over TLS, or in a network of one's own.
    #[must_use]
    pub fn plain(user: impl Into<String>, password: impl Into<String>) -> Sasl {
        Sasl { kind: Kind::Plain { user: user.into(), password: password.into() } }
    }

    /// SCRAM-SHA-256: the password does not go over the wire, and the broker has to know it too.
    #[must_use]
    pub fn scram_sha256(user: impl Into<String>, password: impl Into<String>) -> Sasl {
        let (user, password) = (user.into(), password.into());
        Sasl { kind: Kind::Scram { user, password, hash: Hash::Sha256 } }
    }

    /// SCRAM-SHA-512, else as [`Sasl::scram_sha256`].
    #[must_use]
    pub fn scram_sha512(user: impl Into<String>, password: impl Into<String>) -> Sasl {
        let (user, password) = (user.into(), password.into());
        Sasl { kind: Kind::Scram { user, password, hash: Hash::Sha512 } }
    }

    /// OAUTHBEARER: `token` is asked for a token at each login, on the replicator's thread. Its
    /// errors are told as the link's, and it is asked again after a backoff.
    ///
    /// # Examples
    /// ```no_run
    /// use forebay::{Error, Sasl};
    /// let sasl = Sasl::oauth_bearer(|| {
    ///     std::fs::read_to_string("/run/telemetry/token")
    ///         .map_err(|error| Error::upstream(format!("no token: {error}")))
    /// });
    /// ```
    #[must_use]
    pub fn oauth_bearer(token: impl FnMut() -> Result<String> + Send + 'static) -> Sasl {
        Sasl { kind: Kind::Token { token: Arc::new(Mutex::new(token)), extensions: Vec::new() } }
    }

    /// Something that a broker wants to know beside a token, by its name: with OAUTHBEARER only,
    /// the others say no more than they have to.
    #[must_use]
    pub fn extension(mut self, name: impl Into<String>, value: impl Into<String>) -> Sasl {
        if let Kind::Token { extensions, .. } = &mut self.kind {
            extensions.push((name.into(), value.into()));
        }
        self
    }

    fn mechanism(&self) -> &'static str {
        match &self.kind {
            Kind::Plain { .. } => "PLAIN",
            Kind::Scram { hash: Hash::Sha256, .. } => "SCRAM-SHA-256",
            Kind::Scram { hash: Hash::Sha512, .. } => "SCRAM-SHA-512",
            Kind::Token { .. } => "OAUTHBEARER",
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("mechanism", &self.mechanism()).finish_non_exhaustive()
    }
}

/// Tells the broker who we are. For how long that lasts, if not for ever.
pub(super) fn authenticate(
    channel: &mut Channel,
    sasl: &Sasl,
    network: &dyn Network,
    timeout: Duration,
) -> Result<Option<Duration>> {
    let mut login = Login { channel, sasl, network, timeout, lasts: None };
    login.choose()?;
    match &sasl.kind {
        Kind::Plain { user, password } => {
            login.say(format!("\0{user}\0{password}").into_bytes())?;
        }
        Kind::Token { token, extensions } => login.bear(&(token.lock())()?, extensions)?,
        Kind::Scram { user, password, hash } => login.scram(user, password, *hash)?,
    }
    Ok(login.lasts)
}

/// A login that is going on.
struct Login<'a> {
    channel: &'a mut Channel,
    sasl: &'a Sasl,
    network: &'a dyn Network,
    timeout: Duration,
    /// As the broker's last answer had it.
    lasts: Option<Duration>,
}

impl Login<'_> {
    fn choose(&mut self) -> Result<()> {
        let mechanism = StrBytes::from_static_str(self.sasl.mechanism());
        let request = SaslHandshakeRequest::default().with_mechanism(mechanism);
        let (network, shape) = (self.network, bounded::SASL_HANDSHAKE);
        let answer = self.channel.call(&request, 1, shape, network, self.timeout)?;
        if answer.error_code == 0 {
            return Ok(());
        }
        let enabled: Vec<&str> = answer.mechanisms.iter().map(|one| one.as_str()).collect();
        let what = match enabled.is_empty() {
            true => self.sasl.mechanism().to_owned(),
            false => format!("{}; it takes {}", self.sasl.mechanism(), enabled.join(", ")),
        };
        Err(codes::error(answer.error_code, self.channel.at(what)))
    }

    /// Says something, and returns what the broker says to it.
    fn say(&mut self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(bytes));
        let (network, shape) = (self.network, bounded::SASL_AUTHENTICATE);
        let answer = self.channel.call(&request, 2, shape, network, self.timeout)?;
        if answer.error_code != 0 {
            let why = answer.error_message.map(|text| text.to_string()).unwrap_or_default();
            let what = self.channel.at(format!("{} {why}", self.sasl.mechanism()));
            return Err(codes::error(answer.error_code, what));
        }
        let lasts = u64::try_from(answer.session_lifetime_ms).unwrap_or(0);
        self.lasts = Some(Duration::from_millis(lasts)).filter(|lasts| !lasts.is_zero());
        Ok(answer.auth_bytes.to_vec())
    }

    fn bear(&mut self, token: &str, extensions: &[(String, String)]) -> Result<()> {
        let first = bearer(token, extensions).map_err(|what| self.refused(what))?;
        let answer = self.say(first)?;
        if answer.is_empty() {
            return Ok(());
        }
        // The broker says why it refuses, and wants to be answered before it does.
        let why = String::from_utf8_lossy(&answer);
        let why: String = why.chars().filter(|letter| !letter.is_control()).take(400).collect();
        match self.say(vec![1]) {
            Err(error) if error.kind() == ErrorKind::UpstreamRejected => {
                let failed = error.what_failed();
                match failed.contains(&why) {
                    true => Err(error),
                    false => Err(self.refused(&format!("{failed}; the broker says {why}"))),
                }
            }
            Err(error) => Err(error),
            Ok(_) => Err(self.refused(&format!("the token is refused: {why}"))),
        }
    }

    fn scram(&mut self, user: &str, password: &str, hash: Hash) -> Result<()> {
        let mut random = [0; 18];
        getrandom::fill(&mut random).map_err(|error| {
            Error::upstream(format!("cannot get random bytes for a login: {error}"))
        })?;
        let scram = Scram::begin(hash, user, &STANDARD.encode(random));
        let server_first = self.say(scram.first())?;
        let (last, proof) =
            scram.answer(password, &server_first).map_err(|what| self.refused(what))?;
        let server_last = self.say(last)?;
        match proof.is_given_by(&server_last) {
            true => Ok(()),
            false => Err(self.refused("the broker does not know the password")),
        }
    }

    fn refused(&self, what: &str) -> Error {
        let text = self.channel.at(format!("{}: {what}", self.sasl.mechanism()));
        Error::new(ErrorKind::UpstreamRejected, text)
    }
}

/// What is said first with a token: RFC 7628, section 3.1.
fn bearer(token: &str, extensions: &[(String, String)]) -> Result<Vec<u8>, &'static str> {
    // From a file it has an end of line.
    let token = token.trim_ascii();
    let of_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte);
    if token.is_empty() || !token.bytes().all(of_token) {
        return Err("the token is empty, or has characters that no token has");
    }
    let mut first = format!("n,,\x01auth=Bearer {token}\x01");
    for (name, value) in extensions {
        let named = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphabetic());
        let shown = |byte: u8| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n');
        if !named || name == "auth" || !value.bytes().all(shown) {
            return Err("an extension has another name than letters, or a value that is no ASCII");
        }
        first.push_str(&format!("{name}={value}\x01"));
    }
    first.push('\x01');
    Ok(first.into_bytes())
}

/// A login by SCRAM that was begun.
struct Scram {
    hash: Hash,
    nonce: String,
    /// The client's first message without its header.
    bare: String,
}

/// By what the broker shows that it knows the password.
struct Proof(Vec<u8>);

impl Proof {
    fn is_given_by(&self, server_last: &[u8]) -> bool {
        let given = server_last.strip_prefix(b"v=");
        let given = given.and_then(|given| STANDARD.decode(given).ok());
        given.is_some_and(|given| given == self.0)
    }
}

impl Scram {
    fn begin(hash: Hash, user: &str, nonce: &str) -> Scram {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        Scram { hash, nonce: nonce.to_owned(), bare: format!("n={user},r={nonce}") }
    }

    fn first(&self) -> Vec<u8> {
        format!("n,,{}", self.bare).into_bytes()
    }

    /// The client's last message, and what the broker has to answer to it.
    fn answer(&self, password: &str, first: &[u8]) -> Result<(Vec<u8>, Proof), &'static str> {
        let first = std::str::from_utf8(first).map_err(|_| "the broker's answer is no text")?;
        let field = |name: &str| first.split(',').find_map(|part| part.strip_prefix(name));
        let nonce = field("r=").ok_or("the broker's answer has no nonce")?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err("the broker's nonce does not follow ours");
        }
        let salt = field("s=").and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.ok_or("the broker's answer has no salt")?;
        let iterations = field("i=").and_then(|count| count.parse::<u32>().ok());
        let iterations = iterations
            .filter(|count| ITERATIONS.contains(count))
            .and_then(std::num::NonZeroU32::new)
            .ok_or("the broker asks for too few or too many iterations")?;
        let (hashing, keyed, derived) = match self.hash {
            Hash::Sha256 => (&digest::SHA256, hmac::HMAC_SHA256, pbkdf2::PBKDF2_HMAC_SHA256),
            Hash::Sha512 => (&digest::SHA512, hmac::HMAC_SHA512, pbkdf2::PBKDF2_HMAC_SHA512),
        };
        let mut salted = vec![0; hashing.output_len()];
        pbkdf2::derive(derived, iterations, &salt, password.as_bytes(), &mut salted);
        let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(keyed, key), text);
        let client_key = sign(&salted, b"Client Key");
        let stored_key = digest::digest(hashing, client_key.as_ref());
        let unproved = format!("c=biws,r={nonce}");
        let signed = format!("{},{first},{unproved}", self.bare);
        let signature = sign(stored_key.as_ref(), signed.as_bytes());
        let both = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = both.map(|(key, signature)| key ^ signature).collect();
        let server_key = sign(&salted, b"Server Key");
        let server = sign(server_key.as_ref(), signed.as_bytes());
        let last = format!("{unproved},p={}", STANDARD.encode(proof));
        Ok((last.into_bytes(), Proof(server.as_ref().to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exchange of RFC 7677, section 3.
    #[test]
    fn scram_is_spoken_as_the_standard_shows_it() {
        let scram = Scram::begin(Hash::Sha256, "user", "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let first = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                     s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let (last, proof) = scram.answer("pencil", first.as_bytes()).unwrap();
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                        p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(String::from_utf8(last).unwrap(), expected);
        assert!(proof.is_given_by(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!proof.is_given_by(b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="));
        assert!(!proof.is_given_by(b"e=invalid-proof") && !proof.is_given_by(b""));
    }

    #[test]
    fn what_a_broker_must_not_ask_for_ends_the_login() {
        let scram = Scram::begin(Hash::Sha512, "a=b,c", "nonce");
        assert_eq!(scram.first(), b"n,,n=a=3Db=2Cc,r=nonce");
        for (first, why) in [
            ("r=other,s=AAAA,i=4096", "nonce"),
            ("r=nonce,s=AAAA,i=4096", "nonce"),
            ("r=nonce1,s=!,i=4096", "salt"),
            ("r=nonce1,i=4096", "salt"),
            ("r=nonce1,s=AAAA,i=1", "iterations"),
            ("r=nonce1,s=AAAA,i=4000000000", "iterations"),
            ("r=nonce1,s=AAAA", "iterations"),
            ("", "nonce"),
        ] {
            let error = scram.answer("secret", first.as_bytes()).err().unwrap();
            assert!(error.contains(why), "{first}: {error}");
        }
        assert!(scram.answer("secret", &[0xff]).is_err());
        assert!(scram.answer("secret", b"r=nonce1,s=AAAA,i=4096").is_ok());
        assert_eq!(format!("{:?}", Sasl::plain("me", "secret")).find("secret"), None);
    }
}
