//! A broker that is killed and started again: a directory as `kafka.sh` makes it, with `launch`,
//! `pid` and `server.log`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// One broker.
#[derive(Debug)]
pub struct Node {
    dir: PathBuf,
    /// The broker, if it was started here: then it has to be waited for here.
    child: Option<Child>,
}

const READY: &str = "Kafka Server started";
const LIMIT: Duration = Duration::from_secs(90);

impl Node {
    /// The one in this directory, running or not.
    pub fn new(dir: &Path) -> Node {
        Node { dir: dir.to_owned(), child: None }
    }

    /// SIGKILL, and waits until it is gone.
    ///
    /// # Errors
    /// No broker of this directory runs.
    pub fn kill(&mut self) -> io::Result<()> {
        let pid: libc::pid_t = fs::read_to_string(self.dir.join("pid"))?
            .trim()
            .parse()
            .map_err(|_| io::Error::other("its pid is no number"))?;
        let line = fs::read(format!("/proc/{pid}/cmdline"))?;
        let mine = self.dir.join("server.properties").into_os_string().into_encoded_bytes();
        if !line.windows(mine.len()).any(|part| part == mine) {
            return Err(io::Error::other(format!("{pid} is no broker of {}", self.dir.display())));
        }
        // SAFETY: no memory is passed; the process has been looked at a moment ago.
        if unsafe { libc::kill(pid, libc::SIGKILL) } != 0 {
            return Err(io::Error::last_os_error());
        }
        match self.child.take() {
            Some(mut child) => child.wait().map(|_| ()),
            // Another process started it, and takes notice of its end.
            None => until(|| {
                let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                Ok(!line.windows(mine.len()).any(|part| part == mine))
            }),
        }
    }

    /// Starts it again on the same data, and waits until it is ready.
    ///
    /// # Errors
    /// It ended, or is not ready for too long.
    pub fn start(&mut self) -> io::Result<()> {
        let log = self.dir.join("server.log");
        fs::write(&log, "")?;
        let mut command = Command::new(self.dir.join("launch"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = self.child.insert(command.spawn()?);
        until(|| {
            if let Some(status) = child.try_wait()? {
                return Err(io::Error::other(format!("the broker ended: {status}")));
            }
            Ok(fs::read_to_string(&log).unwrap_or_default().contains(READY))
        })
    }
}

fn until(mut is_so: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    let from = Instant::now();
    while !is_so()? {
        if from.elapsed() > LIMIT {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}
