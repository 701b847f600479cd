//! Which commands and operators a named operation may use. JavaScript on the server is never among them, and nothing
//! that writes elsewhere than it says.

use bson::{Bson, Document};

/// The commands that a named operation may be.
pub(super) const READS: &[&str] = &["find", "aggregate"];
pub(super) const WRITES: &[&str] = &["insert", "update", "delete", "findAndModify"];

const FORBIDDEN: &[&str] = &["$where", "$function", "$accumulator", "$out", "$merge", "mapReduce", "mapreduce"];

/// Why a command must not be run, or `None`.
pub(super) fn refusal(command: &Document, is_write: bool) -> Option<String> {
    let name = command.keys().next().map_or("", String::as_str);
    let allowed = if is_write { WRITES } else { READS };
    if !allowed.contains(&name) {
        return Some(format!("its command is {name:?}; allowed here: {}", allowed.join(", ")));
    }
    if !matches!(command.get(name), Some(Bson::String(_))) {
        return Some(format!("`{name}` must name a collection or a view"));
    }
    forbidden(command).map(|operator| format!("it uses {operator}"))
}

fn forbidden(document: &Document) -> Option<&'static str> {
    document
        .iter()
        .find_map(|(key, value)| FORBIDDEN.iter().find(|f| *f == key).copied().or_else(|| forbidden_in(value)))
}

fn forbidden_in(value: &Bson) -> Option<&'static str> {
    match value {
        Bson::Document(document) => forbidden(document),
        Bson::Array(items) => items.iter().find_map(forbidden_in),
        Bson::JavaScriptCode(_) | Bson::JavaScriptCodeWithScope(_) => Some("JavaScript"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use bson::doc;

    use super::*;

    #[test]
    fn only_the_listed_commands_and_no_javascript() {
        for command in [
            doc! {"drop": "users"},
            doc! {"find": "u", "filter": {"$where": "1"}},
            doc! {"aggregate": "u", "pipeline": [{"$out": "x"}]},
            doc! {"aggregate": "u", "pipeline": [{"$facet": {"a": [{"$group": {"x": {"$accumulator": {}}}}]}}]},
            doc! {"find": 1},
            doc! {"insert": "u", "documents": []},
        ] {
            assert!(refusal(&command, false).is_some(), "{command}");
        }
        assert_eq!(refusal(&doc! {"find": "u", "filter": {"a": "$$a"}}, false), None);
        assert_eq!(refusal(&doc! {"insert": "u", "documents": ["$$document"]}, true), None);
    }
}
