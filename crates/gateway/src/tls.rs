//! [`Tls`]: the certificate of the gateway. A new one takes the place of the old one while connections go on.
//!
//! Not here: the files, which the binary reads.

use std::sync::Arc;

use axum_server::tls_rustls::RustlsConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};

use crate::client_certificate::Authorities;

/// The texts of a certificate's files, all PEM.
pub struct Pem {
    /// The certificate, and those of the authorities above it.
    pub chain: Vec<u8>,
    pub key: Vec<u8>,
    /// The authorities of client certificates; without them, none is asked for.
    pub clients: Option<Vec<u8>>,
}

/// The certificate with which a gateway serves.
#[derive(Clone)]
pub struct Tls {
    pub(crate) config: RustlsConfig,
    pub(crate) authorities: Authorities,
}

impl Tls {
    /// Takes the certificate of a gateway.
    ///
    /// # Errors
    /// The sentence that says which of its parts is unusable, and how.
    pub fn new(files: &Pem) -> Result<Self, String> {
        let authorities = Authorities::new(files.clients.as_deref());
        Ok(Self { config: RustlsConfig::from_config(config(files)?), authorities })
    }

    /// Serves new connections with another certificate. With a mistake in it, the one of before stays.
    ///
    /// # Errors
    /// As [`Tls::new`].
    pub fn replace(&self, files: &Pem) -> Result<(), String> {
        self.config.reload_from_config(config(files)?);
        self.authorities.replace(files.clients.as_deref());
        Ok(())
    }
}

fn config(files: &Pem) -> Result<Arc<ServerConfig>, String> {
    let chain = certificates(&files.chain)?;
    let key =
        PrivateKeyDer::from_pem_slice(&files.key).map_err(|_| "the key is not PEM".to_owned())?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &files.clients {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let mut roots = RootCertStore::empty();
            for authority in certificates(authorities)? {
                roots.add(authority).map_err(|error| format!("client_ca_file: {error}"))?;
            }
            // A client without a certificate can still show a token or a key.
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .allow_unauthenticated()
                .build()
                .map_err(|error| format!("client_ca_file: {error}"))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| format!("the certificate and its key do not go together: {error}"))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(certificates) if certificates.is_empty() => {
            Err("there is no certificate in it".to_owned())
        }
        Ok(certificates) => Ok(certificates),
        Err(_) => Err("the certificate is not PEM".to_owned()),
    }
}
