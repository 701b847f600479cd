//! A write takes effect once per key: the key is claimed in the write's own transaction, and the answer is stored
//! beside it. A repeat gets the stored answer. `rel/once.rs` does the same in MariaDB.
//!
//! Not here: the operation itself (call.rs), the loop of attempts (../attempts.rs).

use std::sync::Arc;
use std::time::Duration;

use beds_core::reply::{Answer, Stored};
use beds_core::template::changes::changes_of;
use beds_core::{Attempt, BedsError, ErrorKind, Event, Result, Template};
use bson::{DateTime, Document, doc};
use fail::fail_point;
use mongodb::{Client, ClientSession, Database as Handle};

use super::bind::Binding;
use super::call::{self, Failure};
use super::changes::CHANGES;
use super::command::Arguments;
use super::connect::{Database, INBOX};
use super::error;
use crate::attempts::{self, Miss, repeated};
use crate::inbox;
use crate::operations::unwritten;

/// How long the inbox may take to show an answer that a majority has.
const ASK_PATIENCE: Duration = Duration::from_secs(5);

/// The end of a transaction that gave no answer, with the driver's error: it runs as a task that does not know the database.
enum Ended {
    Refused(BedsError),
    Unasked(BedsError),
    Again(Failure),
    Unknown(mongodb::error::Error),
    /// The key was committed before: its answer is to be read.
    Done,
}

/// A write with everything that an attempt needs.
struct Write<'w> {
    database: &'w Database,
    transaction: Arc<Transaction>,
}

/// Everything that one transaction needs, owned, because it runs as a task of its own.
struct Transaction {
    inbox: Inbox,
    template: Arc<Template>,
    binding: Arc<Binding>,
    arguments: Arguments,
    attempt: Arc<Attempt>,
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
pub(super) async fn recall(database: &Database, attempt: &Attempt) -> Result<Option<Answer>> {
    let inbox = Inbox::of(database, &attempt.event);
    let asking = inbox.clone();
    match database.run(async move { asking.ask().await }).await? {
        Ok(()) => {
            attempt.steps.note_asked_inbox();
            Ok(None)
        }
        Err(Ended::Done) => match database.run(async move { inbox.stored().await }).await? {
            Ok(stored) => Ok(Some(repeated(stored?, attempt))),
            Err(failure) => Err(failure.into_beds(database)),
        },
        Err(ended) => Err(missed(ended, database).into_error()),
    }
}

/// Writes once. The error kinds say how certain the end of this event is: only [`ErrorKind::OutcomeUnknown`] may have had an
/// effect.
pub(super) async fn write(
    database: &Database,
    template: &Arc<Template>,
    binding: &Arc<Binding>,
    arguments: Arguments,
    attempt: &Arc<Attempt>,
) -> Result<Answer> {
    let transaction = Transaction {
        inbox: Inbox::of(database, &attempt.event),
        template: Arc::clone(template),
        binding: Arc::clone(binding),
        arguments,
        attempt: Arc::clone(attempt),
    };
    let write = Write { database, transaction: Arc::new(transaction) };
    let written = attempts::write(attempt, &binding.form.object, &write).await?;
    written.ok_or_else(|| {
        BedsError::new(ErrorKind::Internal, "a named operation is never replaced while it runs")
    })
}

impl attempts::Repeatable for Write<'_> {
    async fn once(&self) -> Result<Answer, Miss> {
        let Write { database, transaction } = self;
        let this = Arc::clone(transaction);
        match database.run(async move { this.once().await }).await.map_err(Miss::Unasked)? {
            Ok(answer) => Ok(answer),
            Err(Ended::Done) => {
                let inbox = transaction.inbox.clone();
                // The key is committed, so the write is done: only its answer cannot be read.
                let unknown = |error| Miss::Refused(inbox::outcome_unknown(error));
                match database.run(async move { inbox.stored().await }).await.map_err(unknown)? {
                    Ok(stored) => {
                        Ok(repeated(stored.map_err(Miss::Refused)?, &transaction.attempt))
                    }
                    Err(failure) => Err(missed(Ended::Again(failure), database)),
                }
            }
            Err(ended) => Err(missed(ended, database)),
        }
    }
}

