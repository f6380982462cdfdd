//! Everything at once, by chance: the link, the brokers and the device fail in all the ways that
//! the other tests know one by one, while records are lost before they are shipped.
//!
//! `FOREBAY_KAFKA_SEEDS=1000..3000` runs other seeds, and as many.

use std::time::Duration;

use forebay::simulation::{Disk, Keep};
use forebay::{FlushPolicy, Log, NewRecord, Offset};
use kafka_protocol::messages::ApiKey;

use crate::fake::{Action, Fault, Garbage, Keep as Kept, When};
use crate::gaps::{check, found_with};
use crate::pipe::Pipe;
use crate::ships::{HOUR, disk, options};
use crate::world::{State, World};

/// A generator by Steele, Lea and Flood (SplitMix64).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ mixed >> 31) % end
    }
}

fn seeds() -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("FOREBAY_KAFKA_SEEDS") else { return 0..60 };
    let (from, to) = text.split_once("..").unwrap();
    from.parse().unwrap()..to.parse().unwrap()
}

fn value(number: i64, life: u64) -> Vec<u8> {
    let length = match number % 61 {
        7 => 18_000,
        other => (other * 13 % 400) as usize,
    };
    format!("{number} {life} {}", "v".repeat(length)).into_bytes()
}

/// What may go wrong with requests of one API in a thousand.
fn plan(dice: &mut Dice, world: &World, forgets: bool) {
    let cluster = &mut world.state().cluster;
    for _ in 0..dice.below(6) {
        let (later, close) = (Duration::from_millis(dice.below(4000)), dice.below(2) == 0);
        let topic = "t".to_owned();
        let fault = match dice.below(14) {
            // What lands behind a search for what a broker has forgotten cannot be told from new.
            2 if forgets => continue,
            // Nor can a batch that a broker passed over, and took the next one for the first.
            0 | 6 if forgets => Fault::DropBefore { close: true },
            0 => Fault::DropBefore { close },
            1 => Fault::DropAfter { close },
            2 => Fault::Land(later),
            3 => Fault::Late(later),
            4 => Fault::Overtaken(later),
            5 => Fault::Twice(later),
            6 => Fault::Error([3, 5, 6, 7, 14, 19, 56, 74][dice.below(8) as usize]),
            7 => Fault::ErrorAfter([6, 7, 13, 19, 20][dice.below(5) as usize]),
            8 => Fault::Throttle(later),
            9 => Fault::Cut(dice.below(80) as usize),
            10 => Fault::Stall(dice.below(80) as usize),
            11 => Fault::Garbage(Garbage::Random(dice.below(300) as usize)),
            12 => {
                let keep = if close { Kept::All } else { Kept::Replicated };
                Fault::After(Action::MoveLeader { topic, partition: 0, to: None, keep })
            }
            _ => Fault::Before(Action::CloseConnections { node: 1 + dice.below(3) as i32 }),
        };
        let api = match dice.below(9) {
            0 => ApiKey::ApiVersions,
            1 => ApiKey::Metadata,
            2 => ApiKey::DescribeProducers,
            3 => ApiKey::Fetch,
            4 => ApiKey::InitProducerId,
            _ => ApiKey::Produce,
        };
        let some = 10 + dice.below(150);
        cluster.fault(api, When::PerMille(some), fault);
    }
}

/// What happens to the cluster from outside.
fn happen(dice: &mut Dice, world: &World, forgets: bool) {
    let node = 1 + dice.below(3) as i32;
    let keep = if dice.below(2) == 0 { Kept::All } else { Kept::Replicated };
    let action = match dice.below(6) {
        0 => Action::Kill { node, keep },
        1 => Action::MoveLeader { topic: "t".to_owned(), partition: 0, to: None, keep },
        2 if forgets => Action::ForgetProducers { topic: "t".to_owned() },
        // What brokers forget while it is not replicated yet cannot be seen by anybody.
        3 if !forgets => {
            Action::Replication((dice.below(3) > 0).then(|| Duration::from_millis(40)))
        }
        _ => Action::CloseConnections { node },
    };
    let mut state = world.state();
    let now = state.now;
    let living = (1..=3).filter(|node| state.cluster.is_alive(*node)).count();
    match action {
        Action::Kill { .. } if living < 3 => {}
        action => state.cluster.act(action, now),
    }
    if dice.below(3) == 0 {
        restart(&mut state);
    }
}

