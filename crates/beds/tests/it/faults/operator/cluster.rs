//! [`Cluster`]: six nodes of separate roles, and the faults that they suffer.
//!
//! Not here: the expected effects of a fault (rows.rs).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::Value;

use super::rows::Fault;
use crate::rig::{Process, World, eventually, killable};

/// The nodes, by name.
pub(super) struct Cluster<'w> {
    pub(super) world: &'w World,
    pub(super) gateways: Vec<String>,
    pub(super) nodes: BTreeMap<&'static str, Process>,
}

pub(super) const NAMES: [&str; 6] = ["gw1", "gw2", "wk1", "wk2", "ad1", "ad2"];

impl Cluster<'_> {
    pub(super) fn start(&mut self, name: &'static str) -> Result<()> {
        self.start_as(name, name, &[])
    }

    fn start_as(&mut self, place: &'static str, name: &str, more: &[(&str, String)]) -> Result<()> {
        let (role, number) = place.split_at(2);
        let is = |local: bool| local.to_string();
        let keys = [
            ("BEDS__SERVICES__APPSERVER__IS_LOCAL", is(role == "gw")),
            (
                "BEDS__SERVICES__APPSERVER__LISTEN",
                self.gateways[number.parse::<usize>()? - 1].clone(),
            ),
            ("BEDS__SERVICES__REL__IS_LOCAL", is(role == "wk")),
            ("BEDS__SERVICES__REC__IS_LOCAL", is(role == "wk")),
            ("BEDS__SERVICES__ADMIN__IS_LOCAL", is(role == "ad")),
            ("BEDS__SERVICES__ADMIN__SIGNING_INTERVAL", "500ms".to_owned()),
            ("BEDS__SERVICES__ADMIN__SIGNING_KEY_FILE", "audit.key".to_owned()),
        ];
        let process = self
            .world
            .role(place, &[&keys[..], &[("BEDS__NODE__NAME", name.to_owned())], more].concat())?;
        drop(self.nodes.insert(place, process));
        Ok(())
    }

    /// Waits until all nodes say that they are ready.
    pub(super) async fn ready(&self) -> Result<()> {
        for (name, node) in &self.nodes {
            eventually(&format!("{name} is ready"), async || {
                Ok(node.api.get("/readyz").await.is_ok_and(|answer| answer.status == 200))
            })
            .await?;
        }
        Ok(())
    }

    /// The reasons of the nodes that are not ready.
    async fn signals(&self) -> String {
        let mut said = String::new();
        for node in self.nodes.values() {
            let Ok(answer) = node.api.get("/readyz").await else { continue };
            let services = answer.body["services"].as_array().cloned().unwrap_or_default();
            said.extend(
                services.iter().filter(|service| service["ready"] == false).map(Value::to_string),
            );
        }
        said
    }

    /// Makes the fault of the row, and undoes it. Answers all that the nodes said meanwhile.
    pub(super) async fn suffer(&mut self, fault: Fault) -> Result<String> {
        match fault {
            Fault::Roll(role, signal) => {
                for name in NAMES.into_iter().filter(|name| name.starts_with(role)) {
                    let node = self.nodes.get_mut(name).context("a node")?;
                    node.signal(signal)?;
                    node.ended().await?;
                    self.start(name)?;
                    self.ready().await?;
                }
                Ok(String::new())
            }
            Fault::Away(role, seconds) => {
                let names: Vec<_> =
                    NAMES.into_iter().filter(|name| name.starts_with(role)).collect();
                for name in &names {
                    self.nodes.get(name).context("a node")?.signal("KILL")?;
                }
                let said = self.listen(seconds).await;
                names.into_iter().try_for_each(|name| self.start(name))?;
                Ok(said)
            }
            Fault::Killed(service, seconds) => {
                killable::kill(service)?;
                let said = self.listen(seconds).await;
                killable::start(service)?;
                Ok(said)
            }
            Fault::Frozen(service, seconds) => {
                killable::signal(service, "STOP")?;
                let said = self.listen(seconds).await;
                killable::signal(service, "CONT")?;
                Ok(said)
            }
            Fault::Alarm(seconds) => {
                killable::rabbitmqctl(&["set_vm_memory_high_watermark", "0.00001"])?;
                let said = self.listen(seconds).await;
                killable::rabbitmqctl(&["set_vm_memory_high_watermark", "0.4"])?;
                Ok(said)
            }
            Fault::SameName => {
                self.end("ad2").await?;
                self.start_as("ad2", "ad1", &[])?;
                let said = self.listen(3).await;
                // The first one ends, and the second one takes its name and goes on with its chain.
                self.end("ad1").await?;
                self.start_as("ad1", "ad2", &[])?;
                Ok(said)
            }
            Fault::Wrong(key, value) => {
                self.end("wk2").await?;
                self.start_as("wk2", "wk2", &[(key, value.to_owned())])?;
                let said = self.listen(10).await;
                self.end("wk2").await?;
                self.start("wk2")?;
                Ok(said)
            }
        }
    }

    async fn end(&mut self, name: &str) -> Result<()> {
        let node = self.nodes.get_mut(name).context("a node")?;
        node.signal("TERM")?;
        node.ended().await.map(drop)
    }

    async fn listen(&self, seconds: u64) -> String {
        let (begun, mut said) = (Instant::now(), String::new());
        while begun.elapsed() < Duration::from_secs(seconds) {
            said.push_str(&self.signals().await);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        said
    }
}
