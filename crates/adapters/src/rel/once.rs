//! A write takes effect once per key: the key is claimed in the write's own transaction, and the answer is stored
//! beside it. A repeat gets the stored answer. `rec/once.rs` does the same in MongoDB.
//!
//! Not here: the call itself (call.rs), the loop of attempts (../attempts.rs).

use beds_core::reply::{Answer, Stored};
use beds_core::template::changes::changes_of;
use beds_core::{Attempt, BedsError, Change, ErrorKind, Event, Result, Template};
use fail::fail_point;
use mysql_async::prelude::Queryable;
use mysql_async::{Row, Value as Sql};

use super::bind::Binding;
use super::call::{self, Failure};
use super::connect::{Database, Loan};
use super::error;
use crate::attempts::{self, Miss, repeated};
use crate::inbox;
use crate::operations::unwritten;

/// Writes once. The error kinds say how certain the end of this event is: only [`ErrorKind::OutcomeUnknown`] may have had an
/// effect. None where the object was replaced since it was bound, and nothing was written.
pub(super) async fn write(
    database: &Database,
    template: &Template,
    binding: &Binding,
    arguments: &[Sql],
    attempt: &Attempt,
) -> Result<Option<Answer>> {
    let write =
        Write { database, template, binding, arguments, attempt, claim: Claim::of(&attempt.event) };
    attempts::write(attempt, &binding.form.object, &write).await
}

/// A write with everything that an attempt needs.
struct Write<'w> {
    database: &'w Database,
    template: &'w Template,
    binding: &'w Binding,
    arguments: &'w [Sql],
    attempt: &'w Attempt,
    claim: Claim,
}

impl attempts::Repeatable for Write<'_> {
    async fn once(&self) -> Result<Answer, Miss> {
        let Write { database, template, binding, arguments, attempt, claim } = self;
        // Unless it is given back, the connection is not used again: it may be in the middle of the transaction.
        let mut loan = database.writer().await.map_err(Miss::Again)?;
        // Renews before the claim: a later renewal would end the transaction of the claim.
        if binding.reads_session {
            loan.refresh().await.map_err(|e| classify(Failure::Sql(e), database))?;
        }
        match claim.take(&mut loan, database, Some(binding)).await {
            Ok(None) => attempt.steps.note_asked_inbox(),
            Ok(Some(stored)) => {
                loan.give_back();
                return Ok(repeated(stored, attempt));
            }
            Err(miss) => {
                give_back_unless_lost(loan, &miss);
                return Err(miss);
            }
        }
        if attempt.time_to_work().is_zero() {
            // Handed out again, and nothing was done before.
            abort(loan).await;
            return Err(Miss::Refused(inbox::too_late()));
        }

        let called =
            tokio::time::timeout(attempt.time_to_call(), call::call(&mut loan, binding, arguments))
                .await;
        // Nothing of an open transaction stays: the loan ends the call, and its commit was not sent.
        let Ok(called) = called else { return Err(Miss::Refused(inbox::too_late())) };
        let answer = match called {
            Ok(answer) => answer,
            Err(failure) => return Err(failed(loan, binding, database, failure).await),
        };
        // Commits nothing after the deadline, so that
        // the 504 of its caller can say "no effect".
        if attempt.time_to_work().is_zero() {
            abort(loan).await;
            return Err(Miss::Refused(inbox::too_late()));
        }
        fail_point!("uncommitted", |_| std::process::abort());
        let stored = Stored::text(&attempt.event.event_id, &answer).map_err(Miss::Refused)?;
        let changes = changes_of(template, &attempt.event, &answer);
        commit(loan, database, binding, claim, &stored, &changes).await?;
        if !changes.is_empty() {
            database.changed.notify_one();
        }
        Ok(answer)
    }
}

/// Asks the inbox whether a write with this event's key took effect, and changes nothing: none where it did not.
///
/// # Errors
/// [`ErrorKind::KeyInFlight`] while it may still do so.
pub(super) async fn recall(database: &Database, attempt: &Attempt) -> Result<Option<Answer>> {
    let mut loan = database.writer().await?;
    let claim = Claim::of(&attempt.event);
    match claim.take(&mut loan, database, None).await {
        Ok(Some(stored)) => {
            loan.give_back();
            Ok(Some(repeated(stored, attempt)))
        }
        Ok(None) => {
            abort(loan).await;
            attempt.steps.note_asked_inbox();
            Ok(None)
        }
        Err(miss) => {
            give_back_unless_lost(loan, &miss);
            Err(miss.into_error())
        }
    }
}

/// The key of a write and the fingerprint of the request under it.
struct Claim {
    key: String,
    fingerprint: String,
}

impl Claim {
    fn of(event: &Event) -> Self {
        Self { key: event.inbox_key(), fingerprint: event.fingerprint() }
    }

    /// Opens the transaction and claims the key: none where it was free, the stored answer where a write is done.
    /// With a binding, also whether its object is still the one that was bound.
    async fn take(
        &self,
        loan: &mut Loan,
        database: &Database,
        binding: Option<&Binding>,
    ) -> Result<Option<Stored>, Miss> {
        let object = binding.map(|binding| &binding.form.object);
        let signature = binding.and_then(|binding| binding.signature.as_ref());
        let arguments = (&self.key, &self.fingerprint, object, signature);
        let row = loan.conn().exec_first("CALL `beds_inbox_begin`(?,?,?,?)", arguments).await;
        let row = row.map_err(|e| match classify(Failure::Sql(e), database) {
            // The claim itself failed: the inbox has told nothing of the attempts before.
            Miss::Refused(error) => Miss::Unasked(error),
            miss => miss,
        })?;
        claimed(row, &self.fingerprint)
    }
}

