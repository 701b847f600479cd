//! The answer of `/readyz`: one line for each service that the node needs.
//!
//! Not here: the lines about databases (domains.rs).

use std::sync::Arc;

use beds_broker::Pools;
use beds_gateway::{Readiness, Service};
use beds_transport::{Client, Earlier, Lease, Transport};

use crate::domains::Domains;

pub(super) fn readiness(
    client: &Client,
    transport: &Transport,
    earlier: &Earlier,
    domains: &Arc<Domains>,
    pools: &Arc<Pools>,
    lease: &Lease,
    is_gateway: bool,
) -> Box<dyn Fn() -> Readiness + Send + Sync> {
    let (client, transport) = (client.clone(), transport.clone());
    let (earlier, lease) = (earlier.clone(), lease.clone());
    let (domains, pools) = (Arc::clone(domains), Arc::clone(pools));
    Box::new(move || {
        let connected = transport.is_ready() && client.is_ready();
        let mut services = Vec::new();
        let mut service = |name: &str, detail: Option<String>| {
            services.push(Service { name: name.to_owned(), ready: detail.is_none(), detail });
        };
        service("amqp", unusable(&transport, connected));
        let (running, wanted) = pools.strength();
        service("pools", (running < wanted).then(|| format!("{running} of {wanted} tasks")));
        // The line amqp tells of a lost connection, so this one is silent then.
        service("consumers", unconsumed(&transport).filter(|_| connected));
        if is_gateway {
            service("queues", unserved(&client));
        }
        let name = "another node has this node's name; give each its own node.name";
        service("node.name", lease.is_missed().then(|| name.to_owned()));
        let unsigned = pools.unsigned_chains().into_iter().next();
        service(
            "audit",
            unsigned.map(|chain| {
                format!("the audit chain {chain} is not signed: another writer wrote into it")
            }),
        );
        service(
            "work",
            transport
                .guards()
                .away()
                .first()
                .map(|name| format!("{name} panicked and is begun anew")),
        );
        // It holds up no request.
        let left = earlier.left().map(|left| Service {
            name: "earlier queues".to_owned(),
            ready: true,
            detail: Some(left),
        });
        services.extend(left);
        services.extend(domains.services());
        Readiness::new(services)
    })
}

/// The reason why RabbitMQ cannot be used.
fn unusable(transport: &Transport, connected: bool) -> Option<String> {
    if !connected {
        let why = transport.last_error().map(|error| format!(": {error}")).unwrap_or_default();
        return Some(format!("not connected; trying again{why}"));
    }
    let blocked = "RabbitMQ takes no publishes: a memory or disk alarm";
    transport.is_blocked().then(|| blocked.to_owned())
}

/// The first queue of this node's that lacks a consumer.
fn unconsumed(transport: &Transport) -> Option<String> {
    let mut consumers = transport.consumers().into_iter();
    let (queue, of) = consumers.find(|(_, queue)| queue.open < queue.wanted)?;
    let why = if of.error.is_empty() { String::new() } else { format!(": {}", of.error) };
    Some(format!("{queue}: {} of {} consumers{why}", of.open, of.wanted))
}

/// The reason why no request can succeed: no queue of a template's database has a consumer.
fn unserved(client: &Client) -> Option<String> {
    let (served, unserved) = client.served();
    let refused =
        client.refused_queue().map(|why| format!("; RabbitMQ refused {why}")).unwrap_or_default();
    // One served database keeps the gateway ready: it
    // must not go for the outage of another (0029).
    let first = unserved.first().filter(|_| served.is_empty())?;
    Some(format!("no node takes from {first} or any other queue of a database{refused}"))
}
