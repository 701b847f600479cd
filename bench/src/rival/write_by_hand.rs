//! `serve-write-by-hand`: the write path by hand with BEDS's guarantees. A confirmed, persistent, mandatory publish to a
//! quorum queue; the key is claimed, the flight created and the answer stored in one transaction; reply; acknowledge.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;
use axum::routing::post;
use lapin::message::Delivery;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Error, Pool, Row, Statement};
use sha2::{Digest as _, Sha256};

use super::amqp::{Amqp, Answer, Guarantee, Requester};
use super::broker::{self, Session};
use super::flight::Flight;
use super::{RivalOptions, http, maria};

pub(crate) async fn serve(options: &RivalOptions) -> Result<()> {
    let queue = format!("bench.write.{}", options.reply);
    let pool = maria::pool(&options.maria, options.tasks)?;
    let amqp = Amqp::connect(options).await?;
    amqp.declare(&queue, Guarantee::Confirmed).await?;
    let _tasks =
        broker::start::<Create>(&amqp, &pool, options, &queue, Guarantee::Confirmed).await?;
    let requester = amqp.requester(&queue, Guarantee::Confirmed).await?;
    http::serve(
        Router::new().route("/v1/records/Flights", post(create)).with_state(Arc::new(requester)),
    )
    .await
}

async fn create(
    State(requester): State<Arc<Requester>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let key = headers.get("idempotency-key").and_then(|key| key.to_str().ok());
    let Some(key) = key.filter(|key| key.len() <= 255) else {
        return http::respond(Ok(Answer {
            status: 400,
            body: b"\"Idempotency-Key is missing\"".to_vec(),
        }));
    };
    http::respond(requester.ask(&body, Some(key)).await)
}

struct Create {
    conn: Conn,
    begin: Statement,
    create: Statement,
    commit: Statement,
    /// Of `flights_create`, which the inbox compares before and behind the write.
    signature: String,
}

impl Session for Create {
    async fn open(pool: &Pool) -> Result<Self> {
        let mut conn = pool.get_conn().await?;
        let begin = conn.prep("CALL beds_inbox_begin(?,?,?,?)").await?;
        let create = conn.prep(CALL_CREATE).await?;
        let commit = conn.prep("CALL beds_inbox_commit(?,?,?,?)").await?;
        let signature = conn.exec_first("CALL beds_read_check(?)", (CREATES,)).await?;
        let signature = signature.context("there is no flights_create")?;
        Ok(Self { conn, begin, create, commit, signature })
    }

    async fn work(&mut self, delivery: &Delivery) -> Result<Answer> {
        let flight: Flight<'_> = match serde_json::from_slice(&delivery.data) {
            Ok(flight) => flight,
            Err(error) => return refuse(400, &error.to_string()),
        };
        let params = match flight.params() {
            Ok(params) => params,
            Err(error) => return refuse(400, &error.to_string()),
        };
        let key = delivery.properties.message_id().as_ref().context("a request without a key")?;
        let key = digest(key.as_str().as_bytes());
        let fingerprint = digest(&delivery.data);
        let claim: Option<Row> = self
            .conn
            .exec_first(&self.begin, (&key, &fingerprint, CREATES, &self.signature))
            .await?;
        let mut claim = claim.context("beds_inbox_begin said nothing")?;
        match claim.take::<String, _>(0).as_deref() {
            Some("claimed") => {}
            Some("done") => return repeat(claim, &fingerprint),
            _ => return refuse(409, "the first request with this key is still running"),
        }
        let row: Result<Option<Row>, Error> = self.conn.exec_first(&self.create, params).await;
        let row = match row {
            Ok(row) => row.context("flights_create returned no row")?,
            Err(Error::Server(refused))
                if ["22", "23", "45"].iter().any(|class| refused.state.starts_with(class)) =>
            {
                self.conn.query_drop("CALL beds_inbox_abort()").await?;
                return refuse(422, &refused.message);
            }
            Err(error) => return Err(error.into()),
        };
        let body = maria::row_to_json(&row)?;
        self.conn.exec_drop(&self.commit, (&key, &body, CREATES, &self.signature)).await?;
        Ok(Answer { status: 201, body })
    }
}

/// The answer that was given before.
fn repeat(mut stored: Row, fingerprint: &str) -> Result<Answer> {
    match (
        stored.take::<Option<String>, _>(1).flatten(),
        stored.take::<Option<String>, _>(2).flatten(),
    ) {
        (Some(asked), _) if asked != fingerprint => {
            refuse(422, "this key was used for another request")
        }
        (_, Some(reply)) => Ok(Answer { status: 201, body: reply.into_bytes() }),
        _ => bail!("beds_inbox_begin gave no reply"),
    }
}

const CREATES: &str = "flights_create";

pub(super) const CALL_CREATE: &str = "CALL flights_create(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)";

pub(super) fn refuse(status: u16, reason: &str) -> Result<Answer> {
    Ok(Answer { status, body: serde_json::to_vec(reason)? })
}

fn digest(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits =
        |byte: &u8| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]));
    Sha256::digest(bytes).iter().flat_map(digits).collect()
}
