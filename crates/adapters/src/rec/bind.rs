//! The binding of a named operation: its parameters, checked against the caller's fields, and its command.
//!
//! Not here: where in the command a value may stand, which is `command`'s.

use std::collections::BTreeMap;

use beds_core::actor::Claim;
use beds_core::event::is_proved;
use beds_core::template::changes::SCOPE_BEFORE;
use beds_core::template::{Effect, JobPart, Offer};
use beds_core::{Event, Fields, Mistake, Operation, Result, Template};
use bson::{Bson, Document};
use serde_json::Value as Json;

use super::catalog::Catalog;
use super::command::{Arguments, Command};
use super::convert::{Kind, Spec};
use super::json::id_text;
use super::{convert, lint};
use crate::answer::{Form, Page};
use crate::misfit::Misfit;
use crate::operations;
use crate::source::{Source, check_names, check_rows, check_scope, note};

/// How many documents are inserted at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bulk {
    SkipDuplicates,
    UntilDuplicate,
}

/// One operation of a template, ready to be called.
#[derive(Debug)]
pub(super) struct Binding {
    pub(super) command: Command,
    pub(super) form: Form,
    /// By the names of the parameters.
    slots: BTreeMap<String, Slot>,
    /// It writes what it has read into another collection.
    pub(super) is_merge: bool,
    /// It is called with the fields of another object: those that it does not take are left out.
    is_lenient: bool,
}

#[derive(Debug)]
struct Slot {
    source: Source,
    spec: Spec,
}

/// Fits one offer to the catalog. An object that fits and should be known of gives warnings.
pub(super) fn bind(
    catalog: &Catalog,
    template: &Template,
    offer: &Offer<'_>,
    warnings: &mut Vec<Mistake>,
) -> std::result::Result<Binding, Misfit> {
    let object = offer.object;
    let document = catalog.get(object).ok_or_else(|| {
        let message = format!("beds_objects of the database {} has no {object}", template.database);
        Misfit::new(message, "ask the DBA to add the named operation, or correct the name")
    })?;
    let command = command(document, offer)?;
    let parameters = specs(document, object)?;
    check_names(object, parameters.keys().map(String::as_str))?;
    if offer.is_by_id() && !parameters.contains_key("id") {
        let message = format!("{object} has no parameter id, which {} needs", offer.operation);
        return Err(Misfit::new(message, "ask the DBA for it"));
    }
    if is_bulk(command) && offer.part == JobPart::Publish {
        let message = format!("{object} gives its insert `ordered`, and publishes without a key");
        return Err(Misfit::new(message, "ask the DBA to leave `ordered` out"));
    }
    if is_bulk(command) && !has_own_ids(command, &parameters) {
        let message = format!(
            "{object} gives its insert `ordered`, and its documents may come without an _id"
        );
        let fix = "ask the DBA to leave `ordered` out, or to require an _id: with it, each document is there once by its _id";
        return Err(Misfit::new(message, fix));
    }
    if template.changes.on && offer.is_write() && is_bulk(command) {
        let message =
            format!("{object} inserts without a key of the inbox, where changes are noted");
        let fix = "ask the DBA to leave `ordered` out, or set on = false under [changes]";
        return Err(Misfit::new(message, fix));
    }
    let command = Command::parse(command, &parameters).map_err(|reason| {
        let fix = "ask the DBA to change the command (docs/dba.md)";
        Misfit::new(format!("{object}: {reason}"), fix)
    })?;
    let form = Form::of(template, offer, offer.answer);
    let slots: BTreeMap<String, Slot> = parameters
        .into_iter()
        .map(|(name, spec)| (name.clone(), Slot::new(&name, spec, offer)))
        .collect();
    check_rows(&template.rows, object, slots.values().map(|slot| &slot.source))?;
    // An operation that can answer the values of before names them.
    let answers_before = names(&Bson::Document(command.document().clone()), SCOPE_BEFORE);
    check_scope(template, offer, slots.values().map(|slot| &slot.source), answers_before)?;
    warnings.extend(note(template, offer, slots.values().map(|slot| &slot.source)));
    let roles = slots.values().find(|slot| slot.source == Source::Roles);
    if roles.is_some_and(|slot| slot.spec.kind != Kind::Array) {
        let message = format!("{object} takes beds_roles as no array");
        return Err(Misfit::new(message, "ask the DBA to declare it as an array of strings"));
    }
    let (is_merge, is_lenient) = (offer.effect == Effect::Merges, offer.part != JobPart::Work);
    Ok(Binding { command, form, slots, is_merge, is_lenient })
}

