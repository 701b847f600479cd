//! [`Session`]: one open connection: reads messages, works on them beside each other, and writes answers and changes. It ends with a code
//! that says why.
//!
//! Not here: the handshake (../socket.rs), the forms of the messages (frames.rs).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::ws::{CloseFrame, Message, WebSocket};
use beds_core::{BedsError, ErrorKind, Result};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::MissedTickBehavior;

use super::frames::{self, Inbound, Subscribe, code};
use super::requests::{self, Inner};
use super::{SocketProof, reason};
use crate::Room;
use crate::caller::{Caller, Forwarded};
use crate::live::events::check;
use crate::live::hub::{Ending, Frame, Proof, Topic};
use crate::live::replay::gone;
use crate::live::subscription::{Next, Subscription};
use crate::live::ticket::WatchedTicket;

/// Messages that are worked on at once. Beyond that the connection is not read, so that the caller's own system makes it wait.
const UNDER_WAY: usize = 32;
/// Subscriptions and watches of one connection.
const MOST_OPEN: usize = 50;
/// Messages that wait to be written.
const WAITING: usize = 256;
/// How long one message may take to be written.
const WRITTEN_WITHIN: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(20);
const SILENCE: Duration = Duration::from_secs(60);
/// Between two looks at the caller.
const JUDGED: Duration = Duration::from_millis(400);
/// How long the last word may take.
const GOODBYE: Duration = Duration::from_secs(2);

pub(super) struct Session {
    room: Arc<Room>,
    inner: Inner,
    proof: Arc<SocketProof>,
    from: Forwarded,
    /// Subscriptions and watches, by their ids.
    open: Arc<Mutex<HashMap<String, AbortHandle>>>,
}

/// A message to the caller.
enum Out {
    Text(String),
    Close(u16, String),
}

type OutQueue = mpsc::Sender<Out>;

impl Session {
    pub(super) fn new(
        room: Arc<Room>,
        inner: Inner,
        proof: Arc<SocketProof>,
        from: Forwarded,
    ) -> Self {
        Self { room, inner, proof, from, open: Arc::default() }
    }

    pub(super) async fn serve(self, socket: WebSocket) {
        let (sink, mut stream) = socket.split();
        let (out, queue) = mpsc::channel(WAITING);
        // A task of its own: a caller that takes nothing must not keep the credential from being looked at.
        let mut writer = self.room.tasks.spawn(write(sink, queue));
        let mut work = JoinSet::new();
        let under_way = Arc::new(Semaphore::new(UNDER_WAY));
        let stop = self.room.lent.probes.stop.clone();
        let mut judged = tokio::time::interval(JUDGED);
        judged.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let goodbye = loop {
            tokio::select! {
                (place, message) = read(&mut stream, &under_way) => {
                    heard = Instant::now();
                    match message {
                        Some(Ok(Message::Text(text))) => {
                            self.message(&text, &out, place, &mut work).await;
                        }
                        Some(Ok(Message::Binary(_))) => {
                            let error = malformed("send texts: each message is one JSON object");
                            say(&out, frames::problem(None, &error)).await;
                        }
                        Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                        Some(Ok(Message::Close(_))) | None => break None,
                        Some(Err(error)) => {
                            // The size is the one mistake of which the caller can be told.
                            let is_size = error.to_string().contains("too long");
                            break is_size.then(|| (1009, "a message has 64 KiB at most".to_owned()));
                        }
                    }
                }
                _ = judged.tick() => {
                    if self.proof.prove().is_none() {
                        break Some((code::CREDENTIAL, Ending::Credential.text().to_owned()));
                    }
                    // Where all places are taken the connection is not read, so its pongs are not heard either.
                    if heard.elapsed() > SILENCE && under_way.available_permits() > 0 {
                        break Some((code::SILENT, "not a sign of life for 60 s".to_owned()));
                    }
                }
                () = stop.cancelled() => {
                    break Some((code::STOPPING, Ending::Stopping.text().to_owned()));
                }
                // It broke, or was too slow.
                _ = &mut writer => return,
                Some(_) = work.join_next(), if !work.is_empty() => {}
            }
        };
        work.shutdown().await;
        if let Some((code, text)) = goodbye {
            drop(tokio::time::timeout(GOODBYE, out.send(Out::Close(code, text))).await);
        }
        drop(out);
        if tokio::time::timeout(GOODBYE, &mut writer).await.is_err() {
            writer.abort();
        }
    }

