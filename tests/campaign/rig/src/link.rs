//! A TCP link that breaks when it is told to: whoever connects to it talks to a server behind it.
//!
//! In each direction of a connection one thread reads and another writes, so that what is delayed
//! is still read. A direction that has once lost a byte is dead for good, as with TCP: nothing
//! further arrives, not even the end of the connection.

mod asked;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::Random;
use asked::Asked;

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    Down,
}

/// What a link does to what is sent through it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Connections are reset (RST), new ones too.
    Reset,
    /// Connections are dead and nobody is told; new ones too, as long as it lasts.
    Silent,
    /// What is sent waits, and arrives once this is over.
    Hold,
    /// What is sent arrives so much later.
    Delay(Duration),
    /// So many bytes a second in each direction.
    Slow(u64),
    /// What is sent in this direction is lost.
    Lose(Way),
}

/// How many kinds of fault there are.
pub const KINDS: usize = 7;

impl Fault {
    /// One of the faults, and how long it lasts.
    pub fn draw(random: &mut Random) -> (Fault, Duration) {
        let fault = match random.below(KINDS as u64) {
            0 => Fault::Reset,
            1 => Fault::Silent,
            2 => Fault::Hold,
            3 => Fault::Delay(Duration::from_millis(20 + random.below(400))),
            4 => Fault::Slow(16_000 + random.below(400_000)),
            5 => Fault::Lose(Way::Up),
            _ => Fault::Lose(Way::Down),
        };
        (fault, Duration::from_millis(50 + random.below(1_200)))
    }

    /// Its kind as a number below [`KINDS`].
    pub fn kind(self) -> usize {
        match self {
            Fault::Reset => 0,
            Fault::Silent => 1,
            Fault::Hold => 2,
            Fault::Delay(_) => 3,
            Fault::Slow(_) => 4,
            Fault::Lose(Way::Up) => 5,
            Fault::Lose(Way::Down) => 6,
        }
    }

    fn loses(self, way: Way) -> bool {
        self == Fault::Silent || self == Fault::Lose(way)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Reset => f.write_str("reset"),
            Fault::Silent => f.write_str("silent"),
            Fault::Hold => f.write_str("hold"),
            Fault::Delay(by) => write!(f, "delay {}", by.as_millis()),
            Fault::Slow(to) => write!(f, "slow {to}"),
            Fault::Lose(Way::Up) => f.write_str("lose up"),
            Fault::Lose(Way::Down) => f.write_str("lose down"),
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let number = |word: &str| word.parse().map_err(|_| format!("not a number: {word}"));
        match text.split_whitespace().collect::<Vec<_>>()[..] {
            ["reset"] => Ok(Fault::Reset),
            ["silent"] => Ok(Fault::Silent),
            ["hold"] => Ok(Fault::Hold),
            ["delay", by] => Ok(Fault::Delay(Duration::from_millis(number(by)?))),
            ["slow", to] => Ok(Fault::Slow(number(to)?.max(1))),
            ["lose", "up"] => Ok(Fault::Lose(Way::Up)),
            ["lose", "down"] => Ok(Fault::Lose(Way::Down)),
            _ => Err(format!("not a fault: {text}")),
        }
    }
}

/// What went through a link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Carried {
    pub connections: u64,
    /// Connections that could not be made: the server was not there, or the link was down.
    pub refused: u64,
    pub bytes: u64,
    /// Bytes that were lost on the way, told and untold.
    pub bytes_lost: u64,
}

/// A link that listens, until the process ends.
#[derive(Clone)]
pub struct Link {
    state: Arc<State>,
}

struct State {
    to: SocketAddr,
    now: Mutex<Now>,
    /// The fault is another.
    changed: Condvar,
    connections: AtomicU64,
    refused: AtomicU64,
    bytes: AtomicU64,
    bytes_lost: AtomicU64,
}

#[derive(Default)]
struct Now {
    fault: Option<Fault>,
    open: Vec<Weak<Connection>>,
}

struct Connection {
    client: TcpStream,
    server: TcpStream,
    dead: [AtomicBool; 2],
    asked: Mutex<Asked>,
}

/// A read is at most this long; what is on its way is bounded by so many of them.
const READ_BYTES: usize = 16 << 10;
const ON_THE_WAY: usize = 256;

