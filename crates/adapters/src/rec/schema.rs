//! Applies a DBA's files of MongoDB commands with the DBA's own login. The commands are the DBA's.

use beds_core::{BedsError, ErrorKind, Result, config};
use bson::{Bson, DateTime, Document, doc};
use mongodb::options::ClientOptions;
use mongodb::{Client, Database};

use crate::schema::{Applied, File};

const RECORD: &str = "beds_schema";

/// Applies the files that were not applied yet, in order; each is recorded once all of its commands succeeded.
pub(crate) async fn apply(
    config: &config::Database,
    name: &str,
    files: &[File],
    redo: bool,
    mut report: impl FnMut(&File, Applied),
) -> Result<()> {
    let options = ClientOptions::parse(config.url.expose()).await.map_err(|e| failed("the url cannot be used", &e))?;
    let database = options.default_database.clone().unwrap_or_else(|| name.to_owned());
    let handle = Client::with_options(options).map_err(|e| failed("the url cannot be used", &e))?.database(&database);
    for file in files {
        let action = file.action(recorded(&handle, file).await?.as_deref(), redo)?;
        if action != Applied::AlreadyThere {
            for (position, command) in commands(file)?.into_iter().enumerate() {
                run(&handle, command).await.map_err(|e| at(file, position, &e))?;
            }
            let entry = doc! {"_id": &file.name, "digest": file.digest(), "applied_at": DateTime::now()};
            let entry = doc! {"q": {"_id": &file.name}, "u": entry, "upsert": true};
            run(&handle, doc! {"update": RECORD, "updates": [entry]}).await.map_err(|e| {
                BedsError::new(ErrorKind::Internal, format!("the file was applied but could not be recorded: {e}"))
            })?;
        }
        report(file, action);
    }
    Ok(())
}

async fn recorded(handle: &Database, file: &File) -> Result<Option<String>> {
    let entry = handle.collection::<Document>(RECORD).find_one(doc! {"_id": &file.name}).await;
    let entry = entry.map_err(|e| failed("cannot read what was applied", &e))?;
    Ok(entry.and_then(|entry| entry.get_str("digest").ok().map(str::to_owned)))
}

/// A file is an array of commands in Extended JSON.
fn commands(file: &File) -> Result<Vec<Document>> {
    let wrong = |text: String| BedsError::new(ErrorKind::MalformedBody, format!("{}: {text}", file.path.display()));
    let json: serde_json::Value = serde_json::from_str(&file.text).map_err(|e| wrong(format!("not JSON: {e}")))?;
    let bson = Bson::try_from(json).map_err(|e| wrong(format!("not Extended JSON: {e}")))?;
    let Bson::Array(items) = bson else { return Err(wrong("the file must be an array of commands".to_owned())) };
    items
        .into_iter()
        .map(|item| match item {
            Bson::Document(command) => Ok(command),
            other => Err(wrong(format!("{other} is not a command"))),
        })
        .collect()
}

/// Runs one command. "Exists already" is success, so that a file can be applied again.
async fn run(handle: &Database, mut command: Document) -> Result<(), String> {
    const NAMESPACE_EXISTS: i32 = 48;
    const ROLE_EXISTS: i32 = 51002;
    fill_database(&mut command, handle.name());
    match handle.run_command(command).await {
        Ok(reply) => match reply.get_array("writeErrors").ok().and_then(|errors| errors.first()) {
            Some(error) => Err(error.to_string()),
            None => Ok(()),
        },
        Err(error) if matches!(super::error::code(&error), Some(NAMESPACE_EXISTS | ROLE_EXISTS)) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// A privilege that names no database is one on this database, whatever its name is here: a role of a database has no others.
fn fill_database(command: &mut Document, database: &str) {
    let Ok(privileges) = command.get_array_mut("privileges") else { return };
    for resource in privileges.iter_mut().filter_map(|p| p.as_document_mut()?.get_document_mut("resource").ok()) {
        if !resource.contains_key("db") && resource.contains_key("collection") {
            resource.insert("db", database);
        }
    }
}

/// The DBA sees the server's own words about the DBA's own file.
fn at(file: &File, position: usize, text: &str) -> BedsError {
    BedsError::new(ErrorKind::Internal, format!("{}: command {}: {text}", file.path.display(), position + 1))
}

fn failed(text: &str, error: &mongodb::error::Error) -> BedsError {
    BedsError::new(ErrorKind::Internal, format!("{text}: {error}"))
}
