//! Nodes of a [`World`]: in the test's own process ([`Live`]), or as a process that can be killed ([`Process`]).
//!
//! Not here: the services under them (killable.rs).

use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use beds::{Node, ipl, settings};
use reqwest::StatusCode;
use uuid::Uuid;

use super::{Api, SOON, World, eventually, pause};

impl World {
    /// A node in this process.
    pub(crate) async fn node(&self) -> Result<Live> {
        self.node_with(|_| {}).await
    }

    /// A node in this process whose configuration was changed.
    pub(crate) async fn node_with(
        &self,
        change: impl FnOnce(&mut beds_core::Config),
    ) -> Result<Live> {
        self.node_of_application(change, beds_gateway::Router::new()).await
    }

    /// The same with routes of an application.
    pub(crate) async fn node_of_application(
        &self,
        change: impl FnOnce(&mut beds_core::Config),
        routes: beds_gateway::Router,
    ) -> Result<Live> {
        beds::logging::start(false);
        let mut config =
            settings::load(&self.config_file()).map_err(|p| anyhow::anyhow!("{p:?}"))?;
        change(&mut config);
        let node = ipl::boot_with(config, routes).await?;
        let url = format!("http://{}", node.address().context("the gateway is local")?);
        Ok(Live { node, api: Api { url, http: self.caller.clone() } })
    }

    /// A node as a process of its own, on a port of its own, with fail points set.
    pub(crate) async fn process(&self, failpoints: &str) -> Result<Process> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let child = self.spawn(failpoints, &address)?;
        let process = Process {
            child,
            api: Api { url: format!("http://{address}"), http: self.caller.clone() },
        };
        eventually("the node is ready", async || {
            let ready = process.api.request("GET", "/readyz").send().await;
            Ok(ready.is_ok_and(|response| response.status() == StatusCode::OK))
        })
        .await?;
        Ok(process)
    }

    /// A process for a node without a gateway. Whether it is ready is the test's to find out.
    pub(crate) fn silent_process(&self) -> Result<Process> {
        self.silent_process_with("")
    }

    /// The same with fail points set.
    pub(crate) fn silent_process_with(&self, failpoints: &str) -> Result<Process> {
        let api = Api { url: String::new(), http: self.caller.clone() };
        Ok(Process { child: self.spawn(failpoints, "127.0.0.1:0")?, api })
    }

    /// A node whose log goes into a pipe without a reader.
    pub(crate) async fn process_with_pipe(&self) -> Result<(Api, Child)> {
        let address = format!("127.0.0.1:{}", free_port()?);
        let child = Command::new(env!("CARGO_BIN_EXE_beds"))
            .args(["run", "--config", "beds.toml"])
            .current_dir(&self.folder)
            .env("BEDS__SERVICES__APPSERVER__LISTEN", &address)
            .env("RUST_LOG", "debug")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let api = Api { url: format!("http://{address}"), http: self.caller.clone() };
        eventually("the node is ready", async || {
            let ready = api.request("GET", "/readyz").send().await;
            Ok(ready.is_ok_and(|response| response.status() == StatusCode::OK))
        })
        .await?;
        Ok((api, child))
    }

    /// A node of one role: a process that differs from the world's `beds.toml` in these keys, as the environment names them. Its
    /// probes are where [`Process`] asks.
    pub(crate) fn role(&self, name: &str, keys: &[(&str, String)]) -> Result<Process> {
        let probes = format!("127.0.0.1:{}", free_port()?);
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join(format!("{name}.log")))?;
        let child = Command::new(env!("CARGO_BIN_EXE_beds"))
            .args(["run", "--config", "beds.toml"])
            .current_dir(&self.folder)
            .env("BEDS__NODE__NAME", name)
            .env("BEDS__NODE__CONTROL", format!("{name}.sock"))
            .env("BEDS__NODE__PROBES", &probes)
            .envs(keys.iter().map(|(key, value)| (*key, value.as_str())))
            .env("RUST_LOG", "info")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?;
        Ok(Process {
            child,
            api: Api { url: format!("http://{probes}"), http: self.caller.clone() },
        })
    }

    fn spawn(&self, failpoints: &str, listen: &str) -> Result<Child> {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("node.log"))?;
        Ok(Command::new(env!("CARGO_BIN_EXE_beds"))
            .args(["run", "--config", "beds.toml"])
            .current_dir(&self.folder)
            .env("BEDS__SERVICES__APPSERVER__LISTEN", listen)
            .env("FAILPOINTS", failpoints)
            .env("RUST_LOG", "info")
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()?)
    }

    /// The log of the world's processes.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("node.log")).unwrap_or_default()
    }
}

/// A port for a node that begins a moment later. Outside of the range from which the system gives ports to connections: one of these
/// could be taken until the node listens.
pub(crate) fn free_port() -> Result<u16> {
    for _ in 0..1000 {
        let port = 10_000 + u16::try_from(Uuid::new_v4().as_u128() % 10_000)?;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    bail!("no port is free from 10000 to 19999")
}

/// A node in the test's own process.
pub(crate) struct Live {
    pub(crate) node: Node,
    pub(crate) api: Api,
}

/// A node as a process. It is killed when the value is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) api: Api,
}

impl Process {
    pub(crate) fn signal(&self, signal: &str) -> Result<()> {
        let status = Command::new("kill")
            .args([&format!("-{signal}"), &self.child.id().to_string()])
            .status()?;
        ensure!(status.success(), "kill -{signal} failed");
        Ok(())
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// Waits for the process to end and answers its exit code; none if a signal ended it.
    pub(crate) async fn ended(&mut self) -> Result<Option<i32>> {
        let begun = Instant::now();
        while begun.elapsed() < SOON {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            pause().await;
        }
        bail!("the node did not end")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
