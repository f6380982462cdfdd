//! `include/forebay.h` is what cbindgen makes of `src/ffi`.

use std::path::Path;
use std::{env, fs};

/// In the order in which a reader of the header meets them.
const FILES: [&str; 20] = [
    "status",
    "fail",
    "version",
    "bytes",
    "callback",
    "options",
    "report",
    "record",
    "log",
    "linger",
    "reader",
    "batch",
    "consumer",
    "follower",
    "store",
    "lists",
    "shipping",
    "upstream",
    "replicator",
    "turns",
];

/// What cbindgen has no word for: a status that may not be left aside, where void may; and the
/// functions of the trailer inside of the guard.
fn finished(header: &str) -> String {
    const END: &str = "#endif  /* FOREBAY_H */\n";
    let statuses = "\nFOREBAY_NODISCARD\nforebay_status forebay_";
    let header = header.replace("\nforebay_status forebay_", statuses);
    assert_eq!(header.matches(END).count(), 1);
    header.replace(END, "") + "\n" + END
}

fn made_anew(root: &Path) -> String {
    let config = cbindgen::Config::from_file(root.join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    for file in FILES {
        builder = builder.with_src(root.join(format!("src/ffi/{file}.rs")));
    }
    let mut header = Vec::new();
    builder.generate().unwrap().write(&mut header);
    finished(&String::from_utf8(header).unwrap())
}

/// `FOREBAY_WRITE_HEADER=1` writes it.
#[test]
fn the_header_is_what_the_functions_say() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (path, new) = (root.join("include/forebay.h"), made_anew(root));
    if env::var_os("FOREBAY_WRITE_HEADER").is_some() {
        fs::write(&path, &new).unwrap();
    }
    let old = fs::read_to_string(&path).unwrap_or_default();
    let line = old.lines().zip(new.lines()).position(|(old, new)| old != new);
    assert!(
        old == new,
        "include/forebay.h is not what src/ffi says, from line {}: FOREBAY_WRITE_HEADER=1 cargo \
         test --features ffi --test c writes it",
        line.map_or(old.lines().count().min(new.lines().count()), |line| line) + 1
    );
    assert!(new.is_ascii(), "the header is ASCII");
}

/// A module that is not in the list would be missing from the header.
#[test]
fn every_module_with_functions_is_in_the_header() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/ffi");
    for file in fs::read_dir(dir).unwrap() {
        let path = file.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        if text.contains("no_mangle") {
            assert!(FILES.contains(&&*name), "src/ffi/{name}.rs is not in FILES");
        }
    }
}

/// In C a function and a type cannot have the same name, which no Rust compiler says.
#[test]
fn no_function_has_the_name_of_a_type() {
    let header = made_anew(Path::new(env!("CARGO_MANIFEST_DIR")));
    let types: Vec<&str> = header
        .lines()
        .filter_map(|line| line.strip_suffix(';')?.rsplit([' ', '}']).next())
        .filter(|name| name.starts_with("forebay_"))
        .collect();
    assert!(types.contains(&"forebay_log") && types.contains(&"forebay_options"), "{types:?}");
    for name in types {
        assert!(!header.contains(&format!(" {name}(")), "{name} is a type and a function");
    }
}
