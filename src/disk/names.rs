//! File names in a log's directory.
//!
//! Floor 3. Segments are named as Kafka names them: their base offset in 20 digits.

use crate::words::offset::Offset;

/// Identity and settings of the log.
pub(crate) const META: &str = "log.meta";
/// The small durable state.
pub(crate) const CHECKPOINT: &str = "checkpoint";
/// Identity of a store.
pub(crate) const STORE_META: &str = "store.meta";
/// The small durable state of a store.
pub(crate) const STORE_CHECKPOINT: &str = "store.checkpoint";
/// The next segment before it has its name.
pub(crate) const SEGMENT_NEXT: &str = "segment.new";
/// The one after it, made ahead by the log's own thread.
pub(crate) const SEGMENT_AHEAD: &str = "ahead.new";
/// What a compaction writes, until it takes a segment's place.
pub(crate) const COMPACTED: &str = "compacted.new";
/// Lies in a directory that is being filled by a snapshot or an export.
pub(crate) const UNFINISHED: &str = "unfinished-copy";
/// A file that is being made; left behind by a crash it is removed at open.
pub(crate) const NEW_SUFFIX: &str = ".new";

/// Takes room on the disk for when a store needs it.
pub(crate) const STORE_RESERVE: &str = "store.reserve";

/// What a recovery cut off, kept beside the log.
const ASIDE_SUFFIX: &str = ".aside";

/// What a segment is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Log,
    Index,
    TimeIndex,
}

impl Part {
    fn extension(self) -> &'static str {
        match self {
            Part::Log => "log",
            Part::Index => "index",
            Part::TimeIndex => "timeindex",
        }
    }
}

/// The name of a segment's file.
pub(crate) fn segment_file(base: Offset, part: Part) -> String {
    format!("{:020}.{}", base.get(), part.extension())
}

/// What a name says, or `None` if no segment's file is called that.
pub(crate) fn parse_segment_file(name: &str) -> Option<(Offset, Part)> {
    let (digits, extension) = name.split_once('.')?;
    let part = [Part::Log, Part::Index, Part::TimeIndex]
        .into_iter()
        .find(|part| part.extension() == extension)?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok().map(|base| (Offset::new(base), part))
}

/// Whether a store keeps a file of this name in its own directory.
pub(crate) fn is_stores(name: &str) -> bool {
    let made = name.strip_suffix(NEW_SUFFIX).unwrap_or(name);
    matches!(made, STORE_META | STORE_CHECKPOINT | STORE_RESERVE)
}

/// Whether a log makes files of this name.
pub(crate) fn is_ours(name: &str) -> bool {
    let made = name.strip_suffix(NEW_SUFFIX).unwrap_or(name);
    made == META
        || made == CHECKPOINT
        || name == SEGMENT_NEXT
        || name == SEGMENT_AHEAD
        || name == COMPACTED
        || parse_segment_file(made).is_some()
        || parse_aside_file(made).is_some()
}

/// The name under which something is kept that a cut at `cut` took from the segment at `base`.
pub(crate) fn aside_file(cut: Offset, base: Offset) -> String {
    format!("{:020}-{:020}{ASIDE_SUFFIX}", cut.get(), base.get())
}

/// The cut and the segment of a file that was set aside, by its name.
pub(crate) fn parse_aside_file(name: &str) -> Option<(Offset, Offset)> {
    let (cut, base) = name.strip_suffix(ASIDE_SUFFIX)?.split_once('-')?;
    let number = |digits: &str| digits.parse().ok().map(Offset::new);
    let (cut, base) = (number(cut)?, number(base)?);
    (aside_file(cut, base) == name).then_some((cut, base))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exact_segment_names_are_ours() {
        let base = Offset::new(i64::MAX);
        let name = segment_file(base, Part::Log);
        assert_eq!(name, "09223372036854775807.log");
        assert_eq!(parse_segment_file(&name), Some((base, Part::Log)));
        for foreign in [
            "0000000000000000001.log",
            "000000000000000000001.log",
            "09223372036854775808.log",
            "99999999999999999999.log",
            "+0000000000000000001.log",
            "00000000000000000000.LOG",
            "00000000000000000000.log.new",
            "00000000000000000000",
            "00000000000000000000-00000000000000000000.aside",
        ] {
            assert_eq!(parse_segment_file(foreign), None, "{foreign}");
        }
        assert_eq!(parse_aside_file(&aside_file(base, Offset::ZERO)), Some((base, Offset::ZERO)));
        for foreign in ["1-2.aside", "00000000000000000001.aside", "x", "-.aside"] {
            assert_eq!(parse_aside_file(foreign), None, "{foreign}");
        }
    }
}
