//! [`BedsError`]: everything that can go wrong with a request, with a stable code.
//!
//! Not here: mistakes in files (mistake.rs), driver errors (they stay in crate adapters as sources).

use std::error::Error as StdError;

pub type Result<T, E = BedsError> = std::result::Result<T, E>;

/// The failure of a request: its kind, its message and its source.
///
/// The message is written for the caller: it says the next step and never contains driver text. The source, if any, is
/// for the node's own log and does not travel.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct BedsError {
    pub kind: ErrorKind,
    pub message: String,
    /// The field or parameter at fault, where there is one.
    pub field: Option<String>,
    /// Seconds after which it is worth asking again, where that is known.
    pub retry_after: Option<u16>,
    #[source]
    pub source: Option<Box<dyn StdError + Send + Sync>>,
}

impl BedsError {
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), field: None, retry_after: None, source: None }
    }

    #[must_use]
    pub fn with_field(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Where it is worth asking again after so many seconds.
    #[must_use]
    pub fn with_retry_after(mut self, seconds: u16) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// The stable code, such as `BEDS-0007`. `docs/errors.md` has a page for each.
    pub fn code(&self) -> &'static str {
        self.kind.code()
    }
}

macro_rules! error_kinds {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of request errors: one stable code each. A code is never given a second meaning.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorKind { $($(#[$doc])* $name,)* }

        impl ErrorKind {
            pub const ALL: &[ErrorKind] = &[$(ErrorKind::$name,)*];

            pub fn code(self) -> &'static str {
                match self { $(ErrorKind::$name => $code,)* }
            }

            /// The HTTP status that the gateway answers with (docs/errors.md).
            pub fn status(self) -> u16 {
                match self { $(ErrorKind::$name => $status,)* }
            }

            /// A short title that is the same for every occurrence (RFC 9457 `title`).
            pub fn title(self) -> &'static str {
                match self { $(ErrorKind::$name => $title,)* }
            }

            /// The kind of a code that came over the wire.
            pub fn from_code(code: &str) -> Option<Self> {
                match code { $($code => Some(ErrorKind::$name),)* _ => None }
            }
        }
    };
}

error_kinds! {
    UnknownTemplate = "BEDS-0001", 404, "No such template";
    UnknownField = "BEDS-0002", 400, "Unknown field";
    WrongType = "BEDS-0003", 400, "Wrong type";
    MissingParameter = "BEDS-0004", 400, "Missing parameter";
    MalformedBody = "BEDS-0005", 400, "Malformed body";
    BodyTooLarge = "BEDS-0006", 413, "Body too large";
    NoSuchRecord = "BEDS-0007", 404, "No such record";
    DuplicateRecord = "BEDS-0008", 409, "Duplicate record";
    /// A rule of the DBA's: `SIGNAL SQLSTATE '45000'` or a collection's validator.
    RuleRefused = "BEDS-0009", 422, "Refused by a rule of the database";
    KeyReused = "BEDS-0010", 422, "Idempotency key used with another request";
    KeyInFlight = "BEDS-0011", 409, "The first request with this key is still running";
    NoSuchOperation = "BEDS-0012", 404, "The template does not offer this operation";
    /// Certainly not executed: refused, unroutable, overloaded, draining.
    Unavailable = "BEDS-0013", 503, "Not executed: try again";
    OutcomeUnknown = "BEDS-0014", 504, "Outcome unknown: retry with the same key";
    /// Certainly without effect, because the deadline passed before the work was begun or was rolled back.
    DeadlineExceeded = "BEDS-0015", 504, "Deadline exceeded";
    StoreUnavailable = "BEDS-0016", 503, "The database is not available";
    Internal = "BEDS-0017", 500, "Internal error";
    UnsupportedMediaType = "BEDS-0018", 415, "Unsupported media type";
    BadHeader = "BEDS-0019", 400, "Bad header";
    NoSuchRoute = "BEDS-0020", 404, "No such route";
    MethodNotAllowed = "BEDS-0021", 405, "Method not allowed";
    ConstraintViolated = "BEDS-0022", 422, "A constraint of the database refused the values";
    /// The template is known, but its named objects do not fit the database.
    TemplateUnusable = "BEDS-0023", 503, "The template is not usable on this node";
    BadEvent = "BEDS-0024", 400, "Malformed event";
    ValueOutOfRange = "BEDS-0025", 400, "Value out of range";
    HeaderTooLarge = "BEDS-0026", 431, "Header too large";
    /// The named object gave an answer that its template does not allow: a second row, a second set, no row, no id.
    WrongAnswer = "BEDS-0027", 500, "The object's answer does not fit its template";
    /// The `Host` header names no host of this gateway.
    WrongHost = "BEDS-0028", 421, "This gateway does not answer for that host";
    /// A page of another origin made the request.
    ForeignOrigin = "BEDS-0029", 403, "Requests from other origins are refused";
    /// No credential, or one that proves no caller.
    Unauthenticated = "BEDS-0030", 401, "The caller is not known";
    /// The caller may use the template, and not for this.
    NotAllowed = "BEDS-0031", 403, "The caller has no right to this";
    /// The object chooses rows by a claim that the caller does not have, or has in another form.
    MissingClaim = "BEDS-0032", 403, "The caller lacks a claim";
    /// The caller has as many requests in flight as one may have, or its address has shown too many bad signatures.
    TooMany = "BEDS-0033", 429, "Too many at once from this caller";
    /// No ticket has the id, or it is another caller's.
    NoSuchTicket = "BEDS-0034", 404, "No such ticket";
    ResultNotReady = "BEDS-0035", 409, "The ticket has no result yet";
    /// The ticket was cancelled or not begun in time, or its result was removed.
    ResultGone = "BEDS-0036", 410, "The ticket has no result";
    /// The nodes that worked on a ticket fell silent, one after the other.
    WorkersLost = "BEDS-0037", 500, "The work was lost again and again";
    /// The cursor is too old, of another stream, or none.
    ChangesGone = "BEDS-0038", 410, "The changes behind this cursor are gone";
}

impl ErrorKind {
    /// True where the caller may repeat the same request (with the same key, if it writes) and expect better.
    pub fn is_retryable(self) -> bool {
        matches!(self.status(), 429 | 503 | 504) || self == ErrorKind::KeyInFlight
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_is_unique_and_has_a_page() {
        let pages = include_str!("../../../docs/errors.md");
        let mut seen = HashSet::new();
        for kind in ErrorKind::ALL {
            assert!(seen.insert(kind.code()), "{} stands twice", kind.code());
            assert_eq!(ErrorKind::from_code(kind.code()), Some(*kind));
            let heading = format!("## {} {}", kind.code(), kind.title());
            assert!(pages.contains(&heading), "docs/errors.md lacks the heading {heading:?}");
            let status = format!("HTTP {}", kind.status());
            let page = pages.split(&heading).nth(1).unwrap().split("\n## ").next().unwrap();
            assert!(page.contains(&status), "the page of {} does not say {status}", kind.code());
        }
    }
}
