//! How a command reaches templates: the way an application does, through RabbitMQ.
//!
//! Not here: the questions of each command (commands/*.rs).

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use beds_core::{Actor, Config, Templates, config};
use beds_transport::{Client, Context, DeadLetters, Reader, Reports, Transport};

use super::{fail, report};
use crate::callers::Callers;
use crate::record_keys::record_keys;

/// How long RabbitMQ and the answer of one request may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client for the time of one command.
pub(super) struct Connection {
    transport: Transport,
    reports: Reports,
    pub(super) client: Client,
    /// Reads the trail. Its first read is the root of the others.
    pub(super) reader: Reader,
}

impl Connection {
    /// Connects as `{node}-{command}`, or says why not and ends with `code`. The command reaches these templates.
    pub(super) async fn open(
        config: &Config,
        command: &str,
        code: u8,
        templates: Templates,
    ) -> Result<Self, ExitCode> {
        let callers = Callers::read(config).map_err(|mistakes| report(&mistakes))?;
        let keys = record_keys(config).map_err(|mistakes| report(&mistakes))?;
        let name = format!("{}-{command}", config.node.name);
        let transport = Transport::start(&config.amqp, &name, callers.door);
        let environment = config.node.environment.as_str();
        let reports = transport.reports(environment, config.reports.clone(), keys);
        let client =
            transport.client(environment, &reports, Arc::new(ArcSwap::from_pointee(templates)));
        let ready = async {
            transport.ready(Duration::from_secs(10)).await?;
            match tokio::time::timeout(Duration::from_secs(10), client.ready()).await {
                Ok(()) => Ok(()),
                // The connection stands; it lacks the right to a queue for answers.
                Err(_) => Err(beds_transport::TransportError::NoReplyQueue),
            }
        };
        if let Err(error) = ready.await {
            return Err(fail(
                code,
                &format!("RabbitMQ at {} cannot be used: {error}", config.amqp.url.address()),
            ));
        }
        let reader = Reader::new(&client, own_root(&client, PATIENCE));
        Ok(Self { transport, reports, client, reader })
    }

    /// The context of a request that is a root of its own, in the name of the user who runs the command.
    pub(super) fn own_root(&self, patience: Duration) -> Context {
        own_root(&self.client, patience)
    }

    /// The user who runs the command, as the control socket names a caller: the kernel says it, and no variable.
    pub(super) fn user() -> String {
        format!("uid {}", rustix::process::getuid().as_raw())
    }

    /// The dead letters, gone through in the name of the user who runs the command.
    pub(super) fn dead_letters(&self, inbox: config::Inbox) -> DeadLetters {
        self.client.dead_letters(Actor::of_node(Self::user()), inbox)
    }

    /// Sends the remaining reports, and closes.
    pub(super) async fn close(self) {
        self.reports.finish().await;
        self.transport.close().await;
    }
}

fn own_root(client: &Client, patience: Duration) -> Context {
    let mut context = client.context(patience);
    Arc::make_mut(&mut context.actor).subject = Connection::user();
    context
}
