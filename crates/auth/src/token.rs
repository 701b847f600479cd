//! A token (RFC 7519), checked in a fixed order: its form, its header, its signature, its claims. Nothing of the payload is
//! believed before the signature has been verified.
//!
//! Not here: the keys of issuers (issuer.rs), the memory of verified tokens (door.rs).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use beds_core::Fields;
use beds_core::actor::{Actor, Claim, MAX_CLAIM_BYTES, MAX_ROLE_BYTES, MAX_ROLES};
use beds_core::gate::{BAD_SIGNATURE, Unproved};
use serde_json::{Map, Value};

use crate::issuer::{Issuer, IssuerKey};
use crate::names::{is_plain, is_role};

/// The longest token, in bytes.
pub(crate) const MAX_BYTES: usize = 8 * 1024;
/// The longest `sub`, in bytes.
const MAX_SUB_BYTES: usize = 200;
/// Beginnings of subjects that no issuer may give: those of programs, nodes and the command line.
pub(crate) const RESERVED: [&str; 4] = ["app:", "node:", "cli:", "uid "];
type Checked<T> = Result<T, Unproved>;

/// How far a time may be off, and how long a token may be good for, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Times {
    pub(crate) now: i64,
    pub(crate) leeway: i64,
    pub(crate) max_lifetime: i64,
}

/// A token whose signature and claims were checked.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) actor: Actor,
    /// Seconds since 1970.
    pub(crate) expires: i64,
}

/// Checks a token.
pub(crate) fn check(token: &str, issuers: &[Issuer], times: Times) -> Checked<Verified> {
    if token.len() > MAX_BYTES {
        return Err(Unproved("the token is too long"));
    }
    let mut parts = token.split('.');
    let (Some(header), Some(payload), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(Unproved("the token does not have three parts"));
    };
    let header = Header::read(header)?;
    let payload = part(payload).ok_or(Unproved("the payload is not JSON that can be trusted"))?;
    // The one look before the signature: an old token costs nothing, and its caller learns that it needs a new one.
    if seconds(&payload, "exp")?.is_some_and(|expires| has_expired(expires, times)) {
        return Err(Unproved("the token has expired"));
    }
    let signed = &token[..token.len() - signature.len() - 1];
    // A kid is unique within its issuer only: the signature tells which issuer it is.
    let named = issuers.iter().filter_map(|issuer| Some((issuer, header.key_of(issuer)?)));
    let mut named = named.peekable();
    if named.peek().is_none() {
        return Err(Unproved("no issuer has the key that the header names"));
    }
    let issuer = named
        .find(|(_, key)| is_signed(signed, signature, key))
        .map(|(issuer, _)| issuer)
        .ok_or(BAD_SIGNATURE)?;
    let expires = check_claims(&payload, issuer, times)?;
    Ok(Verified { actor: actor(&payload, issuer)?, expires })
}

struct Header {
    algorithm: String,
    key_id: Option<String>,
}

impl Header {
    fn read(text: &str) -> Checked<Self> {
        let header = part(text).ok_or(Unproved("the header is not JSON that can be trusted"))?;
        let text = |name: &str| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Unproved("a member of the header has another type")),
        };
        // Each of these would change how the token is to be read.
        if header.contains_key("crit") || header.contains_key("b64") {
            return Err(Unproved("the header demands an extension"));
        }
        let is_token = |kind: &str| {
            ["jwt", "at+jwt", "application/at+jwt"].iter().any(|k| k.eq_ignore_ascii_case(kind))
        };
        if text("typ")?.is_some_and(|kind| !is_token(&kind)) {
            return Err(Unproved("the header's typ is not that of a token"));
        }
        let algorithm = text("alg")?.ok_or(Unproved("the header has no alg"))?;
        Ok(Self { algorithm, key_id: text("kid")? })
    }

    /// The key that the header names, if the issuer has it for this algorithm. A header without a kid means an issuer's
    /// only key.
    fn key_of<'i>(&self, issuer: &'i Issuer) -> Option<&'i IssuerKey> {
        let key = match (&self.key_id, &issuer.keys[..]) {
            (Some(id), keys) => keys.iter().find(|key| key.id == *id),
            (None, [only]) => Some(only),
            (None, _) => None,
        };
        key.filter(|key| key.name == self.algorithm)
    }
}

fn is_signed(signed: &str, signature: &str, key: &IssuerKey) -> bool {
    jsonwebtoken::crypto::verify(signature, signed.as_bytes(), &key.key, key.algorithm)
        .unwrap_or(false)
}

