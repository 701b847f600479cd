//! MariaDB of a [`World`], as its DBA uses it.
//!
//! Not here: the tables and procedures (tests/domain).

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdout, Command, Stdio};

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

    /// A session of the DBA's own, for transactions that stay open.
    pub(crate) fn session(&self) -> Result<Session> {
        let mut command = client("mariadb", &self.maria)?;
        command.args(["-N", "-B", "-n", &self.name]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().context("the mariadb client")?;
        let said = BufReader::new(child.stdout.take().context("a pipe")?);
        Ok(Session { child, said })
    }

    /// True while a procedure of this world's database sleeps.
    pub(crate) fn is_asleep(&self) -> Result<bool> {
        let sql = "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE db = DATABASE() AND state = 'User sleep'";
        Ok(self.sql(sql)? != "0")
    }
}

/// See [`World::session`]. It ends when it is dropped.
pub(crate) struct Session {
    child: Child,
    said: BufReader<ChildStdout>,
}

impl Session {
    /// Runs a statement and waits until it is done.
    pub(crate) fn say(&mut self, sql: &str) -> Result<()> {
        let input = self.child.stdin.as_mut().context("a pipe")?;
        writeln!(input, "{sql};\nSELECT 'done';")?;
        input.flush()?;
        let mut line = String::new();
        while line.trim_end() != "done" {
            line.clear();
            ensure!(self.said.read_line(&mut line)? > 0, "the session ended at: {sql}");
        }
        Ok(())
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
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
