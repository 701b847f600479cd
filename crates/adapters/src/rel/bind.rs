//! The generated binding: which parameter takes which value, and the one statement of an operation. The statement
//! shapes of this file are all that ever carry a caller's values: ``CALL `p`(?,…)``, ``SELECT `f`(?,…) AS `f` `` and
//! ``SELECT * FROM `v` LIMIT ?``. OUT and INOUT parameters are placeholders like the others; their values come back as one
//! more result set.
//!
//! Not here: whether an object may be bound at all, which is `bind/fit`'s; which value fits which type, which is `convert`'s.

mod fit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use beds_core::actor::Claim;
use beds_core::template::{JobPart, Offer};
use beds_core::{AnswerShape, Event, Fields, Mistake, Operation, Result, Template};
use mysql_async::Value as Sql;
use serde_json::Value as Json;

use super::catalog::{Catalog, Mode, Parameter, Routine};
use super::convert::SqlType;
use crate::answer::{Form, Page};
use crate::misfit::Misfit;
use crate::operations;
use crate::source::{Source, check_names, check_rows, check_scope, note};

/// One operation of a template, ready to be called.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) statement: String,
    pub(super) form: Form,
    slots: Vec<Slot>,
    /// It is one step of a job: the page is BEDS's own, and none of the caller's.
    is_step: bool,
    /// It is called with the fields of another object: those that it does not take are left out.
    is_lenient: bool,
    /// It says in `beds_job_progress` how far it is.
    pub(super) tells_progress: bool,
    /// The object takes the whole payload and names no field: any field goes.
    takes_any_field: bool,
    /// OUT and INOUT parameters, in order.
    pub(super) out: Vec<Out>,
    /// The position of the page size among the arguments, if there is one.
    limit_at: Option<usize>,
    page: Page,
    pub(super) guard: Guard,
    /// The object reads traces of an earlier call from the session.
    pub(super) reads_session: bool,
    /// The object leaves a trace in the session.
    pub(super) leaves_session: bool,
    /// Of the routine that was bound. A read has one only where values could be mistaken for each other.
    pub(super) signature: Option<String>,
    pub(super) json: JsonNames,
}

/// The means that keep a read from writing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// It runs in a transaction that cannot write. Of writes, nothing does.
    ReadOnly,
    /// It builds a temporary table: it runs in a transaction that is rolled back.
    RolledBack,
}

/// Which texts of an answer are JSON: a name in the template goes before the same name in the catalog.
#[derive(Debug)]
pub(super) struct JsonNames {
    told: HashMap<String, bool>,
    /// Names that the object gives to JSON; a function that returns JSON gives its own.
    named: BTreeSet<String>,
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

/// Names that the objects of a template can answer, as far as the catalog tells.
pub(super) fn answers<'c>(catalog: &'c Catalog, template: &Template) -> BTreeSet<&'c str> {
    fit::names(catalog, template)
}

/// Fits one offer to the catalog. An object that fits and is not as it should be gives warnings.
pub(super) fn bind(
    catalog: &Arc<Catalog>,
    template: &Template,
    offer: &Offer<'_>,
    warnings: &mut Vec<Mistake>,
) -> std::result::Result<Binding, Misfit> {
    let fit = fit::fit(catalog, template, offer)?;
    fit::warn(catalog, template, offer, &fit, warnings);
    let object = offer.object;
    let parameters = fit.routine.map_or(&[][..], |routine| &routine.parameters);
    check_names(object, parameters.iter().map(|parameter| field_of(&parameter.name)))?;
    let mut slots: Vec<Slot> = parameters
        .iter()
        .map(|p| Slot { source: source(p, offer), sql_type: SqlType::of(p) })
        .collect();
    let is_view = fit.routine.is_none();
    let is_job = offer.operation == Operation::Job;
    if is_view && !is_job {
        slots.push(Slot { source: Source::Limit, sql_type: SqlType::UNSIGNED });
    }
    let has = |wanted: &Source| slots.iter().any(|slot| slot.source == *wanted);
    check_needed(offer, has)?;
    check_facts(template, offer, &slots, warnings)?;
    check_scope(template, offer, slots.iter().map(|slot| &slot.source), fit.answers_before)?;
    let names_a_field = slots.iter().any(|slot| matches!(slot.source, Source::Field(_)));
    // With one value there is no other place that it could go to.
    let values = slots.iter().filter(|slot| slot.source != Source::Nothing).count();
    let is_checked = offer.is_write() || values > 1;
    let out = outs(offer, parameters)?;
    // OUT values have no place in a bare record: their
    // object answers everything (decision 0020).
    let shape = if out.is_empty() { offer.answer } else { AnswerShape::All };
    Ok(Binding {
        takes_any_field: has(&Source::Document) && !names_a_field,
        limit_at: slots.iter().position(|slot| slot.source == Source::Limit),
        page: Page { size: None, has_next: has(&Source::After), has_spare: is_view && !is_job },
        statement: statement(object, fit.routine, is_job),
        form: Form::of(template, offer, shape),
        slots,
        is_step: offer.is_step(),
        is_lenient: offer.part != JobPart::Work,
        tells_progress: fit.tells_progress,
        out,
        guard: fit.guard,
        reads_session: fit.reads_session,
        leaves_session: fit.leaves_session,
        signature: fit.routine.filter(|_| is_checked).and_then(|routine| routine.signature.clone()),
        json: JsonNames {
            told: template
                .fields
                .iter()
                .filter_map(|(name, field)| Some((name.clone(), field.json?)))
                .collect(),
            named: fit.json_names,
            catalog: Arc::clone(catalog),
        },
    })
}

