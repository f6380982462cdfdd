//! The rules on who may know whom: floors, the one door to the system, and what lib.rs is for.

use super::code::{File, Finding, item_end, names_under, words};

/// The floor of each module of the crate. Imports point down; design, "Architecture".
const FLOORS: [(&str, usize); 12] = [
    ("words", 0),
    ("sys", 1),
    ("codec", 2),
    ("disk", 3),
    ("log", 4),
    ("consumer", 5),
    ("store", 5),
    ("typed", EDGE),
    ("replicator", EDGE),
    ("ffi", EDGE),
    ("stream", EDGE),
    ("cli", EDGE),
];

/// The floor that uses the crate as an outside user would.
const EDGE: usize = 6;

/// They hold documents and names, and stand on no floor.
const NO_FLOOR: [&str; 2] = ["lib", "docs"];

/// Modules of `std` that only `sys` may name, and with it the edges.
const SYSTEM_MODULES: [&str; 4] = ["fs", "net", "os", "thread"];

/// Crates and types that lead to the system too.
const SYSTEM_WORDS: [&str; 4] = ["SystemTime", "getrandom", "libc", "memmap2"];

fn floor_of(module: &str) -> Option<usize> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

/// A file names its own folder and lower floors; an edge names what lib.rs exports.
pub(crate) fn imports(file: &File, exports: &[String]) -> Vec<Finding> {
    let Some(own) = file.module().filter(|own| !NO_FLOOR.contains(own)) else { return Vec::new() };
    let Some(floor) = floor_of(own) else {
        return vec![(1, format!("the module `{own}` has no floor: give it one in FLOORS"))];
    };
    let mut found = Vec::new();
    for (at, name) in names_under(&file.code, "crate") {
        let what = match floor_of(name) {
            _ if floor == EDGE && exports.iter().any(|export| export == name) => continue,
            _ if floor == EDGE => format!("`crate::{name}` is no name that lib.rs exports"),
            Some(other) if name == own || other < floor => continue,
            Some(other) => format!("floor {floor} names `crate::{name}`, of floor {other}"),
            None => format!("`crate::{name}`: below the edges a name is taken from its module"),
        };
        found.push((file.line(at), what));
    }
    for (at, count) in chains_of_super(&file.code) {
        if count >= depth_of(file, at) {
            found.push((file.line(at), "`super::` leads out of the module's folder".into()));
        }
    }
    found
}

/// Each `super::super::...`, with how many there are.
fn chains_of_super(code: &str) -> Vec<(usize, usize)> {
    let supers = words(code).into_iter().filter(|(_, word)| *word == "super");
    let starts = supers.filter(|(at, _)| !code[..*at].ends_with("super::"));
    let chain = |at: usize| code[at..].split("super::").take_while(|part| part.is_empty()).count();
    starts.map(|(at, _)| (at, chain(at))).collect()
}

/// How many modules lie between the crate's root and this place; the root's own children have 1.
fn depth_of(file: &File, at: usize) -> usize {
    let path = file.path.trim_start_matches("src/").trim_end_matches("/mod.rs");
    let before = words(&file.code[..at]);
    let inline = before.windows(2).filter_map(|pair| match pair {
        [(_, "mod"), (name, _)] => Some(item_end(&file.code, *name)),
        _ => None,
    });
    path.split('/').count() + inline.filter(|end| *end > at).count()
}

/// Files, threads, clocks and chance are asked of `sys`; tests and edges may go there themselves.
pub(crate) fn system(file: &File) -> Vec<Finding> {
    let Some(own) = file.module() else { return Vec::new() };
    if own == "sys" || floor_of(own) == Some(EDGE) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, name) in names_under(&file.live, "std") {
        if SYSTEM_MODULES.contains(&name) {
            found.push((file.line(at), format!("`std::{name}` is for `sys` alone")));
        }
    }
    for (at, word) in words(&file.live) {
        let clock = word == "Instant" && file.live[at..].starts_with("Instant::now");
        if clock || SYSTEM_WORDS.contains(&word) {
            found.push((file.line(at), format!("`{word}` is for `sys` alone")));
        }
    }
    found
}

