//! Who the log is upstream: the producer id it ships under, and which sequence a record has there.
//!
//! Floor 6. The sequence is arithmetic on the offset, so nothing is written for a batch; the whole
//! is kept with the committed offset and durable before its first use. Pure: no I/O, no clock.

use uuid::Uuid;

use super::bounded::take;
use crate::Offset;

/// Sequences go on at 0 behind 2^31 - 1.
const SEQUENCES: i64 = 1 << 31;
/// The first byte of what is kept; the second one where the epoch begins with a marker.
const FORMAT: u8 = 2;
const FORMAT_MARKED: u8 = 3;
/// The highest epoch of a producer id; behind it comes a new id.
const EPOCH_MAX: i16 = i16::MAX;
/// The longest name of a cluster that is kept; Kafka's have 22 bytes.
const CLUSTER_BYTES_MAX: usize = 96;

/// Offsets to sequences, for one epoch of the producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Era {
    pub(super) epoch: i16,
    /// The offset at sequence 0.
    pub(super) anchor: Offset,
}

impl Era {
    pub(super) fn sequence(&self, offset: Offset) -> i32 {
        let distance = (offset - self.anchor).rem_euclid(SEQUENCES);
        i32::try_from(distance).unwrap_or(0)
    }

    /// The offset behind the one that has this sequence; of those that have it, the one nearest to
    /// `near`.
    pub(super) fn behind(&self, last_sequence: i32, near: Offset) -> Offset {
        let first = self.anchor.get() + i64::from(last_sequence) + 1;
        let turns = (near.get() - first + SEQUENCES / 2).div_euclid(SEQUENCES);
        Offset::new(first + turns.max(0) * SEQUENCES)
    }
}

/// Kept with the committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) cluster: String,
    pub(super) topic: Uuid,
    pub(super) partition: i32,
    pub(super) producer: i64,
    pub(super) era: Era,
    /// Until the first acknowledgement of the new epoch: the one before, and where it ends. What
    /// lies between there and the new anchor is not shipped.
    pub(super) before: Option<(Era, Offset)>,
    /// What stands at the anchor is the marker of a gap, and no record of the log.
    pub(super) marked: bool,
    /// Upstream's offset behind the last batch that was acknowledged; where a search begins.
    pub(super) upstream: i64,
    /// The device it was made on; 0 where nothing was known of it.
    pub(super) hardware: u64,
}

