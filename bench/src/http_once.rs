//! Single HTTP requests of the run itself, outside all measurements: is it ready, does it do the work?

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
    pub(crate) head: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines
            .into_iter()
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value)
    }
}

/// The line of a request that shows the key of the run, which `./dev bench` puts into the environment. The rivals do not look at it.
pub(crate) fn credential() -> String {
    let line = |key| format!("Authorization: Bearer {key}\r\n");
    std::env::var("BEDS_BENCH_KEY").map(line).unwrap_or_default()
}

pub(crate) fn get(address: SocketAddr, path: &str) -> Result<Answer> {
    exchange(
        address,
        &format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\n{}Connection: close\r\n\r\n",
            credential()
        ),
    )
}

pub(crate) fn post(address: SocketAddr, path: &str, key: &str, body: &str) -> Result<Answer> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {}Idempotency-Key: {key}\r\nContent-Length: {length}\r\n\r\n",
        credential()
    );
    exchange(address, &(head + body))
}

/// Any request, with a body of JSON or an empty one.
pub(crate) fn send(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<Answer> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Type: application/json\r\n\
         {}Content-Length: {length}\r\n\r\n",
        credential()
    );
    exchange(address, &(head + body))
}

fn exchange(address: SocketAddr, request: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    stream.write_all(request.as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").context("not HTTP")?;
    let status = head.get(9..12).context("not HTTP")?.parse()?;
    Ok(Answer { status, body: body.to_owned(), head: head.to_owned() })
}