impl Link {
    /// Listens at `at` for clients of the server at `to`.
    ///
    /// # Errors
    /// An address that is none, or is in use.
    pub fn listen(at: impl ToSocketAddrs, to: impl ToSocketAddrs) -> io::Result<Link> {
        let listener = TcpListener::bind(at)?;
        let to = to.to_socket_addrs()?.next().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let state = Arc::new(State {
            to,
            now: Mutex::default(),
            changed: Condvar::new(),
            connections: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            bytes_lost: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&state);
        thread::spawn(move || {
            for client in listener.incoming().filter_map(Result::ok) {
                let state = Arc::clone(&accepting);
                // Connecting may take long, and others want to come in.
                thread::spawn(move || state.take_in(client));
            }
        });
        Ok(Link { state })
    }

    /// From now on this, or nothing at all any more.
    pub fn set(&self, fault: Option<Fault>) {
        let mut now = self.state.now();
        now.fault = fault;
        now.open.retain(|open| open.strong_count() > 0);
        for open in now.open.iter().filter_map(Weak::upgrade) {
            match fault {
                Some(Fault::Reset) => open.reset(),
                Some(fault) => open.kill(fault),
                None => {}
            }
        }
        drop(now);
        self.state.changed.notify_all();
    }

    /// What it does now.
    pub fn fault(&self) -> Option<Fault> {
        self.state.now().fault
    }

    /// Whether a request that carries records has gone through, and its answer has not: where what
    /// is talked is Kafka's protocol, and can be read.
    pub fn is_in_doubt(&self) -> bool {
        let open = self.state.now().open.clone();
        let mut open = open.iter().filter_map(Weak::upgrade);
        open.any(|open| !open.asked().is_answered())
    }

    /// What went through it so far.
    pub fn carried(&self) -> Carried {
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        Carried {
            connections: read(&self.state.connections),
            refused: read(&self.state.refused),
            bytes: read(&self.state.bytes),
            bytes_lost: read(&self.state.bytes_lost),
        }
    }
}

impl State {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client is there: the server is connected to, as far as the link is up.
    fn take_in(self: Arc<State>, client: TcpStream) {
        self.connections.fetch_add(1, Ordering::Relaxed);
        // Copied: the lock is not held while connecting.
        let fault = self.now().fault;
        let server = match fault {
            Some(Fault::Reset) => None,
            _ => TcpStream::connect_timeout(&self.to, Duration::from_secs(5)).ok(),
        };
        let Some(server) = server else {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return reset(&client);
        };
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let connection = Arc::new(Connection {
            client,
            server,
            dead: Default::default(),
            asked: Mutex::default(),
        });
        {
            let mut now = self.now();
            match now.fault {
                Some(Fault::Reset) => return connection.reset(),
                Some(fault) => connection.kill(fault),
                None => {}
            }
            now.open.push(Arc::downgrade(&connection));
        }
        for way in [Way::Up, Way::Down] {
            let (sender, receiver) = sync_channel(ON_THE_WAY);
            let reading = Arc::clone(&connection);
            thread::spawn(move || reading.read(way, &sender));
            let (writing, state) = (Arc::clone(&connection), Arc::clone(&self));
            thread::spawn(move || state.write(&writing, way, &receiver));
        }
    }

    /// Hands on what was read, as late and as slowly as the link is now.
    fn write(&self, connection: &Connection, way: Way, from: &Receiver<(Instant, Vec<u8>)>) {
        for (read_at, bytes) in from {
            let slow = self.wait(read_at);
            if connection.is_dead(way) {
                self.bytes_lost.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                continue;
            }
            let piece = slow.map_or(bytes.len(), |rate| (rate / 20).max(1) as usize);
            for part in bytes.chunks(piece.max(1)) {
                if connection.to(way).write_all(part).is_err() {
                    self.bytes_lost.fetch_add(part.len() as u64, Ordering::Relaxed);
                    // The reader has to notice: nobody takes what it reads.
                    let _ = connection.from(way).shutdown(Shutdown::Read);
                    return;
                }
                self.bytes.fetch_add(part.len() as u64, Ordering::Relaxed);
                connection.asked().note(way, part);
                if let Some(rate) = slow {
                    thread::sleep(Duration::from_secs_f64(part.len() as f64 / rate as f64));
                }
                if connection.is_dead(way) {
                    break;
                }
            }
        }
        if !connection.is_dead(way) {
            let _ = connection.to(way).shutdown(Shutdown::Write);
        }
    }

    /// Until what was read then may arrive; how many bytes a second, if that is bounded.
    fn wait(&self, read_at: Instant) -> Option<u64> {
        let mut now = self.now();
        loop {
            let wait = match now.fault {
                Some(Fault::Hold) => Duration::from_secs(1),
                Some(Fault::Delay(by)) => by.saturating_sub(read_at.elapsed()),
                Some(Fault::Slow(rate)) => return Some(rate),
                _ => Duration::ZERO,
            };
            if wait.is_zero() {
                return None;
            }
            let waited = self.changed.wait_timeout(now, wait);
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Connection {
    fn from(&self, way: Way) -> &TcpStream {
        if way == Way::Up { &self.client } else { &self.server }
    }

    fn to(&self, way: Way) -> &TcpStream {
        if way == Way::Up { &self.server } else { &self.client }
    }

    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_dead(&self, way: Way) -> bool {
        self.dead[way as usize].load(Ordering::Relaxed)
    }

    /// In the directions in which this fault loses bytes.
    fn kill(&self, fault: Fault) {
        for way in [Way::Up, Way::Down].into_iter().filter(|way| fault.loses(*way)) {
            self.dead[way as usize].store(true, Ordering::Relaxed);
        }
    }

    fn reset(&self) {
        reset(&self.client);
        reset(&self.server);
    }

    fn read(&self, way: Way, to: &SyncSender<(Instant, Vec<u8>)>) {
        let mut buffer = vec![0; READ_BYTES];
        loop {
            let read = match self.from(way).read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.unwrap_or(0),
            };
            if read == 0 || to.send((Instant::now(), buffer[..read].to_vec())).is_err() {
                if way == Way::Up {
                    self.asked().end();
                }
                return;
            }
        }
    }
}

/// Ends a connection at once with an RST, whoever else holds the socket: connecting to nowhere does
/// that on Linux.
fn reset(stream: &TcpStream) {
    let nowhere =
        libc::sockaddr { sa_family: libc::AF_UNSPEC as libc::sa_family_t, sa_data: [0; 14] };
    let length = size_of::<libc::sockaddr>() as libc::socklen_t;
    // SAFETY: the address is as long as said, and outlives the call.
    unsafe { libc::connect(stream.as_raw_fd(), &nowhere, length) };
    let _ = stream.shutdown(Shutdown::Both);
}

#[cfg(test)]
mod tests;
