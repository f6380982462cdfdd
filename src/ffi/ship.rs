//! Upstreams and replicators behind the C functions, where they are built in.
//!
//! Floor 6.

#[cfg(feature = "kafka")]
use super::kafka::Kafka;

use std::ffi::c_char;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::bytes::{forebay_bytes, invalid};
use super::callback::Context;
use super::options::{bound, millis, size};
use super::report::short_text;
use super::shipping::*;
use super::status::forebay_status;
use super::token::{Callback, Token, not_while_asking};
#[cfg(feature = "kafka")]
use crate::KafkaUpstream;
use crate::{
    Delivery, Error, ErrorKind, LinkState, Log, LogOptions, LogUpstream, Offset, Replicator,
    ReplicatorNotice, ReplicatorOptions, ReplicatorStatus, ReplicatorTurns, Result, Turn,
};

/// What an upstream is to be.
pub(super) enum Setup {
    /// A log in this directory.
    Log(PathBuf, Box<LogOptions>),
    /// A topic.
    #[cfg(feature = "kafka")]
    Kafka(Box<Kafka>),
}

impl Setup {
    pub(super) fn log(dir: &Path, options: LogOptions) -> Setup {
        Setup::Log(dir.to_owned(), Box::new(options))
    }

    #[cfg(feature = "kafka")]
    pub(super) fn kafka(bootstrap: &str, topic: &str) -> Result<Setup> {
        KafkaUpstream::new(bootstrap, topic).check_form()?;
        Ok(Setup::Kafka(Box::new(Kafka::new(bootstrap, topic))))
    }

    #[cfg(not(feature = "kafka"))]
    pub(super) fn kafka(_: &str, _: &str) -> Result<Setup> {
        Err(super::version::without("kafka"))
    }

    pub(super) fn set(&mut self, name: &str, value: forebay_bytes) -> Result<()> {
        match self {
            Setup::Log(..) => {
                let _ = value;
                let what = format!(
                    "an upstream that is a log has no setting `{name}`: forebay_upstream_log_new \
                     takes its options"
                );
                Err(Error::new(ErrorKind::NotFound, what))
            }
            #[cfg(feature = "kafka")]
            Setup::Kafka(kafka) => kafka.set(name, value),
        }
    }

    pub(super) fn dead_letter(&mut self, log: &Log) -> Result<()> {
        match self {
            Setup::Log(..) => {
                let _ = log;
                Err(invalid(
                    "an upstream that is a log refuses no record, and takes no dead_letter",
                ))
            }
            #[cfg(feature = "kafka")]
            Setup::Kafka(kafka) => {
                kafka.dead_letter(log);
                Ok(())
            }
        }
    }

    /// The token before, to be dropped where nobody is locked out by it. The context is asked for
    /// only when nothing can fail any more.
    pub(super) fn token(
        &mut self,
        callback: Callback,
        context: impl FnOnce() -> Context,
    ) -> Result<Option<Arc<Token>>> {
        match self {
            Setup::Log(..) => {
                let _ = (callback, context);
                Err(invalid("an upstream that is a log has no login, and takes no token callback"))
            }
            #[cfg(feature = "kafka")]
            Setup::Kafka(kafka) => Ok(kafka.token(Token::new(callback, context()))),
        }
    }

    /// The number of the token that it asks for; 0 for none.
    fn token_number(&self) -> usize {
        match self {
            Setup::Log(..) => 0,
            #[cfg(feature = "kafka")]
            Setup::Kafka(kafka) => kafka.token_number(),
        }
    }
}

fn log_upstream(dir: &Path, options: &LogOptions) -> LogUpstream {
    LogUpstream::new(dir).options(options.clone())
}

fn options(given: &forebay_replicator_options) -> Result<ReplicatorOptions> {
    let mut options = ReplicatorOptions::new();
    if given.backoff_min_ms != 0 {
        options = options.backoff_min(millis(given.backoff_min_ms, "backoff_min_ms")?);
    }
    if given.backoff_max_ms != 0 {
        options = options.backoff_max(millis(given.backoff_max_ms, "backoff_max_ms")?);
    }
    if given.in_flight_bytes != 0 {
        size(given.in_flight_bytes, "in_flight_bytes")?;
        options = options.in_flight_bytes(given.in_flight_bytes);
    }
    if given.acknowledge_timeout_ms != 0 {
        let timeout = millis(given.acknowledge_timeout_ms, "acknowledge_timeout_ms")?;
        options = options.acknowledge_timeout(timeout);
    }
    if let Some(bytes) = bound(given.bytes_per_second) {
        options = options.bytes_per_second(bytes);
    }
    if given.reserved != 0 {
        return Err(invalid("a reserved field of the replicator options is not 0"));
    }
    Ok(options)
}

