//! How brokers are reached: by TCP, or by whatever the application brings.
//!
//! Floor 6. The one place of the Kafka upstream that knows sockets and time; tests put a simulated
//! network here.

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How a [`KafkaUpstream`](crate::KafkaUpstream) reaches brokers: TCP unless another is given, for
/// a modem, a tunnel, a proxy, or a test.
///
/// TLS and SASL are done above it.
pub trait Network: Send {
    /// Opens a connection. Blocks for `timeout` at most.
    ///
    /// # Errors
    /// Any of the system's: it is tried again after a backoff.
    fn connect(
        &mut self,
        host: &str,
        port: u16,
        timeout: Duration,
    ) -> io::Result<Box<dyn Connection>>;

    /// The time since any moment, by a clock that never goes back: what timeouts are measured by.
    fn now(&self) -> Duration;

    /// Waits.
    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    /// The wall clock, in milliseconds since 1970: by it the records' times are judged.
    fn wall_millis(&self) -> i64;
}

/// One open connection to a broker.
pub trait Connection: Send {
    /// Writes at least one byte of these; blocks for `timeout` at most.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) if none could be written; else the connection is
    /// closed.
    fn write(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<usize>;

    /// Reads at least one byte; 0 if the other side has closed. Blocks for `timeout` at most.
    ///
    /// # Errors
    /// [`TimedOut`](io::ErrorKind::TimedOut) if none came; else the connection is closed.
    fn read(&mut self, into: &mut [u8], timeout: Duration) -> io::Result<usize>;
}

/// TCP, names resolved anew at each connect.
pub(super) struct Tcp {
    started: Instant,
}

impl Tcp {
    pub(super) fn new() -> Tcp {
        Tcp { started: Instant::now() }
    }
}

impl Network for Tcp {
    fn connect(
        &mut self,
        host: &str,
        port: u16,
        timeout: Duration,
    ) -> io::Result<Box<dyn Connection>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in (host, port).to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, timeout) {
                Ok(stream) => {
                    stream.set_nodelay(true)?;
                    let (read, write) = (Duration::ZERO, Duration::ZERO);
                    return Ok(Box::new(TcpConnection { stream, read, write }));
                }
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn wall_millis(&self) -> i64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A socket, and the timeouts that it has now: setting one is a system call.
struct TcpConnection {
    stream: TcpStream,
    read: Duration,
    write: Duration,
}

impl Connection for TcpConnection {
    fn write(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<usize> {
        let timeout = at_least(timeout);
        if timeout != self.write {
            self.stream.set_write_timeout(Some(timeout))?;
            self.write = timeout;
        }
        timed_out(retry(|| self.stream.write(bytes)))
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> io::Result<usize> {
        let timeout = at_least(timeout);
        if timeout != self.read {
            self.stream.set_read_timeout(Some(timeout))?;
            self.read = timeout;
        }
        timed_out(retry(|| self.stream.read(into)))
    }
}

/// A socket takes no timeout of zero for one; and of less than a millisecond none is worth a call.
fn at_least(timeout: Duration) -> Duration {
    Duration::from_millis(u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX).max(1))
}

fn retry(mut call: impl FnMut() -> io::Result<usize>) -> io::Result<usize> {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            done => return done,
        }
    }
}

/// The system says either of the two.
fn timed_out(done: io::Result<usize>) -> io::Result<usize> {
    done.map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => io::Error::new(io::ErrorKind::TimedOut, error),
        _ => error,
    })
}

impl fmt::Debug for dyn Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Network")
    }
}
