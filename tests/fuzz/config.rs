//! The configuration file: what is taken is written as text that reads the same, what is refused is
//! refused with a line that there is, and what was taken can be opened with.

use std::fmt::Write;

use forebay::simulation::{Disk, Profile};
use forebay::{Config, ErrorKind};

use super::input::Input;
use super::{past, planted};

/// The first byte says what the rest is: a text as it is, or a choice of words.
pub(crate) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let mode = input.byte();
    let text = match mode & 3 {
        0 => String::from_utf8_lossy(input.rest()).into_owned(),
        _ => written(input),
    };
    match text.parse::<Config>() {
        Ok(config) => {
            past();
            taken(&text, &config);
            if mode & 4 != 0 {
                opened(&text, &config);
            }
        }
        Err(error) => {
            let said = error.to_string();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{said}");
            assert!(!said.contains('\n'), "one line: {said:?}");
            let line = said.strip_prefix("line ").and_then(|rest| rest.split_once(", "));
            let (line, what) = line.unwrap_or_else(|| panic!("it says where: {said}"));
            let line: usize = line.parse().unwrap();
            let lines = 1 + text.matches('\n').count();
            assert!((1..=lines).contains(&line), "line {line} of {lines}: {said}");
            if !what.starts_with("syntax") {
                past();
            }
        }
    }
}

fn taken(text: &str, config: &Config) {
    let mut again = match config.to_toml() {
        Ok(again) => again,
        Err(error) => {
            // Only what the format has no number for, though it was read.
            let large = |word: &str| word.parse::<u64>().is_ok_and(|n| i64::try_from(n).is_err());
            let words = text.replace('_', "");
            let mut words = words.split(|letter: char| !letter.is_ascii_alphanumeric());
            let any = words.any(|word| large(word) || word.starts_with("0"));
            return assert!(any, "what was read can be written: {error}\n{text}");
        }
    };
    if planted() && again.matches("partitions").count() > 0 {
        again = again.replace("partitions = 4\n", "partitions = 5\n");
    }
    let second: Config = again.parse().unwrap_or_else(|error| panic!("{error}\n{again}"));
    assert!(second == *config, "what was written reads the same:\n{text}\n{again}");
    assert_eq!(second.to_toml().unwrap(), again, "and is written the same");
    let names: Vec<&str> = config.logs().collect();
    assert!(names.is_sorted(), "{names:?}");
    let nobody = "a-name-that-nobody-has-given";
    assert!(names.contains(&nobody) || config.partitions(nobody).is_none());
    for name in names {
        assert_eq!(second.log_options(name), config.log_options(name));
        assert_eq!(second.partitions(name), config.partitions(name));
    }
    let more = format!("{text}\n[nobody]\n");
    assert!(more.parse::<Config>().is_err(), "an unknown table is refused");
}

/// A store takes the options, and so does its first log.
fn opened(text: &str, config: &Config) {
    let own_thread = text.contains("background");
    let Some(name) = config.logs().next().filter(|_| !own_thread) else { return };
    let disk = Disk::new(Profile::default());
    disk.set_space(Some(64 << 20));
    let failed = |error: &forebay::Error| {
        // What a segment takes of a budget depends on the disk's blocks: the open says so.
        let budget = error.to_string().contains("budget_bytes");
        let typed = matches!(error.kind(), ErrorKind::OutOfSpace | ErrorKind::WouldBlock);
        assert!(budget || typed, "what was checked is opened: {error}\n{text}");
    };
    match config.store_options().open_on(&disk, "/store") {
        Ok(store) => match store.log(name) {
            Ok(log) => drop(log.append("21.5 C").inspect_err(failed)),
            Err(error) => failed(&error),
        },
        Err(error) => failed(&error),
    }
}

const TABLES: [&str; 12] = [
    "[store]",
    "[defaults]",
    "[logs.engine]",
    "[logs.\"engine\"]",
    "[logs.Engine]",
    "[logs.\"cabin-0\"]",
    "[logs.cabin]",
    "[logs.\"\"]",
    "[logs.\"a/b\"]",
    "[logs]",
    "[[logs.door]]",
    "[others]",
];

const KEYS: [&str; 41] = [
    "budget_bytes",
    "reserve_bytes",
    "max_open_logs",
    "max_open_files",
    "max_mapped_bytes",
    "memory_limit_bytes",
    "rated_endurance_bytes",
    "background",
    "segment_bytes",
    "segment_ms",
    "index_interval_bytes",
    "max_batch_bytes",
    "io_mode",
    "flush",
    "recovery",
    "media",
    "torn_bytes",
    "retention_bytes",
    "retention_ms",
    "retention_records",
    "hold",
    "hold_limit_bytes",
    "hold_lag_records",
    "on_full",
    "priority",
    "thin_keep_one_in",
    "compression",
    "compression_level",
    "cleanup_policy",
    "delete_retention_ms",
    "min_cleanable_dirty_percent",
    "min_compaction_lag_ms",
    "compaction_memory_bytes",
    "partitions",
    "partitions",
    "partitions",
    "flush.interval_ms",
    "hold.each",
    "unknown",
    "\"flush\"",
    "mirror_of",
];

const VALUES: [&str; 36] = [
    "0",
    "1",
    "4",
    "-1",
    "65536",
    "1048576",
    "16777216",
    "2147483647",
    "9223372036854775807",
    "9223372036854775808",
    "100000",
    "100001",
    "true",
    "false",
    "\"auto\"",
    "\"mapped\"",
    "\"positioned\"",
    "\"every_append\"",
    "\"manual\"",
    "{ every_bytes = 65536 }",
    "{ interval_ms = 1000 }",
    "{ interval_ms = 0 }",
    "\"full\"",
    "\"power_safe\"",
    "\"torn_overwrite\"",
    "\"nobody\"",
    "\"everyone\"",
    "{ each = [\"uplink\"] }",
    "{ any = [\"uplink\", \"backup\"] }",
    "{ each = [] }",
    "\"reject\"",
    "\"drop_oldest\"",
    "{ block_ms = 5000 }",
    "1.5",
    "1979-05-27T07:32:00Z",
    "\"\"\"\n# lines\n\"\"\"",
];

/// A file of words that an input chooses.
fn written(mut input: Input<'_>) -> String {
    let mut text = String::new();
    while !input.is_empty() && text.len() < 4000 {
        let choice = input.byte();
        if choice < 64 {
            text.push_str(TABLES[usize::from(choice) % TABLES.len()]);
        } else if choice < 250 {
            let key = KEYS[usize::from(choice) % KEYS.len()];
            let value = input.byte();
            // Writing to a string cannot fail.
            let _ = match value {
                0..200 => write!(text, "{key} = {}", VALUES[usize::from(value) % VALUES.len()]),
                200..240 => write!(text, "{key} = {}", input.u16()),
                _ => write!(text, "{key} = {}", input.i64()),
            };
        } else {
            text.push_str(&String::from_utf8_lossy(input.bytes(3)));
        }
        text.push('\n');
    }
    text
}
