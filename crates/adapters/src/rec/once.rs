//! A write takes effect once per key: the key is claimed in the write's own transaction, and the answer is stored
//! beside it. A repeat gets the stored answer. `rel/once.rs` does the same in MariaDB.
//!
//! Not here: the operation itself, which is `call`'s.

use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::{Answer, Stored};
use beds_core::{BedsError, ErrorKind, Event, Result};
use bson::{DateTime, Document, doc};
use fail::fail_point;
use mongodb::{Client, ClientSession, Database as Handle};

use super::bind::Binding;
use super::call::{self, Failure};
use super::command::Arguments;
use super::connect::Database;
use super::error;
use crate::inbox;

const INBOX: &str = "beds_inbox";

/// How often a write is tried when other writes or a lost connection are in the way.
const ATTEMPTS: u32 = 4;

/// How long the inbox may take to show an answer that a majority has.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// The end of one attempt that gave no answer.
enum Miss {
    /// Final: this attempt had no effect, and none before it had one, because the key was free.
    Refused(BedsError),
    /// Final, and without effect itself: the inbox did not tell the end of the attempts before it.
    Unasked(BedsError),
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
            Miss::Refused(error) | Miss::Unasked(error) => Some(error.code()),
            Miss::Again(failure) => Some(failure.code()),
            Miss::Unknown(_) => Some(ErrorKind::OutcomeUnknown.code()),
            Miss::Done => None,
        }
    }
}

/// Everything that one attempt needs, owned, because it runs as a task of its own.
struct Attempt {
    inbox: Inbox,
    binding: Arc<Binding>,
    arguments: Arguments,
    event: Arc<Event>,
}

/// The key of a write, and where it is claimed.
#[derive(Clone)]
struct Inbox {
    client: Client,
    handle: Handle,
    key: String,
    fingerprint: String,
}

/// Asks the inbox whether a write with this event's key took effect, and changes nothing: none where it did not.
///
/// # Errors
/// [`ErrorKind::KeyInFlight`] while it may still do so.
pub(super) async fn recall(database: &Database, event: &Event) -> Result<Option<Answer>> {
    let inbox = Inbox::of(database, event);
    let asking = inbox.clone();
    match database.run(async move { asking.ask().await }).await? {
        Ok(()) => {
            event.steps.note_asked_inbox();
            Ok(None)
        }
        Err(Miss::Done) => match database.run(async move { inbox.stored().await }).await? {
            Ok(stored) => Ok(Some(repeated(stored?, event))),
            Err(failure) => Err(failure.into_beds(database)),
        },
        Err(Miss::Refused(error) | Miss::Unasked(error)) => Err(error),
        Err(Miss::Again(failure)) => Err(failure.into_beds(database)),
        Err(Miss::Unknown(error)) => Err(error::to_beds(error, database)),
    }
}

/// The answer of an event that wrote before. A redelivered event can find its own.
fn repeated(stored: Stored, event: &Event) -> Answer {
    event.steps.note_repeat(stored.event_id.clone());
    let repeat_of = Some(stored.event_id).filter(|first| *first != event.event_id);
    Answer { repeat_of, ..stored.answer }
}

