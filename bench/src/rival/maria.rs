//! MariaDB for the rivals: the pool, and a row as JSON. The statements are each rival's own.

use std::io::Write as _;
use std::time::Duration;

use anyhow::Result;
use mysql_async::{Opts, OptsBuilder, Pool, PoolConstraints, PoolOpts, Row, Value};

/// A pool of exactly so many connections, set up like BEDS's.
pub(super) fn pool(url: &str, connections: u16) -> Result<Pool> {
    let size = usize::from(connections.max(1));
    let constraints = PoolConstraints::new(size, size).unwrap_or_default();
    let pool = PoolOpts::default()
        .with_constraints(constraints)
        .with_reset_connection(false)
        .with_inactive_connection_ttl(Duration::from_secs(60));
    let options = OptsBuilder::from_opts(Opts::from_url(url)?)
        .pool_opts(pool)
        .stmt_cache_size(64)
        .client_found_rows(true)
        .tcp_nodelay(true);
    Ok(Pool::new(options))
}

/// A row as a JSON object.
pub(super) fn row_to_json(row: &Row) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(512);
    for (position, column) in row.columns_ref().iter().enumerate() {
        out.extend_from_slice(if position == 0 { b"{\"" } else { b",\"" });
        out.extend_from_slice(column.name_ref());
        out.extend_from_slice(b"\":");
        match row.as_ref(position).unwrap_or(&Value::NULL) {
            Value::NULL => out.extend_from_slice(b"null"),
            Value::Int(number) => write!(out, "{number}")?,
            Value::UInt(number) => write!(out, "{number}")?,
            Value::Float(number) => write!(out, "{number}")?,
            Value::Double(number) => write!(out, "{number}")?,
            Value::Bytes(text) => serde_json::to_writer(&mut out, std::str::from_utf8(text)?)?,
            Value::Date(year, month, day, hour, minute, second, _) => {
                write!(out, "\"{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}\"")?;
            }
            Value::Time(..) => anyhow::bail!("no TIME column was expected"),
        }
    }
    out.push(b'}');
    Ok(out)
}
