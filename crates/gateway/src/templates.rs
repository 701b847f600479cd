//! `GET /v1/templates`: the operations for callers, from the templates and from the bindings on this node.
//!
//! Not here: whether a template fits its database (crate adapters).

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use beds_core::templates::is_for_callers;
use beds_core::{Template, TemplateDescription};
use serde_json::{Value, json};

use crate::problem::{ProblemDocument, with_event_id};
use crate::request::Params;
use crate::{Room, request};

pub(crate) async fn all(State(room): State<Arc<Room>>) -> Response {
    let descriptions = (room.lent.describe)();
    let templates = room.lent.templates.load();
    let templates: Vec<Value> =
        templates.iter().map(|t| describe(t, descriptions.get(&t.name))).collect();
    with_event_id(axum::Json(json!({ "templates": templates })).into_response(), &room.event_id())
}

pub(crate) async fn one(State(room): State<Arc<Room>>, path: Params<String>) -> Response {
    let templates = room.lent.templates.load();
    let name = match request::path_of(path) {
        Ok(name) => name,
        Err(error) => return ProblemDocument::new(error, room.event_id()).into_response(),
    };
    match templates.get(&name) {
        Ok(template) => {
            let description = axum::Json(describe(template, (room.lent.describe)().get(&name)));
            with_event_id(description.into_response(), &room.event_id())
        }
        Err(error) => ProblemDocument::new(error, room.event_id()).into_response(),
    }
}

fn describe(template: &Template, bound: Option<&TemplateDescription>) -> Value {
    let is_offered = |operation| is_for_callers(&template.name, operation).is_ok();
    let operations: Vec<Value> = match bound {
        Some(bound) => bound
            .operations
            .iter()
            .filter(|op| is_offered(op.operation))
            .map(|op| json!(op))
            .collect(),
        // Bound on another node: which operations there are is known, their parameters are not.
        None => {
            let offers = template.offers().into_iter().filter(|offer| is_offered(offer.operation));
            offers.map(|offer| json!({"operation": offer.operation, "name": offer.name})).collect()
        }
    };
    json!({
        "name": template.name,
        "description": template.description,
        "store": template.store,
        "id": template.id,
        "operations": operations,
        "fields": template.fields,
        "records": format!("/v1/records/{}", template.name),
    })
}
