//! [`Ticket`]: work that takes long, as it is kept and shown. The state decides which moves are legal; the store's own guards
//! enforce it (`schema/rec/beds`).
//!
//! Not here: the work (crate broker), the routes (crate gateway).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{BedsError, ErrorKind, Operation};

/// The state of a ticket. docs/tickets.md draws the moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TicketState {
    Queued,
    Running,
    /// It is to end; the database has not confirmed yet that it has.
    Cancelling,
    Done,
    Failed,
    Cancelled,
    /// It was not begun in time.
    Lapsed,
}

impl TicketState {
    pub const ALL: [TicketState; 7] = [
        TicketState::Queued,
        TicketState::Running,
        TicketState::Cancelling,
        TicketState::Done,
        TicketState::Failed,
        TicketState::Cancelled,
        TicketState::Lapsed,
    ];

    pub fn as_str(self) -> &'static str {
        match self {
            TicketState::Queued => "queued",
            TicketState::Running => "running",
            TicketState::Cancelling => "cancelling",
            TicketState::Done => "done",
            TicketState::Failed => "failed",
            TicketState::Cancelled => "cancelled",
            TicketState::Lapsed => "lapsed",
        }
    }

    /// The states of a list such as `queued,running`. None where a word of it is no state.
    pub fn list(text: &str) -> Option<Vec<TicketState>> {
        let known = |word: &str| Self::ALL.into_iter().find(|state| state.as_str() == word);
        text.split(',').map(|word| known(word.trim())).collect()
    }

    /// True while the ticket can still change its state.
    pub fn is_active(self) -> bool {
        matches!(self, TicketState::Queued | TicketState::Running | TicketState::Cancelling)
    }
}

/// A ticket as the store answers it. Members that its owner has no use for are there only where a node reads it.
#[derive(Debug, Clone, Deserialize)]
pub struct Ticket {
    #[serde(alias = "_id")]
    pub id: String,
    #[serde(default)]
    pub owner: String,
    pub template: String,
    pub operation: Operation,
    #[serde(default)]
    pub job: Option<String>,
    #[serde(default)]
    pub fetch: Option<String>,
    /// The schedule that asked for it.
    #[serde(default)]
    pub schedule: Option<String>,
    pub state: TicketState,
    /// The number of the attempt; 0 before the first. Its owner sees it as `attempt`.
    #[serde(alias = "attempt")]
    pub epoch: i64,
    /// Attempts whose node fell silent, and attempts that failed and were worth another one.
    #[serde(default)]
    pub lost: i64,
    #[serde(default)]
    pub failures: i64,
    #[serde(default)]
    pub progress: Option<Progress>,
    pub created_at: Timestamp,
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
    #[serde(default)]
    pub result: Option<ResultNote>,
    #[serde(default)]
    pub problem: Option<Problem>,
    #[serde(default)]
    pub result_until: Option<Timestamp>,
    pub forget_at: Timestamp,
    #[serde(default)]
    pub event_id: String,
    /// The place of a listing behind which the next page begins.
    #[serde(default)]
    pub order: String,
    #[serde(default)]
    pub fingerprint: String,
    #[serde(default)]
    pub definition: String,
    /// Of a job in steps: none before the first has been done.
    #[serde(default)]
    pub step: Option<Checkpoint>,
    /// The whole event; none once the ticket has ended.
    #[serde(default)]
    pub event: Option<String>,
}

/// How far the work has come. The total is told only where it is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    pub done: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<i64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
}

/// How far a job in steps has come, as it is kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// Steps that were done.
    pub number: i64,
    /// The place where the next step begins, as JSON. None where there is none: before the first step, and behind the last.
    #[serde(default)]
    pub after: Option<String>,
    /// Rows of all steps together.
    pub done: i64,
    #[serde(default)]
    pub total: Option<i64>,
}

impl Checkpoint {
    /// True behind the last step.
    pub fn is_end(&self) -> bool {
        self.number > 0 && self.after.is_none()
    }
}

/// The note of a ticket about its result. A large one stands in pieces elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResultNote {
    pub rows: i64,
    /// Of the lines of JSON, with their ends.
    pub bytes: i64,
    /// Of the same, in hexadecimal.
    pub sha256: String,
    /// Not told to owners: to a client that reads a ticket as it is shown, it is the usual one.
    #[serde(default)]
    pub form: ResultForm,
    /// The attempt that made it.
    #[serde(default)]
    pub epoch: i64,
    /// Fields that are left out, because the owner might not read them when it was made.
    #[serde(default)]
    pub hidden: Vec<String>,
    /// All lines of a small result. Answered only where the result is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

