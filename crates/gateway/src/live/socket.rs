//! The WebSocket `/v1/ws`, subprotocol `beds.v1`: requests, subscriptions and tickets over one connection (docs/live.md). The caller is known
//! by the header of the handshake, or by the first message: a page in a browser cannot send a header. Never by the address, which logs keep.
//!
//! Not here: the messages (socket/frames.rs), the work on them (socket/session.rs).

mod frames;
mod requests;
mod session;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Extension;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response as Http};
use beds_core::{Actor, BedsError, ErrorKind, Operation, Result};
use tokio::sync::OwnedSemaphorePermit;

use super::hub::Proof;
use super::{LivePlace, place};
use crate::caller::{Address, Caller, Forwarded, KeptProof};
use crate::problem::ProblemDocument;
use crate::refusals::report_refused;
use crate::{Room, RoomState, caller, request};
use frames::{Inbound, code};
pub(crate) use requests::Inner;
use session::Session;

const PROTOCOL: &str = "beds.v1";
/// The largest message of a caller, in bytes.
const MOST_BYTES: usize = 64 * 1024;
/// Read at once. The default of 128 KiB would be each connection's, also of those that are idle.
const READ_AT_ONCE: usize = 4 * 1024;
/// The largest message to a caller, in bytes. Each is flushed before the next.
const MOST_WRITTEN: usize = 16 * 1024 * 1024;
/// A caller without a name says within that time which one it has.
const TO_BE_KNOWN: Duration = Duration::from_secs(5);

/// The caller of a connection, whose credential can be renewed.
pub(crate) struct SocketProof {
    room: Arc<Room>,
    kept: Mutex<Arc<KeptProof>>,
    /// Where the credentials come from.
    address: Address,
}

