//! A write takes effect once per key: the key is claimed in the write's own transaction, and the answer is stored
//! beside it. A repeat gets the stored answer. `rel/once.rs` does the same in MariaDB.

use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::{Answer, Stored};
use beds_core::{BedsError, ErrorKind, Event, Result};
use bson::{DateTime, Document, doc};
use fail::fail_point;
use mongodb::{Client, Database as Handle};

use super::bind::{Arguments, Binding};
use super::call::{self, Failure};
use super::connect::Database;
use super::error;
use crate::{inbox, operations};

const INBOX: &str = "beds_inbox";

/// How often a write is tried when other writes or a lost connection are in the way.
const ATTEMPTS: u32 = 4;

/// What one attempt came to, where it is not an answer.
enum Miss {
    /// Final: certainly without effect.
    Refused(BedsError),
    /// Without effect, and worth another attempt.
    Again(Failure),
    /// The commit was sent and its answer did not come.
    Unknown(mongodb::error::Error),
    /// The key was committed before: its answer is to be read.
    Done,
}

impl Miss {
    /// The stable code, for the lineage; none where the write was done before.
    fn code(&self) -> Option<&'static str> {
        match self {
            Miss::Refused(error) => Some(error.code()),
            Miss::Again(failure) => Some(failure.code()),
            Miss::Unknown(_) => Some(ErrorKind::OutcomeUnknown.code()),
            Miss::Done => None,
        }
    }
}

/// Everything that one attempt needs, owned, because it runs as a task of its own.
struct Attempt {
    client: Client,
    handle: Handle,
    binding: Arc<Binding>,
    arguments: Arguments,
    event: Arc<Event>,
    key: String,
    fingerprint: String,
}

/// Writes once. The error kinds say what is certain: only [`ErrorKind::OutcomeUnknown`] may have had an effect.
pub(super) async fn write(
    database: &Database,
    binding: &Arc<Binding>,
    arguments: Arguments,
    event: &Arc<Event>,
) -> Result<Answer> {
    let attempt = Arc::new(Attempt {
        client: database.client.clone(),
        handle: database.handle.clone(),
        binding: Arc::clone(binding),
        arguments,
        event: Arc::clone(event),
        key: event.inbox_key(),
        fingerprint: event.fingerprint(),
    });
    let mut may_have_happened = false;
    for number in 1.. {
        let this = Arc::clone(&attempt);
        let step = event.steps.begin(&binding.object);
        let unknown_if = |error| if may_have_happened { inbox::outcome_unknown(error) } else { error };
        let outcome = database.run(async move { this.once().await }).await.map_err(unknown_if)?;
        // The transaction that an attempt before lost may still hold the key: that is not somebody else's request.
        let outcome = match outcome {
            Err(Miss::Refused(error)) if number > 1 && error.kind == ErrorKind::KeyInFlight => {
                Err(Miss::Again(Failure::Beds(error)))
            }
            outcome => outcome,
        };
        match &outcome {
            // Nothing was called.
            Err(Miss::Done) => step.forget(),
            outcome => step.end(outcome.as_ref().err().and_then(Miss::code)),
        }
        let failure = match outcome {
            Ok(answer) => return Ok(answer),
            Err(Miss::Refused(error)) => return Err(error),
            Err(Miss::Done) => {
                let this = Arc::clone(&attempt);
                match database.run(async move { this.stored().await }).await.map_err(inbox::outcome_unknown)? {
                    Ok(stored) => {
                        let stored = stored?;
                        event.steps.note_repeat(stored.event_id);
                        return Ok(stored.answer);
                    }
                    Err(failure) => failure,
                }
            }
            Err(Miss::Unknown(error)) => {
                may_have_happened = true;
                Failure::Driver(error)
            }
            Err(Miss::Again(failure)) => failure,
        };
        if number >= ATTEMPTS {
            let error = failure.into_beds(database);
            return Err(if may_have_happened { inbox::outcome_unknown(error) } else { error });
        }
        tokio::time::sleep(Duration::from_millis(10 << number)).await;
    }
    unreachable!("the loop returns at its last attempt")
}

