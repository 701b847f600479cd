//! [`DeadLetters`]: the queue of messages that could not be worked on, as a person goes through it. One pass looks at every
//! message; the rest goes back in its order.
//!
//! Not here: one letter (`dead_letters/letter.rs`); rights, which are the caller's.

mod letter;

use std::sync::Arc;
use std::time::Duration;

use beds_core::Outcome;
use beds_core::{Actor, EventId, Fields, RoutingKey, Templates, config};
use beds_trail::audit::AuditRecord;
use beds_trail::span::{LineageReport, Span, SpanKind};
use jiff::{SignedDuration, Timestamp};
use lapin::options::{BasicAckOptions, BasicGetOptions, QueueDeclareOptions};
use lapin::types::FieldTable;
use lapin::{BasicProperties, Connection};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::topology::DEAD;
use crate::{Publisher, Reports, TransportError, TransportResult};

pub use letter::DeadLetter;

/// Dead letters that one pass looks at, at most.
const MOST: usize = 10_000;
/// And bytes of them: letters that were seen are held until the pass ends.
const MOST_BYTES: usize = 64 * 1024 * 1024;
/// How long RabbitMQ may take for one message of a pass.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// How long letters that were looked at may take to be back in their queue.
const BACK_WITHIN: Duration = Duration::from_secs(2);
/// How long the record of an act may take.
const RECORDED_WITHIN: Duration = Duration::from_secs(10);
/// How long a replayed event may wait and work. No requester waits for its answer.
const PATIENCE: SignedDuration = SignedDuration::from_secs(60);

/// The fate of a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Leave,
    /// It is sent again as a child of the dead event. Only then the dead one goes. A write that the inbox may have forgotten
    /// is left, and said to be [`Verdict::TooOld`].
    Replay,
    /// The same, also where it may take effect a second time.
    ReplayAtAnyAge,
    /// Left where it is: it was to be replayed, and no inbox knows any more whether it took effect.
    TooOld,
    Discard,
    /// Left where it is: RabbitMQ did not take it.
    Failed,
}

impl Verdict {
    /// True where the letter stays in its queue.
    pub fn leaves(self) -> bool {
        matches!(self, Verdict::Leave | Verdict::TooOld | Verdict::Failed)
    }
}

/// Goes through the dead letters for a person.
pub struct DeadLetters {
    publisher: Publisher,
    reports: Reports,
    passes: Arc<Semaphore>,
    /// They say where an event goes today.
    templates: Arc<Templates>,
    actor: Actor,
    inbox: config::Inbox,
}

impl DeadLetters {
    /// `passes` lets one pass at a time go through: letters in the hands of one are hidden from the other.
    pub(crate) fn new(
        publisher: &Publisher,
        reports: &Reports,
        passes: &Arc<Semaphore>,
        templates: Arc<Templates>,
        actor: Actor,
        inbox: config::Inbox,
    ) -> Self {
        let (publisher, reports, passes) = (publisher.clone(), reports.clone(), Arc::clone(passes));
        Self { publisher, reports, passes, templates, actor, inbox }
    }

    /// Looks at each dead letter once, oldest first, and carries the decision out. Answers all that it saw.
    pub async fn sort(
        &self,
        mut judge: impl FnMut(&DeadLetter) -> Verdict,
    ) -> TransportResult<Vec<(DeadLetter, Verdict)>> {
        let _pass = self.passes.acquire().await.map_err(|_| TransportError::NotConnected)?;
        let live = self.publisher.link().now()?;
        // Refuses before it takes a letter: no act could be recorded now.
        if live.connection.status().blocked() {
            return Err(TransportError::Blocked);
        }
        let channel = within(live.connection.create_channel()).await?;
        let (mut seen, mut bytes) = (Vec::new(), 0);
        while seen.len() < MOST && bytes < MOST_BYTES {
            let Some(message) =
                within(channel.basic_get(DEAD.into(), BasicGetOptions::default())).await?
            else {
                break;
            };
            let tag = message.delivery.delivery_tag;
            let mut letter = DeadLetter::read(message, self.publisher.marks());
            bytes += letter.bytes;
            // Only an event can be sent again.
            let verdict = match judge(&letter) {
                Verdict::Replay | Verdict::ReplayAtAnyAge if !letter.can_be_sent() => {
                    Verdict::Leave
                }
                Verdict::Replay if letter.is_forgotten(self.inbox) => Verdict::TooOld,
                verdict => verdict,
            };
            let done = match verdict {
                Verdict::Leave | Verdict::TooOld | Verdict::Failed => Ok(()),
                Verdict::Replay | Verdict::ReplayAtAnyAge => self.replay(&letter).await,
                Verdict::Discard => self.report(&letter, None).await,
            };
            let verdict = match done {
                Ok(()) => verdict,
                // One that cannot be sent hides none behind it.
                Err(TransportError::Unroutable | TransportError::Refused) => Verdict::Failed,
                Err(error) => return Err(error),
            };
            if !verdict.leaves() {
                within(channel.basic_ack(tag, BasicAckOptions::default())).await?;
            }
            // The values in memory take many times the bytes that they were sent in.
            if let Some(event) = &mut letter.event {
                event.params = Fields::new();
            }
            seen.push((letter, verdict));
        }
        // Letters that were not settled go back with the channel.
        within(channel.close(200, "looked through".into())).await?;
        let left = seen.iter().filter(|(_, verdict)| verdict.leaves()).count();
        self.go_back(&live.connection, left).await?;
        // Replays and discards have records of their own.
        if seen.iter().all(|(_, verdict)| verdict.leaves()) {
            self.reports.act(&self.actor.subject, "look at dead letters", Outcome::Ok).await;
        }
        Ok(seen)
    }

