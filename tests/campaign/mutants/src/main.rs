//! Mutation testing of parts of forebay: the mutants of cargo-mutants, all in one build.
//!
//! `forebay-mutants ROOT SCRATCH RESULTS [--minutes N] [--limit SECONDS] [--enough SECONDS]
//! [--shard K/N] [--test NAME]... GLOB...`
//!
//! Every mutation is woven into a copy of the crate behind a switch, the tests are built once (the
//! library's and those named), and each test is run alone to see which mutations it meets. A mutant
//! then runs only those tests, the likeliest to fail first. One line a mutant goes to RESULTS:
//! caught, timeout, missed, unmet (no test comes there), unviable (the compiler refuses it), apart
//! (not woven: constants, fields) or open. Tests that take longer than the limit are left out. With
//! `--enough`, a mutant that passes tests of that many seconds is left open: a run without it goes
//! on with the open ones. What RESULTS has already is not run again, so shards and interrupted runs
//! add up.

mod list;
mod tests;
mod tree;
mod weave;

use std::collections::HashMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tests::{Ended, Test};

struct Options {
    root: PathBuf,
    scratch: PathBuf,
    results: PathBuf,
    minutes: u64,
    shard: (usize, usize),
    limit: Duration,
    enough: Duration,
    tests: Vec<String>,
    globs: Vec<String>,
}

fn options() -> Options {
    let mut arguments = std::env::args().skip(1);
    let mut path = || PathBuf::from(arguments.next().expect("ROOT SCRATCH RESULTS"));
    let (root, scratch, results) = (path(), path(), path());
    let mut options = Options {
        root,
        scratch,
        results,
        minutes: 55,
        shard: (0, 1),
        limit: Duration::from_secs(60),
        enough: Duration::MAX,
        tests: Vec::new(),
        globs: Vec::new(),
    };
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().expect("a value behind an option");
        match argument.as_str() {
            "--minutes" => options.minutes = value().parse().expect("minutes"),
            "--shard" => {
                let value = value();
                let (k, n) = value.split_once('/').expect("K/N");
                options.shard = (k.parse().expect("K"), n.parse().expect("N"));
            }
            "--limit" => options.limit = Duration::from_secs(value().parse().expect("seconds")),
            "--enough" => options.enough = Duration::from_secs(value().parse().expect("seconds")),
            "--test" => options.tests.push(value()),
            _ => options.globs.push(argument),
        }
    }
    options
}

fn main() {
    let options = options();
    let until = Instant::now() + Duration::from_secs(60 * options.minutes);
    let mutants = list::mutants(&options.root, &options.globs);
    fs::create_dir_all(&options.scratch).expect("a scratch directory");
    let mut tree = tree::Tree::new(&options.root, options.scratch.join("tree"), &mutants);
    let woven = tree.build();
    eprintln!("mutants: {} of {} are woven in", woven.len(), mutants.len());
    let binaries = tests::build(&tree.copy, &options.tests);
    let tests = tests::measured(&tree.copy, &binaries, mutants.len(), options.limit);
    let total: Duration = tests.iter().map(|test| test.took).sum();
    eprintln!("mutants: {} tests, {} s", tests.len(), total.as_secs());

    let text = fs::read_to_string(&options.results).unwrap_or_default();
    let known = earlier(&text);
    let mut results =
        OpenOptions::new().create(true).append(true).open(&options.results).expect("RESULTS");
    let mut kills: HashMap<&str, u32> = HashMap::new();
    for name in known.values().flat_map(|(_, by)| by.split(' ')) {
        *kills.entry(name).or_default() += 1;
    }
    let mut counts: HashMap<&str, usize> = HashMap::new();
    // In the order of GLOBs, so that what matters most is judged first.
    let rank = |file: &str| {
        let fits = |glob: &String| match glob.split_once('*') {
            Some((before, _)) => file.starts_with(before),
            None => file == glob,
        };
        options.globs.iter().position(fits)
    };
    let mut order: Vec<_> = mutants.iter().enumerate().collect();
    order.sort_by_key(|(_, mutant)| rank(&mutant.file));
    for (number, mutant) in order {
        if number % options.shard.1 != options.shard.0 {
            continue;
        }
        if let Some((verdict, _)) = known.get(&*mutant.name) {
            *counts.entry(verdict).or_default() += 1;
            continue;
        }
        if Instant::now() > until {
            *counts.entry("not run").or_default() += 1;
            continue;
        }
        let (verdict, by) = match woven.contains(&number) {
            false if tree.refuses(number) => ("unviable", String::new()),
            false => ("apart", String::new()),
            true => judge(&tree.copy, &tests, number, options.enough, &mut kills),
        };
        *counts.entry(verdict).or_default() += 1;
        writeln!(results, "{verdict}\t{by}\t{}", mutant.name).expect("RESULTS");
    }
    let of = |verdict| counts.get(verdict).copied().unwrap_or(0);
    let (caught, missed) = (of("caught") + of("timeout"), of("missed") + of("unmet"));
    println!(
        "mutants: {caught} caught ({} by hanging), {missed} missed ({} where no test comes), \
         {} open, {} unviable, {} not woven, {} not run: {:.1} %",
        of("timeout"),
        of("unmet"),
        of("open"),
        of("unviable"),
        of("apart"),
        of("not run"),
        100.0 * caught as f64 / (caught + missed).max(1) as f64
    );
}

