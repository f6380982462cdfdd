//! Taste as tests: what a reviewer would have to look for in every change.
//!
//! Each rule is a function from a file to findings, in `tests/tidy/`; a test here applies it to
//! the repository and fails with a list of `file:line: what`. The last test plants a violation of
//! each rule, so that a rule which finds nothing is known to look.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "test code")]

#[path = "tidy/code.rs"]
mod code;
#[path = "tidy/floors.rs"]
mod floors;
#[path = "tidy/text.rs"]
mod text;

use std::collections::VecDeque;
use std::fs;
use std::path::Path;

use code::{File, Finding, words};

/// What is looked at, where it is there: a packaged crate lacks some of it.
const ROOTS: [&str; 16] = [
    ".ci",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "Cargo.toml",
    "README.md",
    "SECURITY.md",
    "benches",
    "build.rs",
    "clippy.toml",
    "deny.toml",
    "docs",
    "examples",
    "fuzz",
    "include",
    "src",
    "tests",
];

/// What other programs wrote.
const NOT_OURS: [&str; 5] =
    ["tests/compat/data", "tests/data", "fuzz/artifacts", "fuzz/corpus", "fuzz/target"];

/// The invariants of the design. Each is named by at least one
/// test, in its doc, its name or its file's doc.
const BUILT: [u32; 20] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];

/// All files of the repository that people wrote, by path.
fn repository() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut waiting: VecDeque<String> = ROOTS.iter().map(|name| name.to_string()).collect();
    let mut files = Vec::new();
    while let Some(path) = waiting.pop_front() {
        let place = root.join(&path);
        if NOT_OURS.contains(&path.as_str()) || path.ends_with("/target") || !place.exists() {
            continue;
        }
        if place.is_dir() {
            let names = fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().file_name());
            waiting.extend(names.map(|name| format!("{path}/{}", name.to_string_lossy())));
        } else if !path.ends_with("Cargo.lock") {
            files.push(File::new(&path, &String::from_utf8_lossy(&fs::read(&place).unwrap())));
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(files.iter().filter(|file| file.module().is_some()).count() > 10, "{root:?}");
    files
}

/// Fails with what a rule finds in any file.
fn assert_none(rule: impl Fn(&File) -> Vec<Finding>) {
    let files = repository();
    assert_no_lines(files.iter().flat_map(|file| lines(file, rule(file))).collect());
}

fn assert_no_lines(lines: Vec<String>) {
    assert!(lines.is_empty(), "{} found:\n{}", lines.len(), lines.join("\n"));
}

fn lines(file: &File, found: Vec<Finding>) -> Vec<String> {
    found.into_iter().map(|(line, what)| format!("{}:{line}: {what}", file.path)).collect()
}

#[test]
fn imports_point_down() {
    let files = repository();
    let exports = floors::exports(files.iter().find(|file| file.path == "src/lib.rs").unwrap());
    assert!(exports.iter().any(|name| name == "Log"), "{exports:?}");
    let found = files.iter().flat_map(|file| lines(file, floors::imports(file, &exports)));
    assert_no_lines(found.collect());
}

#[test]
fn the_system_is_asked_in_sys_alone() {
    assert_none(floors::system);
}

#[test]
fn unsafe_code_is_in_sys_and_ffi_alone() {
    assert_none(floors::unsafe_code);
}

#[test]
fn modules_open_with_their_job_and_floor() {
    assert_none(floors::module_doc);
}

#[test]
fn the_root_has_no_logic() {
    assert_none(floors::root);
}

#[test]
fn texts_are_ascii() {
    assert_none(text::ascii);
}

#[test]
fn lines_files_and_functions_are_short() {
    assert_none(text::lengths);
}

#[test]
fn nothing_is_left_over() {
    assert_none(text::leftovers);
}

#[test]
fn public_names_keep_to_the_vocabulary() {
    assert_none(text::glossary);
}

#[test]
fn dependencies_have_reasons() {
    assert_none(text::dependencies);
}

#[test]
fn no_file_is_dead() {
    let files = repository();
    assert_no_lines([dead_modules(&files), dead_documents(&files), dead_examples(&files)].concat());
}