    /// Waits until the letters that were left are in their queue again, which takes RabbitMQ a moment: the next pass would not see
    /// them.
    async fn go_back(&self, connection: &Connection, left: usize) -> TransportResult<()> {
        let end = Instant::now() + BACK_WITHIN;
        let channel = within(connection.create_channel()).await?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        while left > 0 && Instant::now() < end {
            let queue =
                within(channel.queue_declare(DEAD.into(), passive, FieldTable::default())).await?;
            // New letters may have come meanwhile, so a larger number is enough too.
            if usize::try_from(queue.message_count()).is_ok_and(|count| count >= left) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        within(channel.close(200, "counted".into())).await
    }

    /// Sends it again, and waits until RabbitMQ has it.
    async fn replay(&self, letter: &DeadLetter) -> TransportResult<()> {
        let Some(dead) = letter.event.as_ref().filter(|_| !letter.is_of_records()) else {
            // A batch of records is stored once by the ids in it, so it goes as it is.
            let key = format!("{}.replayed", letter.queue);
            self.report_act(letter, "replay").await?;
            return self.publisher.records(&key, &letter.id, &letter.body).await;
        };
        let mut event = dead.clone();
        if let Some(actor) = letter.actor.clone() {
            // A client's event: a node has proved its caller, and nothing else of it.
            event.actor = Arc::new(actor);
            event.origin = None;
            event.bind_to_actor();
        }
        event.event_id = self.reports.event_id();
        event.parent_id = dead.event_id.clone();
        event.depth = dead.depth + 1;
        // The same write: if the dead one took effect after all, it gets that answer.
        let first = dead.replay_of.clone().filter(|_| letter.actor.is_none());
        event.replay_of = Some(first.unwrap_or_else(|| dead.event_id.clone()));
        event.issued_at = Timestamp::now();
        event.deadline = event.issued_at.checked_add(PATIENCE).unwrap_or(Timestamp::MAX);
        let body = serde_json::to_vec(&event).map_err(|_| TransportError::Refused)?;
        // Its template may be of another database by now, or its queue of an earlier release.
        let template = self.templates.get(&event.template);
        let key =
            template.map(|of| RoutingKey::new(of.store, event.operation.is_write(), &of.database));
        let key = key.map_or_else(|_| letter.queue.clone(), |key| key.as_str().to_owned());
        let properties = BasicProperties::default()
            .with_content_type("application/json".into())
            .with_type(key.as_str().into())
            .with_message_id(event.event_id.0.as_str().into());
        self.report(letter, Some(&event.event_id)).await?;
        self.publisher.event(&key, &body, properties).await
    }

    /// An administrative act is recorded before it is done.
    async fn report(
        &self,
        letter: &DeadLetter,
        replayed_as: Option<&EventId>,
    ) -> TransportResult<()> {
        let Some(dead) = letter.event.as_ref().filter(|_| !letter.is_of_records()) else {
            return self.report_act(letter, "discard").await;
        };
        let (enabled, id) = (self.reports.enabled(), self.reports.event_id());
        let node = Span {
            parent_id: dead.event_id.clone(),
            depth: dead.depth + 1,
            actor: self.actor.subject.clone(),
            ..Span::new(id.clone(), self.reports.node(), SpanKind::Discard, Outcome::Ok)
        };
        // A replay is an event of its own and gets its node from the worker.
        let is_discard = replayed_as.is_none();
        let lineage = (enabled.lineage && is_discard)
            .then(|| LineageReport::ended(dead.root_id.clone(), vec![node], None));
        let operation = if is_discard { "discard" } else { "replay" };
        let act = AuditRecord::of_act(
            id,
            &self.actor.subject,
            operation,
            Outcome::Ok,
            self.reports.node(),
        );
        let audit = enabled.audit.then(|| AuditRecord {
            root_id: Some(dead.root_id.clone()),
            depth: dead.depth + 2,
            template: dead.template.clone(),
            target: Some(dead.event_id.0.clone()),
            ..act
        });
        self.recorded(lineage, audit).await
    }

    /// The same for a message that is no event of a caller's: it has no tree to stand in.
    async fn report_act(&self, letter: &DeadLetter, operation: &str) -> TransportResult<()> {
        let (id, node) = (self.reports.event_id(), self.reports.node());
        let act = AuditRecord::of_act(id, &self.actor.subject, operation, Outcome::Ok, node);
        let act = AuditRecord { target: Some(format!("{} {}", letter.queue, letter.id)), ..act };
        self.recorded(None, self.reports.enabled().audit.then_some(act)).await
    }

    async fn recorded(
        &self,
        lineage: Option<LineageReport>,
        audit: Option<AuditRecord>,
    ) -> TransportResult<()> {
        let recorded = async { self.reports.keep(lineage, audit).await.confirmed().await };
        match tokio::time::timeout(RECORDED_WITHIN, recorded).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(TransportError::NotConnected),
        }
    }
}

/// A word with RabbitMQ that does not take longer than it may: under an alarm it says nothing for as long as that lasts.
async fn within<T>(word: impl Future<Output = lapin::Result<T>>) -> TransportResult<T> {
    Ok(tokio::time::timeout(ANSWERED_WITHIN, word).await.map_err(|_| TransportError::Blocked)??)
}
