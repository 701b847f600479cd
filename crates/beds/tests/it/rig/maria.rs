//! MariaDB of a [`World`], as its DBA uses it.
//!
//! Not here: the tables and procedures (tests/domain).

use std::process::Command;

use anyhow::{Context, Result, ensure};

use super::World;

impl World {
    /// Runs SQL in the world's database as the DBA and answers the rows, tab-separated.
    pub(crate) fn sql(&self, sql: &str) -> Result<String> {
        mariadb(&self.maria, Some(&self.name), sql)
    }

    /// Runs SQL as the DBA outside of any database.
    pub(crate) fn sql_server(&self, sql: &str) -> Result<String> {
        mariadb(&self.maria, None, sql)
    }

    /// True while a procedure of this world's database sleeps.
    pub(crate) fn is_asleep(&self) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE db = DATABASE() AND state = 'User sleep'";
        Ok(self.sql(sql)? != "0")
    }
}

/// A program of MariaDB's, at the server of a URL and with its login.
pub(crate) fn client(program: &str, url: &str) -> Result<Command> {
    let (login, address) =
        url.trim_start_matches("mysql://").split_once('@').context("user:password@host:port")?;
    let (user, password) = login.split_once(':').context("user:password")?;
    let (host, port) = address.split_once(':').context("host:port")?;
    let mut command = Command::new(program);
    command.args(["--no-defaults", "-h", host, "-P", port, "-u", user]);
    command.arg(format!("-p{password}"));
    Ok(command)
}

pub(crate) fn mariadb(url: &str, database: Option<&str>, sql: &str) -> Result<String> {
    let mut command = client("mariadb", url)?;
    command.args(["-N", "-B", "-e", sql]).args(database);
    let output = command.output().context("the mariadb client")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}
