//! `serve-by-hand`: the read path by hand. HTTP in, one AMQP request and reply, one prepared CALL, and nothing else.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use lapin::message::Delivery;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Pool, Row, Statement};

use super::amqp::{Amqp, Answer, Guarantee, Requester};
use super::broker::{self, Session};
use super::{RivalOptions, http, maria};

pub(crate) async fn serve(options: &RivalOptions) -> Result<()> {
    let queue = format!("bench.read.{}", options.reply);
    let pool = maria::pool(&options.maria, options.tasks)?;
    let amqp = Amqp::connect(options).await?;
    amqp.declare(&queue, Guarantee::None).await?;
    let _tasks = broker::start::<Fetch>(&amqp, &pool, options, &queue, Guarantee::None).await?;
    let requester = amqp.requester(&queue, Guarantee::None).await?;
    http::serve(
        Router::new().route("/v1/records/Flights/{id}", get(fetch)).with_state(Arc::new(requester)),
    )
    .await
}

async fn fetch(State(requester): State<Arc<Requester>>, Path(id): Path<u64>) -> Response {
    http::respond(requester.ask(id.to_string().as_bytes(), None).await)
}

struct Fetch {
    conn: Conn,
    fetch: Statement,
}

impl Session for Fetch {
    async fn open(pool: &Pool) -> Result<Self> {
        let mut conn = pool.get_conn().await?;
        let fetch = conn.prep("CALL flights_fetch(?)").await?;
        Ok(Self { conn, fetch })
    }

    async fn work(&mut self, delivery: &Delivery) -> Result<Answer> {
        let id: u64 = std::str::from_utf8(&delivery.data)?.parse().context("an id")?;
        answer(self.conn.exec_first(&self.fetch, (id,)).await?)
    }
}

/// 200 with the record, or 404.
pub(super) fn answer(row: Option<Row>) -> Result<Answer> {
    match row {
        Some(row) => Ok(Answer { status: 200, body: maria::row_to_json(&row)? }),
        None => Ok(Answer { status: 404, body: Vec::new() }),
    }
}
