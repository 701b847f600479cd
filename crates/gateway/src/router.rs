//! Every route of the gateway, as one table: the router is made of it, and the README's table is compared with it.
//!
//! Not here: the handlers (a file for each group of routes).

use std::any::Any;
use std::sync::Arc;

use axum::extract::State;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, patch, post};
use axum::{Extension, Router};
use beds_core::{BedsError, ErrorKind};
use tower_http::catch_panic::CatchPanicLayer;

use crate::problem::ProblemDocument;
use crate::{
    Room, caller, dead_letters, front, health, lineage, live, metadata, records, templates,
    tickets, unread,
};

/// A request that the gateway answers.
struct Route {
    path: &'static str,
    handler: fn() -> MethodRouter<Arc<Room>>,
    /// For documents: the method, the query and the answer.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "only the comparison with the README reads them")
    )]
    words: [&'static str; 3],
}

impl Route {
    const fn new(
        method: &'static str,
        path: &'static str,
        query: &'static str,
        answer: &'static str,
        handler: fn() -> MethodRouter<Arc<Room>>,
    ) -> Self {
        Self { path, handler, words: [method, query, answer] }
    }
}

const ROUTES: &[Route] = &[
    Route::new("POST", "/v1/records/{template}", "", "201, `Location`, the record", || {
        post(records::create)
    }),
    Route::new("GET", "/v1/records/{template}/{id}", "", "200, the record; or 404", || {
        get(records::fetch)
    }),
    Route::new(
        "GET",
        "/v1/records/{template}",
        "?limit=&after=",
        "200, `{\"records\":[…],\"next\":…,\"more\":…}`; `more`: the page may have been cut",
        || get(records::list),
    ),
    Route::new("GET", "/v1/records/{template}/by/{fetch}", "?…", "200, the same", || {
        get(records::named)
    }),
    Route::new("PATCH", "/v1/records/{template}/{id}", "", "200, the record", || {
        patch(records::update)
    }),
    Route::new("DELETE", "/v1/records/{template}/{id}", "", "200, the deleted record", || {
        delete(records::delete)
    }),
    Route::new(
        "POST",
        "/v1/records/{template}/jobs/{job}",
        "",
        "202, `Location`, a ticket: [docs/tickets.md](docs/tickets.md)",
        || post(tickets::submit),
    ),
    Route::new("GET", "/v1/tickets", "?state=&limit=&after=", "the caller's tickets", || {
        get(tickets::list)
    }),
    Route::new("GET", "/v1/tickets/{id}", "?wait=", "one of them, also when it has ended", || {
        get(tickets::show)
    }),
    Route::new(
        "GET",
        "/v1/tickets/{id}/events",
        "",
        "its moves as server-sent events, until it has ended: [docs/live.md](docs/live.md)",
        || get(live::events::ticket),
    ),
    Route::new("DELETE", "/v1/tickets/{id}", "", "it is cancelled", || delete(tickets::cancel)),
    Route::new(
        "GET",
        "/v1/tickets/{id}/result",
        "?limit=&after=&wait=",
        "200, the result; 409 before the end, 410 once it is gone",
        || get(tickets::result::show),
    ),
    Route::new("DELETE", "/v1/tickets/{id}/result", "", "the result is removed", || {
        delete(tickets::drop_result)
    }),
    Route::new(
        "GET",
        "/v1/changes",
        "?template=&id=&after=",
        "changes as they happen, as server-sent events: [docs/live.md](docs/live.md)",
        || get(live::events::changes),
    ),
    Route::new(
        "GET",
        SOCKET,
        "",
        "a WebSocket: requests, changes and tickets over one connection: [docs/live.md](docs/live.md)",
        || get(live::socket::open),
    ),
    Route::new(
        "GET",
        "/v1/templates",
        "",
        "the templates, with their operations and parameters",
        || get(templates::all),
    ),
    Route::new("GET", "/v1/templates/{template}", "", "one of them", || get(templates::one)),
    Route::new(
        "GET",
        "/v1/lineage/{event_id}",
        "?format=",
        "everything that came of a request: json, text or dot",
        || get(lineage::lineage),
    ),
    Route::new(
        "GET",
        "/v1/dead-letters",
        "",
        "messages that could not be worked on, by cause: [docs/operations.md](docs/operations.md)",
        || get(dead_letters::list),
    ),
    Route::new("GET", "/v1/dead-letters/{id}", "", "one of them, without sensitive values", || {
        get(dead_letters::show)
    }),
    Route::new(
        "POST",
        "/v1/dead-letters/{id}/replay",
        "",
        "it is sent again, as a new event",
        || post(dead_letters::replay),
    ),
    Route::new(
        "POST",
        "/v1/dead-letters/replay",
        "?cause=",
        "all of a cause are sent again",
        || post(dead_letters::replay_all),
    ),
    Route::new("DELETE", "/v1/dead-letters/{id}", "", "it is thrown away", || {
        delete(dead_letters::discard)
    }),
    Route::new("DELETE", "/v1/dead-letters", "?cause=", "all of a cause are thrown away", || {
        delete(dead_letters::discard_all)
    }),
];

