//! What happens to a replicator, in order, for who wants to hear of each thing once.
//!
//! Floor 6. Found by comparing the status with what it was: one place says what happened, and no
//! upstream can forget to.

use std::collections::VecDeque;

use serde::Serialize;

use super::{LinkState, ReplicatorStatus, UpstreamStatus};
use crate::{ErrorKind, Offset};

/// As many wait to be taken; then the oldest go.
const WAITING_MAX: usize = 64;

/// Something that happened to a replicator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplicatorNotice {
    /// The link is open.
    Connected,
    /// The link could not be opened, or broke. The same error again in a row is not told again.
    Failed {
        /// What failed, and what to do about it.
        error: String,
        /// A [`Conflict`](ErrorKind::Conflict) or an
        /// [`UpstreamRejected`](ErrorKind::UpstreamRejected) wants a person, an
        /// [`Upstream`](ErrorKind::Upstream) does not.
        kind: ErrorKind,
    },
    /// For the first time since the link was opened everything durable is acknowledged.
    CaughtUp {
        /// One past the last of it.
        committed: Offset,
    },
    /// Shipping went on behind offsets that the log does not have any more.
    Gap {
        /// How many.
        records: u64,
    },
    /// Records of the log could not be read, damaged or deleted, and were passed over.
    Unreadable {
        /// How many.
        records: u64,
    },
    /// The upstream refused records, which went to the dead-letter log.
    Refused {
        /// How many.
        records: u64,
    },
    /// Records may stand upstream twice: nobody can tell.
    MaybeDoubled {
        /// How many.
        records: u64,
    },
    /// The upstream had less than it had acknowledged, and is given it again.
    Rewound,
    /// Another device shipped under this one's identity; this one goes on under one of its own.
    IdentityShared,
    /// A setting of the upstream will do harm.
    Warning {
        /// What to change.
        text: String,
    },
    /// The log was closed, or the replicator stopped: nothing is shipped any more.
    Stopped,
    /// So many notices before this one were not taken in time.
    Missed {
        /// How many.
        notices: u64,
    },
}

/// The notices that wait to be taken, and what was told of.
#[derive(Default)]
pub(super) struct Notices {
    waiting: VecDeque<ReplicatorNotice>,
    missed: u64,
    link: LinkState,
    failures: u64,
    error: Option<String>,
    caught_up: bool,
    unreadable: u64,
    rewinds: u64,
    upstream: UpstreamStatus,
}

impl Notices {
    /// Finds out what happened since the last time.
    pub(super) fn look(&mut self, status: &ReplicatorStatus) {
        let unreadable = status.unreadable_records - self.unreadable;
        if unreadable > 0 {
            self.unreadable = status.unreadable_records;
            self.push(ReplicatorNotice::Unreadable { records: unreadable });
        }
        self.look_upstream(&status.upstream);
        for _ in self.rewinds..status.rewinds {
            self.push(ReplicatorNotice::Rewound);
        }
        self.rewinds = status.rewinds;
        if status.failures > self.failures {
            self.failures = status.failures;
            self.failed(status);
        }
        if status.link != self.link {
            self.link = status.link;
            match status.link {
                LinkState::Connected => {
                    (self.error, self.caught_up) = (None, false);
                    self.push(ReplicatorNotice::Connected);
                }
                LinkState::Stopped => self.push(ReplicatorNotice::Stopped),
                LinkState::Connecting | LinkState::Waiting => {}
            }
        }
    }

    fn failed(&mut self, status: &ReplicatorStatus) {
        let error = status.last_error.clone().unwrap_or_default();
        if self.error.as_ref() != Some(&error) {
            let kind = status.last_error_kind.unwrap_or(ErrorKind::Upstream);
            self.error = Some(error.clone());
            self.push(ReplicatorNotice::Failed { error, kind });
        }
    }

