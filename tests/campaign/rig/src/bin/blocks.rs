//! Every state of the disk below a real ext4 that a power cut may leave: `blocks run [STATES]`.
//!
//! The last line has the counts. Ends with 1 if a law was broken, or a planted fault not found.

use std::process::ExitCode;

use rig::power::blocks;
use rig::power::campaign::ended;
use rig::power::recording::child;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let count = match &words[..] {
        [run] if run == "run" => Some(10000),
        [run, count] if run == "run" => count.parse().ok(),
        _ => None,
    };
    if let Some(count) = count {
        return ended("blocks", blocks::run(count));
    }
    child(&words).unwrap_or_else(|| {
        eprintln!("blocks run [STATES]");
        ExitCode::from(2)
    })
}