/// The values that come back beside the rows.
fn outs(offer: &Offer<'_>, parameters: &[Parameter]) -> std::result::Result<Vec<Out>, Misfit> {
    let out = parameters.iter().filter(|p| p.mode != Mode::In);
    let out: Vec<Out> = out
        .map(|p| Out { name: field_of(&p.name).to_owned(), is_json: SqlType::of(p).is_json() })
        .collect();
    if offer.operation == Operation::Job && !out.is_empty() {
        let message = format!("{} is for a job, and has OUT parameters", offer.object);
        return Err(Misfit::new(message, "ask the DBA for an object that answers rows alone"));
    }
    Ok(out)
}

/// Checks the parameters without which the operation has no meaning.
fn check_needed(
    offer: &Offer<'_>,
    has: impl Fn(&Source) -> bool,
) -> std::result::Result<(), Misfit> {
    let object = offer.object;
    if offer.is_step() && !(has(&Source::After) && has(&Source::Limit)) {
        let message = format!("{object} has no parameters p_after and p_limit, which steps need");
        return Err(Misfit::new(message, "ask the DBA for both (docs/dba.md, Jobs)"));
    }
    if offer.is_by_id() && !has(&Source::Id) {
        let message = format!("{object} has no parameter p_id, which {} needs", offer.operation);
        return Err(Misfit::new(message, "ask the DBA for p_id"));
    }
    Ok(())
}

/// Checks the parameters that take facts about the caller.
fn check_facts(
    template: &Template,
    offer: &Offer<'_>,
    slots: &[Slot],
    warnings: &mut Vec<Mistake>,
) -> std::result::Result<(), Misfit> {
    let (object, sources) = (offer.object, slots.iter().map(|slot| &slot.source));
    check_rows(&template.rows, object, sources.clone())?;
    warnings.extend(note(template, offer, sources));
    let roles = slots.iter().find(|slot| slot.source == Source::Roles);
    if roles.is_some_and(|slot| !slot.sql_type.is_text()) {
        let message = format!("{object} takes p_beds_roles as no text");
        return Err(Misfit::new(message, "ask the DBA to declare it as JSON or LONGTEXT"));
    }
    Ok(())
}

/// The one statement of an operation.
fn statement(object: &str, routine: Option<&Routine>, is_job: bool) -> String {
    let Some(routine) = routine else {
        let limit = if is_job { "" } else { " LIMIT ?" };
        return format!("SELECT * FROM `{object}`{limit}");
    };
    let marks = vec!["?"; routine.parameters.len()].join(",");
    match routine.is_function {
        true => format!("SELECT `{object}`({marks}) AS `{object}`"),
        false => format!("CALL `{object}`({marks})"),
    }
}

impl JsonNames {
    /// True where the text of a column is JSON. `table` is none where it comes from no table of this database; `looks_so`
    /// where the server describes the column as it does JSON, which it also does other texts that are compared by bytes.
    pub(super) fn is_json(
        &self,
        name: &str,
        table: Option<&str>,
        column: &str,
        looks_so: bool,
    ) -> bool {
        if let Some(told) = self.told.get(name) {
            return *told;
        }
        let columns = &self.catalog.columns;
        match table.and_then(|table| columns.is_json(table, column)) {
            Some(is_json) => is_json,
            None => looks_so || self.named.contains(name) || columns.are_json(name),
        }
    }
}

impl Binding {
    /// An error where the caller's fields hold a mistake.
    pub(super) fn check(&self, event: &Event) -> Result<()> {
        let own = |name: &&&str| self.is_step && event.fields().contains_key(**name);
        match ["after", "limit"].iter().find(own) {
            None => self.arguments(event).map(drop),
            Some(name) => {
                let known = self.parameters();
                let known: Vec<&str> = known.keys().map(String::as_str).collect();
                Err(operations::unknown_field(name, &known))
            }
        }
    }

    /// The values of the placeholders, in order, or the mistake in the caller's fields.
    pub(super) fn arguments(&self, event: &Event) -> Result<Vec<Sql>> {
        self.check_names(event.fields())?;
        self.slots.iter().map(|slot| self.argument(slot, event)).collect()
    }