/// The end of an attempt whose call failed. The session is made anew.
async fn failed(mut loan: Loan, binding: &Binding, database: &Database, failure: Failure) -> Miss {
    let is_from_server = matches!(&failure, Failure::Sql(e) if error::is_from_server(e));
    let field = failure.field(binding);
    let miss = match classify(failure, database) {
        // A refusal is certain while the claim's transaction is open. The next attempt asks the inbox.
        Miss::Refused(error) if is_from_server && !was_open(&mut loan).await => {
            Miss::Unknown(error)
        }
        Miss::Refused(error) => Miss::Refused(call::about(field, error)),
        miss => miss,
    };
    loan.renew();
    miss
}

/// Stores the answer under the key and commits, if the object is still the one that was bound. The changes are stored with it.
async fn commit(
    mut loan: Loan,
    database: &Database,
    binding: &Binding,
    claim: &Claim,
    reply: &str,
    changes: &[Change],
) -> Result<(), Miss> {
    let [change, further] = texts(changes).map_err(Miss::Refused)?;
    let (key, object, signature) = (&claim.key, &binding.form.object, &binding.signature);
    let committed = match change {
        None => {
            let arguments = (key, reply, object, signature);
            loan.conn().exec_drop("CALL `beds_inbox_commit`(?,?,?,?)", arguments).await
        }
        Some(_) => {
            let arguments = (key, reply, object, signature, change, further);
            loan.conn().exec_drop("CALL `beds_inbox_commit_changes`(?,?,?,?,?,?)", arguments).await
        }
    };
    match committed {
        Ok(()) if binding.leaves_session => {
            loan.renew();
            Ok(())
        }
        Ok(()) => {
            loan.give_back();
            Ok(())
        }
        Err(e) if error::is_before_commit(&e) => {
            loan.renew();
            Err(classify(Failure::Sql(e), database))
        }
        // Any other failure may come from behind the COMMIT.
        Err(e) => {
            if error::is_lost(&e) {
                database.lost();
            }
            Err(Miss::Unknown(error::to_beds(e, database)))
        }
    }
}

/// The changes of a write, of which there are two at most: a record that moves leaves one scope and enters another.
fn texts(changes: &[Change]) -> Result<[Option<String>; 2]> {
    let text = |position: usize| {
        let change = changes.get(position).map(serde_json::to_string);
        change.transpose().map_err(unwritten)
    };
    Ok([text(0)?, text(1)?])
}

/// A refusal of the inbox leaves the session as it was: the connection can be used again.
fn give_back_unless_lost(loan: Loan, miss: &Miss) {
    match miss {
        Miss::Refused(error) | Miss::Unasked(error)
            if matches!(error.kind, ErrorKind::KeyReused | ErrorKind::KeyInFlight) =>
        {
            loan.give_back();
        }
        // The server said no: it may stand in the middle of the procedure's transaction.
        Miss::Refused(_) | Miss::Unasked(_) | Miss::Replaced(_) => loan.renew(),
        Miss::Again(_) | Miss::Unknown(_) | Miss::Away { .. } => {}
    }
}

/// Rolls back, and says whether a transaction was open: false where the object has ended it, in a way that the lint does not
/// know.
async fn was_open(loan: &mut Loan) -> bool {
    let said: mysql_async::Result<Option<i64>> =
        loan.conn().exec_first("CALL `beds_inbox_abort`()", ()).await;
    matches!(said, Ok(Some(1)))
}

async fn abort(mut loan: Loan) {
    // A loan that is not given back is closed, and the server rolls back with it.
    if loan.conn().exec_drop("CALL `beds_inbox_abort`()", ()).await.is_ok() {
        loan.give_back();
    }
}

/// Reads the answer of `beds_inbox_begin`: claimed (nothing), done (the stored answer), or still running.
fn claimed(row: Option<Row>, fingerprint: &str) -> Result<Option<Stored>, Miss> {
    let broken =
        || Miss::Unasked(BedsError::new(ErrorKind::Internal, "the inbox could not be read"));
    let row = row.ok_or_else(broken)?;
    let text = |column: &str| {
        row.get_opt::<Option<String>, _>(column).and_then(std::result::Result::ok).flatten()
    };
    match text("state").as_deref() {
        Some("claimed") => Ok(None),
        Some("running") => Err(Miss::Unasked(inbox::in_flight())),
        Some("replaced") => {
            let text = "the object was replaced meanwhile; not executed";
            Err(Miss::Replaced(BedsError::new(ErrorKind::Unavailable, text)))
        }
        Some("done") if text("fingerprint").as_deref() != Some(fingerprint) => {
            Err(Miss::Refused(inbox::key_reused()))
        }
        // Committed otherwise than by `beds_inbox_commit`, such as by a COMMIT in the object that the lint did not see.
        Some("done") if text("reply").is_none() => {
            let text =
                "the key was committed without an answer: its object ends the transaction of BEDS";
            Err(Miss::Unasked(inbox::outcome_unknown(BedsError::new(ErrorKind::Internal, text))))
        }
        Some("done") => {
            text("reply").and_then(|reply| Stored::read(&reply)).map(Some).ok_or_else(broken)
        }
        _ => Err(broken()),
    }
}

fn classify(failure: Failure, database: &Database) -> Miss {
    match failure {
        Failure::Sql(e) if error::is_lost(&e) => {
            database.lost();
            Miss::Again(error::to_beds(e, database))
        }
        Failure::Sql(e) if error::is_replaced(&e) => Miss::Replaced(error::to_beds(e, database)),
        Failure::Sql(e) if error::is_transient(&e) => Miss::Again(error::to_beds(e, database)),
        failure => Miss::Refused(failure.into_beds(database)),
    }
}
