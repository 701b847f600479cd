//! From an event to the method of [`beds_core::NamasteCore`] that it asks for.
//!
//! Not here: which adapter a template has, which is `factory`'s.

use std::sync::Arc;

use beds_core::catalogue::is_for_callers;
use beds_core::reply::Answer;
use beds_core::{BedsError, ErrorKind, Event, Operation, Payload, Query, Result, Select, Store};

use crate::Factory;

pub(crate) async fn dispatch(factory: &Factory, event: &Arc<Event>, store: Store) -> Result<Answer> {
    is_for_callers(&event.template, event.operation)?;
    event.params.check_exact()?;
    let core = factory.open(event, store)?;
    let id =
        || event.id.clone().ok_or_else(|| BedsError::new(ErrorKind::BadEvent, "the event has no id").with_field("id"));
    match event.operation {
        Operation::Create => {
            let payload = Payload { id: None, fields: event.params.clone(), is_text: event.text };
            core.create_record(&payload).await.map(|response| Answer::from_responses(vec![response]))
        }
        Operation::Update => {
            let payload = Payload { id: Some(id()?), fields: event.params.clone(), is_text: event.text };
            core.update_record(&payload).await.map(|response| Answer::from_responses(vec![response]))
        }
        Operation::Delete => core.delete_record(&id()?).await.map(|response| Answer::from_responses(vec![response])),
        Operation::List | Operation::Fetch => {
            let select = match (event.operation, &event.object) {
                (Operation::List, _) => Select::List,
                (_, Some(name)) => Select::Named(name.clone()),
                (_, None) => Select::ById(id()?),
            };
            let query = Query { select, params: event.params.clone() };
            core.fetch_records(&query).await.map(Answer::from_responses)
        }
    }
}
