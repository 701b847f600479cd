//! [`Socket`]: a WebSocket of a test, as a client in any language has one.
//!
//! Not here: the messages of each test (../sockets.rs).

use anyhow::{Context, Result, bail, ensure};
use futures_util::{SinkExt, StreamExt};
use reqwest::StatusCode;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{Api, SOON};

pub(crate) struct Socket(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Socket {
    /// Opens one with these headers; answers the status where it is refused.
    pub(crate) async fn open(
        api: &Api,
        path: &str,
        headers: &[(&'static str, &str)],
    ) -> Result<std::result::Result<Self, (StatusCode, String)>> {
        let mut request =
            format!("{}{path}", api.url.replacen("http", "ws", 1)).into_client_request()?;
        for (name, value) in headers {
            request.headers_mut().insert(*name, HeaderValue::from_str(value)?);
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Ok(Self(socket))),
            Err(Error::Http(response)) => {
                let text =
                    response.body().as_ref().map(|body| String::from_utf8_lossy(body).into_owned());
                Ok(Err((response.status(), text.unwrap_or_default())))
            }
            Err(error) => bail!("no answer to the handshake: {error}"),
        }
    }

    /// The same with the subprotocol and a credential.
    pub(crate) async fn of(api: &Api, credential: &str) -> Result<Self> {
        let credential = format!("Bearer {credential}");
        let headers = [("sec-websocket-protocol", "beds.v1"), ("authorization", &*credential)];
        match Self::open(api, "/v1/ws", &headers).await? {
            Ok(socket) => Ok(socket),
            Err((status, text)) => bail!("{status}: {text}"),
        }
    }

    pub(crate) async fn say(&mut self, message: &Value) -> Result<()> {
        self.say_text(&message.to_string()).await
    }

    pub(crate) async fn say_text(&mut self, text: &str) -> Result<()> {
        Ok(self.0.send(Message::text(text)).await?)
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Value> {
        loop {
            match self.read().await? {
                Message::Text(text) => return Ok(serde_json::from_str(&text)?),
                Message::Ping(_) | Message::Pong(_) => {}
                other => bail!("no message, but {other:?}"),
            }
        }
    }

    /// Asks and answers the next message, which must be the answer.
    pub(crate) async fn ask(&mut self, message: &Value) -> Result<Value> {
        self.say(message).await?;
        let answer = self.next().await?;
        ensure!(answer["id"] == message["id"], "{answer} is no answer to {message}");
        Ok(answer)
    }

    /// The code and the reason with which the node closes it.
    pub(crate) async fn closed(&mut self) -> Result<(u16, String)> {
        loop {
            if let Message::Close(frame) = self.read().await? {
                let frame = frame.context("a reason")?;
                return Ok((frame.code.into(), frame.reason.to_string()));
            }
        }
    }

    async fn read(&mut self) -> Result<Message> {
        let read = tokio::time::timeout(SOON, self.0.next()).await;
        let read = read.with_context(|| format!("no message within {SOON:?}"))?;
        Ok(read.context("the connection has ended")??)
    }
}
