//! Makes a line that breaks a law as short as it gets while it breaks the same one.

use super::drive::Plant;
use super::explore::{calls, replay};
use super::script::{Line, Op, Verb, op};
use super::words::{Cut, How, Kept};

/// Runs at the most.
const TRIES_MAX: u32 = 4000;

struct Shrink {
    law: u8,
    plant: Plant,
    tries: u32,
}

/// The shortest line found; the line itself if it does not break a law by itself.
pub(crate) fn shrink(line: &Line, plant: Plant) -> Line {
    let Err(broken) = replay(line, plant) else { return line.clone() };
    let mut shrink = Shrink { law: broken.law, plant, tries: 0 };
    let mut best = line.clone();
    loop {
        let before = best.to_string();
        shrink.end(&mut best);
        shrink.cuts(&mut best);
        shrink.ops(&mut best);
        shrink.numbers(&mut best);
        shrink.ground(&mut best);
        if best.to_string() == before || shrink.tries >= TRIES_MAX {
            return best;
        }
    }
}

impl Shrink {
    fn breaks(&mut self, line: &Line) -> bool {
        self.tries += 1;
        let law = replay(line, self.plant).err().map(|broken| broken.law);
        self.tries <= TRIES_MAX && law == Some(self.law)
    }

    fn take(&mut self, best: &mut Line, candidate: Line) -> bool {
        let breaks = self.breaks(&candidate);
        if breaks {
            *best = candidate;
        }
        breaks
    }

    /// With calls counted anew, since other operations make others: the first end may come before
    /// any call of its operation.
    fn take_anywhere(&mut self, best: &mut Line, candidate: Line) -> bool {
        if self.take(best, candidate.clone()) {
            return true;
        }
        let Some(first) = candidate.cuts.first().copied() else { return false };
        let most = calls(&candidate, self.plant).get(candidate.at).copied().unwrap_or(0);
        let near = first.call.saturating_sub(4)..=first.call + 4;
        near.filter(|call| (1..=most).contains(call)).any(|call| {
            let mut candidate = candidate.clone();
            candidate.cuts[0].call = call;
            self.take(best, candidate)
        })
    }

    /// What comes behind the first end has no part in it.
    fn end(&mut self, best: &mut Line) {
        let keep = best.at.saturating_add(1).min(best.ops.len());
        if !best.cuts.is_empty() && keep < best.ops.len() {
            let ops = best.ops[..keep].to_vec();
            self.take(best, Line { ops, ..best.clone() });
        }
    }

    fn cuts(&mut self, best: &mut Line) {
        while best.cuts.len() > 1 {
            let shorter = best.cuts[..best.cuts.len() - 1].to_vec();
            if !self.take(best, Line { cuts: shorter, ..best.clone() }) {
                break;
            }
        }
        let simple = [Kept::Nothing, Kept::Everything].into_iter().chain((0..48).map(Kept::Prefix));
        let simple: Vec<Kept> = simple.chain((0..48).map(Kept::AllBut)).collect();
        for at in 0..best.cuts.len() {
            if !matches!(best.cuts[at].how, How::Power(Kept::Seed(_))) {
                continue;
            }
            for kept in &simple {
                let mut candidate = best.clone();
                candidate.cuts[at] = Cut { how: How::Power(*kept), ..candidate.cuts[at] };
                if self.take(best, candidate) {
                    break;
                }
            }
        }
    }

    /// Operations go in halves, quarters, and so on down to one by one.
    fn ops(&mut self, best: &mut Line) {
        let mut size = best.ops.len().div_ceil(2).max(1);
        loop {
            let mut from = 0;
            while from < best.ops.len() {
                let to = (from + size).min(best.ops.len());
                let ended_in = !best.cuts.is_empty() && (from..to).contains(&best.at);
                let mut candidate = best.clone();
                candidate.ops.drain(from..to);
                candidate.at -= if best.at >= to { to - from } else { 0 };
                if ended_in || !self.take_anywhere(best, candidate) {
                    from = to;
                }
            }
            if size == 1 {
                break;
            }
            size /= 2;
        }
    }

    fn numbers(&mut self, best: &mut Line) {
        for at in 0..best.ops.len() {
            let Op { verb, numbers } = best.ops[at];
            for nth in 0..best.ops[at].count() {
                // Which log it is belongs together over the operations.
                let is_log = nth == 0 && !matches!(verb, Verb::Power | Verb::Fault | Verb::Time);
                if numbers[nth] == 0 || is_log {
                    continue;
                }
                let mut candidate = best.clone();
                let mut lower = numbers;
                lower[nth] = 0;
                candidate.ops[at] = op(verb, lower);
                self.take_anywhere(best, candidate);
            }
        }
    }

    fn ground(&mut self, best: &mut Line) {
        for at in 0..best.ground.logs.len() {
            let mut candidate = best.clone();
            if std::mem::take(&mut candidate.ground.logs[at]) != 0 {
                self.take_anywhere(best, candidate);
            }
        }
        let mut candidate = best.clone();
        candidate.ground.room = 2;
        if candidate != *best {
            self.take_anywhere(best, candidate);
        }
    }
}
