//! Power cuts and failing calls under the real system calls of a log: `crashfs run [STATES]`.
//!
//! The writer is a process of its own on a FUSE filesystem that keeps a record of everything it is
//! asked. From the record follows every state that a power cut may leave, before each single
//! change: such a state is put into a directory in memory, recovered twice by real system calls,
//! and held against what the writer had been told. Some of the states are mounted again, so that
//! recovery itself is cut, or meets calls that fail.
//!
//! The last line has the counts. Ends with 1 if a law was broken, or a planted fault not found.

use std::ffi::{c_char, c_int};
use std::process::ExitCode;

use rig::power::campaign;
use rig::power::recording::{PASSES_FOR_EXT4, child};

/// In place of the C library's: a log maps its files on filesystems that it knows to keep reserved
/// blocks, and here one that would is asked to pass for one of them. Nothing else asks in this
/// program.
///
/// # Safety
/// As of the system call: `path` ends with NUL, `into` can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn statfs(path: *const c_char, into: *mut libc::statfs) -> c_int {
    const FUSE: i64 = 0x6573_5546;
    const EXT4: i64 = 0xef53;
    // SAFETY: handed on as it came.
    let result = unsafe { libc::syscall(libc::SYS_statfs, path, into) };
    if result == 0 && std::env::var_os(PASSES_FOR_EXT4).is_some() {
        // SAFETY: the call has filled it.
        let found = unsafe { &mut *into };
        if found.f_type == FUSE {
            found.f_type = EXT4;
        }
    }
    result as c_int
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let states = match &words[..] {
        [run] if run == "run" => Some(50_000),
        [run, states] if run == "run" => states.parse().ok(),
        _ => None,
    };
    if let Some(states) = states {
        return campaign::ended("crashfs", campaign::run(states));
    }
    child(&words).unwrap_or_else(|| {
        eprintln!("crashfs run [STATES]");
        ExitCode::from(2)
    })
}
