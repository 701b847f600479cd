//! `GET /v1/templates`: the operations for callers, from the templates and from the bindings on this node.
//!
//! Not here: whether a template fits its database (crate adapters).

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use beds_core::template::Field;
use beds_core::templates::is_for_callers;
use beds_core::{Actor, Operation, Rights, Template, TemplateDescription};
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::problem::{ProblemDocument, with_event_id};
use crate::request::Params;
use crate::{Room, request};

pub(crate) async fn all(State(room): State<Arc<Room>>, request: Request) -> Response {
    let descriptions = (room.lent.describe)();
    let (templates, caller) = (room.lent.templates.load(), Caller::of(&request));
    let known = templates
        .iter()
        .filter(|template| templates.known(&template.name, caller.judged()).is_ok());
    let templates: Vec<Value> =
        known.map(|t| describe(t, descriptions.get(&t.name), caller.judged())).collect();
    with_event_id(axum::Json(json!({ "templates": templates })).into_response(), &room.event_id())
}

pub(crate) async fn one(
    State(room): State<Arc<Room>>,
    path: Params<String>,
    request: Request,
) -> Response {
    let (templates, caller) = (room.lent.templates.load(), Caller::of(&request));
    let name = match request::path_of(path) {
        Ok(name) => name,
        Err(error) => return ProblemDocument::new(error, room.event_id()).into_response(),
    };
    match templates.known(&name, caller.judged()) {
        Ok(template) => {
            let description =
                axum::Json(describe(template, (room.lent.describe)().get(&name), caller.judged()));
            with_event_id(description.into_response(), &room.event_id())
        }
        Err(error) => ProblemDocument::new(error, room.event_id()).into_response(),
    }
}

/// The parts of a template that the caller may use; all of them for none.
fn describe(
    template: &Template,
    bound: Option<&TemplateDescription>,
    caller: Option<&Actor>,
) -> Value {
    let is_offered = |operation, name: Option<&str>| {
        is_for_callers(&template.name, operation).is_ok()
            && caller.is_none_or(|caller| template.access.allows(caller, operation, name))
    };
    let rights = Rights::given_by(template);
    let offers =
        || template.offers().into_iter().filter(|offer| is_offered(offer.operation, offer.name));
    // A field that no usable operation reads or takes is not shown, and no parameter of its name.
    let may_use = |operation: Operation, name: Option<&str>, field: &str| {
        caller.is_none_or(|caller| rights.may_use(caller, operation, name, field))
    };
    let is_shown = |field: &str| {
        offers().any(|offer| {
            may_use(offer.operation, offer.name, field)
                || caller.is_none_or(|c| rights.may_read(c, offer.operation, offer.name, field))
        })
    };
    let fields: BTreeMap<&str, &Field> = template
        .fields
        .iter()
        .map(|(name, field)| (name.as_str(), field))
        .filter(|(name, _)| is_shown(name))
        .collect();
    let operations: Vec<Value> = match bound {
        Some(bound) => bound
            .operations
            .iter()
            .filter(|op| is_offered(op.operation, op.name.as_deref()))
            .map(|op| {
                let mut op = op.clone();
                let (operation, name) = (op.operation, op.name.clone());
                op.parameters.retain(|field, _| may_use(operation, name.as_deref(), field));
                json!(op)
            })
            .collect(),
        // Bound on another node: which operations there are is known, their parameters are not.
        None => offers()
            .map(|offer| json!({"operation": offer.operation, "name": offer.name}))
            .collect(),
    };
    json!({
        "name": template.name,
        "description": template.description,
        "store": template.store,
        "id": template.id,
        "operations": operations,
        "fields": fields,
        "records": format!("/v1/records/{}", template.name),
    })
}
