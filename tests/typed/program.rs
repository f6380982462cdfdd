//! The example `typed`, run as a program.

use std::process::Command;

use crate::util::scratch;

#[test]
fn the_example_says_what_each_record_is() {
    let dir = scratch();
    let example = crate::util::example("typed");
    for run in [0, 4] {
        let output = Command::new(&example).arg(dir.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<_> = said.lines().skip(run).collect();
        assert_eq!(lines.len(), 4, "{said}");
        assert_eq!(lines[0], format!("offset {run}, boiler: 359.65 K"));
        assert_eq!(lines[1], format!("offset {}, roof: 291.75 K", run + 1));
        let passed = format!("offset {}: the value is no typed::Stored: ", run + 2);
        assert!(lines[2].starts_with(&passed), "{said}");
        assert_eq!(lines[3], format!("offset {}, boiler: gone", run + 3));
    }
}
