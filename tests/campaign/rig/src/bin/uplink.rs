//! Kills a device, brokers and links while the device ships: see `rig::uplink`.
//!
//! ```text
//! uplink DIR --nodes NODE-DIR,... --links LISTEN=BROKER,... --topic TOPIC --records N
//!        [--broker-kills N] [--cuts N] [--device-kills N] [--seed N] [--leader PROGRAM]
//!        [--rest-ms N] [--partition DIR] [--long-every N] [--lag-max N] [--forgetful]
//!        [--clock-s N]
//! ```
//!
//! The device's log is DIR. The last line says what was done; exit status 1 if the device got
//! stuck, ended by itself or lost what it had appended. What arrived is for another to count.

use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use rig::link::Link;
use rig::run::sibling;
use rig::uplink::Words;
use rig::uplink::drive::Plan;
use rig::uplink::node::Node;

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let (words, from) = (Words::of_process(), Instant::now());
    let dir = words.plain.first().ok_or("DIR")?;
    let nodes = words.text("nodes")?.split(',').map(|dir| Node::new(Path::new(dir))).collect();
    let (mut links, mut to) = (Vec::new(), Vec::new());
    for pair in words.text("links")?.split(',') {
        let (at, broker) = pair.split_once('=').ok_or("--links LISTEN=BROKER,...")?;
        links.push(Link::listen(at, broker)?);
        to.push(at);
    }
    let plan = Plan {
        records: words.number("records", 20_000)?,
        broker_kills: words.number("broker-kills", 0)?,
        cuts: words.number("cuts", 0)?,
        device_kills: words.number("device-kills", 0)?,
        seed: words.number("seed", 1)?,
        rest: Duration::from_millis(words.number("rest-ms", 0)?),
        places: words.text("partition").ok().map(|partition| (dir.into(), partition.into())),
        leader: words.text("leader").ok().map(Into::into),
    };
    let mut device = vec!["--asks".to_owned(), "--to".to_owned(), to.join(",")];
    for (name, without) in [
        ("topic", ""),
        ("records", "20000"),
        ("long-every", "256"),
        ("lag-max", "4000"),
        ("clock-s", "0"),
    ] {
        let value = words.text(name).unwrap_or(without);
        device.extend([format!("--{name}"), value.to_owned()]);
    }
    device.extend(words.has("forgetful").then(|| "--forgetful".to_owned()));
    let program = sibling("device")?;
    let start = || {
        let mut command = Command::new(&program);
        command.arg(dir).args(&device);
        command
    };
    let done = plan.carry_out(start, &links, nodes)?;
    for bad in &done.bad {
        println!("BAD {bad}");
    }
    println!(
        "uplink: {} records, seed {}, {done}, {:.0} s",
        plan.records,
        plan.seed,
        from.elapsed().as_secs_f64()
    );
    Ok(if done.bad.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
