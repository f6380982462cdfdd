//! Samples of the machine this runs on, one JSON object each.
//!
//! On Linux from `/proc`: processor, memory, disks, network and pressure in turn, the kernel's
//! own counters, so that a sample says the same however often it is taken. What a machine does not
//! have is left out; elsewhere the process itself is all there is.

use std::fmt::Write;
use std::fs;
use std::thread;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Takes one sample at a time, its sources in turn.
pub(crate) struct Telemetry {
    sources: Vec<Source>,
    taken: usize,
    started: Instant,
}

/// Where a sample comes from: a file, and what to make of it.
#[derive(Clone, Copy)]
struct Source {
    name: &'static str,
    path: &'static str,
    fields: fn(&str, &mut String),
}

const SOURCES: [Source; 7] = [
    Source { name: "cpu", path: "/proc/stat", fields: cpu },
    Source { name: "memory", path: "/proc/meminfo", fields: memory },
    Source { name: "disk", path: "/proc/diskstats", fields: disk },
    Source { name: "net", path: "/proc/net/dev", fields: net },
    Source { name: "pressure-cpu", path: "/proc/pressure/cpu", fields: pressure },
    Source { name: "pressure-io", path: "/proc/pressure/io", fields: pressure },
    Source { name: "pressure-memory", path: "/proc/pressure/memory", fields: pressure },
];
/// Disks and network interfaces of one sample.
const DEVICES_MAX: usize = 8;

impl Telemetry {
    pub(crate) fn new() -> Telemetry {
        let offered = |source: &Source| fs::read_to_string(source.path).is_ok();
        let sources = SOURCES.into_iter().filter(offered).collect();
        Telemetry { sources, taken: 0, started: Instant::now() }
    }

    /// The names of what is sampled here.
    pub(crate) fn names(&self) -> String {
        let names: Vec<_> = self.sources.iter().map(|source| source.name).collect();
        if names.is_empty() { "process".to_owned() } else { names.join(", ") }
    }

    /// The next sample.
    pub(crate) fn sample(&mut self) -> Vec<u8> {
        let at_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |at| at.as_millis());
        let source = self.sources.get(self.taken.checked_rem(self.sources.len()).unwrap_or(0));
        self.taken += 1;
        let mut line = format!("{{\"at_ms\":{at_ms},\"source\":");
        match source {
            Some(source) => {
                let _ = write!(line, "\"{}\"", source.name);
                // A device can go away; the sample then says that nothing was to be had.
                let text = fs::read_to_string(source.path).unwrap_or_default();
                (source.fields)(&text, &mut line);
            }
            None => {
                let threads = thread::available_parallelism().map_or(1, |count| count.get());
                line.push_str("\"process\"");
                field(&mut line, "running_us", self.started.elapsed().as_micros());
                field(&mut line, "threads", threads);
            }
        }
        line.push('}');
        line.into_bytes()
    }
}

/// Ticks by what they were spent on since the machine started, and what is running.
fn cpu(text: &str, line: &mut String) {
    const NAMES: [&str; 8] =
        ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];
    for row in text.lines() {
        let mut words = row.split_ascii_whitespace();
        match words.next() {
            Some("cpu") => {
                for (name, ticks) in NAMES.iter().zip(words) {
                    field(line, name, number(ticks));
                }
            }
            Some(name @ ("ctxt" | "procs_running" | "procs_blocked")) => {
                field(line, name, words.next().map_or(0, number));
            }
            _ => {}
        }
    }
}

fn memory(text: &str, line: &mut String) {
    for row in text.lines() {
        let mut words = row.split_ascii_whitespace();
        let name = match words.next() {
            Some("MemTotal:") => "total_kib",
            Some("MemFree:") => "free_kib",
            Some("MemAvailable:") => "available_kib",
            Some("Dirty:") => "dirty_kib",
            Some("Writeback:") => "writeback_kib",
            _ => continue,
        };
        field(line, name, words.next().map_or(0, number));
    }
}

/// Disks that did anything: reads and writes, sectors of 512 bytes, milliseconds of work.
fn disk(text: &str, line: &mut String) {
    const FIELDS: [(&str, usize); 5] =
        [("reads", 3), ("sectors_read", 5), ("writes", 7), ("sectors_written", 9), ("busy_ms", 12)];
    let rows = text.lines().map(|row| row.split_ascii_whitespace().collect::<Vec<_>>());
    let at = |row: &[&str], index: usize| row.get(index).map_or(0, |word| number(word));
    let busy = rows.filter(|row| at(row, 3) + at(row, 7) > 0);
    for row in busy.take(DEVICES_MAX) {
        open_device(line, row.get(2).copied().unwrap_or_default());
        for (name, index) in FIELDS {
            field(line, name, at(&row, index));
        }
        line.push('}');
    }
}

/// Network interfaces: bytes, packets and errors in both directions.
fn net(text: &str, line: &mut String) {
    const FIELDS: [(&str, usize); 6] = [
        ("rx_bytes", 0),
        ("rx_packets", 1),
        ("rx_errors", 2),
        ("tx_bytes", 8),
        ("tx_packets", 9),
        ("tx_errors", 10),
    ];
    for (name, row) in text.lines().filter_map(|row| row.split_once(':')).take(DEVICES_MAX) {
        let numbers: Vec<_> = row.split_ascii_whitespace().map(number).collect();
        open_device(line, name.trim());
        for (name, index) in FIELDS {
            field(line, name, numbers.get(index).copied().unwrap_or(0));
        }
        line.push('}');
    }
}

/// Microseconds in which some, or all, had to wait; see the kernel's "Pressure Stall Information".
fn pressure(text: &str, line: &mut String) {
    for row in text.lines() {
        let name = if row.starts_with("full") { "full_us" } else { "some_us" };
        let total = row.split_once("total=").map_or(0, |(_, total)| number(total));
        field(line, name, total);
    }
}

fn number(word: &str) -> u64 {
    word.trim().parse().unwrap_or(0)
}

fn field(line: &mut String, name: &str, value: impl std::fmt::Display) {
    let comma = if line.ends_with('{') { "" } else { "," };
    let _ = write!(line, "{comma}\"{name}\":{value}");
}

/// Device names are plain words; a letter that would have to be escaped is replaced.
fn open_device(line: &mut String, name: &str) {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.:@!".contains(letter);
    let name: String = name.chars().map(|at| if plain(at) { at } else { '?' }).collect();
    let _ = write!(line, ",\"{name}\":{{");
}