impl Identity {
    /// What is kept; at most 255 bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![if self.marked { FORMAT_MARKED } else { FORMAT }];
        out.extend_from_slice(self.topic.as_bytes());
        out.extend_from_slice(&self.partition.to_be_bytes());
        out.extend_from_slice(&self.producer.to_be_bytes());
        let (before, end) = self.before.unwrap_or((Era { epoch: -1, ..self.era }, Offset::ZERO));
        for era in [self.era, before] {
            out.extend_from_slice(&era.epoch.to_be_bytes());
            out.extend_from_slice(&era.anchor.get().to_be_bytes());
        }
        out.extend_from_slice(&end.get().to_be_bytes());
        out.extend_from_slice(&self.upstream.to_be_bytes());
        out.extend_from_slice(&self.hardware.to_be_bytes());
        let cluster = self.cluster.as_bytes();
        out.extend_from_slice(cluster.get(..CLUSTER_BYTES_MAX).unwrap_or(cluster));
        out
    }

    /// What was kept; `None` if nothing was, or something else.
    pub(super) fn decode(bytes: &[u8]) -> Option<Identity> {
        let mut rest = bytes;
        let marked = match take(&mut rest)? {
            [FORMAT] => false,
            [FORMAT_MARKED] => true,
            _ => return None,
        };
        let topic = Uuid::from_bytes(take(&mut rest)?);
        let partition = i32::from_be_bytes(take(&mut rest)?);
        let producer = i64::from_be_bytes(take(&mut rest)?);
        let era = take_era(&mut rest)?;
        let before = take_era(&mut rest)?;
        let end = Offset::new(i64::from_be_bytes(take(&mut rest)?));
        let upstream = i64::from_be_bytes(take(&mut rest)?);
        let hardware = u64::from_be_bytes(take(&mut rest)?);
        let cluster = std::str::from_utf8(rest).ok()?.to_owned();
        let before = (before.epoch >= 0).then_some((before, end));
        Some(Identity {
            cluster,
            topic,
            partition,
            producer,
            era,
            before,
            marked,
            upstream,
            hardware,
        })
    }

    /// Whether it belongs to this partition of this topic, and not to another one of its name.
    pub(super) fn is_of(&self, cluster: &str, topic: Uuid, partition: i32) -> bool {
        let kept = cluster.get(..CLUSTER_BYTES_MAX).unwrap_or(cluster);
        self.cluster == kept && self.topic == topic && self.partition == partition
    }

    /// Whether it was made on another device than this one, as far as both are known.
    pub(super) fn is_copied(&self, hardware: u64) -> bool {
        self.hardware != hardware && self.hardware != 0 && hardware != 0
    }

    /// The era an offset is shipped in.
    pub(super) fn era_of(&self, offset: Offset) -> Era {
        match self.before {
            Some((before, end)) if offset < end => before,
            _ => self.era,
        }
    }

    /// Up to where records are shipped in one piece with `offset`.
    pub(super) fn era_end(&self, offset: Offset) -> Option<Offset> {
        self.before.map(|(_, end)| end).filter(|end| offset < *end)
    }

    /// The first offset that is shipped at or behind this one.
    pub(super) fn skip(&self, offset: Offset) -> Offset {
        match self.before {
            Some((_, end)) if offset >= end => offset.max(self.era.anchor),
            _ => offset,
        }
    }

    /// The first offset that may not have arrived, if nobody says more than the committed offset:
    /// of an epoch that was begun, and that nothing was acknowledged of, everything.
    pub(super) fn unacknowledged(&self, committed: Offset) -> Offset {
        match self.before {
            Some((_, end)) if committed >= end => self.era.anchor,
            _ => committed,
        }
    }

    /// How many of these offsets are shipped: those in a gap are not.
    pub(super) fn shipped(&self, from: Offset, to: Offset) -> i64 {
        let gap =
            self.before.map_or(0, |(_, end)| (to.min(self.era.anchor) - from.max(end)).max(0));
        (to - from - gap).max(0)
    }

    /// Begins a new epoch: what lies below `end` is accounted for before anything from `anchor` on
    /// is sent. Whether there was one left.
    ///
    /// One that was begun before, and of which nothing is known to have arrived, is passed over and
    /// not begun anew: something may have been sent in it, and arrive yet.
    pub(super) fn begin_epoch(&mut self, end: Offset, anchor: Offset, marked: bool) -> bool {
        if self.era.epoch == EPOCH_MAX {
            return false;
        }
        if self.before.is_none() || end > self.era.anchor {
            self.before = Some((self.era, end));
        }
        self.era = Era { epoch: self.era.epoch + 1, anchor };
        self.marked = marked;
        true
    }

    /// Everything below `offset` is acknowledged.
    pub(super) fn acknowledged(&mut self, offset: Offset) {
        if offset > self.era.anchor {
            self.before = None;
        }
    }
}

/// What the partition's leader has of a producer id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) epoch: i16,
    pub(super) last_sequence: i32,
}

/// What follows from what the leader has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// It lacks everything from here on.
    Has(Offset),
    /// It has no state of the id: what stands in the topic must be searched for.
    Forgotten,
    /// It has a higher epoch than was ever used here.
    Stranger,
}

/// Judges what the leader knows. `near` is an offset not far from the end of what was shipped.
pub(super) fn judge(identity: &Identity, known: Option<Known>, near: Offset) -> Finding {
    let Some(known) = known else { return Finding::Forgotten };
    if known.last_sequence < 0 {
        // An epoch that was begun without a batch.
        return Finding::Forgotten;
    }
    match identity.before {
        _ if known.epoch == identity.era.epoch => {
            Finding::Has(identity.era.behind(known.last_sequence, near))
        }
        Some((before, _)) if known.epoch == before.epoch => {
            Finding::Has(before.behind(known.last_sequence, near))
        }
        _ if known.epoch > identity.era.epoch => Finding::Stranger,
        // Older than both: what the newer ones had shipped is lost.
        _ => Finding::Forgotten,
    }
}

