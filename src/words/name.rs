//! What logs and consumers may be called.
//!
//! Floor 0. One rule, Kafka's for topics, so that every name is a file name and a metric label too.

use crate::words::error::{Error, Result};
use crate::words::limits;

/// Refuses a name that is not 1 to 249 of letters, digits, `.`, `_` and `-`, or is `.` or `..`;
/// `whose` is what it is to be the name of.
pub(crate) fn check_name(whose: &str, name: &str) -> Result<()> {
    let sized = (1..=limits::NAME_BYTES_MAX).contains(&name.len());
    if sized && name != "." && name != ".." && name.bytes().all(is_legal) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "the {whose} name {:?} ({} bytes) is not 1 to {} of letters, digits, '.', '_' and '-'",
        shown(name),
        name.len(),
        limits::NAME_BYTES_MAX
    )))
}

/// As much of a name as an error shows.
pub(crate) fn shown(name: &str) -> String {
    name.chars().take(SHOWN_CHARS).collect()
}

const SHOWN_CHARS: usize = 40;

fn is_legal(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas() {
        let long = "n".repeat(limits::NAME_BYTES_MAX);
        for name in ["a", "0", "-", "_", "...", ".a", "a.b_c-D9", "-0", long.as_str()] {
            assert!(check_name("log", name).is_ok(), "{name}");
        }
        let longer = "n".repeat(limits::NAME_BYTES_MAX + 1);
        let wrong =
            ["", ".", "..", "a/b", "../a", "a b", "a\0", "a\n", "\u{e4}", "a:b", "~", &longer];
        for name in wrong {
            let error = check_name("log", name).unwrap_err().to_string();
            assert!(error.starts_with("the log name ") && error.len() < 200, "{error}");
        }
    }
}
