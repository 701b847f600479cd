//! IPL: the start of a node, which reads like the diagram. Each step is printed with its time. In production a failed
//! step ends the process; in development the node goes on without it and takes it up when it can.
//!
//! Not here: the work of the parts once they run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use beds_adapters::Stores;
use beds_broker::{PoolSpec, Pools};
use beds_core::config::Environment;
use beds_core::{BedsError, Config, Problem, RecordStream, RoutingKey, Store};
use beds_gateway::{Gateway, GatewayError, Lent, ProbePort, Probes, Readiness, Service};
use beds_transport::{Client, Lease, Recorder, Transport, TransportError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::domains::{Domains, Reloaded};
use crate::notary::Notary;
use crate::{control, logging, metering, notary};

/// How long a step waits for its service before it counts as failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum IplError {
    #[error("{} problem(s) in the templates:\n{}", .0.len(), lines(.0))]
    Templates(Vec<Problem>),
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
    #[error("records.otlp cannot be used: {0}. Fix: build with --features otel, correct the address, or leave it out")]
    Otlp(String),
    #[error("the control socket {path} cannot be made: {source}. Fix: correct node.control")]
    Control { path: String, source: std::io::Error },
}

fn lines(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("  {problem}\n")).collect()
}

/// A running node.
pub struct Node {
    transport: Transport,
    recorder: Recorder,
    client: Client,
    domains: Arc<Domains>,
    pools: Arc<Pools>,
    address: Option<SocketAddr>,
    tasks: TaskTracker,
    stop: CancellationToken,
    stop_gateway: CancellationToken,
    gateway: TaskTracker,
    grace: Duration,
}

/// Starts a node.
pub async fn boot(config: Config) -> Result<Node, IplError> {
    let ipl = Ipl { strict: config.node.environment == Environment::Production, start: Instant::now() };
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());

    let domains = Arc::new(Domains::new(&config, Stores::new(&config).await?));
    let problems = domains.read();
    ipl.step("templates", ipl.templates(problems), || format!("{} templates", domains.catalogue.load().len()))?;

    let transport = Transport::start(&config.amqp, &config.node.name);
    let recorder = transport.recorder(config.node.environment.as_str(), config.records.clone());
    metering::start();
    logging::report_to(&recorder);
    if let Some(endpoint) = &config.records.otlp {
        ipl.step("otlp", tell_traces(endpoint, &config.node.name, &recorder, &tasks, &stop), || endpoint.clone())?;
    }
    let client = transport.client(config.node.environment.as_str(), &recorder);
    ipl.step("amqp", ipl.amqp(&config, &transport, &client).await, || config.amqp.url.address().to_owned())?;

    for (store, name, address) in domains.databases() {
        let ready = ipl.database(&domains, store, &name, &address).await;
        ipl.step(&format!("databases.{store}.{name}"), ready, || address.clone())?;
    }

    let (specs, streams) = (pools(&config), streams(&config));
    let (lease, notices) = (transport.lease(), transport.notices());
    let pools = Arc::new(Pools::spawn(&transport, &recorder, &domains.factory, &specs, &streams, &lease, &notices));
    ipl.step("pools", Ok(()), || {
        let events = specs.iter().map(|spec| format!("{} {}", spec.tasks, spec.key));
        events.chain(streams.iter().map(|(stream, tasks)| format!("{tasks} {stream}"))).collect::<Vec<_>>().join(", ")
    })?;

    if config.services.admin.is_local && config.services.admin.signing_key_file.is_none() {
        tracing::warn!("services.admin.signing_key_file is not set: heads of the audit trail are not signed.");
    }
    let guards = transport.guards();
    if let Some(key) = signing_key(&config)? {
        let notary = Arc::new(Notary::new(key, Arc::clone(&pools), recorder.clone()));
        let (interval, stop) = (config.services.admin.signing_interval, stop.clone());
        // It ends by itself, behind its last signature.
        let serve = move || Arc::clone(&notary).serve(interval, stop.clone());
        tasks.spawn(guards.clone().forever("the signatures of the audit trail", serve));
    }
    let metered = (recorder.clone(), transport.clone());
    let serve = move || metering::serve(metered.0.clone(), metered.1.clone());
    spawn(&tasks, &stop, guards.clone().forever("the metrics", serve));
    let watching = Arc::clone(&domains);
    let watch = move || {
        let watching = Arc::clone(&watching);
        async move { watching.watch().await }
    };
    spawn(&tasks, &stop, guards.clone().forever("the pulse of the databases", watch));
    if let Some(path) = &config.node.control {
        let socket =
            control::bind(path).map_err(|source| IplError::Control { path: path.display().to_string(), source })?;
        spawn(&tasks, &stop, control::serve(socket, path.clone(), Arc::clone(&domains), recorder.clone()));
    }

    let (stop_gateway, gateway) = (CancellationToken::new(), TaskTracker::new());
    let probes = Arc::new(Probes::new(metering::render, readiness(&client, &transport, &domains, &pools, &lease)));
    if let Some(address) = config.node.probes {
        let port = ProbePort::bind(address, Arc::clone(&probes))?;
        let stop = stop.clone();
        tasks.spawn(async move {
            if let Err(error) = port.run(stop).await {
                tracing::error!(%error, "The port for probes ended.");
            }
        });
        ipl.step("probes", Ok(()), || format!("http://{address}/metrics"))?;
    }
    let mut address = None;
    if config.services.appserver.is_local {
        let bound = Gateway::bind(&config.services.appserver, lend(&client, &domains, probes, config.inbox))?;
        address = Some(bound.address());
        let (stop, grace) = (stop_gateway.clone(), config.node.shutdown_grace);
        gateway.spawn(async move {
            if let Err(error) = bound.run(stop, grace).await {
                tracing::error!(%error, "The gateway ended.");
            }
        });
        ipl.step("gateway", Ok(()), || address.map(|address| format!("http://{address}")).unwrap_or_default())?;
    }
    ipl.step("ready", Ok(()), || config.node.name.clone())?;
    let grace = config.node.shutdown_grace;
    Ok(Node { transport, recorder, client, domains, pools, address, tasks, stop, stop_gateway, gateway, grace })
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

    /// Reads the templates again, because a signal said so.
    pub async fn reload(&self) -> Reloaded {
        control::reload_for("signal", &self.domains, &self.recorder).await
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
        let pools_done = self.pools.drain(left(work).max(Duration::from_millis(200))).await;
        self.stop.cancel();
        self.tasks.close();
        let closing = async {
            self.tasks.wait().await;
            logging::report_to_nobody();
            self.recorder.finish().await;
            self.transport.close().await;
            self.domains.close().await;
        };
        let closed = tokio::time::timeout(left(self.grace).max(Duration::from_millis(500)), closing).await.is_ok();
        gateway_done && pools_done && closed
    }
}

