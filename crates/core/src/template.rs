//! [`Template`]: a data domain as its TOML file says it. It names database objects and holds no query.
//! Whether the objects exist and which parameters they take is the adapters' to find out.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::shape::{Checked, Key, Kind, check};
use crate::{Operation, Problem, Store};

/// One data domain.
#[derive(Debug, Clone, Deserialize)]
pub struct Template {
    pub name: String,
    pub store: Store,
    /// A name under `[databases.rec]` or `[databases.rel]`.
    pub database: String,
    /// The field that identifies a record.
    pub id: String,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub objects: Objects,
    /// Further named reads: the name in the URL, and the database object.
    #[serde(default)]
    pub fetches: BTreeMap<String, String>,
    /// Long reads, only with a ticket.
    #[serde(default)]
    pub jobs: BTreeMap<String, String>,
    /// `required`: requests are refused while no audit record can be queued.
    #[serde(default)]
    pub audit: AuditPolicy,
    #[serde(default)]
    pub access: Access,
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
    /// Where it was read, for messages.
    #[serde(skip)]
    pub source: Source,
}

/// The database objects of the five basic operations.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Objects {
    pub create: Option<String>,
    pub fetch: Option<String>,
    pub list: Option<String>,
    pub update: Option<String>,
    pub delete: Option<String>,
}

/// What happens to requests while no audit record can be queued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditPolicy {
    /// They go on; records of writes wait, and records of reads may be dropped and are counted.
    #[default]
    Normal,
    /// They are refused.
    Required,
}

/// Role to operations.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Access {
    #[serde(default)]
    pub read: BTreeSet<String>,
    #[serde(default)]
    pub write: BTreeSet<String>,
    #[serde(default)]
    pub jobs: BTreeSet<String>,
}

/// What a template says about a field.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Field {
    #[serde(default)]
    pub sensitive: bool,
    #[serde(default)]
    pub description: String,
}

/// The file of a template and the lines of its keys.
#[derive(Debug, Clone, Default)]
pub struct Source {
    pub file: String,
    checked: Checked,
}

impl Template {
    /// Reads one template file, or reports every mistake in it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let checked = check(file, text, KEYS, &mut problems);
        for key in ["name", "store", "database", "id"] {
            if !checked.table.contains_key(key) && !problems.iter().any(|p| p.message.contains(&format!("`{key}`"))) {
                problems.push(Problem::new(
                    file,
                    1,
                    format!("`{key}` is missing"),
                    format!("add {key} = \"…\" at the top"),
                ));
            }
        }
        if !matches!(checked.table.get("store").and_then(Value::as_str), None | Some("rec" | "rel")) {
            let line = checked.line("store");
            problems.push(Problem::new(
                file,
                line,
                "`store` is neither rec nor rel",
                "write rec for MongoDB or rel for MariaDB",
            ));
        }
        if !matches!(checked.table.get("audit").and_then(Value::as_str), None | Some("normal" | "required")) {
            let fix = "write required to refuse requests that cannot be recorded, or leave it out";
            problems.push(Problem::new(file, checked.line("audit"), "`audit` is neither normal nor required", fix));
        }
        for path in ["name", "fetches", "jobs"] {
            let names: Vec<&str> = match checked.table.get(path) {
                Some(Value::String(name)) => vec![name],
                Some(Value::Table(table)) => table.keys().map(String::as_str).collect(),
                _ => continue,
            };
            for name in names.into_iter().filter(|name| !is_name(name)) {
                let line = if path == "name" { checked.line("name") } else { checked.line(&format!("{path}.{name}")) };
                let fix = "use 1 to 64 letters, digits, - or _, because it stands in URLs";
                problems.push(Problem::new(file, line, format!("{name:?} cannot be a name"), fix));
            }
        }
        if !problems.is_empty() {
            problems.sort_by_key(|p| p.line);
            return Err(problems);
        }
        let mut template: Template = Value::Table(checked.table.clone())
            .try_into()
            .map_err(|e: toml::de::Error| vec![Problem::new(file, 1, e.message().to_owned(), "correct the value")])?;
        template.source = Source { file: file.to_owned(), checked };
        Ok(template)
    }

    /// The database object of an operation; `name` is the named fetch, if one is meant.
    pub fn object(&self, operation: Operation, name: Option<&str>) -> Option<&str> {
        match (operation, name) {
            (Operation::Fetch, Some(name)) => self.fetches.get(name).map(String::as_str),
            (Operation::Fetch, None) => self.objects.fetch.as_deref(),
            (Operation::Create, _) => self.objects.create.as_deref(),
            (Operation::List, _) => self.objects.list.as_deref(),
            (Operation::Update, _) => self.objects.update.as_deref(),
            (Operation::Delete, _) => self.objects.delete.as_deref(),
        }
    }

    /// Everything that the template offers: operation, name of the fetch where it has one, object, and the key in the
    /// file. Jobs are not among them.
    pub fn offers(&self) -> Vec<Offer<'_>> {
        let basic = [Operation::Create, Operation::Fetch, Operation::List, Operation::Update, Operation::Delete];
        let mut offers: Vec<Offer<'_>> = basic
            .into_iter()
            .filter_map(|operation| {
                let object = self.object(operation, None)?;
                Some(Offer { operation, name: None, object, key: format!("objects.{operation}") })
            })
            .collect();
        offers.extend(self.fetches.iter().map(|(name, object)| Offer {
            operation: Operation::Fetch,
            name: Some(name),
            object,
            key: format!("fetches.{name}"),
        }));
        offers
    }

    /// A mistake at one of this file's keys.
    pub fn problem(&self, key: &str, message: impl Into<String>, fix: impl Into<String>) -> Problem {
        Problem::new(&self.source.file, self.source.checked.line(key), message, fix)
    }
}

