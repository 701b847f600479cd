//! How many connections are open at once, and how long a caller may take none of an answer. One connection more is closed at
//! once: its caller may go elsewhere.
//!
//! Not here: how many requests are worked on, which is `limits`'s.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum_server::accept::Accept;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_io_timeout::TimeoutStream;
use tower::Layer;

/// Between two lines of the log about connections that were closed.
const SAID_AGAIN: Duration = Duration::from_secs(60);

/// Takes connections as long as there is room.
#[derive(Clone)]
pub(crate) struct Bounded {
    places: Arc<Semaphore>,
    /// The longest time in which no byte of an answer can be written. Then the connection is closed.
    write_timeout: Duration,
    said: Arc<std::sync::Mutex<Option<std::time::Instant>>>,
}

impl Bounded {
    pub(crate) fn new(most: usize, write_timeout: Duration) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), write_timeout, said: Arc::default() }
    }

    fn warn(&self) {
        let mut said = self.said.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if said.is_none_or(|said| said.elapsed() > SAID_AGAIN) {
            *said = Some(std::time::Instant::now());
            tracing::warn!(
                "Connections are closed: there are services.appserver.max_connections of them."
            );
        }
    }
}

/// The place of a connection, for as long as its service lives.
type Place = Extension<Arc<OwnedSemaphorePermit>>;

impl<I: AsyncRead + AsyncWrite + Send + 'static, S: Send + 'static> Accept<I, S> for Bounded {
    type Stream = Pin<Box<TimeoutStream<I>>>;
    type Service = <Place as Layer<S>>::Service;
    type Future = std::future::Ready<io::Result<(Self::Stream, Self::Service)>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        std::future::ready(match Arc::clone(&self.places).try_acquire_owned() {
            Ok(place) => {
                let mut stream = TimeoutStream::new(stream);
                stream.set_write_timeout(Some(self.write_timeout));
                Ok((Box::pin(stream), Extension(Arc::new(place)).layer(service)))
            }
            Err(_) => {
                self.warn();
                Err(io::Error::other("too many connections"))
            }
        })
    }
}
