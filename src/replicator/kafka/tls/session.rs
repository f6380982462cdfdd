//! A TLS session over a connection: the handshake within its time, then bytes both ways.
//!
//! Floor 6. A read that gets a part of what it needs says that nothing came yet, and is made anew
//! with the time that is left: the clock is the caller's.

use std::io::{self, Read, Write};
use std::time::Duration;

use rustls::ClientConnection;

use super::super::network::{Connection, Network};
use super::why;

/// How much is read from the connection at once: the largest record, and then some.
const READ_BYTES: usize = 32 << 10;
/// How long it is tried to tell the broker what is wrong with it.
const ALERT_WITHIN: Duration = Duration::from_secs(1);

pub(super) struct Session {
    connection: Box<dyn Connection>,
    tls: ClientConnection,
    /// Whether there is a certificate to show.
    has_certificate: bool,
    /// What is to be written, and how much of it was.
    out: Vec<u8>,
    written: usize,
    /// Bytes of the caller's that are in `out`, and that it was not told of.
    taken: usize,
    /// What was read and is not yet looked at.
    input: Vec<u8>,
    looked_at: usize,
    read: usize,
}

impl Session {
    pub(super) fn new(
        connection: Box<dyn Connection>,
        tls: ClientConnection,
        has_certificate: bool,
    ) -> Session {
        let (out, input) = (Vec::new(), vec![0; READ_BYTES]);
        let (written, taken, looked_at, read) = (0, 0, 0, 0);
        Session { connection, tls, has_certificate, out, written, taken, input, looked_at, read }
    }

    /// Agrees with the broker, within `timeout`.
    pub(super) fn handshake(&mut self, network: &dyn Network, timeout: Duration) -> io::Result<()> {
        let deadline = network.now().saturating_add(timeout);
        let mut heard = false;
        loop {
            let left = deadline.saturating_sub(network.now());
            let step = match self.tls.is_handshaking() {
                _ if left.is_zero() => return Err(why::stalled(timeout, heard)),
                true => self.flush(left).and_then(|()| self.more(left)).map(|()| false),
                false => self.flush(left).map(|()| true),
            };
            match step {
                Ok(true) => return Ok(()),
                Ok(false) => {
                    heard = true;
                    self.look()?;
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => {}
                Err(error) => return Err(why::broken_off(error, heard)),
            }
        }
    }

    /// Writes all that is there. If it cannot in time, the rest waits for the next call.
    fn flush(&mut self, timeout: Duration) -> io::Result<()> {
        loop {
            while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
                match self.connection.write(rest, timeout)? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    bytes => self.written += bytes,
                }
            }
            self.out.clear();
            self.written = 0;
            if !self.tls.wants_write() {
                return Ok(());
            }
            self.tls.write_tls(&mut self.out)?;
        }
    }

    /// Reads once. An end is an error.
    fn more(&mut self, timeout: Duration) -> io::Result<()> {
        debug_assert!(self.looked_at == self.read, "what was read is looked at first");
        (self.looked_at, self.read) = (0, 0);
        match self.connection.read(&mut self.input, timeout)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => {
                self.read = bytes;
                Ok(())
            }
        }
    }

    /// Looks at what was read, until something for the caller is in it.
    fn look(&mut self) -> io::Result<()> {
        while let Some(mut rest) =
            self.input.get(self.looked_at..self.read).filter(|rest| !rest.is_empty())
        {
            self.looked_at += self.tls.read_tls(&mut rest)?;
            match self.tls.process_new_packets() {
                Ok(state) if state.plaintext_bytes_to_read() > 0 => break,
                Ok(_) => {}
                Err(error) => {
                    // The broker's log should say why, too.
                    let _ = self.flush(ALERT_WITHIN);
                    return Err(why::refused(&error, self.has_certificate));
                }
            }
        }
        Ok(())
    }
}

impl Connection for Session {
    fn write(&mut self, bytes: &[u8], timeout: Duration) -> io::Result<usize> {
        // After a call that was out of time, the caller comes with the same bytes again.
        if self.taken == 0 {
            self.taken = self.tls.writer().write(bytes)?;
        }
        self.flush(timeout)?;
        Ok(std::mem::take(&mut self.taken))
    }

    fn read(&mut self, into: &mut [u8], timeout: Duration) -> io::Result<usize> {
        let mut asked = false;
        loop {
            match self.tls.reader().read(into) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // Answers have their lengths: where the end was not announced, none is taken for
                // whole that is not.
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                done => return done,
            }
            if self.looked_at == self.read {
                if asked {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                asked = true;
                match self.more(timeout) {
                    Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                    done => done?,
                }
            }
            self.look()?;
            // An answer to a new key, if that was asked for.
            if self.tls.wants_write() {
                self.flush(timeout)?;
            }
        }
    }
}
