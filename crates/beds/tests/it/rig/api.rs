//! [`Api`]: the HTTP interface of a node, as a test asks it.

use anyhow::Result;
use reqwest::Client;
use serde_json::Value;

/// The HTTP interface of a node.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) url: String,
    pub(crate) http: Client,
}

/// An answer, with its body as JSON.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: Value,
    pub(crate) text: String,
}

impl Answer {
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

impl Api {
    pub(crate) async fn get(&self, path: &str) -> Result<Answer> {
        self.send(self.request("GET", path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request("POST", path).json(body)).await
    }

    pub(crate) async fn post_with_key(
        &self,
        path: &str,
        key: &str,
        body: &Value,
    ) -> Result<Answer> {
        self.send(self.request("POST", path).header("Idempotency-Key", key).json(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send(self.request("PATCH", path).json(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Result<Answer> {
        self.send(self.request("DELETE", path)).await
    }

    /// A request that is to get more headers, a query or another body before [`Api::send`].
    pub(crate) fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        let method = reqwest::Method::from_bytes(method.as_bytes()).unwrap();
        self.http.request(method, format!("{}{path}", self.url))
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Result<Answer> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Ok(Answer { status, headers, body, text })
    }

    /// Events of a queue that this node has done with success. The node counts them itself: RabbitMQ's statistics are up to 5 s old,
    /// and every two minutes it forgets those of connections that have just closed, as each publish over its HTTP interface has one.
    pub(crate) async fn done(&self, queue: &str) -> Result<u64> {
        let metrics = self.get("/metrics").await?.text;
        let sample = format!("beds_events_total{{queue=\"{queue}\",code=\"ok\"}} ");
        Ok(metrics.lines().find_map(|line| line.strip_prefix(&sample)?.parse().ok()).unwrap_or(0))
    }
}