/// The command of a named operation of the right kind.
fn command<'d>(
    document: &'d Document,
    offer: &Offer<'_>,
) -> std::result::Result<&'d Document, Misfit> {
    let object = offer.object;
    let kind = document.get_str("kind").unwrap_or_default();
    let is_right = match (offer.operation, offer.part) {
        (Operation::Job, JobPart::Publish) => matches!(kind, "create" | "update" | "delete"),
        (Operation::Job, JobPart::Total) => matches!(kind, "job" | "fetch" | "list"),
        _ if offer.is_step() => {
            let message = format!("{object} is for a job in steps, which MariaDB has");
            let fix =
                "write kind = \"merge\": no command of MongoDB can say where the next step begins";
            return Err(Misfit::new(message, fix));
        }
        (Operation::Fetch | Operation::Job, _) if kind == "list" => true,
        (operation, _) => kind == operation.as_str(),
    };
    if !is_right {
        let message =
            format!("{object} is of the kind {kind:?}, and is used for {}", offer.operation);
        return Err(Misfit::new(message, "name an operation of the right kind"));
    }
    let command = document.get_document("command").map_err(|_| {
        Misfit::new(format!("{object} has no command"), "ask the DBA to give it a command")
    })?;
    match lint::refusal(command, offer.effect) {
        Some(reason) => {
            let fix = "ask the DBA to change the named operation (docs/dba.md)";
            Err(Misfit::new(format!("{object} is refused: {reason}"), fix))
        }
        None => Ok(command),
    }
}

/// The declared parameters of a named operation, by their names.
fn specs(document: &Document, object: &str) -> std::result::Result<BTreeMap<String, Spec>, Misfit> {
    let parse = |(name, spec): (&String, &Bson)| match Spec::parse(spec) {
        // A fact about the caller is never left out: without it, the call is refused.
        Ok(mut spec) => {
            spec.is_required |= is_proved(name);
            Ok((name.clone(), spec))
        }
        Err(reason) => {
            let message = format!("{object}: the parameter {name} {reason}");
            Err(Misfit::new(message, "see docs/dba.md for the types"))
        }
    };
    document.get_document("params").into_iter().flatten().map(parse).collect()
}

impl Slot {
    fn new(name: &str, spec: Spec, offer: &Offer<'_>) -> Self {
        let is_whole = offer.operation.is_write()
            && spec.kind == Kind::Document
            && matches!(name, "document" | "changes");
        Self { source: Source::of(name, offer, is_whole), spec }
    }
}

impl Binding {
    /// The typed values for a call, or the mistake in the caller's fields.
    pub(super) fn arguments(&self, event: &Event) -> Result<Arguments> {
        let fields = event.fields();
        self.check_names(fields)?;
        let mut arguments = Arguments::new();
        for (name, slot) in &self.slots {
            let spec = &slot.spec;
            let value = self.argument(name, slot, event)?;
            match value.or_else(|| spec.default.clone()) {
                Some(value) => drop(arguments.insert(name.clone(), value)),
                None if spec.is_required => return Err(operations::missing(name)),
                None => {}
            }
        }
        for name in &self.command.matched {
            if !self.slots[name].spec.is_nullable && arguments.get(name).is_none_or(holds_null) {
                return Err(operations::missing(name));
            }
        }
        Ok(arguments)
    }

    /// The id that the event asks for, as the server writes it.
    pub(super) fn asked_id(&self, event: &Event) -> Option<String> {
        let slot = self.slots.values().find(|slot| slot.source == Source::Id)?;
        slot.spec.read("id", event.record_id()?).ok().as_ref().and_then(id_text)
    }

    /// The value of one parameter; none where the request has none.
    fn argument(
        &self,
        name: &str,
        Slot { source, spec }: &Slot,
        event: &Event,
    ) -> Result<Option<Bson>> {
        let fields = event.fields();
        match source {
            Source::EventId => Ok(Some(Bson::String(event.event_id.0.clone()))),
            Source::Actor => Ok(Some(Bson::String(event.actor.subject.clone()))),
            Source::Roles => Ok(Some(Bson::from(event.actor.roles.clone()))),
            // Never left out: a match without it would choose all rows.
            Source::Claim(name) => match event.actor.claims.get(name) {
                None => Err(operations::missing_claim(name)),
                Some(claim) => claim_value(spec, name, claim).map(Some),
            },
            Source::Id => event.record_id().map(|id| spec.read("id", id)).transpose(),
            // The DBA's own default goes before the general page size.
            Source::Limit if spec.default.is_some() && !fields.contains_key(name) => Ok(None),
            Source::Limit => {
                let limit = Bson::Int32(operations::limit(fields)? as i32);
                spec.check(name, &limit).map(|()| Some(limit))
            }
            Source::Document => spec.convert_whole(fields, event.text).map(Some),
            Source::After | Source::Field(_) => match fields.get(name) {
                // Arguments of a read come from a URL, so numbers and dates may be text there.
                Some(Json::String(text)) if event.text || !self.form.operation.is_write() => {
                    spec.read(name, text).map(Some)
                }
                Some(value) => spec.convert(name, value).map(Some),
                None => Ok(None),
            },
            Source::Nothing => Ok(None),
        }
    }

