//! Kills the device, the brokers and the link between them while the device ships.
//!
//! The blows are dealt in an order that is drawn, each when so much has arrived upstream that they
//! spread over the whole run; some follow at once on the one before, so that a device also dies
//! while the broker is away, and starts while the link is dead. The device appends as far as it is
//! allowed, a little beyond the next blow: none comes too late.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::inside::ends_inside;
use super::node::Node;
use super::told::Told;
use crate::Random;
use crate::link::{Fault, Link, Way};

/// What is to be done.
#[derive(Debug, Default)]
pub struct Plan {
    pub records: u64,
    pub broker_kills: u64,
    pub cuts: u64,
    pub device_kills: u64,
    pub seed: u64,
    /// Every device dies with its last answers lost, and the next one comes so much later. Zero:
    /// half of them die in doubt, and the next one comes at once.
    pub rest: Duration,
    /// The directories of the device's log and of a broker's partition.
    pub places: Option<(PathBuf, PathBuf)>,
    /// Prints the number of the node that leads, if there is more than one.
    pub leader: Option<PathBuf>,
}

/// What was done, and what the device told.
#[derive(Clone, Debug, Default)]
pub struct Done {
    pub broker_kills: u64,
    pub device_kills: u64,
    /// Of these, while records were on their way and not answered, as the links know.
    pub unanswered: u64,
    /// Of these, before anything was acknowledged in that life.
    pub early: u64,
    pub cuts: BTreeMap<String, u64>,
    /// Lives that began while the partition ended inside a stored batch.
    pub inside: u64,
    /// Records that may stand upstream twice, as the device says.
    pub doubted: u64,
    pub connects: u64,
    pub failures: u64,
    pub bad: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Blow {
    Broker,
    Cut,
    Device,
}

/// How many records the device may have beyond those that bring the next blow.
const AHEAD: u64 = 3_000;
/// Nothing arrived for so long: it will not.
const STALLED: Duration = Duration::from_secs(60);

impl Plan {
    /// Ships everything through the links, with `start` for the device; then all is healed, the
    /// brokers run, and the device has ended by itself.
    ///
    /// # Errors
    /// What the harness itself cannot do.
    pub fn carry_out(
        &self,
        start: impl Fn() -> Command,
        links: &[Link],
        nodes: Vec<Node>,
    ) -> io::Result<Done> {
        let mut random = Random::new(self.seed);
        let blows = self.blows(&mut random);
        let mut done = Done::default();
        let mut brokers = Brokers::new(nodes);
        let mut life = Life::begin(start())?;
        let mut highest = 0;
        for (blow, number) in blows.iter().zip(1..) {
            let share = self.records * number / (blows.len() as u64 + 1);
            let allowed = (share + AHEAD).min(self.records - 1);
            life.allow(allowed);
            // One of four follows on the one before.
            let at = if random.below(4) == 0 { 0 } else { share };
            if let Err(why) = life.until(|told| told.committed >= at) {
                done.bad.push(why);
                break;
            }
            thread::sleep(Duration::from_millis(random.below(60)));
            match blow {
                Blow::Cut => cut(links, &mut random, &mut done),
                Blow::Broker => {
                    brokers.kill_one(self.leader.as_ref(), &mut random)?;
                    done.broker_kills += 1;
                }
                Blow::Device => {
                    if !self.rest.is_zero() {
                        links.iter().for_each(|link| link.set(Some(Fault::Lose(Way::Down))));
                        // What is under way now arrives; nobody will know.
                        thread::sleep(Duration::from_millis(100));
                    }
                    let in_doubt = || links.iter().any(Link::is_in_doubt);
                    if done.device_kills % 2 == 0 || !self.rest.is_zero() {
                        // It may be that there is nothing to wait for: the link is down.
                        let until = Instant::now() + Duration::from_millis(500);
                        while !in_doubt() && Instant::now() < until {
                            thread::yield_now();
                        }
                    } else {
                        thread::sleep(Duration::from_millis(random.below(150)));
                    }
                    done.unanswered += u64::from(in_doubt());
                    life.kill(&mut done, &mut highest)?;
                    if !self.rest.is_zero() {
                        links.iter().for_each(|link| link.set(None));
                        thread::sleep(self.rest);
                    }
                    if let Some((log, partition)) = &self.places {
                        done.inside += u64::from(ends_inside(log, partition) == Some(true));
                    }
                    life = Life::begin(start())?;
                    life.allow(allowed);
                }
            }
        }
        life.allow(self.records);
        let ended = match done.bad.is_empty() {
            true => life.end(&mut done, &mut highest),
            false => life.kill(&mut done, &mut highest),
        };
        brokers.settle()?;
        links.iter().for_each(|link| link.set(None));
        ended.map(|()| done)
    }

