//! [`Events`]: server-sent events, as a browser reads them.
//!
//! Not here: the events of each route (../live.rs).

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use super::{Api, SOON};

/// An open answer.
pub(crate) struct Events {
    response: reqwest::Response,
    text: String,
}

/// One event.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) name: String,
    /// The cursor.
    pub(crate) id: String,
    pub(crate) data: Value,
}

impl Events {
    /// Asks for events, which must be granted.
    pub(crate) async fn open(api: &Api, path: &str, cursor: Option<&str>) -> Result<Self> {
        let mut request = api.request("GET", path);
        if let Some(cursor) = cursor {
            request = request.header("Last-Event-ID", cursor);
        }
        let response = request.send().await?;
        ensure!(response.status() == 200, "{}: {}", response.status(), response.text().await?);
        Ok(Self { response, text: String::new() })
    }

    /// The same for changes; answers the cursor from which they are told too.
    pub(crate) async fn of(api: &Api, query: &str, cursor: Option<&str>) -> Result<(Self, String)> {
        let mut events = Self::open(api, &format!("/v1/changes?{query}"), cursor).await?;
        let first = events.next().await?;
        ensure!(first.name == "subscribed" && first.data["cursor"] == first.id, "{first:?}");
        Ok((events, first.id))
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> Result<Sent> {
        self.next_if_any().await?.context("the answer has ended")
    }

    /// The next event, or none where the answer has ended.
    pub(crate) async fn next_if_any(&mut self) -> Result<Option<Sent>> {
        // Lines that keep the connection alive come all the time.
        match tokio::time::timeout(SOON, self.read()).await {
            Err(_) => bail!("no event within {SOON:?}"),
            Ok(read) => read,
        }
    }

    async fn read(&mut self) -> Result<Option<Sent>> {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                if let Some(sent) = sent(&event)? {
                    return Ok(Some(sent));
                }
                continue;
            }
            match self.response.chunk().await? {
                Some(bytes) => self.text.push_str(std::str::from_utf8(&bytes)?),
                None => return Ok(None),
            }
        }
    }

    /// The next event, which must be a change.
    pub(crate) async fn change(&mut self) -> Result<Sent> {
        let sent = self.next().await?;
        ensure!(sent.name == "change", "{sent:?}");
        Ok(sent)
    }
}

impl Sent {
    /// The operation and the record of a change.
    pub(crate) fn moved(&self) -> (&str, &str) {
        let text = |name: &str| self.data[name].as_str().unwrap_or_default();
        (text("operation"), text("record"))
    }
}

/// None for a comment, which keeps the connection alive.
fn sent(text: &str) -> Result<Option<Sent>> {
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_default().trim_start().to_owned()
    };
    let name = of("event");
    if name.is_empty() {
        return Ok(None);
    }
    Ok(Some(Sent { name, id: of("id"), data: serde_json::from_str(&of("data"))? }))
}
