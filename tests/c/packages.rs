//! The C library is what its header, its examples and its packages say, for gcc and clang, static
//! and shared. With cargo-c, CMake and pkg-config: `tests/campaign/run c-packages`.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use super::build::{Link, compile, done, examples, has, library, link, program, root};

/// The functions that `include/forebay.h` declares; what it defines itself is in no library.
fn declared() -> BTreeSet<String> {
    let header = fs::read_to_string(root().join("include/forebay.h")).unwrap();
    let mut found = BTreeSet::new();
    for line in header.lines() {
        if line.starts_with([' ', '/', '#', '}']) || line.starts_with("typedef") {
            continue;
        }
        let Some((before, _)) = line.split_once('(') else { continue };
        let name = before.rsplit([' ', '*']).next().unwrap();
        if name.starts_with("forebay_") && !line.starts_with("static") {
            found.insert(name.to_owned());
        }
    }
    found
}

fn exported() -> BTreeSet<String> {
    let symbols = done(
        Command::new("nm").args(["-D", "--defined-only"]).arg(library().dir.join("libforebay.so")),
    );
    let symbols = String::from_utf8(symbols.stdout).unwrap();
    symbols.lines().filter_map(|line| line.split_whitespace().nth(2).map(str::to_owned)).collect()
}

/// Nothing of Rust's, nothing of a dependency's: two libraries in one program do not meet.
#[test]
fn the_shared_library_exports_the_headers_functions_and_nothing_else() {
    if !has("nm", "exported symbols") {
        return;
    }
    let (declared, exported) = (declared(), exported());
    assert!(declared.contains("forebay_log_append"), "{declared:?}");
    let missing: Vec<_> = declared.difference(&exported).collect();
    let unsaid: Vec<_> = exported.difference(&declared).collect();
    assert!(missing.is_empty(), "in include/forebay.h and not in the library: {missing:?}");
    assert!(unsaid.is_empty(), "in the library and not in include/forebay.h: {unsaid:?}");
}

