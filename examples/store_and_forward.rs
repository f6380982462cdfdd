//! Stores telemetry in a log, forwards it through a bad link, and proves that all of it arrived.
//!
//! Samples of this machine (processor, memory, disks, network, pressure), or lines from standard
//! input, are appended to the log in `DIR/edge`; a replicator ships them to a second log,
//! `DIR/upstream`, through outages that are made here. At the end the upstream is read and every
//! record checked: by a counter and a running digest of its own, and against the source.
//!
//! Run: `cargo run --release --features replicator --example store_and_forward -- --outages`
//!
//! With `--kafka HOST:PORT --topic NAME`, and built with `--features kafka`, it ships to a real
//! Kafka instead, and reads what arrived there with a small reader of its own.
//!
//! Kill it with `kill -9` at any moment and start it again: it goes on behind the last record, and
//! the proof covers all runs. `--verify` repeats the proof alone; `--help` lists the rest.
//!
//! Expected output:
//! ```text
//! edge: store-and-forward/edge, created; next counter 0
//! taking cpu, memory, disk, net, pressure-cpu, pressure-io, pressure-memory: 200 a second, for
//! 10 s
//!    time  records/s    records        lag       sent  link        outages
//!     1 s        200        201        201          0  down              1
//!     2 s        200        401         16        385  connected         2
//!     3 s        200        601        136        465  down              3
//! (one line a second, until everything is upstream)
//!    10 s        199       2000        523       1476  down              9
//!    10 s          0       2000          0       1999  connected        10
//! link: 10 outages: link down 6, batch lost 1, broken behind a batch 1, answer lost 2; 6
//! reconnects
//! proof: 2000 records upstream, counters 0..=1999, offsets 0..=1999, in order, none missing, none
//! twice, none altered
//! proof: 2000 are the source's own, byte for byte, none waits there
//! ```

#[path = "store_and_forward/args.rs"]
mod args;
#[cfg(feature = "kafka")]
#[path = "store_and_forward/kafka/mod.rs"]
mod kafka;
#[path = "store_and_forward/outages.rs"]
mod outages;
#[path = "store_and_forward/proof.rs"]
mod proof;
#[path = "store_and_forward/telemetry.rs"]
mod telemetry;

use std::error::Error;
use std::fmt::Display;
use std::io::{self, BufRead, Read, Write};
use std::process::ExitCode;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use forebay::{
    FlushPolicy, LinkState, Log, LogUpstream, RecoveryReport, Replicator, ReplicatorOptions,
    Upstream,
};

use args::{Args, USAGE};
use outages::{INJECTED, OutageCounts, Outages};
use proof::{Chain, Proof, UPLINK};
use telemetry::Telemetry;

