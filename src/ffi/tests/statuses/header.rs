//! What the header says that each function answers.
//!
//! Floor 6.

use std::collections::{BTreeMap, BTreeSet};

use super::super::*;

const HEADER: &str = include_str!("../../../../include/forebay.h");

/// A function, as it is declared.
struct Function {
    name: String,
    text: String,
    /// Whether it answers with a status, or with an offset or one.
    answers: bool,
    /// The type of its first argument.
    first: String,
}

/// Each function, with FOREBAY_OK and each failure that its text names and this build can have.
pub(super) fn expected() -> BTreeSet<(String, i32)> {
    let functions = functions();
    assert!(functions.len() > 100, "{} functions", functions.len());
    let own: BTreeMap<_, _> = functions.iter().map(|f| (f.name.as_str(), statuses(f))).collect();
    let alone = exclusive_types();
    let mut expected = BTreeSet::new();
    for function in &functions {
        let mut all = own[function.name.as_str()].clone();
        let mut looked = vec![function.name.as_str()];
        let mut at = 0;
        while let Some(name) = looked.get(at).copied() {
            let text = &functions.iter().find(|f| f.name == name).expect("a function").text;
            all.extend(&own[name]);
            looked.extend(likes(text).filter(|name| own.contains_key(name)));
            at += 1;
            assert!(at < 20, "{} is as itself", function.name);
        }
        all.insert(FOREBAY_OK as i32);
        if function.answers && alone.contains(&function.first) {
            all.insert(FOREBAY_WOULD_BLOCK as i32);
        }
        if !function.answers {
            all = BTreeSet::from([FOREBAY_OK as i32]);
        }
        expected.extend(all.into_iter().map(|status| (function.name.clone(), status)));
    }
    expected
}

/// Everything that is declared, with the comment before it as one line.
fn functions() -> Vec<Function> {
    let declared = HEADER.split("/**\n").filter_map(|part| part.split_once(" */\n"));
    declared
        .filter_map(|(text, rest)| {
            let declaration = rest.strip_prefix("FOREBAY_NODISCARD\n").unwrap_or(rest);
            let (declaration, _) = declaration.split_once(");")?;
            let (before, arguments) = declaration.split_once('(')?;
            if before.contains(['{', ';', '#', '}']) || before.contains("typedef") {
                return None;
            }
            let at = before.find("forebay_").filter(|_| !before.trim().is_empty())?;
            let name = before.rsplit([' ', '*']).next()?.to_owned();
            let kind = before[..before.len() - name.len()].trim();
            let text: Vec<_> =
                text.lines().map(|line| line.trim_start_matches([' ', '*'])).collect();
            let first = arguments.split(',').next().unwrap_or("").trim();
            let first = first.rsplit_once('*').map_or("", |(first, _)| first.trim());
            assert!(at < before.len());
            Some(Function {
                text: text.join(" "),
                answers: matches!(kind, "forebay_status" | "int64_t"),
                first: first.to_owned(),
                name,
            })
        })
        .collect()
}

/// Types whose handles one thread uses at a time, and say so.
fn exclusive_types() -> BTreeSet<String> {
    let declared = HEADER.split("/**\n").filter_map(|part| part.split_once(" */\ntypedef struct "));
    let alone = declared.filter(|(text, _)| {
        text.replace("\n * ", " ").contains("a call meanwhile gets FOREBAY_WOULD_BLOCK")
    });
    let names = alone.filter_map(|(_, rest)| rest.split(' ').next());
    let names: BTreeSet<_> = names.map(str::to_owned).collect();
    assert_eq!(names.len(), 5, "{names:?}");
    names
}

/// The failures that a text names; not those that it says of others.
fn statuses(function: &Function) -> BTreeSet<i32> {
    let mut text = function.text.clone();
    for built_in in ["replicator", "kafka", "toml"] {
        let without = format!("FOREBAY_UNSUPPORTED without \"{built_in}\"");
        let text_of_toml =
            format!("FOREBAY_UNSUPPORTED if the library was built without \"{built_in}\"");
        let is_there =
            unsafe { forebay_has_feature(std::ffi::CString::new(built_in).unwrap().as_ptr()) };
        assert!(is_there, "this is for a build with everything; {built_in} is not in it");
        text = text.replace(&without, "").replace(&text_of_toml, "");
    }
    if cfg!(all(feature = "gzip", feature = "snappy", feature = "lz4", feature = "zstd")) {
        text =
            text.replace("FOREBAY_UNSUPPORTED if the batch is compressed by what is not built", "");
        text = text.replace("FOREBAY_UNSUPPORTED for a codec that is not built in", "");
    }
    let text = text.replace("get FOREBAY_", "get ").replace("of FOREBAY_", "of ");
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let known = (-18..0).map(|status| {
        (unsafe { std::ffi::CStr::from_ptr(forebay_status_name(status)) }.to_str().unwrap(), status)
    });
    let known: BTreeMap<_, _> = known.collect();
    words.filter_map(|word| known.get(word).copied()).collect()
}

/// The functions that one says to be like: "As forebay_x", and not what it blocks or costs as.
fn likes(text: &str) -> impl Iterator<Item = &str> {
    let starts = ["As forebay_", "; as forebay_", "and as forebay_", "as by forebay_"];
    let found = starts.into_iter().flat_map(move |start| text.match_indices(start));
    found.filter_map(move |(at, start)| {
        let name = &text[at + start.len() - "forebay_".len()..];
        name.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_').next()
    })
}
