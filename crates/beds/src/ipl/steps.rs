//! The steps of a start, in their order. Each gives the next ones the parts that it has started.
//!
//! Not here: their order (ipl.rs), the work of the parts once they run.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use beds_adapters::Stores;
use beds_broker::{Calgon, Parts, PoolSpec, Pools, RelaySpec};
use beds_core::config::{TICKETS_DATABASE, in_plain_text};
use beds_core::{BedsError, Config, Gatekeeper, Mistake, ReportStream, RoutingKey, Seal, Store};
use beds_gateway::{Gateway, Lent, ProbePort, Probes, Router};
use beds_transport::topology::Queue;
use beds_transport::{Client, Earlier, Lease, Reports, Transport, TransportError};
use futures_util::future::join_all;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::readiness::readiness;
use super::{Ipl, IplError, PATIENCE};
use crate::callers::{self, Callers};
use crate::certificate::Certificate;
use crate::domains::Domains;
use crate::notary::Notary;
use crate::record_keys::record_keys;
use crate::reloading::Reloading;
use crate::{control, logging, metering, notary};

/// How long the start waits for the consumers of its queues.
const CONSUMERS: Duration = Duration::from_secs(2);

/// The parts that speak to RabbitMQ.
pub(super) struct Amqp {
    pub(super) transport: Transport,
    pub(super) reports: Reports,
    pub(super) client: Client,
    pub(super) earlier: Earlier,
}

/// The gateway's task, if the gateway is local.
pub(super) struct Listening {
    pub(super) address: Option<SocketAddr>,
    pub(super) tasks: TaskTracker,
    pub(super) stop: CancellationToken,
}

impl Ipl {
    pub(super) async fn templates(&self) -> Result<Arc<Domains>, IplError> {
        let domains = Arc::new(Domains::new(&self.config, Stores::new(&self.config).await?));
        let mistakes = domains.read();
        self.step("templates", fitting(mistakes), || {
            format!("{} templates", domains.templates.load().len())
        })?;
        Ok(domains)
    }

    /// Reads the credentials. A mistake in them ends the start everywhere: a caller could be taken for another one.
    pub(super) fn callers(&self) -> Result<Arc<Callers>, IplError> {
        let callers = Callers::read(&self.config).map_err(IplError::Callers)?;
        let warnings = callers::lonely(&self.config).into_iter().chain(in_plain_text(&self.config));
        warnings.for_each(|warning| tracing::warn!("{warning}"));
        let auth = &self.config.auth;
        self.step("credentials", Ok(()), || {
            let keys = auth.keys_file.as_ref().map_or("no keys", |_| "keys");
            format!("{keys}, {} issuer(s)", auth.issuers.len())
        })?;
        Ok(Arc::new(callers))
    }

    /// Reads the certificate of the gateway. A mistake in it ends the start everywhere: callers would be asked to trust another.
    pub(super) fn certificate(&self) -> Result<Option<Arc<Certificate>>, IplError> {
        Certificate::read(&self.config).map(|read| read.map(Arc::new)).map_err(IplError::Callers)
    }

    pub(super) async fn amqp(
        &self,
        domains: &Domains,
        callers: &Callers,
    ) -> Result<Amqp, IplError> {
        let config = &self.config;
        let environment = config.node.environment.as_str();
        let seal = Arc::clone(&callers.door) as Arc<dyn Seal>;
        let transport = Transport::start(&config.amqp, &config.node.name, seal);
        let keys = record_keys(config).map_err(IplError::Callers)?;
        let reports = transport.reports(environment, config.reports.clone(), keys);
        // Comes before pools and gateway find their meters:
        // one that is found earlier counts nothing.
        metering::start();
        logging::report_to(&reports);
        if let Some(endpoint) = &config.reports.otlp {
            self.step("otlp", self.tell_traces(endpoint, &reports), || endpoint.clone())?;
        }
        let client = transport.client(environment, &reports, Arc::clone(&domains.templates));
        self.step("amqp", self.connected(&transport, &client).await, || {
            config.amqp.url.address().to_owned()
        })?;
        let earlier = transport.earlier_queues(&config.amqp);
        Ok(Amqp { transport, reports, client, earlier })
    }

