//! Decides what the replicator does next.
//!
//! Floor 6. No socket, no clock, no log: what happened and the time go in, the next step comes
//! out. One call of [`Engine::next`], then the events of what was done, then the next call.

use std::collections::VecDeque;
use std::time::Duration;

use super::backoff::Backoff;
use super::patience::Patience;
use crate::Offset;

/// What to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Open the link.
    Connect,
    /// Read the next durable batch and send it.
    Ship,
    /// Ask for acknowledgements, waiting at most this long.
    Acknowledge(Duration),
    /// Everything is shipped and acknowledged: wait for records.
    Idle,
    /// The link is down: wait this long.
    Wait(Duration),
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The link is up; the upstream lacks everything from here on, and may lose some of what it
    /// has.
    Connected { from: Offset, acknowledged: Offset },
    /// A batch was handed over: its next offset and size. The next one is not to go before.
    Sent { next: Offset, bytes: u64, not_before: Duration },
    /// The upstream wants nothing before this time.
    Held(Duration),
    /// There is no durable batch to send now.
    Drained,
    /// There may be one again.
    Arrived,
    /// Everything below is durable upstream.
    Acknowledged(Offset),
    /// The link could not be opened, or broke.
    Failed,
}

/// The state of one link.
#[derive(Clone, Debug)]
pub(super) struct Engine {
    backoff: Backoff,
    in_flight_bytes_max: u64,
    acknowledge_timeout: Duration,
    patience: Patience,
    link: Link,
}

#[derive(Clone, Debug)]
enum Link {
    Down { retry_at: Duration },
    Up(Flight),
}

/// What is on its way.
#[derive(Clone, Debug)]
struct Flight {
    sent: Offset,
    acknowledged: Offset,
    /// Of each batch that is not acknowledged: its next offset, and its size.
    batches: VecDeque<(Offset, u64)>,
    bytes: u64,
    drained: bool,
    /// Nothing is sent before.
    not_before: Duration,
    /// When an acknowledgement was last waited for from a standing start.
    waiting_since: Option<Duration>,
}

impl Engine {
    pub(super) fn new(
        backoff: Backoff,
        in_flight_bytes_max: u64,
        acknowledge_timeout: Duration,
    ) -> Engine {
        let link = Link::Down { retry_at: Duration::ZERO };
        let patience = Patience::with_answers();
        Engine { backoff, in_flight_bytes_max, acknowledge_timeout, patience, link }
    }

    /// The next step at time `now`.
    pub(super) fn next(&mut self, now: Duration) -> Step {
        let flight = match &mut self.link {
            Link::Down { retry_at } if now >= *retry_at => return Step::Connect,
            Link::Down { retry_at } => return Step::Wait(retry_at.saturating_sub(now)),
            Link::Up(flight) => flight,
        };
        let outstanding = flight.acknowledged < flight.sent;
        let has_room = flight.batches.is_empty() || flight.bytes < self.in_flight_bytes_max;
        let wants_to = !flight.drained && has_room;
        let held = flight.not_before.saturating_sub(now);
        if wants_to && held.is_zero() {
            return Step::Ship;
        }
        if !outstanding {
            return if wants_to { Step::Wait(held) } else { Step::Idle };
        }
        let since = *flight.waiting_since.get_or_insert(now);
        let timeout = self.patience.of(self.acknowledge_timeout);
        let left = timeout.saturating_sub(now.saturating_sub(since));
        Step::Acknowledge(if wants_to { left.min(held) } else { left })
    }

    /// Whether an acknowledgement has been out for too long: then the link is dead. The next one
    /// is given more time.
    pub(super) fn is_overdue(&mut self, now: Duration) -> bool {
        let Link::Up(flight) = &self.link else { return false };
        let timeout = self.patience.of(self.acknowledge_timeout);
        let overdue =
            flight.waiting_since.is_some_and(|since| now.saturating_sub(since) >= timeout);
        if overdue {
            self.patience.ran_out();
        }
        overdue
    }

