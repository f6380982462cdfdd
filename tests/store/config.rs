//! The configuration file: everything that can be said in it, and that whatever is wrong in it is
//! told with its line.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use forebay::{Config, ErrorKind, FlushPolicy, Hold, Log, LogOptions, Media, OnFull, StoreOptions};
use serde_json::Value;

use crate::util::{kind, scratch};

const SAMPLE: &str = include_str!("../../examples/forebay.toml");

/// A value of each option that differs from its default.
const LOG_KEYS: [(&str, &str); 28] = [
    ("segment_bytes", "1_048_576"),
    ("index_interval_bytes", "0x100"),
    ("max_batch_bytes", "65536"),
    ("io_mode", "\"positioned\""),
    ("flush", "{ every_bytes = 65536 }"),
    ("recovery", "\"full\""),
    ("media", "\"torn_overwrite\""),
    ("torn_bytes", "16384"),
    ("segment_ms", "86400000"),
    ("background", "true"),
    ("memory_limit_bytes", "8388608"),
    ("retention_bytes", "0"),
    ("retention_ms", "1"),
    ("retention_records", "1"),
    ("hold", "{ any = [\"uplink\", 'backup'] }"),
    ("hold_limit_bytes", "9007199254740993"),
    ("hold_lag_records", "9223372036854775807"),
    ("budget_bytes", "67108864"),
    ("on_full", "{ block_ms = 5000 }"),
    ("priority", "255"),
    ("thin_keep_one_in", "4294967295"),
    ("compression", "\"none\""),
    ("compression_level", "-7"),
    ("cleanup_policy", "\"compact,delete\""),
    ("delete_retention_ms", "3600000"),
    ("min_cleanable_dirty_percent", "30"),
    ("min_compaction_lag_ms", "60000"),
    ("compaction_memory_bytes", "65536"),
];

const STORE_KEYS: [(&str, &str); 8] = [
    ("budget_bytes", "268435456"),
    ("reserve_bytes", "131072"),
    ("max_open_logs", "32"),
    ("max_open_files", "400"),
    ("max_mapped_bytes", "8589934592"),
    ("memory_limit_bytes", "33554432"),
    ("rated_endurance_bytes", "30_000_000_000_000"),
    ("background", "true"),
];

/// No bound unless set; -1 says so.
const BOUNDS: [&str; 7] = [
    "memory_limit_bytes",
    "retention_bytes",
    "retention_ms",
    "retention_records",
    "hold_limit_bytes",
    "hold_lag_records",
    "budget_bytes",
];

fn parse(text: &str) -> Config {
    text.parse().unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The text of what is wrong with this.
#[track_caller]
fn wrong(text: &str) -> String {
    let error = text.parse::<Config>().expect_err(text);
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error}");
    let said = error.to_string();
    assert!(!said.chars().any(char::is_control), "{said:?}");
    said
}

fn names(options: &impl serde::Serialize) -> BTreeSet<String> {
    let all = serde_json::to_value(options).unwrap();
    all.as_object().unwrap().keys().cloned().collect()
}

fn table(header: &str, keys: &[(&str, &str)]) -> String {
    let lines = keys.iter().map(|(key, value)| format!("{key} = {value}\n"));
    format!("[{header}]\n{}", lines.collect::<String>())
}

/// A file with every key in each table; an option that has no line above fails here.
fn full() -> Vec<String> {
    let own = |keys: &[(&str, &str)]| keys.iter().map(|(key, _)| (*key).to_owned()).collect();
    assert_eq!(names(&LogOptions::default()), own(&LOG_KEYS));
    assert_eq!(names(&StoreOptions::default()), own(&STORE_KEYS));
    let mut last = LOG_KEYS.to_vec();
    last.push(("partitions", "7"));
    let tables = [
        table("store", &STORE_KEYS),
        table("defaults", &LOG_KEYS),
        table("logs.plain", &LOG_KEYS[..1]),
        table("logs.\"engine.v2\"", &last),
    ];
    tables.concat().lines().map(str::to_owned).collect()
}

