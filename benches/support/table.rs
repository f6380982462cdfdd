//! What all benches share: where they put files, what is asked for, and rows of a table.

use std::path::PathBuf;

/// A directory on the filesystem the target directory lies on, or in `BENCH_DIR`.
pub(crate) fn fresh_dir() -> tempfile::TempDir {
    let root = std::env::var_os("BENCH_DIR").unwrap_or(env!("CARGO_TARGET_TMPDIR").into());
    let root = PathBuf::from(root);
    std::fs::create_dir_all(&root).unwrap();
    tempfile::tempdir_in(root).unwrap()
}

/// The part of a row's name that was asked for: the argument that is no option. Everything, if
/// there is none.
pub(crate) fn filter() -> impl Fn(&str) -> bool {
    let part = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    move |name| part.as_ref().is_none_or(|part| name.contains(part.as_str()))
}

/// The middle one.
pub(crate) fn median(values: Vec<f64>) -> f64 {
    percentile(values, 50.0)
}

/// The value below which so many percent of all lie.
pub(crate) fn percentile(mut values: Vec<f64>, percent: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len() - 1;
    values[((last as f64) * percent / 100.0).round() as usize]
}

/// What a row measured: medians, and the median of the ratio of each pair of runs.
pub(crate) struct Pair {
    pub(crate) log: f64,
    pub(crate) limit: f64,
    pub(crate) ratio: f64,
}

/// Log and limit take turns, so that a change of the machine's speed meets both. One round before
/// the counted ones warms both up.
pub(crate) fn pairs(
    rounds: usize,
    mut log: impl FnMut() -> f64,
    mut limit: impl FnMut() -> f64,
) -> Pair {
    let (mut logs, mut limits, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=rounds {
        let limit = limit();
        let log = log();
        if round > 0 {
            logs.push(log);
            limits.push(limit);
            ratios.push(log / limit);
        }
    }
    Pair { log: median(logs), limit: median(limits), ratio: median(ratios) }
}

/// Numbers without a pattern, the same in every run.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Below `bound`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}
