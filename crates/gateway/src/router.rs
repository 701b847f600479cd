//! Every route of the gateway:
//!
//! | request | becomes |
//! |---|---|
//! | `POST /v1/records/{template}` | create |
//! | `GET /v1/records/{template}/{id}` | fetch |
//! | `GET /v1/records/{template}` | list |
//! | `GET /v1/records/{template}/by/{fetch}` | named fetch |
//! | `PATCH /v1/records/{template}/{id}` | update |
//! | `DELETE /v1/records/{template}/{id}` | delete |
//! | `GET /v1/templates`, `/v1/templates/{template}` | - |
//! | `GET /v1/lineage/{event_id}` | named fetches of `Lineage`, `Audit` and `Logs` |
//! | `GET /v1/dead-letters`, `/v1/dead-letters/{id}` | a pass through `beds.dead` |
//! | `POST /v1/dead-letters/{id}/replay`, `/v1/dead-letters/replay?cause=` | the same, and new events |
//! | `DELETE /v1/dead-letters/{id}`, `/v1/dead-letters?cause=` | the same |
//! | `GET /healthz`, `/readyz`, `/metrics` | - |

use std::any::Any;
use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use beds_core::{BedsError, ErrorKind};
use tower_http::catch_panic::CatchPanicLayer;

use crate::problem::ProblemDocument;
use crate::{Room, dead_letters, front, health, lineage, records, templates, unread};

pub(crate) fn router(room: Arc<Room>) -> Router {
    let records = Router::new()
        .route("/{template}", get(records::list).post(records::create))
        .route("/{template}/{id}", get(records::fetch).patch(records::update).delete(records::delete))
        .route("/{template}/by/{fetch}", get(records::named));
    let routes = Router::new()
        .nest("/v1/records", records)
        .route("/v1/templates", get(templates::all))
        .route("/v1/templates/{template}", get(templates::one))
        .route("/v1/lineage/{event_id}", get(lineage::lineage))
        .route("/v1/dead-letters", get(dead_letters::list).delete(dead_letters::discard_all))
        .route("/v1/dead-letters/replay", post(dead_letters::replay_all))
        .route("/v1/dead-letters/{id}", get(dead_letters::show).delete(dead_letters::discard))
        .route("/v1/dead-letters/{id}/replay", post(dead_letters::replay))
        .layer(from_fn_with_state(Arc::clone(&room), front::check));
    routes
        .merge(health::routes(Arc::clone(&room.lent.probes)))
        .fallback(no_such_route)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(from_fn_with_state(Arc::clone(&room), unread::read_on))
        .with_state(room)
}

async fn no_such_route(State(room): State<Arc<Room>>) -> ProblemDocument {
    let text = "there is nothing at this path; the README lists the routes";
    ProblemDocument::new(BedsError::new(ErrorKind::NoSuchRoute, text), room.event_id())
}

async fn method_not_allowed(State(room): State<Arc<Room>>, method: Method) -> ProblemDocument {
    let text = format!("this path does not take {method}; the Allow header lists the methods that it takes");
    ProblemDocument::new(BedsError::new(ErrorKind::MethodNotAllowed, text), room.event_id())
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is tower-http's")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied().unwrap_or("no message");
    tracing::error!(panic = text, "A request handler panicked.");
    ProblemDocument::from(BedsError::new(ErrorKind::Internal, "the request could not be answered")).into_response()
}
