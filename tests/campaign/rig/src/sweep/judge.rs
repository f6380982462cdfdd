//! What a run with one fault may leave.

use crate::lines::Lines;
use crate::probe::{self, Work};
use crate::run::Fate;
use crate::sweep::{Engine, Point, Stage};

/// Exit code of a writer that was refused again and again.
const REFUSED: i32 = 3;

/// Broken laws of one run: how it ended (V13), what it said (V12), what it left (all others).
pub fn judge(
    engine: Engine,
    stage: &Stage,
    point: &Point,
    fate: Fate,
) -> std::io::Result<Vec<String>> {
    let mut bad = Vec::new();
    // Strace does not say; the calls of a single log always come in the same order.
    let hit = match engine {
        Engine::Preload => stage.hit().exists(),
        Engine::Strace => stage.scenario.options.work != Work::Store,
    };
    let ended = match fate {
        Fate::Exited(0 | REFUSED) => !point.kills() || !hit,
        Fate::Signal(libc::SIGKILL) => point.kills(),
        _ => false,
    };
    if !ended {
        let errors = std::fs::read_to_string(stage.errors()).unwrap_or_default();
        let first: String = errors.chars().take(300).collect();
        bad.push(format!("V13 the writer ended as {fate:?}: {first}"));
    }
    let (told, said) = stage.told()?;
    if hit && point.fails_a_sync() {
        bad.extend(after_a_failed_sync(&said, !stage.scenario.options.passing));
    }
    // The page cache survives all of this: whatever append returned for is there.
    let judged = std::panic::catch_unwind(|| {
        let options = probe::Options { plant: None, ..stage.scenario.options.clone() };
        probe::check(&stage.dir(), &options, &told, true, false, &Lines::new())
    });
    match judged {
        Ok(judged) => bad.extend(judged.bad),
        Err(_) => bad.push("V13 the judge panicked: opening, reading or closing does".into()),
    }
    Ok(bad)
}

/// V12: after the first failure of a log's handle nothing of it is called durable, until it is
/// opened again; and the failure is told.
fn after_a_failed_sync(said: &str, all_told: bool) -> Option<String> {
    let mut failed = false;
    let mut told = false;
    for line in said.lines() {
        match line.split(' ').next() {
            Some("E") => (failed, told) = (true, true),
            Some("O") => failed = false,
            Some("A") if failed => return Some(format!("V12 after a failed sync: {line}")),
            Some("C") if failed => return Some(format!("V12 after a failed sync: {line}")),
            _ => {}
        }
    }
    (all_told && !told).then(|| "V12 a failed sync was not told".to_owned())
}
