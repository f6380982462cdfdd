//! What others do to the files of a log that is open: truncated, replaced, removed, forbidden.
//!
//! ```text
//! hazards SCRATCH
//! ```
//!
//! One process has the log open, with a batch and a reader in its hands; another does the harm;
//! then everything is called once more. Each call ends, with an error or without; what is read is
//! what was written. A signal is allowed where the design says that nothing can protect: a map of
//! a file that somebody else cuts, or of a filesystem that fails. RIG_PLANT=bus plants one.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use forebay::{IoMode, Log, OffsetSpec};
use rig::record::{Content, content};
use rig::run::{Fate, empty, wait};

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error>>;

const SEED: u64 = 9;
/// Whom root becomes, so that permissions count.
const NOBODY: u32 = 65_534;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    Nothing,
    CutActiveToNothing,
    CutActiveInHalf,
    CutSealedToNothing,
    CutSealedByAPage,
    CutCheckpoint,
    UnlinkActive,
    UnlinkSealed,
    UnlinkCheckpoint,
    UnlinkMeta,
    ReplaceActive,
    ReplaceSealed,
    ReplaceCheckpointByDirectory,
    ReplaceIndexByDirectory,
    GrowActive,
    ZeroInSealed,
    ForbidDirectory,
    ForbidFiles,
    MoveDirectory,
    RemoveDirectory,
    FifoIsNextSegment,
    DirectoryIsNextSegment,
    LinkLeadsElsewhere,
    /// From above: what is opened from now on cannot be written. Needs root.
    MountReadOnly,
    /// Ext4 finds an error and turns read-only at once. Needs root and a loop device.
    FilesystemFails,
}

impl Harm {
    const ALL: [Harm; 25] = [
        Harm::Nothing,
        Harm::CutActiveToNothing,
        Harm::CutActiveInHalf,
        Harm::CutSealedToNothing,
        Harm::CutSealedByAPage,
        Harm::CutCheckpoint,
        Harm::UnlinkActive,
        Harm::UnlinkSealed,
        Harm::UnlinkCheckpoint,
        Harm::UnlinkMeta,
        Harm::ReplaceActive,
        Harm::ReplaceSealed,
        Harm::ReplaceCheckpointByDirectory,
        Harm::ReplaceIndexByDirectory,
        Harm::GrowActive,
        Harm::ZeroInSealed,
        Harm::ForbidDirectory,
        Harm::ForbidFiles,
        Harm::MoveDirectory,
        Harm::RemoveDirectory,
        Harm::FifoIsNextSegment,
        Harm::DirectoryIsNextSegment,
        Harm::LinkLeadsElsewhere,
        Harm::MountReadOnly,
        Harm::FilesystemFails,
    ];

    /// Whether the design says that nothing can protect a map from it.
    fn may_raise_a_signal(self) -> bool {
        use Harm::*;
        matches!(
            self,
            CutActiveToNothing
                | CutActiveInHalf
                | CutSealedToNothing
                | CutSealedByAPage
                | CutCheckpoint
                | FilesystemFails
        )
    }

    fn needs_root(self) -> bool {
        matches!(self, Harm::MountReadOnly | Harm::FilesystemFails)
    }
}

fn main() -> Outcome<ExitCode> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words[..] {
        ["--child", dir, mode] => child(Path::new(dir), mode),
        ["--again", dir, mode] => again(Path::new(dir), mode),
        [scratch] => parent(Path::new(scratch)),
        _ => Err("SCRATCH".into()),
    }
}

