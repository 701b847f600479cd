//! The vocabulary of BEDS: events, templates, records and errors, the trait [`NamasteCore`] and the types of `beds.toml`.
//! Nothing here does I/O, and nothing here knows a driver, a broker or a socket.
//!
//! Not here: reports (crate trail), I/O of any kind.

pub mod access;
pub mod actor;
pub mod attempt;
pub mod change;
pub mod complaints;
pub mod config;
pub mod digest;
pub mod error;
pub mod event;
pub mod fields;
pub mod gate;
pub mod id;
pub mod job_run;
pub mod members;
pub mod message;
pub mod mistake;
pub mod namaste;
pub mod number;
pub mod outcome;
pub mod reply;
pub mod rights;
pub mod routing;
pub mod secret_keys;
pub mod steps;
pub mod template;
pub mod templates;
pub mod text;
pub mod ticket;
pub mod toml_check;
pub mod traceparent;

pub use actor::Actor;
pub use attempt::Attempt;
pub use change::{Change, ChangeFeed, ChangeKind};
pub use complaints::Complaints;
pub use config::Config;
pub use error::{BedsError, ErrorKind, Result};
pub use event::{Event, Origin};
pub use fields::Fields;
pub use gate::{Gatekeeper, Place, Seal, Unproved};
pub use id::EventId;
pub use job_run::{JobRun, Stop, TakesRows};
pub use message::{Beside, Payload, Query, Response, Select};
pub use mistake::{Mistake, Severity};
pub use namaste::direct::Direct;
pub use namaste::{JobEnd, NamasteCore, TemplateAdapter};
pub use outcome::Outcome;
pub use reply::Reply;
pub use rights::Rights;
pub use routing::{
    MAIN_DATABASE, Operation, ReportStream, RoutingKey, SEED_KEYS, Store, TICKET_RESULTS, TICKETS,
};
pub use template::{AnswerShape, Template};
pub use templates::{Description, TemplateDescription, Templates};
