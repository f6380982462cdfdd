//! A process is killed at random moments, again and again, on the same log: nothing it had
//! acknowledged is lost (V1, V2, V3, V6, V16, V17).

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use forebay::{ConsumerOptions, FlushPolicy, IoMode, Log, LogOptions, Offset, Visibility};

use crate::util::{self, Owned, child, child_role, manual, read_all, scratch};

const CYCLES: u64 = 15;
const THREADS: usize = 3;
const CONSUMERS: [(&str, Visibility); 2] =
    [("written", Visibility::Written), ("durable", Visibility::Durable)];

fn options(mode: IoMode, cycle: u64) -> LogOptions {
    let policies = [
        FlushPolicy::Manual,
        FlushPolicy::EveryBytes(4000),
        FlushPolicy::Interval(Duration::from_millis(2)),
        FlushPolicy::EveryAppend,
        FlushPolicy::Manual,
    ];
    let policy = policies[usize::try_from(cycle).unwrap() % policies.len()];
    manual(mode).segment_bytes(8192).flush(policy)
}

/// Says a line at once, whole: what was said is known to the parent whatever happens then.
fn say(line: &str) {
    std::io::stdout().write_all(format!("<{line}>\n").as_bytes()).unwrap();
}

/// What record `n` of a thread in a cycle holds: any torn or foreign byte in it is seen.
fn value(cycle: u64, t: usize, n: u64) -> String {
    let length = usize::try_from((n * 37 + 11 * cycle) % 400).unwrap();
    format!("{cycle}:{t}:{n}:{}", format!("{n}-").repeat(length / 3 + 1))
}

/// The child: appends, flushes, consumes, and says what was acknowledged, until it is killed.
fn work(mode: IoMode, cycle: u64, dir: &Path) {
    let log = options(mode, cycle).open(dir).unwrap();
    say("ready");
    thread::scope(|scope| {
        for t in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                let mut n = 0;
                loop {
                    if n % 5 == 4 {
                        let pair = [value(cycle, t, n), value(cycle, t, n + 1)];
                        let range = log.append_batch(pair).unwrap();
                        say(&format!(
                            "a {t} {n} {}>\n<a {t} {} {}",
                            range.start,
                            n + 1,
                            range.start + 1
                        ));
                        n += 2;
                    } else {
                        let offset = log.append(value(cycle, t, n)).unwrap();
                        say(&format!("a {t} {n} {offset}"));
                        n += 1;
                    }
                    if n % 23 == 0 {
                        say(&format!("f {}", log.flush().unwrap()));
                    }
                }
            });
        }
        for (name, visibility) in CONSUMERS {
            let consumer = ConsumerOptions::new().visibility(visibility);
            let mut consumer = log.consumer_with(name, consumer).unwrap();
            scope.spawn(move || {
                loop {
                    if consumer.poll(Duration::from_millis(1)).unwrap().is_some() {
                        consumer.commit().unwrap();
                        say(&format!("c {name} {}", consumer.committed()));
                    }
                }
            });
        }
    });
}

/// What the child said before it died.
#[derive(Default)]
struct Said {
    acknowledged: BTreeMap<i64, (usize, u64)>,
    flushed: i64,
    committed: BTreeMap<String, i64>,
}

impl Said {
    fn hear(&mut self, line: &str) {
        // The last line may be torn: then its end is missing and it counts for nothing.
        let Some(line) = line.strip_prefix('<').and_then(|line| line.strip_suffix('>')) else {
            return;
        };
        let words: Vec<_> = line.split(' ').collect();
        match words[..] {
            ["a", t, n, offset] => {
                let record = (t.parse().unwrap(), n.parse().unwrap());
                let before = self.acknowledged.insert(offset.parse().unwrap(), record);
                assert_eq!(before, None, "offset {offset} was given twice");
            }
            ["f", offset] => self.flushed = self.flushed.max(offset.parse().unwrap()),
            ["c", name, offset] => {
                self.committed.insert(name.to_owned(), offset.parse().unwrap());
            }
            _ => {}
        }
    }
}

/// Runs the child and kills it after it has said `lines` lines and `pause` more.
fn run_and_kill(test: &str, role: &str, dir: &Path, lines: u64, pause: Duration) -> Said {
    let mut process = child(module_path!(), test, role, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap()).lines();
    let mut said = Said::default();
    for _ in 0..lines {
        let Some(line) = stdout.next() else { break };
        said.hear(&line.unwrap());
    }
    let hearing = thread::spawn(move || {
        for line in stdout {
            said.hear(&line.unwrap());
        }
        said
    });
    thread::sleep(pause);
    process.kill().unwrap();
    let status = process.wait().unwrap();
    let said = hearing.join().unwrap();
    let mut words = String::new();
    std::io::Read::read_to_string(&mut process.stderr.take().unwrap(), &mut words).unwrap();
    assert!(was_killed(status), "the child died by itself: {status} {words}");
    said
}