/// What RESULTS says already: each mutant's verdict, and what caught it. What is open is not known.
fn earlier(text: &str) -> HashMap<&str, (&str, &str)> {
    let fields = text.lines().filter_map(|line| {
        let mut fields = line.split('\t');
        Some((fields.next()?, fields.next()?, fields.next()?))
    });
    let known = fields.filter(|(verdict, ..)| *verdict != "open");
    known.map(|(verdict, by, name)| (name, (verdict, by))).collect()
}

/// Runs what meets the mutant until something fails.
fn judge<'a>(
    copy: &Path,
    tests: &'a [Test],
    number: usize,
    enough: Duration,
    kills: &mut HashMap<&'a str, u32>,
) -> (&'static str, String) {
    let mut meeting: Vec<_> = tests.iter().filter(|test| test.meets.contains(&number)).collect();
    if meeting.is_empty() {
        return ("unmet", String::new());
    }
    let worth = |test: &Test| {
        let killed = f64::from(kills.get(test.name.as_str()).copied().unwrap_or(0)) + 0.2;
        killed / (test.took.as_secs_f64() + 0.01)
    };
    meeting.sort_by(|a, b| worth(b).total_cmp(&worth(a)));
    let set = ("FOREBAY_MUTANT", number.to_string());
    let mut rest = meeting.as_slice();
    let mut spent = Duration::ZERO;
    while let Some(first) = rest.first() {
        if spent > enough {
            return ("open", format!("{} tests", meeting.len() - rest.len()));
        }
        // What stands next to each other and belongs to one binary runs in one process.
        let budget = Duration::from_millis(300);
        let mut sum = Duration::ZERO;
        let count = rest.iter().take_while(|test| {
            sum += test.took;
            test.binary == first.binary && (sum < budget || std::ptr::eq(**test, *first))
        });
        let (chunk, others) = rest.split_at(count.count());
        let names: Vec<_> = chunk.iter().map(|test| test.name.as_str()).collect();
        let took: Duration = chunk.iter().map(|test| test.took).sum();
        match tests::run(copy, &first.binary, &names, &set, took * 5 + Duration::from_secs(10)) {
            Ended::Passed => {
                rest = others;
                spent += took;
            }
            ended => {
                for test in chunk {
                    *kills.entry(&test.name).or_default() += 1;
                }
                let verdict = if ended == Ended::Failed { "caught" } else { "timeout" };
                return (verdict, names.join(" "));
            }
        }
    }
    ("missed", format!("{} tests", meeting.len()))
}