/// The meaning of the lines of a result.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ResultForm {
    /// One line: the answer of a request about one record.
    Record,
    /// One line: the answer of a request about many.
    Page,
    /// The rows of a job, a line each.
    #[default]
    Rows,
}

/// The reason why a ticket failed, as its owner learns it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    pub code: String,
    pub detail: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Problem {
    pub fn of(error: &BedsError) -> Self {
        let (code, detail) = (error.code().to_owned(), error.message.clone());
        Self { code, detail, field: error.field.clone() }
    }

    /// The error that it was.
    pub fn into_error(self) -> BedsError {
        let kind = ErrorKind::from_code(&self.code).unwrap_or(ErrorKind::Internal);
        BedsError { field: self.field, ..BedsError::new(kind, self.detail) }
    }
}

/// A ticket as its owner sees it. A member that says nothing is left out.
#[derive(Debug, Serialize)]
pub struct Shown<'t> {
    id: &'t str,
    state: TicketState,
    template: &'t str,
    operation: Operation,
    #[serde(skip_serializing_if = "Option::is_none")]
    job: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    fetch: Option<&'t str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    schedule: Option<&'t str>,
    /// The number of the attempt.
    attempt: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<&'t Progress>,
    created_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<ShownResult<'t>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<ShownProblem<'t>>,
    forget_at: Timestamp,
    event_id: &'t str,
}

#[derive(Debug, Serialize)]
struct ShownResult<'t> {
    rows: i64,
    bytes: i64,
    sha256: &'t str,
    /// It is removed then.
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
}

#[derive(Debug, Serialize)]
struct ShownProblem<'t> {
    #[serde(flatten)]
    problem: &'t Problem,
    status: u16,
    title: &'static str,
}

impl Ticket {
    /// The name of the job or of the fetch that was asked for.
    pub fn name(&self) -> Option<&str> {
        match self.operation {
            Operation::Job => self.job.as_deref(),
            Operation::Fetch => self.fetch.as_deref(),
            _ => None,
        }
    }

    /// The name under which word of a ticket travels: whoever listens looks at the ticket again.
    pub fn notice(id: &str) -> String {
        format!("ticket.{id}")
    }

    /// The ticket as its owner sees it.
    pub fn shown(&self) -> Shown<'_> {
        let problem = self.problem.as_ref().map(|problem| {
            let kind = ErrorKind::from_code(&problem.code).unwrap_or(ErrorKind::Internal);
            ShownProblem { problem, status: kind.status(), title: kind.title() }
        });
        Shown {
            id: &self.id,
            state: self.state,
            template: &self.template,
            operation: self.operation,
            job: self.job.as_deref(),
            fetch: self.fetch.as_deref(),
            schedule: self.schedule.as_deref(),
            attempt: self.epoch,
            progress: self.progress.as_ref(),
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
            result: self.result.as_ref().map(|note| ShownResult {
                rows: note.rows,
                bytes: note.bytes,
                sha256: &note.sha256,
                until: self.result_until,
            }),
            problem,
            forget_at: self.forget_at,
            event_id: &self.event_id,
        }
    }

    /// The error in the place of its result; none where there is one.
    pub fn without_result(&self) -> Option<BedsError> {
        let gone = |text: &str| Some(BedsError::new(ErrorKind::ResultGone, text));
        match self.state {
            TicketState::Queued | TicketState::Running | TicketState::Cancelling => {
                let text = format!("the ticket is {}; ask again later", self.state.as_str());
                Some(BedsError::new(ErrorKind::ResultNotReady, text))
            }
            TicketState::Failed => {
                let problem = self.problem.clone().map(Problem::into_error);
                Some(
                    problem
                        .unwrap_or_else(|| BedsError::new(ErrorKind::Internal, "the work failed")),
                )
            }
            TicketState::Cancelled => gone("the ticket was cancelled"),
            TicketState::Lapsed => gone("the work was not begun in time; ask for it again"),
            TicketState::Done
                if self.result_until.is_none_or(|until| until <= Timestamp::now()) =>
            {
                gone("the result was removed, or its time is over; ask for the work again")
            }
            TicketState::Done => None,
        }
    }
}

/// No ticket of the caller's has the id.
pub fn no_such_ticket() -> BedsError {
    BedsError::new(
        ErrorKind::NoSuchTicket,
        "there is no such ticket of the caller's; GET /v1/tickets lists them",
    )
}
