//! REC: templates in MongoDB. A template's operation is one named operation of the DBA's, a document of `beds_objects`,
//! with values put in as typed values, never as text. `rel` is built the same way, file by file.
//!
//! Not here: queues and events, which the broker knows.

mod bind;
mod call;
mod catalog;
mod changes;
mod command;
mod connect;
mod convert;
mod error;
mod job;
mod json;
mod lint;
mod once;
mod schema;

use std::sync::Arc;

use async_trait::async_trait;
use beds_core::reply::Answer;
use beds_core::{
    Attempt, BedsError, ErrorKind, Event, JobEnd, JobRun, Mistake, Result, Stop, TakesRows,
    Template, TemplateAdapter, TemplateDescription,
};

pub(crate) use changes::Feed;
pub(crate) use connect::Database;
pub(crate) use schema::apply;

use crate::bound::{self, Bound};
use crate::inbox;
use crate::operations::{Operations, lost_fields};
use bind::Binding;

/// A template bound to a MongoDB database.
pub(crate) struct RecTemplate {
    template: Arc<Template>,
    database: Arc<Database>,
    operations: Operations<Arc<Binding>>,
}

/// Binds templates of one database: reads `beds_objects` once, then fits each template to it.
pub(crate) async fn bind(
    database: &Arc<Database>,
    templates: &[Arc<Template>],
) -> Result<(Vec<Bound>, Vec<Mistake>)> {
    let catalog = catalog::read(database).await?;
    let bound = templates
        .iter()
        .map(|template| {
            let mut mistakes = Vec::new();
            let operations = Operations::bind(template, &mut mistakes, |offer, warnings| {
                bind::bind(&catalog, template, offer, warnings).map(Arc::new)
            });
            let takes_any_field = operations.bindings().any(|binding| binding.takes_any_field());
            let description = operations.describe(|binding| binding.parameters());
            let names = |field: &str| {
                takes_any_field || operations.bindings().any(|binding| binding.names_field(field))
            };
            // A find without a projection answers fields that no command names, so this is no mistake.
            let lost = lost_fields(template, &description, names);
            mistakes.extend(lost.map(Mistake::as_warning));
            let bound = RecTemplate {
                template: Arc::clone(template),
                database: Arc::clone(database),
                operations,
            };
            Bound::new(template, bound, mistakes)
        })
        .collect();
    let mut told = told(database, &catalog::server(database).await?);
    if templates.iter().any(|template| template.changes.on)
        && let Some(message) = changes::refusal(database).await?
    {
        let fix = "apply schema/rec/main/0005_beds_changes.json to it, or set on = false under [changes] of its templates";
        told.push(Mistake::new(format!("databases.rec.{}", database.name), 0, message, fix));
    }
    Ok((bound, told))
}

/// A text that changes whenever the named operations do.
pub(crate) async fn version(database: &Arc<Database>) -> Result<Option<String>> {
    catalog::version(database).await
}

/// Mistakes and warnings of the server and the inbox.
fn told(database: &Database, server: &catalog::Server) -> Vec<Mistake> {
    let place = format!("databases.rec.{}", database.name);
    let mut told = Vec::new();
    told.extend(bound::clock(&place, server.clock_ahead));
    let kept = i64::from(database.keep_days) * 86_400;
    let fix = "make the index beds_inbox_age with expireAfterSeconds as long as inbox.keep_days, or change inbox.keep_days";
    match server.inbox_seconds {
        Some(seconds) if seconds < kept => {
            let message = format!(
                "the inbox forgets keys after {seconds} s, and inbox.keep_days is {}: a replay within that could take effect twice",
                database.keep_days
            );
            told.push(Mistake::new(&place, 0, message, fix));
        }
        None if server.is_inbox_seen => {
            told.push(
                Mistake::new(&place, 0, "no index removes old keys from the inbox", fix)
                    .as_warning(),
            );
        }
        _ => {}
    }
    let longest = database.handler_seconds;
    if let Some(seconds) = server.transaction_seconds.filter(|seconds| *seconds < longest) {
        let message = format!(
            "a transaction lives {seconds} s at most, and services.rec.handler_timeout is {longest} s"
        );
        let fix = "raise transactionLifetimeLimitSeconds, or lower handler_timeout";
        told.push(Mistake::new(&place, 0, message, fix).as_warning());
    }
    told
}

#[async_trait]
impl TemplateAdapter for RecTemplate {
    async fn work(&self, attempt: &Arc<Attempt>) -> Result<Answer> {
        let event = &attempt.event;
        let binding = self.operations.of(&self.template, event)?;
        let arguments = binding.arguments(event)?;
        self.database.check_there()?;
        if !binding.form.is_write {
            return call::read(&self.database, binding, arguments, attempt).await;
        }
        if event.act.is_some() {
            return call::act(&self.database, binding, &arguments, attempt).await;
        }
        match binding.bulk() {
            // It has no claim to ask, so it is unknown whether an earlier delivery was done.
            Some(_) if attempt.time_to_work().is_zero() => {
                Err(inbox::outcome_unknown(inbox::too_late()))
            }
            Some(bulk) => {
                call::insert_each(&self.database, binding, bulk, arguments, attempt).await
            }
            None => once::write(&self.database, &self.template, binding, arguments, attempt).await,
        }
    }

    fn check(&self, event: &Event) -> Result<()> {
        self.operations.of(&self.template, event)?.arguments(event).map(drop)
    }

    async fn run(&self, run: &JobRun, rows: &mut dyn TakesRows, stop: Stop<'_>) -> Result<JobEnd> {
        let event = &run.attempt.event;
        let binding = self.operations.of(&self.template, event)?;
        let arguments = binding.arguments(event)?;
        self.database.check_there()?;
        job::run(&self.database, binding, &arguments, run, rows, stop).await
    }

    async fn end_runs_before(&self, ticket: &str, epoch: i64) -> Result<()> {
        self.database.check_there()?;
        job::end_before(&self.database, ticket, epoch).await
    }

    fn asked_id(&self, event: &Event) -> Option<String> {
        self.operations.of(&self.template, event).ok()?.asked_id(event)
    }

    fn describe(&self) -> TemplateDescription {
        self.operations.describe(|binding| binding.parameters())
    }

    async fn recall(&self, attempt: &Attempt) -> Result<Option<Answer>> {
        // An insert without a claim leaves nothing that could be asked.
        if self
            .operations
            .of(&self.template, &attempt.event)
            .is_ok_and(|binding| binding.bulk().is_some())
        {
            let text = "this operation keeps no key, so it is unknown whether it was done";
            return Err(inbox::outcome_unknown(BedsError::new(ErrorKind::Unavailable, text)));
        }
        once::recall(&self.database, attempt).await
    }
}