/// Tests and benches may need it to ask the system themselves; applications do not link them.
pub(crate) fn unsafe_code(file: &File) -> Vec<Finding> {
    let linked = !file.path.starts_with("tests/") && !file.path.starts_with("benches/");
    if !linked || matches!(file.module(), Some("sys" | "ffi")) {
        return Vec::new();
    }
    let all = words(&file.code).into_iter().filter(|(_, word)| *word == "unsafe");
    all.map(|(at, _)| (file.line(at), "`unsafe` is for `sys` and `ffi` alone".into())).collect()
}

/// Every module opens with its job and its floor.
pub(crate) fn module_doc(file: &File) -> Vec<Finding> {
    let Some(own) = file.module().filter(|_| file.is_rust()) else { return Vec::new() };
    let included = own == "lib" && file.text.starts_with("#![doc = include_str!(");
    if !file.text.starts_with("//! ") && !included {
        return vec![(1, "does not open with a `//!` doc".into())];
    }
    let (Some(floor), doc) = (floor_of(own), file.doc()) else { return Vec::new() };
    let said = doc.split("Floor ").nth(1).map(|rest| words(rest).first().map_or("", |word| word.1));
    match said {
        Some(said) if said == floor.to_string() => Vec::new(),
        Some(said) => vec![(1, format!("says Floor {said}; it is on Floor {floor}"))],
        None => vec![(1, format!("does not say Floor {floor}"))],
    }
}

/// lib.rs has docs, modules and an explicit list of exports, and nothing that runs; the long
/// documents are modules that hold nothing but their doc.
pub(crate) fn root(file: &File) -> Vec<Finding> {
    if !matches!(file.path.as_str(), "src/lib.rs" | "src/docs/mod.rs") {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, statement) in statements(&file.code) {
        let allowed = match statement.split_once(' ') {
            Some(("mod", name)) => words(name).len() == 1,
            Some(("pub", rest)) if rest.starts_with("mod ") => {
                words(rest).iter().skip(2).all(|(_, word)| matches!(*word, "doc" | "include_str"))
            }
            Some(("pub", rest)) => rest.starts_with("use ") && !rest.contains('*'),
            _ => {
                let inner = statement.trim_start_matches(['#', '!', '[', ' ']);
                statement.starts_with('#')
                    && matches!(words(inner)[0].1, "cfg" | "cfg_attr" | "doc")
            }
        };
        if !allowed {
            let start = statement.split_whitespace().take(4).collect::<Vec<_>>().join(" ");
            found.push((file.line(at), format!("`{start}` is no doc, module, export or cfg")));
        }
    }
    found
}

/// The names that lib.rs exports at the root.
pub(crate) fn exports(lib: &File) -> Vec<String> {
    let mut names = Vec::new();
    for (_, statement) in statements(&lib.code) {
        let Some(tree) = statement.strip_prefix("pub use ") else { continue };
        for part in tree.split([',', '{', '}']).map(str::trim) {
            let name = part.rsplit([' ', ':']).next().unwrap_or_default();
            if !name.is_empty() {
                names.push(name.to_string());
            }
        }
    }
    names
}

/// The attributes of some code, and what ends with a semicolon or with braces.
fn statements(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(skip) = code[at..].find(|letter: char| !letter.is_whitespace()) {
        at += skip;
        let attribute = code[at..].starts_with('#').then(|| code[at..].find(']')).flatten();
        let end = match attribute {
            Some(length) => at + length + 1,
            None if code[at..].starts_with("pub use") => {
                code[at..].find(';').map_or(code.len(), |length| at + length + 1)
            }
            None => item_end(code, at),
        };
        found.push((at, code[at..end].trim_end_matches(';')));
        at = end;
    }
    found
}