/// Files under `src` that no chain of `mod` from lib.rs leads to.
fn dead_modules(files: &[File]) -> Vec<String> {
    let find = |path: &str| files.iter().find(|file| file.path == path);
    let mut waiting: Vec<&File> = find("src/lib.rs").into_iter().collect();
    let mut reached = Vec::new();
    while let Some(file) = waiting.pop() {
        reached.push(&file.path);
        let folder = file.path.trim_end_matches(".rs");
        let folder = folder.strip_suffix("/lib").or(folder.strip_suffix("/mod")).unwrap_or(folder);
        for pair in words(&file.code).windows(2).filter(|pair| pair[0].1 == "mod") {
            let name = pair[1].1;
            let places = [format!("{folder}/{name}.rs"), format!("{folder}/{name}/mod.rs")];
            waiting.extend(places.iter().filter_map(|path| find(path)));
        }
    }
    let source = files.iter().filter(|file| file.module().is_some() && file.is_rust());
    let dead = source.filter(|file| !reached.contains(&&file.path));
    dead.map(|file| format!("{}:1: no `mod` leads here from lib.rs", file.path)).collect()
}

/// Documents under `src` that no module includes.
fn dead_documents(files: &[File]) -> Vec<String> {
    let documents = files.iter().filter(|file| file.module().is_some() && !file.is_rust());
    let named = |name: &str| files.iter().any(|file| file.is_rust() && file.text.contains(name));
    let dead = documents.filter(|file| !named(&format!("\"{}\"", base(&file.path))));
    dead.map(|file| format!("{}:1: no module includes it", file.path)).collect()
}

