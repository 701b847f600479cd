//! [`Template`]: a data domain as its TOML file says it. It names database objects and holds no query.
//!
//! Not here: whether the objects exist and which parameters they take, which the adapters find out.

pub mod changes;
pub mod job;
mod keys;
pub(crate) mod node;
mod offer;
mod rules;

pub use offer::{Effect, JobPart, Offer};
pub use rules::access::RESERVED as RESERVED_ROLES;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use toml::Value;

use crate::access::{Access, Roles};
use crate::toml_check::{Checked, check};
use crate::{Mistake, Operation, Store};
use changes::Changes;
use job::Job;

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
    pub fetches: BTreeMap<String, Named>,
    /// Work that takes long, only with a ticket.
    #[serde(default)]
    pub jobs: BTreeMap<String, Job>,
    /// Changes by their names, which take effect without the inbox. Of BEDS's own templates alone.
    #[serde(default)]
    pub acts: BTreeMap<String, Named>,
    /// `required`: requests are refused while no audit record can be queued.
    #[serde(default)]
    pub audit: AuditPolicy,
    #[serde(default)]
    pub access: Access,
    #[serde(default)]
    pub rows: Rows,
    #[serde(default)]
    pub changes: Changes,
    #[serde(default)]
    pub fields: BTreeMap<String, Field>,
    /// Where it was read, for messages.
    #[serde(skip)]
    pub source: Source,
    /// One of BEDS's own, compiled in.
    #[serde(skip)]
    pub is_of_nodes: bool,
}

/// The database objects of the five basic operations.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Objects {
    pub create: Option<Named>,
    pub fetch: Option<Named>,
    pub list: Option<Named>,
    pub update: Option<Named>,
    pub delete: Option<Named>,
}

/// A database object, and which of its answers its operation gives: `"name"`, or `{ object = "name", answer = "all" }`.
#[derive(Debug, Clone, Deserialize)]
#[serde(from = "Written")]
pub struct Named {
    pub object: String,
    pub answer: AnswerShape,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Name(String),
    Table {
        object: String,
        #[serde(default)]
        answer: AnswerShape,
    },
}

impl From<Written> for Named {
    fn from(written: Written) -> Self {
        match written {
            Written::Name(object) => Self { object, answer: AnswerShape::default() },
            Written::Table { object, answer } => Self { object, answer },
        }
    }
}

/// The form of an operation's answer. It is decided when the template is bound, and never by how many rows an object touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AnswerShape {
    /// The record itself, or the records of a page; an object that answers more is an error.
    #[default]
    Record,
    /// Everything that the object answers: the record or the records, with `result_sets` and `out` beside.
    All,
}

/// The fate of requests while no audit record can be queued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuditPolicy {
    /// They go on; records of writes wait, and records of reads may be dropped and are counted.
    #[default]
    Normal,
    /// They are refused.
    Required,
}

/// `[rows]`: facts about the caller by which each object of the template must choose rows. The parameters of the DBA's objects do
/// it; this says that none may be without them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Rows {
    /// Claims: each object takes `p_claim_<name>`.
    pub claims: Vec<String>,
    /// Each object takes `p_actor`.
    pub owner: bool,
}

/// The rules of a template for one field.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
pub struct Field {
    #[serde(default)]
    pub sensitive: bool,
    /// The roles that may read it; none: those that may read the record.
    #[serde(default, skip_serializing)]
    pub read: Option<Roles>,
    /// The roles that may send it; none: those that may write the record.
    #[serde(default, skip_serializing)]
    pub write: Option<Roles>,
    /// Whether a text of that name is JSON. Without it, the database says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub json: Option<bool>,
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
    /// One of BEDS's own, with rights that no other has.
    pub(crate) fn of_nodes(file: &str, text: &str) -> Result<Self, Vec<Mistake>> {
        let read = Self::read(file, text, |_, _| {})?;
        Ok(Self { is_of_nodes: true, ..read })
    }

    /// Reads one template file, or reports every mistake in it.
    pub fn parse(file: &str, text: &str) -> Result<Self, Vec<Mistake>> {
        Self::read(file, text, |checked, mistakes| rules::check(file, checked, mistakes))
    }

    fn read(
        file: &str,
        text: &str,
        further: impl FnOnce(&Checked, &mut Vec<Mistake>),
    ) -> Result<Self, Vec<Mistake>> {
        let mut mistakes = Vec::new();
        let checked = check(file, text, keys::KEYS, &mut mistakes);
        rules::words(file, &checked, &mut mistakes);
        further(&checked, &mut mistakes);
        rules::names(file, &checked, &mut mistakes);
        if !mistakes.is_empty() {
            mistakes.sort_by_key(|p| p.line);
            return Err(mistakes);
        }
        let mut template: Template =
            Value::Table(checked.table.clone()).try_into().map_err(|e: toml::de::Error| {
                vec![Mistake::new(file, 1, e.message().to_owned(), "correct the value")]
            })?;
        template.source = Source { file: file.to_owned(), checked };
        Ok(template)
    }

