//! A connection to RabbitMQ whose socket can be cut. lapin keeps a connection that is waiting for the first word of its server
//! for ever, with a thread and a socket (4.12.3, `io_loop.rs`: heartbeats begin only behind that word), even if its owner
//! has given it up.
//!
//! Not here: when another attempt is made, which is `link`'s.

use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lapin::tcp::TLSConfig;
use lapin::uri::{AMQPScheme, AMQPUri};
use lapin::{AsyncTcpStream, Connection, ConnectionProperties};

/// How long the socket and TLS may take.
const CONNECTED_WITHIN: Duration = Duration::from_secs(5);

/// Connects. When the future is dropped before its end, the socket is cut, and with it lapin's thread ends.
pub(crate) async fn connect(
    url: &str,
    properties: ConnectionProperties,
) -> lapin::Result<Connection> {
    let uri: AMQPUri = url.parse().map_err(std::io::Error::other)?;
    let leash = Leash::default();
    let held = leash.clone();
    let cut = CutAtEnd(leash);
    let runtime = lapin::runtime::default_runtime()?;
    let connecting = Connection::connector(
        uri,
        runtime,
        async move |uri: AMQPUri, runtime| {
            let host = uri.authority.host.as_str();
            let opening = async {
                let mut last = std::io::Error::other("the name has no address");
                for address in tokio::net::lookup_host((host, uri.authority.port)).await? {
                    match AsyncTcpStream::connect(&runtime, address).await {
                        Ok(stream) => {
                            // Keeps the socket below TLS: a cut ends a handshake too.
                            if let AsyncTcpStream::Plain(plain) = &stream {
                                held.keep(plain.get_ref().as_fd().try_clone_to_owned()?.into());
                            }
                            return match uri.scheme {
                                AMQPScheme::AMQP => Ok(stream),
                                AMQPScheme::AMQPS => {
                                    stream.into_tls(host, TLSConfig::default()).await
                                }
                            };
                        }
                        Err(error) => last = error,
                    }
                }
                Err(last)
            };
            let late = |_| Err(std::io::ErrorKind::TimedOut.into());
            Ok(tokio::time::timeout(CONNECTED_WITHIN, opening).await.unwrap_or_else(late)?)
        },
        properties,
    );
    let connected = connecting.await;
    if connected.is_ok() {
        cut.0.release();
    }
    connected
}

/// A second handle of the socket, while it may have to be cut.
#[derive(Clone, Default)]
struct Leash(Arc<Mutex<Option<TcpStream>>>);

impl Leash {
    fn keep(&self, socket: TcpStream) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(socket);
    }

    fn release(&self) -> Option<TcpStream> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct CutAtEnd(Leash);

impl Drop for CutAtEnd {
    fn drop(&mut self) {
        if let Some(socket) = self.0.release() {
            // It may be closed already.
            drop(socket.shutdown(Shutdown::Both));
        }
    }
}
