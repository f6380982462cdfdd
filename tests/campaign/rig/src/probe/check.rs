//! The judge: opens what a writer left behind and holds it against what was said.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use forebay::{Log, RecoveryReport, Store};

use crate::lines::{Lines, Told, ToldLog};
use crate::probe::hand::Hand;
use crate::probe::look::scan;
use crate::probe::{
    KEEPER, LOG, Options, PASSING, STORE_LOGS, Work, is_durable, log_dir, store_dir,
};
use crate::run::copy_dir;

/// What the judge says.
#[derive(Clone, Debug, Default)]
pub struct Judged {
    /// Name, start and end of each log.
    pub logs: Vec<(String, i64, i64)>,
    /// Broken laws; none is what is hoped for.
    pub bad: Vec<String>,
}

/// Opens what lies under `dir` and checks it.
///
/// V1 nothing acknowledged is lost, V2 only what was handed over is read, V3 without a gap, V4 the
/// start does not go back, V5 and V6 consumers are where they were, V7 lookups find what a scan
/// finds, V8 nothing is left over (and with `twice` that a second recovery of a copy changes
/// nothing), V17 it goes on. With `killed` the page cache survived: whatever append and commit
/// returned for counts. What the judge appends for V17 is said to `lines`, as a writer says it.
pub fn check(
    dir: &Path,
    options: &Options,
    told: &Told,
    killed: bool,
    twice: bool,
    lines: &Lines,
) -> Judged {
    let mut judge = Judge { options, told, killed, lines, judged: Judged::default() };
    judge.judged.bad.extend(told.bad.iter().map(|bad| format!("writer: {bad}")));
    if twice && let Err(error) = judge.recover_twice(dir) {
        judge.bad(format!("V8: no copy: {error}"));
    }
    let known = |name: &str| told.logs.get(name).is_some_and(|log| log.handed > 0);
    if log_dir(dir).exists() || known(LOG) {
        judge.log(dir);
    }
    if store_dir(dir).exists() || STORE_LOGS.iter().any(|name| known(name)) {
        judge.store(dir);
    }
    judge.judged
}

struct Judge<'a> {
    options: &'a Options,
    told: &'a Told,
    killed: bool,
    lines: &'a Lines,
    judged: Judged,
}

