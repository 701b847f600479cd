//! One call of a named object, from values to rows as JSON.
//!
//! Not here: which values, which is `bind`'s; the transactions of writes, which are `once`'s.

use beds_core::reply::Answer;
use beds_core::{Attempt, BedsError, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Value as Sql};

use super::bind::{Binding, Guard};
use super::connect::{Database, Loan};
use super::error;
use super::json::ResultColumns;
use crate::answer::{MAX_ANSWER_BYTES, Set, too_large};

/// Why a call gave no answer.
pub(super) enum Failure {
    Sql(mysql_async::Error),
    Beds(BedsError),
}

impl Failure {
    /// The stable code, for the lineage.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Failure::Sql(error) => error::kind(error).code(),
            Failure::Beds(error) => error.code(),
        }
    }

    /// True where the connection is there, with nothing under way on it.
    fn leaves_connection(&self) -> bool {
        matches!(self, Failure::Sql(error) if error::is_from_server(error))
    }

    /// The field of the caller's that the server refused, if it names one.
    pub(super) fn field(&self, binding: &Binding) -> Option<String> {
        let Failure::Sql(error) = self else { return None };
        error::column(error).filter(|name| binding.has_field(name))
    }

    pub(super) fn into_beds(self, database: &Database) -> BedsError {
        match self {
            Failure::Sql(error) => error::to_beds(error, database),
            Failure::Beds(error) => error,
        }
    }
}

impl From<mysql_async::Error> for Failure {
    fn from(error: mysql_async::Error) -> Self {
        Failure::Sql(error)
    }
}

/// Reads, in a transaction that cannot write or is rolled back. A connection that turns out to be dead is no reason to fail:
/// a read is repeated on another one.
/// None where the object was replaced since it was bound: the values may have gone to other parameters.
pub(super) async fn read(
    database: &Database,
    binding: &Binding,
    arguments: &[Sql],
    attempt: &Attempt,
) -> Result<Option<Answer>> {
    let mut attempts = 0;
    loop {
        let step = attempt.steps.begin(&binding.form.object);
        let mut loan = database.reader().await?;
        let called = read_once(&mut loan, binding, arguments).await;
        step.end(called.as_ref().err().map(Failure::code));
        let is_clean =
            called.is_ok() && !binding.leaves_session && binding.guard == Guard::ReadOnly;
        match called {
            Ok(answer) => {
                if is_clean {
                    loan.give_back()
                } else {
                    loan.renew()
                }
                return Ok(answer);
            }
            // Its parameters are others now.
            Err(Failure::Sql(e)) if error::is_replaced(&e) => {
                loan.renew();
                return Ok(None);
            }
            Err(Failure::Sql(e)) if attempts < 2 && error::is_lost(&e) => {
                attempts += 1;
                database.lost();
            }
            Err(Failure::Sql(e)) if attempts < 2 && error::is_transient(&e) => {
                attempts += 1;
                loan.renew();
            }
            Err(failure) => {
                // A connection that broke or stands within
                // a result is dropped instead, and closed.
                if failure.leaves_connection() {
                    loan.renew();
                }
                let field = failure.field(binding);
                return Err(about(field, failure.into_beds(database)));
            }
        }
    }
}

/// An error that names the field which it is about.
pub(super) fn about(field: Option<String>, mut error: BedsError) -> BedsError {
    if let Some(field) = field {
        error.message = format!("`{field}`: {}", error.message);
        error.field = Some(field);
    }
    error
}

async fn read_once(
    loan: &mut Loan,
    binding: &Binding,
    arguments: &[Sql],
) -> Result<Option<Answer>, Failure> {
    if binding.reads_session {
        loan.refresh().await?;
    }
    if binding.guard == Guard::RolledBack {
        loan.begin_to_roll_back().await?;
    }
    let answer = call(loan, binding, arguments).await?;
    if binding.guard == Guard::RolledBack {
        loan.roll_back().await?;
    }
    Ok(is_bound(loan, binding).await?.then_some(answer))
}

/// True where the object is still the one that was bound: with another one, values may go to other parameters.
pub(super) async fn is_bound(loan: &mut Loan, binding: &Binding) -> Result<bool, Failure> {
    let Some(bound) = &binding.signature else { return Ok(true) };
    let found: Option<Option<String>> =
        loan.conn().exec_first("CALL `beds_read_check`(?)", (&binding.form.object,)).await?;
    Ok(found.flatten().as_ref() == Some(bound))
}

/// Calls the object and takes in everything it answers. Where that is given up, the call is ended in the server.
pub(super) async fn call(
    loan: &mut Loan,
    binding: &Binding,
    arguments: &[Sql],
) -> Result<Answer, Failure> {
    let called = call_on(loan.calling(), binding, arguments).await;
    loan.has_answered();
    called
}

async fn call_on(conn: &mut Conn, binding: &Binding, arguments: &[Sql]) -> Result<Answer, Failure> {
    let mut result =
        conn.exec_iter(binding.statement.as_str(), Params::Positional(arguments.to_vec())).await?;
    let mut sets: Vec<Set> = Vec::new();
    let mut out = None;
    let mut size = 0;
    while !result.is_empty() {
        let columns = result.columns().unwrap_or_default();
        let is_rows = !columns.is_empty();
        let columns = ResultColumns::new(columns, &binding.form.id, &binding.json);
        if let Some(name) = columns.twice() {
            return Err(Failure::Beds(binding.form.twice(&name)));
        }
        let mut set = Set::default();
        while let Some(row) = result.next().await? {
            let Ok(record) = columns.record(&row) else { continue };
            size += record.get().len();
            if size > MAX_ANSWER_BYTES {
                return Err(Failure::Beds(too_large("ask for a smaller page")));
            }
            // The values of OUT parameters come last, as a set of one row.
            if !binding.out.is_empty() && set.rows.is_empty() {
                out = columns.record_of(&binding.out, &row).ok();
            }
            set.push(record, columns.id(&row));
        }
        // A result that only says "done" has no columns.
        if is_rows {
            sets.push(set);
        }
    }
    // An error behind the last set is kept by the driver until it is asked for.
    result.drop_result().await?;
    if !binding.out.is_empty() {
        sets.pop();
    }
    binding.form.answer(sets, out, binding.page(arguments)).map_err(Failure::Beds)
}