#[test]
fn every_key_is_read_as_its_option() {
    let config = parse(&full().join("\n"));
    let options = Log::options()
        .segment_bytes(1 << 20)
        .index_interval_bytes(256)
        .max_batch_bytes(65536)
        .io_mode(forebay::IoMode::Positioned)
        .flush(FlushPolicy::EveryBytes(65536))
        .recovery(forebay::RecoveryMode::Full)
        .media(Media::TornOverwrite)
        .torn_bytes(16384)
        .segment_age(Duration::from_secs(86400))
        .background(true)
        .memory_limit_bytes(8 << 20)
        .retention_bytes(0)
        .retention_age(Duration::from_millis(1))
        .retention_records(1)
        .hold(Hold::Any(vec!["uplink".into(), "backup".into()]))
        .hold_limit_bytes((1 << 53) + 1)
        .hold_lag_records(i64::MAX.unsigned_abs())
        .budget_bytes(64 << 20)
        .on_full(OnFull::Block(Duration::from_secs(5)))
        .priority(255)
        .thin_keep_one_in(u32::MAX)
        .compression_level(-7)
        .cleanup(forebay::Cleanup::Both)
        .delete_retention(Duration::from_secs(3600))
        .min_cleanable_dirty_percent(30)
        .min_compaction_lag(Duration::from_secs(60))
        .compaction_memory_bytes(64 << 10);
    for name in ["engine.v2", "plain", "any other"] {
        assert_eq!(config.log_options(name), options, "{name}");
    }
    assert_eq!(config.logs().collect::<Vec<_>>(), ["engine.v2", "plain"]);
    assert_eq!((config.partitions("engine.v2"), config.partitions("plain")), (Some(7), None));
    let store = StoreOptions::default()
        .budget_bytes(256 << 20)
        .reserve_bytes(128 << 10)
        .max_open_logs(32)
        .max_open_files(400)
        .max_mapped_bytes(8 << 30)
        .memory_limit_bytes(32 << 20)
        .rated_endurance_bytes(30_000_000_000_000)
        .background(true)
        .logs(options.clone())
        .log("plain", options.clone())
        .log("engine.v2", options);
    assert_eq!(config.store_options(), store);
}

/// Each key in turn: misspelt, of a wrong type, and below zero. The line is its own, in each table.
#[test]
fn whatever_is_wrong_is_told_with_line_table_and_key() {
    let lines = full();
    let mut place = String::new();
    let mut looked = 0;
    for (at, line) in lines.iter().enumerate() {
        if line.starts_with('[') {
            place = match line.as_str() {
                "[logs.plain]" => "[logs.\"plain\"]".to_owned(),
                _ => line.clone(),
            };
            continue;
        }
        let (key, value) = line.split_once(" = ").unwrap();
        let with = |line: String| {
            let mut lines = lines.clone();
            lines[at] = line;
            wrong(&lines.join("\n"))
        };
        let begins = format!("line {}, {place} {key}", at + 1);
        let misspelt = with(format!("{key}_s = {value}"));
        assert!(misspelt.starts_with(&format!("{begins}_s: unknown field")), "{misspelt}");
        assert!(misspelt.contains(key), "it does not say what there is: {misspelt}");
        for bad in ["1979-05-27", "-2", "-1", "1.5", "[]", "{ no = 1 }", "\"no\""] {
            // A level may be below zero.
            let is_level = key == "compression_level" && bad.starts_with('-');
            if is_level || bad == "-1" && BOUNDS.contains(&key) {
                continue;
            }
            let said = with(format!("{key} = {bad}"));
            assert!(said.starts_with(&format!("{begins}: ")), "{bad}: {said}");
        }
        looked += 1;
    }
    assert_eq!(looked, STORE_KEYS.len() + 2 * LOG_KEYS.len() + 2);
}

