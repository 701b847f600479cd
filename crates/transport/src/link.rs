//! [`Link`]: one connection to RabbitMQ that never gives up. lapin's own recovery stays off: it does not recover
//! channel errors or deleted queues, so a layer that rebuilds is needed anyway, and one such layer is enough
//! (docs/decisions/0003).
//!
//! Not here: the sockets (socket.rs), channels of consumers (consume.rs).

use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use beds_core::{ReportStream, config};
use futures_util::{FutureExt, StreamExt};
use lapin::{Channel, Connection, ConnectionProperties, Event};
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::socket;
use crate::topology::Topology;
use crate::{Guards, TransportError, TransportResult};

/// A connection that stands, with its channels to publish through.
pub(crate) struct Live {
    pub(crate) connection: Connection,
    pub(crate) unconfirmed: Channel,
    confirmed: Vec<Channel>,
}

/// The publishers with confirms. Each has a channel and one task that uses it, because lapin says of a confirm which message
/// came back, and it may be another one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// The outbox of the requests: many under way.
    Requests,
    /// Dead letters, replays, signatures: one at a time.
    Rare,
    /// Changes of records: many under way, in their order.
    Changes,
    /// The lane of a stream: one batch at a time.
    Lane(ReportStream),
}

impl Live {
    pub(crate) fn confirmed(&self, through: Through) -> &Channel {
        let place = match through {
            Through::Requests => 0,
            Through::Rare => 1,
            Through::Changes => 2,
            Through::Lane(stream) => 3 + stream as usize,
        };
        &self.confirmed[place]
    }
}

#[derive(Clone)]
pub(crate) struct Link {
    live: watch::Receiver<Option<Arc<Live>>>,
    shared: Arc<LinkState>,
}

struct LinkState {
    rebuild: Notify,
    last_error: Mutex<Option<TransportError>>,
}

impl Link {
    pub(crate) fn start(
        config: &config::Amqp,
        name: &str,
        topology: &Arc<Topology>,
        guards: &Guards,
        tasks: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (sender, live) = watch::channel(None);
        let shared = Arc::new(LinkState { rebuild: Notify::new(), last_error: Mutex::new(None) });
        let keeper = LinkKeeper {
            url: with_heartbeat(config.url.expose(), config.heartbeat),
            address: config.url.address().to_owned(),
            name: name.to_owned(),
            topology: Arc::clone(topology),
            shared: Arc::clone(&shared),
            sender,
        };
        let (stop, guards, keeper) = (stop.clone(), guards.clone(), Arc::new(keeper));
        tasks.spawn(
            guards.forever("the connection to RabbitMQ", move || {
                Arc::clone(&keeper).keep(stop.clone())
            }),
        );
        Self { live, shared }
    }

    /// The connection, once there is one.
    pub(crate) async fn live(&self) -> Arc<Live> {
        let mut live = self.live.clone();
        loop {
            if let Some(live) = live.borrow_and_update().as_ref() {
                return Arc::clone(live);
            }
            if live.changed().await.is_err() {
                // The node is stopping: no task will connect again.
                std::future::pending::<()>().await;
            }
        }
    }

    /// The connection, if it stands now.
    pub(crate) fn now(&self) -> TransportResult<Arc<Live>> {
        self.live.borrow().clone().ok_or(TransportError::NotConnected)
    }

    pub(crate) fn is_live(&self) -> bool {
        self.live.borrow().is_some()
    }

