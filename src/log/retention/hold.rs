//! What consumers keep retention from.
//!
//! Floor 4. Judged by the consumers that a slot of the checkpoint holds.

use crate::disk::state::ConsumerState;
use crate::log::policy::{Hold, Policy};
use crate::log::retention::rules::Layout;
use crate::words::offset::Offset;

/// Up to where the hold lets the rules have their way, and the consumer that says so; `None` if
/// nobody holds anything.
pub(super) fn floor<'a>(
    policy: &Policy,
    consumers: &'a [ConsumerState],
    layout: &Layout,
) -> Option<(&'a str, Offset)> {
    let least = match policy.hold_lag_records {
        Some(most) => {
            let most = i64::try_from(most).unwrap_or(i64::MAX);
            Offset::new(layout.end.get().saturating_sub(most))
        }
        None => Offset::ZERO,
    };
    let holding = holding(policy, consumers);
    let held = holding.map(|consumer| (consumer.name.as_str(), consumer.committed.max(least)));
    let (name, offset) = match policy.hold {
        Hold::Any(_) => held.max_by_key(|(_, offset)| *offset),
        _ => held.min_by_key(|(_, offset)| *offset),
    }?;
    let bound = policy.hold_limit_bytes.map(|bytes| layout.newest(bytes));
    Some((name, bound.map_or(offset, |bound| offset.max(bound))))
}

/// Up to where everything is committed by all who hold; `None` if there is nobody to tell by, or
/// one is named that does not exist yet.
pub(super) fn released(policy: &Policy, consumers: &[ConsumerState]) -> Option<Offset> {
    let committed = holding(policy, consumers).map(|consumer| consumer.committed);
    match &policy.hold {
        Hold::Nobody => None,
        Hold::Any(_) => committed.max(),
        Hold::Everyone => committed.min(),
        Hold::Each(names) => {
            let known = |name: &String| consumers.iter().any(|consumer| consumer.name == *name);
            committed.min().filter(|_| names.iter().all(known))
        }
    }
}

fn holding<'a>(
    policy: &Policy,
    consumers: &'a [ConsumerState],
) -> impl Iterator<Item = &'a ConsumerState> {
    consumers.iter().filter(|consumer| policy.hold.counts(&consumer.name))
}
