//! Tokens, good and bad. Each bad one differs from a good one in one thing.
//!
//! Not here: tokens over HTTP (tests/it/identity.rs).

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use beds_core::config;
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};

use super::*;
use crate::issuer;

const NOW: i64 = 1_800_000_000;
const TIMES: Times = Times { now: NOW, leeway: 30, max_lifetime: 3600 };
const SECRET: &[u8] = b"a secret of thirty-two bytes, or more";

fn issuer() -> Issuer {
    let jwks = json!({"keys": [
        {"kty": "oct", "kid": "one", "alg": "HS256", "k": URL_SAFE_NO_PAD.encode(SECRET)},
    ]});
    let rules = config::Issuer {
        issuer: "https://id.example".to_owned(),
        audience: "beds".to_owned(),
        jwks_file: "x".into(),
        roles: Some("/realm/roles".to_owned()),
        map_roles: BTreeMap::new(),
        prefix: "corp/".to_owned(),
        claims: BTreeMap::from([("tenant".to_owned(), "/org/id".to_owned())]),
        not_before: None,
        denied: ["corp/fired".to_owned()].into(),
    };
    Issuer { rules, keys: issuer::keys(&jwks.to_string()).unwrap() }
}

/// An issuer with the same keys under these rules.
fn copy(rules: &config::Issuer) -> Issuer {
    Issuer { rules: rules.clone(), ..issuer() }
}

fn good() -> (Value, Value) {
    let header = json!({"alg": "HS256", "kid": "one", "typ": "JWT"});
    let payload = json!({
        "iss": "https://id.example", "aud": "beds", "sub": "ana", "iat": NOW - 10, "exp": NOW + 600,
        "realm": {"roles": ["clerk", "auditor", "clerk"]}, "org": {"id": "acme"},
    });
    (header, payload)
}

fn signed(header: &str, payload: &str) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload));
    let key = EncodingKey::from_secret(SECRET).unwrap();
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn checked(header: &Value, payload: &Value) -> Checked<Verified> {
    check(&signed(&header.to_string(), &payload.to_string()), &[issuer()], TIMES)
}

#[test]
fn a_good_token_gives_its_subject_roles_and_claims() {
    let (header, payload) = good();
    let verified = checked(&header, &payload).unwrap();
    assert_eq!(verified.actor.subject, "corp/ana");
    assert_eq!(verified.actor.roles, ["auditor", "clerk"]);
    assert_eq!(verified.actor.claims["tenant"], Claim::Text("acme".to_owned()));
    assert_eq!(verified.expires, NOW + 600);
    let mut other = payload;
    (other["aud"], other["org"]["id"]) = (json!(["x", "beds"]), json!(7));
    assert_eq!(checked(&header, &other).unwrap().actor.claims["tenant"], Claim::Whole(7));
    other.as_object_mut().unwrap().remove("org");
    assert!(checked(&header, &other).unwrap().actor.claims.is_empty());
}

#[test]
fn a_value_of_a_wrong_type_is_refused_and_never_counts_as_absent() {
    let (header, payload) = good();
    let wrong = [
        json!("9999999999"),
        json!(-1),
        json!(1e30),
        json!(1.5),
        json!([NOW + 60]),
        json!({}),
        json!(null),
        json!(true),
    ];
    for name in ["exp", "nbf", "iat", "iss", "aud", "sub"] {
        for value in &wrong {
            let mut payload = payload.clone();
            payload[name] = value.clone();
            let is_text_of_sub = name == "sub" && value.is_string();
            assert_eq!(checked(&header, &payload).is_ok(), is_text_of_sub, "{name}: {value}");
        }
    }
    for roles in
        [json!("clerk"), json!({}), json!([1]), json!([""]), json!(null), json!(["x".repeat(65)])]
    {
        let mut payload = payload.clone();
        payload["realm"]["roles"] = roles.clone();
        assert!(checked(&header, &payload).is_err(), "{roles}");
    }
    for claim in
        [json!(null), json!([]), json!(1.5), json!(true), json!("x".repeat(257)), json!("a\u{0}")]
    {
        let mut payload = payload.clone();
        payload["org"]["id"] = claim.clone();
        assert!(checked(&header, &payload).is_err(), "{claim}");
    }
}

