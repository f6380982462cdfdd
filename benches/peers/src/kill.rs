//! Kills a process in the middle of appending, looks for every record it had acknowledged, appends
//! again and looks for those.
//!
//! The child counts acknowledgements in a map that outlives it. Each record says which thread
//! wrote it and how many that thread had written before, so the reader can tell a lost record from
//! one that was never acknowledged.

use std::fs::File;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use memmap2::MmapRaw;

use crate::arguments::Arguments;
use crate::peer::{Mode, Outcome, Peer, Writer};
use crate::place::{self, Place};

const THREADS_MAX: usize = 4;
/// Who wrote a record: a thread of the killed process, or the process that came after it.
const WRITERS: usize = THREADS_MAX + 1;
const RESUMED: usize = THREADS_MAX;
/// Records appended after the kill.
const RESUMED_RECORDS: u64 = 500;
const RECORD_BYTES: usize = 100;
const BATCH_RECORDS: u64 = 100;
/// One in this many calls is a batch.
const BATCH_EVERY: u64 = 64;
/// A reader that is not done by then hangs.
const CHILD_TIMEOUT: Duration = Duration::from_secs(10);
const HANGS: &str = "it hangs";
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// How many records each thread had acknowledged, in a file.
struct Acknowledged(MmapRaw);

impl Acknowledged {
    fn open(base: &Path) -> Outcome<Acknowledged> {
        let path = base.join("acknowledged");
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        file.set_len((THREADS_MAX * size_of::<u64>()) as u64)?;
        Ok(Acknowledged(MmapRaw::map_raw(&file)?))
    }

    fn of(&self, thread: usize) -> &AtomicU64 {
        assert!(thread < THREADS_MAX);
        let slots = self.0.as_mut_ptr().cast::<u64>();
        // SAFETY: in bounds by the assertion.
        let slot = unsafe { slots.add(thread) };
        // SAFETY: aligned, as maps are; alive as long as `self`; only ever used as an atomic.
        unsafe { AtomicU64::from_ptr(slot) }
    }

    fn load(&self) -> [u64; THREADS_MAX] {
        std::array::from_fn(|thread| self.of(thread).load(Ordering::Acquire))
    }
}