    /// The database object of an operation; `name` is that of the fetch or of the job, if one is meant.
    pub fn object(&self, operation: Operation, name: Option<&str>) -> Option<&str> {
        if operation == Operation::Job {
            return self.jobs.get(name?).map(|job| job.object.as_str());
        }
        self.named(operation, name).map(|named| named.object.as_str())
    }

    fn named(&self, operation: Operation, name: Option<&str>) -> Option<&Named> {
        match (operation, name) {
            (Operation::Fetch, Some(name)) => self.fetches.get(name),
            (Operation::Fetch, None) => self.objects.fetch.as_ref(),
            (Operation::Create, _) => self.objects.create.as_ref(),
            (Operation::List, _) => self.objects.list.as_ref(),
            (Operation::Update, Some(name)) => self.acts.get(name),
            (Operation::Update, None) => self.objects.update.as_ref(),
            (Operation::Delete, _) => self.objects.delete.as_ref(),
            (Operation::Job, _) => None,
        }
    }

    /// A mistake at one of this file's keys.
    pub fn mistake(
        &self,
        key: &str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Mistake {
        Mistake::new(&self.source.file, self.source.checked.line(key), message, fix)
    }
}

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
        assert_eq!(template.mistake("fetches.route", "m", "f").line, 8);
    }

    #[test]
    fn an_object_may_say_that_it_answers_everything() {
        let text = "name = \"F\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n\
                    [objects]\nfetch = \"f\"\n[objects.update]\nobject = \"u\"\nanswer = \"all\"\n\
                    [fetches]\nx = { object = \"g\", answer = \"all\" }\n";
        let template = Template::parse("f.toml", text).unwrap();
        let shapes: Vec<_> =
            template.offers().iter().map(|offer| (offer.object.to_owned(), offer.answer)).collect();
        let all = |name: &str| (name.to_owned(), AnswerShape::All);
        assert_eq!(shapes, [("f".to_owned(), AnswerShape::Record), all("u"), all("g")]);
        assert_eq!(template.mistake("objects.update", "m", "f").line, 7);
        let wrong = Template::parse("f.toml", &text.replace("\"all\"", "\"most\"")).unwrap_err();
        assert!(wrong[0].to_string().contains("`answer` is neither record nor all"), "{wrong:?}");
        let nameless =
            Template::parse("f.toml", &text.replace("object = \"u\"\n", "")).unwrap_err();
        assert!(nameless[0].to_string().contains("names no object"), "{nameless:?}");
    }

    #[test]
    fn what_belongs_to_beds_is_out_of_reach() {
        let with = |rest: &str| {
            let text = format!(
                "name = \"F\"\nstore = \"rec\"\ndatabase = \"msLogs\"\nid = \"_id\"\n{rest}"
            );
            Template::parse("f.toml", &text)
                .map_err(|p| p.iter().map(ToString::to_string).collect::<String>())
        };
        for rest in [
            "[fetches]\nsrc = \"beds_catalog\"\n",
            "[fetches]\nsrc = { object = \"BEDS_catalog\" }\n",
            "[objects.fetch]\nobject = \"beds_catalog\"\n",
            "[jobs]\nj = \"beds_inbox_prune\"\n",
        ] {
            assert!(with(rest).unwrap_err().contains("belongs to BEDS itself"), "{rest}");
        }
        for rest in ["[objects]\ncreate = \"audit_create\"\n", "[objects.delete]\nobject = \"x\"\n"]
        {
            assert!(with(rest).unwrap_err().contains("only nodes write"), "{rest}");
        }
        assert!(with("[objects]\nlist = \"all_audit\"\n").is_ok());
    }

    #[test]
    fn the_scope_of_changes_is_that_of_the_rows() {
        let with = |rest: &str| {
            let text =
                format!("name = \"F\"\nstore = \"rel\"\ndatabase = \"main\"\nid = \"id\"\n{rest}");
            Template::parse("f.toml", &text)
                .map_err(|p| p.iter().map(ToString::to_string).collect::<String>())
        };
        let rows = "[rows]\nclaims = [\"tenant\"]\nowner = true\n";
        let whole = "[changes]\non = true\nscope = { t = \"tenant\", o = \"@subject\" }\n";
        assert!(with(&format!("{rows}{whole}")).is_ok() && with("[changes]\non = true\n").is_ok());
        let open = with(&format!("{rows}[changes]\non = true\nscope = {{ t = \"tenant\" }}\n"));
        assert!(open.unwrap_err().contains("chooses by \"@subject\", and the scope"));
        let foreign = with("[changes]\non = true\nscope = { t = \"tenant\" }\n").unwrap_err();
        assert!(foreign.contains("by which [rows] does not choose"), "{foreign}");
    }

    #[test]
    fn every_mistake_in_a_template_is_reported_at_once() {
        let text = "name = \"a b\"\nstore = \"sql\"\n[objects]\nfecth = \"x\"\n[fetches]\n\"a/b\" = \"y\"\n";
        let mistakes = Template::parse("f.toml", text).unwrap_err();
        let all: Vec<String> = mistakes.iter().map(ToString::to_string).collect();
        assert_eq!(mistakes.len(), 6, "{all:#?}");
        assert!(
            all.iter().any(|p| p.starts_with("f.toml:4") && p.contains("did you mean `fetch`")),
            "{all:#?}"
        );
    }
}
