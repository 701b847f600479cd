//! The generated binding: which parameter takes which value, and the one statement of an operation. The statement
//! shapes of this file are all there are: ``CALL `p`(?,…)``, ``SELECT `f`(?,…)`` and ``SELECT * FROM `v` LIMIT ?``. OUT and INOUT
//! parameters are placeholders like the others; their values come back as one more result set.

use std::collections::BTreeMap;
use std::sync::Arc;

use beds_core::template::Offer;
use beds_core::{Event, Fields, Operation, Problem, Result, Template};
use mysql_async::Value as Sql;
use serde_json::Value as Json;

use super::catalog::{Catalog, Mode, Parameter};
use super::convert::SqlType;
use crate::operations;

/// One operation of a template, ready to be called.
#[derive(Debug)]
pub(super) struct Binding {
    /// The object's name, for the lineage.
    pub(super) object: String,
    pub(super) statement: String,
    slots: Vec<Slot>,
    operation: Operation,
    /// The object takes the whole payload and names no field: any field goes.
    takes_any_field: bool,
    /// OUT and INOUT parameters, in order.
    pub(super) out: Vec<Out>,
    /// The column that identifies a record.
    pub(super) id_column: String,
    /// The position of the `p_limit` argument, where the object pages: where it takes `p_after` too.
    limit_at: Option<usize>,
    pub(super) catalog: Arc<Catalog>,
}

/// A value that comes back beside the rows.
#[derive(Debug)]
pub(super) struct Out {
    /// Without `p_`.
    pub(super) name: String,
    /// The server does not tell JSON from text; the declaration does.
    pub(super) is_json: bool,
}

#[derive(Debug)]
struct Slot {
    source: Source,
    sql_type: SqlType,
}

/// Where a parameter's value comes from.
#[derive(Debug, PartialEq, Eq)]
enum Source {
    Id,
    Limit,
    After,
    Document,
    EventId,
    Actor,
    Field(String),
    /// An OUT parameter takes nothing in.
    Nothing,
}

/// Fits one offer to the catalogue. What does not fit is reported and gives no binding.
pub(super) fn bind(
    catalog: &Arc<Catalog>,
    template: &Template,
    offer: &Offer<'_>,
    problems: &mut Vec<Problem>,
) -> Option<Binding> {
    let mut refuse = |message: String, fix: &str| -> Option<Binding> {
        problems.push(template.problem(&offer.key, message, fix));
        None
    };
    let object = offer.object;
    if object.is_empty()
        || object.len() > 64
        || !object.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$')
    {
        return refuse(format!("{object:?} cannot be the name of a database object"), "use letters, digits, _ and $");
    }
    let parameters: &[Parameter] = match catalog.routines.get(object) {
        Some(routine) if offer.operation.is_write() && routine.is_function => {
            return refuse(format!("{object} is a function, and {} writes", offer.operation), "name a procedure");
        }
        Some(routine) => match &routine.refusal {
            Some(reason) => {
                let message = format!("{object} cannot run inside the transaction of BEDS: {reason}");
                return refuse(message, "remove it from the procedure; BEDS begins and commits");
            }
            None => &routine.parameters,
        },
        None if catalog.views.contains(object) && !offer.operation.is_write() => &[],
        None => {
            let message = format!(
                "the database {} has no procedure, function or view {object} that this login may use",
                template.database
            );
            return refuse(
                message,
                "ask the DBA to create it and to grant it to the role beds_runtime, or correct the name",
            );
        }
    };
    let routine = catalog.routines.get(object);
    let marks = vec!["?"; parameters.len()].join(",");
    let statement = match routine {
        Some(routine) if routine.is_function => format!("SELECT `{object}`({marks})"),
        Some(_) => format!("CALL `{object}`({marks})"),
        None => format!("SELECT * FROM `{object}` LIMIT ?"),
    };
    let mut slots: Vec<Slot> =
        parameters.iter().map(|p| Slot { source: source(p, offer), sql_type: SqlType::of(p) }).collect();
    if routine.is_none() {
        slots.push(Slot { source: Source::Limit, sql_type: SqlType::UNSIGNED });
    }
    let has = |wanted: &Source| slots.iter().any(|slot| slot.source == *wanted);
    let is_by_id =
        offer.name.is_none() && matches!(offer.operation, Operation::Fetch | Operation::Update | Operation::Delete);
    if is_by_id && !has(&Source::Id) {
        return refuse(
            format!("{object} has no parameter p_id, which {} needs", offer.operation),
            "ask the DBA for p_id",
        );
    }
    let names_a_field = slots.iter().any(|slot| matches!(slot.source, Source::Field(_)));
    Some(Binding {
        object: offer.object.to_owned(),
        takes_any_field: has(&Source::Document) && !names_a_field,
        limit_at: slots.iter().position(|slot| slot.source == Source::Limit).filter(|_| has(&Source::After)),
        statement,
        slots,
        operation: offer.operation,
        out: parameters
            .iter()
            .filter(|p| p.mode != Mode::In)
            .map(|p| Out { name: field_of(&p.name).to_owned(), is_json: SqlType::of(p).is_json() })
            .collect(),
        id_column: template.id.clone(),
        catalog: Arc::clone(catalog),
    })
}

