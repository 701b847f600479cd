//! RabbitMQ of a [`World`], seen from outside of BEDS: messages in and out, consumers, and its management interface.
//!
//! Not here: the envelope of an event (envelope.rs).

use std::time::Instant;

use anyhow::{Result, anyhow, bail, ensure};
use beds_core::{Place, Seal, Store};
use reqwest::Method;
use serde_json::{Value, json};

use super::callers::ROLES;
use super::{SOON, World, eventually, pause};

/// The exchange that leads to the queue of a key's name, as RabbitMQ's interface calls it.
pub(crate) const DEFAULT: &str = "amq.default";

impl World {
    /// Waits until the world's one node takes messages from each of its queues: it has one consumer for reads and one for writes
    /// of each database, and one for each task that stores reports.
    pub(crate) async fn all_consume(&self) -> Result<()> {
        let config = beds::settings::load(&self.config_file())
            .map_err(|mistakes| anyhow!("{mistakes:?}"))?;
        let (services, databases) = (&config.services, &config.databases);
        let of = |store: Store| {
            if services.store(store).is_local { databases.of(store).len() } else { 0 }
        };
        // Tickets are read through a queue of their database, and changed through one of their own.
        let without_writes = usize::from(services.rec.is_local);
        let of_tickets = usize::from(services.calgon.is_local);
        let wanted = 2 * (of(Store::Rec) + of(Store::Rel)) - without_writes
            + of_tickets
            + services.admin.instances.total();
        eventually("all consumers are there", async || Ok(self.prefetches().await?.len() == wanted))
            .await
    }

