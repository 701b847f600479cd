//! [`Command`]: the command of a named operation, and the places in it that take typed values, where `"$$name"` stands.
//!
//! Not here: the types of the values (convert.rs), the commands that are refused (lint.rs).
//!
//! Three kinds of places: in an expression (`$expr`, most pipeline stages) the text stays and the value travels in `let`
//! as `$literal`; in a match the value must be a single one, so that it cannot be an operator; elsewhere (documents to
//! insert, `$set`, `limit`) any typed value goes. No value is ever text that the server parses.

use std::collections::{BTreeMap, BTreeSet};

use bson::{Bson, Document, doc};

use super::convert::{Kind, Spec};

/// The typed values of one call, by parameter.
pub(super) type Arguments = BTreeMap<String, Bson>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Data,
    Match,
    Expression,
}

/// A command with places for values.
#[derive(Debug)]
pub(super) struct Command {
    document: Document,
    /// Parameters in expressions: their values travel in `let`.
    variables: Vec<String>,
    /// Parameters in a match, where null would select documents that lack the field.
    pub(super) matched: Vec<String>,
}

impl Command {
    /// Checks a command against its parameters and finds where they stand. The error names the change that the DBA must
    /// make.
    pub(super) fn parse(
        document: &Document,
        parameters: &BTreeMap<String, Spec>,
    ) -> Result<Self, String> {
        let mut found = Vec::new();
        for (key, value) in document {
            collect(value, place_of(document, key), &mut found);
        }
        let mut defined = BTreeSet::new();
        define(&Bson::Document(document.clone()), &mut defined);
        let (mut variables, mut matched) = (BTreeSet::new(), BTreeSet::new());
        for (name, place) in found {
            match (parameters.get(name), place) {
                // A system variable, or one that the expression defines itself.
                (None, Place::Expression) if is_system(name) || defined.contains(name) => {}
                (None, _) => return Err(format!("\"$${name}\" is not a parameter")),
                (Some(spec), Place::Match) if !is_safe_in_match(spec) => {
                    let rule = "where only a single value or an array of declared single values may; use $expr";
                    return Err(format!("\"$${name}\" stands in a match, {rule}"));
                }
                (Some(spec), Place::Match)
                    if !(spec.is_required || spec.default.is_some() || spec.is_nullable) =>
                {
                    let rule = "where left out it would be null and select documents that lack the field: make it required, give it a default, or say nullable";
                    return Err(format!("\"$${name}\" stands in a match, {rule}"));
                }
                (Some(_), Place::Expression) => drop(variables.insert(name.to_owned())),
                (Some(_), Place::Match) => drop(matched.insert(name.to_owned())),
                (Some(_), Place::Data) => {}
            }
        }
        let takes_let = document.keys().next().is_some_and(|name| name != "insert");
        if !takes_let && !variables.is_empty() {
            return Err("an insert has no expressions".to_owned());
        }
        let (variables, matched) = (variables.into_iter().collect(), matched.into_iter().collect());
        Ok(Self { document: document.clone(), variables, matched })
    }

    /// The command as the DBA wrote it.
    pub(super) fn document(&self) -> &Document {
        &self.document
    }

    /// The command with the values of one call. A parameter without a value is left out, or null in a match and an expression.
    pub(super) fn with(&self, arguments: &Arguments) -> Document {
        let mut filled = Document::new();
        for (key, value) in &self.document {
            if let Some(value) = put(value, place_of(&self.document, key), arguments) {
                filled.insert(key, value);
            }
        }
        if !self.variables.is_empty() {
            let mut lets = filled.get_document("let").cloned().unwrap_or_default();
            for name in &self.variables {
                let value = arguments.get(name).cloned().unwrap_or(Bson::Null);
                lets.insert(name, doc! {"$literal": value});
            }
            filled.insert("let", lets);
        }
        // MongoDB refuses an aggregate without a cursor.
        if filled.contains_key("aggregate") && !filled.contains_key("cursor") {
            filled.insert("cursor", Document::new());
        }
        filled
    }
}

/// Names that MongoDB defines: `ROOT`, `NOW` and the others, and those of `$reduce` and of `$filter` without `as`.
fn is_system(name: &str) -> bool {
    matches!(name, "this" | "value") || name.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
}