fn take_era(rest: &mut &[u8]) -> Option<Era> {
    let epoch = i16::from_be_bytes(take(rest)?);
    let anchor = Offset::new(i64::from_be_bytes(take(rest)?));
    Some(Era { epoch, anchor })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(offset: i64) -> Offset {
        Offset::new(offset)
    }

    fn identity() -> Identity {
        Identity {
            cluster: "aBcD_fGhIjKlMnOpQrStUv".to_owned(),
            topic: Uuid::from_bytes([9; 16]),
            partition: 3,
            producer: 4000,
            era: Era { epoch: 0, anchor: at(100) },
            before: None,
            marked: false,
            upstream: 77,
            hardware: 11,
        }
    }

    #[test]
    fn what_is_kept_comes_back_and_fits_with_the_committed_offset() {
        let mut kept = identity();
        assert_eq!(Identity::decode(&kept.encode()), Some(kept.clone()));
        assert!(kept.begin_epoch(at(120), at(130), true));
        kept.cluster = "x".repeat(CLUSTER_BYTES_MAX);
        let bytes = kept.encode();
        assert!(bytes.len() <= 255, "{}", bytes.len());
        assert_eq!(Identity::decode(&bytes), Some(kept.clone()));
        let length = bytes.len() - CLUSTER_BYTES_MAX;
        assert!((0..length).all(|cut| Identity::decode(&bytes[..cut]).is_none()));
        assert_eq!(Identity::decode(b""), None);
    }

    #[test]
    fn sequences_wrap_and_lead_back_to_their_offsets() {
        let era = Era { epoch: 0, anchor: at(100) };
        for offset in [100, 101, 5000, 100 + SEQUENCES - 1, 100 + SEQUENCES, 100 + 3 * SEQUENCES] {
            let sequence = era.sequence(at(offset));
            assert_eq!(i64::from(sequence), (offset - 100) % SEQUENCES);
            for near in [offset - 1000, offset, offset + 1000, offset + 1_000_000_000] {
                assert_eq!(era.behind(sequence, at(near.max(0))), at(offset + 1), "{near}");
            }
        }
        // Never below the anchor.
        assert_eq!(era.behind(0, at(0)), at(101));
    }

    #[test]
    fn what_the_leader_has_decides_where_shipping_goes_on() {
        let mut one = identity();
        let known = |epoch, last_sequence| Some(Known { epoch, last_sequence });
        assert_eq!(judge(&one, known(0, 49), at(150)), Finding::Has(at(150)));
        assert_eq!(judge(&one, None, at(150)), Finding::Forgotten);
        assert_eq!(judge(&one, known(1, 0), at(150)), Finding::Stranger);
        // Offsets 150 to 159 are missing.
        assert!(one.begin_epoch(at(150), at(160), false));
        assert_eq!(judge(&one, known(0, 29), at(140)), Finding::Has(at(130)));
        assert_eq!(judge(&one, known(0, 49), at(150)), Finding::Has(at(150)));
        assert_eq!(judge(&one, known(1, 4), at(160)), Finding::Has(at(165)));
        assert_eq!(
            [one.skip(at(149)), one.skip(at(150)), one.skip(at(165))],
            [at(149), at(160), at(165)]
        );
        let shipped = |from, to| one.shipped(at(from), at(to));
        assert_eq!([shipped(140, 150), shipped(140, 160), shipped(140, 170)], [10, 10, 20]);
        assert_eq!([shipped(155, 170), shipped(150, 155), shipped(170, 165)], [10, 0, 0]);
        assert_eq!(one.era_of(at(149)).epoch, 0);
        assert_eq!(one.era_of(at(160)).sequence(at(160)), 0);
        assert_eq!((one.era_end(at(149)), one.era_end(at(160))), (Some(at(150)), None));
        // Before anything of the new epoch was acknowledged, a wider gap moves its begin.
        assert!(one.begin_epoch(at(150), at(170), false));
        assert_eq!((one.era.epoch, one.skip(at(150))), (2, at(170)));
        assert_eq!(judge(&one, known(0, 49), at(150)), Finding::Has(at(150)));
        assert_eq!(judge(&one, known(1, 4), at(150)), Finding::Forgotten);
        one.acknowledged(at(170));
        assert!(one.before.is_some());
        one.acknowledged(at(171));
        assert!(one.before.is_none());
        assert_eq!(judge(&one, known(0, 29), at(171)), Finding::Forgotten);
    }

    #[test]
    fn behind_the_last_epoch_comes_no_other() {
        let mut one = identity();
        one.era.epoch = EPOCH_MAX;
        assert!(!one.begin_epoch(at(150), at(160), false));
        assert_eq!(one, {
            let mut same = identity();
            same.era.epoch = EPOCH_MAX;
            same
        });
    }
}
