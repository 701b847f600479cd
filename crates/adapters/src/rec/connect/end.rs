//! [`GivenUp`]: ends reads without a waiting caller. MongoDB goes on with them until their `maxTimeMS`, so each carries a
//! comment of its own, and by that its operation is found and ended. A login may end its own operations without a right.
//!
//! Not here: the decision that a read is given up (broker/src/pool/worker.rs).

use std::sync::Arc;

use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::Client;
use mongodb::options::{ReadConcern, ReadPreference, SelectionCriteria};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::ended::{ToEnd, until_ended};
use crate::rec::error;

/// How many ends are worked on at a time, each with a connection.
pub(in crate::rec) const AT_A_TIME: usize = 2;
/// Ends reads of one database. Cheap to clone.
#[derive(Clone)]
pub(in crate::rec) struct Ender {
    client: Client,
    places: Arc<Semaphore>,
    tasks: TaskTracker,
}

/// A read that is ended in the server if this is dropped before `done` is cancelled.
pub(in crate::rec) struct GivenUp {
    ender: Ender,
    comment: String,
    done: CancellationToken,
}

/// The operation with a comment.
struct Call<'e> {
    ender: &'e Ender,
    comment: &'e str,
    /// This node's own work on it has ended, so it has ended in the server too.
    done: &'e CancellationToken,
}

impl ToEnd for Call<'_> {
    async fn end_once(&self, _: u32) -> Result<bool, String> {
        if !self.done.is_cancelled() {
            // It may not have begun there yet.
            self.ender
                .once(Bson::from(self.comment))
                .await
                .map_err(|error| error::kind(&error).code().to_owned())?;
        }
        Ok(!self.done.is_cancelled())
    }
}

/// Operations by their comments, whichever process has begun them.
struct Commented<'e> {
    ender: &'e Ender,
    /// A text, or a condition.
    comment: Bson,
}

impl ToEnd for Commented<'_> {
    async fn end_once(&self, _: u32) -> Result<bool, String> {
        self.ender
            .once(self.comment.clone())
            .await
            .map_err(|error| error::kind(&error).code().to_owned())
    }
}

impl Ender {
    pub(in crate::rec) fn new(client: &Client, tasks: &TaskTracker) -> Self {
        Self {
            client: client.clone(),
            places: Arc::new(Semaphore::new(AT_A_TIME)),
            tasks: tasks.clone(),
        }
    }

    /// Gives a command its comment, behind the DBA's own if there is one. `done` says when its work has ended.
    pub(in crate::rec) fn watch(&self, command: &mut Document, done: CancellationToken) -> GivenUp {
        let own = command.get_str("comment").map(|own| format!("{own} ")).unwrap_or_default();
        let comment = format!("{own}beds:{}", uuid::Uuid::new_v4().simple());
        command.insert("comment", &comment);
        GivenUp { ender: self.clone(), comment, done }
    }

    async fn end(self, comment: String, done: CancellationToken) {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.ok();
        until_ended(&Call { ender: &self, comment: &comment, done: &done }).await;
    }

    /// Ends operations by their comments, which may be of other processes, and waits until they have ended. False where they did not.
    pub(in crate::rec) async fn end_commented(&self, comment: Bson) -> bool {
        // The semaphore is never closed.
        let _place = self.places.acquire().await.ok();
        until_ended(&Commented { ender: self, comment }).await
    }

    /// Looks for the operation, and ends it. True where there was one.
    async fn once(&self, comment: Bson) -> mongodb::error::Result<bool> {
        let admin = self.client.database("admin");
        let of_the_read = doc! {"$or": [{"command.comment": comment.clone()}, {"cursor.originatingCommand.comment": comment}]};
        let look = [
            doc! {"$currentOp": {"allUsers": false}},
            doc! {"$match": of_the_read},
            doc! {"$project": {"opid": 1}},
        ];
        // Both go to the primary, as the read did. The look knows no other read concern.
        let primary = SelectionCriteria::ReadPreference(ReadPreference::Primary);
        let mut found = admin
            .aggregate(look)
            .read_concern(ReadConcern::local())
            .selection_criteria(primary.clone())
            .await?;
        let mut was_there = false;
        while let Some(operation) = found.try_next().await? {
            was_there = true;
            if let Some(id @ (Bson::Int32(_) | Bson::Int64(_) | Bson::String(_))) =
                operation.get("opid")
            {
                admin
                    .run_command(doc! {"killOp": 1, "op": id.clone()})
                    .selection_criteria(primary.clone())
                    .await?;
            }
        }
        Ok(was_there)
    }
}

impl Drop for GivenUp {
    fn drop(&mut self) {
        if !self.done.is_cancelled() {
            let (ender, comment, done) =
                (self.ender.clone(), std::mem::take(&mut self.comment), self.done.clone());
            self.ender.tasks.spawn(ender.end(comment, done));
        }
    }
}