    async fn message(
        &self,
        text: &str,
        out: &OutQueue,
        place: OwnedSemaphorePermit,
        work: &mut JoinSet<()>,
    ) {
        let read = match Inbound::read(text) {
            Ok(read) => read,
            Err(error) => {
                // The id, where as much as that can be read.
                let id = serde_json::from_str::<serde_json::Value>(text).ok();
                let id = id.as_ref().and_then(|value| value.get("id")?.as_str());
                return say(out, frames::problem(id, &error)).await;
            }
        };
        let id = read.id.clone().unwrap_or_default();
        if let Err(error) = self.begin(read, out, place, work).await {
            say(out, frames::problem(Some(&id), &error)).await;
        }
    }

    /// Begins the work on a message. An error is the answer to it.
    async fn begin(
        &self,
        read: Inbound<'_>,
        out: &OutQueue,
        place: OwnedSemaphorePermit,
        work: &mut JoinSet<()>,
    ) -> Result<()> {
        let id = read.id.unwrap_or_default();
        // The rights of the moment: the credential can have gone since the last message.
        let caller = self
            .proof
            .prove()
            .ok_or_else(|| BedsError::new(ErrorKind::Unauthenticated, Ending::Credential.text()))?;
        if let Some(auth) = read.auth {
            self.proof.renew(&caller.actor.subject, auth.token)?;
            say(out, frames::known(&caller.actor.subject)).await;
        } else if let Some(asked) = read.request {
            let request = requests::request(&asked, caller, &self.from)?;
            let (inner, out) = (self.inner.clone(), out.clone());
            work.spawn(async move {
                let answered = inner.answer(&id, request).await;
                say(&out, answered.unwrap_or_else(|e| frames::problem(Some(&id), &e))).await;
                drop(place);
            });
        } else if let Some(subscribe) = read.subscribe {
            check(&self.room, &caller, &subscribe.template)?;
            self.keep_open(&id, work, subscription(self, &id, subscribe, &caller, out, place)?)?;
        } else if let Some(watch) = read.watch {
            self.keep_open(&id, work, ticket(self, &id, &watch.ticket, &caller, out, place))?;
        } else if let Some(other) = read.stop {
            let stopped = self.lock().remove(&other);
            let stopped =
                stopped.ok_or_else(|| malformed("`stop` names no open subscription or watch"))?;
            stopped.abort();
            say(out, frames::told(&id, "stopped", &json!(other))).await;
        }
        Ok(())
    }

