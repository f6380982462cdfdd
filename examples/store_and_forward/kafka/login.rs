//! Logins of the proof's reader: PLAIN, SCRAM (RFC 5802) and OAUTHBEARER (RFC 7628).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kafka_protocol::messages::{SaslAuthenticateRequest, SaslHandshakeRequest};
use kafka_protocol::protocol::StrBytes;
use ring::rand::SecureRandom;
use ring::{digest, hmac, pbkdf2, rand};

use super::broker::{Broker, Result};
use crate::args::{Mechanism, SaslArgs};

pub(super) fn log_in(broker: &mut Broker, sasl: &SaslArgs) -> Result<()> {
    let mechanism = StrBytes::from_static_str(sasl.mechanism.name());
    let answer = broker.ask(1, &SaslHandshakeRequest::default().with_mechanism(mechanism))?;
    if answer.error_code != 0 {
        let enabled: Vec<_> = answer.mechanisms.iter().map(|one| one.as_str()).collect();
        let enabled = enabled.join(", ");
        return Err(format!("the broker takes {enabled}, not {}", sasl.mechanism.name()).into());
    }
    let secret = sasl.secret()?;
    match sasl.mechanism {
        Mechanism::Plain => {
            say(broker, format!("\0{}\0{secret}", sasl.user).into_bytes())?;
        }
        Mechanism::OauthBearer => {
            let first = format!("n,,\x01auth=Bearer {secret}\x01\x01");
            let answer = say(broker, first.into_bytes())?;
            if !answer.is_empty() {
                let why = String::from_utf8_lossy(&answer);
                return Err(format!("the token is refused: {}", why.escape_debug()).into());
            }
        }
        Mechanism::ScramSha256 => scram(broker, sasl, &secret, &SHA256)?,
        Mechanism::ScramSha512 => scram(broker, sasl, &secret, &SHA512)?,
    }
    Ok(())
}

fn say(broker: &mut Broker, bytes: Vec<u8>) -> Result<Vec<u8>> {
    let answer =
        broker.ask(2, &SaslAuthenticateRequest::default().with_auth_bytes(bytes.into()))?;
    match answer.error_code {
        0 => Ok(answer.auth_bytes.to_vec()),
        code => {
            let why = answer.error_message.unwrap_or_default();
            Err(format!("the login is refused ({code}): {}", why.as_str()).into())
        }
    }
}

struct Hash {
    digest: &'static digest::Algorithm,
    sign: hmac::Algorithm,
    derive: pbkdf2::Algorithm,
}

static SHA256: Hash =
    Hash { digest: &digest::SHA256, sign: hmac::HMAC_SHA256, derive: pbkdf2::PBKDF2_HMAC_SHA256 };
static SHA512: Hash =
    Hash { digest: &digest::SHA512, sign: hmac::HMAC_SHA512, derive: pbkdf2::PBKDF2_HMAC_SHA512 };

fn scram(broker: &mut Broker, sasl: &SaslArgs, password: &str, hash: &Hash) -> Result<()> {
    let mut random = [0; 18];
    rand::SystemRandom::new().fill(&mut random).map_err(|_| "no random numbers")?;
    let user = sasl.user.replace('=', "=3D").replace(',', "=2C");
    let bare = format!("n={user},r={}", STANDARD.encode(random));
    let first = String::from_utf8(say(broker, format!("n,,{bare}").into_bytes())?)?;
    let field = |name: &str| {
        let found = first.split(',').find_map(|part| part.strip_prefix(name));
        found.ok_or_else(|| format!("no {name} in the broker's answer"))
    };
    let (salt, rounds) = (STANDARD.decode(field("s=")?)?, field("i=")?.parse()?);
    let mut salted = vec![0; hash.digest.output_len()];
    pbkdf2::derive(hash.derive, rounds, &salt, password.as_bytes(), &mut salted);
    let sign = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(hash.sign, key), text);
    let client = sign(&salted, b"Client Key");
    let unproved = format!("c=biws,r={}", field("r=")?);
    let signed = format!("{bare},{first},{unproved}");
    let stored = digest::digest(hash.digest, client.as_ref());
    let signature = sign(stored.as_ref(), signed.as_bytes());
    let both = client.as_ref().iter().zip(signature.as_ref());
    let proof: Vec<u8> = both.map(|(key, signature)| key ^ signature).collect();
    let last = say(broker, format!("{unproved},p={}", STANDARD.encode(proof)).into_bytes())?;
    let server = sign(sign(&salted, b"Server Key").as_ref(), signed.as_bytes());
    match last == format!("v={}", STANDARD.encode(server)).as_bytes() {
        true => Ok(()),
        false => Err("the broker does not know the password".into()),
    }
}
