//! Logins by SASL PLAIN and OAUTHBEARER: in their order, for as long as they last.

use kafka_protocol::messages::{
    SaslAuthenticateRequest, SaslAuthenticateResponse, SaslHandshakeRequest, SaslHandshakeResponse,
};

use super::answers::Ask;
use super::cluster::Cluster;
use super::connection::Login;
use super::wire::{self, Request, text};

const UNSUPPORTED_SASL_MECHANISM: i16 = 33;
pub(crate) const ILLEGAL_SASL_STATE: i16 = 34;
const SASL_AUTHENTICATION_FAILED: i16 = 58;

impl Cluster {
    /// Whether a request may be carried out. If not, the broker closes.
    pub(super) fn may(&mut self, ask: &Ask, request: &Request) -> bool {
        // A connection that is gone had its login looked at when its request was read.
        let Some(connection) = self.connections.get(&ask.connection) else { return true };
        if !self.wants_login() {
            return true;
        }
        let versions = matches!(request, Request::ApiVersions(_) | Request::ApiVersionsUnknown);
        let handshake = matches!(request, Request::SaslHandshake(_));
        let right = match connection.login {
            Login::None => versions || handshake,
            Login::TokenRefused => matches!(request, Request::SaslAuthenticate(_)),
            Login::Chosen | Login::ChosenToken => {
                versions || matches!(request, Request::SaslAuthenticate(_))
            }
            Login::Done { until } if until.is_none_or(|until| self.now < until) => true,
            // It has run out: a login is all that is taken, and all else is no sin.
            Login::Done { .. } if handshake => true,
            Login::Done { .. } => {
                self.refusals.push((0, "the login has run out".into()));
                self.close(ask.connection, self.now + self.settings.latency);
                return false;
            }
        };
        if !right {
            let what = format!("API {} in state {:?} of the login", ask.head.api, connection.login);
            self.break_off(ask.connection, what);
        }
        right
    }

    pub(super) fn is_logging_in(&self, ask: &Ask) -> bool {
        let found = self.connections.get(&ask.connection);
        let begun = [Login::Chosen, Login::ChosenToken, Login::TokenRefused];
        found.is_some_and(|found| begun.contains(&found.login))
    }

    fn wants_login(&self) -> bool {
        self.settings.sasl.is_some() || !self.settings.tokens.is_empty()
    }

    pub(super) fn sasl_handshake(&mut self, ask: Ask, request: &SaslHandshakeRequest) {
        let plain = self.settings.sasl.is_some().then_some(("PLAIN", Login::Chosen));
        let token = !self.settings.tokens.is_empty();
        let token = token.then_some(("OAUTHBEARER", Login::ChosenToken));
        let offered: Vec<_> = plain.into_iter().chain(token).collect();
        let found = offered.iter().find(|(name, _)| *name == request.mechanism.as_str());
        let code = match found {
            _ if offered.is_empty() => ILLEGAL_SASL_STATE,
            Some(_) => 0,
            None => UNSUPPORTED_SASL_MECHANISM,
        };
        let code = ask.forced().unwrap_or(code);
        if let (0, Some((_, chosen))) = (code, found) {
            self.log_in(&ask, *chosen);
        }
        let mechanisms = offered.iter().map(|(name, _)| text(*name)).collect();
        let response =
            SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(mechanisms);
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
        if code != 0 && !offered.is_empty() {
            self.close(ask.connection, self.now + self.settings.latency);
        }
    }

    pub(super) fn sasl_authenticate(&mut self, ask: Ask, request: &SaslAuthenticateRequest) {
        let found = self.connections.get(&ask.connection).map(|found| found.login);
        let said = &*request.auth_bytes;
        let user = self.settings.sasl.as_ref().map(|(name, word)| format!("\0{name}\0{word}"));
        let right = match found {
            Some(Login::ChosenToken) => {
                self.settings.tokens.iter().any(|token| is_token(said, token))
            }
            Some(Login::TokenRefused) => false,
            _ => user.is_some_and(|user| user.as_bytes() == said),
        };
        let chosen = self.is_logging_in(&ask);
        match found {
            Some(Login::ChosenToken) if !right && ask.forced().is_none() => {
                return self.refuse_token(&ask, said);
            }
            Some(Login::TokenRefused) if said != [1] => {
                self.violate(ask.connection, "a refusal of a token is answered by 0x01".into());
            }
            _ => {}
        }
        let code = match (chosen, right) {
            (false, _) => {
                self.violate(ask.connection, "SaslAuthenticate without a handshake".into());
                ILLEGAL_SASL_STATE
            }
            (true, false) => SASL_AUTHENTICATION_FAILED,
            (true, true) => 0,
        };
        let code = ask.forced().unwrap_or(code);
        let why = "Authentication failed: Invalid username or password";
        let mut response = SaslAuthenticateResponse::default()
            .with_error_code(code)
            .with_error_message((code != 0).then(|| text(why)));
        if code == 0 {
            let lifetime = self.settings.session_lifetime;
            response.session_lifetime_ms = lifetime.map_or(0, |time| time.as_millis() as i64);
            let until = lifetime.map(|lifetime| self.now + lifetime);
            self.log_in(&ask, Login::Done { until });
        }
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
        if code != 0 && chosen {
            self.close(ask.connection, self.now + self.settings.latency);
        }
    }

    /// It is no error yet: the reason goes out, and the client has to say that it heard.
    fn refuse_token(&mut self, ask: &Ask, said: &[u8]) {
        let formed = said.starts_with(b"n,,\x01auth=Bearer ") && said.ends_with(b"\x01\x01");
        if !formed {
            self.violate(ask.connection, "a token in no form of RFC 7628".into());
        }
        let why = &br#"{"status":"invalid_token"}"#[..];
        let response = SaslAuthenticateResponse::default().with_auth_bytes(why.into());
        self.log_in(ask, Login::TokenRefused);
        let frame = wire::answer(&ask.head, &response);
        self.finish(ask, frame);
    }

    fn log_in(&mut self, ask: &Ask, login: Login) {
        if let Some(connection) = self.connections.get_mut(&ask.connection) {
            connection.login = login;
        }
    }
}

/// RFC 7628, section 3.1: no authorization identity, the token, and names with values behind it.
fn is_token(said: &[u8], token: &str) -> bool {
    let first = format!("n,,\x01auth=Bearer {token}\x01");
    let Some(rest) = said.strip_prefix(first.as_bytes()) else { return false };
    let Some(rest) = rest.strip_suffix(b"\x01") else { return false };
    rest.is_empty()
        || rest.strip_suffix(b"\x01").is_some_and(|rest| {
            let mut pairs = rest.split(|byte| *byte == 1);
            pairs.all(|pair| pair.contains(&b'=') && pair.is_ascii())
        })
}