struct Ipl {
    strict: bool,
    start: Instant,
}

impl Ipl {
    /// Prints a step. A failure ends the start in production only.
    fn step(&self, name: &str, outcome: Result<(), IplError>, detail: impl FnOnce() -> String) -> Result<(), IplError> {
        let ms = self.start.elapsed().as_millis();
        match outcome {
            Ok(()) => tracing::info!("IPL {ms:>6} ms  {name}: {}", detail()),
            Err(error) if self.strict => return Err(error),
            Err(error) => tracing::warn!("IPL {ms:>6} ms  {name}: goes on without it: {error}"),
        }
        Ok(())
    }

    fn templates(&self, problems: Vec<Problem>) -> Result<(), IplError> {
        if problems.is_empty() { Ok(()) } else { Err(IplError::Templates(problems)) }
    }

    async fn amqp(&self, config: &Config, transport: &Transport, client: &Client) -> Result<(), IplError> {
        let failed = |source| IplError::Amqp { address: config.amqp.url.address().to_owned(), source };
        let patience = if self.strict { PATIENCE } else { Duration::from_secs(3) };
        transport.ready(patience).await.map_err(failed)?;
        let answered = tokio::time::timeout(patience, client.ready()).await;
        answered.map_err(|_| failed(TransportError::NotConnected))
    }

    async fn database(&self, domains: &Domains, store: Store, name: &str, address: &str) -> Result<(), IplError> {
        let failed = |error: BedsError| {
            let detail = error
                .source
                .as_ref()
                .map_or_else(|| error.message.clone(), |source| format!("{} ({source})", error.message));
            IplError::Database { store, name: name.to_owned(), address: address.to_owned(), detail }
        };
        domains.ping(store, name).await.map_err(failed)?;
        let problems = domains.bind(store, name).await.map_err(failed)?;
        self.templates(problems)
    }
}