/// The path of the WebSocket, whose callers can show their credential later.
const SOCKET: &str = "/v1/ws";
/// Answers without an end, which a WebSocket has verbs for.
const ENDLESS: [&str; 2] = ["/v1/changes", "/v1/tickets/{id}/events"];

/// The gateway's own routes.
pub(crate) fn own(room: &Arc<Room>) -> Router<Arc<Room>> {
    let of = |is_one: fn(&Route) -> bool| {
        let routes = ROUTES.iter().filter(|route| is_one(route));
        routes.fold(Router::new(), |all, route| all.route(route.path, (route.handler)()))
    };
    let routes = of(|route| route.path != SOCKET);
    let inner = of(|route| route.path != SOCKET && !ENDLESS.contains(&route.path));
    let inner = inner.fallback(no_such_route).method_not_allowed_fallback(method_not_allowed);
    let inner = inner.layer(CatchPanicLayer::custom(panicked)).with_state(Arc::clone(room));
    let socket = of(|route| route.path == SOCKET).layer(Extension(live::socket::Inner(inner)));
    let socket = socket.layer(from_fn_with_state(Arc::clone(room), front::check));
    let named = metadata::routes().layer(from_fn_with_state(Arc::clone(room), front::check));
    checked(room, routes)
        .merge(socket)
        .merge(named)
        .merge(health::routes(Arc::clone(&room.lent.probes)))
}

/// Routes behind the checks of host, origin, form and caller.
pub(crate) fn checked(room: &Arc<Room>, routes: Router<Arc<Room>>) -> Router<Arc<Room>> {
    routes
        .layer(from_fn_with_state(Arc::clone(room), caller::know))
        .layer(from_fn_with_state(Arc::clone(room), front::check))
}

/// All routes, ready to serve.
pub(crate) fn served(room: Arc<Room>, routes: Router<Arc<Room>>) -> Router {
    let routes = routes.fallback(no_such_route).method_not_allowed_fallback(method_not_allowed);
    // Stands in front of the caller: a browser asks without one whether a page may ask.
    let routes = match room.config.origins.is_empty() {
        true => routes,
        false => routes.layer(front::pages(&room.config.origins)),
    };
    routes
        .layer(CatchPanicLayer::custom(panicked))
        // Stands outermost: refusals of the inner layers can leave a body unread too.
        .layer(from_fn_with_state(Arc::clone(&room), unread::read_on))
        .with_state(room)
}

async fn no_such_route(State(room): State<Arc<Room>>) -> ProblemDocument {
    let text = "there is nothing at this path; the README lists the routes";
    ProblemDocument::new(BedsError::new(ErrorKind::NoSuchRoute, text), room.event_id())
}

async fn method_not_allowed(State(room): State<Arc<Room>>, method: Method) -> ProblemDocument {
    let text = format!(
        "this path does not take {method}; the Allow header lists the methods that it takes"
    );
    ProblemDocument::new(BedsError::new(ErrorKind::MethodNotAllowed, text), room.event_id())
}

#[expect(clippy::needless_pass_by_value, reason = "the signature is tower-http's")]
fn panicked(panic: Box<dyn Any + Send>) -> Response {
    let text = panic.downcast_ref::<&str>().copied().unwrap_or("no message");
    tracing::error!(panic = text, "A request handler panicked.");
    ProblemDocument::from(BedsError::new(ErrorKind::Internal, "the request could not be answered"))
        .into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_lists_the_routes() {
        let readme = include_str!("../../../README.md");
        let table = readme.split("| request | answer |\n|---|---|\n").nth(1).unwrap();
        let listed: Vec<&str> = table.lines().take_while(|line| line.starts_with('|')).collect();
        let of = |route: &Route| {
            let [method, query, answer] = route.words;
            format!("| `{method} {}{query}` | {answer} |", route.path)
        };
        let mut wanted: Vec<String> = ROUTES.iter().map(of).collect();
        let probes = "| `GET /healthz`, `/readyz`, `/metrics` | the process answers; its services are there; its counters |";
        wanted.push(probes.to_owned());
        wanted.push(format!("| `GET {}` | the issuers of tokens (RFC 9728) |", metadata::PATH));
        assert_eq!(listed, wanted);
    }
}
