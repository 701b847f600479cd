//! One named operation, from values to documents as JSON.
//!
//! Not here: which values, which is `bind`'s; transactions, which are `once`'s.

use std::sync::Arc;

use beds_core::reply::Answer;
use beds_core::{Attempt, BedsError, Operation, Result};
use bson::oid::ObjectId;
use bson::{Bson, Document};
use futures_util::TryStreamExt;
use mongodb::{ClientSession, Database as Handle};
use serde_json::value::RawValue;

use super::bind::{Binding, Bulk};
use super::command::Arguments;
use super::connect::Database;
use super::error;
use super::json::{id_text, write_document};
use crate::answer::{MAX_ANSWER_BYTES, Page, Set, too_large};

/// MongoDB's code for "run it again".
const WRITE_CONFLICT: i32 = 112;

/// The longest that MongoDB works on one request, in milliseconds.
const LONGEST_MILLIS: i64 = 60_000;

/// Why a call gave no answer.
pub(super) enum Failure {
    Driver(mongodb::error::Error),
    Beds(BedsError),
}

impl Failure {
    /// The stable code, for the lineage.
    pub(super) fn code(&self) -> &'static str {
        match self {
            Failure::Driver(error) => error::kind(error).code(),
            Failure::Beds(error) => error.code(),
        }
    }

    pub(super) fn into_beds(self, database: &Database) -> BedsError {
        match self {
            Failure::Driver(e) => error::to_beds(e, database),
            Failure::Beds(error) => error,
        }
    }
}

impl From<mongodb::error::Error> for Failure {
    fn from(error: mongodb::error::Error) -> Self {
        Failure::Driver(error)
    }
}

/// Reads. A connection that turns out to be dead is no reason to fail: a read is repeated on another one. Dropped before its end, it
/// is ended in the server.
pub(super) async fn read(
    database: &Database,
    binding: &Arc<Binding>,
    arguments: Arguments,
    attempt: &Attempt,
) -> Result<Answer> {
    let mut command = binding.command.with(&arguments);
    limit_time(&mut command, attempt, LONGEST_MILLIS);
    // A write that is not there at a majority may be rolled back after it was told.
    command.insert("readConcern", bson::doc! {"level": "majority"});
    let page = binding.page(&arguments);
    let object = binding.form.object.as_str();
    let mut attempts = 0;
    loop {
        let (handle, binding) = (database.handle.clone(), Arc::clone(binding));
        let step = attempt.steps.begin(object);
        let work = |command| async move { documents(&handle, command, &binding, page).await };
        let outcome = database.run_watched(command.clone(), work).await?;
        step.end(outcome.as_ref().err().map(Failure::code));
        match outcome {
            Ok(answer) => return Ok(answer),
            Err(Failure::Driver(e)) if attempts < 2 && error::is_unable(&e) => attempts += 1,
            Err(failure) => return Err(failure.into_beds(database)),
        }
    }
}

/// Ends the operation in the server at the event's deadline, or before it where the DBA says so.
pub(super) fn limit_time(command: &mut Document, attempt: &Attempt, most: i64) {
    // Asks for 1 ms at least: MongoDB takes 0 for "no limit".
    let left = i64::try_from(attempt.time_to_work().as_millis()).unwrap_or(i64::MAX).clamp(1, most);
    let own = match command.get("maxTimeMS") {
        Some(Bson::Int32(n)) => Some(i64::from(*n)),
        Some(Bson::Int64(n)) => Some(*n),
        Some(Bson::Double(n)) => Some(*n as i64),
        _ => None,
    };
    command.insert("maxTimeMS", own.filter(|own| *own > 0).map_or(left, |own| own.min(left)));
}

async fn documents(
    handle: &Handle,
    command: Document,
    binding: &Binding,
    page: Page,
) -> Result<Answer, Failure> {
    let mut cursor = handle.run_cursor_command(command).await?;
    let mut set = Set::default();
    let mut size = 0;
    while let Some(document) = cursor.try_next().await? {
        size += push(&mut set, &document, binding);
        if size > MAX_ANSWER_BYTES {
            return Err(Failure::Beds(too_large("ask for a smaller page")));
        }
    }
    binding.form.answer(vec![set], None, page).map_err(Failure::Beds)
}

/// Adds a document and says how many bytes it has as JSON.
fn push(set: &mut Set, document: &Document, binding: &Binding) -> usize {
    let record = record(document);
    let size = record.get().len();
    set.push(record, document.get(&binding.form.id).and_then(id_text));
    size
}

/// Inserts documents that are there once by their own `_id`s.
pub(super) async fn insert_each(
    database: &Database,
    binding: &Arc<Binding>,
    bulk: Bulk,
    arguments: Arguments,
    attempt: &Attempt,
) -> Result<Answer> {
    let step = attempt.steps.begin(&binding.form.object);
    let outcome = without_transaction(database, binding, &arguments, attempt).await?;
    let outcome = outcome.and_then(|reply| {
        let errors =
            reply.get_array("writeErrors").into_iter().flatten().filter_map(Bson::as_document);
        let is_fault = |code: &i32| *code != 11000 || bulk == Bulk::UntilDuplicate;
        match errors.map(|e| e.get_i32("code").unwrap_or(0)).find(is_fault) {
            Some(code) => Err(Failure::Beds(error::of_code(code))),
            // It may be lost again when another server takes over; the documents' ids make a repeat safe.
            None if reply.contains_key("writeConcernError") => {
                Err(Failure::Beds(error::of_code(WRITE_CONFLICT)))
            }
            None => Ok(reply.get_i32("n").unwrap_or(0)),
        }
    });
    step.end(outcome.as_ref().err().map(Failure::code));
    let inserted = outcome.map_err(|failure| failure.into_beds(database))?;
    Ok(Answer { records: vec![record(&bson::doc! {"inserted": inserted})], ..Answer::default() })
}