    fn blows(&self, random: &mut Random) -> Vec<Blow> {
        let mut blows = Vec::new();
        blows.extend((0..self.broker_kills).map(|_| Blow::Broker));
        blows.extend((0..self.cuts).map(|_| Blow::Cut));
        blows.extend((0..self.device_kills).map(|_| Blow::Device));
        for at in (1..blows.len()).rev() {
            blows.swap(at, random.below(at as u64 + 1) as usize);
        }
        blows
    }
}

/// Breaks the links, and heals them in time. The next cut may come before that.
fn cut(links: &[Link], random: &mut Random, done: &mut Done) {
    let (fault, length) = Fault::draw(random);
    let text = fault.to_string();
    let kind = text.trim_end_matches(|at: char| at.is_ascii_digit()).trim_end();
    *done.cuts.entry(kind.to_owned()).or_default() += 1;
    for link in links {
        link.set(Some(fault));
        let link = link.clone();
        thread::spawn(move || {
            thread::sleep(length);
            if link.fault() == Some(fault) {
                link.set(None);
            }
        });
    }
}

/// The brokers, of which one may be on its way back.
struct Brokers {
    nodes: Vec<Option<Node>>,
    coming: Option<(usize, JoinHandle<io::Result<Node>>)>,
}

impl Brokers {
    fn new(nodes: Vec<Node>) -> Brokers {
        Brokers { nodes: nodes.into_iter().map(Some).collect(), coming: None }
    }

