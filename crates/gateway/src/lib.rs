//! The appServer room: HTTP in, events out. It sees the templates and `transport`'s client, and can neither name a
//! database nor a broker task. Every route is on one page, in `router`.

mod health;
mod limits;
pub mod lineage;
mod metrics;
mod problem;
mod records;
mod request;
mod router;
mod templates;

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use axum_server::Handle;
use beds_core::config::AppServer;
use beds_core::{Catalogue, EventId, TemplateDescription};
use beds_transport::Client;
use hyper_util::rt::TokioTimer;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

pub use health::{Readiness, Service};

use crate::metrics::Meters;

/// Why the gateway could not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {address}: {source}. Fix: set services.appserver.listen to a free port, or stop what uses it"
)]
pub struct GatewayError {
    address: SocketAddr,
    source: std::io::Error,
}

/// What the node lends to the gateway.
pub struct Lent {
    pub client: Client,
    pub catalogue: Arc<ArcSwap<Catalogue>>,
    /// The parameters of the templates that are bound on this node.
    pub describe: Box<dyn Fn() -> HashMap<String, TemplateDescription> + Send + Sync>,
    /// The node's metrics as Prometheus reads them.
    pub metrics: fn() -> String,
    /// The state of the services that this node needs.
    pub readiness: Box<dyn Fn() -> Readiness + Send + Sync>,
}

/// A gateway with its port.
pub struct Gateway {
    listener: TcpListener,
    address: SocketAddr,
    room: Arc<Room>,
}

/// What every handler sees.
pub(crate) struct Room {
    pub(crate) config: AppServer,
    pub(crate) lent: Lent,
    pub(crate) in_flight: Semaphore,
    pub(crate) meters: Meters,
    pub(crate) stop: CancellationToken,
}

impl Room {
    /// The id of a root event for a request that asks for no record.
    pub(crate) fn event_id(&self) -> EventId {
        self.lent.client.context(self.config.default_timeout).event_id
    }
}

impl Gateway {
    /// Takes the port; serves nothing yet.
    pub fn bind(config: &AppServer, lent: Lent) -> Result<Self, GatewayError> {
        let failed = |source| GatewayError { address: config.listen, source };
        let listener = TcpListener::bind(config.listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let in_flight = Semaphore::new(config.max_in_flight);
        let room =
            Room { config: config.clone(), lent, meters: Meters::new(), in_flight, stop: CancellationToken::new() };
        Ok(Self { listener, address, room: Arc::new(room) })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop`; then refuses new requests and lets those that run finish within `grace`.
    pub async fn run(self, stop: CancellationToken, grace: Duration) -> std::io::Result<()> {
        let config = self.room.config.clone();
        let handle = Handle::new();
        let mut server = axum_server::from_tcp(self.listener)?
            .handle(handle.clone())
            .http1_only()
            .first_request_timeout(config.header_timeout);
        server
            .http_builder()
            .http1()
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_timeout)
            .max_buf_size(64 * 1024);
        let app = router::router(Arc::clone(&self.room));
        let serving = server.serve(app.into_make_service_with_connect_info::<SocketAddr>());
        tokio::pin!(serving);
        tokio::select! {
            served = &mut serving => return served,
            () = stop.cancelled() => {}
        }
        self.room.stop.cancel();
        handle.graceful_shutdown(Some(grace));
        serving.await
    }
}