impl Attempt {
    async fn once(&self) -> Result<Answer, Miss> {
        let again = |e: mongodb::error::Error| Miss::Again(Failure::Driver(e));
        let mut session = self.client.start_session().await.map_err(again)?;
        session.start_transaction().await.map_err(again)?;
        let claim = doc! {"_id": &self.key, "fingerprint": &self.fingerprint, "at": DateTime::now()};
        let claim = doc! {"insert": INBOX, "documents": [claim]};
        let outcome = match self.handle.run_command(claim).session(&mut session).await {
            Ok(reply) if reply.contains_key("writeErrors") => Err(Miss::Done),
            Ok(_) => self.work(&mut session).await,
            Err(e) if error::code(&e) == Some(11000) => Err(Miss::Done),
            // Another transaction holds the key and has not committed yet.
            Err(e) if error::code(&e) == Some(112) => Err(Miss::Refused(inbox::in_flight().with_source(e))),
            Err(e) => Err(self.classify(Failure::Driver(e))),
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(miss) => {
                if let Err(error) = session.abort_transaction().await {
                    tracing::debug!(%error, "A transaction could not be rolled back; the server will end it.");
                }
                return Err(miss);
            }
        };
        fail_point!("uncommitted", |_| std::process::abort());
        match session.commit_transaction().await {
            Ok(()) => Ok(answer),
            Err(e) if error::is_commit_unknown(&e) => Err(Miss::Unknown(e)),
            Err(e) => Err(self.classify(Failure::Driver(e))),
        }
    }

    /// The write itself, and its answer beside the claim.
    async fn work(&self, session: &mut mongodb::ClientSession) -> Result<Answer, Miss> {
        if self.event.remaining().is_zero() {
            // Handed out again, and nothing was done before.
            return Err(Miss::Refused(inbox::too_late()));
        }
        let answer = match call::write(&self.handle, session, &self.binding, &self.arguments, &self.event).await {
            Ok(answer) => operations::touched(answer, self.event.operation).map_err(Miss::Refused)?,
            Err(failure) => return Err(self.classify(failure)),
        };
        let reply = Stored::text(&self.event.event_id, &answer);
        let store = doc! {"update": INBOX, "updates": [{"q": {"_id": &self.key}, "u": {"$set": {"reply": reply}}}]};
        self.handle.run_command(store).session(&mut *session).await.map_err(|e| self.classify(Failure::Driver(e)))?;
        if self.event.remaining().is_zero() {
            return Err(Miss::Refused(inbox::too_late()));
        }
        Ok(answer)
    }

    /// The answer that was committed with the key.
    async fn stored(&self) -> Result<Result<Stored>, Failure> {
        let command = doc! {"find": INBOX, "filter": {"_id": &self.key}, "limit": 1, "singleBatch": true};
        let reply = self.handle.run_command(command).await?;
        let found: Option<&Document> = reply
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"))
            .ok()
            .and_then(|batch| batch.first())
            .and_then(bson::Bson::as_document);
        let Some(found) = found else {
            // Its time to live ended between the two looks.
            return Ok(Err(BedsError::new(
                ErrorKind::Unavailable,
                "the stored answer is gone; send the request again",
            )));
        };
        if found.get_str("fingerprint").ok() != Some(self.fingerprint.as_str()) {
            return Ok(Err(inbox::key_reused()));
        }
        let stored = found.get_str("reply").ok().and_then(Stored::read);
        Ok(stored.ok_or_else(|| BedsError::new(ErrorKind::Internal, "the inbox could not be read")))
    }

    fn classify(&self, failure: Failure) -> Miss {
        match failure {
            Failure::Driver(e) if error::is_transient(&e) || error::is_connection_lost(&e) => {
                Miss::Again(Failure::Driver(e))
            }
            Failure::Driver(e) => match error::code(&e) {
                Some(code) => Miss::Refused(error::of_code(code).with_source(error::for_the_log(&e))),
                None => Miss::Again(Failure::Driver(e)),
            },
            Failure::Beds(error) => Miss::Refused(error),
        }
    }
}
