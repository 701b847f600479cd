//! REL: templates in MariaDB. A template's operation is one statement of the shapes in `bind`. Nothing else is ever sent but
//! the fixed statements of `connect` and the procedures of the inbox and the catalog. `rec` is built the same way, file by
//! file.
//!
//! Not here: queues and events, which the broker knows.

mod bind;
mod call;
mod catalog;
mod changes;
mod connect;
mod convert;
mod error;
mod job;
mod json;
mod lint;
mod once;
mod schema;

use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use beds_core::job_run::marks_before;
use beds_core::reply::Answer;
use beds_core::ticket::Progress;
use beds_core::{
    Attempt, BedsError, ErrorKind, Event, JobEnd, JobRun, Mistake, Result, Stop, TakesRows,
    Template, TemplateAdapter, TemplateDescription,
};

pub(crate) use changes::Feed;
pub(crate) use connect::Database;
pub(crate) use schema::apply;

use crate::bound::{self, Bound};
use crate::ended::still_there;
use crate::operations::{Operations, lost_fields};
use bind::Binding;
use catalog::Catalog;

/// How often a call is begun anew because its object was replaced while it ran.
const REPLACED: usize = 3;

/// A template bound to a MariaDB database.
pub(crate) struct RelTemplate {
    template: Arc<Template>,
    database: Arc<Database>,
    operations: ArcSwap<Operations<Binding>>,
}

/// Binds templates of one database: asks the database once which objects it has, then fits each template to them.
pub(crate) async fn bind(
    database: &Arc<Database>,
    templates: &[Arc<Template>],
) -> Result<(Vec<Bound>, Vec<Mistake>)> {
    let catalog = Arc::new(catalog::read(database).await?);
    let bound = templates
        .iter()
        .map(|template| {
            let mut mistakes = Vec::new();
            let operations = fit(&catalog, template, &mut mistakes);
            mistakes.extend(check(&catalog, template, &operations));
            let operations = ArcSwap::from_pointee(operations);
            let bound = RelTemplate {
                template: Arc::clone(template),
                database: Arc::clone(database),
                operations,
            };
            Bound::new(template, bound, mistakes)
        })
        .collect();
    let server = &catalog.server;
    let mut told = Vec::new();
    let place = format!("databases.rel.{}", database.name);
    told.extend(bound::clock(&place, server.clock_ahead));
    told.extend(bound::inbox_age(&place, server.oldest_key_hours, database.keep_days));
    if let Some(why) = &server.never_pruned {
        let message = format!("the inbox keeps keys and answers for ever: {why}");
        let fix = "set event_scheduler = ON and enable the event, or schedule CALL beds_inbox_prune (docs/dba.md, The inbox)";
        told.push(Mistake::new(place.clone(), 0, message, fix).as_warning());
    }
    if !matches!(server.time_zone.as_str(), "UTC" | "+00:00" | "Etc/UTC") {
        let message =
            format!("the server's time zone is {}; sessions of BEDS are in UTC", server.time_zone);
        let fix = "set default_time_zone = '+00:00', or mind that NOW() and TIMESTAMP differ for other clients and events";
        told.push(Mistake::new(place, 0, message, fix).as_warning());
    }
    Ok((bound, told))
}

/// A text that changes whenever the objects of the database do; none while that cannot be told.
pub(crate) async fn version(database: &Database) -> Result<Option<String>> {
    catalog::version(database).await
}

fn fit(
    catalog: &Arc<Catalog>,
    template: &Template,
    mistakes: &mut Vec<Mistake>,
) -> Operations<Binding> {
    Operations::bind(template, mistakes, |offer, warnings| {
        bind::bind(catalog, template, offer, warnings)
    })
}

