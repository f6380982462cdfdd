//! Records of about 300 bytes that begin with their number, and the segments they lie in.

use super::Place;

pub(crate) fn text(number: i64) -> String {
    format!("{number:08} {}", "x".repeat(290))
}

pub(crate) fn numbers(texts: &[String]) -> Vec<i64> {
    texts.iter().map(|text| text[..8].parse().unwrap()).collect()
}

pub(crate) fn bases(dir: &Place) -> Vec<i64> {
    dir.segments().iter().map(|name| name.strip_suffix(".log").unwrap().parse().unwrap()).collect()
}
