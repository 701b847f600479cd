//! [`Issuer`]: an authority of the tests, with an Ed25519 key of its own.
//!
//! Not here: the world's own key (callers.rs).

use anyhow::{Result, anyhow};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::World;

/// Its name as `iss`, and the audience of its tokens.
pub(crate) const NAME: &str = "https://id.example/realms/corp";

/// An authority whose tokens a node can accept.
pub(crate) struct Issuer {
    kid: String,
    key: Ed25519KeyPair,
}

impl Issuer {
    pub(crate) fn new(kid: &str) -> Result<Self> {
        let key = Ed25519KeyPair::generate().map_err(|_| anyhow!("no key"))?;
        Ok(Self { kid: kid.to_owned(), key })
    }

    /// Its public key as a JSON Web Key Set.
    pub(crate) fn jwks(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.key.public_key().as_ref());
        json!({"keys": [{"kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": self.kid, "x": x}]})
    }

    /// Lets a world accept its tokens, whose subjects begin with `corp/`.
    pub(crate) fn join(&self, world: &World) -> Result<()> {
        world.write("corp.jwks", self.jwks().to_string())?;
        let text = std::fs::read_to_string(world.config_file())?;
        let issuer = format!(
            "\n[auth.issuers.corp]\nissuer = \"{NAME}\"\naudience = \"beds\"\njwks_file = \"corp.jwks\"\nroles = \"/realm_access/roles\"\nprefix = \"corp/\"\nclaims = {{ tenant = \"/org\" }}\n"
        );
        Ok(std::fs::write(world.config_file(), text + &issuer)?)
    }

    /// A token for five minutes.
    pub(crate) fn token(&self, sub: &str, roles: &[&str]) -> String {
        self.signed(&self.payload(sub, roles))
    }

    /// The payload of such a token, to be changed.
    pub(crate) fn payload(&self, sub: &str, roles: &[&str]) -> Value {
        let now = Timestamp::now().as_second();
        json!({
            "iss": NAME, "aud": "beds", "sub": sub, "iat": now, "exp": now + 300,
            "realm_access": {"roles": roles}, "org": "acme",
        })
    }

    pub(crate) fn signed(&self, payload: &Value) -> String {
        self.signed_under(&json!({"alg": "EdDSA", "typ": "JWT", "kid": self.kid}), payload)
    }

    pub(crate) fn signed_under(&self, header: &Value, payload: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(payload));
        let signature = URL_SAFE_NO_PAD.encode(self.key.sign(message.as_bytes()).as_ref());
        format!("{message}.{signature}")
    }
}
