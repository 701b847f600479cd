//! A checker for TOML files that people write: it reports every mistake at once, each with its line and a fix.
//!
//! Not here: the keys and the meaning of values (`config`, `template`).

use std::collections::BTreeMap;

use toml::de::{DeString, DeTable, DeValue};
use toml::{Spanned, Table};

use crate::Mistake;

/// One key that may stand in a file, as a dotted path. `*` stands for any name.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    pub path: &'static str,
    pub kind: Kind,
}

/// The kind of value that a key may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text,
    Integer,
    Boolean,
    /// A list of texts.
    Texts,
    /// A table of texts and whole numbers under names of any form.
    Table,
}

impl Kind {
    fn words(self) -> &'static str {
        match self {
            Kind::Text => "a text in quotes",
            Kind::Integer => "a whole number",
            Kind::Boolean => "true or false",
            Kind::Texts => "a list of texts",
            Kind::Table => "a table of texts and whole numbers",
        }
    }

    fn fits(self, value: &DeValue<'_>) -> bool {
        match self {
            Kind::Text => value.is_str(),
            Kind::Integer => value.is_integer(),
            Kind::Boolean => value.is_bool(),
            Kind::Table => value.as_table().is_some_and(|table| {
                table.values().all(|value| value.get_ref().is_str() || value.get_ref().is_integer())
            }),
            Kind::Texts => {
                value.as_array().is_some_and(|items| items.iter().all(|i| i.get_ref().is_str()))
            }
        }
    }
}

/// A file that was read, with the line of each of its keys.
#[derive(Debug, Clone, Default)]
pub struct Checked {
    pub table: Table,
    pub lines: BTreeMap<String, usize>,
}

impl Checked {
    /// The line of a key, or of the nearest table that holds it; 1 where nothing of it is in the file.
    pub fn line(&self, path: &str) -> usize {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return *line;
            }
            match path.rsplit_once('.') {
                Some((parent, _)) => path = parent,
                None => return 1,
            }
        }
    }
}

/// Reads a file and compares it with the keys that it may hold. Mistakes are added to `mistakes`; the rest of the file is
/// returned, so that later checks can go on and report theirs too.
pub fn check(file: &str, text: &str, keys: &[Key], mistakes: &mut Vec<Mistake>) -> Checked {
    let (root, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        mistakes.push(Mistake::new(
            file,
            line,
            format!("not TOML: {}", error.message()),
            "correct the syntax",
        ));
    }
    let mut walk = Walk { file, text, keys, mistakes, lines: BTreeMap::new() };
    let table = walk.table(root.get_ref(), "");
    Checked { table, lines: walk.lines }
}

/// The allowed key whose spelling is nearest, for a fix.
fn nearest<'k>(name: &str, choices: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    choices
        .map(|choice| (distance(name, choice), choice))
        .filter(|(d, _)| *d <= 3)
        .min()
        .map(|(_, choice)| choice)
}

/// The Levenshtein distance, row by row.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let cost = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|b| **b == b'\n').count() + 1
}

struct Walk<'a> {
    file: &'a str,
    text: &'a str,
    keys: &'a [Key],
    mistakes: &'a mut Vec<Mistake>,
    lines: BTreeMap<String, usize>,
}

impl Walk<'_> {
    fn table(&mut self, table: &DeTable<'_>, prefix: &str) -> Table {
        let mut kept = Table::new();
        for (name, value) in table {
            let path = if prefix.is_empty() {
                name.get_ref().to_string()
            } else {
                format!("{prefix}.{}", name.get_ref())
            };
            let line = line_at(self.text, name.span().start);
            // A path is split at its dots: a name that has one would be taken for two.
            if name.get_ref().contains('.') {
                let fix = "write letters, digits, - and _; or, for a table in a table, leave the quotation marks out";
                let message = format!("the name {:?} in `{path}` has a dot", name.get_ref());
                self.mistakes.push(Mistake::new(self.file, line, message, fix));
                continue;
            }
            if let Some(value) = self.entry(&path, prefix, name.get_ref(), line, value) {
                self.lines.insert(path, line);
                kept.insert(name.get_ref().to_string(), value);
            }
        }
        kept
    }

    fn entry(
        &mut self,
        path: &str,
        parent: &str,
        name: &str,
        line: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Option<toml::Value> {
        let leaf = self.keys.iter().find(|key| matches(key.path, path));
        match (leaf, value.get_ref()) {
            (Some(key), value) if key.kind.fits(value) => to_value(value),
            // A key that is a value or a table, such as `fetch = "f"` and `fetch = { object = "f" }`.
            (_, DeValue::Table(inner)) if self.is_section(path) => {
                Some(toml::Value::Table(self.table(inner, path)))
            }
            (Some(key), value) => {
                let message =
                    format!("`{path}` must be {}, not {}", key.kind.words(), value.type_str());
                self.mistakes.push(Mistake::new(
                    self.file,
                    line,
                    message,
                    format!("write {}", example(name, key.kind)),
                ));
                None
            }
            (None, _) if self.is_section(path) => {
                let message = format!("`{path}` must be a table");
                self.mistakes.push(Mistake::new(
                    self.file,
                    line,
                    message,
                    format!("write [{path}]"),
                ));
                None
            }
            (None, _) => {
                let known = self.children(parent);
                let fix = match nearest(name, known.iter().map(String::as_str)) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("remove it; known here: {}", known.join(", ")),
                };
                self.mistakes.push(Mistake::new(
                    self.file,
                    line,
                    format!("unknown key `{path}`"),
                    fix,
                ));
                None
            }
        }
    }

    fn is_section(&self, path: &str) -> bool {
        self.keys
            .iter()
            .any(|key| key.path.match_indices('.').any(|(at, _)| matches(&key.path[..at], path)))
    }

    fn children(&self, parent: &str) -> Vec<String> {
        let depth = if parent.is_empty() { 0 } else { parent.split('.').count() };
        let mut names: Vec<String> = Vec::new();
        for key in self.keys {
            let parts: Vec<&str> = key.path.split('.').collect();
            if parts.len() > depth && (depth == 0 || matches(&parts[..depth].join("."), parent)) {
                let name = if parts[depth] == "*" { "<any name>" } else { parts[depth] };
                if !names.iter().any(|n| n == name) {
                    names.push(name.to_owned());
                }
            }
        }
        names
    }
}

