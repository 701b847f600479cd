//! The ground of the tests: a [`World`] with its own vhost and databases, and nodes in it.

mod api;
mod envelope;
pub(crate) mod killable;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail, ensure};
use beds::{Node, ipl, settings};
use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};
use uuid::Uuid;

pub(crate) use api::{Answer, Api};
pub(crate) use envelope::envelope;

/// The longest that a test waits for an event that must happen.
pub(crate) const SOON: Duration = Duration::from_secs(120);

/// A place of its own on the services: a vhost, a MariaDB database, a MongoDB database, and a folder with the files of
/// a node. All of it goes when the value is dropped, unless `BEDS_TEST_KEEP` is set.
pub(crate) struct World {
    pub(crate) name: String,
    pub(crate) folder: PathBuf,
    pub(crate) maria: String,
    rabbit: String,
    http: Client,
}

impl World {
    /// A world with the sample domain and the domain of the tests applied.
    pub(crate) async fn new() -> Result<Self> {
        let name = format!("t{}", Uuid::new_v4().simple());
        let folder = std::env::temp_dir().join(format!("beds-{name}"));
        let world = Self {
            maria: variable("BEDS_TEST_MARIA_URL")?,
            rabbit: variable("BEDS_TEST_RABBIT_API")?,
            http: Client::new(),
            folder,
            name,
        };
        std::fs::create_dir_all(&world.folder)?;
        world.rabbit(Method::PUT, &format!("/api/vhosts/{}", world.name), None).await?;
        world.sql_server(&format!("CREATE DATABASE {}", world.name))?;
        world.write_files()?;
        world.apply()?;
        Ok(world)
    }

