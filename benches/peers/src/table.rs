//! The tables, in Markdown.

use std::fs;

use crate::arguments::Arguments;
use crate::measure::{BATCH_RECORDS, CELL_BYTES, Results, WORKS, Work};
use crate::peer::{Mode, Peer};
use crate::place::Place;

/// What the program was built from, and thereby which versions.
const LOCK: &str = include_str!("../Cargo.lock");

/// One line: a peer and its median in each column.
struct Row {
    peer: &'static Peer,
    medians: Vec<Option<f64>>,
}

pub(crate) fn print(results: &Results, arguments: &Arguments, place: &Place) {
    println!("# forebay beside its peers\n");
    println!("{}, {}.", machine(), place.filesystem());
    println!(
        "Medians of {} rounds, interleaved, in one process; a cell ends after {} s or {} MiB of \
         records. In brackets: times forebay-mapped.\n",
        arguments.rounds,
        arguments.seconds,
        CELL_BYTES >> 20
    );
    println!("## Appended, no sync: nanoseconds a record\n");
    println!(
        "With several threads: time over the records of all. A batch of {BATCH_RECORDS} goes \
         through the crate's own call, if it has one.\n"
    );
    section(Mode::Appended, results, arguments);
    println!("\n## Durable: acknowledgements a second\n");
    raw_limit(results);
    section(Mode::Durable, results, arguments);
}

fn raw_limit(results: &Results) {
    if let Some(rate) = median(&results.raw_syncs) {
        println!(
            "Limit: one thread writes and calls fdatasync on a preallocated file {} times a \
             second in this run; 16 threads that share syncs can have 8 times that, {}.\n",
            figure(rate),
            figure(rate * 8.0)
        );
    }
}

fn section(mode: Mode, results: &Results, arguments: &Arguments) {
    let columns: Vec<usize> = (0..WORKS.len()).filter(|&at| WORKS[at].mode() == mode).collect();
    let works: Vec<&Work> = columns.iter().map(|&at| &WORKS[at]).collect();
    let rows = arguments.peers.iter().enumerate().map(|(number, peer)| Row {
        peer,
        medians: columns.iter().map(|&at| median(&results.values[at][number])).collect(),
    });
    let rows: Vec<Row> = rows.filter(|row| row.medians.iter().any(Option::is_some)).collect();
    let own = rows.iter().find(|row| row.peer.name == "forebay-mapped");
    let unit = own.map_or(vec![None; columns.len()], |row| row.medians.clone());

    let (forebay, others): (Vec<&Row>, Vec<&Row>) =
        rows.iter().partition(|row| row.peer.package == "forebay");
    let (mut ranked, mut unranked): (Vec<&Row>, Vec<&Row>) =
        others.into_iter().partition(|row| row.peer.unranked(mode).is_none());
    order(mode, &mut ranked);
    order(mode, &mut unranked);

    head("log", &works, "an acknowledgement means");
    for row in forebay.into_iter().chain(ranked) {
        line(row, &unit, ack(row.peer, mode));
    }
    if unranked.is_empty() {
        return;
    }
    println!("\nShown without a rank:\n");
    head("log", &works, "an acknowledgement means; why it has no rank");
    for row in unranked {
        let why = row.peer.unranked(mode).unwrap_or_default();
        line(row, &unit, &format!("{}; {why}", ack(row.peer, mode)));
    }
}

fn ack(peer: &Peer, mode: Mode) -> &'static str {
    match mode {
        Mode::Appended => peer.append_ack,
        Mode::Durable => peer.durable_ack,
    }
}

/// The best first, by the first column.
fn order(mode: Mode, rows: &mut [&Row]) {
    let worst = f64::INFINITY;
    rows.sort_by(|a, b| {
        let [a, b] = [a, b].map(|row| {
            let value = row.medians.first().copied().flatten();
            value.map_or(worst, |value| if mode == Mode::Durable { -value } else { value })
        });
        a.total_cmp(&b)
    });
}

fn head(first: &str, works: &[&Work], last: &str) {
    let titles: Vec<&str> = works.iter().map(|work| work.title).collect();
    println!("| {first} | {} | {last} |", titles.join(" | "));
    println!("|---|{}---|", "--:|".repeat(works.len()));
}

fn line(row: &Row, unit: &[Option<f64>], last: &str) {
    let cells: Vec<String> = row
        .medians
        .iter()
        .zip(unit)
        .map(|(value, unit)| match (value, unit) {
            (None, _) => "-".to_owned(),
            (Some(value), None) => figure(*value),
            (Some(value), Some(unit)) => format!("{} ({})", figure(*value), times(value / unit)),
        })
        .collect();
    let Peer { name, package, .. } = row.peer;
    println!("| {name} {} | {} | {last} |", version(package), cells.join(" | "));
}

fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

fn times(ratio: f64) -> String {
    if ratio < 10.0 { format!("{ratio:.2}x") } else { format!("{ratio:.0}x") }
}

/// Three digits or more, thousands set apart.
fn figure(value: f64) -> String {
    if value < 100.0 {
        return format!("{value:.1}");
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A package's version as locked; with several, the first.
fn version(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"");
    let mut lines = LOCK.lines().skip_while(|line| *line != name).skip(1);
    let quoted = lines.next().and_then(|line| line.strip_prefix("version = \""));
    quoted.and_then(|rest| rest.strip_suffix('"')).unwrap_or("?")
}

fn machine() -> String {
    let field = |path: &str, name: &str| {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(':').map_or_else(String::new, |(_, value)| value.trim().to_owned())
    };
    let processor = field("/proc/cpuinfo", "model name");
    let memory = field("/proc/meminfo", "MemTotal");
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores of {processor}, {memory}, Linux {}", kernel.trim())
}
