//! [`KeptAlive`]: one caller with one connection, as an HTTP client of an application has it.
//!
//! Not here: single requests outside of measurements (`http_once.rs`), the load generator (load.rs).

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::http_once::{Answer, credential};

pub(crate) struct KeptAlive {
    address: SocketAddr,
    stream: BufReader<TcpStream>,
    credential: String,
}

impl KeptAlive {
    pub(crate) fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        stream.set_nodelay(true)?;
        Ok(Self { address, stream: BufReader::new(stream), credential: credential() })
    }

    /// Any request, with a body of JSON or an empty one.
    pub(crate) fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let (address, credential, length) = (self.address, &self.credential, body.len());
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {address}\r\n{credential}Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
        );
        self.stream.get_mut().write_all(request.as_bytes())?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            anyhow::ensure!(self.stream.read_line(&mut head)? > 0, "the connection was closed");
        }
        let status = head.get(9..12).context("not HTTP")?.parse()?;
        let mut answer = Answer { status, body: String::new(), head };
        let length = answer.header("content-length").context("no length")?.trim().parse()?;
        let mut bytes = vec![0; length];
        self.stream.read_exact(&mut bytes)?;
        answer.body = String::from_utf8(bytes)?;
        Ok(answer)
    }
}
