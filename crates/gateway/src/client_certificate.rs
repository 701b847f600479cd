//! [`PeerCertificate`]: the certificate that a client has shown in the handshake, which an authority of the gateway has signed. Each
//! request of the connection has it among its extensions.
//!
//! Not here: the check of the signature (tls.rs), the caller for whom it stands (crate auth).

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

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
    /// The number of the authorities that were asked ([`Authorities`]).
    pub(crate) authorities: u64,
}

/// The number of the authorities that a gateway believes: it grows when they change, and with it end the certificates that others
/// have signed.
#[derive(Debug, Clone, Default)]
pub(crate) struct Authorities(Arc<Mutex<(u64, Option<Vec<u8>>)>>);

impl Authorities {
    pub(crate) fn new(pem: Option<&[u8]>) -> Self {
        Self(Arc::new(Mutex::new((0, pem.map(<[u8]>::to_vec)))))
    }

    /// Takes those of a reload.
    pub(crate) fn replace(&self, pem: Option<&[u8]>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.1.as_deref() != pem {
            *known = (known.0 + 1, pem.map(<[u8]>::to_vec));
        }
    }

    pub(crate) fn number(&self) -> u64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0
    }
}

impl PeerCertificate {
    /// That of a connection; none where the client has shown none.
    fn of(connection: &ServerConnection, authorities: u64) -> Option<Self> {
        let (_, certificate) =
            X509Certificate::from_der(connection.peer_certificates()?.first()?).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| names.value.general_names.iter()).into_iter().flatten();
        // A URI must not stand for a name of DNS: an authority may be allowed names of one kind only.
        let names = names.filter_map(|name| match name {
            GeneralName::DNSName(name) if !name.contains(':') => Some((*name).to_owned()),
            GeneralName::URI(name) if name.contains("://") => Some((*name).to_owned()),
            _ => None,
        });
        let until = certificate.validity().not_after.timestamp();
        Some(Self { names: names.collect(), until, authorities })
    }
}

/// Takes connections as another acceptor does, and looks at their certificates.
#[derive(Clone)]
pub(crate) struct Identified<A> {
    pub(crate) inner: A,
    pub(crate) authorities: Authorities,
}

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
        // Read before the handshake: of a change meanwhile, the certificate is too old.
        let number = self.authorities.number();
        let accepted = self.inner.accept(stream, service);
        Box::pin(async move {
            let (stream, service) = accepted.await?;
            let shown: Shown = PeerCertificate::of(stream.get_ref().1, number).map(Arc::new);
            Ok((stream, Extension(shown).layer(service)))
        })
    }
}
