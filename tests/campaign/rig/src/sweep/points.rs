//! Which calls fail, and how.

use std::fmt;

/// How a call fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault(pub &'static str);

/// One run: the Nth call of a kind fails, or all from there on.
#[derive(Clone, Debug)]
pub struct Point {
    pub call: String,
    pub number: u64,
    pub from: bool,
    pub fault: Fault,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let from = if self.from { "+" } else { "" };
        write!(f, "{}:{}{from}:{}", self.call, self.number, self.fault.0)
    }
}

impl Point {
    /// Whether the process is to die of it.
    pub fn kills(&self) -> bool {
        matches!(self.fault.0, "kill" | "killafter" | "torn")
    }

    /// Whether a sync fails for good: then nothing may be called durable by that handle (V12). A
    /// sync that a signal interrupted is made again.
    pub fn fails_a_sync(&self) -> bool {
        let syncs = ["fsync", "fdatasync", "msync", "syncfs"];
        syncs.contains(&self.call.as_str()) && !self.kills() && self.fault.0 != "EINTR"
    }
}

/// What can happen to each call of the shim's; the ones behind the bar last from there on.
const FAULTS: [(&str, &[&str]); 22] = [
    ("open", &["EIO", "EMFILE", "ENFILE", "ENOMEM", "ENOSPC", "EINTR", "EACCES", "kill"]),
    ("read", &["EIO", "EINTR", "EAGAIN", "ENOMEM", "short", "kill"]),
    (
        "write",
        &[
            "EIO",
            "ENOSPC",
            "EDQUOT",
            "EINTR",
            "EAGAIN",
            "ENOMEM",
            "EFBIG",
            "short",
            "torn",
            "kill",
            "killafter",
            "after-EIO",
        ],
    ),
    ("fsync", &["EIO", "ENOSPC", "EDQUOT", "EINTR", "ENOMEM", "kill", "killafter", "after-EIO"]),
    (
        "fdatasync",
        &["EIO", "ENOSPC", "EDQUOT", "EINTR", "ENOMEM", "kill", "killafter", "after-EIO"],
    ),
    ("syncfs", &["EIO", "ENOSPC", "EDQUOT", "kill", "killafter", "after-EIO"]),
    ("syncrange", &["EIO", "ENOSPC", "ENOMEM", "kill"]),
    ("msync", &["EIO", "ENOSPC", "EDQUOT", "ENOMEM", "kill", "killafter", "after-EIO"]),
    ("populate", &["EFAULT", "ENOMEM", "EAGAIN", "EIO", "EINTR", "kill", "killafter"]),
    (
        "fallocate",
        &[
            "ENOSPC",
            "EDQUOT",
            "EIO",
            "EINTR",
            "EFBIG",
            "ENOMEM",
            "after-ENOSPC",
            "kill",
            "killafter",
        ],
    ),
    ("ftruncate", &["EIO", "ENOSPC", "EDQUOT", "EINTR", "EFBIG", "after-EIO", "kill", "killafter"]),
    ("mmap", &["ENOMEM", "EAGAIN", "ENODEV", "ENFILE", "kill", "killafter"]),
    ("rename", &["EIO", "ENOSPC", "EDQUOT", "ENOMEM", "after-EIO", "kill", "killafter"]),
    ("link", &["EIO", "ENOSPC", "EMLINK", "EPERM", "kill", "killafter"]),
    ("unlink", &["EIO", "EACCES", "ENOSPC", "ENOMEM", "after-EIO", "kill", "killafter"]),
    ("mkdir", &["EIO", "ENOSPC", "EDQUOT", "ENOMEM", "EACCES", "kill", "killafter"]),
    ("rmdir", &["EIO", "EACCES", "kill", "killafter"]),
    ("flock", &["EIO", "ENOLCK", "EINTR", "EWOULDBLOCK", "kill"]),
    ("stat", &["EIO", "ENOMEM", "EACCES", "kill"]),
    ("statfs", &["EIO", "ENOMEM", "EINTR", "kill"]),
    ("utimes", &["EIO", "ENOSPC", "EACCES", "kill"]),
    ("readdir", &["EIO", "ENOMEM", "kill"]),
];

/// What stays so from a call on: the device is gone, full, read-only; no descriptors, no memory.
const FOR_GOOD: [(&str, &str); 10] = [
    ("any", "EIO"),
    ("write", "ENOSPC"),
    ("fallocate", "ENOSPC"),
    ("populate", "EFAULT"),
    ("open", "EMFILE"),
    ("mmap", "ENOMEM"),
    ("fdatasync", "EIO"),
    ("msync", "EIO"),
    ("fsync", "ENOSPC"),
    ("ftruncate", "EDQUOT"),
];

