//! Tests of an envelope: its forms, its refusals, and the digests that stay as they are.
//!
//! Not here: events on real queues (`beds/tests/it/wire.rs`).

use super::*;

fn event() -> Event {
    let id = EventId::new("ms", "development");
    let mut event = Event::root(id, "Users", Operation::Create, SignedDuration::from_secs(5));
    event.params.insert("name".into(), "Ana".into());
    event
}

#[test]
fn an_envelope_survives_the_wire() {
    let sent = event();
    let read = Event::from_slice(&serde_json::to_vec(&sent).unwrap()).unwrap();
    assert_eq!(read.event_id, sent.event_id);
    assert_eq!(read.params, sent.params);
    assert_eq!(read.deadline, sent.deadline);
}

#[test]
fn the_named_fetch_is_read_under_its_name_of_the_release_before() {
    // As the release before wrote it.
    let text = r#"{"v":1,"event_id":"ms.test.1","parent_id":"","root_id":"ms.test.1","depth":0,"template":"Flights",
        "operation":"fetch","object":"route","id":null,"params":{"origin":"JFK"},"actor":{"subject":"ana","roles":[]},
        "key":null,"issued_at":"2026-11-23T10:00:00Z","deadline":"2026-11-23T10:00:05Z"}"#;
    let event = Event::from_slice(text.as_bytes()).unwrap();
    assert_eq!(event.fetch_name(), Some("route"));
    let sent = serde_json::to_string(&event).unwrap();
    assert!(sent.contains(r#""fetch":"route""#) && !sent.contains("object"), "{sent}");
    let both = |fetch: &str| text.replace(r#""object""#, &format!(r#""fetch":"{fetch}","object""#));
    assert_eq!(
        Event::from_slice(both("route").as_bytes()).unwrap().fetch.as_deref(),
        Some("route")
    );
    let error = Event::from_slice(both("day").as_bytes()).unwrap_err();
    assert_eq!((error.kind, error.field.as_deref()), (ErrorKind::BadEvent, Some("fetch")));
}

#[test]
fn a_bad_envelope_is_refused_with_the_reason() {
    let good = serde_json::to_value(event()).unwrap();
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = good.clone();
        change(&mut value);
        let error = Event::from_slice(&serde_json::to_vec(&value).unwrap()).unwrap_err();
        assert!(matches!(error.kind, ErrorKind::BadEvent | ErrorKind::BadHeader));
        error.message
    };
    assert!(refused(&|v| v["v"] = 2.into()).contains("version 2"));
    assert!(refused(&|v| v["operation"] = "drop".into()).contains("expected one of `create`"));
    let of_a_value = refused(&|v| v["id"] = 4_111_111.into());
    assert!(
        of_a_value.contains("expected a string at line 1") && !of_a_value.contains("4111111"),
        "{of_a_value}"
    );
    let of_a_text = refused(&|v| v["deadline"] = "canary, expected nothing".into());
    assert!(!of_a_text.contains("canary"), "{of_a_text}");
    assert!(refused(&|v| v["depth"] = 3.into()).contains("depth 0"));
    assert!(refused(&|v| v["event_id"] = "".into()).contains("event_id"));
    assert!(refused(&|v| v["event_id"] = "x".repeat(129).into()).contains("1 to 128 bytes"));
    assert!(refused(&|v| v["event_id"] = "a:b".into()).contains("must not contain"));
    assert!(refused(&|v| v["template"] = "x".repeat(65).into()).contains("template"));
    assert!(refused(&|v| v["actor"]["subject"] = "x".repeat(255).into()).contains("actor.subject"));
    assert!(refused(&|v| v["key"] = "x".repeat(256).into()).contains("255"));
    assert!(Event::from_slice(b"\xff\xfe").is_err());
}

#[test]
fn a_key_counts_for_one_caller_template_and_operation() {
    let mut first = event();
    first.key = Some("k".into());
    let mut other = first.clone();
    other.event_id = EventId::new("ms", "development");
    assert_eq!(first.inbox_key(), other.inbox_key());
    Arc::make_mut(&mut other.actor).subject = "bob".into();
    assert_ne!(first.inbox_key(), other.inbox_key());
    first.key = None;
    assert_ne!(first.inbox_key(), event().inbox_key());
}

#[test]
fn the_age_of_a_replay_is_that_of_the_first_event() {
    let mut replay = event();
    assert_eq!(replay.first_issued_at(), Some(replay.issued_at));
    let first = EventId::new("ms", "development");
    let at = first.issued_at().unwrap();
    assert!((Timestamp::now().duration_since(at)).as_secs() < 5, "{at}");
    replay.issued_at = Timestamp::MAX;
    replay.replay_of = Some(first);
    assert_eq!(replay.first_issued_at(), Some(at));
    replay.replay_of = Some(EventId("shop.1".into()));
    assert_eq!(replay.first_issued_at(), None, "nobody can tell");
}

#[test]
fn keys_and_fingerprints_are_what_they_were_in_every_release() {
    // With other values, a write that was committed before an upgrade would run again behind it, or be refused.
    let mut event = event();
    event.event_id = EventId("ms.test.1".into());
    assert_eq!(
        event.inbox_key(),
        "492581c29b50dd18b484bd6898ec43a2dc628a914f624d8dc681d099fde3b03c"
    );
    event.key = Some("k1".into());
    event.actor = Arc::new(Actor::of("ana"));
    assert_eq!(
        event.inbox_key(),
        "5a303cf4d35fb63a62bbd80110a53108cd7496fdb0d8f71e067174bbb8484a97"
    );
    event.params.insert(
        "n".into(),
        serde_json::json!([1, -2, 1.5, null, true, {"b": "x", "a": 18_446_744_073_709_551_615_u64}]),
    );
    assert_eq!(
        event.fingerprint(),
        "08b43d9f95b0859670085c2c48b865be03f4edea36109e2c26f8ee7610285bf8"
    );
}

#[test]
fn the_fingerprint_is_of_what_was_asked() {
    let first = event();
    let mut second = event();
    assert_eq!(first.fingerprint(), second.fingerprint());
    second.params.insert("name".into(), "Bea".into());
    assert_ne!(first.fingerprint(), second.fingerprint());
}
