//! Each test that docs/controls.md names is there: an auditor who looks for it finds it.

use std::fs;

use crate::root;

#[test]
fn each_control_names_tests_that_are_there() {
    let text = fs::read_to_string(root().join("docs/controls.md")).unwrap();
    let tests = root().join("crates/beds/tests/it");
    let named: Vec<(&str, &str)> =
        text.split('`').skip(1).step_by(2).filter_map(|word| word.split_once("::")).collect();
    assert!(named.len() > 15, "{named:?}");
    for (file, test) in named {
        let source = fs::read_to_string(tests.join(format!("{file}.rs"))).unwrap_or_default();
        let is_there = source.contains(&format!("async fn {test}("));
        assert!(is_there, "docs/controls.md names {file}::{test}");
    }
}
