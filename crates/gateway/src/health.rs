//! `/healthz`: the process answers. `/readyz`: what it needs is there. `/metrics`: what it counted.

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::Room;

/// The services that a node needs, and whether each is there.
#[derive(Debug, Clone, Serialize)]
pub struct Readiness {
    pub ready: bool,
    pub services: Vec<Service>,
}

/// One service.
#[derive(Debug, Clone, Serialize)]
pub struct Service {
    pub name: String,
    pub ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Readiness {
    pub fn new(services: Vec<Service>) -> Self {
        Self { ready: services.iter().all(|service| service.ready), services }
    }
}

pub(crate) async fn alive() -> Response {
    axum::Json(serde_json::json!({ "alive": true })).into_response()
}

pub(crate) async fn ready(State(room): State<Arc<Room>>) -> Response {
    let mut readiness = (room.lent.readiness)();
    if room.stop.is_cancelled() {
        let detail = Some("this node is stopping".to_owned());
        readiness.services.push(Service { name: "gateway".to_owned(), ready: false, detail });
        readiness.ready = false;
    }
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(readiness)).into_response()
}

pub(crate) async fn metrics(State(room): State<Arc<Room>>) -> Response {
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(CONTENT_TYPE, kind)], (room.lent.metrics)()).into_response()
}
