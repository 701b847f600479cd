//! Applies a DBA's files of MongoDB commands with the DBA's own login. The commands are the DBA's.
//!
//! Not here: which files there are, which is the command's.

use std::time::Duration;

use beds_core::{BedsError, ErrorKind, Result, config};
use bson::{Bson, DateTime, Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};

use crate::schema::{Applied, File, LOCK_PATIENCE, Wishes, busy};

const RECORD: &str = "beds_schema";

/// The document that a run holds while it applies files. No file has such a name.
const LOCK: &str = "(lock)";
/// A run that ended without giving the lock back has it no longer than this. It is renewed before each command.
const LOCKED_FOR: Duration = Duration::from_secs(600);
const ASK_AGAIN: Duration = Duration::from_millis(500);

/// Applies the files that were not applied yet, in order; each is recorded once all of its commands succeeded.
pub(crate) async fn apply(
    config: &config::Database,
    name: &str,
    files: &[File],
    wishes: Wishes,
    report: impl FnMut(&File, Applied),
) -> Result<()> {
    let options = ClientOptions::parse(config.url.expose())
        .await
        .map_err(|e| failed("the url cannot be used", &e))?;
    let database = options.default_database.clone().unwrap_or_else(|| name.to_owned());
    let handle = Client::with_options(options)
        .map_err(|e| failed("the url cannot be used", &e))?
        .database(&database);
    // A refused file is one of which nothing was applied, so all are read before the first.
    let commands = files.iter().map(commands).collect::<Result<Vec<_>>>()?;
    let lock = Lock::take(&handle).await?;
    let applied = apply_all(&handle, &lock, files, commands, wishes, report).await;
    lock.release().await;
    applied
}

async fn apply_all(
    handle: &Database,
    lock: &Lock<'_>,
    files: &[File],
    commands: Vec<Vec<Document>>,
    wishes: Wishes,
    mut report: impl FnMut(&File, Applied),
) -> Result<()> {
    for (file, commands) in files.iter().zip(commands) {
        let action = file.action(recorded(handle, file).await?.as_deref(), wishes)?;
        let commands = if action == Applied::Granted { grants(commands) } else { commands };
        if action != Applied::AlreadyThere {
            let last = commands.len();
            for (position, command) in commands.into_iter().enumerate() {
                lock.renew().await?;
                run(handle, command).await.map_err(|e| at(file, position, &e))?;
            }
            let entry =
                doc! {"_id": &file.name, "digest": file.digest(), "applied_at": DateTime::now()};
            let entry = doc! {"q": {"_id": &file.name}, "u": entry, "upsert": true};
            let recorded = run(handle, doc! {"update": RECORD, "updates": [entry]}).await;
            recorded.map_err(|e| {
                at(file, last, &format!("the file was applied but could not be recorded: {e}"))
            })?;
        }
        report(file, action);
    }
    Ok(())
}

/// The commands that give rights, or make the role that gets them.
fn grants(commands: Vec<Document>) -> Vec<Document> {
    let is_grant = |name: &String| {
        matches!(
            name.as_str(),
            "createRole" | "updateRole" | "grantRolesToRole" | "grantPrivilegesToRole"
        )
    };
    commands.into_iter().filter(|command| command.keys().next().is_some_and(is_grant)).collect()
}

/// Keeps two runs from applying one file.
struct Lock<'d> {
    handle: &'d Database,
    holder: String,
}

impl<'d> Lock<'d> {
    async fn take(handle: &'d Database) -> Result<Self> {
        let lock = Self { handle, holder: uuid::Uuid::new_v4().simple().to_string() };
        let begun = std::time::Instant::now();
        while !lock.is_held().await? {
            if begun.elapsed() > LOCK_PATIENCE {
                return Err(busy(handle.name()));
            }
            tokio::time::sleep(ASK_AGAIN).await;
        }
        Ok(lock)
    }

    async fn renew(&self) -> Result<()> {
        if self.is_held().await? { Ok(()) } else { Err(busy(self.handle.name())) }
    }

    /// Takes the lock where it is free, run out or held by this run.
    async fn is_held(&self) -> Result<bool> {
        let now = DateTime::now();
        let until = DateTime::from_millis(
            now.timestamp_millis() + i64::try_from(LOCKED_FOR.as_millis()).unwrap_or(0),
        );
        let free = doc! {"_id": LOCK, "$or": [{"holder": &self.holder}, {"until": {"$lt": now}}]};
        let held = doc! {"$set": {"holder": &self.holder, "until": until}};
        let command = doc! {"update": RECORD, "updates": [{"q": free, "u": held, "upsert": true}]};
        match self.handle.run_command(command).await {
            // Another run has it: with that `_id` there is one document.
            Ok(reply) => Ok(!reply.contains_key("writeErrors")),
            Err(error) if super::error::code(&error) == Some(11000) => Ok(false),
            Err(error) => Err(failed("the lock on the schema cannot be had", &error)),
        }
    }

    async fn release(&self) {
        let mine = doc! {"_id": LOCK, "holder": &self.holder};
        let command = doc! {"delete": RECORD, "deletes": [{"q": mine, "limit": 1}]};
        if let Err(error) = self.handle.run_command(command).await {
            tracing::debug!(%error, "The lock on the schema was not given back; it runs out.");
        }
    }
}

