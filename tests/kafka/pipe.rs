//! A link with a rate, a delay and losses, between a device and the Kafka in memory.
//!
//! As TCP over a bad radio: bytes go one behind the other, in both directions by themselves; what
//! is lost is sent again after a wait that holds up all behind it; a socket takes so many bytes
//! before the first has left, and what it took goes on its way although the socket was closed.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::Duration;

use crate::fake::{ConnectionId, Delivery};
use crate::world::State;

/// What a socket takes before any of it has left.
const SOCKET_BYTES: usize = 64 << 10;
const SEGMENT_BYTES: usize = 1400;

/// A link, and what is on it.
pub(crate) struct Pipe {
    pub(crate) bytes_per_second: u64,
    /// One way.
    pub(crate) delay: Duration,
    /// Of a thousand segments on the way up, and down.
    pub(crate) lost_up: u64,
    pub(crate) lost_down: u64,
    /// Bytes that went up.
    pub(crate) carried: u64,
    up_free: Duration,
    down_free: Duration,
    /// By arrival: to which connection, and what; with nothing, that it is closed.
    up: BTreeMap<(Duration, u64), (ConnectionId, Vec<u8>)>,
    /// When bytes of a connection leave.
    leaving: Vec<(Duration, ConnectionId, usize)>,
    /// What brokers have of a request that is not whole.
    requests: BTreeMap<ConnectionId, Vec<u8>>,
    down: BTreeMap<ConnectionId, VecDeque<(Duration, Vec<u8>)>>,
    random: u64,
    made: u64,
}

impl Pipe {
    pub(crate) fn new(bytes_per_second: u64, delay: Duration, seed: u64) -> Pipe {
        Pipe {
            bytes_per_second,
            delay,
            lost_up: 0,
            lost_down: 0,
            carried: 0,
            up_free: Duration::ZERO,
            down_free: Duration::ZERO,
            up: BTreeMap::new(),
            leaving: Vec::new(),
            requests: BTreeMap::new(),
            down: BTreeMap::new(),
            random: seed,
            made: 0,
        }
    }

    /// Losing so many of a thousand segments each way.
    pub(crate) fn lossy(mut self, up: u64, down: u64) -> Pipe {
        (self.lost_up, self.lost_down) = (up, down);
        self
    }

    /// How long a segment takes, those that are lost first included.
    fn takes(&mut self, bytes: usize, lost: u64) -> Duration {
        let mut takes = Duration::from_micros(bytes as u64 * 1_000_000 / self.bytes_per_second);
        let mut again = self.delay * 2 + Duration::from_millis(200);
        while self.draw() % 1000 < lost {
            takes += again;
            again = (again * 2).min(Duration::from_secs(60));
        }
        takes
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        self.random >> 33
    }

    /// How much the socket takes now.
    pub(crate) fn room(&self, id: ConnectionId, now: Duration) -> usize {
        let queued = self.leaving.iter().filter(|(at, of, _)| *of == id && *at > now);
        SOCKET_BYTES.saturating_sub(queued.map(|(.., bytes)| bytes).sum())
    }

    /// When the next bytes leave.
    pub(crate) fn next_room(&self, now: Duration) -> Option<Duration> {
        self.leaving.iter().map(|(at, ..)| *at).filter(|at| *at > now).min()
    }

    pub(crate) fn send(&mut self, id: ConnectionId, bytes: &[u8], now: Duration) {
        self.leaving.retain(|(at, ..)| *at > now);
        self.carried += bytes.len() as u64;
        for segment in bytes.chunks(SEGMENT_BYTES) {
            self.up_free = self.up_free.max(now) + self.takes(segment.len(), self.lost_up);
            self.made += 1;
            let arrives = (self.up_free + self.delay, self.made);
            self.up.insert(arrives, (id, segment.to_vec()));
            self.leaving.push((self.up_free, id, segment.len()));
        }
    }

