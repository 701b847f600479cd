//! A write takes effect once per key: the key is claimed in the write's own transaction, and the answer is stored
//! beside it. A repeat gets the stored answer. `rec/once.rs` does the same in MongoDB.

use std::time::Duration;

use beds_core::reply::{Answer, Stored};
use beds_core::{BedsError, ErrorKind, Event, Result};
use fail::fail_point;
use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Row, Value as Sql};

use super::bind::Binding;
use super::call::{self, Failure};
use super::connect::{Database, Loan};
use super::error;
use crate::{inbox, operations};

/// How often a write is tried when other writes or a lost connection are in the way.
const ATTEMPTS: u32 = 4;

/// What one attempt came to, where it is not an answer.
enum Miss {
    /// Final: certainly without effect.
    Refused(BedsError),
    /// Without effect, and worth another attempt.
    Again(BedsError),
    /// The commit was sent and its answer did not come.
    Unknown(BedsError),
}

impl Miss {
    fn error(&self) -> &BedsError {
        match self {
            Miss::Refused(error) | Miss::Again(error) | Miss::Unknown(error) => error,
        }
    }
}

/// Writes once. The error kinds say what is certain: only [`ErrorKind::OutcomeUnknown`] may have had an effect.
pub(super) async fn write(
    database: &Database,
    binding: &Binding,
    arguments: Vec<Sql>,
    event: &Event,
) -> Result<Answer> {
    let (key, fingerprint) = (event.inbox_key(), event.fingerprint());
    let mut may_have_happened = false;
    let mut attempt = 0;
    loop {
        attempt += 1;
        let step = event.steps.begin(&binding.object);
        let outcome = once(database, binding, &arguments, event, &key, &fingerprint).await;
        // The connection that an attempt before lost may still hold the key: that is not somebody else's request.
        let outcome = match outcome {
            Err(Miss::Refused(error)) if attempt > 1 && error.kind == ErrorKind::KeyInFlight => Err(Miss::Again(error)),
            outcome => outcome,
        };
        match &outcome {
            // Nothing was called.
            Ok(_) if event.steps.is_repeat() => step.forget(),
            outcome => step.end(outcome.as_ref().err().map(|miss| miss.error().code())),
        }
        let miss = match outcome {
            Ok(answer) => return Ok(answer),
            Err(miss) => miss,
        };
        let error = match miss {
            Miss::Refused(error) => return Err(error),
            Miss::Again(error) if may_have_happened => inbox::outcome_unknown(error),
            Miss::Again(error) => error,
            Miss::Unknown(error) => {
                may_have_happened = true;
                inbox::outcome_unknown(error)
            }
        };
        if attempt >= ATTEMPTS {
            return Err(error);
        }
        tokio::time::sleep(Duration::from_millis(10 << attempt)).await;
    }
}

async fn once(
    database: &Database,
    binding: &Binding,
    arguments: &[Sql],
    event: &Event,
    key: &str,
    fingerprint: &str,
) -> Result<Answer, Miss> {
    // Unless it is given back, the connection is not used again: it may be in the middle of the transaction.
    let mut loan = database.connection().await.map_err(Miss::Again)?;

    let sql = |e: mysql_async::Error| classify(Failure::Sql(e), database);
    let claim = loan.conn().exec_first("CALL `beds_inbox_begin`(?,?)", (key, fingerprint)).await;
    if let Some(stored) = claimed(claim.map_err(sql)?, fingerprint)? {
        loan.give_back();
        event.steps.note_repeat(stored.event_id);
        return Ok(stored.answer);
    }
    if event.remaining().is_zero() {
        // Handed out again, and nothing was done before.
        abort(loan).await;
        return Err(Miss::Refused(inbox::too_late()));
    }

    let answer = match call::call(loan.conn(), binding, arguments).await {
        Ok(answer) => answer,
        Err(failure) => {
            renew(loan).await;
            return Err(classify(failure, database));
        }
    };
    let answer = match operations::touched(answer, event.operation) {
        Ok(answer) => answer,
        Err(error) => {
            abort(loan).await;
            return Err(Miss::Refused(error));
        }
    };
    let reply = Stored::text(&event.event_id, &answer);
    fail_point!("uncommitted", |_| std::process::abort());
    match loan.conn().exec_drop("CALL `beds_inbox_commit`(?,?)", (key, reply)).await {
        Ok(()) => {
            loan.give_back();
            Ok(answer)
        }
        Err(e) if error::is_before_commit(&e) => Err(classify(Failure::Sql(e), database)),
        Err(e) => {
            if error::is_connection_lost(&e) {
                database.lost();
            }
            Err(Miss::Unknown(error::to_beds(e, database)))
        }
    }
}

/// Rolls back, and ends what a procedure that did not come to its end has left in the session: temporary tables, variables,
/// locks by name.
async fn renew(mut loan: Loan<'_>) {
    // As a new connection would be, with its character set, which a mere reset would take from the server's defaults.
    if loan.conn().change_user(ChangeUserOpts::default()).await.is_ok() {
        loan.give_back();
    }
}

async fn abort(mut loan: Loan<'_>) {
    if loan.conn().exec_drop("CALL `beds_inbox_abort`()", ()).await.is_ok() {
        loan.give_back();
    }
}

/// Reads what `beds_inbox_begin` said: claimed (nothing), done (the stored answer), or still running.
fn claimed(row: Option<Row>, fingerprint: &str) -> Result<Option<Stored>, Miss> {
    let broken = || Miss::Refused(BedsError::new(ErrorKind::Internal, "the inbox could not be read"));
    let row = row.ok_or_else(broken)?;
    let text = |column: &str| row.get_opt::<Option<String>, _>(column).and_then(std::result::Result::ok).flatten();
    match text("state").as_deref() {
        Some("claimed") => Ok(None),
        Some("running") => Err(Miss::Refused(inbox::in_flight())),
        Some("done") if text("fingerprint").as_deref() != Some(fingerprint) => Err(Miss::Refused(inbox::key_reused())),
        Some("done") => text("reply").and_then(|reply| Stored::read(&reply)).map(Some).ok_or_else(broken),
        _ => Err(broken()),
    }
}

fn classify(failure: Failure, database: &Database) -> Miss {
    match failure {
        Failure::Sql(e) if error::is_connection_lost(&e) => {
            database.lost();
            Miss::Again(error::to_beds(e, database))
        }
        Failure::Sql(e) if error::is_transient(&e) => Miss::Again(error::to_beds(e, database)),
        failure => Miss::Refused(failure.into_beds(database)),
    }
}
