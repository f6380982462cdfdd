//! The rules on one file's text: letters, lengths, leftovers, names and reasons.

use super::code::{File, Finding, closing, item_end, step, words};

const COLUMNS_MAX: usize = 100;
const FILE_LINES_MAX: usize = 600;
const FUNCTION_LINES_MAX: usize = 70;

/// What the vocabulary says not to say, where the word has no other meaning of its own.
const NOT_SAID: [(&str, &str); 19] = [
    ("acked", "committed offset"),
    ("backlog", "lag"),
    ("chunk", "segment"),
    ("cursor", "committed offset"),
    ("database", "store"),
    ("entry", "record"),
    ("event", "record"),
    ("forwarder", "replicator"),
    ("gc", "retention"),
    ("group", "consumer"),
    ("head", "log start offset"),
    ("message", "record"),
    ("page", "segment"),
    ("purge", "retention"),
    ("rotate", "roll"),
    ("sink", "upstream"),
    ("subscriber", "consumer"),
    ("tail", "log start offset, log end offset"),
    ("watermark", "log end offset"),
];

/// Public names that may say it, each with its reason.
const SAID: [(&str, &str); 0] = [];

/// Bytes 0x20 to 0x7e and line ends, so that every terminal and every diff shows the same.
pub(crate) fn ascii(file: &File) -> Vec<Finding> {
    let strange = |letter: &char| !matches!(letter, ' '..='~' | '\n');
    let lines = file.text.split('\n').enumerate();
    let found = lines.filter_map(|(n, line)| Some((n + 1, line.chars().find(strange)?)));
    found.map(|(n, letter)| (n, format!("{letter:?} is not printable ASCII"))).collect()
}

pub(crate) fn lengths(file: &File) -> Vec<Finding> {
    if !file.is_rust() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (n, line) in file.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX {
            found.push((n + 1, format!("{columns} columns, at most {COLUMNS_MAX}")));
        }
    }
    let lines = file.text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push((lines, format!("{lines} lines, at most {FILE_LINES_MAX}")));
    }
    for (name, from, to) in functions(&file.code) {
        let (first, last) = (file.line(from), file.line(to - 1));
        let lines = last - first + 1;
        if lines > FUNCTION_LINES_MAX {
            found.push((first, format!("`{name}`: {lines} lines, at most {FUNCTION_LINES_MAX}")));
        }
    }
    found
}

/// Name, `fn` and end of each function with a name.
fn functions(code: &str) -> Vec<(&str, usize, usize)> {
    let all = words(code);
    let named = all.windows(2).filter_map(|pair| match pair {
        [(at, "fn"), (name_at, name)] if code[at + 2..*name_at].trim().is_empty() => {
            Some((*name, *at, item_end(code, *at)))
        }
        _ => None,
    });
    named.collect()
}

