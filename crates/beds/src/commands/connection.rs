//! How a command reaches templates: the way an application does, through RabbitMQ.
//!
//! Not here: the questions of each command (commands/*.rs).

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use beds_core::{Actor, Catalogue, Config, EventId, Fields, NamasteCore, Query, Result, Select, config};
use beds_transport::{Cause, Client, Context, DeadLetters, Recorder, Transport};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::fail;

/// How long RabbitMQ and the answer of one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client for the time of one command.
pub(super) struct Connection {
    transport: Transport,
    recorder: Recorder,
    pub(super) client: Client,
    /// The event that stands for the whole command.
    root: EventId,
}

impl Connection {
    /// Connects as `{node}-{command}`, or says why not and ends with `code`. The command reaches the templates of `catalogue`.
    pub(super) async fn open(config: &Config, command: &str, code: u8, catalogue: Catalogue) -> Result<Self, ExitCode> {
        let transport = Transport::start(&config.amqp, &format!("{}-{command}", config.node.name));
        let environment = config.node.environment.as_str();
        let recorder = transport.recorder(environment, config.records.clone());
        let client = transport.client(environment, &recorder, Arc::new(ArcSwap::from_pointee(catalogue)));
        let ready = async {
            transport.ready(Duration::from_secs(10)).await?;
            match tokio::time::timeout(Duration::from_secs(10), client.ready()).await {
                Ok(()) => Ok(()),
                // The connection stands; it lacks the right to a queue for answers.
                Err(_) => Err(beds_transport::TransportError::NoReplyQueue),
            }
        };
        if let Err(error) = ready.await {
            return Err(fail(code, &format!("RabbitMQ at {} cannot be used: {error}", config.amqp.url.address())));
        }
        let root = recorder.event_id();
        Ok(Self { transport, recorder, client, root })
    }

    /// The context of one request of this command. The first is the root of the others.
    pub(super) fn context(&self, is_first: bool) -> Context {
        let mut context = self.client.context(PATIENCE);
        context.actor.subject = Self::user();
        if is_first {
            context.event_id = self.root.clone();
        } else {
            context.cause = Some(Cause { event_id: self.root.clone(), root_id: self.root.clone(), depth: 0 });
        }
        context
    }

    /// The context of a request that is a root of its own, in the name of the user who runs the command.
    pub(super) fn own_root(&self, patience: Duration) -> Context {
        let mut context = self.client.context(patience);
        context.actor.subject = Self::user();
        context
    }

    /// The user who runs the command, as the control socket names a caller: the kernel says it, and no variable.
    pub(super) fn user() -> String {
        format!("uid {}", rustix::process::getuid().as_raw())
    }

    /// The dead letters, gone through in the name of the user who runs the command.
    pub(super) fn dead_letters(&self, inbox: config::Inbox) -> DeadLetters {
        self.client.dead_letters(Actor { subject: Self::user(), roles: Vec::new() }, inbox)
    }

    /// A named fetch of a template of BEDS's own.
    pub(super) async fn fetch<T: DeserializeOwned>(
        &self,
        template: &str,
        name: &str,
        params: Vec<(&str, Value)>,
        is_first: bool,
    ) -> Result<Vec<T>> {
        let params: Fields = params.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let query = Query { select: Select::Named(name.to_owned()), params };
        let opened = self.client.open(template, self.context(is_first));
        let records = opened.fetch_records(&query).await?.into_iter().filter_map(|response| response.record);
        beds_core::lineage::tree::read(records)
    }

    /// Sends the remaining reports, and closes.
    pub(super) async fn close(self) {
        self.recorder.finish().await;
        self.transport.close().await;
    }
}