impl SocketProof {
    fn kept(&self) -> Arc<KeptProof> {
        Arc::clone(&self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The caller as it is now.
    fn prove(&self) -> Option<Caller> {
        self.kept().prove()
    }

    /// Takes another credential of the same caller.
    fn renew(&self, subject: &str, token: String) -> Result<()> {
        let (proof, actor) = KeptProof::shown(&self.room, &self.address, token)?;
        if actor.subject != subject {
            let text = "the credential is another caller's; open another connection for it";
            return Err(BedsError::new(ErrorKind::Unauthenticated, text));
        }
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = proof;
        Ok(())
    }
}

impl Proof for SocketProof {
    fn caller(&self) -> Option<Arc<Actor>> {
        self.prove().map(|caller| caller.actor)
    }
}

/// The handshake.
pub(crate) async fn open(
    State(room): RoomState,
    Extension(inner): Extension<Inner>,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: Request,
) -> Http {
    let (context, _) = request::context(&room, &request);
    match begun(&room, upgrade, &request) {
        Ok((upgrade, proof, place)) => {
            let (tasks, from) = (room.tasks.clone(), Forwarded::of(&request));
            upgrade.on_upgrade(move |socket| {
                let opened = Opened { room, inner, from, place };
                tasks.track_future(opened.serve(socket, proof))
            })
        }
        Err(error) => {
            report_refused(&room, &context, Operation::List, (None, None), &error);
            ProblemDocument::new(error, context.event_id).into_response()
        }
    }
}

/// The proof of the caller, or a place among those whose credential is to come.
type Handshake = std::result::Result<Arc<KeptProof>, OwnedSemaphorePermit>;

fn begun(
    room: &Arc<Room>,
    upgrade: std::result::Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    request: &Request,
) -> Result<(WebSocketUpgrade, (Handshake, Address), Option<LivePlace>)> {
    let bad = |text: &str| Err(BedsError::new(ErrorKind::BadHeader, text));
    if request.uri().query().is_some_and(|query| !query.is_empty()) {
        return bad(
            "a WebSocket takes no arguments in its URL; a credential goes into the header or the first message",
        );
    }
    let Ok(upgrade) = upgrade else {
        return bad(
            "this is the path of a WebSocket; ask for it with an upgrade to websocket, version 13",
        );
    };
    let upgrade = upgrade.protocols([PROTOCOL]);
    if upgrade.selected_protocol().is_none() {
        return bad("name the subprotocol: Sec-WebSocket-Protocol: beds.v1");
    }
    let upgrade = upgrade
        .read_buffer_size(READ_AT_ONCE)
        .write_buffer_size(0)
        .max_write_buffer_size(MOST_WRITTEN)
        .max_message_size(MOST_BYTES)
        .max_frame_size(MOST_BYTES);
    let address = Address::of(room, request);
    if !caller::shows_none(room, request) {
        let caller = caller::caller(room, request)?;
        let place = place(room, &caller)?;
        return Ok((upgrade, (Ok(KeptProof::of(room, request)), address), Some(place)));
    }
    crate::limits::is_open(room)?;
    let unknown = Arc::clone(&room.live.unknown).try_acquire_owned().map_err(|_| {
        let text = "too many WebSockets wait for their callers' credentials; send it in the header, or try again later";
        BedsError::new(ErrorKind::Unavailable, text)
    })?;
    Ok((upgrade, (Err(unknown), address), None))
}

/// A connection, from its handshake on.
struct Opened {
    room: Arc<Room>,
    inner: Inner,
    from: Forwarded,
    place: Option<LivePlace>,
}

impl Opened {
    async fn serve(self, mut socket: WebSocket, (shown, address): (Handshake, Address)) {
        let kept = match shown {
            Ok(kept) => Ok((kept, self.place)),
            Err(unknown) => {
                let introduced = introduced(&self.room, &mut socket, &address).await;
                drop(unknown);
                introduced.and_then(|(kept, caller)| {
                    place(&self.room, &caller).map(|place| (kept, Some(place)))
                })
            }
        };
        match kept {
            Ok((kept, place)) => {
                let room = Arc::clone(&self.room);
                let proof = SocketProof { room, kept: Mutex::new(kept), address };
                let session = Session::new(self.room, self.inner, Arc::new(proof), self.from);
                session.serve(socket).await;
                drop(place);
            }
            Err(error) => {
                let code = match error.kind {
                    ErrorKind::Unauthenticated => code::CREDENTIAL,
                    _ => code::TRY_LATER,
                };
                let frame = CloseFrame { code, reason: reason(&error.message).into() };
                // The caller may be gone.
                drop(
                    tokio::time::timeout(TO_BE_KNOWN, socket.send(Message::Close(Some(frame))))
                        .await,
                );
            }
        }
    }
}

/// Waits for the first message, which shows the credential.
async fn introduced(
    room: &Arc<Room>,
    socket: &mut WebSocket,
    address: &Address,
) -> Result<(Arc<KeptProof>, Caller)> {
    let unknown = || {
        let text = "show a credential first: {\"auth\":{\"token\":\"…\"}}, within 5 s";
        BedsError::new(ErrorKind::Unauthenticated, text)
    };
    let first = tokio::time::timeout(TO_BE_KNOWN, socket.recv()).await;
    let Ok(Some(Ok(Message::Text(text)))) = first else { return Err(unknown()) };
    let token = Inbound::read(&text).ok().and_then(|first| first.auth);
    let token = token.ok_or_else(unknown)?.token;
    let (proof, _) = KeptProof::shown(room, address, token)?;
    let caller = proof.prove().ok_or_else(unknown)?;
    let told = frames::known(&caller.actor.subject);
    drop(tokio::time::timeout(TO_BE_KNOWN, socket.send(Message::text(told))).await);
    Ok((proof, caller))
}

/// The text of a close frame has 123 bytes at most (RFC 6455, 5.5).
fn reason(text: &str) -> String {
    text[..text.floor_char_boundary(123)].to_owned()
}
