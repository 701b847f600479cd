//! What a MongoDB database offers: the named operations in `beds_objects`. Whether a template fits is `bind`'s to say.

use std::collections::BTreeMap;
use std::sync::Arc;

use beds_core::Result;
use bson::{Document, doc};
use futures_util::TryStreamExt;

use super::connect::Database;
use super::error;

/// The named operations of one database, by name.
pub(super) type Catalog = BTreeMap<String, Document>;

pub(super) async fn read(database: &Arc<Database>) -> Result<Catalog> {
    let handle = database.handle.clone();
    let documents: Result<Vec<Document>, _> = database
        .run(async move {
            let command = doc! {"find": "beds_objects", "batchSize": 1000};
            handle.run_cursor_command(command).await?.try_collect().await
        })
        .await?;
    let documents = documents.map_err(|e| error::to_beds(e, database))?;
    Ok(documents.into_iter().filter_map(|d| Some((d.get_str("_id").ok()?.to_owned(), d))).collect())
}