fn pools(config: &Config) -> Vec<PoolSpec> {
    let mut specs = Vec::new();
    for store in Store::ALL {
        let service = config.services.store(store);
        if service.is_local {
            for (is_write, tasks) in [(false, service.instances.read), (true, service.instances.write)] {
                let key = RoutingKey::new(store, is_write);
                let max_event_bytes = usize::try_from(config.amqp.max_event_bytes.get()).unwrap_or(usize::MAX);
                let handler_timeout = service.handler_timeout;
                specs.push(PoolSpec { key, tasks: tasks.get(), handler_timeout, max_event_bytes });
            }
        }
    }
    specs
}

/// The streams of records that this node stores, with their tasks.
fn streams(config: &Config) -> Vec<(RecordStream, u16)> {
    let admin = &config.services.admin;
    let streams = RecordStream::ALL.into_iter().map(|stream| (stream, admin.instances.of(stream).get()));
    if admin.is_local { streams.collect() } else { Vec::new() }
}

/// The key that signs this node's audit chains, if it has any.
fn signing_key(config: &Config) -> Result<Option<notary::Key>, IplError> {
    let admin = &config.services.admin;
    let Some(path) = admin.signing_key_file.as_ref().filter(|_| admin.is_local) else { return Ok(None) };
    let unusable = |source| IplError::SigningKey { path: path.display().to_string(), source };
    notary::Key::read_or_make(path).map(Some).map_err(unusable)
}

/// Tells lineage to a tracing system too.
#[cfg(feature = "otel")]
fn tell_traces(
    endpoint: &str,
    node: &str,
    recorder: &Recorder,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> Result<(), IplError> {
    let exporter = crate::otel::Exporter::new(endpoint, node).map_err(|error| IplError::Otlp(error.to_string()))?;
    spawn(tasks, stop, exporter.serve(recorder.tap(crate::otel::ROOM)));
    Ok(())
}

#[cfg(not(feature = "otel"))]
fn tell_traces(_: &str, _: &str, _: &Recorder, _: &TaskTracker, _: &CancellationToken) -> Result<(), IplError> {
    Err(IplError::Otlp("this binary was built without the feature otel".to_owned()))
}

fn readiness(
    client: &Client,
    transport: &Transport,
    domains: &Arc<Domains>,
    pools: &Arc<Pools>,
    lease: &Lease,
) -> Box<dyn Fn() -> Readiness + Send + Sync> {
    let (client, transport, lease) = (client.clone(), transport.clone(), lease.clone());
    let (domains, pools) = (Arc::clone(domains), Arc::clone(pools));
    Box::new(move || {
        let connected = transport.is_ready() && client.is_ready();
        let mut services = Vec::new();
        let mut service = |name: &str, detail: Option<String>| {
            services.push(Service { name: name.to_owned(), ready: detail.is_none(), detail });
        };
        service(
            "amqp",
            match (connected, transport.is_blocked()) {
                (false, _) => {
                    let why = transport.last_error().map(|error| format!(": {error}")).unwrap_or_default();
                    Some(format!("not connected; trying again{why}"))
                }
                (true, true) => Some("RabbitMQ takes no publishes: a memory or disk alarm".to_owned()),
                (true, false) => None,
            },
        );
        let (running, wanted) = pools.strength();
        service("pools", (running < wanted).then(|| format!("{running} of {wanted} tasks")));
        let short = transport.consumers().into_iter().find(|(_, queue)| queue.open < queue.wanted);
        let short = short.filter(|_| connected).map(|(queue, of)| {
            let why = if of.error.is_empty() { String::new() } else { format!(": {}", of.error) };
            format!("{queue}: {} of {} consumers{why}", of.open, of.wanted)
        });
        service("consumers", short);
        let name = "another node has this node's name; give each its own node.name";
        service("node.name", lease.is_missed().then(|| name.to_owned()));
        let unsigned = pools.unsigned_chains().into_iter().next();
        service(
            "audit",
            unsigned.map(|chain| format!("the audit chain {chain} is not signed: somebody else wrote into it")),
        );
        service("work", transport.guards().away().first().map(|name| format!("{name} panicked and is begun anew")));
        services.extend(domains.services());
        Readiness::new(services)
    })
}

fn lend(client: &Client, domains: &Arc<Domains>, probes: Arc<Probes>, inbox: beds_core::config::Inbox) -> Lent {
    let factory = Arc::clone(&domains.factory);
    let describe = Box::new(move || factory.describe());
    Lent { client: client.clone(), catalogue: Arc::clone(&domains.catalogue), describe, probes, inbox }
}

fn spawn(tasks: &TaskTracker, stop: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tasks.spawn(async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = work => {}
        }
    });
}