    /// The page that the arguments ask for, or that the DBA's own limit makes. One document is no page.
    pub(super) fn page(&self, arguments: &Arguments) -> Page {
        let has = |wanted: &Source| self.slots.values().any(|slot| slot.source == *wanted);
        let asked = if has(&Source::Limit) {
            arguments.get("limit")
        } else {
            self.command.document().get("limit").filter(|l| size(l) != Some(1))
        };
        Page {
            size: asked.and_then(size),
            has_next: has(&Source::Limit) && has(&Source::After),
            has_spare: false,
        }
    }

    /// None where a create is a write like others. Where the DBA gives an insert its `ordered`, each document is inserted for
    /// itself, without a transaction, and the documents' own `_id`s make that take effect once: with `false` documents that
    /// are there already are left alone, with `true` the first of them ends it.
    pub(super) fn bulk(&self) -> Option<Bulk> {
        let is_ordered = || self.command.document().get_bool("ordered").unwrap_or(true);
        is_bulk(self.command.document())
            .then(|| if is_ordered() { Bulk::UntilDuplicate } else { Bulk::SkipDuplicates })
    }

    /// Fields and their types, for `/v1/templates` and `beds check`.
    pub(super) fn parameters(&self) -> BTreeMap<String, String> {
        let mut parameters = BTreeMap::new();
        for (name, Slot { source, spec }) in &self.slots {
            match source {
                Source::EventId
                | Source::Actor
                | Source::Roles
                | Source::Claim(_)
                | Source::Id
                | Source::Nothing => {}
                Source::Limit => drop(parameters.insert(name.clone(), operations::limit_words())),
                Source::Document if !spec.properties.is_empty() => {
                    parameters.extend(
                        spec.properties
                            .iter()
                            .map(|(name, spec)| (name.clone(), spec.kind.words())),
                    );
                }
                Source::Document | Source::After | Source::Field(_) => {
                    drop(parameters.insert(name.clone(), spec.kind.words()));
                }
            }
        }
        parameters
    }

    /// True where the command names a field, as a key or as `$field`.
    pub(super) fn names_field(&self, field: &str) -> bool {
        names(&Bson::Document(self.command.document().clone()), field)
    }

    /// The operation takes the whole payload and names no field: any field goes.
    pub(super) fn takes_any_field(&self) -> bool {
        let whole = self.slots.values().find(|slot| slot.source == Source::Document);
        whole.is_some_and(|slot| slot.spec.properties.is_empty())
    }

    fn check_names(&self, fields: &Fields) -> Result<()> {
        if self.takes_any_field() || self.is_lenient {
            return Ok(());
        }
        let known = self.parameters();
        match fields.keys().find(|name| !known.contains_key(*name)) {
            None => Ok(()),
            Some(unknown) => {
                let known: Vec<&str> = known.keys().map(String::as_str).collect();
                Err(operations::unknown_field(unknown, &known))
            }
        }
    }
}

fn claim_value(spec: &Spec, name: &str, claim: &Claim) -> Result<Bson> {
    let value = match claim {
        Claim::Text(text) => spec.read(name, text),
        Claim::Whole(number) => spec.convert(name, &Json::from(*number)),
    };
    value.map_err(|error| operations::unfit_claim(name).with_source(error))
}

fn size(limit: &Bson) -> Option<usize> {
    convert::whole(limit).and_then(|n| usize::try_from(n).ok())
}

/// In a match, null selects documents that lack the field; so does one in a list.
fn holds_null(value: &Bson) -> bool {
    match value {
        Bson::Null => true,
        Bson::Array(items) => items.iter().any(holds_null),
        _ => false,
    }
}

fn names(value: &Bson, field: &str) -> bool {
    match value {
        Bson::String(text) => text.trim_start_matches('$').split('.').any(|part| part == field),
        Bson::Array(items) => items.iter().any(|item| names(item, field)),
        Bson::Document(document) => document
            .iter()
            .any(|(key, value)| key.split('.').any(|part| part == field) || names(value, field)),
        _ => false,
    }
}

fn is_bulk(command: &Document) -> bool {
    command.contains_key("insert") && command.contains_key("ordered")
}

/// True where every document that is inserted comes with an `_id`.
fn has_own_ids(command: &Document, parameters: &BTreeMap<String, Spec>) -> bool {
    let parameter = |text: &str| text.strip_prefix("$$").and_then(|name| parameters.get(name));
    let requires_id = |spec: &Spec| spec.properties.get("_id").is_some_and(|id| id.is_required);
    let has_id = |document: &Bson| match document {
        Bson::Document(document) => match document.get("_id") {
            Some(Bson::String(text)) => parameter(text).is_none_or(|spec| spec.is_required),
            id => id.is_some(),
        },
        Bson::String(text) => parameter(text).is_some_and(requires_id),
        _ => false,
    };
    match command.get("documents") {
        Some(Bson::Array(documents)) => documents.iter().all(has_id),
        Some(Bson::String(text)) => {
            parameter(text).and_then(|spec| spec.items.as_deref()).is_some_and(requires_id)
        }
        _ => false,
    }
}