/// Names that expressions and stages define: in `let` and `vars`, and by `as`.
fn define(value: &Bson, defined: &mut BTreeSet<String>) {
    match value {
        Bson::Array(items) => items.iter().for_each(|item| define(item, defined)),
        Bson::Document(document) => {
            for (key, value) in document {
                match (key.as_str(), value) {
                    ("let" | "vars", Bson::Document(variables)) => {
                        defined.extend(variables.keys().cloned())
                    }
                    ("as", Bson::String(name)) => drop(defined.insert(name.clone())),
                    _ => {}
                }
                define(value, defined);
            }
        }
        _ => {}
    }
}

/// True where no value of this type can be an operator.
fn is_safe_in_match(spec: &Spec) -> bool {
    match spec.kind {
        Kind::Document => false,
        Kind::Array => spec
            .items
            .as_ref()
            .is_some_and(|item| item.kind != Kind::Array && is_safe_in_match(item)),
        _ => true,
    }
}

/// The kind of place under a key of the command itself.
fn place_of(command: &Document, key: &str) -> Place {
    match key {
        "filter" | "query" | "q" | "arrayFilters" => Place::Match,
        "pipeline" | "projection" | "fields" | "let" => Place::Expression,
        "update" | "u" if matches!(command.get(key), Some(Bson::Array(_))) => Place::Expression,
        _ => Place::Data,
    }
}

fn name_of(text: &str) -> Option<&str> {
    text.strip_prefix("$$")
}

fn collect<'b>(value: &'b Bson, place: Place, found: &mut Vec<(&'b str, Place)>) {
    match value {
        Bson::String(text) => {
            if let Some(name) = name_of(text) {
                // "$$user.name" reads a part of a variable.
                let name = if place == Place::Expression {
                    name.split('.').next().unwrap_or(name)
                } else {
                    name
                };
                found.push((name, place));
            }
        }
        Bson::Array(items) => items.iter().for_each(|item| collect(item, place, found)),
        Bson::Document(document) => {
            for (key, value) in document {
                collect(value, inner_place(document, key, place), found);
            }
        }
        _ => {}
    }
}

/// `None` where a left-out value takes its key away with it.
fn put(value: &Bson, place: Place, arguments: &Arguments) -> Option<Bson> {
    match value {
        Bson::String(text) if place != Place::Expression => match name_of(text) {
            Some(name) => match (arguments.get(name), place) {
                (Some(value), _) => Some(value.clone()),
                (None, Place::Match) => Some(Bson::Null),
                (None, _) => None,
            },
            None => Some(value.clone()),
        },
        Bson::Array(items) => {
            Some(Bson::Array(items.iter().filter_map(|item| put(item, place, arguments)).collect()))
        }
        Bson::Document(document) => {
            let pairs = document.iter().filter_map(|(key, value)| {
                Some((key.clone(), put(value, inner_place(document, key, place), arguments)?))
            });
            Some(Bson::Document(pairs.collect()))
        }
        other => Some(other.clone()),
    }
}

