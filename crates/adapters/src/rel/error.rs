//! MariaDB's errors as BEDS's. Driver text stays here, as the source of the error, for the node's own log.

use beds_core::{BedsError, ErrorKind};
use mysql_async::Error;

use super::connect::Database;

/// True where the same transaction may succeed when it is run again: a deadlock or a lock that was not granted.
pub(super) fn is_transient(error: &Error) -> bool {
    matches!(error, Error::Server(server) if matches!(server.code, 1205 | 1213 | 1020))
}

/// True where the connection is gone, or the server is going.
pub(super) fn is_connection_lost(error: &Error) -> bool {
    match error {
        Error::Server(server) => matches!(server.code, 1053 | 1077 | 1079 | 1927 | 1317 | 4031),
        _ => true,
    }
}

/// True where `beds_inbox_commit` failed before its COMMIT. A server that ends it for its time may have committed.
pub(super) fn is_before_commit(error: &Error) -> bool {
    is_transient(error)
        || matches!(error, Error::Server(server) if matches!(server.code, 1142 | 1153 | 1305 | 1370 | 1406))
}

pub(super) fn to_beds(error: Error, database: &Database) -> BedsError {
    match meaning(&error) {
        Some((kind, text)) => BedsError::new(kind, text).with_source(for_the_log(&error)),
        None => database.unavailable().with_source(error),
    }
}

/// The kind that an error becomes.
pub(super) fn kind(error: &Error) -> ErrorKind {
    meaning(error).map_or(ErrorKind::StoreUnavailable, |(kind, _)| kind)
}

/// What the server said; none where it is not there to say anything.
fn meaning(error: &Error) -> Option<(ErrorKind, String)> {
    if is_connection_lost(error) {
        return None;
    }
    let Error::Server(server) = error else { return None };
    Some(match server.code {
        // The DBA's own words are meant for the caller.
        _ if server.state.starts_with("45") => (ErrorKind::RuleRefused, server.message.clone()),
        1062 | 1586 => (ErrorKind::DuplicateRecord, "a record with the same unique value exists".to_owned()),
        1452 | 1216 => (ErrorKind::ConstraintViolated, "a value refers to a record that does not exist".to_owned()),
        1451 | 1217 => (ErrorKind::ConstraintViolated, "other records refer to this one".to_owned()),
        1048 | 1364 => (ErrorKind::ConstraintViolated, "a field that must have a value has none".to_owned()),
        4025 | 3819 => (ErrorKind::ConstraintViolated, "a check of the database refused the values".to_owned()),
        1264 | 1690 => (ErrorKind::ValueOutOfRange, "a number is outside the range of its column".to_owned()),
        1406 | 1265 => (ErrorKind::ValueOutOfRange, "a value does not fit its column".to_owned()),
        1292 | 1366 | 1411 | 4038 => (ErrorKind::WrongType, "a value is not of the type of its column".to_owned()),
        1205 | 1213 | 1020 => (ErrorKind::Unavailable, "other writes were in the way; not executed".to_owned()),
        1969 | 3024 => (ErrorKind::DeadlineExceeded, "the database ended the statement: it took too long".to_owned()),
        1305 | 1318 | 1356 | 1370 | 1142 | 1146 => {
            (ErrorKind::TemplateUnusable, "the named object cannot be used; `beds check` says why".to_owned())
        }
        _ => (ErrorKind::Internal, "the named object failed; the node's log has the cause".to_owned()),
    })
}

/// What the node's log may say of an error: the server's text only where it names objects and never values.
fn for_the_log(error: &Error) -> String {
    match error {
        Error::Server(server) if !NAMES_OBJECTS.contains(&server.code) => {
            format!("MariaDB error {} ({})", server.code, server.state)
        }
        error => error.to_string(),
    }
}

/// Codes of MariaDB whose texts name users, databases, tables, columns or routines.
const NAMES_OBJECTS: &[u16] =
    &[1040, 1044, 1045, 1046, 1049, 1054, 1142, 1143, 1146, 1205, 1213, 1290, 1305, 1318, 1356, 1370, 1449, 1969];