fn matches(pattern: &str, path: &str) -> bool {
    let mut pattern = pattern.split('.');
    let mut path = path.split('.');
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some(p), Some(name)) if p == "*" || p == name => {}
            _ => return false,
        }
    }
}

fn example(name: &str, kind: Kind) -> String {
    match kind {
        Kind::Text => format!("{name} = \"…\""),
        Kind::Integer => format!("{name} = 1"),
        Kind::Boolean => format!("{name} = true"),
        Kind::Texts => format!("{name} = [\"…\"]"),
        Kind::Table => format!("[{name}]"),
    }
}

fn to_value(value: &DeValue<'_>) -> Option<toml::Value> {
    Some(match value {
        DeValue::String(text) => toml::Value::String(text.to_string()),
        DeValue::Boolean(flag) => toml::Value::Boolean(*flag),
        DeValue::Integer(number) => {
            toml::Value::Integer(i64::from_str_radix(number.as_str(), number.radix()).ok()?)
        }
        DeValue::Array(items) => {
            toml::Value::Array(items.iter().filter_map(|i| to_value(i.get_ref())).collect())
        }
        DeValue::Table(members) => {
            let member = |(name, value): (&Spanned<DeString<'_>>, &Spanned<DeValue<'_>>)| {
                Some((name.get_ref().to_string(), to_value(value.get_ref())?))
            };
            toml::Value::Table(members.iter().filter_map(member).collect())
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEYS: &[Key] = &[
        Key { path: "node.name", kind: Kind::Text },
        Key { path: "node.size", kind: Kind::Integer },
        Key { path: "databases.*.url", kind: Kind::Text },
        Key { path: "roles", kind: Kind::Texts },
    ];

    fn mistakes(text: &str) -> Vec<String> {
        let mut mistakes = Vec::new();
        check("f.toml", text, KEYS, &mut mistakes);
        mistakes.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_mistake_is_reported_at_once_with_its_line() {
        let found = mistakes(
            "roles = [1]\n[node]\nnaem = \"x\"\nsize = \"y\"\n[databases.a]\nurl = 3\n[other]\nz = 1\n",
        );
        assert_eq!(found.len(), 5, "{found:#?}");
        assert!(found[0].starts_with("f.toml:1: `roles` must be a list of texts"));
        assert!(found[1].contains("f.toml:3: unknown key `node.naem`. Fix: did you mean `name`?"));
        assert!(found[2].contains("f.toml:4: `node.size` must be a whole number"));
        assert!(found[3].contains("f.toml:6"));
        assert!(
            found[4].contains("unknown key `other`")
                && found[4].contains("known here: node, databases, roles")
        );
    }

    #[test]
    fn a_name_with_a_dot_is_told_as_such() {
        let found = mistakes("[databases.\"a.b\"]\nurl = \"x\"\n");
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].starts_with("f.toml:1: the name \"a.b\" in `databases.a.b` has a dot"));
    }

    #[test]
    fn a_good_file_has_no_problems_and_keeps_its_lines() {
        let mut mistakes = Vec::new();
        let checked = check("f", "[node]\nname = \"a\"\nsize = 0x10\n", KEYS, &mut mistakes);
        assert!(mistakes.is_empty());
        assert_eq!(checked.table["node"]["size"].as_integer(), Some(16));
        assert_eq!(checked.line("node.size"), 3);
        assert_eq!(checked.line("node.missing"), 1);
    }

    #[test]
    fn broken_syntax_is_one_problem_with_a_line() {
        let found = mistakes("[node]\nname = \n");
        assert!(found.iter().any(|p| p.starts_with("f.toml:2: not TOML")), "{found:?}");
    }
}
