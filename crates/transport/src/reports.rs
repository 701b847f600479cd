//! [`Reports`]: the reports of a node about itself, on their way to `beds.logs`. Each stream has a lane: a bounded buffer
//! and one task that sends records that came together as one message. A record that is kept is never lost on this side; one
//! that is offered is dropped, and counted, when the buffer is full. Not here: the content of a record (crate core).

mod envelope;
mod lane;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use beds_core::Outcome;
use beds_core::{EventId, ReportStream, config};
use beds_trail::audit::AuditRecord;
use beds_trail::record_keys::RecordKeys;
use beds_trail::span::LineageReport;
use jiff::Timestamp;
use serde_json::Value;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::{Guards, Publisher, TransportError, TransportResult};
use envelope::Envelope;
use lane::Lane;

/// Reports for one node. Cheap to clone.
#[derive(Clone)]
pub struct Reports {
    shared: Arc<Parts>,
}

struct Parts {
    node: String,
    environment: String,
    enabled: config::Reports,
    record_keys: RecordKeys,
    /// Audit records that found no room, and that no record tells of yet.
    untold: Mutex<Untold>,
    lineage: Lane<LineageReport>,
    audit: Lane<String>,
    logs: Lane<Value>,
    metrics: Lane<Value>,
    dropped: Arc<AtomicU64>,
    /// Another reader of the lineage.
    tap: OnceLock<mpsc::Sender<LineageReport>>,
    finish: CancellationToken,
    lanes: TaskTracker,
    publisher: Publisher,
}

/// Audit records that were dropped since the last record that said so.
#[derive(Default)]
struct Untold {
    count: u64,
    since: Option<Timestamp>,
}

impl Untold {
    fn add(&mut self, at: Timestamp) {
        self.count += 1;
        self.since.get_or_insert(at);
    }
}

/// Records on their way. Resolves when RabbitMQ has all of them.
#[derive(Default)]
pub struct Kept(Vec<oneshot::Receiver<()>>);

