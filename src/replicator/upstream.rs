//! The seam between the replicator and whatever receives.
//!
//! Floor 6.

use std::time::Duration;

use crate::{LogId, Offset, RecordBatch, Result};

/// What receives batches. Implement it for any link; [`LogUpstream`](super::LogUpstream) ships
/// into another log.
///
/// The replicator calls it from one thread: connect, then sends and acknowledgements in any
/// mixture, and disconnect after every error. A call may block; stopping the replicator waits for
/// it. Errors of a link are made with [`Error::upstream`](crate::Error::upstream).
pub trait Upstream: Send {
    /// Opens the link. Returns the first offset the upstream does not have durably: shipping
    /// resumes there, whatever was sent before. It has to be asked of the upstream, not
    /// remembered: an acknowledgement may have been lost on its way.
    ///
    /// # Errors
    /// Any: the replicator disconnects and tries again after a backoff.
    fn connect(&mut self, source: &Source) -> Result<Offset>;

    /// Hands over the next batch; it need not be durable when this returns. Batches come in order;
    /// one may begin above the end of the last one where the log has nothing in between.
    ///
    /// # Errors
    /// Any; whether the batch arrived is asked at the next connect.
    fn send(&mut self, batch: &RecordBatch) -> Result<()>;

    /// Waits at most `max_wait` for what was sent to become durable upstream, and returns the
    /// offset below which everything is.
    ///
    /// # Errors
    /// Any; what arrived is asked at the next connect.
    fn acknowledge(&mut self, max_wait: Duration) -> Result<Offset>;

    /// Closes the link. Called after any error and at the end, also when it is closed already.
    fn disconnect(&mut self);
}

/// What an upstream is told of the log when the link is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Source {
    /// The log's identity.
    pub log_id: LogId,
    /// The first offset it still has.
    pub log_start: Offset,
    /// One past the last offset it ships.
    pub durable: Offset,
    /// The offset below which this upstream acknowledged everything.
    pub committed: Offset,
}
