//! [`Outcome`]: the end of an event or of a call.
//!
//! Not here: the answer and the error themselves (reply.rs, error.rs).

use serde::{Deserialize, Serialize};

use crate::{BedsError, ErrorKind};

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Ok,
    Failed,
    Running,
    /// Whether it took effect is not known: no worker reported, or the inbox could not be asked.
    Unknown,
}

impl Outcome {
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Ok => "ok",
            Outcome::Failed => "failed",
            Outcome::Running => "running",
            Outcome::Unknown => "unknown",
        }
    }

    pub fn of<T>(outcome: &Result<T, &BedsError>) -> Self {
        match outcome {
            Ok(_) => Outcome::Ok,
            Err(error) if error.kind == ErrorKind::OutcomeUnknown => Outcome::Unknown,
            Err(_) => Outcome::Failed,
        }
    }
}