    fn look_upstream(&mut self, now: &UpstreamStatus) {
        let before = &self.upstream;
        let counts = [
            (now.gap_records, before.gap_records),
            (now.refused, before.refused),
            (now.maybe_doubled, before.maybe_doubled),
            (now.identity_shared, before.identity_shared),
        ];
        if counts.iter().all(|(now, before)| now == before) && now.warnings == before.warnings {
            return;
        }
        let [gap, refused, doubled, shared] =
            counts.map(|(now, before)| now.saturating_sub(before));
        let found = [
            (gap, ReplicatorNotice::Gap { records: gap }),
            (refused, ReplicatorNotice::Refused { records: refused }),
            (doubled, ReplicatorNotice::MaybeDoubled { records: doubled }),
            (shared, ReplicatorNotice::IdentityShared),
        ];
        let new = now.warnings.iter().filter(|text| !before.warnings.contains(text));
        let warnings: Vec<_> =
            new.map(|text| ReplicatorNotice::Warning { text: text.clone() }).collect();
        let found = found.into_iter().filter(|(count, _)| *count > 0).map(|(_, notice)| notice);
        found.chain(warnings).for_each(|notice| self.push(notice));
        self.upstream = now.clone();
    }

    /// Everything durable is acknowledged; whether that was not told yet.
    pub(super) fn caught_up(&mut self, committed: Offset) -> bool {
        let is_new = !std::mem::replace(&mut self.caught_up, true);
        if is_new {
            self.push(ReplicatorNotice::CaughtUp { committed });
        }
        is_new
    }

    fn push(&mut self, notice: ReplicatorNotice) {
        if self.waiting.len() >= WAITING_MAX {
            self.waiting.pop_front();
            self.missed += 1;
        }
        self.waiting.push_back(notice);
    }

    /// The next one.
    pub(super) fn take(&mut self) -> Option<ReplicatorNotice> {
        match std::mem::take(&mut self.missed) {
            0 => self.waiting.pop_front(),
            notices => Some(ReplicatorNotice::Missed { notices }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(notices: &mut Notices) -> Vec<ReplicatorNotice> {
        std::iter::from_fn(|| notices.take()).collect()
    }

    #[test]
    fn each_thing_is_told_once() {
        let (mut notices, mut status) = (Notices::default(), ReplicatorStatus::default());
        notices.look(&status);
        assert_eq!(taken(&mut notices), []);
        status.link = LinkState::Connected;
        for told in [true, false, false] {
            notices.look(&status);
            assert_eq!(notices.caught_up(Offset::new(7)), told);
        }
        let committed = Offset::new(7);
        assert_eq!(
            taken(&mut notices),
            [ReplicatorNotice::Connected, ReplicatorNotice::CaughtUp { committed }]
        );
        status.unreadable_records = 3;
        status.rewinds = 1;
        status.upstream.gap_records = 4;
        status.upstream.refused = 1;
        status.upstream.identity_shared = 1;
        status.upstream.maybe_doubled = 9;
        status.upstream.warnings = vec!["raise it".to_owned()];
        notices.look(&status);
        notices.look(&status);
        assert_eq!(
            taken(&mut notices),
            [
                ReplicatorNotice::Unreadable { records: 3 },
                ReplicatorNotice::Gap { records: 4 },
                ReplicatorNotice::Refused { records: 1 },
                ReplicatorNotice::MaybeDoubled { records: 9 },
                ReplicatorNotice::IdentityShared,
                ReplicatorNotice::Warning { text: "raise it".to_owned() },
                ReplicatorNotice::Rewound,
            ]
        );
    }

    #[test]
    fn the_same_error_in_a_row_is_told_once_until_the_link_was_open() {
        let (mut notices, mut status) = (Notices::default(), ReplicatorStatus::default());
        let mut fail = |notices: &mut Notices, text: &str, link| {
            status.failures += u64::from(link == LinkState::Waiting);
            (status.link, status.last_error) = (link, Some(text.to_owned()));
            status.last_error_kind = Some(ErrorKind::Upstream);
            notices.look(&status);
            taken(notices).len()
        };
        let down = LinkState::Waiting;
        let told = ["refused", "refused", "refused", "no route", "refused"]
            .map(|text| fail(&mut notices, text, down));
        assert_eq!(told, [1, 0, 0, 1, 1]);
        assert_eq!(fail(&mut notices, "refused", LinkState::Connected), 1, "it is connected");
        assert_eq!(fail(&mut notices, "refused", down), 1);
    }

    #[test]
    fn who_takes_none_is_told_how_many_went() {
        let mut notices = Notices::default();
        for _ in 0..WAITING_MAX + 5 {
            notices.push(ReplicatorNotice::Rewound);
        }
        let taken = taken(&mut notices);
        assert_eq!(taken.len(), WAITING_MAX + 1);
        assert_eq!(taken[0], ReplicatorNotice::Missed { notices: 5 });
    }
}
