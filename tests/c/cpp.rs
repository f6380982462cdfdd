//! `include/forebay.hpp` is what it says: a program of three units that calls every method, and
//! what must not compile.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::build::{STRICT, compile, done, has, library, root};

/// What a program for a small device is compiled with.
const SMALL: [&str; 2] = ["-fno-exceptions", "-fno-rtti"];

/// The test program: all of its units have the header, one of them twice.
fn built(compiler: &str, options: &[&str], dir: &tempfile::TempDir) -> PathBuf {
    let library = library();
    let program = dir.path().join("program");
    let mut link = Command::new(compiler);
    link.args(options);
    for unit in ["main.cpp", "other.cpp", "ship.cpp"] {
        link.arg(compile(compiler, options, &root().join("tests/c/cpp").join(unit), dir));
    }
    link.arg("-o").arg(&program).arg(library.dir.join("libforebay.a")).args(&library.native);
    done(&mut link);
    program
}

/// The last standard is whatever this compiler has of C++23.
fn every_method_works(compiler: &str) {
    if !has(compiler, "forebay.hpp with it") {
        return;
    }
    let ways: [&[&str]; 3] =
        [&["-std=c++17", SMALL[0], SMALL[1]], &["-std=c++20"], &["-std=c++2b", SMALL[0], SMALL[1]]];
    for options in ways {
        let dir = tempfile::tempdir().unwrap();
        let said = done(Command::new(built(compiler, options, &dir)).arg(dir.path()));
        assert_eq!(said.stdout, b"whole\n", "{compiler} {options:?}");
    }
}

#[test]
fn every_method_of_the_cpp_header_works_with_gcc() {
    every_method_works("g++");
}

#[test]
fn every_method_of_the_cpp_header_works_with_clang() {
    every_method_works("clang++");
}

/// Nothing is used that was freed, freed twice or left, moved-from handles and batches included;
/// and a value that is not there ends the program with the error's text.
#[test]
fn the_cpp_header_has_no_finding_of_the_sanitizers() {
    if !cfg!(target_os = "linux") || !has("g++", "forebay.hpp with sanitizers") {
        return;
    }
    let sanitize =
        ["-std=c++17", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let dir = tempfile::tempdir().unwrap();
    let program = built("g++", &sanitize, &dir);
    let run = |place: &str| {
        fs::create_dir(dir.path().join(place)).unwrap();
        let mut command = Command::new(&program);
        command.env("ASAN_OPTIONS", "detect_leaks=1:strict_string_checks=1");
        command.arg(dir.path().join(place));
        command
    };
    done(&mut run("all"));
    let said = run("misuse").arg("misuse").output().unwrap();
    let text = String::from_utf8_lossy(&said.stderr);
    assert!(said.status.code().is_none(), "{}, and no abort: {text}", said.status);
    assert!(text.contains("Result::value(): ") && text.contains("segment_bytes"), "{text}");
}

/// What the compiler says of each of these bodies of a function, by lines from the first on.
/// `batch()` and `log` are there to be used.
fn said_of(compiler: &str, bodies: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("bodies.cpp");
    let mut text =
        String::from("#include <forebay.hpp>\nusing namespace forebay;\nBatch batch();\n");
    for (n, body) in bodies.iter().enumerate() {
        let says = format!("void body{n}(Log& log);");
        text += &format!("{says} void body{n}(Log& log) {{ static_cast<void>(log); {body} }}\n");
    }
    fs::write(&source, text).unwrap();
    let mut command = Command::new(compiler);
    command.args(STRICT).args(["-std=c++17", "-fsyntax-only", "-I"]).arg(root().join("include"));
    let said = command.arg(source).output().unwrap();
    String::from_utf8(said.stderr).unwrap()
}

/// Each beside what is as like it as can be and compiles, so that it fails for what is wrong in it.
fn misuse_does_not_compile(compiler: &str, more: &[[&str; 3]]) {
    if !has(compiler, "misuse of forebay.hpp with it") {
        return;
    }
    let mut all = vec![
        ["log.flush();", "if (!log.flush()) { return; }", "nodiscard"],
        ["log.close();", "log.close().value();", "nodiscard"],
        ["batch().begin();", "const Batch b = batch(); b.begin();", "deleted"],
        ["(void)batch().record(0);", "const Batch b = batch(); (void)b.record(0);", "deleted"],
        ["(void)batch().bytes();", "const Batch b = batch(); (void)b.bytes();", "deleted"],
        [
            "Batch a = batch(); Batch b = a;",
            "Batch a = batch(); Batch b = std::move(a);",
            "deleted",
        ],
        [
            "(void)NewRecord(\"\").headers(std::vector<Header>());",
            "std::vector<Header> h; (void)NewRecord(\"\").headers(h);",
            "deleted",
        ],
        [
            "(void)log.append(std::vector<int>());",
            "(void)log.append(std::vector<char>());",
            "no matching",
        ],
        ["Log raw(log.get());", "Log raw = Log::adopt(log.release());", "protected"],
    ];
    all.extend_from_slice(more);
    let good: Vec<_> = all.iter().map(|[_, good, _]| *good).collect();
    assert_eq!(said_of(compiler, &good), "", "{compiler}");
    let bad: Vec<_> = all.iter().map(|[bad, _, _]| *bad).collect();
    let said = said_of(compiler, &bad);
    for (n, [bad, _, why]) in all.iter().enumerate() {
        let here = format!("bodies.cpp:{}:", n + 4);
        let found = said
            .lines()
            .any(|line| line.contains(&here) && line.contains("error: ") && line.contains(why));
        assert!(found, "{compiler} does not say `{why}` of {bad}:\n{said}");
    }
}

#[test]
fn misuse_does_not_compile_with_gcc() {
    misuse_does_not_compile("g++", &[]);
}

/// Clang sees what outlives what it borrows from.
#[test]
fn misuse_does_not_compile_with_clang() {
    let dangling = [
        "bytes_view v = std::string(\"a\"); (void)v;",
        "std::string s(\"a\"); bytes_view v = s; (void)v;",
        "dangling",
    ];
    misuse_does_not_compile("clang++", &[dangling]);
}
