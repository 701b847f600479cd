//! [`Lane`]: the buffer of one stream and the task that empties it. A message is an event of the stream's template whose
//! one parameter is the list of records, so the admin node works on it like on any other.
//!
//! Not here: which reports there are (reports.rs).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use beds_core::{EventId, ReportStream};
use fail::fail_point;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::envelope::{Batch, Envelope};
use crate::{Guards, Publisher};

/// Records that wait in a node.
const ROOM: usize = 16_384;
/// Records in one message. A search for one record reads whole messages.
const MOST: usize = 250;
/// Bytes of records in one message; a larger record has one of its own.
const MOST_BYTES: usize = 1 << 20;
/// How long records without a waiting task are gathered.
const GATHER: Duration = Duration::from_millis(200);
/// Between two attempts to send a batch.
const PAUSE: Duration = Duration::from_millis(250);
/// How long a node that stops tries to send the rest.
const LAST_CHANCE: Duration = Duration::from_secs(3);

/// The common part of the lanes of one node.
#[derive(Clone)]
pub(super) struct Origin {
    pub(super) publisher: Publisher,
    pub(super) guards: Guards,
    pub(super) node: String,
    pub(super) environment: String,
    pub(super) dropped: Arc<AtomicU64>,
    pub(super) finish: CancellationToken,
}

pub(super) struct Lane<T> {
    sender: mpsc::Sender<Entry<T>>,
    /// Told of each record with a waiting task.
    urgent: Arc<Notify>,
    stream: ReportStream,
    dropped: Arc<AtomicU64>,
    is_taken: Arc<AtomicBool>,
}

struct Entry<T> {
    record: T,
    /// Told when RabbitMQ has the record; none where no task waits.
    taken: Option<oneshot::Sender<()>>,
}

impl<T: Serialize + Send + Sync + 'static> Lane<T> {
    pub(super) fn start(stream: ReportStream, origin: &Origin, tasks: &TaskTracker) -> Self {
        let (sender, entries) = mpsc::channel(ROOM);
        let key = format!("{stream}.{}", origin.node);
        let (urgent, is_taken) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(true)));
        let lane = Self { sender, urgent, stream, dropped: Arc::clone(&origin.dropped), is_taken };
        let (urgent, is_taken) = (Arc::clone(&lane.urgent), Arc::clone(&lane.is_taken));
        tasks.spawn(
            Work { stream, key, origin: origin.clone(), entries, urgent, is_taken, give_up: None }
                .run(),
        );
        lane
    }

    /// False where the record found no room and was dropped.
    pub(super) fn offer(&self, record: T) -> bool {
        fail_point!("no room", self.stream == ReportStream::Audit, |_| self.dropped());
        self.sender.try_send(Entry { record, taken: None }).is_ok() || self.dropped()
    }

    /// Counts a record that was dropped. Always false.
    fn dropped(&self) -> bool {
        let before = self.dropped.fetch_add(1, Ordering::Relaxed);
        if before.is_multiple_of(10_000) {
            // Not a line a record, and not through the lane that is full.
            tracing::warn!(
                stream = self.stream.as_str(),
                dropped = before + 1,
                "Records are dropped."
            );
        }
        false
    }

    pub(super) async fn keep(&self, record: T) -> oneshot::Receiver<()> {
        let (taken, receiver) = oneshot::channel();
        // If the lane has ended, the receiver learns it from the dropped sender.
        drop(self.sender.send(Entry { record, taken: Some(taken) }).await);
        self.urgent.notify_one();
        receiver
    }

    /// False from a refused or unconfirmed batch until the next one that is confirmed.
    pub(super) fn is_taken(&self) -> bool {
        self.is_taken.load(Ordering::Relaxed)
    }

    pub(super) fn has_room(&self) -> bool {
        self.sender.capacity() > 0
    }
}

struct Work<T> {
    stream: ReportStream,
    key: String,
    origin: Origin,
    entries: mpsc::Receiver<Entry<T>>,
    urgent: Arc<Notify>,
    is_taken: Arc<AtomicBool>,
    /// The end of the last chance of a node that stops: one for all that it still has.
    give_up: Option<Instant>,
}