/// A replicator on a thread of its own.
pub(super) struct Running {
    replicator: Replicator,
    token: usize,
}

impl Running {
    pub(super) fn start(
        log: &Log,
        name: &str,
        setup: &Setup,
        given: &forebay_replicator_options,
    ) -> Result<Running> {
        let options = options(given)?;
        let replicator = match setup {
            Setup::Log(dir, by) => Replicator::start(log, name, log_upstream(dir, by), options)?,
            #[cfg(feature = "kafka")]
            Setup::Kafka(kafka) => Replicator::start(log, name, kafka.upstream()?, options)?,
        };
        Ok(Running { replicator, token: setup.token_number() })
    }

    #[cfg(all(test, feature = "simulation", feature = "kafka", feature = "toml"))]
    pub(super) fn of(replicator: Replicator) -> Running {
        Running { replicator, token: 0 }
    }

    /// Refuses a call that waits for the thread which makes it.
    pub(super) fn not_from_inside(&self, what: &str) -> Result<()> {
        not_while_asking(self.token, what)
    }

    pub(super) fn status(&self) -> Result<forebay_progress> {
        Ok(progress(&self.replicator.status()))
    }

    pub(super) fn upstream_offset(&self, offset: Offset) -> Result<Offset> {
        upstream_offset(&self.replicator.status(), offset)
    }

    pub(super) fn next_notice(&self, timeout: Duration) -> Result<Option<forebay_notice>> {
        Ok(self.replicator.next_notice(timeout).as_ref().map(notice))
    }

    pub(super) fn wait(&self, offset: Offset, timeout: Duration) -> Result<bool> {
        self.replicator.wait_until(offset, timeout)
    }

    /// Whether it has stopped, as it is told to by this; with that, `stop` does not block.
    pub(super) fn stop_within(&self, timeout: Duration) -> Result<bool> {
        self.replicator.stop_within(timeout)
    }

    pub(super) fn stop(self) -> Result<()> {
        self.replicator.stop()
    }
}

/// A replicator that the application drives.
pub(super) struct Turning {
    turns: ReplicatorTurns,
}

impl Turning {
    #[cfg(all(test, feature = "simulation", feature = "kafka", feature = "toml"))]
    pub(super) fn of(turns: ReplicatorTurns) -> Turning {
        Turning { turns }
    }

    pub(super) fn new(
        log: &Log,
        name: &str,
        setup: &Setup,
        given: &forebay_replicator_options,
    ) -> Result<Turning> {
        let options = options(given)?;
        let started = Instant::now();
        let clock = move || started.elapsed();
        let turns = match setup {
            Setup::Log(dir, by) => {
                ReplicatorTurns::new(log, name, log_upstream(dir, by), &options, clock)?
            }
            #[cfg(feature = "kafka")]
            Setup::Kafka(kafka) => {
                ReplicatorTurns::new(log, name, kafka.upstream()?, &options, clock)?
            }
        };
        Ok(Turning { turns })
    }

    /// Milliseconds until the next turn is due; -1 if there is none.
    pub(super) fn turn(&mut self) -> Result<i64> {
        Ok(match self.turns.turn() {
            Turn::Again => 0,
            Turn::Pause(wait) => whole_millis(wait),
            Turn::Ended => -1,
        })
    }

    pub(super) fn status(&self) -> Result<forebay_progress> {
        Ok(progress(&self.turns.status()))
    }

    pub(super) fn upstream_offset(&self, offset: Offset) -> Result<Offset> {
        upstream_offset(&self.turns.status(), offset)
    }

    pub(super) fn next_notice(&mut self) -> Result<Option<forebay_notice>> {
        Ok(self.turns.next_notice().as_ref().map(notice))
    }
}

