//! [`Scribe`]: a task of the admin node. It stores batches of records through their template like anybody else, as often as
//! it takes: what nodes report waits in the queue while the database is away. Audit records get their place in the chain
//! here, because whoever writes them is the one who knows which came before.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use beds_core::audit::{AuditRecord, Head, SealedRecord};
use beds_core::{BedsError, ErrorKind, Event, Fields, Payload, Query, RecordStream, Response, Result, Select, Store};
use beds_transport::{Delivery, Publisher};
use fail::fail_point;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::Factory;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// How long the database may take for one batch.
const PATIENCE: SignedDuration = SignedDuration::from_secs(30);

pub(super) struct Scribe<'t> {
    chain: String,
    publisher: &'t Publisher,
    factory: &'t Factory,
    stop: &'t CancellationToken,
    /// The end of this task's chain, once it was read.
    head: Mutex<Option<Head>>,
}

impl<'t> Scribe<'t> {
    /// `chain` names the chain of audit records that this task writes.
    pub(super) fn new(
        chain: &str,
        publisher: &'t Publisher,
        factory: &'t Factory,
        stop: &'t CancellationToken,
    ) -> Self {
        Self { chain: chain.to_owned(), publisher, factory, stop, head: Mutex::default() }
    }

    /// Stores one batch. It stays in the queue if the node stops first.
    pub(super) async fn handle(&self, stream: RecordStream, delivery: &Delivery) {
        let event = match Event::from_slice(delivery.body()) {
            Ok(event) if event.template == stream.template() => event,
            Ok(_) => {
                return self.bury(delivery, &BedsError::new(ErrorKind::BadEvent, "not a batch of this queue")).await;
            }
            Err(error) => return self.bury(delivery, &error).await,
        };
        let mut pause = FIRST_PAUSE;
        let mut is_doubtful = delivery.is_redelivered();
        loop {
            let stored = match stream {
                RecordStream::Audit => self.store_audit(&event, is_doubtful).await,
                _ => self.store(&event, event.params.clone()).await,
            };
            let error = match stored {
                Ok(()) => {
                    fail_point!("stored", stream == RecordStream::Audit, |_| std::process::abort());
                    return delivery.ack();
                }
                Err(error) => error,
            };
            let is_passing = error.kind.status() >= 500
                || matches!(
                    error.kind,
                    ErrorKind::UnknownTemplate | ErrorKind::NoSuchOperation | ErrorKind::DuplicateRecord
                );
            is_doubtful = true;
            if !is_passing {
                return self.bury(delivery, &error).await;
            }
            if pause == FIRST_PAUSE {
                let source = error.source.as_ref().map(ToString::to_string);
                tracing::debug!(stream = stream.as_str(), code = error.code(), source, "Records cannot be stored yet.");
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep(pause) => pause = (pause * 2).min(LONGEST_PAUSE),
            }
        }
    }

    async fn store(&self, event: &Event, fields: Fields) -> Result<()> {
        let payload = Payload { id: None, fields, is_text: false };
        let event = with_patience(event);
        self.factory.open(&event, Store::Rec)?.create_record(&payload).await.map(drop)
    }

    /// Puts the records at the end of the chain: at once, or those only that are not stored yet, once it turned out that
    /// some are. They are inserted in order, so whatever is stored of them is a whole beginning.
    async fn store_audit(&self, event: &Event, is_doubtful: bool) -> Result<()> {
        let broken = |e| BedsError::new(ErrorKind::BadEvent, "not a list of audit records").with_source(e);
        let texts = event.params.get("records").and_then(Value::as_array).into_iter().flatten();
        let records = texts.map(|text| serde_json::from_str(text.as_str().unwrap_or_default()));
        let records: Vec<AuditRecord> = records.collect::<serde_json::Result<_>>().map_err(broken)?;
        let mut known = if is_doubtful { self.known(event, &records).await? } else { HashSet::new() };
        let mut head = self.head(event).await?;
        let sealed: Vec<SealedRecord> =
            records.into_iter().filter(|record| known.insert(record.about.0.clone())).map(|r| head.seal(r)).collect();
        if sealed.is_empty() {
            return Ok(());
        }
        let internal = |e| BedsError::new(ErrorKind::Internal, "audit records could not be written").with_source(e);
        let fields = Fields::from_iter([("records".to_owned(), serde_json::to_value(&sealed).map_err(internal)?)]);
        // Until it is known to be stored, the end of the chain is what the database says.
        self.keep_head(None);
        self.store(event, fields).await?;
        self.keep_head(Some(head));
        Ok(())
    }

    /// The ids among these that have a record already: a batch that came twice, or an event that was worked on twice.
    async fn known(&self, event: &Event, records: &[AuditRecord]) -> Result<HashSet<String>> {
        let ids = records.iter().map(|record| Value::from(record.about.0.as_str())).collect();
        let found = self.fetch(event, "known", "ids", Value::Array(ids)).await?;
        Ok(found.into_iter().filter_map(|response| response.id).collect())
    }

    async fn head(&self, event: &Event) -> Result<Head> {
        if let Some(head) = &*self.head.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(head.clone());
        }
        let found = self.fetch(event, "head", "chain", Value::from(self.chain.as_str())).await?;
        let Some(last) = found.first().and_then(|response| response.record.as_ref()) else {
            return Ok(Head::start(&self.chain));
        };
        let last: SealedRecord = serde_json::from_str(last.get()).map_err(|e| {
            BedsError::new(ErrorKind::Internal, "the end of the audit chain cannot be read").with_source(e)
        })?;
        Ok(Head { chain: last.chain, seq: last.seq, hash: last.hash })
    }

    fn keep_head(&self, head: Option<Head>) {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = head;
    }

    async fn fetch(&self, event: &Event, name: &str, parameter: &str, value: Value) -> Result<Vec<Response>> {
        let params = Fields::from_iter([(parameter.to_owned(), value)]);
        let query = Query { select: Select::Named(name.to_owned()), params };
        self.factory.open(&with_patience(event), Store::Rec)?.fetch_records(&query).await
    }

    async fn bury(&self, delivery: &Delivery, error: &BedsError) {
        let detail = format!("{} {}", error.code(), error.message);
        match self.publisher.dead_letter(delivery, "records", &detail).await {
            Ok(()) => {
                tracing::error!(queue = delivery.queue(), code = error.code(), "Records became a dead letter.");
                delivery.ack();
            }
            Err(_) => {
                tokio::time::sleep(LONGEST_PAUSE).await;
                delivery.requeue();
            }
        }
    }
}

/// The event with a deadline of its own for each attempt: nobody waits for the batch, however long it was in the queue.
fn with_patience(event: &Event) -> Arc<Event> {
    let mut event = event.clone();
    event.deadline = Timestamp::now().checked_add(PATIENCE).unwrap_or(Timestamp::MAX);
    Arc::new(event)
}
