//! A Rust file as the rules look at it: comments, literals and test code told from the rest.
//!
//! Not a parser: tokens and brackets are enough, for rustfmt has been here before. Every view has
//! the length and the lines of the text it was made from.

/// One file of the repository.
#[derive(Debug)]
pub(crate) struct File {
    /// From the root of the repository, with slashes.
    pub(crate) path: String,
    /// As it is.
    pub(crate) text: String,
    /// Comments and the insides of literals blanked; ASCII. Empty if it is not Rust.
    pub(crate) code: String,
    /// Of `code` what a user of the crate runs: items under `#[cfg(test)]` are blanked too.
    pub(crate) live: String,
}

/// What a rule has found: the line, from 1, and what is wrong there.
pub(crate) type Finding = (usize, String);

impl File {
    pub(crate) fn new(path: &str, text: &str) -> File {
        let code = if path.ends_with(".rs") { blank(text) } else { String::new() };
        let of_tests = path.ends_with("/tests.rs") || path.split('/').any(|part| part == "tests");
        let live = if of_tests { String::new() } else { without_tests(&code) };
        File { path: path.into(), text: text.into(), code, live }
    }

    pub(crate) fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// The module of the crate it belongs to: the first folder or file name under `src`.
    pub(crate) fn module(&self) -> Option<&str> {
        self.path.strip_prefix("src/")?.split(['/', '.']).next()
    }

    /// The number of the line that this byte is on.
    pub(crate) fn line(&self, at: usize) -> usize {
        1 + self.text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count()
    }

    /// The doc at the top of the file, without its marks.
    pub(crate) fn doc(&self) -> String {
        let lines = self.text.lines().map_while(|line| line.strip_prefix("//!"));
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// Comments and literals become spaces, lines stay, and what is not ASCII becomes a question mark.
fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = String::with_capacity(bytes.len());
    let mut in_word = false;
    while out.len() < bytes.len() {
        let rest = &bytes[out.len()..];
        let blanked = literal(rest, in_word);
        in_word = blanked == 0 && is_word(rest[0]);
        for byte in &rest[..blanked.max(1)] {
            out.push(match char::from(*byte) {
                '\n' => '\n',
                _ if blanked > 0 => ' ',
                letter if letter.is_ascii() => letter,
                _ => '?',
            });
        }
    }
    out
}

/// The length of the comment or literal that `rest` begins with; 0 if it begins with neither.
fn literal(rest: &[u8], in_word: bool) -> usize {
    let to = |end: &[u8], from: usize| match find(&rest[from..], end) {
        Some(at) => from + at + end.len(),
        None => rest.len(),
    };
    let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
    match rest[0] {
        b'/' if rest.starts_with(b"//") => find(rest, b"\n").unwrap_or(rest.len()),
        b'/' if rest.starts_with(b"/*") => to(b"*/", 2),
        b'r' if !in_word && rest.get(1 + hashes) == Some(&b'"') => {
            let end = [&b"\""[..], &b"#".repeat(hashes)].concat();
            to(&end, 2 + hashes)
        }
        b'"' => quoted(rest, b'"'),
        b'\'' if rest.get(1) == Some(&b'\\') => quoted(rest, b'\''),
        b'\'' => {
            // A letter may take up to four bytes; without a quote behind it, this is a lifetime.
            let letter =
                1 + rest[1..].iter().skip(1).take_while(|byte| **byte & 0xc0 == 0x80).count();
            if rest.get(1 + letter) == Some(&b'\'') { letter + 2 } else { 0 }
        }
        _ => 0,
    }
}

/// The length of what stands in quotes, quotes included; a backslash hides the byte behind it.
fn quoted(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// Blanks each item that only a test build has.
fn without_tests(code: &str) -> String {
    let mut out = code.as_bytes().to_vec();
    for mark in ["#[cfg(test)]", "#[cfg(all(test,"] {
        for (at, _) in code.match_indices(mark) {
            for byte in &mut out[at..item_end(code, at + mark.len())] {
                *byte = if *byte == b'\n' { b'\n' } else { b' ' };
            }
        }
    }
    String::from_utf8(out).expect("spaces in place of ASCII")
}

/// Where the item ends that begins at `from`: behind its braces, or behind its semicolon.
pub(crate) fn item_end(code: &str, from: usize) -> usize {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' if depth <= 0 => return closing(code, at),
            b';' if depth <= 0 => return at + 1,
            _ => {}
        }
    }
    code.len()
}

/// Behind the bracket that closes the one at `open`.
pub(crate) fn closing(code: &str, open: usize) -> usize {
    let mut depth = 0_i32;
    for (at, byte) in code.bytes().enumerate().skip(open) {
        depth += step(byte);
        if depth == 0 {
            return at + 1;
        }
    }
    code.len()
}

/// How far this byte leads into brackets, or out of them.
pub(crate) fn step(byte: u8) -> i32 {
    i32::from(matches!(byte, b'(' | b'[' | b'{')) - i32::from(matches!(byte, b')' | b']' | b'}'))
}

/// The identifiers, keywords and numbers of some code, with their places.
pub(crate) fn words(code: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut at = 0;
    for part in code.split(|letter: char| !letter.is_ascii() || !is_word(letter as u8)) {
        if !part.is_empty() {
            found.push((at, part));
        }
        at += part.len() + 1;
    }
    found
}

/// The names right behind `base::`, those of a group `base::{...}` one by one, with their places.
pub(crate) fn names_under<'a>(code: &'a str, base: &str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for (at, _) in words(code).into_iter().filter(|(_, word)| *word == base) {
        let Some(path) = code[at + base.len()..].strip_prefix("::") else { continue };
        if !path.starts_with('{') {
            found.extend(words(path).first().map(|(_, name)| (at, *name)));
            continue;
        }
        for (inside, name) in words(&path[..closing(path, 0)]) {
            let before = &path[..inside];
            let depth = before.bytes().map(step).sum::<i32>();
            if depth == 1 && before.trim_end().ends_with(['{', ',']) {
                found.push((at + base.len() + 2 + inside, name));
            }
        }
    }
    found
}
