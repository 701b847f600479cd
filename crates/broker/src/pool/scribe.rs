//! [`Scribe`]: a task of the admin node. It stores batches of records through their template, as any other writer, as often
//! as it takes: reports wait in the queue while the database is away. Not here: the stored form (scribe/batch.rs).

mod batch;

use std::sync::Arc;
use std::time::{Duration, Instant};

use beds_core::config::LOGS_DATABASE;
use beds_core::reply::Answer;
use beds_core::{
    Attempt, BedsError, ErrorKind, Event, Fields, Operation, Payload, Query, ReportStream,
    Response, Result, RoutingKey, Select, Store,
};
use beds_trail::audit::{Head, SealedRecord};
use beds_transport::{Delivery, Lease, Publisher};
use fail::fail_point;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::heads::Heads;
use crate::Factory;
use crate::metrics::Meters;
use batch::Batch;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Warn once a batch has been failing for 10 s, then every 60 s.
const SAID_AFTER: Duration = Duration::from_secs(10);
const SAID_AGAIN: Duration = Duration::from_secs(60);
/// How long the database may take for one batch.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);
const LONGEST: Duration = PATIENCE.unsigned_abs();

pub(super) struct Scribe<'t> {
    /// Names the chain of audit records that this task writes.
    pub(super) chain: &'t str,
    pub(super) publisher: &'t Publisher,
    pub(super) factory: &'t Factory,
    pub(super) stop: &'t CancellationToken,
    pub(super) heads: &'t Heads,
    pub(super) lease: &'t Lease,
    pub(super) meters: &'t Meters,
}

