//! REC: templates in MongoDB. A template's operation is one named operation of the DBA's, a document of `beds_objects`,
//! with values put in as typed values, never as text. `rel` is built the same way, file by file.

mod bind;
mod call;
mod catalog;
mod connect;
mod convert;
mod error;
mod fill;
mod json;
mod lint;
mod once;
mod schema;

use std::sync::Arc;

use beds_core::reply::Answer;
use beds_core::{
    Event, Fields, NamasteCore, Operation, Problem, Result, Template, TemplateAdapter, TemplateDescription,
};

pub(crate) use connect::Database;
pub(crate) use schema::apply;

use crate::inbox;
use crate::opened::{Opened, Reach};
use crate::operations::{Operations, check_rest};
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
) -> Result<Vec<(Arc<Template>, Arc<dyn TemplateAdapter>, Vec<Problem>)>> {
    let catalog = catalog::read(database).await?;
    Ok(templates
        .iter()
        .map(|template| {
            let mut problems = Vec::new();
            let operations =
                Operations::bind(template, |offer| bind::bind(&catalog, template, offer, &mut problems).map(Arc::new));
            let bound = RecTemplate { template: Arc::clone(template), database: Arc::clone(database), operations };
            let takes_any_field = bound.operations.bindings().any(|binding| binding.takes_any_field());
            problems.extend(check_rest(template, &bound.describe(), takes_any_field, |object| {
                catalog.contains_key(object)
            }));
            (Arc::clone(template), Arc::new(bound) as Arc<dyn TemplateAdapter>, problems)
        })
        .collect())
}

impl TemplateAdapter for RecTemplate {
    fn open(self: Arc<Self>, event: Arc<Event>) -> Box<dyn NamasteCore> {
        Box::new(Opened { template: self, event })
    }

    fn describe(&self) -> TemplateDescription {
        self.operations.describe(|binding| binding.parameters())
    }
}

impl Reach for RecTemplate {
    async fn read(
        &self,
        event: &Arc<Event>,
        operation: Operation,
        name: Option<&str>,
        id: Option<&str>,
        params: &Fields,
    ) -> Result<Answer> {
        let binding = self.operations.get(&self.template, operation, name)?;
        let arguments = binding.arguments(event, id, params)?;
        call::read(&self.database, binding, arguments, event).await
    }

    async fn write(
        &self,
        event: &Arc<Event>,
        operation: Operation,
        id: Option<&str>,
        fields: &Fields,
    ) -> Result<Answer> {
        let binding = self.operations.get(&self.template, operation, None)?;
        let arguments = binding.arguments(event, id, fields)?;
        match binding.bulk() {
            // It has no claim to ask, so nobody can tell whether an earlier delivery was done.
            Some(_) if event.remaining().is_zero() => Err(inbox::outcome_unknown(inbox::too_late())),
            Some(bulk) => call::insert_each(&self.database, binding, bulk, arguments, event).await,
            None => once::write(&self.database, binding, arguments, event).await,
        }
    }
}