impl<T: Serialize + Send + Sync + 'static> Work<T> {
    async fn run(mut self) {
        let guards = self.origin.guards.clone();
        // After a panic the batch is gone: a task that waits for it is told so, and its message comes again.
        while guards.run("a lane of records", self.turn()).await != Some(false) {}
    }

    /// Sends one batch. False at the end.
    async fn turn(&mut self) -> bool {
        match self.gather().await {
            Some(batch) => {
                for part in parts(batch) {
                    self.send(part).await;
                }
            }
            None => return false,
        }
        true
    }

    /// Records that came together: at once if a task waits for it, else the records of a moment. None at the end.
    async fn gather(&mut self) -> Option<Vec<Entry<T>>> {
        let mut batch = Vec::new();
        let finish = self.origin.finish.clone();
        // Takes records before it looks at the end, so that the last ones are sent too.
        tokio::select! {
            biased;
            _ = self.entries.recv_many(&mut batch, MOST) => {}
            () = finish.cancelled() => {}
        }
        if !batch.is_empty() && batch.len() < MOST && !awaited(&batch) {
            // A record that can wait does not wake this task.
            tokio::select! {
                biased;
                () = finish.cancelled() => {}
                () = self.urgent.notified() => {}
                () = tokio::time::sleep(GATHER) => {}
            }
            while batch.len() < MOST
                && let Ok(entry) = self.entries.try_recv()
            {
                batch.push(entry);
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Sends a batch until RabbitMQ has it.
    async fn send(&mut self, batch: Vec<Entry<Box<RawValue>>>) {
        let origin = self.origin.clone();
        // One id serves all attempts: a batch that RabbitMQ took twice is stored once.
        let id = EventId::new(&origin.node, &origin.environment);
        let records: Vec<&RawValue> = batch.iter().map(|entry| &*entry.record).collect();
        let body = match serde_json::to_vec(&Envelope::new(
            &id,
            self.stream.template(),
            Batch { records: &records },
        )) {
            Ok(body) => body,
            Err(error) => return tracing::error!(%error, "Records could not be written as JSON."),
        };
        fail_point!("sending", awaited(&batch), |_| std::process::abort());
        while let Err(error) = origin.publisher.lane(self.stream, &self.key, &id.0, &body).await {
            if self.is_taken.swap(false, Ordering::Relaxed) {
                tracing::warn!(stream = self.stream.as_str(), %error, "Records cannot be sent; trying again.");
            }
            if origin.finish.is_cancelled() {
                let end = *self.give_up.get_or_insert_with(|| Instant::now() + LAST_CHANCE);
                if Instant::now() >= end {
                    tracing::error!(
                        stream = self.stream.as_str(),
                        records = batch.len(),
                        "Records were not sent."
                    );
                    return;
                }
            }
            tokio::time::sleep(PAUSE).await;
        }
        fail_point!("sent", awaited(&batch), |_| std::process::abort());
        self.is_taken.store(true, Ordering::Relaxed);
        for entry in batch {
            // The waiting task may be gone.
            entry.taken.and_then(|taken| taken.send(()).ok());
        }
    }
}

/// Writes records as JSON, and puts them into messages that are not too large.
fn parts<T: Serialize>(batch: Vec<Entry<T>>) -> Vec<Vec<Entry<Box<RawValue>>>> {
    let (mut parts, mut part, mut bytes) = (Vec::new(), Vec::new(), 0);
    for Entry { record, taken } in batch {
        let record = match serde_json::value::to_raw_value(&record) {
            Ok(record) => record,
            Err(error) => {
                tracing::error!(%error, "A record could not be written as JSON.");
                continue;
            }
        };
        bytes += record.get().len();
        if bytes > MOST_BYTES && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = record.get().len();
        }
        part.push(Entry { record, taken });
    }
    parts.extend(Some(part).filter(|part| !part.is_empty()));
    parts
}

/// True where a task waits for one of the records: they are of a write.
fn awaited<T>(batch: &[Entry<T>]) -> bool {
    batch.iter().any(|entry| entry.taken.is_some())
}
