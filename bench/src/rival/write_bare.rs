//! `serve-write-bare`: the write path without any guarantee. A transient message on a classic queue, one CALL that
//! commits by itself, reply, acknowledge: the cost of BEDS's guarantees.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::Response;
use axum::routing::post;
use lapin::message::Delivery;
use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Pool, Row, Statement};

use super::amqp::{Amqp, Answer, Guarantee, Requester};
use super::broker::{self, Session};
use super::flight::Flight;
use super::write_by_hand::{CALL_CREATE, refuse};
use super::{RivalOptions, http, maria};

pub(crate) async fn serve(options: &RivalOptions) -> Result<()> {
    let queue = format!("bench.bare.{}", options.reply);
    let pool = maria::pool(&options.maria, options.tasks)?;
    let amqp = Amqp::connect(options).await?;
    amqp.declare(&queue, Guarantee::None).await?;
    let _tasks = broker::start::<Create>(&amqp, &pool, options, &queue, Guarantee::None).await?;
    let requester = amqp.requester(&queue, Guarantee::None).await?;
    http::serve(
        Router::new().route("/v1/records/Flights", post(create)).with_state(Arc::new(requester)),
    )
    .await
}

async fn create(State(requester): State<Arc<Requester>>, body: Bytes) -> Response {
    http::respond(requester.ask(&body, None).await)
}

struct Create {
    conn: Conn,
    create: Statement,
}

impl Session for Create {
    async fn open(pool: &Pool) -> Result<Self> {
        let mut conn = pool.get_conn().await?;
        let create = conn.prep(CALL_CREATE).await?;
        Ok(Self { conn, create })
    }

    async fn work(&mut self, delivery: &Delivery) -> Result<Answer> {
        let params = serde_json::from_slice(&delivery.data)
            .context("a flight")
            .and_then(|f: Flight<'_>| f.params());
        let params = match params {
            Ok(params) => params,
            Err(error) => return refuse(400, &format!("{error:#}")),
        };
        let row: Option<Row> = self.conn.exec_first(&self.create, params).await?;
        let body = maria::row_to_json(&row.context("flights_create returned no row")?)?;
        Ok(Answer { status: 201, body })
    }
}
