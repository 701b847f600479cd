//! `serve-submit-by-hand`: taking long work by hand with BEDS's guarantees. A confirmed, persistent, mandatory publish to a quorum
//! queue; a task inserts a document into MongoDB, with majority and journal; reply; acknowledge.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use lapin::message::Delivery;
use mongodb::bson::{DateTime, Document, doc};
use mongodb::options::{Acknowledgment, WriteConcern};
use mongodb::{Client, Collection};
use mysql_async::Pool;
use serde_json::json;

use super::amqp::{Amqp, Answer, Guarantee, Requester};
use super::broker::{self, Session};
use super::{RivalOptions, http, maria};

static TICKETS: OnceLock<Collection<Document>> = OnceLock::new();

pub(crate) async fn serve(options: &RivalOptions) -> Result<()> {
    let queue = format!("bench.submit.{}", options.reply);
    let url = std::env::var("BEDS_BENCH_RIVAL_MONGO").context("BEDS_BENCH_RIVAL_MONGO")?;
    let client = Client::with_uri_str(url).await?;
    let tickets = client.database("bench").collection("tickets");
    let index = mongodb::IndexModel::builder().keys(doc! {"owner": 1, "once": 1});
    let unique = mongodb::options::IndexOptions::builder().unique(true).build();
    tickets.create_index(index.options(unique).build()).await?;
    TICKETS.set(tickets).ok().context("set once")?;
    let pool = maria::pool(&options.maria, 1)?;
    let amqp = Amqp::connect(options).await?;
    amqp.declare(&queue, Guarantee::Confirmed).await?;
    let _tasks =
        broker::start::<Submit>(&amqp, &pool, options, &queue, Guarantee::Confirmed).await?;
    let requester = amqp.requester(&queue, Guarantee::Confirmed).await?;
    let routes = Router::new().route("/v1/records/Jobs/jobs/empty", post(submit));
    http::serve(routes.with_state(Arc::new(requester))).await
}

async fn submit(
    State(requester): State<Arc<Requester>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    http::respond(requester.ask(&body, key).await)
}

struct Submit;

impl Session for Submit {
    async fn open(_: &Pool) -> Result<Self> {
        Ok(Self)
    }

    async fn work(&mut self, delivery: &Delivery) -> Result<Answer> {
        let key = delivery.properties.message_id().as_ref().context("a request without a key")?;
        let (id, now) = (uuid::Uuid::new_v4().to_string(), DateTime::now());
        let ticket = doc! {
            "_id": &id, "owner": "bench", "once": key.as_str(), "state": "queued", "template": "Jobs", "job": "empty",
            "event": String::from_utf8_lossy(&delivery.data).into_owned(), "created_at": now, "run_at": now,
        };
        let concern = WriteConcern::builder()
            .w(Acknowledgment::Majority)
            .journal(true)
            .w_timeout(Duration::from_secs(10))
            .build();
        TICKETS.get().context("set")?.insert_one(ticket).write_concern(concern).await?;
        let body = json!({"id": id, "state": "queued", "template": "Jobs", "job": "empty"});
        Ok(Answer { status: 202, body: serde_json::to_vec(&body)? })
    }
}
