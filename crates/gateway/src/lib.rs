//! The appServer room: HTTP in, events out. It sees the templates and `transport`'s client, and can name neither a database
//! nor a broker task. Every route is on one page, in `router`.
//!
//! Not here: queues (crate transport), work on events (crate broker).

mod bodies;
mod buckets;
mod caller;
mod client_certificate;
mod connections;
mod dead_letters;
mod front;
mod health;
mod limits;
pub mod lineage;
mod live;
mod metadata;
mod metrics;
mod one_version;
mod problem;
mod records;
mod refusals;
mod request;
mod router;
mod shares;
mod templates;
mod tickets;
mod tls;
mod unread;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::extract::State;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use beds_core::config::{AppServer, Inbox};
use beds_core::{Complaints, EventId, Gatekeeper, TemplateDescription, Templates};
use beds_transport::Client;
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use axum::{Router, routing};
pub use health::{Probes, Readiness, Service};
pub use tls::{Pem, Tls};

use crate::buckets::Buckets;
use crate::metrics::Meters;
use crate::one_version::OneVersion;
use crate::shares::Shares;

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}. Fix: set services.appserver.listen or node.probes to a free port, or stop the program that uses it"
)]
pub struct GatewayError {
    address: SocketAddr,
    source: std::io::Error,
}

/// The parts of the node that the gateway uses.
pub struct Lent {
    pub client: Client,
    pub templates: Arc<ArcSwap<Templates>>,
    /// The parameters of the templates that are bound on this node.
    pub describe: Box<dyn Fn() -> HashMap<String, TemplateDescription> + Send + Sync>,
    pub probes: Arc<Probes>,
    /// The credentials that are accepted.
    pub gate: Arc<dyn Gatekeeper>,
    /// The certificate; none where a proxy has one, or callers are on this machine.
    pub tls: Option<Tls>,
    /// How long writes are remembered.
    pub inbox: Inbox,
}

/// A gateway with its port.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    room: Arc<Room>,
    routes: Router<Arc<Room>>,
}

/// The state, as a handler takes it.
pub(crate) type RoomState = State<Arc<Room>>;

/// The state that every handler sees.
pub(crate) struct Room {
    pub(crate) config: AppServer,
    pub(crate) lent: Lent,
    pub(crate) in_flight: Arc<Semaphore>,
    /// KiB of bodies that are being read.
    pub(crate) bodies: Semaphore,
    pub(crate) meters: Meters,
    /// Failures that were said already.
    pub(crate) complaints: Complaints,
    /// Requests in flight by caller.
    pub(crate) shares: Arc<Shares>,
    /// KiB of bodies that are being read, by caller.
    pub(crate) body_shares: Arc<Shares>,
    /// Bad credentials by address.
    pub(crate) buckets: Buckets,
    /// Callers whose refusals were recorded already.
    pub(crate) refusals: Complaints,
    /// Addresses whose refusals were recorded already.
    pub(crate) denials: Complaints,
    /// Work that goes on when its caller has gone away.
    pub(crate) tasks: TaskTracker,
    /// The changes as they happen.
    pub(crate) live: live::Live,
}

impl Room {
    /// The id of a root event for an answer that has no context.
    pub(crate) fn event_id(&self) -> EventId {
        self.lent.client.context(self.config.default_timeout).event_id
    }
}

