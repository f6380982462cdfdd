//! What failed in TLS, and what to do about it.
//!
//! Floor 6. An error of the kind [`PermissionDenied`](io::ErrorKind::PermissionDenied) stays until
//! somebody puts something right; the others are the link's.

use std::io;
use std::time::Duration;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, InconsistentKeys, InvalidMessage};

/// What nobody gets past by trying again.
pub(super) fn refused(error: &rustls::Error, has_certificate: bool) -> io::Error {
    let kind = io::ErrorKind::PermissionDenied;
    io::Error::new(kind, format!("TLS: {}", explain(error, has_certificate)))
}

/// The handshake was not done in time.
pub(super) fn stalled(timeout: Duration, heard: bool) -> io::Error {
    // No fraction: the code to print one is 10 KB, which nothing else asks for.
    let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let what = match heard {
        true => {
            "the broker or the link is slow: see KafkaUpstream::timeouts (C: \
             socket.connection.setup.timeout.ms)"
        }
        false => "the broker says nothing: does this port speak TLS?",
    };
    let text = format!("the TLS handshake was not done within {timeout_ms} ms: {what}");
    io::Error::new(io::ErrorKind::TimedOut, text)
}

/// The connection ended within the handshake.
pub(super) fn broken_off(error: io::Error, heard: bool) -> io::Error {
    let what = match heard {
        true => "see the broker's log",
        false => "does this port speak TLS?",
    };
    let cause = match error.kind() {
        io::ErrorKind::UnexpectedEof => "the broker closed within the TLS handshake".to_owned(),
        _ => format!("the connection broke within the TLS handshake: {error}"),
    };
    io::Error::new(error.kind(), format!("{cause}: {what}"))
}

/// What is wrong with a certificate and a key of ours.
pub(super) fn of_client(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            "this device's key is not the one of its certificate (which comes first in its file)"
                .to_owned()
        }
        // rustls has no better word where a key is none of those it takes.
        rustls::Error::General(_) => "this device's key is not understood: RSA of 2048 bits or \
             more, ECDSA on P-256 or P-384, and Ed25519 are; an EC key without its public part, as \
             keytool has it, becomes whole by: openssl ec -in KEY -out NEW"
            .to_owned(),
        error => format!("this device's certificate or key is not understood: {error}"),
    }
}

fn explain(error: &rustls::Error, has_certificate: bool) -> String {
    match error {
        rustls::Error::InvalidCertificate(error) => of_broker(error),
        rustls::Error::AlertReceived(alert) => of_alert(*alert, has_certificate),
        rustls::Error::PeerIncompatible(error) => format!(
            "the broker's TLS does not go with ours, 1.2 or 1.3 with modern ciphers: {error:?}"
        ),
        rustls::Error::InvalidMessage(
            InvalidMessage::InvalidContentType | InvalidMessage::UnknownProtocolVersion,
        ) => "the answer is no TLS: does this port speak it?".to_owned(),
        error => error.to_string(),
    }
}

/// What is wrong with the broker's certificate.
fn of_broker(error: &CertificateError) -> String {
    match error {
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the broker's certificate ended at {}, and this device's clock says {}: renew it, or \
             set the clock",
            date(*not_after),
            date(*time)
        ),
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the broker's certificate begins at {}, and this device's clock says {}: set the \
             clock (a device without a battery for it starts in 1970)",
            date(*not_before),
            date(*time)
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let names = match presented.is_empty() {
                // A common name alone has not counted for long.
                true => "no name (subjectAltName)".to_owned(),
                false => presented.iter().map(|name| named(name)).collect::<Vec<_>>().join(", "),
            };
            format!(
                "the broker's certificate is for {names}, and not for {}: reach it by such a name \
                 (advertised.listeners), or give Tls::server_name (C: ssl.server.name)",
                expected.to_str()
            )
        }
        CertificateError::UnknownIssuer => "the broker's certificate was issued by none of the \
             authorities that are trusted here: give Tls::authorities_file (C: \
             ssl.ca.location) the one that issued it"
            .to_owned(),
        CertificateError::Other(other) if format!("{other:?}").contains("CaUsedAsEndEntity") => {
            "the broker shows an authority's own certificate: let it issue one for the broker"
                .to_owned()
        }
        error => format!("the broker's certificate is not valid: {error}"),
    }
}