impl Binding {
    /// The values of the placeholders, in order, or what is wrong with what the caller sent.
    pub(super) fn arguments(&self, event: &Event, id: Option<&str>, fields: &Fields) -> Result<Vec<Sql>> {
        self.check_names(fields)?;
        self.slots.iter().map(|slot| self.argument(slot, event, id, fields)).collect()
    }

    /// The page size among the arguments, where the object pages.
    pub(super) fn limit(&self, arguments: &[Sql]) -> Option<u64> {
        match arguments.get(self.limit_at?) {
            Some(Sql::UInt(limit)) => Some(*limit),
            _ => None,
        }
    }

    pub(super) fn takes_any_field(&self) -> bool {
        self.takes_any_field
    }

    /// Fields and their types, for `/v1/templates` and `beds check`.
    pub(super) fn parameters(&self) -> BTreeMap<String, String> {
        let named = |slot: &Slot| match &slot.source {
            Source::Field(name) => Some((name.clone(), slot.sql_type.declared.clone())),
            Source::Limit => Some(("limit".to_owned(), "1 to 500".to_owned())),
            Source::After => Some(("after".to_owned(), slot.sql_type.declared.clone())),
            _ => None,
        };
        self.slots.iter().filter_map(named).collect()
    }

    fn check_names(&self, fields: &Fields) -> Result<()> {
        if self.takes_any_field {
            return Ok(());
        }
        let takes = |name: &str| {
            self.slots.iter().any(|slot| match &slot.source {
                Source::Field(field) => field == name,
                Source::Limit => name == "limit",
                Source::After => name == "after",
                _ => false,
            })
        };
        match fields.keys().find(|name| !takes(name)) {
            None => Ok(()),
            Some(unknown) => {
                let known = self.parameters();
                let known: Vec<&str> = known.keys().map(String::as_str).collect();
                Err(operations::unknown_field(unknown, &known))
            }
        }
    }

    fn argument(&self, slot: &Slot, event: &Event, id: Option<&str>, fields: &Fields) -> Result<Sql> {
        match &slot.source {
            Source::Id => match id {
                Some(id) => slot.sql_type.parse("id", id),
                None => Ok(Sql::NULL),
            },
            Source::Limit => operations::limit(fields).map(|limit| Sql::UInt(u64::from(limit))),
            Source::After => match fields.get("after") {
                Some(Json::String(after)) => slot.sql_type.parse("after", after),
                Some(other) => slot.sql_type.convert("after", other),
                None => Ok(Sql::NULL),
            },
            Source::Document => {
                for (name, value) in fields.iter() {
                    operations::exact(name, value)?;
                }
                let text = serde_json::to_string(fields).unwrap_or_default();
                Ok(Sql::Bytes(text.into_bytes()))
            }
            Source::EventId => Ok(Sql::Bytes(event.event_id.0.clone().into_bytes())),
            Source::Actor => Ok(Sql::Bytes(event.actor.subject.clone().into_bytes())),
            Source::Nothing => Ok(Sql::NULL),
            Source::Field(name) => match fields.get(name) {
                // What a read asks with comes from a URL, so numbers and dates may be text there.
                Some(Json::String(text)) if event.text || !self.operation.is_write() => slot.sql_type.parse(name, text),
                Some(value) => slot.sql_type.convert(name, value),
                None if self.operation.is_write() => Ok(Sql::NULL),
                None => Err(operations::missing(name)),
            },
        }
    }
}

fn source(parameter: &Parameter, offer: &Offer<'_>) -> Source {
    let field = field_of(&parameter.name);
    let is_read = !offer.operation.is_write();
    match field {
        _ if parameter.mode == Mode::Out => Source::Nothing,
        "event_id" => Source::EventId,
        "actor" => Source::Actor,
        "limit" if is_read => Source::Limit,
        "after" if is_read => Source::After,
        "document" if SqlType::of(parameter).is_text() => Source::Document,
        // A named fetch may have an argument called id; the basic operations have the record's.
        "id" if offer.name.is_none() && offer.operation != Operation::Create => Source::Id,
        field => Source::Field(field.to_owned()),
    }
}

fn field_of(parameter: &str) -> &str {
    parameter.strip_prefix("p_").unwrap_or(parameter)
}
