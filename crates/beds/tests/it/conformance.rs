//! One suite for every [`NamasteCore`]: REC and REL directly, and both through RabbitMQ. The same calls get the same
//! answers, but for the different names in the two stores: the id's field and its form.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, ensure};
use beds::{NamasteCore, Payload, Query, Response, Select, settings};
use beds_adapters::Stores;
use beds_core::{Direct, ErrorKind, Event, EventId, Fields, Store, TemplateAdapter};
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::rig::World;

/// An opener of a template for an event.
struct Target {
    name: String,
    id: &'static str,
    missing: &'static str,
    open: Open,
}

/// Opens the template for an event with a key.
type Open = Box<dyn Fn(Option<&str>) -> Box<dyn NamasteCore> + Send + Sync>;

type Outcome = Result<Value, ErrorKind>;

impl Target {
    /// The record without its id, and the id.
    fn record(&self, response: &Response) -> (Value, String) {
        let mut record: Value = response
            .record
            .as_ref()
            .map_or(Value::Null, |r| serde_json::from_str(r.get()).unwrap());
        let id = record.as_object_mut().and_then(|map| map.remove(self.id));
        let id = id
            .map(|id| id.as_str().map_or_else(|| id.to_string(), str::to_owned))
            .unwrap_or_default();
        // Fields that only one of the two stores has, or that a relation shows as null where a document leaves them out.
        if let Some(map) = record.as_object_mut() {
            map.retain(|_, value| !value.is_null());
        }
        (record, id)
    }

    async fn create(&self, key: Option<&str>, fields: Value) -> (Outcome, String) {
        match (self.open)(key).create_record(&payload(None, fields)).await {
            Ok(response) => {
                let (record, id) = self.record(&response);
                assert_eq!(
                    response.id.as_deref(),
                    Some(id.as_str()),
                    "{}: the id beside the record",
                    self.name
                );
                (Ok(record), id)
            }
            Err(error) => (Err(error.kind), String::new()),
        }
    }

    async fn update(&self, key: Option<&str>, id: &str, fields: Value) -> Outcome {
        let outcome = (self.open)(key).update_record(&payload(Some(id), fields)).await;
        outcome.map(|response| self.record(&response).0).map_err(|e| e.kind)
    }

    async fn delete(&self, key: Option<&str>, id: &str) -> Outcome {
        (self.open)(key)
            .delete_record(id)
            .await
            .map(|response| self.record(&response).0)
            .map_err(|e| e.kind)
    }

    async fn fetch(&self, select: Select, params: Value) -> Outcome {
        let query = Query { select, params: fields(params) };
        let responses = (self.open)(None).fetch_records(&query).await.map_err(|e| e.kind)?;
        Ok(responses.iter().map(|response| self.record(response).0).collect())
    }

    async fn by_id(&self, id: &str) -> Outcome {
        self.fetch(Select::ById(id.to_owned()), json!({})).await
    }

    async fn by_name(&self, name: Value) -> Outcome {
        self.fetch(Select::Named("name".to_owned()), json!({ "name": name })).await
    }
}

fn fields(value: Value) -> Fields {
    value.as_object().cloned().map(Fields::from_iter).unwrap_or_default()
}

fn payload(id: Option<&str>, value: Value) -> Payload {
    Payload { id: id.map(str::to_owned), fields: fields(value), is_text: false }
}

/// Counts the cases and collects every one that failed.
#[derive(Default)]
struct Report {
    cases: usize,
    failed: Vec<String>,
}

impl Report {
    fn case(&mut self, claim: &str, found: &Outcome, expected: &Outcome) {
        self.cases += 1;
        if found != expected {
            self.failed.push(format!("{claim}: expected {expected:?}, found {found:?}"));
        }
    }
}

/// The suite. It begins with an empty template.
async fn check(target: &Target) -> Result<usize> {
    let mut report = Report::default();
    creates(target, &mut report).await;
    refused_creates(target, &mut report).await;
    updates(target, &mut report).await;
    fetches(target, &mut report).await;
    lists(target, &mut report).await;
    once(target, &mut report).await;
    deletes(target, &mut report).await;
    ensure!(report.failed.is_empty(), "{}:\n{}", target.name, report.failed.join("\n"));
    Ok(report.cases)
}

