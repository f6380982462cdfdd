//! How a Kafka upstream is set up.
//!
//! Floor 6.

use std::sync::Arc;
use std::time::Duration;

use super::calls::NewTopic;
use super::sasl::Sasl;
use super::tls::Secure;
use crate::{Compression, Error, ErrorKind, Log, LogId, Result, partition_for_key};

/// The port of a bootstrap server that names none.
const PORT: u16 = 9092;

/// Which partition of the topic a log ships to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum UpstreamPartition {
    /// This one: for logs of a [`PartitionedLog`](crate::PartitionedLog) the log's own number keeps
    /// the order of each key, and with as many partitions here as there each key stands where
    /// Kafka's own producers put it.
    Fixed(i32),
    /// One that the log's id decides, so that the devices of a fleet spread over all of them. If
    /// the number of partitions changes later, shipping stops with a
    /// [`Conflict`](ErrorKind::Conflict).
    ByLogId,
    /// The one that Kafka's own producers choose for this key, the name of the device or whatever
    /// else its logs shall share: who knows the name knows where to look. As with the log's id,
    /// shipping stops if that becomes another one.
    ByKey(String),
}

impl UpstreamPartition {
    pub(super) fn of(&self, log: LogId, partitions: usize) -> i32 {
        match self {
            UpstreamPartition::Fixed(partition) => *partition,
            UpstreamPartition::ByKey(key) => {
                let partitions = u32::try_from(partitions).unwrap_or(u32::MAX);
                i32::try_from(partition_for_key(key.as_bytes(), partitions)).unwrap_or(0)
            }
            UpstreamPartition::ByLogId => {
                let hash = log.as_bytes().iter().fold(0_u64, |hash, byte| {
                    (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
                });
                let one = (hash >> 16).checked_rem(partitions as u64).unwrap_or(0);
                i32::try_from(one).unwrap_or(0)
            }
        }
    }
}

/// What the builder of a [`KafkaUpstream`](super::KafkaUpstream) gathers.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) bootstrap: String,
    pub(super) topic: String,
    pub(super) partition: UpstreamPartition,
    pub(super) client_id: String,
    pub(super) connect_timeout: Duration,
    pub(super) request_timeout: Duration,
    /// Small batches are put together up to so many bytes.
    pub(super) merge_bytes: usize,
    /// Plain batches are compressed by it on their way.
    pub(super) compression: Compression,
    /// The largest batch that is sent: what the topic takes, as far as it was read.
    pub(super) batch_bytes_max: usize,
    pub(super) tls: Option<Arc<dyn Secure>>,
    pub(super) sasl: Option<Sasl>,
    pub(super) create: Option<NewTopic>,
    pub(super) dead_letter: Option<Log>,
    pub(super) mark_gaps: bool,
    pub(super) follow_new_topic: bool,
    pub(super) accept_expiring: bool,
}

impl Settings {
    pub(super) fn new(bootstrap: String, topic: String) -> Settings {
        Settings {
            bootstrap,
            topic,
            partition: UpstreamPartition::Fixed(0),
            client_id: "forebay".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            merge_bytes: 256 << 10,
            compression: Compression::None,
            // A broker's own bound, unless it says another one: 1 MiB and 12 bytes.
            batch_bytes_max: (1 << 20) + 12,
            tls: None,
            sasl: None,
            create: None,
            dead_letter: None,
            mark_gaps: false,
            follow_new_topic: false,
            accept_expiring: false,
        }
    }

    /// Refuses to compress by a codec that is not built in.
    pub(super) fn check_compression(&self) -> Result<()> {
        self.compression.check_built_in().map_err(|error| wrong(error.what_failed()))
    }

    /// The bootstrap servers: host and port each.
    pub(super) fn servers(&self) -> Result<Vec<(String, u16)>> {
        let servers = self.bootstrap.split(',').map(str::trim).filter(|text| !text.is_empty());
        let servers = servers.map(server).collect::<Result<Vec<_>>>()?;
        match servers.is_empty() {
            true => Err(wrong("no bootstrap server is given: \"host:9092,host:9092\"")),
            false => Ok(servers),
        }
    }
}

fn wrong(text: impl Into<String>) -> Error {
    Error::new(ErrorKind::UpstreamRejected, text)
}

/// `host`, `host:port`, `[v6]:port`, or a bare IPv6 address.
fn server(text: &str) -> Result<(String, u16)> {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => match text.rsplit_once(':') {
            Some((host, port)) if !host.contains(':') => (host, Some(port)),
            _ => (text, None),
        },
    };
    let port = port.map_or(Ok(PORT), str::parse);
    match port {
        Ok(port) if !host.is_empty() && port > 0 => Ok((host.to_owned(), port)),
        _ => Err(wrong(format!("'{text}' is no bootstrap server: \"host:9092\" is one"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_servers_are_hosts_with_or_without_a_port() {
        let servers = |text: &str| Settings::new(text.to_owned(), "t".to_owned()).servers();
        let of = |host: &str, port| (host.to_owned(), port);
        assert_eq!(
            servers("a:1, b ,[::1]:9093,fe80::1,[::2],").unwrap(),
            [of("a", 1), of("b", 9092), of("::1", 9093), of("fe80::1", 9092), of("::2", 9092)]
        );
        for bad in ["", " , ", "a:", "a:x", ":9092", "a:70000", "a:0"] {
            assert_eq!(servers(bad).unwrap_err().kind(), ErrorKind::UpstreamRejected, "{bad}");
        }
    }

    #[test]
    fn log_ids_spread_over_all_partitions_and_each_stays_at_one() {
        let mut seen = [0; 7];
        for number in 0..700_u32 {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&number.wrapping_mul(2_654_435_761).to_be_bytes());
            let partition = UpstreamPartition::ByLogId.of(LogId::from_bytes(bytes), 7);
            seen[usize::try_from(partition).unwrap()] += 1;
        }
        assert!(seen.iter().all(|count| (50..150).contains(count)), "{seen:?}");
        assert_eq!(UpstreamPartition::ByLogId.of(LogId::from_bytes([1; 16]), 0), 0);
        // As Kafka's `Utils.murmur2` has it, modulo the number.
        let by_key = UpstreamPartition::ByKey("engine-7".to_owned());
        let expected = i32::try_from(partition_for_key(b"engine-7", 7)).unwrap();
        assert_eq!(by_key.of(LogId::from_bytes([1; 16]), 7), expected);
        assert_eq!(by_key.of(LogId::from_bytes([1; 16]), 0), 0);
        assert_eq!(UpstreamPartition::Fixed(3).of(LogId::from_bytes([1; 16]), 7), 3);
    }
}
