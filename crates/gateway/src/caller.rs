//! The caller of a request: the credential in its header, and the identity that this proves. Nothing else of a request is read
//! before.
//!
//! Not here: tokens and keys themselves (crate auth), rights (records.rs and the other routes).

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use beds_core::access::{self, Roles};
use beds_core::gate::BAD_SIGNATURE;
use beds_core::{Actor, BedsError, ErrorKind, Result};
use jiff::Timestamp;

use crate::client_certificate::{PeerCertificate, Shown};
use crate::live::hub::Proof;
use crate::problem::ProblemDocument;
use crate::{Room, metadata};

/// The addresses that proxies have seen.
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The proved caller, among the extensions of a request. One that no check has put there has no name and no right.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    pub(crate) actor: Arc<Actor>,
    /// The node asks for no credential, so rights are not looked at.
    is_free: bool,
}

impl Caller {
    pub(crate) fn of(request: &Request) -> Self {
        request.extensions().get().cloned().unwrap_or_default()
    }

    /// One of whom no credential is asked.
    fn free() -> Self {
        Self { actor: Arc::new(Actor::of_node("")), is_free: true }
    }

    /// Makes it the caller of a request.
    pub(crate) fn enter(self, request: &mut Request) {
        // An application's routes find the caller here, as `Extension<Arc<Actor>>`.
        request.extensions_mut().insert(Arc::clone(&self.actor));
        request.extensions_mut().insert(self);
    }

    /// The identity whose rights count; none where every right is given.
    pub(crate) fn judged(&self) -> Option<&Actor> {
        (!self.is_free).then_some(&*self.actor)
    }

    /// An error unless the caller has one of these roles.
    pub(crate) fn check(&self, roles: &Roles, act: &str) -> Result<()> {
        let may = self.judged().is_none_or(|actor| access::has_one(actor, roles));
        if may {
            return Ok(());
        }
        let text = format!("none of the caller's roles may {act}");
        Err(BedsError::new(ErrorKind::NotAllowed, text))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Infallible> {
        Ok(parts.extensions.get().cloned().unwrap_or_default())
    }
}

/// A layer around the routes, behind the checks of host, origin and form.
pub(crate) async fn know(
    State(room): State<Arc<Room>>,
    mut request: Request,
    next: Next,
) -> Response {
    match caller(&room, &request) {
        Ok(caller) => {
            caller.enter(&mut request);
            next.run(request).await
        }
        Err(error) => refused(&room, &request, error),
    }
}

/// The address of a caller, without the port; empty where it is not known.
pub(crate) fn address(room: &Room, request: &Request) -> String {
    address_of(room, request).map(|address| address.to_string()).unwrap_or_default()
}

/// The same as a value. Behind a proxy that the configuration names it is the last one in `X-Forwarded-For` that is no such proxy: the
/// ones before it are the caller's own words.
fn address_of(room: &Room, request: &Request) -> Option<IpAddr> {
    let ConnectInfo(peer) = request.extensions().get::<ConnectInfo<SocketAddr>>()?;
    let (peer, is_proxy) = (peer.ip(), |address: &IpAddr| room.config.proxies.contains(address));
    if !is_proxy(&peer) {
        return Some(peer);
    }
    let told = request.headers().get_all(FORWARDED_FOR).iter().filter_map(|v| v.to_str().ok());
    let told: Vec<&str> = told.flat_map(|text| text.split(',')).collect();
    let mut addresses = told.iter().rev().map_while(|text| told_address(text));
    Some(addresses.find(|address| !is_proxy(address)).unwrap_or(peer))
}

/// The proof of a request's caller, kept: the credential or the certificate is looked at again for as long as the caller is served.
pub(crate) struct KeptProof {
    room: Arc<Room>,
    credential: Option<String>,
    certificate: Shown,
}

impl KeptProof {
    /// Of a request whose caller is known.
    pub(crate) fn of(room: &Arc<Room>, request: &Request) -> Arc<Self> {
        let credential = credential(request.headers()).ok().flatten().map(str::to_owned);
        let certificate = request.extensions().get::<Shown>().cloned().flatten();
        Arc::new(Self { room: Arc::clone(room), credential, certificate })
    }
}

impl KeptProof {
    /// Of a credential that was shown otherwise than in a header, and its caller.
    ///
    /// # Errors
    /// [`ErrorKind::Unauthenticated`]; [`ErrorKind::TooMany`] where its address has shown too many bad ones.
    pub(crate) fn shown(
        room: &Arc<Room>,
        address: &Address,
        credential: String,
    ) -> Result<(Arc<Self>, Arc<Actor>)> {
        let actor = accepted(room, address, &credential)?;
        let (room, credential) = (Arc::clone(room), Some(credential));
        Ok((Arc::new(Self { room, credential, certificate: None }), actor))
    }