async fn creates(target: &Target, report: &mut Report) {
    for (claim, fields) in [
        ("a name alone", json!({"name": "a"})),
        ("a number", json!({"name": "b", "count": 7})),
        ("zero", json!({"name": "c", "count": 0})),
        ("a negative number", json!({"name": "d", "count": -999})),
        ("the largest 32-bit number", json!({"name": "e", "count": i32::MAX})),
        ("the largest 64-bit number", json!({"name": "f", "big": i64::MAX})),
        ("the smallest 64-bit number", json!({"name": "g", "big": i64::MIN})),
        (
            "a number beyond a double's precision",
            json!({"name": "h", "big": 9_007_199_254_740_993_i64}),
        ),
        (
            "a decimal to the digit",
            json!({"name": "i", "amount": "12345678901234567890.0123456789"}),
        ),
        ("true", json!({"name": "j", "flag": true})),
        ("false", json!({"name": "k", "flag": false})),
        ("a fraction", json!({"name": "l", "ratio": 0.1})),
        ("an empty text", json!({"name": "m", "note": ""})),
        ("a text with quotes and backslashes", json!({"name": "n", "note": "\"'\\`\n\t"})),
        ("four-byte characters", json!({"name": "o", "note": "🛫𝄞👩‍🚀"})),
        ("right-to-left and combining characters", json!({"name": "p", "note": "שלום e\u{301}"})),
        ("text that looks like an operator", json!({"name": "$gt", "note": "$$ROOT"})),
        ("text that looks like SQL", json!({"name": "'; DROP TABLE x", "note": "' OR 1=1 --"})),
        ("a UUID", json!({"name": "q", "uid": "0193a5b0-7c3e-7a6b-9d2f-1a2b3c4d5e6f"})),
        ("bytes", json!({"name": "r", "raw": "AAECg/8="})),
        ("a nested document", json!({"name": "s", "doc": {"a": {"b": [1, "x", null, true, 1.5]}}})),
        ("a null that says nothing", json!({"name": "t", "note": null})),
        ("the longest name", json!({"name": "x".repeat(40)})),
        ("the longest name in four-byte characters", json!({"name": "𝄞".repeat(40)})),
    ] {
        let mut expected = fields.clone();
        expected.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        // A relation rounds a decimal to its scale; the one above has exactly that many digits.
        let (created, id) = target.create(None, fields).await;
        report.case(&format!("create: {claim}"), &created, &Ok(expected.clone()));
        report.case(
            &format!("fetch back: {claim}"),
            &target.by_id(&id).await,
            &Ok(json!([expected])),
        );
    }
}

async fn refused_creates(target: &Target, report: &mut Report) {
    for (claim, fields, kind) in [
        ("an unknown field", json!({"name": "1", "nmae": 1}), ErrorKind::UnknownField),
        ("an unknown field in other letters", json!({"NAME": "1"}), ErrorKind::UnknownField),
        ("a number for a text", json!({"name": 1}), ErrorKind::WrongType),
        ("an object for a text", json!({"name": {"$gt": ""}}), ErrorKind::WrongType),
        ("an array for a text", json!({"name": ["a"]}), ErrorKind::WrongType),
        ("a text for a number", json!({"name": "1", "count": "1"}), ErrorKind::WrongType),
        ("a fraction for a number", json!({"name": "1", "count": 1.5}), ErrorKind::WrongType),
        ("a boolean for a number", json!({"name": "1", "count": true}), ErrorKind::WrongType),
        ("a fraction for a decimal", json!({"name": "1", "amount": 1.5}), ErrorKind::WrongType),
        ("words for a decimal", json!({"name": "1", "amount": "ten"}), ErrorKind::WrongType),
        ("a text for a boolean", json!({"name": "1", "flag": "true"}), ErrorKind::WrongType),
        ("not a UUID", json!({"name": "1", "uid": 5}), ErrorKind::WrongType),
        ("not base64", json!({"name": "1", "raw": "?"}), ErrorKind::WrongType),
        (
            "a number too large",
            json!({"name": "1", "count": 2_147_483_648_i64}),
            ErrorKind::ValueOutOfRange,
        ),
        ("a text too long", json!({"name": "x".repeat(41)}), ErrorKind::ValueOutOfRange),
        ("a name that is taken", json!({"name": "a"}), ErrorKind::DuplicateRecord),
        (
            "what a constraint refuses",
            json!({"name": "1", "count": -1000}),
            ErrorKind::ConstraintViolated,
        ),
    ] {
        report.case(
            &format!("refused create: {claim}"),
            &target.create(None, fields).await.0,
            &Err(kind),
        );
    }
    report.case(
        "a refused create leaves nothing behind",
        &target.by_name(json!("1")).await,
        &Ok(json!([])),
    );
}