/// One operation that a template offers.
#[derive(Debug, Clone)]
pub struct Offer<'t> {
    pub operation: Operation,
    pub name: Option<&'t str>,
    pub object: &'t str,
    /// Where it stands in the file, such as `fetches.route`.
    pub key: String,
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
}

const KEYS: &[Key] = &[
    Key { path: "name", kind: Kind::Text },
    Key { path: "store", kind: Kind::Text },
    Key { path: "database", kind: Kind::Text },
    Key { path: "id", kind: Kind::Text },
    Key { path: "description", kind: Kind::Text },
    Key { path: "objects.create", kind: Kind::Text },
    Key { path: "objects.fetch", kind: Kind::Text },
    Key { path: "objects.list", kind: Kind::Text },
    Key { path: "objects.update", kind: Kind::Text },
    Key { path: "objects.delete", kind: Kind::Text },
    Key { path: "fetches.*", kind: Kind::Text },
    Key { path: "jobs.*", kind: Kind::Text },
    Key { path: "audit", kind: Kind::Text },
    Key { path: "access.read", kind: Kind::Texts },
    Key { path: "access.write", kind: Kind::Texts },
    Key { path: "access.jobs", kind: Kind::Texts },
    Key { path: "fields.*.sensitive", kind: Kind::Boolean },
    Key { path: "fields.*.description", kind: Kind::Text },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_is_read_with_its_offers() {
        let text = "name = \"Flights\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"flight_id\"\n\
                    [objects]\nfetch = \"flights_fetch\"\n[fetches]\nroute = \"flights_by_route\"\n";
        let template = Template::parse("f.toml", text).unwrap();
        assert_eq!(template.offers().len(), 2);
        assert_eq!(template.object(Operation::Fetch, Some("route")), Some("flights_by_route"));
        assert_eq!(template.object(Operation::Delete, None), None);
        assert_eq!(template.problem("fetches.route", "m", "f").line, 8);
    }

    #[test]
    fn every_mistake_in_a_template_is_reported_at_once() {
        let text = "name = \"a b\"\nstore = \"sql\"\n[objects]\nfecth = \"x\"\n[fetches]\n\"a/b\" = \"y\"\n";
        let problems = Template::parse("f.toml", text).unwrap_err();
        let all: Vec<String> = problems.iter().map(ToString::to_string).collect();
        assert_eq!(problems.len(), 6, "{all:#?}");
        assert!(all.iter().any(|p| p.starts_with("f.toml:4") && p.contains("did you mean `fetch`")), "{all:#?}");
    }
}