/// As in Kafka's files: so that one log can be without what all others have.
#[test]
fn minus_one_is_no_bound_whatever_the_defaults_say() {
    for key in BOUNDS {
        let text = format!("[defaults]\n{key} = 67108864\n[logs.free]\n{key} = -1\n");
        let config = parse(&text);
        assert_eq!(config.log_options("free"), Log::options(), "{key}");
        assert_ne!(config.log_options("other"), Log::options(), "{key}");
        let json = |number: &str| format!("{{\"{key}\":{number}}}");
        let read = |text: String| serde_json::from_str::<LogOptions>(&text);
        assert_eq!(read(json("-1")).unwrap(), Log::options(), "{key}");
        assert_eq!(read(json("null")).unwrap(), Log::options(), "{key}");
        assert_eq!(read(json("67108864")).unwrap(), config.log_options("other"), "{key}");
        let said = read(json("-2")).unwrap_err().to_string();
        assert!(said.contains("or -1 for no bound"), "{key}: {said}");
        let said = wrong(&format!("[defaults]\n{key} = -2"));
        assert!(said.contains(key) && said.contains("or -1 for no bound"), "{said}");
    }
    for key in ["budget_bytes", "memory_limit_bytes"] {
        let options = parse(&format!("[store]\n{key} = -1")).store_options();
        assert_eq!(options, StoreOptions::default(), "{key}");
    }
    for key in ["segment_ms", "thin_keep_one_in", "segment_bytes"] {
        assert!(wrong(&format!("[defaults]\n{key} = -1")).contains(key), "it has a bound");
    }
}

/// A name that no consumer can have would be waited for in vain.
#[test]
fn a_hold_on_a_name_that_cannot_be_is_told_with_the_name() {
    for (hold, name) in [
        ("{ each = [\"up link\"] }", "up link"),
        ("{ any = [\"uplink\", \"a/b\"] }", "a/b"),
        ("{ each = [\"\"] }", "(0 bytes)"),
    ] {
        let said = wrong(&format!("[defaults]\n\nhold = {hold}"));
        assert!(said.starts_with("line 3, [defaults]: hold: the consumer name"), "{said}");
        assert!(said.contains(name), "{said}");
    }
}

/// The options' own checks, told at the key they name.
#[test]
fn values_out_of_bounds_are_told_with_line_table_and_key() {
    let cases = [
        ("segment_bytes", "100"),
        ("segment_bytes", "2147483648"),
        ("max_batch_bytes", "70"),
        ("max_batch_bytes", "16777217"),
        ("index_interval_bytes", "0"),
        ("torn_bytes", "5000"),
        ("segment_ms", "0"),
        ("memory_limit_bytes", "1000"),
        ("retention_ms", "0"),
        ("retention_records", "0"),
        ("hold_lag_records", "0"),
        ("thin_keep_one_in", "1"),
        ("cleanup_policy", "\"none\""),
        ("min_cleanable_dirty_percent", "101"),
        ("compaction_memory_bytes", "65535"),
        ("compression", "\"lzma\""),
        ("compression_level", "23"),
        ("compression_level", "0"),
        ("hold", "{ each = [] }"),
        ("flush", "{ every_bytes = 0 }"),
        ("flush", "{ interval_ms = 0 }"),
        ("priority", "256"),
        ("segment_ms", "18446744073709551616"),
    ];
    for (key, value) in cases {
        for header in ["[defaults]", "[logs.\"a-b\"]"] {
            let text = format!("\n{header}\n# {key} = 1\r\n\n{key} = {value} # wrong\n");
            let said = wrong(&text);
            assert!(said.starts_with(&format!("line 5, {header}")), "{said}");
            assert!(said.contains(key), "{said}");
        }
    }
    let cases = [("max_open_logs", "0"), ("max_open_files", "3"), ("budget_bytes", "4096")];
    for (key, value) in cases {
        let said = wrong(&format!("[defaults]\n[store]\n{key} = {value}"));
        assert!(said.starts_with("line 3, [store]") && said.contains(key), "{said}");
    }
}

