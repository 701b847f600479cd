//! [`Source`]: where the value of an object's parameter comes from. The names that mean more than a field are the same in both stores.
//!
//! Not here: the conversion of the value, which each store does (rel/bind.rs, rec/bind.rs).

use beds_core::event::{CLAIM, is_proved};
use beds_core::template::changes::SCOPE_BEFORE;
use beds_core::template::{Offer, Rows};
use beds_core::{Mistake, Operation, Template};

use crate::misfit::Misfit;

/// Where a parameter's value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// The record that the request names.
    Id,
    /// The size of the page.
    Limit,
    /// The last record of the page before.
    After,
    /// All fields together.
    Document,
    EventId,
    /// The subject of the actor.
    Actor,
    /// The roles of the actor, as JSON.
    Roles,
    /// A claim of the actor.
    Claim(String),
    /// A field of the request.
    Field(String),
    /// Nowhere: it only answers.
    Nothing,
}

impl Source {
    /// By the name of a parameter that takes a value. `is_whole` where it is one that can take all fields together.
    pub(crate) fn of(name: &str, offer: &Offer<'_>, is_whole: bool) -> Self {
        // A job that reads has no pages: its parameters of these names are as any other.
        let is_paged = offer.is_paged();
        match name {
            "event_id" => Source::EventId,
            "actor" => Source::Actor,
            "beds_roles" => Source::Roles,
            _ if name.starts_with(CLAIM) => Source::Claim(name[CLAIM.len()..].to_owned()),
            "limit" if is_paged => Source::Limit,
            "after" if is_paged => Source::After,
            _ if is_whole => Source::Document,
            // A named fetch may have an argument called id; the basic operations have the record's.
            "id" if offer.name.is_none() && offer.operation != Operation::Create => Source::Id,
            field => Source::Field(field.to_owned()),
        }
    }
}

/// The first name that is one of a proved fact but for its capitals: a caller could send it, and choose the rows of others by it.
pub(crate) fn check_names<'n>(
    object: &str,
    names: impl Iterator<Item = &'n str>,
) -> Result<(), Misfit> {
    let is_near = |name: &&str| !is_proved(name) && is_proved(&name.to_ascii_lowercase());
    match names.into_iter().find(is_near) {
        None => Ok(()),
        Some(name) => {
            let message = format!(
                "{object} has the parameter {name}, which is a name of BEDS's in other letters"
            );
            let fix = "ask the DBA to write it in small letters, so that it is filled from the proved caller";
            Err(Misfit::new(message, fix))
        }
    }
}

/// The rules of `[rows]` that an object does not fulfil: rows are chosen by the parameters that it takes.
pub(crate) fn check_rows<'s>(
    rows: &Rows,
    object: &str,
    sources: impl Iterator<Item = &'s Source> + Clone,
) -> Result<(), Misfit> {
    let takes = |wanted: Source| sources.clone().any(|source| *source == wanted);
    let claims =
        rows.claims.iter().map(|claim| (format!("claim_{claim}"), Source::Claim(claim.clone())));
    let owner = rows.owner.then(|| ("actor".to_owned(), Source::Actor));
    for (parameter, source) in claims.chain(owner) {
        if !takes(source) {
            let message = format!("{object} has no parameter {parameter}, which [rows] demands");
            let fix = "ask the DBA for it (p_ in front in MariaDB), or correct [rows]";
            return Err(Misfit::new(message, fix));
        }
    }
    Ok(())
}

/// The rules of `[changes]` that an object does not fulfil: a read that chooses rows by a claim which the scope leaves out would show less
/// than the changes tell, and a record that an update moves would be told to the wrong callers. `answers_before` is true where the
/// object can answer the scope of before.
pub(crate) fn check_scope<'s>(
    template: &Template,
    offer: &Offer<'_>,
    mut sources: impl Iterator<Item = &'s Source> + Clone,
    answers_before: bool,
) -> Result<(), Misfit> {
    let (changes, object) = (&template.changes, offer.object);
    if !changes.on {
        return Ok(());
    }
    let is_open = |source: &&Source| matches!(source, Source::Claim(claim) if !changes.scope.values().any(|by| by == claim));
    if let Some(Source::Claim(claim)) = sources.clone().find(is_open) {
        let message = format!(
            "{object} chooses rows by claim_{claim}, and the scope under [changes] leaves it out"
        );
        let fix = "name the field that holds it, such as scope = { tenant = \"tenant\" }";
        return Err(Misfit::new(message, fix));
    }
    let moves = |source: &Source| match source {
        Source::Field(field) => changes.scope.keys().any(|key| key.eq_ignore_ascii_case(field)),
        Source::Document => !changes.scope.is_empty(),
        _ => false,
    };
    if offer.operation == Operation::Update && !answers_before && sources.any(moves) {
        let message = format!(
            "{object} can move a record into another scope of [changes], and answers no {SCOPE_BEFORE}"
        );
        let fix = "ask the DBA to answer the values of before under that name, or to leave the field out of the object";
        return Err(Misfit::new(message, fix));
    }
    Ok(())
}

/// A warning where an object takes a proved fact under a name that was a field's in the release before, and the template does not
/// say that this is meant.
pub(crate) fn note<'s>(
    template: &Template,
    offer: &Offer<'_>,
    mut sources: impl Iterator<Item = &'s Source>,
) -> Option<Mistake> {
    let is_new = |source: &&Source| matches!(source, Source::Claim(_) | Source::Roles);
    let source = sources.find(is_new).filter(|_| template.rows == Rows::default())?;
    let name = match source {
        Source::Claim(claim) => format!("claim_{claim}"),
        _ => "beds_roles".to_owned(),
    };
    let message = format!(
        "{} takes {name}, which is filled from the proved caller from this release on",
        offer.object
    );
    let fix = "say under [rows] that it is meant, or ask the DBA for another name";
    Some(template.mistake(&offer.key, message, fix).as_warning())
}
