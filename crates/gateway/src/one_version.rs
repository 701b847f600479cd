//! [`OneVersion`]: connections that begin as HTTP/2 are closed. The server takes an upgrade to a WebSocket only where it looks for both
//! versions, and the limits of the gateway are those of HTTP/1.1.
//!
//! Not here: the bounds of a connection (connections.rs).

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first bytes of HTTP/2 (RFC 9113, 3.4), and of no request of HTTP/1.1.
const PREFACE: &[u8] = b"PRI * HTTP/2";

/// Takes connections as another acceptor does, for HTTP/1.1.
#[derive(Clone)]
pub(crate) struct OneVersion<A>(pub(crate) A);

impl<A, I, S> Accept<I, S> for OneVersion<A>
where
    A: Accept<I, S>,
    A::Future: Send + 'static,
{
    type Stream = Begun<A::Stream>;
    type Service = A::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let accepted = self.0.accept(stream, service);
        Box::pin(async move {
            let (inner, service) = accepted.await?;
            Ok((Begun { inner, same: Some(0) }, service))
        })
    }
}

/// A connection whose first bytes are looked at.
pub(crate) struct Begun<I> {
    inner: I,
    /// How many of the first bytes are those of HTTP/2 so far; none once one was another.
    same: Option<usize>,
}

impl<I: AsyncRead + Unpin> AsyncRead for Begun<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let Some(mut same) = self.same else { return Poll::Ready(Ok(())) };
        for byte in &buffer.filled()[before..] {
            if PREFACE[same] != *byte {
                self.same = None;
                return Poll::Ready(Ok(()));
            }
            same += 1;
            if same == PREFACE.len() {
                buffer.set_filled(before);
                return Poll::Ready(Err(io::Error::other("HTTP/2 is not served")));
            }
        }
        self.same = Some(same);
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Begun<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_first_bytes_of_http_2_end_a_connection_and_others_do_not() {
        let read = async |bytes: &[u8]| {
            let mut text = String::new();
            Begun { inner: bytes, same: Some(0) }.read_to_string(&mut text).await.map(|_| text)
        };
        assert!(read(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.is_err());
        for good in ["GET / HTTP/1.1\r\n", "PRI * HTTP/1.1\r\n", "PRI", ""] {
            assert_eq!(read(good.as_bytes()).await.unwrap(), good);
        }
    }
}
