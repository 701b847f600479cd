//! The offer of a MongoDB database: the named operations in `beds_objects`.
//!
//! Not here: whether a template fits, which is `bind`'s.

use std::collections::BTreeMap;
use std::sync::Arc;

use beds_core::Result;
use beds_core::digest::hex;
use bson::{Document, doc};
use futures_util::TryStreamExt;
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use super::connect::Database;
use super::error;
use crate::operations;

/// The named operations of one database, by name.
pub(super) type Catalog = BTreeMap<String, Document>;

/// Facts that the server tells of itself and of the inbox.
#[derive(Debug, Default)]
pub(super) struct Server {
    /// How far its clock is ahead of this node's, in seconds.
    pub(super) clock_ahead: Option<f64>,
    /// After how many seconds the inbox forgets a key; none where no index says so or the login may not see it.
    pub(super) inbox_seconds: Option<i64>,
    /// True where the indexes could be read.
    pub(super) is_inbox_seen: bool,
    /// How long a transaction may live, where the login may ask.
    pub(super) transaction_seconds: Option<i64>,
}

pub(super) async fn read(database: &Arc<Database>) -> Result<Catalog> {
    let handle = database.handle.clone();
    let documents: Result<Vec<Document>, _> = database
        .run(async move {
            let command = doc! {"find": "beds_objects", "sort": {"_id": 1}, "batchSize": 1000};
            handle.run_cursor_command(command).await?.try_collect().await
        })
        .await?;
    let documents = documents.map_err(|e| error::to_beds(e, database))?;
    Ok(documents.into_iter().filter_map(|d| Some((d.get_str("_id").ok()?.to_owned(), d))).collect())
}

/// A text that changes whenever the catalog does.
pub(super) async fn version(database: &Arc<Database>) -> Result<Option<String>> {
    let mut hash = Sha256::new();
    for document in read(database).await?.values() {
        hash.update(document.to_vec().map_err(operations::unwritten)?);
    }
    Ok(Some(hex(&hash.finalize())))
}

/// As much as the login may ask for. More than that is left out.
pub(super) async fn server(database: &Arc<Database>) -> Result<Server> {
    let (handle, client) = (database.handle.clone(), database.client.clone());
    database
        .run(async move {
            let mut server = Server::default();
            if let Ok(hello) = handle.run_command(doc! {"hello": 1}).await
                && let Ok(time) = hello.get_datetime("localTime")
                && let Ok(time) = Timestamp::from_millisecond(time.timestamp_millis())
            {
                server.clock_ahead = Some(time.duration_since(Timestamp::now()).as_secs_f64());
            }
            if let Ok(cursor) = handle.run_cursor_command(doc! {"listIndexes": "beds_inbox"}).await
                && let Ok(indexes) = cursor.try_collect::<Vec<Document>>().await
            {
                server.is_inbox_seen = true;
                let seconds = |index: &Document| {
                    index.get("expireAfterSeconds").and_then(super::convert::whole)
                };
                server.inbox_seconds = indexes.iter().find_map(seconds);
            }
            let asked = doc! {"getParameter": 1, "transactionLifetimeLimitSeconds": 1};
            if let Ok(reply) = client.database("admin").run_command(asked).await {
                server.transaction_seconds =
                    reply.get("transactionLifetimeLimitSeconds").and_then(super::convert::whole);
            }
            server
        })
        .await
}