fn restart(state: &mut State) {
    let now = state.now;
    for node in (1..=3).filter(|node| !state.cluster.is_alive(*node)).collect::<Vec<_>>() {
        state.cluster.act(Action::Restart { node }, now);
    }
}

struct Device {
    disk: Disk,
    log: Log,
    life: u64,
    /// What it knows to be durable.
    durable: i64,
}

impl Device {
    fn append(&mut self, dice: &mut Dice) {
        let next = self.log.log_end_offset().get();
        let count = 1 + dice.below(40) as i64;
        let life = self.life;
        let records = (next..next + count).map(|number| NewRecord::new(value(number, life)));
        self.log.append_batch(records).unwrap();
        if dice.below(3) > 0 {
            self.durable = self.log.flush().unwrap().get();
        }
    }
}

fn open(disk: &Disk) -> Log {
    options().flush(FlushPolicy::Manual).open_on(disk, "/log").unwrap()
}

fn storm(seed: u64) {
    let mut dice = Dice(seed);
    let dice = &mut dice;
    let world = World::with_topic(3, seed);
    let forgets = dice.below(3) == 0;
    if !forgets && dice.below(3) == 0 {
        let delay = Duration::from_millis(dice.below(3000));
        let lost = dice.below(100);
        let pipe = Pipe::new(3000 + dice.below(60_000), delay, seed).lossy(lost, lost);
        world.state().pipe = Some(pipe);
    }
    let marks = dice.below(2) == 0;
    let gaps = !forgets && dice.below(3) == 0;
    let kept = |keep: u64| [Keep::None, Keep::All, Keep::Seed(seed)][keep as usize];
    let upstream = || world.upstream("t").mark_gaps(marks);
    let first = disk();
    let mut device = Device { log: open(&first), disk: first, life: 0, durable: 0 };
    let mut turns = world.ship(&device.log, upstream());
    for _ in 0..40 {
        plan(dice, &world, forgets);
        device.append(dice);
        for _ in 0..dice.below(30) {
            turns.turn();
        }
        world.pass(Duration::from_millis(dice.below(500)));
        match dice.below(12) {
            0 => happen(dice, &world, forgets),
            1 => world.state().cluster.clear_faults(),
            2 if gaps => {
                let end = device.log.durable_offset().get();
                let before = (end - dice.below(60) as i64).max(0);
                device.log.delete_records(Offset::new(before)).unwrap();
            }
            3 => {
                world.drain(&mut turns, Duration::from_secs(dice.below(90)));
            }
            4 => {
                drop(turns);
                let disk = match dice.below(4) {
                    3 => device.disk.kill(),
                    keep => device.disk.power_cut(kept(keep)),
                };
                let (life, durable) = (device.life + 1, device.durable);
                device = Device { log: open(&disk), disk, life, durable };
                let end = device.log.log_end_offset().get();
                assert!(end >= durable, "seed {seed}: {end} of {durable}");
                turns = world.ship(&device.log, upstream());
            }
            _ => {}
        }
    }
    {
        let mut state = world.state();
        state.cluster.clear_faults();
        let now = state.now;
        state.cluster.act(Action::Replication(Some(Duration::from_millis(2))), now);
        restart(&mut state);
    }
    device.append(dice);
    let end = device.log.flush().unwrap().get();
    let status = world.drain(&mut turns, HOUR * 12);
    let what = format!("seed {seed}, marks {marks}, gaps {gaps}");
    assert_eq!(status.lag_records, 0, "{what}: {status:?}");
    assert_eq!(status.upstream.identity_shared, 0, "{what}: {status:?}");
    let missing = judge(&world, end, marks, &what);
    assert!(gaps || missing == 0, "{what}: {missing} missing");
}

/// Everything that is durable is there once and in order; how much is in gaps.
fn judge(world: &World, end: i64, marks: bool, what: &str) -> i64 {
    let mut life = 0;
    let found = found_with(world, |number, bytes| {
        let text = std::str::from_utf8(bytes).unwrap();
        let of: u64 = text.split(' ').nth(1).unwrap().parse().unwrap();
        assert!(of >= life && bytes == value(number, of), "{what}: {number} of life {of}");
        life = of;
    });
    check(&found, end, marks, what)
}

#[test]
fn everything_at_once_loses_doubles_and_misplaces_nothing() {
    for seed in seeds() {
        storm(seed);
    }
}