    async fn connected(&self, transport: &Transport, client: &Client) -> Result<(), IplError> {
        let failed =
            |source| IplError::Amqp { address: self.config.amqp.url.address().to_owned(), source };
        // Waits less in development, where the node goes on without RabbitMQ.
        let patience = if self.strict { PATIENCE } else { Duration::from_secs(3) };
        transport.ready(patience).await.map_err(failed)?;
        let answered = tokio::time::timeout(patience, client.ready()).await;
        answered.map_err(|_| failed(TransportError::NotConnected))?;
        client.refused_queue().map_or(Ok(()), |why| Err(failed(TransportError::Topology(why))))
    }

    pub(super) async fn databases(&self, domains: &Domains) -> Result<(), IplError> {
        for (store, name, address) in domains.databases() {
            let ready = database(domains, store, &name, &address).await;
            self.step(&format!("databases.{store}.{name}"), ready, || address.clone())?;
        }
        Ok(())
    }

    pub(super) async fn pools(
        &self,
        amqp: &Amqp,
        reloading: &Reloading,
    ) -> Result<(Arc<Pools>, Lease), IplError> {
        let domains = &reloading.domains;
        let (specs, streams) = (pools(&self.config, domains), streams(&self.config));
        // Only a database that is reached has consumers to wait for.
        let reached: Vec<_> = specs
            .iter()
            .filter(|spec| *spec.is_reached.borrow())
            .map(|spec| spec.key.clone())
            .collect();
        let told: Vec<String> =
            specs.iter().map(|spec| format!("{} {}", spec.tasks, spec.key)).collect();
        let Amqp { transport, reports, .. } = amqp;
        let tickets = &self.config.services.calgon;
        let calgon = tickets.is_local.then(|| Calgon::new(&self.config));
        let lease = transport.lease();
        let parts = Parts {
            factory: Arc::clone(&domains.factory),
            lease: lease.clone(),
            notices: transport.notices(),
            gate: Arc::clone(&reloading.callers.door) as Arc<dyn Gatekeeper>,
            calgon: calgon.clone(),
            relays: relays(domains),
        };
        if let Some(calgon) = calgon {
            domains.factory.serve_tickets(calgon);
        }
        let pools = Pools::spawn(transport, reports, &parts, specs, &streams);
        // The first request must find them. One that cannot begin is told by `/readyz`.
        let consume = reached
            .into_iter()
            .map(Queue::Events)
            .map(async |queue| transport.consumes(&queue).await);
        drop(tokio::time::timeout(CONSUMERS, join_all(consume)).await);
        self.step("pools", Ok(()), || {
            let streams = streams.iter().map(|(stream, tasks)| format!("{tasks} {stream}"));
            told.into_iter().chain(streams).collect::<Vec<_>>().join(", ")
        })?;
        Ok((Arc::new(pools), lease))
    }

    /// Begins the tasks beside the pools: signatures, metrics, the pulse of the databases, the control socket.
    pub(super) fn watchers(
        &self,
        amqp: &Amqp,
        reloading: &Reloading,
        pools: &Arc<Pools>,
    ) -> Result<(), IplError> {
        let Amqp { transport, reports, .. } = amqp;
        let (admin, guards) = (&self.config.services.admin, transport.guards());
        if admin.is_local && admin.signing_key_file.is_none() {
            tracing::warn!(
                "services.admin.signing_key_file is not set: heads of the audit trail are not signed."
            );
        }
        if let Some(key) = signing_key(&self.config)? {
            let notary = Arc::new(Notary::new(key, Arc::clone(pools), reports.clone()));
            let (interval, stop) = (admin.signing_interval, self.stop.clone());
            // It ends by itself, behind its last signature.
            let serve = move || Arc::clone(&notary).serve(interval, stop.clone());
            self.tasks.spawn(guards.clone().forever("the signatures of the audit trail", serve));
        }
        let metered = (reports.clone(), transport.clone());
        let serve = move || metering::serve(metered.0.clone(), metered.1.clone());
        self.spawn(guards.clone().forever("the metrics", serve));
        let watching = Arc::clone(&reloading.domains);
        let watch = move || {
            let watching = Arc::clone(&watching);
            async move { watching.watch().await }
        };
        self.spawn(guards.clone().forever("the pulse of the databases", watch));
        if let Some(path) = &self.config.node.control {
            let socket = control::bind(path)
                .map_err(|source| IplError::Control { path: path.display().to_string(), source })?;
            self.spawn(control::serve(socket, path.clone(), reloading.clone()));
        }
        Ok(())
    }

