//! The upstream on the Kafka in memory: one clock for both, which moves when somebody waits.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use forebay::{
    Connection, KafkaUpstream, Log, Network, ReplicatorOptions, ReplicatorStatus, ReplicatorTurns,
    Turn, Upstream,
};

use crate::fake::{Action, Cluster, ConnectionId, Delivery};
use crate::pipe::Pipe;

/// 2026-01-01 00:00 UTC.
pub(crate) const WALL_MS: i64 = 1_767_225_600_000;

pub(crate) struct State {
    pub(crate) cluster: Cluster,
    pub(crate) now: Duration,
    /// Hosts whose names lead nowhere now.
    pub(crate) nameless: Vec<String>,
    /// Connections that were tried.
    pub(crate) tried: u64,
    /// The device's wall clock is ahead by so much.
    pub(crate) wall_ahead_ms: i64,
    /// The device has power: without it nothing that it does reaches anybody.
    pub(crate) powered: bool,
    /// The link, unless it is as fast as can be.
    pub(crate) pipe: Option<Pipe>,
}

impl State {
    pub(crate) fn pass(&mut self, until: Duration) {
        while self.arrive(until) {}
        self.now = self.now.max(until);
        self.cluster.advance(self.now);
    }
}

/// A cluster, and the time.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<State>>);

impl World {
    pub(crate) fn new(nodes: usize, seed: u64) -> World {
        let mut cluster = Cluster::new(nodes, seed);
        cluster.settings.wall_ms = WALL_MS;
        World(Arc::new(Mutex::new(State {
            cluster,
            now: Duration::ZERO,
            nameless: Vec::new(),
            tried: 0,
            wall_ahead_ms: 0,
            powered: true,
            pipe: None,
        })))
    }

