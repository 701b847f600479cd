//! MariaDB's errors as BEDS's: by their code, and where no code is listed, by the class of their SQLSTATE. Driver text stays
//! here, as the source of the error, for the node's own log.
//!
//! Not here: new attempts after an error (call.rs, once.rs).

use beds_core::{BedsError, ErrorKind};
use mysql_async::Error;

use super::connect::Database;

/// True where the same transaction may succeed when it is run again: a deadlock, a lock that was not granted, a server that
/// cannot now.
pub(super) fn is_transient(error: &Error) -> bool {
    matches!(error, Error::Server(server) if matches!(code(server), 1205 | 1213 | 1020) || is_unable(code(server)))
}

/// True where the server itself answered, so that the connection can go on.
pub(super) fn is_from_server(error: &Error) -> bool {
    matches!(error, Error::Server(_)) && !is_lost(error) && !is_killed(error)
}

/// True where the connection is gone, or the server is going.
pub(super) fn is_lost(error: &Error) -> bool {
    match error {
        Error::Server(server) => matches!(code(server), 1053 | 1077 | 1079 | 4031),
        // The client would not take it, and nothing is wrong with the server.
        Error::Driver(mysql_async::DriverError::PacketTooLarge) => false,
        error => !is_too_large(error),
    }
}

/// True where the call was ended from outside: the DBA's KILL is not answered with another run.
fn is_killed(error: &Error) -> bool {
    matches!(error, Error::Server(server) if matches!(code(server), 1317 | 1927))
}

/// True where the routine was replaced since it was bound.
pub(super) fn is_replaced(error: &Error) -> bool {
    matches!(error, Error::Server(server) if matches!(code(server), 1412 | 1318))
}

/// True where `beds_inbox_commit` failed before its COMMIT. A server that ends it for its time may have committed.
pub(super) fn is_before_commit(error: &Error) -> bool {
    matches!(error, Error::Server(server) if matches!(server.code, 1205 | 1213 | 1020 | 1142 | 1153 | 1305 | 1318 | 1370 | 1406 | 1412))
}

/// The code of an error of the server's own. A rule of the DBA's may name any code, and means none of them.
fn code(server: &mysql_async::ServerError) -> u16 {
    if server.state.starts_with("45") { 1644 } else { server.code }
}

/// A server that is there and cannot: read-only, not ready in its cluster, without room, with too many connections.
fn is_unable(code: u16) -> bool {
    matches!(code, 1021 | 1040 | 1041 | 1047 | 1114 | 1203 | 1226 | 1290 | 1836 | 3100)
}

