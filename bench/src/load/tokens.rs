//! The credentials of the load generator: the key of the run, or tokens of an issuer of its own.
//!
//! Not here: the requests that show them (requests.rs).

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::http_once::credential;

/// The `iss` of the tokens.
pub(crate) const ISSUER: &str = "https://id.example/bench";
/// Tokens in turn: more than BEDS remembers.
const FRESH: usize = 40_000;
const BAD: usize = 2_000;
const CALLERS: usize = 64;

/// The credential of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Show {
    Key,
    Nothing,
    /// One token for all requests.
    Token,
    /// A new token for each.
    FreshTokens,
    /// The tokens of some callers, in turn.
    Callers,
    /// Tokens that another key has signed.
    BadTokens,
}

/// Writes the key of an issuer, and its public half as a JSON Web Key Set.
pub(crate) fn new_issuer(key: &Path, jwks: &Path) -> Result<()> {
    let made =
        Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| anyhow!("no key"))?;
    std::fs::write(key, made.as_ref())?;
    let x = URL_SAFE_NO_PAD.encode(read(key)?.public_key().as_ref());
    let set =
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "bench", "x": x}]});
    Ok(std::fs::write(jwks, set.to_string())?)
}

/// Lines of requests.
pub(super) fn lines(show: Show, issuer: Option<&Path>) -> Result<Vec<String>> {
    let count = match show {
        Show::Key => return Ok(vec![credential()]),
        Show::Nothing => return Ok(vec![String::new()]),
        Show::Token => 1,
        Show::FreshTokens => FRESH,
        Show::Callers => CALLERS,
        Show::BadTokens => BAD,
    };
    let key = match show {
        Show::BadTokens => Ed25519KeyPair::generate().map_err(|_| anyhow!("no key"))?,
        _ => read(issuer.context("tokens need --issuer")?)?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok((0..count)
        .map(|number| format!("Authorization: Bearer {}\r\n", token(&key, now, number)))
        .collect())
}

fn read(key: &Path) -> Result<Ed25519KeyPair> {
    let bytes = std::fs::read(key).with_context(|| format!("reading {}", key.display()))?;
    Ed25519KeyPair::from_pkcs8(&bytes).map_err(|_| anyhow!("{} is no key", key.display()))
}

fn token(key: &Ed25519KeyPair, now: u64, number: usize) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = json!({"alg": "EdDSA", "typ": "JWT", "kid": "bench"});
    let payload = json!({
        "iss": ISSUER, "aud": "beds", "sub": format!("caller{number}"), "iat": now, "exp": now + 3600,
        "roles": ["clerk"],
    });
    let message = format!("{}.{}", part(&header), part(&payload));
    let signature = URL_SAFE_NO_PAD.encode(key.sign(message.as_bytes()).as_ref());
    format!("{message}.{signature}")
}