    fn write_files(&self) -> Result<()> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let domain = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/domain");
        for (from, to) in [
            (repository.join("schema/rel/main"), "schema/rel/main"),
            (repository.join("schema/rec/main"), "schema/rec/main"),
            (repository.join("schema/rec/msLogs"), "schema/rec/msLogs"),
            (domain.join("rel"), "schema/rel/main"),
            (domain.join("rec"), "schema/rec/main"),
            (domain.join("rec_logs"), "schema/rec/msLogs"),
            (repository.join("templates"), "templates"),
            (domain.join("templates"), "templates"),
        ] {
            copy(&from, &self.folder.join(to))?;
        }
        let mongo = variable("BEDS_TEST_MONGO_URL")?;
        let mongo = |name: &str| mongo.replacen("/?", &format!("/{name}?"), 1);
        // No template may write into the reports, so those that attack them call their database by another name.
        let logs = mongo(&format!("{}_logs", self.name));
        let databases = format!(
            "[databases.rel.main]\nurl = \"{}/{}\"\n[databases.rec.main]\nurl = \"{}\"\n\
             [databases.rec.msLogs]\nurl = \"{logs}\"\n[databases.rec.attacks]\nurl = \"{logs}\"\n",
            self.maria,
            self.name,
            mongo(&self.name),
        );
        std::fs::write(self.folder.join("dba.toml"), &databases)?;
        let node = format!(
            "[node]\ncontrol = \"ms.sock\"\nshutdown_grace = \"10s\"\n[amqp]\nurl = \"{}/{}\"\n\
             [services.appserver]\nis_local = true\nlisten = \"127.0.0.1:0\"\nmax_in_flight = 64\n\
             [services.rec]\nis_local = true\ninstances = {{ read = 2, write = 3 }}\n\
             [services.rel]\nis_local = true\ninstances = {{ read = 2, write = 3 }}\n\
             [services.admin]\nis_local = true\n[reports]\nhash_key = \"of the tests\"\n{databases}",
            variable("BEDS_TEST_AMQP_URL")?,
            self.name,
        );
        std::fs::write(self.folder.join("beds.toml"), node)?;
        Ok(())
    }

    pub(crate) fn config_file(&self) -> PathBuf {
        self.folder.join("beds.toml")
    }

    /// Runs `beds` with arguments in the world's folder.
    pub(crate) fn beds(&self, arguments: &[&str]) -> Result<Output> {
        Ok(Command::new(env!("CARGO_BIN_EXE_beds")).args(arguments).current_dir(&self.folder).output()?)
    }

    /// Applies the schema files of the world.
    pub(crate) fn apply(&self) -> Result<()> {
        let output = self.beds(&["schema", "apply", "--credentials", "dba.toml", "--schema", "schema"])?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// Writes a file of the world's.
    pub(crate) fn write(&self, file: &str, text: impl AsRef<[u8]>) -> Result<()> {
        let path = self.folder.join(file);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, text)?)
    }

    /// Adds a domain: the DBA's SQL, applied as a schema file, and templates by the names of their files.
    pub(crate) fn domain(&self, sql: &str, templates: &[(&str, &str)]) -> Result<()> {
        for (name, text) in templates {
            self.write(&format!("templates/{name}.toml"), text)?;
        }
        self.write("schema/rel/main/0950_domain.sql", sql)?;
        self.apply()
    }

    /// Runs `beds check` and answers its exit code and everything that it said.
    pub(crate) fn check(&self) -> Result<(i32, String)> {
        let output = self.beds(&["check"])?;
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Ok((output.status.code().context("an exit code")?, said))
    }

    /// A node in this process.
    pub(crate) async fn node(&self) -> Result<Live> {
        self.node_with(|_| {}).await
    }

    /// A node in this process whose configuration was changed.
    pub(crate) async fn node_with(&self, change: impl FnOnce(&mut beds_core::Config)) -> Result<Live> {
        self.node_of_application(change, beds_gateway::Router::new()).await
    }

    /// The same with routes of an application.
    pub(crate) async fn node_of_application(
        &self,
        change: impl FnOnce(&mut beds_core::Config),
        routes: beds_gateway::Router,
    ) -> Result<Live> {
        beds::logging::start(false);
        let mut config = settings::load(&self.config_file()).map_err(|p| anyhow::anyhow!("{p:?}"))?;
        change(&mut config);
        let node = ipl::boot_with(config, routes).await?;
        let url = format!("http://{}", node.address().context("the gateway is local")?);
        Ok(Live { node, api: Api { url, http: self.http.clone() } })
    }

    /// A node as a process of its own, on a port of its own, with fail points set.
    pub(crate) async fn process(&self, failpoints: &str) -> Result<Process> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        drop(listener);
        let child = self.spawn(failpoints, &address.to_string())?;
        let process = Process { child, api: Api { url: format!("http://{address}"), http: self.http.clone() } };
        eventually("the node is ready", async || {
            let ready = process.api.http.get(format!("{}/readyz", process.api.url)).send().await;
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
        let api = Api { url: String::new(), http: self.http.clone() };
        Ok(Process { child: self.spawn(failpoints, "127.0.0.1:0")?, api })
    }

    /// A node whose log goes into a pipe without a reader.
    pub(crate) async fn process_with_pipe(&self) -> Result<(Api, Child)> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        drop(listener);
        let child = Command::new(env!("CARGO_BIN_EXE_beds"))
            .args(["run", "--config", "beds.toml"])
            .current_dir(&self.folder)
            .env("BEDS__SERVICES__APPSERVER__LISTEN", address.to_string())
            .env("RUST_LOG", "debug")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()?;
        let api = Api { url: format!("http://{address}"), http: self.http.clone() };
        eventually("the node is ready", async || {
            let ready = api.http.get(format!("{}/readyz", api.url)).send().await;
            Ok(ready.is_ok_and(|response| response.status() == StatusCode::OK))
        })
        .await?;
        Ok((api, child))
    }

    /// A node of one role: a process that differs from the world's `beds.toml` in these keys, as the environment names them. Its
    /// probes are where [`Process`] asks.
    pub(crate) fn role(&self, name: &str, keys: &[(&str, String)]) -> Result<Process> {
        let port = || -> Result<u16> { Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port()) };
        let probes = format!("127.0.0.1:{}", port()?);
        let log =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join(format!("{name}.log")))?;
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
        Ok(Process { child, api: Api { url: format!("http://{probes}"), http: self.http.clone() } })
    }

    fn spawn(&self, failpoints: &str, listen: &str) -> Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.join("node.log"))?;
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

    /// Runs SQL in the world's database as the DBA and answers the rows, tab-separated.
    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        mariadb(&self.maria, Some(&self.name), sql)
    }

    /// Runs SQL as the DBA outside of any database.
    pub(crate) fn sql_server(&self, sql: &str) -> Result<String> {
        mariadb(&self.maria, None, sql)
    }

    /// Replaces a text in the world's beds.toml.
    pub(crate) fn change_config(&self, from: &str, to: &str) -> Result<()> {
        let text = std::fs::read_to_string(self.config_file())?;
        ensure!(text.contains(from), "beds.toml does not name what is to be replaced");
        Ok(std::fs::write(self.config_file(), text.replace(from, to))?)
    }

    /// True while a procedure of this world's database sleeps.
    pub(crate) fn is_asleep(&self) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE db = DATABASE() AND state = 'User sleep'";
        Ok(self.sql(sql)? != "0")
    }

    /// Waits until the world's one node takes messages from each of its queues: it has one consumer for reads and one for writes
    /// of each store, and one for each task that stores reports.
    pub(crate) async fn all_consume(&self) -> Result<()> {
        let config = beds::settings::load(&self.config_file()).map_err(|mistakes| anyhow!("{mistakes:?}"))?;
        let services = &config.services;
        let stores = [services.rec.is_local, services.rel.is_local].into_iter().filter(|is_local| *is_local).count();
        let wanted = 2 * stores + services.admin.instances.total();
        eventually("all consumers are there", async || Ok(self.prefetches().await?.len() == wanted)).await
    }

    /// Queue and prefetch of every consumer of a queue of work, sorted. RabbitMQ's statistics can show consumers of a closed
    /// connection for two minutes more: those are left out.
    pub(crate) async fn prefetches(&self) -> Result<Vec<(String, u64)>> {
        let connections = self.rabbit(Method::GET, &format!("/api/vhosts/{}/connections", self.name), None).await?;
        let consumers = self.rabbit(Method::GET, &format!("/api/consumers/{}", self.name), None).await?;
        let is_open = |name: &Value| connections.as_array().into_iter().flatten().any(|open| open["name"] == *name);
        let mut found: Vec<(String, u64)> = consumers
            .as_array()
            .into_iter()
            .flatten()
            .filter(|consumer| is_open(&consumer["channel_details"]["connection_name"]))
            .filter_map(|c| Some((c["queue"]["name"].as_str()?.to_owned(), c["prefetch_count"].as_u64()?)))
            .filter(|(queue, _)| !queue.starts_with("beds."))
            .collect();
        found.sort();
        Ok(found)
    }

    /// Asks RabbitMQ's management interface.
    pub(crate) async fn rabbit(&self, method: Method, path: &str, body: Option<Value>) -> Result<Value> {
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
        let message =
            json!({"routing_key": key, "payload": body, "payload_encoding": "string", "properties": properties});
        Ok(self.rabbit(Method::POST, &path, Some(message)).await?["routed"] == true)
    }

    /// Takes up to ten messages out of a queue.
    pub(crate) async fn take(&self, queue: &str) -> Result<Vec<Value>> {
        let path = format!("/api/queues/{}/{queue}/get", self.name);
        let ask = json!({"count": 10, "ackmode": "ack_requeue_false", "encoding": "auto"});
        Ok(self.rabbit(Method::POST, &path, Some(ask)).await?.as_array().cloned().unwrap_or_default())
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

impl Drop for World {
    fn drop(&mut self) {
        if std::env::var_os("BEDS_TEST_KEEP").is_some() {
            return;
        }
        drop(self.sql_server(&format!("DROP DATABASE IF EXISTS {}", self.name)));
        drop(std::fs::remove_dir_all(&self.folder));
        let path = format!("{}/api/vhosts/{}", self.rabbit, self.name);
        // A blocking client has no place in an async test; curl is enough to clean up.
        drop(Command::new("curl").args(["-s", "-X", "DELETE", &path]).output());
    }
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
        let status = Command::new("kill").args([&format!("-{signal}"), &self.child.id().to_string()]).status()?;
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

/// Waits until a condition is true, and fails with its name if it does not become true.
pub(crate) async fn eventually(what: &str, mut is_true: impl AsyncFnMut() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    loop {
        if is_true().await? {
            return Ok(());
        }
        if begun.elapsed() > SOON {
            bail!("not within {SOON:?}: {what}");
        }
        pause().await;
    }
}

/// Between two looks at the state of another process.
async fn pause() {
    tokio::time::sleep(Duration::from_millis(50)).await;
}

pub(crate) fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set; run the tests with ./dev test"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let path = entry?.path();
        std::fs::copy(&path, to.join(path.file_name().context("a file has a name")?))?;
    }
    Ok(())
}

pub(crate) fn mariadb(url: &str, database: Option<&str>, sql: &str) -> Result<String> {
    let (login, address) = url.trim_start_matches("mysql://").split_once('@').context("user:password@host:port")?;
    let (user, password) = login.split_once(':').context("user:password")?;
    let (host, port) = address.split_once(':').context("host:port")?;
    let mut command = Command::new("mariadb");
    command.args([
        "--no-defaults",
        "-h",
        host,
        "-P",
        port,
        "-u",
        user,
        &format!("-p{password}"),
        "-N",
        "-B",
        "-e",
        sql,
    ]);
    command.args(database);
    let output = command.output().context("the mariadb client")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