/// Names in a template besides its objects: the id, sensitive fields, jobs.
fn check(catalog: &Catalog, template: &Template, operations: &Operations<Binding>) -> Vec<Mistake> {
    let takes_any_field = operations.bindings().any(|binding| binding.takes_any_field());
    let names = bind::answers(catalog, template);
    let description = operations.describe(Binding::parameters);
    let answers = |name: &str| takes_any_field || names.contains(name);
    let mut mistakes: Vec<Mistake> = lost_fields(template, &description, answers).collect();
    if let Some(message) = changes::missing(catalog, template) {
        let fix =
            "apply schema/rel/main/0007_beds_changes.sql to it, or set on = false under [changes]";
        mistakes.push(template.mistake("changes.on", message, fix));
    }
    // A catalog that tells no name at all cannot refute the id.
    if !names.is_empty() && !names.contains(template.id.as_str()) {
        let near = names.iter().find(|name| name.eq_ignore_ascii_case(&template.id));
        let message = format!("no object of the template can answer a column `{}`", template.id);
        let fix = near.map_or_else(
            || "name the column that identifies a record".to_owned(),
            |near| format!("write id = \"{near}\""),
        );
        mistakes.push(template.mistake("id", message, fix));
    }
    mistakes
}

impl RelTemplate {
    /// Binds the template anew, because an object of its was replaced.
    async fn renew(&self) -> Result<()> {
        let catalog = Arc::new(catalog::read(&self.database).await?);
        let mut mistakes = Vec::new();
        self.operations.store(Arc::new(fit(&catalog, &self.template, &mut mistakes)));
        tracing::info!(
            template = self.template.name,
            "An object was replaced; the template was bound anew."
        );
        mistakes.iter().for_each(|mistake| tracing::warn!("{mistake}"));
        Ok(())
    }

    fn replaced(&self) -> BedsError {
        let text = "the named object is being replaced again and again; not executed";
        BedsError::new(ErrorKind::Unavailable, text)
    }
}

#[async_trait]
impl TemplateAdapter for RelTemplate {
    async fn work(&self, attempt: &Arc<Attempt>) -> Result<Answer> {
        let event = &attempt.event;
        for _ in 0..REPLACED {
            let operations = self.operations.load_full();
            let binding = operations.of(&self.template, event)?;
            let arguments = binding.arguments(event)?;
            self.database.check_there()?;
            let answered = match binding.form.is_write {
                true => {
                    once::write(&self.database, &self.template, binding, &arguments, attempt)
                        .await?
                }
                false => call::read(&self.database, binding, &arguments, attempt).await?,
            };
            match answered {
                Some(answer) => return Ok(answer),
                None => self.renew().await?,
            }
        }
        Err(self.replaced())
    }

    fn check(&self, event: &Event) -> Result<()> {
        self.operations.load().of(&self.template, event)?.check(event)
    }

    async fn progress(&self, event: &Event) -> Result<Option<Progress>> {
        let operations = self.operations.load_full();
        match operations.of(&self.template, event)?.tells_progress {
            true => self.database.progress(&event.event_id).await,
            false => Ok(None),
        }
    }

    async fn run(&self, run: &JobRun, rows: &mut dyn TakesRows, stop: Stop<'_>) -> Result<JobEnd> {
        let event = &run.attempt.event;
        let operations = self.operations.load_full();
        let binding = operations.of(&self.template, event)?;
        let arguments = binding.arguments(event)?;
        self.database.check_there()?;
        job::run(&self.database, binding, &arguments, run, rows, stop).await
    }

    async fn end_runs_before(&self, ticket: &str, epoch: i64) -> Result<()> {
        self.database.check_there()?;
        for lock in marks_before(ticket, epoch) {
            if !self.database.end_job(&lock).await {
                return Err(still_there(&self.database.name));
            }
        }
        Ok(())
    }

    fn asked_id(&self, event: &Event) -> Option<String> {
        let operations = self.operations.load();
        operations.of(&self.template, event).ok()?.asked_id(event)
    }

    fn describe(&self) -> TemplateDescription {
        self.operations.load().describe(Binding::parameters)
    }

    async fn recall(&self, attempt: &Attempt) -> Result<Option<Answer>> {
        once::recall(&self.database, attempt).await
    }
}
