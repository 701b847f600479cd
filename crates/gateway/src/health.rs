//! `/healthz`: the process answers. `/readyz`: its services are there. `/metrics`: its counters.
//!
//! Not here: the services of a node (`beds::ipl::readiness`).

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::Serialize;
use tokio_util::sync::CancellationToken;

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

/// Answers for probes and scrapers.
pub struct Probes {
    /// The node's metrics as Prometheus reads them.
    metrics: fn() -> String,
    /// The state of the services that this node needs.
    readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    /// The node is stopping.
    pub(crate) stop: CancellationToken,
}

impl Probes {
    pub fn new(
        metrics: fn() -> String,
        readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
    ) -> Self {
        Self { metrics, readiness, stop: CancellationToken::new() }
    }
}

/// The routes, for the gateway and for a port of their own.
pub(crate) fn routes<S>(probes: Arc<Probes>) -> Router<S> {
    let routes = Router::new().route("/healthz", get(alive)).route("/readyz", get(ready));
    routes.route("/metrics", get(metrics)).with_state(probes)
}

async fn alive() -> Response {
    axum::Json(serde_json::json!({ "alive": true })).into_response()
}

async fn ready(State(probes): State<Arc<Probes>>) -> Response {
    let mut readiness = (probes.readiness)();
    if probes.stop.is_cancelled() {
        let detail = Some("this node is stopping".to_owned());
        readiness.services.push(Service { name: "gateway".to_owned(), ready: false, detail });
        readiness.ready = false;
    }
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, axum::Json(readiness)).into_response()
}

async fn metrics(State(probes): State<Arc<Probes>>) -> Response {
    for service in (probes.readiness)().services {
        metrics::gauge!("beds_ready", "service" => service.name)
            .set(f64::from(u8::from(service.ready)));
    }
    let kind = HeaderValue::from_static("text/plain; version=0.0.4");
    ([(CONTENT_TYPE, kind)], (probes.metrics)()).into_response()
}
