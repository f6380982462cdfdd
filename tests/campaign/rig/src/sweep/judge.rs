//! What a run with one fault may leave.

use crate::lines::Lines;
use crate::probe::{self, PASSING, Work};
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
        let path = std::fs::read_to_string(stage.hit()).unwrap_or_default();
        bad.extend(after_a_failed_sync(&said, &Whose::of(stage, &path)));
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

/// What the file belongs to whose sync failed.
enum Whose {
    /// The only log there is.
    Log,
    /// A log of a store, by name.
    LogOf(String),
    /// The store itself: its logs go on.
    Store,
    /// A log that is about to be deleted: nobody need be told.
    Passing,
    /// A map, of nobody knows whom.
    Unknown,
}

impl Whose {
    fn of(stage: &Stage, path: &str) -> Whose {
        if stage.scenario.options.work != Work::Store {
            return Whose::Log;
        }
        let inside = path.split_once("/store/").map_or("", |(_, inside)| inside);
        match inside.split('/').next().unwrap_or_default().split_once("-0") {
            Some((PASSING, _)) => Whose::Passing,
            Some((name, "")) => Whose::LogOf(name.to_owned()),
            _ if path.is_empty() => Whose::Unknown,
            _ => Whose::Store,
        }
    }
}

/// V12: after the failure nothing of that log is called durable until it is opened again; and the
/// failure is told.
fn after_a_failed_sync(said: &str, whose: &Whose) -> Option<String> {
    let counts = |name: &str| match whose {
        Whose::Log => true,
        Whose::LogOf(log) => name.split(':').next() == Some(log),
        _ => false,
    };
    let mut failed = false;
    let mut told = false;
    for line in said.lines() {
        let mut words = line.split(' ');
        match (words.next(), words.next().unwrap_or_default()) {
            (Some("E"), _) => (failed, told) = (true, true),
            (Some("O"), name) if counts(name) => failed = false,
            (Some("A" | "C"), name) if failed && counts(name) => {
                return Some(format!("V12 after a failed sync: {line}"));
            }
            _ => {}
        }
    }
    let untold = !told && !matches!(whose, Whose::Passing | Whose::Unknown);
    untold.then(|| "V12 a failed sync was not told".to_owned())
}