/// A row or a statement beyond `max_allowed_packet` shows as a failure of the connection.
fn is_too_large(error: &Error) -> bool {
    match error {
        Error::Server(server) => server.code == 1153,
        // As the driver's codec words it (mysql_common 0.37.3, proto/codec/error.rs).
        Error::Io(mysql_async::IoError::Io(error)) => {
            error.to_string().contains("max_allowed_packet")
        }
        Error::Driver(mysql_async::DriverError::PacketTooLarge) => true,
        _ => false,
    }
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

/// The server's own words; none where no server answered, or it cannot now.
fn meaning(error: &Error) -> Option<(ErrorKind, String)> {
    if is_too_large(error) {
        return Some((
            ErrorKind::ValueOutOfRange,
            "a value or a row is too large for the database's packets".to_owned(),
        ));
    }
    if is_lost(error) {
        return None;
    }
    let Error::Server(server) = error else { return None };
    if is_unable(server.code) {
        return None;
    }
    let (kind, text) = match server.code {
        // The DBA's own words are meant for the caller.
        1642..=1644 => match signalled(&server.state) {
            Some(kind) => return Some((kind, server.message.clone())),
            None => (ErrorKind::Internal, FAILED),
        },
        _ if server.state.starts_with("45") => {
            return Some((ErrorKind::RuleRefused, server.message.clone()));
        }
        1062 | 1586 => (ErrorKind::DuplicateRecord, "a record with the same unique value exists"),
        1452 | 1216 => {
            (ErrorKind::ConstraintViolated, "a value refers to a record that does not exist")
        }
        1451 | 1217 => (ErrorKind::ConstraintViolated, "other records refer to this one"),
        1048 | 1364 => (ErrorKind::ConstraintViolated, "a field that must have a value has none"),
        4025 | 3819 => {
            (ErrorKind::ConstraintViolated, "a check of the database refused the values")
        }
        1264 | 1690 | 1441 => {
            (ErrorKind::ValueOutOfRange, "a number or a date is outside the range of its column")
        }
        1406 | 1265 => (ErrorKind::ValueOutOfRange, "a value does not fit its column"),
        1292 | 1366 | 1411 | 4038 | 1416 => {
            (ErrorKind::WrongType, "a value is not of the type of its column")
        }
        1139 | 1188 => (ErrorKind::WrongType, "a value is no regular expression"),
        1205 | 1213 | 1020 => {
            (ErrorKind::Unavailable, "other writes were in the way; not executed")
        }
        1412 => (ErrorKind::Unavailable, "the object was replaced meanwhile; not executed"),
        1969 | 3024 => {
            (ErrorKind::DeadlineExceeded, "the database ended the statement: it took too long")
        }
        1317 | 1927 => {
            (ErrorKind::DeadlineExceeded, "the database ended the statement: it was stopped there")
        }
        1792 => (
            ErrorKind::TemplateUnusable,
            "the named object writes, and this operation reads; nothing was changed",
        ),
        1305 | 1318 | 1356 | 1370 | 1142 | 1143 | 1146 | 1227 | 1449 => {
            (ErrorKind::TemplateUnusable, "the named object cannot be used; `beds check` says why")
        }
        _ => match &server.state[..server.state.len().min(2)] {
            "22" => (
                ErrorKind::ValueOutOfRange,
                "the database refused a value: it is outside the range that it can work with",
            ),
            "23" => {
                (ErrorKind::ConstraintViolated, "a constraint of the database refused the values")
            }
            "02" => (ErrorKind::NoSuchRecord, "there is no such record"),
            _ => (ErrorKind::Internal, FAILED),
        },
    };
    Some((kind, text.to_owned()))
}

/// The column or parameter that a refused value was meant for, without `p_`, where the server names one.
pub(super) fn column(error: &Error) -> Option<String> {
    let Error::Server(server) = error else { return None };
    let named = match server.code {
        1048 => server.message.strip_prefix("Column ")?,
        1364 => server.message.strip_prefix("Field ")?,
        // A value stands before it, and could say the same.
        1264 | 1265 | 1292 | 1366 | 1406 => server.message.rsplit_once(" for column ")?.1,
        _ => return None,
    };
    // As 'x', or as `database`.`table`.`x`.
    let quoted = named.split(' ').next()?;
    let name = quoted.rsplit('.').next()?.trim_matches(['`', '\'']);
    Some(name.strip_prefix("p_").unwrap_or(name).to_owned())
}

const FAILED: &str = "the named object failed; the node's log has the cause";

/// The meaning of a SIGNAL of the DBA's, by the class of its SQLSTATE; none of a class that is not for callers.
fn signalled(state: &str) -> Option<ErrorKind> {
    Some(match &state[..state.len().min(2)] {
        "22" => ErrorKind::ValueOutOfRange,
        "23" => ErrorKind::ConstraintViolated,
        "02" => ErrorKind::NoSuchRecord,
        "40" => ErrorKind::Unavailable,
        "45" => ErrorKind::RuleRefused,
        _ => return None,
    })
}

/// The text of an error that may stand in the node's log: the server's text only where it names objects and never values.
fn for_the_log(error: &Error) -> String {
    match error {
        Error::Server(server) if !NAMES_OBJECTS.contains(&server.code) => {
            format!("MariaDB error {} ({})", server.code, server.state)
        }
        error => error.to_string(),
    }
}

/// Codes of MariaDB whose texts name users, databases, tables, columns or routines.
const NAMES_OBJECTS: &[u16] = &[
    1040, 1044, 1045, 1046, 1049, 1054, 1142, 1143, 1146, 1205, 1213, 1290, 1305, 1318, 1356, 1370,
    1449, 1969,
];