impl Kept {
    /// Waits until RabbitMQ has the records. False if the node stopped before.
    pub async fn confirmed(self) -> bool {
        for receiver in self.0 {
            if receiver.await.is_err() {
                return false;
            }
        }
        true
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Reports {
    pub(crate) fn start(
        publisher: &Publisher,
        guards: &Guards,
        tasks: &TaskTracker,
        node: &str,
        environment: &str,
        (enabled, record_keys): (config::Reports, RecordKeys),
    ) -> Self {
        let origin = lane::Origin {
            publisher: publisher.clone(),
            guards: guards.clone(),
            node: node.to_owned(),
            environment: environment.to_owned(),
            dropped: Arc::default(),
            finish: CancellationToken::new(),
        };
        let lanes = TaskTracker::new();
        let shared = Parts {
            node: node.to_owned(),
            environment: environment.to_owned(),
            enabled,
            record_keys,
            untold: Mutex::default(),
            lineage: Lane::start(ReportStream::Lineage, &origin, &lanes),
            audit: Lane::start(ReportStream::Audit, &origin, &lanes),
            logs: Lane::start(ReportStream::Log, &origin, &lanes),
            metrics: Lane::start(ReportStream::Metrics, &origin, &lanes),
            dropped: Arc::clone(&origin.dropped),
            tap: OnceLock::new(),
            finish: origin.finish.clone(),
            lanes: lanes.clone(),
            publisher: publisher.clone(),
        };
        lanes.close();
        // Makes the end of the transport wait for the lanes too.
        tasks.spawn(async move { lanes.wait().await });
        Self { shared: Arc::new(shared) }
    }

    pub fn node(&self) -> &str {
        &self.shared.node
    }

    /// The streams that this node records.
    pub fn enabled(&self) -> &config::Reports {
        &self.shared.enabled
    }

    /// The keys of the hashes that stand for records.
    pub fn record_keys(&self) -> &RecordKeys {
        &self.shared.record_keys
    }

    /// An id for an event that began on this node.
    pub fn event_id(&self) -> EventId {
        EventId::new(&self.shared.node, &self.shared.environment)
    }

    /// Reports the end of a read, or another record that may be dropped under pressure.
    pub fn offer(&self, lineage: Option<LineageReport>, audit: Option<AuditRecord>) {
        if let Some(record) = lineage {
            self.show(&record);
            self.shared.lineage.offer(record);
        }
        if let Some(text) = audit.and_then(|record| serde_json::to_string(&record).ok()) {
            self.tell_of_drops();
            if !self.shared.audit.offer(text) {
                self.untold().add(Timestamp::now());
            }
        }
    }

    /// Puts a record into the trail that says how many others found no room, once there is room. Its time is that of the first.
    fn tell_of_drops(&self) {
        // The usual case, for each read of the node.
        if self.dropped() == 0 {
            return;
        }
        let mut untold = self.untold();
        let Some(since) = untold.since.filter(|_| self.shared.audit.has_room()) else { return };
        let (id, node) = (self.event_id(), self.node());
        let act = AuditRecord::of_act(id, "", AuditRecord::DROP, Outcome::Failed, node);
        let record = AuditRecord { at: since, unrecorded: Some(untold.count), ..act };
        let text = serde_json::to_string(&record);
        if text.is_ok_and(|text| self.shared.audit.offer(text)) {
            *untold = Untold::default();
        }
    }

    fn untold(&self) -> MutexGuard<'_, Untold> {
        self.shared.untold.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reports the end of a write. Waits for room; its result tells when RabbitMQ has the records.
    pub async fn keep(&self, lineage: Option<LineageReport>, audit: Option<AuditRecord>) -> Kept {
        let mut kept = Kept::default();
        if let Some(record) = lineage {
            self.show(&record);
            kept.0.push(self.shared.lineage.keep(record).await);
        }
        if let Some(text) = audit.and_then(|record| serde_json::to_string(&record).ok()) {
            kept.0.push(self.shared.audit.keep(text).await);
        }
        kept
    }

    /// A copy of each lineage record from now on, for one other listener; while it has no room, it misses some.
    pub fn tap(&self, room: usize) -> mpsc::Receiver<LineageReport> {
        let (sender, records) = mpsc::channel(room);
        drop(self.shared.tap.set(sender));
        records
    }

    fn show(&self, record: &LineageReport) {
        if let Some(tap) = self.shared.tap.get() {
            drop(tap.try_send(record.clone()));
        }
    }

    /// Reports an operator's act that concerns no record, such as a reload.
    pub async fn act(&self, actor: &str, operation: &str, outcome: Outcome) {
        if self.shared.enabled.audit {
            // Waits for room only: the lane sends the record until RabbitMQ has it.
            drop(
                self.keep(
                    None,
                    Some(AuditRecord::of_act(
                        self.event_id(),
                        actor,
                        operation,
                        outcome,
                        self.node(),
                    )),
                )
                .await,
            );
        }
    }

    /// Reports the signed end of an audit chain, which `head` becomes as JSON. Resolves when RabbitMQ has it.
    pub async fn audit_head(&self, head: &Value) -> TransportResult<()> {
        let (id, key) = (self.event_id(), format!("{}.{}", ReportStream::Audit, self.node()));
        let body = Envelope::new(&id, ReportStream::AUDIT_HEADS, head);
        let body = serde_json::to_vec(&body).map_err(|_| TransportError::Refused)?;
        self.shared.publisher.records(&key, &id.0, &body).await
    }

    /// Reports a log line.
    pub fn log(&self, record: Value) {
        self.shared.logs.offer(record);
    }

    /// Reports a snapshot of the metrics.
    pub fn metrics(&self, record: Value) {
        self.tell_of_drops();
        self.shared.metrics.offer(record);
    }

    /// True while audit records can be queued: RabbitMQ took the last ones, and there is room for more.
    pub fn can_audit(&self) -> bool {
        self.shared.audit.is_taken() && self.shared.audit.has_room()
    }

    /// How many records were dropped since the start.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Ordering::Relaxed)
    }

    /// Sends the records at hand, and ends. Call it when nothing reports any more.
    pub async fn finish(&self) {
        self.tell_of_drops();
        self.shared.finish.cancel();
        self.shared.lanes.wait().await;
    }
}