/// The kind of place under a key, given the kind around it.
fn inner_place(document: &Document, key: &str, place: Place) -> Place {
    match (place, key) {
        (Place::Match, "$expr") => Place::Expression,
        // Stages of a pipeline, and their matches.
        (Place::Expression, "$match" | "restrictSearchWithMatch" | "$elemMatch") => Place::Match,
        (Place::Expression, "query") if document.contains_key("near") => Place::Match,
        // An update that takes out the items that a condition finds.
        (Place::Data, "$pull") => Place::Match,
        (Place::Expression, "$limit" | "$skip") => Place::Data,
        // The statements inside `updates` and `deletes`.
        (Place::Data, "q" | "u" | "arrayFilters") => place_of(document, key),
        _ => place,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameters(names: &[(&str, &str)]) -> BTreeMap<String, Spec> {
        names
            .iter()
            .map(|(name, kind)| {
                let spec =
                    Spec::parse(&Bson::Document(doc! {"type": *kind, "required": true})).unwrap();
                ((*name).to_owned(), spec)
            })
            .collect()
    }

    #[test]
    fn each_place_takes_its_value_in_its_own_way() {
        let command = doc! {
            "find": "users",
            "filter": {"_id": "$$id", "$expr": {"$eq": ["$email", "$$email"]}},
            "limit": "$$limit",
        };
        let parameters = parameters(&[("id", "string"), ("email", "string"), ("limit", "int")]);
        let command = Command::parse(&command, &parameters).unwrap();
        assert_eq!(
            (&command.variables[..], &command.matched[..]),
            (&["email".to_owned()][..], &["id".to_owned()][..])
        );
        let arguments = Arguments::from([
            ("id".to_owned(), Bson::from("$email")),
            ("email".to_owned(), Bson::from("$$ROOT")),
            ("limit".to_owned(), Bson::Int32(3)),
        ]);
        let expected = doc! {
            "find": "users",
            "filter": {"_id": "$email", "$expr": {"$eq": ["$email", "$$email"]}},
            "limit": 3,
            "let": {"email": {"$literal": "$$ROOT"}},
        };
        assert_eq!(command.with(&arguments), expected);
    }

    #[test]
    fn a_document_cannot_stand_in_a_match() {
        let command = doc! {"find": "users", "filter": {"a": "$$d"}};
        assert!(
            Command::parse(&command, &parameters(&[("d", "document")]))
                .unwrap_err()
                .contains("single value")
        );
        let command =
            doc! {"update": "users", "updates": [{"q": {"a": "$$d"}, "u": {"$set": {"b": 1}}}]};
        assert!(Command::parse(&command, &parameters(&[("d", "array")])).is_err());
        let names = doc! {"type": "array", "required": true, "items": {"type": "string"}};
        let declared =
            BTreeMap::from([("d".to_owned(), Spec::parse(&Bson::Document(names)).unwrap())]);
        let command = doc! {"find": "users", "filter": {"a": {"$in": "$$d"}}};
        assert!(
            Command::parse(&command, &declared).is_ok(),
            "an array of declared single values holds no operator"
        );
        let command = doc! {"find": "users", "filter": {"a": "$$typo"}};
        assert!(
            Command::parse(&command, &parameters(&[("d", "string")])).unwrap_err().contains("typo")
        );
        let names = |expression: Bson| {
            Command::parse(
                &doc! {"aggregate": "u", "pipeline": [{"$set": {"x": expression}}]},
                &BTreeMap::new(),
            )
        };
        assert!(names(Bson::from("$$typo")).unwrap_err().contains("typo"));
        assert!(names(Bson::from("$$ROOT.name")).is_ok());
        let map = doc! {"$map": {"input": "$l", "as": "one", "in": {"$let": {"vars": {"y": "$$one"}, "in": "$$y"}}}};
        assert!(names(Bson::Document(map)).is_ok());
    }

    #[test]
    fn a_parameter_of_a_match_cannot_be_left_out() {
        let with = |spec: Document| {
            let parameters =
                BTreeMap::from([("p".to_owned(), Spec::parse(&Bson::Document(spec)).unwrap())]);
            [
                doc! {"find": "u", "filter": {"owner": "$$p"}},
                doc! {"delete": "u", "deletes": [{"q": {"owner": {"$eq": "$$p"}}, "limit": 0}]},
                doc! {"update": "u", "updates": [{"q": {}, "u": {"$set": {"a.$[x]": 1}}, "arrayFilters": [{"x": "$$p"}]}]},
                doc! {"findAndModify": "u", "query": {}, "update": {"$pull": {"list": "$$p"}}},
                doc! {"aggregate": "u", "pipeline": [{"$match": {"owner": "$$p"}}]},
                doc! {"aggregate": "u", "pipeline": [{"$geoNear": {"near": [0, 0], "distanceField": "d", "query": {"o": "$$p"}}}]},
                doc! {"find": "u", "projection": {"list": {"$elemMatch": {"o": "$$p"}}}},
            ]
            .map(|command| Command::parse(&command, &parameters).map(|command| command.matched))
        };
        for refused in with(doc! {"type": "string"}) {
            assert!(refused.unwrap_err().contains("nullable"));
        }
        for spec in [
            doc! {"type": "string", "required": true},
            doc! {"type": "string", "default": "x"},
            doc! {"type": "string", "nullable": true},
        ] {
            for matched in with(spec) {
                assert_eq!(matched.unwrap(), ["p"]);
            }
        }
    }

    #[test]
    fn a_left_out_field_is_left_out_of_the_document() {
        let command = doc! {"insert": "u", "documents": [{"a": "$$a", "b": "$$b"}]};
        let arguments = Arguments::from([("a".to_owned(), Bson::Int32(1))]);
        let command = Command::parse(&command, &parameters(&[("a", "int"), ("b", "int")])).unwrap();
        assert_eq!(command.with(&arguments), doc! {"insert": "u", "documents": [{"a": 1}]});
    }
}
