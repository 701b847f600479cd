//! [`Feed`]: the changes of a MongoDB database that are committed and not published. They stand in the documents of the inbox, and a
//! change stream of that collection gives them in the order of their commits. `rel/changes.rs` does the same in MariaDB.
//!
//! Not here: how a change gets into the inbox, which is `once`'s; the one task that publishes (crate broker).

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use beds_core::change::Fed;
use beds_core::{Change, ChangeFeed, Result};
use bson::{Bson, Document, Timestamp, doc};
use mongodb::Database as Handle;
use mongodb::change_stream::ChangeStream;
use mongodb::change_stream::event::{ChangeStreamEvent, ResumeToken};

use super::connect::{Database, INBOX};
use super::error;
use crate::operations::unwritten;

/// The field of an inbox document in which the changes of its write stand.
pub(super) const CHANGES: &str = "changes";

/// The collection that keeps how far the stream was published, and the document in it.
const PLACES: &str = "beds_changes";
const PLACE: &str = "published";
/// Changes that are taken at once.
const MOST: usize = 500;
/// How long the server waits for a change.
const AWAITED: Duration = Duration::from_millis(200);
/// The place is kept so often while there are no changes: the oplog must still have it after a pause.
const KEPT_EACH: Duration = Duration::from_secs(30);
/// A database that was never published begins so long ago: a write can come before the first node that publishes.
const BEFORE_THE_FIRST: u32 = 60;

/// Codes of a place that the oplog does not have: `ChangeStreamHistoryLost`, `ChangeStreamFatalError`, `InvalidResumeToken`, `CappedPositionLost`.
const LOST: [i32; 4] = [286, 280, 260, 136];

type Stream = ChangeStream<ChangeStreamEvent<Document>>;

/// The changes of one database.
pub(crate) struct Feed {
    database: Arc<Database>,
    stream: Option<Stream>,
    /// Behind the changes that were given out.
    reached: Option<ResumeToken>,
    /// Whether changes were given out that are not done.
    has_given: bool,
    /// The oplog does not have the place that was kept.
    is_lost: bool,
    kept: Instant,
}

/// The begin of a stream.
enum Opened {
    At(Stream),
    /// The place that was kept is lost.
    Behind(Stream),
}

impl Feed {
    pub(crate) fn new(database: Arc<Database>) -> Self {
        Self {
            database,
            stream: None,
            reached: None,
            has_given: false,
            is_lost: false,
            kept: Instant::now(),
        }
    }

    /// Keeps the place up to which all is published.
    async fn keep(&mut self) -> Result<()> {
        let Some(token) = &self.reached else { return Ok(()) };
        let token = bson::serialize_to_bson(token).map_err(unwritten)?;
        let database = Arc::clone(&self.database);
        let handle = database.handle.clone();
        let place = doc! {"q": {"_id": PLACE}, "u": {"$set": {"token": token}}, "upsert": true};
        ask(&database, async move {
            handle.run_command(doc! {"update": PLACES, "updates": [place]}).await.map(drop)
        })
        .await?;
        self.kept = Instant::now();
        Ok(())
    }
}

#[async_trait]
impl ChangeFeed for Feed {
    async fn next(&mut self) -> Result<Fed> {
        if self.has_given {
            // They were not published: begins anew at the place that is kept.
            (self.stream, self.has_given) = (None, false);
        }
        let database = Arc::clone(&self.database);
        let stream = match self.stream.take() {
            Some(stream) => stream,
            None => match ask(&database, open(database.handle.clone(), self.is_lost)).await? {
                Opened::At(stream) => stream,
                Opened::Behind(stream) => {
                    self.reached = stream.resume_token();
                    (self.stream, self.has_given, self.is_lost) = (Some(stream), true, false);
                    return Ok(Fed::Gap);
                }
            },
        };
        let Some((stream, events)) = ask(&database, read(stream)).await? else {
            // The next stream begins behind the loss.
            self.is_lost = true;
            return Ok(Fed::Changes(Vec::new()));
        };
        self.reached = stream.resume_token().or_else(|| self.reached.take());
        self.stream = Some(stream);
        if events.is_empty() && self.kept.elapsed() >= KEPT_EACH {
            self.keep().await?;
        }
        self.has_given = !events.is_empty();
        Ok(Fed::Changes(events.iter().flat_map(|event| changes(event, &database.name)).collect()))
    }

    async fn done(&mut self) -> Result<()> {
        if self.has_given {
            self.keep().await?;
            self.has_given = false;
        }
        Ok(())
    }
}

/// Runs driver work. It borrows no [`Feed`], because a stream of the driver's is for one task alone.
async fn ask<T: Send + 'static>(
    database: &Arc<Database>,
    work: impl Future<Output = mongodb::error::Result<T>> + Send + 'static,
) -> Result<T> {
    database.check_there()?;
    let answered = database.run(work).await?;
    answered.map_err(|e| error::to_beds(e, database))
}