async fn updates(target: &Target, report: &mut Report) {
    let (_, id) = target.create(None, json!({"name": "u", "count": 1, "note": "n"})).await;
    let mut case = async |claim: &str, fields: Value, expected: Outcome| {
        report.case(
            &format!("update: {claim}"),
            &target.update(None, &id, fields).await,
            &expected,
        );
    };
    case(
        "one field leaves the others",
        json!({"count": 2}),
        Ok(json!({"name": "u", "count": 2, "note": "n"})),
    )
    .await;
    case(
        "several fields",
        json!({"count": 3, "flag": true}),
        Ok(json!({"name": "u", "count": 3, "note": "n", "flag": true})),
    )
    .await;
    case(
        "nothing changes",
        json!({"count": 3}),
        Ok(json!({"name": "u", "count": 3, "note": "n", "flag": true})),
    )
    .await;
    case(
        "a field is cleared by null",
        json!({"flag": null}),
        Ok(json!({"name": "u", "count": 3, "note": "n"})),
    )
    .await;
    case(
        "a decimal",
        json!({"amount": "0.0000000001"}),
        Ok(json!({"name": "u", "count": 3, "note": "n", "amount": "0.0000000001"})),
    )
    .await;
    case("an unknown field", json!({"nmae": "x"}), Err(ErrorKind::UnknownField)).await;
    case("a wrong type", json!({"count": "x"}), Err(ErrorKind::WrongType)).await;
    case("a name that is taken", json!({"name": "a"}), Err(ErrorKind::DuplicateRecord)).await;
    case("what a constraint refuses", json!({"count": -1000}), Err(ErrorKind::ConstraintViolated))
        .await;
    let missing = target.update(None, target.missing, json!({"count": 1})).await;
    report.case("update: a record that is not there", &missing, &Err(ErrorKind::NoSuchRecord));
    let malformed = target.update(None, "not an id", json!({"count": 1})).await;
    report.case("update: an id that cannot be one", &malformed, &Err(ErrorKind::WrongType));
}

async fn fetches(target: &Target, report: &mut Report) {
    report.case(
        "fetch: not there",
        &target.by_id(target.missing).await,
        &Err(ErrorKind::NoSuchRecord),
    );
    report.case(
        "fetch: an id that cannot be one",
        &target.by_id("not an id").await,
        &Err(ErrorKind::WrongType),
    );
    report.case(
        "named fetch: found",
        &target.by_name(json!("b")).await,
        &Ok(json!([{"name": "b", "count": 7}])),
    );
    report.case(
        "named fetch: nothing found is an empty list",
        &target.by_name(json!("nobody")).await,
        &Ok(json!([])),
    );
    report.case(
        "named fetch: a text is never an operator",
        &target.by_name(json!("$name")).await,
        &Ok(json!([])),
    );
    report.case(
        "named fetch: an object is refused",
        &target.by_name(json!({"$gt": ""})).await,
        &Err(ErrorKind::WrongType),
    );
    let none = target.fetch(Select::Named("name".into()), json!({})).await;
    report.case("named fetch: a missing argument", &none, &Err(ErrorKind::MissingParameter));
    let more = target.fetch(Select::Named("name".into()), json!({"name": "b", "x": 1})).await;
    report.case("named fetch: an unknown argument", &more, &Err(ErrorKind::UnknownField));
    let unknown = target.fetch(Select::Named("nope".into()), json!({})).await;
    report.case(
        "named fetch: one that the template does not have",
        &unknown,
        &Err(ErrorKind::NoSuchOperation),
    );
}

async fn lists(target: &Target, report: &mut Report) {
    let list = async |params: Value| target.fetch(Select::List, params).await;
    let first = list(json!({"limit": 2})).await;
    report.case(
        "list: a page in the order of creation",
        &first,
        &Ok(json!([{"name": "a"}, {"name": "b", "count": 7}])),
    );
    report.case("list: the limit as text", &list(json!({"limit": "2"})).await, &first);
    for (claim, params) in [
        ("zero", json!({"limit": 0})),
        ("too many", json!({"limit": 501})),
        ("negative", json!({"limit": -1})),
        ("words", json!({"limit": "many"})),
    ] {
        report.case(
            &format!("list: a limit of {claim}"),
            &list(params).await,
            &Err(ErrorKind::ValueOutOfRange),
        );
    }
    report.case(
        "list: an `after` that cannot be one",
        &list(json!({"after": "not an id"})).await,
        &Err(ErrorKind::WrongType),
    );
    report.case(
        "list: an unknown argument",
        &list(json!({"x": 1})).await,
        &Err(ErrorKind::UnknownField),
    );

    let query = Query { select: Select::List, params: fields(json!({"limit": 2})) };
    let page = (target.open)(None).fetch_records(&query).await.unwrap_or_default();
    let next = page.last().and_then(|last| last.next.clone()).unwrap_or_default();
    let second = list(json!({"limit": 1, "after": next})).await;
    report.case(
        "list: the next page begins after the last record",
        &second,
        &Ok(json!([{"name": "c", "count": 0}])),
    );
}