/// Examples that the README does not show, and parts of examples that none of them opens.
fn dead_examples(files: &[File]) -> Vec<String> {
    let readme = files.iter().find(|file| file.path == "README.md");
    let shown: Vec<_> = readme.map(|file| words(&file.text)).unwrap_or_default();
    let mut dead = Vec::new();
    for file in files.iter().filter(|file| file.path.starts_with("examples/")) {
        let stem = base(&file.path).split('.').next().unwrap_or_default();
        let by_path = format!("{}\"]", file.path.trim_start_matches("examples/"));
        let by_name = format!("mod {stem};");
        let opened = files.iter().any(|other| {
            other.path.starts_with("examples/")
                && other.is_rust()
                && (other.text.contains(&by_path) || other.code.contains(&by_name))
        });
        if !opened && !shown.iter().any(|(_, word)| *word == stem) {
            dead.push(format!("{}:1: neither in README.md nor opened by another", file.path));
        }
    }
    dead
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

#[test]
fn every_built_invariant_is_named_by_a_test() {
    let files = repository();
    let unnamed = unnamed_invariants(&files, &BUILT);
    assert_no_lines(unnamed.iter().map(|n| format!("tests/: no test names I{n}")).collect());
}

/// The invariants that neither doc nor name of any test cites, as `I7` or as `i7` in the name.
fn unnamed_invariants(files: &[File], built: &[u32]) -> Vec<u32> {
    let cited: String = files.iter().filter(|file| file.is_rust()).map(cited_by_tests).collect();
    let cited = words(&cited).into_iter().map(|(_, word)| word.to_string());
    let cited: Vec<_> = cited.collect();
    built.iter().copied().filter(|n| !cited.contains(&format!("I{n}"))).collect()
}

/// The docs of a file's tests, and the words of their names in upper case. The doc of a file that
/// has only tests counts as theirs.
fn cited_by_tests(file: &File) -> String {
    let text: Vec<_> = file.text.lines().map(str::trim).collect();
    // A program of tests, or a part of one: what they share and the campaigns have none.
    let of_program = file
        .path
        .strip_prefix("tests/")
        .is_some_and(|name| !name.starts_with("campaign/") && !name.starts_with("schedules/"));
    let only_tests = base(&file.path) == "tests.rs" || of_program && file.code.contains("#[test]");
    let mut cited = if only_tests { file.doc() + "\n" } else { String::new() };
    for (n, _) in file.code.lines().enumerate().filter(|(_, line)| line.trim() == "#[test]") {
        let above = text[..n].iter().rev();
        let doc = above.take_while(|line| line.starts_with("///") || line.starts_with("#["));
        cited.extend(doc.flat_map(|line| [line, "\n"]));
        let name = text[n..].iter().find(|line| line.starts_with("fn ")).unwrap_or(&"");
        cited += &name.replace('_', " ").to_uppercase();
        cited.push('\n');
    }
    cited
}

/// A rule finds what is planted, on its line, and nothing in what is as it should be.
#[track_caller]
fn assert_finds(rule: impl Fn(&File) -> Vec<Finding>, path: &str, good: &str, bad: &str) {
    assert_eq!(rule(&File::new(path, good)), [], "{good}");
    let found = rule(&File::new(path, &format!("{good}\n{bad}\n")));
    let line = 1 + good.lines().count();
    assert!(found.iter().any(|(at, _)| *at == line), "{bad:?} in line {line} of {path}: {found:?}");
}

#[test]
fn comments_literals_and_tests_are_told_from_code() {
    let text = "a('\\'', b'\"', \"\\\"b\", r#\"\"c\"#) // d\ne<'f>('\u{e9}') /* g */ h\n\
                #[cfg(test)]\nmod i { fn j() { k } }\nl";
    let file = File::new("src/log/a.rs", text);
    let found = |code| words(code).into_iter().map(|(_, word)| word).collect::<Vec<_>>().join(" ");
    assert_eq!(found(&file.code), "a b e f h cfg test mod i fn j k l");
    assert_eq!(found(&file.live), "a b e f h l");
    assert_eq!(file.code.len(), text.len());
    assert_eq!(file.line(file.live.find('l').unwrap()), 5);
}

#[test]
fn planted_imports_are_found() {
    let lib = File::new("src/lib.rs", "mod log;\npub use log::{Log, open::{self as at, Opened}};");
    assert_eq!(floors::exports(&lib), ["Log", "at", "Opened"]);
    let imports = |file: &File| floors::imports(file, &floors::exports(&lib));
    let good = "use crate::{disk::a, log::b};\n// crate::replicator\nuse super::super::sys::c;";
    assert_finds(imports, "src/log/a/b.rs", good, "use crate::consumer::Consumer;");
    assert_finds(imports, "src/log/a/b.rs", good, "use crate::{sys::a, replicator};");
    assert_finds(imports, "src/log/a/b.rs", good, "fn f() { crate::replicator::start() }");
    assert_finds(imports, "src/log/a/b.rs", good, "use crate::Log;");
    assert_finds(imports, "src/log/a/b.rs", good, "use super::super::super::consumer;");
    assert_finds(imports, "src/store/mod.rs", "use crate::log::Log;", "use crate::typed::T;");
    let good = "use crate::{Log, Opened};\nmod tests { use super::*; }";
    assert_finds(imports, "src/ffi/mod.rs", good, "use crate::{Log, log::open};");
    assert_finds(imports, "src/ffi/mod.rs", good, "use crate::Inner;");
    assert_finds(imports, "src/ffi/mod.rs", good, "use super::log;");
    assert!(!floors::imports(&File::new("src/other.rs", ""), &[]).is_empty());
}

#[test]
fn planted_uses_of_the_system_are_found() {
    let good = "use std::time::{Duration, Instant};\n#[cfg(test)]\nmod tests { use std::fs; }";
    for bad in [
        "use std::fs;",
        "use std::{fmt, thread};",
        "fn f() { std::os::unix::f() }",
        "fn f() { Instant::now(); }",
        "use std::time::SystemTime;",
        "const E: i32 = libc::EIO;",
        "fn f() { getrandom::fill(&mut []) }",
        "fn f() -> memmap2::Mmap {}",
    ] {
        assert_finds(floors::system, "src/disk/a.rs", good, bad);
        for path in ["src/sys/os.rs", "src/cli/mod.rs", "src/log/tests.rs", "tests/api.rs"] {
            assert_eq!(floors::system(&File::new(path, bad)), [], "{path}");
        }
    }
    let good = "#![deny(unsafe_code)]\n// unsafe\nconst S: &str = \"unsafe\";";
    assert_finds(floors::unsafe_code, "src/disk/a.rs", good, "unsafe { f() }");
    assert_finds(floors::unsafe_code, "examples/a.rs", good, "unsafe fn f() {}");
    assert_eq!(floors::unsafe_code(&File::new("src/sys/map.rs", "unsafe {}")), []);
}

#[test]
fn planted_docs_and_roots_are_found() {
    let doc = |text| floors::module_doc(&File::new("src/disk/a.rs", text)).len();
    let said = ["//! A.\n//!\n//! Floor 3.", "//! A.", "//! Floor 4.", "use a;\n//! Floor 3.", ""];
    assert_eq!(said.map(doc), [0, 1, 1, 1, 1]);
    let good = "#![doc = include_str!(\"README.md\")]\nmod a;\n\
                pub mod docs { #![doc = include_str!(\"a\")] }\n\
                #[cfg(feature = \"b\")]\nmod b;\npub use a::{B, C};";
    assert_eq!(floors::module_doc(&File::new("src/lib.rs", good)), []);
    for bad in [
        "pub use a::*;",
        "fn f() {}",
        "pub mod c { fn f() {} }",
        "use a::d;",
        "#[allow(a)]\nmod d;",
    ] {
        assert_finds(floors::root, "src/lib.rs", good, bad);
    }
}

#[test]
fn planted_texts_are_found() {
    assert_finds(text::ascii, "README.md", "a - b", "a \u{2014} b");
    assert_finds(text::ascii, "README.md", "a b", "a\tb");
    let (good, bad) = ("x".repeat(100), "x".repeat(101));
    assert_finds(text::lengths, "src/a.rs", &good, &bad);
    let function = |lines: usize| format!("fn a(b: [u8; 2]) {{{}}}", "\n".repeat(lines - 1));
    assert_finds(text::lengths, "src/a.rs", &function(70), &function(71));
    assert_eq!(text::lengths(&File::new("src/a.rs", &"\n".repeat(600))), []);
    assert_eq!(text::lengths(&File::new("src/a.rs", &"\n".repeat(601))).len(), 1);
    let good = "// Methods are let go of where a worker is at home;\n/// let a = b;";
    for bad in [
        concat!("// TO", "DO: more"),
        concat!("// see issue", " #1"),
        concat!("const A: &str = \"/wo", "rk/b\";"),
        concat!("// in /ho", "me"),
        "// let a = b();",
        "    // if a == b {",
        "dbg!(a);",
        "#[ignore = \"slow\"]",
    ] {
        assert_finds(text::leftovers, "tests/a.rs", good, bad);
    }
}

#[test]
fn planted_names_are_found() {
    let good = "pub struct Eventual { pub headers: u8, event: u8 }\npub(crate) struct IndexEntry;\n\
                pub enum A { #[b(event)] Overhead(Event), C { event: D }, E }\n\
                #[cfg(test)]\npub fn message() {}";
    for bad in [
        "pub fn next_message() {}",
        "pub const fn page_bytes() {}",
        "pub async fn purge() {}",
        "pub struct IndexEntries;",
        "struct A { pub tail: u8 }",
        "pub enum A { B, Rotated, Events(u8) }",
        "pub trait A { fn acked(&self) -> bool; }",
        "pub const CHUNK: u8 = 0;",
        "pub type ConsumerGroup = u8;",
    ] {
        assert_finds(text::glossary, "src/log/a.rs", good, bad);
        assert_eq!(text::glossary(&File::new("tests/a.rs", bad)), []);
    }
}

#[test]
fn planted_dependencies_are_found() {
    let good =
        "[features]\na = []\n[dependencies]\n# Why.\nb = \"1\"\n[dev-dependencies]\nc = \"1\"";
    for bad in ["[target.'cfg(unix)'.dependencies]\nd = \"1\"", "[dependencies.d]\nversion = \"1\""]
    {
        let at =
            |file: &File| text::dependencies(file).into_iter().map(|(_, what)| (8, what)).collect();
        assert_finds(at, "Cargo.toml", good, bad);
    }
}

#[test]
fn planted_dead_files_are_found() {
    let files = |list: &[(&str, &str)]| -> Vec<File> {
        list.iter().map(|(path, text)| File::new(path, text)).collect()
    };
    let tree = files(&[
        ("src/lib.rs", "mod a;\n// mod d;"),
        ("src/a/mod.rs", "mod b; const C: &str = include_str!(\"c.md\");"),
        ("src/a/b.rs", "#[cfg(test)] mod tests;"),
        ("src/a/b/tests.rs", ""),
        ("src/a/c.md", ""),
        ("src/d.rs", ""),
        ("src/e.md", ""),
        ("README.md", "cargo run --example f"),
        ("examples/f.rs", "#[path = \"f/g.rs\"] mod g;"),
        ("examples/f/g.rs", ""),
        ("examples/h.rs", ""),
    ]);
    assert_eq!(dead_modules(&tree).len(), 1, "{:?}", dead_modules(&tree));
    assert_eq!(dead_documents(&tree).len(), 1, "{:?}", dead_documents(&tree));
    assert_eq!(dead_examples(&tree).len(), 1, "{:?}", dead_examples(&tree));
}

#[test]
fn planted_invariants_are_found() {
    let text = "/// I1, I12: a.\n#[test]\nfn b() {}\n#[test]\nfn i2_holds() {}\n/// I3\nfn c() {}";
    let text = format!("//! I5: all of them.\n{text}");
    for path in ["tests/a.rs", "tests/b/a.rs"] {
        let files = [
            File::new(path, &text),
            File::new("src/d.rs", "//! Keeps I4."),
            File::new("tests/b/c.rs", "//! For tests of I4."),
        ];
        assert_eq!(unnamed_invariants(&files, &[1, 2, 3, 4, 5, 12, 120]), [3, 4, 120]);
    }
}
