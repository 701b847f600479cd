//! [`Node`]: a running node, and its end.
//!
//! Not here: the start (ipl.rs).

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beds_broker::Pools;
use beds_transport::{Client, Reports, Transport};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domains::{Domains, Reloaded};
use crate::logging;
use crate::reloading::Reloading;

/// A running node.
pub struct Node {
    pub(crate) transport: Transport,
    pub(crate) reports: Reports,
    pub(crate) client: Client,
    pub(crate) domains: Arc<Domains>,
    pub(crate) reloading: Reloading,
    pub(crate) pools: Arc<Pools>,
    pub(crate) address: Option<SocketAddr>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
    pub(crate) stop_gateway: CancellationToken,
    pub(crate) gateway: TaskTracker,
    pub(crate) grace: Duration,
}

impl Node {
    /// Where the gateway listens, if it is local.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// The client through which an application reaches templates.
    pub fn client(&self) -> &Client {
        &self.client
    }

    pub fn domains(&self) -> &Domains {
        &self.domains
    }

    pub fn pools(&self) -> &Pools {
        &self.pools
    }

    /// Reads the templates and the credentials again, because a signal said so.
    pub async fn reload(&self) -> Reloaded {
        self.reloading.run("signal").await
    }

    /// Stops taking requests, finishes those that were begun, acknowledges, and closes. False if the grace was too short.
    pub async fn shutdown(self) -> bool {
        // Requests of this node's gateway may be answered by this node's pools, so the pools drain last.
        self.stop_gateway.cancel();
        self.gateway.close();
        let begun = Instant::now();
        // The connections need some of the grace too.
        let work = self.grace.saturating_sub((self.grace / 5).min(Duration::from_secs(2)));
        let left = |grace: Duration| grace.saturating_sub(begun.elapsed());
        let gateway_done = tokio::time::timeout(work, self.gateway.wait()).await.is_ok();
        // Leaves the pools a moment, also where the gateway has used up the time.
        let pools_done = self.pools.drain(left(work).max(Duration::from_millis(200))).await;
        self.stop.cancel();
        self.tasks.close();
        let closing = async {
            self.tasks.wait().await;
            // The lanes end next: a line that comes now could not be sent.
            logging::report_to_nobody();
            self.reports.finish().await;
            self.transport.close().await;
            self.domains.close().await;
        };
        let closed =
            tokio::time::timeout(left(self.grace).max(Duration::from_millis(500)), closing)
                .await
                .is_ok();
        gateway_done && pools_done && closed
    }
}
