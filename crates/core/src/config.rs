//! The content of `beds.toml`, read and checked. Text in, and [`Config`] or a list of every mistake out.
//!
//! Not here: reading the file and the environment (`beds::settings`), the checks (config/check.rs).

mod auth;
mod check;
mod keys;
mod schedule;
mod secret;
mod transit;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::{NonZeroU16, NonZeroU32};
use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer};

pub use auth::{Auth, Issuer, NodeAccess, Trust, TrustedCertificate, TrustedLogin, is_claim};
pub use check::{ReadFile, inspect, load};
pub use schedule::{Missed, Overlap, Param, Schedule};
pub use secret::Url;
pub use transit::in_plain_text;

use crate::{ReportStream, Store};

/// The commented defaults, as compiled in. Its active lines are the defaults.
pub const DEFAULTS: &str = include_str!("../../../config/beds.default.toml");

/// The MongoDB database of the admin node.
pub const LOGS_DATABASE: &str = "msLogs";

pub use crate::routing::TICKETS_DATABASE;

/// The configuration of one node.
#[derive(Debug, Clone, Deserialize)]
pub struct Config {
    pub node: Node,
    pub amqp: Amqp,
    pub services: Services,
    #[serde(default)]
    pub databases: Databases,
    pub templates: TemplateFolder,
    pub reports: Reports,
    pub inbox: Inbox,
    pub auth: Auth,
    pub access: NodeAccess,
    pub trust: Trust,
    /// Jobs that are asked for at fixed times, by the nodes that take requests for tickets.
    #[serde(default)]
    pub schedules: BTreeMap<String, Schedule>,
    /// The file that it was read from; empty where it came from none.
    #[serde(skip)]
    pub file: PathBuf,
}

/// `[inbox]`: how long the databases remember which writes took effect.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Inbox {
    /// An older event is sent again on explicit demand only: it could take effect a second time.
    pub keep_days: NonZeroU16,
}

impl Inbox {
    /// True for a write whose key the inbox may have forgotten. One whose time cannot be told is.
    pub fn may_have_forgotten(self, at: Option<Timestamp>) -> bool {
        let kept = SignedDuration::from_hours(24 * i64::from(self.keep_days.get()));
        at.is_none_or(|at| Timestamp::now().duration_since(at) >= kept)
    }
}

/// `[reports]`: the reports of a node to the admin node.
#[derive(Debug, Clone, Deserialize)]
pub struct Reports {
    pub lineage: bool,
    pub audit: bool,
    /// Log lines of this level and above are reported; `off` for none.
    pub log_level: LogLevel,
    /// Files of the keys whose hashes stand for record ids in the audit trail: the first makes them, all find them. Without
    /// one, no hash is kept.
    pub hash_keys: Vec<PathBuf>,
    /// The address of a collector that gets lineage as OTLP spans. Needs the feature `otel`.
    pub otlp: Option<String>,
}

/// How much of the log is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Off,
    Error,
    Warn,
    Info,
    Debug,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Node {
    pub name: String,
    pub environment: Environment,
    #[serde(deserialize_with = "duration")]
    pub shutdown_grace: Duration,
    pub control: Option<PathBuf>,
    /// Where `/healthz`, `/readyz` and `/metrics` are, on a node without a gateway or besides it.
    pub probes: Option<SocketAddr>,
}

/// How strict a node is about its own start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Environment {
    /// A failed step is reported and retried; the node starts without it.
    Development,
    /// A failed step ends the process.
    Production,
}

impl Environment {
    pub fn as_str(self) -> &'static str {
        match self {
            Environment::Development => "development",
            Environment::Production => "production",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Amqp {
    pub url: Url,
    #[serde(deserialize_with = "duration")]
    pub heartbeat: Duration,
    #[serde(deserialize_with = "duration")]
    pub confirm_timeout: Duration,
    pub max_queue_length: NonZeroU32,
    pub max_queue_bytes: NonZeroU32,
    pub max_event_bytes: NonZeroU32,
}

#[derive(Debug, Clone, Deserialize)]
pub struct Services {
    pub appserver: AppServer,
    pub rec: StoreService,
    pub rel: StoreService,
    pub admin: Admin,
    pub calgon: Calgon,
}

/// `[services.calgon]`: the tasks that take requests for tickets, and those that do the work.
#[derive(Debug, Clone, Deserialize)]
pub struct Calgon {
    pub is_local: bool,
    pub instances: CalgonInstances,
    /// How long a node may be silent before another one takes over its tickets. It speaks three times in it.
    #[serde(deserialize_with = "duration")]
    pub lease: Duration,
    /// A ticket that is not begun within this time is never begun.
    #[serde(deserialize_with = "duration")]
    pub start_within: Duration,
    /// How long an ended ticket is known.
    #[serde(deserialize_with = "duration")]
    pub keep: Duration,
    /// Tickets that wait, of all callers.
    pub max_queued: NonZeroU32,
    /// And of one.
    pub max_queued_of_one: NonZeroU32,
}

/// Tasks of tickets.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct CalgonInstances {
    /// Those that take requests.
    pub requests: NonZeroU16,
    /// Those that do the work, one ticket at a time each.
    pub work: NonZeroU16,
}

/// `[services.admin]`: the tasks that take the reports of nodes and store them in the database `msLogs`.
#[derive(Debug, Clone, Deserialize)]
pub struct Admin {
    pub is_local: bool,
    pub instances: AdminInstances,
    /// The Ed25519 key that signs the heads of the audit chain; made at the first start if the file is not there.
    pub signing_key_file: Option<PathBuf>,
    /// How often the heads are signed.
    #[serde(deserialize_with = "duration")]
    pub signing_interval: Duration,
}

/// Tasks a stream.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct AdminInstances {
    pub log: NonZeroU16,
    pub audit: NonZeroU16,
    pub lineage: NonZeroU16,
    pub metrics: NonZeroU16,
}