/// Opens the stream at the place that was kept, or from now on where the oplog does not have it any more.
async fn open(handle: Handle, is_lost: bool) -> mongodb::error::Result<Opened> {
    let find = doc! {"find": PLACES, "filter": {"_id": PLACE}, "limit": 1, "singleBatch": true};
    let found = handle.run_command(find).await?;
    let token = found
        .get_document("cursor")
        .and_then(|cursor| cursor.get_array("firstBatch"))
        .ok()
        .and_then(|batch| batch.first()?.as_document()?.get("token").cloned());
    let token = token.and_then(|token| bson::deserialize_from_bson::<ResumeToken>(token).ok());
    let collection = handle.collection::<Document>(INBOX);
    let watch = || {
        let noted = format!("updateDescription.updatedFields.{CHANGES}");
        let only = doc! {"$match": {"operationType": "update", noted: {"$exists": true}}};
        collection.watch().pipeline([only]).max_await_time(AWAITED)
    };
    let opened = match token {
        Some(_) if is_lost => return watch().await.map(Opened::Behind),
        Some(token) => watch().resume_after(token).await,
        None => {
            let hello = handle.run_command(doc! {"hello": 1}).await?;
            let now = hello.get_timestamp("operationTime").ok();
            let time = now.map_or(0, |now| now.time.saturating_sub(BEFORE_THE_FIRST));
            let begin = Timestamp { time, increment: 1 };
            match watch().start_at_operation_time(begin).await {
                // The oplog is younger than that, so no write is older either.
                Err(e) if is_loss(&e) => return watch().await.map(Opened::At),
                opened => opened,
            }
        }
    };
    match opened {
        Ok(stream) => Ok(Opened::At(stream)),
        Err(e) if is_loss(&e) => watch().await.map(Opened::Behind),
        Err(e) => Err(e),
    }
}

fn is_loss(error: &mongodb::error::Error) -> bool {
    error::code(error).is_some_and(|code| LOST.contains(&code))
}

/// The events that are there, at most so many as are taken at once. None where the place is lost, which can show at the first event.
async fn read(
    mut stream: Stream,
) -> mongodb::error::Result<Option<(Stream, Vec<ChangeStreamEvent<Document>>)>> {
    let mut events = Vec::new();
    while events.len() < MOST {
        match stream.next_if_any().await {
            Ok(Some(event)) => events.push(event),
            Ok(None) => break,
            Err(e) if is_loss(&e) => return Ok(None),
            Err(e) => return Err(e),
        }
    }
    Ok(Some((stream, events)))
}

/// The changes of one write, with their places in the order of the commits.
fn changes(event: &ChangeStreamEvent<Document>, database: &str) -> Vec<Change> {
    let updated = event.update_description.as_ref().map(|update| &update.updated_fields);
    let texts = updated.and_then(|fields| fields.get_array(CHANGES).ok());
    let read = |(number, text): (u64, &Bson)| {
        let change = text.as_str().and_then(|text| serde_json::from_str::<Change>(text).ok());
        if change.is_none() {
            tracing::error!(
                database,
                "A document of beds_inbox holds no change where one should be; it is left out."
            );
        }
        Some(Change { seq: place(event.cluster_time, number), ..change? })
    };
    (0..).zip(texts.into_iter().flatten()).filter_map(read).collect()
}

/// A number that rises with the commits, and that a double of JSON can hold: seconds, then the place in the second.
fn place(time: Option<Timestamp>, number: u64) -> u64 {
    let Some(Timestamp { time, increment }) = time else { return 0 };
    (u64::from(time) << 20) | (u64::from(increment) << 1 | number).min((1 << 20) - 1)
}

/// An error text where the login may not read the stream of changes, or keep its place.
pub(super) async fn refusal(database: &Arc<Database>) -> Result<Option<String>> {
    let opened = database.run(open(database.handle.clone(), false)).await?;
    match opened {
        Ok(_) => Ok(None),
        Err(e) if error::code(&e) == Some(13) => {
            let text = "the login may not open a change stream of beds_inbox, or read beds_changes";
            Ok(Some(text.to_owned()))
        }
        Err(e) => Err(error::to_beds(e, database)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_rise_with_the_commits_and_fit_into_a_double() {
        let at = |time, increment, number| place(Some(Timestamp { time, increment }), number);
        let places =
            [at(1, 1, 0), at(1, 1, 1), at(1, 2, 0), at(2, 1, 0), at(u32::MAX, u32::MAX, 1)];
        assert!(places.is_sorted() && places[4] < 1 << 53, "{places:?}");
    }
}
