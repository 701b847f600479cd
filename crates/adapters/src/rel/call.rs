//! One call of a named object, from values to rows as JSON. Which values is `bind`'s; transactions are `once`'s.

use beds_core::reply::Answer;
use beds_core::{BedsError, ErrorKind, Event, Result};
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Params, Row, Value as Sql};
use serde_json::value::RawValue;

use super::bind::Binding;
use super::connect::Database;
use super::error;
use super::json::Columns;

/// The most that one answer may hold, in bytes of JSON. RabbitMQ 4 takes messages of at most 16 MiB.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;

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

/// Reads. A connection that turns out to be dead is no reason to fail: a read is repeated on another one.
pub(super) async fn read(database: &Database, binding: &Binding, arguments: Vec<Sql>, event: &Event) -> Result<Answer> {
    let mut attempts = 0;
    loop {
        let step = event.steps.begin(&binding.object);
        let mut loan = database.connection().await?;
        let called = call(loan.conn(), binding, &arguments).await;
        step.end(called.as_ref().err().map(Failure::code));
        match called {
            Ok(answer) => {
                loan.give_back();
                return Ok(answer);
            }
            Err(Failure::Sql(e)) if attempts < 2 && (error::is_connection_lost(&e) || error::is_transient(&e)) => {
                attempts += 1;
                if error::is_connection_lost(&e) {
                    database.lost();
                }
            }
            Err(failure) => return Err(failure.into_beds(database)),
        }
    }
}

/// Calls the object and takes in everything it answers.
pub(super) async fn call(conn: &mut Conn, binding: &Binding, arguments: &[Sql]) -> Result<Answer, Failure> {
    let mut result = conn.exec_iter(binding.statement.as_str(), Params::Positional(arguments.to_vec())).await?;
    let mut sets: Vec<Set> = Vec::new();
    let mut size = 0;
    while !result.is_empty() {
        let columns = result.columns().unwrap_or_default();
        let is_rows = !columns.is_empty();
        let mut set = Set::new(Columns::new(columns, &binding.id_column, &binding.catalog));
        while let Some(row) = result.next().await? {
            size += set.push(row, sets.is_empty());
            if size > MAX_ANSWER_BYTES {
                let text = format!("the answer is larger than {} MiB; ask for a smaller page", MAX_ANSWER_BYTES >> 20);
                return Err(Failure::Beds(BedsError::new(ErrorKind::ValueOutOfRange, text)));
            }
        }
        // What only says "done" has no columns.
        if is_rows {
            sets.push(set);
        }
    }
    drop(result);
    Ok(answer(sets, binding, arguments))
}

/// One result set, written as JSON.
struct Set {
    columns: Columns,
    rows: Vec<Box<RawValue>>,
    first: Option<Row>,
    first_id: Option<String>,
    last_id: Option<String>,
}

impl Set {
    fn new(columns: Columns) -> Self {
        Self { columns, rows: Vec::new(), first: None, first_id: None, last_id: None }
    }

    /// Takes a row and says how many bytes it has as JSON.
    fn push(&mut self, row: Row, is_first_set: bool) -> usize {
        if is_first_set {
            self.last_id = self.columns.id(&row);
            if self.rows.is_empty() {
                self.first_id.clone_from(&self.last_id);
            }
        }
        let size = self.columns.record(&row).map_or(0, |record| {
            let size = record.get().len();
            self.rows.push(record);
            size
        });
        self.first.get_or_insert(row);
        size
    }

    fn into_array(self) -> Option<Box<RawValue>> {
        serde_json::value::to_raw_value(&self.rows).ok()
    }
}

fn answer(mut sets: Vec<Set>, binding: &Binding, arguments: &[Sql]) -> Answer {
    // The values of OUT parameters come last, as a set of one row.
    let out = match binding.out.is_empty() {
        true => None,
        false => sets.pop().and_then(|set| set.columns.record_of(&binding.out, &set.first?).ok()),
    };
    let mut sets = sets.into_iter();
    let Some(first) = sets.next() else { return Answer { out, ..Answer::default() } };
    let is_full = binding.limit(arguments).is_some_and(|limit| first.rows.len() as u64 >= limit);
    Answer {
        id: first.first_id,
        next: first.last_id.filter(|_| is_full),
        records: first.rows,
        result_sets: sets.filter_map(Set::into_array).collect(),
        out,
        has_set: true,
        ..Answer::default()
    }
}