    /// The id that the event asks for, as the server writes it.
    pub(super) fn asked_id(&self, event: &Event) -> Option<String> {
        let slot = self.slots.iter().find(|slot| slot.source == Source::Id)?;
        match slot.sql_type.parse("id", event.record_id()?).ok()? {
            Sql::Int(number) => Some(number.to_string()),
            Sql::UInt(number) => Some(number.to_string()),
            Sql::Bytes(text) => String::from_utf8(text).ok(),
            _ => None,
        }
    }

    /// The page that the arguments ask for.
    pub(super) fn page(&self, arguments: &[Sql]) -> Page {
        // The one row of a step is no page.
        if self.is_step {
            return Page::default();
        }
        let asked = match self.limit_at.and_then(|at| arguments.get(at)) {
            Some(Sql::UInt(limit)) => usize::try_from(*limit).ok(),
            _ => None,
        };
        let spare = usize::from(self.page.has_spare);
        Page { size: asked.map(|asked| asked.saturating_sub(spare)), ..self.page }
    }

    pub(super) fn takes_any_field(&self) -> bool {
        self.takes_any_field
    }

    pub(super) fn has_field(&self, name: &str) -> bool {
        self.slots.iter().any(|slot| matches!(&slot.source, Source::Field(field) if field == name))
    }

    /// Fields and their types, for `/v1/templates` and `beds check`.
    pub(super) fn parameters(&self) -> BTreeMap<String, String> {
        let named = |slot: &Slot| match &slot.source {
            Source::Field(name) => Some((name.clone(), slot.sql_type.declared.clone())),
            Source::Limit | Source::After if self.is_step => None,
            Source::Limit => Some(("limit".to_owned(), operations::limit_words())),
            Source::After => Some(("after".to_owned(), slot.sql_type.declared.clone())),
            _ => None,
        };
        self.slots.iter().filter_map(named).collect()
    }

    fn check_names(&self, fields: &Fields) -> Result<()> {
        if self.takes_any_field || self.is_lenient {
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

    fn argument(&self, slot: &Slot, event: &Event) -> Result<Sql> {
        let (is_write, fields) = (self.form.operation.is_write(), event.fields());
        match &slot.source {
            Source::Id => match event.record_id() {
                Some(id) => slot.sql_type.parse("id", id),
                None => Ok(Sql::NULL),
            },
            Source::Limit if self.is_step => match fields.get("limit") {
                Some(limit) => slot.sql_type.convert("limit", limit),
                None => Ok(Sql::NULL),
            },
            Source::Limit => {
                let spare = u32::from(self.page.has_spare);
                operations::limit(fields).map(|limit| Sql::UInt(u64::from(limit + spare)))
            }
            Source::After => match fields.get("after") {
                Some(Json::String(after)) => slot.sql_type.parse("after", after),
                Some(other) => slot.sql_type.convert("after", other),
                None => Ok(Sql::NULL),
            },
            Source::Document => {
                let text = serde_json::to_vec(fields).map_err(operations::unwritten)?;
                Ok(Sql::Bytes(text))
            }
            Source::EventId => Ok(Sql::Bytes(event.event_id.0.clone().into_bytes())),
            Source::Actor => Ok(Sql::Bytes(event.actor.subject.clone().into_bytes())),
            Source::Roles => {
                let text = serde_json::to_vec(&event.actor.roles).map_err(operations::unwritten)?;
                Ok(Sql::Bytes(text))
            }
            // Never NULL: a comparison with it would choose other rows than those of the claim.
            Source::Claim(name) => match event.actor.claims.get(name) {
                None => Err(operations::missing_claim(name)),
                Some(claim) => claim_value(slot, name, claim),
            },
            Source::Nothing => Ok(Sql::NULL),
            Source::Field(name) => match fields.get(name) {
                // Arguments of a read come from a URL, so numbers and dates may be text there.
                Some(Json::String(text)) if event.text || !is_write => {
                    slot.sql_type.parse(name, text)
                }
                Some(value) => slot.sql_type.convert(name, value),
                // Binds NULL: an object that must tell a missing
                // field from a null takes p_document too.
                None if is_write => Ok(Sql::NULL),
                None => Err(operations::missing(name)),
            },
        }
    }
}

fn claim_value(slot: &Slot, name: &str, claim: &Claim) -> Result<Sql> {
    let value = match claim {
        Claim::Text(text) => slot.sql_type.parse(name, text),
        Claim::Whole(number) => slot.sql_type.convert(name, &Json::from(*number)),
    };
    value.map_err(|error| operations::unfit_claim(name).with_source(error))
}

fn source(parameter: &Parameter, offer: &Offer<'_>) -> Source {
    let name = field_of(&parameter.name);
    match parameter.mode {
        Mode::Out => Source::Nothing,
        _ => Source::of(name, offer, name == "document" && SqlType::of(parameter).is_text()),
    }
}

fn field_of(parameter: &str) -> &str {
    parameter.strip_prefix("p_").or_else(|| parameter.strip_prefix("P_")).unwrap_or(parameter)
}