impl Scribe<'_> {
    /// Stores one batch. It stays in the queue if the node stops first.
    pub(super) async fn handle(&self, stream: ReportStream, delivery: &Delivery) {
        if self.publisher.needs_proof() && !self.publisher.is_sealed(delivery) {
            return self.put_away(delivery).await;
        }
        let read = Event::from_slice(delivery.body()).and_then(|event| Batch::read(stream, event));
        let mut batch = match read {
            Ok(batch) => batch,
            Err(_) if Event::is_of_later_release(delivery.body()) => {
                return self.wait_for_later_release(stream).await;
            }
            Err(error) => return self.bury(delivery, &error).await,
        };
        let begun = Instant::now();
        // Clocks of two nodes can differ: a negative wait counts as none.
        let wait = Duration::try_from(Timestamp::now().duration_since(batch.event().issued_at))
            .unwrap_or_default();
        fail_point!("storing", batch.is_of_creates(), |_| std::process::abort());
        let mut pause = FIRST_PAUSE;
        // A first delivery is stored without a look; a
        // later one first asks which records are stored.
        let mut is_doubtful = delivery.is_redelivered();
        let mut said_at = Instant::now();
        let mut patience = SAID_AFTER;
        loop {
            let Err(error) = self.store(&mut batch, is_doubtful).await else {
                fail_point!("stored", batch.is_of_creates(), |_| std::process::abort());
                self.meters.event(None, wait, begun.elapsed());
                return delivery.ack();
            };
            // A duplicate passes too: the next round leaves out the records that are stored.
            let is_passing = error.kind.status() >= 500
                || matches!(
                    error.kind,
                    ErrorKind::UnknownTemplate
                        | ErrorKind::NoSuchOperation
                        | ErrorKind::DuplicateRecord
                        // The connection that stored it before is silent; its transaction ends.
                        | ErrorKind::KeyInFlight
                );
            is_doubtful = true;
            if !is_passing {
                return self.bury(delivery, &error).await;
            }
            if said_at.elapsed() >= patience {
                let source = error.source.as_ref().map(ToString::to_string);
                tracing::warn!(
                    stream = stream.as_str(),
                    code = error.code(),
                    source,
                    "Records cannot be stored; they wait in their queue."
                );
                (said_at, patience) = (Instant::now(), SAID_AGAIN);
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    /// Keeps a batch apart that no node has sealed: whoever may write to the exchange could report things that never happened.
    async fn put_away(&self, delivery: &Delivery) {
        let login = delivery.login().unwrap_or_default();
        tracing::warn!(
            queue = delivery.queue(),
            login,
            "Reports without the seal of a node are not stored."
        );
        match self.publisher.keep_unproved(delivery, "the batch is not sealed by a node").await {
            Ok(()) => delivery.ack(),
            Err(failure) => {
                tracing::debug!(%failure, "An unproved batch could not be kept.");
                tokio::time::sleep(FIRST_PAUSE).await;
                delivery.requeue();
            }
        }
    }

    /// Stores the batch as one document: all of it, or, once it turned out that some records are there, the others.
    async fn store(&self, batch: &mut Batch, is_doubtful: bool) -> Result<()> {
        if is_doubtful && let Some(ids) = batch.ids() {
            let known = self.fetch(batch.event(), "known", "ids", ids).await?;
            batch.forget(known.into_iter().filter_map(|response| response.id).collect());
        }
        if batch.is_empty() {
            return Ok(());
        }
        if let Some(payload) = batch.payload() {
            return self.create(batch.event(), payload).await;
        }
        let known = self.heads.get(self.chain);
        let is_own = known.is_some() && !is_doubtful;
        let mut head = match known {
            Some(head) => head,
            None => self.head(batch.event()).await?,
        };
        let payload = batch.sealed(&mut head);
        // Until it is known to be stored, the end of the chain is the database's last record.
        self.heads.set(self.chain, None);
        let stored = self.create(batch.event(), &payload).await;
        if stored.as_ref().is_err_and(|error| is_own && error.kind == ErrorKind::DuplicateRecord) {
            self.suspect(batch).await?;
        }
        stored?;
        self.heads.set(self.chain, Some(head));
        Ok(())
    }

    async fn create(&self, event: &Event, payload: &Payload) -> Result<()> {
        let begun = Instant::now();
        // Whatever the envelope asks for: nodes do nothing else with reports.
        let event = Event { operation: Operation::Create, ..event.clone() };
        let created = self.work(event.with_payload(payload)).await;
        self.meters.call(begun.elapsed());
        created.map(drop)
    }

    /// A record of the batch is there already, or the place behind the end of the chain is taken by another writer.
    async fn suspect(&self, batch: &Batch) -> Result<()> {
        let ids = batch.ids().unwrap_or_default();
        // Where the name of this node is another's by now, so is the chain, and it is whole.
        if self.fetch(batch.event(), "known", "ids", ids).await?.is_empty() && self.lease.is_held()
        {
            self.heads.mark_foreign(self.chain);
            tracing::error!(
                chain = self.chain,
                "Somebody else wrote into the audit chain. Its heads are not signed any more; beds audit verify names the place."
            );
        }
        Ok(())
    }

    async fn head(&self, event: &Event) -> Result<Head> {
        let found = self.fetch(event, "head", "chain", Value::from(self.chain)).await?;
        let Some(last) = found.first().and_then(|response| response.record.as_ref()) else {
            return Ok(Head::start(self.chain));
        };
        let last: SealedRecord = serde_json::from_str(last.get()).map_err(|e| {
            BedsError::new(ErrorKind::Internal, "the end of the audit chain cannot be read")
                .with_source(e)
        })?;
        Ok(Head { chain: last.chain, seq: last.seq, hash: last.hash })
    }

    async fn fetch(
        &self,
        event: &Event,
        name: &str,
        parameter: &str,
        value: Value,
    ) -> Result<Vec<Response>> {
        let params = Fields::from_iter([(parameter.to_owned(), value)]);
        let mut event =
            event.clone().with_query(&Query { select: Select::Named(name.to_owned()), params });
        event.operation = Operation::Fetch;
        self.work(event).await.map(Answer::into_responses)
    }

    /// One call of a template, with a deadline of its own: no caller waits for the batch, however long it was in the queue.
    async fn work(&self, mut event: Event) -> Result<Answer> {
        event.deadline = Timestamp::now().checked_add(PATIENCE).unwrap_or(Timestamp::MAX);
        // The key only names the database here: a scribe has no queue of events.
        let adapter =
            self.factory.adapter(&event, &RoutingKey::new(Store::Rec, true, LOGS_DATABASE))?;
        adapter.work(&Arc::new(Attempt::new(event, LONGEST))).await
    }

    /// Records of a later release stay in their queue until this node is of it too.
    async fn wait_for_later_release(&self, stream: ReportStream) {
        loop {
            tracing::error!(
                stream = stream.as_str(),
                "Records are of a later release than this node, and wait in their queue; upgrade the admin nodes."
            );
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(SAID_AGAIN) => {}
            }
        }
    }

    async fn bury(&self, delivery: &Delivery, error: &BedsError) {
        let detail = format!("{} {}", error.code(), error.message);
        match self.publisher.dead_letter(delivery, "records", &detail, None).await {
            Ok(()) => {
                self.meters.dead_letter();
                self.meters.event(Some(error.code()), Duration::ZERO, Duration::ZERO);
                tracing::error!(
                    event.id = delivery.message_id(),
                    queue = delivery.queue(),
                    code = error.code(),
                    "Records became a dead letter."
                );
                delivery.ack();
            }
            Err(_) => {
                // Waits, because each return counts: at
                // once, it would soon use up its deliveries.
                tokio::time::sleep(LONGEST_PAUSE).await;
                delivery.requeue();
            }
        }
    }
}
