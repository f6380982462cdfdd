//! Running a program that may die, or hang.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::Duration;

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Exited(i32),
    Signal(i32),
    /// It had to be killed.
    Hung,
}

impl Fate {
    fn of(status: ExitStatus) -> Fate {
        match (status.code(), status.signal()) {
            (Some(code), _) => Fate::Exited(code),
            (None, Some(signal)) => Fate::Signal(signal),
            (None, None) => Fate::Hung,
        }
    }
}

/// Another program of this package: they are built beside each other.
pub fn sibling(name: &str) -> io::Result<PathBuf> {
    Ok(std::env::current_exe()?.with_file_name(name))
}

/// Runs a program in a process group of its own; what is not done by `limit` is killed with all
/// it started.
pub fn run(command: &mut Command, limit: Duration) -> io::Result<Fate> {
    let mut child = command.process_group(0).spawn()?;
    wait(&mut child, limit)
}

/// Waits for a child that leads a process group.
pub fn wait(child: &mut Child, limit: Duration) -> io::Result<Fate> {
    let pid = child.id() as libc::pid_t;
    // SAFETY: no memory is passed.
    let handle = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    if handle < 0 {
        return Err(io::Error::last_os_error());
    }
    let mut asked = libc::pollfd { fd: handle as i32, events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(limit.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `asked` is one descriptor, and outlives the call.
    let ready = unsafe { libc::poll(&mut asked, 1, millis) };
    // SAFETY: the descriptor is ours, and not used again.
    unsafe { libc::close(handle as i32) };
    if ready == 0 {
        // SAFETY: no memory is passed; the group is the child's own.
        unsafe { libc::kill(-pid, libc::SIGKILL) };
        child.wait()?;
        return Ok(Fate::Hung);
    }
    child.wait().map(Fate::of)
}

/// Removes what is in a directory, and keeps the directory: with it, its inode.
pub fn empty(dir: &Path) -> io::Result<()> {
    std::fs::create_dir_all(dir)?;
    for found in std::fs::read_dir(dir)? {
        let path = found?.path();
        if path.is_dir() && !path.is_symlink() {
            std::fs::remove_dir_all(path)?;
        } else {
            std::fs::remove_file(path)?;
        }
    }
    Ok(())
}

/// Copies a directory with all below it into one that may exist.
pub fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    let mut waiting = vec![(from.to_owned(), to.to_owned())];
    while let Some((from, to)) = waiting.pop() {
        std::fs::create_dir_all(&to)?;
        for found in std::fs::read_dir(&from)? {
            let path = found?.path();
            let copy = to.join(path.file_name().unwrap_or_default());
            if path.is_dir() {
                waiting.push((path, copy));
            } else {
                std::fs::copy(&path, &copy)?;
            }
        }
    }
    Ok(())
}