impl Judge<'_> {
    fn bad(&mut self, text: impl Into<String>) {
        self.judged.bad.push(text.into());
    }

    fn log(&mut self, dir: &Path) {
        let log = match self.options.log().open(log_dir(dir)) {
            Ok(log) => log,
            Err(error) => return self.bad(format!("V13 open: {error}")),
        };
        self.one(&log, LOG);
        if let Err(error) = log.close() {
            self.bad(format!("V17 close: {error}"));
        }
        self.names(&log_dir(dir), false);
    }

    fn store(&mut self, dir: &Path) {
        let store = match Store::options().logs(self.options.log()).open(store_dir(dir)) {
            Ok(store) => store,
            Err(error) => return self.bad(format!("V13 open: {error}")),
        };
        let foreign = &store.recovery().foreign;
        if !foreign.is_empty() {
            self.bad(format!("V8 foreign names: {foreign:?}"));
        }
        for name in STORE_LOGS {
            match store.log(name) {
                Ok(log) => self.one(&log, name),
                Err(error) => self.bad(format!("V13 open {name}: {error}")),
            }
        }
        // What is left of the passing log is whole.
        if store.logs().iter().any(|log| log.name == PASSING) {
            match store.log(PASSING) {
                Ok(log) => {
                    let found = scan(&log, self.options.seed, PASSING);
                    self.judged.bad.extend(found.bad);
                }
                Err(error) => self.bad(format!("V13 open {PASSING}: {error}")),
            }
        }
        if let Err(error) = store.close() {
            self.bad(format!("V17 close: {error}"));
        }
        self.names(&store_dir(dir), true);
    }

    fn one(&mut self, log: &Log, name: &str) {
        let silent = ToldLog::default();
        let told = self.told.logs.get(name).unwrap_or(&silent);
        self.report(log.recovery(), name);
        let found = scan(log, self.options.seed, name);
        let (start, end) = (found.start, found.end);
        self.judged.bad.extend(found.bad);
        self.judged.logs.push((name.to_owned(), start, end));
        let kept = if self.killed { told.put } else { told.acknowledged };
        if end < kept {
            self.bad(format!("V1 {name}: ends at {end}, acknowledged is {kept}"));
        }
        // A deletion may move the end up to the new start.
        if end > told.handed.max(start) {
            self.bad(format!("V2 {name}: ends at {end}, handed over is {}", told.handed));
        }
        if start < told.start {
            self.bad(format!("V4 {name}: starts at {start}, deleted until {}", told.start));
        }
        let durable = log.durable_offset().get();
        if !(start..=end).contains(&durable) {
            self.bad(format!("I1 {name}: durable is {durable} in {start}..{end}"));
        }
        self.consumers(log, name);
        self.alive(log, name);
    }

    /// Cuts, kills and failed calls damage nothing that was synced.
    fn report(&mut self, report: &RecoveryReport, name: &str) {
        if report.damaged_ranges > 0 || report.lost.is_some() {
            let (damaged, lost) = (&report.damaged, &report.lost);
            self.bad(format!("V3 {name}: damaged {damaged:?}, lost {lost:?}"));
        }
        if !report.foreign_files.is_empty() {
            self.bad(format!("V8 {name}: foreign files {:?}", report.foreign_files));
        }
    }

    fn consumers(&mut self, log: &Log, name: &str) {
        let (start, end) = (log.log_start_offset().get(), log.log_end_offset().get());
        let found: BTreeMap<String, i64> =
            log.consumers().into_iter().map(|one| (one.name, one.committed.get())).collect();
        for ((of, consumer), told) in self.told.consumers.iter().filter(|((of, _), _)| of == name) {
            let known = if self.killed { told.made } else { told.synced };
            let Some(&committed) = found.get(consumer) else {
                if known > 0 {
                    self.judged.bad.push(format!("V6 {of}:{consumer} is gone"));
                }
                continue;
            };
            // One of written records is brought back with the end (I7).
            let least = if is_durable(consumer) { known } else { known.min(end) };
            if !(least..=told.tried).contains(&committed) {
                self.judged.bad.push(format!(
                    "V6 {of}:{consumer} is at {committed}, synced {known}, tried {}",
                    told.tried
                ));
            }
            if committed > end {
                let text = format!("V5 {of}:{consumer} is at {committed}, the end at {end}");
                self.judged.bad.push(text);
            }
            if consumer == KEEPER && start > committed {
                let text = format!("V4 {of} starts at {start}, its keeper is at {committed}");
                self.judged.bad.push(text);
            }
        }
    }

    /// V17: one append, one flush, one read.
    fn alive(&mut self, log: &Log, name: &str) {
        let heard = Heard::default();
        let lines = Lines::new().and(heard.clone());
        let at = log.log_end_offset().get();
        let options = Options { plant: None, every_append: false, ..self.options.clone() };
        let mut hand = Hand::new(log.clone(), name, &options, &lines);
        let went_on = hand.put(1).and_then(|()| hand.flush());
        if let Err(error) = went_on {
            self.bad(format!("V17 {name}: {error}"));
        }
        let read = log.reader(forebay::OffsetSpec::At(at.into())).map(|mut reader| reader.next());
        if !matches!(&read, Ok(Some(Ok(batch))) if batch.base_offset().get() == at) {
            self.bad(format!("V17 {name}: {at} was appended, and read is {read:?}"));
        }
        let text = heard.take();
        self.lines.say(&String::from_utf8_lossy(&text));
        self.judged.bad.extend(Told::parse(&text).bad);
    }

    /// V8: after a clean close nothing is there that a log or store does not keep.
    fn names(&mut self, dir: &Path, store: bool) {
        let listed = match list(dir) {
            Ok(listed) => listed,
            Err(error) => return self.bad(format!("V8 {}: {error}", dir.display())),
        };
        for path in listed {
            let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
            let name = name.unwrap_or_default();
            if store && path.is_dir() {
                self.names(&path, false);
            } else if !is_kept(&name, store) {
                self.bad(format!("V8 left over: {}", path.display()));
            }
        }
    }

    /// V8 on a copy: recovers it, then again and fully; the second time nothing changes.
    fn recover_twice(&mut self, dir: &Path) -> io::Result<()> {
        let copy = std::env::temp_dir().join(format!("rig-twice-{}", std::process::id()));
        let _ = fs::remove_dir_all(&copy);
        copy_dir(dir, &copy)?;
        let work = if store_dir(dir).exists() { Work::Store } else { Work::Append };
        let mut seen = Vec::new();
        for full in [false, true] {
            let options = self.options.full(self.options.log(), full);
            let opened = match work {
                Work::Store => {
                    Store::options().logs(options).open(store_dir(&copy)).and_then(|store| {
                        for log in store.logs() {
                            store.log(&log.name)?;
                        }
                        store.close()
                    })
                }
                _ => options.open(log_dir(&copy)).and_then(Log::close),
            };
            if let Err(error) = opened {
                self.bad(format!("V8: recovery of a copy: {error}"));
            }
            seen.push(contents(&copy)?);
        }
        if seen[0] != seen[1] {
            let differ = |path: &&PathBuf| seen[0].get(*path) != seen[1].get(*path);
            let all: Vec<&PathBuf> = seen[0].keys().chain(seen[1].keys()).filter(differ).collect();
            self.bad(format!("V8: a second recovery changed {all:?}"));
        }
        fs::remove_dir_all(&copy)
    }
}

fn is_kept(name: &str, store: bool) -> bool {
    if store {
        return matches!(name, "store.lock" | "store.meta" | "store.checkpoint" | "store.reserve");
    }
    let Some((stem, extension)) = name.rsplit_once('.') else { return name == "checkpoint" };
    let digits = |text: &str| text.len() == 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    match extension {
        "log" | "index" | "timeindex" => digits(stem),
        "aside" => stem.split_once('-').is_some_and(|(cut, base)| digits(cut) && digits(base)),
        _ => name == "log.meta",
    }
}

fn list(dir: &Path) -> io::Result<Vec<PathBuf>> {
    fs::read_dir(dir)?.map(|found| Ok(found?.path())).collect()
}

/// The bytes of all files but the checkpoints, which count opens.
fn contents(dir: &Path) -> io::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let mut waiting = vec![dir.to_owned()];
    let mut found = BTreeMap::new();
    while let Some(dir) = waiting.pop() {
        for path in list(&dir)? {
            if path.is_dir() {
                waiting.push(path);
            } else if !path.to_string_lossy().ends_with("checkpoint") {
                let bytes = fs::read(&path)?;
                found.insert(path, bytes);
            }
        }
    }
    Ok(found)
}

/// Lines that are kept.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<u8>>>);

impl Heard {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
}

impl io::Write for Heard {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut kept = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        kept.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