#[test]
fn what_a_log_inherits_and_cannot_work_with_is_told_where_it_is() {
    let said = wrong(
        "[defaults]\nsegment_bytes = 8388608\nmax_batch_bytes = 4194304\n\n\
         [logs.small]\nsegment_bytes = 65536\n",
    );
    assert!(said.starts_with("line 3, [defaults]: max_batch_bytes is 4194304"), "{said}");
    assert!(said.contains("[logs.\"small\"]"), "{said}");
    // A default of the crate is in no line: then the table's own.
    let said = wrong("[store]\nmax_open_logs = 1\n\n[defaults]\nsegment_bytes = 2147483647\n");
    assert!(said.starts_with("line 1, [store]: max_mapped_bytes is 17179869184"), "{said}");
}

#[test]
fn what_is_no_table_or_no_log_is_told() {
    let cases = [
        ("stor = 1", "line 1, stor: unknown"),
        ("\n[log.engine]", "line 2, log: unknown"),
        ("segment_bytes = 65536", "line 1, segment_bytes: unknown"),
        ("store = 7", "line 1, [store]: this is a table, not of the type integer"),
        ("\ndefaults = \"x\"", "line 2, [defaults]: this is a table, not of the type string"),
        ("[[store]]", "line 1, [store]: this is a table, not of the type array"),
        ("[logs]\nsegment_bytes = 65536", "line 2, [logs.\"segment_bytes\"]: this is a table"),
        ("logs = []", "line 1, [logs.\"name\"]: this is a table, not of the type array"),
        ("[logs.\"\"]", "line 1, [logs.\"\"]: the log name \"\" (0 bytes) is not"),
        ("\n\n[logs.\"../etc\"]", "line 3, [logs.\"../etc\"]: the log name"),
        ("[logs.\"a\\nb\"]", r#"line 1, [logs."a\nb"]: the log name"#),
        ("[logs.\"store.lock\"]", "line 1, [logs.\"store.lock\"]: the log name \"store.lock\" is"),
        ("[logs.a]\npartitions = 0", "line 2, [logs.\"a\"] partitions: is 0, allowed is 1"),
        ("[logs.a]\npartitions = 100001", "line 2, [logs.\"a\"] partitions: is 100001"),
        ("[logs.a]\npartitions = \"4\"", "line 2, [logs.\"a\"] partitions: invalid type"),
        ("[defaults]\npartitions = 4", "line 2, [defaults] partitions: unknown field"),
        ("[defaults]\nmirror_of = 4", "line 2, [defaults] mirror_of: unknown field"),
        ("[defaults]\nvalidate = 4", "line 2, [defaults] validate: unknown field"),
        ("[store]\nlogs = {}", "line 2, [store] logs: unknown field"),
        ("[store]\nnamed = {}", "line 2, [store] named: unknown field"),
    ];
    for (text, begins) in cases {
        let said = wrong(text);
        assert!(said.starts_with(begins), "{said}");
    }
    let said = wrong("[logs.Engine]\n\n[logs.engine]");
    assert!(said.contains("\"engine\"") && said.contains("\"Engine\""), "{said}");
    assert!(said.contains("in case alone") && said.starts_with("line "), "{said}");
    let long = format!("[logs.{}]\npartitions = 100000", "n".repeat(249));
    assert_eq!(parse(&long).partitions(&"n".repeat(249)), Some(100_000));
}

#[test]
fn what_is_no_toml_is_told_with_its_line() {
    let cases = [
        ("[store\n", 1),
        ("[store]\nbackground = \n", 2),
        ("[store]\n\nbackground = tru", 3),
        ("[store]\nbackground = true\nbackground = true", 3),
        ("[store]\n[defaults]\n[store]", 3),
        ("a\u{0}b", 1),
        ("[defaults]\nflush = { interval_ms = 1", 2),
        ("[defaults]\nhold = \"nobody", 2),
        ("[defaults]\n = 1", 2),
    ];
    for (text, line) in cases {
        let said = wrong(text);
        assert!(said.starts_with(&format!("line {line}, ")), "{text:?}: {said}");
    }
}

/// The same options, however the file is laid out.
#[test]
fn tables_may_be_written_in_every_way_the_format_has() {
    let flush = FlushPolicy::Interval(Duration::from_millis(200));
    let options = Log::options().flush(flush).hold(Hold::Each(vec!["a".into()]));
    let texts = [
        "[defaults]\nflush = { interval_ms = 200 }\nhold = { each = [\"a\"] }",
        "[defaults]\nflush.interval_ms = 200\nhold.each = [\n  'a', # who\n]",
        "[defaults.flush]\ninterval_ms = 200\n[defaults.hold]\neach = ['a']",
        "defaults = { flush = { interval_ms = 200 }, hold = { each = ['a'] } }",
        "defaults.flush.interval_ms = 0xc8\ndefaults.hold.each = ['a']",
        "\u{feff}[defaults]\r\nflush = { interval_ms = 2_00 }\r\nhold = { each = ['a'] }\r\n",
    ];
    for text in texts {
        assert_eq!(parse(text).log_options("x"), options, "{text}");
    }
    // A log's own value takes the place of the default as a whole.
    let text = "[defaults]\nflush = { interval_ms = 200 }\n[logs.a.flush]\nevery_bytes = 5";
    assert_eq!(parse(text).log_options("a"), Log::options().flush(FlushPolicy::EveryBytes(5)));
    for (text, policy) in [
        ("\"every_append\"", FlushPolicy::EveryAppend),
        ("\"manual\"", FlushPolicy::Manual),
        (
            "{ interval_ms = 9223372036854775807 }",
            FlushPolicy::Interval(Duration::from_millis(i64::MAX.unsigned_abs())),
        ),
    ] {
        let config = parse(&format!("[defaults]\nflush = {text}"));
        assert_eq!(config.log_options("x"), Log::options().flush(policy));
        assert_eq!(parse(&config.to_toml().unwrap()), config);
    }
    let both = wrong("[defaults]\nflush = { interval_ms = 1, every_bytes = 2 }");
    assert!(both.starts_with("line 2, [defaults] flush: "), "{both}");
    let nested = wrong("[defaults]\nhold = { each = [\n\"a\",\n7,\n] }");
    assert!(nested.starts_with("line 4, [defaults] hold: "), "{nested}");
}

#[test]
fn what_is_written_reads_as_what_it_was() {
    let nothing = parse("");
    assert_eq!(nothing, Config::default());
    assert_eq!(nothing.store_options(), StoreOptions::default());
    let same = "[logs.same]\nflush = { interval_ms = 1000 }\n[logs.empty]";
    for text in ["", &full().join("\n"), SAMPLE, same] {
        let config = parse(text);
        let written = config.to_toml().unwrap();
        let again = parse(&written);
        assert_eq!(again, config, "{written}");
        assert_eq!(again.to_toml().unwrap(), written);
    }
    // Some of the keys in some of the tables, each with either value.
    let mut state = 7_u64;
    let mut chance = |of: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % of
    };
    let usual = parse("").to_toml().unwrap();
    let usual: Vec<_> = usual.lines().filter_map(|line| line.split_once(" = ")).collect();
    for _ in 0..300 {
        let mut text = String::new();
        for header in ["defaults", "logs.a", "logs.b", "logs.c-1"] {
            let mut keys: Vec<_> = LOG_KEYS.to_vec();
            keys.retain(|_| chance(3) == 0);
            for key in &mut keys {
                let default = usual.iter().rfind(|(usual, _)| *usual == key.0);
                if let (Some(default), 0) = (default, chance(3)) {
                    key.1 = default.1;
                }
            }
            if chance(5) > 0 {
                text += &table(header, &keys);
            }
        }
        // Not all of them fit each other.
        if let Ok(config) = text.parse::<Config>() {
            assert_eq!(parse(&config.to_toml().unwrap()), config, "{text}");
        }
    }
}