/// A line that is longer becomes several records: a record has to fit into a batch.
const LINE_BYTES_MAX: u64 = 512 << 10;
const PROGRESS_EVERY: Duration = Duration::from_secs(1);
const HINT_AFTER: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args_os().skip(1)) {
        Ok(Some(args)) => args,
        Ok(None) => {
            say(USAGE);
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    #[cfg(not(feature = "kafka"))]
    if args.kafka.is_some() {
        eprintln!("store_and_forward: --kafka needs a build with it: cargo run --features kafka");
        return ExitCode::from(2);
    }
    match if args.verify { verify(&args) } else { run(&args) } {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => {
            say("the proof FAILED");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("store_and_forward: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Only the proof, on what is there; records that still wait at the source are no failure.
fn verify(args: &Args) -> Result<bool, Box<dyn Error>> {
    #[cfg(feature = "kafka")]
    if let Some(kafka) = &args.kafka {
        if !args.edge().is_dir() {
            return Err(format!("there is no {}", args.edge().display()).into());
        }
        return kafka::verify(kafka, &Log::open(args.edge())?);
    }
    if !args.upstream().is_dir() {
        return Err(format!("there is no {}", args.upstream().display()).into());
    }
    let source = args.edge().is_dir().then(|| Log::open(args.edge())).transpose()?;
    let upstream = Log::open(args.upstream())?;
    let proof = Proof::read(&upstream, source.as_ref())?;
    say(&proof);
    Ok(proof.holds())
}

/// Stores, forwards, waits until everything is upstream, and proves it.
fn run(args: &Args) -> Result<bool, Box<dyn Error>> {
    let log = Log::options()
        .flush(FlushPolicy::Interval(Duration::from_millis(200)))
        .open(args.edge())?;
    let chain = Chain::resume(&log)?;
    let (dir, found) = (args.edge(), found(log.recovery()));
    say(format_args!("edge: {}, {found}; next counter {}", dir.display(), chain.counter));

    #[cfg(feature = "kafka")]
    if let Some(kafka) = &args.kafka {
        let forward = |name: &str, upstream| forward(args, &log, chain, name, upstream);
        let holds = kafka::run(kafka, &log, forward)?;
        log.close()?;
        return Ok(holds);
    }
    forward(args, &log, chain, UPLINK, LogUpstream::new(args.upstream()))?;
    let upstream = Log::open(args.upstream())?;
    let proof = Proof::read(&upstream, Some(&log))?;
    say(&proof);
    log.close()?;
    Ok(proof.holds() && proof.waiting() == 0)
}

/// Stores, and ships to this upstream, until everything is there.
fn forward(
    args: &Args,
    log: &Log,
    chain: Chain,
    name: &str,
    upstream: impl Upstream + 'static,
) -> Result<(), Box<dyn Error>> {
    let link = Outages::new(upstream, args.outages);
    let outages = link.counts();
    let options =
        ReplicatorOptions::new().backoff(Duration::from_millis(50), Duration::from_secs(1));
    let replicator = Replicator::start(log, name, link, options)?;

    let telemetry = Telemetry::new();
    announce(args, &telemetry);
    let (done, until_done) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(|| show_progress(log, &replicator, &outages, until_done));
        // Dropped at the end, also by an error: then the last line is shown.
        let _done = done;
        feed(args, log, chain, telemetry)?;
        log.flush()?;
        if !replicator.wait_until(log.log_end_offset(), HINT_AFTER)? {
            say("not all is upstream yet: wait, or stop this; the next run ships what is stored");
        }
        while !replicator.wait_until(log.log_end_offset(), Duration::from_secs(1))? {}
        Ok::<(), Box<dyn Error>>(())
    })?;
    let reconnects = replicator.status().connects.saturating_sub(1);
    replicator.stop()?;
    say(format_args!("link: {outages}; {reconnects} reconnects"));
    Ok(())
}

/// What a run before left, as far as it matters.
fn found(report: &RecoveryReport) -> String {
    if report.created {
        return "created".to_owned();
    }
    if report.clean {
        return "closed cleanly before".to_owned();
    }
    let (bytes, scanned) = (report.bytes_cut, report.segments_scanned);
    let mut text = format!("recovered: {scanned} segments read, {bytes} torn bytes cut");
    if let Some(lost) = &report.lost {
        text.push_str(&format!(", LOST offsets {} to {}", lost.start, lost.end));
    }
    if report.damaged_ranges > 0 {
        text.push_str(&format!(", {} damaged ranges", report.damaged_ranges));
    }
    text
}

/// What will be stored, and the head of the lines that follow.
fn announce(args: &Args, telemetry: &Telemetry) {
    let pace = match args.records_per_second {
        0 => "as fast as possible".to_owned(),
        rate => format!("{rate} a second"),
    };
    match (args.stdin, args.length) {
        (true, _) => say(format_args!("taking lines from standard input, {pace}")),
        (_, None) => say(format_args!("taking {}: {pace}, until killed", telemetry.names())),
        (_, Some(length)) => {
            say(format_args!("taking {}: {pace}, for {} s", telemetry.names(), length.as_secs()));
        }
    }
    say("   time  records/s    records        lag       sent  link        outages");
}

/// Appends until the time is over or the input ends.
fn feed(
    args: &Args,
    log: &Log,
    mut chain: Chain,
    mut telemetry: Telemetry,
) -> Result<(), Box<dyn Error>> {
    let (rate, started) = (args.records_per_second, Instant::now());
    let mut input = io::stdin().lock();
    for taken in 0_u64.. {
        let due = Duration::from_secs(taken).checked_div(rate).unwrap_or_default();
        if args.length.is_some_and(|length| started.elapsed().max(due) >= length) {
            break;
        }
        thread::sleep(due.saturating_sub(started.elapsed()));
        let payload = if args.stdin { next_line(&mut input)? } else { Some(telemetry.sample()) };
        let Some(payload) = payload else { break };
        let (record, next) = chain.stamp(&payload);
        log.append(record)?;
        chain = next;
    }
    Ok(())
}

/// The next line without its end, or a part of one that is longer than a record may be; `None` at
/// the end of the input.
fn next_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    if input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    line.pop_if(|byte| *byte == b'\n');
    Ok(Some(line))
}

/// A line a second, and one at the end.
fn show_progress(log: &Log, replicator: &Replicator, outages: &OutageCounts, done: Receiver<()>) {
    let (started, mut last) = (Instant::now(), (Instant::now(), log.log_end_offset()));
    let mut told = None;
    loop {
        let over = done.recv_timeout(PROGRESS_EVERY) != Err(RecvTimeoutError::Timeout);
        let (status, end) = (replicator.status(), log.log_end_offset());
        let micros = u64::try_from(last.0.elapsed().as_micros()).unwrap_or(u64::MAX).max(1);
        let rate = ((end - last.1).unsigned_abs() * 1_000_000 + micros / 2) / micros;
        let link = match status.link {
            LinkState::Connecting => "connecting",
            LinkState::Connected => "connected",
            LinkState::Waiting => "down",
            _ => "stopped",
        };
        say(format_args!(
            "{:5} s {rate:10} {:10} {:10} {:10}  {link:10} {:8}",
            started.elapsed().as_secs(),
            end.get(),
            status.lag_records,
            status.records_sent,
            outages.total()
        ));
        // What was not injected needs somebody who looks after it.
        if status.last_error != told && status.last_error.as_deref().is_some_and(is_real) {
            say(format_args!("replicator: {}", status.last_error.as_deref().unwrap_or_default()));
            told = status.last_error;
        }
        if over {
            return;
        }
        last = (Instant::now(), end);
    }
}

fn is_real(error: &str) -> bool {
    !error.contains(INJECTED)
}

/// Prints a line. Storing goes on, also when nobody reads any more.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}
