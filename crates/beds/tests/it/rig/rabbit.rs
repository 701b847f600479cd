//! RabbitMQ of a [`World`], seen from outside of BEDS: messages in and out, consumers, and its management interface.
//!
//! Not here: the envelope of an event (envelope.rs).

use std::time::Instant;

use anyhow::{Result, anyhow, bail, ensure};
use beds_core::Store;
use reqwest::Method;
use serde_json::{Value, json};

use super::{SOON, World, eventually, pause};

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
        let wanted = 2 * (of(Store::Rec) + of(Store::Rel)) + services.admin.instances.total();
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

    /// Publishes a raw message to `beds.events`; true if it was routed.
    pub(crate) async fn publish(&self, key: &str, body: &str, properties: Value) -> Result<bool> {
        let path = format!("/api/exchanges/{}/beds.events/publish", self.name);
        let message = json!({"routing_key": key, "payload": body, "payload_encoding": "string", "properties": properties});
        Ok(self.rabbit(Method::POST, &path, Some(message)).await?["routed"] == true)
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
