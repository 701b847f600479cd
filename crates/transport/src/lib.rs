//! AMQP for BEDS: the topology, publishing with confirms, consuming, request and reply, and the application's
//! [`Client`]. The only crate that names lapin. It finds the queue of a template's database, and knows no driver and no HTTP.
//!
//! Not here: databases (crate adapters), HTTP (crate gateway).

mod awaited;
mod changes;
mod client;
mod consume;
mod consumers;
mod dead_letters;
mod earlier;
mod error;
mod guards;
mod lease;
mod link;
mod marks;
mod notices;
mod outbox;
mod publish;
mod queues;
mod reader;
mod reply_desk;
mod reports;
mod requester_lineage;
mod socket;
pub mod topology;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use beds_core::{Seal, Templates, config};
use beds_trail::record_keys::RecordKeys;
use lapin::ConnectionProperties;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use changes::{ChangeLog, LogStart, Logged};
pub use client::{Asked, Cause, Client, Context, Refused, RemoteTemplate};
pub use consume::{Delivery, Subscription, Sweep, Waited};
pub use consumers::OfQueue;
pub use dead_letters::{DeadLetter, DeadLetters, Verdict};
pub use earlier::Earlier;
pub use error::{TransportError, TransportResult};
pub use guards::Guards;
pub use lease::Lease;
pub use notices::{Notices, Watched};
pub use publish::Publisher;
pub use reader::Reader;
pub use reports::{Kept, Reports};

use crate::consumers::Consumers;
use crate::link::Link;
use crate::marks::Marks;
use crate::queues::Queues;
use crate::topology::{Queue, Topology};

/// A node's connections to RabbitMQ: one publishes, another consumes, so that an alarm that blocks publishers never
/// keeps a consumer from acknowledging.
#[derive(Clone)]
pub struct Transport {
    publisher: Publisher,
    consuming: Link,
    topology: Arc<Topology>,
    consumers: Consumers,
    queues: Queues,
    guards: Guards,
    tasks: TaskTracker,
    stop: CancellationToken,
    node: String,
    notices: Arc<OnceLock<Notices>>,
}

impl Transport {
    /// Starts both connections. `seal` marks the messages of the node. The connections come up in the background and come back for as long as the process lives;
    /// [`Transport::ready`] waits for the first time.
    pub fn start(config: &config::Amqp, node: &str, seal: Arc<dyn Seal>) -> Self {
        let topology = Arc::new(Topology::new(config));
        let (tasks, stop, guards) =
            (TaskTracker::new(), CancellationToken::new(), Guards::default());
        let link = |name: &str| {
            Link::start(config, &format!("{node} {name}"), &topology, &guards, &tasks, &stop)
        };
        let (publishing, consuming) = (link("publish"), link("consume"));
        let marks = Marks::new(seal, &config.url.user());
        let publisher = Publisher::new(
            publishing,
            config.confirm_timeout,
            marks,
            &guards,
            tasks.clone(),
            &stop,
        );
        let consumers = Consumers::default();
        let queues = Queues::new(&consumers);
        Self {
            publisher,
            consuming,
            topology,
            consumers,
            queues,
            guards,
            tasks,
            stop,
            node: node.to_owned(),
            notices: Arc::default(),
        }
    }

    /// Waits until both connections stand and the topology is declared.
    pub async fn ready(&self, patience: Duration) -> TransportResult<()> {
        let both = async { tokio::join!(self.publisher.link().live(), self.consuming.live()) };
        match tokio::time::timeout(patience, both).await {
            Ok(_) => Ok(()),
            Err(_) => {
                Err(self.publisher.link().last_error().unwrap_or(TransportError::NotConnected))
            }
        }
    }

    /// True while both connections stand.
    pub fn is_ready(&self) -> bool {
        self.publisher.link().is_live() && self.consuming.is_live()
    }

    /// Why the last attempt to connect failed, if one has.
    pub fn last_error(&self) -> Option<TransportError> {
        self.publisher.link().last_error().or_else(|| self.consuming.last_error())
    }

    /// Whether RabbitMQ lets this login into its vhost. Declares nothing.
    ///
    /// # Errors
    /// It cannot be reached within `patience`, or refuses.
    pub async fn probe(config: &config::Amqp, patience: Duration) -> TransportResult<()> {
        let properties = ConnectionProperties::default().with_connection_name("beds check".into());
        let connecting = socket::connect(config.url.expose(), properties);
        let connection = tokio::time::timeout(patience, connecting)
            .await
            .map_err(|_| TransportError::NotConnected)??;
        // It stands, which is all that was asked.
        drop(tokio::time::timeout(patience, connection.close(200, "checked".into())).await);
        Ok(())
    }

