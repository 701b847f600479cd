//! Applies a DBA's SQL files with the DBA's own login. Each file begins with a fresh session, and a file that is reported as
//! applied is committed and recorded in the database of the file.
//!
//! Not here: the content of a file, which is the DBA's; how a file is split into statements, which is `schema/split`'s.

mod split;

use std::collections::HashMap;

use beds_core::{BedsError, ErrorKind, Result, config};
use mysql_async::prelude::Queryable;
use mysql_async::{ChangeUserOpts, Conn, Opts, OptsBuilder, Row};

use super::connect::with_ca;
use crate::schema::{Applied, File, LOCK_PATIENCE, Wishes, busy};
use split::{Deed, Statement, refused, split};

/// The session that each file begins with: a setting of one file ends with the file.
const SET_UP: &str = "SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION'";

/// Held by a connection of its own while files are applied, so that two runs cannot both apply one.
const LOCK: &str = "SELECT GET_LOCK(CONCAT('beds_schema:', DATABASE()), ?)";

/// Applies the files that were not applied yet, in order; each is recorded once all of its statements succeeded.
pub(crate) async fn apply(
    config: &config::Database,
    files: &[File],
    wishes: Wishes,
    mut report: impl FnMut(&File, Applied),
) -> Result<()> {
    let opts = Opts::from_url(config.url.expose())
        .map_err(|e| failed("the url cannot be used", e.into()))?;
    let opts: Opts = with_ca(OptsBuilder::from_opts(opts), config)
        .client_found_rows(true)
        .setup(vec![SET_UP])
        .into();
    let place = format!(
        "cannot connect as the DBA to {} at {}",
        opts.db_name().unwrap_or_default(),
        config.url.address()
    );
    let connect = async || Conn::new(opts.clone()).await.map_err(|e| failed(&place, e));
    // A refused file is one of which nothing was applied, so all are read before the first.
    let statements: HashMap<&str, Vec<Statement<'_>>> =
        files.iter().map(|file| Ok((file.name.as_str(), split(file)?))).collect::<Result<_>>()?;
    // Locks on a connection of its own: the fresh session of each file gives locks up.
    let mut lock = connect().await?;
    let locked: Option<Option<i64>> = lock
        .exec_first(LOCK, (LOCK_PATIENCE.as_secs(),))
        .await
        .map_err(|e| failed("the lock on the schema cannot be had", e))?;
    if locked.flatten() != Some(1) {
        return Err(busy(opts.db_name().unwrap_or_default()));
    }
    let mut conn = connect().await?;
    let recorded = recorded(&mut conn).await?;
    for file in files {
        let digest =
            recorded.iter().find(|(name, _)| *name == file.name).map(|(_, digest)| digest.as_str());
        let action = file.action(digest, wishes)?;
        if action != Applied::AlreadyThere {
            let statements = statements.get(file.name.as_str()).map_or(&[][..], Vec::as_slice);
            if let Some(drop) = statements
                .iter()
                .find(|statement| action == Applied::Again && statement.deed == Deed::DropsTable)
            {
                let text = "--redo would run this DROP TABLE again, and the rows would be lost; put the change into a new numbered file";
                return Err(refused(file, drop.line, text));
            }
            if action == Applied::Granted {
                grant(&mut conn, file, statements).await?;
            } else {
                apply_one(&mut conn, file, statements).await?;
            }
        }
        report(file, action);
    }
    for conn in [conn, lock] {
        conn.disconnect().await.map_err(|e| failed("the connection did not close cleanly", e))?;
    }
    Ok(())
}

/// Gives the rights of a file again. It is recorded already.
async fn grant(conn: &mut Conn, file: &File, statements: &[Statement<'_>]) -> Result<()> {
    for statement in statements.iter().filter(|statement| statement.deed == Deed::Grants) {
        conn.query_drop(statement.text).await.map_err(|e| {
            failed(&format!("{}:{}: {}", file.path.display(), statement.line, server_text(&e)), e)
        })?;
    }
    Ok(())
}

async fn apply_one(conn: &mut Conn, file: &File, statements: &[Statement<'_>]) -> Result<()> {
    let at = |line: usize, text: &str, e: mysql_async::Error| {
        failed(&format!("{}:{line}: {text}{}", file.path.display(), server_text(&e)), e)
    };
    conn.change_user(ChangeUserOpts::default())
        .await
        .map_err(|e| at(1, "no fresh session: ", e))?;
    for statement in statements {
        conn.query_drop(statement.text).await.map_err(|e| at(statement.line, "", e))?;
    }
    let last = statements.last().map_or(1, |statement| statement.line);
    // A transaction that a file leaves open, by SET autocommit = 0 or START TRANSACTION, belongs to the file.
    conn.query_drop("COMMIT")
        .await
        .map_err(|e| at(last, "its open transaction cannot be committed: ", e))?;
    // Begins a fresh session again: no setting of the file reaches its record.
    conn.change_user(ChangeUserOpts::default())
        .await
        .map_err(|e| at(last, "no fresh session: ", e))?;
    conn.exec_drop("CALL `beds_schema_record`(?,?)", (&file.name, file.digest()))
        .await
        .map_err(|e| at(last, "the file was applied but could not be recorded: ", e))
}

/// Files that were applied before; nothing where the first file is still to come.
async fn recorded(conn: &mut Conn) -> Result<Vec<(String, String)>> {
    let rows: Vec<Row> = match conn.exec("CALL `beds_schema_list`()", ()).await {
        Ok(rows) => rows,
        Err(mysql_async::Error::Server(server)) if server.code == 1305 => return Ok(Vec::new()),
        Err(error) => return Err(failed("cannot read the list of applied files", error)),
    };
    let text = |row: &Row, column: &str| {
        row.get_opt::<String, _>(column).and_then(std::result::Result::ok)
    };
    Ok(rows.iter().filter_map(|row| Some((text(row, "file")?, text(row, "digest")?))).collect())
}

/// The DBA sees the server's own words about the DBA's own file.
fn server_text(error: &mysql_async::Error) -> String {
    match error {
        mysql_async::Error::Server(server) if server.code == 1227 => format!(
            "error 1227: {}. A DEFINER clause of another login needs such a right: take it out (docs/dba.md, Coming from a dump). The statements before this one were executed and stay",
            server.message
        ),
        mysql_async::Error::Server(server) => format!("error {}: {}", server.code, server.message),
        other => other.to_string(),
    }
}

fn failed(text: &str, error: mysql_async::Error) -> BedsError {
    let said = server_text(&error);
    let text = if text.ends_with(&said) { text.to_owned() } else { format!("{text}: {said}") };
    BedsError::new(ErrorKind::Internal, text).with_source(error)
}