    /// The caller as it is now; none where it is not believed any more.
    pub(crate) fn prove(&self) -> Option<Caller> {
        let gate = &self.room.lent.gate;
        let proved = |actor| Some(Caller { actor, is_free: false });
        if let Some(credential) = &self.credential {
            return gate.caller(credential).ok().and_then(proved);
        }
        match certified(&self.room, self.certificate.as_deref()).ok()? {
            Some(actor) => proved(actor),
            None => (!gate.is_required()).then(Caller::free),
        }
    }
}

impl Proof for KeptProof {
    fn caller(&self) -> Option<Arc<Actor>> {
        self.prove().map(|caller| caller.actor)
    }
}

/// The address of a caller, as far as it is its own: bad credentials are counted by it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Address(Option<IpAddr>);

impl Address {
    pub(crate) fn of(room: &Room, request: &Request) -> Self {
        Self(own_address(room, request))
    }
}

/// The parts of a request that tell where it comes from, for further ones of the same connection.
#[derive(Debug, Clone)]
pub(crate) struct Forwarded {
    peer: Option<ConnectInfo<SocketAddr>>,
    told: Vec<HeaderValue>,
}

impl Forwarded {
    pub(crate) fn of(request: &Request) -> Self {
        let told = request.headers().get_all(FORWARDED_FOR).iter().cloned().collect();
        Self { peer: request.extensions().get().copied(), told }
    }

