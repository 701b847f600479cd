//! One keep-alive connection: a request out, a status and a counted body back.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// No request may take longer.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) struct Client {
    stream: TcpStream,
    read: Vec<u8>,
}

pub(super) struct Response {
    pub(super) status: u16,
    pub(super) body_bytes: u64,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr, from: Option<IpAddr>) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(from) = from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        let stream = tokio::time::timeout(PATIENCE, socket.connect(address)).await??;
        stream.set_nodelay(true)?;
        Ok(Self { stream, read: Vec::with_capacity(4096) })
    }

    pub(super) async fn exchange(&mut self, request: &[u8]) -> Result<Response> {
        tokio::time::timeout(PATIENCE, self.exchange_now(request)).await?
    }

    async fn exchange_now(&mut self, request: &[u8]) -> Result<Response> {
        self.stream.write_all(request).await?;
        self.read.clear();
        let head = loop {
            self.more().await?;
            if let Some(position) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break position + 4;
            }
        };
        let status =
            self.read.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        let status = status.context("not HTTP")?;
        let body = content_length(&self.read[..head])?;
        while self.read.len() < head + body {
            self.more().await?;
        }
        Ok(Response { status, body_bytes: body as u64 })
    }

    async fn more(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.read).await? == 0 {
            bail!("the server closed the connection");
        }
        Ok(())
    }
}

fn content_length(head: &[u8]) -> Result<usize> {
    const NAME: &[u8] = b"content-length:";
    let line = head
        .split(|&byte| byte == b'\n')
        .find(|line| line.get(..NAME.len()).is_some_and(|name| name.eq_ignore_ascii_case(NAME)));
    let line = std::str::from_utf8(line.context("a response without Content-Length")?)?;
    Ok(line[NAME.len()..].trim().parse()?)
}
