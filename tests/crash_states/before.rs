//! What the files of a log say before a recovery, and what that is then held to.

use forebay::simulation::Disk;

use super::image::{Chain, Image, Slot};
use super::laws::{self, Duty, Law, Seen};

/// What the files say before the recovery.
pub(crate) struct Before {
    pub(crate) slot: Option<Slot>,
    pub(crate) chain: Option<Chain>,
    /// As a clean close left the log's files; and the indexes too.
    closed: bool,
    clean: bool,
    pub(crate) segments: usize,
    /// Ends of segments that a copy in the checkpoint puts back.
    restored: u64,
    slots_damaged: u64,
    /// What earlier recoveries set aside.
    asides: Vec<String>,
}

impl Before {
    pub(crate) fn read(disk: &Disk, dir: &str) -> Before {
        let mut image = Image::of(disk, dir);
        let slot = image.slot();
        let clean = slot.as_ref().is_some_and(|slot| image.is_clean(slot));
        let closed = slot.as_ref().is_some_and(|slot| image.is_closed(slot));
        let restored = slot.as_ref().filter(|_| !clean).map_or(0, |slot| image.restore(slot));
        let chain = slot.as_ref().map(|slot| image.chain(slot));
        let segments = image.segment_names().len();
        let slots_damaged = image.slots_damaged();
        let asides = image.asides().into_keys().map(str::to_owned).collect();
        Before { slot, chain, closed, clean, segments, restored, slots_damaged, asides }
    }

    /// The laws about what a recovery made of this; `disk` is as it left it.
    pub(crate) fn laws(&self, seen: &Seen, duty: &Duty<'_>, disk: &Disk, dir: &str) -> Law {
        if let (Some(slot), Some(chain)) = (&self.slot, &self.chain) {
            laws::v11_torn_is_not_rot(seen, chain, slot)?;
            self.kept_aside(chain, disk, dir)?;
            laws::v18_the_report_is_honest(seen, chain, (self.closed, self.clean), duty)?;
            let report = &seen.report;
            let told = (
                report.ends_restored,
                report.checkpoint_slots_damaged,
                (report.segments_deleted, report.segments_merged),
                report.checkpoint_lost || report.set_aside_failed || report.rewriting_in_place,
            );
            let segments = (chain.segments_below, chain.segments_merged);
            let counted = (self.restored, self.slots_damaged, segments, false);
            laws::v18_the_numbers_agree(&told, &counted, report)?;
        }
        laws::v5_no_offset_is_used_again(seen, self.slot.as_ref())
    }

    /// What lay behind the end is found in files beside the log, and nothing of an earlier cut.
    fn kept_aside(&self, chain: &Chain, disk: &Disk, dir: &str) -> Law {
        if chain.asides.is_empty() && self.asides.is_empty() {
            return Ok(());
        }
        let after = Image::of(disk, dir);
        laws::v11_what_was_cut_is_kept(&after.asides(), chain, &self.asides)
    }
}
