//! Counts what a consumer printed: see `rig::uplink::count`.
//!
//! ```text
//! count RECORDS [--long-every N]           lines of a consumer on standard input
//! count RECORDS --print [--long-every N]   what those lines have to be
//! ```
//!
//! Prints what is wrong, and a line with all counts; exit status 1 if a record is not there, or not
//! once, or not in order.

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use rig::uplink::Words;
use rig::uplink::count::{Count, line};

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let words = Words::of_process();
    let records = words.plain.first().ok_or("RECORDS")?.parse()?;
    let long_every = words.number("long-every", 0)?;
    if words.has("print") {
        let mut output = BufWriter::new(io::stdout().lock());
        for number in 0..records {
            output.write_all(line(number, number, long_every).as_bytes())?;
        }
        output.flush()?;
        return Ok(ExitCode::SUCCESS);
    }
    let count = Count::of(io::stdin().lock(), records, long_every)?;
    for finding in &count.findings {
        println!("BAD {finding}");
    }
    println!("count: {count}");
    Ok(if count.holds() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