impl Gateway {
    /// Takes the port; serves nothing yet.
    pub fn bind(config: &AppServer, lent: Lent) -> Result<Self, GatewayError> {
        let (listener, address) = listen(config.listen)?;
        let in_flight = Arc::new(Semaphore::new(config.max_in_flight));
        let bodies = Semaphore::new(limits::KIB_OF_BODIES);
        let (meters, tasks) = (Meters::new(), TaskTracker::new());
        let config = AppServer { listen: address, ..config.clone() };
        let (lent_client, templates) = (lent.client.clone(), Arc::clone(&lent.templates));
        let most_live = config.max_live;
        let room = Room {
            config,
            lent,
            meters,
            complaints: Complaints::default(),
            shares: Arc::default(),
            body_shares: Arc::default(),
            refusals: Complaints::default(),
            buckets: Buckets::default(),
            denials: Complaints::default(),
            in_flight,
            bodies,
            tasks,
            live: live::Live::new(&lent_client, &templates, most_live),
        };
        let room = Arc::new(room);
        Ok(Self { listener, address, routes: router::own(&room), room })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves further routes too, behind the same checks of host, origin, form and caller. The caller is in the extensions of a request, as
    /// `Arc<Actor>`: its rights are the route's to look at, and `Context::actor` is the route's to set. Their handlers bound bodies and requests at
    /// once themselves; a path without a route is answered by the gateway.
    ///
    /// # Panics
    /// Where a path is the gateway's own.
    #[must_use]
    pub fn merge(self, routes: Router) -> Self {
        let routes = router::checked(&self.room, routes.with_state(()));
        Self { routes: self.routes.merge(routes), ..self }
    }

    /// Serves until `stop`; then refuses new requests and lets those that run finish within `grace`.
    pub async fn run(self, stop: CancellationToken, grace: Duration) -> std::io::Result<()> {
        let (app, probes) = (
            router::served(Arc::clone(&self.room), self.routes),
            Arc::clone(&self.room.lent.probes),
        );
        let config = &self.room.config;
        let limits = Limits {
            header: config.header_timeout,
            write: config.body_timeout,
            connections: config.max_connections,
        };
        // A subscription has no end of its own: it is told to go elsewhere.
        let reader = self.room.live.reader(&self.room.lent, stop.clone());
        self.room.tasks.spawn(reader);
        let on_stop = move || probes.stop.cancel();
        let tls = self.room.lent.tls.as_ref();
        let served = serve(self.listener, app, limits, tls, &stop, grace, on_stop).await;
        self.room.tasks.close();
        // Of writes whose callers have gone, and of passes over dead letters.
        drop(tokio::time::timeout(grace, self.room.tasks.wait()).await);
        served
    }
}

/// `/healthz`, `/readyz` and `/metrics` on a port of their own.
pub struct ProbePort {
    listener: TcpListener,
    app: Router,
}

impl ProbePort {
    /// A machine asks, and reads at once.
    const LIMITS: Limits = Limits {
        header: Duration::from_secs(10),
        write: Duration::from_secs(10),
        connections: 256,
    };

    /// Takes the port; serves nothing yet.
    pub fn bind(address: SocketAddr, probes: Arc<Probes>) -> Result<Self, GatewayError> {
        Ok(Self { listener: listen(address)?.0, app: health::routes(probes) })
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: CancellationToken) -> std::io::Result<()> {
        serve(self.listener, self.app, Self::LIMITS, None, &stop, Duration::ZERO, || {}).await
    }
}

fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), GatewayError> {
    let failed = |source| GatewayError { address, source };
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// The most that a caller may take of a port.
#[derive(Clone, Copy)]
struct Limits {
    /// Until the headers of a request are there.
    header: Duration,
    /// In which no byte of an answer can be written.
    write: Duration,
    connections: usize,
}

/// The server within limits, whichever way it takes connections.
fn limited<A>(server: Server<SocketAddr, A>, limits: Limits) -> Server<SocketAddr, A> {
    let mut server = server.first_request_timeout(limits.header);
    server
        .http_builder()
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header)
        // The server itself answers 431 to a larger head, before it is a request (BEDS-0026).
        .max_buf_size(64 * 1024);
    server
}

async fn serve(
    listener: TcpListener,
    app: Router,
    limits: Limits,
    tls: Option<&Tls>,
    stop: &CancellationToken,
    grace: Duration,
    on_stop: impl FnOnce(),
) -> std::io::Result<()> {
    let handle = Handle::new();
    let bounded = connections::Bounded::new(limits.connections, limits.write);
    let server = axum_server::from_tcp(listener)?.handle(handle.clone());
    let serving = async {
        match tls {
            // The bound counts a connection before its handshake.
            Some(Tls { config, authorities }) => {
                let encrypted = RustlsAcceptor::new(config.clone());
                let encrypted = encrypted.handshake_timeout(limits.header).acceptor(bounded);
                let encrypted = client_certificate::Identified {
                    inner: encrypted,
                    authorities: authorities.clone(),
                };
                let server = server.acceptor(OneVersion(encrypted));
                let server = limited(server, limits);
                server.serve(app.into_make_service_with_connect_info::<SocketAddr>()).await
            }
            None => {
                let server = limited(server.acceptor(OneVersion(bounded)), limits);
                server.serve(app.into_make_service_with_connect_info::<SocketAddr>()).await
            }
        }
    };
    tokio::pin!(serving);
    tokio::select! {
        served = &mut serving => return served,
        () = stop.cancelled() => {}
    }
    // Tells the handlers first: a request that still comes is refused, and /readyz is red.
    on_stop();
    handle.graceful_shutdown(Some(grace));
    serving.await
}
