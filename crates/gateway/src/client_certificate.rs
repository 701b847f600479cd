//! [`PeerCertificate`]: the certificate that a client has shown in the handshake, which an authority of the gateway has signed. Each
//! request of the connection has it among its extensions.
//!
//! Not here: the check of the signature (tls.rs), the caller for whom it stands (crate auth).

use std::io;
use std::pin::Pin;
use std::sync::Arc;

use axum::Extension;
use axum_server::accept::Accept;
use rustls::ServerConnection;
use tokio_rustls::server::TlsStream;
use tower::Layer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// A certificate of a client.
#[derive(Debug)]
pub(crate) struct PeerCertificate {
    /// The alternative names of its subject: of DNS, and URIs.
    pub(crate) names: Vec<String>,
    /// Its last second, since 1970.
    pub(crate) until: i64,
}

impl PeerCertificate {
    /// That of a connection; none where the client has shown none.
    fn of(connection: &ServerConnection) -> Option<Self> {
        let (_, certificate) =
            X509Certificate::from_der(connection.peer_certificates()?.first()?).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter()).into_iter().flatten();
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
            _ => None,
        });
        Some(Self { names: names.collect(), until: certificate.validity().not_after.timestamp() })
    }
}

/// Takes connections as another acceptor does, and looks at their certificates.
#[derive(Clone)]
pub(crate) struct Identified<A>(pub(crate) A);

/// The certificate of a connection.
pub(crate) type Shown = Option<Arc<PeerCertificate>>;

impl<A, I, S, T> Accept<I, S> for Identified<A>
where
    A: Accept<I, S, Stream = TlsStream<T>>,
    A::Future: Send + 'static,
    A::Service: Send,
{
    type Stream = TlsStream<T>;
    type Service = <Extension<Shown> as Layer<A::Service>>::Service;
    type Future = Pin<Box<dyn Future<Output = io::Result<(Self::Stream, Self::Service)>> + Send>>;

    fn accept(&self, stream: I, service: S) -> Self::Future {
        let accepted = self.0.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = accepted.await?;
            let shown: Shown = PeerCertificate::of(stream.get_ref().1).map(Arc::new);
            Ok((stream, Extension(shown).layer(service)))
        })
    }
}
