//! MongoDB's errors as BEDS's. Driver text stays here, as the source of the error, for the node's own log.
//!
//! Not here: new attempts after an error (call.rs, once.rs).

use beds_core::{BedsError, ErrorKind};
use mongodb::error::{
    Error, ErrorKind as Driver, TRANSIENT_TRANSACTION_ERROR, UNKNOWN_TRANSACTION_COMMIT_RESULT,
};

use super::connect::Database;

/// The server's code of an error, if the server sent one.
pub(super) fn code(error: &Error) -> Option<i32> {
    match error.kind.as_ref() {
        Driver::Command(command) => Some(command.code),
        _ => None,
    }
}

/// True where the same transaction may succeed when it is run again.
pub(super) fn is_transient(error: &Error) -> bool {
    error.contains_label(TRANSIENT_TRANSACTION_ERROR) || code(error) == Some(112)
}

/// True where the commit may have happened.
pub(super) fn is_commit_unknown(error: &Error) -> bool {
    error.contains_label(UNKNOWN_TRANSACTION_COMMIT_RESULT)
        || is_unable(error)
        || code(error) == Some(11601)
}

/// True where no server was reached: nothing was sent, and another attempt would wait as long.
pub(super) fn is_unreachable(error: &Error) -> bool {
    matches!(error.kind.as_ref(), Driver::ServerSelection { .. } | Driver::DnsResolve { .. })
}

/// True where the connection is gone, or the server is going.
pub(super) fn is_connection_lost(error: &Error) -> bool {
    match error.kind.as_ref() {
        Driver::Io(_)
        | Driver::ConnectionPoolCleared { .. }
        | Driver::ServerSelection { .. }
        | Driver::DnsResolve { .. } => true,
        _ => code(error).is_some_and(is_going),
    }
}

/// True where the server is not there or cannot now: a failure before the commit may be tried again.
pub(super) fn is_unable(error: &Error) -> bool {
    is_connection_lost(error) || code(error).is_some_and(is_unable_code)
}

/// Codes of a server that is shutting down or not the primary, and of one that was not reached.
fn is_going(code: i32) -> bool {
    matches!(code, 6 | 7 | 89 | 91 | 189 | 9001 | 10107 | 11600 | 11602 | 13435 | 13436)
}

/// Codes of a server that is there and cannot: a read concern that is not to be had, no ticket in time, no room.
fn is_unable_code(code: i32) -> bool {
    is_going(code) || matches!(code, 134 | 202 | 262 | 14031)
}

/// The kind that an error becomes.
pub(super) fn kind(error: &Error) -> ErrorKind {
    match code(error) {
        _ if is_unable(error) => ErrorKind::StoreUnavailable,
        _ if is_transient(error) => ErrorKind::Unavailable,
        Some(code) => of_code(code).kind,
        None => ErrorKind::Internal,
    }
}

pub(super) fn to_beds(error: Error, database: &Database) -> BedsError {
    if is_unable(&error) {
        return database.unavailable().with_source(for_the_log(&error));
    }
    if is_transient(&error) {
        return BedsError::new(
            ErrorKind::Unavailable,
            "other writes were in the way; not executed",
        )
        .with_source(for_the_log(&error));
    }
    match code(&error) {
        Some(code) => of_code(code).with_source(for_the_log(&error)),
        None => BedsError::new(
            ErrorKind::Internal,
            "the database call failed; the node's log has the cause",
        )
        .with_source(for_the_log(&error)),
    }
}

/// The error of a code, which also stands in `writeErrors` of a command that succeeded as a whole.
pub(super) fn of_code(code: i32) -> BedsError {
    let (kind, text) = match code {
        11000 => (ErrorKind::DuplicateRecord, "a record with the same unique value exists"),
        121 => (ErrorKind::ConstraintViolated, "the collection's validator refused the document"),
        112 => (ErrorKind::Unavailable, "other writes were in the way; not executed"),
        50 => (ErrorKind::DeadlineExceeded, "the database ended the operation: it took too long"),
        // An operator's killOp is not answered with another run.
        11601 => {
            (ErrorKind::DeadlineExceeded, "the database ended the operation: it was stopped there")
        }
        // A failure that only a value can bring about: the command is the DBA's.
        2 | 9 | 14 | 28 | 52 | 57 | 66 | 241 | 51091 | 16755 | 16804 => (
            ErrorKind::WrongType,
            "the database refused a value: its type does not fit the operation",
        ),
        13 | 18 | 26 | 59 | 166 => (
            ErrorKind::TemplateUnusable,
            "the named operation cannot be used; `beds check` says why",
        ),
        10334 | 17280 | 17419 => (ErrorKind::ValueOutOfRange, "the document is too large"),
        _ => (ErrorKind::Internal, "the named operation failed; the node's log has the cause"),
    };
    BedsError::new(kind, text)
}

/// The words that the node's log may have of an error. The server's own text is left out: of a missing right it quotes the
/// whole command with the caller's values (tried on 6.0.5: error 13). The driver's text stays where it is about the connection.
pub(super) fn for_the_log(error: &Error) -> String {
    match error.kind.as_ref() {
        // "Authentication failed."
        Driver::Command(command) if command.code == 18 => error.to_string(),
        Driver::Command(command) => {
            format!("MongoDB error {} ({})", command.code, command.code_name)
        }
        Driver::Io(_)
        | Driver::ConnectionPoolCleared { .. }
        | Driver::ServerSelection { .. }
        | Driver::DnsResolve { .. }
        | Driver::Authentication { .. }
        | Driver::InvalidTlsConfig { .. } => error.to_string(),
        Driver::Write(_) | Driver::InsertMany(_) | Driver::BulkWrite(_) => {
            "MongoDB refused a write".to_owned()
        }
        _ => "the driver could not carry out the command".to_owned(),
    }
}
