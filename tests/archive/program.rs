//! The example `archive`, run as a program: what it says, twice.

use std::path::Path;
use std::process::Command;

use crate::util::{Place, numbered::bases, scratch};

fn run(dir: &Path) -> Vec<String> {
    let output = Command::new(crate::util::example("archive")).arg(dir).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The ranges it moved, one behind the other.
fn moved(said: &[String], mut from: i64) -> i64 {
    let lines = said.iter().filter(|line| line.starts_with("moved "));
    for line in lines {
        let words: Vec<_> = line.split(' ').collect();
        let range = [words[1], words[3]].map(|number| number.parse::<i64>().unwrap());
        assert_eq!((range[0], words[6]), (from, format!("{from:020}.log").as_str()), "{line}");
        assert!(range[1] > from);
        from = range[1];
    }
    from
}

#[test]
fn the_example_moves_segments_and_reads_everything_back() {
    let dir = scratch();
    let mut start = 0;
    for count in [1000, 2000, 3000] {
        let said = run(dir.path());
        let new = moved(&said, start);
        assert!(new > start && new > count - 300, "{new}");
        start = new;
        let rest: Vec<_> = said.iter().filter(|line| !line.starts_with("moved ")).collect();
        assert_eq!(rest.len(), 3, "{said:?}");
        assert!(rest[0].starts_with(&format!("the log holds {start} to {count}, ")), "{rest:?}");
        let all = format!("read back {count} readings, 0 to {}, in order", count - 1);
        assert_eq!(*rest[1], all);
        let log = Place::at(&dir.path().join("log"));
        assert_eq!(bases(&log)[0], start);
        assert!(rest[2].contains(&*dir.path().join("archive").to_string_lossy()));
    }
}
