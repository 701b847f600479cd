//! The rules that the compiler alone does not hold: which crate may depend on which, the crate that may name a driver, where
//! SQL and MongoDB command text may stand, and that a panic unwinds.

#![expect(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod controls;
mod knots;
mod language;
mod map;
mod sizes;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every allowed edge between the crates of BEDS. There are no others.
const EDGES: &[(&str, &[&str])] = &[
    ("core", &[]),
    ("auth", &["beds-core"]),
    ("trail", &["beds-core"]),
    ("transport", &["beds-core", "beds-trail"]),
    ("adapters", &["beds-core"]),
    ("gateway", &["beds-core", "beds-trail", "beds-transport"]),
    ("broker", &["beds-core", "beds-trail", "beds-transport"]),
    (
        "beds",
        &[
            "beds-core",
            "beds-trail",
            "beds-transport",
            "beds-adapters",
            "beds-auth",
            "beds-gateway",
            "beds-broker",
        ],
    ),
];

/// The only crate that may depend on each of these.
const ONLY: &[(&str, &[&str])] = &[
    (
        "adapters",
        &[
            "mysql_async",
            "mysql",
            "mysql_common",
            "sqlx",
            "diesel",
            "diesel-async",
            "mongodb",
            "bson",
            "rusqlite",
            "postgres",
            "tokio-postgres",
        ],
    ),
    ("transport", &["lapin", "amqprs", "amq-protocol", "deadpool-lapin"]),
    ("gateway", &["axum", "axum-server", "hyper", "hyper-util", "tower-http"]),
];