/// What was meant to go before a commit, and what only the author's machine or tracker knows.
pub(crate) fn leftovers(file: &File) -> Vec<Finding> {
    // In two parts each, so that this list is none of what it finds.
    let marks = [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")];
    let tracked = [("issue", " #"), ("ticket", " #"), ("pull request", " #")];
    let places = [("/wo", "rk"), ("/ho", "me"), ("/ro", "ot"), ("/Us", "ers")];
    let mut found = Vec::new();
    for (n, line) in file.text.lines().enumerate() {
        let lower = line.to_lowercase();
        let words: Vec<_> = words(line).into_iter().map(|(_, word)| word).collect();
        let joined = |(start, end): &(&str, &str)| format!("{start}{end}");
        let mut hits: Vec<_> = marks.iter().map(joined).collect();
        hits.retain(|mark| words.contains(&mark.as_str()));
        hits.extend(tracked.iter().map(joined).filter(|text| lower.contains(text)));
        hits.extend(places.iter().map(joined).filter(|place| names_place(line, place)));
        found.extend(hits.into_iter().map(|hit| (n + 1, format!("left over: {hit}"))));
        if file.is_rust() && is_dead_code(line) {
            found.push((n + 1, "left over: code in a comment".into()));
        }
    }
    for macro_or_attribute in ["dbg!", "todo!", "unimplemented!", "#[ignore"] {
        let all = file.code.match_indices(macro_or_attribute);
        found.extend(all.map(|(at, hit)| (file.line(at), format!("left over: {hit}"))));
    }
    found
}

/// Whether an absolute path begins with this folder.
fn names_place(line: &str, place: &str) -> bool {
    let of_path = |letter: char| letter.is_ascii_alphanumeric() || "_-.})/".contains(letter);
    line.match_indices(place).any(|(at, _)| {
        let (before, behind) = (&line[..at], &line[at + place.len()..]);
        !before.ends_with(of_path) && (behind.is_empty() || behind.starts_with(['/', '"', ' ']))
    })
}

/// Whether a comment that is not a doc is a statement.
fn is_dead_code(line: &str) -> bool {
    let Some(text) = line.trim_start().strip_prefix("// ").map(str::trim) else { return false };
    let begins = ["let ", "use ", "pub ", "fn ", "if ", "for ", "return ", "self.", "assert", "#["];
    let ends = [";", " {", ")]"];
    begins.iter().any(|start| text.starts_with(start)) && ends.iter().any(|end| text.ends_with(end))
}

/// Public names use the vocabulary's words.
pub(crate) fn glossary(file: &File) -> Vec<Finding> {
    if file.module().is_none() {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (at, name) in public_names(&file.live) {
        if SAID.iter().any(|(said, _)| *said == name) {
            continue;
        }
        for part in parts(name) {
            let singular = part.strip_suffix("ies").map(|stem| format!("{stem}y"));
            let singular = singular.unwrap_or_else(|| part.trim_end_matches('s').into());
            let wrong = NOT_SAID.iter().find(|(not, _)| *not == part || *not == singular);
            if let Some((not, say)) = wrong {
                found.push((file.line(at), format!("`{name}` says {not}; the word is: {say}")));
            }
        }
    }
    found
}

/// The words of a name in snake case or camel case, in lower case.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut before_lower = false;
    for letter in name.chars() {
        if letter == '_' || (before_lower && letter.is_ascii_uppercase()) {
            parts.push(String::new());
        }
        before_lower = letter.is_ascii_lowercase();
        if let Some(last) = parts.last_mut().filter(|_| letter != '_') {
            last.push(letter.to_ascii_lowercase());
        }
    }
    parts
}

/// Names behind a plain `pub`: items, fields, the variants of an enum, the functions of a trait.
fn public_names(code: &str) -> Vec<(usize, &str)> {
    let all = words(code);
    let mut found = Vec::new();
    for (n, (at, _)) in all.iter().enumerate().filter(|(_, (_, word))| *word == "pub") {
        if code[at + 3..].trim_start().starts_with('(') {
            continue;
        }
        let mut rest = all
            .iter()
            .skip(n + 1)
            .copied()
            .skip_while(|(_, word)| matches!(*word, "async" | "unsafe" | "extern"));
        let Some((first_at, first)) = rest.next() else { continue };
        let second = rest.next();
        match (first, second) {
            ("use" | "crate", _) => {}
            ("const", Some((_, "fn"))) => found.extend(rest.next()),
            ("enum", Some((name_at, name))) => {
                found.push((name_at, name));
                found.extend(variants(code, name_at));
            }
            ("trait", Some((name_at, name))) => {
                let end = item_end(code, name_at);
                found.push((name_at, name));
                let inside = functions(&code[name_at..end]);
                found.extend(inside.iter().map(|(name, at, _)| (name_at + at, *name)));
            }
            ("fn" | "struct" | "const" | "static" | "type" | "mod" | "union", Some(name)) => {
                found.push(name);
            }
            _ => found.push((first_at, first)),
        }
    }
    found
}

/// The variants of the enum whose name stands at `from`.
fn variants(code: &str, from: usize) -> Vec<(usize, &str)> {
    let Some(open) = code[from..].find('{').map(|length| from + length) else { return Vec::new() };
    let body = &code[open..closing(code, open)];
    let mut found = Vec::new();
    for (at, word) in words(body) {
        let before = &body[..at];
        let depth = before.bytes().map(step).sum::<i32>();
        if depth == 1 && before.trim_end().ends_with(['{', ',', ']']) {
            found.push((open + at, word));
        }
    }
    found
}

/// What is linked into every application is there for a reason, written above it.
pub(crate) fn dependencies(file: &File) -> Vec<Finding> {
    if file.path != "Cargo.toml" {
        return Vec::new();
    }
    let mut found = Vec::new();
    let (mut inside, mut before) = (false, "");
    for (n, line) in file.text.lines().enumerate() {
        let header = line.starts_with('[');
        if header {
            let name = line.trim_matches(['[', ']']);
            let one = name.starts_with("dependencies.") || name.contains(".dependencies.");
            inside = name == "dependencies" || name.ends_with(".dependencies");
            if one && !before.starts_with('#') {
                found.push((n + 1, format!("`{name}` has no reason above it")));
            }
        }
        let names = line.starts_with(|letter: char| letter.is_ascii_alphabetic());
        if inside && !header && names && !before.starts_with('#') {
            let name = line.split([' ', '=']).next().unwrap_or_default();
            found.push((n + 1, format!("`{name}` has no reason above it")));
        }
        before = line;
    }
    found
}