/// Checks issuer, audience and times; answers when the token expires.
fn check_claims(payload: &Map<String, Value>, issuer: &Issuer, times: Times) -> Checked<i64> {
    let rules = &issuer.rules;
    if payload.get("iss").and_then(Value::as_str) != Some(&rules.issuer) {
        return Err(Unproved("iss is not the issuer of the key"));
    }
    let names_us = match payload.get("aud") {
        Some(Value::String(audience)) => *audience == rules.audience,
        Some(Value::Array(audiences)) => {
            audiences.iter().all(Value::is_string)
                && audiences.iter().any(|audience| audience == rules.audience.as_str())
        }
        _ => false,
    };
    if !names_us {
        return Err(Unproved("aud does not name this service"));
    }
    let expires = seconds(payload, "exp")?.ok_or(Unproved("there is no exp"))?;
    if has_expired(expires, times) {
        return Err(Unproved("the token has expired"));
    }
    let latest = times.now.saturating_add(times.leeway);
    let issued = seconds(payload, "iat")?;
    if seconds(payload, "nbf")?.is_some_and(|from| from > latest)
        || issued.is_some_and(|at| at > latest)
    {
        return Err(Unproved("the token is not good yet"));
    }
    if expires.saturating_sub(issued.unwrap_or(times.now)) > times.max_lifetime {
        return Err(Unproved("the token is good for longer than auth.max_lifetime"));
    }
    // A token that does not say when it was issued may be an old one.
    let is_old = |first: i64| issued.is_none_or(|at| at < first);
    if rules.not_before.is_some_and(|first| is_old(first.as_second())) {
        return Err(Unproved("the token was issued before not_before"));
    }
    Ok(expires)
}

/// True once a token may not be used any more. The clock is looked at for each request, also of a remembered token.
pub(crate) fn has_expired(expires: i64, times: Times) -> bool {
    expires.saturating_add(times.leeway) <= times.now
}

/// A time in whole seconds since 1970. A value of another type is refused: it must not count as absent.
fn seconds(payload: &Map<String, Value>, name: &str) -> Checked<Option<i64>> {
    match payload.get(name) {
        None => Ok(None),
        Some(value) => value
            .as_i64()
            .filter(|seconds| *seconds >= 0)
            .map(Some)
            .ok_or(Unproved("exp, nbf or iat is not a whole number")),
    }
}

/// The caller whom the payload names.
fn actor(payload: &Map<String, Value>, issuer: &Issuer) -> Checked<Actor> {
    let rules = &issuer.rules;
    let sub = payload.get("sub").and_then(Value::as_str).ok_or(Unproved("there is no sub"))?;
    let subject = format!("{}{sub}", rules.prefix);
    let is_reserved = |text: &str| RESERVED.iter().any(|start| text.starts_with(start));
    let is_name = !sub.is_empty() && sub.len() <= MAX_SUB_BYTES && is_plain(sub);
    if !is_name || is_reserved(sub) || is_reserved(&subject) {
        return Err(Unproved("sub is no name that an issuer may give"));
    }
    if rules.denied.contains(&subject) {
        return Err(Unproved("the subject is denied"));
    }
    let payload = Value::Object(payload.clone());
    let mut actor = Actor { subject, ..Actor::default() };
    actor.roles = match rules.roles.as_deref().and_then(|pointer| payload.pointer(pointer)) {
        None => Vec::new(),
        Some(roles) => self::roles(roles, issuer)?,
    };
    for (name, pointer) in &rules.claims {
        let claim = match payload.pointer(pointer) {
            None => continue,
            Some(Value::String(text)) if text.len() <= MAX_CLAIM_BYTES && is_plain(text) => {
                Claim::Text(text.clone())
            }
            Some(value) => value
                .as_i64()
                .map(Claim::Whole)
                .ok_or(Unproved("a claim is neither a text nor a whole number"))?,
        };
        actor.claims.insert(name.clone(), claim);
    }
    Ok(actor)
}

/// The roles that count, each once.
fn roles(roles: &Value, issuer: &Issuer) -> Checked<Vec<String>> {
    const NONE: Unproved = Unproved("the roles are no list of names");
    let named = roles.as_array().filter(|roles| roles.len() <= MAX_ROLES).ok_or(NONE)?;
    let map = &issuer.rules.map_roles;
    let mut kept = Vec::new();
    for role in named {
        let role = role.as_str().filter(|r| (1..=MAX_ROLE_BYTES).contains(&r.len())).ok_or(NONE)?;
        let role = if map.is_empty() { Some(role) } else { map.get(role).map(String::as_str) };
        // A name that no template can hold gives no right, and could be a word of BEDS's own.
        let role = role.filter(|role| is_role(role));
        kept.extend(role.map(str::to_owned));
    }
    kept.sort();
    kept.dedup();
    Ok(kept)
}

/// The object in a part of a token. A name that stands twice in it, at any depth, is refused: two readers could take different ones.
fn part(text: &str) -> Option<Fields> {
    Fields::from_slice(&URL_SAFE_NO_PAD.decode(text).ok()?).ok()
}

#[cfg(test)]
mod tests;