/// The files that DESIGN 6 allows to hold statement or command text.
const STATEMENTS: &[&str] = &[
    "adapters/src/rel/bind.rs",
    // The check of a signature after a read.
    "adapters/src/rel/call.rs",
    "adapters/src/rel/catalog.rs",
    // The procedures of changes.
    "adapters/src/rel/changes.rs",
    // The fixed statements of a session's set-up and of reads.
    "adapters/src/rel/connect",
    // Read procedures for words that they must not use.
    "adapters/src/rel/bind/fit.rs",
    "adapters/src/rel/lint",
    "adapters/src/rel/once.rs",
    "adapters/src/rel/schema.rs",
    "adapters/src/rec/",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Names of all dependencies of a manifest, of every kind.
fn dependencies(manifest: &Path) -> BTreeSet<String> {
    let table: toml::Table = fs::read_to_string(manifest).unwrap().parse().unwrap();
    let mut names = BTreeSet::new();
    collect(&table, &mut names);
    names
}

fn collect(table: &toml::Table, names: &mut BTreeSet<String>) {
    for (key, value) in table {
        let Some(inner) = value.as_table() else { continue };
        if key.ends_with("dependencies") {
            for (name, value) in inner {
                let renamed = value.get("package").and_then(toml::Value::as_str);
                names.insert(renamed.unwrap_or(name).to_owned());
            }
        } else {
            collect(inner, names);
        }
    }
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

fn crate_sources() -> Vec<(String, String)> {
    let crates = root().join("crates");
    let mut found = Vec::new();
    for (name, _) in EDGES {
        sources(&crates.join(name).join("src"), &mut found);
    }
    let name = |path: &Path| path.strip_prefix(&crates).unwrap().display().to_string();
    found.iter().map(|path| (name(path), fs::read_to_string(path).unwrap())).collect()
}

/// The lines before the file's own tests.
fn without_tests(text: &str) -> &str {
    text.split("#[cfg(test)]").next().unwrap_or(text)
}

#[test]
fn the_crates_depend_on_each_other_only_as_the_design_says() {
    let folders: BTreeSet<String> = fs::read_dir(root().join("crates"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let listed: BTreeSet<String> = EDGES.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(folders, listed, "every crate has its row in EDGES");
    for (name, allowed) in EDGES {
        let found = dependencies(&root().join("crates").join(name).join("Cargo.toml"));
        let edges: Vec<&String> = found.iter().filter(|dep| dep.starts_with("beds")).collect();
        for edge in edges {
            assert!(allowed.contains(&edge.as_str()), "{name} must not depend on {edge}");
        }
    }
}

#[test]
fn only_one_crate_names_a_driver_a_broker_or_a_web_server() {
    for (name, _) in EDGES {
        let found = dependencies(&root().join("crates").join(name).join("Cargo.toml"));
        for (owner, names) in ONLY.iter().filter(|(owner, _)| owner != name) {
            for forbidden in *names {
                assert!(
                    !found.contains(*forbidden),
                    "{name} depends on {forbidden}; only {owner} may"
                );
            }
        }
    }
}

#[test]
fn the_vocabulary_and_the_trail_do_no_input_or_output() {
    for pure in ["core", "auth", "trail"] {
        let found = dependencies(&root().join("crates").join(pure).join("Cargo.toml"));
        for forbidden in
            ["tokio", "tokio-util", "futures-util", "reqwest", "socket2", "mio", "notify"]
        {
            assert!(!found.contains(forbidden), "{pure} depends on {forbidden}");
        }
    }
}

#[test]
fn no_driver_is_shared_by_the_workspace() {
    let table: toml::Table =
        fs::read_to_string(root().join("Cargo.toml")).unwrap().parse().unwrap();
    let shared = table["workspace"]["dependencies"].as_table().unwrap();
    for (_, names) in ONLY.iter().take(2) {
        for name in *names {
            assert!(
                !shared.contains_key(*name),
                "{name} must not stand in [workspace.dependencies]"
            );
        }
    }
}

#[test]
fn statement_text_stands_only_where_the_design_allows_it() {
    let shapes = [
        "SELECT ",
        "INSERT INTO",
        "UPDATE ",
        "DELETE FROM",
        "REPLACE INTO",
        "CALL `",
        "START TRANSACTION",
        "SET @",
        "SET SESSION",
    ];
    let commands = [
        "\"$match\"",
        "\"findAndModify\"",
        "\"aggregate\"",
        "doc! {\"find\"",
        "doc! {\"insert\"",
        "doc! {\"update\"",
    ];
    for (file, text) in crate_sources() {
        let allowed = STATEMENTS.iter().any(|place| file.starts_with(place));
        for line in without_tests(&text).lines().filter(|line| !line.trim_start().starts_with("//"))
        {
            let found = shapes.iter().chain(&commands).find(|shape| line.contains(*shape));
            assert!(
                allowed || found.is_none(),
                "{file} holds {:?}: {}",
                found.unwrap(),
                line.trim()
            );
            for verb in ["INSERT INTO", "UPDATE ", "DELETE FROM"] {
                assert!(
                    !file.contains("/rel/") || file.contains("/rel/lint") || !line.contains(verb),
                    "{file}: {}",
                    line.trim()
                );
            }
        }
    }
}

#[test]
fn a_panic_unwinds_in_every_profile() {
    for manifest in ["Cargo.toml", ".cargo/config.toml"] {
        let text = fs::read_to_string(root().join(manifest)).unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        assert!(
            !code.into_iter().any(|line| line.replace(' ', "").starts_with("panic=")),
            "{manifest} sets a panic strategy"
        );
    }
    const { assert!(cfg!(panic = "unwind")) };
}

#[test]
fn every_file_opens_with_what_lives_in_it_and_stays_small() {
    for (file, text) in crate_sources() {
        assert!(text.starts_with("//!"), "{file} does not open with //!");
        let mut header = text.lines().take_while(|line| line.starts_with("//!"));
        // Some say it behind the first sentence.
        assert!(
            header.any(|line| line.contains("Not here: ")),
            "{file}: the header lacks `Not here: ...`"
        );
        let lines = without_tests(&text).lines().count();
        assert!(lines <= 400, "{file} has {lines} lines");
        assert!(!file.ends_with("/mod.rs"), "{file}: use foo.rs and foo/");
    }
}

#[test]
fn siblings_have_the_same_rooms() {
    let crates = root().join("crates/adapters/src");
    let rooms = |store: &str| -> BTreeSet<String> {
        let names = fs::read_dir(crates.join(store))
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap());
        // The files that a room keeps in a folder of its own is its own matter.
        names.filter(|name| name.ends_with(".rs")).collect()
    };
    let (rec, rel) = (rooms("rec"), rooms("rel"));
    // MongoDB has no placeholders of its own, so REC alone has a room that fills values in.
    let only_rec: Vec<&String> = rec.difference(&rel).collect();
    assert_eq!(only_rec, ["command.rs"]);
    assert!(rel.is_subset(&rec), "{rel:?} {rec:?}");
}