async fn once(target: &Target, report: &mut Report) {
    let body = json!({"name": "once", "count": 1});
    let (first, id) = target.create(Some("k"), body.clone()).await;
    report.case("once: the first", &first, &Ok(body.clone()));
    let (second, second_id) = target.create(Some("k"), body.clone()).await;
    report.case("once: a repeat gets the first answer", &second, &Ok(body));
    report.case("once: with the same id", &Ok(json!(second_id)), &Ok(json!(id)));
    let (other, _) = target.create(Some("k"), json!({"name": "another"})).await;
    report.case("once: the key with another body", &other, &Err(ErrorKind::KeyReused));
    report.case(
        "once: and without effect",
        &target.by_name(json!("another")).await,
        &Ok(json!([])),
    );
    let (taken, _) = target.create(Some("k2"), json!({"name": "once"})).await;
    report.case("once: a refused write", &taken, &Err(ErrorKind::DuplicateRecord));
    let (free, _) = target.create(Some("k2"), json!({"name": "k2 is still free"})).await;
    report.case("once: leaves its key free", &free, &Ok(json!({"name": "k2 is still free"})));
    let updated = target.update(Some("k"), &id, json!({"count": 5})).await;
    report.case(
        "once: a key counts for one operation",
        &updated,
        &Ok(json!({"name": "once", "count": 5})),
    );
    report.case(
        "once: an update between",
        &target.update(None, &id, json!({"count": 6})).await,
        &Ok(json!({"name": "once", "count": 6})),
    );
    let again = target.update(Some("k"), &id, json!({"count": 5})).await;
    report.case(
        "once: a repeated update gets the first answer",
        &again,
        &Ok(json!({"name": "once", "count": 5})),
    );
    report.case(
        "once: and changes nothing",
        &target.by_id(&id).await,
        &Ok(json!([{"name": "once", "count": 6}])),
    );
}

async fn deletes(target: &Target, report: &mut Report) {
    let (_, id) = target.create(None, json!({"name": "gone", "count": 1})).await;
    let deleted = Ok(json!({"name": "gone", "count": 1}));
    report.case("delete: answers what was deleted", &target.delete(Some("d"), &id).await, &deleted);
    report.case("delete: it is gone", &target.by_id(&id).await, &Err(ErrorKind::NoSuchRecord));
    report.case(
        "delete: a repeat with its key gets the first answer",
        &target.delete(Some("d"), &id).await,
        &deleted,
    );
    report.case(
        "delete: a second one is not there",
        &target.delete(None, &id).await,
        &Err(ErrorKind::NoSuchRecord),
    );
    report.case(
        "delete: an id that cannot be one",
        &target.delete(None, "not an id").await,
        &Err(ErrorKind::WrongType),
    );
}

const TEMPLATES: [(Store, &str, &str, &str); 2] = [
    (Store::Rel, "Things", "id", "999999"),
    (Store::Rec, "Papers", "_id", "6b0474d1c7cc9e3ddb446472"),
];

#[tokio::test(flavor = "multi_thread")]
async fn both_adapters_pass_the_suite() -> Result<()> {
    let world = World::new().await?;
    let config = settings::load(&world.config_file()).map_err(|p| anyhow::anyhow!("{p:?}"))?;
    let (templates, _) = settings::templates(&config.templates.path);
    let stores = Stores::new(&config).await?;
    for (store, template, id, missing) in TEMPLATES {
        let (bound, _) = stores.bind(store, "main", &templates).await?;
        let adapter =
            bound.into_iter().find(|bound| bound.template.name == template).unwrap().adapter;
        let open = move |key: Option<&str>| open_directly(&adapter, template, key);
        let target =
            Target { name: format!("{store} directly"), id, missing, open: Box::new(open) };
        let cases = check(&target).await?;
        assert!(cases >= 60, "{cases} cases");
    }
    stores.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_stores_pass_the_same_suite_through_rabbitmq() -> Result<()> {
    let world = World::new().await?;
    let live = world.node().await?;
    for (store, template, id, missing) in TEMPLATES {
        let client = live.node.client().clone();
        let open = move |key: Option<&str>| {
            let mut context = client.context(Duration::from_secs(20));
            context.key = key.map(str::to_owned);
            Box::new(client.open(template, context)) as Box<dyn NamasteCore>
        };
        let target =
            Target { name: format!("{store} through RabbitMQ"), id, missing, open: Box::new(open) };
        let cases = check(&target).await?;
        assert!(cases >= 60, "{cases} cases");
    }
    Ok(())
}

/// The broker's work between the queue and the adapter, without the queue.
fn open_directly(
    adapter: &Arc<dyn TemplateAdapter>,
    template: &'static str,
    key: Option<&str>,
) -> Box<dyn NamasteCore> {
    let key = key.map(str::to_owned);
    let begin = move |operation| {
        let patience = SignedDuration::from_secs(20);
        Event {
            key: key.clone(),
            ..Event::root(EventId::new("t", "test"), template, operation, patience)
        }
    };
    Box::new(Direct { adapter: Arc::clone(adapter), begin })
}