/// Kills every peer several times with one thread and with several.
pub(crate) fn check(arguments: &Arguments, place: &Place) -> Outcome<ExitCode> {
    println!("| log | threads | kills | with a loss | acknowledged | lost | lost after | seen |");
    println!("|---|--:|--:|--:|--:|--:|--:|---|");
    let mut as_stated = true;
    for peer in &arguments.peers {
        let mut worst = Fate::default();
        for threads in [1, THREADS_MAX] {
            let fate = kills(peer, threads, arguments.kills, place)?;
            let Fate { kills, losses, acknowledged, lost, lost_after, .. } = &fate;
            let seen = fate.seen.join("; ");
            println!(
                "| {} | {threads} | {kills} | {losses} | {acknowledged} | {lost} | {lost_after} | \
                 {seen} |",
                peer.name
            );
            worst.add(fate);
        }
        for (statement, stated, broken) in [
            ("survives_kill", peer.survives_kill, worst.lost > 0),
            ("finds_records", peer.finds_records, worst.lost_after > 0),
        ] {
            if stated && broken {
                println!("{}: {statement} is stated, and not so", peer.name);
                as_stated = false;
            } else if !stated && !broken {
                println!("{}: {statement} is denied, and was not seen to fail", peer.name);
            }
        }
    }
    Ok(if as_stated { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn kills(peer: &Peer, threads: usize, kills: u64, place: &Place) -> Outcome<Fate> {
    let mut sum = Fate::default();
    for kill in 0..kills {
        sum.add(one_kill(peer, threads, kill, place)?);
        if sum.hung {
            // Nothing more is to be learnt, and it takes long.
            break;
        }
    }
    Ok(sum)
}

/// What became of the records of a killed process, and of those appended after it.
#[derive(Default)]
struct Fate {
    kills: u64,
    /// Kills after which anything was lost.
    losses: u64,
    acknowledged: u64,
    lost: u64,
    lost_after: u64,
    hung: bool,
    seen: Vec<String>,
}

impl Fate {
    fn add(&mut self, other: Fate) {
        self.kills += other.kills;
        self.losses += other.losses;
        self.acknowledged += other.acknowledged;
        self.lost += other.lost;
        self.lost_after += other.lost_after;
        self.hung |= other.hung;
        for seen in other.seen {
            if !self.seen.contains(&seen) {
                self.seen.push(seen);
            }
        }
    }
}

fn one_kill(peer: &Peer, threads: usize, kill: u64, place: &Place) -> Outcome<Fate> {
    let dir = place.empty_dir("store")?;
    let acknowledged = append_and_kill(peer, threads, kill, place)?;
    let mut fate = Fate { kills: 1, acknowledged: acknowledged.iter().sum(), ..Fate::default() };
    let found = read(peer, threads, place, &mut fate)?;
    let lost = acknowledged.iter().zip(found).map(|(before, now)| before.saturating_sub(now));
    fate.lost = lost.sum();
    let resumed = child("--child-resume", peer, threads, place)?;
    let resumed = output_of(resumed)?;
    match resumed {
        Ok(_) => {
            let found = read(peer, threads, place, &mut fate)?;
            fate.lost_after = RESUMED_RECORDS.saturating_sub(found[RESUMED]);
        }
        Err(failure) => {
            fate.lost_after = RESUMED_RECORDS;
            fate.seen.push(format!("cannot go on: {failure}"));
        }
    }
    fate.losses = u64::from(fate.lost > 0 || fate.lost_after > 0);
    place::remove(&dir)?;
    Ok(fate)
}

/// Returns what each thread had acknowledged.
fn append_and_kill(
    peer: &Peer,
    threads: usize,
    kill: u64,
    place: &Place,
) -> Outcome<[u64; THREADS_MAX]> {
    let _ = std::fs::remove_file(place.base().join("acknowledged"));
    let acknowledged = Acknowledged::open(place.base())?;
    let mut writer = child("--child-append", peer, threads, place)?;
    let start = Instant::now();
    while acknowledged.load().iter().sum::<u64>() == 0 {
        if start.elapsed() > START_TIMEOUT || writer.try_wait()?.is_some() {
            let _ = writer.kill();
            return Err(format!("{} does not append", peer.name).into());
        }
        thread::sleep(Duration::from_millis(1));
    }
    // Spread over a span that no period of a peer's fits into.
    thread::sleep(Duration::from_micros(30_000 + kill * 17_389 % 170_000));
    writer.kill()?;
    let status = writer.wait()?;
    if status.code().is_some() {
        return Err(format!("{} stopped appending by itself: {status}", peer.name).into());
    }
    Ok(acknowledged.load())
}

/// Starts this program again for one part of the check.
fn child(task: &str, peer: &Peer, threads: usize, place: &Place) -> Outcome<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args([task, "--only", peer.name, "--threads", &threads.to_string(), "--dir"]);
    command.arg(place.base()).stdin(Stdio::null()).stdout(Stdio::piped());
    if task != "--child-append" {
        // What it comes to is on its standard output; a panic's trace is of no use here.
        command.stderr(Stdio::null());
    }
    Ok(command.spawn()?)
}

/// How many records of each writer a new process finds.
fn read(peer: &Peer, threads: usize, place: &Place, fate: &mut Fate) -> Outcome<[u64; WRITERS]> {
    let mut whole = [0; WRITERS];
    match output_of(child("--child-read", peer, threads, place)?)? {
        Ok(text) => {
            for line in text.lines() {
                if let Some(numbers) = line.strip_prefix("found ") {
                    let numbers = numbers.split(' ').map(|word| word.parse().unwrap_or(0));
                    whole.iter_mut().zip(numbers).for_each(|(slot, number)| *slot = number);
                } else if let Some(seen) = line.strip_prefix("seen ") {
                    fate.seen.push(seen.to_owned());
                }
            }
        }
        Err(failure) => {
            fate.hung |= failure == HANGS;
            fate.seen.push(failure);
        }
    }
    Ok(whole)
}

/// What a child prints, or how it fails.
fn output_of(mut child: Child) -> Outcome<Result<String, String>> {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            let text = std::io::read_to_string(child.stdout.take().ok_or("no output")?)?;
            return Ok(if status.success() { Ok(text) } else { Err(status.to_string()) });
        }
        if start.elapsed() > CHILD_TIMEOUT {
            child.kill()?;
            child.wait()?;
            return Ok(Err(HANGS.to_owned()));
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// The part that is killed: appends until then, single records and batches.
pub(crate) fn child_append(arguments: &Arguments, place: &Place) -> Outcome<ExitCode> {
    let peer = arguments.one_peer()?;
    let acknowledged = Acknowledged::open(place.base())?;
    let mut store = (peer.open)(&place.base().join("store"), peer.weakest_mode())?;
    if arguments.threads == 1 {
        append_for_ever(peer, &mut *store.sole_writer(), 0, acknowledged.of(0))?;
    }
    let store = &*store;
    thread::scope(|scope| {
        for number in 0..arguments.threads.min(THREADS_MAX) {
            let counter = acknowledged.of(number);
            scope.spawn(move || {
                let done = append_for_ever(peer, &mut *store.writer(), number, counter);
                eprintln!("{}: {done:?}", peer.name);
            });
        }
    });
    Ok(ExitCode::FAILURE)
}

fn append_for_ever(
    peer: &Peer,
    writer: &mut dyn Writer,
    thread: usize,
    acknowledged: &AtomicU64,
) -> Outcome {
    let durable = peer.append_ack.is_empty();
    let mut next = 0;
    for call in 1_u64.. {
        if call % BATCH_EVERY == 0 && !durable {
            let records: Vec<_> = (next..next + BATCH_RECORDS)
                .map(|number| numbered(thread, number))
                .collect::<Outcome<_>>()?;
            let records: Vec<&[u8]> = records.iter().map(<[u8; RECORD_BYTES]>::as_slice).collect();
            writer.append_batch(&records)?;
            next += BATCH_RECORDS;
        } else {
            let record = numbered(thread, next)?;
            if durable {
                writer.append_durable(&record)?
            } else {
                writer.append(&record)?
            }
            next += 1;
        }
        acknowledged.store(next, Ordering::Release);
    }
    Ok(())
}

fn numbered(thread: usize, number: u64) -> Outcome<[u8; RECORD_BYTES]> {
    let mut record = [b'.'; RECORD_BYTES];
    write!(&mut record[..], "{thread:02}{number:018}")?;
    Ok(record)
}

/// The part after the kill: appends some more, as durably as the peer can, and closes.
pub(crate) fn child_resume(arguments: &Arguments, place: &Place) -> Outcome<ExitCode> {
    let peer = arguments.one_peer()?;
    let mode = if peer.durable_ack.is_empty() { Mode::Appended } else { Mode::Durable };
    let mut store = (peer.open)(&place.base().join("store"), mode)?;
    let mut writer = store.sole_writer();
    for number in 0..RESUMED_RECORDS {
        let record = numbered(RESUMED, number)?;
        match mode {
            Mode::Appended => writer.append(&record)?,
            Mode::Durable => writer.append_durable(&record)?,
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// What the reader found: of each writer the records from the first one on without a hole.
#[derive(Default)]
struct Found {
    whole: [u64; WRITERS],
    behind_a_hole: bool,
    not_ours: bool,
}

impl Found {
    fn note(&mut self, record: &[u8]) {
        let text = std::str::from_utf8(record).ok().filter(|text| text.len() == RECORD_BYTES);
        let parsed = text.and_then(|text| {
            let (writer, number) = text.split_at_checked(20)?.0.split_at_checked(2)?;
            Some((writer.parse::<usize>().ok()?, number.parse::<u64>().ok()?))
        });
        let Some((writer, number)) = parsed.filter(|(writer, _)| *writer < WRITERS) else {
            self.not_ours = true;
            return;
        };
        let next = &mut self.whole[writer];
        if number == *next {
            *next += 1;
        } else if number > *next {
            self.behind_a_hole = true;
        }
        // A lower number: handed out twice.
    }
}

/// The part that reads, and says how far it came.
pub(crate) fn child_read(arguments: &Arguments, place: &Place) -> Outcome<ExitCode> {
    let peer = arguments.one_peer()?;
    let mut store = (peer.open)(&place.base().join("store"), peer.weakest_mode())?;
    let mut found = Found::default();
    let read = catch_unwind(AssertUnwindSafe(|| store.read_all(&mut |record| found.note(record))));
    match read {
        Ok(Ok(())) => {}
        Ok(Err(error)) => println!("seen reading fails: {error}"),
        Err(_) => println!("seen reading panics"),
    }
    if found.behind_a_hole {
        println!("seen records behind a hole");
    }
    if found.not_ours {
        println!("seen records that nobody wrote");
    }
    println!("found {}", found.whole.map(|count| count.to_string()).join(" "));
    Ok(ExitCode::SUCCESS)
}