/// The end of an attempt, in the words that both stores share.
fn missed(ended: Ended, database: &Database) -> Miss {
    match ended {
        Ended::Refused(error) => Miss::Refused(error),
        Ended::Unasked(error) => Miss::Unasked(error),
        Ended::Unknown(e) if error::is_unreachable(&e) => {
            Miss::Away { error: error::to_beds(e, database), is_unknown: true }
        }
        Ended::Unknown(e) => Miss::Unknown(error::to_beds(e, database)),
        Ended::Again(Failure::Driver(e)) if error::is_unreachable(&e) => {
            Miss::Away { error: error::to_beds(e, database), is_unknown: false }
        }
        Ended::Again(failure) => Miss::Again(failure.into_beds(database)),
        Ended::Done => {
            Miss::Unasked(BedsError::new(ErrorKind::Internal, "the inbox could not be read"))
        }
    }
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
    async fn claim(&self) -> (Option<ClientSession>, Result<(), Ended>) {
        let again = |e: mongodb::error::Error| Ended::Again(Failure::Driver(e));
        let mut session = match self.client.start_session().await {
            Ok(session) => session,
            Err(e) => return (None, Err(again(e))),
        };
        if let Err(e) = session.start_transaction().await {
            return (None, Err(again(e)));
        }
        let claim =
            doc! {"_id": &self.key, "fingerprint": &self.fingerprint, "at": DateTime::now()};
        let claim = doc! {"insert": INBOX, "documents": [claim]};
        let claimed = match self.handle.run_command(claim).session(&mut session).await {
            Ok(reply) if reply.contains_key("writeErrors") => Err(Ended::Done),
            Ok(_) => Ok(()),
            Err(e) if error::code(&e) == Some(11000) => Err(Ended::Done),
            // Another transaction holds the key and has not committed yet.
            Err(e) if error::code(&e) == Some(112) => {
                Err(Ended::Unasked(inbox::in_flight().with_source(error::for_the_log(&e))))
            }
            Err(e) => Err(match classify(Failure::Driver(e)) {
                Ended::Refused(error) => Ended::Unasked(error),
                miss => miss,
            }),
        };
        (Some(session), claimed)
    }

    /// Claims the key and gives it back.
    async fn ask(&self) -> Result<(), Ended> {
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

impl Transaction {
    async fn once(&self) -> Result<Answer, Ended> {
        let (session, claimed) = self.inbox.claim().await;
        let Some(mut session) = session else {
            return Err(claimed.err().unwrap_or(Ended::Done));
        };
        let outcome = match claimed {
            Ok(()) => {
                self.attempt.steps.note_asked_inbox();
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
            // The next attempt finds it out: the key is committed, or free.
            Err(e) if error::is_commit_unknown(&e) => Err(Ended::Unknown(e)),
            Err(e) => Err(classify(Failure::Driver(e))),
        }
    }

    /// The write itself, and its answer beside the claim.
    async fn work(&self, session: &mut ClientSession) -> Result<Answer, Ended> {
        if self.attempt.time_to_work().is_zero() {
            // Handed out again, and nothing was done before.
            return Err(Ended::Refused(inbox::too_late()));
        }
        let handle = &self.inbox.handle;
        let answer = call::write(handle, session, &self.binding, &self.arguments, &self.attempt)
            .await
            .map_err(classify)?;
        let reply = Stored::text(&self.attempt.event.event_id, &answer).map_err(Ended::Refused)?;
        let mut set = doc! {"reply": reply};
        let changes = changes_of(&self.template, &self.attempt.event, &answer);
        if !changes.is_empty() {
            let texts = changes.iter().map(serde_json::to_string);
            let texts: Vec<String> =
                texts.collect::<Result<_, _>>().map_err(unwritten).map_err(Ended::Refused)?;
            // The one that publishes finds them in the change stream of the inbox.
            set.insert(CHANGES, texts);
        }
        let store = doc! {"update": INBOX, "updates": [{"q": {"_id": &self.inbox.key}, "u": {"$set": set}}]};
        handle
            .run_command(store)
            .session(&mut *session)
            .await
            .map_err(|e| classify(Failure::Driver(e)))?;
        // Looks once more before the commit: after the deadline the write is rolled back.
        if self.attempt.time_to_work().is_zero() {
            return Err(Ended::Refused(inbox::too_late()));
        }
        Ok(answer)
    }
}

fn classify(failure: Failure) -> Ended {
    match failure {
        Failure::Driver(e) if error::is_transient(&e) || error::is_unable(&e) => {
            Ended::Again(Failure::Driver(e))
        }
        Failure::Driver(e) => match error::code(&e) {
            Some(code) => Ended::Refused(error::of_code(code).with_source(error::for_the_log(&e))),
            None => Ended::Again(Failure::Driver(e)),
        },
        Failure::Beds(error) => Ended::Refused(error),
    }
}
