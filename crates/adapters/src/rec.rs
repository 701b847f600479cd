//! REC: templates in MongoDB. A template's operation is one named operation of the DBA's, a document of `beds_objects`,
//! with values put in as typed values, never as text. `rel` is built the same way, file by file.

mod bind;
mod call;
mod catalog;
mod connect;
mod convert;
mod error;
mod fill;
mod lint;
mod once;
mod schema;

use std::sync::Arc;

use async_trait::async_trait;
use beds_core::reply::Answer;
use beds_core::{
    Event, Fields, NamasteCore, Operation, Payload, Problem, Query, Response, Result, Select, Template,
    TemplateAdapter, TemplateDescription,
};

pub(crate) use connect::Database;
pub(crate) use schema::apply;

use crate::operations::Operations;
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

/// A template opened for one event.
struct Opened {
    template: Arc<RecTemplate>,
    event: Arc<Event>,
}

impl Opened {
    fn binding(&self, operation: Operation, name: Option<&str>) -> Result<&Arc<Binding>> {
        self.template.operations.get(&self.template.template, operation, name)
    }

    async fn read(
        &self,
        operation: Operation,
        name: Option<&str>,
        id: Option<&str>,
        params: &Fields,
    ) -> Result<Answer> {
        let binding = self.binding(operation, name)?;
        let arguments = binding.arguments(&self.event, id, params)?;
        call::read(&self.template.database, binding, arguments, &self.event).await
    }

    async fn write(&self, operation: Operation, id: Option<&str>, fields: &Fields) -> Result<Response> {
        let binding = self.binding(operation, None)?;
        let arguments = binding.arguments(&self.event, id, fields)?;
        once::write(&self.template.database, binding, arguments, &self.event).await.map(Answer::into_response)
    }
}

#[async_trait]
impl NamasteCore for Opened {
    async fn create_record(&self, payload: &Payload) -> Result<Response> {
        self.write(Operation::Create, None, &payload.fields).await
    }

    async fn fetch_records(&self, query: &Query) -> Result<Vec<Response>> {
        let answer = match &query.select {
            Select::ById(id) => {
                let answer = self.read(Operation::Fetch, None, Some(id), &query.params).await?;
                crate::operations::found(answer, id)?
            }
            Select::List => self.read(Operation::List, None, None, &query.params).await?,
            Select::Named(name) => self.read(Operation::Fetch, Some(name), None, &query.params).await?,
        };
        Ok(answer.into_responses())
    }

    async fn update_record(&self, payload: &Payload) -> Result<Response> {
        self.write(Operation::Update, payload.id.as_deref(), &payload.fields).await
    }

    async fn delete_record(&self, id: &str) -> Result<Response> {
        self.write(Operation::Delete, Some(id), &Fields::new()).await
    }
}
