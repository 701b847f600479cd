//! [`Issuer`]: an authority and its public keys, read from a JSON Web Key Set (RFC 7517).
//!
//! Not here: the check of a token (token.rs).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use beds_core::{Fields, config};
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// The shortest RSA key, in bytes of its modulus.
const FEWEST_RSA_BYTES: usize = 256;
/// The shortest secret of HS256, in bytes.
const FEWEST_SECRET_BYTES: usize = 32;

/// An authority whose tokens are accepted.
pub(crate) struct Issuer {
    pub(crate) rules: config::Issuer,
    pub(crate) keys: Vec<IssuerKey>,
}

/// A key of an issuer, for one algorithm only.
pub(crate) struct IssuerKey {
    pub(crate) id: String,
    /// As a token's header names it.
    pub(crate) name: &'static str,
    pub(crate) algorithm: Algorithm,
    pub(crate) key: DecodingKey,
}

impl IssuerKey {
    pub(crate) fn is_secret(&self) -> bool {
        self.algorithm == Algorithm::HS256
    }
}

/// The keys in a JSON Web Key Set, or every mistake in it.
pub(crate) fn keys(text: &str) -> Result<Vec<IssuerKey>, Vec<String>> {
    let set = Fields::from_slice(text.as_bytes())
        .ok()
        .and_then(|set| set.get("keys")?.as_array().cloned())
        .ok_or_else(|| vec!["it is no JSON object with an array `keys`".to_owned()])?;
    let (mut keys, mut mistakes) = (Vec::<IssuerKey>::new(), Vec::new());
    for (position, value) in set.iter().enumerate() {
        match key(value) {
            Ok(key) if keys.iter().any(|other| other.id == key.id) => {
                mistakes.push(format!("the kid {:?} stands twice", key.id));
            }
            Ok(key) => keys.push(key),
            Err(reason) => mistakes.push(format!("key {}: {reason}", position + 1)),
        }
    }
    if set.is_empty() {
        mistakes.push("it has no key".to_owned());
    }
    if mistakes.is_empty() { Ok(keys) } else { Err(mistakes) }
}

fn key(value: &Value) -> Result<IssuerKey, String> {
    let jwk: Jwk = serde_json::from_value(value.clone())
        .map_err(|_| "it is no JSON Web Key with kty, kid and alg".to_owned())?;
    let id = jwk.common.key_id.clone().filter(|id| !id.is_empty()).ok_or("it has no kid")?;
    if matches!(&jwk.common.public_key_use, Some(other) if *other != PublicKeyUse::Signature) {
        return Err("its use is not sig".to_owned());
    }
    // A file that is handed around must not hold the half that signs.
    if value.get("d").is_some() {
        return Err("it holds a private key; keep only the public half".to_owned());
    }
    let bytes = |text: &str| URL_SAFE_NO_PAD.decode(text).map_or(0, |bytes| bytes.len());
    let (name, algorithm) = match (&jwk.algorithm, jwk.common.key_algorithm) {
        (AlgorithmParameters::OctetKeyPair(pair), Some(KeyAlgorithm::EdDSA))
            if pair.curve == EllipticCurve::Ed25519 && bytes(&pair.x) == 32 =>
        {
            ("EdDSA", Algorithm::EdDSA)
        }
        (AlgorithmParameters::EllipticCurve(point), Some(KeyAlgorithm::ES256))
            if point.curve == EllipticCurve::P256
                && bytes(&point.x) == 32
                && bytes(&point.y) == 32 =>
        {
            ("ES256", Algorithm::ES256)
        }
        (AlgorithmParameters::RSA(rsa), Some(KeyAlgorithm::RS256)) => {
            if bytes(&rsa.n) < FEWEST_RSA_BYTES {
                return Err("its modulus has fewer than 2048 bits".to_owned());
            }
            ("RS256", Algorithm::RS256)
        }
        (AlgorithmParameters::OctetKey(secret), Some(KeyAlgorithm::HS256)) => {
            if bytes(&secret.value) < FEWEST_SECRET_BYTES {
                return Err(format!("its secret has fewer than {FEWEST_SECRET_BYTES} bytes"));
            }
            ("HS256", Algorithm::HS256)
        }
        _ => return Err("its kty, crv and alg are not those of EdDSA, ES256 or RS256".to_owned()),
    };
    let key = DecodingKey::from_jwk(&jwk).map_err(|_| "it cannot be read".to_owned())?;
    Ok(IssuerKey { id, name, algorithm, key })
}
