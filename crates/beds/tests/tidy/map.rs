//! The map of ARCHITECTURE.md leads to every source file, and to no other.

use std::collections::BTreeSet;
use std::fs;

use crate::{crate_sources, root};

#[test]
fn the_map_leads_to_every_source_file() {
    let text = fs::read_to_string(root().join("docs/ARCHITECTURE.md")).unwrap();
    let (_, map) = text.split_once("\n## The map").unwrap();
    let map = map.split("\n## ").next().unwrap();
    let words = map.split('`').skip(1).step_by(2).filter(|word| word.ends_with(".rs"));
    let named: BTreeSet<String> = words.map(str::to_owned).collect();
    let there: BTreeSet<String> =
        crate_sources().into_iter().map(|(file, _)| file.replacen("/src/", "/", 1)).collect();
    let missing: Vec<&String> = there.difference(&named).collect();
    let gone: Vec<&String> = named.difference(&there).collect();
    assert!(missing.is_empty(), "not in the map of docs/ARCHITECTURE.md: {missing:?}");
    assert!(gone.is_empty(), "in the map of docs/ARCHITECTURE.md and not there: {gone:?}");
}