    /// Takes in what happened at time `now`. Returns how long the link stays down, if it went down.
    pub(super) fn on(&mut self, event: Event, now: Duration) -> Option<Duration> {
        match (event, &mut self.link) {
            (Event::Connected { from, acknowledged }, link) => {
                *link = Link::Up(Flight {
                    sent: from,
                    acknowledged,
                    batches: VecDeque::new(),
                    bytes: 0,
                    drained: false,
                    not_before: Duration::ZERO,
                    waiting_since: None,
                });
            }
            (Event::Failed, link) => {
                let wait = self.backoff.next();
                *link = Link::Down { retry_at: now.saturating_add(wait) };
                return Some(wait);
            }
            (Event::Sent { next, bytes, not_before }, Link::Up(flight)) => {
                flight.sent = flight.sent.max(next);
                flight.batches.push_back((next, bytes));
                flight.bytes = flight.bytes.saturating_add(bytes);
                flight.not_before = not_before;
            }
            (Event::Held(until), Link::Up(flight)) => {
                flight.not_before = flight.not_before.max(until);
                // What it holds back it does not acknowledge.
                flight.waiting_since = flight.waiting_since.map(|since| since.max(until));
            }
            (Event::Drained, Link::Up(flight)) => flight.drained = true,
            (Event::Arrived, Link::Up(flight)) => flight.drained = false,
            (Event::Acknowledged(below), Link::Up(flight)) => {
                if below > flight.acknowledged {
                    flight.acknowledged = below;
                    if let Some(since) = flight.waiting_since.take() {
                        let took = now.saturating_sub(since);
                        self.patience.answered(took, self.acknowledge_timeout);
                    }
                    self.backoff.reset();
                }
                let arrived = flight.batches.partition_point(|(next, _)| *next <= below);
                for (_, bytes) in flight.batches.drain(..arrived) {
                    flight.bytes = flight.bytes.saturating_sub(bytes);
                }
                if flight.acknowledged >= flight.sent {
                    flight.drained = false;
                }
            }
            (_, Link::Down { .. }) => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn engine() -> Engine {
        Engine::new(Backoff::new(ms(100), ms(10_000), 7), 1000, ms(5000))
    }

    fn connected(at: i64) -> Event {
        Event::Connected { from: Offset::new(at), acknowledged: Offset::new(at) }
    }

    fn sent(next: i64, bytes: u64) -> Event {
        Event::Sent { next: Offset::new(next), bytes, not_before: ms(0) }
    }

    #[test]
    fn ships_up_to_the_window_then_waits_for_the_acknowledgement() {
        let mut engine = engine();
        assert_eq!(engine.next(ms(0)), Step::Connect);
        engine.on(connected(10), ms(1));
        for batch in 0..2 {
            assert_eq!(engine.next(ms(2)), Step::Ship);
            engine.on(sent(11 + batch, 500), ms(2));
        }
        assert_eq!(engine.next(ms(3)), Step::Acknowledge(ms(5000)));
        // One of them has arrived: there is room for the next, while the other is on its way.
        engine.on(Event::Acknowledged(Offset::new(11)), ms(1000));
        assert_eq!(engine.next(ms(1000)), Step::Ship);
        engine.on(sent(13, 500), ms(1000));
        assert_eq!(engine.next(ms(1000)), Step::Acknowledge(ms(5000)));
        engine.on(Event::Acknowledged(Offset::new(13)), ms(1001));
        assert_eq!(engine.next(ms(1001)), Step::Ship);
        engine.on(Event::Drained, ms(1001));
        assert_eq!(engine.next(ms(1001)), Step::Idle);
        engine.on(Event::Arrived, ms(9000));
        assert_eq!(engine.next(ms(9000)), Step::Ship);
    }

    #[test]
    fn one_batch_larger_than_the_window_is_shipped_alone() {
        let mut engine = engine();
        engine.on(connected(0), ms(0));
        assert_eq!(engine.next(ms(0)), Step::Ship);
        engine.on(sent(1, 1_000_000), ms(0));
        assert_eq!(engine.next(ms(0)), Step::Acknowledge(ms(5000)));
    }

    #[test]
    fn a_drained_log_with_batches_in_flight_waits_for_their_acknowledgement() {
        let mut engine = engine();
        engine.on(connected(0), ms(0));
        engine.on(sent(5, 10), ms(0));
        engine.on(Event::Drained, ms(0));
        assert_eq!(engine.next(ms(0)), Step::Acknowledge(ms(5000)));
        engine.on(Event::Acknowledged(Offset::new(5)), ms(1));
        // What came in meanwhile is looked for once more before it idles.
        assert_eq!(engine.next(ms(1)), Step::Ship);
    }

    #[test]
    fn silence_is_overdue_after_the_timeout_and_progress_starts_it_anew() {
        let mut engine = engine();
        engine.on(connected(0), ms(0));
        engine.on(sent(5, 2000), ms(0));
        engine.next(ms(100));
        assert!(!engine.is_overdue(ms(5099)));
        assert_eq!(engine.next(ms(5000)), Step::Acknowledge(ms(100)));
        assert!(engine.is_overdue(ms(5100)));
        engine.on(Event::Acknowledged(Offset::new(3)), ms(5050));
        assert!(!engine.is_overdue(ms(5100)));
    }

    #[test]
    fn failures_wait_longer_and_longer_and_progress_resets_that() {
        let mut engine = engine();
        let mut longest = Duration::ZERO;
        let mut now = ms(0);
        for _ in 0..30 {
            assert_eq!(engine.next(now), Step::Connect);
            let wait = engine.on(Event::Failed, now).unwrap();
            assert!(wait <= ms(10_000));
            if !wait.is_zero() {
                assert_eq!(engine.next(now), Step::Wait(wait));
            }
            longest = longest.max(wait);
            now += wait;
        }
        assert!(longest > ms(1000), "{longest:?}");
        // A link that opens and breaks without progress is no progress.
        engine.on(connected(0), now);
        engine.on(sent(1, 1), now);
        engine.on(Event::Acknowledged(Offset::new(1)), now);
        assert!(engine.on(Event::Failed, now).unwrap() <= ms(100));
    }

    #[test]
    fn after_a_failure_what_was_in_flight_is_forgotten_and_asked_for() {
        let mut engine = engine();
        engine.on(connected(0), ms(0));
        engine.on(sent(9, 900), ms(0));
        engine.on(Event::Failed, ms(0));
        engine.on(Event::Acknowledged(Offset::new(9)), ms(0));
        engine.on(connected(4), ms(500));
        assert_eq!(engine.next(ms(500)), Step::Ship);
        engine.on(sent(5, 1), ms(500));
        engine.on(Event::Drained, ms(500));
        assert!(matches!(engine.next(ms(500)), Step::Acknowledge(_)));
    }

    #[test]
    fn what_the_upstream_may_lose_is_acknowledged_before_it_idles() {
        let mut engine = engine();
        let (from, acknowledged) = (Offset::new(9), Offset::new(4));
        engine.on(Event::Connected { from, acknowledged }, ms(0));
        assert_eq!(engine.next(ms(0)), Step::Ship);
        engine.on(Event::Drained, ms(0));
        assert_eq!(engine.next(ms(0)), Step::Acknowledge(ms(5000)));
        engine.on(Event::Acknowledged(Offset::new(9)), ms(1));
        engine.on(Event::Drained, ms(1));
        assert_eq!(engine.next(ms(1)), Step::Idle);
    }

    #[test]
    fn nothing_is_sent_before_its_time_and_answers_are_taken_meanwhile() {
        let mut engine = engine();
        engine.on(connected(0), ms(0));
        let (next, not_before) = (Offset::new(1), ms(300));
        engine.on(Event::Sent { next, bytes: 10, not_before }, ms(0));
        assert_eq!(engine.next(ms(100)), Step::Acknowledge(ms(200)));
        engine.on(Event::Acknowledged(Offset::new(1)), ms(200));
        assert_eq!(engine.next(ms(200)), Step::Wait(ms(100)));
        assert_eq!(engine.next(ms(300)), Step::Ship);
    }
}