    /// Queue and prefetch of every consumer of a queue of work, sorted. RabbitMQ's statistics can show consumers of a closed
    /// connection for two minutes more: those are left out.
    pub(crate) async fn prefetches(&self) -> Result<Vec<(String, u64)>> {
        let connections = self
            .rabbit(Method::GET, &format!("/api/vhosts/{}/connections", self.name), None)
            .await?;
        let consumers =
            self.rabbit(Method::GET, &format!("/api/consumers/{}", self.name), None).await?;
        let is_open = |name: &Value| {
            connections.as_array().into_iter().flatten().any(|open| open["name"] == *name)
        };
        let mut found: Vec<(String, u64)> = consumers
            .as_array()
            .into_iter()
            .flatten()
            .filter(|consumer| is_open(&consumer["channel_details"]["connection_name"]))
            .filter_map(|c| {
                Some((c["queue"]["name"].as_str()?.to_owned(), c["prefetch_count"].as_u64()?))
            })
            .filter(|(queue, _)| !queue.starts_with("beds."))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Waits until each of these queues is there and holds no message, neither ready nor handed out.
    pub(crate) async fn settled(&self, queues: &[&str]) -> Result<()> {
        for name in queues {
            eventually(&format!("{name} is settled"), async || {
                Ok(self.queue(name).await?["messages"] == 0)
            })
            .await?;
        }
        Ok(())
    }

    /// A queue as RabbitMQ describes it: `messages`, `message_stats` and the like.
    pub(crate) async fn queue(&self, name: &str) -> Result<Value> {
        self.rabbit(Method::GET, &format!("/api/queues/{}/{name}", self.name), None).await
    }

    /// Declares a queue of the test's own, for the replies to its events.
    pub(crate) async fn own_queue(&self, name: &str) -> Result<()> {
        let path = format!("/api/queues/{}/{name}", self.name);
        self.rabbit(Method::PUT, &path, Some(json!({"durable": false}))).await.map(drop)
    }

    pub(crate) async fn delete_queue(&self, name: &str) -> Result<()> {
        let path = format!("/api/queues/{}/{name}", self.name);
        self.rabbit(Method::DELETE, &path, None).await.map(drop)
    }

    /// Asks RabbitMQ's management interface.
    pub(crate) async fn rabbit(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Value> {
        let mut request = self.http.request(method, format!("{}{path}", self.rabbit));
        if let Some(body) = body {
            request = request.json(&body);
        }
        let response = request.send().await?;
        let status = response.status();
        let text = response.text().await?;
        ensure!(status.is_success(), "RabbitMQ answered {status} to {path}: {text}");
        Ok(if text.is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    /// Publishes a raw message to `beds.events` with the seal of a node, which has proved that its actor has the roles of the tests; true
    /// if it was routed.
    pub(crate) async fn publish(&self, key: &str, body: &str, properties: Value) -> Result<bool> {
        self.publish_to("beds.events", key, body, properties).await
    }

    /// The same to another exchange.
    pub(crate) async fn publish_to(
        &self,
        exchange: &str,
        key: &str,
        body: &str,
        mut properties: Value,
    ) -> Result<bool> {
        let text = |name: &str| properties[name].as_str().unwrap_or_default().to_owned();
        let (reply_to, correlation_id) = (text("reply_to"), text("correlation_id"));
        let event: Value = serde_json::from_str(body).unwrap_or_default();
        let subject = event["actor"]["subject"].as_str().unwrap_or_default();
        let actor = json!({"subject": subject, "roles": ROLES}).to_string();
        let place = Place {
            // RabbitMQ's interface has a name for the exchange without one.
            exchange: if exchange == DEFAULT { "" } else { exchange },
            routing_key: key,
            reply_to: &reply_to,
            correlation_id: &correlation_id,
            actor: &actor,
        };
        let config = beds::settings::load(&self.config_file()).map_err(|p| anyhow!("{p:?}"))?;
        let callers = beds::callers::Callers::read(&config).map_err(|p| anyhow!("{p:?}"))?;
        properties["headers"]["beds-actor"] = json!(actor);
        properties["app_id"] = json!(callers.door.seal(&place, body.as_bytes()));
        self.publish_unproved(exchange, key, body, properties).await
    }

    /// Publishes a raw message as it is; true if it was routed.
    pub(crate) async fn publish_unproved(
        &self,
        exchange: &str,
        key: &str,
        body: &str,
        properties: Value,
    ) -> Result<bool> {
        let path = format!("/api/exchanges/{}/{exchange}/publish", self.name);
        let message = json!({"routing_key": key, "payload": body, "payload_encoding": "string", "properties": properties});
        Ok(self.rabbit(Method::POST, &path, Some(message)).await?["routed"] == true)
    }

    /// The same as another login of RabbitMQ.
    pub(crate) async fn publish_as(
        &self,
        login: &str,
        password: &str,
        key: &str,
        body: &str,
        properties: Value,
    ) -> Result<bool> {
        let mut url: reqwest::Url = self.rabbit.parse()?;
        url.set_path(&format!("/api/exchanges/{}/beds.events/publish", self.name));
        url.set_username(login).map_err(|()| anyhow!("no user in this URL"))?;
        url.set_password(Some(password)).map_err(|()| anyhow!("no password in this URL"))?;
        let message = json!({"routing_key": key, "payload": body, "payload_encoding": "string", "properties": properties});
        let response = self.http.post(url).json(&message).send().await?.error_for_status()?;
        Ok(response.json::<Value>().await?["routed"] == true)
    }

    /// Publishes an event as a client should: persistent, and with its id as that of the message.
    pub(crate) async fn send(&self, key: &str, event: &Value) -> Result<()> {
        let properties = json!({"message_id": event["event_id"], "delivery_mode": 2});
        ensure!(self.publish(key, &event.to_string(), properties).await?, "{key} leads nowhere");
        Ok(())
    }

    /// Takes up to ten messages out of a queue.
    pub(crate) async fn take(&self, queue: &str) -> Result<Vec<Value>> {
        let path = format!("/api/queues/{}/{queue}/get", self.name);
        let ask = json!({"count": 10, "ackmode": "ack_requeue_false", "encoding": "auto"});
        Ok(self
            .rabbit(Method::POST, &path, Some(ask))
            .await?
            .as_array()
            .cloned()
            .unwrap_or_default())
    }

    /// Waits for a dead letter and takes it.
    pub(crate) async fn dead_letter(&self) -> Result<Value> {
        let begun = Instant::now();
        while begun.elapsed() < SOON {
            if let Some(message) = self.take("beds.dead").await?.into_iter().next() {
                return Ok(message);
            }
            pause().await;
        }
        bail!("no dead letter came")
    }
}
