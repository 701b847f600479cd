//! IPL: the start of a node, which reads like the diagram. Each step is printed with its time. In production a failed
//! step ends the process; in development the node goes on without it and takes it up when it can.
//!
//! Not here: the steps (ipl/steps.rs), the answer of `/readyz` (ipl/readiness.rs), the end of a node (node.rs).

mod readiness;
mod steps;

use std::sync::Arc;
use std::time::{Duration, Instant};

use beds_core::config::Environment;
use beds_core::{BedsError, Config, Mistake, Store};
use beds_gateway::{GatewayError, Router};
use beds_transport::TransportError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::Node;
use crate::reloading::Reloading;

/// How long a step waits for its service before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Starts a node.
pub async fn boot(config: Config) -> Result<Node, IplError> {
    boot_with(config, Router::new()).await
}

/// Starts a node whose gateway serves an application's routes too ([`beds_gateway::Gateway::merge`]).
pub async fn boot_with(config: Config, routes: Router) -> Result<Node, IplError> {
    let ipl = Ipl::begin(config);
    let domains = ipl.templates().await?;
    let callers = ipl.callers()?;
    let amqp = ipl.amqp(&domains, &callers).await?;
    ipl.databases(&domains).await?;
    let certificate = ipl.certificate()?;
    let reports = amqp.reports.clone();
    let (one_at_a_time, tasks) = (Arc::default(), ipl.tasks.clone());
    let reloading = Reloading { domains, callers, certificate, reports, one_at_a_time, tasks };
    let domains = &reloading.domains;
    let (pools, lease) = ipl.pools(&amqp, &reloading).await?;
    ipl.watchers(&amqp, &reloading, &pools)?;
    let probes = ipl.probes(&amqp, domains, &pools, &lease)?;
    let gateway = ipl.gateway(&amqp, &reloading, probes, routes)?;
    ipl.step("ready", Ok(()), || ipl.config.node.name.clone())?;
    Ok(Node {
        transport: amqp.transport,
        reports: amqp.reports,
        client: amqp.client,
        domains: Arc::clone(domains),
        reloading,
        pools,
        address: gateway.address,
        tasks: ipl.tasks,
        stop: ipl.stop,
        stop_gateway: gateway.stop,
        gateway: gateway.tasks,
        grace: ipl.config.node.shutdown_grace,
    })
}

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum IplError {
    #[error("{} mistake(s) in the templates:\n{}", .0.len(), lines(.0))]
    Templates(Vec<Mistake>),
    #[error("{} mistake(s) in the credentials:\n{}", .0.len(), lines(.0))]
    Callers(Vec<Mistake>),
    #[error("RabbitMQ at {address} cannot be used: {source}. Fix: start it, or correct amqp.url")]
    Amqp { address: String, source: TransportError },
    #[error(
        "the database databases.{store}.{name} at {address} cannot be used: {detail}. Fix: start it, or correct its url"
    )]
    Database { store: Store, name: String, address: String, detail: String },
    #[error(transparent)]
    Stores(#[from] BedsError),
    #[error(transparent)]
    Gateway(#[from] GatewayError),
    #[error(
        "the key {path} cannot be used: {source}. Fix: correct services.admin.signing_key_file, or make its folder, for this login alone"
    )]
    SigningKey { path: String, source: std::io::Error },
    #[error(
        "reports.otlp cannot be used: {0}. Fix: build with --features otel, correct the address, or leave it out"
    )]
    Otlp(String),
    #[error("the control socket {path} cannot be made: {source}. Fix: correct node.control")]
    Control { path: String, source: std::io::Error },
}

fn lines(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|mistake| format!("  {mistake}\n")).collect()
}

/// A start under way.
struct Ipl {
    config: Config,
    strict: bool,
    start: Instant,
    /// The tasks of the node, and the word that ends them.
    tasks: TaskTracker,
    stop: CancellationToken,
}

impl Ipl {
    fn begin(config: Config) -> Self {
        let strict = config.node.environment == Environment::Production;
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        Self { config, strict, start: Instant::now(), tasks, stop }
    }

    /// Prints a step. A failure ends the start in production only.
    fn step(
        &self,
        name: &str,
        outcome: Result<(), IplError>,
        detail: impl FnOnce() -> String,
    ) -> Result<(), IplError> {
        let ms = self.start.elapsed().as_millis();
        match outcome {
            Ok(()) => tracing::info!("IPL {ms:>6} ms  {name}: {}", detail()),
            Err(error) if self.strict => return Err(error),
            Err(error) => tracing::warn!("IPL {ms:>6} ms  {name}: goes on without it: {error}"),
        }
        Ok(())
    }

    /// Runs work until the node stops.
    fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(work));
    }
}
