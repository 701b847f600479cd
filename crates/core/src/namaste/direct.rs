//! [`Direct`]: a [`NamasteCore`] over an adapter, without a queue between the two. The conformance suite runs over it.
//!
//! Not here: the way through a queue (`transport::RemoteTemplate`).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::attempt::Attempt;
use crate::reply::Answer;
use crate::{Event, NamasteCore, Operation, Payload, Query, Response, Result, TemplateAdapter};

/// The longest work on one call.
const LONGEST: Duration = Duration::from_secs(30);

/// A template whose calls go straight to its adapter. `begin` makes the event of each call: its id, template, caller, key and
/// deadline; the call gives it its arguments.
pub struct Direct<F> {
    pub adapter: Arc<dyn TemplateAdapter>,
    pub begin: F,
}

impl<F: Fn(Operation) -> Event + Send + Sync> Direct<F> {
    async fn call(&self, event: Event) -> Result<Answer> {
        event.check_arguments()?;
        self.adapter.work(&Arc::new(Attempt::new(event, LONGEST))).await
    }
}

#[async_trait]
impl<F: Fn(Operation) -> Event + Send + Sync> NamasteCore for Direct<F> {
    async fn create_record(&self, payload: &Payload) -> Result<Response> {
        let event = (self.begin)(Operation::Create).with_payload(payload);
        self.call(event).await.map(Answer::into_response)
    }

    async fn fetch_records(&self, query: &Query) -> Result<Vec<Response>> {
        let event = (self.begin)(query.operation()).with_query(query);
        self.call(event).await.map(Answer::into_responses)
    }

    async fn update_record(&self, payload: &Payload) -> Result<Response> {
        let event = (self.begin)(Operation::Update).with_payload(payload);
        self.call(event).await.map(Answer::into_response)
    }

    async fn delete_record(&self, id: &str) -> Result<Response> {
        let event = (self.begin)(Operation::Delete).with_id(id);
        self.call(event).await.map(Answer::into_response)
    }
}