/// Writes once. The error kinds say how certain the end of this event is: only [`ErrorKind::OutcomeUnknown`] may have had an
/// effect.
pub(super) async fn write(
    database: &Database,
    binding: &Arc<Binding>,
    arguments: Arguments,
    event: &Arc<Event>,
) -> Result<Answer> {
    let attempt = Arc::new(Attempt {
        inbox: Inbox::of(database, event),
        binding: Arc::clone(binding),
        arguments,
        event: Arc::clone(event),
    });
    let mut may_have_happened = false;
    for number in 1.. {
        let this = Arc::clone(&attempt);
        let step = event.steps.begin(&binding.form.object);
        let unknown_if = |error| if may_have_happened { inbox::outcome_unknown(error) } else { error };
        let outcome = database.run(async move { this.once().await }).await.map_err(unknown_if)?;
        // The transaction that an attempt before lost may still hold the key: that is not another request.
        let outcome = match outcome {
            Err(Miss::Unasked(error)) if number > 1 && error.kind == ErrorKind::KeyInFlight => {
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
            Err(Miss::Unasked(error)) => return Err(unknown_if(error)),
            Err(Miss::Done) => {
                let this = Arc::clone(&attempt);
                match database.run(async move { this.inbox.stored().await }).await.map_err(inbox::outcome_unknown)? {
                    Ok(stored) => return stored.map(|stored| repeated(stored, event)),
                    Err(failure) => failure,
                }
            }
            Err(Miss::Unknown(error)) => {
                may_have_happened = true;
                Failure::Driver(error)
            }
            Err(Miss::Again(failure)) => failure,
        };
        let is_unreachable = matches!(&failure, Failure::Driver(error) if error::is_unreachable(error));
        if number >= ATTEMPTS || is_unreachable {
            let error = failure.into_beds(database);
            return Err(if may_have_happened { inbox::outcome_unknown(error) } else { error });
        }
        tokio::time::sleep(Duration::from_millis(10 << number)).await;
    }
    unreachable!("the loop returns at its last attempt")
}

impl Inbox {
    fn of(database: &Database, event: &Event) -> Self {
        Self {
            client: database.client.clone(),
            handle: database.handle.clone(),
            key: event.inbox_key(),
            fingerprint: event.fingerprint(),
        }
    }

    /// Opens a transaction and claims the key in it. The transaction is to be ended, also where the claim is refused.
    async fn claim(&self) -> (Option<ClientSession>, Result<(), Miss>) {
        let again = |e: mongodb::error::Error| Miss::Again(Failure::Driver(e));
        let mut session = match self.client.start_session().await {
            Ok(session) => session,
            Err(e) => return (None, Err(again(e))),
        };
        if let Err(e) = session.start_transaction().await {
            return (None, Err(again(e)));
        }
        let claim = doc! {"_id": &self.key, "fingerprint": &self.fingerprint, "at": DateTime::now()};
        let claim = doc! {"insert": INBOX, "documents": [claim]};
        let claimed = match self.handle.run_command(claim).session(&mut session).await {
            Ok(reply) if reply.contains_key("writeErrors") => Err(Miss::Done),
            Ok(_) => Ok(()),
            Err(e) if error::code(&e) == Some(11000) => Err(Miss::Done),
            // Another transaction holds the key and has not committed yet.
            Err(e) if error::code(&e) == Some(112) => {
                Err(Miss::Unasked(inbox::in_flight().with_source(error::for_the_log(&e))))
            }
            Err(e) => Err(match classify(Failure::Driver(e)) {
                Miss::Refused(error) => Miss::Unasked(error),
                miss => miss,
            }),
        };
        (Some(session), claimed)
    }

    /// Claims the key and gives it back.
    async fn ask(&self) -> Result<(), Miss> {
        let (session, claimed) = self.claim().await;
        if let Some(mut session) = session {
            abort(&mut session).await;
        }
        claimed
    }

    /// The answer that was committed with the key. One that is not there at a majority may yet be rolled back.
    async fn stored(&self) -> Result<Result<Stored>, Failure> {
        let command = doc! {
            "find": INBOX, "filter": {"_id": &self.key}, "limit": 1, "singleBatch": true,
            "readConcern": {"level": "majority"}, "maxTimeMS": i64::try_from(ASK_PATIENCE.as_millis()).unwrap_or(i64::MAX),
        };
        let reply = self.handle.run_command(command).await?;
        let found: Option<&Document> = reply
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"))
            .ok()
            .and_then(|batch| batch.first())
            .and_then(bson::Bson::as_document);
        let Some(found) = found else {
            // The key is claimed and not yet safe, or its time to live ended between the two looks.
            let text = "the key was claimed a moment ago, and its end is not certain yet";
            return Ok(Err(inbox::outcome_unknown(BedsError::new(ErrorKind::Unavailable, text))));
        };
        if found.get_str("fingerprint").ok() != Some(self.fingerprint.as_str()) {
            return Ok(Err(inbox::key_reused()));
        }
        let stored = found.get_str("reply").ok().and_then(Stored::read);
        Ok(stored.ok_or_else(|| BedsError::new(ErrorKind::Internal, "the inbox could not be read")))
    }
}

async fn abort(session: &mut ClientSession) {
    if let Err(error) = session.abort_transaction().await {
        tracing::debug!(%error, "A transaction could not be rolled back; the server will end it.");
    }
}

impl Attempt {
    async fn once(&self) -> Result<Answer, Miss> {
        let (session, claimed) = self.inbox.claim().await;
        let Some(mut session) = session else {
            return Err(claimed.err().unwrap_or(Miss::Done));
        };
        let outcome = match claimed {
            Ok(()) => {
                self.event.steps.note_asked_inbox();
                self.work(&mut session).await
            }
            Err(miss) => Err(miss),
        };
        let answer = match outcome {
            Ok(answer) => answer,
            Err(miss) => {
                abort(&mut session).await;
                return Err(miss);
            }
        };
        fail_point!("uncommitted", |_| std::process::abort());
        match session.commit_transaction().await {
            Ok(()) => Ok(answer),
            Err(e) if error::is_commit_unknown(&e) => Err(Miss::Unknown(e)),
            Err(e) => Err(classify(Failure::Driver(e))),
        }
    }

    /// The write itself, and its answer beside the claim.
    async fn work(&self, session: &mut ClientSession) -> Result<Answer, Miss> {
        if self.event.time_to_work().is_zero() {
            // Handed out again, and nothing was done before.
            return Err(Miss::Refused(inbox::too_late()));
        }
        let handle = &self.inbox.handle;
        let answer =
            call::write(handle, session, &self.binding, &self.arguments, &self.event).await.map_err(classify)?;
        let reply = Stored::text(&self.event.event_id, &answer);
        let store =
            doc! {"update": INBOX, "updates": [{"q": {"_id": &self.inbox.key}, "u": {"$set": {"reply": reply}}}]};
        handle.run_command(store).session(&mut *session).await.map_err(|e| classify(Failure::Driver(e)))?;
        if self.event.time_to_work().is_zero() {
            return Err(Miss::Refused(inbox::too_late()));
        }
        Ok(answer)
    }
}

fn classify(failure: Failure) -> Miss {
    match failure {
        Failure::Driver(e) if error::is_transient(&e) || error::is_unable(&e) => Miss::Again(Failure::Driver(e)),
        Failure::Driver(e) => match error::code(&e) {
            Some(code) => Miss::Refused(error::of_code(code).with_source(error::for_the_log(&e))),
            None => Miss::Again(Failure::Driver(e)),
        },
        Failure::Beds(error) => Miss::Refused(error),
    }
}