/// What the broker says before it closes.
fn of_alert(alert: AlertDescription, has_certificate: bool) -> String {
    use AlertDescription as Alert;
    let what = match (alert, has_certificate) {
        (Alert::CertificateRequired, _)
        | (Alert::BadCertificate | Alert::CertificateUnknown, false) => {
            "the broker asks for a certificate of this device: give Tls::client_files one (C: \
             ssl.certificate.location)"
        }
        (Alert::UnknownCA, _) => {
            "the broker does not trust the authority of this device's certificate: use one that \
             it trusts, or add the authority to its ssl.truststore"
        }
        (Alert::CertificateExpired, _) => {
            "the broker says that this device's certificate has expired: renew it (or one of the \
             two clocks is wrong)"
        }
        (Alert::CertificateRevoked, _) => "this device's certificate was revoked: get a new one",
        (
            Alert::BadCertificate
            | Alert::UnsupportedCertificate
            | Alert::CertificateUnknown
            | Alert::AccessDenied
            | Alert::DecryptError,
            true,
        ) => {
            "the broker refused this device's certificate: is it valid, for clients, and by an \
             authority that the broker trusts?"
        }
        (Alert::ProtocolVersion | Alert::InsufficientSecurity, _) => {
            "the broker's TLS is too old: 1.2 or 1.3 is needed (ssl.enabled.protocols)"
        }
        (Alert::HandshakeFailure, false) => {
            "the broker has no version or cipher in common, or asks for a certificate of this \
             device: give Tls::client_files one (C: ssl.certificate.location)"
        }
        (Alert::HandshakeFailure, true) => {
            "the broker has no version or cipher in common, or refused this device's certificate"
        }
        (Alert::UnrecognisedName, _) => "the broker is not known there by this name",
        _ => "the broker broke off: see its log",
    };
    format!("{what} (alert {alert:?})")
}

/// A name of a certificate, out of `DnsName("host")` or `IpAddress(host)`, as far as it is safe to
/// show.
fn named(text: &str) -> String {
    let inner = text.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    let name = inner.unwrap_or(text).trim_matches('"').chars().take(64);
    name.map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// The time as people write it.
fn date(time: UnixTime) -> String {
    let (days, seconds) = (time.as_secs() / 86_400, time.as_secs() % 86_400);
    let (year, month, day) = civil(days);
    let (hour, minute) = (seconds / 3600, seconds / 60 % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

/// Year, month and day, of days since 1970, counted in eras of 400 years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    const ERA: u64 = 146_097;
    let days = days + 719_468;
    let in_era = days % ERA;
    let years = (in_era - in_era / 1460 + in_era / 36_524 - in_era / 146_096) / 365;
    let in_year = in_era - (365 * years + years / 4 - years / 100);
    let shifted = (5 * in_year + 2) / 153;
    let day = in_year - (153 * shifted + 2) / 5 + 1;
    let (month, next) = if shifted < 10 { (shifted + 3, 0) } else { (shifted - 9, 1) };
    (days / ERA * 400 + years + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_people_write_them() {
        let of = |seconds| date(UnixTime::since_unix_epoch(Duration::from_secs(seconds)));
        assert_eq!(of(0), "1970-01-01 00:00 UTC");
        assert_eq!(of(951_782_399), "2000-02-28 23:59 UTC");
        assert_eq!(of(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(of(1_767_225_599), "2025-12-31 23:59 UTC");
        assert_eq!(of(1_767_225_600), "2026-01-01 00:00 UTC");
        assert_eq!(of(4_102_444_800), "2100-01-01 00:00 UTC");
        assert_eq!(of(4_107_542_399), "2100-02-28 23:59 UTC");
        assert_eq!(of(4_107_542_400), "2100-03-01 00:00 UTC");
        let years: Vec<u64> = (0..80).map(|year| civil(year * 36_524 / 100 + 200).0).collect();
        assert!(years.windows(2).all(|pair| pair[1] == pair[0] + 1), "{years:?}");
    }
}