    pub fn publisher(&self) -> &Publisher {
        &self.publisher
    }

    /// Consumes one queue. The subscription survives every loss of the connection or of the queue.
    pub fn subscribe(&self, queue: Queue, tag: &str, prefetch: u16) -> Subscription {
        Subscription::new(
            self.consuming.clone(),
            Arc::clone(&self.topology),
            &self.consumers,
            queue,
            tag,
            prefetch,
        )
    }

    /// Takes the last messages of a queue that has just lost its consumer.
    pub fn sweep(&self, queue: Queue) -> Sweep {
        Sweep::new(&self.consuming, &self.consumers, queue)
    }

    /// Of each queue that this node takes from: how many consumers there should be and are, and why not.
    pub fn consumers(&self) -> BTreeMap<Arc<str>, OfQueue> {
        self.consumers.all()
    }

    /// Waits until this node takes messages from a queue.
    pub async fn consumes(&self, queue: &Queue) {
        self.consumers.opened(queue.name()).await;
    }

    /// The notices of all nodes. Begins to take them where that has not begun.
    pub fn notices(&self) -> Notices {
        self.notices.get_or_init(|| self.begin_notices()).clone()
    }

    fn begin_notices(&self) -> Notices {
        let notices = Notices::default();
        let (taken, link, node) = (notices.clone(), self.consuming.clone(), self.node.clone());
        let serve = move || taken.clone().serve(link.clone(), node.clone());
        self.tasks.spawn(
            self.stop
                .clone()
                .run_until_cancelled_owned(self.guards.clone().forever("the notices", serve)),
        );
        notices
    }

    /// Begins to ask for the name of the node.
    pub fn lease(&self) -> Lease {
        let (lease, keep) = Lease::new(self.consuming.clone(), &self.node);
        self.tasks.spawn(
            self.stop.clone().run_until_cancelled_owned(
                self.guards.clone().forever("the name of the node", keep),
            ),
        );
        lease
    }

    /// Begins to ask for a piece of work that one node does for all, such as `changes.rel.main`.
    pub fn lead(&self, work: &str) -> Lease {
        let (lease, keep) = Lease::lead(self.consuming.clone(), work);
        let keep = self.guards.clone().forever("the work for all nodes", keep);
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(keep));
        lease
    }

    /// Begins to read the stream of changes, once there is a connection.
    pub async fn change_log(&self, start: LogStart) -> TransportResult<ChangeLog> {
        ChangeLog::open(&self.consuming, self.publisher.marks().clone(), start).await
    }

    /// Begins to take away the queues of an earlier release.
    pub fn earlier_queues(&self, config: &config::Amqp) -> Earlier {
        let earlier = Earlier::default();
        let (taken, link, url) =
            (earlier.clone(), self.consuming.clone(), config.url.expose().to_owned());
        let serve = move || taken.clone().serve(link.clone(), url.clone());
        let serve = self.guards.clone().forever("the queues of an earlier release", serve);
        self.tasks.spawn(self.stop.clone().run_until_cancelled_owned(serve));
        earlier
    }

    /// Keeps the work of the node going.
    pub fn guards(&self) -> &Guards {
        &self.guards
    }

    /// True while RabbitMQ takes no publishes: a memory or disk alarm.
    pub fn is_blocked(&self) -> bool {
        self.publisher.link().now().is_ok_and(|live| live.connection.status().blocked())
    }

    /// The client through which the gateway and applications reach these templates.
    pub fn client(
        &self,
        environment: &str,
        reports: &Reports,
        templates: Arc<ArcSwap<Templates>>,
    ) -> Client {
        Client::start(self, environment, reports, templates)
    }

    /// How many messages waited in each queue at the last look. Empty while there is no connection.
    pub fn queue_lengths(&self) -> Vec<(Arc<str>, u32)> {
        self.queues.lengths()
    }

    /// The reports of the node about itself go through this. `keys` hash the ids of records.
    pub fn reports(
        &self,
        environment: &str,
        enabled: config::Reports,
        keys: RecordKeys,
    ) -> Reports {
        let parts = (enabled, keys);
        Reports::start(&self.publisher, &self.guards, &self.tasks, &self.node, environment, parts)
    }

    /// Closes both connections, the consuming one last, and waits for the background tasks.
    pub async fn close(&self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