    /// Kills the leader, and lets it come back after a while. The one before has come back first.
    fn kill_one(&mut self, leader: Option<&PathBuf>, random: &mut Random) -> io::Result<()> {
        self.settle()?;
        let at = match leader {
            Some(program) => leading(program)?,
            None => 0,
        };
        let node = self.nodes.get_mut(at).and_then(Option::take);
        let mut node = node.ok_or_else(|| io::Error::other(format!("no node {}", at + 1)))?;
        node.kill()?;
        let away = Duration::from_millis(random.below(1_500));
        let coming = thread::spawn(move || {
            thread::sleep(away);
            node.start().map(|()| node)
        });
        self.coming = Some((at, coming));
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        if let Some((at, coming)) = self.coming.take() {
            let node = coming.join().map_err(|_| io::ErrorKind::Other)??;
            self.nodes[at] = Some(node);
        }
        Ok(())
    }
}

/// The node that leads, counted from 0; it may take a while until there is one.
fn leading(program: &PathBuf) -> io::Result<usize> {
    for _ in 0..30 {
        let output = Command::new(program).stdin(Stdio::null()).output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        if let Ok(node @ 1..) = text.trim().parse::<usize>() {
            return Ok(node - 1);
        }
        thread::sleep(Duration::from_millis(300));
    }
    Err(io::Error::other("no node leads the topic"))
}

/// One life of the device, and what it told so far.
struct Life {
    child: Child,
    input: ChildStdin,
    heard: Arc<Heard>,
    reader: JoinHandle<()>,
}

#[derive(Default)]
struct Heard {
    now: Mutex<Lines>,
    more: Condvar,
}

#[derive(Default)]
struct Lines {
    open: Option<u64>,
    told: Told,
    first_committed: Option<u64>,
    error: String,
    done: bool,
    over: bool,
}

impl Life {
    fn begin(mut command: Command) -> io::Result<Life> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let output = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let heard = Arc::new(Heard::default());
        let listening = Arc::clone(&heard);
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                listening.lock().hear(&line);
                listening.more.notify_all();
            }
            listening.lock().over = true;
            listening.more.notify_all();
        });
        Ok(Life { child, input, heard, reader })
    }

    /// How many records it may have. One that ended by itself is found by its last words.
    fn allow(&mut self, records: u64) {
        let _ = writeln!(self.input, "{records}");
    }

    /// Waits so long for a line that says it; whether one did.
    fn wait(&self, length: Duration, is_so: impl Fn(&Told) -> bool) -> bool {
        let until = Instant::now() + length;
        let mut now = self.heard.lock();
        while !is_so(&now.told) && !now.over {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.heard.more.wait_timeout(now, left);
            now = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        is_so(&now.told)
    }

    /// Waits as long as it gets on; else why it does not.
    fn until(&self, is_so: impl Fn(&Told) -> bool) -> Result<(), String> {
        loop {
            let before = self.heard.lock().told.committed;
            let got_on = self.wait(STALLED, |told| is_so(told) || told.committed > before);
            let now = self.heard.lock();
            if is_so(&now.told) {
                return Ok(());
            }
            if !got_on {
                let what = if now.over { "ended by itself" } else { "ships nothing any more" };
                return Err(format!("the device {what}: {:?}, {}", now.told, now.error));
            }
        }
    }

    /// SIGKILL. What it said until then is still heard.
    fn kill(mut self, done: &mut Done, highest: &mut u64) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        let heard = self.last_words(done, highest)?;
        let now = heard.lock();
        done.device_kills += 1;
        let first = now.first_committed;
        done.early += u64::from(first.is_none_or(|first| first == now.told.committed));
        Ok(())
    }

    /// It ends by itself, with everything shipped.
    fn end(mut self, done: &mut Done, highest: &mut u64) -> io::Result<()> {
        let why = self.until(|_| false);
        if !self.heard.lock().over {
            self.child.kill()?;
        }
        let status = self.child.wait()?;
        let heard = self.last_words(done, highest)?;
        if !status.success() || !heard.lock().done {
            done.bad.push(format!("{status}: {}", why.err().unwrap_or_default()));
        }
        Ok(())
    }

    fn last_words(self, done: &mut Done, highest: &mut u64) -> io::Result<Arc<Heard>> {
        self.reader.join().map_err(|_| io::ErrorKind::Other)?;
        let now = self.heard.lock();
        if let Some(open) = now.open.filter(|open| open < highest) {
            // The page cache outlives a process: what was appended is there.
            done.bad.push(format!("the log goes on with {open}, and had {highest} records"));
        }
        *highest = (*highest).max(now.told.end);
        done.doubted += now.told.doubted;
        done.connects += now.told.connects;
        done.failures += now.told.failures;
        drop(now);
        Ok(self.heard)
    }
}

impl fmt::Display for Done {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cuts = self.cuts.iter().map(|(kind, count)| format!("{kind} {count}"));
        let (cuts, all) = (cuts.collect::<Vec<_>>().join(", "), self.cuts.values().sum::<u64>());
        write!(f, "{} broker kills, {all} cuts ({cuts}), ", self.broker_kills)?;
        write!(f, "{} device kills ({} with ", self.device_kills, self.unanswered)?;
        write!(f, "requests unanswered, {} before an acknowledgement, ", self.early)?;
        write!(f, "{} inside a stored batch), ", self.inside)?;
        write!(f, "{} connects, {} failures, ", self.connects, self.failures)?;
        write!(f, "{} records in doubt by its own word", self.doubted)
    }
}

impl Heard {
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lines {
    fn hear(&mut self, line: &str) {
        match line.split_once(' ').unwrap_or((line, "")) {
            ("open", number) => self.open = number.parse().ok(),
            ("at", words) => {
                if let Some(told) = Told::parse(words) {
                    self.first_committed.get_or_insert(told.committed);
                    self.told = told;
                }
            }
            ("error", text) => self.error = text.to_owned(),
            ("done", _) => self.done = true,
            _ => {}
        }
    }
}