/// Rounded up: who waits as long does not come too early.
fn whole_millis(wait: Duration) -> i64 {
    i64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(i64::MAX)
}

fn upstream_offset(status: &ReplicatorStatus, offset: Offset) -> Result<Offset> {
    let found = status.upstream.upstream_offset_of(offset);
    found.map(Offset::new).ok_or_else(|| {
        let what = format!("where offset {offset} stands upstream is not known");
        Error::new(ErrorKind::NotFound, what)
    })
}

fn number(kind: ErrorKind) -> i32 {
    forebay_status::from(kind) as i32
}

fn progress(status: &ReplicatorStatus) -> forebay_progress {
    let upstream = &status.upstream;
    forebay_progress {
        struct_size: 0,
        link: match status.link {
            LinkState::Connecting => FOREBAY_LINK_CONNECTING,
            LinkState::Connected => FOREBAY_LINK_CONNECTED,
            LinkState::Waiting => FOREBAY_LINK_WAITING,
            LinkState::Stopped => FOREBAY_LINK_STOPPED,
        },
        committed: status.committed.get(),
        lag_records: status.lag_records,
        lag_bytes: status.lag_bytes,
        oldest_timestamp_ms: status.oldest.map_or(-1, |oldest| oldest.millis()),
        records_sent: status.records_sent,
        records_resent: status.records_resent,
        batches_sent: status.batches_sent,
        bytes_sent: status.bytes_sent,
        connects: status.connects,
        failures: status.failures,
        rewinds: status.rewinds,
        unreadable_records: status.unreadable_records,
        retry_in_ms: status.retry_in.map_or(-1, whole_millis),
        in_flight: upstream.in_flight as u64,
        upstream_offset: upstream.upstream_offset.unwrap_or(-1),
        gaps: upstream.gaps,
        gap_records: upstream.gap_records,
        refused: upstream.refused,
        maybe_doubled: upstream.maybe_doubled,
        identity_shared: upstream.identity_shared,
        warnings: upstream.warnings.len() as u64,
        delivery: match upstream.delivery {
            Delivery::ExactlyOnce => FOREBAY_EXACTLY_ONCE,
            Delivery::AtLeastOnce => FOREBAY_AT_LEAST_ONCE,
        },
        last_error_status: status.last_error_kind.map_or(0, number),
        last_error: text(status.last_error.as_deref()),
        sent_as_stored: upstream.sent_as_stored,
        sent_encoded: upstream.sent_encoded,
    }
}

fn text(text: Option<&str>) -> [c_char; 512] {
    short_text(text.unwrap_or_default())
}

fn notice(told: &ReplicatorNotice) -> forebay_notice {
    let mut notice: forebay_notice = super::sized::zeroed();
    notice.kind = match told {
        ReplicatorNotice::Connected => FOREBAY_NOTICE_CONNECTED,
        ReplicatorNotice::Failed { error, kind } => {
            notice.text = text(Some(error));
            notice.status = number(*kind);
            FOREBAY_NOTICE_FAILED
        }
        ReplicatorNotice::CaughtUp { committed } => {
            notice.offset = committed.get();
            FOREBAY_NOTICE_CAUGHT_UP
        }
        ReplicatorNotice::Gap { records } => {
            notice.count = *records;
            FOREBAY_NOTICE_GAP
        }
        ReplicatorNotice::Unreadable { records } => {
            notice.count = *records;
            FOREBAY_NOTICE_UNREADABLE
        }
        ReplicatorNotice::Refused { records } => {
            notice.count = *records;
            FOREBAY_NOTICE_REFUSED
        }
        ReplicatorNotice::MaybeDoubled { records } => {
            notice.count = *records;
            FOREBAY_NOTICE_MAYBE_DOUBLED
        }
        ReplicatorNotice::Rewound => FOREBAY_NOTICE_REWOUND,
        ReplicatorNotice::IdentityShared => FOREBAY_NOTICE_IDENTITY_SHARED,
        ReplicatorNotice::Warning { text: what } => {
            notice.text = text(Some(what));
            FOREBAY_NOTICE_WARNING
        }
        ReplicatorNotice::Stopped => FOREBAY_NOTICE_STOPPED,
        ReplicatorNotice::Missed { notices } => {
            notice.count = *notices;
            FOREBAY_NOTICE_MISSED
        }
    };
    notice
}
