//! Whether an offer's object may be called for its operation, and with which care. An object that must not be bound is a
//! mistake; a working object that is not as it should be, a warning.
//!
//! Not here: which parameter takes which value, which is the parent's.

use std::collections::BTreeSet;

use beds_core::template::changes::SCOPE_BEFORE;
use beds_core::template::{Effect, Offer};
use beds_core::{Mistake, Operation, Template};

use super::Guard;
use crate::misfit::Misfit;
use crate::rel::catalog::{Catalog, Routine};
use crate::rel::convert::SqlType;
use crate::rel::lint::Findings;

/// The table in which a job says how far it is, in capitals.
const PROGRESS: &str = "BEDS_JOB_PROGRESS";

/// An object that fits.
pub(super) struct Fit<'c> {
    /// None for a view.
    pub(super) routine: Option<&'c Routine>,
    findings: &'c Findings,
    pub(super) guard: Guard,
    pub(super) reads_session: bool,
    pub(super) leaves_session: bool,
    /// It says how far it is.
    pub(super) tells_progress: bool,
    /// It can answer the scope of a record before its update.
    pub(super) answers_before: bool,
    /// Names under which it answers JSON.
    pub(super) json_names: BTreeSet<String>,
}

/// Fits an object to its offer, or says why it does not fit.
pub(super) fn fit<'c>(
    catalog: &'c Catalog,
    template: &Template,
    offer: &Offer<'_>,
) -> Result<Fit<'c>, Misfit> {
    if offer.effect == Effect::Merges {
        let message = format!("{} is for a job of the kind merge, which MongoDB has", offer.object);
        let fix = "write kind = \"steps\", and let the object write a part with each call";
        return Err(Misfit::new(message, fix));
    }
    let (routine, findings) = find(catalog, template, offer)?;
    if let Some(reason) = &findings.refusal {
        let fix = "ask the DBA to change it: BEDS begins and commits, and takes no value that a mode would cut (docs/dba.md)";
        return Err(Misfit::new(format!("{} cannot {reason}", offer.object), fix));
    }
    if let Some(routine) = routine {
        check_routine(routine, offer)?;
    }
    let guard = guard(findings, offer)?;
    let (reads_session, leaves_session) = (findings.reads_session, findings.leaves_session);
    let tells_progress = findings.written.contains(PROGRESS);
    let mut json_names = findings.json_names.clone();
    json_names
        .extend(routine.filter(|routine| routine.returns_json).map(|_| offer.object.to_owned()));
    let answers_before = findings.names.iter().any(|name| name.eq_ignore_ascii_case(SCOPE_BEFORE));
    Ok(Fit {
        routine,
        findings,
        guard,
        reads_session,
        leaves_session,
        tells_progress,
        answers_before,
        json_names,
    })
}

/// The routine, or none for a view, and the findings about it.
fn find<'c>(
    catalog: &'c Catalog,
    template: &Template,
    offer: &Offer<'_>,
) -> Result<(Option<&'c Routine>, &'c Findings), Misfit> {
    let object = offer.object;
    // The name becomes a part of the statement's text, so it can hold no quote.
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '$';
    if object.is_empty() || object.len() > 64 || !object.chars().all(is_name) {
        let message = format!("{object:?} cannot be the name of a database object");
        return Err(Misfit::new(message, "use letters, digits, _ and $"));
    }
    if let Some(routine) = catalog.routines.get(object) {
        return Ok((Some(routine), &routine.findings));
    }
    match (catalog.views.get(object), catalog.not_granted.get(object)) {
        (Some(_), _) if offer.is_write() => Err(Misfit::new(
            format!("{object} is a view, and {} writes", offer.operation),
            "name a procedure",
        )),
        (Some(view), _) => Ok((None, &view.findings)),
        (None, Some(right)) => {
            let message =
                format!("this login may not use {object} of the database {}", template.database);
            Err(Misfit::new(
                message,
                format!("ask the DBA for GRANT {right} {object} TO beds_runtime"),
            ))
        }
        (None, None) => {
            let message = format!(
                "the database {} has no procedure, function or view {object} that this login may use",
                template.database
            );
            let fix = "ask the DBA to create it and to grant it to the role beds_runtime, or correct the name";
            Err(Misfit::new(message, fix))
        }
    }
}

fn check_routine(routine: &Routine, offer: &Offer<'_>) -> Result<(), Misfit> {
    let (object, is_write) = (offer.object, offer.is_write());
    if is_write && routine.is_function {
        let message = format!("{object} is a function, and {} writes", offer.operation);
        return Err(Misfit::new(message, "name a procedure"));
    }
    // A job may say how far it is.
    if !is_write && offer.operation != Operation::Job && routine.is_declared_to_write {
        let message = format!("{object} declares MODIFIES SQL DATA, and {} reads", offer.operation);
        return Err(Misfit::new(
            message,
            "name an object that reads, or ask the DBA to declare its effect",
        ));
    }
    if is_write && routine.is_declared_to_read {
        let message = format!("{object} declares READS SQL DATA, and {} writes", offer.operation);
        return Err(Misfit::new(
            message,
            "name an object that writes, or ask the DBA to declare its effect",
        ));
    }
    if let Some(parameter) = routine.parameters.iter().find(|p| SqlType::of(p).is_unknown()) {
        let message = format!(
            "{object} has the parameter {} of the type {}",
            parameter.name, parameter.declared
        );
        return Err(Misfit::new(
            message,
            "ask the DBA for another type; values of this one have no form in JSON",
        ));
    }
    Ok(())
}