async fn recorded(handle: &Database, file: &File) -> Result<Option<String>> {
    let entry = handle.collection::<Document>(RECORD).find_one(doc! {"_id": &file.name}).await;
    let entry = entry.map_err(|e| failed("cannot read the list of applied files", &e))?;
    Ok(entry.and_then(|entry| entry.get_str("digest").ok().map(str::to_owned)))
}

/// A file is an array of commands in Extended JSON.
fn commands(file: &File) -> Result<Vec<Document>> {
    let wrong = |text: String| {
        BedsError::new(ErrorKind::MalformedBody, format!("{}: {text}", file.path.display()))
    };
    let json: serde_json::Value =
        serde_json::from_str(&file.text).map_err(|e| wrong(format!("not JSON: {e}")))?;
    let bson = Bson::try_from(json).map_err(|e| wrong(format!("not Extended JSON: {e}")))?;
    let Bson::Array(items) = bson else {
        return Err(wrong("the file must be an array of commands".to_owned()));
    };
    items
        .into_iter()
        .map(|item| match item {
            Bson::Document(command) => Ok(command),
            other => Err(wrong(format!("{other} is not a command"))),
        })
        .collect()
}

/// Runs one command. A thing that exists already, as the command says, is success, so that a file can be applied again; and so is an index
/// to be dropped that is not there.
async fn run(handle: &Database, mut command: Document) -> Result<(), String> {
    const NAMESPACE_EXISTS: i32 = 48;
    const ROLE_EXISTS: i32 = 51002;
    const INDEX_NOT_FOUND: i32 = 27;
    fill_database(&mut command, handle.name());
    match handle.run_command(command.clone()).await {
        Ok(reply) => match reply.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            Some(Bson::Document(error)) => {
                Err(error.get_str("errmsg").unwrap_or("a write failed").to_owned())
            }
            Some(error) => Err(error.to_string()),
            None => Ok(()),
        },
        Err(error) if super::error::code(&error) == Some(ROLE_EXISTS) => Ok(()),
        Err(error)
            if super::error::code(&error) == Some(INDEX_NOT_FOUND)
                && command.contains_key("dropIndexes") =>
        {
            Ok(())
        }
        Err(error) if super::error::code(&error) == Some(NAMESPACE_EXISTS) => {
            same(handle, &command).await
        }
        Err(error) => Err(server_text(&error)),
    }
}

/// Compares the options of a `create` with the collection of that name.
async fn same(handle: &Database, create: &Document) -> Result<(), String> {
    let name = create.get_str("create").unwrap_or_default();
    let command = doc! {"listCollections": 1, "filter": {"name": name}};
    let reply = handle.run_command(command).await.map_err(|e| server_text(&e))?;
    let batch = reply.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let there = batch.ok().and_then(|batch| batch.first()).and_then(Bson::as_document);
    let there =
        there.and_then(|there| there.get_document("options").ok()).cloned().unwrap_or_default();
    let differs = |(key, wanted): (&String, &Bson)| {
        key != "create"
            && !there.get(key).is_some_and(|is| is == wanted || is_same_number(is, wanted))
    };
    // A view is its pipeline: one that has more than is asked for shows less.
    let is_view = |options: &Document| options.contains_key("viewOn");
    match create.iter().find(|pair| differs(*pair)).map(|(key, _)| key.as_str()) {
        None if is_view(create) == is_view(&there) => Ok(()),
        key => {
            let what = key.map_or_else(String::new, |key| format!(" ({key})"));
            Err(format!(
                "{name} exists with other options{what}; change it with collMod, or drop it first"
            ))
        }
    }
}

fn is_same_number(one: &Bson, other: &Bson) -> bool {
    let number = |value: &Bson| match value {
        Bson::Int32(n) => Some(f64::from(*n)),
        Bson::Int64(n) => Some(*n as f64),
        Bson::Double(n) => Some(*n),
        Bson::Boolean(flag) => Some(f64::from(u8::from(*flag))),
        _ => None,
    };
    number(one).is_some_and(|one| number(other) == Some(one))
}

/// The server's own words, without the bytes of its answer.
fn server_text(error: &mongodb::error::Error) -> String {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::Command(command) => {
            format!("error {}: {}", command.code, command.message)
        }
        _ => error.to_string(),
    }
}

/// A privilege that names no database is one on this database, under its name here: a role of a database has no others.
fn fill_database(command: &mut Document, database: &str) {
    let Ok(privileges) = command.get_array_mut("privileges") else { return };
    for resource in
        privileges.iter_mut().filter_map(|p| p.as_document_mut()?.get_document_mut("resource").ok())
    {
        if !resource.contains_key("db") && resource.contains_key("collection") {
            resource.insert("db", database);
        }
    }
}

/// The DBA sees the server's own words about the DBA's own file.
fn at(file: &File, position: usize, text: &str) -> BedsError {
    BedsError::new(
        ErrorKind::Internal,
        format!("{}: command {}: {text}", file.path.display(), position + 1),
    )
}

fn failed(text: &str, error: &mongodb::error::Error) -> BedsError {
    BedsError::new(ErrorKind::Internal, format!("{text}: {}", server_text(error)))
}
