//! Answers on their way: what each still waits for, and what its faults make of it.

use std::time::Duration;

use kafka_protocol::messages::FetchRequest;

use super::cluster::{Cluster, Work};
use super::connection::{ConnectionId, Delivery, Slot, State};
use super::faults::{Fault, Faults, Garbage};
use super::produce::Part;
use super::wire::Head;

/// A request as its handler sees it.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) connection: ConnectionId,
    pub(crate) slot: u64,
    pub(crate) node: i32,
    pub(crate) head: Head,
    pub(crate) faults: Faults,
}

impl Ask {
    /// The code to answer with, if a fault has set one.
    pub(crate) fn forced(&self) -> Option<i16> {
        self.faults.code().0
    }

    /// Whether the request is carried out.
    pub(crate) fn acts(&self) -> bool {
        self.faults.code().1
    }

    pub(crate) fn throttle_ms(&self) -> i32 {
        self.faults.throttle().as_millis() as i32
    }
}

/// What an answer waits for.
#[derive(Debug)]
pub(crate) enum Waiting {
    Produce(Vec<Part>),
    Fetch(FetchRequest),
}

#[derive(Debug)]
pub(crate) struct Pending {
    pub(crate) ask: Ask,
    pub(crate) deadline: Duration,
    pub(crate) waiting: Waiting,
}

impl Cluster {
    pub(super) fn wait(&mut self, ask: Ask, wait: Duration, waiting: Waiting) {
        let deadline = self.now + wait;
        self.plan(deadline, Work::Deadline);
        self.pending.push(Pending { ask, deadline, waiting });
    }

    /// Answers what has waited long enough, in the order in which it came.
    pub(super) fn complete(&mut self) {
        let now = self.now;
        for mut pending in std::mem::take(&mut self.pending) {
            let late = now >= pending.deadline;
            let frame = match &mut pending.waiting {
                Waiting::Produce(parts) => self.produced(&pending.ask, parts, late),
                Waiting::Fetch(request) => self.fetched(&pending.ask, request, late),
            };
            match frame {
                Some(frame) => self.finish(&pending.ask, frame),
                None => self.pending.push(pending),
            }
        }
    }

    /// Sends an answer, or what its faults leave of it.
    pub(super) fn finish(&mut self, ask: &Ask, mut frame: Vec<u8>) {
        let mut due = self.now + self.settings.latency;
        let (mut delivery, mut copy, mut close) = (None, None, false);
        for fault in &ask.faults.list {
            match fault {
                Fault::Late(later) | Fault::Overtaken(later) => due += *later,
                Fault::Twice(later) => copy = Some(*later),
                Fault::Truncate(bytes) => frame.truncate(frame.len().saturating_sub(*bytes)),
                Fault::Padded(bytes) => frame.resize(frame.len() + bytes, 0),
                Fault::Flip(bits) if frame.len() > 4 => {
                    for _ in 0..*bits {
                        let at = self.schedule.random.below((frame.len() - 4) as u64 * 8) as usize;
                        frame[4 + at / 8] ^= 1 << (at % 8);
                    }
                }
                Fault::Claim if frame.len() > 4 => {
                    let at = 4 + self.schedule.random.below((frame.len() - 4) as u64) as usize;
                    let claim = [0xff, 0xff, 0xff, 0xff, 0x0f];
                    let end = frame.len().min(at + claim.len());
                    frame[at..end].copy_from_slice(&claim[..end - at]);
                }
                Fault::Replace(these, those) => replace(&mut frame, these, those),
                Fault::Correlation(added) if frame.len() >= 4 => {
                    let wrong = ask.head.correlation.wrapping_add(*added);
                    frame[..4].copy_from_slice(&wrong.to_be_bytes());
                }
                Fault::Cut(bytes) | Fault::Stall(bytes) => {
                    let mut raw = (frame.len() as i32).to_be_bytes().to_vec();
                    raw.extend_from_slice(&frame);
                    raw.truncate(*bytes);
                    delivery = Some(Delivery::Raw(raw));
                    close = matches!(fault, Fault::Cut(_));
                }
                Fault::Garbage(garbage) => delivery = Some(Delivery::Raw(self.garbage(garbage))),
                _ => {}
            }
        }
        let lost = ask.faults.list.iter().find_map(|fault| match fault {
            Fault::DropAfter { close } => Some(*close),
            _ => None,
        });
        let number = self.number();
        let Some(connection) = self.connections.get_mut(&ask.connection) else { return };
        let Some(slot) = connection.slot(ask.slot) else { return };
        if let Some(closes) = lost {
            slot.state = State::Lost;
            close = closes;
        } else {
            let delivery = delivery.unwrap_or(Delivery::Frame(frame));
            if let Some(later) = copy {
                let state = State::Due(due + later, delivery.clone());
                let (partitions, throttle) = (Vec::new(), Duration::ZERO);
                let copy = Slot { id: number, partitions, in_order: false, throttle, state };
                connection.slots.push_back(copy);
            }
            let slot = connection.slot(ask.slot).expect("found above");
            slot.state = State::Due(due, delivery);
        }
        if close {
            self.close(ask.connection, due);
        }
    }

    fn garbage(&mut self, garbage: &Garbage) -> Vec<u8> {
        match garbage {
            Garbage::Random(bytes) => {
                (0..*bytes).map(|_| self.schedule.random.next() as u8).collect()
            }
            Garbage::LengthZero => vec![0; 4],
            Garbage::LengthNegative => vec![0xff, 0xff, 0xff, 0xf0, 0, 0, 0, 1],
            Garbage::LengthHuge => vec![0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 1],
        }
    }
}

fn replace(frame: &mut Vec<u8>, these: &[u8], those: &[u8]) {
    let mut at = 0;
    while let Some(found) = frame[at..].windows(these.len()).position(|part| part == these) {
        let found = at + found;
        frame.splice(found..found + these.len(), those.iter().copied());
        at = found + those.len();
    }
}