/// The kind of transaction for a call. A read that builds a temporary table cannot run in a read-only one.
fn guard(findings: &Findings, offer: &Offer<'_>) -> Result<Guard, Misfit> {
    if offer.operation == Operation::Job && !offer.is_write() {
        return guard_of_job(findings, offer.object);
    }
    if offer.is_write() && findings.written.contains(PROGRESS) {
        let message =
            format!("{} writes, and its row in beds_job_progress would stay", offer.object);
        let fix = "ask the DBA to leave it out: of a job in steps, BEDS counts the steps itself";
        return Err(Misfit::new(message, fix));
    }
    if offer.is_write() || !findings.builds_temporary {
        return Ok(Guard::ReadOnly);
    }
    let object = offer.object;
    // A rollback undoes changes of InnoDB tables only.
    let kept = findings.unsafe_tables.iter().map(String::as_str).next();
    if let Some(kept) = kept.or_else(|| findings.advances_sequence.then_some("a sequence")) {
        let message = format!(
            "{object} reads, builds a temporary table, and writes {kept}, which is not rolled back"
        );
        return Err(Misfit::new(
            message,
            "ask the DBA to leave that write out of an object that reads",
        ));
    }
    if let Some(other) = findings.elsewhere.first() {
        let message = format!(
            "{object} reads, builds a temporary table, and writes or calls {other}, of which BEDS cannot see whether it is rolled back"
        );
        let fix =
            "ask the DBA to leave other databases out of an object that builds a temporary table";
        return Err(Misfit::new(message, fix));
    }
    Ok(Guard::RolledBack)
}

/// A job that reads writes its progress and nothing else: it is rolled back at its end, also in the middle of its work.
fn guard_of_job(findings: &Findings, object: &str) -> Result<Guard, Misfit> {
    let own = findings.written.iter().find(|table| *table != PROGRESS);
    let other =
        own.map(|table| table.to_lowercase()).or_else(|| findings.elsewhere.first().cloned());
    let other = other.or_else(|| findings.advances_sequence.then(|| "a sequence".to_owned()));
    match other {
        None => Ok(Guard::RolledBack),
        Some(other) => {
            let message = format!("{object} is for a job that reads, and writes or calls {other}");
            let fix = "ask the DBA for an object that writes beds_job_progress and nothing else";
            Err(Misfit::new(message, fix))
        }
    }
}

/// Reports the things about a fitting object that a DBA should know.
pub(super) fn warn(
    catalog: &Catalog,
    template: &Template,
    offer: &Offer<'_>,
    fit: &Fit<'_>,
    warnings: &mut Vec<Mistake>,
) {
    let (object, findings) = (offer.object, fit.findings);
    let mut warn = |message: String, fix: &str| {
        warnings.push(template.mistake(&offer.key, message, fix).as_warning());
    };
    if offer.is_write() && !findings.unsafe_tables.is_empty() {
        let tables: Vec<&str> = findings.unsafe_tables.iter().map(String::as_str).collect();
        let message = format!(
            "{object} writes {}, which is not rolled back when the write is refused",
            tables.join(", ")
        );
        warn(message, "ask the DBA to make it an InnoDB table");
    }
    let (routine, view) = (catalog.routines.get(object), catalog.views.get(object));
    if routine.is_some_and(|routine| routine.is_invoker) || view.is_some_and(|view| view.is_invoker)
    {
        let message = format!(
            "{object} is SQL SECURITY INVOKER, so the node's login needs rights on its tables"
        );
        warn(message, "ask the DBA to make it SQL SECURITY DEFINER");
    }
    if let Some(routine) = routine.filter(|r| !r.is_invoker && r.definer != catalog.server.definer)
    {
        let message = format!(
            "{object} runs with the rights of {}, and beds_catalog with those of {}",
            routine.definer, catalog.server.definer
        );
        warn(
            message,
            "ask the DBA to make both with one login: beds_end cannot end a call of another one's that was given up (error 1095), and without its login the object cannot be called (error 1449)",
        );
    }
}

/// Names that all objects of a template can answer, as far as the catalog tells: columns of their tables, and every word of theirs.
pub(in crate::rel) fn names<'c>(catalog: &'c Catalog, template: &Template) -> BTreeSet<&'c str> {
    let of = |object: &str| {
        let routine = catalog.routines.get(object).map(|routine| &routine.findings);
        routine.or_else(|| catalog.views.get(object).map(|view| &view.findings))
    };
    let mut names = BTreeSet::new();
    let offers = template.offers();
    for findings in offers.iter().filter_map(|offer| of(offer.object)) {
        names.extend(findings.names.iter().map(String::as_str));
        names.extend(catalog.columns.of_tables(findings.tables.iter()));
    }
    // A function's value has the function's name.
    let functions = catalog.routines.iter().filter(|(_, routine)| routine.is_function);
    names.extend(
        functions
            .map(|(name, _)| name.as_str())
            .filter(|name| offers.iter().any(|offer| offer.object == *name)),
    );
    names
}
