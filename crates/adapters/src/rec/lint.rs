//! Which commands, operators and collections a named operation may use. JavaScript on the server is never among them, and
//! nothing that writes elsewhere than it says, or that a caller could choose.
//!
//! Not here: where a value may stand, which is `command`'s.

use beds_core::template::Effect;
use bson::{Bson, Document};

/// The commands that a named operation may be.
pub(super) const READS: &[&str] = &["find", "aggregate"];
pub(super) const WRITES: &[&str] = &["insert", "update", "delete", "findAndModify"];

const FORBIDDEN: &[&str] =
    &["$where", "$function", "$accumulator", "$out", "$merge", "mapReduce", "mapreduce"];

/// Why a command must not be run, or `None`.
pub(super) fn refusal(command: &Document, effect: Effect) -> Option<String> {
    let allowed = match effect {
        Effect::Reads => READS,
        Effect::Writes => WRITES,
        Effect::Merges => return refusal_of_merge(command),
    };
    refusal_but_for(command, allowed)
}

/// The last stage writes, into a collection of the same database that the DBA has named. All others read.
fn refusal_of_merge(command: &Document) -> Option<String> {
    let mut reading = command.clone();
    let pipeline = reading.get_array_mut("pipeline").ok();
    let last = pipeline.and_then(|pipeline| match pipeline.pop() {
        Some(Bson::Document(stage)) => stage.get_document("$merge").ok().cloned(),
        _ => None,
    });
    let Some(merge) = last else {
        return Some("its last stage is no $merge".to_owned());
    };
    match merge.get("into") {
        Some(Bson::String(into)) if into.starts_with("$$") || into.starts_with("system.") => {
            return Some(
                "`into` must be the name of a collection, and no parameter can".to_owned(),
            );
        }
        Some(Bson::String(into)) if into.starts_with("beds_") => {
            return Some(format!("it uses {into}, which belongs to BEDS"));
        }
        Some(Bson::String(_)) => {}
        _ => return Some("`into` must name a collection of the same database".to_owned()),
    }
    forbidden(&merge)
        .map(|operator| format!("it uses {operator}"))
        .or_else(|| refusal_but_for(&reading, &["aggregate"]))
}

fn refusal_but_for(command: &Document, allowed: &[&str]) -> Option<String> {
    let name = command.keys().next().map_or("", String::as_str);
    if !allowed.contains(&name) {
        return Some(format!("its command is {name:?}; allowed here: {}", allowed.join(", ")));
    }
    match command.get(name) {
        Some(Bson::String(collection)) if !collection.starts_with("$$") => {}
        _ => {
            return Some(format!(
                "`{name}` must name a collection or a view, and no parameter can"
            ));
        }
    }
    // The statements themselves are the DBA's; a caller that could send them would write the query.
    for list in ["updates", "deletes", "pipeline", "arrayFilters"] {
        if matches!(command.get(list), Some(Bson::String(_))) {
            return Some(format!(
                "`{list}` must be written out, and no parameter can stand for it"
            ));
        }
    }
    let statements =
        ["updates", "deletes"].iter().filter_map(|list| command.get_array(list).ok()).flatten();
    if statements.into_iter().any(|statement| !matches!(statement, Bson::Document(_))) {
        return Some(
            "each of its statements must be written out, and no parameter can stand for one"
                .to_owned(),
        );
    }
    collections(&Bson::Document(command.clone()), name)
        .or_else(|| forbidden(command).map(|operator| format!("it uses {operator}")))
}

/// Collections of BEDS itself, by name: wherever a command names one.
fn collections(value: &Bson, command: &str) -> Option<String> {
    match value {
        Bson::Document(document) => document.iter().find_map(|(key, value)| {
            let names_one =
                key == command || matches!(key.as_str(), "from" | "coll" | "$unionWith");
            match value {
                Bson::String(name)
                    if names_one && (name.starts_with("beds_") || name.starts_with("system.")) =>
                {
                    Some(format!("it uses {name}, which belongs to BEDS or to MongoDB itself"))
                }
                value => collections(value, command),
            }
        }),
        Bson::Array(items) => items.iter().find_map(|item| collections(item, command)),
        _ => None,
    }
}

fn forbidden(document: &Document) -> Option<&'static str> {
    document.iter().find_map(|(key, value)| {
        FORBIDDEN.iter().find(|f| *f == key).copied().or_else(|| forbidden_in(value))
    })
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
            doc! {"find": "$$collection"},
            doc! {"find": "beds_inbox"},
            doc! {"aggregate": "u", "pipeline": "$$pipeline"},
            doc! {"aggregate": "u", "pipeline": [{"$lookup": {"from": "beds_inbox", "as": "x", "pipeline": []}}]},
            doc! {"aggregate": "u", "pipeline": [{"$unionWith": "beds_objects"}]},
        ] {
            assert!(refusal(&command, Effect::Reads).is_some(), "{command}");
        }
        for command in [
            doc! {"update": "u", "updates": "$$list"},
            doc! {"delete": "u", "deletes": ["$$one"]},
            doc! {"insert": "beds_objects", "documents": ["$$document"]},
        ] {
            assert!(refusal(&command, Effect::Writes).is_some(), "{command}");
        }
        assert_eq!(refusal(&doc! {"find": "u", "filter": {"a": "$$a"}}, Effect::Reads), None);
        assert_eq!(
            refusal(&doc! {"insert": "u", "documents": ["$$document"]}, Effect::Writes),
            None
        );
    }

    #[test]
    fn a_merge_writes_where_the_dba_has_said() {
        let with = |last: Document| doc! {"aggregate": "u", "pipeline": [{"$match": {}}, last]};
        for last in [
            doc! {"$match": {}},
            doc! {"$out": "x"},
            doc! {"$merge": "x"},
            doc! {"$merge": {"into": "$$x"}},
            doc! {"$merge": {"into": "beds_inbox"}},
            doc! {"$merge": {"into": {"db": "admin", "coll": "x"}}},
            doc! {"$merge": {"into": "x", "whenMatched": [{"$set": {"a": {"$function": {}}}}]}},
        ] {
            assert!(refusal(&with(last.clone()), Effect::Merges).is_some(), "{last}");
        }
        let merge = doc! {"$merge": {"into": "x"}};
        assert_eq!(refusal(&with(merge.clone()), Effect::Merges), None);
        assert!(refusal(&with(merge.clone()), Effect::Reads).is_some());
        let two = doc! {"aggregate": "u", "pipeline": [merge.clone(), merge]};
        assert!(refusal(&two, Effect::Merges).is_some());
    }
}
