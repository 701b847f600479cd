//! [`Job`]: work of a template that takes long and is only done with a ticket.
//!
//! Not here: tickets (../ticket.rs), the work itself (crate adapters).

use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::config::parse_duration;
use crate::digest::digest;

/// The longest that a job may be given, and that a result may be kept.
pub(crate) const LONGEST: Duration = Duration::from_hours(24 * 7);
const TIMEOUT: Duration = Duration::from_mins(30);
const RESULT_TTL: Duration = Duration::from_hours(24);
const ATTEMPTS: NonZeroU16 = NonZeroU16::new(3).unwrap();
/// Rows of a step.
const STEP: NonZeroU16 = NonZeroU16::new(1000).unwrap();
/// MiB of a result.
const RESULT_MAX: NonZeroU16 = NonZeroU16::new(1024).unwrap();

/// `jobs.NAME = "object"`, or a table `[jobs.NAME]`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "InFile")]
pub struct Job {
    pub object: String,
    pub kind: JobKind,
    /// The longest that one attempt takes.
    pub timeout: Duration,
    /// Attempts, where one fails that another may do.
    pub attempts: NonZeroU16,
    /// Runs at a time, in the whole installation; none: as many as there are tasks.
    pub max_running: Option<NonZeroU16>,
    /// How long the result is kept.
    pub result_ttl: Duration,
    /// The largest result, in MiB.
    pub result_max_mib: NonZeroU16,
    /// Rows of a step.
    pub limit: NonZeroU16,
    /// The object that tells how much there is to do.
    pub total: Option<String>,
    /// The object that makes the work of a merge visible.
    pub publish: Option<String>,
}

/// The way in which a job is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// The object is called once; its rows are the result, however many there are.
    #[default]
    Read,
    /// The object writes, and is called again and again, each time once, until it says that there is no next step.
    Steps,
    /// The object writes what it has read into a collection of its own; a second one, called once, makes that visible.
    Merge,
}

impl JobKind {
    /// Its word in a template's file.
    pub fn as_str(self) -> &'static str {
        match self {
            JobKind::Read => "read",
            JobKind::Steps => "steps",
            JobKind::Merge => "merge",
        }
    }

    pub(super) const ALL: [JobKind; 3] = [JobKind::Read, JobKind::Steps, JobKind::Merge];
}

#[derive(Deserialize)]
#[serde(untagged)]
enum InFile {
    Name(String),
    Table(Table),
}

#[derive(Default, Deserialize)]
struct Table {
    object: String,
    #[serde(default)]
    kind: JobKind,
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Duration>,
    attempts: Option<NonZeroU16>,
    max_running: Option<NonZeroU16>,
    #[serde(default, deserialize_with = "duration")]
    result_ttl: Option<Duration>,
    result_max_mib: Option<NonZeroU16>,
    limit: Option<NonZeroU16>,
    total: Option<String>,
    publish: Option<String>,
}

impl From<InFile> for Job {
    fn from(written: InFile) -> Self {
        let table = match written {
            InFile::Table(table) => table,
            InFile::Name(object) => Table { object, ..Table::default() },
        };
        Self {
            object: table.object,
            kind: table.kind,
            timeout: table.timeout.unwrap_or(TIMEOUT),
            attempts: table.attempts.unwrap_or(ATTEMPTS),
            max_running: table.max_running,
            result_ttl: table.result_ttl.unwrap_or(RESULT_TTL),
            result_max_mib: table.result_max_mib.unwrap_or(RESULT_MAX),
            limit: table.limit.unwrap_or(STEP),
            total: table.total,
            publish: table.publish,
        }
    }
}

impl Job {
    /// A text that changes with the definition: a ticket is for the job as it was when it was asked for.
    pub fn digest(&self) -> String {
        let Self { object, kind, publish, limit, .. } = self;
        digest(format!("{object} {kind:?} {publish:?} {limit}").as_bytes())
    }
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read = parse_duration(&text).filter(|duration| *duration <= LONGEST);
    read.map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!(
            "{text:?} is not a duration such as \"30m\", of at most 7 days"
        ))
    })
}
