//! [`Opened`]: `NamasteCore` over a template of either store.
//!
//! Not here: reads and writes in a store ([`Reach`], rel.rs, rec.rs).

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use beds_core::reply::Answer;
use beds_core::{Event, Fields, NamasteCore, Operation, Payload, Query, Response, Result, Select};

/// A template bound to its store.
pub(crate) trait Reach: Send + Sync + 'static {
    /// Reads with the operation, or with the fetch of that name.
    fn read(
        &self,
        event: &Arc<Event>,
        operation: Operation,
        name: Option<&str>,
        id: Option<&str>,
        params: &Fields,
    ) -> impl Future<Output = Result<Answer>> + Send;

    /// Writes once.
    fn write(
        &self,
        event: &Arc<Event>,
        operation: Operation,
        id: Option<&str>,
        fields: &Fields,
    ) -> impl Future<Output = Result<Answer>> + Send;
}

/// A template opened for one event.
pub(crate) struct Opened<T> {
    pub(crate) template: Arc<T>,
    pub(crate) event: Arc<Event>,
}

impl<T: Reach> Opened<T> {
    async fn write(&self, operation: Operation, id: Option<&str>, fields: &Fields) -> Result<Response> {
        self.template.write(&self.event, operation, id, fields).await.map(Answer::into_response)
    }
}

#[async_trait]
impl<T: Reach> NamasteCore for Opened<T> {
    async fn create_record(&self, payload: &Payload) -> Result<Response> {
        self.write(Operation::Create, None, &payload.fields).await
    }

    async fn fetch_records(&self, query: &Query) -> Result<Vec<Response>> {
        let (template, event, params) = (&self.template, &self.event, &query.params);
        let answer = match &query.select {
            Select::ById(id) => template.read(event, Operation::Fetch, None, Some(id), params).await?,
            Select::List => template.read(event, Operation::List, None, None, params).await?,
            Select::Named(name) => template.read(event, Operation::Fetch, Some(name), None, params).await?,
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