#[test]
fn a_token_with_one_fault_is_refused() {
    type Change = fn(&mut Value, &mut Value);
    let faults: &[(&str, Change)] = &[
        ("iss as a list with ours", |_, p| p["iss"] = json!(["https://id.example"])),
        ("another issuer", |_, p| p["iss"] = json!("https://evil.example")),
        ("another audience", |_, p| p["aud"] = json!("beds2")),
        ("a list of audiences with a number", |_, p| p["aud"] = json!(["beds", 1])),
        ("no audience", |_, p| p["aud"] = json!([])),
        ("expired", |_, p| p["exp"] = json!(NOW - 30)),
        ("not good yet", |_, p| p["nbf"] = json!(NOW + 31)),
        ("issued later", |_, p| p["iat"] = json!(NOW + 31)),
        ("good for too long", |_, p| p["exp"] = json!(NOW + 3700)),
        ("a subject of a program", |_, p| p["sub"] = json!("app:loader")),
        ("a subject of a node", |_, p| p["sub"] = json!("node:ms")),
        ("a subject with a new line", |_, p| p["sub"] = json!("a\nb")),
        ("no subject", |_, p| p["sub"] = json!("")),
        ("a subject that ends in a space", |_, p| p["sub"] = json!("ana ")),
        ("a claim that ends in a space", |_, p| p["org"]["id"] = json!("acme ")),
        ("a long subject", |_, p| p["sub"] = json!("x".repeat(201))),
        ("denied", |_, p| p["sub"] = json!("fired")),
        ("alg none", |h, _| h["alg"] = json!("none")),
        ("another algorithm", |h, _| h["alg"] = json!("HS384")),
        ("another case of the algorithm", |h, _| h["alg"] = json!("hs256")),
        ("no algorithm", |h, _| drop(h.as_object_mut().unwrap().remove("alg"))),
        ("an unknown key", |h, _| h["kid"] = json!("two")),
        ("a kid that is a number", |h, _| h["kid"] = json!(1)),
        ("critical extensions", |h, _| h["crit"] = json!(["x"])),
        ("no critical extensions", |h, _| h["crit"] = json!([])),
        ("another typ", |h, _| h["typ"] = json!("secevent+jwt")),
    ];
    for (fault, change) in faults {
        let (mut header, mut payload) = good();
        change(&mut header, &mut payload);
        assert!(checked(&header, &payload).is_err(), "{fault}");
    }
    let (header, payload) = good();
    let token = signed(&header.to_string(), &payload.to_string());
    let twice = payload.to_string().replacen('{', "{\"sub\":\"bob\",", 1);
    let (first, last) = token.rsplit_once('.').unwrap();
    for (fault, token) in [
        ("a name that stands twice", signed(&header.to_string(), &twice)),
        ("two parts", first.to_owned()),
        ("four parts", format!("{token}.x")),
        ("no signature", format!("{first}.")),
        ("padding", format!("{token}=")),
        ("a signature that is cut", format!("{first}.{}", &last[..last.len() - 4])),
        ("a space", format!(" {token}")),
        ("too long", signed(&header.to_string(), &json!({"x": "x".repeat(8000)}).to_string())),
        ("nothing", String::new()),
    ] {
        assert!(check(&token, &[issuer()], TIMES).is_err(), "{fault}");
    }
}

#[test]
fn a_token_of_before_not_before_is_refused_also_without_iat() {
    let mut rules = issuer().rules;
    rules.not_before = Some(jiff::Timestamp::from_second(NOW - 5).unwrap());
    let (header, mut payload) = good();
    let refused = |payload: &Value| {
        check(&signed(&header.to_string(), &payload.to_string()), &[copy(&rules)], TIMES).is_err()
    };
    assert!(refused(&payload));
    payload.as_object_mut().unwrap().remove("iat");
    assert!(refused(&payload));
    payload["iat"] = json!(NOW - 5);
    assert!(!refused(&payload));
}

#[test]
fn only_mapped_roles_pass_and_reserved_words_never_do() {
    let (header, mut payload) = good();
    payload["realm"]["roles"] = json!(["authenticated", "beds-clerk", "other", "anonymous"]);
    assert_eq!(checked(&header, &payload).unwrap().actor.roles, ["beds-clerk", "other"]);
    let mut issuer = issuer();
    issuer.rules.map_roles = BTreeMap::from([("beds-clerk".to_owned(), "clerk".to_owned())]);
    let token = signed(&header.to_string(), &payload.to_string());
    assert_eq!(check(&token, &[issuer], TIMES).unwrap().actor.roles, ["clerk"]);
}

#[test]
fn a_key_set_says_every_mistake() {
    let point = URL_SAFE_NO_PAD.encode([1; 32]);
    for (jwk, reason) in [
        (json!({"kty": "OKP", "crv": "Ed25519", "x": point, "alg": "EdDSA"}), "no kid"),
        (json!({"kty": "OKP", "crv": "Ed25519", "x": point, "kid": "a"}), "not those of"),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": point, "kid": "a", "alg": "ES256"}),
            "not those of",
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": point, "kid": "a", "alg": "EdDSA", "d": point}),
            "private key",
        ),
        (
            json!({"kty": "OKP", "crv": "Ed25519", "x": point, "kid": "a", "alg": "EdDSA", "use": "enc"}),
            "use is not sig",
        ),
        (json!({"kty": "RSA", "n": point, "e": "AQAB", "kid": "a", "alg": "RS256"}), "2048"),
        (json!({"kty": "oct", "k": "AAAA", "kid": "a", "alg": "HS256"}), "fewer than 32"),
        (json!(7), "no JSON Web Key"),
    ] {
        let mistakes = issuer::keys(&json!({"keys": [jwk]}).to_string()).err().unwrap();
        assert!(mistakes[0].contains(reason), "{jwk}: {mistakes:?}");
    }
    for bad in ["", "{}", "[]", "{\"keys\":[]}", "{\"keys\":[],\"keys\":[]}"] {
        assert!(issuer::keys(bad).is_err(), "{bad}");
    }
}
