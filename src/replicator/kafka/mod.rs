//! Ships to an Apache Kafka cluster: each record once, in order, whatever fails.
//!
//! Floor 6. `open` finds the leader and where to go on, `link` sends and takes answers, `tail` and
//! `lost` read back, by `reading`, when `unseen` has nothing left that cannot be read; `identity`
//! is the arithmetic, `preflight` judges the topic's settings; `calls`, `channel` and `bounded` are
//! the wire, `tls` makes it secure; `network` is the one place that knows sockets and time.

mod bounded;
mod calls;
mod channel;
mod codes;
mod gap;
mod identity;
mod link;
mod lost;
mod network;
mod open;
mod preflight;
mod reading;
mod sasl;
mod settings;
mod tail;
mod tls;
mod unseen;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::upstream::{Resume, Source, Upstream, UpstreamStatus};
use crate::{Compression, Error, Log, Offset, RecordBatch, Result};
use calls::NewTopic;
use link::{Link, Memory, With};
use network::Tcp;
use settings::Settings;

pub use network::{Connection, Network};
pub use sasl::Sasl;
pub use settings::UpstreamPartition;
pub use tls::Tls;

/// Ships into a topic of an Apache Kafka cluster, 2.8 or later.
///
/// Each record stands there once, in order, however often link, brokers, leaders, this process and
/// the power fail. Stored batches of 16 KiB and more, and all
/// compressed ones, are sent as they are stored. The producer id
/// is kept with the log's committed offset, so that after a restart the partition's leader can be
/// asked what it has. Needs the rights WRITE, READ and DESCRIBE on the topic, and DESCRIBE_CONFIGS
/// to check its settings.
///
/// # Examples
/// ```no_run
/// use forebay::{KafkaUpstream, Log, Replicator, ReplicatorOptions};
/// # let dir = std::path::Path::new("");
/// let log = Log::open(dir)?;
/// let kafka = KafkaUpstream::new("broker-1:9092,broker-2:9092", "telemetry");
/// let replicator = Replicator::start(&log, "uplink", kafka, ReplicatorOptions::new())?;
/// log.append("21.5 C")?;
/// # Ok::<(), forebay::Error>(())
/// ```
pub struct KafkaUpstream {
    settings: Settings,
    network: Box<dyn Network>,
    memory: Memory,
    link: Option<Link>,
    /// The bootstrap server that is asked first.
    due: usize,
}

impl KafkaUpstream {
    /// Partition 0 of `topic`, by way of these bootstrap servers: `host:port`, separated by commas.
    /// Wrong ones are told when the link is opened.
    #[must_use]
    pub fn new(bootstrap: impl Into<String>, topic: impl Into<String>) -> KafkaUpstream {
        KafkaUpstream {
            settings: Settings::new(bootstrap.into(), topic.into()),
            network: Box::new(Tcp::new()),
            memory: Memory::default(),
            link: None,
            due: 0,
        }
    }

    /// The partition of the topic; 0 unless set.
    #[must_use]
    pub fn partition(mut self, partition: UpstreamPartition) -> KafkaUpstream {
        self.settings.partition = partition;
        self
    }

    /// The name by which brokers know this client in their logs and quotas; `forebay` unless set.
    #[must_use]
    pub fn client_id(mut self, name: impl Into<String>) -> KafkaUpstream {
        self.settings.client_id = name.into();
        self
    }

    /// How long a connection may take to open (10 s unless set; a TLS handshake as long again), and
    /// a broker to answer (30 s).
    ///
    /// What runs out is given twice as long the next time, up to 4 and 32 times as long, and less
    /// again once the link is quick: over one of 2 KB a second a batch takes minutes, and would be
    /// sent for ever.
    #[must_use]
    pub fn timeouts(mut self, connect: Duration, request: Duration) -> KafkaUpstream {
        (self.settings.connect_timeout, self.settings.request_timeout) = (connect, request);
        self
    }

