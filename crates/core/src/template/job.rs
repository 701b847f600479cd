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
}

/// The way in which a job is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum JobKind {
    /// The object is called once; its rows are the result, however many there are.
    #[default]
    Read,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum InFile {
    Name(String),
    Table(Table),
}

#[derive(Deserialize)]
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
}

impl From<InFile> for Job {
    fn from(written: InFile) -> Self {
        let table = match written {
            InFile::Table(table) => table,
            InFile::Name(object) => Table {
                object,
                kind: JobKind::Read,
                timeout: None,
                attempts: None,
                max_running: None,
                result_ttl: None,
                result_max_mib: None,
            },
        };
        Self {
            object: table.object,
            kind: table.kind,
            timeout: table.timeout.unwrap_or(TIMEOUT),
            attempts: table.attempts.unwrap_or(ATTEMPTS),
            max_running: table.max_running,
            result_ttl: table.result_ttl.unwrap_or(RESULT_TTL),
            result_max_mib: table.result_max_mib.unwrap_or(RESULT_MAX),
        }
    }
}

impl Job {
    /// A text that changes with the definition: a ticket is for the job as it was when it was asked for.
    pub fn digest(&self) -> String {
        digest(format!("{} {:?}", self.object, self.kind).as_bytes())
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