/// Everything commented out in the sample is something that can be said, at its place.
#[test]
fn the_sample_has_every_key_and_is_what_counts_without_it() {
    assert_eq!(parse(SAMPLE), Config::default());
    let is_key = |text: &str| {
        text.starts_with('[')
            || text.split_once(" = ").is_some_and(|(key, _)| {
                key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            })
    };
    let said: Vec<_> = SAMPLE
        .lines()
        .map(|line| line.strip_prefix("# ").filter(|text| is_key(text)).unwrap_or(line))
        .collect();
    let config = parse(&said.join("\n"));
    assert_eq!(config.partitions("engine"), Some(4));
    assert_eq!(config.logs().collect::<Vec<_>>(), ["engine"]);
    let mut found = std::collections::BTreeMap::<_, BTreeSet<String>>::new();
    let mut place = "";
    for line in said {
        match line.split_once(" = ") {
            _ if line.starts_with('[') => place = line,
            Some((key, _)) if is_key(line) => {
                assert!(found.entry(place).or_default().insert(key.to_owned()), "{line}");
            }
            _ => {}
        }
    }
    assert_eq!(found["[store]"], names(&StoreOptions::default()));
    assert_eq!(found["[defaults]"], names(&LogOptions::default()));
    // What is off unless set is set to something else than that.
    let all = serde_json::to_value(config.log_options("x")).unwrap();
    let off = serde_json::to_value(LogOptions::default()).unwrap();
    for (key, value) in off.as_object().unwrap() {
        assert!(*value != Value::Null || all[key] != Value::Null, "{key}");
    }
}