fn was_killed(status: ExitStatus) -> bool {
    std::os::unix::process::ExitStatusExt::signal(&status) == Some(9)
}

/// Checks what a killed cycle left, against what was there before it and what it said.
fn check(log: &Log, before: &[Owned], cycle: u64, said: &Said) -> Vec<Owned> {
    let report = log.recovery();
    assert_eq!((report.damaged_ranges, report.lost.clone()), (0, None), "{report:?}");
    assert!(!report.checkpoint_lost && !report.meta_rebuilt, "{report:?}");
    assert!(report.consumers_moved_back.is_empty() && report.foreign_files.is_empty());
    let records = read_all(log);
    assert!(records.starts_with(before), "V1: an earlier record is gone or another");
    assert!(records.iter().zip(0..).all(|(record, n)| record.offset == n), "V2: dense");
    assert_eq!(log.log_end_offset().get(), i64::try_from(records.len()).unwrap());

    let text = |offset: i64| {
        let record = &records[usize::try_from(offset).unwrap()];
        String::from_utf8(record.value.clone().unwrap()).unwrap()
    };
    for (offset, (t, n)) in &said.acknowledged {
        assert!(*offset < log.log_end_offset().get(), "V1: {offset} was acknowledged and is gone");
        assert_eq!(text(*offset), value(cycle, *t, *n), "V1: at {offset}");
    }
    // Each thread's records are there from its first to its last one, in order, once.
    let mut next = [0; THREADS];
    for offset in before.len()..records.len() {
        let text = text(i64::try_from(offset).unwrap());
        let numbers: Vec<u64> = text.splitn(4, ':').take(3).map(|n| n.parse().unwrap()).collect();
        let t = usize::try_from(numbers[1]).unwrap();
        assert_eq!((numbers[0], numbers[2]), (cycle, next[t]), "V3: at {offset}");
        assert_eq!(text, value(cycle, t, next[t]), "V2: at {offset}");
        next[t] += 1;
    }
    assert!(log.durable_offset().get() >= said.flushed, "I2: durable fell back");
    for (name, offset) in &said.committed {
        let consumers = log.consumers();
        let now = consumers.iter().find(|consumer| consumer.name == *name).unwrap().committed;
        assert!(now.get() >= *offset, "V6: {name} had committed {offset}, now {now}");
        assert!(now <= log.log_end_offset(), "V6: {name}");
    }
    records
}

/// Kills fifteen processes in a row at moments that a seed decides, and checks after each.
fn kill_again_and_again(test: &str, mode: IoMode) {
    if let Some((role, dir)) = child_role() {
        return work(mode, role.parse().unwrap(), &dir);
    }
    let dir = scratch();
    let path = dir.path().join("log");
    let mut records = Vec::new();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for cycle in 0..CYCLES {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        let (lines, micros) = ((random >> 33) % 1500, (random >> 20) % 3000);
        // Some die while they still open the log.
        let lines = if cycle % 5 == 4 { 3 } else { lines };
        let pause = Duration::from_micros(micros);
        let said = run_and_kill(test, &cycle.to_string(), &path, lines, pause);
        if !path.exists() {
            continue;
        }
        // V16: free at once. Half of the time the files are looked at through the other mode.
        let log = options(mode, cycle).open(&path).unwrap();
        records = check(&log, &records, cycle, &said);
        drop(log);
        let log = options(if cycle % 2 == 0 { IoMode::Mapped } else { IoMode::Positioned }, 0)
            .open(&path)
            .unwrap();
        assert!(log.recovery().clean && read_all(&log) == records, "I12");
    }
    assert!(records.len() > 500, "the children hardly ran: {}", records.len());
    let log = Log::open(&path).unwrap();
    assert_eq!(log.append("alive").unwrap(), Offset::new(i64::try_from(records.len()).unwrap()));
    log.close().unwrap();
    let names = util::files(&path);
    let odd = names.iter().filter(|name| fs::metadata(name).unwrap().is_dir());
    assert_eq!(odd.count(), 0);
}

/// V1: fifteen kills, mapped.
#[test]
fn a_killed_process_loses_nothing_it_had_acknowledged_mapped() {
    let test = "a_killed_process_loses_nothing_it_had_acknowledged_mapped";
    kill_again_and_again(test, IoMode::Mapped);
}

/// V1: fifteen kills, positioned.
#[test]
fn a_killed_process_loses_nothing_it_had_acknowledged_positioned() {
    let test = "a_killed_process_loses_nothing_it_had_acknowledged_positioned";
    kill_again_and_again(test, IoMode::Positioned);
}
