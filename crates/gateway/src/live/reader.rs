//! [`Reader`]: reads the stream of changes for the hub, from its begin to the end of the node. After a loss of the connection it goes on
//! behind the last message that it has read. A mark of its own, every half minute, tells it that it still hears.
//!
//! Not here: to which subscriptions a change goes (hub.rs).

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use beds_core::{Change, Templates};
use beds_transport::topology::stream::{CANARY_PREFIX, GAP_PREFIX};
use beds_transport::{Client, LogStart, Logged};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::cursor::Cursor;
use super::hub::Hub;
use super::seen::Seen;

/// Between two marks, and the time without one after which the reader is opened anew.
const CANARY: Duration = Duration::from_secs(30);
const SILENCE: Duration = Duration::from_secs(90);
/// Until the next one where a mark does not come.
const CANARY_AGAIN: Duration = Duration::from_secs(2);
/// Between two looks at the callers: a credential or a right that went ends its subscriptions within a second.
const JUDGED: Duration = Duration::from_millis(400);
/// Between two readers.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Reader {
    pub(crate) hub: Hub,
    pub(crate) client: Client,
    pub(crate) templates: Arc<ArcSwap<Templates>>,
    pub(crate) stop: CancellationToken,
}

impl Reader {
    /// Reads until the node stops; then the subscriptions are ended.
    pub(crate) async fn serve(&self) {
        let mut seen = Seen::default();
        let judging = async {
            let mut each = tokio::time::interval(JUDGED);
            each.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                each.tick().await;
                self.hub.judge(&self.templates.load());
            }
        };
        let reading = async {
            loop {
                self.read(&mut seen).await;
                self.hub.set_live(false);
                tokio::time::sleep(PAUSE).await;
            }
        };
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = judging => {}
            () = reading => {}
        }
        self.hub.set_live(false);
        self.hub.stop();
    }

    /// Reads for as long as one channel lives.
    async fn read(&self, seen: &mut Seen) {
        let before = self.hub.place();
        let start = before.as_ref().map_or(LogStart::Next, |place| LogStart::At(place.offset));
        let mut log = match self.client.change_log(start).await {
            Ok(log) => log,
            Err(error) => {
                tracing::warn!(%error, "The stream of changes cannot be read; trying again.");
                return;
            }
        };
        let own = self.client.context(Duration::ZERO).event_id.0;
        let (mut next, mut heard) = (Instant::now(), Instant::now());
        let mut expected = None;
        loop {
            let message = tokio::select! {
                message = log.next() => message,
                () = tokio::time::sleep_until(next) => {
                    if heard.elapsed() > SILENCE {
                        tracing::warn!("The stream of changes is silent; it is opened anew.");
                        return;
                    }
                    next = Instant::now() + CANARY_AGAIN;
                    if let Err(error) = self.client.canary(&own).await {
                        tracing::debug!(%error, "A mark was not put into the stream of changes.");
                    }
                    continue;
                }
            };
            let Some(message) = message else { return };
            heard = Instant::now();
            let cursor = Cursor::of(message.offset, &message.body);
            let is_first = expected.is_none();
            match (expected.replace(cursor.offset + 1), &before) {
                // The place of before is read again: it tells whether the stream is the same.
                (None, Some(place)) if *place == cursor => continue,
                (None, None) => {}
                (Some(wanted), _) if wanted == cursor.offset => {}
                _ => self.gap(&cursor, is_first),
            }
            if message.key.strip_prefix(CANARY_PREFIX) == Some(own.as_str()) {
                next = heard + CANARY;
                self.hub.pass(cursor);
                self.hub.set_live(true);
                continue;
            }
            self.message(message, cursor, seen);
        }
    }

    fn message(&self, message: Logged, cursor: Cursor, seen: &mut Seen) {
        let templates = self.templates.load();
        match read_message(&message, self.client.needs_proof()) {
            Some(Message::Change(change)) if seen.note(&change.id) => {
                self.hub.tell(cursor, &change, &templates);
            }
            Some(Message::Gap(database)) => {
                let is_of = |name: &str| {
                    let template = templates.get(name);
                    template.is_ok_and(|t| format!("{}.{}", t.store, t.database) == database)
                };
                self.hub.tell_gap(&cursor, is_of);
                self.hub.pass(cursor);
            }
            _ => self.hub.pass(cursor),
        }
    }

    /// Tells that messages in front of this one were not read. From this one on, none is missing.
    fn gap(&self, cursor: &Cursor, is_first: bool) {
        let why = match is_first {
            true => "the stream was made anew, or has forgotten the place",
            false => "a part of the stream was forgotten before it was read",
        };
        tracing::error!(why, "Changes were missed; all subscriptions are told of the gap.");
        self.hub.tell_gap(cursor, |_| true);
    }
}

/// A message of the stream that means a thing to subscriptions.
pub(super) enum Message {
    Change(Change),
    /// Changes of this database, such as `rel.main`, are lost.
    Gap(String),
}

/// The meaning of a message; none of a mark, and of one that no node has made.
pub(super) fn read_message(message: &Logged, needs_proof: bool) -> Option<Message> {
    if needs_proof && !message.is_sealed {
        return None;
    }
    if let Some(database) = message.key.strip_prefix(GAP_PREFIX) {
        return Some(Message::Gap(database.to_owned()));
    }
    if message.key.starts_with(CANARY_PREFIX) {
        return None;
    }
    let change = serde_json::from_slice::<Change>(&message.body);
    change
        .inspect_err(|error| tracing::warn!(%error, "A message of the stream of changes is none."))
        .ok()
        .map(Message::Change)
}