    /// Does a piece of work that has no end of its own, until it is stopped.
    fn keep_open(
        &self,
        id: &str,
        work: &mut JoinSet<()>,
        run: impl Future<Output = ()> + Send + 'static,
    ) -> Result<()> {
        let mut open = self.lock();
        if open.contains_key(id) {
            return Err(malformed("a subscription or a watch with this id is open"));
        }
        if open.len() >= MOST_OPEN {
            let text =
                format!("a connection has {MOST_OPEN} subscriptions and watches at most; stop one");
            return Err(BedsError::new(ErrorKind::TooMany, text));
        }
        let (table, own) = (Arc::clone(&self.open), id.to_owned());
        let handle = work.spawn(async move {
            run.await;
            table.lock().unwrap_or_else(PoisonError::into_inner).remove(&own);
        });
        open.insert(id.to_owned(), handle);
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, AbortHandle>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn subscription(
    session: &Session,
    id: &str,
    asked: Subscribe,
    caller: &Caller,
    out: &OutQueue,
    place: OwnedSemaphorePermit,
) -> Result<impl Future<Output = ()> + Send + 'static + use<>> {
    let after = asked.after.map(|text| text.parse().map_err(|()| gone())).transpose()?;
    let topic = Topic { template: asked.template, id: asked.record };
    let proof: Arc<dyn Proof> = Arc::<SocketProof>::clone(&session.proof);
    let (source, caller) = (session.room.live.source.clone(), (Arc::clone(&caller.actor), proof));
    let (id, out) = (id.to_owned(), out.clone());
    Ok(async move {
        let begun = Subscription::begin(source, topic, caller, after).await;
        drop(place);
        let (mut subscription, mut cursor) = match begun {
            Ok((subscription, cursor)) => (subscription, cursor.to_string()),
            Err(error) => return say(&out, frames::problem(Some(&id), &error)).await,
        };
        say(&out, frames::told(&id, "subscribed", &json!({"cursor": cursor}))).await;
        loop {
            match subscription.next().await {
                Next::Frame(Frame::Change { cursor: at, json, .. }) => {
                    cursor = at.to_string();
                    say(&out, frames::change(&id, &cursor, &json)).await;
                }
                Next::Frame(Frame::Gap { cursor: at }) => {
                    cursor = at.to_string();
                    let gap = json!({"cursor": cursor, "text": "changes are missing here: read the records again"});
                    say(&out, frames::told(&id, "gap", &gap)).await;
                }
                Next::End(ending) => {
                    let end =
                        json!({"reason": ending.code(), "text": ending.text(), "cursor": cursor});
                    return say(&out, frames::told(&id, "end", &end)).await;
                }
            }
        }
    })
}

fn ticket(
    session: &Session,
    id: &str,
    ticket: &str,
    caller: &Caller,
    out: &OutQueue,
    place: OwnedSemaphorePermit,
) -> impl Future<Output = ()> + Send + 'static + use<> {
    let mut context = session.room.lent.client.context(session.room.config.default_timeout);
    context.actor = Arc::clone(&caller.actor);
    let proof: Arc<dyn Proof> = Arc::<SocketProof>::clone(&session.proof);
    let (room, ticket) = (Arc::clone(&session.room), ticket.to_owned());
    let (id, out) = (id.to_owned(), out.clone());
    async move {
        let begun = WatchedTicket::begin(room, &ticket, context, proof).await;
        drop(place);
        let mut watched = match begun {
            Ok(watched) => watched,
            Err(error) => return say(&out, frames::problem(Some(&id), &error)).await,
        };
        loop {
            say(&out, frames::told(&id, "ticket", &watched.json())).await;
            let end = match watched.next().await {
                Ok(true) => continue,
                Ok(false) => json!({"reason": "ended", "text": "the ticket has ended"}),
                Err(ending) => json!({"reason": ending.code(), "text": ending.text()}),
            };
            return say(&out, frames::told(&id, "end", &end)).await;
        }
    }
}

/// The next message, with a place for the work on it.
async fn read(
    stream: &mut SplitStream<WebSocket>,
    under_way: &Arc<Semaphore>,
) -> (OwnedSemaphorePermit, Option<std::result::Result<Message, axum::Error>>) {
    match Arc::clone(under_way).acquire_owned().await {
        Ok(place) => (place, stream.next().await),
        // It is never closed.
        Err(_) => std::future::pending().await,
    }
}

async fn say(out: &OutQueue, text: String) {
    // The writer can have ended, and the connection with it.
    drop(out.send(Out::Text(text)).await);
}

/// Writes until the queue ends, or the caller takes nothing.
async fn write(mut sink: SplitSink<WebSocket, Message>, mut queue: mpsc::Receiver<Out>) {
    let mut ping = tokio::time::interval(PING);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let message = tokio::select! {
            out = queue.recv() => match out {
                Some(Out::Text(text)) => Message::text(text),
                Some(Out::Close(code, text)) => {
                    let frame = CloseFrame { code, reason: reason(&text).into() };
                    drop(tokio::time::timeout(GOODBYE, sink.send(Message::Close(Some(frame)))).await);
                    return;
                }
                None => return,
            },
            _ = ping.tick() => Message::Ping(axum::body::Bytes::new()),
        };
        match tokio::time::timeout(WRITTEN_WITHIN, sink.send(message)).await {
            Ok(Ok(())) => {}
            Ok(Err(_)) => return,
            Err(_) => {
                metrics::counter!("beds_live_ended_total", "reason" => "slow").increment(1);
                let frame =
                    CloseFrame { code: code::SLOW, reason: reason(Ending::Slow.text()).into() };
                drop(tokio::time::timeout(GOODBYE, sink.send(Message::Close(Some(frame)))).await);
                return;
            }
        }
    }
}

fn malformed(text: &str) -> BedsError {
    BedsError::new(ErrorKind::MalformedBody, text)
}