    /// The same with the topic `t`, of one partition.
    pub(crate) fn with_topic(nodes: usize, seed: u64) -> World {
        let world = World::new(nodes, seed);
        world.state().cluster.create_topic("t", 1, &[]);
        world
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn now(&self) -> Duration {
        self.state().now
    }

    /// Does something to the cluster, now.
    pub(crate) fn act(&self, action: Action) {
        let mut state = self.state();
        let now = state.now;
        state.cluster.act(action, now);
    }

    /// An upstream that reaches this cluster.
    pub(crate) fn upstream(&self, topic: &str) -> KafkaUpstream {
        KafkaUpstream::new("node-1:9092,node-2:9092,node-3:9092", topic).network(self.clone())
    }

    /// What ships the log there, by this clock.
    pub(crate) fn ship(&self, log: &Log, upstream: KafkaUpstream) -> ReplicatorTurns {
        self.ship_as("uplink", log, upstream)
    }

    /// The same under another name.
    pub(crate) fn ship_as(
        &self,
        name: &str,
        log: &Log,
        upstream: impl Upstream + 'static,
    ) -> ReplicatorTurns {
        let clock = self.clone();
        let options = ReplicatorOptions::new();
        ReplicatorTurns::new(log, name, upstream, &options, move || clock.now()).unwrap()
    }

    /// Takes the link away: nothing that is on its way arrives, and no name leads anywhere.
    pub(crate) fn cut(&self) {
        for node in 1..=3 {
            self.state().nameless.push(format!("node-{node}"));
            self.act(Action::CloseConnections { node });
        }
    }

    /// And gives it back.
    pub(crate) fn mend(&self) {
        self.state().nameless.clear();
    }

    pub(crate) fn power(&self, on: bool) {
        self.state().powered = on;
    }

    /// Lets time pass in which nobody does anything.
    pub(crate) fn pass(&self, duration: Duration) {
        let mut state = self.state();
        let until = state.now + duration;
        state.pass(until);
    }

    /// Ships until everything durable is acknowledged, or so much time has passed.
    pub(crate) fn drain(&self, turns: &mut ReplicatorTurns, limit: Duration) -> ReplicatorStatus {
        let until = self.now() + limit;
        loop {
            let status = turns.status();
            if status.lag_records == 0 || self.now() >= until {
                return status;
            }
            match turns.turn() {
                Turn::Again => {}
                Turn::Pause(wait) => {
                    let mut state = self.state();
                    let next = state.now + wait;
                    state.pass(next);
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

impl Network for World {
    fn connect(&mut self, host: &str, at: u16, limit: Duration) -> io::Result<Box<dyn Connection>> {
        let mut state = self.state();
        state.tried += 1;
        if !state.powered {
            return Err(io::ErrorKind::NetworkDown.into());
        }
        if let Some(pipe) = &state.pipe {
            let there_and_back = pipe.delay * 2;
            let until = state.now + there_and_back.min(limit);
            state.pass(until);
            if there_and_back > limit {
                return Err(io::ErrorKind::TimedOut.into());
            }
        }
        let now = state.now;
        if state.nameless.iter().any(|name| name == host) {
            return Err(io::Error::other("failed to lookup address information"));
        }
        let node = state.cluster.node_at(host, i32::from(at));
        let id = node.and_then(|node| state.cluster.connect(node, now));
        let id = id.ok_or(io::ErrorKind::ConnectionRefused)?;
        drop(state);
        let world = self.clone();
        let (out, input) = (Vec::new(), Vec::new());
        Ok(Box::new(Wire { world, id, out, input, closed: false, closing: false }))
    }

    fn now(&self) -> Duration {
        World::now(self)
    }

    fn sleep(&self, duration: Duration) {
        let mut state = self.state();
        let until = state.now + duration;
        state.pass(until);
    }

    fn wall_millis(&self) -> i64 {
        let state = self.state();
        WALL_MS + state.wall_ahead_ms + state.now.as_millis() as i64
    }
}

struct Wire {
    world: World,
    id: ConnectionId,
    out: Vec<u8>,
    input: Vec<u8>,
    closed: bool,
    /// It is, as soon as what comes down before has arrived.
    closing: bool,
}

impl Connection for Wire {
    fn write(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<usize> {
        let mut state = self.world.state();
        if self.closed || !state.powered {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if state.pipe.is_some() {
            return state.write(self.id, bytes, timeout);
        }
        self.out.extend_from_slice(bytes);
        let now = state.now;
        while let Some(length) = self.out.first_chunk::<4>() {
            let end = 4 + u32::from_be_bytes(*length) as usize;
            if self.out.len() < end {
                break;
            }
            let frame: Vec<u8> = self.out.drain(..end).skip(4).collect();
            state.cluster.request(self.id, &frame, now);
        }
        Ok(bytes.len())
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> io::Result<usize> {
        let mut state = self.world.state();
        if !state.powered {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let deadline = state.now + timeout;
        loop {
            let now = state.now;
            if state.pipe.is_some() {
                let closed = state.answer(self.id);
                let pipe = state.pipe.as_mut().unwrap();
                self.closing |= closed;
                self.input.extend(pipe.received(self.id, now));
                self.closed |= self.closing && pipe.is_down_empty(self.id);
            }
            for delivery in state.cluster.deliver(self.id, now) {
                match delivery {
                    Delivery::Frame(frame) => {
                        self.input.extend_from_slice(&(frame.len() as u32).to_be_bytes());
                        self.input.extend_from_slice(&frame);
                    }
                    Delivery::Raw(bytes) => self.input.extend_from_slice(&bytes),
                    Delivery::Closed => self.closed = true,
                }
            }
            if !self.input.is_empty() {
                let taken = into.len().min(self.input.len());
                into[..taken].copy_from_slice(&self.input[..taken]);
                self.input.drain(..taken);
                return Ok(taken);
            }
            if self.closed {
                return Ok(0);
            }
            let arrival = state.pipe.as_ref().and_then(|pipe| pipe.next_arrival(self.id));
            let due = [state.cluster.next_due(self.id), state.cluster.next_work(), arrival];
            let due = due.into_iter().flatten().filter(|due| *due > now).min();
            match due.filter(|due| *due <= deadline) {
                Some(due) => state.pass(due),
                None => {
                    state.pass(deadline);
                    if now >= deadline {
                        return Err(io::ErrorKind::TimedOut.into());
                    }
                }
            }
        }
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if let Ok(mut state) = self.world.0.lock() {
            let now = state.now;
            match &mut state.pipe {
                Some(pipe) => pipe.close(self.id, now),
                None => state.cluster.disconnect(self.id),
            }
        }
    }
}
