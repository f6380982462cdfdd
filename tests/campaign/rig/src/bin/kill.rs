//! SIGKILL at random moments: see `rig::kill`.
//!
//! ```text
//! kill SCRATCH KILLS [SEED]
//! ```
//!
//! The last line is the count of all; exit status 1 if a law was broken.

use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use forebay::IoMode;
use rig::kill::{kill, live, options};
use rig::lines::Lines;
use rig::probe::Work;

type Outcome = Result<ExitCode, Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--child", dir, "--mode", mode, "--seed", _, "--acks", lines] => child(dir, mode, lines),
        [scratch, kills] => parent(scratch, kills, "1"),
        [scratch, kills, seed] => parent(scratch, kills, seed),
        _ => Err("SCRATCH KILLS [SEED]".into()),
    }
}

fn child(dir: &str, mode: &str, lines: &str) -> Outcome {
    let mode = if mode == "mapped" { IoMode::Mapped } else { IoMode::Positioned };
    let lines = Lines::new().and_file(Path::new(lines))?;
    let ended = live(Path::new(dir), &options(mode, Work::Append), &lines);
    lines.say(&format!("BAD the life ended by itself: {ended:?}\n"));
    Ok(ExitCode::FAILURE)
}

fn parent(scratch: &str, kills: &str, seed: &str) -> Outcome {
    let from = Instant::now();
    let lives = kill(Path::new(scratch), kills.parse()?, seed.parse()?, |text| println!("{text}"))?;
    println!(
        "kill: {} kills, seed {seed}, {} of them before the first append, {} records appended, \
         {} shipped, {} laws broken, {:.0} s",
        lives.kills,
        lives.early,
        lives.records,
        lives.shipped,
        lives.bad,
        from.elapsed().as_secs_f64()
    );
    Ok(if lives.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