/// Cut anywhere, and with every byte another one: an error with a line that is there, or options.
#[test]
fn no_text_makes_it_panic() {
    let text = full().join("\n");
    let look = |text: &str| {
        if let Err(error) = text.parse::<Config>() {
            let said = error.to_string();
            let line = said.strip_prefix("line ").and_then(|rest| rest.split_once(','));
            let line: usize = line.unwrap().0.parse().unwrap();
            assert!(line >= 1 && line <= text.lines().count() + 1, "{said}\n{text}");
        }
    };
    for at in 0..text.len() {
        look(&text[..at]);
        look(&text[at..]);
        for other in ['"', '[', '=', '\n', '\u{0}', '9', '\u{e4}'] {
            look(&format!("{}{other}{}", &text[..at], &text[at + 1..]));
        }
    }
    look(&"[a".repeat(10_000));
    look(&format!("x = {}", "[".repeat(100_000)));
    look(&format!("[defaults]\nhold = {}", "{ each = ".repeat(10_000)));
    look(&"a.".repeat(100_000));
}

#[test]
fn a_file_is_read_or_refused_with_its_name() {
    let tmp = scratch();
    let path = tmp.path().join("forebay.toml");
    assert_eq!(kind(Config::from_file(&path)), ErrorKind::NotFound);
    fs::write(&path, SAMPLE).unwrap();
    assert_eq!(Config::from_file(&path).unwrap(), Config::default());
    let link = tmp.path().join("link.toml");
    std::os::unix::fs::symlink("forebay.toml", &link).unwrap();
    assert_eq!(Config::from_file(&link).unwrap(), Config::default());

    fs::write(&path, "[defaults]\nflush = { intervall_ms = 1 }").unwrap();
    let error = Config::from_file(&path).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert_eq!(error.path(), Some(path.as_path()));
    let said = error.to_string();
    assert!(said.starts_with("line 2, [defaults] flush: unknown variant `intervall_ms`"), "{said}");
    assert!(said.contains(&format!(" in {}", path.display())), "{said}");

    fs::write(&path, b"[store] # \xff").unwrap();
    let error = Config::from_file(&path).unwrap_err();
    assert_eq!((error.kind(), error.file_position()), (ErrorKind::InvalidArgument, Some(10)));
    assert_eq!(kind(Config::from_file(tmp.path())), ErrorKind::InvalidArgument);
    // A FIFO with no writer would block for ever.
    let fifo = tmp.path().join("fifo");
    let made = std::process::Command::new("mkfifo").arg(&fifo).status().unwrap();
    assert!(made.success());
    assert!(Config::from_file(&fifo).is_err());
    let file = fs::File::create(&path).unwrap();
    file.set_len((8 << 20) + 1).unwrap();
    assert_eq!(kind(Config::from_file(&path)), ErrorKind::InvalidArgument);
    fs::write(&path, "# a comment\n".repeat((8 << 20) / 12)).unwrap();
    assert_eq!(Config::from_file(&path).unwrap(), Config::default());
}