    pub(crate) fn enter(&self, request: &mut Request) {
        if let Some(peer) = self.peer {
            request.extensions_mut().insert(peer);
        }
        for told in &self.told {
            request.headers_mut().append(FORWARDED_FOR, told.clone());
        }
    }
}

/// True where a request shows no credential and no certificate, and needs one.
pub(crate) fn shows_none(room: &Room, request: &Request) -> bool {
    let shown = request.extensions().get::<Shown>().and_then(Option::as_deref);
    room.lent.gate.is_required()
        && !request.headers().contains_key(AUTHORIZATION)
        && matches!(certified(room, shown), Ok(None))
}

/// The caller whom a request proves.
pub(crate) fn caller(room: &Room, request: &Request) -> Result<Caller> {
    let gate = &room.lent.gate;
    let shown = request.extensions().get::<Shown>().and_then(Option::as_deref);
    let certified = certified(room, shown)?;
    let Some(credential) = credential(request.headers())? else {
        if let Some(actor) = certified {
            return Ok(Caller { actor, is_free: false });
        }
        return match gate.is_required() {
            true => Err(unknown("send a token or a key, as Authorization: Bearer …")),
            // Workers look at rights too, and know nothing of this.
            false => Ok(Caller::free()),
        };
    };
    if certified.is_some() {
        let text =
            "two credentials in one request: the client certificate and the header Authorization";
        return Err(BedsError::new(ErrorKind::BadHeader, text).with_field("Authorization"));
    }
    let actor = accepted(room, &Address::of(room, request), credential)?;
    Ok(Caller { actor, is_free: false })
}

/// The caller whom a bearer credential proves.
fn accepted(room: &Room, Address(address): &Address, credential: &str) -> Result<Arc<Actor>> {
    let gate = &room.lent.gate;
    let is_flooding =
        !room.buckets.is_unused() && address.is_some_and(|address| room.buckets.is_empty(address));
    if is_flooding {
        // A good caller at the same address goes on.
        return gate.known(credential).ok_or_else(|| {
            let text =
                "this address has shown too many tokens with bad signatures; try again later";
            BedsError::new(ErrorKind::TooMany, text)
        });
    }
    gate.caller(credential).map_err(|unproved| {
        // The others took no time.
        if unproved == BAD_SIGNATURE
            && let Some(address) = *address
        {
            room.buckets.take(address);
        }
        // One text for all of them: a caller who guesses learns nothing.
        unknown("the credential is not accepted here; the node's log has the reason")
            .with_source(unproved)
    })
}

/// The address of a caller that is its own: none where it is that of a proxy, behind which all callers would share it.
fn own_address(room: &Room, request: &Request) -> Option<IpAddr> {
    let address = address_of(room, request)?;
    let is_hidden = room.config.behind_proxy
        && (room.config.proxies.is_empty() || room.config.proxies.contains(&address));
    (!is_hidden).then_some(address)
}

/// An address with or without a port, as proxies write it.
fn told_address(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let plain = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    plain.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

/// The caller for whom the connection's certificate stands; none where it has none, or one that stands for no caller.
fn certified(room: &Room, shown: Option<&PeerCertificate>) -> Result<Option<Arc<Actor>>> {
    let Some(certificate) = shown else { return Ok(None) };
    let authorities = room.lent.tls.as_ref().map(|tls| tls.authorities.number());
    // One of authorities that are not believed any more is as none.
    if authorities != Some(certificate.authorities) {
        return Ok(None);
    }
    let actor = room.lent.gate.certificate(&certificate.names);
    // A connection can outlive the certificate that opened it.
    match actor {
        Some(_) if Timestamp::now().as_second() > certificate.until => {
            Err(unknown("the client certificate has expired"))
        }
        actor => Ok(actor),
    }
}

/// The bearer credential of a request; none where it shows none.
fn credential(headers: &HeaderMap) -> Result<Option<&str>> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        let text = "two credentials in one request; send the header Authorization once";
        return Err(BedsError::new(ErrorKind::BadHeader, text).with_field("Authorization"));
    }
    let named = value.to_str().ok().and_then(|text| text.split_once(' '));
    match named {
        Some((scheme, credential)) if scheme.eq_ignore_ascii_case("bearer") => Ok(Some(credential)),
        _ => Err(unknown("send a token or a key, as Authorization: Bearer …")),
    }
}

fn unknown(text: &str) -> BedsError {
    BedsError::new(ErrorKind::Unauthenticated, text)
}

/// The answer to a caller who is not known. Anyone can make such requests, so each address is recorded once a minute, with the number
/// of the others.
fn refused(room: &Room, request: &Request, error: BedsError) -> Response {
    let (address, event_id) = (address(room, request), room.event_id());
    // Of a request without a credential, and of too many, the text is the reason.
    let reason = error.source.as_ref().map_or_else(|| error.message.clone(), ToString::to_string);
    if let Some(before) = room.complaints.say(&format!("credential {address} {reason}")) {
        tracing::warn!(event.id = event_id.0, address, reason, before, "A caller is not known.");
    }
    if let Some(before) = room.denials.say(&address) {
        room.lent.client.denied(&event_id, &address, &error, before);
    }
    let is_shown = request.headers().contains_key(AUTHORIZATION);
    let is_unknown = error.kind == ErrorKind::Unauthenticated;
    let mut response = ProblemDocument::new(error, event_id).into_response();
    if is_unknown {
        let challenge = metadata::challenge(room, request.headers(), is_shown);
        response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    response
}
