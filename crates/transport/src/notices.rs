//! [`Notices`]: gateways tell workers which callers have gone. A read without a caller is not begun, and ended where it
//! runs. A notice that gets lost costs time and nothing else: the deadline ends the work too.
//!
//! Not here: the end of the work itself (broker/src/pool/worker.rs).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use lapin::Consumer;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use tokio_util::sync::CancellationToken;

use crate::TransportResult;
use crate::link::Link;
use crate::topology::{NOTICES, NOTICES_PREFIX};

/// Events that are remembered as given up, and for how long: a read waits in its queue no longer than its deadline.
const MOST: usize = 10_000;
const REMEMBERED: Duration = Duration::from_secs(120);
const SWEPT_AGAIN: Duration = Duration::from_secs(1);
/// Notices that wait for this node.
const MOST_WAITING: i64 = 10_000;

/// Cheap to clone.
#[derive(Clone, Default)]
pub struct Notices(Arc<Mutex<NoticeState>>);

#[derive(Default)]
struct NoticeState {
    given_up: HashMap<String, Instant>,
    /// When old ones were last looked for: that takes a look at each.
    swept: Option<Instant>,
    /// By id: the token, and how many watch it.
    running: HashMap<String, (CancellationToken, usize)>,
}

/// A piece of work that may be given up, for as long as the value lives.
pub struct Watched {
    notices: Notices,
    id: String,
    token: CancellationToken,
}

impl Notices {
    /// Begins a piece of work.
    pub fn enter(&self, id: &str) -> Watched {
        let (mut state, token) = (self.lock(), CancellationToken::new());
        // A notice can overtake the message that it is about.
        if state.given_up.remove(id).is_some() {
            token.cancel();
            return Watched { notices: self.clone(), id: id.to_owned(), token };
        }
        let (token, watchers) = state.running.entry(id.to_owned()).or_default();
        *watchers += 1;
        let token = token.clone();
        drop(state);
        Watched { notices: self.clone(), id: id.to_owned(), token }
    }

    /// The caller of an event has gone.
    fn give_up(&self, id: &str) {
        let mut state = self.lock();
        if let Some((running, _)) = state.running.remove(id) {
            return running.cancel();
        }
        if state.given_up.len() >= MOST
            && state.swept.is_none_or(|swept| swept.elapsed() > SWEPT_AGAIN)
        {
            state.swept = Some(Instant::now());
            state.given_up.retain(|_, at| at.elapsed() < REMEMBERED);
        }
        // Forgets a notice where the table is full: that
        // costs time only, as the deadline ends the work.
        if state.given_up.len() < MOST {
            state.given_up.insert(id.to_owned(), Instant::now());
        }
    }

    /// Takes notices, for as long as it is polled.
    pub(crate) async fn serve(self, link: Link, node: String) {
        loop {
            match open(&link, &node).await {
                Ok(mut notices) => {
                    while let Some(Ok(notice)) = notices.next().await {
                        self.give_up(notice.routing_key.as_str());
                    }
                }
                Err(error) => tracing::debug!(%error, "Notices cannot be received yet."),
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, NoticeState> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watched {
    /// Waits until the caller has gone.
    pub async fn given_up(&self) {
        self.token.cancelled().await;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let mut state = self.notices.lock();
        let Some((token, watchers)) = state.running.get_mut(&self.id) else { return };
        // Of the same notice: the id may have been entered again since.
        if self.token.is_cancelled() && !token.is_cancelled() {
            return;
        }
        *watchers -= 1;
        if *watchers == 0 {
            state.running.remove(&self.id);
        }
    }
}

async fn open(link: &Link, node: &str) -> TransportResult<Consumer> {
    let live = link.live().await;
    let channel = live.connection.create_channel().await?;
    let queue: ShortString =
        format!("{NOTICES_PREFIX}{node}.{}", uuid::Uuid::new_v4().simple()).into();
    let mut arguments = FieldTable::default();
    arguments.insert("x-max-length".into(), AMQPValue::LongLongInt(MOST_WAITING));
    let options = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
    channel.queue_declare(queue.clone(), options, arguments).await?;
    let bind = QueueBindOptions::default();
    channel
        .queue_bind(queue.clone(), NOTICES.into(), "#".into(), bind, FieldTable::default())
        .await?;
    let options = BasicConsumeOptions { no_ack: true, exclusive: true, ..Default::default() };
    Ok(channel.basic_consume(queue.clone(), queue, options, FieldTable::default()).await?)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn what_was_given_up_before_it_began_is_known_and_so_is_what_runs() {
        let notices = Notices::default();
        notices.give_up("early");
        assert!(notices.enter("early").given_up().now_or_never().is_some());
        let running = notices.enter("late");
        assert!(running.given_up().now_or_never().is_none());
        notices.give_up("late");
        assert!(running.given_up().now_or_never().is_some());
        drop(running);
        assert!(notices.lock().running.is_empty());
        (0..2 * MOST).for_each(|number| notices.give_up(&number.to_string()));
        assert_eq!(notices.lock().given_up.len(), MOST);
    }
}
