//! `serve-direct`: the read path without AMQP. HTTP in, one prepared CALL: the cost of the queue in the middle.

use anyhow::Result;
use axum::Router;
use axum::extract::{Path, State};
use axum::response::Response;
use axum::routing::get;
use mysql_async::Pool;
use mysql_async::prelude::Queryable as _;

use super::amqp::Answer;
use super::{RivalOptions, http, maria, read_by_hand};

pub(crate) async fn serve(options: &RivalOptions) -> Result<()> {
    let pool = maria::pool(&options.maria, options.tasks)?;
    http::serve(Router::new().route("/v1/records/Flights/{id}", get(fetch)).with_state(pool)).await
}

async fn fetch(State(pool): State<Pool>, Path(id): Path<u64>) -> Response {
    http::respond(call(&pool, id).await)
}

async fn call(pool: &Pool, id: u64) -> Result<Answer> {
    let mut conn = pool.get_conn().await?;
    read_by_hand::answer(conn.exec_first("CALL flights_fetch(?)", (id,)).await?)
}
