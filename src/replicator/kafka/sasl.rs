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
    Token(Arc<Mutex<Token>>),
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

    /// OAUTHBEARER: `token` is asked for a token at each connect, on the replicator's thread.
    #[must_use]
    pub fn oauth_bearer(token: impl FnMut() -> Result<String> + Send + 'static) -> Sasl {
        Sasl { kind: Kind::Token(Arc::new(Mutex::new(token))) }
    }

    fn mechanism(&self) -> &'static str {
        match &self.kind {
            Kind::Plain { .. } => "PLAIN",
            Kind::Scram { hash: Hash::Sha256, .. } => "SCRAM-SHA-256",
            Kind::Scram { hash: Hash::Sha512, .. } => "SCRAM-SHA-512",
            Kind::Token(_) => "OAUTHBEARER",
        }
    }
}

impl fmt::Debug for Sasl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sasl").field("mechanism", &self.mechanism()).finish_non_exhaustive()
    }
}

/// Tells the broker who we are.
pub(super) fn authenticate(
    channel: &mut Channel,
    sasl: &Sasl,
    network: &dyn Network,
    timeout: Duration,
) -> Result<()> {
    let mechanism = StrBytes::from_static_str(sasl.mechanism());
    let request = SaslHandshakeRequest::default().with_mechanism(mechanism);
    let answer = channel.call(&request, 1, bounded::SASL_HANDSHAKE, network, timeout)?;
    if answer.error_code != 0 {
        let enabled: Vec<&str> = answer.mechanisms.iter().map(|one| one.as_str()).collect();
        let what = format!("{}; it takes {}", sasl.mechanism(), enabled.join(", "));
        return Err(codes::error(answer.error_code, channel.at(what)));
    }
    let say = |channel: &mut Channel, bytes: Vec<u8>| -> Result<Vec<u8>> {
        let request = SaslAuthenticateRequest::default().with_auth_bytes(Bytes::from(bytes));
        let answer = channel.call(&request, 2, bounded::SASL_AUTHENTICATE, network, timeout)?;
        match answer.error_code {
            0 => Ok(answer.auth_bytes.to_vec()),
            code => {
                let why = answer.error_message.map(|text| text.to_string()).unwrap_or_default();
                Err(codes::error(code, channel.at(format!("{} {why}", sasl.mechanism()))))
            }
        }
    };
    match &sasl.kind {
        Kind::Plain { user, password } => {
            say(channel, format!("\0{user}\0{password}").into_bytes()).map(drop)
        }
        Kind::Token(token) => {
            let token = (token.lock())()?;
            let first = format!("n,,\x01auth=Bearer {token}\x01\x01").into_bytes();
            let answer = say(channel, first)?;
            match answer.is_empty() {
                true => Ok(()),
                // The broker says why, and fails behind this.
                false => say(channel, vec![1]).map(drop),
            }
        }
        Kind::Scram { user, password, hash } => {
            let mut random = [0; 18];
            getrandom::fill(&mut random).map_err(|error| {
                Error::upstream(format!("cannot get random bytes for a login: {error}"))
            })?;
            let scram = Scram::begin(*hash, user, &STANDARD.encode(random));
            let server_first = say(channel, scram.first())?;
            let (last, proof) = scram
                .answer(password, &server_first)
                .map_err(|what| refused(channel, sasl, what))?;
            let server_last = say(channel, last)?;
            match proof.is_given_by(&server_last) {
                true => Ok(()),
                false => Err(refused(channel, sasl, "the broker does not know the password")),
            }
        }
    }
}

fn refused(channel: &Channel, sasl: &Sasl, what: &str) -> Error {
    let text = channel.at(format!("{}: {what}", sasl.mechanism()));
    Error::new(ErrorKind::UpstreamRejected, text)
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