/// What strace can do to each system call.
const TRACED: [(&str, &[&str]); 24] = [
    ("openat", &["EIO", "EMFILE", "ENOMEM", "kill"]),
    ("read", &["EIO", "EINTR", "kill"]),
    ("pread64", &["EIO", "EINTR", "EAGAIN", "kill"]),
    ("pwrite64", &["EIO", "ENOSPC", "EDQUOT", "EINTR", "EAGAIN", "kill"]),
    ("fsync", &["EIO", "ENOSPC", "EINTR", "kill"]),
    ("fdatasync", &["EIO", "ENOSPC", "EINTR", "kill"]),
    ("syncfs", &["EIO", "ENOSPC", "kill"]),
    ("sync_file_range", &["EIO", "kill"]),
    ("msync", &["EIO", "ENOMEM", "kill"]),
    ("madvise", &["EFAULT", "ENOMEM", "EAGAIN", "kill"]),
    ("fallocate", &["ENOSPC", "EDQUOT", "EIO", "EINTR", "kill"]),
    ("ftruncate", &["EIO", "ENOSPC", "EINTR", "kill"]),
    ("mmap", &["ENOMEM", "EAGAIN", "kill"]),
    ("rename", &["EIO", "ENOSPC", "kill"]),
    ("unlink", &["EIO", "EACCES", "kill"]),
    ("mkdir", &["EIO", "ENOSPC", "kill"]),
    ("rmdir", &["EIO", "kill"]),
    ("flock", &["EIO", "ENOLCK", "EINTR", "kill"]),
    ("statx", &["EIO", "ENOMEM", "kill"]),
    ("newfstatat", &["EIO", "kill"]),
    ("statfs", &["EIO", "kill"]),
    ("fstatfs", &["EIO", "kill"]),
    ("utimensat", &["EIO", "kill"]),
    ("getdents64", &["EIO", "kill"]),
];

/// All points of a run with these calls, by the shim.
pub(super) fn of_shim(calls: &[(String, u64)]) -> Vec<Point> {
    let mut all = Vec::new();
    let total: u64 = calls.iter().map(|(_, count)| count).sum();
    for (call, faults) in FAULTS {
        for number in 1..=count(calls, call) {
            for &fault in faults {
                all.push(Point { call: call.into(), number, from: false, fault: Fault(fault) });
            }
        }
    }
    for (call, fault) in FOR_GOOD {
        let last = if call == "any" { total } else { count(calls, call) };
        for number in 1..=last {
            all.push(Point { call: call.into(), number, from: true, fault: Fault(fault) });
        }
    }
    all
}

/// All points of a run by strace: the numbers of the calls that are about its directory.
pub(super) fn of_strace(calls: &[(String, u64)]) -> Vec<Point> {
    let mut all = Vec::new();
    for (call, number) in calls {
        let faults = TRACED.iter().find(|(known, _)| known == call).map(|(_, faults)| *faults);
        for &fault in faults.unwrap_or_default() {
            let (call, number) = (call.clone(), *number);
            all.push(Point { call, number, from: false, fault: Fault(fault) });
        }
    }
    all
}

/// The system calls strace is to show.
pub(super) fn traced() -> String {
    TRACED.map(|(call, _)| call).join(",")
}

/// What the shim calls a system call; `None` for one it leaves alone.
pub(super) fn shim_name(call: &str) -> Option<&'static str> {
    let name = match call {
        "openat" => "open",
        "read" | "pread64" => "read",
        "pwrite64" | "write" => "write",
        "sync_file_range" => "syncrange",
        "madvise" => "populate",
        "statx" => "stat",
        "statfs" | "fstatfs" => "statfs",
        "utimensat" => "utimes",
        "getdents64" => "readdir",
        same => return FAULTS.iter().map(|(name, _)| *name).find(|name| *name == same),
    };
    Some(name)
}

/// `op=count ...`, as the shim writes it.
pub(super) fn parse_counts(text: &str) -> Vec<(String, u64)> {
    let last = text.lines().last().unwrap_or_default();
    let pairs = last.split(' ').filter_map(|pair| pair.split_once('='));
    pairs.filter_map(|(call, count)| Some((call.to_owned(), count.parse().ok()?))).collect()
}

/// A rule that kills a writer of these calls shortly before it closes.
pub(super) fn last_append(calls: &[(String, u64)]) -> String {
    let syncs = count(calls, "fdatasync");
    format!("fdatasync:{}:kill", syncs.saturating_sub(3).max(1))
}

fn count(calls: &[(String, u64)], call: &str) -> u64 {
    calls.iter().find(|(known, _)| known == call).map_or(0, |(_, count)| *count)
}
