//! A link that breaks when it is told to: see `rig::link`.
//!
//! ```text
//! link LISTEN=SERVER...
//! ```
//!
//! Addresses are HOST:PORT. A line of standard input is told to all: `reset`, `silent`, `hold`,
//! `delay MILLISECONDS`, `slow BYTES-A-SECOND`, `lose up`, `lose down`, `heal`; `schedule SEED
//! FAULTS` makes so many faults, one after the other with pauses between; `carried` prints what
//! went through. With the end of the input the links end.

use std::io::{self, BufRead};
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use rig::Random;
use rig::link::{Carried, Fault, Link};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<ExitCode> {
    let mut links = Vec::new();
    for word in std::env::args().skip(1) {
        let (at, to) = word.split_once('=').ok_or("LISTEN=SERVER...")?;
        links.push(Link::listen(at, to)?);
    }
    if links.is_empty() {
        return Err("LISTEN=SERVER...".into());
    }
    println!("ready");
    for line in io::stdin().lock().lines() {
        let line = line?;
        if let Err(error) = obey(&links, line.trim()) {
            println!("refused: {line}: {error}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn obey(links: &[Link], line: &str) -> Outcome<()> {
    let all = |fault| links.iter().for_each(|link| link.set(fault));
    match line.split_whitespace().collect::<Vec<_>>()[..] {
        [] => return Ok(()),
        ["heal"] => all(None),
        ["schedule", seed, faults] => {
            let mut random = Random::new(seed.parse()?);
            for _ in 0..faults.parse::<u64>()? {
                let (fault, length) = Fault::draw(&mut random);
                println!("{fault} for {} ms", length.as_millis());
                all(Some(fault));
                thread::sleep(length);
                all(None);
                thread::sleep(Duration::from_millis(random.below(1_000)));
            }
        }
        ["carried"] => {
            for link in links {
                let Carried { connections, refused, bytes, bytes_lost } = link.carried();
                println!(
                    "{connections} connections, {refused} refused, {bytes} bytes, {bytes_lost} lost"
                );
            }
        }
        _ => all(Some(line.parse()?)),
    }
    println!("done: {line}");
    Ok(())
}