impl AdminInstances {
    pub fn total(self) -> usize {
        ReportStream::ALL.into_iter().map(|stream| usize::from(self.of(stream).get())).sum()
    }

    pub fn of(self, stream: ReportStream) -> NonZeroU16 {
        match stream {
            ReportStream::Log => self.log,
            ReportStream::Audit => self.audit,
            ReportStream::Lineage => self.lineage,
            ReportStream::Metrics => self.metrics,
        }
    }
}

impl CalgonInstances {
    /// The connections to the database of tickets that these tasks can use at once.
    pub fn total(self) -> usize {
        // A task beats while it stores a piece of its result.
        usize::from(self.requests.get()) + 2 * usize::from(self.work.get())
    }
}

impl Config {
    /// The jobs that a node runs at once in each of its databases, at most.
    pub fn jobs(&self) -> usize {
        let calgon = &self.services.calgon;
        if calgon.is_local { usize::from(calgon.instances.work.get()) } else { 0 }
    }

    /// The broker tasks of a database.
    pub fn instances(&self, store: Store, database: &str) -> Instances {
        let of_store = self.services.store(store).instances;
        let own = self
            .databases
            .of(store)
            .get(database)
            .map(|database| database.instances)
            .unwrap_or_default();
        Instances {
            read: own.read.unwrap_or(of_store.read),
            write: own.write.unwrap_or(of_store.write),
        }
    }
}

impl Services {
    pub fn store(&self, store: Store) -> &StoreService {
        match store {
            Store::Rec => &self.rec,
            Store::Rel => &self.rel,
        }
    }
}

/// `[services.appserver]`: the gateway.
#[derive(Debug, Clone, Deserialize)]
pub struct AppServer {
    pub is_local: bool,
    pub listen: SocketAddr,
    /// Names by which callers may ask for this gateway, besides its address and the loopback names.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Origins whose pages may ask, such as `https://app.example`.
    #[serde(default)]
    pub origins: Vec<String>,
    /// The certificate with which it serves.
    pub tls: Option<TlsFiles>,
    /// A proxy has the certificate, and the way from it is safe.
    pub behind_proxy: bool,
    /// Addresses of proxies, whose word on the address of a caller is believed (`X-Forwarded-For`).
    #[serde(default)]
    pub proxies: Vec<IpAddr>,
    pub max_connections: usize,
    pub max_body_bytes: usize,
    pub max_body_values: usize,
    pub max_in_flight: usize,
    /// Of one caller.
    pub per_subject_in_flight: usize,
    /// Connections that are told of changes or tickets.
    pub max_live: usize,
    /// Of one caller.
    pub live_per_subject: usize,
    #[serde(deserialize_with = "duration")]
    pub header_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub body_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub default_timeout: Duration,
    #[serde(deserialize_with = "duration")]
    pub max_timeout: Duration,
}

/// `services.appserver.tls`: files, both PEM.
#[derive(Debug, Clone, Deserialize)]
pub struct TlsFiles {
    pub cert_file: PathBuf,
    pub key_file: PathBuf,
    /// The authorities of client certificates. Without it, none is asked for.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
}

/// `[services.rec]` and `[services.rel]`: a pool of broker tasks for each queue of the store's databases.
#[derive(Debug, Clone, Deserialize)]
pub struct StoreService {
    pub is_local: bool,
    #[serde(deserialize_with = "duration")]
    pub handler_timeout: Duration,
    pub instances: Instances,
}

/// Broker tasks for each database: the throttle of the whole system.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Instances {
    pub read: NonZeroU16,
    pub write: NonZeroU16,
}

impl Instances {
    /// The connections that the broker tasks of a database can use at once.
    pub fn total(self) -> usize {
        usize::from(self.read.get()) + usize::from(self.write.get())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
pub struct Databases {
    #[serde(default)]
    pub rec: BTreeMap<String, Database>,
    #[serde(default)]
    pub rel: BTreeMap<String, Database>,
}

impl Databases {
    pub fn of(&self, store: Store) -> &BTreeMap<String, Database> {
        match store {
            Store::Rec => &self.rec,
            Store::Rel => &self.rel,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
pub struct Database {
    pub url: Url,
    /// The certificates (PEM) that MariaDB's own must come from. TLS is required then.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    #[serde(default)]
    pub instances: OwnInstances,
    /// The login that runs jobs, where it is another one.
    pub jobs: Option<JobsLogin>,
}

/// `[databases.rel.NAME.jobs]`: limits on statements that suit requests would end an honest job.
#[derive(Debug, Clone, Deserialize)]
pub struct JobsLogin {
    pub url: Url,
}

/// The broker tasks of one database, where they are not those of its store.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct OwnInstances {
    pub read: Option<NonZeroU16>,
    pub write: Option<NonZeroU16>,
}

#[derive(Debug, Clone, Deserialize)]
pub struct TemplateFolder {
    pub path: PathBuf,
}

/// Durations are written as people say them: `"10s"`, `"1m 30s"`, `"250ms"`.
fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse_duration(&text).ok_or_else(|| {
        serde::de::Error::custom(format!("{text:?} is not a duration such as \"10s\""))
    })
}

pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    let duration: SignedDuration = text.parse().ok()?;
    Duration::try_from(duration).ok().filter(|d| !d.is_zero())
}