    pub(super) fn probes(
        &self,
        amqp: &Amqp,
        domains: &Arc<Domains>,
        pools: &Arc<Pools>,
        lease: &Lease,
    ) -> Result<Arc<Probes>, IplError> {
        let is_gateway = self.config.services.appserver.is_local;
        let Amqp { client, transport, earlier, .. } = amqp;
        let readiness = readiness(client, transport, earlier, domains, pools, lease, is_gateway);
        let probes = Arc::new(Probes::new(metering::render, readiness));
        if let Some(address) = self.config.node.probes {
            let port = ProbePort::bind(address, Arc::clone(&probes))?;
            let stop = self.stop.clone();
            self.tasks.spawn(async move {
                if let Err(error) = port.run(stop).await {
                    tracing::error!(%error, "The port for probes ended.");
                }
            });
            self.step("probes", Ok(()), || format!("http://{address}/metrics"))?;
        }
        Ok(probes)
    }

    pub(super) fn gateway(
        &self,
        amqp: &Amqp,
        reloading: &Reloading,
        probes: Arc<Probes>,
        routes: Router,
    ) -> Result<Listening, IplError> {
        let config = &self.config;
        let mut listening =
            Listening { address: None, tasks: TaskTracker::new(), stop: CancellationToken::new() };
        if config.services.appserver.is_local {
            let lent = lend(&amqp.client, reloading, probes, config.inbox);
            let bound = Gateway::bind(&config.services.appserver, lent)?.merge(routes);
            let address = bound.address();
            listening.address = Some(address);
            let (stop, grace) = (listening.stop.clone(), config.node.shutdown_grace);
            listening.tasks.spawn(async move {
                if let Err(error) = bound.run(stop, grace).await {
                    tracing::error!(%error, "The gateway ended.");
                }
            });
            let scheme = if config.services.appserver.tls.is_some() { "https" } else { "http" };
            self.step("gateway", Ok(()), || format!("{scheme}://{address}"))?;
        }
        Ok(listening)
    }

    /// Tells lineage to a tracing system too.
    #[cfg(feature = "otel")]
    fn tell_traces(&self, endpoint: &str, reports: &Reports) -> Result<(), IplError> {
        let exporter = crate::otel::Exporter::new(endpoint, &self.config.node.name);
        let exporter = exporter.map_err(|error| IplError::Otlp(error.to_string()))?;
        self.spawn(exporter.serve(reports.tap(crate::otel::ROOM)));
        Ok(())
    }

    #[cfg(not(feature = "otel"))]
    #[expect(clippy::unused_self, reason = "the other build needs it")]
    fn tell_traces(&self, _: &str, _: &Reports) -> Result<(), IplError> {
        Err(IplError::Otlp("this binary was built without the feature otel".to_owned()))
    }
}

fn fitting(mistakes: Vec<Mistake>) -> Result<(), IplError> {
    if mistakes.is_empty() { Ok(()) } else { Err(IplError::Templates(mistakes)) }
}

