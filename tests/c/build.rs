//! The C library as these tests need it, and programs that are built with it.
//!
//! The library is built once a test program, by the cargo that runs the tests, in its own target
//! directory: that lock is free while tests run, and what the library needs lies there already.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;
use std::{env, fs};

use tempfile::TempDir;

/// What every C program of ours has to compile with.
pub(crate) const STRICT: [&str; 6] =
    ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"];

/// The library in one build.
pub(crate) struct Library {
    /// `libforebay.a` and `libforebay.so`.
    pub(crate) dir: PathBuf,
    /// What rustc says a program with the static one has to be linked with, as options.
    pub(crate) native: Vec<String>,
}

/// How a program is linked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Link {
    Static,
    Shared,
}

/// The library, with what this test program has built in.
pub(crate) fn library() -> &'static Library {
    static LIBRARY: OnceLock<Library> = OnceLock::new();
    LIBRARY.get_or_init(build)
}

pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn build() -> Library {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
    let mut features = vec!["ffi"];
    for (name, there) in [
        ("replicator", cfg!(feature = "replicator")),
        ("kafka", cfg!(feature = "kafka")),
        ("toml", cfg!(feature = "toml")),
    ] {
        if there {
            features.push(name);
        }
    }
    let mut cargo = Command::new(env!("CARGO"));
    cargo.current_dir(root()).env("CARGO_TARGET_DIR", target);
    // What cargo sets for a test would make build scripts run anew, here and in the next build.
    for (name, _) in env::vars_os() {
        let said = name.to_string_lossy();
        if said.starts_with("CARGO_PKG_") || said.starts_with("CARGO_MANIFEST_") {
            cargo.env_remove(name);
        }
    }
    // As the profile of tests, so that dependencies are not built once more.
    cargo.env("CARGO_PROFILE_DEV_DEBUG", "line-tables-only");
    cargo.args(["rustc", "--lib", "--no-default-features", "--crate-type", "staticlib,cdylib"]);
    cargo.args(["--features", &features.join(",")]);
    let profile = if cfg!(debug_assertions) {
        "debug"
    } else {
        cargo.arg("--release");
        "release"
    };
    cargo.args(["--", "--print", "native-static-libs"]);
    let said = done(&mut cargo);
    let said = String::from_utf8_lossy(&said.stderr);
    let native = said.lines().find_map(|line| line.split_once("native-static-libs: ")).unwrap().1;
    Library {
        dir: target.join(profile),
        native: native.split_whitespace().map(str::to_owned).collect(),
    }
}

/// Runs it to its end, which has to be a good one.
pub(crate) fn done(command: &mut Command) -> Output {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// Whether a tool is there; where it is not, says what is passed over.
pub(crate) fn has(tool: &str, what: &str) -> bool {
    let there = Command::new(tool).arg("--version").output().is_ok_and(|out| out.status.success());
    if !there {
        println!("passed over, for there is no {tool}: {what}");
    }
    there
}

/// The examples of a directory below `examples`, if there is one.
pub(crate) fn examples(dir: &str, extension: &str) -> Vec<PathBuf> {
    let Ok(files) = fs::read_dir(root().join("examples").join(dir)) else { return Vec::new() };
    let mut found: Vec<_> = files.map(|file| file.unwrap().path()).collect();
    found.retain(|path| path.extension().is_some_and(|found| found == extension));
    // It can do nothing but ship.
    found.retain(|path| cfg!(feature = "replicator") || !path.ends_with("gateway.c"));
    found.sort();
    found
}

/// Compiles one file with everything that is worth a warning.
pub(crate) fn compile(compiler: &str, options: &[&str], source: &Path, dir: &TempDir) -> PathBuf {
    let object = dir.path().join(source.file_stem().unwrap()).with_extension("o");
    let mut command = Command::new(compiler);
    command.args(STRICT).args(options).arg("-I").arg(root().join("include"));
    done(command.arg("-c").arg(source).arg("-o").arg(&object));
    object
}

/// Links what was compiled, and says where the program is.
pub(crate) fn link(compiler: &str, options: &[&str], object: &Path, link: Link) -> PathBuf {
    let library = library();
    let program = object.with_extension(format!("{link:?}"));
    let mut command = Command::new(compiler);
    command.args(options).arg(object).arg("-o").arg(&program);
    match link {
        Link::Static => command.arg(library.dir.join("libforebay.a")).args(&library.native),
        Link::Shared => command.arg("-L").arg(&library.dir).arg("-lforebay"),
    };
    done(&mut command);
    program
}

/// A program that finds the shared library.
pub(crate) fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.env("LD_LIBRARY_PATH", &library().dir);
    command
}
