//! Every file system call of a workload fails in turn: see `rig::sweep`.
//!
//! ```text
//! sweep SHIM.so SCRATCH preload|strace|compare SCENARIO|all [POINT]
//! ```
//!
//! POINT, as a failure prints it, runs that one alone. The last line is the count of all; exit
//! status 1 if a law was broken.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use rig::sweep::{Engine, Stage, compare, judge, scenarios};

/// Failures that are printed; the count has all.
const SHOWN: u64 = 40;

#[derive(Default)]
struct Sum {
    points: u64,
    bad: u64,
    refused: u64,
    by_call: BTreeMap<String, u64>,
}

fn main() -> Result<ExitCode, Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [shim, scratch, engine, chosen] = words.first_chunk().ok_or("SHIM SCRATCH ENGINE NAME")?;
    let (shim, scratch) = (Path::new(shim), Path::new(scratch));
    let from = Instant::now();
    let mut sum = Sum::default();
    let mut names = 0;
    for scenario in scenarios(7) {
        let full_name = format!("{}/{}", scenario.name, scenario.mode());
        if chosen != "all" && chosen != scenario.name && *chosen != full_name {
            continue;
        }
        names += 1;
        let stage = Stage::new(scenario, shim, &scratch.join("sweep"))?;
        match engine.as_str() {
            "compare" => compared(&stage, &full_name, &mut sum)?,
            "preload" => swept(Engine::Preload, &stage, &full_name, words.get(4), &mut sum)?,
            "strace" => swept(Engine::Strace, &stage, &full_name, words.get(4), &mut sum)?,
            other => return Err(format!("{other}: preload, strace or compare").into()),
        }
    }
    if names == 0 {
        return Err(format!("no scenario is called {chosen}").into());
    }
    let calls: Vec<String> =
        sum.by_call.iter().map(|(call, count)| format!("{call} {count}")).collect();
    println!("{engine}, points by call: {}", calls.join(", "));
    println!(
        "sweep: {engine}, {names} scenarios, {} points, {} ended in a refusal, {} laws broken, \
         {:.0} s",
        sum.points,
        sum.refused,
        sum.bad,
        from.elapsed().as_secs_f64()
    );
    Ok(if sum.bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn swept(
    engine: Engine,
    stage: &Stage,
    name: &str,
    only: Option<&String>,
    sum: &mut Sum,
) -> std::io::Result<()> {
    let mut points = engine.points(stage)?;
    points.retain(|point| only.is_none_or(|only| *only == point.to_string()));
    let from = Instant::now();
    let mut bad_here = 0;
    for point in &points {
        stage.reset()?;
        let fate = engine.hurt(stage, point)?;
        sum.points += 1;
        sum.refused += u64::from(fate == rig::run::Fate::Exited(3));
        *sum.by_call.entry(point.call.clone()).or_default() += 1;
        let bad = judge(engine, stage, point, fate)?;
        if only.is_some() {
            println!("{}", stage.told()?.1);
        }
        if !bad.is_empty() {
            sum.bad += 1;
            bad_here += 1;
            if sum.bad <= SHOWN {
                println!("BAD {name} {point}: {}", bad.join("; "));
            }
        }
    }
    let seconds = from.elapsed().as_secs_f64();
    println!("{name}: {} points, {bad_here} laws broken, {seconds:.1} s", points.len());
    Ok(())
}

/// What strace sees and the shim does not would never fail.
fn compared(stage: &Stage, name: &str, sum: &mut Sum) -> std::io::Result<()> {
    for (call, shim, strace) in compare(stage)? {
        sum.points += shim;
        // One getdents64 gives many names.
        let same = if call == "readdir" { shim > 0 && strace > 0 } else { shim == strace };
        if !same {
            sum.bad += 1;
            println!("BAD {name}: {call}: the shim sees {shim} calls, strace {strace}");
        }
    }
    Ok(())
}