#[test]
fn a_program_has_the_version_that_it_was_compiled_with() {
    for compiler in ["gcc", "clang"] {
        if !has(compiler, "the version in C") {
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let object = compile(compiler, &["-std=c99"], &root().join("tests/c/version.c"), &dir);
        for kind in [Link::Static, Link::Shared] {
            let said = done(&mut program(&link(compiler, &[], &object, kind)));
            let said = String::from_utf8(said.stdout).unwrap();
            let mut words = said.split_whitespace();
            assert_eq!(words.next(), Some(env!("CARGO_PKG_VERSION")), "{compiler}, {kind:?}");
            let built_in: Vec<_> = words.collect();
            for (feature, there) in [
                ("replicator", cfg!(feature = "replicator")),
                ("kafka", cfg!(feature = "kafka")),
                ("toml", cfg!(feature = "toml")),
            ] {
                assert_eq!(built_in.contains(&feature), there, "{feature}: {said}");
            }
        }
    }
}

/// The text of a file of the repository.
fn text(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

#[test]
fn find_package_knows_the_crates_version() {
    let set = format!("set(PACKAGE_VERSION \"{}\")", env!("CARGO_PKG_VERSION"));
    assert!(text("cmake/forebayConfigVersion.cmake").contains(&set), "no {set}");
}

/// The same libraries in the same order, each once.
#[test]
fn find_package_links_what_rustc_says() {
    if !cfg!(target_os = "linux") {
        println!("passed over: cmake/forebayConfig.cmake has the libraries of Linux");
        return;
    }
    let config = text("cmake/forebayConfig.cmake");
    let list = config.split_once("set(forebay_NATIVE_STATIC_LIBS ").unwrap().1;
    let listed: Vec<_> = list.split_once(')').unwrap().0.split_whitespace().collect();
    let mut native: Vec<_> =
        library().native.iter().filter_map(|option| option.strip_prefix("-l")).collect();
    assert_eq!(native.len(), library().native.len(), "not only libraries: {native:?}");
    native.dedup();
    assert_eq!(listed, native);
}

/// What an example is told besides its directory; `None` if it needs what is not built in.
fn arguments(source: &Path, dir: &Path) -> Option<Vec<String>> {
    match source.file_stem().unwrap().to_str().unwrap() {
        "gateway" => {}
        "follow" => return Some(followed(&dir.join("log"))),
        _ => return Some(Vec::new()),
    }
    if !cfg!(feature = "replicator") {
        println!("passed over, for there is no replicator: {}", source.display());
        return None;
    }
    // That in C++ has a second log anyway, and ends by itself.
    let words = if source.extension().unwrap() == "c" {
        let other = dir.join("other").to_str().unwrap().to_owned();
        let words = ["--log", &other, "--rate", "1000", "--count", "20"];
        words.map(str::to_owned).to_vec()
    } else {
        Vec::new()
    };
    Some(words)
}

/// Three records for one that only reads, and what it is told to end behind them.
fn followed(dir: &Path) -> Vec<String> {
    let log = forebay::Log::open(dir).unwrap();
    for value in ["21.5 C", "21.6 C", "21.7 C"] {
        log.append(forebay::NewRecord::new(value).key("temperature")).unwrap();
    }
    log.close().unwrap();
    vec!["--count".to_owned(), "3".to_owned()]
}

/// Runs an example twice in one directory: on a new one, and on what its first run left there.
fn run(before: &[&str], path: &Path, source: &Path, options: &[(&str, &str)]) {
    let dir = tempfile::tempdir().unwrap();
    let Some(words) = arguments(source, dir.path()) else { return };
    let mut said = Vec::new();
    for _ in 0..2 {
        let mut command = program(Path::new(before.first().unwrap_or(&path.to_str().unwrap())));
        if !before.is_empty() {
            command.args(&before[1..]).arg(path);
        }
        command.arg(dir.path().join("log")).args(&words);
        command.envs(options.iter().copied()).stdin(Stdio::null());
        said.push(String::from_utf8(done(&mut command).stdout).unwrap());
    }
    if source.file_stem().unwrap() == "quickstart" && source.extension().unwrap() == "c" {
        assert!(said[0].starts_with("0 temperature: 21.5 C\n1 pressure"), "{}", said[0]);
        assert!(said[1].starts_with("2 temperature: 21.5 C\n3 pressure"), "{}", said[1]);
    }
}

/// Each standard is compiled, and each way of linking is run.
fn examples_work(compiler: &str, dir: &str, extension: &str, standards: [&str; 2]) {
    if !has(compiler, "examples with it") {
        return;
    }
    for source in examples(dir, extension) {
        for (standard, kind) in standards.iter().zip([Link::Static, Link::Shared]) {
            let scratch = tempfile::tempdir().unwrap();
            let object = compile(compiler, &[&format!("-std={standard}")], &source, &scratch);
            run(&[], &link(compiler, &[], &object, kind), &source, &[]);
        }
    }
}

#[test]
fn c_examples_work_with_gcc() {
    assert!(!examples("c", "c").is_empty());
    examples_work("gcc", "c", "c", ["c99", "c11"]);
}

#[test]
fn c_examples_work_with_clang() {
    examples_work("clang", "c", "c", ["c99", "c11"]);
}

#[test]
fn cpp_examples_work_with_gcc() {
    examples_work("g++", "cpp", "cpp", ["c++17", "c++20"]);
}

#[test]
fn cpp_examples_work_with_clang() {
    examples_work("clang++", "cpp", "cpp", ["c++17", "c++20"]);
}

/// Addresses, leaks and undefined behaviour, on C's side of every call.
#[test]
fn c_examples_have_no_finding_of_the_sanitizers() {
    if !cfg!(target_os = "linux") || !has("gcc", "examples with sanitizers") {
        return;
    }
    let sanitize = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    for source in examples("c", "c") {
        let scratch = tempfile::tempdir().unwrap();
        let object = compile("gcc", &sanitize, &source, &scratch);
        let linked = link("gcc", &sanitize, &object, Link::Static);
        run(&[], &linked, &source, &[("ASAN_OPTIONS", "detect_leaks=1:strict_string_checks=1")]);
    }
}

/// Nothing is read that was not written, and nothing is left that cannot be reached.
#[test]
fn c_examples_have_no_finding_of_valgrind() {
    if !has("valgrind", "examples with it") || !has("gcc", "examples with valgrind") {
        return;
    }
    for source in examples("c", "c") {
        let scratch = tempfile::tempdir().unwrap();
        let object = compile("gcc", &["-g"], &source, &scratch);
        let linked = link("gcc", &[], &object, Link::Static);
        let valgrind = [
            "valgrind",
            "--quiet",
            "--error-exitcode=99",
            "--leak-check=full",
            "--errors-for-leak-kinds=definite,possible",
        ];
        run(&valgrind, &linked, &source, &[]);
    }
}
