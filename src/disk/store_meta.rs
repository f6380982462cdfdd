//! `store.meta`: a store's identity, written once at creation.
//!
//! Floor 3.

use crate::disk::names;
use crate::disk::text::{Lines, Text};
use crate::words::log_id::LogId;
use crate::words::time::Timestamp;

/// What `store.meta` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StoreMeta {
    /// Random, as a log's is.
    pub(crate) store_id: LogId,
    /// What the wall clock said then, right or wrong.
    pub(crate) created: Timestamp,
}

impl Text for StoreMeta {
    const FILE: &'static str = names::STORE_META;
    const OF: &'static str = "store";
    const FORMAT: u32 = 1;

    fn lines(&self) -> String {
        format!("store_id={}\ncreated={}\n", self.store_id, self.created)
    }

    fn of_lines(lines: Lines<'_>) -> Option<StoreMeta> {
        let store_id = lines.value("store_id")?.parse().ok()?;
        let created = Timestamp::from_millis(lines.value("created")?.parse().ok()?);
        Some(StoreMeta { store_id, created })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::text::{parse, to_text};
    use crate::words::error::ErrorKind;

    #[test]
    fn a_store_is_known_by_its_whole_text_and_by_nothing_less() {
        for millis in [i64::MIN, -1, 0, 1_767_225_600_000, i64::MAX] {
            let store_id = LogId::from_bytes([0xa7; 16]);
            let meta = StoreMeta { store_id, created: Timestamp::from_millis(millis) };
            let text = to_text(&meta);
            assert_eq!(parse(&text).unwrap(), Some(meta));
            for cut in 0..text.len() {
                assert_eq!(parse::<StoreMeta>(&text[..cut]).unwrap(), None, "{cut}");
            }
            for bit in 0..text.len() * 7 {
                let mut flipped = text.clone().into_bytes();
                flipped[bit / 7] ^= 1 << (bit % 7);
                let flipped = String::from_utf8(flipped).unwrap();
                assert!(!matches!(parse::<StoreMeta>(&flipped), Ok(Some(_))), "{bit}");
            }
        }
        let newer = parse::<StoreMeta>("format=2\nshape=round\n").unwrap_err();
        assert_eq!(newer.kind(), ErrorKind::UnsupportedFormat);
        assert!(newer.to_string().contains("the store has format 2"), "{newer}");
    }
}
