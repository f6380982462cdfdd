//! The copy of the crate that has the mutations in it, built until the compiler takes it.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::list::Mutant;
use crate::weave::weave;

pub struct Tree<'a> {
    root: &'a Path,
    pub copy: PathBuf,
    mutants: &'a [Mutant],
    /// What the compiler did not take.
    refused: HashSet<usize>,
}

impl<'a> Tree<'a> {
    pub fn new(root: &'a Path, copy: PathBuf, mutants: &'a [Mutant]) -> Self {
        let files = Command::new("git").current_dir(root).args(["ls-files", "-z"]).output();
        let files = files.expect("the crate is in git").stdout;
        for file in String::from_utf8_lossy(&files).split_terminator('\0') {
            let target = copy.join(file);
            fs::create_dir_all(target.parent().expect("a file's directory")).expect("a copy");
            // What is there already is not touched: it would be built again.
            let mut bytes = fs::read(root.join(file)).expect("a listed file is there");
            if file == "src/lib.rs" {
                bytes.extend(b"\n#[allow(missing_docs, unsafe_code)]\nmod mutant;\n");
            }
            if !mutants.iter().any(|mutant| mutant.file == file) {
                write(&target, &bytes);
            }
        }
        write(&copy.join("src/mutant.rs"), include_bytes!("switch.rs"));
        // What an earlier run found out.
        let names = fs::read_to_string(copy.join("refused")).unwrap_or_default();
        let names: HashSet<_> = names.lines().collect();
        let known = mutants.iter().enumerate().filter(|(_, mutant)| names.contains(&*mutant.name));
        let refused = known.map(|(number, _)| number).collect();
        Self { root, copy, mutants, refused }
    }

    /// The numbers of those that are in the built copy.
    pub fn build(&mut self) -> Vec<usize> {
        loop {
            let woven = self.write();
            let refused = self.check();
            if refused.is_empty() {
                let names = self.refused.iter().map(|&number| &*self.mutants[number].name);
                let names = names.collect::<Vec<_>>().join("\n");
                write(&self.copy.join("refused"), names.as_bytes());
                return woven;
            }
            eprintln!("mutants: the compiler does not take {} of {}", refused.len(), woven.len());
            self.refused.extend(refused);
        }
    }

    pub fn refuses(&self, number: usize) -> bool {
        self.refused.contains(&number)
    }

    fn write(&self) -> Vec<usize> {
        let mut files: HashMap<&str, Vec<(usize, &Mutant)>> = HashMap::new();
        for (number, mutant) in self.mutants.iter().enumerate() {
            let of_file = files.entry(&mutant.file).or_default();
            if !self.refused.contains(&number) {
                of_file.push((number, mutant));
            }
        }
        let mut all = Vec::new();
        for (file, mutants) in files {
            let source = fs::read_to_string(self.root.join(file)).expect("a listed file is there");
            let (text, woven) = weave(&source, &mutants);
            write(&self.copy.join(file), text.as_bytes());
            all.extend(woven);
        }
        all
    }

    /// What the compiler complains of: the switch nearest to each error.
    fn check(&self) -> HashSet<usize> {
        let done = Command::new("cargo")
            .current_dir(&self.copy)
            .env("RUSTFLAGS", "--cap-lints warn")
            .args(["check", "--quiet", "--lib", "--all-features", "--message-format=json"])
            .output()
            .expect("cargo starts");
        let mut refused = HashSet::new();
        let mut unknown = Vec::new();
        for line in String::from_utf8_lossy(&done.stdout).lines() {
            let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else { continue };
            let message = &message["message"];
            if message["level"] != "error" {
                continue;
            }
            let numbers = self.near(&message["spans"]);
            if numbers.is_empty() && message["spans"].as_array().is_some_and(|all| !all.is_empty())
            {
                unknown.push(message["rendered"].to_string());
            }
            refused.extend(numbers);
        }
        if refused.is_empty() && !done.status.success() {
            panic!(
                "the copy does not build: {unknown:?} {}",
                String::from_utf8_lossy(&done.stderr)
            );
        }
        refused
    }

    fn near(&self, spans: &serde_json::Value) -> HashSet<usize> {
        let primary =
            spans.as_array().into_iter().flatten().filter(|span| span["is_primary"] == true);
        let mut numbers = HashSet::new();
        for span in primary {
            let (Some(file), Some(line)) =
                (span["file_name"].as_str(), span["line_start"].as_u64())
            else {
                continue;
            };
            let Ok(text) = fs::read_to_string(self.copy.join(file)) else { continue };
            let lines: Vec<_> = text.lines().collect();
            let line = line as usize - 1;
            // On the line, above it, and at last below it.
            let around = (0..6)
                .flat_map(|by| [line.checked_sub(by)])
                .chain((1..8).map(|by| Some(line + by)));
            let found = around.flatten().find_map(|at| {
                let found = switches(lines.get(at).copied().unwrap_or_default());
                (!found.is_empty()).then_some(found)
            });
            numbers.extend(found.unwrap_or_default());
        }
        numbers
    }
}

/// Leaves a file alone that is so already: cargo looks at its time.
fn write(path: &Path, bytes: &[u8]) {
    if fs::read(path).is_ok_and(|there| there == bytes) {
        return;
    }
    fs::write(path, bytes).expect("the copy is ours");
}

fn switches(line: &str) -> Vec<usize> {
    line.split("crate::mutant::on(")
        .skip(1)
        .filter_map(|rest| rest.split("u32").next()?.parse().ok())
        .collect()
}
