//! Operations on a log, with faults, full disks, clocks, kills and power cuts among them, against a
//! model; then one or two more cuts before storage calls of the input's choice, and every law about
//! what a recovery may leave (I1 to I9, I12 to I14, I17 to I20).

use forebay::simulation::Ignored;

use super::crash::drive::World;
use super::crash::explore::{self, worst};
use super::crash::oracle::{self, Level};
use super::crash::words::{ALPHABET, Cut, How, Kept, Line, Op, Policy, Setup, Tear, UNBOUNDED};
use super::input::Input;
use super::{past, planted};

const OPERATIONS_MAX: usize = 24;

pub(crate) fn run(data: &[u8]) {
    let (line, deep) = line_of(data);
    if let Err(broken) = judge(&line, deep) {
        panic!("{line}\n  {broken}");
    }
}

fn judge(line: &Line, deep: bool) -> Result<(), super::crash::laws::Violation> {
    if planted() {
        return lied_to(line);
    }
    if line.cuts.is_empty() {
        past();
        return World::new(line.setup, None).run(&line.ops);
    }
    let (disk, model) = explore::lead(line, false)?;
    // Something was written, and something was cut off.
    if model.end() > 0 {
        past();
    }
    let level = if deep { Level::Deep } else { Level::Base };
    oracle::check(&disk, worst(&line.cuts), &model, &line.setup, level)
}

/// The planted fault: syncs of segments do nothing, on a disk that keeps nothing else.
fn lied_to(line: &Line) -> Result<(), super::crash::laws::Violation> {
    let mut world = World::new(line.setup, None);
    world.disk.ignore_syncs(Ignored::Segments, true);
    world.disk.ignore_syncs(Ignored::Maps, true);
    world.run(&line.ops)?;
    let model = world.model.lock().unwrap().clone();
    let how = How::Power(Kept::Nothing);
    let disk = explore::end(&world.disk, how);
    oracle::check(&disk, how, &model, &line.setup, Level::Base)
}

/// The line an input stands for, and whether its state is held to everything.
pub(crate) fn line_of(data: &[u8]) -> (Line, bool) {
    let mut input = Input::new(data);
    let flags = input.byte();
    let tears = [Tear::Safe, Tear::Safe, Tear::Card, Tear::Sector];
    let tear = tears[usize::from(flags >> 2 & 3)];
    let policies = [Policy::Manual, Policy::EveryAppend, Policy::Bytes, Policy::Interval];
    let setup = Setup {
        // What tears is never mapped.
        mapped: flags & 1 != 0 && tear == Tear::Safe,
        strict: flags & 2 != 0,
        tear,
        stale: flags & 16 != 0,
        policy: policies[usize::from(flags >> 5 & 3)],
        seed: u64::from(input.byte()),
    };
    let count = input.byte();
    let cuts = (0..count % 3).map(|_| cut_of(&mut input)).collect();
    // A log that is not made yet may find no room to be made in.
    let mut ops = vec![Op::Small];
    while !input.is_empty() && ops.len() < OPERATIONS_MAX {
        ops.push(op_of(&mut input));
    }
    (Line { setup, ops, cuts }, count >= 240)
}

fn cut_of(input: &mut Input<'_>) -> Cut {
    let call = u64::from(input.u16() % 600) + 1;
    let (kind, number) = (input.byte(), input.u16());
    let kept = match kind % 8 {
        0 => return Cut { call, how: How::Kill },
        1 => Kept::Nothing,
        2 => Kept::Everything,
        3 => Kept::Mask(number.into()),
        4 => Kept::Prefix(usize::from(number % 32)),
        5 => Kept::Only(usize::from(number % 32)),
        6 => Kept::AllBut(usize::from(number % 32)),
        _ => Kept::Seed(number.into()),
    };
    Cut { call, how: How::Power(kept) }
}

fn op_of(input: &mut Input<'_>) -> Op {
    let op = usize::from(input.byte() % 21);
    if let Some(op) = ALPHABET.get(op) {
        return *op;
    }
    match op - ALPHABET.len() {
        0 => Op::Power(input.byte().into()),
        1 => Op::Fault(u16::from(input.byte()) % 48),
        2 => Op::Space(u16::from(input.byte()) % 6),
        3 => Op::Space(UNBOUNDED),
        4 => Op::Descriptors(u16::from(input.byte()) % 6),
        5 => Op::Descriptors(UNBOUNDED),
        6 => Op::Jump(u16::from(input.byte()) % 48),
        _ => Op::Read,
    }
}

/// An input that stands for these operations, without cuts.
pub(crate) fn input_of(flags: u8, ops: &[Op]) -> Vec<u8> {
    let mut data = vec![flags, 1, 0];
    for op in ops {
        let place = ALPHABET.iter().position(|one| one == op);
        let further = |n: usize| u8::try_from(ALPHABET.len() + n).unwrap();
        let small = |n: u16| u8::try_from(n).unwrap_or(u8::MAX);
        match (*op, place) {
            (_, Some(place)) => data.push(u8::try_from(place).unwrap()),
            (Op::Power(n), _) => data.extend([further(0), small(n)]),
            (Op::Fault(n), _) => data.extend([further(1), small(n)]),
            (Op::Space(UNBOUNDED), _) => data.push(further(3)),
            (Op::Space(n), _) => data.extend([further(2), small(n)]),
            (Op::Descriptors(UNBOUNDED), _) => data.push(further(5)),
            (Op::Descriptors(n), _) => data.extend([further(4), small(n)]),
            (Op::Jump(n), _) => data.extend([further(6), small(n)]),
            _ => data.push(further(7)),
        }
    }
    data
}