/// Makes a change that guards itself: it names the state that it changes, so that one that comes twice or too late finds nothing. It needs
/// no inbox, which would keep a document for each beat of a ticket. Of BEDS's own templates alone.
pub(super) async fn act(
    database: &Database,
    binding: &Arc<Binding>,
    arguments: &Arguments,
    attempt: &Attempt,
) -> Result<Answer> {
    let step = attempt.steps.begin(&binding.form.object);
    let outcome = without_transaction(database, binding, arguments, attempt).await?;
    let outcome = outcome.and_then(|reply| touched(&reply, binding));
    step.end(outcome.as_ref().err().map(Failure::code));
    outcome.map_err(|failure| failure.into_beds(database))
}

/// Runs a write by itself, and answers when a majority has it in its journal.
async fn without_transaction(
    database: &Database,
    binding: &Binding,
    arguments: &Arguments,
    attempt: &Attempt,
) -> Result<Result<Document, Failure>> {
    let mut command = binding.command.with(arguments);
    limit_time(&mut command, attempt, LONGEST_MILLIS);
    // A command that is run by hand does not get the client's.
    command.insert("writeConcern", bson::doc! {"w": "majority", "j": true});
    let handle = database.handle.clone();
    let outcome = database.run(async move { handle.run_command(command).await }).await?;
    Ok(outcome.map_err(Failure::Driver))
}

/// The document that an act has changed, or the counts of one that changes several.
fn touched(reply: &Document, binding: &Binding) -> Result<Answer, Failure> {
    let failed = reply.get_array("writeErrors").ok().and_then(|errors| errors.first());
    if let Some(Bson::Document(first)) = failed {
        return Err(Failure::Beds(error::of_code(first.get_i32("code").unwrap_or(0))));
    }
    // It may be lost again when another server takes over; the act guards itself, so it can be repeated.
    if reply.contains_key("writeConcernError") {
        return Err(Failure::Beds(error::of_code(WRITE_CONFLICT)));
    }
    let documents = match reply.get("value") {
        Some(Bson::Document(document)) => vec![document.clone()],
        Some(_) => Vec::new(),
        None => counts(reply),
    };
    let mut set = Set::default();
    for document in &documents {
        push(&mut set, document, binding);
    }
    binding.form.answer(vec![set], None, Page::default()).map_err(Failure::Beds)
}

/// Runs a write inside a transaction and answers the documents that it touched.
pub(super) async fn write(
    handle: &Handle,
    session: &mut ClientSession,
    binding: &Binding,
    arguments: &Arguments,
    attempt: &Attempt,
) -> Result<Answer, Failure> {
    let mut command = binding.command.with(arguments);
    limit_time(&mut command, attempt, LONGEST_MILLIS);
    let inserted = with_ids(&mut command);
    let reply = handle.run_command(command).session(session).await?;
    if let Some(Bson::Document(first)) =
        reply.get_array("writeErrors").ok().and_then(|errors| errors.first())
    {
        return Err(Failure::Beds(error::of_code(first.get_i32("code").unwrap_or(0))));
    }
    let records = match reply.get("value") {
        Some(Bson::Document(document)) => vec![document.clone()],
        // findAndModify answers null where no document fits.
        Some(_) => Vec::new(),
        None if binding.form.operation == Operation::Create => inserted,
        None => counts(&reply),
    };
    let mut set = Set::default();
    let size: usize = records.iter().map(|document| push(&mut set, document, binding)).sum();
    if size > MAX_ANSWER_BYTES {
        return Err(Failure::Beds(too_large("nothing was changed")));
    }
    binding.form.answer(vec![set], None, Page::default()).map_err(Failure::Beds)
}

/// Gives each document of an insert an `_id`, as a driver would, and returns the documents: they are the answer.
fn with_ids(command: &mut Document) -> Vec<Document> {
    if !command.contains_key("insert") {
        return Vec::new();
    }
    let Ok(documents) = command.get_array_mut("documents") else { return Vec::new() };
    let mut inserted = Vec::new();
    for document in documents {
        if let Bson::Document(document) = document {
            if !document.contains_key("_id") {
                let mut with_id = bson::doc! {"_id": ObjectId::new()};
                with_id.extend(std::mem::take(document));
                *document = with_id;
            }
            inserted.push(document.clone());
        }
    }
    inserted
}

/// `update` and `delete` answer with numbers only; touching nothing is "no such record".
fn counts(reply: &Document) -> Vec<Document> {
    let count = |key: &str| reply.get(key).cloned().unwrap_or(Bson::Int32(0));
    match reply.get_i32("n") {
        Ok(0) | Err(_) => Vec::new(),
        Ok(n) => vec![bson::doc! {"matched": n, "modified": count("nModified")}],
    }
}

pub(super) fn record(document: &Document) -> Box<RawValue> {
    let mut text = String::with_capacity(256);
    write_document(document, &mut text);
    RawValue::from_string(text).unwrap_or_default()
}
