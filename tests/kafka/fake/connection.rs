//! One connection as a broker has it: what is still to be answered, in which order, and by when.

use std::collections::VecDeque;
use std::time::Duration;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ConnectionId(pub(crate) u64);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Delivery {
    /// A whole frame, without its length.
    Frame(Vec<u8>),
    /// Bytes as they come, with a length, or what looks like one.
    Raw(Vec<u8>),
    Closed,
}

#[derive(Debug)]
pub(crate) enum State {
    /// The request is not yet carried out, or waits for replication.
    Waiting,
    /// Will never be answered.
    Lost,
    Due(Duration, Delivery),
}

/// The place of an answer in a connection.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) id: u64,
    /// What a Produce request has in it.
    pub(crate) partitions: Vec<(String, i32)>,
    /// Whether it holds up what is behind it, as it does on a healthy connection.
    pub(crate) in_order: bool,
    /// How long the client is asked to wait once it has this answer.
    pub(crate) throttle: Duration,
    pub(crate) state: State,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Login {
    None,
    /// A mechanism was chosen.
    Chosen,
    ChosenToken,
    /// A token was refused, and why was said: the client has yet to say that it heard.
    TokenRefused,
    Done {
        until: Option<Duration>,
    },
}

#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) node: i32,
    pub(crate) slots: VecDeque<Slot>,
    pub(crate) login: Login,
    /// The broker reads nothing before.
    pub(crate) muted_until: Duration,
    /// The broker has closed; the client may not know.
    pub(crate) closing: bool,
    /// The client knows.
    pub(crate) closed: bool,
}

impl Connection {
    pub(crate) fn new(node: i32) -> Connection {
        Connection {
            node,
            slots: VecDeque::new(),
            login: Login::None,
            muted_until: Duration::ZERO,
            closing: false,
            closed: false,
        }
    }

    /// Produce requests for a partition that have no answer yet.
    pub(crate) fn unanswered(&self, partition: &(String, i32)) -> usize {
        self.slots.iter().filter(|slot| slot.partitions.contains(partition)).count()
    }

    pub(crate) fn slot(&mut self, id: u64) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.id == id)
    }

    /// Closes behind what is due by then; what is not, is never answered.
    pub(crate) fn close(&mut self, at: Duration) {
        self.slots.retain(|slot| matches!(slot.state, State::Due(due, _) if due <= at));
        let state = State::Due(at, Delivery::Closed);
        let (partitions, throttle) = (Vec::new(), Duration::ZERO);
        self.slots.push_back(Slot { id: u64::MAX, partitions, in_order: true, throttle, state });
        self.closing = true;
    }

    /// When each slot goes out, by its place.
    fn dues(&self) -> Vec<(Duration, usize)> {
        let mut gate = Some(Duration::ZERO);
        let mut dues = Vec::new();
        for (n, slot) in self.slots.iter().enumerate() {
            match (&slot.state, slot.in_order) {
                (State::Lost, _) | (State::Waiting, false) => {}
                (State::Waiting, true) => gate = None,
                (State::Due(due, _), false) => dues.push((*due, n)),
                (State::Due(due, _), true) => {
                    gate = gate.map(|gate| gate.max(*due));
                    dues.extend(gate.map(|gate| (gate, n)));
                }
            }
        }
        dues.sort();
        dues
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.dues().first().map(|(due, _)| *due)
    }

    pub(crate) fn deliver(&mut self, now: Duration) -> Vec<Delivery> {
        let mut dues = self.dues();
        dues.retain(|(due, _)| *due <= now);
        let mut delivered = Vec::new();
        let mut taken = Vec::new();
        for (_, n) in &dues {
            let slot = &mut self.slots[*n];
            let state = std::mem::replace(&mut slot.state, State::Lost);
            let State::Due(_, delivery) = state else { continue };
            taken.push(*n);
            if !slot.throttle.is_zero() {
                self.muted_until = self.muted_until.max(now + slot.throttle);
            }
            let closed = delivery == Delivery::Closed;
            delivered.push(delivery);
            if closed {
                self.slots.clear();
                self.closed = true;
                return delivered;
            }
        }
        taken.sort();
        for n in taken.into_iter().rev() {
            self.slots.remove(n);
        }
        delivered
    }
}
