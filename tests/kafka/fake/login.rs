//! Logins by SASL PLAIN: in their order, for as long as they last.

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
        if self.settings.sasl.is_none() {
            return true;
        }
        let versions = matches!(request, Request::ApiVersions(_) | Request::ApiVersionsUnknown);
        let handshake = matches!(request, Request::SaslHandshake(_));
        let right = match connection.login {
            Login::None => versions || handshake,
            Login::Chosen => versions || matches!(request, Request::SaslAuthenticate(_)),
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
        found.is_some_and(|found| found.login == Login::Chosen)
    }

    pub(super) fn sasl_handshake(&mut self, ask: Ask, request: &SaslHandshakeRequest) {
        let offered = self.settings.sasl.is_some();
        let code = match (offered, request.mechanism.as_str()) {
            (false, _) => ILLEGAL_SASL_STATE,
            (true, "PLAIN") => 0,
            (true, _) => UNSUPPORTED_SASL_MECHANISM,
        };
        let code = ask.forced().unwrap_or(code);
        if code == 0 {
            self.log_in(&ask, Login::Chosen);
        }
        let mechanisms = if offered { vec![text("PLAIN")] } else { Vec::new() };
        let response =
            SaslHandshakeResponse::default().with_error_code(code).with_mechanisms(mechanisms);
        let frame = wire::answer(&ask.head, &response);
        self.finish(&ask, frame);
        if code != 0 && offered {
            self.close(ask.connection, self.now + self.settings.latency);
        }
    }

    pub(super) fn sasl_authenticate(&mut self, ask: Ask, request: &SaslAuthenticateRequest) {
        let chosen = self.is_logging_in(&ask);
        let said = self.settings.sasl.as_ref().map(|(name, word)| format!("\0{name}\0{word}"));
        let right = said.is_some_and(|said| said.as_bytes() == &*request.auth_bytes);
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

    fn log_in(&mut self, ask: &Ask, login: Login) {
        if let Some(connection) = self.connections.get_mut(&ask.connection) {
            connection.login = login;
        }
    }
}