fn parent(scratch: &Path) -> Outcome<ExitCode> {
    let from = Instant::now();
    // SAFETY: no memory is passed.
    let root = unsafe { libc::geteuid() } == 0;
    let (mut runs, mut signals, mut left_out, mut bad) = (0, 0, 0, 0);
    fs::set_permissions(scratch, Permissions::from_mode(0o755))?;
    for harm in Harm::ALL {
        for mode in ["mapped", "positioned"] {
            let base = scratch.join("hazards");
            empty(&base)?;
            let place = match Place::new(&base, harm, root) {
                Ok(place) => place,
                Err(why) => {
                    left_out += 1;
                    println!("{harm:?} {mode}: left out: {why}");
                    continue;
                }
            };
            let (found, signal) = one(&place, harm, mode, root)?;
            runs += 1;
            signals += u64::from(signal);
            if !found.is_empty() {
                bad += 1;
                println!("BAD {harm:?} {mode}: {}", found.join("; "));
            }
        }
    }
    println!(
        "hazards: {runs} runs, {signals} ended by SIGBUS where a map cannot be protected, \
         {left_out} left out, {bad} laws broken, {:.0} s",
        from.elapsed().as_secs_f64()
    );
    Ok(if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// One harm in one mode: what was broken, and whether it was a signal that is allowed.
fn one(place: &Place, harm: Harm, mode: &str, root: bool) -> Outcome<(Vec<String>, bool)> {
    let mut bad = Vec::new();
    let mut child = program("--child", &place.log(), mode, root)?.spawn()?;
    let mut to = child.stdin.take().ok_or("no input")?;
    let mut from = BufReader::new(child.stdout.take().ok_or("no output")?);
    let mut line = String::new();
    from.read_line(&mut line)?;
    if line != "ready\n" {
        return Err(format!("the child is not ready: {line}").into());
    }
    place.harm(harm)?;
    to.write_all(b"go\n")?;
    let said = std::thread::spawn(move || from.lines().map_while(Result::ok).collect::<Vec<_>>());
    let fate = wait(&mut child, Duration::from_secs(20))?;
    let said = said.join().map_err(|_| "a reader of lines panicked")?;
    bad.extend(said.iter().filter(|line| line.starts_with("BAD")).cloned());
    let signal = fate == Fate::Signal(libc::SIGBUS);
    let allowed = signal && mode == "mapped" && harm.may_raise_a_signal();
    if fate != Fate::Exited(0) && !allowed {
        bad.push(format!("V13 it ended as {fate:?}"));
    }
    place.heal(harm)?;
    let mut next = program("--again", &place.log(), mode, root)?.spawn()?;
    let mut from = BufReader::new(next.stdout.take().ok_or("no output")?);
    let then = std::thread::spawn(move || {
        let mut text = String::new();
        from.read_line(&mut text).map(|_| text)
    });
    let fate = wait(&mut next, Duration::from_secs(20))?;
    let then = then.join().map_err(|_| "a reader of lines panicked")??;
    if fate != Fate::Exited(0) {
        bad.push(format!("V13 opening again ended as {fate:?}: {then}"));
    }
    let end = if signal { " SIGBUS" } else { "" };
    println!("{harm:?} {mode}: {}{end}; opened again: {}", said.join(", "), then.trim_end());
    Ok((bad, allowed))
}

fn program(task: &str, log: &Path, mode: &str, root: bool) -> Outcome<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg(task).arg(log).arg(mode).process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    if root {
        command.uid(NOBODY).gid(NOBODY);
    }
    Ok(command)
}

/// Where the log lies, and what is mounted for it.
struct Place {
    base: PathBuf,
    mounted: Option<PathBuf>,
}

impl Place {
    fn new(base: &Path, harm: Harm, root: bool) -> Result<Place, String> {
        if harm.needs_root() && !root {
            return Err("mounting needs root".to_owned());
        }
        let mut place = Place { base: base.to_owned(), mounted: None };
        if harm == Harm::FilesystemFails {
            let image = base.join("image");
            let disk = base.join("disk");
            let made = File::create(&image).and_then(|file| file.set_len(32 << 20));
            made.and_then(|()| fs::create_dir(&disk)).map_err(|error| error.to_string())?;
            let image = image.display().to_string();
            shell(&["mkfs.ext4", "-q", &image])?;
            let at = disk.display().to_string();
            shell(&["mount", "-o", "loop,errors=remount-ro", &image, &at])?;
            place.mounted = Some(disk.clone());
            place.base = disk;
        }
        let open = Permissions::from_mode(0o777);
        fs::set_permissions(&place.base, open).map_err(|error| error.to_string())?;
        Ok(place)
    }

    fn log(&self) -> PathBuf {
        self.base.join("log")
    }

    /// Segments in order; the last is active.
    fn segments(&self) -> Outcome<Vec<PathBuf>> {
        let listed = fs::read_dir(self.log())?;
        let mut all: Vec<PathBuf> =
            listed.map(|one| one.map(|one| one.path())).collect::<Result<_, _>>()?;
        all.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
        all.sort();
        if all.len() < 3 {
            return Err("too few segments".into());
        }
        Ok(all)
    }

    fn harm(&self, harm: Harm) -> Outcome {
        let log = self.log();
        let segments = self.segments()?;
        let (sealed, active) = (&segments[1], &segments[segments.len() - 1]);
        let cut = |path: &Path, bytes: u64| -> std::io::Result<()> {
            OpenOptions::new().write(true).open(path)?.set_len(bytes)
        };
        let length = |path: &Path| path.metadata().map(|found| found.len());
        let replace = |path: &Path| -> std::io::Result<()> {
            fs::write(self.base.join("other"), vec![0x5a; 5000])?;
            fs::rename(self.base.join("other"), path)
        };
        let directory = |path: &Path| -> std::io::Result<()> {
            let _ = fs::remove_file(path);
            fs::create_dir(path)
        };
        match harm {
            Harm::Nothing => {}
            Harm::CutActiveToNothing => cut(active, 0)?,
            Harm::CutActiveInHalf => cut(active, length(active)? / 2)?,
            Harm::CutSealedToNothing => cut(sealed, 0)?,
            Harm::CutSealedByAPage => cut(sealed, length(sealed)?.saturating_sub(4096))?,
            Harm::CutCheckpoint => cut(&log.join("checkpoint"), 0)?,
            Harm::UnlinkActive => fs::remove_file(active)?,
            Harm::UnlinkSealed => fs::remove_file(sealed)?,
            Harm::UnlinkCheckpoint => fs::remove_file(log.join("checkpoint"))?,
            Harm::UnlinkMeta => fs::remove_file(log.join("log.meta"))?,
            Harm::ReplaceActive => replace(active)?,
            Harm::ReplaceSealed => replace(sealed)?,
            Harm::ReplaceCheckpointByDirectory => directory(&log.join("checkpoint"))?,
            Harm::ReplaceIndexByDirectory => directory(&sealed.with_extension("index"))?,
            Harm::GrowActive => {
                let at = length(active)?;
                OpenOptions::new().write(true).open(active)?.write_all_at(&[0xff; 8192], at)?;
            }
            Harm::ZeroInSealed => {
                OpenOptions::new().write(true).open(sealed)?.write_all_at(&[0; 300], 700)?;
            }
            Harm::ForbidDirectory => fs::set_permissions(&log, Permissions::from_mode(0o000))?,
            Harm::ForbidFiles => self.permit(0o000)?,
            Harm::MoveDirectory => fs::rename(&log, self.base.join("elsewhere"))?,
            Harm::RemoveDirectory => fs::remove_dir_all(&log)?,
            Harm::FifoIsNextSegment => {
                shell(&["mkfifo", "-m", "666", &log.join("segment.new").display().to_string()])?;
            }
            Harm::DirectoryIsNextSegment => directory(&log.join("segment.new"))?,
            Harm::LinkLeadsElsewhere => {
                fs::rename(&log, self.base.join("elsewhere"))?;
                fs::create_dir(self.base.join("empty"))?;
                symlink("empty", &log)?;
            }
            Harm::MountReadOnly => {
                let at = log.display().to_string();
                shell(&["mount", "--bind", &at, &at])?;
                shell(&["mount", "-o", "remount,bind,ro", &at])?;
            }
            Harm::FilesystemFails => {
                let table = fs::read_to_string("/proc/mounts")?;
                let at = self.base.display().to_string();
                let device = table.lines().find(|line| line.split(' ').nth(1) == Some(&at));
                let device = device.and_then(|line| line.split(' ').next()).ok_or("no mount")?;
                let device = device.trim_start_matches("/dev/");
                fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "1")?;
            }
        }
        Ok(())
    }

    fn permit(&self, mode: u32) -> Outcome {
        for one in fs::read_dir(self.log())? {
            fs::set_permissions(one?.path(), Permissions::from_mode(mode))?;
        }
        Ok(())
    }

    /// What an operator would put right before he starts the program again.
    fn heal(&self, harm: Harm) -> Outcome {
        match harm {
            Harm::ForbidDirectory => {
                fs::set_permissions(self.log(), Permissions::from_mode(0o777))?;
            }
            Harm::ForbidFiles => self.permit(0o666)?,
            Harm::MountReadOnly => shell(&["umount", &self.log().display().to_string()])?,
            _ => {}
        }
        Ok(())
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(disk) = &self.mounted else { return };
        // Its last process is gone, perhaps just now.
        for _ in 0..100 {
            if shell(&["umount", &disk.display().to_string()]).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

fn shell(words: &[&str]) -> Result<(), String> {
    let done = Command::new(words[0]).args(&words[1..]).stderr(Stdio::null()).status();
    match done {
        Ok(status) if status.success() => Ok(()),
        other => Err(format!("{}: {other:?}", words.join(" "))),
    }
}

fn open(dir: &Path, mode: &str) -> forebay::Result<Log> {
    let mode = if mode == "mapped" { IoMode::Mapped } else { IoMode::Positioned };
    let flush = forebay::FlushPolicy::Manual;
    Log::options().io_mode(mode).segment_bytes(16 << 10).flush(flush).open(dir)
}

fn append(log: &Log, count: i64) -> forebay::Result<()> {
    for _ in 0..count {
        let at = log.log_end_offset();
        log.append_at(at, content(SEED, "log", at.get()).to_append())?;
    }
    Ok(())
}

/// Says how a call ended.
fn say<T>(what: &str, ended: &forebay::Result<T>) {
    match ended {
        Ok(_) => println!("{what} ok"),
        Err(error) => println!("{what} {:?}", error.kind()),
    }
}

fn same(batch: &forebay::RecordBatch) -> forebay::Result<()> {
    for record in batch.records() {
        let record = record?;
        let at = record.offset().get();
        if Content::of(&record) != content(SEED, "log", at) {
            println!("BAD V2 another record at {at}");
        }
    }
    Ok(())
}

/// Reads all there is; damage does not end it.
fn read(reader: forebay::Result<forebay::Reader>) -> forebay::Result<()> {
    let mut first = Ok(());
    for batch in reader?.take(2000) {
        let ended = batch.and_then(|batch| same(&batch));
        if first.is_ok() {
            first = ended;
        }
    }
    first
}

fn child(dir: &Path, mode: &str) -> Outcome<ExitCode> {
    let log = open(dir, mode)?;
    append(&log, 300)?;
    log.flush()?;
    let mut consumer = log.consumer("display")?;
    consumer.poll(Duration::ZERO)?;
    consumer.commit()?;
    let segment = log.log_end_offset().get() / 3;
    let mut reader = log.reader(OffsetSpec::At(segment.into()))?;
    let held = reader.next().ok_or("nothing to hold")??;
    println!("ready");
    std::io::stdin().lock().read_line(&mut String::new())?;
    say("held", &same(&held));
    say("reader", &read(Ok(reader)));
    say("read", &read(log.reader(OffsetSpec::Earliest)));
    say("append", &append(&log, 200));
    if std::env::var("RIG_PLANT").is_ok_and(|plant| plant == "bus") {
        // SAFETY: no handler of ours: the library's own would swallow the signal.
        unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
        // SAFETY: raised for this process alone, in a test of who watches it.
        unsafe { libc::raise(libc::SIGBUS) };
    }
    say("flush", &log.flush());
    say("poll", &consumer.poll(Duration::ZERO));
    say("commit", &consumer.commit());
    say("sync", &consumer.sync());
    say("delete", &log.delete_records(segment.into()));
    say("retain", &log.apply_retention());
    say("verify", &log.verify());
    say("append", &append(&log, 5));
    let _ = log.stats();
    drop((held, consumer));
    say("close", &log.close());
    Ok(ExitCode::SUCCESS)
}

/// The next process: opens, or says why not.
fn again(dir: &Path, mode: &str) -> Outcome<ExitCode> {
    let log = match open(dir, mode) {
        Ok(log) => log,
        Err(error) => {
            println!("{:?}", error.kind());
            return Ok(ExitCode::SUCCESS);
        }
    };
    let ended = read(log.reader(OffsetSpec::Earliest));
    let after = append(&log, 20).and_then(|()| log.flush());
    let closed = log.close();
    let name =
        |ended: Option<forebay::ErrorKind>| ended.map_or("ok".into(), |kind| format!("{kind:?}"));
    println!(
        "ok, read {}, append {}, close {}",
        name(ended.err().map(|error| error.kind())),
        name(after.err().map(|error| error.kind())),
        name(closed.err().map(|error| error.kind()))
    );
    Ok(ExitCode::SUCCESS)
}