    /// The device has closed: that arrives behind all it sent, and what comes down is thrown away.
    pub(crate) fn close(&mut self, id: ConnectionId, now: Duration) {
        self.made += 1;
        self.up.insert((self.up_free.max(now) + self.delay, self.made), (id, Vec::new()));
        self.down.remove(&id);
        let left = self.down.values().flat_map(|queue| queue.back()).map(|(at, _)| *at).max();
        self.down_free = self.down_free.min(left.unwrap_or(now).max(now + self.delay * 2));
    }

    /// When something arrives next, on either side.
    pub(crate) fn next_arrival(&self, id: ConnectionId) -> Option<Duration> {
        let up = self.up.keys().next().map(|(at, _)| *at);
        let down = self.down.get(&id).and_then(|queue| queue.front()).map(|(at, _)| *at);
        [up, down].into_iter().flatten().min()
    }

    /// What has come down by now.
    pub(crate) fn received(&mut self, id: ConnectionId, now: Duration) -> Vec<u8> {
        let Some(queue) = self.down.get_mut(&id) else { return Vec::new() };
        let arrived = queue.partition_point(|(at, _)| *at <= now);
        queue.drain(..arrived).flat_map(|(_, bytes)| bytes).collect()
    }

    pub(crate) fn is_down_empty(&self, id: ConnectionId) -> bool {
        self.down.get(&id).is_none_or(VecDeque::is_empty)
    }

    fn send_down(&mut self, id: ConnectionId, bytes: &[u8], now: Duration) {
        for segment in bytes.chunks(SEGMENT_BYTES) {
            self.down_free = self.down_free.max(now) + self.takes(segment.len(), self.lost_down);
            let arrives = self.down_free + self.delay;
            self.down.entry(id).or_default().push_back((arrives, segment.to_vec()));
        }
    }
}

impl State {
    /// Lets time pass up to the next arrival at a broker, if one is due by `until`.
    pub(crate) fn arrive(&mut self, until: Duration) -> bool {
        let Some(pipe) = &mut self.pipe else { return false };
        let Some(first) = pipe.up.first_entry().filter(|first| first.key().0 <= until) else {
            return false;
        };
        let ((at, _), (id, bytes)) = first.remove_entry();
        self.now = self.now.max(at);
        self.cluster.advance(self.now);
        if bytes.is_empty() {
            pipe.requests.remove(&id);
            self.cluster.disconnect(id);
            return true;
        }
        let waiting = pipe.requests.entry(id).or_default();
        waiting.extend_from_slice(&bytes);
        while let Some(length) = waiting.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*length) as usize;
            if waiting.len() < end {
                break;
            }
            let frame: Vec<u8> = waiting.drain(..end).skip(4).collect();
            // What crosses the end of a connection on its way, nobody reads.
            if self.cluster.is_open(id) {
                self.cluster.request(id, &frame, self.now);
            }
        }
        true
    }

    /// Gives the socket as much as it takes, and waits for room if there is none.
    pub(crate) fn write(
        &mut self,
        id: ConnectionId,
        bytes: &[u8],
        timeout: Duration,
    ) -> io::Result<usize> {
        let deadline = self.now + timeout;
        loop {
            let now = self.now;
            let pipe = self.pipe.as_mut().expect("asked before");
            let room = pipe.room(id, now).min(bytes.len());
            if room > 0 {
                pipe.send(id, &bytes[..room], now);
                return Ok(room);
            }
            let due = pipe.next_room(now).filter(|due| *due <= deadline);
            self.pass(due.unwrap_or(deadline));
            if due.is_none() {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
    }

    /// Takes what the brokers answer by now on its way down; whether they have closed.
    pub(crate) fn answer(&mut self, id: ConnectionId) -> bool {
        let (now, mut closed) = (self.now, false);
        let Some(pipe) = &mut self.pipe else { return false };
        for delivery in self.cluster.deliver(id, now) {
            match delivery {
                Delivery::Frame(frame) => {
                    let length = (frame.len() as u32).to_be_bytes();
                    pipe.send_down(id, &[&length, frame.as_slice()].concat(), now);
                }
                Delivery::Raw(bytes) => pipe.send_down(id, &bytes, now),
                Delivery::Closed => closed = true,
            }
        }
        closed
    }
}
