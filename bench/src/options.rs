//! The options of a run, from the command line and from `./dev bench` through the environment.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;

use crate::load::Path;
use crate::rival::ReplyBy;

/// The options of the whole run.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct RunOptions {
    /// Rounds of each contender; the report gives the median and the spread.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// Measured seconds of a round.
    #[arg(long, default_value_t = 8)]
    pub(crate) seconds: u64,
    /// Seconds of load before each measurement.
    #[arg(long, default_value_t = 2)]
    pub(crate) warmup: u64,
    #[arg(long, default_value_t = 64)]
    pub(crate) connections: u32,
    /// Consumer tasks of the rivals; without it as many as beds.toml gives BEDS.
    #[arg(long)]
    pub(crate) tasks: Option<u16>,
    /// Messages that RabbitMQ hands a rival's reading task in advance; as BEDS's.
    #[arg(long, default_value_t = 4)]
    pub(crate) prefetch_read: u16,
    /// The same for a writing task.
    #[arg(long, default_value_t = 2)]
    pub(crate) prefetch_write: u16,
    /// How the program by hand gets its replies; give both to compare them in one run.
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [ReplyBy::Queue])]
    pub(crate) reply: Vec<ReplyBy>,
    /// Measure one path only.
    #[arg(long, value_enum)]
    pub(crate) only: Option<Path>,
    /// Then read trees out of so many stored root events, such as 1000000.
    #[arg(long)]
    pub(crate) trees: Option<u64>,
    /// Then ask who saw a record, out of so many acts in the trail, such as 10000000.
    #[arg(long)]
    pub(crate) subjects: Option<u64>,
    /// Then measure the cost of credentials, rights and seals, in so many rounds with and without, in turn; 20 where no number is given.
    #[arg(long, num_args = 0..=1, default_missing_value = "20")]
    pub(crate) callers: Option<usize>,
    /// Then measure tickets: asking, doing, cancelling, nodes that die, and the cost of having them.
    #[arg(long)]
    pub(crate) tickets: bool,
    /// A Python with celery and pymongo, to compare tickets with it.
    #[arg(long)]
    pub(crate) celery: Option<PathBuf>,
    /// Measure the rivals without BEDS; the flights must be loaded already.
    #[arg(long)]
    pub(crate) without_beds: bool,
    /// The MariaDB database.
    #[arg(long, default_value = "main")]
    pub(crate) database: String,
    /// Flights that are loaded and read.
    #[arg(long, default_value_t = 20_000)]
    pub(crate) flights: usize,
}

/// The services and files of a run.
pub(crate) struct Services {
    pub(crate) amqp: String,
    /// The vhost of the BEDS that records.
    pub(crate) recording_amqp: String,
    /// The vhost of the BEDS that asks for no credential.
    pub(crate) open_amqp: String,
    pub(crate) maria: String,
    pub(crate) mongo: String,
    pub(crate) data: PathBuf,
    /// A JSON file with the process ids of the services, if there is one.
    pub(crate) processes: Option<PathBuf>,
}

/// A second MariaDB server, of which nothing else is measured.
pub(crate) struct Second {
    pub(crate) maria: String,
    pub(crate) process: u32,
}

/// BEDS itself.
pub(crate) struct Beds {
    pub(crate) program: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) templates: PathBuf,
    pub(crate) listen: SocketAddr,
}

impl Beds {
    /// The same on another port.
    pub(crate) fn beside(&self) -> Result<Self> {
        let listen = std::net::TcpListener::bind((self.listen.ip(), 0))?.local_addr()?;
        Ok(Self {
            listen,
            program: self.program.clone(),
            folder: self.folder.clone(),
            templates: self.templates.clone(),
        })
    }
}

pub(crate) struct Settings {
    pub(crate) options: RunOptions,
    pub(crate) services: Services,
    /// None where the run has no such server.
    pub(crate) second: Option<Second>,
    pub(crate) beds: Option<Beds>,
    pub(crate) replies: Vec<ReplyBy>,
    tasks: (u16, u16),
}

impl Settings {
    pub(crate) fn new(options: RunOptions) -> Result<Self> {
        ensure!(options.rounds > 0 && options.seconds > 0, "rounds and seconds must be at least 1");
        let database = &options.database;
        let services = Services {
            recording_amqp: format!(
                "{}/recording",
                variable("BEDS_TEST_AMQP_URL")?.trim_end_matches('/')
            ),
            open_amqp: format!("{}/open", variable("BEDS_TEST_AMQP_URL")?.trim_end_matches('/')),
            amqp: format!("{}/beds", variable("BEDS_TEST_AMQP_URL")?.trim_end_matches('/')),
            maria: format!("{}/{database}", variable("BEDS_TEST_MARIA_URL")?.trim_end_matches('/')),
            mongo: variable("BEDS_TEST_MONGO_URL")?,
            data: variable("BEDS_TEST_DATA")?.into(),
            processes: variable("BEDS_TEST_SERVICES").ok().map(PathBuf::from),
        };
        let (mut beds, mut tasks) = (None, (16, 16));
        if !options.without_beds {
            let folder = PathBuf::from(variable("BEDS_BENCH_DIR")?);
            let file = folder.join("beds.toml");
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("reading {}", file.display()))?;
            let config: Config =
                toml::from_str(&text).with_context(|| format!("in {}", file.display()))?;
            tasks = (config.services.rel.instances.read, config.services.rel.instances.write);
            let program = variable("BEDS_BIN")?.into();
            let templates = folder.join(&config.templates.path);
            beds =
                Some(Beds { program, folder, templates, listen: config.services.appserver.listen });
        }
        if let Some(number) = options.tasks {
            tasks = (number, number);
        }
        let replies = options.reply.clone();
        let second = match std::env::var("BEDS_BENCH_SECOND_MARIA_URL") {
            Ok(maria) => {
                Some(Second { maria, process: variable("BEDS_BENCH_SECOND_MARIA_PID")?.parse()? })
            }
            Err(_) => None,
        };
        Ok(Self { options, services, second, beds, replies, tasks })
    }

    /// The tasks and the prefetch of a rival.
    pub(crate) fn tasks_and_prefetch(&self, path: Path) -> (u16, u16) {
        match path {
            Path::Read => (self.tasks.0, self.options.prefetch_read),
            Path::Write | Path::Submit => (self.tasks.1, self.options.prefetch_write),
        }
    }

    /// An id that no flight has.
    pub(crate) fn no_such_flight(&self) -> u64 {
        u64::from(u32::MAX)
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name)
        .with_context(|| format!("{name} is not set; run this through `./dev bench`"))
}

/// As much of beds.toml as matters here; an option that it leaves out has BEDS's default.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    services: ConfigServices,
    templates: Templates,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Templates {
    path: PathBuf,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct ConfigServices {
    appserver: AppServer,
    rel: Rel,
}

#[derive(Deserialize)]
#[serde(default)]
struct AppServer {
    listen: SocketAddr,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Rel {
    instances: Instances,
}

#[derive(Deserialize)]
#[serde(default)]
struct Instances {
    read: u16,
    write: u16,
}

impl Default for AppServer {
    fn default() -> Self {
        Self { listen: SocketAddr::from(([127, 0, 0, 1], 8080)) }
    }
}

impl Default for Instances {
    fn default() -> Self {
        Self { read: 8, write: 8 }
    }
}