    pub(crate) fn last_error(&self) -> Option<TransportError> {
        self.shared.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Asks for a new connection, because a channel of this one broke. One that is already replaced is left alone.
    pub(crate) fn rebuild(&self, broken: &Arc<Live>) {
        if self.live.borrow().as_ref().is_some_and(|live| Arc::ptr_eq(live, broken)) {
            self.shared.rebuild.notify_one();
        }
    }
}

struct LinkKeeper {
    url: String,
    address: String,
    name: String,
    topology: Arc<Topology>,
    shared: Arc<LinkState>,
    sender: watch::Sender<Option<Arc<Live>>>,
}

impl LinkKeeper {
    async fn keep(self: Arc<Self>, stop: CancellationToken) {
        // A keeper that begins anew after a panic must not offer the connection of before.
        self.sender.send_replace(None);
        loop {
            let live = tokio::select! {
                () = stop.cancelled() => return,
                live = self.connect() => live,
            };
            let mut events = Box::pin(live.connection.events_listener());
            let connection = Arc::clone(&live);
            // Earlier wishes for a new connection are met now.
            self.shared.rebuild.notified().now_or_never();
            self.sender.send_replace(Some(live));
            let lost = loop {
                tokio::select! {
                    () = stop.cancelled() => break None,
                    () = self.shared.rebuild.notified() => break Some("a channel broke".to_owned()),
                    event = events.next() => match event {
                        // Of a channel alone, too: its holder opens another.
                        Some(Event::Error(error)) if !connection.connection.status().connected() => {
                            break Some(error.to_string());
                        }
                        Some(_) => {}
                        None => break Some("the connection ended".to_owned()),
                    },
                    // lapin reports every loss as an event; this notices one that it might not.
                    () = tokio::time::sleep(Duration::from_secs(1)) => {
                        if !connection.connection.status().connected() {
                            break Some("the connection is not open any more".to_owned());
                        }
                    }
                }
            };
            // Takes the connection away before the goodbye,
            // so that no publisher uses it meanwhile.
            self.sender.send_replace(None);
            // A peer that does not answer must not hold up the next connection.
            let goodbye = connection.connection.close(200, "closing".into());
            if tokio::time::timeout(Duration::from_secs(2), goodbye).await.is_err() {
                tracing::debug!(link = self.name, "RabbitMQ did not answer the close.");
            }
            match lost {
                None => return,
                Some(reason) => {
                    tracing::warn!(link = self.name, reason, "The connection to RabbitMQ was lost.")
                }
            }
        }
    }

    /// Connects, however long it takes: at once, then with growing pauses of at most two seconds.
    async fn connect(&self) -> Arc<Live> {
        let mut pauses = ExponentialBuilder::default()
            .with_min_delay(Duration::from_millis(100))
            .with_max_delay(Duration::from_secs(2))
            .with_jitter()
            .without_max_times()
            .build();
        let mut reported = String::new();
        loop {
            // An attempt that is dropped cuts its socket:
            // lapin would wait for a silent server for ever.
            let attempt = tokio::time::timeout(Duration::from_secs(10), self.attempt()).await;
            let error = match attempt {
                Ok(Ok(live)) => {
                    tracing::info!(
                        link = self.name,
                        address = self.address,
                        "Connected to RabbitMQ."
                    );
                    return Arc::new(live);
                }
                Ok(Err(error)) => error,
                Err(_) => TransportError::NotConnected,
            };
            // One line for each new reason, not one for each attempt.
            let text = error.to_string();
            if text != reported {
                tracing::warn!(
                    link = self.name,
                    address = self.address,
                    error = text,
                    "Cannot use RabbitMQ; trying again."
                );
                reported = text;
            }
            *self.shared.last_error.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
                Some(error);
            tokio::time::sleep(pauses.next().unwrap_or(Duration::from_secs(2))).await;
        }
    }

    async fn attempt(&self) -> TransportResult<Live> {
        let properties = ConnectionProperties::default()
            .with_connection_name(format!("beds {}", self.name).into());
        let connection = socket::connect(&self.url, properties).await?;
        let setup = connection.create_channel().await?;
        // Declares before the connection is in use: queues that were deleted are there again.
        self.topology.declare(&setup).await.map_err(|e| TransportError::Topology(e.to_string()))?;
        // Opens a channel for each publisher: a confirm
        // can carry another one's return (decision 0016).
        let mut confirmed = Vec::with_capacity(3 + ReportStream::ALL.len());
        for _ in 0..confirmed.capacity() {
            let channel = connection.create_channel().await?;
            channel.confirm_select(Default::default()).await?;
            confirmed.push(channel);
        }
        Ok(Live { connection, confirmed, unconfirmed: setup })
    }
}

fn with_heartbeat(url: &str, heartbeat: Duration) -> String {
    let separator = if url.contains('?') { '&' } else { '?' };
    // Asks for 1 s at least: a heartbeat of 0 would switch heartbeats off.
    format!("{url}{separator}heartbeat={}", heartbeat.as_secs().max(1))
}
