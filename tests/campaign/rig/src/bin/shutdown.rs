//! A real ext4 that is shut down under its writer: `shutdown run [CUTS]`.
//!
//! The last line has the counts. Ends with 1 if a law was broken, or a planted fault not found.

use std::process::ExitCode;

use rig::power::campaign::ended;
use rig::power::recording::child;
use rig::power::shutdown;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = match &words[..] {
        [run] if run == "run" => Some(5000),
        [run, count] if run == "run" => count.parse().ok(),
        _ => None,
    };
    if let Some(count) = count {
        return ended("shutdown", shutdown::run(count));
    }
    child(&words).unwrap_or_else(|| {
        eprintln!("shutdown run [CUTS]");
        ExitCode::from(2)
    })
}