    /// How long a connection may take to open, as in [`KafkaUpstream::timeouts`]; 10 s unless set.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> KafkaUpstream {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long a broker may take to answer, as in [`KafkaUpstream::timeouts`]; 30 s unless set.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> KafkaUpstream {
        self.settings.request_timeout = timeout;
        self
    }

    /// Speaks TLS with all brokers, and with none that fails its checks; without it everybody on
    /// the way can read, and change, what is shipped. SASL goes on inside it.
    #[must_use]
    pub fn tls(mut self, tls: Tls) -> KafkaUpstream {
        self.settings.tls = Some(Arc::new(tls));
        self
    }

    /// Tells brokers who this is: without it they are asked for nothing that needs a login. A login
    /// that lasts for a time only is renewed before that is over.
    #[must_use]
    pub fn sasl(mut self, sasl: Sasl) -> KafkaUpstream {
        self.settings.sasl = Some(sasl);
        self
    }

    /// Up to how many bytes small batches are put together before they are sent; 256 KiB unless
    /// set. They never wait for more to come.
    #[must_use]
    pub fn merge_bytes(mut self, bytes: usize) -> KafkaUpstream {
        self.settings.merge_bytes = bytes;
        self
    }

    /// Compresses what is not compressed yet on its way, small batches that were put together too;
    /// [`Compression::None`] unless set. What is stored compressed is sent as it is stored,
    /// whatever this says. A codec that is not built in is refused when the link is opened.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> KafkaUpstream {
        self.settings.compression = compression;
        self
    }

    /// Refuses bootstrap servers and a topic of a form that none has.
    #[cfg(feature = "ffi")]
    pub(crate) fn check_form(&self) -> Result<()> {
        let topic = self.settings.topic.as_str();
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if !(1..=249).contains(&topic.len()) || !topic.bytes().all(legal) {
            let text = format!("{topic:?} is no topic: 1 to 249 of letters, digits, '.', '_', '-'");
            return Err(Error::new(crate::ErrorKind::InvalidArgument, text));
        }
        let servers = self.settings.servers();
        servers
            .map(drop)
            .map_err(|error| Error::new(crate::ErrorKind::InvalidArgument, error.what_failed()))
    }

    /// Makes the topic where there is none, with so many partitions and replicas (-1: as the
    /// cluster has it), and these settings.
    #[must_use]
    pub fn create_topic<'a>(
        mut self,
        partitions: i32,
        replicas: i16,
        settings: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> KafkaUpstream {
        let settings = settings.into_iter();
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.settings.create = Some(NewTopic { partitions, replicas, settings });
        self
    }

    /// Where a record goes that the broker will never take, for its size or its form. It gets the
    /// headers `forebay.offset` and `forebay.error`; shipping goes on behind it. Without such a log
    /// shipping stops there, and says so.
    #[must_use]
    pub fn dead_letter(mut self, log: &Log) -> KafkaUpstream {
        self.settings.dead_letter = Some(log.clone());
        self
    }

    /// Marks each gap in the topic: where the log has lost records before they were shipped, or
    /// one went to the dead-letter log, a record without key and value stands between the ones
    /// around it. Its headers `forebay.gap.first` and `forebay.gap.next` are the first offset not
    /// known to have arrived and the first one behind the gap; its time is that of the record
    /// behind. A topic that takes no such record, as a compacted one, is shipped to without.
    #[must_use]
    pub fn mark_gaps(mut self, mark: bool) -> KafkaUpstream {
        self.settings.mark_gaps = mark;
        self
    }

    /// Goes on with a topic of the same name in another cluster, or one that was deleted and made
    /// anew, with what was not acknowledged before; without this it stops, and says so.
    #[must_use]
    pub fn follow_new_topic(mut self, follow: bool) -> KafkaUpstream {
        self.settings.follow_new_topic = follow;
        self
    }

    /// Ships although the topic's retention will take the oldest records at once, by their times;
    /// without this it does not begin, and says which setting to change.
    #[must_use]
    pub fn accept_expiring(mut self, accept: bool) -> KafkaUpstream {
        self.settings.accept_expiring = accept;
        self
    }

    /// Reaches the brokers in another way than by TCP.
    #[must_use]
    pub fn network(mut self, network: impl Network + 'static) -> KafkaUpstream {
        self.network = Box::new(network);
        self
    }

    /// Runs a call of the open link.
    fn linked<T>(
        &mut self,
        source: &mut Source<'_>,
        call: impl FnOnce(&mut Link, &mut With<'_, '_>) -> Result<T>,
    ) -> Result<T> {
        let link = self.link.as_mut().ok_or_else(|| Error::upstream("the link is not open"))?;
        let mut with = With {
            settings: &self.settings,
            network: &mut *self.network,
            memory: &mut self.memory,
            source,
        };
        call(link, &mut with).inspect_err(|_| self.memory.failed())
    }
}

impl Upstream for KafkaUpstream {
    fn connect(&mut self, source: &mut Source<'_>) -> Result<Resume> {
        self.link = None;
        let mut with = With {
            settings: &self.settings,
            network: &mut *self.network,
            memory: &mut self.memory,
            source,
        };
        let opened = open::open(self.due, &mut with).inspect_err(|_| {
            self.memory.failed();
            self.due = self.due.wrapping_add(1);
        })?;
        self.memory.opened(self.network.now(), &self.settings);
        self.settings.batch_bytes_max =
            opened.batch_bytes_max.unwrap_or(self.settings.batch_bytes_max);
        self.memory.status.in_flight = 0;
        self.link = Some(opened.link);
        Ok(opened.resume)
    }

    fn send(&mut self, batch: &RecordBatch, source: &mut Source<'_>) -> Result<()> {
        self.linked(source, |link, with| link.send(batch, with))
    }

    fn acknowledge(&mut self, max_wait: Duration, source: &mut Source<'_>) -> Result<Offset> {
        self.linked(source, |link, with| {
            if with.memory.throttled(&*with.network).is_zero() {
                link.flush(with)?;
            }
            // One that takes its time, and all that are there already.
            let mut wait = max_wait;
            while link.in_flight() > 0 && link.answer(wait, with)?.is_some() {
                wait = Duration::ZERO;
            }
            Ok(link.acknowledged)
        })
    }

    fn disconnect(&mut self) {
        self.link = None;
        self.memory.status.in_flight = 0;
    }

    fn pause(&self) -> Duration {
        self.memory.throttled(&*self.network)
    }

    fn status(&self) -> UpstreamStatus {
        self.memory.status.clone()
    }
}

impl fmt::Debug for KafkaUpstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaUpstream")
            .field("bootstrap", &self.settings.bootstrap)
            .field("topic", &self.settings.topic)
            .field("connected", &self.link.is_some())
            .finish_non_exhaustive()
    }
}