async fn database(
    domains: &Domains,
    store: Store,
    name: &str,
    address: &str,
) -> Result<(), IplError> {
    let failed = |error: BedsError| {
        let detail = error.source.as_ref().map_or_else(
            || error.message.clone(),
            |source| format!("{} ({source})", error.message),
        );
        IplError::Database { store, name: name.to_owned(), address: address.to_owned(), detail }
    };
    domains.ping(store, name).await.map_err(failed)?;
    let mistakes = domains.bind(store, name).await.map_err(failed)?;
    fitting(mistakes)
}

/// Two pools for each database of a local store: its reads and its writes.
fn pools(config: &Config, domains: &Domains) -> Vec<PoolSpec> {
    let max_event_bytes = usize::try_from(config.amqp.max_event_bytes.get()).unwrap_or(usize::MAX);
    let mut specs = Vec::new();
    for store in Store::ALL.into_iter().filter(|store| config.services.store(*store).is_local) {
        let handler_timeout = config.services.store(store).handler_timeout;
        for name in config.databases.of(store).keys() {
            let Some(is_reached) = domains.reached(store, name) else { continue };
            let instances = config.instances(store, name);
            for (is_write, tasks) in [(false, instances.read), (true, instances.write)] {
                // Tickets are changed through their own queue.
                if is_write && store == Store::Rec && name == TICKETS_DATABASE {
                    continue;
                }
                let (key, is_reached) =
                    (RoutingKey::new(store, is_write, name), is_reached.clone());
                specs.push(PoolSpec {
                    key,
                    tasks: tasks.get(),
                    handler_timeout,
                    max_event_bytes,
                    is_reached,
                });
            }
        }
    }
    let calgon = &config.services.calgon;
    if calgon.is_local
        && let Some(is_reached) = domains.reached(Store::Rec, TICKETS_DATABASE)
    {
        specs.push(PoolSpec {
            key: RoutingKey::tickets(),
            tasks: calgon.instances.requests.get(),
            handler_timeout: config.services.rec.handler_timeout,
            max_event_bytes,
            is_reached,
        });
    }
    specs
}

/// The databases of this node whose changes can be published.
fn relays(domains: &Arc<Domains>) -> Vec<RelaySpec> {
    let spec = |(store, name, _): (Store, String, String)| {
        let (feeding, asked) = (Arc::clone(domains), Arc::clone(domains));
        let (database, of) = (format!("{store}.{name}"), name.clone());
        RelaySpec {
            database,
            open: Arc::new(move || feeding.changes(store, &of)),
            is_wanted: Arc::new(move || asked.tells_changes(store, &name)),
        }
    };
    domains.databases().into_iter().map(spec).collect()
}

/// The streams of records that this node stores, with their tasks.
fn streams(config: &Config) -> Vec<(ReportStream, u16)> {
    let admin = &config.services.admin;
    let streams =
        ReportStream::ALL.into_iter().map(|stream| (stream, admin.instances.of(stream).get()));
    if admin.is_local { streams.collect() } else { Vec::new() }
}

/// The key that signs this node's audit chains, if it has any.
fn signing_key(config: &Config) -> Result<Option<notary::Key>, IplError> {
    let admin = &config.services.admin;
    let Some(path) = admin.signing_key_file.as_ref().filter(|_| admin.is_local) else {
        return Ok(None);
    };
    let unusable = |source| IplError::SigningKey { path: path.display().to_string(), source };
    notary::Key::read_or_make(path).map(Some).map_err(unusable)
}

fn lend(
    client: &Client,
    reloading: &Reloading,
    probes: Arc<Probes>,
    inbox: beds_core::config::Inbox,
) -> Lent {
    let domains = &reloading.domains;
    let factory = Arc::clone(&domains.factory);
    let describe = Box::new(move || factory.describe());
    Lent {
        client: client.clone(),
        templates: Arc::clone(&domains.templates),
        describe,
        probes,
        gate: Arc::clone(&reloading.callers.door) as Arc<dyn Gatekeeper>,
        tls: reloading.certificate.as_ref().map(|certificate| certificate.tls.clone()),
        inbox,
    }
}