/// Ten thousand logs with a table each.
#[test]
fn a_file_may_have_a_table_for_each_of_ten_thousand_logs() {
    let mut text = "[defaults]\nsegment_bytes = 1048576\n".to_owned();
    for number in 0..10_000 {
        let size = 65536 + number;
        text += &format!("[logs.sensor-{number}]\nsegment_bytes = {size}\npriority = 5\n");
    }
    let config = parse(&text);
    assert_eq!(config.logs().count(), 10_000);
    let last = Log::options().segment_bytes(75_535).priority(5);
    assert_eq!(config.log_options("sensor-9999"), last);
    text += "[logs.SENSOR-77]";
    let said = wrong(&text);
    assert!(said.contains("in case alone"), "{said}");
}

/// What a file says is what a log then does.
#[test]
fn a_log_opens_by_its_table() {
    let tmp = scratch();
    let config = parse("[logs.engine]\nflush = \"every_append\"\nsegment_bytes = 65536");
    let log = config.log_options("engine").open(tmp.path()).unwrap();
    let offset = log.append("1013 hPa").unwrap();
    assert!(log.durable_offset() > offset);
    assert_eq!(log.current_options(), config.log_options("engine"));
    // And what a new one says, after a change.
    let config = parse("[logs.engine]\nflush = \"manual\"\nsegment_bytes = 65536");
    log.set_options(config.log_options("engine")).unwrap();
    let offset = log.append("1012 hPa").unwrap();
    assert!(log.durable_offset() <= offset);
}

/// A store by its file, and by another one while it is open.
#[test]
fn a_store_opens_by_its_file_and_changes_by_another() {
    let tmp = scratch();
    let text = |engine: &str, budget: u64| {
        format!(
            "[store]\nbudget_bytes = {budget}\n\
             [defaults]\nsegment_bytes = 65536\nmax_batch_bytes = 4096\nflush = \"manual\"\n\
             [logs.engine]\nflush = {engine}\npartitions = 3\n"
        )
    };
    let config = parse(&text("\"every_append\"", 64 << 20));
    let store = config.store_options().open(tmp.path()).unwrap();
    let durable = |name: &str| {
        let log = store.log(name).unwrap();
        let offset = log.append("a reading").unwrap();
        log.durable_offset() > offset
    };
    assert!(durable("engine") && !durable("cabin"));
    let engines = store.partitioned("engine", config.partitions("engine").unwrap()).unwrap();
    assert_eq!(engines.partitions(), 3);
    assert!(engines.log(2).unwrap().current_options() == config.log_options("engine"));
    assert_eq!(store.stats().budget_bytes, Some(64 << 20));

    let config = parse(&text("{ every_bytes = 1_000_000 }", 32 << 20));
    store.set_options(config.store_options()).unwrap();
    assert!(!durable("engine"), "its table says something else now");
    assert_eq!(store.stats().budget_bytes, Some(32 << 20));
    store.close().unwrap();
}
